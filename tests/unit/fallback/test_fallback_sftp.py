"""Real SFTP on loopback: asyncssh's server and OpenSSH's sshd."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import asyncssh
import pytest
from file_servers import FileServer, own_server

from voyado_async.errors import UploadFailed
from voyado_async.fallback import sftp
from voyado_async.settings import Settings

NAME = "20250314093000_1_contacts.xml"


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A local file of several blocks."""
    path = tmp_path / NAME
    path.write_bytes(bytes(range(256)) * 10_000)
    return path


async def failure_of(settings: Settings, **options: Any) -> UploadFailed:
    with pytest.raises(UploadFailed) as failed:
        async with sftp.connect(settings, **options):
            pytest.fail("the session must not stand")
    return failed.value


async def test_a_file_arrives_whole_under_its_name_and_only_there(server: FileServer, local: Path) -> None:
    settings = server.settings()
    folder = settings.sftp_contacts_dir
    async with sftp.connect(settings) as remote:
        await remote.stage(local, folder, NAME)
        (staged,) = set(await remote.listing(folder)) - {".", ".."}
        assert staged.startswith(f".{NAME}.")
        assert staged.endswith(".part")
        assert await remote.size(folder, NAME) is None
        await remote.publish(folder, NAME, local.stat().st_size)
        assert await remote.size(folder, NAME) == local.stat().st_size
    files = list((server.root / "contacts").iterdir())
    assert [path.name for path in files] == [NAME]
    assert files[0].read_bytes() == local.read_bytes()


async def test_a_part_of_an_earlier_session_is_removed_by_its_name_and_may_be_gone(
    server: FileServer, local: Path
) -> None:
    folder = server.root / "contacts"
    (folder / f".{NAME}.0011aabb.part").write_bytes(b"x" * (local.stat().st_size + 5))
    async with sftp.connect(server.settings()) as remote:
        await remote.stage(local, str(folder), NAME)
        for _ in range(2):
            await remote.remove_part(str(folder), f".{NAME}.0011aabb.part")
        await remote.publish(str(folder), NAME, local.stat().st_size)
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert (folder / NAME).read_bytes() == local.read_bytes()


async def test_a_rename_that_comes_to_pass_late_never_shows_half_a_file(server: FileServer, local: Path) -> None:
    """Its answer was lost, and while the server was still at it, the next session began to upload again."""
    folder = server.root / "contacts"

    async with sftp.connect(server.settings()) as first:
        await first.stage(local, str(folder), NAME)
        (staged,) = folder.iterdir()

        class Interrupted(sftp.Remote):
            async def _write(self, *args: Any) -> None:
                await super()._write(*args)
                with suppress(FileNotFoundError):
                    staged.rename(folder / NAME)

        async with sftp.connect(server.settings()) as remote:
            second = Interrupted(remote._client, "here", 10)
            await second.stage(local, str(folder), NAME)
            await second.publish(str(folder), NAME, local.stat().st_size)
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert (folder / NAME).read_bytes() == local.read_bytes()


async def test_a_final_name_is_never_replaced(server: FileServer, local: Path) -> None:
    taken = server.root / "contacts" / NAME
    taken.write_text("theirs")
    async with sftp.connect(server.settings()) as remote:
        await remote.stage(local, str(taken.parent), NAME)
        with pytest.raises(UploadFailed) as failed:
            await remote.publish(str(taken.parent), NAME, local.stat().st_size)
    assert failed.value.reason == "name_taken"
    assert taken.read_text() == "theirs"


async def test_the_plain_rename_itself_refuses_to_replace(server: FileServer, local: Path) -> None:
    """The look before it is a courtesy: what appears between look and rename survives as well."""
    taken = server.root / "contacts" / NAME

    class Late(sftp.Remote):
        async def size(self, folder: str, name: str) -> int | None:
            found = await super().size(folder, name)
            if name == NAME and found is None:
                taken.write_text("theirs")
            return found

    async with sftp.connect(server.settings()) as remote:
        late = Late(remote._client, "here", 10)
        await late.stage(local, str(taken.parent), NAME)
        with pytest.raises(UploadFailed) as failed:
            await late.publish(str(taken.parent), NAME, local.stat().st_size)
    assert failed.value.reason == "name_taken"
    assert taken.read_text() == "theirs"


async def test_a_file_of_our_size_under_the_final_name_counts_as_there(server: FileServer, local: Path) -> None:
    there = server.root / "contacts" / NAME
    async with sftp.connect(server.settings()) as remote:
        await remote.stage(local, str(there.parent), NAME)
        there.write_bytes(local.read_bytes())
        await remote.publish(str(there.parent), NAME, local.stat().st_size)
    assert there.read_bytes() == local.read_bytes()
    assert list(there.parent.iterdir()) == [there]


