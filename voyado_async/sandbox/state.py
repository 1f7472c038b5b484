"""What this Engage knows: contacts, promotions, assignments, vouchers, receipts. Changes are entered in the books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from voyado_async.sandbox.contact_fields import PREFERENCES, STANDARD, same_key
from voyado_async.sandbox.journal import Journal
from voyado_async.sandbox.settings import SandboxSettings


@dataclass(kw_only=True)
class Contact:
    id: str
    contact_type: str
    attributes: dict[str, Any]
    preferences: dict[str, bool | None]
    approved: bool
    source: str | None
    created_at: datetime
    updated_at: datetime
    consents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By their id: rows of id, value, date, source, comment (ref 4.2)."""


@dataclass(kw_only=True)
class Promotion:
    """A definition (ref 3.5). `channels` are rows of type, valueType, value (always text), instruction."""

    id: str
    external_id: str | None
    name: str
    status: str
    validity: dict[str, Any]
    presentation: dict[str, Any]
    channels: list[dict[str, Any]]


@dataclass(kw_only=True)
class Assignment:
    """One promotion for one contact (ref 3.1, 3.2)."""

    id: str
    promotion_id: str
    contact_id: str
    starts_on: datetime
    expires_on: datetime | None
    redeemed: bool = False
    redeemed_on: datetime | None = None
    redeemed_channel: str | None = None


@dataclass(kw_only=True)
class Voucher:
    """A reward voucher of one contact (ref 3.6)."""

    id: str
    contact_id: str
    number: str
    name: str
    amount: Decimal
    currency: str
    points: int
    expires_on: datetime | None
    redeemed: bool = False
    redeemed_on: datetime | None = None


@dataclass(kw_only=True)
class Change:
    kind: str
    contact_id: str
    at: datetime


@dataclass(frozen=True)
class Origin:
    """By which road an effect came: `rest` and the arrival's seq, or `file` and its name."""

    road: str
    source: int | str | None


SEED = Origin("seed", None)


