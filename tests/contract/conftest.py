"""A shop's engineer: the contract, the facts about Engage, and nothing of the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract_shop import Shell
from plain_engage import AGENT, KEY, PlainEngage


@pytest.fixture
def engage() -> Iterator[PlainEngage]:
    with PlainEngage() as engage:
        yield engage


@pytest.fixture
def environment(engage: PlainEngage, tmp_path: Path) -> dict[str, str]:
    return {
        "VOYADO_BASE_URL": engage.url,
        "VOYADO_API_KEY": KEY,
        "VOYADO_USER_AGENT": AGENT,
        "VOYADO_OUTBOX": str(tmp_path / "outbox.db"),
        "VOYADO_CONTACT_KEY": "email",
        "VOYADO_TIMEOUT": "1",
        "VOYADO_RATE": "500",
        "VOYADO_RETRY_DELAYS": "0.05",
        "VOYADO_BREAKER_FAILURES": "100",
    }


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Shell:
    return Shell(environment, tmp_path)
