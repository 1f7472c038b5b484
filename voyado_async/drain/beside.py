"""What goes on beside the rounds while this process drains: what nobody tells it, the heartbeat, the second road."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from voyado_async.clock import Clock
from voyado_async.delivery import BulkTurn
from voyado_async.drain.gate import Gate
from voyado_async.drain.health import Health
from voyado_async.drain.ledger import PAUSE, Ledger
from voyado_async.errors import ConfigurationError, OutboxDamaged, OutboxMismatch, OutboxSealed, OutboxUnavailable
from voyado_async.outbox.store import Outbox

LOOK = 0.5
"""Seconds between two looks for a lost poke (DESIGN 3), at the clock, and at Engage's health."""
HEARTBEAT = 15.0
"""The drainer writes down that it moves on, at most so often (seconds); `stalled` is told after 60 s."""
LOOK_AT_ROAD = 5.0
"""Seconds: the second road is looked at so often at least."""

SecondRoad = Callable[[int, bool, BulkTurn], Awaitable[int]]
"""One step of the fallback at this time (ms), told whether the API is healthy, with the turn of its bulk requests;
answers when it is due again (ms)."""


async def watch_what_nobody_tells(outbox: Outbox, clock: Clock, wake: Callable[[], None]) -> None:
    """Somebody else may have written, and the poke got lost. Or the clock was set, or the machine was suspended: who
    sleeps until something is due sleeps for a duration, and it is due at another moment now."""
    seen = None
    began = clock.now() - clock.monotonic() * 1000
    while True:
        with suppress(OutboxUnavailable):
            version = await outbox.data_version()
            if version != seen:
                seen = version
                wake()
        before, began = began, clock.now() - clock.monotonic() * 1000
        if abs(began - before) > LOOK * 1000:
            wake()
        await clock.sleep(LOOK)


async def keep_beating(ledger: Ledger, clock: Clock) -> None:
    """Others see by it that the drainer moves on."""
    while True:
        await clock.sleep(HEARTBEAT)
        await ledger.beat()


async def walk_second_road(
    road: SecondRoad, outbox: Outbox, ledger: Ledger, gate: Gate, health: Health, clock: Clock
) -> None:
    """A step whenever one is due, and at once when Engage's health changes."""
    while True:
        healthy = health.well
        again = clock.now() + int(PAUSE * 1000)
        try:
            if not health.breaker.closed and health.key_refused is None:
                # What was written behind something that left by file has no turn to use up: in an outage it follows.
                await outbox.exhaust_behind_files(clock.now())
            again = await road(clock.now(), healthy, gate.turn())
        except OutboxUnavailable:
            ledger.tell_problem("fallback", "outbox_unavailable")
        except (OutboxDamaged, OutboxMismatch, OutboxSealed):
            raise
        except ConfigurationError:
            # The spool folder can't be used; the API goes on without the second road, and says so.
            ledger.tell_problem("fallback", "spool_folder")
        else:
            ledger.tell_problem("fallback", None)
            ledger.made_progress()
        # What becomes exhausted meanwhile may make files due sooner than was known, and the clock may be set back.
        wait = min(max(again - clock.now(), 10) / 1000, LOOK_AT_ROAD)
        end = clock.monotonic() + wait
        while (left := end - clock.monotonic()) > 0 and healthy == health.well:
            await clock.sleep(min(LOOK, left))
