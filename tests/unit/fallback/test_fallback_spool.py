"""The spool folder: whole files or none, one bad record alone, and what a crash leaves."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from file_forms import write_forms

from voyado_async.delivery import FileFamily, FileForm
from voyado_async.errors import ConfigurationError, FileRefused, OutboxUnavailable
from voyado_async.fallback import xml
from voyado_async.fallback.batch import Head
from voyado_async.fallback.spool import Spool, part_name

NAME = "20250314093000_1_contacts.xml"


def contact(number: int, **fields: Any) -> FileForm:
    record = {"contactId": f"id-{number}"} | fields
    return FileForm(FileFamily.CONTACTS, "Member", "contactId", f"contact:id-{number}", 1, record)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "deep" / "spool")
    spool.prepare()
    return spool


def test_a_written_file_is_whole_private_and_the_only_one(spool: Spool) -> None:
    written = write_forms(spool, NAME, contact(1, city="Lund"), contact(2, city="Umeå"))
    assert tuple(written.entry_ids) == (1, 2)
    assert written.lines == 2
    assert written.refused == ()
    assert spool.sizes() == {NAME: written.size}
    assert [path.name for path in spool.folder.iterdir()] == [NAME]
    assert stat.S_IMODE(spool.path(NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    with spool.path(NAME).open("rb") as source:
        xml.check(source, Head(FileFamily.CONTACTS, "Member", "contactId"), 2)


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ({"city": "a\x00b"}, "city"),
        ({"birthDay": "yesterday"}, "birthDay"),
        ({"gender": "?"}, "gender"),
        ({"x": []}, "x"),
    ],
)
def test_one_bad_record_is_set_aside_alone_and_the_rest_is_written(
    spool: Spool, bad: dict[str, Any], path: str
) -> None:
    written = write_forms(spool, NAME, contact(1, city="Lund"), contact(2, **bad), contact(3, city="Lund"))
    assert tuple(written.entry_ids) == (1, 3)
    assert written.lines == 2
    assert [(refused.entry_id, refused.path) for refused in written.refused] == [(2, path)]
    assert b"id-2" not in spool.path(NAME).read_bytes()


def test_several_bad_records_of_both_sorts_are_found_in_one_go(spool: Spool) -> None:
    forms = [contact(1, city="\x01"), contact(2, birthDay="x"), contact(3, city="Lund"), contact(4, birthDay="y")]
    written = write_forms(spool, NAME, *forms)
    assert tuple(written.entry_ids) == (3,)
    assert sorted(refused.entry_id for refused in written.refused) == [1, 2, 4]


@pytest.mark.parametrize("bad", [{"city": "a\x00b"}, {"birthDay": "yesterday"}])
def test_of_a_merged_contact_only_the_bad_change_is_set_aside(spool: Spool, bad: dict[str, Any]) -> None:
    forms = [contact(1, street="x", zipCode="1"), contact(1, **bad), contact(1, zipCode="2")]
    written = write_forms(spool, NAME, *forms)
    assert tuple(written.entry_ids) == (1, 3)
    assert [refused.entry_id for refused in written.refused] == [2]
    content = spool.path(NAME).read_text()
    assert "<street>x</street><zipCode>2</zipCode>" in content


def test_where_nothing_is_left_no_file_is_written(spool: Spool) -> None:
    written = write_forms(spool, NAME, contact(1, city="\x00"))
    assert tuple(written.entry_ids) == ()
    assert len(written.refused) == 1
    assert list(spool.folder.iterdir()) == []


def test_a_file_that_has_the_name_already_is_never_replaced(spool: Spool) -> None:
    spool.path(NAME).write_text("older")
    with pytest.raises(FileRefused):
        write_forms(spool, NAME, contact(1))
    assert spool.path(NAME).read_text() == "older"
    assert spool.sizes() == {NAME: 5}


@pytest.mark.parametrize("call", ["fsync", "check", "rename"])
def test_a_crash_before_the_rename_leaves_only_what_prepare_removes(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    class Crash(BaseException):
        """Nothing in the package catches it."""

    def crash(*_: object, **__: object) -> None:
        raise Crash

    targets: dict[str, tuple[object, str]] = {
        "fsync": (os, "fsync"),
        "check": (xml, "check"),
        "rename": (Path, "rename"),
    }
    with monkeypatch.context() as broken:
        broken.setattr(*targets[call], crash)
        broken.setattr(Path, "unlink", lambda *_, **__: None)  # the process is gone: nobody tidies up
        with pytest.raises(Crash):
            write_forms(spool, NAME, contact(1))
    assert [path.name for path in spool.folder.iterdir()] == [part_name(NAME)]
    assert spool.sizes() == {}
    spool.prepare()
    assert list(spool.folder.iterdir()) == []
    assert tuple(write_forms(spool, NAME, contact(1)).entry_ids) == (1,)


def test_the_file_and_then_its_folder_are_fsynced_around_the_rename(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def told_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def told_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(Path, "rename", told_rename)
    write_forms(spool, NAME, contact(1))
    assert steps == ["file", "rename", "folder"]


def test_a_disk_that_does_not_take_it_is_something_to_wait_out(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutboxUnavailable, match="No space left"):
        write_forms(spool, NAME, contact(1))
    assert list(spool.folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="spool"):
        Spool(tmp_path / "file" / "spool").prepare()


def test_other_files_in_the_folder_are_left_alone(spool: Spool) -> None:
    (spool.folder / "notes.txt").write_text("mine")
    (spool.folder / ".hidden.part").write_text("mine")
    spool.prepare()
    assert {path.name for path in spool.folder.iterdir()} == {"notes.txt", ".hidden.part"}
    assert spool.sizes() == {}


def test_removing_twice_is_harmless(spool: Spool) -> None:
    write_forms(spool, NAME, contact(1))
    spool.remove(NAME)
    spool.remove(NAME)
    assert spool.size(NAME) is None
