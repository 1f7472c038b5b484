"""Many contacts in one request, and the feed of contacts that changed (ref 4.8, 4.9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias

import msgspec

from voyado_async.errors import InvalidEntry
from voyado_async.models.contact_fields import KEY_ATTRIBUTES
from voyado_async.models.contacts import ContactCreate, ContactUpdate, parse_contact_create, parse_contact_update
from voyado_async.models.payload import Payload, to_json
from voyado_async.models.reading import Reader

MOST = 4000
"""Contacts of one request (ref 4.9)."""

CHANGES = ("Created", "Updated", "Deleted")

Creation: TypeAlias = ContactCreate | Mapping[str, object] | bytes
Change: TypeAlias = ContactUpdate | Mapping[str, object] | bytes

_ELSEWHERE = {
    "contactType": "stands beside the contacts of a request, not in them: contact_type=",
    "preferences": "no page shows preferences in a bulk request; contacts.update takes them",
    "consents": "no page shows consents in a bulk request; contacts.update takes them",
}


class BulkStatus(Payload, frozen=True, kw_only=True):
    """How a bulk request stands. Its form is not documented: `answer` is what Engage says, numbers exact."""

    batch_id: str
    answer: Any


def creations(contacts: Sequence[Creation], *, key_attribute: str | None, allowed: frozenset[str] | None) -> bytes:
    """The body of a bulk creation. Raises InvalidEntry with the path of the first wrong field (``[2].email``)."""
    return _body(contacts, lambda each: parse_contact_create(each, allowed=allowed), key_attribute)


def updates(contacts: Sequence[Change], *, key_attribute: str | None, allowed: frozenset[str] | None) -> bytes:
    """The body of a bulk update: each contact holds its key and what changes. Raises InvalidEntry as `creations`."""
    return _body(contacts, lambda each: parse_contact_update(each, allowed=allowed), key_attribute)


def _body(contacts: Sequence[Any], parse: Callable[[Any], Payload], key_attribute: str | None) -> bytes:
    if isinstance(contacts, str | bytes | Mapping) or not isinstance(contacts, Sequence):
        raise InvalidEntry("", "expected a list of contacts")
    if not 0 < len(contacts) <= MOST:
        raise InvalidEntry("", f"expected 1 to {MOST} contacts, got {len(contacts)}")
    rows = []
    for place, contact in enumerate(contacts):
        try:
            row = parse(contact).wire()
            assert isinstance(row, dict)
            _check_row(row, key_attribute)
        except InvalidEntry as error:
            dot = "." if error.path else ""
            raise InvalidEntry(f"[{place}]{dot}{error.path}", error.reason) from None
        rows.append(row)
    return to_json(rows)


def _check_row(row: Mapping[str, object], key_attribute: str | None) -> None:
    for name, reason in _ELSEWHERE.items():
        if name in row:
            raise InvalidEntry(name, reason)
    if key_attribute is not None and not row.get(key_attribute):
        raise InvalidEntry(key_attribute, "missing: it is the key by which contacts are known")
    if key_attribute is None and not any(row.get(name) for name in KEY_ATTRIBUTES):
        raise InvalidEntry("", f"needs the key by which contacts are known, one of {', '.join(KEY_ATTRIBUTES)}")


def change_type(value: object) -> str:
    """Which changes the feed is asked for. Raises InvalidEntry."""
    if value not in CHANGES:
        raise InvalidEntry("changeType", f"expected one of {', '.join(CHANGES)}")
    return str(value)


def feed_moment(path: str, moment: object) -> str:
    """A time as the feed takes it (ref 4.8). Its zone is not documented: UTC is inferred. Raises InvalidEntry."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidEntry(path, "expected a datetime with its offset")
    there = moment.astimezone(UTC)
    return f"{there:%Y-%m-%d %H:%M:%S}.{there.microsecond // 1000:03}"


_BATCH: Reader[str] = Reader("contacts bulk", Annotated[str, msgspec.Meta(pattern=r"\S")])
_IDS: Reader[list[str]] = Reader("contacts.changes", list[str])
_ANY: Reader[Any] = Reader("contacts.bulk_status", Any)


def read_batch_id(text: bytes) -> str:
    """The id of a batch, a bare JSON string. Raises EngageError if the answer is none."""
    return _BATCH.read(text)


def read_changes(text: bytes) -> list[str]:
    """The ids of an answer. Raises EngageError if it is none."""
    return _IDS.read(text)


def read_bulk_status(batch_id: str, text: bytes) -> BulkStatus:
    """Raises EngageError if the answer is not JSON."""
    return BulkStatus(batch_id=batch_id, answer=_ANY.read(text))
