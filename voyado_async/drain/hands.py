"""What the drainer has in hand: the rule that keeps the order of a lane and its rest.

An entry is in hand once at most: its lane is in `lanes` from the claim to the settlement. A lane that is to be joined
is claimed by nobody meanwhile, and what was read while lanes were joined is read again (`claim`). And
`Outbox.mark_sending` refuses what is no longer the head of its lane, or was moved by anybody since it was claimed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from voyado_async.clock import Clock
from voyado_async.delivery import Kind, Message, SameContact
from voyado_async.drain.gate import Gate
from voyado_async.drain.rests import Rests
from voyado_async.outbox.moves import CONTACT, contact_lane
from voyado_async.outbox.operator_moves import SETTING
from voyado_async.outbox.records import Asked
from voyado_async.outbox.store import Outbox

JOIN_WAIT = 0.02
"""Seconds between two looks whether a lane that is to be joined has finished its request."""

STILL_SO = 5.0
"""Seconds for which what a look-up told is acted upon without asking again, where its entry had to be taken anew."""


class Hands:
    """The lanes and confirmations in hand, and the joining of lanes that are not. `wake`: something is free again.

    A lane that rests is taken by nobody.
    """

    def __init__(self, outbox: Outbox, gate: Gate, rests: Rests, clock: Clock, wake: Callable[[], None]) -> None:
        self._outbox = outbox
        self._gate = gate
        self._rests = rests
        self._clock = clock
        self._wake = wake
        self._wanted: Counter[int] = Counter()
        """Lanes that wait to be joined: nothing more of them is claimed."""
        self._joins = 0
        self._found: dict[str, tuple[int, SameContact, float]] = {}
        """By the lane that is being joined: the entry that was looked up, what that told, and when."""
        self.lanes: set[int] = set()
        """Lanes of which an entry is in hand, or that are just being joined."""
        self.confirming: dict[int, Message] = {}
        """Imported entries whose confirmation is in hand. They do not hold their lane: while they are imported, the
        outbox itself holds what has to wait for them."""

    async def claim(self, limit: int, now: int) -> list[Message]:
        """Heads that nobody has in hand. Where lanes were joined while the answer was on its way, what was read of them
        is no longer so, and an entry could come in hand twice: then it is asked again.

        Who takes one in hand must await nothing before.
        """
        while True:
            joins = self._joins
            resting = self._rests.lanes(self._clock.monotonic())
            messages = await self._outbox.claim(limit, now, resting | self.lanes | self._wanted.keys())
            if joins == self._joins:
                return self.not_confirmed(messages)

    def not_confirmed(self, messages: list[Message]) -> list[Message]:
        """Those that have not to wait for a confirmation in hand.

        A person can discard or replay an imported entry while a request that confirms it is under way. Nothing that it
        held goes out before that request has ended: an older value would come after a newer one.
        """
        confirmed = self.confirming.values()
        creating = {each.lane for each in confirmed if each.kind is Kind.CONTACT_CREATE}
        changing = {each.lane for each in confirmed if each.kind in SETTING}
        return [
            message
            for message in messages
            if message.id not in self.confirming
            and message.lane not in creating
            and not (message.kind in SETTING and message.lane in changing)
        ]

    def rest_left(self) -> float | None:
        """Seconds until the next lane has rested; None where none rests."""
        return self._rests.left(self._clock.monotonic())

    def free(self, *lanes: int) -> None:
        """Nothing of these lanes is in hand any longer."""
        self.lanes.difference_update(lanes)
        self._wake()

    def confirmed(self, message: Message) -> None:
        """Its confirmation is over, whatever it came to."""
        self.confirming.pop(message.id, None)
        self._wake()

    def found(self, message: Message) -> SameContact | None:
        """What a look-up has just told of this entry, where nothing else of its contact came in hand since; else it has
        to be asked again, for the address may be somebody else's by now."""
        entry, found, when = self._found.pop(message.lane_key, (0, None, 0.0))
        return found if entry == message.id and self._clock.monotonic() - when < STILL_SO else None

    async def join(
        self, message: Message, contact_id: str, found: SameContact | None = None, asked: Asked | None = None
    ) -> None:
        """The lane of an address and the lane of the id are one contact's: join them once neither is in hand. `found`:
        the look-up that has just told so; `asked`: when Engage was asked whose the address is.

        Lanes of contacts wait for nobody, so those who wait here never wait for each other. A stop ends it, undone.
        """
        if message.lane_key.startswith(CONTACT):
            return
        # A carried message has its own lane in hand; a confirmed one has not.
        own = {message.lane} if message.id in self.confirming else set()
        wanted: set[int] = set()
        try:
            while not self._gate.stopping:
                target = await self._outbox.lane_of(contact_id)
                others = own if target in (None, message.lane) else own | {target}
                if not others & self.lanes:
                    self.lanes |= others
                    self._joins += 1
                    if found is not None and not wanted:  # nothing has happened since that was told
                        self._keep(contact_lane(contact_id), message, found)
                    try:
                        if await self._outbox.join_lanes(message.lane, contact_id, message.lane_key, asked):
                            if (joined := await self._outbox.lane_of(contact_id)) is not None:
                                self._rests.join(message.lane, joined)
                                self._follow(message.lane, joined)
                            return
                        self._found.pop(contact_lane(contact_id), None)  # a request of the contact is under way
                    finally:
                        self.lanes -= others
                self._wanted.update(others - wanted)
                wanted |= others
                await self._clock.sleep(JOIN_WAIT)
        finally:
            self._wanted -= Counter(wanted)

    def _follow(self, lane: int, joined: int) -> None:
        """Confirmations in hand belong to the joined lane, too."""
        for entry, message in self.confirming.items():
            if message.lane == lane:
                self.confirming[entry] = msgspec.structs.replace(message, lane=joined)

    def _keep(self, lane: str, message: Message, found: SameContact) -> None:
        now = self._clock.monotonic()
        self._found = {lane: each for lane, each in self._found.items() if now - each[2] < STILL_SO}
        self._found[lane] = (message.id, found, now)
