"""Chaos: shops that write, sidecars that drain, Engage and its file server; all but Engage are killed.

`kill -9` strikes at random moments, Engage and the file server are given random faults, outages with files in them
included. Every redemption, receipt and creation that was acknowledged must have taken effect exactly once, and no older
value of a contact may have come after a newer one. What is compared is Engage's own journal, never ours.

The seed is printed; ``VOYADO_TEST_CHAOS_SEED`` runs a given one again, ``VOYADO_TEST_CHAOS_SECONDS`` another length.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from chaos_writer import Books, Buyer, Orders
from journal import arrivals
from killing import Killable
from processes import SANDBOX, environment, process

from voyado_async.cli.demo_books import Written, compare
from voyado_async.cli.demo_engage import Engage, engage_process

CHAOS_WRITER = Path(__file__).with_name("chaos_writer.py")

WRITERS = 3
SIDECARS = 3
BUYERS = 60
"""Customers of each writer."""
SHARED = 6
"""Customers of all of them."""
OFFERS = 4

SECONDS = float(os.environ.get("VOYADO_TEST_CHAOS_SECONDS", "72"))
OUTAGES = ((0.22, 0.32), (0.76, 0.86))
"""When Engage is down, in shares of the whole time."""
CALM = (0.33, 0.64)
"""When a sidecar is killed only over confirmations: they begin no sooner than 10 s after a take-over."""

KILLS_IN_FLIGHT = 50
ENCORES = 7
"""A slow machine starts its processes slowly, and so gets fewer kills into the time: it gets more of it, not fewer."""
ENCORE_SECONDS = 6
KILLS_WITH_FILES = 10
KILLS_OVER_CONFIRMATIONS = 1

SETTLES = 90
"""Seconds for one sidecar to settle everything when Engage is well again."""


class Kill(msgspec.Struct, frozen=True):
    """One SIGKILL, and what the outbox was at. `at` is CLOCK_MONOTONIC, as in the sandbox's journal."""

    at: float
    whom: str
    with_files: bool = False
    """Entries were exhausted, spooled or uploaded."""
    confirming: bool = False
    """Imported entries had been confirmed since the kill before, and others waited for it."""


class Shop(Killable):
    """One writer; it is killed and comes back with its own books."""

    def __init__(self, env: dict[str, str], folder: Path, number: int, seed: int, buyers: list[Buyer]) -> None:
        super().__init__(env, folder / f"writer{number}.log", str(CHAOS_WRITER))
        self._orders = Orders(number, seed, str(folder / f"books{number}"), buyers)

    async def sell(self, *arguments: str) -> None:
        await self.start(*arguments, told=msgspec.json.encode(self._orders) + b"\n")

    async def finish(self) -> None:
        """Let it end, and repeat what has no acknowledgement."""
        await self.end()
        await self.sell("finish")
        await self.end()

    @property
    def written(self) -> list[Written]:
        return Books(self._orders.books).written


