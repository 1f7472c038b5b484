"""API version 3, the current one (ref 1.8, 3, 4, 5)."""

from __future__ import annotations

from voyado_async.api.routes import Route
from voyado_async.kinds.call import Operation

_CONTACTS = "/api/v3/contacts"
_CONTACT = f"{_CONTACTS}/{{contactId}}"
_ASSIGNMENTS = "/api/v3/promotion-assignments"
_PROMOTIONS = "/api/v3/promotions/multichannels"
_VOUCHERS = "/api/v3/reward-vouchers"

ROUTES = {
    Operation.FIND_CONTACT: Route("GET", (f"{_CONTACTS}/id",)),
    Operation.GET_CONTACT: Route("GET", (_CONTACT,)),
    Operation.CREATE_CONTACT: Route("POST", (_CONTACTS,)),
    Operation.UPDATE_CONTACT: Route("PATCH", (_CONTACT,)),
    Operation.CHANGE_CONTACT_TYPE: Route("POST", (f"{_CONTACT}/updateContactType",), query=("contactTypeId",)),
    Operation.CONTACT_CHANGES: Route("GET", (f"{_CONTACTS}/changes",)),
    Operation.BULK_CREATE: Route("POST", (f"{_CONTACTS}/bulk",)),
    Operation.BULK_UPDATE: Route("PATCH", (f"{_CONTACTS}/bulk",)),
    Operation.BULK_STATUS: Route("GET", (f"{_CONTACTS}/bulk/status",)),
    Operation.LIST_ASSIGNMENTS: Route("GET", (_ASSIGNMENTS,), query=("contactId",)),
    Operation.REDEEM: Route("POST", (f"{_ASSIGNMENTS}/{{id}}/redeem",)),
    Operation.REDEEM_CODE: Route("POST", ("/api/v3/promotions/codes/{id}/redeem",)),
    Operation.ASSIGN: Route("POST", (_ASSIGNMENTS,)),
    Operation.CREATE_PROMOTION: Route("POST", (_PROMOTIONS,)),
    # What is read or deleted may be named by its externalId; a PUT takes the id alone (ref 3.5).
    Operation.GET_PROMOTION: Route("GET", (f"{_PROMOTIONS}/{{id}}", _PROMOTIONS), query=("externalId",)),
    Operation.UPDATE_PROMOTION: Route("PUT", (f"{_PROMOTIONS}/{{id}}",)),
    Operation.GET_VALIDITY: Route(
        "GET", (f"{_PROMOTIONS}/{{id}}/validity", f"{_PROMOTIONS}/validity"), query=("externalId",)
    ),
    Operation.UPDATE_VALIDITY: Route("PUT", (f"{_PROMOTIONS}/{{id}}/validity",)),
    Operation.DELETE_PROMOTION: Route("DELETE", (f"{_PROMOTIONS}/{{id}}", _PROMOTIONS), query=("externalId",)),
    Operation.LIST_VOUCHERS: Route("GET", (_VOUCHERS,), query=("contactId",)),
    Operation.AVAILABLE_VOUCHERS: Route("GET", (f"{_VOUCHERS}/available",), query=("contactId",)),
    Operation.REDEEMED_VOUCHERS: Route("GET", (f"{_VOUCHERS}/redeemed",), query=("contactId",)),
    Operation.REDEEM_VOUCHER: Route("POST", (f"{_VOUCHERS}/{{id}}/redeem",)),
    Operation.SEND_RECEIPT: Route("POST", ("/api/v3/receipts",)),
    Operation.LIST_TRANSACTIONS: Route("GET", ("/api/v3/transactions",), query=("contactId",)),
}
