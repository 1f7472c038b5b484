"""What the store knows of contacts: which id an address stands for, and whether anything of a contact has moved."""

from __future__ import annotations

import pytest
from entries import OpenOutbox, StandingClock, bring_to, draft, move, put

from voyado_async.delivery import Kind
from voyado_async.outbox import sqlite_purging
from voyado_async.outbox.records import Asked, Learned, Mark, Told
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.sqlite_facts import KNOWN_FOR
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

DAY = 86_400_000
MAIL = "email:anna@example.com"


# the id store ---------------------------------------------------------------------------------------------------------


async def test_the_newest_word_on_an_address_counts(outbox: Outbox, open_outbox: OpenOutbox) -> None:
    assert await outbox.contact_id(MAIL) is None
    await outbox.remember_contacts([Learned(MAIL, "1", 0), Learned("memberNumber:7", "1", 0)])
    await outbox.remember_contacts([Learned(MAIL, "2", 0)])
    other = await open_outbox()
    assert (await other.contact_id(MAIL), await other.contact_id("memberNumber:7")) == ("2", "1")


async def test_what_is_known_already_is_not_written_again_until_a_day_later(
    outbox: SqliteOutbox, clock: StandingClock
) -> None:
    await outbox.remember_contacts([Learned(MAIL, "1", 0)])
    before = outbox.commits
    await outbox.remember_contacts([Learned(MAIL, "1", 0)])
    assert outbox.commits == before
    clock.time += KNOWN_FOR + 1
    await outbox.remember_contacts([Learned(MAIL, "1", 0)])
    assert outbox.commits == before + 1


async def test_when_engage_was_asked_whose_an_address_is_is_known_to_every_process(
    outbox: SqliteOutbox, open_outbox: OpenOutbox, clock: StandingClock
) -> None:
    now = clock.time
    await outbox.remember_contacts([Learned("memberNumber:7", "1", 0)])
    assert await outbox.told("memberNumber:7") is None, "what told it was another question"
    await outbox.remember_contacts([Learned(MAIL, "1", 0, None, now - 9, 5)])
    other = await open_outbox()
    assert await other.told(MAIL) == Told("1", Asked(now - 9, 5))
    before = outbox.commits
    await outbox.remember_contacts([Learned(MAIL, "1", 0, None, now - 10, 4)])
    assert outbox.commits == before, "an older answer is no news"
    await outbox.remember_contacts([Learned(MAIL, "1", 0, None, now - 8, 6)])
    assert await other.told(MAIL) == Told("1", Asked(now - 8, 6))
    await outbox.remember_contacts([Learned(MAIL, "1", 0, None, now + 5, 7)])
    await outbox.remember_contacts([Learned(MAIL, "1", 0, None, now - 7, 8)])
    assert await other.told(MAIL) == Told("1", Asked(now - 7, 8)), "what lies in the future is a clock's mistake"


async def test_what_else_tells_an_id_makes_the_answer_no_younger_and_another_id_ends_it(
    outbox: SqliteOutbox, clock: StandingClock
) -> None:
    told = Told("G-1", Asked(clock.time, 5))
    await outbox.remember_contacts([Learned(MAIL, "G-1", 0, None, *told.asked)])
    for contact_id, known in (("g-1", told.asked), ("G-2", None)):
        (entry,) = await put(outbox, draft(Kind.CONTACT_CREATE, MAIL))
        clock.time += 1000
        assert await move(outbox, entry, State.PENDING, State.DELIVERED, contact_id=contact_id)
        found = await outbox.told(MAIL)
        assert (found and found.asked) == known
    (entry,) = await put(outbox, draft(lane=MAIL))
    (message,) = await outbox.claim(1, clock.time, frozenset())
    for contact_id, asked, known in (
        ("G-2", Asked(7, 7), Asked(7, 7)), ("g-2", None, Asked(7, 7)), ("G-3", None, None)
    ):  # fmt: skip
        assert await outbox.join_lanes(message.lane, contact_id, MAIL, asked)
        found = await outbox.told(MAIL)
        assert (found and found.asked) == known


