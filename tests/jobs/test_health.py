"""The job health: what is wrong comes by mail or fails a unit, on one page; where nothing is, it is silent."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import Watched
from .hosts import command, mail
from .test_monitor import exposure, seen

UNIT = "ipcops-health.service"
POLICY = "/etc/ipcops/ipcops.conf"


def told(page: str) -> set[str]:
    """Return the rules that a page tells of."""
    return set(re.findall(r"\b[A-Z]+-\d{3}\b", page))


def test_what_is_wrong_comes_by_mail(with_cron):
    one = with_cron.host
    page = one.wait(lambda: mail(one), "cron's mail", 10)
    assert "To: root" in page
    assert re.search(r"^ipc-health on \S+ found what is to be mended and said:$", page, re.MULTILINE)
    assert {"SHM-001", "PSHM-001"} <= told(page)
    assert f"shm:{one.planted['gone']['shm']}" in page
    assert "fix: " in page
    assert "LOW " not in page, "only what fails it"
    assert one.result("health")["status"] == 1
    assert one.text(f"{one.state}/jobs/health.txt") in page


def test_what_is_wrong_fails_the_unit(with_systemd):
    with_systemd(fails_until_all_is_well)


def fails_until_all_is_well(watched: Watched) -> None:
    one = watched.host
    age = 'sed -i "s/^orphan_age = .*/orphan_age = $2/" "$1"'
    one.sh("systemctl stop ipcops-health.timer")
    try:
        assert one.box.exec("systemctl", "start", UNIT, check=False).returncode == 1
        assert one.box.exec("systemctl", "is-failed", UNIT, check=False).stdout == "failed\n"
        said = one.box.exec("journalctl", "--no-pager", "--output=cat", "-u", UNIT, "--since=-20s").stdout
        assert {"SHM-001", "PSHM-001"} <= told(said)
        assert f"shm:{one.planted['gone']['shm']}" in said
        assert one.result("health")["status"] == 1
        one.sh(age, watched.policy, "24h")
        one.box.exec("systemctl", "start", UNIT)
        assert one.box.exec("systemctl", "is-failed", UNIT, check=False).stdout == "inactive\n"
        assert one.result("health")["status"] == 0
    finally:
        one.sh(f"{age}; systemctl start ipcops-health.timer", watched.policy, "0")


def without_times(text: str) -> Any:
    """Return a report but for what differs from one moment to the next."""
    report = json.loads(text)
    for name in ("started_at", "seconds", "processes"):  # podman's own come and go
        del report["scan"][name]
    del report["usage"]["pipe"], report["scan"]["places"][0]["objects"]["pipe"]
    for finding in report["findings"]:
        finding["evidence"].pop("age", None)
        finding["reason"] = re.sub(r"unused for \d+ \w+", "", finding["reason"])
    return report


def test_its_cell_is_narrow_and_does_not_blind_it(with_systemd):
    def prove(watched: Watched) -> None:
        assert exposure(watched.host, UNIT) <= 3.0
        inside, outside = seen(watched, UNIT, "audit --format json --fail-on none", without_times)
        assert inside["scan"] == outside["scan"]
        assert inside == outside
        assert inside["scan"]["complete"]
        assert {finding["kind"] for finding in inside["findings"]} >= {"shm", "posix-shm", "unix"}

    with_systemd(prove)


@pytest.fixture
def script(with_cron):
    """Give what runs the script as it is rendered with some settings."""

    def run(*assignments: str, before: tuple[str, ...] = (), more: tuple[str, ...] = ()):
        words = [word for one in assignments for word in ("--set", one)]
        with_cron.host.sh('printf %s "$1" >/run/health.sh', command("render", "health", *words).stdout)
        return with_cron.host.box.exec(*before, "sh", "/run/health.sh", *more, check=False)

    one = with_cron.host
    one.sh("mv /etc/cron.d/ipcops-health /run/ && sleep 0.5")
    yield run
    one.sh("mv /run/ipcops-health /etc/cron.d/")


def test_it_fails_from_a_severity_on(script):
    done = script()
    assert (done.returncode, done.stdout) == (1, "")
    assert "SHM-001" in told(done.stderr)
    for severity in ("critical", "none"):
        done = script(f"fail_on={severity}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "cron would mail it"
    done = script("fail_on=low")
    assert done.returncode == 1
    assert "LOW " in done.stderr


# Root without one of its capabilities, who may not look into other users' processes.
BLIND = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")


def test_complete_fails_where_something_was_not_seen(script, with_cron):
    with_cron.host.sh("setpriv --reuid 61002 --regid 61002 --clear-groups nohup sleep 60 >/dev/null 2>&1 &")
    quiet = "fail_on=critical"
    assert script(quiet, "complete=yes").returncode == 0, "all was seen"
    done = script(quiet, before=BLIND)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = script(quiet, "complete=yes", before=BLIND)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Not everything could be seen" in done.stderr
    assert with_cron.host.result("health")["status"] == 3


def test_with_a_wrong_policy_it_is_told(script, with_cron):
    one = with_cron.host
    one.sh(f"cp {POLICY} /run/policy; sed -i s/^orphan_age/orphan_ages/ {POLICY}")
    try:
        done = script()
    finally:
        one.sh(f"cp /run/policy {POLICY}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown key 'orphan_ages'; did you mean 'orphan_age'" in done.stderr
    assert one.result("health")["status"] == 2


def test_what_cannot_be_kept_is_told_all_the_same(script, with_cron):
    one = with_cron.host
    one.sh("mount -t tmpfs -o ro none /var/log/ipcops")
    try:
        done = script("fail_on=critical")
        assert done.returncode == 4
        assert "is a file system full or read-only?" in done.stderr
        done = script()
        assert done.returncode == 1
        assert "SHM-001" in told(done.stderr)
    finally:
        one.sh("umount /var/log/ipcops")


def test_unknown_arguments_are_refused(script):
    done = script(more=("--now",))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ipc-health: unknown argument --now; it takes --spread\n"
