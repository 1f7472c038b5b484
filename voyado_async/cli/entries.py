"""``voyado-async list``: entries, newest first."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from functools import partial
from typing import Any

import click
import msgspec

from voyado_async.cli.failure import WrongUsage
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.looking import look_at
from voyado_async.cli.report import json_option, moment, shown, tell_json, tell_table
from voyado_async.cli.selection import filter_of, filter_options
from voyado_async.delivery import Kind
from voyado_async.outbox.choosing import Listing, as_known, listed
from voyado_async.outbox.glance import fact_of
from voyado_async.outbox.looking import files
from voyado_async.outbox.records import EntryFilter, EntryRecord
from voyado_async.outbox.seal import HIDDEN, opened
from voyado_async.outbox.states import State
from voyado_async.settings import Settings

COLUMNS = ("ID", "KIND", "STATE", "WRITTEN", "TURNS", "CONTACT", "REASON")


class EntryReport(msgspec.Struct, frozen=True):
    """One entry as `list` and `show` tell it: never its content, and no address of a person but an id of Engage's."""

    id: int
    kind: Kind
    state: State
    key: str | None
    """The key that it was written under, or its natural one: a receipt's `uniqueReceiptId`, an assignment's id."""
    contact: str | None
    """``contact:<id>`` or ``assignment:<id>``; of any other address only what kind it is, as in ``email:***``."""
    created: datetime | None
    changed: datetime | None
    due: datetime | None
    """When it is its turn; null where it does not wait for one."""
    slots: int
    """Turns of the retry schedule that are used up."""
    requests: int
    """Requests that may have changed something at Engage."""
    unknown: bool
    """An earlier request may have taken effect."""
    reason: str | None
    outage: bool
    file: str | None
    replaces: int | None
    """The rejected or discarded entry whose key it took over."""
    warnings: tuple[str, ...]


class ListReport(msgspec.Struct, frozen=True):
    """What ``list --json`` prints."""

    outbox: str
    entries: list[EntryReport]
    more: bool
    """There are more than `--limit`."""
    looked_back_to: datetime | None = None
    """Entries from before were not looked at: `--until` this moment does. Null: all that can fit were."""


def _found(database: sqlite3.Connection, settings: Settings, which: EntryFilter) -> Listing:
    if which.address is not None:
        # An address can only be looked for as a sealed outbox knows it. All else is looked for without a key.
        seal = opened(fact_of(database, "seal"), settings.seal_keys, str(settings.outbox_path))
        which = as_known(which, seal)
    if which.file is not None and which.file not in {file.name for file in files(database, open_only=False)}:
        raise WrongUsage("FileNotFound", f"there is no fallback file {which.file} in {settings.outbox_path}")
    return listed(database, which)


@click.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="So many at most.")
@json_option
@pass_invocation
def list_entries(invocation: Invocation, /, as_json: bool, limit: int, **filters: Any) -> None:
    """List entries, newest first, without their content."""
    settings = invocation.settings()
    wanted = filter_of(**filters, limit=limit + 1)
    listing = look_at(settings, partial(_found, settings=settings, which=wanted))
    found, back = listing.entries, moment(listing.looked_back_to)
    told = [report_of(entry) for entry in found[:limit]]
    report = ListReport(str(settings.outbox_path), told, len(found) > limit, back)
    if as_json:
        tell_json(report)
        return
    rows = [_row(entry) for entry in report.entries]
    tell_table(COLUMNS, rows, spare=("CONTACT", "TURNS"))
    if report.more:
        click.echo(f"there are more than {limit}; --limit shows them", err=True)
    if back is not None:
        click.echo(f"not all were looked at, and there may be older ones: --until {shown(back)}", err=True)


def report_of(entry: EntryRecord) -> EntryReport:
    """An entry of the outbox for a report."""
    address, _, value = entry.lane.removeprefix(HIDDEN).partition(":")
    return EntryReport(
        id=entry.id,
        kind=entry.kind,
        state=entry.state,
        key=entry.key,
        contact=f"{address}:{value if address in ('contact', 'assignment') else '***'}",
        created=moment(entry.created),
        changed=moment(entry.changed),
        due=moment(entry.due) if entry.state in (State.PENDING, State.IMPORTED) else None,
        slots=entry.slots,
        requests=entry.requests,
        unknown=entry.unknown,
        reason=entry.reason,
        outage=entry.outage,
        file=entry.file,
        replaces=entry.replaces,
        warnings=entry.warnings,
    )


def _row(entry: EntryReport) -> tuple[str, ...]:
    reason = entry.reason or "-"
    return (
        str(entry.id),
        entry.kind,
        entry.state,
        shown(entry.created),
        str(entry.slots),
        entry.contact or "-",
        f"{reason} (outcome unknown)" if entry.unknown and entry.state in (State.PENDING, State.EXHAUSTED) else reason,
    )
