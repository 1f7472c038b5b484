"""Which entries: the filters that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from voyado_async.cli.parameters import ID, MOMENT
from voyado_async.delivery import Kind
from voyado_async.outbox.states import State
from voyado_async.outbox.store import EntryFilter

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--state", "states", multiple=True, type=click.Choice([*map(str, State)]), help="Only this state; repeatable."
    ),
    click.option(
        "--kind", "kinds", multiple=True, type=click.Choice([*map(str, Kind)]), help="Only this kind; repeatable."
    ),
    click.option("--contact", type=ID, metavar="GUID", help="Only what belongs to the contact of this id."),
    click.option("--error", metavar="CODE", help="Only with this reason, as listings show it."),
    click.option(
        "--since", type=MOMENT, metavar="TIME", help="Only written at or after; ISO 8601, or an age like 15m, 2h, 7d."
    ),
    click.option("--until", type=MOMENT, metavar="TIME", help="Only written before."),
)


def filter_options(command: F) -> F:
    """Filters that must all hold; the command gets them as keyword arguments for `filter_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filter_of(
    states: tuple[str, ...],
    kinds: tuple[str, ...],
    contact: str | None,
    error: str | None,
    since: int | None,
    until: int | None,
    limit: int | None = None,
) -> EntryFilter:
    """The filter that the options say."""
    return EntryFilter(
        states=tuple(map(State, states)),
        kinds=tuple(map(Kind, kinds)),
        contact=contact,
        error=error,
        since=since,
        until=until,
        limit=limit,
    )
