"""``voyado-async edit``: correct the content of a rejected entry."""

from __future__ import annotations

from typing import BinaryIO

import click
import msgspec

from voyado_async.cli.entries import EntryReport, report_of
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import operating, run
from voyado_async.cli.report import json_option, tell_json, tell_lines
from voyado_async.outbox.records import EntryRecord
from voyado_async.settings import Settings


class EditReport(msgspec.Struct, frozen=True):
    """What ``edit --json`` prints."""

    outbox: str
    dry_run: bool
    entry: EntryReport


@click.command()
@click.argument("entry_id", metavar="ID", type=click.IntRange(min=1))
@click.argument("file", metavar="FILE", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check the new content; change nothing.")
@click.option("--reason", help="Why, for the log. Nothing personal, please.")
@json_option
@pass_invocation
def edit(
    invocation: Invocation, entry_id: int, file: BinaryIO, dry_run: bool, reason: str | None, as_json: bool
) -> None:
    """Correct the content of a rejected entry.

    FILE is the new content as JSON, in the form in which `show ID --payload` prints it; - for standard input. It is
    checked as at the first time. The entry stays rejected until it is replayed, and the old content is kept with it.
    """

    async def go(settings: Settings) -> EntryRecord:
        async with operating(settings, dry_run=dry_run) as outbox:
            return await outbox.edit(entry_id, file.read(), reason=reason, dry_run=dry_run)

    settings = invocation.settings()
    report = EditReport(str(settings.outbox_path), dry_run, report_of(run(go(settings))))
    if as_json:
        tell_json(report)
    elif dry_run:
        tell_lines([f"entry {entry_id} would get its new content, which is right; nothing was changed"])
    else:
        tell_lines([f"entry {entry_id} has its new content; send it with: voyado-async replay {entry_id}"])
