"""The world of the drainer's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from drain_world import World
from fakes import inline_database, rest


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The books must balance after each test, whatever happened in it."""
    with inline_database() as made:
        world = World(tmp_path, made)
        world.outbox = await world.open()
        yield world
        world.fill_disk(full=False)
        await world.stop()
        await rest()
        assert [finding for finding in await world.outbox.verify() if not finding.ok] == []
        await world.outbox.close()
