"""The REST side: reads a request, lets a fault strike or Engage answer, and enters both in the books."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web

from voyado_async.sandbox.contacts import CONTACT_ROUTES
from voyado_async.sandbox.definitions import DEFINITION_ROUTES
from voyado_async.sandbox.engage import RECEIPT_ROUTES, Engage, Router, answer, ids_of
from voyado_async.sandbox.exchange import Call, Refused, Reply, error_reply, server_error, to_json
from voyado_async.sandbox.faults import REST_KINDS, Fault, FaultKind, Faults
from voyado_async.sandbox.journal import Arrival
from voyado_async.sandbox.listener import Port
from voyado_async.sandbox.promotions import PROMOTION_ROUTES
from voyado_async.sandbox.vouchers import VOUCHER_ROUTES

ROUTER = Router((*CONTACT_ROUTES, *PROMOTION_ROUTES, *DEFINITION_ROUTES, *VOUCHER_ROUTES, *RECEIPT_ROUTES))

_MAX_BODY = 64 * 1024 * 1024
_SOME_JSON = b'{"id":"0b6f1c52"}'
_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Welcome</h1></body></html>"


class RestServer:
    """Engage's HTTP port on loopback. `open` and `shut` take effect at once and may be called again and again."""

    def __init__(self, engage: Engage, faults: Faults) -> None:
        self._engage = engage
        self._faults = faults
        self._late: set[asyncio.Task[Reply]] = set()
        self._recent: deque[float] = deque()
        self._listening: asyncio.Task[asyncio.Server] | None = None

    async def start(self, host: str, port: int) -> None:
        self._port = Port(host, port)
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # The handler ends with its connection, so that "never answered" does not pile up tasks.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        self.port = self._port.number
        self.open()

    def open(self) -> None:
        """Accept connections."""
        if self._listening is None:
            server = self._runner.server
            assert server is not None
            listening = self._port.listen()
            loop = asyncio.get_running_loop()
            self._listening = loop.create_task(loop.create_server(server, sock=listening))

    def shut(self) -> None:
        """Refuse connections and reset those that are there."""
        if self._listening is None:
            return
        if self._listening.done():
            self._listening.result().close()
        else:
            self._listening.add_done_callback(lambda opened: opened.result().close())
        self._listening = None
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if isinstance(connection.transport, asyncio.Transport):
                _reset(connection.transport)

    async def stop(self) -> None:
        if self._listening is not None:
            await self._listening
        self.shut()
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._runner.cleanup()
        self._port.release()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = Call(
            seq=0,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers,
            body=body,
        )
        ROUTER.locate(call)
        ids = ids_of(call, self._engage.settings.contact_key)
        arrival = self._engage.journal.arrive(call.method, call.path, call.query, ids, len(body))
        call.seq = arrival.seq
        try:
            return await self._answer(request, call, arrival)
        finally:
            arrival.ended = time.monotonic()

    async def _answer(self, request: web.Request, call: Call, arrival: Arrival) -> web.StreamResponse:
        fault = self._faults.take(REST_KINDS, call.method, call.path)
        if fault is None:
            return _send(self._too_many() or self._commit(call, arrival), arrival)
        arrival.fault = fault.kind
        match fault.kind:
            case FaultKind.RESET_BEFORE:
                await _cut(request)
            case FaultKind.RESET_AFTER:
                self._commit(call, arrival)
                await _cut(request)
            case FaultKind.HANG:
                await _for_ever()
            case FaultKind.HANG_AFTER:
                self._commit(call, arrival)
                await _for_ever()
            case FaultKind.STATUS_AFTER:
                self._commit(call, arrival)
            case FaultKind.SLOW:
                reply = self._commit(call, arrival)
                await asyncio.sleep(fault.seconds)
                return _send(reply, arrival)
            case FaultKind.LATE:
                return _send(await self._commit_late(call, arrival, fault.seconds), arrival)
            case FaultKind.GARBAGE | FaultKind.TRUNCATE | FaultKind.HTML:
                reply = self._commit(call, arrival) if fault.committed else Reply(status=200)
                if fault.kind is FaultKind.TRUNCATE:
                    await _truncated(request, reply, arrival)
                return _send(_maimed(reply, fault), arrival)
            case _:
                pass
        return _send(self._faulty(call, fault), arrival)

    def _commit(self, call: Call, arrival: Arrival) -> Reply:
        before = len(self._engage.journal.commits)
        reply = answer(self._engage, ROUTER, call)
        arrival.committed = len(self._engage.journal.commits) > before
        return reply

    async def _commit_late(self, call: Call, arrival: Arrival, seconds: float) -> Reply:
        """The effect comes even if the client has gone. A creation under way is seen by others of its key (ref 4.3)."""
        key = arrival.ids.get("key") if call.path.endswith("/contacts") else None
        being_created = self._engage.state.being_created

        async def take_effect() -> Reply:
            if key is not None:
                being_created.add(key)
            try:
                await asyncio.sleep(seconds)
            finally:
                if key is not None:
                    being_created.discard(key)
            return self._commit(call, arrival)

        task = asyncio.create_task(take_effect())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        return await asyncio.shield(task)

    def _too_many(self) -> Reply | None:
        """The hard limit of ref 1.4, counted over one second."""
        limit = self._engage.settings.hard_rate
        now = time.monotonic()
        while self._recent and now - self._recent[0] >= 1:
            self._recent.popleft()
        if limit and len(self._recent) >= limit:
            return _throttled(None)
        self._recent.append(now)
        return None

    def _faulty(self, call: Call, fault: Fault) -> Reply:
        """The reply of a fault that answers properly, but not what was hoped for."""
        if fault.kind is FaultKind.THROTTLE:
            return _throttled(fault.retry_after)
        if fault.kind is FaultKind.REDIRECT:
            assert fault.status is not None
            return Reply(status=fault.status, headers={"Location": fault.location})
        if fault.kind in (FaultKind.BAD_KEY, FaultKind.FORBIDDEN):
            status = 401 if fault.kind is FaultKind.BAD_KEY else 403
            return Reply(status=status, body=to_json({"message": "Authorization has been denied for this request."}))
        assert fault.status is not None
        code = fault.code
        if code is None and fault.status == HTTPStatus.GATEWAY_TIMEOUT and fault.kind is FaultKind.STATUS:
            code = _timeout_code(call)
        if code is not None:
            return error_reply(Refused(fault.status, code), self._engage.settings.error_shape)
        return server_error(fault.status)


