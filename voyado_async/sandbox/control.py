"""The remote control: plain HTTP and JSON on a port of its own, which answers also while the REST port refuses.

GET  /info                               addresses and credentials of this sandbox
GET  /journal?since=SEQ                  the books (arrivals, commits, files, sftp, counts, per_second, peak)
GET  /state                              contacts, promotions, assignments, vouchers, receipts; what waits: files,
                                         pipeline
GET  /log                                the Integration log
GET  /faults                             those that are on
POST /seed     {contacts, promotions, assignments, vouchers, being_created}   as State.add_* takes them; answers the ids
POST /faults   {"add": [..]} | {"replace": [..]} | {"remove": [id, ..]} | {"clear": true | kind}
POST /import                             run the pipeline and the importer now; answers the files taken
POST /reset                              back to an empty tenant without faults
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from voyado_async.sandbox.exchange import to_json
from voyado_async.sandbox.faults import Faults
from voyado_async.sandbox.importer import Importer
from voyado_async.sandbox.journal import IntegrationLog, Journal
from voyado_async.sandbox.pipeline import Pipeline
from voyado_async.sandbox.state import State

_MOMENTS = ("starts_on", "expires_on", "redeemed_on")


class Controlled(Protocol):
    """What the remote control reaches."""

    state: State
    journal: Journal
    faults: Faults
    importer: Importer
    pipeline: Pipeline
    log: IntegrationLog

    def info(self) -> dict[str, Any]: ...

    def reset(self) -> None: ...


class ControlServer:
    """The remote control's own port."""

    def __init__(self, sandbox: Controlled) -> None:
        self._sandbox = sandbox

    async def start(self, host: str, port: int) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/info", self._get(lambda request: self._sandbox.info())),
                web.get("/journal", self._get(self._journal)),
                web.get("/state", self._get(self._state)),
                web.get("/log", self._get(lambda request: self._sandbox.log.to_json())),
                web.get("/faults", self._get(lambda request: self._sandbox.faults.to_json())),
                web.post("/seed", self._post(self._seed)),
                web.post("/faults", self._post(self._change_faults)),
                web.post("/import", self._import),
                web.post("/reset", self._post(self._reset)),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port: int = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    def _get(self, read: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return _json(200, read(request))
            except ValueError as error:
                return _json(400, {"error": str(error)})

        return handle

    def _post(self, act: Callable[[dict[str, Any]], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return _json(200, act(_object(await request.read())))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                return _json(400, {"error": f"{type(error).__name__}: {error}"})

        return handle

    async def _import(self, request: web.Request) -> web.Response:
        return _json(200, await self._sandbox.importer.run())

    def _journal(self, request: web.Request) -> dict[str, Any]:
        return self._sandbox.journal.to_json(int(request.query.get("since", "0")))

    def _state(self, request: web.Request) -> dict[str, Any]:
        return {
            **self._sandbox.state.to_json(),
            "files_waiting": self._sandbox.importer.waiting(),
            "pipeline_waiting": len(self._sandbox.pipeline),
        }

    def _seed(self, body: dict[str, Any]) -> dict[str, list[str]]:
        """In this order, so that one call can hold a contact and its assignment. Seeding stops at a bad row."""
        if unknown := body.keys() - {"contacts", "promotions", "assignments", "vouchers", "being_created"}:
            raise ValueError(f"unknown: {min(unknown)}")
        state = self._sandbox.state
        contacts = [state.add_contact(**row).id for row in body.get("contacts", [])]
        promotions = [state.add_promotion(**row).id for row in body.get("promotions", [])]
        assignments = [state.add_assignment(**_with_moments(row)).id for row in body.get("assignments", [])]
        vouchers = [state.add_voucher(**_with_moments(row)).id for row in body.get("vouchers", [])]
        state.being_created.update(body.get("being_created", []))
        return {"contacts": contacts, "promotions": promotions, "assignments": assignments, "vouchers": vouchers}

    def _change_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        if unknown := body.keys() - {"add", "replace", "remove", "clear"}:
            raise ValueError(f"unknown: {min(unknown)}")
        faults = self._sandbox.faults
        ids: list[int] = []
        if clear := body.get("clear"):
            faults.clear(None if clear is True else clear)
        for fault_id in body.get("remove", []):
            faults.remove(fault_id)
        if "replace" in body:
            ids += faults.replace(body["replace"])
        for row in body.get("add", []):
            ids.append(faults.add(**row))
        return {"ids": ids, "active": faults.to_json()}

    def _reset(self, body: dict[str, Any]) -> dict[str, bool]:
        self._sandbox.reset()
        return {"reset": True}


def _object(raw: bytes) -> dict[str, Any]:
    body = json.loads(raw) if raw.strip() else {}
    if not isinstance(body, dict):
        raise TypeError("the body is not an object")
    return body


def _with_moments(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name in _MOMENTS and isinstance(value, str) else value
        for name, value in row.items()
    }


def _json(status: int, value: Any) -> web.Response:
    return web.Response(status=status, body=to_json(value), content_type="application/json")
