"""Choosing entries by a filter finds the same as a look at each of them, whichever index it goes by."""

from __future__ import annotations

import sqlite3
from itertools import product
from typing import cast

import pytest
from entries import START, StandingClock, bring_to, draft, move, put
from msgspec.structs import replace

from voyado_async.delivery import Kind
from voyado_async.outbox import choosing
from voyado_async.outbox.choosing import SET_BACK, listed, sources
from voyado_async.outbox.operator_store import OperatorOutbox
from voyado_async.outbox.records import EntryFilter, EntryRecord
from voyado_async.outbox.sqlite import SqliteOutbox
from voyado_async.outbox.states import State
from voyado_async.outbox.store import Outbox

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
        (EntryFilter(contact="a", states=(State.IMPORTED,), file="a.xml"), 9, {"ids_of_file"}),
    ],
)
def test_the_narrowest_index_is_asked(which: EntryFilter, most: int, asked: set[str]) -> None:
    assert sources(which, most) == asked


@pytest.mark.parametrize(
    "which",
    [
        EntryFilter(kinds=(Kind.REDEEM,)),
        EntryFilter(kinds=(Kind.REDEEM,), states=(State.PENDING,)),
        EntryFilter(kinds=(Kind.REDEEM,), states=(State.PENDING, State.REJECTED)),
        EntryFilter(kinds=(Kind.REDEEM,), states=(State.PENDING, State.DELIVERED)),
        EntryFilter(kinds=(Kind.REDEEM,), contact="anna"),
        EntryFilter(kinds=(Kind.REDEEM,), error="NotFound"),
        EntryFilter(kinds=(Kind.REDEEM,), until=START + 33_000),
        EntryFilter(kinds=(Kind.RECEIPT,)),
        EntryFilter(kinds=(Kind.VOUCHER_REDEEM,)),
    ],
)
async def test_a_list_says_how_far_it_looked_and_goes_on_from_there_without_a_gap(
    outbox: Outbox, clock: StandingClock, which: EntryFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look is short; with `until` where the last one ended, they find together what a look at all finds."""
    monkeypatch.setattr(choosing, "SPAN", 4)
    monkeypatch.setattr(choosing, "LOOKED_BACK", 4)
    for number in range(60):
        clock.time += 1000
        kind = Kind.REDEEM if number in (0, 1, 2, 30, 50) else Kind.RECEIPT
        (entry,) = await put(outbox, draft(kind, "contact:anna", key=f"key{number}"))
        if number % 10 in (1, 7):
            await bring_to(outbox, entry, State.REJECTED if number % 10 == 1 else State.DELIVERED)
        elif number % 2:
            await move(outbox, entry, State.PENDING, State.PENDING, reason="NotFound")
    database = sqlite3.connect(cast(SqliteOutbox, outbox).path)
    found: list[int] = []
    until, looks = which.until, 0
    while True:
        listing = listed(database, replace(which, until=until, limit=50))
        found += [entry.id for entry in listing.entries if entry.id not in found]
        looks += 1
        if listing.looked_back_to is None:
            break
        assert until is None or listing.looked_back_to < until
        until = listing.looked_back_to
    whole = await outbox.entries(which)
    assert found == [entry.id for entry in whole]
    assert looks > 1 or not whole
    (newest, *_) = [entry.id for entry in whole] or [0]
    assert [entry.id for entry in listed(database, replace(which, limit=1)).entries] in ([newest], [])
    database.close()


async def test_a_list_that_has_all_it_wants_says_nothing_of_older_ones(
    outbox: Outbox, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "SPAN", 2)
    monkeypatch.setattr(choosing, "LOOKED_BACK", 4)
    for number in range(40):
        clock.time += 1000
        await put(outbox, draft(Kind.REDEEM if number > 37 else Kind.RECEIPT, key=f"key{number}"))
    database = sqlite3.connect(cast(SqliteOutbox, outbox).path)
    for which in (
        EntryFilter(kinds=(Kind.REDEEM,), limit=10),  # the books tell that there are no more
        EntryFilter(kinds=(Kind.RECEIPT,), limit=2),
        EntryFilter(ids=(1, 2)),
        EntryFilter(states=(State.REJECTED,)),
    ):
        listing = listed(database, which)
        assert listing.looked_back_to is None
        assert listing.entries == await outbox.entries(which)
    database.close()
