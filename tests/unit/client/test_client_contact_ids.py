"""How what reads found out gets into the id store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from voyado_async.api.reads import Found
from voyado_async.clock import SystemClock
from voyado_async.errors import OutboxUnavailable
from voyado_async.outbox.records import Asked, Learned
from voyado_async.resources import contact_ids
from voyado_async.resources.contact_ids import ContactIds

ANNA = Learned("email:anna@example.com", "G-1", 3)


class SlowOutbox:
    """Writes when it is allowed to."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()
        self.may_write = asyncio.Event()
        self.written: list[Learned] = []
        self.full = False

    async def remember_contacts(self, known: Sequence[Learned]) -> None:
        self.writing.set()
        await self.may_write.wait()
        if self.full:
            raise OutboxUnavailable("the disk is full")
        self.written += known

    async def contact_id(self, address: str) -> str | None:
        return None


@pytest.fixture
def outbox() -> SlowOutbox:
    return SlowOutbox()


@pytest.fixture
def ids(outbox: SlowOutbox, monkeypatch: pytest.MonkeyPatch) -> ContactIds:
    monkeypatch.setattr(contact_ids, "TOGETHER", 0.001)
    return ContactIds(outbox, SystemClock(), "Member")  # type: ignore[arg-type]  # it asks nothing else of it


async def test_what_waits_is_known_before_it_is_written(ids: ContactIds, outbox: SlowOutbox) -> None:
    ids.learn(ANNA[0], Found("G-1", 3))
    assert await ids.known(ANNA[0]) == "G-1"
    outbox.may_write.set()
    await ids.close()
    assert outbox.written == [ANNA]


async def test_when_engage_was_asked_is_written_with_it(ids: ContactIds, outbox: SlowOutbox) -> None:
    outbox.may_write.set()
    ids.learn(ANNA[0], Found("G-1", 3, Asked(7, 5)))
    await ids.close()
    assert outbox.written == [Learned(ANNA[0], "G-1", 3, None, 7, 5)]


async def test_a_type_is_learned_by_the_id_and_the_usual_one_as_no_other(ids: ContactIds, outbox: SlowOutbox) -> None:
    outbox.may_write.set()
    ids.learn_type("Guest", Found("G-1", 3))
    ids.learn_type("Member", Found("G-2", 3))
    ids.learn_type("Guest", Found("G-3", None))
    await ids.close()
    assert outbox.written == [Learned("contact:g-1", "G-1", 3, "Guest"), Learned("contact:g-2", "G-2", 3)]


async def test_closing_in_the_middle_of_a_write_loses_nothing(ids: ContactIds, outbox: SlowOutbox) -> None:
    ids.learn(ANNA[0], Found("G-1", 3))
    await outbox.writing.wait()
    closing = asyncio.create_task(ids.close())
    await asyncio.sleep(0.01)
    outbox.may_write.set()
    await closing
    assert outbox.written == [ANNA]


async def test_a_full_disk_is_no_trouble_of_a_read(ids: ContactIds, outbox: SlowOutbox) -> None:
    outbox.full = True
    outbox.may_write.set()
    ids.learn(ANNA[0], Found("G-1", 3))
    await outbox.writing.wait()
    await ids.close()
    assert outbox.written == []


async def test_nothing_is_learned_from_a_moment_when_nobody_knew_who_had_been_forgotten(
    ids: ContactIds, outbox: SlowOutbox
) -> None:
    outbox.may_write.set()
    ids.learn(ANNA[0], Found("G-1", None))
    await ids.close()
    ids.learn(ANNA[0], Found("G-1", 3))
    assert outbox.written == []
