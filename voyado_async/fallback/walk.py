"""The courier's steps as the drainer takes them beside its rounds: what changed is told as events."""

from __future__ import annotations

from voyado_async.delivery import BulkCarrier, BulkTurn
from voyado_async.events import FileChanged, Listeners, Problems
from voyado_async.fallback.courier import Courier
from voyado_async.fallback.tenant import Tenant
from voyado_async.outbox.records import INCOMPLETE, FileRecord
from voyado_async.outbox.states import OPEN_FILES
from voyado_async.outbox.store import Outbox
from voyado_async.settings import Settings


class SecondRoadWalk:
    """The courier that the settings ask for, with its news told as events."""

    def __init__(
        self, outbox: Outbox, settings: Settings, listeners: Listeners, tenant: Tenant, bulk: BulkCarrier
    ) -> None:
        self._outbox = outbox
        self._courier = Courier.of(outbox, settings, tenant, bulk)
        self._listeners = listeners
        self._told: dict[str, tuple[str, str | None]] | None = None
        self._problems = Problems(listeners.emit)

    async def step(self, now: int, healthy: bool, turn: BulkTurn) -> int:
        """One step of the courier; returns when the next one is due (ms)."""
        if self._told is None:  # what came to its end before is no news
            files = await self._outbox.files(open_only=False)
            self._told = {file.name: _news(file) for file in files if file.state not in OPEN_FILES}
        report = await self._courier.step(now, api_healthy=healthy, turn=turn)
        self._problems.tell("fallback", report.problem)
        if report.moved or report.problem:
            for file in await self._outbox.files(open_only=False):
                state, problem = _news(file)
                if self._told.get(file.name) != (state, problem):
                    self._told[file.name] = (state, problem)
                    self._listeners.emit(
                        FileChanged(
                            file=file.name, family=file.family, state=state, entries=file.entries, problem=problem
                        )
                    )
        return report.next_due


def _news(file: FileRecord) -> tuple[str, str | None]:
    return file.state, None if file.problem == INCOMPLETE else file.problem
