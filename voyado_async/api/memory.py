"""Answers kept for a while: fresh ones spare a request, old ones stand in while Engage gives none.

Many callers of one question share one request; a caller that is cancelled does not take it from the others. Bounded:
the answer that was not asked for longest goes first. Lives on one event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from voyado_async.clock import Clock
from voyado_async.errors import ClientClosed, EngageError, EngageRefused, EngageUnavailable

T = TypeVar("T")
Key: TypeAlias = tuple[str, ...]

_KEY_REFUSED = (401, 403)


class Known(NamedTuple, Generic[T]):
    """An answer of Engage's. `as_of` is when it came (ms); `stale` that Engage gives none now and this is the last."""

    value: T
    as_of: int
    stale: bool = False


class _Kept(NamedTuple, Generic[T]):
    known: Known[T]
    fresh_until: float


class Memory(Generic[T]):
    """The answers to one kind of question."""

    def __init__(self, *, clock: Clock, ttl: float, size: int) -> None:
        self._clock = clock
        self._ttl = ttl
        self._size = size
        self._kept: OrderedDict[Key, _Kept[T]] = OrderedDict()
        self._under_way: dict[Key, asyncio.Task[Known[T] | EngageError | None]] = {}
        self._tasks: set[asyncio.Task[Known[T] | EngageError | None]] = set()

    async def get(self, key: Key, fetch: Callable[[], Awaitable[T | None]]) -> Known[T] | None:
        """The answer from memory, or that of `fetch`; None where `fetch` says that there is nothing (never kept).

        Raises EngageUnavailable where there is no answer and none is known, EngageRefused, and ClientClosed where
        `close` came in between.
        """
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            if self._clock.monotonic() < kept.fresh_until:
                return kept.known
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(key, fetch))
            self._under_way[key] = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        answer = await _shared(task)
        if isinstance(answer, EngageUnavailable) and (last := self._kept.get(key)) is not None:
            return last.known._replace(stale=True)
        if isinstance(answer, EngageError):
            raise answer
        return answer

    async def _fetch(self, key: Key, fetch: Callable[[], Awaitable[T | None]]) -> Known[T] | EngageError | None:
        """Errors are handed over as values: a task that nobody waits for any more must not complain about one."""
        answer: Known[T] | EngageError | None
        try:
            value = await fetch()
            answer = None if value is None else Known(value, self._clock.now())
        except EngageError as error:
            answer = error
        finally:
            wanted = self._under_way.get(key) is asyncio.current_task()
            if wanted:
                del self._under_way[key]
        if wanted:
            self._learn(key, answer)
        return answer

    def _learn(self, key: Key, answer: Known[T] | EngageError | None) -> None:
        if isinstance(answer, Known):
            self._kept[key] = _Kept(answer, self._clock.monotonic() + self._ttl)
            self._kept.move_to_end(key)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        elif answer is None or (isinstance(answer, EngageRefused) and answer.status not in _KEY_REFUSED):
            self._kept.pop(key, None)  # what was known is no longer so

    def expire(self, concerns: Callable[[Key, T], bool]) -> None:
        """What concerns a change is asked again; it stays known for an outage. Requests under way tell the time before
        the change: they answer those who wait for them and are not kept.
        """
        for key, kept in list(self._kept.items()):
            if concerns(key, kept.known.value):
                self._kept[key] = kept._replace(fresh_until=float("-inf"))
        self._under_way.clear()

    def forget(self, concerns: Callable[[Key, T], bool]) -> None:
        """What concerns it is known no longer."""
        for key in [key for key, kept in self._kept.items() if concerns(key, kept.known.value)]:
            del self._kept[key]
        self._under_way.clear()

    async def close(self) -> None:
        """End what is under way and forget everything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._kept.clear()


async def _shared(task: asyncio.Task[T]) -> T:
    """The result of a task that others wait for too. Raises ClientClosed where the task itself was cancelled."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if task.cancelled() and not (current is not None and current.cancelling()):
            raise ClientClosed("the client was closed while Engage was being asked") from None
        raise
