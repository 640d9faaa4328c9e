"""The collection is whole however it comes: from a checkout, in a wheel, as a tarball for ansible-galaxy.

Wheel and tarball are built from a copy of what git tracks and hold its files, byte by byte. Each is installed in an
environment that has nothing else of ours, where a playbook sets a limit and renders what goes to a host.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import world
from tests.kernel.admin import Admin
from tests.kernel.test_limits import values
from tests.plugins.play import PLAYBOOK, environment
from tests.project.checkout import MINUTE, ROOT, clean_environment, git, skip_without_package_index
from tests.world import here, in_world

LINUX = Path("ansible_collections/ipcops/linux")
CONTENT = ("galaxy.yml", "meta", "playbooks", "plugins", "roles", "templates")
ABOUT = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md")
PACKAGE = ("ipcops/__init__.py", "ipcops/bundle", "ipcops/core", "ipcops/fleet", "ipcops/render", "ipcops/templates")
WAY = "playbooks/collections/"
"""What leads from a checkout's playbooks to the collection."""

# An action of the playbook's own: what those of the collection do to render on the controller.
RENDERS = """\
from ansible.plugins.action import ActionBase
from ansible_collections.ipcops.linux.plugins.plugin_utils.package import importable


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        importable()
        import ipcops
        from ipcops.bundle import agent
        from ipcops.bundle.contents import files

        names = sorted(one.source for one in files({}))
        return {**super().run(tmp, task_vars), "from": ipcops.__file__, "files": names, "agent": len(agent.build())}
"""
PLAY = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {"ipcops.linux.ipc_limits": {"values": {"kernel.shmmni": 8192}, "policy": "{{ policy }}"}},
            {"renders": {}, "register": "rendered"},
            {"ansible.builtin.copy": {"content": "{{ rendered | to_json }}", "dest": "{{ told }}"}},
        ],
    }
]


def run(*command: str | Path, **more) -> str:
    """Return what a program says, which must succeed."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=5 * MINUTE, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---------------------------------------------------------------- built


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """Give a copy of what git tracks, as it is now."""
    place = tmp_path_factory.mktemp("tracked") / "copy"
    for name in git("ls-files", "-z").split("\0")[:-1]:
        if os.path.lexists(ROOT / name):
            target = place / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return place


@functools.cache
def held(place: Path, *names: str) -> dict[str, bytes]:
    """Return the files below some names, by path; links are what they lead to."""
    found = {}
    for name in names:
        if (place / name).is_file():
            found[name] = (place / name).read_bytes()
        for parent, _, files in os.walk(place / name, followlinks=True):
            paths = [str(Path(parent, file).relative_to(place)) for file in files]
            found.update({path: (place / path).read_bytes() for path in paths if not path.startswith(WAY)})
    return found


@pytest.fixture(scope="module")
def wheel(copy, tmp_path_factory) -> Path:
    """Give the wheel; without a package index pip cannot get what builds it."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, copy]
    built = subprocess.run(
        command, env=clean_environment(), check=False, capture_output=True, text=True, timeout=10 * MINUTE
    )
    if built.returncode:
        skip_without_package_index(built.stderr)
    assert built.returncode == 0, built.stderr
    (path,) = place.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def tarball(copy, tmp_path_factory) -> Path:
    """Give the tarball that ansible-galaxy builds."""
    place = tmp_path_factory.mktemp("tarball")
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    galaxy = PLAYBOOK.with_name("ansible-galaxy")
    run(galaxy, "collection", "build", copy, "--output-path", place, env=clean_environment(ANSIBLE_HOME=str(place)))
    (path,) = place.glob("ipcops-linux-*.tar.gz")
    return path


# ---------------------------------------------------------------- compared


def test_the_wheel_holds_the_collection_as_git_has_it(copy, wheel):
    prefix = f"ipcops/_collections/{LINUX}/"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(prefix)]
        packed = {name.removeprefix(prefix): archive.read(name) for name in names}
    assert packed == held(copy, *CONTENT)


def test_the_tarball_holds_the_collection_as_git_has_it(copy, tarball):
    with tarfile.open(tarball) as archive:
        made = {"MANIFEST.json", "FILES.json"}
        members = {one.name for one in archive if not one.isdir()} - made
        place = tarball.parent / "unpacked"
        archive.extractall(place, filter="data")  # which refuses a link that leads out of it
    links = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_symlink()}
    assert links <= members
    assert {name for name in links if not (place / name).exists()} == set(), "a link to nothing"
    content = [name for name in CONTENT if name != "galaxy.yml"]  # MANIFEST.json says what it says
    assert {one.name for one in place.iterdir()} == {*made, *ABOUT, "ipcops", *content} & set(os.listdir(place))
    assert {*made, *ABOUT, "ipcops", "meta", "plugins", "templates"} <= set(os.listdir(place))
    there = sorted(path.name for path in place.iterdir() if path.name not in made)
    assert held(place, *there) == held(copy, *ABOUT, *PACKAGE, *content)


