"""``voyado-async forget``: remove one contact."""

from __future__ import annotations

import click
import msgspec

from voyado_async.cli.failure import FAILED
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import operating, run
from voyado_async.cli.report import json_option, tell_json, tell_lines
from voyado_async.resources.operations import Forgotten
from voyado_async.settings import Settings


class ForgetReport(msgspec.Struct, frozen=True):
    """What ``forget --json`` prints. It does not name the contact."""

    outbox: str
    dry_run: bool
    entries: int
    unfinished: int
    """Those of them that were not settled."""
    files: tuple[str, ...]
    """Local files with entries of the contact."""
    addresses: int
    """Addresses that stood for its id."""
    left: int
    """Entries that came meanwhile and are still here."""
    out_of_reach: tuple[str, ...]


@click.command()
@click.option(
    "--contact",
    required=True,
    metavar="CONTACT",
    help="The contact's id, its e-mail address, or another attribute as in memberNumber:1234.",
)
@click.option("--drop-pending", is_flag=True, help="Drop what is not finished as well.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed; change nothing.")
@click.option("--reason", help="Why, for the log. Nothing personal, please.")
@json_option
@pass_invocation
def forget(
    invocation: Invocation, contact: str, drop_pending: bool, dry_run: bool, reason: str | None, as_json: bool
) -> None:
    """Remove a contact from the outbox, everywhere.

    Entries with content and record, addresses, local files, the write-ahead log; nothing but their number stays in the
    books. Refuses while entries are not finished, unless --drop-pending drops them. Says what is out of its reach. Exit
    code 1 where something of the contact is left because it came meanwhile: run it again.
    """

    async def go(settings: Settings) -> Forgotten:
        async with operating(settings, dry_run=dry_run) as outbox:
            return await outbox.forget(contact, drop_pending=drop_pending, dry_run=dry_run, reason=reason)

    settings = invocation.settings()
    report = ForgetReport(str(settings.outbox_path), **msgspec.structs.asdict(run(go(settings))))
    if as_json:
        tell_json(report)
    else:
        tell_lines(_lines(report))
    if report.left:
        raise click.exceptions.Exit(FAILED)


def _lines(report: ForgetReport) -> list[str]:
    done = "would be removed" if report.dry_run else "removed"
    lines = [f"{report.entries} entries {done}, {report.unfinished} of them not finished"]
    lines.append(f"{report.addresses} addresses and {len(report.files)} local files {done}")
    if report.left:
        lines.append(f"{report.left} entries came meanwhile and are still here: run it again")
    return lines + [f"out of reach: {reach}" for reach in report.out_of_reach]
