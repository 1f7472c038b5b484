"""``voyado-async enqueue``: write to the outbox what somebody has in a file, or names on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import click
import msgspec

from voyado_async.api.routes import routes_of
from voyado_async.cli.failure import Failure, Problem
from voyado_async.cli.input_file import Item, cut
from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.opening import run, writing
from voyado_async.cli.parameters import CONTACT, CONTACT_ID, CONTACT_TYPE, ID
from voyado_async.cli.report import json_option, tell_json
from voyado_async.delivery import Draft, Kind
from voyado_async.errors import InvalidEntry, KeyConflict, OutboxUnavailable
from voyado_async.kinds import contact_create, contact_type, contact_update, receipt, redeem
from voyado_async.kinds.address import Address
from voyado_async.models import Channel, RedeemBy
from voyado_async.outbox.states import State
from voyado_async.outbox.writer import MAX_BYTES, MOST_TOGETHER
from voyado_async.resources.vouchers import redemption


class EntryLine(msgspec.Struct, frozen=True):
    """One entry that was written, or that was there already. `line` is null where there is no file."""

    id: int
    kind: Kind
    state: State
    existing: State | None
    line: int | None
    warnings: tuple[str, ...]


class EnqueueReport(msgspec.Struct, frozen=True):
    """What ``enqueue --json`` prints."""

    outbox: str
    entries: list[EntryLine]


@click.group()
def enqueue() -> None:
    """Write to the outbox. Prints the ids of the entries, one a line.

    FILE is one JSON object, a JSON array or JSON lines; - is standard input. The whole file is checked before anything
    is stored. Up to 1000 entries and 4 MB are one commit, all or nothing; a larger file is stored in several, in its
    order, and if one of them fails the message says up to which line it was stored.
    """


file_argument = click.argument("file", type=click.File("rb"))
CHANNEL = click.Choice([channel.value for channel in Channel], case_sensitive=False)


@enqueue.command("redeem")
@click.option("--assignment", type=ID, required=True, metavar="ID", help="The promotion assignment's id.")
@click.option("--channel", type=CHANNEL, required=True, help="Where it was redeemed.")
@click.option(
    "--contact",
    type=CONTACT_ID,
    metavar="GUID",
    help="The contact's id. Give it wherever it is known: only then can an unknown outcome be looked up.",
)
@json_option
@pass_invocation
def enqueue_redeem(invocation: Invocation, assignment: str, channel: str, contact: str | None, as_json: bool) -> None:
    """Redeem one promotion assignment."""
    _store(invocation, [(None, redeem.draft(assignment, channel=channel, contact_id=contact))], as_json)


@enqueue.command("redeem-code")
@click.option("--code", type=ID, required=True, metavar="ID", help="The code's id.")
@click.option("--channel", type=CHANNEL, required=True, help="Where it was redeemed.")
@click.option("--contact", type=CONTACT_ID, metavar="GUID", help="The contact's id, wherever it is known.")
@json_option
@pass_invocation
def enqueue_redeem_code(invocation: Invocation, code: str, channel: str, contact: str | None, as_json: bool) -> None:
    """Redeem one code or mobile swipe, by Engage's call for those."""
    draft = redeem.draft(code, channel=channel, contact_id=contact, by=RedeemBy.CODE)
    _store(invocation, [(None, draft)], as_json)


@enqueue.command("voucher")
@click.option("--voucher", type=ID, required=True, metavar="ID", help="The reward voucher's id.")
@click.option(
    "--contact", type=CONTACT_ID, metavar="GUID", help="The contact's id, wherever it is known; API version 2 needs it."
)
@json_option
@pass_invocation
def enqueue_voucher(invocation: Invocation, voucher: str, contact: str | None, as_json: bool) -> None:
    """Redeem one reward voucher."""
    routes = routes_of(invocation.settings().api_version)
    _store(invocation, [(None, redemption(routes, voucher, contact_id=contact))], as_json)


@enqueue.command("contact")
@click.option(
    "--contact",
    "named",
    type=CONTACT,
    required=True,
    metavar="CONTACT",
    help="Its id, its e-mail address, or as in memberNumber:1234. All but the id are looked up at delivery.",
)
@file_argument
@json_option
@pass_invocation
def enqueue_contact(invocation: Invocation, named: Address, file: BinaryIO, as_json: bool) -> None:
    """Update a contact with the fields of FILE. Null clears a field."""
    allowed = invocation.settings().contact_attributes
    _store_file(invocation, file, as_json, lambda text: contact_update.draft(named, text, allowed=allowed))


@enqueue.command("new-contact")
@file_argument
@json_option
@pass_invocation
def enqueue_new_contact(invocation: Invocation, file: BinaryIO, as_json: bool) -> None:
    """Create the contacts of FILE, where they don't exist yet."""
    settings = invocation.settings()

    def make(text: bytes) -> Draft:
        return contact_create.draft(text, contact_key=settings.contact_key, allowed=settings.contact_attributes)

    _store_file(invocation, file, as_json, make)


