"""Single calls that happen at one time, made into one call for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """Gathers what is submitted in one turn of the loop, or while the previous call is under way, and makes one call
    of it, or of the `most` that came first. The call answers one result per item; where it raises, everybody who was
    part of it gets the error."""

    def __init__(self, call: Callable[[Sequence[Item]], Awaitable[list[Result]]], most: int) -> None:
        self._call = call
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item, *, take_back: bool = False) -> Result:
        """The result for this item. Cancelling the caller does not take the item back, unless that is asked for and it
        is not part of a call yet."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            return await done
        finally:
            if take_back and done.cancelled():
                self._waiting = [each for each in self._waiting if each[1] is not done]

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = await self._call([item for item, _ in batch])
            except Exception as error:
                # Handed to every caller: nobody's error is lost, and the next batch still gets its call.
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for (_, done), result in zip(batch, results, strict=True):
                    if not done.done():
                        done.set_result(result)
