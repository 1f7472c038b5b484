"""Who answers where: ``/healthz``, ``/readyz``, ``/metrics``, and the page at ``/``. Only reads; nobody logs in.

Every answer is made from one snapshot of the outbox (`watch.py`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

from voyado_async.errors import ConfigurationError, OutboxDamaged, OutboxUnavailable
from voyado_async.ops.metrics import Metrics
from voyado_async.ops.page import MOST, page
from voyado_async.ops.watch import Watch
from voyado_async.resources.advice import Plan
from voyado_async.resources.outbox import OutboxView

SHUTDOWN = 1.0
"""Seconds that an answer may still take when the sidecar stops."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Desk:
    """Answers questions about one outbox and the process that drains it."""

    def __init__(
        self, watch: Watch, metrics: Metrics, *, plan: Plan, spool: Path, rate: Callable[[], float | None]
    ) -> None:
        self._watch = watch
        self._metrics = metrics
        self._view = OutboxView(watch.outbox, watch.clock, plan)
        self._spool = spool
        self._rate = rate

    async def health(self, _: web.Request) -> web.Response:
        """200 while this process is alive and makes progress where there is anything to do."""
        return _verdict(await self._watch.stuck(), "alive")

    async def ready(self, _: web.Request) -> web.Response:
        """200 while it can do its work: it drains, or stands by while another one does."""
        return _verdict(await self._watch.not_ready(), self._watch.doing)

    async def metrics(self, request: web.Request) -> web.Response:
        """For Prometheus."""
        status = self._view.status_of(await self._watch.overview())
        sizes = await asyncio.to_thread(bytes_on_disk, status.outbox, self._spool)
        accept = request.headers.get("Accept", "")
        text, content_type = self._metrics.text(accept, status, rate=self._rate(), sizes=sizes)
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def page(self, _: web.Request) -> web.Response:
        """The page."""
        found = await self._watch.overview()
        status = self._view.status_of(found)
        rejected = await self._watch.outbox.rejected(MOST) if status.states["rejected"] else []
        text = page(status, found.flow, found.open_files, rejected, self._watch.clock.now())
        return web.Response(text=text, content_type="text/html")


def _verdict(why_not: str | None, well: str) -> web.Response:
    return web.Response(status=503 if why_not else 200, text=f"{why_not or well}\n")


def bytes_on_disk(outbox: str, spool: Path) -> Mapping[str, int]:
    """The sizes of the database, its log and the spool folder. Nothing of it is opened."""
    sizes = {"database": 0, "log": 0, "spool": 0}
    for part, path in (("database", outbox), ("log", f"{outbox}-wal")):
        with suppress(FileNotFoundError):
            sizes[part] = os.stat(path).st_size
    with suppress(FileNotFoundError), os.scandir(spool) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it left meanwhile
                sizes["spool"] += entry.stat(follow_symlinks=False).st_size
    return sizes


@web.middleware
async def _guarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """An outbox that cannot be read is told in one line; nothing of an answer is kept or run by a browser."""
    try:
        answer = await handler(request)
    except (OutboxUnavailable, OutboxDamaged) as error:
        answer = web.Response(status=503, text=f"{error}\n")
    answer.headers.update(HEADERS)
    return answer


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises ConfigurationError where that cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"--listen: {host}:{port} cannot be listened on ({told})") from error


@asynccontextmanager
async def answering(listener: socket.socket, desk: Desk) -> AsyncIterator[None]:
    """Answer while the block runs; the socket is closed with it."""
    app = web.Application(middlewares=[_guarded])
    app.router.add_get("/healthz", desk.health)
    app.router.add_get("/readyz", desk.ready)
    app.router.add_get("/metrics", desk.metrics)
    app.router.add_get("/", desk.page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()
