"""The facts for `settled.verdict` out of an outbox: the cheap ones first, the dear ones only where they count."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from voyado_async.cli.settled import Exhausted, Facts, OpenFile, Verdict, verdict
from voyado_async.delivery import FileFamily, FileForm, Message
from voyado_async.errors import InvalidEntry
from voyado_async.outbox.states import State
from voyado_async.outbox.store import EntryFilter, Outbox
from voyado_async.settings import Settings

EVER = 1 << 61
"""Later than any due time."""


async def facts_of(outbox: Outbox, settings: Settings) -> Facts:
    """What the outbox says now. Where an entry waits for its turn and may be sent, nothing more is read: that moves."""
    states = (await outbox.counts()).states
    breaker = await outbox.breaker()
    halted = None if breaker is None else breaker.halted
    if states[State.SENDING]:
        return Facts(states, halted=halted)
    if states[State.PENDING] and await outbox.due_since() is not None:
        # Every waiting lane's head counts where the key is refused for some kinds only; else one is enough.
        heads = await outbox.claim(states[State.PENDING] if halted else 1, EVER, frozenset())
        kinds = frozenset(message.kind for message in heads)
        if kinds and halted is None:
            return Facts(states, heads=kinds)
    else:
        kinds = frozenset()
    facts = Facts(
        states,
        heads=kinds,
        halted=halted,
        files=await _files(outbox, settings),
        in_bulk=settings.fallback_contacts == "bulk" and bool(await outbox.left_in_bulk()),
        confirmable=settings.fallback_confirm and bool(await outbox.to_confirm(1, EVER)),
        confirm=settings.fallback_confirm,
    )
    if verdict(facts) is not Verdict.NEEDS_PERSON:
        return facts
    outage = frozenset(
        entry.file or str(entry.id)
        for entry in await outbox.entries(EntryFilter(states=(State.EXHAUSTED, State.SPOOLED)))
        if entry.outage
    )
    ways = _ways(settings)
    return msgspec.structs.replace(
        facts,
        exhausted=[ways(message, str(message.id) in outage) async for message in outbox.exhausted()],
        files=[msgspec.structs.replace(file, outage=file.name in outage) for file in facts.files],
    )


def _ways(settings: Settings) -> Callable[[Message, bool], Exhausted]:
    """How an exhausted entry may leave, as the courier of these settings sees it."""
    from voyado_async.fallback.courier import bulk_forms, forms_to_upload  # here: it brings lxml
    from voyado_async.fallback.tenant import Tenant

    in_file, in_bulk = forms_to_upload(settings, Tenant.of(settings)), bulk_forms(settings)

    def ways(message: Message, outage: bool) -> Exhausted:
        try:
            has_file_form = isinstance(in_file(message), FileForm)
        except InvalidEntry:
            return Exhausted(outage, has_file_form=True)  # it is rejected at the next gathering: that is a move, too
        return Exhausted(outage, has_file_form, has_bulk_form=isinstance(in_bulk(message), FileForm))

    return ways


async def _files(outbox: Outbox, settings: Settings) -> list[OpenFile]:
    folders = {
        FileFamily.CONTACTS: settings.sftp_contacts_dir,
        FileFamily.REDEMPTIONS: settings.sftp_redemptions_dir,
        FileFamily.TRANSACTIONS: settings.sftp_transactions_dir,
    }
    return [
        OpenFile(
            name=file.name,
            state=file.state,
            problem=file.problem,
            carried=file.carried,
            has_folder=settings.sftp_host is not None and folders[file.family] is not None,
        )
        for file in await outbox.files(open_only=True)
    ]
