"""The gate: who waits, who goes, and who is handed back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fakes import FakeClock, rest

from voyado_async.delivery import Delivered, HandBack, Kind, Message, NotAllowed, RetryAt, SlowDown
from voyado_async.drain.breaker import Breaker
from voyado_async.drain.gate import Gate
from voyado_async.drain.health import Health
from voyado_async.drain.policy import Schedule
from voyado_async.drain.throttle import Throttle


class Gated:
    """A gate with its parts, and who asked it for what."""

    def __init__(self, rate: float = 10.0, concurrency: int = 2) -> None:
        self.clock = FakeClock()
        schedule = Schedule((10_000,), 8)
        self.breaker = Breaker(2, schedule.delays, concurrency)
        self.health = Health(
            self.breaker, Throttle(rate), schedule, self.clock, lambda _: None, on_change=lambda: self.gate.look_again()
        )
        self.gate = Gate(self.health, concurrency, self.clock)
        self.tasks: list[asyncio.Task[float | None]] = []

    def ask(self, *, probe: bool = False) -> asyncio.Task[float | None]:
        self.tasks.append(asyncio.create_task(self.gate.enter(probe=probe)))
        return self.tasks[-1]

    def open_breaker(self) -> None:
        for lane in (1, 2):
            self.breaker.failed(lane, self.clock.now())
        assert not self.breaker.closed
        self.gate.look_again()


@pytest.fixture
async def gated() -> AsyncIterator[Gated]:
    made = Gated()
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_requests_are_spaced_and_granted_in_the_order_of_asking(gated: Gated) -> None:
    tasks = [gated.ask() for _ in range(2)]
    await rest()
    assert tasks[0].result() == 1000.0
    await gated.clock.advance(1)
    assert tasks[1].result() == pytest.approx(1000.1)


async def test_no_more_go_out_than_the_concurrency(gated: Gated) -> None:
    tasks = [gated.ask() for _ in range(3)]
    await gated.clock.advance(10)
    assert [task.done() for task in tasks] == [True, True, False]
    gated.gate.leave()
    await gated.clock.advance(1)
    assert tasks[2].result() == 1010.0


async def test_after_the_breaker_closed_only_one_goes_at_a_time(gated: Gated) -> None:
    gated.open_breaker()
    gated.breaker.answered(gated.clock.now())
    tasks = [gated.ask() for _ in range(2)]
    await gated.clock.advance(10)
    assert [task.done() for task in tasks] == [True, False]


@pytest.mark.parametrize("why", ["stop", "breaker", "key"])
async def test_who_waits_for_a_connection_is_handed_back(gated: Gated, why: str) -> None:
    tasks = [gated.ask() for _ in range(5)]
    await gated.clock.advance(1)
    if why == "stop":
        gated.gate.stopping = True
        gated.gate.look_again()
    elif why == "breaker":
        gated.open_breaker()
    else:
        gated.health.learn(None, NotAllowed(401), sent=0.0)
    await rest()
    assert [task.result() for task in tasks[2:]] == [None] * 3


async def test_who_waits_for_the_pace_notices_a_stop_within_a_quarter_of_a_second(gated: Gated) -> None:
    gated.health.learn(None, SlowDown(3600.0), sent=0.0)
    task = gated.ask()
    await gated.clock.advance(1)
    gated.gate.stopping = True
    gated.gate.look_again()
    await gated.clock.advance(0.25)
    assert task.result() is None


@pytest.mark.parametrize("why", ["breaker", "key"])
async def test_the_probe_goes_while_nothing_else_does(gated: Gated, why: str) -> None:
    busy = [gated.ask() for _ in range(2)]
    await gated.clock.advance(1)
    assert all(task.done() for task in busy)
    if why == "breaker":
        gated.open_breaker()
    else:
        gated.health.learn(None, NotAllowed(401), sent=0.0)
    other, probe = gated.ask(), gated.ask(probe=True)
    await rest()
    assert other.result() is None
    assert probe.result() is not None


async def test_the_probe_keeps_the_pace(gated: Gated) -> None:
    gated.open_breaker()
    gated.health.learn(None, SlowDown(5.0), sent=0.0)
    probe = gated.ask(probe=True)
    await gated.clock.advance(4.9)
    assert not probe.done()
    await gated.clock.advance(0.2)
    assert probe.result() == 1005.0


async def test_not_even_the_probe_goes_when_it_stops(gated: Gated) -> None:
    gated.gate.stopping = True
    assert await gated.gate.enter(probe=True) is None


async def test_each_request_of_a_turn_has_its_own_place_and_none_is_held_in_between(gated: Gated) -> None:
    moments = []

    async def send_three() -> None:
        turn = gated.gate.turn()
        assert await turn.take()  # the place of the first request
        for pause in (0.0, 0.5, 0.0):
            await gated.clock.sleep(pause)
            async with turn:
                moments.append(turn.sent)

    first = asyncio.create_task(send_three())
    await rest()
    other = gated.ask()  # it never leaves: one connection of two is free when the turn is between two requests
    await gated.clock.advance(2)
    await first
    assert other.result() == pytest.approx(1000.1)
    assert moments == pytest.approx([1000.0, 1000.5, 1000.6])


async def test_a_turn_ends_where_sending_has_stopped_and_gives_its_place_back(gated: Gated) -> None:
    turn = gated.gate.turn()
    assert await turn.take()
    turn.give_up()
    turn.give_up()
    gated.open_breaker()
    assert not await turn.take()
    with pytest.raises(HandBack):
        await turn.__aenter__()
    probe = asyncio.create_task(gated.gate.turn(probe=True).take())
    await gated.clock.advance(1)
    assert probe.result()


async def test_who_is_cancelled_while_it_waits_holds_nobody_up(gated: Gated) -> None:
    tasks = [gated.ask() for _ in range(4)]
    await gated.clock.advance(1)
    tasks[2].cancel()
    await rest()
    gated.gate.leave()
    await gated.clock.advance(1)
    assert tasks[3].result() is not None


async def test_a_look_up_that_is_allowed_does_not_allow_the_kind(gated: Gated) -> None:
    redeem = Message(id=1, kind=Kind.REDEEM, body=b"{}", lane=1, lane_key="contact:anna", created=0)
    gated.health.learn(redeem, NotAllowed(403), sent=0.0)
    gated.health.key_answer(Delivered(), sent=0.0)
    assert gated.health.halted == "403:redeem"
    gated.health.learn(redeem, Delivered(), sent=0.0, asked=True)
    assert gated.health.halted == "403:redeem"
    gated.health.learn(redeem, RetryAt("http_503"), sent=0.0)
    assert gated.health.halted == "403:redeem"
    gated.health.learn(redeem, Delivered(), sent=0.0)
    assert gated.health.halted is None
