"""Everything that this package raises, cut by what the caller can do about it.

    VoyadoError
      ConfigurationError        fix the settings (exit 2 on the command line)
        OutboxMismatch          this outbox file belongs to another Engage, or to newer code; it was not touched
        OutboxDamaged           the outbox file is not a sound database; it was not touched
      InvalidEntry              fix the call: the content is wrong; nothing was stored
      KeyConflict               fix the call: the key was used before with other content; nothing was stored
      EntryNotFound             fix the call: there is no such entry
      TransitionRefused         the entry is not in a state that allows this
      OutboxUnavailable         wait: disk full or read-only, or another process holds the turn; nothing was stored
      ClientClosed              fix the call: the client is closed, or the process was forked after it was opened
      EngageError               a direct call (a read) failed
        EngageUnavailable       wait: no answer, and nothing is known from before
        EngageRefused           fix the call: Engage answered no, with `status` and `code`
      FileRefused               an XML file was not written or not accepted by its own check
      UploadFailed              wait: the SFTP server could not be used; `reason` says why

No message holds a payload, a key of the API, a password or a person's data.
"""

from __future__ import annotations


class VoyadoError(Exception):
    """The root of this package's errors."""


class ConfigurationError(VoyadoError):
    """A setting is unknown, missing or wrong; the message names it."""


class OutboxMismatch(ConfigurationError):
    """The outbox file belongs to another Engage or needs newer code. The file was not touched."""


class OutboxDamaged(ConfigurationError):
    """The outbox file is not a sound database. The file was not touched."""


class InvalidEntry(VoyadoError):
    """The content of a write is wrong. `path` is the field (for example ``items[2].quantity``). Nothing was stored."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)


class KeyConflict(VoyadoError):
    """The key was used before with other content. `entry_id` is the entry that holds it. Nothing was stored.

    `place` tells which of the writes of a batch it was, counted from 0.
    """

    def __init__(self, kind: str, entry_id: int, place: int = 0) -> None:
        self.kind = kind
        self.entry_id = entry_id
        self.place = place
        super().__init__(
            f"the key of this {kind} was used before with other content, by entry {entry_id}; nothing was stored"
        )


class EntryNotFound(VoyadoError):
    """There is no entry of this id."""


class TransitionRefused(VoyadoError):
    """The entry is not in a state that allows what was asked."""


class OutboxUnavailable(VoyadoError):
    """The outbox cannot be written now. Nothing of the call was stored; calling again later is safe."""


class ClientClosed(VoyadoError):
    """The client is closed, or this process was forked after the client was opened."""


class EngageError(VoyadoError):
    """A direct call to Engage failed."""


class EngageUnavailable(EngageError):
    """Engage gave no answer in time, and nothing is known from before. It does not mean 'does not exist'."""


class EngageRefused(EngageError):
    """Engage answered and refused. `status` is the HTTP status, `code` Engage's own word where one was found."""

    def __init__(self, what: str, status: int, code: str | None) -> None:
        self.status = status
        self.code = code
        super().__init__(f"{what}: Engage answered {status}{f' {code}' if code else ''}")


class FileRefused(VoyadoError):
    """An XML file was not written, or its own check refused it."""


class UploadFailed(VoyadoError):
    """The SFTP server could not be used. `reason` is one word for status and listings, the message the whole story."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
