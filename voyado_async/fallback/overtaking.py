"""What of a change may still leave: not the fields that newer changes of its contact have set (DESIGN 1.4).

Two names turn out to be one contact's when the newer change is delivered already; the older one, exhausted, would
overwrite it at the import. Over the API the drainer sees to it; here it is seen to for files and bulk requests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from voyado_async.delivery import Kind, Message
from voyado_async.kinds import registry
from voyado_async.outbox.replaying import SUPERSEDED
from voyado_async.outbox.states import State
from voyado_async.outbox.store import AsRead, Attempt, Outbox, Settlement

PAGE = 200
"""Entries for which one question tells what is newer."""

_SETTING = (Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE)

Newer = Mapping[int, Sequence[tuple[int, Kind, bytes]]]
"""By lane: the entries, oldest first, whose values Engage has or may have."""


class Left(msgspec.Struct, frozen=True):
    """What may leave of some entries."""

    messages: list[Message]
    superseded: list[Message]
    """Newer changes have set all that these would."""


def without_newer(messages: Sequence[Message], newer: Newer) -> Left:
    """Leave out what newer entries have set, in the order given. Pure."""
    bodies: dict[int, bytes | None] = {}
    waiting = {lane: list(entries) for lane, entries in newer.items()}
    taken: dict[int, frozenset[str]] = {}
    for message in sorted(messages, key=lambda message: message.id, reverse=True):
        entries = waiting.get(message.lane)
        if entries is None or message.kind not in _SETTING:
            continue
        while entries and entries[-1][0] > message.id:
            _, kind, content = entries.pop()
            taken[message.lane] = taken.get(message.lane, frozenset()) | registry.fields(kind, content)
        overtaken = taken.get(message.lane, frozenset()) & registry.fields(message.kind, message.body)
        if overtaken:
            bodies[message.id] = registry.without(message.kind, message.body, overtaken)
    left: list[Message] = []
    superseded: list[Message] = []
    for message in messages:
        body: bytes | None = bodies.get(message.id, message.body)
        if body is None:
            superseded.append(message)
        else:
            left.append(message if body is message.body else msgspec.structs.replace(message, body=body))
    return Left(left, superseded)


async def left_of(store: Outbox, messages: Sequence[Message]) -> Left:
    """Ask once for all of them, and leave out what newer entries have set."""
    after: dict[int, int] = {}
    for message in messages:
        if message.kind in _SETTING:
            after[message.lane] = min(message.id, after.get(message.lane, message.id))
    newer = await store.in_force_after(after) if after else {}
    return without_newer(messages, newer) if newer else Left(list(messages), [])


def discards(superseded: Iterable[Message], now: int, *, what: str) -> list[Settlement]:
    """Entries of which nothing is left are dropped."""
    line = Attempt(now, what, State.DISCARDED, code=SUPERSEDED)
    return [
        Settlement(
            message.id,
            State.EXHAUSTED,
            State.DISCARDED,
            attempt=line,
            slots=message.slots,
            unknown=message.unknown,
            reason=SUPERSEDED,
        )
        for message in superseded
    ]


class Reading:
    """Reads entries for one file, and remembers how they stood."""

    def __init__(self, store: Outbox) -> None:
        self._store = store
        self.as_read: dict[int, AsRead] = {}
        self.superseded: dict[int, Message] = {}

    async def read(self, ids: Sequence[int]) -> list[Message]:
        """What may still leave of these entries."""
        left = await left_of(self._store, await self._store.exhausted_of(ids))
        self.as_read |= {message.id: AsRead.of(message) for message in left.messages}
        self.superseded |= {message.id: message for message in left.superseded}
        return left.messages


async def pages(messages: AsyncIterator[Message]) -> AsyncIterator[list[Message]]:
    """So many at a time as one question is good for."""
    page: list[Message] = []
    async for message in messages:
        page.append(message)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page
