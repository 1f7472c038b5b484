"""What is in hand may be of the past: between the claim, in memory, and the mark anybody may have moved the entry.

Each interleaving of claim -> somebody else -> mark: what went elsewhere and came back is refused, and claimed anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from entries import START, StandingClock, bring_to, file_named, put, spool, state_of

from voyado_async.delivery import Draft, Kind, Message
from voyado_async.kinds import contact_update, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox.records import AsRead, Attempt, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

ANNA = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f00000001"
ASSIGNMENT = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f0000000a"
EMAIL = "email:anna@example.com"
RETRY = Attempt(START, "request", "retry", code="Http503")


class Between:
    """What somebody does between the claim and the mark."""

    def __init__(self, outbox: Outbox, operations: Operations, claimed: Message) -> None:
        self.outbox = outbox
        self.operations = operations
        self.claimed = claimed
        self.entry = claimed.id

    async def nothing(self) -> None:
        """Nobody was there."""

    async def newer_entry_is_written(self) -> None:
        await put(self.outbox, redemption(ASSIGNMENT.replace("0a", "0b")))

    async def cancelled(self) -> None:
        assert await self.outbox.cancel(self.entry, "Cancelled")

    async def discarded(self) -> None:
        assert (await self.operations.discard(self.entry, reason="a test")).counts["discard"] == 1

    async def forgotten(self) -> None:
        await self.operations.forget(ANNA, drop_pending=True)

    async def exhausted(self) -> None:
        assert await self.outbox.exhaust_lanes([self.claimed.lane], START) == 1

    async def marked(self) -> None:
        assert await self.outbox.mark_sending(self.entry, AsRead.of(self.claimed))

    async def replayed_where_it_stood(self) -> None:
        assert (await self.operations.replay(self.entry, again=True)).counts["send"] == 1

    async def discarded_and_replayed(self) -> None:
        await self.discarded()
        await self.replayed_where_it_stood()

    async def cancelled_and_replayed(self) -> None:
        await self.cancelled()
        await self.replayed_where_it_stood()

    async def exhausted_and_brought_back(self) -> None:
        await self.exhausted()
        assert await self.outbox.bring_back(START) == 1

    async def replayed_by_file_and_by_the_api(self) -> None:
        await self.exhausted()
        assert (await self.operations.replay(self.entry)).counts["send"] == 1

    async def left_by_file_and_replayed(self) -> None:
        """What may have happened is not what it was claimed as."""
        await self.exhausted()
        file = await spool(self.outbox, self.entry)
        await self.outbox.update_file(file.id, state="uploading", now=START, entries_to=State.UPLOADED)
        await self.replayed_where_it_stood()

    async def spooled_and_withdrawn(self) -> None:
        await self.exhausted()
        file = await spool(self.outbox, self.entry)
        await self.outbox.update_file(file.id, state="withdrawn", now=START, entries_to=State.PENDING)
        assert (await file_named(self.outbox, file.name)).state == "withdrawn"

    async def tried_by_another_drainer(self) -> None:
        await self.marked()
        assert await self.outbox.settle(Settlement(self.entry, State.SENDING, State.PENDING, RETRY, slots=1))

    async def sent_by_another_drainer_that_died(self) -> None:
        await self.marked()
        assert await self.outbox.take_over(START, START) == [self.claimed.lane]

    async def rejected_and_corrected(self) -> None:
        refused = Attempt(START, "look_up", "rejected", code="ValidationError")
        assert await self.outbox.settle(Settlement(self.entry, State.PENDING, State.REJECTED, refused))
        await self.operations.edit(self.entry, await self.outbox.body(self.entry))
        await self.replayed_where_it_stood()


Step = Callable[[Between], Awaitable[None]]

STILL_SO = (Between.nothing, Between.newer_entry_is_written)
GONE = (Between.cancelled, Between.discarded, Between.forgotten, Between.exhausted, Between.marked)
CAME_BACK = (
    Between.replayed_where_it_stood, Between.discarded_and_replayed, Between.cancelled_and_replayed,
    Between.exhausted_and_brought_back, Between.replayed_by_file_and_by_the_api, Between.left_by_file_and_replayed,
    Between.spooled_and_withdrawn, Between.tried_by_another_drainer, Between.sent_by_another_drainer_that_died,
    Between.rejected_and_corrected,
)  # fmt: skip


def redemption(assignment: str = ASSIGNMENT) -> Draft:
    return redeem.draft(assignment, channel="ECOM", contact_id=ANNA)


def change(**fields: str) -> Draft:
    return contact_update.draft(address(contact_id=ANNA), fields)


@pytest.fixture
def operations(outbox: Outbox, clock: StandingClock, tmp_path: Path) -> Operations:
    assert isinstance(outbox, SqliteOutbox)
    settings = Settings(outbox=str(tmp_path / "outbox.db"))
    settings.spool_path.mkdir()
    return Operations(outbox, clock, settings)


async def claim_one(outbox: Outbox) -> Message:
    (message,) = await outbox.claim(10, START, frozenset())
    return message


@pytest.mark.parametrize("step", STILL_SO)
async def test_a_claim_that_nobody_moved_is_marked(outbox: Outbox, operations: Operations, step: Step) -> None:
    await put(outbox, redemption())
    claimed = await claim_one(outbox)
    await step(Between(outbox, operations, claimed))
    assert await outbox.mark_sending(claimed.id, AsRead.of(claimed))
    assert (await outbox.get(claimed.id)).requests == 1


@pytest.mark.parametrize("step", GONE)
async def test_a_claim_of_what_is_elsewhere_is_neither_marked_nor_settled(
    outbox: Outbox, operations: Operations, step: Step
) -> None:
    await put(outbox, redemption())
    claimed = await claim_one(outbox)
    await step(Between(outbox, operations, claimed))
    before = await outbox.states_of([claimed.id])
    assert not await outbox.mark_sending(claimed.id, AsRead.of(claimed))
    assert not await outbox.settle(Settlement(claimed.id, State.PENDING, State.DELIVERED, lines=claimed.lines))
    assert await outbox.states_of([claimed.id]) == before
    assert await outbox.claim(10, START, frozenset()) == []


@pytest.mark.parametrize("step", CAME_BACK)
async def test_a_claim_of_what_went_elsewhere_and_came_back_is_dropped_and_claimed_anew(
    outbox: Outbox, operations: Operations, step: Step
) -> None:
    await put(outbox, redemption())
    claimed = await claim_one(outbox)
    await step(Between(outbox, operations, claimed))
    record = await outbox.get(claimed.id)
    assert record.state is State.PENDING
    assert not await outbox.mark_sending(claimed.id, AsRead.of(claimed))
    assert not await outbox.settle(Settlement(claimed.id, State.PENDING, State.PENDING, RETRY, lines=claimed.lines))
    assert await outbox.get(claimed.id) == record
    anew = await claim_one(outbox)
    assert (anew.id, anew.slots, anew.requests, anew.unknown) == (
        claimed.id, record.slots, record.requests, record.unknown,
    )  # fmt: skip
    assert await outbox.mark_sending(anew.id, AsRead.of(anew))


@pytest.mark.parametrize("step", [Between.left_by_file_and_replayed, Between.sent_by_another_drainer_that_died])
async def test_what_may_have_happened_meanwhile_is_never_sent_nor_settled_as_if_it_had_not(
    outbox: Outbox, operations: Operations, step: Step
) -> None:
    """A redemption that was claimed as never sent would go out again without a look."""
    await put(outbox, redemption())
    claimed = await claim_one(outbox)
    await step(Between(outbox, operations, claimed))
    assert not claimed.unknown
    assert not await outbox.mark_sending(claimed.id, AsRead.of(claimed))
    assert not await outbox.settle(Settlement(claimed.id, State.PENDING, State.PENDING, RETRY, lines=claimed.lines))
    assert (await claim_one(outbox)).unknown


async def test_a_content_that_lost_fields_meanwhile_is_sent_as_it_is_now(
    outbox: Outbox, operations: Operations
) -> None:
    old, new = await put(outbox, change(city="Lund", firstName="Anna"), change(city="Malmö"))
    claimed = await claim_one(outbox)
    assert claimed.id == old
    assert await outbox.cancel(old, "Cancelled")
    await bring_to(outbox, new, State.DELIVERED)
    await operations.replay(old, again=True)
    assert not await outbox.mark_sending(old, AsRead.of(claimed))
    anew = await claim_one(outbox)
    assert (anew.id, b"Lund" in anew.body, b"Anna" in anew.body) == (old, False, True)
    assert await outbox.mark_sending(old, AsRead.of(anew))


async def test_what_became_part_of_another_lane_meanwhile_is_claimed_anew(outbox: Outbox) -> None:
    """It is the head of both, but what newer entries of both have set is asked with the lane that it is in."""
    entry, _ = await put(
        outbox, Draft(Kind.CONTACT_UPDATE, b"{}", EMAIL, None), Draft(Kind.CONTACT_UPDATE, b"{}", "contact:x", None)
    )
    claimed = next(message for message in await outbox.claim(10, START, frozenset()) if message.id == entry)
    assert await outbox.join_lanes(claimed.lane, "x", EMAIL)
    assert not await outbox.mark_sending(entry, AsRead.of(claimed))
    anew = await claim_one(outbox)
    assert (anew.id, anew.lane_key) == (entry, "contact:x")
    assert await outbox.mark_sending(entry, AsRead.of(anew))


async def test_of_an_old_and_a_new_claim_in_one_commit_the_new_one_wins(outbox: Outbox, operations: Operations) -> None:
    await put(outbox, redemption())
    claimed = await claim_one(outbox)
    await Between(outbox, operations, claimed).discarded_and_replayed()
    anew = await claim_one(outbox)
    order = (claimed, anew, anew, claimed)
    won = await asyncio.gather(*(outbox.mark_sending(each.id, AsRead.of(each)) for each in order))
    assert won == [False, True, False, False]
    assert await state_of(outbox, claimed.id) is State.SENDING


async def test_a_confirmation_of_what_was_replayed_and_left_again_is_dropped(
    outbox: Outbox, operations: Operations
) -> None:
    (entry,) = await put(outbox, redemption())
    await bring_to(outbox, entry, State.IMPORTED)
    (claimed,) = await outbox.to_confirm(10, START)
    assert (await operations.replay(entry, again=True)).counts["send"] == 1
    await bring_to(outbox, entry, State.IMPORTED)
    assert not await outbox.settle(Settlement(entry, State.IMPORTED, State.DELIVERED, lines=claimed.lines))
    (anew,) = await outbox.to_confirm(10, START)
    assert await outbox.settle(Settlement(entry, State.IMPORTED, State.DELIVERED, lines=anew.lines))
