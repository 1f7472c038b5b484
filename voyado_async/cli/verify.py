"""``voyado-async verify``: is the outbox what it should be?"""

from __future__ import annotations

from collections.abc import Mapping

import click
import msgspec

from voyado_async.cli.failure import FAILED
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import looking, run, view
from voyado_async.cli.report import json_option, table, tell_json, tell_lines
from voyado_async.errors import OutboxDamaged
from voyado_async.outbox.records import FileRecord, Finding
from voyado_async.outbox.states import FileState
from voyado_async.settings import Settings


class VerifyReport(msgspec.Struct, frozen=True):
    """What ``verify --json`` prints."""

    outbox: str
    sound: bool
    checks: list[Finding]


@click.command()
@json_option
@pass_invocation
def verify(invocation: Invocation, as_json: bool) -> None:
    """Verify the outbox: integrity, accounting, lanes, files. Exit 1 if something is wrong.

    Reads only, in one snapshot, and works while others write and drain.
    """
    settings = invocation.settings()
    checks = run(_verify(settings))
    report = VerifyReport(str(settings.outbox_path), all(check.ok for check in checks), checks)
    if as_json:
        tell_json(report)
    else:
        tell_lines([report.outbox, *table([("ok" if c.ok else "WRONG", c.check, c.detail) for c in checks])])
    if not report.sound:
        raise click.exceptions.Exit(FAILED)


async def _verify(settings: Settings) -> list[Finding]:
    try:
        async with looking(settings) as outbox:
            checks = await view(outbox).verify()
            files = await outbox.files(open_only=True)
    except OutboxDamaged as error:
        return [Finding("integrity", False, str(error))]
    return [*checks, on_disk(files, _sizes(settings, files))]


def _sizes(settings: Settings, files: list[FileRecord]) -> dict[str, int]:
    sizes = {}
    for file in files:
        path = settings.spool_path / file.name
        if path.is_file():
            sizes[file.name] = path.stat().st_size
    return sizes


def on_disk(files: list[FileRecord], sizes: Mapping[str, int]) -> Finding:
    """Every file that has not wholly left must be in the spool folder, as long as it was written. Pure."""
    here = [file for file in files if file.state in (FileState.SPOOLED, FileState.UPLOADING)]
    wrong = [
        f"{file.name} " + (f"has {sizes[file.name]} bytes, not {file.size}" if file.name in sizes else "is missing")
        for file in here
        if sizes.get(file.name) != file.size
    ]
    return Finding("files", not wrong, "; ".join(wrong) or f"{len(here)} files that have not left are in the spool")
