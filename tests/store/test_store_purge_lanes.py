"""Lanes go when nothing is left of their contact; before that none does, and none is joined to one that is gone."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from entries import START, StandingClock, bring_to, claimed, draft, move, put

from voyado_async.delivery import Kind
from voyado_async.outbox import moves, purging
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

DAY = 86_400_000
LATER = START + 31 * DAY
EMAIL, BY_ID, NEWEST = "email:anna@example.com", "contact:x", "contact:newest"


def lanes(outbox: Outbox) -> set[str]:
    database = sqlite3.connect(outbox.path)
    rows = database.execute("SELECT key FROM lane").fetchall()
    database.close()
    return {row[0] for row in rows}


def lane_id(outbox: Outbox, key: str) -> int:
    database = sqlite3.connect(outbox.path)
    (lane,) = database.execute("SELECT id FROM lane WHERE key = ?", (key,)).fetchone()
    database.close()
    return int(lane)


async def purge(outbox: Outbox) -> int:
    """A month later, everything that may go."""
    return await outbox.purge(LATER, LATER)


@pytest.mark.parametrize(
    ("state", "stays"),
    [(state, state not in (State.DELIVERED, State.DISCARDED)) for state in State if state is not State.SENDING],
)
async def test_a_lane_goes_with_its_last_entry(outbox: Outbox, clock: StandingClock, state: State, stays: bool) -> None:
    entry, _ = await put(outbox, draft(lane="contact:anna"), draft(lane=NEWEST))
    await bring_to(outbox, entry, state)
    clock.time = LATER
    await purge(outbox)
    assert ("contact:anna" in lanes(outbox)) is stays
    (again,) = await put(outbox, draft(lane="contact:anna"))
    assert again in await claimed(outbox, LATER) or state is State.PENDING


async def test_a_fresh_entry_keeps_the_lane_that_an_old_one_has_left(outbox: Outbox, clock: StandingClock) -> None:
    (old,) = await put(outbox, draft())
    await bring_to(outbox, old, State.DELIVERED)
    clock.time = LATER
    (fresh, _) = await put(outbox, draft(), draft(lane=NEWEST))
    await bring_to(outbox, fresh, State.DELIVERED)
    assert await outbox.purge(LATER, LATER) == 1
    assert "contact:anna" in lanes(outbox)


@pytest.mark.parametrize("in_use", [EMAIL, BY_ID])
async def test_joined_lanes_go_together_and_not_before_either_is_empty(
    outbox: Outbox, clock: StandingClock, in_use: str
) -> None:
    first, second, _ = await put(outbox, draft(lane=EMAIL), draft(lane=BY_ID), draft(lane=NEWEST))
    assert await outbox.join_lanes(lane_id(outbox, EMAIL), "x", EMAIL)
    kept, gone = (first, second) if in_use == EMAIL else (second, first)
    await bring_to(outbox, first, State.REJECTED if kept == first else State.DELIVERED)
    await bring_to(outbox, second, State.REJECTED if kept == second else State.DELIVERED)
    clock.time = LATER
    assert await purge(outbox) == 1
    assert lanes(outbox) == {EMAIL, BY_ID, NEWEST}
    assert await move(outbox, kept, State.REJECTED, State.DISCARDED)
    clock.time += DAY
    assert await outbox.purge(clock.time, clock.time) == 1
    assert lanes(outbox) == {NEWEST}
    assert gone not in [entry.id for entry in await outbox.entries(EntryFilter())]


async def test_a_known_address_keeps_what_was_joined_by_it(outbox: Outbox, clock: StandingClock) -> None:
    """In an outage it is all that is known; it goes with the address."""
    (first,) = await put(outbox, draft(lane=EMAIL))
    assert await outbox.join_lanes(lane_id(outbox, EMAIL), "x", EMAIL)
    await bring_to(outbox, first, State.DELIVERED)
    await put(outbox, draft(lane=NEWEST))
    await outbox.unlearn_address(EMAIL)
    clock.time = LATER
    await outbox.remember_contacts([(EMAIL, "X", 0)])
    clock.time += 1
    assert await purge(outbox) == 1
    assert lanes(outbox) == {EMAIL, BY_ID, NEWEST}
    assert await outbox.purge(LATER + 1, LATER) == 0
    assert await outbox.contact_id(EMAIL) is None
    assert lanes(outbox) == {NEWEST}


async def test_a_lane_that_rests_stays(outbox: Outbox, clock: StandingClock) -> None:
    entry, _ = await put(outbox, draft(), draft(lane=NEWEST))
    clock.time = LATER
    await move(outbox, entry, State.PENDING, State.DELIVERED, rest_until=LATER + 10_000)
    await outbox.purge(LATER + 1, LATER)
    assert "contact:anna" in lanes(outbox)
    clock.time = LATER + 10_001
    await outbox.purge(LATER + 1, LATER)
    assert "contact:anna" not in lanes(outbox)


async def test_no_lane_ever_gets_the_id_of_one_that_is_gone(outbox: Outbox, clock: StandingClock) -> None:
    """Who has the number of a lane in hand must not find another contact under it."""
    ids = await put(outbox, draft(lane="contact:a"), draft(lane="contact:b"))
    numbers = {lane_id(outbox, "contact:a"), lane_id(outbox, "contact:b")}
    for entry in ids:
        await bring_to(outbox, entry, State.DELIVERED)
    clock.time = LATER
    assert await purge(outbox) == 2
    await put(outbox, draft(lane="contact:c"))
    assert lane_id(outbox, "contact:c") not in numbers


async def test_what_happens_between_the_look_and_the_purge_keeps_the_lane(outbox: Outbox, clock: StandingClock) -> None:
    """Both purges were decided when the lanes were idle and empty: then one got an entry, the other a joined lane."""
    names = ("contact:written", "contact:x", EMAIL, "contact:idle", NEWEST)
    entries = await put(outbox, *(draft(lane=name) for name in names))
    for entry in entries:
        await bring_to(outbox, entry, State.DELIVERED)
    idle = [lane_id(outbox, name) for name in names if name != EMAIL]
    database = sqlite3.connect(outbox.path, isolation_level=None)
    moves.count_new(database)
    database.execute("DELETE FROM entry WHERE lane IN (SELECT value FROM json_each(?))", (str(idle),))
    database.execute("UPDATE counter SET value = value + ? WHERE name = 'purged'", (len(idle),))
    (written,) = await put(outbox, draft(lane="contact:written"))
    await bring_to(outbox, written, State.DELIVERED)
    assert await outbox.join_lanes(lane_id(outbox, EMAIL), "x", EMAIL)
    database.execute("DELETE FROM contact")
    database.execute("BEGIN IMMEDIATE")
    assert purging.purge_lanes(database, lanes=idle, seen=entries[-1]) == 1
    database.execute("COMMIT")
    database.close()
    assert lanes(outbox) == {"contact:written", "contact:x", EMAIL, NEWEST}


async def test_an_answer_from_before_a_lane_came_and_went_is_not_the_newest(
    outbox: Outbox, clock: StandingClock
) -> None:
    before = await outbox.mark("contact:x")
    marks = [before]
    for _ in range(2):
        await outbox.touch("contact:x")
        marks.append(await outbox.mark("contact:x"))
        await put(outbox, draft(lane=f"contact:{len(marks)}"))
        await purge(outbox)
        assert "contact:x" not in lanes(outbox)
        marks.append(await outbox.mark("contact:x"))
    assert len(set(marks)) == len(marks)


async def test_thousands_of_lanes_go_while_others_are_written(outbox: Outbox, clock: StandingClock) -> None:
    for start in range(0, 3000, 500):
        entries = await put(outbox, *(draft(Kind.RECEIPT, f"contact:{n}") for n in range(start, start + 500)))
        await asyncio.gather(*(move(outbox, entry, State.PENDING, State.DELIVERED) for entry in entries))
    clock.time = LATER
    kept = {f"contact:{number}" for number in range(0, 3000, 100)}
    purging = asyncio.create_task(purge(outbox))
    for name in kept:
        await put(outbox, draft(lane=name))
    await purging
    assert kept <= lanes(outbox)
    assert len(lanes(outbox)) == len(kept | {"contact:2999"})


async def test_a_lane_that_was_forgotten_and_purged_while_engage_was_asked_is_joined_to_nothing(
    outbox: Outbox, clock: StandingClock, tmp_path: Path
) -> None:
    """Nor is anything learned of its contact."""
    await put(outbox, draft(lane=EMAIL))
    lane = lane_id(outbox, EMAIL)
    operations = Operations(outbox, clock, Settings(outbox=str(tmp_path / "outbox.db")))
    await operations.forget("anna@example.com", drop_pending=True)
    await put(outbox, draft(lane=NEWEST))
    await purge(outbox)
    assert lanes(outbox) == {NEWEST}
    assert await outbox.join_lanes(lane, "x", EMAIL)
    assert (lanes(outbox), await outbox.contact_id(EMAIL)) == ({NEWEST}, None)
