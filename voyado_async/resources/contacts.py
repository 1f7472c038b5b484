"""Contacts: durable creations, updates and type changes, and direct look-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Literal

from voyado_async.api.direct import Direct
from voyado_async.api.memory import SAYS_NOTHING
from voyado_async.api.reads import Found, KnownContact, Reads, marked
from voyado_async.errors import InvalidEntry, MultipleMatches
from voyado_async.kinds import contact_create, contact_type, contact_update
from voyado_async.kinds.address import address, checked_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.kinds.contact_create import OnExisting
from voyado_async.models import BulkStatus, ContactCreate, ContactUpdate, contacts_bulk
from voyado_async.models.contacts import check_contact_type
from voyado_async.resources.contact_ids import ContactIds
from voyado_async.resources.writes import OutboxEntry, Writes
from voyado_async.settings import Settings


class Contacts:
    """`voyado.contacts`"""

    def __init__(
        self,
        writes: Writes,
        ids: ContactIds,
        reads: Callable[[], Reads],
        settings: Settings,
        direct: Callable[[], Direct],
    ) -> None:
        self._writes = writes
        self._ids = ids
        self._reads = reads
        self._direct = direct
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

        By file a contact that exists is updated in either case, but for what newer entries have set: files know no
        other way (ref 6.4).

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
        contact_id: str | ContactUpdate | Mapping[str, object] | bytes | None = None,
        changes: ContactUpdate | Mapping[str, object] | bytes | None = None,
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

        The contact is named by its id, or by one other attribute that is resolved at delivery, and then the changes may
        come first: ``update({"city": "Lund"}, email="anna@example.com")``. Where several contacts have it the entry is
        rejected, and its reason tells their ids. `contact_type` narrows that look-up (ref 4.1), and names the contact
        in a file (ref 6.4); without it that is the type that `get`, `find` or a change of the type has told, else
        `VOYADO_CONTACT_TYPE`. Which of `external_id` and `member_number` can name a contact: see `find`. Raises
        InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        if changes is None and not isinstance(contact_id, str):
            contact_id, changes = None, contact_id
        if changes is None:
            raise InvalidEntry("", "changes nothing: no changes were given")
        if contact_id is not None and not isinstance(contact_id, str):
            raise InvalidEntry("contactId", "expected text")
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

        `external_id` and `member_number` are one question to Engage: the tenant's set-up decides which of the two its
        custom key is. Use that one; the other can find somebody else. So it is in `update`.

        While Engage is down, or refuses the key, the last known id is served, also from before a restart. Raises
        EngageUnavailable (AccessRefused) where nothing is known, MultipleMatches with the ids where several contacts
        have it, EngageRefused, InvalidEntry.
        """
        named = address(
            email=email,
            external_id=external_id,
            mobile_phone=mobile_phone,
            social_security_number=social_security_number,
            member_number=member_number,
        )
        if contact_type is not None:
            check_contact_type(contact_type)
        # The id store knows addresses, not who else of another type has one.
        stored = contact_type is None
        try:
            found = await self._reads().find_contact(named, contact_type)
        except SAYS_NOTHING:
            known = await self._ids.known(named.lane) if stored else None
            if known is None:
                raise
            return known
        except MultipleMatches:
            if stored:
                await self._ids.unlearn(named.lane)
            raise
        if found is None:
            if stored:
                await self._ids.unlearn(named.lane)
            return None
        if contact_type is None:
            self._ids.learn(named.lane, found)
        else:
            self._ids.learn_type(contact_type, found)
        return found.contact_id

    async def get(self, contact_id: str) -> KnownContact:
        """The contact (ref 4.2). While Engage is down, or refuses the key, the last known one, with `stale` set and its
        `age` in seconds.

        Raises EngageUnavailable (AccessRefused) where nothing is known, EngageNotFound (`ContactNotFound`),
        EngageRefused, InvalidEntry.
        """
        known = await self._reads().contact(contact_id)
        if known.value.contact_type is not None and not known.stale:
            forgets = None if known.mark is None else known.mark.forgets
            self._ids.learn_type(known.value.contact_type, Found(known.value.id, forgets))
        return marked(KnownContact, known)

    # many at once -----------------------------------------------------------------------------------------------------

    async def create_bulk(
        self,
        contacts: Sequence[ContactCreate | Mapping[str, object] | bytes],
        *,
        contact_type: str | None = None,
    ) -> str:
        """Create up to 4000 contacts in one request (ref 4.9) and return the id of the batch, for `bulk_status`.

        Engage works on it later; what becomes of each contact is not told. Each holds the tenant's key attribute; all
        are of one `contact_type`. Nothing is looked up first, and nothing is repeated: after OutcomeUnknown find out
        which contacts are there. Raises InvalidEntry with the path of the first wrong field (``[2].email``),
        EngageUnavailable, EngageRefused.
        """
        make = partial(contacts_bulk.creations, contacts)
        return await self._bulk("contacts.create_bulk", Operation.BULK_CREATE, make, contact_type)

    async def update_bulk(
        self,
        contacts: Sequence[ContactUpdate | Mapping[str, object] | bytes],
        *,
        contact_type: str | None = None,
        avoid_triggering_export: bool = False,
    ) -> str:
        """Update up to 4000 contacts in one request (ref 4.9) and return the id of the batch, for `bulk_status`.

        Each holds the tenant's key attribute and what changes; None and empty text overwrite (ref 4.4). This goes past
        the outbox: it may overtake updates of the same contacts that wait there. Raises as `create_bulk`.
        """
        make = partial(contacts_bulk.updates, contacts)
        params = (("avoidTriggeringExport", "true"),) if avoid_triggering_export else ()
        return await self._bulk("contacts.update_bulk", Operation.BULK_UPDATE, make, contact_type, params)

    async def _bulk(
        self,
        what: str,
        operation: Operation,
        make: Callable[..., bytes],
        contact_type: str | None,
        params: tuple[tuple[str, str], ...] = (),
    ) -> str:
        if contact_type is not None:
            check_contact_type(contact_type)
            params = (("contactType", contact_type), *params)
        settings = self._settings
        # In a thread: thousands of contacts take a tenth of a second to check.
        body = await asyncio.to_thread(make, key_attribute=settings.contact_key, allowed=settings.contact_attributes)
        return await self._direct().change(what, Call(operation, params=params, body=body), contacts_bulk.read_batch_id)

    async def bulk_status(self, batch_id: str) -> BulkStatus:
        """How a bulk request stands, as Engage answers it: the form is not documented (ref 4.9).

        Raises EngageUnavailable, EngageRefused.
        """
        call = Call(Operation.BULK_STATUS, params=(("batchId", checked_id("batchId", batch_id)),))
        return await self._direct().ask("contacts.bulk_status", call, partial(contacts_bulk.read_bulk_status, batch_id))

    async def changes(
        self,
        change_type: Literal["Created", "Updated", "Deleted"],
        from_date: datetime,
        to_date: datetime | None = None,
    ) -> list[str]:
        """The ids of the contacts that were created, updated or deleted since `from_date` (ref 4.8); `to_date` is now
        where it is not given. More than 250 000 are refused (400): ask for a shorter time.

        Times carry their offset and are sent in UTC, which is inferred: overlap by some hours where it matters.
        Raises InvalidEntry, EngageUnavailable, EngageRefused.
        """
        params = [("changeType", contacts_bulk.change_type(change_type))]
        params.append(("fromDate", contacts_bulk.feed_moment("fromDate", from_date)))
        if to_date is not None:
            params.append(("toDate", contacts_bulk.feed_moment("toDate", to_date)))
        call = Call(Operation.CONTACT_CHANGES, params=tuple(params))
        return await self._direct().ask("contacts.changes", call, contacts_bulk.read_changes, patient=True)
