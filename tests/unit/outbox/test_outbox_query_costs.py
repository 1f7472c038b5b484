"""What a query costs does not grow with the backlog of one contact: 100 000 entries of one drain as fast as 100.

Counted are the steps of SQLite's virtual machine, which no load on the machine changes. Each query runs on one lane of
few and one of many entries, in each state that the many can be in.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from voyado_async.outbox.migrate import migrate
from voyado_async.outbox.moves import as_json, count_new, refresh
from voyado_async.outbox.queries import load
from voyado_async.outbox.states import State

SQL = load("sqlite")

FEW, MANY = 200, 4_000
AT = 1_700_000_000_000
LATER = AT + 10_000_000
STEP = 20
"""SQLite tells how far it is every so many steps."""

GROW = {
    "counts": "`verify` counts one by one what the counters tell",
    "without_content": "`verify`",
    "contents": "`verify` opens what is sealed",
    "passed_over": "`verify`",
    "unfinished": "`verify`",
    "states_in_lane": "`forget` tells once how much it is about to remove",
    "files_of_lane": "`forget` names once the files of the contact",
    "forgettable_away": "`forget` goes past what is to be withdrawn first",
    "ids_of_lanes": "`list --contact`: in indexes alone, page by page",
    "reasons_that_name": "`forget` looks once for reasons that name the contact, among what a person has to settle",
    "exhausted_lines": "once a step of the fallback: one index is read, and nothing but it",
    "file_of_outage": "once where a file is withdrawn, which has 20 000 entries at most",
    "changes_after": "an operator's replay: once for each 200 entries of a lane",
    "newer_in_force": "what is newer and in force is what was delivered after it: something when an older one is"
    " replayed or its lane joined, and nothing while a lane is drained in its order",
    "in_force_after": "the same, for a file",
}
"""Queries that read much of one lane, and why that is no harm."""


def outbox(state: State, entries: int) -> sqlite3.Connection:
    """One contact with so many updates in that state, and a newer one that waits; beside it another contact."""
    database = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
    migrate(database, ":memory:")
    database.execute("BEGIN")
    database.execute("INSERT INTO meta (name, value) VALUES ('base_url', 'https://engage.test'), ('sender', '1000001')")
    database.execute("INSERT INTO lane (id, key) VALUES (1, 'contact:anna'), (2, 'contact:bo'), (3, 'email:anna')")
    database.execute("INSERT INTO contact (address, id, learned) VALUES ('email:anna', 'anna', ?)", (AT,))
    database.execute(
        "INSERT INTO file (id, name, family, contact_type, match_key_type, state, entries, lines, size, created)"
        " VALUES (1, '1_1_contacts.xml', 'contacts', 'Member', 'contactId', 'uploaded', 1, 1, 1, ?)",
        (AT,),
    )
    file = 1 if state in (State.SPOOLED, State.UPLOADED, State.IMPORTED) else None
    outage = int(state is State.EXHAUSTED)
    released = state in (State.REJECTED, State.DISCARDED)
    database.executemany(
        "INSERT INTO entry (id, lane, kind, state, key, released_key, created, changed, due, outage, file)"
        " VALUES (?, 1, 'contact_update', ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (n, state, None if released else f"k{n}", f"k{n}" if released else None, AT, AT, AT, outage, file)
            for n in range(1, entries + 1)
        ),
    )
    waiting = [(entries + 1, 1, "contact_update", AT, AT, AT), (entries + 2, 2, "receipt", AT, AT, AT)]
    database.executemany(
        "INSERT INTO entry (id, lane, kind, state, created, changed, due) VALUES (?, ?, ?, 'pending', ?, ?, ?)", waiting
    )
    everybody = [(n,) for n in range(1, entries + 3)]
    database.executemany("INSERT INTO body (entry, content) VALUES (?, x'7b7d')", everybody)
    database.executemany(
        "INSERT INTO attempt (entry, number, at, what, outcome, known) VALUES (?, 1, 0, 'request', 'retry', 1)",
        everybody,
    )
    count_new(database)
    refresh(database, [1, 2, 3], AT)
    database.execute("COMMIT")
    return database


def values(name: str, state: State, entries: int) -> Iterator[Mapping[str, Any]]:
    """What the query is asked about: the first, the middle, the last, and the waiting entry of the lane."""
    wanted = set(re.findall(r":(\w+)", SQL[name]))
    for entry in (1, entries // 2, entries, entries + 1):
        stands = state if entry <= entries else State.PENDING
        target = State.REJECTED if name == "settle" else State.PENDING
        given: dict[str, Any] = {
            "id": entry, "ids": as_json([entry]), "entry": entry, "lane": 1, "lanes": "[1]", "target": 3,
            "now": AT + 1, "since": 0, "until": LATER, "before": LATER, "limit": 50, "rank": 1, "far": LATER,
            "action": 1, "file": 1, "key": "contact:anna", "address": "email:anna", "contact": "anna", "kind": "redeem",
            "names": as_json([["contact_update", f"k{entry}", entry, "hash"]]), "hashes": '["hash"]',
            "pairs": as_json([["email:anna", "anna", 0]]), "keys": as_json([["hash", "content", entry, AT]]),
            "heads": as_json([[2, entry, AT, 1]]), "going": as_json([[entry, 1, 1]]),
            "moves": as_json([[entry, stands, target, AT, 1, 0, None, 0, 1]]),
            "lines": as_json([[entry, AT, "request", "retry", None, None, 1, 1]]),
            "entries": as_json([[entry, 1, 1]]), "addresses": as_json(["email:anna"]),
            "error": None, "states": None, "kinds": None, "as_of": 0, "reason": "test", "asked": "1", "name": "name",
            "value": "1", "seen": entries, "first": 0, "last": 10, "count": 1, "size": 10, "problem": None,
            "state": State.IMPORTED, "source": state, "outage_only": 0, "carried": 0, "content": b"{}", "profile": 1,
            "warnings": None, "at": AT, "who": "who", "what": "what", "chosen": "chosen", "family": "contacts",
            "contact_type": "Member", "match_key_type": "contactId", "created": AT, "hash": "hash",
            "after": 0, "upto": FEW, "as_read": 1, "span": 100,
        }  # fmt: skip
        special: dict[str, Any] = {
            "selected": {"lane": "contact:anna"}, "entries": {"lane": "contact:anna"},
            "entries_among": {"lane": "contact:anna"}, "mark": {"lane": "contact:anna"},
            "lanes_of": {"lane": "contact:anna"}, "addresses_of": {"lane": "contact:anna"},
            "purgeable": {"until": FEW}, "lanes_in_use": {"until": FEW}, "history": {"until": 10},
            "changes_after": {"after": entry}, "in_force_after": {"lanes": as_json([[1, entry]])},
            "exhausted_before": {"before": entry + 1},
            "replay": {"moves": as_json([[entry, stands, State.PENDING, 0, None]])},
            "rewrite": {"lane": "contact:bo", "key": None, "lines": 1}, "update_file": {"id": 1, "seen": 0},
            "file_state": {"id": 1}, "mark_complete": {"id": 1}, "mark_incomplete": {"id": 1},
            "move_file_entries": {"target": State.IMPORTED}, "join_lane": {"lane": 3, "target": 1},
            "join_joined": {"lane": 3, "target": 1}, "inherit_rest": {"lane": 3, "target": 1},
            "add_file": {"entries": 1, "lines": 1, "name": "2_2_contacts.xml"},
        }.get(name, {})  # fmt: skip
        yield {one: special.get(one, given.get(one)) for one in wanted}


def steps(database: sqlite3.Connection, sql: str, given: Mapping[str, Any]) -> int:
    """What it costs; nothing of it stays."""
    count = 0

    def on() -> int:
        nonlocal count
        count += 1
        return 0

    database.execute("SAVEPOINT here")
    database.set_progress_handler(on, STEP)
    try:
        database.execute(sql, given).fetchall()
    finally:
        database.set_progress_handler(None, 0)
        database.execute("ROLLBACK TO here")
        database.execute("RELEASE here")
    return count * STEP


NAMES = [name for name in SQL.names() if "?" not in SQL[name]]


@pytest.mark.parametrize("state", [state for state in State if state is not State.SENDING])
def test_no_query_costs_more_where_one_contact_has_more(state: State) -> None:
    few, many = outbox(state, FEW), outbox(state, MANY)
    grew = {}
    for name in NAMES:
        if name in GROW:
            continue
        costs = [
            max(steps(database, SQL[name], given) for given in values(name, state, entries))
            for database, entries in ((few, FEW), (many, MANY))
        ]
        if costs[1] > 1.5 * costs[0] + 5 * STEP:
            grew[name] = costs
    assert grew == {}


def test_what_may_grow_does() -> None:
    """Else it does not belong into the list."""
    grows = set()
    for state in (State.PENDING, State.EXHAUSTED, State.SPOOLED, State.IMPORTED, State.DELIVERED, State.REJECTED):
        few, many = outbox(state, FEW), outbox(state, MANY)
        for name in GROW:
            costs = [
                max(steps(database, SQL[name], given) for given in values(name, state, entries))
                for database, entries in ((few, FEW), (many, MANY))
            ]
            if costs[1] > 5 * costs[0]:
                grows.add(name)
    assert grows == set(GROW)
