"""The two roads never contradict each other, whatever the timing: files as they were really written, bulk requests that
land when they like, requests applied up to 10 s after their client has gone, skips in silence, crashes.

`test_property_outbox` holds the whole outbox to its promise; here the second road is walked at its own pace, so that
each run sees several outages. ``VOYADO_PROPERTY=long`` looks for longer: five minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
from fakes import FakeClock, inline_database, rest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_engage import Fault, Model

from voyado_async.api.bulk import EngageBulk
from voyado_async.api.carrier import EngageCarrier
from voyado_async.api.routes import routes_of
from voyado_async.delivery import BulkTurn, Draft
from voyado_async.drain.drainer import Drainer, DrainSettings
from voyado_async.drain.policy import Schedule
from voyado_async.events import Event, Problem
from voyado_async.fallback import courier, transfer, writing
from voyado_async.fallback.courier import Courier
from voyado_async.kinds import contact_create, contact_update, receipt, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import FINAL, State
from voyado_async.settings import Settings

T = TypeVar("T")

ANNA, BO = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10", "c41d8a90-2b36-4f1e-8e77-91d3a6b05f2e"
EMAILS = {ANNA: "anna@example.com", BO: "bo@example.com"}
NEW = "cia@example.com"
PERIOD = 120.0
"""Seconds between two imports of Engage, and how long a batch may take there."""

RUNS = {"ci": 30, "mid": 300, "long": 3000}
FAULTS = [
    Fault.REFUSED,
    Fault.TIMEOUT_LATE,
    Fault.BROKEN_LOST,
    Fault.BROKEN_DONE,
    Fault.BROKEN_LATE,
    Fault.E503_DONE,
    Fault.E504_LATE,
    Fault.TOO_MANY,
]


async def inline(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """`in_thread` without a thread."""
    await asyncio.sleep(0)
    return call(*args, **kwargs)


class Story:
    """One shop, one Engage, several outages."""

    def __init__(self, folder: Path, seed: int, bulk: bool) -> None:
        self.clock = FakeClock()
        self.engage = Model(self.clock, random.Random(seed), PERIOD)
        for contact_id, email in EMAILS.items():
            self.engage.add_contact(contact_id, email)
        self.settings = Settings(
            outbox=str(folder / "outbox.db"),
            contact_key="email",
            sftp_contacts_dir="contacts",
            sftp_redemptions_dir="redemptions",
            sftp_transactions_dir="transactions",
            fallback_interval=15,
            fallback_contacts="bulk" if bulk else "sftp",
            import_period=PERIOD,
            retry_delays=(5.0, 10.0),
        )
        self.spread = random.Random(seed + 1).random
        self.told_for = 300.0 * (seed % 3)  # a look-up is saved for far too long, or never
        self.events: list[Event] = []
        self.number = 0
        self.changes: list[tuple[str, int]] = []
        self.sales: set[str] = set()
        self.redemptions: set[str] = set()
        self.outbox: SqliteOutbox
        self.task: asyncio.Task[None]

    async def open(self) -> None:
        self.outbox = await open_outbox(self.settings.outbox, base_url="https://engage.test", clock=self.clock)
        await self.start()
        # The program learns which contact an address stands for: from then on its changes have one order.
        for contact in EMAILS:
            await self.change(contact, by_email=True)
        await self.clock.advance(2)

    async def start(self) -> None:
        routes = routes_of(3)
        bulk = EngageBulk(self.engage, routes)  # type: ignore[arg-type]  # stands for Http
        made = Courier.of(self.outbox, self.settings, bulk=bulk)
        road = Courier(self.outbox, made._spool, made._file_form, self.settings, self.engage.connect, bulk)  # type: ignore[arg-type]  # a Remote by its methods

        async def step(now: int, healthy: bool, turn: BulkTurn) -> int:
            return (await road.step(now, api_healthy=healthy, turn=turn)).next_due

        self.drainer = Drainer(
            self.outbox,
            EngageCarrier(self.engage, routes, contact_key="email"),  # type: ignore[arg-type]  # stands for Http
            DrainSettings(Schedule((5_000, 10_000), 3), 40.0, 4, 2, confirm=True, told_for=self.told_for),
            self.clock,
            second_road=step,
            emit=self.events.append,
            spread=self.spread,
        )
        self.task = asyncio.create_task(self.drainer.run())
        await rest()

    async def stop(self) -> None:
        self.drainer.stop()
        await self.clock.until(self.task.done, within=30)
        self.task.result()

    async def put(self, draft: Draft) -> None:
        await self.outbox.enqueue([draft])
        await rest()

    async def change(self, contact: str, by_email: bool) -> None:
        self.number += 1
        email = EMAILS.get(contact, contact)
        named = address(email=email) if by_email or contact == NEW else address(contact_id=contact)
        self.changes.append((email, self.number))
        await self.put(contact_update.draft(named, {"city": f"c{self.number}"}))

    async def create(self) -> None:
        self.number += 1
        self.changes.append((NEW, self.number))
        await self.put(contact_create.draft({"email": NEW, "city": f"c{self.number}"}, contact_key="email"))

    async def sell(self, contact: str) -> None:
        self.number += 1
        sale = f"R-{self.number}"
        self.sales.add(sale)
        await self.put(
            receipt.draft(
                {
                    "contact": {"matchKey": contact, "matchKeyType": "email" if "@" in contact else "contactId"},
                    "uniqueReceiptId": sale,
                    "receiptNumber": sale,
                    "createdDate": "2025-03-14T09:12:44+01:00",
                    "storeExternalId": "204",
                    "currency": "SEK",
                    "totalGrossPrice": 10,
                    "paymentMethods": [],
                    "items": [],
                }
            )
        )

    async def redeem(self, contact: str) -> None:
        subject = f"a0000000-0000-4000-8000-{len(self.redemptions):012d}"
        self.redemptions.add(subject)
        self.engage.assignments[subject] = contact
        await self.put(redeem.draft(subject, channel="ECOM", contact_id=contact))

    async def end(self) -> None:
        """Engage is well again; everything has to settle, and to have arrived once and in its order."""
        engage = self.engage
        engage.faults.clear()
        engage.down = engage.remote_fails = False
        for _ in range(40):
            await self.clock.advance(45)
            engage.import_files()
            states = (await self.outbox.counts()).states
            if not any(count for state, count in states.items() if State(state) not in FINAL):
                break
        else:
            raise AssertionError(f"it does not settle: {states}")
        await self.clock.advance(PERIOD)  # what still lies in a queue of Engage's lands now

    def check(self) -> None:
        engage = self.engage
        assert engage.offences == []
        assert [event for event in self.events if isinstance(event, Problem) and event.code == "internal_error"] == []
        assert self.redemptions == engage.redeemed.keys()
        assert self.sales == engage.receipts
        newest: dict[str, int] = {}
        for email, number in self.changes:
            newest[email] = number
        stands = {email: engage.cities[engage.emails[email]] for email in newest}
        assert stands == {email: f"c{number}" for email, number in newest.items()}, engage.applied


contacts = st.sampled_from([ANNA, BO])
STEPS = st.one_of(
    st.tuples(st.just("change"), contacts, st.booleans()),
    st.tuples(st.just("change"), st.just(ANNA), st.just(True)),
    st.tuples(st.just("sell"), contacts),
    st.tuples(st.just("redeem"), contacts),
    st.tuples(st.just("wait"), st.sampled_from([0.3, 4.0, 11.0, 26.0, 70.0])),
    st.tuples(st.just("down"), st.sampled_from([20.0, 45.0, 90.0])),
    st.tuples(st.just("up"), st.sampled_from([1.0, 12.0, 40.0])),
    st.tuples(st.just("faults"), st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4)),
    st.tuples(st.just("import"), st.booleans()),
    st.tuples(st.just("server"), st.booleans()),
    st.tuples(st.just("restart")),
)


async def tell(folder: Path, seed: int, bulk: bool, new: bool, steps: list[tuple[Any, ...]]) -> None:
    story = Story(folder, seed, bulk)
    await story.open()
    try:
        if new:
            story.engage.down = seed % 2 == 0
            await story.create()
            await story.sell(NEW)
            await story.change(NEW, by_email=True)
        for name, *values in steps:
            match name:
                case "wait":
                    await story.clock.advance(values[0])
                case "down" | "up":
                    story.engage.down = name == "down"
                    await story.clock.advance(values[0])
                case "faults":
                    story.engage.faults.extend(values[0])
                case "import":
                    story.engage.import_files(skips=1.0 if values[0] else 0.0)
                    await story.clock.advance(12)
                case "server":
                    story.engage.remote_fails = values[0]
                case "restart":
                    await story.stop()
                    await story.start()
                case "change":
                    await story.change(*values)
                case "sell":
                    await story.sell(*values)
                case "redeem":
                    await story.redeem(*values)
        await story.end()
        story.check()
        await story.stop()
    finally:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await story.outbox.close()


@pytest.mark.timeout(36_000)
@settings(
    max_examples=RUNS[os.environ.get("VOYADO_PROPERTY", "ci")],
    deadline=None,
    database=None,
    print_blob=True,
    # The checks always walk the same stories; the longer profiles look for new ones.
    derandomize=os.environ.get("VOYADO_PROPERTY", "ci") == "ci",
    suppress_health_check=list(HealthCheck),
)
@given(st.integers(0, 2**16), st.booleans(), st.booleans(), st.lists(STEPS, min_size=4, max_size=25))
def test_no_older_value_overwrites_a_newer_one_and_nothing_is_lost_on_either_road(
    seed: int, bulk: bool, new: bool, steps: list[tuple[Any, ...]]
) -> None:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="voyado-property-", dir=base) as folder,
        inline_database(),
        mock.patch.object(courier, "in_thread", inline),
        mock.patch.object(transfer, "in_thread", inline),
        mock.patch.object(writing, "in_thread", inline),
    ):
        asyncio.run(tell(Path(folder), seed, bulk, new, steps))
