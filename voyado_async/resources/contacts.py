"""Contacts: durable creations, updates and type changes, and direct look-ups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from voyado_async.api.reads import KnownContact, Reads
from voyado_async.errors import EngageUnavailable, OutboxUnavailable
from voyado_async.kinds import contact_create, contact_type, contact_update
from voyado_async.kinds.address import Address, address
from voyado_async.kinds.contact_create import OnExisting
from voyado_async.models import ContactCreate, ContactUpdate
from voyado_async.outbox.store import Outbox
from voyado_async.resources.writes import OutboxEntry, Writes
from voyado_async.settings import Settings


class Contacts:
    """`voyado.contacts`"""

    def __init__(self, writes: Writes, outbox: Outbox, reads: Callable[[], Reads], settings: Settings) -> None:
        self._writes = writes
        self._outbox = outbox
        self._reads = reads
        self._settings = settings

    async def create(
        self,
        contact: ContactCreate | Mapping[str, object] | bytes,
        *,
        source: str | None = None,
        store_external_id: str | None = None,
        create_as_unapproved: bool = False,
        on_existing: OnExisting = "keep",
        key: str | None = None,
    ) -> OutboxEntry:
        """Write a creation durably. It is looked up by the tenant's key attribute (`VOYADO_CONTACT_KEY`) before it is
        sent; where the contact exists already, `on_existing` decides: keep it, or update it with these values.

        `source` and `store_external_id` are recommended (ref 4.3). Raises InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        draft = contact_create.draft(
            contact,
            source=source,
            store_external_id=store_external_id,
            create_as_unapproved=create_as_unapproved,
            on_existing=on_existing,
            contact_key=self._settings.contact_key,
            allowed=self._settings.contact_attributes,
            key=key,
        )
        return await self._writes.put(draft)

    async def update(
        self,
        contact_id: str | None,
        changes: ContactUpdate | Mapping[str, object] | bytes,
        *,
        email: str | None = None,
        external_id: str | None = None,
        mobile_phone: str | None = None,
        social_security_number: str | None = None,
        member_number: str | None = None,
        contact_type: str | None = None,
        key: str | None = None,
    ) -> OutboxEntry:
        """Write an update durably: only what is set is sent; None clears a field (ref 4.4).

        The contact is named by its id, or (with None for the id) by one other attribute that is resolved at delivery.
        `contact_type` is needed in a file only, and only where it is not `VOYADO_CONTACT_TYPE`.
        Raises InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        named = address(
            contact_id=contact_id,
            email=email,
            external_id=external_id,
            mobile_phone=mobile_phone,
            social_security_number=social_security_number,
            member_number=member_number,
        )
        allowed = self._settings.contact_attributes
        return await self._writes.put(
            contact_update.draft(named, changes, contact_type=contact_type, allowed=allowed, key=key)
        )

    async def change_type(self, contact_id: str, contact_type_id: str, *, key: str | None = None) -> OutboxEntry:
        """Write a change of the contact's type durably (ref 4.5). It has no file form: it waits for the API.

        Raises InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        return await self._writes.put(contact_type.draft(contact_id, contact_type_id, key=key))

    async def find(
        self,
        *,
        email: str | None = None,
        external_id: str | None = None,
        mobile_phone: str | None = None,
        social_security_number: str | None = None,
        member_number: str | None = None,
        contact_type: str | None = None,
    ) -> str | None:
        """The contact's id, or None where Engage says that nobody has this attribute (ref 4.1).

        While Engage is down the last known id is served, also from before a restart. Raises EngageUnavailable where
        nothing is known, EngageRefused (409 `MultipleMatches` included), InvalidEntry.
        """
        named = address(
            email=email,
            external_id=external_id,
            mobile_phone=mobile_phone,
            social_security_number=social_security_number,
            member_number=member_number,
        )
        try:
            found = await self._reads().find_contact(named, contact_type)
        except EngageUnavailable:
            known = None if contact_type else await self._outbox.contact_id(named.lane)
            if known is None:
                raise
            return known
        if found is not None and contact_type is None:
            await self._remember(named, found)
        return found

    async def _remember(self, named: Address, contact_id: str) -> None:
        # A read must not fail because the disk is full; the id is looked up again next time.
        with suppress(OutboxUnavailable):
            if await self._outbox.contact_id(named.lane) != contact_id:
                await self._outbox.remember_contact(named.lane, contact_id)

    async def get(self, contact_id: str) -> KnownContact:
        """The contact (ref 4.2). While Engage is down the last known one, with `stale` set.

        Raises EngageUnavailable where nothing is known, EngageRefused (404 `ContactNotFound` included).
        """
        return await self._reads().get_contact(contact_id)
