"""``voyado-async files``: the history of each file, and a word on what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_calls import Call, In

from voyado_async.cli.files_advice import ABOUT, advice
from voyado_async.cli.settled import NOT_BY_TIME
from voyado_async.delivery import FileFamily
from voyado_async.kinds import contact_update
from voyado_async.kinds.address import address
from voyado_async.outbox import looking
from voyado_async.outbox.records import FileRecord, Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State
from voyado_async.settings import Settings

NAME = "20250314093000_12_contacts.xml"
FILE = FileRecord(1, NAME, FileFamily.CONTACTS, "Member", "contactId", "spooled", 1, 1, 3, created=1_741_944_600_000)


async def spooled(outbox: SqliteOutbox) -> int:
    """One entry in one file. Its id."""
    (stored,) = await outbox.enqueue([contact_update.draft(address(contact_id="abc"), {"city": "Lund"})])
    await outbox.settle(Settlement(stored.id, State.PENDING, State.EXHAUSTED))
    await outbox.spool_file(FILE, [stored.id])
    return stored.id


def row(call: Call, *options: str) -> dict[str, Any]:
    report = json.loads(call("files", "--json", *options).stdout)
    return next(file for file in report["files"] if file["name"] == NAME)


def test_the_history_of_a_file_is_told(call: Call, in_outbox: In) -> None:
    in_outbox(spooled)
    for state, now in (
        ("uploading", 1_741_944_700_000),
        ("uploaded", 1_741_944_800_000),
        ("imported", 1_741_948_000_000),
    ):

        async def move(outbox: SqliteOutbox, state: str = state, now: int = now) -> None:
            target = State.IMPORTED if state == "imported" else State.UPLOADED
            await outbox.update_file(1, state=state, now=now, entries_to=target, seen=state == "uploaded")

        in_outbox(move)
    told = row(call)
    assert (told["state"], told["created"], told["uploaded"], told["seen"], told["imported"]) == (
        "imported",
        "2025-03-14T09:30:00Z",
        "2025-03-14T09:31:40Z",
        "2025-03-14T09:33:20Z",
        "2025-03-14T10:26:40Z",
    )
    (line,) = [line for line in call("files").stdout.splitlines() if line.startswith(NAME)]
    assert line.split()[-4:] == ["2025-03-14T09:31:40Z", "2025-03-14T09:33:20Z", "2025-03-14T10:26:40Z", "-"]


def test_a_file_is_carried_once_and_never_withdrawn_again(call: Call, in_outbox: In) -> None:
    entry = in_outbox(spooled)
    assert call("files", "--carried", NAME).stdout == f"{NAME} is uploaded; 1 entries moved\n"
    assert call("files", "--carried", NAME).stdout == f"{NAME} is uploaded; 0 entries moved\n"
    done = call("files", "--withdraw", NAME)
    assert (done.exit_code, NAME in done.stderr) == (1, True)
    assert row(call)["carried"]
    assert "uploaded by hand" in call("files").stdout

    async def state(outbox: SqliteOutbox) -> State:
        return (await outbox.get(entry)).state

    assert in_outbox(state) is State.UPLOADED


def test_a_withdrawn_file_is_gone_and_its_entries_go_to_the_api(call: Call, in_outbox: In, home: Path) -> None:
    entry = in_outbox(spooled)
    (home / "spool").mkdir()
    (home / "spool" / NAME).write_text("<x>")
    for moved in (1, 0):
        assert call("files", "--withdraw", NAME).stdout == f"{NAME} is withdrawn; {moved} entries moved\n"
    assert not (home / "spool" / NAME).exists()
    assert call("files", "--carried", NAME).exit_code == 1

    async def state(outbox: SqliteOutbox) -> State:
        return (await outbox.get(entry)).state

    assert in_outbox(state) is State.PENDING


def test_what_would_be_carried_or_withdrawn_is_told_and_stays(call: Call, in_outbox: In) -> None:
    in_outbox(spooled)
    assert call("files", "--withdraw", NAME, "--dry-run").stdout == (
        f"{NAME} would be withdrawn; 1 entries would move\n"
    )
    told = json.loads(call("files", "--carried", NAME, "--dry-run", "--json").stdout)
    assert (told["state"], told["moved"], told["dry_run"]) == ("uploaded", 1, True)
    assert row(call)["state"] == "spooled"
    assert json.loads(call("log", "--json").stdout)["actions"] == []
    assert call("files", "--carried", NAME).exit_code == 0
    assert "0 entries would move" in call("files", "--carried", NAME, "--dry-run").stdout
    assert call("files", "--withdraw", NAME, "--dry-run").exit_code == 1
    assert call("files", "--withdraw", "no.xml", "--dry-run").exit_code == 2
    assert call("files", "--dry-run").exit_code == 2


def test_a_file_that_is_not_there_is_wrong_usage(call: Call, in_outbox: In) -> None:
    in_outbox(spooled)
    done = call("files", "--carried", "nope.xml")
    assert (done.exit_code, "nope.xml" in done.stderr) == (2, True)


def test_without_a_file_server_it_is_said_what_to_do(call: Call, in_outbox: In, home: Path) -> None:
    in_outbox(spooled)
    told = call("files").stdout.splitlines()[-1]
    for word in ("VOYADO_SFTP_HOST", str(home / "spool"), "integration/customerImport", "files --carried NAME"):
        assert word in told
    assert json.loads(call("files", "--json").stdout)["advice"] == [told]


def files(*changes: dict[str, Any]) -> list[FileRecord]:
    return [msgspec.structs.replace(FILE, **change) for change in changes]


WITH_SERVER = {
    "sftp_host": "127.0.0.1",
    "sftp_username": "u",
    "sftp_password": "p",
    "sftp_host_key": "SHA256:" + "a" * 43,
}


@pytest.mark.parametrize(
    ("given", "settings", "told"),
    [
        ([{}], WITH_SERVER, []),
        ([{"state": "imported"}, {"state": "withdrawn"}, {"state": "lost"}], {}, []),
        ([{"state": "uploaded", "carried": True}], {}, []),
        ([{}, {}], {}, ["2 of contacts"]),
        ([{"family": FileFamily.REDEMPTIONS}], WITH_SERVER, ["1 of redemptions: nobody uploads them (VOYADO_SFTP_RED"]),
        ([{"family": FileFamily.TRANSACTIONS}, {}], {}, ["1 of contacts", "1 of transactions", "carry contacts first"]),
        (
            [{"problem": "host_key"}, {"problem": "host_key"}],
            WITH_SERVER,
            ["2 with host_key: the server shows another"],
        ),
        (
            [{"state": "uploaded", "problem": "host_key", "seen": FILE.created + 1000}, {"problem": "host_key"}],
            WITH_SERVER,
            [
                "2 with host_key: the server shows another",
                "what became of 1 that are uploaded cannot be seen, as it was at 2025-03-14T09:30:01Z: `voyado-async",
            ],
        ),
        ([{"state": "uploaded", "problem": "stays"}], WITH_SERVER, ["1 with stays: Engage has left it in the folder"]),
    ],
)
def test_each_thing_that_holds_files_up_is_one_line(
    given: list[dict[str, Any]], settings: dict[str, Any], told: list[str]
) -> None:
    found = advice(files(*given), Settings(outbox="/x/o.db", **settings))
    assert [line[: len(start)] for line, start in zip(found, told, strict=True)] == told


def test_every_problem_that_time_does_not_solve_has_its_word() -> None:
    assert {*ABOUT} >= {*NOT_BY_TIME}


def test_the_entries_of_a_file_are_listed_for_as_long_as_they_left_by_it(
    call: Call, in_outbox: In, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "Line 6 of file X was skipped": which entries that can be, wherever they stand by now; no others."""

    def listed(*options: str) -> list[tuple[int, str]]:
        found = json.loads(call("list", "--file", NAME, "--json", *options).stdout)["entries"]
        return [(entry["id"], entry["state"]) for entry in found]

    async def three(outbox: SqliteOutbox) -> None:
        drafts = [contact_update.draft(address(contact_id=who), {"city": "Lund"}) for who in ("a", "b", "c", "d")]
        first, second, third, other = [stored.id for stored in await outbox.enqueue(drafts)]
        for one in (first, second, third, other):
            await outbox.settle(Settlement(one, State.PENDING, State.EXHAUSTED))
        of_three = msgspec.structs.replace(FILE, entries=3)
        assert await outbox.spool_file(of_three, [first, second, third]) == [first, second, third]

    async def taken(outbox: SqliteOutbox) -> None:
        await outbox.update_file(1, state="uploaded", now=2, entries_to=State.UPLOADED)
        await outbox.update_file(1, state="imported", now=3, entries_to=State.IMPORTED)
        await outbox.settle(Settlement(2, State.IMPORTED, State.DELIVERED))

    in_outbox(three)
    assert row(call)["waiting"] == 3
    assert listed() == [(3, "spooled"), (2, "spooled"), (1, "spooled")]
    in_outbox(taken)
    assert listed() == [(3, "imported"), (2, "delivered"), (1, "imported")]
    assert listed("--state", "imported") == [(3, "imported"), (1, "imported")]
    assert (row(call)["entries"], row(call)["waiting"]) == (3, 2)
    monkeypatch.setattr(looking, "COUNTED", 1)
    assert row(call)["waiting"] is None, "too many for a short look"
    assert call("files").stdout.splitlines()[1].split()[:4] == [NAME, "imported", "3", "?"]
    assert call("replay", "3", "--again").exit_code == 0
    assert listed() == [(2, "delivered"), (1, "imported")], "what a person has sent again is in no file"
    done = call("list", "--file", "nope.xml")
    assert (done.exit_code, "nope.xml" in done.stderr) == (2, True)
    assert call("discard", "--file", NAME, "--state", "imported", "--reason", "why").exit_code == 0
    assert json.loads(call("log", "--json").stdout)["actions"][0]["chosen"] == f"state imported; file {NAME}"
