"""Looking at an outbox: status, list, show, files, migrate, verify, and the parts of check that ask nobody."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_calls import BASE_URL, Call, In

from voyado_async.api.replies import RetryAt
from voyado_async.cli import check
from voyado_async.cli.check_engage import answered
from voyado_async.cli.check_lines import Result
from voyado_async.delivery import Delivered, FileFamily, NotAllowed, Rejected, SlowDown
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox import choosing
from voyado_async.outbox.records import Attempt, BreakerRecord, FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State

RECEIPT = (Path(__file__).parents[3] / "samples" / "payloads" / "receipt_purchase.json").read_bytes()
CONTACT = "f2a7c6d4-8b13-4e59-a0d2-6e91b7c35a08"
NOW = 1_800_000_000_000


async def fill(outbox: SqliteOutbox) -> None:
    """1: a rejected redeem, 2: a receipt that waits, 3 and 4: an exhausted update and one that it holds, 5: a receipt
    in a file, 6: an update of somebody who is named by e-mail."""
    named = address(contact_id=CONTACT)
    await outbox.enqueue(
        [
            redeem.draft("A1", channel="POS"),
            receipt.draft(RECEIPT, key="till-1"),
            contact_update.draft(named, {"city": "Lund"}),
            contact_update.draft(named, {"city": "Malmö"}),
            receipt.draft(RECEIPT.replace(b"000342", b"000343").replace(CONTACT.encode(), b"somebody-else")),
            contact_update.draft(address(email="anna@example.com"), {"city": "Umeå"}),
        ]
    )
    assert await outbox.mark_sending(1)
    line = Attempt(NOW, "request", "rejected", 404, "PromotionNotFound", 12)
    await outbox.settle(Settlement(1, State.SENDING, State.REJECTED, attempt=line, reason="PromotionNotFound"))
    await outbox.settle(Settlement(3, State.PENDING, State.EXHAUSTED, reason="ServerError"))
    await outbox.settle(Settlement(5, State.PENDING, State.EXHAUSTED, outage=True))
    name = await outbox.next_file_name(NOW, FileFamily.TRANSACTIONS)
    file = FileRecord(0, name, FileFamily.TRANSACTIONS, "Member", "contactId", "spooled", 1, 2, 5, NOW)
    spool = Path(outbox.path).parent / "spool"
    spool.mkdir()
    (spool / name).write_text("<xml>"[:5])
    assert await outbox.spool_file(file, [5]) == [5]


@pytest.fixture
def filled(in_outbox: In, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outbox with entries in several states. Neither base URL nor key is set any more."""
    in_outbox(fill)
    monkeypatch.delenv("VOYADO_BASE_URL")


