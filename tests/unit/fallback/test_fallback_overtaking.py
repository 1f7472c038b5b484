"""No file and no bulk request brings an older value over a newer one (DESIGN 1)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes import FakeClock

from voyado_async.delivery import BulkTaken, Draft, Kind, Message, Outcome
from voyado_async.fallback.courier import Courier
from voyado_async.kinds import contact_create, contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.records import FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
EMAIL = "email:anna@example.com"


class Turn(nullcontext[None]):
    """The turn of a bulk request, for which it waits while other things happen."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def __aenter__(self) -> None:
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()

    def answered(self, outcome: BulkTaken | Outcome) -> None: ...


class Shop:
    """An outbox whose files stay in the spool folder. It is also the Engage that takes bulk requests."""

    def __init__(self, store: SqliteOutbox, clock: FakeClock, settings: Settings) -> None:
        self.store, self.clock, self.settings = store, clock, settings
        self.operations = Operations(store, clock, settings)
        self.sent: list[dict[str, Any]] = []
        self.turn = Turn()

    async def write(self, *drafts: Draft) -> list[int]:
        return [stored.id for stored in await self.store.enqueue(drafts)]

    async def settle(self, target: State, *entries: int) -> None:
        for entry in entries:
            assert await self.store.mark_sending(entry)
            assert await self.store.settle(Settlement(entry, State.SENDING, target))

    async def become_known(self) -> None:
        """A look-up tells whose the address of what is exhausted is."""
        lanes = {message.lane for message in await self.exhausted() if message.lane_key == EMAIL}
        assert await self.store.join_lanes(lanes.pop(), ANNA, EMAIL)

    async def exhausted(self) -> list[Message]:
        return [message async for message in self.store.exhausted()]

    async def step(self, *, api_healthy: bool = False, bulk: bool = False) -> None:
        settings = self.settings
        if bulk:
            settings = msgspec.structs.replace(settings, fallback_contacts="bulk")
        courier = Courier.of(self.store, settings, bulk=self if bulk else None)
        await courier.step(self.clock.now(), api_healthy=api_healthy, turn=self.turn)
        await self.clock.advance(300)
        await courier.step(self.clock.now(), api_healthy=api_healthy, turn=self.turn)
        await courier.step(self.clock.now(), api_healthy=api_healthy, turn=self.turn)

    async def bulk_step(self) -> None:
        """The API is well: one look at what is exhausted."""
        settings = msgspec.structs.replace(self.settings, fallback_contacts="bulk")
        await Courier.of(self.store, settings, bulk=self).step(self.clock.now(), api_healthy=True, turn=self.turn)

    async def lane(self, entry: int) -> int:
        """The number of its own lane."""
        key = (await self.store.get(entry)).lane
        with sqlite3.connect(self.settings.outbox) as database:
            (row,) = database.execute("SELECT id FROM lane WHERE key = ?", (key,)).fetchall()
        database.close()
        return int(row[0])

    async def send_bulk(self, kind: Kind, contact_type: str, contacts: bytes) -> BulkTaken | Outcome:
        self.sent += msgspec.json.decode(contacts)
        return BulkTaken("batch", 202)

    def content(self) -> str:
        return "".join(path.read_text() for path in sorted(self.settings.spool_path.glob("*.xml")))

    async def states(self, *entries: int) -> list[tuple[State, str | None]]:
        found = await self.store.states_of(entries)
        return [found[entry] for entry in entries]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    clock = FakeClock()
    settings = Settings(outbox=str(tmp_path / "outbox.db"), contact_key="email")
    store = await open_outbox(settings.outbox, base_url="http://127.0.0.1:1", clock=clock)
    yield Shop(store, clock, settings)
    assert [finding for finding in await store.verify() if not finding.ok] == []
    await store.close()


def by_email(**changes: object) -> Draft:
    return contact_update.draft(address(email="anna@example.com"), changes)


def by_phone(**changes: object) -> Draft:
    return contact_update.draft(address(mobile_phone="+46700000001"), changes)


def another(**changes: object) -> Draft:
    return contact_update.draft(address(email="bo@example.com"), changes)


def by_id(**changes: object) -> Draft:
    return contact_update.draft(address(contact_id=ANNA), changes)


async def overtaken(shop: Shop, newer: Draft, *older: Draft) -> list[int]:
    """The older ones are exhausted when it turns out that the newer one, which is delivered, is the same contact's."""
    ids = await shop.write(*older, newer)
    await shop.settle(State.DELIVERED, ids[-1])
    for entry in ids[:-1]:
        assert await shop.store.settle(Settlement(entry, State.PENDING, State.EXHAUSTED))
    await shop.become_known()
    return ids[:-1]


async def test_of_an_older_change_only_what_no_newer_one_has_set_stands_in_a_file(shop: Shop) -> None:
    older = await overtaken(shop, by_id(city="Lund"), by_email(city="Malmo", street="Provgatan 7"))
    await shop.step()
    assert await shop.states(*older) == [(State.SPOOLED, None)]
    assert "Provgatan 7" in shop.content()
    assert "Malmo" not in shop.content()


