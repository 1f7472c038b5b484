"""Bad days, switched on and off while the sandbox runs.

Each kind is a sentence in `FaultKind`. Filters, probability, count and duration work alike for all of them; the oldest
fault that matches wins. "Commit" means that the request takes effect.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class FaultKind(StrEnum):
    """What can go wrong. Parameters that a kind reads, besides the filters, are named in its sentence."""

    REFUSE = "refuse"
    """The REST port is closed and every connection reset: connecting is refused."""
    RESET_BEFORE = "reset_before"
    """The connection is reset; nothing is committed."""
    RESET_AFTER = "reset_after"
    """Committed, then the connection is reset."""
    HANG = "hang"
    """Never answered, not committed."""
    HANG_AFTER = "hang_after"
    """Committed, never answered."""
    STATUS = "status"
    """`status` (with Engage's `code`, if given) without committing. 504 gets the code of ref 2.2 and 2.3 by itself."""
    STATUS_AFTER = "status_after"
    """Committed, then `status` (and `code`)."""
    LATE = "late"
    """Committed after `seconds`, whether or not the client still waits; answered then, if it does."""
    THROTTLE = "throttle"
    """429, with a Retry-After of `retry_after` seconds if given."""
    SLOW = "slow"
    """Committed at once, answered after `seconds`."""
    REDIRECT = "redirect"
    """`status` 302 (or 307) to `location`, not committed."""
    HTML = "html"
    """200 with an HTML page; `committed` (default no)."""
    GARBAGE = "garbage"
    """The proper status with a JSON body that is cut off; `committed` (default yes)."""
    TRUNCATE = "truncate"
    """A Content-Length that is longer than the body, then the connection ends; `committed` (default yes)."""
    BAD_KEY = "bad_key"
    """401 for every request."""
    FORBIDDEN = "forbidden"
    """403; give it a `path`."""
    SFTP_DOWN = "sftp_down"
    """The SFTP port is closed and every session cut."""
    SFTP_CUT = "sftp_cut"
    """The connection is cut once `after_bytes` of a file were written (what came before is on the disk)."""
    SFTP_FULL = "sftp_full"
    """Every write fails: no space left, or the quota is used up."""
    SFTP_OTHER_KEY = "sftp_other_key"
    """The server shows another host key."""
    IMPORT_SKIP = "import_skip"
    """The importer deletes the file and applies nothing."""
    IMPORT_STOPPED = "import_stopped"
    """The importer does not run; files stay."""


REST_KINDS = frozenset(
    {
        FaultKind.RESET_BEFORE,
        FaultKind.RESET_AFTER,
        FaultKind.HANG,
        FaultKind.HANG_AFTER,
        FaultKind.STATUS,
        FaultKind.STATUS_AFTER,
        FaultKind.LATE,
        FaultKind.THROTTLE,
        FaultKind.SLOW,
        FaultKind.REDIRECT,
        FaultKind.HTML,
        FaultKind.GARBAGE,
        FaultKind.TRUNCATE,
        FaultKind.BAD_KEY,
        FaultKind.FORBIDDEN,
    }
)

_DEFAULT_STATUS = {FaultKind.STATUS: 503, FaultKind.STATUS_AFTER: 500, FaultKind.REDIRECT: 302}
_COMMITS_BY_DEFAULT = frozenset({FaultKind.GARBAGE, FaultKind.TRUNCATE})
# These act on a whole listener or on the importer while they are on: there is nothing to count or draw lots on.
_STANDING = frozenset(
    {FaultKind.REFUSE, FaultKind.SFTP_DOWN, FaultKind.SFTP_OTHER_KEY, FaultKind.SFTP_FULL, FaultKind.IMPORT_STOPPED}
)


@dataclass(kw_only=True)
class Fault:
    """`path` is a shell pattern over the whole path (``*/redeem``) or, for import_skip, over the file name."""

    kind: FaultKind
    path: str | None = None
    method: str | None = None
    probability: float = 1.0
    count: int | None = None
    duration: float | None = None
    status: int | None = None
    code: str | None = None
    seconds: float = 1.0
    retry_after: float | None = None
    after_bytes: int = 0
    location: str = "/moved"
    committed: bool | None = None
    id: int = field(default=0, init=False)
    expires: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.kind = FaultKind(self.kind)
        self.status = self.status or _DEFAULT_STATUS.get(self.kind)
        if self.committed is None:
            self.committed = self.kind in _COMMITS_BY_DEFAULT
        if not 0 < self.probability <= 1:
            raise ValueError("probability: more than 0, at most 1")
        if self.count is not None and self.count < 1:
            raise ValueError("count: at least 1")
        if self.duration is not None and self.duration <= 0:
            raise ValueError("duration: more than 0 seconds")
        if self.kind in _STANDING and (self.count is not None or self.probability != 1 or self.path or self.method):
            raise ValueError(f"{self.kind} stands for as long as it is on: only a duration can be given")

    def matches(self, method: str, path: str) -> bool:
        return (self.method is None or self.method.upper() == method) and (
            self.path is None or fnmatchcase(path, self.path)
        )


class Faults:
    """The switches. `on_change` is called after every change, also when a standing fault runs out."""

    def __init__(self, seed: int) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311 - lots for faults, not secrets
        self._next = 1
        self.on_change: Callable[[], None] = lambda: None
        self.on_expiry: Callable[[float], None] = lambda seconds: None

    def add(self, kind: FaultKind | str, **parameters: Any) -> int:
        """Switch on; returns the id for `remove`. Wrong parameters: ValueError or TypeError, nothing changes."""
        return self._add(Fault(kind=FaultKind(kind), **parameters))

    def _add(self, fault: Fault) -> int:
        fault.id = self._next
        self._next += 1
        self._faults.append(fault)
        if fault.duration is not None:
            fault.expires = time.monotonic() + fault.duration
            self.on_expiry(fault.duration)
        self.on_change()
        return fault.id

    def remove(self, fault_id: int) -> None:
        """Switch one off. An unknown id is no error: it may have used itself up."""
        self._faults = [f for f in self._faults if f.id != fault_id]
        self.on_change()

    def clear(self, kind: FaultKind | str | None = None) -> None:
        """Switch off all, or all of a kind."""
        self._faults = [f for f in self._faults if kind is not None and f.kind != FaultKind(kind)]
        self.on_change()

    def replace(self, wanted: list[dict[str, Any]]) -> list[int]:
        """Exactly these and no others. When one of them is wrong, nothing changes."""
        made = [Fault(**{**parameters, "kind": FaultKind(parameters["kind"])}) for parameters in wanted]
        self._faults = []
        ids = [self._add(fault) for fault in made]
        self.on_change()
        return ids

    def active(self) -> list[Fault]:
        """Those that are on now."""
        now = time.monotonic()
        self._faults = [f for f in self._faults if f.expires is None or now < f.expires]
        return list(self._faults)

    def standing(self, kind: FaultKind) -> Fault | None:
        """The first of this kind that is on, without using it up."""
        return next((f for f in self.active() if f.kind is kind), None)

    def take(self, kinds: frozenset[FaultKind], method: str, path: str) -> Fault | None:
        """The first of these kinds that strikes here, and one less of its count."""
        for fault in self.active():
            if fault.kind not in kinds or not fault.matches(method, path):
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
                if fault.count == 0:
                    self._faults.remove(fault)
            return fault
        return None

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.active()]
