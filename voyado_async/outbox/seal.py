"""Sealing: what stands in the outbox instead of contents and addresses where a key is given (`VOYADO_SEAL_KEY`).

The store asks here at its border and nobody else knows. What is sealed opens with one data key, which is as old as the
seal, is random, and stands in the database only wrapped by the keys of the configuration: to change those is to wrap
it once more. A content is sealed with AES-GCM under a nonce of its own, bound to the number of its entry, so that none
can be put in the place of another. What has to be found again by equality (addresses, keys of purged entries) is a
hash keyed by the data key: who does not have that can't try guesses.

Names, states, times, the keys of entries and the ids of contacts stay as they are, and so do files for Engage.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from voyado_async.delivery import Draft
from voyado_async.errors import OutboxDamaged, OutboxSealed

SEALED = b"\x01"
"""What is sealed begins with it; a content is JSON and never does. Behind it stand the nonce and the ciphertext."""

KEY_SIZE = 32
NONCE_SIZE = 12
_START = len(SEALED) + NONCE_SIZE

PLAIN_LANES = ("contact:", "assignment:", "voucher:")
"""Lanes that are named by an id of Engage's, which tells nothing of a person without Engage."""

HIDDEN = "sealed-"
"""Lanes and addresses that are named by a hash begin with it. No kind of address does, so none is hashed twice."""

_WRAPPED = b"voyado-async data key"


