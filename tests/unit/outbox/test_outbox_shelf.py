"""Answers beside the outbox: bounded, nobody else's to read, and no answer at all where anything is wrong with them."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from voyado_async.outbox import shelf as shelf_module
from voyado_async.outbox.records import Mark
from voyado_async.outbox.shelf import Answer, Shelf, forget_known

ANNA, BO = "contact:anna", "contact:bo"
ANSWER = Answer(b'[{"id":"a-1"}]', 1_741_944_600_000, Mark(2, 7))


@pytest.fixture
def shelf(path: Path) -> Shelf:
    return Shelf(path, "https://engage.test")


def files(path: Path) -> list[Path]:
    return sorted(Path(f"{path}-known").iterdir())


async def test_an_answer_is_found_again_with_its_mark_and_by_another_process(shelf: Shelf, path: Path) -> None:
    assert await shelf.get(ANNA, "offers") is None
    await shelf.put(ANNA, "offers", ANSWER)
    assert await Shelf(path, "https://engage.test").get(ANNA, "offers") == ANSWER
    assert await shelf.get(ANNA, "vouchers") is None
    assert await shelf.get(BO, "offers") is None


async def test_the_newest_answer_stays(shelf: Shelf, path: Path) -> None:
    await shelf.put(ANNA, "offers", ANSWER)
    await shelf.put(ANNA, "offers", Answer(b"[]", 5, Mark()))
    assert await shelf.get(ANNA, "offers") == Answer(b"[]", 5, Mark())
    assert len(files(path)) == 1


async def test_another_engage_has_other_answers(shelf: Shelf, path: Path) -> None:
    await shelf.put(ANNA, "offers", ANSWER)
    assert await Shelf(path, "https://engage.staging.test").get(ANNA, "offers") is None


async def test_files_are_the_owners_alone_and_their_names_tell_nothing(shelf: Shelf, path: Path) -> None:
    before = os.umask(0)
    try:
        await shelf.put("email:anna@example.com", "offers", ANSWER)
    finally:
        os.umask(before)
    (file,) = files(path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "anna" not in file.name


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: b"\0" * len(whole), id="zeros after a power cut"),
        pytest.param(lambda whole: whole[:-1], id="cut short"),
        pytest.param(lambda whole: whole.replace(b"a-1", b"a-2"), id="another body"),
        pytest.param(lambda whole: whole.replace(b'"format":1', b'"format":2'), id="newer"),
        pytest.param(lambda whole: b"\xff" + whole, id="no text"),
        pytest.param(lambda whole: b"[]\n" + whole, id="another shape"),
    ],
)
async def test_a_damaged_or_newer_file_is_no_answer_and_is_replaced(shelf: Shelf, path: Path, damage: object) -> None:
    await shelf.put(ANNA, "offers", ANSWER)
    (file,) = files(path)
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]  # one of the functions above
    assert await shelf.get(ANNA, "offers") is None
    await shelf.put(ANNA, "offers", ANSWER)
    assert await shelf.get(ANNA, "offers") == ANSWER


async def test_what_is_gone_or_forgotten_is_there_no_more(shelf: Shelf, path: Path) -> None:
    for contact in (ANNA, BO):
        for question in ("offers", "vouchers"):
            await shelf.put(contact, question, ANSWER)
    await shelf.drop(ANNA, "offers")
    assert await shelf.get(ANNA, "vouchers") == ANSWER
    await shelf.forget("Anna")
    assert await shelf.get(ANNA, "vouchers") is None
    assert len(files(path)) == 2
    await shelf.drop(ANNA, "offers")


async def test_an_answer_to_another_question_that_names_who_is_forgotten_goes_too(shelf: Shelf) -> None:
    for address, found in (("email:a@example.com", b'"0B6F1C52-7d0e"'), ("email:b@example.com", b'"c41d8a90-2b36"')):
        await shelf.put(address, "find", Answer(found, 5, Mark()))
    await shelf.forget("0b6f1c52-7D0E")
    assert await shelf.get("email:a@example.com", "find") is None
    assert await shelf.get("email:b@example.com", "find") is not None


async def test_forgetting_tells_every_process_first_and_then_clears_the_shelf(shelf: Shelf) -> None:
    order: list[str] = []

    class Outbox:
        async def forget_ids(self, contact_id: str) -> int:
            assert await shelf.get("contact:anna", "offers") == ANSWER
            order.append(contact_id)
            return 1

    await shelf.put(ANNA, "offers", ANSWER)
    await forget_known(Outbox(), shelf, "ANNA")
    assert await shelf.get(ANNA, "offers") is None
    assert order == ["ANNA"]


async def test_without_a_usable_folder_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    in_the_way = tmp_path / "outbox.db-known"
    in_the_way.write_text("a file")
    shelf = Shelf(tmp_path / "outbox.db", "https://engage.test")
    await shelf.put(ANNA, "offers", ANSWER)
    assert await shelf.get(ANNA, "offers") is None
    await shelf.drop(ANNA, "offers")
    await shelf.forget("anna")
    await shelf.sweep(0)
    assert in_the_way.read_text() == "a file"


async def test_a_disk_that_fills_up_leaves_the_earlier_answer_and_no_litter(
    shelf: Shelf, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.put(ANNA, "offers", ANSWER)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    await shelf.put(ANNA, "offers", Answer(b"[]", 5, Mark()))
    assert await shelf.get(ANNA, "offers") == ANSWER
    assert len(files(path)) == 1


async def test_an_answer_that_is_too_long_takes_the_place_of_none(shelf: Shelf) -> None:
    await shelf.put(ANNA, "offers", ANSWER)
    await shelf.put(ANNA, "offers", Answer(b"x" * (shelf_module.LONGEST_ANSWER + 1), 5, Mark()))
    assert await shelf.get(ANNA, "offers") is None


async def test_a_tenant_of_any_size_fills_the_folder_only_so_far(
    shelf: Shelf, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "MOST_FILES", 20)
    monkeypatch.setattr(shelf_module, "SWEEP_EVERY", 10)
    for number in range(60):
        await shelf.put(f"contact:{number}", "offers", ANSWER)
        for file in files(path):
            if file.stat().st_mtime > 1_000_000:
                os.utime(file, (number, number))
    assert len(files(path)) <= 30
    assert await shelf.get("contact:59", "offers") == ANSWER
    assert await shelf.get("contact:0", "offers") is None


async def test_large_answers_count_by_their_size(shelf: Shelf, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "MOST_BYTES", 5_000)
    for number in range(6):
        await shelf.put(f"contact:{number}", "offers", Answer(b"x" * 1_500, 5, Mark()))
    await shelf.sweep(0)
    assert len(files(path)) == 3


async def test_what_was_written_long_ago_goes_and_with_it_what_a_dead_process_left_unfinished(
    shelf: Shelf, path: Path
) -> None:
    await shelf.put(ANNA, "offers", ANSWER)
    left = files(path)[0].with_name("x.part")
    left.write_bytes(b"half")
    for file in files(path):
        os.utime(file, (100, 100))
    await shelf.put(BO, "offers", ANSWER)
    await shelf.sweep(101_000)
    assert len(files(path)) == 1
    assert await shelf.get(BO, "offers") == ANSWER


async def test_readers_meet_whole_answers_while_other_processes_write(shelf: Shelf, path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from voyado_async.outbox.shelf import Answer, Shelf\n"
        "from voyado_async.outbox.records import Mark\n"
        "async def main():\n"
        "    shelf = Shelf(sys.argv[1], 'https://engage.test')\n"
        "    for n in range(300):\n"
        "        await shelf.put('contact:anna', 'offers', Answer(sys.argv[2].encode() * 5000, n, Mark()))\n"
        "asyncio.run(main())\n"
    )
    writers = [await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(path), name) for name in "ab"]
    done = asyncio.gather(*(writer.wait() for writer in writers))
    seen = 0
    while not done.done():
        answer = await shelf.get(ANNA, "offers")
        if answer is not None:
            seen += 1
            assert answer.body in (b"a" * 5000, b"b" * 5000)
    assert (await done, seen > 0) == ([0, 0], True)
    assert await shelf.get(ANNA, "offers") is not None
    assert len(files(path)) == 1
