"""The pure model of the outbox: what was written, and who may move it where.

It knows nothing of SQL and decides nothing by the product's own words but the states. What it lets pass, and why:

- a newer change that was rejected, or dropped by a person, says nothing: the older one is what is wanted then;
- nor does one that was forgotten, or that was purged: before anybody knew that both are one contact's (retention is
  days, a person's purge may be at once), or before a person brought an older one back;
- what a file or a bulk request brings is in its place only as far as it was known whose it is when it left; and
  where a person took it back later, nobody waits any more for what Engage makes of the file;
- an address that has gone over to another contact stays in the lane of the first one: what is written by it goes to
  whom it names, in no order with that one's other changes (`Porter._change`);
- a person's replay leaves out what a newer entry sets, also one that still waits (DESIGN 4) and may be dropped later;
- a change that left by file is delivered though Engage never had it, where a newer one that Engage may have sets the
  same: that one's own confirmation has the word, and where it is refused, a person has it in hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.states import AWAY, TRANSITIONS, State


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
    """What it sets, as c<number> or, a type, as t<number>; 0: it sets nothing."""
    lane: str = ""
    draft: Draft | None = None
    """Where it can be repeated under its natural key."""
    fate: Fate = Fate.THERE

    @property
    def field(self) -> str | None:
        """What a newer one of its contact would set, too."""
        if not self.number:
            return None
        return "type" if self.kind is Kind.CONTACT_TYPE else "city"


class Command(msgspec.Struct, frozen=True):
    """What a person does."""

    what: str
    ids: frozenset[int] = frozenset()
    beside: frozenset[int] = frozenset()
    """Entries that stand in one file with them: that is withdrawn."""

    @property
    def is_replay(self) -> bool:
        return self.what.startswith("replay")


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


SETTING = (Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE)


def overtaken(entry: int, lane: Mapping[int, tuple[Kind, State]]) -> list[int]:
    """The entries of its lane, itself among them, that have to be out of the way before its request goes out
    (DESIGN 3, "Order"). What waits behind an older change on the second road is in nobody's way."""
    kind, _ = lane[entry]
    away = sorted(each for each, (its, state) in lane.items() if its in SETTING and state in AWAY)

    def is_in_the_way(other: int) -> bool:
        its, state = lane[other]
        if state is State.SENDING:
            return other != entry
        if other >= entry:
            return False
        if its in SETTING and away and away[0] <= other:
            return kind in SETTING
        return state is State.PENDING or (its is Kind.CONTACT_CREATE and state in AWAY)

    return [other for other in lane if is_in_the_way(other)]
