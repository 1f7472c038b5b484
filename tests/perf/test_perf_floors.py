"""What can be counted, and floors far below what any machine reaches: these tests find a design that broke, not a
slow minute. The figures and their targets are in the benchmarks beside this file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from perf_engage import engage
from perf_payloads import draft

from voyado_async import Settings, VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.events import Event, Settled
from voyado_async.outbox import writer
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.sqlite_sending import MARKS

BASE_URL = "http://127.0.0.1:9"
MANY = 200


@pytest_asyncio.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=SystemClock())
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def statements(outbox: SqliteOutbox) -> list[str]:
    """What the writer's connection runs from now on."""
    seen: list[str] = []
    await outbox._writer._connection.set_trace_callback(seen.append)
    return seen


async def test_writes_of_one_moment_share_a_commit(outbox: SqliteOutbox) -> None:
    before = outbox.commits
    await asyncio.gather(*(outbox.enqueue([draft(number)]) for number in range(MANY)))
    assert outbox.commits - before <= 2


async def test_callers_who_come_back_at_once_share_every_commit(outbox: SqliteOutbox) -> None:
    async def caller(first: int) -> None:
        for step in range(5):
            await outbox.enqueue([draft(first + 20 * step)])

    before = outbox.commits
    await asyncio.gather(*(caller(number) for number in range(20)))
    assert outbox.commits - before <= 10


async def test_a_batch_is_few_statements_however_many_writes_it_holds(
    outbox: SqliteOutbox, statements: list[str]
) -> None:
    await asyncio.gather(*(outbox.enqueue([draft(number)]) for number in range(MANY)))
    assert len(statements) <= 60


async def test_the_largest_batch_holds_the_turn_for_less_than_fifty_milliseconds(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread's own time, which no other process on the machine lengthens; the best of some."""
    held: list[float] = []
    transact = writer.Writer._transact

    def timed(*given: Any) -> Any:
        began = time.thread_time()
        try:
            return transact(*given)
        finally:
            held.append(time.thread_time() - began)

    monkeypatch.setattr(writer.Writer, "_transact", timed)
    content = b"x" * (writer.MAX_BYTES // writer.MOST_TOGETHER)
    for turn in range(5):
        drafts = [
            Draft(Kind.RECEIPT, content, f"contact:{number}", f"{turn}-{number}")
            for number in range(writer.MOST_TOGETHER)
        ]
        await outbox.enqueue(drafts)
    assert min(held) < 0.05


async def test_one_write_is_a_dozen_statements(outbox: SqliteOutbox, statements: list[str]) -> None:
    await outbox.enqueue([draft(1)])
    assert len(statements) <= 13


async def test_marks_of_one_moment_share_commits_some_at_a_time(outbox: SqliteOutbox) -> None:
    stored = await asyncio.gather(*(outbox.enqueue([draft(number)]) for number in range(50)))
    before = outbox.commits
    assert all(await asyncio.gather(*(outbox.mark_sending(one.id) for (one,) in stored)))
    assert outbox.commits - before == 50 / MARKS


async def test_the_log_has_its_size_from_the_start_and_the_database_does_not(tmp_path: Path) -> None:
    opened = await open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=SystemClock())
    try:
        assert (tmp_path / "outbox.db-wal").stat().st_size >= writer.LOG_SIZE * 0.9
        assert (tmp_path / "outbox.db").stat().st_size < 1_000_000
        assert (await opened.counts()).balanced
    finally:
        await opened.close()
    assert (tmp_path / "outbox.db").stat().st_size < 1_000_000


async def test_a_thousand_writes_of_a_hundred_callers_take_less_than_ten_seconds(outbox: SqliteOutbox) -> None:
    async def caller(first: int) -> None:
        for step in range(10):
            await outbox.enqueue([draft(first + 100 * step)])

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(100)))
    assert time.perf_counter() - started < 10


async def test_a_drain_asks_once_per_entry_and_shares_its_commits(tmp_path: Path) -> None:
    settled: list[Settled] = []
    done = asyncio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, Settled):
            settled.append(event)
            if len(settled) == MANY:
                done.set()

    with engage(0.02) as url:
        settings = Settings(
            base_url=url, api_key="none", outbox=str(tmp_path / "outbox.db"), spool_dir=str(tmp_path / "spool"),
            rate=1e6, concurrency=50,
        )  # fmt: skip
        opened = await open_outbox(tmp_path / "outbox.db", base_url=url, clock=SystemClock())
        await opened.enqueue([draft(number) for number in range(MANY)])
        await opened.close()
        started = time.perf_counter()
        async with VoyadoClient(settings, listeners=[listen]) as voyado:
            async with asyncio.timeout(30):
                await done.wait()
            records = [await voyado.outbox.get(event.entry_id) for event in settled]
            commits = _outbox(voyado).commits
    assert {record.state for record in records} == {"delivered"}
    assert sum(record.requests for record in records) == MANY
    assert commits <= MANY
    assert time.perf_counter() - started < 20


def _outbox(voyado: VoyadoClient) -> SqliteOutbox:
    outbox = voyado._writes._outbox
    assert isinstance(outbox, SqliteOutbox)
    return outbox


def test_the_package_brings_neither_the_file_road_nor_the_command_line() -> None:
    question = "import sys, voyado_async; print([m for m in ('asyncssh', 'lxml', 'click', 'rich') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
