"""``voyado-async migrate``: the outbox to the newest schema."""

from __future__ import annotations

from contextlib import closing

import click
import msgspec

from voyado_async.cli.invocation import Invocation, pass_invocation
from voyado_async.cli.report import json_option, tell_json, tell_lines
from voyado_async.errors import ConfigurationError
from voyado_async.outbox.access import Access
from voyado_async.outbox.lock import Turn
from voyado_async.outbox.making import prepare
from voyado_async.outbox.migrate import newest


class MigrateReport(msgspec.Struct, frozen=True):
    """What ``migrate --json`` prints."""

    outbox: str
    schema: int
    taken: list[str]
    """The steps that were taken now; empty where the schema was the newest already."""


@click.command()
@json_option
@pass_invocation
def migrate(invocation: Invocation, as_json: bool) -> None:
    """Bring the outbox to the newest schema. Makes it where there is none.

    Every opening of a client does the same; this is for a deployment that wants it done before.
    """
    settings = invocation.settings()
    path = str(settings.outbox_path)
    access = Access(settings.gid)
    access.open_outbox(path)
    try:
        turn = Turn(f"{path}-turn", access)
    except OSError as error:
        raise ConfigurationError(f"VOYADO_OUTBOX: {path} cannot be used ({error.strerror})") from None
    with closing(turn):
        taken = prepare(path, turn, settings.base_url, settings.seal_keys, access)
    report = MigrateReport(path, newest(), taken)
    if as_json:
        tell_json(report)
    else:
        tell_lines([*taken, f"{path} has schema {report.schema}"])
