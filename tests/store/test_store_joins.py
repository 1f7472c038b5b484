"""A lane of an address becomes one with the lane of an id, at any moment of both (DESIGN 3, "Order")."""

from __future__ import annotations

import random
import sqlite3

import pytest
from entries import AWAY, START, OpenOutbox, StandingClock, bring_to, claimed, draft, move, put, spool

from voyado_async.delivery import Kind
from voyado_async.outbox import moves
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.outbox.verify import Unfinished, lane_should_be

EMAIL, PHONE, BY_ID, OTHER = "email:anna@example.com", "mobile:+46700000000", "contact:x", "contact:bo"


async def lane_of(outbox: Outbox, name: str) -> int:
    """The lane whose turn the entries of this name have; made with an entry that is gone at once."""
    (entry,) = await put(outbox, draft(lane=name))
    database = sqlite3.connect(outbox.path)
    (lane,) = database.execute("SELECT lane FROM entry WHERE id = ?", (entry,)).fetchone()
    database.close()
    await outbox.cancel(entry, "Cancelled")
    return int(lane)


async def join(outbox: Outbox, name: str, contact_id: str = "x") -> bool:
    return await outbox.join_lanes(await lane_of(outbox, name), contact_id, name)


@pytest.mark.parametrize("kind", [Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE, Kind.RECEIPT])
@pytest.mark.parametrize("state", AWAY)
@pytest.mark.parametrize("names", [(EMAIL, BY_ID), (BY_ID, EMAIL)])
async def test_what_left_from_either_lane_holds_what_waits_in_the_other(
    outbox: Outbox, kind: Kind, state: State, names: tuple[str, str]
) -> None:
    """The table of holding has its own tests; here the two entries hang under different lanes."""
    gone, change, receipt = await put(
        outbox, draft(kind, names[0]), draft(Kind.CONTACT_UPDATE, names[1]), draft(Kind.RECEIPT, names[1])
    )
    await bring_to(outbox, gone, state)
    assert await join(outbox, EMAIL)
    expected = {Kind.CONTACT_CREATE: [], Kind.CONTACT_UPDATE: [receipt], Kind.RECEIPT: [change]}[kind]
    assert await claimed(outbox) == expected
    if state is State.IMPORTED:
        await move(outbox, gone, State.IMPORTED, State.DELIVERED)
        assert await claimed(outbox) == [change]


async def test_an_older_change_that_waits_in_the_other_lane_keeps_a_newer_one_out_of_a_file(outbox: Outbox) -> None:
    old, new, newest = await put(
        outbox,
        draft(Kind.CONTACT_UPDATE, BY_ID), draft(Kind.CONTACT_UPDATE, EMAIL), draft(Kind.CONTACT_UPDATE, BY_ID),
    )  # fmt: skip
    await bring_to(outbox, new, State.EXHAUSTED)
    assert [message.id async for message in outbox.exhausted()] == [new]
    assert await join(outbox, EMAIL)
    assert [message.id async for message in outbox.exhausted()] == []
    assert await outbox.exhaust_lanes([await lane_of(outbox, EMAIL)], START) == 2
    leaving = [message async for message in outbox.exhausted()]
    assert [message.id for message in leaving] == [old, new, newest]
    assert {(message.lane_key, message.contact_id) for message in leaving} == {(BY_ID, "x")}
    assert len({message.lane for message in leaving}) == 1


async def test_imported_changes_of_both_lanes_are_confirmed_oldest_first(outbox: Outbox) -> None:
    ids = await put(outbox, *(draft(Kind.CONTACT_UPDATE, name) for name in (EMAIL, BY_ID, EMAIL)))
    for entry in ids:
        await bring_to(outbox, entry, State.IMPORTED)
    assert await join(outbox, EMAIL)
    for entry in ids:
        (message,) = await outbox.to_confirm(10, START)
        assert message.id == entry
        assert len((await outbox.newer_changes(message, lambda _: False)).writes) == len(ids) - 1 - ids.index(entry)
        await move(outbox, entry, State.IMPORTED, State.DELIVERED)


async def test_a_takeover_lets_the_joined_lane_rest(outbox: Outbox) -> None:
    first, second = await put(outbox, draft(lane=EMAIL), draft(lane=BY_ID))
    assert await join(outbox, EMAIL)
    assert await outbox.mark_sending(first)
    assert len(await outbox.take_over(START, START + 10_000)) == 1
    assert await claimed(outbox, START + 9_999) == []
    assert await claimed(outbox, START + 10_000) == [first]
    assert not await outbox.mark_sending(second)


