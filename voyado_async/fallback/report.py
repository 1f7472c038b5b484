"""What one step of the courier came to."""

from __future__ import annotations

import msgspec

from voyado_async.errors import UploadFailed
from voyado_async.fallback.writing import Refused


class CourierReport(msgspec.Struct, frozen=True):
    """What one step came to. Names are those of files."""

    next_due: int
    """When something is due again (ms), as far as is known now; earlier calls are harmless and cheap."""
    spooled: tuple[str, ...] = ()
    uploaded: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    """Entries that cannot stand in a file; they are rejected now."""
    brought_back: int = 0
    """Entries of the outage that are pending again and were in no file."""
    in_bulk: int = 0
    """Entries that went in bulk requests."""
    problem: str | None = None
    """Why files could not be written or uploaded, in one word; None where nothing went wrong."""
    message: str | None = None
    """The whole story of the problem, for the log."""

    @property
    def moved(self) -> bool:
        """Whether anything changed."""
        return bool(
            self.spooled or self.uploaded or self.imported or self.withdrawn or self.lost or self.refused
        ) or bool(self.brought_back or self.in_bulk)


class Notes:
    """A report as it grows."""

    def __init__(self) -> None:
        self.spooled: list[str] = []
        self.uploaded: list[str] = []
        self.imported: list[str] = []
        self.withdrawn: list[str] = []
        self.lost: list[str] = []
        self.refused: list[Refused] = []
        self.brought_back = 0
        self.in_bulk = 0
        self.problem: UploadFailed | None = None
        self.again = False
        """Entries came back out of a file: the next files need not wait for the interval."""

    def report(self, next_due: int) -> CourierReport:
        return CourierReport(
            next_due,
            tuple(self.spooled),
            tuple(self.uploaded),
            tuple(self.imported),
            tuple(self.withdrawn),
            tuple(self.lost),
            tuple(self.refused),
            self.brought_back,
            self.in_bulk,
            None if self.problem is None else self.problem.reason,
            None if self.problem is None else str(self.problem),
        )
