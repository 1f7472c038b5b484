"""From another process's commit to the drainer's claim of that entry, and what a drainer costs that has nothing to do.

    python tests/perf/bench_wake.py --wakes 10000

The drainer is the real one in a process of its own, with a carrier that delivers at once; its first question about an
entry comes right after the claim. A wake that was lost would show as up to half a second: then the slow look at
`PRAGMA data_version` finds the entry.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from pathlib import Path

import msgspec
from perf_backlog import BASE_URL, BODY
from perf_method import folder, percentile, table, verdict

from voyado_async.clock import SystemClock
from voyado_async.delivery import AskNewer, Delivered, Draft, Kind, LookUp, Message, Newer, Outcome, Request, Turn
from voyado_async.drain.drainer import Drainer, DrainSettings
from voyado_async.drain.policy import Schedule
from voyado_async.outbox.sqlite import open_outbox

CLOCK = SystemClock()
LOST = 0.2
"""Seconds; well below the slow look, far above a poke."""


class Seen:
    """A carrier that notes when it was first asked about an entry (CLOCK_MONOTONIC, as in the writing process)."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def asks_for(self, message: Message) -> str | None:
        return None

    def renames(self, message: Message, request: Request | None) -> frozenset[str]:
        return frozenset()

    def looks_first(self, message: Message) -> bool:
        self.at.setdefault(message.id, time.monotonic())
        return False

    def request(self, message: Message) -> Request:
        return Request("POST", "/")

    def change(self, message: Message, contact_id: str, newer: Newer) -> Request | None:
        raise NotImplementedError

    async def look_up(self, message: Message, turn: Turn) -> LookUp:
        raise NotImplementedError

    async def send(self, message: Message, request: Request, turn: Turn) -> Outcome:
        return Delivered()

    async def confirm(self, message: Message, newer: AskNewer, turn: Turn) -> Outcome:
        return Delivered()

    async def probe(self, turn: Turn) -> Outcome:
        return Delivered()


async def drain(path: str) -> None:
    """The drainer's process: until its standard input ends; then it tells what it saw."""
    outbox = await open_outbox(path, base_url=BASE_URL, clock=CLOCK)
    seen = Seen()
    drainer = Drainer(
        outbox,
        seen,
        DrainSettings(Schedule((10_000,), 8), rate=1e9, concurrency=10, breaker_failures=5, confirm=True),
        CLOCK,
        second_road=None,
        emit=lambda event: None,
    )
    task = asyncio.create_task(drainer.run())
    while not drainer.draining:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    drainer.stop()
    await task
    await outbox.close()
    print(msgspec.json.encode(seen.at).decode(), flush=True)


def cpu_of(pid: int) -> float:
    """Seconds of processor that the process has had."""
    user, system = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Result(msgspec.Struct, frozen=True):
    """Milliseconds from commit to claim, how many took a slow look, and the share of a core when idle."""

    p50: float
    p99: float
    worst: float
    lost: int
    idle: float


async def measure(wakes: int, idle: float) -> Result:
    with folder() as path:
        file = path / "outbox.db"
        outbox = await open_outbox(file, base_url=BASE_URL, clock=CLOCK)
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--drain", str(file),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
        )  # fmt: skip
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(1)
        before = cpu_of(process.pid)
        await asyncio.sleep(idle)
        share = (cpu_of(process.pid) - before) / idle
        committed: dict[int, float] = {}
        gaps = random.Random(5)
        for number in range(wakes):
            (stored,) = await outbox.enqueue([Draft(Kind.RECEIPT, BODY, f"contact:{number}")])
            committed[stored.id] = time.monotonic()
            await asyncio.sleep(gaps.uniform(0.003, 0.009))
        await asyncio.sleep(1)
        assert process.stdin is not None
        process.stdin.close()
        out = await process.stdout.read()
        await process.wait()
        await outbox.close()
    seen = msgspec.json.decode(out, type=dict[int, float])
    delays = sorted(seen[entry] - at for entry, at in committed.items())
    lost = sum(delay > LOST for delay in delays)
    return Result(percentile(delays, 0.5) * 1e3, percentile(delays, 0.99) * 1e3, delays[-1] * 1e3, lost, share)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wakes", type=int, default=10_000)
    parser.add_argument("--idle", type=float, default=20, help="seconds of looking at an idle drainer")
    parser.add_argument("--drain", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drain:
        await drain(options.drain)
        return
    result = await measure(options.wakes, options.idle)
    print(f"{options.wakes} wakes, the slowest took {result.worst:.1f} ms\n")
    checks = [
        verdict("wake-up p50 ms", result.p50, 2, at_most=True),
        verdict("wake-up p99 ms", result.p99, 10, at_most=True),
        verdict("lost wakes", result.lost, 0, at_most=True),
        verdict("idle: % of a core", result.idle * 100, 0.3, at_most=True),
    ]
    print(table(("what", "value", "target", "held"), checks))


if __name__ == "__main__":
    asyncio.run(main())