async def test_a_joined_lane_goes_whole_with_its_exhausted_head(outbox: Outbox) -> None:
    ids = await put(outbox, *(draft(lane=name) for name in (EMAIL, BY_ID, PHONE, EMAIL)))
    old_name = await lane_of(outbox, EMAIL)
    assert await join(outbox, EMAIL)
    assert await join(outbox, PHONE)
    assert await outbox.exhaust_lanes([old_name], START) == len(ids)
    assert await outbox.bring_back(START) == len(ids)
    for entry in ids:
        assert await claimed(outbox) == [entry]
        await bring_to(outbox, entry, State.DELIVERED)


@pytest.mark.parametrize("sending", [EMAIL, BY_ID, PHONE])
async def test_a_request_under_way_in_any_part_puts_the_join_off(outbox: Outbox, sending: str) -> None:
    """`PHONE` was joined before: its requests are the contact's, too."""
    names = (EMAIL, BY_ID, PHONE)
    entries = dict(zip(names, await put(outbox, *(draft(lane=name) for name in names)), strict=True))
    assert await join(outbox, PHONE)
    if sending == PHONE:
        await bring_to(outbox, entries[BY_ID], State.DELIVERED)
    assert await outbox.mark_sending(entries[sending])
    assert not await join(outbox, EMAIL)
    await move(outbox, entries[sending], State.SENDING, State.DELIVERED)
    assert await join(outbox, EMAIL)


async def test_a_process_that_dies_within_a_join_has_not_begun_it(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    await put(outbox, draft(lane=EMAIL), draft(lane=BY_ID), draft(lane=EMAIL))
    lane = await lane_of(outbox, EMAIL)
    before = await claimed(outbox)
    dying = sqlite3.connect(outbox.path, isolation_level=None)
    dying.execute("BEGIN IMMEDIATE")
    assert moves.join_lanes(dying, lane, "x", EMAIL, None, START)
    dying.close()
    again = await open_outbox()
    assert await claimed(again) == before
    assert await again.contact_id(EMAIL) is None


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_around_joins_the_turn_is_that_of_the_oldest(
    outbox: Outbox, clock: StandingClock, seed: int
) -> None:
    """Random stories of three names of one contact and a stranger; after each step every turn is worked out anew from
    the entries and from who was joined."""
    story = random.Random(seed)
    names = [EMAIL, PHONE, BY_ID, OTHER]
    group = {name: name for name in names}
    name_of: dict[int, str] = {}

    def enqueue() -> list[str]:
        return [story.choice(names) for _ in range(story.randint(1, 4))]

    for _ in range(40):
        step = story.choice(["write", "write", "write", "join", "carry", "carry", "carry", "leave", "back", "file"])
        if step == "write":
            wanted = enqueue()
            written = await put(outbox, *(draft(story.choice(list(Kind)), name) for name in wanted))
            name_of |= dict(zip(written, wanted, strict=True))
        elif step == "join":
            name = story.choice([EMAIL, PHONE])
            if any(name == lane for lane in group.values()):
                assert await join(outbox, name)
                group[name] = BY_ID
        elif step == "carry":
            for message in await outbox.claim(story.randint(1, 3), clock.time, frozenset()):
                target = story.choice([State.DELIVERED, State.PENDING, State.REJECTED, State.EXHAUSTED])
                if await outbox.mark_sending(message.id):
                    rest = story.choice([0, clock.time + 10_000])
                    due = clock.time + story.choice([0, 1_000])
                    await move(
                        outbox, message.id, State.SENDING, target, due=due, rest_until=rest,
                        outage=target is State.EXHAUSTED,
                    )  # fmt: skip
        elif step == "leave":
            for message in await outbox.claim(1, clock.time, frozenset()):
                await outbox.exhaust_lanes([message.lane], clock.time)
        elif step == "back":
            await outbox.bring_back(clock.time)
        else:
            leaving = [message.id async for message in outbox.exhausted()]
            if leaving:
                record = await spool(outbox, *leaving)
                if story.random() < 0.5:
                    await outbox.update_file(
                        record.id, state="withdrawn", now=clock.time, entries_to=State.PENDING, outage_only=True
                    )
        clock.time += story.choice([0, 500, 11_000])
        assert [finding for finding in await outbox.verify() if not finding.ok] == []
        unfinished: dict[str, list[Unfinished]] = {}
        for entry in await outbox.entries(EntryFilter()):
            if entry.state not in (State.DELIVERED, State.REJECTED, State.DISCARDED) and entry.id in name_of:
                one = Unfinished(entry.id, entry.kind, entry.state, entry.due)
                unfinished.setdefault(group[name_of[entry.id]], []).append(one)
        turns = {lane_should_be(entries, 0).head for entries in unfinished.values()} - {None}
        # Whatever rests or waits for its retry is due by then.
        assert set(await claimed(outbox, clock.time + 60_000)) == turns
