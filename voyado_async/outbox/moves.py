"""What happens inside one transaction of the SQLite store: plain functions of a connection.

They run on the writer's thread, between BEGIN IMMEDIATE and COMMIT, and know nothing of asyncio. Each works on a whole
batch with a handful of statements: every statement gives the interpreter's lock away and may wait 5 ms to get it back
(PERFORMANCE 2e).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from voyado_async.delivery import Kind, Message
from voyado_async.outbox.queries import load
from voyado_async.outbox.records import Asked, AsRead, Attempt, Settlement
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import State, may_move

SQL = load("sqlite")

_encode = msgspec.json.Encoder().encode

LONGEST_DELAY = 90 * 60 * 1000
"""A due time further away than this (ms) can only come from a clock that was set back, and is due now. The longest
legal delay is a Retry-After of an hour with its jitter."""

FOREVER = 1 << 62
"""Later than any moment (ms)."""

PASSED_SPAN = 20_000
"""Ids that are passed at a time, in a few milliseconds, where the first of many stops waiting."""

CONTACT = "contact:"
"""Lanes of contacts whose id is known begin with it."""


def contact_lane(contact_id: str) -> str:
    """The lane of a contact. Ids are GUIDs in either case (ref 6.8)."""
    return CONTACT + contact_id.lower()


def as_json(value: object) -> str:
    """A set of values as one argument."""
    return _encode(value).decode()


def written(connection: sqlite3.Connection, entry_id: int, seal: Seal) -> bytes:
    """The content of an entry as it was written, whatever became of it since."""
    row = connection.execute(SQL["first_body"], {"id": entry_id}).fetchone()
    return seal.content(entry_id, (row or connection.execute(SQL["body"], {"id": entry_id}).fetchone())[0])


def run(connection: sqlite3.Connection, *, query: str, values: Mapping[str, object]) -> list[Any]:
    """A transaction that is one statement."""
    return connection.execute(SQL[query], values).fetchall()


def refresh(connection: sqlite3.Connection, lanes: Iterable[int], now: int) -> None:
    """Put lanes right after a move, and the mark of where waiting begins. A rest that ends further away than any may
    (the clock was set back) is over: it would make every later due time of its lane count for nothing."""
    connection.execute(SQL["refresh_lanes"], {"lanes": as_json(list(lanes)), "far": now + LONGEST_DELAY})
    connection.execute(SQL["pass"], {"span": PASSED_SPAN})


def count_new(connection: sqlite3.Connection) -> None:
    """Bring the counters up to the newest entry. Who removes entries does this first: no id is ever given again."""
    connection.execute(SQL["count_new"])
    connection.execute(SQL["counted"])


def record(connection: sqlite3.Connection, lines: Sequence[tuple[int, Attempt]]) -> None:
    """Write lines into the records of entries, at most one per entry."""
    if lines:
        rows = [(entry, a.at, a.what, a.outcome, a.status, a.code, a.duration_ms, int(a.known)) for entry, a in lines]
        connection.execute(SQL["record"], {"lines": as_json(rows)})


def mark_sending(connection: sqlite3.Connection, going: Sequence[tuple[int, AsRead | None]], now: int) -> list[bool]:
    """For each of the entries: whether its request goes out now. Asked twice, once.

    What was claimed may be of the past. Each of these has come wholly before the mark or comes wholly after it; after
    it, the entry is `sending`, and nobody but the drainer moves it:

    - it was cancelled, discarded, exhausted or forgotten: it is not `pending`;
    - it is `pending` again after that, or was replayed where it stood: its record is longer. Its content may have lost
      fields since, and what it was claimed as may say that no request of it was ever sent;
    - its lane was joined to another: it is not the head of both, or what newer entries of both have set is not known;
    - the same claim, or an older one of the same entry, asks as well: the state lets one of them win.

    Whoever is refused hands the entry back, and it is claimed as it is now.
    """
    won = [False] * len(going)
    for places in _rounds([entry_id for entry_id, _ in going]):
        some = as_json([(going[place][0], *(going[place][1] or (None, None))) for place in places])
        marked = {row[0] for row in connection.execute(SQL["mark_sending"], {"going": some, "now": now}).fetchall()}
        for place in places:
            won[place] = going[place][0] in marked
    return won


def _rounds(ids: Sequence[int]) -> Iterator[list[int]]:
    """The places of these ids, so that none stands twice among those that go together: of two movers of one entry only
    one can win. In their order."""
    left = list(range(len(ids)))
    while left:
        first: dict[int, int] = {}
        for place in left:
            first.setdefault(ids[place], place)
        yield list(first.values())
        done = set(first.values())
        left = [place for place in left if place not in done]


def settle(connection: sqlite3.Connection, settlements: Sequence[Settlement], now: int) -> list[bool]:
    """Move entries, in the order given, and put their lanes right. For each settlement: whether it moved its entry."""
    for move in settlements:
        assert move.source == move.target or may_move(move.source, move.target), (move.source, move.target)
    won = [False] * len(settlements)
    for places in _rounds([settlement.id for settlement in settlements]):
        moved = _settle_once(connection, [settlements[place] for place in places], now)
        for place in places:
            won[place] = settlements[place].id in moved
    return won


def _settle_once(connection: sqlite3.Connection, settlements: Sequence[Settlement], now: int) -> set[int]:
    """Move different entries. Returns the ids that moved."""
    rows = [
        (s.id, s.source, s.target, s.due, s.slots, int(s.unknown), s.reason, int(s.outage), s.lines)
        for s in settlements
    ]
    moved = dict(connection.execute(SQL["settle"], {"moves": as_json(rows), "now": now}).fetchall())
    record(connection, [(s.id, s.attempt) for s in settlements if s.attempt is not None and s.id in moved])
    for s in settlements:
        if s.rest_until and s.id in moved:
            connection.execute(SQL["rest_lane"], {"lane": moved[s.id], "until": s.rest_until})
        if s.contact_id is not None and s.id in moved:
            connection.execute(SQL["remember_lane"], {"lane": moved[s.id], "id": s.contact_id, "now": now})
            if s.contact_type is not None:
                typed = {"address": contact_lane(s.contact_id), "id": s.contact_id, "type": s.contact_type}
                connection.execute(SQL["remember_type"], {**typed, "now": now})
    if released := [s.id for s in settlements if s.id in moved and s.target in (State.REJECTED, State.DISCARDED)]:
        connection.execute(SQL["release_keys"], {"ids": as_json(released)})
    if moved:
        refresh(connection, set(moved.values()), now)
    if led := {moved[s.id] for s in settlements if s.id in moved and s.outage and s.target is State.EXHAUSTED}:
        connection.execute(SQL["follow_heads"], {"lanes": as_json(list(led))})
    return set(moved)


def take_over(connection: sqlite3.Connection, now: int, rest_until: int) -> list[int]:
    """What was being sent when its process died: unknown, tried again after the lane's rest. Returns the lanes."""
    rows = connection.execute(SQL["take_over"], {"now": now}).fetchall()
    line = Attempt(at=now, what="takeover", outcome="retry", code="Interrupted", known=False)
    record(connection, [(entry, line) for entry, _ in rows])
    lanes = {lane for _, lane in rows}
    for lane in lanes:
        connection.execute(SQL["rest_lane"], {"lane": lane, "until": rest_until})
    if lanes:
        refresh(connection, lanes, now)
    return [connection.execute(SQL["lane_of_lane"], {"lane": lane}).fetchone()[0] for _, lane in rows]


