"""Where a sidecar listens, and what it does when there is nothing to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import pytest
from fakes import FakeClock, rest

from voyado_async.cli import drain
from voyado_async.cli.sidecar import ADDRESS
from voyado_async.clock import SystemClock
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.settings import Settings


@pytest.mark.parametrize(
    ("told", "host", "port"),
    [
        ("9464", "127.0.0.1", 9464),
        (":9464", "127.0.0.1", 9464),
        ("0.0.0.0:9464", "0.0.0.0", 9464),  # what somebody asked for
        ("[::1]:0", "::1", 0),
        ("shop.internal:65535", "shop.internal", 65535),
    ],
)
def test_nobody_else_is_answered_unless_it_is_asked_for(told: str, host: str, port: int) -> None:
    assert ADDRESS.convert(told, None, None) == (host, port)


@pytest.mark.parametrize("told", ["", "shop", "65536", "::1:9464", "[shop]:1", "1.2.3.4:-1", "a:b:1"])
def test_what_is_no_address_is_refused(told: str) -> None:
    with pytest.raises(click.BadParameter):
        ADDRESS.convert(told, None, None)


@pytest.mark.parametrize("known", [True, False])
async def test_once_it_is_known_who_drains_an_idle_sidecar_looks_at_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    clock, tally = FakeClock(), drain.Tally()
    tally.started = known
    monkeypatch.setattr(drain, "CLOCK", clock)
    settings = Settings(base_url="https://shop.voyado.com", api_key="key", outbox=str(tmp_path / "outbox.db"))
    outbox = await open_outbox(settings.outbox, base_url=settings.base_url, clock=SystemClock())
    watch = asyncio.create_task(drain._watch(outbox, settings, tally, None, None))
    try:
        await rest()
        assert (clock.sleeps == 0) is known
        assert not watch.done()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await outbox.close()
