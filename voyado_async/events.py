"""What happened, as frozen structs, for whoever wants to know: logs, metrics, a shop's own hooks.

Fields hold ids, kinds, states and codes, in the words of the outbox; never content, keys, or text that Engage sent.
An event tells of something that is done already (committed, where it is about an entry): a listener changes nothing.

    event            when                                                         logged as
    Enqueued         a write is durable                                           DEBUG
    AttemptMade      an attempt came to something, a skipped turn included        DEBUG; INFO where it has to wait
    Settled          an entry is delivered, rejected, discarded or exhausted      DEBUG, INFO; WARNING when rejected
    BreakerChanged   sending stopped, is being tried, or goes on                  INFO; WARNING when it stops
    FileChanged      a fallback file moved on or stands still                     INFO; WARNING when it stands still
    DrainerStarted   this process has the right to drain                          INFO
    DrainerStopped   it gave it back                                              INFO; WARNING after a fault
    Problem          something stands still until it is mended                    WARNING
    ProblemSolved    it goes on                                                   INFO

A warning is for a person: a retry is none, since nobody has to do anything before the retries are used up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec


class _Happened(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """As JSON, each event names itself in `event`."""


class Enqueued(_Happened, frozen=True, tag="enqueued"):
    """A write is durable. `existing` is the state of the entry that was there already under the same key."""

    entry_id: int
    kind: str
    existing: str | None = None


class AttemptMade(_Happened, frozen=True, tag="attempt_made"):
    """One line of an entry's record. `what` and `outcome` are the record's words, `known` is false where the request
    may have taken effect without our knowing, `due` is its next turn (ms since 1970)."""

    entry_id: int
    kind: str
    what: str
    outcome: str
    status: int | None = None
    code: str | None = None
    known: bool = True
    duration_ms: int | None = None
    due: int | None = None


class Settled(_Happened, frozen=True, tag="settled"):
    """The drainer or a person is done with an entry, or its schedule is used up (`exhausted`: it leaves by file).

    `waited_ms` is the time since it was written.
    """

    entry_id: int
    kind: str
    state: str
    reason: str | None = None
    waited_ms: int | None = None


class BreakerChanged(_Happened, frozen=True, tag="breaker_changed"):
    """`closed`, `open` or `probing`. `halted` is ``401`` or ``403:<kind>`` while the key is refused."""

    state: str
    previous: str | None = None
    halted: str | None = None


class FileChanged(_Happened, frozen=True, tag="file_changed"):
    """A fallback file is `spooled`, `uploading`, `uploaded`, `imported`, `withdrawn` or `lost`.

    `problem` is one word for why it stands still.
    """

    file: str
    family: str
    state: str
    entries: int
    problem: str | None = None


class DrainerStarted(_Happened, frozen=True, tag="drainer_started"):
    """This process drains. `unknown` entries were found under way: what became of them is looked up."""

    pid: int
    unknown: int = 0
    before: str | None = None
    """That the drainer before it ended without saying so: it was killed, or its machine went down."""


class DrainerStopped(_Happened, frozen=True, tag="drainer_stopped"):
    """This process drains no longer. `problem` is one word for the fault that ended it, None where it was asked to."""

    pid: int
    problem: str | None = None


class Problem(_Happened, frozen=True, tag="problem"):
    """Something stands still until it is mended. `where` is the stage, `code` one word (``disk_full``, ``host_key``).

    A direct call that the API key may not make is one as well: `where` is the call (``contacts.get``), `code` the
    status, ``401`` or ``403``.

    Told once when it begins and once when it is over (ProblemSolved), not at every try.
    """

    where: str
    code: str


class ProblemSolved(_Happened, frozen=True, tag="problem_solved"):
    """It goes on. `where` and `code` are those of the Problem."""

    where: str
    code: str


Event = (
    Enqueued
    | AttemptMade
    | Settled
    | BreakerChanged
    | FileChanged
    | DrainerStarted
    | DrainerStopped
    | Problem
    | ProblemSolved
)

Listener = Callable[[Event], None]
"""Called on the event loop, in the order of the events. It must not block: the drainer waits for it."""

_log = logging.getLogger("voyado_async")


class Listeners:
    """Who wants to know. A listener that raises hurts neither the drainer nor the other listeners.

    Its first error is logged with its traceback; it is called again for the next event, and later errors are not
    logged, so that a broken listener cannot fill a disk.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._reported: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """Tell it everything from now on. Adding it again changes nothing."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Tell it nothing more. Removing one that is not there changes nothing."""
        self._listeners = [kept for kept in self._listeners if kept != listener]
        self._reported = [kept for kept in self._reported if kept != listener]

    def emit(self, event: Event) -> None:
        """Tell everybody who listens now. Never raises what a listener raises."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:  # foreign code: whatever it raises must not stop a delivery
                if listener not in self._reported:
                    self._reported.append(listener)
                    _log.exception("a listener failed on %s; its later errors are not logged", _name(event))


class Problems:
    """What stands still, place by place: told when it begins and when it is over, not at every try."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._codes: dict[str, str] = {}

    @property
    def first(self) -> str | None:
        """The code of the one that has lasted longest; None where nothing stands still."""
        return next(iter(self._codes.values()), None)

    def tell(self, where: str, code: str | None) -> None:
        """How it stands there now. None: it goes on."""
        before = self._codes.get(where)
        if code == before:
            return
        if before is not None:
            del self._codes[where]
            self._emit(ProblemSolved(where=where, code=before))
        if code is not None:
            self._codes[where] = code
            self._emit(Problem(where=where, code=code))


def log_events(logger: logging.Logger | None = None) -> Listener:
    """A listener that logs, by default to ``voyado_async``: one line of ``key=value``, and `extra` for formatters.

    The record carries ``voyado_event`` and each field as ``voyado_<field>``; the prefix keeps them clear of logging's
    own names.
    """
    target = logger or _log

    def log(event: Event) -> None:
        level = level_of(event)
        if not target.isEnabledFor(level):
            return
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        line = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        extra = {f"voyado_{name}": value for name, value in fields.items()}
        target.log(level, "%s %s", _name(event), line, extra={"voyado_event": _name(event), **extra})

    return log


def level_of(event: Event) -> int:
    """How loud an event is: WARNING for what a person should see, INFO for the course of things, DEBUG per request."""
    match event:
        case (
            Problem()
            | Settled(state="rejected")
            | BreakerChanged(state="open")
            | BreakerChanged(halted=str())
            | FileChanged(state="lost")
            | FileChanged(problem=str())
            | DrainerStopped(problem=str())
        ):
            return logging.WARNING
        case Enqueued() | Settled(state="delivered") | AttemptMade(outcome="delivered", known=True):
            return logging.DEBUG
        case AttemptMade(what="skipped"):  # the breaker is open, which was told: not once more for each entry
            return logging.DEBUG
        case _:
            return logging.INFO


def _name(event: Event) -> str:
    return str(event.__struct_config__.tag)
