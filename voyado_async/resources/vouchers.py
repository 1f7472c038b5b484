"""Reward vouchers: durable redemptions, and what a contact has (ref 3.6)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from voyado_async.api.reads import Reads, marked
from voyado_async.api.routes import Routes, lacking
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import InvalidEntry
from voyado_async.kinds import voucher_redeem
from voyado_async.kinds.address import of_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.paging import COUNT, page_params
from voyado_async.models.vouchers import VoucherPage, read_vouchers
from voyado_async.outbox.store import Outbox
from voyado_async.resources.writes import OutboxEntry, Writes


def redemption(routes: Routes, voucher_id: str, *, contact_id: str | None, key: str | None = None) -> Draft:
    """The draft of a redemption that this API version can express. Raises InvalidEntry."""
    draft = voucher_redeem.draft(voucher_id, contact_id=contact_id, key=key)
    ids = {"id": voucher_id} | ({} if contact_id is None else {"contactId": contact_id})
    missing = lacking(routes, Call(Operation.REDEEM_VOUCHER, ids=tuple(ids.items())))
    if missing:
        raise InvalidEntry(min(missing), "missing: this API version names the contact of a voucher (ref 3.6)")
    return draft


class KnownVouchers(VoucherPage, frozen=True, kw_only=True):
    """A page as Engage answered it. `as_of` is when it was asked (ms), `age` how long ago that was (seconds). `stale`:
    Engage gives no answer now, this is the last one.
    """

    stale: bool
    as_of: int
    age: float


class Vouchers:
    """`voyado.vouchers`. A voucher whose redemption waits in this outbox shows as redeemed, so that nobody spends it
    twice during an outage. While Engage is down, or refuses the key, the lists are the last known ones, also from
    before a restart, with `stale` set and their `age` in seconds."""

    def __init__(self, writes: Writes, outbox: Outbox, reads: Callable[[], Reads], routes: Routes) -> None:
        self._writes = writes
        self._outbox = outbox
        self._reads = reads
        self._routes = routes

    async def redeem(self, voucher_id: str, *, contact_id: str | None = None, key: str | None = None) -> OutboxEntry:
        """Write the redemption of one voucher durably (ref 3.6).

        Name the contact wherever it is known: only then can an attempt with an unknown outcome be looked up before it
        is repeated, and API version 2 needs it. The voucher is the natural key: calling again with the same content
        returns the same entry. It has no form in a file: in a long outage it waits for the API.
        Raises InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        return await self._writes.put(redemption(self._routes, voucher_id, contact_id=contact_id, key=key))

    async def available(self, contact_id: str, *, offset: int = 0, count: int = COUNT) -> KnownVouchers:
        """A page of those that can be used (ref 3.6). Check `redeemed`: it may be spent already and not be delivered
        yet.

        Raises EngageUnavailable (AccessRefused) where nothing is known, EngageNotFound, EngageRefused, InvalidEntry;
        OutboxUnavailable where it cannot be read what waits.
        """
        return await self._page("vouchers.available", Operation.AVAILABLE_VOUCHERS, contact_id, offset, count)

    async def list(self, contact_id: str, *, offset: int = 0, count: int = COUNT) -> KnownVouchers:
        """A page of all of them (ref 3.6). Raises as `available`."""
        return await self._page("vouchers.list", Operation.LIST_VOUCHERS, contact_id, offset, count)

    async def redeemed(self, contact_id: str, *, offset: int = 0, count: int = COUNT) -> KnownVouchers:
        """A page of those that Engage knows to be redeemed (ref 3.6). Raises as `available`."""
        return await self._page("vouchers.redeemed", Operation.REDEEMED_VOUCHERS, contact_id, offset, count)

    async def _page(self, what: str, operation: Operation, contact_id: str, offset: int, count: int) -> KnownVouchers:
        named = of_id(contact_id)
        call = Call(operation, ids=(("contactId", named.value),), params=page_params(offset, count))
        known = await self._reads().ask(what, call, read_vouchers, contact_id=contact_id, kept=True)
        page = marked(KnownVouchers, known)
        # What was ever redeemed from here is redeemed in an old answer, whatever the clock has done meanwhile.
        since = 0 if page.stale else page.as_of
        ours = await self._outbox.pending_redeems([each.id for each in page.items], since, Kind.VOUCHER_REDEEM)
        items = tuple(msgspec.structs.replace(each, redeemed=True) if each.id in ours else each for each in page.items)
        return msgspec.structs.replace(page, items=items)
