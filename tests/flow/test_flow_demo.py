"""``voyado-async demo``: the story itself, what it leaves behind, and the comparison of the books."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from voyado_async.cli import demo as story
from voyado_async.cli.demo_books import Assignment, Contact, Effect, EngageBooks, Finding, Row, Written, compare
from voyado_async.cli.demo_shop import Samples
from voyado_async.cli.demo_view import View
from voyado_async.delivery import Kind

ANNA = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
BO = "c41d8a90-2b36-4f1e-8e77-91d3a6b05f2e"

WRITTEN = [
    Written(1, Kind.REDEEM, "A1", {"channel": "ECOM"}),
    Written(2, Kind.CONTACT_UPDATE, ANNA, {"city": "Lund", "preferences.acceptsSms": True}),
    Written(
        3, Kind.RECEIPT, "R1", {"totalGrossPrice": 10, "items": [{"sku": "1", "quantity": 2}], "usedPromotions": []}
    ),
    Written(4, Kind.CONTACT_UPDATE, ANNA, {"city": "Ystad", "street": None}),
    Written(5, Kind.CONTACT_CREATE, "bo@example.com", {"email": "bo@example.com", "city": "Umeå"}),
    Written(6, Kind.CONTACT_UPDATE, "bo@example.com", {"shoeSize": 38.5}),
    Written(7, Kind.CONTACT_TYPE, BO, {"contactType": "Contact"}),
]
EFFECTS = [
    Effect(1, "redeem", "a1", "rest", {"channel": "ECOM", "redeemedOn": "2026-11-22T10:00:00Z"}),
    Effect(2, "contact_update", ANNA, "rest", {"city": "Lund", "preferences.acceptsSms": True}),
    Effect(3, "receipt_accepted", "R1", "rest"),
    Effect(4, "receipt", "R1", "file"),
    Effect(5, "contact_create", BO, "rest", {"email": "bo@example.com", "city": "Umeå"}),
    Effect(6, "contact_update", ANNA, "file", {"city": "Ystad", "street": None}),
    Effect(7, "contact_update", BO, "file", {"email": "bo@example.com", "shoeSize": "38.5"}),
    Effect(8, "contact_type", BO, "rest", {"contactType": "Contact"}),
]
CONTACTS = [
    Contact(ANNA, "Member", {"city": "Ystad"}, {"acceptsSms": True}),
    Contact(BO, "Contact", {"email": "bo@example.com", "city": "Umeå", "shoeSize": "38.5"}),
]
RECEIPT: dict[str, Any] = {
    "uniqueReceiptId": "R1",
    "totalGrossPrice": 10,
    "items": [{"sku": "1", "quantity": 2, "x": 0}],
}
RECEIPTS = [RECEIPT]
ASSIGNMENTS = [Assignment("A1", True, "ECOM"), Assignment("A2", False)]


def books(
    effects: list[Effect] = EFFECTS,
    contacts: list[Contact] = CONTACTS,
    receipts: list[dict[str, Any]] = RECEIPTS,
    assignments: list[Assignment] = ASSIGNMENTS,
) -> EngageBooks:
    return EngageBooks(effects, contacts, receipts, assignments)


def found(engage: EngageBooks) -> list[tuple[str, int | None]]:
    return sorted({(f.what, f.entry_id) for f in compare(WRITTEN, engage).findings}, key=str)


def without(*seqs: int) -> list[Effect]:
    return [effect for effect in EFFECTS if effect.seq not in seqs]


def test_equal_books_agree_and_count_each_road() -> None:
    comparison = compare(WRITTEN, books())
    assert comparison.agree
    assert {kind: (row.written, row.api, row.file) for kind, row in comparison.rows.items()} == {
        "contact_create": (1, 1, 0),
        "contact_type": (1, 1, 0),
        "contact_update": (3, 1, 2),
        "receipt": (1, 0, 1),
        "redeem": (1, 1, 0),
    }


def test_changes_that_one_record_of_a_file_carried_together_have_arrived() -> None:
    together = Effect(
        6, "contact_update", ANNA, "file", {"city": "Ystad", "street": None, "preferences.acceptsSms": True}
    )
    comparison = compare(WRITTEN, books([*without(2, 6), together]))
    assert comparison.agree
    assert comparison.rows["contact_update"].file == 3


def test_a_change_that_is_repeated_at_once_is_no_harm() -> None:
    again = msgspec.structs.replace(EFFECTS[5], seq=9)
    assert compare(WRITTEN, books([*EFFECTS, again])).agree


@pytest.mark.parametrize(
    ("seq", "entry"), [(1, 1), (4, 3), (6, 4), (7, 6), (8, 7)], ids=["redeem", "receipt", "update", "by email", "type"]
)
def test_an_effect_that_is_not_in_the_journal_is_missing(seq: int, entry: int) -> None:
    assert ("missing", entry) in found(books(without(seq)))


@pytest.mark.parametrize(("seq", "entry"), [(1, 1), (4, 3), (5, 5)], ids=["redeem", "receipt", "creation"])
def test_an_effect_that_stands_twice_in_the_journal_is_doubled(seq: int, entry: int) -> None:
    twice = msgspec.structs.replace(next(e for e in EFFECTS if e.seq == seq), seq=9)
    assert found(books([*EFFECTS, twice])) == [("doubled", entry)]


def test_a_contact_that_was_created_twice_under_two_ids_is_doubled() -> None:
    other = "d52e9ba1-3c47-4a2f-9f88-a2e4b7c16a3f"
    twin = Effect(9, "contact_create", other, "file", {"email": "BO@example.com", "city": "Umeå"})
    twins = [*CONTACTS, Contact(other, "Member", {"email": "BO@example.com", "city": "Umeå"})]
    assert ("doubled", 5) in found(books([*EFFECTS, twin], twins))


def test_an_older_value_after_a_newer_one_is_out_of_order_even_when_the_newest_wins_in_the_end() -> None:
    late = msgspec.structs.replace(EFFECTS[1], seq=9)
    again = msgspec.structs.replace(EFFECTS[5], seq=10)
    assert found(books([*EFFECTS, late, again])) == [("out_of_order", 2)]


def test_an_older_value_that_stands_there_in_the_end_is_told_twice() -> None:
    late = msgspec.structs.replace(EFFECTS[1], seq=9)
    stands = [Contact(ANNA, "Member", {"city": "Lund"}, {"acceptsSms": True}), CONTACTS[1]]
    assert found(books([*EFFECTS, late], stands)) == [("missing", 4), ("out_of_order", 2)]


def test_other_values_than_those_written_are_missing() -> None:
    for other in (
        {"totalGrossPrice": 11},
        {"items": []},
        {"items": [{"sku": "1", "quantity": 3}]},
        {"items": [{"sku": "1"}]},
        {"items": RECEIPT["items"] * 2},
        {"usedPromotions": [{}]},
    ):
        assert found(books(receipts=[RECEIPT | other])) == [("missing", 3)], other
    changed = msgspec.structs.replace(EFFECTS[0], values={"channel": "POS"})
    assert found(books([changed, *EFFECTS[1:]])) == [("missing", 1)]


def test_what_stands_there_in_the_end_counts_for_redemptions_as_well() -> None:
    assert found(books(assignments=[Assignment("A1", False)])) == [("missing", 1)]
    assert found(books(assignments=[Assignment("A1", True, "POS")])) == [("missing", 1)]
    assert found(books(assignments=[*ASSIGNMENTS, Assignment("A3", True, "POS")])) == [("not_ours", None)]


@pytest.mark.parametrize(
    "foreign",
    [
        Effect(9, "redeem", "A2", "rest", {"channel": "ECOM"}),
        Effect(9, "receipt", "R2", "rest"),
        Effect(9, "contact_create", "x", "rest", {"email": "eve@example.com"}),
        Effect(9, "contact_update", "somebody", "rest", {"city": "Lund"}),
        Effect(9, "contact_update", ANNA, "rest", {"careOf": "nobody"}),
    ],
    ids=["redeem", "receipt", "creation", "contact", "field"],
)
def test_what_nobody_wrote_is_told(foreign: Effect) -> None:
    assert found(books([*EFFECTS, foreign])) == [("not_ours", None)]


def test_the_samples_are_found() -> None:
    assert len(Samples().receipts) >= 6


def told(**changes: object) -> story.Result:
    row = Row(written=3, api=2, missing=1)
    finding = Finding("missing", "receipt", 7, "is not stored")
    return msgspec.structs.replace(
        story.Result(
            agree=False, entries=3, kinds={"receipt": row}, findings=(finding,), unsettled=1, unknown_outcomes=2,
            files=4, slowest_write_ms=5.0, seconds=6.0, seed=1,
        ),
        **changes,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["--json"]])
@pytest.mark.parametrize("agree", [True, False])
def test_books_that_differ_end_the_demo_with_1(
    agree: bool, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(seed: int, view: View) -> story.Result:
        return told(agree=agree)

    monkeypatch.setattr(story, "play", play)
    done = CliRunner().invoke(story.demo, arguments)
    assert done.exit_code == (0 if agree else 1)
    if arguments:
        assert json.loads(done.stdout)["agree"] is agree
    else:
        assert done.stdout.splitlines()[-1].startswith("The books agree" if agree else "The books differ")


def test_the_report_names_each_entry_that_is_wrong() -> None:
    lines = story.report(told())
    assert lines[1].split() == ["written", "by", "API", "by", "file", "missing", "doubled", "out", "of", "order"]
    assert lines[2].split() == ["receipt", "3", "2", "0", "1", "0", "0"]
    assert lines[4:6] == ["missing: receipt of entry 7: is not stored", "not settled in time: 1"]


async def test_on_a_terminal_the_story_is_drawn_in_its_place(tmp_path: Path) -> None:
    """The phases, a bar for each state, and what the breaker does."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    shown = b""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "voyado_async", "demo", stdout=theirs, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(tmp_path), "TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        async with asyncio.timeout(30):
            while not (b"well: Engage is well" in shown and b"delivered " in shown and b"breaker closed" in shown):
                shown += await asyncio.to_thread(os.read, ours, 4096)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            with contextlib.suppress(OSError):  # nobody holds the other end any more
                while await asyncio.to_thread(os.read, ours, 4096):
                    pass
            await process.communicate()
    finally:
        os.close(ours)
    assert process.returncode == 1
    assert b"\x1b[" in shown
    assert list(tmp_path.iterdir()) == []


