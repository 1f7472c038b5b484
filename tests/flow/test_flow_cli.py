"""The command line as processes, against a sandbox that is a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PAYLOADS = Path(__file__).parents[2] / "samples" / "payloads"
RECEIPT = str(PAYLOADS / "receipt_purchase.json")
CONTACT = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
ASSIGNMENT = "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"
QUICK = {"VOYADO_RETRY_DELAYS": "0.05", "VOYADO_RETRY_ATTEMPTS": "2", "VOYADO_FALLBACK_INTERVAL": "0.2"}
WHOLE_SETTLING = 40.0
"""Seconds that no test should need; the machine may be busy."""


class Engage:
    """The sandbox, by its remote control."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self.settings: dict[str, str] = info["environment"]

    def post(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.info['control_url']}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        return json.loads(urllib.request.urlopen(request, timeout=10).read())

    def get(self, path: str) -> Any:
        return json.loads(urllib.request.urlopen(f"{self.info['control_url']}{path}", timeout=10).read())

    def fault(self, kind: str, **parameters: Any) -> None:
        self.post("/faults", {"replace": [{"kind": kind, **parameters}]})

    def heal(self) -> None:
        self.post("/faults", {"clear": True})


@pytest.fixture(scope="module")
def sandbox_process() -> Iterator[Engage]:
    command = [sys.executable, "-m", "voyado_async", "sandbox", "--json", "--import-period", "0.3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean())
    try:
        assert process.stdout is not None
        yield Engage(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, output, errors) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def engage(sandbox_process: Engage) -> Engage:
    sandbox_process.post("/reset", {})
    sandbox_process.post(
        "/seed",
        {
            "contacts": [{"id": CONTACT, "email": "anna@example.com"}],
            "assignments": [{"contact_id": CONTACT, "id": ASSIGNMENT}],
        },
    )
    return sandbox_process


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")}


class Shell:
    """Calls the program in a folder of its own, with settings in the environment."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = settings

    def start(self, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "voyado_async", *arguments],
            cwd=self.folder, env=clean() | self.settings, text=True,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
        )  # fmt: skip

    def __call__(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=WHOLE_SETTLING)
        assert "Traceback" not in errors
        assert process.returncode == code, f"{arguments} ended with {process.returncode}\n{output}\n{errors}"
        self.errors = errors
        return output

    def read(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))

    def states(self) -> dict[str, int]:
        return {state: count for state, count in self.read("status")["states"].items() if count}

    @contextmanager
    def drain(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A drain in the background that has begun, or stands by."""
        process = self.start("drain", *arguments)
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "drainer_started" in line or "standing by" in line:
                    break
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def shell(tmp_path: Path, engage: Engage) -> Shell:
    return Shell(tmp_path, engage.settings | QUICK)


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_written_is_delivered_and_the_books_close(shell: Shell, engage: Engage) -> None:
    assert shell("enqueue", "receipt", str(PAYLOADS / "receipts.jsonl")).split() == ["1", "2", "3"]
    shell("enqueue", "redeem", "--assignment", ASSIGNMENT, "--channel", "ECOM", "--contact", CONTACT)
    shell("enqueue", "contact", "--contact", CONTACT, str(PAYLOADS / "contact_update.json"))
    shell("enqueue", "new-contact", str(PAYLOADS / "contact_create.json"))
    shell("enqueue", "contact-type", "--contact", CONTACT, "Member")
    report = shell.read("drain", "--until-settled", "--timeout", "20")
    assert (report["settled"], report["needs_person"]) == (True, [])
    assert report["states"]["delivered"] == 7
    assert report["outcomes"] == {"delivered": 7}
    assert shell.states() == {"delivered": 7}
    assert shell.read("status", "--check")["accounting"]["balanced"] is True
    assert shell.read("verify")["sound"] is True
    assert [assignment["redeemed"] for assignment in engage.get("/state")["assignments"]] == [True]
    # Once more: the keys know it, and nothing is left to do.
    assert shell("enqueue", "receipt", str(PAYLOADS / "receipts.jsonl")).split() == ["1", "2", "3"]
    assert shell("drain", "--until-settled") == f"7 delivered in {shell.folder}/outbox.db\n"


def test_a_rejected_entry_needs_a_person(shell: Shell) -> None:
    shell("enqueue", "redeem", "--assignment", "nobodys", "--channel", "ECOM")
    shell("enqueue", "receipt", RECEIPT)
    out = shell("drain", "--until-settled", "--timeout", "20", code=3)
    assert out.splitlines() == [
        f"1 delivered, 1 rejected in {shell.folder}/outbox.db", "a person is needed: 1 rejected",
    ]  # fmt: skip
    assert "InvalidPromotionIdNoData" in shell("list", "--state", "rejected")
    assert shell.read("drain", "--until-settled", code=3)["needs_person"] == ["1 rejected"]
    shell("status", "--check", code=3)


def test_an_outage_that_lasts_is_1_at_the_time_out(shell: Shell, engage: Engage) -> None:
    engage.fault("status", status=503)
    shell.settings["VOYADO_RETRY_DELAYS"] = "60"
    shell("enqueue", "receipt", RECEIPT)
    out = shell("drain", "--until-settled", "--timeout", "1", code=1)
    assert "not settled within the time-out" in out
    assert shell.states() == {"pending": 1}
    assert shell.read("drain", "--until-settled", "--timeout", "0.5", code=1)["settled"] is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_request_hangs_ends_it_in_seconds_and_the_outcome_is_unknown(
    number: signal.Signals, shell: Shell, engage: Engage
) -> None:
    engage.fault("hang")
    shell("enqueue", "receipt", RECEIPT)
    with shell.drain() as process:
        until(lambda: engage.get("/journal")["arrivals"])
        began = time.monotonic()
        process.send_signal(number)
        output, errors = process.communicate(timeout=12)
        assert time.monotonic() - began < 10
        assert (process.returncode, output) == (0, f"1 pending in {shell.folder}/outbox.db\n")
        assert "Traceback" not in errors
    entry = shell.read("show", "1")
    assert (entry["state"], entry["unknown"]) == ("pending", True)
    assert entry["attempts"][0]["code"] == "Stopped"
    assert shell.read("status")["drainer"]["running"] is False


def test_a_signal_before_it_is_settled_is_1(shell: Shell, engage: Engage) -> None:
    engage.fault("status", status=503)
    shell.settings["VOYADO_RETRY_DELAYS"] = "60"
    shell("enqueue", "receipt", RECEIPT)
    with shell.drain("--until-settled") as process:
        process.terminate()
        assert process.wait(timeout=10) == 1


def test_a_gateway_that_forbids_everything_needs_a_person_and_rejects_nothing(shell: Shell, engage: Engage) -> None:
    engage.fault("status", status=403)
    shell("enqueue", "receipt", RECEIPT)
    report = shell.read("drain", "--until-settled", "--timeout", "20", code=3)
    assert report["needs_person"] == ["the API key is refused (403)"]
    assert shell.states() == {"pending": 1}
    assert "the API key is refused (403)" in shell("status", "--check", code=3)


@pytest.mark.slow
def test_what_fails_alone_and_can_stand_in_no_file_needs_a_person_and_a_replay(shell: Shell, engage: Engage) -> None:
    engage.fault("status", status=503, path="*/contacts*")
    shell.settings["VOYADO_RETRY_ATTEMPTS"] = "1"
    (shell.folder / "cleared.json").write_text('{"city": null}')
    shell("enqueue", "contact", "--contact", CONTACT, "cleared.json")
    report = shell.read("drain", "--until-settled", "--timeout", "20", code=3)
    assert report["needs_person"] == ["1 exhausted that can leave in no file: voyado-async replay --state exhausted"]
    command = "voyado-async replay --error no_file_form"
    assert [one["command"] for one in shell.read("status", "--check", code=3)["advice"]] == [command]
    engage.heal()
    shell(*command.split()[1:])
    shell("drain", "--until-settled", "--timeout", "20")
    assert shell.states() == {"delivered": 1}
    assert shell.read("status", "--check")["needs_person"] == []


def test_what_the_operators_xsd_refuses_needs_a_person_while_the_api_is_well(shell: Shell, engage: Engage) -> None:
    engage.fault("status", status=503, path="*/contacts*")
    (shell.folder / "nothing.xsd").write_text(
        '<schema xmlns="http://www.w3.org/2001/XMLSchema"><element name="nothing"/></schema>'
    )
    shell.settings |= {"VOYADO_RETRY_ATTEMPTS": "1", "VOYADO_FALLBACK_XSD_CONTACTS": "nothing.xsd"}
    (shell.folder / "moved.json").write_text('{"city": "Lund"}')
    shell("enqueue", "contact", "--contact", CONTACT, "moved.json")
    command = "voyado-async list --error withheld_from_files"
    report = shell.read("drain", "--until-settled", "--timeout", "20", code=3)
    assert report["needs_person"] == [
        "1 exhausted and refused by what VOYADO_FALLBACK_XSLT_* or VOYADO_FALLBACK_XSD_* name: " + command
    ]
    assert [one["command"] for one in shell.read("status", "--check", code=3)["advice"]] == [command]
    assert [entry["id"] for entry in shell.read(*command.split()[1:])["entries"]] == [1]


def test_a_wrong_api_key_rejects_nothing_and_the_right_one_ends_it(shell: Shell) -> None:
    right = shell.settings["VOYADO_API_KEY"]
    shell.settings["VOYADO_API_KEY"] = "wrong"
    shell("enqueue", "receipt", RECEIPT)
    shell("enqueue", "redeem", "--assignment", ASSIGNMENT, "--channel", "ECOM", "--contact", CONTACT)
    report = shell.read("drain", "--until-settled", "--timeout", "20", code=3)
    assert report["needs_person"] == ["the API key is refused (401)"]
    assert shell.states() == {"pending": 2}
    assert "the API key is refused (401)" in shell("status", "--check", code=3)
    failed = [line for line in shell.read("check", code=1)["checks"] if line["result"] == "failed"]
    assert [line["thing"] for line in failed] == ["api"]
    shell.settings["VOYADO_API_KEY"] = right
    shell("drain", "--until-settled", "--timeout", "20")
    assert shell.states() == {"delivered": 2}
    assert shell.read("status", "--check")["halted"] is None


def test_of_two_drains_one_stands_by_and_takes_over_when_the_other_is_killed(shell: Shell) -> None:
    with shell.drain() as first:
        assert shell.read("status")["drainer"] == {
            "running": True, "pid": first.pid, "stalled": False, "problem": None,
        }  # fmt: skip
        with shell.drain() as second:
            shell("enqueue", "receipt", RECEIPT)
            until(lambda: shell.states() == {"delivered": 1})
            # Somebody else drains: this one waits for the entries all the same.
            shell("drain", "--until-settled")
            assert shell.read("status")["drainer"]["pid"] == first.pid
            first.kill()
            first.wait()
            until(lambda: shell.read("status")["drainer"]["pid"] == second.pid)
            second.terminate()
            _, errors = second.communicate(timeout=10)
            assert second.returncode == 0
            assert errors.count("standing by") == 0  # said once, before
            assert f"drainer_started pid={second.pid} unknown=0 before=pid {first.pid} ended without" in errors


@pytest.mark.slow
def test_an_entry_that_always_fails_is_carried_by_hand_where_there_is_no_file_server(
    shell: Shell, engage: Engage
) -> None:
    engage.fault("status", status=503, path="*/receipts*")
    shell.settings["VOYADO_RETRY_ATTEMPTS"] = "1"
    for name in [name for name in shell.settings if name.startswith("VOYADO_SFTP")]:
        del shell.settings[name]
    shell("enqueue", "receipt", RECEIPT)
    (reason,) = shell.read("drain", "--until-settled", "--timeout", "30", code=3)["needs_person"]
    (file,) = shell.read("files")["files"]
    assert reason == f"file {file['name']}: has to be carried by hand, or withdrawn to go over the API"
    assert [(one["reason"], one["command"]) for one in shell.read("status", "--check", code=3)["advice"]] == [
        (reason, "voyado-async files")
    ]
    assert shell.states() == {"spooled": 1}
    assert (shell.folder / "spool" / file["name"]).stat().st_size == file["size"]
    shell.read("files", "--carried", file["name"])
    assert shell.states() == {"uploaded": 1}
    shell.settings["VOYADO_IMPORT_PERIOD"] = "0.1"
    engage.heal()
    shell("drain", "--until-settled", "--timeout", "30")
    assert shell.states() == {"delivered": 1}
    assert shell.read("verify")["sound"] is True


@pytest.mark.slow
def test_what_leaves_by_file_is_settled_when_it_is_confirmed(shell: Shell, engage: Engage) -> None:
    engage.fault("status", status=503, path="*/receipts*")
    shell.settings["VOYADO_RETRY_ATTEMPTS"] = "1"
    shell.settings["VOYADO_IMPORT_PERIOD"] = "0.3"
    shell("enqueue", "receipt", RECEIPT)
    with shell.drain("--until-settled") as process:
        until(lambda: engage.get("/journal")["files"])
        engage.heal()
        output, _ = process.communicate(timeout=WHOLE_SETTLING)
        assert (process.returncode, output) == (0, f"1 delivered in {shell.folder}/outbox.db\n")
    assert [file["state"] for file in shell.read("files")["files"]] == ["imported"]


@pytest.mark.slow
def test_what_the_api_never_confirms_needs_a_person_and_is_tried_on(shell: Shell, engage: Engage) -> None:
    engage.fault("status", status=500, path="*/receipts*")
    shell.settings |= {"VOYADO_RETRY_ATTEMPTS": "2", "VOYADO_IMPORT_PERIOD": "0.3"}
    shell("enqueue", "receipt", RECEIPT)
    report = shell.read("drain", "--until-settled", "--timeout", "30", code=3)
    assert report["needs_person"] == ["1 whose confirmation fails: voyado-async list --error ConfirmationFails"]
    assert shell.states() == {"imported": 1}
    (advice,) = shell.read("status", "--check", code=3)["advice"]
    assert advice["command"] == "voyado-async show 1"
    engage.heal()
    with shell.drain():
        until(lambda: shell.states() == {"delivered": 1})
    assert shell.read("status", "--check")["needs_person"] == []


def test_check_finds_everything_right_and_a_wrong_host_key(shell: Shell) -> None:
    lines = shell("check")
    for told in ("answers and takes the key", "host key and login are right", "integration/transactionImport"):
        assert told in lines
    shell.settings["VOYADO_SFTP_HOST_KEY"] = f"SHA256:{'A' * 43}"
    assert re.search(r"^failed +sftp +host_key: ", shell("check", code=1), re.MULTILINE)
    shell.settings |= {"VOYADO_SFTP_HOST_KEY": shell.settings["VOYADO_SFTP_HOST_KEY"], "VOYADO_SFTP_PASSWORD": "wrong"}
    assert "wrong" not in shell("check", code=1).replace("wrong key", "")


def test_a_folder_that_is_not_there_fails_the_check(shell: Shell) -> None:
    shell.settings["VOYADO_SFTP_TRANSACTIONS_DIR"] = "nowhere"
    out = shell("check", code=1)
    assert re.search(r"^failed +transactions folder +folder_missing: ", out, re.MULTILINE)
    assert re.search(r"^ok +contacts folder ", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"VOYADO_BASE_URL": ""}, "VOYADO_BASE_URL"),
        ({"VOYADO_API_KEY": ""}, "VOYADO_API_KEY"),
        ({"VOYADO_BASE_URL": "http://engage.example.com"}, "VOYADO_BASE_URL"),
        ({"VOYADO_RETRY_DELAYS": "soon"}, "VOYADO_RETRY_DELAYS"),
        ({"VOYADO_OUTBX": "o.db"}, "did you mean VOYADO_OUTBOX?"),
        ({"VOYADO_API_KEY": "", "VOYADO_API_KEY_FILE": "nowhere"}, "nowhere cannot be read"),
        ({"VOYADO_OUTBOX": "no/such/folder/o.db"}, "/no/such/folder/o.db"),
    ],
)
def test_wrong_settings_are_exit_2_before_anything_starts(settings: dict[str, str], told: str, shell: Shell) -> None:
    shell.settings |= settings
    assert shell("drain", code=2) == ""
    assert told in shell.errors
    assert list(shell.folder.iterdir()) == []


