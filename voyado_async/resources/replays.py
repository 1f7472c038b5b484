"""Bringing entries back at a pace: how fast, and until too many fail again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from voyado_async.clock import Clock
from voyado_async.errors import TransitionRefused
from voyado_async.outbox.lock import is_drained
from voyado_async.outbox.operator_store import OperatorOutbox
from voyado_async.outbox.records import EntryFilter, EntryRecord
from voyado_async.outbox.replaying import Content, Plan, Road, Step
from voyado_async.outbox.states import State

PIECE = 100
"""Entries of one transaction."""

LOOK_EVERY = 0.05
"""Seconds between two looks at what became of the entries that were brought back."""

PATIENCE = 60.0
"""Seconds without any answer after which counting failures is given up."""


class Progress(msgspec.Struct, frozen=True):
    """How far a replay has come."""

    done: int
    total: int
    failed: int = 0


Show = Callable[[Progress], None]


class Pace(msgspec.Struct, frozen=True):
    """`rate`: entries a second at most. `max_failures`: stop when so many failed again."""

    rate: float | None = None
    max_failures: int | None = None

    def piece(self, room: int) -> int:
        """How many entries go at once."""
        by_rate = PIECE if self.rate is None else max(1, int(self.rate / 5))
        return max(1, min(PIECE, by_rate, room))


def waits(entry: EntryRecord) -> bool:
    """Whether nothing came of it yet since it was brought back."""
    return entry.state is State.SENDING or (entry.state is State.PENDING and entry.slots == 0)


def has_failed(entry: EntryRecord) -> bool:
    """Whether it failed again: refused, exhausted, or its first attempt came to nothing."""
    return entry.state in (State.REJECTED, State.EXHAUSTED, State.PENDING) and not waits(entry)


class Replayer:
    """One replay of a frozen selection."""

    def __init__(self, outbox: OperatorOutbox, clock: Clock, content: Content, pace: Pace, show: Show) -> None:
        self._outbox = outbox
        self._clock = clock
        self._content = content
        self._pace = pace
        self._show = show
        self._waiting: list[int] = []
        self._answered = clock.monotonic()
        self.failed = 0
        self.stopped: str | None = None

    async def run(
        self, ids: Sequence[int], *, via: Road, again: bool, action: int
    ) -> AsyncIterator[tuple[list[Plan], list[str]]]:
        """Bring them back, oldest first; tells of each piece what became of it and which files were withdrawn."""
        began, sent, done = self._clock.monotonic(), 0, 0
        if self._pace.max_failures is not None and not self._is_drained():
            raise TransitionRefused("nobody drains, so that no failure can be counted; start `voyado-async drain`")
        while done < len(ids):
            room = await self._room()
            if self.stopped is not None:
                return
            piece = ids[done : done + self._pace.piece(room)]
            plans, withdrawn = await self._outbox.replay(piece, self._content, via=via, again=again, action=action)
            done += len(piece)
            gone = [plan.id for plan in plans if plan.step is Step.SEND]
            sent += len(gone)
            if self._pace.max_failures is not None:
                self._waiting += gone
            self._show(Progress(done, len(ids), self.failed))
            yield plans, withdrawn
            if self._pace.rate is not None and done < len(ids):
                await self._clock.sleep(max(0.0, began + sent / self._pace.rate - self._clock.monotonic()))
        while self._waiting and self.stopped is None:
            await self._look()
            self._show(Progress(done, len(ids), self.failed))

    async def _room(self) -> int:
        """How many may go now: those under way and those that failed are never more than may fail."""
        most = self._pace.max_failures
        if most is None:
            return PIECE
        while (room := most - self.failed - len(self._waiting)) <= 0 and self.stopped is None:
            await self._look()
        return room

    async def _look(self) -> None:
        """What became of those that are under way."""
        entries = await self._outbox.entries(EntryFilter(ids=tuple(self._waiting)))
        left = [entry.id for entry in entries if waits(entry)]
        self.failed += sum(map(has_failed, entries))
        now = self._clock.monotonic()
        if len(left) < len(self._waiting):
            self._answered = now
        self._waiting = left
        assert self._pace.max_failures is not None
        if self.failed >= self._pace.max_failures:
            self.stopped = f"{self.failed} failed again"
        elif now - self._answered >= PATIENCE:
            self.stopped = f"no answer for {PATIENCE:.0f} s" if self._is_drained() else "nobody drains"
        elif left:
            await self._clock.sleep(LOOK_EVERY)

    def _is_drained(self) -> bool:
        return is_drained(f"{self._outbox.path}-drain")
