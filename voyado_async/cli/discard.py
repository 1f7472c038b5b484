"""``voyado-async discard``: drop entries."""

from __future__ import annotations

from typing import Any

import click

from voyado_async.cli.failure import FAILED
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
@click.option("--reason", required=True, help="Why; it stays on the entries and in the log. Nothing personal, please.")
@click.option("--dry-run", is_flag=True, help="Show what would be dropped; change nothing.")
@json_option
@pass_invocation
def discard(
    invocation: Invocation, /, ids: tuple[int, ...], reason: str, dry_run: bool, as_json: bool, **filters: Any
) -> None:
    """Drop entries, with a reason.

    Takes ids or filters. What is being sent, delivered or discarded is left as it is; what left by file goes only by
    its id. A spooled entry's file is withdrawn; what others had in it goes into the next one. A discarded entry is kept
    for the record until it is purged, and can be replayed by its id with --again.
    """
    which = filter_of(**filters)
    if not ids and which == EntryFilter():
        raise click.UsageError("say which: ids, or at least one filter")
    if not reason.strip():
        raise click.UsageError("--reason must say something")
    with progress("discard", quiet=as_json or dry_run) as show:

        async def go(settings: Settings) -> SelectedReport:
            async with operating(settings, dry_run=dry_run) as outbox:
                told = await outbox.discard(*ids, which=which, reason=reason, dry_run=dry_run, progress=show)
                return report_of(str(settings.outbox_path), told)

        report = run(go(invocation.settings()))
    if as_json:
        tell_json(report)
    else:
        tell(report)
    if ids and report.counts["leave"] and not dry_run:
        raise click.exceptions.Exit(FAILED)
