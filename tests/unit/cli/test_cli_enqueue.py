"""Writing from the command line: all is checked first, ids are printed, a bad item is told with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_calls import Call, In

from voyado_async.cli import enqueue
from voyado_async.outbox.records import EntryFilter
from voyado_async.outbox.sqlite import SqliteOutbox

PAYLOADS = Path(__file__).parents[3] / "samples" / "payloads"
RECEIPT = (PAYLOADS / "receipt_purchase.json").read_text(encoding="utf-8")
CONTACT = "F2A7C6D4-8b13-4e59-a0d2-6e91b7c35a08"


def receipt(number: object, **changes: Any) -> str:
    return json.dumps(json.loads(RECEIPT) | {"uniqueReceiptId": f"R-{number}"} | changes)


async def stored(outbox: SqliteOutbox) -> list[tuple[int, str, bytes]]:
    entries = await outbox.entries(EntryFilter())
    return [(entry.id, entry.kind, await outbox.body(entry.id)) for entry in reversed(entries)]


def test_each_kind_is_written_and_its_id_printed(call: Call, in_outbox: In, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOYADO_CONTACT_KEY", "email")
    calls = [
        ["redeem", "--assignment", "A1", "--channel", "ecom", "--contact", CONTACT],
        ["contact", "--contact", CONTACT, str(PAYLOADS / "contact_update.json")],
        ["new-contact", str(PAYLOADS / "contact_create.json")],
        ["contact-type", "--contact", CONTACT, "Employee"],
        ["receipt", str(PAYLOADS / "receipt_purchase.json")],
        ["redeem-code", "--code", "C1", "--channel", "POS"],
        ["voucher", "--voucher", "V1"],
    ]
    assert [call("enqueue", *arguments).stdout for arguments in calls] == [f"{n}\n" for n in range(1, 8)]
    written = in_outbox(stored)
    assert [kind for _, kind, _ in written] == [
        *("redeem", "contact_update", "contact_create", "contact_type", "receipt", "redeem", "voucher_redeem")
    ]
    assert json.loads(written[0][2])["channel"] == "ECOM"
    assert json.loads(written[5][2])["by"] == "code"


def test_a_voucher_that_version_2_cannot_express_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOYADO_API_VERSION", "2")
    refused = call("enqueue", "voucher", "--voucher", "V1")
    assert refused.exit_code == 1
    assert "contactId: missing" in refused.stderr
    assert call("enqueue", "voucher", "--voucher", "V1", "--contact", CONTACT).stdout == "1\n"


def test_numbers_reach_the_outbox_with_all_their_digits(call: Call, in_outbox: In) -> None:
    text = receipt(1).replace("1047.0", "1047.000000000000000000001")
    assert call("enqueue", "receipt", "-", stdin=text).exit_code == 0
    assert b'"totalGrossPrice":1047.000000000000000000001' in in_outbox(stored)[0][2]


@pytest.mark.parametrize("form", ["array", "lines"])
def test_arrays_and_lines_are_written_in_their_order(form: str, call: Call, in_outbox: In) -> None:
    items = [receipt(number) for number in range(3)]
    text = f"[{','.join(items)}]" if form == "array" else "\n\n".join(items)
    result = call("enqueue", "receipt", "--json", "-", stdin=text)
    report = json.loads(result.stdout)
    assert [entry["id"] for entry in report["entries"]] == [1, 2, 3]
    assert [entry["line"] for entry in report["entries"]] == ([1, 1, 1] if form == "array" else [1, 3, 5])
    assert {(entry["kind"], entry["state"], entry["existing"]) for entry in report["entries"]} == {
        ("receipt", "pending", None)
    }
    assert [json.loads(body)["uniqueReceiptId"] for _, _, body in in_outbox(stored)] == ["R-0", "R-1", "R-2"]


def test_what_was_written_before_is_told_and_not_written_again(call: Call) -> None:
    call("enqueue", "receipt", "-", stdin=receipt(1))
    again = call("enqueue", "receipt", "-", stdin=f"{receipt(1)}\n{receipt(2)}")
    assert again.stdout == "1\n2\n"
    assert "entry 1 (line 1) was there already: pending\n" in again.stderr


def test_what_is_odd_is_told_and_written(call: Call) -> None:
    result = call("enqueue", "receipt", "-", stdin=receipt(1, totalGrossPrice=3))
    assert (result.exit_code, result.stdout) == (0, "1\n")
    assert "entry 1 (line 1): warning: " in result.stderr


def test_each_bad_item_is_told_and_nothing_is_stored(call: Call, home: Path) -> None:
    lines = [receipt(1), receipt(2, currency="kr"), '{"broken":', receipt(1, currency="EUR"), "[]"]
    result = call("enqueue", "receipt", "-", stdin="\n".join(lines))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "Error: 4 bad items in <stdin>; nothing was stored",
        "  line 2: currency: expected three capital letters (ISO 4217)",
        "  line 3: is not JSON: Input data was truncated",
        "  line 4: has the key of line 1 with other content",
        "  line 5: expected `object`, got `array`".replace("`", ""),
    ]
    assert not (home / "outbox.db").exists()


def test_a_bad_element_of_an_array_is_told_by_line_and_place(call: Call) -> None:
    result = call("enqueue", "receipt", "--json", "-", stdin=f"[\n{receipt(1)},\n{receipt(2, items=3)}]")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr)["error"]["problems"] == [
        {"line": 3, "reason": "expected array, got int", "path": "items", "index": 1}
    ]


@pytest.mark.parametrize(
    ("contact", "lane"),
    [
        (CONTACT, f"contact:{CONTACT.lower()}"),
        ("anna@example.com", "email:***"),
        ("memberNumber:1234", "memberNumber:***"),
    ],
)
def test_an_update_names_its_contact_as_every_command_does(contact: str, lane: str, call: Call) -> None:
    assert call("enqueue", "contact", "--contact", contact, "-", stdin='{"city": "Lund"}').exit_code == 0
    assert json.loads(call("list", "--json").stdout)["entries"][0]["contact"] == lane


@pytest.mark.parametrize("contact", ["memberNumber:1234", "anna@example.com"])
@pytest.mark.parametrize(
    "command",
    [
        ["contact-type", "Employee"],
        ["redeem", "--assignment", "A1", "--channel", "POS"],
        ["redeem-code", "--code", "C1", "--channel", "POS"],
        ["voucher", "--voucher", "V1"],
    ],
)
def test_where_only_an_id_can_name_a_contact_nothing_else_is_taken_for_one(
    command: list[str], contact: str, call: Call, home: Path
) -> None:
    refused = call("enqueue", *command, "--contact", contact)
    assert refused.exit_code == 2
    assert "only its id can name the contact here" in refused.stderr
    assert list(home.iterdir()) == []


def test_no_value_of_a_bad_item_is_shown(call: Call) -> None:
    result = call("enqueue", "new-contact", "-", stdin='{"email": "anna@example.com", "birthDay": "19910617"}')
    assert result.exit_code == 1
    assert "anna@example" not in result.output
    assert "19910617" not in result.output


def test_a_key_that_was_used_with_other_content_is_told_with_its_line(call: Call, in_outbox: In) -> None:
    call("enqueue", "receipt", "-", stdin=receipt(2))
    result = call("enqueue", "receipt", "-", stdin="\n".join([receipt(1), receipt(2, currency="EUR"), receipt(3)]))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "Error: a key was used before with other content; nothing was stored",
        "  line 2: the key of this receipt was used before with other content, by entry 1",
    ]
    assert len(in_outbox(stored)) == 1
    call("enqueue", "redeem", "--assignment", "A", "--channel", "POS")
    other = call("enqueue", "redeem", "--assignment", "A", "--channel", "ECOM")
    assert other.exit_code == 1
    assert other.stderr == (
        "Error: the key of this redeem was used before with other content, by entry 2; nothing was stored\n"
    )


def test_a_file_is_one_commit(call: Call, in_outbox: In) -> None:
    call("enqueue", "receipt", "-", stdin="\n".join(receipt(number) for number in range(enqueue.MOST_TOGETHER)))

    async def moments(outbox: SqliteOutbox) -> set[int]:
        return {entry.created for entry in await outbox.entries(EntryFilter())}

    assert len(in_outbox(moments)) == 1


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([9_000_000], [(0, 1)]),
        ([1] * 1000, [(0, 1000)]),
        ([1] * 2001, [(0, 1000), (1000, 2000), (2000, 2001)]),
        ([2_000_000, 2_000_000], [(0, 2)]),
        ([2_000_000, 2_000_001, 1_999_999], [(0, 1), (1, 3)]),
        ([1, 9_000_000, 1], [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_what_holds_the_turn_for_long_is_cut_into_commits(sizes: list[int], expected: list[tuple[int, int]]) -> None:
    assert list(enqueue.commits(sizes)) == expected


def test_a_large_file_says_how_far_it_was_stored(call: Call, in_outbox: In, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enqueue, "MOST_TOGETHER", 2)
    call("enqueue", "receipt", "-", stdin=receipt(4))
    lines = [receipt(0), receipt(1), receipt(2), receipt(3), receipt(4, currency="EUR"), receipt(5)]
    result = call("enqueue", "receipt", "-", stdin="\n".join(lines))
    assert (result.exit_code, result.stdout) == (1, "2\n3\n4\n5\n")
    assert "the 4 items before line 5 are stored, from there on nothing is" in result.stderr
    assert "line 5: the key of this receipt" in result.stderr
    assert len(in_outbox(stored)) == 5


def test_a_new_outbox_needs_the_base_url(call: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOYADO_BASE_URL")
    result = call("enqueue", "receipt", "-", stdin=receipt(1))
    assert result.exit_code == 2
    assert "VOYADO_BASE_URL" in result.stderr
    assert not (home / "outbox.db").exists()


def test_an_outbox_of_another_engage_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("enqueue", "receipt", "-", stdin=receipt(1))
    monkeypatch.setenv("VOYADO_BASE_URL", "http://127.0.0.1:7")
    result = call("enqueue", "receipt", "-", stdin=receipt(2))
    assert result.exit_code == 2
    assert "belongs to http://127.0.0.1:9" in result.stderr
