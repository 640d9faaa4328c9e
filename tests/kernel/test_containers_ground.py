"""The ground under the tests with real containers (tests/containers.py): what it promises, it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import containers, world
from tests.world import HOME, REPO, in_world

SUITE = "bookworm"  # one is enough here, and each has to be built once
SYSCTLS = ("fs/protected_hardlinks", "fs/protected_fifos", "fs/file-max", "fs/nr_open")  # what systemd would set


@pytest.fixture(scope="module")
def box():
    """Give a container with nothing special."""
    with containers.container(SUITE) as box:
        yield box


def exists(name: str) -> bool:
    """Tell whether podman knows a container."""
    return not containers.engine().ask("container", "exists", name).returncode


def segments(text: str) -> set[str]:
    """Return the ids in a text like /proc/sysvipc/shm."""
    return {line.split()[1] for line in text.splitlines()[1:]}


def test_a_container_has_an_ipc_namespace_of_its_own_that_the_host_sees(box):
    number = world.namespace("ipc", box.pid)
    assert number != HOME
    assert box.exec("stat", "--dereference", "--format=%i", "/proc/1/ns/ipc").stdout == f"{number}\n"
    made = box.exec("ipcmk", "--shmem", "4096").stdout.split()[-1]
    assert segments(box.exec("cat", "/proc/sysvipc/shm").stdout) == {made}
    if os.geteuid() == 0:  # an ordinary user's has a cgroup of its own on some machines only
        assert box.id in Path(f"/proc/{box.pid}/cgroup").read_text(), "the host can tell whose namespace it is"


def test_a_container_can_share_the_hosts_ipc_namespace():
    with containers.container(SUITE, ipc="host") as box:
        assert world.namespace("ipc", box.pid) == HOME


def test_limits_and_mounts_are_given_at_the_start(tmp_path):
    (tmp_path / "word").write_text("from the host")
    with containers.container(SUITE, sysctl={"kernel.shmmni": 17}, mounts=[f"{tmp_path}:/given:ro"]) as box:
        assert box.exec("cat", "/proc/sys/kernel/shmmni", "/given/word").stdout == "17\nfrom the host"
        refused = box.exec("touch", "/given/more", check=False)
        assert refused.returncode == 1
        assert "Read-only" in refused.stderr


def test_what_goes_in_comes_out(box, tmp_path):
    assert box.exec("cat", input="one\ntwo\n").stdout == "one\ntwo\n"
    assert box.exec("cat").stdout == "", "without input there is none, rather than the terminal's"
    assert box.exec("id", "--user", "--name", user="nobody").stdout == "nobody\n"
    assert box.exec("sh", "-c", "exit 7", check=False).returncode == 7
    with pytest.raises(pytest.fail.Exception, match="status 7\nout\nwhy"):
        box.exec("sh", "-c", "echo out; echo why >&2; exit 7")
    (tmp_path / "file").write_text("carried")
    box.copy_in(tmp_path / "file", "/opt/there")
    assert box.exec("cat", "/opt/there").stdout == "carried"


def test_the_dead_are_reaped(box):
    # The parent ends first, so that PID 1 inherits the child.
    orphan = box.exec("sh", "-c", "sleep 0.01 >/dev/null 2>&1 & echo $!").stdout.strip()
    gone = f"for i in $(seq 500); do [ -e /proc/{orphan} ] || exit 0; sleep 0.02; done; exit 1"
    box.exec("sh", "-c", gone)


@in_world()
def test_a_world_reaches_a_container(box):
    """Though /dev/shm and all mounts are the world's own there."""
    world.needs_root()  # others' worlds have a user namespace, which podman does not expect
    assert box.exec("echo", "reached").stdout == "reached\n"
    with containers.container(SUITE) as other:
        assert world.namespace("ipc", other.pid) not in (HOME, world.namespace(), world.namespace("ipc", box.pid))


def test_systemd_comes_up_and_leaves_the_hosts_settings_alone():
    before = [Path("/proc/sys", key).read_text() for key in SYSCTLS]
    with containers.container(SUITE, systemd=True) as box:
        assert box.failed == ()
        assert box.exec("systemctl", "is-system-running").stdout == "running\n"
        assert box.exec("systemctl", "is-active", "cron").stdout == "active\n"
        assert box.exec("systemctl", "is-enabled", "systemd-sysctl", check=False).stdout == "masked\n"
        assert world.namespace("ipc", box.pid) != HOME
    assert [Path("/proc/sys", key).read_text() for key in SYSCTLS] == before


def test_units_that_fail_are_told(tmp_path):
    (tmp_path / "broken.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/false\n")
    (tmp_path / "wanted.conf").write_text("[Unit]\nWants=broken.service\n")
    units = "/etc/systemd/system"
    mounts = [
        f"{tmp_path}/broken.service:{units}/broken.service:ro",
        f"{tmp_path}/wanted.conf:{units}/multi-user.target.d/wanted.conf:ro",
    ]
    with containers.container(SUITE, systemd=True, mounts=mounts) as box:
        assert box.failed == ("broken.service",)
        assert box.exec("systemctl", "is-active", "cron").stdout == "active\n"


def test_a_first_process_that_ends_fails_the_start():
    command = ["sh", "-c", "echo last words; exit 3"]
    with (
        pytest.raises(pytest.fail.Exception, match="last words"),
        containers.container(SUITE, systemd=True, command=command),
    ):
        pytest.fail("it is not running")


@pytest.mark.parametrize("end", [AssertionError, KeyboardInterrupt])
def test_a_container_goes_however_the_test_ends(end):
    seen = []

    def body():
        with containers.container(SUITE) as box:
            seen.extend((box, exists(box.id)))
            raise end

    with pytest.raises(end):
        body()
    box, existed = seen
    assert existed
    assert not exists(box.id)
    assert not os.path.exists(f"/proc/{box.pid}")


ABANDON = f"""
import sys
from tests import containers
with containers.container("{SUITE}") as box:
    print(box.id, box.pid, flush=True)
    sys.stdin.read()
"""


def test_the_next_run_removes_what_a_killed_one_left(box):
    with subprocess.Popen(
        [sys.executable, "-c", ABANDON], cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        try:
            number, pid = maker.stdout.readline().split()
            containers.sweep(containers.engine())
            assert exists(number), "its maker lives"
        finally:
            maker.send_signal(signal.SIGKILL)
    assert os.path.exists(f"/proc/{pid}"), "abandoned, not ended"
    containers.sweep(containers.engine())
    assert not exists(number)
    assert not os.path.exists(f"/proc/{pid}")
    assert exists(box.id), "this run's own"


def test_without_podman_it_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert containers._engine.__wrapped__() == "podman is not installed"


def test_a_podman_that_cannot_start_anything_is_quoted(monkeypatch):
    containers.engine()
    monkeypatch.setattr(containers, "_limits", lambda: ("--ulimit=nofile=2:1",))
    reason = containers._engine.__wrapped__()
    assert reason.startswith("podman cannot start a container: Error: ")
    assert "ulimit" in reason


def test_an_image_that_cannot_be_had_is_a_reason():
    reason = containers.build(containers.engine(), "nosuch", "localhost/ipcops-tests/nosuch:0")
    assert reason.startswith("no image of Debian nosuch: mmdebstrap")
    assert "; podman build: " in reason
