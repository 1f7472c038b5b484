"""A poke across processes: a writer sends one datagram after its commit, the drainer listens.

A lost poke costs half a second: the drainer also looks at `PRAGMA data_version` (DESIGN 3, "Wake-up").
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress

from voyado_async.outbox.access import like

_LONGEST = 100
"""The kernel takes 107 bytes for a socket's path; a few are left for a name that is made longer some day."""


def socket_path(database: str) -> str:
    """Beside the database; where that path is too long for a socket, in the first folder whose path is not."""
    name = f"voyado-{hashlib.sha256(os.fsencode(database)).hexdigest()[:24]}-wake"
    folders = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir())
    paths = [f"{database}-wake", *(os.path.join(folder, name) for folder in folders if folder)]
    short = (path for path in paths if len(os.fsencode(path)) <= _LONGEST)
    return next(short, os.path.join("/tmp", name))  # noqa: S108 - both sides must find it; it takes single bytes


class Poker:
    """The writers' end. Sending never waits and never fails a write."""

    def __init__(self, database: str) -> None:
        self._path = socket_path(database)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def poke(self) -> None:
        # Nobody listens, or the listener has enough pokes waiting: either way its slow look makes up for it.
        with suppress(OSError):
            self._socket.sendto(b"\0", self._path)

    def close(self) -> None:
        self._socket.close()


class Listener:
    """The drainer's end. Only the holder of the right to drain opens one, so the path is its to replace."""

    def __init__(self, database: str, on_poke: Callable[[], None]) -> None:
        self._database = database
        self._path = socket_path(database)
        self._on_poke = on_poke
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Where there is no place for it every poke is lost, which costs half a second and no more."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            listener.bind(self._path)
            os.chmod(self._path, 0o600)
            like(self._database).open_file(self._path)
        except OSError:
            listener.close()
            return
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._drain)

    def _drain(self) -> None:
        assert self._socket is not None
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(64)
        self._on_poke()

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            with suppress(FileNotFoundError):
                os.unlink(self._path)