async def test_a_missing_folder_is_told_and_not_made(server: FileServer, local: Path) -> None:
    folder = str(server.root / "elsewhere")
    async with sftp.connect(server.settings()) as remote:
        assert await remote.size(folder, NAME) is None
        for attempt in (remote.stage(local, folder, NAME), remote.listing(folder)):
            with pytest.raises(UploadFailed) as failed:
                await attempt
            assert failed.value.reason == "folder_missing"
    assert not (server.root / "elsewhere").exists()


async def test_discarding_removes_the_temporary_file_and_may_be_repeated(server: FileServer, local: Path) -> None:
    folder = server.root / "contacts"
    async with sftp.connect(server.settings()) as remote:
        await remote.stage(local, str(folder), NAME)
        await remote.discard(str(folder), NAME)
        await remote.discard(str(folder), NAME)
    assert list(folder.iterdir()) == []


async def test_a_known_hosts_file_is_as_good_as_a_fingerprint(server: FileServer) -> None:
    settings = server.settings(sftp_host_key=None, sftp_known_hosts=server.known_hosts())
    async with sftp.connect(settings) as remote:
        assert set(await remote.listing(settings.sftp_contacts_dir)) <= {".", ".."}


@pytest.mark.parametrize("by", ["fingerprint", "known_hosts", "empty known_hosts"])
async def test_another_host_key_is_never_accepted(server: FileServer, by: str) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    if by == "fingerprint":
        settings = server.settings(sftp_host_key=other.get_fingerprint("sha256"))
    else:
        path = server.known_hosts(other)
        if by == "empty known_hosts":
            Path(path).write_text("")
        settings = server.settings(sftp_host_key=None, sftp_known_hosts=path)
    failed = await failure_of(settings)
    assert failed.reason == "host_key"


async def test_another_key_of_ours_is_refused(server: FileServer, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "other")
    failed = await failure_of(server.settings(sftp_key_file=str(tmp_path / "other")))
    assert failed.reason == "login"


async def test_the_password_lets_in_and_a_wrong_one_does_not(own: FileServer) -> None:
    async with sftp.connect(own.settings(sftp_key_file=None, sftp_password="secret")) as remote:
        assert await remote.size(str(own.root), "contacts") is not None
    failed = await failure_of(own.settings(sftp_key_file=None, sftp_password="wrong-pass-word"))
    assert failed.reason == "login"
    assert "wrong-pass-word" not in str(failed)


@pytest.mark.parametrize("content", ["not a key", "[127.0.0.1]:22 ssh-ed25519 AAAA", "@what 127.0.0.1 x y"])
async def test_a_known_hosts_file_that_is_none_trusts_nobody(own: FileServer, tmp_path: Path, content: str) -> None:
    (tmp_path / "broken").write_text(content)
    failed = await failure_of(own.settings(sftp_host_key=None, sftp_known_hosts=str(tmp_path / "broken")))
    assert failed.reason == "host_key"


async def test_a_key_file_with_a_passphrase_is_told(own: FileServer, tmp_path: Path) -> None:
    own.client_key.write_private_key(tmp_path / "sealed", "pkcs8-pem", passphrase="p")
    failed = await failure_of(own.settings(sftp_key_file=str(tmp_path / "sealed")))
    assert failed.reason == "login"
    assert "passphrase" in str(failed)


