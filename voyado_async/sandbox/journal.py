"""The books: everything that arrived, everything that took effect, in one order.

Tests judge a client by them, so they are written by the fake alone. `monotonic` values are CLOCK_MONOTONIC seconds,
which processes of one machine share; `at` is the sandbox's own wall clock.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(kw_only=True)
class Arrival:
    """One REST request. `status` None: no answer. `committed`: it took effect (for a receipt: it was accepted)."""

    seq: int
    at: datetime
    began: float
    method: str
    path: str
    query: dict[str, str]
    ids: dict[str, str]
    size: int
    ended: float | None = None
    status: int | None = None
    code: str | None = None
    committed: bool = False
    fault: str | None = None


@dataclass(kw_only=True)
class Commit:
    """One effect. `road` is `rest` or `file`; `source` the seq of the arrival, or the name of the file."""

    seq: int
    at: datetime
    monotonic: float
    kind: str
    subject: str
    road: str
    source: int | str | None
    values: dict[str, Any]


@dataclass(kw_only=True)
class FileRecord:
    """One file that the importer took. `outcome`: applied, skipped (major error) or lost (the `import_skip` fault)."""

    seq: int
    at: datetime
    monotonic: float
    folder: str
    name: str
    sha256: str
    size: int
    outcome: str
    items: list[dict[str, str]] = field(default_factory=list)


@dataclass(kw_only=True)
class SftpEvent:
    """What a client did over SFTP: login, open (for writing), rename, remove."""

    seq: int
    at: datetime
    monotonic: float
    action: str
    path: str
    target: str | None = None


class Journal:
    """Append-only until `clear`. Reading it never waits."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._seq = 0
        self.arrivals: list[Arrival] = []
        self.commits: list[Commit] = []
        self.files: list[FileRecord] = []
        self.sftp: list[SftpEvent] = []

    def clear(self) -> None:
        """Forget everything; the sequence goes on."""
        for book in (self.arrivals, self.commits, self.files, self.sftp):
            book.clear()

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def arrive(self, method: str, path: str, query: dict[str, str], ids: dict[str, str], size: int) -> Arrival:
        arrival = Arrival(
            seq=self._next(),
            at=self._now(),
            began=time.monotonic(),
            method=method,
            path=path,
            query=query,
            ids=ids,
            size=size,
        )
        self.arrivals.append(arrival)
        return arrival

    def commit(
        self, kind: str, subject: str, road: str, source: int | str | None, values: dict[str, Any] | None = None
    ) -> None:
        self.commits.append(
            Commit(
                seq=self._next(),
                at=self._now(),
                monotonic=time.monotonic(),
                kind=kind,
                subject=subject,
                road=road,
                source=source,
                values=values or {},
            )
        )

    def file(
        self, folder: str, name: str, sha256: str, size: int, outcome: str, items: list[dict[str, str]]
    ) -> FileRecord:
        record = FileRecord(
            seq=self._next(),
            at=self._now(),
            monotonic=time.monotonic(),
            folder=folder,
            name=name,
            sha256=sha256,
            size=size,
            outcome=outcome,
            items=items,
        )
        self.files.append(record)
        return record

    def sftp_event(self, action: str, path: str, target: str | None = None) -> None:
        self.sftp.append(
            SftpEvent(
                seq=self._next(), at=self._now(), monotonic=time.monotonic(), action=action, path=path, target=target
            )
        )

    def requests(self, method: str | None = None, ending: str = "") -> list[Arrival]:
        """Arrivals of this method whose path ends so, oldest first."""
        return [a for a in self.arrivals if (method is None or a.method == method) and a.path.endswith(ending)]

    def effects(self, kind: str | None = None, subject: str | None = None) -> list[Commit]:
        """Commits of this kind and subject (contact id, assignment id, uniqueReceiptId), oldest first."""
        return [c for c in self.commits if kind in (None, c.kind) and subject in (None, c.subject)]

    def count(self, kind: str, subject: str) -> int:
        """How often this took effect."""
        return len(self.effects(kind, subject))

    def counts(self) -> dict[str, dict[str, int]]:
        """Kind -> subject -> how often it took effect."""
        table: dict[str, dict[str, int]] = {}
        for commit in self.commits:
            subjects = table.setdefault(commit.kind, {})
            subjects[commit.subject] = subjects.get(commit.subject, 0) + 1
        return table

    def applied(self, contact_id: str) -> list[dict[str, Any]]:
        """The values that were written to one contact by updates, in the order in which they took effect."""
        return [c.values for c in self.effects("contact_update", contact_id)]

    def per_second(self) -> dict[int, int]:
        """Requests per whole second since the first arrival; seconds without any are absent."""
        if not self.arrivals:
            return {}
        start = self.arrivals[0].began
        return dict(Counter(int(a.began - start) for a in self.arrivals))

    def peak(self, window: float = 1.0) -> int:
        """The most requests that began within any `window` seconds."""
        recent: deque[float] = deque()
        most = 0
        for began in sorted(a.began for a in self.arrivals):
            recent.append(began)
            while began - recent[0] >= window:
                recent.popleft()
            most = max(most, len(recent))
        return most

    def overlapping(self, name: str, value: str) -> list[tuple[int, int]]:
        """Pairs of arrivals (seq) that carried the same id (`contact`, `assignment`, `receipt`, `key`) and were under
        way at the same time. One that was never answered counts until its connection ended.
        """
        same = [a for a in self.arrivals if a.ids.get(name) == value]
        return [
            (first.seq, second.seq)
            for at, first in enumerate(same)
            for second in same[at + 1 :]
            if first.ended is None or second.began < first.ended
        ]

    def to_json(self, since: int = 0) -> dict[str, Any]:
        """Everything after `since`, as plain JSON values."""

        def rows(book: Iterable[Any]) -> list[dict[str, Any]]:
            return [asdict(row) for row in book if row.seq > since]

        return {
            "seq": self._seq,
            "arrivals": rows(self.arrivals),
            "commits": rows(self.commits),
            "files": rows(self.files),
            "sftp": rows(self.sftp),
            "counts": self.counts(),
            "per_second": {str(second): number for second, number in self.per_second().items()},
            "peak": self.peak(),
        }


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of the Integration log (ref 6.1). `level`: info, warning (an item left out), error (a file left out)."""

    at: datetime
    level: str
    source: str
    message: str


class IntegrationLog:
    """What Engage shows to a person, and to nobody else."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.lines: list[LogLine] = []

    def write(self, level: str, source: str, message: str) -> None:
        self.lines.append(LogLine(at=self._now(), level=level, source=source, message=message))

    def of(self, level: str) -> list[LogLine]:
        return [line for line in self.lines if line.level == level]

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(line) for line in self.lines]
