"""How checked writes become entries: all of a commit's, with a handful of statements.

Like `moves`, it runs on the writer's thread between BEGIN IMMEDIATE and COMMIT. One query looks at everything that a
usual write needs to know; what an outbox has none of is not looked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from voyado_async.delivery import REDEMPTIONS, Draft
from voyado_async.errors import KeyConflict
from voyado_async.outbox.moves import SQL, as_json, count_new, refresh
from voyado_async.outbox.records import Stored
from voyado_async.outbox.seal import Seal
from voyado_async.outbox.states import State

UNCOUNTED = 256
"""So many new entries are counted at a time: whoever reads the books counts the rest, in a fraction of a millisecond,
and a commit has one page less to write."""

_CHUNKS = (64, 32, 16, 8, 4, 2, 1)
_OF_ROWS = {
    name: {size: SQL.with_rows(name, size) for size in _CHUNKS}
    for name in ("around", "add_lanes", "add_entries", "add_bodies")
}


class Prepared(msgspec.Struct, frozen=True):
    """A draft with everything that can be made before the writer's thread takes over."""

    draft: Draft
    warnings: str | None
    created: int

    @classmethod
    def of(cls, draft: Draft, now: int) -> Prepared:
        return cls(draft, as_json(draft.warnings) if draft.warnings else None, now)


Name = tuple[str, str]
"""A kind, and a key of it."""


class _Holder(NamedTuple):
    """Who holds a key. `state` is None for one that was purged; only a delivered one keeps its key then."""

    id: int
    state: State | None
    content: bytes | str
    """The content, or the hash of it."""

    def has(self, body: bytes, seal: Seal) -> bool:
        if isinstance(self.content, bytes):
            return self.content == body
        return self.content in seal.content_hashes(body)


def _was(connection: sqlite3.Connection, holder: _Holder, body: bytes, seal: Seal) -> bool:
    """Whether the holder was written with that content and changed by an operator since: the shop may repeat it."""
    row = connection.execute(SQL["first_body"], {"id": holder.id}).fetchone()
    return row is not None and seal.content(holder.id, row[0]) == body


class _Around(NamedTuple):
    """What a draft finds in the outbox: its lane, who holds its key, and how the outbox stands."""

    lane: int | None
    idle: int | None
    """The lane has nothing to send and nothing holds it: a new entry becomes its head."""
    held: int | None
    """The lane has nothing to send because an entry on the second road holds it, in part or whole."""
    holder: int | None
    state: str | None
    content: bytes | None
    counted: int
    """The highest id that is counted; higher ones may be there."""
    last_id: int
    """The highest id that is there; higher ones may have been removed, and are counted then."""
    last_lane: int
    by_nature: int
    """Whether any entry has a natural key beside its own; any released one; anything spent: mostly there is none."""
    released: int
    spent: int


class _New(NamedTuple):
    """An entry that will be added."""

    id: int
    prepared: Prepared
    replaces: int | None


def enqueue(
    connection: sqlite3.Connection, groups: Sequence[Sequence[Prepared]], seal: Seal
) -> list[list[Stored] | KeyConflict]:
    """Store each group wholly or not at all, in the order given."""
    drafts = [prepared.draft for group in groups for prepared in group]
    if not drafts:
        return [[] for _ in groups]
    asked = [(draft.kind, draft.key, draft.lane) for draft in drafts]
    found = [_Around._make(row) for row in _execute(connection, "around", asked)]
    standing = found[0]
    holders = _holders(connection, drafts, found, seal)
    former = _former_holders(connection, drafts) if standing.released else {}
    new: list[_New] = []
    results: list[list[Stored] | KeyConflict] = []
    next_id = max(standing.counted, standing.last_id) + 1
    for group in groups:
        stored: list[Stored] = []
        added: list[_New] = []
        own: dict[Name, _Holder] = {}
        for prepared in group:
            draft = prepared.draft
            names = _names(draft)
            holder = None
            for name in names:
                holder = holder or own.get(name) or holders.get(name)
            if holder is None:
                entry_id = next_id + len(added)
                for name in names:
                    own[name] = _Holder(entry_id, State.PENDING, draft.body)
                added.append(_New(entry_id, prepared, former.get(names[0]) if names else None))
                stored.append(Stored(entry_id, State.PENDING, None))
            elif holder.has(draft.body, seal) or _was(connection, holder, draft.body, seal):
                state = holder.state or State.DELIVERED
                stored.append(Stored(holder.id, state, state))
            else:
                results.append(KeyConflict(draft.kind, holder.id, place=len(stored)))
                break
        else:
            holders |= own
            new += added
            next_id += len(added)
            results.append(stored)
    if new:
        _add(connection, new, dict(zip((draft.lane for draft in drafts), found, strict=True)), seal)
        if new[-1].id - standing.counted >= UNCOUNTED:
            count_new(connection)
    return results


