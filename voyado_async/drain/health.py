"""What answers tell about Engage as a whole: whether to send, how fast, and what the key is good for.

Three things stop sending: the breaker (Engage is unwell), a refused key (401, 403: nothing goes out but a probe), and a
refused kind (403 while the probe succeeds). Each ends by itself.

Whatever forbids everything, a gateway before Engage included, is taken for a refused key: the probe can't tell them
apart, and a person is needed for either. Entries stay pending meanwhile. What was put off because of a refused kind
keeps its due time when one entry of it passes, so it follows later by up to the longest delay of the schedule: looking
for all of them then would cost a walk through the backlog.
"""

from __future__ import annotations

from collections.abc import Callable

from voyado_async.clock import Clock
from voyado_async.delivery import Delivered, Kind, Message, NotAllowed, Outcome, Rejected, RetryAt, SlowDown
from voyado_async.drain.breaker import OPEN, PROBING, Breaker
from voyado_async.drain.policy import Schedule
from voyado_async.drain.throttle import Throttle
from voyado_async.events import BreakerChanged, Event
from voyado_async.outbox.records import BreakerRecord

ASKED_TO_WAIT = 5.0
"""A wait for the next place in the pace beyond this (seconds) is a `Retry-After`: the slowest pace waits for 2 s."""


class Health:
    """Learns from every answer. `on_change` is called when sending stops or goes on; `unsaved` tells that the database
    does not know it yet."""

    def __init__(
        self,
        breaker: Breaker,
        throttle: Throttle,
        schedule: Schedule,
        clock: Clock,
        emit: Callable[[Event], None],
        on_change: Callable[[], None],
    ) -> None:
        self.breaker = breaker
        self.throttle = throttle
        self._schedule = schedule
        self._clock = clock
        self._emit = emit
        self._on_change = on_change
        self.unsaved = False
        self.key_refused: str | None = None
        """``401`` or ``403`` while nothing but the probe goes out."""
        self._refused_for: Kind | None = None
        self._next_key_probe = 0
        self._key_probes = 0
        self._refused: dict[Kind, tuple[int, int]] = {}
        """Kinds that the key may not send: when one entry tries again (ms), and how often it was tried."""

    @property
    def well(self) -> bool:
        """Whether requests may go out."""
        return self.key_refused is None and self.breaker.closed

    @property
    def held_back(self) -> bool:
        """Whether nothing goes out for a reason that will pass: the key is refused, or Engage asked us to wait."""
        return self.key_refused is not None or self.throttle.wait(self._clock.monotonic()) > ASKED_TO_WAIT

    @property
    def halted(self) -> str | None:
        """``401``, ``403`` or ``403:<kinds>`` while sending stops because of the key."""
        if self.key_refused is not None:
            return self.key_refused
        return f"403:{','.join(sorted(self._refused))}" if self._refused else None

    def restore(self, record: BreakerRecord | None) -> None:
        """Go on where the last drainer left off. The key may be another one by now: that is found out anew."""
        if record is not None:
            self.breaker.restore(record)
            self.unsaved = record.halted is not None

    def to_record(self) -> BreakerRecord:
        """What the database keeps."""
        return self.breaker.to_record(self.halted)

    # from answers -----------------------------------------------------------------------------------------------------

    def learn(
        self, message: Message | None, outcome: Outcome, *, sent: float, probe: bool = False, asked: bool = False
    ) -> None:
        """An answer to a request that went out at `sent` (monotonic seconds). `message` is None for a harmless GET,
        `probe` says that it is the one probe of an open breaker, `asked` that the request was only a look-up."""
        now, before = self._clock.now(), self._state()
        lane = None if message is None else message.lane
        match outcome:
            case Delivered() | Rejected():
                self.breaker.answered(now)
                if message is not None and not asked:
                    self._refused.pop(message.kind, None)
            case RetryAt(transient=True):
                # What was sent before the breaker opened is no answer to its probe.
                if probe or self.breaker.closed:
                    self.breaker.failed(lane, now)
            case RetryAt():
                self.breaker.answered(now)
            case SlowDown():
                self.throttle.slow_down(self._clock.monotonic(), outcome.retry_after, sent)
                if probe:
                    self.breaker.failed(lane, now)
            case NotAllowed():
                if probe:
                    self.breaker.failed(lane, now)
                self._not_allowed(None if message is None else message.kind, outcome.status)
        self._tell_change(before)

    def probe_was_ours_to_fail(self, message: Message) -> None:
        """The probe ended by a fault of ours and told nothing of Engage: the next one keeps the pace all the same."""
        before = self._state()
        self.breaker.failed(message.lane, self._clock.now())
        self._tell_change(before)

    def _not_allowed(self, kind: Kind | None, status: int) -> None:
        """Sending stops. The probe that follows at once tells whether it is the key or that kind only."""
        if (status == 403 and kind in self._refused) or self.key_refused is not None:
            return
        self.key_refused = str(status)
        self._refused_for = kind
        self._key_probes = 0
        self._next_key_probe = 0

    def _state(self) -> tuple[str, str | None]:
        return self.breaker.state, self.halted

    def _tell_change(self, before: tuple[str, str | None]) -> None:
        state, halted = now = self._state()
        if now == before:
            return
        self.unsaved = True
        self._on_change()
        # A probe that failed changes nothing: the outage was told already.
        if (before[0], state) != (PROBING, OPEN) or halted != before[1]:
            self._emit(BreakerChanged(state=state, previous=before[0], halted=halted))

    # the key ----------------------------------------------------------------------------------------------------------

    def until_key_probe(self, now: int) -> int:
        """Milliseconds until it is time to ask whether the key works again; 0: now, also after a clock set back."""
        wait = self._next_key_probe - now
        return wait if 0 < wait <= max(self._schedule.delays) else 0

    def ask_for_key(self, now: int) -> None:
        """The question goes out."""
        self._key_probes += 1
        self._next_key_probe = now + self._schedule.delay(self._key_probes, 0.0)

    def key_answer(self, outcome: Outcome, *, sent: float) -> None:
        """What came of it. Anything but a yes leaves things as they are."""
        now, before = self._clock.now(), self._state()
        match outcome:
            case Delivered() | Rejected():
                self.key_refused = None
                self.breaker.answered(now)
                if self._refused_for is not None:
                    # The key works; what is refused is this kind of call.
                    _, tries = self._refused.get(self._refused_for, (0, 0))
                    self._refused[self._refused_for] = (now + self._schedule.delay(tries + 1, 0.0), tries + 1)
            case NotAllowed():
                # It is the key, and not that kind of call only: when it works again, that kind goes at once, too.
                self._refused_for = None
            case SlowDown():
                self.throttle.slow_down(self._clock.monotonic(), outcome.retry_after, sent)
        self._tell_change(before)

    # kinds ------------------------------------------------------------------------------------------------------------

    def refuses(self, kind: Kind) -> bool:
        """Whether the key may not send this kind, as far as we know."""
        return kind in self._refused

    def may_try(self, kind: Kind) -> bool:
        """Whether an entry of this kind may go: of a refused kind, one now and then to find out."""
        if kind not in self._refused:
            return True
        next_try, tries = self._refused[kind]
        now = self._clock.now()
        if now < next_try <= now + max(self._schedule.delays):
            return False
        self._refused[kind] = (now + self._schedule.delay(tries + 1, 0.0), tries + 1)
        return True

    def next_try(self, kind: Kind) -> int:
        """When an entry of a refused kind tries again (ms)."""
        return self._refused[kind][0]
