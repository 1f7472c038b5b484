"""``voyado-async demo``: a shop, a fake Engage in a process of its own, and an outage, in under a minute.

All of it on loopback and in one temporary folder, which is gone afterwards. In the end the shop's books are held
against Engage's, entry by entry: exit 1 where one is missing, doubled or out of order.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec

from voyado_async.cli.demo_books import Finding, Row, compare
from voyado_async.cli.demo_engage import Engage, Info, engage_process
from voyado_async.cli.demo_shop import CUSTOM_ATTRIBUTES, Shop, invite
from voyado_async.cli.demo_view import QuietView, View, view_of
from voyado_async.cli.failure import FAILED
from voyado_async.cli.report import json_option, table, tell_json, tell_lines
from voyado_async.client import VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.events import AttemptMade, Event, FileChanged
from voyado_async.resources.status import Status
from voyado_async.settings import Settings

SANDBOX = ("--contact-key", "email", "--import-period", "1", "--custom-attributes", ",".join(CUSTOM_ATTRIBUTES))

LOOK = 0.1
"""Seconds between two looks at the outbox."""

QUIET = 2.5
"""Seconds without a move after which nothing more leaves by file: longer than gathering and import together."""

_clock = SystemClock()


class Phase(msgspec.Struct, frozen=True):
    """One part of the story: what happens to Engage, how many customers come, and what is waited for."""

    name: str
    says: str
    faults: tuple[dict[str, Any], ...]
    customers: int
    ends: Callable[[Story], Awaitable[bool]]
    at_most: float
    """Seconds; then the story goes on as it is. The books will tell."""


class Result(msgspec.Struct, frozen=True):
    """What `--json` prints. Fields stay; new ones may come."""

    agree: bool
    entries: int
    kinds: dict[str, Row]
    findings: tuple[Finding, ...]
    unsettled: int
    """Entries that are in no final state: the story was too short for them."""
    unknown_outcomes: int
    """Requests of which nobody could say whether they had taken effect."""
    files: int
    """Files that Engage took out of its folders."""
    slowest_write_ms: float
    seconds: float
    seed: int


class Heard:
    """What the client's events tell in the course of the story."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.unknown = 0
        self.files = 0

    def hear(self, event: Event) -> None:
        match event:
            case AttemptMade(known=False):
                self.unknown += 1
            case FileChanged(state="imported"):
                self.files += 1
        self._view.hear(event)


class Story:
    """Tells the phases one after another."""

    def __init__(self, voyado: VoyadoClient, engage: Engage, shop: Shop, heard: Heard, view: View) -> None:
        self._voyado = voyado
        self._engage = engage
        self._shop = shop
        self._view = view
        self._quiet_since = _clock.monotonic()
        self._last: dict[str, int] = {}
        self.heard = heard

    async def tell(self, phase: Phase) -> None:
        """Switch the faults, let customers come while they are on, wait for the end of the phase."""
        await self._engage.suffer(*phase.faults)
        self._view.phase(phase.name, phase.says)
        writing = asyncio.create_task(self._customers(phase.customers))
        began = _clock.monotonic()
        try:
            while _clock.monotonic() - began < phase.at_most:
                self._view.status(await self.look())
                if writing.done() and await phase.ends(self):
                    break
                await _clock.sleep(LOOK)
            await writing
        finally:
            writing.cancel()

    async def _customers(self, count: int) -> None:
        """They come in groups, as they do."""
        while count > 0:
            await self._shop.serve(min(count, 12))
            count -= 12
            await _clock.sleep(0.3)

    async def look(self) -> Status:
        status = await self._voyado.outbox.status()
        if status.states != self._last:
            self._last = status.states
            self._quiet_since = _clock.monotonic()
        return status

    def quiet_for(self, seconds: float) -> bool:
        """Whether no entry has moved for so long."""
        return _clock.monotonic() - self._quiet_since >= seconds


def waiting(status: Status, *states: str) -> int:
    """How many entries are in these states."""
    return sum(status.states.get(state, 0) for state in states)


def unsettled(status: Status) -> int:
    """How many entries are in no final state."""
    return sum(status.states.values()) - waiting(status, "delivered", "discarded", "rejected")


async def settled(story: Story) -> bool:
    return unsettled(await story.look()) == 0


async def lost_some(story: Story) -> bool:
    return story.heard.unknown >= 6


async def carried(story: Story) -> bool:
    """All that can leave by file has left and was imported; the rest waits for the API."""
    status = await story.look()
    return not waiting(status, "pending", "sending", "spooled", "uploaded") and story.quiet_for(QUIET)


async def at_once(story: Story) -> bool:
    return True


