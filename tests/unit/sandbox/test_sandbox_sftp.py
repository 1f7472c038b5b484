"""The SFTP side, with asyncssh as a client: logins, the chroot, the books, and its bad days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from voyado_async.sandbox import Sandbox

FOLDER = "integration/customerImport"


@asynccontextmanager
async def connected(sandbox: Sandbox, **login: Any) -> AsyncIterator[asyncssh.SFTPClient]:
    options = {"username": sandbox.sftp_username, "password": sandbox.sftp_password, "client_keys": None, **login}
    async with (
        asyncssh.connect(
            sandbox.sftp_host,
            sandbox.sftp_port,
            known_hosts=asyncssh.import_known_hosts(sandbox.sftp_known_hosts),
            config=None,
            agent_path=None,
            connect_timeout=5,
            **options,
        ) as connection,
        connection.start_sftp_client() as client,
    ):
        yield client


async def _upload(sandbox: Sandbox, content: bytes) -> None:
    async with connected(sandbox) as client, client.open(f"{FOLDER}/.a.part", "wb") as file:
        await file.write(content)


async def test_a_file_goes_up_under_a_temporary_name_and_is_renamed(sandbox: Sandbox) -> None:
    async with connected(sandbox) as client:
        async with client.open(f"{FOLDER}/.a.part", "wb") as file:
            await file.write(b"x" * 100_000)
            await file.fsync()
        assert (await client.stat(f"{FOLDER}/.a.part")).size == 100_000
        await client.rename(f"{FOLDER}/.a.part", f"{FOLDER}/a.xml")
        async with client.open(f"{FOLDER}/b.part", "wb") as file:
            await file.write(b"y")
        with pytest.raises(asyncssh.SFTPError):
            await client.rename(f"{FOLDER}/b.part", f"{FOLDER}/a.xml")
        await client.remove(f"{FOLDER}/b.part")
        assert sorted(n for n in await client.listdir(FOLDER) if n not in (".", "..")) == ["a.xml"]
    assert (sandbox.sftp_root / FOLDER / "a.xml").stat().st_size == 100_000
    assert [e.action for e in sandbox.journal.sftp] == ["login", "open", "rename", "open", "remove"]
    assert sandbox.journal.sftp[2].target == f"{FOLDER}/a.xml"


async def test_the_three_folders_are_there_and_nothing_above_them_is(sandbox: Sandbox) -> None:
    async with connected(sandbox) as client:
        names = {n for n in await client.listdir("/integration") if n not in (".", "..")}
        assert names == {"customerImport", "promotionImport", "transactionImport"}
        assert not await client.exists("/etc/passwd")
        assert not await client.exists("../../etc/passwd")


async def test_a_key_can_log_in_and_a_wrong_password_or_key_cannot(sandbox: Sandbox) -> None:
    async with connected(sandbox, password=None, client_keys=[str(sandbox.sftp_key_file)]) as client:
        assert await client.exists(FOLDER)
    assert sandbox.sftp_key_file.stat().st_mode & 0o777 == 0o600
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    for wrong in ({"password": "wrong"}, {"password": None, "client_keys": [stranger]}, {"username": "other"}):
        with pytest.raises(asyncssh.PermissionDenied):
            async with connected(sandbox, **wrong):
                pass


async def test_the_fingerprint_is_that_of_the_key_in_the_known_hosts_line(sandbox: Sandbox) -> None:
    line = sandbox.sftp_known_hosts
    assert line.startswith(f"[127.0.0.1]:{sandbox.sftp_port} ssh-ed25519 ")
    assert asyncssh.import_public_key(line.partition(" ")[2]).get_fingerprint() == sandbox.sftp_host_key
    assert sandbox.sftp_host_key.startswith("SHA256:")


async def test_sftp_down_cuts_sessions_refuses_and_comes_back_on_the_same_port(sandbox: Sandbox) -> None:
    async with connected(sandbox) as client:
        sandbox.faults.add("sftp_down")
        with pytest.raises((asyncssh.Error, OSError)):
            await client.listdir(FOLDER)
    with pytest.raises(ConnectionRefusedError):
        async with connected(sandbox):
            pass
    sandbox.faults.clear()
    async with connected(sandbox) as client:
        assert await client.exists(FOLDER)


async def test_another_host_key_is_shown_while_the_fault_stands(sandbox: Sandbox) -> None:
    sandbox.faults.add("sftp_other_key")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        async with connected(sandbox):
            pass
    sandbox.faults.clear()
    async with connected(sandbox) as client:
        assert await client.exists(FOLDER)


async def test_sftp_cut_leaves_the_first_bytes_and_ends_the_connection(sandbox: Sandbox) -> None:
    sandbox.faults.add("sftp_cut", after_bytes=50_000, count=1)
    with pytest.raises((asyncssh.Error, OSError)):
        await _upload(sandbox, b"x" * 200_000)
    assert (sandbox.sftp_root / FOLDER / ".a.part").stat().st_size == 50_000
    await _upload(sandbox, b"x" * 200_000)
    assert (sandbox.sftp_root / FOLDER / ".a.part").stat().st_size == 200_000


async def test_sftp_full_fails_every_write(sandbox: Sandbox) -> None:
    sandbox.faults.add("sftp_full")
    with pytest.raises(asyncssh.SFTPError):
        await _upload(sandbox, b"x")


async def test_openssh_can_use_it_too(sandbox: Sandbox, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    hosts.write_text(sandbox.sftp_known_hosts + "\n")
    (tmp_path / "up").write_bytes(b"hello")
    options = ("-F", "none", "-o", f"UserKnownHostsFile={hosts}", "-o", "StrictHostKeyChecking=yes")
    login = ("-o", "IdentitiesOnly=yes", "-i", str(sandbox.sftp_key_file), "-P", str(sandbox.sftp_port))
    process = await asyncio.create_subprocess_exec(
        "sftp", "-q", *options, *login, "-b", "-", f"{sandbox.sftp_username}@{sandbox.sftp_host}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    batch = f"put {tmp_path}/up {FOLDER}/.up.part\nrename {FOLDER}/.up.part {FOLDER}/up.xml\n"
    output, _ = await process.communicate(batch.encode())
    assert process.returncode == 0, output
    assert (sandbox.sftp_root / FOLDER / "up.xml").read_bytes() == b"hello"
