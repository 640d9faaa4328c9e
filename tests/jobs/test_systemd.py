"""The bundle under a real systemd: its timer starts the job, and the job does its work in a narrow cell."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack

import pytest

from ipcops.bundle.contents import files
from tests import world

from .hosts import AWKWARD, HERE, KINDS, POLICY, SUITES, Host, bundle, changes, host, taken, together

UNIT = "ipcops-cleanup.service"
TIMER = "ipcops-cleanup.timer"
SETTINGS = ("calendar=*:*:0/10", "spread=0")
# CAP_DAC_OVERRIDE 1, DAC_READ_SEARCH 2, FOWNER 3, IPC_OWNER 15, SYS_PTRACE 19, SYS_ADMIN 21 (capabilities(7))
CELL = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 15 | 1 << 19 | 1 << 21

TIMER_STAMP = f"/var/lib/systemd/timers/stamp-{TIMER}"


def fired(one: Host) -> Host:
    """Wait until the timer has started the job, and the job is done with what was left behind."""
    one.wait(lambda: one.result() and not one.there(one.planted["gone"]), "the timer's run", 60)
    return one


@pytest.fixture(scope="module")
def started():
    """Give a host of each suite where the bundle is installed and its timer has fired."""
    given = bundle(*SETTINGS, policy=POLICY.format(more=""))
    with ExitStack() as stack:

        def start(suite: str) -> Host:
            one = stack.enter_context(host(suite, systemd=True))
            one.before = one.listing()
            one.bring(given)
            one.plant()
            assert "installed with schedule systemd" in one.install().stdout, "as systemd runs here"
            return fired(one)

        yield together({suite: lambda suite=suite: start(suite) for suite in SUITES})


@pytest.fixture(params=SUITES)
def there(request, started):
    """Give one of these hosts."""
    return taken(started[request.param])


def journal(one: Host, *words: str) -> str:
    """Return what systemd's journal has."""
    return one.box.exec("journalctl", "--no-pager", "--output=cat", *words).stdout


def test_the_timer_fires_and_what_was_left_is_gone(there):
    assert there.there(there.planted["gone"]) == set()
    assert there.there(there.planted["held"]) == set(KINDS), "of the same owner, but held by somebody"
    assert there.result()["status"] == 0
    assert there.result()["started_at"] <= there.result()["ended_at"]
    log = there.text(f"{there.log}/cleanup.log")
    assert "removed 6 objects" in log
    assert "removed 6 objects" in journal(there, "-t", "ipc-cleanup")
    shown = there.box.exec("systemctl", "show", UNIT, "--property=Result,ExecMainStatus,NRestarts").stdout
    assert "Result=success" in shown


def test_it_is_in_the_journal_and_comes_back(there):
    entries = json.loads(there.ipcops("journal", "--format", "json").stdout)["entries"]
    removed = {one["kind"]: one for one in entries if one["event"] == "removed"}
    assert set(removed) == set(KINDS)
    assert {one["owner"]["uid"] for one in entries} == {world.GONE}
    gone = {"shm": there.planted["gone"]["shm"]}
    words = ("restore", removed["shm"]["restore"], f"shm:{gone['shm']}", "--format", "json")
    (back,) = json.loads(there.ipcops(*words).stdout)["restored"]
    gone["shm"] = back["id"]
    assert there.there(gone) == {"shm"}


def test_the_cell_is_narrow(there):
    (announcing,) = (one.text for one in files({"notify": "yes"}) if one.source == f"systemd/{UNIT}")
    there.sh('printf %s "$1" >/run/systemd/system/announcing.service && systemctl daemon-reload', announcing)
    try:
        for unit in (UNIT, "announcing.service"):
            said = there.box.exec("systemd-analyze", "security", "--no-pager", unit).stdout
            (level,) = re.findall(r"Overall exposure level for \S+: (\d+\.\d+)", said)
            print(unit, level)
            assert float(level) <= 3.0
    finally:
        there.sh("rm /run/systemd/system/announcing.service && systemctl daemon-reload")


def test_systemd_finds_nothing_wrong_with_the_units(there):
    words = ("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{UNIT}", f"/etc/systemd/system/{TIMER}")
    done = there.box.exec(*words)
    assert (done.stdout + done.stderr).replace("\n", "") == ""


