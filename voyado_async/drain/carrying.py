"""The way of one entry that was taken in hand: look, if a look comes first; send; settle. Or confirm, after a file.

It is handed back without a trace where its request may not go out now. `sending` is on disk from the moment when the
request really goes out until it is settled, and no longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import msgspec

from voyado_async.delivery import (
    Carrier,
    Delivered,
    Enough,
    HandBack,
    Later,
    Message,
    Newer,
    Outcome,
    Rejected,
    Request,
    RetryAt,
    SameContact,
)
from voyado_async.drain.gate import Gate
from voyado_async.drain.hands import Hands
from voyado_async.drain.health import Health
from voyado_async.drain.ledger import Ledger
from voyado_async.drain.policy import Overtaken, Schedule
from voyado_async.drain.recent import Recent
from voyado_async.errors import ClientClosed, OutboxDamaged, OutboxSealed, OutboxUnavailable
from voyado_async.events import Event, Problem
from voyado_async.outbox.moves import CONTACT, contact_lane
from voyado_async.outbox.records import Asked, AsRead
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

_STOPPED = RetryAt("Stopped", unknown=True, transient=False, counts=False)
_UNSENT = RetryAt("Stopped", transient=False, counts=False)
_SESSION_CLOSED = RetryAt("SessionClosed", transient=False, counts=False)
_INTERRUPTED = RetryAt("Interrupted", transient=False)

_GONE = 404


class _Step(NamedTuple):
    """What to send. `told_of`: see `SameContact`."""

    request: Request
    told_of: str | None = None


class Porter:
    """Carries what is in hand, one entry at a time for each lane, and many side by side."""

    def __init__(
        self,
        outbox: Outbox,
        carrier: Carrier,
        hands: Hands,
        ledger: Ledger,
        gate: Gate,
        health: Health,
        schedule: Schedule,
        recent: Recent,
        emit: Callable[[Event], None],
    ) -> None:
        self._outbox = outbox
        self._carrier = carrier
        self._hands = hands
        self._ledger = ledger
        self._gate = gate
        self._health = health
        self._schedule = schedule
        self._recent = recent
        self._emit = emit

    async def carry(self, message: Message, *, probe: bool = False) -> None:
        """Carry the head of a lane; whatever happens, the lane is free again afterwards."""
        try:
            await self._carry(message, probe=probe)
        except OutboxUnavailable:
            self._ledger.pause()  # it was not marked, so nothing was sent
        finally:
            self._hands.free(message.lane)

    async def _carry(self, message: Message, *, probe: bool) -> None:
        if self._schedule.used_up(message.slots) and not probe:
            # It was being sent each time that its process died; once more could be once too often.
            await self._settle(message, _INTERRUPTED, State.PENDING, "skipped")
        elif not self._health.may_try(message.kind):
            await self._ledger.postpone(message, State.PENDING)
        else:
            step = await self._request_of(message, probe=probe)
            if step is not None:
                await self._send(message, step, probe=probe)

    # what to send -----------------------------------------------------------------------------------------------------

    async def _request_of(self, message: Message, *, probe: bool) -> _Step | None:
        """What to send, after a look where that comes first. None: that settled it, or it is handed back."""
        known = self._hands.found(message)
        if known is not None:
            return await self._change(message, known, probe=probe)
        try:
            looks_first = self._carrier.looks_first(message)
            if not looks_first and not message.passed:
                return _Step(self._carrier.request(message))
            address = None if probe or not looks_first else self._carrier.asks_for(message)
        except Exception:  # a fault of ours in one entry: see _fault_of_ours
            await self._settle(message, self._fault_of_ours(message, probe=probe), State.PENDING, "request")
            return None
        if not looks_first:
            return await self._change(message, SameContact(message.lane_key.removeprefix(CONTACT)), probe=probe)
        told = None if address is None else await self._outbox.told(address)
        if address is not None and told is not None:
            names = (address, address.partition(":")[0], contact_lane(told.contact_id))
            if self._recent.counts(told.asked, names):
                return await self._to(message, SameContact(told.contact_id, told_of=address), told.asked, probe=probe)
        asked = self._recent.now()
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
        await self._ledger.save_health()
        match found:
            case Request():
                return _Step(found)
            case SameContact():
                # What was asked at a narrowed look-up is no answer to the question itself.
                return await self._to(message, found, None if address is None else asked, probe=probe)
        await self._settle(message, found, State.PENDING, "look_up")
        return None

    async def _to(self, message: Message, found: SameContact, asked: Asked | None, *, probe: bool) -> _Step | None:
        """What to send to the contact that was found, where its lane is known to be a contact's."""
        if message.lane_key.startswith(CONTACT):
            return await self._change(message, found, probe=probe)
        # In the joined lane something older may come first: then it is looked up again when it is its turn.
        await self._hands.join(message, found.contact_id, found, asked)
        return None

    async def _change(self, message: Message, found: SameContact, *, probe: bool) -> _Step | None:
        """What to send to the contact that was found, or that the entry names.

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
            return None
        return _Step(request, found.told_of)

    # sending ----------------------------------------------------------------------------------------------------------

    async def _send(self, message: Message, step: _Step, *, probe: bool) -> None:
        turn = self._gate.turn(probe=probe)
        if not await turn.take():
            return
        closed: ClientClosed | None = None
        try:
            try:
                if not await self._outbox.mark_sending(message.id, AsRead.of(message)):
                    return  # it was moved, or is another by now: it is claimed anew
            except asyncio.CancelledError:
                # The mark may be written all the same, though nothing was sent.
                await self._settle(message, _UNSENT, State.SENDING, "request", once=True)
                raise
            try:
                outcome = await self._changing(
                    message, step.request, partial(self._carrier.send, message, step.request, turn)
                )
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
        await self._ledger.save_health()
        if step.told_of is not None and isinstance(outcome, Rejected) and outcome.status == _GONE:
            # Two contacts may have been made one: the address names the one that is left. Now Engage is asked.
            await self._ledger.written(partial(self._outbox.unlearn_address, step.told_of))
            outcome = RetryAt(outcome.code, outcome.status, transient=False, duration_ms=outcome.duration_ms)
        await self._settle(message, outcome, State.SENDING, "request")
        if closed is not None:
            raise closed

    async def _changing(
        self, message: Message, request: Request | None, send: Callable[[], Awaitable[Outcome]]
    ) -> Outcome:
        """Send, and note which addresses may name somebody else since. `request`: None where it is not known yet."""
        names = self._carrier.renames(message, request)
        unknown = True
        self._recent.began(names)
        try:
            outcome = await send()
            unknown = isinstance(outcome, RetryAt) and outcome.unknown
            if names and isinstance(outcome, Delivered) and outcome.contact_id is not None:
                self._recent.changed({contact_lane(outcome.contact_id)})
            return outcome
        finally:
            self._recent.ended(names, unknown=unknown)

    async def _settle(
        self, message: Message, outcome: Outcome | Overtaken, source: State, what: str, *, once: bool = False
    ) -> None:
        """Write down what came of it, and what it told of the contact."""
        moved = await self._ledger.settle(message, outcome, source, what, once=once)
        # Also where the id was known before (a read found it): knowing it has not made the two lanes one.
        if moved and isinstance(outcome, Delivered) and outcome.contact_id is not None:
            await self._hands.join(message, outcome.contact_id)

    def _fault_of_ours(self, message: Message, *, probe: bool = False) -> RetryAt:
        """A fault of ours in one entry must neither stop the drainer nor lose the entry: it is tried again, and shown
        to a person when its turns are used up."""
        self._emit(Problem(where=f"entry {message.id}", code="internal_error"))
        if probe:
            self._health.probe_was_ours_to_fail(message)
        return RetryAt("InternalError", transient=False)

    # after a file -----------------------------------------------------------------------------------------------------

    async def confirm(self, message: Message) -> None:
        """Make sure that an entry that left by file arrived."""
        try:
            if self._health.may_try(message.kind):
                await self._confirm(message)
            else:
                await self._ledger.postpone(message, State.IMPORTED)
        except OutboxUnavailable:
            self._ledger.pause()
        finally:
            self._hands.confirmed(message)

    async def _confirm(self, message: Message) -> None:
        turn = self._gate.turn()

        async def newer(contact_id: str, enough: Enough) -> Later:
            if not message.lane_key.startswith(CONTACT):
                # In the joined lane something older may come first; when it is its turn it is confirmed from the start.
                await self._hands.join(message, contact_id)
                raise HandBack
            if message.lane_key != contact_lane(contact_id):
                return Later()  # the address has gone over to somebody else since, see _change
            return await self._outbox.newer_changes(message, enough)

        try:
            outcome = await self._changing(message, None, partial(self._carrier.confirm, message, newer, turn))
        except HandBack:
            return
        except (ClientClosed, OutboxUnavailable, OutboxDamaged, OutboxSealed):
            raise
        except Exception:  # a fault of ours in one entry: see _fault_of_ours
            outcome = msgspec.structs.replace(self._fault_of_ours(message), unknown=True)
        else:
            turn.learn(message, outcome)
        await self._ledger.save_health()
        await self._settle(message, outcome, State.IMPORTED, "confirm")

    # questions that belong to no entry --------------------------------------------------------------------------------

    async def ask_how_engage_is(self) -> None:
        """A harmless question instead of an entry, while the breaker is open."""
        turn = self._gate.turn(probe=True)
        try:
            turn.learn(None, await self._carrier.probe(turn))
        except HandBack:
            return
        await self._ledger.save_health()

    async def ask_for_the_key(self) -> None:
        """Whether the key works again."""
        turn = self._gate.turn(probe=True)
        try:
            self._health.key_answer(await self._carrier.probe(turn), sent=turn.sent)
        except HandBack:
            return
        await self._ledger.save_health()
