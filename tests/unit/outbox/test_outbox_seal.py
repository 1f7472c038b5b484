"""The seal as a table of keys and facts, and what an outbox on disk shows of itself with it."""

from __future__ import annotations

import os
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import KeyConflict, OutboxDamaged, OutboxSealed
from voyado_async.outbox.moves import SQL, messages
from voyado_async.outbox.records import EntryFilter, Settlement
from voyado_async.outbox.seal import NOT_SEALED, SEALED, Seal, opened, renewed
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))
BODY = b'{"street":"PlantedStreet 1"}'
FAR = 1 << 41


def begun(*keys: bytes, new: bool = True) -> str:
    fact = renewed(None, keys, "outbox.db", new=new)
    assert fact is not None
    return fact


def again(fact: str, *keys: bytes) -> str:
    renewed_fact = renewed(fact, keys, "outbox.db", new=False)
    assert renewed_fact is not None
    return renewed_fact


def opens(fact: str, *keys: bytes) -> bool:
    try:
        return opened(fact, keys, "outbox.db").on
    except OutboxSealed:
        return False


# the seal -------------------------------------------------------------------------------------------------------------


def test_what_is_sealed_opens_for_its_entry_only() -> None:
    seal = opened(begun(A), [A], "outbox.db")
    ((entry, stored), (_, other)) = seal.bodies([(7, BODY), (8, BODY)])
    assert stored[:1] == SEALED
    assert b"Planted" not in stored
    assert stored != other, "a nonce of its own"
    assert seal.content(entry, stored) == BODY
    assert seal.content(8, stored) == b"", "moved to another entry"
    assert seal.content(7, stored[:-1]) == b""
    assert seal.content(7, stored[:9]) == b""
    assert seal.content(7, bytes([*stored[:-1], stored[-1] ^ 1])) == b""
    assert seal.content(7, BODY) == BODY, "from before there was a key"


def test_without_a_key_what_is_sealed_is_told_and_never_taken_for_a_content() -> None:
    ((_, stored),) = opened(begun(A), [A], "outbox.db").bodies([(7, BODY)])
    assert NOT_SEALED.content(7, BODY) is BODY
    with pytest.raises(OutboxSealed, match=r"entry 7 is sealed.*VOYADO_SEAL_KEY"):
        NOT_SEALED.content(7, stored)
    rows = [(7, "receipt", stored, 1, "contact:a", 0, 0, 0, 0, None, None, 0)]
    with pytest.raises(OutboxSealed, match="entry 7"):
        list(messages(rows, NOT_SEALED))


def test_nothing_is_made_of_contents_that_are_not_sealed() -> None:
    rows = [(7, BODY)]
    drafts = [Draft(Kind.RECEIPT, BODY, "email:a@example.com")]
    assert NOT_SEALED.bodies(rows) is rows
    assert NOT_SEALED.drafts(drafts) is drafts


def test_hashes_cannot_be_guessed_without_the_data_key() -> None:
    seal, other = (opened(begun(A), [A], "outbox.db") for _ in range(2))
    assert seal.key_hashes("receipt", "1")[0] not in (
        *other.key_hashes("receipt", "1"),
        *NOT_SEALED.key_hashes("receipt", "1"),
    )
    assert seal.content_hashes(BODY)[0] not in (*other.content_hashes(BODY), *NOT_SEALED.content_hashes(BODY))
    assert seal.name("x") not in (other.name("x"), NOT_SEALED.name("x"))
    assert set(NOT_SEALED.content_hashes(BODY)) < set(seal.content_hashes(BODY)), "from before the seal"
    assert set(NOT_SEALED.key_hashes("receipt", "1")) < set(seal.key_hashes("receipt", "1"))


@pytest.mark.parametrize("lane", ["contact:0b1b", "assignment:17", "voucher:18"])
def test_a_lane_that_names_no_person_stays(lane: str) -> None:
    assert opened(begun(A), [A], "outbox.db").lane(lane) == lane


@pytest.mark.parametrize("kind", ["email", "mobilePhone", "socialSecurityNumber", "externalId", "memberNumber"])
def test_an_address_becomes_a_hash_once(kind: str) -> None:
    seal = opened(begun(A), [A], "outbox.db")
    hidden = seal.lane(f"{kind}:anna")
    assert re.fullmatch(rf"sealed-{kind}:[0-9a-f]{{32}}", hidden)
    assert seal.lane(f"{kind}:anna") == hidden != seal.lane(f"{kind}:bo")
    assert seal.lane(hidden) == hidden


def test_an_outbox_that_was_begun_without_a_key_keeps_its_addresses() -> None:
    seal = opened(begun(A, new=False), [A], "outbox.db")
    draft = Draft(Kind.RECEIPT, BODY, "email:anna@example.com")
    assert (seal.on, seal.hides_addresses) == (True, False)
    assert seal.lane(draft.lane) == draft.lane
    assert [one.lane for one in seal.drafts([draft])] == [draft.lane]


