"""What happens to the entries of a real outbox, commit by commit, held against the model: see `lockstep`."""

from __future__ import annotations

from collections import Counter

import msgspec
from dying import Process
from hypothesis.stateful import RuleBasedStateMachine
from lockstep import SETTING, Command, Fate, Written, may, overtaken
from model_engage import Model

from voyado_async.delivery import Draft, Kind
from voyado_async.outbox.states import FINAL, State

HITS: Counter[str] = Counter()
"""How often each move, fault, crash point and step of an operator was hit in all runs together."""


class Watching(RuleBasedStateMachine):
    """What was written and where it has to be. `shop` is the process that sells and is the operator's."""

    shop: Process
    model: Model

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        """Up to which of its notes the database was read."""
        self.written: dict[int, Written] = {}
        """Everything that the shop was told to be durable, also what was purged or forgotten since."""
        self.states: dict[int, State] = {}
        """Where each entry that is still there has to be, by the moves that were seen."""
        self.places: dict[int, tuple[Kind, int]] = {}
        """Of what is there: its kind, and the lane that it was last seen in."""
        self.joined: dict[int, int] = {}
        """The lanes that became part of others."""
        self.numbers: dict[int, int] = {}
        """The entry that wrote a number."""
        self.together: set[tuple[int, int]] = set()
        """Pairs of changes (older, newer) that were known to be one contact's when the newer one was written."""
        self.known: dict[tuple[int, int], int] = {}
        """Pairs that are known to be one contact's, and how many of its changes had been applied when that was seen."""
        self.excused: set[tuple[int, int]] = set()
        """Pairs whose order a person gave up: see `lockstep`."""
        self.tried: set[int] = set()
        """What Engage may have, or may have had."""
        self.left_to_newer: set[int] = set()
        """Changes that were confirmed when a newer one, of which Engage may know, had set the same."""
        self.gone = Counter[str]()
        self.command: Command | None = None
        """What the operator is doing."""

    def _add(self, entry: int, draft: Draft, written: Written) -> None:
        assert entry not in self.written
        self.written[entry] = written
        self.states.setdefault(entry, State.PENDING)
        if written.number:
            self.numbers[written.number] = entry
            lane = self._lane(draft.lane)
            for older, other in self.written.items():
                # A creation does not overwrite whom it finds: what an older change has set stays in force.
                changes = written.kind is Kind.CONTACT_UPDATE and other.field == written.field and older != entry
                if changes and older in self.states and self._lane(other.lane) == lane:
                    self.together.add((older, entry))

    def _lane(self, key: str) -> int | None:
        row = self.shop.database.execute("SELECT coalesce(joined, id) FROM lane WHERE key = ?", (key,)).fetchone()
        return None if row is None else int(row[0])

    async def _watch(self) -> None:
        """What was moved since the last look, in the order of the commits, is what the model allows."""
        rows = self.shop.database.execute(
            "SELECT seq, who, entry, lane, source, target, what FROM seen WHERE seq > ? ORDER BY seq", (self.seen,)
        ).fetchall()
        for seq, who, entry, lane, source, target, what in rows:
            self.seen = seq
            if what == "lanes joined":
                self.joined[lane] = int(target)
            elif what == "new entry":
                self.places[entry] = Kind(target), lane
                self.states.setdefault(entry, State.PENDING)
            elif entry is not None:
                assert self.states[entry] == source, (entry, self.states[entry], source, target)
                assert may(who, source, target, self.command, entry), (who, entry, source, target, self.command)
                HITS[f"move {source} -> {target}, {who}"] += 1
                if target == "gone":
                    self._is_gone(entry, State(source))
                else:
                    self.places[entry] = self.places[entry][0], lane
                    self.states[entry] = State(target)
                    self._is_moved(who, entry, State(source), State(target))

    def _is_sent(self, entry: int) -> None:
        """Nothing of its contact had to go first."""
        lane = self._root(entry)
        mates = {each: (kind, self.states[each]) for each, (kind, _) in self.places.items() if self._root(each) == lane}
        assert overtaken(entry, mates) == [], (entry, mates)

    def _root(self, entry: int) -> int:
        lane = self.places[entry][1]
        return self.joined.get(lane, lane)

    def _is_gone(self, entry: int, state: State) -> None:
        assert self.command is not None
        written = self.written[entry]
        purged = self.command.what == "purge"
        # A delivered entry leaves its key behind when it is purged; who is forgotten leaves nothing.
        fate = Fate.SPENT if purged and state is State.DELIVERED else Fate.GONE
        self.written[entry] = msgspec.structs.replace(written, fate=fate)
        self.gone["purged" if purged else "forgotten"] += 1
        lane = self._root(entry)
        del self.states[entry], self.places[entry]
        if purged and written.number:
            for older, other in self.states.items():
                # What says that an older value must not come back stays for as long as that could be sent or replayed.
                changes = older < entry and self.places[older][0] in SETTING and self._root(older) == lane
                assert not changes or other in FINAL, (older, entry)

    def _is_moved(self, who: str, entry: int, source: State, target: State) -> None:
        if target is State.SENDING:
            self._is_sent(entry)
        elif target is State.DELIVERED:
            HITS[f"delivered {self.places[entry][0]}"] += 1
            if source is State.IMPORTED and self.followers(entry, tried=True):
                self.left_to_newer.add(entry)
        elif target is State.DISCARDED and self._is_superseded(who, entry):
            assert self.followers(entry, tried=who == "program"), (entry, self.states)
        if target in (State.SENDING, State.UPLOADED):
            self.tried.add(entry)
        if who == "shop" and self.command is not None and self.command.is_replay:
            self.excused |= {(entry, newer) for newer in self.written if newer > entry and newer not in self.states}
        if who == "shop" and source in (State.UPLOADED, State.IMPORTED):
            self.model.taken_back.add(entry)

    def _is_superseded(self, who: str, entry: int) -> bool:
        """It was not dropped by a person."""
        if self.command is None or entry not in self.command.ids:
            return True
        return self.command.is_replay or (who == "program" and self.command.what != "cancel")

    def is_excused(self, older: int, newer: int) -> bool:
        """Whether the order of the two is nobody's promise any more: see `lockstep`."""
        if self.states.get(newer) in (State.REJECTED, State.DISCARDED):
            self.excused.add((older, newer))
        forgotten = any(self.written[each].fate is Fate.GONE for each in (older, newer))
        purged = self.written[newer].fate is Fate.SPENT and (older, newer) not in self.known
        return forgotten or purged or (older, newer) in self.excused or self._has_moved_on(older, newer)

    def followers(self, entry: int, *, tried: bool) -> list[int]:
        """Newer writes of its contact, dropped by nobody, that set what this one would. `tried`: of which Engage may
        know."""
        field, lane = self.written[entry].field, self._root(entry)
        return [
            newer
            for newer, state in self.states.items()
            if newer > entry and self.written[newer].field == field and self._root(newer) == lane
            and state not in (State.REJECTED, State.DISCARDED) and (newer in self.tried or not tried)
        ]  # fmt: skip

    def _has_moved_on(self, older: int, newer: int) -> bool:
        """One of them was written by an address that more than one contact has had by now: it goes to whom that names
        when it leaves, and stays in the lane of whom it named at first."""
        first, second = self.written[older], self.written[newer]
        moved = any(self.model.has_moved(each.subject) for each in (first, second))
        return moved and self._lane(first.lane) != self._lane(second.lane)
