"""Tables on a terminal: what has no room is left out and told, the rest is never cut."""

from __future__ import annotations

import pytest

from voyado_async.cli.screen import draw_table, shown_columns

COLUMNS = ("ID", "WRITTEN", "CONTACT", "TURNS", "REASON")
ROWS = [("7", "2026-11-22T17:31:59Z", "contact:f2a7c6d4-8b13-4e59-a0d2-6e91b7c35a08", "3", "ContactNotFound")]
SPARE = ("CONTACT", "TURNS")
WHOLE = 2 + 2 + 20 + 2 + 44 + 2 + 5 + 2 + 15


@pytest.mark.parametrize(
    ("room", "places"),
    [
        (WHOLE, [0, 1, 2, 3, 4]),
        (WHOLE - 1, [0, 1, 3, 4]),
        (WHOLE - 46, [0, 1, 3, 4]),
        (WHOLE - 47, [0, 1, 4]),
        (9, [0, 1, 4]),
    ],
)
def test_columns_that_can_be_spared_go_in_their_order(room: int, places: list[int]) -> None:
    assert shown_columns(COLUMNS, ROWS, SPARE, room) == places
    assert shown_columns(COLUMNS, ROWS, (), room) == [0, 1, 2, 3, 4]


def drawn(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    draw_table(COLUMNS, ROWS, SPARE)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_narrow_window_says_what_it_does_not_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drawn(80, monkeypatch, capsys) == [
        "ID  WRITTEN               TURNS  REASON",
        "7   2026-11-22T17:31:59Z  3      ContactNotFound",
        "no room for CONTACT: --json has all of it",
    ]
    assert drawn(WHOLE, monkeypatch, capsys)[1].split() == list(ROWS[0])


def test_what_is_longer_than_its_column_is_folded_and_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = drawn(38, monkeypatch, capsys)
    lines = lines[1 : lines.index(next(line for line in lines if line.startswith("no room")))]
    assert "".join(line[26:] for line in lines).replace(" ", "") == "ContactNotFound"
    assert "2026-11-22T17:31:59Z" in lines[0]


def test_rows_without_headings_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    draw_table(("", ""), [("ok", "api")], ())
    assert capsys.readouterr().out.split() == ["ok", "api"]
    draw_table(("A", "B"), [], ("B",))
    assert capsys.readouterr().out.split() == ["A", "B"]
