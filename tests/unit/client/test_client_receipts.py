"""Receipts, against both versions of the fake Engage."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from voyado_async import Settings, VoyadoClient
from voyado_async.sandbox import Sandbox

SAMPLE = (Path(__file__).parents[3] / "samples/payloads/receipt_purchase.json").read_bytes()


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "status_after", "garbage"])
async def test_a_receipt_of_unknown_outcome_is_posted_again_and_stored_once(
    settings: Settings, sandbox: Sandbox, fault: str, no_rest: None
) -> None:
    anna = sandbox.state.add_contact(email="anna@example.com")
    receipt = msgspec.json.decode(SAMPLE) | {"contact": {"matchKey": anna.id, "matchKeyType": "contactId"}}
    sandbox.faults.add(fault, method="POST", count=1)
    async with VoyadoClient(settings, listeners=[]) as voyado:
        entry = await voyado.receipts.send(msgspec.json.encode(receipt))
        assert (await entry.wait(timeout=10)).delivered
        sandbox.pipeline.run()
        assert (await voyado.transactions.list(anna.id)).total_count == 1
    assert len(sandbox.journal.requests("POST", "/receipts")) == 2
    assert sandbox.journal.count("receipt", receipt["uniqueReceiptId"]) == 1
