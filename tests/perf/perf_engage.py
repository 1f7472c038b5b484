"""A server that answers every call with success after a fixed time: ``python perf_engage.py SECONDS``. Prints its port.

A bare protocol in a process of its own, so that the client is the limit.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Engage(asyncio.Protocol):
    """One connection. Requests carry a Content-Length or no body."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            size = end + 4 + int(length or 0)
            if len(self._read) < size:
                return
            self._read = self._read[size:]
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, ANSWER)


async def serve(delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Engage(delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def engage(delay: float) -> Iterator[str]:
    """Its base URL, while it runs."""
    command = [sys.executable, str(Path(__file__).resolve()), str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
