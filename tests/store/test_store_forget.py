"""A contact that is forgotten leaves no byte: the raw files are searched for what was planted."""

from __future__ import annotations

import random
import sqlite3
import subprocess
from pathlib import Path

import pytest
from entries import OpenOutbox, StandingClock, bring_to, claimed, file_named, move, put, spool, state_of

from voyado_async.delivery import Draft
from voyado_async.errors import InvalidEntry, TransitionRefused
from voyado_async.kinds import contact_create, contact_update, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox import writer
from voyado_async.outbox.records import EntryFilter, Learned
from voyado_async.outbox.shelf import Answer, Shelf
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

ANNA = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f00000001"
BO = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f00000002"
PLANTED = ("plantedmail", "PlantedStreet", "plantedkey", ANNA)


@pytest.fixture
def operations(outbox: Outbox, clock: StandingClock, tmp_path: Path) -> Operations:
    assert isinstance(outbox, SqliteOutbox)
    settings = Settings(outbox=str(tmp_path / "outbox.db"), contact_key="email")
    settings.spool_path.mkdir()
    return Operations(outbox, clock, settings)


def change(contact: str = ANNA, number: int = 0, key: str | None = None) -> Draft:
    return contact_update.draft(address(contact_id=contact), {"street": f"PlantedStreet {number}"}, key=key)


def by_email(number: int = 0) -> Draft:
    named = address(email="plantedmail@example.com")
    return contact_update.draft(named, {"street": f"PlantedStreet {number}"}, key=f"plantedkey{number}")


def found_in(folder: Path) -> list[str]:
    """What of the planted is in any file below the folder, read by another process."""
    return [
        planted
        for planted in PLANTED
        if subprocess.run(["grep", "-raqi", planted, str(folder)], check=False).returncode == 0
    ]


async def test_no_byte_of_a_forgotten_contact_is_left(outbox: Outbox, operations: Operations, tmp_path: Path) -> None:
    first, second, mailed, created = await put(
        outbox,
        change(number=1, key="plantedkey"),
        change(number=2),
        by_email(3),
        contact_create.draft({"email": "plantedmail@example.com", "street": "PlantedStreet 9"}, contact_key="email"),
    )
    (message,) = [one for one in await outbox.claim(9, 1 << 41, frozenset()) if one.id == mailed]
    assert await outbox.join_lanes(message.lane, ANNA, message.lane_key)
    typed = Learned(f"contact:{ANNA}", ANNA, 0, "PlantedStreet")  # it is no address, and goes all the same
    await outbox.remember_contacts([Learned("mobilePhone:+46plantedmail", ANNA.upper(), 0), typed])
    (others,) = await put(outbox, _of(BO, random.Random(1)))
    for entry_id, state in ((first, State.DELIVERED), (second, State.REJECTED), (mailed, State.EXHAUSTED)):
        await bring_to(outbox, entry_id, state)
    shelf = Shelf(outbox.path, "https://engage.test")
    before = await outbox.mark(f"contact:{ANNA}")
    await shelf.put(f"contact:{ANNA}", "get", Answer(b"PlantedStreet", 1, before))
    body = await outbox.body(second)
    await operations.edit(second, body.replace(b"PlantedStreet 2", b"PlantedStreet 5"))
    await operations.discard(created, reason="asked for")
    await bring_to(outbox, others, State.EXHAUSTED)
    file = await spool(outbox, mailed, others)
    (operations._settings.spool_path / file.name).write_text("<Street>PlantedStreet 3</Street>")
    assert set(found_in(tmp_path)) == set(PLANTED)

    with pytest.raises(TransitionRefused, match="1 entries"):
        await operations.forget(ANNA)
    told = await operations.forget(ANNA, drop_pending=True, dry_run=True)
    assert (told.entries, told.unfinished, told.files, told.addresses) == (4, 1, (file.name,), 2)
    assert set(found_in(tmp_path)) == set(PLANTED)
    told = await operations.forget(ANNA.upper(), drop_pending=True)
    assert (told.entries, told.left) == (4, 0)
    assert any("backups" in reach for reach in told.out_of_reach)

    assert found_in(tmp_path) == []
    assert (await outbox.mark(f"contact:{ANNA}")).forgets == before.forgets + 2, "no process serves what it has read"
    assert await state_of(outbox, others) is State.EXHAUSTED
    assert (await file_named(outbox, file.name)).state == "withdrawn"
    counts = await outbox.counts()
    assert (counts.forgotten, counts.balanced) == (4, True)
    assert all(finding.ok for finding in await outbox.verify())


