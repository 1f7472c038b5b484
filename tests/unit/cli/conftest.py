"""The program, called in this process with settings of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cli_calls import BASE_URL, Call, In
from click.testing import CliRunner, Result

from voyado_async.cli.program import program
from voyado_async.clock import SystemClock
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working folder, and no settings but a base URL that nobody answers."""
    for name in [name for name in os.environ if name.startswith("VOYADO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VOYADO_BASE_URL", BASE_URL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call() -> Call:
    """Call the program. An exception that is no exit fails the test: expected things never leave a traceback."""

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(program, arguments, input=stdin, prog_name="voyado-async")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def in_outbox(home: Path) -> In:
    """Do something to the outbox of the test, in a loop of its own."""

    def run(work: Callable[[SqliteOutbox], Coroutine[Any, Any, Any]]) -> Any:
        async def do() -> Any:
            outbox = await open_outbox(home / "outbox.db", base_url=BASE_URL, clock=SystemClock())
            try:
                return await work(outbox)
            finally:
                await outbox.close()

        return asyncio.run(do())

    return run
