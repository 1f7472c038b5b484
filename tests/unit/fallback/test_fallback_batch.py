"""Who goes with whom into which file."""

from __future__ import annotations

from typing import Any

import pytest

from voyado_async.delivery import FileFamily, FileForm
from voyado_async.fallback.batch import Batch, plan_files


def receipt(lines: int = 1, key: str = "contactId", contact_type: str = "Member", subject: str = "anna") -> FileForm:
    return FileForm(FileFamily.TRANSACTIONS, contact_type, key, subject, lines, {"n": lines})


def contact(record: dict[str, Any], key: str = "contactId", subject: str = "anna") -> FileForm:
    return FileForm(FileFamily.CONTACTS, "Member", key, subject, 1, record)


def redemption() -> FileForm:
    return FileForm(FileFamily.REDEMPTIONS, "Member", "contactId", "anna", 1, {})


def shares(forms: list[FileForm], max_lines: int) -> list[tuple[int, ...]]:
    return [file.entry_ids for file in plan_files(enumerate(forms), max_lines)]


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ([], []),
        ([receipt(), receipt()], [(0, 1)]),
        ([receipt(), receipt(key="email"), receipt()], [(0, 2), (1,)]),
        ([receipt(), receipt(contact_type="Contact")], [(0,), (1,)]),
        ([contact({}), contact({}, key="email", subject="bo")], [(0,), (1,)]),
        ([receipt(), redemption(), contact({})], [(2,), (1,), (0,)]),
        ([receipt(3), receipt(2), receipt(1)], [(0, 1), (2,)]),
        ([receipt(3), receipt(3), receipt(2)], [(0,), (1, 2)]),
        ([receipt(1), receipt(9), receipt(1)], [(0,), (1,), (2,)]),
        ([receipt(9)], [(0,)]),
        ([receipt(5), receipt(5)], [(0,), (1,)]),
    ],
)
def test_files_hold_one_group_each_and_at_most_five_lines(
    forms: list[FileForm], expected: list[tuple[int, ...]]
) -> None:
    assert shares(forms, 5) == expected


def test_changes_of_one_contact_become_one_record_in_which_the_later_value_wins() -> None:
    first = contact({"contactId": "a", "city": "Lund", "street": "x", "preferences": {"acceptsEmail": True}})
    other = contact({"contactId": "b", "city": "Umeå"}, subject="bo")
    later = contact({"contactId": "a", "city": "Malmö", "preferences": {"acceptsSms": False}})
    (file,) = plan_files(enumerate([first, other, later]), 5)
    assert file.lines == 2
    assert [record.form.record for record in file.records] == [
        {"contactId": "a", "city": "Malmö", "street": "x", "acceptsEmail": True, "acceptsSms": False},
        {"contactId": "b", "city": "Umeå"},
    ]
    assert [[part.entry_id for part in record.parts] for record in file.records] == [[0, 2], [1]]


def test_changes_of_one_contact_fill_a_file_when_they_are_twice_as_many_as_its_lines() -> None:
    files = plan_files(enumerate(contact({}) for _ in range(7)), 3)
    assert [file.entry_ids for file in files] == [(0, 1, 2, 3, 4, 5), (6,)]
    assert [file.lines for file in files] == [1, 1]


def test_a_merged_change_takes_no_line_so_a_full_file_still_takes_it() -> None:
    forms = [contact({"contactId": str(n)}, subject=str(n)) for n in range(3)]
    assert shares([*forms, contact({"contactId": "0"}, subject="0")], 3) == [(0, 3, 1, 2)]


def test_a_later_change_of_a_contact_goes_into_a_later_file_when_its_file_is_closed() -> None:
    forms = [contact({"contactId": str(n)}, subject=str(n)) for n in (0, 1, 2, 0)]
    assert shares(forms, 2) == [(0, 1), (2, 3)]


def test_receipts_of_one_contact_are_never_merged() -> None:
    (file,) = plan_files(enumerate([receipt(), receipt()]), 5)
    assert len(file.records) == 2


def test_a_full_file_is_handed_out_at_once_and_a_batch_is_empty_after_the_rest() -> None:
    batch = Batch(2)
    assert batch.add(1, receipt(2)) is None
    full = batch.add(2, receipt(2))
    assert full is not None
    assert full.entry_ids == (1,)
    assert [file.entry_ids for file in batch.rest()] == [(2,)]
    assert batch.rest() == []
