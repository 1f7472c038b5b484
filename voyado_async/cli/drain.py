"""``voyado-async drain``: the sidecar."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager, suppress

import click
import msgspec

from voyado_async.cli.failure import FAILED, PERSON_NEEDED
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.logs import faults_logged, formatter
from voyado_async.cli.opening import CLOCK, looking, run, told_to_stop
from voyado_async.cli.report import json_option, tell_json, tell_lines
from voyado_async.cli.settled import Facts, Verdict, reasons, verdict
from voyado_async.cli.settled_facts import facts_of
from voyado_async.cli.sidecar import ADDRESS, Address, Sidecar
from voyado_async.client import VoyadoClient
from voyado_async.errors import OutboxUnavailable
from voyado_async.events import AttemptMade, DrainerStarted, Event, Listener, Problem, log_events
from voyado_async.outbox.lock import is_drained
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.settings import Settings

LOOK_EVERY = 0.1
"""Seconds between two looks at the outbox, at least; a look that takes long is followed by ten times its length."""

SURE_AFTER = 1.0
"""Seconds for which nothing must move before a person is called: the facts are read one after another, and a refused
key is asked about at once."""

STANDS_BY_AFTER = 1.0
"""Seconds after which a drain that has not begun says that another process drains."""

Show = Callable[[dict[str, int]], None]
"""Draws the line of progress: how many entries are in which state."""

_log = logging.getLogger("voyado_async")


class DrainReport(msgspec.Struct, frozen=True):
    """What ``drain --json`` prints at its end."""

    outbox: str
    states: dict[str, int]
    outcomes: dict[str, int]
    """How many attempts of this process came to what."""
    settled: bool
    """Every entry is final."""
    needs_person: list[str]
    """Why a person is needed; empty where nobody is, or where `--until-settled` was not given."""


class Tally:
    """Counts what this process did, and sees it begin."""

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {}
        self.started = False
        self.troubled = False

    def __call__(self, event: Event) -> None:
        match event:
            case AttemptMade():
                self.outcomes[event.outcome] = self.outcomes.get(event.outcome, 0) + 1
            case DrainerStarted():
                self.started = True
            case Problem():
                self.troubled = True


class Ending(msgspec.Struct):
    """Why the drain ended."""

    verdict: Verdict = Verdict.MOVING
    needs_person: list[str] = msgspec.field(default_factory=list)
    timed_out: bool = False

    def exit_code(self, until_settled: bool) -> int:
        """0 where it was told to stop, and then only without `--until-settled`: a caller that waits for it must not
        take an interruption for the end."""
        if not until_settled or self.verdict is Verdict.SETTLED:
            return 0
        return PERSON_NEEDED if self.verdict is Verdict.NEEDS_PERSON else FAILED


@click.command()
@click.option("--until-settled", is_flag=True, help="End when nothing more moves without a person.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End after so long, with 1."
)
@click.option(
    "--listen",
    "address",
    type=ADDRESS,
    metavar="HOST:PORT",
    help="Answer /healthz, /readyz, /metrics and a page at /; PORT alone: on loopback.",
)
@click.option(
    "--log-format",
    type=click.Choice(["plain", "json"]),
    default="plain",
    show_default=True,
    help="Lines for people, or one JSON object a line.",
)
@json_option
@pass_invocation
def drain(
    invocation: Invocation,
    until_settled: bool,
    timeout: float | None,
    address: Address | None,
    log_format: str,
    as_json: bool,
) -> None:
    """Deliver what is in the outbox, until told to stop.

    Runs until SIGTERM or SIGINT, finishes or hands back what is under way, and exits 0. While another process drains
    the outbox it stands by.

    With --until-settled it ends when nothing more moves by itself: 0 if every entry is final, 3 if a person is needed,
    1 at the time-out or when it is told to stop before.
    """
    if timeout is not None and not until_settled:
        raise click.UsageError("--timeout belongs to --until-settled")
    settings = invocation.settings()
    ending, report = run(_drain(settings, until_settled, timeout, address, log_format))
    if as_json:
        tell_json(report)
    else:
        tell_lines(_lines(report, ending))
    raise click.exceptions.Exit(ending.exit_code(until_settled))


def _lines(report: DrainReport, ending: Ending) -> list[str]:
    states = ", ".join(f"{count} {state}" for state, count in report.states.items() if count)
    lines = [f"{states or 'no entries'} in {report.outbox}"]
    if ending.timed_out:
        lines.append("not settled within the time-out")
    return lines + [f"a person is needed: {reason}" for reason in report.needs_person]


async def _drain(
    settings: Settings, until_settled: bool, timeout: float | None, address: Address | None, log_format: str
) -> tuple[Ending, DrainReport]:
    told = told_to_stop()
    tally, ending = Tally(), Ending()
    async with AsyncExitStack() as stack:
        show = stack.enter_context(_telling(log_format))
        stack.enter_context(faults_logged())
        sidecar = stack.enter_context(closing(Sidecar(settings, address)))
        listeners: list[Listener] = [log_events(), tally, *sidecar.listeners]
        voyado = await stack.enter_async_context(VoyadoClient(settings, listeners=listeners))
        outbox = await stack.enter_async_context(looking(settings))
        _log.info("outbox %s", outbox.path)
        await stack.enter_async_context(sidecar.running(voyado, outbox))
        if sidecar.port is not None:
            _log.info("listening on port %d", sidecar.port)
        watch = asyncio.create_task(_watch(outbox, settings, tally, show, ending if until_settled else None))
        stop = asyncio.create_task(told.wait())
        done, left = await asyncio.wait({watch, stop}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        ending.timed_out = not done
        if watch in done:
            watch.result()
    async with looking(settings) as outbox:
        states = (await outbox.counts()).states
    settled = verdict(Facts(states, confirm=settings.fallback_confirm)) is Verdict.SETTLED
    return ending, DrainReport(outbox.path, states, tally.outcomes, settled, ending.needs_person)


@contextmanager
def _telling(log_format: str) -> Iterator[Show | None]:
    """Log to standard error: with a line of progress below where that is a terminal, else plain lines."""
    if sys.stderr.isatty() and log_format == "plain":
        from voyado_async.cli.screen import progress_line  # here: rich is for terminals only

        with progress_line() as (handler, show):
            _log_to(handler, log_format)
            yield show
    else:
        _log_to(logging.StreamHandler(), log_format)
        yield None


def _log_to(handler: logging.Handler, log_format: str) -> None:
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _log.setLevel(logging.INFO)


async def _watch(
    outbox: SqliteOutbox, settings: Settings, tally: Tally, show: Show | None, ending: Ending | None
) -> None:
    """Look after the drain: who drains, how far it is, and with `ending` whether it is at its end. Then it returns."""
    began = CLOCK.monotonic()
    doubtful_since: float | None = None
    other_drains = False
    while True:
        now = CLOCK.monotonic()
        # What is true of a lock that we hold ourselves is told by DrainerStarted.
        if not (tally.started or tally.troubled or other_drains) and now - began >= STANDS_BY_AFTER:
            other_drains = is_drained(f"{outbox.path}-drain")
            if other_drains:
                _log.info("another process drains this outbox; standing by")
        if show is None and ending is None and (tally.started or tally.troubled or other_drains):
            await asyncio.Future()  # nobody wants to know more: an idle sidecar looks at nothing
        with suppress(OutboxUnavailable):  # the drainer waits this out, and says so
            if show is not None:
                show((await outbox.counts()).states)
            if ending is not None:
                facts = await facts_of(outbox, settings)
                found = verdict(facts)
                if found is Verdict.SETTLED:
                    ending.verdict = found
                    return
                if found is Verdict.MOVING or not (tally.started or other_drains):
                    doubtful_since = None
                elif doubtful_since is None:
                    doubtful_since = now
                elif now - doubtful_since >= SURE_AFTER:
                    ending.verdict, ending.needs_person = found, reasons(facts)
                    return
        await CLOCK.sleep(max(LOOK_EVERY, 10 * (CLOCK.monotonic() - now)))
