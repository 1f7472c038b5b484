"""An older value never overwrites a newer one, once a look-up has told that both are one contact's (DESIGN 1)."""

from __future__ import annotations

import pytest
from drain_world import ANNA, REFUSED, UNWELL, World

from voyado_async.delivery import Delivered, Kind, LookUp, Message, Outcome, Rejected, SameContact
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.states import State

EMAIL = "email:anna@example.com"


class Anna:
    """A contact whom the shop names by an address and by an id; Engage tells later that they are one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.carrier = world.carrier
        self.by_address: set[int] = set()
        self.found: LookUp = REFUSED
        self.carrier.looking = lambda message: message.id in self.by_address
        self.carrier.finds = lambda _: self.found
        self.carrier.confirms_find = lambda _: SameContact("anna")

    async def write(self, lane: str, fields: bytes, kind: Kind = Kind.CONTACT_UPDATE) -> int:
        """The body of a change is the names of its fields."""
        entry = await self.world.put_one(lane, kind, fields)
        if lane == EMAIL:
            self.by_address.add(entry)
        return entry

    async def become_known(self, contact_id: str = "anna") -> None:
        self.found = SameContact(contact_id, 200)
        await self.world.clock.advance(60)


@pytest.fixture
def anna(world: World) -> Anna:
    return Anna(world)


async def test_of_an_older_change_by_address_only_what_no_newer_one_has_set_is_sent(world: World, anna: Anna) -> None:
    older = await anna.write(EMAIL, b"city street")
    await world.start()
    newer = await anna.write(ANNA, b"city")
    await world.clock.advance(5)
    assert world.settled(State.DELIVERED) == [newer]
    await anna.become_known()
    assert world.carrier.order == [newer, older]
    assert world.carrier.bodies[older] == b"street"
    assert await world.state(older) is State.DELIVERED


async def test_an_older_change_of_which_nothing_is_left_is_superseded_and_not_sent(world: World, anna: Anna) -> None:
    older = await anna.write(EMAIL, b"city")
    await world.start()
    newer = await anna.write(ANNA, b"city")
    later = await anna.write(EMAIL, b"city")
    await anna.become_known()
    assert world.carrier.order == [newer, later]
    record = await world.get(older)
    assert (record.state, record.reason, record.requests) == (State.DISCARDED, "superseded", 0)
    assert world.settled(State.DISCARDED) == [older]


async def test_a_creation_that_is_to_update_whom_it_meets_is_overtaken_like_a_change(world: World, anna: Anna) -> None:
    whole = await anna.write(EMAIL, b"city", Kind.CONTACT_CREATE)
    await world.start()
    newer = await anna.write(ANNA, b"city")
    part = await anna.write(EMAIL, b"city street", Kind.CONTACT_CREATE)
    newest = await anna.write(ANNA, b"street")
    await anna.become_known()
    assert world.carrier.order == [newer, newest, part]
    assert world.carrier.bodies[part] == b"city"
    assert await world.states(whole, part) == [State.DELIVERED, State.DELIVERED]


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (UNWELL, True),  # it may stand there
        (REFUSED, False),
        (Rejected("ValidationError", 400), False),
    ],
)
async def test_a_newer_change_that_has_certainly_set_nothing_overtakes_nothing(
    world: World, anna: Anna, outcome: Outcome, counts: bool
) -> None:
    older = await anna.write(EMAIL, b"city")
    await world.start()
    newer = await anna.write(ANNA, b"city")
    world.carrier.script[newer].append(outcome)
    await world.clock.advance(1)
    await anna.become_known()
    assert (older in world.carrier.order) is not counts
    assert await world.state(older) is (State.DISCARDED if counts else State.DELIVERED)
    if older in world.carrier.order and newer in world.carrier.order[1:]:
        assert world.carrier.order[-1] == newer


async def test_an_address_that_has_gone_over_to_somebody_else_is_sent_there_whole(world: World, anna: Anna) -> None:
    older = await anna.write(EMAIL, b"city")
    await world.start()
    newer = await anna.write(ANNA, b"city")
    await world.clock.advance(1)
    assert await world.outbox.join_lanes(1, "anna", EMAIL)
    await anna.become_known("bo")
    assert world.carrier.order == [newer, older]
    assert world.carrier.bodies[older] == b"city"


async def test_an_entry_that_waits_at_the_gate_while_its_lane_is_joined_waits_for_the_older_one(
    world: World, anna: Anna
) -> None:
    older = await anna.write(EMAIL, b"city")
    await world.start(rate=1.0)
    newer = await anna.write(ANNA, b"city")  # claimed, and its place in the pace comes in a second
    assert await world.outbox.join_lanes(1, "anna", EMAIL)
    await anna.become_known()
    assert world.carrier.order == [older, newer]
    assert world.carrier.bodies[older] == b"city"


async def test_what_a_file_brought_is_confirmed_in_the_joined_lane_and_leaves_newer_values_alone(
    world: World, anna: Anna
) -> None:
    """Nothing is sent before the lanes are one: until then nobody knows of the newer change."""
    older = await anna.write(EMAIL, b"city")
    await world.import_by_file(older)
    newer = await anna.write(ANNA, b"city")
    await world.start()
    await world.clock.advance(5)
    assert world.settled(State.DELIVERED) == [newer]
    await world.clock.advance(30)
    ((_, confirmed, fields),) = world.carrier.confirmed
    assert (confirmed, fields) == (older, {"city"})
    assert (await world.get(older)).lane == ANNA


async def test_what_a_file_brought_to_somebody_else_is_confirmed_without_the_newer_changes_of_its_lane(
    world: World, anna: Anna
) -> None:
    """The address has gone over to Bo since: Anna's values are nothing to him."""
    older = await anna.write(EMAIL, b"city")
    lane = (await world.outbox.claim(1, world.clock.now(), frozenset()))[0].lane
    await world.import_by_file(older)
    newer = await anna.write(ANNA, b"city")
    assert await world.outbox.settle(Settlement(newer, State.PENDING, State.DELIVERED))
    assert await world.outbox.join_lanes(lane, "anna", EMAIL)
    world.carrier.confirms_find = lambda _: SameContact("bo")
    await world.start()
    await world.clock.advance(30)
    ((_, confirmed, fields),) = world.carrier.confirmed
    assert (confirmed, fields) == (older, frozenset())


