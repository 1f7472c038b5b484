"""How fast requests may go out: spaced, never in a burst. Pure: the clock is an argument (seconds, monotonic)."""

from __future__ import annotations

GROW_AFTER = 30.0
"""Seconds without a 429 after which a lowered rate grows by a tenth of the full one."""
SLOWEST = 0.5
"""Requests per second that are left after however many 429s."""
LONGEST_WAIT = 3600.0
"""Seconds that a Retry-After can hold us at most (DESIGN 3, "Retry schedule")."""

_NOTHING = 1e-6
"""Seconds that are only the rounding of a sum."""


class Throttle:
    """Spaces requests 1/rate apart, so that no second ever holds more than the rate.

    A 429 halves the rate and holds everybody for Retry-After; the rate then grows back step by step.
    """

    def __init__(self, rate: float) -> None:
        self._full = rate
        self.rate = rate
        self._next = 0.0
        self._left = float("-inf")
        self._grown = 0.0
        self._slowed = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until the next request may go."""
        return max(0.0, self._next - now)

    def wait_to_leave(self, now: float) -> float:
        """Seconds until a request that has its place may really go out."""
        wait = self._left + 1 / self.rate - now
        return wait if wait > _NOTHING else 0.0

    def leave(self, now: float) -> None:
        """A request goes out."""
        self._left = now

    def take(self, now: float) -> None:
        """A request has its place. From here on, not from its slot, the distance to the next is counted: who comes late
        must not make the next one come close."""
        if self.rate < self._full and now - self._grown >= GROW_AFTER:
            self._grown = now
            self.rate = min(self._full, self.rate + self._full / 10)
        self._next = max(self._next, now + 1 / self.rate)

    def slow_down(self, now: float, retry_after: float | None, sent: float = float("inf")) -> None:
        """Engage answered 429 to a request of that time. Requests that were under way together are told together that
        they came too fast: that is one reason to halve, and not ten."""
        if sent >= self._slowed:
            self.rate = max(min(SLOWEST, self._full), self.rate / 2)
            self._slowed = now
        self._grown = now
        pause = min(retry_after or 0.0, LONGEST_WAIT)
        self._next = max(self._next, now + max(pause, 1 / self.rate))
