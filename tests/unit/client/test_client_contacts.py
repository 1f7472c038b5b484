"""Every call of `voyado.contacts`, against both versions of the fake Engage."""

from __future__ import annotations

import asyncio
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from voyado_async import (
    AccessRefused,
    ContactCreate,
    ContactUpdate,
    EngageMisconfigured,
    EngageNotFound,
    EngageUnavailable,
    InvalidEntry,
    MultipleMatches,
    OutcomeUnknown,
    Remedy,
    Settings,
    State,
    VoyadoClient,
)
from voyado_async.drain import recent
from voyado_async.models import Consent, Preferences
from voyado_async.sandbox import Sandbox

NOBODY = "00000000-0000-4000-8000-000000000000"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


# find -----------------------------------------------------------------------------------------------------------------


async def test_a_contact_is_found_by_each_identifier(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(
        email="anna+till@example.com",
        mobilePhone="+46700000001",
        externalId="K-1",
        socialSecurityNumber="19880409-1234",
    )
    find = voyado.contacts.find
    assert await find(email="anna+till@example.com") == anna.id
    assert await find(mobile_phone="+46 70 000 00 01") == anna.id
    assert await find(social_security_number="19880409-1234") == anna.id
    assert await find(external_id="K-1", contact_type="Member") == anna.id
    assert await find(email="nobody@example.com") is None
    assert await find(external_id="K-1", contact_type="Contact") is None


@pytest.mark.parametrize("tenant", [{"custom_key": "memberNumber"}])
async def test_a_member_number_is_a_custom_key(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(memberNumber="70000555")
    assert await voyado.contacts.find(member_number="70000555") == anna.id


async def test_several_contacts_of_one_attribute_are_an_error_that_lists_them(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    ids = tuple(sandbox.state.add_contact(email="shared@example.com").id for _ in range(2))
    with pytest.raises(MultipleMatches) as refusal:
        await voyado.contacts.find(email="shared@example.com")
    error = refusal.value
    assert (error.contact_ids, error.status, error.code, error.remedy) == (ids, 409, "MultipleMatches", Remedy.PERSON)
    assert "shared" not in str(error)


@pytest.mark.parametrize("tenant", [{"custom_key": None}])
async def test_a_tenant_that_cannot_look_up_is_for_a_person_to_mend(voyado: VoyadoClient) -> None:
    with pytest.raises(EngageMisconfigured) as refusal:
        await voyado.contacts.find(external_id="K-1")
    assert (refusal.value.status, refusal.value.remedy) == (500, Remedy.PERSON)


async def test_a_refused_key_is_for_the_configuration(settings: Settings) -> None:
    other = msgspec.structs.replace(settings, api_key="not-the-key-of-this-one")
    async with VoyadoClient(other, drain=False, listeners=[]) as voyado:
        with pytest.raises(AccessRefused) as refusal:
            await voyado.contacts.find(email="anna@example.com")
    assert (refusal.value.status, refusal.value.remedy) == (401, Remedy.CONFIGURATION)
    assert "not-the-key" not in str(refusal.value)


async def test_no_traceback_shows_the_key_not_even_with_its_locals(
    settings: Settings, sandbox: Sandbox, voyado: VoyadoClient
) -> None:
    sandbox.faults.add("forbidden")
    shown = []
    for call in (
        voyado.contacts.find(email="anna@example.com"),
        voyado.contacts.create_bulk([{"email": "anna@example.com"}]),
        voyado.promotions.delete(external_id="x"),
    ):
        with pytest.raises(AccessRefused) as refusal:
            await call
        told = traceback.TracebackException.from_exception(refusal.value, capture_locals=True)
        shown += [
            "".join(traceback.StackSummary.from_list([frame]).format()) + str(frame.locals)
            for frame in told.stack
            if "/voyado_async/" in frame.filename
        ]
    assert len(shown) > 5
    assert settings.api_key is not None
    assert [frame for frame in shown if settings.api_key in frame] == []


# get ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", [{"contact_shape": "nested"}, {"contact_shape": "flat"}], ids=["nested", "flat"])
async def test_a_contact_is_read_in_both_forms(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(
        email="anna@example.com", zipCode="22100", shoeSize="38", preferences={"acceptsSms": True}
    )
    contact = await voyado.contacts.get(anna.id)
    assert (contact.id, contact.email, contact.zip_code) == (anna.id, "anna@example.com", "22100")
    assert contact.attributes["shoeSize"] == "38"
    assert contact.preferences == {"acceptsEmail": False, "acceptsSms": True, "acceptsPostal": False}
    assert contact.contact_type == "Member"


async def test_a_contact_that_does_not_exist_is_not_found(voyado: VoyadoClient) -> None:
    with pytest.raises(EngageNotFound) as refusal:
        await voyado.contacts.get(NOBODY)
    assert (refusal.value.status, refusal.value.code, refusal.value.remedy) == (404, "ContactNotFound", Remedy.CALL)


# durable --------------------------------------------------------------------------------------------------------------


async def test_a_creation_looks_first_and_hands_over_its_options(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    entry = await voyado.contacts.create(
        {"email": "new@example.com", "firstName": "Nia", "preferences": {"acceptsEmail": True}},
        source="POS",
        create_as_unapproved=True,
    )
    outcome = await entry.wait(timeout=10)
    assert outcome.delivered
    assert outcome.contact_id is not None
    made = sandbox.state.contacts[outcome.contact_id]
    assert (made.source, made.approved, made.preferences["acceptsEmail"]) == ("POS", False, True)
    again = await voyado.contacts.create({"email": "new@example.com", "firstName": "Nia"}, source="POS")
    assert (await again.wait(timeout=10)).contact_id == outcome.contact_id
    assert sandbox.journal.count("contact_create", made.id) == 1
    looks = sandbox.journal.requests("GET", "/contacts/id")
    posts = sandbox.journal.requests("POST", "/contacts")
    assert looks[0].seq < posts[0].seq
    assert len(posts) == 1


@pytest.mark.parametrize("fault", ["reset_after", "status_after", "garbage"])
async def test_a_creation_of_unknown_outcome_is_looked_up_and_makes_one_contact(
    settings: Settings, sandbox: Sandbox, fault: str, no_rest: None
) -> None:
    sandbox.faults.add(fault, method="POST", count=1)
    async with VoyadoClient(settings, listeners=[]) as voyado:
        entry = await voyado.contacts.create({"email": "new@example.com"})
        outcome = await entry.wait(timeout=10)
    assert outcome.delivered
    assert [contact.id for contact in sandbox.state.contacts.values()] == [outcome.contact_id]
    assert len(sandbox.journal.requests("POST")) == 1


@pytest.mark.parametrize(
    "name",
    [
        {"email": "anna@example.com"},
        {"external_id": "K-1"},
        {"mobile_phone": "+46700000001"},
        {"social_security_number": "19880409-1234"},
    ],
    ids=str,
)
async def test_an_update_by_another_name_is_resolved_at_delivery(
    voyado: VoyadoClient, sandbox: Sandbox, name: dict[str, Any]
) -> None:
    anna = sandbox.state.add_contact(
        email="anna@example.com",
        externalId="K-1",
        mobilePhone="+46700000001",
        socialSecurityNumber="19880409-1234",
        city="Malmö",
    )
    entry = await voyado.contacts.update(changes={"city": "Lund", "preferences": {"acceptsSms": True}}, **name)
    outcome = await entry.wait(timeout=10)
    assert (outcome.state, outcome.contact_id) == (State.DELIVERED, anna.id)
    assert sandbox.journal.applied(anna.id) == [{"city": "Lund", "preferences.acceptsSms": True}]
    assert len(sandbox.journal.requests("GET")) == 1, "one look-up, also where nobody knew whose address it is"


async def test_an_update_of_whom_another_process_has_just_found_is_sent_without_a_look_up(
    settings: Settings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "REST", 0)
    remembering = msgspec.structs.replace(settings, cache_ttl=600)
    anna = sandbox.state.add_contact(email="anna@example.com", city="Malmö")
    bo = sandbox.state.add_contact(email="bo@example.com")
    async with VoyadoClient(remembering, listeners=[]) as drains:
        while not drains._drainer or not drains._drainer.draining:
            await asyncio.sleep(0)
        await (await drains.contacts.update(bo.id, {"city": "Lund"})).wait(timeout=10)
        async with VoyadoClient(remembering, drain=False, listeners=[]) as shop:
            assert await shop.contacts.find(email="anna@example.com") == anna.id
        looked = len(sandbox.journal.requests("GET"))
        by_id = await drains.contacts.update(anna.id, {"firstName": "Anna"})
        entry = await drains.contacts.update({"city": "Lund"}, email="Anna@example.com")
        assert (await entry.wait(timeout=10)).contact_id == anna.id
        assert (await by_id.wait(timeout=10)).delivered
        assert len(sandbox.journal.requests("GET")) == looked

        # Her address goes over to Bo: whoever is named by it now, Engage is asked.
        for contact, address in ((anna, "anna@example.org"), (bo, "anna@example.com")):
            assert (await (await drains.contacts.update(contact.id, {"email": address})).wait(timeout=10)).delivered
        entry = await drains.contacts.update({"city": "Umeå"}, email="anna@example.com")
        assert (await entry.wait(timeout=10)).delivered
        assert len(sandbox.journal.requests("GET")) == looked + 1
    assert [each["city"] for each in sandbox.journal.applied(anna.id) if "city" in each] == ["Lund"]
    assert [each["city"] for each in sandbox.journal.applied(bo.id) if "city" in each] == ["Lund", "Umeå"]


async def test_a_creation_looks_first_also_for_whom_a_read_has_just_found(
    settings: Settings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a read told may be another person's, or nobody's, by now: nobody is overwritten, and none is made twice."""
    monkeypatch.setattr(recent, "REST", 0)
    anna = sandbox.state.add_contact(email="anna@example.com")
    async with VoyadoClient(msgspec.structs.replace(settings, cache_ttl=600), listeners=[]) as voyado:
        assert await voyado.contacts.find(email="anna@example.com") == anna.id
        looked = len(sandbox.journal.requests("GET"))
        entry = await voyado.contacts.create({"email": "anna@example.com", "city": "Lund"}, on_existing="update")
        assert (await entry.wait(timeout=10)).contact_id == anna.id
        assert len(sandbox.journal.requests("GET")) == looked + 1


async def test_a_creation_that_updates_whom_it_finds_looks_once(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com", city="Malmö")
    entry = await voyado.contacts.create({"email": "anna@example.com", "city": "Lund"}, on_existing="update")
    assert (await entry.wait(timeout=10)).contact_id == anna.id
    assert len(sandbox.journal.applied(anna.id)) == 1
    assert len(sandbox.journal.requests("GET")) == 1


async def test_consents_and_preferences_are_sent_and_read_as_engage_has_them(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    made = await voyado.contacts.create(
        {"email": "anna@example.com", "consents": [{"id": "terms", "value": True, "source": "POS"}]}
    )
    anna = (await made.wait(timeout=10)).contact_id
    assert anna is not None
    changes = ContactUpdate(
        preferences=Preferences(accepts_email=False), consents=(Consent(id="news", value=True, date="2025-03-14"),)
    )
    assert (await (await voyado.contacts.update(anna, changes)).wait(timeout=10)).delivered
    assert sandbox.journal.applied(anna) == [{"preferences.acceptsEmail": False, "consents.news": True}]
    contact = await voyado.contacts.get(anna)
    assert contact.consents == (
        {"id": "terms", "value": True, "source": "POS"},
        {"id": "news", "value": True, "date": "2025-03-14"},
    )
    assert contact.preferences["acceptsEmail"] is False


@pytest.mark.parametrize("tenant", [{"custom_key": "memberNumber"}])
async def test_an_update_by_member_number_is_resolved_at_delivery(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(memberNumber="70000555")
    entry = await voyado.contacts.update(None, {"city": "Lund"}, member_number="70000555")
    assert (await entry.wait(timeout=10)).contact_id == anna.id


async def test_an_update_whose_name_several_have_is_rejected_with_their_ids(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    ids = [sandbox.state.add_contact(email="shared@example.com").id for _ in range(2)]
    entry = await voyado.contacts.update(changes={"city": "Lund"}, email="shared@example.com")
    outcome = await entry.wait(timeout=10)
    assert (outcome.state, outcome.reason) == (State.REJECTED, f"MultipleMatches: {ids[0]}, {ids[1]}")
    assert [sandbox.journal.applied(each) for each in ids] == [[], []]
    (attempt,) = await voyado.outbox.attempts(entry.id)
    assert (attempt.what, attempt.code, attempt.status) == ("look_up", "MultipleMatches", 409)


async def test_an_update_whose_name_nobody_has_is_rejected(voyado: VoyadoClient) -> None:
    entry = await voyado.contacts.update(changes={"city": "Lund"}, email="nobody@example.com")
    outcome = await entry.wait(timeout=10)
    assert (outcome.state, outcome.reason) == (State.REJECTED, "ContactNotFound")


async def test_an_update_without_changes_is_refused(voyado: VoyadoClient) -> None:
    with pytest.raises(InvalidEntry, match="changes nothing"):
        await voyado.contacts.update(email="anna@example.com")


@pytest.mark.parametrize("contact_type", ["Member", "Contact"])
async def test_the_type_is_changed(voyado: VoyadoClient, sandbox: Sandbox, contact_type: str) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com", contact_type="Contact")
    entry = await voyado.contacts.change_type(anna.id, contact_type)
    assert (await entry.wait(timeout=10)).delivered
    assert sandbox.state.contacts[anna.id].contact_type == contact_type


# many at once ---------------------------------------------------------------------------------------------------------


async def test_many_are_created_and_updated_in_one_request_each(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    made = await voyado.contacts.create_bulk(
        [ContactCreate(email="a@example.com", city="Lund"), {"email": "b@example.com", "shoeSize": 38}],
        contact_type="Contact",
    )
    assert (await voyado.contacts.bulk_status(made)).answer["status"] == "Queued"
    sandbox.pipeline.run()
    changed = await voyado.contacts.update_bulk(
        [{"email": "a@example.com", "city": None}], contact_type="Contact", avoid_triggering_export=True
    )
    sandbox.pipeline.run()
    first, second = sandbox.state.contacts.values()
    assert (first.contact_type, first.attributes["city"], second.attributes["shoeSize"]) == ("Contact", None, 38)
    status = await voyado.contacts.bulk_status(changed)
    assert (status.batch_id, status.answer["updated"], status.answer["failed"]) == (changed, 1, 0)
    post, patch = (arrival.query for arrival in sandbox.journal.arrivals if arrival.path.endswith("/bulk"))
    assert post == {"contactType": "Contact"}
    assert patch == {"contactType": "Contact", "avoidTriggeringExport": "true"}


@pytest.mark.parametrize(
    ("contacts", "path"),
    [
        ([], ""),
        ({"email": "a@example.com"}, ""),
        ([{"email": "a@example.com"}] * 4001, ""),
        ([{"email": "a@example.com"}, {"email": "a@@example.com"}], "[1].email"),
        ([{"externalId": "K-1"}], "[0].email"),
        ([{"email": "a@example.com", "contactType": "Member"}], "[0].contactType"),
        ([{"email": "a@example.com", "preferences": {"acceptsSms": True}}], "[0].preferences"),
        ([{"email": "a@example.com", "zip_code": "1"}], "[0].zip_code"),
        (["a@example.com"], "[0]"),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("version", [3])
async def test_a_wrong_contact_among_many_is_named_and_nothing_is_sent(
    voyado: VoyadoClient, sandbox: Sandbox, contacts: Any, path: str
) -> None:
    for call in (voyado.contacts.create_bulk, voyado.contacts.update_bulk):
        with pytest.raises(InvalidEntry) as refusal:
            await call(contacts)
        assert refusal.value.path == path
    assert sandbox.journal.arrivals == []


@pytest.mark.parametrize("version", [3])
async def test_a_bulk_request_without_a_usable_answer_says_that_it_may_have_taken_effect(
    voyado: VoyadoClient, sandbox: Sandbox
) -> None:
    for fault in ({"kind": "status", "status": 503}, {"kind": "reset_after"}, {"kind": "html", "committed": True}):
        sandbox.faults.add(count=1, **fault)
        with pytest.raises(OutcomeUnknown, match="may have taken effect") as error:
            await voyado.contacts.create_bulk([{"email": "a@example.com"}])
        assert error.value.remedy is Remedy.WAIT
    assert len(sandbox.journal.effects("bulk")) == 2
    sandbox.faults.add("throttle", count=1)
    with pytest.raises(EngageUnavailable) as refused:
        await voyado.contacts.create_bulk([{"email": "a@example.com"}])
    assert not isinstance(refused.value, OutcomeUnknown)


# the feed -------------------------------------------------------------------------------------------------------------


async def test_the_feed_tells_who_changed_in_a_span_of_time(voyado: VoyadoClient, sandbox: Sandbox) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    there = timezone(timedelta(hours=2))
    assert await voyado.contacts.changes("Created", from_date=LONG_AGO.astimezone(there)) == [anna.id]
    assert await voyado.contacts.changes("Deleted", from_date=LONG_AGO, to_date=datetime.now(UTC)) == []
    asked = sandbox.journal.requests("GET", "/contacts/changes")[0]
    assert asked.query == {"changeType": "Created", "fromDate": "2020-01-01 00:00:00.000"}


@pytest.mark.parametrize(
    ("change_type", "from_date", "path"),
    [
        ("created", LONG_AGO, "changeType"),
        ("Created", LONG_AGO.replace(tzinfo=None), "fromDate"),
        ("Created", "2020", "fromDate"),
    ],
)
@pytest.mark.parametrize("version", [3])
async def test_a_wrong_span_is_refused(voyado: VoyadoClient, change_type: Any, from_date: Any, path: str) -> None:
    with pytest.raises(InvalidEntry) as refusal:
        await voyado.contacts.changes(change_type, from_date=from_date)
    assert refusal.value.path == path
