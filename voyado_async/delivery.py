"""The words that the stages share: what waits, what was tried, what came of it.

Message   what the outbox hands out: one entry with its content and what is known of earlier attempts
Request   one call to Engage, ready to be sent
Outcome   what an attempt came to: a value, never an exception
FileForm  how an entry stands in an XML file, if it can
Carrier   whoever carries a Message to Engage over the API
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, Protocol

import msgspec


class Kind(StrEnum):
    """What can wait in the outbox."""

    REDEEM = "redeem"
    CONTACT_CREATE = "contact_create"
    CONTACT_UPDATE = "contact_update"
    CONTACT_TYPE = "contact_type"
    RECEIPT = "receipt"
    VOUCHER_REDEEM = "voucher_redeem"


REDEMPTIONS = frozenset({Kind.REDEEM, Kind.VOUCHER_REDEEM})
"""What goes before the others: somebody else could use it in between."""


class Draft(msgspec.Struct, frozen=True):
    """A write that was checked and is ready to be stored."""

    kind: Kind
    body: bytes
    """The content as JSON, in the form that its kind reads back."""
    lane: str
    """The contact that it belongs to (``contact:<guid>``, ``email:<address>``); without one ``assignment:<id>`` or
    ``voucher:<id>``."""
    key: str | None = None
    """Unique per kind; None where nothing natural exists and none was given."""
    natural_key: str | None = None
    """What names it by nature, also where the shop gave a key of its own."""
    warnings: tuple[str, ...] = ()
    lines: int = 1
    """What it counts in a file (`FileForm.lines`)."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One entry as a stage sees it."""

    id: int
    kind: Kind
    body: bytes
    lane: int
    lane_key: str
    created: int
    """When it was written (ms): also the moment of the sale, as far as we know it."""
    slots: int = 0
    """How many turns of the retry schedule are used up."""
    requests: int = 0
    """How many requests were sent that may have changed something at Engage."""
    unknown: bool = False
    """An earlier request may have taken effect without our knowing."""
    contact_id: str | None = None
    """The contact's id where it is known by now, whatever the entry is addressed by."""
    carried: tuple[int, ...] = ()
    """When it was written into files (ms): a redemption of that very time is ours (DESIGN 3)."""
    lines: int = 0
    """How long its record is: every move and every new content makes it longer, `sending` alone does not."""
    contact_type: str | None = None
    """The contact's type, where it is read for a file and known to be another than the usual one."""
    outage: bool = False
    """The open breaker has used up turns of it; known where it is claimed."""
    passed: bool = False
    """An update, and a newer write of its contact is on the second road, for it left before anybody knew that both are
    one contact's. Known where it is claimed."""


class Request(msgspec.Struct, frozen=True):
    """One call to Engage. `body` is sent as it stands."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Failure(StrEnum):
    """Why there is no usable answer."""

    REFUSED = "refused"
    """No connection, or none in time: nothing was sent."""
    TIMEOUT = "timeout"
    """Sent, and no answer in time."""
    BROKEN = "broken"
    """Sent, and the connection broke, or the answer was cut short."""


class Reply(msgspec.Struct, frozen=True):
    """What came back: a status with its body, or a failure without either."""

    status: int = 0
    body: bytes = b""
    content_type: str = ""
    retry_after: float | None = None
    """Seconds, where Engage said so."""
    at: int | None = None
    """When it came, by our clock (ms)."""
    ahead: int = 0
    """By how much our clock was ahead of Engage's then (ms), as far as the answer tells."""
    failure: Failure | None = None
    duration_ms: int = 0


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """Engage has it. `how` tells what proves it: ``accepted``, ``looked_up``, ``conflict`` or ``exists``."""

    how: str = "accepted"
    status: int | None = None
    contact_id: str | None = None
    duration_ms: int = 0
    contact_type: str | None = None
    """The contact's type, where this very write has set it."""


class RetryAt(msgspec.Struct, frozen=True, tag="retry"):
    """Not now. `unknown` says that the request may have taken effect all the same: look first, where a look exists."""

    code: str
    status: int | None = None
    unknown: bool = False
    transient: bool = True
    """A sign of Engage being unwell (counts for the breaker); false where only this entry has to wait."""
    counts: bool = True
    """Uses up a turn of the schedule."""
    retry_after: float | None = None
    duration_ms: int = 0


class Rejected(msgspec.Struct, frozen=True, tag="rejected"):
    """Engage refuses it for good. `may_have_happened`: an earlier attempt may have taken effect."""

    code: str
    status: int | None = None
    may_have_happened: bool = False
    duration_ms: int = 0
    contact_ids: tuple[str, ...] = ()
    """The contacts among which Engage cannot choose (``MultipleMatches``, ref 1.6)."""


class SlowDown(msgspec.Struct, frozen=True, tag="slow_down"):
    """429: nothing was done, everybody slows down, no turn is used up."""

    retry_after: float | None = None
    status: int = 429
    duration_ms: int = 0


class NotAllowed(msgspec.Struct, frozen=True, tag="not_allowed"):
    """401 or 403: no entry's fault. Sending stops until a probe succeeds."""

    status: int
    duration_ms: int = 0


class SameContact(msgspec.Struct, frozen=True, tag="same_contact"):
    """A look-up tells which contact the entry is addressed to: its lane joins that contact's, then it is its turn.
    What is sent then says `Carrier.change`."""

    contact_id: str
    status: int | None = None
    duration_ms: int = 0
    told_of: str | None = None
    """The address, where Engage had told whose it is a moment before and was not asked again."""


