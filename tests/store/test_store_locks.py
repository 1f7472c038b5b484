"""What else this process does with the file never costs an open outbox its locks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from voyado_async.clock import SystemClock
from voyado_async.errors import VoyadoError
from voyado_async.outbox.glance import readable_schema
from voyado_async.outbox.records import Learned
from voyado_async.outbox.sqlite import open_outbox

BASE_URL = "https://shop.voyado.com"

WRITE_AND_CLOSE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("INSERT INTO meta (name, value) VALUES ('by_another_process', 'yes')")
database.commit()
database.close()
"""


@pytest.mark.parametrize("read_only", [True, False])
async def test_an_outbox_stays_in_step_with_other_processes_when_this_one_opens_it_again(
    tmp_path: Path, read_only: bool
) -> None:
    """A lost lock makes the next process that closes the file delete the WAL: this one would never see a write again,
    and its own would go nowhere."""
    path = tmp_path / "outbox.db"
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    try:
        again = await open_outbox(path, base_url=BASE_URL, clock=SystemClock(), read_only=read_only)
        await again.close()
        readable_schema(str(path))
        with suppress(VoyadoError):
            await open_outbox(path, base_url="https://other.voyado.com", clock=SystemClock())
        before = await outbox.data_version()
        subprocess.run([sys.executable, "-c", WRITE_AND_CLOSE, str(path)], check=True)
        assert await outbox.data_version() != before
        await outbox.remember_contacts([Learned("email:a@example.com", "by-this-process", 0)])
        with sqlite3.connect(path) as database:
            assert database.execute("SELECT id FROM contact").fetchall() == [("by-this-process",)]
        database.close()
    finally:
        await outbox.close()
