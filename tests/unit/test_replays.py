"""At what pace entries are brought back."""

from __future__ import annotations

import pytest

from voyado_async.outbox.records import EntryRecord
from voyado_async.outbox.states import State
from voyado_async.resources.replays import PIECE, Pace, has_failed, waits


def entry(state: State, slots: int = 0) -> EntryRecord:
    return EntryRecord(1, "receipt", state, None, "contact:a", 0, 0, 0, slots, 0, False, None, False, None, None, ())  # type: ignore[arg-type] # the kind plays no part


@pytest.mark.parametrize(
    ("rate", "room", "piece"),
    [(None, 1000, PIECE), (None, 7, 7), (10, 1000, 2), (0.5, 1000, 1), (100_000, 1000, PIECE), (None, 0, 1)],
)
def test_how_many_go_at_once(rate: float | None, room: int, piece: int) -> None:
    assert Pace(rate).piece(room) == piece


@pytest.mark.parametrize(
    ("state", "slots", "waiting", "failed"),
    [
        (State.PENDING, 0, True, False),
        (State.PENDING, 1, False, True),
        (State.SENDING, 0, True, False),
        (State.SENDING, 3, True, False),
        (State.DELIVERED, 0, False, False),
        (State.REJECTED, 0, False, True),
        (State.EXHAUSTED, 8, False, True),
        (State.DISCARDED, 0, False, False),
        (State.SPOOLED, 8, False, False),
    ],
)
def test_what_counts_as_failed_again(state: State, slots: int, waiting: bool, failed: bool) -> None:
    assert (waits(entry(state, slots)), has_failed(entry(state, slots))) == (waiting, failed)
