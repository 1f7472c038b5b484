"""The second road: which entries leave, what becomes of a file and of its entries."""

from __future__ import annotations

import asyncio
import re

import msgspec
import pytest
from entries import START, OpenOutbox, bring_to, claimed, draft, file, file_named, move, put, spool, state_of

from voyado_async.delivery import FileFamily, Kind
from voyado_async.errors import TransitionRefused
from voyado_async.outbox.records import Attempt
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

FILE_STATES = ("spooled", "uploading", "uploaded", "imported", "withdrawn", "lost")
MAY = {
    "spooled": {"spooled", "uploading", "uploaded", "withdrawn", "lost"},
    "uploading": {"uploading", "uploaded"},
    "uploaded": {"uploaded", "imported"},
    "imported": {"imported"},
    "withdrawn": set(),
    "lost": set(),
}
WAY = {
    "spooled": (),
    "uploading": ("uploading",),
    "uploaded": ("uploading", "uploaded"),
    "imported": ("uploading", "uploaded", "imported"),
    "withdrawn": ("withdrawn",),
    "lost": ("lost",),
}


async def exhausted(outbox: Outbox, count: int, *, outage: bool = True) -> list[int]:
    ids = await put(outbox, *(draft(lane=f"contact:{n}") for n in range(count)))
    await asyncio.gather(
        *(
            move(outbox, entry, State.PENDING, State.EXHAUSTED, outage=outage, slots=8, reason="http_503")
            for entry in ids
        )
    )
    return ids


async def leaving(outbox: Outbox) -> list[int]:
    return [message.id async for message in outbox.exhausted()]


async def states(outbox: Outbox, ids: list[int]) -> set[State]:
    return {state for state, _ in (await outbox.states_of(ids)).values()}


# what leaves ---------------------------------------------------------------------------------------------------------


async def test_exhausted_entries_leave_in_the_order_of_writing_each_once(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 450)
    assert await outbox.exhausted_lines() == (450, START)
    assert await leaving(outbox) == ids


async def test_entries_may_be_spooled_and_settled_while_one_iterates(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 450)
    seen = []
    async for message in outbox.exhausted():
        seen.append(message.id)
        if len(seen) % 100 == 0:
            await spool(outbox, *seen[-100:])
        if len(seen) == 50:
            assert await move(outbox, ids[300], State.EXHAUSTED, State.REJECTED)
    assert seen == [entry for entry in ids if entry != ids[300]]


async def test_lines_are_counted_and_not_entries(outbox: Outbox) -> None:
    sales = [msgspec.structs.replace(draft(lane=f"contact:{lines}"), lines=lines) for lines in (7, 1, 100)]
    for entry in (await put(outbox, *sales))[:2]:
        await move(outbox, entry, State.PENDING, State.EXHAUSTED)
    assert (await outbox.exhausted_lines())[0] == 8


async def test_what_may_no_longer_leave_is_not_read_for_its_file(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 3)
    await move(outbox, ids[1], State.EXHAUSTED, State.DISCARDED)
    assert [message.id for message in await outbox.exhausted_of([*ids, 10**9])] == [ids[0], ids[2]]


async def test_without_exhausted_entries_there_is_nothing_to_gather(outbox: Outbox) -> None:
    await put(outbox, draft())
    assert await outbox.exhausted_lines() == (0, None)
    assert await leaving(outbox) == []


@pytest.mark.parametrize(
    ("state", "held"),
    [
        (State.EXHAUSTED, True),
        (State.SPOOLED, True),
        (State.UPLOADED, True),
        (State.IMPORTED, False),
        (State.REJECTED, False),
    ],
)
async def test_what_belongs_to_a_created_contact_waits_until_the_creation_is_imported(
    outbox: Outbox, state: State, held: bool
) -> None:
    older, creation, receipt, update = await put(
        outbox, draft(Kind.RECEIPT), draft(Kind.CONTACT_CREATE), draft(Kind.RECEIPT), draft(Kind.CONTACT_UPDATE)
    )
    for entry in (older, receipt, update):
        await bring_to(outbox, entry, State.EXHAUSTED)
    await bring_to(outbox, creation, state)
    created = [creation] if state is State.EXHAUSTED else []
    assert await leaving(outbox) == [older, *created, *([] if held else [receipt, update])]


