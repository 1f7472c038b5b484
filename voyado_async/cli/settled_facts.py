"""The facts for `settled.verdict` out of an outbox: the cheap ones first, the dear ones only where they count."""

from __future__ import annotations

from voyado_async.cli.settled import Exhausted, Facts, OpenFile
from voyado_async.delivery import FileFamily, FileForm, Message
from voyado_async.errors import InvalidEntry
from voyado_async.kinds import registry
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
    outage = frozenset(
        entry.file or str(entry.id)
        for entry in await outbox.entries(EntryFilter(states=(State.EXHAUSTED, State.SPOOLED)))
        if entry.outage
    )
    return Facts(
        states,
        heads=kinds,
        halted=halted,
        exhausted=[
            Exhausted(str(message.id) in outage, _has_file_form(message, settings))
            async for message in outbox.exhausted()
        ],
        files=await _files(outbox, settings, outage),
        confirmable=settings.fallback_confirm and bool(await outbox.to_confirm(1, EVER)),
        confirm=settings.fallback_confirm,
    )


def _has_file_form(message: Message, settings: Settings) -> bool:
    try:
        form = registry.file_form(message, default_type=settings.contact_type, contact_key=settings.contact_key)
    except InvalidEntry:
        return True  # it is rejected at the next gathering: that is a move, too
    return isinstance(form, FileForm)


async def _files(outbox: Outbox, settings: Settings, outage: frozenset[str]) -> list[OpenFile]:
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
            outage=file.name in outage,
            has_folder=settings.sftp_host is not None and folders[file.family] is not None,
        )
        for file in await outbox.files(open_only=True)
    ]
