"""What a replay does with one entry, and why that is safe: a pure function of where it stands (DESIGN 4, `replay`).

`rejected`, `exhausted` and `spooled` are taken as they come; anything else only where a person named it and said
`again`. What may have taken effect is looked up before it is sent, where a look-up exists. A contact update leaves out
what newer entries of its contact have set.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from voyado_async.delivery import Kind, Message
from voyado_async.outbox.states import State


class Road(StrEnum):
    """How a replayed entry goes."""

    API = "api"
    FILE = "file"


class Step(StrEnum):
    """What becomes of one entry."""

    SEND = "send"
    """Back to `pending` with a fresh schedule."""
    FILE = "file"
    """To `exhausted`, for the next file."""
    SUPERSEDE = "supersede"
    """Discarded: newer entries of its contact have set all that it would."""
    DISCARD = "discard"
    LEAVE = "leave"
    """It stays as it is."""


TAKEN = (State.REJECTED, State.EXHAUSTED, State.SPOOLED)
"""What a replay takes without being told twice."""

DROPPED = (State.PENDING, State.REJECTED, State.EXHAUSTED, State.SPOOLED)
"""What a discard takes; of the rest, what left by file goes only where a person named it."""

SUPERSEDED = "superseded"

_TARGETS = {
    Step.SEND: State.PENDING,
    Step.FILE: State.EXHAUSTED,
    Step.SUPERSEDE: State.DISCARDED,
    Step.DISCARD: State.DISCARDED,
}

_CHANGES = (Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE)

_AGAIN = {
    State.PENDING: "it waits for its turn",
    State.DELIVERED: "it is delivered",
    State.UPLOADED: "its file has left for Engage",
    State.IMPORTED: "Engage has taken its file, which is confirmed by itself",
    State.DISCARDED: "it was discarded",
}


class Content(msgspec.Struct, frozen=True):
    """What a replay asks about contents, which the outbox itself does not read."""

    fields: Callable[[Kind, bytes], frozenset[str]]
    """The contact fields that an entry sets."""
    without: Callable[[Kind, bytes, frozenset[str]], bytes | None]
    """The content without those fields; None where nothing is left."""
    natural_key: Callable[[Kind, bytes], str | None]
    can_look_up: Callable[[Message], bool]
    """Whether Engage can be asked what became of an earlier attempt."""
    no_file_form: Callable[[Message], str | None]
    """Why the entry can stand in no file; None where it can."""


class Standing(msgspec.Struct, frozen=True):
    """What is known of one entry at the moment of the decision."""

    id: int
    kind: Kind
    state: State
    unknown: bool = False
    """An earlier request may have taken effect, or a file or bulk request with it has left."""
    file: str | None = None
    rival: int | None = None
    """The entry that holds the key which this one had to give up."""
    left: frozenset[str] = frozenset()
    """Fields that newer entries of its contact have set."""
    nothing_left: bool = False
    can_look_up: bool = False
    no_file_form: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """What becomes of one entry, and why that is safe or why not."""

    id: int
    kind: Kind
    state: State
    step: Step
    why: str
    left_out: tuple[str, ...] = ()
    """The fields that are left out, because newer entries have set them."""

    @property
    def target(self) -> State:
        """Where it goes."""
        return _TARGETS.get(self.step, self.state)

    @property
    def withdraws(self) -> bool:
        """Its file has to be withdrawn before it can go."""
        return self.step is not Step.LEAVE and self.state is State.SPOOLED


def replay(entry: Standing, *, via: Road, again: bool) -> Plan:
    """What a replay makes of the entry."""

    def plan(step: Step, why: str) -> Plan:
        left_out = tuple(sorted(entry.left)) if step in (Step.SEND, Step.FILE) else ()
        return Plan(entry.id, entry.kind, entry.state, step, why, left_out)

    if entry.state is State.SENDING:
        return plan(Step.LEAVE, "a request of it is under way")
    command = f"voyado-async replay {entry.id}{'' if entry.state in TAKEN else ' --again'}"
    if via is Road.FILE and entry.state in (State.SPOOLED, State.UPLOADED, State.IMPORTED):
        named = f" ({entry.file})" if entry.file else ""
        return plan(Step.LEAVE, f"it stands in a file already{named}; to send it by the API: {command}")
    if entry.state not in TAKEN and not again:
        return plan(Step.LEAVE, f"{_AGAIN[entry.state]}; to send it all the same: {command}")
    if entry.rival is not None:
        return plan(Step.LEAVE, f"entry {entry.rival} came after it under the same key")
    if entry.nothing_left:
        if entry.state in (State.DELIVERED, State.UPLOADED, State.IMPORTED, State.DISCARDED):
            return plan(Step.LEAVE, "newer entries of its contact have set all of it")
        return plan(Step.SUPERSEDE, "newer entries of its contact have set all of it")
    if via is Road.FILE:
        if entry.no_file_form is not None:
            return plan(Step.LEAVE, f"no form in a file: {entry.no_file_form}")
        return plan(Step.FILE, "it goes into the next file, and is confirmed over the API when Engage has taken that")
    return plan(Step.SEND, _why_safe(entry))


def _why_safe(entry: Standing) -> str:
    unknown = entry.unknown or entry.state in (State.DELIVERED, State.UPLOADED, State.IMPORTED)
    match entry.kind:
        case Kind.RECEIPT:
            return "Engage knows a receipt by its uniqueReceiptId and takes it once"
        case Kind.CONTACT_CREATE if entry.can_look_up:
            return "the contact is looked up by its key before it is created"
        case Kind.CONTACT_CREATE:
            return "no look-up is possible without VOYADO_CONTACT_KEY; Engage refuses a second contact with its key"
        case Kind.CONTACT_UPDATE | Kind.CONTACT_TYPE:
            kept = "what newer entries have set is left out" if entry.left else "no newer entry has set any of it"
            return f"repeating it is harmless; {kept}"
        case Kind.REDEEM | Kind.VOUCHER_REDEEM if not unknown:
            return "no attempt of it can have taken effect"
        case Kind.REDEEM | Kind.VOUCHER_REDEEM if entry.can_look_up:
            return "an attempt may have taken effect: it is looked up before anything is sent"
    return "an attempt may have taken effect and no look-up is possible without a contact; Engage redeems only once"


def discard(entry: Standing, *, named: bool) -> Plan:
    """What a discard makes of the entry. `named`: a person gave its id."""

    def plan(step: Step, why: str) -> Plan:
        return Plan(entry.id, entry.kind, entry.state, step, why)

    match entry.state:
        case State.SENDING:
            return plan(Step.LEAVE, "a request of it is under way")
        case State.DELIVERED | State.DISCARDED:
            return plan(Step.LEAVE, f"it is {entry.state} already")
        case State.UPLOADED | State.IMPORTED if not named:
            return plan(Step.LEAVE, "Engage may have it from a file; only by its id")
        case State.UPLOADED | State.IMPORTED:
            return plan(Step.DISCARD, "Engage may have it from a file; nobody looks any more whether it does")
    if entry.unknown:
        return plan(Step.DISCARD, "an earlier attempt may have taken effect; nobody looks any more whether it did")
    return plan(Step.DISCARD, "no attempt of it can have taken effect")
