"""The sidecar as a process: who asks it over HTTP, what systemd hears, how it logs, and how it stops."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from actors import receipt
from killing import Killable
from processes import SANDBOX, all_delivered, count, environment, looking_on, until

from voyado_async import VoyadoClient
from voyado_async.cli.demo_engage import Engage, engage_process

LISTENING = ("-m", "voyado_async", "drain", "--listen", "0", "--log-format", "json")
PLANTED = ("anna.planted@example.com", "+46700999888", "Plantedsson", "8509991234")
PERSON = {
    "contactType": "Member", "email": PLANTED[0], "mobilePhone": PLANTED[1], "lastName": PLANTED[2],
    "socialSecurityNumber": PLANTED[3],
}  # fmt: skip


@pytest.fixture
async def engage(tmp_path: Path) -> AsyncIterator[Engage]:
    async with engage_process(tmp_path, *SANDBOX) as running:
        yield running


class Sidecar(Killable):
    """One that listens."""

    async def port(self) -> int:
        """As soon as it says where."""
        async with asyncio.timeout(20):
            while not (found := re.findall(r"listening on port (\d+)", self.said)):
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.02)
        return int(found[-1])

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{await self.port()}{path}") as one,
        ):
            return one.status, await one.text()

    async def answers(self, path: str, status: int, text: str) -> None:
        """As soon as it does."""
        async with asyncio.timeout(20):
            while (found := await self.get(path)) != (status, f"{text}\n"):
                assert self.process.returncode is None, self.said
                await asyncio.sleep(0.05)
        assert found

    def logged(self) -> list[dict[str, Any]]:
        """What it logged; the counts at its end are no log."""
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def sidecar(stack: AsyncExitStack, env: dict[str, str], folder: Path, name: str = "sidecar") -> Sidecar:
    made = Sidecar(env, folder / f"{name}.log", *LISTENING)
    await stack.enter_async_context(made)
    await made.start()
    return made


async def sell(voyado: VoyadoClient, count: int = 1) -> None:
    for number in range(count):
        await voyado.receipts.send(receipt("planted", number, f"{number}-{PLANTED[0]}"))


async def test_it_is_ready_counts_what_it_delivers_and_stops_when_it_is_told_to(
    engage: Engage, stack: AsyncExitStack, tmp_path: Path
) -> None:
    env = environment(engage.info, tmp_path)
    ours = await sidecar(stack, env, tmp_path)
    await ours.answers("/readyz", 200, "draining")
    async with looking_on(env) as voyado:
        await sell(voyado, 3)
        await until(voyado, all_delivered)
    assert await ours.get("/healthz") == (200, "alive\n")
    _, metrics = await ours.get("/metrics")
    assert 'voyado_delivery_seconds_count{kind="receipt"} 3.0' in metrics
    assert re.search(r'voyado_attempts_total\{outcome="delivered",status="\d+",what="request"\} 3.0', metrics)
    assert "voyado_rate 40.0" in metrics
    ours.signal(signal.SIGTERM)
    assert await asyncio.wait_for(ours.process.wait(), 10) == 0
    events = [line["event"] for line in ours.logged() if "event" in line]
    assert (events[0], events[-1]) == ("drainer_started", "drainer_stopped")


async def test_who_stands_by_is_ready_and_takes_over(engage: Engage, stack: AsyncExitStack, tmp_path: Path) -> None:
    env = environment(engage.info, tmp_path)
    first = await sidecar(stack, env, tmp_path, "first")
    await first.answers("/readyz", 200, "draining")
    second = await sidecar(stack, env, tmp_path, "second")
    await second.answers("/readyz", 200, "standing by")
    assert await second.get("/healthz") == (200, "alive\n")
    assert "voyado_drainer_running 1.0" in (await second.get("/metrics"))[1]
    await first.kill()
    await second.answers("/readyz", 200, "draining")


async def test_a_wrong_key_is_told_by_readiness_and_ends_without_a_restart(
    engage: Engage, stack: AsyncExitStack, tmp_path: Path
) -> None:
    env = environment(engage.info, tmp_path, VOYADO_RETRY_DELAYS="0.2")
    ours = await sidecar(stack, env, tmp_path)
    await ours.answers("/readyz", 200, "draining")
    await engage.suffer({"kind": "bad_key"})
    async with looking_on(env) as voyado:
        await sell(voyado)
        await ours.answers("/readyz", 503, "the API key is refused (401)")
        assert (await ours.get("/healthz"))[0] == 200
        await engage.suffer()
        await until(voyado, all_delivered)
        await ours.answers("/readyz", 200, "draining")


async def test_it_stops_within_its_time_while_engage_hangs(
    engage: Engage, stack: AsyncExitStack, tmp_path: Path
) -> None:
    """What was sent is unknown then; five seconds of grace, whatever the time-out of a request is."""
    env = environment(engage.info, tmp_path, VOYADO_TIMEOUT="60")
    ours = await sidecar(stack, env, tmp_path)
    await ours.answers("/readyz", 200, "draining")
    await engage.suffer({"kind": "hang"})
    async with looking_on(env) as voyado:
        await sell(voyado, 3)
        await until(voyado, lambda status: count(status, "sending") > 0)
        began = time.monotonic()
        ours.signal(signal.SIGTERM)
        assert await asyncio.wait_for(ours.process.wait(), 20) == 0, ours.said
        assert time.monotonic() - began < 15
        status = await voyado.outbox.status()
        assert count(status, "pending") == 3
        assert count(status, "sending") == 0


async def test_systemd_hears_that_it_is_ready_alive_and_stopping(
    engage: Engage, stack: AsyncExitStack, tmp_path: Path
) -> None:
    unit = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with unit:
        unit.bind(str(tmp_path / "notify"))
        unit.settimeout(20)
        env = environment(engage.info, tmp_path) | {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "300000",
        }
        ours = await sidecar(stack, env, tmp_path)
        assert await asyncio.to_thread(unit.recv, 4096) == b"READY=1"
        alive = b""
        while alive != b"WATCHDOG=1\nSTATUS=draining":
            alive = await asyncio.to_thread(unit.recv, 4096)
            assert alive.startswith(b"WATCHDOG=1\n")
        ours.signal(signal.SIGTERM)
        said = b""
        while said != b"STOPPING=1\nSTATUS=stopping":
            said = await asyncio.to_thread(unit.recv, 4096)
        assert await asyncio.wait_for(ours.process.wait(), 10) == 0


async def test_an_address_that_is_taken_is_wrong_usage_and_nothing_is_sent(
    engage: Engage, stack: AsyncExitStack, tmp_path: Path
) -> None:
    env = environment(engage.info, tmp_path)
    ours = await sidecar(stack, env, tmp_path)
    port = await ours.port()
    late = Killable(env, tmp_path / "late.log", "-m", "voyado_async", "drain", "--listen", f"127.0.0.1:{port}")
    await stack.enter_async_context(late)
    await late.start()
    assert await asyncio.wait_for(late.process.wait(), 20) == 2
    assert f"--listen: 127.0.0.1:{port} cannot be listened on" in late.said
    assert "Traceback" not in late.said


async def test_nothing_of_a_person_is_in_logs_metrics_listings_and_errors(
    engage: Engage, stack: AsyncExitStack, tmp_path: Path
) -> None:
    """Through a rejection, retries, an outage, a file, and a wrong call; `show --payload` alone prints it."""
    env = environment(engage.info, tmp_path)
    ours = await sidecar(stack, env, tmp_path)
    async with looking_on(env) as voyado:
        await engage.suffer({"kind": "status", "status": 503})
        await voyado.contacts.create(PERSON)
        await sell(voyado, 3)
        await until(voyado, lambda status: count(status, "exhausted", "spooled", "uploaded", "imported") >= 3)
        await engage.suffer(
            {"kind": "status", "status": 400, "code": "ValidationFailed", "path": "*/contacts*", "method": "POST"}
        )
        await voyado.contacts.create(PERSON | {"email": f"2-{PLANTED[0]}"})
        await until(voyado, lambda status: count(status, "rejected") > 0)
    seen = [(await ours.get(path))[1] for path in ("/", "/metrics", "/healthz", "/readyz")]
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(PERSON | {"mobilePhone": [PLANTED[1]]}), encoding="utf-8")
    calls = [
        ["status"], ["status", "--json"], ["list"], ["list", "--json"], ["show", "1"], ["show", "1", "--json"],
        ["files"], ["files", "--json"], ["verify"], ["check"],
        ["enqueue", "new-contact", str(wrong)], ["enqueue", "new-contact", str(wrong), "--json"],
    ]  # fmt: skip
    for number, call in enumerate(calls):
        made = Killable(env, tmp_path / f"call{number}.log", "-m", "voyado_async", *call)
        await stack.enter_async_context(made)
        await made.start()
        await asyncio.wait_for(made.process.wait(), 30)
        assert "Traceback" not in made.said
        seen.append(made.said)
    ours.signal(signal.SIGTERM)
    await asyncio.wait_for(ours.process.wait(), 20)
    seen.append(ours.said)
    assert [(secret, text) for text in seen for secret in PLANTED if secret in text] == []
    payload = Killable(env, tmp_path / "payload.log", "-m", "voyado_async", "show", "1", "--payload")
    await stack.enter_async_context(payload)
    await payload.start()
    await payload.process.wait()
    assert PLANTED[0] in payload.said
