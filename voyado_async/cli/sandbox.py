"""``voyado-async sandbox``: a fake Engage on this machine."""

from __future__ import annotations

import asyncio
import shlex
import signal
from pathlib import Path
from typing import Any

import click
import msgspec

from voyado_async.cli.failure import Failure, WrongUsage
from voyado_async.cli.opening import run
from voyado_async.cli.report import json_option
from voyado_async.sandbox import Sandbox, SandboxSettings


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the API; 0: a free one.")
@click.option("--sftp-port", type=click.IntRange(0, 65535), default=0, help="Port of the file server; 0: a free one.")
@click.option("--control-port", type=click.IntRange(0, 65535), default=0, help="Port of the remote control; likewise.")
@click.option(
    "--folder", type=click.Path(file_okay=False), metavar="DIR", help="Root of the file server, kept; else temporary."
)
@click.option("--api-key", metavar="KEY", help="The key of its API; else a new one.")
@click.option("--contact-key", default="email", show_default=True, help="The tenant's key attribute.")
@click.option("--import-period", type=float, default=5.0, show_default=True, help="Seconds between two imports.")
@json_option
def sandbox(as_json: bool, folder: str | None, api_key: str | None, **options: Any) -> None:
    """Run a fake Engage on this machine. It has the API, the file server and the importer.

    Prints the settings to export when it is ready, and runs until SIGTERM or SIGINT. What it was told is gone then,
    but for the files in --folder. It begins empty. Its remote control gives it contacts and promotions, switches faults
    on and off and has the journal: voyado_async/sandbox/control.py and faults.py, and README, "By hand".
    """
    if folder is not None:
        options["folder"] = Path(folder)
    if api_key is not None:
        options["api_key"] = api_key
    try:
        settings = SandboxSettings(**options)
    except ValueError as error:
        raise WrongUsage("UsageError", str(error)) from None
    run(_serve(settings, as_json))


async def _serve(settings: SandboxSettings, as_json: bool) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        async with Sandbox(settings) as engage:
            environment = environment_of(engage)
            # In one write, so that who waits for the first line finds them all.
            click.echo(
                msgspec.json.encode({**engage.info(), "environment": environment}).decode()
                if as_json
                else "\n".join(
                    [
                        *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
                        f"SANDBOX={engage.control_url}  # the remote control",
                    ]
                )
            )
            await ended.wait()
    except OSError as error:
        raise Failure("SandboxFailed", f"the sandbox cannot run: {error.strerror or error}") from None


def environment_of(engage: Sandbox) -> dict[str, str]:
    """The settings of a client of this sandbox."""
    settings = engage.settings
    return {
        "VOYADO_BASE_URL": engage.base_url,
        "VOYADO_API_KEY": engage.api_key,
        "VOYADO_CONTACT_KEY": settings.contact_key,
        "VOYADO_SFTP_HOST": engage.sftp_host,
        "VOYADO_SFTP_PORT": str(engage.sftp_port),
        "VOYADO_SFTP_USERNAME": engage.sftp_username,
        "VOYADO_SFTP_PASSWORD": engage.sftp_password,
        "VOYADO_SFTP_HOST_KEY": engage.sftp_host_key,
        "VOYADO_IMPORT_PERIOD": f"{settings.import_period:g}",
    }