def exhaust_lanes(connection: sqlite3.Connection, lanes: Sequence[int], now: int, limit: int) -> int:
    """Some of the waiting entries of these lanes go with their exhausted heads."""
    values = {"lanes": as_json(lanes), "now": now, "limit": limit}
    rows = connection.execute(SQL["exhaust_lanes"], values).fetchall()
    line = Attempt(at=now, what="skipped", outcome="exhausted", code="BreakerOpen")
    record(connection, [(entry, line) for entry, _ in rows])
    if rows:
        refresh(connection, {lane for _, lane in rows}, now)
    if len(rows) < limit:
        connection.execute(SQL["followed"], {"lanes": values["lanes"]})
    return len(rows)


def bring_back(connection: sqlite3.Connection, now: int, limit: int) -> int:
    """Some of the entries that an outage exhausted get a fresh schedule."""
    connection.execute(SQL["follow_no_longer"])
    rows = connection.execute(SQL["bring_back"], {"now": now, "limit": limit}).fetchall()
    line = Attempt(at=now, what="skipped", outcome="retry", code="ApiIsBack")
    record(connection, [(row[0], line) for row in rows])
    if rows:
        refresh(connection, {row[1] for row in rows}, now)
    return len(rows)


def join_lanes(
    connection: sqlite3.Connection, lane: int, contact_id: str, address: str, asked: Asked | None, now: int
) -> bool:
    """Two lanes turn out to be one contact's: from now on they have one turn between them.

    No entry is moved, so it takes the same few statements for lanes of any length. The rule is for these cases, and in
    each of them a transaction comes wholly before the join or wholly after it:

    - an entry of either lane was claimed before: `mark_sending` refuses what is not the head of both together;
    - a request of either is under way: they are not joined, the caller asks again later;
    - an entry of either is settled, exhausted, spooled, imported or replayed later: `refresh` works out the turn of
      both from the entries of both, wherever they hang;
    - something is written to either name later: it hangs under the lane that has the turn, behind what waits in both;
    - the other lane is joined to a third one: `join_joined` leads the first one there as well, in one step;
    - the contact was forgotten while Engage was asked about it, and the lane purged perhaps: nothing is learned of it,
      and there is nothing to join;
    - the process dies: the join is there or it is not.
    """
    if connection.execute(SQL["is_forgotten"], {"lane": lane}).fetchone() is not None:
        return True
    key = contact_lane(contact_id)
    at, ticks = asked or (None, None)
    known = {"address": address, "id": contact_id, "now": now, "asked": at, "ticks": ticks}
    connection.execute(SQL["remember_contact"], known)
    connection.execute(SQL["add_lane"], {"key": key})
    target = int(connection.execute(SQL["lane_of_key"], {"key": key}).fetchone()[0])
    source = int(connection.execute(SQL["lane_of_lane"], {"lane": lane}).fetchone()[0])
    if target == source:
        return True
    for side in (source, target):
        if connection.execute(SQL["sending_in_lane"], {"lane": side}).fetchone() is not None:
            return False
    sides = {"lane": source, "target": target}
    connection.execute(SQL["inherit_rest"], sides)
    connection.execute(SQL["join_lane"], sides)
    connection.execute(SQL["join_joined"], sides)
    refresh(connection, [target], now)
    return True


