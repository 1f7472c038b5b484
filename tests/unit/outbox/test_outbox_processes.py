"""Several processes, and processes that die: what was told to be stored is there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from children import BASE_URL, ROOT, child, draft, end, kill, line

from voyado_async.clock import SystemClock
from voyado_async.errors import ClientClosed
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox

WRITERS = 8
WRITES = 25

WRITER = """
import asyncio, sys
from voyado_async.clock import SystemClock
from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.sqlite import open_outbox

async def main(path, name, count):
    print("ready", flush=True)
    sys.stdin.readline()
    outbox = await open_outbox(path, base_url="https://engage.test", clock=SystemClock())
    for n in range(count):
        await outbox.enqueue([Draft(Kind.RECEIPT, b"{}", f"contact:{n}", f"{name}-{n}")])
        print(f"{name}-{n}", flush=True)
    await outbox.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def start(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert line(process) == "ready"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


async def stored(path: Path) -> set[str | None]:
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    try:
        assert (await outbox.counts()).balanced
        return {entry.key for entry in await outbox.entries(EntryFilter())}
    finally:
        await outbox.close()


async def test_eight_processes_make_and_fill_one_new_outbox_at_once(path: Path) -> None:
    writers = [child(WRITER, path, name, WRITES) for name in range(WRITERS)]
    start(*writers)
    told = {key for writer in writers for key in (await asyncio.to_thread(end, writer)).split()}
    assert told == {f"{name}-{n}" for name in range(WRITERS) for n in range(WRITES)}
    assert await stored(path) == told
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


@pytest.mark.parametrize("after", [1, 7, 40])
async def test_what_a_killed_process_was_told_to_be_stored_is_there(path: Path, after: int) -> None:
    writer = child(WRITER, path, "w", 100_000)
    start(writer)
    told = [line(writer) for _ in range(after)]
    os.kill(writer.pid, signal.SIGKILL)
    assert writer.stdout is not None
    # Not `communicate`, which passes over what `line` has read ahead. The last piece was never said to the end.
    told += writer.stdout.read().split("\n")[:-1]
    writer.communicate(timeout=30)
    found = await stored(path)
    assert set(told) <= found
    assert len(found) <= len(told) + 1


async def test_another_process_sees_an_entry_the_moment_that_its_write_returns(path: Path) -> None:
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    writer = child(WRITER, path, "w", 20)
    start(writer)
    for n in range(20):
        assert line(writer) == f"w-{n}"
        keys = [entry.key for entry in await outbox.entries(EntryFilter())]
        assert f"w-{n}" in keys
    assert await asyncio.to_thread(end, writer) == ""
    await outbox.close()


async def test_a_forked_child_is_refused_and_disturbs_nothing(outbox: SqliteOutbox) -> None:
    await outbox.enqueue([draft()])
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:

        async def tries() -> list[str]:
            answers = []
            for call in (outbox.enqueue([draft()]), outbox.counts(), outbox.mark_sending(1), outbox.close()):
                try:
                    async with asyncio.timeout(5):
                        await call
                except ClientClosed:
                    answers.append("refused")
                except BaseException as error:
                    answers.append(repr(error))
                else:
                    answers.append("nothing")
            return answers

        os.write(writing, " ".join(asyncio.run(tries())).encode())
        os._exit(0)
    os.close(writing)
    answer = await asyncio.to_thread(os.read, reading, 1000)
    os.close(reading)
    os.waitpid(pid, 0)
    assert answer.decode() == "refused refused refused nothing"
    assert len(await outbox.enqueue([draft()])) == 1
    assert (await outbox.counts()).enqueued == 2


@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace shows the order of system calls; it is not installed"
)
def test_the_log_is_synced_before_the_caller_of_a_write_goes_on(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=write,pwrite64,fdatasync,fsync"]
    subprocess.run(
        [*command, sys.executable, "-c", WRITER, str(path), "key", "5"],
        input="go\n", text=True, env=environment, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    synced, told, wrote = False, 0, False
    for call in trace.read_text().splitlines():
        if re.search(rf"pwrite64\(\d+<{re.escape(str(path))}-wal>", call):
            wrote, synced = True, False
        elif re.search(rf"f(data)?sync\(\d+<{re.escape(str(path))}-wal>", call) or "sync resumed" in call:
            synced = True
        elif re.search(r'write\(1<.*"key-\d', call):
            assert wrote
            assert synced
            wrote, told = False, told + 1
    assert told == 5


async def test_a_process_ends_by_itself_after_closing(path: Path) -> None:
    writer = child(WRITER, path, "w", 1)
    start(writer)
    assert await asyncio.to_thread(end, writer) == "w-0"


async def test_a_holder_of_the_turn_that_is_killed_costs_nobody_anything(outbox: SqliteOutbox) -> None:
    holder = child(
        "import sys, time\nfrom voyado_async.outbox.lock import Turn\n"
        "with Turn(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)",
        f"{outbox.path}-turn",
    )
    assert line(holder) == "held"
    writing = asyncio.create_task(outbox.enqueue([draft()]))
    await asyncio.sleep(0.1)
    assert not writing.done()
    kill(holder)
    async with asyncio.timeout(2):
        assert len(await writing) == 1
