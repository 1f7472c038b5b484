"""When what Engage told of an address a moment ago stands for the look-up of a delivery, and when it must be asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from drain_world import ANNA, BO, REFUSED, UNWELL, World
from fakes import FakeClock

from voyado_async.delivery import Delivered, Kind, Message, Outcome, Rejected, SameContact
from voyado_async.drain import recent
from voyado_async.drain.recent import Recent, still_so
from voyado_async.outbox.records import Asked, Learned, Settlement
from voyado_async.outbox.states import State

EMAIL, NEW = "email:anna@example.com", "email:new@example.com"
TTL = 30.0


@pytest.mark.parametrize(
    ("asked", "changed", "counts"),
    [
        (Asked(1000, 1000), 0, True),
        (Asked(30_001, 30_001), 30_000, True),
        (Asked(30_000, 30_000), 30_000, False),  # in the same moment: who was first?
        (Asked(30_000, 30_000), 31_000, False),
        (Asked(1, 1000), 0, False),  # the wall clock was set on, or the machine started anew
        (Asked(1000, 1), 0, False),  # the wall clock was set back
        (Asked(40_000, 1000), 0, False),
        (Asked(1000, 40_000), 0, False),
        (Asked(30_001, 30_001), 0, True),
    ],
)
def test_an_answer_counts_while_it_is_young_by_both_clocks_and_nothing_has_changed(
    asked: Asked, changed: int, counts: bool
) -> None:
    assert still_so(asked, Asked(30_001, 30_001), ttl=30_000, changed=changed) is counts


def test_without_a_cache_nothing_counts() -> None:
    assert not still_so(Asked(5, 5), Asked(5, 5), ttl=0, changed=0)


async def test_more_changes_than_are_kept_make_everything_before_them_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_CHANGED", 2)
    clock = FakeClock()
    lately = Recent(clock, TTL)
    lately.begin()
    await clock.advance(11)
    before = lately.now()
    await clock.advance(1)
    for name in ("a", "b", "c"):
        lately.changed({name})
    await clock.advance(1)
    assert not lately.counts(before, ["z"])
    assert lately.counts(lately.now(), ["z"])


class Anna:
    """She is found by her address; her entries are those of that address and of her id."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.carrier = world.carrier
        self.asked_for = EMAIL
        self.renamed: dict[int, frozenset[str]] = {}
        self.carrier.looking = lambda message: message.kind is Kind.CONTACT_UPDATE and message.body != b"by id"
        self.carrier.asking = lambda _: self.asked_for
        self.carrier.finds = lambda _: SameContact("anna", 200)
        self.carrier.renaming = self.renames

    def renames(self, message: Message) -> frozenset[str]:
        return self.renamed.get(message.id, frozenset())

    async def drains(self, told_for: float = TTL) -> None:
        """For longer than a request of a drainer before this one may still be at work."""
        await self.world.start(told_for=told_for)
        await self.world.clock.advance(10.5)

    async def is_found(self, contact_id: str = "anna", *, asked: Asked | None = None, forgets: int = 0) -> None:
        """A read of some process, written down."""
        asked = asked or Asked.now(self.world.clock)
        await self.world.outbox.remember_contacts([Learned(EMAIL, contact_id, forgets, None, *asked)])
        await self.world.clock.advance(1)

    async def by_address(self, *answers: Any) -> int:
        self.carrier.script[self.world.next_id].extend(answers)
        return await self.world.put_one(EMAIL, Kind.CONTACT_UPDATE, b"city")

    async def by_id(self, *renames: str, lane: str = ANNA, answers: tuple[Any, ...] = ()) -> int:
        """An update that changes what these names stand for."""
        self.carrier.script[self.world.next_id].extend(answers)
        self.renamed[self.world.next_id] = frozenset(renames)
        return await self.world.put_one(lane, Kind.CONTACT_UPDATE, b"by id")

    async def looked(self) -> int:
        await self.world.clock.advance(5)
        return len(self.carrier.looked)


@pytest.fixture
def anna(world: World) -> Anna:
    return Anna(world)


async def test_an_address_that_was_just_found_is_not_looked_up_and_joins_the_lanes(world: World, anna: Anna) -> None:
    await anna.drains()
    await anna.is_found()
    entry = await anna.by_address()
    assert await anna.looked() == 0
    assert await world.state(entry) is State.DELIVERED
    assert (await world.get(entry)).lane == ANNA
    assert anna.carrier.bodies[entry] == b"city"


