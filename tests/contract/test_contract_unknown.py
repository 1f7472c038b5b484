"""Outcomes that are not known, as a shop's network makes them: what happened is looked up, and happens once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from contract_shop import receipt
from plain_engage import Fault, PlainEngage, refusal

from voyado_async import Settings, VoyadoClient

Answer = Callable[[], web.Response]


def says(answer: web.Response) -> Fault:
    async def fault(_request: web.Request, _answer: Answer) -> web.Response:
        return answer

    return fault


def breaks(*, after: bool) -> Fault:
    async def fault(request: web.Request, answer: Answer) -> web.Response:
        if after:
            answer()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return fault


async def hangs_after(_: web.Request, answer: Answer) -> web.Response:
    late = answer()
    await asyncio.sleep(3)  # the client gives up after one
    return late


async def fails_after(_: web.Request, answer: Answer) -> web.Response:
    answer()
    return refusal(500, "An error has occurred")


NOT_DONE: dict[str, Fault] = {
    "500": says(refusal(500, "An error has occurred")),
    "502": says(web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")),
    "503": says(refusal(503, "Service Unavailable", **{"Retry-After": "1"})),
    "504": says(refusal(504, "GatewayTimeout")),
    "408": says(refusal(408, "Request Timeout")),
    "302": says(web.Response(status=302, headers={"Location": "/login"})),
    "html": says(web.Response(text="<html>Maintenance</html>", content_type="text/html")),
    "404 of a gateway": says(web.Response(status=404, text="<html>no such route</html>", content_type="text/html")),
    "broken off": breaks(after=False),
}
DONE: dict[str, Fault] = {"broken off": breaks(after=True), "hangs": hangs_after, "500": fails_after}


async def test_what_is_not_known_is_looked_up_and_happens_once(
    engage: PlainEngage, environment: dict[str, str]
) -> None:
    """All at once: after each of them its contact rests for 10 s, since Engage may still be working on it."""
    redeem = "POST /api/v3/promotion-assignments/{}/redeem"
    look = "GET /api/v3/promotion-assignments"
    async with VoyadoClient(Settings.from_env(environment)) as voyado:
        waiting = []
        for done, faults in ((False, NOT_DONE), (True, DONE)):
            for name, fault in faults.items():
                contact = engage.contact()
                offer = engage.assign(contact)
                engage.once(offer, fault)
                entry = await voyado.promotions.redeem(offer, channel="ECOM", contact_id=contact)
                waiting.append((f"{name}, done: {done}", done, contact, offer, entry))
        engage.once("POST /api/v3/contacts", breaks(after=True))
        new = await voyado.contacts.create({"email": "new@example.com"})
        engage.once("POST /api/v3/receipts", fails_after)
        sent = await voyado.receipts.send(receipt(1, engage.contact()))

        for name, done, contact, offer, entry in waiting:
            assert (await entry.wait(timeout=60)).delivered, name
            one = redeem.format(offer)
            lines = [seen.line for seen in engage.seen if seen.line == one or seen.query.get("contactId") == contact]
            assert lines == ([one, look] if done else [one, look, one]), name
        assert sorted(engage.redeemed) == sorted(offer for _, _, _, offer, _ in waiting)

        made = await new.wait(timeout=60)
        assert [made.contact_id] == [id for id, one in engage.contacts.items() if one.get("email") == "new@example.com"]
        assert engage.lines("POST /api/v3/contacts") == ["POST /api/v3/contacts"]
        assert (await sent.wait(timeout=60)).delivered
        assert len(engage.lines("POST /api/v3/receipts")) == 2
        assert list(engage.receipts) == ["S1-1"]
        assert (await voyado.outbox.status()).accounting.balanced
