"""``voyado-async export``: the XML files of chosen entries, without moving them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import CLOCK, changing, run
from voyado_async.cli.report import json_option, tell_json, tell_lines
from voyado_async.cli.selection import filter_of, filter_options
from voyado_async.delivery import FileFamily
from voyado_async.errors import FileRefused
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import FINAL, State
from voyado_async.resources.action_log import filter_told, who
from voyado_async.settings import Settings

UNFINISHED = tuple(state for state in State if state not in FINAL)
"""What is exported where no state is asked for: what is delivered or discarded has to go nowhere."""


class ExportedFile(msgspec.Struct, frozen=True):
    """One file that was written."""

    name: str
    family: FileFamily
    contact_type: str
    match_key_type: str
    entries: int
    lines: int
    size: int


class LeftOut(msgspec.Struct, frozen=True):
    """An entry that stands in no file, and why."""

    id: int
    kind: str
    reason: str


class ExportReport(msgspec.Struct, frozen=True):
    """What ``export --json`` prints."""

    outbox: str
    folder: str
    files: list[ExportedFile]
    left_out: list[LeftOut]


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
@filter_options
@json_option
@pass_invocation
def export(invocation: Invocation, /, folder: Path, ids: tuple[int, ...], as_json: bool, **filters: Any) -> None:
    """Write the XML files of entries to a folder; move nothing.

    DIR is made where it is not there. Entries are selected by id or by filters; without a state or an id, those that
    are neither delivered nor discarded. What you carry to Engage from here may arrive by the API or by file as well.
    What newer entries of a contact set is left out, so that no older value is carried over a newer one.
    """
    which = filter_of(**filters)
    if ids or not which.states:
        which = msgspec.structs.replace(which, ids=ids, states=which.states or (() if ids else UNFINISHED))
    report = run(_export(invocation.settings(), folder.absolute(), which))
    if as_json:
        tell_json(report)
    else:
        tell_lines(_lines(report))


async def _export(settings: Settings, folder: Path, which: EntryFilter) -> ExportReport:
    from voyado_async.fallback import export as fallback  # here: it brings lxml
    from voyado_async.fallback.courier import forms
    from voyado_async.fallback.spool import Spool
    from voyado_async.fallback.tenant import Tenant

    if folder == settings.spool_path:
        raise click.UsageError("DIR is the spool folder, which is the program's own: choose another one")
    tenant = Tenant.of(settings)
    files: list[ExportedFile] = []
    left_out: list[LeftOut] = []
    async with changing(settings) as outbox:
        found = await outbox.entries(which)
        if which.ids and (missing := set(which.ids) - {entry.id for entry in found}):
            raise click.UsageError(f"not among the selected entries: {', '.join(map(str, sorted(missing)))}")
        action = await outbox.begin_action(who(), "export", filter_told(which), None)
        try:
            async for told in fallback.export(
                outbox,
                Spool(folder, tenant),
                forms(settings, tenant),
                found,
                max_lines=settings.fallback_max_lines,
                now=CLOCK.now(),
            ):
                if isinstance(told, fallback.NotExported):
                    left_out.append(LeftOut(told.id, told.kind, told.reason))
                else:
                    files.append(ExportedFile(**msgspec.structs.asdict(told)))
        except FileRefused as error:
            raise FileRefused(f"{error}; {len(files)} files were written to {folder} before") from None
        await outbox.end_action(action)
    return ExportReport(str(settings.outbox_path), str(folder), files, left_out)


def _lines(report: ExportReport) -> list[str]:
    lines = [f"{file.name}  {file.entries} entries, {file.lines} lines, {file.size} bytes" for file in report.files]
    lines += [f"entry {entry.id} ({entry.kind}) stands in no file: {entry.reason}" for entry in report.left_out]
    return [*lines, f"{len(report.files)} files in {report.folder}; no entry was moved"]
