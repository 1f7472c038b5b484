"""Multichannel promotions as they are defined, not as a contact has them (ref 3.5).

What is sent is checked strictly: days without a time, an end day or a span per assignment but not both, and values
that are text whatever they stand for. What Engage answers is read tolerantly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from voyado_async.errors import EngageError, InvalidEntry
from voyado_async.models.decode import Strict
from voyado_async.models.money import Exact
from voyado_async.models.payload import Payload
from voyado_async.models.promotions import Channel, RedemptionChannel, ValueType
from voyado_async.models.reading import ReadDay, Reader

LARGEST_END = date(9999, 12, 30)
"""The largest end day that Engage takes (ref 3.5): what never ends ends then."""

Name = Annotated[str, Meta(pattern=r"\S")]
ExternalId = Annotated[str, Meta(pattern=r"\S", max_length=450)]

_WHOLE = re.compile(r"[0-9]+")
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")


class ValidityUnit(StrEnum):
    """What the span of an assignment is counted in."""

    MONTHS = "Months"
    DAYS = "Days"


class _Sent(Payload, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of a definition. What is None is not sent."""


class AssignedValidity(_Sent, frozen=True, kw_only=True):
    """How long an assignment is valid, from the day on which it is assigned."""

    unit: ValidityUnit
    amount: Annotated[int, Meta(ge=1)]


class Validity(_Sent, frozen=True, kw_only=True):
    """When a promotion can be used: from a day on, to an end day or for a span per assignment."""

    start_date: date
    end_date: date | None = None
    assigned_validity: AssignedValidity | None = None


class Presentation(_Sent, frozen=True, kw_only=True):
    """What the customer reads."""

    heading: str | None = None
    description: str | None = None
    link: str | None = None


class LocalValue(_Sent, frozen=True, kw_only=True):
    """The amount of a MONEY in another currency than the group's."""

    currency: Name
    amount: Exact


class ChannelOffer(_Sent, frozen=True, kw_only=True):
    """What the promotion is worth in one channel. `value` is text for every `value_type`: ``"20"``, ``"20.5"``."""

    type: Channel
    value_type: ValueType
    value: str
    local_values: tuple[LocalValue, ...] | None = None
    instruction: str | None = None


class PromotionDefinition(_Sent, frozen=True, kw_only=True):
    """A promotion to be created, or the whole of a draft that takes the place of the one that is there."""

    name: Name
    validity: Validity
    external_id: ExternalId | None = None
    presentation: Presentation | None = None
    redemption_channels: tuple[ChannelOffer, ...] | None = None


class PromotionSpan(Payload, frozen=True, kw_only=True):
    """The span of an assignment as answered."""

    unit: str | None = None
    amount: int | None = None


class PromotionValidity(Payload, frozen=True, kw_only=True, rename="camel"):
    """The validity as answered. A day that is None was absent or unreadable."""

    start_date: ReadDay = None
    end_date: ReadDay = None
    assigned_validity: PromotionSpan | None = None


class PromotionText(Payload, frozen=True, kw_only=True, rename="camel"):
    """The presentation as answered."""

    heading: str | None = None
    description: str | None = None
    link: str | None = None
    image_url: str | None = None


class Promotion(Payload, frozen=True, kw_only=True, rename="camel"):
    """A promotion's definition as Engage answers it. `status`: Draft, Scheduled, Active, Temporary, Ended (ref 3.5)."""

    id: str
    name: str | None = None
    status: str | None = None
    external_id: str | None = None
    validity: PromotionValidity | None = None
    presentation: PromotionText | None = None
    redemption_channels: tuple[RedemptionChannel, ...] | None = None


class _Created(Payload, frozen=True):
    id: str


_DAY = "expected a day as YYYY-MM-DD, without a time"
_FORMS = {
    "redemptionChannels[].type": f"expected one of {', '.join(Channel)}",
    "redemptionChannels[].valueType": f"expected one of {', '.join(ValueType)}",
    "externalId": "must not be empty, nor longer than 450 characters",
}
_VALIDITY_FORMS = {
    "startDate": _DAY,
    "endDate": _DAY,
    "assignedValidity.unit": f"expected one of {', '.join(ValidityUnit)}",
    "assignedValidity.amount": "expected 1 or more",
}
_DEFINITION = Strict(PromotionDefinition, _FORMS | {f"validity.{path}": form for path, form in _VALIDITY_FORMS.items()})
_VALIDITY = Strict(Validity, _VALIDITY_FORMS)

_PROMOTION: Reader[Promotion] = Reader("promotions.get", Promotion)
_READ_VALIDITY: Reader[PromotionValidity] = Reader("promotions.get_validity", PromotionValidity)
_NEW: Reader[_Created | str] = Reader("promotions.create", _Created | str)


def parse_definition(content: PromotionDefinition | Mapping[str, object] | bytes) -> PromotionDefinition:
    """The definition that `content` is. Raises InvalidEntry with the path of the first wrong field."""
    definition, _ = _DEFINITION.parse(content)
    _check_validity(definition.validity, "validity")
    for place, offer in enumerate(definition.redemption_channels or ()):
        _check_offer(offer, f"redemptionChannels[{place}]")
    return definition


def parse_validity(content: Validity | Mapping[str, object] | bytes) -> Validity:
    """The validity that `content` is. Raises InvalidEntry with the path of the first wrong field."""
    validity, _ = _VALIDITY.parse(content)
    _check_validity(validity, "")
    return validity


def _check_validity(validity: Validity, path: str) -> None:
    if validity.end_date is not None and validity.assigned_validity is not None:
        raise InvalidEntry(path, "takes endDate or assignedValidity, not both")
    if validity.end_date is not None and validity.end_date > LARGEST_END:
        raise InvalidEntry(f"{path}.endDate".lstrip("."), f"is after {LARGEST_END}, the largest that Engage takes")


def _check_offer(offer: ChannelOffer, path: str) -> None:
    match offer.value_type:
        case ValueType.PERCENT if not _WHOLE.fullmatch(offer.value):
            raise InvalidEntry(f"{path}.value", "expected a whole number as text for PERCENT")
        case ValueType.MONEY if not _AMOUNT.fullmatch(offer.value):
            raise InvalidEntry(f"{path}.value", "expected an amount as text for MONEY, with a dot")
        case ValueType.MANUAL if offer.type is not Channel.POS:
            raise InvalidEntry(f"{path}.valueType", "MANUAL is for POS only (ref 3.2)")


def read_promotion(text: bytes) -> Promotion:
    """The definition of an answer. Raises EngageError if it is none."""
    return _PROMOTION.read(text)


def read_validity(text: bytes) -> PromotionValidity:
    """The validity of an answer. Raises EngageError if it is none."""
    return _READ_VALIDITY.read(text)


def read_created(text: bytes) -> str:
    """The id of a new promotion, in an object or by itself. Raises EngageError if there is none."""
    answer = _NEW.read(text)
    promotion_id = answer if isinstance(answer, str) else answer.id
    if not promotion_id.strip():
        raise EngageError("promotions.create: the answer holds no id")
    return promotion_id
