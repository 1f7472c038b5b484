"""A disk that fails at the last moment of a COMMIT: whoever was told that nothing is stored never finds it stored.

`failing_disk.c` is loaded before the C library in a process of its own, which is killed afterwards: only what is in the
files counts then.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from children import BASE_URL, ROOT

from voyado_async.clock import SystemClock
from voyado_async.outbox.commit import may_stand_in_the_log
from voyado_async.outbox.sqlite import open_outbox

HERE = Path(__file__).parent
ALWAYS = 1_000_000

BARE = """
import os, signal, sqlite3, sys
from pathlib import Path
path, control, fault = sys.argv[1:4]
database = sqlite3.connect(path, isolation_level=None)
database.execute("PRAGMA synchronous = FULL")
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE sale (id INTEGER)")
Path(control).write_text(fault)
try:
    database.execute("INSERT INTO sale (id) VALUES (1)")
except sqlite3.Error as error:
    print(error.sqlite_errorname)
print(database.execute("SELECT count(*) FROM sale").fetchone()[0], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

SHOP = """
import asyncio, os, signal, sys
from pathlib import Path
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import OutboxUnavailable
from voyado_async.outbox.sqlite import open_outbox
path, control, fault, size, after = sys.argv[1:6]

async def main():
    outbox = await open_outbox(path, base_url="https://engage.test", clock=SystemClock())
    body = b"x" * int(size)
    await outbox.enqueue([Draft(Kind.RECEIPT, b"before", "contact:anna", "before")])
    if "grow" in fault:
        reader = outbox._reader  # its snapshot keeps the log from beginning anew
        await reader.run(lambda c: (c.execute("BEGIN"), c.execute("SELECT * FROM meta").fetchall()))
    Path(control).write_text(fault)
    for number in range(40):
        try:
            await outbox.enqueue([Draft(Kind.RECEIPT, body, "contact:anna", f"sale {number}")])
        except OutboxUnavailable as error:
            print(number, type(error).__name__, error.__cause__.sqlite_errorname, flush=True)
            break
    if after != "nothing":
        os.unlink(control)
        await outbox.enqueue([Draft(Kind.RECEIPT, b"after", "contact:anna", "after")])
    if after == "again":
        Path(control).write_text(fault)
        try:
            await outbox.enqueue([Draft(Kind.RECEIPT, body, "contact:anna", "again")])
        except OutboxUnavailable as error:
            print(type(error).__name__)
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)

try:
    asyncio.run(asyncio.wait_for(main(), 30))
finally:
    os._exit(1)  # an outbox that is not closed would keep the process
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: a sync that fails within COMMIT is not tried")
    library = tmp_path_factory.mktemp("shim") / "failing_disk.so"
    source = HERE / "failing_disk.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def dies(shim: Path, code: str, *arguments: object) -> list[str]:
    """Run it on a failing disk until it kills itself; the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(shim), "FAILING_DISK": str(arguments[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.splitlines()


async def found(path: Path) -> list[str]:
    """The keys of what the next process finds, and the books close."""
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    try:
        assert [finding for finding in await outbox.verify() if not finding.ok] == []
        counts = await outbox.counts()
        return [str((await outbox.get(entry)).key) for entry in range(1, counts.enqueued + 1)]
    finally:
        await outbox.close()


def test_bare_sqlite_brings_a_failed_commit_back_after_a_crash(shim: Path, path: Path, tmp_path: Path) -> None:
    """What all of this is for. Should it fail one day, SQLite does it itself."""
    assert dies(shim, BARE, path, tmp_path / "fault", "-wal sync 1") == ["SQLITE_IOERR_FSYNC", "0"]
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM sale").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize("after", ["nothing", "healed", "again"])
async def test_one_failed_sync_leaves_nothing_of_what_it_refused(
    shim: Path, path: Path, tmp_path: Path, after: str
) -> None:
    first, *more = dies(shim, SHOP, path, tmp_path / "fault", "-wal sync 1", 10_000, after)
    assert first == "0 OutboxUnavailable SQLITE_IOERR_FSYNC"
    assert more == (["OutboxUnavailable"] if after == "again" else [])
    assert await found(path) == ["before"] + ["after"] * (after != "nothing")


@pytest.mark.parametrize("after", ["nothing", "healed", "again"])
async def test_a_disk_that_syncs_nothing_more_is_told_as_a_doubt(
    shim: Path, path: Path, tmp_path: Path, after: str
) -> None:
    """The end of the process is harmless even here: what could not be synced stands over the failed write for all that
    read the file. Only a power cut could tell otherwise."""
    first, *more = dies(shim, SHOP, path, tmp_path / "fault", f"-wal sync {ALWAYS}", 10_000, after)
    assert first == "0 OutboxInDoubt SQLITE_IOERR_FSYNC"
    assert more == (["OutboxInDoubt"] if after == "again" else [])
    assert await found(path) == ["before"] + ["after"] * (after != "nothing")


async def test_no_room_for_the_logs_index_leaves_nothing_of_what_it_refused(
    shim: Path, path: Path, tmp_path: Path
) -> None:
    """On a full disk a COMMIT can fail after its last page, too: the index beside the log does not grow."""
    (told,) = dies(shim, SHOP, path, tmp_path / "fault", f"-shm grow {ALWAYS}", 1_000_000, "nothing")
    number, error, code = told.split()
    assert (error, code) == ("OutboxUnavailable", "SQLITE_IOERR_SHMSIZE")
    assert await found(path) == ["before", *(f"sale {sale}" for sale in range(int(number)))]


@pytest.mark.parametrize(
    ("code", "may"),
    [
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR_WRITE, False),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, False),
        (sqlite3.SQLITE_READONLY, False),
        (sqlite3.SQLITE_READONLY_DBMOVED, False),
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_IOERR_SHMSIZE, True),
        (sqlite3.SQLITE_IOERR_SHMMAP, True),
        (sqlite3.SQLITE_IOERR, True),
        (sqlite3.SQLITE_NOMEM, True),
        (sqlite3.SQLITE_CORRUPT, True),
    ],
)
def test_which_errors_may_leave_a_whole_transaction_in_the_log(code: int, may: bool) -> None:
    error = sqlite3.OperationalError("told by SQLite")
    error.sqlite_errorcode = code
    assert may_stand_in_the_log(error) is may


def test_an_error_of_the_module_itself_leaves_nothing() -> None:
    assert not may_stand_in_the_log(sqlite3.ProgrammingError("Cannot operate on a closed database."))
