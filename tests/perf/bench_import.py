"""What `import voyado_async` costs, beside `import aiohttp`: whole processes, best of several, interleaved.

    python tests/perf/bench_import.py --rounds 15

Neither asyncssh, lxml, click nor rich may come with it: they are imported when a file has to be written or carried, and
by the command line (`test_perf_floors.py` looks at `sys.modules`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from perf_method import folder, interleaved, table, verdict

MODULES = ("sys", "aiohttp", "voyado_async")


def seconds(module: str, environment: dict[str, str]) -> float:
    """One fresh process that imports it."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=environment)
    return time.perf_counter() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=15)
    asked = arguments.parse_args()
    best: dict[str, float] = {}
    with folder() as bytecode:
        # As an installed package: compiled, whatever this environment says about writing bytecode.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}
        for module in MODULES:
            seconds(module, environment)
        for module in interleaved(MODULES, asked.rounds):
            best[module] = min(best.get(module, 60.0), seconds(module, environment))
    print(f"milliseconds, best of {asked.rounds}\n")
    print(table(["import", "ms"], [[module, best[module] * 1e3] for module in MODULES]))
    whole = best["voyado_async"] / best["aiohttp"]
    alone = (best["voyado_async"] - best["sys"]) / (best["aiohttp"] - best["sys"])
    rows = [
        verdict("voyado_async / aiohttp, whole process", whole, 1.5, at_most=True),
        verdict("the same, without the interpreter's start", alone, 1.5, at_most=True),
    ]
    print("\n" + table(["ratio", "value", "target", "held"], rows))


if __name__ == "__main__":
    main()
