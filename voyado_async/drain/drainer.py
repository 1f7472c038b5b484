"""The life of a drainer: it waits for the right to drain, takes over, goes its rounds, and hands back at the end.

One drainer per outbox: whoever holds the right to drain. The way of one entry:

Rounds.go            claims heads of lanes that are due, in memory only (`Hands.claim`)
  Porter.carry       looks first where that is the rule, waits at the `Gate`, commits `sending`, sends
    Ledger.settle    writes down what came of it and tells of it
  Hands.free         the lane's next one may go

All decisions are elsewhere and pure: what a reply means (the carrier), the next state (policy), when to stop (breaker),
how fast (throttle).
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from voyado_async.clock import Clock
from voyado_async.delivery import Carrier
from voyado_async.drain.beside import SecondRoad, keep_beating, walk_second_road, watch_what_nobody_tells
from voyado_async.drain.breaker import Breaker
from voyado_async.drain.carrying import Porter
from voyado_async.drain.gate import Gate
from voyado_async.drain.hands import Hands
from voyado_async.drain.health import Health
from voyado_async.drain.ledger import PAUSE, Ledger
from voyado_async.drain.policy import REST, Schedule
from voyado_async.drain.recent import Recent
from voyado_async.drain.rests import Rests
from voyado_async.drain.rounds import Rounds
from voyado_async.drain.throttle import Throttle
from voyado_async.errors import ClientClosed, OutboxUnavailable
from voyado_async.events import DrainerStarted, DrainerStopped, Event
from voyado_async.outbox.access import like
from voyado_async.outbox.lock import DrainRight
from voyado_async.outbox.store import Outbox
from voyado_async.outbox.wake import Listener

STAND_BY = 0.25
"""Seconds between two tries for the right to drain (DESIGN 3)."""


class DrainSettings(msgspec.Struct, frozen=True):
    """What the drainer needs to know."""

    schedule: Schedule
    rate: float
    concurrency: int
    breaker_failures: int
    confirm: bool
    told_for: float = 0.0
    """Seconds for which what Engage told of an address stands for a look-up (`drain.recent`)."""
    grace: float = 5.0
    """Seconds that a stopping drainer waits for answers. What is still open then is unknown."""


class Drainer:
    """Drains one outbox while it holds the right to. `run` ends after `stop`."""

    def __init__(
        self,
        outbox: Outbox,
        carrier: Carrier,
        settings: DrainSettings,
        clock: Clock,
        *,
        second_road: SecondRoad | None,
        emit: Callable[[Event], None],
        spread: Callable[[], float] = random.random,
    ) -> None:
        schedule = settings.schedule
        breaker = Breaker(settings.breaker_failures, schedule.delays, settings.concurrency)
        health = Health(breaker, Throttle(settings.rate), schedule, clock, emit, on_change=self._look_again)
        gate = Gate(health, settings.concurrency, clock)
        self._rests = rests = Rests(REST / 1000)
        ledger = Ledger(outbox, health, schedule, rests, clock, emit, spread)
        hands = Hands(outbox, gate, rests, clock, self.wake)
        self._recent = recent = Recent(clock, settings.told_for)
        porter = Porter(outbox, carrier, hands, ledger, gate, health, schedule, recent, emit)
        self._rounds = Rounds(
            outbox, porter, hands, ledger, health, clock, concurrency=settings.concurrency, confirm=settings.confirm,
            sleep=self._sleep, start=self._start, wake=self.wake,
        )  # fmt: skip
        self._outbox = outbox
        self._clock = clock
        self._grace = settings.grace
        self._second_road = second_road
        self._emit = emit
        self._health = health
        self._gate = gate
        self._ledger = ledger
        self._right = DrainRight(f"{outbox.path}-drain", like(outbox.path))
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None
        self.draining = False
        """Whether this process holds the right to drain at this moment."""

    @property
    def counts(self) -> dict[str, int]:
        """How many attempts came to what, since the start."""
        return self._ledger.counts

    async def run(self) -> None:
        """Stand by for the right to drain, then drain until `stop`."""
        try:
            while not self._gate.stopping:
                if not self._right.take():
                    await self._sleep(STAND_BY)
                    continue
                await self._drain()
        finally:
            self._right.give_up()

    def stop(self) -> None:
        """Ask `run` to end: what was not sent is handed back, answers are awaited for a few seconds."""
        self._gate.stopping = True
        self._look_again()

    @property
    def rate(self) -> float:
        """Requests a second that may go out at this moment: fewer after a 429."""
        return self._health.throttle.rate

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def _look_again(self) -> None:
        self._gate.look_again()
        self._wake.set()

    # while it holds the right -----------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        listener = Listener(self._outbox.path, self.wake)
        listener.open()
        self._outbox.on_commit(self.wake)
        side_tasks: list[asyncio.Task[None]] = []
        self.draining = True
        try:
            await self._begin()
            side_tasks = self._start_side_tasks()
            while not self._gate.stopping and self._fault is None:
                try:
                    if self._ledger.paused and not await self._ledger.try_to_go_on():
                        await self._rest(PAUSE)
                        continue
                    await self._rounds.go()
                except OutboxUnavailable:
                    self._ledger.pause()
                    await self._rest(PAUSE)
            if self._fault is not None:
                raise self._fault
        finally:
            try:
                await self._end(side_tasks)
            finally:
                self._outbox.off_commit(self.wake)
                listener.close()
                self.draining = False

    async def _begin(self) -> None:
        """What the last drainer left: its breaker, and requests whose outcome nobody knows."""
        while not self._gate.stopping:
            now = self._clock.now()
            self._rounds.begin()
            self._recent.begin()
            try:
                record, last = await self._outbox.breaker(), await self._outbox.drainer()
                resting = await self._outbox.take_over(now, now + REST)
                self._rests.begin(resting, self._clock.monotonic())
                await self._ledger.begin(now)
            except OutboxUnavailable:
                self._ledger.pause()
                await self._rest(PAUSE)
            else:
                self._health.restore(record)
                before = None if last is None else f"pid {last.pid} ended without saying so, as when it is killed"
                self._emit(DrainerStarted(pid=os.getpid(), unknown=len(resting), before=before))
                return

    def _start_side_tasks(self) -> list[asyncio.Task[None]]:
        work = [watch_what_nobody_tells(self._outbox, self._clock, self.wake), keep_beating(self._ledger, self._clock)]
        if self._second_road is not None:
            work.append(
                walk_second_road(
                    self._second_road, self._outbox, self._ledger, self._gate, self._health, self._clock
                )
            )  # fmt: skip
        return [self._start(each) for each in work]

    async def _end(self, side_tasks: list[asyncio.Task[None]]) -> None:
        self._gate.stopping = True
        self._look_again()
        for task in side_tasks:
            task.cancel()
        carrying = self._tasks - set(side_tasks)
        if carrying:
            grace = asyncio.ensure_future(self._clock.sleep(self._grace))
            finished = asyncio.ensure_future(asyncio.wait(carrying))
            try:
                await asyncio.wait({grace, finished}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                grace.cancel()
                finished.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OutboxUnavailable, ClientClosed):
            await self._outbox.set_drainer(None)
        self._emit(DrainerStopped(pid=os.getpid()))

    # tasks and sleep --------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends by an error ends the drainer: nothing of it goes on half."""
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fault = self._fault or fault
            self._wake.set()

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until something happens."""
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()
        self._wake.clear()

    async def _rest(self, seconds: float) -> None:
        """Until then, whatever happens; but for a stop or a fault."""
        end = self._clock.monotonic() + seconds
        while not self._gate.stopping and self._fault is None and (left := end - self._clock.monotonic()) > 0:
            await self._sleep(left)
