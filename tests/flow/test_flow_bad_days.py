"""Bad days of the machine that the outbox is on: each costs what DESIGN 5 says, loses nothing, doubles nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from actors import receipt
from full_disk import fill
from processes import count

from voyado_async import ConfigurationError, OutboxMismatch, OutboxUnavailable, Settings, VoyadoClient
from voyado_async.clock import SystemClock
from voyado_async.errors import OutboxDamaged
from voyado_async.events import Event, Problem, ProblemSolved
from voyado_async.resources.status import Status
from voyado_async.resources.writes import OutboxEntry
from voyado_async.sandbox import Sandbox, SandboxSettings

ANNA = "anna@example.com"
DAY = 86_400_000


class SetClock(SystemClock):
    """The machine's clock, which somebody sets: the wall clock jumps, durations go on."""

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> int:
        return super().now() + self.offset


@pytest.fixture
async def engage() -> AsyncIterator[Sandbox]:
    async with Sandbox(
        SandboxSettings(import_period=0.3, receipt_period=0.1, hard_rate=0, contact_key="email")
    ) as running:
        running.state.add_contact(email=ANNA, contact_type="Member")
        yield running


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small file system: a full and a read-only disk are not tried")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def ext4_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that can refuse those who have its files open already: a tmpfs does not turn read-only before they go."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(48 << 20)
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)]):
        if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no right to mount an ext4 image: a disk that turns read-only under a client is not tried")
    yield folder
    closed(folder, False)
    subprocess.run(["umount", str(folder)], check=True)


def closed(folder: Path, closed: bool) -> None:
    """Every write to the outbox fails from now on, whoever has it open; or no longer. The index of the log is spared:
    it is written through memory, where a file that is closed like this kills the writer. A disk does not."""
    files = [str(path) for path in folder.glob("outbox.db*") if not path.name.endswith("-shm")]
    subprocess.run(["chattr", "+i" if closed else "-i", *files], check=False, capture_output=True)


def settings_of(engage: Sandbox, folder: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "base_url": engage.base_url,
        "api_key": engage.api_key,
        "outbox": str(folder / "outbox.db"),
        "contact_key": "email",
        "timeout": 5.0,
        "rate": 200.0,
        "retry_delays": (0.3, 0.6),
        "retry_attempts": 4,
        "fallback_interval": 0.5,
        "import_period": 0.3,
        "sftp_host": engage.sftp_host,
        "sftp_port": engage.sftp_port,
        "sftp_username": engage.sftp_username,
        "sftp_password": engage.sftp_password,
        "sftp_host_key": engage.sftp_host_key,
    }
    return Settings(**(values | changes))


