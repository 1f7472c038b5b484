"""Large files move in chunks: a crash between any two of them is completed by a second call."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from children import BASE_URL, draft

from voyado_async.clock import SystemClock
from voyado_async.delivery import FileFamily
from voyado_async.errors import TransitionRefused
from voyado_async.outbox import file_moves, sqlite_second_road
from voyado_async.outbox.records import FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State

ENTRIES = 7
CHUNK = 2
NOW = 1_700_000_000_000


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_second_road, "CHUNK", CHUNK)


def crash_after(outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch, transactions: int) -> None:
    """That many more transactions are committed, then none."""
    left, call = [transactions], outbox._writer.call

    async def counted(work: Callable[[sqlite3.Connection], Any], rows: int = 1) -> Any:
        if left[0] == 0:
            raise Crash
        left[0] -= 1
        return await call(work, rows)

    monkeypatch.setattr(outbox._writer, "call", counted)


async def exhausted(outbox: SqliteOutbox) -> list[int]:
    ids = [one.id for one in await outbox.enqueue([draft(lane=f"contact:{n}") for n in range(ENTRIES)])]
    moves = [Settlement(one, State.PENDING, State.EXHAUSTED, slots=8, outage=one % 2 == 1) for one in ids]
    assert all(await asyncio.gather(*(outbox.settle(move) for move in moves)))
    return ids


def record(name: str = "x_transactions.xml") -> FileRecord:
    return FileRecord(
        0, name, FileFamily.TRANSACTIONS, "Member", "contactId", "spooled", ENTRIES, ENTRIES, 1, NOW
    )  # fmt: skip


async def states(outbox: SqliteOutbox) -> list[State]:
    return [state for _, (state, _) in sorted((await outbox.states_of(range(1, ENTRIES + 1))).items())]


async def again(outbox: SqliteOutbox) -> SqliteOutbox:
    await outbox.close()
    return await open_outbox(outbox.path, base_url=BASE_URL, clock=SystemClock())


@pytest.fixture
async def fresh(path: Path) -> SqliteOutbox:
    return await open_outbox(path, base_url=BASE_URL, clock=SystemClock())


async def test_nothing_more_comes_into_a_file_that_a_person_withdraws_while_it_is_spooled(
    outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, call, steps = await exhausted(outbox), outbox._writer.call, [0]

    async def meanwhile(work: Callable[[sqlite3.Connection], Any], rows: int = 1) -> Any:
        done = await call(work, rows)
        steps[0] += 1
        if steps[0] == 3:
            (file,) = await outbox.files(open_only=True)
            await outbox.update_file(file.id, state="withdrawn", now=NOW, entries_to=State.EXHAUSTED)
        return done

    monkeypatch.setattr(outbox._writer, "call", meanwhile)
    assert len(await outbox.spool_file(record(), ids)) == 2 * CHUNK
    assert await states(outbox) == [State.EXHAUSTED] * ENTRIES


@pytest.mark.parametrize("transactions", range(1, 5))
async def test_a_file_whose_spooling_was_interrupted_is_incomplete_and_withdrawn(
    fresh: SqliteOutbox, monkeypatch: pytest.MonkeyPatch, transactions: int
) -> None:
    ids = await exhausted(fresh)
    crash_after(fresh, monkeypatch, transactions)
    with pytest.raises(Crash):
        await fresh.spool_file(record(), ids)
    after = await again(fresh)
    (file,) = await after.files(open_only=True)
    assert (file.state, file.problem) == ("spooled", "incomplete")
    assert (await states(after)).count(State.SPOOLED) == CHUNK * (transactions - 1)
    with pytest.raises(TransitionRefused):
        await after.update_file(file.id, state="uploading", now=NOW, entries_to=State.UPLOADED)
    await after.update_file(file.id, state="withdrawn", now=NOW, entries_to=State.EXHAUSTED)
    assert await states(after) == [State.EXHAUSTED] * ENTRIES
    assert (await after.counts()).balanced
    assert await after.spool_file(record("y_transactions.xml"), ids) == ids
    await after.close()


WAYS: list[tuple[str, State, tuple[str, ...], set[State], str]] = [
    # to which state, entries to, by which steps there, where the entries may be in between, the file in between
    ("uploading", State.UPLOADED, (), {State.SPOOLED, State.UPLOADED}, "uploading"),
    ("uploaded", State.UPLOADED, (), {State.SPOOLED, State.UPLOADED}, "uploaded"),
    ("imported", State.IMPORTED, ("uploaded",), {State.UPLOADED, State.IMPORTED}, "uploaded"),
    ("imported", State.DELIVERED, ("uploaded",), {State.UPLOADED, State.IMPORTED, State.DELIVERED}, "uploaded"),
    ("withdrawn", State.EXHAUSTED, (), {State.SPOOLED, State.EXHAUSTED}, "spooled"),
    ("lost", State.EXHAUSTED, (), {State.SPOOLED, State.EXHAUSTED}, "spooled"),
    ("withdrawn", State.PENDING, (), {State.SPOOLED, State.PENDING}, "spooled"),
]


@pytest.mark.parametrize("transactions", range(1, 4))
@pytest.mark.parametrize(("state", "target", "steps", "between", "file_between"), WAYS)
async def test_a_second_call_completes_what_a_crash_interrupted(
    fresh: SqliteOutbox,
    monkeypatch: pytest.MonkeyPatch,
    transactions: int,
    state: str,
    target: State,
    steps: tuple[str, ...],
    between: set[State],
    file_between: str,
) -> None:
    ids = await exhausted(fresh)
    assert await fresh.spool_file(record(), ids) == ids
    for step in steps:
        await fresh.update_file(1, state=step, now=NOW, entries_to=State.UPLOADED)
    crash_after(fresh, monkeypatch, transactions)
    with pytest.raises(Crash):
        await fresh.update_file(1, state=state, now=NOW, entries_to=target)
    after = await again(fresh)
    assert set(await states(after)) <= between
    (file,) = await after.files(open_only=False)
    assert file.state == file_between
    if file_between == "spooled":
        assert file.problem == "incomplete"
        with pytest.raises(TransitionRefused):
            await after.update_file(1, state="uploading", now=NOW, entries_to=State.UPLOADED)
    moved = await after.update_file(1, state=state, now=NOW, entries_to=target)
    assert moved <= ENTRIES
    assert await states(after) == [target] * ENTRIES
    (file,) = await after.files(open_only=False)
    assert (file.state, file.problem) == (state, None)
    assert (await after.counts()).balanced
    await after.close()


@pytest.mark.parametrize("transactions", range(1, 4))
async def test_a_mixed_file_that_was_half_taken_back_is_taken_back_whole(
    fresh: SqliteOutbox, monkeypatch: pytest.MonkeyPatch, transactions: int
) -> None:
    """Also where nothing of the outage is left in it when the second call comes."""
    ids = await exhausted(fresh)
    await fresh.spool_file(record(), ids)
    crash_after(fresh, monkeypatch, transactions)
    with pytest.raises(Crash):
        await fresh.update_file(1, state="withdrawn", now=NOW, entries_to=State.PENDING, outage_only=True)
    after = await again(fresh)
    await after.update_file(1, state="withdrawn", now=NOW, entries_to=State.PENDING, outage_only=True)
    assert await states(after) == [State.PENDING if one % 2 else State.EXHAUSTED for one in ids]
    assert (await after.files(open_only=False))[0].state == "withdrawn"
    await after.close()


async def test_a_withdrawal_and_an_upload_at_one_time_never_both_happen(outbox: SqliteOutbox) -> None:
    """Each by another process: whoever commits the first step wins."""
    ids = await exhausted(outbox)
    await outbox.spool_file(record(), ids)
    other = await open_outbox(outbox.path, base_url=BASE_URL, clock=SystemClock())
    results = await asyncio.gather(
        other.update_file(1, state="withdrawn", now=NOW, entries_to=State.EXHAUSTED),
        outbox.update_file(1, state="uploading", now=NOW, entries_to=State.UPLOADED),
        return_exceptions=True,
    )
    await other.close()
    assert [isinstance(result, TransitionRefused) for result in results].count(True) == 1
    assert len(set(await states(outbox))) == 1


def test_an_upload_that_has_begun_is_never_taken_back() -> None:
    for state in ("uploading", "uploaded", "imported"):
        assert not file_moves.FILE_MOVES[state] & {"spooled", "withdrawn", "lost"}