async def test_a_confirmation_waits_for_what_is_older_in_the_lane_that_it_joined(world: World, anna: Anna) -> None:
    """Which is sent without what the file has set, though it is named by its id and nothing is looked up for it."""
    oldest = await anna.write(ANNA, b"city street")
    world.carrier.script[oldest] += [REFUSED, REFUSED]
    imported = await anna.write(EMAIL, b"city")
    await world.import_by_file(imported)
    await world.start()
    await world.clock.advance(39)
    assert (await world.get(imported)).lane == ANNA
    assert world.carrier.confirmed == []
    await world.clock.advance(60)
    (confirmed,) = world.carrier.confirmed
    assert world.settled(State.DELIVERED) == [oldest, imported]
    assert world.carrier.bodies[oldest] == b"street"
    assert confirmed[0] > world.carrier.times(oldest)[-1]


@pytest.mark.parametrize("left", [b"city", b"city street"])
async def test_an_older_change_by_id_of_which_a_file_has_set_all_is_superseded(
    world: World, anna: Anna, left: bytes
) -> None:
    """It had to wait while the newer one, under a name that nobody knew, left by file."""
    older = await anna.write(ANNA, b"city")
    world.carrier.script[older] += [REFUSED, REFUSED]
    imported = await anna.write(EMAIL, left)
    await world.import_by_file(imported)
    await world.start()
    await world.clock.advance(100)
    assert world.carrier.order == [older, older]  # refused, both times before it was known
    assert ((await world.get(older)).reason, await world.state(imported)) == ("superseded", State.DELIVERED)


async def test_what_is_exhausted_takes_nothing_from_an_older_change_that_is_confirmed(world: World, anna: Anna) -> None:
    """It may be discarded, or refused later, and the older value would be nowhere."""
    older, newer = await anna.write(ANNA, b"city"), await anna.write(ANNA, b"city")
    await world.import_by_file(older)
    assert await world.outbox.settle(Settlement(newer, State.PENDING, State.EXHAUSTED))
    await world.start()
    await world.clock.advance(60)
    assert [(entry, fields) for _, entry, fields in world.carrier.confirmed] == [(older, frozenset())]
    assert await world.states(older, newer) == [State.DELIVERED, State.EXHAUSTED]


async def test_a_confirmation_that_waits_for_a_lane_holds_no_connection(world: World, anna: Anna) -> None:
    """The request that the lane waits for, and everybody's, could never come to its end."""
    imported = await anna.write(EMAIL, b"city")
    await world.import_by_file(imported)
    world.carrier.latency = 1.0
    busy = [await anna.write(ANNA, b"street") for _ in range(20)]
    await world.start(concurrency=1)
    await world.clock.advance(60)
    assert world.settled(State.DELIVERED)[-1] in (imported, busy[-1])
    assert set(await world.states(imported, *busy)) == {State.DELIVERED}


async def test_the_contact_of_a_confirmed_entry_by_address_is_remembered(world: World, anna: Anna) -> None:
    imported = await anna.write(EMAIL, b"city")
    await world.import_by_file(imported)
    world.carrier.confirms = Delivered("looked_up", contact_id="anna")
    await world.start()
    await world.clock.advance(30)
    assert await world.state(imported) is State.DELIVERED
    assert await world.outbox.contact_id(EMAIL) == "anna"


async def test_a_fault_of_ours_in_a_change_is_no_reason_to_send_it_whole(world: World, anna: Anna) -> None:
    def broken(message: Message, contact_id: str, newer: object) -> None:
        raise ValueError("a fault of ours")

    older = await anna.write(EMAIL, b"city")
    world.carrier.change = broken  # type: ignore[assignment,method-assign]  # see above
    await world.start()
    await anna.become_known()
    assert world.carrier.order == []
    record = await world.get(older)
    assert (record.state, record.unknown, record.reason) == (State.PENDING, False, "InternalError")
