"""What the tests of the sidecar's view have in common."""

from __future__ import annotations

from typing import NamedTuple

import aiohttp

from voyado_async.delivery import Draft, FileFamily, Kind
from voyado_async.ops.metrics import Metrics
from voyado_async.ops.pulse import Pulse
from voyado_async.outbox.records import Attempt, BreakerRecord, DrainerRecord, FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State

BASE_URL = "https://shop.example"
QUARTER = 900_000
PLANTED = ("anna.planted@example.com", "+46700999888", "Plantedsson", "8509991234")
"""What belongs to a person and must be seen nowhere."""


class NightClock:
    """The time is what the test says."""

    def __init__(self) -> None:
        self.time = 1_800_000_000_000
        self.elapsed = 0.0

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1000 + self.elapsed

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits by the clock")


class Seen(NamedTuple):
    """An outbox that answers."""

    url: str
    session: aiohttp.ClientSession
    pulse: Pulse
    metrics: Metrics


def sale(number: int) -> list[Draft]:
    """What one customer leaves behind; with things in it that nobody may see."""
    mail, phone, name, personal = PLANTED
    body = f'{{"email":"{mail}","phone":"{phone}","lastName":"{name}","socialSecurityNumber":"{personal}"}}'.encode()
    lane = f"email:{number}-{mail}"
    return [Draft(Kind.CONTACT_CREATE, body, lane, f"{number}-{mail}"), Draft(Kind.RECEIPT, body, lane, f"r{number}")]


async def fell(outbox: SqliteOutbox, clock: NightClock) -> None:
    """Six hours of sales; in the last one Engage went away, and the first files were written."""
    number = 0
    for quarter in range(24):
        ids: list[int] = []
        for _ in range((3, 5, 8, 13, 9, 6)[quarter % 6]):
            ids += [stored.id for stored in await outbox.enqueue(sale(number))]
            number += 1
        if quarter < 20:
            for entry in ids:
                refused = entry % 37 == 0
                target = State.REJECTED if refused else State.DELIVERED
                reason = ("PromotionExpired", "ContactNotFound")[entry % 2] if refused else None
                assert await outbox.settle(Settlement(entry, State.PENDING, target, reason=reason))
        elif quarter == 20:
            for entry in ids:
                line = Attempt(clock.now(), "request", "exhausted", 503, "Http503")
                assert await outbox.settle(
                    Settlement(entry, State.PENDING, State.EXHAUSTED, line, outage=True, reason="BreakerOpen")
                )
            name = await outbox.next_file_name(clock.now(), FileFamily.TRANSACTIONS)
            record = FileRecord(0, name, FileFamily.TRANSACTIONS, "Member", "email", "spooled", 4, 4, 4711, clock.now())
            assert await outbox.spool_file(record, ids[:4]) == ids[:4]
            (spooled,) = await outbox.files(open_only=True)
            await outbox.update_file(spooled.id, state="spooled", now=clock.now(), problem="login")
        clock.time += QUARTER
    clock.time -= 120_000
    await outbox.set_breaker(BreakerRecord("open", clock.now() - 3_900_000, clock.now() + 200_000, 5))
    await outbox.set_drainer(DrainerRecord(4711, "till-1", clock.now() - 9_000_000, clock.now()))
