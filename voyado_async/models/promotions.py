"""Promotions of a contact as Engage answers them, and the redemption of one (ref 3)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from voyado_async.models.decode import Strict
from voyado_async.models.payload import Payload
from voyado_async.models.reading import Money, Reader, ReadMoment, read_money, read_number


class Channel(StrEnum):
    """Where a promotion is redeemed (ref 3.3)."""

    POS = "POS"
    ECOM = "ECOM"
    OTHER = "OTHER"


class ValueType(StrEnum):
    """What a promotion's value is (ref 3.2)."""

    PERCENT = "PERCENT"
    MONEY = "MONEY"
    EXTERNALOFFER = "EXTERNALOFFER"
    MANUAL = "MANUAL"
    SWIPE = "SWIPE"


class RedemptionChannel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a promotion is worth in one channel.

    `type` and `value_type` are Engage's words: those of `Channel` and `ValueType`, or newer ones. `value` is as
    answered; read it by `percent`, `money` or `text`, of which at most one is not None.
    """

    type: str
    value_type: str | None = None
    value: Any = None
    local_values: Any = None
    instruction: str | None = None

    @property
    def percent(self) -> Decimal | None:
        """The percentage of a PERCENT."""
        return read_number(self.value) if self.value_type == ValueType.PERCENT else None

    @property
    def money(self) -> Money | None:
        """The amount of a MONEY, in the group's currency."""
        return read_money(self.value) if self.value_type == ValueType.MONEY else None

    @property
    def local_money(self) -> tuple[Money, ...]:
        """The amounts of a MONEY in other currencies."""
        values = self.local_values if isinstance(self.local_values, list) else []
        return tuple(money for money in map(read_money, values) if money is not None)

    @property
    def text(self) -> str | None:
        """The code or instruction of any other type."""
        known = self.value_type in (ValueType.PERCENT, ValueType.MONEY)
        return self.value if isinstance(self.value, str) and not known else None


class PromotionAssignment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One promotion for one contact. `id` is what redeems it; `promotion_id` is the definition (ref 3.1).

    A time that is None was absent, unreadable, or without its offset.
    """

    id: str
    promotion_id: str | None = None
    external_id: str | None = None
    type: str | None = None
    name: str | None = None
    expires_on: ReadMoment = None
    heading: str | None = None
    description: str | None = None
    image_url: str | None = None
    link: str | None = None
    redeemed: bool = False
    redeemed_on: ReadMoment = None
    redemption_channels: tuple[RedemptionChannel, ...] | None = None

    def channel(self, channel: str) -> RedemptionChannel | None:
        """What the promotion is worth in that channel; None if it cannot be redeemed there."""
        return next((offer for offer in self.redemption_channels or () if offer.type == channel), None)


_ASSIGNMENTS: Reader[tuple[PromotionAssignment, ...]] = Reader("assignments", tuple[PromotionAssignment, ...])


def read_assignments(text: bytes) -> tuple[PromotionAssignment, ...]:
    """The assignments of an answer (a JSON array, ref 3.2). Raises EngageError if it is none."""
    return _ASSIGNMENTS.read(text)


Identity = Annotated[str, Meta(pattern=r"\S")]


class RedeemBy(StrEnum):
    """Which of Engage's two calls redeems (ref 3.3)."""

    ASSIGNMENT = "assignment"
    CODE = "code"


class Redeem(Payload, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """The redemption of one assignment. The contact is not sent; it is what lets us look up an unknown outcome.

    The id of a code is in practice that of the assignment (ref 3.3, inferred).
    """

    assignment_id: Identity
    channel: Channel
    contact_id: Identity | None = None
    by: RedeemBy = RedeemBy.ASSIGNMENT


class RedeemRequest(Payload, frozen=True, kw_only=True, rename="camel"):
    """The body of the redeem call (ref 3.3)."""

    redemption_channel: Channel


_REDEEM = Strict(Redeem, {"channel": f"expected one of {', '.join(Channel)}"})


def parse_redeem(content: Redeem | Mapping[str, object] | bytes) -> Redeem:
    """The redemption that `content` is. Raises InvalidEntry with the path of the first wrong field."""
    return checked_redeem(content)[0]


def checked_redeem(content: Redeem | Mapping[str, object] | bytes) -> tuple[Redeem, bytes]:
    """As `parse_redeem`, with the redemption's JSON."""
    return _REDEEM.parse(content)
