"""A port that can really refuse connections and be the same port afterwards.

A second socket stays bound to it without listening: so nobody else is given the port while it is closed, and the system
refuses whoever connects (both sockets carry SO_REUSEPORT).
"""

from __future__ import annotations

import socket


class Port:
    """One TCP port of this machine, reserved until `release`."""

    def __init__(self, host: str, port: int) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = host
        if port:
            self._refuse_taken(port)
        self._holder = self._bound(port)
        self.number: int = self._holder.getsockname()[1]

    def _refuse_taken(self, port: int) -> None:
        """SO_REUSEPORT would share a port with another sandbox in silence: OSError instead."""
        with socket.socket(self._family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((self._host, port))
            probe.listen()

    def _bound(self, port: int) -> socket.socket:
        held = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((self._host, port))
        except OSError:
            held.close()
            raise
        return held

    def listen(self) -> socket.socket:
        """A listening socket: connections are accepted from now on, even before anybody serves them."""
        listening = self._bound(self.number)
        listening.listen(512)
        listening.setblocking(False)
        return listening

    def release(self) -> None:
        self._holder.close()
