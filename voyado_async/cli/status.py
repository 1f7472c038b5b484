"""``voyado-async status``: where the entries are, who drains, and whether somebody has to look."""

from __future__ import annotations

import click

from voyado_async.cli.failure import PERSON_NEEDED
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import looking, run, view
from voyado_async.cli.report import age, json_option, tell_json, tell_lines
from voyado_async.resources.outbox import Status
from voyado_async.settings import Settings


@click.command()
@click.option("--check", is_flag=True, help="Exit 3 when a person is needed.")
@json_option
@pass_invocation
def status(invocation: Invocation, check: bool, as_json: bool) -> None:
    """Show where the entries are, and who drains.

    Reads only: it needs neither base URL nor API key, and works while others write and drain.
    """
    found = run(_status(invocation.settings()))
    if as_json:
        tell_json(found)
    else:
        tell_lines(lines_of(found))
    if check and found.needs_person:
        raise click.exceptions.Exit(PERSON_NEEDED)


async def _status(settings: Settings) -> Status:
    async with looking(settings) as outbox:
        return await view(outbox).status()


def lines_of(found: Status) -> list[str]:
    """The report as lines: name, then value."""
    drainer = found.drainer
    running = f"running, pid {drainer.pid}" if drainer.running else "none"
    if drainer.problem is not None:
        running += f", problem: {drainer.problem}"
    books = found.accounting
    lines = [
        f"outbox      {found.outbox}",
        f"engage      {found.base_url or 'not bound yet'}",
        f"drainer     {running}",
        f"breaker     {found.breaker}" + (f", the key is refused ({found.halted})" if found.halted else ""),
        *(f"{state:<11} {count}{_kinds(found, state)}" for state, count in found.states.items() if count),
    ]
    if found.oldest_pending_seconds is not None:
        lines.append(f"oldest      waits for {age(found.oldest_pending_seconds)}")
    lines += [f"files       {count} {state}" for state, count in found.files.items()]
    lines.append(
        f"accounting  {'balanced' if books.balanced else 'DOES NOT CLOSE'}: {books.enqueued} enqueued, "
        f"{books.purged} purged, {books.forgotten} forgotten"
    )
    return lines + [f"look at     {reason}" for reason in found.needs_person]


def _kinds(found: Status, state: str) -> str:
    kinds = [f"{counts[state]} {kind}" for kind, counts in found.kinds.items() if counts.get(state)]
    return f"  ({', '.join(kinds)})"
