"""Whose turn it is."""

from __future__ import annotations

import pytest
from entries import START, OpenOutbox, bring_to, claimed, draft, move, put

from voyado_async.delivery import Kind
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

HOUR = 3_600_000


async def test_an_empty_outbox_has_nothing_to_claim(outbox: Outbox) -> None:
    assert await claimed(outbox) == []
    assert await outbox.next_due(START) is None


async def test_a_message_tells_all_that_is_known_of_its_entry(outbox: Outbox) -> None:
    await put(outbox, draft(Kind.CONTACT_UPDATE, "email:anna@example.com", body=b'{"city":"Lund"}'))
    await outbox.remember_contacts([("email:anna@example.com", "ID-1", 0)])
    (message,) = await outbox.claim(10, START, frozenset())
    assert (message.kind, message.body, message.lane_key) == (
        Kind.CONTACT_UPDATE, b'{"city":"Lund"}', "email:anna@example.com",
    )  # fmt: skip
    assert (message.created, message.slots, message.requests, message.unknown) == (START, 0, 0, False)
    assert message.contact_id == "ID-1"


async def test_the_id_of_a_contact_is_known_from_its_lane(outbox: Outbox) -> None:
    await put(outbox, draft(lane="contact:abc"))
    (message,) = await outbox.claim(10, START, frozenset())
    assert message.contact_id == "abc"


async def test_claiming_writes_nothing(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    await put(outbox, draft())
    watching = await open_outbox()
    before = await watching.data_version()
    assert await claimed(outbox) == await claimed(outbox) == [1]
    assert await watching.data_version() == before


async def test_lanes_with_a_redeem_at_the_head_go_first_then_by_due_time(outbox: Outbox) -> None:
    ids = await put(
        outbox,
        draft(Kind.RECEIPT, "contact:a"),
        draft(Kind.CONTACT_UPDATE, "contact:b"),
        draft(Kind.REDEEM, "contact:c"),
        draft(Kind.RECEIPT, "contact:d"),
        draft(Kind.REDEEM, "contact:d"),
        draft(Kind.REDEEM, "contact:e"),
    )
    for entry, due in zip(ids, (400, 300, 200, 100, 0, 50), strict=True):
        if due:
            assert await move(outbox, entry, State.PENDING, State.PENDING, due=START - due)
    assert await claimed(outbox) == [ids[2], ids[5], ids[0], ids[1], ids[3]]


async def test_only_the_oldest_entry_of_a_lane_is_claimed(outbox: Outbox) -> None:
    first, second = await put(outbox, draft(Kind.RECEIPT), draft(Kind.REDEEM))
    assert await claimed(outbox) == [first]
    await bring_to(outbox, first, State.DELIVERED)
    assert await claimed(outbox) == [second]


async def test_a_head_that_waits_for_a_retry_holds_its_lane(outbox: Outbox) -> None:
    first, _, other = await put(outbox, draft(), draft(Kind.REDEEM), draft(lane="contact:b"))
    assert await move(outbox, first, State.PENDING, State.PENDING, due=START + 10_000, slots=1)
    assert await claimed(outbox) == [other]
    assert await outbox.next_due(START) == START + 10_000
    assert await claimed(outbox, START + 10_000) == [other, first]


async def test_a_head_that_is_being_sent_holds_its_lane_and_is_not_claimed_again(outbox: Outbox) -> None:
    first, _ = await put(outbox, draft(), draft())
    assert await outbox.mark_sending(first)
    assert await claimed(outbox) == []


async def test_lanes_in_hand_are_left_out_without_taking_the_places_of_others(outbox: Outbox) -> None:
    ids = await put(outbox, *(draft(lane=f"contact:{n}") for n in range(6)))
    in_hand = frozenset(message.lane for message in await outbox.claim(3, START, frozenset()))
    assert len(in_hand) == 3
    assert await claimed(outbox, limit=3, skip=in_hand) == ids[3:]


async def test_no_more_than_the_limit_is_claimed(outbox: Outbox) -> None:
    await put(outbox, *(draft(Kind.REDEEM if n % 2 else Kind.RECEIPT, f"contact:{n}") for n in range(10)))
    assert await claimed(outbox, limit=7) == [2, 4, 6, 8, 10, 1, 3]
    assert await claimed(outbox, limit=0) == []


@pytest.mark.parametrize(("ahead", "due"), [(HOUR, False), (HOUR + HOUR // 10, False), (3 * HOUR, True)])
async def test_a_due_time_further_away_than_any_legal_delay_is_due_now(outbox: Outbox, ahead: int, due: bool) -> None:
    """The clock was set back."""
    (entry,) = await put(outbox, draft())
    assert await move(outbox, entry, State.PENDING, State.PENDING, due=START + ahead)
    assert await claimed(outbox) == ([entry] if due else [])


async def test_a_rest_further_away_than_any_legal_delay_is_over(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft())
    assert await move(outbox, entry, State.PENDING, State.PENDING, due=START, rest_until=START + 24 * HOUR)
    assert await claimed(outbox) == [entry]


@pytest.mark.parametrize("kind", [Kind.RECEIPT, Kind.CONTACT_UPDATE])
async def test_the_next_due_time_looks_at_confirmations(outbox: Outbox, kind: Kind) -> None:
    (entry,) = await put(outbox, draft(kind, "contact:abc"))
    await bring_to(outbox, entry, State.IMPORTED)
    assert await move(outbox, entry, State.IMPORTED, State.IMPORTED, due=START + 700)
    assert await outbox.next_due(START) == START + 700
    assert await outbox.next_due(START + 700) is None


async def test_the_next_due_time_looks_at_both_ranks(outbox: Outbox) -> None:
    first, second = await put(outbox, draft(Kind.REDEEM, "contact:a"), draft(lane="contact:b"))
    await move(outbox, first, State.PENDING, State.PENDING, due=START + 900)
    await move(outbox, second, State.PENDING, State.PENDING, due=START + 500)
    assert await outbox.next_due(START) == START + 500
    assert await outbox.next_due(START + 500) == START + 900


async def test_an_entry_written_into_a_resting_lane_waits_for_the_end_of_the_rest(outbox: Outbox) -> None:
    (first,) = await put(outbox, draft())
    assert await outbox.mark_sending(first)
    await move(outbox, first, State.SENDING, State.EXHAUSTED, unknown=True, rest_until=START + 10_000)
    (second,) = await put(outbox, draft())
    assert await claimed(outbox, START + 9_999) == []
    assert await claimed(outbox, START + 10_000) == [second]
