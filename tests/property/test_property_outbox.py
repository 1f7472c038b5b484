"""The promise of the outbox (DESIGN 1), held against a model: any faults, crashes, restarts, outages and operators, in
any order. ``VOYADO_PROPERTY=long`` looks for longer, ten minutes on one core, and each time elsewhere;
``--hypothesis-seed`` says where.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from dying import STEPS
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from lockstep import GONE, OPERATOR, PROGRAM, Fate, Written
from model_engage import BULK, CHANGES, LISTS, Fault
from operator_rules import OperatorMachine, plain_of
from tour import tour
from watching import HITS

from voyado_async.delivery import Kind
from voyado_async.events import Problem
from voyado_async.kinds.call import Operation
from voyado_async.outbox.states import State


class Promise(OperatorMachine):
    """What must hold after every step."""

    @invariant()
    def the_promise_holds(self) -> None:
        if self.processes:
            self.run(self._check())

    async def _check(self) -> None:
        await self._watch()
        assert self.task is None or not self.task.done(), self.task
        assert self.model.offences == [], self.model.offences
        faults = [e for e in self.events if isinstance(e, Problem) and e.code == "internal_error"]
        assert not faults, faults
        outbox = self.shop.outbox
        assert [finding for finding in await outbox.verify() if not finding.ok] == []
        counts = await outbox.counts()
        assert counts.balanced
        rows = self.shop.database.execute("SELECT id, state, coalesce(reason, '') FROM entry ORDER BY id").fetchall()
        await self._watch()
        assert {row[0]: row[1] for row in rows} == self.states
        assert self.states.keys() == {entry for entry, each in self.written.items() if each.fate is Fate.THERE}
        gone = (counts.enqueued, counts.purged, counts.forgotten)
        assert gone == (len(self.written), self.gone["purged"], self.gone["forgotten"])
        sent = self.shop.database.execute("SELECT count(*) FROM entry WHERE state = 'sending' GROUP BY lane").fetchall()
        assert all(count == 1 for (count,) in sent)
        for entry, state, reason in rows:
            self._check_entry(entry, self.written[entry], State(state), reason)
        overwritten = self.model.overwritten(self.numbers, self.together, self.known, self.is_excused)
        assert overwritten == [], (overwritten, self.model.applied, self.model.by_file, self.numbers)
        self._learn_who_is_one()

    def _learn_who_is_one(self) -> None:
        """What the outbox knows by now to be one contact's."""
        numbered = [
            (entry, each.number, self._lane(each.lane))
            for entry, each in self.written.items()
            if each.number and each.fate is Fate.THERE
        ]
        for older, first, lane in numbered:
            for newer, second, other in numbered:
                if older < newer and lane is not None and lane == other:
                    applied = next((all_ for all_ in self.model.applied.values() if {first, second} & {*all_}), [])
                    self.known.setdefault((older, newer), len(applied))

    def _check_entry(self, entry: int, written: Written, state: State, reason: str) -> None:
        """Nothing is delivered that Engage does not have; nothing that we redeemed is told as refused; nothing is
        dropped but by a person, or because newer changes have set all of it."""
        if state is State.DELIVERED:
            match written.kind:
                case Kind.REDEEM | Kind.VOUCHER_REDEEM:
                    assert written.subject in self.model.redeemed, written
                case Kind.RECEIPT:
                    assert written.subject in self.model.receipts, written
                case Kind.CONTACT_CREATE:
                    assert written.subject in self.model.owners, written
                case _:
                    applied = self.model.types if written.field == "type" else self.model.applied
                    contacts = self.model.owners.get(written.subject, [written.subject])
                    came = [self.numbers[number] for contact in contacts for number in applied[contact]]
                    left = entry in self.left_to_newer or self._is_cut(entry)
                    assert max(came, default=0) >= entry or left, written
        elif state is State.REJECTED and written.kind in REDEMPTIONS and "may have happened" not in reason:
            assert entry in self.misdated or not self.model.redeemed.get(written.subject, (0, False))[1], (
                written,
                reason,
            )
        elif state is State.DISCARDED:
            assert reason in ("cancelled", "unwanted", "superseded"), (written, reason)

    def _is_cut(self, entry: int) -> bool:
        """A replay has left out of it what a newer one sets."""
        row = self.shop.database.execute("SELECT content FROM body WHERE entry = ?", (entry,)).fetchone()
        return self.written[entry].field == "city" and "city" not in plain_of(bytes(row[0]))["changes"]


REDEMPTIONS = (Kind.REDEEM, Kind.VOUCHER_REDEEM)
REQUESTS = CHANGES | BULK | LISTS | {Operation.FIND_CONTACT, Operation.GET_CONTACT}
FILE_STATES = ("uploading", "uploaded", "imported", "withdrawn", "lost")

PROFILES = {"ci": (40, 25), "mid": (200, 40), "long": (1000, 50)}
"""How many runs of how many steps, after the tour: together some 40 s, two minutes and ten minutes."""


@pytest.mark.timeout(36_000)
@pytest.mark.filterwarnings("default::hypothesis.errors.HypothesisWarning")
def test_whatever_happens_the_promise_holds(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = os.environ.get("VOYADO_PROPERTY", "ci")
    runs, steps = PROFILES[chosen]
    HITS.clear()
    walked: Counter[str] = Counter()
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
    try:
        tour(Promise)
        walked = Counter(HITS)
        run_state_machine_as_test(Promise, settings=profile)
    finally:
        with capsys.disabled():
            print("\n     all  random")
            for name in sorted({*HITS, *required()}):
                print(f"{HITS[name]:8}{HITS[name] - walked[name]:8} {name}")
    missed = [name for name in required() if not HITS[name]]
    assert missed == []


def required() -> list[str]:
    """What a run has to come by: every move that anybody may make, every fault, and a death at every named point."""
    moves = {"program": PROGRAM, "shop": OPERATOR}
    commits = {
        "program": {"a record", "new entry", "lanes joined", "new file"} | {f"file {state}" for state in FILE_STATES},
        "shop": {"a record", "new entry", "gone", "file withdrawn", "file uploaded"},
    }
    for who, its in moves.items():
        commits[who] |= {f"{source} -> {target}" for source, target in its if target != GONE}
    points = [f"commit of the {who}: {name}" for who, names in commits.items() for name in names]
    deaths = [f"a {point}" for point in points]
    deaths += [f"the {step}" for step in STEPS] + [f"the request: {operation}" for operation in REQUESTS]
    return sorted(
        [f"move {source} -> {target}, {who}" for who, its in moves.items() for source, target in its]
        + [f"fault {fault}" for fault in Fault]
        + [f"died {when} {point}" for point in deaths for when in ("before", "after")]
        + ["fault of the file server", "file lost by Engage", "row of a file left out in silence"]
        + ["bulk request skipped in silence", "bulk request worked off", "killed while sending"]
        + ["a later page of vouchers", "look-up saved", "look-up not saved, for what is known may have changed"]
        + [f"delivered {kind}" for kind in Kind]
    )
