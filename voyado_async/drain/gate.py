"""The one place where a request waits until it may go out: a connection, its place in the pace, a closed breaker."""

from __future__ import annotations

import asyncio

from voyado_async.clock import Clock
from voyado_async.drain.health import Health

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

    async def enter(self, *, probe: bool = False, requests: int = 1) -> float | None:
        """Wait for the grant: the moment of it (monotonic seconds); send now, and call `leave` afterwards.

        None: not now, hand it back. `requests` places in the pace are taken for who sends several, one by one.
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
                    self._health.throttle.take(now, requests)
                    self._under_way += 1
                    return now
            return None

    def leave(self) -> None:
        """The answer is here."""
        self._under_way -= 1
        self.look_again()

    def look_again(self) -> None:
        """Something changed that those who wait should know: stopping, the breaker, the key."""
        self._freed.set()
