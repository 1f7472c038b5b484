"""A second, small Engage, made from the facts alone and sharing nothing with the sandbox: one opinion more.

It answers what a page or a working client was seen to do (ref 1.2, 1.5, 2.2, 3.2, 3.3, 4.1-4.5, 5.1, 5.4) and is strict
where Engage was seen to be strict. It runs in a thread of its own, so that processes can talk to it as well.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from aiohttp import web

KEY = "a-key-of-the-contract"
AGENT = "ContractShop/1.0"

Fault = Callable[[web.Request, Callable[[], web.Response]], Any]


class Seen(NamedTuple):
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class PlainEngage:
    """Contacts, assignments and receipts behind the calls of both API versions. `seen` are all requests, in order."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.contacts: dict[str, dict[str, Any]] = {}
        self.assignments: dict[str, dict[str, Any]] = {}
        self.receipts: dict[str, dict[str, Any]] = {}
        self.redeemed: list[str] = []
        self._faults: dict[str, Fault] = {}
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    # what a test does -------------------------------------------------------------------------------------------------

    def contact(self, **fields: Any) -> str:
        contact_id = str(uuid.uuid4())
        self.contacts[contact_id] = {"id": contact_id, "contactType": "Member", **fields}
        return contact_id

    def assign(self, contact_id: str) -> str:
        assignment_id = str(uuid.uuid4())
        self.assignments[assignment_id] = {
            "contact": contact_id, "id": assignment_id, "promotionId": str(uuid.uuid4()), "externalId": None,
            "type": "Multichannel", "name": "20 %", "expiresOn": None, "heading": None, "description": None,
            "redeemed": False, "redeemedOn": None, "imageUrl": None, "link": None,
            "redemptionChannels": [{"type": "ECOM", "valueType": "PERCENT", "value": 20, "instruction": None}],
        }  # fmt: skip
        return assignment_id

    def once(self, part: str, fault: Fault) -> None:
        """The next request whose line holds `part` goes to `fault` instead of being answered."""
        self._faults[part] = fault

    def lines(self, part: str) -> list[str]:
        return [seen.line for seen in self.seen if part in seen.line]

    # what Engage does -------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.method, request.path, dict(request.query), dict(request.headers), body)
        self.seen.append(seen)
        part = next((part for part in self._faults if part in seen.line), None)
        if part is None:
            return self._answer(seen)
        answer: web.StreamResponse = await self._faults.pop(part)(request, lambda: self._answer(seen))
        return answer

    def _answer(self, seen: Seen) -> web.Response:
        if seen.headers.get("Content-Type") != "application/json":
            return refusal(500, "An error has occurred")
        if seen.headers.get("apikey") != KEY:
            return refusal(401, "Unauthorized")
        body = json.loads(seen.body) if seen.body else None
        for method, pattern, call in CALLS:
            found = re.fullmatch(pattern, seen.path)
            if seen.method == method and found:
                return call(self, seen, body, *found.groups())
        return refusal(404, "no such call")

    def find(self, seen: Seen, _: Any) -> web.Response:
        ((name, value),) = seen.query.items()
        names = ("memberNumber", "externalId") if name == "customKey" else (name,)
        found = [c["id"] for c in self.contacts.values() if value in [c.get(name) for name in names]]
        if not found:
            return refusal(404, "ContactNotFound")
        if len(found) > 1:
            text = {"errorCode": "MultipleMatches", "messageDetails": {"multipleMatchesFound": found}}
            return web.json_response(text, status=409)
        return web.json_response(found[0])

    def create(self, _: Seen, body: Any) -> web.Response:
        if any(body["email"] == contact.get("email") for contact in self.contacts.values()):
            return refusal(409, "ApprovedContactWithKeyExists")
        return web.json_response(self.contacts[self.contact(**body)], status=201)

    def update(self, _: Seen, body: Any, contact_id: str) -> web.Response:
        if contact_id not in self.contacts:
            return refusal(404, "ContactNotFound")
        self.contacts[contact_id] |= body
        return web.json_response(self.contacts[contact_id])

    def change_type(self, seen: Seen, _: Any, contact_id: str) -> web.Response:
        return self.update(seen, {"contactType": seen.query["contactTypeId"]}, contact_id)

    def list_assignments(self, seen: Seen, _: Any, contact_id: str | None = None) -> web.Response:
        owner, channel = contact_id or seen.query["contactId"], seen.query.get("redemptionChannelType")
        return web.json_response(
            [
                {name: value for name, value in one.items() if name != "contact"}
                for one in self.assignments.values()
                if one["contact"] == owner and channel in (None, *(c["type"] for c in one["redemptionChannels"]))
            ]
        )

    def redeem(self, _: Seen, body: Any, assignment_id: str) -> web.Response:
        if set(body) != {"redemptionChannel"} or body["redemptionChannel"] not in ("POS", "ECOM", "OTHER"):
            return refusal(400, "NotAValidRedemptionChannel")
        if assignment_id not in self.assignments:
            return refusal(404, "PromotionNotFound")
        assignment = self.assignments[assignment_id]
        if assignment["redeemed"]:
            return refusal(409, "PromotionAlreadyRedeemed")
        assignment |= {"redeemed": True, "redeemedOn": datetime.now(UTC).isoformat(timespec="seconds")}
        self.redeemed.append(assignment_id)
        return web.json_response({})

    def receive(self, _: Seen, body: Any) -> web.Response:
        self.receipts.setdefault(body["uniqueReceiptId"], body)
        return web.json_response({}, status=202)


CALLS: list[tuple[str, str, Callable[..., web.Response]]] = [
    ("GET", "/api/v[23]/contacts/id", PlainEngage.find),
    ("POST", "/api/v[23]/contacts", PlainEngage.create),
    ("PATCH", "/api/v3/contacts/([0-9a-f-]{36})", PlainEngage.update),
    ("POST", "/api/v2/contacts/([0-9a-f-]{36})", PlainEngage.update),
    ("POST", "/api/v[23]/contacts/([0-9a-f-]{36})/updateContactType", PlainEngage.change_type),
    ("GET", "/api/v3/promotion-assignments", PlainEngage.list_assignments),
    ("GET", "/api/v2/contacts/([0-9a-f-]{36})/promotions", PlainEngage.list_assignments),
    ("POST", "/api/v3/promotion-assignments/([^/]+)/redeem", PlainEngage.redeem),
    ("POST", "/api/v2/contacts/[0-9a-f-]{36}/promotions/([^/]+)/redeem", PlainEngage.redeem),
    ("POST", "/api/v[23]/receipts", PlainEngage.receive),
]


def refusal(status: int, code: str, **headers: str) -> web.Response:
    return web.json_response({"errorCode": code}, status=status, headers=headers)
