"""An outbox file of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from children import BASE_URL

from voyado_async.clock import SystemClock
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
async def outbox(path: Path) -> AsyncIterator[SqliteOutbox]:
    opened = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    yield opened
    await opened.close()
