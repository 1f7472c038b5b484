"""Durable writes, every commit synced: ours, packaged peers, and raw sqlite3 with a hundred rows a commit.

    pip install litequeue persist-queue localqueue      # the peers; one that is missing is skipped, and said so
    python tests/perf/bench_enqueue.py --rounds 5

`store` writes checked bytes (`SqliteOutbox.enqueue`); `end to end` calls the client with dicts (`receipts.send`,
`promotions.redeem`, `contacts.update`), so that validation, key, lane, encoding and the writers' turn are in it. Both
run in a process that does not drain. Ratios are taken round by round, and the median of them counts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import perf_peers
import perf_raw
from perf_method import Figures, closed_loop, folder, interleaved, median, table, verdict
from perf_payloads import (
    TEMPLATES,
    assignment_id,
    contact_changes,
    contact_id,
    drafts,
    kind_of,
    receipt_content,
    renumbered,
)

from voyado_async import VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.making import prepare
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.settings import Settings

STORE, CLIENT, RAW = "voyado: store", "voyado: end to end", "raw sqlite3, 100 rows a commit"
BASE_URL = "http://127.0.0.1:9"

Call = Callable[[int], Awaitable[object]]


@asynccontextmanager
async def store(path: Path, templates: Sequence[Draft]):
    outbox = await open_outbox(path / "outbox.db", base_url=BASE_URL, clock=SystemClock())
    try:
        yield lambda number: outbox.enqueue([renumbered(templates[number % TEMPLATES], number)])
    finally:
        await outbox.close()


@asynccontextmanager
async def client(path: Path):
    contents = [_content(number) for number in range(TEMPLATES)]
    settings = Settings(base_url=BASE_URL, api_key="none", outbox=str(path / "outbox.db"))
    async with VoyadoClient(settings, drain=False) as voyado:

        def write(number: int) -> Awaitable[object]:
            template = number % TEMPLATES
            match kind_of(template):
                case Kind.REDEEM:
                    owner = contact_id(template)
                    return voyado.promotions.redeem(assignment_id(number), channel="POS", contact_id=owner)
                case Kind.CONTACT_UPDATE:
                    return voyado.contacts.update(contact_id(template), contents[template])
            return voyado.receipts.send(contents[template] | {"uniqueReceiptId": f"R-{number}"})

        yield write


def _content(number: int) -> dict[str, object]:
    return contact_changes(number) if kind_of(number) is Kind.CONTACT_UPDATE else receipt_content(number)


@asynccontextmanager
async def peer(name: str, path: Path, templates: Sequence[Draft]):
    put, close = perf_peers.open_peer(name, path)
    try:
        yield lambda number: put(templates[number % TEMPLATES].body)
    finally:
        close()


async def measure(name: str, callers: int, seconds: float, templates: Sequence[Draft]) -> Figures:
    async with AsyncExitStack() as stack:
        path = stack.enter_context(folder())
        if name == STORE:
            call = await stack.enter_async_context(store(path, templates))
        elif name == CLIENT:
            call = await stack.enter_async_context(client(path))
        else:
            call = await stack.enter_async_context(peer(name, path, templates))
        return await closed_loop(call, callers, seconds)


def measure_raw(seconds: float, templates: Sequence[Draft]) -> Figures:
    with folder() as path:
        database = str(path / "outbox.db")
        turn = Turn(f"{database}-turn")
        prepare(database, turn, BASE_URL)
        turn.close()
        return perf_raw.run(database, templates, seconds)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=0.8)
    arguments.add_argument("--callers", default="1,10,100")
    arguments.add_argument("--without-peers", action="store_true")
    asked = arguments.parse_args()
    callers = [int(number) for number in asked.callers.split(",")]
    peers = [] if asked.without_peers else perf_peers.installed()
    templates = drafts()
    runs: dict[tuple[str, int], list[Figures]] = {}
    for name in interleaved([STORE, CLIENT, RAW, *peers], asked.rounds):
        for count in callers if name != RAW else [perf_raw.ROWS]:
            if name == RAW:
                figures = measure_raw(asked.seconds, templates)
            else:
                figures = asyncio.run(measure(name, count, asked.seconds, templates))
            runs.setdefault((name, count), []).append(figures)
    print(f"rows/s (p50 / p99 ms), median of {asked.rounds} rounds\n")
    rows = [[name, *(_shown(runs.get((name, count))) for count in callers)] for name in (STORE, CLIENT, *peers)]
    if 100 in callers:
        rows.append([RAW, *["-"] * (len(callers) - 1), _shown(runs[RAW, 100])])
    print(table(["candidate", *(f"{count} callers" for count in callers)], rows))
    print("\n" + table(["ratio", "value", "target", "held"], _verdicts(runs, callers, peers)))


def _shown(runs: Sequence[Figures] | None) -> str:
    if runs is None:
        return "-"
    figures = median(runs)
    return f"{figures.per_second:,.0f} ({figures.p50_ms:.2f} / {figures.p99_ms:.1f})"


def _verdicts(
    runs: dict[tuple[str, int], list[Figures]], callers: Sequence[int], peers: Sequence[str]
) -> list[list[object]]:
    rates = {1: 0.95, 10: 4.0, 100: 8.0}
    rows: list[list[object]] = []
    for name, of_raw in ((STORE, 0.60), (CLIENT, 0.35)):
        for count in callers:
            ours = runs[name, count]
            if peers and count in rates:
                best = max(peers, key=lambda other: median(runs[other, count]).per_second)
                its = runs[best, count]
                title = f"{name}, {count} callers / {best}"
                rows.append(verdict(f"{title}: rows/s", _ratio(ours, its, "per_second"), rates[count]))
                if count == 100:
                    rows.append(verdict(f"{title}: p50", _ratio(ours, its, "p50_ms"), 1 / 10, at_most=True))
                    rows.append(verdict(f"{title}: p99", _ratio(ours, its, "p99_ms"), 1 / 3, at_most=True))
            if count == perf_raw.ROWS:
                rows.append(verdict(f"{name}, 100 callers / raw", _ratio(ours, runs[RAW, count], "per_second"), of_raw))
    return rows


def _ratio(ours: Sequence[Figures], its: Sequence[Figures], name: str) -> float:
    return statistics.median(getattr(a, name) / getattr(b, name) for a, b in zip(ours, its, strict=True))


if __name__ == "__main__":
    main()
