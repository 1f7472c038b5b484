"""Engage's own journal of the requests that it had, over the sandbox's remote control."""

from __future__ import annotations

from typing import Any

import aiohttp

from voyado_async.cli.demo_engage import Engage


async def arrivals(engage: Engage) -> list[dict[str, Any]]:
    """Every request, oldest first. `began` and `ended` are CLOCK_MONOTONIC seconds."""
    async with aiohttp.ClientSession() as session, session.get(engage.info.control_url + "/journal") as answer:
        rows: list[dict[str, Any]] = (await answer.json())["arrivals"]
        return rows
