"""Replay, discard and edit on the real store: nothing twice, nothing older over newer, nothing lost on the way."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from entries import START, OpenOutbox, StandingClock, bring_to, claimed, file, file_named, move, put, spool, state_of

from voyado_async.delivery import Draft, FileFamily, Kind
from voyado_async.errors import EntryNotFound, InvalidEntry, KeyConflict, TransitionRefused
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox.records import Attempt, EntryFilter
from voyado_async.outbox.replaying import Step
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

ANNA = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f00000001"
ASSIGNMENT = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f0000000a"


def update(contact: str = ANNA, key: str | None = None, **changes: Any) -> Draft:
    return contact_update.draft(address(contact_id=contact), changes, key=key)


def redemption(contact: str | None = ANNA, key: str | None = None, assignment: str = ASSIGNMENT) -> Draft:
    return redeem.draft(assignment, channel="ECOM", contact_id=contact, key=key)


def sale(number: str = "R-1", amount: int = 10, key: str | None = None) -> Draft:
    path = Path(__file__).parents[2] / "samples/payloads/receipt_purchase.json"
    content = json.loads(path.read_text(), parse_float=Decimal)
    content |= {"uniqueReceiptId": number, "receiptNumber": str(amount)}
    content["contact"] = {"matchKey": ANNA, "matchKeyType": "contactId"}
    return receipt.draft(content, key=key)


@pytest.fixture
def operations(outbox: Outbox, clock: StandingClock, tmp_path: Path) -> Operations:
    assert isinstance(outbox, SqliteOutbox)
    settings = Settings(outbox=str(tmp_path / "outbox.db"), contact_key="email")
    settings.spool_path.mkdir()
    return Operations(outbox, clock, settings)


async def content(outbox: Outbox, entry_id: int) -> Any:
    return json.loads(await outbox.body(entry_id))


async def rejected(outbox: Outbox, *drafts: Draft, unknown: bool = False) -> list[int]:
    ids = await put(outbox, *drafts)
    for entry_id in ids:
        assert await move(outbox, entry_id, State.PENDING, State.REJECTED, reason="ValidationError", unknown=unknown)
    return ids


async def assert_sound(outbox: Outbox) -> None:
    findings = await outbox.verify()
    assert [finding for finding in findings if not finding.ok] == []


async def test_what_a_replay_takes_goes_back_with_a_fresh_schedule_in_the_order_of_each_lane(
    outbox: Outbox, operations: Operations, clock: StandingClock
) -> None:
    first, second = await rejected(outbox, update(city="Lund"), update(firstName="Anna"))
    (third,) = await put(outbox, sale("R-3"))
    await bring_to(outbox, third, State.EXHAUSTED)
    (waits,) = await put(outbox, sale("R-4"))
    clock.time = START + 5
    told = await operations.replay()
    assert (told.selected, told.counts["send"], told.counts["leave"]) == (3, 3, 0)
    record = await outbox.get(third)
    assert (record.state, record.slots, record.due, record.outage, record.reason) == (
        "pending",
        0,
        START + 5,
        False,
        None,
    )
    for entry_id in (first, second, third, waits):
        assert await claimed(outbox, START + 5) == [entry_id]
        await bring_to(outbox, entry_id, State.DELIVERED)
    assert (await outbox.attempts(first))[-1].what == "operator"
    (action,) = await operations.actions()
    assert (action.what, action.chosen, action.entries) == ("replay", "state rejected,exhausted,spooled", 3)
    assert action.ended is not None
    await assert_sound(outbox)


async def test_a_dry_run_tells_what_would_go_and_changes_nothing(outbox: Outbox, operations: Operations) -> None:
    (unknown,) = await rejected(outbox, redemption(), unknown=True)
    told = await operations.replay(dry_run=True)
    assert [(plan.id, plan.step) for plan in told.plans] == [(unknown, Step.SEND)]
    assert "looked up before" in told.plans[0].why
    assert await state_of(outbox, unknown) is State.REJECTED
    assert await operations.actions() == []


async def test_what_may_have_taken_effect_stays_unknown(outbox: Outbox, operations: Operations) -> None:
    (unknown,) = await rejected(outbox, redemption(), unknown=True)
    await operations.replay(unknown)
    (message,) = await outbox.claim(1, START, frozenset())
    assert message.unknown


@pytest.mark.parametrize("state", [State.DELIVERED, State.UPLOADED, State.IMPORTED])
async def test_what_engage_may_have_is_looked_up_when_it_is_replayed_by_its_id(
    outbox: Outbox, operations: Operations, state: State
) -> None:
    (entry,) = await put(outbox, redemption())
    await bring_to(outbox, entry, state)
    assert (await operations.replay(entry)).counts["leave"] == 1
    assert (await operations.replay(entry, again=True)).counts["send"] == 1
    (message,) = await outbox.claim(1, START, frozenset())
    assert message.unknown
    await assert_sound(outbox)


async def test_an_entry_that_had_left_by_file_and_was_refused_is_looked_up(
    outbox: Outbox, operations: Operations
) -> None:
    (entry,) = await put(outbox, redemption())
    await bring_to(outbox, entry, State.IMPORTED)
    assert await move(outbox, entry, State.IMPORTED, State.REJECTED, reason="AssignmentNotFound")
    await operations.replay(entry)
    (message,) = await outbox.claim(1, START, frozenset())
    assert message.unknown


@pytest.mark.parametrize("newer", [State.PENDING, State.SENDING, State.DELIVERED, State.EXHAUSTED, State.IMPORTED])
async def test_an_update_leaves_out_what_newer_entries_have_set(
    outbox: Outbox, operations: Operations, newer: State
) -> None:
    (old,) = await rejected(outbox, update(city="Lund", preferences={"acceptsSms": True, "acceptsEmail": False}))
    (new,) = await put(outbox, update(city="Malmö", preferences={"acceptsSms": False}))
    await bring_to(outbox, new, newer)
    told = await operations.replay(old)
    assert told.plans[0].left_out == ("city", "preferences.acceptsSms")
    assert (await content(outbox, old))["changes"] == {"preferences": {"acceptsEmail": False}}
    await assert_sound(outbox)


@pytest.mark.parametrize("newer", [State.REJECTED, State.DISCARDED])
async def test_what_a_newer_entry_did_not_bring_about_is_not_left_out(
    outbox: Outbox, operations: Operations, newer: State
) -> None:
    (old,) = await rejected(outbox, update(city="Lund"))
    (new,) = await put(outbox, update(city="Malmö"))
    await bring_to(outbox, new, newer)
    await operations.replay(old)
    assert (await content(outbox, old))["changes"] == {"city": "Lund"}


async def test_an_update_of_which_nothing_is_left_is_superseded(outbox: Outbox, operations: Operations) -> None:
    old, kind = await rejected(outbox, update(city="Lund", key="k"), contact_type.draft(ANNA, "Member"))
    new, newer_kind = await put(outbox, update(city="Malmö"), contact_type.draft(ANNA, "Vip"))
    await bring_to(outbox, new, State.DELIVERED)
    told = await operations.replay(which=EntryFilter(contact=ANNA))
    assert told.counts["supersede"] == 2
    record = await outbox.get(old)
    assert (record.state, record.reason) == ("discarded", "superseded")
    assert await state_of(outbox, kind) is State.DISCARDED
    assert await claimed(outbox) == [newer_kind]
    await assert_sound(outbox)


async def test_a_newer_value_counts_though_its_lane_was_joined_after_it_was_delivered(
    outbox: Outbox, operations: Operations
) -> None:
    by_email = address(email="anna@example.com")
    (old,) = await rejected(outbox, contact_update.draft(by_email, {"city": "Lund", "firstName": "A"}))
    (new,) = await put(outbox, contact_update.draft(by_email, {"city": "Malmö"}))
    await bring_to(outbox, new, State.DELIVERED)
    lane = await outbox.enqueue([contact_update.draft(by_email, {"lastName": "B"})])
    (message,) = await outbox.claim(1, START, frozenset())
    assert message.id == lane[0].id
    assert await outbox.join_lanes(message.lane, ANNA, "email:anna@example.com")
    await operations.replay(old)
    assert (await content(outbox, old))["changes"] == {"firstName": "A"}
    await assert_sound(outbox)


async def test_a_delivered_entry_of_a_joined_lane_is_replayed_in_the_lane_that_it_became_part_of(
    outbox: Outbox, operations: Operations
) -> None:
    by_email = address(email="anna@example.com")
    first, _ = await put(outbox, *(contact_update.draft(by_email, {name: "x"}) for name in ("city", "street")))
    (message,) = await outbox.claim(1, START, frozenset())
    await bring_to(outbox, first, State.DELIVERED)
    assert await outbox.join_lanes(message.lane, ANNA, "email:anna@example.com")
    await operations.replay(first, again=True)
    assert await claimed(outbox) == [first]
    await assert_sound(outbox)


async def test_a_contact_that_was_created_since_is_not_overwritten(outbox: Outbox, operations: Operations) -> None:
    by_email = address(email="anna@example.com")
    (old,) = await rejected(outbox, contact_update.draft(by_email, {"city": "Lund", "firstName": "A"}))
    created = contact_create.draft({"email": "anna@example.com", "city": "Malmö"}, contact_key="email")
    new, kept = await put(outbox, created, contact_create.draft({"email": "anna@example.com", "firstName": "B"}))
    for entry_id, how in ((new, "accepted"), (kept, "exists")):
        line = Attempt(START, "request", "delivered", code=how)
        assert await move(outbox, entry_id, State.PENDING, State.DELIVERED, attempt=line)
    await operations.replay(old)
    assert (await content(outbox, old))["changes"] == {"firstName": "A"}


async def test_a_creation_that_would_update_leaves_out_what_was_set_since(
    outbox: Outbox, operations: Operations
) -> None:
    person = {"email": "anna@example.com", "city": "Lund", "firstName": "A"}
    (creation,) = await rejected(outbox, contact_create.draft(person, contact_key="email", on_existing="update"))
    (new,) = await put(outbox, contact_update.draft(address(email="anna@example.com"), {"city": "Malmö"}))
    await bring_to(outbox, new, State.DELIVERED)
    await operations.replay(creation)
    assert (await content(outbox, creation))["contact"] == {"email": "anna@example.com", "firstName": "A"}


async def test_the_shop_may_repeat_a_write_whose_entry_was_cut(outbox: Outbox, operations: Operations) -> None:
    draft = update(city="Lund", firstName="A", key="k")
    (old,) = await put(outbox, draft)
    await bring_to(outbox, old, State.EXHAUSTED)
    await put(outbox, update(city="Malmö"))
    await operations.replay(old)
    (stored,) = await outbox.enqueue([draft])
    assert (stored.id, stored.existing) == (old, State.PENDING)
    with pytest.raises(KeyConflict):
        await outbox.enqueue([update(city="Ystad", key="k")])


# keys that were given up ----------------------------------------------------------------------------------------------


async def test_a_replayed_entry_has_its_key_again(outbox: Outbox, operations: Operations) -> None:
    own, natural = redemption(key="order-1"), sale("R-1")
    ids = await rejected(outbox, own, natural)
    await operations.replay(*ids)
    again = await outbox.enqueue([own, natural, redemption()])
    assert [stored.id for stored in again[:2]] == ids
    assert again[2].id == ids[0], "the assignment is the natural key of what has a key of the shop's own"


@pytest.mark.parametrize("newer", [State.PENDING, State.DELIVERED, State.EXHAUSTED, State.REJECTED])
async def test_an_entry_whose_key_somebody_has_taken_over_is_left(
    outbox: Outbox, operations: Operations, newer: State
) -> None:
    (old,) = await rejected(outbox, sale("R-1", 10))
    (new,) = await put(outbox, sale("R-1", 11))
    await bring_to(outbox, new, newer)
    told = await operations.replay(old)
    assert (told.counts["leave"], f"entry {new} came after it" in told.plans[0].why) == (1, True)
    assert await state_of(outbox, old) is State.REJECTED


async def test_an_entry_is_left_while_another_key_holds_the_same_assignment(
    outbox: Outbox, operations: Operations
) -> None:
    (old,) = await rejected(outbox, redemption(key="order-1"))
    await put(outbox, redemption(key="order-2"))
    assert (await operations.replay(old)).counts["leave"] == 1


async def test_an_entry_whose_key_was_delivered_and_purged_since_is_left(
    outbox: Outbox, operations: Operations, clock: StandingClock
) -> None:
    (old,) = await rejected(outbox, sale("R-1", 10))
    (new,) = await put(outbox, sale("R-1", 11))
    await bring_to(outbox, new, State.DELIVERED)
    clock.time += 1
    assert await outbox.purge(clock.time, 0) == 1
    assert (await operations.replay(old)).counts["leave"] == 1


async def test_of_two_that_gave_up_one_key_only_one_comes_back(outbox: Outbox, operations: Operations) -> None:
    (first,) = await rejected(outbox, sale("R-1", 10))
    (second,) = await rejected(outbox, sale("R-1", 11))
    assert (await operations.replay()).counts == {"send": 1, "leave": 1, "file": 0, "supersede": 0, "discard": 0}
    assert await state_of(outbox, first) is State.REJECTED
    assert await state_of(outbox, second) is State.PENDING
    await operations.discard(first, second, reason="test")
    told = await operations.replay(first, second, again=True)
    assert (told.counts["send"], told.counts["leave"]) == (1, 1)


# files ----------------------------------------------------------------------------------------------------------------


async def test_replaying_what_is_spooled_withdraws_its_file_and_the_others_wait_for_the_next(
    outbox: Outbox, operations: Operations
) -> None:
    one, other = await put(outbox, sale("R-1"), sale("R-2"))
    for entry_id in (one, other):
        await bring_to(outbox, entry_id, State.EXHAUSTED)
    written = await spool(outbox, one, other)
    local = operations._settings.spool_path / written.name
    local.write_text("<file/>")
    told = await operations.replay(one)
    assert told.counts["send"] == 1
    assert await state_of(outbox, one) is State.PENDING
    assert await state_of(outbox, other) is State.EXHAUSTED
    assert (await outbox.get(other)).outage, "it goes back to the API when that is back"
    assert (await file_named(outbox, written.name)).state == "withdrawn"
    assert not local.exists()
    await assert_sound(outbox)


async def test_a_file_whose_upload_has_begun_is_never_withdrawn(outbox: Outbox, operations: Operations) -> None:
    (one,) = await put(outbox, sale("R-1"))
    await bring_to(outbox, one, State.SPOOLED)
    name = (await outbox.get(one)).file
    assert name is not None
    written = await file_named(outbox, name)
    await outbox.update_file(written.id, state="uploading", now=START)  # its entries follow in the next transaction
    assert (await operations.replay(one)).counts["leave"] == 1
    assert (await file_named(outbox, name)).state == "uploading"


async def test_a_file_that_is_withdrawn_while_its_entries_are_marked_gets_no_more_of_them(
    outbox: Outbox, operations: Operations
) -> None:
    ids = await put(outbox, *(sale(f"R-{number}") for number in range(450)))
    (message,) = await outbox.claim(1, START, frozenset())
    await bring_to(outbox, ids[0], State.EXHAUSTED)
    await outbox.exhaust_lanes([message.lane], START)
    name = await outbox.next_file_name(START, FileFamily.TRANSACTIONS)
    spooling = asyncio.create_task(outbox.spool_file(file(name, len(ids)), ids))
    while await state_of(outbox, ids[0]) is not State.SPOOLED:
        await asyncio.sleep(0)
    await operations.replay(ids[0])
    await spooling
    counts = (await outbox.counts()).states
    assert (counts["pending"], counts["exhausted"], counts["spooled"]) == (1, 449, 0)


async def test_by_file_an_entry_waits_for_the_next_file_and_is_asked_for_at_once(
    outbox: Outbox, operations: Operations
) -> None:
    one, cleared = await rejected(outbox, update(city="Lund"), update("other", city=None))
    told = await operations.replay(one, cleared, via="file")
    assert (told.counts["file"], told.counts["leave"]) == (1, 1)
    assert "no form in a file" in told.plans[0].why
    record = await outbox.get(one)
    assert (record.state, record.outage) == ("exhausted", False)
    asked = await outbox.files_wanted()
    assert asked is not None
    await outbox.files_written(asked)
    assert await outbox.files_wanted() is None
    await assert_sound(outbox)


# many at once, others at the same time --------------------------------------------------------------------------------


async def test_the_selection_is_frozen_when_the_replay_begins(
    outbox: Outbox, operations: Operations, clock: StandingClock
) -> None:
    ids = await rejected(outbox, *(sale(f"R-{number}") for number in range(450)))
    late: list[int] = []

    async def reject_more() -> None:
        late.extend(await rejected(outbox, sale(f"late-{len(tasks)}")))

    tasks: list[asyncio.Task[None]] = []
    told = await operations.replay(progress=lambda _: tasks.append(asyncio.create_task(reject_more())))
    await asyncio.gather(*tasks)
    assert told.counts["send"] == len(ids)
    assert late
    assert await state_of(outbox, late[-1]) is State.REJECTED


async def test_a_limit_takes_the_oldest_and_is_never_passed_over(outbox: Outbox, operations: Operations) -> None:
    ids = await rejected(outbox, *(sale(f"R-{number}") for number in range(5)))
    for dry_run in (True, False):
        told = await operations.replay(which=EntryFilter(limit=2), dry_run=dry_run)
        assert (told.selected, told.counts["send"]) == (2, 2)
    assert [await state_of(outbox, entry) for entry in ids] == ["pending"] * 2 + ["rejected"] * 3
    told = await operations.discard(which=EntryFilter(states=(State.REJECTED,), limit=1), reason="a try")
    assert (told.selected, await state_of(outbox, ids[2])) == (1, "discarded")
    with pytest.raises(TransitionRefused, match="ids or a filter"):
        await operations.discard(which=EntryFilter(limit=1), reason="a limit says nothing of which")


async def test_two_replays_at_once_bring_each_entry_back_once(
    outbox: Outbox, operations: Operations, open_outbox: OpenOutbox, clock: StandingClock
) -> None:
    other = await open_outbox()
    assert isinstance(other, SqliteOutbox)
    beside = Operations(other, clock, operations._settings)
    people = [f"{ANNA[:-4]}{number:04d}" for number in range(60)]
    await rejected(outbox, *(update(person, city="Lund") for person in people for _ in range(10)))
    told = await asyncio.gather(operations.replay(), beside.replay())
    # Where one is ahead of the other within a contact, the older entries are superseded by what waits already.
    assert sum(one.counts["send"] + one.counts["supersede"] for one in told) == 600
    states = (await outbox.counts()).states
    assert states["pending"] == sum(one.counts["send"] for one in told) >= 60
    assert states["pending"] + states["discarded"] == 600
    newest = await outbox.entries(EntryFilter(states=(State.PENDING,)))
    assert {entry.lane for entry in newest if entry.id % 10 == 0} == {entry.lane for entry in newest}
    assert len({entry.lane for entry in newest}) == 60
    actions = await operations.actions()
    assert sum(action.entries for action in actions) == 600
    await assert_sound(outbox)


async def test_an_interrupted_replay_is_started_again_without_harm(outbox: Outbox, operations: Operations) -> None:
    ids = await rejected(outbox, *(sale(f"R-{number}") for number in range(450)))

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await operations.replay(progress=interrupt)
    assert (await outbox.counts()).states["pending"] == 100
    told = await operations.replay()
    assert told.counts["send"] == 350
    again, first = await operations.actions()
    assert (first.entries, first.ended, again.entries) == (100, None, 350)
    assert len(await outbox.claim(len(ids), START, frozenset())) == 1
    await assert_sound(outbox)


async def test_a_newer_value_that_is_delivered_between_decision_and_move_is_seen(
    outbox: Outbox, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer write comes, and is delivered, after the replay has worked out what newer entries have set."""
    assert isinstance(outbox, SqliteOutbox)
    (old,) = await rejected(outbox, update(city="Lund", firstName="A"))
    prepare = outbox._prepare
    looks = 0

    async def slow(*args: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        prepared = await prepare(*args, **named)
        if looks == 1:
            (new,) = await put(outbox, update(city="Malmö"))
            await bring_to(outbox, new, State.DELIVERED)
        return prepared

    monkeypatch.setattr(outbox, "_prepare", slow)
    await operations.replay(old)
    assert looks == 2
    assert (await content(outbox, old))["changes"] == {"firstName": "A"}


async def test_a_newer_value_that_comes_back_between_decision_and_move_is_seen(
    outbox: Outbox, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(outbox, SqliteOutbox)
    old, new = await rejected(outbox, update(city="Lund", firstName="A"), update(city="Malmö"))
    prepare = outbox._prepare
    looks: list[int] = []

    async def slow(ids: Any, **named: Any) -> Any:
        looks.append(len(looks))
        prepared = await prepare(ids, **named)
        if list(ids) == [old] and len(looks) == 1:
            await operations.replay(new)
            await bring_to(outbox, new, State.DELIVERED)
        return prepared

    monkeypatch.setattr(outbox, "_prepare", slow)
    await operations.replay(old)
    assert (await content(outbox, old))["changes"] == {"firstName": "A"}


async def test_an_older_entry_goes_first_though_a_newer_one_of_its_lane_was_claimed(
    outbox: Outbox, operations: Operations
) -> None:
    (old,) = await rejected(outbox, update(city="Lund"))
    (new,) = await put(outbox, update(firstName="A"))
    assert await claimed(outbox) == [new]
    await operations.replay(old)
    assert not await outbox.mark_sending(new)
    assert await claimed(outbox) == [old]


# discarding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
async def test_a_discard_takes_what_has_not_left_and_leaves_its_lane_right(
    outbox: Outbox, operations: Operations, state: State
) -> None:
    first, second = await put(outbox, update(city="Lund", key="k"), update(firstName="A"))
    await bring_to(outbox, first, state)
    told = await operations.discard(reason="a test", which=EntryFilter(states=(state,), kinds=(Kind.CONTACT_UPDATE,)))
    goes = state in (State.PENDING, State.REJECTED, State.EXHAUSTED, State.SPOOLED)
    assert await state_of(outbox, first) is (State.DISCARDED if goes else state)
    if goes:
        assert told.counts["discard"] == (2 if state is State.PENDING else 1)
        assert (await outbox.get(first)).reason == "a test"
        assert (await outbox.enqueue([update(city="Ystad", key="k")]))[0].existing is None
        assert await claimed(outbox) != [first]
    await assert_sound(outbox)
    if state in (State.UPLOADED, State.IMPORTED):
        assert (await operations.discard(first, reason="lost")).counts["discard"] == 1
        assert await claimed(outbox) == [second]
        await assert_sound(outbox)


async def test_a_discard_needs_a_reason_and_a_choice(operations: Operations) -> None:
    with pytest.raises(TransitionRefused, match="reason"):
        await operations.discard(1, reason=" ")
    with pytest.raises(TransitionRefused, match="ids or a filter"):
        await operations.discard(reason="because")
    with pytest.raises(EntryNotFound):
        await operations.discard(1, reason="because")
    with pytest.raises(EntryNotFound):
        await operations.replay(1)
    with pytest.raises(TransitionRefused, match="ids"):
        await operations.replay(again=True)


async def test_who_waits_for_an_entry_hears_that_it_was_dropped(outbox: Outbox, operations: Operations) -> None:
    (entry,) = await put(outbox, sale())
    heard: list[tuple[Any, ...]] = []
    outbox.on_settled(lambda *told: heard.append(told))
    await operations.discard(entry, reason="a test")
    assert heard == [(entry, State.DISCARDED, "a test")]


# editing --------------------------------------------------------------------------------------------------------------


async def test_an_edited_entry_keeps_its_old_content_and_goes_with_the_new_one(
    outbox: Outbox, operations: Operations
) -> None:
    wrong = sale("R-1", 10)
    (entry,) = await rejected(outbox, wrong)
    body = await content(outbox, entry) | {"contact": {"matchKey": "b@example.com", "matchKeyType": "email"}}
    record = await operations.edit(entry, json.dumps(body).encode(), reason="typing error")
    assert (record.state, record.lane) == ("rejected", "email:b@example.com")
    await operations.replay(entry)
    (message,) = await outbox.claim(1, START, frozenset())
    assert json.loads(message.body)["contact"]["matchKey"] == "b@example.com"
    assert message.lane_key == "email:b@example.com"
    (stored,) = await outbox.enqueue([wrong])
    assert stored.id == entry, "the shop may repeat what it wrote"
    await assert_sound(outbox)


async def test_an_edit_is_checked_as_at_the_first_time(outbox: Outbox, operations: Operations) -> None:
    (entry,) = await rejected(outbox, update(city="Lund"))
    before = await content(outbox, entry)
    for wrong, path in (
        (before | {"changes": {"rfm": 1}}, "rfm"),
        (before | {"chnages": {}}, "chnages"),
        (before | {"address": {"type": "contactId", "value": "no id!"}}, "contactId"),
    ):
        with pytest.raises(InvalidEntry) as error:
            await operations.edit(entry, wrong)
        assert error.value.path == path
    assert await content(outbox, entry) == before


async def test_only_a_rejected_entry_is_edited(outbox: Outbox, operations: Operations) -> None:
    (entry,) = await put(outbox, update(city="Lund"))
    with pytest.raises(TransitionRefused, match="pending"):
        await operations.edit(entry, await content(outbox, entry))


async def test_a_redemption_of_another_assignment_has_that_one_as_its_key(
    outbox: Outbox, operations: Operations
) -> None:
    (entry,) = await rejected(outbox, redemption())
    other = ASSIGNMENT[:-1] + "B"
    await operations.edit(entry, {"assignmentId": other, "channel": "POS", "contactId": ANNA})
    await operations.replay(entry)
    assert (await outbox.get(entry)).key == other.lower()
    assert (await outbox.enqueue([redemption()]))[0].existing is None


# purging --------------------------------------------------------------------------------------------------------------


async def test_a_change_stays_while_an_older_one_of_its_contact_can_be_replayed(
    outbox: Outbox, operations: Operations, clock: StandingClock
) -> None:
    (old,) = await rejected(outbox, update(city="Lund"))
    (new,) = await put(outbox, update(city="Malmö"))
    await bring_to(outbox, new, State.DELIVERED)
    clock.time += 1
    assert await outbox.purge(clock.time, 0) == 0
    assert (await operations.replay(old)).counts["supersede"] == 1
    clock.time += 1
    assert await outbox.purge(clock.time, 0) == 2
