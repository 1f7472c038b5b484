"""Engage's file server: the only place that knows asyncssh.

The host key is always verified, by a known_hosts file or by a pinned fingerprint. Nothing of the operator's own SSH
set-up is used: no configuration, agent, default keys, known hosts or certificates. A file is uploaded under a name that
no ``*.xml`` matches, checked by size, then renamed with a plain SFTP rename, which refuses to replace; a file with a
final name is never replaced or removed (DESIGN 3). Each session has temporary names of its own: a rename whose answer
was lost may still come to pass, and must not meet the half of a later upload. Folders are never made: a wrong one would
swallow files (ref 6.2).

Everything that goes wrong is UploadFailed with one of these reasons:

    unreachable     no connection                   folder_missing  the import folder is not there
    host_key        not the key that we trust       no_space        disk or quota of the server
    login           user, password or key refused   refused         the server says no for another reason
    timeout         no answer in time               name_taken      another file has this name
    cut             the connection broke
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncssh

from voyado_async.errors import UploadFailed
from voyado_async.fallback.spool import PART
from voyado_async.settings import Settings

CONNECT_TIMEOUT = 30.0
"""Seconds until the session stands, login included."""

ANSWER_TIMEOUT = 60.0
"""Seconds for one answer; a written block of `BLOCK` counts as one."""

BLOCK = 1 << 20
"""Bytes that are on their way at once (PERFORMANCE 6)."""

LARGEST_PIECE = 1 << 17
"""Bytes of one request at most, where the server takes as many: above that sshd drops the connection
(PERFORMANCE 6)."""

_PLAIN_HOST_KEYS = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256"


class _PinnedHost(asyncssh.SSHClient):
    """Trusts the one key with this fingerprint."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return key.get_fingerprint("sha256") == self._fingerprint


@asynccontextmanager
async def connect(
    settings: Settings, *, connect_timeout: float = CONNECT_TIMEOUT, answer_timeout: float = ANSWER_TIMEOUT
) -> AsyncIterator[Remote]:
    """A session with the file server of the settings. Raises UploadFailed."""
    where = f"{settings.sftp_host}:{settings.sftp_port}"
    with _telling(f"connecting to {where}", lost="unreachable"):
        async with asyncio.timeout(connect_timeout):
            connection = await asyncssh.connect(settings.sftp_host or "", **_options(settings, connect_timeout))
    try:
        with _telling(f"opening SFTP on {where}", lost="cut"):
            async with asyncio.timeout(answer_timeout):
                client = await connection.start_sftp_client()
        yield Remote(client, where, answer_timeout)
    finally:
        connection.abort()  # every answer that matters has been awaited; a hanging server must not hold us
        await connection.wait_closed()


def _options(settings: Settings, connect_timeout: float) -> dict[str, Any]:
    """Everything that asyncssh would otherwise take from the operator's account is switched off by name.

    `client_keys=()` would load the keys of ~/.ssh and an empty `known_hosts` its known_hosts: None and a non-empty
    tuple of empty lists do not.
    """
    options: dict[str, Any] = {
        "port": settings.sftp_port,
        "username": settings.sftp_username,
        "config": None,
        "agent_path": None,
        "x509_trusted_certs": None,
        "gss_host": None,
        "client_keys": None if settings.sftp_key_file is None else [settings.sftp_key_file],
        "password": settings.sftp_password,
        "connect_timeout": connect_timeout,
        "login_timeout": connect_timeout,
        "keepalive_interval": 15,
        "keepalive_count_max": 3,
        "encryption_algs": "^aes128-gcm@openssh.com",
    }
    pinned = settings.sftp_host_key
    if pinned is None:
        return options | {"known_hosts": _known_hosts(settings.sftp_known_hosts or "")}
    return options | {
        "known_hosts": ([], [], []),
        "server_host_key_algs": _PLAIN_HOST_KEYS,
        "client_factory": lambda: _PinnedHost(pinned),
    }


def _known_hosts(path: str) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts(path)
    except (OSError, ValueError):
        raise UploadFailed("host_key", f"the known_hosts file {path} cannot be read") from None


