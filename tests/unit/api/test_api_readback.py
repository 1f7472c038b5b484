"""What of an update a contact shows, in whatever spelling Engage has stored it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from voyado_async.api.readback import missing
from voyado_async.models.contacts import read_contact


@pytest.mark.parametrize(
    ("name", "sent", "seen"),
    [
        ("city", "Lund", "Lund"),
        ("city", " Lund ", "Lund"),
        ("email", "Anna@Example.com", "anna@example.com"),
        ("mobilePhone", "+46 70-000 00 01", "+46700000001"),
        ("socialSecurityNumber", "19880409-1234", "198804091234"),
        ("birthDay", "1988-04-09", "1988-04-09T00:00:00+02:00"),
        ("city", None, None),
        ("city", "", None),
        ("shoeSize", Decimal("42.50"), Decimal("42.5")),
        ("shoeSize", 42, "42"),
        ("shoeSize", "43", 43),
        ("club", True, "True"),
        ("club", False, False),
    ],
)
def test_the_same_value_in_another_spelling_has_arrived(name: str, sent: object, seen: object) -> None:
    assert missing({name: sent}, read_contact({"id": "1", "attributes": {name: seen}})) == {}


@pytest.mark.parametrize(
    ("name", "sent", "seen"),
    [
        ("city", "Lund", "lund"),
        ("city", "Lund", None),
        ("city", None, "Lund"),
        ("mobilePhone", "+46700000001", "+46700000002"),
        ("birthDay", "1988-04-09", "1988-04-10"),
        ("shoeSize", 42, 43),
        ("shoeSize", 42, "large"),
        ("club", True, None),
        ("club", True, False),
        ("consents", [{"id": "news", "value": True}], None),
    ],
)
def test_another_value_is_sent_again(name: str, sent: object, seen: object) -> None:
    assert missing({name: sent}, read_contact({"id": "1", "attributes": {name: seen}})) == {name: sent}


def test_preferences_are_compared_one_by_one() -> None:
    contact = read_contact({"id": "1", "preferences": {"acceptsEmail": True, "acceptsSms": True}})
    changes = {"preferences": {"acceptsEmail": True, "acceptsSms": False, "acceptsPostal": False}}
    assert missing(changes, contact) == {"preferences": {"acceptsSms": False, "acceptsPostal": False}}
