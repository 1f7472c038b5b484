"""What an outbox says of itself in one look: everything that status, metrics and the page are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from voyado_async.outbox.records import BreakerRecord, Counts, DrainerRecord, FileRecord

SPAN = 300_000
"""One bar of the history (ms): the schema's trigger counts in such spans."""

HOUR = 3_600_000


class Flow(msgspec.Struct, frozen=True):
    """What happened in one span of the history, from `at` (ms) on: what was written, and what came where."""

    at: int
    enqueued: int
    moved: Mapping[str, int]
    """How many entries became `delivered`, `rejected`, `exhausted` and so on; `pending` are those that came back."""

    def count(self, state: str) -> int:
        """How many entries came to this state."""
        return self.moved.get(state, 0)


class Standing(msgspec.Struct, frozen=True):
    """The entries of one state that is not final: since when, and what their reasons are."""

    oldest: int | None
    """When the oldest of them was written (ms); for `imported` that of the next to be confirmed."""
    reasons: Mapping[str, int]
    """How often each reason stands at those that were looked at, the most frequent one first."""
    next_due: int | None = None
    """When the next of them has its turn (ms), where they have turns."""


class FileTotals(msgspec.Struct, frozen=True):
    """The fallback files of one state. `since` is when the oldest of them came there (ms)."""

    state: str
    files: int
    entries: int
    size: int
    since: int


class Overview(msgspec.Struct, frozen=True):
    """One snapshot. `due_since` is since when the longest waiting lane has been due, or when the next one will be."""

    counts: Counts
    standing: Mapping[str, Standing]
    due_since: int | None
    last_enqueued: int | None
    """When the newest entry was written (ms)."""
    unconfirmed: Sequence[int]
    """The oldest imported entries whose confirmation fails while the API is well."""
    files: Sequence[FileTotals]
    open_files: Sequence[FileRecord]
    files_of_outage: frozenset[int]
    """The spooled ones that go back to the API when it is back."""
    breaker: BreakerRecord | None
    drainer: DrainerRecord | None
    base_url: str | None
    flow: Sequence[Flow]
    """One for each span of the asked time, oldest first; the last one is not over yet."""
