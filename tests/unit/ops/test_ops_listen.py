"""What is answered over HTTP: health, readiness, metrics, the page. Only reads, and nothing of a person."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from night import PLANTED, NightClock, Seen
from prometheus_client.parser import text_string_to_metric_families

from voyado_async.errors import ConfigurationError, OutboxUnavailable
from voyado_async.events import AttemptMade, DrainerStarted, Settled
from voyado_async.ops.listen import HEADERS, bytes_on_disk, listening_socket
from voyado_async.ops.page import chart
from voyado_async.outbox.overview import SPAN, Flow
from voyado_async.outbox.records import BreakerRecord
from voyado_async.outbox.sqlite import SqliteOutbox

PATHS = ("/", "/metrics", "/healthz", "/readyz")


async def get(seen: Seen, path: str) -> tuple[int, str]:
    async with seen.session.get(path) as answer:
        assert HEADERS.items() <= dict(answer.headers).items()
        return answer.status, await answer.text()


async def samples(seen: Seen) -> dict[str, float]:
    """Every sample of the metrics by name and labels."""
    _, text = await get(seen, "/metrics")
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_health_and_readiness_say_why_not(night: SqliteOutbox, clock: NightClock, seen: Seen) -> None:
    """43 minutes of due work and nobody drains: neither this process nor another one."""
    why = "work has been due for 2580 s, and nobody drains\n"
    assert await get(seen, "/healthz") == (503, why)
    assert await get(seen, "/readyz") == (503, "it does not drain yet\n")
    seen.pulse(DrainerStarted(pid=1))
    assert await get(seen, "/healthz") == (200, "alive\n")
    assert await get(seen, "/readyz") == (200, "draining\n")
    await night.set_breaker(BreakerRecord("closed", clock.now(), halted="401"))
    clock.elapsed += 2
    assert await get(seen, "/readyz") == (503, "the API key is refused (401)\n")
    assert await get(seen, "/healthz") == (200, "alive\n")


async def test_metrics_tell_where_the_outbox_stands(night: SqliteOutbox, seen: Seen) -> None:
    found = await samples(seen)
    counts = await night.counts()
    for kind, by_state in counts.kinds.items():
        for state, count in by_state.items():
            assert found[f"voyado_entries {kind} {state}"] == count
    assert found["voyado_enqueued_total"] == counts.enqueued
    assert found["voyado_oldest_seconds"] == 43 * 60
    assert found["voyado_newest_seconds"] == 13 * 60
    assert (found["voyado_breaker open"], found["voyado_breaker closed"]) == (1, 0)
    assert (found["voyado_files spooled"], found["voyado_files uploaded"]) == (1, 0)
    assert (found["voyado_needs_person"], found["voyado_key_refused"], found["voyado_balanced"]) == (3, 0, 1)
    assert (found["voyado_rate"], found["voyado_drainer_running"]) == (40, 0)
    assert found["voyado_disk_bytes database"] + found["voyado_disk_bytes log"] > 100_000
    assert found["process_open_fds"] > 0


async def test_metrics_tell_what_this_process_did(outbox: SqliteOutbox, seen: Seen) -> None:
    seen.metrics(
        AttemptMade(entry_id=1, kind="redeem", what="request", outcome="delivered", status=200, duration_ms=180)
    )
    seen.metrics(AttemptMade(entry_id=2, kind="redeem", what="request", outcome="retry", duration_ms=7000))
    seen.metrics(AttemptMade(entry_id=2, kind="redeem", what="skipped", outcome="exhausted", code="BreakerOpen"))
    seen.metrics(Settled(entry_id=1, kind="redeem", state="delivered", waited_ms=4000))
    seen.metrics(Settled(entry_id=2, kind="redeem", state="rejected", waited_ms=4000))
    found = await samples(seen)
    assert found["voyado_attempts_total delivered 200 request"] == 1
    assert found["voyado_attempts_total retry  request"] == 1
    assert found["voyado_attempts_total exhausted  skipped"] == 1
    assert (found["voyado_request_seconds_bucket redeem 0.25"], found["voyado_request_seconds_count redeem"]) == (1, 2)
    assert (found["voyado_delivery_seconds_sum redeem"], found["voyado_delivery_seconds_count redeem"]) == (4, 1)


async def test_the_page_says_what_waits_why_and_what_to_type(night: SqliteOutbox, seen: Seen) -> None:
    status, text = await get(seen, "/")
    plain = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL))
    assert status == 200
    for told in (
        "7 rejected: voyado-async list --state rejected", "work is due and nobody drains: voyado-async drain",
        "open for 1 h 5 min, Engage is asked again when somebody drains", "waits for the API for 43 min",
        "Written: 352, at most 26 in a quarter of an hour", "their files cannot leave (login)",
        "259 contact_create 2027-01-15T12:15:00Z ContactNotFound voyado-async show 259",
    ):  # fmt: skip
        assert told in plain, told


async def test_a_quiet_outbox_needs_nobody(outbox: SqliteOutbox, seen: Seen) -> None:
    _, text = await get(seen, "/")
    assert "Nobody has to do anything." in text
    assert "nothing was written yet" in text


async def test_what_is_shown_is_escaped(night: SqliteOutbox, seen: Seen) -> None:
    database = night._writer._connection
    await database.run(lambda c: c.execute("UPDATE entry SET reason = '<script>x</script>' WHERE state = 'rejected'"))
    _, text = await get(seen, "/")
    assert "<script" not in text
    assert "&lt;script&gt;x&lt;/script&gt;" in text


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_of_a_person_is_shown(night: SqliteOutbox, seen: Seen, path: str) -> None:
    _, text = await get(seen, path)
    assert [secret for secret in PLANTED if secret in text] == []


@pytest.mark.parametrize("path", PATHS)
async def test_it_only_reads(seen: Seen, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with seen.session.request(method, path) as answer:
            assert answer.status == 405


@pytest.mark.parametrize("path", ["", "healthz", "readyz", "metrics"])
async def test_a_browser_keeps_and_runs_nothing_of_an_answer(night: SqliteOutbox, seen: Seen, path: str) -> None:
    async with seen.session.get(f"{seen.url}/{path}") as answer:
        told = answer.headers
    policy = dict(part.strip().split(" ", 1) for part in told["Content-Security-Policy"].split(";"))
    closed = ("default-src", "form-action", "base-uri", "frame-ancestors")
    assert {name: policy[name] for name in closed} == dict.fromkeys(closed, "'none'")
    assert "script-src" not in policy
    others = ("Cache-Control", "Referrer-Policy", "X-Content-Type-Options")
    assert [told[name] for name in others] == ["no-store", "no-referrer", "nosniff"]


async def test_an_outbox_that_cannot_be_read_is_told_in_one_line(
    outbox: SqliteOutbox, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(now: int, spans: int) -> None:
        raise OutboxUnavailable("the outbox /x cannot be read now (disk I/O error)")

    monkeypatch.setattr(outbox, "overview", fails)
    for path in PATHS:
        assert await get(seen, path) == (503, "the outbox /x cannot be read now (disk I/O error)\n")


async def test_however_often_somebody_asks_the_outbox_is_looked_at_once_a_second(
    outbox: SqliteOutbox, clock: NightClock, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    overview = outbox.overview

    async def counted(now: int, spans: int) -> object:
        looks.append(now)
        return await overview(now, spans)

    monkeypatch.setattr(outbox, "overview", counted)
    for _ in range(3):
        for path in PATHS:
            await get(seen, path)
    assert len(looks) == 1
    clock.elapsed += 1
    await get(seen, "/readyz")
    assert len(looks) == 2


def test_an_address_that_cannot_be_had_is_a_matter_of_configuration() -> None:
    taken = listening_socket("127.0.0.1", 0)
    with taken, pytest.raises(ConfigurationError, match=r"--listen: 127.0.0.1:\d+ cannot be listened on \(Address"):
        listening_socket("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigurationError, match=r"no-such-host\.invalid"):
        listening_socket("no-such-host.invalid", 1)


def test_sizes_are_told_without_opening_anything(tmp_path: Path) -> None:
    (tmp_path / "o.db").write_bytes(b"1234")
    assert bytes_on_disk(str(tmp_path / "o.db"), tmp_path / "spool") == {"database": 4, "log": 0, "spool": 0}
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "a.xml").write_bytes(b"12")
    (tmp_path / "spool" / "b.xml").write_bytes(b"345")
    assert bytes_on_disk(str(tmp_path / "o.db"), tmp_path / "spool")["spool"] == 5


def test_a_bar_that_is_not_zero_can_be_seen() -> None:
    quarter = 3 * SPAN
    flow = [Flow(0, 1000, {}), Flow(SPAN, 0, {"delivered": 2}), Flow(quarter, 1, {}), Flow(2 * quarter, 0, {})]
    written, delivered, rejected = chart(flow)
    assert [(bar.at, bar.count, bar.height) for bar in written.bars] == [
        ("00:00", 1000, 100), ("00:15", 1, 2), ("00:30", 0, 0),
    ]  # fmt: skip
    assert (delivered.total, delivered.most, rejected.total) == (2, 2, 0)
