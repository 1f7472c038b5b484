"""What newer contact writes have set, or may have: an older value must not overwrite it (DESIGN 1)."""

from __future__ import annotations

import pytest
from entries import START, bring_to, draft, move, put, spool

from voyado_async.delivery import Draft, Kind, Message, Newer
from voyado_async.outbox.sqlite_second_road import NEWER
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

EMAIL, PHONE, ANNA = "email:anna@example.com", "mobilePhone:+46700000001", "contact:anna"


def update(lane: str = ANNA, body: bytes = b"newer") -> Draft:
    return draft(Kind.CONTACT_UPDATE, lane, body=body)


async def message_of(outbox: Outbox, entry: int) -> Message:
    """As a stage has it in hand."""
    record = await outbox.get(entry)
    return Message(entry, record.kind, await outbox.body(entry), 0, record.lane, record.created)


def no_end(_: Newer) -> bool:
    """All that is newer is wanted."""
    return False


async def in_force(outbox: Outbox, entry: int) -> list[bytes]:
    return sorted(body for _, body in await outbox.newer_in_force(await message_of(outbox, entry)))


async def changes(outbox: Outbox, entry: int) -> list[bytes]:
    return sorted(body for _, body in (await outbox.newer_changes(await message_of(outbox, entry), no_end)).writes)


IN_FORCE = {State.DELIVERED, State.UPLOADED, State.IMPORTED}


@pytest.mark.parametrize("state", State)
async def test_a_newer_update_is_in_force_or_not(outbox: Outbox, state: State) -> None:
    """What is exhausted or spooled may be dropped by a person or refused, and the older value would be nowhere."""
    older, newer = await put(outbox, update(EMAIL, b"older"), update())
    await bring_to(outbox, newer, state)
    assert await in_force(outbox, older) == []  # nobody knows yet that they are one contact's
    lane = (await outbox.claim(10, START, frozenset()))[0].lane
    if state is State.SENDING:
        assert not await outbox.join_lanes(lane, "anna", EMAIL)
        return
    assert await outbox.join_lanes(lane, "anna", EMAIL)
    assert await in_force(outbox, older) == ([b"newer"] if state in IN_FORCE else [])
    assert await changes(outbox, older) == ([b"newer"] if state in IN_FORCE else [])
    assert await in_force(outbox, newer) == await changes(outbox, newer) == []


@pytest.mark.parametrize(
    ("end", "counts"),
    [(State.PENDING, True), (State.EXHAUSTED, True), (State.REJECTED, False), (State.DISCARDED, False)],
)
async def test_an_update_of_unknown_outcome_is_in_force_until_it_is_dropped(
    outbox: Outbox, end: State, counts: bool
) -> None:
    older, newer = await put(outbox, update(body=b"older"), update())
    await move(outbox, older, State.PENDING, State.REJECTED)  # out of the way, and replayed below
    assert await outbox.mark_sending(newer)
    await move(outbox, newer, State.SENDING, State.PENDING, unknown=True)
    if end is not State.PENDING:
        await move(outbox, newer, State.PENDING, end, unknown=True)
    await move(outbox, older, State.REJECTED, State.PENDING)
    assert await in_force(outbox, older) == ([b"newer"] if counts else [])


async def test_what_stands_in_any_of_the_joined_lanes_counts(outbox: Outbox) -> None:
    older, first, second = await put(
        outbox, update(ANNA, b"older"), update(EMAIL, b"by address"), update(PHONE, b"by phone")
    )
    lanes = {message.id: message.lane for message in await outbox.claim(10, START, frozenset())}
    for entry, address in ((first, EMAIL), (second, PHONE)):
        await bring_to(outbox, entry, State.DELIVERED)
        assert await outbox.join_lanes(lanes[entry], "anna", address)
    assert await in_force(outbox, older) == [b"by address", b"by phone"]
    assert await in_force(outbox, first) == [b"by phone"]


async def test_a_confirmation_is_told_what_is_in_force_the_oldest_first(outbox: Outbox) -> None:
    older, *newer, _ = await put(
        outbox, update(EMAIL, b"older"), update(EMAIL, b"by address"), update(body=b"by id"), update(body=b"waits")
    )
    lane = (await outbox.claim(10, START, frozenset()))[0].lane
    for entry in (older, *reversed(newer)):
        await bring_to(outbox, entry, State.DELIVERED)
    assert await outbox.join_lanes(lane, "anna", EMAIL)
    later = await outbox.newer_changes(await message_of(outbox, older), no_end)
    assert [body for _, body in later.in_force] == [b"by address", b"by id"]
    assert sorted(body for _, body in later.writes) == [b"by address", b"by id"]


