"""Durable writes whatever they hold: batches, keys, cancelling, and waiting for what another process settles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from voyado_async import InvalidEntry, KeyConflict, OutboxUnavailable, Settings, TransitionRefused, VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State
from voyado_async.outbox.writer import MOST_TOGETHER

ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(base_url="http://127.0.0.1:9", outbox=str(tmp_path / "outbox.db"))


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[VoyadoClient]:
    async with VoyadoClient(settings, drain=False, listeners=[]) as voyado:
        yield voyado


@pytest.fixture
async def other(settings: Settings, shop: VoyadoClient) -> AsyncIterator[SqliteOutbox]:
    """Another process with the same outbox, which settles what the shop waits for."""
    outbox = await open_outbox(settings.outbox_path, base_url=settings.base_url, clock=SystemClock())
    yield outbox
    await outbox.close()


async def stored(shop: VoyadoClient) -> list[int]:
    return sorted(entry.id for entry in await shop.outbox.entries())


async def test_text_of_a_class_of_the_shops_own_is_text_wherever_it_is_given(shop: VoyadoClient) -> None:
    """A template's safe string, and an Enum that says something else of itself."""

    class Safe(str):
        __slots__ = ()

    class Till(str, Enum):  # noqa: UP042 - that is the point: its str() is not its value
        ANNA = ANNA

    entries = [
        await shop.contacts.update(
            Till.ANNA, {Safe("city"): Safe("Lund")}, key=Safe("sale-1"), contact_type=Safe("VIP")
        ),
        await shop.contacts.update(ANNA, {"city": "Lund"}, key="sale-1", contact_type="VIP"),
        await shop.contacts.create({"email": Safe("a@b.se")}, source=Safe("POS"), store_external_id=Safe("118")),
        await shop.contacts.change_type(Till.ANNA, Safe("VIP")),
        await shop.promotions.redeem(Till.ANNA, channel=Safe("POS"), contact_id=Till.ANNA, key=Safe("sale-2")),
        await shop.vouchers.redeem(Till.ANNA, contact_id=Till.ANNA),
    ]
    assert [entry.id for entry in entries] == [1, 1, 2, 3, 4, 5]
    found = {entry.id: entry for entry in await shop.outbox.entries()}
    assert {found[number].lane for number in (1, 3, 4, 5)} == {f"contact:{ANNA}"}


# batches --------------------------------------------------------------------------------------------------------------


async def test_the_writes_of_a_batch_are_one_commit_and_have_their_ids_after_it(shop: VoyadoClient) -> None:
    before = shop._writes._outbox.commits  # type: ignore[attr-defined]  # the store counts; the protocol has no need to
    async with shop.batch():
        entries = [await shop.contacts.update(ANNA, {"city": city}) for city in ("Lund", "Ystad")]
        with pytest.raises(TransitionRefused, match="not committed yet"):
            _ = entries[0].id
        assert await stored(shop) == []
    assert [entry.id for entry in entries] == [1, 2]
    assert shop._writes._outbox.commits == before + 1  # type: ignore[attr-defined]  # as above


