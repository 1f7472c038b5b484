"""A client and a fake Engage in one process, for both API versions: what a shop calls, checked by who answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from voyado_async import Settings, VoyadoClient
from voyado_async.drain import drainer, policy, rounds
from voyado_async.sandbox import Sandbox, SandboxSettings


@pytest.fixture(params=[3, 2], ids=["v3", "v2"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def tenant() -> dict[str, Any]:
    """What is special about this Engage; overridden by tests that need another one."""
    return {}


@pytest.fixture
async def sandbox(tenant: dict[str, Any]) -> AsyncIterator[Sandbox]:
    plain = {"import_period": 3600, "receipt_period": 3600, "hard_rate": 0, "custom_attributes": ("shoeSize",)}
    async with Sandbox(SandboxSettings(**plain | tenant)) as running:
        yield running


@pytest.fixture
def settings(sandbox: Sandbox, version: int, tmp_path: Path) -> Settings:
    return Settings(
        base_url=sandbox.base_url,
        api_key=sandbox.api_key,
        api_version=version,
        outbox=str(tmp_path / "outbox.db"),
        contact_key="email",
        retry_delays=(0.05,),
        read_rate=1000,
        rate=1000,
        breaker_failures=100,
        cache_ttl=0,
    )


@pytest.fixture
async def voyado(settings: Settings) -> AsyncIterator[VoyadoClient]:
    """It drains as well: a durable write arrives."""
    async with VoyadoClient(settings, listeners=[]) as client:
        yield client


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an unknown outcome a lane is free at once: what the fake Engage does, it has done by then."""
    for module in (drainer, policy, rounds):
        monkeypatch.setattr(module, "REST", 0)
