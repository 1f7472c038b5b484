"""A night in an outbox: hours of sales, then an outage with all that comes with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from night import BASE_URL, NightClock, Seen, fell

from voyado_async.ops.listen import Desk, answering, listening_socket
from voyado_async.ops.metrics import Metrics
from voyado_async.ops.pulse import Pulse
from voyado_async.ops.watch import Watch
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.resources.status import Plan


@pytest.fixture
def clock() -> NightClock:
    return NightClock()


@pytest.fixture
async def outbox(tmp_path: Path, clock: NightClock) -> AsyncIterator[SqliteOutbox]:
    opened = await open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def night(outbox: SqliteOutbox, clock: NightClock) -> SqliteOutbox:
    await fell(outbox, clock)
    return outbox


@pytest.fixture
async def seen(outbox: SqliteOutbox, clock: NightClock, tmp_path: Path) -> AsyncIterator[Seen]:
    """The outbox as it is seen over HTTP."""
    pulse, metrics = Pulse(clock, timeout=65), Metrics()
    desk = Desk(
        Watch(outbox, clock, pulse), metrics, plan=Plan(uploads=True), spool=tmp_path / "spool", rate=lambda: 40.0
    )
    listener = listening_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(answering(listener, desk))
        session = await stack.enter_async_context(aiohttp.ClientSession(url))
        yield Seen(url, session, pulse, metrics)