def test_the_cell_holds(there):
    """A probe that runs in the unit after the job may do less than outside of it."""
    there.box.copy_in(HERE / "probe.py", "/opt/bundle/probe.py")
    words = ["python3", "-I", "/opt/bundle/probe.py", there.state]
    outside = json.loads(there.box.exec(*words).stdout.partition(" ")[2])
    drop_in = f"/run/systemd/system/{UNIT}.d"
    text = f"[Service]\nExecStartPost={' '.join(['/usr/bin/python3', *words[1:]])}\n"
    there.sh('mkdir -p "$1" && printf %s "$2" >"$1/probe.conf" && systemctl daemon-reload', drop_in, text)
    try:
        there.box.exec("systemctl", "start", UNIT)
        (line,) = re.findall(r"PROBE (.*)", journal(there, "-u", UNIT, "--since=-20s"))[-1:]
    finally:
        there.sh('rm -r "$1" && systemctl daemon-reload', drop_in)
    inside = json.loads(line)
    assert inside["status"] == {
        "NoNewPrivs": "1", "Seccomp": "2", "CapBnd": f"{CELL:016x}", "CapEff": f"{CELL:016x}",
    }  # fmt: skip
    own = {name for name, what in inside["namespaces"].items() if what != outside["namespaces"][name]}
    assert own == {"mnt", "net", "uts"}, "who cleans must see the host's objects and processes"
    assert (inside["nice"], inside["umask"], inside["root's home"]) == (19, "0077", 0)
    refused = {
        "write /etc": "EROFS", "write /usr": "EROFS", "setuid file": "EPERM", "mount": "EPERM", "personality": "EPERM",
        "new IPC namespace": "EPERM", "AF_INET": "EAFNOSUPPORT", "AF_NETLINK": "EAFNOSUPPORT",
    }  # fmt: skip
    may = ("write there", "write /dev/shm", "AF_UNIX")
    assert {name: inside[name] for name in (*refused, *may)} == {**refused, **dict.fromkeys(may, "done")}
    assert inside["write and execute"] in ("EPERM", "EACCES")  # by seccomp; since systemd 254 by PR_SET_MDWE
    assert {outside[name] for name in (*refused, *may, "write and execute")} == {"done"}, "elsewhere"


def test_with_a_wrong_policy_the_unit_has_failed_and_nothing_goes(there):
    policy = "/etc/ipcops/ipcops.conf"
    there.sh('cp "$1" /run/policy && sed s/min_age/min_ages/ /run/policy >"$1"', policy)
    try:
        again = {"posix-shm": "/psm_late"}
        there.sh(f"umask 077; echo x >/dev/shm/psm_late && chown {world.GONE} /dev/shm/psm_late && sleep 4")
        done = there.box.exec("systemctl", "start", UNIT, check=False)
        assert done.returncode == 1
        assert there.box.exec("systemctl", "is-failed", UNIT, check=False).stdout == "failed\n"
        said = journal(there, "-u", UNIT, "--since=-20s")
        assert re.search(r"ipcops.conf line \d+: unknown key 'min_ages'; did you mean 'min_age'", said), said
        assert there.result()["status"] == 2
        assert there.there(again) == {"posix-shm"}
    finally:
        there.sh('cp /run/policy "$1"; systemctl reset-failed "$2"', policy, UNIT)
    there.box.exec("systemctl", "start", UNIT)
    assert there.there(again) == set(), "the right policy takes it"


def ours(changed: dict[str, tuple[str | None, str | None]]) -> dict[str, tuple[str | None, str | None]]:
    """Return what an installer changed, rather than a run of the job in between."""
    moving = ("/var/lib/ipcops", "/var/log/ipcops", "/var/lib/systemd/timers", "/var/tmp")
    return {path: what for path, what in changed.items() if not path.startswith(moving)}


def test_a_second_install_changes_nothing(there):
    before = there.listing(times=True)
    assert there.install().stdout == "ipcops: everything was there already\n", "the schedule is remembered"
    assert ours(changes(before, there.listing(times=True))) == {}
    assert there.box.exec("systemctl", "is-active", TIMER).stdout == "active\n"
    assert "everything is as it was installed" in there.installed("--verify").stdout


def test_an_upgrade_reaches_systemd(there):
    there.bring(bundle("calendar=2038-01-01 00:00:00", "spread=0", "nice=7", policy=POLICY.format(more="# more")))
    done = there.install()
    for name in (TIMER, UNIT):
        assert f"wrote /etc/systemd/system/{name}\n" in done.stdout
    words = ("systemctl", "show", TIMER, "--property=NextElapseUSecRealtime")
    there.wait(lambda: "=Fri 2038-01-01 00:00:00 UTC" in there.box.exec(*words).stdout, "the timer's new time", 20)
    assert there.box.exec("systemctl", "show", UNIT, "--property=Nice").stdout == "Nice=7\n"
    assert there.box.exec("systemctl", "is-active", TIMER).stdout == "active\n"


