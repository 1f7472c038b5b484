"""What XML can carry, held against lxml, which will have to write it."""

from __future__ import annotations

import pytest
from lxml import etree

from voyado_async.models.text import is_xml_name, may_hold_what_xml_cannot, path_of_what_xml_cannot_carry

EDGES = [*range(0x100), 0x2028, 0xD7FF, 0xE000, 0xFDD0, 0xFEFF, *range(0xFFF0, 0x10010), 0x1FFFE, 0x10FFFF]


@pytest.mark.parametrize("point", EDGES, ids=hex)
def test_a_character_is_refused_exactly_when_lxml_refuses_it(point: int) -> None:
    element = etree.Element("a")
    try:
        element.text = f"x{chr(point)}"
    except ValueError:
        carried = False
    else:
        carried = etree.fromstring(etree.tostring(element, encoding="utf-8")).text == f"x{chr(point)}"
    assert (path_of_what_xml_cannot_carry({"a": f"x{chr(point)}"}) is None) is carried


@pytest.mark.parametrize("name", ["a", "pet.name", "åder-tal", "_x", "a1", "名前", "nps_2", "\U00010000"])
def test_a_name_that_xml_takes_is_taken(name: str) -> None:
    assert is_xml_name(name)
    assert etree.Element(name).tag == name


@pytest.mark.parametrize(
    "name", ["", " a", "a b", "1a", "-a", ".a", "a:b", "a\n", "<a>", "a\x00", "\xd7", "{x}a", "a/b", "\ufffe"]
)
def test_a_name_that_xml_cannot_take_is_refused(name: str) -> None:
    assert not is_xml_name(name)


@pytest.mark.parametrize("text", [b"{}", b'{"a":"\\"b\\" \\n\\r\\t \\\\ \\u00e5"}', "{'a':'åäö 🧦'}".encode()])
def test_ordinary_json_needs_no_closer_look(text: bytes) -> None:
    assert not may_hold_what_xml_cannot(text)


@pytest.mark.parametrize("text", [b"\\u0000", b"\\u001F", b"\\b", b"\\f", b"\\uFffe", b"\xef\xbf\xbf", b"\xef\xbf\xbe"])
def test_every_form_of_such_a_character_in_json_asks_for_a_closer_look(text: bytes) -> None:
    assert may_hold_what_xml_cannot(b'{"a":"' + text + b'"}')


def test_the_first_place_is_told_and_names_count_too() -> None:
    assert path_of_what_xml_cannot_carry({"a": [{"b": "fine"}, {"c": "\x01"}], "d": "\x02"}) == "a[1].c"
    assert path_of_what_xml_cannot_carry({"a\x01": 1}) == "a?"
    assert path_of_what_xml_cannot_carry({"a": [1, None, True, b"\x01"]}) is None
