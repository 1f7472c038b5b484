"""Two sets of books, entry by entry: what a shop wrote, and what took effect at Engage. Pure.

A redemption, a receipt and a creation must have taken effect exactly once. Of a contact's fields the newest value must
stand there in the end, and no older one may ever have come after a newer one. That a change took effect twice in a row
is no harm: Engage cannot tell it from once (DESIGN 3, "Outcome of an attempt").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from voyado_async.delivery import Kind

What = Literal["missing", "doubled", "out_of_order", "not_ours"]

CONTACT_KINDS = (Kind.CONTACT_CREATE, Kind.CONTACT_UPDATE, Kind.CONTACT_TYPE)


class Written(msgspec.Struct, frozen=True):
    """One entry as the shop's own books have it, with the effect that it expects."""

    entry_id: int
    kind: Kind
    subject: str
    """The assignment's id, the receipt's uniqueReceiptId, the contact's id, or the e-mail where that names it."""
    values: dict[str, Any]
    """What must stand there: a contact's fields (``preferences.acceptsSms`` for a preference), or those of a receipt,
    each with everything inside it; what is not named may be otherwise."""


class Effect(msgspec.Struct, frozen=True):
    """One line of Engage's journal."""

    seq: int
    kind: str
    subject: str
    road: str
    values: dict[str, Any] = {}


class Contact(msgspec.Struct, frozen=True):
    """A contact as it stands at Engage."""

    id: str
    contact_type: str
    attributes: dict[str, Any]
    preferences: dict[str, Any] = {}

    @property
    def values(self) -> dict[str, Any]:
        return {"contactType": self.contact_type, **self.attributes, **flat({"preferences": self.preferences})}


class Assignment(msgspec.Struct, frozen=True):
    """A promotion of a contact as it stands at Engage."""

    id: str
    redeemed: bool
    redeemed_channel: str | None = None


class EngageBooks(msgspec.Struct, frozen=True):
    """What took effect, in its order, and what stands there now."""

    effects: list[Effect]
    contacts: list[Contact]
    receipts: list[dict[str, Any]]
    assignments: list[Assignment]


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong. `entry_id` is None for what nobody wrote."""

    what: What
    kind: str
    entry_id: int | None
    detail: str


class Row(msgspec.Struct):
    """The figures of one kind: how many were written, by which road they first took effect, and what is wrong."""

    written: int = 0
    api: int = 0
    file: int = 0
    missing: int = 0
    doubled: int = 0
    out_of_order: int = 0


class Comparison(msgspec.Struct, frozen=True):
    """What `compare` found. The books agree where there is no finding."""

    rows: dict[str, Row]
    findings: tuple[Finding, ...]

    @property
    def agree(self) -> bool:
        return not self.findings


def books_of(journal: bytes, state: bytes) -> EngageBooks:
    """The books from the answers of the sandbox's ``/journal`` and ``/state``; numbers exact."""
    lines = msgspec.json.Decoder(_Journal, float_hook=Decimal).decode(journal)
    stands = msgspec.json.Decoder(_State, float_hook=Decimal).decode(state)
    return EngageBooks(lines.commits, stands.contacts, stands.receipts, stands.assignments)


class _Journal(msgspec.Struct):
    commits: list[Effect]


class _State(msgspec.Struct):
    contacts: list[Contact]
    receipts: list[dict[str, Any]]
    assignments: list[Assignment]


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """A contact's fields side by side, each preference by itself."""
    fields = {name: value for name, value in values.items() if name != "preferences"}
    return fields | {f"preferences.{name}": value for name, value in (values.get("preferences") or {}).items()}


def compare(written: Iterable[Written], engage: EngageBooks) -> Comparison:
    """Hold the two against each other."""
    entries = sorted(written, key=lambda entry: entry.entry_id)
    ledger = _Ledger()
    for entry in entries:
        ledger.row(entry.kind).written += 1
    _compare_redeems([e for e in entries if e.kind is Kind.REDEEM], engage, ledger)
    _compare_receipts([e for e in entries if e.kind is Kind.RECEIPT], engage, ledger)
    vouchers = [e for e in entries if e.kind is Kind.VOUCHER_REDEEM]
    _compare_once(vouchers, _by_subject(engage.effects, Kind.VOUCHER_REDEEM), Kind.VOUCHER_REDEEM, ledger)
    _compare_contacts([e for e in entries if e.kind in CONTACT_KINDS], engage, ledger)
    return Comparison(dict(sorted(ledger.rows.items())), tuple(ledger.findings))


