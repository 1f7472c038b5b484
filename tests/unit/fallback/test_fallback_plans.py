"""What is due, what to upload, what a listing means: tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from voyado_async.delivery import FileFamily
from voyado_async.fallback import plans
from voyado_async.fallback.plans import INCOMPLETE, LOST, STAYS, UploadStep
from voyado_async.outbox.records import FileRecord
from voyado_async.outbox.states import FileState

HOUR = 3_600_000
FOLDERS: dict[FileFamily, str | None] = {
    FileFamily.CONTACTS: "c",
    FileFamily.REDEMPTIONS: None,
    FileFamily.TRANSACTIONS: "t",
}


def file(number: int = 1, family: FileFamily = FileFamily.TRANSACTIONS, **changes: Any) -> FileRecord:
    record = FileRecord(
        number,
        f"{number}.xml",
        family,
        "Member",
        "contactId",
        FileState.SPOOLED,
        entries=1,
        lines=1,
        size=10,
        created=0,
    )
    return msgspec.structs.replace(record, **changes)


@pytest.mark.parametrize(
    ("lines", "oldest", "gathered", "left_over", "due"),
    [
        (0, None, None, 0, None),
        (1, 1000, None, 0, 301_000),
        (1, 1000, 50_000, 0, 350_000),
        (1, 60_000, 50_000, 0, 360_000),
        (100, 1000, None, 0, 70_000),
        (150, 1000, 50_000, 60, 350_000),
        (160, 1000, 50_000, 60, 70_000),
        (1, 90_000, 50_000, 0, 70_000),
    ],
)
def test_files_are_written_after_the_interval_or_when_enough_new_lines_wait(
    lines: int, oldest: int | None, gathered: int | None, left_over: int, due: int | None
) -> None:
    assert due == plans.gathering_due(
        lines=lines, oldest=oldest, gathered=gathered, left_over=left_over, interval=300, max_lines=100, now=70_000
    )


def test_the_ladder_repeats_its_last_step() -> None:
    waits = [plans.next_try(failures, (10.0, 30.0, 60.0, 300.0), 0) for failures in range(1, 7)]
    assert waits == [10_000, 30_000, 60_000, 300_000, 300_000, 300_000]


def test_uploads_go_contacts_first_each_oldest_first_and_only_where_a_folder_is_set() -> None:
    files = [
        file(1),
        file(2, FileFamily.REDEMPTIONS),
        file(4, FileFamily.CONTACTS, state=FileState.UPLOADING),
        file(3, FileFamily.CONTACTS),
        file(5, state=FileState.UPLOADED),
        file(6, problem=INCOMPLETE),
        file(7, carried=True),
        file(8, problem="unreachable"),
        file(9, state=FileState.UPLOADING, problem=LOST),
    ]
    assert [one.id for one in plans.to_upload(files, FOLDERS)] == [3, 4, 1, 8]


@pytest.mark.parametrize(
    ("state", "local", "remote", "step"),
    [
        (FileState.SPOOLED, 10, None, UploadStep.SEND),
        (FileState.UPLOADING, 10, None, UploadStep.SEND),
        (FileState.SPOOLED, 10, 10, UploadStep.THERE),
        (FileState.UPLOADING, None, 10, UploadStep.THERE),
        (FileState.UPLOADING, 10, 9, UploadStep.NAME_TAKEN),
        (FileState.SPOOLED, None, None, UploadStep.REWRITE),
        (FileState.SPOOLED, 9, None, UploadStep.REWRITE),
        (FileState.UPLOADING, None, None, UploadStep.STUCK),
    ],
)
def test_what_is_done_about_a_file_follows_from_what_is_here_and_there(
    state: FileState, local: int | None, remote: int | None, step: UploadStep
) -> None:
    assert plans.upload_step(file(state=state), local=local, remote=remote) is step


@pytest.mark.parametrize(
    ("changes", "listing", "now", "expected"),
    [
        ({"uploaded": 0, "seen": 0}, set(), 1, (True, None)),
        ({"uploaded": 0, "seen": 0}, None, 9 * HOUR, None),
        ({"uploaded": 0, "seen": 0}, {"1.xml"}, 1, None),
        ({"uploaded": 0, "seen": 0}, {"1.xml"}, HOUR, (False, None)),
        ({"uploaded": 0, "seen": 2 * HOUR - 1}, {"1.xml"}, 2 * HOUR, None),
        ({"uploaded": 0, "seen": HOUR}, {"1.xml"}, 2 * HOUR + 1, (False, STAYS)),
        ({"uploaded": 0, "seen": 2 * HOUR, "problem": STAYS}, {"1.xml"}, 2 * HOUR + 1, None),
        ({"uploaded": 0, "seen": 2 * HOUR, "problem": STAYS}, set(), 2 * HOUR + 1, (True, None)),
        ({"uploaded": 0, "seen": HOUR, "problem": "host_key"}, {"1.xml"}, HOUR, (False, None)),
        ({"uploaded": 0, "seen": HOUR, "problem": "host_key"}, {"1.xml"}, 2 * HOUR + 1, (False, STAYS)),
        ({"uploaded": 0, "seen": HOUR, "problem": "host_key"}, set(), HOUR, (True, None)),
        ({"uploaded": 0, "carried": True, "problem": "host_key"}, set(), HOUR, (False, None)),
        ({"uploaded": 0, "carried": True, "problem": "host_key"}, None, HOUR, None),
        ({"uploaded": 0, "carried": True}, set(), 2 * HOUR, None),
        ({"uploaded": 0, "carried": True}, None, 2 * HOUR + 1, (True, None)),
        ({"uploaded": 0, "carried": True}, set(), 2 * HOUR + 1, (True, None)),
        ({"uploaded": 0, "carried": True}, {"1.xml"}, 1, (False, None)),
        ({"uploaded": 2 * HOUR, "carried": True}, set(), 0, None),
        ({"uploaded": 2 * HOUR + 1, "carried": True}, set(), 0, (True, None)),
        ({"uploaded": 2 * HOUR + 1, "carried": True}, {"1.xml"}, 0, (False, None)),
        ({"uploaded": None, "carried": True}, set(), 9 * HOUR, None),
        ({"uploaded": 9 * HOUR, "seen": 9 * HOUR}, {"1.xml"}, 0, None),
        ({"uploaded": 0, "seen": 0, "state": FileState.UPLOADING}, set(), 1, None),
    ],
)
def test_a_listing_is_read_as_the_design_says(
    changes: dict[str, Any], listing: set[str] | None, now: int, expected: tuple[bool, str | None] | None
) -> None:
    watched = file(**({"state": FileState.UPLOADED} | changes))
    news = plans.news_of([watched], listing, import_period=3600, now=now)
    assert [(one.file, one.imported, one.problem) for one in news] == (
        [] if expected is None else [(watched, *expected)]
    )


def test_only_what_nothing_needs_is_removed() -> None:
    day = 24 * HOUR
    records = {
        "spooled.xml": file(),
        "uploaded.xml": file(state=FileState.UPLOADED),
        "fresh.xml": file(state=FileState.IMPORTED, imported=29 * day),
        "old.xml": file(state=FileState.IMPORTED, imported=day),
        "withdrawn.xml": file(state=FileState.WITHDRAWN),
        "lost.xml": file(state=FileState.LOST),
    }
    present = [*records, "unknown.xml", "foreign.xml"]
    removed = plans.to_remove(present, records, {"unknown.xml"}, retention_days=30, now=32 * day)
    assert removed == ["old.xml", "withdrawn.xml", "lost.xml", "unknown.xml"]


def test_news_tell_of_which_file_and_whether_it_was_seen_and_pass_over_others() -> None:
    files = [
        file(1),
        file(2, state=FileState.UPLOADED, uploaded=0),
        file(3, state=FileState.UPLOADED, uploaded=0, seen=0),
    ]
    assert plans.news_of(files, {"2.xml"}, import_period=3600, now=5) == [
        plans.News(files[1], imported=False, seen=True, problem=None),
        plans.News(files[2], imported=True),
    ]


@pytest.mark.parametrize(("since", "told"), [(HOUR // 4 - 1, False), (HOUR // 4, True)])
def test_that_a_file_is_still_there_is_written_down_four_times_a_period(since: int, told: bool) -> None:
    watched = file(state=FileState.UPLOADED, uploaded=0, seen=1)
    assert bool(plans.news_of([watched], {"1.xml"}, import_period=3600, now=1 + since)) is told


@pytest.mark.parametrize(("age", "removed"), [(30 * 24 * HOUR - 1, []), (30 * 24 * HOUR, ["1.xml"])])
def test_an_imported_file_is_kept_for_the_retention_to_the_millisecond(age: int, removed: list[str]) -> None:
    records = {"1.xml": file(state=FileState.IMPORTED, imported=7)}
    assert plans.to_remove(["1.xml"], records, {"1.xml"}, retention_days=30, now=7 + age) == removed