async def test_nothing_of_the_operators_own_ssh_is_used(
    own: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, known hosts and configuration in the home folder would let this in, if they were looked at."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    own.client_key.write_private_key(ssh / "id_ed25519")
    Path(own.known_hosts()).rename(ssh / "known_hosts")
    (ssh / "config").write_text(f"Host *\n  IdentityFile {ssh}/id_ed25519\n  UserKnownHostsFile {ssh}/known_hosts\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "empty").write_text("")
    failed = await failure_of(own.settings(sftp_key_file=None, sftp_password="wrong"))
    assert failed.reason == "login"
    failed = await failure_of(own.settings(sftp_host_key=None, sftp_known_hosts=str(tmp_path / "empty")))
    assert failed.reason == "host_key"
    other = asyncssh.generate_private_key("ssh-ed25519").get_fingerprint("sha256")
    failed = await failure_of(own.settings(sftp_host_key=other))
    assert failed.reason == "host_key"


async def test_nothing_of_the_operators_own_ssh_gets_in_the_way(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration that leads elsewhere, known hosts with another key, and an agent, which is never asked."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "config").write_text("Host *\n  ProxyCommand false\n  Port 1\n  User nobody\n  HostKeyAlgorithms ssh-rsa\n")
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}")
    (ssh / "id_ed25519").write_text("no key at all")
    asked = []
    async with await asyncio.start_unix_server(lambda *_: asked.append(1), tmp_path / "agent"):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        for trust in ({}, {"sftp_host_key": None, "sftp_known_hosts": server.known_hosts()}):
            async with sftp.connect(server.settings(**trust)) as remote:
                assert await remote.size(server.settings().sftp_contacts_dir, NAME) is None
    assert asked == []


async def test_the_fast_cipher_is_agreed_on(server: FileServer) -> None:
    async with asyncssh.connect("127.0.0.1", **sftp._options(server.settings(), 10)) as connection:
        assert connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"


async def test_a_closed_port_is_unreachable(tmp_path: Path) -> None:
    server = FileServer(tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server.port = closed.getsockname()[1]
        failed = await failure_of(server.settings())
    assert failed.reason == "unreachable"


async def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    server = FileServer(tmp_path)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server.port = silent.getsockname()[1]
        failed = await failure_of(server.settings(), connect_timeout=0.2)
    assert failed.reason == "timeout"


class Faulty(asyncssh.SFTPServer):
    """Breaks in the way that `fault` says, until it is None."""

    fault: str | None = None
    gone_on = asyncio.Event()
    asked: ClassVar[list[str]] = []

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if self.fault == "cut" and offset > 1_000_000:
            self.channel.get_connection().abort()
        if self.fault == "hang" and offset > 1_000_000:
            await self.gone_on.wait()
        if self.fault in ("full", "broken") and offset > 1_000_000:
            raise asyncssh.SFTPFailure("for a reason of its own")
        if self.fault == "lossy" and offset > 1_000_000:
            return len(data)
        written = super().write(file_obj, offset, data)
        assert isinstance(written, int)
        return written

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        return asyncssh.SFTPVFSAttrs(bavail=0 if self.fault == "full" else 10**9, frsize=4096)

    def fsync(self, file_obj: object) -> None:
        self.asked.append("fsync")
        if self.fault == "no fsync":
            raise asyncssh.SFTPOpUnsupported("fsync")

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        self.asked.append("rename")
        if self.fault == "read-only":
            raise asyncssh.SFTPPermissionDenied("no")
        super().rename(oldpath, newpath)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("cut", "cut"), ("hang", "timeout"), ("full", "no_space"), ("broken", "refused"), ("lossy", "cut")],
)
async def test_an_upload_that_breaks_in_the_middle_leaves_no_final_name_and_is_started_again(
    tmp_path: Path, local: Path, fault: str, reason: str
) -> None:
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Faulty, "fault", fault)
        broken.setattr(Faulty, "gone_on", asyncio.Event())
        async with own_server(tmp_path, Faulty) as server:
            folder = server.root / "contacts"
            async with sftp.connect(server.settings(), answer_timeout=0.5) as remote:
                with pytest.raises(UploadFailed) as failed:
                    await remote.stage(local, str(folder), NAME)
            Faulty.gone_on.set()
            assert failed.value.reason == reason
            assert not (folder / NAME).exists()
            broken.setattr(Faulty, "fault", None)
            async with sftp.connect(server.settings()) as remote:
                await remote.stage(local, str(folder), NAME)
                await remote.publish(str(folder), NAME, local.stat().st_size)
            assert (folder / NAME).read_bytes() == local.read_bytes()


async def test_the_server_is_asked_to_have_it_on_its_disk_before_it_gets_its_name(
    tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Faulty, "asked", asked)
    async with own_server(tmp_path, Faulty) as server, sftp.connect(server.settings()) as remote:
        await remote.stage(local, str(server.root / "contacts"), NAME)
        assert asked == ["fsync"]
        await remote.publish(str(server.root / "contacts"), NAME, local.stat().st_size)
    assert asked == ["fsync", "rename"]


async def test_a_server_without_fsync_still_gets_the_file(
    tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faulty, "fault", "no fsync")
    async with own_server(tmp_path, Faulty) as server, sftp.connect(server.settings()) as remote:
        await remote.stage(local, str(server.root / "contacts"), NAME)
        await remote.publish(str(server.root / "contacts"), NAME, local.stat().st_size)
    assert (server.root / "contacts" / NAME).read_bytes() == local.read_bytes()


async def test_a_refused_rename_is_told_as_refused(
    tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faulty, "fault", "read-only")
    async with own_server(tmp_path, Faulty) as server, sftp.connect(server.settings()) as remote:
        await remote.stage(local, str(server.root / "contacts"), NAME)
        with pytest.raises(UploadFailed) as failed:
            await remote.publish(str(server.root / "contacts"), NAME, local.stat().st_size)
    assert failed.value.reason == "refused"
    assert NAME in str(failed.value)