# keys -----------------------------------------------------------------------------------------------------------------


def test_no_key_and_no_fact_is_no_seal() -> None:
    assert renewed(None, [], "outbox.db", new=True) is None
    assert opened(None, [A], "outbox.db") is NOT_SEALED


@pytest.mark.parametrize(
    ("keys", "told"),
    [((), "no key is given"), ((B,), "the key of VOYADO_SEAL_KEY does not open it"), ((B, C), "the 2 keys of")],
)
def test_a_missing_or_wrong_key_is_refused_with_the_reason(keys: tuple[bytes, ...], told: str) -> None:
    fact = begun(A)
    for refuse in (lambda: opened(fact, keys, "o.db"), lambda: renewed(fact, keys, "o.db", new=False)):
        with pytest.raises(OutboxSealed, match=r"o\.db is sealed") as refused:
            refuse()
        assert told in str(refused.value)
        assert "not touched" in str(refused.value)


def test_a_key_is_changed_in_three_steps_and_every_process_opens_throughout() -> None:
    """Old everywhere; new and old, one process after the other; new alone, one after the other."""
    fact = begun(A)
    ((_, stored),) = opened(fact, [A], "o.db").bodies([(1, BODY)])
    both = again(fact, B, A)
    assert opens(both, A)
    assert opens(both, B)
    assert again(both, A) == both, "a process that was not changed yet takes nothing away"
    assert again(both, B, A) == both
    alone = again(both, B)
    assert opens(alone, B)
    assert not opens(alone, A), "out of use"
    assert again(alone, B, A) != alone, "a process of the second step that starts late brings it back"
    assert opened(alone, [B], "o.db").content(1, stored) == BODY


def test_a_fact_that_cannot_be_read_is_damage_and_no_traceback() -> None:
    with pytest.raises(OutboxDamaged, match="does not say how it is sealed"):
        opened('{"hides_addresses":true,"wrapped":["no base64!"]}', [A], "o.db")


def test_the_threads_of_both_connections_use_one_seal() -> None:
    seal = opened(begun(A), [A], "o.db")

    def use(number: int) -> bool:
        rows = [(entry, bytes([number]) * entry) for entry in range(1, 400)]
        return all(seal.content(*stored) == row[1] for stored, row in zip(seal.bodies(rows), rows, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(8)))


def test_the_fact_says_nothing_in_a_repr() -> None:
    from voyado_async.outbox.seal import Envelope

    assert repr(msgspec.json.decode(begun(A), type=Envelope)) == "<Envelope>"


# the outbox -----------------------------------------------------------------------------------------------------------


WITH_CONTENT = {
    "around", "holders", "holders_by_nature", "claim", "exhausted", "to_confirm", "newer_in_force", "in_force_after",
    "newer_changes", "bodies", "body", "first_body", "contents",
}  # fmt: skip
"""Queries that read contents: what they find goes through `Seal.content` where the store reads it."""

WRITING_CONTENT = {"add_bodies", "replace_body"}
"""What these write comes from `Seal.bodies`; the others move what is stored from one row of an entry to another."""


def test_every_query_that_has_to_do_with_contents_is_known_to_the_seal() -> None:
    """A new one: open what it reads, or seal what it writes, and add it here and to the tests of planted values."""
    found = {name for name in SQL.names() if re.search(r"\bcontent\b", re.sub(r"--.*", "", SQL[name]))}
    others = {"spent_keys", "spend_keys", "keep_former_body", "fill_log"}
    assert found - others == WITH_CONTENT | WRITING_CONTENT


async def outbox_at(path: Path, *keys: bytes, read_only: bool = False) -> SqliteOutbox:
    return await open_outbox(
        path / "outbox.db",
        base_url=None if read_only else "https://engage.test",
        clock=SystemClock(),
        seal_keys=keys,
        read_only=read_only,
    )


async def put(path: Path, key: str, *keys: bytes) -> int:
    outbox = await outbox_at(path, *keys)
    try:
        return (await outbox.enqueue([Draft(Kind.RECEIPT, BODY, "contact:anna", key)]))[0].id
    finally:
        await outbox.close()


async def bodies(path: Path, *keys: bytes) -> list[bytes]:
    outbox = await outbox_at(path, *keys)
    try:
        return [await outbox.body(entry.id) for entry in reversed(await outbox.entries(EntryFilter()))]
    finally:
        await outbox.close()


def stored_in(path: Path) -> list[bytes]:
    with sqlite3.connect(path / "outbox.db") as database:
        found = [row[0] for row in database.execute("SELECT content FROM body ORDER BY entry")]
    database.close()
    return found


