"""Processes with one part each: ``python actors.py PART ARGUMENT ...``; what they found they tell as JSON.

write NAME COUNT   COUNT receipts of contacts of its own, a few at a time; the errors and the times it took
begin_and_stop     begins a transaction inside the turn, and stops itself there (SIGSTOP)
drain_and_fork     drains, with a forked child that outlives it; tells what the child found when it used the client
wait               waits for an entry that another process delivers
receipts COUNT     COUNT receipts one by one; says ``ack N`` with a plain write(2) when each is on disk
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from chaos_writer import RECEIPT

from voyado_async import Settings, VoyadoClient
from voyado_async.outbox.sqlite import SqliteOutbox


class Wrote(msgspec.Struct):
    """What a writer found."""

    errors: list[str]
    seconds: list[float]


def receipt(name: str, number: int, contact: str) -> dict[str, Any]:
    named = {"matchKey": contact, "matchKeyType": "email", "contactType": "Member"}
    own = {"uniqueReceiptId": f"S118-{name}-{number}", "receiptNumber": f"{number:06}"}
    return {**RECEIPT, **own, "contact": named}


def tell(found: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    sys.stdout.buffer.flush()


async def write(name: str, count: str) -> None:
    wrote = Wrote([], [])

    async def seller(at: int) -> None:
        for number in range(at, int(count), 8):
            began = time.perf_counter()
            try:
                await voyado.receipts.send(receipt(name, number, f"shared{number % 20}@example.com"))
            except Exception as error:  # whatever it is: the test looks at it
                wrote.errors.append(f"{type(error).__name__}: {error}")
            wrote.seconds.append(time.perf_counter() - began)

    async with VoyadoClient(Settings.from_env(), drain=False) as voyado:
        await asyncio.gather(*(seller(at) for at in range(8)))
    tell(wrote)


async def begin_and_stop() -> None:
    def stop(database: sqlite3.Connection) -> None:
        database.execute("INSERT INTO meta (name, value) VALUES ('half', 'written')")
        os.write(1, b"stopping\n")
        os.kill(os.getpid(), signal.SIGSTOP)

    settings = Settings.from_env()
    async with VoyadoClient(settings, drain=False) as voyado:
        outbox = voyado._writes._outbox
        assert isinstance(outbox, SqliteOutbox)
        await outbox._writer.call(stop)
    tell("went on")


async def drain_and_fork() -> None:
    async with VoyadoClient(Settings.from_env()) as voyado:
        while voyado._drainer is None or not voyado._drainer.draining:
            await asyncio.sleep(0.01)
        with warnings.catch_warnings():
            # From 3.12 on Python warns of what is tried here on purpose.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            await _use_in_child(voyado)
        await asyncio.Event().wait()


async def _use_in_child(voyado: VoyadoClient) -> None:
    """The loop of the parent goes on in the child; what of the client is used here is refused."""
    found: dict[str, str] = {"child": str(os.getpid())}
    tries: dict[str, Callable[[], Awaitable[object]]] = {
        "write": lambda: voyado.receipts.send(receipt("fork", 0, "a@example.com")),
        "status": voyado.outbox.status,
    }
    for name, use in tries.items():
        try:
            await use()
        except Exception as error:  # whatever it is: the test looks at it
            found[name] = f"{type(error).__name__}: {error}"
        else:
            found[name] = "it worked"
    tell(found)
    while True:
        signal.pause()


async def wait() -> None:
    async with VoyadoClient(Settings.from_env(), drain=False) as voyado:
        entry = await voyado.receipts.send(receipt("wait", 1, "shared1@example.com"))
        tell({"written": time.monotonic()})
        outcome = await entry.wait(timeout=20)
        tell({"state": outcome.state, "waited": time.monotonic()})


async def receipts(count: str) -> None:
    async with VoyadoClient(Settings.from_env(), drain=False) as voyado:
        for number in range(int(count)):
            await voyado.receipts.send(receipt(f"r{os.getpid()}", number, f"c{number}@example.com"))
            os.write(1, f"ack {number}\n".encode())


PARTS: dict[str, Callable[..., Awaitable[None]]] = {
    "write": write,
    "begin_and_stop": begin_and_stop,
    "drain_and_fork": drain_and_fork,
    "wait": wait,
    "receipts": receipts,
}


if __name__ == "__main__":
    asyncio.run(PARTS[sys.argv[1]](*sys.argv[2:]))  # type: ignore[arg-type]  # each is a coroutine
