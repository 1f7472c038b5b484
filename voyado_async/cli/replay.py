"""``voyado-async replay``: bring entries back."""

from __future__ import annotations

from typing import Any, Literal

import click

from voyado_async.cli.failure import FAILED, PERSON_NEEDED
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import operating, run
from voyado_async.cli.progress import progress
from voyado_async.cli.report import json_option, tell_json
from voyado_async.cli.selected import SelectedReport, report_of, tell
from voyado_async.cli.selection import filter_of, filter_options
from voyado_async.outbox.records import EntryFilter
from voyado_async.settings import Settings


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
@filter_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The oldest N of them.")
@click.option("--again", is_flag=True, help="Take entries in any state, by their ids: delivered ones, for example.")
@click.option(
    "--via", type=click.Choice(["api", "file"]), default="api", show_default=True, help="By which road they go."
)
@click.option("--dry-run", is_flag=True, help="Show what would go and why that is safe; change nothing.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N entries a second.")
@click.option(
    "--max-failures",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop when N failed again; waits for the answers.",
)
@click.option("--reason", help="Why, for the log.")
@json_option
@pass_invocation
def replay(
    invocation: Invocation,
    /,
    ids: tuple[int, ...],
    again: bool,
    via: Literal["api", "file"],
    dry_run: bool,
    rate: float | None,
    max_failures: int | None,
    reason: str | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Bring entries back: by the API, or by file.

    Takes what is rejected, exhausted or spooled and fits every filter; without a filter all of it. Which entries is
    decided when the command starts; each contact keeps its order. What may have taken effect is looked up before it is
    sent. A contact update leaves out what newer entries have set, and is discarded as superseded when nothing is left.
    A spooled entry's file is withdrawn; what others had in it goes into the next one.

    May be interrupted and started again. Exit code 3 where --max-failures stopped it, 1 where an entry that was named
    by its id was left as it is.
    """
    if again and not ids:
        raise click.UsageError("--again needs ids")
    which = filter_of(**filters)
    with progress("replay", quiet=as_json or dry_run) as show:

        async def go(settings: Settings, which: EntryFilter) -> SelectedReport:
            async with operating(settings, dry_run=dry_run) as outbox:
                told = await outbox.replay(
                    *ids, which=which, via=via, again=again, dry_run=dry_run, rate=rate, max_failures=max_failures,
                    reason=reason, progress=show,
                )  # fmt: skip
                return report_of(str(settings.outbox_path), told)

        report = run(go(invocation.settings(), which))
    if as_json:
        tell_json(report)
    else:
        tell(report)
    if report.stopped:
        raise click.exceptions.Exit(PERSON_NEEDED)
    if ids and report.counts["leave"] and not dry_run:
        raise click.exceptions.Exit(FAILED)
