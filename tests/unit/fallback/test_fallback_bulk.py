"""Contact writes in bulk requests: which, how merged, what an answer comes to, and that no older value overtakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes import FakeClock

from voyado_async.api.bulk import taken
from voyado_async.delivery import (
    BulkTaken,
    Draft,
    Failure,
    HandBack,
    Kind,
    Message,
    NotAllowed,
    Outcome,
    Rejected,
    Reply,
    RetryAt,
    SlowDown,
)
from voyado_async.errors import OutboxUnavailable
from voyado_async.fallback import bulk
from voyado_async.fallback.courier import Courier
from voyado_async.fallback.report import CourierReport
from voyado_async.kinds import contact_create, contact_type, contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox.records import EntryFilter, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox, open_outbox
from voyado_async.outbox.states import State
from voyado_async.settings import Settings

PERIOD = 3_600_000
GUID = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"


class Engage:
    """Takes bulk requests, or answers what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[Kind, str, list[dict[str, Any]]]] = []
        self.answers: list[Outcome | BulkTaken | BaseException] = []
        self.before: Callable[[], Any] = lambda: None

    async def send_bulk(self, kind: Kind, contact_type: str, contacts: bytes) -> BulkTaken | Outcome:
        self.requests.append((kind, contact_type, msgspec.json.decode(contacts)))
        if (waiting := self.before()) is not None:
            await waiting
        answer = self.answers.pop(0) if self.answers else BulkTaken(f"batch-{len(self.requests)}", 202)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Turns(nullcontext[None]):
    """Turns that come at once, or not at all; and what was said of the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.granted = True
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.heard: list[Outcome | BulkTaken] = []

    async def __aenter__(self) -> None:
        if not self.granted:
            raise HandBack
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()

    def answered(self, outcome: BulkTaken | Outcome) -> None:
        self.heard.append(outcome)


class Shop:
    def __init__(self, store: SqliteOutbox, clock: FakeClock, settings: Settings) -> None:
        self.store, self.clock, self.settings, self.engage = store, clock, settings, Engage()
        self.turn = Turns()
        self.restart()

    def restart(self) -> None:
        self.courier = Courier.of(self.store, self.settings, bulk=self.engage)

    async def exhaust(self, *drafts: Draft) -> list[int]:
        """An outage: the heads are exhausted and take their lanes with them."""
        ids = [stored.id for stored in await self.store.enqueue(drafts)]
        for message in await self.store.claim(10_000, self.clock.now(), frozenset()):
            await self.store.settle(Settlement(message.id, State.PENDING, State.EXHAUSTED, outage=True))
            await self.store.exhaust_lanes([message.lane], self.clock.now())
        return ids

    async def step(self, *, api_healthy: bool = True) -> CourierReport:
        return await self.courier.step(self.clock.now(), api_healthy=api_healthy, turn=self.turn)

    async def states(self, ids: list[int]) -> list[State]:
        found = await self.store.states_of(ids)
        return [found[entry][0] for entry in ids]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    clock = FakeClock()
    settings = Settings(outbox=str(tmp_path / "outbox.db"), contact_key="email", fallback_contacts="bulk")
    store = await open_outbox(settings.outbox, base_url="http://127.0.0.1:1", clock=clock)
    yield Shop(store, clock, settings)
    assert [finding for finding in await store.verify() if not finding.ok] == []
    await store.close()


def change(email: str = "anna@example.com", *, contact_type: str | None = "Member", **changes: Any) -> Draft:
    return contact_update.draft(address(email=email), changes, contact_type=contact_type)


def creation(email: str = "bo@example.com", **fields: Any) -> Draft:
    return contact_create.draft({"email": email, **fields}, contact_key="email")


async def test_nothing_goes_while_the_api_is_down_and_no_file_is_made_of_it(shop: Shop) -> None:
    ids = await shop.exhaust(change(city="Lund"), creation())
    await shop.step(api_healthy=False)
    await shop.clock.advance(400)
    report = await shop.step(api_healthy=False)
    assert report.spooled == ()
    assert shop.engage.requests == []
    assert await shop.states(ids) == [State.EXHAUSTED] * 2


async def test_on_the_way_back_changes_and_creations_go_in_bulk_and_keep_the_id_of_their_batch(shop: Shop) -> None:
    ids = await shop.exhaust(
        change(city="Lund", street=None),
        change(zipCode="1", city="Umeå", preferences={"acceptsSms": True}),
        change("cia@example.com", city="Kiruna"),
        creation(firstName="Bo", contactType="VIP"),
    )
    report = await shop.step()
    assert shop.engage.requests == [
        (Kind.CONTACT_CREATE, "VIP", [{"email": "bo@example.com", "firstName": "Bo"}]),
        (
            Kind.CONTACT_UPDATE,
            "Member",
            [
                {"email": "anna@example.com", "city": "Umeå", "street": None, "zipCode": "1", "acceptsSms": True},
                {"email": "cia@example.com", "city": "Kiruna"},
            ],
        ),
    ]
    assert report.in_bulk == 4
    assert report.brought_back == 0
    assert await shop.states(ids) == [State.IMPORTED] * 4
    assert [(line.what, line.outcome, line.code) for line in (await shop.store.attempts(ids[0]))[-2:]] == [
        ("bulk", "uploaded", None),
        ("bulk", "imported", "batch-2"),
    ]


async def test_it_is_read_back_one_import_period_later_and_holds_later_changes_until_then(shop: Shop) -> None:
    await shop.exhaust(change(city="Lund"))
    await shop.step()
    (newer,) = [stored.id for stored in await shop.store.enqueue([change(city="Umeå")])]
    now = shop.clock.now()
    assert await shop.store.to_confirm(10, now + PERIOD - 1) == []
    assert await shop.store.claim(10, now, frozenset()) == []
    (due,) = await shop.store.to_confirm(10, now + PERIOD)
    await shop.store.settle(Settlement(due.id, State.IMPORTED, State.DELIVERED))
    assert [message.id for message in await shop.store.claim(10, now, frozenset())] == [newer]


async def test_a_request_holds_at_most_4000_contacts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bulk.AT_MOST == 4000
    monkeypatch.setattr(bulk, "AT_MOST", 3)
    await shop.exhaust(
        *(change(f"c{n}@example.com", city="Lund") for n in range(7)), change("c0@example.com", city="X")
    )
    await shop.step()
    assert [len(contacts) for _, _, contacts in shop.engage.requests] == [3, 3, 1]
    # The last one came when its contact's request had gone: it waits until that is confirmed.
    assert [contacts[0]["city"] for _, _, contacts in shop.engage.requests] == ["Lund"] * 3
    assert (await shop.states([8])) == [State.PENDING]


@pytest.mark.parametrize(
    "draft",
    [
        contact_update.draft(address(contact_id=GUID), {"city": None}),
        contact_update.draft(address(external_id="7"), {"city": "Lund"}),
        contact_update.draft(address(email="a@b.se"), {"email": "c@d.se"}),
        change(consents=[{"id": "news", "value": True}]),
        contact_type.draft(GUID, "Member"),
        creation(preferences={"acceptsEmail": True}),
        contact_create.draft({"email": "a@b.se"}, contact_key="email", source="POS"),
        contact_create.draft({"email": "a@b.se"}, contact_key="email", on_existing="update"),
    ],
)
async def test_what_has_no_certain_form_in_a_bulk_request_returns_to_the_api(shop: Shop, draft: Draft) -> None:
    ids = await shop.exhaust(draft)
    report = await shop.step()
    assert shop.engage.requests == []
    assert report.brought_back == 1
    assert await shop.states(ids) == [State.PENDING]


async def test_a_change_named_by_id_still_goes_by_file(shop: Shop) -> None:
    ids = await shop.exhaust(contact_update.draft(address(contact_id=GUID), {"city": "Lund"}))
    await shop.step(api_healthy=False)
    await shop.clock.advance(400)
    await shop.step(api_healthy=False)
    assert await shop.states(ids) == [State.SPOOLED]


async def test_what_waits_for_its_bulk_request_is_not_told_to_have_no_way_left(shop: Shop) -> None:
    shop.turn.granted = False
    for draft in (change(city=None), change("bo@example.com", consents=[])):
        (stored,) = await shop.store.enqueue([draft])
        await shop.store.settle(Settlement(stored.id, State.PENDING, State.EXHAUSTED))
    await shop.step()
    assert [entry.reason for entry in await shop.store.entries(EntryFilter())] == ["no_file_form", None]


async def test_a_change_never_overtakes_an_older_one_that_cannot_go_in_bulk(shop: Shop) -> None:
    ids = await shop.exhaust(change(city="Lund"), change(consents=[]), change(city="Umeå"))
    await shop.step()
    assert [contacts for _, _, contacts in shop.engage.requests] == [[{"email": "anna@example.com", "city": "Lund"}]]
    assert await shop.states(ids) == [State.IMPORTED, State.PENDING, State.PENDING]
    assert await shop.store.claim(10, shop.clock.now(), frozenset()) == []


async def test_a_change_waits_while_an_older_one_of_its_contact_is_on_the_road(shop: Shop) -> None:
    await shop.exhaust(change(city="Lund"))
    await shop.step()
    (newer,) = [stored.id for stored in await shop.store.enqueue([change(city="Umeå")])]
    await shop.store.settle(Settlement(newer, State.PENDING, State.EXHAUSTED, outage=True))
    await shop.step()
    assert len(shop.engage.requests) == 1
    assert await shop.states([newer]) == [State.PENDING]


async def test_of_changes_for_two_contact_types_only_the_first_goes_in_bulk(shop: Shop) -> None:
    ids = await shop.exhaust(change(city="1"), change(city="2", contact_type=None), change(city="3"))
    await shop.step()
    assert [(kind, contacts[0]["city"]) for _, kind, contacts in shop.engage.requests] == [("Member", "1")]
    assert await shop.states(ids) == [State.IMPORTED, State.PENDING, State.PENDING]


async def test_of_a_change_and_a_later_creation_of_its_contact_only_the_change_goes_in_bulk(shop: Shop) -> None:
    """The requests of creations go first: the older value would land last."""
    ids = await shop.exhaust(change(city="Malmo"), creation("anna@example.com", city="Lund"), creation())
    await shop.step()
    assert [[row["email"] for row in rows] for _, _, rows in shop.engage.requests] == [
        ["bo@example.com"],
        ["anna@example.com"],
    ]
    assert [kind for kind, _, _ in shop.engage.requests] == [Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE]
    assert await shop.states(ids) == [State.IMPORTED, State.PENDING, State.IMPORTED]


async def test_what_belongs_to_a_created_contact_waits_until_the_creation_is_confirmed(shop: Shop) -> None:
    later = change("bo@example.com", city="Lund")
    ids = await shop.exhaust(creation(), later)
    await shop.step()
    assert [kind for kind, _, _ in shop.engage.requests] == [Kind.CONTACT_CREATE]
    assert await shop.states(ids) == [State.IMPORTED, State.PENDING]
    assert await shop.store.claim(10, shop.clock.now(), frozenset()) == []


@pytest.mark.parametrize(
    ("answer", "after", "known"),
    [
        (RetryAt("timeout", unknown=True), PERIOD, False),
        (RetryAt("http_503", 503, unknown=True), PERIOD, False),
        (Rejected("ValidationError", 422), 0, True),
        (SlowDown(), 0, True),
        (SlowDown(30.0), 30_000, True),
        (NotAllowed(403), 0, True),
        (RetryAt("refused"), 0, True),
    ],
)
async def test_whatever_the_answer_each_contact_is_read_back(
    shop: Shop, answer: Outcome, after: int, known: bool
) -> None:
    shop.engage.answers = [answer]
    ids = await shop.exhaust(change(city="Lund"))
    await shop.step()
    assert await shop.states(ids) == [State.IMPORTED]
    (line,) = [one for one in await shop.store.attempts(ids[0]) if one.what == "bulk" and one.outcome != "uploaded"]
    assert line.known is known
    now = shop.clock.now()
    assert await shop.store.to_confirm(10, now + after - 1) == []
    assert [message.id for message in await shop.store.to_confirm(10, now + after)] == ids


async def test_after_a_failure_the_rest_returns_to_the_api_and_bulk_waits_for_the_ladder(shop: Shop) -> None:
    shop.engage.answers = [SlowDown()]
    await shop.exhaust(creation(), change(city="Lund"))
    await shop.step()
    assert len(shop.engage.requests) == 1
    ids = await shop.exhaust(change("cia@example.com", city="Lund"))
    await shop.step()
    assert len(shop.engage.requests) == 1
    assert await shop.states(ids) == [State.PENDING]
    await shop.clock.advance(11)
    ids += await shop.exhaust(change("eva@example.com", city="Lund"))
    await shop.step()
    assert len(shop.engage.requests) == 2
    assert await shop.states(ids) == [State.IMPORTED] * 2


async def test_what_gets_no_turn_is_not_begun_and_returns_to_the_api(shop: Shop) -> None:
    """The breaker opened or the key was refused since the API was said to be back."""
    shop.turn.granted = False
    ids = await shop.exhaust(change(city="Lund"), creation())
    await shop.step()
    assert shop.engage.requests == []
    assert [line.what for line in await shop.store.attempts(ids[0])] == ["skipped"]
    assert await shop.states(ids) == [State.PENDING] * 2


async def test_everybody_hears_what_a_bulk_request_came_to(shop: Shop) -> None:
    shop.engage.answers = [NotAllowed(401)]
    await shop.exhaust(change(city="Lund"))
    await shop.step()
    assert shop.turn.heard == [NotAllowed(401)]


async def test_an_entry_that_is_discarded_meanwhile_is_not_sent(shop: Shop) -> None:
    ids = await shop.exhaust(change(city="Lund"), change(zipCode="1"))

    async def by_hand() -> None:
        await shop.store.settle(Settlement(ids[0], State.EXHAUSTED, State.DISCARDED, reason="by hand"))

    shop.turn.meanwhile = by_hand
    await shop.step()
    assert [contacts for _, _, contacts in shop.engage.requests] == [[{"email": "anna@example.com", "zipCode": "1"}]]
    assert await shop.states(ids) == [State.DISCARDED, State.IMPORTED]


async def test_a_creation_that_went_in_bulk_counts_as_sent_to_what_is_older_of_its_contact(shop: Shop) -> None:
    (older,) = [stored.id for stored in await shop.store.enqueue([change(city="Malmo")])]
    assert await shop.store.settle(Settlement(older, State.PENDING, State.REJECTED))
    await shop.exhaust(creation("anna@example.com", city="Lund"))
    await shop.step()
    (message,) = [Message(older, Kind.CONTACT_UPDATE, b"", 1, "", 0)]
    assert [kind for kind, _ in await shop.store.newer_in_force(message)] == [Kind.CONTACT_CREATE]


async def test_a_process_that_dies_during_a_request_leaves_an_unknown_outcome(shop: Shop) -> None:
    ids = await shop.exhaust(change(city="Lund"))
    sent = asyncio.Event()

    def hang() -> Any:
        sent.set()
        return asyncio.get_running_loop().create_future()

    shop.engage.before = hang
    step = asyncio.create_task(shop.step())
    await sent.wait()
    assert await shop.states(ids) == [State.UPLOADED]
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    shop.restart()
    await shop.step(api_healthy=False)
    assert await shop.states(ids) == [State.IMPORTED]
    assert (await shop.store.attempts(ids[0]))[-1].known is False
    assert [m.id for m in await shop.store.to_confirm(10, shop.clock.now() + PERIOD)] == ids


async def test_a_disk_that_fails_during_a_request_leaves_an_unknown_outcome_that_is_confirmed_without_a_restart(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.step()
    ids = await shop.exhaust(change(city="Lund"))

    async def full(settlement: Settlement) -> bool:
        raise OutboxUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(shop.store, "settle", full)
        with pytest.raises(OutboxUnavailable):
            await shop.step()
    assert await shop.states(ids) == [State.UPLOADED]
    await shop.step(api_healthy=False)
    assert await shop.states(ids) == [State.IMPORTED]


# the answer -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(202, b'"b6d1"', "application/json"), BulkTaken("b6d1", 202)),
        (Reply(202, b"{}", "application/json"), RetryAt("unexpected_answer", 202, unknown=True)),
        (Reply(200, b"<html>", "text/html"), RetryAt("unexpected_answer", 200, unknown=True)),
        (Reply(204), RetryAt("unexpected_answer", 204, unknown=True)),
        (Reply(failure=Failure.TIMEOUT), RetryAt("timeout", unknown=True)),
        (Reply(failure=Failure.REFUSED), RetryAt("refused")),
        (Reply(429), SlowDown()),
        (Reply(401), NotAllowed(401)),
        (Reply(400, b'{"code":"BadRequest"}', "application/json"), Rejected("BadRequest", 400)),
    ],
)
def test_only_a_batch_id_says_that_it_was_taken(reply: Reply, outcome: Outcome) -> None:
    assert taken(reply) == outcome
