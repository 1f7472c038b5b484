"""What operators may ask of an outbox beyond what its own stages do (DESIGN 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.replaying import Content, Plan, Road
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

if TYPE_CHECKING:
    from voyado_async.outbox.writer import Scrubbed


Setting = Callable[[Kind, bytes], frozenset[str]]
"""The contact fields that a content sets."""


class Action(msgspec.Struct, frozen=True):
    """One line of the action log."""

    id: int
    at: int
    who: str
    what: str
    chosen: str
    """Which entries were asked for; never what names a person."""
    reason: str | None
    entries: int
    """Entries that it has changed."""
    ended: int | None
    """When it came to its end (ms); None: it goes on, or was interrupted."""


class LocalFile(msgspec.Struct, frozen=True):
    """A fallback file with entries of a contact."""

    id: int
    name: str
    state: str


class Held(msgspec.Struct, frozen=True):
    """What the outbox holds of one contact. No repr: it names a person."""

    lanes: tuple[int, ...]
    states: dict[State, int]
    files: tuple[LocalFile, ...]
    addresses: tuple[str, ...]
    ids: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Held {sum(self.states.values())} entries>"


class OperatorOutbox(Outbox, Protocol):
    """An outbox with an operator's moves: in chunks, conditional, each written down in the action log."""

    async def begin_action(self, who: str, what: str, chosen: str, reason: str | None) -> int:
        """Write down what is about to be done. Returns the number of the line."""
        ...

    async def end_action(self, action: int, entries: int = 0) -> None:
        """It came to its end, and changed so many entries that were not counted yet."""
        ...

    async def actions(self, limit: int) -> list[Action]:
        """What operators did, newest first."""
        ...

    def select(self, which: EntryFilter) -> AsyncIterator[list[int]]:
        """The ids of the entries that fit, in pieces and in no order; `limit` is not looked at. What is written later
        than the first piece was read is not among them; what moves meanwhile may come twice."""
        ...

    async def plan_replay(self, ids: Sequence[int], content: Content, *, via: Road, again: bool) -> list[Plan]:
        """What `replay` would do with these entries now. Changes nothing."""
        ...

    async def replay(
        self, ids: Sequence[int], content: Content, *, via: Road, again: bool, action: int
    ) -> tuple[list[Plan], list[str]]:
        """Bring entries back to the beginning of a road, oldest first, at most a few hundred a call.

        Returns what became of each and the names of the files that were withdrawn for it: their local copies may go.
        Decision and move agree even where others write and drain meanwhile. A crash leaves entries where they were,
        or moved wholly; one that stood in a file may be left exhausted.
        """
        ...

    async def plan_discard(self, ids: Sequence[int], *, named: bool) -> list[Plan]:
        """What `discard` would do with these entries now. Changes nothing."""
        ...

    async def discard(
        self, ids: Sequence[int], *, named: bool, reason: str, action: int
    ) -> tuple[list[Plan], list[str]]:
        """Drop entries, at most a few hundred a call. Returns as `replay` does."""
        ...

    async def set_by_newer(self, ids: Sequence[int], fields: Setting) -> dict[int, frozenset[str]]:
        """Of each contact write among these: the contact fields that newer entries of its contact set, whatever became
        of those but rejection and discard."""
        ...

    async def edit(self, entry_id: int, draft: Draft, key: str | None, action: int) -> bool:
        """A rejected entry gets another content; the old one is kept. False where it is not rejected."""
        ...

    async def purgeable(self, before: int) -> int:
        """How many finished entries last changed before then (ms)."""
        ...

    async def held(self, lane: str, contact_id: str | None) -> Held:
        """What the outbox holds of a contact, by the name of one of its lanes and by its id where that is known."""
        ...

    async def withdraw(self, files: Sequence[str]) -> list[str]:
        """Withdraw spooled files: their entries are exhausted again. Returns those that were withdrawn."""
        ...

    async def forget(self, held: Held, action: int) -> int:
        """Remove the entries of these lanes with content and record, the addresses, and the lanes themselves.

        What is being sent or stands in a spooled file stays. In chunks; a crash in between leaves what a second call
        completes. Says how many entries went.
        """
        ...

    async def scrub(self) -> Scrubbed:
        """What was removed leaves the write-ahead log as well, unless somebody is reading it: try again. A small
        outbox is written anew."""
        ...

    async def backup(self, target: Path) -> None:
        """A copy of the whole outbox at one moment, in a new file; holds nobody's turn."""
        ...
