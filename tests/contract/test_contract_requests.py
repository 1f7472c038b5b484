"""Every call of a shop is the request that the reference gives, in both versions of the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from contract_shop import receipt
from plain_engage import AGENT, KEY, PlainEngage

from voyado_async import Settings, VoyadoClient

ANNA = {"email": "anna@example.com", "externalId": "A-7"}


@pytest.mark.parametrize("version", ["3", "2"])
async def test_every_call_is_the_request_of_the_reference(
    version: str, engage: PlainEngage, environment: dict[str, str]
) -> None:
    anna = engage.contact(**ANNA)
    offer = engage.assign(anna)
    bea = {"email": "bea@example.com", "firstName": "Bea", "countryCode": "SE"}
    async with VoyadoClient(Settings.from_env(environment | {"VOYADO_API_VERSION": version})) as voyado:
        assert await voyado.contacts.find(email="anna@example.com") == anna
        assert await voyado.contacts.find(email="nobody@example.com") is None
        assert [one.id for one in await voyado.promotions.assignments(anna, channel="ECOM")] == [offer]
        for write in (
            voyado.promotions.redeem(offer, channel="ECOM", contact_id=anna),
            voyado.contacts.update(anna, {"city": "Lund", "preferences": {"acceptsSms": False}}),
            voyado.contacts.update({"city": None}, external_id="A-7"),
            voyado.contacts.change_type(anna, "Gold"),
            voyado.contacts.create(bea, source="POS", store_external_id="204"),
            voyado.receipts.send(receipt(1, anna)),
        ):
            entry = await write
            assert (await entry.wait(timeout=10)).state == entry.state == "delivered", entry

    base = f"/api/v{version}"
    asked = {"contactId": anna, "redemptionChannelType": "ECOM"}
    created = {"source": "POS", "storeExternalId": "204"}
    find, v3 = f"GET {base}/contacts/id", version == "3"
    assert requests(engage) == [
        (find, {"email": "anna@example.com"}, None),
        (find, {"email": "nobody@example.com"}, None),
        (f"GET {base}/promotion-assignments", asked, None)
        if v3
        else (f"GET {base}/contacts/{anna}/promotions", {"redemptionChannelType": "ECOM"}, None),
        (
            f"POST {base}/promotion-assignments/{offer}/redeem"
            if v3
            else f"POST {base}/contacts/{anna}/promotions/{offer}/redeem",
            {},
            {"redemptionChannel": "ECOM"},
        ),
        (
            f"{'PATCH' if v3 else 'POST'} {base}/contacts/{anna}",
            {},
            {"city": "Lund", "preferences": {"acceptsSms": False}},
        ),
        (find, {"customKey": "A-7"}, None),
        (f"{'PATCH' if v3 else 'POST'} {base}/contacts/{anna}", {}, {"city": None}),
        (f"POST {base}/contacts/{anna}/updateContactType", {"contactTypeId": "Gold"}, None),
        (find, {"email": "bea@example.com"}, None),
        (f"POST {base}/contacts", created if v3 else {}, bea),
        (f"POST {base}/receipts", {}, receipt(1, anna)),
    ]
    (creation,) = [seen for seen in engage.seen if seen.line == f"POST {base}/contacts"]
    assert {name: creation.headers.get(name) for name in created} == (dict.fromkeys(created) if v3 else created)


def requests(engage: PlainEngage) -> list[tuple[str, dict[str, str], Any]]:
    """What came in: line, query and body. Each had the headers that are mandatory on all of them (ref 1.2)."""
    for seen in engage.seen:
        mandatory = ("apikey", "User-Agent", "Content-Type")
        assert [seen.headers.get(name) for name in mandatory] == [KEY, AGENT, "application/json"], seen.line
    return [(seen.line, seen.query, json.loads(seen.body) if seen.body else None) for seen in engage.seen]
