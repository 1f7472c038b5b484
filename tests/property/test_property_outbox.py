"""The promise of the outbox (DESIGN 1), held against a model: any faults, crashes, restarts and outages, in any order.

The outbox, the drainer, the carrier and the courier are the real ones. Time is a FakeClock, Engage a model of it, and
the database answers on the loop's own thread after as many turns of the loop as a seed says, so that a failing run can
be repeated. ``VOYADO_PROPERTY=long`` looks for longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import msgspec
import pytest
from fakes import FakeClock, InlineConnection, inline_database, rest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model_engage import Fault, Model

from voyado_async.api.carrier import EngageCarrier
from voyado_async.api.routes import routes_of
from voyado_async.delivery import BulkTurn, Draft, Kind
from voyado_async.drain.drainer import Drainer, DrainSettings
from voyado_async.drain.policy import Schedule
from voyado_async.events import AttemptMade, BreakerChanged, DrainerStopped, Event, FileChanged, Problem
from voyado_async.fallback import courier, transfer, writing
from voyado_async.fallback.courier import Courier
from voyado_async.fallback.spool import Spool
from voyado_async.kinds import contact_create, contact_update, receipt, redeem, registry
from voyado_async.kinds.address import address
from voyado_async.kinds.call import Operation
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.outbox.states import FINAL, TRANSITIONS, State, may_move
from voyado_async.settings import Settings

T = TypeVar("T")

ANNA, BO = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10", "c41d8a90-2b36-4f1e-8e77-91d3a6b05f2e"
CONTACTS = {ANNA: "anna@example.com", BO: "bo@example.com"}
NEWCOMERS = ("cia@example.com", "dan@example.com")
BASE_URL = "https://engage.test"
SCHEDULES = (Schedule((10_000, 30_000, 60_000, 300_000), 8), Schedule((500, 2_000), 3))
"""The usual one, and one that is so quick that only the rest of a lane keeps it from overtaking Engage."""
LATE = [fault for fault in Fault if fault.endswith("_late")]

HITS: Counter[str] = Counter()
"""How often each transition, fault, request and rule was hit in all runs together."""


class Written(msgspec.Struct, frozen=True):
    """What the shop was told to be durable."""

    kind: Kind
    subject: str
    number: int = 0
    contact: str = ""
    """The contact that a change is for: its id, or its address as long as the id is not known to anybody."""


async def inline(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """`in_thread` without a thread."""
    await asyncio.sleep(0)
    return call(*args, **kwargs)


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="voyado-property-", dir=base))
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.model = Model(self.clock)
        for contact_id, email in CONTACTS.items():
            self.model.add_contact(contact_id, email)
        self.settings = Settings(
            outbox=str(self.folder / "outbox.db"), contact_key="email", sftp_contacts_dir="contacts",
            sftp_transactions_dir="transactions", sftp_redemptions_dir="redemptions",
        )  # fmt: skip
        self.written: dict[int, Written] = {}
        self.numbers: dict[int, int] = {}
        """The entry that wrote a number."""
        self.together: set[tuple[int, int]] = set()
        """Pairs of changes (older, newer) that were known to be one contact's when the newer one was written."""
        self.known: dict[tuple[int, int], int] = {}
        """Pairs that are known to be one contact's, and how many of its changes had been applied when that was seen."""
        self.events: list[Event] = []
        self.number = 0
        self.misdated: set[int] = set()
        """Written when the clock was ahead by more than the 5 minutes that a look-up allows for (DESIGN 3)."""
        self.drainer: Drainer | None = None
        self.task: asyncio.Task[None] | None = None
        self.sound = True
        self.patches = ExitStack()
        self.made = self.patches.enter_context(inline_database())
        for module in (courier, transfer, writing):
            self.patches.enter_context(mock.patch.object(module, "in_thread", inline))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        self.sound = False
        result = self.runner.run(work)
        self.sound = True
        return result

    @initialize(seed=st.integers(0, 2**16), drains=st.booleans(), schedule=st.sampled_from(SCHEDULES))
    def begin(self, seed: int, drains: bool, schedule: Schedule) -> None:
        self.schedule = schedule
        chance = random.Random(seed)
        InlineConnection.hops = staticmethod(lambda: chance.randrange(4))
        self.spread = chance.random

        async def begin() -> None:
            self.writer = await open_outbox(self.settings.outbox, base_url=BASE_URL, clock=self.clock)
            self.writers_tasks = asyncio.all_tasks() - {asyncio.current_task()}
            await self._open()
            if drains:
                await self._start()

        self.run(begin())

    async def _open(self) -> None:
        before = len(self.made)
        self.outbox = await open_outbox(self.settings.outbox, base_url=BASE_URL, clock=self.clock)
        self.own = self.made[before:]
        (connection,) = [each for each in self.own if not each.read_only]
        self.moves = connection.connection
        self.moves.execute("CREATE TEMP TABLE moved (source TEXT, target TEXT)")
        self.moves.execute(
            "CREATE TEMP TRIGGER look AFTER UPDATE OF state ON main.entry WHEN old.state <> new.state "
            "BEGIN INSERT INTO moved VALUES (old.state, new.state); END"
        )

    def _count_moves(self) -> None:
        for source, target in self.moves.execute("SELECT source, target FROM moved").fetchall():
            assert may_move(State(source), State(target)), (source, target)
            HITS[f"move {source} -> {target}"] += 1
        self.moves.execute("DELETE FROM moved")

    async def _start(self) -> None:
        spool = Spool(self.settings.spool_path)
        file_form = partial(registry.file_form, default_type="Member", contact_key="email")
        road = Courier(self.outbox, spool, file_form, self.settings, self.model.connect)  # a Remote by its methods

        async def step(now: int, healthy: bool, turn: BulkTurn) -> int:
            return (await road.step(now, api_healthy=healthy, turn=turn)).next_due

        carrier = EngageCarrier(self.model, routes_of(3), contact_key="email")  # type: ignore[arg-type]  # stands for Http
        self.drainer = Drainer(
            self.outbox,
            carrier,
            DrainSettings(self.schedule, 40.0, 4, 5, confirm=True),
            self.clock,
            second_road=step,
            emit=self.events.append,
            spread=self.spread,
        )
        self.task = asyncio.create_task(self.drainer.run())
        await rest()

    # what the shop does -----------------------------------------------------------------------------------------------

    async def _put(self, draft: Draft, written: Written, *, elsewhere: bool) -> None:
        (stored,) = await (self.writer if elsewhere else self.outbox).enqueue([draft])
        self.written[stored.id] = written
        if written.number:
            self.numbers[written.number] = stored.id
            lane = self._lane(draft.lane)
            for other in self.written.values():
                # A creation does not overwrite whom it finds: what an older change has set stays in force.
                older = written.kind is Kind.CONTACT_UPDATE and other.number and other != written
                if older and self._lane(self._address_lane(other)) == lane:
                    self.together.add((other.number, written.number))
        await rest()

    def _lane(self, key: str) -> int | None:
        row = self.moves.execute("SELECT coalesce(joined, id) FROM lane WHERE key = ?", (key,)).fetchone()
        return None if row is None else int(row[0])

    @staticmethod
    def _address_lane(written: Written) -> str:
        return f"email:{written.subject}" if "@" in written.subject else f"contact:{written.subject}"

    @rule(contact=st.sampled_from([*CONTACTS, *CONTACTS.values(), *NEWCOMERS]), elsewhere=st.booleans())
    def change(self, contact: str, elsewhere: bool) -> None:
        self.number += 1
        named = address(email=contact) if "@" in contact else address(contact_id=contact)
        draft = contact_update.draft(named, {"city": f"c{self.number}"})
        written = Written(Kind.CONTACT_UPDATE, contact, self.number)
        self.run(self._put(draft, written, elsewhere=elsewhere))

    @rule(contact=st.sampled_from([*CONTACTS, *CONTACTS.values()]), fault=st.sampled_from(LATE), dies=st.booleans())
    @precondition(lambda self: self.drainer is not None)
    def change_twice_while_engage_is_late(self, contact: str, fault: Fault, dies: bool) -> None:
        """The older change is applied when its client is gone, perhaps with its process."""
        self.change(contact, elsewhere=False)
        self.model.faults.extend([fault] * 2)
        self.change(contact, elsewhere=True)
        self.run(self.clock.advance(0.2))
        if dies:
            self.die(0, starts=True)
        self.run(self.clock.advance(3))

    @rule(email=st.sampled_from(NEWCOMERS), elsewhere=st.booleans())
    def create(self, email: str, elsewhere: bool) -> None:
        self.number += 1
        draft = contact_create.draft({"email": email, "city": f"c{self.number}"}, contact_key="email")
        self.run(self._put(draft, Written(Kind.CONTACT_CREATE, email, self.number), elsewhere=elsewhere))

    @rule(contact=st.sampled_from([ANNA, BO, None]), elsewhere=st.booleans())
    def redeem(self, contact: str | None, elsewhere: bool) -> None:
        subject = f"a0000000-0000-4000-8000-{len(self.model.assignments):012d}"
        self.model.assignments[subject] = contact
        draft = redeem.draft(subject, channel="ECOM", contact_id=contact)
        self.run(self._put(draft, Written(Kind.REDEEM, subject), elsewhere=elsewhere))

    def _sale(self, contact: str) -> tuple[Draft, Written]:
        self.number += 1
        subject = f"R-{self.number}"
        item = {
            "type": "PURCHASE", "quantity": 1, "grossPaidPrice": 10, "taxAmount": 2, "taxPercent": 25, "sku": "s",
            "articleNumber": "a", "articleName": "n",
        }  # fmt: skip
        content = {
            "contact": {"matchKey": contact, "matchKeyType": "email" if "@" in contact else "contactId"},
            "uniqueReceiptId": subject, "receiptNumber": subject, "createdDate": "2025-03-14T09:12:44+01:00",
            "storeExternalId": "204", "currency": "SEK", "totalGrossPrice": 10,
            "paymentMethods": [{"type": "card", "value": 10}], "items": [item],
        }  # fmt: skip
        return receipt.draft(content), Written(Kind.RECEIPT, subject)

    @rule(contact=st.sampled_from([*CONTACTS, CONTACTS[ANNA], *NEWCOMERS]), elsewhere=st.booleans())
    def sell(self, contact: str, elsewhere: bool) -> None:
        draft, written = self._sale(contact)
        self.run(self._put(draft, written, elsewhere=elsewhere))

    @rule(turns=st.integers(0, 12))
    def sell_while_the_process_dies(self, turns: int) -> None:
        """The shop repeats the sale under its natural key, as it was told nothing."""
        draft, written = self._sale(ANNA)

        async def sell() -> None:
            selling = asyncio.create_task(self.outbox.enqueue([draft]))
            for _ in range(turns):
                await asyncio.sleep(0)
            await self._kill()
            if selling.done() and not selling.cancelled():
                (stored,) = selling.result()
                self.written[stored.id] = written
            await self._open()
            (stored,) = await self.outbox.enqueue([draft])
            self.written[stored.id] = written
            await self._start()

        self.run(sell())

    @rule(data=st.data())
    @precondition(lambda self: self.written)
    def cancel(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(sorted(self.written)[-8:]))
        self.run(self.outbox.cancel(entry, "cancelled"))

    # what Engage and the network do -----------------------------------------------------------------------------------

    @rule(faults=st.lists(st.sampled_from(Fault), min_size=1, max_size=6))
    def have_faults(self, faults: list[Fault]) -> None:
        self.model.faults.extend(faults)

    @rule(seconds=st.sampled_from([60, 1500, 4000]))
    def go_down_for_a_while(self, seconds: int) -> None:
        self.model.down = True
        self.run(self.clock.advance(seconds))

    @rule()
    @precondition(lambda self: self.model.down)
    def come_up(self) -> None:
        self.model.down = False
        self.run(self.clock.advance(15))

    @rule(works=st.booleans())
    def change_the_key(self, works: bool) -> None:
        self.model.key_works = works

    @rule(operation=st.sampled_from([None, Operation.REDEEM, Operation.UPDATE_CONTACT]))
    def forbid(self, operation: Operation | None) -> None:
        self.model.forbidden = set() if operation is None else {operation}

    @rule(data=st.data())
    @precondition(lambda self: self.model.assignments)
    def be_redeemed_by_somebody_else(self, data: st.DataObject) -> None:
        subject = data.draw(st.sampled_from(sorted(self.model.assignments)[-5:]))
        if subject not in self.model.redeemed:
            self.model.redeem(subject, by_us=False)

    @rule(skip=st.sampled_from([False, False, True]))
    def import_files(self, skip: bool) -> None:
        taken = self.run(self.model.take_files(self._contents, skip=skip))
        HITS["file skipped by Engage" if skip else "file imported"] += taken
        self.run(self.clock.advance(400))

    async def _contents(self, name: str) -> list[tuple[Kind, bytes]]:
        rows = self.moves.execute(
            "SELECT entry.kind, body.content FROM entry JOIN body ON body.entry = entry.id "
            "JOIN file ON file.id = entry.file WHERE file.name = ? ORDER BY entry.id",
            (name,),
        ).fetchall()
        return [(Kind(kind), content) for kind, content in rows]

    @rule(fails=st.booleans())
    def lose_the_file_server(self, fails: bool) -> None:
        self.model.remote_fails = fails

    # time and processes -----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.3, 1, 5, 11, 35, 70, 320, 1400]))
    def wait(self, seconds: float) -> None:
        self.run(self.clock.advance(seconds))

    @rule(seconds=st.sampled_from([-100_000, -60, 30, 5000]))
    def set_the_clock(self, seconds: int) -> None:
        # Nothing is sent early by more than the jump (DESIGN 5): what Engage is at has that much time less.
        self.model.finish()
        if seconds < -300:
            self.misdated |= self.written.keys()
        self.clock.jump(seconds)
        self.run(self.clock.advance(1))

    @rule(turns=st.integers(0, 40), starts=st.booleans())
    def die(self, turns: int, starts: bool) -> None:
        async def die() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await self._kill()
            await self._open()
            if starts:
                await self._start()

        self.run(die())

    async def _kill(self) -> None:
        """The process is gone between two instructions: nothing of it runs on, its locks are given up by the kernel."""
        HITS["killed while sending"] += self._sending()
        self._count_moves()
        for connection in self.own:
            connection.dead = True
        others = self.model.tasks | self.writers_tasks
        for _ in range(20):
            left = asyncio.all_tasks() - others - self.model.tasks - {asyncio.current_task()}
            if not left:
                break
            for task in left:
                task.cancel()
            await rest()
        assert not left
        if self.drainer is not None:
            self.drainer._right.give_up()
        for connection in self.own:
            await connection.close()
        self.outbox._turn.close()
        self.outbox._poker.close()
        self.drainer = self.task = None

    def _sending(self) -> int:
        return int(self.moves.execute("SELECT count(*) FROM entry WHERE state = 'sending'").fetchone()[0])

    @rule()
    @precondition(lambda self: self.drainer is not None)
    def stop(self) -> None:
        self.run(self._stop())

    async def _stop(self) -> None:
        assert self.drainer is not None
        assert self.task is not None
        self.drainer.stop()
        await self.clock.until(self.task.done, within=10)
        self.task.result()
        assert self._sending() == 0
        self.drainer = self.task = None

    @rule()
    @precondition(lambda self: self.drainer is None)
    def start(self) -> None:
        self.run(self._start())

    # what must hold ---------------------------------------------------------------------------------------------------

    @invariant()
    def the_promise_holds(self) -> None:
        if self.number or self.written:
            self.run(self._check())

    async def _check(self) -> None:
        self._count_moves()
        assert self.task is None or not self.task.done(), self.task
        assert self.model.offences == []
        faults = [e for e in self.events if isinstance(e, Problem) and e.code == "internal_error"]
        assert not faults, faults
        assert [finding for finding in await self.outbox.verify() if not finding.ok] == []
        counts = await self.outbox.counts()
        assert counts.balanced
        rows = self.moves.execute("SELECT id, state, coalesce(reason, '') FROM entry").fetchall()
        assert sorted(row[0] for row in rows) == sorted(self.written)
        assert counts.enqueued == len(self.written)
        sent = self.moves.execute("SELECT count(*) FROM entry WHERE state = 'sending' GROUP BY lane").fetchall()
        assert all(count == 1 for (count,) in sent)
        for entry, state, reason in rows:
            self._check_entry(entry, self.written[entry], State(state), reason)
        overwritten = self.model.overwritten(self.together, self.known)
        assert overwritten == [], (overwritten, self.model.applied, self.model.by_file)
        self._learn_who_is_one()

    def _learn_who_is_one(self) -> None:
        """What the outbox knows by now to be one contact's."""
        numbered = [
            (each.number, self._lane(self._address_lane(each))) for each in self.written.values() if each.number
        ]
        for older, lane in numbered:
            for newer, other in numbered:
                if older < newer and lane is not None and lane == other:
                    applied = next((all_ for all_ in self.model.applied.values() if {older, newer} & {*all_}), [])
                    self.known.setdefault((older, newer), len(applied))

    def _check_entry(self, entry: int, written: Written, state: State, reason: str) -> None:
        """Nothing is delivered that Engage does not have; nothing that we redeemed is told as refused."""
        if state is State.DELIVERED:
            match written.kind:
                case Kind.REDEEM:
                    assert written.subject in self.model.redeemed, written
                case Kind.RECEIPT:
                    assert written.subject in self.model.receipts, written
                case Kind.CONTACT_CREATE:
                    assert written.subject in self.model.emails, written
                case _:
                    contact = self.model.emails.get(written.subject, written.subject)
                    newest = max(self.model.applied[contact], default=0)
                    assert written.number in self.model.applied[contact] or newest > written.number, written
        elif state is State.REJECTED and written.kind is Kind.REDEEM and "may have happened" not in reason:
            assert entry in self.misdated or not self.model.redeemed.get(written.subject, (0, False))[1], (
                written,
                reason,
            )

    def teardown(self) -> None:
        try:
            if self.sound and self.written:
                self.run(self._drain_all())
        finally:
            self.sound = False
            self.runner.run(self._close())
            self.runner.close()
            self.patches.close()
            InlineConnection.hops = staticmethod(lambda: 1)
            shutil.rmtree(self.folder)
            HITS.update(self.model.hits)
            for event in self.events:
                HITS[_name(event)] += 1

    async def _drain_all(self) -> None:
        """Faults end, time goes on: everything comes to an end that a person need not bring about."""
        model = self.model
        model.faults.clear()
        model.down, model.key_works, model.remote_fails = False, True, False
        model.forbidden = set()
        if self.drainer is None:
            await self._start()
        for _ in range(60):
            states = (await self.outbox.counts()).states
            if not any(count for state, count in states.items() if State(state) not in FINAL | {State.REJECTED}):
                break
            await self.clock.advance(400)
            await model.take_files(self._contents)
        else:
            raise AssertionError(("it does not drain", states))
        await self._check()

    async def _close(self) -> None:
        if not hasattr(self, "outbox"):
            return
        for task in asyncio.all_tasks() - {asyncio.current_task()} - self.writers_tasks:
            if task in self.model.tasks:
                task.cancel()
        if self.task is not None and not self.task.done() and self.drainer is not None:
            self.drainer.stop()
            await self.clock.advance(30)
            if not self.task.done():
                self.task.cancel()
        self._count_moves()
        await self.outbox.close()
        await self.writer.close()


