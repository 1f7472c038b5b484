"""How commands open the outbox: to look at it, to change it, or to write to it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from voyado_async.clock import SystemClock
from voyado_async.outbox.access import Access
from voyado_async.outbox.glance import readable_schema, refuse_another
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.resources.advice import Plan
from voyado_async.resources.outbox import OutboxView
from voyado_async.settings import Settings

if TYPE_CHECKING:
    from voyado_async.resources.operations import Operations

T = TypeVar("T")

CLOCK = SystemClock()


def told_to_stop() -> asyncio.Event:
    """Is set by SIGTERM or SIGINT, which do nothing else from now on."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


@asynccontextmanager
async def looking(settings: Settings, *, whosever: bool = False) -> AsyncIterator[SqliteOutbox]:
    """The outbox, read-only: it must be there; base URL and API key are not needed, and nobody is waited for.

    Raises OutboxMismatch where it belongs to another Engage than the settings name, unless it may be `whosever`.
    """
    outbox = await open_outbox(
        settings.outbox_path, base_url=None, clock=CLOCK, read_only=True, seal_keys=settings.seal_keys
    )
    try:
        if not whosever:
            refuse_another(outbox.path, await outbox.base_url(), settings.base_url)
        yield outbox
    finally:
        await outbox.close()


@asynccontextmanager
async def changing(settings: Settings) -> AsyncIterator[SqliteOutbox]:
    """The outbox, to change what is in it: it must be there."""
    await asyncio.to_thread(readable_schema, str(settings.outbox_path))
    async with writing(settings) as outbox:
        yield outbox


@asynccontextmanager
async def operating(settings: Settings, *, dry_run: bool = False) -> AsyncIterator[Operations]:
    """The outbox with an operator's moves; for a dry run it is only looked at."""
    from voyado_async.resources.operations import Operations  # here: it knows every kind of entry

    async with looking(settings) if dry_run else changing(settings) as outbox:
        yield Operations(outbox, CLOCK, settings)


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[SqliteOutbox]:
    """The outbox, to write to: it is made where there is none, for which the base URL is needed."""
    outbox = await open_outbox(
        settings.outbox_path,
        base_url=settings.base_url,
        clock=CLOCK,
        seal_keys=settings.seal_keys,
        access=Access(settings.gid),
    )
    try:
        yield outbox
    finally:
        await outbox.close()


def view(outbox: SqliteOutbox, plan: Plan | None = None) -> OutboxView:
    """What the Python surface calls `voyado.outbox`."""
    return OutboxView(outbox, CLOCK, plan)
