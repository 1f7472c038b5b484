"""A shop's process that can be killed at any moment: it writes down what it will do, does it, writes down that it did.

Its own books are one JSON line each, fsynced: ``{"sale": N, "writes": [...]}`` before, ``{"sale": N, "ids": [...]}``
once the outbox acknowledged the sale. Started again it first repeats what has no acknowledgement, under the same keys,
as a shop's reconciler does; then it goes on selling until its standard input ends. With ``finish`` it only repeats.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from voyado_async import Settings, VoyadoClient
from voyado_async.cli.demo_books import Written
from voyado_async.delivery import Kind
from voyado_async.resources.writes import OutboxEntry

TILLS = 5
"""Sales at the same time in one process; each till serves its own customers, so that a customer has one order."""
PAUSE = (0.3, 1.1)
"""Seconds between two sales of one till."""

RECEIPT: dict[str, Any] = {
    "createdDate": "2026-10-14T17:21:08+02:00",
    "storeExternalId": "118",
    "currency": "SEK",
    "exchangeRateToGroupCurrency": 1,
    "totalGrossPrice": 100,
    "paymentMethods": [{"type": "card", "value": 100}],
    "items": [
        {
            "type": "PURCHASE",
            "sku": "7310042-38",
            "articleNumber": "7310042",
            "articleName": "Trail shoe",
            "articleGroup": "Footwear",
            "quantity": 1,
            "grossPaidPrice": 100,
            "taxAmount": 20,
            "taxPercent": 25,
            "awardsBonus": True,
        }
    ],
}


class Buyer(msgspec.Struct):
    """A contact that Engage knows, with offers. `shared`: every writer changes it, each a field of its own."""

    contact_id: str
    email: str
    assignments: list[str]
    shared: bool = False


class Orders(msgspec.Struct):
    """What a writer is told."""

    number: int
    seed: int
    books: str
    buyers: list[Buyer]


class Write(msgspec.Struct):
    """One write, before it is done. `values` is the effect that Engage's books must show."""

    kind: Kind
    subject: str
    values: dict[str, Any]
    key: str | None = None
    contact_id: str | None = None
    email: str | None = None


class Line(msgspec.Struct, omit_defaults=True):
    """A line of the books."""

    sale: int
    writes: list[Write] = []
    ids: list[int] = []


class Books:
    """Append-only; a line that a kill cut off never happened."""

    def __init__(self, path: str) -> None:
        self._path = path
        whole = Path(path).read_bytes() if Path(path).exists() else b""
        whole = whole[: whole.rfind(b"\n") + 1]
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(self._file, len(whole))
        os.lseek(self._file, 0, os.SEEK_END)
        self.lines = [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]

    @property
    def acknowledged(self) -> dict[int, list[int]]:
        return {line.sale: line.ids for line in self.lines if line.ids}

    @property
    def open(self) -> list[Line]:
        """Sales that were begun and not acknowledged, in their order."""
        return [line for line in self.lines if line.writes and line.sale not in self.acknowledged]

    @property
    def written(self) -> list[Written]:
        """Everything that was acknowledged."""
        ids = self.acknowledged
        return [
            Written(entry_id, write.kind, write.subject, write.values)
            for line in self.lines
            if line.writes and line.sale in ids
            for write, entry_id in zip(line.writes, ids[line.sale], strict=True)
        ]

    def note(self, line: Line) -> None:
        os.write(self._file, msgspec.json.encode(line) + b"\n")
        os.fsync(self._file)
        self.lines.append(line)


