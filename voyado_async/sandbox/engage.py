"""The tenant behind the API: state, pipeline and settings together, and a request's way to its handler.

`Engage.answer` is synchronous: a request takes effect wholly or not at all, at one moment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from voyado_async.sandbox import exchange, receipts
from voyado_async.sandbox.contact_fields import GUID
from voyado_async.sandbox.exchange import Call, Refused, Reply
from voyado_async.sandbox.journal import IntegrationLog, Journal
from voyado_async.sandbox.pipeline import Pipeline
from voyado_async.sandbox.settings import SandboxSettings
from voyado_async.sandbox.state import Contact, Origin, State


class Engage:
    """What every handler works on."""

    def __init__(
        self, settings: SandboxSettings, state: State, journal: Journal, log: IntegrationLog, pipeline: Pipeline
    ) -> None:
        self.settings = settings
        self.state = state
        self.journal = journal
        self.log = log
        self.pipeline = pipeline

    def contact(self, contact_id: str) -> Contact:
        """The contact of this id: 400 InvalidContactId, 404 ContactNotFound."""
        if not GUID.fullmatch(contact_id):
            raise Refused(400, "InvalidContactId")
        contact = self.state.contact(contact_id)
        if contact is None:
            raise Refused(404, "ContactNotFound")
        return contact

    def contact_type(self, name: str) -> str:
        found = self.state.contact_type(name)
        if found is None:
            raise Refused(400, "InvalidContactType")
        return found


Handler = Callable[[Engage, Call], Reply]


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


@dataclass(frozen=True)
class Route:
    """`path` is written as ``contacts/{contact}``; `versions` are the API versions that have it (ref 1.8)."""

    method: str
    path: str
    handler: Handler
    versions: tuple[int, ...] = (2, 3)

    def match(self, version: int, path: str) -> dict[str, str] | None:
        if version not in self.versions:
            return None
        found = _pattern(self.path).fullmatch(path)
        return found.groupdict() if found else None


_VERSIONED = re.compile(r"/api/v([23])/(.*?)/?")


class Router:
    """From method and path to a handler. Routes are tried in order: fixed words stand before parameters."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = routes

    def locate(self, call: Call) -> Handler | Reply:
        """The handler, with `version` and `params` put into the call; else the 404 or 405."""
        found = _VERSIONED.fullmatch(call.path)
        other_method = False
        if found:
            call.version = int(found[1])
            for route in self._routes:
                params = route.match(call.version, found[2])
                if params is None:
                    continue
                if route.method == call.method:
                    call.params = params
                    return route.handler
                other_method = True
        if other_method:
            return Reply(status=405, body=exchange.to_json({"message": "The method is not allowed here"}))
        return Reply(status=404, body=exchange.to_json({"message": "No resource was found at this address"}))


def answer(engage: Engage, router: Router, call: Call) -> Reply:
    """Check the headers, find the handler, let it act. Every refusal becomes its error body."""
    if (refusal := exchange.check_headers(call.headers, engage.settings)) is not None:
        return refusal
    handler = router.locate(call)
    if isinstance(handler, Reply):
        return handler
    try:
        return handler(engage, call)
    except Refused as refused:
        return exchange.error_reply(refused, engage.settings.error_shape)


def ids_of(call: Call, contact_key: str) -> dict[str, str]:
    """Whose request this is, for the books: `contact`, `assignment`, `receipt`, `key` as far as path, query and body
    name them. Never refuses.
    """
    ids = dict(call.params)
    if "contactId" in call.query:
        ids["contact"] = call.query["contactId"]
    try:
        body: Any = exchange.body_of(call) if call.body else None
    except Refused:
        return ids
    if isinstance(body, dict):
        if isinstance(body.get("uniqueReceiptId"), str):
            ids["receipt"] = body["uniqueReceiptId"]
            match = body.get("contact")
            if isinstance(match, dict) and isinstance(match.get("matchKey"), str):
                ids["contact"] = match["matchKey"]
        elif isinstance(body.get("contactId"), str):
            ids["contact"] = body["contactId"]
        elif call.method == "POST" and isinstance(body.get(contact_key), str):
            ids["key"] = body[contact_key]
    return ids


def post_receipt(engage: Engage, call: Call) -> Reply:
    """Accepted and stored later; a duplicate or an unknown contact is not told to the caller (ref 5.1)."""
    exchange.only_query(call)
    receipt = exchange.body_of(call)
    if (found := receipts.problem(receipt)) is not None:
        raise Refused(400, "BadRequest", found)
    engage.pipeline.accept_receipt(receipt, Origin("rest", call.seq))
    return Reply(status=202)


def get_transactions(engage: Engage, call: Call) -> Reply:
    """A page of stored receipts, newest first (ref 5.4)."""
    contact = engage.contact(exchange.contact_of(call, "offset", "count"))
    mine = [r for r in engage.state.receipts.values() if r["contactId"] == contact.id]
    rows = [_transaction(number, receipt) for number, receipt in enumerate(mine, 1)][::-1]
    return page_of(call, rows)


def page_of(call: Call, rows: list[dict[str, Any]]) -> Reply:
    """The page that `offset` and `count` ask for (ref 3.6, 5.4)."""
    offset, count = (_whole(call.query.get(name, default)) for name, default in (("offset", "0"), ("count", "100")))
    page = rows[offset : offset + count]
    return Reply.json(200, {"count": len(page), "offset": offset, "totalCount": len(rows), "items": page})


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Refused(400, "BadRequest", "offset and count are whole numbers")
    return int(text)


def _transaction(number: int, receipt: dict[str, Any]) -> dict[str, Any]:
    net = receipt["totalGrossPrice"] - sum(
        -item["taxAmount"] if item["type"] == "RETURN" else item["taxAmount"] for item in receipt["items"]
    )
    return {
        "id": number,
        "transactionNumber": receipt.get("receiptNumber"),
        "createdDate": receipt["createdDate"],
        "storeName": receipt["storeExternalId"],
        "numberOfItems": sum(item["quantity"] for item in receipt["items"]),
        "netPriceSum": net,
        "localNetPriceSum": net,
        "localCurrency": receipt["currency"],
        "groupCurrency": receipt["currency"],
        "storeType": "RETAIL",
        "lineItems": receipt["items"],
        "externalId": receipt["uniqueReceiptId"],
    }


RECEIPT_ROUTES = (
    Route("POST", "receipts", post_receipt),
    Route("GET", "transactions", get_transactions, (3,)),
    Route("GET", "contacts/{contact}/transactions", get_transactions, (2,)),
)
