"""Reads of several workers on one outbox, beside a fake Engage that goes away: what is fresh, what is the last known,
and what is nobody's to know any more. Each client has connections of its own, as a process of its own would."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from voyado_async import (
    AccessRefused,
    EngageNotFound,
    EngageUnavailable,
    MultipleMatches,
    Settings,
    VoyadoClient,
)
from voyado_async import client as client_module
from voyado_async.clock import SystemClock
from voyado_async.events import Event, Problem
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.resources import contact_ids
from voyado_async.sandbox import Sandbox
from voyado_async.sandbox.faults import FaultKind
from voyado_async.sandbox.state import Assignment


@pytest.fixture
def version() -> int:
    return 3


@pytest.fixture
def cached(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, cache_ttl=30)


@asynccontextmanager
async def worker(settings: Settings, *, drain: bool = False) -> AsyncIterator[VoyadoClient]:
    async with VoyadoClient(settings, drain=drain, listeners=[]) as client:
        yield client


@pytest.fixture
async def sidecar(cached: Settings) -> AsyncIterator[VoyadoClient]:
    async with worker(cached, drain=True) as client:
        yield client


def anna_and_her_offer(sandbox: Sandbox) -> tuple[str, Assignment]:
    anna = sandbox.state.add_contact(email="anna@example.com", city="Malmö")
    return anna.id, sandbox.state.add_assignment(contact_id=anna.id)


def outbox_of(client: VoyadoClient) -> SqliteOutbox:
    outbox = client._writes._outbox
    assert isinstance(outbox, SqliteOutbox)
    return outbox


def reads(sandbox: Sandbox) -> int:
    return len(sandbox.journal.requests("GET"))


# fresh ----------------------------------------------------------------------------------------------------------------


async def test_eight_workers_and_all_their_customers_ask_once(sandbox: Sandbox, cached: Settings) -> None:
    anna, offer = anna_and_her_offer(sandbox)
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker(cached)) for _ in range(8)]
        first, *others = workers
        await asyncio.gather(*(first.promotions.assignments(anna) for _ in range(20)))
        await asyncio.gather(*(first.contacts.find(email="anna@example.com") for _ in range(20)))
        await first._reads.close()  # type: ignore[union-attr]  # what goes on the shelf is there
        for other in others:
            offers = await other.promotions.assignments(anna)
            assert [(each.id, offers.stale) for each in offers] == [(offer.id, False)]
            assert await other.contacts.find(email="anna@example.com") == anna
    assert reads(sandbox) == 2


async def test_an_address_that_is_changed_from_here_is_looked_up_again(
    sandbox: Sandbox, cached: Settings, sidecar: VoyadoClient
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    async with worker(cached) as web:
        assert await web.contacts.find(email="anna@example.com") == anna
        await web._ids._write()
        entry = await sidecar.contacts.update(anna, {"email": "anna.new@example.com"})
        assert (await entry.wait(timeout=10)).delivered
        assert await web.contacts.find(email="anna@example.com") is None
        assert await web.contacts.find(email="anna.new@example.com") == anna


async def test_what_one_worker_wrote_is_seen_by_the_others_as_soon_as_it_is_delivered(
    sandbox: Sandbox, cached: Settings, sidecar: VoyadoClient
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    async with worker(cached) as till, worker(cached) as web:
        assert (await web.contacts.get(anna)).city == "Malmö"
        entry = await till.contacts.update(anna, {"city": "Lund"})
        assert (await entry.wait(timeout=10)).delivered
        assert (await web.contacts.get(anna)).city == "Lund"
        assert reads(sandbox) == 2
        assert (await web.contacts.get(anna)).city == "Lund"
    assert reads(sandbox) == 2


async def test_what_was_delivered_while_a_read_was_under_way_is_read_again(
    sandbox: Sandbox, cached: Settings, sidecar: VoyadoClient
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    fault = sandbox.faults.add(FaultKind.SLOW, seconds=1.0, method="GET", count=1)
    async with worker(cached) as web:
        early = asyncio.create_task(web.contacts.get(anna))
        while not reads(sandbox):
            await asyncio.sleep(0.01)
        assert fault
        entry = await web.contacts.update(anna, {"city": "Lund"})
        assert (await entry.wait(timeout=10)).delivered
        assert (await web.contacts.get(anna)).city == "Lund", "who asks after it does not share the earlier request"
        assert (await early).city == "Malmö"
        assert (await web.contacts.get(anna)).city == "Lund", "and the earlier answer is not kept over the later one"


async def test_a_write_to_another_contact_makes_nothing_old(
    sandbox: Sandbox, cached: Settings, sidecar: VoyadoClient
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    bo = sandbox.state.add_contact(email="bo@example.com")
    await sidecar.contacts.get(anna)
    entry = await sidecar.contacts.update(bo.id, {"city": "Lund"})
    assert (await entry.wait(timeout=10)).delivered
    await sidecar.contacts.get(anna)
    assert reads(sandbox) == 1


async def test_a_worker_whose_customer_leaves_does_not_take_the_answer_from_the_others(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    sandbox.faults.add(FaultKind.SLOW, seconds=0.3, method="GET", count=1)
    async with worker(cached) as web:
        leaving, *staying = (asyncio.create_task(web.promotions.assignments(anna)) for _ in range(5))
        while not reads(sandbox):
            await asyncio.sleep(0.01)
        leaving.cancel()
        answers = await asyncio.gather(*staying)
        assert leaving.cancelled()
    assert (reads(sandbox), [len(each) for each in answers]) == (1, [1] * 4)


# the last known -------------------------------------------------------------------------------------------------------


async def test_a_restart_during_an_outage_still_knows_offers_and_ids_and_says_how_old_they_are(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, offer = anna_and_her_offer(sandbox)
    async with worker(cached) as before:
        assert await before.contacts.find(email="anna@example.com") == anna
        seen = await before.promotions.assignments(anna, channel="ECOM")
        await before.contacts.get(anna)
    sandbox.faults.add(FaultKind.REFUSE)
    async with worker(msgspec.structs.replace(cached, cache_ttl=0)) as after:
        assert await after.contacts.find(email="Anna@Example.com") == anna
        offers = await after.promotions.assignments(anna, channel="ECOM")
        assert [(each.id, each.redeemed) for each in offers] == [(offer.id, False)]
        assert (offers.stale, offers.as_of) == (True, seen.as_of)
        assert 0 < offers.age < 60
        for question in (
            after.contacts.find(email="nobody@example.com"),
            after.contacts.get(anna),
            after.promotions.assignments(anna, channel="POS"),
        ):
            with pytest.raises(EngageUnavailable):
                await question


async def test_a_key_that_is_refused_takes_no_page_down_and_is_told_where_nothing_is_known(
    sandbox: Sandbox, cached: Settings
) -> None:
    """Keys are changed at night; customers see what was known last, and the log says what is to be mended."""
    anna, offer = anna_and_her_offer(sandbox)
    async with worker(cached) as before:
        await before.contacts.find(email="anna@example.com")
        await before.promotions.assignments(anna)
    told: list[Event] = []
    rotated = msgspec.structs.replace(cached, api_key="yesterday's", cache_ttl=0)
    async with VoyadoClient(rotated, drain=False, listeners=[told.append]) as after:
        assert await after.contacts.find(email="anna@example.com") == anna
        offers = await after.promotions.assignments(anna)
        assert ([each.id for each in offers], offers.stale) == ([offer.id], True)
        with pytest.raises(AccessRefused):
            await after.contacts.get(anna)
    problems = [each.where for each in told if isinstance(each, Problem)]
    assert problems == ["contacts.find", "promotions.assignments", "contacts.get"]


async def test_a_second_worker_knows_in_an_outage_what_the_first_one_read(sandbox: Sandbox, cached: Settings) -> None:
    anna, offer = anna_and_her_offer(sandbox)
    always_asking = msgspec.structs.replace(cached, cache_ttl=0)
    async with worker(always_asking) as first, worker(always_asking) as second:
        await first.promotions.assignments(anna)
        sandbox.faults.add(FaultKind.STATUS, status=503)
        async with asyncio.timeout(5):
            while True:  # it stands on the shelf a moment after the first one had it
                with suppress(EngageUnavailable):
                    offers = await second.promotions.assignments(anna)
                    break
        assert ([each.id for each in offers], offers.stale) == ([offer.id], True)


async def test_the_answer_is_there_within_the_read_time_out_while_engage_hangs(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    async with worker(msgspec.structs.replace(cached, cache_ttl=0, read_timeout=0.2)) as web:
        await web.contacts.get(anna)
        sandbox.faults.add(FaultKind.HANG)
        began = time.monotonic()
        assert (await web.contacts.get(anna)).stale
        with pytest.raises(EngageUnavailable):
            await web.promotions.assignments(anna)
        assert time.monotonic() - began < 3


async def test_a_promotion_is_not_spent_twice_in_an_outage_by_whichever_worker_and_after_a_restart(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, offer = anna_and_her_offer(sandbox)
    always_asking = msgspec.structs.replace(cached, cache_ttl=0)
    async with worker(always_asking) as till, worker(always_asking) as web:
        await till.promotions.assignments(anna)
        await web.promotions.assignments(anna)
        sandbox.faults.add(FaultKind.REFUSE)
        await till.promotions.redeem(offer.id, channel="POS")
        assert [each.redeemed for each in await web.promotions.assignments(anna)] == [True]
    async with worker(always_asking) as again:
        offers = await again.promotions.assignments(anna)
        assert ([each.redeemed for each in offers], offers.stale) == ([True], True)


async def test_what_was_redeemed_from_here_stays_redeemed_in_an_old_answer_also_without_a_contact(
    sandbox: Sandbox, cached: Settings, sidecar: VoyadoClient
) -> None:
    anna, offer = anna_and_her_offer(sandbox)
    assert [each.redeemed for each in await sidecar.promotions.assignments(anna)] == [False]
    entry = await sidecar.promotions.redeem(offer.id, channel="POS")
    assert (await entry.wait(timeout=10)).delivered
    sandbox.faults.add(FaultKind.REFUSE)
    assert [each.redeemed for each in await sidecar.promotions.assignments(anna)] == [True]


class SetBack(SystemClock):
    """The wall clock of a machine that is set back while the shop runs."""

    seconds = 0.0

    def now(self) -> int:
        return super().now() - round(self.seconds * 1000)


async def test_a_clock_that_is_set_back_does_not_give_a_spent_promotion_back(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, offer = anna_and_her_offer(sandbox)
    clock = SetBack()
    async with VoyadoClient(cached, listeners=[], clock=clock) as web:
        assert [each.redeemed for each in await web.promotions.assignments(anna)] == [False]
        clock.seconds = 3600
        entry = await web.promotions.redeem(offer.id, channel="ECOM", contact_id=anna)
        assert (await entry.wait(timeout=10)).delivered
        sandbox.faults.add(FaultKind.REFUSE)
        offers = await web.promotions.assignments(anna)
        assert ([each.redeemed for each in offers], offers.stale) == ([True], True)
        assert 0 <= offers.age < 60, "how old it is does not come from that clock"


async def test_what_was_read_long_ago_is_purged_by_whoever_drains(
    sandbox: Sandbox, cached: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    monkeypatch.setattr(client_module, "HOUSEKEEPING", 0.05)
    async with worker(cached) as web:
        await web.promotions.assignments(anna)
    (file,) = Path(f"{cached.outbox}-known").iterdir()
    os.utime(file, (100, 100))
    async with worker(cached, drain=True), asyncio.timeout(10):
        while file.exists():
            await asyncio.sleep(0.02)


async def test_vouchers_outlive_a_restart_in_an_outage_and_are_not_spent_twice(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    voucher = sandbox.state.add_voucher(anna)
    always_asking = msgspec.structs.replace(cached, cache_ttl=0)
    async with worker(always_asking) as before:
        seen = await before.vouchers.available(anna)
        assert ([each.redeemed for each in seen.items], seen.stale) == ([False], False)
    sandbox.faults.add(FaultKind.REFUSE)
    async with worker(always_asking) as after:
        page = await after.vouchers.available(anna)
        assert ([each.id for each in page.items], page.stale, page.as_of) == ([voucher.id], True, seen.as_of)
        await after.vouchers.redeem(voucher.id, contact_id=anna)
        assert [each.redeemed for each in (await after.vouchers.available(anna)).items] == [True]
        with pytest.raises(EngageUnavailable):
            await after.vouchers.list(anna)


async def test_purchases_are_the_last_known_but_a_whole_history_is_never_made_of_old_pages(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    async with worker(msgspec.structs.replace(cached, cache_ttl=0)) as web:
        assert not (await web.transactions.list(anna)).stale
        sandbox.faults.add(FaultKind.REFUSE)
        page = await web.transactions.list(anna)
        assert (page.stale, page.items, page.age > 0) == (True, (), True)
        with pytest.raises(EngageUnavailable):
            _ = [each async for each in web.transactions.iterate(anna)]


async def test_a_promotion_that_one_worker_assigns_is_seen_by_the_others(sandbox: Sandbox, cached: Settings) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    promotion = sandbox.state.add_promotion()
    async with worker(cached) as till, worker(cached) as web:
        assert len(await web.promotions.assignments(anna)) == 1
        await till.promotions.assign(anna, promotion.id)
        assert len(await web.promotions.assignments(anna)) == 2


# does not exist, and does not answer ----------------------------------------------------------------------------------


async def test_what_engage_denies_is_known_no_longer_and_no_answer_denies_nothing(
    sandbox: Sandbox, cached: Settings
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    always_asking = msgspec.structs.replace(cached, cache_ttl=0)
    async with worker(always_asking) as web:
        assert await web.contacts.find(email="anna@example.com") == anna
        await web.promotions.assignments(anna)
        sandbox.faults.add(FaultKind.STATUS, status=404)  # a proxy's: no code of Engage's
        assert await web.contacts.find(email="anna@example.com") == anna
        assert (await web.promotions.assignments(anna)).stale
        sandbox.faults.clear()
        sandbox.state.delete_contact(anna)
        assert await web.contacts.find(email="anna@example.com") is None
        with pytest.raises(EngageNotFound):
            await web.contacts.get(anna)
        sandbox.faults.add(FaultKind.REFUSE)
        with pytest.raises(EngageUnavailable):
            await web.contacts.find(email="anna@example.com")
    async with worker(always_asking) as again:
        with pytest.raises(EngageUnavailable):
            await again.contacts.find(email="anna@example.com")


async def test_an_address_that_two_contacts_have_by_now_stands_for_none(sandbox: Sandbox, cached: Settings) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    always_asking = msgspec.structs.replace(cached, cache_ttl=0)
    async with worker(always_asking) as web:
        assert await web.contacts.find(email="anna@example.com") == anna
    sandbox.state.add_contact(email="anna@example.com")
    async with worker(always_asking) as web:
        with pytest.raises(MultipleMatches):
            await web.contacts.find(email="anna@example.com")
        sandbox.faults.add(FaultKind.REFUSE)
        with pytest.raises(EngageUnavailable):
            await web.contacts.find(email="anna@example.com")


# the id store ---------------------------------------------------------------------------------------------------------


async def test_a_creation_teaches_whom_the_address_stands_for(
    sandbox: Sandbox, cached: Settings, sidecar: VoyadoClient
) -> None:
    entry = await sidecar.contacts.create({"email": "new@example.com", "firstName": "Nora"}, source="Web")
    outcome = await entry.wait(timeout=10)
    sandbox.faults.add(FaultKind.REFUSE)
    async with worker(cached) as web:
        assert await web.contacts.find(email="new@example.com") == outcome.contact_id is not None


async def test_reads_teach_of_which_type_a_contact_is_and_a_file_names_it_so(
    sandbox: Sandbox, cached: Settings
) -> None:
    """In a file a contact's element is named after its type, and what a shop writes need not say it."""
    guest, member, found = (
        sandbox.state.add_contact(contact_type=each, email=f"{each}{n}@example.com")
        for n, each in enumerate(("Contact", "Member", "Contact"))
    )
    async with worker(cached) as shop:
        for each in (guest, member):
            assert (await shop.contacts.get(each.id)).contact_type == each.contact_type
        assert await shop.contacts.find(email="Contact2@example.com", contact_type="Contact") == found.id
    sandbox.faults.add(FaultKind.REFUSE)
    quick = msgspec.structs.replace(cached, retry_attempts=1, fallback_interval=0.05, breaker_failures=1)
    async with worker(quick, drain=True) as shop:
        for each in (guest, member, found):
            await shop.contacts.update(each.id, {"city": "Lund"})
        async with asyncio.timeout(20):
            while sum(file.entries for file in await shop.outbox.files()) < 3:
                await asyncio.sleep(0.05)
        kept: dict[str, int] = {}
        for file in await shop.outbox.files():
            kept[file.contact_type] = kept.get(file.contact_type, 0) + file.entries
        assert kept == {"Contact": 2, "Member": 1}


