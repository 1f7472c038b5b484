"""Receipts: durable, and repeated safely by their `uniqueReceiptId`."""

from __future__ import annotations

from collections.abc import Mapping

from voyado_async.kinds import receipt
from voyado_async.models import Receipt
from voyado_async.resources.writes import OutboxEntry, Writes


class Receipts:
    """`voyado.receipts`"""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes

    async def send(self, content: Receipt | Mapping[str, object] | bytes, *, key: str | None = None) -> OutboxEntry:
        """Write a receipt durably (ref 5). What looks odd about its sums or signs is in the entry's `warnings`; it is
        sent all the same. The `uniqueReceiptId` is the natural key. Raises InvalidEntry, KeyConflict,
        OutboxUnavailable.
        """
        return await self._writes.put(receipt.draft(content, key=key))
