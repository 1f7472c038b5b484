"""Answers kept for a while: fresh ones spare a request, old ones stand in while Engage gives none.

An answer is fresh for `ttl` seconds, as long as nothing of ours has reached Engage for its contact meanwhile: the
outbox's mark from before the question says so, in every process and without a clock. Many callers of one question share
one request; a caller that is cancelled does not take it from the others. Bounded, in answers and in bytes: the answer
that was not asked for longest goes first. What a question wants kept stands on the shelf too, where a restart and other
processes find it. Lives on one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from voyado_async.clock import Clock
from voyado_async.errors import (
    AccessRefused,
    ClientClosed,
    EngageError,
    EngageMisconfigured,
    EngageUnavailable,
    OutboxUnavailable,
)
from voyado_async.outbox.records import Asked, Mark
from voyado_async.outbox.shelf import Answer, Shelf

T = TypeVar("T")
Marks: TypeAlias = Callable[[str], Awaitable[Mark]]

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of answers in memory, as they came."""

SAYS_NOTHING = (EngageUnavailable, AccessRefused, EngageMisconfigured)
"""Errors that tell nothing about what was asked. A key that is refused, and an Engage that is set up wrongly, are for
those to mend who run the shop: until then its customers see what was known last, as in an outage."""

_NEVER = float("-inf")


class Known(NamedTuple, Generic[T]):
    """An answer of Engage's. `as_of` is when it was asked for (ms), `age` how long ago that was (seconds); `stale` that
    Engage gives none now and this is the last. `mark` is the outbox's from before it was asked for.
    """

    value: T
    as_of: int
    age: float
    stale: bool
    mark: Mark | None


class Question(NamedTuple, Generic[T]):
    """Something to ask about one contact. Questions of the same lane and name have the same answer."""

    lane: str
    """Whose writes make an answer old: the contact's lane, or that of the address that names it."""
    name: str
    ask: Callable[[], Awaitable[bytes | None]]
    """The body of Engage's answer; None where it says that there is nothing. Raises EngageError."""
    read: Callable[[bytes], T]
    """Raises EngageError where the body is not such an answer."""
    kept: bool
    """Stands on the shelf too."""


class _Kept(NamedTuple):
    value: Any
    size: int
    as_of: int
    asked: float
    mark: Mark | None
    fresh_until: float
    number: int
    """Answers that were asked for later have a higher one."""


_Key: TypeAlias = tuple[str, str]
_Fetched: TypeAlias = "_Kept | EngageError | None"


def is_fresh(kept: _Kept, mark: Mark | None, monotonic: float) -> bool:
    """Whether an answer may be served without asking. Without a mark nobody knows."""
    return mark is not None and kept.mark == mark and monotonic < kept.fresh_until


