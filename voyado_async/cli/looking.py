"""How commands that only look at an outbox do so: one look, without an event loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import click

from voyado_async.errors import OutboxMismatch
from voyado_async.outbox.glance import blank, bound_to, glance, is_being_made, refuse_another
from voyado_async.settings import Settings

R = TypeVar("R")


def look_at(settings: Settings, look: Callable[[sqlite3.Connection], R], *, must_be_there: bool = False) -> R:
    """What `look` finds. An outbox that nobody has written to yet is empty, and standard error says that it is not
    there: the path may be a mistake.

    Raises as `glance`, and OutboxMismatch where the outbox belongs to another Engage than the settings name.
    """
    path = str(settings.outbox_path)

    def look_if_ours(database: sqlite3.Connection) -> R:
        refuse_another(path, bound_to(database), settings.base_url)
        return look(database)

    if must_be_there or settings.outbox_path.exists() or not settings.outbox_path.parent.is_dir():
        try:
            return glance(path, look_if_ours)
        except OutboxMismatch:
            if must_be_there or not is_being_made(path):
                return glance(path, look_if_ours)  # made meanwhile, or refused once more
    click.echo(f"nothing was written yet: there is no outbox at {path} (VOYADO_OUTBOX)", err=True)
    return blank(look)
