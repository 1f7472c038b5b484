"""``voyado-async status``: what waits, since when, why and what happens next; and whether somebody has to look."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial

import click
import msgspec

from voyado_async.cli.failure import PERSON_NEEDED
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.looking import look_at
from voyado_async.cli.parameters import DURATION
from voyado_async.cli.report import age, json_option, tell_json, tell_lines
from voyado_async.cli.status_lines import lines_in, lines_of
from voyado_async.clock import SystemClock
from voyado_async.outbox.lock import drainer_pid
from voyado_async.outbox.looking import overview
from voyado_async.resources.advice import Advice, Plan
from voyado_async.resources.status import HOUR_OF_SPANS, Status, status_of
from voyado_async.settings import Settings


class Limits(msgspec.Struct, frozen=True):
    """What monitoring puts up with; none: with anything."""

    age: float | None = None
    """Seconds that the oldest entry may wait for the API."""
    silence: float | None = None
    """Seconds without a new entry: a shop that sells writes some."""
    rejected: float | None = None
    """Per cent of the last hour's answers that may be refusals."""


def passed(found: Status, limits: Limits) -> Iterator[Advice]:
    """The limits that are passed. Pure."""
    oldest, silence = found.oldest_pending_seconds, found.last_enqueued_seconds
    if limits.age is not None and oldest is not None and oldest > limits.age:
        yield Advice(
            f"the oldest entry waits for {age(oldest)}, longer than {age(limits.age)}",
            "voyado-async list --state pending",
        )
    if limits.silence is not None and (silence is None or silence > limits.silence):
        told = "nothing was ever written" if silence is None else f"nothing was written for {age(silence)}"
        yield Advice(f"{told}, longer than {age(limits.silence)}", "voyado-async list --limit 1")
    rate = 100 * found.last_hour.rejection_rate
    if limits.rejected is not None and rate > limits.rejected:
        yield Advice(
            f"{rate:.1f} % of the last hour were rejected, more than {limits.rejected:g} %",
            "voyado-async list --state rejected --since 1h",
        )


@click.command()
@click.option("--check", is_flag=True, help="Exit 3 when a person is needed.")
@click.option("--max-age", type=DURATION, metavar="DURATION", help="With --check: nothing may wait longer, as in 15m.")
@click.option(
    "--max-silence", type=DURATION, metavar="DURATION", help="With --check: something must have been written since."
)
@click.option(
    "--max-rejected",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="With --check: of what was answered in the last hour.",
)
@click.option("--watch", is_flag=True, help="Show it again and again, until told to stop.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: between two looks.",
)
@json_option
@pass_invocation
def status(
    invocation: Invocation,
    check: bool,
    max_age: float | None,
    max_silence: float | None,
    max_rejected: float | None,
    watch: bool,
    interval: float,
    as_json: bool,
) -> None:
    """Show what waits, since when, why, and what happens next.

    Reads only: it needs neither base URL nor API key, and works while others write and drain. Its cost does not grow
    with the outbox. An outbox that nobody has written to yet is empty, but --check wants it to be there.
    """
    limits = Limits(max_age, max_silence, max_rejected)
    if limits != Limits() and not check:
        raise click.UsageError("limits belong to --check")
    if check and watch:
        raise click.UsageError("--check looks once; leave --watch out")
    settings = invocation.settings()
    if watch:
        from voyado_async.cli.opening import run  # here: one look needs no event loop

        run(_watch(settings, interval, as_json=as_json))
        return
    found = with_limits(_status(settings, must_be_there=check), limits)
    if as_json:
        tell_json(found)
    else:
        tell_lines(lines_of(found))
    if check and found.needs_person:
        raise click.exceptions.Exit(PERSON_NEEDED)


def with_limits(found: Status, limits: Limits) -> Status:
    """A limit that is passed needs a person. Pure."""
    more = tuple(passed(found, limits))
    return msgspec.structs.replace(
        found,
        needs_person=(*found.needs_person, *(one.reason for one in more)),
        advice=(*found.advice, *more),
    )


def _status(settings: Settings, *, must_be_there: bool) -> Status:
    path, now = str(settings.outbox_path), SystemClock().now()
    look = partial(overview, now=now, spans=HOUR_OF_SPANS)
    found = look_at(settings, look, must_be_there=must_be_there)
    return status_of(found, outbox=path, now=now, pid=drainer_pid(f"{path}-drain"), plan=Plan.of(settings))


async def _watch(settings: Settings, interval: float, *, as_json: bool) -> None:
    import asyncio

    from voyado_async.cli.opening import looking, told_to_stop, view

    told = told_to_stop()
    with ExitStack() as stack:
        draw: Callable[[Callable[[int, int], Sequence[str]]], None] | None = None
        if sys.stdout.isatty():
            from voyado_async.cli.screen import standing_lines  # here: rich is for terminals only

            draw = stack.enter_context(standing_lines())
        async with looking(settings) as outbox:
            while not told.is_set():
                found = await view(outbox, Plan.of(settings)).status()
                if as_json:
                    tell_json(found)
                elif draw is not None:
                    draw(partial(lines_in, found))
                else:
                    tell_lines([*lines_of(found), ""])
                with suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), interval)
