"""Which entries fit a filter, without a look at all of them wherever an index knows which ones can.

What is asked for in a night (a state, a code, a contact, a file, since when) costs about what it finds. What no index
knows, a kind alone, is looked for from the newest entry on; it ends when as many are found as the books tell, and for
who only looks (`listed`) after `LOOKED_BACK` entries.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import msgspec

from voyado_async.outbox.looking import counts, first_written, lanes_of, struct_of
from voyado_async.outbox.moves import SQL, as_json, contact_lane
from voyado_async.outbox.records import EntryFilter, EntryRecord
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import State

SPAN = 5_000
"""Entries that one look takes: a few milliseconds of the reader."""

LOOKED_BACK = 50_000
"""Entries that a list looks at where an index knows only in part which ones fit: some 50 ms. What is older is left for
the next one."""

IN_ORDER = 4
"""So many are looked at one after the other in the time that one costs which an index names."""

SET_BACK = 86_400_000
"""Ids grow with the time of writing, but where the clock was set back; by more than this (ms) no clock is."""


class Listing(NamedTuple):
    """Entries that fit, newest first."""

    entries: list[EntryRecord]
    looked_back_to: int | None = None
    """What was written before (ms, a whole second) was not looked at, and there may be more of them. None: there are no
    others, or as many were found as were wanted."""


class _Looks:
    """How many entries the searches may look at together; without a number all."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._taken = 0
        self.newest = 0
        """What is above was written after the asked time, but for a clock that was set back: it does not count."""
        self.ended: int | None = None
        """The id below which not everything was looked at."""

    def end(self, taken: int, lowest: int) -> bool:
        """Whether it is enough after so many more, down to this id."""
        if self._most is None or lowest > self.newest:
            return False
        self._taken += taken
        if self._taken < self._most:
            return False
        self.ended = max(lowest, self.ended or 0)
        return True


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
    if which.file is not None:
        return frozenset({"ids_of_file"})
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
    return chain.from_iterable(_searches(database, which, _Looks()))


def entries(database: sqlite3.Connection, which: EntryFilter) -> list[EntryRecord]:
    """Entries that fit every part of the filter, newest first."""
    return _newest(database, _searches(database, which, _Looks()), _most(database, which))


def listed(database: sqlite3.Connection, which: EntryFilter) -> Listing:
    """As `entries`, but in bounded time, whatever is asked for and however much there is: it may not look at all."""
    looks, most = _Looks(LOOKED_BACK), _most(database, which)
    found = _newest(database, _searches(database, which, looks), most)
    # One search may have gone further back than another.
    found = [entry for entry in found if entry.id >= (looks.ended or 0)]
    if looks.ended is None or len(found) == most:
        return Listing(found)
    written = int(database.execute(SQL["written_from"], {"id": looks.ended}).fetchone()[1])
    return Listing(found, (written // 1000 + 1) * 1000)


def _most(database: sqlite3.Connection, which: EntryFilter) -> int:
    """So many can be found and are wanted."""
    most = _in_the_books(database, which)
    return most if which.limit is None else min(most, which.limit)


def _newest(database: sqlite3.Connection, searches: Sequence[Iterator[list[int]]], most: int) -> list[EntryRecord]:
    found: list[int] = []
    for search in searches:
        # Each may have the newest ones.
        found += islice(chain.from_iterable(search), most)
    found.sort(reverse=True)
    rows = database.execute(SQL["records"], {"ids": as_json(found[:most])}).fetchall()
    return sorted(map(record, rows), key=lambda entry: -entry.id)


def record(row: Sequence[Any]) -> EntryRecord:
    """An entry out of a row of `records`."""
    return struct_of(EntryRecord, [*row[:-1], msgspec.json.decode(row[-1]) if row[-1] else ()])


def _searches(database: sqlite3.Connection, which: EntryFilter, looks: _Looks) -> list[Iterator[list[int]]]:
    if which.ids:
        return [_fitting(database, sorted(set(which.ids), reverse=True), which)]
    most = _in_the_books(database, which)
    if not most:
        return []
    after, upto = _bounds(database, which)
    # A second earlier, which a look goes back at least: the next one begins before this one.
    last = None if which.until is None else which.until - 1000
    looks.newest = upto if last is None else first_written(database, last, after + 1, upto + 1) - 1
    found = sorted(sources(which, most))
    return [_of_source(database, source, which, after, upto, looks) for source in found] or [
        _of_all(database, which, after, upto, looks)
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
        "file": which.file,
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
    database: sqlite3.Connection, source: str, which: EntryFilter, after: int, upto: int, looks: _Looks
) -> Iterator[list[int]]:
    """Larger pieces each time: some of the queries read all there is for each."""
    before, limit = upto + 1, SPAN
    values = _values(database, which)
    while True:
        asked = values | {"before": before, "limit": limit}
        ids = [row[0] for row in database.execute(SQL[source], asked).fetchall()]
        yield from _fitting(database, [entry for entry in ids if entry > after], which)
        if len(ids) < limit or ids[-1] <= after or looks.end(len(ids), ids[-1]):
            return
        before, limit = ids[-1], 2 * limit


def _of_all(
    database: sqlite3.Connection, which: EntryFilter, after: int, upto: int, looks: _Looks
) -> Iterator[list[int]]:
    values = _values(database, which)
    while upto > after:
        span = values | {"after": max(after, upto - SPAN), "upto": upto}
        rows = database.execute(SQL["selected"], span).fetchall()
        if rows:
            yield [row[0] for row in rows]
        upto -= SPAN
        if upto > after and looks.end(SPAN // IN_ORDER, upto + 1):
            return


def _in_the_books(database: sqlite3.Connection, which: EntryFilter) -> int:
    """How many entries of these kinds and states there are."""
    books = counts(database).kinds
    return sum(
        count
        for kind, states in books.items()
        for state, count in states.items()
        if (not which.kinds or kind in which.kinds) and (not which.states or state in which.states)
    )