async def until(voyado: VoyadoClient, holds: Callable[[Status], bool], within: float = 30) -> None:
    status = None
    try:
        async with asyncio.timeout(within):
            while not holds(status := await voyado.outbox.status()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still {status}") from None


async def delivered(voyado: VoyadoClient, entries: int) -> None:
    await until(voyado, lambda status: count(status, "delivered") == entries)


async def the_books_close(engage: Sandbox, voyado: VoyadoClient, *subjects: str) -> None:
    """Ours, and Engage's own: each of these was stored once, and nothing else was."""
    await delivered(voyado, len(subjects))
    assert [finding for finding in await voyado.outbox.verify() if not finding.ok] == []
    status = await voyado.outbox.status()
    assert (status.accounting.enqueued, status.accounting.balanced) == (len(subjects), True)
    engage.pipeline.run()
    stored = Counter(effect.subject for effect in engage.journal.effects("receipt"))
    assert stored == Counter(subjects)


async def event(told: list[Event], kind: type[Event], within: float = 20) -> None:
    async with asyncio.timeout(within):
        while not any(isinstance(one, kind) for one in told):
            await asyncio.sleep(0.02)


class Shop:
    """Sells, and remembers what was acknowledged."""

    def __init__(self, voyado: VoyadoClient) -> None:
        self._voyado = voyado
        self._number = 0
        self.sold: list[str] = []
        self.refused = 0

    async def sell(self, size: int = 0) -> OutboxEntry:
        self._number += 1
        sale = receipt("bad", self._number, ANNA)
        if size:
            sale["items"] = [{**sale["items"][0], "articleName": "x" * size}]
        try:
            entry = await self._voyado.receipts.send(sale)
        except OutboxUnavailable:
            self.refused += 1
            raise
        self.sold.append(sale["uniqueReceiptId"])
        return entry

    async def sell_until_refused(self) -> None:
        """What the log on the disk has room for is still taken."""
        for _ in range(2000):
            try:
                await self.sell(60_000)
            except OutboxUnavailable:
                return
        raise AssertionError("the disk is not full")


async def test_a_full_disk_stops_writers_and_drainer_aloud_and_nothing_is_lost_or_doubled(
    engage: Sandbox, small_disk: Path
) -> None:
    told: list[Event] = []
    settings = settings_of(engage, small_disk)
    async with (
        VoyadoClient(settings, listeners=[told.append]) as draining,
        VoyadoClient(settings, drain=False) as writing,
    ):
        shop = Shop(writing)
        await shop.sell()
        await delivered(draining, 1)
        # Answers are on their way while the disk fills up.
        fault = engage.faults.add("slow", seconds=0.5)
        for _ in range(5):
            await shop.sell()
        ballast = fill(small_disk)
        await shop.sell_until_refused()
        await event(told, Problem)
        for _ in range(3):
            with pytest.raises(OutboxUnavailable):
                await shop.sell(60_000)
        status = await writing.outbox.status()
        assert status.accounting.enqueued == len(shop.sold)
        engage.faults.remove(fault)
        await asyncio.sleep(1.5)  # long enough for another try, which must not be told again
        assert not any(isinstance(one, ProblemSolved) for one in told)

        ballast.unlink()
        await shop.sell()
        await event(told, ProblemSolved)
        await the_books_close(engage, draining, *shop.sold)
    problems = [one for one in told if isinstance(one, Problem)]
    assert [(one.where, one.code) for one in problems] == [("drainer", "outbox_unavailable")]


async def test_a_disk_that_turns_read_only_under_a_client_stops_it_aloud_until_it_is_writable_again(
    engage: Sandbox, ext4_disk: Path
) -> None:
    told: list[Event] = []
    settings = settings_of(engage, ext4_disk)
    async with (
        VoyadoClient(settings, listeners=[told.append]) as draining,
        VoyadoClient(settings, drain=False) as writing,
    ):
        shop = Shop(writing)
        await shop.sell()
        await delivered(draining, 1)
        # Answers are on their way, and more is due, when the disk turns.
        fault = engage.faults.add("slow", seconds=0.5)
        for _ in range(5):
            await shop.sell()
        async with asyncio.timeout(10):
            while len(engage.journal.requests("POST", "receipts")) < 2:
                await asyncio.sleep(0.02)
        closed(ext4_disk, True)
        for _ in range(3):
            with pytest.raises(OutboxUnavailable):
                await shop.sell()
        await event(told, Problem)
        # What is there can be read all the while, also by who begins now.
        assert (await writing.outbox.status()).accounting.enqueued == len(shop.sold)
        assert command(settings, "status")[0] == 0
        sent = len(engage.journal.requests("POST", "receipts"))
        await asyncio.sleep(1.5)  # long enough for another try, which must neither send nor be told again
        assert len(engage.journal.requests("POST", "receipts")) == sent
        assert not any(isinstance(one, ProblemSolved) for one in told)

        engage.faults.remove(fault)
        closed(ext4_disk, False)
        await shop.sell()
        await event(told, ProblemSolved)
        await the_books_close(engage, draining, *shop.sold)
        assert len(engage.journal.requests("POST", "receipts")) == len(shop.sold)
    problems = [one.code for one in told if isinstance(one, Problem) and one.where == "drainer"]
    assert problems == ["outbox_unavailable"]
    assert shop.refused == 3


async def test_a_disk_that_gave_up_under_a_client_is_told_and_what_it_took_arrives_after_its_repair(
    engage: Sandbox, ext4_disk: Path
) -> None:
    """After a disk error ext4 is read-only until it is mounted again: nobody can go on, and nobody may die of it."""
    settings = settings_of(engage, ext4_disk, breaker_failures=100, retry_attempts=100)
    told: list[Event] = []
    async with VoyadoClient(settings, listeners=[told.append]) as voyado:
        shop = Shop(voyado)
        fault = engage.faults.add("refuse")
        for _ in range(5):
            await shop.sell()
        subprocess.run(["mount", "-o", "remount,abort", str(ext4_disk)], check=True)
        for _ in range(3):
            with pytest.raises(OutboxUnavailable):
                await shop.sell()
        await event(told, Problem)
        assert (await voyado.outbox.status()).accounting.enqueued == len(shop.sold)
        code, said = command(settings, "status")
        assert (code, "accounting  balanced" in said) == (0, True), said
    engage.faults.remove(fault)
    subprocess.run(["umount", str(ext4_disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(ext4_disk.parent / "image"), str(ext4_disk)], check=True)
    async with VoyadoClient(settings) as voyado:
        await the_books_close(engage, voyado, *shop.sold)


async def test_an_outbox_on_a_read_only_disk_is_refused_with_its_reason_and_goes_on_when_it_may(
    engage: Sandbox, small_disk: Path
) -> None:
    settings = settings_of(engage, small_disk)
    async with VoyadoClient(settings, drain=False) as voyado:
        shop = Shop(voyado)
        await shop.sell()
    remount(small_disk, "ro")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await VoyadoClient(settings).__aenter__()
    code, said = command(settings, "drain")
    assert code == 2
    assert "VOYADO_OUTBOX" in said
    assert "Traceback" not in said
    remount(small_disk, "rw")
    async with VoyadoClient(settings) as voyado:
        await the_books_close(engage, voyado, *shop.sold)


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True, capture_output=True)


async def test_a_damaged_file_is_refused_untouched_and_a_restored_one_goes_on(engage: Sandbox, tmp_path: Path) -> None:
    settings = settings_of(engage, tmp_path)
    async with VoyadoClient(settings, drain=False) as voyado:
        shop = Shop(voyado)
        for _ in range(200):
            await shop.sell()
    path = tmp_path / "outbox.db"
    sound = path.read_bytes()
    path.write_bytes(b"not a database, certainly" * 400)
    damaged = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(OutboxDamaged, match="not touched"):
        await VoyadoClient(settings).__aenter__()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == damaged

    # Only one page in the middle: what is on it can't be read, and that is said.
    path.write_bytes(sound[: 40 * 4096] + b"\xff" * 4096 + sound[41 * 4096 :])
    code, said = command(settings, "verify", "--json")
    assert code == 1
    report = msgspec.json.decode(said)
    assert not report["sound"]
    assert [check["check"] for check in report["checks"] if not check["ok"]][:1] == ["integrity"]

    path.write_bytes(sound)
    async with VoyadoClient(settings) as voyado:
        await the_books_close(engage, voyado, *shop.sold)
    assert command(settings, "verify")[0] == 0


def command(settings: Settings, *arguments: str) -> tuple[int, str]:
    """A command of the command line, on this outbox."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "voyado_async", *arguments],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")},
            "VOYADO_OUTBOX": str(settings.outbox_path),
            "VOYADO_BASE_URL": settings.require_base_url(),
            "VOYADO_API_KEY": settings.require_api_key(),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_schema_for_newer_code_only_is_refused_and_one_that_this_code_may_open_sells(
    engage: Sandbox, tmp_path: Path
) -> None:
    settings = settings_of(engage, tmp_path)
    async with VoyadoClient(settings, drain=False) as voyado:
        shop = Shop(voyado)
        await shop.sell()
    alter(settings.outbox_path, "UPDATE meta SET value = '99' WHERE name = 'oldest_code'", "PRAGMA user_version = 99")
    before = hashlib.sha256(settings.outbox_path.read_bytes()).hexdigest()
    with pytest.raises(OutboxMismatch, match="newer code"):
        await VoyadoClient(settings).__aenter__()
    code, said = command(settings, "status")
    assert (code, "newer" in said) == (2, True)
    assert hashlib.sha256(settings.outbox_path.read_bytes()).hexdigest() == before

    alter(settings.outbox_path, "UPDATE meta SET value = '1' WHERE name = 'oldest_code'")
    async with VoyadoClient(settings) as voyado:
        shop = Shop(voyado)
        shop._number = 1
        await shop.sell()
        await the_books_close(engage, voyado, "S118-bad-1", *shop.sold)


def alter(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        database.execute(statement)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


@asynccontextmanager
async def clocked(engage: Sandbox, folder: Path, **changes: Any) -> AsyncIterator[tuple[VoyadoClient, SetClock]]:
    clock = SetClock()
    async with VoyadoClient(settings_of(engage, folder, **changes), clock=clock) as voyado:
        yield voyado, clock


@pytest.mark.parametrize("days", [-400, -1, 1, 400])
async def test_a_clock_that_is_set_delays_no_retry_and_keeps_the_order(
    engage: Sandbox, tmp_path: Path, days: int
) -> None:
    async with clocked(engage, tmp_path, retry_delays=(2.0,), retry_attempts=20, breaker_failures=100) as (
        voyado,
        clock,
    ):
        shop = Shop(voyado)
        engage.faults.add("status", status=503, method="POST", count=2)
        for _ in range(3):
            await shop.sell()
        async with asyncio.timeout(10):
            while not engage.journal.requests("POST", "receipts"):
                await asyncio.sleep(0.02)
        clock.offset = days * DAY
        for _ in range(3):
            await shop.sell()
        # Two unknown outcomes rest 10 s each (DESIGN 3); what the clock says makes it no longer.
        await the_books_close(engage, voyado, *shop.sold)
        arrived = [effect.subject for effect in engage.journal.effects("receipt_accepted")]
        assert arrived == shop.sold


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_that_is_set_in_an_outage_ends_neither_road(engage: Sandbox, tmp_path: Path, days: int) -> None:
    async with clocked(engage, tmp_path, breaker_failures=2) as (voyado, clock):
        shop = Shop(voyado)
        outage = engage.faults.add("refuse")
        await asyncio.gather(
            *(voyado.contacts.update(None, {"city": "Lund"}, email=f"{name}@example.com") for name in ("bo", "cy"))
        )
        for _ in range(3):
            await shop.sell()
        await until(voyado, lambda status: status.breaker != "closed")
        clock.offset = days * DAY
        for _ in range(3):
            await shop.sell()
        await until(voyado, lambda status: count(status, "imported") > 0)
        clock.offset = 0
        engage.faults.remove(outage)
        await until(voyado, lambda status: not count(status, "pending", "exhausted", "uploaded", "imported"))
        engage.pipeline.run()
        stored = Counter(effect.subject for effect in engage.journal.effects("receipt"))
        assert stored == Counter(shop.sold)
        assert [finding for finding in await voyado.outbox.verify() if not finding.ok] == []


async def test_payloads_of_a_megabyte_go_by_either_road(engage: Sandbox, tmp_path: Path) -> None:
    async with VoyadoClient(settings_of(engage, tmp_path, breaker_failures=2)) as voyado:
        shop = Shop(voyado)
        for _ in range(3):
            await shop.sell(1_000_000)
        await delivered(voyado, 3)
        outage = engage.faults.add("refuse")
        for name in ("anna", "bo", "cy"):
            await voyado.contacts.update(None, {"city": name}, email=f"{name}@example.com")
        for _ in range(3):
            await shop.sell(1_000_000)
        await until(voyado, lambda status: count(status, "imported") >= 3)
        engage.faults.remove(outage)
        await until(voyado, lambda status: not count(status, "pending", "exhausted", "uploaded", "imported"))
        engage.pipeline.run()
        assert Counter(effect.subject for effect in engage.journal.effects("receipt")) == Counter(shop.sold)
        for stored in engage.state.receipts.values():
            assert len(stored["items"][0]["articleName"]) == 1_000_000
        assert [finding for finding in await voyado.outbox.verify() if not finding.ok] == []
