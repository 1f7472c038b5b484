"""The one place where a request waits until it may go out: a connection, its place in the pace, a closed breaker."""

from __future__ import annotations

import asyncio

from voyado_async.clock import Clock
from voyado_async.drain.breaker import Breaker
from voyado_async.drain.throttle import Throttle

_SLICE = 0.25
"""A wait is cut into pieces so long (seconds), so that stopping is noticed soon."""


class Gate:
    """Grants connections one after another, in the order of asking. What was not granted is handed back, unsent."""

    def __init__(self, throttle: Throttle, breaker: Breaker, concurrency: int, clock: Clock) -> None:
        self.throttle = throttle
        self.breaker = breaker
        self._concurrency = concurrency
        self._clock = clock
        self._order = asyncio.Lock()
        self._freed = asyncio.Event()
        self._under_way = 0
        self.stopping = False
        self.halted: str | None = None
        """``401`` or ``403`` while the key is refused: nothing but the probe goes out."""

    def _may_send(self, probe: bool) -> bool:
        return not self.stopping and (probe or (self.halted is None and self.breaker.closed))

    async def enter(self, *, probe: bool = False) -> bool:
        """Wait for the grant. True: send now, and call `leave` afterwards. False: not now, hand it back."""
        async with self._order:
            while self._may_send(probe):
                if not probe and self._under_way >= min(self._concurrency, self.breaker.allowed):
                    self._freed.clear()
                    await self._freed.wait()
                elif (wait := self.throttle.wait(self._clock.monotonic())) > 0:
                    await self._clock.sleep(min(wait, _SLICE))
                else:
                    self.throttle.take(self._clock.monotonic())
                    self._under_way += 1
                    return True
            return False

    def another(self) -> None:
        """The one that was granted sends a second request: it takes the next place in the pace as well."""
        self.throttle.take(self._clock.monotonic())

    def leave(self) -> None:
        """The answer is here."""
        self._under_way -= 1
        self.look_again()

    def look_again(self) -> None:
        """Something changed that those who wait should know: stopping, the breaker, the key."""
        self._freed.set()
