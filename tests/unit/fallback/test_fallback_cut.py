"""The connection is lost at any byte, in either direction: half a file is never shown, and the file arrives once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from file_servers import FileServer

from voyado_async.clock import SystemClock
from voyado_async.fallback.courier import Courier
from voyado_async.kinds import contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.outbox.states import State

CUTS = 10
"""In each direction, spread over the whole session."""


class Wire:
    """Between us and the server. Breaks when so many bytes have gone by in one direction."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.limits: dict[str, int] = {}
        self.went = {"there": 0, "back": 0}

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Wire]:
        listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            await listener.wait_closed()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self.went = dict.fromkeys(self.went, 0)
        ways = [("there", reader, server_writer), ("back", server_reader, writer)]
        await asyncio.wait(
            [asyncio.create_task(self._carry(*way)) for way in ways], return_when=asyncio.FIRST_COMPLETED
        )
        for end in (writer, server_writer):
            end.transport.abort()

    async def _carry(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                left = self.limits.get(way, 1 << 60) - self.went[way]
                writer.write(data[:left])
                await writer.drain()
                self.went[way] += len(data[:left])
                if left < len(data):
                    return
        except ConnectionError:
            return


@pytest.mark.parametrize("way", ["there", "back"])
async def test_a_connection_that_is_lost_at_any_byte_shows_no_half_file_and_loses_none(
    server: FileServer, tmp_path: Path, way: str
) -> None:
    clock = SystemClock()
    folder = server.root / "contacts"
    store = await open_outbox(tmp_path / "cut.db", base_url="http://127.0.0.1:9", clock=clock)
    now = clock.now()

    async def step() -> None:
        nonlocal now
        now += 600_000
        await courier.step(now, api_healthy=False)

    async def one_more(number: int) -> int:
        changes = {"city": f"Lund {number}", "street": "x" * 4000}
        (stored,) = await store.enqueue([contact_update.draft(address(contact_id=f"{number:032x}"), changes)])
        await store.settle(Settlement(stored.id, State.PENDING, State.EXHAUSTED, outage=True))
        return stored.id

    try:
        async with Wire(server.port).up() as wire:
            courier = Courier.of(store, server.settings(outbox=str(tmp_path / "cut.db"), sftp_port=wire.port))
            await one_more(0)
            await step()
            whole = wire.went[way]
            (first,) = folder.iterdir()
            first.unlink()
            await step()
            cut = 0
            for number in range(1, CUTS + 1):
                entry = await one_more(number)
                wire.limits[way] = whole * number // (CUTS + 1)
                await step()
                (file,) = [file for file in await store.files(open_only=True) if not file.imported]
                local = (tmp_path / "spool" / file.name).read_bytes()
                assert all(path.read_bytes() == local for path in folder.glob("[!.]*"))
                cut += file.state != "uploaded"
                wire.limits.clear()
                await step()
                assert [path.name for path in folder.iterdir()] == [file.name]
                assert (folder / file.name).read_bytes() == local
                assert (await store.states_of([entry]))[entry][0] is State.UPLOADED
                (folder / file.name).unlink()
                await step()
                assert (await store.states_of([entry]))[entry][0] is State.IMPORTED
            assert cut >= CUTS - 2, "the wire has to break before the end"
    finally:
        await store.close()
