"""The surface of the package: its names, what importing it costs, and that its own words agree."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import voyado_async
from voyado_async import errors
from voyado_async.outbox.states import TRANSITIONS, State
from voyado_async.version import VERSION

ROOT = Path(__file__).parents[2]


def test_every_public_name_is_sorted_and_there() -> None:
    assert voyado_async.__all__ == sorted(voyado_async.__all__)
    assert [name for name in voyado_async.__all__ if not hasattr(voyado_async, name)] == []


def test_the_package_tells_its_version() -> None:
    assert voyado_async.__version__ == VERSION


def test_every_error_is_public_and_stands_in_the_drawn_tree() -> None:
    ours = {n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, errors.VoyadoError)}
    assert ours <= set(voyado_async.__all__)
    drawn = {line.split()[0] for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")}
    assert drawn == ours


def test_every_error_says_what_its_caller_can_do_and_the_drawn_tree_says_the_same() -> None:
    for line in (errors.__doc__ or "").splitlines():
        if line.startswith("      "):
            name, _, told = line.strip().partition(" ")
            assert told.strip().startswith(getattr(errors, name).remedy.value), name
            depth = (len(line) - len(line.lstrip()) - 4) // 2
            assert len(getattr(errors, name).__mro__) - len(errors.VoyadoError.__mro__) == depth, name


def test_the_readme_tells_of_every_error_what_helps() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = {}
    for remedy in errors.Remedy:
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {remedy.value} |")]
        told |= dict.fromkeys(re.findall(r"`(\w+)`", row), remedy)
    public = {name: getattr(errors, name) for name in vars(errors)}
    kinds = {n: e for n, e in public.items() if isinstance(e, type) and issubclass(e, errors.VoyadoError)}
    assert told == {name: kind.remedy for name, kind in kinds.items() if kind is not errors.VoyadoError}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidContactId", errors.EngageRefused),
        (401, None, errors.AccessRefused),
        (403, None, errors.AccessRefused),
        (404, "PromotionNotFound", errors.EngageNotFound),
        (409, "PromotionExpired", errors.EngageConflict),
        (409, "MultipleMatches", errors.MultipleMatches),
        (422, "ValidationError", errors.EngageRefused),
        (451, "UnknownCode", errors.EngageRefused),
        (500, "InvalidSystemConfiguration", errors.EngageMisconfigured),
    ],
)
def test_a_refusal_of_engage_is_an_error_that_can_be_acted_on(
    status: int, code: str | None, kind: type[errors.EngageRefused]
) -> None:
    error = errors.refusal("contacts.get", status, code)
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)
    assert str(error) == f"contacts.get: Engage answered {status}{f' {code}' if code else ''}"


def test_importing_the_package_loads_nothing_that_only_few_processes_need() -> None:
    code = (
        "import sys, voyado_async;"
        "print([m for m in ('asyncssh', 'lxml', 'click', 'rich', 'cryptography') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_module_says_what_it_is() -> None:
    for module in pkgutil.walk_packages(voyado_async.__path__, "voyado_async."):
        if not module.name.endswith("__main__"):
            assert importlib.import_module(module.name).__doc__, module.name


def test_the_states_of_the_code_the_schema_and_the_readme_agree() -> None:
    schema = (ROOT / "migrations" / "sqlite" / "0001_outbox.sql").read_text(encoding="utf-8")
    check = re.search(r"state TEXT NOT NULL CHECK \((.*?)\n    \)", schema, re.DOTALL)
    assert check is not None
    assert re.findall(r"state = '(\w+)'", check[1]) == [state.value for state in State]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", readme, re.MULTILINE)
    assert rows == [(move.source, move.target, move.who, move.when) for move in TRANSITIONS]


def test_every_state_says_what_it_means_in_the_source() -> None:
    source = (ROOT / "voyado_async" / "outbox" / "states.py").read_text(encoding="utf-8")
    for state in State:
        assert re.search(rf'    {state.name} = "{state.value}"\n    """[A-Z]', source), state


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidEntry("items[2].sku", "missing"),
        errors.KeyConflict("receipt", 7, 2),
        errors.MultipleMatches("contacts.find", 409, "MultipleMatches", ("a", "b")),
        errors.OutcomeUnknown("promotions.assign: no usable answer"),
        errors.UploadFailed("host_key", "another key"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_whole_from_another_process(error: errors.VoyadoError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("stage", ["outbox", "drain", "api", "fallback", "ops"])
def test_each_stage_says_of_every_file_of_its_own_what_it_is_for(stage: str) -> None:
    folder = ROOT / "voyado_async" / stage
    told = set(re.findall(r"\b\w+\.(?:py|sql|html)\b", importlib.import_module(f"voyado_async.{stage}").__doc__ or ""))
    there = {file.name for kind in ("py", "sql", "html") for file in folder.glob(f"*.{kind}")} - {"__init__.py"}
    assert told == there


def test_the_way_of_an_entry_in_the_clients_first_lines_is_there() -> None:
    folder, missing = "", []
    for name in re.findall(r"[\w/]+\.(?:py|sql)\b", importlib.import_module("voyado_async.client").__doc__ or ""):
        folder = name.rpartition("/")[0] or folder
        if not (ROOT / "voyado_async" / folder / name.rpartition("/")[2]).exists():
            missing.append(name)
    assert folder == "fallback"
    assert missing == []
