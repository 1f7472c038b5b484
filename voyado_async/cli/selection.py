"""Which entries: the filters that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from voyado_async.cli.parameters import CONTACT, MOMENT
from voyado_async.delivery import Kind
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State

if TYPE_CHECKING:
    from voyado_async.kinds.address import Address

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--state", "states", multiple=True, type=click.Choice([*map(str, State)]), help="Only this state; repeatable."
    ),
    click.option(
        "--kind", "kinds", multiple=True, type=click.Choice([*map(str, Kind)]), help="Only this kind; repeatable."
    ),
    click.option(
        "--contact",
        type=CONTACT,
        metavar="CONTACT",
        help="Only what belongs to this contact: its id, its e-mail address, or as in memberNumber:1234.",
    ),
    click.option("--error", metavar="CODE", help="Only with this reason, as listings show it."),
    click.option(
        "--file", metavar="NAME", help="Only what stands in this fallback file, or left by it; `files` has the names."
    ),
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
    contact: Address | None,
    error: str | None,
    since: int | None,
    until: int | None,
    file: str | None = None,
    limit: int | None = None,
) -> EntryFilter:
    """The filter that the options say."""
    by_id = contact is not None and contact.type == "contactId"
    return EntryFilter(
        states=tuple(map(State, states)),
        kinds=tuple(map(Kind, kinds)),
        error=error,
        since=since,
        until=until,
        limit=limit,
        file=file,
        contact=contact.value if contact is not None and by_id else None,
        address=contact.lane if contact is not None and not by_id else None,
    )