PHASES = (
    Phase("well", "Engage is well: entries arrive over the API", (), 12, settled, 15),
    Phase("slow", "Engage is slow: the shop does not notice", ({"kind": "slow", "seconds": 0.4},), 24, settled, 15),
    Phase(
        "silent",
        "Engage does what it is asked and its answers are lost: outcomes are unknown",
        (
            {"kind": "hang_after", "method": "POST", "probability": 0.25},
            {"kind": "reset_after", "probability": 0.25},
            {"kind": "status_after", "status": 502, "probability": 0.3},
        ),
        18,
        lost_some,
        4,
    ),
    Phase("failing", "Engage is down: it answers 503", ({"kind": "status", "status": 503},), 18, at_once, 3),
    Phase("down", "Engage is down: nobody answers; entries leave by file", ({"kind": "refuse"},), 36, carried, 25),
    Phase("back", "Engage is back: what left by file is confirmed over the API", (), 6, settled, 25),
)


def settings_for(info: Info, folder: Path) -> Settings:
    """The ladder of an hour in some seconds. A time-out this short is for loopback only."""
    return Settings(
        base_url=info.base_url,
        api_key=info.api_key,
        outbox=str(folder / "outbox.db"),
        contact_key="email",
        timeout=1.5,
        retry_delays=(0.5, 1.0),
        retry_attempts=3,
        fallback_interval=1.0,
        import_period=1.0,
        sftp_host=info.sftp_host,
        sftp_port=info.sftp_port,
        sftp_username=info.sftp_username,
        sftp_password=info.sftp_password,
        sftp_host_key=info.sftp_host_key,
        sftp_redemptions_dir="integration/promotionImport",
    )


@contextlib.asynccontextmanager
async def _ended_by_sigterm() -> AsyncIterator[None]:
    """SIGTERM ends the story like Ctrl-C does: everything is put away first."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def play(seed: int, view: View) -> Result:
    """The whole story. Nothing is left behind, however it ends."""
    began = _clock.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_ended_by_sigterm())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voyado-demo-")))
        stack.enter_context(view)
        engage = await stack.enter_async_context(engage_process(folder, *SANDBOX))
        customers = await invite(engage)
        heard = Heard(view)
        settings = settings_for(engage.info, folder)
        voyado = await stack.enter_async_context(VoyadoClient(settings, listeners=[heard.hear]))
        shop = Shop(voyado, customers, Random(seed))  # noqa: S311 - lots for a story, not secrets
        story = Story(voyado, engage, shop, heard, view)
        await shop.welcome()
        for phase in PHASES:
            await story.tell(phase)
        status = await story.look()
        comparison = compare(shop.books, await engage.books())
        return Result(
            agree=comparison.agree and not unsettled(status) and status.accounting.balanced,
            entries=len(shop.books),
            kinds=comparison.rows,
            findings=comparison.findings,
            unsettled=unsettled(status),
            unknown_outcomes=heard.unknown,
            files=heard.files,
            slowest_write_ms=round(shop.slowest * 1000, 1),
            seconds=round(_clock.monotonic() - began, 1),
            seed=seed,
        )


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Other seed, other customers and entries.")
@json_option
def demo(seed: int, as_json: bool) -> None:
    """See it work: sales, an outage, and the books of both sides, in under a minute, all on this machine.

    Nothing is left behind. Exits 1 where an entry is missing, doubled or out of order.
    """
    view = QuietView() if as_json else view_of(sys.stdout)
    try:
        result = asyncio.run(play(seed, view))
    except asyncio.CancelledError:  # SIGTERM; everything is put away
        raise click.Abort from None
    if as_json:
        tell_json(result)
    else:
        tell_lines(report(result))
    raise click.exceptions.Exit(0 if result.agree else FAILED)


def report(result: Result) -> list[str]:
    """The result as a table and a verdict."""
    columns = ("written", "api", "file", "missing", "doubled", "out_of_order")
    rows = [["", "written", "by API", "by file", "missing", "doubled", "out of order"]]
    rows += [[kind, *(str(getattr(row, name)) for name in columns)] for kind, row in result.kinds.items()]
    lines = ["", *table(rows), ""]
    for finding in result.findings:
        entry = "" if finding.entry_id is None else f" of entry {finding.entry_id}"
        lines.append(f"{finding.what.replace('_', ' ')}: {finding.kind}{entry}: {finding.detail}")
    if result.unsettled:
        lines.append(f"not settled in time: {result.unsettled}")
    lines.append(
        f"{result.entries} entries in {result.seconds:.0f} s, {result.unknown_outcomes} attempts of unknown outcome, "
        f"{result.files} files; the slowest write took {result.slowest_write_ms:.0f} ms"
    )
    agree = "The books agree: nothing is missing, doubled or out of order."
    return [*lines, agree if result.agree else "The books differ."]
