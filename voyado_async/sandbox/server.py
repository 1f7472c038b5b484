"""The whole sandbox: wires the parts, opens the ports, leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from voyado_async.sandbox.control import ControlServer
from voyado_async.sandbox.engage import Engage
from voyado_async.sandbox.faults import FaultKind, Faults
from voyado_async.sandbox.importer import Importer
from voyado_async.sandbox.journal import IntegrationLog, Journal
from voyado_async.sandbox.pipeline import Pipeline
from voyado_async.sandbox.rest import RestServer
from voyado_async.sandbox.settings import SandboxSettings
from voyado_async.sandbox.sftp import FOLDERS, SftpServer
from voyado_async.sandbox.state import State


class Sandbox:
    """``async with Sandbox(SandboxSettings(...)) as sandbox``: a fake Engage on loopback.

    Inside the block everything below is set; after it every port is closed and a temporary folder is gone.
    """

    base_url: str
    control_url: str
    sftp_host: str
    sftp_port: int
    sftp_host_key: str
    """The fingerprint to pin, ``SHA256:...``."""
    sftp_known_hosts: str
    """The same key as a line of a known_hosts file."""
    sftp_key_file: Path
    """A private key that may log in, made for this sandbox."""
    sftp_root: Path
    """What an SFTP client sees as ``/``."""
    state: State
    journal: Journal
    faults: Faults
    importer: Importer
    pipeline: Pipeline
    log: IntegrationLog

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self.settings = settings or SandboxSettings()
        self.api_key = self.settings.api_key
        self.sftp_username = self.settings.sftp_username
        self.sftp_password = self.settings.sftp_password

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self.settings
        private = Path(tempfile.mkdtemp(prefix="voyado-sandbox-"))
        stack.callback(shutil.rmtree, private, ignore_errors=True)
        self.sftp_root = settings.folder or private / "sftp"
        self.sftp_root.mkdir(parents=True, exist_ok=True)

        self.journal = Journal(settings.now)
        self.log = IntegrationLog(settings.now)
        self.faults = Faults(settings.random_seed)
        self.state = State(settings, self.journal)
        self.pipeline = Pipeline(settings, self.state, self.journal, self.log)
        self.importer = Importer(
            settings, self.sftp_root, self.state, self.pipeline, self.journal, self.log, self.faults
        )

        self._rest = RestServer(Engage(settings, self.state, self.journal, self.log, self.pipeline), self.faults)
        await self._rest.start(settings.host, settings.port)
        stack.push_async_callback(self._rest.stop)
        self._sftp = SftpServer(settings, self.sftp_root, self.journal, self.faults)
        await self._sftp.start()
        stack.push_async_callback(self._sftp.stop)
        control = ControlServer(self)
        await control.start(settings.host, settings.control_port)
        stack.push_async_callback(control.stop)

        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.base_url = f"http://{host}:{self._rest.port}"
        self.control_url = f"http://{host}:{control.port}"
        self.sftp_host = settings.host
        self.sftp_port = self._sftp.port
        self.sftp_host_key = self._sftp.fingerprint
        self.sftp_known_hosts = self._sftp.known_hosts
        self.sftp_key_file = private / "sftp_key"
        self._sftp.client_key.write_private_key(self.sftp_key_file)
        self.sftp_key_file.chmod(0o600)

        self.faults.on_change = self._follow_faults
        self.faults.on_expiry = self._follow_later
        for period, act in ((settings.import_period, self.importer.run), (settings.receipt_period, self.pipeline.run)):
            stack.push_async_callback(_cancelled, asyncio.create_task(_every(period, act)))

    def _follow_faults(self) -> None:
        """Make the listeners fit the standing faults."""
        if self.faults.standing(FaultKind.REFUSE):
            self._rest.shut()
        else:
            self._rest.open()
        self._sftp.sync()

    def _follow_later(self, seconds: float) -> None:
        """A fault that runs out changes the listeners, too. The loop's clock may ring a little early."""
        loop = asyncio.get_running_loop()
        loop.call_later(seconds + 0.01, lambda: self.faults.on_change())

    def info(self) -> dict[str, Any]:
        """Everything that another process needs, as plain JSON values."""
        return {
            "base_url": self.base_url,
            "api_key": self.api_key,
            "api_key_header": self.settings.api_key_header,
            "sftp_host": self.sftp_host,
            "sftp_port": self.sftp_port,
            "sftp_username": self.sftp_username,
            "sftp_password": self.sftp_password,
            "sftp_host_key": self.sftp_host_key,
            "sftp_known_hosts": self.sftp_known_hosts,
            "sftp_key_file": str(self.sftp_key_file),
            "sftp_root": str(self.sftp_root),
            "control_url": self.control_url,
            "pid": os.getpid(),
        }

    def reset(self) -> None:
        """Back to an empty tenant: no contacts, no books, no faults, empty folders. Addresses and keys stay."""
        self.faults.clear()
        self.pipeline.clear()
        self.state.clear()
        self.journal.clear()
        self.log.lines.clear()
        self.importer.forget_names()
        for folder in FOLDERS:
            for path in (self.sftp_root / folder).iterdir():
                path.unlink()


async def _every(period: float, act: Callable[[], object | Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(period)
        result = act()
        if isawaitable(result):
            await result


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End the task; a failure of its own is not swallowed."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
