"""The client that a shop embeds. Start reading here: this is the only place that wires the stages together.

voyado.receipts.send(...)   resources/receipts.py, kinds/receipt.py    checks it, makes a Draft
  -> Writes.put             resources/writes.py                        alone, or with its batch
  -> Outbox.enqueue         outbox/sqlite_sending.py, writer.py        returns when its commit is on the disk
       the rows             outbox/adding.py, sqlite.sql
  -> Rounds, Porter         drain/rounds.py, carrying.py               claims it, asks the carrier, settles it
  -> EngageCarrier          api/carrier.py                             one request, one reply, one outcome
  -> Courier                fallback/courier.py                        what is exhausted leaves by file
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

import aiohttp

from voyado_async.api.bulk import EngageBulk
from voyado_async.api.carrier import EngageCarrier
from voyado_async.api.direct import Direct
from voyado_async.api.http import Http, open_session
from voyado_async.api.reads import Reads
from voyado_async.api.routes import routes_of
from voyado_async.clock import Clock, SystemClock
from voyado_async.delivery import BulkCarrier
from voyado_async.drain.drainer import Drainer, DrainSettings
from voyado_async.drain.policy import Schedule
from voyado_async.errors import ClientClosed, VoyadoError
from voyado_async.events import DrainerStopped, Listener, Listeners, Problem, Problems, log_events
from voyado_async.outbox.access import Access
from voyado_async.outbox.shelf import Shelf
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.resources.contact_ids import ContactIds
from voyado_async.resources.contacts import Contacts
from voyado_async.resources.operations import Operations
from voyado_async.resources.promotions import Promotions
from voyado_async.resources.receipts import Receipts
from voyado_async.resources.transactions import Transactions
from voyado_async.resources.vouchers import Vouchers
from voyado_async.resources.writes import Writes
from voyado_async.settings import Settings
from voyado_async.traces import trace

if TYPE_CHECKING:
    from voyado_async.fallback.tenant import Tenant

_log = logging.getLogger(__name__)

DIRECT_CONNECTIONS = 100
"""Connections for a shop's own calls. The drainer has others: calls that hang never take one from it."""

STOP = 15.0
"""Seconds for a drainer to stop; it asks for a third of that (`DrainSettings.grace`), the rest is for a slow disk."""

HOUSEKEEPING = 3600.0
"""Seconds between two purges of what is finished for long enough."""

DAY = 86_400_000

RESTART = 5.0
"""Seconds before a drainer that failed for a reason nobody foresaw is started again."""


