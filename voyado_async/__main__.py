"""``python -m voyado_async`` and the console script ``voyado-async``: the command line."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("click", "rich")


def main() -> int:
    """Run the command line. Its packages are an extra: a shop that only embeds the client has no use for them."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"The command line needs {' and '.join(missing)}: pip install 'voyado-async[cli]'\n")
        return 2
    from voyado_async.cli.program import program

    program(prog_name="voyado-async")
    return 0


if __name__ == "__main__":
    sys.exit(main())
