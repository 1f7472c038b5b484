"""replay, discard, edit, forget, purge, log and backup on the command line."""

from __future__ import annotations

import json
import os
import pwd
import re
import sqlite3
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_calls import BASE_URL, Call, In

from voyado_async.kinds import contact_update, redeem
from voyado_async.kinds.address import address
from voyado_async.outbox.lock import DrainRight
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State

ANNA = "f2a7c6d4-8b13-4e59-a0d2-6e91b7c35a08"


async def fill(outbox: SqliteOutbox) -> None:
    """1: a rejected redeem whose outcome is unknown, 2: a rejected update, 3: a newer one that was delivered, 4: one
    that waits."""
    named = address(contact_id=ANNA)
    await outbox.enqueue(
        [
            redeem.draft("A1", channel="POS", contact_id=ANNA),
            contact_update.draft(named, {"city": "Lund", "firstName": "Anna"}),
            contact_update.draft(named, {"city": "Plantedtown"}),
            contact_update.draft(named, {"lastName": "Ek"}),
        ]
    )
    await outbox.settle(Settlement(1, State.PENDING, State.REJECTED, unknown=True, reason="Http500"))
    await outbox.settle(Settlement(2, State.PENDING, State.REJECTED, reason="ValidationError"))
    await outbox.settle(Settlement(3, State.PENDING, State.DELIVERED))


@pytest.fixture(autouse=True)
def filled(in_outbox: In) -> None:
    in_outbox(fill)


def told(call: Call, *arguments: str, code: int = 0, stdin: str | bytes | None = None) -> Any:
    result = call(*arguments, "--json", stdin=stdin)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def states(call: Call) -> dict[int, str]:
    return {entry["id"]: entry["state"] for entry in told(call, "list")["entries"]}


def test_a_dry_run_shows_what_would_go_and_why_each_is_safe(call: Call) -> None:
    report = told(call, "replay", "--dry-run")
    assert (report["selected"], report["counts"]["send"]) == (2, 2)
    unknown, cut = report["entries"]
    assert "looked up before" in unknown["why"]
    assert (cut["step"], cut["left_out"]) == ("send", ["city"])
    assert states(call)[1] == "rejected"
    shown = call("replay", "--dry-run").output
    assert "2 would go back to the API" in shown
    assert "left out: city" in shown
    assert told(call, "log")["actions"] == []


def test_a_replay_brings_back_what_fits_and_writes_down_who_did_it(call: Call) -> None:
    report = told(call, "replay", "--kind", "redeem", "--error", "Http500", "--reason", "the till was wrong")
    assert report["counts"] == {"send": 1, "file": 0, "supersede": 0, "discard": 0, "leave": 0}
    assert states(call) == {1: "pending", 2: "rejected", 3: "delivered", 4: "pending"}
    (action,) = told(call, "log")["actions"]
    assert (action["what"], action["entries"], action["reason"]) == ("replay", 1, "the till was wrong")
    assert action["chosen"] == "state rejected,exhausted,spooled; kind redeem; error Http500"
    assert action["who"]
    assert action["ended"]
    assert "the till was wrong" in call("log").output


def test_an_entry_that_was_named_and_cannot_go_is_told(call: Call) -> None:
    report = told(call, "replay", "3", code=1)
    assert "it is delivered; to send it all the same: voyado-async replay 3 --again" in report["entries"][0]["why"]
    assert told(call, "replay", "3", "--again")["counts"]["send"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "--again"),
        ("replay", "--via", "pigeon"),
        ("replay", "--rate", "0"),
        ("discard", "--reason", "x"),
        ("discard", "1"),
        ("discard", "1", "--reason", " "),
        ("forget",),
        ("purge",),
        ("purge", "--older-than", "soon"),
        ("purge", "--older-than", "2999-01-01"),
    ],
)
def test_wrong_usage_is_exit_2_and_changes_nothing(call: Call, arguments: tuple[str, ...]) -> None:
    before = states(call)
    assert call(*arguments).exit_code == 2
    assert states(call) == before


def test_failures_can_only_be_counted_where_somebody_drains(call: Call) -> None:
    result = call("replay", "--max-failures", "1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"]["type"] == "TransitionRefused"
    assert states(call)[1] == "rejected"


def test_a_discard_is_tried_first_and_then_done(call: Call) -> None:
    assert told(call, "discard", "--state", "rejected", "--reason", "wrong till", "--dry-run")["counts"]["discard"] == 2
    assert states(call)[1] == "rejected"
    report = told(call, "discard", "--state", "rejected", "--reason", "wrong till")
    assert report["counts"]["discard"] == 2
    assert told(call, "show", "1")["reason"] == "wrong till"
    assert told(call, "discard", "3", "--reason", "x", code=1)["counts"]["leave"] == 1
    assert "1 discarded" in call("discard", "4", "--reason", "wrong till").output