async def start_demo(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voyado_async", "demo", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | {"TMPDIR": str(folder)},
        start_new_session=True,
    )  # fmt: skip


def processes_with(folder: Path) -> list[str]:
    """Processes that were told this folder for their temporary files."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue  # it has ended, or is somebody else's
            if str(folder).encode() in environ:
                found.append(entry.name)
    return found


@pytest.mark.slow
async def test_the_story_ends_in_time_with_equal_books_and_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = await start_demo(tmp_path, "--json")
    output, errors = await asyncio.wait_for(demo.communicate(), 90)
    told = json.loads(output)
    assert told["findings"] == []
    assert (demo.returncode, told["agree"], told["unsettled"]) == (0, True, 0), errors.decode()
    assert told["seconds"] < 60
    assert set(told["kinds"]) == {str(kind) for kind in Kind}
    for kind, row in told["kinds"].items():
        assert row["written"] == row["api"] + row["file"], kind
    assert all(told["kinds"][kind]["file"] > 0 for kind in ("redeem", "receipt", "contact_create", "contact_update"))
    assert told["unknown_outcomes"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_a_story_that_is_broken_off_leaves_nothing_behind(tmp_path: Path, ending: signal.Signals) -> None:
    demo = await start_demo(tmp_path)
    assert demo.stdout is not None
    line = (await asyncio.wait_for(demo.stdout.readline(), 30)).decode()
    assert re.match(r" +[0-9.]+ s  well: ", line), line
    assert len(processes_with(tmp_path)) == 2
    demo.send_signal(ending)
    await asyncio.wait_for(demo.communicate(), 30)
    assert demo.returncode == 1
    assert list(tmp_path.iterdir()) == []
    assert processes_with(tmp_path) == []
