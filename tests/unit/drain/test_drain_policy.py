"""From outcome to next state: one row per rule."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from voyado_async.delivery import Delivered, Kind, Message, NotAllowed, Outcome, Rejected, RetryAt, SlowDown
from voyado_async.drain.policy import REST, Overtaken, Schedule, settle, skip
from voyado_async.outbox.records import UNCONFIRMED, Attempt, Settlement
from voyado_async.outbox.states import State, may_move

NOW = 1_700_000_000_000
SCHEDULE = Schedule((10_000, 30_000, 60_000, 300_000), 8)
HOUR = 3_600_000
P, S, I = State.PENDING, State.SENDING, State.IMPORTED  # noqa: E741 - one letter per state keeps a rule on one line


def message(slots: int = 0, *, unknown: bool = False, skipped: bool = False) -> Message:
    return Message(
        7, Kind.REDEEM, b"{}", 1, "contact:a", NOW - 5, slots=slots, unknown=unknown, lines=3, outage=skipped
    )


def settled(
    outcome: Outcome, source: State = S, slots: int = 0, *, unknown: bool = False, outage: bool = False,
    spread: float = 0.0, skipped: bool = False,
) -> Settlement:  # fmt: skip
    return settle(
        message(slots, unknown=unknown, skipped=skipped), outcome, source=source, what="request", now=NOW,
        schedule=SCHEDULE, outage=outage, spread=lambda: spread,
    )  # fmt: skip


RULES: list[tuple[str, Outcome, State, int, dict[str, Any]]] = [
    # name, outcome, source, slots used before, what the settlement says
    ("accepted", Delivered(status=200), S, 3, {"target": State.DELIVERED, "slots": 3, "rest_until": 0}),
    ("looked up", Delivered("looked_up", contact_id="x"), P, 0, {"target": State.DELIVERED, "contact_id": "x"}),
    ("read", Delivered("looked_up", contact_id="x", contact_type="Member"), I, 0, {"contact_type": "Member"}),
    ("confirmed", Delivered(), I, 0, {"target": State.DELIVERED}),
    ("refused", Rejected("NotFound", 404), S, 0, {"target": State.REJECTED, "reason": "NotFound"}),
    ("refused on confirmation", Rejected("NotFound", 404), I, 0, {"target": State.REJECTED}),
    (
        "refused, but perhaps done",
        Rejected("Conflict", 409, may_have_happened=True),
        S,
        1,
        {"target": State.REJECTED, "reason": "Conflict (may have happened)"},
    ),
    ("transient", RetryAt("Http503", 503), S, 0, {"target": P, "slots": 1, "due": NOW + 10_000, "unknown": False}),
    ("second failure", RetryAt("Http503", 503), S, 1, {"target": P, "slots": 2, "due": NOW + 30_000}),
    ("third failure", RetryAt("Http503", 503), S, 2, {"target": P, "slots": 3, "due": NOW + 60_000}),
    ("fourth failure", RetryAt("Http503", 503), S, 3, {"target": P, "slots": 4, "due": NOW + 300_000}),
    ("the last delay repeats", RetryAt("Http503", 503), S, 6, {"target": P, "slots": 7, "due": NOW + 300_000}),
    ("eighth failure", RetryAt("Http503", 503), S, 7, {"target": State.EXHAUSTED, "slots": 8, "outage": False}),
    ("past the last", RetryAt("Http503", 503), S, 20, {"target": State.EXHAUSTED, "slots": 21}),
    ("look-up fails", RetryAt("Http503", 503), P, 0, {"target": P, "slots": 1, "due": NOW + 10_000}),
    ("look-up fails last", RetryAt("Http503", 503), P, 7, {"target": State.EXHAUSTED}),
    ("unknown rests", RetryAt("Timeout", unknown=True), S, 0, {"unknown": True, "rest_until": NOW + REST}),
    ("unknown, last turn", RetryAt("Timeout", unknown=True), S, 7, {"unknown": True, "rest_until": NOW + REST}),
    (
        "several contacts",
        Rejected("MultipleMatches", 409, contact_ids=("a", "b")),
        P,
        0,
        {"reason": "MultipleMatches: a, b"},
    ),
    (
        "very many contacts, after an unknown attempt",
        Rejected("MultipleMatches", 409, True, contact_ids=tuple("abcdefghijkl")),
        P,
        0,
        {"reason": "MultipleMatches (may have happened): a, b, c, d, e, f, g, h, i, j and 2 more"},
    ),
    (
        "eleven contacts",
        Rejected("MultipleMatches", 409, contact_ids=tuple("abcdefghijk")),
        P,
        0,
        {"reason": "MultipleMatches: a, b, c, d, e, f, g, h, i, j and 1 more"},
    ),
    (
        "ten contacts",
        Rejected("MultipleMatches", 409, contact_ids=tuple("abcdefghij")),
        P,
        0,
        {"reason": "MultipleMatches: a, b, c, d, e, f, g, h, i, j"},
    ),
    ("retry-after longer", RetryAt("Http503", 503, retry_after=120), S, 0, {"due": NOW + 120_000}),
    ("retry-after shorter", RetryAt("Http503", 503, retry_after=1), S, 0, {"due": NOW + 10_000}),
    ("retry-after too long", RetryAt("Http503", 503, retry_after=1e6), S, 0, {"due": NOW + HOUR}),
    ("counts for nothing", RetryAt("Busy", counts=False), S, 7, {"target": P, "slots": 7, "due": NOW + 10_000}),
    ("confirmation fails", RetryAt("Http503", 503), I, 0, {"target": I, "slots": 1, "due": NOW + 10_000}),
    ("confirmation fails once more", RetryAt("Http503", 503), I, 6, {"target": I, "slots": 7, "reason": "Http503"}),
    (
        "confirmation has used up its turns",
        RetryAt("Http503", 503),
        I,
        7,
        {"target": I, "slots": 8, "due": NOW + 300_000, "reason": UNCONFIRMED},
    ),
    ("confirmation never ends", RetryAt("Http503", 503), I, 50, {"target": I, "slots": 51, "due": NOW + 300_000}),
    ("confirmation is still told", RetryAt("Busy", counts=False), I, 8, {"target": I, "reason": UNCONFIRMED}),
    ("confirmation does not count", RetryAt("Busy", counts=False), I, 7, {"target": I, "reason": "Busy"}),
    ("429", SlowDown(), S, 7, {"target": P, "slots": 7, "due": NOW + 10_000, "unknown": False}),
    ("429 with retry-after", SlowDown(retry_after=45), S, 0, {"target": P, "due": NOW + 45_000}),
    ("429 with too long a one", SlowDown(retry_after=1e6), S, 0, {"due": NOW + HOUR}),
    ("429 on a look-up", SlowDown(), P, 0, {"target": P}),
    ("429 on a confirmation", SlowDown(), I, 0, {"target": I}),
    ("401", NotAllowed(401), S, 7, {"target": P, "slots": 7, "due": NOW, "reason": "NotAllowed 401"}),
    ("403 on a look-up", NotAllowed(403), P, 0, {"target": P, "slots": 0}),
    ("403 on a confirmation", NotAllowed(403), I, 0, {"target": I}),
]


@pytest.mark.parametrize(
    ("outcome", "source", "slots", "expected"), [row[1:] for row in RULES], ids=[r[0] for r in RULES]
)
def test_the_rules(outcome: Outcome, source: State, slots: int, expected: dict[str, Any]) -> None:
    settlement = settled(outcome, source, slots)
    assert {name: getattr(settlement, name) for name in expected} == expected
    assert (settlement.id, settlement.source) == (7, source)
    assert source is settlement.target or may_move(source, settlement.target)
    line = settlement.attempt
    assert line is not None
    assert (line.at, line.what, line.status, line.known) == (
        NOW, "request", outcome.status, not (isinstance(outcome, RetryAt) and outcome.unknown),
    )  # fmt: skip


@pytest.mark.parametrize("outcome", [RetryAt("Http503"), RetryAt("Busy", counts=False), SlowDown(), NotAllowed(401)])
def test_once_unknown_stays_unknown_until_it_is_settled(outcome: Outcome) -> None:
    assert settled(outcome, P, unknown=True).unknown


@pytest.mark.parametrize("outage", [False, True])
def test_only_what_is_exhausted_while_the_breaker_is_open_belongs_to_the_outage(outage: bool) -> None:
    assert settled(RetryAt("Http503"), slots=7, outage=outage).outage is outage
    assert not settled(RetryAt("Http503"), slots=6, outage=outage).outage


@pytest.mark.parametrize(
    ("outcome", "source", "slots", "target", "outage"),
    [
        (RetryAt("Interrupted"), P, 8, State.EXHAUSTED, True),
        (RetryAt("Http503"), S, 7, State.EXHAUSTED, True),
        (RetryAt("Http503"), S, 6, P, True),
        (RetryAt("Busy", counts=False), S, 6, P, True),
        (SlowDown(), S, 6, P, True),
        (NotAllowed(401), S, 6, P, True),
        (Delivered(), S, 6, State.DELIVERED, False),
        (Rejected("NotFound", 404), S, 6, State.REJECTED, False),
        (Overtaken(), P, 6, State.DISCARDED, False),
    ],
)
def test_what_an_open_breaker_used_up_turns_of_stays_the_outages_until_it_is_settled(
    outcome: Outcome | Overtaken, source: State, slots: int, target: State, outage: bool
) -> None:
    settlement = settled(outcome, source, slots, skipped=True)  # type: ignore[arg-type] # Overtaken is no outcome
    assert (settlement.target, settlement.outage) == (target, outage)
    assert not settled(outcome, source, slots).outage  # type: ignore[arg-type] # as above


def test_a_confirmation_that_fails_in_an_outage_is_no_matter_for_a_person() -> None:
    assert settled(RetryAt("Http503"), I, slots=20, outage=True).reason == "Http503"


@pytest.mark.parametrize(("spread", "due"), [(0.0, 30_000), (0.5, 31_500), (1.0, 33_000)])
def test_jitter_only_lengthens_and_by_a_tenth_at_most(spread: float, due: int) -> None:
    assert settled(RetryAt("Http503"), slots=1, spread=spread).due == NOW + due


def test_an_unknown_outcome_is_not_tried_again_before_the_rest_is_over() -> None:
    hurried = Schedule((50,), 8)
    settlement = settle(
        message(), RetryAt("Timeout", unknown=True), source=S, what="request", now=NOW, schedule=hurried, outage=False,
        spread=lambda: 0.0,
    )  # fmt: skip
    assert settlement.due == NOW + REST == NOW + 10_000


def test_the_lines_never_hold_more_than_a_code() -> None:
    line = settled(RetryAt("Http503", 503, duration_ms=12)).attempt
    assert line is not None
    assert (line.outcome, line.code, line.status, line.duration_ms) == ("retry", "Http503", 503, 12)


@pytest.mark.parametrize(
    ("slots", "target", "due"),
    [(0, P, 10_000), (1, P, 30_000), (6, P, 300_000), (7, State.EXHAUSTED, 0), (9, State.EXHAUSTED, 0)],
)
def test_a_turn_while_the_breaker_is_open_is_used_up_without_a_request(slots: int, target: State, due: int) -> None:
    settlement = skip(message(slots, unknown=True), now=NOW, schedule=SCHEDULE, spread=lambda: 0.0)
    assert (settlement.source, settlement.target, settlement.due) == (P, target, NOW + due)
    assert (settlement.slots, settlement.unknown, settlement.reason) == (slots + 1, True, "BreakerOpen")
    assert settlement.outage
    assert settlement.rest_until == 0
    assert settlement.attempt is not None
    assert (settlement.attempt.what, settlement.attempt.known) == ("skipped", True)


def test_an_entry_is_exhausted_at_the_same_moment_with_requests_or_without() -> None:
    def moments(skipping: bool) -> list[int]:
        now, slots, due = NOW, 0, []
        while True:
            one = message(slots)
            if skipping:
                step = skip(one, now=now, schedule=SCHEDULE, spread=lambda: 0.0)
            else:
                step = settle(
                    one, RetryAt("Http503"), source=S, what="request", now=now, schedule=SCHEDULE, outage=True,
                    spread=lambda: 0.0,
                )  # fmt: skip
            due.append(step.due)
            if step.target is State.EXHAUSTED:
                return due
            now, slots = step.due, step.slots

    assert moments(True) == moments(False)
    assert len(moments(True)) == 8


def told(outcome: str, code: str | None, status: int | None = None, *, known: bool = True) -> Attempt:
    return Attempt(NOW, "request", outcome, status, code, duration_ms=12, known=known)


WHOLE: list[tuple[str, Outcome, State, Settlement]] = [
    # name, outcome of an entry with 7 of 8 turns used and an unknown attempt behind it, source, the whole settlement
    (
        "delivered",
        Delivered("looked_up", 200, contact_id="x", duration_ms=12),
        P,
        Settlement(7, P, State.DELIVERED, told("delivered", "looked_up", 200), 0, 7, True, contact_id="x", lines=3),
    ),
    (
        "rejected",
        Rejected("Gone", 410, may_have_happened=True, duration_ms=12),
        S,
        Settlement(
            7, S, State.REJECTED, told("rejected", "Gone", 410), 0, 7, True, reason="Gone (may have happened)"
        ),
    ),
    (
        "429",
        SlowDown(duration_ms=12),
        S,
        Settlement(
            7, S, P, told("slow_down", "TooManyRequests", 429), NOW + 10_000, 7, True, reason="TooManyRequests"
        ),
    ),
    (
        "403",
        NotAllowed(403, duration_ms=12),
        S,
        Settlement(7, S, P, told("not_allowed", "NotAllowed", 403), NOW, 7, True, reason="NotAllowed 403"),
    ),
    (
        "exhausted",
        RetryAt("http_503", 503, unknown=True, duration_ms=12),
        S,
        Settlement(
            7, S, State.EXHAUSTED, told("exhausted", "http_503", 503, known=False), NOW, 8, True, reason="http_503",
            outage=True, rest_until=NOW + REST,
        ),
    ),
    (
        "confirmation failed",
        RetryAt("refused", duration_ms=12),
        I,
        Settlement(7, I, I, told("retry", "refused"), NOW + 300_000, 8, True, reason="refused", lines=3),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("outcome", "source", "expected"), [row[1:] for row in WHOLE], ids=[r[0] for r in WHOLE])
def test_whole_settlements(outcome: Outcome, source: State, expected: Settlement) -> None:
    assert settled(outcome, source, 7, unknown=True, outage=True) == expected


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        (0, Settlement(7, P, P, None, NOW + 11_000, 1, False, "BreakerOpen", outage=True, lines=3)),
        (7, Settlement(7, P, State.EXHAUSTED, None, NOW, 8, False, "BreakerOpen", outage=True, lines=3)),
    ],
)
def test_whole_settlements_of_a_skipped_turn(slots: int, expected: Settlement) -> None:
    line = Attempt(NOW, "skipped", "retry" if expected.target is P else "exhausted", code="BreakerOpen")
    found = skip(message(slots), now=NOW, schedule=SCHEDULE, spread=lambda: 1.0)
    assert found == msgspec.structs.replace(expected, attempt=line)


def test_no_delay_is_longer_than_the_schedule_where_engage_names_none() -> None:
    hurried = Schedule((50,), 8)
    for outcome in (RetryAt("http_503"), SlowDown()):
        found = settle(
            message(), outcome, source=S, what="request", now=NOW, schedule=hurried, outage=False, spread=lambda: 0.0
        )
        assert found.due == NOW + 50


@pytest.mark.parametrize(
    ("kind", "target", "reason", "line"),
    [
        (Kind.CONTACT_UPDATE, State.DISCARDED, "superseded", ("discarded", "superseded")),
        # The contact is there: that is what it was for.
        (Kind.CONTACT_CREATE, State.DELIVERED, None, ("delivered", "exists")),
    ],
)
def test_what_newer_entries_have_replaced_is_superseded_and_a_creation_is_done(
    kind: Kind, target: State, reason: str | None, line: tuple[str, str]
) -> None:
    overtaken = msgspec.structs.replace(message(2, unknown=True), kind=kind)
    settlement = settle(
        overtaken, Overtaken(200, 12), source=P, what="look_up", now=NOW, schedule=SCHEDULE, outage=False,
        spread=lambda: 0.0,
    )  # fmt: skip
    attempt = Attempt(NOW, "look_up", *line[:1], status=200, code=line[1], duration_ms=12)
    assert settlement == Settlement(7, P, target, attempt, slots=2, unknown=True, reason=reason, lines=3)
    assert may_move(P, target)