class Outbox:
    """The database as `kill` finds it: plain SQLite, nothing of ours."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def drainer(self) -> int | None:
        """The process that said last that it drains."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'drainer'").fetchone()
        return None if row is None else msgspec.json.decode(row[0])["pid"]

    def confirmations(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM attempt WHERE what = 'confirm'").fetchone()[0])

    def states(self) -> Counter[str]:
        return Counter(dict(self._database.execute("SELECT state, count(*) FROM entry GROUP BY state").fetchall()))

    def close(self) -> None:
        self._database.close()


async def buyers_of(engage: Engage) -> list[list[Buyer]]:
    """Each writer's customers, then those of all; the shared ones have their offers with one writer each."""
    emails = [f"b{number}@example.com" for number in range(WRITERS * BUYERS + SHARED)]
    ids = (await engage.seed(contacts=[{"email": email, "contact_type": "Member"} for email in emails]))["contacts"]
    given = (await engage.seed(assignments=[{"contact_id": one} for one in ids for _ in range(OFFERS)]))["assignments"]
    offers = {one: given[at * OFFERS : (at + 1) * OFFERS] for at, one in enumerate(ids)}
    own = [
        [Buyer(ids[at], emails[at], offers[ids[at]]) for at in range(writer * BUYERS, (writer + 1) * BUYERS)]
        for writer in range(WRITERS)
    ]
    for number, at in enumerate(range(WRITERS * BUYERS, len(ids))):
        for writer in range(WRITERS):
            mine = offers[ids[at]] if number % WRITERS == writer else []
            own[writer].append(Buyer(ids[at], emails[at], mine, shared=True))
    return own


def weather(random: Random) -> list[dict[str, Any]]:
    """Some faults of a day on which Engage is up. Most answers are slow, so that a kill finds requests under way."""
    ills: list[dict[str, Any]] = [
        {"kind": "hang_after"},
        {"kind": "hang"},
        {"kind": "reset_after"},
        {"kind": "reset_before"},
        {"kind": "status_after", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "garbage"},
        {"kind": "truncate"},
        {"kind": "html"},
        {"kind": "redirect"},
        {"kind": "late", "seconds": random.uniform(1, 7)},
        {"kind": "throttle", "retry_after": 0.2},
    ]
    files: list[dict[str, Any]] = [
        {"kind": "sftp_cut", "after_bytes": random.randrange(3000), "count": 2},
        {"kind": "import_stopped", "duration": 1.5},
        {"kind": "import_skip", "count": 1},
        {"kind": "sftp_down", "duration": 1.5},
    ]
    chosen = [{**ill, "probability": random.uniform(0.02, 0.12)} for ill in random.sample(ills, 3)]
    chosen.append({"kind": "slow", "probability": 0.8, "seconds": random.uniform(0.3, 1.2)})
    return chosen + random.sample(files, 1)


CALM_WEATHER: list[dict[str, Any]] = [{"kind": "slow", "probability": 0.3, "seconds": 0.3}]


def outage(random: Random) -> list[dict[str, Any]]:
    """Engage is down; the file server has its own troubles."""
    troubles: list[list[dict[str, Any]]] = [
        [],
        [{"kind": "sftp_cut", "after_bytes": random.randrange(3000), "count": 3}],
        [{"kind": "sftp_full", "duration": 1}],
        [{"kind": "sftp_down", "duration": 1}],
    ]
    down = {"kind": "refuse"} if random.random() < 0.7 else {"kind": "status", "status": 503}
    return [down, *random.choice(troubles)]


class Chaos:
    """Strikes until its time is over, and remembers where."""

    def __init__(self, engage: Engage, sidecars: list[Killable], shops: list[Shop], outbox: Outbox, seed: int) -> None:
        self._engage = engage
        self._sidecars = sidecars
        self._shops = shops
        self._outbox = outbox
        self._seed = seed
        self._end = time.monotonic() + SECONDS
        self.kills: list[Kill] = []

    async def run(self) -> None:
        await self._strike()
        for _ in range(ENCORES if SECONDS >= 72 else 0):
            if len(await self.in_flight()) >= KILLS_IN_FLIGHT:
                break
            self._end = time.monotonic() + ENCORE_SECONDS
            await self._strike()

    async def in_flight(self) -> list[Kill]:
        """Kills of a drainer that had requests under way, by Engage's own journal."""
        rows = await arrivals(self._engage)
        return [kill for kill in self.kills if kill.whom == "drainer" and under_way(rows, kill.at)]

    async def _strike(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._trouble(Random(f"{self._seed}/faults")))
            group.create_task(self._kill_drainers(Random(f"{self._seed}/drainers")))
            group.create_task(self._kill_writers(Random(f"{self._seed}/writers")))

    @property
    def _share(self) -> float:
        return 1 - (self._end - time.monotonic()) / SECONDS

    async def _trouble(self, random: Random) -> None:
        while (share := self._share) < 1:
            down = any(begin <= share < end for begin, end in OUTAGES)
            calm = CALM[0] <= share < CALM[1]
            await self._engage.suffer(*(outage(random) if down else CALM_WEATHER if calm else weather(random)))
            await asyncio.sleep(random.uniform(1, 2.5))

    async def _kill_drainers(self, random: Random) -> None:
        confirmed = 0
        while (share := self._share) < 1:
            await asyncio.sleep(random.uniform(0.05, 0.45))
            if CALM[0] <= share < CALM[1] and self._outbox.confirmations() == confirmed:
                continue
            pid = self._outbox.drainer()
            # Mostly the one that drains, now and then one that stands by.
            ours = [sidecar for sidecar in self._sidecars if sidecar.pid == pid]
            if not ours and random.random() < 0.9:
                continue
            victim = ours[0] if ours else random.choice(self._sidecars)
            at = time.monotonic()
            victim.signal(signal.SIGKILL)
            states, before, confirmed = self._outbox.states(), confirmed, self._outbox.confirmations()
            with_files = any(states[state] for state in ("exhausted", "spooled", "uploaded"))
            confirming = confirmed > before and states["imported"] > 0
            self.kills.append(Kill(at, "drainer" if ours else "stand-by", with_files, confirming))
            await victim.process.wait()
            await victim.start()

    async def _kill_writers(self, random: Random) -> None:
        while self._share < 1:
            await asyncio.sleep(random.uniform(1, 4))
            shop = random.choice(self._shops)
            self.kills.append(Kill(time.monotonic(), "writer"))
            await shop.kill()
            await shop.sell()


def under_way(rows: list[dict[str, Any]], at: float) -> int:
    """Requests that Engage had and had not done with at that moment, by its own journal."""
    return sum(row["began"] <= at and (row["ended"] is None or row["ended"] > at) for row in rows)


async def command(env: dict[str, str], *arguments: str) -> tuple[int, str]:
    async with process("-m", "voyado_async", *arguments, env=env, stdout=asyncio.subprocess.PIPE) as started:
        out, errors = await asyncio.wait_for(started.communicate(), SETTLES + 30)
        assert started.returncode is not None
        return started.returncode, out.decode() + errors.decode()


@asynccontextmanager
async def outbox_of(env: dict[str, str]) -> AsyncIterator[Outbox]:
    code, told = await command(env, "migrate")
    assert code == 0, told
    outbox = Outbox(env["VOYADO_OUTBOX"])
    try:
        yield outbox
    finally:
        outbox.close()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 260)