def test_an_edited_entry_is_shown_with_its_new_content(call: Call, home: Path) -> None:
    payload = told(call, "show", "2", "--payload")["payload"]
    payload["changes"]["city"] = "Ystad"
    assert told(call, "edit", "2", "-", stdin=json.dumps(payload))["entry"]["state"] == "rejected"
    assert told(call, "show", "2", "--payload")["payload"]["changes"]["city"] == "Ystad"
    # The right one, and each wrong one, told by a dry run that writes nothing, not even to the log.
    written = len(told(call, "log")["actions"])
    payload["changes"]["city"] = "Visby"
    report = told(call, "edit", "2", "-", "--dry-run", stdin=json.dumps(payload))
    assert (report["dry_run"], report["entry"]["state"]) == (True, "rejected")
    assert "nothing was changed" in call("edit", "2", "-", "--dry-run", stdin=json.dumps(payload)).output
    assert call("edit", "2", "-", "--dry-run", stdin=json.dumps(payload | {"changes": {"rfm": 1}})).exit_code == 1
    assert call("edit", "3", "-", "--dry-run", stdin=json.dumps(payload)).exit_code == 1
    assert told(call, "show", "2", "--payload")["payload"]["changes"]["city"] == "Ystad"
    assert call("edit", "3", "-", stdin=json.dumps(payload)).exit_code == 1
    assert len(told(call, "log")["actions"]) == written
    (home / "bad.json").write_text("{")
    assert call("edit", "2", "bad.json").exit_code == 1
    payload["changes"] = {"rfm": 1}
    result = call("edit", "2", "-", stdin=json.dumps(payload))
    assert result.exit_code == 1
    assert call("edit", "3", "-", stdin="{}").exit_code == 1
    assert "replay 2" in call("edit", "2", "-", stdin=json.dumps(payload | {"changes": {"city": "A"}})).output


