"""Whether a sidecar makes progress: judged from what it did and what the outbox says, not from what it says of itself.

`stuck` is pure. A process that is stuck is started again by whoever watches it (systemd, an orchestrator): what it had
under way is unknown then and looked up, as after any crash. So it is called stuck only where nothing legitimate holds
it back, and after longer than any request may take.
"""

from __future__ import annotations

import msgspec

from voyado_async.clock import Clock
from voyado_async.events import (
    AttemptMade,
    BreakerChanged,
    DrainerStarted,
    DrainerStopped,
    Event,
    FileChanged,
    Problem,
    ProblemSolved,
    Settled,
)
from voyado_async.outbox.overview import Overview

GRACE = 60.0
"""Seconds beyond the longest request (DESIGN 3: without progress for 60 s)."""

UNAVAILABLE = "outbox_unavailable"
"""The problem of a drainer that cannot write: it waits until it can, and starting it again would not help."""


class Signs(msgspec.Struct, frozen=True):
    """What can be seen of a sidecar at one moment. Durations are seconds."""

    draining: bool
    """This process holds the right to drain."""
    drained: bool
    """Somebody does."""
    due_for: float
    """For how long the longest waiting lane has been due; 0 where none is."""
    moved_for: float
    """Since when nothing has moved."""
    probe_late_for: float | None
    """By how much Engage should have been asked again; None while sending is not stopped."""
    held_back: bool
    """The key is refused, Engage asked us to wait, or the outbox cannot be written: work may be due for as long as that
    lasts. Whoever began anew would not know that Engage asked."""
    patience: float
    """How long a single request may take, and some more."""


def stuck(signs: Signs) -> str | None:
    """Why this process makes no progress though nothing holds it back; None where it does, or has nothing to do."""
    if signs.held_back:
        return None
    if signs.draining and signs.probe_late_for is not None:
        late = signs.probe_late_for > signs.patience and signs.moved_for > signs.patience
        return f"Engage should have been asked again {signs.probe_late_for:.0f} s ago" if late else None
    if signs.due_for <= signs.patience:
        return None
    if signs.draining and signs.moved_for > signs.patience:
        return f"work is due and nothing has moved for {signs.moved_for:.0f} s"
    if not signs.draining and not signs.drained:
        return f"work has been due for {signs.due_for:.0f} s, and nobody drains"
    return None


class Pulse:
    """A listener that remembers what this process did last."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._patience = timeout + GRACE
        self._moved = clock.monotonic()
        self._asked_to_wait = 0.0
        """Until when Engage wants nothing (monotonic seconds)."""
        self.draining = False
        self.problems: dict[str, str] = {}
        """What stands still until it is mended: where, and one word why."""

    def __call__(self, event: Event) -> None:
        match event:
            case AttemptMade(outcome="slow_down", due=int(due)):
                self._moved = now = self._clock.monotonic()
                self._asked_to_wait = now + (due - self._clock.now()) / 1000
            case AttemptMade() | Settled() | FileChanged() | BreakerChanged():
                self._moved = self._clock.monotonic()
            case DrainerStarted():
                self._moved = self._clock.monotonic()
                self.draining = True
            case DrainerStopped():
                self.draining = False
            case Problem():
                self.problems[event.where] = event.code
            case ProblemSolved():
                self.problems.pop(event.where, None)

    def signs(self, found: Overview, *, drained: bool) -> Signs:
        """What can be seen now."""
        now, breaker = self._clock.now(), found.breaker
        stopped = breaker is not None and breaker.state != "closed"
        return Signs(
            draining=self.draining,
            drained=drained,
            due_for=max(0.0, (now - found.due_since) / 1000) if found.due_since is not None else 0.0,
            moved_for=self._clock.monotonic() - self._moved,
            probe_late_for=(now - breaker.next_probe) / 1000 if breaker is not None and stopped else None,
            held_back=(
                UNAVAILABLE in self.problems.values()
                or (breaker is not None and breaker.halted is not None)
                or self._clock.monotonic() < self._asked_to_wait
            ),
            patience=self._patience,
        )


def not_ready(found: Overview, pulse: Pulse, *, drained: bool) -> str | None:
    """Why this process cannot do its work; None where it drains, or stands by while another one does.

    An outage of Engage is no such reason: to sit it out is the work.
    """
    if UNAVAILABLE in pulse.problems.values():
        return "the outbox cannot be written"
    if found.breaker is not None and found.breaker.halted is not None:
        return f"the API key is refused ({found.breaker.halted})"
    if not pulse.draining and not drained:
        return "it does not drain yet"
    return stuck(pulse.signs(found, drained=drained))
