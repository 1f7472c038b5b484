"""What a person can do about fallback files that do not move by themselves. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from voyado_async.cli.report import moment, shown
from voyado_async.delivery import FileFamily
from voyado_async.outbox.records import FileRecord
from voyado_async.outbox.states import OPEN_FILES, FileState
from voyado_async.settings import Settings

ABOUT = {
    "unreachable": "the server cannot be reached; it is tried again for as long as it takes",
    "timeout": "the server gives no answer in time; it is tried again for as long as it takes",
    "cut": "the connection broke; it is tried again for as long as it takes",
    "refused": "the server refuses what is asked of it; it is tried again, but ask whether you may list, write and "
    "rename there",
    "no_space": "disk or quota of the server is full; it is tried again for as long as it takes",
    "host_key": "the server shows another host key than the one that is trusted: ask Voyado before you change "
    "VOYADO_SFTP_HOST_KEY or VOYADO_SFTP_KNOWN_HOSTS",
    "login": "the server refuses user name, password or key: VOYADO_SFTP_USERNAME, VOYADO_SFTP_PASSWORD, "
    "VOYADO_SFTP_KEY_FILE",
    "folder_missing": "the folder is not there, and is never made: set VOYADO_SFTP_CONTACTS_DIR, "
    "VOYADO_SFTP_REDEMPTIONS_DIR, VOYADO_SFTP_TRANSACTIONS_DIR; `voyado-async check` tries them",
    "name_taken": "another file of that name is in the folder, and is left alone: look what it is. "
    "`voyado-async files --withdraw NAME` gives the entries of a spooled file back to the API",
    "file_missing": "its upload had begun, and the copy in the spool folder is gone or damaged: look for its name in "
    "Engage's Integration log; if it is not there, `voyado-async replay --again` its entries",
    "stays": "Engage has left it in the folder for two import periods: ask Voyado whether the import there runs",
    "incomplete": "its entries are on the move; whoever drains completes that",
}
"""The problems of a file: `sftp.py` and `plans.py` have the words."""


def advice(files: Iterable[FileRecord], settings: Settings) -> list[str]:
    """One line for each thing that holds files up."""
    open_files = [file for file in files if file.state in OPEN_FILES]
    return [*_to_carry(open_files, settings), *_problems(open_files)]


def _to_carry(files: list[FileRecord], settings: Settings) -> list[str]:
    folders = {
        FileFamily.CONTACTS: settings.sftp_contacts_dir,
        FileFamily.REDEMPTIONS: settings.sftp_redemptions_dir,
        FileFamily.TRANSACTIONS: settings.sftp_transactions_dir,
    }
    waiting = Counter(file.family for file in files if file.state == FileState.SPOOLED and file.problem is None)
    lines = []
    for family in FileFamily:
        folder = folders[family]
        if not waiting[family] or (settings.sftp_host is not None and folder is not None):
            continue
        missing = "VOYADO_SFTP_HOST" if settings.sftp_host is None else f"VOYADO_SFTP_{family.upper()}_DIR"
        where = folder or "the folder that Voyado names for them"
        lines.append(
            f"{waiting[family]} of {family}: nobody uploads them ({missing} is not set). What an outage left goes "
            f"back to the API when that answers. To carry one by hand, copy it from {settings.spool_path} to {where}, "
            "then say `voyado-async files --carried NAME`; `--withdraw NAME` lets the API try its entries again"
        )
    if len(lines) > 1:
        lines.append("carry contacts first, then redemptions, then transactions")
    return lines


def _problems(files: list[FileRecord]) -> list[str]:
    found = Counter(file.problem for file in files if file.problem is not None)
    lines = [f"{count} with {problem}: {ABOUT.get(problem, 'look at the log')}" for problem, count in found.items()]
    unseen = [file for file in files if file.out_of_sight]
    if unseen:
        lines.append(
            f"what became of {len(unseen)} that are uploaded cannot be seen, as it was at "
            f"{shown(moment(min(file.seen or file.uploaded or 0 for file in unseen)))}: `voyado-async check` tries the "
            "server"
        )
    return lines
