"""A one-shot command loads nothing that it does not need: starting is most of its time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project.checkout import ROOT, clean_environment

HEAVY = {"rich", "pydantic", "asyncio", "importlib.metadata", "jinja2", "sysv_ipc", "typer.rich_utils"}
CLI = ("-c", "import sys; from ipcops.cli.main import main; sys.exit(main())")
CORE = ("-m", "ipcops.core")


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that a run of Python with its output in a pipe has imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def among(modules: set[str], packages: set[str]) -> set[str]:
    return {module for module in modules if any((module + ".").startswith(name + ".") for name in packages)}


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "--format", "json", "--fail-on", "none"),
        ("audit", "--fail-on", "none"),
        ("list", "--format", "json"),
        ("rules", "--format", "json"),
        ("metrics",),
        ("--help",),
        ("audit", "--help"),
    ],
    ids=" ".join,
)
def test_one_shot_command_loads_nothing_heavy(arguments):
    loaded = loaded_by(*CLI, *arguments)
    assert "typer" in loaded, "the measurement itself must work"
    assert not among(loaded, HEAVY)


def test_core_loads_the_standard_library_and_itself():
    at_start = loaded_by("-c", "print()")
    loaded = loaded_by(*CORE, "audit", "--format", "json", "--fail-on", "none")
    assert "ipcops.core" in loaded
    known = sys.stdlib_module_names | {"ipcops"}
    assert {module for module in loaded - at_start if module.partition(".")[0] not in known} == set()
    assert not among(loaded, HEAVY | {"ipcops.cli", "ipcops.show"})


def test_numbers_load_no_report_and_nothing_about_what_was_not_asked_for():
    loaded = loaded_by(*CORE, "metrics")
    assert {"ipcops.core.metrics", "ipcops.core.exposition", "ipcops.core.rules.base"} <= loaded
    parts = "report records columns text cleaning explaining check collect.sockets collect.files collect.locks"
    parts += " collect.systemd collect.visit known.services known.public_sockets"
    unwanted = {"ipcops.core." + part for part in parts.split()}
    assert among(loaded, unwanted | {"json", "socket", "tempfile", "random", "textwrap", "pathlib"}) == set()
