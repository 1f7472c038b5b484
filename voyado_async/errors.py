"""Everything that this package raises, cut by what the caller can do about it.

    VoyadoError
      ConfigurationError        fix the configuration (exit 2 on the command line)
        OutboxMismatch          fix the configuration: this outbox belongs to another Engage, or to newer code
        OutboxDamaged           ask a person: the outbox file is not a sound database; it was not touched
        OutboxSealed            fix the configuration: the outbox is sealed, and no key that was given opens it
      InvalidEntry              fix the call: the content is wrong; nothing was stored or sent
      KeyConflict               fix the call: the key was used before with other content; nothing was stored
      EntryNotFound             fix the call: there is no such entry
      TransitionRefused         fix the call: the entry is not in a state that allows this
      OutboxUnavailable         wait: disk full or read-only, or another process holds the turn; nothing was stored
        OutboxInDoubt           wait: the disk failed at the last moment; what a crash would leave is not known
      ClientClosed              fix the call: the client is closed, or the process was forked after it was opened
      EngageError               wait: a direct call failed
        EngageUnavailable       wait: no usable answer, and nothing is known from before
          OutcomeUnknown        wait: a direct change may have taken effect; look before calling again
        EngageRefused           fix the call: Engage answered no, with `status` and `code`
          EngageNotFound        fix the call: 404, what it names does not exist
          EngageConflict        fix the call: 409, it does not fit what Engage has
            MultipleMatches     ask a person: several contacts have this attribute; `contact_ids` are theirs
          AccessRefused         fix the configuration: 401 or 403, the API key may not do this
          EngageMisconfigured   ask a person: this Engage itself is set up wrongly (`InvalidSystemConfiguration`)
      FileRefused               ask a person: an XML file was not written or not accepted by its own check
      UploadFailed              wait: the SFTP server could not be used; `reason` says why

Each has that advice as its `remedy`, so that a shop can act on an error that it does not know by name. No message holds
a payload, a key of the API, a password or a person's data.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Any, ClassVar


class Remedy(StrEnum):
    """What the caller of something that failed can do."""

    CONFIGURATION = "fix the configuration"
    CALL = "fix the call"
    WAIT = "wait"
    PERSON = "ask a person"


class VoyadoError(Exception):
    """The root of this package's errors. `remedy` says what the caller can do. They can be copied and pickled, so that
    one from a worker of a shop's pool arrives there whole.
    """

    remedy: ClassVar[Remedy] = Remedy.PERSON

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[VoyadoError], args: tuple[object, ...], fields: dict[str, object]) -> VoyadoError:
    """The same error once more. Its own constructor takes other arguments than its message."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class ConfigurationError(VoyadoError):
    """A setting is unknown, missing or wrong; the message names it."""

    remedy: ClassVar = Remedy.CONFIGURATION


class OutboxMismatch(ConfigurationError):
    """The outbox file belongs to another Engage or needs newer code. The file was not touched."""


class OutboxDamaged(ConfigurationError):
    """The outbox file is not a sound database. The file was not touched."""

    remedy: ClassVar = Remedy.PERSON


class OutboxSealed(ConfigurationError):
    """What stands in the outbox is sealed, and no key of this process opens it. The file was not touched."""


class InvalidEntry(VoyadoError):
    """The content of a call is wrong. `path` is the field (for example ``items[2].quantity``). Nothing was stored
    or sent."""

    remedy: ClassVar = Remedy.CALL

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)


class KeyConflict(VoyadoError):
    """The key was used before with other content. `entry_id` is the entry that holds it. Nothing was stored.

    `place` tells which of the writes of a batch it was, counted from 0.
    """

    remedy: ClassVar = Remedy.CALL

    def __init__(self, kind: str, entry_id: int, place: int = 0) -> None:
        self.kind = kind
        self.entry_id = entry_id
        self.place = place
        super().__init__(
            f"the key of this {kind} was used before with other content, by entry {entry_id}; nothing was stored"
        )


