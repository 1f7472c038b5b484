"""Which id an address stands for, and of which type a contact is, as reads find out: kept in the outbox, where every
process and a restart know it.

A read never waits for the disk or the writers' turn: what it found is written down within a second, together with what
others found, and only where it is new. What a crash takes of it is looked up again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress

from voyado_async.api.reads import Found
from voyado_async.clock import Clock
from voyado_async.errors import OutboxUnavailable
from voyado_async.outbox.moves import contact_lane
from voyado_async.outbox.records import Learned
from voyado_async.outbox.store import Outbox

TOGETHER = 1.0
"""Seconds for which what was found is gathered."""

MOST_WAITING = 1000
"""Addresses that wait to be written down at most; the oldest go, and are looked up again."""


class ContactIds:
    """The contact-id store of one outbox. Creations, and look-ups after an import, are written by who settles them."""

    def __init__(self, outbox: Outbox, clock: Clock, usual_type: str) -> None:
        self._outbox = outbox
        self._clock = clock
        self._usual_type = usual_type
        self._found: OrderedDict[str, Learned] = OrderedDict()
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    async def known(self, address: str) -> str | None:
        """The last known id of an address such as ``email:anna@example.com``."""
        waiting = self._found.get(address)
        return waiting.contact_id if waiting else await self._outbox.contact_id(address)

    def learn(self, address: str, found: Found) -> None:
        """An address stands for this contact. Nothing is learned from a moment when nobody could tell who had been
        forgotten since."""
        if found.forgets is not None:
            at, ticks = found.asked or (None, None)
            self._gather(Learned(address, found.contact_id, found.forgets, asked=at, ticks=ticks))

    def learn_type(self, contact_type: str, found: Found) -> None:
        """The contact is of this type. One of the usual type (`VOYADO_CONTACT_TYPE`) takes no place in the store."""
        if found.forgets is not None:
            told = None if contact_type == self._usual_type else contact_type
            self._gather(Learned(contact_lane(found.contact_id), found.contact_id, found.forgets, told))

    def _gather(self, learned: Learned) -> None:
        if self._closed:
            return
        self._found[learned.address] = learned
        self._found.move_to_end(learned.address)
        if len(self._found) > MOST_WAITING:
            self._found.popitem(last=False)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon(), name="voyado-contact-ids")

    async def unlearn(self, address: str) -> None:
        """Engage says that the address is nobody's, or more than one contact's."""
        self._found.pop(address, None)
        with suppress(OutboxUnavailable):
            await self._outbox.unlearn_address(address)

    async def _write_soon(self) -> None:
        while self._found:
            await self._clock.sleep(TOGETHER)
            await self._write()

    async def _write(self) -> None:
        found, self._found = self._found, OrderedDict()
        try:
            with suppress(OutboxUnavailable):
                await self._outbox.remember_contacts(list(found.values()))
        except asyncio.CancelledError:
            self._found = OrderedDict(found | self._found)  # closing writes them once more: that changes nothing
            raise

    async def close(self) -> None:
        """Write down what waits."""
        self._closed = True
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        await self._write()
