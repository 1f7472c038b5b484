"""``voyado-async log``: what operators did."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import click
import msgspec

from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.looking import look_at
from voyado_async.cli.report import json_option, moment, shown, tell_json, tell_table
from voyado_async.outbox.looking import actions
from voyado_async.outbox.operator_store import Action

COLUMNS = ("WHEN", "WHO", "WHAT", "WHICH", "ENTRIES", "REASON")


class ActionReport(msgspec.Struct, frozen=True):
    """One thing that an operator did."""

    id: int
    at: datetime | None
    who: str
    what: str
    chosen: str
    """Which entries were asked for; never what names a person."""
    reason: str | None
    entries: int
    """Entries that it has changed."""
    ended: datetime | None
    """Null: it goes on, or was interrupted."""


class LogReport(msgspec.Struct, frozen=True):
    """What ``log --json`` prints, newest first."""

    outbox: str
    actions: list[ActionReport]


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="So many at most.")
@json_option
@pass_invocation
def log(invocation: Invocation, limit: int, as_json: bool) -> None:
    """Show what operators did: who, when, what, why."""
    settings = invocation.settings()
    found = look_at(settings, partial(actions, limit=limit))
    report = LogReport(str(settings.outbox_path), [_report(action) for action in found])
    if as_json:
        tell_json(report)
        return
    rows = [_row(action) for action in report.actions]
    tell_table(COLUMNS, rows)


def _report(action: Action) -> ActionReport:
    return ActionReport(
        action.id, moment(action.at), action.who, action.what, action.chosen, action.reason, action.entries,
        moment(action.ended),
    )  # fmt: skip


def _row(action: ActionReport) -> tuple[str, ...]:
    entries = str(action.entries) if action.ended is not None else f"{action.entries}, not ended"
    return (shown(action.at), action.who, action.what, action.chosen, entries, action.reason or "-")
