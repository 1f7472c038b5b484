"""The redemption of a reward voucher (ref 3.6).

Lane: the contact, or the voucher where no contact is known. Natural key: the voucher. Before a repeat: the list of the
contact's redeemed vouchers. No file form: no page shows one, so it waits for the API.
"""

from __future__ import annotations

import msgspec

from voyado_async.delivery import Draft, Kind, Message, NoFileForm
from voyado_async.kinds.address import checked_id, of_id
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.decode import stored
from voyado_async.models.paging import COUNT, page_params
from voyado_async.models.payload import Payload, to_json


class VoucherRedeem(Payload, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The content of an entry."""

    voucher_id: str
    contact_id: str | None = None


_DECODER = msgspec.json.Decoder(VoucherRedeem)


def draft(voucher_id: str, *, contact_id: str | None = None, key: str | None = None) -> Draft:
    """Raises InvalidEntry with the path of what is wrong."""
    voucher = checked_id("voucherId", voucher_id)
    natural = natural_key(VoucherRedeem(voucher_id=voucher))
    lane = f"voucher:{natural}"
    if contact_id is not None:
        named = of_id(contact_id)
        lane, contact_id = named.lane, named.value
    content = VoucherRedeem(voucher_id=voucher, contact_id=contact_id)
    return Draft(Kind.VOUCHER_REDEEM, to_json(content), lane, natural if key is None else key, natural_key=natural)


def corrected(body: bytes) -> Draft:
    """A stored content that a person has changed. Raises InvalidEntry."""
    content = stored(VoucherRedeem, body)
    return draft(content.voucher_id, contact_id=content.contact_id)


def natural_key(content: VoucherRedeem) -> str:
    """The voucher's id; ids are GUIDs in either case (ref 6.8)."""
    return content.voucher_id.lower()


def read(body: bytes) -> VoucherRedeem:
    """The content of a stored entry."""
    return _DECODER.decode(body)


def contact_of(message: Message) -> str | None:
    """Whose voucher it is, where that is known."""
    return read(message.body).contact_id or message.contact_id


def request(message: Message) -> Call:
    """Redeem it. The contact is only needed for the path of v2 (ref 1.8)."""
    ids: tuple[tuple[str, str], ...] = (("id", read(message.body).voucher_id),)
    contact = contact_of(message)
    if contact is not None:
        ids += (("contactId", contact),)
    return Call(Operation.REDEEM_VOUCHER, ids=ids)


def look_up(contact_id: str, offset: int) -> Call:
    """One page of the contact's redeemed vouchers."""
    return Call(Operation.REDEEMED_VOUCHERS, ids=(("contactId", contact_id),), params=page_params(offset, COUNT))


def file_form() -> NoFileForm:
    """It waits for the API."""
    return NoFileForm("the redemption of a voucher has no form in a file: no page shows one (ref 6)")
