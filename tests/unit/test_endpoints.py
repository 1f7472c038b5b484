"""The README's table of endpoints, held to the code: every call of Engage, who makes it, how, and what proves it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import NamedTuple, get_type_hints

import pytest

from voyado_async import OutboxEntry, VoyadoClient
from voyado_async.api.routes import routes_of
from voyado_async.kinds.call import Operation

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Every endpoint")[2].partition("\n## ")[0]
CALLED, _, NOT_CALLED = SECTION.partition("Not called:")
RESOURCES = get_type_hints(VoyadoClient)
NOUNS = ("contacts", "promotions", "receipts", "transactions", "vouchers")

# What the pages about Engage name (ref 3 to 5), as v3 has it, or v2 where v3 has none.
REFERENCE = [
    "GET /promotion-assignments",
    "POST /promotion-assignments",
    "POST /promotion-assignments/{id}/redeem",
    "POST /promotions/codes/{id}/redeem",
    "POST /promotions/multichannels",
    "GET /promotions/multichannels",
    "GET /promotions/multichannels/{id}",
    "PUT /promotions/multichannels/{id}",
    "GET /promotions/multichannels/validity",
    "GET /promotions/multichannels/{id}/validity",
    "PUT /promotions/multichannels/{id}/validity",
    "DELETE /promotions/multichannels",
    "DELETE /promotions/multichannels/{id}",
    "GET /reward-vouchers",
    "GET /reward-vouchers/available",
    "GET /reward-vouchers/redeemed",
    "POST /reward-vouchers/{id}/redeem",
    "POST /reward-vouchers/{id}/reactivate",
    "GET /contacts/{contactId}/posoffers/all",
    "GET /contacts/{contactId}/posoffers/available",
    "POST /contacts/{contactId}/posoffers/{id}/redeem",
    "GET /contacts/id",
    "GET /contacts/{contactType}/bykey",
    "GET /contacts/{contactType}/byexternalid/{externalId}",
    "GET /contacts/{contactId}",
    "POST /contacts",
    "PATCH /contacts/{contactId}",
    "DELETE /contacts/{contactId}",
    "POST /contacts/{contactId}/preferences/acceptsEmail",
    "POST /contacts/{contactId}/updateContactType",
    "GET /consents",
    "GET /contacts/changes",
    "POST /contacts/bulk",
    "PATCH /contacts/bulk",
    "GET /contacts/bulk/status",
    "POST /receipts",
    "GET /transactions",
    "POST /orders",
]


class Row(NamedTuple):
    v3: str
    v2: str
    methods: str
    sent: str
    repeated: str
    test: str


LINES = [line.strip("|") for line in CALLED.splitlines() if line.startswith("| `")]
ROWS = [Row(*(cell.strip() for cell in line.split(" | "))) for line in LINES]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def made_by(operation: Operation, version: int) -> list[str]:
    route = routes_of(version)[operation]
    paths = [*route.paths, *([route.special[2]] if route.special else [])]
    return [f"{route.method} {path.removeprefix(f'/api/v{version}')}" for path in paths]


def methods_of(noun: str) -> dict[str, object]:
    return {
        f"{noun}.{name}": method
        for kind in RESOURCES[noun].__mro__
        for name, method in vars(kind).items()
        if not name.startswith("_") and inspect.isfunction(method)
    }


METHODS = {name: method for noun in NOUNS for name, method in methods_of(noun).items()}


def test_every_operation_stands_in_the_table_as_both_versions_make_it() -> None:
    told = [(quoted(row.v3), quoted(row.v3) if row.v2 == "the same" else quoted(row.v2)) for row in ROWS]
    made = [(made_by(operation, 3), made_by(operation, 2)) for operation in Operation]
    assert sorted(told) == sorted(made)


def test_every_method_of_a_shop_stands_in_the_table_once_and_nothing_else_does() -> None:
    assert sorted(name for row in ROWS for name in quoted(row.methods)) == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_where_its_facts_are_from_and_what_it_raises(name: str) -> None:
    told = inspect.getdoc(METHODS[name]) or ""
    assert "ref " in told
    assert re.search(r"Raises\s(as `|[A-Z])", told)


def test_the_typing_probe_makes_every_call() -> None:
    probe = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests/typing").glob("*.py"))
    calls = [*METHODS, *(name for name in methods_of("outbox") if name != "outbox.status_of"), "batch"]
    assert [name for name in calls if f"voyado.{name}(" not in probe] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.v3)
def test_what_is_called_durable_is(row: Row) -> None:
    assert row.sent in ("durable", "direct")
    for name in quoted(row.methods):
        durable = get_type_hints(METHODS[name])["return"] is OutboxEntry  # type: ignore[arg-type] # a function
        assert durable == (row.sent == "durable"), name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.v3)
def test_the_test_that_proves_it_is_there_and_makes_that_call(row: Row) -> None:
    (named,) = quoted(row.test)
    module, _, test = named.partition("::")
    (file,) = (ROOT / "tests").rglob(f"{module}.py")
    found = re.search(rf"^(?:async )?def {test}\(.*?(?=^(?:async def|def|@|# )|\Z)", file.read_text(), re.M | re.S)
    assert found is not None, named
    if file.parent.name == "client":
        assert any(f"{name}" in found[0] for name in calls_of(row, file.read_text())), named


def calls_of(row: Row, source: str) -> list[str]:
    """How the test can write the call, also by a name of its own for it (``find = voyado.contacts.find``)."""
    return [part for name in quoted(row.methods) for part in (f".{name}", name.partition(".")[2] + "(")]


def test_every_endpoint_of_the_reference_is_called_or_said_not_to_be() -> None:
    told = {path for row in ROWS for path in quoted(row.v3)} | set(quoted(NOT_CALLED))
    assert [path for path in REFERENCE if path not in told] == []
    assert (
        sorted(told - set(REFERENCE) - {".../acceptsSms", ".../acceptsPostal", "contacts.find", "contacts.update"})
        == []
    )
