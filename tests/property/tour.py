"""Short walks through the machine of `test_property_outbox` that come by every move, fault and point of death for
certain; the random walks come by most of them, in every order.

Each is walked once as it is, and then again and again, the process dying at the first point where none has died yet,
until there is no such point left on its way.
"""

from __future__ import annotations

from collections.abc import Callable

from model_engage import Fault
from operator_rules import OperatorMachine
from outbox_machine import ADDRESSES, ANNA, BO, CONTACTS, LATE, NEWCOMERS, NO_FILE, SCHEDULES, TOLD_FOR
from watching import HITS

from voyado_async.drain.policy import Schedule
from voyado_async.outbox.states import State

CIA = NEWCOMERS[0]
USUAL, QUICK = SCHEDULES
AFTERNOON = 2400
"""Seconds after which the usual schedule is used up, and the files are at the server."""


class Walk:
    """A machine, and what must hold after each step of it."""

    def __init__(self, make: Callable[[], OperatorMachine], *, schedule: Schedule, bulk: bool, round_: int) -> None:
        self.machine = make()
        self.machine.begin(seed=round_, drains=True, schedule=schedule, bulk=bulk, told_for=TOLD_FOR[round_ % 3])
        if round_:
            for process in (self.machine.main, self.machine.shop):
                process.doomed = lambda point: not HITS[f"died {point}"]
        self.holds()

    def holds(self) -> None:
        self.machine.the_promise_holds()  # type: ignore[attr-defined]  # of the machine that is made here

    def do(self, *steps: Callable[[], object]) -> None:
        for step in steps:
            step()
            self.holds()

    def wait(self, seconds: float) -> None:
        self.machine.run(self.machine.clock.advance(seconds))
        self.holds()

    def of(self, *states: State) -> list[int]:
        """The entries that are there by now."""
        self.holds()
        return [entry for entry, state in self.machine.states.items() if state in states]

    def write(self) -> None:
        """One of each."""
        machine = self.machine
        self.do(
            lambda: machine.redeem(ANNA, False),
            lambda: machine.redeem(None, True),
            lambda: machine.redeem_voucher(ANNA, True),
            lambda: machine.change_type(ANNA, False),
            lambda: machine.sell(BO, False),
            lambda: machine.change(ANNA, True, {}),
            lambda: machine.change(CONTACTS[ANNA], False, {}),
            lambda: machine.change(BO, False, {"nickname": None}),
            lambda: machine.create(CIA, False),
            lambda: machine.sell(CIA, True),
        )

    def go_down(self, seconds: float) -> None:
        self.machine.model.down = True
        self.wait(seconds)

    def replay(self, *states: State, via: str = "api", again: bool = False) -> None:
        for entry in self.of(*states):
            self.do(lambda entry=entry: self.machine._replay_ids([entry], via=via, again=again))

    def discard(self, *states: State, named: bool = True) -> None:
        for entry in self.of(*states):
            self.do(lambda entry=entry: self.machine._discard([entry], named=named))


def every_fault(walk: Walk) -> None:
    """Each of them meets one kind of request after the other; what follows is well."""
    machine = walk.machine
    for place, fault in enumerate(Fault):
        machine.model.faults.append(fault)
        match place % 3:
            case 0:
                walk.do(lambda: machine.redeem(ANNA, True))
            case 1:
                walk.do(lambda: machine.change(CONTACTS[BO], False, {}))
            case _:
                walk.do(lambda: machine.sell(ANNA, True))
        walk.wait(110)
    machine.model.faults.append(Fault.BAD_REQUEST)
    walk.do(lambda: machine.sell(BO, True))
    walk.wait(1)
    walk.replay(State.REJECTED, via="file")
    walk.discard(State.EXHAUSTED)


def poisoned(walk: Walk) -> None:
    """One entry fails for good while everything else is well; one is for nobody that Engage knows."""
    machine = walk.machine
    walk.do(lambda: machine.change(CIA, True, {}))
    walk.wait(1)
    machine.model.faults.extend([Fault.PAGE_LOST] * 3)
    walk.do(lambda: machine.sell(BO, False))
    walk.wait(90)
    walk.do(lambda: machine.create(CIA, True))
    walk.wait(11)