class Seal:
    """Nothing is sealed. What another process has sealed is told, and never taken for a content."""

    on: ClassVar[bool] = False
    suffix: ClassVar[str] = ""
    """What the names of files on the shelf end with."""
    hides_addresses: bool = False

    def bodies(self, rows: Sequence[tuple[int, bytes]]) -> Sequence[tuple[int, bytes]]:
        """Contents with the numbers of their entries, as they are stored."""
        return rows

    def content(self, entry_id: int, stored: bytes) -> bytes:
        """The content of an entry, from what is stored; empty where that is damaged. Raises OutboxSealed."""
        if stored[:1] == SEALED:
            raise OutboxSealed(
                f"entry {entry_id} is sealed and this process was started without a key: set VOYADO_SEAL_KEY"
            )
        return stored

    def drafts(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """With the lanes that the database knows."""
        return drafts

    def lane(self, key: str) -> str:
        """A lane, or the address of a contact, as the database knows it."""
        return key

    def key_hashes(self, kind: str, key: str) -> tuple[str, ...]:
        """What is left of a key when its entry is purged: unique per kind, and it tells nothing of a person. The first
        is written; the others may be there from before the seal."""
        return (_hash(f"{kind}\0{key}".encode()),)

    def content_hashes(self, body: bytes) -> tuple[str, ...]:
        """The same of a content."""
        return (_hash(body),)

    def name(self, text: str) -> str:
        """A name that tells nothing of what it stands for."""
        return _hash(text.encode())

    def answer(self, name: str, text: bytes) -> bytes:
        """What goes into the file of that name on the shelf."""
        return text

    def opened_answer(self, name: str, stored: bytes) -> bytes | None:
        """What is in the file of that name; None where it is of no use."""
        return stored


NOT_SEALED = Seal()


class Sealed(Seal):
    """What the data key can do. The threads of both connections use it at once: it keeps nothing between two calls."""

    on = True
    suffix = ".sealed"

    def __init__(self, data_key: bytes, *, hides_addresses: bool) -> None:
        self._bodies = _Cipher(_derived(data_key, b"bodies"))
        self._answers = _Cipher(_derived(data_key, b"answers"))
        self._hash_key = _derived(data_key, b"hashes")
        self.hides_addresses = hides_addresses

    def bodies(self, rows: Sequence[tuple[int, bytes]]) -> Sequence[tuple[int, bytes]]:
        return [(entry_id, self._bodies.seal(body, _of_entry(entry_id))) for entry_id, body in rows]

    def content(self, entry_id: int, stored: bytes) -> bytes:
        if stored[:1] != SEALED:
            return stored  # written before there was a key
        content = self._bodies.open(stored, _of_entry(entry_id))
        return b"" if content is None else content

    def drafts(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        if not self.hides_addresses:
            return drafts
        return [msgspec.structs.replace(draft, lane=self.lane(draft.lane)) for draft in drafts]

    def lane(self, key: str) -> str:
        if not self.hides_addresses or key.startswith((*PLAIN_LANES, HIDDEN)):
            return key
        return f"{HIDDEN}{key.partition(':')[0]}:{self.name(key)}"

    def key_hashes(self, kind: str, key: str) -> tuple[str, ...]:
        return (self.name(f"{kind}\0{key}"), *super().key_hashes(kind, key))

    def content_hashes(self, body: bytes) -> tuple[str, ...]:
        return (_hash(body, self._hash_key), *super().content_hashes(body))

    def name(self, text: str) -> str:
        return _hash(text.encode(), self._hash_key)

    def answer(self, name: str, text: bytes) -> bytes:
        return self._answers.seal(text, name.encode())

    def opened_answer(self, name: str, stored: bytes) -> bytes | None:
        return self._answers.open(stored, name.encode())


class Envelope(msgspec.Struct, frozen=True):
    """What the database says of its seal."""

    hides_addresses: bool
    """It was made with a key: no address ever stood in it. One that was made without keeps them, since processes
    without a key may be writing to it at that moment."""
    wrapped: tuple[bytes, ...]
    """The data key, wrapped by each key of a configuration, newest first."""

    def __repr__(self) -> str:
        return "<Envelope>"


def opened(fact: str | None, keys: Sequence[bytes], path: str) -> Seal:
    """The seal of an outbox, from its fact and the keys of the configuration.

    Raises OutboxSealed where it is sealed and none of the keys opens it. Nothing is sealed where there is no fact yet.
    """
    if fact is None:
        return NOT_SEALED
    envelope = _envelope(fact, path)
    return Sealed(_unwrapped(envelope, keys, path)[0], hides_addresses=envelope.hides_addresses)


def renewed(fact: str | None, keys: Sequence[bytes], path: str, *, new: bool) -> str | None:
    """The fact as it should stand in the outbox, which is `new` or not: begun where a key is given for the first time,
    and wrapped by the keys of the configuration. Raises OutboxSealed like `opened`.

    Each process says so when it opens the outbox, and they may have different keys for a while. Where the newest of
    this process's keys comes first, the ones behind it that it does not have are out of use; one that stands before it
    belongs to a configuration that is newer than this one.
    """
    if fact is None:
        if not keys:
            return None
        data_key = os.urandom(KEY_SIZE)
        envelope = Envelope(new, tuple(_wrapped(data_key, key) for key in keys))
    else:
        envelope = _envelope(fact, path)
        data_key, place = _unwrapped(envelope, keys, path)
        mine = [_found(envelope, key) or _wrapped(data_key, key) for key in keys]
        newer = envelope.wrapped[:place]
        envelope = msgspec.structs.replace(envelope, wrapped=(*newer, *mine))
    return msgspec.json.encode(envelope).decode()


def _envelope(fact: str, path: str) -> Envelope:
    try:
        return msgspec.json.decode(fact, type=Envelope)
    except msgspec.MsgspecError as error:
        raise OutboxDamaged(f"{path} does not say how it is sealed ({error}); it was not touched") from None


def _unwrapped(envelope: Envelope, keys: Sequence[bytes], path: str) -> tuple[bytes, int]:
    """The data key, and the first place at which one of the keys opens it."""
    for place, wrapped in enumerate(envelope.wrapped):
        for key in keys:
            data_key = _Cipher(key).open(wrapped, _WRAPPED)
            if data_key is not None:
                return data_key, place
    if not keys:
        raise OutboxSealed(f"{path} is sealed and no key is given; it was not touched. Set VOYADO_SEAL_KEY")
    told = "the key of VOYADO_SEAL_KEY does" if len(keys) == 1 else f"the {len(keys)} keys of VOYADO_SEAL_KEY do"
    raise OutboxSealed(f"{path} is sealed with another key, and {told} not open it; it was not touched")


def _found(envelope: Envelope, key: bytes) -> bytes | None:
    """The data key as that key has wrapped it, where it has."""
    cipher = _Cipher(key)
    return next((wrapped for wrapped in envelope.wrapped if cipher.open(wrapped, _WRAPPED) is not None), None)


def _wrapped(data_key: bytes, key: bytes) -> bytes:
    return _Cipher(key).seal(data_key, _WRAPPED)


# primitives -----------------------------------------------------------------------------------------------------------


class _Cipher:
    """AES-GCM under one key. What it seals is bound to a place, and opens there only."""

    def __init__(self, key: bytes) -> None:
        # Here: 25 ms that only a sealed outbox needs.
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(key)
        self._refused = (InvalidTag, ValueError)
        """What it raises for what is not its own, or too short to be anybody's."""

    def seal(self, text: bytes, place: bytes) -> bytes:
        # A random nonce of 96 bits is good for 2**32 contents under one key: more than an outbox ever sees.
        nonce = os.urandom(NONCE_SIZE)
        return SEALED + nonce + self._aead.encrypt(nonce, text, place)

    def open(self, stored: bytes, place: bytes) -> bytes | None:
        """None where it is not what this key has sealed for that place."""
        if stored[:1] != SEALED:
            return None
        try:
            return self._aead.decrypt(stored[1:_START], stored[_START:], place)
        except self._refused:
            return None


def _of_entry(entry_id: int) -> bytes:
    return entry_id.to_bytes(8, "big")


def _derived(data_key: bytes, purpose: bytes) -> bytes:
    """A key for one purpose (keyed BLAKE2 is a pseudo-random function, RFC 7693)."""
    return hashlib.blake2b(purpose, key=data_key, digest_size=KEY_SIZE).digest()


def _hash(text: bytes, key: bytes = b"") -> str:
    return hashlib.blake2b(text, key=key, digest_size=16).hexdigest()
