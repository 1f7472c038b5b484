"""Processes that are killed, stopped and started again; what they say goes to a file, so that no pipe ever fills."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path


class Killable:
    """A Python process with ``-W error``. After the block it is gone, whatever was done to it."""

    def __init__(self, env: dict[str, str], said: Path, *arguments: str) -> None:
        self._env = env
        self._said = said
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        """Everything that it and its predecessors wrote to standard output and standard error."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    async def start(self, *more: str, told: bytes = b"") -> None:
        """Start it, and write `told` to its standard input, which stays open."""
        with self._said.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-W", "error", *self._arguments, *more,
                env=self._env, stdin=asyncio.subprocess.PIPE, stdout=said, stderr=said,
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(told)

    def signal(self, number: signal.Signals) -> None:
        """It must still be there: one that ended by itself failed."""
        assert self.process.returncode is None, self.said
        self.process.send_signal(number)

    async def kill(self) -> None:
        """As the kernel does it when memory is short: no handler runs."""
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def end(self, within: float = 30) -> None:
        """Its standard input ends; it must end well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await asyncio.wait_for(self.process.wait(), within) == 0, self.said

    async def __aenter__(self) -> Killable:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
