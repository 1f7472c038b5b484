"""What a million entries cost: opening, memory, long lanes, other processes' writes.

    python tests/perf/bench_scale.py                      everything, about ten minutes
    python tests/perf/bench_scale.py writers lanes        parts of it

writers   four processes at full speed, ten entries a commit: how fair, how slow, any error
start     opening a million entries, a drainer's first request, its memory while it drains
lanes     a drain of one contact's entries and of many contacts', at two lengths of the backlog
moves     exhausting, bringing back, joining, purging among a million, while another process writes
operator  replaying, discarding, purging and forgetting among a million, while another process writes
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from perf_backlog import BASE_URL, SHAPES, Shape, filled
from perf_method import folder, table, verdict
from perf_processes import Writer

from voyado_async.clock import SystemClock
from voyado_async.delivery import AskNewer, Delivered, LookUp, Message, Newer, Outcome, Request
from voyado_async.delivery import Turn as RequestTurn
from voyado_async.drain.drainer import Drainer, DrainSettings
from voyado_async.drain.policy import Schedule
from voyado_async.events import DrainerStarted, Event
from voyado_async.outbox import moves
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

MANY = 1_000_000
HOT = Shape("one contact", lambda number, count: "contact:hot")
SPREAD = Shape("a contact each", lambda number, count: f"contact:{number}")
CLOCK = SystemClock()
Rows = list[list[object]]


class TimedTurn(Turn):
    """The turn, and how long each transaction held it (s)."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.held: list[float] = []
        self._since = 0.0

    def take(self, waited: float = 0.0) -> bool:
        taken = super().take(waited)
        self._since = time.perf_counter()
        return taken

    def release(self) -> None:
        self.held.append(time.perf_counter() - self._since)
        super().release()


def timed(outbox: SqliteOutbox) -> TimedTurn:
    """Time the transactions of this outbox from now on."""
    turn = TimedTurn(f"{outbox.path}-turn")
    outbox._writer._turn = turn
    return turn


class At:
    """A carrier that delivers at once."""

    def __init__(self) -> None:
        self.sent: list[float] = []

    def asks_for(self, message: Message) -> str | None:
        return None

    def renames(self, message: Message, request: Request | None) -> frozenset[str]:
        return frozenset()

    def looks_first(self, message: Message) -> bool:
        return False

    def request(self, message: Message) -> Request:
        return Request("POST", "/")

    def change(self, message: Message, contact_id: str, newer: Newer) -> Request | None:
        raise NotImplementedError

    async def look_up(self, message: Message, turn: RequestTurn) -> LookUp:
        raise NotImplementedError

    async def send(self, message: Message, request: Request, turn: RequestTurn) -> Outcome:
        self.sent.append(time.perf_counter())
        return Delivered()

    async def confirm(self, message: Message, newer: AskNewer, turn: RequestTurn) -> Outcome:
        return Delivered()

    async def probe(self, turn: RequestTurn) -> Outcome:
        return Delivered()


def drainer_of(outbox: SqliteOutbox, carrier: At, emit: Callable[[Event], None] = lambda event: None) -> Drainer:
    return Drainer(
        outbox,
        carrier,
        DrainSettings(Schedule((10_000,), 8), rate=1e9, concurrency=10, breaker_failures=5, confirm=True),
        CLOCK,
        second_road=None,
        emit=emit,
    )


async def drained(outbox: SqliteOutbox, entries: int) -> float:
    """Microseconds per entry for so many entries."""
    carrier = At()
    drainer = drainer_of(outbox, carrier)
    task = asyncio.create_task(drainer.run())
    while len(carrier.sent) < entries:
        await asyncio.sleep(0.05)
    drainer.stop()
    await task
    few = entries // 10
    return (carrier.sent[entries - 1] - carrier.sent[few]) / (entries - few) * 1e6


