"""What every struct that we send has in common: a repr that tells nothing, and one way onto the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from voyado_async.models.text import plain_text


def _plain(value: object) -> str:
    """msgspec's hook for what it has no form of: a subclass of str, such as a template's safe string, is text."""
    if isinstance(value, str):
        return plain_text(value)
    raise NotImplementedError


_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)


class Payload(msgspec.Struct, frozen=True):
    """A struct that holds what a shop sends or a person's data: its repr names the type only."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing: a rich traceback that prints locals must not print a person."""
        return []

    def wire(self) -> object:
        """What `to_json` encodes in place of this struct; itself, unless its wire form is flatter than its fields."""
        return self


def to_json(content: Payload | Mapping[str, object] | Sequence[object]) -> bytes:
    """The bytes of a request body. Money is a plain number with all its digits, times keep their offset.

    For content that a ``parse_...`` of this package has accepted: nothing is checked again.
    """
    return _ENCODER.encode(content.wire() if isinstance(content, Payload) else content)
