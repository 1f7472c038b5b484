"""What operators do to entries, inside one transaction of the SQLite store.

Decisions that need contents are prepared outside, where reading them holds nobody's turn. Here it is made sure that
what they were made from is still so; an entry of which that is no longer true is prepared again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from voyado_async.delivery import Draft, Kind, Message
from voyado_async.outbox import moves
from voyado_async.outbox.moves import CONTACT, SQL, as_json
from voyado_async.outbox.records import Attempt
from voyado_async.outbox.replaying import SUPERSEDED, Content, Plan, Standing, Step
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import State, may_move

SETTING = frozenset({Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE})
"""Kinds that set fields of a contact."""

_DROPPED = (State.REJECTED, State.DISCARDED)


class Row(msgspec.Struct, frozen=True):
    """An entry as the database has it at one moment."""

    id: int
    kind: Kind
    state: State
    lane: int
    """The lane that it belongs to by now."""
    lane_key: str
    created: int
    key: str | None
    released_key: str | None
    unknown: bool
    outage: bool
    file: str | None
    file_state: str | None
    contact_id: str | None
    lines: int
    """How long its record is: every move and every change of its content makes it longer."""
    has_left: bool
    """It was in a file or bulk request that left."""

    def same_as(self, other: Row) -> bool:
        return (self.state, self.lane, self.lines, self.file) == (other.state, other.lane, other.lines, other.file)


class Watched(msgspec.Struct, frozen=True):
    """What the fields that newer entries have set were worked out from."""

    after: int
    """No entry newer than this was there."""
    replays: str | None
    """How much had been replayed by then, where newer changes were rejected or discarded, and so had set nothing."""


class Prepared(msgspec.Struct, frozen=True):
    """An entry with what its content says, ready for the decision."""

    row: Row
    standing: Standing
    body: bytes | None = None
    """The content that it gets, where some of it is left out."""
    natural_key: str | None = None
    watched: Watched | None = None


class Moved(msgspec.Struct, frozen=True):
    """What one transaction came to: the plans that were carried out, and the entries to prepare again."""

    plans: list[Plan]
    again: list[int]


def rows_of(connection: sqlite3.Connection, ids: Sequence[int]) -> list[Row]:
    """The entries that are there, in the order given."""
    rows = connection.execute(SQL["standings"], {"ids": as_json(list(ids))}).fetchall()
    found = {row[0]: _row(row) for row in rows}
    return [found[entry] for entry in ids if entry in found]


def _row(row: Sequence[object]) -> Row:
    return msgspec.convert(dict(zip(Row.__struct_fields__, row, strict=True)), Row, strict=False)


def message_of(row: Row, body: bytes) -> Message:
    """The entry as the stages see it."""
    own = row.lane_key.removeprefix(CONTACT) if row.lane_key.startswith(CONTACT) else None
    return Message(
        id=row.id, kind=row.kind, body=body, lane=row.lane, lane_key=row.lane_key, created=row.created,
        unknown=row.unknown or row.has_left, contact_id=own or row.contact_id,
    )  # fmt: skip


def changes_after(connection: sqlite3.Connection, lane: int, after: int) -> list[tuple[int, Kind, State]]:
    """The later entries that set fields of the lane's contact."""
    rows = connection.execute(SQL["changes_after"], {"lane": lane, "after": after}).fetchall()
    return sorted((entry, Kind(kind), State(state)) for entry, kind, state in rows)


def set_after(
    ids: Sequence[int], later: Sequence[tuple[int, Kind, State]], fields: Mapping[int, frozenset[str]]
) -> dict[int, tuple[frozenset[str], bool]]:
    """For each of these entries of a lane: the fields that later ones have set, and whether later ones were dropped.
    Pure."""
    found: dict[int, tuple[frozenset[str], bool]] = {}
    taken: frozenset[str] = frozenset()
    dropped = False
    left = list(later)
    for entry in sorted(ids, reverse=True):
        while left and left[-1][0] > entry:
            newer, _, state = left.pop()
            dropped = dropped or state in _DROPPED
            taken |= fields.get(newer, frozenset())
        found[entry] = (taken, dropped)
    return found


