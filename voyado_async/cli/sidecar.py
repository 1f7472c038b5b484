"""What comes with a drain that runs for long: the heartbeat for systemd, and who asks over HTTP."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import NamedTuple

import click

from voyado_async.cli.failure import WrongUsage
from voyado_async.cli.opening import CLOCK
from voyado_async.client import VoyadoClient
from voyado_async.events import Listener
from voyado_async.ops.pulse import Pulse
from voyado_async.ops.systemd import Systemd
from voyado_async.ops.watch import Watch, beat
from voyado_async.outbox.store import Outbox
from voyado_async.resources.advice import Plan
from voyado_async.settings import Settings

LOOPBACK = "127.0.0.1"

NEEDED = ("prometheus_client", "jinja2")

_ADDRESS = re.compile(r"(?:(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]]*)):)?(?P<port>\d{1,5})")


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


class _Address(click.ParamType[Address]):
    """``HOST:PORT``, ``[::1]:PORT``; ``PORT`` or ``:PORT`` is on loopback: nobody logs in there."""

    name = "address"

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        found = _ADDRESS.fullmatch(value)
        if found is None or int(found["port"]) > 65535:
            self.fail(f"{value!r} is not of the form HOST:PORT, or PORT alone for loopback", param, ctx)
        return Address(found["v6"] or found["host"] or LOOPBACK, int(found["port"]))


ADDRESS = _Address()


class Sidecar:
    """Made before the client, so that an address that cannot be had is told before anything is sent."""

    def __init__(self, settings: Settings, address: Address | None) -> None:
        self._settings = settings
        self._systemd = Systemd()
        self._pulse = Pulse(CLOCK, settings.timeout)
        self.listeners: list[Listener] = [self._pulse]
        self._socket: socket.socket | None = None
        if address is not None:
            missing = [name.replace("_", "-") for name in NEEDED if find_spec(name) is None]
            if missing:
                wanted = " and ".join(missing)
                raise WrongUsage("UsageError", f"--listen needs {wanted}: pip install 'voyado-async[cli,listen]'")
            from voyado_async.ops.listen import listening_socket  # here: an extra, and only who listens needs it
            from voyado_async.ops.metrics import Metrics

            self._metrics = Metrics()
            self.listeners.append(self._metrics)
            self._socket = listening_socket(*address)

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return None if self._socket is None else int(self._socket.getsockname()[1])

    @asynccontextmanager
    async def running(self, voyado: VoyadoClient, outbox: Outbox) -> AsyncIterator[None]:
        """Beat and answer while the block runs."""
        watch = Watch(outbox, CLOCK, self._pulse)
        async with AsyncExitStack() as stack:
            if self._socket is not None:
                from voyado_async.ops.listen import Desk, answering  # here: see above

                settings = self._settings
                desk = Desk(
                    watch, self._metrics,
                    plan=Plan.of(settings), spool=settings.spool_path, rate=lambda: voyado.drain_rate,
                )  # fmt: skip
                await stack.enter_async_context(answering(self._socket, desk))
            beating = asyncio.create_task(beat(watch, self._systemd), name="voyado-heartbeat")
            try:
                yield
            finally:
                self._systemd.notify(STOPPING=1, STATUS="stopping")
                beating.cancel()
                await asyncio.wait([beating])
                if not beating.cancelled():
                    beating.result()

    def close(self) -> None:
        """Where the client could not be opened."""
        if self._socket is not None:
            self._socket.close()
