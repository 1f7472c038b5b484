"""Vouchers and definitions of promotions are read tolerantly, of either API version, and exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from voyado_async.errors import EngageError
from voyado_async.models import read_promotion, read_validity, read_vouchers
from voyado_async.models.reading import Money


@pytest.mark.parametrize(
    ("number", "points"), [("voucherNumber", "points"), ("checkNumber", "bonusPoints")], ids=["v3", "v2"]
)
def test_a_page_of_vouchers_is_read_by_the_names_of_either_version(number: str, points: str) -> None:
    page = read_vouchers(
        b'{"count":2,"offset":0,"totalCount":9,"new":1,"items":[{"id":"v-1","%s":"77","name":"Bonus","redeemed":true,'
        b'"redeemedOn":"2025-03-14T09:12:44Z","expiresOn":"2025-12-31T23:59:59+01:00","%s":500.0,'
        b'"value":{"currency":"SEK","amount":50.10},"localValues":[{"currency":"EUR","amount":"4.90"},7],"new":{}},'
        b'{"id":7}]}' % (number.encode(), points.encode())
    )
    first, second = page.items
    assert (page.total_count, page.offset, page.count) == (9, 0, 2)
    assert (first.id, first.voucher_number, first.name, first.redeemed) == ("v-1", "77", "Bonus", True)
    assert first.redeemed_on == datetime(2025, 3, 14, 9, 12, 44, tzinfo=UTC)
    assert first.value == Money("SEK", Decimal("50.10"))
    assert first.local_values == (Money("EUR", Decimal("4.90")),)
    assert str(first.points) == "500.0"
    assert (second.id, second.voucher_number, second.value, second.points) == ("7", None, None, None)
    assert second.redeemed is False
    assert repr(first) == "<Voucher>"


@pytest.mark.parametrize("value", [b"null", b"100", b'"much"', b'{"amount":1}', b'{"currency":"SEK","amount":"x"}'])
def test_a_value_that_is_no_money_is_none(value: bytes) -> None:
    assert read_vouchers(b'{"items":[{"id":"v","value":%s}]}' % value).items[0].value is None


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"items":{}}', b'{"items":[7]}', b'{"items":[{}]}', b"<html>"])
def test_an_answer_that_is_no_page_of_vouchers_is_an_error_of_the_call(answer: bytes) -> None:
    with pytest.raises(EngageError, match=r"^vouchers: "):
        read_vouchers(answer)


@pytest.mark.parametrize(
    ("start", "day"),
    [
        (b'"2025-03-01"', date(2025, 3, 1)),
        (b'"2025-03-01T00:00:00+01:00"', date(2025, 3, 1)),
        (b'"9999-12-30"', date(9999, 12, 30)),
        (b'"01/03/2025"', None),
        (b'""', None),
        (b"null", None),
        (b"7", None),
    ],
)
def test_a_day_is_read_with_a_time_behind_it_or_none(start: bytes, day: date | None) -> None:
    validity = read_validity(b'{"startDate":%s,"assignedValidity":null,"new":1}' % start)
    assert (validity.start_date, validity.end_date, validity.assigned_validity) == (day, None, None)


def test_a_definition_is_read_with_words_that_are_newer_than_this() -> None:
    read = read_promotion(
        b'{"id":"p-1","status":"Paused","validity":{"startDate":"2025-03-01","assignedValidity":{"unit":"Weeks",'
        b'"amount":2}},"presentation":{"heading":"Spring","imageUrl":"https://x"},"redemptionChannels":[{"type":"APP",'
        b'"valueType":"POINTS","value":"7"}],"new":true}'
    )
    assert (read.id, read.name, read.status, read.external_id) == ("p-1", None, "Paused", None)
    assert read.validity is not None
    assert read.validity.assigned_validity is not None
    assert (read.validity.assigned_validity.unit, read.validity.assigned_validity.amount) == ("Weeks", 2)
    assert read.redemption_channels is not None
    assert (read.redemption_channels[0].type, read.redemption_channels[0].text) == ("APP", "7")
    with pytest.raises(EngageError, match=r"^promotions.get: "):
        read_promotion(b'{"name":"no id"}')
