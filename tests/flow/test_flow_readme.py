"""Every code block and command of the README runs, as it stands there, against the sandbox.

The two installing commands are run by `.ci/run`, which reads them from the README; here is checked that it does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from voyado_async.settings import environment_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
PYTHON = [text for language, text in BLOCKS if language == "python"]


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: no settings of ours, the command on the path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")}
    return clean | {"PATH": f"{Path(sys.executable).parent}:{clean['PATH']}"} | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    return tmp_path


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[dict[str, Any]]:
    process = subprocess.Popen([sys.executable, "-m", "voyado_async.sandbox"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=10)


def settings_for(sandbox: dict[str, Any], folder: Path) -> dict[str, str]:
    return {
        "VOYADO_BASE_URL": sandbox["base_url"],
        "VOYADO_API_KEY": sandbox["api_key"],
        "VOYADO_OUTBOX": str(folder / "outbox.db"),
        "VOYADO_SFTP_HOST": sandbox["sftp_host"],
        "VOYADO_SFTP_PORT": str(sandbox["sftp_port"]),
        "VOYADO_SFTP_USERNAME": sandbox["sftp_username"],
        "VOYADO_SFTP_PASSWORD": sandbox["sftp_password"],
        "VOYADO_SFTP_HOST_KEY": sandbox["sftp_host_key"],
    }


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {language for language, _ in BLOCKS} == {"", "sh", "python"}
    assert (len(SHELL), len(PYTHON)) == (4, 1)


def test_the_checks_run_the_installing_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for text, words in zip(SHELL[:2], ("voyado-async demo", "python3 -m pytest"), strict=True):
        assert words in text
        assert f'$(from_readme "{words}")' in script


def test_the_shop_of_the_readme_sells(sandbox: dict[str, Any], folder: Path) -> None:
    contact = "0b6f1c52-7d0e-4a57-9c3b-5a1f2e8d4c10"
    seed = {
        "contacts": [{"id": contact, "email": "anna@example.com"}],
        "assignments": [{"contact_id": contact, "id": "e7f30b85-14a9-4d62-b0c8-2f6d5a9e7713"}],
    }
    request = urllib.request.Request(
        f"{sandbox['control_url']}/seed",
        data=json.dumps(seed).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).read()
    program = folder / "shop.py"
    body = textwrap.indent(PYTHON[0].replace("from voyado_async", "    from voyado_async", 0), "    ")
    program.write_text(
        "import asyncio, json, pathlib\n\n\nasync def main():\n"
        "    receipt = json.loads(pathlib.Path('samples/payloads/receipt_purchase.json').read_bytes(),"
        " parse_float=__import__('decimal').Decimal)\n"
        f"{body}\n    print(outcome.state, entry.id)\n\n\nasyncio.run(main())\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, program], cwd=folder, env=environment(**settings_for(sandbox, folder)),
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "delivered 1\n"), done.stderr
    state = json.loads(urllib.request.urlopen(f"{sandbox['control_url']}/state").read())
    assert [assignment["redeemed"] for assignment in state["assignments"]] == [True]


def test_the_sidecar_of_the_readme_drains_until_it_is_told_to_stop(sandbox: dict[str, Any], folder: Path) -> None:
    check, drain = SHELL[2].splitlines()
    env = environment(**settings_for(sandbox, folder))
    done = subprocess.run(["sh", "-c", check], cwd=folder, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    sidecar = subprocess.Popen(["sh", "-c", f"exec {drain}"], cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while True:
            status = subprocess.run(
                ["voyado-async", "status", "--json"], cwd=folder, env=env, capture_output=True, text=True
            )
            if status.returncode == 0 and json.loads(status.stdout)["drainer"]["running"]:
                break
            assert time.monotonic() < deadline, "the sidecar never began to drain"
        sidecar.send_signal(signal.SIGTERM)
        assert sidecar.wait(timeout=10) == 0
    finally:
        sidecar.kill()
        sidecar.communicate()


def test_the_commands_of_the_readme_work_one_after_another(folder: Path) -> None:
    script = f"set -e\n{SHELL[3]}"
    done = subprocess.run(
        ["bash", "-m", "-c", script], cwd=folder, env=environment(), capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "delivered" in done.stdout


def test_the_table_of_settings_is_the_codes_own() -> None:
    rows = re.findall(r"^\| `(VOYADO_\w+)` \| (\S+) \| (.+) \|$", README, re.MULTILINE)
    assert rows == [
        (name.name, "none" if name.default is None else f"`{name.default}`", name.doc) for name in environment_names()
    ]
