"""How a sidecar logs: lines for people, or one JSON object a line. Tracebacks come without the texts of errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import click
import msgspec

from voyado_async.cli.failure import FAILED
from voyado_async.errors import VoyadoError
from voyado_async.traces import trace

_PREFIX = "voyado_"
"""What `log_events` puts before the fields of an event."""

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_log = logging.getLogger("voyado_async")


class PlainLines(logging.Formatter):
    """Time, level and message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatException(self, ei: _Raised) -> str:
        """See `trace`."""
        return "" if ei[1] is None else trace(ei[1])


class JsonLines(PlainLines):
    """``time``, ``level``, ``logger``, ``message``; ``event`` and its fields where the line tells of one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name.startswith(_PREFIX) and value is not None:
                line.setdefault(name.removeprefix(_PREFIX), value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def formatter(log_format: str) -> logging.Formatter:
    """For ``plain`` or ``json``."""
    if log_format == "json":
        return JsonLines()
    return PlainLines()


@contextmanager
def faults_logged() -> Iterator[None]:
    """An error that nobody expected, in the block or in a task that nobody awaits, is a line of the log like any other.

    Raises Exit with 1 then. Errors that a command expects go on to where they are told.
    """
    asyncio.get_running_loop().set_exception_handler(_unheard)
    try:
        yield
    except (VoyadoError, click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:  # whatever it is: the interpreter would print the text of the error, line by line
        _log.critical("the sidecar failed and ends", exc_info=error)
        raise click.exceptions.Exit(FAILED) from None


def _unheard(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """In place of the loop's own words, which quote the error, and what a callback was called with."""
    _log.error("%s", str(context["message"]).partition("(")[0], exc_info=context.get("exception"))
