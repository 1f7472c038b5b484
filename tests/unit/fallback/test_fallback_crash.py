"""`kill -9` at every step of an upload: Engage has the file once or twice under one name, never not at all, and it is
never taken back. Real processes, real SQLite, and both file servers."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crashing_courier import POINTS
from file_servers import FileServer

from voyado_async.clock import SystemClock
from voyado_async.kinds import contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State

ENTRIES = 250
"""More than one chunk of a commit."""

BEFORE_THE_UPLOAD = [
    "file complete, not known", "half of the entries spooled", "file known", "connected", "temporary name made",
    "first block sent", "all sent, size not checked", "size checked",
]  # fmt: skip
"""What is killed here goes back to the API when that is there again: nothing has left."""


class Sidecar:
    """What carries; it can be killed at a named point."""

    def __init__(self, process: asyncio.subprocess.Process, server: FileServer) -> None:
        self._process = process
        self._server = server
        self._minutes = 0

    async def step(self, point: str | None = None, *, healthy: bool = False) -> None:
        """One step, ten minutes later. Fails where it does not end as it was told to."""
        self._minutes += 10
        settings = self._server.settings()
        asked = {name: getattr(settings, name) for name in settings.__struct_fields__}
        order = {"settings": asked, "point": point, "healthy": healthy, "minutes": self._minutes}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        status = int(await asyncio.wait_for(self._process.stdout.readline(), 30))
        assert status == (0 if point is None else signal.SIGKILL)


@pytest.fixture
async def sidecar(server: FileServer) -> AsyncIterator[Sidecar]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(Path(__file__).with_name("crashing_courier.py")),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield Sidecar(process, server)
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def opened(server: FileServer) -> SqliteOutbox:
    return await open_outbox(server.home / "outbox.db", base_url="http://127.0.0.1:9", clock=SystemClock())


async def exhaust(server: FileServer) -> list[int]:
    store = await opened(server)
    try:
        drafts = [
            contact_update.draft(address(contact_id=f"{number:032x}"), {"city": f"Lund {number}"})
            for number in range(ENTRIES)
        ]
        ids = [stored.id for stored in await store.enqueue(drafts)]
        moves = [Settlement(entry, State.PENDING, State.EXHAUSTED, outage=True) for entry in ids]
        assert all(await asyncio.gather(*map(store.settle, moves)))
        return ids
    finally:
        await store.close()


async def stand(server: FileServer, ids: list[int]) -> tuple[set[State], list[Any]]:
    """The states of the entries, and the files that count."""
    store = await opened(server)
    try:
        states = {state for state, _ in (await store.states_of(ids)).values()}
        return states, [file for file in await store.files(open_only=False) if file.state not in ("withdrawn", "lost")]
    finally:
        await store.close()


def at_engage(server: FileServer) -> dict[str, bytes]:
    """The files that Engage may take."""
    return {path.name: path.read_bytes() for path in (server.root / "contacts").glob("[!.]*.xml")}


def is_whole(content: bytes) -> bool:
    """Each entry stands in it once."""
    found = [int(number) for number in re.findall(rb"<city>Lund (\d+)</city>", content)]
    return sorted(found) == list(range(ENTRIES)) and content.endswith(b"</contacts>")


def test_every_point_is_walked() -> None:
    assert {*BEFORE_THE_UPLOAD} < {*POINTS}


@pytest.mark.parametrize("server", ["own", pytest.param("openssh", marks=pytest.mark.sshd)], indirect=True)
async def test_whatever_the_moment_of_a_kill_the_file_arrives_whole_under_one_name(
    server: FileServer, sidecar: Sidecar
) -> None:
    for point in POINTS:
        ids = await exhaust(server)
        await sidecar.step(point)
        shown = at_engage(server)
        assert all(map(is_whole, shown.values())), point
        await sidecar.step()
        states, files = await stand(server, ids)
        assert states == {State.UPLOADED}, point
        assert [file.entries for file in files] == [ENTRIES], point
        arrived = at_engage(server)
        assert list(arrived) == [files[0].name], point
        assert shown.keys() <= arrived.keys(), point
        assert is_whole(arrived[files[0].name]), point
        assert [path.name for path in (server.root / "contacts").iterdir()] == list(arrived), "nothing is left behind"
        for path in (server.root / "contacts").iterdir():
            path.unlink()  # Engage imports
        if point not in BEFORE_THE_UPLOAD:
            await sidecar.step(healthy=True)
            assert (await stand(server, ids))[0] == {State.IMPORTED}, f"{point}: it was taken back"
        forget(server)


@pytest.mark.parametrize("server", ["own", pytest.param("openssh", marks=pytest.mark.sshd)], indirect=True)
async def test_a_file_that_engage_takes_right_after_the_kill_comes_again_under_its_name_or_not_at_all(
    server: FileServer, sidecar: Sidecar
) -> None:
    """What has no commit of its arrival goes up again, although the API is back: that it went is not known."""
    for point in (point for point in POINTS if point not in BEFORE_THE_UPLOAD[:-1]):
        ids = await exhaust(server)
        await sidecar.step(point)
        shown = at_engage(server)
        for name in shown:
            (server.root / "contacts" / name).unlink()
        await sidecar.step(healthy=True)
        states, files = await stand(server, ids)
        if point in BEFORE_THE_UPLOAD:
            assert states == {State.PENDING}, point
            assert (shown, at_engage(server), files) == ({}, {}, []), point
        elif point == "committed as uploaded":
            assert states == {State.IMPORTED}, point
            assert (list(shown), at_engage(server)) == ([files[0].name], {}), point
        else:
            assert states == {State.UPLOADED}, point
            assert list(at_engage(server)) == [files[0].name], point
            assert shown.keys() <= {files[0].name}, point
            (server.root / "contacts" / files[0].name).unlink()
        forget(server)


def forget(server: FileServer) -> None:
    for path in [*server.home.glob("outbox.db*"), *server.home.glob("spool/*")]:
        path.unlink()
