"""What a sandbox can be told. Nothing is read from the environment or from anybody's SSH files."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _secret() -> str:
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """One tenant of the fake Engage. Ports of 0 are free ones; durations are seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    sftp_port: int = 0
    control_port: int = 0
    folder: Path | None = None
    """Root of the SFTP server. None: a temporary one that is removed at the end."""
    api_key: str = field(default_factory=_secret, repr=False)
    api_key_header: str = "apikey"
    sftp_username: str = "sandbox"
    sftp_password: str = field(default_factory=_secret, repr=False)
    sftp_authorized_keys: tuple[str, ...] = ()
    """Public keys (OpenSSH lines) that may log in, besides the key that the sandbox generates itself."""
    contact_key: str = "email"
    """The tenant's key attribute: email, externalId, memberNumber, mobilePhone or socialSecurityNumber (ref 4.3)."""
    custom_key: str | None = "externalId"
    """What `customKey` looks up: memberNumber or externalId. None: 500 InvalidSystemConfiguration (ref 4.1)."""
    contact_types: tuple[str, ...] = ("Member", "Contact")
    custom_attributes: tuple[str, ...] = ()
    """The tenant's own attribute names. Any other name is silently ignored by the API (ref 4.4)."""
    stores: tuple[str, ...] | None = None
    """The known stores; a receipt of another store is ignored. None: every store is known."""
    insert_new_contacts: bool = True
    """The tenant's InsertNewContacts: may a contact file create contacts (ref 6.4)."""
    import_period: float = 5.0
    """Engage: usually an hour (ref 6.1)."""
    receipt_period: float = 0.2
    """How often posted receipts and bulk batches are stored. Engage: 15 minutes (ref 5.1)."""
    hard_rate: int = 200
    """Requests in any second of one key before 429 (ref 1.4). 0: no limit."""
    error_shape: str = "errorCode"
    """The property of an error body that holds the code; `text`: a plain body with the code in a sentence (ref 1.6)."""
    contact_shape: str = "nested"
    """`nested` (id, attributes, preferences ...) or `flat` (ref 4.2 leaves it open)."""
    random_seed: int = 0
    """For faults with a probability."""
    now: Callable[[], datetime] = field(default=_utc_now, repr=False)
    """The wall clock of this Engage; must answer aware times."""

    def __post_init__(self) -> None:
        keys = ("email", "externalId", "memberNumber", "mobilePhone", "socialSecurityNumber")
        if self.contact_key not in keys:
            raise ValueError(f"contact_key: one of {', '.join(keys)}")
        if self.custom_key not in ("externalId", "memberNumber", None):
            raise ValueError("custom_key: externalId, memberNumber or none")
        if self.contact_shape not in ("nested", "flat"):
            raise ValueError("contact_shape: nested or flat")
        if self.import_period <= 0 or self.receipt_period <= 0:
            raise ValueError("import_period and receipt_period: more than 0")
