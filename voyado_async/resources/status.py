"""What an operator is told in one look, out of one snapshot of the outbox. Pure: `status_of`.

What waits, since when, why, what happens next and when; the last hour; and what needs a person, with the command that
helps. Everything here may be shown to anybody: ids, states, codes, names of files; nothing of a person.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from voyado_async.outbox.looking import WAITING
from voyado_async.outbox.overview import HOUR, SPAN, Overview, Standing
from voyado_async.outbox.records import BreakerRecord, DrainerRecord
from voyado_async.outbox.states import OPEN_FILES, FileState, State
from voyado_async.resources.advice import TO_CARRY, Advice, Plan, advice_on, problem_of

STALLED = 60_000
"""Work is due and nothing moved for so long (ms): somebody has to look (DESIGN 3, "One drainer per outbox")."""

HOUR_OF_SPANS = HOUR // SPAN + 1
"""Spans of the last hour; the one of this moment is not over, so that it is up to five minutes more."""

BREAKER_OPEN = "BreakerOpen"
"""The reason of what used up its turns while nothing was sent."""

_NONE = Standing(None, {})


class DrainerStatus(msgspec.Struct, frozen=True):
    """Who drains. `stalled`: somebody does, work is due, and nothing has moved for a minute."""

    running: bool
    pid: int | None
    stalled: bool
    problem: str | None


class Accounting(msgspec.Struct, frozen=True):
    """The books: `enqueued` is the sum over all states and what was purged or forgotten, or `balanced` is false."""

    enqueued: int
    purged: int
    forgotten: int
    balanced: bool


class Waiting(msgspec.Struct, frozen=True):
    """The entries of one state that is not final."""

    state: str
    """`pending` stands for `sending`, too."""
    count: int
    oldest_seconds: float | None
    """How long ago the oldest was written, or its file came to this state."""
    why: str
    next: str
    """What happens next by itself, or what a person has to do."""
    next_in_seconds: float | None
    """When; null where it depends on something else, negative where it is late."""


class LastHour(msgspec.Struct, frozen=True):
    """The last 60 to 65 minutes."""

    enqueued: int
    delivered: int
    rejected: int
    exhausted: int
    open_before: int
    """How many entries were not final at its beginning."""
    open_now: int

    @property
    def rejection_rate(self) -> float:
        """The share of what Engage refused, 0 to 1; 0 where nothing came to an end."""
        ended = self.delivered + self.rejected
        return self.rejected / ended if ended else 0.0


class Status(msgspec.Struct, frozen=True):
    """What `voyado-async status --json` prints. Fields stay; new ones may come."""

    outbox: str
    base_url: str | None
    states: dict[str, int]
    kinds: dict[str, dict[str, int]]
    oldest_pending_seconds: float | None
    breaker: str
    halted: str | None
    drainer: DrainerStatus
    files: dict[str, int]
    accounting: Accounting
    needs_person: tuple[str, ...]
    """Why somebody has to look; empty where nobody has to."""
    breaker_seconds: float | None = None
    """For how long the breaker has been as it is."""
    next_probe_in_seconds: float | None = None
    """When Engage is asked again, while the breaker is open; null while nobody drains: nobody asks then."""
    last_enqueued_seconds: float | None = None
    """How long ago the newest entry was written."""
    waiting: tuple[Waiting, ...] = ()
    """What is not final, in the order of the way of an entry."""
    last_hour: LastHour = LastHour(0, 0, 0, 0, 0, 0)
    advice: tuple[Advice, ...] = ()
    """`needs_person` with what to type, in the same order."""


def _left_on_the_road(found: Overview, plan: Plan, now: int) -> bool:
    """Whether something on the second road is old enough to be missed, and nobody has drained for as long."""
    if found.drainer is not None and now - found.drainer.progress < STALLED:
        return False
    states = (State.EXHAUSTED, State.IMPORTED) if plan.confirms else (State.EXHAUSTED,)
    since = [found.standing[state].oldest for state in states if state in found.standing]
    since += [total.since for total in found.files if total.state in OPEN_FILES]
    return any(moment is not None and now - moment >= STALLED for moment in since)


def _is_stalled(record: DrainerRecord, plan: Plan, now: int) -> bool:
    """Nothing of its process has been seen for a minute; or it walks the second road alone, and the requests that may
    have been under way have ended a minute ago."""
    moved = record.progress if record.moved is None else record.moved
    return now - record.progress >= STALLED or now - moved >= STALLED + int(plan.request_takes * 1000)


def status_of(found: Overview, *, outbox: str, now: int, pid: int | None, plan: Plan) -> Status:
    """The report. `pid` is the process that holds the right to drain at this moment: None where nobody does, 0
    where it has not said yet."""
    counts, breaker = found.counts, found.breaker or BreakerRecord("closed", 0)
    is_due = found.due_since is not None and now - found.due_since >= STALLED
    running = pid is not None
    # What the one before it left behind says nothing of who has just taken over.
    record = found.drainer if found.drainer is not None and found.drainer.pid == pid else None
    stalled = running and is_due and record is not None and _is_stalled(record, plan, now)
    drainer = DrainerStatus(running, pid or None, stalled, record.problem if record else None)
    unattended = not running and (is_due or _left_on_the_road(found, plan, now))
    advice = tuple(advice_on(found, breaker, plan, stalled=stalled, unattended=unattended))
    asks_again = running and breaker.state != "closed" and breaker.halted is None and breaker.next_probe > 0
    return Status(
        outbox=outbox,
        base_url=found.base_url,
        states=counts.states,
        kinds=counts.kinds,
        oldest_pending_seconds=_ago(counts.oldest_pending, now),
        breaker=breaker.state,
        halted=breaker.halted,
        drainer=drainer,
        files={total.state: total.files for total in found.files},
        accounting=Accounting(counts.enqueued, counts.purged, counts.forgotten, counts.balanced),
        needs_person=tuple(one.reason for one in advice),
        breaker_seconds=_ago(breaker.since or None, now),
        next_probe_in_seconds=(breaker.next_probe - now) / 1000 if asks_again else None,
        last_enqueued_seconds=_ago(found.last_enqueued, now),
        waiting=tuple(_waiting(found, breaker, plan, running=running, now=now)),
        last_hour=last_hour(found),
        advice=advice,
    )


def last_hour(found: Overview) -> LastHour:
    """The sum of the last spans."""
    spans = found.flow[-HOUR_OF_SPANS:]
    final = sum(found.counts.states[state] for state in (State.DELIVERED, State.DISCARDED))
    open_now = sum(found.counts.states.values()) - final
    enqueued = sum(span.enqueued for span in spans)
    came_to = {state: sum(span.count(state) for span in spans) for state in State}
    before = open_now - enqueued + came_to[State.DELIVERED] + came_to[State.DISCARDED]
    return LastHour(
        enqueued=enqueued,
        delivered=came_to[State.DELIVERED],
        rejected=came_to[State.REJECTED],
        exhausted=came_to[State.EXHAUSTED],
        open_before=max(0, before),  # what was forgotten meanwhile is not in the books of the hour
        open_now=open_now,
    )


def _waiting(found: Overview, breaker: BreakerRecord, plan: Plan, *, running: bool, now: int) -> Iterator[Waiting]:
    states, standing = found.counts.states, found.standing
    since = {total.state: total.since for total in found.files}

    def waiting(state: State, count: int, oldest: int | None, why: str, then: str, at: int | None = None) -> Waiting:
        return Waiting(state, count, _ago(oldest, now), why, then, None if at is None else (at - now) / 1000)

    if count := states[State.PENDING] + states[State.SENDING]:
        mine = standing.get(WAITING, _NONE)
        yield waiting(State.PENDING, count, mine.oldest, *_why_pending(found, breaker, mine, running=running, now=now))
    if count := states[State.EXHAUSTED]:
        mine = standing.get(State.EXHAUSTED, _NONE)
        then = f"a file (every {plan.gathers_every:g} s), or the API when it is back"
        away = next(iter(mine.reasons), None) == BREAKER_OPEN
        why = "retries used up while Engage was away" if away else f"retries used up{_reasons(mine)}"
        yield waiting(State.EXHAUSTED, count, mine.oldest, why, then)
    if count := states[State.SPOOLED]:
        yield waiting(State.SPOOLED, count, since.get(FileState.SPOOLED), *_why_spooled(found, breaker, plan))
    if count := states[State.UPLOADED]:
        uploaded = since.get(FileState.UPLOADED, since.get(FileState.UPLOADING))
        at = None if uploaded is None else uploaded + int(plan.imports_every * 1000)
        if unseen := sorted({str(file.problem) for file in found.open_files if file.out_of_sight}):
            why = f"nobody can see what became of their files ({', '.join(unseen)})"
            yield waiting(State.UPLOADED, count, uploaded, why, "the next look at the server")
        else:
            yield waiting(State.UPLOADED, count, uploaded, "their files are with Engage", "Engage's next import", at)
    if count := states[State.IMPORTED]:
        mine = standing.get(State.IMPORTED, _NONE)
        why = "Engage has taken their files"
        if not plan.confirms:
            yield waiting(State.IMPORTED, count, mine.oldest, why, "nothing: VOYADO_FALLBACK_CONFIRM is off")
        elif breaker.state != "closed":
            yield waiting(State.IMPORTED, count, mine.oldest, why, "confirmed over the API when Engage answers")
        else:
            yield waiting(State.IMPORTED, count, mine.oldest, why, "confirmed over the API", mine.next_due)
    if count := states[State.REJECTED]:
        mine = standing.get(State.REJECTED, _NONE)
        yield waiting(State.REJECTED, count, mine.oldest, f"refused for good{_reasons(mine)}", "a person decides")


def _why_pending(
    found: Overview, breaker: BreakerRecord, mine: Standing, *, running: bool, now: int
) -> tuple[str, str, int | None]:
    """Why they wait, what comes next, and when (ms)."""
    if breaker.halted and ":" not in breaker.halted:
        return f"the API key is refused ({breaker.halted})", "sent when a probe finds that the key works again", None
    if not running:
        return "nobody drains", "sent when somebody does: voyado-async drain", None
    if breaker.state != "closed":
        return f"Engage is unwell{_reasons(mine)}", "a probe asks whether Engage is back", breaker.next_probe
    if found.due_since is None:
        return "behind entries that left by file", "sent when those are confirmed", None
    if found.due_since <= now:
        return f"in turn{_reasons(mine, over=BREAKER_OPEN)}", "being sent", None
    return f"after a failed attempt{_reasons(mine, over=BREAKER_OPEN)}", "the next attempt", mine.next_due


def _why_spooled(found: Overview, breaker: BreakerRecord, plan: Plan) -> tuple[str, str]:
    problems = sorted({file.problem for file in found.open_files if file.state == FileState.SPOOLED and file.problem})
    if problems:
        return f"their files cannot leave ({', '.join(problems)})", "the upload is tried again"
    if not plan.uploads:
        return "no file server is set", "a person carries the files: voyado-async files --carried NAME"
    families = {file.family for file in found.open_files if file.state == FileState.SPOOLED}
    if families and families <= plan.by_hand:
        why = f"no folder is set for {', '.join(sorted(families))}"
        if any(problem_of(file, found, breaker, plan) == TO_CARRY for file in found.open_files):
            return why, "a person carries or withdraws them: voyado-async files"
        return why, "the API when it is back"
    return "their files are complete", "the upload"


def _reasons(standing: Standing, over: str | None = None) -> str:
    """The two most frequent ones, but for what is over: entries keep the reason of their last turn until the next."""
    reasons = [reason for reason in standing.reasons if reason != over]
    told = reasons[:2] + ["..."] * (len(reasons) > 2)
    return f": {', '.join(told)}" if told else ""


def _ago(moment: int | None, now: int) -> float | None:
    """Seconds since then; none where the clock was set back."""
    return None if moment is None else max(0.0, (now - moment) / 1000)
