"""An outage with every part in a process of its own: a shop that writes, a sidecar that drains, Engage, a file server.

The file server is the sandbox's own once and OpenSSH's sshd once; the sandbox's importer takes the files of either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from file_servers import SSHD, openssh_server
from processes import (
    SANDBOX,
    Sidecar,
    all_delivered,
    count,
    environment,
    lasting,
    looking_on,
    nothing_more_leaves,
    until,
    writing,
)

from voyado_async import VoyadoClient
from voyado_async.cli.demo_books import Written, compare
from voyado_async.cli.demo_engage import Engage, engage_process
from voyado_async.cli.demo_shop import invite
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX) as running:
        yield running


async def the_books_agree(engage: Engage, voyado: VoyadoClient, books: list[Written]) -> None:
    comparison = compare(books, await engage.books())
    assert comparison.findings == ()
    status = await voyado.outbox.status()
    assert status.accounting.balanced
    assert status.accounting.enqueued == len(books)
    assert status.needs_person == ()


async def test_an_outage_with_a_killed_sidecar_ends_with_equal_books(engage: Engage, tmp_path: Path) -> None:
    env = environment(engage.info, tmp_path)
    customers = await invite(engage, 18)
    async with Sidecar(env) as sidecar, writing(env, customers) as shop, looking_on(env) as voyado:
        await shop.tell("welcome")
        await until(voyado, all_delivered)

        # Requests take effect and are never answered; the sidecar dies over them.
        await engage.suffer({"kind": "hang_after"})
        await shop.tell(8)
        await until(voyado, lambda status: count(status, "sending") >= 4)
        await sidecar.kill()
        await engage.suffer({"kind": "refuse"})
        await shop.tell(10)
        await sidecar.start()

        # And once more in the middle of the second road, whatever it is at.
        await until(voyado, lambda status: count(status, "spooled", "uploaded") > 0)
        await sidecar.kill()
        await shop.tell(6)
        await sidecar.start()
        by_file = await lasting(voyado, nothing_more_leaves, 2)
        assert count(by_file, "imported") >= 15

        await engage.suffer()
        await until(voyado, all_delivered)
        await the_books_agree(engage, voyado, shop.books)
        code, errors = await sidecar.stop()
        assert code == 0, errors


async def test_files_that_engage_skips_in_silence_lose_nothing(engage: Engage, tmp_path: Path) -> None:
    """Vanished is not success (ref 6.4): of every kind something left, nothing arrived by file, all did in the end."""
    env = environment(engage.info, tmp_path)
    customers = await invite(engage, 12)
    async with Sidecar(env), writing(env, customers) as shop, looking_on(env) as voyado:
        await shop.tell("welcome")
        await until(voyado, all_delivered)
        await engage.suffer({"kind": "refuse"}, {"kind": "import_skip"})
        await shop.tell(12)
        by_file = await lasting(voyado, nothing_more_leaves, 2)
        assert count(by_file, "imported") >= 15
        lost = await voyado.outbox.entries(EntryFilter(states=(State.IMPORTED,)))
        assert {entry.kind for entry in lost} >= {"redeem", "receipt", "contact_update", "contact_create"}
        assert not [effect for effect in (await engage.books()).effects if effect.road == "file"]
        await engage.suffer()
        await until(voyado, all_delivered)
        await the_books_agree(engage, voyado, shop.books)


@pytest.mark.sshd
async def test_entries_leave_by_openssh_and_are_imported_and_confirmed(tmp_path: Path) -> None:
    if not SSHD.exists():
        pytest.skip(f"{SSHD} is not installed: the outage with OpenSSH's sshd is not run")
    async with (
        openssh_server(tmp_path) as server,
        engage_process(tmp_path, *SANDBOX, "--folder", str(server.root)) as engage,
    ):
        folders = server.root / "integration"
        env = environment(
            engage.info,
            tmp_path,
            VOYADO_SFTP_PORT=str(server.port),
            VOYADO_SFTP_USERNAME=server.settings().sftp_username or "",
            VOYADO_SFTP_PASSWORD="",
            VOYADO_SFTP_KEY_FILE=str(server.home / "client"),
            VOYADO_SFTP_HOST_KEY=server.fingerprint,
            VOYADO_SFTP_CONTACTS_DIR=str(folders / "customerImport"),
            VOYADO_SFTP_TRANSACTIONS_DIR=str(folders / "transactionImport"),
            VOYADO_SFTP_REDEMPTIONS_DIR=str(folders / "promotionImport"),
        )
        customers = await invite(engage, 12)
        async with Sidecar(env) as sidecar, writing(env, customers) as shop, looking_on(env) as voyado:
            await shop.tell("welcome")
            await until(voyado, all_delivered)
            await engage.suffer({"kind": "refuse"})
            await shop.tell(12)
            by_file = await lasting(voyado, nothing_more_leaves, 2)
            assert count(by_file, "imported") >= 15
            await engage.suffer()
            await until(voyado, all_delivered)
            await the_books_agree(engage, voyado, shop.books)
            code, errors = await sidecar.stop()
            assert code == 0, errors


async def test_a_sidecar_that_is_told_to_stop_hands_back_what_it_has(engage: Engage, tmp_path: Path) -> None:
    env = environment(engage.info, tmp_path, VOYADO_TIMEOUT="30")
    customers = await invite(engage, 18)
    async with Sidecar(env) as sidecar, writing(env, customers) as shop, looking_on(env) as voyado:
        await engage.suffer({"kind": "slow", "seconds": 1})
        await shop.tell("welcome")
        await until(voyado, lambda status: count(status, "sending") >= 2)
        code, errors = await sidecar.stop()
        assert code == 0, errors
        handed_back = await voyado.outbox.status()
        assert count(handed_back, "sending") == 0
        assert count(handed_back, "pending") > 0
        assert count(handed_back, "pending", "delivered") == len(shop.books)
        assert not handed_back.drainer.running

        await engage.suffer()
        await asyncio.gather(sidecar.start(), until(voyado, all_delivered))
        await the_books_agree(engage, voyado, shop.books)
