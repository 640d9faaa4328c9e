"""Imports go one way: who may import whom, read from the source and not from a running program.

An import inside a function or under TYPE_CHECKING counts like any other.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import sys
from typing import NamedTuple

import pytest

from tests.project.checkout import ROOT

CORE = "ipcops.core"

# The parts of core that touch the world. Every part that is not named here is pure.
CARRIERS = {  # called from outside; nothing below imports them
    "__main__", "agent", "cleaning", "deliver", "explaining", "keeping", "monitoring", "run",
    "tuning",
}  # fmt: skip
IMPURE = {"fs", "kernel", "collect"} | CARRIERS
IMPURE |= {"notify", "setting", "standing"} | {"change", "contents", "backup", "restore"}
IMPURE |= {"state", "journal", "apply", "sysctls"}

# What these parts may import of core, and nothing else. The other pure parts may import
# each other, without a cycle.
# Everybody may import `tuples`.
ARROWS = {
    "tuples": set(),
    "exits": set(),
    "errors": {"exits"},
    "model": {"errors"},
    "records": set(),
    "tally": {"model"},
    "known": set(),
    "policy": {"errors", "known", "model"},
    "terms": {"model", "policy", "rules", "verdicts"},
    "plan": {"model", "policy", "rules", "terms", "verdicts"},
    "fs": {"errors", "model"},
    "kernel": {"errors", "model"},
    "collect": {"errors", "fs", "kernel", "limits", "model", "policy", "tally"},
    "change": set(),
    "contents": {"change", "collect", "errors", "fs", "model"},
    "backup": {"contents", "errors", "fs", "model"},
    "state": {"errors", "fs", "policy"},
    "journal": {"errors", "fs", "model", "policy", "state"},
    "apply": {
        "backup", "change", "collect", "contents", "errors", "fs", "journal", "kernel", "model", "policy",
    },
    "restore": {"backup", "change", "contents", "fs", "model"},
    "limits": {"errors", "model", "queuecost"},
    "sysctls": {"collect", "errors", "fs", "journal", "limits"},
    "setting": {"change", "errors", "fs", "journal", "kernel", "model"},
    "notify": {"fs", "layout"},
    "standing": {"backup", "change", "fs", "journal", "model"},
}

WORLDLY = {"ctypes", "os", "socket", "subprocess", "time"}  # what no pure file imports

# Modules that open files by themselves, and the functions of `os` that look at or change them.
OPENERS = set("fileinput glob io linecache mmap pathlib pkgutil tempfile zipfile".split())
OS_CALLS = set(
    "access chmod chown fdopen link listdir listxattr lstat makedirs mkdir mkfifo mknod open opendir "
    "popen readlink remove removedirs rename renames replace rmdir scandir stat statvfs symlink system "
    "truncate unlink utime walk".split()
)


class Import(NamedTuple):
    line: int
    module: str
    name: str | None = None


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of the package, by its dotted name."""
    found = {}
    for path in sorted((ROOT / "ipcops").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/") / "__init__.py").exists()


@functools.cache
def imports(module: str) -> list[Import]:
    """Return what *module* imports, with relative names made absolute and submodules told from attributes."""
    package = module if is_package(module) else module.rpartition(".")[0]
    found = []
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            found += [Import(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parents = package.split(".")
                assert node.level <= len(parents), f"{module}:{node.lineno}: leaves the package"
                base = parents[: len(parents) - node.level + 1]
                source = ".".join([*base, source] if source else base)
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                target = (whole, None) if whole in modules() else (source, alias.name)
                found.append(Import(node.lineno, *target))
    return found


def part(module: str) -> str | None:
    """Return the part of core that *module* is in: ``collect`` for ``ipcops.core.collect.mounts``."""
    return module.split(".")[2] if module.startswith(CORE + ".") else None


def members(wanted) -> list[str]:
    return [module for module in modules() if module.startswith(CORE) and wanted(part(module) or "")]


ALL = members(lambda name: True)
PURE = members(lambda name: name not in IMPURE)
PARTS = {part(module) for module in ALL}


def test_the_package_was_read():
    assert {CORE, f"{CORE}.fs", f"{CORE}.model", f"{CORE}.policy"} <= set(ALL)
    assert Import(1, f"{CORE}.exits") in [item._replace(line=1) for item in imports(f"{CORE}.errors")]
    assert set(ARROWS) | IMPURE <= PARTS, "a rule for a part that is gone"


@pytest.mark.parametrize("module", ALL)
def test_core_imports_the_standard_library_and_itself_relatively(module):
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            roots = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            roots = [(node.module or "").partition(".")[0]]
        else:
            continue
        assert set(roots) <= set(sys.stdlib_module_names), f"{module}:{node.lineno}"
    for item in imports(module):
        assert not item.module.startswith("ipcops") or (item.module + ".").startswith(CORE + "."), (
            f"{module}:{item.line}: core knows nothing of its carriers"
        )


@pytest.mark.parametrize("module", members(ARROWS.__contains__))
def test_arrows(module):
    own = part(module)
    for item in imports(module):
        other = part(item.module)
        if other not in {None, own, "tuples"}:
            assert other in ARROWS[own], f"{module}:{item.line}: {own} must not import {other}"
        assert item.module != CORE, f"{module}:{item.line}: import the module that has it"


@pytest.mark.parametrize("module", members(lambda name: name != "tuples"))
def test_value_types_are_made_at_little_cost(module):
    for item in imports(module):
        assert item != Import(item.line, "typing", "NamedTuple"), f"{module}:{item.line}: take it from tuples"


@pytest.mark.parametrize("module", PURE)
def test_pure_files_know_neither_the_world_nor_who_reads_it(module):
    for item in imports(module):
        assert item.module.partition(".")[0] not in WORLDLY, f"{module}:{item.line}: {item.module}"
        assert part(item.module) not in IMPURE, f"{module}:{item.line}: {item.module}"


@pytest.mark.parametrize("module", [module for module in modules() if module.startswith("ipcops.fleet")])
def test_what_sums_hosts_up_is_pure(module):
    for item in imports(module):
        assert item.module.partition(".")[0] not in WORLDLY | OPENERS, f"{module}:{item.line}: {item.module}"
        assert part(item.module) not in IMPURE, f"{module}:{item.line}: {item.module}"


@pytest.mark.parametrize("module", members(lambda name: name not in CARRIERS))
def test_nothing_below_imports_a_carrier(module):
    for item in imports(module):
        assert part(item.module) not in CARRIERS, f"{module}:{item.line}: {item.module}"


@pytest.mark.parametrize("module", members(lambda name: name not in {"kernel", "change"}))
def test_only_kernel_calls_the_kernel(module):
    for item in imports(module):
        assert item.module.partition(".")[0] not in {"ctypes", "_ctypes", "cffi"}, f"{module}:{item.line}"


# kernel opens namespaces, deliver /dev/null in the place of a standard output that was closed.
@pytest.mark.parametrize("module", members(lambda name: name not in {"fs", "kernel", "deliver"}))
def test_only_fs_opens_files(module):
    for item in imports(module):
        opens = item.module.partition(".")[0] in OPENERS or item.module == "importlib.resources"
        assert not opens, f"{module}:{item.line}: {item.module} opens files"
        assert item.module != "os" or item.name not in OS_CALLS, f"{module}:{item.line}: os.{item.name}"
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "__import__"}, f"{module}:{node.lineno}: {node.func.id}()"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            forbidden = (node.value.id == "os" and node.attr in OS_CALLS) or (
                node.value.id == "shutil" and node.attr != "get_terminal_size"
            )
            assert not forbidden, f"{module}:{node.lineno}: {node.value.id}.{node.attr}"


def test_core_has_no_import_cycle():
    graph = {module: {item.module for item in imports(module)} - {module} for module in ALL}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("module", [module for module in modules() if module.startswith("ipcops.show")])
def test_show_imports_core_alone(module):
    for item in imports(module):
        if item.module.startswith("ipcops"):
            assert item.module.startswith((CORE, "ipcops.show")), f"{module}:{item.line}: {item.module}"


@pytest.mark.parametrize(
    ("package", "others"),
    [("ipcops.render", ()), ("ipcops.bundle", ("ipcops.render",)), ("ipcops.fleet", ())],
    ids=["render", "bundle", "fleet"],
)
def test_what_is_rendered_bundled_and_summed_up_comes_from_core(package, others):
    for module in [module for module in modules() if module.startswith(package)]:
        for item in imports(module):
            if item.module.startswith("ipcops") and item.module != "ipcops":
                assert item.module.startswith((CORE, package, *others)), f"{module}:{item.line}: {item.module}"


@pytest.mark.parametrize("module", [module for module in modules() if not module.startswith("ipcops.cli")])
def test_nothing_imports_the_cli(module):
    for item in imports(module):
        assert not item.module.startswith("ipcops.cli"), f"{module}:{item.line}: {item.module}"
