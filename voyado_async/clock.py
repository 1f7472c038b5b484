"""Time, as an argument. Nothing else in the package reads a clock or sleeps.

Instants are integers: milliseconds since 1970, UTC. Durations of the loop (`monotonic`, `sleep`) are seconds.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a stage may know of time."""

    def now(self) -> int:
        """The wall clock: milliseconds since 1970, UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, the same in every process of a machine; they begin anew when it is started."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait so long."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        from asyncio import sleep  # here: most calls of the command line never wait

        await sleep(seconds)


def as_datetime(instant: int) -> datetime:
    """An instant as an aware UTC datetime, for the surface."""
    return datetime.fromtimestamp(instant / 1000, UTC)


def as_instant(moment: datetime) -> int:
    """An aware datetime as an instant, for the database."""
    return int(moment.timestamp() * 1000)
