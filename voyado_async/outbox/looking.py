"""The reads behind `counts` and `overview`, each inside one snapshot of the database.

They are asked for often (a page, metrics, a status that is watched), so none of them may read what grows: counts come
from counter rows, the oldest from a mark or an index in the order of ids, reasons from a few entries of each state.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from voyado_async.outbox.moves import SQL, contact_lane
from voyado_async.outbox.operator_store import Action
from voyado_async.outbox.overview import SPAN, FileTotals, Flow, Overview, Standing
from voyado_async.outbox.records import BreakerRecord, Counts, DrainerRecord, FileRecord
from voyado_async.outbox.states import State

T = TypeVar("T", bound=msgspec.Struct)

LOOKED_AT = 200
"""So many entries of a state are asked for their reasons."""

COUNTED = 50_000
"""So many entries are counted by the file in which they wait: some 20 ms."""

WAITING = "waiting"
"""The counter of `pending` and `sending` together."""

_OPEN = (State.SPOOLED, State.UPLOADED)


def struct_of(kind: type[T], row: Sequence[Any]) -> T:
    """A row whose columns stand in the order of the struct's fields. SQLite's 0 and 1 become booleans."""
    return msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=False)), kind, strict=False)


def counts(database: sqlite3.Connection) -> Counts:
    """The books, from the rows that every move keeps."""
    books: dict[str, int] = {}
    kinds: dict[str, dict[str, int]] = {}
    sending = dict(database.execute(SQL["sending_count"]).fetchall())
    for name, kind, value in database.execute(SQL["counters"]).fetchall():
        if not kind:
            books[name] = value
        elif name == WAITING:
            under_way = sending.get(kind, 0)
            kinds.setdefault(kind, {}).update({State.PENDING.value: value - under_way, State.SENDING.value: under_way})
        else:
            kinds.setdefault(kind, {})[name] = value
    oldest = database.execute(SQL["oldest_pending"]).fetchone()
    return Counts(
        states={state.value: sum(by.get(state, 0) for by in kinds.values()) for state in State},
        kinds={
            kind: {state: count for state, count in by.items() if count}
            for kind, by in kinds.items()
            if any(by.values())
        },
        enqueued=books["enqueued"],
        purged=books["purged"],
        forgotten=books["forgotten"],
        oldest_pending=oldest[0] if oldest else None,
    )


def overview(database: sqlite3.Connection, now: int, spans: int) -> Overview:
    """Everything at once; the history of so many spans, the one of this moment included."""
    found = counts(database)
    facts = dict(database.execute(SQL["facts"]).fetchall())
    newest = database.execute(SQL["newest"]).fetchone()
    breaker, drainer = facts.get("breaker"), facts.get("drainer")
    return Overview(
        counts=found,
        standing=_standing(database, found.oldest_pending, now),
        due_since=earliest(database, "due_since"),
        last_enqueued=newest[0] if newest else None,
        unconfirmed=[row[0] for row in database.execute(SQL["look_unconfirmed"], {"limit": LOOKED_AT}).fetchall()],
        files=[struct_of(FileTotals, row) for row in database.execute(SQL["file_totals"]).fetchall()],
        open_files=files(database, open_only=True),
        files_of_outage=frozenset(row[0] for row in database.execute(SQL["files_of_outage"]).fetchall()),
        breaker=None if breaker is None else msgspec.json.decode(breaker, type=BreakerRecord),
        drainer=None if drainer is None else msgspec.json.decode(drainer, type=DrainerRecord),
        base_url=facts.get("base_url"),
        flow=flow(database, found.enqueued, now, spans),
    )


def stands_behind(database: sqlite3.Connection, entry_id: int) -> int | None:
    """The entry of its contact before which an entry that is pending cannot be sent; 0: what left by file. None where
    it is its turn, or it isn't pending."""
    turn = database.execute(SQL["turn_of"], {"id": entry_id}).fetchone()
    if turn is None or turn[0] == entry_id:
        return None
    return turn[0] or 0


def files(database: sqlite3.Connection, *, open_only: bool) -> list[FileRecord]:
    """The fallback files, oldest first; or those that have not wholly left. A day of outage makes some dozens."""
    rows = database.execute(SQL["open_files" if open_only else "files"]).fetchall()
    return [struct_of(FileRecord, row) for row in rows]


def waiting_in_files(database: sqlite3.Connection) -> dict[int, int] | None:
    """How many entries of each file still wait for it to leave, for Engage's import or for their confirmation, by the
    file's id. None where there are more than a short look takes."""
    rows = database.execute(SQL["waiting_in_files"], {"limit": COUNTED + 1}).fetchall()
    return None if sum(count for _, count in rows) > COUNTED else {file: count for file, count in rows if file}


