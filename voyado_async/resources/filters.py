"""Which entries: the filters of the Python surface, with the same words as those of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import TypedDict, TypeVar

import msgspec

from voyado_async.clock import as_instant
from voyado_async.delivery import Kind
from voyado_async.errors import InvalidEntry
from voyado_async.kinds.address import as_typed
from voyado_async.models.receipts import MatchKeyType
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.states import State

Word = TypeVar("Word", bound=StrEnum)


class Filters(TypedDict, total=False):
    """Every part that is given must hold."""

    ids: Iterable[int]
    state: State | str | Iterable[State | str]
    kind: Kind | str | Iterable[Kind | str]
    contact: str
    """A contact's id, its e-mail address, or another attribute with its name before it, as in ``memberNumber:1234``."""
    error: str
    """The reason, as listings show it."""
    since: datetime
    """Written at or after; without an offset it is the local time of this machine."""
    until: datetime
    """Written before."""
    limit: int
    file: str
    """The name of the fallback file in which they stand, or by which they left."""


def filter_of(which: EntryFilter | None, filters: Filters, *named: int | Iterable[int]) -> EntryFilter:
    """The filter that was made already, or the one that keywords say; with the ids that are named beside it.

    Raises InvalidEntry for a state or kind that there is not, and where ids are given and there are none: that would
    mean all.
    """
    if unknown := sorted(set(filters) - set(Filters.__annotations__)):
        raise TypeError(f"unknown filter: {', '.join(unknown)}")
    if which is not None and filters:
        raise TypeError("either `which` or filters by keyword")
    contact = filters.get("contact")
    who = None if contact is None else as_typed(contact)
    found = which or EntryFilter(
        states=_words("state", filters.get("state", ()), State),
        kinds=_words("kind", filters.get("kind", ()), Kind),
        contact=who.value if who is not None and who.type is MatchKeyType.CONTACT_ID else None,
        address=who.lane if who is not None and who.type is not MatchKeyType.CONTACT_ID else None,
        error=filters.get("error"),
        since=_instant(filters.get("since")),
        until=_instant(filters.get("until")),
        limit=filters.get("limit"),
        file=filters.get("file"),
    )
    if not named and "ids" not in filters:
        return found
    ids = [*filters.get("ids", ())]
    for one in named:
        ids += [one] if isinstance(one, int) else one
    if not ids:
        raise InvalidEntry("ids", "expected at least one")
    return msgspec.structs.replace(found, ids=tuple(ids))


def _words(name: str, given: str | Iterable[str], words: type[Word]) -> tuple[Word, ...]:
    try:
        return tuple(map(words, (given,) if isinstance(given, str) else given))
    except ValueError:
        raise InvalidEntry(name, f"expected one of {', '.join(words)}") from None


def _instant(moment: datetime | None) -> int | None:
    return None if moment is None else as_instant(moment)
