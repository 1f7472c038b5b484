"""What commands print: one JSON object, or plain lines made from the same struct."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec

from voyado_async.cli.invocation import Invocation
from voyado_async.clock import as_datetime

F = TypeVar("F", bound=Callable[..., Any])


def _ask_for_json(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
    ctx.ensure_object(Invocation).json = value
    return value


def json_option(command: F) -> F:
    """``--json``. Eager, so that a mistake in another option is told as JSON as well."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        is_eager=True,
        callback=_ask_for_json,
        help="Print one JSON object; fields stay, new ones may come.",
    )(command)


def tell_json(report: msgspec.Struct | dict[str, object]) -> None:
    """One JSON object on standard output."""
    click.echo(msgspec.json.encode(report).decode())


def tell_lines(lines: Iterable[str]) -> None:
    """Plain lines on standard output."""
    for line in lines:
        click.echo(line)


def tell_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """Rows under headings, which may all be empty; on a terminal as wide as it is, without those of `spare` that have
    no room."""
    if sys.stdout.isatty():
        from voyado_async.cli.screen import draw_table  # here: rich is for terminals only

        draw_table(columns, rows, spare)
    else:
        tell_lines(table([columns, *rows] if any(columns) else rows))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns; the last column is as wide as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def moment(instant: int | None) -> datetime | None:
    """An instant of the database for a report."""
    return None if instant is None else as_datetime(instant)


def shown(when: datetime | None) -> str:
    """A moment in a line: UTC, to the second."""
    return "-" if when is None else f"{when:%Y-%m-%dT%H:%M:%SZ}"


def counted(number: int, one: str, many: str) -> str:
    """A number with the word that fits it."""
    return f"{number} {one if number == 1 else many}"


def age(seconds: float) -> str:
    """A duration for people: the two largest units."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