def test_each_link_of_the_checkout_leads_to_its_directory():
    for place in (ROOT / "ipcops/_collections" / LINUX, ROOT / WAY / LINUX):
        for link in place.iterdir():
            assert link.is_symlink()
            assert link.resolve() == ROOT / link.name


# ---------------------------------------------------------------- installed, and run


def made(place: Path, *wanted: str | Path) -> Path:
    """Return a virtual environment in which nothing is but what was wanted and what that needs."""
    run(sys.executable, "-m", "venv", place, env=clean_environment())
    command = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=clean_environment(), timeout=10 * MINUTE
    )
    if done.returncode:
        skip_without_package_index(done.stderr)
    assert done.returncode == 0, done.stderr
    return place


def ansible_core() -> str:
    """Return which ansible-core the project asks for."""
    (wanted,) = re.findall(r'"(ansible-core[^"]+)"', (ROOT / "pyproject.toml").read_text())
    return wanted


def played(ansible: Path, collections: str) -> dict:
    """Run the playbook with an environment's Ansible; return what was rendered."""
    place = here()
    (place / "action_plugins").mkdir()
    (place / "action_plugins/renders.py").write_text(RENDERS)
    (place / "play.json").write_text(json.dumps(PLAY))
    told = {"told": str(place / "told.json"), "policy": Admin().policy}
    words = ("--extra-vars", json.dumps(told), "play.json")
    env = {**environment(Path(collections)), "PATH": f"{ansible.parent}:/usr/bin:/bin"}
    run(ansible, *words, cwd=place, env=env)
    assert values()["shmmni"] == "8192"
    rendered = json.loads((place / "told.json").read_text())
    assert {"ipc-cleanup.sh", "install.sh", "systemd/ipcops-cleanup.timer"} <= set(rendered["files"])
    assert rendered["agent"] > 100_000
    return rendered


def test_a_wheel_in_an_empty_environment_runs_a_playbook(wheel, tmp_path):
    place = made(tmp_path / "venv", wheel)
    said = run(place / "bin/ipcops", "content", "path", cwd=tmp_path, env=clean_environment()).splitlines()
    assert said == [str(next(place.glob("lib/python*/site-packages")) / "ipcops/_collections")]

    @in_world(timeout=120)
    def story() -> None:
        world.mount("tmpfs", "/etc/sysctl.d", "tmpfs", data="mode=755")
        assert played(place / "bin/ansible-playbook", said[0])["from"].startswith(f"{place}/")

    story()


def test_a_tarball_in_an_empty_environment_runs_a_playbook(tarball, tmp_path):
    place = made(tmp_path / "venv", ansible_core())
    collections = tmp_path / "collections"
    install = ("collection", "install", tarball, "--offline", "--collections-path", collections)
    home = clean_environment(ANSIBLE_HOME=str(tmp_path), HOME=str(tmp_path))
    run(place / "bin/ansible-galaxy", *install, cwd=tmp_path, env=home)

    @in_world(timeout=120)
    def story() -> None:
        world.mount("tmpfs", "/etc/sysctl.d", "tmpfs", data="mode=755")
        rendered = played(place / "bin/ansible-playbook", str(collections))
        assert rendered["from"] == str(collections / LINUX / "ipcops/__init__.py")

    story()


@in_world(timeout=120)
def test_a_playbook_of_the_checkout_finds_it_from_elsewhere():
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    place = here() / "checkout"
    for name in ("playbooks", "plugins", "meta", "ipcops", "templates"):
        shutil.copytree(ROOT / name, place / name, symlinks=True)
    book = place / "playbooks/story.json"
    book.write_text(json.dumps([{**PLAY[0], "tasks": PLAY[0]["tasks"][:1]}]))
    world.mount("tmpfs", "/etc/sysctl.d", "tmpfs", data="mode=755")
    (here() / "cwd").mkdir()
    extra = json.dumps({"policy": Admin().policy})
    run(PLAYBOOK, book, "--extra-vars", extra, cwd=here() / "cwd", env=environment(here() / "cwd"))
    assert values()["shmmni"] == "8192"
