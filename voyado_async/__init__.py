"""An asyncio client for Voyado Engage with an outbox that keeps a sale's data through an outage.

The way of one entry: `client.VoyadoClient` -> `resources` checks a write -> `outbox.sqlite` makes it durable ->
`drain.drainer` claims it -> `api.carrier` asks Engage -> `drain.policy` settles it; what is exhausted leaves by
`fallback.courier`, as XML over SFTP.
"""

from voyado_async.client import VoyadoClient
from voyado_async.delivery import Kind
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
    OutboxUnavailable,
    OutcomeUnknown,
    Remedy,
    TransitionRefused,
    UploadFailed,
    VoyadoError,
)
from voyado_async.events import Event, Listener, log_events
from voyado_async.models import (
    ContactCreate,
    ContactUpdate,
    PromotionAssignment,
    Receipt,
)
from voyado_async.outbox.states import State
from voyado_async.resources.writes import OutboxEntry, Outcome
from voyado_async.settings import Settings

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
