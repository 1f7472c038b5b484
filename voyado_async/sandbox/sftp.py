"""The SFTP side: one account, one folder, a host key of its own. Nobody's SSH files are read."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from voyado_async.sandbox.faults import Fault, FaultKind, Faults
from voyado_async.sandbox.journal import Journal
from voyado_async.sandbox.listener import Port
from voyado_async.sandbox.settings import SandboxSettings

FOLDERS = ("integration/customerImport", "integration/promotionImport", "integration/transactionImport")
_CUT = frozenset({FaultKind.SFTP_CUT})


@dataclass
class _Shared:
    """What connections and sessions need of their server."""

    settings: SandboxSettings
    root: Path
    journal: Journal
    faults: Faults
    authorized: asyncssh.SSHAuthorizedKeys
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)


class _Login(asyncssh.SSHServer):
    def __init__(self, shared: _Shared) -> None:
        self._shared = shared

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._shared.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        if username == self._shared.settings.sftp_username:
            self._connection.set_authorized_keys(self._shared.authorized)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        settings = self._shared.settings
        return username == settings.sftp_username and hmac.compare_digest(
            password.encode(), settings.sftp_password.encode()
        )

    def auth_completed(self) -> None:
        self._shared.journal.sftp_event("login", "")


class _Files(asyncssh.SFTPServer):
    """A chroot that enters opens, renames and removals in the books, and lets the faults of writing strike."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], shared: _Shared) -> None:
        super().__init__(channel, chroot=str(shared.root).encode())
        self._shared = shared
        self._cuts: dict[object, Fault] = {}
        """Open files that will be cut."""

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        opened = super().open(path, pflags, attrs)
        if pflags & asyncssh.FXF_WRITE:
            self._note("open", path)
            fault = self._shared.faults.take(_CUT, "PUT", path.decode(errors="replace"))
            if fault is not None:
                self._cuts[opened] = fault
        return opened

    def write(self, file_obj: object, offset: int, data: bytes) -> asyncssh.misc.MaybeAwait[int]:
        if self._shared.faults.standing(FaultKind.SFTP_FULL):
            raise asyncssh.SFTPFailure("The quota is used up")
        cut = self._cuts.get(file_obj)
        if cut is not None and offset + len(data) > cut.after_bytes:
            super().write(file_obj, offset, data[: max(0, cut.after_bytes - offset)])
            self.connection.abort()
            raise asyncssh.SFTPFailure("The connection is cut")
        return super().write(file_obj, offset, data)

    def close(self, file_obj: object) -> asyncssh.misc.MaybeAwait[None]:
        self._cuts.pop(file_obj, None)
        return super().close(file_obj)

    def rename(self, oldpath: bytes, newpath: bytes) -> asyncssh.misc.MaybeAwait[None]:
        super().rename(oldpath, newpath)
        self._note("rename", oldpath, newpath)
        return None

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> asyncssh.misc.MaybeAwait[None]:
        super().posix_rename(oldpath, newpath)
        self._note("posix_rename", oldpath, newpath)
        return None

    def remove(self, path: bytes) -> asyncssh.misc.MaybeAwait[None]:
        super().remove(path)
        self._note("remove", path)
        return None

    def _note(self, action: str, path: bytes, target: bytes | None = None) -> None:
        self._shared.journal.sftp_event(
            action, path.decode(errors="replace"), None if target is None else target.decode(errors="replace")
        )


class SftpServer:
    """Engage's file server on loopback. `sync` makes the listener fit the standing faults, at once."""

    def __init__(self, settings: SandboxSettings, root: Path, journal: Journal, faults: Faults) -> None:
        self._faults = faults
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._other_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        own = self.client_key.export_public_key().decode()
        authorized = asyncssh.import_authorized_keys("\n".join([own, *settings.sftp_authorized_keys, ""]))
        self._shared = _Shared(settings, root, journal, faults, authorized)
        self._listening: asyncio.Task[asyncssh.SSHAcceptor] | None = None
        self._shown: asyncssh.SSHKey | None = None
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)

    @property
    def fingerprint(self) -> str:
        """``SHA256:...`` of the true host key."""
        return self._key.get_fingerprint()

    @property
    def known_hosts(self) -> str:
        """The line of a known_hosts file for this server."""
        host = self._shared.settings.host
        return f"[{host}]:{self.port} {self._key.export_public_key().decode().strip()}"

    async def start(self) -> None:
        self._port = Port(self._shared.settings.host, self._shared.settings.sftp_port)
        self.port = self._port.number
        self.sync()

    def sync(self) -> None:
        """Closed while `sftp_down` stands, with the other host key while `sftp_other_key` stands."""
        wanted: asyncssh.SSHKey | None = self._key
        if self._faults.standing(FaultKind.SFTP_OTHER_KEY):
            wanted = self._other_key
        if self._faults.standing(FaultKind.SFTP_DOWN):
            wanted = None
        if wanted is not self._shown:
            self._shut()
            if wanted is not None:
                self._listening = asyncio.create_task(self._open(wanted))
            self._shown = wanted

    async def _open(self, key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            sock=self._port.listen(),
            server_factory=lambda: _Login(self._shared),
            server_host_keys=[key],
            sftp_factory=lambda channel: _Files(channel, self._shared),
            config=None,
            allow_scp=False,
        )

    def _shut(self) -> None:
        if self._listening is not None:
            if self._listening.done():
                self._listening.result().close()
            else:
                self._listening.add_done_callback(lambda opened: opened.result().close())
            self._listening = None
        for connection in list(self._shared.connections):
            connection.abort()

    async def stop(self) -> None:
        if self._listening is not None:
            acceptor = await self._listening
            self._shut()
            await acceptor.wait_closed()
        self._port.release()
