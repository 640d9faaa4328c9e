"""A one-shot command loads nothing that it does not need: starting is most of its time."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from ipcops.core import tuples
from ipcops.core.model import Gap
from tests.project.checkout import ROOT, clean_environment

HEAVY = {"rich", "pydantic", "asyncio", "importlib.metadata", "jinja2", "sysv_ipc", "typer.rich_utils"}
CLI = ("-c", "import sys; from ipcops.cli.main import main; sys.exit(main())")
CORE = ("-m", "ipcops.core")

# What changes a host, judges by rules or looks at other kinds has no place in a plan that is only shown.
UNPLANNED = {"ipcops.core." + name for name in (
    "apply backup change contents journal keeping notify restore setting standing explain explaining rules.catalogue"
    " collect.again collect.caller collect.connections collect.facts collect.files collect.locks collect.sockets"
    " collect.strays collect.systemd collect.visit verdicts.fifo verdicts.held verdicts.sockets"
).split()}  # fmt: skip
# Of the standard library what one plan in a hundred needs, and what takes long to load.
SLOW = set(
    "_hashlib bz2 difflib hashlib lzma selectors shlex shutil signal string subprocess textwrap threading".split()
)


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
        ("content", "path"),
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


def test_a_plan_loads_nothing_that_removes(tmp_path):
    policy = tmp_path / "policy.conf"
    policy.write_text(f"[clean]\nstate = {tmp_path}\n", encoding="utf-8")
    at_start = loaded_by("-c", "print()")
    loaded = loaded_by(*CORE, "clean", "--policy", str(policy)) - at_start
    assert {"ipcops.core.cleaning", "ipcops.core.plan"} <= loaded
    assert not among(loaded, UNPLANNED | SLOW)


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (("audit", "--fail-on", "none"), {"cleaning", "explaining", "plan", "state"}),
        (("list", "shm"), {"cleaning", "explaining", "plan", "rules.catalogue", "collect.locks", "collect.sockets"}),
        (("rules", "SHM-001"), {"cleaning", "collect", "explaining", "kernel", "plan"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_look_loads_no_other_command(arguments, unneeded):
    loaded = loaded_by(*CORE, *arguments) - loaded_by("-c", "print()")
    assert "ipcops.core.run" in loaded
    slow = SLOW - {"shlex", "string"}  # findings name files and are sentences
    assert not among(loaded, {f"ipcops.core.{name}" for name in unneeded} | slow)


def test_named_tuples_are_those_of_typing():
    """They are made at less cost (ipcops/core/tuples.py), and nobody can tell but by that."""

    class Ours(tuples.NamedTuple):
        """A text."""

        one: int
        two: str = "2"

        @property
        def both(self) -> str:
            return f"{self.one}{self.two}"

    assert (Ours.__doc__, Ours.__name__, Ours.__module__) == ("A text.", "Ours", __name__)
    assert Ours._fields == ("one", "two")
    assert repr(Ours(1)) == "Ours(one=1, two='2')"
    assert Ours(1, two="3")._replace(one=2).both == "23"
    assert Ours(1) == (1, "2")
    with pytest.raises(TypeError, match="one"):
        Ours()
    with pytest.raises(AttributeError):
        Ours(1).one = 2
    assert pickle.loads(pickle.dumps(Gap("table", "what", "why"))) == Gap("table", "what", "why")
