"""What XML 1.0 can carry. Everything that we send may have to leave by file, so the check belongs at enqueue (ref 6.8).

JSON carries more than XML does: control characters, lone surrogates, U+FFFE and U+FFFF have no form in XML at all,
not even an escaped one. And an attribute of a contact becomes the name of an element (ref 6.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_NAME_START = (
    "A-Z_a-z\xc0-\xd6\xd8-\xf6\xf8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_XML_NAME = f"[{_NAME_START}][-.0-9\xb7\u0300-\u036f\u203f-\u2040{_NAME_START}]*"

# How such a character can look inside JSON text. A hit only means "look closer": a path like `C:\\file` hits as well.
# The pattern begins with one literal byte, which the search finds at the speed of memchr.
_SUSPECT_ESCAPE = re.compile(rb"\\(?:u(?:00[01]|[fF]{3})|[bf])")
_SUSPECT_BYTES = (b"\xef\xbf\xbe", b"\xef\xbf\xbf")


def plain_text(text: str) -> str:
    """Of a subclass of str, such as a template's safe string or an enumeration, the text itself, whatever it says that
    it is."""
    return "".join(text)


def may_hold_what_xml_cannot(text: bytes) -> bool:
    """False is certain, True asks for a closer look. `text` is JSON; costs half a microsecond for a receipt."""
    if _SUSPECT_ESCAPE.search(text):
        return True
    return b"\xef" in text and any(suspect in text for suspect in _SUSPECT_BYTES)


def is_xml_name(name: str) -> bool:
    """Whether `name` can be the name of an XML element: an NCName: letters, digits, ``.``, ``-``, ``_``."""
    return re.fullmatch(_XML_NAME, name) is not None  # compiled when it is first asked for: that takes 4 ms


def legible(name: str) -> str:
    """A field's name for an error path: cut, and without characters that would spoil a terminal or a log line."""
    if len(name) <= 64 and name.isprintable():
        return name
    shown = "".join(letter if letter.isprintable() else "?" for letter in name[:64])
    return shown if len(name) <= 64 else f"{shown}..."


def field_path(path: str, name: str) -> str:
    """The path of the field `name` of what stands at `path`: ``items[2]`` and ``sku`` make ``items[2].sku``."""
    return f"{path}.{legible(name)}" if path else legible(name)


def path_of_what_xml_cannot_carry(value: object, path: str = "") -> str | None:
    """The path of the first text of plain data (dicts, lists, scalars) that XML cannot carry; None if there is none."""
    return next(_uncarriable(value, path), None)


def _uncarriable(value: object, path: str) -> Iterator[str]:
    match value:
        case str():
            if NOT_IN_XML.search(value):
                yield path
        case Mapping():
            for name, inner in value.items():
                here = field_path(path, str(name))
                if NOT_IN_XML.search(str(name)):
                    yield here
                yield from _uncarriable(inner, here)
        case Sequence() if not isinstance(value, bytes | bytearray):
            for index, inner in enumerate(value):
                yield from _uncarriable(inner, f"{path}[{index}]")
