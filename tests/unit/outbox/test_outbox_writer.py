"""Group commit: shared, in order, and one caller's trouble is nobody else's."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
from children import BASE_URL, draft

from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import ClientClosed, OutboxDamaged, OutboxUnavailable
from voyado_async.outbox import lock, sqlite_file, writer
from voyado_async.outbox.lock import LockFile, Turn
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.seal import NOT_SEALED
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State


def left_running(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads of ours that do not end by themselves at once."""
    ours = [thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")]
    for thread in ours:
        thread.join(2)
    return [thread for thread in ours if thread.is_alive()]


async def test_concurrent_writes_share_few_commits(outbox: SqliteOutbox) -> None:
    before = outbox.commits
    await asyncio.gather(*(outbox.enqueue([draft(lane=f"contact:{n}")]) for n in range(100)))
    assert outbox.commits - before <= 3


async def test_one_write_is_one_commit(outbox: SqliteOutbox) -> None:
    before = outbox.commits
    await outbox.enqueue([draft() for _ in range(50)])
    assert outbox.commits - before == 1


async def test_batches_are_cut_while_another_process_wants_the_turn_and_whole_again_afterwards(
    outbox: SqliteOutbox,
) -> None:
    other = LockFile(f"{outbox.path}-turn")
    assert other.take()
    first = asyncio.create_task(outbox.enqueue([draft()]))
    while not outbox._turn.contended:
        await asyncio.sleep(0.01)
    before = outbox.commits
    writes = [asyncio.create_task(outbox.enqueue([draft(lane=f"contact:{n}")])) for n in range(450)]
    await asyncio.sleep(0)
    other.close()
    await first
    await asyncio.gather(*writes)
    assert outbox.commits - before == 3  # the first one, a cut one, and the rest together


async def test_concurrent_marks_and_settlements_share_few_commits(outbox: SqliteOutbox) -> None:
    stored = await outbox.enqueue([draft(lane=f"contact:{n}") for n in range(50)])
    before = outbox.commits
    assert all(await asyncio.gather(*(outbox.mark_sending(one.id) for one in stored)))
    moves = [Settlement(one.id, State.SENDING, State.DELIVERED) for one in stored]
    assert all(await asyncio.gather(*(outbox.settle(move) for move in moves)))
    assert outbox.commits - before <= 6


async def test_no_commit_holds_more_rows_or_bytes_than_its_share(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_ROWS", 10)
    before = outbox.commits
    await asyncio.gather(*(outbox.enqueue([draft()]) for _ in range(100)))
    assert outbox.commits - before >= 10
    monkeypatch.setattr(writer, "MAX_BYTES", 1000)
    before = outbox.commits
    await asyncio.gather(*(outbox.enqueue([draft(b"x" * 900)]) for _ in range(5)))
    assert outbox.commits - before == 5
    await outbox.enqueue([draft(b"x" * 900) for _ in range(20)])
    assert (await outbox.counts()).enqueued == 125


async def test_a_write_with_values_that_cannot_be_stored_fails_alone(outbox: SqliteOutbox) -> None:
    bad = Draft(Kind.RECEIPT, b"{}", "contact:\udcff")
    results = await asyncio.gather(
        *(outbox.enqueue([bad if n == 3 else draft()]) for n in range(8)), return_exceptions=True
    )
    assert [n for n, result in enumerate(results) if isinstance(result, BaseException)] == [3]
    assert (await outbox.counts()).balanced
    assert (await outbox.counts()).enqueued == 7


async def test_a_function_that_fails_fails_alone_and_leaves_nothing(outbox: SqliteOutbox) -> None:
    def half(database: sqlite3.Connection) -> None:
        database.execute("INSERT INTO meta (name, value) VALUES ('half', '1')")
        raise LookupError

    results = await asyncio.gather(
        outbox.enqueue([draft()]), outbox._writer.call(half), outbox.enqueue([draft()]), return_exceptions=True
    )
    assert [type(result) for result in results] == [list, LookupError, list]
    assert await outbox._rows("fact", name="half") == []


async def test_a_value_that_is_too_long_for_sqlite_fails_alone(outbox: SqliteOutbox) -> None:
    await outbox._writer.call(lambda c: c.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000))
    results = await asyncio.gather(
        outbox.enqueue([draft()]), outbox.enqueue([draft(b"x" * 20_000)]), return_exceptions=True
    )
    assert [isinstance(result, list) for result in results] == [True, False]


async def test_a_damaged_page_is_not_called_a_full_disk(outbox: SqliteOutbox) -> None:
    def damage(database: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.raises(OutboxDamaged):
        await outbox._writer.call(damage)


async def test_nothing_of_ours_is_left_running_after_closing(path: Path) -> None:
    before = set(threading.enumerate())
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    other = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    await asyncio.gather(*((outbox, other)[n % 2].enqueue([draft()]) for n in range(200)))
    await outbox.close()
    await other.close()
    assert left_running(before) == []
    assert [task.get_name() for task in asyncio.all_tasks() if "outbox" in task.get_name()] == []


async def test_closing_that_is_cancelled_goes_on(path: Path) -> None:
    """A connection that stays open would keep the process alive for ever."""
    before = set(threading.enumerate())
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    writing = asyncio.create_task(outbox.enqueue([draft()]))
    closing = asyncio.create_task(outbox.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert len(await writing) == 1
    await outbox.close()
    assert left_running(before) == []


async def test_who_cancels_every_task_of_the_program_does_not_stop_the_writer(path: Path) -> None:
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
    assert [stored.id for stored in await outbox.enqueue([draft()])] == [1]
    await outbox.close()
    with pytest.raises(ClientClosed):
        await outbox.enqueue([draft()])


async def test_an_error_of_the_writer_itself_is_told_to_everybody_who_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())

    def broken(*_: object) -> list[object]:
        raise RuntimeError("the writer itself")

    with monkeypatch.context() as patched:
        patched.setattr(outbox._writer, "_write", broken)
        told = await asyncio.gather(*(outbox.enqueue([draft()]) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [RuntimeError] * 3
    assert len(await outbox.enqueue([draft()])) == 1
    await outbox.close()


async def test_an_opening_that_fails_halfway_leaves_nothing_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[str]:
        raise OutboxUnavailable("no")

    before = set(threading.enumerate())
    monkeypatch.setattr(sqlite_file, "prepare", refuse)
    with pytest.raises(OutboxUnavailable):
        await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    assert left_running(before) == []


async def test_the_checkpoint_of_a_closing_waits_for_the_turn(path: Path) -> None:
    """A checkpoint that meets a commit of another process can damage the database (SQLite up to 3.51.2)."""
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    await outbox.enqueue([draft()])
    log = Path(f"{path}-wal")
    other = LockFile(f"{path}-turn")
    assert other.take()
    closing = asyncio.create_task(outbox.close())
    while not outbox._turn.contended:
        assert not closing.done()
        await asyncio.sleep(0.01)
    assert log.stat().st_size > 0
    other.close()
    await closing
    assert not log.exists()


async def test_a_log_is_made_longer_inside_the_turn_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of it a writer of another process would find the database locked."""
    await (await open_outbox(path, base_url=BASE_URL, clock=SystemClock())).close()
    monkeypatch.setattr(lock, "TURN_WAIT", 0.1)
    other, turn = LockFile(f"{path}-turn"), Turn(f"{path}-turn")
    assert other.take()
    late = writer.Writer(str(path), turn, lambda: None, SystemClock().monotonic)
    log = Path(f"{path}-wal")
    try:
        await late.open(NOT_SEALED)
        assert not log.exists() or log.stat().st_size < writer.LOG_SIZE / 2
    finally:
        other.close()
        await late.close()
        turn.close()


async def test_a_batch_that_cannot_be_handed_to_the_thread_fails_and_closing_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection's thread takes nothing any more: every caller is told, and the outbox can be closed."""
    outbox = await open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=SystemClock())

    def post(*_: object) -> None:
        raise ValueError("no active connection")

    monkeypatch.setattr(outbox._writer._connection, "post", post)
    writes = [asyncio.create_task(outbox.enqueue([draft(lane=f"contact:{n}")])) for n in range(writer.MAX_ROWS + 1)]
    told = await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 5)
    assert {str(error) for error in told} == {"no active connection"}
    await asyncio.wait_for(outbox.close(), 5)


async def test_a_batch_that_cannot_be_put_together_fails_and_the_next_one_is_written(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(outbox._writer, "_take_next", lambda batch: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(outbox.enqueue([draft()]), 5)
    assert [one.id for one in await asyncio.wait_for(outbox.enqueue([draft()]), 5)] == [1]


async def test_a_log_that_grew_under_a_long_read_is_short_again_afterwards(outbox: SqliteOutbox, path: Path) -> None:
    log = Path(f"{path}-wal")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entry").fetchone()
    for number in range(6):
        await outbox.enqueue([Draft(Kind.RECEIPT, b"x" * 4_000_000, f"contact:{number}")])
    assert log.stat().st_size > writer.KEPT_LOG_SIZE
    reader.close()
    # The first moves it into the database, the next begins the log anew.
    for number in range(2):
        await outbox.enqueue([draft(key=str(number))])
    assert log.stat().st_size <= writer.KEPT_LOG_SIZE
