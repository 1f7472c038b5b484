"""A whole afternoon without the API: 5 000 mixed entries leave by file, and in the end nobody can tell.

Engage, the sidecar and the shop are processes of their own (the shop is this one). The books of both sides are compared
entry by entry: what stands at Engage is what would stand there without an outage.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from voyado_async.cli.demo_books import compare
from voyado_async.cli.demo_engage import engage_process
from voyado_async.cli.demo_shop import CUSTOM_ATTRIBUTES, Shop, invite
from voyado_async.client import VoyadoClient
from voyado_async.delivery import Kind
from voyado_async.resources.status import Status
from voyado_async.settings import Settings

ENTRIES = 5_000
CUSTOMERS = 300
SANDBOX = (
    *("--import-period", "1", "--receipt-period", "0.2", "--hard-rate", "0", "--contact-key", "email"),
    *("--custom-attributes", ",".join(CUSTOM_ATTRIBUTES)),
)
UNFINISHED = ("pending", "sending", "exhausted", "spooled", "uploaded", "imported", "rejected")


@asynccontextmanager
async def sidecar(environ: dict[str, str]) -> AsyncIterator[None]:
    """``voyado-async drain`` until the block ends; it has to end well."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voyado_async", "drain", env=clean | environ, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(voyado: VoyadoClient, holds: Callable[[Status], bool], within: float) -> Status:
    async with asyncio.timeout(within):
        while not holds(status := await voyado.outbox.status()):
            await asyncio.sleep(0.2)  # the states are read from outside: another process changes them
    return status


def count(status: Status, *states: str) -> int:
    return sum(status.states.get(state, 0) for state in states)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("contacts", ["sftp", "bulk"])
async def test_after_an_afternoon_without_the_api_engage_stands_as_if_there_had_been_none(
    tmp_path: Path, contacts: str
) -> None:
    async with engage_process(tmp_path, *SANDBOX) as engage:
        environ: dict[str, Any] = {
            "VOYADO_BASE_URL": engage.info.base_url,
            "VOYADO_API_KEY": engage.info.api_key,
            "VOYADO_OUTBOX": str(tmp_path / "outbox.db"),
            "VOYADO_CONTACT_KEY": "email",
            "VOYADO_FALLBACK_CONTACTS": contacts,
            "VOYADO_RATE": "2000",
            "VOYADO_CONCURRENCY": "20",
            "VOYADO_RETRY_DELAYS": "0.3,1",
            "VOYADO_RETRY_ATTEMPTS": "3",
            "VOYADO_FALLBACK_INTERVAL": "1",
            "VOYADO_IMPORT_PERIOD": "2",
            "VOYADO_SFTP_HOST": engage.info.sftp_host,
            "VOYADO_SFTP_PORT": str(engage.info.sftp_port),
            "VOYADO_SFTP_USERNAME": engage.info.sftp_username,
            "VOYADO_SFTP_PASSWORD": engage.info.sftp_password,
            "VOYADO_SFTP_HOST_KEY": engage.info.sftp_host_key,
            "VOYADO_SFTP_REDEMPTIONS_DIR": "integration/promotionImport",
        }
        customers = await invite(engage, CUSTOMERS)
        async with VoyadoClient(Settings.from_env(environ), drain=False) as voyado, sidecar(environ):
            shop = Shop(voyado, customers, Random(7))
            await shop.welcome()
            await until(voyado, lambda status: not count(status, *UNFINISHED), 60)

            await engage.suffer({"kind": "refuse"})
            before = len(shop.books)
            while len(shop.books) - before < ENTRIES:
                await shop.serve(60)
            written = Counter(entry.kind for entry in shop.books[before:])
            assert written[Kind.CONTACT_CREATE] >= 20
            assert written[Kind.REDEEM] >= 200
            # All that can has left; what has no form in a file, and what waits for a creation, waits for the API.
            enough = ENTRIES / 2 if contacts == "sftp" else ENTRIES / 4
            under_way = ("pending", "sending", "spooled", "uploaded")
            await until(
                voyado, lambda status: not count(status, *under_way) and count(status, "imported") > enough, 120
            )

            await engage.suffer()
            await shop.serve(60)
            status = await until(voyado, lambda status: not count(status, *UNFINISHED), 150)
            assert status.accounting.balanced
            assert shop.slowest < 5
        books = await engage.books()
        assert any(effect.kind == "bulk" for effect in books.effects) is (contacts == "bulk")
        comparison = compare(shop.books, books)
        assert comparison.findings == ()
        assert comparison.rows[Kind.RECEIPT].file > 1000
