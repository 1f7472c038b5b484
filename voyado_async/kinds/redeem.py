"""A redemption: one assignment, one channel (ref 3.3).

Lane: the contact, or the assignment where no contact is known. Natural key: the assignment. Before a repeat: the list
of the contact's assignments. In a file: the mirror of Engage's own export, a convention of ours (ref 6.7).

A code is redeemed by another call. Its id is in practice that of the assignment (ref 3.3, inferred), so everything else
is the same, and the same id is not redeemed in both ways.
"""

from __future__ import annotations

import msgspec

from voyado_async.clock import as_datetime
from voyado_async.delivery import Draft, FileFamily, FileForm, Kind, Message
from voyado_async.kinds.address import checked_id, of_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.payload import to_json
from voyado_async.models.promotions import Redeem, RedeemBy, RedeemRequest, checked_redeem, parse_redeem
from voyado_async.models.receipts import MatchKeyType

_DECODER = msgspec.json.Decoder(Redeem)


def draft(
    assignment_id: str,
    *,
    channel: str,
    contact_id: str | None = None,
    by: RedeemBy = RedeemBy.ASSIGNMENT,
    key: str | None = None,
) -> Draft:
    """Raises InvalidEntry with the path of what is wrong."""
    checked_id("codeId" if by is RedeemBy.CODE else "assignmentId", assignment_id)
    told = {"assignmentId": assignment_id, "channel": channel, "contactId": contact_id, "by": by}
    content, text = checked_redeem(told)
    assignment = natural_key(content)
    lane = f"assignment:{assignment}"
    if content.contact_id is not None:
        lane = of_id(content.contact_id).lane
    return Draft(Kind.REDEEM, text, lane, assignment if key is None else key, natural_key=assignment)


def corrected(body: bytes) -> Draft:
    """A stored content that a person has changed. Raises InvalidEntry."""
    content = parse_redeem(body)
    return draft(content.assignment_id, channel=content.channel, contact_id=content.contact_id, by=content.by)


def natural_key(content: Redeem) -> str:
    """The assignment's id; ids are GUIDs in either case (ref 6.8)."""
    return content.assignment_id.lower()


def read(body: bytes) -> Redeem:
    """The content of a stored entry."""
    return _DECODER.decode(body)


def contact_of(message: Message) -> str | None:
    """Whose assignment it is, where that is known."""
    return read(message.body).contact_id or message.contact_id


def request(message: Message) -> Call:
    """Redeem it. The contact is only needed for the path of v2 (ref 1.8)."""
    content = read(message.body)
    ids: tuple[tuple[str, str], ...] = (("id", content.assignment_id),)
    contact = contact_of(message)
    if contact is not None:
        ids += (("contactId", contact),)
    operation = Operation.REDEEM_CODE if content.by is RedeemBy.CODE else Operation.REDEEM
    return Call(operation, ids=ids, body=to_json(RedeemRequest(redemption_channel=content.channel)))


def look_up(contact_id: str) -> Call:
    """All assignments of the contact: without the channel, so that nothing is filtered out (ref 3.2)."""
    return Call(Operation.LIST_ASSIGNMENTS, ids=(("contactId", contact_id),))


def file_form(message: Message, *, contact_type: str) -> FileForm:
    """One line of a redemption file. It tells the moment of the enqueue, which the API cannot (ref 6.7).

    The assignment alone names what is redeemed: the contact stands in the record where it is known.
    """
    content = read(message.body)
    contact = contact_of(message)
    record: dict[str, object] = {} if contact is None else {"contactId": contact}
    record |= {
        "contactType": message.contact_type or contact_type,
        "couponId": content.assignment_id,
        "redemptionChannels": [{"type": content.channel}],
        "redeemedDateTime": as_datetime(message.created).isoformat(timespec="milliseconds"),
    }
    return FileForm(
        family=FileFamily.REDEMPTIONS,
        contact_type=contact_type,
        match_key_type=MatchKeyType.CONTACT_ID,
        subject=contact or content.assignment_id,
        lines=1,
        record=record,
    )