def touch(connection: sqlite3.Connection, lane: str) -> None:
    """Something of this contact has changed at Engage beside the outbox."""
    connection.execute(SQL["add_lane"], {"key": lane})
    connection.execute(SQL["touch_lane"], {"key": lane})


def cancel(connection: sqlite3.Connection, entry_id: int, reason: str, now: int) -> bool:
    """Drop a waiting entry."""
    rows = connection.execute(SQL["cancel"], {"id": entry_id, "reason": reason, "now": now}).fetchall()
    connection.execute(SQL["release_keys"], {"ids": as_json([row[0] for row in rows])})
    record(connection, [(row[0], Attempt(at=now, what="operator", outcome="discarded", code=reason)) for row in rows])
    refresh(connection, [row[1] for row in rows], now)
    return bool(rows)


def due_times(now: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """From when to when a due time lies that has come: it is over, or further away than any may be."""
    return (0, now), (now + LONGEST_DELAY, FOREVER)


def messages(rows: Iterable[tuple[Any, ...]], seal: Seal) -> Iterator[Message]:
    """Rows of the claiming queries as messages. What is read for a file has the contact's type behind the rest, and
    what is claimed whether an outage has used up turns of it and whether something newer of its contact went before it.

    A damaged content is an empty one: its own lane waits for a person.
    """
    for row in rows:
        entry, kind, content, lane, lane_key, created, slots, requests, unknown, known_as, carried, lines = row[:12]
        contact_id = lane_key.removeprefix(CONTACT) if lane_key.startswith(CONTACT) else known_as
        yield Message(
            id=entry, kind=Kind(kind), body=seal.content(entry, content), lane=lane, lane_key=lane_key, created=created,
            slots=slots, requests=requests, unknown=bool(unknown), contact_id=contact_id,
            carried=tuple(msgspec.json.decode(carried)) if carried else (),
            lines=lines, contact_type=row[12] if len(row) > 12 else None, outage=len(row) > 13 and bool(row[13]),
            passed=len(row) > 14 and bool(row[14]),
        )  # fmt: skip
