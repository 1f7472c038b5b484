"""``voyado-async purge``: remove what is finished for long enough."""

from __future__ import annotations

from datetime import timedelta

import click
import msgspec

from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import CLOCK, operating, run
from voyado_async.cli.parameters import MOMENT
from voyado_async.cli.report import json_option, tell_json, tell_lines
from voyado_async.resources.operations import Purged
from voyado_async.settings import Settings


class PurgeReport(msgspec.Struct, frozen=True):
    """What ``purge --json`` prints."""

    outbox: str
    dry_run: bool
    entries: int


@click.command()
@click.option(
    "--older-than", required=True, type=MOMENT, metavar="TIME",
    help="What last changed before; ISO 8601, or an age like 12h or 30d.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Count what would be removed; change nothing.")
@click.option("--reason", help="Why, for the log.")
@json_option
@pass_invocation
def purge(invocation: Invocation, older_than: int, dry_run: bool, reason: str | None, as_json: bool) -> None:
    """Remove finished entries that are old enough.

    Whoever drains does this by itself after VOYADO_RETENTION_DAYS. Only what is delivered or discarded goes. The hashes
    of keys stay for VOYADO_KEY_DAYS, so that a repeated write is still recognised.
    """
    age = timedelta(milliseconds=CLOCK.now() - older_than)
    if age < timedelta(0):
        raise click.UsageError("--older-than lies in the future")

    async def go(settings: Settings) -> Purged:
        async with operating(settings, dry_run=dry_run) as outbox:
            return await outbox.purge(older_than=age, dry_run=dry_run, reason=reason)

    settings = invocation.settings()
    told = run(go(settings))
    report = PurgeReport(str(settings.outbox_path), told.dry_run, told.entries)
    if as_json:
        tell_json(report)
    else:
        tell_lines([f"{report.entries} entries {'would be removed' if dry_run else 'removed'}"])