def a_persons_doing(walk: Walk) -> None:
    """Rejections, replays, edits, discards, purges and a contact that is forgotten, while the API works."""
    machine = walk.machine
    machine.model.faults.extend([Fault.BAD_REQUEST] * 4)
    walk.do(
        lambda: machine.change(ANNA, False, {}), lambda: machine.sell(BO, False), lambda: machine.redeem(ANNA, False)
    )
    walk.wait(1)
    for entry in machine._rejected_changes():
        walk.do(lambda entry=entry: machine._edit(entry))
    walk.wait(1)
    walk.discard(State.REJECTED)
    walk.replay(State.DISCARDED, again=True)
    walk.wait(1)
    walk.do(machine.stop if machine.drainer is not None else machine.start)
    walk.write()
    for entry in walk.of(State.PENDING)[:2]:
        walk.do(lambda entry=entry: machine._cancel(entry, elsewhere=True))
    walk.replay(State.PENDING, via="file", again=True)
    walk.discard(State.PENDING, State.EXHAUSTED, named=False)
    walk.do(lambda: machine.sell(ANNA, True))
    walk.do(lambda: machine._cancel(walk.of(State.PENDING)[-1], elsewhere=False))
    walk.replay(State.DISCARDED, via="file", again=True)
    walk.do(machine.start) if machine.drainer is None else None
    walk.wait(400)
    walk.replay(State.DELIVERED, again=True)
    walk.wait(20)
    walk.replay(State.DELIVERED, via="file", again=True)
    walk.do(lambda: machine.import_files(0.0))
    for entry in machine._sales():
        walk.do(lambda entry=entry: machine._repeat(entry, elsewhere=True))
    walk.do(
        lambda: machine.purge(0.0),
        *(lambda entry=entry: machine._repeat(entry, elsewhere=False) for entry in machine._sales()),
    )
    machine.model.faults.append(Fault.BAD_REQUEST)
    walk.do(lambda: machine.sell(ANNA, True))
    walk.wait(1)
    walk.do(machine.stop if machine.drainer is not None else machine.start)
    walk.write()
    for entry in walk.of(State.PENDING)[:1]:
        walk.do(lambda entry=entry: machine._cancel(entry, elsewhere=True))
    for entry in walk.of(State.PENDING)[:4]:
        walk.do(lambda entry=entry: machine._replay_ids([entry], via="file", again=True))
    walk.do(
        lambda: machine.forget(ANNA, False),
        lambda: machine.forget(ANNA, True),
        lambda: machine.forget("email:cia@example.com", True),
    )


def an_afternoon(walk: Walk) -> None:
    """The API is away, files leave and are imported in part; back again, everything is confirmed or put right."""
    machine = walk.machine
    walk.write()
    walk.wait(1)
    walk.go_down(0)
    walk.write()
    walk.do(lambda: machine.change(BO, True, {"nickname": NO_FILE}), lambda: machine.change(CONTACTS[BO], True, {}))
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.import_files(0.5))
    walk.replay(State.REJECTED)
    walk.write()
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.import_files(1.0))
    walk.do(machine.come_up)
    walk.wait(600)


def a_refusal_at_the_end(walk: Walk) -> None:
    """What was imported is refused when it is confirmed; what is left over can be replayed and discarded."""
    machine = walk.machine
    walk.go_down(0)
    walk.write()
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.import_files(1.0))
    machine.model.faults.extend([Fault.BAD_REQUEST] * 12)
    walk.do(machine.come_up)
    walk.wait(30)
    machine.model.faults.clear()
    walk.replay(State.REJECTED, State.IMPORTED, again=True)
    walk.wait(60)


def between_the_roads(walk: Walk) -> None:
    """A person takes things back at each place of the second road, and so does the API that is back."""
    machine = walk.machine
    machine.model.remote_fails = True
    walk.go_down(0)
    walk.write()
    walk.wait(AFTERNOON)
    walk.replay(State.SPOOLED)
    walk.wait(AFTERNOON)
    for entry in walk.of(State.SPOOLED)[:1]:
        walk.do(lambda entry=entry: machine._discard([entry], named=False))
    walk.do(lambda: machine.lose_the_spool_folder(True))
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.take_a_file(carried=False))
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.take_a_file(carried=True))
    walk.replay(State.EXHAUSTED)
    walk.write()
    walk.wait(AFTERNOON)
    walk.do(machine.come_up)
    walk.wait(400)
    machine.model.remote_fails = False
    walk.wait(1000)


def taken_back(walk: Walk) -> None:
    """What has left is replayed and discarded by its id."""
    machine = walk.machine
    walk.go_down(0)
    walk.write()
    walk.wait(AFTERNOON)
    away = walk.of(State.UPLOADED)
    for entry in away[:1]:
        walk.do(lambda entry=entry: machine._replay_ids([entry], via="api", again=True))
    for entry in away[1:2]:
        walk.do(lambda entry=entry: machine._discard([entry], named=True))
    walk.do(lambda: machine.import_files(0.0))
    taken = walk.of(State.IMPORTED)
    for entry in taken[:1]:
        walk.do(lambda entry=entry: machine._replay_ids([entry], via="api", again=True))
    for entry in taken[1:2]:
        walk.do(lambda entry=entry: machine._discard([entry], named=True))
    walk.do(lambda: machine.forget("email:cia@example.com", True))
    walk.wait(1)
    walk.do(machine.come_up)
    walk.wait(60)