def read(call: Call, *arguments: str) -> Any:
    result = call(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


LOOKING = [["status"], ["list"], ["show", "1"], ["files"], ["verify"], ["files", "--carried", "x"]]


@pytest.mark.parametrize("arguments", [*LOOKING, ["status", "--check"], ["log"]])
def test_looking_at_an_outbox_that_is_not_there_makes_none(arguments: list[str], call: Call, home: Path) -> None:
    """Lists of it are empty, and standard error says why: the path may be a mistake. Monitoring wants it there."""
    result = call(*arguments)
    assert f"{home}/outbox.db" in result.stderr
    if arguments in (["status"], ["list"], ["files"], ["log"]):
        assert (result.exit_code, result.stderr.partition(":")[0]) == (0, "nothing was written yet")
    else:
        assert (result.exit_code, result.stdout) == (2, "")
    assert list(home.iterdir()) == []


def test_an_outbox_that_nobody_has_written_to_has_nothing_in_any_state(call: Call) -> None:
    status = json.loads(call("status", "--json").stdout)
    assert set(status["states"]) == {str(state) for state in State}
    assert (set(status["states"].values()), status["accounting"]["balanced"], status["base_url"]) == ({0}, True, None)
    assert json.loads(call("list", "--json").stdout)["entries"] == []


def test_an_outbox_that_is_just_being_made_is_empty_and_a_file_that_nobody_makes_one_of_is_refused(
    call: Call, home: Path
) -> None:
    (home / "outbox.db").touch()
    (home / "outbox.db-turn").touch()
    assert call("status").exit_code == 2
    turn = os.open(home / "outbox.db-turn", os.O_RDWR)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        assert call("status").exit_code == 0
        assert call("status", "--check").exit_code == 2
    finally:
        os.close(turn)


@pytest.mark.parametrize("arguments", [["status"], ["status", "--check"], ["list"], ["files"], ["log"]])
def test_a_folder_that_is_not_there_has_no_outbox(arguments: list[str], call: Call, home: Path) -> None:
    result = call("--outbox", str(home / "nowhere" / "outbox.db"), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [*LOOKING[:5], ["status", "--check"], ["log"], ["replay", "--dry-run"]])
def test_an_outbox_of_another_engage_is_refused_to_who_looks_as_well(
    arguments: list[str], call: Call, filled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOYADO_BASE_URL", "https://other.voyado.com")
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"belongs to {BASE_URL} and not to https://other.voyado.com" in result.stderr


@pytest.mark.parametrize("arguments", LOOKING[:5])
def test_what_is_no_outbox_is_refused_and_left_alone(arguments: list[str], call: Call, home: Path) -> None:
    for content in (b"", b"hello", b"x" * 5000):
        (home / "outbox.db").write_bytes(content)
        assert call(*arguments).exit_code == (1 if arguments == ["verify"] and content else 2)
        assert (home / "outbox.db").read_bytes() == content


@pytest.mark.parametrize("arguments", [*LOOKING[:5], ["check"], ["migrate"]])
def test_a_folder_is_no_outbox(arguments: list[str], call: Call, home: Path) -> None:
    (home / "outbox.db").mkdir()
    done = call(*arguments)
    assert done.exit_code == (1 if arguments == ["check"] else 2)
    assert f"{home}/outbox.db" in done.output + done.stderr
    assert list((home / "outbox.db").iterdir()) == []


@pytest.mark.parametrize("arguments", LOOKING[:5])
def test_looking_works_while_somebody_has_the_turn_and_writes(
    arguments: list[str], call: Call, home: Path, filled: None
) -> None:
    writer = sqlite3.connect(home / "outbox.db", isolation_level=None)
    turn = os.open(home / "outbox.db-turn", os.O_RDWR)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        writer.execute("BEGIN IMMEDIATE")
        assert call(*arguments).exit_code == 0
    finally:
        os.close(turn)
        writer.close()


def test_status_tells_counts_books_and_who_has_to_look(call: Call, home: Path, filled: None) -> None:
    status = read(call, "status")
    assert status["outbox"] == str(home / "outbox.db")
    assert status["base_url"] == BASE_URL
    assert {state: count for state, count in status["states"].items() if count} == {
        "pending": 3, "rejected": 1, "exhausted": 1, "spooled": 1,
    }  # fmt: skip
    assert status["kinds"]["receipt"] == {"pending": 1, "spooled": 1}
    assert status["breaker"] == "closed"
    assert status["drainer"]["running"] is False
    assert status["files"] == {"spooled": 1}
    assert status["accounting"] == {"enqueued": 6, "purged": 0, "forgotten": 0, "balanced": True}
    assert status["needs_person"] == ["1 rejected"]  # the file of the outage goes back to the API by itself
    lines = call("status").stdout.splitlines()
    assert "  1 rejected for " in next(line for line in lines if "rejected for" in line)
    assert lines[-2:] == ["look at", "  1 rejected  voyado-async list --state rejected"]
    assert "accounting  balanced: 6 enqueued, 0 purged, 0 forgotten" in lines
    assert call("status", "--check").exit_code == 3
    assert call("status", "--check", "--json").exit_code == 3


def test_status_with_nothing_to_look_at_is_0(call: Call, in_outbox: In) -> None:
    async def deliver(outbox: SqliteOutbox) -> None:
        await outbox.enqueue([receipt.draft(RECEIPT)])
        await outbox.set_breaker(BreakerRecord("open", NOW, halted="401"))

    in_outbox(deliver)
    checked = call("status", "--check")
    assert checked.exit_code == 3
    assert re.search(r"^breaker     open for .*, the key is refused \(401\)$", checked.stdout, re.MULTILINE)
    in_outbox(lambda outbox: outbox.set_breaker(BreakerRecord("closed", NOW)))
    assert call("status", "--check").exit_code == 0


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], [6, 5, 4, 3, 2, 1]),
        (["--limit", "2"], [6, 5]),
        (["--state", "pending"], [6, 4, 2]),
        (["--state", "pending", "--state", "spooled"], [6, 5, 4, 2]),
        (["--kind", "receipt", "--state", "spooled"], [5]),
        (["--contact", CONTACT.upper()], [4, 3, 2]),
        (["--contact", "Anna@Example.com"], [6]),
        (["--contact", "email:anna@example.com"], [6]),
        (["--contact", "memberNumber:7"], []),
        (["--error", "PromotionNotFound"], [1]),
        (["--since", "1h"], [6, 5, 4, 3, 2, 1]),
        (["--until", "1h"], []),
        (["--since", (datetime.now(UTC) + timedelta(days=1)).isoformat()], []),
        (["--until", "2099-01-01"], [6, 5, 4, 3, 2, 1]),
    ],
)
def test_list_filters(filters: list[str], ids: list[int], call: Call, filled: None) -> None:
    report = read(call, "list", *filters)
    assert [entry["id"] for entry in report["entries"]] == ids
    assert report["more"] is ("--limit" in filters)
    assert [int(line.split()[0]) for line in call("list", *filters).stdout.splitlines()[1:]] == ids


