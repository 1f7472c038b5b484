"""What a person does to the outbox, in any order and at any time, while the program drains and may die over it."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from lockstep import Command
from outbox_machine import CONTACTS, OutboxMachine
from watching import HITS

from voyado_async.delivery import Kind
from voyado_async.errors import TransitionRefused
from voyado_async.models.decode import plain
from voyado_async.models.payload import to_json
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State
from voyado_async.resources.operations import Operations, Selected

T = TypeVar("T")

ADDRESSED = [f"email:{email}" for email in CONTACTS.values()]

TAKEN = (State.REJECTED, State.EXHAUSTED, State.SPOOLED)
"""What is replayed without being told twice (DESIGN 4)."""


class OperatorMachine(OutboxMachine):
    """The rules of the operator's process."""

    def _operations(self) -> Operations:
        return Operations(self.shop.outbox, self.clock, self.settings)

    def _beside(self) -> frozenset[int]:
        """What stands in spooled files: one of them is withdrawn as a whole."""
        rows = self.shop.database.execute("SELECT id FROM entry WHERE state IN ('spooled', 'exhausted')").fetchall()
        return frozenset(row[0] for row in rows)

    def _act(self, what: str, ids: frozenset[int], work: Coroutine[Any, Any, T]) -> T | None:
        """None: refused, or the process died over it."""

        async def act() -> T | None:
            with contextlib.suppress(TransitionRefused):
                result = await self.shop.survives(work)
                HITS[f"operator: {what}{', died over it' if result is None else ''}"] += 1
                return result
            HITS[f"operator: {what}, refused"] += 1
            return None

        return self._do(act(), Command(what, ids, self._beside()))

    def _some(self, data: st.DataObject) -> list[int]:
        there = sorted(self.states)
        return data.draw(st.lists(st.sampled_from(there[-12:]), min_size=1, max_size=4, unique=True))

    @rule(via=st.sampled_from(["api", "api", "file"]), kind=st.sampled_from([None, *Kind]))
    @precondition(lambda self: self.states)
    def replay(self, via: str, kind: Kind | None) -> None:
        """Everything that waits for a person, or all of a kind."""
        which = EntryFilter(states=TAKEN, kinds=() if kind is None else (kind,))
        work = self._operations().replay(which=which, via=via)  # type: ignore[arg-type]  # one of the two words
        result = self._act("replay" if via == "api" else "replay by file", frozenset(self.states), work)
        self._check_replay(result)

    @rule(data=st.data(), via=st.sampled_from(["api", "api", "file"]), again=st.booleans())
    @precondition(lambda self: self.states)
    def replay_some(self, data: st.DataObject, via: str, again: bool) -> None:
        self._replay_ids(self._some(data), via=via, again=again)

    def _replay_ids(self, ids: list[int], *, via: str, again: bool) -> Selected | None:
        work = self._operations().replay(*ids, via=via, again=again)  # type: ignore[arg-type]  # one of the two words
        what = f"replay{' by file' if via == 'file' else ''}{' again' if again else ''}"
        result = self._act(what, frozenset(ids), work)
        self._check_replay(result)
        return result

    def _check_replay(self, result: Selected | None) -> None:
        if result is not None:
            assert sum(result.counts.values()) == result.selected, result
            for step, count in result.counts.items():
                HITS[f"operator: replay came to {step}"] += count

    async def _help(self) -> None:
        """A person replays what nothing else moves."""
        await self._watch()
        self.command = Command("replay", frozenset(self.states))
        await self._operations().replay(which=EntryFilter(states=(State.EXHAUSTED,)))
        await self._watch()
        self.command = None

    @rule(data=st.data(), named=st.booleans())
    @precondition(lambda self: self.states)
    def discard(self, data: st.DataObject, named: bool) -> None:
        self._discard(self._some(data), named=named)

    def _discard(self, ids: list[int], *, named: bool) -> None:
        if named:
            work = self._operations().discard(*ids, reason="unwanted")
            self._act("discard by id", frozenset(ids), work)
            return
        kinds = (self.written[ids[0]].kind,)
        which = EntryFilter(kinds=kinds, states=(State.REJECTED, State.EXHAUSTED, State.SPOOLED, State.UPLOADED))
        self._act("discard", frozenset(self.states), self._operations().discard(reason="unwanted", which=which))

    @rule(data=st.data())
    @precondition(lambda self: self._rejected_changes())
    def edit(self, data: st.DataObject) -> None:
        self._edit(data.draw(st.sampled_from(self._rejected_changes())))

    def _rejected_changes(self) -> list[int]:
        return [entry for entry, state in self.states.items() if state is State.REJECTED and self.written[entry].number]

    def _edit(self, entry: int) -> None:
        """It gets another content and is replayed: its place in the order stays."""
        written = self.written[entry]
        number = self._next()
        self.numbers[number] = entry
        row = self.shop.database.execute("SELECT content FROM body WHERE entry = ?", (entry,)).fetchone()
        if row is None:
            return
        content = plain_of(bytes(row[0]))
        if written.kind is Kind.CONTACT_TYPE:
            content["contactType"] = f"t{number}"
        else:
            content["changes" if written.kind is Kind.CONTACT_UPDATE else "contact"]["city"] = f"c{number}"
        for wrong in ("nickname", "email"):
            content.get("changes", {}).pop(wrong, None)
        if (email := self.model.addressed.get(written.number)) is not None:
            self.model.addressed[number] = email
        self._act("edit", frozenset({entry}), self._operations().edit(entry, to_json(content)))
        self._replay_ids([entry], via="api", again=False)

    @rule(days=st.sampled_from([0.0, 0.01, 1.0]))
    def purge(self, days: float) -> None:
        self._act("purge", frozenset(self.states), self._operations().purge(older_than=timedelta(days=days)))

    @rule(contact=st.sampled_from([*CONTACTS, *ADDRESSED, "email:cia@example.com"]), drop=st.booleans())
    def forget(self, contact: str, drop: bool) -> None:
        before = dict(self.states)
        lanes = self._lanes_of(contact)
        mine = frozenset(entry for entry in self.states if self._lane(self.written[entry].lane) in lanes)
        done = self._act("forget", mine, self._operations().forget(contact, drop_pending=drop))
        if done is None or not drop:
            waits = [each for each in mine if before[each] not in (State.DELIVERED, State.REJECTED, State.DISCARDED)]
            assert drop or not waits or done is None, (contact, waits)
        if done is not None and not done.left:
            assert not mine & self.states.keys(), (contact, mine & self.states.keys())

    def _lanes_of(self, contact: str) -> set[int | None]:
        """The lanes of a contact and of all its names that are known."""
        database = self.shop.database
        named = contact if ":" in contact else f"contact:{contact}"
        ids = {row[0] for row in database.execute("SELECT id FROM contact WHERE address = ?", (named,)).fetchall()}
        ids |= {contact} if ":" not in contact else set()
        names = {named} | {f"contact:{each.lower()}" for each in ids}
        for each in ids:
            rows = database.execute("SELECT address FROM contact WHERE id = ?", (each,)).fetchall()
            names |= {row[0] for row in rows}
        return {lane for name in names if (lane := self._lane(name)) is not None}

    @rule(carried=st.booleans())
    def take_a_file(self, carried: bool) -> None:
        """A person carries a spooled file to Engage, or takes it back."""

        async def act() -> int | None:
            for file in await self.shop.outbox.files(open_only=True):
                if file.state == "spooled" and file.problem != "incomplete":
                    if carried:
                        copy = (self.settings.spool_path / file.name).read_bytes()
                        moved = await self.shop.outbox.update_file(
                            file.id, state="uploaded", now=self.clock.now(), entries_to=State.UPLOADED, carried=True
                        )
                        self.model.folder[file.family, file.name] = copy
                        return moved
                    return await self.shop.outbox.update_file(
                        file.id, state="withdrawn", now=self.clock.now(), entries_to=State.PENDING
                    )
            return 0

        self._act("carry a file" if carried else "withdraw a file", self._beside(), act())


def plain_of(body: bytes) -> dict[str, Any]:
    """A stored content as plain values."""
    content: dict[str, Any] = plain(msgspec.json.decode(body))
    return content
