"""What systemd is told: ready, alive, stopping (sd_notify(3)). Without systemd all of it does nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Systemd:
    """The notification socket of the unit, where this process has one (``Type=notify``)."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._path = environ.get("NOTIFY_SOCKET", "")
        self.watchdog = _watchdog(environ)
        """Seconds within which systemd wants to hear that we are alive; None where it does not."""

    def notify(self, **words: str | int) -> None:
        """Say ``READY=1``, ``STATUS=...``; never waits and never fails: systemd may be gone."""
        if not self._path:
            return
        address = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        told = "\n".join(f"{name}={value}" for name, value in words.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.sendto(told.encode(), address)


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """``WATCHDOG_USEC``, where it is meant for this process."""
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(wanted) / 1_000_000
