"""Many processes on one outbox: one drains, nobody starves, and no way to die or stop leaves the others without."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from actors import Wrote, receipt
from journal import arrivals
from killing import Killable
from processes import SANDBOX, count, environment, looking_on, until

from voyado_async import OutboxUnavailable, VoyadoClient
from voyado_async.cli.demo_engage import Engage, engage_process

ACTORS = str(Path(__file__).with_name("actors.py"))
DRAIN = ("-m", "voyado_async", "drain")
EMAILS = [f"shared{number}@example.com" for number in range(20)]


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX, "--hard-rate", "0") as running:
        await running.seed(contacts=[{"email": email, "contact_type": "Member"} for email in EMAILS])
        yield running


@pytest.fixture
def env(engage: Engage, tmp_path: Path) -> dict[str, str]:
    return environment(engage.info, tmp_path, VOYADO_RATE="500", VOYADO_TIMEOUT="10")


class Started:
    """Makes processes that are gone at the end."""

    def __init__(self, stack: AsyncExitStack, env: dict[str, str], folder: Path) -> None:
        self._stack = stack
        self._env = env
        self._folder = folder
        self._made = 0

    async def __call__(self, *arguments: str) -> Killable:
        self._made += 1
        made = Killable(self._env, self._folder / f"process{self._made}.log", *arguments)
        await self._stack.enter_async_context(made)
        await made.start()
        return made


@pytest.fixture
async def started(env: dict[str, str], tmp_path: Path) -> AsyncIterator[Started]:
    async with AsyncExitStack() as stack:
        yield Started(stack, env, tmp_path)


async def told(process: Killable, lines: int = 1) -> list[Any]:
    """The first lines of JSON that it says."""
    async with asyncio.timeout(20):
        while True:
            found = [line for line in process.said.splitlines() if line.startswith(("{", '"'))]
            if len(found) >= lines:
                return [msgspec.json.decode(line) for line in found]
            assert process.process.returncode in (None, 0), process.said
            await asyncio.sleep(0.01)


async def comes_true(holds: Callable[[], Awaitable[bool]], within: float = 20) -> float:
    """Wait until it is so; the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while not await holds():
            await asyncio.sleep(0.005)
    return time.monotonic() - began


def drains(voyado: VoyadoClient, *pids: int) -> Callable[[], Awaitable[bool]]:
    """Whether one of these processes drains."""

    async def look() -> bool:
        drainer = (await voyado.outbox.status()).drainer
        return drainer.running and drainer.pid in pids

    return look


async def the_books_close(voyado: VoyadoClient, entries: int) -> None:
    assert [finding for finding in await voyado.outbox.verify() if not finding.ok] == []
    accounting = (await voyado.outbox.status()).accounting
    assert (accounting.enqueued, accounting.balanced) == (entries, True)


async def test_eight_write_three_would_drain_one_does_and_nobody_finds_the_database_locked(
    engage: Engage, env: dict[str, str], started: Started
) -> None:
    drainers = [await started(*DRAIN) for _ in range(3)]
    writers = [await started(ACTORS, "write", f"w{number}", "120") for number in range(8)]
    found = [msgspec.convert((await told(writer))[0], Wrote) for writer in writers]
    assert [wrote.errors for wrote in found] == [[]] * 8
    slowest = max(second for wrote in found for second in wrote.seconds)
    assert slowest < 2.5, f"a writer starved for {slowest:.2f} s"
    async with looking_on(env) as voyado:
        await until(voyado, lambda status: count(status, "delivered") == 8 * 120)
        await the_books_close(voyado, 8 * 120)
    assert sum(drainer.said.count("drainer_started") for drainer in drainers) == 1
    effects = Counter(effect.subject for effect in (await engage.books()).effects if effect.kind == "receipt")
    assert len(effects) == 8 * 120
    assert set(effects.values()) == {1}


