"""The purchase history that Engage answers (ref 5.4). What was just sent is not in it before Engage's next import."""

from __future__ import annotations

from typing import Any

from voyado_async.models.payload import Payload
from voyado_async.models.reading import Reader, ReadMoment, ReadNumber, ReadText


class Transaction(Payload, frozen=True, kw_only=True, rename="camel"):
    """One stored receipt. `external_id` is most likely the receipt's `unique_receipt_id` (inferred).

    `line_items` are as answered, numbers exact. A time or sum that is None was absent or unreadable.
    """

    id: ReadText = None
    transaction_number: ReadText = None
    external_id: ReadText = None
    created_date: ReadMoment = None
    store_name: str | None = None
    store_type: str | None = None
    number_of_items: ReadNumber = None
    net_price_sum: ReadNumber = None
    local_net_price_sum: ReadNumber = None
    local_currency: str | None = None
    group_currency: str | None = None
    line_items: tuple[dict[str, Any], ...] | None = None


class TransactionPage(Payload, frozen=True, kw_only=True, rename="camel"):
    """A page of the history: `items` from `offset` on, of `total_count` in all."""

    items: tuple[Transaction, ...]
    total_count: int | None = None
    offset: int | None = None
    count: int | None = None


_PAGE: Reader[TransactionPage] = Reader("transactions", TransactionPage)


def read_transactions(text: bytes) -> TransactionPage:
    """The page of an answer. Raises EngageError if it is none."""
    return _PAGE.read(text)