async def writers() -> Rows:
    checks: Rows = []
    for drains in (False, True):
        with folder() as path:
            outbox = await open_outbox(path / "outbox.db", base_url=BASE_URL, clock=CLOCK)
            made = [await Writer(path / "outbox.db", 6, 10).ready() for _ in range(4)]
            drainer = drainer_of(outbox, At())
            task = asyncio.create_task(drainer.run()) if drains else None
            for writer in made:
                writer.go()
            wrote = await asyncio.gather(*(writer.wrote() for writer in made))
            if task is not None:
                drainer.stop()
                await task
            await outbox.close()
        beside = "beside a drainer" if drains else "alone"
        heads = ("four writers " + beside, "commits", "p50 ms", "p99 ms", "worst ms", "errors")
        rows = [[at, one.commits, one.p50, one.p99, one.worst, len(one.errors)] for at, one in enumerate(wrote)]
        print(table(heads, rows))
        print()
        slowest = min(one.commits for one in wrote) / max(one.commits for one in wrote)
        checks += [
            verdict(f"four writers {beside}: slowest / fastest", slowest, 0.8),
            verdict(f"four writers {beside}: worst p99 ms", max(one.p99 for one in wrote), 25, at_most=True),
            verdict(f"four writers {beside}: errors", sum(len(one.errors) for one in wrote), 0, at_most=True),
        ]
    return checks


async def start() -> Rows:
    with folder() as path:
        file = path / "outbox.db"
        await (await filled(file, SHAPES[0], MANY)).close()
        program = [sys.executable, __file__, "--start", str(file)]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        opened, first, before, after = map(float, done.stdout.split())
    print(
        f"opened after {opened:.3f} s, first request after {first:.3f} s, {before:.0f} MB then, {after:.0f} MB after\n"
    )
    return [
        verdict("start with a million entries: s to the first request", first, 1, at_most=True),
        verdict("memory of the drainer with them: MB", after, 100, at_most=True),
    ]


async def start_here(path: str) -> None:
    """In a process of its own: seconds to open, to the first request; megabytes then, and after 20 000 entries."""
    began = time.perf_counter()
    outbox = await open_outbox(path, base_url=BASE_URL, clock=CLOCK)
    opened = time.perf_counter() - began
    started = asyncio.Event()
    carrier = At()
    drainer = drainer_of(outbox, carrier, lambda event: started.set() if isinstance(event, DrainerStarted) else None)
    task = asyncio.create_task(drainer.run())
    await started.wait()
    while not carrier.sent:
        await asyncio.sleep(0.005)
    first, before = carrier.sent[0] - began, peak()
    while len(carrier.sent) < 20_000:
        await asyncio.sleep(0.05)
    drainer.stop()
    await task
    await outbox.close()
    print(opened, first, before, peak())


def peak() -> float:
    """The most memory that this process ever had (MB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def lanes() -> Rows:
    rows, checks = [], []
    for shape in (HOT, SPREAD):
        costs = []
        for length in (3000, 100_000):
            with folder() as path:
                outbox = await filled(path / "outbox.db", shape, length)
                costs.append(await drained(outbox, 2000))
                await outbox.close()
        rows.append([shape.name, *costs, costs[1] / costs[0]])
        checks.append(
            verdict(f"drain of {shape.name}, 100 000 waiting / 3 000", costs[1] / costs[0], 1.5, at_most=True)
        )
    print(table(("us per entry", "3 000 waiting", "100 000 waiting", "ratio"), rows))
    print()
    return checks


async def joins_and_outages() -> Rows:
    """Each of them while another process writes an entry every 5 ms."""
    with folder() as path:
        file = path / "outbox.db"
        outbox = await filled(file, SHAPES[2], MANY)
        now = CLOCK.now
        hot = await outbox.lane_of("hot")
        assert hot is not None
        lanes = list(range(2, 100_002))
        turn = timed(outbox)

        async def joined() -> int:
            """A lane of an e-mail with 100 000 waiting entries joins the contact's with more."""
            return int(await outbox.join_lanes(hot, "somebody", "email:somebody@example.com"))

        rows: Rows = []
        steps: dict[str, Callable[[], Awaitable[int]]] = {
            "nothing": lambda: asyncio.sleep(5, 0),
            "exhaust 100 000 lanes": lambda: outbox.exhaust_lanes(lanes, now()),
            "bring them back": lambda: outbox.bring_back(now()),
            "read what may leave by file": lambda: leaving(outbox),
            "purge 200 000": lambda: outbox.purge(1, 1),
            "join 900 000 of one contact": joined,
        }
        for name, step in steps.items():
            turn.held.clear()
            if name.startswith("purge"):
                finish(file, 200_000)
            writer = await Writer(file, 5, 1, 0.005).ready()
            writer.go()
            began = time.perf_counter()
            moved = await step()
            took = time.perf_counter() - began
            wrote = await writer.wrote()
            assert bool(turn.held) == (moved > 0), "a turn that is not seen is not measured"
            worst = max(turn.held, default=0) * 1e3
            rows.append(
                [name, moved, took, len(turn.held), worst, wrote.p50, wrote.p99, wrote.worst, len(wrote.errors)]
            )
        await outbox.close()
    heads = ("while", "moved", "s", "commits", "longest turn ms", "writer p50 ms", "p99 ms", "worst ms", "errors")
    print(table(heads, rows))
    print()
    return [verdict(f"{row[0]}: longest turn ms", float(str(row[4])), 50, at_most=True) for row in rows[1:]]


