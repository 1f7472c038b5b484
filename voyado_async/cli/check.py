"""``voyado-async check``: everything that has to be right before a shop relies on it, one line each."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from voyado_async.cli.check_engage import api, file_server
from voyado_async.cli.check_lines import Line, Result
from voyado_async.cli.failure import FAILED
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import looking, run, view
from voyado_async.cli.report import json_option, tell_json, tell_lines, tell_table
from voyado_async.errors import VoyadoError
from voyado_async.outbox.glance import readable_schema
from voyado_async.outbox.migrate import newest
from voyado_async.settings import PREFIX, Settings

FIXED_SQLITE = (3, 51, 3)
"""Older ones can damage a database when a checkpoint meets a commit of another connection."""


class Fact(msgspec.Struct, frozen=True):
    """Something about Engage's files that no public source confirms. `sure` is INF (inferred) or UNDOC."""

    family: str
    what: str
    sure: str
    ref: str
    override: str | None = None
    """What the tenant has set in its place (`VOYADO_FALLBACK_NAMES`, `VOYADO_SFTP_*_DIR`)."""


class CheckReport(msgspec.Struct, frozen=True):
    """What ``check --json`` prints."""

    outbox: str
    ok: bool
    checks: list[Line]
    unconfirmed: list[Fact]


@click.command()
@json_option
@pass_invocation
def check(invocation: Invocation, as_json: bool) -> None:
    """Check settings, outbox, API, file server and folders. One line each; exit 1 if one fails.

    Nothing is changed anywhere: the API is asked one harmless question, the folders of the file server are listed.
    """
    settings = invocation.settings()
    lines = run(_check(settings, invocation.source))
    unconfirmed = _unconfirmed(settings)
    ok = not any(line.result is Result.FAILED for line in lines)
    if as_json:
        tell_json(CheckReport(str(settings.outbox_path), ok, lines, unconfirmed))
    else:
        rows = [(line.result.value, line.thing, line.text) for line in [*_by_family(unconfirmed), *lines]]
        tell_table(("", "", ""), rows)
        if failed := [line.thing for line in lines if line.result is Result.FAILED]:
            tell_lines([f"failed: {', '.join(failed)}"])
    if not ok:
        raise click.exceptions.Exit(FAILED)


async def _check(settings: Settings, source: Path | None) -> list[Line]:
    return [
        *_configuration(settings, source),
        *await _outbox(settings),
        sqlite(sqlite3.sqlite_version_info),
        spool(settings.spool_path),
        await api(settings),
        *await file_server(settings),
    ]


def _configuration(settings: Settings, source: Path | None) -> Iterator[Line]:
    names = sorted(name for name in os.environ if name.startswith(PREFIX) and os.environ[name])
    places = ([f"file {source}"] if source else []) + ([f"environment: {', '.join(names)}"] if names else [])
    yield Line("configuration", Result.OK, "; ".join(places) or "defaults only")
    for name in ("base_url", "api_key"):
        if getattr(settings, name) is None:
            yield Line("configuration", Result.FAILED, f"{name} ({PREFIX}{name.upper()}): not set; draining needs it")
    if settings.contact_key is None:
        text = "contact_key (VOYADO_CONTACT_KEY): not set; a new contact cannot be looked up before it is created"
        yield Line("configuration", Result.NOTE, text)


async def _outbox(settings: Settings) -> list[Line]:
    path = settings.outbox_path
    if not path.exists():
        if os.access(path.parent, os.W_OK | os.X_OK):
            return [Line("outbox", Result.NOTE, f"{path} is not there yet; the first write makes it")]
        return [Line("outbox", Result.FAILED, f"{path} is not there, and its folder cannot be written")]
    try:
        schema = readable_schema(str(path))
        async with looking(settings, whosever=True) as outbox:
            found = await view(outbox).status()
    except VoyadoError as error:
        return [Line("outbox", Result.FAILED, str(error))]
    lines = [
        Line("outbox", Result.OK, f"{path}, schema {schema}, this code writes {newest()}"),
        permissions(path, stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)),
        bound(found.base_url, settings.base_url),
    ]
    if found.drainer.running:
        lines.append(Line("drainer", Result.OK, f"process {found.drainer.pid} drains"))
    else:
        lines.append(Line("drainer", Result.NOTE, "nobody drains: run `voyado-async drain`, or a client that drains"))
    return lines + [Line("needs a person", Result.NOTE, reason) for reason in found.needs_person]


