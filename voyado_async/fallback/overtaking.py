"""What of a change may still leave: not the fields that newer changes of its contact have set (DESIGN 1.4).

Two names turn out to be one contact's when the newer change is delivered already; the older one, exhausted, would
overwrite it at the import. Over the API the drainer sees to it; here it is seen to for files and bulk requests.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

import msgspec

from voyado_async.delivery import Kind, Message
from voyado_async.kinds import registry
from voyado_async.outbox.records import AsRead, Attempt, Settlement
from voyado_async.outbox.replaying import SUPERSEDED
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

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
    as_read: dict[int, AsRead]
    """How each that may leave stood then: it only leaves as long as it stands so."""


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
            bodies[message.id] = registry.without(message.kind, message.body, overtaken, upsert=True)
    left: list[Message] = []
    superseded: list[Message] = []
    for message in messages:
        body: bytes | None = bodies.get(message.id, message.body)
        if body is None:
            superseded.append(message)
        else:
            left.append(message if body is message.body else msgspec.structs.replace(message, body=body))
    return Left(left, superseded, {message.id: _as_read(message, newer) for message in left})


def _as_read(message: Message, newer: Newer) -> AsRead:
    newest = None
    if message.kind in _SETTING:
        newest = max((entry for entry, _, _ in newer.get(message.lane, ()) if entry > message.id), default=0)
    return AsRead(message.lane, message.lines, newest)


async def left_of(store: Outbox, messages: Sequence[Message]) -> Left:
    """Ask once for all of them, and leave out what newer entries have set."""
    after: dict[int, int] = {}
    for message in messages:
        if message.kind in _SETTING:
            after[message.lane] = min(message.id, after.get(message.lane, message.id))
    return without_newer(messages, await store.in_force_after(after) if after else {})


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
            lines=message.lines,
        )
        for message in superseded
    ]


class Stood(Mapping[int, AsRead]):
    """How the entries of a file stood when they were read: 32 bytes for each, where a dict takes eight times as much.
    Looked up in the order in which they were read, as a file is settled, it finds each at once."""

    def __init__(self) -> None:
        self._ids, self._lanes, self._lines, self._newest = (array("q") for _ in range(4))
        self._at = 0

    def add(self, read: Mapping[int, AsRead]) -> None:
        """None of these was added before."""
        for entry, stood in read.items():
            self._ids.append(entry)
            self._lanes.append(stood.lane)
            self._lines.append(stood.lines)
            self._newest.append(_NO_MATTER if stood.newest is None else stood.newest)

    def __getitem__(self, entry: int) -> AsRead:
        try:
            self._at = at = self._ids.index(entry, self._at)
        except ValueError:
            if entry not in self._ids:
                raise KeyError(entry) from None
            self._at = at = self._ids.index(entry)
        newest = self._newest[at]
        return AsRead(self._lanes[at], self._lines[at], None if newest == _NO_MATTER else newest)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


_NO_MATTER = -1


class Reading:
    """Reads entries for one file, drops those of which nothing is left, and remembers how the others stood."""

    def __init__(self, store: Outbox, now: int) -> None:
        self._store = store
        self._now = now
        self._first: int | None = None
        self.as_read = Stood()

    async def read(self, ids: Sequence[int]) -> list[Message]:
        """What may still leave of these entries. A file that is written once more is read from its beginning again."""
        if self._first is None:
            self._first = ids[0]
        elif ids[0] == self._first:
            self.as_read = Stood()
        left = await left_of(self._store, await self._store.exhausted_of(ids))
        settlements = discards(left.superseded, self._now, what="file")
        await asyncio.gather(*(self._store.settle(settlement) for settlement in settlements))
        self.as_read.add(left.as_read)
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