async def test_somebody_else_s_entry_no_longer_names_a_forgotten_contact(
    outbox: Outbox, operations: Operations, tmp_path: Path
) -> None:
    """Rejected, because both have its address: it stays with the other one's id."""
    (shared,) = await put(outbox, contact_update.draft(address(email="shared@example.com"), {"city": "Lund"}))
    reason = f"MultipleMatches: {ANNA.upper()}, {BO}"
    assert await move(outbox, shared, State.PENDING, State.REJECTED, reason=reason)
    assert (await operations.forget(ANNA)).entries == 0
    assert (await outbox.get(shared)).reason == f"MultipleMatches: forgotten, {BO}"
    assert found_in(tmp_path) == []
    assert await operations.entries(EntryFilter(error="MultipleMatches")) != [], "it is still found by its code"


@pytest.mark.parametrize("name", [ANNA, "email:plantedmail@example.com"])
async def test_nothing_is_left_in_pages_that_were_split_and_merged(
    outbox: Outbox, operations: Operations, tmp_path: Path, name: str
) -> None:
    """Among hundreds of others, whose coming and going moves rows and keys from page to page."""
    chance = random.Random(7)
    for number in range(12):
        people = [
            f"{chance.randrange(16**8):08x}-5d2c-4f6e-9f3b-6a1f0000{chance.randrange(9999):04d}" for _ in range(60)
        ]
        mails = [
            contact_update.draft(
                address(email=f"{chance.choice('aopqz')}{chance.randrange(10**9)}@example.com"), {"street": "x" * 300}
            )
            for _ in range(60)
        ]
        drafts = [*(_of(person, chance) for person in people), *mails]
        drafts += [change(number=number, key=f"plantedkey-{number}"), by_email(number)]
        chance.shuffle(drafts)
        ids = await put(outbox, *drafts)
        for entry_id, draft in zip(ids, drafts, strict=True):
            if chance.random() < 0.5 and draft.lane not in (f"contact:{ANNA}", "email:plantedmail@example.com"):
                await operations.discard(entry_id, reason="x")
        await outbox.purge(1 << 41, 0)
    (message,) = [one for one in await outbox.claim(5000, 1 << 41, frozenset()) if "planted" in one.lane_key]
    assert await outbox.join_lanes(message.lane, ANNA, message.lane_key)
    await operations.forget(name, drop_pending=True)
    assert found_in(tmp_path) == []


async def test_content_is_overwritten_where_the_database_is_too_large_to_be_written_anew(
    outbox: Outbox, operations: Operations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "REWRITE_UNDER", 0)
    ids = await put(outbox, change(number=1), change(number=2), _of(BO, random.Random(1)))
    await bring_to(outbox, ids[0], State.DELIVERED)
    told = await operations.forget(ANNA, drop_pending=True)
    assert any("unused space" in reach for reach in told.out_of_reach)
    assert "PlantedStreet" not in found_in(tmp_path)


def _of(person: str, chance: random.Random) -> Draft:
    return contact_update.draft(
        address(contact_id=person), {"street": "y" * chance.randrange(400)}, key=f"{chance.choice('aopqz')}{person}"
    )


async def test_a_request_under_way_is_waited_for(outbox: Outbox, operations: Operations) -> None:
    (entry,) = await put(outbox, change())
    await bring_to(outbox, entry, State.SENDING)
    with pytest.raises(TransitionRefused, match="under way"):
        await operations.forget(ANNA, drop_pending=True)
    assert await state_of(outbox, entry) is State.SENDING