async def test_a_change_waits_for_an_older_one_that_goes_by_the_api(outbox: Outbox) -> None:
    older, receipt, newer = await put(
        outbox, draft(Kind.CONTACT_UPDATE), draft(Kind.RECEIPT), draft(Kind.CONTACT_UPDATE)
    )
    for entry in (receipt, newer):
        await bring_to(outbox, entry, State.EXHAUSTED)
    assert await leaving(outbox) == [receipt]
    await bring_to(outbox, older, State.EXHAUSTED)
    assert await leaving(outbox) == [older, receipt, newer]


async def test_a_change_does_not_leave_where_an_older_one_was_exhausted_only_meanwhile(outbox: Outbox) -> None:
    """It would be left behind: by the API it could go later, and overwrite the newer one."""
    before = await exhausted(outbox, 150)
    older, *between = await put(outbox, draft(Kind.CONTACT_UPDATE), *(draft(lane=f"contact:{n}") for n in range(150)))
    (newer,) = await put(outbox, draft(Kind.CONTACT_UPDATE))
    for entry in (*between, newer):
        await bring_to(outbox, entry, State.EXHAUSTED)
    seen = []
    async for message in outbox.exhausted():
        if not seen:
            await bring_to(outbox, older, State.EXHAUSTED)
        seen.append(message.id)
    assert seen == [*before, *between]
    assert await leaving(outbox) == [*before, older, *between, newer]


async def test_a_leaving_message_tells_when_it_was_written_into_files_before(outbox: Outbox) -> None:
    (entry,) = await exhausted(outbox, 1)
    for at in (START + 1, START + 2):
        name = await outbox.next_file_name(at, FileFamily.TRANSACTIONS)
        assert await outbox.spool_file(file(name, created=at), [entry]) == [entry]
        written = await file_named(outbox, name)
        await outbox.update_file(written.id, state="withdrawn", now=START, entries_to=State.EXHAUSTED)
    (message,) = [message async for message in outbox.exhausted()]
    assert message.carried == (START + 1, START + 2)
    assert (message.contact_id, message.slots) == ("0", 8)


# names ---------------------------------------------------------------------------------------------------------------


