"""The facts for `settled.verdict` out of an outbox: the cheap ones first, the dear ones only where they count."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from voyado_async.cli.settled import Exhausted, Facts, OpenFile, Verdict, verdict
from voyado_async.delivery import FileForm, Message, NoFileForm
from voyado_async.errors import InvalidEntry
from voyado_async.outbox.file_moves import FORMLESS, WITHHELD
from voyado_async.outbox.records import UNCONFIRMED, EntryFilter
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox
from voyado_async.resources.advice import Plan
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
    failing = await _unconfirmed(outbox) if settings.fallback_confirm and states[State.IMPORTED] else frozenset()
    # One more than those that fail: if there is another one, it is among them.
    next_ones = await outbox.to_confirm(len(failing) + 1, EVER) if settings.fallback_confirm else []
    facts = Facts(
        states,
        heads=kinds,
        halted=halted,
        files=await _files(outbox, settings),
        in_bulk=settings.fallback_contacts == "bulk" and bool(await outbox.left_in_bulk()),
        confirmable=any(message.id not in failing for message in next_ones),
        unconfirmed=len(failing),
        confirm=settings.fallback_confirm,
    )
    if verdict(facts) is not Verdict.NEEDS_PERSON:
        return facts
    away = await outbox.entries(EntryFilter(states=(State.EXHAUSTED, State.SPOOLED)))
    outage = frozenset(entry.file or str(entry.id) for entry in away if entry.outage)
    withheld = await _withheld(outbox, [entry.id for entry in away if entry.reason == WITHHELD])
    told = {entry.id for entry in away if entry.outage or entry.reason in (WITHHELD, FORMLESS)}
    is_well = halted is None and (breaker is None or breaker.state == "closed")  # only then the drainer tells it
    ways = _ways(settings)
    return msgspec.structs.replace(
        facts,
        exhausted=[
            ways(message, str(message.id) in outage, message.id in withheld, is_well and message.id not in told)
            async for message in outbox.exhausted()
        ],
        files=[msgspec.structs.replace(file, outage=file.name in outage) for file in facts.files],
    )


async def _unconfirmed(outbox: Outbox) -> frozenset[int]:
    found = await outbox.entries(EntryFilter(states=(State.IMPORTED,), error=UNCONFIRMED))
    return frozenset(entry.id for entry in found)


async def _withheld(outbox: Outbox, ids: Sequence[int]) -> frozenset[int]:
    """Those that were refused since the drainer started: it tries the others once more, its settings may be others."""
    drainer = await outbox.drainer() if ids else None
    started = 0 if drainer is None else drainer.started
    lines = {entry_id: await outbox.attempts(entry_id) for entry_id in ids}
    return frozenset(entry for entry, (*_, last) in lines.items() if last.outcome == "withheld" and last.at >= started)


def _ways(settings: Settings) -> Callable[[Message, bool, bool, bool], Exhausted]:
    """How exhausted entries may leave, as the courier of these settings sees it: asked in the order of writing."""
    from voyado_async.fallback.batch import ChangeOrder  # here: they bring lxml
    from voyado_async.fallback.courier import bulk_forms, forms_to_upload
    from voyado_async.fallback.tenant import Tenant

    in_file, in_bulk = forms_to_upload(settings, Tenant.of(settings)), bulk_forms(settings)
    by_file, by_bulk = ChangeOrder(), ChangeOrder()

    def may_leave(message: Message, form: FileForm | NoFileForm, order: ChangeOrder) -> bool:
        return order.may_leave(message, form) and isinstance(form, FileForm)

    def ways(message: Message, outage: bool, withheld: bool, untold: bool) -> Exhausted:
        try:
            file_form, bulk_form = in_file(message), in_bulk(message)
        except InvalidEntry:
            return Exhausted(outage, has_file_form=True)  # it is rejected at the next gathering: that is a move, too
        formless = isinstance(file_form, NoFileForm) and isinstance(bulk_form, NoFileForm)
        if withheld:
            file_form = NoFileForm(WITHHELD)
        return Exhausted(
            outage,
            has_file_form=may_leave(message, file_form, by_file),
            has_bulk_form=may_leave(message, bulk_form, by_bulk),
            untold=untold and formless,
            withheld=withheld,
        )

    return ways


async def _files(outbox: Outbox, settings: Settings) -> list[OpenFile]:
    by_hand = Plan.of(settings).by_hand
    return [
        OpenFile(
            name=file.name,
            state=file.state,
            problem=file.problem,
            carried=file.carried,
            has_folder=file.family not in by_hand,
        )
        for file in await outbox.files(open_only=True)
    ]
