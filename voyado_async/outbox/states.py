"""The life of an entry: every state, every move, and who makes it; and where a fallback file may be.

The schema's CHECK, the README's table and `TRANSITIONS` tell the same story; a test compares them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where an entry is."""

    PENDING = "pending"
    """Waits for its turn or for its next attempt. The drainer moves it on; after a crash nothing has to be done."""
    SENDING = "sending"
    """A request is being written or its answer awaited. Found after a crash: outcome unknown, back to pending with
    a rest for its lane."""
    DELIVERED = "delivered"
    """Engage accepted it, or a look-up proved that it had. Final."""
    REJECTED = "rejected"
    """Engage refused it for good, or it cannot be expressed. Waits for a person."""
    EXHAUSTED = "exhausted"
    """The retry schedule is used up. Waits for the next file, or for the API to come back."""
    SPOOLED = "spooled"
    """Stands in a file that is complete and fsynced in the spool folder, and can still be withdrawn."""
    UPLOADED = "uploaded"
    """The upload of its file has begun or is done, or a bulk request with it: from here on Engage may have it, and it
    is never withdrawn."""
    IMPORTED = "imported"
    """Engage has taken the file out of the folder, or the bulk request has ended. Not yet proof: confirmed over
    the API when that is back."""
    DISCARDED = "discarded"
    """Dropped with a reason, superseded, or cancelled by the shop. Final, kept for the record."""


FINAL = frozenset({State.DELIVERED, State.DISCARDED})
"""Nothing moves these on but a person."""

SETTLED = frozenset({State.DELIVERED, State.REJECTED, State.DISCARDED})
"""Where `wait()` ends."""

AWAY = frozenset({State.EXHAUSTED, State.SPOOLED, State.UPLOADED, State.IMPORTED})
"""On the second road. What it holds in its lane is in `lanes.HOLDS`."""


class FileState(StrEnum):
    """Where a fallback file is; from where it may go where is in `file_moves.FILE_MOVES`."""

    SPOOLED = "spooled"
    """Complete in the spool folder."""
    UPLOADING = "uploading"
    """Its upload has begun, and is never taken back."""
    UPLOADED = "uploaded"
    """In the folder that Engage imports from, or carried by hand."""
    IMPORTED = "imported"
    """Engage has taken it out of the folder."""
    WITHDRAWN = "withdrawn"
    """Taken back before its upload."""
    LOST = "lost"
    """Gone or damaged before its upload."""


OPEN_FILES = (FileState.SPOOLED, FileState.UPLOADING, FileState.UPLOADED)
"""Those that have not wholly left."""


class Transition(NamedTuple):
    """One move that can happen."""

    source: State
    target: State
    who: str
    when: str


TRANSITIONS: tuple[Transition, ...] = (
    Transition(State.PENDING, State.SENDING, "drainer", "its request goes out: token, slot and breaker are granted"),
    Transition(State.PENDING, State.DELIVERED, "drainer", "a look-up shows that Engage has it"),
    Transition(State.PENDING, State.REJECTED, "drainer", "a look-up is refused for good, or it cannot be expressed"),
    Transition(State.PENDING, State.EXHAUSTED, "drainer", "its last turn is used up without a request going out"),
    Transition(State.PENDING, State.DISCARDED, "anybody", "cancelled, discarded with a reason, or superseded"),
    Transition(State.SENDING, State.PENDING, "drainer", "to be tried again, or found after a crash"),
    Transition(State.SENDING, State.DELIVERED, "drainer", "Engage accepted it"),
    Transition(State.SENDING, State.REJECTED, "drainer", "Engage refused it for good"),
    Transition(State.SENDING, State.EXHAUSTED, "drainer", "its last turn is used up"),
    Transition(State.DELIVERED, State.PENDING, "operator", "replayed by its id"),
    Transition(State.DELIVERED, State.EXHAUSTED, "operator", "replayed by its id, by file"),
    Transition(State.REJECTED, State.PENDING, "operator", "replayed"),
    Transition(State.REJECTED, State.EXHAUSTED, "operator", "replayed by file"),
    Transition(State.REJECTED, State.DISCARDED, "operator", "discarded with a reason, or superseded"),
    Transition(State.EXHAUSTED, State.SPOOLED, "fallback", "its file is complete"),
    Transition(State.EXHAUSTED, State.UPLOADED, "fallback", "the API is back, and a bulk request with it begins"),
    Transition(State.EXHAUSTED, State.PENDING, "fallback", "the API is back, or it is replayed"),
    Transition(State.EXHAUSTED, State.REJECTED, "fallback", "it cannot be written to a file"),
    Transition(State.EXHAUSTED, State.DISCARDED, "anybody", "discarded with a reason, or superseded"),
    Transition(State.SPOOLED, State.UPLOADED, "fallback", "the upload begins, or a person carried the file"),
    Transition(State.SPOOLED, State.EXHAUSTED, "fallback", "its file is withdrawn or lost"),
    Transition(State.SPOOLED, State.PENDING, "fallback", "the API is back and its file withdrawn"),
    Transition(State.UPLOADED, State.IMPORTED, "fallback", "Engage took the file, or the bulk request has ended"),
    Transition(State.UPLOADED, State.PENDING, "operator", "replayed by its id"),
    Transition(State.UPLOADED, State.DISCARDED, "operator", "discarded by its id with a reason"),
    Transition(State.IMPORTED, State.PENDING, "operator", "replayed by its id"),
    Transition(State.IMPORTED, State.DISCARDED, "operator", "discarded by its id with a reason"),
    Transition(State.IMPORTED, State.DELIVERED, "fallback", "confirmed over the API, or confirmation is off"),
    Transition(State.IMPORTED, State.REJECTED, "fallback", "the API refuses it for good"),
    Transition(State.DISCARDED, State.PENDING, "operator", "replayed by its id"),
    Transition(State.DISCARDED, State.EXHAUSTED, "operator", "replayed by its id, by file"),
)

MOVES = frozenset((move.source, move.target) for move in TRANSITIONS)


def may_move(source: State, target: State) -> bool:
    """Whether the table has this move."""
    return (source, target) in MOVES
