"""One call to Engage by its meaning, before an API version gives it a method and a path (ref 1.8)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Operation(StrEnum):
    """What can be asked of Engage."""

    FIND_CONTACT = "find_contact"
    GET_CONTACT = "get_contact"
    CREATE_CONTACT = "create_contact"
    UPDATE_CONTACT = "update_contact"
    CHANGE_CONTACT_TYPE = "change_contact_type"
    CONTACT_CHANGES = "contact_changes"
    BULK_CREATE = "bulk_create"
    BULK_UPDATE = "bulk_update"
    BULK_STATUS = "bulk_status"
    LIST_ASSIGNMENTS = "list_assignments"
    REDEEM = "redeem"
    REDEEM_CODE = "redeem_code"
    ASSIGN = "assign"
    CREATE_PROMOTION = "create_promotion"
    GET_PROMOTION = "get_promotion"
    UPDATE_PROMOTION = "update_promotion"
    GET_VALIDITY = "get_validity"
    UPDATE_VALIDITY = "update_validity"
    DELETE_PROMOTION = "delete_promotion"
    SEND_RECEIPT = "send_receipt"
    LIST_TRANSACTIONS = "list_transactions"
    LIST_VOUCHERS = "list_vouchers"
    AVAILABLE_VOUCHERS = "available_vouchers"
    REDEEMED_VOUCHERS = "redeemed_vouchers"
    REDEEM_VOUCHER = "redeem_voucher"


class Call(msgspec.Struct, frozen=True):
    """An operation with what it needs.

    `ids` are named values whose place (path or query) is the version's business, `options` go where the version wants
    them (query in v3, headers in v2, ref 1.8), `params` are always the query.
    """

    operation: Operation
    ids: tuple[tuple[str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
