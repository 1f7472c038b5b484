"""A process that writes to an outbox back to back: ``python perf_writer.py PATH SECONDS ENTRIES [PAUSE]``.

ENTRIES of the payload size in one commit, then PAUSE seconds. Waits for a line on standard input; then tells what it
found as one line of JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
from perf_backlog import BASE_URL, BODY
from perf_method import percentile

from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import OutboxUnavailable
from voyado_async.outbox.sqlite import open_outbox


class Wrote(msgspec.Struct):
    """What a writer found: commits, and how long they took (ms)."""

    commits: int
    p50: float
    p99: float
    worst: float
    errors: list[str]


async def main(path: str, seconds: float, entries: int, pause: float) -> None:
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    latencies: list[float] = []
    errors: list[str] = []
    try:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        end = time.perf_counter() + seconds
        number = 0
        while (began := time.perf_counter()) < end:
            number += 1
            drafts = [Draft(Kind.RECEIPT, BODY, f"contact:{sys.argv[2]}-{number}-{at}") for at in range(entries)]
            try:
                await outbox.enqueue(drafts)
            except OutboxUnavailable as error:
                errors.append(str(error))
            latencies.append((time.perf_counter() - began) * 1e3)
            if pause:
                await asyncio.sleep(pause)
    finally:
        await outbox.close()
    latencies.sort()
    wrote = Wrote(len(latencies), percentile(latencies, 0.5), percentile(latencies, 0.99), latencies[-1], errors)
    print(msgspec.json.encode(wrote).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)
    )
