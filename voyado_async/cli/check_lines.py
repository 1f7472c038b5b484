"""One line of ``check``."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Result(StrEnum):
    """What a line says."""

    OK = "ok"
    FAILED = "failed"
    NOTE = "note"
    """Not wrong, but worth knowing."""


class Line(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    thing: str
    result: Result
    text: str
