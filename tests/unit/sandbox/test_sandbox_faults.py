"""Each bad day does what its sentence says, over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from voyado_async.sandbox import FaultKind, Sandbox

V3 = "/api/v3"


async def _settled(sandbox: Sandbox, count: int = 1) -> None:
    """Until so many requests are over."""
    async with asyncio.timeout(5):
        while sum(a.ended is not None for a in sandbox.journal.arrivals) < count:
            await asyncio.sleep(0.005)


@pytest.fixture
def path(sandbox: Sandbox) -> str:
    """The path of an update."""
    return f"{V3}/contacts/{sandbox.state.add_contact(externalId='K1', city='Umea').id}"


def _city(sandbox: Sandbox) -> str:
    (contact,) = sandbox.state.contacts.values()
    return str(contact.attributes["city"])


LUND = {"city": "Lund"}


async def test_refuse_really_refuses_and_the_same_port_opens_again(engage: Any, sandbox: Sandbox, path: str) -> None:
    assert (await engage.get(path))[0] == 200
    fault = sandbox.faults.add("refuse")
    with pytest.raises(aiohttp.ClientOSError):  # over the connection that was kept alive
        await engage.patch(path, LUND)
    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await engage.patch(path, LUND)
        assert isinstance(caught.value.os_error, ConnectionRefusedError)
    async with engage.session.get(f"{sandbox.control_url}/faults") as answer:
        assert [row["kind"] for row in await answer.json()] == ["refuse"]
    sandbox.faults.remove(fault)
    assert (await engage.patch(path, LUND))[0] == 200
    assert len(sandbox.journal.requests("PATCH")) == 1


async def test_refuse_cuts_requests_that_are_under_way(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("slow", seconds=60)
    under_way = asyncio.create_task(engage.patch(path, LUND))
    async with asyncio.timeout(5):
        while not sandbox.journal.arrivals:
            await asyncio.sleep(0.005)
    sandbox.faults.add("refuse")
    with pytest.raises(aiohttp.ClientConnectionError):
        await under_way
    assert _city(sandbox) == "Lund"


async def test_a_duration_ends_a_fault_by_itself(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("refuse", duration=0.1)
    with pytest.raises(aiohttp.ClientConnectorError):
        await engage.get(path)
    async with asyncio.timeout(5):
        while sandbox.faults.active():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
    assert (await engage.get(path))[0] == 200


@pytest.mark.parametrize(("kind", "committed"), [("reset_before", False), ("reset_after", True)])
async def test_a_reset_comes_before_or_after_the_commit(
    engage: Any, sandbox: Sandbox, path: str, kind: str, committed: bool
) -> None:
    sandbox.faults.add(kind, count=1)
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await engage.patch(path, LUND)
    await _settled(sandbox)
    (arrival,) = sandbox.journal.arrivals
    assert (arrival.committed, arrival.status, arrival.fault) == (committed, None, kind)
    assert _city(sandbox) == ("Lund" if committed else "Umea")
    assert (await engage.patch(path, LUND))[0] == 200


@pytest.mark.parametrize(("kind", "committed"), [("hang", False), ("hang_after", True)])
async def test_a_hanging_request_is_never_answered(
    engage: Any, sandbox: Sandbox, path: str, kind: str, committed: bool
) -> None:
    sandbox.faults.add(kind)
    with pytest.raises(TimeoutError):
        await engage.call("PATCH", path, LUND, timeout=aiohttp.ClientTimeout(total=0.1))
    await _settled(sandbox)
    assert sandbox.journal.arrivals[0].committed is committed
    assert sandbox.journal.arrivals[0].status is None
    assert _city(sandbox) == ("Lund" if committed else "Umea")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 409])
@pytest.mark.parametrize(("kind", "committed"), [("status", False), ("status_after", True)])
async def test_a_status_comes_before_or_after_the_commit(
    engage: Any, sandbox: Sandbox, path: str, kind: str, committed: bool, status: int
) -> None:
    sandbox.faults.add(kind, status=status)
    assert (await engage.patch(path, LUND))[0] == status
    assert sandbox.journal.arrivals[0].committed is committed
    assert _city(sandbox) == ("Lund" if committed else "Umea")


async def test_a_504_before_the_commit_carries_engages_own_code_and_a_code_can_be_chosen(
    engage: Any, sandbox: Sandbox
) -> None:
    sandbox.faults.add("status", status=504, count=2)
    assert (await engage.post(f"{V3}/contacts", {"externalId": "K1"}))[1]["errorCode"] == "RequestTimeOut"
    redeem = f"{V3}/promotion-assignments/x/redeem"
    assert (await engage.post(redeem, {}))[1]["errorCode"] == "GatewayTimeout"
    sandbox.faults.add("status", status=500, code="InvalidSystemConfiguration")
    assert (await engage.get(f"{V3}/contacts/id"))[1]["errorCode"] == "InvalidSystemConfiguration"
    assert sandbox.state.contacts == {}


async def test_late_takes_effect_after_the_client_has_given_up(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("late", seconds=0.3, count=1)
    with pytest.raises(TimeoutError):
        await engage.call("PATCH", path, LUND, timeout=aiohttp.ClientTimeout(total=0.1))
    await _settled(sandbox)
    assert _city(sandbox) == "Umea"
    async with asyncio.timeout(5):
        while not sandbox.journal.commits:
            await asyncio.sleep(0.005)
    assert _city(sandbox) == "Lund"
    assert sandbox.journal.arrivals[0].committed
    sandbox.faults.add("late", seconds=0.05)
    assert (await engage.patch(path, {"city": "Kiruna"}))[0] == 200


async def test_a_late_creation_is_seen_as_being_created(engage: Any, sandbox: Sandbox) -> None:
    sandbox.faults.add("late", seconds=0.2, count=1)
    first = asyncio.create_task(engage.post(f"{V3}/contacts", {"externalId": "K1"}))
    async with asyncio.timeout(5):
        while not sandbox.state.being_created:
            await asyncio.sleep(0.005)
    status, body = await engage.post(f"{V3}/contacts", {"externalId": "K1"})
    assert (status, body["errorCode"]) == (409, "ContactWithKeyIsBeingCreated")
    assert (await first)[0] == 201
    assert sandbox.state.being_created == set()


async def test_throttle_answers_429_with_and_without_retry_after(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("throttle", count=1)
    sandbox.faults.add("throttle", retry_after=7)
    for expected in (None, "7"):
        async with engage.session.get(f"{sandbox.base_url}{path}", headers=engage.headers) as answer:
            assert answer.status == 429
            assert answer.headers.get("Retry-After") == expected


async def test_slow_commits_at_once_and_answers_later(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("slow", seconds=0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await engage.patch(path, LUND))[0] == 200
    assert loop.time() - began >= 0.2
    (arrival,) = sandbox.journal.arrivals
    (commit,) = sandbox.journal.commits
    assert arrival.ended is not None
    assert arrival.ended - commit.monotonic >= 0.2


@pytest.mark.parametrize("status", [302, 307])
async def test_redirect_points_elsewhere_and_commits_nothing(
    engage: Any, sandbox: Sandbox, path: str, status: int
) -> None:
    sandbox.faults.add("redirect", status=status)
    url = f"{sandbox.base_url}{path}"
    async with engage.session.patch(url, json=LUND, headers=engage.headers, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (status, "/moved")
    assert _city(sandbox) == "Umea"


@pytest.mark.parametrize("committed", [True, False])
async def test_html_is_a_page_instead_of_an_answer(engage: Any, sandbox: Sandbox, path: str, committed: bool) -> None:
    sandbox.faults.add("html", committed=committed)
    async with engage.session.patch(f"{sandbox.base_url}{path}", json=LUND, headers=engage.headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "<html>" in await answer.text()
    assert _city(sandbox) == ("Lund" if committed else "Umea")


async def test_garbage_is_json_that_is_cut_off(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("garbage")
    async with engage.session.patch(f"{sandbox.base_url}{path}", json=LUND, headers=engage.headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        with pytest.raises(ValueError):
            await answer.json()
    assert _city(sandbox) == "Lund"


async def test_truncate_ends_before_the_length_it_promised(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("truncate")
    async with engage.session.patch(f"{sandbox.base_url}{path}", json=LUND, headers=engage.headers) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert _city(sandbox) == "Lund"


async def test_bad_key_strikes_everywhere_and_forbidden_only_on_its_path(
    engage: Any, sandbox: Sandbox, path: str
) -> None:
    sandbox.faults.add("forbidden", path="*/receipts")
    assert (await engage.post(f"{V3}/receipts", {}))[0] == 403
    assert (await engage.get(path))[0] == 200
    sandbox.faults.add("bad_key", count=1)
    assert (await engage.get(path))[0] == 401
    assert (await engage.get(path))[0] == 200


async def test_filters_counts_and_lots_decide_where_a_fault_strikes(engage: Any, sandbox: Sandbox, path: str) -> None:
    sandbox.faults.add("status", method="patch", path="*/contacts/*", count=2)
    assert [(await engage.patch(path, LUND))[0] for _ in range(3)] == [503, 503, 200]
    sandbox.faults.add("status", method="PATCH")
    assert (await engage.get(path))[0] == 200
    sandbox.faults.clear()
    sandbox.faults.add("status", probability=0.5)
    statuses = [(await engage.get(path))[0] for _ in range(40)]
    assert 5 < statuses.count(503) < 35
    sandbox.faults.clear("status")
    assert (await engage.get(path))[0] == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "earthquake"},
        {"kind": "status", "probability": 0},
        {"kind": "status", "count": 0},
        {"kind": "status", "duration": -1},
        {"kind": "refuse", "count": 1},
        {"kind": "status", "colour": "red"},
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused_and_changes_nothing(
    sandbox: Sandbox, wrong: dict[str, Any]
) -> None:
    sandbox.faults.add("slow")
    with pytest.raises((ValueError, TypeError)):
        sandbox.faults.add(**wrong)
    with pytest.raises((ValueError, TypeError)):
        sandbox.faults.replace([wrong])
    assert [fault.kind for fault in sandbox.faults.active()] == [FaultKind.SLOW]


async def test_overlapping_requests_of_one_contact_are_told(engage: Any, sandbox: Sandbox, path: str) -> None:
    contact_id = path.rpartition("/")[2]
    for _ in range(2):
        await engage.patch(path, LUND)
    assert sandbox.journal.overlapping("contact", contact_id) == []
    sandbox.faults.add("slow", seconds=0.2)
    await asyncio.gather(*(engage.patch(path, {"city": city}) for city in ("A", "B")))
    assert len(sandbox.journal.overlapping("contact", contact_id)) == 1
    assert [values["city"] for values in sandbox.journal.applied(contact_id)][:2] == ["Lund", "Lund"]
