"""Single calls of one moment become one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from voyado_async.outbox.together import Together


class Slow:
    """A call that lasts until it may go on."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.running, self.goes_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        self.running.set()
        await self.goes_on.wait()
        return list(items)


async def test_what_is_submitted_at_one_time_is_one_call_and_everybody_gets_their_own_result() -> None:
    calls: list[list[int]] = []

    async def double(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        return [2 * item for item in items]

    together = Together(double, most=10)
    assert await asyncio.gather(*(together.submit(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert calls == [[0, 1, 2, 3, 4]]


async def test_what_comes_while_a_call_is_under_way_goes_with_the_next() -> None:
    slow = Slow()
    together = Together(slow, most=10)
    first = asyncio.create_task(together.submit(1))
    await slow.running.wait()
    later = [asyncio.create_task(together.submit(n)) for n in (2, 3)]
    await asyncio.sleep(0)
    slow.goes_on.set()
    assert await asyncio.gather(first, *later) == [1, 2, 3]
    assert slow.calls == [[1], [2, 3]]


async def test_what_is_too_much_for_one_call_goes_with_the_next_in_its_order() -> None:
    calls: list[list[int]] = []

    async def note(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        return list(items)

    together = Together(note, most=3)
    assert await asyncio.gather(*(together.submit(n) for n in range(7))) == list(range(7))
    assert calls == [[0, 1, 2], [3, 4, 5], [6]]


async def test_an_error_reaches_all_who_shared_the_call_and_nobody_else() -> None:
    async def picky(items: Sequence[int]) -> list[int]:
        if 0 in items:
            raise OSError("disk full")
        return list(items)

    together = Together(picky, most=10)
    results = await asyncio.gather(together.submit(0), together.submit(1), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert await together.submit(2) == 2


async def test_a_cancelled_caller_takes_nothing_from_the_others() -> None:
    seen: list[int] = []

    async def note(items: Sequence[int]) -> list[int]:
        seen.extend(items)
        return list(items)

    together = Together(note, most=10)
    tasks = [asyncio.create_task(together.submit(n)) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert [await tasks[0], await tasks[2]] == [0, 2]
    assert seen == [0, 1, 2]


async def test_a_cancelled_caller_that_asks_for_it_takes_back_what_is_in_no_call_yet() -> None:
    slow = Slow()
    together = Together(slow, most=10)
    tasks = [asyncio.create_task(together.submit(1, take_back=True))]
    await slow.running.wait()
    tasks += [asyncio.create_task(together.submit(n, take_back=n == 2)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    for task in tasks[:3]:
        task.cancel()
    assert len(await asyncio.wait_for(asyncio.wait(tasks[:3]), 5)) == 2
    slow.goes_on.set()
    assert await tasks[3] == 4
    assert slow.calls == [[1], [3, 4]]
