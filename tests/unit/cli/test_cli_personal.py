"""Nothing of a person is printed by any command, whether it does what it is told or refuses it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cli_calls import Call, In

from voyado_async.cli.program import COMMANDS
from voyado_async.kinds import contact_create, contact_update, receipt
from voyado_async.kinds.address import as_typed
from voyado_async.outbox.records import Settlement
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State

MAIL, PHONE, NAME, NUMBER = "anna.planted@example.com", "+46700999888", "Plantedsson", "8509991234"
PLANTED = (MAIL, "anna.planted", PHONE, "700999888", NAME, NUMBER)
PERSON: dict[str, Any] = {
    "contactType": "Member", "email": MAIL, "mobilePhone": PHONE, "lastName": NAME, "socialSecurityNumber": NUMBER,
}  # fmt: skip
RECEIPT = json.loads((Path(__file__).parents[3] / "samples/payloads/receipt_purchase.json").read_text())
RECEIPT |= {"contact": {"matchKeyType": "email", "matchKey": MAIL}}

FILES: dict[str, object] = {
    "good.json": PERSON | {"email": f"2{MAIL}"},
    "wrong.json": PERSON | {"mobilePhone": [PHONE]},
    "many.json": [PERSON, PERSON | {"birthDay": NAME}],
    "receipt.json": RECEIPT | {"currency": NAME},
    "mended.json": {"address": {"type": "email", "value": MAIL}, "changes": {"lastName": NAME}},
    "edit.json": {"address": {"type": "email", "value": MAIL}, "changes": {"lastName": [NAME], "city": NUMBER}},
}

CALLS: dict[str, list[list[str]]] = {
    "enqueue": [
        ["new-contact", "good.json"], ["new-contact", "wrong.json"], ["new-contact", "many.json"],
        ["new-contact", "broken.json"], ["receipt", "receipt.json"], ["contact", "--contact", MAIL, "wrong.json"],
        ["contact", "--contact", f"{NAME} {PHONE}", "wrong.json"], ["contact", "--contact", "c-1", "wrong.json"],
        ["redeem", "--assignment", f"{NAME} {MAIL}", "--channel", "POS"],
    ],
    "status": [[], ["--check", "--max-age", "1s"]],
    "list": [
        [], ["--contact", MAIL], ["--contact", f"mobilePhone:{PHONE}"], ["--contact", f"{NAME} {PHONE}"],
        ["--state", "rejected", "--error", "ValidationFailed"],
    ],
    "show": [["1"], ["2"], ["3"], ["4"], ["999"]],
    "files": [[], ["--withdraw", "no.xml", "--dry-run"]],
    "check": [[]],
    "verify": [[]],
    "migrate": [[]],
    "export": [["out", "--state", "pending"], ["out2", "--contact", MAIL], ["out3", "--contact", f"{NAME} x"]],
    "edit": [
        ["3", "edit.json", "--dry-run"], ["3", "edit.json"], ["3", "broken.json"], ["3", "mended.json", "--dry-run"],
        ["1", "mended.json"], ["999", "mended.json"],
    ],
    "replay": [["--dry-run"], ["--dry-run", "--contact", MAIL], ["--contact", f"{NAME} x"], ["3"], ["1", "--again"]],
    "discard": [
        ["--contact", MAIL, "--reason", "a test", "--dry-run"], ["2", "--reason", "a test"], ["2", "--reason", "again"],
    ],
    "purge": [["--older-than", "1d", "--dry-run"], ["--older-than", "1d"]],
    "backup": [["copy.db"], ["copy.db"]],
    "forget": [
        ["--contact", MAIL, "--dry-run"], ["--contact", MAIL], ["--contact", f"{NAME} x"],
        ["--contact", MAIL, "--drop-pending"], ["--contact", f"socialSecurityNumber:{NUMBER}", "--drop-pending"],
    ],
    "log": [[]],
}  # fmt: skip
"""In this order: each finds what those before have left."""

NEVER_ENDING = {"drain", "sandbox", "demo"}
"""`tests/flow/test_flow_sidecar.py` reads the log of the first one; the others have only people that they made up."""


async def fill(outbox: SqliteOutbox) -> None:
    """1: a creation, 2: a receipt, 3: a rejected update, 4: a rejected creation whose outcome is unknown."""
    await outbox.enqueue(
        [
            contact_create.draft(PERSON, contact_key="email"),
            receipt.draft(RECEIPT),
            contact_update.draft(as_typed(MAIL), {"lastName": NAME, "mobilePhone": PHONE}),
            contact_create.draft(PERSON | {"email": f"3{MAIL}"}, contact_key="email"),
        ]
    )
    await outbox.settle(Settlement(3, State.PENDING, State.REJECTED, reason="ValidationFailed"))
    await outbox.settle(Settlement(4, State.PENDING, State.REJECTED, unknown=True, reason="Http500"))


def test_every_command_is_called() -> None:
    assert set(CALLS) == set(COMMANDS) - NEVER_ENDING


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["plain", "json"])
def test_no_command_prints_anything_of_a_person(call: Call, in_outbox: In, home: Path, form: list[str]) -> None:
    """Whatever comes out of it, and whatever it was given: a wrong value is never repeated."""
    in_outbox(fill)
    for name, content in FILES.items():
        (home / name).write_text(json.dumps(content), encoding="utf-8")
    (home / "broken.json").write_text('{"lastName": "' + NAME, encoding="utf-8")
    codes: dict[str, list[int]] = {}
    for command, several in CALLS.items():
        for arguments in several:
            done = call(command, *arguments, *form)
            codes.setdefault(command, []).append(done.exit_code)
            told = done.stdout + done.stderr
            assert [secret for secret in PLANTED if secret.lower() in told.lower()] == [], (command, arguments, told)
    assert {command for command, found in codes.items() if 0 in found} == set(CALLS) - {"check"}, codes
    assert codes["enqueue"] == [0, 1, 1, 1, 1, 1, 2, 1, 2]
    database = sqlite3.connect("outbox.db")
    kept = str(database.execute("SELECT * FROM action").fetchall())
    database.close()
    assert len(kept) > 100
    assert [secret for secret in PLANTED if secret.lower() in kept.lower()] == []
