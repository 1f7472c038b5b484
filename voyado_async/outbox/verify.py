"""Is the outbox what it should be? One read transaction, nothing is changed.

Where each lane stands is worked out again here from the rules (DESIGN 3, "Order"), not with the statement that the
store keeps lanes by: what agrees with its own mistakes proves nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from voyado_async.delivery import REDEMPTIONS, Kind
from voyado_async.outbox.looking import WAITING
from voyado_async.outbox.moves import SQL
from voyado_async.outbox.records import Finding
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import AWAY, State

FEW = 10
"""So many places are named in a finding."""

CHANGES = frozenset({Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE})


class Unfinished(NamedTuple):
    """An entry that still has a way to go."""

    id: int
    kind: str
    state: str
    due: int


class Lane(NamedTuple):
    """Where a lane stands."""

    head: int | None
    due: int | None
    rank: int
    hold: int
    behind: int
    confirms: int | None = None
    confirm_due: int | None = None


def lane_should_be(entries: Iterable[Unfinished], rest_until: int) -> Lane:
    """Where a lane has to stand, given the unfinished entries of all that are joined to it, in any order. Pure."""
    by_age = sorted(entries)
    waiting = [entry for entry in by_age if entry.state in (State.PENDING, State.SENDING)]
    away = [entry for entry in by_age if entry.state in AWAY]
    creation = min((entry.id for entry in away if entry.kind == Kind.CONTACT_CREATE), default=None)
    change = min((entry.id for entry in away if entry.kind in CHANGES), default=None)

    def is_held(entry: Unfinished) -> bool:
        by_creation = creation is not None and entry.id > creation
        return by_creation or (entry.kind in CHANGES and change is not None and entry.id > change)

    head = next((entry for entry in waiting if not is_held(entry)), None)
    hold = 2 if creation is not None else 1 if change is not None else 0
    # The newest value has the last word: what is not the oldest of the contact's unfinished changes is not confirmed.
    oldest = next((entry for entry in by_age if entry.kind in CHANGES), None)
    if oldest is None or oldest.state != State.IMPORTED or (creation is not None and creation < oldest.id):
        oldest = None
    confirms, confirm_due = (None, None) if oldest is None else (oldest.id, oldest.due)
    if head is None:
        return Lane(None, None, 1, hold, int(bool(waiting)), confirms, confirm_due)
    due = max(head.due, rest_until)
    return Lane(head.id, due, int(head.kind not in REDEMPTIONS), hold, 0, confirms, confirm_due)


def verify(database: sqlite3.Connection, seal: Seal) -> list[Finding]:
    """Every check, in one snapshot of the database."""
    database.execute("BEGIN")
    try:
        found = [check(database) for check in (_integrity, _references, _accounting, _counters, _contents, _lanes)]
        return [*found, _seals(database, seal)] if seal.on else found
    finally:
        database.execute("COMMIT")


def _integrity(database: sqlite3.Connection) -> Finding:
    try:
        told = [str(row[0]) for row in database.execute("PRAGMA integrity_check(10)").fetchall()]
    except sqlite3.DatabaseError as error:
        told = [str(error)]
    return Finding("integrity", told == ["ok"], "; ".join(told))


def _references(database: sqlite3.Connection) -> Finding:
    broken = [f"{table} row {row}" for table, row, *_ in database.execute("PRAGMA foreign_key_check").fetchall()]
    return _finding("references", broken, "every row refers to rows that exist")


def _accounting(database: sqlite3.Connection) -> Finding:
    total = sum(row[2] for row in database.execute(SQL["counts"]).fetchall())
    books = {name: value for name, kind, value in database.execute(SQL["counters"]).fetchall() if not kind}
    gone = books["purged"] + books["forgotten"]
    told = f"{books['enqueued']} enqueued, {total} here, {gone} purged or forgotten"
    return Finding("accounting", books["enqueued"] == total + gone, told)


def _counters(database: sqlite3.Connection) -> Finding:
    """Counts are told from rows that every move keeps; here they are counted."""
    told = {(name, kind): value for name, kind, value in database.execute(SQL["counters"]).fetchall() if kind}
    counted = dict.fromkeys(told, 0)
    for kind, state, count in database.execute(SQL["counts"]).fetchall():
        name = WAITING if state in (State.PENDING, State.SENDING) else state
        counted[name, kind] = counted.get((name, kind), 0) + count
    wrong = [
        f"{told.get(place, 'no row')} {kind} {name} are told, {count} are there"
        for place, count in counted.items()
        for name, kind in [place]
        if told.get(place) != count
    ]
    wrong += [f"entry {row[0]} waits, and is passed over" for row in database.execute(SQL["passed_over"]).fetchall()]
    return _finding("counters", wrong, "as many entries of each kind are in each state as the counters tell")


def _contents(database: sqlite3.Connection) -> Finding:
    bare = [f"entry {row[0]}" for row in database.execute(SQL["without_content"]).fetchall()]
    return _finding("contents", bare, "every entry that is not final has its content")


def _seals(database: sqlite3.Connection, seal: Seal) -> Finding:
    shut = [
        f"entry {entry}" for entry, content in database.execute(SQL["contents"]) if not seal.content(entry, content)
    ]
    return _finding("seals", shut, "every sealed content is whole, and its own entry's")


def _lanes(database: sqlite3.Connection) -> Finding:
    entries: dict[int, list[Unfinished]] = {}
    for lane, *columns in database.execute(SQL["unfinished"]).fetchall():
        entries.setdefault(lane, []).append(Unfinished(*columns))
    wrong = []
    rows = database.execute(SQL["lanes"]).fetchall()
    joins = {lane: joined for lane, *_, joined in rows if joined is not None}
    for lane, *where, rest_until, joined in rows:
        mine = entries.pop(lane, [])
        stands = Lane(*where)
        idle = (stands.head, stands.hold, stands.behind, stands.confirms) == (None, 0, 0, None)
        if joined is not None and (joined in joins or not idle):
            wrong.append(f"lane {lane} became part of lane {joined}, which does not have the turn of both")
        elif joined is None and stands != (right := lane_should_be(mine, rest_until)):
            wrong.append(f"lane {lane} stands at {_told(stands)} instead of {_told(right)}")
    wrong += [f"lane {lane} is missing" for lane in entries]
    return _finding("lanes", wrong, f"each of {len(rows)} lanes stands where its entries say")


def _told(lane: Lane) -> str:
    told = f"entry {lane.head}, due {lane.due}, behind {lane.behind}, rank {lane.rank}, hold {lane.hold}"
    return told if lane.confirms is None else f"{told}, confirms {lane.confirms}, due {lane.confirm_due}"


def _finding(check: str, wrong: list[str], right: str) -> Finding:
    if not wrong:
        return Finding(check, True, right)
    more = f"; and {len(wrong) - FEW} more" if len(wrong) > FEW else ""
    return Finding(check, False, "; ".join(wrong[:FEW]) + more)