@pytest.mark.parametrize("state", [State.SPOOLED, State.UPLOADED, State.IMPORTED])
async def test_nothing_counts_as_just_told_while_a_contact_write_is_on_the_second_road(
    outbox: SqliteOutbox, clock: StandingClock, state: State
) -> None:
    await outbox.remember_contacts([Learned(MAIL, "G-1", 0, None, clock.time, 5)])
    receipt, update = await put(outbox, draft(Kind.RECEIPT, "contact:bo"), draft(Kind.CONTACT_UPDATE, "contact:bo"))
    await bring_to(outbox, receipt, state)
    assert await outbox.told(MAIL) is not None
    await bring_to(outbox, update, state)
    assert await outbox.told(MAIL) is None
    assert await outbox.contact_id(MAIL) == "G-1"


async def test_many_addresses_are_few_commits(outbox: SqliteOutbox) -> None:
    before = outbox.commits
    await outbox.remember_contacts([Learned(f"memberNumber:{n}", str(n), 0) for n in range(1000)])
    assert outbox.commits - before == 5
    assert await outbox.contact_id("memberNumber:999") == "999"


async def test_an_address_that_is_nobodys_is_unlearned(outbox: SqliteOutbox) -> None:
    await outbox.remember_contacts([Learned(MAIL, "1", 0)])
    await outbox.unlearn_address(MAIL)
    assert await outbox.contact_id(MAIL) is None
    before = outbox.commits
    await outbox.unlearn_address(MAIL)
    assert outbox.commits == before, "nobody's turn is taken for nothing"


@pytest.mark.parametrize("state", [State.DELIVERED, State.IMPORTED])
async def test_a_settled_write_by_an_address_teaches_the_id(outbox: Outbox, state: State) -> None:
    (entry,) = await put(outbox, draft(Kind.CONTACT_CREATE, MAIL))
    await bring_to(outbox, entry, State.IMPORTED if state is State.IMPORTED else State.PENDING)
    source = state if state is State.IMPORTED else State.PENDING
    assert await move(outbox, entry, source, State.DELIVERED, contact_id="G-1")
    assert await outbox.contact_id(MAIL) == "G-1"


async def test_forgetting_takes_every_address_of_one_contact(outbox: Outbox) -> None:
    hers = [Learned(MAIL, "G-1", 0), Learned("memberNumber:7", "g-1", 0), Learned("contact:g-1", "G-1", 0, "Guest")]
    await outbox.remember_contacts([*hers, Learned("memberNumber:8", "G-2", 0)])
    assert await outbox.forget_ids("G-1") == 1
    assert await outbox.contact_id(MAIL) is None
    assert await outbox.contact_id("memberNumber:7") is None
    assert await outbox.contact_type("G-1") is None
    assert await outbox.contact_id("memberNumber:8") == "G-2"
    assert await outbox.forget_ids("nobody") == 2


async def test_what_was_asked_for_before_somebody_was_forgotten_is_not_learned_any_more(outbox: Outbox) -> None:
    asked = (await outbox.mark(MAIL)).forgets
    await outbox.forget_ids("G-1")
    await outbox.remember_contacts([Learned(MAIL, "G-1", asked)])
    assert await outbox.contact_id(MAIL) is None
    await outbox.remember_contacts([Learned(MAIL, "G-1", (await outbox.mark(MAIL)).forgets)])
    assert await outbox.contact_id(MAIL) == "G-1"


async def test_addresses_that_nobody_used_for_long_are_purged(outbox: Outbox, clock: StandingClock) -> None:
    await outbox.remember_contacts([Learned(f"memberNumber:{n}", "1", 0) for n in range(450)])
    clock.time += DAY
    await outbox.remember_contacts([Learned(MAIL, "2", 0)])
    await outbox.purge(clock.time, 0)
    assert await outbox.contact_id(MAIL) == "2"
    assert [await outbox.contact_id(f"memberNumber:{n}") for n in (0, 449)] == [None, None]


async def test_a_tenant_of_any_size_fills_the_id_store_only_so_far(
    outbox: SqliteOutbox, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_purging, "MOST_CONTACTS", 500)
    for start in range(0, 1000, 100):
        await outbox.remember_contacts([Learned(f"memberNumber:{n}", "1", 0) for n in range(start, start + 100)])
        clock.time += 1
    await outbox.purge(0, 0)
    known = [await outbox.contact_id(f"memberNumber:{n}") is not None for n in range(1000)]
    assert sum(known) <= 500
    assert known[-1], "the newest stay"