MIXED = Shape("one contact of ten", lambda number, count: f"contact:{'hot' if number % 10 == 0 else number % 90_000}")


async def operator() -> Rows:
    """Each of them while another process writes an entry every 5 ms."""
    with folder() as path:
        file = path / "outbox.db"
        outbox = await filled(file, MIXED, MANY)
        turn = timed(outbox)
        operations = Operations(outbox, CLOCK, Settings(outbox=str(file), base_url=BASE_URL))
        some = MANY // 10
        settled(file, 0, 2 * some, "rejected")
        settled(file, 2 * some, 4 * some, "delivered")
        first, second = (
            EntryFilter(states=(State.REJECTED,), until=2),
            EntryFilter(states=(State.REJECTED,), since=2),
        )

        async def replayed() -> int:
            return (await operations.replay(which=first)).counts["send"]

        async def discarded() -> int:
            return (await operations.discard(which=second, reason="a measurement")).counts["discard"]

        async def purged() -> int:
            return (await operations.purge(older_than=timedelta(days=1))).entries

        async def forgotten() -> int:
            return (await operations.forget("hot", drop_pending=True)).entries

        rows: Rows = []
        steps: dict[str, Callable[[], Awaitable[int]]] = {
            "nothing": lambda: asyncio.sleep(5, 0),
            f"replay {some}": replayed,
            f"discard {some}": discarded,
            f"purge {2 * some}": purged,
            "forget one contact": forgotten,
        }
        for name, step in steps.items():
            turn.held.clear()
            writer = await Writer(file, 8, 1, 0.005).ready()
            writer.go()
            began = time.perf_counter()
            moved = await step()
            took = time.perf_counter() - began
            wrote = await writer.wrote()
            assert bool(turn.held) == (moved > 0), "a turn that is not seen is not measured"
            worst = max(turn.held, default=0) * 1e3
            rows.append(
                [name, moved, took, len(turn.held), worst, wrote.p50, wrote.p99, wrote.worst, len(wrote.errors)]
            )
        assert all(finding.ok for finding in await outbox.verify())
        await outbox.close()
    heads = ("while", "moved", "s", "commits", "longest turn ms", "writer p50 ms", "p99 ms", "worst ms", "errors")
    print(table(heads, rows))
    print()
    return [verdict(f"{row[0]}: longest turn ms", float(str(row[4])), 50, at_most=True) for row in rows[1:]]


def settled(file: Path, after: int, until: int, state: str) -> None:
    """These were settled long ago, the first half of them a millisecond before the others."""
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    database.execute(
        "UPDATE entry SET state = ?, changed = 1, created = 1 + (id > ?) WHERE id > ? AND id <= ?",
        (state, (after + until) // 2, after, until),
    )
    lanes = [
        row[0] for row in database.execute("SELECT DISTINCT lane FROM entry WHERE id > ? AND id <= ?", (after, until))
    ]
    moves.refresh(database, lanes, CLOCK.now())
    database.execute("COMMIT")
    database.close()


async def leaving(outbox: SqliteOutbox) -> int:
    await outbox.exhaust_lanes(list(range(2, 20_002)), CLOCK.now())
    count = 0
    async for _ in outbox.exhausted():
        count += 1
    return count


def finish(file: Path, count: int) -> None:
    """The oldest ones were delivered long ago."""
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE entry SET state = 'delivered', changed = 0, created = 0 WHERE id <= ?", (count,))
    database.execute("COMMIT")
    database.close()


PARTS: dict[str, Callable[[], Awaitable[Rows]]] = {
    "writers": writers,
    "start": start,
    "lanes": lanes,
    "moves": joins_and_outages,
    "operator": operator,
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--start", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        await start_here(options.start)
        return
    checks: Rows = []
    for part in options.parts or PARTS:
        checks += await PARTS[part]()
    print(table(("what", "value", "target", "held"), checks))


if __name__ == "__main__":
    asyncio.run(main())
