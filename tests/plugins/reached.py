"""A container that ansible-playbook reaches by ssh, and plays on it: for modules and roles that install.

There is no network: ssh talks to an sshd that is started for each connection in the container's namespaces.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.jobs.hosts import Host, host
from tests.world import REPO

if TYPE_CHECKING:
    from collections.abc import Iterator

SSHD = ("/usr/sbin/sshd", "-i", "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "LogLevel=ERROR", "-o", "UseDNS=no")
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
COLLECTIONS = REPO / "ipcops/_collections"
TIMEOUT = 120  # seconds for one run of ansible-playbook


class Played(NamedTuple):
    """What became of a run of ansible-playbook."""

    status: int
    results: list[dict[str, Any]]
    said: str

    @property
    def result(self) -> dict[str, Any]:
        """The only result."""
        (only,) = self.results
        return only


class Reached(Host):
    """A container and how Ansible reaches it."""

    def reachable(self, place: Path) -> None:
        """Put the key into the container and what ssh needs to know into *place*."""
        self.place = place
        key = place / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        public = key.with_suffix(".pub").read_text()
        self.sh("mkdir -p /run/sshd /root/.ssh && cat >/root/.ssh/authorized_keys <<END\n%s\nEND" % public)
        enter = ["nsenter", f"--target={self.box.pid}", "--ipc", "--net", "--pid", "--mount", "--uts", "--root", "--wd"]
        proxy = place / "enter.sh"
        proxy.write_text(f"exec {shlex.join([*enter, *SSHD])}\n")
        options = {
            "ProxyCommand": f"sh {proxy}",
            "IdentityFile": str(key),
            "UserKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "LogLevel": "ERROR",
        }
        lines = "".join(f"  {name} {value}\n" for name, value in options.items())
        (place / "ssh.conf").write_text("Host *\n" + lines)
        self.variables = {
            "ansible_connection": "ssh",
            "ansible_user": "root",
            "ansible_pipelining": True,
            "ansible_ssh_use_tty": False,  # a terminal would be written to lastlog and wtmp
            "ansible_ssh_common_args": f"-F {place / 'ssh.conf'}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def environment(self) -> dict[str, str]:
        """Return what Ansible is to know: nothing of this machine's own settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "PYTHON"))}
        home = str(self.place)
        return {
            **kept,
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_HOME": home,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
            "ANSIBLE_SSH_ARGS": "",  # no connection outlives the play
        }

    def run(self, book: Path | str, *words: str, inventory: Any = None, check: bool = True) -> Played:
        """Run a playbook on the container, which the inventory calls target."""
        results = self.place / "results.json"
        results.unlink(missing_ok=True)
        known = self.place / "hosts.json"  # JSON is YAML
        groups = inventory or {"all": {"hosts": {"target": {}}}}
        groups["all"].setdefault("vars", {}).update(self.variables)
        known.write_text(json.dumps(groups))
        done = subprocess.run(
            [PLAYBOOK, "--inventory", known, *words, book],
            env=self.environment(),
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, said
        assert "Traceback" not in said, said
        return Played(done.returncode, json.loads(results.read_text()) if results.exists() else [], said)

    def play(self, *tasks: dict[str, Any], words: tuple[str, ...] = ()) -> Played:
        """Run tasks one after the other, whatever becomes of each, and return their results."""
        played = [{**one, "register": f"r{number}", "ignore_errors": True} for number, one in enumerate(tasks)]
        told = "[" + ", ".join(f"r{number}" for number in range(len(tasks))) + "]"
        write = {
            "ansible.builtin.copy": {"content": "{{ %s | to_json }}" % told, "dest": str(self.place / "results.json")},
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
            "check_mode": False,
            "diff": False,
        }
        book = self.place / "play.json"
        book.write_text(json.dumps([{"hosts": "target", "gather_facts": False, "tasks": [*played, write]}]))
        return self.run(book, *words)


@contextmanager
def reached(suite: str, *, systemd: bool = False) -> Iterator[Reached]:
    """Start a container that Ansible reaches; nothing is installed there."""
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    if not shutil.which("ssh"):
        pytest.skip("ssh is not installed")
    with host(suite, systemd=systemd) as there, tempfile.TemporaryDirectory(prefix="ipcops-reached-") as place:
        one = Reached(there.box)
        one.reachable(Path(place))
        one.before = one.listing()
        yield one


def agent(*, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
    """Return a task with ipc_agent."""
    return {"ipcops.linux.ipc_agent": options, "check_mode": check, "diff": diff}


def job(name: str, *, check: bool = False, diff: bool = False, **options: Any) -> dict[str, Any]:
    """Return a task with ipc_job."""
    return {"ipcops.linux.ipc_job": {"job": name, **options}, "check_mode": check, "diff": diff}