@pytest.mark.parametrize("command", [["list"], ["replay", "--dry-run"], ["discard", "--dry-run", "--reason", "x"]])
def test_a_contact_that_cannot_be_one_is_wrong_usage_and_says_how_to_name_one(
    command: list[str], call: Call, filled: None
) -> None:
    done = call(*command, "--contact", "Anna Planted")
    assert (done.exit_code, "Planted" in done.output) == (2, False)
    assert "memberNumber:1234" in done.output


def test_a_list_that_did_not_look_at_all_says_where_to_go_on(
    call: Call, filled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "SPAN", 2)
    monkeypatch.setattr(choosing, "LOOKED_BACK", 1)
    monkeypatch.setattr(choosing, "IN_ORDER", 1)
    assert read(call, "list", "--limit", "1")["looked_back_to"] is None
    some = call("list", "--kind", "redeem", "--json")
    told = json.loads(some.stdout)
    assert (told["entries"], told["more"]) == ([], False)
    until = f"{datetime.fromisoformat(told['looked_back_to']):%Y-%m-%dT%H:%M:%SZ}"
    plain = call("list", "--kind", "redeem")
    assert plain.exit_code == 0
    assert plain.stderr == f"not all were looked at, and there may be older ones: --until {until}\n"


def test_listings_show_no_address_of_a_person(call: Call, filled: None) -> None:
    contacts = {entry["id"]: entry["contact"] for entry in read(call, "list")["entries"]}
    assert (contacts[1], contacts[3], contacts[6]) == ("assignment:a1", f"contact:{CONTACT}", "email:***")
    for arguments in (["list"], ["show", "6"], ["list", "--json"], ["show", "6", "--json"]):
        assert "anna@example" not in call(*arguments).output


def test_show_has_the_attempts_the_file_and_only_when_asked_the_payload(call: Call, filled: None) -> None:
    rejected = read(call, "show", "1")
    assert (rejected["id"], rejected["state"]) == (1, "rejected")
    assert rejected["attempts"] == [
        {"at": "2027-01-15T08:00:00Z", "what": "request", "outcome": "rejected", "status": 404,
         "code": "PromotionNotFound", "duration_ms": 12, "known": True}
    ]  # fmt: skip
    assert "payload" not in rejected
    in_file = read(call, "show", "5")
    assert (in_file["file"]["state"], in_file["file"]["name"]) == (
        "spooled",
        read(call, "list", "--state", "spooled")["entries"][0]["file"],
    )
    assert read(call, "show", "2", "--payload")["payload"]["uniqueReceiptId"] == "S118-T02-20261014-000342"
    assert '"uniqueReceiptId"' in call("show", "2", "--payload").stdout
    plain = call("show", "1").stdout
    assert "rejected: PromotionNotFound" in plain
    assert "404" in plain
    assert "a person decides: edit 1 FILE, replay 1, discard 1" in plain
    missing = call("show", "99")
    assert missing.exit_code == 1
    assert "there is no entry 99" in missing.stderr


def test_show_tells_behind_what_an_entry_of_the_same_contact_waits(call: Call, in_outbox: In, filled: None) -> None:
    """4 stands behind 2, whose turn it is, and once that has gone behind 3, which is exhausted; 7 and 8 behind 6."""
    assert [read(call, "show", number)["behind"] for number in ("2", "4")] == [None, 2]

    async def more(outbox: SqliteOutbox) -> None:
        anna = address(email="anna@example.com")
        await outbox.enqueue([contact_update.draft(anna, {"city": city}) for city in ("Ystad", "Kivik")])
        await outbox.settle(Settlement(2, State.PENDING, State.DELIVERED))

    in_outbox(more)
    assert [read(call, "show", str(number))["behind"] for number in range(1, 9)] == [
        None, None, None, 0, None, None, 6, 6,
    ]  # fmt: skip
    assert "\nbehind   entry 6 of its contact\n" in call("show", "8").stdout
    assert "\nbehind   what left by file\n" in call("show", "4").stdout


