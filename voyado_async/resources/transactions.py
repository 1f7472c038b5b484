"""Transactions: the purchase history of a contact (ref 5.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from voyado_async.api.direct import Direct
from voyado_async.kinds.address import address
from voyado_async.kinds.call import Call, Operation
from voyado_async.models import Transaction, TransactionPage, read_transactions
from voyado_async.models.paging import COUNT, next_offset, page_params


class Transactions:
    """`voyado.transactions`. What was just sent is not in it before Engage's next import (15 minutes, ref 5.1)."""

    def __init__(self, direct: Callable[[], Direct]) -> None:
        self._direct = direct

    async def list(self, contact_id: str, *, offset: int = 0, count: int = COUNT) -> TransactionPage:
        """One page of the contact's receipts. Raises EngageUnavailable, EngageNotFound, EngageRefused, InvalidEntry."""
        named = address(contact_id=contact_id)
        call = Call(Operation.LIST_TRANSACTIONS, ids=(("contactId", named.value),), params=page_params(offset, count))
        return await self._direct().ask("transactions.list", call, read_transactions)

    async def iterate(self, contact_id: str, *, page_size: int = COUNT) -> AsyncIterator[Transaction]:
        """All of the contact's receipts, each once, page by page as they are taken. Raises as `list`, also in between.

        A receipt that is stored meanwhile may be left out; it moves the others to later pages, and they are not told
        twice.
        """
        told: set[str] = set()
        offset: int | None = 0
        while offset is not None:
            page = await self.list(contact_id, offset=offset, count=page_size)
            new = [each for each in page.items if each.id is None or each.id not in told]
            told.update(each.id for each in new if each.id is not None)
            for each in new:
                yield each
            # Where no total is told, a page of old items alone ends it: the offset was not heeded.
            ended = page.total_count is None and not new
            offset = None if ended else next_offset(offset, len(page.items), page.total_count)
