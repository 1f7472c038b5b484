"""The named queries of a store, from the `.sql` file beside it.

A query begins with a line ``-- name: some_name`` and the comment under it says what it guarantees.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ROW = re.compile(r"VALUES (\(.*?\))(?= ON CONFLICT|\n\)|\s*;?\s*$)", re.DOTALL)


class Queries:
    """Queries by name. An unknown name is a KeyError at once, not at the statement."""

    def __init__(self, text: str) -> None:
        parts = _NAME.split(text)
        twice = [name for name, count in Counter(parts[1::2]).items() if count > 1]
        if twice:
            raise ValueError(f"queries of the same name: {', '.join(twice)}")
        self._queries = {
            name: "\n".join(line for line in sql.splitlines() if not line.startswith("--")).strip()
            for name, sql in zip(parts[1::2], parts[2::2], strict=True)
        }

    def __getitem__(self, name: str) -> str:
        return self._queries[name]

    def names(self) -> list[str]:
        """Every name, in the order of the file."""
        return list(self._queries)

    def with_rows(self, name: str, count: int) -> str:
        """The query of that name for `count` rows in one statement: its VALUES row, repeated."""
        sql, found = _ROW.subn(lambda row: "VALUES " + ", ".join([row[1]] * count), self._queries[name])
        if found != 1:
            raise ValueError(f"query {name} has no VALUES row to repeat")
        return sql


@cache
def load(dialect: str) -> Queries:
    """The queries of one dialect."""
    return Queries(Path(__file__).with_name(f"{dialect}.sql").read_text(encoding="utf-8"))
