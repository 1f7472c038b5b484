"""The outbox in one SQLite file: its parts put together, and how it is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from voyado_async.clock import Clock
from voyado_async.errors import ConfigurationError
from voyado_async.outbox.access import OWNER, Access
from voyado_async.outbox.glance import readable_schema
from voyado_async.outbox.sqlite_facts import FactsPart
from voyado_async.outbox.sqlite_forgetting import ForgettingPart
from voyado_async.outbox.sqlite_looking import LookingPart
from voyado_async.outbox.sqlite_operator import OperatorPart
from voyado_async.outbox.sqlite_purging import PurgingPart
from voyado_async.outbox.sqlite_sending import SendingPart


class SqliteOutbox(SendingPart, OperatorPart, ForgettingPart, PurgingPart, LookingPart, FactsPart):
    """See `store.Outbox` and `operator_store.OperatorOutbox` for the promises."""


async def open_outbox(
    path: str | Path,
    *,
    base_url: str | None,
    clock: Clock,
    read_only: bool = False,
    seal_keys: Sequence[bytes] = (),
    access: Access = OWNER,
) -> SqliteOutbox:
    """Open the outbox at that absolute path, and make it where there is none.

    The first of the `seal_keys` seals what is written, each of them opens; a sealed outbox needs one that does
    (OutboxSealed). Read-only it must be there and is taken as it is, whichever Engage it belongs to: nothing is made,
    migrated or waited for, and every write raises ClientClosed.
    """
    if read_only:
        await asyncio.to_thread(readable_schema, str(path))
    else:
        access.open_outbox(str(path))
    try:
        outbox = SqliteOutbox(str(path), clock, base_url, read_only=read_only, seal_keys=seal_keys, access=access)
    except OSError as error:
        raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be used ({error.strerror})") from error
    return await outbox.open()
