"""People and shops move entries that the drainer has in hand: whoever is first wins, and what is sent is what stands in
the outbox at that moment (DESIGN 1)."""

from __future__ import annotations

import asyncio
import json

import pytest
from drain_world import BO, World

from voyado_async.delivery import Delivered, Draft, Kind, LookUp, Message, Outcome, Rejected, Request
from voyado_async.errors import TransitionRefused
from voyado_async.kinds import contact_update, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.states import State
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

CONTACT = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f00000001"

MOST_TURNS = 200
"""Turns of the loop in which an entry is through, from the commit to the settlement."""


@pytest.fixture
def operations(world: World) -> Operations:
    settings = Settings(outbox=world.outbox.path)
    settings.spool_path.mkdir()
    return Operations(world.outbox, world.clock, settings)


@pytest.fixture
def bodies(world: World) -> dict[int, bytes]:
    """What was sent of an entry last: its content as it was claimed."""

    def request(message: Message) -> Request:
        return Request("POST", f"/{message.id}", body=message.body)

    world.carrier.request = request  # type: ignore[method-assign]  # only sends the content
    world.carrier.finds = request
    return world.carrier.bodies


async def at_the_gate(world: World, draft: Draft) -> int:
    """An entry that was claimed and waits, because another one has the only connection for a second."""
    world.carrier.latency = 1.0
    await world.put_one(BO, Kind.REDEEM)
    (entry,) = await world.outbox.enqueue([draft])
    await world.start(concurrency=1, confirm=False)
    await world.clock.advance(0.5)
    assert await world.state(entry.id) is State.PENDING
    assert world.drainer._rounds._hands.lanes
    return entry.id


def redemption() -> Draft:
    return redeem.draft("0b1b3d1e-5d2c-4f6e-9f3b-6a1f0000000a", channel="ECOM", contact_id=CONTACT)


def change(**fields: str) -> Draft:
    return contact_update.draft(address(contact_id=CONTACT), fields)


async def test_a_redemption_that_left_by_file_while_it_was_in_hand_is_looked_up_before_it_is_sent(
    world: World, operations: Operations
) -> None:
    """Claimed, it had never been sent. It would be redeemed a second time without a look."""

    def redeemed(message: Message) -> LookUp:
        return Delivered(how="looked_up")

    world.carrier.looking = lambda message: message.unknown
    world.carrier.finds = redeemed
    entry = await at_the_gate(world, redemption())
    await world.import_by_file(entry)
    assert (await operations.replay(entry, again=True)).counts["send"] == 1
    await world.clock.advance(5)
    assert entry not in world.carrier.order
    assert [looked for _, looked in world.carrier.looked] == [entry]
    assert await world.state(entry) is State.DELIVERED


async def test_a_change_that_lost_a_field_while_it_was_in_hand_is_sent_without_it(
    world: World, operations: Operations, bodies: dict[int, bytes]
) -> None:
    """A newer one was delivered meanwhile; an older value never overwrites it."""
    entry = await at_the_gate(world, change(city="Lund", firstName="Anna"))
    (newer,) = await world.outbox.enqueue([change(city="Malmö")])
    assert await world.outbox.cancel(entry, "cancelled")
    assert await world.outbox.settle(Settlement(newer.id, State.PENDING, State.DELIVERED))
    assert (await operations.replay(entry, again=True)).counts["send"] == 1
    await world.clock.advance(5)
    assert json.loads(bodies[entry])["changes"] == {"firstName": "Anna"}
    assert world.carrier.order.count(entry) == 1
    assert await world.state(entry) is State.DELIVERED


async def test_a_result_of_a_look_at_what_was_replayed_meanwhile_is_not_written_down(
    world: World, operations: Operations
) -> None:
    """It would take back what the replay has learned: that the entry may have taken effect by file."""
    answer: asyncio.Future[LookUp] = asyncio.get_running_loop().create_future()
    world.carrier.looking = lambda _: True
    world.carrier.finds = lambda _: answer
    (entry,) = (each.id for each in await world.outbox.enqueue([redemption()]))
    await world.start(confirm=False)
    assert [looked for _, looked in world.carrier.looked] == [entry]
    await world.import_by_file(entry)
    await operations.replay(entry, again=True)
    world.carrier.finds = lambda _: Delivered(how="looked_up")
    answer.set_result(Rejected("NotYours", 404))
    await world.clock.advance(1)
    assert [looked for _, looked in world.carrier.looked] == [entry, entry]
    record = await world.get(entry)
    assert (record.state, record.unknown) == (State.DELIVERED, True)


async def test_a_cancel_at_any_moment_of_a_claim_wins_or_loses_and_never_both(world: World) -> None:
    """`cancel` says True exactly where nothing was sent, whichever turn of the loop it comes in."""
    await world.start()
    won = lost = turns = 0
    for turns in range(MOST_TURNS):
        (entry,) = await world.outbox.enqueue([Draft(Kind.RECEIPT, b"{}", f"contact:{turns}", None)])
        for _ in range(turns):
            await asyncio.sleep(0)
        over = (await world.outbox.states_of([entry.id]))[entry.id][0] is State.DELIVERED
        cancelled = await world.outbox.cancel(entry.id, "cancelled")
        await world.clock.advance(2)
        assert world.carrier.order.count(entry.id) == (0 if cancelled else 1)
        assert await world.state(entry.id) is (State.DISCARDED if cancelled else State.DELIVERED)
        won, lost = won + cancelled, lost + (not cancelled)
        if over:
            break
    assert won > 3, "the moments before the mark were not met"
    assert lost > 3, "the moments after the mark were not met"
    assert turns < MOST_TURNS - 1


