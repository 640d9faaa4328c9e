"""``ipcops limits`` in real containers of three Debian releases: /proc/sys read-only, as it is, and writable.

Writable it is for the settings of the container's own IPC namespace alone: each is a mount of its own, in a copy
of the container's mount namespace, so that no setting of the host could be written even by mistake.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests import containers, world
from tests.world import HOME, REPO

SUITES = ("bullseye", "bookworm", "trixie")
OWN = ("shmmax", "shmall", "shmmni", "sem", "msgmax", "msgmnb", "msgmni")
FILE = "/etc/sysctl.d/99-zz-ipcops.conf"
IPCOPS = ("env", "PYTHONPATH=/opt", "PYTHONDONTWRITEBYTECODE=1", "python3", "-m", "ipcops.core")

# A fresh /proc has a writable sys; only the settings of this IPC namespace are laid over the read-only ones.
UNMASK = """
mkdir -p /run/fresh
mount -t proc proc /run/fresh
for key in {keys}; do
    mount --bind /run/fresh/sys/kernel/$key /proc/sys/kernel/$key
done
umount -l /run/fresh
exec "$@"
""".format(keys=" ".join(OWN))


@pytest.fixture(scope="module", params=SUITES)
def box(request):
    """Give a container with a limit of its own from the start, and the core in it."""
    if os.geteuid() != 0:
        pytest.skip("only root may enter the namespaces of containers")
    with containers.container(request.param, sysctl={"kernel.shmmni": 6000}) as box:
        box.exec("mkdir", "/opt/ipcops")
        box.copy_in(REPO / "ipcops" / "core", "/opt/ipcops/core")
        box.exec("touch", "/opt/ipcops/__init__.py")
        yield box


def limits(box: Any, *words: str, status: int = 0) -> Any:
    """Return the report of a command about limits in a container as it is."""
    done = box.exec(*IPCOPS, "limits", *words, "--format", "json", check=False)
    assert done.returncode == status, f"{done.returncode}: {done.stderr}{done.stdout}"
    return json.loads(done.stdout)


def limits_writable(box: Any, *words: str, status: int = 0) -> Any:
    """Return the same where the settings of the container's IPC namespace can be written."""
    assert world.namespace("ipc", box.pid) != HOME
    done = inside(box, *IPCOPS, "limits", *words, "--format", "json")
    assert done.returncode == status, f"{done.returncode}: {done.stderr}{done.stdout}"
    return json.loads(done.stdout)


def inside(box: Any, *words: str, fresh: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command where the settings of the container's IPC namespace, or of a fresh one, can be written."""
    enter = ["nsenter", f"--target={box.pid}", "--ipc", "--net", "--pid", "--mount", "unshare"]
    enter += [*(["--ipc"] if fresh else []), "--mount", "--propagation", "private", "sh", "-ec", UNMASK, "sh", *words]
    return subprocess.run(enter, capture_output=True, text=True, check=False, timeout=60)


def rows(report: Any) -> dict[str, Any]:
    return {one["name"]: one for one in report["parameters"]}


TELL = "cd /proc/sys/kernel && for key in %s; do cat $key; done" % " ".join(OWN)


def parsed(told: str) -> dict[str, str]:
    return dict(zip(OWN, (" ".join(line.split()) for line in told.splitlines()), strict=True))


def values(box: Any) -> dict[str, str]:
    return parsed(box.exec("sh", "-c", TELL).stdout)


def after_a_boot(box: Any, loader: str) -> dict[str, str]:
    """Return the settings of a fresh IPC namespace after a loader has gone over the container's files."""
    done = inside(box, "sh", "-c", f"{loader} >/dev/null 2>&1; {TELL}", fresh=True)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def test_what_was_given_at_the_start_is_seen(box):
    report = limits(box, "show")
    row = rows(report)["kernel.shmmni"]
    assert (row["current"], row["kernel_default"], row["accepted"]) == (6000, 4096, [0, 32768])
    assert "a container is given limits when it starts" in " ".join(report["notes"])
    assert rows(report)["dev_shm.size"]["current"] < 65 << 20, "what podman gives unless told"


def test_read_only_it_says_so_and_does_nothing(box):
    before = values(box)
    report = limits(box, "plan", "--profile", "db2-11.5")
    row = rows(report)["kernel.msgmax"]
    assert (row["action"], row["recommended"]) == ("unwritable", 65536)
    assert "read-only" in row["why"]
    assert not report["changes"]
    done = limits(box, "apply", "--profile", "db2-11.5", "--yes", status=4)
    assert {"kernel.msgmax", "kernel.msgmnb"} <= set(done["unwritable"])
    assert values(box) == before
    assert box.exec("test", "-e", FILE, check=False).returncode == 1


def test_writable_it_is_applied_kept_and_put_back(box):
    before = values(box)
    report = limits_writable(box, "apply", "--profile", "db2-11.5", "--set", "kernel.sem.semmni=32768", "--yes")
    assert report["applied"]
    assert report["failed"] == []
    now = values(box)
    assert (now["msgmax"], now["msgmnb"], now["sem"]) == ("65536", "65536", "32000 1024000000 500 32768")
    assert int(now["shmmni"]) == max(6000, rows(report)["kernel.shmmni"]["recommended"])
    text = box.exec("cat", FILE).stdout
    assert "\nkernel.sem = 32000 1024000000 500 32768\n" in text
    assert "\nkernel.msgmax = 65536\n" in text
    for loader in ("sysctl --system", "/lib/systemd/systemd-sysctl"):
        booted = after_a_boot(box, loader)
        assert booted == {**now, "shmmni": booted["shmmni"]}, f"{loader} sets what was applied"
        assert int(booted["shmmni"]) == (int(now["shmmni"]) if "kernel.shmmni" in text else 4096)
    assert after_a_boot(box, "true")["msgmax"] == "8192", "without a loader it is gone"
    again = limits_writable(box, "apply", "--profile", "db2-11.5", "--set", "kernel.sem.semmni=32768", "--yes")
    assert again["changes"] == []
    back = limits_writable(box, "rollback", "--yes")
    assert back["refused"] == back["left"] == []
    assert values(box) == before
    assert box.exec("test", "-e", FILE, check=False).returncode == 1


def test_what_is_the_hosts_cannot_be_written_from_inside(box):
    pipe = world.Path("/proc/sys/fs/pipe-max-size")
    before = pipe.read_text()
    report = limits_writable(box, "plan", "--set", "fs.pipe-max-size=%d" % (4 * int(before)))
    assert rows(report)["fs.pipe-max-size"]["action"] == "unwritable"
    assert pipe.read_text() == before


def test_a_later_file_of_the_container_is_named(box):
    box.exec("sh", "-c", "echo kernel.shmmni=6000 >/etc/sysctl.d/zz-image.conf")
    try:
        report = limits_writable(box, "plan", "--set", "kernel.shmmni=7000")
    finally:
        box.exec("rm", "/etc/sysctl.d/zz-image.conf")
    assert {(one["name"], one["file"], one["line"]) for one in report["overrides"]} == {
        ("kernel.shmmni", "/etc/sysctl.d/zz-image.conf", 1)
    }


def test_the_audit_inside_finds_dev_shm_too_small(box):
    words = ("audit", "--profile", "gpu-node", "--fail-on", "none", "--format", "json")
    found = json.loads(box.exec(*IPCOPS, *words).stdout)["findings"]
    (one,) = [one for one in found if one["rule"] == "PSHM-007"]
    assert "--shm-size" in one["remedy"]
    assert not [one for one in found if one["rule"] in ("SYS-001", "SYS-002", "SYS-003", "SYS-006")]
