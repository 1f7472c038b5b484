"""One enum, one table of moves, one CHECK: they tell the same story."""

from __future__ import annotations

import re

import pytest

from voyado_async.delivery import Kind
from voyado_async.outbox.file_moves import FILE_MOVES
from voyado_async.outbox.migrate import migrations
from voyado_async.outbox.states import AWAY, FINAL, MOVES, SETTLED, TRANSITIONS, FileState, State, may_move

SCHEMA = migrations()[0].sql


def check(table: str, column: str) -> set[str]:
    """The words of a CHECK in the schema, written as an IN or as a chain of ORs."""
    body = SCHEMA[SCHEMA.index(f"CREATE TABLE {table} (") :]
    found = re.search(rf"    {column} TEXT NOT NULL CHECK \((.*?)\),?\n    \w", body, re.DOTALL)
    assert found is not None
    return set(re.findall(r"'(\w+)'", found[1]))


@pytest.mark.parametrize(("column", "states"), [("away", AWAY), ("settled", SETTLED)])
def test_the_columns_that_stand_for_several_states_name_them_all(column: str, states: frozenset[State]) -> None:
    body = SCHEMA[SCHEMA.index(f"    {column} INTEGER GENERATED") :]
    assert set(re.findall(r"state = '(\w+)'", body[: body.index("VIRTUAL")])) == states


def test_what_every_insert_evaluates_builds_no_table_of_words() -> None:
    """Of CHECKs, generated columns and partial indexes of the entries: an IN of more than two words would."""
    entry = SCHEMA[SCHEMA.index("CREATE TABLE entry (") : SCHEMA.index("CREATE TRIGGER entry_moved")]
    assert [words for words in re.findall(r"\bIN \(([^)]*)\)", entry) if words.count(",") > 1] == []


def test_the_schema_knows_the_states_of_the_enum() -> None:
    assert check("entry", "state") == set(State)


def test_the_schema_knows_the_kinds() -> None:
    assert check("entry", "kind") == set(Kind)


def test_the_schema_knows_the_states_of_files() -> None:
    assert check("file", "state") == set(FileState) == set(FILE_MOVES)


def test_every_index_that_names_states_names_ones_that_exist() -> None:
    for names in re.findall(r"WHERE state (?:IN \(([^)]*)\)|= ('\w+'))", SCHEMA):
        words = set(re.findall(r"'(\w+)'", "".join(names)))
        assert words <= set(State) | set(FILE_MOVES)


def test_no_move_stands_in_the_table_twice() -> None:
    assert len(MOVES) == len(TRANSITIONS)


def test_every_state_is_reached_and_only_a_person_moves_on_what_is_final() -> None:
    assert {move.target for move in TRANSITIONS} == set(State)
    assert {move.source for move in TRANSITIONS} == set(State)
    assert {move.who for move in TRANSITIONS if move.source in FINAL} == {"operator"}


def test_every_state_leads_to_a_final_one() -> None:
    reached = set(FINAL)
    for _ in State:
        reached |= {move.source for move in TRANSITIONS if move.target in reached}
    assert reached == set(State)


def test_an_entry_whose_upload_has_begun_never_goes_back_by_itself() -> None:
    back = [
        move
        for move in TRANSITIONS
        if move.source in (State.UPLOADED, State.IMPORTED)
        and move.target in (State.PENDING, State.EXHAUSTED, State.SPOOLED)
    ]
    assert {(move.target, move.who) for move in back} == {(State.PENDING, "operator")}


def test_what_wait_ends_at_is_not_on_either_road() -> None:
    assert not SETTLED & AWAY
    assert set(State) == SETTLED | AWAY | {State.PENDING, State.SENDING}


def test_every_move_says_who_makes_it_and_when() -> None:
    for move in TRANSITIONS:
        assert move.who
        assert move.when
    assert may_move(State.PENDING, State.SENDING)
    assert not may_move(State.DELIVERED, State.SENDING)
