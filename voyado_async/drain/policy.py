"""From the outcome of an attempt to the next state of its entry. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from voyado_async.delivery import Delivered, Kind, Message, NotAllowed, Outcome, Rejected, RetryAt, SlowDown
from voyado_async.outbox.records import UNCONFIRMED, Attempt, Settlement
from voyado_async.outbox.replaying import SUPERSEDED
from voyado_async.outbox.states import State

REST = 10_000
"""A lane rests so long (ms) after an attempt whose outcome is unknown: Engage may still be working on it (DESIGN 3)."""

LONGEST_RETRY_AFTER = 3_600_000
"""Engage's word counts up to an hour (ms)."""

TOLD = 10
"""Contacts that a reason names at most; Engage may find any number under one attribute."""

JITTER = 0.1
"""A delay is lengthened by up to a tenth, never shortened (ref 2.1: as late as the situation allows)."""


class Overtaken(msgspec.Struct, frozen=True):
    """A look-up told that newer entries have set everything that this one would set. Nothing is sent."""

    status: int | None = None
    duration_ms: int = 0


class Schedule(msgspec.Struct, frozen=True):
    """When to try again (ref 2.1). `delays` in ms; the last one repeats. `attempts` turns in all."""

    delays: tuple[int, ...]
    attempts: int

    def delay(self, slots: int, spread: float) -> int:
        """The delay after so many used turns (1 or more); `spread` is between 0 and 1."""
        base = self.delays[min(slots, len(self.delays)) - 1]
        return base + int(base * JITTER * spread)

    def used_up(self, slots: int) -> bool:
        return slots >= self.attempts


def settle(
    message: Message,
    outcome: Outcome | Overtaken,
    *,
    source: State,
    what: str,
    now: int,
    schedule: Schedule,
    outage: bool,
    spread: Callable[[], float],
) -> Settlement:
    """The move of an entry after an attempt that came to `outcome`. `outage`: the breaker is open.

    An entry of which an open breaker used up turns is the outage's, also where it uses up the last one itself, after
    the breaker has closed: it goes back with a fresh schedule, and is poisoned when it uses up that alone.
    """

    def move(target: State, attempt: Attempt, **changes: object) -> Settlement:
        settlement = Settlement(
            id=message.id, source=source, target=target, attempt=attempt, slots=message.slots, unknown=message.unknown,
            lines=None if source is State.SENDING else message.lines,
        )  # fmt: skip
        return msgspec.structs.replace(settlement, **changes)

    def line(result: str, code: str | None = None, *, known: bool = True) -> Attempt:
        return Attempt(
            at=now, what=what, outcome=result, status=outcome.status, code=code, known=known,
            duration_ms=outcome.duration_ms,
        )  # fmt: skip

    match outcome:
        case Delivered():
            return move(
                State.DELIVERED, line("delivered", outcome.how),
                contact_id=outcome.contact_id, contact_type=outcome.contact_type,
            )  # fmt: skip
        case Overtaken() if message.kind is Kind.CONTACT_CREATE:
            return move(State.DELIVERED, line("delivered", "exists"))  # the contact is there: that is what it was for
        case Overtaken():
            return move(State.DISCARDED, line("discarded", SUPERSEDED), reason=SUPERSEDED)
        case Rejected():
            return move(State.REJECTED, line("rejected", outcome.code), reason=_reason(outcome))
        case SlowDown():
            due = now + max(_retry_after(outcome.retry_after), schedule.delays[0])
            waiting = source if source is State.IMPORTED else State.PENDING
            return move(
                waiting, line("slow_down", "TooManyRequests"), due=due, reason="TooManyRequests", outage=message.outage
            )
        case NotAllowed():
            waiting = source if source is State.IMPORTED else State.PENDING
            return move(
                waiting, line("not_allowed", "NotAllowed"), due=now, reason=f"NotAllowed {outcome.status}",
                outage=message.outage,
            )  # fmt: skip
        case RetryAt():
            return _retry(message, outcome, source, now, schedule, outage, spread(), move, line)


def _retry(
    message: Message,
    outcome: RetryAt,
    source: State,
    now: int,
    schedule: Schedule,
    outage: bool,
    spread: float,
    move: Callable[..., Settlement],
    line: Callable[..., Attempt],
) -> Settlement:
    slots = message.slots + outcome.counts
    unknown = message.unknown or outcome.unknown
    rest = now + REST if outcome.unknown else 0
    # Only what has not left by file can be exhausted: a confirmation is tried for as long as it takes.
    exhausted = source is not State.IMPORTED and outcome.counts and schedule.used_up(slots)
    if exhausted:
        target, result, due = State.EXHAUSTED, "exhausted", now
    else:
        delay = schedule.delay(slots, spread) if outcome.counts else schedule.delays[0]
        target, result = (source if source is State.IMPORTED else State.PENDING), "retry"
        due = max(now + max(delay, _retry_after(outcome.retry_after)), rest)
    # An outage is told as such; and whoever was told once is not untold by what does not count.
    unconfirmed = source is State.IMPORTED and schedule.used_up(slots) and not outage
    return move(
        target, line(result, outcome.code, known=not outcome.unknown), due=due, slots=slots, unknown=unknown,
        reason=UNCONFIRMED if unconfirmed else outcome.code, rest_until=rest,
        outage=message.outage or (outage and exhausted),
    )  # fmt: skip


def skip(message: Message, *, now: int, schedule: Schedule, spread: Callable[[], float]) -> Settlement:
    """An entry whose turn comes while the breaker is open uses it up without a request."""
    slots = message.slots + 1
    exhausted = schedule.used_up(slots)
    return Settlement(
        id=message.id,
        source=State.PENDING,
        target=State.EXHAUSTED if exhausted else State.PENDING,
        attempt=Attempt(at=now, what="skipped", outcome="exhausted" if exhausted else "retry", code="BreakerOpen"),
        due=now if exhausted else now + schedule.delay(slots, spread()),
        slots=slots,
        unknown=message.unknown,
        reason="BreakerOpen",
        outage=True,
        lines=message.lines,
    )


def _reason(outcome: Rejected) -> str:
    """Why it was rejected: the code, and behind a colon the contacts among which somebody has to choose."""
    code = f"{outcome.code} (may have happened)" if outcome.may_have_happened else outcome.code
    if not outcome.contact_ids:
        return code
    more = len(outcome.contact_ids) - TOLD
    return f"{code}: {', '.join(outcome.contact_ids[:TOLD])}" + (f" and {more} more" if more > 0 else "")


def _retry_after(seconds: float | None) -> int:
    return min(int((seconds or 0.0) * 1000), LONGEST_RETRY_AFTER)