def _names(draft: Draft) -> tuple[Name, ...]:
    """What the draft must not share with a live entry: its key, and under a key of the shop's own the natural one too,
    so that one promotion is not spent twice."""
    if draft.key is None:
        return ()
    hidden = _hidden_key(draft)
    return ((draft.kind, draft.key),) if hidden is None else ((draft.kind, draft.key), (draft.kind, hidden))


def _hidden_key(draft: Draft) -> str | None:
    """The natural key of a draft that has a key of the shop's own."""
    return None if draft.natural_key == draft.key else draft.natural_key


def _holders(
    connection: sqlite3.Connection, drafts: Sequence[Draft], found: Sequence[_Around], seal: Seal
) -> dict[Name, _Holder]:
    """Who holds the drafts' names: live entries, and purged ones by their hashes."""
    holders: dict[Name, _Holder] = {}
    standing = found[0]
    if standing.spent:
        by_hash = {each: name for draft in drafts for name in _names(draft) for each in seal.key_hashes(*name)}
        rows = connection.execute(SQL["spent_keys"], {"hashes": as_json(list(by_hash))}).fetchall()
        holders = {by_hash[hashed]: _Holder(entry, None, content) for hashed, entry, content in rows}
    if standing.by_nature:
        names = [name for draft in drafts for name in _names(draft)]
        holders |= _live(connection, "holders_by_nature", names, seal)
    if hidden := [(draft.kind, key) for draft in drafts if (key := _hidden_key(draft)) is not None]:
        holders |= _live(connection, "holders", hidden, seal)
    for draft, around in zip(drafts, found, strict=True):
        if around.holder is not None:
            assert draft.key is not None
            assert around.state is not None
            assert around.content is not None
            content = seal.content(around.holder, around.content)
            holders[draft.kind, draft.key] = _Holder(around.holder, State(around.state), content)
    return holders


def _live(connection: sqlite3.Connection, query: str, names: Iterable[Name], seal: Seal) -> dict[Name, _Holder]:
    rows = connection.execute(SQL[query], {"names": as_json(list(names))}).fetchall()
    return {
        (kind, key): _Holder(entry, State(state), seal.content(entry, content))
        for kind, key, entry, state, content in rows
    }


def _former_holders(connection: sqlite3.Connection, drafts: Sequence[Draft]) -> dict[Name, int]:
    names = [names[0] for draft in drafts if (names := _names(draft))]
    rows = connection.execute(SQL["former_holders"], {"names": as_json(names)}).fetchall()
    return {(kind, key): entry for kind, key, entry in rows}


def _add(connection: sqlite3.Connection, new: Sequence[_New], around: dict[str, _Around], seal: Seal) -> None:
    """Add the entries, the lanes that there are not yet, and the heads of lanes that had nothing to send."""
    lanes: dict[str, int] = {}
    made: list[tuple[int, str, int, int, bool]] = []
    heads: dict[int, tuple[int, int, bool]] = {}
    held: set[int] = set()
    rows = []
    for entry_id, prepared, replaces in new:
        draft, now = prepared.draft, prepared.created
        lane = lanes.get(draft.lane)
        if lane is None:
            place = around[draft.lane]
            if place.lane is None:
                lane = place.last_lane + 1 + len(made)
                made.append((lane, draft.lane, entry_id, now, draft.kind not in REDEMPTIONS))
            else:
                lane = place.lane
                # Two keys can have one lane by now; its head is the first of the new entries.
                if place.idle:
                    heads.setdefault(lane, (entry_id, now, draft.kind not in REDEMPTIONS))
                if place.held:
                    held.add(lane)
            lanes[draft.lane] = lane
        key, hidden, lines, warnings = draft.key, _hidden_key(draft), draft.lines, prepared.warnings
        rows.append((entry_id, lane, draft.kind, key, hidden, now, now, now, lines, warnings, replaces))
    _execute(connection, "add_lanes", made)
    _execute(connection, "add_entries", rows)
    _execute(connection, "add_bodies", seal.bodies([(entry.id, entry.prepared.draft.body) for entry in new]))
    if heads:
        connection.execute(SQL["head_idle"], {"heads": as_json([(lane, *head) for lane, head in heads.items()])})
    if held:
        refresh(connection, held, new[0].prepared.created)


def _execute(connection: sqlite3.Connection, name: str, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Run a query for many rows in few, large statements."""
    found: list[tuple[Any, ...]] = []
    done = 0
    for size in _CHUNKS:
        while len(rows) - done >= size:
            values = [value for row in rows[done : done + size] for value in row]
            found += connection.execute(_OF_ROWS[name][size], values).fetchall()
            done += size
    return found
