"""API version 3, the current one (ref 1.8, 3, 4, 5)."""

from __future__ import annotations

from voyado_async.api.routes import Route
from voyado_async.kinds.call import Operation

_CONTACTS = "/api/v3/contacts"
_CONTACT = f"{_CONTACTS}/{{contactId}}"
_ASSIGNMENTS = "/api/v3/promotion-assignments"
_PROMOTIONS = "/api/v3/promotions/multichannels"

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
    Operation.ASSIGN: Route("POST", (_ASSIGNMENTS,)),
    Operation.CREATE_PROMOTION: Route("POST", (_PROMOTIONS,)),
    Operation.GET_PROMOTION: Route("GET", (f"{_PROMOTIONS}/{{id}}", _PROMOTIONS)),
    Operation.UPDATE_PROMOTION: Route("PUT", (f"{_PROMOTIONS}/{{id}}", _PROMOTIONS)),
    Operation.GET_VALIDITY: Route("GET", (f"{_PROMOTIONS}/{{id}}/validity", f"{_PROMOTIONS}/validity")),
    Operation.UPDATE_VALIDITY: Route("PUT", (f"{_PROMOTIONS}/{{id}}/validity", f"{_PROMOTIONS}/validity")),
    Operation.DELETE_PROMOTION: Route("DELETE", (f"{_PROMOTIONS}/{{id}}", _PROMOTIONS)),
    Operation.SEND_RECEIPT: Route("POST", ("/api/v3/receipts",)),
    Operation.LIST_TRANSACTIONS: Route("GET", ("/api/v3/transactions",), query=("contactId",)),
}
