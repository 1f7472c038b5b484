"""Promotions: durable redemptions, the assignments that a customer can use now, and the definitions behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from voyado_async.api.direct import Direct
from voyado_async.api.reads import Assignments, Reads
from voyado_async.errors import InvalidEntry, OutboxUnavailable
from voyado_async.kinds import redeem
from voyado_async.kinds.address import checked_id, of_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.models import (
    Promotion,
    PromotionDefinition,
    PromotionValidity,
    RedeemBy,
    Validity,
    definitions,
    to_json,
)
from voyado_async.outbox.store import Outbox
from voyado_async.resources.writes import OutboxEntry, Writes


class Promotions:
    """`voyado.promotions`"""

    def __init__(
        self, writes: Writes, outbox: Outbox, reads: Callable[[], Reads], direct: Callable[[], Direct]
    ) -> None:
        self._writes = writes
        self._outbox = outbox
        self._reads = reads
        self._direct = direct

    async def redeem(
        self, assignment_id: str, *, channel: str, contact_id: str | None = None, key: str | None = None
    ) -> OutboxEntry:
        """Write the redemption of one assignment durably (ref 3.3). `channel` is POS, ECOM or OTHER.

        Name the contact wherever it is known: only then can an attempt with an unknown outcome be looked up before it
        is repeated. The assignment is the natural key: calling again with the same content returns the same entry.
        Raises InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        return await self._writes.put(redeem.draft(assignment_id, channel=channel, contact_id=contact_id, key=key))

    async def redeem_code(
        self, code_id: str, *, channel: str, contact_id: str | None = None, key: str | None = None
    ) -> OutboxEntry:
        """Write the redemption of a code or a mobile swipe durably, by Engage's call for those (ref 3.3).

        The id is the natural key, and shared with `redeem`: in practice it is the assignment's (inferred), so it is
        never redeemed in both ways. A code that may be used again needs a `key` of its own each time. Name the contact
        wherever it is known, as in `redeem`. Raises InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        return await self._writes.put(
            redeem.draft(code_id, channel=channel, contact_id=contact_id, by=RedeemBy.CODE, key=key)
        )

    async def assignments(self, contact_id: str, *, channel: str | None = None) -> Assignments:
        """The contact's assignments (ref 3.2), redeemed ones included: check `redeemed`.

        One whose redemption waits in this outbox, or left it by file, shows as redeemed, so that nobody spends it twice
        during an outage. While Engage is down, or refuses the key, these are the last known ones, also from before a
        restart, with `stale` set and their `age` in seconds. Raises EngageUnavailable (AccessRefused) where nothing is
        known, EngageNotFound (`ContactNotFound`), EngageRefused, InvalidEntry; OutboxUnavailable where it cannot be
        read what waits.
        """
        found = await self._reads().assignments(contact_id, channel)
        # What was ever redeemed from here is redeemed in an old answer, whatever the clock has done meanwhile.
        since = 0 if found.stale else found.as_of
        ours = await self._outbox.pending_redeems([assignment.id for assignment in found], since)
        return found.with_items(msgspec.structs.replace(a, redeemed=True) if a.id in ours else a for a in found)

    async def assign(self, contact_id: str, promotion_id: str) -> None:
        """Give a contact a promotion (ref 3.4). Calling again gives it once more, so it is never repeated by itself:
        after OutcomeUnknown look at `assignments` first.

        Raises InvalidEntry, EngageUnavailable, EngageNotFound, EngageConflict (`PromotionExpired`), EngageRefused.
        """
        named = of_id(contact_id)
        content = {"contactId": named.value, "promotionId": checked_id("promotionId", promotion_id)}
        call = Call(Operation.ASSIGN, ids=tuple(content.items()), body=to_json(content))
        try:
            await self._direct().write("promotions.assign", call)
        finally:  # also where it is not known whether it took effect
            with suppress(OutboxUnavailable):  # what is remembered of the contact is a little older than it could be
                await self._outbox.touch(named.lane)

    # definitions ------------------------------------------------------------------------------------------------------

    async def create(self, definition: PromotionDefinition | Mapping[str, object] | bytes) -> str:
        """Define a promotion, as a draft, and return its id (ref 3.5). Somebody activates it in Engage.

        Give it an `externalId`: only then can `get` tell after OutcomeUnknown whether it is there. Raises InvalidEntry
        with the path of the wrong field, EngageUnavailable, EngageRefused.
        """
        body = to_json(definitions.parse_definition(definition))
        call = Call(Operation.CREATE_PROMOTION, body=body)
        return await self._direct().change("promotions.create", call, definitions.read_created)

    async def get(self, promotion_id: str | None = None, *, external_id: str | None = None) -> Promotion:
        """A promotion's definition (ref 3.5), by its id or its external id. Asked anew each time. Raises
        EngageUnavailable, EngageNotFound (`PromotionNotFound`), EngageRefused, InvalidEntry."""
        call = Call(Operation.GET_PROMOTION, ids=_named(promotion_id, external_id))
        return await self._direct().ask("promotions.get", call, definitions.read_promotion)

    async def update(
        self,
        promotion_id: str | PromotionDefinition | Mapping[str, object] | bytes | None = None,
        definition: PromotionDefinition | Mapping[str, object] | bytes | None = None,
        *,
        external_id: str | None = None,
    ) -> None:
        """Replace the definition of a draft as a whole: what is not said is gone (ref 3.5). Harmless to repeat. With an
        external id the definition may come first: ``update({"name": ...}, external_id="spring")``.

        Raises InvalidEntry with the path of the wrong field, EngageUnavailable, EngageNotFound, EngageRefused.
        """
        if definition is None and not isinstance(promotion_id, str):
            promotion_id, definition = None, promotion_id
        if definition is None:
            raise InvalidEntry("", "changes nothing: no definition was given")
        body = to_json(definitions.parse_definition(definition))
        ids = await self._by_id(promotion_id, external_id)
        await self._direct().write("promotions.update", Call(Operation.UPDATE_PROMOTION, ids=ids, body=body))

    async def get_validity(
        self, promotion_id: str | None = None, *, external_id: str | None = None
    ) -> PromotionValidity:
        """When a promotion can be used, in whole days (ref 3.5). Raises as `get`."""
        call = Call(Operation.GET_VALIDITY, ids=_named(promotion_id, external_id))
        return await self._direct().ask("promotions.get_validity", call, definitions.read_validity)

    async def update_validity(
        self,
        promotion_id: str | Validity | Mapping[str, object] | bytes | None = None,
        validity: Validity | Mapping[str, object] | bytes | None = None,
        *,
        external_id: str | None = None,
    ) -> None:
        """Change when a draft can be used (ref 3.5), and nothing else of it. Harmless to repeat. The validity may come
        first, as in `update`. Raises as `update`."""
        if validity is None and not isinstance(promotion_id, str):
            promotion_id, validity = None, promotion_id
        if validity is None:
            raise InvalidEntry("", "changes nothing: no validity was given")
        body = to_json(definitions.parse_validity(validity))
        ids = await self._by_id(promotion_id, external_id)
        await self._direct().write("promotions.update_validity", Call(Operation.UPDATE_VALIDITY, ids=ids, body=body))

    async def delete(self, promotion_id: str | None = None, *, external_id: str | None = None) -> None:
        """Delete a definition that no contact has (ref 3.5). After OutcomeUnknown a second call finds it gone:
        EngageNotFound. aiohttp asks once more by itself where a kept connection breaks (a DELETE may be), so that can
        also mean that this very call deleted it. Raises as `get`, and EngageRefused while it is assigned."""
        call = Call(Operation.DELETE_PROMOTION, ids=_named(promotion_id, external_id))
        await self._direct().write("promotions.delete", call)

    async def _by_id(self, promotion_id: object, external_id: str | None) -> tuple[tuple[str, str], ...]:
        """What a PUT needs: it is not documented to take an external id (ref 3.5), so that is looked up."""
        ids = _named(promotion_id, external_id)
        if promotion_id is None:
            return (("id", checked_id("id", (await self.get(external_id=external_id)).id)),)
        return ids


def _named(promotion_id: object, external_id: str | None) -> tuple[tuple[str, str], ...]:
    if (promotion_id is None) == (external_id is None):
        raise InvalidEntry("", "a promotion is named by exactly one of its id and its external_id")
    if promotion_id is not None:
        return (("id", checked_id("id", promotion_id)),)
    if not isinstance(external_id, str) or not external_id.strip():
        raise InvalidEntry("externalId", "expected text that is not empty")
    return (("externalId", external_id),)
