"""``ansible-test sanity``, on a copy of the collection: it sees nothing through links and wants a certain place.

What needs packages gets them in virtual environments of its own, which are kept between runs. ansible-test would fetch
what installs them from a host of Ansible's; it allows to put that in place by hand, and so we do.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.checkout import MINUTE, ROOT, clean_environment, git, package_index_reachable

CONTENT = "CHANGELOG.md LICENSE README.md galaxy.yml ipcops meta playbooks plugins roles templates".split()
LEFT_OUT = ("ipcops/_collections/", "ipcops/cli/", "ipcops/content.py", "ipcops/show/", "playbooks/collections/")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipcops-tests/ansible-test"

OFFLINE = (
    "action-plugin-docs changelog compile empty-init ignores line-endings no-assert no-get-exception"
    " no-illegal-filenames no-smart-quotes replace-urlopen shebang shellcheck symlinks use-argspec-type-path"
    " use-compat-six"
).split()
WITH_PACKAGES = ["ansible-doc", "runtime-metadata", "validate-modules", "yamllint"]
NOT_RUN = {
    "import": "the host's scripts end without their arguments; tests/plugins runs them on each Python at hand",
    "pep8": "ruff does it, with every rule (tests/project/test_lint.py)",
    "pslint": "there is no PowerShell",
    "pylint": "ruff does it, with every rule that does not contradict another (tests/project/test_lint.py)",
}

GET_PIP = """\
import subprocess, sys
subprocess.check_call([sys.executable, "-m", "ensurepip"])
wanted = [one for one in sys.argv[1:] if not one.startswith("--no-")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *wanted]))
"""


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    """Give a copy of the collection as git has it, where ansible-test wants it."""
    if not Path(sys.executable).with_name("ansible-test").exists():
        pytest.skip("ansible-core is not installed")
    place = tmp_path_factory.mktemp("sanity") / "ansible_collections/ipcops/linux"
    for name in git("ls-files", "-z", *CONTENT).split("\0")[:-1]:
        if not name.startswith(LEFT_OUT) and os.path.lexists(ROOT / name):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)
    import ansible.release

    version = ".".join(ansible.release.__version__.split(".")[:2])
    (place / "tests/sanity").mkdir(parents=True)
    shutil.copy2(ROOT / "tests/sanity/ignore.txt", place / f"tests/sanity/ignore-{version}.txt")
    return place


def sanity(place: Path, *words: str, home: Path) -> tuple[int, str]:
    """Return status and words of ansible-test; it keeps its own things in *home*."""
    command = [Path(sys.executable).with_name("ansible-test"), "sanity", *words]
    env = clean_environment(HOME=str(home), ANSIBLE_HOME=str(home))
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    done = subprocess.run(
        command, cwd=place, env=env, check=False, capture_output=True, text=True, timeout=5 * MINUTE
    )
    return done.returncode, done.stdout + done.stderr


def chosen(names: list[str]) -> list[str]:
    version = "%d.%d" % sys.version_info[:2]
    return ["--python", version, *(word for name in names for word in ("--test", name))]


def test_every_sanity_test_is_run_or_not_for_a_reason(collection, tmp_path):
    status, said = sanity(collection, "--list-tests", home=tmp_path)
    assert status == 0, said
    listed = {line for line in said.splitlines() if re.fullmatch(r"[a-z0-9-]+", line)}
    assert listed - NOT_RUN.keys() == {*OFFLINE, *WITH_PACKAGES}


@pytest.mark.parametrize("name", NOT_RUN)
def test_sanity_not_run(name):
    pytest.skip(f"ansible-test sanity --test {name}: {NOT_RUN[name]}")


def test_sanity_that_needs_nothing(collection, tmp_path):
    status, said = sanity(collection, *chosen(OFFLINE), home=tmp_path)
    assert status == 0, said
    for name in OFFLINE:
        assert f'Running sanity test "{name}"' in said


def home_with_pip() -> Path:
    """Return a home that is kept, where ansible-test finds what installs pip, and pip finds its package index."""
    if not package_index_reachable():
        pytest.skip("ansible-test sanity --test " + ", ".join(WITH_PACKAGES) + ": pip can reach no package index")
    cache = CACHE / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    import ansible_test._internal.python_requirements as wanted

    versions = re.findall(r"\bpip='([0-9.]+)'", Path(wanted.__file__).read_text("utf-8"))
    assert versions
    for version in versions:
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)
    settings = {}
    told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    for line in told.stdout.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = ast.literal_eval(value)
    config = CACHE / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    return CACHE


def test_sanity_that_needs_packages(collection):
    status, said = sanity(collection, *chosen(WITH_PACKAGES), home=home_with_pip())
    assert status == 0, said
    for name in WITH_PACKAGES:
        assert f'Running sanity test "{name}"' in said


def test_sanity_says_what_is_wrong(collection, tmp_path):
    """Else the tests above would hold for any collection."""
    place = tmp_path / "ansible_collections/ipcops/linux"
    shutil.copytree(collection, place, symlinks=True)
    (place / "plugins/modules/wrong.py").write_text("#!/bin/sh\nprint(\n")
    status, said = sanity(place, *chosen(["compile", "shebang"]), home=tmp_path)
    assert status != 0
    assert "plugins/modules/wrong.py:2:" in said
    assert "plugins/modules/wrong.py:1:1: " in said
