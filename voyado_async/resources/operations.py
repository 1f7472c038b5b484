"""What an operator can do with entries: replay, discard, edit, forget, purge, back up; each is written down.

Everything goes in chunks that hold the writers' turn for some milliseconds, and each move is conditional, so that a
shop that writes and a drainer that sends are in nobody's way. Whatever is interrupted can be started again.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal, Unpack

import msgspec

from voyado_async.clock import Clock
from voyado_async.delivery import Message, NoFileForm
from voyado_async.errors import EntryNotFound, TransitionRefused
from voyado_async.kinds import registry
from voyado_async.kinds.address import Address, as_typed
from voyado_async.models.decode import plain
from voyado_async.models.payload import to_json
from voyado_async.models.receipts import MatchKeyType
from voyado_async.outbox.moves import CONTACT
from voyado_async.outbox.operator_store import Action, Held, OperatorOutbox
from voyado_async.outbox.records import EntryFilter, EntryRecord
from voyado_async.outbox.replaying import TAKEN, Content, Plan, Road, Step
from voyado_async.outbox.shelf import Shelf, forget_known
from voyado_async.outbox.states import SETTLED, FileState, State
from voyado_async.outbox.writer import Scrubbed
from voyado_async.resources.action_log import filter_told, who
from voyado_async.resources.advice import Plan as Outlook
from voyado_async.resources.filters import Filters, filter_of
from voyado_async.resources.outbox import OutboxView
from voyado_async.resources.replays import PIECE, Pace, Progress, Replayer, Show
from voyado_async.settings import Settings

DAY = 86_400_000

SCRUB_TRIES = 100
SCRUB_WAIT = 0.05
"""So often the log is tried to be emptied, and the seconds between two tries: readers come and go."""

ROUNDS = 3
"""So often a contact is looked for anew, where others write and drain meanwhile."""


class Selected(msgspec.Struct, frozen=True):
    """What was asked of a selection, and what became of it."""

    dry_run: bool
    selected: int
    """Entries that fitted when it began."""
    counts: dict[str, int]
    """How many had which step: ``send``, ``file``, ``supersede``, ``discard``, ``leave``. In a dry run: would have."""
    plans: list[Plan]
    """In a dry run every entry, else those that were left, or lost a part: what becomes of each, and why."""
    failed: int = 0
    """Those that failed again while it went on; counted only with `max_failures`."""
    stopped: str | None = None
    """Why it ended before its end. What was not reached stays as it was."""


class Purged(msgspec.Struct, frozen=True):
    """What a purge did, or would do in a dry run."""

    dry_run: bool
    entries: int


class Forgotten(msgspec.Struct, frozen=True):
    """What became of a contact in this outbox. In a dry run: what would."""

    dry_run: bool
    entries: int
    unfinished: int
    """Those of them that were not settled, and are dropped with the rest."""
    files: tuple[str, ...]
    """Local files with entries of the contact; they are removed, and what others had in a spooled one is written
    again."""
    addresses: int
    """Addresses that stood for its id."""
    left: int
    """Entries that were written or sent meanwhile, and are still here: run it again."""
    out_of_reach: tuple[str, ...]


class Operations(OutboxView):
    """`voyado.outbox`"""

    _outbox: OperatorOutbox

    def __init__(self, outbox: OperatorOutbox, clock: Clock, settings: Settings) -> None:
        super().__init__(outbox, clock, Outlook.of(settings))
        self._settings = settings

    # replay and discard -----------------------------------------------------------------------------------------------

    async def replay(
        self,
        *entries: int | Iterable[int],
        which: EntryFilter | None = None,
        via: Literal["api", "file"] = "api",
        again: bool = False,
        dry_run: bool = False,
        rate: float | None = None,
        max_failures: int | None = None,
        reason: str | None = None,
        progress: Show = lambda progress: None,
        **filters: Unpack[Filters],
    ) -> Selected:
        """Bring entries back, by the API or by file, oldest first.

        Taken are `rejected`, `exhausted` and `spooled` ones; with `again` anything else whose id is given. What may
        have taken effect is looked up before it is sent. A contact update leaves out what newer entries of its contact
        have set; it is discarded as ``superseded`` when nothing is left. Which entries is decided at the start, by ids
        or by filters, as in ``replay(kind="receipt")``; with a `limit` the oldest so many. `rate` is in entries a
        second. With `max_failures` it waits for the answers and stops when so many failed again; this needs somebody
        who drains. By file, whoever drains writes the files at once.

        Raises EntryNotFound for an id that is not there, TransitionRefused for `again` without ids, or for
        `max_failures` where nobody drains.
        """
        road = Road(via)
        chosen = filter_of(which, filters, *entries)
        if again and not chosen.ids:
            raise TransitionRefused("`again` is for entries that are named by their ids")
        if not chosen.ids and not chosen.states:
            chosen = msgspec.structs.replace(chosen, states=TAKEN)
        selection = await self._select(chosen)
        content = self._content()
        if dry_run:
            plans: list[Plan] = []
            for piece in _pieces(selection):
                plans += await self._outbox.plan_replay(piece, content, via=road, again=again)
            return _told(plans, len(selection), dry_run=True)
        pace = Pace(rate, max_failures if road is Road.API else None)
        replayer = Replayer(self._outbox, self._clock, content, pace, progress)
        what = "replay" if road is Road.API else "replay by file"
        action = await self._outbox.begin_action(who(), what, filter_told(chosen), reason)
        result = _told([], len(selection), dry_run=False)
        async for plans, withdrawn in replayer.run(selection, via=road, again=again, action=action):
            await self._remove_local(withdrawn)
            result = _with(result, plans)
        await self._outbox.end_action(action)
        return msgspec.structs.replace(result, failed=replayer.failed, stopped=replayer.stopped)

    async def discard(
        self,
        *entries: int | Iterable[int],
        reason: str,
        which: EntryFilter | None = None,
        dry_run: bool = False,
        progress: Show = lambda progress: None,
        **filters: Unpack[Filters],
    ) -> Selected:
        """Drop entries, with a reason that stays on them. What is being sent, delivered or discarded is left; what left
        by file goes only where its id is given. An entry in a spooled file is taken out: the file is withdrawn, and
        what others had in it goes into the next one.

        Raises EntryNotFound for an id that is not there, TransitionRefused where neither ids nor a filter are given.
        """
        if not reason.strip():
            raise TransitionRefused("a discard needs a reason")
        chosen = filter_of(which, filters, *entries)
        if msgspec.structs.replace(chosen, limit=None) == EntryFilter():
            raise TransitionRefused("a discard needs ids or a filter")
        selection = await self._select(chosen)
        if dry_run:
            plans: list[Plan] = []
            for piece in _pieces(selection):
                plans += await self._outbox.plan_discard(piece, named=bool(chosen.ids))
            return _told(plans, len(selection), dry_run=True)
        action = await self._outbox.begin_action(who(), "discard", filter_told(chosen), reason)
        result = _told([], len(selection), dry_run=False)
        done = 0
        for piece in _pieces(selection):
            plans, withdrawn = await self._outbox.discard(piece, named=bool(chosen.ids), reason=reason, action=action)
            await self._remove_local(withdrawn)
            result = _with(result, plans)
            done += len(piece)
            progress(Progress(done, len(selection)))
        await self._outbox.end_action(action)
        return result

    async def _select(self, which: EntryFilter) -> Sequence[int]:
        found: set[int] = set()
        async for piece in self._outbox.select(which):
            found.update(piece)
        if missing := set(which.ids) - found:
            raise EntryNotFound(f"not among the selected entries: {', '.join(map(str, sorted(missing)))}")
        return array("q", sorted(found))[: which.limit]

    def _content(self) -> Content:
        settings = self._settings

        def no_file_form(message: Message) -> str | None:
            form = registry.file_form(message, default_type=settings.contact_type, contact_key=settings.contact_key)
            return form.reason if isinstance(form, NoFileForm) else None

        return Content(
            fields=registry.fields,
            without=registry.without,
            natural_key=registry.natural_key,
            can_look_up=lambda message: registry.can_look_up(message, contact_key=settings.contact_key),
            no_file_form=no_file_form,
        )

    async def _remove_local(self, names: Sequence[str]) -> None:
        """Only after the database has let go of them; what a crash leaves here is removed by whoever drains."""
        folder = self._settings.spool_path
        for name in names:
            await asyncio.to_thread((folder / name).unlink, missing_ok=True)

    # editing ----------------------------------------------------------------------------------------------------------

    async def edit(
        self,
        entry_id: int,
        content: Mapping[str, object] | bytes,
        *,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> EntryRecord:
        """Give a rejected entry a corrected content, in the form in which `body` shows it. It is checked as at the
        first time and stays rejected until it is replayed; the old content is kept. A dry run only checks.

        Raises EntryNotFound, InvalidEntry with the path of what is wrong, TransitionRefused where it is not rejected.
        """
        entry = await self._outbox.get(entry_id)
        text = content if isinstance(content, bytes) else to_json(plain(content))
        settings = self._settings
        draft = registry.corrected(
            entry.kind, text, contact_key=settings.contact_key, allowed=settings.contact_attributes
        )
        key = entry.key
        if key is not None and key == registry.natural_key(entry.kind, await self._outbox.body(entry_id)):
            key = draft.natural_key
        if entry.state is not State.REJECTED:
            raise _not_to_be_edited(entry)
        if dry_run:
            return entry
        action = await self._outbox.begin_action(who(), "edit", f"ids {entry_id}", reason)
        if not await self._outbox.edit(entry_id, draft, key, action):
            raise _not_to_be_edited(await self._outbox.get(entry_id))
        await self._outbox.end_action(action)
        return await self._outbox.get(entry_id)

    # purging and forgetting -------------------------------------------------------------------------------------------

    async def purge(self, older_than: timedelta | float, *, dry_run: bool = False, reason: str | None = None) -> Purged:
        """Remove delivered and discarded entries that last changed before so long; a number is seconds. The hashes of
        their keys stay for `VOYADO_KEY_DAYS`. A change of a contact stays while an older one of it is rejected."""
        now = self._clock.now()
        older_than = older_than if isinstance(older_than, timedelta) else timedelta(seconds=older_than)
        before = now - int(older_than.total_seconds() * 1000)
        if dry_run:
            return Purged(True, await self._outbox.purgeable(before))
        chosen = f"older than {older_than}"
        action = await self._outbox.begin_action(who(), "purge", chosen, reason)
        count = await self._outbox.purge(before, now - int(self._settings.key_days * DAY))
        await self._outbox.end_action(action, count)
        return Purged(False, count)

    async def forget(
        self, contact: str, *, drop_pending: bool = False, dry_run: bool = False, reason: str | None = None
    ) -> Forgotten:
        """Remove a contact from this outbox: entries with content and record, addresses, local files, memory, log.

        `contact` is its id, or its e-mail address, or another attribute with its name before it, such as
        ``memberNumber:1234``. Raises
        TransitionRefused where a request or an upload of it is under way (try again later), and where entries of it
        are unfinished, unless `drop_pending` drops them.
        """
        named = as_typed(contact)
        held = await self._outbox.held(named.lane, _id(named))
        unfinished = sum(count for state, count in held.states.items() if state not in SETTLED)
        _refuse_under_way(held)
        if unfinished and not drop_pending:
            raise TransitionRefused(
                f"{unfinished} entries of this contact are not finished; nothing was removed. Wait for them, or drop "
                "them as well (drop_pending, --drop-pending)"
            )
        entries = sum(held.states.values())
        files = tuple(file.name for file in held.files)
        addresses = sum(not address.startswith(CONTACT) for address in held.addresses)  # the others tell the type
        if dry_run:
            reach = self._out_of_reach(held, Scrubbed(log=True, pages=True))
            return Forgotten(True, entries, unfinished, files, addresses, 0, reach)
        action = await self._outbox.begin_action(who(), "forget", "one contact", reason)
        entries, left = 0, held
        for _ in range(ROUNDS):
            await self._outbox.withdraw([file.name for file in left.files if file.state == FileState.SPOOLED])
            await self._remove_local([file.name for file in left.files])
            entries += await self._outbox.forget(left, action)
            left = await self._outbox.held(named.lane, _id(named))
            if not left.states:
                break
        await self._forget_reads(held)
        scrubbed = await self._scrub()
        await self._outbox.end_action(action)
        return Forgotten(
            False, entries, unfinished, files, addresses, sum(left.states.values()),
            self._out_of_reach(held, scrubbed),
        )  # fmt: skip

    async def _forget_reads(self, held: Held) -> None:
        """What was read of the contact, on the shelf and in the memory of every process."""
        base_url = await self._outbox.base_url()
        if base_url is not None:
            shelf = Shelf(self._outbox.path, base_url, self._outbox.seal)
            for contact_id in held.ids:
                await forget_known(self._outbox, shelf, contact_id)

    async def _scrub(self) -> Scrubbed:
        scrubbed = await self._outbox.scrub()
        for _ in range(SCRUB_TRIES):
            if scrubbed.log:
                break
            await self._clock.sleep(SCRUB_WAIT)
            scrubbed = await self._outbox.scrub()
        return scrubbed

    def _out_of_reach(self, held: Held, scrubbed: Scrubbed) -> tuple[str, ...]:
        at_engage = [file.name for file in held.files if file.state in (FileState.UPLOADED, FileState.IMPORTED)]
        told = ["backups and exported files"]
        if at_engage:
            told.append(f"files at Engage: {', '.join(at_engage)}")
        told += [
            "entries that name the contact by another attribute, where no look-up has shown that it is the same",
        ]
        if not scrubbed.log:
            told.append("the write-ahead log, which others are reading: run it again")
        if not scrubbed.pages:
            told.append(
                "unused space inside pages of the database, where a copy of a key can stay until it is overwritten: "
                "run VACUUM on the file while nobody uses it"
            )
        return tuple(told)

    # backing up -------------------------------------------------------------------------------------------------------

    async def backup(self, target: Path, *, reason: str | None = None) -> None:
        """Copy the whole outbox, as it is at one moment, into a new file of 0600, while everybody works on.

        A restored copy knows nothing of what was delivered since: that is sent again, after a look where one exists.
        """
        action = await self._outbox.begin_action(who(), "backup", target.name, reason)
        await self._outbox.backup(target)
        await self._outbox.end_action(action)

    async def actions(self, limit: int = 100) -> list[Action]:
        """What operators did to this outbox, newest first."""
        return await self._outbox.actions(limit)


def _pieces(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + PIECE] for start in range(0, len(ids), PIECE)]


def _told(plans: Sequence[Plan], selected: int, *, dry_run: bool) -> Selected:
    result = Selected(dry_run, selected, {str(step): 0 for step in Step}, [])
    return _with(result, plans)


def _with(result: Selected, plans: Sequence[Plan]) -> Selected:
    for plan in plans:
        result.counts[plan.step] += 1
        if result.dry_run or plan.step in (Step.LEAVE, Step.SUPERSEDE) or plan.left_out:
            result.plans.append(plan)
    return result


def _not_to_be_edited(entry: EntryRecord) -> TransitionRefused:
    return TransitionRefused(f"entry {entry.id} is {entry.state} and cannot be edited; only a rejected one can")


def _id(named: Address) -> str | None:
    return named.value if named.type is MatchKeyType.CONTACT_ID else None


def _refuse_under_way(held: Held) -> None:
    if held.states.get(State.SENDING):
        raise TransitionRefused("a request of this contact is under way; nothing was removed, try again in a minute")
    if any(file.state == FileState.UPLOADING for file in held.files):
        raise TransitionRefused("a file with this contact is being uploaded; nothing was removed, try again later")