@pytest.mark.parametrize("keys", [(), (B,)])
async def test_an_outbox_that_is_sealed_is_not_touched_without_its_key(tmp_path: Path, keys: tuple[bytes, ...]) -> None:
    await put(tmp_path, "1", A)
    database = sqlite3.connect(tmp_path / "outbox.db")
    database.execute("PRAGMA journal_mode = DELETE")  # as a backup has it; an opening that goes on would change that
    database.close()
    before = (tmp_path / "outbox.db").read_bytes()
    for read_only in (False, True):
        with pytest.raises(OutboxSealed):
            await outbox_at(tmp_path, *keys, read_only=read_only)
    assert (tmp_path / "outbox.db").read_bytes() == before
    assert await bodies(tmp_path, A) == [BODY]


async def test_an_outbox_that_was_begun_without_a_key_goes_on_with_one(tmp_path: Path) -> None:
    await put(tmp_path, "1")
    await put(tmp_path, "2", A)
    old, new = stored_in(tmp_path)
    assert (old, new[:1]) == (BODY, SEALED)
    assert await bodies(tmp_path, A) == [BODY, BODY]
    assert [await put(tmp_path, key, A) for key in ("1", "2")] == [1, 2], "known by key and content"


async def test_the_keys_of_an_outbox_change_while_it_is_used(tmp_path: Path) -> None:
    await put(tmp_path, "1", A)
    running = await outbox_at(tmp_path, A)
    try:
        await put(tmp_path, "2", B, A)
        await put(tmp_path, "3", B)
        assert [await running.body(entry) for entry in (1, 2, 3)] == [BODY] * 3
        with pytest.raises(OutboxSealed):
            await outbox_at(tmp_path, A)
    finally:
        await running.close()


async def test_a_process_without_a_key_stops_at_what_another_one_has_sealed(tmp_path: Path) -> None:
    """It was started before there was a key. Nothing is claimed, nothing rejected, and no key taken for another's."""
    late = await outbox_at(tmp_path)
    try:
        await put(tmp_path, "1", A)
        with pytest.raises(OutboxSealed):
            await late.claim(9, FAR, frozenset())
        with pytest.raises(OutboxSealed):
            await late.enqueue([Draft(Kind.RECEIPT, BODY, "contact:anna", "1")])
        assert (await late.get(1)).state is State.PENDING
    finally:
        await late.close()


async def test_one_damaged_content_stops_nobody_else(tmp_path: Path) -> None:
    outbox = await outbox_at(tmp_path, A)
    try:
        for number in (1, 2):
            await outbox.enqueue([Draft(Kind.RECEIPT, BODY, f"contact:{number}", str(number))])
        other = sqlite3.connect(tmp_path / "outbox.db")
        other.execute("UPDATE body SET content = (SELECT content FROM body WHERE entry = 2) WHERE entry = 1")
        other.commit()
        other.close()
        assert [message.body for message in await outbox.claim(9, FAR, frozenset())] == [b"", BODY]
        with pytest.raises(OutboxDamaged, match="entry 1"):
            await outbox.body(1)
        findings = {finding.check: finding for finding in await outbox.verify()}
        assert (findings["seals"].ok, findings["seals"].detail) == (False, "entry 1")
    finally:
        await outbox.close()


@pytest.mark.parametrize("before", [(), (A,)], ids=["delivered without a key", "delivered sealed"])
async def test_a_purged_key_is_known_by_a_hash_that_only_the_data_key_makes(
    tmp_path: Path, before: tuple[bytes, ...]
) -> None:
    outbox = await outbox_at(tmp_path, *before)
    draft = Draft(Kind.RECEIPT, BODY, "contact:anna", "plantedkey")
    try:
        await outbox.enqueue([draft])
        assert await outbox.settle(Settlement(1, State.PENDING, State.DELIVERED))
        assert await outbox.purge(FAR, 0) == 1
    finally:
        await outbox.close()
    outbox = await outbox_at(tmp_path, A)
    try:
        (again,) = await outbox.enqueue([draft])
        assert (again.id, again.existing) == (1, State.DELIVERED)
        with pytest.raises(KeyConflict):
            await outbox.enqueue([msgspec.structs.replace(draft, body=b"{}")])
    finally:
        await outbox.close()
    database = sqlite3.connect(tmp_path / "outbox.db")
    rows = database.execute("SELECT hash, content FROM spent_key").fetchall()
    database.close()
    plain = (*NOT_SEALED.key_hashes("receipt", "plantedkey"), *NOT_SEALED.content_hashes(BODY))
    assert (rows == [plain]) is (not before)


def test_random_bytes_are_no_fact_of_a_key(tmp_path: Path) -> None:
    """The data key is another one in each outbox, whatever the key."""
    one, other = (opened(begun(A), [A], "o.db") for _ in range(2))
    ((_, stored),) = one.bodies([(1, BODY)])
    assert other.content(1, stored) == b""
    assert isinstance(one, Seal)
    assert os.urandom(8) not in stored