class Memory:
    """The answers of one process. `mark` tells how far the outbox is with a lane; without a shelf nothing outlives it.

    `ttl` in seconds, 0 for always asking; `size` in answers.
    """

    def __init__(self, *, clock: Clock, ttl: float, size: int, mark: Marks, shelf: Shelf | None) -> None:
        self._clock = clock
        self._ttl = ttl
        self._size = size
        self._marks = mark
        self._shelf = shelf
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[tuple[_Key, Mark | None], asyncio.Task[_Fetched]] = {}
        self._asking: set[asyncio.Task[_Fetched]] = set()
        self._shelving: set[asyncio.Task[None]] = set()
        self._shelf_order = asyncio.Lock()
        self._number = 0
        self._forgets = 0
        self._forgot_at = 0

    async def get(self, question: Question[T]) -> Known[T] | None:
        """The answer from memory, from the shelf or from Engage; None where Engage says that there is nothing (never
        kept).

        Raises EngageUnavailable or AccessRefused where there is no answer and none is known, EngageRefused, and
        ClientClosed where `close` came in between.
        """
        key = (question.lane, question.name)
        mark = await self._mark(question.lane)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            if is_fresh(kept, mark, self._clock.monotonic()):
                return self._known(kept)
        # Whoever asks after something of ours has reached Engage does not share a request from before.
        task = self._under_way.get((key, mark))
        if task is None:
            self._number += 1
            task = asyncio.get_running_loop().create_task(self._fetch(question, key, mark, self._number))
            self._under_way[key, mark] = task
            self._asking.add(task)
            task.add_done_callback(self._asked)
        fetched = await _shared(task)
        if isinstance(fetched, SAYS_NOTHING) and (last := self._kept.get(key)) is not None:
            return self._known(last, stale=True)
        if isinstance(fetched, EngageError):
            raise copy(fetched)  # an error of his own: one that many raise collects the frames of all of them
        return None if fetched is None else self._known(fetched)

    async def _mark(self, lane: str) -> Mark | None:
        try:
            mark = await self._marks(lane)
        except OutboxUnavailable:
            return None  # a read does not fail because the outbox can't be read now; nothing is fresh then
        if mark.forgets > self._forgets:
            # Whoever was forgotten, and by whichever process: what is in memory may be theirs.
            self._forgets = mark.forgets
            self._forgot_at = self._number
            self._kept.clear()
            self._bytes = 0
        return mark

    def asked(self, known: Known[Any]) -> Asked:
        """When this answer was asked for, by both clocks."""
        return Asked(known.as_of, int((self._clock.monotonic() - known.age) * 1000))

    def _asked(self, task: asyncio.Task[_Fetched]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it; where nobody does any more it is nobody's to complain about

    def _known(self, kept: _Kept, *, stale: bool = False) -> Known[Any]:
        age = max(0.0, self._clock.monotonic() - kept.asked)
        return Known(kept.value, kept.as_of, age, stale, kept.mark)

    # asking ----------------------------------------------------------------------------------------------------------

    async def _fetch(self, question: Question[Any], key: _Key, mark: Mark | None, number: int) -> _Fetched:
        """Errors of Engage are handed over as values, so that everybody who waits raises one of his own."""
        try:
            shelved = await self._from_shelf(question, key, number)
            if shelved is not None:
                self._learn(key, shelved)
                if is_fresh(shelved, mark, self._clock.monotonic()):
                    return shelved
            return await self._ask(question, key, mark, number)
        except EngageError as error:
            if not isinstance(error, SAYS_NOTHING):
                self._drop(question, key)
            return error
        finally:
            if self._under_way.get((key, mark)) is asyncio.current_task():
                del self._under_way[key, mark]

    async def _ask(self, question: Question[Any], key: _Key, mark: Mark | None, number: int) -> _Kept | None:
        as_of, asked = self._clock.now(), self._clock.monotonic()
        body = await question.ask()
        if body is None:
            self._drop(question, key)
            return None
        try:
            value = question.read(body)
        except EngageError as error:
            raise EngageUnavailable(str(error)) from None
        new = _Kept(value, len(body), as_of, asked, mark, self._clock.monotonic() + self._ttl, number)
        if self._learn(key, new) and question.kept and mark is not None:
            self._shelve(question, Answer(body, as_of, mark))
        return new

    def _learn(self, key: _Key, new: _Kept) -> bool:
        """Keep it, unless somebody was forgotten since it was asked for, or a later answer is here already."""
        earlier = self._kept.get(key)
        if new.number <= self._forgot_at or (earlier is not None and earlier.number > new.number):
            return False
        self._remove(key)
        self._kept[key] = new
        self._bytes += new.size
        while len(self._kept) > self._size or (self._bytes > MOST_BYTES and len(self._kept) > 1):
            self._remove(next(iter(self._kept)))
        return True

    def _remove(self, key: _Key) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._bytes -= gone.size

    def _drop(self, question: Question[Any], key: _Key) -> None:
        """What was known is no longer so."""
        self._remove(key)
        if question.kept:
            self._shelve(question, None)

    # the shelf -------------------------------------------------------------------------------------------------------

    async def _from_shelf(self, question: Question[Any], key: _Key, number: int) -> _Kept | None:
        """What a process before or beside this one was told, where it is newer than what is in memory."""
        if self._shelf is None or not question.kept:
            return None
        answer = await self._shelf.get(question.lane, question.name)
        if answer is None:
            return None
        try:
            value = question.read(answer.body)
        except EngageError:
            return None
        return shelved(
            answer, value, self._kept.get(key), number, now=self._clock.now(), at=self._clock.monotonic(), ttl=self._ttl
        )

    def _shelve(self, question: Question[Any], answer: Answer | None) -> None:
        """Put an answer there, or take it away. Nobody waits for it; `close` does."""
        if self._shelf is not None:
            task = asyncio.get_running_loop().create_task(self._write(self._shelf, question, answer))
            self._shelving.add(task)
            task.add_done_callback(self._shelving.discard)

    async def _write(self, shelf: Shelf, question: Question[Any], answer: Answer | None) -> None:
        async with self._shelf_order:  # the last one asked for stays
            if answer is not None:
                await shelf.put(question.lane, question.name, answer)
                now = await self._mark(question.lane)
                if now is not None and now.forgets == answer.mark.forgets:
                    return
                # Somebody was forgotten meanwhile; whoever it was has looked at the shelf by now, or will not again.
            await shelf.drop(question.lane, question.name)

    async def close(self) -> None:
        """End what is under way, finish what goes on the shelf, and forget everything."""
        asking = list(self._asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.gather(*self._shelving)
        self._kept.clear()
        self._bytes = 0


def shelved(
    answer: Answer, value: Any, earlier: _Kept | None, number: int, *, now: int, at: float, ttl: float
) -> _Kept | None:
    """What an answer from the shelf is worth beside the one in memory; None where that one is as new. `at` is the
    monotonic time of `now`.

    Only the wall clock is shared with the process that asked. An answer from the future (the clock was set back) is
    not fresh, its age is unknown and told as none, and what is in memory goes before it.
    """
    asked = at - max(0, now - answer.as_of) / 1000
    future = answer.as_of > now
    if earlier is not None and (future or earlier.asked >= asked):
        return None
    fresh_until = _NEVER if future else asked + ttl
    return _Kept(value, len(answer.body), answer.as_of, asked, answer.mark, fresh_until, number)


async def _shared(task: asyncio.Task[T]) -> T:
    """The result of a task that others wait for too. Raises ClientClosed where the task itself was cancelled."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if task.cancelled() and not (current is not None and current.cancelling()):
            raise ClientClosed("the client was closed while Engage was being asked") from None
        raise