class VoyadoClient:
    """An outbox, and a drainer for it unless a sidecar drains (`drain=False`).

    Use it as `async with VoyadoClient(Settings.from_env()) as voyado:`. The writes of `contacts`, `promotions`,
    `receipts` and `vouchers` return when they are on disk. Leaving the block hands back what is under way within a few
    seconds and loses nothing. A `session` of the shop's own is used and never closed. `listeners` are told what
    happens; by default it is logged to the logger ``voyado_async``.

    Raises ConfigurationError where the settings do not suffice, or the outbox belongs to another Engage.
    """

    contacts: Contacts
    promotions: Promotions
    receipts: Receipts
    transactions: Transactions
    vouchers: Vouchers
    outbox: Operations

    def __init__(
        self,
        settings: Settings,
        *,
        session: aiohttp.ClientSession | None = None,
        drain: bool = True,
        listeners: Iterable[Listener] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if drain:
            settings.require_base_url()
            settings.require_api_key()
        self._settings = settings
        self._given_session = session
        self._drain = drain
        self._clock = clock or SystemClock()
        self._listeners = Listeners()
        for listener in [log_events()] if listeners is None else listeners:
            self._listeners.add(listener)
        self._stack: AsyncExitStack | None = None
        self._direct: Direct | None = None
        self._reads: Reads | None = None
        self._drainer: Drainer | None = None

    if not TYPE_CHECKING:  # or every misspelt name would pass the type check

        def __getattr__(self, name: str) -> object:
            if name in type(self).__annotations__ or name == "_writes":
                raise ClientClosed("the client is not open: async with VoyadoClient(settings) as voyado")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise ClientClosed("this client is open already; make another one")
        async with AsyncExitStack() as stack:
            outbox = await open_outbox(
                self._settings.outbox_path,
                base_url=self._settings.base_url,
                clock=self._clock,
                seal_keys=self._settings.seal_keys,
                access=Access(self._settings.gid),
            )
            stack.push_async_callback(outbox.close)
            writes = Writes(outbox, self._clock, self._listeners.emit)
            stack.push_async_callback(writes.close)
            self._writes = writes
            self._ids = ContactIds(outbox, self._clock, self._settings.contact_type)
            stack.push_async_callback(self._ids.close)
            self.contacts = Contacts(writes, self._ids, self._open_reads, self._settings, self._open_direct)
            self.promotions = Promotions(writes, outbox, self._open_reads, self._open_direct)
            self.receipts = Receipts(writes)
            self.transactions = Transactions(self._open_reads, self._open_direct)
            routes = routes_of(self._settings.api_version)
            self.vouchers = Vouchers(writes, outbox, self._open_reads, routes)
            self.outbox = Operations(outbox, self._clock, self._settings)
            if self._settings.base_url is not None and self._settings.api_key is not None:
                await self._connect(outbox, stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stack is not None:
            await self._stack.aclose()

    async def _connect(self, outbox: SqliteOutbox, stack: AsyncExitStack) -> None:
        """What needs Engage: the session, the reads, and the drainer where this process may drain."""
        settings = self._settings
        routes = routes_of(settings.api_version)
        http = await self._http(stack, DIRECT_CONNECTIONS)
        direct = Direct(
            http, routes, clock=self._clock, timeout=settings.read_timeout, rate=settings.read_rate,
            problems=Problems(self._listeners.emit),
        )  # fmt: skip
        self._direct = direct
        shelf = Shelf(outbox.path, settings.require_base_url(), outbox.seal)
        self._reads = Reads(direct, clock=self._clock, cache_ttl=settings.cache_ttl, mark=outbox.mark, shelf=shelf)
        stack.push_async_callback(self._reads.close)
        if self._drain:
            from voyado_async.fallback.spool import Spool  # here: they bring lxml
            from voyado_async.fallback.tenant import Tenant

            tenant = await asyncio.to_thread(Tenant.of, settings)
            await asyncio.to_thread(Spool(settings.spool_path, tenant, Access(settings.gid)).make)
            http = await self._http(stack, settings.concurrency)
            carrier = EngageCarrier(http, routes, contact_key=settings.contact_key)
            make = partial(self._make_drainer, outbox, carrier, tenant, EngageBulk(http, routes))
            self._drainer = make()  # what is wrong with the settings of the second road is told now
            task = asyncio.create_task(self._keep_draining(make), name="voyado-drainer")
            stack.push_async_callback(self._stop_draining, task)
            house = asyncio.create_task(self._keep_house(outbox, shelf), name="voyado-housekeeping")
            stack.push_async_callback(_cancel, house)

    async def _http(self, stack: AsyncExitStack, connections: int) -> Http:
        """Requests over connections of their own, or those of the shop's session."""
        settings = self._settings
        session = self._given_session
        if session is None:
            session = await stack.enter_async_context(open_session(connections))
        return Http(
            session,
            base_url=settings.require_base_url(),
            api_key=settings.require_api_key(),
            user_agent=settings.user_agent,
            clock=self._clock,
            api_key_header=settings.api_key_header,
            timeout=settings.timeout,
        )

    def _open_direct(self) -> Direct:
        """Direct calls need a base URL and a key; a process that only writes needs neither."""
        if self._direct is None:
            self._settings.require_base_url()
            self._settings.require_api_key()
            raise ClientClosed("the client is not open")
        return self._direct

    def _open_reads(self) -> Reads:
        self._open_direct()
        assert self._reads is not None
        return self._reads

    def batch(self) -> AbstractAsyncContextManager[None]:
        """The writes inside the block become one commit, all or nothing: at most 1000 of them, with 4 MB of content
        together. The one that is too many raises InvalidEntry."""
        return self._writes.batch()

    @property
    def drain_rate(self) -> float | None:
        """Requests a second that the drainer of this process may send at this moment; None where it does not drain."""
        return self._drainer.rate if self._drainer is not None and self._drainer.draining else None

    # draining --------------------------------------------------------------------------------------------------------

    async def _keep_draining(self, make: Callable[[], Drainer]) -> None:
        """A drainer for as long as the client is open. One that fails gives the right to drain up and begins again."""
        while True:
            try:
                self._drainer = self._drainer or make()
                await self._drainer.run()
            except Exception as error:
                # Nobody awaits this task while the shop runs: what ended it is told, and draining goes on.
                self._drainer = None
                # Without the error's own text: nobody knows whether it quotes a payload.
                _log.error("the drainer failed and begins again in %.0f s\n%s", RESTART, trace(error))
                self._listeners.emit(Problem(where="drainer", code=type(error).__name__))
                self._listeners.emit(DrainerStopped(pid=os.getpid(), problem=type(error).__name__))
                await self._clock.sleep(RESTART)
            else:
                return

    async def _keep_house(self, outbox: SqliteOutbox, shelf: Shelf) -> None:
        """Whoever drains also purges what is finished for long enough, and what was read so long ago."""
        while True:
            await self._clock.sleep(HOUSEKEEPING)
            if self._drainer is None or not self._drainer.draining:
                continue
            now = self._clock.now()
            before = now - int(self._settings.retention_days * DAY)
            await shelf.sweep(before)
            try:
                await outbox.purge(before, now - int(self._settings.key_days * DAY))
            except VoyadoError as error:
                self._listeners.emit(Problem(where="purge", code=type(error).__name__))

    async def _stop_draining(self, task: asyncio.Task[None]) -> None:
        if self._drainer is None:  # it failed, and waits to begin again
            task.cancel()
        else:
            self._drainer.stop()
        _, late = await asyncio.wait([task], timeout=STOP)
        if late:
            task.cancel()
            await asyncio.wait([task])

    def _make_drainer(self, outbox: SqliteOutbox, carrier: EngageCarrier, tenant: Tenant, bulk: BulkCarrier) -> Drainer:
        from voyado_async.fallback.walk import SecondRoadWalk  # here: it brings lxml, and only who drains needs it

        settings = self._settings
        return Drainer(
            outbox,
            carrier,
            DrainSettings(
                schedule=Schedule(tuple(round(s * 1000) for s in settings.retry_delays), settings.retry_attempts),
                rate=settings.rate,
                concurrency=settings.concurrency,
                breaker_failures=settings.breaker_failures,
                confirm=settings.fallback_confirm,
                told_for=settings.cache_ttl,
            ),
            self._clock,
            second_road=SecondRoadWalk(outbox, settings, self._listeners, tenant, bulk).step,
            emit=self._listeners.emit,
        )


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