async def test_reads_that_hang_take_no_connection_from_what_is_delivered(sandbox: Sandbox, cached: Settings) -> None:
    """Offers hang, receipts don't: a shop with many customers goes on delivering as if nothing was."""
    sandbox.faults.add(FaultKind.HANG, path="/api/v3/promotion-assignments")
    customers = [sandbox.state.add_contact(email=f"{n}@example.com").id for n in range(40)]
    few = msgspec.structs.replace(cached, concurrency=1, read_timeout=60)
    async with worker(few, drain=True) as shop:
        views = [asyncio.create_task(shop.promotions.assignments(each)) for each in customers]
        async with asyncio.timeout(20):
            while reads(sandbox) < len(customers):
                await asyncio.sleep(0.01)
            entry = await shop.contacts.update(customers[0], {"city": "Lund"})
            assert (await entry.wait()).delivered
        for view in views:
            view.cancel()


async def test_a_read_does_not_wait_for_the_writers_turn(sandbox: Sandbox, cached: Settings) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    async with worker(cached) as web:
        held = os.open(f"{cached.outbox}-turn", os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            before = outbox_of(web).commits
            began = time.monotonic()
            assert await web.contacts.find(email="anna@example.com") == anna
            assert await web.promotions.assignments(anna)
            assert time.monotonic() - began < 1
        finally:
            os.close(held)
        assert outbox_of(web).commits == before
    async with worker(cached) as again:
        assert await outbox_of(again).contact_id("email:anna@example.com") == anna


async def many_found(web: VoyadoClient, sandbox: Sandbox) -> list[str]:
    """The addresses of thirty contacts, all of them found at once."""
    emails = [f"c{number}@example.com" for number in range(30)]
    for email in emails:
        sandbox.state.add_contact(email=email)
    await asyncio.gather(*(web.contacts.find(email=email) for email in emails))
    return emails


async def test_many_reads_take_the_turn_once(
    sandbox: Sandbox, cached: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_ids, "TOGETHER", 60)
    async with worker(cached) as web:
        before = outbox_of(web).commits
        await many_found(web, sandbox)
        await web._ids.close()
        assert outbox_of(web).commits == before + 1


async def test_what_was_found_is_written_down_soon_and_not_only_at_the_end(
    sandbox: Sandbox, cached: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_ids, "TOGETHER", 0.01)
    async with worker(cached) as web:
        emails = await many_found(web, sandbox)
        async with asyncio.timeout(10):
            while None in [await outbox_of(web).contact_id(f"email:{email}") for email in emails]:
                await asyncio.sleep(0.01)


async def test_only_so_much_waits_to_be_written_down(
    sandbox: Sandbox, cached: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_ids, "TOGETHER", 60)
    monkeypatch.setattr(contact_ids, "MOST_WAITING", 5)
    async with worker(cached) as web:
        emails = await many_found(web, sandbox)
        await web._ids.close()
        known = [await outbox_of(web).contact_id(f"email:{email}") for email in emails]
    assert len(known) - known.count(None) == 5


# forgetting -----------------------------------------------------------------------------------------------------------


async def test_whoever_is_forgotten_is_known_to_no_worker_any_more(
    sandbox: Sandbox, cached: Settings, tmp_path: Path
) -> None:
    anna, _ = anna_and_her_offer(sandbox)
    bo = sandbox.state.add_contact(email="bo@example.com")
    async with worker(cached) as operator, worker(cached) as web:
        for contact, email in ((anna, "anna@example.com"), (bo.id, "bo@example.com")):
            assert await web.contacts.find(email=email) == contact
            await web.contacts.get(contact)
            await web.promotions.assignments(contact)
        await web._ids.close()
        sandbox.faults.add(FaultKind.REFUSE)
        await operator.outbox.forget(anna.upper())
        for question in (
            web.contacts.find(email="anna@example.com"),
            web.contacts.get(anna),
            web.promotions.assignments(anna),
        ):
            with pytest.raises(EngageUnavailable):
                await question
        assert await web.contacts.find(email="bo@example.com") == bo.id
        assert (await web.promotions.assignments(bo.id)).stale
    for file in tmp_path.rglob("*"):
        if file.is_file() and "known" in str(file.parent):
            assert anna.encode() not in file.read_bytes()
