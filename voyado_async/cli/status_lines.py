"""The status as lines that fit on one screen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from voyado_async.cli.report import age
from voyado_async.outbox.states import State
from voyado_async.resources.advice import Advice
from voyado_async.resources.status import LastHour, Status, Waiting

FINAL = (State.DELIVERED, State.DISCARDED)

MOST_KINDS = 3

MOST_ADVICE = 6
"""So many reasons are told; the rest is counted."""

WIDTH = 80
"""The narrowest window that is usual."""


class Block(NamedTuple):
    """Lines that say something only together."""

    rank: int
    """What matters most is 0."""
    lines: tuple[str, ...]


def lines_of(found: Status) -> list[str]:
    """The report: who works, how the last hour went, what waits and why, what needs a person and what to type."""
    return [line for block in _report(found) for line in block.lines]


def lines_in(found: Status, rows: int, width: int) -> list[str]:
    """As much of the report as a window has room for: what needs a person and what to type before all else, then who
    works and what waits. The order stays; what is left out is told in the last row."""
    report = [Block(rank, _folded(lines, width)) for rank, lines in _report(found)]
    whole = [line for block in report for line in block.lines]
    if len(whole) <= rows:
        return whole
    room, kept = rows - 1, dict[int, tuple[str, ...]]()
    for place in sorted(range(len(report)), key=lambda place: report[place].rank):
        rank, lines = report[place]
        if len(lines) > room:
            # The command is the last line of what needs a person.
            kept[place] = lines[len(lines) - room :] if rank == 0 else ()
            break
        kept[place] = lines
        room -= len(lines)
    told = [line for place in sorted(kept) for line in kept[place]]
    return [*told, f"... {len(whole) - len(told)} more lines in a higher window"]


def _folded(lines: Sequence[str], width: int) -> tuple[str, ...]:
    """None is longer than that."""
    return tuple(line[at : at + width] for line in lines for at in range(0, max(1, len(line)), width))


def _report(found: Status) -> list[Block]:
    books = found.accounting
    final = [f"{found.states[state]} {state}" for state in FINAL if found.states[state]]
    lines = [
        (5, f"outbox      {found.outbox}"),
        (5, f"engage      {found.base_url or 'not bound yet'}"),
        (1, f"drainer     {_drainer(found)}"),
        (1, f"breaker     {_breaker(found)}"),
        (4, f"accounting  {'balanced' if books.balanced else 'DOES NOT CLOSE'}: {books.enqueued} enqueued, "
            f"{books.purged} purged, {books.forgotten} forgotten"),
        (5, f"final       {', '.join(final) or 'nothing yet'}"),
        (3, f"last hour   {_hour(found.last_hour)}"),
    ]  # fmt: skip
    if found.last_enqueued_seconds is not None:
        lines.append((5, f"newest      written {age(found.last_enqueued_seconds)} ago"))
    if found.files:
        lines.append((4, f"files       {', '.join(f'{count} {state}' for state, count in found.files.items())}"))
    blocks = [Block(rank, (line,)) for rank, line in lines]
    blocks += [Block(6, ("",)), *(Block(2, told) for told in _waiting(found))]
    if found.advice:
        blocks += [Block(6, ("",)), Block(1, ("look at",))]
        blocks += [Block(0, told) for told in _advice(found.advice[:MOST_ADVICE])]
        if len(found.advice) > MOST_ADVICE:
            blocks.append(Block(1, (f"  and {len(found.advice) - MOST_ADVICE} more: voyado-async status --json",)))
    return blocks


def _advice(advice: Sequence[Advice]) -> Iterator[tuple[str, ...]]:
    """Reasons with their command beside them, or below them where the line would not fit."""
    for command, several in groupby(advice, key=lambda one: one.command):
        reasons = [one.reason for one in several]
        if len(reasons) == 1 and len(reasons[0]) + len(command) + 4 <= WIDTH:
            yield (f"  {reasons[0]}  {command}",)
        else:
            yield (*(f"  {reason}" for reason in reasons), f"    {command}")


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
    elif told != "closed" and not found.drainer.running:
        told += ", Engage is asked again when somebody drains"
    return told + (f", the key is refused ({found.halted})" if found.halted else "")


def _hour(hour: LastHour) -> str:
    rate = f" ({100 * hour.rejection_rate:.1f} %)" if hour.rejected else ""
    return (
        f"{hour.enqueued} written, {hour.delivered} delivered, {hour.rejected} rejected{rate}, "
        f"{hour.exhausted} exhausted; open {hour.open_before} -> {hour.open_now}"
    )


def _waiting(found: Status) -> Iterator[tuple[str, ...]]:
    if not found.waiting:
        yield ("waiting     nothing",)
        return
    total = sum(one.count for one in found.waiting)
    oldest = found.oldest_pending_seconds
    yield (
        f"waiting     {total}" + (f", the oldest for the API waits for {age(oldest)}" if oldest is not None else ""),
    )
    for one in found.waiting:
        since = f" for {age(one.oldest_seconds)}" if one.oldest_seconds is not None else ""
        yield f"  {one.count} {one.state}{since}{_kinds(found, one.state)}", f"    {one.why}; next: {_next(one)}"


def _next(one: Waiting) -> str:
    return one.next if one.next_in_seconds is None else f"{one.next} {_when(one.next_in_seconds)}"


def _when(seconds: float) -> str:
    return f"in {age(seconds)}" if seconds >= 1 else "now"


def _kinds(found: Status, state: str) -> str:
    """The most frequent kinds; `--json` has all. What is being sent is told with what is pending."""
    states = (State.PENDING, State.SENDING) if state == State.PENDING else (state,)
    totals = ((sum(by.get(one, 0) for one in states), kind) for kind, by in found.kinds.items())
    counts = sorted((one for one in totals if one[0]), reverse=True)
    told = [f"{count} {kind}" for count, kind in counts[:MOST_KINDS]] + ["..."] * (len(counts) > MOST_KINDS)
    return f"  ({', '.join(told)})" if told else ""