def test_a_bad_file_is_told_by_lines_and_stores_nothing(shell: Shell) -> None:
    text = (PAYLOADS / "receipts.jsonl").read_text(encoding="utf-8").replace('"currency":"EUR"', '"currency":"Euro"')
    (shell.folder / "bad.jsonl").write_text(text + "oops\n", encoding="utf-8")
    assert shell("enqueue", "receipt", "bad.jsonl", code=1) == ""
    assert shell.errors.splitlines() == [
        "Error: 2 bad items in bad.jsonl; nothing was stored",
        "  line 2: currency: expected three capital letters (ISO 4217)",
        "  line 4: is not JSON: invalid character",
    ]
    assert not (shell.folder / "outbox.db").exists()


def test_status_of_an_outbox_that_is_not_there_tells_its_absolute_path_and_is_2_for_monitoring(shell: Shell) -> None:
    assert "waiting     nothing" in shell("--outbox", "other.db", "status")
    assert f"there is no outbox at {shell.folder}/other.db" in shell.errors
    assert shell("--outbox", "other.db", "status", "--check", code=2) == ""
    assert f"{shell.folder}/other.db" in shell.errors
    assert list(shell.folder.iterdir()) == []


def test_on_a_terminal_a_line_of_progress_is_drawn_and_logs_stay_whole(shell: Shell) -> None:
    shell("enqueue", "receipt", RECEIPT)
    ours, theirs = pty.openpty()
    shell.settings["TERM"] = "xterm"
    process = shell.start("drain", "--until-settled", "--timeout", "20", stderr=theirs)
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(ours, 4096):
            drawn += part
    except OSError:  # the terminal is closed at its other end
        pass
    finally:
        os.close(ours)
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, f"1 delivered in {shell.folder}/outbox.db\n")
    assert re.search(rb"INFO drainer_started pid=\d+ unknown=0", drawn)
    assert re.search(rb"(pending|delivered) 1", drawn)


def test_the_sandbox_prints_what_a_shell_can_read(tmp_path: Path) -> None:
    process = Shell(tmp_path, {}).start("sandbox", "--api-key", "a key's", "--import-period", "7")
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(10)]
        assert lines[1] == "export VOYADO_API_KEY='a key'\"'\"'s'\n"
        assert lines[8] == "export VOYADO_IMPORT_PERIOD=7\n"
        assert re.fullmatch(r"SANDBOX=http://127\.0\.0\.1:\d+  # the remote control\n", lines[9])
    finally:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 0
