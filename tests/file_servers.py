"""File servers on loopback: asyncssh's own in this process, and OpenSSH's sshd."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh

from voyado_async.settings import Settings

SSHD = Path("/usr/sbin/sshd")


class FileServer:
    """Where a server listens, what it trusts, and the folder that stands for Engage's import folders."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "engage"
        self.port = 0
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key.write_private_key(home / "host")
        self.client_key.write_private_key(home / "client")
        (home / "host").chmod(0o600)
        (home / "client").chmod(0o600)
        for folder in ("contacts", "transactions"):
            (self.root / folder).mkdir(parents=True)

    @property
    def fingerprint(self) -> str:
        return self.host_key.get_fingerprint("sha256")

    def settings(self, **changes: Any) -> Settings:
        """Settings for this server: login by key, pinned host key."""
        values: dict[str, Any] = {
            "outbox": str(self.home / "outbox.db"),
            "sftp_host": "127.0.0.1",
            "sftp_port": self.port,
            "sftp_username": getpass.getuser(),
            "sftp_key_file": str(self.home / "client"),
            "sftp_host_key": self.fingerprint,
            "sftp_contacts_dir": str(self.root / "contacts"),
            "sftp_transactions_dir": str(self.root / "transactions"),
        }
        return Settings(**(values | changes))

    def known_hosts(self, key: asyncssh.SSHKey | None = None) -> str:
        """A known_hosts file that names this server with its key, or with another one."""
        public = (key or self.host_key).export_public_key().decode().strip()
        path = self.home / "known_hosts"
        path.write_text(f"[127.0.0.1]:{self.port} {public}\n")
        return str(path)


class PasswordServer(asyncssh.SSHServer):
    """Takes the password `secret`, and the client's key."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "secret"


@asynccontextmanager
async def own_server(
    home: Path, sftp: Callable[[Any], asyncssh.SFTPServer] = asyncssh.SFTPServer, **options: Any
) -> AsyncIterator[FileServer]:
    """asyncssh's server in this process; `sftp` makes its SFTP side."""
    server = FileServer(home)
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=PasswordServer,
        server_host_keys=[str(home / "host")],
        authorized_client_keys=asyncssh.import_authorized_keys(server.client_key.export_public_key().decode()),
        sftp_factory=sftp,
        **options,
    )
    server.port = listener.get_port()
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()


@asynccontextmanager
async def openssh_server(home: Path) -> AsyncIterator[FileServer]:
    """OpenSSH's sshd with a configuration of its own."""
    server = FileServer(home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server.port = probe.getsockname()[1]
    (home / "authorized").write_bytes(server.client_key.export_public_key())
    config = home / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {server.port}\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n"
        f"PidFile {home}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"Subsystem sftp internal-sftp\nLogLevel ERROR\n"
    )
    separation = Path("/run/sshd")
    if not separation.is_dir():
        separation.mkdir(mode=0o755)
    process = await asyncio.create_subprocess_exec(
        str(SSHD), "-D", "-e", "-f", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _listening(server.port, process)
        yield server
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, "sshd ended at its start"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)  # sshd has no way to say that it listens
                continue
            writer.close()
            await writer.wait_closed()
            return
