"""Looks after a sidecar: one snapshot of the outbox for all who ask, and the heartbeat for systemd."""

from __future__ import annotations

import asyncio

from voyado_async.clock import Clock
from voyado_async.errors import OutboxDamaged, OutboxUnavailable
from voyado_async.ops.pulse import Pulse, not_ready, stuck
from voyado_async.ops.systemd import Systemd
from voyado_async.outbox.lock import is_drained
from voyado_async.outbox.overview import HOUR, SPAN, Overview
from voyado_async.outbox.store import Outbox

FRESH = 1.0
"""Seconds for which a snapshot is good enough: however often somebody asks, the outbox is not asked more often."""

HOURS = 6
"""Hours of history in a snapshot."""

SPANS = HOURS * HOUR // SPAN + 1
"""The span of this moment is not over."""

BEAT = 5.0
"""Seconds between two words to systemd, at most; a third of its watchdog where that is shorter."""

BEGIN = 0.1
"""Seconds between two looks until the sidecar has begun."""


class Watch:
    """What can be said of one outbox and the process that looks after it."""

    def __init__(self, outbox: Outbox, clock: Clock, pulse: Pulse) -> None:
        self.outbox = outbox
        self.clock = clock
        self.pulse = pulse
        self._looking = asyncio.Lock()
        self._seen: Overview | None = None
        self._seen_at = 0.0

    async def overview(self) -> Overview:
        """A snapshot that is a second old at most. Raises OutboxUnavailable or OutboxDamaged."""
        async with self._looking:
            if self._seen is None or self.clock.monotonic() - self._seen_at >= FRESH:
                self._seen = await self.outbox.overview(self.clock.now(), SPANS)
                self._seen_at = self.clock.monotonic()
            return self._seen

    @property
    def drained(self) -> bool:
        """Whether anybody drains at this moment."""
        return self.pulse.draining or is_drained(f"{self.outbox.path}-drain")

    @property
    def doing(self) -> str:
        """In two words."""
        if self.pulse.draining:
            return "draining"
        return "standing by" if self.drained else "starting"

    async def stuck(self) -> str | None:
        """Why this process has to be started again; None where it is alive."""
        return stuck(self.pulse.signs(await self.overview(), drained=self.drained))

    async def not_ready(self) -> str | None:
        """Why it cannot do its work; None where it can."""
        return not_ready(await self.overview(), self.pulse, drained=self.drained)


async def beat(watch: Watch, systemd: Systemd) -> None:
    """Tell systemd when the work has begun, what is done, and that it is alive, for as long as it is.

    Says nothing while the process is stuck, or while not even a look at the outbox comes back: systemd's watchdog then
    starts it again. An outbox that cannot be read is no reason for that: it would be as unreadable afterwards.
    """
    rhythm = min(BEAT, (systemd.watchdog or BEAT) / 3)
    while watch.doing == "starting":
        await watch.clock.sleep(BEGIN)
    systemd.notify(READY=1)
    while True:
        try:
            why = await watch.stuck()
        except (OutboxUnavailable, OutboxDamaged):
            systemd.notify(WATCHDOG=1, STATUS="the outbox cannot be read")
        else:
            if why is None:
                systemd.notify(WATCHDOG=1, STATUS=watch.doing)
            else:
                systemd.notify(STATUS=f"stuck: {why}")
        await watch.clock.sleep(rhythm)
