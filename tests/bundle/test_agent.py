"""The agent: the same bytes wherever it is built, nothing lost but comments, and it runs on every Python promised."""

from __future__ import annotations

import ast
import glob
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from ipcops.bundle import agent, starter
from ipcops.core import __version__
from tests.project.checkout import ROOT, clean_environment

SOURCES = sorted((ROOT / "ipcops/core").rglob("*.py"))
LIMIT = 200_000
OLDEST, NEWEST = 9, 13


def pythons(wanted) -> list[str]:
    """Return the Pythons of this machine, one for each version that is *wanted*, which run."""
    managed = os.path.expanduser("~/.pyenv/versions/*/bin/python3")
    places = ["/usr/bin/python3.[0-9]*", "/usr/local/bin/python3.[0-9]*", managed]
    found: dict[tuple[int, int], str] = {}
    ask = "import sys; print(*sys.version_info[:2])"
    for path in [sys.executable, *(one for place in places for one in sorted(glob.glob(place)))]:
        if path.endswith("-config"):
            continue
        done = subprocess.run([path, "-I", "-c", ask], check=False, capture_output=True, text=True)
        if done.returncode == 0 and wanted(version := tuple(map(int, done.stdout.split()))):
            found.setdefault(version, path)
    return list(found.values())


SUPPORTED = pythons(lambda version: (3, OLDEST) <= version <= (3, NEWEST))
TOO_OLD = pythons(lambda version: (3, 0) <= version < (3, OLDEST))


@pytest.fixture(scope="module")
def pyz(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("agent") / agent.FILE
    path.write_bytes(agent.build())
    return path


def run(*words: object, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], check=False, capture_output=True, text=True, cwd="/", timeout=60, **more
    )


# ---------------------------------------------------------------- the file


def test_it_stays_small(pyz):
    print(f"the agent: {pyz.stat().st_size} bytes")
    assert pyz.stat().st_size < LIMIT


def test_it_holds_the_whole_core():
    assert list(agent.sources()) == [str(path.relative_to(ROOT / "ipcops")) for path in SOURCES]


def bare(tree: ast.AST) -> str:
    """Return all of a tree but its docstrings, with where each part begins: another way to what ``stripped`` does."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            rest = [one for one in body if not is_text(one)]
            node.body = rest if rest and not all(isinstance(one, ast.Pass) for one in rest) else []
        if hasattr(node, "end_lineno"):  # a body ends with its last text
            node.end_lineno = node.end_col_offset = 0
    return ast.dump(tree, include_attributes=True)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "ipcops/core")))
def test_nothing_but_comments_and_docstrings_is_taken_out(path):
    source = path.read_text("utf-8")
    stripped = agent.stripped(source)
    assert bare(ast.parse(stripped)) == bare(ast.parse(source)), "the same code on the same lines"
    tokens = tokenize.generate_tokens(io.StringIO(stripped).readline)
    assert not [token for token in tokens if token.type == tokenize.COMMENT]


def test_strings_and_hashes_that_are_no_comments_stay():
    source = 'X = "# no comment"  # one\n\n\nclass A:\n    """Gone."""\n\n    y = """\n# stays\n"""\n    """Gone."""\n'
    assert agent.stripped(source) == 'X = "# no comment"\n\n\nclass A:\n\n\n    y = """\n# stays\n"""\n\n'


@pytest.mark.parametrize("python", SUPPORTED)
def test_every_python_builds_the_same(python, pyz, tmp_path):
    built = tmp_path / "built.pyz"
    done = subprocess.run(
        [python, "-m", "ipcops.bundle.agent", built],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean_environment(PYTHONDONTWRITEBYTECODE="1", PYTHONHASHSEED="7", TZ="Asia/Tokyo"),
    )
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(built.read_bytes()).digest() == hashlib.sha256(pyz.read_bytes()).digest()


