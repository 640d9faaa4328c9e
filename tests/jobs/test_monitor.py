"""The job monitor: by itself it keeps the metrics of a host where node_exporter reads them, or fails loudly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.world import GONE

from .conftest import TEXTFILES, Watched
from .hosts import HERE, KINDS, Host, bundle, changes, mail, taken

LIB = "/usr/local/lib/ipcops"
FILE = f"{TEXTFILES}/ipcops.prom"
UNIT = "ipcops-monitor.service"
COUNTS = {
    "ipcops_shm_segments": r"^segments allocated (\d+)",
    "ipcops_shm_pages": r"^pages allocated (\d+)",
    "ipcops_sem_sets": r"^used arrays = (\d+)",
    "ipcops_sem_semaphores": r"^allocated semaphores = (\d+)",
    "ipcops_msg_queues": r"^allocated queues = (\d+)",
    "ipcops_msg_messages": r"^used headers = (\d+)",
}
"""What `ipcs -u` says of the same."""
VARYING = re.compile(r"^ipcops_(?:scan_(?:timestamp|duration)_seconds|scan_processes|pipe_\w+)\b.* .*\n", re.MULTILINE)
"""Times, and what comes and goes with podman's own processes."""


def cell(watched: Watched, unit: str, command: str) -> tuple[str, str]:
    """Run a command in a unit's cell in the place of its job, and outside meanwhile. Return what both say."""
    one = watched.host
    drop_in = f"/run/systemd/system/{unit}.d"
    inside = "/run/inside"
    line = f"/run/ipcops {command} --policy /run/policy >{inside}.new; mv {inside}.new {inside}; sleep 30"
    one.sh('ln -sfn "$1" /run/ipcops; cp "$2" /run/policy', one.command, watched.policy)
    one.sh("systemctl stop ipcops-health.timer ipcops-monitor.timer; systemctl stop ipcops-health ipcops-monitor")
    text = f"[Service]\nReadWritePaths=/run\nExecStart=\nExecStart=/bin/sh -c '{line}'\n"
    one.sh('mkdir -p "$1" && printf %s "$2" >"$1/cell.conf" && systemctl daemon-reload', drop_in, text)
    try:
        one.sh('systemctl start --no-block "$1"', unit)
        found = one.wait(lambda: one.text(inside), "the unit's word", 20)
        return found, one.ipcops(*command.split(), "--policy", "/run/policy").stdout
    finally:
        one.sh('systemctl stop "$2"; rm -rf "$1" "$3"; systemctl daemon-reload', drop_in, unit, inside)
        one.sh("systemctl reset-failed; systemctl start ipcops-health.timer ipcops-monitor.timer")


def seen(watched: Watched, unit: str, command: str, without_times: Callable[[str], Any]) -> tuple[Any, Any]:
    """Return what a command says in a unit's cell and outside of it: the same, if it ever does.

    A process that starts or ends just then cannot be looked into, from wherever.
    """
    for _ in range(4):
        inside, outside = (without_times(text) for text in cell(watched, unit, command))
        if inside == outside:
            break
    return inside, outside


def exposure(one: Host, unit: str) -> float:
    """Return what systemd-analyze finds."""
    said = one.box.exec("systemd-analyze", "security", "--no-pager", unit).stdout
    (level,) = re.findall(r"Overall exposure level for \S+: (\d+\.\d+)", said)
    return float(level)


# ---------------------------------------------------------------- it runs


def test_it_writes_what_the_kernel_counts(everywhere):
    everywhere(counts_as_the_kernel_does)


def counts_as_the_kernel_does(watched: Watched) -> None:
    one = watched.host
    assert one.result("monitor")["status"] == 0
    assert one.result("monitor")["started_at"] <= one.result("monitor")["ended_at"]
    assert one.sh('cd "$1" && ls && stat -c "%a %U" *', watched.textfiles).stdout == "ipcops.prom\n644 root\n"
    # While others start and end, some page may have missed one of them.
    one.wait(lambda: watched.metrics()["ipcops_scan_complete"] == 1, "a page where everything was seen", 70)
    found = watched.metrics()
    told = re.sub(r" +", " ", one.box.exec("ipcs", "-u").stdout)
    said = {name: int(re.search(pattern, told, re.MULTILINE)[1]) for name, pattern in COUNTS.items()}
    assert {name: found[name] for name in COUNTS} == said
    assert {said[name] for name in ("ipcops_shm_segments", "ipcops_sem_sets", "ipcops_msg_queues")} == {2}
    lines = len(one.box.exec("ipcs", "-m").stdout.splitlines())
    assert lines > said["ipcops_shm_segments"], "whoever counts lines counts the header"
    assert (found["ipcops_posix_mq_queues"], found["ipcops_posix_shm_files"]) == (2, 2)
    assert {found[f'ipcops_orphans{{kind="{kind}",owner="{GONE}"}}'] for kind in KINDS} == {1}
    assert found["ipcops_scan_success"] == 1
    assert {value for name, value in found.items() if name.startswith("ipcops_source_success")} == {1}
    assert "ipc-monitor" not in mail(one)