@enqueue.command("contact-type")
@click.option("--contact", type=CONTACT_ID, required=True, metavar="GUID", help="The contact's id.")
@click.argument("contact_type_id", metavar="TYPE", type=CONTACT_TYPE)
@json_option
@pass_invocation
def enqueue_contact_type(invocation: Invocation, contact: str, contact_type_id: str, as_json: bool) -> None:
    """Change a contact's type to TYPE."""
    _store(invocation, [(None, contact_type.draft(contact, contact_type_id))], as_json)


@enqueue.command("receipt")
@file_argument
@json_option
@pass_invocation
def enqueue_receipt(invocation: Invocation, file: BinaryIO, as_json: bool) -> None:
    """Send the receipts of FILE."""
    _store_file(invocation, file, as_json, receipt.draft)


def _store_file(invocation: Invocation, file: BinaryIO, as_json: bool, make: Callable[[bytes], Draft]) -> None:
    items, problems = cut(file.read())
    drafts, bad = checked(items, make)
    problems = sorted([*problems, *bad], key=lambda problem: problem.line)
    if problems:
        named = getattr(file, "name", "<stdin>")
        count = f"{len(problems)} bad item{'s' * (len(problems) > 1)} in {named}; nothing was stored"
        raise Failure("InvalidEntry", count, tuple(problems))
    _store(invocation, drafts, as_json)


def checked(items: list[Item], make: Callable[[bytes], Draft]) -> tuple[list[tuple[Item | None, Draft]], list[Problem]]:
    """The drafts of all items, and what is wrong with each that is none. Two items of one key must be the same."""
    drafts: list[tuple[Item | None, Draft]] = []
    problems: list[Problem] = []
    keys: dict[str, tuple[int, bytes]] = {}
    for item in items:
        try:
            draft = make(item.text)
        except InvalidEntry as error:
            problems.append(Problem(item.line, error.reason, error.path, item.element))
            continue
        if draft.key is not None:
            line, body = keys.setdefault(draft.key, (item.line, draft.body))
            if body != draft.body:
                problems.append(
                    Problem(item.line, f"has the key of line {line} with other content", index=item.element)
                )
        drafts.append((item, draft))
    return drafts, problems


def _store(invocation: Invocation, drafts: list[tuple[Item | None, Draft]], as_json: bool) -> None:
    report = EnqueueReport(str(invocation.settings().outbox_path), [])
    try:
        run(_store_all(invocation, drafts, report.entries))
    finally:
        if not as_json:
            _tell(report.entries)
    if as_json:
        tell_json(report)


def _tell(entries: list[EntryLine]) -> None:
    for entry in entries:
        where = f"entry {entry.id}" + (f" (line {entry.line})" if entry.line else "")
        if entry.existing is not None:
            click.echo(f"{where} was there already: {entry.existing}", err=True)
        for warning in entry.warnings:
            click.echo(f"{where}: warning: {warning}", err=True)
    for entry in entries:
        click.echo(entry.id)


def commits(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each commit begins and ends, given the bytes of each entry. What stands in one is stored all or nothing; a
    larger file goes in several, because no transaction may keep other writers waiting for more than 50 ms (DESIGN 3,
    "Fair writers"). Pure."""
    start = size = 0
    for place, each in enumerate(sizes):
        if place > start and (place - start == MOST_TOGETHER or size + each > MAX_BYTES):
            yield start, place
            start, size = place, 0
        size += each
    if sizes:
        yield start, len(sizes)


async def _store_all(invocation: Invocation, drafts: list[tuple[Item | None, Draft]], entries: list[EntryLine]) -> None:
    async with writing(invocation.settings()) as outbox:
        for start, end in commits([len(draft.body) for _, draft in drafts]):
            part = drafts[start:end]
            try:
                stored = await outbox.enqueue([draft for _, draft in part])
            except (KeyConflict, OutboxUnavailable) as error:
                raise _not_stored(error, drafts, start) from error
            entries += [
                EntryLine(row.id, draft.kind, row.state, row.existing, item.line if item else None, draft.warnings)
                for row, (item, draft) in zip(stored, part, strict=True)
            ]


def _not_stored(error: KeyConflict | OutboxUnavailable, drafts: list[tuple[Item | None, Draft]], start: int) -> Failure:
    """The error of one commit, with the line that met it and how far the file was stored before."""
    problems: tuple[Problem, ...] = ()
    message = str(error)
    if isinstance(error, KeyConflict):
        item, draft = drafts[start + error.place]
        message = f"the key of this {draft.kind} was used before with other content, by entry {error.entry_id}"
        if item is not None:
            problems = (Problem(item.line, message, index=item.element),)
            message = "a key was used before with other content"
        message += "; nothing was stored" if start == 0 else ""
    first = drafts[start][0]
    if start and first is not None:
        message = f"{message.removesuffix('; nothing was stored')}; the {start} items before line {first.line} are "
        message += "stored, from there on nothing is"
    return Failure(type(error).__name__, message, problems)
