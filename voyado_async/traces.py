"""Where an error came from, without what it says: Python's own traceback ends with the error's text, and the text of an
error that nobody expected can be a payload, or a value out of one."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from voyado_async.errors import VoyadoError


def trace(error: BaseException) -> str:
    """The places in the code, the type of the error and of those behind it, cause first. Only errors of this package
    keep their text: it is written to be shown."""
    return "\n".join(_told(error, frozenset()))


def _told(error: BaseException, above: frozenset[int]) -> Iterator[str]:
    above |= {id(error)}
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if behind is not None and id(behind) not in above:
        yield from _told(behind, above)
        yield "led to"
    if error.__traceback__ is not None:
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    yield f"{name}: {error}" if isinstance(error, VoyadoError) else name
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield "in it"
            yield from _told(one, above)
