"""What `replay` and `discard` tell of a selection."""

from __future__ import annotations

import msgspec

from voyado_async.cli.report import tell_lines, tell_table
from voyado_async.outbox.replaying import Plan, Step
from voyado_async.resources.operations import Selected


class SelectedReport(msgspec.Struct, frozen=True):
    """What ``replay --json`` and ``discard --json`` print."""

    outbox: str
    dry_run: bool
    selected: int
    """Entries that fitted when the command began."""
    counts: dict[str, int]
    """How many had which step: ``send``, ``file``, ``supersede``, ``discard``, ``leave``."""
    entries: list[Plan]
    """In a dry run every entry, else those that were left or lost a part: the step of each, and why."""
    failed: int
    """Those that failed again while the command ran; counted only with ``--max-failures``."""
    stopped: str | None
    """Why it ended before its end; null where it did not."""


_DONE = {
    Step.SEND: ("back to the API", "would go back to the API"),
    Step.FILE: ("wait for the next file", "would wait for the next file"),
    Step.SUPERSEDE: ("superseded", "would be superseded"),
    Step.DISCARD: ("discarded", "would be discarded"),
    Step.LEAVE: ("left as they are", "would be left as they are"),
}


def report_of(outbox: str, told: Selected) -> SelectedReport:
    """The report of what became of a selection."""
    return SelectedReport(outbox, told.dry_run, told.selected, told.counts, told.plans, told.failed, told.stopped)


def tell(report: SelectedReport) -> None:
    """The same for people."""
    if report.entries:
        tell_table(("", "", "", "", ""), [_row(plan) for plan in report.entries])
    tell_lines(_summary(report))


def _summary(report: SelectedReport) -> list[str]:
    counted = [f"{count} {_DONE[Step(step)][report.dry_run]}" for step, count in report.counts.items() if count]
    lines = [", ".join(counted) or "no entry fits"]
    if report.failed:
        lines.append(f"{report.failed} failed again")
    if report.stopped:
        done = sum(report.counts.values())
        lines.append(f"stopped: {report.stopped}; {report.selected - done} were not reached and stay as they are")
    return lines


def _row(plan: Plan) -> tuple[str, ...]:
    left_out = f" (left out: {', '.join(plan.left_out)})" if plan.left_out else ""
    return (str(plan.id), plan.kind, plan.state, plan.step, plan.why + left_out)