def test_it_fires_again(with_systemd):
    def prove(watched: Watched) -> None:
        one = watched.host
        first = watched.metrics()["ipcops_scan_timestamp_seconds"]
        one.wait(lambda: watched.metrics()["ipcops_scan_timestamp_seconds"] > first, "the next run", 30)
        assert one.box.exec("systemctl", "show", UNIT, "--property=Result").stdout == "Result=success\n"

    with_systemd(prove)


def test_its_cell_is_narrow_and_does_not_blind_it(with_systemd):
    def prove(watched: Watched) -> None:
        assert exposure(watched.host, UNIT) <= 3.0
        inside, outside = seen(watched, UNIT, "metrics", lambda text: VARYING.sub("", text).splitlines())
        assert len(inside) > 100
        assert inside == outside

    with_systemd(prove)


def test_systemd_finds_nothing_wrong_with_the_units(with_systemd):
    kinds = [(job, kind) for job in ("monitor", "health") for kind in ("service", "timer")]
    units = [f"/etc/systemd/system/ipcops-{job}.{kind}" for job, kind in kinds]

    def prove(watched: Watched) -> None:
        done = watched.host.box.exec("systemd-analyze", "verify", "--man=no", *units)
        assert (done.stdout + done.stderr).replace("\n", "") == ""

    with_systemd(prove)


def test_two_at_once_and_the_second_gives_way(with_cron):
    one = with_cron.host
    one.box.copy_in(HERE / "runs.py", "/opt/bundle/runs.py")
    done = one.box.exec("python3", "-I", "/opt/bundle/runs.py", "twice", f"{LIB}/ipc-monitor.sh")
    found = json.loads(done.stdout)
    assert found["first was at work"]
    assert (found["nice"], found["io"]) == (19, "idle"), "it gives way to everybody"
    assert found["first"] == found["second"] == {"status": 0, "out": "", "err": ""}


# ---------------------------------------------------------------- it fails


@pytest.fixture
def still(with_cron):
    """Give a host whose cron rests."""
    one = with_cron.host
    one.sh("mv /etc/cron.d/ipcops-monitor /run/ && sleep 0.5")
    one.job(name="monitor")
    yield with_cron
    one.sh("mv /run/ipcops-monitor /etc/cron.d/")


FULL = (
    f"cp {FILE} /run/page && mount -t tmpfs -o size=64k none {TEXTFILES} && cp -p /run/page {FILE};"
    f" head -c 100k /dev/zero >{TEXTFILES}/filler"
)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (f"mv {TEXTFILES} /run/aside", "No such file or directory"),
        (f"mount --bind {TEXTFILES} {TEXTFILES} && mount -o remount,ro,bind {TEXTFILES}", "Read-only file system"),
        (FULL, "No space left on device"),
    ],
    ids=["missing", "read-only", "full"],
)
def test_where_the_metrics_cannot_be_written_it_is_told_and_they_look_old(still, damage, told):
    one = still.host
    one.sh(damage, check=False)
    look = 'if [ -e "$1" ]; then stat -c "%y %i" "$1"; sha256sum "$1"; ls -A "${1%/*}"; fi'
    before = one.sh(look, FILE).stdout
    try:
        done = one.job(name="monitor", check=False)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("ipc-monitor on ")
        assert "failed with status 4" in done.stderr
        assert f"cannot write the textfile '{FILE}'" in done.stderr
        assert told in done.stderr
        assert one.sh(look, FILE).stdout == before
        assert one.result("monitor")["status"] == 4
    finally:
        one.sh(f"umount {TEXTFILES} 2>&-; [ ! -e /run/aside ] || mv /run/aside {TEXTFILES}")
    one.job(name="monitor")
    assert one.result("monitor")["status"] == 0


