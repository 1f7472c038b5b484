"""The wheel, alone in an environment of its own, does the main job. No package index is asked: dependencies come from
the environment that runs the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, timeout: float = 110) -> subprocess.CompletedProcess[str]:
    # A path that the tests were started with would hide the installed package.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built through the source distribution, as it would be published."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    site = Path(
        run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    )
    # A path file is not followed into: the editable install of this checkout, if there is one, stays invisible.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    run(interpreter, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", wheel, cwd=folder)
    return interpreter


def test_the_wheel_carries_migrations_schemas_samples_and_its_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = [
        "py.typed",
        "outbox/sqlite.sql",
        "ops/page.html",
        "samples/replay_after_outage.md",
        "samples/voyado-async.service",
        *(f"fallback/{name}.xsd" for name in ("contacts", "redemptions", "transactions")),
        *(f"migrations/sqlite/{file.name}" for file in (ROOT / "migrations" / "sqlite").iterdir()),
        *(f"samples/payloads/{file.name}" for file in (ROOT / "samples" / "payloads").iterdir()),
    ]
    assert [name for name in wanted if f"voyado_async/{name}" not in names] == []
    assert [name for name in names if name.startswith(("tests/", "migrations/", "samples/"))] == []


def test_the_installed_package_is_the_one_of_the_wheel(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import voyado_async; print(voyado_async.__file__)", cwd=tmp_path).stdout.strip()
    assert Path(where).is_relative_to(python.parents[1])


def test_the_installed_package_finds_the_migrations_of_the_checkout(python: Path, tmp_path: Path) -> None:
    code = "import json; from voyado_async.outbox.migrate import migrations; print(json.dumps(migrations()))"
    steps = json.loads(run(python, "-c", code, cwd=tmp_path).stdout)
    assert [step[1:] for step in steps] == [
        [file.name, file.read_text(encoding="utf-8")] for file in sorted((ROOT / "migrations" / "sqlite").iterdir())
    ]


def test_the_demo_runs_from_the_wheel_and_its_books_agree(python: Path, tmp_path: Path) -> None:
    report = json.loads(run(python.parent / "voyado-async", "demo", "--json", cwd=tmp_path).stdout)
    assert report["agree"] is True
    assert list(tmp_path.iterdir()) == []
