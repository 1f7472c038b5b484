"""Choosing entries by a filter finds the same as a look at each of them, whichever index it goes by."""

from __future__ import annotations

from itertools import product
from typing import cast

import pytest
from entries import START, StandingClock, bring_to, draft, move, put
from msgspec.structs import replace

from voyado_async.delivery import Kind
from voyado_async.outbox import choosing
from voyado_async.outbox.choosing import SET_BACK, sources
from voyado_async.outbox.operator_store import OperatorOutbox
from voyado_async.outbox.states import State
from voyado_async.outbox.store import EntryFilter, EntryRecord, Outbox

HOUR = 3_600_000
CODES = ("NotFound", "NotFound (may have happened)", "NotFound: a, b", "NotFoundAtAll", "Timeout", None)
TIMES: tuple[tuple[int | None, int | None], ...] = (
    (None, None), (START + 20 * HOUR, None), (None, START + 30 * HOUR), (START + 20 * HOUR, START + 30 * HOUR),
)  # fmt: skip


async def filled(outbox: Outbox, clock: StandingClock) -> list[EntryRecord]:
    """Entries of every state, kind and reason, of two lanes that became one and of others, an hour after each other,
    but that the clock was set back by half a day in the midst."""
    lanes = ("contact:anna", "email:anna@example.com", "contact:bo", "contact:cy", "contact:di")
    for number, (state, kind) in enumerate(product(State, (Kind.RECEIPT, Kind.REDEEM))):
        clock.time += HOUR if number != 9 else -12 * HOUR
        (entry,) = await put(outbox, draft(kind, lanes[number % 5], key=f"key{number}"))
        await bring_to(outbox, entry, state)
        reason = CODES[number % 6]
        if reason is not None and state not in (State.DELIVERED, State.SENDING):
            await move(outbox, entry, state, state, reason=reason)
    (address,) = [m.lane for m in await outbox.claim(99, clock.time, frozenset()) if m.lane_key.startswith("email:")]
    assert await outbox.join_lanes(address, "anna", "email:anna@example.com")
    return await outbox.entries(EntryFilter())


def fits(entry: EntryRecord, which: EntryFilter) -> bool:
    codes = (which.error, f"{which.error} (may have happened)")
    return (
        (not which.states or entry.state in which.states)
        and (not which.kinds or entry.kind in which.kinds)
        and (which.contact is None or entry.lane == f"contact:{which.contact}")
        and (which.error is None or entry.reason in codes or (entry.reason or "").partition(": ")[0] in codes)
        and (which.since is None or entry.created >= which.since)
        and (which.until is None or entry.created < which.until)
    )


@pytest.mark.parametrize("piece", [1, 3, 5000])
async def test_every_filter_finds_what_a_look_at_each_entry_finds(
    outbox: Outbox, clock: StandingClock, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "SPAN", piece)
    everything = await filled(outbox, clock)
    assert [entry.id for entry in everything] == list(range(2 * len(State), 0, -1))
    found = 0
    several = ((State.PENDING, State.SENDING), (State.REJECTED, State.UPLOADED))
    for states, kinds, contact, error, (since, until), limit in product(
        ((), *((state,) for state in State), *several),
        ((), (Kind.REDEEM,), (Kind.CONTACT_TYPE,)),
        (None, "anna", "nobody"),
        (None, "NotFound", "Nix"),
        TIMES,
        (None, 2),
    ):
        which = EntryFilter((), states, kinds, contact, error, since, until, limit)
        right = [entry.id for entry in everything if fits(entry, which)]
        assert [entry.id for entry in await outbox.entries(which)] == right[:limit], which
        if limit is None:
            pieces = [piece async for piece in cast(OperatorOutbox, outbox).select(which)]
            assert sorted((entry for piece in pieces for entry in piece), reverse=True) == right, which
            found += len(right)
    assert found > 200


async def test_a_contact_is_found_by_whatever_names_it(outbox: Outbox) -> None:
    """By its id and by each of its addresses, whether or not their lanes are one by now; nobody else is."""
    lanes = ("contact:anna", "email:anna@example.com", "memberNumber:7", "email:bo@example.com")
    await put(outbox, *(draft(lane=lane) for lane in lanes), draft(lane="contact:bo"))
    for which in (EntryFilter(address="memberNumber:7"), EntryFilter(address="memberNumber:7", limit=5)):
        assert [entry.id for entry in await outbox.entries(which)] == [3]
    await outbox.remember_contacts([("memberNumber:7", "Anna", 0)])
    (lane,) = [m.lane for m in await outbox.claim(9, START, frozenset()) if m.lane_key == "email:anna@example.com"]
    assert await outbox.join_lanes(lane, "anna", "email:anna@example.com")
    mail = EntryFilter(address="email:anna@example.com")
    for which in (EntryFilter(contact="ANNA"), EntryFilter(address="memberNumber:7"), mail):
        assert [entry.id for entry in await outbox.entries(which)] == [3, 2, 1], which
        assert [entry.id for entry in await outbox.entries(replace(which, states=(State.PENDING,)))] == [3, 2, 1]
    assert [entry.id for entry in await outbox.entries(EntryFilter(contact="bo"))] == [5]
    assert await outbox.entries(EntryFilter(address="email:nobody@example.com")) == []


async def test_a_clock_that_is_further_off_than_a_day_hides_entries_only_from_filters_by_time(
    outbox: Outbox, clock: StandingClock
) -> None:
    """What finding the time without an index of it costs: said at `EntryFilter.since`."""
    await put(outbox, draft())
    clock.time -= 2 * SET_BACK
    await put(outbox, draft())
    assert len(await outbox.entries(EntryFilter())) == 2
    assert [entry.id for entry in await outbox.entries(EntryFilter(since=START))] == []
    assert [entry.id for entry in await outbox.entries(EntryFilter(since=START - 2 * SET_BACK))] == [2, 1]


@pytest.mark.parametrize(
    ("which", "most", "asked"),
    [
        (EntryFilter(), 9, set()),
        (EntryFilter(kinds=(Kind.REDEEM,)), 9, set()),
        (EntryFilter(states=(State.DELIVERED, State.REJECTED)), 9, set()),
        (EntryFilter(states=(State.REJECTED,)), 9, {"ids_rejected"}),
        (EntryFilter(states=(State.SPOOLED, State.UPLOADED, State.IMPORTED)), 9, {"ids_left"}),
        (EntryFilter(states=(State.PENDING, State.SENDING)), 9, {"ids_waiting"}),
        (EntryFilter(states=(State.SENDING,)), 9, {"ids_sending"}),
        (EntryFilter(states=(State.REJECTED,), error="X"), 5000, {"ids_rejected"}),
        (EntryFilter(states=(State.REJECTED,), error="X"), 5001, {"ids_of_reason", "ids_of_longer_reason"}),
        (EntryFilter(contact="a", states=(State.DISCARDED,)), 5000, {"ids_discarded"}),
        (EntryFilter(contact="a", error="X", states=(State.DISCARDED,)), 5001, {"ids_of_lanes"}),
        (EntryFilter(contact="a", states=(State.DELIVERED,)), 9, {"ids_of_lanes"}),
    ],
)
def test_the_narrowest_index_is_asked(which: EntryFilter, most: int, asked: set[str]) -> None:
    assert sources(which, most) == asked
