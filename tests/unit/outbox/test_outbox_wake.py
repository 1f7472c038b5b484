"""A poke reaches the drainer of another process; a lost one harms nobody."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from children import child, draft, end

from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.wake import Listener, Poker, socket_path

POKE = """
import sys
from voyado_async.outbox.wake import Poker
poker = Poker(sys.argv[1])
poker.poke()
poker.close()
"""


async def test_a_poke_crosses_processes(path: Path) -> None:
    poked = asyncio.Event()
    listener = Listener(str(path), poked.set)
    listener.open()
    end(child(POKE, path))
    async with asyncio.timeout(5):
        await poked.wait()
    listener.close()
    assert not Path(socket_path(str(path))).exists()


async def test_a_write_pokes_the_drainer_of_another_process_after_its_commit(outbox: SqliteOutbox) -> None:
    poked = asyncio.Event()
    listener = Listener(outbox.path, poked.set)
    listener.open()
    before = time.monotonic()
    await outbox.enqueue([draft()])
    async with asyncio.timeout(5):
        await poked.wait()
    assert time.monotonic() - before < 1
    listener.close()


async def test_a_process_that_drains_itself_pokes_nobody_else(outbox: SqliteOutbox) -> None:
    poked, woken = asyncio.Event(), asyncio.Event()
    listener = Listener(outbox.path, poked.set)
    listener.open()
    outbox.on_commit(woken.set)
    await outbox.enqueue([draft()])
    assert woken.is_set()
    await asyncio.sleep(0.05)
    assert not poked.is_set()
    listener.close()


async def test_pokes_without_a_listener_or_to_a_dead_one_are_nothing(path: Path) -> None:
    poker = Poker(str(path))
    poker.poke()
    listener = Listener(str(path), lambda: None)
    listener.open()
    assert listener._socket is not None
    asyncio.get_running_loop().remove_reader(listener._socket.fileno())
    listener._socket.close()
    poker.poke()
    again = Listener(str(path), lambda: None)
    again.open()
    again.close()
    poker.close()
    poker.poke()


async def test_more_pokes_than_the_listener_takes_never_make_a_writer_wait(path: Path) -> None:
    calls: list[int] = []
    listener = Listener(str(path), lambda: calls.append(1))
    listener.open()
    poker = Poker(str(path))
    before = time.monotonic()
    for _ in range(5000):
        poker.poke()
    assert time.monotonic() - before < 1
    await asyncio.sleep(0.01)
    assert len(calls) >= 1
    poker.close()
    listener.close()


async def a_poke_arrives(database: str) -> None:
    poked = asyncio.Event()
    listener = Listener(database, poked.set)
    listener.open()
    poker = Poker(database)
    poker.poke()
    async with asyncio.timeout(5):
        await poked.wait()
    listener.close()
    poker.close()


@pytest.mark.parametrize("runtime", [True, False])
async def test_a_path_that_is_too_long_for_a_socket_falls_back_to_the_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: bool
) -> None:
    folder = Path(os.path.realpath("/tmp")) / f"voyado-test-{os.getpid()}"
    folder.mkdir()
    if runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    else:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(folder))
    database = str(tmp_path / ("x" * 100) / "outbox.db")
    assert os.path.dirname(socket_path(database)) == str(folder)
    assert socket_path(database) != socket_path(database + "2")
    await a_poke_arrives(database)
    folder.rmdir()


def test_the_socket_lies_beside_the_database_where_its_path_fits() -> None:
    assert socket_path("/srv/shop/outbox.db") == "/srv/shop/outbox.db-wake"


async def test_the_socket_is_for_its_owner_only(path: Path) -> None:
    listener = Listener(str(path), lambda: None)
    listener.open()
    assert Path(socket_path(str(path))).stat().st_mode & 0o777 == 0o600
    listener.close()


async def test_where_every_folder_is_too_deep_both_sides_still_find_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = str(tmp_path / ("x" * 100))
    monkeypatch.setenv("XDG_RUNTIME_DIR", deep)
    monkeypatch.setattr("tempfile.tempdir", deep)
    database = os.path.join(deep, "outbox.db")
    await a_poke_arrives(database)
    assert not os.path.exists(socket_path(database))


async def test_who_finds_no_place_to_listen_drains_all_the_same(tmp_path: Path) -> None:
    database = str(tmp_path / "outbox.db")
    taken = Path(socket_path(database))
    taken.mkdir()
    listener = Listener(database, lambda: None)
    listener.open()
    listener.close()
    assert taken.is_dir()
