"""How a sidecar logs: lines for people, or one JSON object a line."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

_PREFIX = "voyado_"
"""What `log_events` puts before the fields of an event."""


class JsonLines(logging.Formatter):
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
    return logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