async def test_names_are_never_given_twice_and_their_time_never_goes_back(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    other = await open_outbox()
    names = [
        await store.next_file_name(START + shift, family)
        for shift, store, family in (
            (0, outbox, FileFamily.CONTACTS),
            (-86_400_000, other, FileFamily.TRANSACTIONS),
            (5_000, outbox, FileFamily.REDEMPTIONS),
            (5_000, other, FileFamily.REDEMPTIONS),
        )
    ]
    parts = [re.fullmatch(r"(\d{14})_(\d+)_(contacts|redemptions|transactions)\.xml", name) for name in names]
    found = [part.groups() for part in parts if part is not None]
    assert [stamp for stamp, _, _ in found] == ["20231114221320"] * 2 + ["20231114221325"] * 2
    assert [family for _, _, family in found] == ["contacts", "transactions", "redemptions", "redemptions"]
    numbers = [int(sequence) for _, sequence, _ in found]
    assert numbers == sorted(set(numbers))
    assert all([await outbox.owns_file_name(name) for name in names])
    assert not await outbox.owns_file_name("20231114221320_99999990000001_contacts.xml")
    assert not await outbox.owns_file_name("manual.xml")


async def test_names_are_increasing_and_unique_also_when_several_ask_at_once(
    outbox: Outbox, open_outbox: OpenOutbox
) -> None:
    asked: list[list[str]] = [[], [], []]

    async def ask(store: Outbox, names: list[str]) -> None:
        for _ in range(20):
            names.append(await store.next_file_name(START, FileFamily.CONTACTS))

    stores = [outbox, await open_outbox(), await open_outbox()]
    await asyncio.gather(*map(ask, stores, asked))
    assert all(names == sorted(names) for names in asked)
    assert len({name for names in asked for name in names}) == 60


# into the spool ------------------------------------------------------------------------------------------------------


async def test_a_spooled_file_and_its_entries_know_of_each_other(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 450)
    record = file("20231114221320_1_transactions.xml", 450, created=START + 3)
    assert await outbox.spool_file(record, ids) == ids
    (written,) = await outbox.files(open_only=True)
    assert (written.name, written.state, written.problem, written.entries, written.lines, written.size) == (
        record.name, "spooled", None, 450, 450, 100,
    )  # fmt: skip
    assert await states(outbox, ids) == {State.SPOOLED}
    assert (await outbox.get(ids[-1])).file == record.name
    assert (await outbox.attempts(ids[-1]))[-1] == Attempt(START + 3, "file", "spooled", code=record.name)


async def test_a_file_with_an_entry_that_moved_on_meanwhile_stays_incomplete_and_never_leaves(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 5)
    await move(outbox, ids[2], State.EXHAUSTED, State.REJECTED)
    assert await outbox.spool_file(file(entries=5), ids) == [*ids[:2], *ids[3:]]
    (written,) = await outbox.files(open_only=True)
    assert (written.state, written.problem) == ("spooled", "incomplete")
    for state in ("uploading", "uploaded"):
        with pytest.raises(TransitionRefused):
            await outbox.update_file(written.id, state=state, now=START, entries_to=State.UPLOADED)
    await outbox.update_file(written.id, state="spooled", now=START, problem="quota")
    assert (await outbox.files(open_only=True))[0].problem == "incomplete"
    assert await outbox.update_file(written.id, state="withdrawn", now=START, entries_to=State.EXHAUSTED) == 4
    assert await outbox.files(open_only=True) == []
    assert await leaving(outbox) == [*ids[:2], *ids[3:]]


# moves of a file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", FILE_STATES)
async def test_a_file_makes_only_the_moves_of_the_table(outbox: Outbox, source: str) -> None:
    for target in FILE_STATES:
        (entry,) = await put(outbox, draft())
        await bring_to(outbox, entry, State.SPOOLED)
        written = (await outbox.files(open_only=True))[-1]
        for state in WAY[source]:
            await outbox.update_file(written.id, state=state, now=START)
        if target in MAY[source]:
            await outbox.update_file(written.id, state=target, now=START)
            assert (await file_named(outbox, written.name)).state == target
        else:
            with pytest.raises(TransitionRefused):
                await outbox.update_file(written.id, state=target, now=START, entries_to=State.EXHAUSTED)
            assert (await file_named(outbox, written.name)).state == source
            assert await state_of(outbox, entry) is State.SPOOLED


async def test_a_file_that_is_not_there_makes_no_move(outbox: Outbox) -> None:
    with pytest.raises(TransitionRefused):
        await outbox.update_file(7, state="uploading", now=START)


async def test_the_whole_way_of_a_file_and_its_times(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 3)
    written = await spool(outbox, *ids)
    step = outbox.update_file
    assert await step(written.id, state="uploading", now=START + 1, entries_to=State.UPLOADED) == 3
    assert await states(outbox, ids) == {State.UPLOADED}
    assert await step(written.id, state="uploading", now=START + 2, problem="broken", entries_to=State.UPLOADED) == 0
    assert (await outbox.files(open_only=True))[0].problem == "broken"
    assert await step(written.id, state="uploaded", now=START + 3, seen=True, entries_to=State.UPLOADED) == 0
    await step(written.id, state="uploaded", now=START + 4, seen=True, carried=True)
    await step(written.id, state="uploaded", now=START + 5)
    (shown,) = await outbox.files(open_only=True)
    assert (shown.uploaded, shown.seen, shown.imported, shown.carried, shown.problem) == (
        START + 1, START + 4, None, True, None,
    )  # fmt: skip
    assert await step(written.id, state="imported", now=START + 6, entries_to=State.IMPORTED) == 3
    assert await step(written.id, state="imported", now=START + 7) == 0
    assert await states(outbox, ids) == {State.IMPORTED}
    assert await outbox.files(open_only=True) == []
    (shown,) = await outbox.files(open_only=False)
    assert (shown.state, shown.imported) == ("imported", START + 6)


async def test_who_died_while_marking_a_file_as_carried_leaves_no_entry_behind(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 450)
    written = await spool(outbox, *ids)
    await outbox.update_file(written.id, state="uploaded", now=START, carried=True)  # and dead before any entry moved
    assert await states(outbox, ids) == {State.SPOOLED}
    await outbox.update_file(written.id, state="imported", now=START + 1, entries_to=State.IMPORTED)
    assert await states(outbox, ids) == {State.IMPORTED}
    assert [line.outcome for line in await outbox.attempts(ids[0])][-2:] == ["uploaded", "imported"]


async def test_entries_have_a_line_for_every_step_of_their_file(outbox: Outbox) -> None:
    (entry,) = await put(outbox, draft())
    await bring_to(outbox, entry, State.IMPORTED)
    lines = [(line.what, line.outcome) for line in await outbox.attempts(entry)]
    assert lines == [("request", "exhausted"), ("file", "spooled"), ("file", "uploaded"), ("file", "imported")]


async def test_without_confirmation_the_entries_of_an_imported_file_are_delivered(outbox: Outbox) -> None:
    heard: list[int] = []
    outbox.on_settled(lambda entry, state, reason: heard.append(entry))
    ids = await exhausted(outbox, 450)
    written = await spool(outbox, *ids)
    await outbox.update_file(written.id, state="uploaded", now=START, entries_to=State.UPLOADED)
    assert (await outbox.get(ids[0])).reason == "http_503"
    assert await outbox.update_file(written.id, state="imported", now=START, entries_to=State.DELIVERED) == 450
    assert (await outbox.get(ids[0])).reason is None  # of what was delivered nothing went wrong
    assert await states(outbox, ids) == {State.DELIVERED}
    assert sorted(heard) == ids
    assert [line.outcome for line in await outbox.attempts(ids[0])][-3:] == ["uploaded", "imported", "delivered"]


@pytest.mark.parametrize("gone", ["withdrawn", "lost"])
async def test_entries_of_a_file_that_never_left_are_exhausted_as_before(outbox: Outbox, gone: str) -> None:
    ids = await exhausted(outbox, 450)
    written = await spool(outbox, *ids)
    assert await outbox.update_file(written.id, state=gone, now=START + 1, entries_to=State.EXHAUSTED) == 450
    shown = await outbox.get(ids[0])
    assert (shown.state, shown.slots, shown.outage, shown.file) == (State.EXHAUSTED, 8, True, None)
    assert await leaving(outbox) == ids
    with pytest.raises(TransitionRefused):
        await outbox.update_file(written.id, state="uploading", now=START)


async def test_entries_of_a_withdrawn_file_go_back_to_the_api_with_a_fresh_schedule(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 3)
    written = await spool(outbox, *ids)
    moved = await outbox.update_file(
        written.id, state="withdrawn", now=START + 9, entries_to=State.PENDING, outage_only=True
    )
    assert moved == 3
    shown = await outbox.get(ids[0])
    assert (shown.state, shown.slots, shown.due, shown.outage, shown.file) == (State.PENDING, 0, START + 9, False, None)
    assert await claimed(outbox, START + 9) == ids


async def test_a_file_of_poisoned_entries_only_is_left_alone_when_the_api_is_back(outbox: Outbox) -> None:
    ids = await exhausted(outbox, 3, outage=False)
    written = await spool(outbox, *ids)
    assert (
        await outbox.update_file(written.id, state="withdrawn", now=START, entries_to=State.PENDING, outage_only=True)
        == 0
    )
    assert (await outbox.files(open_only=True))[0] == written
    assert await states(outbox, ids) == {State.SPOOLED}


async def test_poisoned_entries_of_a_mixed_file_are_exhausted_with_what_they_had(outbox: Outbox) -> None:
    back, poisoned = await put(outbox, draft(lane="contact:a"), draft(lane="contact:b"))
    await bring_to(outbox, back, State.EXHAUSTED)
    await bring_to(outbox, poisoned, State.EXHAUSTED, outage=False)
    written = await spool(outbox, back, poisoned)
    assert (
        await outbox.update_file(written.id, state="withdrawn", now=START, entries_to=State.PENDING, outage_only=True)
        == 2
    )
    shown = await outbox.get(poisoned)
    assert (shown.state, shown.slots, shown.file) == (State.EXHAUSTED, 8, None)
    assert (await outbox.attempts(poisoned))[-1].outcome == "exhausted"
    assert (await outbox.attempts(back))[-1].outcome == "pending"
    assert await claimed(outbox) == [back]


# confirming ----------------------------------------------------------------------------------------------------------


async def test_imported_entries_are_confirmed_oldest_first_when_due(outbox: Outbox) -> None:
    ids = await put(outbox, *(draft(lane=f"contact:{n}") for n in range(3)))
    for entry in ids:
        await bring_to(outbox, entry, State.IMPORTED)
    await move(outbox, ids[0], State.IMPORTED, State.IMPORTED, due=START + 10, slots=1)
    assert [message.id for message in await outbox.to_confirm(10, START)] == ids[1:]
    assert [message.id for message in await outbox.to_confirm(10, START + 10)] == [*ids[1:], ids[0]]
    assert [message.id for message in await outbox.to_confirm(1, START)] == [ids[1]]
    (message, *_) = await outbox.to_confirm(10, START)
    assert message.carried == (START,)
    assert message.slots == 0


@pytest.mark.parametrize("older", list(State))
async def test_an_update_is_confirmed_after_the_older_ones_of_its_contact(outbox: Outbox, older: State) -> None:
    """Else the older one, confirmed later, would find a difference and write its own value over the newer one."""
    first, second, other = await put(
        outbox, draft(Kind.CONTACT_UPDATE), draft(Kind.CONTACT_UPDATE), draft(Kind.RECEIPT, "contact:b")
    )
    await bring_to(outbox, second, State.IMPORTED)
    await bring_to(outbox, other, State.IMPORTED)
    await bring_to(outbox, first, older)
    settled = older in (State.DELIVERED, State.REJECTED, State.DISCARDED)
    confirmed = {message.id for message in await outbox.to_confirm(10, START)}
    assert confirmed == {other} | ({second} if settled else set()) | ({first} if older is State.IMPORTED else set())


@pytest.mark.parametrize("kind", [Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE])
async def test_of_a_contact_one_change_at_a_time_is_confirmed_the_oldest_when_it_is_due(
    outbox: Outbox, kind: Kind
) -> None:
    ids = await put(outbox, *(draft(kind) for _ in range(4)), draft(kind, "contact:b"))
    other = ids.pop()
    for entry in (*ids, other):
        await bring_to(outbox, entry, State.IMPORTED)
    for entry in ids[:-1]:
        assert [message.id for message in await outbox.to_confirm(10, START)] == [entry, other]
        await move(outbox, entry, State.IMPORTED, State.IMPORTED, due=START + 10, slots=1)
        assert [message.id for message in await outbox.to_confirm(10, START)] == [other]
        assert [message.id for message in await outbox.to_confirm(10, START + 10)] == [other, entry]
        await move(outbox, entry, State.IMPORTED, State.DELIVERED)
    assert [message.id for message in await outbox.to_confirm(1, START)] == ids[-1:]


async def test_everything_is_confirmed_after_the_creation_of_its_contact(outbox: Outbox) -> None:
    creation, receipt = await put(outbox, draft(Kind.CONTACT_CREATE), draft(Kind.RECEIPT))
    for entry in (creation, receipt):
        await bring_to(outbox, entry, State.IMPORTED)
    assert [message.id for message in await outbox.to_confirm(10, START)] == [creation]
    await move(outbox, creation, State.IMPORTED, State.DELIVERED)
    assert [message.id for message in await outbox.to_confirm(10, START)] == [receipt]


async def test_newer_contact_writes_are_told_for_a_confirmation(outbox: Outbox) -> None:
    older, gone, _, dropped, away, _ = await put(
        outbox,
        *(draft(Kind.CONTACT_UPDATE, body=body) for body in (b"older", b"gone", b"pending", b"dropped", b"away")),
        draft(Kind.CONTACT_UPDATE, "contact:bo", body=b"other"),
    )
    await bring_to(outbox, older, State.DELIVERED)
    await bring_to(outbox, gone, State.IMPORTED)
    await bring_to(outbox, dropped, State.REJECTED)
    await bring_to(outbox, away, State.UPLOADED)
    (message,) = await outbox.to_confirm(10, START)
    assert sorted((await outbox.newer_changes(message, lambda _: False)).writes) == [
        (Kind.CONTACT_UPDATE, b"away"),
    ]
