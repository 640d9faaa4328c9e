"""The role ipc_monitor as a user runs it, where systemd runs, so that handlers have services to reload."""

from __future__ import annotations

import pytest

from tests.jobs.hosts import changes
from tests.plugins.reached import reached
from tests.roles.installs import asked_for, example, leaves_nothing, playbook, recap, refused, role, run

LIB = "/usr/local/lib/ipcops"
TEXTFILES = "/var/lib/prometheus/node-exporter"
RULES = "/etc/prometheus/rules/ipcops.rules.yml"
# A service that counts how often it was reloaded or started.
SERVICE = """\
[Service]
ExecStart=/bin/sh -c 'echo started >>/run/%p.told; exec sleep 3600'
ExecReload=/bin/sh -c 'echo reloaded >>/run/%p.told'
"""


@pytest.fixture(scope="module")
def one():
    with reached("bookworm", systemd=True) as there:
        there.sh(
            f"mkdir -p {TEXTFILES} /etc/prometheus/rules /etc/nagios/nrpe.d /etc/zabbix/zabbix_agent2.d /etc/sudoers.d"
        )
        for name in ("prometheus", "nagios-nrpe-server", "zabbix-agent2"):
            there.sh('printf %s "$2" >"/run/systemd/system/$1.service"', name, SERVICE)
            there.sh(f"systemctl daemon-reload; systemctl start {name}")
        there.before = there.listing()
        yield there


def told(one, name: str) -> list[str]:
    """Return what a service was told since the last time."""
    return one.sh(f"cat /run/{name}.told; : >/run/{name}.told").stdout.split()


def test_the_example_runs_reloads_and_leaves_nothing_when_it_goes(one):
    plays = example("ipc_monitor")
    told(one, "prometheus")
    told(one, "nagios-nrpe-server")
    planned = run(one, plays, "--check", "--diff")
    assert recap(planned)["changed"] == 2
    assert changes(one.before, one.listing()) == {}
    assert told(one, "prometheus") == []
    run(one, plays)
    assert ">= 0.7\n" in one.text(RULES)
    assert (told(one, "prometheus"), told(one, "nagios-nrpe-server")) == (["reloaded"], ["reloaded"])
    assert one.sh("systemctl is-active ipcops-monitor.timer").stdout == "active\n"
    one.sh("systemctl start ipcops-monitor.service")
    assert "ipcops_scan_success 1" in one.text(f"{TEXTFILES}/ipcops.prom")
    assert recap(run(one, plays))["changed"] == 0
    assert told(one, "prometheus") == []

    plays[0]["roles"][1]["vars"]["ipc_monitor_alerts"] = {"near_limit": 71}
    run(one, plays)
    assert (told(one, "prometheus"), told(one, "nagios-nrpe-server")) == (["reloaded"], [])
    plays[0]["roles"][1]["vars"] = {"ipc_monitor_reload": False}
    run(one, plays)
    assert one.text(RULES) == ""
    assert told(one, "prometheus") == []

    (gone,) = [found for found in asked_for("ipc_monitor") if "ipc_monitor_state" in found]
    assert recap(playbook(one, "monitor", **gone))["changed"] == 1
    assert one.text(f"{TEXTFILES}/ipcops.prom") == ""
    assert one.sh("systemctl list-unit-files 'ipcops*' --no-legend", check=False).stdout == ""
    leaves_nothing(one, playbook(one, "agent", ipc_agent_state="absent", ipc_agent_purge=True))


def test_zabbix_gets_its_item_and_is_restarted(one):
    told(one, "zabbix-agent2")
    directory = {"ipc_monitor_zabbix_dir": "/etc/zabbix/zabbix_agent2.d"}
    playbook(one, "monitor", **directory)
    assert "UserParameter=ipcops.check,sudo " in one.text("/etc/zabbix/zabbix_agent2.d/ipcops-check.conf")
    assert told(one, "zabbix-agent2") == ["started"]
    playbook(one, "monitor", ipc_monitor_state="absent")
    assert told(one, "zabbix-agent2") == ["started"]
    leaves_nothing(one, playbook(one, "agent", ipc_agent_state="absent", ipc_agent_purge=True))


def test_what_is_wrong_is_refused_with_what_to_write_instead(one):
    alerts = {"ipc_monitor_alerts": {"near_limit": 70}}
    refused(one, "such as ipc_monitor_alerts_dir: /etc/prometheus/rules, on hosts that run it", "ipc_monitor", **alerts)
    run(one, role("ipc_agent"))
    there = {"ipc_monitor_alerts_dir": "/etc/prometheus/rules"}
    wrong = {"ipc_monitor_alerts": {"near_limits": 70}}
    refused(one, "unknown setting 'near_limits'; did you mean 'near_limit'", "ipc_monitor", **there, **wrong)
    refused(one, "/etc/none is missing; install what reads it first", "ipc_monitor", ipc_monitor_nrpe_dir="/etc/none")
    refused(one, "is no absolute path", "ipc_monitor", ipc_monitor_textfiles="textfiles")
    leaves_nothing(one, playbook(one, "agent", ipc_agent_state="absent", ipc_agent_purge=True))
