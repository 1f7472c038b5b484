"""The scheduled import: takes files out of the folders, applies and deletes them, writes the log (ref 6)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from voyado_async.sandbox import import_xml
from voyado_async.sandbox.contact_fields import COMPUTED, PREFERENCES, STANDARD, is_valid
from voyado_async.sandbox.faults import FaultKind, Faults
from voyado_async.sandbox.import_xml import ContactRow, MajorError
from voyado_async.sandbox.journal import FileRecord, IntegrationLog, Journal
from voyado_async.sandbox.pipeline import Pipeline
from voyado_async.sandbox.settings import SandboxSettings
from voyado_async.sandbox.state import Contact, Origin, State

_NAME = re.compile(r"[0-9]{14}_[A-Za-z0-9-]+_(contacts|transactions|redemptions)\.xml")
_FOLDERS = {
    "contacts": "integration/customerImport",
    "redemptions": "integration/promotionImport",
    "transactions": "integration/transactionImport",
}
_ADVISED_LINES = 20_000
_SKIP = frozenset({FaultKind.IMPORT_SKIP})

_CHUNK = 200
"""Rows applied between two looks at the ports: a big file must not look like an outage of the API."""

Items = list[dict[str, str]]
Rows = list[Callable[[], dict[str, str]]]
"""One call for each row of a file; it applies the row and tells what became of it."""


class Importer:
    """One run takes every file that has its final name, folder by folder, in order of name."""

    def __init__(
        self,
        settings: SandboxSettings,
        root: Path,
        state: State,
        pipeline: Pipeline,
        journal: Journal,
        log: IntegrationLog,
        faults: Faults,
    ) -> None:
        self._settings = settings
        self._root = root
        self._state = state
        self._pipeline = pipeline
        self._journal = journal
        self._log = log
        self._faults = faults
        self._misnamed: set[str] = set()
        self._turn = asyncio.Lock()
        self._readers: dict[str, Callable[[bytes, Origin], Rows]] = {
            "contacts": self._contacts,
            "redemptions": self._redemptions,
            "transactions": self._transactions,
        }

    def waiting(self) -> list[str]:
        """The files in the folders, temporary ones included, as ``folder/name``."""
        return [
            f"{folder}/{path.name}" for folder in _FOLDERS.values() for path in sorted((self._root / folder).iterdir())
        ]

    def forget_names(self) -> None:
        """Names that did not fit are told once more."""
        self._misnamed.clear()

    async def run(self) -> list[FileRecord]:
        """Store what the pipeline holds and import every file that is there; returns a record of each file taken.
        A second run waits for the first.
        """
        async with self._turn:
            self._pipeline.run()
            records: list[FileRecord] = []
            for kind, folder in _FOLDERS.items():
                for path in sorted((self._root / folder).glob("*.xml")):
                    if self._faults.standing(FaultKind.IMPORT_STOPPED):
                        return records
                    if self._is_named(kind, folder, path):
                        records.append(await self._take(kind, folder, path))
            return records

    def _is_named(self, kind: str, folder: str, path: Path) -> bool:
        """A file whose name is not of ref 6.2, or not of this folder, stays; the log says so once."""
        if path.name.startswith("."):
            return False
        found = _NAME.fullmatch(path.name)
        if found and found[1] == kind and path.is_file() and not path.is_symlink():
            return True
        where = f"{folder}/{path.name}"
        if where not in self._misnamed:
            self._misnamed.add(where)
            self._log.write("error", where, "the name does not fit; the file is not taken")
        return False

    async def _take(self, kind: str, folder: str, path: Path) -> FileRecord:
        content = await asyncio.to_thread(path.read_bytes)
        items: Items = []
        if self._faults.take(_SKIP, "IMPORT", path.name):
            outcome = "lost"
            self._log.write("error", path.name, "major error: the file is skipped")
        else:
            try:
                rows = await asyncio.to_thread(self._readers[kind], content, Origin("file", path.name))
                for at, apply in enumerate(rows, 1):
                    items.append(apply())
                    if at % _CHUNK == 0:
                        await asyncio.sleep(0)
                outcome = "applied"
                self._log.write("info", path.name, f"{len(items)} rows")
            except MajorError as error:
                outcome = "skipped"
                self._log.write("error", path.name, f"major error, the file is skipped: {error}")
            if len(items) > _ADVISED_LINES:
                self._log.write("warning", path.name, f"more than {_ADVISED_LINES} rows are advised against")
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return self._journal.file(folder, path.name, hashlib.sha256(content).hexdigest(), len(content), outcome, items)

    # The readers run in a thread: they parse and check, and touch nothing.

    def _transactions(self, content: bytes, origin: Origin) -> Rows:
        rows = import_xml.transactions(import_xml.parse(content))
        return [partial(self._receipt, row, origin) for row in rows]

    def _redemptions(self, content: bytes, origin: Origin) -> Rows:
        rows = import_xml.redemptions(import_xml.parse(content))
        return [partial(self._redemption, row, origin) for row in rows]

    def _contacts(self, content: bytes, origin: Origin) -> Rows:
        """A contactId in one contact makes it the key of the whole file (ref 6.4)."""
        rows, silent = import_xml.contacts(import_xml.parse(content))
        key = "contactId" if any("contactId" in row.fields for row in rows) else self._settings.contact_key
        if silent and any(row.fields.keys() & (STANDARD.keys() | set(PREFERENCES)) - {key} for row in rows):
            raise MajorError("avoidTriggeringExport does not go with standard fields")
        return [partial(self._contact, row, key, origin) for row in rows]

    def _receipt(self, row: dict[str, Any], origin: Origin) -> dict[str, str]:
        return {"kind": "receipt", "id": row["uniqueReceiptId"], "result": self._pipeline.store_receipt(row, origin)}

    def _redemption(self, row: dict[str, Any], origin: Origin) -> dict[str, str]:
        return {"kind": "redeem", "id": row["couponId"], "result": self._redeem(row, origin)}

    def _redeem(self, row: dict[str, Any], origin: Origin) -> str:
        assignment = self._state.assignments.get(row["couponId"].lower())
        if assignment is None:
            result = "unknown coupon"
        elif row.get("contactId", assignment.contact_id).lower() != assignment.contact_id:
            result = "coupon of another contact"
        elif assignment.redeemed:
            result = "already redeemed"
        else:
            channels = row.get("redemptionChannels") or [{"type": None}]
            moment = datetime.fromisoformat(row["redeemedDateTime"])
            self._state.redeem(assignment, channels[0]["type"], moment, origin)
            return "redeemed"
        self._log.write("warning", str(origin.source), f"redemption of {row['couponId']} ignored: {result}")
        return result

    def _contact(self, row: ContactRow, key: str, origin: Origin) -> dict[str, str]:
        value = row.fields.get(key, "")
        contact_type = self._state.contact_type(row.element)
        found: list[Contact] = []
        if not value:
            return self._left_out(row, value, f"{key} is missing", origin)
        if contact_type is None:
            return self._left_out(row, value, "unknown contact type", origin)
        if key == "contactId":
            one = self._state.contact(value)
            found = [one] if one and one.contact_type == contact_type else []
        else:
            found = self._state.matching(key, value, contact_type)
        if len(found) > 1:
            return self._left_out(row, value, "several contacts have this key", origin)
        if not found and (key == "contactId" or not self._settings.insert_new_contacts):
            return self._left_out(row, value, "no contact of this type has this key", origin)
        attributes, preferences = self._fields(row, origin)
        if not found:
            contact = self._state.create_contact(
                contact_type, attributes, preferences, approved=True, source=row.source, origin=origin
            )
            return {"kind": "contact_create", "id": contact.id, "result": "created"}
        self._state.update_contact(found[0], attributes, preferences, origin)
        return {"kind": "contact_update", "id": found[0].id, "result": "updated"}

    def _fields(self, row: ContactRow, origin: Origin) -> tuple[dict[str, Any], dict[str, bool | None]]:
        """An invalid or unknown field is dropped, the rest is applied (ref 6.4). An empty element clears."""
        attributes: dict[str, Any] = {}
        preferences: dict[str, bool | None] = {}
        for name, text in row.fields.items():
            if name == "contactId":
                continue
            if name in PREFERENCES and text in ("true", "false"):
                preferences[name] = text == "true"
            elif name in COMPUTED or (name not in STANDARD and name not in self._settings.custom_attributes):
                self._log.write("warning", str(origin.source), f"line {row.line}: {name} is dropped, unknown field")
            elif not is_valid(name, text):
                self._log.write("warning", str(origin.source), f"line {row.line}: {name} is dropped, invalid value")
            else:
                attributes[name] = text or None
        return attributes, preferences

    def _left_out(self, row: ContactRow, value: str, reason: str, origin: Origin) -> dict[str, str]:
        self._log.write("warning", str(origin.source), f"line {row.line}: the contact is skipped, {reason}")
        return {"kind": "contact", "id": value, "result": reason}