def nothing_left_of_it(walk: Walk) -> None:
    """An older change waits for its file when its contact turns out to be one that has a newer one already."""
    machine = walk.machine
    walk.do(lambda: machine.change(BO, False, {}), lambda: machine.change(BO, False, {}))
    walk.wait(1)
    machine.model.faults.extend([Fault.PAGE_LOST] * 3)
    walk.do(lambda: machine.change(CONTACTS[BO], True, {}))
    walk.wait(60)
    walk.do(lambda: machine.change(BO, False, {}))
    walk.wait(1)
    walk.do(lambda: machine.create(CONTACTS[BO], False))
    walk.wait(1)
    walk.do(lambda: machine.purge(0.0))
    walk.wait(400)


def the_newer_one_first(walk: Walk) -> None:
    """An older change comes back when a newer one is there: by a replay, and by a look-up that tells whose it is."""
    machine = walk.machine
    machine.model.faults.append(Fault.PAGE_LOST)
    walk.do(lambda: machine.change(CONTACTS[BO], True, {}), lambda: machine.change(BO, True, {}))
    walk.wait(30)
    for via in ("api", "file"):
        machine.model.faults.append(Fault.BAD_REQUEST)
        walk.do(lambda: machine.change(ANNA, False, {}))
        walk.wait(1)
        walk.do(lambda: machine.change(ANNA, True, {}))
        walk.wait(1)
        walk.replay(State.REJECTED, via=via)
        walk.wait(1)
    machine.model.faults.append(Fault.BAD_REQUEST)
    walk.do(lambda: machine.change(ANNA, False, {}))
    walk.wait(1)
    walk.do(lambda: machine.change(ANNA, True, {}))
    walk.wait(1)
    walk.do(lambda: machine.purge(0.0))
    walk.replay(State.REJECTED)
    walk.wait(1)


def left_to_nobody(walk: Walk) -> None:
    """Engage has lost the file of a change; the newer one, which stands in a file that is still here, is discarded."""
    machine = walk.machine
    walk.go_down(0)
    walk.do(lambda: machine.change(BO, False, {}))
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.import_files(1.0))
    machine.model.remote_fails = True
    walk.do(lambda: machine.change(BO, True, {}))
    walk.replay(State.PENDING, via="file", again=True)
    walk.wait(5)
    walk.do(machine.come_up)
    walk.wait(60)
    walk.discard(State.EXHAUSTED, State.SPOOLED)


def forgotten_over_it(walk: Walk) -> None:
    """Engage takes its time to say whose an address is; by then nothing of it is left, not even its place in a row."""
    machine = walk.machine
    machine.model.faults.append(Fault.SLOW_DONE)
    walk.do(lambda: machine.change(CONTACTS[BO], False, {}))
    walk.wait(1)
    walk.do(lambda: machine.forget("email:bo@example.com", True), lambda: machine.sell(ANNA, True))
    walk.do(lambda: machine.purge(0.0))
    walk.wait(60)


def engage_is_late(walk: Walk) -> None:
    """What nobody has answered is done up to ten seconds later, whoever has died meanwhile; nothing overtakes it."""
    for fault in LATE:
        for dies in (False, True):
            if walk.machine.drainer is None:
                walk.do(walk.machine.start)
            walk.do(lambda fault=fault, dies=dies: walk.machine.change_twice_while_engage_is_late(ANNA, fault, dies))
            walk.wait(240)


def vouchers(walk: Walk) -> None:
    """What became of a redemption is looked for on every page, and found out by repeating it where nobody is known."""
    machine = walk.machine
    for _ in range(3):
        walk.do(lambda: machine.redeem_voucher(ANNA, False))
    walk.wait(1)
    for fault in (Fault.E503_DONE, Fault.TIMEOUT_LOST, Fault.BROKEN_LATE):
        for contact in (ANNA, None):
            machine.model.faults.append(fault)
            walk.do(lambda contact=contact: machine.redeem_voucher(contact, True))
            walk.wait(80 if fault is Fault.TIMEOUT_LOST else 15)
    machine.model.redeem(machine._voucher(BO), by_us=False)
    walk.do(lambda: machine.redeem_voucher(BO, False))
    walk.go_down(0)
    walk.do(lambda: machine.redeem_voucher(ANNA, False))
    walk.wait(60)
    walk.do(machine.come_up)
    walk.wait(60)


