"""How a sidecar logs what nobody expected: one line, or one object; where it was, never what the error says."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from voyado_async.cli.logs import faults_logged, formatter
from voyado_async.errors import OutboxUnavailable
from voyado_async.traces import trace

PLANTED = "anna.planted@example.com"

FAILING = """
import asyncio, os, signal, sys
from voyado_async.cli import drain as command
from voyado_async.cli.program import program
from voyado_async.drain.drainer import Drainer

PERSON = {"email": sys.argv[2]}

async def run(self):
    try:
        PERSON[PERSON["email"]]
    except KeyError as error:
        asyncio.get_running_loop().call_soon(nobody_awaits, PERSON)
        raise ValueError(f"cannot send {PERSON}") from error

def nobody_awaits(person):
    PERSON[PERSON["email"]]

async def watch(*_):
    await asyncio.sleep(0.1)
    if sys.argv[1] == "stops":
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
    raise ValueError(f"cannot look at {PERSON}")

Drainer.run, command._watch = run, watch
program(["drain", "--log-format", sys.argv[3], "--json"])
"""


def sidecar(folder: Path, ends: str, log_format: str) -> tuple[int, list[str]]:
    """The exit code and the log of a sidecar whose drainer fails."""
    env = {"VOYADO_BASE_URL": "http://127.0.0.1:9", "VOYADO_API_KEY": "k", "VOYADO_OUTBOX": str(folder / "outbox.db")}
    code = [sys.executable, "-W", "error", "-c", FAILING, ends, PLANTED, log_format]
    done = subprocess.run(
        code, capture_output=True, text=True, check=False, env=env | {"PYTHONPATH": ":".join(sys.path)}, timeout=60
    )
    assert PLANTED not in done.stdout + done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()


def test_a_drainer_that_fails_is_one_object_a_line_and_no_person_in_it(tmp_path: Path) -> None:
    code, lines = sidecar(tmp_path, "stops", "json")
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert code == 0
    (failed,) = [line for line in told if line["message"].startswith("the drainer failed")]
    for part in ("line 11, in run", "KeyError\nled to\n", "ValueError"):
        assert part in failed["message"]
    (unheard,) = [line for line in told if line["message"] == "Exception in callback nobody_awaits"]
    assert unheard["traceback"].endswith("in nobody_awaits\nKeyError")
    assert {line["level"] for line in (failed, unheard)} == {"ERROR"}


def test_a_sidecar_that_fails_ends_with_1_and_says_where(tmp_path: Path) -> None:
    code, lines = sidecar(tmp_path, "fails", "json")
    told = [json.loads(line) for line in lines]
    assert code == 1
    assert (told[-1]["level"], told[-1]["message"]) == ("CRITICAL", "the sidecar failed and ends")
    assert "in watch\n" not in told[-1]["message"]
    assert told[-1]["traceback"].endswith("in watch\nValueError")


def test_plain_lines_tell_no_more(tmp_path: Path) -> None:
    code, lines = sidecar(tmp_path, "fails", "plain")
    assert code == 1
    assert lines[-1] == "ValueError"
    assert any("CRITICAL the sidecar failed and ends" in line for line in lines)


def logged(log_format: str, error: BaseException | None) -> str:
    told = formatter(log_format)
    raised = (type(error), error, None) if error is not None else None
    return told.format(logging.LogRecord("x", logging.ERROR, "", 1, "two\nlines", (), raised))


def test_an_object_is_one_line_whatever_it_holds() -> None:
    found = logged("json", ValueError(f"{PLANTED}\n\x00"))
    assert "\n" not in found
    assert json.loads(found)["traceback"] == "ValueError"
    assert "traceback" not in json.loads(logged("json", None))
    assert logged("plain", ValueError(PLANTED)).endswith("two\nlines\nValueError")


def test_errors_of_the_package_keep_their_text_and_those_behind_them_lose_it() -> None:
    error = OutboxUnavailable("the outbox x cannot be written now")
    error.__cause__ = KeyError(PLANTED)
    group = ExceptionGroup(PLANTED, [ValueError(PLANTED), error])
    error.__cause__.__context__ = group  # a circle ends
    assert trace(group).splitlines() == [
        "ExceptionGroup",
        "in it",
        "ValueError",
        "in it",
        "KeyError",
        "led to",
        "voyado_async.errors.OutboxUnavailable: the outbox x cannot be written now",
    ]


async def test_a_task_that_nobody_awaits_is_told_without_the_error_that_its_name_quotes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails() -> None:
        raise KeyError(PLANTED)

    with faults_logged():
        task = asyncio.create_task(fails())
        await asyncio.wait([task])
        del task
        gc.collect()
        await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.getMessage() == "Task exception was never retrieved"
    record.exc_text = None  # what caplog's own formatter left there
    assert PLANTED not in formatter("plain").format(record)


@pytest.mark.parametrize("error", [OutboxUnavailable("not now"), click.UsageError("no"), click.exceptions.Exit(3)])
async def test_what_a_command_expects_is_told_elsewhere(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(type(error)), faults_logged():
        raise error
    assert caplog.records == []
