"""Every named query fits the schema, is used, and none that runs often reads the backlog."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from children import ROOT

from voyado_async.outbox.migrate import migrate
from voyado_async.outbox.queries import Queries, load

SQL = load("sqlite")

HOT = [
    "around", "holders", "holders_by_nature", "former_holders", "spent_keys", "release_keys",
    "last_id", "add_lanes", "add_entries", "add_bodies", "add_lane", "head_idle",
    "count_new", "counted", "pass",
    "refresh_lanes", "rest_lane", "claim", "next_due", "next_confirmation", "due_since", "lane_of_key",
    "sending_in_lane",
    "lane_of_lane", "lanes_behind_files", "join_lane", "join_joined", "inherit_rest", "mark_sending", "settle",
    "record", "take_over",
    "exhaust_lanes", "follow_heads", "followed", "follow_no_longer",
    "bring_back", "cancel", "exhausted", "as_they_were", "spool_entries", "begin_bulk", "withhold",
    "move_file_entries", "file_of_outage", "files_of_outage",
    "to_confirm", "newer_in_force", "in_force_after", "newer_changes", "whole_lane",
    "attempts", "body", "states_of", "pending_redeems",
    "contact_id", "contact_type", "remember_type", "remember_lane",
    "remember_contact", "told_contact", "fact", "mark", "news_of_contacts", "remember_contacts",
    "unlearn_address", "touch_lane", "forget_ids", "count_forget", "purge_contacts", "written_from", "history",
    "is_forgotten", "selected", "fitting", "records", "standings", "bodies",
    "changes_after", "rivals", "replay", "discard",
    "keep_former_body", "replace_body", "first_body", "rewrite", "count_action", "to_purge",
    "forgettable_settled", "forgettable_waiting", "forgettable_away", "addresses_of", "forget_addresses",
    "forget_lanes", "purge_entries", "purge_bodies", "purge_former_bodies", "purge_attempts",
]  # fmt: skip
"""Run for every write, claim or move, or again and again: flat, however large the backlog is."""


LOOKS = {
    # Tables of some dozens of rows.
    "facts": ["SCAN meta"],
    # And the few hundred entries that are not counted yet.
    "counters": [
        "CO-ROUTINE books",
        "COMPOUND QUERY",
        "LEFT-MOST SUBQUERY",
        "SEARCH counter USING PRIMARY KEY (name=? AND kind=?)",
        "SCALAR SUBQUERY 7",
        "SEARCH entry",
        "UNION ALL",
        "SCAN counter",
        "UNION ALL",
        "MATERIALIZE uncounted",
        "SEARCH entry USING INTEGER PRIMARY KEY (rowid>?)",
        "SCALAR SUBQUERY 4",
        "SEARCH counter USING PRIMARY KEY (name=? AND kind=?)",
        "USE TEMP B-TREE FOR GROUP BY",
        "SEARCH counter USING PRIMARY KEY (name=?)",
        "SEARCH uncounted USING AUTOMATIC COVERING INDEX (kind=?) LEFT-JOIN",
        "SCAN books",
    ],
    # A partial index that holds only what is under way in this very moment.
    "sending_count": ["SCAN entry USING INDEX entry_sending", "USE TEMP B-TREE FOR GROUP BY"],
    # In the order of ids, up to a limit: an index of exactly these, or the table from its end.
    "oldest_pending": [
        "SEARCH entry USING INTEGER PRIMARY KEY (rowid>?)",
        "SCALAR SUBQUERY 1",
        "SEARCH counter USING PRIMARY KEY (name=? AND kind=?)",
    ],
    "look_waiting": [
        "SEARCH lane USING INDEX lane_due (rank=?)",
        "SEARCH entry USING INTEGER PRIMARY KEY (rowid=?)",
    ],
    "look_exhausted": ["SCAN entry USING INDEX entry_exhausted"],
    "look_rejected": ["SCAN entry USING INDEX entry_refused"],
    "look_unconfirmed": ["SEARCH entry USING INDEX entry_reason (reason=?)"],
    "look_imported": ["SEARCH entry USING INDEX entry_imported (profile=?)"],
    "newest": ["SCAN entry"],
}
"""What status, metrics and the page ask, every few seconds: never more than these steps, each with an end."""


@pytest.fixture(scope="module")
def database() -> sqlite3.Connection:
    """Without statistics, as an outbox is on its first day and ever after."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    migrate(made, ":memory:")
    return made