def test_a_file_that_was_carried_is_uploaded_and_never_withdrawn(call: Call, home: Path, filled: None) -> None:
    (file,) = read(call, "files")["files"]
    assert (file["state"], file["entries"], file["lines"], file["carried"]) == ("spooled", 1, 2, False)
    moved = read(call, "files", "--carried", file["name"])
    assert (moved["state"], moved["moved"]) == ("uploaded", 1)
    assert read(call, "files", "--carried", file["name"])["moved"] == 0
    refused = call("files", "--withdraw", file["name"])
    assert refused.exit_code == 1
    assert "is uploaded and cannot be withdrawn" in refused.stderr
    assert (home / "spool" / file["name"]).exists()
    assert "uploaded by hand" in call("files").stdout
    assert read(call, "show", "5")["state"] == "uploaded"


def test_a_file_that_was_withdrawn_is_gone_and_its_entries_wait_for_the_api(
    call: Call, home: Path, filled: None
) -> None:
    (file,) = read(call, "files")["files"]
    assert read(call, "files", "--withdraw", file["name"])["moved"] == 1
    assert read(call, "files", "--withdraw", file["name"])["moved"] == 0
    assert list((home / "spool").iterdir()) == []
    entry = read(call, "show", "5")
    assert (entry["state"], entry["slots"], entry["file"]) == ("pending", 0, None)
    assert call("files", "--carried", file["name"]).exit_code == 1
    assert call("files", "--withdraw", "other.xml").exit_code == 2
    assert read(call, "verify")["sound"] is True


def test_migrate_makes_the_outbox_and_says_what_it_did(call: Call, home: Path) -> None:
    first = read(call, "migrate")
    assert first == {"outbox": str(home / "outbox.db"), "schema": 1, "taken": ["0001_outbox.sql"]}
    assert read(call, "migrate")["taken"] == []
    assert call("migrate").stdout == f"{home}/outbox.db has schema 1\n"
    nowhere = call("--outbox", "no/such/folder/o.db", "migrate")
    assert nowhere.exit_code == 2
    assert "no/such/folder/o.db" in nowhere.stderr


# verify ---------------------------------------------------------------------------------------------------------------


def damage(home: Path, *statements: str) -> None:
    with sqlite3.connect(home / "outbox.db") as database:
        for statement in statements:
            database.executescript(statement)
    database.close()


