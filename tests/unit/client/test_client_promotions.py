"""Every call of `voyado.promotions`, against both versions of the fake Engage."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import aiohttp
import msgspec
import pytest

from voyado_async import (
    EngageConflict,
    EngageNotFound,
    EngageRefused,
    EngageUnavailable,
    InvalidEntry,
    OutcomeUnknown,
    Settings,
    VoyadoClient,
)
from voyado_async.models import (
    AssignedValidity,
    Channel,
    ChannelOffer,
    Presentation,
    PromotionDefinition,
    Validity,
    ValidityUnit,
    ValueType,
)
from voyado_async.sandbox import Sandbox

NOTHING = "00000000-0000-4000-8000-000000000000"
WHOLE: dict[str, Any] = {
    "externalId": "spring-25",
    "name": "Spring",
    "validity": {"startDate": "2025-03-01", "endDate": "9999-12-30"},
    "presentation": {"heading": "Spring!", "description": "A fifth off", "link": "https://shop.example/spring"},
    "redemptionChannels": [
        {"type": "ECOM", "valueType": "PERCENT", "value": "20"},
        {
            "type": "POS",
            "valueType": "MONEY",
            "value": "20.5",
            "localValues": [{"currency": "EUR", "amount": 2}],
            "instruction": "Take it off",
        },
    ],
}


# assignments ----------------------------------------------------------------------------------------------------------


async def test_assignments_are_filtered_by_channel_and_show_what_they_are_worth(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    web = sandbox.state.add_assignment(
        anna.id, channels=[{"type": "ECOM", "valueType": "MONEY", "value": "20.5", "instruction": None}]
    )
    till = sandbox.state.add_assignment(anna.id, channels=["POS"])
    (offer,) = await voyado.promotions.assignments(anna.id, channel="ECOM")
    worth = offer.channel("ECOM")
    assert offer.id == web.id
    assert worth is not None
    assert worth.money is not None
    assert (str(worth.money.amount), worth.money.currency) == ("20.5", "SEK")
    assert {each.id for each in await voyado.promotions.assignments(anna.id)} == {web.id, till.id}
    with pytest.raises(EngageNotFound, match="404 ContactNotFound"):
        await voyado.promotions.assignments(NOTHING)


async def test_a_promotion_is_assigned_and_then_redeemed(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    promotion = sandbox.state.add_promotion()
    await voyado.promotions.assign(anna.id, promotion.id)
    (offer,) = await voyado.promotions.assignments(anna.id)
    entry = await voyado.promotions.redeem(offer.id, channel="POS", contact_id=anna.id)
    assert (await entry.wait(timeout=10)).delivered
    assert sandbox.journal.count("redeem", offer.id) == 1
    assert (await voyado.promotions.assignments(anna.id))[0].redeemed


@pytest.mark.parametrize("fault", ["reset_after", "status_after", "garbage"])
async def test_a_redemption_of_unknown_outcome_is_looked_up_and_not_repeated(
    settings: Settings, sandbox: Sandbox, fault: str, no_rest: None
) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    offer = sandbox.state.add_assignment(anna.id)
    sandbox.faults.add(fault, method="POST", count=1)
    async with VoyadoClient(settings, listeners=[]) as voyado:
        entry = await voyado.promotions.redeem(offer.id, channel="ECOM", contact_id=anna.id)
        assert (await entry.wait(timeout=10)).delivered
        attempts = await voyado.outbox.attempts(entry.id)
    assert [(each.what, each.outcome) for each in attempts] == [("request", "retry"), ("look_up", "delivered")]
    assert len(sandbox.journal.requests("POST")) == 1
    assert sandbox.journal.count("redeem", offer.id) == 1


async def test_a_redemption_without_its_contact_goes_where_the_version_takes_it(
    voyado: VoyadoClient, sandbox: Sandbox, version: int
) -> None:
    offer = sandbox.state.add_assignment(sandbox.state.add_contact(email="anna@example.com").id)
    entry = await voyado.promotions.redeem(offer.id, channel="POS")
    assert (await entry.wait(timeout=10)).delivered
    (post,) = sandbox.journal.requests("POST")
    place = {3: "/api/v3/promotion-assignments", 2: "/api/v2/promotions/codes"}[version]
    assert post.path == f"{place}/{offer.id}/redeem"


@pytest.mark.parametrize(
    ("contact", "promotion", "status", "code"),
    [
        ("not-a-guid", "live", 400, "InvalidContactId"),
        (NOTHING, "live", 404, "ContactNotFound"),
        ("anna", "not-a-guid", 400, "InvalidPromotionId"),
        ("anna", NOTHING, 404, "PromotionNotFound"),
        ("anna", "over", 409, "PromotionExpired"),
    ],
)
async def test_a_refused_assignment_is_an_error_with_its_status_and_code(
    voyado: VoyadoClient, sandbox: Sandbox, contact: str, promotion: str, status: int, code: str
) -> None:
    ids = {
        "anna": sandbox.state.add_contact(email="anna@example.com").id,
        "live": sandbox.state.add_promotion().id,
        "over": sandbox.state.add_promotion(status="Ended").id,
    }
    with pytest.raises(EngageRefused) as refusal:
        await voyado.promotions.assign(ids.get(contact, contact), ids.get(promotion, promotion))
    assert (refusal.value.status, refusal.value.code) == (status, code)
    kinds: dict[int, type[EngageRefused]] = {404: EngageNotFound, 409: EngageConflict, 400: EngageRefused}
    assert type(refusal.value) is kinds[status]


@pytest.mark.parametrize("version", [3])
async def test_an_assignment_of_unknown_outcome_is_told_and_not_repeated(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    anna, promotion = sandbox.state.add_contact(email="anna@example.com"), sandbox.state.add_promotion()
    await voyado.promotions.assignments(anna.id)
    sandbox.faults.add("reset_after", path="*/promotion-assignments", method="POST")
    with pytest.raises(OutcomeUnknown):
        await voyado.promotions.assign(anna.id, promotion.id)
    assert len(await voyado.promotions.assignments(anna.id)) == 1
    assert len(sandbox.journal.requests("POST")) == 1


@pytest.mark.parametrize("version", [3])
async def test_a_new_assignment_is_seen_at_once_in_spite_of_the_cache(settings: Settings, sandbox: Sandbox) -> None:
    anna, promotion = sandbox.state.add_contact(email="anna@example.com"), sandbox.state.add_promotion()
    remembering = msgspec.structs.replace(settings, cache_ttl=60)
    async with VoyadoClient(remembering, drain=False, listeners=[]) as voyado:
        assert await voyado.promotions.assignments(anna.id) == []
        await voyado.promotions.assign(anna.id.upper(), promotion.id)
        assert len(await voyado.promotions.assignments(anna.id)) == 1


# definitions ----------------------------------------------------------------------------------------------------------


async def test_a_definition_is_created_read_changed_and_deleted(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    promotion_id = await voyado.promotions.create(WHOLE)
    stored = sandbox.state.promotions[promotion_id]
    assert (stored.status, stored.external_id, stored.validity) == ("Draft", "spring-25", WHOLE["validity"])
    assert stored.channels == WHOLE["redemptionChannels"]

    for read in (await voyado.promotions.get(promotion_id), await voyado.promotions.get(external_id="spring-25")):
        assert (read.id, read.status, read.name, read.external_id) == (promotion_id, "Draft", "Spring", "spring-25")
        assert read.validity is not None
        assert (read.validity.start_date, read.validity.end_date) == (date(2025, 3, 1), date(9999, 12, 30))
        assert read.presentation is not None
        assert read.presentation.heading == "Spring!"
        assert [offer.value for offer in read.redemption_channels or ()] == ["20", "20.5"]

    await voyado.promotions.update(promotion_id, WHOLE | {"name": "Summer", "presentation": None})
    assert (stored.name, stored.presentation) == ("Summer", {})
    await voyado.promotions.update(external_id="spring-25", definition=WHOLE)
    assert stored.name == "Spring"
    await voyado.promotions.update(WHOLE | {"name": "Autumn"}, external_id="spring-25")
    assert stored.name == "Autumn"

    await voyado.promotions.update_validity(promotion_id, {"startDate": "2025-04-01", "endDate": "2025-05-01"})
    span = Validity(start_date=date(2025, 4, 2), assigned_validity=AssignedValidity(unit=ValidityUnit.DAYS, amount=14))
    await voyado.promotions.update_validity(span, external_id="spring-25")
    assert stored.validity == {"startDate": "2025-04-02", "assignedValidity": {"unit": "Days", "amount": 14}}
    for answered in (
        await voyado.promotions.get_validity(promotion_id),
        await voyado.promotions.get_validity(external_id="spring-25"),
    ):
        assert (answered.start_date, answered.end_date) == (date(2025, 4, 2), None)
        assert answered.assigned_validity is not None
        assert (answered.assigned_validity.unit, answered.assigned_validity.amount) == ("Days", 14)

    await voyado.promotions.delete(external_id="spring-25")
    with pytest.raises(EngageNotFound, match="PromotionNotFound"):
        await voyado.promotions.get(promotion_id)
    again = await voyado.promotions.create(WHOLE)
    await voyado.promotions.delete(again)
    assert sandbox.state.promotions == {}


@pytest.mark.parametrize("version", [3])
async def test_a_definition_of_structs_is_the_same_as_one_of_plain_values(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    promotion_id = await voyado.promotions.create(
        PromotionDefinition(
            name="Coffee",
            validity=Validity(start_date=date(2025, 3, 1)),
            presentation=Presentation(heading="A cup"),
            redemption_channels=(
                ChannelOffer(type=Channel.POS, value_type=ValueType.MANUAL, value="Hand it over", instruction="Smile"),
            ),
        )
    )
    stored = sandbox.state.promotions[promotion_id]
    assert (stored.validity, stored.presentation) == ({"startDate": "2025-03-01"}, {"heading": "A cup"})
    assert stored.channels == [{"type": "POS", "valueType": "MANUAL", "value": "Hand it over", "instruction": "Smile"}]


async def test_only_a_draft_can_be_changed_and_only_what_nobody_has_be_deleted(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    live = sandbox.state.add_promotion(external_id="live")
    sandbox.state.add_assignment(sandbox.state.add_contact(email="a@example.com").id, promotion_id=live.id)
    for call in (
        voyado.promotions.update(live.id, WHOLE),
        voyado.promotions.update_validity(external_id="live", validity=WHOLE["validity"]),
        voyado.promotions.delete(live.id),
    ):
        with pytest.raises(EngageRefused, match="400 BadRequest"):
            await call
    assert sandbox.journal.effects("promotion") == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"externalId": "x" * 451}, "externalId"),
        ({"title": "x"}, "title"),
        ({"validity": None}, "validity"),
        ({"validity": {}}, "validity.startDate"),
        ({"validity": {"startDate": "2025-03-01T00:00:00Z"}}, "validity.startDate"),
        ({"validity": {"startDate": datetime(2025, 3, 1)}}, "validity.startDate"),  # noqa: DTZ001 - a time is refused
        ({"validity": {"startDate": "2025-03-01", "endDate": "9999-12-31"}}, "validity.endDate"),
        (
            {
                "validity": {
                    "startDate": "2025-03-01",
                    "endDate": "2025-04-01",
                    "assignedValidity": {"unit": "Days", "amount": 1},
                }
            },
            "validity",
        ),
        (
            {"validity": {"startDate": "2025-03-01", "assignedValidity": {"unit": "days", "amount": 1}}},
            "validity.assignedValidity.unit",
        ),
        (
            {"validity": {"startDate": "2025-03-01", "assignedValidity": {"unit": "Days", "amount": 0}}},
            "validity.assignedValidity.amount",
        ),
        ({"redemptionChannels": [{"type": "WEB", "valueType": "SWIPE", "value": ""}]}, "redemptionChannels[0].type"),
        (
            {"redemptionChannels": [{"type": "POS", "valueType": "PERCENT", "value": 20}]},
            "redemptionChannels[0].value",
        ),
        (
            {"redemptionChannels": [{"type": "POS", "valueType": "PERCENT", "value": "20.5"}]},
            "redemptionChannels[0].value",
        ),
        (
            {"redemptionChannels": [{"type": "POS", "valueType": "MONEY", "value": "20,5"}]},
            "redemptionChannels[0].value",
        ),
        (
            {"redemptionChannels": [{"type": "ECOM", "valueType": "MANUAL", "value": "x"}]},
            "redemptionChannels[0].valueType",
        ),
        (
            {
                "redemptionChannels": [
                    {"type": "ECOM", "valueType": "MONEY", "value": "1", "localValues": [{"currency": "EUR"}]}
                ]
            },
            "redemptionChannels[0].localValues[0].amount",
        ),
    ],
    ids=range(18),
)
@pytest.mark.parametrize("version", [3])
async def test_a_wrong_definition_is_refused_with_the_path_and_engage_refuses_the_same(
    voyado: VoyadoClient, sandbox: Sandbox, change: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidEntry) as refusal:
        await voyado.promotions.create(WHOLE | change)
    assert refusal.value.path == path
    assert sandbox.journal.arrivals == []
    headers = {"apikey": sandbox.api_key, "User-Agent": "Test/1.0", "Content-Type": "application/json"}
    url, body = f"{sandbox.base_url}/api/v3/promotions/multichannels", msgspec.json.encode(WHOLE | change)
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        assert answer.status == 400


@pytest.mark.parametrize("version", [3])
async def test_a_validity_by_itself_is_checked_as_well(voyado: VoyadoClient) -> None:
    for validity, path in (
        ({"startDate": "2025-03-01", "endDate": "9999-12-31"}, "endDate"),
        ({"endDate": "2025-03-01"}, "startDate"),
        ({"startDate": "today"}, "startDate"),
    ):
        with pytest.raises(InvalidEntry) as refusal:
            await voyado.promotions.update_validity(NOTHING, validity)
        assert refusal.value.path == path


@pytest.mark.parametrize("version", [3])
async def test_a_promotion_is_named_by_exactly_one_of_its_ids(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    for name in ({}, {"promotion_id": NOTHING, "external_id": "x"}, {"external_id": " "}, {"promotion_id": "a/b"}):
        for call in (voyado.promotions.get, voyado.promotions.get_validity, voyado.promotions.delete):
            with pytest.raises(InvalidEntry):
                await call(**name)
        with pytest.raises(InvalidEntry):
            await voyado.promotions.update(definition=WHOLE, **name)
    with pytest.raises(InvalidEntry, match="no definition"):
        await voyado.promotions.update(NOTHING)
    with pytest.raises(InvalidEntry, match="no validity"):
        await voyado.promotions.update_validity(NOTHING)
    assert sandbox.journal.arrivals == []


async def test_a_deletion_whose_connection_breaks_finds_that_it_took_effect(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    promotion_id = await voyado.promotions.create(WHOLE)
    sandbox.faults.add("reset_after", method="DELETE", count=1)
    with pytest.raises(EngageNotFound):
        await voyado.promotions.delete(promotion_id)
    assert sandbox.state.promotions == {}
    other = await voyado.promotions.create(WHOLE)
    sandbox.faults.add("status_after", method="DELETE", count=1)
    with pytest.raises(OutcomeUnknown):
        await voyado.promotions.delete(other)
    assert sandbox.state.promotions == {}


@pytest.mark.parametrize("version", [3])
async def test_a_creation_of_unknown_outcome_can_be_looked_for(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    sandbox.faults.add("garbage", path="*/multichannels", method="POST", count=1)
    with pytest.raises(OutcomeUnknown):
        await voyado.promotions.create(WHOLE)
    assert (await voyado.promotions.get(external_id="spring-25")).name == "Spring"
    sandbox.faults.add("status", count=1)
    with pytest.raises(EngageUnavailable) as nothing:
        await voyado.promotions.get(external_id="spring-25")
    assert not isinstance(nothing.value, OutcomeUnknown)
