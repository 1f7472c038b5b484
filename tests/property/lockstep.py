"""The pure model of the outbox: what was written, and who may move it where.

It knows nothing of SQL and decides nothing by the product's own words but the states. The order of two changes of one
contact is nobody's promise any more (`excused`) where a person has given it up:

- an older one is replayed after the newer one was rejected, discarded, purged or forgotten: that says nothing then;
- or while nobody knows yet that the two names are one contact's;
- what has left already is replayed or discarded by its id: nobody waits any more for what Engage makes of its file.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.states import TRANSITIONS, State


class Fate(StrEnum):
    """What has become of an entry as a row."""

    THERE = "there"
    SPENT = "spent"
    """Delivered and purged: the hash of its key is left."""
    GONE = "gone"


class Written(msgspec.Struct, frozen=True):
    """What the shop was told to be durable."""

    kind: Kind
    subject: str
    """The receipt, the assignment, or what the contact is named by."""
    number: int = 0
    """What it sets, as c<number>; 0: it sets nothing."""
    lane: str = ""
    draft: Draft | None = None
    """Where it can be repeated under its natural key."""
    fate: Fate = Fate.THERE


class Command(msgspec.Struct, frozen=True):
    """What a person does."""

    what: str
    ids: frozenset[int] = frozenset()
    beside: frozenset[int] = frozenset()
    """Entries that stand in one file with them: that is withdrawn."""


P, E, S = State.PENDING, State.EXHAUSTED, State.SPOOLED
R, X, D = State.REJECTED, State.DISCARDED, State.DELIVERED
U, I = State.UPLOADED, State.IMPORTED  # noqa: E741  # the states by their letters
GONE = "gone"

PROGRAM: set[tuple[str, str]] = {
    (move.source, move.target) for move in TRANSITIONS if move.who in ("drainer", "fallback", "anybody")
}

COMMANDS: dict[str, set[tuple[str, str]]] = {
    "cancel": {(P, X)},
    "replay": {(R, P), (E, P), (R, X), (E, X)},
    "replay again": {(R, P), (E, P), (D, P), (U, P), (I, P), (X, P), (P, X), (R, X), (E, X)},
    "replay by file": {(R, E), (R, X), (E, X)},
    "replay by file again": {(R, E), (D, E), (X, E), (P, E), (P, X), (R, X), (E, X)},
    "discard": {(P, X), (R, X), (E, X)},
    "discard by id": {(P, X), (R, X), (E, X), (U, X), (I, X)},
    "edit": set(),
    "purge": {(D, GONE), (X, GONE)},
    "forget": {(state, GONE) for state in (P, E, R, X, D, U, I)},
    "withdraw a file": {(S, P)},
    "carry a file": {(S, U)},
}
"""What each command may do to the entries that it is about."""

_WITHDRAWS = {"replay", "replay again", "discard", "discard by id", "forget"}
"""These withdraw the file that an entry stands in."""

OPERATOR = {move for moves in COMMANDS.values() for move in moves} | {(S, E)}


def may(who: str, source: str, target: str, command: Command | None, entry: int) -> bool:
    """Whether this move of this entry is anybody's to make. `program`: the process that drains."""
    move = (source, target)
    if who == "program":
        return move in PROGRAM
    if command is None:
        return False
    if move == (S, E):
        return command.what in _WITHDRAWS and (entry in command.ids or entry in command.beside)
    return move in COMMANDS[command.what] and entry in command.ids
