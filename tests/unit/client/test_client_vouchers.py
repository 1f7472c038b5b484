"""Every call of `voyado.vouchers`, and codes, against both versions of the fake Engage."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from voyado_async import EngageNotFound, EngageUnavailable, InvalidEntry, KeyConflict, Settings, State, VoyadoClient
from voyado_async.sandbox import Sandbox

NOTHING = "00000000-0000-4000-8000-000000000000"


# lists ----------------------------------------------------------------------------------------------------------------


async def test_vouchers_are_listed_as_available_as_redeemed_and_all_in_pages(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    state = sandbox.state
    anna, now = state.add_contact(email="anna@example.com"), state.now()
    state.add_voucher(state.add_contact(email="other@example.com").id)
    used = state.add_voucher(anna.id, redeemed_on=now)
    over = state.add_voucher(anna.id, expires_on=now - timedelta(days=1))
    good = state.add_voucher(anna.id, amount="50.25", points=500, number="V-77", expires_on=now + timedelta(days=1))

    available = await voyado.vouchers.available(anna.id)
    (voucher,) = available.items
    assert (available.total_count, available.offset, available.count) == (1, 0, 1)
    assert (voucher.id, voucher.voucher_number, voucher.name, voucher.redeemed) == (good.id, "V-77", "Bonus", False)
    assert voucher.value is not None
    assert (str(voucher.value.amount), voucher.value.currency, voucher.points) == ("50.25", "SEK", 500)
    assert voucher.expires_on == good.expires_on

    (redeemed,) = (await voyado.vouchers.redeemed(anna.id)).items
    assert (redeemed.id, redeemed.redeemed, redeemed.redeemed_on) == (used.id, True, used.redeemed_on)
    assert [each.id for each in (await voyado.vouchers.list(anna.id)).items] == [used.id, over.id, good.id]
    page = await voyado.vouchers.list(anna.id, offset=1, count=1)
    assert ([each.id for each in page.items], page.total_count, page.offset) == ([over.id], 3, 1)
    with pytest.raises(EngageNotFound):
        await voyado.vouchers.available(NOTHING)


@pytest.mark.parametrize("wrong", [{"offset": -1}, {"count": 0}, {"count": True}, {"offset": "1"}], ids=str)
@pytest.mark.parametrize("version", [3])
async def test_a_wrong_page_asks_nothing(voyado: VoyadoClient, sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    for call in (voyado.vouchers.available, voyado.vouchers.list, voyado.vouchers.redeemed, voyado.transactions.list):
        with pytest.raises(InvalidEntry) as refusal:
            await call(NOTHING, **wrong)
        assert refusal.value.path == next(iter(wrong))
    assert sandbox.journal.arrivals == []


# redeem ---------------------------------------------------------------------------------------------------------------


async def test_a_voucher_is_redeemed_once(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    voucher = sandbox.state.add_voucher(anna.id)
    entry = await voyado.vouchers.redeem(voucher.id, contact_id=anna.id)
    assert (entry.kind, (await entry.wait(timeout=10)).state) == ("voucher_redeem", State.DELIVERED)
    again = await voyado.vouchers.redeem(voucher.id, contact_id=anna.id)
    assert (again.id, again.existing) == (entry.id, State.DELIVERED)
    assert sandbox.journal.count("voucher_redeem", voucher.id) == 1


@pytest.mark.parametrize("version", [3])
async def test_in_version_3_a_voucher_needs_no_contact(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    voucher = sandbox.state.add_voucher(sandbox.state.add_contact(email="anna@example.com").id)
    entry = await voyado.vouchers.redeem(voucher.id)
    assert (await entry.wait(timeout=10)).delivered


@pytest.mark.parametrize("version", [2])
async def test_in_version_2_a_voucher_needs_its_contact(voyado: VoyadoClient) -> None:
    with pytest.raises(InvalidEntry) as refusal:
        await voyado.vouchers.redeem(NOTHING)
    assert refusal.value.path == "contactId"


@pytest.mark.parametrize("version", [2])
async def test_a_voucher_that_was_written_for_version_3_and_cannot_be_expressed_in_2_is_rejected(
    settings: Settings, sandbox: Sandbox
) -> None:
    newer = msgspec.structs.replace(settings, api_version=3)
    async with VoyadoClient(newer, drain=False, listeners=[]) as shop:
        written = await shop.vouchers.redeem(NOTHING)
    async with VoyadoClient(settings, listeners=[]) as voyado:
        async with asyncio.timeout(10):
            while (await voyado.outbox.get(written.id)).state is State.PENDING:
                await asyncio.sleep(0.01)
        entry = await voyado.outbox.get(written.id)
    assert (entry.state, entry.reason) == (State.REJECTED, "NeedsContactId")
    assert sandbox.journal.requests("POST") == []


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("unknown", "RewardVoucherNotFound"),
        ("expired", "RewardVoucherExpired"),
        ("used", "RewardVoucherAlreadyRedeemed"),
        ("no guid", "InvalidRewardVoucherId"),
    ],
)
async def test_a_refused_redemption_is_rejected_with_its_code(
    voyado: VoyadoClient, sandbox: Sandbox, case: str, code: str
) -> None:
    state = sandbox.state
    anna, now = state.add_contact(email="anna@example.com"), state.now()
    ids = {
        "unknown": NOTHING,
        "expired": state.add_voucher(anna.id, expires_on=now - timedelta(days=1)).id,
        "used": state.add_voucher(anna.id, redeemed_on=now).id,
        "no guid": "V-77",
    }
    entry = await voyado.vouchers.redeem(ids[case], contact_id=anna.id)
    outcome = await entry.wait(timeout=10)
    assert (outcome.state, outcome.reason) == (State.REJECTED, code)


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, timeout=0.2)


@pytest.mark.parametrize("fault", ["reset_after", "status_after", "hang_after", "garbage"])
async def test_a_redemption_of_unknown_outcome_is_looked_up_and_not_repeated(
    impatient: Settings, sandbox: Sandbox, fault: str, no_rest: None
) -> None:
    """More redeemed vouchers than a page holds: the look-up goes on until it has found this one."""
    state = sandbox.state
    anna = state.add_contact(email="anna@example.com")
    for _ in range(120):
        state.add_voucher(anna.id, redeemed_on=state.now() - timedelta(days=30))
    voucher = state.add_voucher(anna.id)
    sandbox.faults.add(fault, method="POST", count=1)
    async with VoyadoClient(impatient, listeners=[]) as voyado:
        entry = await voyado.vouchers.redeem(voucher.id, contact_id=anna.id)
        assert (await entry.wait(timeout=10)).delivered
        attempts = await voyado.outbox.attempts(entry.id)
    assert [(each.what, each.outcome) for each in attempts] == [("request", "retry"), ("look_up", "delivered")]
    assert len(sandbox.journal.requests("POST")) == 1
    assert sandbox.journal.count("voucher_redeem", voucher.id) == 1


async def test_a_redemption_that_did_not_happen_is_repeated(
    impatient: Settings, sandbox: Sandbox, no_rest: None
) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    voucher = sandbox.state.add_voucher(anna.id)
    sandbox.faults.add("reset_before", method="POST", count=1)
    async with VoyadoClient(impatient, listeners=[]) as voyado:
        entry = await voyado.vouchers.redeem(voucher.id, contact_id=anna.id)
        assert (await entry.wait(timeout=10)).delivered
    assert sandbox.journal.count("voucher_redeem", voucher.id) == 1


async def test_while_engage_is_down_a_voucher_that_is_spent_shows_as_redeemed_and_is_delivered_afterwards(
    settings: Settings, sandbox: Sandbox
) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    voucher, other = (sandbox.state.add_voucher(anna.id) for _ in range(2))
    fault = sandbox.faults.add("status", method="POST", status=503)
    async with VoyadoClient(settings, drain=False, listeners=[]) as shop:
        entry = await shop.vouchers.redeem(voucher.id, contact_id=anna.id)
        told = (await shop.vouchers.available(anna.id)).items
        assert {each.id: each.redeemed for each in told} == {voucher.id: True, other.id: False}
        sandbox.faults.remove(fault)
        async with VoyadoClient(settings, listeners=[]):
            assert (await entry.wait(timeout=10)).delivered
        assert [each.id for each in (await shop.vouchers.available(anna.id)).items] == [other.id]


async def test_vouchers_of_an_outage_stand_in_no_file_and_are_redeemed_when_engage_is_back(
    settings: Settings, sandbox: Sandbox
) -> None:
    quick = msgspec.structs.replace(settings, retry_attempts=3, breaker_failures=2, fallback_interval=0.05)
    contacts = [sandbox.state.add_contact(email=f"{name}@example.com") for name in ("anna", "bo")]
    vouchers = [sandbox.state.add_voucher(contact.id) for contact in contacts]
    sandbox.faults.add("refuse")
    async with VoyadoClient(quick, listeners=[]) as voyado:
        entries = [await voyado.vouchers.redeem(voucher.id, contact_id=voucher.contact_id) for voucher in vouchers]
        async with asyncio.timeout(10):
            while (await voyado.outbox.status()).states["exhausted"] < 2:
                await asyncio.sleep(0.01)
        assert await voyado.outbox.files() == []
        sandbox.faults.clear()
        for entry in entries:
            assert (await entry.wait(timeout=10)).delivered
    assert [sandbox.journal.count("voucher_redeem", voucher.id) for voucher in vouchers] == [1, 1]


# codes ----------------------------------------------------------------------------------------------------------------


async def test_a_code_is_redeemed_by_its_own_call(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    assignment = sandbox.state.add_assignment(anna.id)
    entry = await voyado.promotions.redeem_code(assignment.id, channel="OTHER", contact_id=anna.id)
    assert (entry.kind, (await entry.wait(timeout=10)).state) == ("redeem", State.DELIVERED)
    (post,) = sandbox.journal.requests("POST")
    assert post.path.endswith(f"/promotions/codes/{assignment.id}/redeem")
    with pytest.raises(KeyConflict):
        await voyado.promotions.redeem(assignment.id, channel="OTHER", contact_id=anna.id)


async def test_a_code_of_unknown_outcome_is_looked_up_and_not_repeated(
    impatient: Settings, sandbox: Sandbox, no_rest: None
) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    assignment = sandbox.state.add_assignment(anna.id)
    sandbox.faults.add("reset_after", method="POST", count=1)
    async with VoyadoClient(impatient, listeners=[]) as voyado:
        entry = await voyado.promotions.redeem_code(assignment.id, channel="POS", contact_id=anna.id)
        assert (await entry.wait(timeout=10)).delivered
    assert len(sandbox.journal.requests("POST")) == 1


@pytest.mark.parametrize("version", [3])
async def test_a_code_that_waits_shows_its_assignment_as_redeemed(settings: Settings, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    assignment = sandbox.state.add_assignment(anna.id)
    async with VoyadoClient(settings, drain=False, listeners=[]) as shop:
        await shop.promotions.redeem_code(assignment.id, channel="POS")
        assert (await shop.promotions.assignments(anna.id))[0].redeemed


@pytest.mark.parametrize("version", [3])
async def test_a_wrong_redemption_is_refused_with_the_path(voyado: VoyadoClient) -> None:
    for call, path in (
        (voyado.vouchers.redeem("a/b"), "voucherId"),
        (voyado.vouchers.redeem(NOTHING, contact_id="../x"), "contactId"),
        (voyado.promotions.redeem_code("a/b", channel="POS"), "codeId"),
        (voyado.promotions.redeem_code(NOTHING, channel="WEB"), "channel"),
    ):
        with pytest.raises(InvalidEntry) as refusal:
            await call
        assert refusal.value.path == path


async def test_while_engage_is_down_vouchers_are_the_last_known_ones_also_after_a_restart(
    settings: Settings, sandbox: Sandbox
) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    spent, left = (sandbox.state.add_voucher(anna.id) for _ in range(2))
    async with VoyadoClient(settings, drain=False, listeners=[]) as shop:
        told = await shop.vouchers.available(anna.id)
        assert (len(told.items), told.stale) == (2, False)
    sandbox.faults.add("refuse")
    async with VoyadoClient(settings, drain=False, listeners=[]) as shop:
        await shop.vouchers.redeem(spent.id, contact_id=anna.id)
        told = await shop.vouchers.available(anna.id)
        assert {each.id: each.redeemed for each in told.items} == {spent.id: True, left.id: False}
        assert told.stale
        assert told.age >= 0
        with pytest.raises(EngageUnavailable):
            await shop.vouchers.redeemed(anna.id)