async def test_a_killed_drainer_is_replaced_within_a_second(env: dict[str, str], started: Started) -> None:
    async with looking_on(env) as voyado:
        drainers = [await started(*DRAIN) for _ in range(3)]
        while len(drainers) > 1:
            await comes_true(drains(voyado, *(drainer.pid for drainer in drainers)))
            await asyncio.sleep(0.3)
            pid = (await voyado.outbox.status()).drainer.pid
            dead = next(drainer for drainer in drainers if drainer.pid == pid)
            drainers.remove(dead)
            dead.signal(signal.SIGKILL)
            assert await comes_true(drains(voyado, *(drainer.pid for drainer in drainers))) < 1


async def test_a_forked_child_keeps_no_right_to_drain_and_may_not_use_the_client(
    env: dict[str, str], started: Started
) -> None:
    parent = await started(ACTORS, "drain_and_fork")
    (found,) = await told(parent)
    try:
        for use in ("write", "status"):
            assert found[use].startswith("ClientClosed: this process was forked"), found
        async with looking_on(env) as voyado:
            stand_by = await started(*DRAIN)
            # It has to stand by already: what is measured is the change, not its start.
            await comes_true(_is_waiting(stand_by, env["VOYADO_OUTBOX"]))
            parent.signal(signal.SIGKILL)
            assert await comes_true(drains(voyado, stand_by.pid)) < 1
            os.kill(int(found["child"]), 0)  # the child is alive all the while
            await voyado.receipts.send(receipt("after", 1, EMAILS[0]))
            await until(voyado, lambda status: count(status, "delivered") == 1)
    finally:
        os.kill(int(found["child"]), signal.SIGKILL)


def _is_waiting(process: Killable, outbox: str) -> Callable[[], Awaitable[bool]]:
    """Whether it has the outbox open, by what the kernel says."""

    async def look() -> bool:
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                if os.readlink(descriptor) == outbox:
                    return True
        return False

    return look


async def test_who_stops_inside_the_turn_costs_writers_five_seconds_and_a_clear_error(
    env: dict[str, str], started: Started
) -> None:
    async with looking_on(env) as voyado:
        await voyado.receipts.send(receipt("before", 1, EMAILS[0]))
        stopped = await started(ACTORS, "begin_and_stop")
        async with asyncio.timeout(20):
            while "stopping" not in stopped.said:
                await asyncio.sleep(0.01)
        began = time.monotonic()
        tries = await asyncio.gather(
            *(voyado.receipts.send(receipt("during", number, EMAILS[0])) for number in range(5)),
            return_exceptions=True,
        )
        took = time.monotonic() - began
        assert [type(error) for error in tries] == [OutboxUnavailable] * 5
        assert all("another process has held the turn" in str(error) for error in tries)
        assert not any("locked" in str(error) for error in tries)
        assert 4.5 < took < 6
        # Reads go on; and nothing of what was refused is there later.
        assert (await voyado.outbox.status()).accounting.enqueued == 1
        stopped.signal(signal.SIGCONT)
        assert await told(stopped) == ["went on"]
        await voyado.receipts.send(receipt("after", 1, EMAILS[0]))
        await the_books_close(voyado, 2)


async def test_who_is_killed_inside_the_turn_costs_nobody_anything(env: dict[str, str], started: Started) -> None:
    async with looking_on(env) as voyado:
        stopped = await started(ACTORS, "begin_and_stop")
        async with asyncio.timeout(20):
            while "stopping" not in stopped.said:
                await asyncio.sleep(0.01)
        waiting = asyncio.create_task(voyado.receipts.send(receipt("during", 1, EMAILS[0])))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        stopped.signal(signal.SIGKILL)
        async with asyncio.timeout(1):
            await waiting
        await the_books_close(voyado, 1)


async def test_waiting_for_an_entry_works_where_another_process_drains(
    engage: Engage, env: dict[str, str], started: Started
) -> None:
    async with looking_on(env) as voyado:
        sidecar = await started(*DRAIN)
        await comes_true(drains(voyado, sidecar.pid))
        waiter = await started(ACTORS, "wait")
        written, outcome = await told(waiter, 2)
        assert outcome["state"] == "delivered"
        assert outcome["waited"] - written["written"] < 1


