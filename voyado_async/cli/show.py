"""``voyado-async show``: one entry with its attempts and its file."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import click
import msgspec

from voyado_async.cli.entries import EntryReport, report_of
from voyado_async.cli.files import FileReport, file_report
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.looking import look_at
from voyado_async.cli.opening import looking, run
from voyado_async.cli.report import counted, json_option, moment, shown, table, tell_json, tell_lines
from voyado_async.outbox.looking import stands_behind
from voyado_async.outbox.records import Attempt
from voyado_async.outbox.states import State
from voyado_async.settings import Settings


class AttemptReport(msgspec.Struct, frozen=True):
    """One line of the entry's record."""

    at: datetime | None
    what: str
    outcome: str
    status: int | None
    code: str | None
    duration_ms: int | None
    known: bool
    """False: it may have taken effect without our knowing."""


class ShowReport(msgspec.Struct, frozen=True):
    """What ``show`` tells. In JSON the entry's fields stand beside the others, and `file` is the whole file.
    `payload` is there only with ``--payload``."""

    outbox: str
    entry: EntryReport
    attempts: list[AttemptReport]
    file: FileReport | None
    behind: int | None = None
    """Where it is pending and not its turn: the entry of its contact that goes first, or 0 for what left by file."""
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@click.command()
@click.argument("entry_id", metavar="ID", type=click.IntRange(min=1))
@click.option("--payload", is_flag=True, help="Print its content as well: a person's data.")
@json_option
@pass_invocation
def show(invocation: Invocation, entry_id: int, payload: bool, as_json: bool) -> None:
    """Show one entry with its attempts and its file."""
    settings = invocation.settings()
    behind = look_at(settings, partial(stands_behind, entry_id=entry_id), must_be_there=True)
    report = run(_show(settings, entry_id, behind, payload))
    if as_json:
        tell_json(_flat(report))
    else:
        tell_lines(_lines(report))


async def _show(settings: Settings, entry_id: int, behind: int | None, payload: bool) -> ShowReport:
    async with looking(settings) as outbox:
        entry = await outbox.get(entry_id)
        file = None
        if entry.file is not None:
            file = next((file for file in await outbox.files(open_only=False) if file.name == entry.file), None)
        return ShowReport(
            outbox=outbox.path,
            entry=report_of(entry),
            attempts=[_attempt(attempt) for attempt in await outbox.attempts(entry_id)],
            file=None if file is None else file_report(file),
            behind=behind,
            payload=msgspec.Raw(await outbox.body(entry_id)) if payload else msgspec.UNSET,
        )


def _flat(report: ShowReport) -> dict[str, object]:
    parts = {name: getattr(report, name) for name in report.__struct_fields__}
    entry = {name: getattr(report.entry, name) for name in report.entry.__struct_fields__}
    flat = {"outbox": report.outbox} | entry | parts
    return {name: part for name, part in flat.items() if name != "entry" and part is not msgspec.UNSET}


def _attempt(attempt: Attempt) -> AttemptReport:
    return AttemptReport(
        at=moment(attempt.at),
        what=attempt.what,
        outcome=attempt.outcome,
        status=attempt.status,
        code=attempt.code,
        duration_ms=attempt.duration_ms,
        known=attempt.known,
    )


def _lines(report: ShowReport) -> list[str]:
    entry = report.entry
    rows = [
        ("entry", str(entry.id)),
        ("kind", str(entry.kind)),
        ("state", f"{entry.state}" + (f": {entry.reason}" if entry.reason else "")),
        ("key", entry.key or "-"),
        ("contact", entry.contact or "-"),
        ("written", shown(entry.created)),
        ("changed", shown(entry.changed)),
    ]
    if entry.due is not None:
        rows.append(("due", shown(entry.due)))
    rows.append(("turns", f"{entry.slots} of the schedule used up, {counted(entry.requests, 'request', 'requests')}"))
    if report.behind is not None:
        rows.append(("behind", f"entry {report.behind} of its contact" if report.behind else "what left by file"))
    if entry.state is State.REJECTED:
        rows.append(("next", f"a person decides: edit {entry.id} FILE, replay {entry.id}, discard {entry.id}"))
    if entry.unknown:
        rows.append(("outcome", "an earlier request may have taken effect"))
    if entry.outage:
        rows.append(("outage", "turns were used up while the API was down"))
    if entry.replaces is not None:
        rows.append(("replaces", f"entry {entry.replaces}"))
    rows += [("warning", warning) for warning in entry.warnings]
    if report.file is not None:
        file = report.file
        rows.append(("file", f"{file.name}, {file.state}" + (f": {file.problem}" if file.problem else "")))
    lines = table(rows)
    if report.attempts:
        lines += ["", *table([_attempt_row(attempt) for attempt in report.attempts])]
    if report.payload is not msgspec.UNSET:
        lines += ["", bytes(report.payload).decode()]
    return lines


def _attempt_row(attempt: AttemptReport) -> tuple[str, ...]:
    status = "" if attempt.status is None else str(attempt.status)
    took = "" if attempt.duration_ms is None else f"{attempt.duration_ms} ms"
    known = "" if attempt.known else "outcome unknown"
    return (shown(attempt.at), attempt.what, attempt.outcome, status, attempt.code or "", took, known)
