"""The one place where a request waits until it may go out: a connection, its place in the pace, a closed breaker."""

from __future__ import annotations

import asyncio
from types import TracebackType

from voyado_async.clock import Clock
from voyado_async.delivery import BulkTaken, Delivered, HandBack, Message, Outcome
from voyado_async.drain.health import Health

LATEST = 2.0
"""Seconds for which a request that is granted already waits for the ones before it."""

_SLICE = 0.25
"""A wait is cut into pieces so long (seconds), so that stopping is noticed soon."""


class Gate:
    """Grants connections one after another, in the order of asking. What was not granted is handed back, unsent."""

    def __init__(self, health: Health, concurrency: int, clock: Clock) -> None:
        self._health = health
        self._concurrency = concurrency
        self._clock = clock
        self._order = asyncio.Lock()
        self._freed = asyncio.Event()
        self._under_way = 0
        self.stopping = False

    def _may_send(self, probe: bool) -> bool:
        return not self.stopping and (probe or self._health.well)

    def turn(self, *, probe: bool = False) -> Turn:
        """For the requests of one entry; `probe`: it is what an open breaker or a refused key lets through."""
        return Turn(self, self._health, probe=probe)

    async def enter(self, *, probe: bool = False) -> float | None:
        """Wait for the grant: the moment of it (monotonic seconds); send now, and call `leave` afterwards.

        None: not now, hand it back.
        """
        async with self._order:
            while self._may_send(probe):
                now = self._clock.monotonic()
                if not probe and self._under_way >= min(self._concurrency, self._health.breaker.allowed):
                    self._freed.clear()
                    await self._freed.wait()
                elif (wait := self._health.throttle.wait(now)) > 0:
                    await self._clock.sleep(min(wait, _SLICE))
                else:
                    self._health.throttle.take(now)
                    self._under_way += 1
                    return now
            return None

    async def go(self, *, probe: bool) -> float:
        """A granted request goes out now: the moment of it. Raises HandBack where it may not any more.

        Between its grant and this moment its mark was written. Where the disk was slow to take several marks, their
        requests would leave together: each waits until the one before it is far enough ahead, holding its connection.
        """
        while (wait := self._health.throttle.wait_to_leave(now := self._clock.monotonic())) > 0:
            if not self._may_send(probe) or wait > LATEST:
                raise HandBack
            await self._clock.sleep(min(wait, _SLICE))
        self._health.throttle.leave(now)
        return now

    def leave(self) -> None:
        """The answer is here."""
        self._under_way -= 1
        self.look_again()

    def look_again(self) -> None:
        """Something changed that those who wait should know: stopping, the breaker, the key."""
        self._freed.set()


class Turn:
    """See `delivery.Turn`: ``async with turn:`` around each request of one entry, one after the other.

    A place that was taken before (`take`) is that of the first request. Between two requests no connection is held, so
    that whoever waits for something else then keeps nobody from sending.
    """

    def __init__(self, gate: Gate, health: Health, *, probe: bool) -> None:
        self._gate = gate
        self._health = health
        self._probe = probe
        self._held = False
        self.sent = float("-inf")
        """When the last request went out (monotonic seconds)."""

    async def take(self) -> bool:
        """Wait for the next request's place. False: not now, hand it back."""
        granted = await self._gate.enter(probe=self._probe)
        if granted is None:
            return False
        self._held, self.sent = True, granted
        return True

    def give_up(self) -> None:
        """A place that was taken and not used."""
        if self._held:
            self._held = False
            self._gate.leave()

    async def __aenter__(self) -> None:
        if not self._held and not await self.take():
            raise HandBack
        try:
            self.sent = await self._gate.go(probe=self._probe)
        except BaseException:
            self.give_up()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_up()

    def learn(self, message: Message | None, outcome: Outcome, *, asked: bool = False) -> None:
        """What the last request came to; see `Health.learn`."""
        self._health.learn(message, outcome, sent=self.sent, probe=self._probe, asked=asked)

    def answered(self, outcome: BulkTaken | Outcome) -> None:
        """See `delivery.BulkTurn`. A bulk request belongs to no lane."""
        self.learn(None, Delivered(status=outcome.status) if isinstance(outcome, BulkTaken) else outcome)
