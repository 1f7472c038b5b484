"""What operators do to the outbox in SQLite: prepared with reads, carried out in short transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any

import msgspec

from voyado_async.delivery import Draft, Kind
from voyado_async.errors import TransitionRefused
from voyado_async.outbox import choosing, looking, operator_moves, replaying
from voyado_async.outbox.chunks import CHUNK, Chunk
from voyado_async.outbox.moves import SQL, as_json
from voyado_async.outbox.operator_moves import Prepared, Row, Watched
from voyado_async.outbox.operator_store import Action, Setting
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.replaying import SUPERSEDED, Content, Plan, Road, Step
from voyado_async.outbox.sqlite_second_road import SecondRoadPart
from voyado_async.outbox.states import FileState, State

TRIES = 50
"""So often an entry is prepared again because others moved something of its contact meanwhile: each time they came
further, and two replays of the same entries are at an end before."""

Fields = dict[int, frozenset[str]]


class OperatorPart(SecondRoadPart):
    """See `operator_store.OperatorOutbox` for the promises. It withdraws files as the second road does."""

    @cached_property
    def _chunk(self) -> Chunk:
        """Of whoever carries out plans here: they come in pieces."""
        return Chunk(CHUNK)

    # the action log ---------------------------------------------------------------------------------------------------

    async def begin_action(self, who: str, what: str, chosen: str, reason: str | None) -> int:
        values = {"at": self._clock.now(), "who": who, "what": what, "chosen": chosen, "reason": reason}
        return await self._writer.call(lambda c: int(c.execute(SQL["add_action"], values).fetchall()[0][0]))

    async def end_action(self, action: int, entries: int = 0) -> None:
        values = {"id": action, "now": self._clock.now(), "count": entries}
        await self._writer.call(lambda c: c.execute(SQL["end_action"], values).fetchall())

    async def actions(self, limit: int) -> list[Action]:
        return await self._read(partial(looking.actions, limit=limit))

    # choosing ---------------------------------------------------------------------------------------------------------

    async def select(self, which: EntryFilter) -> AsyncIterator[list[int]]:
        pieces = await self._read(partial(choosing.chosen, which=choosing.as_known(which, self.seal)))
        while piece := await self._read(lambda c: next(pieces, None)):
            yield piece

    # replaying and discarding -----------------------------------------------------------------------------------------

    async def plan_replay(self, ids: Sequence[int], content: Content, *, via: Road, again: bool) -> list[Plan]:
        entries = await self._prepare(ids, content, via)
        return [replaying.replay(entry.standing, via=via, again=again) for entry in entries]

    async def plan_discard(self, ids: Sequence[int], *, named: bool) -> list[Plan]:
        return [replaying.discard(entry.standing, named=named) for entry in await self._prepare(ids, None, None)]

    async def replay(
        self, ids: Sequence[int], content: Content, *, via: Road, again: bool, action: int
    ) -> tuple[list[Plan], list[str]]:
        prepare = partial(self._prepare, content=content, via=via)
        decide = partial(replaying.replay, via=via, again=again)
        return await self._some_at_a_time(
            ids, partial(self._carry_out, prepare=prepare, decide=decide, reason=None, action=action)
        )

    async def discard(
        self, ids: Sequence[int], *, named: bool, reason: str, action: int
    ) -> tuple[list[Plan], list[str]]:
        prepare = partial(self._prepare, content=None, via=None)
        decide = partial(replaying.discard, named=named)
        return await self._some_at_a_time(
            ids, partial(self._carry_out, prepare=prepare, decide=decide, reason=reason, action=action)
        )

    async def _some_at_a_time(
        self, ids: Sequence[int], carry_out: Callable[[Sequence[int]], Awaitable[tuple[list[Plan], list[str]]]]
    ) -> tuple[list[Plan], list[str]]:
        """As many at a time as one transaction takes."""
        done: list[Plan] = []
        withdrawn: list[str] = []
        for some in self._chunk.pieces(ids):
            plans, files = await carry_out(some)
            done += plans
            withdrawn += files
        return done, withdrawn

    async def _carry_out(
        self,
        ids: Sequence[int],
        *,
        prepare: Callable[[Sequence[int]], Any],
        decide: Callable[[replaying.Standing], Plan],
        reason: str | None,
        action: int,
    ) -> tuple[list[Plan], list[str]]:
        done: list[Plan] = []
        withdrawn: list[str] = []
        left = list(ids)
        for _ in range(TRIES):
            entries: list[Prepared] = await prepare(left)
            plans = {entry.row.id: decide(entry.standing) for entry in entries}
            files = {
                entry.row.file for entry in entries if entry.row.file is not None and plans[entry.row.id].withdraws
            }
            if files:
                withdrawn += await self.withdraw(sorted(files))
                continue
            moved = await self._writer.call(
                partial(
                    operator_moves.carry_out,
                    entries=entries, plans=plans, reason=reason, action=action, now=self._clock.now(), seal=self.seal,
                ),
                rows=2 * len(entries),
            )  # fmt: skip
            self._chunk.took(self._writer.held, len(entries))
            done += moved.plans
            left = moved.again
            if not left:
                break
        for entry in await prepare(left) if left else []:
            plan = decide(entry.standing)
            done.append(msgspec.structs.replace(plan, step=Step.LEAVE, why="it is being moved by others; try again"))
        for plan in done:
            if plan.step in (Step.DISCARD, Step.SUPERSEDE):
                self._tell(plan.id, State.DISCARDED, reason or SUPERSEDED)
        return sorted(done, key=lambda plan: plan.id), withdrawn

    async def _prepare(self, ids: Sequence[int], content: Content | None, via: Road | None) -> list[Prepared]:
        """What decisions are made from. Without `content` nothing of the entries' contents is asked."""
        last, mark, rows = await self._read(
            lambda c: (
                int(c.execute(SQL["last_id"]).fetchone()[0]),
                operator_moves.replays(c),
                operator_moves.rows_of(c, ids),
            )
        )
        if content is None:
            return [
                Prepared(row, operator_moves.standing_of(row, None, None, left=frozenset(), nothing=False))
                for row in rows
            ]
        bodies = await self._bodies([row.id for row in rows if _asks_content(row, via)])
        newer = await self._newer(rows, content.fields)
        entries = [_prepared(row, content, bodies.get(row.id), newer.get(row.id), last, mark) for row in rows]
        rivals = await self._read(lambda c: operator_moves.rivals(c, entries, self.seal))
        return [
            entry
            if entry.row.id not in rivals
            else msgspec.structs.replace(
                entry, standing=msgspec.structs.replace(entry.standing, rival=rivals[entry.row.id])
            )
            for entry in entries
        ]

    async def _bodies(self, ids: Sequence[int]) -> dict[int, bytes]:
        rows = await self._rows("bodies", ids=as_json(list(ids)))
        return {entry: self.seal.content(entry, body) for entry, body in rows}

    async def set_by_newer(self, ids: Sequence[int], fields: Setting) -> dict[int, frozenset[str]]:
        rows = await self._read(partial(operator_moves.rows_of, ids=ids))
        return {entry: taken for entry, (taken, _) in (await self._newer(rows, fields)).items()}

    async def _newer(self, rows: Iterable[Row], setting: Setting) -> dict[int, tuple[frozenset[str], bool]]:
        """Of each contact write: the fields that newer entries have set, and whether some newer ones were dropped."""
        lanes: dict[int, list[int]] = {}
        for row in rows:
            if row.kind in operator_moves.SETTING:
                lanes.setdefault(row.lane, []).append(row.id)
        found: dict[int, tuple[frozenset[str], bool]] = {}
        for lane, ids in lanes.items():
            later = await self._read(partial(operator_moves.changes_after, lane=lane, after=min(ids)))
            fields = await self._fields([(entry, kind) for entry, kind, state in later if _stands(state)], setting)
            found |= operator_moves.set_after(ids, later, fields)
        return found

    async def _fields(self, entries: Sequence[tuple[int, Kind]], setting: Setting) -> Fields:
        fields: Fields = {}
        for start in range(0, len(entries), CHUNK):
            some = dict(entries[start : start + CHUNK])
            for entry, body in (await self._bodies(list(some))).items():
                fields[entry] = setting(some[entry], body)
        return fields

    async def withdraw(self, files: Sequence[str]) -> list[str]:
        withdrawn = []
        for file in await self.files(open_only=True):
            if file.name in files and file.state == FileState.SPOOLED:
                try:
                    await self.update_file(
                        file.id, state=FileState.WITHDRAWN, now=self._clock.now(), entries_to=State.EXHAUSTED
                    )
                except TransitionRefused:
                    continue  # its upload has begun meanwhile: its entries are uploaded
                withdrawn.append(file.name)
        return withdrawn

    async def edit(self, entry_id: int, draft: Draft, key: str | None, action: int) -> bool:
        now = self._clock.now()
        return await self._writer.call(lambda c: operator_moves.edit(c, entry_id, draft, key, action, now, self.seal))


def _stands(state: State) -> bool:
    return state not in (State.REJECTED, State.DISCARDED)


def _asks_content(row: Row, via: Road | None) -> bool:
    """Whether a decision needs the content: a receipt that keeps its key and goes by the API never does."""
    return row.kind is not Kind.RECEIPT or row.released_key is not None or via is Road.FILE


def _prepared(
    row: Row,
    content: Content,
    body: bytes | None,
    newer: tuple[frozenset[str], bool] | None,
    last: int,
    mark: str,
) -> Prepared:
    left: frozenset[str] = frozenset()
    cut: bytes | None = None
    nothing = False
    if newer is not None and body is not None and (left := newer[0] & content.fields(row.kind, body)):
        cut = content.without(row.kind, body, left)
        nothing = cut is None
        if cut == body:
            cut, left = None, frozenset()
    return Prepared(
        row=row,
        standing=operator_moves.standing_of(row, content, cut or body, left=left, nothing=nothing),
        body=cut,
        natural_key=None if body is None else content.natural_key(row.kind, body),
        watched=None if newer is None else Watched(last, mark if newer[1] else None),
    )
