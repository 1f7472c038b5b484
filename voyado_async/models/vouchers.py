"""Reward vouchers, formerly bonus checks, as Engage answers them, and the redemption of one (ref 3.6)."""

from __future__ import annotations

from typing import Any

import msgspec

from voyado_async.models.payload import Payload
from voyado_async.models.reading import Money, Reader, ReadMoment, ReadNumber, ReadText, read_money


class Voucher(Payload, frozen=True, kw_only=True):
    """One voucher of one contact. `id` is what redeems it, `voucher_number` what stands on it (ref 5.2: `checkNumber`).

    A time or number that is None was absent or unreadable.
    """

    id: str
    voucher_number: str | None = None
    name: str | None = None
    redeemed: bool = False
    redeemed_on: ReadMoment = None
    expires_on: ReadMoment = None
    value: Money | None = None
    local_values: tuple[Money, ...] = ()
    points: ReadNumber = None


class VoucherPage(Payload, frozen=True, kw_only=True):
    """A page of vouchers: `items` from `offset` on, of `total_count` in all."""

    items: tuple[Voucher, ...]
    total_count: int | None = None
    offset: int | None = None
    count: int | None = None


class _Answered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Both versions' words: what v3 calls `voucherNumber` and `points`, v2 calls `checkNumber` and `bonusPoints`."""

    id: ReadText
    voucher_number: ReadText = None
    check_number: ReadText = None
    name: ReadText = None
    redeemed: bool | None = None
    redeemed_on: ReadMoment = None
    expires_on: ReadMoment = None
    value: Any = None
    local_values: Any = None
    points: ReadNumber = None
    bonus_points: ReadNumber = None

    def voucher(self) -> Voucher:
        local = self.local_values if isinstance(self.local_values, list) else []
        return Voucher(
            id=self.id or "",
            voucher_number=self.check_number if self.voucher_number is None else self.voucher_number,
            name=self.name,
            redeemed=bool(self.redeemed),
            redeemed_on=self.redeemed_on,
            expires_on=self.expires_on,
            value=read_money(self.value),
            local_values=tuple(money for money in map(read_money, local) if money is not None),
            points=self.bonus_points if self.points is None else self.points,
        )


class _Page(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[_Answered, ...]
    total_count: int | None = None
    offset: int | None = None
    count: int | None = None


_PAGE: Reader[_Page] = Reader("vouchers", _Page)


def read_vouchers(text: bytes) -> VoucherPage:
    """The page of an answer, of either API version. Raises EngageError if it is none."""
    page = _PAGE.read(text)
    return VoucherPage(
        items=tuple(each.voucher() for each in page.items),
        total_count=page.total_count,
        offset=page.offset,
        count=page.count,
    )