class _Ledger:
    """Takes down what the comparison finds; an entry is found wrong in the same way only once."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.findings: list[Finding] = []
        self._seen: set[tuple[What, int]] = set()

    def row(self, kind: str) -> Row:
        return self.rows.setdefault(kind, Row())

    def arrived(self, entry: Written, road: str) -> None:
        row = self.row(entry.kind)
        if road == "file":
            row.file += 1
        else:
            row.api += 1

    def wrong(self, what: What, entry: Written, detail: str) -> None:
        if (what, entry.entry_id) in self._seen:
            return
        self._seen.add((what, entry.entry_id))
        self.findings.append(Finding(what, entry.kind, entry.entry_id, detail))
        row = self.row(entry.kind)
        match what:
            case "missing":
                row.missing += 1
            case "doubled":
                row.doubled += 1
            case "out_of_order":
                row.out_of_order += 1

    def not_ours(self, kind: str, detail: str) -> None:
        self.findings.append(Finding("not_ours", kind, None, detail))


def _compare_once(
    entries: Sequence[Written], effects: Mapping[str, Sequence[Effect]], kind: str, ledger: _Ledger
) -> None:
    """Each subject took effect exactly once, and nothing did that nobody wrote."""
    for entry in entries:
        own = effects.get(entry.subject.lower(), ())
        if not own:
            ledger.wrong("missing", entry, "never took effect")
            continue
        ledger.arrived(entry, own[0].road)
        if len(own) > 1:
            ledger.wrong("doubled", entry, f"took effect {len(own)} times")
    for subject in effects.keys() - {entry.subject.lower() for entry in entries}:
        ledger.not_ours(kind, f"took effect and nobody wrote it ({len(effects[subject])} times)")


def _by_subject(effects: Iterable[Effect], kind: str) -> dict[str, list[Effect]]:
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        if effect.kind == kind:
            found[effect.subject.lower()].append(effect)
    return found


def _compare_redeems(entries: Sequence[Written], engage: EngageBooks, ledger: _Ledger) -> None:
    effects = _by_subject(engage.effects, "redeem")
    _compare_once(entries, effects, Kind.REDEEM, ledger)
    for entry in entries:
        for effect in effects.get(entry.subject.lower(), ()):
            if not _shows(effect.values, entry.values):
                ledger.wrong("missing", entry, "took effect with other values")
    spent = {one.id.lower(): one.redeemed_channel for one in engage.assignments if one.redeemed}
    for entry in entries:
        if entry.subject.lower() not in spent:
            ledger.wrong("missing", entry, "is not redeemed in the end")
        elif spent.pop(entry.subject.lower()) != entry.values.get("channel"):
            ledger.wrong("missing", entry, "is redeemed in another channel")
    for _ in spent:
        ledger.not_ours(Kind.REDEEM, "a promotion is redeemed and nobody wrote it")


def _compare_receipts(entries: Sequence[Written], engage: EngageBooks, ledger: _Ledger) -> None:
    _compare_once(entries, _by_subject(engage.effects, "receipt"), Kind.RECEIPT, ledger)
    stored = {str(receipt["uniqueReceiptId"]).lower(): receipt for receipt in engage.receipts}
    for entry in entries:
        receipt = stored.get(entry.subject.lower())
        if receipt is None:
            ledger.wrong("missing", entry, "is not stored")
        elif other := [name for name, value in entry.values.items() if not _same(value, receipt.get(name))]:
            ledger.wrong("missing", entry, f"is stored with another {', '.join(sorted(other))}")


def _compare_contacts(entries: Sequence[Written], engage: EngageBooks, ledger: _Ledger) -> None:
    ids: dict[str, list[str]] = defaultdict(list)
    for contact in engage.contacts:
        ids[contact.id.lower()].append(contact.id.lower())
        ids[str(contact.attributes.get("email", "")).lower()].append(contact.id.lower())
    creations: dict[str, list[Effect]] = defaultdict(list)
    for effect in engage.effects:
        if effect.kind == "contact_create":
            creations[str(effect.values.get("email", "")).lower()].append(effect)
    _compare_once([e for e in entries if e.kind is Kind.CONTACT_CREATE], creations, Kind.CONTACT_CREATE, ledger)

    changes: dict[str, list[Effect]] = defaultdict(list)
    for effect in engage.effects:
        if effect.kind in CONTACT_KINDS:
            changes[effect.subject.lower()].append(effect)
    by_contact: dict[str, list[Written]] = defaultdict(list)
    for entry in entries:
        known = ids.get(entry.subject.lower(), [])
        by_contact[known[0] if known else entry.subject.lower()].append(entry)
    stands = {contact.id.lower(): contact.values for contact in engage.contacts}
    for contact_id, own in by_contact.items():
        _compare_contact(own, changes.pop(contact_id, []), stands.get(contact_id, {}), ledger)
    for effects in changes.values():
        for effect in effects:
            if effect.kind != "contact_create":
                ledger.not_ours(effect.kind, "a contact was changed and nobody wrote it")


def _compare_contact(
    entries: Sequence[Written], effects: Sequence[Effect], stands: Mapping[str, Any], ledger: _Ledger
) -> None:
    """One contact, field by field: each applied value is matched with the earliest entry that it can be of.

    Of equal values the latest may have arrived just as well: which one it was makes no difference.
    """
    reached: dict[str, int] = defaultdict(lambda: -1)
    latest: dict[str, int] = defaultdict(lambda: -1)
    roads: list[str | None] = [None] * len(entries)
    for effect in sorted(effects, key=lambda effect: effect.seq):
        for name, value in effect.values.items():
            candidates = [at for at, e in enumerate(entries) if name in e.values and _same(e.values[name], value)]
            forward = [at for at in candidates if at >= reached[name]]
            if forward:
                reached[name] = forward[0]
                latest[name] = max(latest[name], forward[-1])
                for at in range(forward[0] + 1):
                    if roads[at] is None and name in entries[at].values:
                        roads[at] = effect.road
            elif candidates:
                newer = entries[reached[name]].entry_id
                ledger.wrong("out_of_order", entries[candidates[-1]], f"{name} came after that of entry {newer}")
            elif name != "email" or not _same(value, stands.get(name)):  # a file names the contact by its key
                ledger.not_ours(effect.kind, f"{name} was set to what nobody wrote")
    last: dict[str, int] = {}
    for at, entry in enumerate(entries):
        last |= dict.fromkeys(entry.values, at)
        # Whoever finds a preference off that was never on has nothing to send.
        off = {name for name in entry.values if name.startswith("preferences.") and entry.values[name] is False}
        behind = [name for name in entry.values if latest[name] < at and (latest[name] >= 0 or name not in off)]
        if behind:
            ledger.wrong("missing", entry, f"{', '.join(sorted(behind))} never took effect")
        elif entry.kind is not Kind.CONTACT_CREATE:
            ledger.arrived(entry, roads[at] or "rest")
    for name, at in last.items():
        if not _same(entries[at].values[name], stands.get(name)):
            ledger.wrong("missing", entries[at], f"{name} does not stand there in the end")


def _shows(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return all(_same(value, found.get(name)) for name, value in expected.items())


def _same(expected: Any, found: Any) -> bool:
    """Rows one by one, an object by what is expected of it; none is as good as an empty list."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and _shows(found, expected)
    if isinstance(expected, list):
        rows = found or []
        return len(rows) == len(expected) and all(map(_same, expected, rows))
    return _plain(expected) == _plain(found)


def _plain(value: Any) -> str | None:
    """A value in one spelling: over the API it is typed, in a file it is text, and an empty one is none."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | Decimal):
        return format(Decimal(value).normalize(), "f")
    return str(value)
