"""What a shop asks Engage directly, with a memory: never through the outbox (DESIGN 3, "Reads").

An answer is served from memory for `cache_ttl` seconds, and many callers of one question share one request. While
Engage gives no usable answer the last known one is served with `stale` set; where nothing is known the caller gets
EngageUnavailable. That a contact does not exist is never remembered: it may have been created since, and a None from
memory would say "does not exist" during an outage.
"""

from __future__ import annotations

from collections.abc import Iterable

from voyado_async.api.direct import Direct
from voyado_async.api.memory import Key, Memory
from voyado_async.api.replies import CONTACT_NOT_FOUND, identity
from voyado_async.clock import Clock
from voyado_async.errors import EngageError, EngageRefused, EngageUnavailable, InvalidEntry
from voyado_async.kinds.address import Address, address, find
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.contacts import Contact, read_contact
from voyado_async.models.promotions import Channel, PromotionAssignment, read_assignments
from voyado_async.models.receipts import MatchKeyType

REMEMBERED = 2000
"""Answers of each kind that are kept."""


class KnownContact(Contact, frozen=True, kw_only=True):
    """A contact as Engage answered it at `as_of` (ms). `stale`: Engage gives no answer now, this is the last one."""

    stale: bool
    as_of: int


class Assignments(list[PromotionAssignment]):
    """Assignments as Engage answered them at `as_of` (ms). `stale`: Engage gives no answer now, these are the last."""

    def __init__(self, assignments: Iterable[PromotionAssignment] = (), *, stale: bool = False, as_of: int = 0) -> None:
        super().__init__(assignments)
        self.stale = stale
        self.as_of = as_of


class Reads:
    """The direct reads of one process; `close` ends what is under way. `cache_ttl` in seconds, 0 for no cache."""

    def __init__(self, direct: Direct, *, clock: Clock, cache_ttl: float, remembered: int = REMEMBERED) -> None:
        self._direct = direct
        self._ids: Memory[str] = Memory(clock=clock, ttl=cache_ttl, size=remembered)
        self._contacts: Memory[Contact] = Memory(clock=clock, ttl=cache_ttl, size=remembered)
        self._assignments: Memory[tuple[PromotionAssignment, ...]] = Memory(clock=clock, ttl=cache_ttl, size=remembered)

    async def find_contact(self, named: Address, contact_type: str | None = None) -> str | None:
        """The contact's id, or None where Engage says that there is nobody.

        A last known id is served without a mark: an id stays with its contact. An address that is the id is asked for
        as a contact. Raises EngageUnavailable, EngageRefused (409 `MultipleMatches` included).
        """
        if named.type is MatchKeyType.CONTACT_ID:
            return await self._existing_id(named)

        async def fetch() -> str | None:
            try:
                body = await self._direct.read("contacts.find", find(named, contact_type))
            except EngageRefused as refusal:
                if refusal.code == CONTACT_NOT_FOUND:
                    return None
                raise
            contact_id = identity(body)
            if contact_id is None:
                raise EngageUnavailable("contacts.find: the answer is no id")
            return contact_id

        known = await self._ids.get((named.lane, contact_type or ""), fetch)
        return None if known is None else known.value

    async def _existing_id(self, named: Address) -> str | None:
        try:
            return (await self.get_contact(named.value)).id
        except EngageRefused as refusal:
            if refusal.code == CONTACT_NOT_FOUND:
                return None
            raise

    async def get_contact(self, contact_id: str) -> KnownContact:
        """The contact. Raises EngageUnavailable, EngageRefused (404 `ContactNotFound` included)."""
        named = address(contact_id=contact_id)

        async def fetch() -> Contact:
            call = Call(Operation.GET_CONTACT, ids=(("contactId", named.value),))
            body = await self._direct.read("contacts.get", call)
            try:
                return read_contact(body)
            except EngageError as error:
                raise EngageUnavailable(str(error)) from None

        known = await self._contacts.get((named.lane,), fetch)
        assert known is not None  # only a look-up answers "nobody"
        fields = {name: getattr(known.value, name) for name in Contact.__struct_fields__}
        return KnownContact(**fields, stale=known.stale, as_of=known.as_of)

    async def assignments(self, contact_id: str, channel: str | None = None) -> Assignments:
        """The contact's assignments, redeemed ones included (ref 3.2); only those of `channel` where one is given.

        Raises EngageUnavailable, EngageRefused; InvalidEntry for a channel that does not exist.
        """
        named = address(contact_id=contact_id)
        if channel is not None and channel not in tuple(Channel):
            raise InvalidEntry("channel", f"expected one of {', '.join(Channel)}")
        params = () if channel is None else (("redemptionChannelType", str(channel)),)

        async def fetch() -> tuple[PromotionAssignment, ...]:
            call = Call(Operation.LIST_ASSIGNMENTS, ids=(("contactId", named.value),), params=params)
            body = await self._direct.read("promotions.assignments", call)
            try:
                return read_assignments(body)
            except EngageError as error:
                raise EngageUnavailable(str(error)) from None

        known = await self._assignments.get((named.lane, channel or ""), fetch)
        assert known is not None  # a contact without assignments has an empty list
        return Assignments(known.value, stale=known.stale, as_of=known.as_of)

    def expire(self, contact_id: str) -> None:
        """Something of this contact has changed: the next read asks Engage; what is known stays for an outage.

        Not the ids that addresses stand for: they stay with their contact.
        """
        lane = _lane(contact_id)
        self._contacts.expire(lambda key, _: key[0] == lane)
        self._assignments.expire(lambda key, _: key[0] == lane)

    def forget(self, contact_id: str) -> None:
        """Nothing of this contact stays in memory."""
        lane = _lane(contact_id)

        def by_lane(key: Key, _: object) -> bool:
            return key[0] == lane

        self._contacts.forget(by_lane)
        self._assignments.forget(by_lane)
        self._ids.forget(lambda _, found: _lane(found) == lane)

    async def close(self) -> None:
        """End what is under way (its callers get ClientClosed) and forget everything."""
        for memory in (self._ids, self._contacts, self._assignments):
            await memory.close()


def _lane(contact_id: str) -> str:
    return f"contact:{contact_id.lower()}"
