"""From what a shop hands over to a checked struct, and from msgspec's errors to ours.

Nothing is silently coerced: a number in quotes, a naive time, a misspelt field or a name that stands twice in JSON is
an `InvalidEntry` with the field's path. No error holds a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from voyado_async.errors import InvalidEntry
from voyado_async.models.money import decode_exact, exact
from voyado_async.models.payload import Payload, to_json
from voyado_async.models.text import (
    field_path,
    may_hold_what_xml_cannot,
    path_of_what_xml_cannot_carry,
    plain_text,
)

T = TypeVar("T", bound=Payload)

NOT_XML = "holds a character that XML cannot carry"

_ESCAPED_COLON = b"\\u003"  # in either case, and a few others

_OBJECT = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)

# Kept as they are by `to_builtins`, so that the check sees them: bytes must be refused, not sent as base64.
_KEPT = (bytes, bytearray, memoryview, date, datetime, time, timedelta, Decimal)

_LOCATED = re.compile(r"(?P<what>.*) - at `(?P<path>[^`]*)`", re.DOTALL)
_KEY = re.compile(r"Expected `str` - at `key` in `(?P<path>[^`]*)`")
_RANGE = re.compile(r"Integer value out of range|Expected `int` [<>]= -?\d+")
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_INDEX = re.compile(r"\[\d+\]")
_EXPECTED = re.compile(r"Expected `[\w |]+`(?:, got `[\w |]+`)?")
_REASONS = {
    "Expected `datetime` with a timezone component": "needs its offset (a time without one is not a moment)",
    "Expected `str` matching regex '\\\\S'": "must not be empty",
    "Invalid RFC3339 encoded datetime": "expected a date-time of ISO 8601 with its offset",
    "Invalid RFC3339 encoded date": "expected a date as YYYY-MM-DD",
}


class Strict(Generic[T]):
    """One kind of content and the three ways in which it can be handed over: JSON text, a mapping, the struct itself.

    `forms` tells by path (``items[].type``) what a field expects, where msgspec's own words would echo the value or
    show a regular expression.
    """

    def __init__(self, kind: type[T], forms: Mapping[str, str]) -> None:
        self._kind = kind
        self._forms = forms
        self._decoder = msgspec.json.Decoder(kind, float_hook=Decimal, dec_hook=decode_exact)

    def parse(self, content: T | Mapping[str, object] | bytes) -> tuple[T, bytes]:
        """The checked struct, and its JSON for the wire. Raises InvalidEntry with the path of the first thing that is
        wrong.
        """
        if isinstance(content, bytes):
            parsed = self._from_json(content)
            text = to_json(parsed)
            refuse_repeated_names(content, text)
            return parsed, text
        return self.convert(plain(content))

    def convert(self, content: object) -> tuple[T, bytes]:
        """The same of what `plain` or `json_object` gave. Raises InvalidEntry."""
        try:
            parsed = msgspec.convert(content, self._kind, dec_hook=decode_exact)
        except msgspec.ValidationError as error:
            raise self._refusal(error) from None
        except UnicodeEncodeError:  # a lone surrogate, in text whose form is checked
            refuse_what_xml_cannot_carry(content)
            raise
        try:
            text = to_json(parsed)
        except UnicodeEncodeError:  # a lone surrogate
            text = b""
        if not text or may_hold_what_xml_cannot(text):
            refuse_what_xml_cannot_carry(plain(parsed))
        return parsed, text

    def _from_json(self, text: bytes) -> T:
        try:
            parsed = self._decoder.decode(text)
        except msgspec.ValidationError as error:
            raise self._refusal(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise not_json(text, error) from None
        if may_hold_what_xml_cannot(text):
            refuse_what_xml_cannot_carry(plain(parsed))
        return parsed

    def _refusal(self, error: msgspec.ValidationError) -> InvalidEntry:
        """msgspec's error as ours: the path in the shop's terms, and no value."""
        text = str(error)
        if key := _KEY.fullmatch(text):
            return InvalidEntry(_shop_path(key["path"]), "expected text as the name of every field")
        located = _LOCATED.fullmatch(text)
        what, path = (located["what"], _shop_path(located["path"])) if located else (text, "")
        if missing := _MISSING.fullmatch(what):
            return InvalidEntry(field_path(path, missing[1]), "missing")
        if unknown := _UNKNOWN.fullmatch(what):
            return InvalidEntry(field_path(path, unknown[1]), "unknown field")
        if expected := _EXPECTED.fullmatch(what):
            return InvalidEntry(path, expected[0].replace("`", "").replace("Expected", "expected"))
        if _RANGE.fullmatch(what):
            return InvalidEntry(path, "is out of range")
        reason = _REASONS.get(what) or self._forms.get(_INDEX.sub("[]", path))
        return InvalidEntry(path, reason or (what if what.startswith(("expected ", "has ", "is ")) else "is not valid"))


def stored(kind: type[T], text: bytes) -> T:
    """A content in the form in which an outbox keeps it, from a person who changed it. Raises InvalidEntry."""
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    for name in json_object(text):
        if name not in known:
            raise InvalidEntry(field_path("", name), "unknown field")
    return Strict(kind, {}).parse(text)[0]


def _shop_path(path: str) -> str:
    """``$.items[2].sku`` as ``items[2].sku``."""
    return path.removeprefix("$").removeprefix(".")


def plain(content: object) -> dict[str, object]:
    """A struct or mapping as plain dicts and lists under the wire's names. Raises InvalidEntry for anything else.

    Structs inside are taken apart too, because msgspec does not check what is already a struct.
    """
    source = content.wire() if isinstance(content, Payload) else content
    try:
        try:
            built = msgspec.to_builtins(source, builtin_types=_KEPT)
        except TypeError:  # other mappings, subclasses of str; or something that has no place in JSON
            built = _unwrapped(source, "")
    except RecursionError:
        raise InvalidEntry("", "is nested too deeply") from None
    if not isinstance(built, dict):
        raise InvalidEntry("", f"expected an object, got {type(content).__name__}")
    return built


def json_object(text: bytes) -> dict[str, object]:
    """The JSON object that `text` is, its numbers exact. Raises InvalidEntry."""
    try:
        return _OBJECT.decode(text)
    except msgspec.ValidationError:
        raise InvalidEntry("", "expected a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_json(text, error) from None


def not_json(text: bytes, error: Exception) -> InvalidEntry:
    """Why `text` could not be read as JSON. A lone surrogate, which msgspec takes for broken JSON, is found by path."""
    if isinstance(error, RecursionError):
        return InvalidEntry("", "is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return InvalidEntry("", "is not UTF-8")
    try:
        path = path_of_what_xml_cannot_carry(json.loads(text))
    except (ValueError, RecursionError):
        path = None
    return InvalidEntry("", f"is not JSON: {error}") if path is None else InvalidEntry(path, NOT_XML)


def refuse_repeated_names(text: bytes, wire: bytes) -> None:
    """Raises InvalidEntry with the path of a name that stands twice in one object of the JSON `text`: readers differ in
    which of the two they take. `wire` is what was read from it: where that has as many colons, no name was left out
    (unless a time there has an offset without one).
    """
    if text.count(b":") == wire.count(b":") and _ESCAPED_COLON not in text:
        return
    path = next(_repeated(json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str), ""), None)
    if path is not None:
        raise InvalidEntry(path, "stands there twice")


class _Pairs(list[tuple[str, object]]):
    """An object of JSON with every name that it has, also one that is there twice."""


def _repeated(value: object, path: str) -> Iterator[str]:
    match value:
        case _Pairs():
            seen = set()
            for name, inner in value:
                here = field_path(path, name)
                if name in seen:
                    yield here
                seen.add(name)
                yield from _repeated(inner, here)
        case list():
            for index, inner in enumerate(value):
                yield from _repeated(inner, f"{path}[{index}]")


def refuse_what_xml_cannot_carry(content: object) -> None:
    """Raises InvalidEntry with the path of the first text that XML cannot carry; returns when there is none."""
    path = path_of_what_xml_cannot_carry(content)
    if path is not None:
        raise InvalidEntry(path, NOT_XML)


def _unwrapped(value: object, path: str) -> object:
    """Plain data, subclasses resolved (a template's safe string is text). Raises InvalidEntry with the path."""
    match value:
        case Payload():
            fields = ((field.encode_name, getattr(value, field.name)) for field in msgspec.structs.fields(value))
            return _unwrapped({name: inner for name, inner in fields if inner is not msgspec.UNSET}, path)
        case Mapping():
            return {
                plain_text(name) if isinstance(name, str) else name: _unwrapped(inner, field_path(path, str(name)))
                for name, inner in value.items()
            }
        case list() | tuple():
            return [_unwrapped(inner, f"{path}[{index}]") for index, inner in enumerate(value)]
        case Decimal():
            return exact_at(path, value)
        case str():
            return plain_text(value)
    try:
        return msgspec.to_builtins(value, builtin_types=_KEPT)
    except TypeError:
        raise InvalidEntry(path, f"has no form in JSON: {type(value).__name__}") from None


def exact_at(path: str, value: object) -> Decimal:
    """`exact` with the path in its error. Raises InvalidEntry."""
    try:
        return exact(value)
    except (TypeError, ValueError) as error:
        raise InvalidEntry(path, str(error)) from None
