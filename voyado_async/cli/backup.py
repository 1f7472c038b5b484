"""``voyado-async backup``: a copy of the outbox."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import operating, run
from voyado_async.cli.report import json_option, tell_json, tell_lines
from voyado_async.settings import Settings


class BackupReport(msgspec.Struct, frozen=True):
    """What ``backup --json`` prints."""

    outbox: str
    backup: str
    size: int


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--reason", help="Why, for the log.")
@json_option
@pass_invocation
def backup(invocation: Invocation, file: Path, reason: str | None, as_json: bool) -> None:
    """Copy the outbox to a new file while it is used.

    The copy is of one moment, checked and synced, readable by its owner alone, and as personal as the outbox. What is
    delivered afterwards is not known to it: restored, it is sent again, after a look where one exists.
    """

    async def go(settings: Settings) -> None:
        async with operating(settings) as outbox:
            await outbox.backup(target, reason=reason)

    settings = invocation.settings()
    target = file.absolute()
    run(go(settings))
    report = BackupReport(str(settings.outbox_path), str(target), target.stat().st_size)
    if as_json:
        tell_json(report)
    else:
        tell_lines([f"{report.backup}: {report.size} bytes"])
