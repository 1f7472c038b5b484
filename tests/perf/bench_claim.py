"""Claim, mark and settle with 1 000 and with 1 000 000 entries waiting, in four shapes.

    python tests/perf/bench_claim.py --large 1000000 --batches 60

Batches of 100, each claim a read, marks and settlements one synced commit each, as the drainer does them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
from perf_backlog import SHAPES, Shape, filled
from perf_method import folder, table, verdict

from voyado_async.clock import SystemClock
from voyado_async.outbox.records import Attempt, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State

SMALL = 1000
BATCH = 100
RATIO = 2.5
LONGEST_CLAIM = 50.0


class Batch(msgspec.Struct, frozen=True):
    """One batch: how many entries, and the seconds of the claim and of all of it."""

    entries: int
    claim: float
    whole: float


async def one(outbox: SqliteOutbox, clock: SystemClock) -> Batch:
    began = time.perf_counter()
    messages = await outbox.claim(BATCH, clock.now(), frozenset())
    claimed = time.perf_counter()
    assert all(await asyncio.gather(*(outbox.mark_sending(message.id) for message in messages)))
    at = clock.now()
    done = Attempt(at=at, what="request", outcome="delivered", status=200)
    moved = (outbox.settle(Settlement(m.id, State.SENDING, State.DELIVERED, done)) for m in messages)
    assert all(await asyncio.gather(*moved))
    return Batch(len(messages), claimed - began, time.perf_counter() - began)


async def small(path: Path, shape: Shape) -> AsyncGenerator[Batch, None]:
    """Batches out of 1 000 entries; a new outbox when it runs low, so that there are always about so many."""
    number = 0
    while True:
        number += 1
        outbox = await filled(path / f"small{number}.db", shape, SMALL)
        for _ in range(4):
            if (batch := await one(outbox, SystemClock())).entries:
                yield batch
        await outbox.close()


def per_entry(batches: list[Batch]) -> float:
    """Microseconds."""
    return statistics.median(batch.whole / batch.entries for batch in batches) * 1e6


async def measure(shape: Shape, large: int, batches: int) -> list[object]:
    with folder() as path:
        outbox = await filled(path / "large.db", shape, large)
        few: list[Batch] = []
        many: list[Batch] = []
        fresh = small(path, shape)
        while len(many) < batches and (batch := await one(outbox, SystemClock())).entries:
            many.append(batch)
            few.append(await anext(fresh))
        await fresh.aclose()
        await outbox.close()
    ratio = per_entry(many) / per_entry(few)
    worst = max(batch.claim for batch in many) * 1e3
    entries = statistics.mean(batch.entries for batch in many)
    return [shape.name, per_entry(few), per_entry(many), ratio, worst, entries]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=60)
    options = parser.parse_args()
    rows = [await measure(shape, options.large, options.batches) for shape in SHAPES]
    heads = ("shape", "us per entry at 1 000", f"at {options.large:,}", "ratio", "worst claim ms", "entries a batch")
    print(table(heads, rows))
    print()
    checks = [verdict(f"{row[0]}: ratio", float(str(row[3])), RATIO, at_most=True) for row in rows]
    checks += [verdict(f"{row[0]}: worst claim ms", float(str(row[4])), LONGEST_CLAIM, at_most=True) for row in rows]
    print(table(("what", "value", "target", "held"), checks))


if __name__ == "__main__":
    asyncio.run(main())
