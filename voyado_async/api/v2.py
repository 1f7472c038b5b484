"""API version 2, the older one: only what differs from version 3 is written out (ref 1.8)."""

from __future__ import annotations

import msgspec

from voyado_async.api import v3
from voyado_async.api.routes import Route
from voyado_async.kinds.call import Operation

_CONTACTS = "/api/v2/contacts"
_CONTACT = f"{_CONTACTS}/{{contactId}}"
_VOUCHERS = f"{_CONTACT}/bonuschecks"


def _moved(route: Route) -> Route:
    paths = tuple(path.replace("/api/v3/", "/api/v2/", 1) for path in route.paths)
    return msgspec.structs.replace(route, paths=paths)


ROUTES = {operation: _moved(route) for operation, route in v3.ROUTES.items()} | {
    Operation.CREATE_CONTACT: Route("POST", (_CONTACTS,), options="headers"),
    Operation.UPDATE_CONTACT: Route("POST", (_CONTACT,)),
    Operation.CHANGE_CONTACT_TYPE: Route(
        "POST",
        (f"{_CONTACT}/updateContactType",),
        query=("contactTypeId",),
        special=("contactTypeId", "Member", f"{_CONTACT}/promoteToMember"),
    ),
    Operation.LIST_ASSIGNMENTS: Route("GET", (f"{_CONTACT}/promotions",)),
    # Without a contact, the call that takes the contact-specific id alone (ref 1.8, 3.3).
    Operation.REDEEM: Route("POST", (f"{_CONTACT}/promotions/{{id}}/redeem", "/api/v2/promotions/codes/{id}/redeem")),
    Operation.ASSIGN: Route("POST", (f"{_CONTACT}/promotions/{{promotionId}}/assign",), sends_body=False),
    Operation.LIST_TRANSACTIONS: Route("GET", (f"{_CONTACT}/transactions",)),
    Operation.LIST_VOUCHERS: Route("GET", (_VOUCHERS,)),
    Operation.AVAILABLE_VOUCHERS: Route("GET", (f"{_VOUCHERS}/available",)),
    Operation.REDEEMED_VOUCHERS: Route("GET", (f"{_VOUCHERS}/redeemed",)),
    Operation.REDEEM_VOUCHER: Route("POST", (f"{_VOUCHERS}/{{id}}/redeem",)),
}
