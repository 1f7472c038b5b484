"""``voyado-async check``: everything that has to be right before a shop relies on it, one line each."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
from voyado_async.outbox.seal import Seal
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
            seal = outbox.seal
    except VoyadoError as error:
        return [Line("outbox", Result.FAILED, str(error))]
    lines = [
        Line("outbox", Result.OK, f"{path}, schema {schema}, this code writes {newest()}"),
        _permissions(path, settings.gid),
        sealed(seal, given=bool(settings.seal_keys)),
        bound(found.base_url, settings.base_url),
    ]
    if found.drainer.running:
        lines.append(Line("drainer", Result.OK, f"process {found.drainer.pid} drains"))
    else:
        lines.append(Line("drainer", Result.NOTE, "nobody drains: run `voyado-async drain`, or a client that drains"))
    return lines + [Line("needs a person", Result.NOTE, reason) for reason in found.needs_person]


class Groups(NamedTuple):
    """The group that is to use the outbox, and those that the file and its folder have."""

    wanted: int
    file: int
    folder: int


def _permissions(path: Path, gid: int | None) -> Line:
    file, folder = path.stat(), path.parent.stat()
    groups = None if gid is None else Groups(gid, file.st_gid, folder.st_gid)
    return permissions(path, stat.S_IMODE(file.st_mode), stat.S_IMODE(folder.st_mode), groups)


def permissions(path: Path, file: int, folder: int, groups: Groups | None = None) -> Line:
    """Bodies are personal data: nobody but the owner, or who is in the group, may read the file. Pure."""
    right = 0o600 if groups is None else 0o660
    if file & ~right & 0o077:
        return Line("permissions", Result.FAILED, f"{path} is {file:04o}, open to others: chmod {right:o} {path}*")
    text = f"{path.name} is {file:04o}, its folder {folder:04o}"
    if groups is not None:
        text += f", for group {groups.wanted}"
        if set(groups) != {groups.wanted} or file != right or folder & 0o2070 != 0o2070:
            why = f"the group cannot use it: chgrp {groups.wanted} {path.parent} {path}* && chmod 2770 {path.parent}"
            return Line("permissions", Result.FAILED, f"{text}; {why} && chmod 660 {path}*")
    if folder & (0o022 if groups is None else 0o002):
        return Line("permissions", Result.NOTE, f"{text}: others can put files beside it")
    return Line("permissions", Result.OK, text)


def sealed(seal: Seal, *, given: bool) -> Line:
    """Whether contents are sealed, and how much else is. Pure."""
    if not seal.on:
        told = "the next opening that writes begins to seal" if given else "no key is set (VOYADO_SEAL_KEY)"
        return Line("seal", Result.NOTE, f"contents are not sealed: {told}")
    if not seal.hides_addresses:
        told = "addresses of contacts are not: the outbox was begun without a key; a new one would seal them, too"
        return Line("seal", Result.NOTE, f"contents are sealed since the key was set, and the key opens them; {told}")
    return Line("seal", Result.OK, "contents and addresses are sealed, and the key opens them")


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
