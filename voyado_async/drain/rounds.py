"""One round of the drainer: what is due is taken in hand, as far as Engage's health allows, or it sleeps until then.

closed   heads of lanes that are due are carried, and imported entries confirmed
open     one probe at its time; every other entry whose turn comes uses it up without a request
no key   nothing but the question whether it works again
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from voyado_async.clock import Clock
from voyado_async.delivery import Message
from voyado_async.drain.breaker import OPEN
from voyado_async.drain.carrying import Porter
from voyado_async.drain.hands import Hands
from voyado_async.drain.health import Health
from voyado_async.drain.ledger import Ledger
from voyado_async.drain.policy import REST
from voyado_async.outbox.store import Outbox

SKIPS = 200
"""Entries that use up a turn together while the breaker is open."""
IDLE = 60_000
"""Longest sleep where nothing is due (ms)."""
BUSY = 0.25
"""Longest sleep where as much is in hand as may be (seconds)."""
LOOK_FOR_IMPORTED = 1000
"""Confirmations are few and have due times of their own; so long a delay (ms) is nothing to them."""


class Rounds:
    """Takes in hand and starts what is due. `sleep` ends early when something happens; `start` makes a task of work."""

    def __init__(
        self,
        outbox: Outbox,
        porter: Porter,
        hands: Hands,
        ledger: Ledger,
        health: Health,
        clock: Clock,
        *,
        concurrency: int,
        confirm: bool,
        sleep: Callable[[float], Awaitable[None]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        wake: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._porter = porter
        self._hands = hands
        self._ledger = ledger
        self._health = health
        self._breaker = health.breaker
        self._clock = clock
        self._concurrency = concurrency
        self._confirm = confirm
        self._sleep = sleep
        self._start = start
        self._wake = wake
        self._confirm_from = 0.0
        self._look_for_imported = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._asking_for_key: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Another drainer may have been at work until now.

        A confirmation leaves no mark while it is under way. One of the last drainer's may still be at work at Engage,
        and what waits for it must not overtake it: the same rest as for a lane.
        """
        self._confirm_from = self._clock.monotonic() + REST / 1000

    async def go(self) -> None:
        """Take what is due in hand, or sleep until something is. Raises OutboxUnavailable."""
        await self._ledger.save_health(or_raise=True)
        now = self._clock.now()
        if self._health.key_refused is not None:
            await self._without_key(now)
        elif not self._breaker.closed:
            await self._while_open(now)
        else:
            await self._while_closed(now)

    # closed -----------------------------------------------------------------------------------------------------------

    async def _while_closed(self, now: int) -> None:
        hands = self._hands
        room = 2 * self._concurrency - len(hands.lanes) - len(hands.confirming)
        if room <= 0:
            await self._sleep(BUSY)
            return
        # A share of the places is for confirmations, before anything is claimed: a steady flow of new entries would
        # leave none, and what is imported holds later changes of its contact.
        confirming = 0
        if self._clock.monotonic() >= self._look_for_imported:
            share = max(1, self._concurrency // 2)
            confirming = await self._take_confirmations(min(room, share - len(hands.confirming)), now)
            if not confirming:
                self._look_for_imported = self._clock.monotonic() + LOOK_FOR_IMPORTED / 1000
        messages = await hands.claim(room - confirming, now) if room > confirming else []
        for message in messages:
            hands.lanes.add(message.lane)
            self._start(self._porter.carry(message))
        confirming += await self._take_confirmations(room - confirming - len(messages), now)
        if len(messages) + confirming < room:
            await self._sleep_until_due(now)
        else:
            await self._sleep(BUSY)

    async def _take_confirmations(self, room: int, now: int) -> int:
        if room <= 0 or not self._confirm or self._clock.monotonic() < self._confirm_from:
            return 0
        confirming = self._hands.confirming
        found = await self._outbox.to_confirm(room + len(confirming), now)
        new = self._hands.not_confirmed(found)[:room]
        for message in new:
            confirming[message.id] = message
            self._start(self._porter.confirm(message))
        return len(new)

    async def _sleep_until_due(self, now: int) -> None:
        due = await self._outbox.next_due(now)
        wait = IDLE if due is None else due - self._clock.now()
        if (left := self._hands.rest_left()) is not None:
            wait = min(wait, math.ceil(left * 1000))
        if self._breaker.state == OPEN and self._probing is None:
            wait = min(wait, self._breaker.next_probe - self._clock.now())
        if self._confirm and (rest := self._confirm_from - self._clock.monotonic()) > 0:
            wait = min(wait, math.ceil(rest * 1000))
        await self._sleep(max(wait, 1) / 1000)

    # open -------------------------------------------------------------------------------------------------------------

    async def _while_open(self, now: int) -> None:
        probing = self._probing is None and self._breaker.probe_due(now)
        if probing:
            self._breaker.probe()
            self._health.unsaved = True
            await self._ledger.save_health()
        try:
            # From here to the lane's being in hand nothing may be awaited: see `Hands.claim`.
            messages = await self._hands.claim(SKIPS, now)
        except BaseException:
            if probing:
                self._breaker.give_up_probe()
            raise
        if probing:
            failed_last = self._breaker.last_failed_lane
            chosen = (m for m in messages if m.lane != failed_last and not self._health.refuses(m.kind))
            probe = next(chosen, None)
            if probe is not None:
                messages.remove(probe)
                self._hands.lanes.add(probe.lane)
            self._probing = self._start(self._probe(probe))
        if not messages:
            await self._sleep_until_due(now)
            return
        exhausted = await self._ledger.skip(messages, now)
        if exhausted:
            self._hands.lanes.update(exhausted)
            self._start(self._take_along(exhausted))

    async def _probe(self, message: Message | None) -> None:
        """A due entry, or where none fits a harmless question."""
        try:
            if message is None:
                await self._porter.ask_how_engage_is()
            else:
                await self._porter.carry(message, probe=True)
        finally:
            self._probing = None
            self._breaker.give_up_probe()
            self._wake()

    async def _take_along(self, lanes: list[int]) -> None:
        try:
            await self._ledger.take_along(lanes)
        finally:
            self._hands.free(*lanes)

    # no key -----------------------------------------------------------------------------------------------------------

    async def _without_key(self, now: int) -> None:
        wait = self._health.until_key_probe(now)
        if self._asking_for_key is not None:
            await self._sleep(IDLE / 1000)
        elif wait:
            await self._sleep(wait / 1000)
        else:
            self._health.ask_for_key(now)
            self._asking_for_key = self._start(self._ask_for_the_key())

    async def _ask_for_the_key(self) -> None:
        try:
            await self._porter.ask_for_the_key()
        finally:
            self._asking_for_key = None
            self._wake()