class Shop:
    """Sells to its customers."""

    def __init__(self, voyado: VoyadoClient, orders: Orders, books: Books) -> None:
        self._voyado = voyado
        self._orders = orders
        self._books = books
        self._sale = max((line.sale for line in books.lines), default=0)
        # Another life, other choices; the seed and the books so far decide them.
        self._random = Random(f"{orders.seed}/{orders.number}/{self._sale}")
        used = {write.subject for line in books.lines for write in line.writes if write.kind is Kind.REDEEM}
        self._offers = {b.contact_id: [a for a in b.assignments if a not in used] for b in orders.buyers}
        self._created = [w.subject for line in books.lines for w in line.writes if w.kind is Kind.CONTACT_CREATE]

    async def repeat(self) -> None:
        """What was begun and has no acknowledgement: under the same keys it is there once."""
        for line in self._books.open:
            await self._do(line)

    async def sell(self, till: int) -> None:
        """One customer after the other."""
        own = [buyer for at, buyer in enumerate(self._orders.buyers) if at % TILLS == till]
        created = [email for at, email in enumerate(self._created) if at % TILLS == till]
        while True:
            await asyncio.sleep(self._random.uniform(*PAUSE))
            self._sale += 1
            if self._random.random() < 0.15:
                email = f"w{self._orders.number}-{self._sale}@example.com"
                created.append(email)
                writes = [self._join(email)]
            elif created and self._random.random() < 0.25:
                email = self._random.choice(created)
                writes = [self._change(None, email), self._receipt("email", email)]
            else:
                writes = self._visit(self._random.choice(own))
            line = Line(self._sale, writes)
            self._books.note(line)
            await self._do(line)

    def _visit(self, buyer: Buyer) -> list[Write]:
        writes = []
        if self._offers[buyer.contact_id] and self._random.random() < 0.5:
            assignment = self._offers[buyer.contact_id].pop()
            # Some without the contact: those can't be looked up.
            contact_id = buyer.contact_id if self._random.random() < 0.85 else None
            writes.append(Write(Kind.REDEEM, assignment, {"channel": "POS"}, contact_id=contact_id))
        if self._random.random() < 0.7:
            writes.append(self._change(buyer))
        if self._random.random() < 0.4 or not writes:
            writes.append(self._receipt("contactId", buyer.contact_id))
        return writes

    def _own(self) -> str:
        return f"{self._orders.number}-{self._sale}"

    def _change(self, buyer: Buyer | None, email: str | None = None) -> Write:
        fields = ["city", "street"]
        if buyer is not None and buyer.shared:
            fields = [("street", "careOf", "zipCode", "firstName")[self._orders.number]]
        values = {field: f"{field} {self._own()}" for field in fields}
        subject = buyer.contact_id if buyer is not None else email or ""
        contact_id = buyer.contact_id if buyer is not None else None
        return Write(Kind.CONTACT_UPDATE, subject, values, key=f"u{self._own()}", contact_id=contact_id, email=email)

    def _join(self, email: str) -> Write:
        values = {"email": email, "firstName": "Anna", "city": f"city {self._own()}"}
        return Write(Kind.CONTACT_CREATE, email, values, key=f"c{self._own()}")

    def _receipt(self, key_type: str, match_key: str) -> Write:
        number = f"{self._orders.number}-{self._sale:05}"
        values = {"receiptNumber": number, "currency": "SEK"}
        named = {"contact_id": match_key} if key_type == "contactId" else {"email": match_key}
        return Write(Kind.RECEIPT, f"S118-CHAOS-{number}", values, **named)

    async def _do(self, line: Line) -> None:
        async with self._voyado.batch():
            entries = [await self._write(write) for write in line.writes]
        self._books.note(Line(line.sale, ids=[entry.id for entry in entries]))

    async def _write(self, write: Write) -> OutboxEntry:
        voyado = self._voyado
        match write.kind:
            case Kind.REDEEM:
                return await voyado.promotions.redeem(
                    write.subject, channel=write.values["channel"], contact_id=write.contact_id
                )
            case Kind.CONTACT_UPDATE:
                return await voyado.contacts.update(write.contact_id, write.values, email=write.email, key=write.key)
            case Kind.CONTACT_CREATE:
                return await voyado.contacts.create(write.values, key=write.key)
            case _:
                contact = (
                    {"matchKey": write.contact_id, "matchKeyType": "contactId"}
                    if write.contact_id is not None
                    else {"matchKey": write.email, "matchKeyType": "email", "contactType": "Member"}
                )
                receipt = {**RECEIPT, **write.values, "contact": contact, "uniqueReceiptId": write.subject}
                return await voyado.receipts.send(receipt)


async def main() -> None:
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    finish = "finish" in sys.argv
    async with VoyadoClient(Settings.from_env(), drain=False) as voyado:
        shop = Shop(voyado, orders, Books(orders.books))
        await shop.repeat()
        if finish:
            return
        tills = [asyncio.create_task(shop.sell(till)) for till in range(TILLS)]
        closed = asyncio.create_task(asyncio.to_thread(sys.stdin.buffer.read))
        done, _ = await asyncio.wait([*tills, closed], return_when=asyncio.FIRST_COMPLETED)
        for till in tills:
            till.cancel()
        await asyncio.gather(*tills, return_exceptions=True)
        for task in done:
            task.result()


if __name__ == "__main__":
    asyncio.run(main())