@pytest.mark.parametrize("bulk", [False, True])
async def test_of_a_creation_that_would_keep_whom_it_finds_a_file_and_a_bulk_request_hold_what_no_newer_change_has_set(
    shop: Shop, bulk: bool
) -> None:
    """They update whom they find (ref 6.4): "keep" has no form there."""
    contact = {"email": "anna@example.com", "city": "Malmo", "street": "Provgatan 7"}
    await overtaken(shop, by_id(city="Lund"), contact_create.draft(contact, on_existing="keep", contact_key="email"))
    await shop.step(api_healthy=bulk, bulk=bulk)
    told = repr(shop.sent) if bulk else shop.content()
    assert "anna@example.com" in told
    assert "Provgatan 7" in told
    assert "Malmo" not in told


async def test_an_older_change_of_which_nothing_is_left_is_superseded_and_in_no_file(shop: Shop) -> None:
    first, second = await overtaken(
        shop, by_id(city="Lund"), by_email(city="Malmo"), by_email(city="Ystad", zipCode="1")
    )
    await shop.step()
    assert await shop.states(first, second) == [(State.DISCARDED, "superseded"), (State.SPOOLED, None)]
    assert "Malmo" not in shop.content()
    assert "Ystad" not in shop.content()
    (file,) = await shop.store.files(open_only=True)
    assert file.entries == 1
    last = (await shop.store.attempts(first))[-1]
    assert (last.what, last.outcome, last.code) == ("file", "discarded", "superseded")


async def test_where_nothing_is_left_there_is_no_file(shop: Shop) -> None:
    (older,) = await overtaken(shop, by_id(city="Lund"), by_email(city="Malmo"))
    await shop.step()
    assert await shop.states(older) == [(State.DISCARDED, "superseded")]
    assert await shop.store.files(open_only=False) == []


async def test_a_newer_change_that_has_set_nothing_takes_nothing_out_of_a_file(shop: Shop) -> None:
    older, newer = await shop.write(by_email(city="Malmo"), by_id(city="Lund"))
    await shop.settle(State.REJECTED, newer)
    await shop.settle(State.EXHAUSTED, older)
    await shop.become_known()
    await shop.step()
    assert await shop.states(older) == [(State.SPOOLED, None)]
    assert "Malmo" in shop.content()


async def test_what_is_older_takes_nothing_out_of_a_file(shop: Shop) -> None:
    older, newer = await shop.write(by_id(city="Malmo"), by_email(city="Lund"))
    await shop.settle(State.DELIVERED, older)
    await shop.settle(State.EXHAUSTED, newer)
    await shop.become_known()
    await shop.step()
    assert "Lund" in shop.content()


async def test_a_bulk_request_leaves_out_what_newer_changes_have_set(shop: Shop) -> None:
    first, second = await overtaken(
        shop, by_id(city="Lund"), by_email(city="Malmo"), by_email(city="Ystad", zipCode="1")
    )
    await shop.step(api_healthy=True, bulk=True)
    assert shop.sent == [{"email": "anna@example.com", "zipCode": "1"}]
    assert await shop.states(first, second) == [(State.DISCARDED, "superseded"), (State.IMPORTED, None)]


