"""Locks of the kernel beside the database: the writers' turn, and the right to drain.

Both are `flock`: the kernel gives them up when the process dies, however it dies, and no clock is involved. A lock
belongs to the open file, so a forked child would keep it alive; the descriptors are closed in the child.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from voyado_async.errors import ConfigurationError, OutboxUnavailable
from voyado_async.outbox.access import OWNER, Access

TURN_WAIT = 5.0
"""Seconds that a writer waits for its turn before it is told that the outbox is unavailable (DESIGN 3)."""

LAST_WAIT = 0.25
"""Seconds that whoever has waited so long already still waits: a turn that changes hands as usual comes within some 10
ms."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What flock says on a file system that has no locks, above all one that is mounted over a network (flock(2))."""

_open: weakref.WeakSet[LockFile] = weakref.WeakSet()


def _flock(descriptor: int, operation: int, path: str) -> bool:
    """Whether it is ours. Raises OutboxUnavailable where it cannot be asked for."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OutboxUnavailable(f"{path} cannot be locked ({error.strerror}); nothing was written") from error
    return True


class LockFile:
    """A file that exists to be locked; never removed, since removing it would split its holders."""

    def __init__(self, path: str, access: Access = OWNER, *, opened: bool = True) -> None:
        self.path = path
        self._descriptor: int | None = None
        if opened:
            access.make_file(path)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        _open.add(self)

    @property
    def descriptor(self) -> int:
        if self._descriptor is None:
            raise OutboxUnavailable(f"{self.path} is closed; nothing was written")
        return self._descriptor

    @property
    def closed(self) -> bool:
        """By `close`, or because this is a forked child."""
        return self._descriptor is None

    def take(self) -> bool:
        """Take the lock without waiting."""
        return _flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, self.path)

    def wait(self) -> None:
        """Take the lock, however long it takes. The kernel hands it over the moment that it is free."""
        _flock(self.descriptor, fcntl.LOCK_EX, self.path)

    def release(self) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the lock up and close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _close_in_child() -> None:
    # A plain close leaves the parent's lock in place and takes only the child's share of it away.
    for lock in list(_open):
        with suppress(OSError):
            lock.close()


os.register_at_fork(after_in_child=_close_in_child)


class Turn:
    """The writers' turn: processes queue here before BEGIN IMMEDIATE, because SQLite's own waiting starves
    (PERFORMANCE: of two saturating writers one got nothing for 1.5 s). Used by one thread at a time.

    Not opened, it is nobody's: who only reads takes no turn, and looks into an outbox on a read-only disk, too.
    """

    def __init__(self, path: str, access: Access = OWNER, *, opened: bool = True) -> None:
        self._file = LockFile(path, access, opened=opened)
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._waiter: threading.Thread | None = None
        self._guard = threading.Lock()
        self._queued = False
        """The second thread waits in the kernel's queue. What it gets goes to who wants it by then."""
        self._wanted: threading.Event | None = None
        self.contended = 0
        """How often another process had the turn when this one wanted it."""

    def refuse_without_locks(self) -> None:
        """Raises ConfigurationError where this file system has no locks: SQLite's own would not hold there, either, and
        two processes would write over each other."""
        try:
            if self._file.take():
                self._file.release()
        except OutboxUnavailable as error:
            told = error.__cause__
            if isinstance(told, OSError) and told.errno in _NO_LOCKS:
                raise ConfigurationError(
                    f"VOYADO_OUTBOX: the file system of {self._file.path} has no locks ({told.strerror}): put the "
                    "outbox on a local disk"
                ) from error
            raise

    def __enter__(self) -> Turn:
        if not self.take():
            raise self.unavailable()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self, waited: float = 0.0) -> bool:
        """Whether it is ours now, within the time that is left to whoever has waited for so many seconds already.
        Raises OutboxUnavailable where it cannot be asked for."""
        with self._guard:
            # Both threads share one open file, and so one lock: a lock taken here while the other thread waits would
            # be given away by it.
            if not self._queued and self._file.take():
                return True
            self.contended += 1
            granted = self._wanted = threading.Event()
            if not self._queued:
                self._queue_up()
        if granted.wait(max(TURN_WAIT - waited, LAST_WAIT)):
            return True
        with self._guard:
            if granted.is_set():
                return True
            self._wanted = None
        return False

    def release(self) -> None:
        self._file.release()

    @staticmethod
    def may_wait(waited: float) -> bool:
        """Whether whoever has waited for so many seconds may try once more."""
        return waited < TURN_WAIT - LAST_WAIT

    def unavailable(self) -> OutboxUnavailable:
        """What is told to whoever has waited long enough."""
        return OutboxUnavailable(
            f"another process has held the turn at {self._file.path} for {TURN_WAIT:g} s; nothing was written"
        )

    def _queue_up(self) -> None:
        """Wait in the kernel's queue, which is fair, but not for ever. flock itself knows no time-out, so a second
        thread waits; a turn that comes after its time-out is given straight back."""
        self._queued = True
        if self._waiter is None:
            self._waiter = threading.Thread(target=self._serve, name="voyado-turn", daemon=True)
            self._waiter.start()
        self._calls.put(True)

    def _serve(self) -> None:
        while self._calls.get():
            try:
                self._file.wait()
            except OutboxUnavailable:
                with self._guard:
                    self._queued, self._waiter = False, None
                return
            with self._guard:
                self._queued = False
                wanted, self._wanted = self._wanted, None
                if wanted is not None:
                    wanted.set()
                elif not self._file.closed:
                    self._file.release()

    def close(self) -> None:
        """Close the file. A thread that is still in the kernel's queue is a daemon and ends with that wait."""
        with self._guard:
            waiter, idle = self._waiter, not self._queued
            self._file.close()
        self._calls.put(False)
        if waiter is not None and idle:
            waiter.join()


class DrainRight:
    """The right to drain: one holder among all processes. Taken without blocking and tried again by who stands by."""

    def __init__(self, path: str, access: Access = OWNER) -> None:
        self._path = path
        self._access = access
        self._file: LockFile | None = None

    def take(self) -> bool:
        """Whether this process may drain now. A forked child has not inherited the right."""
        if self._file is None or self._file.closed:
            file = LockFile(self._path, self._access)
            if not file.take():
                file.close()
                return False
            self._file = file
            # Who holds it is known with the right, and not only with the first thing that he writes into the outbox. A
            # full disk leaves it untold, and that is all.
            with suppress(OSError):
                os.truncate(file.descriptor, 0)
                os.pwrite(file.descriptor, b"%d" % os.getpid(), 0)
        return True

    def give_up(self) -> None:
        """Let another one drain."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_drained(path: str) -> bool:
    """Whether somebody holds the right to drain at this moment."""
    return is_held(path)


def drainer_pid(path: str) -> int | None:
    """The process that holds the right to drain at this moment; None where nobody does, 0 where it has not said yet."""
    if not is_held(path):
        return None
    told = Path(path).read_bytes()
    return int(told) if told.isdigit() else 0


def is_held(path: str) -> bool:
    """Whether somebody holds this lock at this moment. Takes it from nobody."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who only look never disturb each other.
        return not _flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, path)
    finally:
        os.close(descriptor)