def test_a_sound_outbox_is_sound(call: Call, filled: None) -> None:
    report = read(call, "verify")
    assert report["sound"] is True
    assert [finding["check"] for finding in report["checks"]] == [
        "integrity", "references", "accounting", "counters", "contents", "lanes", "files",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "finding", "told"),
    [
        ("DROP TRIGGER entry_gone; DELETE FROM entry WHERE id = 1", "accounting", "6 enqueued, 5 here"),
        ("DELETE FROM body WHERE entry = 2", "contents", "entry 2"),
        ("UPDATE entry SET file = 77 WHERE id = 5", "references", "entry row 5"),
        ("UPDATE lane SET head = NULL, due = NULL WHERE head = 2", "lanes", "instead of entry 2"),
        ("UPDATE lane SET head = 4 WHERE head = 2", "lanes", "stands at entry 4"),
        ("UPDATE lane SET hold = 0 WHERE hold = 1", "lanes", "hold 0 instead of"),
        ("UPDATE lane SET rank = 0 WHERE head = 6", "lanes", "rank 0, hold 0 instead of"),
        ("UPDATE lane SET due = due + 1 WHERE head = 6", "lanes", "instead of"),
        ("UPDATE lane SET confirms = 1, confirm_due = 9 WHERE head = 6", "lanes", "confirms 1, due 9 instead of"),
        ("UPDATE lane SET joined = 1 WHERE head = 6", "lanes", "became part of lane 1"),
        ("UPDATE file SET size = 6", "files", "has 5 bytes, not 6"),
    ],
)
def test_what_is_wrong_is_found(statement: str, finding: str, told: str, call: Call, home: Path, filled: None) -> None:
    damage(home, "PRAGMA foreign_keys = OFF", statement)
    result = call("verify", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["sound"] is False
    wrong = {check["check"]: check["detail"] for check in report["checks"] if not check["ok"]}
    assert told in wrong[finding]
    assert "WRONG" in call("verify").stdout


def test_a_file_that_is_gone_from_the_spool_is_found(call: Call, home: Path, filled: None) -> None:
    for path in (home / "spool").iterdir():
        path.unlink()
    result = call("verify")
    assert result.exit_code == 1
    assert "is missing" in result.stdout


def test_a_damaged_page_is_found(call: Call, home: Path, filled: None) -> None:
    damage(home, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray((home / "outbox.db").read_bytes())
    data[4096:8192] = b"\xff" * 4096
    (home / "outbox.db").write_bytes(data)
    result = call("verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["checks"][0]["ok"] is False
    for command in (["verify"], ["status"], ["enqueue", "receipt", "-"]):
        told = call(*command, stdin=RECEIPT.decode())
        assert told.exit_code in (1, 2)
        assert "Restore it from a backup" in told.output + told.stderr


def test_lanes_are_right_after_every_kind_of_hold(call: Call, in_outbox: In) -> None:
    async def hold(outbox: SqliteOutbox) -> None:
        named = address(contact_id=CONTACT)
        new = contact_create.draft({"email": "anna@example.com"}, contact_key="email")
        await outbox.enqueue([
            new, contact_update.draft(address(email="anna@example.com"), {"city": "Lund"}),
            redeem.draft("A1", channel="POS", contact_id=CONTACT), contact_type.draft(CONTACT, "Member"),
            contact_update.draft(named, {"city": "Lund"}), redeem.draft("A2", channel="POS", contact_id=CONTACT),
        ])  # fmt: skip
        for entry in (1, 4):
            await outbox.settle(Settlement(entry, State.PENDING, State.EXHAUSTED))
        await outbox.settle(Settlement(3, State.PENDING, State.PENDING, due=NOW, rest_until=NOW + 5))

    in_outbox(hold)
    assert read(call, "verify")["sound"] is True


# check ----------------------------------------------------------------------------------------------------------------


def results(call: Call) -> tuple[int, dict[str, str]]:
    result = call("check", "--json")
    report = json.loads(result.stdout)
    assert report["ok"] is (result.exit_code == 0)
    assert len(report["unconfirmed"]) > 20
    return result.exit_code, {line["thing"]: line["result"] for line in report["checks"]}


def test_check_tells_what_is_unconfirmed_about_folders_and_what_was_set_instead(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folders() -> dict[str, str | None]:
        facts = json.loads(call("check", "--json").stdout)["unconfirmed"]
        return {fact["family"]: fact["override"] for fact in facts if "folder" in fact["what"]}

    assert folders() == {"contacts": None, "redemptions": None}
    monkeypatch.setenv("VOYADO_SFTP_CONTACTS_DIR", "contactImport")
    monkeypatch.setenv("VOYADO_SFTP_REDEMPTIONS_DIR", "promotionImport")
    assert folders() == {"contacts": "contactImport", "redemptions": "promotionImport"}
    assert "the folder integration/customerImport (set to contactImport)" in call("check").stdout


def test_check_without_settings_says_what_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOYADO_BASE_URL")
    code, lines = results(call)
    assert code == 1
    assert lines["outbox"] == "note"
    assert lines["spool folder"] == "ok"
    assert (lines["api"], lines["sftp"]) == ("note", "note")
    out = call("check").stdout
    assert "base_url (VOYADO_BASE_URL): not set" in out
    assert "api_key (VOYADO_API_KEY): not set" in out


def test_check_finds_an_engage_that_does_not_answer(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOYADO_API_KEY", "secret-key")
    code, lines = results(call)
    assert (code, lines["api"]) == (1, "failed")
    assert "secret-key" not in call("check").output


def test_check_finds_an_open_file_and_another_engage(
    call: Call, home: Path, filled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "outbox.db").chmod(0o644)
    monkeypatch.setenv("VOYADO_BASE_URL", "http://127.0.0.1:7")
    _, lines = results(call)
    assert (lines["outbox"], lines["permissions"], lines["bound to"]) == ("ok", "failed", "failed")
    assert (lines["drainer"], lines["needs a person"]) == ("note", "note")


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Delivered(), Result.OK),
        (Rejected("ContactNotFound", 404), Result.OK),
        (NotAllowed(401), Result.FAILED),
        (SlowDown(), Result.NOTE),
        (RetryAt("Timeout"), Result.FAILED),
        (RetryAt("ServerError", 503), Result.FAILED),
    ],
)
def test_what_the_answer_of_the_api_means(outcome: Any, result: Result) -> None:
    assert answered("https://x.voyado.com", outcome).result is result


def test_sqlite_before_the_fix_is_a_note() -> None:
    assert check.sqlite((3, 51, 2)).result is Result.NOTE
    assert check.sqlite((3, 51, 3)).result is Result.OK


def test_who_may_read_the_file() -> None:
    path = Path("o.db")
    assert check.permissions(path, 0o600, 0o700).result is Result.OK
    assert check.permissions(path, 0o600, 0o777).result is Result.NOTE
    assert check.permissions(path, 0o640, 0o700).result is Result.FAILED


@pytest.mark.parametrize(
    ("file", "folder", "of_file", "of_folder", "result"),
    [
        (0o660, 0o2770, 7, 7, Result.OK),
        (0o660, 0o2775, 7, 7, Result.OK),
        (0o660, 0o2777, 7, 7, Result.NOTE),
        (0o600, 0o2770, 7, 7, Result.FAILED),
        (0o664, 0o2770, 7, 7, Result.FAILED),
        (0o660, 0o770, 7, 7, Result.FAILED),
        (0o660, 0o2770, 8, 7, Result.FAILED),
        (0o660, 0o2770, 7, 8, Result.FAILED),
    ],
)
def test_who_may_read_the_file_of_a_group(file: int, folder: int, of_file: int, of_folder: int, result: Result) -> None:
    assert check.permissions(Path("o.db"), file, folder, check.Groups(7, of_file, of_folder)).result is result


def test_check_tells_of_the_seal(call: Call, home: Path, filled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert results(call)[1]["seal"] == "note"
    monkeypatch.setenv("VOYADO_SEAL_KEY", "11" * 32)
    assert "begins to seal" in call("check").output
    assert call("migrate").exit_code == 0
    assert "addresses of contacts are not" in call("check").output
    monkeypatch.setenv("VOYADO_OUTBOX", "new.db")
    monkeypatch.setenv("VOYADO_BASE_URL", "http://127.0.0.1:9")
    assert call("migrate").exit_code == 0
    assert results(call)[1]["seal"] == "ok"
    monkeypatch.setenv("VOYADO_SEAL_KEY", "22" * 32)
    code, lines = results(call)
    assert (code, lines["outbox"]) == (1, "failed")


def test_a_contact_is_listed_by_the_address_of_a_sealed_outbox(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOYADO_CONTACT_KEY", "email")
    monkeypatch.setenv("VOYADO_SEAL_KEY", "11" * 32)
    for name in ("anna", "bo"):
        written = call("enqueue", "new-contact", "-", stdin=json.dumps({"email": f"{name}@example.com"}))
        assert written.exit_code == 0, written.output
    entries = read(call, "list", "--contact", "ANNA@example.com")["entries"]
    assert [(entry["id"], entry["contact"]) for entry in entries] == [(1, "email:***")]
    dropped = read(call, "discard", "--contact", "anna@example.com", "--reason", "x", "--dry-run")
    assert dropped["selected"] == 1
    monkeypatch.delenv("VOYADO_SEAL_KEY")
    assert len(read(call, "list")["entries"]) == 2
    refused = call("list", "--contact", "anna@example.com")
    assert (refused.exit_code, "is sealed" in refused.output) == (2, True)


COMMANDS = [("migrate",), ("show", "1"), ("verify",), ("replay",), ("replay", "--dry-run"), ("export", "x"), ("drain",)]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_sealed_outbox_is_refused_without_its_key(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VOYADO_API_KEY", "key")
    monkeypatch.setenv("VOYADO_SEAL_KEY", "11" * 32)
    assert call("migrate").exit_code == 0
    before = (home / "outbox.db").read_bytes()
    for wrong in ("", "22" * 32):
        monkeypatch.setenv("VOYADO_SEAL_KEY", wrong)
        refused = call(*command)
        assert (refused.exit_code, "is sealed" in refused.output) == (2, True), refused.output
        assert "2222" not in refused.output
        for looking in ("status", "list", "files", "log"):  # nothing that they read is sealed
            assert call(looking).exit_code == 0
    assert (home / "outbox.db").read_bytes() == before


def test_a_spool_that_is_no_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert check.spool(tmp_path / "file").result is Result.FAILED
    assert check.spool(tmp_path / "file" / "deeper").result is Result.FAILED
    assert check.spool(tmp_path / "new" / "deeper").result is Result.OK
    assert check.spool(tmp_path).result is Result.OK
