"""One direct call to Engage, beside the outbox: its answer, or an error that says what the caller can do.

The calls of one process share a small budget of their own, spaced evenly, so that a shop's reads neither queue behind
a drain nor add up with it beyond Engage's limit (ref 1.4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from voyado_async.api import replies
from voyado_async.api.http import Http
from voyado_async.api.routes import Routes, build
from voyado_async.clock import Clock
from voyado_async.delivery import NotAllowed, Rejected, Reply, RetryAt
from voyado_async.errors import AccessRefused, EngageError, EngageRefused, EngageUnavailable, OutcomeUnknown, refusal
from voyado_async.events import Problems
from voyado_async.kinds.call import Call

T = TypeVar("T")


class Spacing:
    """Evenly spaced turns, `rate` a second. Pure: the time is an argument."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        self._next = float("-inf")

    def wait(self, now: float, at_most: float) -> float | None:
        """Take the next turn and say in how many seconds it is; None, and none taken, where that is over `at_most`."""
        turn = max(self._next, now)
        if turn - now > at_most:
            return None
        self._next = turn + self._gap
        return turn - now


class Direct:
    """Direct calls. `timeout` (seconds) is that of a read, the wait for its turn and for a connection included.

    `problems` are told of a key that may not make a call, and when it may again.
    """

    def __init__(
        self, http: Http, routes: Routes, *, clock: Clock, timeout: float, rate: float, problems: Problems
    ) -> None:
        self._http = http
        self._routes = routes
        self._clock = clock
        self._timeout = timeout
        self._spacing = Spacing(rate)
        self._problems = problems

    async def read(self, what: str, call: Call) -> bytes:
        """Ask something that changes nothing. `what` names it in errors. Raises EngageUnavailable, EngageRefused."""
        left = self._timeout - await self._turn(what)
        return await self._answer(what, call, within=max(left, 0.001))

    async def ask(self, what: str, call: Call, understand: Callable[[bytes], T], *, patient: bool = False) -> T:
        """As `read`, with the answer understood. `patient`: with the time of a write, where nobody waits at a till."""
        if patient:
            await self._turn(what)
            body = await self._answer(what, call)
        else:
            body = await self.read(what, call)
        try:
            return understand(body)
        except EngageError as error:
            raise EngageUnavailable(str(error)) from None

    async def write(self, what: str, call: Call) -> bytes:
        """Change something at Engage with the full patience that it asks for (ref 2.1). Never repeated by itself.

        Raises OutcomeUnknown where it may have taken effect, EngageUnavailable where it has not, and EngageRefused.
        """
        await self._turn(what)
        return await self._answer(what, call, changes=True)

    async def change(self, what: str, call: Call, understand: Callable[[bytes], T]) -> T:
        """As `write`, with the answer understood."""
        body = await self.write(what, call)
        try:
            return understand(body)
        except EngageError as error:
            raise OutcomeUnknown(f"{error}; it may have taken effect") from None

    async def _answer(self, what: str, call: Call, *, within: float | None = None, changes: bool = False) -> bytes:
        reply = await self._http.send(build(self._routes, call), within=within)
        try:
            body = answer_of(what, reply, changes=changes)
        except AccessRefused:
            # Told here, because a last known answer may keep it from whoever asked.
            self._problems.tell(what, str(reply.status))
            raise
        except EngageRefused:
            self._problems.tell(what, None)
            raise
        self._problems.tell(what, None)
        return body

    async def _turn(self, what: str) -> float:
        wait = self._spacing.wait(self._clock.monotonic(), self._timeout)
        if wait is None:
            raise EngageUnavailable(f"{what}: more calls than this process may make (VOYADO_READ_RATE)")
        if wait:
            await self._clock.sleep(wait)
        return wait


def answer_of(what: str, reply: Reply, *, changes: bool) -> bytes:
    """The body of a proper answer: JSON, or nothing. Raises EngageUnavailable, OutcomeUnknown or EngageRefused."""
    match replies.trouble(reply, earlier_unknown=False, changes=changes):
        case None:
            if replies.is_empty(reply) or replies.is_json(reply):
                return reply.body
            raise _unavailable(what, replies.strange(reply, changes=changes))
        case Rejected(code=code, contact_ids=several):
            raise refusal(what, reply.status, code, several)
        case NotAllowed(status=status):
            raise refusal(what, status, replies.code_of(reply))
        case RetryAt() as outcome:
            raise _unavailable(what, outcome)
    raise EngageUnavailable(f"{what}: Engage asks to slow down (429)")


def _unavailable(what: str, outcome: RetryAt) -> EngageUnavailable:
    told = outcome.code if outcome.status is None else f"{outcome.code}, status {outcome.status}"
    message = f"{what}: no usable answer ({told})"
    return OutcomeUnknown(f"{message}; it may have taken effect") if outcome.unknown else EngageUnavailable(message)
