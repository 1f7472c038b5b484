"""The status on one screen: what waits and why, the limits of monitoring, and that it costs next to nothing."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_calls import BASE_URL, Call, In

from voyado_async.cli.status import Limits, passed
from voyado_async.cli.status_lines import lines_in, lines_of
from voyado_async.delivery import Draft, FileFamily, Kind
from voyado_async.outbox.overview import HOUR, SPAN, FileTotals, Flow, Overview, Standing
from voyado_async.outbox.records import BreakerRecord, Counts, DrainerRecord, FileRecord, Settlement
from voyado_async.outbox.states import State
from voyado_async.resources.advice import Advice, Plan
from voyado_async.resources.status import Status, status_of
from voyado_async.settings import Settings

NOW = 1_800_000_000_000
PID = 4711
MINUTE = 60_000


def overview(states: dict[str, int] | None = None, **more: Any) -> Overview:
    by_state = {state.value: 0 for state in State} | (states or {})
    total = sum(by_state.values())
    facts: dict[str, Any] = {
        "counts": Counts(by_state, {"receipt": by_state}, total, 0, 0, NOW - MINUTE if by_state["pending"] else None),
        "standing": {}, "due_since": None, "last_enqueued": NOW - 1000, "files": [], "open_files": [],
        "files_of_outage": frozenset(), "unconfirmed": [],
        "breaker": None, "drainer": DrainerRecord(PID, "till", NOW - HOUR, NOW), "base_url": BASE_URL, "flow": [],
    }  # fmt: skip
    return Overview(**(facts | more))


def status(found: Overview, *, running: bool = True, plan: Plan | None = None) -> Status:
    return status_of(found, outbox="/var/outbox.db", now=NOW, pid=PID if running else None, plan=plan or Plan())


def file(state: str, problem: str | None, family: FileFamily = FileFamily.TRANSACTIONS, **more: Any) -> FileRecord:
    return FileRecord(1, "f.xml", family, "Member", "contactId", state, 9, 9, 9, NOW, problem=problem, **more)


WAITING = {"waiting": Standing(NOW - MINUTE, {"Http503": 3, "Timeout": 1}, NOW + MINUTE)}
OPEN = BreakerRecord("open", NOW - 2 * MINUTE, NOW + 30_000)
OVER = {"waiting": Standing(NOW - MINUTE, {"BreakerOpen": 3, "Http503": 2, "Timeout": 1}, NOW + MINUTE)}
WHY = [
    ("nobody drains", overview({"pending": 4}), False, "nobody drains",
     "sent when somebody does: voyado-async drain", None),
    (
        "due now", overview({"pending": 4}, due_since=NOW - 1), True,
        "in turn", "being sent", None,
    ),
    (
        "due now, after an outage", overview({"pending": 4}, standing=OVER, due_since=NOW - 1), True,
        "in turn: Http503, Timeout", "being sent", None,
    ),
    (
        "a retry after an outage", overview({"pending": 4}, standing=OVER, due_since=NOW + MINUTE), True,
        "after a failed attempt: Http503, Timeout", "the next attempt", 60,
    ),
    (
        "a retry", overview({"sending": 1}, standing=WAITING, due_since=NOW + MINUTE), True,
        "after a failed attempt: Http503, Timeout", "the next attempt", 60,
    ),
    (
        "the breaker is open", overview({"pending": 4}, standing=WAITING, breaker=OPEN, due_since=NOW), True,
        "Engage is unwell: Http503, Timeout", "a probe asks whether Engage is back", 30,
    ),
    (
        "the key is refused", overview({"pending": 4}, breaker=BreakerRecord("closed", NOW, halted="401")), True,
        "the API key is refused (401)", "sent when a probe finds that the key works again", None,
    ),
    ("held", overview({"pending": 4}), True, "behind entries that left by file", "sent when those are confirmed", None),
    (
        "exhausted", overview({"exhausted": 2}, standing={"exhausted": Standing(NOW - MINUTE, {"Http503": 2})}), True,
        "retries used up: Http503",
        "a file (every 300 s), or the API when it is back", None,
    ),
    (
        "exhausted in an outage",
        overview({"exhausted": 2}, standing={"exhausted": Standing(NOW - MINUTE, {"BreakerOpen": 2, "Http503": 1})}),
        True, "retries used up while Engage was away", "a file (every 300 s), or the API when it is back", None,
    ),
    (
        "no server", overview({"spooled": 2}, files=[FileTotals("spooled", 1, 2, 99, NOW - MINUTE)]), True,
        "no file server is set", "a person carries the files: voyado-async files --carried NAME", None,
    ),
    (
        "a file that cannot leave", overview({"spooled": 2}, open_files=[file("spooled", "host_key")]), True,
        "their files cannot leave (host_key)", "the upload is tried again", None,
    ),
    (
        "uploaded", overview({"uploaded": 2}, files=[FileTotals("uploaded", 1, 2, 99, NOW - MINUTE)]), True,
        "their files are with Engage", "Engage's next import", 3540,
    ),
    (
        "uploaded, and left there", overview(
            {"uploaded": 2}, files=[FileTotals("uploaded", 1, 2, 99, NOW - MINUTE)],
            open_files=[file("uploaded", "stays")],
        ), True, "their files are with Engage", "Engage's next import", 3540,
    ),
    (
        "uploaded, and out of sight", overview(
            {"uploaded": 2}, files=[FileTotals("uploaded", 1, 2, 99, NOW - MINUTE)],
            open_files=[file("uploaded", "host_key", seen=NOW)],
        ), True, "nobody can see what became of their files (host_key)", "the next look at the server", None,
    ),
    (
        "imported", overview({"imported": 2}, standing={"imported": Standing(NOW - MINUTE, {}, NOW + 5000)}), True,
        "Engage has taken their files", "confirmed over the API", 5,
    ),
    (
        "imported in an outage", overview({"imported": 2}, breaker=OPEN), True,
        "Engage has taken their files", "confirmed over the API when Engage answers", None,
    ),
    (
        "rejected", overview({"rejected": 2}, standing={"rejected": Standing(NOW - MINUTE, {"NotFound": 2})}), True,
        "refused for good: NotFound", "a person decides", None,
    ),
    (
        "rejected for many reasons",
        overview({"rejected": 6}, standing={"rejected": Standing(NOW, {"NotFound": 3, "Expired": 2, "Twice": 1})}),
        True, "refused for good: NotFound, Expired, ...", "a person decides", None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "running", "why", "then", "seconds"), [row[1:] for row in WHY], ids=[r[0] for r in WHY]
)
def test_it_says_why_entries_wait_and_what_happens_next(
    found: Overview, running: bool, why: str, then: str, seconds: float | None
) -> None:
    (waiting,) = status(found, running=running).waiting
    assert (waiting.why, waiting.next, waiting.next_in_seconds) == (why, then, seconds)


def test_what_is_being_sent_is_told_with_what_is_pending() -> None:
    kinds = {"receipt": {"pending": 1, "sending": 2}, "redeem": {"pending": 2}, "contact_type": {"rejected": 1}}
    states = dict.fromkeys(State, 0) | {"pending": 3, "sending": 2}
    lines = lines_of(status(overview(states, counts=Counts(states, kinds, 5, 0, 0, NOW - MINUTE))))
    assert "  5 pending  (3 receipt, 2 redeem)" in lines


BY_HAND = frozenset({FileFamily.TRANSACTIONS})


@pytest.mark.parametrize(
    ("found", "breaker", "by_hand", "told"),
    [
        (file("spooled", None), None, BY_HAND, "has to be carried by hand, or withdrawn to go over the API"),
        (
            file("spooled", None),
            BreakerRecord("closed", NOW),
            BY_HAND,
            "has to be carried by hand, or withdrawn to go over the API",
        ),
        (file("spooled", None), OPEN, BY_HAND, None),  # the API takes it when it is back
        (file("spooled", None), BreakerRecord("closed", NOW, halted="401"), BY_HAND, None),
        (file("spooled", None), None, frozenset({FileFamily.CONTACTS}), None),
        (file("spooled", "incomplete"), None, BY_HAND, None),
        (file("uploading", None), OPEN, BY_HAND, "nobody looks whether it was imported"),
        (file("uploaded", None), None, BY_HAND, "nobody looks whether it was imported"),
        (file("uploaded", "stays"), None, BY_HAND, "stays"),
        (msgspec.structs.replace(file("uploaded", None), carried=True), None, BY_HAND, None),
    ],
)
def test_a_file_that_nobody_uploads_needs_a_person_once_the_api_is_well(
    found: FileRecord, breaker: BreakerRecord | None, by_hand: frozenset[FileFamily], told: str | None
) -> None:
    needs = status(overview(open_files=[found], breaker=breaker), plan=Plan(by_hand=by_hand)).advice
    of_files = [(one.reason, one.command) for one in needs if one.reason.startswith("file ")]
    assert of_files == ([] if told is None else [(f"file f.xml: {told}", "voyado-async files")])


def test_a_file_of_the_outage_goes_back_by_itself_and_others_that_nobody_uploads_are_counted() -> None:
    kept = [file("spooled", None), file("spooled", None, FileFamily.REDEMPTIONS)]
    plan = Plan(by_hand=frozenset(FileFamily))
    of_outage = overview(open_files=kept, files_of_outage=frozenset({1}))
    assert status(of_outage, plan=plan).needs_person == ()
    assert status(overview(open_files=kept), plan=plan).needs_person == (
        "2 files: has to be carried by hand, or withdrawn to go over the API",
    )


SERVER: dict[str, Any] = {
    "sftp_host": "h",
    "sftp_username": "u",
    "sftp_password": "p",
    "sftp_host_key": f"SHA256:{'A' * 43}",
}


@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        (Settings(), frozenset(FileFamily)),
        (Settings(sftp_redemptions_dir="r"), frozenset(FileFamily)),
        (Settings(**SERVER), frozenset({FileFamily.REDEMPTIONS})),
        (Settings(**SERVER, sftp_redemptions_dir="r"), frozenset()),
    ],
)
def test_what_nobody_uploads_follows_from_the_settings(settings: Settings, by_hand: frozenset[FileFamily]) -> None:
    assert Plan.of(settings).by_hand == by_hand


def test_the_settings_of_the_second_road_decide_what_comes_next() -> None:
    (spooled,) = status(overview({"spooled": 1}), plan=Plan(uploads=True)).waiting
    assert (spooled.why, spooled.next) == ("their files are complete", "the upload")
    sales = Plan(uploads=True, by_hand=frozenset({FileFamily.REDEMPTIONS}))
    redemptions = file("spooled", None, FileFamily.REDEMPTIONS)
    (kept,) = status(overview({"spooled": 1}, open_files=[redemptions]), plan=sales).waiting
    assert (kept.why, kept.next) == (
        "no folder is set for redemptions",
        "a person carries or withdraws them: voyado-async files",
    )
    of_outage = overview({"spooled": 1}, open_files=[redemptions], files_of_outage=frozenset({1}))
    (kept,) = status(of_outage, plan=sales).waiting
    assert (kept.why, kept.next) == ("no folder is set for redemptions", "the API when it is back")
    (some,) = status(overview({"spooled": 2}, open_files=[redemptions, file("spooled", None)]), plan=sales).waiting
    assert (some.why, some.next) == ("their files are complete", "the upload")
    (imported,) = status(overview({"imported": 1}), plan=Plan(confirms=False)).waiting
    assert imported.next == "nothing: VOYADO_FALLBACK_CONFIRM is off"


NEEDS = [
    ("nothing", overview({"pending": 1, "delivered": 5}), True, []),
    ("rejected", overview({"rejected": 2}), True, [("2 rejected", "voyado-async list --state rejected")]),
    ("unattended", overview({"pending": 1}, due_since=NOW - MINUTE), False,
     [("work is due and nobody drains", "voyado-async drain")]),
    ("exhausted, and nobody drains", overview(
        {"exhausted": 1}, standing={"exhausted": Standing(NOW - MINUTE, {})},
        drainer=DrainerRecord(1, "h", 0, NOW - MINUTE),
    ), False, [("work is due and nobody drains", "voyado-async drain")]),
    ("spooled, and nobody drains", overview(
        {"spooled": 1}, files=[FileTotals("spooled", 1, 1, 1, NOW - MINUTE)], drainer=None
    ), False, [("work is due and nobody drains", "voyado-async drain")]),
    ("exhausted, and one drained a moment ago", overview(
        {"exhausted": 1}, standing={"exhausted": Standing(NOW - HOUR, {})},
        drainer=DrainerRecord(1, "h", 0, NOW - MINUTE + 1),
    ), False, []),
    ("exhausted a moment ago", overview(
        {"exhausted": 1}, standing={"exhausted": Standing(NOW - MINUTE + 1, {})}, drainer=None
    ), False, []),
    ("due for less than a minute", overview({"pending": 1}, due_since=NOW - MINUTE + 1), False, []),
    ("stalled", overview({"pending": 1}, due_since=NOW - MINUTE, drainer=DrainerRecord(PID, "h", 0, NOW - HOUR)), True,
     [("the drainer is stalled", "voyado-async check")]),
    ("stalled on the first road, while it walks the second", overview(
        {"pending": 1}, due_since=NOW - MINUTE, drainer=DrainerRecord(PID, "h", 0, NOW, None, NOW - 125_000)
    ), True, [("the drainer is stalled", "voyado-async check")]),
    ("a request may still be under way", overview(
        {"pending": 1}, due_since=NOW - MINUTE, drainer=DrainerRecord(PID, "h", 0, NOW, None, NOW - 124_999)
    ), True, []),
    ("just taken over", overview(
        {"pending": 1}, due_since=NOW - MINUTE, drainer=DrainerRecord(PID - 1, "h", 0, NOW - HOUR)
    ), True, []),
    ("due, and it moves", overview({"pending": 1}, due_since=NOW - MINUTE), True, []),
    ("refused", overview(breaker=BreakerRecord("closed", 1, halted="403:redeem")), True,
     [("the API key is refused (403:redeem)", "voyado-async check")]),
    ("a file", overview(open_files=[file("uploaded", "stays"), file("spooled", "incomplete")]), True,
     [("file f.xml: stays", "voyado-async files")]),
    ("many files", overview(open_files=[file("spooled", "login"), *[file("uploaded", "stays")] * 20]), True,
     [("20 files: stays", "voyado-async files"), ("file f.xml: login", "voyado-async files")]),
    ("a file out of sight", overview(open_files=[file("uploaded", "host_key", seen=NOW)]), True,
     [("file f.xml: host_key; nobody has seen since 2027-01-15T08:00:00Z what became of it",
       "voyado-async check")]),
    ("files out of sight", overview(open_files=[
        file("spooled", "host_key"), file("uploaded", "host_key", seen=NOW),
        file("uploaded", "host_key", uploaded=NOW - 1000),
     ]), True,
     [("3 files: host_key; nobody has seen since 2027-01-15T07:59:59Z what became of 2 of them",
       "voyado-async check")]),
    ("a confirmation", overview({"imported": 1}, unconfirmed=[7]), True,
     [("entry 7 left by file, and the API, well otherwise, does not confirm it", "voyado-async show 7")]),
    ("confirmations", overview({"imported": 2}, unconfirmed=[7, 9]), True,
     [("2 entries left by file, and the API, well otherwise, does not confirm it",
       "voyado-async list --error ConfirmationFails")]),
    ("withheld", overview({"exhausted": 2}, standing={"exhausted": Standing(NOW, {"withheld_from_files": 2})}), True,
     [("entries are refused by what VOYADO_FALLBACK_XSLT_* or VOYADO_FALLBACK_XSD_* name: they wait for an outage to "
       "end, or for a correction or replay", "voyado-async list --error withheld_from_files")]),
    ("formless", overview({"exhausted": 2}, standing={"exhausted": Standing(NOW, {"no_file_form": 1})}), True,
     [("entries failed while the API was well and have no form in a file: nothing tries them again",
       "voyado-async replay --error no_file_form")]),
    ("the books", msgspec.structs.replace(overview(), counts=Counts(dict.fromkeys(State, 0), {}, 1, 0, 0, None)),
     True, [("the accounting does not close", "voyado-async verify")]),
]  # fmt: skip


@pytest.mark.parametrize(("found", "running", "needs"), [row[1:] for row in NEEDS], ids=[row[0] for row in NEEDS])
def test_it_says_what_needs_a_person_and_what_to_type(
    found: Overview, running: bool, needs: list[tuple[str, str]]
) -> None:
    told = status(found, running=running)
    assert [(one.reason, one.command) for one in told.advice] == needs
    assert told.needs_person == tuple(reason for reason, _ in needs)


def test_the_last_hour_tells_whether_it_grows() -> None:
    spans = [Flow(NOW - HOUR + n * SPAN, 10, {"delivered": 3, "rejected": 1, "discarded": 1}) for n in range(-5, 13)]
    told = status(overview({"pending": 100, "rejected": 20, "delivered": 50}, flow=spans)).last_hour
    assert (told.enqueued, told.delivered, told.rejected) == (130, 39, 13)
    assert (told.open_before, told.open_now) == (120 - 130 + 39 + 13, 120)
    assert told.rejection_rate == 0.25


LIMITS = [
    ("none", Limits(), []),
    ("all kept", Limits(60, 10, 25), []),
    ("age", Limits(age=59.9), ["the oldest entry waits for 1m, longer than 59s"]),
    ("silence", Limits(silence=0.9), ["nothing was written for 1s, longer than 0s"]),
    ("rejected", Limits(rejected=24.9), ["25.0 % of the last hour were rejected, more than 24.9 %"]),
]


@pytest.mark.parametrize(("limits", "told"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_limits_are_told_when_they_are_passed(limits: Limits, told: list[str]) -> None:
    found = status(overview({"pending": 1}, flow=[Flow(NOW, 0, {"delivered": 3, "rejected": 1})]))
    assert [one.reason for one in passed(found, limits)] == told


def test_an_outbox_without_entries_is_silent_and_neither_old_nor_refused() -> None:
    found = status(overview(last_enqueued=None))
    assert [one.reason for one in passed(found, Limits(1, 3600, 0))] == ["nothing was ever written, longer than 1h"]


def test_what_to_type_stands_below_where_the_line_would_be_too_long() -> None:
    few = Advice("1 rejected", "voyado-async list --state rejected")
    name = "2026112217322{}_85550680000001_transactions.xml"
    long = [Advice(f"file {name.format(n)}: unreachable", "voyado-async files") for n in (1, 2)]
    found = msgspec.structs.replace(status(overview()), advice=(few, *long, few))
    lines = lines_of(found)
    assert lines[lines.index("look at") + 1 :] == [
        "  1 rejected  voyado-async list --state rejected",
        f"  {long[0].reason}",
        f"  {long[1].reason}",
        "    voyado-async files",
        "  1 rejected  voyado-async list --state rejected",
    ]


def a_night() -> Status:
    """An outage with everything that comes with it."""
    states = {state.value: 123_456 for state in State if state not in (State.UPLOADED, State.IMPORTED)}
    reasons = {"PromotionAlreadyRedeemed": 9, "BreakerOpen": 8, "Http503": 7}
    standing = {
        name: Standing(NOW - 3 * 24 * HOUR, reasons, NOW + HOUR) for name in ("waiting", "exhausted", "rejected")
    }
    kinds = {kind.value: states for kind in Kind}
    files = [FileTotals(state, 12, 123_456, 9, NOW - HOUR) for state in ("imported", "spooled")]
    return status(
        overview(
            states,
            counts=Counts(dict.fromkeys(State, 0) | states, kinds, 9, 0, 0, NOW - 3 * 24 * HOUR),
            standing=standing,
            files=files,
            breaker=OPEN,
            due_since=NOW - HOUR,
            open_files=[file("spooled", "login")],
        )
    )


def test_a_night_fits_on_one_screen() -> None:
    lines = lines_of(a_night())
    assert len(lines) <= 24
    assert [line for line in lines if len(line) > 120] == []
    assert lines_in(a_night(), len(lines), 120) == lines


def test_in_a_low_window_stays_what_needs_a_person_and_then_who_works() -> None:
    """In its order, and as far as it fits."""
    whole = lines_of(a_night())
    asks = whole[whole.index("look at") + 1 :]
    assert asks == [
        "  the accounting does not close  voyado-async verify",
        "  file f.xml: login  voyado-async files",
        "  123456 rejected  voyado-async list --state rejected",
    ]
    assert lines_in(a_night(), 12, 120) == [
        "drainer     running, pid 4711",
        "breaker     open for 2m, Engage is asked again in 30s",
        *whole[whole.index("") + 1 :][:5],
        "look at",
        *asks,
        "... 13 more lines in a higher window",
    ]
    for rows in range(3, len(whole)):
        for width in (20, 80, 200):
            lines = lines_in(a_night(), rows, width)
            assert len(lines) <= rows
            assert max(map(len, lines)) <= max(width, len("... 99 more lines in a higher window"))
    assert lines_in(a_night(), 4, 80)[:3] == asks


def test_where_not_even_that_has_room_the_command_stays() -> None:
    name = "2026112217322{}_85550680000001_transactions.xml"
    advice = [Advice(f"file {name.format(n)}: unreachable", "voyado-async files") for n in range(6)]
    found = msgspec.structs.replace(status(overview()), advice=tuple(advice))
    assert lines_in(found, 4, 80)[1:3] == [f"  file {name.format(5)}: unreachable", "    voyado-async files"]


@pytest.mark.parametrize("rows", [12, 40])
def test_watch_draws_what_the_window_has_room_for(rows: int, in_outbox: In) -> None:
    in_outbox(lambda outbox: outbox.enqueue([Draft(Kind.RECEIPT, b"{}", "contact:a")]))
    in_outbox(lambda outbox: outbox.settle(Settlement(1, State.PENDING, State.REJECTED, reason="NotFound")))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    command = [sys.executable, "-W", "error", "-m", "voyado_async", "status", "--watch"]
    env = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")} | {"TERM": "xterm"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=env)
    os.close(theirs)
    drawn = ""
    try:
        while "voyado-async list --state rejected" not in drawn:
            drawn += os.read(ours, 4096).decode()
        process.send_signal(signal.SIGINT)
        assert (process.wait(timeout=10), process.stderr and process.stderr.read()) == (0, b"")
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
    assert ("more lines in a higher window" in drawn) == (rows == 12)
    assert ("engage " in drawn) == (rows == 40)


def test_advice_is_counted_where_there_is_too_much_of_it() -> None:
    problems = ["unreachable", "timeout", "cut", "refused", "no_space", "host_key", "login", "name_taken"]
    lines = lines_of(status(overview(open_files=[file("spooled", problem) for problem in problems])))
    assert lines[-1] == "  and 2 more: voyado-async status --json"


def test_what_stops_everything_is_told_before_files_and_those_before_single_entries() -> None:
    found = overview(
        {"pending": 1, "rejected": 2, "exhausted": 2},
        due_since=NOW - HOUR,
        breaker=BreakerRecord("closed", 1, halted="401"),
        open_files=[file("uploaded", problem) for problem in ("stays", "login", "stays")],
        standing={"exhausted": Standing(NOW, {"no_file_form": 1, "withheld_from_files": 1})},
        counts=msgspec.structs.replace(overview({"pending": 1, "rejected": 2, "exhausted": 2}).counts, enqueued=9),
    )
    commands = [one.command for one in status(found, running=False).advice]
    assert commands == [
        "voyado-async drain",
        "voyado-async check",
        "voyado-async verify",
        "voyado-async files",
        "voyado-async check",
        "voyado-async list --state rejected",
        "voyado-async list --error withheld_from_files",
        "voyado-async replay --error no_file_form",
    ]


def test_limits_need_check_and_check_looks_once(call: Call) -> None:
    assert call("status", "--max-age", "1m").exit_code == 2
    assert call("status", "--check", "--max-age", "soon").exit_code == 2
    assert call("status", "--check", "--watch").exit_code == 2


def test_check_counts_passed_limits_as_a_person_needed(call: Call, in_outbox: In) -> None:
    in_outbox(lambda outbox: outbox.enqueue([Draft(Kind.RECEIPT, b"{}", "contact:a")]))
    assert call("status", "--check", "--max-age", "1h", "--max-silence", "1h", "--max-rejected", "0").exit_code == 0
    silent = call("status", "--check", "--max-silence", "0s", "--json")
    assert silent.exit_code == 3
    (told,) = json.loads(silent.stdout)["needs_person"]
    assert told.startswith("nothing was written for")


LOOKING = """
import sys
import click
before = set(sys.modules)
from voyado_async.cli.program import program
program(sys.argv[1:], standalone_mode=False)
more = sorted(set(sys.modules) - before)
print(len(more), *more)
"""


def modules(arguments: list[str]) -> tuple[int, set[str]]:
    """What a command imports beyond click."""
    done = subprocess.run([sys.executable, "-c", LOOKING, *arguments], capture_output=True, text=True, check=True)
    count, *names = done.stdout.splitlines()[-1].split()
    return int(count), set(names)


@pytest.mark.parametrize("arguments", [["status"], ["list"], ["files"], ["verify"], ["show", "1"]])
def test_looking_imports_neither_aiohttp_nor_what_only_others_need(arguments: list[str], in_outbox: In) -> None:
    in_outbox(lambda outbox: outbox.enqueue([Draft(Kind.RECEIPT, b"{}", "contact:a")]))
    heavy = {"aiohttp", "asyncssh", "lxml", "rich", "cryptography", "prometheus_client", "jinja2", "importlib.metadata"}
    assert modules(arguments)[1] & heavy == set()


@pytest.mark.parametrize("arguments", [["status"], ["status", "--check"], ["list"], ["files"], ["log"]])
def test_a_short_look_starts_no_event_loop_and_imports_little_more_than_click(
    arguments: list[str], in_outbox: In
) -> None:
    """60 to 70 modules, a third of what it is with asyncio: some 50 ms instead of 110. Time itself is too noisy to
    test."""
    in_outbox(lambda outbox: outbox.enqueue([Draft(Kind.RECEIPT, b"{}", "contact:a")]))
    count, names = modules(arguments)
    assert names & {"asyncio", "aiosqlite", "ssl", "logging", "email"} == set()
    assert count < 85, sorted(names)


def test_watch_shows_it_again_until_it_is_told_to_stop(in_outbox: In, home: Path) -> None:
    in_outbox(lambda outbox: outbox.enqueue([Draft(Kind.RECEIPT, b"{}", "contact:a")]))
    command = [sys.executable, "-W", "error", "-m", "voyado_async", "status", "--watch", "--interval", "0.1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["states"]["pending"] == 1
        in_outbox(lambda outbox: outbox.cancel(1, "Cancelled"))
        deadline = time.monotonic() + 20
        while json.loads(process.stdout.readline())["states"]["discarded"] == 0:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        assert (process.wait(timeout=10), process.stderr and process.stderr.read()) == (0, "")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("state", ["open", "probing"])
def test_nobody_asks_engage_again_while_nobody_drains(state: str) -> None:
    found = overview({"pending": 4}, breaker=BreakerRecord(state, NOW - 2 * MINUTE, NOW - 30_000))
    unattended, attended = status(found, running=False), status(found)
    assert (unattended.next_probe_in_seconds, attended.next_probe_in_seconds) == (None, -30)
    lines = [line for one in (unattended, attended) for line in lines_of(one) if line.startswith("breaker")]
    assert lines == [
        f"breaker     {state} for 2m, Engage is asked again when somebody drains",
        f"breaker     {state} for 2m, Engage is asked again now",
    ]
