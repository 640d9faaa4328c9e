"""site.yml on ten hosts reached by SSH: what it brings them to, how often it reaches them, and what its page says."""

from __future__ import annotations

import json
import re

import pytest

from tests.fleet import Machine, fleet
from tests.health.control import DOWN, PLAYBOOK, ROOT, Control
from tests.jobs.hosts import Host

MOST = 12
"""Tasks that may reach a host in a run."""
TEXTFILES = "/var/lib/prometheus/node-exporter"
FULL = 4
"""As many segments as the full host may have, and has."""

MACHINES = {
    "db1": Machine(),
    "db2": Machine(),  # its limit is full, and will be raised
    "web1": Machine("trixie"),
    "web2": Machine("trixie"),
    "web3": Machine("bullseye"),
    "batch1": Machine(),  # leaks, and is only told so
    "batch2": Machine(),
    "batch3": Machine("bullseye"),
    "python": Machine(),  # has none
}
GROUPS = {
    "databases": (("db1", "db2"), {"ipc_limits_values": {"kernel.shmmni": 4096}}),
    "batch": (
        ("batch1", "batch2", "batch3"),
        {"ipc_agent_policy": "[audit]\norphan_age = 0\n", "ipc_cleanup_cron": "@daily"},
    ),
    "all": ((), {"ipc_cleanup_schedule": "cron", "ipc_monitor_schedule": "cron"}),
}  # fmt: skip
WORDS = ("-vvv", "-e", "ipcops_max_fail_percentage=30")  # two of nine are lost
WELL = ("db1", "db2", "web1", "web2", "web3", "batch2", "batch3")


@pytest.fixture(scope="module")
def control():
    """Give a fleet of fresh hosts."""
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    with fleet(MACHINES) as machines:
        made = Control(machines)
        for host in made.hosts.values():
            host.sh('mkdir -p "$1"', TEXTFILES)
        made.hosts["db2"].sh(
            f"echo {FULL} >/proc/sys/kernel/shmmni; for one in $(seq {FULL}); do ipcmk --shmem 4096 --mode 600; done"
        )
        made.hosts["batch1"].plant()
        made.hosts["python"].sh("rm -f /usr/bin/python3*")
        yield made


@pytest.fixture(scope="module")
def inventory(control):
    """Give an inventory with groups that are set up differently."""
    path = control.inventory(**{name: one for name, one in GROUPS.items() if name != "all"})
    whole = json.loads(path.read_text())
    whole["all"]["vars"] = GROUPS["all"][1]
    path.write_text(json.dumps(whole))
    return path


@pytest.fixture(scope="module")
def runs(control, inventory):
    """Give the first run, and the second."""
    return [control.play(ROOT / "playbooks/site.yml", inventory, *WORDS) for _ in range(2)]


def recap(said: str, host: str) -> dict[str, int]:
    """Return the counts of a host."""
    (line,) = [one for one in said.partition("PLAY RECAP")[2].splitlines() if one.split()[:2] == [host, ":"]]
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}


def test_the_page_is_right_about_each_host(runs):
    for run in runs:
        found = {name: one["status"] for name, one in run.told["hosts"].items()}
        assert found == {**dict.fromkeys(WELL, "ok"), "batch1": "findings", "python": "failed", DOWN: "failed"}, (
            run.said
        )
        assert run.status in (2, 4)
        assert {one["host"] for one in run.told["summary"]["failed"]} == {"python", DOWN}
        rules = {one["rule"] for one in run.told["hosts"]["batch1"]["report"]["failures"]}
        assert rules == {"SHM-001", "SEM-001", "MSG-004", "PSHM-001", "MQ-002"}
        assert f"{len(WELL)} well, 1 with something to mend, 2 that could not be asked" in run.page
        assert all(one["report"]["source"] == "kernel" for one in run.told["hosts"].values() if one["report"])


def test_every_host_is_as_it_was_to_be(control, runs):
    for name in (*WELL, "batch1"):
        host: Host = control.hosts[name]
        assert host.sh("ls /etc/cron.d").stdout.split().count("ipcops-cleanup") == 1
        assert host.installed("--verify").returncode == 0
        host.job(name="monitor")
        assert host.text(f"{TEXTFILES}/ipcops.prom").startswith("# HELP ipcops_build_info")
    assert control.hosts["db2"].sh("cat /proc/sys/kernel/shmmni").stdout.strip() == "4096"
    assert "@daily" in control.hosts["batch2"].text("/etc/cron.d/ipcops-cleanup")
    planted = control.hosts["batch1"]
    assert planted.there(planted.planted["gone"]) == set(planted.planted["gone"]), (
        "it only plans until it is told to apply"
    )


def test_the_second_run_changes_nothing(runs):
    for name in (*WELL, "batch1"):
        assert recap(runs[0].said, name)["changed"] > 0, name
        assert recap(runs[1].said, name)["changed"] == 0, name


def test_few_tasks_reach_a_host(control, runs):
    for name in (*WELL, "batch1"):
        address = control.fleet.boxes[name].address()
        for run in runs:
            reached = run.said.count(f"<{address}> SSH: EXEC")
            assert 4 <= reached <= MOST, (name, reached)
