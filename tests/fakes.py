"""Time, the database's thread and Engage, under a test's control: nothing here waits real seconds."""

from __future__ import annotations

import asyncio
import heapq
import sqlite3
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar
from unittest import mock

from voyado_async.delivery import AskNewer, Delivered, LookUp, Message, Newer, Outcome, Request, SameContact, Turn
from voyado_async.outbox import sqlite_file, writer

T = TypeVar("T")

START = 1_741_944_600_000
"""Where a FakeClock's wall clock begins (ms)."""

_ENOUGH = 20_000
"""Turns of the loop after which it is said to be busy for ever."""


async def rest() -> None:
    """Let everything run that can run without time going on. Fails where that never ends."""
    loop: Any = asyncio.get_running_loop()
    quiet = 0
    for _ in range(_ENOUGH):
        await asyncio.sleep(0)
        # Empty while this runs means that nobody but us has anything to do; once more for what sockets have to say.
        quiet = quiet + 1 if not loop._ready else 0
        if quiet == 2:
            return
    busy = sorted({repr(handle)[:300] for handle in loop._ready})
    raise AssertionError(f"the loop does not come to rest: {busy}")


class FakeClock:
    """Time stands still until `advance`. `sleep` registers when to wake."""

    def __init__(self) -> None:
        self._monotonic = 1000.0
        self._wall = START - 1_000_000
        self._numbers = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.sleeps = 0

    def now(self) -> int:
        return self._wall + int(self._monotonic * 1000 + 1e-3)

    def monotonic(self) -> float:
        return self._monotonic

    def jump(self, seconds: float) -> None:
        """The wall clock is set."""
        self._wall += int(seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        awake = asyncio.get_running_loop().create_future()
        # A wait that a float cannot tell from none would never end.
        heapq.heappush(self._sleepers, (self._monotonic + max(seconds, 1e-6), next(self._numbers), awake))
        await awake

    async def advance(self, seconds: float) -> None:
        """Time goes on by so much; everybody whose moment comes acts at that moment."""
        end = self._monotonic + seconds
        await rest()
        while self._sleepers and self._sleepers[0][0] <= end:
            await self._wake_next()
        self._monotonic = end

    async def until(self, holds: Callable[[], object], *, within: float) -> float:
        """Time goes on until something holds. Returns the seconds that it took; fails where it takes longer."""
        begin = self._monotonic
        await rest()
        while not holds():
            if not self._sleepers or self._sleepers[0][0] > begin + within:
                raise AssertionError(f"it did not come to hold within {within} s")
            await self._wake_next()
        return self._monotonic - begin

    async def _wake_next(self) -> None:
        moment, _, awake = heapq.heappop(self._sleepers)
        if awake.done():
            return
        self._monotonic = max(self._monotonic, moment)
        awake.set_result(None)
        await rest()


class InlineConnection:
    """Does the work of `writer.Connection` on the loop's own thread, after a few turns of the loop, in order.

    SQLite, the file and every statement are the real ones. A `dead` connection never answers: its process was killed.
    """

    hops: Callable[[], int] = staticmethod(lambda: 1)

    def __init__(self, path: str, *, read_only: bool) -> None:
        self._path = path
        self.read_only = read_only
        self._order = asyncio.Lock()
        self._posted: set[asyncio.Task[None]] = set()
        self.dead = False
        self.closed = False

    def __await__(self) -> Generator[Any, None, InlineConnection]:
        mode = "ro" if self.read_only else "rw"
        self.connection = sqlite3.connect(f"file:{self._path}?mode={mode}", uri=True, isolation_level=None, timeout=0)
        yield from asyncio.sleep(0).__await__()
        return self

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        async with self._order:
            for _ in range(self.hops()):
                await asyncio.sleep(0)
            if self.dead:
                await asyncio.get_running_loop().create_future()
            try:
                result = work(self.connection)
            except BaseException:  # raised again, but by the dead, who never come back
                if self.dead:  # it died over it
                    await asyncio.get_running_loop().create_future()
                raise
        for _ in range(self.hops()):
            await asyncio.sleep(0)
        return result

    def post(self, work: Callable[[sqlite3.Connection], T], done: Callable[[T | BaseException], None]) -> None:
        async def run() -> None:
            result: T | BaseException
            try:
                result = await self.run(work)
            except Exception as error:  # as the real one: who waits is told
                result = error
            done(result)

        task = asyncio.create_task(run())
        self._posted.add(task)
        task.add_done_callback(self._posted.discard)

    def refuse_writes(self, refuse: bool) -> None:
        """Every write fails, as on a disk that is full or mounted read-only."""
        if not self.closed:
            self.connection.execute(f"PRAGMA query_only = {'ON' if refuse or self.read_only else 'OFF'}")

    async def close(self) -> None:
        self.closed = True
        self.connection.close()


@contextmanager
def inline_database() -> Iterator[list[InlineConnection]]:
    """Outboxes that are opened inside have no threads. Yields their connections."""
    made: list[InlineConnection] = []

    def connection(path: str, *, read_only: bool) -> InlineConnection:
        made.append(InlineConnection(path, read_only=read_only))
        return made[-1]

    with mock.patch.object(writer, "connection", connection), mock.patch.object(sqlite_file, "connection", connection):
        yield made


Answer = Outcome | BaseException | asyncio.Future[Any] | Callable[[Message], Any]
"""What a carrier is told to answer: an outcome, an error to raise, something to wait for, or a way to decide."""


def contact_of_lane(message: Message) -> SameContact | None:
    """A contact that is named by its id needs no look-up."""
    kind, _, contact_id = message.lane_key.partition(":")
    return SameContact(contact_id) if kind == "contact" else None


def _all(_: Newer) -> bool:
    """Nothing is enough: all that is newer is asked for."""
    return False


class ScriptedCarrier:
    """A Carrier that answers as it was told, and remembers what it was asked and when (monotonic seconds)."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.latency = 0.0
        self.sends: Answer = Delivered()
        self.finds: Callable[[Message], LookUp | BaseException | asyncio.Future[Any]] = self.request
        self.probes: Answer = Delivered()
        self.confirms: Answer = Delivered()
        self.confirms_find: Callable[[Message], SameContact | None] = contact_of_lane
        self.script: defaultdict[int, deque[Answer]] = defaultdict(deque)
        """Answers to the next sends of an entry; after them `sends` holds."""
        self.looking: Callable[[Message], bool] = lambda _: False
        self.asking: Callable[[Message], str | None] = lambda _: None
        self.renaming: Callable[[Message], frozenset[str]] = lambda _: frozenset()
        self.sent: list[tuple[float, int]] = []
        self.looked: list[tuple[float, int]] = []
        self.probed: list[float] = []
        self.bodies: dict[int, bytes] = {}
        """What was sent of an entry last."""
        self.asked: list[float] = []
        """When the first request of a confirmation went out."""
        self.confirmed: list[tuple[float, int, frozenset[str]]] = []
        self.under_way: set[int] = set()
        self.most_under_way = 0
        self.on_send: Callable[[Message], Awaitable[None]] | None = None

    @property
    def order(self) -> list[int]:
        return [entry for _, entry in self.sent]

    @property
    def requests(self) -> list[float]:
        """When anything at all went out."""
        confirmed = [moment for moment, _, _ in self.confirmed]
        return sorted([t for t, _ in self.sent] + [t for t, _ in self.looked] + self.probed + self.asked + confirmed)

    def times(self, entry: int) -> list[float]:
        return [moment for moment, sent in self.sent if sent == entry]

    def looks_first(self, message: Message) -> bool:
        return self.looking(message)

    def asks_for(self, message: Message) -> str | None:
        return self.asking(message)

    def renames(self, message: Message, request: Request | None) -> frozenset[str]:
        return self.renaming(message)

    def request(self, message: Message) -> Request:
        return Request("POST", f"/{message.id}")

    def change(self, message: Message, contact_id: str, newer: Newer) -> Request | None:
        """The body of a change is the names of its fields."""
        fields = set(message.body.split()) - {field for _, body in newer for field in body.split()}
        return Request("PATCH", f"/{contact_id}", body=b" ".join(sorted(fields))) if fields else None

    async def look_up(self, message: Message, turn: Turn) -> LookUp:
        async with turn:
            self.looked.append((self._clock.monotonic(), message.id))
            await self._take_time()
            found = self.finds(message)
            if isinstance(found, asyncio.Future):
                found = await found
        if isinstance(found, BaseException):
            raise found
        return found

    async def send(self, message: Message, request: Request, turn: Turn) -> Outcome:
        async with turn:
            return await self._send(message, request)

    async def _send(self, message: Message, request: Request) -> Outcome:
        self.sent.append((self._clock.monotonic(), message.id))
        self.bodies[message.id] = request.body
        assert message.lane not in self.under_way, "two requests of a lane are under way"
        self.under_way.add(message.lane)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        try:
            if self.on_send is not None:
                await self.on_send(message)
            await self._take_time()
            told = self.script[message.id].popleft() if self.script[message.id] else self.sends
            return await self._answer(told, message)
        finally:
            self.under_way.discard(message.lane)

    async def confirm(self, message: Message, newer: AskNewer, turn: Turn) -> Outcome:
        """Two requests, as many have; of an entry by an attribute, the first tells whose it is."""
        async with turn:
            self.asked.append(self._clock.monotonic())
            found = self.confirms_find(message)
        fields = frozenset({body.decode() for _, body in (await newer(found.contact_id, _all)).writes} if found else ())
        async with turn:
            self.confirmed.append((self._clock.monotonic(), message.id, fields))
            await self._take_time()
            return await self._answer(self.confirms, message)

    async def probe(self, turn: Turn) -> Outcome:
        async with turn:
            self.probed.append(self._clock.monotonic())
            await self._take_time()
            return await self._answer(self.probes, None)

    async def _take_time(self) -> None:
        if self.latency:
            await self._clock.sleep(self.latency)

    async def _answer(self, told: Answer, message: Message | None) -> Outcome:
        answer: Any = told(message) if callable(told) else told  # type: ignore[arg-type]  # a probe has no message
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, BaseException):
            raise answer
        result: Outcome = answer
        return result