def rivals(connection: sqlite3.Connection, entries: Sequence[Prepared], seal: Seal) -> dict[int, int]:
    """Of entries that had to give up their key: who has it. Among themselves, the newest takes it."""
    names: list[tuple[str, str, int, str]] = []
    taken: dict[tuple[str, str], int] = {}
    found: dict[int, int] = {}
    for entry in sorted(entries, key=lambda entry: entry.row.id, reverse=True):
        row = entry.row
        if row.released_key is None:
            continue
        for name in {row.released_key, entry.natural_key or row.released_key}:
            names += [(row.kind, name, row.id, hashed) for hashed in seal.key_hashes(row.kind, name)]
            first = taken.setdefault((row.kind, name), row.id)
            if first != row.id:
                found[row.id] = first
    if names:
        for mine, other in connection.execute(SQL["rivals"], {"names": as_json(names)}).fetchall():
            if mine != other:
                found[mine] = max(found.get(mine, 0), other)
    return found


def still_so(connection: sqlite3.Connection, entries: Sequence[Prepared]) -> set[int]:
    """Those of the entries of which everything is as it was when they were prepared."""
    now = {row.id: row for row in rows_of(connection, [entry.row.id for entry in entries])}
    same = {entry.row.id for entry in entries if entry.row.id in now and now[entry.row.id].same_as(entry.row)}
    lanes: dict[tuple[int, Watched], bool] = {}
    for entry in entries:
        if entry.watched is not None and entry.row.id in same:
            where = (entry.row.lane, entry.watched)
            if where not in lanes:
                lanes[where] = _quiet(connection, *where)
            if not lanes[where]:
                same.discard(entry.row.id)
    return same


def _quiet(connection: sqlite3.Connection, lane: int, watched: Watched) -> bool:
    """Nothing newer has gone ahead in the lane since. What still waits goes after the older one in any case."""
    if any(state not in (State.PENDING, *_DROPPED) for _, _, state in changes_after(connection, lane, watched.after)):
        return False
    return watched.replays is None or watched.replays == replays(connection)


def replays(connection: sqlite3.Connection) -> str:
    """A mark that every replay changes: nothing else brings back what was rejected or discarded."""
    row = connection.execute(SQL["fact"], {"name": "replays"}).fetchone()
    return "" if row is None else str(row[0])


def carry_out(
    connection: sqlite3.Connection,
    entries: Sequence[Prepared],
    plans: Mapping[int, Plan],
    *,
    reason: str | None,
    action: int,
    now: int,
    seal: Seal,
) -> Moved:
    """Do what is planned for each entry that still is as it was prepared; `reason` is that of a discard."""
    same = still_so(connection, entries)
    other = rivals(connection, entries, seal)
    done: list[Plan] = []
    again: list[int] = []
    going: list[Prepared] = []
    for entry in entries:
        plan = plans[entry.row.id]
        if entry.row.id not in same or (entry.standing.rival is None and entry.row.id in other and _restarts(plan)):
            again.append(entry.row.id)
        else:
            done.append(plan)
            going.append(entry)
    moved = _restart(connection, [entry for entry in going if _restarts(plans[entry.row.id])], plans, now, seal)
    for step, why in ((Step.SUPERSEDE, SUPERSEDED), (Step.DISCARD, reason)):
        moved |= _drop(connection, [plans[e.row.id] for e in going if plans[e.row.id].step is step], why or "", now)
    if moved:
        moves.refresh(connection, moved, now)
    count = sum(plan.step is not Step.LEAVE for plan in done)
    connection.execute(SQL["count_action"], {"id": action, "count": count})
    if any(plan.step is Step.FILE for plan in done):
        connection.execute(SQL["ask_for_files"], {"now": now})
    return Moved(done, again)


