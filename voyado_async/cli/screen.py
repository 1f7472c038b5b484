"""What is drawn on a terminal, and only there: the one place that knows rich."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class _Above(logging.Handler):
    """Log lines above the line of progress."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(self.format(record)), soft_wrap=True)


@contextmanager
def progress_line() -> Iterator[tuple[logging.Handler, Callable[[Mapping[str, int]], None]]]:
    """A line at the bottom of standard error that shows counts, and a handler whose log lines scroll above it."""
    console = Console(stderr=True)
    with console.status("") as status:

        def show(counts: Mapping[str, int]) -> None:
            told = "   ".join(f"{name} {count}" for name, count in counts.items() if count)
            status.update(Text(told or "nothing to do"))

        yield _Above(console), show


@contextmanager
def standing_lines() -> Iterator[Callable[[Callable[[int, int], Sequence[str]]], None]]:
    """Lines on standard output that are drawn anew in their place; the last ones stay. What is shown is asked for the
    lines for so many rows of such a width: the window may change, and what does not fit would be cut anywhere."""
    with Live(auto_refresh=False) as live:

        def show(lines_in: Callable[[int, int], Sequence[str]]) -> None:
            width, rows = live.console.size
            live.update(Text("\n".join(lines_in(rows, width))), refresh=True)

        yield show


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int, int], None]]:
    """A bar on standard error with an estimate of the time left; takes done, total and failed."""
    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, failed="")

        def show(done: int, total: int, failed: int) -> None:
            bar.update(task, completed=done, total=total, failed=f"{failed} failed" if failed else "")

        yield show


def draw_table(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str]) -> None:
    """Rows under headings on standard output. Where the window is too narrow, columns of `spare` are left out, the
    first one first, which is told; the last column takes what room is left. Cells are folded, never cut."""
    console = Console()
    places = shown_columns(columns, rows, spare, console.width)
    fixed = sum(width(rows, place, columns) + 2 for place in places[:-1])
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for place in places:
        table.add_column(columns[place], overflow="fold", no_wrap=place != places[-1] and fixed + 10 <= console.width)
    for row in rows:
        table.add_row(*(Text(row[place]) for place in places))
    console.print(table)
    if left_out := [column for place, column in enumerate(columns) if place not in places]:
        console.print(Text(f"no room for {', '.join(left_out)}: --json has all of it", style="dim"))


def shown_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], room: int) -> list[int]:
    """The places of the columns that are drawn. Pure."""
    places = list(range(len(columns)))
    for column in spare:
        if sum(width(rows, place, columns) + 2 for place in places) - 2 <= room:
            break
        places.remove(columns.index(column))
    return places


def width(rows: Sequence[Sequence[str]], place: int, columns: Sequence[str]) -> int:
    """How wide a column is by itself. Pure."""
    return max(len(columns[place]), *(len(row[place]) for row in rows)) if rows else len(columns[place])
