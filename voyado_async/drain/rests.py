"""How long lanes still rest after an outcome that nobody knows (DESIGN 3, "Order"), whatever the machine's clock says.

The database keeps the end of a rest by the wall clock, for the status and for the next drainer. Were that clock set
back by a day, such an end would be taken for an old clock's mistake; set forward, it would be over at once. The process
that drains therefore counts its rests as durations, too. What cannot be had: a clock that is set and a drainer that
dies within the same ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterable


class Rests:
    """The lanes that rest, and until when by a clock that nobody sets (s). Pure."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: dict[int, float] = {}

    def begin(self, lanes: Iterable[int], now: float) -> None:
        """An attempt of each of these lanes has come to nothing known."""
        self._ends.update(dict.fromkeys(lanes, now + self._seconds))

    def join(self, lane: int, other: int) -> None:
        """The lane has its turn with the other one from now on, which takes over the longer rest."""
        if lane != other and (end := self._ends.pop(lane, None)) is not None:
            self._ends[other] = max(end, self._ends.get(other, end))

    def lanes(self, now: float) -> frozenset[int]:
        """Those that still rest."""
        self._ends = {lane: end for lane, end in self._ends.items() if end > now}
        return frozenset(self._ends)

    def left(self, now: float) -> float | None:
        """Seconds until the next of them is over; None where none rests."""
        return min((end - now for end in self._ends.values() if end > now), default=None)