def actions(database: sqlite3.Connection, *, limit: int) -> list[Action]:
    """What operators did, newest first."""
    return [struct_of(Action, row) for row in database.execute(SQL["actions"], {"limit": limit}).fetchall()]


def lanes_of(database: sqlite3.Connection, lane: str, contact_id: str | None) -> set[int]:
    """The lanes of a contact that is named by one of them, and by its id where that is known: with those of every
    address that stands for it."""
    who = {"lane": lane, "contact": contact_id}
    lanes = {row[0] for row in database.execute(SQL["lanes_of"], who).fetchall()}
    for contact in {str(row[1]) for row in database.execute(SQL["addresses_of"], who).fetchall()}:
        also = {"lane": contact_lane(contact), "contact": contact}
        lanes |= {row[0] for row in database.execute(SQL["lanes_of"], also).fetchall()}
    return lanes


def next_due(database: sqlite3.Connection, now: int) -> int | None:
    """When the next lane or the next confirmation is due, of those that are not yet."""
    confirmation = database.execute(SQL["next_confirmation"], {"now": now}).fetchone()[0]
    return _first(earliest(database, "next_due", now=now), confirmation)


def earliest(database: sqlite3.Connection, query: str, **values: object) -> int | None:
    """The earlier of the two ranks' moments."""
    return _first(*(database.execute(SQL[query], {"rank": rank, **values}).fetchone()[0] for rank in (0, 1)))


def _first(*moments: int | None) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _standing(database: sqlite3.Connection, oldest: int | None, now: int) -> dict[str, Standing]:
    """The states in which entries wait, by name; none where nothing does. `oldest` is when the first of those that wait
    for the API was written."""
    found: dict[str, Standing] = {}
    if oldest is not None:
        heads = [
            row
            for rank in (0, 1)
            for row in database.execute(SQL["look_waiting"], {"rank": rank, "limit": LOOKED_AT}).fetchall()
        ]
        due = earliest(database, "next_due", now=now)
        found[WAITING] = Standing(oldest, _by_frequency(row[0] for row in heads), due)
    for state, query in ((State.EXHAUSTED, "look_exhausted"), (State.REJECTED, "look_rejected")):
        rows = database.execute(SQL[query], {"limit": LOOKED_AT}).fetchall()
        if rows:
            found[state.value] = Standing(min(row[0] for row in rows), _by_frequency(row[1] for row in rows), None)
    halves = [database.execute(SQL["look_imported"], {"profile": profile}).fetchone() for profile in (0, 1)]
    if imported := [row for row in halves if row is not None]:
        due, _, created = min(imported)
        found[State.IMPORTED.value] = Standing(created, {}, due)
    return found


def _by_frequency(reasons: Any) -> dict[str, int]:
    frequency: dict[str, int] = {}
    for reason in reasons:
        if reason is not None:
            frequency[reason] = frequency.get(reason, 0) + 1
    return dict(sorted(frequency.items(), key=lambda item: -item[1]))


def flow(database: sqlite3.Connection, enqueued: int, now: int, spans: int) -> list[Flow]:
    """What was written and what came where, span by span.

    Ids are given in the order of writing and none is left out, so how much was written in a span is the distance of two
    ids, found by halving: writing needs no clockwork of its own for it. A clock that was set back blurs it.
    """
    last = now // SPAN
    first = last - spans + 1
    moved: dict[int, dict[str, int]] = {span: {} for span in range(first, last + 1)}
    for span, name, value in database.execute(SQL["history"], {"first": first, "last": last}).fetchall():
        moved[span][name] = value
    edges = []
    lowest = 1
    for span in range(first, last + 1):
        lowest = first_written(database, span * SPAN, lowest, enqueued + 1)
        edges.append(lowest)
    edges.append(enqueued + 1)
    return [Flow(span * SPAN, edges[i + 1] - edges[i], moved[span]) for i, span in enumerate(moved)]


def first_written(database: sqlite3.Connection, since: int, lowest: int, end: int) -> int:
    """The first id of those from `lowest` up to `end` that was written at `since` or later; `end` where none was."""
    while lowest < end:
        middle = (lowest + end) // 2
        row = database.execute(SQL["written_from"], {"id": middle}).fetchone()
        if row is None or row[1] >= since:
            end = middle
        else:
            lowest = row[0] + 1
    return lowest
