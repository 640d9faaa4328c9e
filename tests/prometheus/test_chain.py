"""From a leak in the kernel to the message about it, through the real programs, and back.

The monitor script, as a host has it, fills the textfile, Debian's node_exporter serves it, Prometheus
judges it by our rules, and Alertmanager tells whoever is on call.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from tests import world
from tests.bench.host import installed
from tests.kernel import cleaner
from tests.prometheus.rules import rendered
from tests.prometheus.stack import UID, Stack, promtool
from tests.world import in_world

SOON = 30  # seconds in which whatever follows must have followed
LEAKED = 12  # of each kind, more than leak_objects


class Host:
    """The world's monitored host: its textfile, and the policy that its cleaning follows.

    The rules are the shipped ones, but for how long something must be so; what a test does not name keeps its
    minutes, so that nothing else of this machine can be told meanwhile.
    """

    def __init__(self, **settings: str) -> None:
        self.stack = Stack(rendered(**settings).replace("interval: 5m", "interval: 1s"))
        # Unused for no time at all is a leak here.
        self.place = cleaner.Place(cleaner.ALL + "[audit]\norphan_age = 0\n")
        place = world.here() / "host"
        place.mkdir()
        textfiles = str(self.stack.textfile.parent)
        self.script = installed(place).script("monitor", policy=self.place.policy, textfiles=textfiles)
        self.ipcops_fills()
        self.stack.start()

    def ipcops_fills(self) -> None:
        """Write the textfile, as cron does on a host."""
        done = subprocess.run(self.script, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def waits_for(self, what: str, condition: Any) -> Any:
        """Keep the textfile fresh until a condition holds, and return its value."""

        def holds() -> Any:
            self.ipcops_fills()
            time.sleep(0.3)
            return condition()

        return world.wait_until(holds, f"{what}\nfiring: {sorted(self.stack.firing())}", SOON)


def leak() -> None:
    """Leave objects behind, as a user whose processes are all gone does."""
    for number in range(LEAKED):
        world.shmget(8192, key=0x5100 + number)
        world.msgsnd(world.msgget(key=0x5100 + number), b"undelivered")


def left() -> int:
    """Return how many objects there are."""
    return len(world.table("shm")) + len(world.table("msg"))


@in_world(timeout=100)
def test_a_leak_is_told_and_resolved() -> None:
    host = Host(leak_for="1s")
    stack = host.stack

    # All is well: each rule was judged, without an error, and none fires.
    scanned = 'count(ipcops_scan_timestamp_seconds{instance="127.0.0.1:9100", job="node"})'
    host.waits_for("metrics in Prometheus", lambda: stack.query(scanned))
    host.waits_for("rules judged", lambda: all(rule["health"] == "ok" for rule in stack.rules()))
    assert not any(rule.get("lastError") for rule in stack.rules())
    host.waits_for("silence", lambda: not stack.firing())

    # What node_exporter serves of ours is what Prometheus' own linter wants.
    ours = "".join(line + "\n" for line in stack.served().splitlines() if "ipcops_" in line)
    assert ours.count("# HELP") > 40
    done = promtool("check", "metrics", text=ours)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

    # A program leaks and is gone.
    world.as_uid(world.GONE, leak)
    whose = {(kind, str(world.GONE)) for kind in ("shm", "msg")}

    def leaks(alerts: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return the alerts about both leaks, once they are there."""
        found = alerts.get("IpcopsLeak", [])
        return found if {(one["labels"]["kind"], one["labels"]["owner"]) for one in found} == whose else []

    host.waits_for("an alert in Prometheus", lambda: leaks(stack.firing()))
    (alert, _) = host.waits_for("an alert in Alertmanager", lambda: leaks(stack.alerted()))
    words = alert["annotations"]
    assert f": {LEAKED} abandoned objects of kind " in words["summary"]
    assert Path(__file__).parents[2].joinpath(words["runbook_url"]).is_file()
    host.waits_for("a message", lambda: stack.notified("IpcopsLeak")[:1] == ["firing"])

    # The runbook's commands: what would go, and away with it. Where a process of this machine that starts or
    # ends just then cannot be looked into, a queue stays until the next run.
    def planned() -> int:
        answer = world.ipcops("clean", "--format", "json", "--policy", host.place.policy)
        return len(answer.json["plan"]["remove"])

    world.wait_until(lambda: planned() == 2 * LEAKED, "a plan for all", SOON)
    world.wait_until(lambda: world.ipcops(*host.place.clean()) and not left(), "all is removed", SOON)
    assert len([entry for entry in host.place.entries() if entry["event"] == "removed"]) == 2 * LEAKED
    host.waits_for("no alert in Prometheus", lambda: "IpcopsLeak" not in stack.firing())
    host.waits_for("no alert in Alertmanager", lambda: "IpcopsLeak" not in stack.alerted())
    host.waits_for("a message that it is over", lambda: stack.notified("IpcopsLeak")[-1:] == ["resolved"])


