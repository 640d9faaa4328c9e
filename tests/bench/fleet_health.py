"""playbooks/health.yml on ten hosts over SSH, beside a playbook with one pipelined ping."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet import Fleet, Machine, fleet
from tests.jobs.hosts import Host, bundle

from .harness import ROOT, BenchError, Figure, Result, Timing, progress
from .plays import PLAYBOOK, timed

NAME = "fleet-health"
ROUNDS = 5
HOSTS = 10
GOAL = 1.5

PING = "ping"
FRESH = "health.yml, the monitor's page is fresh"
KERNEL = "health.yml, asks the kernel by the agent"
CARRIED = "health.yml, asks the kernel by the core it carries"
VARIABLES = {
    PING: {},
    FRESH: {"ipc_health_max_age": 3600},
    KERNEL: {"ipc_health_max_age": 0},
    CARRIED: {"ipc_health_max_age": 0, "ipc_health_lib": "/nonexistent"},
}
SOURCES = {FRESH: "monitor", KERNEL: "kernel", CARRIED: "kernel"}


def run(rounds: int) -> Result:
    """Compare whole runs of ansible-playbook, one after the other in each round."""
    if not PLAYBOOK.exists():
        message = "ansible-core is not installed"
        raise BenchError(message)
    try:
        with fleet({f"host{number}": Machine() for number in range(1, HOSTS + 1)}) as hosts:
            _install(hosts)
            return _run(rounds, hosts)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        raise BenchError(str(error)) from error


def _install(hosts: Fleet) -> None:
    given = bundle()

    def install(name: str) -> None:
        host = Host(hosts.boxes[name])
        host.sh("mkdir -p /var/lib/prometheus/node-exporter")
        host.bring(given)
        host.install("--cron", "--monitor")
        host.job(name="monitor")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(install, hosts.boxes))


def _run(rounds: int, hosts: Fleet) -> Result:
    inventory = hosts.write_inventory()
    ping = hosts.place / "ping.json"
    tasks = [{"ansible.builtin.ping": {}}]
    ping.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "become": True, "tasks": tasks}]))
    timings = {name: Timing() for name in VARIABLES}
    spent: dict[str, list[float]] = {name: [] for name in VARIABLES}
    for turn in range(-1, rounds):  # the first warms the caches up
        for name in list(VARIABLES)[:: -1 if turn % 2 else 1]:
            book = ping if name == PING else ROOT / "playbooks/health.yml"
            seconds, cpu = timed(inventory, book, HOSTS, VARIABLES[name])
            if name != PING:
                _check(hosts, SOURCES[name])
            if turn >= 0:
                timings[name].seconds.append(seconds)
                spent[name].append(cpu / HOSTS)
        progress(f"round {turn + 1} of {rounds}")
    progress("")
    result = Result(NAME, f"{HOSTS} hosts over SSH with pipelining, all on this machine", timings, base=PING)
    for name in (FRESH, KERNEL):
        result.compare(name, GOAL)
    result.figures.append(Figure(f"{CARRIED} / {PING}", result.ratio(CARRIED), GOAL, note="nothing installed"))
    for name in VARIABLES:
        median = sorted(spent[name])[rounds // 2] * 1e3
        result.notes.append(f"{name}: {median:.0f} ms of the controller's processors for each host")
    return result


def _check(hosts: Fleet, source: str) -> None:
    """Raise BenchError where the hosts were not asked as they were to be."""
    told = json.loads((hosts.place / "ipcops-reports/health.json").read_text())
    found = {one["report"]["source"] for one in told["hosts"].values()}
    if found != {source}:
        message = f"asked {found}, not {source}"
        raise BenchError(message)
