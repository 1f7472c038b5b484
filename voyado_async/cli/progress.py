"""How far a long command has come: a bar on a terminal, now and then a plain line elsewhere; on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from voyado_async.cli.opening import CLOCK
from voyado_async.resources.replays import Progress

EVERY = 5.0
"""Seconds between two plain lines."""


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Shows what it is given. `quiet`: nothing is shown, as with ``--json``."""
    if quiet:
        yield lambda told: None
    elif sys.stderr.isatty():
        from voyado_async.cli.screen import progress_bar  # here: rich is for terminals only

        with progress_bar(what) as show:
            yield lambda told: show(told.done, told.total, told.failed)
    else:
        began = last = CLOCK.monotonic()

        def line(told: Progress) -> None:
            nonlocal last
            now = CLOCK.monotonic()
            if now - last >= EVERY:
                last = now
                left = (now - began) / max(told.done, 1) * (told.total - told.done)
                failed = f", {told.failed} failed again" if told.failed else ""
                click.echo(f"{what}: {told.done} of {told.total}{failed}, about {left:.0f} s left", err=True)

        yield line