def _timeout_code(call: Call) -> str | None:
    """What Engage itself says with a 504: nothing was saved (ref 2.2, 2.3)."""
    if call.path.endswith("/redeem"):
        return "GatewayTimeout"
    if call.path == "/api/v3/contacts" and call.method == "POST":
        return "RequestTimeOut"
    return None


def _throttled(retry_after: float | None) -> Reply:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Reply(status=429, body=to_json({"message": "Too Many Requests"}), headers=headers)


def _send(reply: Reply, arrival: Arrival) -> web.Response:
    arrival.status = reply.status
    arrival.code = reply.code
    if not reply.body:
        return web.Response(status=reply.status, headers=reply.headers)
    return web.Response(
        status=reply.status, body=reply.body, headers=reply.headers, content_type=reply.content_type, charset="utf-8"
    )


def _maimed(reply: Reply, fault: Fault) -> Reply:
    """An answer that looks like success and is not what the call answers."""
    if fault.kind is FaultKind.HTML:
        return Reply(status=200, body=_PAGE, content_type="text/html")
    body = reply.body or _SOME_JSON
    return Reply(status=reply.status, body=body[: len(body) // 2])


def _reset(transport: asyncio.Transport) -> None:
    """End the connection with a reset instead of an orderly close."""
    raw = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _for_ever() -> NoReturn:
    """Until the connection ends, which cancels the handler."""
    while True:
        await asyncio.Event().wait()


async def _cut(request: web.Request) -> NoReturn:
    if isinstance(request.transport, asyncio.Transport):
        _reset(request.transport)
    await _for_ever()


async def _truncated(request: web.Request, reply: Reply, arrival: Arrival) -> NoReturn:
    """Promise a longer body than the one that comes, then end the connection."""
    body = reply.body or _SOME_JSON
    arrival.status = reply.status
    response = web.StreamResponse(status=reply.status, headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[:-1])
    if isinstance(request.transport, asyncio.Transport):
        request.transport.close()
    await _for_ever()