async def test_a_commit_of_another_process_wakes_the_sidecar(
    engage: Engage, env: dict[str, str], started: Started
) -> None:
    """Floors at several times the figures of `tests/perf/bench_wake.py`; a lost wake would cost 250 ms."""
    async with looking_on(env) as voyado:
        sidecar = await started(*DRAIN)
        await comes_true(drains(voyado, sidecar.pid))
        written: dict[str, float] = {}
        for number in range(60):
            await voyado.receipts.send(receipt("wake", number, EMAILS[number % 20]))
            written[f"S118-wake-{number}".lower()] = time.monotonic()
            await asyncio.sleep(0.03)
        await until(voyado, lambda status: count(status, "delivered") == 60)
        rows = await arrivals(engage)
    arrived = {row["ids"]["receipt"].lower(): row["began"] for row in rows if "receipt" in row["ids"]}
    delays = sorted(arrived[subject] - moment for subject, moment in written.items())
    assert delays[30] < 0.05
    assert delays[57] < 0.2


# what the kernel sees -------------------------------------------------------------------------------------------------

_CALL = re.compile(
    r"^(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()"
    r"(?P<rest>.*?)(?P<unfinished> <unfinished \.\.\.>)?$"
)


class Call(msgspec.Struct, frozen=True):
    """One system call that is done: its name, what it was about, its result."""

    name: str
    about: str
    result: str


def calls(trace: str) -> list[Call]:
    """The calls of all threads, in the order in which they were done."""
    begun: dict[tuple[str, str], str] = {}
    done = []
    for line in trace.splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        name = match["name"] or match["resumed"]
        if match["unfinished"]:
            begun[match["thread"], name] = match["rest"]
            continue
        text = begun.pop((match["thread"], name), "") + match["rest"]
        about, _, result = text.rpartition(" = ")
        done.append(Call(name, about, result))
    return done


@pytest.fixture
async def trace(env: dict[str, str], started: Started, tmp_path: Path) -> list[Call]:
    """What a process did that wrote 1500 receipts, one commit each, beside another one that wrote as many."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: what the kernel sees is not looked at")
    log = tmp_path / "trace"
    async with looking_on(env):
        other = await started(ACTORS, "receipts", "1500")
        wanted = "trace=flock,pwrite64,write,fdatasync,fsync,ftruncate"
        traced = await asyncio.create_subprocess_exec(
            strace, "-f", "-y", "-s", "16", "-e", wanted, "-o", str(log),
            sys.executable, ACTORS, "receipts", "1500",
            env=env, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await asyncio.wait_for(traced.wait(), 100) == 0
        await other.end(60)
    return calls(log.read_text(encoding="utf-8", errors="replace"))


async def test_checkpoints_happen_inside_the_turn_and_a_write_is_synced_before_it_is_acknowledged(
    trace: list[Call], env: dict[str, str]
) -> None:
    database = env["VOYADO_OUTBOX"]
    held = dirty = False
    checkpoints = acknowledged = 0
    for call in trace:
        if call.name == "flock" and f"<{database}-turn>" in call.about and call.result == "0":
            held = "LOCK_EX" in call.about
        elif call.name == "pwrite64" and f"<{database}>" in call.about:
            assert held, "the database itself was written outside the turn"
            checkpoints += 1
        elif call.name == "pwrite64" and f"<{database}-wal>" in call.about:
            assert held, "the log was written outside the turn"
            dirty = True
        elif call.name in ("fdatasync", "fsync") and f"<{database}-wal>" in call.about:
            dirty = False
        elif call.name == "write" and '"ack ' in call.about:
            assert not dirty, "a write was acknowledged before it was on the disk"
            acknowledged += 1
    assert acknowledged == 1500
    assert checkpoints > 0, "the test is to see one"
