"""Transactions: the purchase history of a contact (ref 5.4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from voyado_async.api.direct import Direct
from voyado_async.api.reads import Reads, marked
from voyado_async.kinds.address import of_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.models import Transaction, TransactionPage, read_transactions
from voyado_async.models.paging import COUNT, next_offset, page_params


class KnownTransactions(TransactionPage, frozen=True, kw_only=True):
    """A page as Engage answered it. `as_of` is when it was asked (ms), `age` how long ago that was (seconds). `stale`:
    Engage gives no answer now, this is the last one.
    """

    stale: bool
    as_of: int
    age: float


class Transactions:
    """`voyado.transactions`. What was just sent is not in it before Engage's next import (15 minutes, ref 5.1)."""

    def __init__(self, reads: Callable[[], Reads], direct: Callable[[], Direct]) -> None:
        self._reads = reads
        self._direct = direct

    async def list(self, contact_id: str, *, offset: int = 0, count: int = COUNT) -> KnownTransactions:
        """One page of the contact's receipts (ref 5.4). While Engage is down, or refuses the key, the last known one,
        with `stale` set and its `age` in seconds. Raises EngageUnavailable (AccessRefused) where nothing is known,
        EngageNotFound, EngageRefused, InvalidEntry.
        """
        call = _page_of(contact_id, offset, count)
        known = await self._reads().ask("transactions.list", call, read_transactions, contact_id=contact_id)
        return marked(KnownTransactions, known)

    async def iterate(self, contact_id: str, *, page_size: int = COUNT) -> AsyncIterator[Transaction]:
        """All of the contact's receipts (ref 5.4), each once, page by page as they are taken, from Engage itself and
        never from memory: pages of different ages make no history. Raises EngageUnavailable, EngageNotFound,
        EngageRefused, InvalidEntry, also in between.

        A receipt that is stored meanwhile may be left out; it moves the others to later pages, and they are not told
        twice.
        """
        told: set[str] = set()
        offset: int | None = 0
        while offset is not None:
            call = _page_of(contact_id, offset, page_size)
            page = await self._direct().ask("transactions.list", call, read_transactions)
            new = [each for each in page.items if each.id is None or each.id not in told]
            told.update(each.id for each in new if each.id is not None)
            for each in new:
                yield each
            # Where no total is told, a page of old items alone ends it: the offset was not heeded.
            ended = page.total_count is None and not new
            offset = None if ended else next_offset(offset, len(page.items), page.total_count)


def _page_of(contact_id: str, offset: int, count: int) -> Call:
    named = of_id(contact_id)
    return Call(Operation.LIST_TRANSACTIONS, ids=(("contactId", named.value),), params=page_params(offset, count))
