"""One conformance suite over the `Outbox` protocol: a second store needs only another `open_outbox`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from entries import OpenOutbox, StandingClock, assert_balanced

from voyado_async.outbox import sqlite
from voyado_async.outbox.store import Outbox


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def open_outbox(tmp_path: Path, clock: StandingClock) -> AsyncIterator[OpenOutbox]:
    """Opens the same outbox again and again, as several processes would. The books are checked after each test."""
    opened: list[Outbox] = []

    async def open_one() -> Outbox:
        outbox = await sqlite.open_outbox(tmp_path / "outbox.db", base_url="https://engage.test", clock=clock)
        opened.append(outbox)
        return outbox

    yield open_one
    for outbox in opened:
        await outbox.close()
    checking = await open_one()
    try:
        await assert_balanced(checking)
    finally:
        await checking.close()


@pytest.fixture
async def outbox(open_outbox: OpenOutbox) -> Outbox:
    return await open_outbox()