Outcome = Delivered | RetryAt | Rejected | SlowDown | NotAllowed
LookUp = Outcome | SameContact | Request
"""What a look-up came to: settled already, the contact is known now, or this is the request to send."""


class FileFamily(StrEnum):
    """The files that Engage imports (ref 6.2), in the order in which they must arrive (ref 6.3)."""

    CONTACTS = "contacts"
    REDEMPTIONS = "redemptions"
    TRANSACTIONS = "transactions"


class FileForm(msgspec.Struct, frozen=True):
    """How one entry stands in a file. Entries with equal (family, contact_type, match_key_type) may share one."""

    family: FileFamily
    contact_type: str
    match_key_type: str
    """``contactId``, or the attribute that names the contact (ref 6.4, 6.5)."""
    subject: str
    """The contact: several updates of one contact in a file become one record, the later value winning (ref 4.4)."""
    lines: int
    """What it counts against the 20 000 of a file: a receipt counts its items (ref 6.1)."""
    record: Any
    """A Receipt struct, or a dict in the wire's names."""


class NoFileForm(msgspec.Struct, frozen=True):
    """Nothing confirmed says how to write it to a file: it waits for the API (DESIGN 3)."""

    reason: str


class BulkTaken(msgspec.Struct, frozen=True, tag="bulk_taken"):
    """Engage took a bulk request into its queue. That says nothing of what becomes of it."""

    batch_id: str
    status: int
    duration_ms: int = 0


class HandBack(Exception):
    """Sending has stopped: the next request may not go out now. What was known before holds."""


class Turn(AbstractAsyncContextManager[None], Protocol):
    """``async with turn:`` stands around each request, which waits there for its own place in the pace.

    Raises HandBack where it may not go out now.
    """


class BulkTurn(Turn, Protocol):
    """The turn of a bulk request."""

    def answered(self, outcome: BulkTaken | Outcome) -> None:
        """What it came to: the breaker, the pace and the key's state are everybody's."""
        ...


Newer = Sequence[tuple[Kind, bytes]]
"""Contact writes of a lane that are newer than an entry."""


class Later(msgspec.Struct, frozen=True):
    """What newer contact writes of a lane mean for an entry that left by file."""

    writes: Newer = ()
    """All that have set their values or may have, oldest first. Not what waits, for the API or for a file."""
    to_come: Newer = ()
    """Of these, the updates that are not settled: each is sent, or confirmed, after this one, and then has the word on
    what it sets."""
    in_force: Newer = ()
    """Of these, what is settled, and Engage has."""


Enough = Callable[[Newer], bool]
"""Told some more of the updates that are to come, oldest first: whether nothing newer than them matters any more."""

AskNewer = Callable[[str, Enough], Awaitable[Later]]
"""To be asked as soon as the contact's id is known, and before anything is sent to it. A contact may have a hundred
thousand newer writes; no more of them is read than is enough. Raises HandBack where older entries of that contact turn
out to come first."""


class BulkCarrier(Protocol):
    """Carries many contacts to Engage in one request (ref 4.9)."""

    async def send_bulk(self, kind: Kind, contact_type: str, contacts: bytes) -> BulkTaken | Outcome:
        """Create or update them. `contacts` is a JSON array, `contact_type` empty for the tenant's own default.

        Never raises for what the network or Engage does.
        """
        ...


class Carrier(Protocol):
    """Carries one message to Engage over the API.

    Each of its requests, however many a call needs, goes out in a `turn` of its own. HandBack passes through.
    """

    def looks_first(self, message: Message) -> bool:
        """Whether a look-up must come before the request (DESIGN 3, "Outcome of an attempt")."""
        ...

    async def look_up(self, message: Message, turn: Turn) -> LookUp:
        """Ask Engage, changing nothing there."""
        ...

    def asks_for(self, message: Message) -> str | None:
        """The address such as ``email:anna@example.com`` whose contact the look-up asks for, where an answer of a
        moment ago would do as well. None: this look-up has to be made."""
        ...

    def request(self, message: Message) -> Request:
        """The request of a message that needs no look-up."""
        ...

    def renames(self, message: Message, request: Request | None) -> frozenset[str]:
        """What names another contact, or is named otherwise, after this request: addresses and contacts, as lanes; the
        word before the colon stands for all addresses of a kind. Without a request: after whatever the message may
        come to. Mostly nothing."""
        ...

    def change(self, message: Message, contact_id: str, newer: Newer) -> Request | None:
        """The request of a message that is addressed to this contact, as a look-up has found (SameContact), without the
        fields that `newer` writes have set. None: nothing is left of it."""
        ...

    async def send(self, message: Message, request: Request, turn: Turn) -> Outcome:
        """Send it and say what came of it. Never raises for what the network or Engage does.

        HandBack passes through: then what was sent is known as not done.
        """
        ...

    async def confirm(self, message: Message, newer: AskNewer, turn: Turn) -> Outcome:
        """Make sure that a message that left by file arrived, and send what did not (DESIGN 3, "Fallback").

        The fields that `newer` writes set are left alone. HandBack passes through: then nothing was changed.
        """
        ...

    async def probe(self, turn: Turn) -> Outcome:
        """A cheap and harmless question: does Engage answer, and does the key work?"""
        ...
