"""A model of Engage, over the API and in the folder: as simple as can be, and able to fail in every way.

It keeps what a careful auditor would: what was applied, in which order, and whether anything was sent that should not
have been. `offences` holds what must never happen.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from fakes import FakeClock

from voyado_async.api.routes import EngageRequest
from voyado_async.delivery import Failure, Kind, Reply, Request
from voyado_async.errors import UploadFailed
from voyado_async.fallback.spool import part_name
from voyado_async.kinds.call import Operation

PATIENCE = 65.0
"""Seconds after which the client gives up."""
LONGEST_AFTER = 9.9
"""Seconds that Engage may still be at work after its client has gone (DESIGN 3: a lane rests for 10)."""

KNOWN = {400, 401, 403, 404, 409, 429}
"""Answers by which nothing was done."""
CHANGES = {Operation.REDEEM, Operation.SEND_RECEIPT, Operation.UPDATE_CONTACT, Operation.CREATE_CONTACT}
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
    """`send` stands where the package's `Http` stands. Faults are taken one by one, then everything works."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.emails: dict[str, str] = {}
        self.cities: dict[str, str] = {}
        self.applied: dict[str, list[int]] = {}
        """The numbers of the changes that each contact got, in order."""
        self.by_file: dict[str, list[int]] = {}
        """Where among them those stand that a file brought."""
        self.redeemed: dict[str, tuple[int, bool]] = {}
        """When (ms), and whether by us."""
        self.receipts: set[str] = set()
        self.assignments: dict[str, str | None] = {}
        """Whose they are, as far as the shop knows."""
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
        self.folder: dict[tuple[str, str], int] = {}
        self.remote_fails = False

    def add_contact(self, contact_id: str, email: str) -> None:
        self.emails[email] = contact_id
        self.cities[contact_id] = ""
        self.applied.setdefault(contact_id, [])

    # over the API -----------------------------------------------------------------------------------------------------

    async def send(self, request: Request, *, within: float | None = None) -> Reply:
        assert isinstance(request, EngageRequest)
        operation = request.operation
        self.hits[f"request {operation}"] += 1
        subject = self._subject(request) if operation in CHANGES else None
        if subject is not None:
            self._audit(operation, subject)
        reply = None
        try:
            reply = await self._answer(request)
        finally:
            if subject is not None:
                self._under_way[subject] -= 1
                if reply is None or not (reply.failure is Failure.REFUSED or reply.status in KNOWN):
                    self._sent.add(subject)
                    self._looked.discard(subject)
        if request.operation is Operation.LIST_ASSIGNMENTS and reply.status == 400:
            # The question itself is refused: nothing can be looked up, and the redeem call tells.
            self._of(dict(request.params)["contactId"])
        return reply

    def _subject(self, request: EngageRequest) -> str:
        match request.operation:
            case Operation.REDEEM:
                return request.path.split("/")[-2]
            case Operation.UPDATE_CONTACT:
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
            await self.clock.sleep(0.05)
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
                if "city" in content:  # else it fills in what a created contact lacks; the model knows no more of it
                    self.change(str(request.contact_id), content["city"])
                return Reply(200)
            case Operation.CREATE_CONTACT:
                content = json.loads(request.body)
                if content["email"] in self.emails:
                    return self._refuse(409, "ApprovedContactWithKeyExists")
                return self._say(201, {"id": self.create(content["email"], content["city"])})
            case Operation.LIST_ASSIGNMENTS:
                return self._say(200, [self._assignment(each) for each in self._of(params["contactId"])])
            case Operation.REDEEM:
                subject = self._subject(request)
                if subject in self.redeemed:
                    return self._refuse(409, "PromotionAlreadyRedeemed")
                self.redeem(subject, by_us=True)
                return Reply(200)
            case Operation.SEND_RECEIPT:
                self.receipts.add(self._subject(request))
                return Reply(202)
        raise AssertionError(request.operation)

    def _of(self, contact_id: str) -> list[str]:
        mine = [each for each, owner in self.assignments.items() if owner == contact_id]
        self._looked.update(mine)
        return mine

    def _assignment(self, subject: str) -> dict[str, object]:
        when, _ = self.redeemed.get(subject, (None, False))
        moment = None if when is None else datetime.fromtimestamp(when / 1000, UTC).isoformat()
        return {"id": subject, "redeemed": when is not None, "redeemedOn": moment}

    # what is done -----------------------------------------------------------------------------------------------------

    def change(self, contact_id: str, city: str, *, by_file: bool = False) -> None:
        self.cities[contact_id] = city
        if by_file:
            self.by_file.setdefault(contact_id, []).append(len(self.applied[contact_id]))
        self.applied[contact_id].append(int(city[1:]))

    def create(self, email: str, city: str) -> str:
        contact_id = f"00000000-0000-4000-8000-{len(self.emails):012d}"
        self.add_contact(contact_id, email)
        self.change(contact_id, city)
        return contact_id

    def redeem(self, subject: str, *, by_us: bool) -> None:
        self.redeemed[subject] = (self.clock.now(), by_us)

    def overwritten(self, together: set[tuple[int, int]], known: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
        """Pairs (older, newer) of changes of one contact of which the older one came after the newer, against the
        promise.

        Where both went over the API, a look-up has told that they are one contact's. Of what files brought nobody may
        have known it: of the newer one, before so many changes had been applied (`known`); of the older one, before its
        file was complete, so that they have to have been one when the newer one was written (`together`).
        """
        return [
            (late, early)
            for contact, numbers in self.applied.items()
            for place, late in enumerate(numbers)
            for before, early in enumerate(numbers[:place])
            if late < early and self._might_know(contact, place, before, (late, early), together, known)
        ]

    def _might_know(
        self, contact: str, place: int, before: int, pair: tuple[int, int],
        together: set[tuple[int, int]], known: dict[tuple[int, int], int],
    ) -> bool:  # fmt: skip
        files = self.by_file.get(contact, ())
        if place in files:
            return pair in together
        return before not in files or place >= known.get(pair, len(self.applied[contact]))

    # the folder -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Model]:
        if self.remote_fails:
            self.hits["fault of the file server"] += 1
            raise UploadFailed("unreachable", "nobody answers")
        yield self

    async def listing(self, folder: str) -> dict[str, int]:
        return {name: size for (there, name), size in self.folder.items() if there == folder}

    async def size(self, folder: str, name: str) -> int | None:
        return self.folder.get((folder, name))

    async def stage(self, local: Path, folder: str, name: str) -> None:
        await self.clock.sleep(0.1)
        self.folder[folder, part_name(name)] = local.stat().st_size

    async def publish(self, folder: str, name: str, size: int) -> None:
        await self.clock.sleep(0.1)
        self.folder[folder, name] = self.folder.pop((folder, part_name(name)))
        await self.clock.sleep(0.1)

    async def discard(self, folder: str, name: str) -> None:
        await self.remove_part(folder, part_name(name))

    async def remove_part(self, folder: str, part: str) -> None:
        self.folder.pop((folder, part), None)

    async def take_files(
        self, contents: Callable[[str], Awaitable[list[tuple[Kind, bytes]]]], *, skip: bool = False
    ) -> int:
        """Engage imports what lies there, contacts first. `skip`: a major error, and nothing of it is done."""
        taken = 0
        for folder, name in sorted(self.folder, key=lambda key: (key[1].rpartition("_")[2], key[1])):
            if not re.fullmatch(r"[0-9_]+[a-z]+\.xml", name):
                continue
            entries = await contents(name)
            if not skip:
                for kind, body in entries:
                    self._import(kind, json.loads(body))
            del self.folder[folder, name]
            taken += 1
        return taken

    def _import(self, kind: Kind, content: dict[str, dict[str, str]]) -> None:
        match kind:
            case Kind.RECEIPT:
                self.receipts.add(str(content["uniqueReceiptId"]))
            case Kind.REDEEM:
                self.redeemed.setdefault(str(content["assignmentId"]), (self.clock.now(), True))
            case Kind.CONTACT_CREATE:
                contact = content["contact"]
                if contact["email"] in self.emails:
                    self.change(self.emails[contact["email"]], contact["city"], by_file=True)
                else:
                    self.create(contact["email"], contact["city"])
            case Kind.CONTACT_UPDATE:
                named = content["address"]["value"]
                contact_id = self.emails.get(named, named)
                if contact_id in self.cities:
                    self.change(contact_id, content["changes"]["city"], by_file=True)
