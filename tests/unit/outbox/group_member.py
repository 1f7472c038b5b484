"""A user of the group: ``python group_member.py UID GID FOLDER PART``. Started as root, it is that user from then on.

write   writes a receipt, says ``written``; for each line on standard input it writes another and pokes the drainer
drain   drains, says ``spooled`` when a file of its own is in the spool, and goes on until it is killed

Everything was done once before, as root and elsewhere: so all is imported, and the interpreter's own files need not be
open to that user.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from voyado_async import Settings, VoyadoClient
from voyado_async.outbox.records import Mark
from voyado_async.outbox.shelf import Answer, Shelf
from voyado_async.outbox.wake import socket_path

BASE_URL = "http://127.0.0.1:9"
"""Nobody answers there."""

RECEIPT = json.loads((Path(__file__).parents[3] / "samples/payloads/receipt_purchase.json").read_text())


def receipt(number: int) -> dict[str, Any]:
    return {**RECEIPT, "uniqueReceiptId": f"{os.getpid()}-{number}"}


def say(word: str) -> None:
    print(word, flush=True)


async def write(voyado: VoyadoClient, database: str) -> None:
    await voyado.receipts.send(receipt(0))
    await Shelf(database, BASE_URL).put("contact:a", "offers", Answer(b"[]", 0, Mark(0, 0)))
    say("written")
    number = 0
    while await asyncio.to_thread(sys.stdin.readline):
        number += 1
        await voyado.receipts.send(receipt(number))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as poking:
            poking.sendto(b"\0", socket_path(database))
        say("poked")


async def spooled(voyado: VoyadoClient, before: Collection[str] = ()) -> None:
    """Until another file is complete, in the outbox as well: one that is not goes away with whoever drains next."""
    while not [file for file in await voyado.outbox.files() if file.problem is None and file.name not in before]:
        await asyncio.sleep(0.02)  # the courier has no event for it that a test can await from outside


def settings_in(folder: str, group: int | None) -> Settings:
    return Settings(
        base_url=BASE_URL, api_key="key", outbox=f"{folder}/outbox.db", group=None if group is None else str(group),
        timeout=1, retry_delays=(0.05,), retry_attempts=1, fallback_interval=0.05,
    )  # fmt: skip


async def rehearse() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with VoyadoClient(settings_in(folder, None), listeners=[]) as voyado:
            await voyado.receipts.send(receipt(0))
            await spooled(voyado)


async def main(group: int, folder: str, part: str) -> None:
    settings = settings_in(folder, group)
    spool = Path(folder, "spool")
    before = os.listdir(spool) if spool.is_dir() else []
    async with VoyadoClient(settings, drain=part == "drain", listeners=[]) as voyado:
        if part == "write":
            await write(voyado, settings.outbox)
        else:
            await spooled(voyado, before)
            say("spooled")
            await asyncio.Event().wait()


if __name__ == "__main__":
    uid, gid, folder, part = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    asyncio.run(rehearse())
    os.setgroups([gid])
    os.setgid(uid)
    os.setuid(uid)
    os.umask(0o077)
    asyncio.run(main(gid, folder, part))
