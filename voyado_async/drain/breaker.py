"""When to stop sending because Engage is unwell, and how to begin again. Pure: instants (ms) are arguments.

closed ── N transient failures in a row, from at least 2 lanes ──> open ── its time has come ──> probing
  ^                                                                 ^ └─────── failed, next pace ───┘ │
  └─────────────────────────── answered: closing ramps up ──────────┴─────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence

from voyado_async.outbox.records import BreakerRecord

CLOSED, OPEN, PROBING = "closed", "open", "probing"


class Breaker:
    """Counts failures in a row over all lanes. One poisoned entry, however often it fails, never opens it."""

    def __init__(self, failures: int, delays: Sequence[int], concurrency: int) -> None:
        self._failures = failures
        self._delays = delays
        self._concurrency = concurrency
        self._streak = 0
        self._lanes: set[int] = set()
        self.state = CLOSED
        self.since = 0
        self.next_probe = 0
        self.probes = 0
        self.last_failed_lane: int | None = None
        self.allowed = concurrency
        """Requests that may be under way at once: fewer while it ramps up again."""

    @property
    def closed(self) -> bool:
        return self.state == CLOSED

    def answered(self, now: int) -> bool:
        """Engage answered like somebody who is well. Says whether the breaker closed by it."""
        self._streak = 0
        self._lanes.clear()
        if self.state == CLOSED:
            self.allowed = min(self._concurrency, self.allowed * 2)
            if self.allowed == self._concurrency:
                self.probes = 0
            return False
        self.state, self.since = CLOSED, now
        self.allowed = 1
        return True

    def failed(self, lane: int | None, now: int) -> bool:
        """A transient failure; of a probe that belongs to no lane with None. Says whether the breaker opened by it."""
        self.last_failed_lane = lane
        if self.state == OPEN:
            # Sent before it opened: no probe, and no reason to let the first probe wait longer.
            return False
        if self.state == PROBING:
            self.state = OPEN
            self.probes += 1
            self.next_probe = now + self._delays[min(self.probes, len(self._delays) - 1)]
            return False
        self._streak += 1
        if lane is not None and len(self._lanes) < 2:
            self._lanes.add(lane)
        ramping = self.allowed < self._concurrency
        if len(self._lanes) < 2 or (self._streak < self._failures and not ramping):
            return False
        self._streak = 0
        self._lanes.clear()
        self.state, self.since = OPEN, now
        # Where only harmless questions are answered, each probe closes it and the next entries open it again: the pace
        # goes on from where it was, else such an outage would cost requests without end.
        pace = self.probes if ramping else 0
        self.next_probe = now + self._delays[min(pace, len(self._delays) - 1)]
        self.probes = pace + 1 if ramping else 0
        return True

    def probe_due(self, now: int) -> bool:
        """Whether the one probe may go now. A time further away than the pace allows (a clock set back) is now."""
        return self.state == OPEN and (now >= self.next_probe or self.next_probe - now > max(self._delays))

    def probe(self) -> None:
        """The probe goes out."""
        self.state = PROBING

    def give_up_probe(self) -> None:
        """The probe did not go out after all, or told nothing."""
        if self.state == PROBING:
            self.state = OPEN

    def to_record(self, halted: str | None) -> BreakerRecord:
        """What the database keeps."""
        return BreakerRecord(self.state, self.since, self.next_probe, self.probes, halted)

    def restore(self, record: BreakerRecord) -> None:
        """Go on where the last drainer left off: an outage does not end because a process did."""
        if record.state != CLOSED:
            self.state, self.since = OPEN, record.since
            self.next_probe, self.probes = record.next_probe, record.probes
