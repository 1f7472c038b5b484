"""A small shop that embeds the client. Nothing here waits for Engage but the answers that show a customer's data.

With a fake Engage (README, "By hand": it says how to start it, and seeds it with what is asked for here):

    python samples/shop_aiohttp.py --port 8080
    curl 'http://127.0.0.1:8080/offers?email=anna@example.com'
    curl http://127.0.0.1:8080/checkout -d @samples/checkout.json
    curl http://127.0.0.1:8080/orders/1

GET  /offers?email=anna@example.com   who that is, and what she can use now
POST /checkout                        a sale: answers as soon as it is on disk
GET  /orders/{entry}                  where one of its entries is
GET  /health                          whether anything has to be looked at
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from voyado_async import (
    EngageRefused,
    EngageUnavailable,
    EntryNotFound,
    InvalidEntry,
    KeyConflict,
    OutboxUnavailable,
    Settings,
    VoyadoClient,
)

VOYADO = web.AppKey("voyado", VoyadoClient)


class Checkout(msgspec.Struct, forbid_unknown_fields=True):
    """What the till sends. `order` is the till's own number of the sale; `receipt` and `changes` have Engage's names
    (see samples/payloads) and are handed on as they stand: an amount that was a float for a moment is not exact.
    """

    order: str
    contact_id: str
    receipt: msgspec.Raw
    assignment_id: str | None = None
    changes: msgspec.Raw = msgspec.Raw()


def answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


async def voyado(app: web.Application) -> AsyncIterator[None]:
    """Open with the shop, close with the shop. What is not delivered by then goes on at the next start."""
    async with VoyadoClient(Settings.from_env()) as client:
        app[VOYADO] = client
        yield


async def offers(request: web.Request) -> web.Response:
    client = request.app[VOYADO]
    contact_id = await client.contacts.find(email=request.query.get("email", ""))
    if contact_id is None:
        return answer({"contact": None, "offers": []}, status=404)
    found = await client.promotions.assignments(contact_id, channel="ECOM")
    usable = [{"id": offer.id, "name": offer.name} for offer in found if not offer.redeemed]
    return answer({"contact": contact_id, "offers": usable, "stale": found.stale})


async def checkout(request: web.Request) -> web.Response:
    """One commit for the whole sale. A till that repeats it after a lost answer gets the same entries again."""
    client = request.app[VOYADO]
    sale = msgspec.json.decode(await request.read(), type=Checkout)
    entries = {}
    async with client.batch():
        if sale.assignment_id is not None:
            entries["redeem"] = await client.promotions.redeem(
                sale.assignment_id, channel="ECOM", contact_id=sale.contact_id
            )
        if changes := bytes(sale.changes):
            entries["contact"] = await client.contacts.update(sale.contact_id, changes, key=f"order:{sale.order}")
        entries["receipt"] = await client.receipts.send(bytes(sale.receipt))
    return answer({name: entry.id for name, entry in entries.items()}, status=202)


async def order(request: web.Request) -> web.Response:
    """Where an entry is, and why, from the outbox: Engage is not asked."""
    client = request.app[VOYADO]
    entry = await client.outbox.get(int(request.match_info["entry"]))
    return answer({"id": entry.id, "kind": entry.kind, "state": entry.state, "reason": entry.reason})


async def health(request: web.Request) -> web.Response:
    """What waits for a person stands in `needs_person`, for monitoring: one rejected entry must not make a load
    balancer take the shop away from everybody."""
    return answer(await request.app[VOYADO].outbox.status())


@web.middleware
async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """What a caller can do about each of the client's errors, as a status. No message holds a customer's data."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except (InvalidEntry, msgspec.ValidationError, msgspec.DecodeError) as error:
        return answer({"error": str(error)}, status=400)
    except EntryNotFound as error:
        return answer({"error": str(error)}, status=404)
    except KeyConflict as error:
        return answer({"error": str(error), "entry": error.entry_id}, status=409)
    except EngageRefused as error:
        return answer({"error": str(error)}, status=502)
    except (EngageUnavailable, OutboxUnavailable) as error:
        return answer({"error": str(error)}, status=503)


def make_app() -> web.Application:
    app = web.Application(middlewares=[errors])
    app.cleanup_ctx.append(voyado)
    app.add_routes([web.get("/offers", offers), web.post("/checkout", checkout)])
    app.add_routes([web.get("/orders/{entry:[0-9]+}", order), web.get("/health", health)])
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    web.run_app(make_app(), host="127.0.0.1", port=parser.parse_args().port)
