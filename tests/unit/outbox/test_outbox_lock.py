"""The writers' turn and the right to drain."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import BASE_URL, child, draft, end, kill, line

from voyado_async.clock import SystemClock
from voyado_async.errors import ConfigurationError, OutboxUnavailable
from voyado_async.outbox import lock
from voyado_async.outbox.lock import DrainRight, Turn, drainer_pid, is_drained
from voyado_async.outbox.sqlite import open_outbox

DRAINER = """
import sys
from voyado_async.outbox.lock import DrainRight
right = DrainRight(sys.argv[1])
print(right.take(), flush=True)
sys.stdin.readline()
"""

FORKING_DRAINER = """
import os, sys, time
from voyado_async.outbox.lock import DrainRight
right = DrainRight(sys.argv[1])
assert right.take()
if os.fork() == 0:
    print(os.getpid(), right.take(), flush=True)
    time.sleep(60)
time.sleep(60)
"""


@pytest.fixture
def turns(tmp_path: Path) -> Iterator[tuple[Turn, Turn]]:
    one, other = Turn(str(tmp_path / "turn")), Turn(str(tmp_path / "turn"))
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def flock_fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From now on the file system answers a request for a lock so."""

    def fail(number: int) -> None:
        def flock(descriptor: int, operation: int) -> None:
            if operation != fcntl.LOCK_UN:
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    return fail


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "voyado-turn"]


def ended() -> bool:
    for thread in threads():
        thread.join(5)
    return threads() == []


def test_a_turn_is_taken_by_one_at_a_time(turns: tuple[Turn, Turn]) -> None:
    one, other = turns
    inside = []

    def work(turn: Turn, name: str) -> None:
        for _ in range(200):
            with turn:
                inside.append(name)
                assert len(inside) == 1
                inside.pop()

    workers = [threading.Thread(target=work, args=(turn, name)) for turn, name in ((one, "a"), (other, "b"))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)


def test_a_turn_is_handed_over_the_moment_that_it_is_free(turns: tuple[Turn, Turn]) -> None:
    one, other = turns
    with one:
        threading.Timer(0.2, one._file.release).start()
        before = time.monotonic()
        with other:
            assert 0.15 < time.monotonic() - before < 1
    assert other.contended == 1