class State:
    """Changes happen between two awaits, so that each one is whole. Callers have checked what they pass."""

    def __init__(self, settings: SandboxSettings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self.now: Callable[[], datetime] = settings.now
        self.clear()

    def clear(self) -> None:
        self.contacts: dict[str, Contact] = {}
        self.promotions: dict[str, Promotion] = {}
        self.assignments: dict[str, Assignment] = {}
        self.vouchers: dict[str, Voucher] = {}
        self.receipts: dict[str, dict[str, Any]] = {}
        self.changes: list[Change] = []
        self.being_created: set[str] = set()
        self.batches: dict[str, dict[str, Any]] = {}
        self._member_number = 70_000_000

    # Seeding

    def add_contact(
        self,
        *,
        id: str | None = None,
        contact_type: str = "Member",
        preferences: Mapping[str, bool] | None = None,
        approved: bool = True,
        **attributes: Any,
    ) -> Contact:
        """Put a contact there, as if it had always been. Attributes by their API names: `firstName="Anna"`."""
        known = attributes.keys() & (STANDARD.keys() | set(self._settings.custom_attributes))
        if unknown := attributes.keys() - known:
            raise ValueError(f"this tenant has no attribute {', '.join(sorted(unknown))}")
        return self.create_contact(
            contact_type, attributes, preferences or {}, approved=approved, source=None, origin=SEED, id=id
        )

    def add_promotion(
        self,
        *,
        id: str | None = None,
        external_id: str | None = None,
        name: str = "Offer",
        status: str = "Active",
        channels: Iterable[str | Mapping[str, Any]] = ("POS", "ECOM", "OTHER"),
        validity: Mapping[str, Any] | None = None,
        presentation: Mapping[str, Any] | None = None,
    ) -> Promotion:
        """A definition. A channel that is only a name gets an EXTERNALOFFER."""
        rows = [
            {"type": c, "valueType": "EXTERNALOFFER", "value": name, "instruction": None}
            if isinstance(c, str)
            else dict(c)
            for c in channels
        ]
        promotion = Promotion(
            id=(id or str(uuid4())).lower(),
            external_id=external_id,
            name=name,
            status=status,
            validity=dict(validity or {"startDate": "2020-01-01", "endDate": "9999-12-30"}),
            presentation=dict(presentation or {}),
            channels=rows,
        )
        self.promotions[promotion.id] = promotion
        return promotion

    def add_assignment(
        self,
        contact_id: str,
        *,
        promotion_id: str | None = None,
        id: str | None = None,
        channels: Iterable[str | Mapping[str, Any]] = ("POS", "ECOM", "OTHER"),
        starts_on: datetime | None = None,
        expires_on: datetime | None = None,
        redeemed_on: datetime | None = None,
    ) -> Assignment:
        """Assign a promotion; without `promotion_id` a new one with these channels."""
        if promotion_id is None:
            promotion_id = self.add_promotion(channels=channels).id
        assignment = Assignment(
            id=(id or str(uuid4())).lower(),
            promotion_id=promotion_id,
            contact_id=contact_id.lower(),
            starts_on=starts_on or self.now(),
            expires_on=expires_on,
            redeemed=redeemed_on is not None,
            redeemed_on=redeemed_on,
        )
        self.assignments[assignment.id] = assignment
        return assignment

    def add_voucher(
        self,
        contact_id: str,
        *,
        id: str | None = None,
        number: str | None = None,
        name: str = "Bonus",
        amount: int | str | Decimal = 100,
        currency: str = "SEK",
        points: int = 1000,
        expires_on: datetime | None = None,
        redeemed_on: datetime | None = None,
    ) -> Voucher:
        """Give a contact a reward voucher."""
        voucher = Voucher(
            id=(id or str(uuid4())).lower(),
            contact_id=contact_id.lower(),
            number=number or f"V{len(self.vouchers) + 1:06}",
            name=name,
            amount=Decimal(amount),
            currency=currency,
            points=points,
            expires_on=expires_on,
            redeemed=redeemed_on is not None,
            redeemed_on=redeemed_on,
        )
        self.vouchers[voucher.id] = voucher
        return voucher

    # Looking up

    def contact(self, contact_id: str) -> Contact | None:
        return self.contacts.get(contact_id.lower())

    def matching(self, name: str, value: object, contact_type: str | None = None) -> list[Contact]:
        """Contacts whose attribute `name` is `value`, oldest first."""
        return [
            c
            for c in self.contacts.values()
            if same_key(name, c.attributes.get(name), value) and contact_type in (None, c.contact_type)
        ]

    def contact_type(self, name: str) -> str | None:
        """A configured contact type in its own spelling; case does not matter."""
        return next((t for t in self._settings.contact_types if t.casefold() == name.casefold()), None)

    def knows_store(self, store: str) -> bool:
        return self._settings.stores is None or store in self._settings.stores

    # Changing

    def create_contact(
        self,
        contact_type: str,
        attributes: Mapping[str, Any],
        preferences: Mapping[str, bool | None],
        *,
        approved: bool,
        source: str | None,
        origin: Origin,
        id: str | None = None,
        consents: Iterable[Mapping[str, Any]] = (),
    ) -> Contact:
        now = self.now()
        self._member_number += 1
        values = {"memberNumber": str(self._member_number), **attributes}
        if values.get("createdInStore") and not values.get("store"):
            values["store"] = values["createdInStore"]
        contact = Contact(
            id=(id or str(uuid4())).lower(),
            contact_type=contact_type,
            attributes=values,
            preferences={**dict.fromkeys(PREFERENCES, False), **preferences},
            approved=approved,
            source=source,
            created_at=now,
            updated_at=now,
            consents={row["id"]: dict(row) for row in consents},
        )
        self.contacts[contact.id] = contact
        given = {**attributes, **_flat(preferences), **_given(consents)}
        self._enter("Created", "contact_create", contact, origin, given)
        return contact

    def update_contact(
        self,
        contact: Contact,
        attributes: Mapping[str, Any],
        preferences: Mapping[str, bool | None],
        origin: Origin,
        consents: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Overwrite what is given. The registration store, once set, stays (ref 4.6)."""
        values = dict(attributes)
        if contact.attributes.get("createdInStore"):
            values.pop("createdInStore", None)
        contact.attributes.update(values)
        contact.preferences.update(preferences)
        contact.consents.update({row["id"]: dict(row) for row in consents})
        contact.updated_at = self.now()
        given = {**values, **_flat(preferences), **_given(consents)}
        self._enter("Updated", "contact_update", contact, origin, given)

    def change_type(self, contact: Contact, contact_type: str, origin: Origin) -> None:
        contact.contact_type = contact_type
        contact.updated_at = self.now()
        self._enter("Updated", "contact_type", contact, origin, {"contactType": contact_type})

    def delete_contact(self, contact_id: str) -> None:
        """The contact is gone; its assignments lose their contact."""
        contact = self.contacts.pop(contact_id.lower())
        self._enter("Deleted", "contact_delete", contact, SEED, {})

    def redeem(self, assignment: Assignment, channel: str | None, at: datetime, origin: Origin) -> None:
        assignment.redeemed = True
        assignment.redeemed_on = at
        assignment.redeemed_channel = channel
        self._journal.commit(
            "redeem", assignment.id, origin.road, origin.source, {"channel": channel, "redeemedOn": at}
        )

    def redeem_voucher(self, voucher: Voucher, origin: Origin) -> None:
        voucher.redeemed = True
        voucher.redeemed_on = self.now()
        self._journal.commit("voucher_redeem", voucher.id, origin.road, origin.source)

    def store_receipt(self, receipt: dict[str, Any], origin: Origin) -> None:
        unique_id = receipt["uniqueReceiptId"]
        self.receipts[unique_id] = receipt
        self._journal.commit("receipt", unique_id, origin.road, origin.source)

    def _enter(self, change: str, kind: str, contact: Contact, origin: Origin, values: dict[str, Any]) -> None:
        self.changes.append(Change(kind=change, contact_id=contact.id, at=contact.updated_at))
        if origin is not SEED:
            self._journal.commit(kind, contact.id, origin.road, origin.source, values)

    def to_json(self) -> dict[str, Any]:
        return {
            "contacts": [asdict(c) for c in self.contacts.values()],
            "promotions": [asdict(p) for p in self.promotions.values()],
            "assignments": [asdict(a) for a in self.assignments.values()],
            "vouchers": [asdict(v) for v in self.vouchers.values()],
            "receipts": list(self.receipts.values()),
        }


def _given(consents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {f"consents.{row['id']}": row["value"] for row in consents}


def _flat(preferences: Mapping[str, bool | None]) -> dict[str, Any]:
    return {f"preferences.{name}": value for name, value in preferences.items()}


def channel_value(row: Mapping[str, Any]) -> Any:
    """A definition's value (always text) as an assignment shows it: PERCENT a number, MONEY an object (ref 3.2)."""
    value = row.get("value")
    if row["valueType"] == "PERCENT":
        return int(Decimal(str(value)))
    if row["valueType"] == "MONEY":
        return value if isinstance(value, dict) else {"currency": "SEK", "amount": Decimal(str(value))}
    return value