class Remote:
    """An open session. Names are plain file names, folders paths as the settings have them."""

    def __init__(self, client: asyncssh.SFTPClient, where: str, answer_timeout: float) -> None:
        self._client = client
        self._where = where
        self._answer_timeout = answer_timeout
        self._session = token_hex(4)

    def _part(self, name: str) -> str:
        """The temporary name in this session: no ``*.xml`` matches it."""
        return f".{name}.{self._session}{PART}"

    async def listing(self, folder: str) -> dict[str, int]:
        """Every name in the folder with its size in bytes."""
        async with self._step(f"listing {folder}"):
            entries = await self._client.readdir(folder)
        return {str(entry.filename): entry.attrs.size or 0 for entry in entries}

    async def size(self, folder: str, name: str) -> int | None:
        """The size in bytes, None where there is no such file."""
        try:
            async with self._step(f"looking for {name} in {folder}"):
                attributes = await self._client.stat(posixpath.join(folder, name))
        except UploadFailed as failure:
            if failure.reason == "folder_missing":
                return None
            raise
        return attributes.size or 0

    async def stage(self, local: Path, folder: str, name: str) -> None:
        """Bring the file there under its temporary name, wholly."""
        path = posixpath.join(folder, self._part(name))
        sent = 0
        source = await asyncio.to_thread(local.open, "rb")
        try:
            async with self._step(f"uploading {name} to {folder}"):
                target = await self._client.open(path, "wb", block_size=0)
            try:
                while block := await asyncio.to_thread(source.read, BLOCK):
                    await self._write(target, sent, block, folder, name)
                    sent += len(block)
                await self._sync(target, name)
            finally:
                async with self._step(f"uploading {name} to {folder}"):
                    await target.close()
        finally:
            source.close()
        arrived = await self.size(folder, self._part(name))
        if arrived != sent:
            raise UploadFailed("cut", f"{name}: {sent} bytes were sent to {self._where}, {arrived} are there")

    async def _write(self, target: asyncssh.SFTPClientFile, offset: int, block: bytes, folder: str, name: str) -> None:
        """The pieces of a block side by side. asyncssh does so too, but leaves their errors behind at a time-out."""
        size = min(self._client.limits.max_write_len, LARGEST_PIECE)
        pieces = [(offset + start, block[start : start + size]) for start in range(0, len(block), size)]
        try:
            async with self._step(f"uploading {name} to {folder}"):
                answers = await asyncio.gather(
                    *(target.write(piece, at) for at, piece in pieces), return_exceptions=True
                )
                for answer in answers:
                    if isinstance(answer, BaseException):
                        raise answer
        except UploadFailed as failure:
            if failure.reason == "refused" and await self._is_full(folder):
                raise UploadFailed("no_space", f"uploading {name}: the disk of {self._where} is full") from None
            raise

    async def _is_full(self, folder: str) -> bool:
        """A full disk is a mere failure in the SFTP that all servers speak; OpenSSH's extension can tell."""
        try:
            async with self._step(f"asking for the space of {folder}"):
                space = await self._client.statvfs(folder)
        except UploadFailed:
            return False
        return space.bavail * space.frsize < BLOCK

    async def _sync(self, target: asyncssh.SFTPClientFile, name: str) -> None:
        async with self._step(f"syncing {name}"):
            try:
                await target.fsync()
            except asyncssh.SFTPOpUnsupported:
                return  # an extension of OpenSSH; without it the size check has to do

    async def publish(self, folder: str, name: str, size: int) -> None:
        """Give the staged file its final name. A file that has it already counts as ours if it has our size."""
        there = await self.size(folder, name)
        if there is None:
            try:
                async with self._step(f"renaming to {name} in {folder}"):
                    await self._client.rename(posixpath.join(folder, self._part(name)), posixpath.join(folder, name))
                return
            except UploadFailed as failure:
                if failure.reason != "refused":
                    raise
                there = await self.size(folder, name)
                if there is None:
                    raise
        if there != size:
            raise UploadFailed("name_taken", f"{name} is in {folder} already with another size; it is left as it is")
        await self.discard(folder, name)

    async def discard(self, folder: str, name: str) -> None:
        """Remove the temporary file of this session, if it is there."""
        await self.remove_part(folder, self._part(name))

    async def remove_part(self, folder: str, part: str) -> None:
        """Remove a temporary file of ours; it may be gone already."""
        assert part.startswith(".")
        assert part.endswith(PART)
        try:
            async with self._step(f"removing {part} in {folder}"):
                await self._client.remove(posixpath.join(folder, part))
        except UploadFailed as failure:
            if failure.reason != "folder_missing":
                raise

    @asynccontextmanager
    async def _step(self, what: str) -> AsyncIterator[None]:
        with _telling(f"{what} on {self._where}", lost="cut"):
            async with asyncio.timeout(self._answer_timeout):
                yield


@contextmanager
def _telling(what: str, *, lost: str) -> Iterator[None]:
    """asyncssh's errors as ours. The server's own words stay out: nobody knows what they hold."""
    try:
        yield
    except asyncssh.HostKeyNotVerifiable:
        raise UploadFailed("host_key", f"{what}: the server's host key is not the one that is trusted") from None
    except asyncssh.PermissionDenied:
        raise UploadFailed("login", f"{what}: user name, password or key was refused") from None
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        raise UploadFailed("login", f"{what}: the key file cannot be read, or it has a passphrase") from None
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        raise UploadFailed("folder_missing", f"{what}: there is no such folder") from None
    except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded):
        raise UploadFailed("no_space", f"{what}: the server's disk or quota is full") from None
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.ConnectionLost):
        raise UploadFailed(lost, f"{what}: the connection broke") from None
    except TimeoutError:
        raise UploadFailed("timeout", f"{what}: no answer in time") from None
    except (asyncssh.Error, asyncssh.ChannelOpenError) as error:
        raise UploadFailed("refused", f"{what}: {type(error).__name__}") from None
    except OSError as error:
        raise UploadFailed(lost, f"{what}: {error.strerror or type(error).__name__}") from None
