"""What an entry holds back in its lane (DESIGN 3, "Order"), and lanes that become one."""

from __future__ import annotations

import pytest
from entries import AWAY, PROFILE, START, OpenOutbox, bring_to, claimed, draft, file_named, move, put, spool, state_of

from voyado_async.delivery import Kind
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

ALL = frozenset(Kind)
NONE: frozenset[Kind] = frozenset()
HOLDS: dict[Kind, frozenset[Kind]] = {
    Kind.CONTACT_CREATE: ALL,
    Kind.CONTACT_UPDATE: frozenset(PROFILE),
    Kind.CONTACT_TYPE: frozenset(PROFILE),
    Kind.REDEEM: NONE,
    Kind.RECEIPT: NONE,
    Kind.VOUCHER_REDEEM: NONE,
}
"""What an entry of each kind holds back of its lane while it is exhausted, spooled, uploaded or imported."""

TABLE = [(kind, state, HOLDS[kind]) for kind in Kind for state in AWAY] + [
    (kind, state, NONE) for kind in Kind for state in (State.DELIVERED, State.REJECTED, State.DISCARDED)
]


@pytest.mark.parametrize(("kind", "state", "held"), TABLE)
@pytest.mark.parametrize("written", ["before", "after"])
async def test_the_rules_of_holding(
    outbox: Outbox, kind: Kind, state: State, held: frozenset[Kind], written: str
) -> None:
    """`written`: whether the later entries were there before the first one left, or came afterwards."""
    first = await put(outbox, *(draft(kind, f"contact:{later}") for later in Kind))
    second: list[int] = []
    if written == "before":
        second = await put(outbox, *(draft(later, f"contact:{later}") for later in Kind))
    for entry in first:
        await bring_to(outbox, entry, state)
    if written == "after":
        second = await put(outbox, *(draft(later, f"contact:{later}") for later in Kind))
    free = {entry for entry, later in zip(second, Kind, strict=True) if later not in held}
    assert set(await claimed(outbox)) == free


@pytest.mark.parametrize("kind", [Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE])
@pytest.mark.parametrize("state", AWAY)
async def test_what_was_written_earlier_is_not_held(outbox: Outbox, kind: Kind, state: State) -> None:
    earlier = await put(outbox, *(draft(one, f"contact:{one}") for one in Kind))
    later = await put(outbox, *(draft(kind, f"contact:{one}") for one in Kind))
    for entry in later:
        await bring_to(outbox, entry, state)
    assert set(await claimed(outbox)) == set(earlier)


async def test_receipts_overtake_an_update_that_is_held(outbox: Outbox) -> None:
    gone, _, receipt = await put(outbox, draft(Kind.CONTACT_UPDATE), draft(Kind.CONTACT_UPDATE), draft(Kind.RECEIPT))
    await bring_to(outbox, gone, State.EXHAUSTED)
    assert await claimed(outbox) == [receipt]


async def test_entries_that_are_free_again_go_in_the_order_of_writing(outbox: Outbox) -> None:
    gone, second, third = await put(outbox, *(draft(Kind.CONTACT_UPDATE) for _ in range(3)))
    await bring_to(outbox, gone, State.IMPORTED)
    assert await claimed(outbox) == []
    await move(outbox, gone, State.IMPORTED, State.DELIVERED)
    assert await claimed(outbox) == [second]
    await bring_to(outbox, second, State.DELIVERED)
    assert await claimed(outbox) == [third]


async def test_a_rejected_confirmation_holds_nothing_any_more(outbox: Outbox) -> None:
    gone, second = await put(outbox, draft(Kind.CONTACT_CREATE), draft(Kind.RECEIPT))
    await bring_to(outbox, gone, State.IMPORTED)
    await move(outbox, gone, State.IMPORTED, State.REJECTED)
    assert await claimed(outbox) == [second]


@pytest.mark.parametrize("target", [State.PENDING, State.DELIVERED, State.REJECTED, State.EXHAUSTED])
async def test_after_an_unknown_outcome_the_whole_lane_rests(outbox: Outbox, target: State) -> None:
    first, second = await put(outbox, draft(), draft())
    assert await outbox.mark_sending(first)
    await move(outbox, first, State.SENDING, target, due=START, unknown=True, rest_until=START + 10_000)
    expected = first if target is State.PENDING else second
    assert await claimed(outbox, START + 9_999) == []
    assert await claimed(outbox, START + 10_000) == [expected]


async def test_a_rest_is_never_shortened(outbox: Outbox) -> None:
    first, second = await put(outbox, draft(), draft())
    await move(outbox, first, State.PENDING, State.REJECTED, rest_until=START + 10_000)
    await move(outbox, second, State.PENDING, State.PENDING, rest_until=START + 5)
    assert await claimed(outbox, START + 9_999) == []


# two lanes become one ------------------------------------------------------------------------------------------------

EMAIL = "email:anna@example.com"


