"""What the tests of the command line have in common."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from click.testing import Result

from voyado_async.outbox.sqlite import SqliteOutbox

BASE_URL = "http://127.0.0.1:9"
"""Nobody answers there."""

Call = Callable[..., Result]
"""Calls the program with these arguments."""

In = Callable[[Callable[[SqliteOutbox], Coroutine[Any, Any, Any]]], Any]
"""Does something to the outbox of the test."""
