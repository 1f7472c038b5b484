"""What systemd hears, and when it hears nothing any more."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from night import NightClock

from voyado_async.clock import SystemClock
from voyado_async.errors import OutboxUnavailable
from voyado_async.events import AttemptMade, DrainerStarted, Enqueued
from voyado_async.ops.pulse import Pulse
from voyado_async.ops.systemd import Systemd
from voyado_async.ops.watch import Watch, beat
from voyado_async.outbox.overview import Overview
from voyado_async.outbox.records import BreakerRecord
from voyado_async.outbox.sqlite import SqliteOutbox


class Unit:
    """systemd's end of the notification socket."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        self._socket.settimeout(5)

    async def hears(self) -> dict[str, str]:
        told = (await asyncio.to_thread(self._socket.recv, 4096)).decode()
        return dict(line.split("=", 1) for line in told.splitlines())

    def heard_nothing(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
async def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    path = str(tmp_path / "notify") if request.param == "path" else f"@voyado-{os.getpid()}-{tmp_path.name}"
    made = Unit(path)
    yield made, Systemd({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "90000", "WATCHDOG_PID": str(os.getpid())})
    made.close()


def watching(outbox: SqliteOutbox) -> Watch:
    return Watch(outbox, SystemClock(), Pulse(SystemClock(), 65))


async def test_systemd_hears_that_it_is_ready_when_it_drains_and_then_that_it_is_alive(
    outbox: SqliteOutbox, unit: tuple[Unit, Systemd]
) -> None:
    ear, systemd = unit
    watch = watching(outbox)
    task = asyncio.create_task(beat(watch, systemd))
    assert watch.doing == "starting"
    watch.pulse(DrainerStarted(pid=1))
    assert await ear.hears() == {"READY": "1"}
    for _ in range(3):
        assert await ear.hears() == {"WATCHDOG": "1", "STATUS": "draining"}
    task.cancel()


@pytest.mark.parametrize("unit", ["path"], indirect=True)
async def test_who_is_stuck_says_so_and_is_no_longer_alive(
    outbox: SqliteOutbox, unit: tuple[Unit, Systemd], monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, systemd = unit
    watch = watching(outbox)
    watch.pulse(DrainerStarted(pid=1))

    async def is_stuck() -> str:
        return "work is due and nothing has moved for 126 s"

    monkeypatch.setattr(watch, "stuck", is_stuck)
    task = asyncio.create_task(beat(watch, systemd))
    assert await ear.hears() == {"READY": "1"}
    assert await ear.hears() == {"STATUS": "stuck: work is due and nothing has moved for 126 s"}
    task.cancel()


@pytest.mark.parametrize("unit", ["path"], indirect=True)
async def test_the_watchdog_is_fed_by_what_moves_and_by_nothing_else(
    night: SqliteOutbox, clock: NightClock, unit: tuple[Unit, Systemd]
) -> None:
    """Work is due. The loop, the clock and the look at the outbox go on all the time; what a request came to is all
    that counts."""
    ear, systemd = unit
    beats: asyncio.Queue[None] = asyncio.Queue()

    class Beating(NightClock):
        async def sleep(self, seconds: float) -> None:
            await beats.get()

    ours = Beating()
    ours.time = clock.time
    await night.set_breaker(BreakerRecord("closed", clock.now()))
    watch = Watch(night, ours, Pulse(ours, timeout=65))
    watch.pulse(DrainerStarted(pid=1))
    task = asyncio.create_task(beat(watch, systemd))
    assert await ear.hears() == {"READY": "1"}
    assert await ear.hears() == {"WATCHDOG": "1", "STATUS": "draining"}
    ours.elapsed = 130
    for _ in range(2):
        watch.pulse(Enqueued(entry_id=1, kind="receipt"))
        beats.put_nowait(None)
        assert await ear.hears() == {"STATUS": "stuck: work is due and nothing has moved for 130 s"}
    watch.pulse(AttemptMade(entry_id=1, kind="receipt", what="request", outcome="retry"))
    beats.put_nowait(None)
    assert await ear.hears() == {"WATCHDOG": "1", "STATUS": "draining"}
    task.cancel()


@pytest.mark.parametrize("unit", ["path"], indirect=True)
async def test_a_look_that_never_comes_back_is_no_sign_of_life_and_one_that_fails_is(
    outbox: SqliteOutbox, unit: tuple[Unit, Systemd], monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, systemd = unit
    watch = watching(outbox)
    watch.pulse(DrainerStarted(pid=1))
    hangs = asyncio.Event()
    looks: list[Callable[[], None]] = []

    async def fails_once(now: int, spans: int) -> Overview:
        if not looks:
            looks.append(hangs.set)
            raise OutboxUnavailable("not now")
        hangs.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(outbox, "overview", fails_once)
    task = asyncio.create_task(beat(watch, systemd))
    assert await ear.hears() == {"READY": "1"}
    assert await ear.hears() == {"WATCHDOG": "1", "STATUS": "the outbox cannot be read"}
    await hangs.wait()
    assert ear.heard_nothing()
    task.cancel()


def test_without_systemd_nothing_is_said_and_a_watchdog_of_another_process_is_not_ours() -> None:
    assert Systemd({}).watchdog is None
    Systemd({}).notify(READY=1)
    Systemd({"NOTIFY_SOCKET": "/nowhere/at/all"}).notify(READY=1)
    assert Systemd({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "1"}).watchdog is None
    assert Systemd({"WATCHDOG_USEC": "90000000"}).watchdog == 90