def plan(database: sqlite3.Connection, sql: str) -> list[str]:
    named = {name: None for name in re.findall(r":(\w+)", sql)}  # noqa: C420 - a plain dict is what sqlite3 takes
    values: object = named or [None] * sql.count("?")
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]  # type: ignore[arg-type] # both forms are taken


@pytest.mark.parametrize("name", SQL.names())
def test_every_query_fits_the_schema(database: sqlite3.Connection, name: str) -> None:
    plan(database, SQL[name])


def test_the_lines_that_wait_for_a_file_are_counted_in_an_index_alone(database: sqlite3.Connection) -> None:
    assert plan(database, SQL["exhausted_lines"]) == ["SCAN entry USING COVERING INDEX entry_exhausted"]


@pytest.mark.parametrize("name", HOT)
def test_hot_queries_never_scan_and_never_sort_what_grows(database: sqlite3.Connection, name: str) -> None:
    steps = plan(database, SQL[name])
    scans = [
        step
        for step in steps
        if re.match(r"SCAN (?!json_each|wanted|new|going|move\b|line\b|pair\b|written|touched)", step)
    ]
    allowed = {
        # Over derived rows of one batch, or a single constant row.
        "SCAN members", "SCAN whole", "SCAN heads", "SCAN free", "SCAN facts", "SCAN CONSTANT ROW",
        "SCAN 2 CONSTANT ROWS", "SCAN earliest",
        "SCAN mine",
        # At most as many of each as are asked for, in the order of an index.
        "SCAN others", "SCAN changes", "SCAN ready", "SCAN waiting", "SCAN gone", "SCAN force",
        # A partial index that holds only what is under way in this very step.
        "SCAN entry USING INDEX entry_sending", "SCAN lane USING INDEX lane_follows",
        # A partial index that holds only what is taken, up to the limit of a chunk.
        "SCAN entry USING INDEX entry_outage",
        # Whether there is one at all: the first row of a partial index answers.
        "SCAN lane USING INDEX lane_held", "SCAN spent_key", "SCAN entry USING INDEX entry_changes_left",
        # One row for each kind of the few hundred entries that are not counted yet.
        "SCAN uncounted",
    }  # fmt: skip
    assert [step for step in scans if step not in allowed] == []
    sorts = [step for step in steps if "TEMP B-TREE" in step]
    # Over the entries of one batch: which lanes are touched.
    small = {
        "former_holders": "GROUP BY",
        "count_new": "GROUP BY",
        "refresh_lanes": "DISTINCT|GROUP BY",
        "exhaust_lanes": "DISTINCT",
        "to_confirm": "ORDER BY",
    }
    assert [step for step in sorts if not re.search(small.get(name, "never"), step)] == []


