"""The loop that empties the outbox: claim -> carry -> settle.

One drainer per outbox: whoever holds the right to drain. It claims the heads of lanes that are due, in memory only;
commits `sending` when a request really goes out; and settles what came of it. All decisions are elsewhere and pure:
what a reply means (the carrier), the next state (policy), when to stop (breaker), how fast (throttle).

Three things keep the order of a lane and its rest. An entry is in hand once at most: its lane is in `_lanes` from the
claim to the settlement. A lane that is to be joined is claimed by nobody meanwhile (`_wanted`), and what was read while
lanes were joined is read again (`_claim`). And `mark_sending` refuses what is no longer the head of its lane.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from voyado_async.clock import Clock
from voyado_async.delivery import (
    BulkTurn,
    Carrier,
    Delivered,
    HandBack,
    Message,
    Newer,
    Outcome,
    Request,
    RetryAt,
    SameContact,
)
from voyado_async.drain import policy
from voyado_async.drain.breaker import OPEN, Breaker
from voyado_async.drain.gate import Gate
from voyado_async.drain.health import Health
from voyado_async.drain.policy import REST, Overtaken, Schedule
from voyado_async.drain.throttle import Throttle
from voyado_async.errors import ClientClosed, ConfigurationError, OutboxDamaged, OutboxMismatch, OutboxUnavailable
from voyado_async.events import AttemptMade, DrainerStarted, DrainerStopped, Event, Problem, ProblemSolved, Settled
from voyado_async.outbox.lock import DrainRight
from voyado_async.outbox.moves import CONTACT, contact_lane
from voyado_async.outbox.states import State
from voyado_async.outbox.store import DrainerRecord, Outbox, Settlement
from voyado_async.outbox.wake import Listener

T = TypeVar("T")

STAND_BY = 0.25
"""Seconds between two tries for the right to drain, and between two looks for a lost poke (DESIGN 3)."""
HEARTBEAT = 15_000
"""The drainer writes down that it moves on, at most so often (ms); `stalled` is told after 60 s."""
PAUSE = 1.0
"""Seconds that the drainer rests when the outbox cannot be written (disk full)."""
JOIN_WAIT = 0.02
"""Seconds between two looks whether a lane that is to be joined has finished its request."""
LOOK_AT_ROAD = 5.0
"""Seconds: the second road is looked at so often at least."""
SKIPS = 200
"""Entries that use up a turn together while the breaker is open."""
IDLE = 60_000
"""Longest sleep where nothing is due (ms)."""
LOOK_FOR_IMPORTED = 1000
"""Confirmations are few and have due times of their own; so long a delay (ms) is nothing to them."""

_STOPPED = RetryAt("Stopped", unknown=True, transient=False, counts=False)
_UNSENT = RetryAt("Stopped", transient=False, counts=False)
_SESSION_CLOSED = RetryAt("SessionClosed", transient=False, counts=False)
_INTERRUPTED = RetryAt("Interrupted", transient=False)


SecondRoad = Callable[[int, bool, BulkTurn], Awaitable[int]]
"""One step of the fallback at this time (ms), told whether the API is healthy, with the turn of its bulk requests;
answers when it is due again (ms)."""


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
        second_road: SecondRoad | None,
        emit: Callable[[Event], None],
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._carrier = carrier
        self._settings = settings
        self._schedule = settings.schedule
        self._clock = clock
        self._second_road = second_road
        self._emit = emit
        self._spread = spread
        self._breaker = Breaker(settings.breaker_failures, settings.schedule.delays, settings.concurrency)
        self._health = Health(
            self._breaker, Throttle(settings.rate), settings.schedule, clock, emit, on_change=self._look_again
        )
        self._gate = Gate(self._health, settings.concurrency, clock)
        self._right = DrainRight(f"{outbox.path}-drain")
        self._wake = asyncio.Event()
        self._lanes: set[int] = set()
        """Lanes of which an entry is in hand, or that are just being joined."""
        self._wanted: Counter[int] = Counter()
        """Lanes that wait to be joined: nothing more of them is claimed."""
        self._joins = 0
        self._confirming: set[int] = set()
        self._confirm_from = 0.0
        self._look_for_imported = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._asking_for_key: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._problems: dict[str, str] = {}
        self._paused = False
        """The outbox cannot be written: nothing is claimed until it can."""
        self._unwritten = 0
        """Results that wait until the outbox can be written."""
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
        self._look_again()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def _look_again(self) -> None:
        self._gate.look_again()
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
                try:
                    if self._paused and not await self._usable_again():
                        continue
                    await self._turn()
                except OutboxUnavailable:
                    self._pause()
                    await self._rest(PAUSE)
            if self._fault is not None:
                raise self._fault
        finally:
            try:
                await self._end(side_tasks)
            finally:
                self._outbox.off_commit(self.wake)
                listener.close()
                self.draining = False

    async def _begin(self) -> None:
        """What the last drainer left: its breaker, and requests whose outcome nobody knows."""
        while not self._gate.stopping:
            now = self._started = self._clock.now()
            # A confirmation leaves no mark while it is under way. One of the last drainer's may still be at work at
            # Engage, and what waits for it must not overtake it: the same rest as for a lane.
            self._confirm_from = self._clock.monotonic() + REST / 1000
            try:
                record = await self._outbox.breaker()
                unknown = await self._outbox.take_over(now, now + REST)
                await self._outbox.set_drainer(self._record())
            except OutboxUnavailable:
                self._pause()
                await self._rest(PAUSE)
            else:
                self._health.restore(record)
                self._emit(DrainerStarted(pid=os.getpid(), unknown=unknown))
                return

    async def _end(self, side_tasks: list[asyncio.Task[None]]) -> None:
        self._gate.stopping = True
        self._look_again()
        for task in side_tasks:
            task.cancel()
        carrying = self._tasks - set(side_tasks)
        if carrying:
            grace = asyncio.ensure_future(self._clock.sleep(self._settings.grace))
            finished = asyncio.ensure_future(asyncio.wait(carrying))
            try:
                await asyncio.wait({grace, finished}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                grace.cancel()
                finished.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OutboxUnavailable, ClientClosed):
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

    # an outbox that cannot be written ---------------------------------------------------------------------------------

    def _pause(self) -> None:
        """The disk is full, or another process holds the turn for long: nothing is claimed until a write succeeds."""
        self._paused = True
        self._told_problem("drainer", "outbox_unavailable")

    async def _usable_again(self) -> bool:
        """Try a small write; it raises where it fails. Results that wait to be written come before new requests."""
        await self._outbox.set_drainer(self._record())
        if self._unwritten:
            await self._rest(PAUSE)
            return False
        self._paused = False
        self._told_problem("drainer", None)
        return True

    async def _written(self, write: Callable[[], Awaitable[T]], *, once: bool = False) -> T:
        """What is known must not be lost to a full disk: again until it holds, or until the grace of a stop is over."""
        waiting = False
        try:
            while True:
                try:
                    return await write()
                except OutboxUnavailable:
                    self._pause()
                    if once:
                        raise
                    self._unwritten += not waiting
                    waiting = True
                    await self._clock.sleep(PAUSE)
        finally:
            self._unwritten -= waiting

    async def _save_health(self) -> None:
        """Every process and the status read it from the database. What could not be written is written later."""
        if self._health.unsaved:
            with suppress(OutboxUnavailable):
                self._health.unsaved = False
                try:
                    await self._outbox.set_breaker(self._health.to_record())
                except BaseException:
                    self._health.unsaved = True
                    raise

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

    async def _rest(self, seconds: float) -> None:
        """Until then, whatever happens; but for a stop or a fault."""
        end = self._clock.monotonic() + seconds
        while not self._gate.stopping and self._fault is None and (left := end - self._clock.monotonic()) > 0:
            await self._sleep(left)

    # beside the loop --------------------------------------------------------------------------------------------------

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
                    await self._outbox.set_drainer(self._record())

    def _record(self) -> DrainerRecord:
        problem = next(iter(self._problems.values()), None)
        return DrainerRecord(os.getpid(), socket.gethostname(), self._started, self._clock.now(), problem)

    async def _walk_second_road(self, road: SecondRoad) -> None:
        while True:
            healthy = self._health.well
            again = self._clock.now() + int(PAUSE * 1000)
            try:
                await self._send_after_their_lanes()
                again = await road(self._clock.now(), healthy, self._gate.turn())
            except OutboxUnavailable:
                self._told_problem("fallback", "outbox_unavailable")
            except (OutboxDamaged, OutboxMismatch):
                raise
            except ConfigurationError:
                # The spool folder can't be used; the API goes on without the second road, and says so.
                self._told_problem("fallback", "spool_folder")
            else:
                self._told_problem("fallback", None)
                self._moved = True
            # What becomes exhausted meanwhile may make files due sooner than was known, and the clock may be set back.
            wait = min(max(again - self._clock.now(), 10) / 1000, LOOK_AT_ROAD)
            end = self._clock.monotonic() + wait
            while (left := end - self._clock.monotonic()) > 0 and healthy == self._health.well:
                await self._clock.sleep(min(STAND_BY, left))

    async def _send_after_their_lanes(self) -> None:
        """What was written behind something that has left by file has no turn to use up: in an outage it follows."""
        if self._breaker.closed or self._health.key_refused is not None:
            return
        await self._outbox.exhaust_behind_files(self._clock.now())

    # claiming ---------------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Take what is due in hand, or sleep until something is."""
        await self._save_health()
        now = self._clock.now()
        if self._health.key_refused is not None:
            await self._turn_without_key(now)
        elif not self._breaker.closed:
            await self._turn_while_open(now)
        else:
            await self._turn_while_closed(now)

    async def _claim(self, limit: int, now: int) -> list[Message]:
        """Heads that nobody has in hand. Where lanes were joined while the answer was on its way, what was read of them
        is no longer so, and an entry could come in hand twice: then it is asked again."""
        while True:
            joins = self._joins
            messages = await self._outbox.claim(limit, now, frozenset(self._lanes | self._wanted.keys()))
            if joins == self._joins:
                return messages

    async def _turn_while_closed(self, now: int) -> None:
        room = 2 * self._settings.concurrency - len(self._lanes) - len(self._confirming)
        if room <= 0:
            await self._sleep(STAND_BY)
            return
        # A share of the places is for confirmations, before anything is claimed: a steady flow of new entries would
        # leave none, and what is imported holds later changes of its contact.
        confirming = 0
        if self._clock.monotonic() >= self._look_for_imported:
            share = max(1, self._settings.concurrency // 2)
            confirming = await self._take_confirmations(min(room, share - len(self._confirming)), now)
            if not confirming:
                self._look_for_imported = self._clock.monotonic() + LOOK_FOR_IMPORTED / 1000
        messages = await self._claim(room - confirming, now) if room > confirming else []
        for message in messages:
            self._lanes.add(message.lane)
            self._task(self._in_hand(message))
        confirming += await self._take_confirmations(room - confirming - len(messages), now)
        if len(messages) + confirming < room:
            await self._sleep_until_due(now)
        else:
            await self._sleep(STAND_BY)

    async def _take_confirmations(self, room: int, now: int) -> int:
        if room <= 0 or not self._settings.confirm or self._clock.monotonic() < self._confirm_from:
            return 0
        found = await self._outbox.to_confirm(room + len(self._confirming), now)
        new = [message for message in found if message.id not in self._confirming][:room]
        for message in new:
            self._confirming.add(message.id)
            self._task(self._confirm(message))
        return len(new)

    async def _turn_while_open(self, now: int) -> None:
        """One probe at its time; every other entry whose turn comes uses it up without a request."""
        probing = self._probing is None and self._breaker.probe_due(now)
        if probing:
            self._breaker.probe()
            self._health.unsaved = True
            await self._save_health()
        try:
            # From here to the lane's being in hand nothing may be awaited: see `_claim`.
            messages = await self._claim(SKIPS, now)
        except BaseException:
            if probing:
                self._breaker.give_up_probe()
            raise
        if probing:
            failed_last = self._breaker.last_failed_lane
            chosen = (m for m in messages if m.lane != failed_last and not self._health.refuses(m.kind))
            probe = next(chosen, None)
            if probe is None:
                self._probing = self._task(self._probe())
            else:
                messages.remove(probe)
                self._lanes.add(probe.lane)
                self._probing = self._task(self._in_hand(probe, probe=True))
        skips = [policy.skip(m, now=now, schedule=self._schedule, spread=self._spread) for m in messages]
        if not skips:
            await self._sleep_until_due(now)
            return
        moved = await asyncio.gather(*(self._outbox.settle(skip) for skip in skips))
        self._moved = True
        exhausted = []
        for message, skip, did in zip(messages, skips, moved, strict=True):
            if did:
                self._tell(message, skip)
                if skip.target is State.EXHAUSTED:
                    exhausted.append(message.lane)
        if exhausted:
            self._lanes.update(exhausted)
            self._task(self._take_along(exhausted))

    async def _take_along(self, lanes: list[int]) -> None:
        """Heads were exhausted while the breaker is open: their lanes go with them."""
        try:
            await self._written(lambda: self._outbox.exhaust_lanes(lanes, self._clock.now()))
        finally:
            self._lanes.difference_update(lanes)
            self.wake()

    async def _turn_without_key(self, now: int) -> None:
        wait = self._health.until_key_probe(now)
        if self._asking_for_key is not None:
            await self._sleep(IDLE / 1000)
        elif wait:
            await self._sleep(wait / 1000)
        else:
            self._health.ask_for_key(now)
            self._asking_for_key = self._task(self._ask_for_key())

    async def _sleep_until_due(self, now: int) -> None:
        due = await self._outbox.next_due(now)
        wait = IDLE if due is None else due - self._clock.now()
        if self._breaker.state == OPEN and self._probing is None:
            wait = min(wait, self._breaker.next_probe - self._clock.now())
        if self._settings.confirm and self._breaker.closed:
            wait = min(wait, LOOK_FOR_IMPORTED)
        await self._sleep(max(wait, 1) / 1000)

    # carrying --------------------------------------------------------------------------------------------------------

    async def _in_hand(self, message: Message, *, probe: bool = False) -> None:
        """Carry one message; whatever happens, its lane is free again afterwards."""
        try:
            await self._carry(message, probe=probe)
        except OutboxUnavailable:
            self._pause()  # it was not marked, so nothing was sent
        finally:
            if probe:
                self._probing = None
                self._breaker.give_up_probe()
            self._lanes.discard(message.lane)
            self.wake()

    async def _carry(self, message: Message, *, probe: bool) -> None:
        if self._schedule.used_up(message.slots) and not probe:
            # It was being sent each time that its process died; once more could be once too often.
            await self._settle(message, _INTERRUPTED, State.PENDING, "skipped")
        elif not self._health.may_try(message.kind):
            await self._postpone(message, State.PENDING)
        else:
            request = await self._request_of(message, probe=probe)
            if request is not None:
                await self._send(message, request, probe=probe)

    async def _request_of(self, message: Message, *, probe: bool) -> Request | None:
        """What to send, after a look where that comes first. None: that settled it, or it is handed back."""
        try:
            if not self._carrier.looks_first(message):
                return self._carrier.request(message)
        except Exception:  # a fault of ours in one entry: see _fault_of_ours
            await self._settle(message, self._fault_of_ours(message, probe=probe), State.PENDING, "request")
            return None
        turn = self._gate.turn(probe=probe)
        try:
            found = await self._carrier.look_up(message, turn)
        except HandBack:
            return None
        except ClientClosed:
            raise
        except Exception:  # a fault of ours in one entry: see _fault_of_ours
            found = self._fault_of_ours(message, probe=probe)
        else:
            turn.learn(message, Delivered() if isinstance(found, Request | SameContact) else found, asked=True)
        await self._save_health()
        match found:
            case Request():
                return found
            case SameContact() if message.lane_key.startswith(CONTACT):
                return await self._change(message, found, probe=probe)
            case SameContact():
                # In the joined lane something older may come first; when it is its turn it is looked up again.
                await self._become_one(message, found.contact_id)
                return None
        await self._settle(message, found, State.PENDING, "look_up")
        return None

    async def _change(self, message: Message, found: SameContact, *, probe: bool) -> Request | None:
        """What to send to the contact that was found.

        In its lane's contact, what a newer entry has set stays: until a look-up told that they are one contact, the
        newer one had no reason to wait. (An entry that is purged is forgotten: it was newer by the retention time.)
        Where the address has gone over to somebody else since the lanes were joined, it is sent to whom it names now.
        A lane is never parted again.
        """
        newer: Newer = ()
        if message.lane_key == contact_lane(found.contact_id):
            newer = await self._outbox.newer_in_force(message)
        try:
            request = self._carrier.change(message, found.contact_id, newer)
        except Exception:  # a fault of ours in one entry: see _fault_of_ours
            await self._settle(message, self._fault_of_ours(message, probe=probe), State.PENDING, "request")
            return None
        if request is None:
            await self._settle(message, Overtaken(found.status, found.duration_ms), State.PENDING, "look_up")
        return request

    async def _send(self, message: Message, request: Request, *, probe: bool) -> None:
        turn = self._gate.turn(probe=probe)
        if not await turn.take():
            return
        closed: ClientClosed | None = None
        try:
            try:
                if not await self._outbox.mark_sending(message.id):
                    return
            except asyncio.CancelledError:
                # The mark may be written all the same, though nothing was sent.
                await self._settle(message, _UNSENT, State.SENDING, "request", once=True)
                raise
            try:
                outcome = await self._carrier.send(message, request, turn)
            except HandBack:
                outcome = _UNSENT
            except asyncio.CancelledError:
                # Stopping does not wait for ever; what was sent stays unknown.
                await self._settle(message, _STOPPED, State.SENDING, "request", once=True)
                raise
            except ClientClosed as error:
                # The shop closed its session under us: nothing was sent, and nothing can be.
                closed, outcome = error, _SESSION_CLOSED
            except Exception:  # a fault of ours in one entry: see _fault_of_ours
                outcome = msgspec.structs.replace(self._fault_of_ours(message, probe=probe), unknown=True)
            else:
                turn.learn(message, outcome)
        finally:
            turn.give_up()
        await self._save_health()
        await self._settle(message, outcome, State.SENDING, "request")
        if closed is not None:
            raise closed

    def _fault_of_ours(self, message: Message, *, probe: bool = False) -> RetryAt:
        """A fault of ours in one entry must neither stop the drainer nor lose the entry: it is tried again, and shown
        to a person when its turns are used up."""
        self._emit(Problem(where=f"entry {message.id}", code="internal_error"))
        if probe:
            self._health.probe_was_ours_to_fail(message)
        return RetryAt("InternalError", transient=False)

    async def _confirm(self, message: Message) -> None:
        """Make sure that an entry that left by file arrived."""
        try:
            if self._health.may_try(message.kind):
                await self._confirm_now(message)
            else:
                await self._postpone(message, State.IMPORTED)
        except OutboxUnavailable:
            self._pause()
        finally:
            self._confirming.discard(message.id)
            self.wake()

    async def _confirm_now(self, message: Message) -> None:
        turn = self._gate.turn()

        async def newer(contact_id: str) -> Newer:
            if not message.lane_key.startswith(CONTACT):
                # In the joined lane something older may come first; when it is its turn it is confirmed from the start.
                await self._become_one(message, contact_id)
                raise HandBack
            return await self._outbox.newer_changes(message)

        try:
            outcome = await self._carrier.confirm(message, newer, turn)
        except HandBack:
            return
        except (ClientClosed, OutboxUnavailable, OutboxDamaged):
            raise
        except Exception:  # a fault of ours in one entry: see _fault_of_ours
            outcome = msgspec.structs.replace(self._fault_of_ours(message), unknown=True)
        else:
            turn.learn(message, outcome)
        await self._save_health()
        await self._settle(message, outcome, State.IMPORTED, "confirm")

    async def _settle(
        self, message: Message, outcome: Outcome | Overtaken, source: State, what: str, *, once: bool = False
    ) -> None:
        """Write down what came of it."""
        settlement = policy.settle(
            message, outcome, source=source, what=what, now=self._clock.now(), schedule=self._schedule,
            outage=not self._breaker.closed, spread=self._spread,
        )  # fmt: skip
        moved = await self._written(lambda: self._outbox.settle(settlement), once=once)
        self._moved = True
        if not moved:
            return
        self._tell(message, settlement)
        if settlement.target is State.EXHAUSTED and settlement.outage:
            await self._written(lambda: self._outbox.exhaust_lanes([message.lane], self._clock.now()))
        # Also where the id was known before (a read found it): knowing it has not made the two lanes one.
        if isinstance(outcome, Delivered) and outcome.contact_id is not None:
            await self._become_one(message, outcome.contact_id)

    async def _postpone(self, message: Message, state: State) -> None:
        """The key may not send this kind: until one of them tries again."""
        await self._outbox.settle(
            Settlement(
                id=message.id, source=state, target=state, due=self._health.next_try(message.kind) + 1,
                slots=message.slots, unknown=message.unknown, reason="NotAllowed",
            )
        )  # fmt: skip

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
        if settlement.target in (State.DELIVERED, State.REJECTED, State.EXHAUSTED, State.DISCARDED):
            self._emit(
                Settled(
                    entry_id=message.id, kind=message.kind, state=settlement.target, reason=settlement.reason,
                    waited_ms=self._clock.now() - message.created,
                )
            )  # fmt: skip

    async def _become_one(self, message: Message, contact_id: str) -> None:
        """The lane of an address and the lane of the id are one contact's: join them once neither is in hand.

        Lanes of contacts wait for nobody, so those who wait here never wait for each other.
        """
        if message.lane_key.startswith(CONTACT):
            return
        # A carried message has its own lane in hand; a confirmed one has not.
        own = {message.lane} if message.id in self._confirming else set()
        wanted: set[int] = set()
        try:
            while not self._gate.stopping:
                target = await self._outbox.lane_of(contact_id)
                others = own if target in (None, message.lane) else own | {target}
                if not others & self._lanes:
                    self._lanes |= others
                    self._joins += 1
                    try:
                        if await self._outbox.join_lanes(message.lane, contact_id, message.lane_key):
                            return
                    finally:
                        self._lanes -= others
                self._wanted.update(others - wanted)
                wanted |= others
                await self._clock.sleep(JOIN_WAIT)
        finally:
            self._wanted -= Counter(wanted)

    # questions that belong to no entry ----------------------------------------------------------------------------

    async def _probe(self) -> None:
        """A harmless question instead of an entry, while the breaker is open."""
        try:
            turn = self._gate.turn(probe=True)
            turn.learn(None, await self._carrier.probe(turn))
            await self._save_health()
        except HandBack:
            pass
        finally:
            self._probing = None
            self._breaker.give_up_probe()
            self.wake()

    async def _ask_for_key(self) -> None:
        """Whether the key works again."""
        try:
            turn = self._gate.turn(probe=True)
            self._health.key_answer(await self._carrier.probe(turn), sent=turn.sent)
            await self._save_health()
        except HandBack:
            pass
        finally:
            self._asking_for_key = None
            self.wake()
