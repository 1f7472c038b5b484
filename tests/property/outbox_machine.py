"""The whole outbox with everything that can happen to it, in lockstep with a pure model: see `test_property_outbox`.

The outbox, the drainer, the carrier and the courier are the real ones. Time is a FakeClock, Engage a model of it, and
the database answers on the loop's own thread after as many turns of the loop as a seed says, so that a failing run can
be repeated. One process drains and sells, a second one sells and is the operator's; either dies anywhere.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import msgspec
from dying import Line, Process, dying
from fakes import FakeClock, InlineConnection, inline_database, rest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from lockstep import Command, Fate, Written
from model_engage import Fault, Model
from watching import HITS, Watching

from voyado_async.api.bulk import EngageBulk
from voyado_async.api.carrier import EngageCarrier
from voyado_async.api.routes import routes_of
from voyado_async.delivery import BulkTurn, Draft, FileForm, Kind, Message, NoFileForm
from voyado_async.drain import beside, recent
from voyado_async.drain.drainer import Drainer, DrainSettings
from voyado_async.drain.policy import Schedule
from voyado_async.errors import InvalidEntry
from voyado_async.events import AttemptMade, BreakerChanged, DrainerStopped, Event, FileChanged, Problem
from voyado_async.fallback.courier import Courier
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem, voucher_redeem
from voyado_async.kinds.address import address
from voyado_async.kinds.call import Operation
from voyado_async.outbox.records import Asked, Learned, Stored
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import FINAL, State
from voyado_async.settings import Settings

T = TypeVar("T")

ANNA, BO = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10", "c41d8a90-2b36-4f1e-8e77-91d3a6b05f2e"
CONTACTS = {ANNA: "anna@example.com", BO: "bo@example.com"}
NEWCOMERS = ("cia@example.com", "dan@example.com")
ADDRESSES = (*CONTACTS.values(), "eva@example.com")
"""What a contact may be renamed to, where nobody else has it."""
TOLD_FOR = (30.0, 2000.0, 0.0)
"""Seconds for which what Engage told of an address stands for a look-up: the usual ones, far too long, and never."""
SCHEDULES = (Schedule((10_000, 30_000, 60_000, 300_000), 8), Schedule((500, 2_000), 3))
"""The usual one, and one that is so quick that only the rest of a lane keeps it from overtaking Engage."""
LATE = [fault for fault in Fault if fault.endswith("_late")]
PERIOD = 900.0
"""Seconds between two imports of Engage, and how long a bulk request may take there."""

_still_so = recent.still_so
"""The real one; in its place stands one that counts."""

NO_FILE = "a name that the tenant's XSD refuses"


class OutboxMachine(Watching):
    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="voyado-property-", dir=base))
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.number = 0
        self.misdated: set[int] = set()
        """Written when the clock was ahead by more than the 5 minutes that a look-up allows for (DESIGN 3)."""
        self.drainer: Drainer | None = None
        self.task: asyncio.Task[None] | None = None
        self.sound = True
        self.processes: list[Process] = []
        self.patches = ExitStack()
        self.made = self.patches.enter_context(inline_database())
        self.patches.enter_context(dying(lambda: self.processes))
        # Looking for lost pokes and changes of health four times a second would be nearly all that a run does.
        self.patches.enter_context(mock.patch.object(beside, "LOOK", 2.0))
        self.patches.enter_context(mock.patch.object(recent, "still_so", self._told))

    @staticmethod
    def _told(*args: Any, **values: Any) -> bool:
        """Whether an answer still counts, tallied."""
        counts = _still_so(*args, **values)
        HITS["look-up saved" if counts else "look-up not saved, for what is known may have changed"] += 1
        return counts

    @initialize(
        seed=st.integers(0, 2**16),
        drains=st.booleans(),
        schedule=st.sampled_from(SCHEDULES),
        bulk=st.booleans(),
        told_for=st.sampled_from(TOLD_FOR),
    )
    def begin(self, seed: int, drains: bool, schedule: Schedule, bulk: bool, told_for: float) -> None:
        self.schedule = schedule
        self.told_for = told_for
        self.settings = Settings(
            outbox=str(self.folder / "outbox.db"), contact_key="email", sftp_contacts_dir="contacts",
            sftp_transactions_dir="transactions", sftp_redemptions_dir="redemptions", import_period=PERIOD,
            fallback_contacts="bulk" if bulk else "sftp",
        )  # fmt: skip
        chance = random.Random(seed)
        InlineConnection.hops = staticmethod(lambda: chance.randrange(4))
        self.spread = chance.random
        self.model = Model(self.clock, chance, PERIOD)
        for contact_id, email in CONTACTS.items():
            self.model.add_contact(contact_id, email)

        async def begin() -> None:
            self.shop = Process("shop", self.settings.outbox, self.clock, self.made, HITS)
            self.main = Process("program", self.settings.outbox, self.clock, self.made, HITS)
            await self.shop.open()
            await self.main.open()
            self.processes = [self.main, self.shop]
            if drains:
                await self._start()

        self.run(begin())

    # processes --------------------------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let it happen; whoever died over it is buried and begins anew."""

        async def happen() -> T:
            result = await work
            await self._bury_the_dead()
            return result

        self.sound = False
        result = self.runner.run(happen())
        self.sound = True
        return result

    async def _bury_the_dead(self) -> None:
        drained = self.drainer is not None
        while self.main.gone:  # it may die at once again
            await self._kill()
            await self.main.open()
            if drained:
                await self._start()
        while self.shop.gone:
            await self.shop.close_files()
            await self.shop.open()

    def _others(self) -> set[asyncio.Task[Any]]:
        return self.model.tasks | self.shop.tasks

    async def _kill(self) -> None:
        HITS["killed while sending"] += self._sending()
        await self.main.bury(self._others)
        if self.drainer is not None:
            self.drainer._right.give_up()
        self.drainer = self.task = None

    def _sending(self) -> int:
        return int(self.shop.database.execute("SELECT count(*) FROM entry WHERE state = 'sending'").fetchone()[0])

    async def _start(self) -> None:
        line = Line(self.main, self.model)
        routes = routes_of(3)
        outbox: SqliteOutbox = self.main.outbox
        bulk = EngageBulk(line, routes)  # type: ignore[arg-type]  # stands for Http
        made = Courier.of(outbox, self.settings, bulk=bulk)

        def file_form(message: Message) -> FileForm | NoFileForm:
            if NO_FILE.encode() in message.body:
                raise InvalidEntry("nickname", "is refused")
            return made._file_form(message)

        road = Courier(outbox, made._spool, file_form, self.settings, line.connect, bulk)

        async def step(now: int, healthy: bool, turn: BulkTurn) -> int:
            return (await road.step(now, api_healthy=healthy, turn=turn)).next_due

        self.drainer = Drainer(
            outbox,
            EngageCarrier(line, routes, contact_key="email"),  # type: ignore[arg-type]  # stands for Http
            DrainSettings(self.schedule, 40.0, 4, 5, confirm=True, told_for=self.told_for),
            self.clock,
            second_road=step,
            emit=self.events.append,
            spread=self.spread,
        )
        self.task = asyncio.create_task(self.drainer.run())
        await rest()

    async def _stop(self) -> None:
        assert self.drainer is not None
        assert self.task is not None
        self.drainer.stop()
        await self.clock.until(lambda: self.main.gone or (self.task is not None and self.task.done()), within=10)
        if self.main.gone:
            return
        self.task.result()
        assert self._sending() == 0
        self.drainer = self.task = None

    # what the shop does -----------------------------------------------------------------------------------------------

    async def _put(self, draft: Draft, written: Written, *, elsewhere: bool) -> Stored | None:
        """None: the process died over it, and the shop was told nothing."""
        process = self.shop if elsewhere else self.main
        stored = await process.survives(process.outbox.enqueue([draft]))
        if stored is None:
            await self._bury_the_dead()
            self._adopt(draft, written)
            return None
        if stored[0].existing is None:
            self._add(stored[0].id, draft, written)
        await rest()
        return stored[0]

    def _adopt(self, draft: Draft, written: Written) -> None:
        """What was being written when the process died is there wholly, or not at all."""
        new = self.shop.database.execute(
            "SELECT entry.id, body.content FROM entry JOIN body ON body.entry = entry.id WHERE entry.id > ?",
            (max(self.written, default=0),),
        ).fetchall()
        assert len(new) <= 1
        for entry, content in new:
            assert content == draft.body
            self._add(entry, draft, written)

    def _next(self) -> int:
        self.number += 1
        return self.number

    @rule(
        contact=st.sampled_from([*CONTACTS, *CONTACTS.values(), *NEWCOMERS]),
        elsewhere=st.booleans(),
        also=st.sampled_from([{}, {}, {}, {"nickname": None}, {"nickname": NO_FILE}]),
    )
    def change(self, contact: str, elsewhere: bool, also: dict[str, object]) -> None:
        """`also`: what is cleared has no form in a file and waits for the API; what the tenant's XSD has something
        against is refused alone."""
        number = self._next()
        named = address(email=contact) if "@" in contact else address(contact_id=contact)
        draft = contact_update.draft(named, {"city": f"c{number}"} | also)
        written = Written(Kind.CONTACT_UPDATE, contact, number, lane=draft.lane)
        if "@" in contact:
            self.model.addressed[number] = contact
        self.run(self._put(draft, written, elsewhere=elsewhere))

    @rule(contact=st.sampled_from([*CONTACTS]), email=st.sampled_from(ADDRESSES), elsewhere=st.booleans())
    def rename(self, contact: str, email: str, elsewhere: bool) -> None:
        """The contact gets another address, which may have been somebody else's."""
        self.change(contact, elsewhere, {"email": email})

    @rule(email=st.sampled_from(ADDRESSES), after=st.sampled_from([0.0, 0.3, 11]))
    def read(self, email: str, after: float) -> None:
        """The shop finds a contact, and what it found is written down some time later."""

        async def read() -> None:
            asked, mark = Asked.now(self.clock), await self.shop.outbox.mark(email)
            contact = self.model.emails.get(email)
            await self.clock.advance(after)
            if contact is not None:
                learned = Learned(f"email:{email}", contact, mark.forgets, None, *asked)
                await self.shop.survives(self.shop.outbox.remember_contacts([learned]))

        self.run(read())

    @rule(contact=st.sampled_from([*CONTACTS]), elsewhere=st.booleans())
    def change_type(self, contact: str, elsewhere: bool) -> None:
        number = self._next()
        draft = contact_type.draft(contact, f"t{number}")
        written = Written(Kind.CONTACT_TYPE, contact, number, lane=draft.lane)
        self.run(self._put(draft, written, elsewhere=elsewhere))

    @rule(contact=st.sampled_from([*CONTACTS, *CONTACTS.values()]), fault=st.sampled_from(LATE), dies=st.booleans())
    @precondition(lambda self: self.drainer is not None)
    def change_twice_while_engage_is_late(self, contact: str, fault: Fault, dies: bool) -> None:
        """The older change is applied when its client is gone, perhaps with its process."""
        self.model.faults.extend([fault] * (1 if dies else 2))
        self.change(contact, elsewhere=False, also={})
        self.change(contact, elsewhere=True, also={})
        self.run(self.clock.advance(0.2))
        if dies:
            self.die(0, starts=True)
        self.run(self.clock.advance(3))

    @rule(email=st.sampled_from([*NEWCOMERS, CONTACTS[BO]]), elsewhere=st.booleans())
    def create(self, email: str, elsewhere: bool) -> None:
        number = self._next()
        draft = contact_create.draft({"email": email, "city": f"c{number}"}, contact_key="email")
        written = Written(Kind.CONTACT_CREATE, email, number, lane=draft.lane)
        self.run(self._put(draft, written, elsewhere=elsewhere))

    @rule(contact=st.sampled_from([ANNA, BO, None]), elsewhere=st.booleans())
    def redeem(self, contact: str | None, elsewhere: bool) -> None:
        subject = f"a0000000-0000-4000-8000-{len(self.model.assignments):012d}"
        self.model.assignments[subject] = contact
        draft = redeem.draft(subject, channel="ECOM", contact_id=contact)
        self.run(self._put(draft, Written(Kind.REDEEM, subject, lane=draft.lane), elsewhere=elsewhere))

    @rule(contact=st.sampled_from([ANNA, BO, None]), elsewhere=st.booleans())
    def redeem_voucher(self, contact: str | None, elsewhere: bool) -> None:
        subject = self._voucher(contact)
        draft = voucher_redeem.draft(subject, contact_id=contact)
        self.run(self._put(draft, Written(Kind.VOUCHER_REDEEM, subject, lane=draft.lane), elsewhere=elsewhere))

    def _voucher(self, contact: str | None) -> str:
        subject = f"b0000000-0000-4000-8000-{len(self.model.vouchers):012d}"
        self.model.vouchers[subject] = contact
        return subject

    def _sale(self, contact: str) -> tuple[Draft, Written]:
        subject = f"R-{self._next()}"
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
        draft = receipt.draft(content)
        return draft, Written(Kind.RECEIPT, subject, lane=draft.lane, draft=draft)

    @rule(contact=st.sampled_from([*CONTACTS, CONTACTS[ANNA], *NEWCOMERS]), elsewhere=st.booleans())
    def sell(self, contact: str, elsewhere: bool) -> None:
        draft, written = self._sale(contact)
        if self.run(self._put(draft, written, elsewhere=elsewhere)) is None:
            # The shop was told nothing and repeats it under its natural key; the other process lives.
            self.run(self._put(draft, written, elsewhere=not elsewhere))

    @rule(data=st.data(), elsewhere=st.booleans())
    @precondition(lambda self: self._sales())
    def sell_again(self, data: st.DataObject, elsewhere: bool) -> None:
        """The shop's reconciler repeats a sale: it is there, or was delivered and is purged, or counts as new."""
        self._repeat(data.draw(st.sampled_from(self._sales())), elsewhere=elsewhere)

    def _sales(self) -> list[int]:
        return [entry for entry, written in self.written.items() if written.draft is not None]

    def _repeat(self, entry: int, *, elsewhere: bool) -> None:
        self.run(self._watch())
        first = self.written[entry]
        assert first.draft is not None
        holders = [
            each
            for each, written in self.written.items()
            if written.subject == first.subject
            and (
                self.states.get(each, State.REJECTED) not in (State.REJECTED, State.DISCARDED)
                or written.fate is Fate.SPENT
            )
        ]
        assert len(holders) <= 1, holders
        again = msgspec.structs.replace(first, fate=Fate.THERE)
        stored = self.run(self._put(first.draft, again, elsewhere=elsewhere))
        if stored is not None:
            assert ([stored.id] if stored.existing is not None else []) == holders, (stored, holders)

    @rule(data=st.data(), elsewhere=st.booleans())
    @precondition(lambda self: self.written)
    def cancel(self, data: st.DataObject, elsewhere: bool) -> None:
        self._cancel(data.draw(st.sampled_from(sorted(self.written)[-8:])), elsewhere=elsewhere)

    def _cancel(self, entry: int, *, elsewhere: bool) -> None:
        process = self.shop if elsewhere else self.main
        self._do(process.survives(process.outbox.cancel(entry, "cancelled")), Command("cancel", frozenset({entry})))

    def _do(self, work: Coroutine[Any, Any, T], command: Command) -> T:
        """A person does something, while everything else goes on."""

        async def do() -> T:
            await self._watch()
            self.command = command
            try:
                result = await work
                await self._watch()
            finally:
                self.command = None
            return result

        return self.run(do())

    # what Engage and the network do -----------------------------------------------------------------------------------

    @rule(faults=st.lists(st.sampled_from(Fault), min_size=1, max_size=6))
    def have_faults(self, faults: list[Fault]) -> None:
        self.model.faults.extend(faults)

    @rule(seconds=st.sampled_from([60, 1500, 4000]))
    def go_down_for_a_while(self, seconds: int) -> None:
        self.model.down = True
        # By the quick schedule everything is exhausted in seconds, and what follows is nothing but probes.
        self.run(self.clock.advance(seconds if self.schedule is SCHEDULES[0] else 360 + seconds / 10))

    @rule()
    @precondition(lambda self: self.model.down)
    def come_up(self) -> None:
        self.model.down = False
        self.run(self.clock.advance(15))

    @rule(works=st.booleans())
    def change_the_key(self, works: bool) -> None:
        self.model.key_works = works

    @rule(operation=st.sampled_from([None, Operation.REDEEM, Operation.UPDATE_CONTACT, Operation.CHANGE_CONTACT_TYPE]))
    def forbid(self, operation: Operation | None) -> None:
        self.model.forbidden = set() if operation is None else {operation}

    @rule(data=st.data())
    @precondition(lambda self: self.model.assignments or self.model.vouchers)
    def be_redeemed_by_somebody_else(self, data: st.DataObject) -> None:
        some = sorted(self.model.assignments)[-5:] + sorted(self.model.vouchers)[-5:]
        subject = data.draw(st.sampled_from(some))
        if subject not in self.model.redeemed:
            self.model.redeem(subject, by_us=False)

    @rule(skips=st.sampled_from([0.0, 0.0, 0.5, 1.0]))
    def import_files(self, skips: float) -> None:
        """Engage takes the files, leaves out some of what stands in them, or loses them."""
        taken = self.model.import_files(skips=skips)
        HITS["file lost by Engage" if skips == 1 else "file imported"] += taken
        self.run(self.clock.advance(400))

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
        """Between any two steps of the loop."""

        async def die() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await self._kill()
            await self.main.open()
            if starts:
                await self._start()

        self.run(die())

    @rule(who=st.sampled_from(["main", "main", "shop"]), nth=st.integers(1, 40))
    def doom(self, who: str, nth: int) -> None:
        """It dies at the nth point that it comes by from now on."""
        left = iter(range(nth - 1, -1, -1))
        getattr(self, who).doomed = lambda point: next(left, 1) == 0

    @rule(lost=st.booleans())
    def lose_the_spool_folder(self, lost: bool) -> None:
        """The machine ended with its process; `lost`: a file that was not synced is gone."""

        async def die() -> None:
            await self._kill()
            for file in self.settings.spool_path.glob("*.xml") if lost else ():
                file.unlink()
            await self.main.open()
            await self._start()

        self.run(die())

    @rule()
    @precondition(lambda self: self.drainer is not None)
    def stop(self) -> None:
        self.run(self._stop())

    @rule()
    @precondition(lambda self: self.drainer is None)
    def start(self) -> None:
        self.run(self._start())

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
            if hasattr(self, "model"):
                HITS.update(self.model.hits)
            for event in self.events:
                HITS[_name(event)] += 1

    async def _drain_all(self) -> None:
        """Faults end, time goes on: everything comes to an end that a person need not bring about.

        What is exhausted while everything else was well, and has no form in a file, waits for a person.
        """
        model = self.model
        model.faults.clear()
        model.down, model.key_works, model.remote_fails = False, True, False
        model.forbidden = set()
        self.main.doomed = self.shop.doomed = lambda point: False
        if self.drainer is None:
            await self._start()
        for round_ in range(60):
            states = (await self.main.outbox.counts()).states
            if not any(count for state, count in states.items() if State(state) not in FINAL | {State.REJECTED}):
                break
            await self.clock.advance(400)
            model.import_files()
            if round_ == 30:
                await self._help()
        else:
            raise AssertionError(("it does not drain", states))
        await self._check()

    async def _check(self) -> None:
        raise NotImplementedError

    async def _help(self) -> None:
        raise NotImplementedError

    async def _close(self) -> None:
        if not self.processes:
            return
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if task in self.model.tasks:
                task.cancel()
        await self._kill()
        await self.shop.outbox.close()


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