def _restarts(plan: Plan) -> bool:
    return plan.step in (Step.SEND, Step.FILE)


def _restart(
    connection: sqlite3.Connection, entries: Sequence[Prepared], plans: Mapping[int, Plan], now: int, seal: Seal
) -> set[int]:
    """Back to the beginning of one of the two roads. Returns the lanes that they left and came into."""
    if not entries:
        return set()
    rows = []
    for entry in entries:
        row, target = entry.row, plans[entry.row.id].target
        assert row.state == target or may_move(row.state, target), (row.state, target)
        delivered = row.state is State.DELIVERED  # it has taken effect, as far as anybody knows
        hidden = entry.natural_key if row.released_key is not None and entry.natural_key != row.released_key else None
        rows.append((row.id, row.state, target, int(row.unknown or row.has_left or delivered), hidden))
    moved = connection.execute(SQL["replay"], {"moves": as_json(rows), "now": now}).fetchall()
    connection.execute(SQL["count_replay"])
    lines = [(e.row.id, Attempt(now, "operator", plans[e.row.id].target, code="Replayed")) for e in entries]
    moves.record(connection, lines)
    for entry in entries:
        if entry.body is not None:
            replace_body(connection, entry.row.id, entry.body, seal)
    return {lane for _, lane in moved}


def _drop(connection: sqlite3.Connection, plans: Sequence[Plan], reason: str, now: int) -> set[int]:
    """Discarded, with a reason."""
    if not plans:
        return set()
    assert all(may_move(plan.state, State.DISCARDED) for plan in plans), plans
    values = {"moves": as_json([(plan.id, plan.state) for plan in plans]), "reason": reason, "now": now}
    moved = connection.execute(SQL["discard"], values).fetchall()
    connection.execute(SQL["release_keys"], {"ids": as_json([entry for entry, _ in moved])})
    line = Attempt(now, "operator", State.DISCARDED, code=reason)
    moves.record(connection, [(entry, line) for entry, _ in moved])
    return {lane for _, lane in moved}


def replace_body(connection: sqlite3.Connection, entry_id: int, content: bytes, seal: Seal) -> None:
    """A new content; the old one is kept. The line in the record that tells of it is written already."""
    connection.execute(SQL["keep_former_body"], {"id": entry_id})
    for entry, stored in seal.bodies([(entry_id, content)]):
        connection.execute(SQL["replace_body"], {"id": entry, "content": stored})


def edit(
    connection: sqlite3.Connection, entry_id: int, draft: Draft, key: str | None, action: int, now: int, seal: Seal
) -> bool:
    """A rejected entry gets a corrected content, and perhaps another contact. False where it is not rejected."""
    lane = seal.lane(draft.lane)
    connection.execute(SQL["add_lane"], {"key": lane})
    values = {
        "id": entry_id, "lane": lane, "key": key, "lines": draft.lines, "now": now,
        "warnings": as_json(draft.warnings) if draft.warnings else None,
    }  # fmt: skip
    if not connection.execute(SQL["rewrite"], values).fetchall():
        return False
    moves.record(connection, [(entry_id, Attempt(now, "operator", State.REJECTED, code="Edited"))])
    replace_body(connection, entry_id, draft.body, seal)
    connection.execute(SQL["count_action"], {"id": action, "count": 1})
    return True


def standing_of(
    row: Row, content: Content | None, body: bytes | None, *, left: frozenset[str], nothing: bool
) -> Standing:
    """What a decision is made from. The rival is known later."""
    message = None if body is None else message_of(row, body)
    return Standing(
        id=row.id,
        kind=row.kind,
        state=row.state,
        unknown=row.unknown or row.has_left,
        file=row.file,
        left=left,
        nothing_left=nothing,
        can_look_up=content is not None and message is not None and content.can_look_up(message),
        no_file_form=None if content is None or message is None else content.no_file_form(message),
    )
