"""A model of Engage, over the API and in the folder: as simple as can be, and able to fail in every way.

It keeps what a careful auditor would: what was applied, in which order, and whether anything was sent that should not
have been. `offences` holds what must never happen.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from fakes import FakeClock

from voyado_async.api.routes import EngageRequest
from voyado_async.delivery import Failure, Reply, Request
from voyado_async.errors import UploadFailed
from voyado_async.fallback.spool import part_name
from voyado_async.kinds.call import Operation
from voyado_async.sandbox import import_xml

PATIENCE = 65.0
"""Seconds after which the client gives up."""
LONGEST_AFTER = 9.9
"""Seconds that Engage may still be at work after its client has gone (DESIGN 3: a lane rests for 10)."""

KNOWN = {400, 401, 403, 404, 409, 429}
"""Answers by which nothing was done."""
CHANGES = {
    Operation.REDEEM, Operation.REDEEM_VOUCHER, Operation.SEND_RECEIPT, Operation.UPDATE_CONTACT,
    Operation.CHANGE_CONTACT_TYPE, Operation.CREATE_CONTACT,
}  # fmt: skip
LISTS = {Operation.LIST_ASSIGNMENTS, Operation.REDEEMED_VOUCHERS}
"""What a redemption is looked up in."""
BULK = {Operation.BULK_CREATE, Operation.BULK_UPDATE}
FOLDERS = ("contacts", "redemptions", "transactions")
"""In the order in which Engage imports them (ref 6.3)."""
PAGE = 2
"""Vouchers that a page holds at most, whatever was asked for."""
HTML = b"<html><body>Bad gateway</body></html>"


class Fault(StrEnum):
    """What becomes of a request. LOST: nothing was done; DONE: done before the answer; LATE: after the client left."""

    REFUSED = "refused"
    TIMEOUT_LOST = "timeout_lost"
    TIMEOUT_DONE = "timeout_done"
    TIMEOUT_LATE = "timeout_late"
    BROKEN_LOST = "broken_lost"
    BROKEN_DONE = "broken_done"
    BROKEN_LATE = "broken_late"
    E500_LOST = "500_lost"
    E503_DONE = "503_done"
    E504_LATE = "504_late"
    E408_LATE = "408_late"
    PAGE_LOST = "page_lost"
    HALF_DONE = "half_done"
    SLOW_DONE = "slow_done"
    TOO_MANY = "too_many"
    TOO_MANY_FOR_LONG = "too_many_for_long"
    BAD_REQUEST = "bad_request"
    NOT_ALLOWED = "not_allowed"
    FORBIDDEN = "forbidden"


class Model:
    """`send` stands where the package's `Http` stands. Faults are taken one by one, then everything works.

    Files are read as they were really written, by the sandbox's reader, which shares no code with the writer. A bulk
    request lands within `period` seconds, or is skipped in silence.
    """

    def __init__(self, clock: FakeClock, chance: random.Random, period: float) -> None:
        self.clock = clock
        self.chance = chance
        self.period = period
        self.emails: dict[str, str] = {}
        self.cities: dict[str, str] = {}
        self.owners: dict[str, list[str]] = {}
        """Who has had an address, in order."""
        self.addressed: dict[int, str] = {}
        """The address by which the change of a number was written."""
        self.applied: dict[str, list[int]] = {}
        """The numbers of the changes that each contact got, in order."""
        self.by_file: dict[str, list[int]] = {}
        """Where among them those stand that a file or a bulk request brought."""
        self.taken_back: set[int] = set()
        """Entries that a person took back when they had left by file."""
        self.types: dict[str, list[int]] = {}
        """The numbers of its changes of type."""
        self.redeemed: dict[str, tuple[int, bool]] = {}
        """When (ms), and whether by us."""
        self.receipts: set[str] = set()
        self.assignments: dict[str, str | None] = {}
        """Whose they are, as far as the shop knows."""
        self.vouchers: dict[str, str | None] = {}
        """The same."""
        self.faults: deque[Fault] = deque()
        self.down = False
        self.key_works = True
        self.forbidden: set[Operation] = set()
        self.offences: list[str] = []
        self.hits: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()
        self._late: dict[asyncio.Task[None], tuple[float, EngageRequest]] = {}
        self._under_way: Counter[str] = Counter()
        self._sent: set[str] = set()
        """Whose request may have taken effect."""
        self._looked: set[str] = set()
        self._landing: dict[asyncio.Task[None], Callable[[], None]] = {}
        self._batches = 0
        self.folder: dict[tuple[str, str], bytes] = {}
        self.remote_fails = False

    def add_contact(self, contact_id: str, email: str) -> None:
        self._name(contact_id, email)
        self.cities[contact_id] = ""
        self.applied.setdefault(contact_id, [])
        self.types.setdefault(contact_id, [])

    def _name(self, contact_id: str, email: str) -> None:
        self.emails = {known: owner for known, owner in self.emails.items() if owner != contact_id} | {
            email: contact_id
        }
        self.owners.setdefault(email, []).append(contact_id)

    # over the API -----------------------------------------------------------------------------------------------------

    async def send(self, request: Request, *, within: float | None = None) -> Reply:
        assert isinstance(request, EngageRequest)
        operation = request.operation
        subject = self._subject(request) if operation in CHANGES else None
        if subject is not None:
            self._audit(operation, subject)
            self._audit_address(request)
        reply = None
        try:
            reply = await self._answer(request)
        finally:
            if subject is not None:
                self._under_way[subject] -= 1
                if reply is None or not (reply.failure is Failure.REFUSED or reply.status in KNOWN):
                    self._sent.add(subject)
                    self._looked.discard(subject)
        if operation in LISTS and reply.status == 400:
            # The question itself is refused: nothing can be looked up, and the redeem call tells.
            self._looked.update(self._of(operation, dict(request.params)["contactId"]))
        return reply

    def _subject(self, request: EngageRequest) -> str:
        match request.operation:
            case Operation.REDEEM | Operation.REDEEM_VOUCHER:
                return request.path.split("/")[-2]
            case Operation.UPDATE_CONTACT:
                # By an address that was somebody else's it stays in the lane of that one.
                email = self._addressed(request)
                return str(request.contact_id) if email is None or not self.has_moved(email) else email
            case Operation.CHANGE_CONTACT_TYPE:
                return str(request.contact_id)
            case Operation.SEND_RECEIPT:
                return str(json.loads(request.body)["uniqueReceiptId"])
            case _:
                return str(json.loads(request.body)["email"])

    def _audit(self, operation: Operation, subject: str) -> None:
        self._under_way[subject] += 1
        if self._under_way[subject] > 1:
            self.offences.append(f"two requests at one time: {operation} {subject}")
        blindly = subject in self._sent and subject not in self._looked
        if operation is Operation.REDEEM and blindly and self.assignments[subject] is not None:
            self.offences.append(f"redeemed again without a look: {subject}")
        if operation is Operation.REDEEM_VOUCHER and blindly and self.vouchers[subject] is not None:
            self.offences.append(f"redeemed again without a look: {subject}")

    def _audit_address(self, request: EngageRequest) -> None:
        """A change by an address goes to whom that names when it leaves; whether a look-up was spared or not."""
        email = self._addressed(request) if request.operation is Operation.UPDATE_CONTACT else None
        if email is not None and self.emails.get(email) != request.contact_id:
            self.offences.append(f"{request.body!r} is for {email}, whom {request.contact_id} is not (any more)")

    def _addressed(self, request: EngageRequest) -> str | None:
        """The address that a change was written for."""
        city = json.loads(request.body).get("city")
        return None if city is None else self.addressed.get(int(city[1:]))

    def has_moved(self, email: str) -> bool:
        """Whether more than one contact has had it by now."""
        return len({*self.owners.get(email, ())}) > 1

    async def _answer(self, request: EngageRequest) -> Reply:
        if self.down:
            self.hits["down"] += 1
            await self.clock.sleep(0.2)
            return Reply(503, HTML, "text/html")
        if not self.key_works:
            return self._refuse(401, "Unauthorized")
        if request.operation in self.forbidden:
            return self._refuse(403, "Forbidden")
        fault = self.faults.popleft() if self.faults else None
        if fault is None:
            try:
                await self.clock.sleep(0.05)
            except asyncio.CancelledError:
                # Its client is gone, what it has sent is on its way: it takes effect later, or never arrives.
                if request.operation in CHANGES and self.chance.random() < 0.5:
                    self._later(request, self.chance.uniform(0, LONGEST_AFTER))
                raise
            return self._do(request)
        self.hits[f"fault {fault}"] += 1
        changes = request.operation in CHANGES
        what, _, effect = fault.partition("_")
        patience = PATIENCE if what == "timeout" else 0.3
        if effect == "done" and changes and fault is not Fault.SLOW_DONE:
            await self.clock.sleep(0.05)
            self._do(request)
        elif effect == "late" and changes:
            self._later(request, patience + LONGEST_AFTER * (0.05 + 0.95 * (self.hits[f"fault {fault}"] % 2)))
        try:
            await self.clock.sleep(patience)
        except asyncio.CancelledError:
            self._hurry()
            raise
        match fault:
            case Fault.SLOW_DONE:
                await self.clock.sleep(30)
                return self._do(request)
            case Fault.REFUSED:
                return Reply(failure=Failure.REFUSED)
            case Fault.TIMEOUT_LOST | Fault.TIMEOUT_DONE | Fault.TIMEOUT_LATE:
                return Reply(failure=Failure.TIMEOUT)
            case Fault.BROKEN_LOST | Fault.BROKEN_DONE | Fault.BROKEN_LATE:
                return Reply(failure=Failure.BROKEN)
            case Fault.PAGE_LOST:
                return Reply(200, HTML, "text/html")
            case Fault.HALF_DONE:
                return Reply(200, b'{"id": "0b6f1c52-7d0', "application/json")
            case Fault.TOO_MANY:
                return Reply(429)
            case Fault.TOO_MANY_FOR_LONG:
                return Reply(429, retry_after=40.0)
            case Fault.BAD_REQUEST:
                return self._refuse(400, "ValidationError")
            case Fault.NOT_ALLOWED:
                return self._refuse(401, "Unauthorized")
            case Fault.FORBIDDEN:
                return self._refuse(403, "Forbidden")
        return Reply(int(what), HTML, "text/html")

    def _later(self, request: EngageRequest, seconds: float) -> None:
        """Engage does it when its client may have gone long ago."""

        async def do() -> None:
            await self.clock.sleep(seconds)
            del self._late[task]
            self._do(request)

        task = asyncio.create_task(do())
        self._late[task] = (self.clock.monotonic() + seconds, request)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _hurry(self) -> None:
        """A client is gone: what Engage is still at is done within the time that it has for that."""
        latest = self.clock.monotonic() + LONGEST_AFTER
        for task, (moment, request) in list(self._late.items()):
            if moment > latest:
                task.cancel()
                del self._late[task]
                self._later(request, LONGEST_AFTER)

    def finish(self) -> None:
        """The wall clock is about to be set forward: what Engage is at is done before."""
        for task, (_, request) in list(self._late.items()):
            task.cancel()
            self._do(request)
        self._late.clear()
        for task, land in list(self._landing.items()):
            task.cancel()
            land()
        self._landing.clear()

    @staticmethod
    def _refuse(status: int, code: str) -> Reply:
        return Reply(status, json.dumps({"errorCode": code}).encode(), "application/json")

    @staticmethod
    def _say(status: int, body: object) -> Reply:
        return Reply(status, json.dumps(body).encode(), "application/json")

    def _do(self, request: EngageRequest) -> Reply:
        params = dict(request.params)
        match request.operation:
            case Operation.FIND_CONTACT:
                found = self.emails.get(params["email"])
                return self._refuse(404, "ContactNotFound") if found is None else self._say(200, found)
            case Operation.GET_CONTACT:
                contact_id = str(request.contact_id)
                email = next(email for email, owner in self.emails.items() if owner == contact_id)
                known = {"email": email, "city": self.cities[contact_id]}
                return self._say(200, {"id": contact_id, "attributes": known})
            case Operation.UPDATE_CONTACT:
                content = json.loads(request.body)
                contact_id = str(request.contact_id)
                if not self._rename(contact_id, content.get("email")):
                    return self._refuse(409, "ApprovedContactWithKeyExists")
                if "city" in content:  # else it fills in what a created contact lacks; the model knows no more of it
                    self.change(contact_id, content["city"])
                return Reply(200)
            case Operation.CHANGE_CONTACT_TYPE:
                self.types[str(request.contact_id)].append(int(params["contactTypeId"][1:]))
                return Reply(200)
            case Operation.CREATE_CONTACT:
                content = json.loads(request.body)
                if content["email"] in self.emails:
                    return self._refuse(409, "ApprovedContactWithKeyExists")
                return self._say(201, {"id": self.create(content["email"], content["city"])})
            case Operation.LIST_ASSIGNMENTS:
                mine = self._of(request.operation, params["contactId"])
                self._looked.update(mine)
                return self._say(200, [self._redeemable(each) for each in mine])
            case Operation.REDEEMED_VOUCHERS:
                return self._say(200, self._page(params["contactId"], int(params["offset"])))
            case Operation.REDEEM | Operation.REDEEM_VOUCHER:
                subject = self._subject(request)
                if subject in self.redeemed:
                    what = "Promotion" if request.operation is Operation.REDEEM else "RewardVoucher"
                    return self._refuse(409, f"{what}AlreadyRedeemed")
                self.redeem(subject, by_us=True)
                return Reply(200)
            case Operation.SEND_RECEIPT:
                self.receipts.add(self._subject(request))
                return Reply(202)
            case Operation.BULK_CREATE | Operation.BULK_UPDATE:
                return self._queue(request)
        raise AssertionError(request.operation)

    def _of(self, operation: Operation, contact_id: str) -> list[str]:
        all_ = self.assignments if operation is Operation.LIST_ASSIGNMENTS else self.vouchers
        return [each for each, owner in all_.items() if owner == contact_id]

    def _redeemable(self, subject: str) -> dict[str, object]:
        when, _ = self.redeemed.get(subject, (None, False))
        moment = None if when is None else datetime.fromtimestamp(when / 1000, UTC).isoformat()
        return {"id": subject, "redeemed": when is not None, "redeemedOn": moment}

    def _page(self, contact_id: str, offset: int) -> dict[str, object]:
        """The contact's redeemed vouchers, a few at a time. Who has seen the last page has looked for all of them."""
        mine = self._of(Operation.REDEEMED_VOUCHERS, contact_id)
        redeemed = [each for each in mine if each in self.redeemed]
        shown = redeemed[offset : offset + PAGE]
        self._looked.update(mine if offset + PAGE >= len(redeemed) else shown)
        self.hits["a later page of vouchers"] += offset > 0
        items = [self._redeemable(each) for each in shown]
        return {"items": items, "totalCount": len(redeemed), "offset": offset, "count": PAGE}

    def _queue(self, request: EngageRequest) -> Reply:
        """A bulk request is taken, and worked off when Engage likes; one of four is skipped in silence."""
        rows = json.loads(request.body)
        self._batches += 1
        skipped = self._batches % 4 == 2

        def land() -> None:
            if skipped:
                self.hits["bulk request skipped in silence"] += 1
                return
            self.hits["bulk request worked off"] += 1
            for row in rows:
                known = self.emails.get(row["email"])
                if request.operation is Operation.BULK_UPDATE and known is not None:
                    self.change(known, row["city"], by_file=True)
                elif request.operation is Operation.BULK_CREATE and known is None:
                    self.create(row["email"], row["city"])

        async def later() -> None:
            await self.clock.sleep(self.chance.uniform(0, self.period - 1))
            del self._landing[task]
            land()

        task = asyncio.create_task(later())
        self._landing[task] = land
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return self._say(202, f"batch-{self._batches}")

    # what is done -----------------------------------------------------------------------------------------------------

    def change(self, contact_id: str, city: str, *, by_file: bool = False) -> None:
        self.cities[contact_id] = city
        if by_file:
            self.by_file.setdefault(contact_id, []).append(len(self.applied[contact_id]))
        self.applied[contact_id].append(int(city[1:]))

    def create(self, email: str, city: str) -> str:
        contact_id = f"00000000-0000-4000-8000-{len(self.cities):012d}"
        self.add_contact(contact_id, email)
        self.change(contact_id, city)
        return contact_id

    def _rename(self, contact_id: str, email: str | None) -> bool:
        """Whether it has that address now: nobody else may have it."""
        if email is not None and self.emails.get(email) != contact_id:
            if email in self.emails:
                return False
            self._name(contact_id, email)
        return True

    def redeem(self, subject: str, *, by_us: bool) -> None:
        self.redeemed[subject] = (self.clock.now(), by_us)

    def overwritten(
        self,
        entries: Mapping[int, int],
        together: set[tuple[int, int]],
        known: dict[tuple[int, int], int],
        excused: Callable[[int, int], bool],
    ) -> list[tuple[int, int]]:
        """Pairs (older, newer) of entries of one contact of which the older one's value came after the newer one's,
        against the promise. `entries` tells which entry wrote a number, `excused` whose order a person gave up.

        Where both went over the API, a look-up has told that they are one contact's. Of what files brought nobody may
        have known it: of the newer one, before so many changes had been applied (`known`); of the older one, before its
        file was complete, so that they have to have been one when the newer one was written (`together`).
        """
        found = []
        for contact, numbers in self.applied.items():
            for place, before, pair in _reversed([entries[number] for number in numbers]):
                if not excused(*pair) and self._might_know(contact, place, before, pair, together, known):
                    found.append(pair)
        for numbers in self.types.values():  # always over the API, and by the contact's id
            found += [pair for *_, pair in _reversed([entries[n] for n in numbers]) if not excused(*pair)]
        return found

    def _might_know(
        self, contact: str, place: int, before: int, pair: tuple[int, int],
        together: set[tuple[int, int]], known: dict[tuple[int, int], int],
    ) -> bool:  # fmt: skip
        files = self.by_file.get(contact, ())
        if place in files:
            return pair in together and pair[0] not in self.taken_back
        return before not in files or place >= known.get(pair, len(self.applied[contact]))

    # the folder -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Model]:
        if self.remote_fails:
            self.hits["fault of the file server"] += 1
            raise UploadFailed("unreachable", "nobody answers")
        yield self

    async def listing(self, folder: str) -> dict[str, int]:
        return {name: len(text) for (there, name), text in self.folder.items() if there == folder}

    async def size(self, folder: str, name: str) -> int | None:
        there = self.folder.get((folder, name))
        return None if there is None else len(there)

    async def stage(self, local: Path, folder: str, name: str) -> None:
        await self.clock.sleep(0.1)
        self.folder[folder, part_name(name)] = local.read_bytes()

    async def publish(self, folder: str, name: str, size: int) -> None:
        await self.clock.sleep(0.1)
        self.folder[folder, name] = self.folder.pop((folder, part_name(name)))
        await self.clock.sleep(0.1)

    async def discard(self, folder: str, name: str) -> None:
        await self.remove_part(folder, part_name(name))

    async def remove_part(self, folder: str, part: str) -> None:
        self.folder.pop((folder, part), None)

    def import_files(self, *, skips: float = 0.0) -> int:
        """Engage imports what lies there, in its order; what is being uploaded stays. Of the contacts, redemptions and
        receipts it leaves out this part in silence; 1.0: a major error, and nothing of any file is taken."""
        ready = [key for key in self.folder if not key[1].startswith(".")]
        for folder, name in sorted(ready, key=lambda key: (FOLDERS.index(key[0]), key[1])):
            root = import_xml.parse(self.folder.pop((folder, name)))
            if skips < 1:
                getattr(self, f"_import_{folder}")(root, skips)
        return len(ready)

    def _takes(self, skips: float) -> bool:
        taken = self.chance.random() >= skips
        self.hits["row of a file taken" if taken else "row of a file left out in silence"] += 1
        return taken

    def _import_contacts(self, root: Any, skips: float) -> None:
        for row in import_xml.contacts(root)[0]:
            if not self._takes(skips):
                continue
            key = row.fields.get("contactId") or self.emails.get(row.fields["email"])
            if key is None:
                self.create(row.fields["email"], row.fields["city"])
            elif key in self.cities and self._rename(key, row.fields.get("email")) and "city" in row.fields:
                self.change(key, row.fields["city"], by_file=True)

    def _import_redemptions(self, root: Any, skips: float) -> None:
        for row in import_xml.redemptions(root):
            if self._takes(skips):
                self.redeemed.setdefault(row["couponId"], (self.clock.now(), True))

    def _import_transactions(self, root: Any, skips: float) -> None:
        for row in import_xml.transactions(root):
            key = row["contact"]["matchKey"]
            if (key in self.cities or key in self.emails) and self._takes(skips):  # else ignored in silence (ref 6.5)
                self.receipts.add(row["uniqueReceiptId"])


def _reversed(order: list[int]) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Where an older entry (late) comes behind a newer one (early): their places, and (late, early)."""
    for place, late in enumerate(order):
        for before, early in enumerate(order[:place]):
            if late < early:
                yield place, before, (late, early)