def test_with_a_wrong_policy_it_is_told_and_they_look_old(still):
    one = still.host
    one.sh("cp /etc/ipcops/ipcops.conf /run/policy; sed -i s/^kinds/kind/ /etc/ipcops/ipcops.conf")
    before = still.page
    try:
        done = one.job(name="monitor", check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "unknown key 'kind'; did you mean 'kinds'" in done.stderr
        assert one.result("monitor")["status"] == 2
        assert still.page == before
    finally:
        one.sh("cp /run/policy /etc/ipcops/ipcops.conf")


def test_a_unit_that_cannot_write_has_failed_and_says_why(with_systemd):
    def prove(watched: Watched) -> None:
        one = watched.host
        one.sh('systemctl stop ipcops-monitor.timer; mv "$1" /run/aside', watched.textfiles)
        try:
            assert one.box.exec("systemctl", "start", UNIT, check=False).returncode == 1
            assert one.box.exec("systemctl", "is-failed", UNIT, check=False).stdout == "failed\n"
            said = one.box.exec("journalctl", "--no-pager", "--output=cat", "-u", UNIT, "--since=-20s").stdout
            assert f"cannot write the textfile '{watched.textfiles}/ipcops.prom'" in said
        finally:
            again = 'mv /run/aside "$1"; systemctl reset-failed; systemctl start ipcops-monitor.timer'
            one.sh(again, watched.textfiles)

    with_systemd(prove)


def test_unknown_arguments_are_refused(with_cron):
    done = with_cron.host.job("--now", name="monitor", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ipc-monitor: unknown argument --now; it takes --spread\n"


# ---------------------------------------------------------------- it comes and goes


SCHEDULED = "ls /etc/cron.d /etc/systemd/system /etc/systemd/system/timers.target.wants 2>&- | grep ipcops | sort -u"
"""What starts by itself."""


def test_no_monitor_ends_it_and_the_choice_is_kept(with_each):
    with_each(ends_and_comes_back)


def ends_and_comes_back(watched: Watched) -> None:
    one = watched.host
    before = set(one.sh(SCHEDULED).stdout.split())
    gone = {name for name in before if "monitor" in name}
    assert gone
    assert not any("cleanup" in name for name in before), "--no-cleanup"
    done = one.install("--no-monitor")
    assert f"removed {watched.textfiles}/ipcops.prom, which nothing would renew any more" in done.stdout
    assert watched.page == ""
    assert set(one.sh(SCHEDULED).stdout.split()) == before - gone
    assert one.sh("find -L /etc/systemd /etc/cron.d -type l").stdout == "", "dangling"
    if "ipcops-monitor.timer" in gone:
        assert "stopped ipcops-monitor.timer" in done.stdout
        listed = one.box.exec("systemctl", "list-units", "--all", "--no-legend", "ipcops-monitor*", check=False)
        assert listed.stdout == ""
        assert one.box.exec("systemctl", "is-active", "ipcops-health.timer").stdout == "active\n"
    assert one.install().stdout == "ipcops: everything was there already\n"
    assert "everything is as it was installed" in one.installed("--verify").stdout

    one.install("--monitor")
    assert set(one.sh(SCHEDULED).stdout.split()) == before
    one.job(name="monitor")
    one.wait(lambda: watched.page, "metrics", 30)


def test_contradictions_are_refused(with_cron):
    one = with_cron.host
    before = one.sh(SCHEDULED).stdout
    for words in (("--monitor", "--no-monitor"), ("--no-health", "--health")):
        done = one.install(*words, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"ipcops: {words[0]} and {words[1]} contradict each other; nothing was done\n"
    assert one.sh(SCHEDULED).stdout == before


def test_an_upgrade_keeps_the_jobs_and_moves_the_metrics(hosts):
    watched = taken(hosts["bookworm"])
    given = bundle("calendar=*:*:0/10", "spread=0", "nice=7", "textfiles=/srv/textfiles", policy="[scan]\n")
    one = watched.host
    one.job(name="monitor")
    before = set(one.sh(SCHEDULED).stdout.split())
    one.sh("mv /opt/bundle /opt/bundle.first")
    one.bring(given)
    done = one.install()
    assert f"removed {FILE}, which nothing would renew any more" in done.stdout
    assert "/srv/textfiles is missing, so the job monitor will fail" in done.stdout
    assert set(one.sh(SCHEDULED).stdout.split()) == before
    assert one.box.exec("systemctl", "show", UNIT, "--property=Nice").stdout == "Nice=7\n"
    one.sh("mkdir /srv/textfiles")
    one.wait(lambda: one.text("/srv/textfiles/ipcops.prom"), "metrics in the other place", 30)
    one.sh("rm -r /opt/bundle; mv /opt/bundle.first /opt/bundle")
    assert "removed /srv/textfiles/ipcops.prom, which" in one.install().stdout
    one.sh("rmdir /srv/textfiles; systemctl reset-failed")
    one.wait(lambda: watched.page, "metrics where they were", 30)


def test_uninstalling_takes_the_metrics_too(everywhere):
    """Also while a run that cron started still sleeps. The last of the package, as nothing is left."""
    everywhere(leaves_nothing)


def leaves_nothing(watched: Watched) -> None:
    one = watched.host
    one.job(name="monitor")
    one.sh("printf '#!/bin/sh\\nexec /bin/sleep 4\\n' >/usr/sbin/sleep && chmod 755 /usr/sbin/sleep")
    try:
        one.sh('nohup "$1/ipc-monitor.sh" --spread >/run/late 2>&1 & /bin/sleep 0.3', one.lib)
        done = one.installed("--uninstall")
        one.sh("/bin/sleep 4")
    finally:
        one.sh("rm /usr/sbin/sleep")
    assert one.text("/run/late") == ""
    assert f"removed {watched.textfiles}/ipcops.prom, which nothing would renew any more\n" in done.stdout
    assert done.stdout.endswith("ipcops: removed; there was no journal and no backup\n")
    assert set(changes(one.before, one.listing())) - {"/usr/sbin/sendmail", "/var/spool/cron"} == set()
