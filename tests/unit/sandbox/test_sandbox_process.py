"""The sandbox as a process, its remote control, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from voyado_async.sandbox import Sandbox, SandboxSettings


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "voyado_async.sandbox", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_process_tells_its_addresses_and_ends_cleanly_on_sigterm() -> None:
    async with running("--api-key", "secret", "--contact-key", "externalId") as (process, info):
        assert info["api_key"] == "secret"
        headers = {"apikey": "secret", "User-Agent": "Test/1.0", "Content-Type": "application/json"}
        async with aiohttp.ClientSession() as session:
            seed = {"contacts": [{"externalId": "K1"}]}
            async with session.post(f"{info['control_url']}/seed", json=seed) as answer:
                (contact_id,) = (await answer.json())["contacts"]
            url = f"{info['base_url']}/api/v3/contacts/{contact_id}"
            async with session.patch(url, json={"city": "Lund"}, headers=headers) as answer:
                assert answer.status == 200
            async with session.get(f"{info['control_url']}/journal") as answer:
                journal = await answer.json()
        assert [c["values"] for c in journal["commits"]] == [{"city": "Lund"}]
        assert abs(journal["commits"][0]["monotonic"] - time.monotonic()) < 30
        folder = Path(info["sftp_key_file"]).parent
        assert folder.exists()
        process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(process.communicate(), 10)
        assert (process.returncode, output, errors) == (0, b"", b"")
        assert not folder.exists()


async def test_the_process_ends_even_while_a_request_hangs() -> None:
    async with running() as (process, info), aiohttp.ClientSession() as session:
        async with session.post(f"{info['control_url']}/faults", json={"add": [{"kind": "hang"}]}) as answer:
            assert answer.status == 200
        waiting = asyncio.create_task(session.get(f"{info['base_url']}/api/v3/contacts/id"))
        journal: dict[str, Any] = {"arrivals": []}
        while not journal["arrivals"]:
            async with session.get(f"{info['control_url']}/journal") as answer:
                journal = await answer.json()
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 10)
        assert (process.returncode, errors) == (0, b"")
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_a_wrong_argument_is_a_usage_error() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voyado_async.sandbox", "--contact-key", "shoeSize", stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"contact_key" in errors


async def test_the_remote_control_seeds_faults_imports_shows_and_resets(engage: Any, sandbox: Sandbox) -> None:
    async def post(path: str, body: Any = None) -> tuple[int, Any]:
        async with engage.session.post(f"{sandbox.control_url}{path}", json=body or {}) as answer:
            return answer.status, await answer.json()

    async def get(path: str) -> Any:
        async with engage.session.get(f"{sandbox.control_url}{path}") as answer:
            assert answer.status == 200
            return await answer.json()

    contact = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
    assignment = {"contact_id": contact, "channels": ["POS"], "redeemed_on": "2025-03-14T09:12:40+01:00"}
    status, ids = await post(
        "/seed",
        {"contacts": [{"id": contact, "externalId": "K1"}], "assignments": [assignment], "being_created": ["X"]},
    )
    assert (status, ids["contacts"]) == (200, [contact])
    state = await get("/state")
    assert state["assignments"][0]["redeemed_on"] == "2025-03-14T09:12:40+01:00"
    assert sandbox.state.being_created == {"X"}

    status, faults = await post("/faults", {"replace": [{"kind": "refuse"}, {"kind": "import_skip", "count": 1}]})
    assert (status, len(faults["ids"])) == (200, 2)
    with pytest.raises(aiohttp.ClientConnectorError):
        await engage.get("/api/v3/contacts/id")
    assert (await post("/faults", {"remove": faults["ids"][:1]}))[1]["active"][0]["kind"] == "import_skip"
    assert (await engage.get(f"/api/v3/contacts/{contact}"))[0] == 200

    path = sandbox.sftp_root / "integration/customerImport/20250314093000_1_contacts.xml"
    path.write_text("<broken")
    assert [row["outcome"] for row in (await post("/import"))[1]] == ["lost"]
    assert [row["level"] for row in await get("/log")] == ["error"]
    journal = await get("/journal")
    assert [row["path"] for row in journal["arrivals"]] == [f"/api/v3/contacts/{contact}"]
    assert (await get(f"/journal?since={journal['seq']}"))["arrivals"] == []

    for path_, wrong in (
        ("/faults", {"add": [{"kind": "earthquake"}]}),
        ("/seed", {"contacts": [{"shoe": 1}]}),
        ("/seed", {"people": []}),
    ):
        assert (await post(path_, wrong))[0] == 400
    path.write_text("<broken")
    await post("/reset")
    assert await get("/faults") == []
    assert (await get("/state"))["files_waiting"] == []
    assert sandbox.state.contacts == {}
    assert await get("/info") == json.loads(json.dumps(sandbox.info()))


async def test_a_given_folder_is_kept_and_a_temporary_one_is_not(tmp_path: Path) -> None:
    async with Sandbox(SandboxSettings(folder=tmp_path / "files")) as sandbox:
        private = sandbox.sftp_key_file.parent
    assert (tmp_path / "files/integration/customerImport").is_dir()
    assert not private.exists()


async def test_files_and_receipts_are_taken_by_the_clock_as_well() -> None:
    settings = SandboxSettings(import_period=0.05, receipt_period=0.05, contact_key="externalId")
    async with Sandbox(settings) as sandbox:
        path = sandbox.sftp_root / "integration/customerImport/20250314093000_1_contacts.xml"
        path.write_text(
            '<?xml version="1.0" encoding="utf-8"?><contacts xmlns="http://eClub.Schemas.ImportContact">'
            "<new><member><externalId>K1</externalId></member></new></contacts>"
        )
        async with asyncio.timeout(5):
            while path.exists():
                await asyncio.sleep(0.01)
        assert len(sandbox.state.contacts) == 1


async def test_a_sandbox_whose_port_is_taken_starts_nothing(tmp_path: Path) -> None:
    async with Sandbox(SandboxSettings(folder=tmp_path)) as first:
        ports = [int(url.rpartition(":")[2]) for url in (first.control_url, first.base_url)]
        for settings in (
            SandboxSettings(control_port=ports[0]),
            SandboxSettings(port=ports[1]),
            SandboxSettings(sftp_port=first.sftp_port),
        ):
            with pytest.raises(OSError):
                async with Sandbox(settings):
                    pass
        assert len(first.journal.arrivals) == 0


async def test_no_secret_stands_in_the_repr_of_the_settings() -> None:
    settings = SandboxSettings(api_key="hidden-key", sftp_password="hidden-password")
    assert "hidden" not in repr(settings)
