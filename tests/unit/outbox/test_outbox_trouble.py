"""Bad days: disk full, read-only, locked, a turn that does not come."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from children import BASE_URL, child, draft, kill, line
from full_disk import fill

from voyado_async.clock import SystemClock
from voyado_async.errors import ConfigurationError, OutboxUnavailable, VoyadoError
from voyado_async.outbox import lock
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a full disk needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def refused(outbox: SqliteOutbox, *bodies: bytes) -> None:
    results = await asyncio.gather(*(outbox.enqueue([draft(body)]) for body in bodies), return_exceptions=True)
    assert [type(result) for result in results] == [OutboxUnavailable] * len(bodies)


async def test_a_full_disk_refuses_writes_stores_nothing_of_them_and_heals(small_disk: Path) -> None:
    outbox = await open_outbox(small_disk / "outbox.db", base_url=BASE_URL, clock=SystemClock())
    (kept,) = await outbox.enqueue([draft(b"kept", key="kept")])
    ballast = fill(small_disk)
    big = b"x" * 5_000_000
    for _ in range(3):
        await refused(outbox, big, big, big)
    assert await outbox.body(kept.id) == b"kept"
    counts = await outbox.counts()
    assert (counts.enqueued, counts.balanced) == (1, True)
    ballast.unlink()
    (stored,) = await outbox.enqueue([draft(b"again")])
    assert await outbox.body(stored.id) == b"again"
    await outbox.close()
    again = await open_outbox(small_disk / "outbox.db", base_url=BASE_URL, clock=SystemClock())
    counts = await again.counts()
    assert (counts.enqueued, counts.balanced) == (2, True)
    await again.close()


async def test_an_outbox_on_a_full_disk_is_not_opened_with_a_raw_error(small_disk: Path) -> None:
    path = small_disk / "outbox.db"
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    (stored,) = await outbox.enqueue([draft(b"kept")])
    await outbox.close()
    ballast = fill(small_disk)
    try:
        again = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    except VoyadoError:
        pass
    else:
        await again.close()
    ballast.unlink()
    healed = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    assert await healed.body(stored.id) == b"kept"
    await healed.close()


async def test_a_database_that_may_not_grow_refuses_writes_and_heals(outbox: SqliteOutbox) -> None:
    """The same without the right to mount: SQLite's own limit gives the same error."""
    pages = await outbox._writer.call(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await outbox._writer.call(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 5}").fetchall())
    await refused(outbox, b"x" * 100_000, b"x" * 100_000)
    (stored,) = await outbox.enqueue([draft()])
    assert await outbox.mark_sending(stored.id)
    await outbox._writer.call(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchall())
    await outbox.enqueue([draft(b"x" * 100_000)])
    counts = await outbox.counts()
    assert (counts.enqueued, counts.balanced) == (2, True)


async def test_a_settlement_that_cannot_be_written_is_refused_and_can_be_repeated(outbox: SqliteOutbox) -> None:
    (stored,) = await outbox.enqueue([draft()])
    await outbox._writer._connection.run(lambda c: c.execute("PRAGMA query_only = 1").fetchall())
    move = Settlement(stored.id, State.PENDING, State.DELIVERED)
    with pytest.raises(OutboxUnavailable):
        await outbox.settle(move)
    await outbox._writer._connection.run(lambda c: c.execute("PRAGMA query_only = 0").fetchall())
    assert await outbox.settle(move)


@pytest.fixture
async def read_only_disk(small_disk: Path) -> AsyncIterator[Path]:
    """An outbox on a file system that is read-only now."""
    outbox = await open_outbox(small_disk / "outbox.db", base_url=BASE_URL, clock=SystemClock())
    await outbox.enqueue([draft()])
    await outbox.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    yield small_disk
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


async def test_an_outbox_in_a_read_only_folder_is_refused(read_only_disk: Path) -> None:
    with pytest.raises(ConfigurationError, match="VOYADO_OUTBOX"):
        await open_outbox(read_only_disk / "outbox.db", base_url=BASE_URL, clock=SystemClock())


async def test_a_foreign_connection_that_holds_the_database_is_waited_for_and_then_told(outbox: SqliteOutbox) -> None:
    foreign = sqlite3.connect(outbox.path, isolation_level=None)
    await outbox._writer.call(lambda c: c.execute("PRAGMA busy_timeout = 200").fetchall())
    foreign.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutboxUnavailable):
        await outbox.enqueue([draft()])
    foreign.execute("ROLLBACK")
    foreign.close()
    assert len(await outbox.enqueue([draft()])) == 1
    assert (await outbox.counts()).enqueued == 1


HOLDER = """
import sys
from voyado_async.outbox.lock import Turn
with Turn(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("stopped", [False, True])
async def test_whoever_keeps_the_turn_costs_a_writer_the_wait_and_a_clear_error(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    holder = child(HOLDER, f"{outbox.path}-turn")
    assert line(holder) == "held"
    if stopped:
        os.kill(holder.pid, signal.SIGSTOP)
    monkeypatch.setattr(lock, "TURN_WAIT", 0.3)
    before = time.monotonic()
    with pytest.raises(OutboxUnavailable, match="turn"):
        await outbox.enqueue([draft()])
    assert 0.3 <= time.monotonic() - before < 2
    assert (await outbox.counts()).enqueued == 0
    kill(holder)
    monkeypatch.setattr(lock, "TURN_WAIT", 5.0)
    assert len(await outbox.enqueue([draft()])) == 1
    assert (await outbox.counts()).enqueued == 1


async def test_who_stands_behind_somebody_that_waits_in_vain_waits_no_longer_and_no_shorter(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while another commit waits for the turn goes with the next one; its time began before that."""
    holder = child(HOLDER, f"{outbox.path}-turn")
    assert line(holder) == "held"
    monkeypatch.setattr(lock, "TURN_WAIT", 1.0)

    async def write() -> float:
        before = time.monotonic()
        with pytest.raises(OutboxUnavailable, match="turn"):
            await outbox.enqueue([draft()])
        return time.monotonic() - before

    writers = []
    for _ in range(4):
        writers.append(asyncio.create_task(write()))
        await asyncio.sleep(0.2)
    for waited in await asyncio.gather(*writers):
        assert 0.7 <= waited < 1.7
    # These stand behind two that wait in vain, and come to their turn in their order.
    in_vain = asyncio.create_task(write())
    await asyncio.sleep(0.2)
    also_in_vain = asyncio.create_task(write())
    await asyncio.sleep(0.4)
    last = [asyncio.create_task(outbox.enqueue([draft()])) for _ in range(3)]
    await asyncio.gather(in_vain, also_in_vain)
    monkeypatch.setattr(lock, "TURN_WAIT", 5.0)
    kill(holder)
    assert [stored.id for (stored,) in await asyncio.gather(*last)] == [1, 2, 3]


async def test_a_reader_waits_for_no_writer(outbox: SqliteOutbox) -> None:
    (stored,) = await outbox.enqueue([draft()])
    holder = child(HOLDER, f"{outbox.path}-turn")
    assert line(holder) == "held"
    foreign = sqlite3.connect(outbox.path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(1):
        assert await outbox.body(stored.id) == b"{}"
    foreign.close()
    kill(holder)
