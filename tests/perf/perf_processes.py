"""Processes that write while something else is measured."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from perf_writer import Wrote

PROGRAM = Path(__file__).with_name("perf_writer.py")


class Writer:
    """One ``perf_writer.py``."""

    def __init__(self, path: Path, seconds: float, entries: int, pause: float = 0.0) -> None:
        self._arguments = (str(path), str(seconds), str(entries), str(pause))

    async def ready(self) -> Writer:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"
        return self

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def wrote(self) -> Wrote:
        out, _ = await self._process.communicate()
        assert self._process.returncode == 0
        return msgspec.json.decode(out, type=Wrote)
