"""Input files: one JSON object, a JSON array, or JSON lines, cut into the texts of their items. Pure.

The texts are left as they are, so that every number reaches the outbox with all its digits.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from voyado_async.cli.failure import Problem

_RAW = msgspec.json.Decoder(msgspec.Raw)
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_AT_BYTE = re.compile(r" \(byte (\d+)\)")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Item(NamedTuple):
    """One item of a file and where it begins. `element` is its place in an array, counted from 0."""

    line: int
    element: int | None
    text: bytes


def cut(data: bytes) -> tuple[list[Item], list[Problem]]:
    """The items of a file, and the places that are not JSON at all."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if not data.strip():
        return [], [Problem(1, "the file is empty")]
    try:
        _RAW.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        if _looks_like_lines(data):
            return _lines(data)
        return [], [_not_json(error, data)]
    start = len(data) - len(data.lstrip())
    if data[start : start + 1] == b"[":
        return _array(data)
    return [Item(data.count(b"\n", 0, start) + 1, None, data.strip())], []


def _looks_like_lines(data: bytes) -> bool:
    """Several lines of which at least one is an object by itself: in a broken document no line at its margin is."""
    lines = [line for line in data.splitlines() if line.strip()]
    return len(lines) > 1 and any(line.startswith(b"{") and _error_of(line) is None for line in lines)


def _error_of(text: bytes) -> Exception | None:
    try:
        _RAW.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return error
    return None


def _lines(data: bytes) -> tuple[list[Item], list[Problem]]:
    items, problems = [], []
    # Not splitlines: inside a JSON text only a line feed ends a line.
    for number, line in enumerate(data.split(b"\n"), start=1):
        text = line.strip()
        if not text:
            continue
        error = _error_of(text)
        if error is None:
            items.append(Item(number, None, text))
        else:
            problems.append(Problem(number, _reason(error)))
    return items, problems


def _array(data: bytes) -> tuple[list[Item], list[Problem]]:
    items: list[Item] = []
    line, position = 1, 0
    for index, raw in enumerate(_ARRAY.decode(data)):
        text = bytes(raw)
        # Between two elements stand blanks and a comma only, so the next occurrence is the element itself.
        found = data.index(text, position + (0 if index else 1))
        line += data.count(b"\n", position, found)
        items.append(Item(line, index, text))
        line += text.count(b"\n")
        position = found + len(text)
    if not items:
        return [], [Problem(1, "the array is empty")]
    return items, []


def _reason(error: Exception) -> str:
    told = "nested too deeply" if isinstance(error, RecursionError) else _AT_BYTE.sub("", str(error))
    return f"is not JSON: {told.removeprefix('JSON is malformed: ')}"


def _not_json(error: Exception, data: bytes) -> Problem:
    at = _AT_BYTE.search(str(error))
    end = int(at[1]) if at else len(data.rstrip())
    return Problem(data.count(b"\n", 0, end) + 1, _reason(error))
