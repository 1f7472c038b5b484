"""When a sidecar is called stuck, and when it can do its work."""

from __future__ import annotations

import msgspec
import pytest
from night import NightClock

from voyado_async.events import AttemptMade, DrainerStarted, DrainerStopped, Enqueued, Problem, ProblemSolved
from voyado_async.ops.pulse import Pulse, Signs, not_ready, stuck
from voyado_async.outbox.records import BreakerRecord
from voyado_async.outbox.sqlite import SqliteOutbox

WELL = Signs(
    draining=True, drained=True, due_for=0, moved_for=0, probe_late_for=None, held_back=False, patience=125
)  # fmt: skip
LONG = 126.0
TABLE = [
    ("nothing to do for hours", {"moved_for": 9e9}, None),
    ("much to do, and it moves", {"due_for": 9e9}, None),
    ("a request may take as long as its time-out", {"due_for": 125, "moved_for": 125}, None),
    ("work is due and nothing moves", {"due_for": LONG, "moved_for": LONG},
     "work is due and nothing has moved for 126 s"),
    ("the key is refused", {"due_for": LONG, "moved_for": LONG, "held_back": True}, None),
    ("Engage is away and asked again in time", {"due_for": LONG, "moved_for": LONG, "probe_late_for": -20}, None),
    ("the probe is out", {"due_for": LONG, "moved_for": LONG, "probe_late_for": 100}, None),
    ("the probe never goes out", {"moved_for": LONG, "probe_late_for": LONG},
     "Engage should have been asked again 126 s ago"),
    ("another one drains", {"draining": False, "due_for": LONG, "moved_for": LONG}, None),
    ("nobody drains, we neither", {"draining": False, "drained": False, "due_for": LONG},
     "work has been due for 126 s, and nobody drains"),
    ("nobody drains yet", {"draining": False, "drained": False, "due_for": 125}, None),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "why"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_stuck_is_who_makes_no_progress_though_nothing_holds_it_back(
    changes: dict[str, object], why: str | None
) -> None:
    assert stuck(msgspec.structs.replace(WELL, **changes)) == why


async def test_progress_is_what_an_entry_came_to_and_not_what_was_written(
    night: SqliteOutbox, clock: NightClock
) -> None:
    pulse = Pulse(clock, timeout=65)
    pulse(DrainerStarted(pid=1))
    await night.set_breaker(BreakerRecord("closed", clock.now()))
    found = await night.overview(clock.now(), 1)
    clock.elapsed = 130
    pulse(Enqueued(entry_id=1, kind="redeem"))
    signs = pulse.signs(found, drained=True)
    assert (signs.moved_for, signs.due_for) == (130, pytest.approx(43 * 60))
    assert stuck(signs) == "work is due and nothing has moved for 130 s"
    pulse(AttemptMade(entry_id=1, kind="redeem", what="request", outcome="retry"))
    assert stuck(pulse.signs(found, drained=True)) is None


async def test_who_was_asked_to_wait_is_not_stuck_until_it_is_time(night: SqliteOutbox, clock: NightClock) -> None:
    """Begun anew by whoever watches it, it would send at once."""
    pulse = Pulse(clock, timeout=65)
    pulse(DrainerStarted(pid=1))
    await night.set_breaker(BreakerRecord("closed", clock.now()))
    found = await night.overview(clock.now(), 1)
    told = AttemptMade(entry_id=1, kind="redeem", what="request", outcome="slow_down", due=clock.now() + 600_000)
    pulse(told)
    clock.elapsed += 590
    assert stuck(pulse.signs(found, drained=True)) is None
    clock.elapsed += 130
    assert stuck(pulse.signs(found, drained=True)) is not None


async def test_it_is_ready_while_it_drains_or_stands_by_and_not_without_a_key_or_a_disk(
    outbox: SqliteOutbox, clock: NightClock
) -> None:
    pulse = Pulse(clock, timeout=65)
    found = await outbox.overview(clock.now(), 1)
    assert not_ready(found, pulse, drained=False) == "it does not drain yet"
    assert not_ready(found, pulse, drained=True) is None
    pulse(DrainerStarted(pid=1))
    assert not_ready(found, pulse, drained=True) is None
    pulse(Problem(where="drainer", code="outbox_unavailable"))
    assert not_ready(found, pulse, drained=True) == "the outbox cannot be written"
    pulse(ProblemSolved(where="drainer", code="outbox_unavailable"))
    await outbox.set_breaker(BreakerRecord("open", clock.now(), clock.now()))
    assert not_ready(await outbox.overview(clock.now(), 1), pulse, drained=True) is None
    await outbox.set_breaker(BreakerRecord("closed", clock.now(), halted="401"))
    refused = await outbox.overview(clock.now(), 1)
    assert not_ready(refused, pulse, drained=True) == "the API key is refused (401)"
    pulse(DrainerStopped(pid=1))
    assert not_ready(found, pulse, drained=False) == "it does not drain yet"
