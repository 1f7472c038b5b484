"""``voyado-async files``: the fallback files; one carried by hand, or taken back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import click
import msgspec

from voyado_async.cli.failure import WrongUsage
from voyado_async.cli.files_advice import advice
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.looking import look_at
from voyado_async.cli.report import age, json_option, moment, shown, tell_json, tell_lines, tell_table
from voyado_async.clock import SystemClock
from voyado_async.delivery import FileFamily
from voyado_async.errors import TransitionRefused
from voyado_async.outbox import looking
from voyado_async.outbox.records import FileRecord
from voyado_async.outbox.states import FileState, State
from voyado_async.resources.action_log import who
from voyado_async.settings import Settings

COLUMNS = (
    "NAME", "STATE", "ENTRIES", "WAITING", "LINES", "BYTES", "AGE", "UPLOADED", "LAST SEEN", "IMPORTED", "PROBLEM",
)  # fmt: skip


class FileReport(msgspec.Struct, frozen=True):
    """One fallback file."""

    name: str
    family: FileFamily
    contact_type: str
    match_key_type: str
    state: str
    """``spooled``, ``uploading``, ``uploaded``, ``imported``, ``withdrawn`` or ``lost``."""
    entries: int
    lines: int
    size: int
    created: datetime | None
    uploaded: datetime | None
    seen: datetime | None
    """When it was last seen in the folder of the server."""
    imported: datetime | None
    carried: bool
    problem: str | None
    waiting: int | None = None
    """How many of the entries still wait for it to leave, for Engage's import or for their confirmation; the others are
    delivered, rejected or went another way. Null where they are too many to count, and in `show`."""


class FilesReport(msgspec.Struct, frozen=True):
    """What ``files --json`` prints."""

    outbox: str
    spool: str
    files: list[FileReport]
    advice: list[str]
    """What a person can do about those that do not move by themselves."""


class MovedReport(msgspec.Struct, frozen=True):
    """What ``files --carried --json`` and ``files --withdraw --json`` print. Done before, it moves nothing."""

    outbox: str
    file: str
    state: str
    moved: int
    """Entries that moved with it; in a dry run those that would."""
    dry_run: bool = False


@click.command()
@click.option("--carried", metavar="NAME", help="Say that you have carried this spooled file to Engage by hand.")
@click.option(
    "--withdraw", metavar="NAME", help="Take this spooled file back: it is removed, its entries go to the API again."
)
@click.option("--dry-run", is_flag=True, help="With --carried or --withdraw: show what would move; change nothing.")
@json_option
@pass_invocation
def files(invocation: Invocation, carried: str | None, withdraw: str | None, dry_run: bool, as_json: bool) -> None:
    """List the fallback files, oldest first, with what to do about them; mark or withdraw one.

    Only a file that is spooled can be carried or withdrawn: from the moment that its upload begins Engage may have it.
    A carried file is never withdrawn again; its entries are confirmed over the API.
    """
    settings = invocation.settings()
    if carried is not None and withdraw is not None:
        raise click.UsageError("--carried and --withdraw exclude each other")
    if dry_run and carried is None and withdraw is None:
        raise click.UsageError("--dry-run belongs to --carried or --withdraw")
    if dry_run:
        would = _would_move(settings, carried or withdraw or "", "carried" if carried is not None else "withdrawn")
        if as_json:
            tell_json(would)
        else:
            tell_lines([f"{would.file} would be {would.state}; {would.moved} entries would move"])
        return
    if carried is not None or withdraw is not None:
        from voyado_async.cli.opening import run  # here: listing needs no event loop

        moved = run(_carried(settings, carried) if carried is not None else _withdraw(settings, withdraw or ""))
        if as_json:
            tell_json(moved)
        else:
            tell_lines([f"{moved.file} is {moved.state}; {moved.moved} entries moved"])
        return
    report = _files(settings)
    if as_json:
        tell_json(report)
        return
    rows = [_row(file) for file in report.files]
    tell_table(COLUMNS, rows, spare=("LINES", "BYTES", "LAST SEEN", "UPLOADED", "IMPORTED", "ENTRIES"))
    tell_lines(report.advice)


def _files(settings: Settings) -> FilesReport:
    path = str(settings.outbox_path)
    found, waiting = look_at(settings, _look)
    reports = [file_report(file, None if waiting is None else waiting.get(file.id, 0)) for file in found]
    return FilesReport(path, str(settings.spool_path), reports, advice(found, settings))


def _look(database: sqlite3.Connection) -> tuple[list[FileRecord], dict[int, int] | None]:
    return looking.files(database, open_only=False), looking.waiting_in_files(database)


def _would_move(settings: Settings, name: str, what: str) -> MovedReport:
    path = str(settings.outbox_path)
    file = _named(look_at(settings, partial(looking.files, open_only=False)), name, path)
    if file.carried if what == "carried" else file.state == FileState.WITHDRAWN:
        return MovedReport(path, file.name, file.state, 0, dry_run=True)
    _refuse_unless_spooled(file, what)
    return MovedReport(path, file.name, "uploaded" if what == "carried" else what, file.entries, dry_run=True)


async def _carried(settings: Settings, name: str) -> MovedReport:
    from voyado_async.cli.opening import changing

    async with changing(settings) as outbox:
        file = _named(await outbox.files(open_only=False), name, outbox.path)
        if file.carried:
            return MovedReport(outbox.path, file.name, file.state, 0)
        _refuse_unless_spooled(file, "carried")
        action = await outbox.begin_action(who(), "files --carried", file.name, None)
        moved = await outbox.update_file(
            file.id, state=FileState.UPLOADED, now=SystemClock().now(), entries_to=State.UPLOADED, carried=True
        )
        await outbox.end_action(action, moved)
        return MovedReport(outbox.path, file.name, FileState.UPLOADED, moved)


async def _withdraw(settings: Settings, name: str) -> MovedReport:
    import asyncio

    from voyado_async.cli.opening import changing

    async with changing(settings) as outbox:
        file = _named(await outbox.files(open_only=False), name, outbox.path)
        if file.state == FileState.WITHDRAWN:
            return MovedReport(outbox.path, file.name, file.state, 0)
        _refuse_unless_spooled(file, "withdrawn")
        action = await outbox.begin_action(who(), "files --withdraw", file.name, None)
        moved = await outbox.update_file(
            file.id, state=FileState.WITHDRAWN, now=SystemClock().now(), entries_to=State.PENDING
        )
        await outbox.end_action(action, moved)
        # Only after the database has let go of it; what a crash leaves here is removed by whoever drains.
        from voyado_async.fallback.spool import Spool  # here: it brings lxml

        await asyncio.to_thread(Spool(settings.spool_path).remove, file.name)
        return MovedReport(outbox.path, file.name, FileState.WITHDRAWN, moved)


def _named(files: Sequence[FileRecord], name: str, path: str) -> FileRecord:
    for file in files:
        if file.name == name:
            return file
    raise WrongUsage("FileNotFound", f"there is no fallback file {name} in {path}")


def _refuse_unless_spooled(file: FileRecord, what: str) -> None:
    if file.state != FileState.SPOOLED:
        raise TransitionRefused(f"file {file.name} is {file.state} and cannot be {what}; only a spooled one can")


def file_report(file: FileRecord, waiting: int | None = None) -> FileReport:
    """A file of the outbox for a report."""
    return FileReport(
        name=file.name,
        family=file.family,
        contact_type=file.contact_type,
        match_key_type=file.match_key_type,
        state=file.state,
        entries=file.entries,
        lines=file.lines,
        size=file.size,
        created=moment(file.created),
        uploaded=moment(file.uploaded),
        seen=moment(file.seen),
        imported=moment(file.imported),
        carried=file.carried,
        problem=file.problem,
        waiting=waiting,
    )


def _row(file: FileReport) -> tuple[str, ...]:
    old = "-" if file.created is None else age(SystemClock().now() / 1000 - file.created.timestamp())
    state = f"{file.state} by hand" if file.carried else file.state
    waiting = "?" if file.waiting is None else str(file.waiting)
    sizes = (str(file.entries), waiting, str(file.lines), str(file.size))
    history = (shown(file.uploaded), shown(file.seen), shown(file.imported))
    return (file.name, state, *sizes, old, *history, file.problem or "-")