CHOOSING = {
    "ids_rejected": ["SEARCH entry USING INDEX entry_refused (id<?)"],
    "ids_discarded": ["SEARCH entry USING INDEX entry_dropped (id<?)"],
    "ids_exhausted": ["SEARCH entry USING COVERING INDEX entry_exhausted (id<?)"],
    "ids_waiting": [
        "SEARCH entry USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        "SCALAR SUBQUERY 1",
        "SEARCH counter USING PRIMARY KEY (name=? AND kind=?)",
    ],
    "ids_sending": ["SEARCH entry USING INDEX entry_sending (id<?)"],
    "ids_of_reason": ["SEARCH entry USING COVERING INDEX entry_reason (reason=? AND id<?)"],
    "ids_of_longer_reason": [
        "SEARCH entry USING COVERING INDEX entry_reason (reason>? AND reason<?)",
        "USE TEMP B-TREE FOR ORDER BY",
    ],
    "ids_left": ["SEARCH entry USING INDEX entry_left (id<?)"],
    "ids_of_file": [
        "SEARCH entry USING COVERING INDEX entry_file (file=? AND id<?)",
        "SCALAR SUBQUERY 1",
        "SEARCH file USING COVERING INDEX sqlite_autoindex_file_1 (name=?)",
    ],
    "selected": ["SEARCH entry USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
}
"""How the entries of a filter are found: in an index of those that can fit, or span by span."""


@pytest.mark.parametrize("name", CHOOSING)
def test_a_filter_is_answered_out_of_an_index_of_what_can_fit(database: sqlite3.Connection, name: str) -> None:
    steps = [step for step in plan(database, SQL[name]) if "LIST SUBQUERY" not in step]
    assert [step for step in steps if "json_each" not in step] == CHOOSING[name]


def test_the_entries_of_a_contact_are_found_in_indexes_of_lanes_alone(database: sqlite3.Connection) -> None:
    steps = [step for step in plan(database, SQL["ids_of_lanes"]) if step.startswith("SEARCH entry")]
    found = sorted(step.split(" INDEX ")[1] for step in steps)
    assert found == ["entry_away (lane=?)", "entry_settled (lane=?)", "entry_waiting (lane=?)"]


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_asked_every_few_seconds_reads_nothing_that_grows(database: sqlite3.Connection, name: str) -> None:
    assert plan(database, SQL[name]) == LOOKS[name]
    if name not in ("facts", "counters", "sending_count"):
        assert re.search(r"LIMIT (1|:limit);?$", SQL[name])


def test_a_claim_reads_lanes_in_the_order_of_its_index(database: sqlite3.Connection) -> None:
    steps = plan(database, SQL["claim"])
    assert steps[0] == "SEARCH lane USING INDEX lane_due (rank=? AND due>? AND due<?)"


def test_every_query_is_used_and_every_name_that_is_used_exists() -> None:
    code = "\n".join(file.read_text() for file in sorted((ROOT / "voyado_async").rglob("*.py")))
    for name in SQL.names():
        assert re.search(rf'"{name}"', code), name


def test_every_query_says_what_it_guarantees() -> None:
    text = (ROOT / "voyado_async/outbox/sqlite.sql").read_text()
    for name in SQL.names():
        assert re.search(rf"^-- name: {name}\n-- \S", text, re.MULTILINE), name


def test_no_sql_stands_in_strings_outside_the_sql_file() -> None:
    """But PRAGMA, BEGIN and the like, the migrations' own bookkeeping, and what verifies or fills the file itself."""
    words = re.compile(r"\"(SELECT|INSERT|UPDATE|DELETE) ")
    for file in (ROOT / "voyado_async").rglob("*.py"):
        if file.name not in ("migrate.py", "verify.py", "writer.py") and "sandbox" not in file.parts:
            assert not words.search(file.read_text()), file


def test_an_unknown_name_is_an_error_at_once() -> None:
    with pytest.raises(KeyError):
        SQL["no_such_query"]


def test_two_queries_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="one"):
        Queries("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")


def test_an_insert_takes_several_rows_with_its_conflict_clause_once() -> None:
    queries = Queries(
        "-- name: add\n-- Says why.\nINSERT INTO t (a, b) VALUES (?, max(?, 1)) ON CONFLICT (a) DO NOTHING;"
    )
    assert queries.with_rows("add", 2) == (
        "INSERT INTO t (a, b) VALUES (?, max(?, 1)), (?, max(?, 1)) ON CONFLICT (a) DO NOTHING;"
    )
    with pytest.raises(ValueError, match="VALUES"):
        Queries("-- name: look\nSELECT 1;").with_rows("look", 2)


@pytest.mark.parametrize("name", ["around", "add_lanes", "add_entries", "add_bodies"])
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_queries_of_many_rows_fit_the_schema(database: sqlite3.Connection, name: str, rows: int) -> None:
    sql = SQL.with_rows(name, rows)
    assert sql.count("?") == rows * SQL[name].count("?")
    plan(database, sql)


def test_the_file_of_migration_one_lies_where_the_wheel_takes_it_from() -> None:
    assert Path(ROOT / "migrations/sqlite/0001_outbox.sql").is_file()
