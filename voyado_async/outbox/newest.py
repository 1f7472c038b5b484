"""The newer writes of a contact, put together from pieces of several lanes and roads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voyado_async.delivery import Kind, Later, Newer

LAST = 1 << 62
"""Behind every id: there is nothing more."""

Row = tuple[int, int, int, str, bytes, int]
"""Lane, road, id, kind, content, and whether it is settled."""


class Newest:
    """What was read so far. Each piece holds the next few of each lane and road, so that the whole is known up to the
    first of them that may have more."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Kind, bytes, bool]] = {}
        self.told: Newer = ()
        """The updates that are to come, of the last piece."""

    def add(self, rows: Sequence[Row], limit: int) -> int:
        """One piece, with at most `limit` rows of each lane and road. Returns up to which id all is known by now."""
        ends: dict[tuple[int, int], list[int]] = {}
        for lane, road, entry, *_ in rows:
            ends.setdefault((lane, road), []).append(entry)
        known = min((max(ids) for ids in ends.values() if len(ids) == limit), default=LAST)
        piece = {
            entry: (Kind(kind), content, bool(settled))
            for _, _, entry, kind, content, settled in sorted(rows, key=lambda row: row[2])
            if entry <= known and kind in (Kind.CONTACT_UPDATE, Kind.CONTACT_CREATE)
        }
        self._found |= piece
        self.told = _to_come(piece.values())
        return known

    def whole(self) -> Later:
        found = self._found.values()
        return Later(
            writes=[(kind, content) for kind, content, _ in found],
            to_come=_to_come(found),
            in_force=[(kind, content) for kind, content, settled in found if settled],
        )


def _to_come(found: Iterable[tuple[Kind, bytes, bool]]) -> Newer:
    return [(kind, content) for kind, content, settled in found if not settled and kind is Kind.CONTACT_UPDATE]
