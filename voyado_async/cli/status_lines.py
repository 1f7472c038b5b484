"""The status as lines that fit on one screen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from voyado_async.cli.report import age
from voyado_async.outbox.states import State
from voyado_async.resources.status import Advice, LastHour, Status, Waiting

FINAL = (State.DELIVERED, State.DISCARDED)

MOST_KINDS = 3

MOST_ADVICE = 6
"""So many reasons are told; the rest is counted."""

WIDTH = 80
"""The narrowest window that is usual."""


def lines_of(found: Status) -> list[str]:
    """The report: who works, how the last hour went, what waits and why, what needs a person and what to type."""
    books = found.accounting
    final = [f"{found.states[state]} {state}" for state in FINAL if found.states[state]]
    lines = [
        f"outbox      {found.outbox}",
        f"engage      {found.base_url or 'not bound yet'}",
        f"drainer     {_drainer(found)}",
        f"breaker     {_breaker(found)}",
        f"accounting  {'balanced' if books.balanced else 'DOES NOT CLOSE'}: {books.enqueued} enqueued, "
        f"{books.purged} purged, {books.forgotten} forgotten",
        f"final       {', '.join(final) or 'nothing yet'}",
        f"last hour   {_hour(found.last_hour)}",
    ]
    if found.last_enqueued_seconds is not None:
        lines.append(f"newest      written {age(found.last_enqueued_seconds)} ago")
    if found.files:
        lines.append(f"files       {', '.join(f'{count} {state}' for state, count in found.files.items())}")
    lines += ["", *_waiting(found)]
    if found.advice:
        lines += ["", "look at", *_advice(found.advice[:MOST_ADVICE])]
        if len(found.advice) > MOST_ADVICE:
            lines.append(f"  and {len(found.advice) - MOST_ADVICE} more: voyado-async status --json")
    return lines


def _advice(advice: Sequence[Advice]) -> Iterator[str]:
    """Reasons with their command beside them, or below them where the line would not fit."""
    for command, several in groupby(advice, key=lambda one: one.command):
        reasons = [one.reason for one in several]
        if len(reasons) == 1 and len(reasons[0]) + len(command) + 4 <= WIDTH:
            yield f"  {reasons[0]}  {command}"
        else:
            yield from (f"  {reason}" for reason in reasons)
            yield f"    {command}"


def _drainer(found: Status) -> str:
    drainer = found.drainer
    running = f"running, pid {drainer.pid}" if drainer.running else "none"
    return running + (f", problem: {drainer.problem}" if drainer.problem is not None else "")


def _breaker(found: Status) -> str:
    told = found.breaker
    if told != "closed" and found.breaker_seconds is not None:
        told += f" for {age(found.breaker_seconds)}"
    if found.next_probe_in_seconds is not None:
        told += f", Engage is asked again {_when(found.next_probe_in_seconds)}"
    return told + (f", the key is refused ({found.halted})" if found.halted else "")


def _hour(hour: LastHour) -> str:
    rate = f" ({100 * hour.rejection_rate:.1f} %)" if hour.rejected else ""
    return (
        f"{hour.enqueued} written, {hour.delivered} delivered, {hour.rejected} rejected{rate}, "
        f"{hour.exhausted} exhausted; open {hour.open_before} -> {hour.open_now}"
    )


def _waiting(found: Status) -> list[str]:
    if not found.waiting:
        return ["waiting     nothing"]
    total = sum(one.count for one in found.waiting)
    oldest = found.oldest_pending_seconds
    lines = [
        f"waiting     {total}" + (f", the oldest for the API waits for {age(oldest)}" if oldest is not None else "")
    ]
    for one in found.waiting:
        since = f" for {age(one.oldest_seconds)}" if one.oldest_seconds is not None else ""
        lines += [f"  {one.count} {one.state}{since}{_kinds(found, one.state)}", f"    {one.why}; next: {_next(one)}"]
    return lines


def _next(one: Waiting) -> str:
    return one.next if one.next_in_seconds is None else f"{one.next} {_when(one.next_in_seconds)}"


def _when(seconds: float) -> str:
    return f"in {age(seconds)}" if seconds >= 1 else "now"


def _kinds(found: Status, state: str) -> str:
    """The most frequent kinds; `--json` has all."""
    counts = sorted(((by[state], kind) for kind, by in found.kinds.items() if by.get(state)), reverse=True)
    told = [f"{count} {kind}" for count, kind in counts[:MOST_KINDS]] + ["..."] * (len(counts) > MOST_KINDS)
    return f"  ({', '.join(told)})" if told else ""