def permissions(path: Path, file: int, folder: int) -> Line:
    """Bodies are personal data: nobody but the owner may read the file. Pure."""
    if file & 0o077:
        return Line("permissions", Result.FAILED, f"{path} is {file:04o}, open to others: chmod 600 {path}*")
    text = f"{path.name} is {file:04o}, its folder {folder:04o}"
    if folder & 0o022:
        return Line("permissions", Result.NOTE, f"{text}: others can put files beside it")
    return Line("permissions", Result.OK, text)


def bound(owner: str | None, wanted: str | None) -> Line:
    """The outbox belongs to one Engage. Pure."""
    if owner is None:
        return Line("bound to", Result.NOTE, "no Engage yet; the first opening with a base URL binds it")
    if wanted is not None and wanted != owner:
        text = f"{owner}, but VOYADO_BASE_URL is {wanted}: choose another VOYADO_OUTBOX"
        return Line("bound to", Result.FAILED, text)
    return Line("bound to", Result.OK, owner)


def sqlite(version: tuple[int, ...]) -> Line:
    """Whether this SQLite has the WAL-reset bug. Pure."""
    told = ".".join(map(str, version[:3]))
    if version >= FIXED_SQLITE:
        return Line("sqlite", Result.OK, told)
    return Line(
        "sqlite",
        Result.NOTE,
        f"{told} can damage a database when a checkpoint meets a commit (up to 3.51.2). The writers of an outbox take "
        "turns, so it cannot happen here; don't write to the file with other tools",
    )


def spool(folder: Path) -> Line:
    """Whether files can be written there."""
    if folder.is_dir():
        if os.access(folder, os.W_OK | os.X_OK):
            return Line("spool folder", Result.OK, str(folder))
        return Line("spool folder", Result.FAILED, f"{folder} cannot be written")
    above = next(parent for parent in folder.parents if parent.exists())
    if folder.exists() or not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return Line("spool folder", Result.FAILED, f"{folder} is no folder, and cannot be made")
    return Line("spool folder", Result.OK, f"{folder}, made when it is needed")


def _unconfirmed(settings: Settings) -> list[Fact]:
    from voyado_async.fallback.names import unconfirmed  # here: the table is needed by this command only
    from voyado_async.fallback.tenant import Tenant

    names = Tenant.of(settings).names
    of_names = [Fact(fact.family, fact.what, fact.sure, fact.ref, fact.override) for fact in unconfirmed(names)]
    return [*_folders(settings), *of_names]


def _folders(settings: Settings) -> Iterator[Fact]:
    """Of the folders only that of the transactions was seen (ref 6.2)."""
    ours, contacts, redemptions = (
        Settings().sftp_contacts_dir,
        settings.sftp_contacts_dir,
        settings.sftp_redemptions_dir,
    )
    yield Fact("contacts", f"the folder {ours}", "INF", "6.2", None if contacts == ours else contacts)
    yield Fact("redemptions", "that such files are imported at all, and the folder", "UNDOC", "6.7", redemptions)


def _by_family(facts: list[Fact]) -> Iterator[Line]:
    """What to ask the tenant's Voyado team: one line per family of files. Which they are fills a page: JSON has it."""
    families: dict[str, list[Fact]] = {}
    for fact in facts:
        families.setdefault(fact.family, []).append(fact)
    for family, told in families.items():
        ours = [f"{fact.what} (set to {fact.override})" for fact in told if fact.override is not None]
        yours = f"; of these you have set: {', '.join(ours)}" if ours else ""
        text = f"{len(told)} things in {family} files that no public source confirms: ask Voyado (--json has them)"
        yield Line("unconfirmed", Result.NOTE, text + yours)
