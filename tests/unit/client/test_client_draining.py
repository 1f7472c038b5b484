"""The drainer of an embedded client: started and stopped with it, begun again when it fails."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import msgspec
import pytest

from voyado_async import ClientClosed, ConfigurationError, Event, Settings, VoyadoClient
from voyado_async import client as client_module
from voyado_async.delivery import FileFamily
from voyado_async.drain.drainer import Drainer
from voyado_async.events import AttemptMade, DrainerStarted, DrainerStopped, FileChanged, Listeners, Problem
from voyado_async.fallback import walk
from voyado_async.fallback.report import CourierReport
from voyado_async.fallback.tenant import Tenant
from voyado_async.outbox.records import FileRecord


def settings(folder: Path) -> Settings:
    return Settings(base_url="http://127.0.0.1:9", api_key="secret", outbox=str(folder / "outbox.db"))


def test_a_client_that_drains_needs_a_key_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="VOYADO_API_KEY"):
        VoyadoClient(Settings(base_url="http://127.0.0.1:9", outbox=str(tmp_path / "outbox.db")))
    assert list(tmp_path.iterdir()) == []


async def test_a_client_that_drains_needs_a_spool_folder_that_it_can_use(tmp_path: Path) -> None:
    """DESIGN 5: told before anything starts, not when the first outage needs it. Who only writes needs none."""
    taken = tmp_path / "taken"
    taken.write_text("")
    given = msgspec.structs.replace(settings(tmp_path), spool_dir=str(taken))
    with pytest.raises(ConfigurationError, match=r"taken \(VOYADO_SPOOL_DIR\) is no folder"):
        async with VoyadoClient(given):
            pytest.fail("it was opened")
    async with VoyadoClient(given, drain=False) as shop:
        assert (await shop.outbox.status()).drainer.running is False


async def test_a_client_that_only_writes_needs_no_key_but_says_so_when_asked_to_read(tmp_path: Path) -> None:
    writer = Settings(base_url="http://127.0.0.1:9", outbox=str(tmp_path / "outbox.db"))
    async with VoyadoClient(writer, drain=False) as voyado:
        entry = await voyado.contacts.update("0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10", {"city": "Lund"})
        assert entry.id == 1
        with pytest.raises(ConfigurationError, match="VOYADO_API_KEY"):
            await voyado.contacts.find(email="anna@example.com")


async def test_a_drainer_that_fails_is_told_and_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: asyncio.Queue[Event] = asyncio.Queue()
    real, failures = Drainer.run, [RuntimeError("nobody foresaw this")]

    async def run(self: Drainer) -> None:
        if failures:
            raise failures.pop()
        await real(self)

    monkeypatch.setattr(Drainer, "run", run)
    monkeypatch.setattr(client_module, "RESTART", 0.01)
    async with VoyadoClient(settings(tmp_path), listeners=[told.put_nowait]):
        assert await told.get() == Problem(where="drainer", code="RuntimeError")
        assert isinstance(await told.get(), DrainerStopped)
        assert isinstance(await told.get(), DrainerStarted)


async def test_files_that_came_to_their_end_before_a_drainer_began_are_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def file(number: int, state: str, problem: str | None = None) -> FileRecord:
        name = f"{number}_contacts.xml"
        return FileRecord(number, name, FileFamily.CONTACTS, "Member", "email", state, 3, 3, 9, number, problem=problem)

    class Outbox:
        files_now = (file(1, "imported"), file(2, "lost"), file(3, "spooled", "unreachable"), file(4, "uploaded"))

        async def files(self, *, open_only: bool) -> tuple[FileRecord, ...]:
            return self.files_now

    class Courier:
        async def step(self, now: int, **_: object) -> CourierReport:
            outbox.files_now = (*outbox.files_now[:3], file(4, "imported"), file(5, "spooled", "incomplete"))
            return CourierReport(now, imported=("4_contacts.xml",))

    outbox, told, listeners = Outbox(), list[Event](), Listeners()
    listeners.add(told.append)
    monkeypatch.setattr(walk.Courier, "of", lambda *_: Courier())
    second_road = walk.SecondRoadWalk(outbox, settings(tmp_path), listeners, Tenant(), None)  # type: ignore[arg-type] # what it asks of them is all here
    for _ in range(2):
        assert await second_road.step(7, healthy=True, turn=None) == 7  # type: ignore[arg-type] # as above
    assert [(event.file[0], event.state, event.problem) for event in told if isinstance(event, FileChanged)] == [
        ("3", "spooled", "unreachable"),
        ("4", "imported", None),
        ("5", "spooled", None),
    ]


async def test_a_drainer_without_the_key_leaves_what_is_sealed_to_one_that_has_it(tmp_path: Path) -> None:
    """It was started before there was a key. No entry moves under its hands."""
    late: asyncio.Queue[Event] = asyncio.Queue()
    told: asyncio.Queue[Event] = asyncio.Queue()
    with_key = msgspec.structs.replace(settings(tmp_path), seal_key="11" * 32)
    async with VoyadoClient(settings(tmp_path), listeners=[late.put_nowait]):
        assert isinstance(await late.get(), DrainerStarted)
        async with VoyadoClient(with_key, drain=False) as shop:
            entry = await shop.contacts.update("0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10", {"city": "Lund"})
            while (event := await late.get()) != Problem(where="drainer", code="OutboxSealed"):
                assert isinstance(event, DrainerStopped), event
            record = await shop.outbox.get(entry.id)
            assert (record.state, record.slots, record.reason) == ("pending", 0, None)
            async with asyncio.timeout(4), VoyadoClient(with_key, listeners=[told.put_nowait]):
                while not isinstance(event := await told.get(), AttemptMade):
                    pass
                assert event.entry_id == entry.id


async def test_a_client_whose_drainer_keeps_failing_still_closes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def run(self: Drainer) -> None:
        failed.set()
        raise RuntimeError("again and again")

    monkeypatch.setattr(Drainer, "run", run)
    async with asyncio.timeout(4):
        async with VoyadoClient(settings(tmp_path), listeners=[]):
            await failed.wait()


async def test_a_client_that_is_not_open_says_so(tmp_path: Path) -> None:
    voyado = VoyadoClient(settings(tmp_path), drain=False)
    for what in ("contacts", "promotions", "receipts", "transactions", "vouchers", "outbox"):
        with pytest.raises(ClientClosed, match="is not open"):
            getattr(voyado, what)
    with pytest.raises(ClientClosed, match="is not open"):
        voyado.batch()
    with pytest.raises(AttributeError):
        _ = voyado.reciepts  # type: ignore[attr-defined]  # a misspelt name is no closed client


async def test_a_client_that_was_closed_leaves_no_thread_and_no_file_open(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with VoyadoClient(settings(tmp_path), listeners=[]) as shop:
        await shop.contacts.update("0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10", {"city": "Lund"})
    opened = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert [name for name in opened if name.startswith(str(tmp_path))] == []
    ours = [thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")]
    for thread in ours:
        thread.join(2)
    assert [thread for thread in ours if thread.is_alive()] == []


async def test_a_client_is_opened_once(tmp_path: Path) -> None:
    client = VoyadoClient(settings(tmp_path), listeners=[])
    async with client:
        pass
    with pytest.raises(ClientClosed):
        async with client:
            pass


async def test_whoever_drains_purges_what_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    purged = asyncio.Event()
    asked: list[tuple[int, int]] = []

    async def purge(_: object, entries_before: int, keys_before: int) -> int:
        asked.append((entries_before, keys_before))
        purged.set()
        return 0

    monkeypatch.setattr(client_module, "HOUSEKEEPING", 0.05)
    monkeypatch.setattr("voyado_async.outbox.sqlite.SqliteOutbox.purge", purge)
    async with asyncio.timeout(10):
        async with VoyadoClient(settings(tmp_path), listeners=[]):
            await purged.wait()
    entries_before, keys_before = asked[0]
    assert entries_before - keys_before == (400 - 30) * 86_400_000
