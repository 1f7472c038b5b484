"""The reward voucher calls (ref 3.6): v2 calls them bonus checks and names the contact in every path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from voyado_async.sandbox.contact_fields import GUID
from voyado_async.sandbox.engage import Engage, Handler, Route, page_of
from voyado_async.sandbox.exchange import Call, Refused, Reply, contact_of, only_query
from voyado_async.sandbox.state import Origin, Voucher


def _listing(wanted: Callable[[Engage, Voucher], bool]) -> Handler:
    """A page of those vouchers of a contact, oldest first."""

    def handle(engage: Engage, call: Call) -> Reply:
        contact = engage.contact(contact_of(call, "offset", "count"))
        mine = [v for v in engage.state.vouchers.values() if v.contact_id == contact.id and wanted(engage, v)]
        return page_of(call, [_shown(voucher, call.version) for voucher in mine])

    return handle


def _expired(engage: Engage, voucher: Voucher) -> bool:
    return voucher.expires_on is not None and voucher.expires_on < engage.state.now()


def _shown(voucher: Voucher, version: int) -> dict[str, Any]:
    number, points = ("voucherNumber", "points") if version == 3 else ("checkNumber", "bonusPoints")
    return {
        "id": voucher.id,
        number: voucher.number,
        "name": voucher.name,
        "redeemed": voucher.redeemed,
        "redeemedOn": voucher.redeemed_on,
        "expiresOn": voucher.expires_on,
        "value": {"currency": voucher.currency, "amount": voucher.amount},
        "localValues": [],
        points: voucher.points,
    }


def redeem(engage: Engage, call: Call) -> Reply:
    """All codes of ref 3.6. Nothing is sent but the path."""
    only_query(call)
    if call.body:
        raise Refused(400, "BadRequest", "The path says it all")
    voucher_id = call.params["voucher"]
    if not GUID.fullmatch(voucher_id):
        raise Refused(400, "InvalidRewardVoucherId")
    voucher = engage.state.vouchers.get(voucher_id.lower())
    if voucher is None or call.params.get("contact", voucher.contact_id).lower() != voucher.contact_id:
        raise Refused(404, "RewardVoucherNotFound")
    if voucher.redeemed:
        raise Refused(409, "RewardVoucherAlreadyRedeemed")
    if _expired(engage, voucher):
        raise Refused(409, "RewardVoucherExpired")
    engage.state.redeem_voucher(voucher, Origin("rest", call.seq))
    return Reply(status=200)


_available = _listing(lambda engage, voucher: not voucher.redeemed and not _expired(engage, voucher))
_redeemed = _listing(lambda engage, voucher: voucher.redeemed)
_all = _listing(lambda engage, voucher: True)

VOUCHER_ROUTES = (
    Route("GET", "reward-vouchers/available", _available, (3,)),
    Route("GET", "reward-vouchers/redeemed", _redeemed, (3,)),
    Route("GET", "reward-vouchers", _all, (3,)),
    Route("POST", "reward-vouchers/{voucher}/redeem", redeem, (3,)),
    Route("GET", "contacts/{contact}/bonuschecks/available", _available, (2,)),
    Route("GET", "contacts/{contact}/bonuschecks/redeemed", _redeemed, (2,)),
    Route("GET", "contacts/{contact}/bonuschecks", _all, (2,)),
    Route("POST", "contacts/{contact}/bonuschecks/{voucher}/redeem", redeem, (2,)),
)
