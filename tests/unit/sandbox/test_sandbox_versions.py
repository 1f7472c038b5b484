"""Where version 2 differs from version 3, and that each refuses the other one's way of asking (ref 1.8)."""

from __future__ import annotations

from typing import Any

import pytest

from voyado_async.sandbox import Sandbox

VOUCHER = "11111111-0000-4000-8000-000000000000"


@pytest.fixture
def anna(sandbox: Sandbox) -> str:
    contact = sandbox.state.add_contact(externalId="K1", email="anna@example.com")
    sandbox.state.add_voucher(contact.id, id=VOUCHER)
    sandbox.state.add_assignment(contact.id)
    return contact.id


PATHS = [
    ("GET", "/api/v3/promotion-assignments?contactId={anna}", 200),
    ("GET", "/api/v2/contacts/{anna}/promotions", 200),
    ("GET", "/api/v2/contacts/{anna}/promotions?contactId={anna}", 400),
    ("GET", "/api/v2/promotion-assignments?contactId={anna}", 404),
    ("GET", "/api/v3/contacts/{anna}/promotions", 404),
    ("GET", "/api/v3/transactions?contactId={anna}", 200),
    ("GET", "/api/v2/contacts/{anna}/transactions?offset=0&count=1", 200),
    ("GET", "/api/v2/contacts/{anna}/transactions?contactId={anna}", 400),
    ("GET", "/api/v3/transactions?contactId={anna}&offset=-1", 400),
    ("GET", "/api/v3/transactions", 400),
    ("GET", "/api/v3/reward-vouchers?contactId={anna}", 200),
    ("GET", "/api/v3/reward-vouchers/available?contactId={anna}&count=x", 400),
    ("GET", "/api/v3/reward-vouchers/redeemed?contactId={anna}&page=1", 400),
    ("GET", "/api/v2/contacts/{anna}/bonuschecks/available", 200),
    ("GET", "/api/v2/reward-vouchers?contactId={anna}", 404),
    ("GET", "/api/v3/contacts/{anna}/bonuschecks", 404),
    ("PATCH", "/api/v2/contacts/{anna}", 405),
    ("POST", "/api/v3/contacts/{anna}", 405),
    ("POST", "/api/v3/contacts/{anna}/promoteToMember", 404),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_each_version_has_its_own_paths_and_queries(
    engage: Any, anna: str, method: str, path: str, status: int
) -> None:
    assert (await engage.call(method, path.format(anna=anna)))[0] == status


@pytest.mark.parametrize(
    "path", [f"/api/v3/reward-vouchers/{VOUCHER}", f"/api/v2/contacts/{{anna}}/bonuschecks/{VOUCHER}"]
)
async def test_a_voucher_is_redeemed_once_and_by_its_path_alone(
    engage: Any, sandbox: Sandbox, anna: str, path: str
) -> None:
    redeem = f"{path.format(anna=anna)}/redeem"
    assert (await engage.post(redeem, {"contactId": anna}))[0] == 400
    assert (await engage.post(redeem, contactId=anna))[0] == 400
    assert (await engage.post(redeem))[0] == 200
    status, body = await engage.post(redeem)
    assert (status, body["errorCode"]) == (409, "RewardVoucherAlreadyRedeemed")
    assert sandbox.journal.count("voucher_redeem", VOUCHER) == 1


async def test_a_voucher_of_somebody_else_is_not_found_in_version_2(engage: Any, sandbox: Sandbox, anna: str) -> None:
    other = sandbox.state.add_contact(externalId="K2").id
    status, body = await engage.post(f"/api/v2/contacts/{other}/bonuschecks/{VOUCHER}/redeem")
    assert (status, body["errorCode"]) == (404, "RewardVoucherNotFound")


async def test_each_version_calls_the_fields_of_a_voucher_by_its_own_names(engage: Any, anna: str) -> None:
    _, newer = await engage.get("/api/v3/reward-vouchers", contactId=anna)
    _, older = await engage.get(f"/api/v2/contacts/{anna}/bonuschecks")
    new, old = newer["items"][0], older["items"][0]
    assert (new["voucherNumber"], new["points"]) == (old["checkNumber"], old["bonusPoints"])
    assert not {"checkNumber", "bonusPoints"} & new.keys()
    assert not {"voucherNumber", "points"} & old.keys()


async def test_an_assignment_takes_a_body_in_version_3_and_none_in_version_2(
    engage: Any, sandbox: Sandbox, anna: str
) -> None:
    promotion = sandbox.state.add_promotion().id
    body = {"contactId": anna, "promotionId": promotion}
    assert (await engage.post("/api/v3/promotion-assignments", body))[0] == 200
    assert (await engage.post("/api/v3/promotion-assignments", body | {"channel": "POS"}))[0] == 400
    assert (await engage.post("/api/v3/promotion-assignments"))[0] == 400
    assert (await engage.post(f"/api/v2/contacts/{anna}/promotions/{promotion}/assign", body))[0] == 400
    assert (await engage.post(f"/api/v2/contacts/{anna}/promotions/{promotion}/assign"))[0] == 200


async def test_options_of_a_creation_are_headers_in_version_2_and_refused_in_its_query(
    engage: Any, sandbox: Sandbox
) -> None:
    assert (await engage.post("/api/v2/contacts", {"externalId": "K3"}, source="POS"))[0] == 400
    url, headers = f"{sandbox.base_url}/api/v2/contacts", engage.headers | {"source": "POS"}
    async with engage.session.post(url, json={"externalId": "K3"}, headers=headers) as answer:
        made = (await answer.json())["id"]
    assert sandbox.state.contacts[made].source == "POS"
    ignored = engage.headers | {"source": "POS"}
    async with engage.session.post(url.replace("v2", "v3"), json={"externalId": "K4"}, headers=ignored) as answer:
        made = (await answer.json())["id"]
    assert sandbox.state.contacts[made].source is None


@pytest.mark.parametrize(
    "consents",
    [{}, ["terms"], [{"id": "terms"}], [{"id": "terms", "value": "yes"}], [{"id": "t", "value": True, "x": 1}]],
)
async def test_consents_are_checked_field_by_field(engage: Any, anna: str, consents: object) -> None:
    status, body = await engage.patch(f"/api/v3/contacts/{anna}", {"consents": consents, "city": "Lund"})
    assert (status, body["errorCode"]) == (400, "BadRequest")