def test_another_checkout_builds_the_same(pyz, tmp_path):
    """Whatever its place, its times, its modes and the order of its directories."""
    shutil.copytree(ROOT / "ipcops", tmp_path / "ipcops", ignore=shutil.ignore_patterns("__pycache__", "templates"))
    for path in sorted((tmp_path / "ipcops").rglob("*.py"), reverse=True):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    built = tmp_path / "built.pyz"
    done = run(sys.executable, "-m", "ipcops.bundle.agent", built, env=clean_environment(PYTHONPATH=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert built.read_bytes() == pyz.read_bytes()


@pytest.mark.parametrize("arguments", [(), ("one", "two"), ("/nowhere/agent.pyz",)])
def test_a_wrong_command_line_builds_nothing(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ipcops.bundle.agent", *arguments], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == (4 if arguments[1:] == () and arguments else 2)
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- running it


@pytest.mark.parametrize("python", SUPPORTED)
def test_it_runs_where_it_lies_and_unpacked(python, pyz, tmp_path):
    where_it_lies = [python, "-I", "-S", pyz]
    assert run(*where_it_lies, "--version").stdout == f"ipcops {__version__}\n"
    place = tmp_path / "agent"
    assert run(*where_it_lies, "--unpack", place).returncode == 0
    unpacked = [python, "-I", "-S", place]
    for words in (["rules", "SHM-001"], ["rules", "--format", "json"], ["--help"], ["clean", "--help"], ["nonsense"]):
        ours, theirs = run(*where_it_lies, *words), run(*unpacked, *words)
        assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
        assert ours.returncode == (2 if words == ["nonsense"] else 0)
    audit = run(*unpacked, "audit", "--fail-on", "none", "--format", "json")
    assert audit.returncode == 0, audit.stderr
    assert run(*where_it_lies, "--compare", place).stdout == ""


@pytest.mark.parametrize("python", TOO_OLD)
def test_a_python_that_is_too_old_says_so(python, pyz, tmp_path):
    done = run(python, "-I", pyz, "audit")
    assert done.returncode == starter.TOO_OLD
    assert "needs Python 3.9 or newer" in done.stderr
    assert done.stderr.count("\n") == 1
    place = tmp_path / "agent"
    assert run(sys.executable, "-I", pyz, "--unpack", place).returncode == 0
    again = run(python, "-I", place, "audit")
    assert (again.returncode, again.stderr) == (starter.TOO_OLD, done.stderr)


def test_the_starter_can_be_read_by_any_python_3():
    """So that a Python that is too old gets to the line that says so: no syntax of the last fifteen years."""
    ast.parse(Path(starter.__file__).read_text("utf-8"), feature_version=(3, 4))
    ast.parse(starter.LAUNCH, feature_version=(3, 4))


def test_what_is_unpacked_is_compiled_and_complete(pyz, tmp_path):
    place = tmp_path / "agent"
    assert run(sys.executable, "-I", pyz, "--unpack", place, "/final/place").returncode == 0
    names = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    sources = {name for name in names if name.endswith(".py")}
    compiled = {name for name in names if name.endswith(".pyc")}
    assert sources == {"__main__.py", *agent.sources()}
    assert len(compiled) == len(sources)
    assert names == sources | compiled | {starter.STAMP}
    done = run(sys.executable, "-I", "-v", place, "rules")
    assert "wrote" not in done.stderr, "nothing is compiled at a start"
    loads = [line for line in done.stderr.splitlines() if "code object from" in line and str(place) in line]
    assert loads
    assert all(".pyc" in line for line in loads)
    # A traceback names the place where it will lie.
    code = (place / "core/__pycache__").glob("agent.*.pyc")
    assert b"/final/place/core/agent.py" in next(code).read_bytes()


@pytest.mark.parametrize("change", ["edit", "remove", "add"])
def test_what_is_not_as_it_was_unpacked_is_named(change, pyz, tmp_path):
    place = tmp_path / "agent"
    run(sys.executable, "-I", pyz, "--unpack", place)
    target = place / "core/plan.py"
    if change == "edit":
        target.write_text(target.read_text() + "\n")
    elif change == "remove":
        target.unlink()
    else:
        target = place / "core/more.py"
        target.write_text("")
    done = run(sys.executable, "-I", pyz, "--compare", place)
    assert done.returncode == 4
    assert done.stdout.count("\n") == 1
    assert str(target) in done.stdout


def test_unpacking_onto_something_is_refused(pyz, tmp_path):
    place = tmp_path / "agent"
    assert run(sys.executable, "-I", pyz, "--unpack", place).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    done = run(sys.executable, "-I", pyz, "--unpack", place)
    assert done.returncode == 4
    assert "cannot unpack" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


def test_a_traceback_tells_the_line_of_the_sources(pyz):
    """From memory, too, where no file of that name is."""
    provoke = (
        f"import runpy, sys, traceback, zipfile; pyz = {str(pyz)!r}; space = runpy.run_path(pyz, run_name='started')\n"
        "packed = zipfile.ZipFile(pyz).read(space['NAME'])\n"
        "sys.meta_path.insert(0, space['Finder'](space['files'](packed)))\n"
        "import core.plan\n"
        "try:\n    core.plan.make_plan(None, None, None, None)\nexcept Exception:\n    traceback.print_exc()\n"
    )
    done = run(sys.executable, "-I", "-c", provoke)
    told = done.stderr.splitlines()
    [at] = [number for number, line in enumerate(told) if 'File "core/plan.py"' in line][:1]
    line = int(told[at].split("line ")[1].split(",")[0])
    sources = (ROOT / "ipcops/core/plan.py").read_text("utf-8").splitlines()
    assert told[at + 1].strip() == sources[line - 1].partition("  #")[0].strip()
