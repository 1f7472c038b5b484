"""A courier in a process of its own that is killed with SIGKILL at a named point.

Reads one order a line from standard input, as JSON: ``settings``, ``point`` (where to die, or null), ``healthy`` and
``minutes`` (how far the clock has gone on). For each it forks, takes one step, and answers with the wait status: the
imports, which take longest, are done once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import asyncssh

from voyado_async.clock import SystemClock
from voyado_async.fallback import sftp, transfer
from voyado_async.fallback.courier import Courier
from voyado_async.outbox import file_moves
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.settings import Settings


def die() -> None:
    """As the kernel does it: no handler runs, nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def after(owner: Any, name: str, *, times: int = 1, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Die when that has returned for the so many-th time."""
    call, left = getattr(owner, name), [times]

    async def dying(*args: Any, **kwargs: Any) -> Any:
        result = await call(*args, **kwargs)
        if when(*args, **kwargs):
            left[0] -= 1
            if not left[0]:
                die()
        return result

    setattr(owner, name, dying)


def before(owner: Any, name: str) -> None:
    async def dying(*_: Any, **__: Any) -> None:
        die()

    setattr(owner, name, dying)


def between_chunks(name: str, state: str | None) -> None:
    """Die inside the second transaction of a move in chunks: the first is committed, the second is not."""
    call, chunks = getattr(file_moves, name), [0]

    def dying(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        if state is None or kwargs["change"].state == state:
            chunks[0] += 1
            if chunks[0] == 2:
                die()
        return result

    setattr(file_moves, name, dying)


def is_uploaded(*_: Any, state: str, seen: bool = False, **__: Any) -> bool:
    return state == "uploaded" and seen


POINTS: dict[str, Callable[[], None]] = {
    "file complete, not known": lambda: before(SqliteOutbox, "spool_file"),
    "half of the entries spooled": lambda: between_chunks("spool", None),
    "file known": lambda: after(SqliteOutbox, "spool_file"),
    "connected": lambda: before(transfer.Transfer, "_upload_all"),
    "temporary name made": lambda: after(asyncssh.SFTPClient, "open"),
    "first block sent": lambda: after(sftp.Remote, "_write"),
    "all sent, size not checked": lambda: after(sftp.Remote, "_sync"),
    "size checked": lambda: after(sftp.Remote, "stage"),
    "half of the entries uploaded": lambda: between_chunks("update", "uploading"),
    "upload begun": lambda: after(transfer.Transfer, "_begin"),
    "about to rename": lambda: before(asyncssh.SFTPClient, "rename"),
    "renamed": lambda: after(sftp.Remote, "publish"),
    "committed as uploaded": lambda: after(SqliteOutbox, "update_file", when=is_uploaded),
}


async def step(order: dict[str, Any]) -> None:
    settings = Settings(**order["settings"])
    clock = SystemClock()
    store = await open_outbox(settings.outbox, base_url="http://127.0.0.1:9", clock=clock)
    try:
        now = clock.now() + round(order["minutes"] * 60_000)
        await Courier.of(store, settings).step(now, api_healthy=order["healthy"])
    finally:
        await store.close()


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            if order["point"] is not None:
                POINTS[order["point"]]()
            asyncio.run(step(order))
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
