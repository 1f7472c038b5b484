"""What needs a person, and the command that helps, out of one snapshot of the outbox. Pure: `advice_on`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from voyado_async.clock import as_datetime
from voyado_async.delivery import FileFamily
from voyado_async.outbox.file_moves import FORMLESS, WITHHELD
from voyado_async.outbox.overview import Overview, Standing
from voyado_async.outbox.records import INCOMPLETE, UNCONFIRMED, BreakerRecord, FileRecord
from voyado_async.outbox.states import FileState, State
from voyado_async.settings import Settings

TO_CARRY = "has to be carried by hand, or withdrawn to go over the API"
UNWATCHED = "nobody looks whether it was imported"
"""What is wrong with a file that nobody uploads."""

_NONE = Standing(None, {})


class Advice(msgspec.Struct, frozen=True):
    """Something that needs a person, and the command that tells more or mends it."""

    reason: str
    command: str


class Plan(msgspec.Struct, frozen=True):
    """What the settings say of the second road, and of requests. Durations are seconds."""

    gathers_every: float = 300.0
    imports_every: float = 3600.0
    uploads: bool = False
    """A file server is set."""
    confirms: bool = True
    by_hand: frozenset[FileFamily] = frozenset()
    """The files that nobody uploads: no server is set, or no folder for them."""
    request_takes: float = 65.0
    """The longest that one may take."""

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        folders = {
            FileFamily.CONTACTS: settings.sftp_contacts_dir,
            FileFamily.REDEMPTIONS: settings.sftp_redemptions_dir,
            FileFamily.TRANSACTIONS: settings.sftp_transactions_dir,
        }
        uploads = settings.sftp_host is not None
        return cls(
            settings.fallback_interval,
            settings.import_period,
            uploads,
            settings.fallback_confirm,
            frozenset(family for family, folder in folders.items() if folder is None or not uploads),
            settings.timeout,
        )


def advice_on(
    found: Overview, breaker: BreakerRecord, plan: Plan, *, stalled: bool, unattended: bool
) -> Iterator[Advice]:
    """What stops everything comes first, then files, then single entries."""
    if unattended:
        yield Advice("work is due and nobody drains", "voyado-async drain")
    if stalled:
        yield Advice("the drainer is stalled", "voyado-async check")
    if breaker.halted:
        yield Advice(f"the API key is refused ({breaker.halted})", "voyado-async check")
    if not found.counts.balanced:
        yield Advice("the accounting does not close", "voyado-async verify")
    yield from _about_files(found, breaker, plan)
    if failing := found.unconfirmed:
        alone = f"entry {failing[0]} left" if len(failing) == 1 else f"{len(failing)} entries left"
        command = f"show {failing[0]}" if len(failing) == 1 else f"list --error {UNCONFIRMED}"
        yield Advice(f"{alone} by file, and the API, well otherwise, does not confirm it", f"voyado-async {command}")
    if rejected := found.counts.states[State.REJECTED]:
        yield Advice(f"{rejected} rejected", "voyado-async list --state rejected")
    exhausted = found.standing.get(State.EXHAUSTED, _NONE).reasons
    if WITHHELD in exhausted:
        yield Advice(
            "entries are refused by what VOYADO_FALLBACK_XSLT_* or VOYADO_FALLBACK_XSD_* name: they wait for an outage "
            "to end, or for a correction or replay",
            f"voyado-async list --error {WITHHELD}",
        )
    if FORMLESS in exhausted:
        yield Advice(
            "entries failed while the API was well and have no form in a file: nothing tries them again",
            f"voyado-async replay --error {FORMLESS}",
        )


def _about_files(found: Overview, breaker: BreakerRecord, plan: Plan) -> Iterator[Advice]:
    """One reason for each problem, the most frequent one first."""
    by_problem: dict[str, list[FileRecord]] = {}
    for file in found.open_files:
        if (problem := problem_of(file, found, breaker, plan)) is not None:
            by_problem.setdefault(problem, []).append(file)
    for problem, files in sorted(by_problem.items(), key=lambda item: -len(item[1])):
        told = f"file {files[0].name}" if len(files) == 1 else f"{len(files)} files"
        unseen = [file.seen or file.uploaded or 0 for file in files if file.out_of_sight]
        if unseen:
            which = "it" if len(files) == 1 else f"{len(unseen)} of them"
            since = f"{as_datetime(min(unseen)):%Y-%m-%dT%H:%M:%SZ}"
            yield Advice(
                f"{told}: {problem}; nobody has seen since {since} what became of {which}", "voyado-async check"
            )
        else:
            yield Advice(f"{told}: {problem}", "voyado-async files")


def problem_of(file: FileRecord, found: Overview, breaker: BreakerRecord, plan: Plan) -> str | None:
    """Why this file needs a person; None where it does not."""
    if file.problem is not None:
        return None if file.problem == INCOMPLETE else file.problem
    if file.family not in plan.by_hand or file.carried:
        return None
    if file.state != FileState.SPOOLED:
        return UNWATCHED
    # What an outage left goes back to the API when that is well; else the API takes most of it when it is back.
    goes_back = file.id in found.files_of_outage or breaker.state != "closed" or breaker.halted is not None
    return None if goes_back else TO_CARRY
