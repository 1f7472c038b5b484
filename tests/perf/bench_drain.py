"""The drain without its rate limit, against a server that takes 20 ms, beside a bare aiohttp loop with the same bodies.

    python tests/perf/bench_drain.py --rounds 3

Everything is as in production but the rate: `sending` is committed before each request and the outcome after it, both
synced. CPU is that of the whole draining process. In the third run twenty callers write meanwhile, back to back.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import msgspec
from perf_engage import engage
from perf_method import folder, interleaved, percentile, table, verdict
from perf_payloads import TEMPLATES, drafts, renumbered

from voyado_async import Settings, VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft
from voyado_async.events import Event, Settled
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox

BARE, DRAIN, BOTH = "bare aiohttp loop", "voyado: drain", "voyado: drain, 20 callers write"
NO_LIMIT = 1e6
CALLERS = 20


class Run(msgspec.Struct, frozen=True):
    """What one run came to."""

    per_second: float
    cpu_ms: float
    writes_per_second: float = 0.0
    write_p50_ms: float = 0.0
    write_p99_ms: float = 0.0
    commits: float = 0.0


async def bare(url: str, templates: Sequence[Draft], total: int, under_way: int) -> Run:
    left = iter(range(total))
    connector = aiohttp.TCPConnector(limit=under_way)
    headers = {"apikey": "none", "User-Agent": "bench/1", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for number in left:
                async with session.post(f"{url}/api/v3/receipts", data=templates[number % TEMPLATES].body) as response:
                    await response.read()
                    assert response.status == 200

        cpu, started = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(under_way)))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return Run(total / seconds, cpu / total * 1e3)


async def fill(path: Path, url: str, templates: Sequence[Draft], total: int) -> None:
    outbox = await open_outbox(path, base_url=url, clock=SystemClock())
    try:
        for first in range(0, total, 200):
            await outbox.enqueue([renumbered(templates[n % TEMPLATES], n) for n in range(first, first + 200)])
    finally:
        await outbox.close()


async def drain(url: str, templates: Sequence[Draft], total: int, under_way: int, callers: int) -> Run:
    delivered = 0
    done = asyncio.Event()

    def listen(event: Event) -> None:
        nonlocal delivered
        if isinstance(event, Settled):
            assert event.state == "delivered"
            delivered += 1
            if delivered == total:
                done.set()

    with folder() as path:
        database = path / "outbox.db"
        await fill(database, url, templates, total)
        settings = Settings(
            base_url=url, api_key="none", outbox=str(database), spool_dir=str(path / "spool"),
            rate=NO_LIMIT, concurrency=under_way,
        )  # fmt: skip
        latencies: list[float] = []
        cpu, started = time.process_time(), time.perf_counter()
        async with VoyadoClient(settings, listeners=[listen]) as voyado:
            outbox = voyado._writes._outbox
            assert isinstance(outbox, SqliteOutbox)
            writing = [asyncio.create_task(_write(outbox, templates, total + n, latencies)) for n in range(callers)]
            try:
                async with asyncio.timeout(60):
                    await done.wait()
                seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
                commits = outbox.commits
            finally:
                for task in writing:
                    task.cancel()
                await asyncio.gather(*writing, return_exceptions=True)
    if not callers:
        return Run(total / seconds, cpu / total * 1e3, commits=commits / total)
    ordered = sorted(latencies)
    return Run(
        total / seconds, cpu / total * 1e3, len(ordered) / seconds,
        percentile(ordered, 0.5) * 1e3, percentile(ordered, 0.99) * 1e3, commits / total,
    )  # fmt: skip


async def _write(outbox: SqliteOutbox, templates: Sequence[Draft], number: int, latencies: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await outbox.enqueue([renumbered(templates[number % TEMPLATES], number)])
        latencies.append(time.perf_counter() - started)
        number += CALLERS


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--total", type=int, default=4000)
    arguments.add_argument("--under-way", type=int, default=50)
    arguments.add_argument("--server-seconds", type=float, default=0.02)
    asked = arguments.parse_args()
    templates = drafts()
    runs: dict[str, list[Run]] = {BARE: [], DRAIN: [], BOTH: []}
    with engage(asked.server_seconds) as url:
        for name in interleaved(list(runs), asked.rounds):
            if name == BARE:
                run = asyncio.run(bare(url, templates, asked.total, asked.under_way))
            else:
                callers = CALLERS if name == BOTH else 0
                run = asyncio.run(drain(url, templates, asked.total, asked.under_way, callers))
            runs[name].append(run)
    middle = {
        name: Run(*(statistics.median(getattr(run, field) for run in of) for field in Run.__struct_fields__))
        for name, of in runs.items()
    }
    print(f"{asked.total} entries, {asked.under_way} under way, median of {asked.rounds} rounds\n")
    heads = ["candidate", "entries/s", "CPU ms/entry", "writes/s", "write p50 ms", "write p99 ms", "commits/entry"]
    print(table(heads, [[name, *msgspec.structs.astuple(run)] for name, run in middle.items()]))
    of_bare = statistics.median(a.per_second / b.per_second for a, b in zip(runs[DRAIN], runs[BARE], strict=True))
    rows = [
        verdict("drain / bare aiohttp: entries/s", of_bare, 0.8),
        verdict("drain: CPU ms/entry", middle[DRAIN].cpu_ms, 1.0, at_most=True),
        verdict("writes while it drains: p99 ms", middle[BOTH].write_p99_ms, 15.0, at_most=True),
    ]
    print("\n" + table(["figure", "value", "target", "held"], rows))


if __name__ == "__main__":
    main()
