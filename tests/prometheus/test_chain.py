"""From a leak in the kernel to the message about it, through the real programs, and back.

ipcops fills the textfile, Debian's node_exporter serves it, Prometheus judges it by our rules, and
Alertmanager tells whoever is on call.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests import world
from tests.kernel import cleaner
from tests.prometheus.rules import rendered
from tests.prometheus.stack import UID, Stack, promtool
from tests.world import in_world

# The thresholds are the shipped ones; only the times are those of a test.
FAST = {
    "limit_for": "0",
    "leak_for": "1s",
    "queue_for": "0",
    "scan_for": "0",
    "stale_after": "8s",
    "stale_for": "0",
}
SOON = 30  # seconds in which whatever follows must have followed
LEAKED = 12  # of each kind, more than leak_objects


class Host:
    """The world's monitored host: its textfile, and the policy that its cleaning follows."""

    def __init__(self) -> None:
        self.stack = Stack(rendered(**FAST).replace("interval: 5m", "interval: 1s"))
        # Unused for no time at all is a leak here.
        self.place = cleaner.Place(cleaner.ALL + "[audit]\norphan_age = 0\n")
        self.ipcops_fills()
        self.stack.start()

    def ipcops_fills(self) -> None:
        """Write the textfile, as the timer does on a host."""
        answer = world.ipcops("metrics", "--textfile", str(self.stack.textfile), "--policy", self.place.policy)
        assert answer.status == 0, answer.err

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


@in_world(timeout=100)
def test_a_leak_is_told_and_resolved() -> None:
    host = Host()
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
    labels = {(kind, str(world.GONE)) for kind in ("shm", "msg")}

    def told(alerts: list[dict[str, Any]]) -> bool:
        return {(alert["labels"]["kind"], alert["labels"]["owner"]) for alert in alerts} == labels

    host.waits_for("an alert in Prometheus", lambda: told(stack.firing().get("IpcopsLeak", [])))
    (alert, _) = host.waits_for("an alert in Alertmanager", lambda: told_all(stack, told))
    words = alert["annotations"]
    assert f": {LEAKED} abandoned objects of kind " in words["summary"]
    assert Path(__file__).parents[2].joinpath(words["runbook_url"]).is_file()
    host.waits_for("a message", lambda: stack.notified("IpcopsLeak") == ["firing"])

    # The runbook's command shows what would go, and takes it away.
    done = world.ipcops("clean", "--format", "json", "--policy", host.place.policy)
    assert len(done.json["plan"]["remove"]) == 2 * LEAKED
    done = world.ipcops(*host.place.clean())
    assert (done.status, len(done.json["removed"])) == (0, 2 * LEAKED)
    host.waits_for("no alert in Prometheus", lambda: "IpcopsLeak" not in stack.firing())
    host.waits_for("no alert in Alertmanager", lambda: "IpcopsLeak" not in stack.alerted())
    host.waits_for("a message that it is over", lambda: stack.notified("IpcopsLeak") == ["firing", "resolved"])


def told_all(stack: Stack, told: Any) -> list[dict[str, Any]]:
    """Return the alerts about leaks of Alertmanager, once all are there."""
    found = stack.alerted().get("IpcopsLeak", [])
    return found if told(found) else []


@in_world(timeout=100)
def test_a_limit_and_a_full_queue_are_told() -> None:
    world.limit("kernel.sem", "250 32000 32 20")
    host = Host()
    stack = host.stack
    host.waits_for("silence", lambda: stack.query("ipcops_sem_limit_sets == 20") and not stack.firing())
    for _ in range(18):
        world.semget(1)
    msqid = world.msgget(key=0x2A)
    world.msgset(msqid, qbytes=100)
    world.msgsnd(msqid, b"x" * 95)

    def of(alerts: list[dict[str, Any]], *names: str) -> set[tuple[str, ...]]:
        return {tuple(alert["labels"].get(name, "") for name in names) for alert in alerts}

    def both() -> bool:
        firing = stack.firing()
        reached = of(firing.get("IpcopsLimitReached", []), "limit", "call", "severity")
        full = of(firing.get("IpcopsQueueFull", []), "kind", "id", "key")
        return reached == {("SEMMNI", "semget", "critical")} and full == {("msg", str(msqid), "0x0000002a")}

    host.waits_for("both alerts", both)
    host.waits_for("a message", lambda: stack.notified("IpcopsLimitReached") == ["firing"])
    world.msgrcv(msqid)
    for row in world.table("sem"):
        world.semrm(row["semid"])
    host.waits_for("silence", lambda: not stack.firing())


@in_world(timeout=100)
def test_metrics_that_are_old_broken_or_gone_are_told() -> None:
    host = Host()
    stack = host.stack
    host.waits_for("silence", lambda: stack.query("ipcops_build_info") and not stack.firing())

    # Nobody fills the file any more, and nothing else changes.
    began = time.monotonic()
    (alert,) = world.wait_until(lambda: stack.firing().get("IpcopsMetricsStale"), "old metrics", SOON)
    assert time.monotonic() - began > 5, "not before stale_after"
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
def test_the_textfile_can_be_read_by_the_exporter_whatever_the_umask() -> None:
    host = Host()
    assert world.as_uid(UID, lambda: host.stack.textfile.read_text().startswith("# HELP ipcops_build_info "))
