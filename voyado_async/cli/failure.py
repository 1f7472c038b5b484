"""How a command fails: a message, an exit code, and the same as JSON."""

from __future__ import annotations

import click
import msgspec

from voyado_async.errors import ConfigurationError, VoyadoError

FAILED, WRONG_USAGE, PERSON_NEEDED = 1, 2, 3
"""Exit codes; 0 is done."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One bad place of an input file. `path` is the field; no value is told."""

    line: int
    reason: str
    path: str = ""
    index: int | None = None
    """The place in a JSON array, counted from 0."""

    def __str__(self) -> str:
        where = f"line {self.line}" + ("" if self.index is None else f" (element {self.index})")
        return f"{where}: {self.path}: {self.reason}" if self.path else f"{where}: {self.reason}"


class _Told(msgspec.Struct, frozen=True):
    type: str
    message: str
    exit_code: int
    problems: tuple[Problem, ...]


class Failure(click.ClickException):
    """An expected error: click shows its message after ``Error:`` and exits with its code, without a traceback."""

    exit_code = FAILED

    def __init__(self, kind: str, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.problems = problems

    def format_message(self) -> str:
        return "\n".join((self.message, *(f"  {problem}" for problem in self.problems)))

    def to_json(self) -> str:
        """One JSON object, for standard error."""
        told = _Told(self.kind, self.message, self.exit_code, self.problems)
        return msgspec.json.encode({"error": told}).decode()


class WrongUsage(Failure):
    """Wrong usage or configuration."""

    exit_code = WRONG_USAGE


def failure_of(error: VoyadoError) -> Failure:
    """An error of the package, with the exit code that its branch of the tree has."""
    failure = WrongUsage if isinstance(error, ConfigurationError) else Failure
    return failure(type(error).__name__, str(error))
