"""The oldest ansible-core that we support and the newest, which needs a newer Python than this project does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import world
from tests.kernel.admin import HARSHEST, there
from tests.kernel.test_limits import values
from tests.plugins.play import Watcher, call, undisturbed
from tests.plugins.test_ipc_limits import pythons
from tests.project.checkout import MINUTE, clean_environment, skip_without_package_index
from tests.world import GONE

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipcops-tests"
RUN_ON = {"2.16": ("3.12", "3.11", "3.10"), "2.21": ("3.13", "3.12")}


@pytest.fixture(scope="module", params=RUN_ON)
def playbook(request) -> Path:
    """Give the ansible-playbook of an environment that is kept between runs."""
    wanted = f"ansible-core=={request.param}.*"
    found = pythons(*RUN_ON[request.param])
    if not found:
        pytest.skip(f"{wanted} needs Python {' or '.join(RUN_ON[request.param])}, and there is none at hand")
    place = CACHE / f"ansible-core-{request.param}"
    playbook = place / "bin/ansible-playbook"
    if not works(playbook):
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([found[0], "-m", "venv", place], check=True, env=clean_environment())
        pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        env = clean_environment()
        done = subprocess.run(
            [*pip, wanted], env=env, check=False, capture_output=True, text=True, timeout=5 * MINUTE
        )
        if done.returncode:
            skip_without_package_index(done.stderr)
        assert done.returncode == 0, done.stderr
    return playbook


def works(playbook: Path) -> bool:
    if not playbook.exists():
        return False
    command = [playbook, "--version"]
    return not subprocess.run(command, check=False, capture_output=True, env=clean_environment()).returncode


@undisturbed(timeout=200, mqueue=True)
def story(playbook: Path) -> None:
    world.needs_root()
    controller = Watcher(HARSHEST, playbook)
    world.as_uid(GONE, lambda: [world.shmget(4096, key=0x5EED), world.shm_file("psm_leak\udcff")])
    mine = world.spawn(lambda: world.shmat(world.shmget(4096, key=0x11FE)))
    world.later(5)
    before = there()
    tasks = [
        call("ipc_info", gather=["audit", "objects", "limits"], require_complete=False),
        call("ipc_clean", check=True, diff=True),
        call("ipc_clean", plan="{{ r1.plan }}"),
        call("ipc_restore", backup="{{ r2.backup.names[0] }}"),
        call("ipc_restore", backup="{{ r2.backup.names[0] }}"),
        call("ipc_limits", values={"kernel.shmmni": 8192}, diff=True),
        call("ipc_clean", objects=["4"]),
    ]
    played = controller.play(*tasks)
    *good, bad = played.results
    for one in good:
        assert not one["failed"], one["msg"]
    assert "names no object" in bad["msg"]
    info, planned, cleaned, back, again, limits = good
    assert {one["key"] for one in info["objects"]["objects"] if one["kind"] == "shm"} == {"0x00005eed", "0x000011fe"}
    assert len(planned["plan"]["remove"]) == len(cleaned["removed"]) == len(back["restored"]) == 2
    assert (back["changed"], again["changed"], limits["changed"]) == (True, False, True)
    assert values()["shmmni"] == "8192"
    assert there() == before
    assert "Traceback" not in played.said
    assert "DEPRECAT" not in played.said
    mine.kill()


def test_ansible_of_that_version_runs_every_module(playbook):
    story(playbook)
