"""The command line as its table promises it, for a script that reads JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from contract_shop import Shell, receipt
from plain_engage import PlainEngage

STATES = {
    "pending", "sending", "delivered", "rejected", "exhausted", "spooled", "uploaded", "imported", "discarded",
}  # fmt: skip


def test_every_kind_goes_from_a_file_to_engage(shell: Shell, engage: PlainEngage, tmp_path: Path) -> None:
    before = shell.json("status")
    assert (set(before["states"]), sum(before["states"].values())) == (STATES, 0)
    assert "nothing was written yet" in shell.errors

    anna = engage.contact(email="anna@example.com")
    offer = engage.assign(anna)
    (tmp_path / "change.json").write_text('{"city": "Lund"}')
    written = [
        shell("enqueue", "redeem", "--assignment", offer, "--channel", "ECOM", "--contact", anna),
        shell("enqueue", "contact", "--contact", anna, "change.json"),
        shell("enqueue", "contact-type", "--contact", anna, "Gold"),
        shell("enqueue", "new-contact", "-", stdin={"email": "bea@example.com", "firstName": "Bea"}),
        shell("enqueue", "receipt", "-", stdin=[receipt(1, anna), receipt(2, anna)]),
        shell("enqueue", "receipt", "-", stdin="".join(f"{json.dumps(receipt(n, anna))}\n" for n in (3, 4))),
    ]
    ids = [int(line) for output in written for line in output.splitlines()]
    assert len(set(ids)) == 8
    assert shell("enqueue", "receipt", "-", stdin=receipt(1, anna)).split() == [str(ids[4])]

    status = shell.json("status")
    assert status["states"]["pending"] == status["accounting"]["enqueued"] == 8
    assert status["kinds"].keys() == {"redeem", "contact_create", "contact_update", "contact_type", "receipt"}
    assert (status["breaker"], status["drainer"]["running"]) == ("closed", False)
    assert status["oldest_pending_seconds"] >= 0

    shell("drain", "--until-settled", "--timeout", "30")
    assert engage.redeemed == [offer]
    assert (engage.contacts[anna]["city"], engage.contacts[anna]["contactType"]) == ("Lund", "Gold")
    assert [one.get("email") for one in engage.contacts.values()] == ["anna@example.com", "bea@example.com"]
    assert sorted(engage.receipts) == ["S1-1", "S1-2", "S1-3", "S1-4"]
    listed = shell.json("list", "--state", "delivered", "--kind", "receipt", "--limit", "3")["entries"]
    assert [entry["id"] for entry in listed] == sorted(ids[4:], reverse=True)[:3]
    shown = shell.json("show", str(ids[0]))
    assert (shown["state"], shown["attempts"][0]["status"]) == ("delivered", 200)
    shell("verify")


def test_a_script_brings_a_refusal_to_its_end(shell: Shell, engage: PlainEngage) -> None:
    """3 says that a person is needed: until the entry is replayed with success, or discarded."""
    anna = engage.contact()
    offer = engage.assign(anna)
    later = engage.assignments.pop(offer)
    gone = [shell("enqueue", "redeem", "--assignment", one, "--channel", "POS").strip() for one in (offer, "unknown")]
    shell("drain", "--until-settled", "--timeout", "30", code=3)
    shell("status", "--check", code=3)
    refused = shell.json("list", "--error", "PromotionNotFound")["entries"]
    assert sorted(str(entry["id"]) for entry in refused) == sorted(gone)

    engage.assignments[offer] = later
    assert shell.json("replay", gone[0], "--dry-run")["selected"] == 1
    assert shell.json("status")["states"]["rejected"] == 2
    shell("replay", gone[0])
    shell("discard", gone[1], code=2)
    shell("discard", gone[1], "--reason", "no such promotion")
    shell("drain", "--until-settled", "--timeout", "30")
    shell("status", "--check")
    assert engage.redeemed == [offer]

    assert shell.json("purge", "--older-than", "0", "--dry-run")["entries"] == 2
    shell("purge", "--older-than", "0")
    books = shell.json("status")["accounting"]
    assert (books["enqueued"], books["purged"], books["forgotten"], books["balanced"]) == (2, 2, 0, True)


def test_a_file_with_a_bad_line_stores_nothing(shell: Shell, engage: PlainEngage) -> None:
    good, worse = receipt(1, "anna"), receipt(2, "anna")
    bad = {name: value for name, value in receipt(3, "anna").items() if name != "currency"}
    worse["items"][0]["quantity"] = "two"
    shell("enqueue", "receipt", "-", stdin="\n".join(map(json.dumps, (good, worse, bad))), code=1)
    assert "line 2: items[0].quantity" in shell.errors
    assert "line 3: currency" in shell.errors
    assert sum(shell.json("status")["states"].values()) == 0
    assert shell.json("list")["entries"] == []
    assert engage.seen == []
