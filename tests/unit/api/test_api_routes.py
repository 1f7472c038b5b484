"""Every operation as a request of API version 2 and of version 3 (ref 1.8)."""

from __future__ import annotations

import pytest

from voyado_async.api.routes import build, lacking, routes_of
from voyado_async.kinds.call import Call, Operation

CONTACT, ID, EXTERNAL = ("contactId", "c-1"), ("id", "a-1"), ("externalId", "e-1")

# operation, ids, v3, v2; a path with ? has the query behind it
TABLE = [
    (Operation.FIND_CONTACT, (), "GET /api/v3/contacts/id", "GET /api/v2/contacts/id"),
    (Operation.GET_CONTACT, (CONTACT,), "GET /api/v3/contacts/c-1", "GET /api/v2/contacts/c-1"),
    (Operation.CREATE_CONTACT, (), "POST /api/v3/contacts", "POST /api/v2/contacts"),
    (Operation.UPDATE_CONTACT, (CONTACT,), "PATCH /api/v3/contacts/c-1", "POST /api/v2/contacts/c-1"),
    (
        Operation.CHANGE_CONTACT_TYPE,
        (CONTACT, ("contactTypeId", "Member")),
        "POST /api/v3/contacts/c-1/updateContactType?contactTypeId=Member",
        "POST /api/v2/contacts/c-1/promoteToMember",
    ),
    (
        Operation.CHANGE_CONTACT_TYPE,
        (CONTACT, ("contactTypeId", "VIP")),
        "POST /api/v3/contacts/c-1/updateContactType?contactTypeId=VIP",
        "POST /api/v2/contacts/c-1/updateContactType?contactTypeId=VIP",
    ),
    (Operation.CONTACT_CHANGES, (), "GET /api/v3/contacts/changes", "GET /api/v2/contacts/changes"),
    (Operation.BULK_CREATE, (), "POST /api/v3/contacts/bulk", "POST /api/v2/contacts/bulk"),
    (Operation.BULK_UPDATE, (), "PATCH /api/v3/contacts/bulk", "PATCH /api/v2/contacts/bulk"),
    (Operation.BULK_STATUS, (), "GET /api/v3/contacts/bulk/status", "GET /api/v2/contacts/bulk/status"),
    (
        Operation.LIST_ASSIGNMENTS,
        (CONTACT,),
        "GET /api/v3/promotion-assignments?contactId=c-1",
        "GET /api/v2/contacts/c-1/promotions",
    ),
    (
        Operation.REDEEM,
        (ID, CONTACT),
        "POST /api/v3/promotion-assignments/a-1/redeem",
        "POST /api/v2/contacts/c-1/promotions/a-1/redeem",
    ),
    (
        Operation.REDEEM,
        (ID,),
        "POST /api/v3/promotion-assignments/a-1/redeem",
        "POST /api/v2/promotions/codes/a-1/redeem",
    ),
    (
        Operation.ASSIGN,
        (CONTACT, ("promotionId", "p-1")),
        "POST /api/v3/promotion-assignments",
        "POST /api/v2/contacts/c-1/promotions/p-1/assign",
    ),
    (
        Operation.CREATE_PROMOTION,
        (),
        "POST /api/v3/promotions/multichannels",
        "POST /api/v2/promotions/multichannels",
    ),
    (
        Operation.REDEEM_CODE,
        (ID, CONTACT),
        "POST /api/v3/promotions/codes/a-1/redeem",
        "POST /api/v2/promotions/codes/a-1/redeem",
    ),
    (
        Operation.LIST_VOUCHERS,
        (CONTACT,),
        "GET /api/v3/reward-vouchers?contactId=c-1",
        "GET /api/v2/contacts/c-1/bonuschecks",
    ),
    (
        Operation.AVAILABLE_VOUCHERS,
        (CONTACT,),
        "GET /api/v3/reward-vouchers/available?contactId=c-1",
        "GET /api/v2/contacts/c-1/bonuschecks/available",
    ),
    (
        Operation.REDEEMED_VOUCHERS,
        (CONTACT,),
        "GET /api/v3/reward-vouchers/redeemed?contactId=c-1",
        "GET /api/v2/contacts/c-1/bonuschecks/redeemed",
    ),
    (
        Operation.REDEEM_VOUCHER,
        (ID, CONTACT),
        "POST /api/v3/reward-vouchers/a-1/redeem",
        "POST /api/v2/contacts/c-1/bonuschecks/a-1/redeem",
    ),
    (
        Operation.GET_PROMOTION,
        (ID,),
        "GET /api/v3/promotions/multichannels/a-1",
        "GET /api/v2/promotions/multichannels/a-1",
    ),
    (
        Operation.GET_PROMOTION,
        (EXTERNAL,),
        "GET /api/v3/promotions/multichannels?externalId=e-1",
        "GET /api/v2/promotions/multichannels?externalId=e-1",
    ),
    (
        Operation.UPDATE_PROMOTION,
        (ID,),
        "PUT /api/v3/promotions/multichannels/a-1",
        "PUT /api/v2/promotions/multichannels/a-1",
    ),
    (
        Operation.GET_VALIDITY,
        (EXTERNAL,),
        "GET /api/v3/promotions/multichannels/validity?externalId=e-1",
        "GET /api/v2/promotions/multichannels/validity?externalId=e-1",
    ),
    (
        Operation.GET_VALIDITY,
        (ID,),
        "GET /api/v3/promotions/multichannels/a-1/validity",
        "GET /api/v2/promotions/multichannels/a-1/validity",
    ),
    (
        Operation.UPDATE_VALIDITY,
        (ID,),
        "PUT /api/v3/promotions/multichannels/a-1/validity",
        "PUT /api/v2/promotions/multichannels/a-1/validity",
    ),
    (
        Operation.DELETE_PROMOTION,
        (ID,),
        "DELETE /api/v3/promotions/multichannels/a-1",
        "DELETE /api/v2/promotions/multichannels/a-1",
    ),
    (
        Operation.DELETE_PROMOTION,
        (EXTERNAL,),
        "DELETE /api/v3/promotions/multichannels?externalId=e-1",
        "DELETE /api/v2/promotions/multichannels?externalId=e-1",
    ),
    (Operation.SEND_RECEIPT, (), "POST /api/v3/receipts", "POST /api/v2/receipts"),
    (
        Operation.LIST_TRANSACTIONS,
        (CONTACT,),
        "GET /api/v3/transactions?contactId=c-1",
        "GET /api/v2/contacts/c-1/transactions",
    ),
]


