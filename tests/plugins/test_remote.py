"""Tasks with ipc_limits on other hosts: containers of three Debian releases, reached by ssh as any host is.

There is no network: ssh talks to an sshd that is started for each connection in the container's namespaces.
/proc/sys is read-only there, or writable for the container's own IPC namespace (test_limits_containers.py).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from tests import containers, world
from tests.kernel.test_limits_containers import FILE, SUITES, UNMASK
from tests.plugins.play import Controller, task
from tests.world import HOME, here, in_world

SSHD = ("/usr/sbin/sshd", "-i", "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "LogLevel=ERROR", "-o", "UseDNS=no")
WANTED = {"kernel.shmmni": 8192, "kernel.sem": "32000 1024000000 600 32001"}


@pytest.fixture(scope="module", params=SUITES)
def box(request):
    """Give a container that sshd could run in."""
    if os.geteuid() != 0:
        pytest.skip("only root may enter the namespaces of containers")
    if not shutil.which("ssh"):
        pytest.skip("ssh is not installed")
    with containers.container(request.param) as box:
        box.exec("mkdir", "-p", "/run/sshd", "/root/.ssh")
        yield box


def host(box, *, writable: bool) -> dict:
    """Return how Ansible reaches a container."""
    assert world.namespace("ipc", box.pid) != HOME
    key = here() / "key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        box.exec("sh", "-c", "cat >/root/.ssh/authorized_keys", input=key.with_suffix(".pub").read_text())
    enter = ["nsenter", f"--target={box.pid}", "--ipc", "--net", "--pid", "--mount", "--root", "--wd"]
    if writable:
        enter += ["unshare", "--mount", "--propagation", "private", "sh", "-ec", UNMASK, "sh"]
    proxy = here() / f"enter-{writable}.sh"
    proxy.write_text(f"exec {shlex.join([*enter, *SSHD])}\n")
    options = {
        "ProxyCommand": f"sh {proxy}",
        "IdentityFile": str(key),
        "UserKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "no",
        "LogLevel": "ERROR",
    }
    config = here() / f"ssh-{writable}.conf"
    config.write_text("Host *\n" + "".join(f"  {name} {value}\n" for name, value in options.items()))
    return {
        "ansible_connection": "ssh",
        "ansible_user": "root",
        "ansible_ssh_common_args": f"-F {config}",
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def limit(box, key: str) -> str:
    return " ".join(box.exec("cat", f"/proc/sys/kernel/{key}").stdout.split())


@in_world(timeout=200)
def check(box):
    controller = Controller()
    before = {key: limit(box, key) for key in ("shmmni", "sem")}
    plan, refused = controller.play(
        task(values=WANTED, check=True), task(values=WANTED), on=host(box, writable=False)
    ).results
    for result in (plan, refused):
        assert result["failed"]
        assert {one["name"] for one in result["unwritable"]} >= {"kernel.shmmni", "kernel.sem.semopm"}
        assert "/proc/sys is read-only here" in result["msg"]
    assert {key: limit(box, key) for key in ("shmmni", "sem")} == before
    assert box.exec("test", "-e", FILE, check=False).returncode

    applied, again = controller.play(task(values=WANTED), task(values=WANTED), on=host(box, writable=True)).results
    assert not applied["failed"], applied["msg"]
    assert (applied["before"]["kernel.shmmni"], applied["after"]["kernel.shmmni"]) == (4096, 8192)
    assert (applied["changed"], again["changed"]) == (True, False)
    assert (limit(box, "shmmni"), limit(box, "sem")) == ("8192", WANTED["kernel.sem"])
    assert box.exec("cat", FILE).stdout == applied["after"][FILE]

    piped = {**host(box, writable=True), "ansible_pipelining": True}  # the script comes by standard input then
    (gone,) = controller.play(task("absent"), on=piped).results
    assert not gone["failed"], gone["msg"]
    assert {key: limit(box, key) for key in ("shmmni", "sem")} == before
    assert box.exec("test", "-e", FILE, check=False).returncode
    left = box.exec("find", "/tmp", "/root", "-newer", "/root/.ssh/authorized_keys", "-type", "f").stdout
    assert not left, "nothing of ours stays on a host but the state and the file"


def test_a_host_reached_by_ssh(box):
    check(box)