async def test_one_question_tells_for_a_whole_page_what_is_newer(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    contacts = [
        contact_update.draft(address(email=f"c{number}@example.com"), {"city": "Lund"}) for number in range(150)
    ]
    await shop.settle(State.EXHAUSTED, *await shop.write(*contacts))
    asked = []
    ask = shop.store.in_force_after

    async def counted(after: Mapping[int, int]) -> Mapping[int, Sequence[tuple[int, Kind, bytes]]]:
        asked.append(len(after))
        return await ask(after)

    monkeypatch.setattr(shop.store, "in_force_after", counted)
    await shop.step()
    assert asked == [150]


# while the file is written --------------------------------------------------------------------------------------------


async def test_what_was_replayed_and_exhausted_again_meanwhile_does_not_leave_with_its_old_content(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (older,) = await shop.write(by_id(city="Malmo", street="Provgatan 7"))
    await shop.settle(State.EXHAUSTED, older)
    spool_file = shop.store.spool_file

    async def replayed_meanwhile(*args: Any) -> list[int]:
        monkeypatch.undo()
        (newer,) = await shop.write(by_id(city="Lund"))
        assert await shop.store.settle(Settlement(newer, State.PENDING, State.DELIVERED))
        assert (await shop.operations.replay(older)).counts["send"] == 1
        await shop.settle(State.EXHAUSTED, older)
        moved = await spool_file(*args)
        assert moved == []
        return moved

    monkeypatch.setattr(shop.store, "spool_file", replayed_meanwhile)
    await shop.step()
    assert [file.state for file in await shop.store.files(open_only=False)] == ["withdrawn", "spooled"]
    assert await shop.states(older) == [(State.SPOOLED, None)]
    assert "Provgatan 7" in shop.content()
    assert "Malmo" not in shop.content()


async def test_lanes_that_become_one_while_the_file_is_written_let_no_older_value_leave(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = await shop.write(by_email(city="Malmo"), by_id(city="Lund"))
    await shop.settle(State.DELIVERED, newer)
    await shop.settle(State.EXHAUSTED, older)
    spool_file = shop.store.spool_file

    async def joined_meanwhile(record: FileRecord, *args: Any) -> list[int]:
        monkeypatch.undo()
        await shop.become_known()
        return await spool_file(record, *args)

    monkeypatch.setattr(shop.store, "spool_file", joined_meanwhile)
    await shop.step()
    assert await shop.states(older) == [(State.DISCARDED, "superseded")]
    assert shop.content() == ""


async def test_a_replay_by_file_leaves_with_what_the_replay_left_of_it(shop: Shop) -> None:
    older, newer = await shop.write(by_id(city="Malmo", street="Provgatan 7"), by_id(city="Lund"))
    await shop.settle(State.REJECTED, older)
    await shop.settle(State.DELIVERED, newer)
    assert (await shop.operations.replay(older, via="file")).counts["file"] == 1
    await shop.step()
    assert await shop.states(older) == [(State.SPOOLED, None)]
    assert "Provgatan 7" in shop.content()
    assert "Malmo" not in shop.content()


# while a bulk request waits for its turn ------------------------------------------------------------------------------


async def test_what_was_replayed_and_exhausted_again_meanwhile_is_not_in_the_bulk_request(shop: Shop) -> None:
    older, other = await shop.write(by_email(city="Malmo", street="Provgatan 7"), another(city="Ystad"))
    await shop.settle(State.EXHAUSTED, older, other)

    async def replayed() -> None:
        (newer,) = await shop.write(by_email(city="Lund"))
        assert await shop.store.settle(Settlement(newer, State.PENDING, State.DELIVERED))
        assert (await shop.operations.replay(older)).counts["send"] == 1
        await shop.settle(State.EXHAUSTED, older)

    shop.turn.meanwhile = replayed
    await shop.bulk_step()
    assert shop.sent == [{"email": "bo@example.com", "city": "Ystad"}]
    assert await shop.states(older, other) == [(State.EXHAUSTED, None), (State.IMPORTED, None)]
    await shop.bulk_step()
    assert shop.sent[1:] == [{"email": "anna@example.com", "street": "Provgatan 7"}]


async def test_what_was_edited_meanwhile_is_not_in_the_bulk_request_as_it_was_read(shop: Shop) -> None:
    (entry,) = await shop.write(by_email(city="Malmo"))
    await shop.settle(State.EXHAUSTED, entry)

    async def edited() -> None:
        await shop.operations.replay(entry)
        await shop.settle(State.REJECTED, entry)
        await shop.operations.edit(entry, (await shop.store.body(entry)).replace(b"Malmo", b"Lund"))
        assert (await shop.operations.replay(entry, via="file")).counts["file"] == 1

    shop.turn.meanwhile = edited
    await shop.bulk_step()
    assert shop.sent == []
    await shop.bulk_step()
    assert shop.sent == [{"email": "anna@example.com", "city": "Lund"}]


async def test_lanes_that_become_one_while_a_bulk_request_waits_let_no_older_value_leave(shop: Shop) -> None:
    older, newer = await shop.write(by_email(city="Malmo"), by_id(city="Lund"))
    await shop.settle(State.DELIVERED, newer)
    await shop.settle(State.EXHAUSTED, older)
    shop.turn.meanwhile = shop.become_known
    await shop.bulk_step()
    await shop.bulk_step()
    assert shop.sent == []
    assert await shop.states(older) == [(State.DISCARDED, "superseded")]


async def test_a_newer_value_that_arrives_in_the_lane_while_a_bulk_request_waits_keeps_the_older_one_back(
    shop: Shop,
) -> None:
    """Its own lane stays what it was: the other one becomes part of it."""
    older, newer = await shop.write(by_email(city="Malmo", street="Provgatan 7"), by_phone(city="Lund"))
    await shop.settle(State.EXHAUSTED, older)
    await shop.become_known()
    await shop.settle(State.DELIVERED, newer)
    other = (await shop.store.get(newer)).lane

    async def joined() -> None:
        assert await shop.store.join_lanes(await shop.lane(newer), ANNA, other)

    shop.turn.meanwhile = joined
    await shop.bulk_step()
    assert shop.sent == []
    await shop.bulk_step()
    assert shop.sent == [{"email": "anna@example.com", "street": "Provgatan 7"}]
    assert (await shop.store.attempts(older))[-2].what == "bulk"


async def test_several_changes_of_a_contact_leave_in_one_bulk_request_whatever_is_known_of_them(shop: Shop) -> None:
    """An unknown one counts as newer for those before it, also in the statement that moves all of them."""
    ids = await shop.write(*(by_email(**{field: "1"}) for field in ("city", "street", "zipCode")))
    for entry, unknown in zip(ids, (False, True, False), strict=True):
        assert await shop.store.settle(Settlement(entry, State.PENDING, State.EXHAUSTED, unknown=unknown))
    await shop.bulk_step()
    assert shop.sent == [{"email": "anna@example.com", "city": "1", "street": "1", "zipCode": "1"}]
    assert await shop.states(*ids) == [(State.IMPORTED, None)] * 3