async def lane_of(outbox: Outbox, entry: int) -> int:
    return next(m.lane for m in await outbox.claim(100, START, frozenset()) if m.id == entry)


async def test_joined_lanes_send_one_at_a_time_in_the_order_of_writing(outbox: Outbox) -> None:
    a, b, c, d = await put(
        outbox, draft(lane=EMAIL), draft(lane="contact:x"), draft(lane=EMAIL), draft(lane="contact:x")
    )
    assert await outbox.join_lanes(await lane_of(outbox, a), "x", EMAIL)
    for entry in (a, b, c, d):
        assert await claimed(outbox) == [entry]
        await bring_to(outbox, entry, State.DELIVERED)


async def test_a_lane_joins_a_contact_without_one(outbox: Outbox) -> None:
    a, b = await put(outbox, draft(lane=EMAIL), draft(lane=EMAIL))
    assert await outbox.lane_of("X") is None
    assert await outbox.join_lanes(await lane_of(outbox, a), "X", EMAIL)
    assert await claimed(outbox) == [a]
    assert (await outbox.get(b)).lane == "contact:x"
    assert await outbox.contact_id(EMAIL) == "X"


async def test_what_is_written_to_the_old_address_later_goes_to_the_joined_lane(outbox: Outbox) -> None:
    a, b = await put(outbox, draft(lane=EMAIL), draft(lane="contact:x"))
    assert await outbox.join_lanes(await lane_of(outbox, a), "x", EMAIL)
    (c,) = await put(outbox, draft(lane=EMAIL))
    assert (await outbox.get(c)).lane == "contact:x"
    assert [one.id for one in await outbox.entries(EntryFilter(contact="X"))] == [c, b, a]
    assert await claimed(outbox) == [a]


async def test_the_case_of_a_contacts_id_makes_no_other_lane(outbox: Outbox) -> None:
    a, b = await put(outbox, draft(lane=EMAIL), draft(lane="contact:ab-1"))
    assert await outbox.join_lanes(await lane_of(outbox, a), "AB-1", EMAIL)
    assert await claimed(outbox) == [a]
    assert await outbox.lane_of("AB-1") == await outbox.lane_of("ab-1") == await lane_of(outbox, a)
    assert (await outbox.get(b)).lane == "contact:ab-1"


@pytest.mark.parametrize("sending", [0, 1])
async def test_lanes_are_not_joined_while_one_has_a_request_under_way(outbox: Outbox, sending: int) -> None:
    ids = await put(outbox, draft(lane=EMAIL), draft(lane="contact:x"))
    lane = await lane_of(outbox, ids[0])
    assert await outbox.mark_sending(ids[sending])
    assert not await outbox.join_lanes(lane, "x", EMAIL)
    assert (await outbox.get(ids[0])).lane == EMAIL
    await move(outbox, ids[sending], State.SENDING, State.DELIVERED)
    assert await outbox.join_lanes(lane, "x", EMAIL)


@pytest.mark.parametrize(("of_address", "of_contact"), [(10_000, 0), (0, 10_000), (5_000, 10_000)])
async def test_the_joined_lane_has_the_longer_rest_of_the_two(outbox: Outbox, of_address: int, of_contact: int) -> None:
    a, b = await put(outbox, draft(lane=EMAIL), draft(lane="contact:x"))
    lane = await lane_of(outbox, a)
    for entry, rest in ((a, of_address), (b, of_contact)):
        if rest:
            await move(outbox, entry, State.PENDING, State.PENDING, rest_until=START + rest)
    assert await outbox.join_lanes(lane, "x", EMAIL)
    assert await claimed(outbox, START + 9_999) == []
    assert await claimed(outbox, START + 10_000) == [a]
    assert (await outbox.get(b)).state is State.PENDING


async def test_what_is_away_holds_in_the_joined_lane(outbox: Outbox) -> None:
    creation, _ = await put(outbox, draft(Kind.CONTACT_CREATE, EMAIL), draft(lane="contact:x"))
    lane = await lane_of(outbox, creation)
    await bring_to(outbox, creation, State.EXHAUSTED)
    assert await outbox.join_lanes(lane, "x", EMAIL)
    assert await claimed(outbox) == []


async def test_joining_a_lane_with_itself_or_twice_changes_nothing(outbox: Outbox) -> None:
    a, b = await put(outbox, draft(lane=EMAIL), draft(lane="contact:x"))
    lane = await lane_of(outbox, a)
    assert await outbox.join_lanes(lane, "x", EMAIL)
    joined = await lane_of(outbox, a)
    assert await outbox.join_lanes(joined, "x", EMAIL)
    assert await outbox.join_lanes(lane, "x", EMAIL)
    assert await claimed(outbox) == [a]
    assert (await outbox.get(b)).lane == "contact:x"


