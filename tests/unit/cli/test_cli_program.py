"""Help, global options, and how an error leaves the program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli_calls import Call

import voyado_async.__main__ as entrance
from voyado_async.cli.program import COMMANDS, program


def commands(group: click.Group = program, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands())


def test_the_commands_are_those_of_the_contract() -> None:
    assert list(COMMANDS) == [
        "enqueue", "drain", "status", "list", "show", "files", "replay", "discard", "edit", "forget", "purge", "log",
        "export", "check", "backup", "migrate", "verify", "sandbox", "demo",
    ]  # fmt: skip
    assert {name for name in ALL if name.startswith("enqueue ")} == {
        f"enqueue {name}"
        for name in ("redeem", "redeem-code", "voucher", "contact", "new-contact", "contact-type", "receipt")
    }


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_a_help_text(name: str, call: Call) -> None:
    command = ALL[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
    assert call(*name.split(), "--help").exit_code == 0


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_the_help_page_says_what_the_command_says(name: str) -> None:
    assert ALL[name].get_short_help_str(200) == COMMANDS[name].help


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("enqueue", "demo")])
def test_every_command_that_reports_has_json(name: str) -> None:
    assert "--json" in [option for parameter in ALL[name].params for option in parameter.opts]


def test_the_help_page_imports_no_command() -> None:
    code = (
        "import sys\nfrom voyado_async.cli.program import program\n"
        "program(['--help'], standalone_mode=False)\n"
        "print([m for m in sys.modules if m in ('rich', 'lxml', 'asyncssh', 'voyado_async.cli.drain')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(entrance, "find_spec", lambda name: None if name == "click" else object())
    assert entrance.main() == 2
    assert capsys.readouterr().err == "The command line needs click: pip install 'voyado-async[cli]'\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["drian"], "Did you mean 'drain'?"),
        (["drain", "--timeout", "3"], "--timeout belongs to --until-settled"),
        (["list", "--since", "yesterday"], "neither a time of ISO 8601 nor an age"),
        (["list", "--state", "gone"], "'gone' is not one of"),
        (["show", "x"], "not a valid integer"),
        (["enqueue", "redeem", "--assignment", "a/b", "--channel", "ECOM"], "expected an id"),
        (["enqueue", "redeem", "--assignment", "a", "--channel", "TV"], "'TV' is not one of"),
        (["enqueue", "contact-type", "--contact", "c", "a b"], "cannot be a contact type"),
        (["enqueue", "receipt", "nowhere.json"], "No such file"),
        (["files", "--carried", "a", "--withdraw", "b"], "exclude each other"),
        (["sandbox", "--contact-key", "shoeSize"], "contact_key"),
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], told: str, call: Call) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize("command", ["status", "drain", "check", "verify", "migrate", "list", "files"])
def test_an_unknown_setting_is_exit_2_for_every_command(
    command: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOYADO_OUTBOKS", "x.db")
    result = call(command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: unknown setting in the environment: VOYADO_OUTBOKS (did you mean VOYADO_OUTBOX?)\n"


def test_with_json_an_error_is_one_object_on_standard_error(call: Call, home: Path) -> None:
    result = call("status", "--check", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert json.loads(result.stderr) == {
        "error": {
            "type": "ConfigurationError",
            "message": f"there is no outbox at {home}/outbox.db (VOYADO_OUTBOX): the first write or "
            "`voyado-async migrate` makes it",
            "exit_code": 2,
            "problems": [],
        }
    }
    wrong = call("list", "--limit", "0", "--json")
    assert wrong.exit_code == 2
    assert json.loads(wrong.stderr)["error"]["type"] == "UsageError"


def test_options_beat_the_environment_and_that_beats_the_file(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "a.toml").write_text('base_url = "http://127.0.0.1:8"\noutbox = "of_file.db"\n')
    (home / "b.toml").write_text('outbox = "of_config.db"\n')
    monkeypatch.setenv("VOYADO_CONFIG", "a.toml")

    def outbox(*options: str) -> str:
        return Path(json.loads(call(*options, "migrate", "--json").stdout)["outbox"]).name

    assert outbox() == "of_file.db"
    assert outbox("--config", "b.toml") == "of_config.db"
    monkeypatch.setenv("VOYADO_OUTBOX", "of_environment.db")
    assert outbox("--config", "b.toml") == "of_environment.db"
    assert outbox("--config", "b.toml", "--outbox", "of_option.db") == "of_option.db"
    missing = call("--config", "c.toml", "status")
    assert missing.exit_code == 2
    assert "c.toml cannot be read" in missing.stderr
