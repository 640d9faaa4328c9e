"""Tasks with ipc_info, run by the real ansible-playbook: the reports of the command line, and nothing touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import world
from tests.plugins.play import Watcher, call, undisturbed
from tests.world import GONE

NOW = "[audit]\norphan_age = 0\n"
VARYING = ("scan", "host")


def leak() -> int:
    return world.as_uid(GONE, lambda: world.shmget(4096, key=0x5EED))


@undisturbed(timeout=120, mqueue=True)
def test_all_that_the_command_line_says_in_one_task():
    controller = Watcher(NOW)
    shmid = leak()
    world.later(5)
    row = world.table("shm")[0]
    gathered, checked = controller.play(
        call("ipc_info", gather=["audit", "objects", "limits"], diff=True), call("ipc_info", check=True)
    ).results
    for one in (gathered, checked):
        assert (one["failed"], one["changed"]) == (False, False)
    audit, objects, limits = (gathered[name] for name in ("audit", "objects", "limits"))
    assert [one["schema"] for one in (audit, objects, limits)] == [
        "ipcops.audit/1", "ipcops.objects/1", "ipcops.limits/1",
    ]  # fmt: skip
    assert not {"audit", "objects", "limits"} & checked.keys() - {"audit"}

    (finding,) = [one for one in audit["findings"] if one["rule"] == "SHM-001"]
    assert (finding["id"], finding["key"], finding["owner"]["uid"]) == (shmid, "0x00005eed", GONE)
    assert finding["evidence"]["nattch"] == 0
    (found,) = [one for one in objects["objects"] if one["kind"] == "shm"]
    assert (found["verdict"], found["size"], found["mode"], found["holders"]) == ("orphan", 4096, "0600", [])
    parameters = {one["name"]: one for one in limits["parameters"]}
    assert parameters["kernel.shmmni"]["current"] == int(Path("/proc/sys/kernel/shmmni").read_text())

    told = controller.ask("audit", "--fail-on", "none")
    assert [one["rule"] for one in told["findings"]] == [one["rule"] for one in audit["findings"]]
    assert told.keys() == audit.keys()
    assert world.table("shm")[0] == row, "looking leaves no trace"
    assert not controller.state.exists()


@undisturbed(timeout=120, mqueue=True)
def test_narrowed():
    controller = Watcher(NOW)
    shmid = leak()
    world.as_uid(GONE, lambda: world.shm_file("psm_leak"))
    mine = world.shmget(4096)
    world.later(5)
    rules, grave, owned, verdicts, twice = controller.play(
        call("ipc_info", rules=["SHM-001"], profiles=["db2-11.5"]),
        call("ipc_info", kinds=["shm", "posix-shm"], min_severity="critical"),
        call("ipc_info", gather=["objects"], owner=str(GONE)),
        call("ipc_info", gather=["objects"], kinds=["shm"], verdicts=["orphan"]),
        call("ipc_info", kinds=["shm"], samples=2, interval="0.1s", deadline="20s"),
    ).results
    assert {one["rule"] for one in rules["audit"]["findings"]} == {"SHM-001"}
    assert grave["audit"]["findings"] == []
    assert {one["id"] or one["path"] for one in owned["objects"]["objects"] if one["kind"] in ("shm", "posix-shm")} == {
        shmid or None, "/psm_leak",
    }  # fmt: skip
    assert [one["id"] for one in verdicts["objects"]["objects"]] == [shmid]
    assert "SHM-001" in {one["rule"] for one in twice["audit"]["findings"]}
    assert {row["shmid"] for row in world.table("shm")} == {shmid, mine}


@undisturbed(timeout=120)
def test_what_could_not_be_seen_is_a_failure_where_all_is_asked_for():
    if not shutil.which("su"):
        pytest.skip("su is not installed")
    python = "/usr/bin/python3"  # one that another user may run
    new_enough = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 9))"]
    if not os.path.exists(python) or subprocess.run(new_enough, check=False).returncode:
        pytest.skip(f"{python} is older than 3.9, or not there")
    controller = Watcher()
    leak()

    def as_nobody(**options: object) -> dict:
        one = call("ipc_info", python=python, **options)
        one["vars"]["ansible_pipelining"] = True  # no file of ours for a user who may not read it
        become = {"become_method": "ansible.builtin.su", "become_flags": "-s /bin/sh", "become_user": "nobody"}
        return {**one, "become": True, **become}

    partly, refused, both = controller.play(
        as_nobody(), as_nobody(require_complete=True), as_nobody(gather=["objects"], require_complete=True)
    ).results
    assert not partly["failed"], partly["msg"]
    assert not partly["audit"]["scan"]["complete"]
    for one, name in ((refused, "audit"), (both, "objects")):
        assert one["failed"]
        assert one["msg"].startswith("not everything could be seen: ")
        assert one[name]["scan"]["skipped"][0]["why"] in one["msg"]
        assert not one["changed"]
    complete = controller.play(call("ipc_info", kinds=["shm"], require_complete=True)).result
    assert not complete["failed"], complete["msg"]


@undisturbed(timeout=120)
def test_a_host_without_ipc_is_told():
    controller = Watcher()
    world.mount("tmpfs", "/proc/sysvipc", "tmpfs")
    result = controller.play(call("ipc_info", kinds=["shm"])).result
    assert result["failed"]
    assert result["msg"].startswith("none of shm could be looked at: ")
