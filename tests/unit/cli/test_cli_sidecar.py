"""Where a sidecar listens."""

from __future__ import annotations

import click
import pytest

from voyado_async.cli.sidecar import ADDRESS


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
