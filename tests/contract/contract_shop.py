"""What a shop has at hand: the command line, and receipts out of its own JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Shell:
    """Runs ``voyado-async``."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        others = {name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")}
        self._environment, self._folder = others | environment, folder

    def __call__(self, *arguments: str, stdin: object = None, code: int = 0) -> str:
        """Its standard output. `stdin` is told as JSON where it is no text."""
        done = subprocess.run(
            [sys.executable, "-m", "voyado_async", *arguments], env=self._environment, cwd=self._folder, text=True,
            input=None if stdin is None else stdin if isinstance(stdin, str) else json.dumps(stdin),
            capture_output=True, timeout=60,
        )  # fmt: skip
        self.errors = done.stderr
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), (
            f"{arguments}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def json(self, *arguments: str, **how: Any) -> Any:
        return json.loads(self(*arguments, "--json", **how))


def receipt(number: int, contact_id: str) -> dict[str, Any]:
    """As a shop has it that reads its own JSON: amounts are floats."""
    return {
        "contact": {"matchKey": contact_id, "matchKeyType": "contactId"},
        "uniqueReceiptId": f"S1-{number}",
        "receiptNumber": str(number),
        "createdDate": "2026-03-14T09:12:44+01:00",
        "storeExternalId": "204",
        "currency": "SEK",
        "totalGrossPrice": 199.9,
        "paymentMethods": [{"type": "card", "value": 199.9}],
        "items": [
            {"type": "PURCHASE", "quantity": 1, "grossPaidPrice": 199.9, "taxAmount": 39.98, "taxPercent": 25.0,
             "sku": "5500123-M", "articleNumber": "5500123", "articleName": "Rain jacket"}
        ],
    }  # fmt: skip