async def test_a_replay_at_any_moment_of_a_claim_sends_the_content_that_it_leaves(
    world: World, operations: Operations, bodies: dict[int, bytes]
) -> None:
    """The newer change is in force when the replay is asked for: once the replay has said that the field is left out,
    no request with it goes out any more."""
    before = after = 0
    for turns in range(MOST_TURNS):
        contact = f"0b1b3d1e-5d2c-4f6e-9f3b-{turns:012x}"
        drafts = [
            contact_update.draft(address(contact_id=contact), fields)
            for fields in ({"city": "Lund", "firstName": "A"}, {"city": "Malmö"})
        ]
        old, new = (each.id for each in await world.outbox.enqueue(drafts))
        assert await world.outbox.settle(Settlement(new, State.PENDING, State.DELIVERED))
        replayed = asyncio.create_task(operations.replay(old, again=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        world.drainer = world.make()
        world.task = asyncio.create_task(world.drainer.run())
        await world.clock.advance(2)
        sends = world.carrier.order.count(old)
        assert await world.state(old) is State.DELIVERED
        if (await replayed).counts["send"] and sends == 1:
            before += 1
            assert json.loads(bodies[old])["changes"] == {"firstName": "A"}
        elif sends:
            after += 1
        await world.stop()
        if before > 3:
            break
    assert before
    assert after


async def test_an_edit_is_refused_while_an_entry_is_in_hand_and_the_last_edit_is_what_is_sent(
    world: World, operations: Operations, bodies: dict[int, bytes]
) -> None:
    refused = edited = 0
    await world.start()
    for turns in range(MOST_TURNS):
        contact = f"0b1b3d1e-5d2c-4f6e-9f3b-{turns:012x}"
        (entry,) = await world.outbox.enqueue([contact_update.draft(address(contact_id=contact), {"city": "Lund"})])
        world.carrier.script[entry.id].append(Rejected("ValidationError", 422))
        for _ in range(turns):
            await asyncio.sleep(0)
        content = json.loads(await world.outbox.body(entry.id))
        content["changes"] = {"city": "Malmö"}
        city = "Lund"
        try:
            await operations.edit(entry.id, content)
        except TransitionRefused:
            refused += 1
        else:
            city = "Malmö"
            edited += 1
        await world.clock.advance(1)
        assert await world.state(entry.id) is State.REJECTED
        assert json.loads(bodies[entry.id])["changes"] == {"city": "Lund"}
        assert (await operations.replay(entry.id)).counts["send"] == 1
        await world.clock.advance(1)
        assert json.loads(bodies[entry.id])["changes"] == {"city": city}
        if edited > 2:
            break
    assert refused
    assert edited


@pytest.mark.parametrize("again", ["discard", "replay"])
async def test_what_a_confirmation_under_way_held_waits_for_its_end_whatever_a_person_does_to_the_entry(
    world: World, operations: Operations, again: str
) -> None:
    """The request that confirms may send the older value again. Nothing newer is sent ahead of it."""
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    contact = f"contact:{CONTACT}"
    older, newer = (each.id for each in await world.outbox.enqueue([change(city="Lund"), change(firstName="Anna")]))
    await world.import_by_file(older)
    receipt = await world.put_one(contact)
    world.carrier.confirms = answer
    await world.start()
    await world.clock.advance(11)
    assert [entry for _, entry, _ in world.carrier.confirmed] == [older]
    assert world.carrier.order == [receipt]
    if again == "discard":
        assert (await operations.discard(older, reason="a test")).counts["discard"] == 1
    else:
        assert (await operations.replay(older, again=True)).counts["send"] == 1
    await world.clock.advance(5)
    assert world.carrier.order == [receipt]
    answer.set_result(Delivered())
    await world.clock.advance(5)
    assert world.carrier.order == [receipt, newer] if again == "discard" else [receipt, older, newer]


async def test_the_next_change_is_not_confirmed_beside_the_request_that_confirms_a_discarded_one(
    world: World, operations: Operations
) -> None:
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    older, newer = (each.id for each in await world.outbox.enqueue([change(city="Lund"), change(firstName="Anna")]))
    await world.import_by_file(older, newer)
    world.carrier.confirms = answer
    await world.start()
    await world.clock.advance(11)
    assert (await operations.discard(older, reason="a test")).counts["discard"] == 1
    await world.clock.advance(5)
    assert [entry for _, entry, _ in world.carrier.confirmed] == [older]
    answer.set_result(Delivered())
    await world.clock.advance(5)
    assert [entry for _, entry, _ in world.carrier.confirmed] == [older, newer]


async def test_a_creation_that_is_confirmed_holds_all_of_its_contact_though_a_person_has_dropped_it(
    world: World, operations: Operations
) -> None:
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    creation = await world.put_one(BO, Kind.CONTACT_CREATE)
    await world.import_by_file(creation)
    receipt = await world.put_one(BO)
    world.carrier.confirms = answer
    await world.start()
    await world.clock.advance(11)
    assert [entry for _, entry, _ in world.carrier.confirmed] == [creation]
    assert (await operations.discard(creation, reason="a test")).counts["discard"] == 1
    await world.clock.advance(5)
    assert world.carrier.order == []
    answer.set_result(Delivered())
    await world.clock.advance(5)
    assert world.carrier.order == [receipt]


async def test_a_redemption_is_not_sent_beside_the_request_that_confirms_it(
    world: World, operations: Operations
) -> None:
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    (entry,) = (each.id for each in await world.outbox.enqueue([redemption()]))
    await world.import_by_file(entry)
    world.carrier.confirms = answer
    await world.start()
    await world.clock.advance(11)
    assert (await operations.replay(entry, again=True)).counts["send"] == 1
    await world.clock.advance(5)
    assert world.carrier.order == []
    answer.set_result(Delivered())
    await world.clock.advance(5)
    assert world.carrier.order == [entry]
