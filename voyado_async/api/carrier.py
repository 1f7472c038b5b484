"""One message to Engage over the API: look first where that is the rule, send, and say what came of it.

What a reply means is decided in `replies.py`; here the questions are asked in their order. A call that is cancelled
leaves the outcome unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from voyado_async.api import replies
from voyado_async.api.http import Http
from voyado_async.api.readback import absent, missing, overwritten, shown
from voyado_async.api.replies import KeyTaken, NotFound
from voyado_async.api.routes import EngageRequest, Routes, build, lacking
from voyado_async.delivery import (
    AskNewer,
    Delivered,
    Enough,
    Kind,
    Later,
    LookUp,
    Message,
    Newer,
    Outcome,
    Rejected,
    Reply,
    Request,
    RetryAt,
    SameContact,
    Turn,
)
from voyado_async.errors import EngageError
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem, registry, voucher_redeem
from voyado_async.kinds.address import address, find, names_in
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.contacts import Contact, read_contact
from voyado_async.models.payload import to_json
from voyado_async.models.receipts import MatchKeyType
from voyado_async.outbox.moves import contact_lane

_NOBODY = "nobody@voyado-async.invalid"  # .invalid is reserved (RFC 2606): it is nobody's address

NO_CONTACT = "NeedsContactId"
"""Our own code for what cannot be expressed: API version 2 redeems a voucher only of a contact (ref 3.6)."""

_REDEMPTIONS = (Operation.REDEEM, Operation.REDEEM_CODE, Operation.REDEEM_VOUCHER)


class EngageCarrier:
    """Carries messages to Engage over HTTP: see `delivery.Carrier`. `contact_key` is the tenant's key attribute."""

    def __init__(self, http: Http, routes: Routes, *, contact_key: str | None) -> None:
        self._http = http
        self._routes = routes
        self._contact_key = contact_key

    # the request ------------------------------------------------------------------------------------------------------

    def looks_first(self, message: Message) -> bool:
        """A redemption after an unknown attempt, an update whose contact's id is not known, and every creation.

        Not where no look-up is possible: a redemption without a contact is repeated late, and so is a creation where
        the tenant's key attribute is not set; the 409 of the repeat then tells.
        """
        match message.kind:
            case Kind.REDEEM:
                return message.unknown and redeem.contact_of(message) is not None
            case Kind.VOUCHER_REDEEM:
                known = voucher_redeem.contact_of(message) is not None
                return (message.unknown and known) or not self._expressible(message)
            case Kind.CONTACT_UPDATE:
                return contact_update.contact_of(message) is None
            case Kind.CONTACT_CREATE:
                return contact_create.key_of(contact_create.read(message.body), self._contact_key) is not None
            case Kind.CONTACT_TYPE | Kind.RECEIPT:
                return False

    def asks_for(self, message: Message) -> str | None:
        """See `delivery.Carrier`. An update's by an attribute, of whichever type its contact is: a look-up that is
        narrowed to a type may be answered otherwise. A creation asks each time: it could make a second person."""
        if message.kind is not Kind.CONTACT_UPDATE:
            return None
        content = contact_update.read(message.body)
        named = content.address
        return None if named.type is MatchKeyType.CONTACT_ID or content.contact_type else named.lane

    def renames(self, message: Message, request: Request | None) -> frozenset[str]:
        match message.kind:
            case Kind.CONTACT_UPDATE:
                named = names_in(contact_update.changes_of(contact_update.read(message.body)))
            case Kind.CONTACT_CREATE:
                named = names_in(contact_create.contact_of(contact_create.read(message.body)))
            case Kind.CONTACT_TYPE:  # which contacts a look-up considers may depend on their type
                named = frozenset({contact_lane(contact_type.read(message.body).contact_id)})
            case _:
                return frozenset()
        whose = {message.lane_key}
        if isinstance(request, EngageRequest) and request.contact_id is not None:
            whose.add(contact_lane(request.contact_id))
        return named | whose if named else named

    def request(self, message: Message) -> EngageRequest:
        """The request of a message that needs no look-up, or whose look-up said to send it."""
        return build(self._routes, self._call(message))

    def _expressible(self, message: Message) -> bool:
        """Whether this API version has a request for it: one that was written for the other one may lack an id."""
        return not lacking(self._routes, self._call(message))

    def _call(self, message: Message) -> Call:
        match message.kind:
            case Kind.VOUCHER_REDEEM:
                return voucher_redeem.request(message)
            case Kind.REDEEM:
                return redeem.request(message)
            case Kind.RECEIPT:
                return receipt.request(message)
            case Kind.CONTACT_TYPE:
                return contact_type.request(message)
            case Kind.CONTACT_CREATE:
                return contact_create.request(message)
            case Kind.CONTACT_UPDATE:
                contact_id = contact_update.contact_of(message)
                if contact_id is None:
                    raise LookupError(f"entry {message.id}: the contact's id has to be looked up first")
                return contact_update.patch(contact_id, bytes(contact_update.read(message.body).changes))

    def change(self, message: Message, contact_id: str, newer: Newer) -> EngageRequest | None:
        """The PATCH of an update, or of a creation that met somebody, without what is newer."""
        if message.kind is Kind.CONTACT_CREATE:
            ours = contact_create.changes(contact_create.read(message.body))
            text = to_json(ours)
        else:
            update = contact_update.read(message.body)
            ours, text = contact_update.changes_of(update), bytes(update.changes)
            contact_id = contact_update.contact_of(message) or contact_id  # as it was written, in either case
        if newer:
            ours = contact_update.left_without(ours, _fields(newer))
            text = to_json(ours)
        return build(self._routes, contact_update.patch(contact_id, text)) if ours else None

    async def send(self, message: Message, request: Request, turn: Turn) -> Outcome:
        """Send what `request`, `change` or `look_up` gave."""
        reply = await self._exchange(request, turn)
        operation = request.operation if isinstance(request, EngageRequest) else None
        if operation in _REDEMPTIONS:
            return replies.redeemed(message, reply)
        if operation is Operation.CREATE_CONTACT:
            outcome = replies.created(message, reply)
            if isinstance(outcome, KeyTaken):
                return await self._key_taken(message, outcome, turn)
            return _typed(outcome, contact_create.type_of(contact_create.read(message.body)))
        outcome = replies.accepted(message, reply)
        if isinstance(outcome, Delivered) and isinstance(request, EngageRequest):
            outcome = msgspec.structs.replace(outcome, contact_id=request.contact_id)
        if message.kind is Kind.CONTACT_TYPE:
            return _typed(outcome, contact_type.read(message.body).contact_type)
        return outcome

    async def _exchange(self, request: Request, turn: Turn) -> Reply:
        async with turn:
            return await self._http.send(request)

    async def _key_taken(self, message: Message, taken: KeyTaken, turn: Turn) -> Outcome:
        """A creation met somebody with its key. Who that is, only a look-up by the tenant's key attribute may say:
        Engage's answer can mean another key, such as an e-mail that two people share.
        """
        content = contact_create.read(message.body)
        named = contact_create.key_of(content, self._contact_key)
        if named is None and (message.unknown or content.on_existing == "keep"):
            how = "conflict" if message.unknown else "exists"
            return Delivered(how, taken.status, contact_id=taken.contact_id, duration_ms=taken.duration_ms)
        found = None if named is None else await self._ask_for(message, find(named), turn)
        match found:
            case None | NotFound():
                return Rejected(replies.KEY_EXISTS, taken.status, message.unknown, taken.duration_ms)
            case SameContact():
                settled = self._existing(message, found)
                if not isinstance(settled, SameContact):
                    return settled
                # To be updated: first its lane has to join that contact's, as after any look-up.
                return RetryAt(replies.KEY_EXISTS, taken.status, transient=False, duration_ms=taken.duration_ms)
        return found

    # the look-up ------------------------------------------------------------------------------------------------------

    async def look_up(self, message: Message, turn: Turn) -> LookUp:
        """Ask first, changing nothing."""
        match message.kind:
            case Kind.REDEEM:
                contact_id = redeem.contact_of(message)
                seen = None if contact_id is None else await self._seen_redeemed(message, contact_id, turn)
                return self.request(message) if seen is None else seen
            case Kind.VOUCHER_REDEEM:
                if not self._expressible(message):
                    # Any answer also tells how Engage is, so one is really asked for.
                    alive = await self.probe(turn)
                    return Rejected(NO_CONTACT, None, message.unknown) if isinstance(alive, Delivered) else alive
                contact_id = voucher_redeem.contact_of(message)
                seen = None if contact_id is None else await self._seen_voucher(message, contact_id, turn)
                return self.request(message) if seen is None else seen
            case Kind.CONTACT_UPDATE:
                found = await self._ask_for(message, contact_update.look_up(message), turn)
                return self._nobody(message, found) if isinstance(found, NotFound) else found
            case Kind.CONTACT_CREATE:
                named = contact_create.key_of(contact_create.read(message.body), self._contact_key)
                existing = NotFound(0, 0) if named is None else await self._ask_for(message, find(named), turn)
                match existing:
                    case NotFound():
                        return self.request(message)
                    case SameContact():
                        return self._existing(message, existing)
                return existing
            case Kind.CONTACT_TYPE | Kind.RECEIPT:
                return self.request(message)

    async def _seen_redeemed(self, message: Message, contact_id: str, turn: Turn) -> Outcome | None:
        reply = await self._exchange(build(self._routes, redeem.look_up(contact_id)), turn)
        return replies.seen_redeemed(message, redeem.read(message.body).assignment_id, reply)

    async def _seen_voucher(self, message: Message, contact_id: str, turn: Turn) -> Outcome | None:
        voucher_id = voucher_redeem.read(message.body).voucher_id
        seen: Outcome | int | None = 0
        while isinstance(seen, int):
            question = voucher_redeem.look_up(contact_id, seen)
            reply = await self._exchange(build(self._routes, question), turn)
            seen = replies.seen_voucher(message, voucher_id, reply, seen)
        return seen

    async def _ask_for(self, message: Message, question: Call, turn: Turn) -> SameContact | NotFound | Outcome:
        return replies.looked_for(message, await self._exchange(build(self._routes, question), turn))

    def _existing(self, message: Message, found: SameContact) -> Delivered | SameContact:
        """A contact to be created is there. With `on_existing="update"` it is updated, also after an unknown attempt:
        that attempt may have been an update that did not arrive, and repeating one is harmless.
        """
        if contact_create.read(message.body).on_existing == "update":
            return found
        how = "looked_up" if message.unknown else "exists"
        return Delivered(how, found.status, found.contact_id, found.duration_ms)

    @staticmethod
    def _nobody(message: Message, found: NotFound) -> Rejected:
        return Rejected(replies.CONTACT_NOT_FOUND, found.status, message.unknown, found.duration_ms)

    # after a file -----------------------------------------------------------------------------------------------------

    async def confirm(self, message: Message, newer: AskNewer, turn: Turn) -> Outcome:
        """Make sure that what left by file arrived; what did not is sent."""
        carried = msgspec.structs.replace(message, unknown=True)  # the file may have done it
        match message.kind:
            case Kind.CONTACT_UPDATE:
                return await self._confirm_update(carried, newer, turn)
            case Kind.CONTACT_CREATE:
                return await self._confirm_creation(carried, newer, turn)
            case Kind.REDEEM | Kind.RECEIPT | Kind.CONTACT_TYPE | Kind.VOUCHER_REDEEM:
                next_step = await self.look_up(carried, turn)
        if isinstance(next_step, Request):
            return await self.send(carried, next_step, turn)
        assert not isinstance(next_step, SameContact)  # these kinds look for no contact
        return next_step

    async def _confirm_creation(self, message: Message, newer: AskNewer, turn: Turn) -> Outcome:
        """Found by its key, it is there; else it is created.

        What it lacks is filled in: where Engage skipped the file in silence, a later file with a change of this contact
        has made it, with nothing but that change (ref 6.4: the section is an upsert). What it has is left alone.
        """
        content = contact_create.read(message.body)
        named = contact_create.key_of(content, self._contact_key)
        found = NotFound(0, 0) if named is None else await self._ask_for(message, find(named), turn)
        match found:
            case NotFound():
                return await self.send(message, self.request(message), turn)
            case SameContact():
                written = contact_create.contact_of(content)
                later = await newer(found.contact_id, _covering(written))
                ours = contact_update.left_without(written, _fields(later.writes))
                newest = _newest(later)

                def lacks(contact: Contact) -> dict[str, object]:
                    return contact_update.together(absent(ours, contact), overwritten(written, newest, contact))

                return await self._repair(message, found.contact_id, lacks, turn)
        return found

    async def _confirm_update(self, message: Message, newer: AskNewer, turn: Turn) -> Outcome:
        """Read the contact and send the fields that differ, but those that a newer entry has set.

        Where the contact shows our value of such a field, the import has put it over the newer one (the two were not
        known to be one contact's when the file left): then the newer one is sent again.

        A newer creation sets nothing where it finds the contact, but in a file it does (ref 6.4: an upsert). What the
        contact shows of it is newer than ours.
        """
        contact_id = contact_update.contact_of(message)
        if contact_id is None:
            found = await self._ask_for(message, contact_update.look_up(message), turn)
            match found:
                case SameContact():
                    contact_id = found.contact_id
                case NotFound():
                    return self._nobody(message, found)
                case _:
                    return found
        written = contact_update.changes_of(contact_update.read(message.body))
        later = await newer(contact_id, _covering(written))
        changes = [(kind, body) for kind, body in later.writes if kind is not Kind.CONTACT_CREATE]
        creations = [
            contact_create.contact_of(contact_create.read(body))
            for kind, body in later.writes
            if kind is Kind.CONTACT_CREATE
        ]
        ours = contact_update.left_without(written, _fields(changes))
        newest = _newest(later)
        common = contact_update.left_without(
            written, contact_update.fields_of(written) - contact_update.fields_of(newest)
        )
        if not ours and contact_update.together(newest, common) == newest:
            return Delivered("looked_up", contact_id=contact_id)

        def lacks(contact: Contact) -> dict[str, object]:
            left = contact_update.together(missing(ours, contact), overwritten(written, newest, contact))
            for creation in creations:
                left = contact_update.left_without(left, shown(creation, contact))
            return left

        return await self._repair(message, contact_id, lacks, turn)

    async def _repair(
        self,
        message: Message,
        contact_id: str,
        lacks: Callable[[Contact], dict[str, object]],
        turn: Turn,
    ) -> Outcome:
        """Read the contact and send what `lacks` finds that it should have."""
        question = Call(Operation.GET_CONTACT, ids=(("contactId", contact_id),))
        reply = await self._exchange(build(self._routes, question), turn)
        refused = replies.trouble(reply, earlier_unknown=True, changes=False)
        if refused is not None:
            return refused
        try:
            contact = read_contact(reply.body)
        except EngageError:
            return replies.strange(reply, changes=False)
        left = lacks(contact)
        if not left:
            return Delivered("looked_up", reply.status, contact_id, reply.duration_ms)
        patch = contact_update.patch(contact_id, to_json(left))
        return await self.send(message, build(self._routes, patch), turn)

    # the probe --------------------------------------------------------------------------------------------------------

    async def probe(self, turn: Turn) -> Outcome:
        """Look for an address that is nobody's. A refusal by code is as good an answer as any."""
        question = find(address(email=_NOBODY))
        return replies.alive(await self._exchange(build(self._routes, question), turn))


def _typed(outcome: Outcome, contact_type: str | None) -> Outcome:
    """What was delivered has set this type."""
    return msgspec.structs.replace(outcome, contact_type=contact_type) if isinstance(outcome, Delivered) else outcome


def _fields(newer: Newer) -> frozenset[str]:
    """The names of all the fields that these set."""
    return frozenset().union(*(registry.fields(kind, body) for kind, body in newer))


def _covering(written: Mapping[str, object]) -> Enough:
    """Each field that was written is set again by an update that is to come. Of a field that nobody sets again there is
    one last writer, so that all the looks of a lane together read it a few times, however long it is."""
    left = contact_update.fields_of(written)

    def enough(to_come: Newer) -> bool:
        nonlocal left
        left -= _fields(to_come)
        return not left

    return enough


def _newest(later: Later) -> dict[str, object]:
    """What the newer updates that Engage has have set: of each field the newest value. Not where another update is to
    come: that one's own confirmation sees whether its value stands."""
    values: dict[str, object] = {}
    for kind, body in later.in_force:
        if kind is Kind.CONTACT_UPDATE:
            values = contact_update.together(values, contact_update.changes_of(contact_update.read(body)))
    return contact_update.left_without(values, _fields(later.to_come))
