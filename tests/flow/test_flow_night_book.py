"""Every command of the night book runs, in its order, through a night that has everything in it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from actors import receipt
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from voyado_async.cli.program import COMMANDS, program
from voyado_async.events import AttemptMade
from voyado_async.ops.metrics import Metrics
from voyado_async.resources.status import Accounting, DrainerStatus, Status
from voyado_async.settings import Settings

ROOT = Path(__file__).parents[2]
BOOK = (ROOT / "samples" / "replay_after_outage.md").read_text(encoding="utf-8")
SAMPLES = ROOT / "samples"

Row = tuple[str, str]
CHAPTERS: list[tuple[int, list[Row]]] = [
    (int(number), re.findall(r"^\| `(voyado-async .+?)` \| (.+) \|$", text, re.MULTILINE))
    for number, text in re.findall(r"^## (\d)\. .*?\n(.*?)(?=^## |\Z)", BOOK, re.MULTILINE | re.DOTALL)
]


class Night:
    """A shop in trouble: the sandbox for Engage, a sidecar that may be there, and somebody at a terminal."""

    def __init__(self, folder: Path, sandbox: dict[str, Any], stack: list[subprocess.Popen[str]]) -> None:
        self.folder = folder
        self._control = sandbox["control_url"]
        self._processes = stack
        # Without a file server: what is exhausted stays in the spool, for a person.
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VOYADO_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VOYADO_BASE_URL": sandbox["base_url"], "VOYADO_API_KEY": sandbox["api_key"],
            "VOYADO_OUTBOX": str(folder / "outbox.db"), "VOYADO_CONTACT_KEY": "email",
            "VOYADO_RETRY_DELAYS": "0.2", "VOYADO_RETRY_ATTEMPTS": "2", "VOYADO_FALLBACK_INTERVAL": "0.2",
        }  # fmt: skip
        self.words: dict[str, str] = {}
        """What stands in for the words in capitals."""

    def run(self, line: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            ["sh", "-c", line], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in codes, f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, line: str, until: str) -> None:
        """A command that stays; returns when it has said that."""
        process = subprocess.Popen(
            shlex.split(line),
            cwd=self.folder,
            env=self.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._processes.append(process)
        assert process.stderr is not None
        for said in process.stderr:
            if until in said:
                return
        raise AssertionError(f"{line} ended with {process.wait()}")

    def stop(self) -> None:
        process = self._processes.pop()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0

    def faults(self, *faults: dict[str, Any]) -> None:
        body = json.dumps({"replace": faults})
        request = urllib.request.Request(f"{self._control}/faults", body.encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).read()

    def states(self) -> dict[str, int]:
        counted: dict[str, int] = json.loads(self.run("voyado-async status --json"))["states"]
        return counted

    def until(self, holds: Callable[[dict[str, int]], bool]) -> None:
        deadline = time.monotonic() + 40
        while not holds(states := self.states()):
            assert time.monotonic() < deadline, states
            time.sleep(0.05)

    def sell(self, name: str, count: int = 1) -> None:
        lines = [json.dumps(receipt(name, number, f"{number}@example.com")) for number in range(count)]
        (self.folder / "sales.jsonl").write_text("\n".join(lines), encoding="utf-8")
        self.run("voyado-async enqueue receipt sales.jsonl")

    def filled_in(self, command: str) -> str:
        return re.sub(r"\b(ID|NAME|FILE|COPY)\b", lambda word: self.words[word[0]], command.replace("\\|", "|"))


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    started: list[subprocess.Popen[str]] = []
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "voyado_async.sandbox", "--contact-key", "email"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert sandbox.stdout is not None
        yield Night(tmp_path, json.loads(sandbox.stdout.readline()), started)
    finally:
        for process in [*started, sandbox]:
            process.kill()
            process.communicate()


def nobody_drains(night: Night) -> None:
    """Two sales that Engage will refuse, two that it will take; a minute old."""
    night.sell("first", 2)
    for number in (1, 2):
        night.run(
            f"voyado-async enqueue redeem --assignment e7f30b85-14a9-4d62-b0c8-2f6d5a9e771{number} --channel ECOM"
        )

    night.words["COPY"] = "before.db"
    with sqlite3.connect(night.folder / "outbox.db") as database:
        database.execute("UPDATE lane SET due = due - 61000 WHERE due IS NOT NULL")
    database.close()


def key_is_refused(night: Night) -> None:
    night.until(lambda states: states["rejected"] == 2 and states["delivered"] == 2)
    night.faults({"kind": "bad_key"})
    night.sell("key")
    deadline = time.monotonic() + 20
    while "refused (401)" not in night.run("voyado-async status"):
        assert time.monotonic() < deadline


def engage_is_away(night: Night) -> None:
    night.faults()
    night.until(lambda states: states["delivered"] == 3)
    night.faults({"kind": "status", "status": 503})
    night.sell("outage", 6)
    night.until(lambda states: states["spooled"] >= 6)


def files_wait(night: Night) -> None:
    (night.words["NAME"],) = [file["name"] for file in json.loads(night.run("voyado-async files --json"))["files"]][:1]


def engage_is_back(night: Night) -> None:
    night.faults()
    night.until(lambda states: states["delivered"] == 9)


def rejected(night: Night) -> None:
    found = json.loads(night.run("voyado-async list --state rejected --json"))["entries"]
    night.words |= {"ID": str(found[0]["id"]), "FILE": "content.json"}


def lost(night: Night) -> None:
    night.words["COPY"] = "copy.db"
    left = json.loads(night.run("voyado-async list --state rejected --json"))["entries"]
    for entry in left:
        night.run(f"voyado-async discard {entry['id']} --reason told")


BEFORE = {
    1: nobody_drains,
    3: key_is_refused,
    4: engage_is_away,
    5: files_wait,
    6: engage_is_back,
    7: rejected,
    8: lost,
}
CODES = {
    ("voyado-async status --check", 1): (3,),
    ("voyado-async check", 3): (1,),
    ("voyado-async check", 4): (1,),
    ("voyado-async replay ID --reason \"corrected the shop\"", 7): (0, 3),
}  # fmt: skip


def test_every_command_of_the_book_does_what_it_says(night: Night) -> None:
    run = 0
    for chapter, rows in CHAPTERS:
        BEFORE.get(chapter, lambda night: None)(night)
        for command, sees in rows:
            wanted = re.findall(r"`([^`]+)`", sees)
            if command.startswith("voyado-async drain"):
                night.start(command.replace("9464", "0"), wanted[0])
            else:
                found = night.run(night.filled_in(command), CODES.get((command, chapter), (0,)))
                assert [word for word in wanted if word not in found and word != "403:"] == [], f"{command}\n{found}"
            run += 1
    assert run == BOOK.count("\n| `voyado-async ")
    assert night.states()["delivered"] == 9
    night.stop()


def test_every_command_that_a_sample_names_exists() -> None:
    """In prose, too: `voyado-async WORD`, with options that it has."""
    for sample in ("replay_after_outage.md", "upgrading.md", "prometheus/alerts.yml", "voyado-async.service",
                   "container/Containerfile"):  # fmt: skip
        text = (SAMPLES / sample).read_text(encoding="utf-8").replace('", "', " ")
        for command, rest in re.findall(r"voyado-async ([a-z]+)([^`\n]*)", text):
            if sample.endswith("yml") and command == "systemctl":
                continue
            assert command in COMMANDS, (sample, command)
            shown = CliRunner().invoke(program, [command, "--help"]).output
            for option in re.findall(r"--[a-z-]+", rest.partition("#")[0]):
                assert option in shown, (sample, command, option)


def served() -> dict[str, list[dict[str, str]]]:
    """What /metrics has: the labels of each sample, by its name."""
    metrics = Metrics()
    metrics(AttemptMade(entry_id=1, kind="redeem", what="request", outcome="delivered", status=200, duration_ms=1))
    metrics(AttemptMade(entry_id=1, kind="redeem", what="request", outcome="rejected", status=404, duration_ms=1))
    status = Status("", None, {}, {}, None, "closed", None, DrainerStatus(False, None, False, None), {},
                    Accounting(0, 0, 0, True), (), last_enqueued_seconds=1.0)  # fmt: skip
    text = metrics.text("", status, rate=1.0, sizes={"database": 1})[0].decode()
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def test_alert_rules_ask_for_metrics_and_labels_that_exist() -> None:
    """Every series that a rule chooses is there, and every label that it sums over."""
    read = yaml.safe_load((SAMPLES / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    (group,) = read["groups"]
    has, asked = served(), set()
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
        assert re.fullmatch(r"\d+[mh]", rule["for"]), rule
        assert set(rule["labels"]) == {"severity"}, rule
        assert rule["labels"]["severity"] in ("page", "ticket"), rule
        assert set(rule["annotations"]) == {"summary", "command"}, rule
        found = re.findall(r"\b(voyado_\w+|up)\b(?:\{(.*?)\})?", rule["expr"])
        assert found, rule
        for name, labels in found:
            if name == "up":  # Prometheus' own
                continue
            assert name in has, (rule["alert"], name)
            asked.add(name)
            wanted = re.findall(r'(\w+)(=~|=)"([^"]*)"', labels)
            for label, _, values in wanted:
                for value in values.split("|"):
                    assert any(one.get(label) == value for one in has[name]), (rule["alert"], name, label, value)
            for label in re.findall(r"(?:by|without) \((\w+)\)", rule["expr"]):
                assert all(label in one for one in has[name]), (rule["alert"], name, label)
    names = [rule["alert"] for rule in group["rules"]]
    assert len(asked) > 8
    assert len(set(names)) == len(names)


def container() -> dict[str, list[str]]:
    """The steps of the container, by their word."""
    text = (SAMPLES / "container" / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps: dict[str, list[str]] = {}
    for word, rest in re.findall(r"^([A-Z]+) (.+)$", text, re.MULTILINE):
        steps.setdefault(word, []).append(rest)
    return steps


def test_the_container_and_its_shop_agree_on_user_folder_port_and_time() -> None:
    steps = container()
    compose = yaml.safe_load((SAMPLES / "container" / "compose.yaml").read_text(encoding="utf-8"))
    shop, sidecar = compose["services"]["shop"], compose["services"]["sidecar"]
    (install,) = steps["RUN"]
    uid, folder = re.search(r"useradd --uid (\d+) .*--home-dir (\S+) (?:voyado)", install).groups()  # type: ignore[union-attr] # or it fails
    assert (steps["USER"], shop["user"]) == (["voyado"], uid), "0600 files are for one user"
    assert f"chmod 0700 {folder}" in install
    assert steps["VOLUME"] == steps["WORKDIR"] == [folder]
    command = json.loads(steps["CMD"][0])
    outbox = dict(one.split("=", 1) for one in steps["ENV"])["VOYADO_OUTBOX"]
    assert sidecar["environment"] == shop["environment"]
    assert sidecar["environment"]["VOYADO_OUTBOX"] == outbox == f"{folder}/outbox.db"
    assert sidecar["volumes"] == shop["volumes"] == [f"outbox:{folder}"]
    assert "outbox" in compose["volumes"]
    port = command[command.index("--listen") + 1].rpartition(":")[2]
    assert steps["EXPOSE"] == [port]
    assert sidecar["ports"] == [f"127.0.0.1:{port}:{port}"], "nobody logs in there"
    assert f":{port}/healthz" in sidecar["healthcheck"]["test"][-1]
    assert int(sidecar["stop_grace_period"].removesuffix("s")) > 15
    (secret,) = compose["secrets"]
    for service in (shop, sidecar):
        assert service["secrets"] == [secret]
        assert service["environment"]["VOYADO_API_KEY_FILE"] == f"/run/secrets/{secret}"
    known = {f"VOYADO_{name.upper()}" for name in Settings.__struct_fields__} | {"VOYADO_API_KEY_FILE"}
    assert set(shop["environment"]) <= known
    extras = re.search(r"/src\[(.+?)\]", install)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert extras is not None
    assert set(extras[1].split(",")) <= set(declared)


def test_the_command_and_the_health_check_of_the_container_run(night: Night) -> None:
    """As they stand there, with the folder and the port of this machine for those of the container."""
    steps = container()
    data = night.folder / "data"
    data.mkdir(0o700)
    (night.folder / "api-key").write_text(night.env["VOYADO_API_KEY"], encoding="utf-8")
    compose = yaml.safe_load((SAMPLES / "container" / "compose.yaml").read_text(encoding="utf-8"))
    of_file = compose["services"]["sidecar"]
    env = {name: value for name, value in night.env.items() if not name.startswith("VOYADO_")} | {
        name: value.replace("/data", str(data)).replace("/run/secrets/voyado_api_key", str(night.folder / "api-key"))
        for name, value in of_file["environment"].items()
    } | {"VOYADO_BASE_URL": night.env["VOYADO_BASE_URL"]}  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [word.replace("9464", port) for word in json.loads(steps["CMD"][0])]
    process = subprocess.Popen(command, env=env, cwd=data, stderr=subprocess.PIPE, text=True, umask=0o022)
    try:
        assert process.stderr is not None
        while json.loads(process.stderr.readline()).get("event") != "drainer_started":
            assert process.poll() is None
        test = [word.replace("9464", port) for word in of_file["healthcheck"]["test"][1:]]
        assert subprocess.run(test, env=env, timeout=20, check=False).returncode == 0
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (data, *data.iterdir())}
        assert modes["outbox.db"] == 0o600
        assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=int(of_file["stop_grace_period"].removesuffix("s"))) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd is here to read the unit")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """All but the program itself, which is installed elsewhere: one that is here stands for it."""
    unit = (SAMPLES / "voyado-async.service").read_text(encoding="utf-8")
    there = "/opt/voyado-async/bin/voyado-async"
    assert there in unit
    (tmp_path / "voyado-async.service").write_text(unit.replace(there, sys.executable), encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "voyado-async.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_is_one_that_systemd_can_read() -> None:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # systemd's names have capitals
    parser.read_string((SAMPLES / "voyado-async.service").read_text(encoding="utf-8"))
    service = parser["Service"]
    assert parser.sections() == ["Unit", "Service", "Install"]
    assert (service["Type"], service["RestartPreventExitStatus"]) == ("notify", "2")
    assert int(service["TimeoutStopSec"]) > 15
    assert int(service["WatchdogSec"]) > 65 + 60
