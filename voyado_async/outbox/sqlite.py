"""The outbox in one SQLite file: what the stages ask, turned into transactions and reads.

Writes go through the group commit of `writer.py` and are spelled out in `moves.py`; reads have a read-only connection
of their own. Beside the database lie `-turn` (the writers' turn), `-drain` (the right to drain), `-wake`,
and the folder `-known` (`shelf.py`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from voyado_async.clock import Clock
from voyado_async.delivery import Draft, Enough, FileFamily, Kind, Later, Message
from voyado_async.errors import (
    ClientClosed,
    ConfigurationError,
    EntryNotFound,
    OutboxDamaged,
    OutboxUnavailable,
)
from voyado_async.outbox import choosing, file_moves, looking, moves, overview, purging
from voyado_async.outbox.access import OWNER, Access
from voyado_async.outbox.adding import Prepared
from voyado_async.outbox.chunks import Chunk
from voyado_async.outbox.glance import (
    bound_to,
    check_size,
    check_sqlite,
    fact_of,
    in_snapshot,
    readable_schema,
    refuse_another,
    unreadable,
)
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.migrate import migrate, newest, schema_version
from voyado_async.outbox.moves import CONTACT, LONGEST_DELAY, SQL, as_json, contact_lane
from voyado_async.outbox.newest import LAST, Newest
from voyado_async.outbox.overview import Overview
from voyado_async.outbox.seal import NOT_SEALED, opened, renewed
from voyado_async.outbox.sqlite_operator import OperatorPart
from voyado_async.outbox.states import SETTLED, State
from voyado_async.outbox.store import (
    Asked,
    AsRead,
    Attempt,
    BreakerRecord,
    Counts,
    DrainerRecord,
    EntryFilter,
    EntryRecord,
    FileRecord,
    Finding,
    Learned,
    Mark,
    Settlement,
    Stored,
    Told,
)
from voyado_async.outbox.together import Together
from voyado_async.outbox.verify import verify
from voyado_async.outbox.wake import Poker
from voyado_async.outbox.writer import Connection, Writer, connection

T = TypeVar("T")
R = TypeVar("R")

SPAN = 5_000
"""Ids that one look at many entries takes: a few milliseconds of the reader."""

HISTORY = 7 * 86_400_000
"""How long it is known what came where, span by span (ms)."""

NEWER = 50
"""Newer writes of a contact that one look takes of each lane and road. Mostly the first few are enough."""

CHUNK = 200
"""Entries that one transaction of a large move takes at most (`chunks.py`)."""

MARKS = 10
"""Requests that one transaction lets go. What leaves together comes back together, and then settles, waits and leaves
together again, while the connections stand idle: of a bare loop's throughput 90 % is left where few leave at a time,
70 % where it is as many as wait (tests/perf/bench_drain.py)."""

KNOWN_FOR = 86_400_000
"""An address that is found again is written down again after so long (ms): once a day, not at each read."""

MOST_CONTACTS = 200_000
"""Addresses that the id store knows at most: some 40 MB."""

_FAR = 1 << 62


class SqliteOutbox(OperatorPart):
    """See `store.Outbox` and `operator_store.OperatorOutbox` for the promises."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        base_url: str | None,
        *,
        read_only: bool = False,
        seal_keys: Sequence[bytes] = (),
        access: Access = OWNER,
    ) -> None:
        self.path = path
        self.seal = NOT_SEALED
        self._read_only = read_only
        self._clock = clock
        self._base_url = base_url
        self._seal_keys = seal_keys
        self._access = access
        self._turn = Turn(f"{path}-turn", access, opened=not read_only)
        self._poker = Poker(path)
        self._writer = Writer(path, self._turn, self._after_commit, clock.monotonic)
        self._chunk = Chunk(CHUNK)
        self._reader: Connection | None = None
        self._marks = Together(self._mark_all, MARKS)
        self._settlements = Together(self._settle_all, CHUNK)
        self._listeners: list[Callable[[int, State, str | None], None]] = []
        self._wakers: list[Callable[[], None]] = []
        self._closing: asyncio.Task[None] | None = None

    # opening and closing ---------------------------------------------------------------------------------------------

    async def open(self) -> SqliteOutbox:
        """Create or migrate the file where needed, and open it. Read-only it is taken as it is."""
        try:
            if not self._read_only:
                await asyncio.to_thread(prepare, self.path, self._turn, self._base_url, self._seal_keys, self._access)
            self._reader = connection(self.path, read_only=True)
            await self._reader
            self.seal = opened(await self._fact_text("seal"), self._seal_keys, self.path)
            if not self._read_only:
                await self._writer.open(self.seal)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """What was submitted is committed first. The reader goes before the writer, whose closing may checkpoint.

        Cancelling it does not stop it: a connection that stays open keeps the process alive for ever. In a forked
        child nothing is closed: connections and threads are the parent's.
        """
        if self._writer.forked:
            return
        if self._closing is None:
            self._closing = asyncio.create_task(self._shut(), name="voyado-outbox-close")
        await asyncio.shield(self._closing)

    async def _shut(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        await self._writer.close()
        self._poker.close()
        self._turn.close()

    @property
    def commits(self) -> int:
        """Transactions of this process so far."""
        return self._writer.commits

    def _after_commit(self) -> None:
        if self._wakers:
            for wake in self._wakers:
                wake()
        else:
            self._poker.poke()

    def on_commit(self, wake: Callable[[], None]) -> None:
        """The drainer of this process wants to know of commits; other processes need no poke then."""
        self._wakers.append(wake)

    def off_commit(self, wake: Callable[[], None]) -> None:
        self._wakers.remove(wake)

    def on_settled(self, listener: Callable[[int, State, str | None], None]) -> None:
        self._listeners.append(listener)

    async def _rows(self, query: str, **values: object) -> list[Any]:
        return await self._read(lambda c: c.execute(SQL[query], values).fetchall())

    async def _read(self, look: Callable[[sqlite3.Connection], R]) -> R:
        self._writer.refuse_if_forked()
        if self._reader is None:
            raise ClientClosed(f"the outbox {self.path} is closed")
        try:
            return await self._reader.run(look)
        except sqlite3.DatabaseError as error:
            raise unreadable(error, self.path) from error

    # writing ---------------------------------------------------------------------------------------------------------

    async def enqueue(self, drafts: Sequence[Draft]) -> list[Stored]:
        now = self._clock.now()
        return await self._writer.enqueue([Prepared.of(draft, now) for draft in self.seal.drafts(drafts)])

    async def claim(self, limit: int, now: int, skip_lanes: frozenset[int]) -> list[Message]:
        def look(database: sqlite3.Connection) -> list[Message]:
            found: list[Message] = []
            for rank in (0, 1):
                for since, until in ((0, now), (now + LONGEST_DELAY, _FAR)):
                    wanted = limit - len(found)
                    if wanted <= 0:
                        return found
                    which = {"rank": rank, "since": since, "until": until, "limit": wanted + len(skip_lanes)}
                    rows = database.execute(SQL["claim"], which)
                    new = (message for message in moves.messages(rows, self.seal) if message.lane not in skip_lanes)
                    found += islice(new, wanted)
            return found

        return await self._read(look)

    async def next_due(self, now: int) -> int | None:
        return await self._read(lambda c: looking.next_due(c, now))

    async def mark_sending(self, entry_id: int, claimed: AsRead | None = None) -> bool:
        return await self._marks.submit((entry_id, claimed))

    async def settle(self, settlement: Settlement) -> bool:
        moved = await self._settlements.submit(settlement)
        if moved and settlement.target in SETTLED:
            self._tell(settlement.id, settlement.target, settlement.reason)
        return moved

    def _tell(self, entry_id: int, state: State, reason: str | None) -> None:
        for listener in self._listeners:
            listener(entry_id, state, reason)

    async def _mark_all(self, going: Sequence[tuple[int, AsRead | None]]) -> list[bool]:
        now = self._clock.now()
        return await self._writer.call(lambda c: moves.mark_sending(c, going, now), rows=len(going))

    async def _settle_all(self, settlements: Sequence[Settlement]) -> list[bool]:
        now = self._clock.now()
        return await self._writer.call(lambda c: moves.settle(c, settlements, now), rows=2 * len(settlements))

    async def exhaust_lanes(self, lanes: Sequence[int], now: int) -> int:
        # Some lanes at a time: a chunk that had to look through all of them would take the longer the more there are.
        total, chunk = 0, Chunk(CHUNK)
        for start in range(0, len(lanes), CHUNK):
            some = lanes[start : start + CHUNK]
            total += await self._in_chunks(partial(moves.exhaust_lanes, lanes=some, now=now), chunk)
        return total

    async def exhaust_behind_files(self, now: int) -> int:
        total = after = 0
        while lanes := [row[0] for row in await self._rows("lanes_behind_files", after=after, limit=CHUNK)]:
            total += await self.exhaust_lanes(lanes, now)
            after = lanes[-1]
        return total

    async def bring_back(self, now: int) -> int:
        return await self._in_chunks(partial(moves.bring_back, now=now), Chunk(CHUNK))

    async def _in_chunks(self, move: Callable[..., int], chunk: Chunk) -> int:
        """Repeat the move of at most `limit` until nothing more moves; others get the turn in between."""
        total = 0
        while True:
            limit = chunk.size
            moved = await self._writer.call(partial(move, limit=limit), rows=limit)
            chunk.took(self._writer.held, moved)
            total += moved
            if moved < limit:
                return total

    async def _in_pieces(self, move: Callable[..., int], ids: Sequence[int], chunk: Chunk) -> int:
        """The move of these, some at a time."""
        total = start = 0
        while start < len(ids):
            some = ids[start : start + chunk.size]
            total += await self._writer.call(partial(move, ids=some), rows=2 * len(some))
            chunk.took(self._writer.held, len(some))
            start += len(some)
        return total

    async def take_over(self, now: int, rest_until: int) -> list[int]:
        return await self._writer.call(lambda c: moves.take_over(c, now, rest_until))

    async def join_lanes(self, lane: int, contact_id: str, address: str, asked: Asked | None = None) -> bool:
        now = self._clock.now()
        known_as = self.seal.lane(address)
        return await self._writer.call(lambda c: moves.join_lanes(c, lane, contact_id, known_as, asked, now))

    async def lane_of(self, contact_id: str) -> int | None:
        rows = await self._rows("lane_of_key", key=contact_lane(contact_id))
        return rows[0][0] if rows else None

    async def cancel(self, entry_id: int, reason: str) -> bool:
        now = self._clock.now()
        gone = await self._writer.call(lambda c: moves.cancel(c, entry_id, reason, now))
        if gone:
            self._tell(entry_id, State.DISCARDED, reason)
        return gone

    async def purge(self, entries_before: int, keys_before: int) -> int:
        purged, chunk = 0, Chunk(CHUNK)
        history = (self._clock.now() - HISTORY) // overview.SPAN
        last = (await self._rows("last_id"))[0][0]
        for after in range(0, last, SPAN):
            rows = await self._rows("purgeable", after=after, until=after + SPAN, before=entries_before)
            purge = partial(purging.purge, before=entries_before, seal=self.seal)
            purged += await self._in_pieces(purge, [row[0] for row in rows], chunk)
        await self._writer.call(lambda c: c.execute(SQL["forget_history"], {"before": history}).fetchall())
        for span in range(256):
            await self._in_chunks(partial(purging.purge_keys, span=span, before=keys_before), chunk)
        await self._purge_files(entries_before)
        await self._purge_contacts(entries_before)
        await self._purge_lanes()
        return purged

    async def _purge_files(self, before: int) -> None:
        gone = CHUNK
        while gone == CHUNK:
            values = {"before": before, "limit": CHUNK}
            gone = len(await self._writer.call(partial(moves.run, query="purge_files", values=values), rows=CHUNK))

    async def _purge_contacts(self, before: int) -> None:
        gone = CHUNK
        while gone == CHUNK:
            too_many = (await self._rows("count_contacts"))[0][0] > MOST_CONTACTS
            values = {"before": _FAR if too_many else before, "limit": CHUNK}
            gone = len(await self._writer.call(partial(moves.run, query="purge_contacts", values=values), rows=CHUNK))

    async def _purge_lanes(self) -> None:
        """Lanes go when their contact has no entry here and no known address: they name a person, too."""
        now, after, in_use, chunk = self._clock.now(), 0, purging.LanesInUse(), Chunk(CHUNK)
        while idle := await self._rows("idle_lanes", after=after, now=now, limit=SPAN):
            after = idle[-1][0]
            while idle:
                await self._see_lanes(in_use)
                some, idle = idle[: chunk.size], idle[chunk.size :]
                wholes = [(lane, *msgspec.json.decode(joined)) for lane, joined in some]
                lanes = [lane for whole in wholes if not any(one in in_use for one in whole) for lane in whole]
                if lanes:
                    purge = partial(purging.purge_lanes, lanes=lanes, seen=in_use.seen)
                    await self._writer.call(purge, rows=2 * len(lanes))
                    chunk.took(self._writer.held, len(some))

    async def _see_lanes(self, in_use: purging.LanesInUse) -> None:
        """What was written since the last look."""
        last = (await self._rows("last_id"))[0][0]
        while in_use.seen < last:
            until = min(in_use.seen + SPAN, last)
            rows = await self._rows("lanes_in_use", after=in_use.seen, until=until)
            in_use.add((row[0] for row in rows), until)

    # the second road -------------------------------------------------------------------------------------------------

    async def exhausted_lines(self) -> tuple[int, int | None]:
        lines, oldest = (await self._rows("exhausted_lines"))[0]
        return lines, oldest

    async def exhausted(self) -> AsyncIterator[Message]:
        # Which ones is asked newest first: when a change is taken, no older one of its contact waits for the API, so
        # every older one is exhausted by then and will be taken, too. Asked oldest first, one that is exhausted while
        # the newer ones are asked for would be left behind, and overwrite them later. Eight bytes each, however many.
        ids = array("q")
        before, asked = _FAR, SPAN
        while asked == SPAN:
            rows = await self._rows("exhausted_before", before=before, limit=SPAN)
            ids.extend(entry for entry, may_leave in rows if may_leave)
            asked = len(rows)
            before = rows[-1][0] if rows else 0
        ids.reverse()
        for start in range(0, len(ids), CHUNK):
            for message in await self.exhausted_of(ids[start : start + CHUNK]):
                yield message

    async def exhausted_of(self, ids: Sequence[int]) -> list[Message]:
        return list(moves.messages(await self._rows("exhausted", ids=as_json(list(ids))), self.seal))

    async def files_wanted(self) -> str | None:
        return await self._fact_text("files_wanted")

    async def files_written(self, asked: str) -> None:
        await self._writer.call(lambda c: c.execute(SQL["files_written"], {"asked": asked}).fetchall())

    async def next_file_name(self, now: int, family: FileFamily) -> str:
        return await self._writer.call(lambda c: file_moves.next_name(c, now, family))

    async def owns_file_name(self, name: str) -> bool:
        sender = (await self._rows("fact", name="sender"))[0][0]
        return name.partition("_")[2].startswith(sender)

    async def in_force_after(self, after: Mapping[int, int]) -> dict[int, list[tuple[int, Kind, bytes]]]:
        found: dict[int, list[tuple[int, Kind, bytes]]] = {}
        for lane, entry, kind, content in sorted(
            await self._rows("in_force_after", lanes=as_json(list(after.items())))
        ):
            found.setdefault(lane, []).append((entry, Kind(kind), self.seal.content(entry, content)))
        return found

    async def spool_file(
        self, record: FileRecord, entry_ids: Sequence[int], as_read: Mapping[int, AsRead] | None = None
    ) -> list[int]:
        now = self._clock.now()
        file_id = await self._writer.call(lambda c: file_moves.add(c, record))
        moved: list[int] = []
        start, chunk = 0, Chunk(CHUNK)
        while start < len(entry_ids):
            ids = entry_ids[start : start + chunk.size]
            # Complete with its last chunk, if all the ones before moved whole.
            last = len(moved) == start and start + len(ids) >= len(entry_ids)
            step = partial(
                file_moves.spool, file_id=file_id, record=record, ids=ids, as_read=as_read or {}, now=now, last=last
            )
            moved += await self._writer.call(step, rows=2 * len(ids))
            chunk.took(self._writer.held, len(ids))
            start += len(ids)
        return moved

    async def update_file(
        self,
        file_id: int,
        *,
        state: str,
        now: int,
        entries_to: State | None = None,
        problem: str | None = None,
        seen: bool = False,
        carried: bool = False,
        outage_only: bool = False,
    ) -> int:
        change = file_moves.FileChange(file_id, state, now, entries_to, problem, seen, carried, outage_only)
        total, chunk = 0, Chunk(CHUNK)
        while True:
            step = partial(file_moves.update, change=change, limit=chunk.size)
            moved, done = await self._writer.call(step, rows=chunk.size)
            chunk.took(self._writer.held, len(moved))
            total += len(moved)
            if entries_to is State.DELIVERED:
                for entry_id in moved:
                    self._tell(entry_id, State.DELIVERED, None)
            if done:
                return total

    async def lanes_on_the_road(self) -> frozenset[int]:
        return frozenset(row[0] for row in await self._rows("lanes_on_the_road"))

    async def withhold(self, details: Mapping[int, str], reason: str, now: int) -> None:
        left = iter(details.items())
        while chunk := dict(islice(left, CHUNK)):
            step = partial(file_moves.withhold, details=chunk, reason=reason, now=now)
            await self._writer.call(step, rows=2 * len(chunk))

    async def mark_formless(self, details: Mapping[int, str], now: int) -> None:
        left = iter(details.items())
        while chunk := dict(islice(left, CHUNK)):
            await self._writer.call(partial(file_moves.mark_formless, details=chunk, now=now), rows=2 * len(chunk))

    async def begin_bulk(self, as_read: Mapping[int, AsRead], line: Attempt) -> frozenset[int]:
        moved: list[int] = []
        left = iter(as_read.items())
        while chunk := dict(islice(left, CHUNK)):
            now = self._clock.now()
            step = partial(file_moves.begin_bulk, as_read=chunk, line=line, now=now)
            moved += await self._writer.call(step, rows=2 * len(chunk))
        return frozenset(moved)

    async def left_in_bulk(self) -> list[int]:
        return [row[0] for row in await self._rows("left_in_bulk")]

    async def files(self, *, open_only: bool) -> list[FileRecord]:
        return await self._read(partial(looking.files, open_only=open_only))

    async def to_confirm(self, limit: int, now: int) -> list[Message]:
        def look(database: sqlite3.Connection) -> list[Message]:
            found: list[Message] = []
            for since, until in ((0, now), (now + LONGEST_DELAY, _FAR)):
                which = {"since": since, "until": until, "limit": limit - len(found)}
                found += moves.messages(database.execute(SQL["to_confirm"], which), self.seal)
            return found

        return await self._read(look)

    async def newer_changes(self, message: Message, enough: Enough) -> Later:
        lanes = [row[0] for row in await self._rows("whole_lane", id=message.id)]
        later, after = Newest(), message.id
        while after != LAST:
            rows = [
                (lane, road, entry, kind, self.seal.content(entry, content), settled)
                for lane in lanes
                for road, entry, kind, content, settled in await self._rows(
                    "newer_changes", lane=lane, after=after, limit=NEWER
                )
            ]
            after = later.add(rows, NEWER)
            if enough(later.told):
                break
        return later.whole()

    async def newer_in_force(self, message: Message) -> list[tuple[Kind, bytes]]:
        rows = await self._rows("newer_in_force", id=message.id)
        return [(Kind(kind), self.seal.content(entry, content)) for entry, kind, content in rows]

    # looking ---------------------------------------------------------------------------------------------------------

    async def get(self, entry_id: int) -> EntryRecord:
        rows = await self._rows("get", id=entry_id)
        if not rows:
            raise EntryNotFound(f"there is no entry {entry_id} in {self.path}")
        return choosing.record(rows[0])

    async def entries(self, which: EntryFilter) -> list[EntryRecord]:
        look = partial(choosing.entries, which=choosing.as_known(which, self.seal))
        return await self._read(partial(in_snapshot, look=look))

    async def rejected(self, limit: int) -> list[EntryRecord]:
        return await self.entries(EntryFilter(states=(State.REJECTED,), limit=limit))

    async def attempts(self, entry_id: int) -> list[Attempt]:
        rows = await self._rows("attempts", id=entry_id)
        return [looking.struct_of(Attempt, row) for row in rows]

    async def body(self, entry_id: int) -> bytes:
        rows = await self._rows("body", id=entry_id)
        if not rows:
            raise EntryNotFound(f"there is no entry {entry_id} in {self.path}")
        content = self.seal.content(entry_id, rows[0][0])
        if not content:
            raise OutboxDamaged(f"the content of entry {entry_id} is damaged. Run `voyado-async verify`")
        return content

    async def states_of(self, entry_ids: Iterable[int]) -> dict[int, tuple[State, str | None]]:
        rows = await self._rows("states_of", ids=as_json(list(entry_ids)))
        return {entry: (State(state), reason) for entry, state, reason in rows}

    async def counts(self) -> Counts:
        return await self._read(partial(in_snapshot, look=looking.counts))

    async def overview(self, now: int, spans: int) -> Overview:
        return await self._read(partial(in_snapshot, look=partial(looking.overview, now=now, spans=spans)))

    async def pending_redeems(self, ids: Sequence[str], as_of: int, kind: Kind = Kind.REDEEM) -> set[str]:
        # The natural key of a redemption is the id of what it redeems in lower case.
        by_key = {each.lower(): each for each in ids}
        rows = await self._rows("pending_redeems", ids=as_json(list(by_key)), as_of=as_of, kind=kind.value)
        return {by_key[row[0]] for row in rows}

    async def due_since(self) -> int | None:
        return await self._read(lambda c: looking.earliest(c, "due_since"))

    async def base_url(self) -> str | None:
        return await self._fact_text("base_url")

    async def contact_id(self, address: str) -> str | None:
        rows = await self._rows("contact_id", address=self.seal.lane(address))
        return rows[0][0] if rows else None

    async def told(self, address: str) -> Told | None:
        rows = await self._rows("told_contact", address=self.seal.lane(address))
        return Told(rows[0][0], Asked(*rows[0][1:])) if rows else None

    async def contact_type(self, contact_id: str) -> str | None:
        rows = await self._rows("contact_type", address=contact_lane(contact_id))
        return rows[0][0] if rows else None

    async def remember_contacts(self, known: Sequence[Learned]) -> None:
        now = self._clock.now()
        for start in range(0, len(known), CHUNK):
            some = known[start : start + CHUNK]
            pairs = as_json([(self.seal.lane(address), *told) for address, *told in some])
            news = await self._rows("news_of_contacts", pairs=pairs, now=now, since=now - KNOWN_FOR)
            if news:
                values = {"pairs": as_json(news), "now": now}
                await self._writer.call(partial(moves.run, query="remember_contacts", values=values), rows=len(news))

    async def unlearn_address(self, address: str) -> None:
        if await self.contact_id(address) is not None:
            values = {"address": self.seal.lane(address)}
            await self._writer.call(partial(moves.run, query="unlearn_address", values=values))

    async def mark(self, lane: str) -> Mark:
        contact = lane.removeprefix(CONTACT) if lane.startswith(CONTACT) else None
        rows = await self._rows("mark", lane=self.seal.lane(lane), contact=contact)
        return Mark(*rows[0])

    async def touch(self, lane: str) -> None:
        known_as = self.seal.lane(lane)
        await self._writer.call(lambda c: moves.touch(c, known_as))

    async def forget_ids(self, contact_id: str) -> int:
        def forget(database: sqlite3.Connection) -> int:
            database.execute(SQL["forget_ids"], {"id": contact_id})
            return int(database.execute(SQL["count_forget"]).fetchall()[0][0])

        return await self._writer.call(forget)

    async def breaker(self) -> BreakerRecord | None:
        return await self._fact("breaker", BreakerRecord)

    async def set_breaker(self, record: BreakerRecord) -> None:
        await self._set_fact("breaker", record)

    async def drainer(self) -> DrainerRecord | None:
        return await self._fact("drainer", DrainerRecord)

    async def set_drainer(self, record: DrainerRecord | None) -> None:
        await self._set_fact("drainer", record)

    async def _fact(self, name: str, kind: type[T]) -> T | None:
        text = await self._fact_text(name)
        return None if text is None else msgspec.json.decode(text, type=kind)

    async def _fact_text(self, name: str) -> str | None:
        rows = await self._rows("fact", name=name)
        return rows[0][0] if rows else None

    async def _set_fact(self, name: str, value: object | None) -> None:
        if value is None:
            await self._writer.call(lambda c: c.execute(SQL["drop_fact"], {"name": name}).fetchall())
        else:
            values = {"name": name, "value": as_json(value)}
            await self._writer.call(lambda c: c.execute(SQL["set_fact"], values).fetchall())

    async def verify(self) -> list[Finding]:
        return await self._read(partial(verify, seal=self.seal))

    async def data_version(self) -> int:
        return int((await self._read(lambda c: c.execute("PRAGMA data_version").fetchone()))[0])


def prepare(
    path: str, turn: Turn, base_url: str | None, seal_keys: Sequence[bytes] = (), access: Access = OWNER
) -> list[str]:
    """Make sure that the file is an outbox of the newest schema, bound to that Engage, sealed where there are keys and
    open to whom it is to be open to. Runs in a thread.

    Returns the migrations that were taken. A damaged, foreign or newer file, and one that is sealed with another key,
    is refused and not touched.
    """
    check_sqlite()
    if base_url is None and not Path(path).exists():
        raise _needs_base_url(path)
    turn.refuse_without_locks()
    with turn:
        _make(path, access)
        check_size(path)
        database = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        try:
            version = schema_version(database, path)
            if version == 0 and base_url is None:
                raise _needs_base_url(path)
            if version:
                refuse_another(path, bound_to(database), base_url)
                opened(fact_of(database, "seal"), seal_keys, path)
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA secure_delete = ON")  # no key that is out of use stays readable
            taken: list[str] = []
            if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                # A new one, or one that came out of a backup that does not keep the mode.
                database.execute("PRAGMA journal_mode = WAL")
            if version < newest():
                taken = migrate(database, path)
            _bind(database, base_url, seal_keys, path)
            return taken
        except sqlite3.OperationalError as error:
            raise OutboxUnavailable(f"the outbox {path} cannot be opened now ({error})") from error
        except sqlite3.DatabaseError as error:
            raise OutboxDamaged(f"{path} is not a sound database ({error}); it was not touched") from error
        finally:
            database.close()


def _needs_base_url(path: str) -> ConfigurationError:
    return ConfigurationError(f"VOYADO_BASE_URL is needed to make a new outbox at {path}: it is bound to that Engage")


def _make(path: str, access: Access) -> None:
    """Make the file, empty, where there is none. The caller holds the turn.

    One that is there is looked at and never opened: closing any descriptor of a database gives up the locks of every
    SQLite connection that this process has to it, and the next process that closes it takes the WAL away under them
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        access.make_file(path)
        if not Path(path).is_file() or not os.access(path, os.R_OK | os.W_OK):
            raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be written")
    except OSError as error:
        raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be written ({error.strerror})") from error


def _bind(database: sqlite3.Connection, base_url: str | None, seal_keys: Sequence[bytes], path: str) -> None:
    """The first opening decides which Engage the outbox belongs to, and its number in file names (ref 6.2). The keys
    of the seal may change."""
    known = dict(database.execute(SQL["facts"]).fetchall())
    facts = {"base_url": base_url, "sender": str(secrets.randbelow(9_000_000) + 1_000_000)} | known
    facts["seal"] = renewed(known.get("seal"), seal_keys, path, new="sender" not in known)
    changed = {name: value for name, value in facts.items() if value is not None and value != known.get(name)}
    if changed:
        database.execute("BEGIN IMMEDIATE")
        for name, value in changed.items():
            database.execute(SQL["set_fact"], {"name": name, "value": value})
        database.execute("COMMIT")


async def open_outbox(
    path: str | Path,
    *,
    base_url: str | None,
    clock: Clock,
    read_only: bool = False,
    seal_keys: Sequence[bytes] = (),
    access: Access = OWNER,
) -> SqliteOutbox:
    """Open the outbox at that absolute path, and make it where there is none.

    The first of the `seal_keys` seals what is written, each of them opens; a sealed outbox needs one that does
    (OutboxSealed). Read-only it must be there and is taken as it is, whichever Engage it belongs to: nothing is made,
    migrated or waited for, and every write raises ClientClosed.
    """
    if read_only:
        await asyncio.to_thread(readable_schema, str(path))
    else:
        access.open_outbox(str(path))
    try:
        outbox = SqliteOutbox(str(path), clock, base_url, read_only=read_only, seal_keys=seal_keys, access=access)
    except OSError as error:
        raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be used ({error.strerror})") from error
    return await outbox.open()
