"""What came of an entry is written down here, also while the outbox cannot be written: nothing known is forgotten."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from typing import TypeVar

from voyado_async.clock import Clock
from voyado_async.delivery import Message, Outcome
from voyado_async.drain import policy
from voyado_async.drain.health import Health
from voyado_async.drain.policy import Overtaken, Schedule
from voyado_async.drain.rests import Rests
from voyado_async.errors import OutboxUnavailable
from voyado_async.events import AttemptMade, Event, Problems, Settled
from voyado_async.outbox.records import DrainerRecord, Settlement
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

T = TypeVar("T")

PAUSE = 1.0
"""Seconds that the drainer rests when the outbox cannot be written (disk full)."""

_TOLD = (State.DELIVERED, State.REJECTED, State.EXHAUSTED, State.DISCARDED)


class Ledger:
    """Settles entries and tells of it; keeps the drainer's own record, and the breaker's."""

    def __init__(
        self,
        outbox: Outbox,
        health: Health,
        schedule: Schedule,
        rests: Rests,
        clock: Clock,
        emit: Callable[[Event], None],
        spread: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._health = health
        self._schedule = schedule
        self._rests = rests
        self._clock = clock
        self._emit = emit
        self._spread = spread
        self._problems = Problems(emit)
        self._unwritten = 0
        """Results that wait until the outbox can be written."""
        self._moved = False
        self._moved_at = 0
        """When an entry moved last (ms)."""
        self._started = 0
        self.paused = False
        """The outbox cannot be written: nothing is claimed until it can."""
        self.counts: dict[str, int] = {}
        """How many attempts came to what, since the start."""

    # settling ---------------------------------------------------------------------------------------------------------

    async def settle(
        self, message: Message, outcome: Outcome | Overtaken, source: State, what: str, *, once: bool = False
    ) -> bool:
        """Write down what came of an attempt; says whether the entry was still where it was seen last.

        `once`: there is no time to wait for an outbox that cannot be written; then OutboxUnavailable is raised.
        """
        outage = not self._health.breaker.closed
        settlement = policy.settle(
            message, outcome, source=source, what=what, now=self._clock.now(), schedule=self._schedule,
            outage=outage, spread=self._spread,
        )  # fmt: skip
        if settlement.rest_until:
            self._rests.begin([message.lane], self._clock.monotonic())
        moved = await self.written(lambda: self._outbox.settle(settlement), once=once)
        self._entries_moved()
        if not moved:
            return False
        self._tell(message, settlement)
        if settlement.target is State.EXHAUSTED and outage:
            await self.take_along([message.lane])
        return True

    async def skip(self, messages: Sequence[Message], now: int) -> list[int]:
        """Entries whose turn comes while the breaker is open use it up. Returns the lanes of those it exhausted."""
        skips = [policy.skip(m, now=now, schedule=self._schedule, spread=self._spread) for m in messages]
        moved = await asyncio.gather(*(self._outbox.settle(skip) for skip in skips))
        self._entries_moved()
        exhausted = []
        for message, skip, did in zip(messages, skips, moved, strict=True):
            if did:
                self._tell(message, skip)
                if skip.target is State.EXHAUSTED:
                    exhausted.append(message.lane)
        return exhausted

    async def take_along(self, lanes: list[int]) -> None:
        """Heads were exhausted while the breaker is open: their lanes go with them."""
        await self.written(lambda: self._outbox.exhaust_lanes(lanes, self._clock.now()))

    async def postpone(self, message: Message, state: State) -> None:
        """The key may not send this kind: until one of them tries again."""
        await self._outbox.settle(
            Settlement(
                id=message.id, source=state, target=state, due=self._health.next_try(message.kind) + 1,
                slots=message.slots, unknown=message.unknown, reason="NotAllowed", lines=message.lines,
                outage=message.outage,
            )
        )  # fmt: skip

    def _tell(self, message: Message, settlement: Settlement) -> None:
        attempt = settlement.attempt
        if attempt is not None:
            self.counts[attempt.outcome] = self.counts.get(attempt.outcome, 0) + 1
            self._emit(
                AttemptMade(
                    entry_id=message.id, kind=message.kind, what=attempt.what, outcome=attempt.outcome,
                    status=attempt.status, code=attempt.code, known=attempt.known, duration_ms=attempt.duration_ms,
                    due=settlement.due or None,
                )
            )  # fmt: skip
        if settlement.target in _TOLD:
            self._emit(
                Settled(
                    entry_id=message.id, kind=message.kind, state=settlement.target, reason=settlement.reason,
                    waited_ms=self._clock.now() - message.created,
                )
            )  # fmt: skip

    # an outbox that cannot be written ---------------------------------------------------------------------------------

    def pause(self) -> None:
        """The disk is full, or another process holds the turn for long: nothing is claimed until a write succeeds."""
        self.paused = True
        self.tell_problem("drainer", "outbox_unavailable")

    async def try_to_go_on(self) -> bool:
        """Try a small write; it raises where it fails. Results that wait to be written come before new requests."""
        await self._outbox.set_drainer(self._record())
        if self._unwritten:
            return False
        self.paused = False
        self.tell_problem("drainer", None)
        return True

    async def written(self, write: Callable[[], Awaitable[T]], *, once: bool = False) -> T:
        """What is known must not be lost to a full disk: again until it holds, or until the grace of a stop is over."""
        waiting = False
        try:
            while True:
                try:
                    return await write()
                except OutboxUnavailable:
                    self.pause()
                    if once:
                        raise
                    self._unwritten += not waiting
                    waiting = True
                    await self._clock.sleep(PAUSE)
        finally:
            self._unwritten -= waiting

    async def save_health(self, *, or_raise: bool = False) -> None:
        """Every process and the status read it from the database. What could not be written is written later; with
        `or_raise` OutboxUnavailable says so."""
        with nullcontext() if or_raise else suppress(OutboxUnavailable):
            if self._health.unsaved:
                self._health.unsaved = False
                try:
                    await self._outbox.set_breaker(self._health.to_record())
                except BaseException:
                    self._health.unsaved = True
                    raise

    # the drainer's own record -----------------------------------------------------------------------------------------

    async def begin(self, now: int) -> None:
        """This process drains from now on (ms)."""
        self._started = self._moved_at = now
        await self._outbox.set_drainer(self._record())

    async def beat(self) -> None:
        """Write down that it moves on, if it does; `stalled` is told otherwise."""
        if self._health.held_back:
            self._moved_at = self._clock.now()
        if self._moved or self._problems.first:
            self._moved = False
            with suppress(OutboxUnavailable):
                await self._outbox.set_drainer(self._record())

    def _entries_moved(self) -> None:
        self._moved = True
        self._moved_at = self._clock.now()

    def made_progress(self) -> None:
        """The second road was walked. That says nothing of the first one."""
        self._moved = True

    def _record(self) -> DrainerRecord:
        now = self._clock.now()
        return DrainerRecord(
            os.getpid(), socket.gethostname(), self._started, now, self._problems.first, self._moved_at
        )

    def tell_problem(self, where: str, code: str | None) -> None:
        """A problem is told when it begins and when it is over, not at every try. None: it is over."""
        self._problems.tell(where, code)
