"""Other processes that use the same outbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from voyado_async.delivery import Draft, Kind

ROOT = Path(__file__).parents[3]
BASE_URL = "https://engage.test"


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run that program; its standard output and input are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> str:
    """Let it end by itself; everything that it still prints."""
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return rest.strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


def draft(body: bytes = b"{}", lane: str = "contact:anna", key: str | None = None) -> Draft:
    return Draft(Kind.RECEIPT, body, lane, key)
