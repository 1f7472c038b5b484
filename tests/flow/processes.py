"""The processes of a flow: a sidecar that drains, a shop that writes; and what both are told."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from voyado_async import Settings, VoyadoClient
from voyado_async.cli.demo_books import Written
from voyado_async.cli.demo_engage import Info
from voyado_async.cli.demo_shop import CUSTOM_ATTRIBUTES, Customer
from voyado_async.resources.status import Status

WRITER = Path(__file__).with_name("writer.py")
SANDBOX = ("--contact-key", "email", "--import-period", "0.5", "--custom-attributes", ",".join(CUSTOM_ATTRIBUTES))

_decode_books = msgspec.json.Decoder(list[Written], float_hook=Decimal).decode


def environment(info: Info, folder: Path, **changes: str) -> dict[str, str]:
    """The environment of a process of this shop: the ladder of an hour in a second or two."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")}
    return (
        clean
        | {
            "VOYADO_BASE_URL": info.base_url,
            "VOYADO_API_KEY": info.api_key,
            "VOYADO_OUTBOX": str(folder / "outbox.db"),
            "VOYADO_CONTACT_KEY": "email",
            "VOYADO_TIMEOUT": "2",
            "VOYADO_RETRY_DELAYS": "0.3,0.6",
            "VOYADO_RETRY_ATTEMPTS": "3",
            "VOYADO_FALLBACK_INTERVAL": "0.5",
            "VOYADO_IMPORT_PERIOD": "0.5",
            "VOYADO_SFTP_HOST": info.sftp_host,
            "VOYADO_SFTP_PORT": str(info.sftp_port),
            "VOYADO_SFTP_USERNAME": info.sftp_username,
            "VOYADO_SFTP_PASSWORD": info.sftp_password,
            "VOYADO_SFTP_HOST_KEY": info.sftp_host_key,
            "VOYADO_SFTP_REDEMPTIONS_DIR": "integration/promotionImport",
        }
        | changes
    )


@asynccontextmanager
async def process(*arguments: str, env: dict[str, str], **pipes: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that is gone afterwards, whatever the test has done to it."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", *arguments, env=env, stderr=asyncio.subprocess.PIPE, **pipes
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


class Sidecar:
    """``voyado-async drain`` in a process of its own; it can be killed and started again."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "voyado_async", "drain",
            env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def kill(self) -> None:
        """As the kernel does it when memory is short: no handler runs."""
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()

    async def stop(self) -> tuple[int | None, str]:
        """SIGTERM. Returns its exit code and what it said on standard error."""
        assert self._process is not None
        self._process.terminate()
        _, errors = await asyncio.wait_for(self._process.communicate(), 20)
        return self._process.returncode, errors.decode()

    async def __aenter__(self) -> Sidecar:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()


class Writer:
    """A shop's process: it only writes, and tells its books."""

    def __init__(self, started: asyncio.subprocess.Process) -> None:
        self._process = started
        self.books: list[Written] = []

    async def tell(self, order: object) -> list[Written]:
        """Let customers come (`writer.py`); returns when what they did is on disk."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        assert line, (await self._process.communicate())[1].decode()
        new = _decode_books(line)
        self.books += new
        return new


@asynccontextmanager
async def writing(env: dict[str, str], customers: list[Customer]) -> AsyncIterator[Writer]:
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "limit": 2**22}
    async with process(str(WRITER), env=env, **pipes) as started:
        writer = Writer(started)
        assert await writer.tell(customers) == []
        yield writer


@asynccontextmanager
async def looking_on(env: dict[str, str]) -> AsyncIterator[VoyadoClient]:
    """The outbox, by the settings of the processes."""
    async with VoyadoClient(Settings.from_env(env), drain=False) as voyado:
        yield voyado


async def until(voyado: VoyadoClient, holds: Callable[[Status], bool], within: float = 40) -> Status:
    """Look at the outbox until that holds of it: it is other processes that move it."""
    try:
        async with asyncio.timeout(within):
            while not holds(status := await voyado.outbox.status()):
                await asyncio.sleep(0.05)
            return status
    except TimeoutError:
        raise AssertionError(f"still {status}") from None


def count(status: Status, *states: str) -> int:
    """How many entries are in these states."""
    return sum(status.states.get(state, 0) for state in states)


def all_delivered(status: Status) -> bool:
    return count(status, "delivered") == sum(status.states.values()) > 0


def nothing_more_leaves(status: Status) -> bool:
    """What has a form in a file has left and was imported. What waits in an open file or for the API is not there."""
    return not count(status, "pending", "sending", "spooled", "uploaded") and count(status, "imported") > 0


async def lasting(voyado: VoyadoClient, holds: Callable[[Status], bool], seconds: float) -> Status:
    """Until that holds and no state has changed for so long."""
    while True:
        status = await until(voyado, holds)
        await asyncio.sleep(seconds)
        again = await voyado.outbox.status()
        if again.states == status.states:
            return again
