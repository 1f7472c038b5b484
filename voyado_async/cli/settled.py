"""Can the program still move anything by itself? What ``drain --until-settled`` waits for. `verdict` is pure.

An entry moves by itself, without a person, when

    pending      it is the next of its lane, and the key may send its kind; also while the breaker is open: its turns
                 are used up then, and it goes by file
    sending      always: an answer or a time-out comes
    exhausted    it may leave by file: it has a form there, nothing that the operator has set refuses that, and no older
                 change of its contact has to stay; or it was exhausted in an outage (it goes back when the API does)
                 or may leave in a bulk request, unless the key is refused; or it can leave by no road, and that is not
                 written down yet
    spooled      its file can be uploaded (a server, a folder, nothing that only a person can mend), or it was exhausted
                 in an outage, as above
    uploaded     its file is being watched, or was carried by hand (it counts as imported after two import periods); or
                 it is in a bulk request, whose answer or time-out comes
    imported     its confirmation is next, unless the key is refused or it fails again and again while the API is well

What is held by another entry never moves before that one does, so it isn't looked at. `delivered` and `discarded` are
final, and so is `imported` where nothing is confirmed (`VOYADO_FALLBACK_CONFIRM=off`). `rejected` waits for a person.
A server that is away or full mends itself; a changed host key, a refused login, a missing folder do not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec

from voyado_async.outbox.file_moves import WITHHELD
from voyado_async.outbox.records import UNCONFIRMED
from voyado_async.outbox.states import FINAL, FileState, State
from voyado_async.resources.advice import TO_CARRY, UNWATCHED

NOT_BY_TIME = frozenset({"host_key", "login", "folder_missing", "name_taken", "file_missing", "stays"})
"""Problems of a file that time does not solve: `sftp.py` and `plans.py` have the words."""


class Verdict(StrEnum):
    """What `drain --until-settled` does."""

    MOVING = "moving"
    """Something moves by itself: wait."""
    SETTLED = "settled"
    """Every entry is final: 0."""
    NEEDS_PERSON = "needs_person"
    """Nothing more moves by itself: 3."""


class Exhausted(msgspec.Struct, frozen=True):
    """An entry that waits for no creation and no request of its contact."""

    outage: bool
    has_file_form: bool
    """And may leave: no older change of its contact has to stay behind."""
    has_bulk_form: bool = False
    """It is wanted in a bulk request (`VOYADO_FALLBACK_CONTACTS=bulk`), and may leave in one."""
    untold: bool = False
    """It can leave by no road, and the drainer has yet to write that down."""
    withheld: bool = False
    """It has none because what the operator has set refuses it."""


class OpenFile(msgspec.Struct, frozen=True):
    """A file that still has a way to go."""

    name: str
    state: str
    problem: str | None = None
    carried: bool = False
    outage: bool = False
    """One of its entries was exhausted while the breaker was open, so that it goes back when the API does."""
    has_folder: bool = True
    """A server is configured, and a folder for this family."""


class Facts(msgspec.Struct, frozen=True):
    """What the outbox says at one moment."""

    states: Mapping[str, int]
    heads: Collection[str] = ()
    """The kinds of the entries whose turn is next in their lane, due or not."""
    halted: str | None = None
    """``401`` or ``403`` while the key is refused, ``403:<kind>,<kind>`` while it is for those kinds."""
    exhausted: Sequence[Exhausted] = ()
    files: Sequence[OpenFile] = ()
    in_bulk: bool = False
    """A bulk request is under way."""
    confirmable: bool = False
    """An imported entry's confirmation is next, due or not, and does not fail again and again."""
    unconfirmed: int = 0
    """Imported entries whose confirmation does."""
    confirm: bool = True
    """Imported entries are confirmed."""


def verdict(facts: Facts) -> Verdict:
    """Whether something still moves by itself."""
    final = {*FINAL} if facts.confirm else {*FINAL, State.IMPORTED}
    if all(count == 0 for state, count in facts.states.items() if state not in final):
        return Verdict.SETTLED
    moving = (
        facts.states.get(State.SENDING, 0) > 0
        or facts.in_bulk
        or any(_may_send(kind, facts.halted) for kind in facts.heads)
        or any(_leaves(entry, facts.halted) for entry in facts.exhausted)
        or any(_travels(file, facts.halted) for file in facts.files)
        or (facts.confirm and facts.confirmable and not _is_halted(facts.halted))
    )
    return Verdict.MOVING if moving else Verdict.NEEDS_PERSON


def reasons(facts: Facts) -> list[str]:
    """Why a person is needed; for the verdict NEEDS_PERSON."""
    found = []
    if rejected := facts.states.get(State.REJECTED, 0):
        found.append(f"{rejected} rejected")
    if facts.halted is not None:
        found.append(f"the API key is refused ({facts.halted})")
    stuck = [entry for entry in facts.exhausted if not _leaves(entry, facts.halted)]
    if withheld := sum(entry.withheld for entry in stuck):
        found.append(
            f"{withheld} exhausted and refused by what VOYADO_FALLBACK_XSLT_* or VOYADO_FALLBACK_XSD_* name: "
            f"voyado-async list --error {WITHHELD}"
        )
    if formless := len(stuck) - withheld:
        found.append(f"{formless} exhausted that can leave in no file: voyado-async replay --state exhausted")
    if facts.unconfirmed:
        found.append(f"{facts.unconfirmed} whose confirmation fails: voyado-async list --error {UNCONFIRMED}")
    found += [f"file {file.name}: {_why(file)}" for file in facts.files if not _travels(file, facts.halted)]
    return found or ["entries that nothing moves: run `voyado-async verify`"]


def _why(file: OpenFile) -> str:
    if file.problem is not None:
        return file.problem
    return TO_CARRY if file.state == FileState.SPOOLED else UNWATCHED


def _is_halted(halted: str | None) -> bool:
    return halted is not None and ":" not in halted


def _may_send(kind: str, halted: str | None) -> bool:
    return halted is None or (not _is_halted(halted) and kind not in halted.partition(":")[2].split(","))


def _leaves(entry: Exhausted, halted: str | None) -> bool:
    return entry.has_file_form or entry.untold or ((entry.outage or entry.has_bulk_form) and not _is_halted(halted))


def _travels(file: OpenFile, halted: str | None) -> bool:
    if file.state == FileState.SPOOLED and file.outage and not file.carried and not _is_halted(halted):
        return True
    if file.carried:
        return file.state == FileState.UPLOADED and file.problem not in NOT_BY_TIME
    return file.has_folder and file.problem not in NOT_BY_TIME
