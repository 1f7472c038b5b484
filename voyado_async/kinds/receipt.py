"""A receipt (ref 5). Engage knows it by `uniqueReceiptId` on both roads, so it is repeated freely.

Lane: the contact that its matchKey names. Natural key: `uniqueReceiptId`. In a file: by its own matchKeyType.
"""

from __future__ import annotations

from collections.abc import Mapping

from voyado_async.delivery import Draft, FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.errors import OutboxDamaged
from voyado_async.kinds.address import Address
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.receipt_rules import receipt_warnings
from voyado_async.models.receipts import Receipt, checked_receipt, parse_receipt


def draft(content: Receipt | Mapping[str, object] | bytes, *, key: str | None = None) -> Draft:
    """Raises InvalidEntry with the path of the wrong field. What is only inferred about Engage becomes a warning."""
    receipt, text = checked_receipt(content)
    return Draft(
        Kind.RECEIPT,
        text,
        _owner(receipt).lane,
        receipt.unique_receipt_id if key is None else key,
        natural_key=receipt.unique_receipt_id,
        warnings=receipt_warnings(receipt),
        lines=_lines(receipt),
    )


def request(message: Message) -> Call:
    """Post it, the stored bytes as they are. Raises OutboxDamaged where there is nothing left of them."""
    if not message.body:
        raise OutboxDamaged(f"the content of entry {message.id} is damaged; it was not sent")
    return Call(Operation.SEND_RECEIPT, body=message.body)


def file_form(message: Message, *, contact_type: str) -> FileForm | NoFileForm:
    """One transaction of a transactions file; `contact_type` is the tenant's default."""
    receipt = parse_receipt(message.body)
    if (path := _empty(receipt)) is not None:
        return NoFileForm(
            f"{path} is empty: Engage may refuse the whole file for it (ref 6.1), the API only the receipt"
        )
    return FileForm(
        family=FileFamily.TRANSACTIONS,
        contact_type=receipt.contact.contact_type or contact_type,
        match_key_type=receipt.contact.match_key_type,
        subject=_owner(receipt).lane,
        lines=_lines(receipt),
        record=receipt,
    )


def _lines(receipt: Receipt) -> int:
    """What it counts against the lines of a file (ref 6.1)."""
    return max(1, len(receipt.items))


def _empty(receipt: Receipt) -> str | None:
    """The first field that names something and names nothing."""
    for index, item in enumerate(receipt.items):
        named = {"sku": item.sku, "articleNumber": item.article_number, "articleName": item.article_name}
        for name, value in named.items():
            if not value:
                return f"items[{index}].{name}"
    for index, used in enumerate(receipt.used_promotions or ()):
        for name, told in (("promotionId", used.promotion_id), ("couponId", used.coupon_id)):
            if told == "":
                return f"usedPromotions[{index}].{name}"
    return None


def _owner(receipt: Receipt) -> Address:
    return Address(receipt.contact.match_key_type, receipt.contact.match_key.strip())
