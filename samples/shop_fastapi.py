"""A shop in FastAPI: "My pages" that show what is known while Engage is down, and a check-out that never waits for it.

With a fake Engage (README, "By hand": it says how to start it, and seeds it with Anna):

    uvicorn --app-dir samples shop_fastapi:app --port 8080 --workers 4 --no-access-log

Each worker embeds a client on the same outbox; one of them drains for all. A view of My pages asks up to four
questions, so a shop with many customers at once raises VOYADO_READ_RATE; Engage's 50 requests a second are for all
workers and the drainer together. FastAPI and uvicorn are this sample's own needs, not the package's.

GET  /my-pages?email=anna@example.com  offers, purchases and profile; each says how old it is, or that it is not known
POST /checkout                         a sale: redeem, update, receipt in one commit; answers when it is on disk
GET  /orders/{entry}                   where one of its entries is
GET  /health                           whether anything has to be looked at

Who is logged in is the shop's own business: here an address says it, where yours has a session. As it stands, whoever
knows an address sees its pages, and an access log would hold the addresses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Request, Response

from voyado_async import (
    AccessRefused,
    EngageNotFound,
    EngageUnavailable,
    EntryNotFound,
    KeyConflict,
    MultipleMatches,
    OutboxEntry,
    Remedy,
    Settings,
    VoyadoClient,
    VoyadoError,
)

STATUS = {Remedy.CALL: 400, Remedy.WAIT: 503, Remedy.PERSON: 500, Remedy.CONFIGURATION: 500}
"""What a caller can do about an error of the client, as a status. No message holds a customer's data."""

KNOWN_BY_NAME: dict[type[VoyadoError], int] = {EntryNotFound: 404, KeyConflict: 409, MultipleMatches: 409}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open with the shop, close with the shop. What is not delivered by then goes on at the next start."""
    async with VoyadoClient(Settings.from_env()) as client:
        app.state.voyado = client
        yield


app = FastAPI(lifespan=lifespan)


def client_of(request: Request) -> VoyadoClient:
    client: VoyadoClient = request.app.state.voyado
    return client


Voyado = Annotated[VoyadoClient, Depends(client_of)]


def answer(value: Any, status: int = 200) -> Response:
    """msgspec writes money as the number that it is, and the client's structs as they are."""
    return Response(msgspec.json.Encoder(decimal_format="number").encode(value), status, media_type="application/json")


@app.exception_handler(VoyadoError)
async def refused(request: Request, error: VoyadoError) -> Response:
    return answer({"error": str(error)}, KNOWN_BY_NAME.get(type(error), STATUS[error.remedy]))


# my pages -------------------------------------------------------------------------------------------------------------


async def part(reading: Awaitable[Any], shown: Any) -> dict[str, Any]:
    """One part of a page, for itself: what is not known must not take away what is. Nor must a key that was changed at
    Engage and not here yet: the client's log tells of it.
    """
    try:
        found = await reading
    except (EngageUnavailable, AccessRefused):
        return {"known": False}
    return {"known": True, "stale": found.stale, "age": round(found.age), "content": shown(found)}


def usable(offers: Any) -> list[dict[str, Any]]:
    """An offer whose redemption waits in the outbox shows as redeemed: nobody spends it twice during an outage."""
    return [{"id": offer.id, "name": offer.name} for offer in offers if not offer.redeemed]


def bought(page: Any) -> list[dict[str, Any]]:
    return [
        {"receipt": each.external_id, "date": each.created_date, "store": each.store_name, "sum": each.net_price_sum}
        for each in page.items
    ]


def person(contact: Any) -> dict[str, Any]:
    return {"name": contact.first_name, "email": contact.email, "city": contact.city}


@app.get("/my-pages")
async def my_pages(voyado: Voyado, email: str) -> Response:
    contact_id = await voyado.contacts.find(email=email)
    if contact_id is None:
        raise HTTPException(404, "no customer has this address")
    try:
        offers, purchases, profile = await asyncio.gather(
            part(voyado.promotions.assignments(contact_id, channel="ECOM"), usable),
            part(voyado.transactions.list(contact_id, count=10), bought),
            part(voyado.contacts.get(contact_id), person),
        )
    except EngageNotFound:
        raise HTTPException(404, "this customer is gone") from None
    return answer({"contact": contact_id, "offers": offers, "purchases": purchases, "profile": profile})


# check-out ------------------------------------------------------------------------------------------------------------


class Checkout(msgspec.Struct, forbid_unknown_fields=True):
    """What the web page sends. `order` is the shop's own number of the sale; `receipt` and `changes` have Engage's
    names (see samples/payloads) and are handed on as they stand: an amount that was a float for a moment is not exact,
    which is why the body is read by msgspec and not by FastAPI.
    """

    order: str
    contact_id: str
    receipt: msgspec.Raw
    assignment_id: str | None = None
    changes: msgspec.Raw = msgspec.Raw()


async def checkout_of(request: Request) -> Checkout:
    try:
        return msgspec.json.decode(await request.body(), type=Checkout)
    except msgspec.MsgspecError as error:
        raise HTTPException(400, str(error)) from None


@app.post("/checkout")
async def checkout(voyado: Voyado, sale: Annotated[Checkout, Depends(checkout_of)]) -> Response:
    """One commit for the whole sale. A browser that repeats it after a lost answer gets the same entries again."""
    entries: dict[str, OutboxEntry] = {}
    async with voyado.batch():
        if sale.assignment_id is not None:
            entries["redeem"] = await voyado.promotions.redeem(
                sale.assignment_id, channel="ECOM", contact_id=sale.contact_id
            )
        if changes := bytes(sale.changes):
            entries["contact"] = await voyado.contacts.update(sale.contact_id, changes, key=f"order:{sale.order}")
        entries["receipt"] = await voyado.receipts.send(bytes(sale.receipt))
    told: dict[str, Any] = {name: entry.id for name, entry in entries.items()}
    if (offer := entries.get("redeem")) and offer.existing and not entries["receipt"].existing:
        # Two windows, one offer: it is redeemed once. The sale stands; what it costs is the shop's to decide.
        told["note"] = "another sale has used this offer"
    return answer(told, 202)


@app.get("/orders/{entry_id}")
async def order(voyado: Voyado, entry_id: int) -> Response:
    """Where an entry is, and why, from the outbox: Engage is not asked."""
    entry = await voyado.outbox.get(entry_id)
    return answer({"id": entry.id, "kind": entry.kind, "state": entry.state, "reason": entry.reason})


@app.get("/health")
async def health(voyado: Voyado) -> Response:
    """503 where the outbox cannot be read. What waits for a person stands in `needs_person` and is for monitoring: one
    rejected entry must not make a load balancer take the shop away from everybody."""
    return answer(await voyado.outbox.status())
