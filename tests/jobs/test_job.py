"""The script that cron and systemd start: one at a time, whatever becomes of it, and never silent when it fails."""

from __future__ import annotations

import json

import pytest

from tests.world import GONE

from .hosts import HERE, POLICY, Host, bundle, host

SCRIPT = "/usr/local/lib/ipcops/ipc-cleanup.sh"
STATE = "/var/lib/ipcops"
FILL = (
    f"cp -a {STATE} /run/state && mount -t tmpfs -o size=64k none {STATE} && cp -a /run/state/. {STATE};"
    f" head -c 100k /dev/zero >{STATE}/filler"
)
# Stands for syslogd: a socket at /dev/log, and what came in a file.
SYSLOG = """
import os, socket
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
with open("/run/syslog", "w") as file:
    while True:
        print(log.recv(65536).decode().rstrip("\\0"), file=file, flush=True)
"""


@pytest.fixture(scope="module")
def one():
    """Give a host where the bundle is installed and no schedule is, with a system log."""
    with host("bookworm") as there:
        there.bring(bundle("spread=0", "settle=3", policy=POLICY.format(more="")))
        there.install("--no-schedule")
        there.sh('nohup python3 -I -c "$1" >/dev/null 2>&1 &', SYSLOG)
        there.wait(lambda: there.sh("ls /dev/log", check=False).returncode == 0, "the system log", 10)
        there.box.copy_in(HERE / "runs.py", "/opt/bundle/runs.py")
        yield there


@pytest.fixture
def leak(one):
    """Give a file that the job takes."""
    names = {"posix-shm": "/psm_leak"}
    if not one.there(names):
        one.sh(f"umask 077; echo x >/dev/shm/psm_leak && chown {GONE} /dev/shm/psm_leak && sleep 4")
    return names


def syslog(one: Host) -> str:
    """Return what the system log got since the last time."""
    return one.sh("sleep 0.2; cat /run/syslog && : >/run/syslog").stdout


def test_it_says_in_syslog_what_it_did(one, leak):
    syslog(one)
    done = one.job()
    assert (done.stdout, done.stderr) == ("", ""), "cron would mail it"
    assert one.there(leak) == set()
    (line,) = [line for line in syslog(one).splitlines() if "ipc-cleanup" in line]
    assert line.startswith("<30>"), "daemon.info"
    assert "removed 1 object" in line


def test_two_at_once_and_the_second_gives_way(one):
    syslog(one)
    log = one.text(f"{one.log}/cleanup.log")
    found = json.loads(one.box.exec("python3", "-I", "/opt/bundle/runs.py", "twice", SCRIPT).stdout)
    assert found["first was at work"]
    assert (found["nice"], found["io"]) == (19, "idle"), "it gives way to everybody"
    assert found["second"] == {"status": 0, "out": "", "err": ""}
    assert found["first"] == {"status": 0, "out": "", "err": ""}
    said = syslog(one)
    assert "another run is still at work; this one gives way" in said
    assert "<29>" in said, "daemon.notice"
    after = one.text(f"{one.log}/cleanup.log")
    assert after.removeprefix(log).count("nothing went") == 1, "one ran"


def test_a_killed_run_leaves_no_lock(one):
    moments = [str(ms) for ms in (2, 10, 25, 50, 75, 100, 150, 200, 300, 500)]
    found = json.loads(one.box.exec("python3", "-I", "/opt/bundle/runs.py", "killed", SCRIPT, *moments).stdout)
    assert [run["free"] for run in found] == [True] * len(moments)
    assert [run["next"] for run in found] == [{"status": 0, "out": "", "err": ""}] * len(moments)
    reached = {name for run in found if run["status"] == -9 for name in run["reached"]}
    assert {"ipc-cleanup.sh", "python3.11"} <= reached, "while the script ran, and while the agent did"
    assert one.result()["status"] == 0


@pytest.mark.parametrize(
    ("damage", "status", "told"),
    [
        (f"mount -t tmpfs -o ro none {STATE}", 4, "cannot make /var/lib/ipcops/jobs and /var/log/ipcops"),
        (f"mount --bind {STATE} {STATE} && mount -o remount,ro,bind {STATE}", 4, "jobs/cleanup.lock; run this as root"),
        (FILL, 4, "No space left on device"),
        ("mount -t tmpfs -o ro none /var/log/ipcops", 4, "is a file system full or read-only?"),
    ],
    ids=["no state", "read-only state", "full disk", "read-only log"],
)
def test_where_nothing_can_be_written_it_fails_loudly(one, leak, damage, status, told):
    one.sh(damage, check=False)
    try:
        done = one.job(check=False)
        assert (done.returncode, done.stdout) == (status, "")
        assert "ipc-cleanup" in done.stderr
        assert told in done.stderr
        assert "<27>" in syslog(one), "daemon.err"
        if "log" not in damage:
            assert one.there(leak) == set(leak), "nothing goes that can't be written down"
    finally:
        one.sh("umount /var/lib/ipcops /var/log/ipcops 2>/dev/null || :")


