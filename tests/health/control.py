"""Who runs Ansible on a fleet, and what it comes to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.jobs.hosts import Host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fleet import Fleet

ROOT = Path(__file__).parents[2]
COLLECTIONS = ROOT / "ipcops/_collections"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
GONE_ADDRESS = "192.0.2.1"  # TEST-NET-1 (RFC 5737), where nobody is
LOGINS = ("/var/log/lastlog", "/var/log/wtmp", "/var/log/btmp", "/var/log/faillog")  # sshd's own
DOWN = "down"


class Said(NamedTuple):
    """What a run of ansible-playbook came to."""

    status: int
    said: str
    told: dict[str, Any]
    """The document."""
    page: str

    def failures(self, host: str) -> dict[str, dict[str, Any]]:
        """Return those of a host, by rule, metric or job."""
        found = self.told["hosts"][host]["report"]["failures"]
        return {one["rule"] or one["metric"] or one["job"]: one for one in found}


class Control:
    """Who runs Ansible, with nothing of this machine's own settings."""

    def __init__(self, machines: Fleet) -> None:
        self.fleet, self.place = machines, machines.place
        self.hosts = {name: Host(box) for name, box in machines.boxes.items()}

    def inventory(self, **groups: tuple[tuple[str, ...], Mapping[str, Any]]) -> Path:
        """Return an inventory of all, with a host that is down; each group has members and variables.

        On the host ``user`` Ansible comes as somebody who may not become root.
        """
        whole = self.fleet.inventory()
        hosts = whole["all"]["hosts"]
        hosts[DOWN] = {**next(iter(hosts.values())), "ansible_host": GONE_ADDRESS, "ansible_timeout": 2}
        if "user" in hosts:
            hosts["user"]["ansible_user"] = "ipcops"
        whole["all"]["children"] = {
            name: {"hosts": dict.fromkeys(members), "vars": variables} for name, (members, variables) in groups.items()
        }
        path = self.place / "hosts.json"
        path.write_text(json.dumps(whole))
        return path

    def play(self, book: Path, inventory: Path, *words: str, name: str = "health") -> Said:
        """Run a playbook that ends in a summary, which is to be called so."""
        done = self.run(book, inventory, *words)
        reports = self.place / "ipcops-reports"
        assert (reports / f"{name}.json").exists(), done.stdout + done.stderr
        told = json.loads((reports / f"{name}.json").read_text())
        page = (reports / f"{name}.txt").read_text()
        return Said(done.returncode, done.stdout + done.stderr, told, page)

    def run(self, book: Path, inventory: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "PYTHON"))}
        env = {
            **kept,
            "HOME": str(self.place),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": "10",
        }
        return subprocess.run(
            [PLAYBOOK, "--inventory", inventory, book, *words],
            env=env,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def listings(self) -> dict[str, dict[str, str]]:
        """Return what is on each host, but for what a login leaves."""
        with ThreadPoolExecutor(4) as pool:
            listed = pool.map(lambda host: host.listing(times=True), self.hosts.values())
            return {
                name: {path: what for path, what in one.items() if path not in LOGINS}
                for name, one in zip(self.hosts, listed, strict=True)
            }
