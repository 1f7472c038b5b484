"""What the action log says of who does something, and to which entries."""

from __future__ import annotations

import os
import pwd

from voyado_async.outbox.records import EntryFilter

NAMED = 20
"""So many ids are written down."""


def filter_told(which: EntryFilter) -> str:
    """The filter for the action log, without what names a person."""
    ids = ",".join(map(str, which.ids[:NAMED])) + (",..." if len(which.ids) > NAMED else "")
    parts = {
        "ids": ids,
        "state": ",".join(which.states),
        "kind": ",".join(which.kinds),
        "error": which.error or "",
        "file": which.file or "",
        "since": "" if which.since is None else str(which.since),
        "until": "" if which.until is None else str(which.until),
        "limit": "" if which.limit is None else str(which.limit),
    }
    told = [f"{name} {value}" for name, value in parts.items() if value]
    return "; ".join(told + (["one contact"] if which.contact or which.address else [])) or "all"


def who() -> str:
    """Who does it: the user that this process runs as."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
