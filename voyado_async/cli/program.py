"""The program: global options, the commands (imported when they are called), and how an error is told."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, NoReturn

import click

from voyado_async.cli.failure import Failure, WrongUsage, failure_of
from voyado_async.cli.invocation import Invocation
from voyado_async.errors import VoyadoError
from voyado_async.version import VERSION


class Lazy(NamedTuple):
    """A command that is imported when it is called, so that ``--help`` is quick."""

    target: str
    help: str


COMMANDS = {
    "enqueue": Lazy("voyado_async.cli.enqueue:enqueue", "Write to the outbox."),
    "drain": Lazy("voyado_async.cli.drain:drain", "Deliver what is in the outbox, until told to stop."),
    "status": Lazy("voyado_async.cli.status:status", "Show what waits, since when, why, and what happens next."),
    "list": Lazy("voyado_async.cli.entries:list_entries", "List entries, newest first, without their content."),
    "show": Lazy("voyado_async.cli.show:show", "Show one entry with its attempts and its file."),
    "files": Lazy(
        "voyado_async.cli.files:files",
        "List the fallback files, oldest first, with what to do about them; mark or withdraw one.",
    ),
    "replay": Lazy("voyado_async.cli.replay:replay", "Bring entries back: by the API, or by file."),
    "discard": Lazy("voyado_async.cli.discard:discard", "Drop entries, with a reason."),
    "edit": Lazy("voyado_async.cli.edit:edit", "Correct the content of a rejected entry."),
    "forget": Lazy("voyado_async.cli.forget:forget", "Remove a contact from the outbox, everywhere."),
    "purge": Lazy("voyado_async.cli.purge:purge", "Remove finished entries that are old enough."),
    "log": Lazy("voyado_async.cli.log:log", "Show what operators did: who, when, what, why."),
    "export": Lazy("voyado_async.cli.export:export", "Write the XML files of entries to a folder; move nothing."),
    "check": Lazy("voyado_async.cli.check:check", "Check settings, outbox, API, file server and folders."),
    "backup": Lazy("voyado_async.cli.backup:backup", "Copy the outbox to a new file while it is used."),
    "migrate": Lazy("voyado_async.cli.migrate:migrate", "Bring the outbox to the newest schema."),
    "verify": Lazy("voyado_async.cli.verify:verify", "Verify the outbox: integrity, accounting, lanes, files."),
    "sandbox": Lazy("voyado_async.cli.sandbox:sandbox", "Run a fake Engage on this machine."),
    "demo": Lazy("voyado_async.cli.demo:demo", "See it work: sales, an outage, and the books of both sides."),
}
"""Every command, in the order of the help page."""


class Program(click.Group):
    """Commands by name, each imported when it is called, and one way in which errors leave the program."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        module, _, name = lazy.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib  # here: only the unlucky need it

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command '{args[0]}'." + "".join(f" Did you mean '{name}'?" for name in near))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VoyadoError as error:
            self._leave(ctx, failure_of(error))
        except click.ClickException as error:
            self._leave(ctx, error)

    @staticmethod
    def _leave(ctx: click.Context, error: click.ClickException) -> NoReturn:
        """click shows it and exits, unless JSON was asked for."""
        invocation = ctx.find_object(Invocation)
        if invocation is None or not invocation.json:
            raise error from None
        failure = error if isinstance(error, Failure) else WrongUsage("UsageError", error.format_message())
        click.echo(failure.to_json(), err=True)
        raise click.exceptions.Exit(failure.exit_code) from None


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(VERSION, message="voyado-async %(version)s")
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="A TOML file with settings, in place of the one that VOYADO_CONFIG names.",
)
@click.option(
    "--outbox", type=click.Path(dir_okay=False), metavar="PATH", help="The outbox file, before VOYADO_OUTBOX."
)
@click.pass_context
def program(ctx: click.Context, config: str | None, outbox: str | None) -> None:
    """The outbox of a shop for Voyado Engage.

    Settings come from the environment (VOYADO_...) and from a TOML file; the environment beats the file.

    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 a person is needed.
    """
    ctx.obj = Invocation(config, outbox)
