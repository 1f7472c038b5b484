"""Who goes with whom into which file."""

from __future__ import annotations

from typing import Any

import pytest
from file_forms import plan_files

from voyado_async.delivery import FileFamily, FileForm, Kind, Message, NoFileForm
from voyado_async.fallback.batch import Batch, ChangeOrder, Head, contact_fields


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


def test_changes_of_one_contact_become_one_record() -> None:
    forms = [contact({}), contact({}, subject="bo"), contact({})]
    (file,) = plan_files(enumerate(forms), 5)
    assert file.lines == 2
    assert [[part.entry_id for part in record.parts] for record in file.records()] == [[0, 2], [1]]
    assert [[part.form for part in record.parts] for record in file.records()] == [[forms[0], forms[2]], [forms[1]]]
    assert list(file.pages(2)) == [[(0, 0), (0, 2)], [(1, 1)]]


def test_every_contact_has_a_record_of_its_own() -> None:
    (file,) = plan_files(enumerate([contact({}, subject=name) for name in "abcda"]), 5)
    assert list(file.pages(9)) == [[(0, 0), (0, 4), (1, 1), (2, 2), (3, 3)]]


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({}, {}),
        ({"city": "Lund", "contactType": "Member"}, {"city": "Lund"}),
        ({"city": "Lund", "preferences": {"acceptsEmail": True}}, {"city": "Lund", "acceptsEmail": True}),
        ({"preferences": None}, {}),
    ],
)
def test_a_contacts_fields_stand_flat_in_a_file_and_without_its_type(values: Any, fields: Any) -> None:
    assert contact_fields(values) == fields


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
    assert len(list(file.records())) == 2


def test_a_full_file_is_handed_out_at_once_and_a_batch_is_empty_after_the_rest() -> None:
    batch = Batch(2)
    assert batch.add(1, receipt(2)) is None
    full = batch.add(2, receipt(2))
    assert full is not None
    assert full.entry_ids == (1,)
    assert [file.entry_ids for file in batch.rest()] == [(2,)]
    assert batch.rest() == []


def test_every_file_knows_what_its_records_have_in_common() -> None:
    forms = [receipt(2), receipt(2), receipt(key="email"), contact({}, subject="bo")]
    heads = [file.head for file in plan_files(enumerate(forms), 2)]
    members = ("Member", "contactId")
    assert heads == [
        Head(FileFamily.TRANSACTIONS, *members),
        Head(FileFamily.CONTACTS, *members),
        Head(FileFamily.TRANSACTIONS, *members),
        Head(FileFamily.TRANSACTIONS, "Member", "email"),
    ]


def test_entries_of_several_contacts_count_together() -> None:
    forms = [contact({}, subject=str(n)) for n in (0, 1, 0, 0, 1, 1)]
    assert [file.entry_ids for file in plan_files(enumerate(forms), 2)] == [(0, 2, 3, 1), (4, 5)]


def test_a_file_keeps_the_forms_of_its_entries_only_where_it_is_told_to() -> None:
    for keep in (True, False):
        batch, form = Batch(5), contact({})
        batch.add(1, form, keep=keep)
        (file,) = batch.rest()
        assert file.forms == ((form,) if keep else ())
        assert file.entry_ids == (1,)


def change(number: int, lane: int = 1, kind: Kind = Kind.CONTACT_UPDATE) -> Message:
    return Message(number, kind, b"{}", lane, f"contact:{lane}", 0)


def test_a_change_without_a_file_form_keeps_the_later_ones_of_its_contact_and_nothing_else() -> None:
    order, form, none = ChangeOrder(), contact({}), NoFileForm("cleared")
    assert order.may_leave(change(1), form)
    assert not order.may_leave(change(2), none)
    assert not order.may_leave(change(3), form)
    assert not order.may_leave(change(4, kind=Kind.CONTACT_TYPE), form)
    assert order.may_leave(change(5, lane=2), form)
    assert order.may_leave(change(6, kind=Kind.RECEIPT), receipt())
    assert order.may_leave(change(7, kind=Kind.CONTACT_CREATE), none)


def test_what_could_not_leave_after_all_keeps_the_later_changes_of_its_contact() -> None:
    order, form = ChangeOrder(), contact({})
    assert order.may_leave(change(1), form)
    order.stays([1, 3])
    assert [order.may_leave(change(2, lane=lane), form) for lane in (1, 2, 3)] == [False, True, False]


def test_a_contact_named_in_another_way_closes_the_file_of_the_older_change() -> None:
    order, by_id, by_email = ChangeOrder(), contact({}), contact({}, key="email", subject="a@example.com")

    def before(message: Message, form: FileForm) -> Head | None:
        found = order.before(message, form)
        order.stands(message, form)
        return found

    assert before(change(1), by_id) is None
    assert before(change(2), by_id) is None
    assert before(change(3, lane=2), by_email) is None
    assert before(change(4), receipt()) is None
    assert before(change(5), by_email) == Head.of(by_id)
    assert before(change(6), by_email) is None
    assert before(change(7), by_id) == Head.of(by_email)


def test_the_order_of_a_contact_ends_with_the_file_that_its_changes_stand_in() -> None:
    order, by_id, by_email = ChangeOrder(), contact({}), contact({}, key="email", subject="a@example.com")
    order.stands(change(1), by_id)
    order.stands(change(2, lane=2), by_email)
    order.closed(Head.of(by_id))
    assert order.before(change(3), by_email) is None
    assert order.before(change(4, lane=2), by_id) == Head.of(by_email)


def test_a_file_is_closed_and_handed_out_alone() -> None:
    batch = Batch(5)
    batch.add(1, receipt())
    batch.add(2, redemption())
    head = Head.of(receipt())
    assert batch.is_open(head)
    closed = batch.close(head)
    assert (closed.head, closed.entry_ids) == (head, (1,))
    assert not batch.is_open(head)
    assert [file.entry_ids for file in batch.rest()] == [(2,)]