async def test_whatever_dies_everything_acknowledged_took_effect_exactly_once_and_in_order(tmp_path: Path) -> None:
    seed = int(os.environ.get("VOYADO_TEST_CHAOS_SEED", "0")) or Random().randrange(1, 10**6)
    print(f"VOYADO_TEST_CHAOS_SEED={seed}")
    async with AsyncExitStack() as stack:
        engage = await stack.enter_async_context(engage_process(tmp_path, *SANDBOX, "--hard-rate", "0"))
        env = environment(
            engage.info,
            tmp_path,
            VOYADO_RETRY_DELAYS="0.2,0.4",
            VOYADO_RETRY_ATTEMPTS="5",
            VOYADO_RATE="150",
            VOYADO_CONCURRENCY="20",
            VOYADO_FALLBACK_INTERVAL="1",
        )
        outbox = await stack.enter_async_context(outbox_of(env))
        buyers = await buyers_of(engage)
        shops = [Shop(env, tmp_path, number, seed, own) for number, own in enumerate(buyers)]
        drain = ("-m", "voyado_async", "drain")
        sidecars = [Killable(env, tmp_path / f"sidecar{number}.log", *drain) for number in range(SIDECARS)]
        for shop in shops:
            await stack.enter_async_context(shop)
            await shop.sell()
        for sidecar in sidecars:
            await stack.enter_async_context(sidecar)
            await sidecar.start()
        chaos = Chaos(engage, sidecars, shops, outbox, seed)
        await chaos.run()

        for shop in shops:
            await shop.finish()
        for sidecar in sidecars:
            await sidecar.kill()
        await engage.suffer()
        rows = await arrivals(engage)
        drainers = [kill for kill in chaos.kills if kill.whom == "drainer"]
        in_flight = await chaos.in_flight()
        with_files = [kill for kill in drainers if kill.with_files]
        confirming = [kill for kill in drainers if kill.confirming]
        print(
            f"killed: {Counter(kill.whom for kill in chaos.kills)}; {len(in_flight)} drainers with "
            f"{sum(under_way(rows, kill.at) for kill in in_flight)} requests under way, {len(with_files)} with files, "
            f"{len(confirming)} over confirmations"
        )

        began = time.monotonic()
        code, told = await command(env, "drain", "--until-settled", "--timeout", str(SETTLES))
        print(f"settled after {time.monotonic() - began:.0f} s")
        written = [entry for shop in shops for entry in shop.written]
        comparison = compare(written, await engage.books())
        print(f"{len(written)} entries: {comparison.rows}")
        assert comparison.findings == ()
        assert code == 0, told
        assert outbox.states() == Counter(delivered=len(written))
        code, told = await command(env, "verify")
        assert code == 0, told
        if SECONDS >= 72:
            assert len(in_flight) >= KILLS_IN_FLIGHT
            assert len(with_files) >= KILLS_WITH_FILES
            assert len(confirming) >= KILLS_OVER_CONFIRMATIONS