class EntryNotFound(VoyadoError):
    """There is no entry of this id."""

    remedy: ClassVar = Remedy.CALL


class TransitionRefused(VoyadoError):
    """The entry is not in a state that allows what was asked."""

    remedy: ClassVar = Remedy.CALL


class OutboxUnavailable(VoyadoError):
    """The outbox cannot be written now. Nothing of the call was stored; calling again later is safe."""

    remedy: ClassVar = Remedy.WAIT


class OutboxInDoubt(OutboxUnavailable):
    """The disk failed when the write was as good as done, and takes nothing now. It is not stored; but if every process
    that uses the outbox ended, or the power went, before the next write that holds, it might be there afterwards.

    Write it again later under the same key (receipts and redeems have one by nature): it is stored once.
    """


class ClientClosed(VoyadoError):
    """The client is closed, or this process was forked after the client was opened."""

    remedy: ClassVar = Remedy.CALL


class EngageError(VoyadoError):
    """A direct call to Engage failed."""

    remedy: ClassVar = Remedy.WAIT


class EngageUnavailable(EngageError):
    """Engage gave no answer in time, and nothing is known from before. It does not mean 'does not exist'."""


class OutcomeUnknown(EngageUnavailable):
    """A direct change got no usable answer and may have taken effect. Ask for what it changes before calling again."""


class EngageRefused(EngageError):
    """Engage answered and refused. `status` is the HTTP status, `code` Engage's own word where one was found."""

    remedy: ClassVar = Remedy.CALL

    def __init__(self, what: str, status: int, code: str | None) -> None:
        self.status = status
        self.code = code
        super().__init__(f"{what}: Engage answered {status}{f' {code}' if code else ''}")


class EngageNotFound(EngageRefused):
    """404: what the call names does not exist; `code` says what that is, for example ``PromotionNotFound``."""


class EngageConflict(EngageRefused):
    """409: the call does not fit what Engage has, for example ``PromotionExpired``."""


class MultipleMatches(EngageConflict):
    """Several contacts have the attribute that a contact was named by. Somebody has to say which one is meant."""

    remedy: ClassVar = Remedy.PERSON

    def __init__(self, what: str, status: int, code: str | None, contact_ids: tuple[str, ...] = ()) -> None:
        super().__init__(what, status, code)
        self.contact_ids = contact_ids
        """The ids of all of them, as far as Engage told them (ref 1.6)."""


class AccessRefused(EngageRefused):
    """401 or 403: the API key is wrong, or may not do this, or not from this address (ref 1.3)."""

    remedy: ClassVar = Remedy.CONFIGURATION


class EngageMisconfigured(EngageRefused):
    """Engage says that its own set-up is wrong (ref 4.1): no call mends that, but the tenant's Voyado team can."""

    remedy: ClassVar = Remedy.PERSON


def refusal(what: str, status: int, code: str | None, contact_ids: tuple[str, ...] = ()) -> EngageRefused:
    """The error of a refused direct call, by its status; the code refines."""
    if code == "MultipleMatches":
        return MultipleMatches(what, status, code, contact_ids)
    if code == "InvalidSystemConfiguration":
        return EngageMisconfigured(what, status, code)
    by_status: dict[int, type[EngageRefused]] = {
        HTTPStatus.UNAUTHORIZED: AccessRefused,
        HTTPStatus.FORBIDDEN: AccessRefused,
        HTTPStatus.NOT_FOUND: EngageNotFound,
        HTTPStatus.CONFLICT: EngageConflict,
    }
    return by_status.get(status, EngageRefused)(what, status, code)


class FileRefused(VoyadoError):
    """An XML file was not written, or its own check refused it."""


class UploadFailed(VoyadoError):
    """The SFTP server could not be used. `reason` is one word for status and listings, the message the whole story."""

    remedy: ClassVar = Remedy.WAIT

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
