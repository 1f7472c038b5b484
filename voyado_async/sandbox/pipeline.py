"""The slow half of Engage: posted receipts and bulk batches are accepted at once and stored later (ref 5.1, 4.9).

Receipts of both roads end here, so `uniqueReceiptId` removes duplicates whichever way they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voyado_async.sandbox.contact_fields import PREFERENCES, STANDARD, is_valid
from voyado_async.sandbox.journal import IntegrationLog, Journal
from voyado_async.sandbox.receipts import match_key_type
from voyado_async.sandbox.settings import SandboxSettings
from voyado_async.sandbox.state import Contact, Origin, State


@dataclass(frozen=True, kw_only=True)
class _Batch:
    batch_id: str
    method: str
    contact_type: str
    rows: list[dict[str, Any]]
    origin: Origin


class Pipeline:
    """What was accepted and is not stored yet. `run` stores it all; it never fails on content."""

    def __init__(self, settings: SandboxSettings, state: State, journal: Journal, log: IntegrationLog) -> None:
        self._settings = settings
        self._state = state
        self._journal = journal
        self._log = log
        self._waiting: deque[tuple[dict[str, Any], Origin] | _Batch] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def clear(self) -> None:
        self._waiting.clear()

    def accept_receipt(self, receipt: dict[str, Any], origin: Origin) -> None:
        self._waiting.append((receipt, origin))
        self._journal.commit("receipt_accepted", receipt["uniqueReceiptId"], origin.road, origin.source)

    def accept_batch(
        self, batch_id: str, method: str, contact_type: str, rows: list[dict[str, Any]], origin: Origin
    ) -> None:
        self._state.batches[batch_id] = {"batchId": batch_id, "status": "Queued", "total": len(rows)}
        self._waiting.append(
            _Batch(batch_id=batch_id, method=method, contact_type=contact_type, rows=rows, origin=origin)
        )
        self._journal.commit("bulk", batch_id, origin.road, origin.source, {"method": method, "rows": len(rows)})

    def run(self) -> int:
        """Store everything that waits; returns how many receipts and batches there were."""
        done = 0
        while self._waiting:
            work = self._waiting.popleft()
            if isinstance(work, _Batch):
                self._apply_batch(work)
            else:
                receipt, origin = work
                self._log.write("info", "receipts", f"receipt {receipt['uniqueReceiptId']}: an XML file was generated")
                self.store_receipt(receipt, origin)
            done += 1
        return done

    def store_receipt(self, receipt: dict[str, Any], origin: Origin) -> str:
        """`stored`, or why it was ignored: `duplicate`, `unknown store`, `unknown contact` (ref 5.1, 6.5)."""
        unique_id = receipt["uniqueReceiptId"]
        if unique_id in self._state.receipts:
            outcome = "duplicate"
        elif not self._state.knows_store(receipt["storeExternalId"]):
            outcome = "unknown store"
        elif (contact := self._contact_of(receipt["contact"])) is None:
            outcome = "unknown contact"
        else:
            self._state.store_receipt({**receipt, "contactId": contact.id}, origin)
            self._log.write("info", "receipts", f"receipt {unique_id}: stored")
            return "stored"
        self._journal.commit("receipt_ignored", unique_id, origin.road, origin.source, {"reason": outcome})
        self._log.write("warning", "receipts", f"receipt {unique_id}: ignored, {outcome}")
        return outcome

    def _contact_of(self, match: Mapping[str, Any]) -> Contact | None:
        name = match_key_type(match["matchKeyType"])
        assert name is not None
        if name == "contactId":
            return self._state.contact(match["matchKey"])
        contact_type = self._state.contact_type(match.get("contactType") or "Member")
        found = self._state.matching(name, match["matchKey"], contact_type) if contact_type else []
        return found[0] if len(found) == 1 else None

    def _apply_batch(self, batch: _Batch) -> None:
        counts = {"created": 0, "updated": 0, "failed": 0}
        for row in batch.rows:
            outcome = self._apply_row(row, batch)
            counts[outcome] += 1
        self._state.batches[batch.batch_id].update(status="Completed", **counts)
        self._log.write("info", "bulk", f"batch {batch.batch_id}: {counts}")

    def _apply_row(self, row: dict[str, Any], batch: _Batch) -> str:
        """Contacts of a batch are flat objects, each with the key attribute (ref 4.9)."""
        key = self._settings.contact_key
        attributes, preferences, problem = split_flat(row, self._settings.custom_attributes)
        found = self._state.matching(key, row.get(key), batch.contact_type)
        if problem is None and not row.get(key):
            problem = f"{key} is missing"
        elif problem is None and batch.method == "POST" and found:
            problem = "a contact with this key exists"
        elif problem is None and batch.method == "PATCH" and len(found) != 1:
            problem = "no single contact has this key"
        if problem is not None:
            self._log.write("warning", "bulk", f"batch {batch.batch_id}: a contact was left out, {problem}")
            return "failed"
        if batch.method == "POST":
            self._state.create_contact(
                batch.contact_type, attributes, preferences, approved=True, source=None, origin=batch.origin
            )
            return "created"
        self._state.update_contact(found[0], attributes, preferences, batch.origin)
        return "updated"


def split_flat(
    row: Mapping[str, Any], custom: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, bool | None], str | None]:
    """Attributes and preferences of a flat contact (bulk, file), and the name of the first wrong one.
    Unknown names are ignored (ref 4.4); preferences may also stand in their object.
    """
    attributes: dict[str, Any] = {}
    preferences: dict[str, bool | None] = {}
    nested = row.get("preferences")
    for name, value in [*row.items(), *(nested.items() if isinstance(nested, dict) else ())]:
        if name in PREFERENCES:
            if not isinstance(value, bool):
                return {}, {}, f"{name} is not a boolean"
            preferences[name] = value
        elif name in STANDARD or name in custom:
            if not is_valid(name, value):
                return {}, {}, f"{name} is invalid"
            attributes[name] = value
    return attributes, preferences, None