def of_another_type(walk: Walk) -> None:
    """Changes of type have their place among the other changes, wait out an outage, and come back without harm."""
    machine = walk.machine
    for via in ("api", "file"):
        machine.model.faults.append(Fault.BAD_REQUEST)
        walk.do(lambda: machine.change_type(ANNA, False), lambda: machine.change(ANNA, True, {}))
        walk.wait(1)
        for entry in machine._rejected_changes():
            walk.do(lambda entry=entry: machine._edit(entry))
        machine.model.faults.append(Fault.BAD_REQUEST)
        walk.do(lambda: machine.change_type(ANNA, True), lambda: machine.change_type(ANNA, False))
        walk.wait(1)
        walk.replay(State.REJECTED, via=via)
        walk.wait(1)
    machine.model.faults.append(Fault.E504_LATE)
    walk.do(lambda: machine.change_type(BO, True), lambda: machine.change_type(BO, False))
    walk.go_down(0)
    walk.do(lambda: machine.change(BO, True, {}), lambda: machine.change_type(BO, True))
    walk.do(lambda: machine.change(CONTACTS[BO], True, {}))
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.import_files(0.5), machine.come_up)
    walk.wait(60)


def called_otherwise(walk: Walk) -> None:
    """An address is its contact's, then nobody's, then another one's; who was asked before knows nothing any more."""
    machine = walk.machine
    anna, bo, eva = ADDRESSES
    for _ in range(2):
        walk.do(lambda: machine.change(anna, False, {}), lambda: machine.change(bo, True, {}))
        walk.wait(11)
    walk.do(lambda: machine.rename(ANNA, eva, False), lambda: machine.change(anna, True, {}))
    walk.wait(1)
    walk.do(lambda: machine.rename(BO, anna, True), lambda: machine.read(anna, 0.0))
    walk.do(lambda: machine.change(anna, False, {}), lambda: machine.change(eva, True, {}))
    walk.wait(11)
    machine.model.faults.append(Fault.E504_LATE)
    walk.do(lambda: machine.rename(BO, bo, True), lambda: machine.change(anna, False, {}))
    walk.wait(0.5)
    walk.do(lambda: machine.read(anna, 0.0), lambda: machine.read(bo, 11))
    walk.do(lambda: machine.change(anna, True, {}), lambda: machine.change(bo, False, {}))
    walk.wait(60)
    walk.do(lambda: machine.rename(BO, anna, True), lambda: machine.change(anna, False, {}))
    walk.wait(11)
    machine.model.faults.append(Fault.TIMEOUT_DONE)
    walk.do(lambda: machine.read(anna, 0.0), lambda: machine.rename(BO, bo, True))
    walk.wait(1)
    walk.do(lambda: machine.change(anna, False, {}))
    walk.wait(120)
    walk.go_down(0)
    walk.do(lambda: machine.rename(ANNA, anna, False), lambda: machine.change(anna, True, {}))
    walk.wait(AFTERNOON)
    walk.do(lambda: machine.import_files(0.0), machine.come_up)
    walk.do(lambda: machine.change(eva, False, {}), lambda: machine.change(bo, False, {}))
    walk.wait(60)


WALKS: tuple[tuple[Callable[[Walk], None], Schedule, bool], ...] = (
    (every_fault, USUAL, False),
    (poisoned, QUICK, False),
    (a_persons_doing, USUAL, False),
    (an_afternoon, USUAL, False),
    (an_afternoon, USUAL, True),
    (a_refusal_at_the_end, USUAL, False),
    (between_the_roads, USUAL, False),
    (taken_back, USUAL, False),
    (nothing_left_of_it, QUICK, False),
    (the_newer_one_first, USUAL, False),
    (left_to_nobody, USUAL, False),
    (forgotten_over_it, USUAL, False),
    (engage_is_late, QUICK, False),
    (vouchers, QUICK, False),
    (of_another_type, USUAL, False),
    (called_otherwise, USUAL, False),
)

MOST = 40
"""Rounds after which a walk would have been round for good."""


def tour(make: Callable[[], OperatorMachine]) -> None:
    """All of them."""
    for walk, schedule, bulk in WALKS:
        for round_ in range(MOST):
            died = _deaths()
            at = Walk(make, schedule=schedule, bulk=bulk, round_=round_)
            try:
                walk(at)
            except BaseException:  # raised again: what failed is not drained to its end
                at.machine.sound = False
                raise
            finally:
                at.machine.teardown()
            if round_ and _deaths() == died:
                break


def _deaths() -> int:
    return sum(count for name, count in HITS.items() if name.startswith("died "))
