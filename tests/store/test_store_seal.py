"""What lies readable beside a sealed outbox: values are planted in every place that holds any, and searched for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from entries import StandingClock, assert_balanced, bring_to, put, state_of
from test_store_forget import found_in

from voyado_async.delivery import Draft
from voyado_async.kinds import contact_create, contact_update, receipt
from voyado_async.kinds.address import address
from voyado_async.outbox import sqlite
from voyado_async.outbox.records import Asked, EntryFilter, Learned, Mark, Told
from voyado_async.outbox.shelf import Answer, Shelf
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State
from voyado_async.resources.operations import Operations
from voyado_async.settings import Settings

ANNA = "0b1b3d1e-5d2c-4f6e-9f3b-6a1f00000001"
BASE_URL = "https://engage.test"
SEALED = {"plantedmail", "PlantedStreet"}
SALE = msgspec.json.decode((Path(__file__).parents[2] / "samples/payloads/receipt_purchase.json").read_bytes())
FAR = 1 << 41


@pytest.fixture(params=[(), (b"k" * 32,)], ids=["plain", "sealed"])
def keys(request: pytest.FixtureRequest) -> tuple[bytes, ...]:
    """The same is done without a key, so that what is not found is seen to have been there to find."""
    found: tuple[bytes, ...] = request.param
    return found


@pytest.fixture
async def outbox(tmp_path: Path, clock: StandingClock, keys: tuple[bytes, ...]) -> AsyncIterator[SqliteOutbox]:
    opened = await sqlite.open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=clock, seal_keys=keys)
    yield opened
    await assert_balanced(opened)
    await opened.close()


@pytest.fixture
def operations(outbox: SqliteOutbox, clock: StandingClock, tmp_path: Path) -> Operations:
    return Operations(outbox, clock, Settings(outbox=str(tmp_path / "outbox.db"), contact_key="email"))


def mail(number: int) -> str:
    return f"plantedmail{number}@example.com"


def written(number: int) -> list[Draft]:
    """One of each kind whose content names a person."""
    sale = {
        **SALE,
        "uniqueReceiptId": f"R-{number}",
        "contact": {"matchKey": f"r{mail(number)}", "matchKeyType": "email"},
    }
    sale["items"] = [SALE["items"][0] | {"articleName": f"PlantedStreet {number}"}]
    street = {"street": f"PlantedStreet {number}"}
    return [
        contact_create.draft({"email": mail(number), **street}, contact_key="email"),
        contact_update.draft(address(mobile_phone=f"+46 plantedmail {number}"), street),
        contact_update.draft(address(contact_id=f"{ANNA[:-2]}{number:02}"), street),
        receipt.draft(sale),
    ]


def planted_in(folder: Path) -> set[str]:
    return set(found_in(folder)) & SEALED


async def test_no_planted_value_is_readable_in_any_state(
    outbox: SqliteOutbox, operations: Operations, tmp_path: Path, keys: tuple[bytes, ...]
) -> None:
    found = set() if keys else SEALED
    for number, state in enumerate(State):
        ids = await put(outbox, *written(number))
        for entry in ids:
            await bring_to(outbox, entry, state)
            assert await state_of(outbox, entry) is state
            assert b"PlantedStreet" in await outbox.body(entry)
        assert planted_in(tmp_path) == found, state


async def test_no_planted_value_is_readable_after_what_an_operator_does(
    outbox: SqliteOutbox, operations: Operations, tmp_path: Path, keys: tuple[bytes, ...]
) -> None:
    found = set() if keys else SEALED
    corrected, cut, newer = await put(outbox, *(written(1)[2] for _ in range(3)))
    (sold,) = await put(outbox, written(2)[3])
    for entry in (corrected, cut, sold):
        await bring_to(outbox, entry, State.REJECTED)
    body = await outbox.body(corrected)
    await operations.edit(corrected, body.replace(b"PlantedStreet 1", b"PlantedStreet 7"))
    assert b"PlantedStreet 7" in await outbox.body(corrected)
    body = await outbox.body(sold)
    await operations.edit(sold, body.replace(b"plantedmail2", b"plantedmail8"))
    await bring_to(outbox, newer, State.DELIVERED)
    await operations.replay([cut, corrected, sold])
    assert [await state_of(outbox, entry) for entry in (corrected, cut, sold)] == ["discarded", "discarded", "pending"]
    await operations.backup(tmp_path / "copy.db")
    assert planted_in(tmp_path) == found
    assert all(finding.ok for finding in await outbox.verify())


async def test_no_planted_value_is_readable_in_what_was_read_of_a_contact(
    outbox: SqliteOutbox, tmp_path: Path, keys: tuple[bytes, ...]
) -> None:
    shelf = Shelf(outbox.path, BASE_URL, outbox.seal)
    known = Answer(b'{"street":"PlantedStreet"}', 1, Mark(0, 0))
    await shelf.put(f"email:{mail(1)}", "id", known)
    await outbox.remember_contacts([Learned(f"email:{mail(1)}", ANNA, 0, None, 7, 5)])
    assert await outbox.told(f"email:{mail(1)}") == Told(ANNA, Asked(7, 5))
    assert await shelf.get(f"email:{mail(1)}", "id") == known
    assert await outbox.contact_id(f"email:{mail(1)}") == ANNA
    assert planted_in(tmp_path) == (set() if keys else SEALED)
    await outbox.unlearn_address(f"email:{mail(1)}")
    assert await outbox.contact_id(f"email:{mail(1)}") is None


async def test_a_contact_is_forgotten_by_its_address_with_what_was_read_of_it(
    outbox: SqliteOutbox, operations: Operations
) -> None:
    created, *_ = await put(outbox, *written(1))
    (message,) = [one for one in await outbox.claim(9, FAR, frozenset()) if one.id == created]
    assert await outbox.join_lanes(message.lane, ANNA, message.lane_key)
    shelf = Shelf(outbox.path, BASE_URL, outbox.seal)
    await shelf.put("contact:x", "friends", Answer(f'["{ANNA}"]'.encode(), 1, Mark(0, 0)))
    await shelf.put(f"contact:{ANNA}", "offers", Answer(b"[]", 1, Mark(0, 0)))
    told = await operations.forget(f"email:{mail(1)}", drop_pending=True)
    assert (told.entries, told.addresses, told.left) == (2, 1, 0)
    assert await shelf.get("contact:x", "friends") is await shelf.get(f"contact:{ANNA}", "offers") is None


async def test_answers_from_before_the_seal_are_not_served_and_go_with_the_sweep(
    outbox: SqliteOutbox, tmp_path: Path, keys: tuple[bytes, ...]
) -> None:
    known = Answer(b'{"street":"PlantedStreet"}', 1, Mark(0, 0))
    await Shelf(outbox.path, BASE_URL).put("contact:a", "get", known)
    shelf = Shelf(outbox.path, BASE_URL, outbox.seal)
    await shelf.put("contact:b", "get", known)
    assert await shelf.get("contact:a", "get") == (None if keys else known)
    await Shelf(outbox.path, BASE_URL).put("contact:c", "get", known)
    await shelf.forget(ANNA)  # it reads every file, and goes past none that it cannot open
    await shelf.sweep(0)
    assert await shelf.get("contact:b", "get") == known
    assert planted_in(tmp_path) == (set() if keys else {"PlantedStreet"})


async def test_one_contact_has_one_lane_however_its_address_is_kept(outbox: SqliteOutbox) -> None:
    """Its writes wait for each other, and its name is told in no listing."""
    first, second = await put(outbox, *(contact_update.draft(address(email=mail(1)), {"city": "Lund"}) for _ in "ab"))
    assert [message.id for message in await outbox.claim(9, FAR, frozenset())] == [first]
    assert await outbox.cancel(first, "x")
    assert [message.id for message in await outbox.claim(9, FAR, frozenset())] == [second]
    assert len({entry.lane for entry in await outbox.entries(EntryFilter())}) == 1
    found = await outbox.entries(EntryFilter(address=f"email:{mail(1)}"))
    assert [entry.id for entry in found] == [second, first]
    assert [piece async for piece in outbox.select(EntryFilter(address=f"email:{mail(1)}"))] == [[second, first]]
