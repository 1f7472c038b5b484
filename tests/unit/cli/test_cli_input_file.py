"""Input files are cut into the texts of their items, each with the line where it begins."""

from __future__ import annotations

import pytest

from voyado_async.cli.input_file import Item, cut


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (b'{"a": 1.10}', [Item(1, None, b'{"a": 1.10}')]),
        (b'\n\n {"a":\n1}\n', [Item(3, None, b'{"a":\n1}')]),
        (b'\xef\xbb\xbf{"a":1}', [Item(1, None, b'{"a":1}')]),
        (b'{"a":1}\n\n{"b":2}\r\n', [Item(1, None, b'{"a":1}'), Item(3, None, b'{"b":2}')]),
        (b'{"a":1}\n7\n', [Item(1, None, b'{"a":1}'), Item(2, None, b"7")]),
        (b'[{"a":1},{"a":1}]', [Item(1, 0, b'{"a":1}'), Item(1, 1, b'{"a":1}')]),
        (b"[\n1,\n [\n2],\n 1\n]", [Item(2, 0, b"1"), Item(3, 1, b"[\n2]"), Item(5, 2, b"1")]),
        (b'\n[[1], {"a":"[1]"}]', [Item(2, 0, b"[1]"), Item(2, 1, b'{"a":"[1]"}')]),
        (b'"text"', [Item(1, None, b'"text"')]),
    ],
)
def test_items_with_their_lines(data: bytes, items: list[Item]) -> None:
    assert cut(data) == (items, [])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", ["line 1: the file is empty"]),
        (b" \n", ["line 1: the file is empty"]),
        (b"[]", ["line 1: the array is empty"]),
        (b'{\n"a":\n', ["line 2: is not JSON: Input data was truncated"]),
        (b'{\n"a": 1,\n"b": tru }\n', ["line 3: is not JSON: invalid character"]),
        (b'[{"a":1},\n{"b":}]', ["line 2: is not JSON: invalid character"]),
        (b"<xml/>\n<xml/>", ["line 1: is not JSON: invalid character"]),
        (b"[" * 100_000, ["line 1: is not JSON: nested too deeply"]),
        (b'{"a"\n{"b":2}\n{"c"', [f"line {line}: is not JSON: Input data was truncated" for line in (1, 3)]),
    ],
)
def test_what_is_not_json_is_told_with_its_line(data: bytes, told: list[str]) -> None:
    _, problems = cut(data)
    assert [str(problem) for problem in problems] == told


def test_good_lines_are_cut_beside_bad_ones() -> None:
    items, problems = cut(b'{"a":1}\n{"b":\n{"c":3}')
    assert [item.line for item in items] == [1, 3]
    assert [problem.line for problem in problems] == [2]
