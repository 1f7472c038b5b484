"""The sandbox as a process of its own, and its remote control."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from voyado_async.cli.demo_books import EngageBooks, books_of
from voyado_async.settings import PREFIX

STARTS = 30.0
"""Seconds for the sandbox to say that it is ready."""

STOPS = 5.0
"""Seconds for it to end when it is asked to; then it is killed."""


class Info(msgspec.Struct, frozen=True):
    """What the sandbox says when it is ready (`Sandbox.info`)."""

    base_url: str
    api_key: str
    sftp_host: str
    sftp_port: int
    sftp_username: str
    sftp_password: str
    sftp_host_key: str
    control_url: str
    pid: int


class Engage:
    """A running sandbox, by its remote control."""

    def __init__(self, info: Info, session: aiohttp.ClientSession) -> None:
        self.info = info
        self._session = session

    async def _get(self, path: str) -> bytes:
        async with self._session.get(self.info.control_url + path) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def _post(self, path: str, body: object) -> bytes:
        async with self._session.post(self.info.control_url + path, data=msgspec.json.encode(body)) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def seed(self, **rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
        """Put contacts, promotions, assignments and vouchers there; answers their ids."""
        return msgspec.json.decode(await self._post("/seed", rows), type=dict[str, list[str]])

    async def suffer(self, *faults: dict[str, Any]) -> None:
        """Exactly these faults from now on; none: Engage is well."""
        await self._post("/faults", {"replace": list(faults)})

    async def books(self) -> EngageBooks:
        """Everything that took effect. What was accepted and not stored yet is stored first (ref 5.1)."""
        await self._post("/import", {})
        return books_of(await self._get("/journal"), await self._get("/state"))


@asynccontextmanager
async def engage_process(folder: Path, *arguments: str) -> AsyncIterator[Engage]:
    """Start ``python -m voyado_async.sandbox`` with these arguments; afterwards it has ended, whatever happened.

    Its temporary files stand in `folder`. It is not in the terminal's process group: who started it ends it.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "voyado_async.sandbox",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=environ | {"TMPDIR": str(folder)},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), STARTS)
        info = msgspec.json.decode(line, type=Info)
        async with aiohttp.ClientSession() as session:
            yield Engage(info, session)
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.communicate(), STOPS)
    except TimeoutError:
        process.kill()
        await process.communicate()