def test_a_turn_that_comes_after_its_time_out_goes_to_the_next_in_this_process_or_back(
    turns: tuple[Turn, Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = turns
    monkeypatch.setattr(lock, "TURN_WAIT", 0.1)
    with one, pytest.raises(OutboxUnavailable, match="turn"):
        other.__enter__()
    deadline = time.monotonic() + 5
    while other._queued and time.monotonic() < deadline:
        time.sleep(0.001)
    with one:
        pass
    with other:
        pass


def test_a_turn_is_never_given_away_under_its_holder(turns: tuple[Turn, Turn], monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that waits for an abandoned turn shares the open file, and so the lock, with the next writer."""
    one, other = turns
    monkeypatch.setattr(lock, "TURN_WAIT", 0.01)
    for _ in range(150):
        one.__enter__()
        with pytest.raises(OutboxUnavailable):
            other.__enter__()
        one.__exit__()
        try:
            with other:
                time.sleep(0.0005)
                assert not one._file.take()
        except OutboxUnavailable:
            continue


def test_closing_leaves_no_thread_behind(turns: tuple[Turn, Turn], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = turns
    with one:
        threading.Timer(0.05, one._file.release).start()
        with other:
            pass
    assert len(threads()) == 1
    other.close()
    assert ended()


def test_closing_while_a_thread_waits_in_the_kernel_lets_it_end_with_that_wait(
    turns: tuple[Turn, Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = turns
    monkeypatch.setattr(lock, "TURN_WAIT", 0.05)
    with one:
        with pytest.raises(OutboxUnavailable):
            other.__enter__()
        other.close()
    assert ended()
    with one:
        pass


def test_a_closed_turn_is_not_to_be_had(turns: tuple[Turn, Turn]) -> None:
    turns[0].close()
    with pytest.raises(OutboxUnavailable):
        turns[0].__enter__()


# the right to drain --------------------------------------------------------------------------------------------------


def test_one_drainer_holds_the_right(tmp_path: Path) -> None:
    path = str(tmp_path / "drain")
    assert not is_drained(path)
    one, other = DrainRight(path), DrainRight(path)
    assert one.take()
    assert one.take()
    assert not other.take()
    assert is_drained(path)
    one.give_up()
    assert not is_drained(path)
    assert other.take()
    other.give_up()
    other.give_up()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_drainer_that_is_killed_is_replaced_at_once(tmp_path: Path, stopped: bool) -> None:
    path = str(tmp_path / "drain")
    holder = child(DRAINER, path)
    assert line(holder) == "True"
    right = DrainRight(path)
    assert not right.take()
    assert drainer_pid(path) == holder.pid
    if stopped:
        os.kill(holder.pid, signal.SIGSTOP)
        assert not right.take()
    kill(holder)
    assert drainer_pid(path) is None
    assert right.take()
    assert drainer_pid(path) == os.getpid()
    right.give_up()
    assert drainer_pid(path) is None


def test_a_full_disk_keeps_nobody_from_draining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    path = str(tmp_path / "outbox.db-drain")
    right = DrainRight(path)
    assert right.take()
    assert drainer_pid(path) == 0
    right.give_up()


def test_standing_by_does_not_disturb_the_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "drain")
    holder = child(DRAINER, path)
    assert line(holder) == "True"
    right = DrainRight(path)
    assert not any(right.take() for _ in range(1000))
    assert end(holder) == ""
    assert right.take()
    right.give_up()


def test_a_forked_child_neither_has_the_right_nor_keeps_it_alive(tmp_path: Path) -> None:
    path = str(tmp_path / "drain")
    holder = child(FORKING_DRAINER, path)
    pid, took = line(holder).split()
    assert took == "False"
    right = DrainRight(path)
    try:
        assert not right.take()
        holder.kill()
        holder.wait()
        assert right.take()
        os.kill(int(pid), 0)
    finally:
        os.kill(int(pid), signal.SIGKILL)
        holder.communicate()
        right.give_up()


def test_the_lock_files_are_for_their_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        right = DrainRight(str(tmp_path / "drain"))
        right.take()
    finally:
        os.umask(old)
    assert (tmp_path / "drain").stat().st_mode & 0o777 == 0o600
    right.give_up()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_an_outbox_on_a_file_system_without_locks_is_refused_and_nothing_is_made(
    number: int, flock_fails: Callable[[int], None], tmp_path: Path
) -> None:
    flock_fails(number)
    path = tmp_path / "outbox.db"
    with pytest.raises(ConfigurationError, match=r"^VOYADO_OUTBOX: the file system of .* has no locks .*local disk$"):
        await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    assert not path.exists()


async def test_locks_that_fail_later_are_an_outbox_that_is_unavailable(
    flock_fails: Callable[[int], None], tmp_path: Path
) -> None:
    """The server of a network file system went away: whoever writes waits for it, whoever drains begins again."""
    path = tmp_path / "outbox.db"
    outbox = await open_outbox(path, base_url=BASE_URL, clock=SystemClock())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", fcntl.flock)  # put back at the end
            flock_fails(errno.EIO)
            with pytest.raises(OutboxUnavailable, match="cannot be locked"):
                await outbox.enqueue([draft()])
            with pytest.raises(OutboxUnavailable, match="cannot be locked"):
                DrainRight(f"{path}-drain").take()
            with pytest.raises(OutboxUnavailable, match="cannot be locked"):
                is_drained(f"{path}-drain")
        assert [one.id for one in await outbox.enqueue([draft()])] == [1]
    finally:
        await outbox.close()


async def test_locks_that_fail_at_the_opening_for_another_reason_may_come_back(
    flock_fails: Callable[[int], None], tmp_path: Path
) -> None:
    flock_fails(errno.EIO)
    with pytest.raises(OutboxUnavailable, match="cannot be locked"):
        await open_outbox(tmp_path / "outbox.db", base_url=BASE_URL, clock=SystemClock())