async def test_a_look_up_of_a_delivery_stands_for_those_that_follow(world: World, anna: Anna) -> None:
    await anna.drains()
    entries = [await anna.by_address() for _ in range(3)]
    assert await anna.looked() == 1
    assert set(await world.states(*entries)) == {State.DELIVERED}
    await world.clock.advance(TTL)
    await anna.by_address()
    assert await anna.looked() == 2, "that nobody has been asked since makes it no younger"


async def test_sending_to_an_address_that_was_told_makes_that_no_younger(world: World, anna: Anna) -> None:
    await anna.drains()
    await anna.is_found()
    await world.clock.advance(10)
    for _ in range(5):
        await anna.by_address()
        await world.clock.advance(5)
    assert await anna.looked() == 1


@pytest.mark.parametrize(("told_for", "age"), [(0.0, 0.0), (TTL, TTL)])
async def test_what_is_older_than_a_read_may_be_is_looked_up(anna: Anna, told_for: float, age: float) -> None:
    await anna.drains(told_for)
    await anna.is_found()
    await anna.world.clock.advance(age)
    await anna.by_address()
    assert await anna.looked() == 1


@pytest.mark.parametrize("seconds", [-3600, -5, 3600])
async def test_what_was_told_before_the_clock_was_set_is_looked_up(anna: Anna, seconds: float) -> None:
    await anna.drains()
    await anna.is_found()
    anna.world.clock.jump(seconds)
    await anna.by_address()
    assert await anna.looked() == 1


async def test_an_hour_after_the_clock_was_set_back_an_hour_it_is_still_looked_up(anna: Anna) -> None:
    await anna.drains()
    await anna.is_found()
    anna.world.clock.jump(-3600)
    await anna.world.clock.advance(3605)
    await anna.by_address()
    assert await anna.looked() == 1


async def test_what_was_told_while_another_drainer_may_have_been_at_work_is_looked_up(anna: Anna) -> None:
    await anna.world.start(told_for=TTL)
    await anna.world.clock.advance(9.5)
    await anna.is_found()
    await anna.by_address()
    assert await anna.looked() == 1


async def test_what_was_told_before_the_contact_was_forgotten_is_looked_up(anna: Anna) -> None:
    await anna.drains()
    await anna.is_found()
    await anna.world.outbox.forget_ids("anna")
    await anna.is_found(forgets=0)
    await anna.by_address()
    assert await anna.looked() == 1


@pytest.mark.parametrize("name", [ANNA, EMAIL, "email"])
async def test_after_an_own_write_that_may_give_the_address_to_somebody_else_it_is_looked_up(
    world: World, anna: Anna, name: str
) -> None:
    await anna.drains()
    await anna.is_found()
    await anna.by_id(name, lane=ANNA if name == ANNA else BO)
    await world.clock.advance(1)
    await anna.by_address()
    assert await anna.looked() == 1


async def test_an_own_write_that_touches_neither_the_address_nor_its_contact_is_no_matter(anna: Anna) -> None:
    await anna.drains()
    await anna.is_found()
    await anna.by_id(NEW, "mobilePhone", lane=BO)
    await anna.by_address()
    assert await anna.looked() == 0


async def test_while_such_a_write_is_under_way_it_is_looked_up(world: World, anna: Anna) -> None:
    await anna.drains()
    blocked: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    await anna.by_id(EMAIL, lane=BO, answers=(blocked,))
    await world.clock.advance(1)
    await anna.is_found()
    await anna.by_address()
    assert await anna.looked() == 1
    blocked.set_result(Delivered())
    await world.clock.advance(1)
    await anna.by_address()
    assert await anna.looked() == 2, "both were asked before its end"


async def test_of_a_write_that_may_still_take_effect_the_answers_of_a_rest_count_for_nothing(
    world: World, anna: Anna
) -> None:
    await anna.drains()
    await anna.by_id(EMAIL, lane=BO, answers=(UNWELL, REFUSED))
    await world.clock.advance(8)
    await anna.is_found()
    await anna.by_address()
    assert await anna.looked() == 1


