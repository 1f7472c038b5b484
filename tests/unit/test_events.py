"""Events: what they may hold, who hears them, and how loudly they are logged."""

from __future__ import annotations

import logging
from typing import get_args

import msgspec
import pytest

from voyado_async.events import (
    AttemptMade,
    BreakerChanged,
    DrainerStarted,
    DrainerStopped,
    Enqueued,
    Event,
    FileChanged,
    Listeners,
    Problem,
    ProblemSolved,
    Settled,
    level_of,
    log_events,
)

ENQUEUED = Enqueued(entry_id=7, kind="redeem")


def attempt(outcome: str, *, what: str = "request", known: bool = True) -> AttemptMade:
    return AttemptMade(entry_id=7, kind="redeem", what=what, outcome=outcome, status=504, known=known, due=12)


def settled(state: str) -> Settled:
    return Settled(entry_id=7, kind="redeem", state=state)


def file(state: str, problem: str | None = None) -> FileChanged:
    return FileChanged(file="x_contacts.xml", family="contacts", state=state, entries=3, problem=problem)


LEVELS: list[tuple[Event, int]] = [
    (ENQUEUED, logging.DEBUG),
    (Enqueued(entry_id=7, kind="redeem", existing="delivered"), logging.DEBUG),
    (attempt("delivered"), logging.DEBUG),
    (attempt("retry"), logging.INFO),
    (attempt("retry", known=False), logging.INFO),
    (attempt("slow_down"), logging.INFO),
    (attempt("exhausted"), logging.INFO),
    (attempt("rejected"), logging.INFO),
    (attempt("retry", what="skipped"), logging.DEBUG),
    (attempt("exhausted", what="skipped"), logging.DEBUG),
    (settled("delivered"), logging.DEBUG),
    (settled("discarded"), logging.INFO),
    (settled("exhausted"), logging.INFO),
    (settled("rejected"), logging.WARNING),
    (BreakerChanged(state="open", previous="closed"), logging.WARNING),
    (BreakerChanged(state="probing", previous="open"), logging.INFO),
    (BreakerChanged(state="closed", previous="probing"), logging.INFO),
    (BreakerChanged(state="closed", halted="401"), logging.WARNING),
    (file("spooled"), logging.INFO),
    (file("uploaded"), logging.INFO),
    (file("imported"), logging.INFO),
    (file("withdrawn"), logging.INFO),
    (file("lost"), logging.WARNING),
    (file("spooled", "host_key"), logging.WARNING),
    (DrainerStarted(pid=1, unknown=2), logging.INFO),
    (DrainerStopped(pid=1), logging.INFO),
    (DrainerStopped(pid=1, problem="disk_full"), logging.WARNING),
    (Problem(where="outbox", code="disk_full"), logging.WARNING),
    (ProblemSolved(where="outbox", code="disk_full"), logging.INFO),
]


@pytest.mark.parametrize(("event", "level"), LEVELS)
def test_only_what_a_person_should_see_is_a_warning(event: Event, level: int) -> None:
    assert level_of(event) == level


@pytest.mark.parametrize(("event", "level"), LEVELS)
def test_every_event_is_logged_with_its_fields(event: Event, level: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "voyado_async"):
        log_events()(event)
    (record,) = caplog.records
    assert (record.levelno, record.name) == (level, "voyado_async")
    carried = {name.removeprefix("voyado_"): value for name, value in vars(record).items() if "voyado_" in name}
    assert carried == msgspec.to_builtins(event)
    assert record.getMessage().startswith(f"{carried['event']} ")
    assert "None" not in record.getMessage()


def test_the_table_of_levels_covers_every_event() -> None:
    assert {type(event) for event, _ in LEVELS} == set(get_args(Event))


@pytest.mark.parametrize("kind", get_args(Event))
def test_an_event_has_no_room_for_content(kind: type[msgspec.Struct]) -> None:
    """Ids, kinds, states and codes are plain values: no bytes, no dicts, no lists, no structs."""
    allowed = {int, str, bool, int | None, str | None}
    fields = msgspec.structs.fields(kind)
    assert {field.type for field in fields} <= allowed
    assert not {field.name for field in fields} & {"body", "key", "payload", "email", "contact_id", "message", "lane"}


def test_an_event_is_read_back_from_its_json() -> None:
    for event, _ in LEVELS:
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


def test_the_log_goes_where_the_shop_says(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "shop.voyado"):
        log_events(logging.getLogger("shop.voyado"))(attempt("retry"))
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("shop.voyado", "attempt_made entry_id=7 kind=redeem what=request outcome=retry status=504 known=True due=12")
    ]


def test_nothing_is_made_up_for_a_level_that_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "voyado_async"):
        log_events()(ENQUEUED)
    assert caplog.records == []


def test_a_listener_hears_everything_once_in_order_until_it_is_removed() -> None:
    heard: list[Event] = []
    listeners = Listeners()
    listeners.emit(ENQUEUED)
    listeners.add(heard.append)
    listeners.add(heard.append)
    listeners.emit(settled("delivered"))
    listeners.emit(settled("rejected"))
    listeners.remove(heard.append)
    listeners.remove(heard.append)
    listeners.emit(ENQUEUED)
    assert heard == [settled("delivered"), settled("rejected")]


def test_a_listener_that_raises_is_reported_once_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def broken(event: Event) -> None:
        heard.append("broken")
        raise RuntimeError("the listener's own fault")

    def sound(event: Event) -> None:
        heard.append("sound")

    listeners = Listeners()
    listeners.add(broken)
    listeners.add(sound)
    with caplog.at_level(logging.DEBUG, "voyado_async"):
        listeners.emit(ENQUEUED)
        listeners.emit(ENQUEUED)
    assert heard == ["broken", "sound"] * 2
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)
    listeners.remove(broken)
    listeners.add(broken)
    listeners.emit(ENQUEUED)
    assert len(caplog.records) == 2, "added anew, it is reported anew"


def test_a_listener_may_leave_while_it_is_told() -> None:
    heard: list[Event] = []
    listeners = Listeners()

    def once(event: Event) -> None:
        listeners.remove(once)
        heard.append(event)

    listeners.add(once)
    listeners.add(heard.append)
    listeners.emit(ENQUEUED)
    listeners.emit(ENQUEUED)
    assert len(heard) == 3


def test_what_ends_the_process_passes_through_a_listener() -> None:
    def stopping(event: Event) -> None:
        raise KeyboardInterrupt

    listeners = Listeners()
    listeners.add(stopping)
    with pytest.raises(KeyboardInterrupt):
        listeners.emit(ENQUEUED)
