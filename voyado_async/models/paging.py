"""Lists that come in pages: which page is asked for, and where the next one begins (ref 3.6, 5.4). Pure."""

from __future__ import annotations

from voyado_async.errors import InvalidEntry

COUNT = 100
"""Items of a page, where nobody says otherwise: Engage's own default."""


def page_params(offset: object, count: object) -> tuple[tuple[str, str], ...]:
    """The query of one page. Raises InvalidEntry where it is none."""
    for name, value, least in (("offset", offset, 0), ("count", count, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidEntry(name, f"expected a whole number of {least} or more")
    return (("offset", str(offset)), ("count", str(count)))


def next_offset(offset: int, items: int, total: int | None) -> int | None:
    """Where the next page begins after one of so many items; None where it was the last.

    A page may be shorter than it was asked for and not be the last one: only an empty one, or the total, says so.
    """
    reached = offset + items
    return None if items == 0 or (total is not None and reached >= total) else reached
