"""What somebody sees while the demo runs: a live table on a terminal, plain lines elsewhere, nothing with `--json`."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Protocol, Self, TextIO

from voyado_async.cli.report import counted
from voyado_async.clock import SystemClock
from voyado_async.events import BreakerChanged, Event, FileChanged
from voyado_async.outbox.states import State
from voyado_async.resources.status import Status

_clock = SystemClock()


class View(contextlib.AbstractContextManager["View"], Protocol):
    """Is told the phases, the state of the outbox several times a second, and every event."""

    def phase(self, name: str, says: str) -> None: ...

    def status(self, status: Status) -> None: ...

    def hear(self, event: Event) -> None: ...


def view_of(stream: TextIO) -> View:
    """What suits this stream."""
    return LiveView() if stream.isatty() else LinesView(stream)


class QuietView(contextlib.AbstractContextManager["QuietView"]):
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def phase(self, name: str, says: str) -> None:
        """Nothing."""

    def status(self, status: Status) -> None:
        """Nothing."""

    def hear(self, event: Event) -> None:
        """Nothing."""


class LinesView(QuietView):
    """One line for each thing that happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = _clock.monotonic()

    def _say(self, text: str) -> None:
        self._stream.write(f"{_clock.monotonic() - self._began:5.1f} s  {text}\n")
        self._stream.flush()

    def phase(self, name: str, says: str) -> None:
        self._say(f"{name}: {says}")

    def hear(self, event: Event) -> None:
        text = news(event)
        if text is not None:
            self._say(f"    {text}")


class LiveView(QuietView):
    """Lines that stay in their place: the phases, a bar for each state, the latest news."""

    def __init__(self) -> None:
        from voyado_async.cli.screen import standing_lines  # here: rich is for terminals only

        self._lines = standing_lines()
        self._began = _clock.monotonic()
        self._phases: list[str] = []
        self._news = ""

    def __enter__(self) -> Self:
        self._show = self._lines.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)

    def phase(self, name: str, says: str) -> None:
        self._phases.append(f"{_clock.monotonic() - self._began:5.1f} s  {name}: {says}")

    def hear(self, event: Event) -> None:
        self._news = news(event) or self._news

    def status(self, status: Status) -> None:
        most = max(1, *status.states.values())
        bars = [
            f"{state:12}{status.states.get(state, 0):6} {'█' * round(40 * status.states.get(state, 0) / most)}"
            for state in State
        ]
        lines = [*self._phases, "", *bars, "", f"breaker {status.breaker}   {self._news}"]
        self._show(lambda rows, width: lines)


def news(event: Event) -> str | None:
    """An event as one line, where it is worth one."""
    match event:
        case BreakerChanged():
            return f"the breaker is {event.state}"
        case FileChanged(state="uploaded" | "imported" | "withdrawn"):
            return f"{event.family} file {event.state}, {counted(event.entries, 'entry', 'entries')}"
        case _:
            return None