def test_from_systemd_to_cron_and_back(there):
    done = there.install("--cron")
    assert f"stopped {TIMER}" in done.stdout
    units = f"ls /etc/systemd/system/*ipcops* /etc/systemd/system/*/*ipcops* {TIMER_STAMP} /etc/cron.d/ipcops* 2>&-"
    assert there.sh(units, check=False).stdout == "/etc/cron.d/ipcops-cleanup\n"
    known = there.box.exec("systemctl", "list-unit-files", "--no-legend", "ipcops*", check=False)
    assert known.stdout == ""
    assert "everything is as it was installed" in there.installed("--verify").stdout
    done = there.install("--systemd")
    assert f"started {TIMER}" in done.stdout
    assert "/etc/cron.d" not in there.sh(units, check=False).stdout
    assert there.box.exec("systemctl", "is-active", TIMER).stdout == "active\n"
    assert "everything is as it was installed" in there.installed("--verify").stdout


def test_uninstalling_leaves_the_journal_and_the_backups(there):
    done = there.installed("--uninstall")
    assert done.stdout.endswith("the journal and the backups stay in /var/lib/ipcops\n")
    left = changes(there.before, there.listing())
    packs = {path for path in left if re.fullmatch(r"/var/lib/ipcops/backups/[^/]*\.pack", path)}
    assert packs
    assert set(left) - packs == {"/var/lib/ipcops", "/var/lib/ipcops/backups", "/var/lib/ipcops/journal.jsonl"}
    known = there.box.exec("systemctl", "list-units", "--all", "--no-legend", "ipcops*", check=False)
    assert known.stdout == ""


def test_paths_with_all_that_may_stand_in_them(started):
    """Spaces, a quote, a dollar and a percent sign, after the plain ones are gone."""
    policy = POLICY.format(more=f"state = {AWKWARD['state']}")
    settings = [f"{name}={value}" for name, value in AWKWARD.items() if name != "state"]
    given = bundle("calendar=*:*:0/5", "spread=0", *settings, policy=policy)

    def prove(plain: Host) -> None:
        places = {name: AWKWARD[name] for name in ("lib", "state", "log")}
        one = Host(plain.box, command=f"{AWKWARD['bin']}/ipcops", **places)
        one.sh("rm -rf /var/lib/ipcops")
        one.before = one.listing()
        one.bring(given)
        one.plant("again")
        one.install("--systemd")
        fired(one)
        assert one.there(one.planted["held"]) == set(KINDS)
        assert "removed 6 objects" in one.text(f"{one.log}/cleanup.log")
        assert one.box.exec("systemctl", "is-failed", UNIT, check=False).stdout in ("inactive\n", "activating\n")
        assert "everything is as it was installed" in one.installed("--verify").stdout
        assert "removed" in one.ipcops("journal", "--policy", AWKWARD["policy"]).stdout
        one.installed("--uninstall")
        left = {path for path in changes(one.before, one.listing()) if not path.endswith(".pack")}
        assert left == {AWKWARD["state"], f"{AWKWARD['state']}/backups", f"{AWKWARD['state']}/journal.jsonl"}

    done = together({suite: lambda suite=suite: prove(taken(started[suite])) for suite in SUITES})
    for suite in SUITES:
        taken(done[suite])


# Does what Exim's does, which needs most: it writes to the mailbox, gives it to its user, and becomes another user.
SENDMAIL = """\
#!/usr/bin/python3 -I
import os, sys
text = sys.stdin.read()
with open("/var/mail/alice", "a") as box, open("/var/spool/queued", "a"), open("/var/log/mainlog", "a"):
    box.write(text)
    os.fchown(box.fileno(), 61001, 8)
os.setgroups([])
os.setgid(8)
os.setuid(8)
"""


def test_the_cell_of_a_job_that_announces_lets_mail_out(started):
    one = taken(started["bookworm"])
    policy = POLICY.format(more="").replace("nameless", "alice")
    one.bring(bundle("notify=yes", "spread=0", "calendar=2038-01-01 00:00:00", policy=policy))
    one.sh("rm -rf /var/lib/ipcops; echo alice:x:61001:61001::/:/bin/sh >>/etc/passwd")
    one.sh('printf %s "$1" >/usr/sbin/sendmail && chmod 755 /usr/sbin/sendmail', SENDMAIL)
    one.sh("umask 077; echo x >/dev/shm/psm_0000abcd; chown 61001 /dev/shm/psm_0000abcd; sleep 4")
    left = {"posix-shm": "/psm_0000abcd"}
    one.install("--systemd")
    one.box.exec("systemctl", "start", UNIT)
    mailed = one.text("/var/mail/alice")
    assert "To: alice" in mailed
    assert "posix-shm:/psm_0000abcd" in mailed
    assert one.there(left) == set(left), "announced first"
    one.box.exec("systemctl", "start", UNIT)
    assert one.there(left) == set()
    one.installed("--uninstall")
