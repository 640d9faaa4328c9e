"""health.yml on ten hosts reached by SSH, each with something of its own: the summary must tell what was planted."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet import Machine, fleet
from tests.health.control import DOWN, GONE_ADDRESS, PLAYBOOK, ROOT, Control
from tests.jobs.hosts import Host, bundle, changes

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTFILES = "/var/lib/prometheus/node-exporter"
PAGE = f"{TEXTFILES}/ipcops.prom"
POLICY = "[audit]\norphan_age = 0\n"

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
    before = control.listings()
    found = control.play(ROOT / "playbooks/health.yml", control.inventory())
    after = control.listings()
    changed = {name: changes(before[name], after[name]) for name in before}
    assert not any(changed.values()), changed
    return found


# ---------------------------------------------------------------- what was planted is what is told


def test_each_host_is_as_it_was_planted(said):
    found = {name: one["status"] for name, one in said.told["hosts"].items()}
    assert found == {
        "bare": "ok", "old": "ok", "agent": "ok", "watched": "ok", "leaky": "findings", "full": "findings",
        "stale": "findings", "python": "failed", "user": "failed", DOWN: "unreachable",
    }, said.said  # fmt: skip
    assert said.status == 2
    sources = {name: one["report"]["source"] for name, one in said.told["hosts"].items() if one["report"]}
    assert sources == {
        "bare": "kernel", "old": "kernel", "agent": "kernel", "watched": "monitor", "leaky": "monitor",
        "full": "kernel", "stale": "kernel",
    }  # fmt: skip


def test_every_failure_is_told_with_its_remedy(said):
    leaks = {"SHM-001": 1, "SEM-001": 1, "MSG-004": 1, "PSHM-001": 2, "MQ-002": 1}  # a file and a semaphore in /dev/shm
    assert {name: one["count"] for name, one in said.failures("leaky").items()} == leaks
    assert {name: one["severity"] for name, one in said.failures("full").items()} == {"SHM-006": "high"}
    stale = said.failures("stale")
    assert set(stale) == {"cleanup", "monitor"}
    assert stale["cleanup"]["what"].startswith("failed with status 4, 1")
    assert f"{PAGE} is " in stale["monitor"]["what"]
    for name in ("leaky", "full", "stale"):
        for failure in said.failures(name).values():
            assert failure["remedy"].split()[0] in " ".join(said.said.split())
            assert failure["what"]
            assert [failure[about] for about in ("rule", "metric", "job")].count(None) == 2
    errors = {name: one["error"] for name, one in said.told["hosts"].items() if one["error"]}
    assert set(errors) == {"python", "user", DOWN}
    assert "/usr/bin/python3" in errors["python"]
    assert "sudo: not found" in errors["user"]
    assert GONE_ADDRESS in errors[DOWN]


def test_the_summary_adds_up_what_the_hosts_have(control, said):
    summary = said.told["summary"]
    assert summary["hosts"] == {"total": 10, "ok": 4, "findings": 3, "failed": 2, "unreachable": 1}
    assert {one["name"]: (one["hosts"], one["count"]) for one in summary["rules"]} == {
        "SHM-001": (1, 1), "SEM-001": (1, 1), "MSG-004": (1, 1), "PSHM-001": (1, 2), "MQ-002": (1, 1),
        "SHM-006": (1, 1), "job cleanup": (1, 1), "job monitor": (1, 1),
    }  # fmt: skip
    assert [one["host"] for one in summary["worst"]] == ["stale", "full", "leaky"]
    assert summary["severities"] == {"critical": 0, "high": 3, "medium": 6, "low": 0, "info": 0}
    assert (summary["unreachable"], [one["host"] for one in summary["failed"]]) == ([DOWN], ["python", "user"])
    rows = dict.fromkeys(("shm", "sem", "msg"), 0)
    for name in ("bare", "old", "agent", "watched", "leaky", "full", "stale"):
        for kind in rows:
            rows[kind] += int(control.hosts[name].sh(f"sed 1d /proc/sysvipc/{kind} | wc -l").stdout)
    assert {kind: summary["totals"][kind] for kind in rows} == rows


def test_it_is_one_page_that_is_printed_as_it_is(said):
    assert said.page.strip() in said.said
    assert len(said.page.splitlines()) < 60
    assert all(len(line) <= 80 for line in said.page.splitlines())
    for words in ("4 well, 3 with something to mend", "SHM-006", "  down", "python: The module interpreter"):
        assert words in said.page


def test_one_task_reaches_a_host_and_once(control):
    done = control.run(ROOT / "playbooks/health.yml", control.inventory(), "-vvv", "--limit", "watched,agent,bare")
    assert done.returncode == 0, done.stdout
    reached = dict.fromkeys(("watched", "agent", "bare"), 0)
    for name in reached:
        address = control.fleet.boxes[name].address()
        reached[name] = done.stdout.count(f"<{address}> SSH: EXEC")
    assert reached == {"watched": 1, "agent": 1, "bare": 2}, "the core is carried to a host that has none"


def test_a_fleet_that_is_well_passes(control):
    found = control.play(ROOT / "playbooks/health.yml", control.inventory(), "--limit", "bare,watched")
    assert found.status == 0
    assert {one["status"] for one in found.told["hosts"].values()} == {"ok"}
    assert "2 well, 0 with something to mend" in found.page


def test_the_example_of_the_role_is_a_playbook(control):
    text = (ROOT / "roles/ipc_health/README.md").read_text().partition("## Example playbook")[2]
    book = control.place / "example.yml"
    book.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    inventory = control.inventory(databases=(("watched", "full"), {}))
    well, unwell = (control.run(book, inventory, "--limit", name) for name in ("watched", "full"))
    assert (well.returncode, unwell.returncode) == (0, 2)
    assert "fix: Remove orphans, or raise kernel.shmmni" in unwell.stdout


def test_nobody_can_be_reached(control):
    found = control.play(ROOT / "playbooks/health.yml", control.inventory(), "--limit", DOWN)
    assert found.status == 2
    assert found.told["summary"]["unreachable"] == [DOWN]
    assert "Unreachable\n  down" in found.page


def test_an_audit_of_all_is_summed_up_the_same_way(control):
    before = control.listings()
    found = control.play(ROOT / "playbooks/audit.yml", control.inventory(), name="audit")
    after = control.listings()
    changed = {name: changes(before[name], after[name]) for name in before}
    assert not any(changed.values()), changed
    assert found.status == 2, "some could not be asked"
    assert {name: one["status"] for name, one in found.told["hosts"].items()} == {
        "bare": "ok", "old": "ok", "agent": "ok", "watched": "ok", "leaky": "findings", "full": "findings",
        "stale": "ok", "python": "failed", "user": "failed", DOWN: "unreachable",
    }, found.said  # fmt: skip
    reports = {name: one["report"] for name, one in found.told["hosts"].items() if one["report"]}
    assert {one["schema"] for one in reports.values()} == {"ipcops.audit/1"}
    leaked = [one["rule"] for one in reports["leaky"]["findings"] if one["severity"] == "medium"]
    assert sorted(leaked) == ["MQ-002", "MSG-004", "PSHM-001", "PSHM-001", "SEM-001", "SHM-001"]
    assert found.page.strip() in found.said
    recap = {line.split()[0]: line for line in found.said.partition("PLAY RECAP")[2].splitlines() if " : ok=" in line}
    assert {name for name, line in recap.items() if "failed=1" in line} == {"python", "user", DOWN}


# ---------------------------------------------------------------- what is asked of whom


def test_each_group_has_thresholds_of_its_own(control):
    inventory = control.inventory(
        web=(("watched", "bare"), {"ipc_health_critical": {"sem_sets": 0, "shm_segments": "1:"}}),
        batch=(("leaky", "full"), {"ipc_health_fail_on": "high"}),
    )
    found = control.play(ROOT / "playbooks/health.yml", inventory, "--limit", "web,batch,agent")
    assert {name: one["status"] for name, one in found.told["hosts"].items()} == {
        "watched": "findings", "bare": "findings", "leaky": "ok", "full": "findings", "agent": "ok",
    }  # fmt: skip
    for name in ("watched", "bare"):
        (failure,) = found.told["hosts"][name]["report"]["failures"]
        assert (failure["metric"], failure["severity"]) == ("shm_segments", "critical")
        assert failure["what"] == "is 0, outside 1:"
    assert len(found.told["hosts"]["leaky"]["report"]["findings"]) == 5, "told, and no failure"


def test_the_monitor_and_the_kernel_say_the_same(control):
    both = [
        control.play(ROOT / "playbooks/health.yml", control.inventory(), "--limit", "leaky", "-e", words)
        for words in ("ipc_health_max_age=600", "ipc_health_max_age=0")
    ]
    reports = [one.told["hosts"]["leaky"]["report"] for one in both]
    assert [one["source"] for one in reports] == ["monitor", "kernel"]
    assert reports[0]["failures"] == reports[1]["failures"]


def test_check_mode_tells_the_same_and_writes_nothing(control):
    reports = control.place / "elsewhere"
    words = ("--check", "--diff", "-e", f"ipcops_reports={reports}", "--limit", "leaky")
    done = control.run(ROOT / "playbooks/health.yml", control.inventory(), *words)
    assert done.returncode == 2
    assert "SHM-001" in done.stdout
    assert not reports.exists()


def test_reports_that_cannot_be_written_are_told(control):
    words = ("-e", "ipcops_reports=/proc/nowhere", "--limit", "watched")
    done = control.run(ROOT / "playbooks/health.yml", control.inventory(), *words)
    assert done.returncode == 2
    assert "/proc/nowhere" in done.stdout + done.stderr
    assert "name another directory, or none" in " ".join((done.stdout + done.stderr).split())
    assert "1 well" in done.stdout, "the page is printed all the same"


def test_a_host_that_was_lost_earlier_is_not_forgotten(control):
    book = control.place / "site.yml"
    first = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.fail": {"msg": "as planned"}, "when": "inventory_hostname == 'bare'"}],
    }
    then = {"ansible.builtin.import_playbook": str(ROOT / "playbooks/health.yml")}
    book.write_text(json.dumps([first, then]))
    found = control.play(book, control.inventory(), "--limit", "bare,watched")
    assert found.status == 2
    assert {name: one["status"] for name, one in found.told["hosts"].items()} == {"bare": "failed", "watched": "ok"}
    assert "it was lost before it could be asked" in found.told["hosts"]["bare"]["error"]


# ---------------------------------------------------------------- what the monitor left


PAGES = [
    ("a directory", 'rm -f "$1"; mkdir "$1"', "scan_complete", "Is a directory"),
    ("garbage", 'echo "no metric" >>"$1"', "monitor", "is no sample of a metric"),
    ("cut off", 'sed -i "/^ipcops_scan_complete/,\\$d" "$1"', "monitor", "is missing in it"),
    ("none at all", ': >"$1"', "monitor", "is missing in it"),
    ("gone", 'rm "$1"; touch -d "1 hour ago" /etc/cron.d/ipcops-monitor', "monitor", "is not there"),
    (
        "of the future",
        'sed -i "s/^\\(ipcops_scan_timestamp_seconds\\) .*/\\1 4000000000/" "$1"',
        "monitor",
        "in the future; look at the host's clock",
    ),
]


@pytest.mark.parametrize(("how", "script", "name", "words"), PAGES, ids=[one[0] for one in PAGES])
def test_a_page_that_is_not_as_the_monitor_writes_it_is_told_and_the_kernel_asked(control, how, script, name, words):
    host = control.hosts["watched"]
    host.sh(script, PAGE)
    try:
        found = control.play(ROOT / "playbooks/health.yml", control.inventory(), "--limit", "watched")
    finally:
        host.sh('rm -rf "$1"; touch /etc/cron.d/ipcops-monitor', PAGE)
        host.job(name="monitor")
    report = found.told["hosts"]["watched"]["report"]
    assert report["source"] == "kernel", how
    assert set(found.failures("watched")) == {name}
    assert words in found.failures("watched")[name]["what"]
    assert report["metrics"]["shm_segments"] == 0


def test_a_scan_that_failed_is_a_host_where_nothing_was_seen(control):
    host = control.hosts["watched"]
    host.sh(
        """
        grep -e ipcops_build_info -e ipcops_scan_ "$1" |
            sed -e 's/^\\(ipcops_scan_success\\) 1/\\1 0/' -e 's/^\\(ipcops_scan_complete\\) 1/\\1 0/' >"$1.new"
        mv "$1.new" "$1"
        """,
        PAGE,
    )
    try:
        book, inventory = ROOT / "playbooks/health.yml", control.inventory()
        found = control.play(book, inventory, "--limit", "watched")
        allowed = control.play(book, inventory, "--limit", "watched", "-e", "ipc_health_allow_unseen=true")
    finally:
        host.job(name="monitor")
    assert found.told["hosts"]["watched"]["report"]["source"] == "monitor"
    assert "the scan failed as a whole" in found.failures("watched")["scan_complete"]["what"]
    assert (found.status, allowed.status) == (2, 0)
    assert allowed.told["hosts"]["watched"]["report"]["unseen"]


def test_a_limit_that_was_raised_is_well_again(control):
    book = control.place / "raise.yml"
    limits = {"ipcops.linux.ipc_limits": {"values": {"kernel.shmmni": 4096}}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [limits]}
    then = {"ansible.builtin.import_playbook": str(ROOT / "playbooks/health.yml")}
    book.write_text(json.dumps([play, then]))
    found = control.play(book, control.inventory(), "--limit", "full")
    assert found.status == 0, found.said
    assert found.told["hosts"]["full"]["status"] == "ok"
