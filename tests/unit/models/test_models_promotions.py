"""Assignments are read whatever new words they hold; a redemption is checked; and the purchase history."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from voyado_async.errors import EngageError, InvalidEntry
from voyado_async.models import (
    Channel,
    Money,
    Redeem,
    RedeemRequest,
    RedemptionChannel,
    parse_redeem,
    read_assignments,
    to_json,
)

PAYLOADS = Path(__file__).parents[3] / "samples" / "payloads"


def assignment(**fields: Any) -> bytes:
    return json.dumps([{"id": "a-1"} | fields]).encode()


def test_an_assignment_is_read_whole() -> None:
    (offer,) = read_assignments(
        assignment(
            promotionId="p-1",
            externalId=None,
            type="Multichannel",
            name="20 %",
            expiresOn="2026-11-30T23:59:59+01:00",
            heading=None,
            redeemed=True,
            redeemedOn="2026-10-14T09:12:40.1834500+02:00",
            imageUrl="https://img.example.com/1.jpg",
            redemptionChannels=[{"type": "POS", "valueType": "PERCENT", "value": 20, "instruction": None}],
            somethingNew={"a": 1},
        )
    )
    assert (offer.id, offer.promotion_id, offer.redeemed, offer.image_url) == (
        "a-1",
        "p-1",
        True,
        "https://img.example.com/1.jpg",
    )
    assert offer.redeemed_on == datetime.fromisoformat("2026-10-14T09:12:40.183450+02:00")
    assert offer.expires_on is not None
    assert offer.expires_on.isoformat() == "2026-11-30T23:59:59+01:00"
    channel = offer.channel(Channel.POS)
    assert channel is not None
    assert channel.percent == 20
    assert offer.channel("ECOM") is None


@pytest.mark.parametrize("time", [None, "", "soon", "2026-10-14T09:12:40", 7, "0001-01-01T00:00:00"])
def test_a_time_that_cannot_be_compared_is_none(time: object) -> None:
    assert read_assignments(assignment(redeemed=True, redeemedOn=time))[0].redeemed_on is None


@pytest.mark.parametrize(
    ("channel", "percent", "money", "text"),
    [
        ({"valueType": "PERCENT", "value": 20}, Decimal(20), None, None),
        ({"valueType": "PERCENT", "value": "12.5"}, Decimal("12.5"), None, None),
        ({"valueType": "PERCENT", "value": "much"}, None, None, None),
        ({"valueType": "PERCENT", "value": True}, None, None, None),
        ({"valueType": "PERCENT", "value": "NaN"}, None, None, None),
        (
            {"valueType": "MONEY", "value": {"currency": "SEK", "amount": 50.10}},
            None,
            Money("SEK", Decimal("50.1")),
            None,
        ),
        ({"valueType": "MONEY", "value": {"currency": "SEK"}}, None, None, None),
        ({"valueType": "MONEY", "value": "50"}, None, None, None),
        ({"valueType": "EXTERNALOFFER", "value": "CODE"}, None, None, "CODE"),
        ({"valueType": "MANUAL", "value": "say hello"}, None, None, "say hello"),
        ({"valueType": "SWIPE", "value": "swipe"}, None, None, "swipe"),
        ({"valueType": "HOLOGRAM", "value": "new"}, None, None, "new"),
        ({"valueType": "HOLOGRAM", "value": {"x": 1}}, None, None, None),
        ({"value": None}, None, None, None),
    ],
)
def test_a_value_is_read_by_its_type(
    channel: dict[str, Any], percent: Decimal | None, money: Money | None, text: str | None
) -> None:
    (offer,) = read_assignments(assignment(redemptionChannels=[{"type": "KIOSK"} | channel]))
    read = offer.channel("KIOSK")
    assert isinstance(read, RedemptionChannel)
    assert (read.percent, read.money, read.text) == (percent, money, text)


def test_amounts_in_other_currencies_are_read_exactly() -> None:
    text = b'[{"id":"a","redemptionChannels":[{"type":"POS","localValues":[{"currency":"NOK","amount":50.10},7]}]}]'
    channel = read_assignments(text)[0].channel("POS")
    assert channel is not None
    assert [str(money.amount) for money in channel.local_money] == ["50.10"]


def test_no_assignments_are_an_empty_answer() -> None:
    assert read_assignments(b"[]") == ()
    assert read_assignments(assignment(redemptionChannels=None))[0].channel("POS") is None


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"{}", b"[{}]", b'[{"id":null}]', b'[{"id":"hemlig","redeemed":"hemlig"}]', b"<html>", b"\xff"],
)
def test_an_answer_of_another_shape_is_an_error_of_the_call_that_tells_no_value(answer: bytes) -> None:
    with pytest.raises(EngageError) as caught:
        read_assignments(answer)
    assert "hemlig" not in str(caught.value)


@pytest.mark.parametrize("channel", ["POS", "ECOM", "OTHER"])
def test_a_redemption_is_parsed_and_its_request_written(channel: str) -> None:
    redeem = parse_redeem({"assignmentId": "a-1", "channel": channel})
    assert redeem == Redeem(assignment_id="a-1", channel=Channel(channel))
    assert to_json(redeem) == f'{{"assignmentId":"a-1","channel":"{channel}"}}'.encode()
    assert parse_redeem(to_json(redeem)) == redeem == parse_redeem(redeem)
    assert to_json(RedeemRequest(redemption_channel=redeem.channel)) == f'{{"redemptionChannel":"{channel}"}}'.encode()


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"channel": "POS"}, "assignmentId", "missing"),
        ({"assignmentId": "a-1"}, "channel", "missing"),
        ({"assignmentId": "", "channel": "POS"}, "assignmentId", "must not be empty"),
        ({"assignmentId": 7, "channel": "POS"}, "assignmentId", "expected str, got int"),
        ({"assignmentId": "a-1", "channel": "pos"}, "channel", "expected one of POS, ECOM, OTHER"),
        ({"assignmentId": "a-1", "channel": "POS", "contactId": " "}, "contactId", "must not be empty"),
        ({"assignmentId": "a-1", "channel": "POS", "store": "1"}, "store", "unknown field"),
        ({"assignmentId": "a\x01", "channel": "POS"}, "assignmentId", "holds a character that XML cannot carry"),
    ],
)
def test_a_wrong_redemption_is_refused_with_its_path(fields: dict[str, Any], path: str, reason: str) -> None:
    with pytest.raises(InvalidEntry) as caught:
        parse_redeem(fields)
    assert (caught.value.path, caught.value.reason) == (path, reason)


def test_the_sample_is_right() -> None:
    text = (PAYLOADS / "redeem.json").read_bytes()
    assert json.loads(to_json(parse_redeem(text))) == json.loads(text)
