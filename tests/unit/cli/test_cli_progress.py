"""How far a long command has come: plain lines now and then, a bar on a terminal, nothing beside JSON."""

from __future__ import annotations

import sys

import pytest

from voyado_async.cli import progress as module
from voyado_async.cli.progress import progress
from voyado_async.cli.screen import progress_bar
from voyado_async.resources.replays import Progress


class Moving:
    """A clock that goes on by as much as it is told."""

    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time


def test_elsewhere_a_line_tells_now_and_then_how_long_it_will_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Moving()
    monkeypatch.setattr(module, "CLOCK", clock)
    with progress("replay", quiet=False) as show:
        for done in (100, 200, 300):
            clock.time += 2.5
            show(Progress(done, 1000, failed=done // 200))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "replay: 200 of 1000, 1 failed again, about 20 s left\n"


def test_beside_json_nothing_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)
    with progress("replay", quiet=True) as show:
        show(Progress(1, 2))
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_is_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("replay", quiet=False) as show:
        show(Progress(1, 2, failed=1))
    assert "1/2" in capsys.readouterr().err
    with progress_bar("discard") as draw:
        draw(2, 2, 0)
    assert "2/2" in capsys.readouterr().err