async def test_lanes_that_were_joined_follow_when_their_lane_is_joined(outbox: Outbox) -> None:
    """An id of a contact that was merged into another one: writes by any of its names stay in one lane."""
    a, b, c = await put(outbox, draft(lane=EMAIL), draft(lane="contact:x"), draft(lane="contact:y"))
    assert await outbox.join_lanes(await lane_of(outbox, a), "x", EMAIL)
    assert await outbox.join_lanes(await lane_of(outbox, a), "y", EMAIL)
    d, e = await put(outbox, draft(lane=EMAIL), draft(lane="contact:x"))
    for entry in (a, b, c, d, e):
        assert (await outbox.get(entry)).lane == "contact:y"
        assert await claimed(outbox) == [entry]
        await bring_to(outbox, entry, State.DELIVERED)


async def test_an_entry_that_was_claimed_before_its_lane_was_joined_waits_for_the_older_one(outbox: Outbox) -> None:
    older, newer = await put(outbox, draft(lane=EMAIL), draft(lane="contact:x"))
    assert await claimed(outbox) == [older, newer]
    assert await outbox.join_lanes(await lane_of(outbox, older), "x", EMAIL)
    assert not await outbox.mark_sending(newer)
    assert await outbox.mark_sending(older)


async def test_a_delivery_that_tells_the_contacts_id_is_remembered_for_its_lane(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    creation, _ = await put(outbox, draft(Kind.CONTACT_CREATE, EMAIL), draft(lane=EMAIL))
    assert await move(outbox, creation, State.PENDING, State.DELIVERED, contact_id="ID-1")
    again = await open_outbox()
    assert await again.contact_id(EMAIL) == "ID-1"
    (message,) = await again.claim(10, START, frozenset())
    assert message.contact_id == "ID-1"


async def test_files_of_a_joined_lane_go_on(outbox: Outbox) -> None:
    gone, _ = await put(outbox, draft(lane=EMAIL), draft(lane=EMAIL))
    lane = await lane_of(outbox, gone)
    await bring_to(outbox, gone, State.EXHAUSTED)
    written = await spool(outbox, gone)
    assert await outbox.join_lanes(lane, "x", EMAIL)
    await outbox.update_file(written.id, state="uploading", now=START, entries_to=State.UPLOADED)
    assert await state_of(outbox, gone) is State.UPLOADED
    assert (await file_named(outbox, written.name)).state == "uploading"


@pytest.mark.parametrize("joined", [False, True])
async def test_what_was_to_follow_an_exhausted_head_when_its_process_died_follows_it_later(
    outbox: Outbox, open_outbox: OpenOutbox, joined: bool
) -> None:
    lane_of_all = EMAIL if joined else "contact:x"
    head, *rest = await put(outbox, *(draft(lane=lane_of_all) for _ in range(3)))
    (alone,) = await put(outbox, draft(lane="contact:y"))
    lane = await lane_of(outbox, head)
    await move(outbox, head, State.PENDING, State.EXHAUSTED, outage=True)
    await move(outbox, alone, State.PENDING, State.EXHAUSTED, outage=True)
    if joined:
        assert await outbox.join_lanes(lane, "x", EMAIL)
    again = await open_outbox()
    assert await again.exhaust_behind_files(START) == 2
    assert [await state_of(again, entry) for entry in rest] == [State.EXHAUSTED] * 2
    (later,) = await put(again, draft(lane="contact:x"))
    assert await again.exhaust_behind_files(START) == 0  # it has its own schedule
    assert await claimed(again) == [later]


async def test_what_was_to_follow_a_head_stays_when_the_api_is_back(outbox: Outbox) -> None:
    head, second = await put(outbox, draft(), draft())
    await move(outbox, head, State.PENDING, State.EXHAUSTED, outage=True)
    assert await outbox.bring_back(START) == 1
    assert await outbox.exhaust_behind_files(START) == 0
    assert await claimed(outbox) == [head]
    assert await state_of(outbox, second) is State.PENDING


async def test_a_poisoned_head_takes_nothing_along(outbox: Outbox) -> None:
    head, second = await put(outbox, draft(), draft())
    await move(outbox, head, State.PENDING, State.EXHAUSTED)
    assert await outbox.exhaust_behind_files(START) == 0
    assert await claimed(outbox) == [second]


async def test_what_waits_behind_a_file_alone_follows_it(outbox: Outbox) -> None:
    behind, beside, free = "contact:a", "contact:b", "contact:c"
    creation, update = await put(
        outbox, draft(Kind.CONTACT_CREATE, lane=behind), draft(Kind.CONTACT_UPDATE, lane=beside)
    )
    await bring_to(outbox, creation, State.IMPORTED)
    await bring_to(outbox, update, State.SPOOLED)
    assert await outbox.exhaust_behind_files(START) == 0
    held, *_ = await put(outbox, draft(Kind.RECEIPT, lane=behind), draft(Kind.RECEIPT, lane=beside), draft(lane=free))
    assert await outbox.exhaust_behind_files(START) == 1
    assert await state_of(outbox, held) is State.EXHAUSTED
    assert await outbox.exhaust_behind_files(START) == 0
