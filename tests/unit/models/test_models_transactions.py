"""The purchase history is read exactly, and whatever is new in it passed over."""

from __future__ import annotations

from decimal import Decimal

import pytest

from voyado_async.errors import EngageError
from voyado_async.models import read_transactions


def test_a_page_is_read_with_its_sums_exact() -> None:
    page = read_transactions(
        b'{"items":[{"id":"t-1","transactionNumber":"000871","createdDate":"2025-03-14T09:12:44+01:00",'
        b'"storeName":"Lund","numberOfItems":2,"netPriceSum":640.10,"localNetPriceSum":"640.10","localCurrency":"SEK",'
        b'"groupCurrency":"SEK","storeType":"RETAIL","lineItems":[{"price":0.30}],"externalId":"S204","new":1},{}],'
        b'"totalCount":12,"offset":0,"count":2,"new":null}'
    )
    assert (page.total_count, page.offset, page.count) == (12, 0, 2)
    first, second = page.items
    assert (str(first.net_price_sum), str(first.local_net_price_sum)) == ("640.10", "640.10")
    assert first.created_date is not None
    assert first.created_date.isoformat() == "2025-03-14T09:12:44+01:00"
    assert first.line_items == ({"price": Decimal("0.30")},)
    assert first.external_id == "S204"
    assert second.id is None
    assert repr(first) == "<Transaction>"


@pytest.mark.parametrize("value", [b"null", b'"much"', b'"Infinity"', b"true", b"[]"])
def test_a_sum_that_is_no_number_is_none(value: bytes) -> None:
    assert read_transactions(b'{"items":[{"netPriceSum":%s}]}' % value).items[0].net_price_sum is None


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"items":{}}', b'{"items":[7]}', b"<html>"])
def test_an_answer_of_another_shape_is_an_error_of_the_call(answer: bytes) -> None:
    with pytest.raises(EngageError, match=r"^transactions: "):
        read_transactions(answer)
