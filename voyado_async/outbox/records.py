"""What is told of an outbox and to it: entries and their records, files, the books, contacts, who drains."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from voyado_async.delivery import FileFamily, Kind, Message
from voyado_async.outbox.states import FileState, State

if TYPE_CHECKING:
    from voyado_async.clock import Clock


class Stored(msgspec.Struct, frozen=True):
    """What a write came to."""

    id: int
    state: State
    existing: State | None
    """The state of the entry that was there already under the same key, with the same content; else None."""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=False):
    """One line of an entry's record. It never holds text that Engage sent (it can echo a person's data)."""

    at: int
    what: str
    """``request``, ``look_up``, ``skipped`` (breaker open), ``takeover``, ``file``, ``bulk`` (its code is the batch's
    id), ``confirm`` or ``operator``."""
    outcome: str
    """The state or outcome it came to: ``delivered``, ``retry``, ``rejected``, ``exhausted``, ``slow_down``, ..."""
    status: int | None = None
    code: str | None = None
    duration_ms: int | None = None
    known: bool = True
    """False: the request may have taken effect without our knowing."""


class AsRead(NamedTuple):
    """How an entry stood when it was claimed, or read for a file or bulk request (`Message.lane`, `Message.lines`)."""

    lane: int
    lines: int
    newest: int | None = None
    """The newest entry of its lane that `in_force_after` told of, 0 for none. None: no newer one matters to it."""

    @classmethod
    def of(cls, message: Message) -> AsRead:
        return cls(message.lane, message.lines)


UNCONFIRMED = "ConfirmationFails"
"""The reason of an imported entry whose confirmation has used up the turns of the schedule while the API was well. It
is tried on, at the slowest pace."""


class Settlement(msgspec.Struct, frozen=True):
    """One conditional move of an entry, with a line in its record. Nothing happens where `source` is not its state, or
    where its record is longer than `lines`: it was somewhere else meanwhile, and may have another content."""

    id: int
    source: State
    target: State
    attempt: Attempt | None = None
    due: int = 0
    """When it is its turn again (ms)."""
    slots: int = 0
    unknown: bool = False
    reason: str | None = None
    """The code that listings show."""
    outage: bool = False
    """The open breaker used up a turn of it, or the last one: once exhausted it goes back to the API when that is
    back."""
    rest_until: int = 0
    """The lane rests until then (ms): Engage may still be working on an earlier request."""
    contact_id: str | None = None
    """The contact's id, where it became known."""
    contact_type: str | None = None
    """The contact's type, where it became known; then `contact_id` is known as well."""
    lines: int | None = None
    """How long its record was when it was read (`Message.lines`). None: it may be as long as it likes; nobody but the
    drainer moves what is `sending`."""


class EntryRecord(msgspec.Struct, frozen=True):
    """One entry as listings show it: everything but its content."""

    id: int
    kind: Kind
    state: State
    key: str | None
    lane: str
    created: int
    changed: int
    due: int
    slots: int
    requests: int
    unknown: bool
    reason: str | None
    outage: bool
    file: str | None
    replaces: int | None
    warnings: tuple[str, ...]


class EntryFilter(msgspec.Struct, frozen=True):
    """Which entries; every part that is given must hold."""

    ids: tuple[int, ...] = ()
    states: tuple[State, ...] = ()
    kinds: tuple[Kind, ...] = ()
    contact: str | None = None
    """A contact's id."""
    error: str | None = None
    since: int | None = None
    """Written at or after (ms). What was written with the clock set back by over a day may not be found by time."""
    until: int | None = None
    """Written before (ms)."""
    limit: int | None = None
    address: str | None = None
    """What names a contact otherwise, as its lane is named (``email:anna@example.com``); in place of `contact`."""
    file: str | None = None
    """The name of the fallback file in which they stand, or by which they left. What went back since is not in it."""


INCOMPLETE = "incomplete"
"""The problem of a file in the spool whose entries do not all stand in it: nobody uploads it (`Outbox.spool_file`)."""

STAYS = "stays"
"""The problem of a file that Engage has left in the folder for two import periods."""


class FileRecord(msgspec.Struct, frozen=True):
    """One fallback file and its history."""

    id: int
    name: str
    family: FileFamily
    contact_type: str
    match_key_type: str
    state: str
    """A word of `FileState`."""
    entries: int
    lines: int
    size: int
    created: int
    uploaded: int | None = None
    seen: int | None = None
    """When it was last seen in a listing of the folder."""
    imported: int | None = None
    carried: bool = False
    """Marked by a person as carried by hand."""
    problem: str | None = None
    """Why it stands still, in one word."""

    @property
    def out_of_sight(self) -> bool:
        """Nobody can look what became of it: its problem is the server's."""
        return self.state == FileState.UPLOADED and self.problem not in (None, STAYS)


class Counts(msgspec.Struct, frozen=True):
    """The books of an outbox."""

    states: dict[str, int]
    kinds: dict[str, dict[str, int]]
    enqueued: int
    purged: int
    forgotten: int
    oldest_pending: int | None
    """When the oldest entry that waits was written (ms)."""

    @property
    def balanced(self) -> bool:
        """Accounting closes: every entry ever written is in a state, purged or forgotten."""
        return self.enqueued == sum(self.states.values()) + self.purged + self.forgotten


class BreakerRecord(msgspec.Struct, frozen=True):
    """The breaker as the database keeps it."""

    state: str
    since: int
    next_probe: int = 0
    probes: int = 0
    halted: str | None = None
    """``401`` or ``403:<kind>`` while sending stops because of the key."""


class Finding(msgspec.Struct, frozen=True):
    """What one check of an outbox came to."""

    check: str
    ok: bool
    detail: str


class Mark(msgspec.Struct, frozen=True):
    """How far the outbox was with a contact when Engage was asked. While it is the same, nothing of ours has reached
    Engage for that contact: no clock is involved, and every process sees it.
    """

    forgets: int = 0
    """Contacts that were forgotten so far, of all."""
    moves: int = 0
    """Moves of this contact's entries so far."""


class Asked(NamedTuple):
    """A moment when Engage was asked, by both clocks (ms): the one on the wall may be set; the other begins anew with
    the machine, and is the same in all its processes."""

    at: int
    ticks: int

    @classmethod
    def now(cls, clock: Clock) -> Asked:
        return cls(clock.now(), int(clock.monotonic() * 1000))


class Told(NamedTuple):
    """Whose an address is, as Engage answered when it was asked just that."""

    contact_id: str
    asked: Asked


class Learned(NamedTuple):
    """What a read told of a contact."""

    address: str
    contact_id: str
    forgets: int
    """`Mark.forgets` of when Engage was asked."""
    contact_type: str | None = None
    """Where the address is the id itself (``contact:<guid>``): its type. None: it is the usual one."""
    asked: int | None = None
    ticks: int | None = None
    """`Asked`, where Engage was asked whose the address is."""


class DrainerRecord(msgspec.Struct, frozen=True):
    """Who drains."""

    pid: int
    host: str
    started: int
    progress: int
    """When it was last seen to be at work, on either road (ms)."""
    problem: str | None = None
    moved: int | None = None
    """When it last moved an entry, or had a reason to move none that is told elsewhere (ms). None: as `progress`."""
