"""What a shop asks Engage directly, with a memory: never through the outbox (DESIGN 3, "Reads").

An answer is served from memory for `cache_ttl` seconds, and many callers of one question share one request. While
Engage gives no usable answer, or refuses the key, the last known one is served with `stale` set; where nothing is known
the caller gets EngageUnavailable or AccessRefused. That a contact does not exist is never remembered: it may have been
created since, and a None from memory would say "does not exist" during an outage.

Any other question about one contact goes the same way: `ask`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from voyado_async.api.direct import Direct
from voyado_async.api.memory import Known, Marks, Memory, Question
from voyado_async.api.replies import CONTACT_NOT_FOUND, identity
from voyado_async.clock import Clock
from voyado_async.errors import EngageRefused, EngageUnavailable, InvalidEntry
from voyado_async.kinds.address import Address, find, of_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.contacts import Contact, read_contact
from voyado_async.models.payload import to_json
from voyado_async.models.promotions import Channel, PromotionAssignment, read_assignments
from voyado_async.models.receipts import MatchKeyType
from voyado_async.outbox.records import Asked
from voyado_async.outbox.shelf import Shelf

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

REMEMBERED = 5000
"""Answers that are kept in memory."""


class KnownContact(Contact, frozen=True, kw_only=True):
    """A contact as Engage answered it. `as_of` is when it was asked (ms), `age` how long ago that was (seconds).
    `stale`: Engage gives no answer now, this is the last one.
    """

    stale: bool
    as_of: int
    age: float


def marked(kind: type[S], known: Known[Any]) -> S:
    """A struct that Engage answered, as one of the same fields and `stale`, `as_of` and `age`."""
    fields = {name: getattr(known.value, name) for name in known.value.__struct_fields__}
    return kind(**fields, stale=known.stale, as_of=known.as_of, age=known.age)


class Answers(list[T]):
    """A list as Engage answered it. `as_of` is when it was asked (ms), `age` how long ago that was (seconds).
    `stale`: Engage gives no answer now, this is the last one.
    """

    def __init__(self, items: Iterable[T] = (), *, stale: bool = False, as_of: int = 0, age: float = 0.0) -> None:
        super().__init__(items)
        self.stale = stale
        self.as_of = as_of
        self.age = age

    @classmethod
    def of(cls, known: Known[Iterable[T]]) -> Self:
        """A list of the caller's own."""
        return cls(known.value, stale=known.stale, as_of=known.as_of, age=known.age)

    def with_items(self, items: Iterable[T]) -> Self:
        """Other items, as old as these."""
        return type(self)(items, stale=self.stale, as_of=self.as_of, age=self.age)


class Assignments(Answers[PromotionAssignment]):
    """Promotion assignments of one contact."""


class Found(NamedTuple):
    """Whose an address is. `forgets` is `Mark.forgets` of when Engage was asked; None where nobody can tell. `asked` is
    that moment, where Engage was asked this and not something else that told it."""

    contact_id: str
    forgets: int | None
    asked: Asked | None = None


class Reads:
    """The direct reads of one process; `close` ends what is under way. `cache_ttl` in seconds, 0 for no cache.

    `mark` tells how far the outbox is with a lane (`Outbox.mark`): what has reached Engage since makes an answer old.
    """

    def __init__(
        self,
        direct: Direct,
        *,
        clock: Clock,
        cache_ttl: float,
        mark: Marks,
        shelf: Shelf | None = None,
        remembered: int = REMEMBERED,
    ) -> None:
        self._direct = direct
        self._memory = Memory(clock=clock, ttl=cache_ttl, size=remembered, mark=mark, shelf=shelf)

    async def ask(
        self, what: str, call: Call, read: Callable[[bytes], T], *, contact_id: str, kept: bool = False
    ) -> Known[T]:
        """The answer to a call that changes nothing and is about one contact, read by `read`.

        `what` names it in errors. The call, its ids in either case, is the question. `kept`: the answer also stands
        beside the outbox, where a restart and other processes find it; for what a customer pays with, not for whom she
        is. Own durable writes of the contact make it old when they reach Engage; after a direct one call
        `Outbox.touch`. Raises EngageUnavailable where nothing is known, EngageRefused; InvalidEntry.
        """
        named = of_id(contact_id)

        async def fetch() -> bytes:
            return await self._direct.read(what, call)

        known = await self._memory.get(Question(named.lane, question_of(call), fetch, read, kept))
        assert known is not None  # an answer is never "nothing" here
        return known

    async def find_contact(self, named: Address, contact_type: str | None = None) -> Found | None:
        """The contact's id, or None where Engage says that there is nobody.

        A last known id is served without a mark: an id stays with its contact. An address that is the id is asked for
        as a contact. Raises EngageUnavailable, EngageRefused (409 `MultipleMatches` included).
        """
        if named.type is MatchKeyType.CONTACT_ID:
            return await self._existing_id(named)
        call = find(named, contact_type)

        async def fetch() -> bytes | None:
            try:
                return await self._direct.read("contacts.find", call)
            except EngageRefused as refusal:
                if refusal.code == CONTACT_NOT_FOUND:
                    return None
                raise

        known = await self._memory.get(Question(named.lane, question_of(call), fetch, _read_id, kept=True))
        if known is None:
            return None
        return Found(known.value, None if known.mark is None else known.mark.forgets, self._memory.asked(known))

    async def _existing_id(self, named: Address) -> Found | None:
        try:
            return Found((await self.get_contact(named.value)).id, None)
        except EngageRefused as refusal:
            if refusal.code == CONTACT_NOT_FOUND:
                return None
            raise

    async def get_contact(self, contact_id: str) -> KnownContact:
        """The contact. Raises EngageUnavailable, EngageRefused (404 `ContactNotFound` included)."""
        return marked(KnownContact, await self.contact(contact_id))

    async def contact(self, contact_id: str) -> Known[Contact]:
        """As `get_contact`, with the outbox's mark."""
        call = Call(Operation.GET_CONTACT, ids=(("contactId", of_id(contact_id).value),))
        return await self.ask("contacts.get", call, read_contact, contact_id=contact_id)

    async def assignments(self, contact_id: str, channel: str | None = None) -> Assignments:
        """The contact's assignments, redeemed ones included (ref 3.2); only those of `channel` where one is given.

        Raises EngageUnavailable, EngageRefused; InvalidEntry for a channel that does not exist.
        """
        if channel is not None and channel not in tuple(Channel):
            raise InvalidEntry("channel", f"expected one of {', '.join(Channel)}")
        params = () if channel is None else (("redemptionChannelType", str(Channel(channel))),)
        call = Call(Operation.LIST_ASSIGNMENTS, ids=(("contactId", of_id(contact_id).value),), params=params)
        return Assignments.of(
            await self.ask("promotions.assignments", call, read_assignments, contact_id=contact_id, kept=True)
        )

    async def close(self) -> None:
        """End what is under way (its callers get ClientClosed) and forget everything."""
        await self._memory.close()


def question_of(call: Call) -> str:
    """The name of what a call asks: the same for ids in either case (ref 6.8)."""
    ids = [(name, value.lower()) for name, value in call.ids]
    return to_json([call.operation, ids, call.params, call.options, call.body.decode()]).decode()


def _read_id(body: bytes) -> str:
    contact_id = identity(body)
    if contact_id is None:
        raise EngageUnavailable("contacts.find: the answer is no id")
    return contact_id
