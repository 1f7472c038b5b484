"""The second road: XML written and read back, 20 MB to OpenSSH's sshd, and 100 000 exhausted entries into files.

    python tests/perf/bench_fallback.py --rounds 5
    python tests/perf/bench_fallback.py --part xml          # or upload, or outage

`xml`: 4 000 receipts of five items from their structs to one file, ours against the standard library (one subtree per
receipt, streamed) and against a whole lxml tree; each in a process of its own, memory as growth of the resident set.
`upload`: ours and OpenSSH's own `sftp` with the same cipher, side by side; skipped, and said so, without sshd.
`outage`: a real outbox and the real courier, until every entry stands in a file that was checked and committed.
Ratios are taken round by round, and the median of them counts.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import getpass
import json
import resource
import sqlite3
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as Standard
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lxml import etree

sys.path.insert(0, str(Path(__file__).parents[1]))

from file_servers import SSHD, openssh_server
from perf_method import folder, interleaved, table, verdict
from perf_payloads import draft, receipt_content

from voyado_async.clock import SystemClock
from voyado_async.delivery import FileFamily, FileForm
from voyado_async.fallback import sftp, xml
from voyado_async.fallback.batch import Head
from voyado_async.fallback.courier import Courier
from voyado_async.fallback.names import SHAPES, TRANSACTION, Element, Form
from voyado_async.fallback.record import text_of
from voyado_async.models.decode import plain
from voyado_async.models.receipts import parse_receipt
from voyado_async.outbox.sqlite import open_outbox
from voyado_async.settings import Settings

RECEIPTS = 4_000
LINES = 5 * RECEIPTS
SIZE = 20 * 1024 * 1024
ENTRIES = 100_000
FIRST = 3_000
"""Entries that leave before the others, so that what every process loads once is there, and the two page caches of
SQLite (2 MB each) are full."""
OUTAGE_GROWTH = 8
"""Megabytes: eight bytes for each entry of the backlog, and what stands in the open files."""
OURS, STANDARD, TREE = "ours, streamed", "standard library, streamed", "lxml, whole tree"
HEAD = Head(FileFamily.TRANSACTIONS, "Member", "memberNumber")
SHAPE = SHAPES[FileFamily.TRANSACTIONS]


# XML ------------------------------------------------------------------------------------------------------------------


def forms() -> list[FileForm]:
    receipts = (parse_receipt(receipt_content(number)) for number in range(RECEIPTS))
    return [FileForm(HEAD.family, HEAD.contact_type, HEAD.match_key_type, "", 5, receipt) for receipt in receipts]


def write_ours(given: list[FileForm], path: Path) -> None:
    opening, closing = xml.ends(HEAD)
    with path.open("wb") as output:
        output.write(opening)
        for form in given:
            output.write(text_of(form).encode())
        output.write(closing)


def write_tree(given: list[FileForm], path: Path) -> None:
    root = etree.Element(SHAPE.root, nsmap={None: SHAPE.namespace})
    for form in given:
        root.append(peer_record(form, etree))
    etree.ElementTree(root).write(str(path), encoding="utf-8", xml_declaration=True)


def write_standard(given: list[FileForm], path: Path) -> None:
    with path.open("wb") as output:
        output.write(f"<?xml version='1.0' encoding='utf-8'?>\n<{SHAPE.root} xmlns=\"{SHAPE.namespace}\">\n".encode())
        for form in given:
            output.write(Standard.tostring(peer_record(form, Standard), encoding="utf-8", xml_declaration=False))
        output.write(f"</{SHAPE.root}>".encode())


def peer_record(form: FileForm, library: Any) -> Any:
    """The same record as a straightforward program makes it with either library, without the care that ours takes."""
    record = library.Element(SHAPE.record)
    values = plain(form.record)
    values["contact"]["contactType"] = form.contact_type
    peer_fill(record, TRANSACTION, values, library.SubElement)
    record.tail = "\n"
    return record


def peer_fill(parent: Any, elements: tuple[Element, ...], values: dict[str, Any], sub: Callable[..., Any]) -> None:
    for element in elements:
        value = values.get(element.name)
        if value is None:
            continue
        child = sub(parent, element.name)
        if element.form is Form.VALUE:
            child.text = value if isinstance(value, str) else peer_text(value)
        elif element.form is Form.GROUP:
            peer_fill(child, element.children, value, sub)
        elif element.form is Form.ROWS:
            for row in value:
                peer_fill(sub(child, element.row), element.children, row, sub)
        else:
            for pair in value:
                sub(child, element.row, name=pair["name"]).text = pair["value"]


def peer_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


WRITERS: dict[str, Callable[[list[FileForm], Path], None]] = {
    OURS: write_ours,
    STANDARD: write_standard,
    TREE: write_tree,
}


def resident() -> float:
    """Megabytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def peak() -> float:
    """Most megabytes of this process since `from_here`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def from_here() -> float:
    """What was needed until now no longer counts as the peak. Megabytes of this process now."""
    gc.collect()
    gc.freeze()  # what stands now is the bench's, not the measured code's: no collection looks through it
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def one_writer(name: str, path: Path) -> dict[str, float]:
    """In a process of its own: seconds to write, the memory that it took, and seconds to check what was written."""
    given = forms()
    WRITERS[name](given[:100], path)
    with path.open("rb") as source:
        if name == OURS:
            xml.check(source, HEAD, 100)
    before = from_here()
    started = time.perf_counter()
    WRITERS[name](given, path)
    wrote = time.perf_counter() - started
    checked = 0.0
    if name == OURS:
        started = time.perf_counter()
        with path.open("rb") as source:
            xml.check(source, HEAD, RECEIPTS)
        checked = time.perf_counter() - started
    return {"seconds": wrote, "check": checked, "growth": peak() - before, "size": path.stat().st_size}


def apart(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure_xml(rounds: int) -> list[list[object]]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in WRITERS}
    with folder() as path:
        for name in interleaved(list(WRITERS), rounds):
            runs[name].append(apart("--writer", name, str(path / "file.xml")))
    rows = []
    for name, found in runs.items():
        seconds = statistics.median(run["seconds"] for run in found)
        growth = max(run["growth"] for run in found)
        rows.append([name, LINES / seconds, found[0]["size"] / seconds / 1e6, growth])
    print(table(["writer", "lines/s", "MB/s", "grew by MB"], rows), "\n")
    ours = runs[OURS]
    return [
        verdict("XML against the standard library", ratio(runs[STANDARD], ours), 1.8),
        verdict("XML against a whole lxml tree", ratio(runs[TREE], ours), 1.0),
        verdict("memory grows by MB", max(run["growth"] for run in ours), 4, at_most=True),
        verdict("check / write", statistics.median(r["check"] / r["seconds"] for r in ours), 1.0, at_most=True),
    ]


def ratio(theirs: Iterable[dict[str, float]], ours: Iterable[dict[str, float]]) -> float:
    """How many times as long they take, round by round."""
    return statistics.median(a["seconds"] / b["seconds"] for a, b in zip(theirs, ours, strict=True))


# upload ---------------------------------------------------------------------------------------------------------------


async def measure_upload(rounds: int) -> list[list[object]]:
    if not SSHD.exists():
        print("no sshd here: the upload is not measured\n")
        return []
    seconds: dict[str, list[float]] = {"ours": [], "OpenSSH sftp": []}
    with folder() as home:
        source = home / "20250314093000_1_transactions.xml"
        source.write_bytes(b"<transaction>" * (SIZE // 13))
        async with openssh_server(home) as server:
            remote = str(server.root / "transactions")
            for number, name in enumerate(interleaved(list(seconds), rounds)):
                target = f"20250314093000_{number}_transactions.xml"
                if name == "ours":
                    seconds[name].append(await upload_ours(server.settings(), source, remote, target))
                else:
                    seconds[name].append(await asyncio.to_thread(upload_openssh, server, home, source, remote, target))
                (server.root / "transactions" / target).unlink()
    rows = [[name, SIZE / statistics.median(found) / 1e6] for name, found in seconds.items()]
    print(table(["client", "MB/s"], rows), "\n")
    pairs = zip(seconds["OpenSSH sftp"], seconds["ours"], strict=True)
    return [verdict("upload against OpenSSH's sftp", statistics.median(a / b for a, b in pairs), 1.0)]


async def upload_ours(settings: Settings, source: Path, remote: str, name: str) -> float:
    """From the beginning of the upload to the final name, size check and fsync included; without the login."""
    async with sftp.connect(settings) as session:
        started = time.perf_counter()
        await session.stage(source, remote, name)
        await session.publish(remote, name, source.stat().st_size)
        return time.perf_counter() - started


def upload_openssh(server: Any, home: Path, source: Path, remote: str, name: str) -> float:
    """Put and rename, less what a session takes that does nothing."""

    def session(batch: str) -> float:
        started = time.perf_counter()
        subprocess.run(
            [
                *("sftp", "-q", "-b", "-", "-P", str(server.port), "-i", str(home / "client"), "-F", "none"),
                *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"),
                *("-c", "aes128-gcm@openssh.com", f"{getpass.getuser()}@127.0.0.1"),
            ],
            input=batch, text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return time.perf_counter() - started

    nothing = session("pwd\n")
    return session(f"put -f {source} {remote}/.{name}.part\nrename {remote}/.{name}.part {remote}/{name}\n") - nothing


# an outage ------------------------------------------------------------------------------------------------------------


async def one_outage(path: Path, entries: int) -> dict[str, float]:
    """In a process of its own: an outbox of exhausted entries, and the seconds until all of them are spooled.

    Others fill it, and the courier has written a first file before: what grows is what the backlog costs.
    """
    clock = SystemClock()
    settings = Settings(outbox=str(path / "outbox.db"), contact_key="email")
    store = await open_outbox(settings.outbox, base_url="http://127.0.0.1:9", clock=clock)
    try:
        courier = Courier.of(store, settings)
        now = clock.now()
        for first, last in ((0, FIRST), (FIRST, FIRST + entries)):
            await asyncio.to_thread(apart, "--fill", str(path), str(first), str(last))
            before = from_here()
            beat = asyncio.create_task(longest_pause())
            started = time.perf_counter()
            while (await store.counts()).states["exhausted"]:
                now += 300_000
                await courier.step(now, api_healthy=False)
            seconds = time.perf_counter() - started
            beat.cancel()
            worst = await beat
            growth = peak() - before
        states = (await store.counts()).states
        files = await store.files(open_only=True)
        assert states["spooled"] == FIRST + entries
        assert sum(file.entries for file in files) == FIRST + entries
        return {"seconds": seconds, "growth": growth, "files": len(files) - 3, "pause": worst}
    finally:
        await store.close()


async def fill(path: Path, first: int, last: int) -> dict[str, float]:
    """Write entries of these numbers, and say that they are exhausted."""
    clock = SystemClock()
    store = await open_outbox(path / "outbox.db", base_url="http://127.0.0.1:9", clock=clock)
    try:
        for start in range(first, last, 500):
            await store.enqueue([draft(number) for number in range(start, min(start + 500, last))])
    finally:
        await store.close()
    exhaust_all(str(path / "outbox.db"), clock.now())
    return {}


async def longest_pause() -> float:
    """How long the loop was not to be had, at worst."""
    worst = 0.0
    try:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - asked)
    except asyncio.CancelledError:
        return worst


def exhaust_all(path: str, now: int) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "UPDATE entry SET state = 'exhausted', outage = 1, changed = ? WHERE state = 'pending'", (now,)
        )
        database.execute("UPDATE lane SET head = NULL, due = NULL, hold = 1")
    database.close()


def measure_outage() -> list[list[object]]:
    with folder() as path:
        figures = apart("--outage", str(ENTRIES), str(path))
    row = [ENTRIES, figures["files"], figures["seconds"], figures["growth"], figures["pause"] * 1e3]
    print(table(["entries", "files", "seconds", "grew by MB", "loop busy ms"], [row]), "\n")
    return [
        verdict(f"{ENTRIES:,} exhausted entries into files, seconds", figures["seconds"], 60, at_most=True),
        verdict("memory grows by MB meanwhile", figures["growth"], OUTAGE_GROWTH, at_most=True),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--part", choices=["xml", "upload", "outage"])
    arguments.add_argument("--writer", nargs=2, metavar=("NAME", "PATH"), help=argparse.SUPPRESS)
    arguments.add_argument("--fill", nargs=3, metavar=("FOLDER", "FIRST", "LAST"), help=argparse.SUPPRESS)
    arguments.add_argument("--outage", nargs=2, metavar=("ENTRIES", "FOLDER"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.writer:
        print(json.dumps(one_writer(given.writer[0], Path(given.writer[1]))))
        return
    if given.fill:
        print(json.dumps(asyncio.run(fill(Path(given.fill[0]), *map(int, given.fill[1:])))))
        return
    if given.outage:
        print(json.dumps(asyncio.run(one_outage(Path(given.outage[1]), int(given.outage[0])))))
        return
    rows: list[list[object]] = []
    if given.part in (None, "xml"):
        rows += measure_xml(given.rounds)
    if given.part in (None, "upload"):
        rows += asyncio.run(measure_upload(given.rounds))
    if given.part in (None, "outage"):
        rows += measure_outage()
    print(table(["what", "value", "target", "held"], rows))


if __name__ == "__main__":
    main()