async def test_the_newest_word_on_a_type_counts_and_the_usual_one_takes_no_place(outbox: SqliteOutbox) -> None:
    anna = "contact:g-1"
    before = outbox.commits
    await outbox.remember_contacts([Learned(anna, "G-1", 0)])
    assert (outbox.commits, await outbox.contact_type("G-1")) == (before, None)
    await outbox.remember_contacts([Learned(anna, "G-1", 0, "Guest")])
    assert await outbox.contact_type("G-1") == "Guest"
    before = outbox.commits
    await outbox.remember_contacts([Learned(anna, "G-1", 0, "Guest")])
    assert outbox.commits == before
    await outbox.remember_contacts([Learned(anna, "G-1", 0)])
    assert await outbox.contact_type("g-1") is None


async def test_a_settled_change_teaches_the_type_and_what_goes_into_a_file_knows_it(outbox: Outbox) -> None:
    changed, by_id, by_mail = await put(
        outbox, draft(Kind.CONTACT_TYPE, "contact:g-1"), draft(lane="contact:g-1"), draft(lane=MAIL)
    )
    assert await move(outbox, changed, State.PENDING, State.DELIVERED, contact_id="G-1", contact_type="Guest")
    await outbox.remember_contacts([Learned(MAIL, "G-1", 0)])
    for entry in (by_id, by_mail):
        await bring_to(outbox, entry, State.EXHAUSTED)
    assert [each.contact_type for each in await outbox.exhausted_of([by_id, by_mail])] == ["Guest", "Guest"]


# marks ----------------------------------------------------------------------------------------------------------------


async def test_a_mark_changes_with_each_move_of_the_contact_and_with_no_other(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    other = await open_outbox()
    anna, bo = await put(outbox, draft(lane="contact:anna"), draft(lane="contact:bo"))
    seen = await other.mark("contact:anna")
    await move(outbox, bo, State.PENDING, State.DELIVERED)
    assert await other.mark("contact:anna") == seen
    await outbox.mark_sending(anna)
    await move(outbox, anna, State.SENDING, State.DELIVERED)
    assert await other.mark("contact:anna") != seen


async def test_a_mark_does_not_care_for_the_clock(outbox: Outbox, clock: StandingClock) -> None:
    (entry,) = await put(outbox, draft(lane="contact:anna"))
    seen = await outbox.mark("contact:anna")
    clock.time -= 10 * DAY
    await move(outbox, entry, State.PENDING, State.DELIVERED)
    assert (await outbox.mark("contact:anna")).moves > seen.moves


async def test_the_mark_of_a_contact_covers_what_is_written_under_its_addresses(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft(lane=MAIL))
    await outbox.remember_contacts([Learned(MAIL, "G-1", 0)])
    seen = await outbox.mark("contact:g-1")
    await move(outbox, entry, State.PENDING, State.DELIVERED)
    assert (await outbox.mark("contact:g-1")).moves == seen.moves + 1


async def test_the_mark_of_an_address_covers_what_is_written_under_the_contact(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft(lane="contact:g-1"))
    await outbox.remember_contacts([Learned(MAIL, "G-1", 0)])
    seen = await outbox.mark(MAIL)
    await move(outbox, entry, State.PENDING, State.DELIVERED)
    assert (await outbox.mark(MAIL)).moves == seen.moves + 1


async def test_joining_lanes_never_takes_a_mark_back(outbox: Outbox) -> None:
    await outbox.remember_contacts([Learned(MAIL, "G-1", 0)])
    for entry in await put(outbox, draft(lane=MAIL), draft(lane=MAIL), draft(lane="contact:g-1")):
        await move(outbox, entry, State.PENDING, State.DELIVERED)
    before = [await outbox.mark(lane) for lane in (MAIL, "contact:g-1")]
    lane = await outbox.lane_of("G-1")
    assert lane is not None
    assert await outbox.join_lanes(lane - 1, "G-1", MAIL)
    after = [await outbox.mark(lane) for lane in (MAIL, "contact:g-1")]
    assert after[0] == after[1]
    assert all(new.moves > old.moves for new, old in zip(after, before, strict=True))


async def test_forgetting_changes_every_mark(outbox: Outbox) -> None:
    assert await outbox.mark("contact:anna") == Mark(0, 0)
    await outbox.forget_ids("bo")
    assert await outbox.mark("contact:anna") == Mark(1, 0)