async def test_what_left_by_file_is_named_as_out_of_reach(outbox: Outbox, operations: Operations) -> None:
    (entry,) = await put(outbox, change())
    await bring_to(outbox, entry, State.IMPORTED)
    name = (await outbox.get(entry)).file
    (operations._settings.spool_path / str(name)).write_text("<Street>PlantedStreet</Street>")
    told = await operations.forget(ANNA, drop_pending=True)
    assert f"files at Engage: {name}" in told.out_of_reach
    assert list(operations._settings.spool_path.iterdir()) == []


async def test_a_file_that_is_being_uploaded_is_waited_for(outbox: Outbox, operations: Operations) -> None:
    (entry,) = await put(outbox, change())
    await bring_to(outbox, entry, State.SPOOLED)
    written = await file_named(outbox, str((await outbox.get(entry)).file))
    await outbox.update_file(written.id, state="uploading", now=1, entries_to=State.UPLOADED)
    with pytest.raises(TransitionRefused, match="uploaded"):
        await operations.forget(ANNA, drop_pending=True)


async def test_many_entries_are_forgotten_in_chunks_and_others_stay(outbox: Outbox, operations: Operations) -> None:
    await put(outbox, *(change(number=number) for number in range(450)), change(BO), *(by_email(n) for n in range(3)))
    assert (await operations.forget(ANNA, drop_pending=True)).entries == 450
    counts = await outbox.counts()
    assert (counts.states["pending"], counts.forgotten, counts.balanced) == (4, 450, True)
    assert len(await claimed(outbox)) == 2
    assert (await operations.forget("email:PLANTEDMAIL@example.com", drop_pending=True)).entries == 3
    assert (await operations.forget(ANNA)).entries == 0


async def test_a_contact_that_comes_back_begins_anew(outbox: Outbox, operations: Operations) -> None:
    draft = redeem.draft(BO, channel="POS", contact_id=ANNA)
    (entry,) = await put(outbox, draft)
    await bring_to(outbox, entry, State.DELIVERED)
    await operations.forget(ANNA)
    (stored,) = await outbox.enqueue([draft])
    assert stored.existing is None
    assert await claimed(outbox) == [stored.id]
    assert all(finding.ok for finding in await outbox.verify())


async def test_the_log_is_emptied_as_soon_as_nobody_reads_it(
    outbox: Outbox, operations: Operations, tmp_path: Path
) -> None:
    assert isinstance(outbox, SqliteOutbox)
    await put(outbox, change())
    reader = sqlite3.connect(f"file:{tmp_path}/outbox.db?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entry").fetchone()
    await outbox.enqueue([change(BO)])
    assert not (await outbox.scrub()).log
    reader.execute("COMMIT")
    assert (await outbox.scrub()).log
    reader.close()


async def test_who_is_forgotten_is_named_by_an_id_or_an_address(operations: Operations) -> None:
    with pytest.raises(InvalidEntry):
        await operations.forget("not an id")


async def test_the_keys_of_a_closed_outbox_are_gone_as_well(
    outbox: Outbox, operations: Operations, open_outbox: OpenOutbox, tmp_path: Path
) -> None:
    await put(outbox, change(key="plantedkey"))
    await operations.forget(ANNA, drop_pending=True)
    await outbox.close()
    assert found_in(tmp_path) == []


async def test_what_engage_answers_about_somebody_who_was_forgotten_meanwhile_is_not_learned(
    outbox: Outbox, operations: Operations, tmp_path: Path
) -> None:
    await put(outbox, by_email())
    (message,) = await outbox.claim(1, 1 << 41, frozenset())
    await operations.forget("email:plantedmail@example.com", drop_pending=True)
    assert not await outbox.mark_sending(message.id)
    assert await outbox.join_lanes(message.lane, ANNA, message.lane_key)
    assert await outbox.contact_id(message.lane_key) is None
    assert found_in(tmp_path) == []
    assert all(finding.ok for finding in await outbox.verify())
