"""What is in hand, at each moment between a claim and a join: the drainer's tests meet these moments by chance only."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from fakes import FakeClock, rest

from voyado_async.delivery import Kind, Message, SameContact
from voyado_async.drain.gate import Gate
from voyado_async.drain.hands import Hands
from voyado_async.drain.rests import Rests
from voyado_async.outbox.records import Asked
from voyado_async.outbox.store import Outbox

EMAIL, ANNA = 1, 2
"""The lane of an address, and that of the contact whom it turns out to be."""

FOUND = SameContact("anna", 200)


def message(entry: int, lane: int = EMAIL, kind: Kind = Kind.REDEEM) -> Message:
    return Message(entry, kind, b"{}", lane, "email:anna@example.com" if lane == EMAIL else "contact:anna", 0)


class Store:
    """The part of an outbox that hands need. A claim answers when it is told to, with what was so when it was asked."""

    def __init__(self) -> None:
        self.heads = {EMAIL: 7}
        self.claims: list[frozenset[int]] = []
        self.answer = asyncio.Event()
        self.joined: list[int] = []
        self.kind = Kind.REDEEM

    async def claim(self, limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
        self.claims.append(skip_lanes)
        found = [message(entry, lane, self.kind) for lane, entry in self.heads.items() if lane not in skip_lanes]
        await self.answer.wait()
        return found

    async def lane_of(self, contact_id: str) -> int:
        return ANNA

    async def join_lanes(self, lane: int, contact_id: str, address: str, asked: Asked | None = None) -> bool:
        self.joined.append(lane)
        self.heads = {ANNA: self.heads[lane]}
        return True


class Stopping:
    """The part of a gate that hands need."""

    stopping = False


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def gate() -> Stopping:
    return Stopping()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def rests() -> Rests:
    return Rests(10.0)


@pytest.fixture
def hands(store: Store, gate: Stopping, rests: Rests, clock: FakeClock) -> Hands:
    return Hands(cast(Outbox, store), cast(Gate, gate), rests, clock, lambda: None)


async def test_what_was_read_while_lanes_were_joined_is_read_again(hands: Hands, store: Store) -> None:
    """Else entry 7 is taken as one of the address's lane, and the next claim takes it again as one of the contact's: it
    is sent, has an unknown outcome, and is sent once more by who still holds it as never tried."""
    claim = asyncio.create_task(hands.claim(10, 0))
    await rest()
    hands.confirming[3] = message(3)
    await hands.join(message(3), "anna")
    store.answer.set()
    assert [(each.id, each.lane) for each in await claim] == [(7, ANNA)]
    assert len(store.claims) == 2


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("confirmed", [Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE, Kind.RECEIPT])
@pytest.mark.parametrize("waits", [Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE, Kind.RECEIPT])
async def test_a_request_that_confirms_is_overtaken_by_nothing_that_its_entry_would_hold(
    hands: Hands, store: Store, confirmed: Kind, waits: Kind, joined: bool
) -> None:
    """By the outbox nothing is held any more: a person has discarded the entry meanwhile."""
    store.answer.set()
    store.kind = waits
    hands.confirming[3] = message(3, kind=confirmed)
    if joined:
        await hands.join(message(3), "anna")
    held = confirmed is Kind.CONTACT_CREATE or Kind.RECEIPT not in (confirmed, waits)
    assert [each.id for each in await hands.claim(10, 0)] == ([] if held else [7])
    hands.confirmed(message(3))
    assert [each.id for each in await hands.claim(10, 0)] == [7]


async def test_an_entry_is_not_claimed_while_the_request_that_confirms_it_is_under_way(
    hands: Hands, store: Store
) -> None:
    store.answer.set()
    hands.confirming[7] = message(7)
    assert await hands.claim(10, 0) == []
    hands.confirmed(message(7))
    assert [each.id for each in await hands.claim(10, 0)] == [7]


async def test_a_confirmation_joins_no_lane_of_which_an_entry_is_in_hand(
    hands: Hands, store: Store, clock: FakeClock
) -> None:
    hands.confirming[3] = message(3)
    for lane in (EMAIL, ANNA):
        hands.lanes.add(lane)
        join = asyncio.create_task(hands.join(message(3), "anna"))
        await clock.advance(1)
        assert not join.done()
        store.answer.set()
        await hands.claim(10, 0)
        assert {EMAIL, ANNA} <= store.claims[-1], "nothing more of them is claimed"
        before = len(store.joined)
        hands.free(lane)
        await clock.until(join.done, within=1)
        assert len(store.joined) == before + 1
        store.heads = {EMAIL: 7}


async def test_a_stop_ends_the_wait_for_a_join_and_nothing_is_joined_or_held_back(
    hands: Hands, store: Store, gate: Stopping, clock: FakeClock
) -> None:
    hands.lanes.add(ANNA)
    join: asyncio.Task[Any] = asyncio.create_task(hands.join(message(3), "anna"))
    await clock.advance(1)
    gate.stopping = True
    await clock.until(join.done, within=1)
    hands.free(ANNA)
    store.answer.set()
    await hands.claim(10, 0)
    assert (store.joined, store.claims[-1]) == ([], frozenset())


async def test_a_lane_that_rests_rests_on_in_the_lane_that_it_joins(
    hands: Hands, store: Store, rests: Rests, clock: FakeClock
) -> None:
    rests.begin([EMAIL], clock.monotonic())
    await hands.join(message(3), "anna")
    store.answer.set()
    await clock.advance(9)
    assert await hands.claim(10, 0) == []
    await clock.advance(2)
    assert [each.id for each in await hands.claim(10, 0)] == [7]


async def test_what_a_look_up_told_holds_for_the_next_turn_of_its_entry_and_once(hands: Hands) -> None:
    await hands.join(message(7), "anna", FOUND)
    assert hands.found(message(7, ANNA)) == FOUND
    assert hands.found(message(7, ANNA)) is None


async def test_it_is_asked_again_where_something_older_of_the_contact_came_first(hands: Hands) -> None:
    """An older change may give the address to somebody else."""
    await hands.join(message(7), "anna", FOUND)
    assert hands.found(message(6, ANNA)) is None
    assert hands.found(message(7, ANNA)) is None


async def test_it_is_asked_again_where_the_join_had_to_wait_for_a_request_of_the_contact(
    hands: Hands, clock: FakeClock
) -> None:
    hands.lanes.add(ANNA)
    join = asyncio.create_task(hands.join(message(7), "anna", FOUND))
    await clock.advance(1)
    hands.free(ANNA)
    await clock.until(join.done, within=1)
    assert hands.found(message(7, ANNA)) is None


async def test_it_is_asked_again_where_the_store_tells_of_a_request_under_way(
    hands: Hands, store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    join_lanes, refusals = store.join_lanes, [True]

    async def refuses_once(*args: Any) -> bool:
        return False if refusals and refusals.pop() else await join_lanes(*args)

    monkeypatch.setattr(store, "join_lanes", refuses_once)
    join = asyncio.create_task(hands.join(message(7), "anna", FOUND))
    await clock.until(join.done, within=1)
    assert store.joined == [EMAIL]
    assert hands.found(message(7, ANNA)) is None


async def test_it_is_asked_again_after_a_while_and_what_nobody_asks_for_goes(
    hands: Hands, store: Store, clock: FakeClock
) -> None:
    for _ in range(2):
        store.heads = {EMAIL: 7}
        await hands.join(message(7), "anna", FOUND)
        await clock.advance(5)
    assert hands.found(message(7, ANNA)) is None
    store.heads = {EMAIL: 7}
    await hands.join(message(7), "anna", FOUND)
    store.heads = {EMAIL: 8}
    await clock.advance(5)
    await hands.join(message(8), "bo", FOUND)
    assert list(hands._found) == ["contact:bo"]
