"""The story of an outage with the outbox sealed: no value of a customer lies readable beside it at any moment."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from processes import (
    SANDBOX,
    Sidecar,
    all_delivered,
    count,
    environment,
    lasting,
    looking_on,
    nothing_more_leaves,
    process,
    until,
    writing,
)

from voyado_async.cli.demo_books import compare
from voyado_async.cli.demo_engage import Engage, engage_process
from voyado_async.cli.demo_shop import invite

KEY = "5e" * 32


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX) as running:
        yield running


def readable(folder: Path, planted: Sequence[str]) -> set[str]:
    """What of the planted is in the database, its log, its shared memory, or on the shelf."""
    files = [path for path in folder.rglob("outbox.db*") if path.is_file()]
    files += [path for path in (folder / "outbox.db-known").glob("*") if path.is_file()]
    assert len(files) > 3
    found: set[str] = set()
    for file in files:
        try:
            content = file.read_bytes().lower()
        except FileNotFoundError:
            continue  # swept or replaced meanwhile
        found |= {each for each in planted if each.lower().encode() in content}
    return found


async def run(*arguments: str, env: dict[str, str]) -> tuple[int | None, str]:
    async with process("-m", "voyado_async", *arguments, env=env, stdout=-1) as started:
        out, errors = await started.communicate()
        return started.returncode, (out + errors).decode()


async def test_nothing_of_a_customer_is_readable_while_an_outage_is_lived_through(
    engage: Engage, tmp_path: Path
) -> None:
    env = environment(engage.info, tmp_path, VOYADO_SEAL_KEY=KEY)
    customers = await invite(engage, 12)
    planted = [each.email for each in customers] + [each.mobile_phone for each in customers]
    planted += ["@example.com", '"city"', "uniqueReceiptId", '"email"']
    async with Sidecar(env) as sidecar, writing(env, customers) as shop, looking_on(env) as voyado:
        await shop.tell("welcome")
        await until(voyado, all_delivered)
        assert readable(tmp_path, planted) == set()

        await engage.suffer({"kind": "hang_after"})
        await shop.tell(6)
        await until(voyado, lambda status: count(status, "sending") >= 4)
        assert readable(tmp_path, planted) == set()
        await sidecar.kill()
        await engage.suffer({"kind": "refuse"})
        await shop.tell(6)
        await sidecar.start()
        by_file = await lasting(voyado, nothing_more_leaves, 1)
        assert count(by_file, "imported") >= 6
        assert readable(tmp_path, planted) == set()

        # Without the key nothing opens, and nothing moves.
        for wrong, command in (("", "drain"), ("5f" * 32, "replay")):
            code, told = await run(command, env=env | {"VOYADO_SEAL_KEY": wrong})
            assert (code, "is sealed" in told) == (2, True), told

        code, told = await run("show", "1", "--payload", "--json", env=env)
        assert (code, json.loads(told)["payload"] != {}) == (0, True)
        await engage.suffer()
        await until(voyado, all_delivered)
        comparison = compare(shop.books, await engage.books())
        assert comparison.findings == ()
        assert (await run("verify", env=env))[0] == 0
        code, errors = await sidecar.stop()
        assert code == 0, errors
    assert readable_after_close(tmp_path, planted) == set()


def readable_after_close(folder: Path, planted: Sequence[str]) -> set[str]:
    """The same of a copy that everything of the log has gone into."""
    database = sqlite3.connect(folder / "outbox.db")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = (folder / "outbox.db").read_bytes().lower()
    return {each for each in planted if each.lower().encode() in content}
