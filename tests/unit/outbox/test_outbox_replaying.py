"""What a replay or a discard makes of one entry: one row per case."""

from __future__ import annotations

from typing import Any

import pytest

from voyado_async.delivery import Kind
from voyado_async.outbox.operator_moves import set_after
from voyado_async.outbox.replaying import TAKEN, Road, Standing, Step, discard, replay
from voyado_async.outbox.states import State, may_move

API, FILE = Road.API, Road.FILE
UPDATE, REDEEM, RECEIPT, CREATE = Kind.CONTACT_UPDATE, Kind.REDEEM, Kind.RECEIPT, Kind.CONTACT_CREATE


def entry(state: State, kind: Kind = RECEIPT, **facts: Any) -> Standing:
    return Standing(7, kind, state, **facts)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("via", list(Road))
@pytest.mark.parametrize("again", [False, True])
def test_every_state_has_one_answer_and_every_answer_is_a_move_of_the_table(
    state: State, via: Road, again: bool
) -> None:
    plan = replay(entry(state), via=via, again=again)
    if state is State.SENDING or (state not in TAKEN and not again):
        assert plan.step is Step.LEAVE
    elif via is API:
        assert plan.step is Step.SEND
    else:
        on_its_way = state in (State.SPOOLED, State.UPLOADED, State.IMPORTED)
        assert plan.step is (Step.LEAVE if on_its_way else Step.FILE)
    source = State.EXHAUSTED if plan.withdraws else state
    assert plan.target == source or may_move(source, plan.target)
    assert plan.why


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("named", [False, True])
def test_what_a_discard_takes(state: State, named: bool) -> None:
    plan = discard(entry(state), named=named)
    takes = state in (State.PENDING, State.REJECTED, State.EXHAUSTED, State.SPOOLED) or (
        named and state in (State.UPLOADED, State.IMPORTED)
    )
    assert plan.step is (Step.DISCARD if takes else Step.LEAVE)
    source = State.EXHAUSTED if plan.withdraws else state
    assert not takes or may_move(source, State.DISCARDED)


@pytest.mark.parametrize(
    ("standing", "step", "why"),
    [
        (entry(State.REJECTED, rival=9), Step.LEAVE, "entry 9 came after it"),
        (entry(State.REJECTED, UPDATE, nothing_left=True), Step.SUPERSEDE, "newer entries"),
        (entry(State.EXHAUSTED, UPDATE, nothing_left=True), Step.SUPERSEDE, "newer entries"),
        (entry(State.SPOOLED, UPDATE, nothing_left=True), Step.SUPERSEDE, "newer entries"),
        (entry(State.REJECTED, UPDATE, left=frozenset({"city"})), Step.SEND, "left out"),
        (entry(State.REJECTED, UPDATE), Step.SEND, "harmless"),
        (entry(State.REJECTED, Kind.CONTACT_TYPE), Step.SEND, "harmless"),
        (entry(State.REJECTED, REDEEM), Step.SEND, "no attempt"),
        (entry(State.REJECTED, REDEEM, unknown=True, can_look_up=True), Step.SEND, "looked up before"),
        (entry(State.REJECTED, REDEEM, unknown=True), Step.SEND, "no look-up is possible"),
        (entry(State.REJECTED, CREATE, can_look_up=True), Step.SEND, "looked up by its key"),
        (entry(State.REJECTED, CREATE), Step.SEND, "VOYADO_CONTACT_KEY"),
        (entry(State.REJECTED, RECEIPT, unknown=True), Step.SEND, "uniqueReceiptId"),
    ],
)
def test_why_it_is_safe(standing: Standing, step: Step, why: str) -> None:
    plan = replay(standing, via=API, again=False)
    assert plan.step is step
    assert why in plan.why
    assert plan.left_out == tuple(sorted(standing.left))


def test_what_was_delivered_is_never_sent_again_without_a_look() -> None:
    plan = replay(entry(State.DELIVERED, REDEEM, can_look_up=True), via=API, again=True)
    assert (plan.step, "looked up before" in plan.why) == (Step.SEND, True)


@pytest.mark.parametrize("state", [State.DELIVERED, State.UPLOADED, State.IMPORTED, State.DISCARDED])
def test_what_is_superseded_and_past_it_all_stays_what_it_is(state: State) -> None:
    assert replay(entry(state, UPDATE, nothing_left=True), via=API, again=True).step is Step.LEAVE


def test_what_has_no_form_in_a_file_is_left() -> None:
    plan = replay(entry(State.REJECTED, no_file_form="clears a field"), via=FILE, again=False)
    assert (plan.step, plan.why) == (Step.LEAVE, "no form in a file: clears a field")


@pytest.mark.parametrize(("state", "command"), [
    (State.SPOOLED, "voyado-async replay 7"), (State.UPLOADED, "voyado-async replay 7 --again"),
    (State.IMPORTED, "voyado-async replay 7 --again"),
])  # fmt: skip
@pytest.mark.parametrize("again", [False, True])
def test_what_stands_in_a_file_says_at_once_how_else_it_goes(state: State, command: str, again: bool) -> None:
    plan = replay(entry(state, file="1_1_transactions.xml"), via=FILE, again=again)
    assert plan.step is Step.LEAVE
    assert plan.why == f"it stands in a file already (1_1_transactions.xml); to send it by the API: {command}"


def test_an_entry_loses_what_any_later_one_has_set_and_no_more() -> None:
    later = [
        (2, UPDATE, State.DELIVERED),
        (4, UPDATE, State.REJECTED),
        (5, UPDATE, State.PENDING),
        (8, UPDATE, State.EXHAUSTED),
    ]
    fields = {2: frozenset("a"), 5: frozenset("b"), 8: frozenset("c")}
    assert set_after([1, 3, 5, 9], later, fields) == {
        1: (frozenset("abc"), True),
        3: (frozenset("bc"), True),
        5: (frozenset("c"), False),
        9: (frozenset(), False),
    }
