"""Answers of Engage that a restart and other processes still know: files beside the outbox, one per question.

Nothing that matters depends on them, so nothing waits for them: no lock, no fsync, no turn of the writers'. A file is
written aside and renamed, so that a reader meets a whole one; what is damaged, made by other code or unreadable is no
answer. Names are hashes and bound to the base URL: they tell nothing of a person, and answers of another Engage are
never found. In a sealed outbox the answers are sealed too, and what lies there from before goes with the next sweep.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from voyado_async.outbox.access import like
from voyado_async.outbox.records import Mark
from voyado_async.outbox.seal import NOT_SEALED, Seal

MOST_FILES = 10_000
MOST_BYTES = 64 * 1024 * 1024
"""What the folder holds at most, whatever the number of contacts; what was written longest ago goes first."""

LONGEST_ANSWER = 256 * 1024
"""Bytes of an answer that is kept."""

SWEEP_EVERY = 500
"""Files that one process writes between two looks whether there are too many."""

_FORMAT = 1
_UNFINISHED = ".part"


class Answer(msgspec.Struct, frozen=True):
    """What Engage answered, and when it was asked (ms): what an outbox did later may not be in it."""

    body: bytes
    as_of: int
    mark: Mark


class _Head(msgspec.Struct, frozen=True):
    """The first line of a file; the body follows. `check` is a hash of it: a power cut may leave anything."""

    format: int
    as_of: int
    forgets: int
    moves: int
    check: str


_decode = msgspec.json.Decoder(_Head).decode


class Shelf:
    """The answers beside one outbox. No method raises for what the disk does: an answer is there, or it is not."""

    def __init__(self, outbox_path: str | Path, base_url: str, seal: Seal = NOT_SEALED) -> None:
        self._folder = Path(f"{outbox_path}-known")
        self._access = like(outbox_path)
        self._base_url = base_url
        self._seal = seal
        self._written = 0

    async def get(self, contact: str, question: str) -> Answer | None:
        """The answer to a question about a contact (its lane), or None."""
        return await asyncio.to_thread(self._read, self._file(contact, question))

    async def put(self, contact: str, question: str, answer: Answer) -> None:
        """Keep it in the place of an earlier one."""
        await asyncio.to_thread(self._put, self._file(contact, question), answer)

    async def drop(self, contact: str, question: str) -> None:
        """It is no longer so."""
        await asyncio.to_thread(_remove, self._file(contact, question))

    async def forget(self, contact_id: str) -> None:
        """No answer about this contact is left, nor one to another question that names it. Reads every file."""
        await asyncio.to_thread(self._forget, self._name(f"contact:{contact_id.lower()}"), contact_id.lower().encode())

    async def sweep(self, before: int) -> None:
        """Answers that were written before then (ms) go, and the oldest ones where there are too many."""
        await asyncio.to_thread(self._sweep, before)

    def _name(self, text: str) -> str:
        return self._seal.name(f"{self._base_url}\0{text}")

    def _file(self, contact: str, question: str) -> Path:
        return self._folder / f"{self._name(contact)}-{self._name(question)}{self._seal.suffix}"

    def _read(self, file: Path) -> Answer | None:
        try:
            text = self._seal.opened_answer(file.name, file.read_bytes())
            return None if text is None else _answer(text)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _put(self, file: Path, answer: Answer) -> None:
        if len(answer.body) > LONGEST_ANSWER:
            _remove(file)
            return
        head = _Head(_FORMAT, answer.as_of, answer.mark.forgets, answer.mark.moves, _check(answer.body))
        with suppress(OSError):
            self._access.make_folder(self._folder)
            descriptor, aside = tempfile.mkstemp(suffix=_UNFINISHED, dir=self._folder)  # 0600
            try:
                with os.fdopen(descriptor, "wb") as out:
                    out.write(self._seal.answer(file.name, msgspec.json.encode(head) + b"\n" + answer.body))
                self._access.open_file(aside)
                os.replace(aside, file)
            except BaseException:  # raised again: a cancelled write leaves no half of a file either
                _remove(Path(aside))
                raise
        self._written += 1
        if self._written % SWEEP_EVERY == 0:
            self._sweep(0)

    def _forget(self, name: str, mentioned: bytes) -> None:
        with suppress(OSError):
            for file in list(self._folder.iterdir()):
                with suppress(OSError):  # another process sweeps or forgets too
                    text = self._seal.opened_answer(file.name, file.read_bytes())
                    if file.name.startswith(name) or text is None or mentioned in text.lower():
                        _remove(file)

    def _sweep(self, before: int) -> None:
        files: list[tuple[float, int, str]] = []
        with suppress(OSError), os.scandir(self._folder) as found:
            for entry in found:
                with suppress(OSError):  # another process sweeps too
                    seen = entry.stat()
                    written = seen.st_mtime if entry.name.endswith((self._seal.suffix, _UNFINISHED)) else -1.0
                    files.append((written, seen.st_size, entry.path))
        kept = size = 0
        for written, length, path in sorted(files, reverse=True):
            kept, size = kept + 1, size + length
            if kept > MOST_FILES or size > MOST_BYTES or written * 1000 < before:
                _remove(Path(path))


class Forgets(Protocol):
    """The part of an outbox that `forget_known` needs."""

    async def forget_ids(self, contact_id: str) -> int: ...


async def forget_known(outbox: Forgets, shelf: Shelf, contact_id: str) -> None:
    """Nothing that was read of this contact is known any more: the ids of its addresses, and its answers on the shelf.

    In this order: every process sees the new mark, so that none serves what it has in memory, learns what it asked for
    before, or leaves on the shelf what it writes there meanwhile. Entries are not touched.
    """
    await outbox.forget_ids(contact_id)
    await shelf.forget(contact_id)


def _check(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=8).hexdigest()


def _answer(text: bytes) -> Answer | None:
    first, _, body = text.partition(b"\n")
    head = _decode(first)
    if head.format != _FORMAT or head.check != _check(body):
        return None
    return Answer(body, head.as_of, Mark(head.forgets, head.moves))


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink()
