"""Who may use the files: modes and groups of everything that lies beside an outbox, and two users who share one."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import ConfigurationError
from voyado_async.fallback.spool import Spool
from voyado_async.outbox.access import OWNER, Access, like
from voyado_async.outbox.lock import DrainRight
from voyado_async.outbox.records import Mark
from voyado_async.outbox.shelf import Answer, Shelf
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.wake import Listener

MEMBER = Path(__file__).with_name("group_member.py")
ROOT = Path(__file__).parents[3]
SHOP, SIDECAR, GROUP = 61001, 61002, 61100
"""Two users and a group that no system knows by a name."""


@pytest.fixture
def group() -> int:
    """One that this process may give its files to."""
    return GROUP if os.geteuid() == 0 else os.getegid()


@pytest.fixture
def folder(tmp_path: Path, group: int) -> Path:
    made = tmp_path / "shared"
    made.mkdir()
    os.chown(made, -1, group)
    made.chmod(0o2770)
    return made


async def outbox_in(folder: Path, access: Access) -> SqliteOutbox:
    return await open_outbox(folder / "outbox.db", base_url="https://engage.test", clock=SystemClock(), access=access)


async def use(folder: Path, access: Access) -> None:
    """Everything that makes a file beside an outbox; it is all there while it is open."""
    outbox = await outbox_in(folder, access)
    right = DrainRight(f"{outbox.path}-drain", like(outbox.path))
    listener = Listener(outbox.path, lambda: None)
    try:
        await outbox.enqueue([Draft(Kind.RECEIPT, b"{}", "contact:anna")])
        assert right.take()
        listener.open()
        await Shelf(outbox.path, "https://engage.test").put("contact:a", "offers", Answer(b"[]", 0, Mark(0, 0)))
        modes(folder, access)
    finally:
        listener.close()
        right.give_up()
        await outbox.close()


def modes(folder: Path, access: Access) -> None:
    found = [path for path in folder.rglob("*") if path.name != "spool"]
    assert {path.name for path in found} >= {
        *(f"outbox.db{end}" for end in ("", "-wal", "-shm", "-turn", "-drain", "-wake", "-known"))
    }
    for path in found:
        right = access.folder_mode if path.is_dir() else access.file_mode
        assert oct(stat.S_IMODE(path.stat().st_mode)) == oct(right), path
        assert path.stat().st_gid == (os.getegid() if access.gid is None else access.gid), path


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o027], ids=oct)
def _umask(request: pytest.FixtureRequest) -> object:
    """Whatever mask the process has."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
async def test_everything_beside_an_outbox_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)
    await use(folder, OWNER)


@pytest.mark.usefixtures("_umask")
async def test_everything_beside_an_outbox_is_open_to_its_group(folder: Path, group: int) -> None:
    await use(folder, Access(group))
    await use(folder, Access(group))


async def test_an_outbox_that_was_its_owners_becomes_the_groups(folder: Path, group: int) -> None:
    folder.chmod(0o700)
    os.chown(folder, -1, os.getegid())
    await use(folder, OWNER)
    os.chown(folder, -1, group)
    folder.chmod(0o2770)
    await use(folder, Access(group))


async def test_what_is_made_beside_an_outbox_is_as_open_as_that_whatever_a_process_was_told(
    folder: Path, group: int
) -> None:
    outbox = await outbox_in(folder, Access(group))
    await outbox.close()
    assert like(outbox.path) == Access(group)
    await Shelf(outbox.path, "https://engage.test").put("contact:a", "offers", Answer(b"[]", 0, Mark(0, 0)))
    assert stat.S_IMODE((folder / "outbox.db-known").stat().st_mode) == 0o2770


@pytest.mark.parametrize("mode", [0o700, 0o770, 0o2750, 0o2700])
async def test_a_folder_that_does_not_pass_the_group_on_is_refused(folder: Path, group: int, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"group \(VOYADO_GROUP\): the folder .* chmod 2770"):
        await outbox_in(folder, Access(group))
    assert list(folder.iterdir()) == []


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path, group: int) -> None:
    with pytest.raises(ConfigurationError, match=r"VOYADO_GROUP.*No such file"):
        await outbox_in(tmp_path / "nowhere", Access(group))


async def test_a_file_that_somebody_else_keeps_to_himself_is_told(
    folder: Path, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = await outbox_in(folder, Access(group))
    await outbox.close()
    (folder / "outbox.db").chmod(0o600)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(ConfigurationError, match=r"outbox.db is not the group's.*chmod 660"):
        await outbox_in(folder, Access(group))


def test_a_spool_that_was_its_owners_becomes_the_groups(folder: Path, group: int) -> None:
    before = Spool(folder / "spool")
    before.prepare()
    (folder / "spool" / "1.xml").touch(0o600)
    os.chown(folder / "spool" / "1.xml", -1, os.getegid())
    Spool(folder / "spool", access=Access(group)).prepare()
    for path, mode in ((folder / "spool", 0o2770), (folder / "spool" / "1.xml", 0o660)):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (mode, group)


# two users ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared() -> object:
    """A folder of the group that two users reach; those of pytest are open to their owner alone."""
    if os.geteuid() != 0:
        pytest.skip("not root: that two users of a group share an outbox is not tried")
    if not all(path.stat().st_mode & 0o001 for path in (ROOT, *ROOT.parents)):
        pytest.skip(f"{ROOT} is closed to other users: that two users of a group share an outbox is not tried")
    made = Path(tempfile.mkdtemp(prefix="voyado-group-"))
    os.chown(made, SHOP, GROUP)
    made.chmod(0o2770)
    yield made
    shutil.rmtree(made)


@asynccontextmanager
async def member(uid: int, folder: Path, part: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(MEMBER), str(uid), str(GROUP), str(folder), part,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=pipe, stdout=pipe, stderr=pipe,
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def said(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    assert line.decode().strip() == word, (await process.communicate())[1].decode()


async def test_two_users_of_a_group_write_drain_and_take_over_from_each_other(shared: Path) -> None:
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(member(SHOP, shared, "write"))
        await said(shop, "written")
        async with member(SIDECAR, shared, "drain") as sidecar:
            await said(sidecar, "spooled")
            assert shop.stdin is not None
            shop.stdin.write(b"again\n")
            await said(shop, "poked")
            modes(shared, Access(GROUP))
        # Killed: its socket, its lock file and its spool are left for the other user.
        second = await stack.enter_async_context(member(SHOP, shared, "drain"))
        shop.stdin.write(b"again\n")
        await said(second, "spooled")
        modes(shared, Access(GROUP))
    owners = {path.stat().st_uid for path in (shared / "spool").iterdir()}
    assert owners == {SHOP, SIDECAR}
    assert {oct(path.stat().st_mode) for path in (shared / "spool").iterdir()} == {oct(stat.S_IFREG | 0o660)}
    assert stat.S_IMODE((shared / "spool").stat().st_mode) == 0o2770