@pytest.mark.parametrize(("operation", "ids", "v3", "v2"), TABLE)
def test_an_operation_is_where_the_version_has_it(
    operation: Operation, ids: tuple[tuple[str, str], ...], v3: str, v2: str
) -> None:
    for version, expected in ((3, v3), (2, v2)):
        request = build(routes_of(version), Call(operation, ids=ids))
        query = "&".join(f"{name}={value}" for name, value in request.params)
        assert f"{request.method} {request.path}{'?' * bool(query)}{query}" == expected


def test_every_operation_stands_in_the_table_and_in_both_versions() -> None:
    assert {row[0] for row in TABLE} == set(Operation) == set(routes_of(2)) == set(routes_of(3))


def test_the_options_of_a_creation_are_the_query_of_v3_and_headers_of_v2() -> None:
    call = Call(Operation.CREATE_CONTACT, options=(("source", "POS"), ("createAsUnapproved", "true")), body=b"{}")
    new, old = (build(routes_of(version), call) for version in (3, 2))
    assert (new.params, new.headers) == (call.options, ())
    assert (old.params, old.headers) == ((), call.options)
    assert new.body == old.body == b"{}"


def test_an_assignment_in_v2_says_it_all_in_its_path() -> None:
    call = Call(Operation.ASSIGN, ids=(CONTACT, ("promotionId", "p-1")), body=b"{}")
    assert [build(routes_of(version), call).body for version in (3, 2)] == [b"{}", b""]


def test_an_id_cannot_leave_its_place_in_the_path() -> None:
    request = build(routes_of(3), Call(Operation.GET_CONTACT, ids=(("contactId", "../a?b=c"),)))
    assert request.path == "/api/v3/contacts/..%2Fa%3Fb%3Dc"


def test_an_id_that_is_missing_is_told() -> None:
    with pytest.raises(LookupError):
        build(routes_of(3), Call(Operation.GET_CONTACT))


def test_what_a_call_lacks_is_known_before_it_is_made() -> None:
    lone = Call(Operation.REDEEM_VOUCHER, ids=(ID,))
    assert [lacking(routes_of(version), lone) for version in (3, 2)] == [frozenset(), {"contactId"}]
    assert lacking(routes_of(2), Call(Operation.REDEEM, ids=(ID,))) == frozenset()
    assert lacking(routes_of(3), Call(Operation.UPDATE_PROMOTION, ids=(EXTERNAL,))) == {"id"}