@in_world(timeout=100)
def test_a_limit_and_a_full_queue_are_told() -> None:
    def told() -> set[tuple[str, str]]:
        """Return what is told of sets and queues; of pipes the machine's other users may have too many."""
        alerts = [alert["labels"] for alerts in stack.firing().values() for alert in alerts]
        limits = {(one["alertname"], one["limit"]) for one in alerts if one.get("call") == "semget"}
        return limits | {(one["alertname"], one["key"]) for one in alerts if "key" in one}

    world.limit("kernel.sem", "250 32000 32 20")
    host = Host(limit_for="0", queue_for="0")
    stack = host.stack
    host.waits_for("the limit in Prometheus", lambda: stack.query("ipcops_sem_limit_sets == 20"))
    assert not told()
    for _ in range(18):
        world.semget(1)
    msqid = world.msgget(key=0x2A)
    world.msgset(msqid, qbytes=100)
    world.msgsnd(msqid, b"x" * 95)

    limits = {("IpcopsLimitNear", "SEMMNI"), ("IpcopsLimitReached", "SEMMNI")}
    host.waits_for("both alerts", lambda: told() == {*limits, ("IpcopsQueueFull", "0x0000002a")})
    host.waits_for("a message", lambda: stack.notified("IpcopsLimitReached") == ["firing"])
    world.msgrcv(msqid)
    for row in world.table("sem"):
        world.semrm(row["semid"])
    host.waits_for("silence", lambda: not told())


@in_world(timeout=100)
def test_metrics_that_are_old_broken_or_gone_are_told() -> None:
    host = Host(stale_after="8s", stale_for="0")
    stack = host.stack
    host.waits_for("silence", lambda: stack.query("ipcops_build_info") and not stack.firing())

    # Nobody fills the file any more, and nothing else changes.
    (alert,) = world.wait_until(lambda: stack.firing().get("IpcopsMetricsStale"), "old metrics", SOON)
    assert set(stack.firing()) == {"IpcopsMetricsStale"}
    assert alert["labels"].keys() == {"alertname", "severity", "instance", "job"}
    host.waits_for("silence", lambda: not stack.firing())

    # A file that node_exporter cannot read: it tells none of it, not even its age.
    stack.textfile.write_text("half a line {\n")
    world.wait_until(lambda: stack.query("node_textfile_scrape_error == 1"), "an error of node_exporter", SOON)
    world.wait_until(lambda: set(stack.firing()) == GONE, "lost metrics", SOON)
    host.waits_for("silence", lambda: not stack.firing())

    # No file at all.
    stack.textfile.unlink()
    world.wait_until(lambda: set(stack.firing()) == GONE, "no metrics", SOON)
    host.waits_for("silence", lambda: not stack.firing())
    world.wait_until(lambda: stack.notified("IpcopsMetricsGone")[-1:] == ["resolved"], "a message", SOON)


GONE = {"IpcopsMetricsGone", "IpcopsMetricsAbsent"}


@in_world(timeout=60)
def test_the_exporter_may_read_the_textfile_whatever_the_umask() -> None:
    host = Host()
    host.stack.textfile.unlink()
    os.umask(0o077)
    host.ipcops_fills()
    assert world.as_uid(UID, host.stack.textfile.read_text).startswith("# HELP ipcops_build_info ")