@pytest.mark.parametrize("by_file", [True, False])
@pytest.mark.parametrize("sends", [True, False])
async def test_a_newer_creation_is_in_force_where_it_sent_something(outbox: Outbox, by_file: bool, sends: bool) -> None:
    """One that found its contact has set nothing; by file it inserts or updates (ref 6.4)."""
    older, creation = await put(outbox, update(body=b"older"), draft(Kind.CONTACT_CREATE, ANNA, body=b"creation"))
    await bring_to(outbox, older, State.IMPORTED)
    if by_file:
        await bring_to(outbox, creation, State.IMPORTED)
    elif sends:
        assert await outbox.mark_sending(creation)
        await move(outbox, creation, State.SENDING, State.DELIVERED)
    else:
        await move(outbox, creation, State.PENDING, State.DELIVERED)
    expected = [b"creation"] if by_file or sends else []
    assert await in_force(outbox, older) == await changes(outbox, older) == expected


async def test_what_belongs_to_another_contact_or_is_no_contact_write_does_not_count(outbox: Outbox) -> None:
    older, other, receipt = await put(outbox, update(body=b"older"), update("contact:bo"), draft(Kind.RECEIPT, ANNA))
    await bring_to(outbox, older, State.IMPORTED)
    for entry in (other, receipt):
        await bring_to(outbox, entry, State.DELIVERED)
    assert await in_force(outbox, older) == await changes(outbox, older) == []


async def leave(outbox: Outbox, *entries: int, state: State = State.UPLOADED) -> None:
    """In one file."""
    for entry in entries:
        await bring_to(outbox, entry, State.EXHAUSTED)
    written = await spool(outbox, *entries, name="1_1_contacts.xml")
    await outbox.update_file(written.id, state="uploading", now=START, entries_to=State.UPLOADED)
    if state is State.IMPORTED:
        await outbox.update_file(written.id, state="uploaded", now=START, entries_to=State.UPLOADED)
        await outbox.update_file(written.id, state="imported", now=START, entries_to=State.IMPORTED)


@pytest.mark.parametrize("state", [State.UPLOADED, State.IMPORTED])
async def test_no_more_of_what_is_newer_is_read_than_is_enough(outbox: Outbox, state: State) -> None:
    """Piece by piece, each of them newer than the one before, until the caller has all that matters."""
    bodies = [f"{number:03}".encode() for number in range(NEWER * 3)]
    older, *newer = await put(outbox, update(body=b"older"), *(update(body=body) for body in bodies))
    await leave(outbox, *newer, state=state)
    pieces: list[list[bytes]] = []

    def enough(some: Newer) -> bool:
        pieces.append([body for _, body in some])
        return len(pieces) == 2

    message = await message_of(outbox, older)
    later = await outbox.newer_changes(message, enough)
    assert pieces == [bodies[:NEWER], bodies[NEWER : 2 * NEWER]]
    assert [body for _, body in later.writes] == [body for _, body in later.to_come] == bodies[: 2 * NEWER]
    assert later.in_force == []
    assert [body for _, body in (await outbox.newer_changes(message, no_end)).writes] == bodies


async def test_the_pieces_of_joined_lanes_are_put_together_in_the_order_of_writing(
    outbox: Outbox,
) -> None:
    many = 4 * NEWER
    lanes = [(ANNA, EMAIL, EMAIL, ANNA, PHONE)[number % 5] for number in range(many)]
    older, *newer = await put(
        outbox, update(ANNA, b"older"), *(update(lane, f"{number:03}".encode()) for number, lane in enumerate(lanes))
    )
    heads = {message.lane_key: message.lane for message in await outbox.claim(10, START, frozenset())}
    delivered = [entry for number, entry in enumerate(newer) if number % 3 and number % 7 == 1]
    for entry in delivered:
        await bring_to(outbox, entry, State.DELIVERED)
    await leave(outbox, *(entry for entry in newer if entry not in delivered))
    for address in (EMAIL, PHONE):
        assert await outbox.join_lanes(heads[address], "anna", address)
    later = await outbox.newer_changes(await message_of(outbox, older), no_end)
    assert [body for _, body in later.writes] == [f"{number:03}".encode() for number in range(many)]
    settled = [f"{number:03}".encode() for number in range(many) if number % 3 and number % 7 == 1]
    assert [body for _, body in later.in_force] == settled
    assert sorted(later.in_force + later.to_come) == sorted(later.writes)
