"""Replay with a drainer and Engage at work: what may have happened is looked up, and files are made at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from processes import SANDBOX, count, environment, until

from voyado_async import Settings, VoyadoClient
from voyado_async.cli.demo_engage import Engage, engage_process
from voyado_async.cli.demo_shop import invite
from voyado_async.clock import SystemClock
from voyado_async.errors import TransitionRefused
from voyado_async.kinds import contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.records import EntryFilter, Settlement
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.outbox.states import State


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX) as running:
        yield running


def settings(engage: Engage, folder: Path, **changes: Any) -> Settings:
    """Without a file server: what is spooled stays, for a person."""
    env = environment(engage.info, folder, **changes)
    return Settings.from_env({name: value for name, value in env.items() if not name.startswith("VOYADO_SFTP")})


async def test_a_spooled_redemption_of_unknown_outcome_is_looked_up_and_not_made_twice(
    engage: Engage, tmp_path: Path
) -> None:
    (customer, *_) = await invite(engage, 1)
    async with VoyadoClient(settings(engage, tmp_path)) as voyado:
        await engage.suffer(
            {"kind": "status_after", "status": 500, "path": "*/redeem"}, {"kind": "status", "status": 503}
        )
        entry = await voyado.promotions.redeem(customer.assignments[0], channel="ECOM", contact_id=customer.contact_id)
        await until(voyado, lambda status: count(status, "spooled") == 1)
        (file,) = await voyado.outbox.files()
        local = tmp_path / "spool" / file.name
        assert local.exists()
        await engage.suffer()
        (plan,) = (await voyado.outbox.replay(entry.id, dry_run=True)).plans
        assert "looked up before" in plan.why

        told = await voyado.outbox.replay(entry.id, max_failures=1)
        assert (told.counts["send"], told.failed, told.stopped) == (1, 0, None)
        outcome = await entry.wait(timeout=10)
        assert outcome.delivered
        assert not local.exists()
        attempts = await voyado.outbox.attempts(entry.id)
        assert [line.what for line in attempts if line.outcome == "delivered"] == ["look_up"]
        redeemed = [one for one in await voyado.promotions.assignments(str(customer.contact_id)) if one.redeemed]
        assert len(redeemed) == 1
        assert all(finding.ok for finding in await voyado.outbox.verify())


async def test_by_file_the_files_are_made_at_once(engage: Engage, tmp_path: Path) -> None:
    (customer, *_) = await invite(engage, 1)
    slow = settings(engage, tmp_path, VOYADO_FALLBACK_INTERVAL="3600", VOYADO_CONTACT_KEY="email")
    async with VoyadoClient(slow) as voyado:
        await engage.suffer({"kind": "status", "status": 400, "code": "ValidationError"})
        entry = await voyado.contacts.update(customer.contact_id, {"city": "Lund"})
        outcome = await entry.wait(timeout=10)
        assert outcome.state is State.REJECTED
        told = await voyado.outbox.replay(which=EntryFilter(error=outcome.reason), via="file")
        assert told.counts["file"] == 1
        await until(voyado, lambda status: count(status, "spooled") == 1, within=20)
        assert await voyado.outbox.files()


async def test_a_rate_spreads_what_is_brought_back(engage: Engage, tmp_path: Path) -> None:
    (customer, *_) = await invite(engage, 1)
    async with VoyadoClient(settings(engage, tmp_path), drain=False) as voyado:
        async with voyado.batch():
            entries = [await voyado.contacts.update(customer.contact_id, {"city": f"{n}"}) for n in range(6)]
        await voyado.outbox.discard(*(entry.id for entry in entries), reason="a test")
        began = asyncio.get_running_loop().time()
        told = await voyado.outbox.replay(*(entry.id for entry in entries), again=True, rate=20)
        assert told.counts["send"] == 6
        assert asyncio.get_running_loop().time() - began >= 0.09
        with pytest.raises(TransitionRefused, match="nobody drains"):
            await voyado.outbox.replay(entries[0].id, again=True, max_failures=1)


async def test_a_killed_replay_is_started_again_without_harm(tmp_path: Path) -> None:
    """`kill -9` in the middle: each entry is where it was or wholly brought back, and the second run does the rest."""
    path = tmp_path / "outbox.db"
    outbox = await open_outbox(path, base_url="http://127.0.0.1:9", clock=SystemClock())
    people = [address(contact_id=f"0b1b3d1e-5d2c-4f6e-9f3b-6a1f0000{number:04d}") for number in range(300)]
    drafts = [contact_update.draft(person, {"city": f"{n}"}) for n in range(5) for person in people]
    ids = [stored.id for stored in await outbox.enqueue(drafts)]
    await asyncio.gather(
        *(outbox.settle(Settlement(entry, State.PENDING, State.REJECTED, reason="ValidationError")) for entry in ids)
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")}
    command = (sys.executable, "-m", "voyado_async", "--outbox", str(path), "replay")
    killed = await asyncio.create_subprocess_exec(*command, "--rate", "500", env=env)
    while (await outbox.counts()).states["pending"] < 200:
        await asyncio.sleep(0.01)
    killed.kill()
    await killed.wait()
    brought_back = (await outbox.counts()).states["pending"]
    assert 200 <= brought_back < len(ids)
    assert [finding for finding in await outbox.verify() if not finding.ok] == []

    again = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.DEVNULL)
    assert await again.wait() == 0
    assert (await outbox.counts()).states["pending"] == len(ids)
    second, first = await outbox.actions(2)
    assert (first.entries, first.ended, second.entries) == (brought_back, None, len(ids) - brought_back)
    assert [finding for finding in await outbox.verify() if not finding.ok] == []
    heads = await outbox.claim(len(ids), SystemClock().now(), frozenset())
    assert {message.id for message in heads} == set(ids[: len(people)]), "the oldest of each contact"
    await outbox.close()
