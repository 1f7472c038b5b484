"""What ``check`` asks of Engage: its API and its file server, changing nothing at either."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from voyado_async.api.carrier import EngageCarrier
from voyado_async.api.http import Http, open_session
from voyado_async.api.routes import routes_of
from voyado_async.cli.check_lines import Line, Result
from voyado_async.cli.opening import CLOCK
from voyado_async.cli.report import counted
from voyado_async.delivery import Delivered, NotAllowed, Outcome, Rejected, RetryAt, SlowDown
from voyado_async.errors import UploadFailed
from voyado_async.settings import Settings

if TYPE_CHECKING:
    from voyado_async.fallback.sftp import Remote

PATIENCE = 10.0
"""Seconds for one question to Engage or to its file server."""


async def api(settings: Settings) -> Line:
    """Does Engage answer, and does it take the key?"""
    if settings.base_url is None or settings.api_key is None:
        return Line("api", Result.NOTE, "not asked: base URL or key is not set")
    async with open_session(1) as session:
        http = Http(
            session,
            base_url=settings.base_url,
            api_key=settings.api_key,
            user_agent=settings.user_agent,
            clock=CLOCK,
            api_key_header=settings.api_key_header,
            timeout=PATIENCE,
        )
        carrier = EngageCarrier(http, routes_of(settings.api_version), contact_key=settings.contact_key)
        return answered(settings.base_url, await carrier.probe(nullcontext()))


def answered(base_url: str, outcome: Outcome) -> Line:
    """What the harmless question came to. Pure."""
    match outcome:
        case Delivered() | Rejected():
            return Line("api", Result.OK, f"{base_url} answers and takes the key, in {outcome.duration_ms} ms")
        case NotAllowed(status=status):
            return Line("api", Result.FAILED, f"{base_url} answers and refuses the key ({status})")
        case SlowDown():
            return Line("api", Result.NOTE, f"{base_url} answers and asks to slow down (429)")
        case RetryAt(code=code, status=status):
            told = code if status is None else f"{code}, status {status}"
            return Line("api", Result.FAILED, f"{base_url} gives no usable answer ({told})")


async def file_server(settings: Settings) -> list[Line]:
    """Can files be brought there: host key, login, and each folder?"""
    if settings.sftp_host is None:
        return [Line("sftp", Result.NOTE, "no server is set: files stay in the spool folder for a person to carry")]
    from voyado_async.fallback import sftp  # here: it brings asyncssh

    folders = {
        "contacts": settings.sftp_contacts_dir,
        "transactions": settings.sftp_transactions_dir,
        "redemptions": settings.sftp_redemptions_dir,
    }
    where = f"{settings.sftp_host}:{settings.sftp_port}"
    lines: list[Line] = []
    try:
        async with sftp.connect(settings, connect_timeout=PATIENCE, answer_timeout=PATIENCE) as remote:
            lines.append(Line("sftp", Result.OK, f"{where}: host key and login are right"))
            for family, folder in folders.items():
                lines.append(await _folder(remote, f"{family} folder", folder))
    except UploadFailed as failure:
        lines.append(Line("sftp", Result.FAILED, f"{failure.reason}: {failure}"))
    return lines


async def _folder(remote: Remote, thing: str, folder: str | None) -> Line:
    if folder is None:
        return Line(thing, Result.NOTE, "not set: such files wait in the spool folder for the API or for a person")
    try:
        waiting = sum(name.endswith(".xml") for name in await remote.listing(folder))
    except UploadFailed as failure:
        return Line(thing, Result.FAILED, f"{failure.reason}: {failure}")
    return Line(thing, Result.OK, f"{folder}, {counted(waiting, 'file waits', 'files wait')} there")
