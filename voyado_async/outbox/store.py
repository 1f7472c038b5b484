"""What the stages may ask of an outbox. One implementation so far: SQLite (`sqlite.py`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from voyado_async.delivery import Draft, Enough, FileFamily, Kind, Later, Message
from voyado_async.outbox.records import (
    Asked,
    AsRead,
    Attempt,
    BreakerRecord,
    Counts,
    DrainerRecord,
    EntryFilter,
    EntryRecord,
    FileRecord,
    Finding,
    Learned,
    Mark,
    Settlement,
    Stored,
    Told,
)
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import State

if TYPE_CHECKING:
    from voyado_async.outbox.overview import Overview


class Outbox(Protocol):
    """The durable part. Every move is conditional on the state it moves from, so two movers can never both win."""

    path: str
    seal: Seal
    """How what stands in it is sealed; who writes beside it seals in the same way."""

    # sending ----------------------------------------------------------------------------------------------------------

    async def enqueue(self, drafts: Sequence[Draft]) -> list[Stored]:
        """Store all of them in one commit, or none. Returns after the commit is on disk.

        Raises KeyConflict where a key was used with other content, OutboxUnavailable where the disk or the turn is
        not to be had; in both cases nothing of the call is stored.
        """
        ...

    async def claim(self, limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
        """The heads of up to `limit` lanes that are due, redeems first, then by due time. Writes nothing."""
        ...

    async def next_due(self, now: int) -> int | None:
        """When the next lane or confirmation is due of those that are not due yet (ms), or None where there is none."""
        ...

    async def mark_sending(self, entry_id: int, claimed: AsRead | None = None) -> bool:
        """Commit that its request goes out now. False where it is no longer pending, or no longer the next of its
        lane: two lanes may have become one since it was claimed. `claimed` tells how it stood then; False where it has
        moved since, even where it came back, or its lane was joined to another: then it is to be claimed anew."""
        ...

    async def settle(self, settlement: Settlement) -> bool:
        """Move it, conditionally, and put its lane right. Says whether it moved. Calls at one time share a commit."""
        ...

    async def cancel(self, entry_id: int, reason: str) -> bool:
        """Drop an entry that is pending. False where it is anything else."""
        ...

    async def exhaust_lanes(self, lanes: Sequence[int], now: int) -> int:
        """Heads were exhausted while the breaker is open: their lanes' waiting entries go with them. In chunks."""
        ...

    async def exhaust_behind_files(self, now: int) -> int:
        """In lanes in which everything that waits stands behind something on the second road, it follows; and where a
        process died before a lane had followed its exhausted head. In chunks."""
        ...

    async def bring_back(self, now: int) -> int:
        """The API is back: exhausted entries of the outage return to pending with a fresh schedule. In chunks."""
        ...

    async def take_over(self, now: int, rest_until: int) -> list[int]:
        """At the start of draining: what was `sending` has an unknown outcome, and its lane rests. The lane of each."""
        ...

    async def join_lanes(self, lane: int, contact_id: str, address: str, asked: Asked | None = None) -> bool:
        """Make the lane one with the lane of that contact, at once and for lanes of any length. `asked`: when Engage
        was asked whose the address is, where that told it.

        False while one of the two has a request under way. What is written to either later has its turn with both.
        """
        ...

    async def lane_of(self, contact_id: str) -> int | None:
        """The lane of a contact, if it has one."""
        ...

    # the second road --------------------------------------------------------------------------------------------------

    async def exhausted_lines(self) -> tuple[int, int | None]:
        """How many lines of files the exhausted entries are (a receipt is one per item), and since when the oldest of
        them is exhausted (ms); ``(0, None)`` where there is none.

        All of them count, also those that wait for a creation or have no file form.
        """
        ...

    def exhausted(self) -> AsyncIterator[Message]:
        """Exhausted entries in the order of writing, without what must wait for a creation of its contact.

        Those of the outage and the others alike, with `contact_id` and `carried` filled. Which ones is known before the
        first is told, what becomes exhausted later waits for the next time; they are read in chunks. The caller may
        spool and settle while it iterates, no entry comes twice, and between two chunks nothing is held.
        """
        ...

    async def exhausted_of(self, ids: Sequence[int]) -> list[Message]:
        """Of these entries those that `exhausted` would still give."""
        ...

    async def files_wanted(self) -> str | None:
        """Whether an operator asked for files at once; hand it back to `files_written` when they are written."""
        ...

    async def files_written(self, asked: str) -> None:
        """What was asked for is done, unless more was asked for since."""
        ...

    async def next_file_name(self, now: int, family: FileFamily) -> str:
        """A name (ref 6.2) that was never given before and never will be: committed before it is returned.

        ``{YYYYMMDDHHmmss}_{sequence}_{family}.xml``: UTC and never going back; the sequence is digits only, the
        outbox's own random number (always as many digits) followed by a number that only grows.
        """
        ...

    async def owns_file_name(self, name: str) -> bool:
        """Whether the sequence part of this name begins with this outbox's own number. Two may share a spool folder."""
        ...

    async def in_force_after(self, after: Mapping[int, int]) -> dict[int, list[tuple[int, Kind, bytes]]]:
        """The same as `newer_in_force`, for many lanes at once: what is newer in each than that entry, oldest first.
        Only lanes that have something of it are told."""
        ...

    async def spool_file(
        self, record: FileRecord, entry_ids: Sequence[int], as_read: Mapping[int, AsRead] | None = None
    ) -> list[int]:
        """The file is complete on disk: its entries become spooled. Returns the ids that moved.

        `as_read` tells how entries stood when the file was written: one that has moved since does not move, even where
        it is exhausted again, nor does one whose lane was joined to another, or in whose lane a newer contact write has
        set its values meanwhile.

        `record.id` is ignored. The row is committed first, as ``spooled`` with the problem ``incomplete``; then the
        entries, in chunks, each with a line in its record (what ``file``, outcome ``spooled``, at `record.created`);
        with the last chunk the problem goes, if every entry moved. Where one was no longer exhausted, or after a
        crash in between, ``incomplete`` stays: the caller withdraws the file, and nobody ever uploads it.
        """
        ...

    async def withhold(self, details: Mapping[int, str], reason: str, now: int) -> None:
        """These stay exhausted because no file may hold them: listings show `reason`, the record of each has a line
        with its detail (what ``file``, outcome ``withheld``). Nothing else of them changes."""
        ...

    async def mark_formless(self, details: Mapping[int, str], now: int) -> None:
        """The API is well, and these have no form in a file: those that were not exhausted in an outage stay so until a
        person replays or discards them. Listings show `FORMLESS`, their records the detail, once each."""
        ...

    async def lanes_on_the_road(self) -> frozenset[int]:
        """The lanes of contacts with a write that left by file or bulk request and is not settled: a newer change must
        not go by another request before that one is."""
        ...

    async def begin_bulk(self, as_read: Mapping[int, AsRead], line: Attempt) -> frozenset[int]:
        """A bulk request with these begins, at `line.at`: they are uploaded, of unknown outcome, each with the line in
        its record. Returns those that moved, which only those do that still stand as they were read (`spool_file`).

        In chunks, in the order given: those of one contact stand in it oldest first.
        """
        ...

    async def left_in_bulk(self) -> list[int]:
        """Entries that are uploaded without a file: a process died during their bulk request."""
        ...

    async def files(self, *, open_only: bool) -> list[FileRecord]:
        """The files, oldest first. Open are ``spooled``, ``uploading`` and ``uploaded``."""
        ...

    async def update_file(
        self,
        file_id: int,
        *,
        state: str,
        now: int,
        entries_to: State | None = None,
        problem: str | None = None,
        seen: bool = False,
        carried: bool = False,
        outage_only: bool = False,
    ) -> int:
        """Write down what became of a file and move its entries. Returns how many moved.

        The moves: ``spooled`` to itself, ``uploading``, ``uploaded`` (carried by hand), ``withdrawn``, ``lost``;
        ``uploading`` to itself, ``uploaded``; ``uploaded`` to itself, ``imported``; ``imported`` to itself. Any other
        raises TransitionRefused and changes nothing. `problem` is written as given: None clears it. `uploaded` and
        `imported` keep their first time, `seen` becomes `now`; `carried` stays once it is set.

        Entries move in chunks, those that stand where their file stood; a crash in between leaves what a second call
        completes. Therefore:

        - to ``uploading``/``uploaded`` with UPLOADED: the file first, then its entries (from SPOOLED);
        - to ``imported`` with IMPORTED or DELIVERED: its entries first (from UPLOADED; on to DELIVERED from IMPORTED
          as well, and those from UPLOADED pass through IMPORTED), then the file;
        - to ``withdrawn``/``lost`` with EXHAUSTED or PENDING (from SPOOLED): first the problem ``incomplete``, so that
          nobody uploads it, then the entries, with the last of them the state. Back in PENDING they have a fresh
          schedule, in EXHAUSTED what they had; they belong to no file then.

        `outage_only` with PENDING: a file without an entry of the outage is left as it is, and 0 is returned; in
        another file, those that were exhausted while the API was otherwise healthy go to EXHAUSTED instead.
        """
        ...

    async def to_confirm(self, limit: int, now: int) -> list[Message]:
        """Imported entries whose confirmation is due, oldest first.

        An update or type change waits until every older one of its contact is settled, so that an older value is never
        confirmed over a newer one; everything waits for the contact's creation.
        """
        ...

    async def newer_changes(self, message: Message, enough: Enough) -> Later:
        """The contact writes of its lane, and of those that became part of it, that are newer than it and have set
        their values, or may have, or will by the second road: updates that were not dropped, and creations as in
        `newer_in_force`. What waits for the API is none of them: it is held until this one is settled, and may be
        refused or dropped then; its older values would be nowhere. Oldest first, and some at a time: no more is read as
        soon as `enough` says so of those updates among them that are not settled."""
        ...

    async def newer_in_force(self, message: Message) -> list[tuple[Kind, bytes]]:
        """The contact writes of its lane, and of those that became part of it, that are newer than it and whose values
        Engage has or may have: delivered, left by file, or of unknown outcome. Not what is purged."""
        ...

    # purging ----------------------------------------------------------------------------------------------------------

    async def purge(self, entries_before: int, keys_before: int) -> int:
        """Delivered and discarded entries that last changed before then (ms) go, with content and record, and so do
        addresses that stood for nobody's contact since; the hashes of their keys go when they were written before the
        other time. Then files go that came to their end before then and of which no entry is left, and lanes of whose
        contact there is neither an entry nor an address. In chunks. Says how many entries went."""
        ...

    # looking ----------------------------------------------------------------------------------------------------------

    async def get(self, entry_id: int) -> EntryRecord:
        """One entry. Raises EntryNotFound."""
        ...

    async def entries(self, which: EntryFilter) -> list[EntryRecord]:
        """Entries, newest first."""
        ...

    async def rejected(self, limit: int) -> list[EntryRecord]:
        """The newest of those that wait for a person. Its cost does not grow with the outbox."""
        ...

    async def attempts(self, entry_id: int) -> list[Attempt]:
        """Its record, oldest first."""
        ...

    async def body(self, entry_id: int) -> bytes:
        """Its content. For `show --payload` and replays."""
        ...

    async def states_of(self, entry_ids: Iterable[int]) -> dict[int, tuple[State, str | None]]:
        """State and reason of several entries."""
        ...

    async def counts(self) -> Counts:
        """The books."""
        ...

    async def overview(self, now: int, spans: int) -> Overview:
        """The books, what waits where and why, the files, who drains, and the history of so many spans up to now, in
        one snapshot. Its cost does not grow with the outbox."""
        ...

    async def pending_redeems(self, ids: Sequence[str], as_of: int, kind: Kind = Kind.REDEEM) -> set[str]:
        """Those assignments (or what else `kind` redeems) whose redemption waits, is under way, left by file or was
        delivered since `as_of` (ms): the overlay of reads (DESIGN 3, "Reads")."""
        ...

    async def due_since(self) -> int | None:
        """Since when the longest waiting lane has been due (ms), or None where nothing is due at all."""
        ...

    async def base_url(self) -> str | None:
        """The Engage that this outbox belongs to."""
        ...

    async def verify(self) -> list[Finding]:
        """Integrity, references, accounting, contents and lanes, each checked in one snapshot; changes nothing."""
        ...

    async def data_version(self) -> int:
        """Changes whenever another process commits."""
        ...

    # facts ------------------------------------------------------------------------------------------------------------

    async def contact_id(self, address: str) -> str | None:
        """What the id store knows of an address such as ``email:anna@example.com``."""
        ...

    async def told(self, address: str) -> Told | None:
        """Whose an address is, and when Engage was asked that; None where it was not. None also while a contact write
        is on the second road: whose the address is may change with any import."""
        ...

    async def contact_type(self, contact_id: str) -> str | None:
        """What the id store knows of a contact's type; None where it is not known, or the usual one."""
        ...

    async def remember_contacts(self, known: Sequence[Learned]) -> None:
        """What reads found. Writes only what is new."""
        ...

    async def unlearn_address(self, address: str) -> None:
        """Engage says that nobody, or more than one, has this address. Writes only where it was known."""
        ...

    async def mark(self, lane: str) -> Mark:
        """How far it is with the contact of a lane such as ``contact:<guid>``, or ``email:...`` as far as the id store
        knows whose that is."""
        ...

    async def touch(self, lane: str) -> None:
        """A direct call has changed something of this contact at Engage: its mark moves on as when an entry settles."""
        ...

    async def forget_ids(self, contact_id: str) -> int:
        """The id store knows no address of this contact any more. Returns the new `Mark.forgets`: what was asked for
        before is neither learned nor served any more, by no process. `outbox.shelf.forget_known` calls it."""
        ...

    async def breaker(self) -> BreakerRecord | None: ...

    async def set_breaker(self, record: BreakerRecord) -> None: ...

    async def drainer(self) -> DrainerRecord | None: ...

    async def set_drainer(self, record: DrainerRecord | None) -> None: ...

    # the open file ----------------------------------------------------------------------------------------------------

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call back after each commit of this process: its drainer needs no poke from outside then."""
        ...

    def off_commit(self, wake: Callable[[], None]) -> None: ...

    def on_settled(self, listener: Callable[[int, State, str | None], None]) -> None:
        """Call back, on the loop, for each entry that this process settles."""
        ...

    async def close(self) -> None: ...
