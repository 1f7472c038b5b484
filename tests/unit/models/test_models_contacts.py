"""Contacts: only what was set is sent, names that Engage would ignore are found, answers are read in any shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from voyado_async.errors import EngageError, InvalidEntry
from voyado_async.models import (
    Consent,
    ContactCreate,
    ContactUpdate,
    Gender,
    Preferences,
    check_contact_type,
    parse_contact_create,
    parse_contact_update,
    read_contact,
    to_json,
)

PAYLOADS = Path(__file__).parents[3] / "samples" / "payloads"

Form = Callable[[dict[str, Any]], Any]
_ENCODER = msgspec.json.Encoder(decimal_format="number")
forms = pytest.mark.parametrize("form", [dict, _ENCODER.encode], ids=["dict", "text"])


def refused(given: Any, **more: Any) -> InvalidEntry:
    with pytest.raises(InvalidEntry) as caught:
        parse_contact_update(given, **more)
    return caught.value


def sent(contact: ContactCreate | ContactUpdate) -> Any:
    return json.loads(to_json(contact), parse_float=Decimal)


@forms
@pytest.mark.parametrize(
    "fields",
    [
        {"city": "Lund"},
        {"city": None},
        {"city": ""},
        {"firstName": "Åsa 🧦", "lastName": "O'Brien ]]> & <Co>"},
        {"email": "a+b@example.com"},
        {"email": "åsa@exämple.test"},
        {"email": ""},
        {"mobilePhone": "+46700000001"},
        {"mobilePhone": "+46 (70) 000-00 01"},
        {"mobilePhone": None},
        {"birthDay": "1988-02-29"},
        {"birthDay": None},
        {"gender": "Other"},
        {"memberNumber": "7", "socialSecurityNumber": "8", "externalId": "9"},
        {"createdInStore": "1", "store": "2"},
        {"street": "a", "zipCode": "b", "careOf": "c", "country": "d", "countryCode": "SE"},
        {"preferences": {"acceptsEmail": True, "acceptsSms": False, "acceptsPostal": True}},
        {"preferences": {"acceptsSms": False}},
        {"consents": [{"id": "terms", "value": True, "source": "POS"}]},
        {
            "shoeSize": 38,
            "half": Decimal("38.50"),
            "float": 38.5,
            "isStaff": False,
            "nick": None,
            "pet.name": "Bo",
            "åder-tal_2": "x",
        },
    ],
)
def test_what_is_set_is_sent_and_nothing_else(fields: dict[str, Any], form: Form) -> None:
    contact = parse_contact_update(form(fields))
    assert sent(contact) == fields
    assert parse_contact_update(to_json(contact)) == contact


@forms
@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({}, "", "changes nothing"),
        ({"city": 7}, "city", "expected str | null, got int"),
        ({"city": ["Lund"]}, "city", "expected str | null, got array"),
        ({"store": 118}, "store", "expected str | null, got int"),
        ({"email": "anna"}, "email", "expected one @"),
        ({"email": "a@b@c"}, "email", "expected one @"),
        ({"email": "a b@c"}, "email", "expected one @"),
        ({"email": "@c"}, "email", "expected one @"),
        ({"mobilePhone": "0700000001"}, "mobilePhone", "expected the international form"),
        ({"mobilePhone": "0046700000001"}, "mobilePhone", "expected the international form"),
        ({"mobilePhone": "+46"}, "mobilePhone", "expected the international form"),
        ({"mobilePhone": "+46 70 call me"}, "mobilePhone", "expected the international form"),
        ({"mobilePhone": 46700000001}, "mobilePhone", "expected str | null, got int"),
        ({"birthDay": "29/02/1988"}, "birthDay", "expected a date as YYYY-MM-DD"),
        ({"birthDay": "1989-02-29"}, "birthDay", "expected a date as YYYY-MM-DD"),
        ({"birthDay": "1988-02-29T00:00:00Z"}, "birthDay", "expected a date as YYYY-MM-DD"),
        ({"birthDay": ""}, "birthDay", "expected a date as YYYY-MM-DD"),
        ({"gender": "female"}, "gender", "expected one of Male, Female, Other"),
        ({"preferences": None}, "preferences", "expected object, got null"),
        ({"preferences": {"acceptsEmail": "true"}}, "preferences.acceptsEmail", "expected bool, got str"),
        ({"preferences": {"acceptsEmail": None}}, "preferences.acceptsEmail", "expected bool, got null"),
        ({"preferences": {"acceptsMail": True}}, "preferences.acceptsMail", "unknown field"),
        ({"acceptsEmail": True}, "acceptsEmail", "stands inside `preferences`"),
        ({"consents": [{"id": "terms"}]}, "consents[0].value", "missing"),
        ({"contactType": "Member"}, "contactType", "cannot be changed by an update; use contacts.change_type"),
        ({"id": "x"}, "id", "the contact is named by the call"),
        ({"contactId": "x"}, "contactId", "the contact is named by the call"),
        ({"source": "POS"}, "source", "is an argument of the creation"),
        ({"attributes": {"shoeSize": 38}}, "attributes", "custom attributes stand beside"),
        ({"rfm": 111}, "rfm", "is computed by Engage"),
        ({"age": 35}, "age", "is computed by Engage"),
        ({"retail.keyvalue.recency": 1}, "retail.keyvalue.recency", "is computed by Engage"),
        ({"retail.keyvalue.other": 1}, "retail.keyvalue.other", "is computed by Engage"),
        ({"nps.grade": 9}, "nps.grade", "is computed by Engage"),
        ({"firstname": "Elsa"}, "firstname", "unknown field; meant `firstName`?"),
        ({"first_name": "Elsa"}, "first_name", "unknown field; meant `firstName`?"),
        ({"EMail": "a@b"}, "EMail", "unknown field; meant `email`?"),
        ({"shoe size": 38}, "shoe size", "cannot be the name of an XML element"),
        ({"2nd": 38}, "2nd", "cannot be the name of an XML element"),
        ({"a:b": 38}, "a:b", "cannot be the name of an XML element"),
        ({"<b>": 38}, "<b>", "cannot be the name of an XML element"),
        ({"": 38}, "", "cannot be the name of an XML element"),
        ({"a\x01": 38}, "a?", "cannot be the name of an XML element"),
        ({"sizes": [38, 39]}, "sizes", "expected text, a number, true, false or null"),
        ({"size": {"eu": 38}}, "size", "expected text, a number, true, false or null"),
        ({"nick": "a\x01"}, "nick", "holds a character that XML cannot carry"),
        ({"city": "\ufffe"}, "city", "holds a character that XML cannot carry"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(fields: dict[str, Any], path: str, reason: str, form: Form) -> None:
    error = refused(form(fields))
    assert error.path == path
    assert error.reason.startswith(reason)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"size": float("nan")}, "size"),
        ({"size": Decimal("NaN")}, "size"),
        ({"since": date(2026, 1, 1)}, "since"),
        ({"blob": b"x"}, "blob"),
        ({"thing": object()}, "thing"),
        ({"nick": "\ud800"}, "nick"),
        ({"birthDay": datetime(1988, 4, 9, tzinfo=UTC)}, "birthDay"),
        ({7: "x"}, ""),
    ],
)
def test_a_python_value_that_is_not_what_is_sent_is_refused(fields: dict[Any, Any], path: str) -> None:
    assert refused(fields).path == path


@pytest.mark.parametrize("given", [None, [], "{}", b"[]", b"null", b"{", b"\xff", b'{"city":"\xff"}'], ids=repr)
def test_what_is_no_contact_is_refused(given: object) -> None:
    assert refused(given).path == ""


def test_a_lone_surrogate_in_json_is_refused_with_its_path() -> None:
    assert refused(b'{"preferences":{},"city":"\\ud800"}').path == "city"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b'{"city":"Lund","city":"Ystad"}', "city"),
        (b'{"shoeSize":38,"city":"Lund","shoeSize":39}', "shoeSize"),
        (b'{"preferences":{"acceptsSms":true,"acceptsSms":false}}', "preferences.acceptsSms"),
    ],
)
def test_a_name_that_stands_twice_in_json_is_refused(text: bytes, path: str) -> None:
    assert (refused(text).path, refused(text).reason) == (path, "stands there twice")


def test_a_lone_surrogate_is_refused_where_the_form_is_checked() -> None:
    for field in ("email", "mobilePhone", "gender", "birthDay"):
        assert refused({"nick": "a", field: "\ud800"}).path == field


def test_a_number_of_json_stays_exact_in_a_custom_attribute() -> None:
    assert to_json(parse_contact_update(b'{"size":38.50,"big":6.4e2}')) == b'{"big":640,"size":38.50}'


def test_only_allowed_custom_names_pass_when_the_tenant_has_named_them() -> None:
    allowed = frozenset({"shoeSize", "Email"})
    assert sent(parse_contact_update({"shoeSize": 38, "city": "Lund"}, allowed=allowed)) == {
        "shoeSize": 38,
        "city": "Lund",
    }
    assert sent(parse_contact_update({"Email": "x"}, allowed=allowed)) == {"Email": "x"}
    error = refused({"shoesize": 38}, allowed=allowed)
    assert (error.path, error.reason[:13]) == ("shoesize", "unknown field")
    assert refused({"anything": 1}, allowed=frozenset()).path == "anything"
    assert refused({"rfm": 1}, allowed=frozenset({"rfm"})).path == "rfm"


def test_no_error_echoes_the_value() -> None:
    for field in ("email", "mobilePhone", "gender", "birthDay"):
        assert "hemlig" not in str(refused({field: "hemlig"}))


def test_what_is_cleared_is_named() -> None:
    contact = parse_contact_update({"city": None, "careOf": "", "street": "A", "nick": None, "isStaff": False, "n": 0})
    assert set(contact.cleared) == {"careOf", "city", "nick"}


def test_custom_attributes_are_written_in_the_order_of_their_names() -> None:
    first = to_json(parse_contact_update({"b": 1, "a": 2, "city": "x"}))
    assert first == to_json(parse_contact_update({"city": "x", "a": 2, "b": 1})) == b'{"city":"x","a":2,"b":1}'


def test_a_struct_is_checked_and_flattened() -> None:
    contact = ContactUpdate(
        first_name="Elsa",
        care_of=None,
        birth_day=date(1991, 6, 17),
        gender=Gender.FEMALE,
        preferences=Preferences(accepts_sms=False),
        consents=(Consent(id="terms", value=True),),
        attributes={"shoeSize": 38},
    )
    assert parse_contact_update(contact) == contact
    assert sent(contact) == {
        "firstName": "Elsa",
        "careOf": None,
        "birthDay": "1991-06-17",
        "gender": "Female",
        "preferences": {"acceptsSms": False},
        "consents": [{"id": "terms", "value": True}],
        "shoeSize": 38,
    }
    assert refused(ContactUpdate(email="anna")).path == "email"
    assert refused(ContactUpdate(attributes={"rfm": 1})).path == "rfm"
    odd: dict[Any, Any] = {7: 1, "a": 2}
    assert refused(ContactUpdate(attributes=odd)).reason == "expected text as the name of every field"


def test_a_struct_whose_custom_attribute_hides_a_standard_field_is_refused() -> None:
    assert refused(ContactUpdate(city="Lund", attributes={"city": "Malmö"})).path == "city"


def test_a_repr_shows_nothing_of_the_person() -> None:
    assert repr(parse_contact_update({"city": "Lund"})) == "<ContactUpdate>"
    assert repr(read_contact(b'{"id":"c-1","email":"a@b"}')) == "<Contact>"


def test_the_given_dict_is_left_as_it_was() -> None:
    given = {"city": "Lund", "shoeSize": 38}
    parse_contact_update(given)
    assert given == {"city": "Lund", "shoeSize": 38}


def test_a_megabyte_of_text_goes_through() -> None:
    text = "a@" * 500_000
    assert parse_contact_update({"street": text}).street == text
    assert refused({"email": text}).path == "email"


@pytest.mark.parametrize("key", ["mobilePhone", "email", "externalId", "socialSecurityNumber"])
def test_a_new_contact_needs_a_key(key: str) -> None:
    value = "+46700000001" if key == "mobilePhone" else "a@b"
    assert sent(parse_contact_create({"firstName": "Elsa", key: value})) == {"firstName": "Elsa", key: value}
    absent: list[dict[str, Any]] = [{}, {key: None}, {key: ""}]
    for nothing in absent:
        with pytest.raises(InvalidEntry) as caught:
            parse_contact_create(nothing | {"firstName": "Elsa"}, key_attribute=key)
        assert caught.value.path == key
        with pytest.raises(InvalidEntry, match="needs one of the keys"):
            parse_contact_create(nothing | {"firstName": "Elsa"})


def test_another_key_than_the_tenants_is_not_enough() -> None:
    with pytest.raises(InvalidEntry) as caught:
        parse_contact_create({"email": "a@b"}, key_attribute="externalId")
    assert caught.value.path == "externalId"


def test_a_new_contact_may_say_its_type() -> None:
    assert sent(parse_contact_create({"email": "a@b", "contactType": "Contact"}))["contactType"] == "Contact"


@pytest.mark.parametrize("contact_type", ["", "a b", "<x>", "1st", None, 7])
def test_a_contact_type_that_cannot_be_an_element_is_refused(contact_type: object) -> None:
    with pytest.raises(InvalidEntry) as caught:
        parse_contact_create({"email": "a@b", "contactType": contact_type})
    assert caught.value.path == "contactType"


def test_a_contact_type_alone_is_checked_the_same_way() -> None:
    check_contact_type("Member")
    with pytest.raises(InvalidEntry) as caught:
        check_contact_type("not a type")
    assert caught.value.path == "contactType"


NESTED = {
    "id": "c-1",
    "attributes": {"firstName": "Elsa", "contactType": "Member", "age": 35, "shoeSize": 38, "city": None},
    "meta": {"createdOn": "2025-01-01"},
    "preferences": {"acceptsEmail": True},
    "consents": [{"id": "terms", "value": True}],
    "somethingNew": 1,
}
FLAT = {
    "id": "c-1",
    "firstName": "Elsa",
    "contactType": "Member",
    "age": 35,
    "shoeSize": 38,
    "city": None,
    "acceptsEmail": True,
    "meta": {"createdOn": "2025-01-01"},
    "consents": [{"id": "terms", "value": True}],
    "somethingNew": 1,
}


@pytest.mark.parametrize("answer", [NESTED, FLAT], ids=["nested", "flat"])
def test_both_shapes_of_an_answer_give_the_same_contact(answer: dict[str, Any]) -> None:
    contact = read_contact(json.dumps(answer).encode())
    assert contact == read_contact(answer)
    assert (contact.id, contact.first_name, contact.contact_type, contact.city) == ("c-1", "Elsa", "Member", None)
    assert contact.attributes == {"age": 35, "shoeSize": 38, "somethingNew": 1}
    assert contact.preferences == {"acceptsEmail": True}
    assert contact.meta == {"createdOn": "2025-01-01"}
    assert contact.consents == ({"id": "terms", "value": True},)


def test_a_field_is_found_by_its_name_on_the_wire() -> None:
    contact = read_contact({"id": "c-1", "zipCode": "1", "store": 118, "shoeSize": 38})
    assert [contact.value(name) for name in ("zipCode", "store", "shoeSize", "city", "nothing")] == [
        "1",
        118,
        38,
        None,
        None,
    ]


@pytest.mark.parametrize("answer", [b"", b"null", b"[]", b"{}", b'{"id":7}', b"<html>", b"\xff", b'"c-1"'])
def test_an_answer_that_is_no_contact_is_an_error_of_the_call(answer: bytes) -> None:
    with pytest.raises(EngageError):
        read_contact(answer)


@pytest.mark.parametrize(
    "odd", [{"attributes": None}, {"preferences": 7}, {"consents": {}}, {"consents": [7]}, {"meta": []}]
)
def test_parts_of_another_shape_are_passed_over(odd: dict[str, Any]) -> None:
    assert read_contact({"id": "c-1", "city": "Lund"} | odd).city == "Lund"


def test_the_samples_are_right() -> None:
    create = (PAYLOADS / "contact_create.json").read_bytes()
    assert sent(parse_contact_create(create, allowed=frozenset(), key_attribute="email")) == json.loads(create)
    update = (PAYLOADS / "contact_update.json").read_bytes()
    assert sent(parse_contact_update(update, allowed=frozenset())) == json.loads(update)
    custom = (PAYLOADS / "contact_update_custom.json").read_bytes()
    assert parse_contact_update(custom).attributes
    assert sent(parse_contact_update(custom)) == json.loads(custom, parse_float=Decimal)
