"""An asyncio client for Voyado Engage with an outbox that keeps a sale's data through an outage.

The way of one entry: `client.VoyadoClient` -> `resources` checks a write -> `outbox.sqlite` makes it durable ->
`drain.drainer` claims it -> `api.carrier` asks Engage -> `drain.policy` settles it; what is exhausted leaves by
`fallback.courier`, as XML over SFTP.

A name is imported when it is first used: most calls of the command line look at the outbox and need no aiohttp.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from voyado_async.errors import (
    AccessRefused,
    ClientClosed,
    ConfigurationError,
    EngageConflict,
    EngageError,
    EngageMisconfigured,
    EngageNotFound,
    EngageRefused,
    EngageUnavailable,
    EntryNotFound,
    FileRefused,
    InvalidEntry,
    KeyConflict,
    MultipleMatches,
    OutboxDamaged,
    OutboxInDoubt,
    OutboxMismatch,
    OutboxSealed,
    OutboxUnavailable,
    OutcomeUnknown,
    Remedy,
    TransitionRefused,
    UploadFailed,
    VoyadoError,
)

if TYPE_CHECKING:
    from voyado_async.client import VoyadoClient
    from voyado_async.delivery import Kind
    from voyado_async.events import Event, Listener, log_events
    from voyado_async.models import ContactCreate, ContactUpdate, PromotionAssignment, Receipt
    from voyado_async.outbox.states import State
    from voyado_async.resources.writes import OutboxEntry, Outcome
    from voyado_async.settings import Settings

    __version__: str

__all__ = [
    "AccessRefused",
    "ClientClosed",
    "ConfigurationError",
    "ContactCreate",
    "ContactUpdate",
    "EngageConflict",
    "EngageError",
    "EngageMisconfigured",
    "EngageNotFound",
    "EngageRefused",
    "EngageUnavailable",
    "EntryNotFound",
    "Event",
    "FileRefused",
    "InvalidEntry",
    "KeyConflict",
    "Kind",
    "Listener",
    "MultipleMatches",
    "OutboxDamaged",
    "OutboxEntry",
    "OutboxInDoubt",
    "OutboxMismatch",
    "OutboxSealed",
    "OutboxUnavailable",
    "Outcome",
    "OutcomeUnknown",
    "PromotionAssignment",
    "Receipt",
    "Remedy",
    "Settings",
    "State",
    "TransitionRefused",
    "UploadFailed",
    "VoyadoClient",
    "VoyadoError",
    "log_events",
]

_HOMES = {
    "client": ("VoyadoClient",),
    "delivery": ("Kind",),
    "events": ("Event", "Listener", "log_events"),
    "models": ("ContactCreate", "ContactUpdate", "PromotionAssignment", "Receipt"),
    "outbox.states": ("State",),
    "resources.writes": ("OutboxEntry", "Outcome"),
    "settings": ("Settings",),
}
"""Where the names are that are imported when they are first used."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module(f"{__name__}.version").VERSION
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = found = getattr(import_module(f"{__name__}.{home}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