async def test_where_an_older_write_of_the_contact_takes_the_address_away_first_it_is_looked_up(
    world: World, anna: Anna
) -> None:
    """It waits in the lane of the id; the lanes join, it goes first, and what was told is no longer so."""
    await anna.drains()
    older = await anna.by_id(ANNA, answers=(REFUSED,))
    await world.clock.advance(1)
    await anna.is_found()
    newer = await anna.by_address()
    assert await anna.looked() == 0
    await world.clock.advance(30)
    assert anna.carrier.order == [older, older, newer]
    assert len(anna.carrier.looked) == 1


async def test_while_a_contact_write_is_on_the_second_road_it_is_looked_up(world: World, anna: Anna) -> None:
    other = await anna.by_id(lane=BO)
    await world.import_by_file(other)
    await anna.world.start(told_for=TTL, confirm=False)
    await world.clock.advance(10.5)
    await anna.is_found()
    await anna.by_address()
    assert await anna.looked() == 1


async def confirmed_while_anna_is_found(world: World, anna: Anna, other: int) -> None:
    """A write that a file took is confirmed, and meanwhile a find tells of her."""
    anna.carrier.latency = 3.0
    await anna.world.start(told_for=TTL)
    await world.clock.advance(10.5)
    await anna.is_found()
    await world.clock.advance(2)
    assert await world.state(other) is State.DELIVERED


async def test_after_a_confirmation_that_may_have_sent_an_address_it_is_looked_up(world: World, anna: Anna) -> None:
    other = await anna.by_id(EMAIL, lane=BO)
    await world.import_by_file(other)
    await anna.is_found()
    await confirmed_while_anna_is_found(world, anna, other)
    await anna.by_address()
    assert await anna.looked() == 1


async def test_a_confirmation_tells_whose_address_it_may_have_taken_away(world: World, anna: Anna) -> None:
    """It was written by another address; only at its end it is known whose that is."""
    other = await anna.by_id("mobilePhone", lane=BO)
    await world.import_by_file(other)
    anna.carrier.confirms = Delivered("looked_up", contact_id="anna")
    await confirmed_while_anna_is_found(world, anna, other)
    await anna.by_address()
    assert await anna.looked() == 1


async def test_an_entry_that_probes_an_open_breaker_really_asks(world: World, anna: Anna) -> None:
    await anna.drains(told_for=10_000.0)
    for entry in await world.break_down():
        assert await world.outbox.settle(Settlement(entry, State.PENDING, State.DISCARDED))
    await anna.is_found()
    await anna.by_address()
    (message,) = await world.outbox.claim(1, world.clock.now() + 60_000, frozenset())
    probing = asyncio.create_task(world.drainer._rounds._porter.carry(message, probe=True))
    await world.clock.until(probing.done, within=10)
    assert len(anna.carrier.looked) == 1


async def test_a_contact_that_is_gone_is_looked_up_before_anybody_is_told_no(world: World, anna: Anna) -> None:
    """Two contacts may have become one: the address names the one that is left."""
    await anna.drains()
    await anna.is_found()
    gone = Rejected("ContactNotFound", 404)
    entry = await anna.by_address(gone, gone)
    await world.clock.advance(5)
    record = await world.get(entry)
    assert (record.state, record.slots) == (State.PENDING, 1)
    assert await world.outbox.contact_id(EMAIL) is None
    assert anna.carrier.looked == []
    await world.clock.advance(10)
    assert len(anna.carrier.looked) == 1
    assert await world.state(entry) is State.REJECTED, "now it was asked"


async def test_any_other_refusal_is_one(world: World, anna: Anna) -> None:
    await anna.drains()
    await anna.is_found()
    entry = await anna.by_address(Rejected("ValidationError", 422))
    await world.clock.advance(5)
    assert await world.state(entry) is State.REJECTED


async def test_a_narrowed_look_up_is_made_and_stands_for_no_other(world: World, anna: Anna) -> None:
    await anna.drains()
    anna.carrier.asking = lambda message: None if message.id == narrowed else EMAIL
    narrowed = world.next_id
    await anna.by_address()
    assert await anna.looked() == 1
    await anna.by_address()
    assert await anna.looked() == 2
    await anna.is_found()
    narrowed = world.next_id
    await anna.by_address()
    assert await anna.looked() == 3
