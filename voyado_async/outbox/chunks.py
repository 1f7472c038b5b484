"""How much of a large move goes into one transaction, and of a large look into one read: some milliseconds of each.

A count alone does not bound time: on a slow disk, or where the entries lie on pages that nobody has read for long, the
same two hundred entries take twenty times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

CHUNK = 200
"""Entries that one transaction of a large move takes at most."""

SPAN = 5_000
"""Ids that one look at many entries takes: a few milliseconds of the reader."""

QUICK, SLOW = 0.008, 0.020
"""Seconds that a transaction may have held the turn for the next one to be larger, and not to have to be smaller. What
a transaction of ours may hold it for is 50 ms (DESIGN 3); a checkpoint may come on top."""


def fewest(most: int) -> int:
    """The smallest chunk, and the first one: below it the sync of the commit, and not the entries, takes the time."""
    return most if most < 16 else most // 8


def next_chunk(size: int, took: float, most: int) -> int:
    """The next chunk's size after one of `size` held the turn for `took` seconds. Pure."""
    if took > SLOW:
        return max(fewest(most), int(size * SLOW / took / 2))
    return min(most, 2 * size) if took < QUICK else size


class Chunk:
    """The size of the chunks of one large move, `most` at the utmost."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = fewest(most)

    def pieces(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """These, in their order, each time as many as the size is by then."""
        start = 0
        while start < len(items):
            piece = items[start : start + self.size]
            yield piece
            start += len(piece)

    def took(self, seconds: float, entries: int) -> None:
        """The last chunk held the turn for so long; one that was not full says nothing of larger ones."""
        size = next_chunk(self.size, seconds, self._most)
        self.size = size if entries >= self.size else min(size, self.size)
