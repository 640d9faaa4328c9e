"""Real containers that leak objects of their own, seen from the host with --all-namespaces."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import Any

import pytest

from tests import containers, world
from tests.world import GONE, HOME

SUITE = "bookworm"

# Run in a container: a user who is gone leaves a segment, a set, a file and a stale socket; a FIFO is in use.
LEAK = f"""
import ctypes, os, socket, time
libc = ctypes.CDLL(None)
child = os.fork()
if child == 0:
    os.setgid({GONE}); os.setuid({GONE})
    assert libc.shmget(0, ctypes.c_size_t(8192), 0o1600) >= 0
    assert libc.semget(0, 2, 0o1600) >= 0
    os.close(os.open("/dev/shm/psm_0badcafe", os.O_CREAT | os.O_RDWR, 0o600))
    server = socket.socket(socket.AF_UNIX)
    server.bind("/tmp/stale.sock")
    os._exit(0)
os.waitpid(child, 0)
os.mkfifo("/run/spool.fifo")
"""
WATCH = """
import os, time
os.open("/run/spool.fifo", os.O_RDWR)
open("/run/ready", "w").close()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def boxes():
    """Give two containers that hold the same leaks."""
    if os.geteuid() != 0:
        pytest.skip("only root may enter the namespaces of containers")
    with containers.container(SUITE) as one, containers.container(SUITE) as other:
        for box in (one, other):
            box.exec("python3", "-c", LEAK)
            box.exec("sh", "-c", f"nohup python3 -c {shlex.quote(WATCH)} >/dev/null 2>&1 &")
            world.wait_until(lambda box=box: box.exec("test", "-e", "/run/ready", check=False).returncode == 0, "it")
        yield one, other


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "ipcops.conf"
    path.write_text("[scan]\nunreadable_ok = init.scope\n[audit]\norphan_age = 0\n")
    return str(path)


def report(*words: str) -> Any:
    answer = world.ipcops(*words, "--format", "json")
    assert answer.status in (0, 1), answer.err
    return answer.json


def name_of(box: Any) -> str:
    return f"container podman {box.id[:12]}"


def test_the_leaks_of_each_container_are_found_and_named(boxes, policy):
    found = report("audit", "--all-namespaces", "--policy", policy)
    for box in boxes:
        namespace = world.namespace("ipc", box.pid)
        mine = [one for one in found["findings"] if one["place"] == name_of(box)]
        leaks = {(one["rule"], one["kind"], one["namespace"]) for one in mine}
        assert leaks >= {
            ("SHM-001", "shm", namespace),
            ("SEM-001", "sem", namespace),
            ("PSHM-001", "posix-shm", namespace),
        }
        assert {one["confidence"] for one in mine if one["rule"] == "SHM-001"} == {"certain"}
        assert {one["owner"]["uid"] for one in mine if one["rule"] == "SHM-001"} == {GONE}
        assert "/tmp/stale.sock" in {one["path"] for one in mine if one["rule"] == "UNIX-001"}
    assert not [one for one in found["findings"] if one["namespace"] == HOME and one["path"] == "/psm_0badcafe"]
    assert "HOST-004" not in {one["rule"] for one in found["findings"]}


def test_without_the_option_the_host_alone_is_looked_at(boxes, policy):
    found = report("audit", "--policy", policy)
    assert found["scan"]["namespaces"] == [HOME]
    assert {one["place"] for one in found["findings"]} <= {None}
    (blind,) = (one for one in found["findings"] if one["rule"] == "HOST-004")
    assert "--all-namespaces" in blind["remedy"]


def test_objects_are_listed_with_their_holders_and_container(boxes):
    listed = report("list", "fifo", "shm", "--all-namespaces")["objects"]
    for box in boxes:
        (fifo,) = (one for one in listed if one["place"] == name_of(box) and one["path"] == "/run/spool.fifo")
        assert fifo["verdict"] == "in-use"
        assert [holder["container"] for holder in fifo["holders"]] == [f"podman {box.id[:12]}"]
        assert [holder["access"] for holder in fifo["holders"]] == ["read+write"]


def test_the_remedy_works_in_that_container_and_in_no_other(boxes, policy):
    first, second = boxes
    found = report("audit", "--all-namespaces", "--kind", "shm", "--policy", policy)["findings"]
    (one,) = (one for one in found if one["place"] == name_of(first) and one["rule"] == "SHM-001")
    command, enter = re.match(r"(ipcrm -m \d+) \(there: (nsenter .*)\)", one["remedy"]).groups()
    subprocess.run([*enter.split(), *command.split()], check=True)
    left = report("list", "shm", "--all-namespaces")["objects"]
    assert [name_of(box) in {one["place"] for one in left} for box in (first, second)] == [False, True]


def test_a_container_in_the_hosts_ipc_namespace_is_told(policy):
    if os.geteuid() != 0:
        pytest.skip("only root may look into containers")
    with containers.container(SUITE, ipc="host") as shared, containers.container(SUITE) as apart:
        found = report("audit", "--rule", "HOST-003", "--policy", policy)["findings"]
        text = json.dumps(found)
        assert shared.id[:12] in text
        assert apart.id[:12] not in text
        assert {one["severity"] for one in found} == {"high"}


SERVICE = """
import ctypes, os, time
ctypes.CDLL(None).semget(0, 1, 0o1600)
open("/run/service/made", "w").close()
time.sleep(600)
"""


def test_logind_would_take_the_objects_of_a_service_under_a_login_uid(tmp_path):
    """What a database under a login user's uid fears: RemoveIPC, in a container with a real systemd."""
    with containers.container(SUITE, systemd=True) as box:
        box.copy_in(world.REPO / "ipcops", "/opt/ipcops")
        box.exec("sh", "-c", "grep -q ^dbuser: /etc/passwd || echo dbuser:x:1500:1500::/:/bin/sh >>/etc/passwd")
        box.exec("sh", "-c", "mkdir -p /run/service && chmod 1777 /run/service")
        run = ("systemd-run", "--uid=1500", "--unit=orders", "python3", "-c", SERVICE)
        box.exec(*run)
        made = ("test", "-e", "/run/service/made")
        world.wait_until(lambda: box.exec(*made, check=False).returncode == 0, "the service to make its set")

        def told() -> list[tuple[str, str]]:
            words = ("python3", "-m", "ipcops.core", "audit", "--format", "json", "--fail-on", "none")
            rule = ("--rule", "HOST-001")
            answer = json.loads(box.exec("env", "--chdir=/opt", *words, *rule).stdout)
            return [(one["severity"], one["reason"]) for one in answer["findings"]]

        ((severity, reason),) = told()
        assert severity == "critical"
        assert "dbuser" in reason
        assert "orders.service" in reason
        box.exec("sh", "-c", "mkdir -p /etc/systemd/logind.conf.d")
        off = "printf '[Login]\\nRemoveIPC=no\\n' >/etc/systemd/logind.conf.d/ipc.conf"
        box.exec("sh", "-c", off)
        assert told() == []
