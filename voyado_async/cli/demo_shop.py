"""A shop that sells: mixed entries from `samples/payloads`, and the shop's own books of what it wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from voyado_async.cli.demo_books import Written, flat
from voyado_async.cli.demo_engage import Engage
from voyado_async.client import VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.delivery import Kind
from voyado_async.resources.writes import OutboxEntry

CUSTOM_ATTRIBUTES = ("shoeSize", "favouriteStore", "isStaff", "wishlist.count", "nickname")
"""The attributes of `contact_update_custom.json`: the sandbox has to know them."""

CUSTOMERS = 36
OFFERS = 3
"""Assignments of each customer, who has one voucher besides."""

_CLEARS = 0.12
"""Share of changes that clear a field. They have no form in a file, so they wait for the API."""

_clock = SystemClock()
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def samples_dir() -> Traversable:
    """The folder with the samples: inside the wheel, or beside the package in a checkout."""
    packaged = files("voyado_async") / "samples"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "samples"


class Samples:
    """The payloads, decoded; numbers exact."""

    def __init__(self) -> None:
        folder = samples_dir() / "payloads"
        self.receipts: list[dict[str, Any]] = [
            _decode((folder / f"receipt_{name}.json").read_bytes())
            for name in ("purchase", "discounts", "return", "exchange")
        ]
        self.receipts += [_decode(line) for line in (folder / "receipts.jsonl").read_bytes().splitlines()]
        self.contact: dict[str, Any] = _decode((folder / "contact_create.json").read_bytes())
        self.update: dict[str, Any] = _decode((folder / "contact_update.json").read_bytes())
        self.update_custom: dict[str, Any] = _decode((folder / "contact_update_custom.json").read_bytes())
        self.redeem: dict[str, Any] = _decode((folder / "redeem.json").read_bytes())


class Customer(msgspec.Struct):
    """Somebody who buys. One without an id became a customer during the story and is named by e-mail."""

    email: str
    external_id: str
    mobile_phone: str
    contact_id: str | None = None
    assignments: list[str] = []
    vouchers: list[str] = []
    contact_type: str = "Member"
    promoted: bool = False
    """Began as no member: what names a member does not find this customer in an outage."""
    by_email: bool = False
    """The shop also changes this customer by e-mail: two names, one contact, one order."""
    visits: int = 0


async def invite(engage: Engage, count: int = CUSTOMERS) -> list[Customer]:
    """Customers whom Engage has known for long, with offers. Some are no members yet."""
    customers = [_customer(number) for number in range(count)]
    for number, customer in enumerate(customers):
        customer.by_email = number % 6 == 1
        customer.contact_type = "Contact" if number % 6 == 2 else "Member"
    rows: list[dict[str, Any]] = [
        {
            "email": customer.email,
            "externalId": customer.external_id,
            "mobilePhone": customer.mobile_phone,
            "contact_type": customer.contact_type,
        }
        for customer in customers
    ]
    ids = (await engage.seed(contacts=rows))["contacts"]
    given = (await engage.seed(assignments=[{"contact_id": one} for one in ids for _ in range(OFFERS)]))["assignments"]
    bonus = (await engage.seed(vouchers=[{"contact_id": one} for one in ids]))["vouchers"]
    for number, customer in enumerate(customers):
        customer.contact_id = ids[number]
        customer.vouchers = [bonus[number]]
        customer.assignments = given[number * OFFERS : (number + 1) * OFFERS]
    return customers


def _customer(number: int) -> Customer:
    return Customer(f"customer{number}@example.com", f"shop-{number}", f"+4670{number:07}")


class Shop:
    """Writes what customers do. `books` is what the shop itself has on paper; `slowest` its worst write in seconds."""

    def __init__(self, voyado: VoyadoClient, customers: list[Customer], random: Random) -> None:
        self._voyado = voyado
        self._customers = customers
        self._known = len(customers)
        self._random = random
        self._samples = Samples()
        self._number = 0
        self.books: list[Written] = []
        self.slowest = 0.0

    async def welcome(self) -> None:
        """Every known customer comes once; those with two names by e-mail, so that the program learns who they are."""
        await asyncio.gather(*(self._visit(customer) for customer in self._customers[: self._known]))

    async def serve(self, count: int) -> None:
        """So many customers at the same time, a third of them new or new since a while."""
        known, later = self._customers[: self._known], self._customers[self._known :]
        chosen = self._random.sample(known, min(count * 2 // 3, len(known)))
        chosen += self._random.sample(later, min(count // 6, len(later)))
        new = [_customer(len(self._customers) + at) for at in range(count - len(chosen))]
        self._customers += new
        await asyncio.gather(*(self._visit(customer) for customer in chosen + new))

    async def _visit(self, customer: Customer) -> None:
        customer.visits += 1
        first = customer.visits == 1
        if customer.contact_id is None and first:
            await self._join(customer)
        if customer.contact_type == "Contact" and customer.contact_id is not None and customer.visits == 2:
            await self._promote(customer, customer.contact_id)
        await self._check_out(customer)

    async def _join(self, customer: Customer) -> None:
        contact = self._samples.contact | {
            "email": customer.email,
            "externalId": customer.external_id,
            "mobilePhone": customer.mobile_phone,
            "city": self._text("Malmö"),
        }
        began = _clock.monotonic()
        entry = await self._voyado.contacts.create(contact)
        self._took(began)
        expected = {name: value for name, value in flat(contact).items() if name != "contactType"}
        self._note(entry, customer.email, expected)

    async def _promote(self, customer: Customer, contact_id: str) -> None:
        began = _clock.monotonic()
        entry = await self._voyado.contacts.change_type(contact_id, "Member")
        self._took(began)
        customer.contact_type = "Member"
        customer.promoted = True
        self._note(entry, contact_id, {"contactType": "Member"})

    async def _check_out(self, customer: Customer) -> None:
        """What a sale is: an offer or a voucher used, an address changed, a receipt; one commit, all or nothing."""
        notes: list[tuple[OutboxEntry, str, dict[str, Any]]] = []
        began = _clock.monotonic()
        async with self._voyado.batch():
            if customer.contact_id and customer.assignments and self._random.random() < 0.6:
                channel = self._samples.redeem["channel"]
                assignment = customer.assignments.pop()
                entry = await self._voyado.promotions.redeem(
                    assignment, channel=channel, contact_id=customer.contact_id
                )
                notes.append((entry, assignment, {"channel": channel}))
            if customer.contact_id and customer.vouchers and self._random.random() < 0.3:
                voucher = customer.vouchers.pop()
                entry = await self._voyado.vouchers.redeem(voucher, contact_id=customer.contact_id)
                notes.append((entry, voucher, {}))
            if customer.visits == 1 or self._random.random() < 0.7:
                changes = self._changes()
                notes.append((await self._change(customer, changes), customer.contact_id or customer.email, changes))
            receipt = self._receipt(customer)
            notes.append((await self._voyado.receipts.send(receipt), receipt["uniqueReceiptId"], _by_any_road(receipt)))
        self._took(began)
        for entry, subject, values in notes:
            self._note(entry, subject, flat(values))

    async def _change(self, customer: Customer, changes: Mapping[str, object]) -> OutboxEntry:
        by_email = customer.by_email and (customer.visits == 1 or self._random.random() < 0.5)
        if customer.contact_id is None or by_email:
            return await self._voyado.contacts.update(
                None, changes, email=customer.email, contact_type=customer.contact_type
            )
        return await self._voyado.contacts.update(customer.contact_id, changes, contact_type=customer.contact_type)

    def _changes(self) -> dict[str, Any]:
        """A sample with values of its own, so that each entry can be told from the others at Engage."""
        random = self._random
        sample = self._samples.update_custom if random.random() < 0.3 else self._samples.update
        changes = {name: value for name, value in sample.items() if name != "mobilePhone" and value is not None}
        changes["city"] = self._text("Lund")
        if "street" in changes:
            changes["street"] = self._text(changes["street"])
            changes["preferences"] = {"acceptsSms": random.random() < 0.5}
        else:
            changes["wishlist.count"] = self._number
        if random.random() < _CLEARS:
            changes |= {name: None for name, value in sample.items() if value is None}
        return changes

    def _receipt(self, customer: Customer) -> dict[str, Any]:
        """A sample of this customer, named in one of the ways that receipts know (ref 5.2)."""
        contact: dict[str, str] = {"matchKey": customer.email, "matchKeyType": "email", "contactType": "Member"}
        if customer.contact_id is not None:
            contact = {"matchKey": customer.contact_id, "matchKeyType": "contactId"}
            if customer.contact_type == "Member" and not customer.promoted:
                name, value = self._random.choice(
                    [("externalId", customer.external_id), ("mobilePhone", customer.mobile_phone)]
                )
                contact = {"matchKey": value, "matchKeyType": name, "contactType": "Member"}
        self._number += 1
        number = f"{self._number:06}"
        own = {"contact": contact, "uniqueReceiptId": f"S118-DEMO-{number}", "receiptNumber": number}
        return self._random.choice(self._samples.receipts) | own

    def _text(self, text: str) -> str:
        self._number += 1
        return f"{text} {self._number}"

    def _took(self, began: float) -> None:
        self.slowest = max(self.slowest, _clock.monotonic() - began)

    def _note(self, entry: OutboxEntry, subject: str, values: dict[str, Any]) -> None:
        self.books.append(Written(entry.id, Kind(entry.kind), subject, values))


def _by_any_road(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What must stand at Engage, whichever way the receipt took: a few fields have no known place in a file."""
    items = [{name: value for name, value in item.items() if name != "packQuantity"} for item in receipt["items"]]
    return {name: value for name, value in receipt.items() if name not in ("taxDetails", "extraData")} | {
        "items": items
    }
