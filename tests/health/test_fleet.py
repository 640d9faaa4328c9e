"""health.yml on ten hosts reached by SSH, each with something of its own: the summary must tell what was planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.fleet import Fleet, Machine, fleet
from tests.jobs.hosts import Host, bundle, changes

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
COLLECTIONS = ROOT / "ipcops/_collections"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
TEXTFILES = "/var/lib/prometheus/node-exporter"
PAGE = f"{TEXTFILES}/ipcops.prom"
POLICY = "[audit]\norphan_age = 0\n"
GONE_ADDRESS = "192.0.2.1"  # TEST-NET-1 (RFC 5737), where nobody is
LOGINS = ("/var/log/lastlog", "/var/log/wtmp", "/var/log/btmp", "/var/log/faillog")  # sshd's own

MACHINES = {
    "bare": Machine("trixie"),  # nothing installed, all well
    "old": Machine("bullseye"),  # likewise, with Python 3.9
    "agent": Machine(),  # the agent is installed, and no monitor
    "watched": Machine(),  # the monitor's page is fresh
    "leaky": Machine(),  # likewise, with an orphan of each kind
    "full": Machine(),  # one more segment is refused
    "stale": Machine(),  # the monitor has stopped long ago, and the cleanup failed
    "python": Machine(),  # has none
    "user": Machine(),  # Ansible comes as somebody who may not become root
}
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

    def inventory(self, **groups: tuple[tuple[str, ...], dict[str, Any]]) -> Path:
        """Return an inventory of all, with the host that is down; each group has members and variables."""
        whole = self.fleet.inventory()
        hosts = whole["all"]["hosts"]
        hosts[DOWN] = {**hosts["bare"], "ansible_host": GONE_ADDRESS, "ansible_timeout": 2}
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
            timeout=120,
        )


def _install(host: Host, *words: str) -> None:
    host.sh('mkdir -p "$1"', TEXTFILES)
    host.bring(bundle(policy=POLICY))
    host.install(*words)


def _watch(host: Host) -> None:
    _install(host, "--cron", "--monitor")
    host.job(name="monitor")


def _leak(host: Host) -> None:
    host.plant()
    _watch(host)


def _fill(host: Host) -> None:
    host.sh("echo 4 >/proc/sys/kernel/shmmni; for one in 1 2 3 4; do ipcmk --shmem 4096 --mode 600; done")


def _stop(host: Host) -> None:
    _watch(host)
    host.sh(
        """
        sed -i 's/^\\(ipcops_scan_timestamp_seconds\\) .*/\\1 1000000000/' "$1"
        touch -d '3 days ago' /etc/cron.d/ipcops-cleanup
        printf '{"job": "cleanup", "started_at": %d, "ended_at": %d, "status": 4}\\n' "$2" "$2" >"$3/jobs/cleanup.json"
        """,
        PAGE,
        str(int(time.time()) - 600),
        host.state,
    )


STATES: dict[str, Callable[[Host], Any]] = {
    "agent": lambda host: _install(host, "--no-schedule"),
    "watched": _watch,
    "leaky": _leak,
    "full": _fill,
    "stale": _stop,
    "python": lambda host: host.sh("rm -f /usr/bin/python3*"),
    "user": lambda host: host.sh(
        "useradd -m ipcops; cp -r /root/.ssh /home/ipcops; chown -R ipcops: /home/ipcops; rm -f /usr/bin/su /bin/su"
    ),
}


@pytest.fixture(scope="module")
def control():
    """Give a fleet with one host of each state."""
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    bundle(policy=POLICY)  # once, before all ask for it
    with fleet(MACHINES) as machines:
        made = Control(machines)
        with ThreadPoolExecutor(len(STATES)) as pool:
            list(pool.map(lambda name: STATES[name](made.hosts[name]), STATES))
        yield made


@pytest.fixture(scope="module")
def said(control):
    """Give what health.yml came to, run once as it is, with a listing of each host before and after."""
    before = _listings(control)
    found = control.play(ROOT / "playbooks/health.yml", control.inventory())
    after = _listings(control)
    assert {name: changes(before[name], after[name]) for name in before} == dict.fromkeys(before, {})
    return found


def _listings(control: Control) -> dict[str, dict[str, str]]:
    with ThreadPoolExecutor(4) as pool:
        listed = pool.map(lambda host: host.listing(times=True), control.hosts.values())
        return {
            name: {path: what for path, what in one.items() if path not in LOGINS}
            for name, one in zip(control.hosts, listed, strict=True)
        }


def test_each_host_is_as_it_was_planted(said):
    found = {name: one["status"] for name, one in said.told["hosts"].items()}
    assert found == {
        "bare": "ok", "old": "ok", "agent": "ok", "watched": "ok", "leaky": "findings", "full": "findings",
        "stale": "findings", "python": "failed", "user": "failed", DOWN: "unreachable",
    }, said.said  # fmt: skip
    print(said.said); print(said.page); print(json.dumps(said.told["summary"], indent=1)); assert said.status == 3
    sources = {name: one["report"]["source"] for name, one in said.told["hosts"].items() if one["report"]}
    assert sources == {
        "bare": "kernel", "old": "kernel", "agent": "kernel", "watched": "monitor", "leaky": "monitor",
        "full": "kernel", "stale": "kernel",
    }  # fmt: skip