def test_with_a_wrong_policy_it_fails_loudly_and_nothing_goes(one, leak):
    one.sh("cp /etc/ipcops/ipcops.conf /run/policy; sed -i s/^accept/accepts/ /etc/ipcops/ipcops.conf")
    try:
        done = one.job(check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "ipc-cleanup on " in done.stderr
        assert "/etc/ipcops/ipcops.conf line 9: unknown key 'accepts'" in done.stderr
        assert one.there(leak) == set(leak)
        assert one.result()["status"] == 2
    finally:
        one.sh("cp /run/policy /etc/ipcops/ipcops.conf")


def test_without_its_policy_or_agent_it_fails_loudly(one, leak):
    for path, status in (("/etc/ipcops/ipcops.conf", 2), ("/usr/local/lib/ipcops/agent", 3)):
        one.sh('mv "$1" /run/aside', path)
        done = one.job(check=False)
        one.sh('mv /run/aside "$1"', path)
        assert (done.returncode, done.stdout) == (status, "")
        assert path in done.stderr
        assert one.there(leak) == set(leak)


def test_each_host_starts_at_a_time_of_its_own_that_stays(one):
    """With a sleep that only says for how long."""
    one.sh("sed 's/spread 0/spread 1800/' /usr/local/lib/ipcops/ipc-cleanup.sh >/run/spread.sh")
    one.sh("printf '#!/bin/sh\\necho $1 >>/run/slept\\n' >/usr/sbin/sleep && chmod 755 /usr/sbin/sleep")
    try:
        for number in ("1", "1", "2", "3"):
            one.sh('echo "$1" >/etc/machine-id; sh /run/spread.sh --spread', number)
    finally:
        one.sh("rm /usr/sbin/sleep")
    slept = [int(line) for line in one.text("/run/slept").split()]
    assert slept[0] == slept[1]
    assert len(set(slept)) == 3
    assert all(0 <= seconds <= 1800 for seconds in slept)


def test_a_dry_run_removes_nothing(one, leak):
    one.job("--dry-run")
    assert one.there(leak) == set(leak)
    assert "1 object would go" in one.text(f"{STATE}/jobs/cleanup.txt")


def test_unknown_arguments_are_refused(one):
    done = one.job("--dry", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ipc-cleanup: unknown argument --dry; it takes --spread and --dry-run\n"


def test_an_ordinary_user_is_told(one):
    done = one.box.exec(SCRIPT, user="1500", check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert "run this as root" in done.stderr


# ---------------------------------------------------------------- Slurm

LEFT = """
import ctypes, os, sys
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
print(ctypes.CDLL(None).shmget(0, ctypes.c_size_t(4096), 0o1600))
os.close(os.open("/dev/shm/psm_000%s" % sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600))
"""


def left(one: Host, uid: int) -> dict[str, object]:
    """Have a user leave a segment and a file."""
    shmid = one.box.exec("python3", "-c", LEFT, str(uid)).stdout.strip()
    return {"shm": shmid, "posix-shm": f"/psm_000{uid}"}


def ended(one: Host, *variables: str, script: str = "epilog") -> str:
    """Run a script as slurmd does; return what the system log got."""
    syslog(one)
    done = one.box.exec("env", *variables, f"/usr/local/lib/ipcops/slurm-{script}.sh", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "else slurmd drains the node"
    return syslog(one)


@pytest.fixture
def users(one):
    """Add two users; both leave something, and one still runs a process."""
    for name, uid in (("gone", 61001), ("busy", 61002)):
        one.sh('grep -q "^$1:" /etc/passwd || echo "$1:x:$2:$2::/:/bin/sh" >>/etc/passwd', name, str(uid))
    yield {"gone": left(one, 61001), "busy": left(one, 61002)}
    one.sh("rm -f /dev/shm/psm_000*; [ ! -e /run/busy ] || { kill $(cat /run/busy); rm /run/busy; }")


def test_an_epilog_takes_what_its_user_left_once_nothing_runs(one, users):
    one.sh("setpriv --reuid 61002 --regid 61002 --clear-groups nohup sleep 600 >/dev/null 2>&1 & echo $! >/run/busy")
    said = ended(one, "SLURM_JOB_USER=gone", "SLURM_JOB_ID=17")
    assert one.there(users["gone"]) == set()
    assert one.there(users["busy"]) == {"shm", "posix-shm"}
    assert "job 17 of gone: " in said
    assert "removed 2 objects" in said
    ended(one, "SLURM_JOB_USER=busy", "SLURM_JOB_ID=18")
    assert one.there(users["busy"]) == {"shm", "posix-shm"}, "its user has another job here"
    one.sh("kill $(cat /run/busy) && rm /run/busy")
    ended(one, "SLURM_JOB_UID=61002", script="prolog")
    assert one.there(users["busy"]) == set(), "a prolog takes what no epilog did"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ([], "neither SLURM_JOB_USER nor SLURM_JOB_UID is set; nothing was removed"),
        (["SLURM_JOB_USER=nobody-of-that-name"], "status 2"),
        (["SLURM_JOB_USER=root"], "status 2"),
        (["SLURM_JOB_USER=--apply"], "status 2"),
    ],
)
def test_slurm_scripts_end_well_whatever_happens(one, variables, told):
    said = ended(one, *variables, script="prolog")
    assert told in said
    assert "<27>" in said