def test_an_edit_may_name_another_contact_and_what_is_newer_is_judged_by_that_one(call: Call, in_outbox: In) -> None:
    """In the form that the night book shows."""
    book = (Path(__file__).parents[3] / "samples" / "replay_after_outage.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r'`("address": \{.+?\})`', book)
    corrected = json.loads(f"{{{shown}}}")
    karin = address(contact_id=corrected["address"]["value"])

    async def of_a_shared_address(outbox: SqliteOutbox) -> int:
        changes = {"city": "Lund", "firstName": "Karin"}
        shared, newer = await outbox.enqueue(
            [
                contact_update.draft(address(email="berg@example.com"), changes),
                contact_update.draft(karin, {"city": "Ystad"}),
            ]
        )
        await outbox.settle(Settlement(shared.id, State.PENDING, State.REJECTED, reason="MultipleMatches: a, b"))
        await outbox.settle(Settlement(newer.id, State.PENDING, State.DELIVERED))
        return shared.id

    entry = str(in_outbox(of_a_shared_address))
    assert told(call, "replay", entry, "--dry-run")["entries"][0]["left_out"] == []
    content = told(call, "show", entry, "--payload")["payload"] | corrected
    assert told(call, "edit", entry, "-", stdin=json.dumps(content))["entry"]["contact"] == karin.lane
    assert told(call, "replay", entry, "--dry-run")["entries"][0]["left_out"] == ["city"]


def test_forgetting_asks_for_what_is_not_finished_and_leaves_nothing(call: Call, home: Path) -> None:
    result = call("forget", "--contact", ANNA)
    assert result.exit_code == 1
    assert "--drop-pending" in result.output
    assert ANNA not in result.output
    report = told(call, "forget", "--contact", ANNA, "--drop-pending", "--dry-run")
    assert (report["entries"], report["unfinished"]) == (4, 1)
    report = told(call, "forget", "--contact", ANNA.upper(), "--drop-pending", "--reason", "asked for")
    assert (report["entries"], report["left"]) == (4, 0)
    assert ANNA not in json.dumps(report)
    assert told(call, "list")["entries"] == []
    accounting = told(call, "status")["accounting"]
    assert (accounting["forgotten"], accounting["balanced"]) == (4, True)
    for planted in ("Plantedtown", ANNA):
        assert subprocess.run(["grep", "-raqi", planted, str(home)], check=False).returncode == 1
    assert told(call, "log")["actions"][0]["chosen"] == "one contact"
    assert "0 entries removed" in call("forget", "--contact", "email:anna@example.com").output


def test_a_purge_is_counted_first_and_then_done(call: Call, in_outbox: In) -> None:
    assert told(call, "purge", "--older-than", "1d", "--dry-run")["entries"] == 0

    async def settle(outbox: SqliteOutbox) -> None:
        await outbox.cancel(4, "Cancelled")

    in_outbox(settle)
    # 3 was written after 2, which can still be replayed.
    assert told(call, "purge", "--older-than", "0s", "--dry-run")["entries"] in (0, 1)
    told(call, "discard", "2", "--reason", "x")
    database = sqlite3.connect("outbox.db", isolation_level=None)
    database.execute("UPDATE entry SET changed = 1, created = 1")
    database.close()
    assert told(call, "purge", "--older-than", "1d", "--dry-run")["entries"] == 3
    assert told(call, "purge", "--older-than", "1d", "--reason", "tidy")["entries"] == 3
    assert told(call, "log")["actions"][0]["entries"] == 3


def test_a_backup_is_private_and_whole_and_replaces_nothing(call: Call, home: Path) -> None:
    report = told(call, "backup", "copy.db")
    assert report["size"] == (home / "copy.db").stat().st_size
    assert stat.S_IMODE((home / "copy.db").stat().st_mode) == 0o600
    assert call("backup", "copy.db").exit_code == 2
    assert call("backup", "nowhere/copy.db").exit_code == 2
    assert sorted(path.name for path in home.iterdir() if "copy" in path.name) == ["copy.db"]
    result = call("--outbox", str(home / "copy.db"), "list", "--json")
    assert len(json.loads(result.stdout)["entries"]) == 4
    assert call("--outbox", str(home / "copy.db"), "verify").exit_code == 0


def test_a_replay_stops_when_too_many_fail_again(call: Call, home: Path, in_outbox: In) -> None:
    """Somebody drains, or seems to; the first one back is rejected at once by another process."""
    right = DrainRight(str(home / "outbox.db-drain"))
    assert right.take()
    program = (
        "import asyncio, sys\n"
        "from voyado_async.clock import SystemClock\n"
        "from voyado_async.outbox.sqlite import open_outbox\n"
        "from voyado_async.outbox.records import Settlement\n"
        "from voyado_async.outbox.states import State\n"
        "async def main():\n"
        f"    outbox = await open_outbox({str(home / 'outbox.db')!r}, base_url={BASE_URL!r}, clock=SystemClock())\n"
        "    print('ready', flush=True)\n"
        "    while not await outbox.settle(Settlement(1, State.PENDING, State.REJECTED, reason='No')):\n"
        "        await asyncio.sleep(0.02)\n"
        "    await outbox.close()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(["python", "-c", program], stdout=subprocess.PIPE) as rejecting:
        assert rejecting.stdout is not None
        assert rejecting.stdout.readline() == b"ready\n"
        report = told(call, "replay", "--max-failures", "1", code=3)
    right.give_up()
    assert (report["failed"], report["stopped"]) == (1, "1 failed again")
    assert states(call)[2] == "rejected", "it was not reached"


def test_what_is_carried_off_by_hand_is_written_down(call: Call, home: Path) -> None:
    told(call, "export", "out", "--kind", "contact_update")
    (action,) = told(call, "log")["actions"]
    assert (action["what"], action["entries"]) == ("export", 0)
    assert action["ended"]
    assert "one contact" in told_of(call, "export", "out2", "--contact", ANNA)


def test_the_log_tells_who_did_what_when_and_why(call: Call) -> None:
    """Each thing that an operator can do is one line, newest first; dry runs are none."""
    payload = json.dumps(told(call, "show", "2", "--payload")["payload"] | {"changes": {"city": "Plantedtown"}})
    began = datetime.now(UTC).replace(microsecond=0)
    done: list[tuple[list[str], str, int, str | bytes | None]] = [
        (["edit", "2", "-"], "ids 2", 1, payload),
        (["replay", "1"], "ids 1", 1, None),
        (["replay", "--state", "rejected", "--via", "file"], "state rejected", 1, None),
        (["discard", "4"], "ids 4", 1, None),
        (["export", "out", "--kind", "redeem"], "kind redeem", 0, None),
        (["backup", "copy.db"], "copy.db", 0, None),
        (["purge", "--older-than", "0s"], "older than", 3, None),
        (["forget", "--contact", ANNA, "--drop-pending"], "one contact", 1, None),
    ]
    for number, (arguments, _, _, stdin) in enumerate(done):
        why = [] if arguments[0] == "export" else ["--reason", f"why {number}"]
        if "--dry-run" in call(arguments[0], "--help").output:
            call(*arguments, *why, "--dry-run", stdin=stdin)
        result = call(*arguments, *why, stdin=stdin)
        assert result.exit_code == 0, result.output
    actions = told(call, "log")["actions"][::-1]
    assert [action["what"].split()[0] for action in actions] == [arguments[0] for arguments, *_ in done]
    for number, (action, (arguments, chosen, entries, _)) in enumerate(zip(actions, done, strict=True)):
        assert action["who"] == pwd.getpwuid(os.getuid()).pw_name
        assert began <= datetime.fromisoformat(action["at"]) <= datetime.fromisoformat(action["ended"])
        assert action["reason"] == (None if arguments[0] == "export" else f"why {number}")
        assert chosen in action["chosen"]
        assert action["entries"] == entries, action
    assert not any(word in json.dumps(actions) for word in (ANNA, "Plantedtown"))


def told_of(call: Call, *arguments: str) -> str:
    told(call, *arguments)
    chosen: str = told(call, "log")["actions"][0]["chosen"]
    assert ANNA not in chosen
    return chosen
