"""How the benchmarks measure: a closed loop, candidates interleaved in rounds, medians over the rounds.

Machines are shared and noisy, so only ratios inside one run mean anything; the scripts print them beside the figures.
"""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

WARM_UP = 0.15
LONGEST = 6.0


class Figures(msgspec.Struct, frozen=True):
    """What one run, or the median of several, came to."""

    per_second: float
    p50_ms: float
    p99_ms: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of the (sorted) values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(latencies: list[float], seconds: float) -> Figures:
    """The figures of calls that took so long each (seconds)."""
    ordered = sorted(latencies)
    return Figures(len(ordered) / seconds, percentile(ordered, 0.5) * 1e3, percentile(ordered, 0.99) * 1e3)


def median(runs: Sequence[Figures]) -> Figures:
    return Figures(*(statistics.median(getattr(run, name) for run in runs) for name in Figures.__struct_fields__))


async def closed_loop(call: Callable[[int], Awaitable[object]], callers: int, seconds: float) -> Figures:
    """`callers` tasks call back to back, each with a number of its own. What ends inside the window is counted.

    The window grows where a slow candidate has not completed three calls per caller by then.
    """
    latencies: list[float] = []
    clock = time.perf_counter
    begin = clock() + WARM_UP
    end, longest = begin + seconds, begin + LONGEST
    stopped = 0.0

    async def caller(number: int) -> None:
        nonlocal stopped
        while not stopped:
            started = clock()
            await call(number)
            now = clock()
            if now >= begin and not stopped:
                latencies.append(now - started)
                if now >= end and (len(latencies) >= 3 * callers or now >= longest):
                    stopped = now
            number += callers

    gc.collect()
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
    return summary(latencies, stopped - begin)


def interleaved(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Every candidate once a round, in an order of its own."""
    order = random.Random(7)  # the same orders in every run
    for _ in range(rounds):
        shuffled = list(names)
        order.shuffle(shuffled)
        yield from shuffled


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """As Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return str(value)


def verdict(what: str, value: float, target: float, *, at_most: bool = False) -> list[object]:
    """A row of the closing table: the ratio, its target and whether it holds."""
    held = value <= target if at_most else value >= target
    return [what, value, f"{'<=' if at_most else '>='} {target:g}", "yes" if held else "NO"]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="voyado-perf-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
