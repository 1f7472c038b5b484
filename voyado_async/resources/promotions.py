"""Promotions: durable redemptions, and the assignments that a customer can use now."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from voyado_async.api.reads import Assignments, Reads
from voyado_async.kinds import redeem
from voyado_async.outbox.store import Outbox
from voyado_async.resources.writes import OutboxEntry, Writes


class Promotions:
    """`voyado.promotions`"""

    def __init__(self, writes: Writes, outbox: Outbox, reads: Callable[[], Reads]) -> None:
        self._writes = writes
        self._outbox = outbox
        self._reads = reads

    async def redeem(
        self, assignment_id: str, *, channel: str, contact_id: str | None = None, key: str | None = None
    ) -> OutboxEntry:
        """Write the redemption of one assignment durably (ref 3.3). `channel` is POS, ECOM or OTHER.

        Name the contact wherever it is known: only then can an attempt with an unknown outcome be looked up before it
        is repeated. The assignment is the natural key: calling again with the same content returns the same entry.
        Raises InvalidEntry, KeyConflict, OutboxUnavailable.
        """
        return await self._writes.put(redeem.draft(assignment_id, channel=channel, contact_id=contact_id, key=key))

    async def assignments(self, contact_id: str, *, channel: str | None = None) -> Assignments:
        """The contact's assignments (ref 3.2), redeemed ones included: check `redeemed`.

        One whose redemption waits in this outbox, or left it by file, shows as redeemed, so that nobody spends it twice
        during an outage. While Engage is down these are the last known ones, also from before a restart, with `stale`
        set and their `age` in seconds. Raises EngageUnavailable where nothing is known, EngageRefused.
        """
        found = await self._reads().assignments(contact_id, channel)
        # What was ever redeemed from here is redeemed in an old answer, whatever the clock has done meanwhile.
        since = 0 if found.stale else found.as_of
        ours = await self._outbox.pending_redeems([assignment.id for assignment in found], since)
        return found.with_items(msgspec.structs.replace(a, redeemed=True) if a.id in ours else a for a in found)