async def test_where_the_block_raises_nothing_of_the_batch_is_stored(shop: VoyadoClient) -> None:
    async def sale() -> None:
        async with shop.batch():
            await shop.contacts.update(ANNA, {"city": "Lund"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sale()
    assert await stored(shop) == []


async def test_where_one_write_conflicts_nothing_of_the_batch_is_stored(shop: VoyadoClient) -> None:
    async def sale() -> None:
        async with shop.batch():
            await shop.contacts.update(ANNA, {"city": "Lund"})
            await shop.promotions.redeem("a1", channel="ECOM")

    await shop.promotions.redeem("a1", channel="POS")
    with pytest.raises(KeyConflict):
        await sale()
    assert await stored(shop) == [1]


async def test_a_batch_in_a_batch_is_refused_and_one_after_the_other_is_not(shop: VoyadoClient) -> None:
    async with shop.batch():
        with pytest.raises(TransitionRefused):
            async with shop.batch():
                pass
    async with shop.batch():
        pass


async def test_a_batch_that_would_hold_every_other_writer_up_is_refused_before_anything_is_stored(
    shop: VoyadoClient,
) -> None:
    """What is all or nothing cannot be cut, and no transaction holds the turn over 50 ms (DESIGN 3, "Fair writers")."""
    written = 0

    async def sale() -> None:
        nonlocal written
        async with shop.batch():
            for written in range(10_000):
                await shop.contacts.update(ANNA, {"city": f"city {written}"})

    with pytest.raises(InvalidEntry, match="1000 writes and 4 MB") as told:
        await sale()
    assert (told.value.path, written) == ("batch", MOST_TOGETHER)
    assert await stored(shop) == []


async def test_a_batch_of_much_content_is_refused_and_a_single_large_write_is_not(shop: VoyadoClient) -> None:
    fields = {f"custom{number}": "x" * 900 for number in range(1_000)}
    async with shop.batch():
        for _ in range(4):
            await shop.contacts.update(ANNA, fields)
        with pytest.raises(InvalidEntry, match=r"it has 4 and 3\d{6} bytes"):
            await shop.contacts.update(ANNA, fields)
        await shop.contacts.update(ANNA, {"city": "Lund"})
    async with shop.batch():
        await shop.contacts.update(ANNA, {f"custom{number}": "x" * 900 for number in range(5_000)})
    assert await stored(shop) == [1, 2, 3, 4, 5, 6]


async def test_a_task_that_outlives_the_batch_it_was_started_in_writes_durably(shop: VoyadoClient) -> None:
    """It inherits the batch, which is committed by then: its write must neither be lost nor look stored."""
    over = asyncio.Event()

    async def later() -> int:
        await over.wait()
        return (await shop.contacts.update(ANNA, {"city": "Ystad"})).id

    async with shop.batch():
        await shop.contacts.update(ANNA, {"city": "Lund"})
        task = asyncio.create_task(later())
    over.set()
    assert await task == 2
    assert await stored(shop) == [1, 2]


async def test_a_task_that_writes_while_its_batch_is_being_committed_is_not_lost_either(
    shop: VoyadoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing, go_on = asyncio.Event(), asyncio.Event()
    real = SqliteOutbox.enqueue

    async def slow(self: SqliteOutbox, drafts: Any) -> Any:
        if not committing.is_set():
            committing.set()
            await go_on.wait()
        return await real(self, drafts)

    async def meanwhile() -> int:
        await committing.wait()
        entry = await shop.contacts.update(ANNA, {"city": "Ystad"})
        go_on.set()
        return entry.id

    monkeypatch.setattr(SqliteOutbox, "enqueue", slow)
    async with shop.batch():
        first = await shop.contacts.update(ANNA, {"city": "Lund"})
        task = asyncio.create_task(meanwhile())
    assert sorted([first.id, await task]) == await stored(shop) == [1, 2]


async def test_a_task_that_outlives_a_batch_that_raised_writes_durably_too(shop: VoyadoClient) -> None:
    over = asyncio.Event()
    tasks: list[asyncio.Task[int]] = []

    async def later() -> int:
        await over.wait()
        return (await shop.contacts.update(ANNA, {"city": "Ystad"})).id

    async def sale() -> None:
        async with shop.batch():
            tasks.append(asyncio.create_task(later()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sale()
    over.set()
    assert await tasks[0] == 1


# keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "  ", 7, b"order-7", ["order"], "\ud800", "a\x00b"])
async def test_a_key_that_is_no_key_is_refused_with_its_path_and_nothing_is_stored(
    shop: VoyadoClient, key: Any
) -> None:
    with pytest.raises(InvalidEntry) as refused:
        await shop.contacts.update(ANNA, {"city": "Lund"}, key=key)
    assert refused.value.path == "key"
    assert await stored(shop) == []


# cancelling and waiting -----------------------------------------------------------------------------------------------


async def test_a_pending_entry_is_cancelled_and_then_no_more(shop: VoyadoClient) -> None:
    entry = await shop.contacts.update(ANNA, {"city": "Lund"})
    assert entry.state is State.PENDING
    await entry.cancel()
    assert entry.state is State.DISCARDED
    assert (await entry.wait(timeout=5)).state is State.DISCARDED
    with pytest.raises(TransitionRefused, match="discarded"):
        await entry.cancel()


async def test_waiting_ends_when_another_process_settles(shop: VoyadoClient, other: SqliteOutbox) -> None:
    entry = await shop.contacts.update(ANNA, {"city": "Lund"})
    waiting = asyncio.create_task(entry.wait())
    for seconds in (0, 0.05):
        with pytest.raises(TimeoutError):
            await entry.wait(timeout=seconds)
    assert await other.settle(Settlement(entry.id, State.PENDING, State.DELIVERED))
    assert (await asyncio.wait_for(waiting, 5)).delivered
    assert (await entry.wait(timeout=0)).delivered
    assert entry.state is State.DELIVERED


async def test_waiting_outlasts_a_moment_in_which_the_outbox_cannot_be_read(
    shop: VoyadoClient, other: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()
    real = SqliteOutbox.data_version

    async def fails_once(self: SqliteOutbox) -> int:
        if not failed.is_set():
            failed.set()
            raise OutboxUnavailable("disk I/O error")
        return await real(self)

    monkeypatch.setattr(SqliteOutbox, "data_version", fails_once)
    entry = await shop.contacts.update(ANNA, {"city": "Lund"})
    waiting = asyncio.create_task(entry.wait())
    await failed.wait()
    assert await other.settle(Settlement(entry.id, State.PENDING, State.DELIVERED))
    assert (await asyncio.wait_for(waiting, 5)).delivered


async def test_who_waits_is_told_why_nobody_can_look_any_more(
    shop: VoyadoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: SqliteOutbox) -> int:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(SqliteOutbox, "data_version", fails)
    entry = await shop.contacts.update(ANNA, {"city": "Lund"})
    with pytest.raises(RuntimeError, match="nobody foresaw this"):
        await asyncio.wait_for(entry.wait(), 5)


async def test_who_waits_rests_while_an_entry_that_was_settled_waits_again(
    shop: VoyadoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was rejected, and replayed before the look: the next look comes when it is settled again, not at once."""
    entry = await shop.contacts.update(ANNA, {"city": "Lund"})
    looks = 0
    real = SqliteOutbox.get

    async def counted(self: SqliteOutbox, entry_id: int) -> Any:
        nonlocal looks
        looks += 1
        return await real(self, entry_id)

    monkeypatch.setattr(SqliteOutbox, "get", counted)
    waiting = asyncio.create_task(entry.wait())
    while not looks:
        await asyncio.sleep(0)
    shop._writes._settled(entry.id)
    await asyncio.sleep(0.1)
    assert looks <= 3
    await entry.cancel()
    assert (await asyncio.wait_for(waiting, 5)).state is State.DISCARDED
