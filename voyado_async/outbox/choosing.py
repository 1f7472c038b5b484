"""Which entries fit a filter, without a look at all of them wherever an index knows which ones can.

What is asked for in a night (a state, a code, a contact, since when) costs about what it finds. What no index knows, a
kind alone, is looked for from the newest entry on; a list ends when as many are found as the books tell.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import msgspec

from voyado_async.outbox.looking import counts, first_written, lanes_of, struct_of
from voyado_async.outbox.moves import SQL, as_json, contact_lane
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import State
from voyado_async.outbox.store import EntryFilter, EntryRecord

SPAN = 5_000
"""Entries that one look takes: a few milliseconds of the reader."""

SET_BACK = 86_400_000
"""Ids grow with the time of writing, but where the clock was set back; by more than this (ms) no clock is."""

_BY_STATE = {
    State.PENDING: "ids_waiting",
    State.SENDING: "ids_sending",
    State.REJECTED: "ids_rejected",
    State.EXHAUSTED: "ids_exhausted",
    State.SPOOLED: "ids_left",
    State.UPLOADED: "ids_left",
    State.IMPORTED: "ids_left",
    State.DISCARDED: "ids_discarded",
}
"""The indexes that know which entries are in a state. Nearly all are delivered in the end: of those there is none."""


def sources(which: EntryFilter, most: int) -> frozenset[str]:
    """The queries that together find every entry that can fit; none: only a look at all of them does. `most`: so many
    are of its states and kinds. Pure."""
    indexed = which.states and State.DELIVERED not in which.states
    if (which.contact or which.address) and not (indexed and most <= SPAN):
        return frozenset({"ids_of_lanes"})
    if which.error is not None and not (indexed and most <= SPAN):
        return frozenset({"ids_of_reason", "ids_of_longer_reason"})
    if indexed:
        found = {_BY_STATE[state] for state in which.states}
        return frozenset(found - {"ids_sending"} if "ids_waiting" in found else found)
    return frozenset()


def as_known(which: EntryFilter, seal: Seal) -> EntryFilter:
    """The filter with the address as the database knows it. Pure."""
    return which if which.address is None else msgspec.structs.replace(which, address=seal.lane(which.address))


def chosen(database: sqlite3.Connection, which: EntryFilter) -> Iterator[list[int]]:
    """The ids of the entries that fit, in pieces, each newest first and each one short look; `limit` is not looked at.

    What is written after the first piece was read is not among them. Where several indexes are asked, one comes after
    the other, and an entry that moves meanwhile may come twice.
    """
    return chain.from_iterable(_searches(database, which))


def entries(database: sqlite3.Connection, which: EntryFilter) -> list[EntryRecord]:
    """Entries that fit every part of the filter, newest first."""
    most = _in_the_books(database, which)
    if which.limit is not None:
        most = min(most, which.limit)
    found: list[int] = []
    for search in _searches(database, which):
        # Each may have the newest ones.
        found += islice(chain.from_iterable(search), most)
    found.sort(reverse=True)
    rows = database.execute(SQL["records"], {"ids": as_json(found[:most])}).fetchall()
    return sorted(map(record, rows), key=lambda entry: -entry.id)


def record(row: Sequence[Any]) -> EntryRecord:
    """An entry out of a row of `get` or `records`."""
    return struct_of(EntryRecord, [*row[:-1], msgspec.json.decode(row[-1]) if row[-1] else ()])


def _searches(database: sqlite3.Connection, which: EntryFilter) -> list[Iterator[list[int]]]:
    if which.ids:
        return [_fitting(database, sorted(set(which.ids), reverse=True), which)]
    most = _in_the_books(database, which)
    if not most:
        return []
    after, upto = _bounds(database, which)
    found = sorted(sources(which, most))
    return [_of_source(database, source, which, after, upto) for source in found] or [
        _of_all(database, which, after, upto)
    ]


def _values(database: sqlite3.Connection, which: EntryFilter) -> dict[str, object]:
    lane = which.address if which.contact is None else contact_lane(which.contact)
    lanes = None if lane is None else lanes_of(database, lane, which.contact)
    return {
        "states": as_json(which.states) if which.states else None,
        "kinds": as_json(which.kinds) if which.kinds else None,
        "lanes": None if lanes is None else as_json(sorted(lanes)),
        "error": which.error,
        "since": which.since,
        "until": which.until,
    }


def _bounds(database: sqlite3.Connection, which: EntryFilter) -> tuple[int, int]:
    """After which id and up to which the entries of the asked time are, and perhaps some others."""
    end = int(database.execute(SQL["last_id"]).fetchone()[0]) + 1
    after = 1 if which.since is None else first_written(database, which.since - SET_BACK, 1, end)
    upto = end if which.until is None else first_written(database, which.until + SET_BACK, after, end)
    return after - 1, upto - 1


def _fitting(database: sqlite3.Connection, ids: Sequence[int], which: EntryFilter) -> Iterator[list[int]]:
    values = _values(database, which)
    for start in range(0, len(ids), SPAN):
        rows = database.execute(SQL["fitting"], values | {"ids": as_json(ids[start : start + SPAN])}).fetchall()
        if rows:
            yield sorted((row[0] for row in rows), reverse=True)


def _of_source(
    database: sqlite3.Connection, source: str, which: EntryFilter, after: int, upto: int
) -> Iterator[list[int]]:
    """Larger pieces each time: some of the queries read all there is for each."""
    before, limit = upto + 1, SPAN
    values = _values(database, which)
    while True:
        asked = values | {"before": before, "limit": limit}
        ids = [row[0] for row in database.execute(SQL[source], asked).fetchall()]
        yield from _fitting(database, [entry for entry in ids if entry > after], which)
        if len(ids) < limit or ids[-1] <= after:
            return
        before, limit = ids[-1], 2 * limit


def _of_all(database: sqlite3.Connection, which: EntryFilter, after: int, upto: int) -> Iterator[list[int]]:
    values = _values(database, which)
    while upto > after:
        span = values | {"after": max(after, upto - SPAN), "upto": upto}
        rows = database.execute(SQL["selected"], span).fetchall()
        if rows:
            yield [row[0] for row in rows]
        upto -= SPAN


def _in_the_books(database: sqlite3.Connection, which: EntryFilter) -> int:
    """How many entries of these kinds and states there are."""
    books = counts(database).kinds
    return sum(
        count
        for kind, states in books.items()
        for state, count in states.items()
        if (not which.kinds or kind in which.kinds) and (not which.states or state in which.states)
    )