def _name(event: Event) -> str:
    match event:
        case AttemptMade():
            return f"attempt {event.what}: {event.outcome}{'' if event.known else ', unknown'}"
        case BreakerChanged():
            return f"breaker {event.state}, {event.halted or 'key works'}"
        case FileChanged():
            return f"file {event.state}"
        case Problem() | DrainerStopped():
            return f"{type(event).__name__} {getattr(event, 'code', '')}"
        case _:
            return type(event).__name__


PROFILES = {"ci": (40, 25), "long": (1000, 50)}
"""How many runs of how many steps."""


@pytest.mark.timeout(36_000)
@pytest.mark.filterwarnings("default::hypothesis.errors.HypothesisWarning")
def test_whatever_happens_the_promise_holds(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = os.environ.get("VOYADO_PROPERTY", "ci")
    runs, steps = PROFILES[chosen]
    HITS.clear()
    profile = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        derandomize=chosen == "ci",  # the checks always walk the same way; the longer profile looks for new ones
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # shrinking such runs takes many minutes; the blob repeats the one that failed
    )
    run_state_machine_as_test(OutboxMachine, settings=profile)
    missed = [move for move in TRANSITIONS if not HITS[f"move {move.source} -> {move.target}"]]
    with capsys.disabled():
        print()
        for name, count in sorted(HITS.items()):
            print(f"{count:8} {name}")
        for move in missed:
            print(f"{0:8} move {move.source} -> {move.target} ({move.when})")
