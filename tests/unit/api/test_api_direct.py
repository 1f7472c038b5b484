"""Direct calls whose answers the fake Engage would never give."""

from __future__ import annotations

import pytest
from loopback import answer, calling, json_answer, loopback

from voyado_async.api.direct import Direct
from voyado_async.api.reads import Reads
from voyado_async.api.routes import routes_of
from voyado_async.clock import SystemClock
from voyado_async.errors import EngageUnavailable, OutcomeUnknown
from voyado_async.events import Problems
from voyado_async.kinds.call import Call, Operation
from voyado_async.models.contacts_bulk import read_batch_id, read_changes
from voyado_async.models.definitions import read_created
from voyado_async.resources.transactions import Transactions

NOBODY = "00000000-0000-4000-8000-000000000000"


def no_memory() -> Reads:
    raise AssertionError("a whole history comes from Engage")


async def test_a_history_without_a_total_ends_also_where_the_offset_is_not_heeded() -> None:
    page = json_answer(200, {"items": [{"id": 1}, {"id": 2}]})
    async with loopback(page) as place, calling(place.url) as http:
        direct = Direct(http, routes_of(3), clock=SystemClock(), timeout=3, rate=1000, problems=Problems(print))
        told = [each.id async for each in Transactions(no_memory, lambda: direct).iterate(NOBODY)]
    assert told == ["1", "2"]
    assert len(place.seen) == 2


@pytest.mark.parametrize("body", [b"", b"{}", b"7", b'" "', b"[]"])
async def test_a_change_whose_answer_is_not_what_it_answers_may_have_taken_effect(body: bytes) -> None:
    async with loopback(answer(200, body)) as place, calling(place.url) as http:
        direct = Direct(http, routes_of(3), clock=SystemClock(), timeout=3, rate=1000, problems=Problems(print))
        for operation, understand in (
            (Operation.BULK_CREATE, read_batch_id),
            (Operation.CREATE_PROMOTION, read_created),
        ):
            with pytest.raises(OutcomeUnknown, match="may have taken effect"):
                await direct.change("it", Call(operation, body=b"{}"), understand)


@pytest.mark.parametrize("body", [b"", b"{}", b"[7]", b'"a"'])
async def test_a_question_whose_answer_is_not_what_it_answers_has_none(body: bytes) -> None:
    async with loopback(answer(200, body)) as place, calling(place.url) as http:
        direct = Direct(http, routes_of(3), clock=SystemClock(), timeout=3, rate=1000, problems=Problems(print))
        for patient in (False, True):
            with pytest.raises(EngageUnavailable) as error:
                await direct.ask("contacts.changes", Call(Operation.CONTACT_CHANGES), read_changes, patient=patient)
            assert not isinstance(error.value, OutcomeUnknown)


@pytest.mark.parametrize("body", [b'"p-1"', b'{"id":"p-1","new":1}'])
def test_the_id_of_a_new_promotion_is_read_in_both_forms(body: bytes) -> None:
    assert read_created(body) == "p-1"
