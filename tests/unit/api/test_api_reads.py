"""Direct reads: what is asked, what is remembered, what is shared, and what a caller gets while Engage is down."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, FakeClock, Loopback, answer, calling, close, error, hang, json_answer, loopback

from voyado_async.api import memory
from voyado_async.api.direct import Direct, Spacing
from voyado_async.api.reads import Found, Reads, question_of
from voyado_async.api.routes import routes_of
from voyado_async.errors import (
    AccessRefused,
    ClientClosed,
    EngageMisconfigured,
    EngageRefused,
    EngageUnavailable,
    InvalidEntry,
    OutboxUnavailable,
)
from voyado_async.events import Event, Problem, Problems, ProblemSolved
from voyado_async.kinds.address import address
from voyado_async.kinds.call import Call, Operation
from voyado_async.outbox.records import Asked, Mark
from voyado_async.outbox.shelf import Answer as Kept
from voyado_async.outbox.shelf import Shelf

CONTACT = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
OTHER = "c41d8a90-2b36-4f1e-8e77-91d3a6b05f2e"
ANNA = address(email="Anna@example.com")
OFFERS = json_answer(200, [{"id": "a-1", "redeemed": False}])
NO_OFFERS = json_answer(200, [])
FIND = "GET /api/v3/contacts/id?email=Anna%40example.com"


class Marks:
    """How far an outbox is with each lane; the outbox of the tests of the store does the same."""

    def __init__(self) -> None:
        self.moves: dict[str, int] = {}
        self.forgets = 0

    async def __call__(self, lane: str) -> Mark:
        return Mark(self.forgets, self.moves.get(lane, 0))

    def move(self, contact_id: str) -> None:
        """Something of ours has reached Engage."""
        lane = f"contact:{contact_id}"
        self.moves[lane] = self.moves.get(lane, 0) + 1


@asynccontextmanager
async def reading(
    *answers: Answer | bytes, ttl: float = 30, timeout: float = 5, rate: float = 1000, **options: Any
) -> AsyncIterator[tuple[Reads, Loopback, FakeClock]]:
    clock = FakeClock()
    async with loopback(*answers) as place, calling(place.url) as http:
        problems = Problems(options.pop("emit", print))
        direct = Direct(http, routes_of(3), clock=clock, timeout=timeout, rate=rate, problems=problems)
        reads = Reads(direct, clock=clock, cache_ttl=ttl, mark=options.pop("mark", Marks()), **options)
        try:
            yield reads, place, clock
        finally:
            await reads.close()


# what is asked --------------------------------------------------------------------------------------------------------


async def test_a_contact_is_found_by_any_one_address() -> None:
    async with reading(json_answer(200, CONTACT)) as (reads, place, _):
        for named, kind in (
            (ANNA, None),
            (address(mobile_phone="+46 70"), "Member"),
            (address(external_id="K-7"), None),
        ):
            assert (await reads.find_contact(named, kind) or ())[:2] == (CONTACT, 0)
    assert place.lines == [
        FIND,
        "GET /api/v3/contacts/id?mobilePhone=%2B46%2070&contactType=Member",
        "GET /api/v3/contacts/id?customKey=K-7",
    ]


async def test_what_is_found_tells_when_engage_was_asked_also_where_that_was_long_ago() -> None:
    """A delivery acts upon it while it is young: an answer from memory must not look like a new one."""
    async with reading(json_answer(200, CONTACT), answer(503)) as (reads, _, clock):
        asked = Asked.now(clock)
        for age in (0, 20, 200):
            clock.seconds += age
            found = await reads.find_contact(ANNA)
            assert found is not None
            assert found.asked == asked


async def test_a_contact_named_by_its_id_is_read() -> None:
    told = [json_answer(200, {"id": CONTACT}), error(404, "ContactNotFound")]
    async with reading(*told) as (reads, place, _):
        assert await reads.find_contact(address(contact_id=CONTACT)) == Found(CONTACT, None)
        assert await reads.find_contact(address(contact_id=OTHER)) is None
    assert place.lines == [f"GET /api/v3/contacts/{CONTACT}", f"GET /api/v3/contacts/{OTHER}"]


@pytest.mark.parametrize(
    "body", [{"id": CONTACT, "attributes": {"city": "Lund"}, "new": 1}, {"id": CONTACT, "city": "Lund"}]
)
async def test_a_contact_is_read_in_both_shapes(body: object) -> None:
    async with reading(json_answer(200, body)) as (reads, _, clock):
        contact = await reads.get_contact(CONTACT)
    assert (contact.id, contact.city, contact.stale, contact.as_of) == (CONTACT, "Lund", False, clock.now())
    assert "Lund" not in repr(contact)


async def test_assignments_may_be_asked_for_one_channel() -> None:
    async with reading(OFFERS) as (reads, place, _):
        offers = await reads.assignments(CONTACT, "ECOM")
        await reads.assignments(CONTACT)
    assert (offers[0].id, offers.stale, offers.as_of) == ("a-1", False, 1_000_000)
    path = f"GET /api/v3/promotion-assignments?contactId={CONTACT}"
    assert place.lines == [f"{path}&redemptionChannelType=ECOM", path]


async def test_a_wrong_argument_asks_nothing() -> None:
    async with reading(OFFERS) as (reads, place, _):
        with pytest.raises(InvalidEntry):
            await reads.assignments(CONTACT, "WEB")
        with pytest.raises(InvalidEntry):
            await reads.get_contact("../x")
    assert place.seen == []


# answers that are no ------------------------------------------------------------------------------------------------


async def test_nobody_is_none_and_is_never_remembered() -> None:
    async with reading(error(404, "ContactNotFound"), json_answer(200, CONTACT)) as (reads, _, _clock):
        assert await reads.find_contact(ANNA) is None
        assert (await reads.find_contact(ANNA) or ())[:2] == (CONTACT, 0)


@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        (error(409, "MultipleMatches"), 409, "MultipleMatches"),
        (error(400, "InvalidEmailAddress"), 400, "InvalidEmailAddress"),
        (error(500, "InvalidSystemConfiguration"), 500, "InvalidSystemConfiguration"),
        (answer(401), 401, None),
        (answer(403), 403, None),
    ],
)
async def test_a_refusal_is_raised_with_its_status_and_code(told: bytes, status: int, code: str | None) -> None:
    async with reading(told) as (reads, _, _clock):
        with pytest.raises(EngageRefused) as refusal:
            await reads.find_contact(ANNA)
    assert (refusal.value.status, refusal.value.code) == (status, code)
    assert "example.com" not in str(refusal.value)


async def test_a_contact_that_does_not_exist_cannot_be_read() -> None:
    async with reading(error(404, "ContactNotFound")) as (reads, _, _clock):
        with pytest.raises(EngageRefused):
            await reads.get_contact(CONTACT)
        with pytest.raises(EngageRefused):
            await reads.assignments(CONTACT)


DOWN = [
    pytest.param(answer(500), id="500"),
    pytest.param(answer(503), id="503"),
    pytest.param(answer(429), id="429"),
    pytest.param(answer(302, Location="/"), id="redirect"),
    pytest.param(answer(404), id="404 without a code"),
    pytest.param(answer(404, b"<html>ContactNotFound", Content_Type="text/html"), id="404 page"),
    pytest.param(answer(200, b"<html>", Content_Type="text/html"), id="200 page"),
    pytest.param(answer(200, b'"0b6f'), id="truncated"),
    pytest.param(answer(200), id="empty"),
    pytest.param(answer(200, b"7"), id="something else"),
    pytest.param(close, id="broken"),
]


@pytest.mark.parametrize("told", DOWN)
async def test_without_a_usable_answer_and_nothing_known_it_is_an_error_and_never_none(told: Answer | bytes) -> None:
    async with reading(told) as (reads, _, _clock):
        for question in (reads.find_contact(ANNA), reads.get_contact(CONTACT), reads.assignments(CONTACT)):
            with pytest.raises(EngageUnavailable):
                await question


@pytest.mark.parametrize("told", DOWN)
async def test_while_engage_is_down_the_last_known_answer_is_served_and_marked(told: Answer | bytes) -> None:
    async with reading(OFFERS, json_answer(200, CONTACT), told, ttl=0) as (reads, _, clock):
        before = await reads.assignments(CONTACT)
        assert (await reads.find_contact(ANNA) or ())[:2] == (CONTACT, 0)
        clock.seconds += 100_000
        offers = await reads.assignments(CONTACT)
        assert (await reads.find_contact(ANNA) or ())[:2] == (CONTACT, 0)
    assert (list(offers), offers.stale, offers.as_of) == (list(before), True, before.as_of)
    assert offers.age == pytest.approx(100_000)
    assert (before.stale, before.age) == (False, 0)


async def test_a_hanging_engage_ends_within_the_read_time_out() -> None:
    async with reading(hang, timeout=0.05) as (reads, _, _clock):
        with pytest.raises(EngageUnavailable):
            await reads.assignments(CONTACT)


async def test_what_engage_denies_is_known_no_longer() -> None:
    async with reading(OFFERS, error(404, "ContactNotFound"), answer(500), ttl=0) as (reads, _, _clock):
        await reads.assignments(CONTACT)
        with pytest.raises(EngageRefused):
            await reads.assignments(CONTACT)
        with pytest.raises(EngageUnavailable):
            await reads.assignments(CONTACT)


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        (answer(401), AccessRefused),
        (answer(403), AccessRefused),
        (error(500, "InvalidSystemConfiguration"), EngageMisconfigured),
    ],
)
async def test_a_wrong_set_up_denies_nothing_customers_see_what_was_known_last(
    told: bytes, refused: type[EngageRefused]
) -> None:
    """A key that is changed at night takes no page down; where nothing is known the error says what is to be mended."""
    async with reading(OFFERS, told, answer(500), ttl=0) as (reads, _, _clock):
        await reads.assignments(CONTACT)
        for _ in range(2):
            offers = await reads.assignments(CONTACT)
            assert ([offer.id for offer in offers], offers.stale) == (["a-1"], True)
    async with reading(told) as (reads, _, _clock):
        with pytest.raises(refused):
            await reads.assignments(CONTACT)


async def test_a_refused_key_is_told_once_for_each_call_and_when_it_is_over() -> None:
    told: list[Event] = []
    answers = (OFFERS, answer(401), answer(401), answer(500), answer(403), error(404, "ContactNotFound"), answer(401))
    async with reading(*answers, ttl=0, emit=told.append) as (reads, _, _clock):
        for _ in answers:
            with suppress(EngageRefused):
                await reads.assignments(CONTACT)
    where = "promotions.assignments"
    assert [(type(each), each.where, each.code) for each in told if isinstance(each, Problem | ProblemSolved)] == [
        (Problem, where, "401"),
        (ProblemSolved, where, "401"),
        (Problem, where, "403"),
        (ProblemSolved, where, "403"),
        (Problem, where, "401"),
    ]


# memory ---------------------------------------------------------------------------------------------------------------


async def test_an_answer_is_served_from_memory_until_it_is_old() -> None:
    async with reading(OFFERS, NO_OFFERS, ttl=30) as (reads, place, clock):
        await reads.assignments(CONTACT)
        clock.seconds += 29.9
        assert await reads.assignments(CONTACT.upper())
        assert len(place.seen) == 1
        clock.seconds += 0.1
        assert not await reads.assignments(CONTACT)
    assert len(place.seen) == 2


async def test_a_caller_cannot_change_what_is_remembered() -> None:
    async with reading(OFFERS) as (reads, _, _clock):
        (await reads.assignments(CONTACT)).clear()
        assert await reads.assignments(CONTACT)


async def test_what_has_changed_is_asked_again_and_stays_known_for_an_outage() -> None:
    marks = Marks()
    async with reading(OFFERS, answer(500), NO_OFFERS, mark=marks) as (reads, place, _):
        await reads.assignments(CONTACT)
        marks.move(OTHER)
        assert not (await reads.assignments(CONTACT)).stale
        marks.move(CONTACT)
        assert (await reads.assignments(CONTACT)).stale
        assert not await reads.assignments(CONTACT)
    assert len(place.seen) == 3


async def test_an_answer_from_before_a_change_is_not_kept_as_fresh_and_not_shared_with_who_asks_after_it() -> None:
    go_on, marks = asyncio.Event(), Marks()

    async def late(writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(OFFERS)

    async with reading(late, NO_OFFERS, mark=marks) as (reads, place, _):
        first = asyncio.create_task(reads.assignments(CONTACT))
        while not place.seen:
            await asyncio.sleep(0.001)
        marks.move(CONTACT)
        second = await reads.assignments(CONTACT)
        go_on.set()
        assert list(second) == []
        assert len(await first) == 1
        assert not await reads.assignments(CONTACT), "the later answer stays, though the earlier one came after it"
    assert len(place.seen) == 2


async def test_an_answer_that_came_in_the_middle_of_a_change_is_asked_again() -> None:
    marks = Marks()

    async def changed_meanwhile(writer: asyncio.StreamWriter) -> None:
        marks.move(CONTACT)
        writer.write(OFFERS)

    async with reading(changed_meanwhile, NO_OFFERS, mark=marks) as (reads, place, _):
        assert len(await reads.assignments(CONTACT)) == 1
        assert not await reads.assignments(CONTACT)
    assert len(place.seen) == 2


async def test_without_a_word_from_the_outbox_everything_is_asked() -> None:
    async def silent(lane: str) -> Mark:
        raise OutboxUnavailable("the outbox cannot be read now")

    async with reading(OFFERS, OFFERS, answer(500), mark=silent) as (reads, place, _):
        for stale in (False, False, True):
            assert (await reads.assignments(CONTACT)).stale is stale
    assert len(place.seen) == 3


async def test_after_somebody_was_forgotten_nothing_from_before_is_served() -> None:
    marks = Marks()
    told = [json_answer(200, CONTACT), json_answer(200, {"id": CONTACT}), OFFERS, answer(500)]
    async with reading(*told, mark=marks) as (reads, _, _clock):
        await reads.find_contact(ANNA)
        await reads.get_contact(CONTACT)
        await reads.assignments(CONTACT)
        marks.forgets += 1
        for question in (reads.find_contact(ANNA), reads.get_contact(CONTACT), reads.assignments(CONTACT)):
            with pytest.raises(EngageUnavailable):
                await question


async def test_what_was_under_way_when_somebody_was_forgotten_answers_its_caller_and_is_not_kept() -> None:
    go_on, marks = asyncio.Event(), Marks()

    async def late(writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(OFFERS)

    async with reading(late, answer(500), mark=marks) as (reads, place, _):
        first = asyncio.create_task(reads.assignments(CONTACT))
        while not place.seen:
            await asyncio.sleep(0.001)
        marks.forgets += 1
        with pytest.raises(EngageUnavailable):
            await reads.assignments(OTHER)
        go_on.set()
        assert len(await first) == 1
        with pytest.raises(EngageUnavailable):
            await reads.assignments(CONTACT)


async def test_memory_is_bounded_and_keeps_what_is_asked_for() -> None:
    async with reading(NO_OFFERS, remembered=2) as (reads, place, _):
        for contact_id in ("a", "b", "a", "c", "a"):
            await reads.assignments(contact_id)
        assert len(place.seen) == 3
        await reads.assignments("b")
    assert len(place.seen) == 4


async def test_memory_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_BYTES", 5_000)
    long = json_answer(200, [{"id": "a-1", "description": "x" * 2_000}])
    async with reading(long) as (reads, place, _):
        for contact_id in ("a", "b", "c", "c", "b"):
            await reads.assignments(contact_id)
        assert len(place.seen) == 3
        await reads.assignments("a")
    assert len(place.seen) == 4


# the shelf ------------------------------------------------------------------------------------------------------------


ABOUT = f"contact:{CONTACT}"
ASKED = question_of(Call(Operation.LIST_ASSIGNMENTS, ids=(("contactId", CONTACT),)))


async def test_offers_and_ids_outlive_the_process_and_profiles_do_not(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "outbox.db", "https://engage.test")
    profile = json_answer(200, {"id": CONTACT, "city": "Lund"})
    async with reading(OFFERS, profile, json_answer(200, CONTACT), shelf=shelf) as (reads, _, clock):
        before = await reads.assignments(CONTACT)
        await reads.get_contact(CONTACT)
        await reads.find_contact(ANNA)
    async with reading(answer(500), shelf=shelf, ttl=0) as (reads, _, clock):
        clock.seconds += 60
        offers = await reads.assignments(CONTACT.upper())
        assert (list(offers), offers.stale, offers.as_of) == (list(before), True, before.as_of)
        assert offers.age == pytest.approx(60)
        assert (await reads.find_contact(ANNA) or ())[:2] == (CONTACT, 0)
        with pytest.raises(EngageUnavailable):
            await reads.get_contact(CONTACT)


async def test_two_processes_ask_once(tmp_path: Path) -> None:
    shelf, marks = Shelf(tmp_path / "outbox.db", "https://engage.test"), Marks()
    async with reading(OFFERS, shelf=shelf, mark=marks) as (reads, _, _clock):
        await reads.assignments(CONTACT)
    async with reading(NO_OFFERS, shelf=shelf, mark=marks) as (reads, place, _):
        offers = await reads.assignments(CONTACT)
        assert (len(offers), offers.stale) == (1, False)
        assert place.seen == []
        marks.move(CONTACT)
        assert not await reads.assignments(CONTACT), "what another process delivered counts as well"


async def test_an_answer_of_another_process_is_taken_where_it_is_newer(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "outbox.db", "https://engage.test")
    async with reading(OFFERS, shelf=shelf) as (reads, place, clock):
        await reads.assignments(CONTACT)
        await asyncio.gather(*reads._memory._shelving)
        clock.seconds += 31
        await shelf.put(ABOUT, ASKED, Kept(b"[]", clock.now(), Mark()))
        assert not await reads.assignments(CONTACT)
    assert len(place.seen) == 1


async def test_an_answer_from_the_future_is_never_fresh_and_not_older_than_now(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "outbox.db", "https://engage.test")
    async with reading(answer(500), NO_OFFERS, answer(500), shelf=shelf) as (reads, _, clock):
        await shelf.put(ABOUT, ASKED, Kept(b'[{"id":"a-1"}]', clock.now() + 10**9, Mark()))
        offers = await reads.assignments(CONTACT)
        assert (len(offers), offers.stale, offers.age) == (1, True, 0)
        assert not await reads.assignments(CONTACT)
        clock.seconds += 100
        assert not await reads.assignments(CONTACT)
    kept = await shelf.get(ABOUT, ASKED)
    assert kept is not None
    assert kept.body == b"[]", "and it is replaced"


async def test_what_engage_denies_leaves_the_shelf(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "outbox.db", "https://engage.test")
    async with reading(OFFERS, error(404, "ContactNotFound"), shelf=shelf, ttl=0) as (reads, _, _clock):
        await reads.assignments(CONTACT)
        with pytest.raises(EngageRefused):
            await reads.assignments(CONTACT)
    assert await shelf.get(ABOUT, ASKED) is None


async def test_what_is_on_its_way_to_the_shelf_does_not_bring_back_who_was_forgotten(tmp_path: Path) -> None:
    marks = Marks()

    class Slow(Shelf):
        async def put(self, contact: str, question: str, answer: Kept) -> None:
            marks.forgets += 1
            await self.forget(CONTACT)
            await super().put(contact, question, answer)

    shelf = Slow(tmp_path / "outbox.db", "https://engage.test")
    async with reading(OFFERS, shelf=shelf, mark=marks) as (reads, _, _clock):
        await reads.assignments(CONTACT)
    assert await shelf.get(ABOUT, ASKED) is None


async def test_an_answer_that_another_version_wrote_is_asked_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "outbox.db", "https://engage.test")
    async with reading(OFFERS, shelf=shelf) as (reads, place, clock):
        await shelf.put(ABOUT, ASKED, Kept(b'{"not": "a list"}', clock.now(), Mark()))
        assert len(await reads.assignments(CONTACT)) == 1
    assert len(place.seen) == 1


# many callers ---------------------------------------------------------------------------------------------------------


async def test_many_callers_of_one_question_share_one_request() -> None:
    async with reading(OFFERS, ttl=0) as (reads, place, _):
        offers = await asyncio.gather(*(reads.assignments(CONTACT) for _ in range(50)))
    assert len(place.seen) == 1
    assert all(len(each) == 1 for each in offers)


async def test_many_callers_share_one_failure() -> None:
    async with reading(answer(500)) as (reads, place, _):
        failures = await asyncio.gather(*(reads.find_contact(ANNA) for _ in range(5)), return_exceptions=True)
    assert len(place.seen) == 1
    assert all(isinstance(failure, EngageUnavailable) for failure in failures)
    assert len(set(map(id, failures))) == len(failures), "each has the traceback of his own call"


async def test_a_cancelled_caller_does_not_take_the_answer_from_the_others() -> None:
    go_on = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(OFFERS)

    async with reading(late) as (reads, place, _):
        first, second = (asyncio.create_task(reads.assignments(CONTACT)) for _ in range(2))
        while not place.seen:
            await asyncio.sleep(0.001)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go_on.set()
        assert len(await second) == 1
    assert len(place.seen) == 1


async def test_a_failure_that_nobody_waits_for_any_more_is_not_complained_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    go_on = asyncio.Event()

    async def fails() -> bytes:
        await go_on.wait()
        raise ClientClosed("the session was closed")

    async with reading(OFFERS) as (reads, _, _clock):
        reads._direct.read = lambda *_: fails()  # type: ignore[method-assign]  # Engage is away
        only = asyncio.create_task(reads.assignments(CONTACT))
        while not reads._memory._asking:
            await asyncio.sleep(0)
        only.cancel()
        await asyncio.wait([only])
        del only
        go_on.set()
        while reads._memory._asking:
            await asyncio.sleep(0)
    gc.collect()
    assert caplog.records == []


async def test_closing_ends_what_is_under_way() -> None:
    async with reading(hang) as (reads, place, _):
        task = asyncio.create_task(reads.assignments(CONTACT))
        while not place.seen:
            await asyncio.sleep(0.001)
        await reads.close()
        with pytest.raises(ClientClosed):
            await task


# the budget -----------------------------------------------------------------------------------------------------------


def test_turns_are_evenly_spaced_and_never_saved_up() -> None:
    spacing = Spacing(rate=5)
    assert [spacing.wait(0, 3) for _ in range(3)] == pytest.approx([0, 0.2, 0.4])
    assert spacing.wait(100, 3) == 0
    assert spacing.wait(100, 3) == pytest.approx(0.2)


def test_a_turn_beyond_the_patience_is_not_taken() -> None:
    spacing = Spacing(rate=1)
    assert [spacing.wait(0, 1) for _ in range(4)] == [0, 1, None, None]
    assert spacing.wait(1, 1) == 1


async def test_reads_keep_to_their_own_budget() -> None:
    async with reading(NO_OFFERS, rate=5) as (reads, _, clock):
        for contact_id in ("a", "b", "c"):
            await reads.assignments(contact_id)
    assert clock.slept == pytest.approx([0.2, 0.2])


async def test_more_reads_than_the_budget_allows_are_unavailable_and_send_nothing() -> None:
    async with reading(NO_OFFERS, rate=0.1, timeout=3) as (reads, place, _):
        await reads.assignments("a")
        with pytest.raises(EngageUnavailable, match="VOYADO_READ_RATE"):
            await reads.assignments("b")
    assert len(place.seen) == 1


# direct writes --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def direct_calls(*answers: Answer | bytes) -> AsyncIterator[tuple[Direct, Loopback]]:
    async with loopback(*answers) as place, calling(place.url) as http:
        yield Direct(http, routes_of(3), clock=FakeClock(), timeout=3, rate=1000, problems=Problems(print)), place


async def test_a_direct_write_answers_the_body() -> None:
    async with direct_calls(json_answer(200, {"id": "p-1"})) as (direct, place):
        body = await direct.write("promotions.create", Call(Operation.CREATE_PROMOTION, body=b'{"name":"x"}'))
    assert body == b'{"id":"p-1"}'
    assert (place.lines, place.seen[0].body) == (["POST /api/v3/promotions/multichannels"], b'{"name":"x"}')


async def test_a_direct_write_without_an_answer_says_that_it_may_have_taken_effect() -> None:
    async with direct_calls(close, answer(503)) as (direct, _):
        for _ in range(2):
            with pytest.raises(EngageUnavailable, match="may have taken effect"):
                await direct.write("promotions.assign", Call(Operation.ASSIGN, body=b"{}"))


async def test_a_direct_write_that_engage_refuses_is_told() -> None:
    async with direct_calls(error(409, "PromotionExpired")) as (direct, _):
        with pytest.raises(EngageRefused, match="PromotionExpired"):
            await direct.write("promotions.assign", Call(Operation.ASSIGN, body=b"{}"))
