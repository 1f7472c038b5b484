"""``python -m voyado_async.sandbox``: the fake Engage as a process of its own.

Prints one line of JSON (`Sandbox.info`) when it is ready, and ends with 0 on SIGTERM or SIGINT, leaving nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from voyado_async.sandbox.exchange import to_json
from voyado_async.sandbox.server import Sandbox
from voyado_async.sandbox.settings import SandboxSettings


def _parser() -> argparse.ArgumentParser:
    # What is not given stays out of the namespace, so that the defaults stand in one place.
    parser = argparse.ArgumentParser(
        prog="python -m voyado_async.sandbox", description=__doc__, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--sftp-port", type=int)
    parser.add_argument("--control-port", type=int)
    parser.add_argument("--folder", type=Path, help="root of the SFTP server; it is kept")
    parser.add_argument("--api-key")
    parser.add_argument("--api-key-header")
    parser.add_argument("--sftp-username")
    parser.add_argument("--sftp-password")
    parser.add_argument("--contact-key", help="the tenant's key attribute")
    parser.add_argument("--contact-types", type=_names, help="separated by commas")
    parser.add_argument("--custom-attributes", type=_names, help="separated by commas")
    parser.add_argument("--stores", type=_names, help="separated by commas; without it every store is known")
    parser.add_argument("--import-period", type=float, help="seconds")
    parser.add_argument("--receipt-period", type=float, help="seconds")
    parser.add_argument("--hard-rate", type=int, help="requests a second before 429; 0: no limit")
    parser.add_argument("--error-shape")
    parser.add_argument("--contact-shape", choices=("nested", "flat"))
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


async def _run(settings: SandboxSettings) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Sandbox(settings) as sandbox:
        sys.stdout.write(to_json(sandbox.info()).decode() + "\n")
        sys.stdout.flush()
        await ended.wait()


def main() -> int:
    parser = _parser()
    try:
        settings = SandboxSettings(**vars(parser.parse_args()))
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
