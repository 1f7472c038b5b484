"""Fixtures of the second road's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from file_servers import SSHD, FileServer, openssh_server, own_server


@pytest.fixture(params=["own", pytest.param("openssh", marks=pytest.mark.sshd)])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileServer]:
    """Both servers, one after the other."""
    if request.param == "own":
        async with own_server(tmp_path) as started:
            yield started
        return
    if not SSHD.exists():
        pytest.skip(f"{SSHD} is not installed: the round trips with OpenSSH's sshd are not run")
    async with openssh_server(tmp_path) as started:
        yield started


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[FileServer]:
    """asyncssh's server alone."""
    async with own_server(tmp_path) as started:
        yield started
