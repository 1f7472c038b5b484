"""The loop that empties the outbox: claim -> carry -> settle.

One drainer per outbox: whoever holds the right to drain. It claims the heads of lanes that are due, in memory only;
commits `sending` when a request really goes out; and settles what came of it. All decisions are elsewhere and pure:
what a reply means (the carrier), the next state (policy), when to stop (breaker), how fast (throttle).
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from voyado_async.clock import Clock
from voyado_async.delivery import (
    Carrier,
    Delivered,
    Kind,
    Message,
    NotAllowed,
    Outcome,
    Rejected,
    Request,
    RetryAt,
    SameContact,
    SlowDown,
)
from voyado_async.drain import policy
from voyado_async.drain.breaker import OPEN, PROBING, Breaker
from voyado_async.drain.gate import Gate
from voyado_async.drain.policy import REST, Schedule
from voyado_async.drain.throttle import Throttle
from voyado_async.errors import ClientClosed, ConfigurationError, OutboxUnavailable, VoyadoError
from voyado_async.events import (
    AttemptMade,
    BreakerChanged,
    DrainerStarted,
    DrainerStopped,
    Event,
    Problem,
    ProblemSolved,
    Settled,
)
from voyado_async.outbox.lock import DrainRight
from voyado_async.outbox.moves import CONTACT
from voyado_async.outbox.states import State
from voyado_async.outbox.store import DrainerRecord, Outbox, Settlement
from voyado_async.outbox.wake import Listener

STAND_BY = 0.25
"""Seconds between two tries for the right to drain, and between two looks for a lost poke (DESIGN 3)."""
HEARTBEAT = 15_000
"""The drainer writes down that it moves on, at most so often (ms); `stalled` is told after 60 s."""
PAUSE = 1.0
"""Seconds that the drainer rests when the outbox cannot be written (disk full)."""
JOIN_WAIT = 0.02
"""Seconds between two looks whether a lane that is to be joined has finished its request."""
LOOK_AT_ROAD = 5_000
"""The second road is looked at so often at least (ms)."""
SKIPS = 200
"""Entries that use up a turn together while the breaker is open."""


SecondRoad = Callable[[int, bool], Awaitable[int]]
"""One step of the fallback at this time (ms), told whether the API is healthy; answers when it is due again (ms)."""


class DrainSettings(msgspec.Struct, frozen=True):
    """What the drainer needs to know."""

    schedule: Schedule
    rate: float
    concurrency: int
    breaker_failures: int
    confirm: bool
    grace: float = 5.0
    """Seconds that a stopping drainer waits for answers. What is still open then is unknown."""


class Drainer:
    """Drains one outbox while it holds the right to. `run` ends after `stop`."""

    def __init__(
        self,
        outbox: Outbox,
        carrier: Carrier,
        settings: DrainSettings,
        clock: Clock,
        *,
        fields_of: Callable[[Kind, bytes], frozenset[str]],
        second_road: SecondRoad | None,
        emit: Callable[[Event], None],
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._carrier = carrier
        self._settings = settings
        self._schedule = settings.schedule
        self._clock = clock
        self._fields_of = fields_of
        self._second_road = second_road
        self._emit = emit
        self._spread = spread
        self._breaker = Breaker(settings.breaker_failures, settings.schedule.delays, settings.concurrency)
        self._gate = Gate(Throttle(settings.rate), self._breaker, settings.concurrency, clock)
        self._right = DrainRight(f"{outbox.path}-drain")
        self._wake = asyncio.Event()
        self._lanes: set[int] = set()
        self._confirming: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused_kinds: dict[Kind, tuple[int, int]] = {}
        self._next_key_probe = 0
        self._key_probes = 0
        self._problems: dict[str, str] = {}
        self._fault: BaseException | None = None
        self._moved = False
        self._started = 0
        self.draining = False
        """Whether this process holds the right to drain at this moment."""
        self.counts: dict[str, int] = {}
        """How many attempts came to what, since the start."""

    # the life of a drainer -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Stand by for the right to drain, then drain until `stop`."""
        try:
            while not self._gate.stopping:
                if not self._right.take():
                    await self._sleep(STAND_BY)
                    continue
                await self._drain()
        finally:
            self._right.give_up()

    def stop(self) -> None:
        """Ask `run` to end: what was not sent is handed back, answers are awaited for a few seconds."""
        self._gate.stopping = True
        self._gate.look_again()
        self._wake.set()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def _drain(self) -> None:
        listener = Listener(self._outbox.path, self.wake)
        listener.open()
        self._outbox.on_commit(self.wake)
        side_tasks: list[asyncio.Task[None]] = []
        self.draining = True
        try:
            await self._begin()
            side_tasks = [self._task(self._watch_for_lost_pokes()), self._task(self._heartbeat())]
            if self._second_road is not None:
                side_tasks.append(self._task(self._walk_second_road(self._second_road)))
            while not self._gate.stopping and self._fault is None:
                await self._guarded("drainer", self._turn)
            if self._fault is not None:
                raise self._fault
        finally:
            await self._end(side_tasks)
            self._outbox.off_commit(self.wake)
            listener.close()
            self.draining = False

    async def _begin(self) -> None:
        """What the last drainer left: its breaker, and requests whose outcome nobody knows."""
        now = self._clock.now()
        while not self._gate.stopping:
            try:
                record = await self._outbox.breaker()
                unknown = await self._outbox.take_over(now, now + REST)
                self._started = now
                await self._outbox.set_drainer(DrainerRecord(os.getpid(), socket.gethostname(), now, now))
            except OutboxUnavailable:
                self._told_problem("drainer", "outbox_unavailable")
                await self._sleep(PAUSE)
            else:
                if record is not None:
                    self._breaker.restore(record)
                    # The key may be another one by now: this process has yet to find out.
                    await self._save_breaker()
                self._emit(DrainerStarted(pid=os.getpid(), unknown=unknown))
                return

    async def _end(self, side_tasks: list[asyncio.Task[None]]) -> None:
        for task in side_tasks:
            task.cancel()
        carrying = self._tasks - set(side_tasks)
        if carrying:
            await asyncio.wait(carrying, timeout=self._settings.grace)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OutboxUnavailable):
            await self._outbox.set_drainer(None)
        self._emit(DrainerStopped(pid=os.getpid()))

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends by an error ends the drainer: nothing of it goes on half."""
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fault = self._fault or fault
            self._wake.set()

    async def _guarded(self, where: str, work: Callable[[], Awaitable[None]]) -> None:
        """The outbox may be unusable for a while (disk full): pause, say so once, go on."""
        try:
            await work()
        except OutboxUnavailable:
            self._told_problem(where, "outbox_unavailable")
            await self._clock.sleep(PAUSE)
        else:
            self._told_problem(where, None)

    def _told_problem(self, where: str, code: str | None) -> None:
        """A problem is told when it begins and when it is over, not at every try."""
        before = self._problems.get(where)
        if code == before:
            return
        if before is not None:
            del self._problems[where]
            self._emit(ProblemSolved(where=where, code=before))
        if code is not None:
            self._problems[where] = code
            self._emit(Problem(where=where, code=code))

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until something happens."""
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()
        self._wake.clear()

    async def _watch_for_lost_pokes(self) -> None:
        seen = None
        while True:
            with suppress(OutboxUnavailable):
                version = await self._outbox.data_version()
                if version != seen:
                    seen = version
                    self.wake()
            await self._clock.sleep(STAND_BY)

    async def _heartbeat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT / 1000)
            if self._moved or self._problems:
                self._moved = False
                with suppress(OutboxUnavailable):
                    now = self._clock.now()
                    record = DrainerRecord(
                        os.getpid(), socket.gethostname(), self._started, now, next(iter(self._problems.values()), None)
                    )
                    await self._outbox.set_drainer(record)

    async def _walk_second_road(self, road: SecondRoad) -> None:
        while True:
            healthy = self._healthy()
            again = self._clock.now() + int(PAUSE * 1000)
            try:
                again = await road(self._clock.now(), healthy)
            except OutboxUnavailable:
                self._told_problem("fallback", "outbox_unavailable")
            except ConfigurationError:
                # The spool folder can't be used; the API goes on without the second road, and says so.
                self._told_problem("fallback", "spool_folder")
            else:
                self._told_problem("fallback", None)
                self._moved = True
            # What becomes exhausted meanwhile may make files due sooner than was known.
            again = min(again, self._clock.now() + LOOK_AT_ROAD)
            while self._clock.now() < again and healthy == self._healthy():
                await self._clock.sleep(min(STAND_BY, max(again - self._clock.now(), 1) / 1000))

    def _healthy(self) -> bool:
        return self._breaker.closed and self._gate.halted is None

    # claiming --------------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Take what is due in hand, or sleep until something is."""
        now = self._clock.now()
        if self._gate.halted is not None:
            await self._turn_without_key(now)
        elif not self._breaker.closed:
            await self._turn_while_open(now)
        else:
            await self._turn_while_closed(now)

    async def _turn_while_closed(self, now: int) -> None:
        room = 2 * self._settings.concurrency - len(self._lanes) - len(self._confirming)
        if room <= 0:
            await self._sleep(STAND_BY)
            return
        messages = await self._outbox.claim(room, now, frozenset(self._lanes))
        for message in messages:
            self._lanes.add(message.lane)
            self._task(self._in_hand(message))
        confirming = await self._take_confirmations(room - len(messages), now)
        if len(messages) + confirming < room:
            await self._sleep_until_due(now)
        else:
            await self._sleep(STAND_BY)

    async def _take_confirmations(self, room: int, now: int) -> int:
        if room <= 0 or not self._settings.confirm:
            return 0
        found = await self._outbox.to_confirm(room + len(self._confirming), now)
        new = [message for message in found if message.id not in self._confirming][:room]
        for message in new:
            self._confirming.add(message.id)
            self._task(self._confirm(message))
        return len(new)

    async def _turn_while_open(self, now: int) -> None:
        """One probe at its time; every other entry whose turn comes uses it up without a request."""
        messages = await self._outbox.claim(SKIPS, now, frozenset(self._lanes))
        if self._breaker.probe_due(now):
            self._breaker.probe()
            await self._save_breaker()
            probe = next((m for m in messages if m.lane != self._breaker.last_failed_lane), None)
            if probe is None:
                self._task(self._probe())
            else:
                messages.remove(probe)
                self._lanes.add(probe.lane)
                self._task(self._in_hand(probe, probe=True))
        skips = [policy.skip(m, now=now, schedule=self._schedule, spread=self._spread) for m in messages]
        if not skips:
            await self._sleep_until_due(now)
            return
        moved = await asyncio.gather(*(self._outbox.settle(skip) for skip in skips))
        self._moved = True
        exhausted = [
            message.lane
            for message, skip, did in zip(messages, skips, moved, strict=True)
            if did and skip.target is State.EXHAUSTED
        ]
        for message, skip, did in zip(messages, skips, moved, strict=True):
            if did:
                self._tell(message, skip)
        if exhausted:
            await self._outbox.exhaust_lanes(exhausted, now)

    async def _turn_without_key(self, now: int) -> None:
        if now >= self._next_key_probe or self._next_key_probe - now > max(self._schedule.delays):
            self._next_key_probe = now + self._schedule.delay(max(self._key_probes, 1), 0.0)
            self._key_probes += 1
            await self._probe_key()
        else:
            await self._sleep((self._next_key_probe - now) / 1000)

    async def _sleep_until_due(self, now: int) -> None:
        due = await self._outbox.next_due(now)
        wait = 60_000 if due is None else due - self._clock.now()
        if self._breaker.state == OPEN:
            wait = min(wait, self._breaker.next_probe - self._clock.now())
        if self._settings.confirm and self._breaker.closed:
            # Confirmations are few and have their own due times; a second's delay is nothing to them.
            wait = min(wait, 1000)
        await self._sleep(max(wait, 1) / 1000)

    # carrying --------------------------------------------------------------------------------------------------------

    async def _in_hand(self, message: Message, *, probe: bool = False) -> None:
        """Carry one message; whatever happens, its lane is free again afterwards."""
        try:
            await self._guarded("drainer", lambda: self._carry(message, probe=probe))
        finally:
            if probe:
                self._breaker.give_up_probe()
            self._lanes.discard(message.lane)
            self.wake()

    async def _carry(self, message: Message, *, probe: bool) -> None:
        if self._schedule.used_up(message.slots) and not probe:
            # It was being sent each time that its process died; once more could be once too often.
            await self._settle(message, RetryAt("Interrupted", transient=False), State.PENDING, "skipped")
            return
        if not self._kind_allowed(message):
            await self._postpone(message)
            return
        try:
            if self._carrier.looks_first(message):
                found = await self._look_up(message, probe=probe)
                if found is None:
                    return
                request = found
            else:
                request = self._carrier.request(message)
            await self._send(message, request, probe=probe)
        except ClientClosed:
            # The shop closed its session under us: nothing was sent, and nothing can be.
            await self._fault_in(message, RetryAt("SessionClosed", transient=False, counts=False))
            raise
        except VoyadoError:
            raise
        except Exception:
            # A fault of ours in one entry must neither stop the drainer nor lose the entry: it is tried again, and
            # shown to a person when its turns are used up.
            self._emit(Problem(where=f"entry {message.id}", code="internal_error"))
            await self._fault_in(message, RetryAt("InternalError", unknown=True, transient=False))

    async def _fault_in(self, message: Message, outcome: RetryAt) -> None:
        state = (await self._outbox.states_of([message.id]))[message.id][0]
        if state in (State.PENDING, State.SENDING, State.IMPORTED):
            await self._settle(message, outcome, state, "request")

    async def _look_up(self, message: Message, *, probe: bool) -> Request | None:
        """Ask before sending. None: that settled it, or it is handed back."""
        if not await self._gate.enter(probe=probe):
            return None
        try:
            found = await self._carrier.look_up(message)
        finally:
            self._gate.leave()
        if isinstance(found, Request):
            await self._learn(message, Delivered())
            return found
        if isinstance(found, SameContact):
            await self._learn(message, Delivered())
            if message.lane_key == CONTACT + found.contact_id.lower():
                return found.request
            # In the joined lane something older may come first; when it is its turn it is looked up again.
            await self._become_one(message, found.contact_id)
            return None
        await self._learn(message, found)
        await self._settle(message, found, State.PENDING, "look_up")
        return None

    async def _send(self, message: Message, request: Request, *, probe: bool) -> None:
        if not await self._gate.enter(probe=probe):
            return
        try:
            if not await self._outbox.mark_sending(message.id):
                return
            try:
                outcome = await self._carrier.send(message, request)
            except asyncio.CancelledError:
                # Stopping does not wait for ever; what was sent stays unknown.
                stopped = RetryAt("Stopped", unknown=True, transient=False, counts=False)
                await self._settle(message, stopped, State.SENDING, "request")
                raise
        finally:
            self._gate.leave()
        await self._learn(message, outcome)
        await self._settle(message, outcome, State.SENDING, "request")

    async def _confirm(self, message: Message) -> None:
        """Make sure that an entry that left by file arrived."""
        try:
            await self._guarded("drainer", lambda: self._confirm_now(message))
        finally:
            self._confirming.discard(message.id)
            self.wake()

    async def _confirm_now(self, message: Message) -> None:
        if not await self._gate.enter():
            return
        self._gate.another()
        try:
            newer: frozenset[str] = frozenset()
            for kind, body in await self._outbox.newer_bodies(message):
                newer |= self._fields_of(kind, body)
            outcome = await self._carrier.confirm(message, newer)
        except VoyadoError:
            raise
        except Exception:
            self._emit(Problem(where=f"entry {message.id}", code="internal_error"))
            outcome = RetryAt("InternalError", unknown=True, transient=False)
        finally:
            self._gate.leave()
        await self._learn(message, outcome)
        await self._settle(message, outcome, State.IMPORTED, "confirm")

    async def _settle(self, message: Message, outcome: Outcome, source: State, what: str) -> None:
        """Write down what came of it. What is known must not be lost to a full disk: again until it holds."""
        settlement = policy.settle(
            message, outcome, source=source, what=what, now=self._clock.now(), schedule=self._schedule,
            outage=not self._breaker.closed, spread=self._spread,
        )  # fmt: skip
        while True:
            try:
                moved = await self._outbox.settle(settlement)
                break
            except OutboxUnavailable:
                self._told_problem("drainer", "outbox_unavailable")
                if self._gate.stopping:
                    raise
                await self._clock.sleep(PAUSE)
        self._moved = True
        if not moved:
            return
        self._tell(message, settlement)
        if settlement.target is State.EXHAUSTED and settlement.outage:
            await self._outbox.exhaust_lanes([message.lane], self._clock.now())
        if isinstance(outcome, Delivered) and outcome.contact_id is not None and message.contact_id is None:
            await self._become_one(message, outcome.contact_id)

    def _tell(self, message: Message, settlement: Settlement) -> None:
        attempt = settlement.attempt
        if attempt is not None:
            self.counts[attempt.outcome] = self.counts.get(attempt.outcome, 0) + 1
            self._emit(
                AttemptMade(
                    entry_id=message.id, kind=message.kind, what=attempt.what, outcome=attempt.outcome,
                    status=attempt.status, code=attempt.code, known=attempt.known, duration_ms=attempt.duration_ms,
                    due=settlement.due or None,
                )
            )  # fmt: skip
        if settlement.target in (State.DELIVERED, State.REJECTED, State.EXHAUSTED):
            self._emit(
                Settled(
                    entry_id=message.id, kind=message.kind, state=settlement.target, reason=settlement.reason,
                    waited_ms=self._clock.now() - message.created,
                )
            )  # fmt: skip

    async def _become_one(self, message: Message, contact_id: str) -> None:
        """The lane of an address and the lane of the id are one contact's: join them once neither is under way."""
        if message.lane_key.startswith(CONTACT):
            return
        while not self._gate.stopping:
            target = await self._outbox.lane_of(contact_id)
            if target is None or target == message.lane or target not in self._lanes:
                mine = target is not None and target != message.lane
                if mine and target is not None:
                    self._lanes.add(target)
                try:
                    if await self._outbox.join_lanes(message.lane, contact_id, message.lane_key):
                        return
                finally:
                    if mine and target is not None:
                        self._lanes.discard(target)
            await self._clock.sleep(JOIN_WAIT)

    # learning --------------------------------------------------------------------------------------------------------

    async def _learn(self, message: Message | None, outcome: Outcome) -> None:
        """What an answer tells about Engage as a whole: the breaker, the pace, the key."""
        now = self._clock.now()
        before = self._breaker.state
        match outcome:
            case Delivered() | Rejected():
                self._breaker.answered(now)
                if message is not None:
                    self._refused_kinds.pop(message.kind, None)
            case RetryAt(transient=True):
                self._breaker.failed(None if message is None else message.lane, now)
            case RetryAt():
                self._breaker.answered(now)
            case SlowDown():
                self._gate.throttle.slow_down(self._clock.monotonic(), outcome.retry_after)
                self._breaker.give_up_probe()
            case NotAllowed():
                self._breaker.give_up_probe()
                if message is not None:
                    await self._halt(message.kind, outcome.status)
        if before != self._breaker.state:
            await self._breaker_changed(before)

    async def _breaker_changed(self, before: str) -> None:
        self._gate.look_again()
        if (before, self._breaker.state) != (PROBING, OPEN):  # the outage was told already; this probe changed nothing
            self._emit(BreakerChanged(state=self._breaker.state, previous=before, halted=self._halted()))
        await self._save_breaker()
        self.wake()

    async def _save_breaker(self) -> None:
        with suppress(OutboxUnavailable):
            await self._outbox.set_breaker(self._breaker.to_record(self._halted()))

    def _halted(self) -> str | None:
        if self._gate.halted is not None:
            return self._gate.halted
        return f"403:{','.join(sorted(self._refused_kinds))}" if self._refused_kinds else None

    async def _probe(self) -> None:
        """A harmless question instead of an entry, while the breaker is open."""
        if not await self._gate.enter(probe=True):
            self._breaker.give_up_probe()
            return
        try:
            outcome = await self._carrier.probe()
        finally:
            self._gate.leave()
        if isinstance(outcome, NotAllowed):
            # It answers: Engage is well, the key is not.
            await self._learn(None, Delivered())
            await self._halt(None, outcome.status)
        else:
            await self._learn(None, outcome)
        self._breaker.give_up_probe()

    async def _halt(self, kind: Kind | None, status: int) -> None:
        """401 or 403: stop sending. The probe that follows at once tells whether it is the key or that kind only."""
        if kind is not None and kind in self._refused_kinds:
            return
        if self._gate.halted is None:
            self._gate.halted = str(status)
            self._halted_by = kind
            self._key_probes = 0
            self._next_key_probe = 0
            await self._breaker_changed(self._breaker.state)

    async def _probe_key(self) -> None:
        if not await self._gate.enter(probe=True):
            return
        try:
            outcome = await self._carrier.probe()
        finally:
            self._gate.leave()
        if not isinstance(outcome, Delivered | Rejected):
            return
        self._gate.halted = None
        if self._halted_by is not None:
            # The key works; what is refused is this kind of call.
            self._refused_kinds[self._halted_by] = (self._clock.now() + self._schedule.delays[0], 1)
        await self._breaker_changed(self._breaker.state)

    _halted_by: Kind | None = None

    def _kind_allowed(self, message: Message) -> bool:
        """Of a refused kind one entry goes now and then, to find out whether it is allowed again."""
        refused = self._refused_kinds.get(message.kind)
        if refused is None:
            return True
        next_try, tries = refused
        now = self._clock.now()
        if now < next_try <= now + max(self._schedule.delays):
            return False
        self._refused_kinds[message.kind] = (now + self._schedule.delay(tries + 1, 0.0), tries + 1)
        return True

    async def _postpone(self, message: Message) -> None:
        next_try, _ = self._refused_kinds[message.kind]
        await self._outbox.settle(
            Settlement(
                id=message.id, source=State.PENDING, target=State.PENDING, due=next_try + 1, slots=message.slots,
                unknown=message.unknown, reason="NotAllowed",
            )
        )  # fmt: skip
