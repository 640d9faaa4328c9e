"""install.sh: what it refuses, what it upgrades, and that it leaves nothing behind."""

from __future__ import annotations

import itertools
import re
import shutil

import pytest

from tests.world import REPO

from .hosts import POLICY, SUITES, Host, bundle, changes, host

SUITE = "bookworm"
LIB = "/usr/local/lib/ipcops"
POLICY_FILE = "/etc/ipcops/ipcops.conf"


@pytest.fixture(scope="module", params=SUITES)
def clean(request):
    """Give a host that nothing is installed on, and a bundle on it."""
    with host(request.param) as one:
        one.bring(bundle(policy=POLICY.format(more="")))
        one.before = one.listing()
        yield one


@pytest.fixture(scope="module")
def one():
    """Give a host with the bundle in /opt/bundle."""
    with host(SUITE) as there:
        there.bring(bundle(policy=POLICY.format(more="")))
        there.sh("cp -a /opt/bundle /root/bundle && chmod 755 /opt/bundle")
        there.before = there.listing()
        yield there


@pytest.fixture
def bare(one):
    """Give it with nothing installed, whatever the test before did."""
    yield one
    uninstall = f"[ ! -e {LIB}/installed ] || sh {LIB}/install.sh --uninstall; rm -rf /var/lib/ipcops"
    one.sh(f"{uninstall}; rm -rf /opt/bundle; cp -a /root/bundle /opt/bundle")
    assert changes(one.before, one.listing()) == {}


def refused(one: Host, *words: str, status: int = 2) -> str:
    """Return what an installation said that was refused and did nothing."""
    before = one.listing(times=True)
    done = one.install(*words, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout == ""
    assert changes(before, one.listing(times=True)) == {}
    return done.stderr


# ---------------------------------------------------------------- the whole way, on each suite


def test_it_comes_and_goes(clean):
    assert "installed with schedule cron" in clean.install().stdout, "as there is no systemd"
    assert "everything is as it was installed" in clean.installed("--verify").stdout
    assert clean.ipcops("list", "--format", "json").returncode == 0
    clean.job()
    done = clean.box.exec("logrotate", "--force", "--verbose", "/etc/logrotate.d/ipcops")
    assert "error" not in done.stdout + done.stderr
    assert clean.text("/var/log/ipcops/cleanup.log.1"), "the log of the run, rotated"
    clean.job()
    clean.box.exec("logrotate", "--force", "/etc/logrotate.d/ipcops")
    assert set(clean.sh("ls /var/log/ipcops").stdout.split()) == {"cleanup.log", "cleanup.log.1", "cleanup.log.2.gz"}
    modes = clean.sh("stat -c %a /var/log/ipcops/cleanup.log /var/log/ipcops /var/lib/ipcops").stdout.split()
    assert modes == ["600", "700", "700"]
    clean.sh("touch /var/log/ipcops/cleanup.log-20261129")  # as rotated on the RHEL family
    done = clean.installed("--uninstall")
    assert done.stdout == "ipcops: removed; there was no journal and no backup\n"
    left = changes(clean.before, clean.listing())
    left.pop("/var/lib/logrotate/status", None)
    assert left == {}


# ---------------------------------------------------------------- upgrades


def test_an_upgrade_replaces_what_changed_and_keeps_an_edited_policy(bare):
    bare.install("--cron")
    bare.sh(f"echo '# mine' >>{POLICY_FILE}")
    before = bare.listing(times=True)
    bare.bring(bundle("nice=7", policy=POLICY.format(more="# another")))
    done = bare.install()
    new = f"{LIB}/new/ipcops.conf"
    assert f"kept {POLICY_FILE}, which was edited; the new one lies in {LIB}/new" in done.stdout
    wrote = set(re.findall(r"wrote (\S+)", done.stdout))
    scripts = {f"{LIB}/ipc-{job}.sh" for job in ("cleanup", "monitor", "health")}
    assert wrote == {*scripts, new}
    assert bare.text(POLICY_FILE).endswith("# mine\n")
    assert "# another" in bare.text(new)
    changed = changes(before, bare.listing(times=True))
    written = {path for path, (_, after) in changed.items() if after and after.startswith("f")}
    assert written == {*scripts, f"{LIB}/installed", new}
    assert "nice -n 7" in bare.text(f"{LIB}/ipc-cleanup.sh")
    done = bare.installed("--verify")
    assert f"{POLICY_FILE} was edited" in done.stdout
    assert "everything is as it was installed" in done.stdout

    # Whoever takes the new one has nothing lying about any more.
    bare.sh(f"cp {new} {POLICY_FILE}")
    bare.install()
    assert bare.sh(f"ls {LIB}/new 2>&-", check=False).stdout == ""


def test_a_policy_that_was_not_edited_is_replaced(bare):
    bare.install("--cron")
    bare.bring(bundle("nice=7", policy=POLICY.format(more="# another")))
    assert f"wrote {POLICY_FILE}\n" in bare.install().stdout
    assert "# another" in bare.text(POLICY_FILE)


def test_what_a_later_bundle_has_no_more_goes(bare):
    bare.install("--cron")
    bare.sh("cd /opt/bundle && sed -i /slurm-prolog/d MANIFEST SHA256SUMS && rm slurm-prolog.sh && sha256sum MANIFEST")
    bare.sh("cd /opt/bundle && grep -v ' MANIFEST' SHA256SUMS >new; sha256sum MANIFEST >>new; mv new SHA256SUMS")
    done = bare.install()
    assert f"removed {LIB}/slurm-prolog.sh, which is not needed any more" in done.stdout
    assert bare.text(f"{LIB}/slurm-prolog.sh") == ""
    bare.installed("--verify")


def test_units_for_a_systemd_that_does_not_run_yet(bare):
    done = bare.install("--systemd")
    assert "systemd does not run here; enable ipcops-cleanup.timer once it does" in done.stdout
    bare.installed("--verify")


def test_another_policy_that_was_there_before_is_kept(bare):
    bare.sh(f"mkdir -p /etc/ipcops && echo '[scan]' >{POLICY_FILE}")
    done = bare.install("--cron")
    assert f"kept {POLICY_FILE}, which was edited" in done.stdout
    assert bare.text(POLICY_FILE) == "[scan]\n"
    done = bare.installed("--uninstall")
    (kept,) = re.findall(r"was edited; a copy is (\S+)", done.stdout)
    assert bare.text(kept) == "[scan]\n"
    bare.sh("rmdir /etc/ipcops")


def test_an_edited_policy_outlives_uninstalling_as_a_copy(bare):
    bare.install("--cron")
    bare.sh(f"echo '# mine' >>{POLICY_FILE}")
    done = bare.installed("--uninstall")
    (kept,) = re.findall(r"was edited; a copy is (\S+)", done.stdout)
    assert kept.startswith("/var/lib/ipcops/backups/ipcops.conf.")
    assert bare.text(kept).endswith("# mine\n")
    left = set(changes(bare.before, bare.listing()))
    assert left == {"/var/lib/ipcops", "/var/lib/ipcops/backups", kept}


def test_an_installation_that_was_cut_off_is_finished_by_the_next(bare):
    for seconds in ("0.2", "0.4", "0.6", "0.8", "1.2"):
        bare.sh('timeout -s KILL "$1" sh /opt/bundle/install.sh --cron', seconds, check=False)
    bare.install("--cron")
    assert "everything is as it was installed" in bare.installed("--verify").stdout


# In the place of mv(1): takes the whole run away before or after one of the files is put in its place.
CUT = """\
#!/bin/sh
next() {
    left=$(($(cat /run/cut/left) - 1))
    echo "$left" >/run/cut/left
    [ "$left" -gt 0 ] || kill -KILL 0
}
next
/bin/mv "$@" || exit
next
"""


def test_an_installation_that_was_cut_off_can_be_removed(bare):
    bare.sh('mkdir /run/cut && printf %s "$1" >/run/cut/mv && chmod 755 /run/cut/mv', CUT)
    for place in itertools.count(1):
        install = 'echo "$1" >/run/cut/left; PATH=/run/cut:$PATH exec setsid --wait sh /opt/bundle/install.sh --cron'
        done = bare.sh(install, str(place), check=False)
        bare.sh(f"if [ -e {LIB}/installed ]; then sh /opt/bundle/install.sh --uninstall; else rm -rf {LIB}; fi")
        assert changes(bare.before, bare.listing()) == {}, place
        if done.returncode == 0:
            break
        assert done.returncode == 9, "setsid(1) tells the signal"
    assert place > 20, "each file was a place to be cut off at"


# ---------------------------------------------------------------- verifying


DAMAGE = {
    f"echo >>{LIB}/ipc-cleanup.sh": f"{LIB}/ipc-cleanup.sh is not as it was installed",
    "echo >>/usr/local/sbin/ipcops": "/usr/local/sbin/ipcops is not as it was installed",
    f"echo >>{LIB}/ipcops-agent.pyz": f"{LIB}/ipcops-agent.pyz is not as it was installed",
    f"echo >>{LIB}/agent/core/plan.py": f"{LIB}/agent/core/plan.py is not as it was installed",
    f"rm {LIB}/agent/core/apply.py": f"{LIB}/agent/core/apply.py: No such file or directory",
    f"echo >{LIB}/agent/core/os.py": f"{LIB}/agent/core/os.py does not belong there",
    f"rm {LIB}/slurm-epilog.sh": f"{LIB}/slurm-epilog.sh is missing",
    "rm /etc/cron.d/ipcops-cleanup": "/etc/cron.d/ipcops-cleanup is missing",
    "rm -r /var/log/ipcops": "/var/log/ipcops is missing",
}


def test_verifying_names_what_is_not_as_installed(bare):
    bare.install("--cron")
    assert "everything is as it was installed" in bare.installed("--verify").stdout
    bare.sh("; ".join(DAMAGE))
    done = bare.installed("--verify", check=False)
    assert done.returncode == 4
    told = done.stdout.replace("ipcops: ", "").splitlines()
    assert set(DAMAGE.values()) <= set(told)
    assert "not everything is as it was installed; install it again" in done.stderr
    bare.install()
    assert "everything is as it was installed" in bare.installed("--verify").stdout


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        # What Python runs is the compiled file, whatever the source says.
        (f"echo >>$(ls {LIB}/agent/core/__pycache__/plan.*.pyc)", f"{LIB}/agent is not as it was installed"),
        (f"sed -i s/accept/accepts/ {POLICY_FILE}", "unknown key 'accepts'"),
    ],
)
def test_verifying_fails_for_one_thing_alone(bare, damage, told):
    bare.install("--cron")
    bare.sh(damage)
    done = bare.installed("--verify", check=False)
    assert done.returncode == 4
    assert told in done.stdout
    assert bare.sh(f"sed -i s/accepts/accept/ {POLICY_FILE}").returncode == 0
    bare.install()
    bare.installed("--verify")


def test_verifying_where_nothing_is_installed(bare):
    for word in ("--verify", "--uninstall"):
        assert f"nothing is installed in / ({LIB}/installed is missing)" in refused(bare, word, status=4)


# ---------------------------------------------------------------- refusals


def test_a_damaged_bundle_is_refused(bare):
    bare.sh("echo >>/opt/bundle/ipc-cleanup.sh")
    said = refused(bare, "--cron")
    assert "ipc-cleanup.sh: FAILED" in said
    assert "the bundle is damaged; nothing was done" in said


def test_half_a_bundle_is_refused(bare):
    for name in ("systemd/ipcops-cleanup.timer", "ipcops"):
        bare.sh('mv "/opt/bundle/$1" /opt/bundle/aside', name)
        said = refused(bare, "--systemd")
        assert f"{name}: FAILED open or read" in said
        assert "the bundle is damaged; nothing was done" in said
        bare.sh("mv /opt/bundle/SHA256SUMS /opt/bundle/sums")
        assert f"/opt/bundle/{name} is missing; take all of the bundle" in refused(bare, "--systemd")
        bare.sh('mv /opt/bundle/aside "/opt/bundle/$1"; mv /opt/bundle/sums /opt/bundle/SHA256SUMS', name)
    for name in ("ipcops-agent.pyz", "MANIFEST"):
        bare.sh('mv "/opt/bundle/$1" /opt/bundle/aside', name)
        assert f"{name} is missing beside /opt/bundle/install.sh; take all of the bundle" in refused(bare, "--systemd")
        bare.sh('mv /opt/bundle/aside "/opt/bundle/$1"', name)


def test_a_wrong_policy_is_refused(bare):
    bare.sh("sed -i s/accept/accepts/ /opt/bundle/ipcops.conf && rm /opt/bundle/SHA256SUMS")
    said = refused(bare, "--cron")
    assert re.search(r"/opt/bundle/ipcops.conf line \d+: unknown key 'accepts'; did you mean 'accept'", said)
    assert "Nothing was done" in said


def test_a_wrong_policy_that_is_there_is_refused(bare):
    bare.sh(f"mkdir -p /etc/ipcops && echo '[scans]' >{POLICY_FILE}")
    said = refused(bare, "--cron")
    assert f"{POLICY_FILE} line 1: unknown section" in said
    bare.sh("rm -r /etc/ipcops")


def test_a_file_of_somebody_else_is_not_replaced(bare):
    bare.sh("echo mine >/usr/local/sbin/ipcops")
    said = refused(bare, "--cron")
    assert "/usr/local/sbin/ipcops is there and is not ours; move it away" in said
    bare.sh("rm /usr/local/sbin/ipcops")


def test_unknown_arguments_are_refused(bare):
    for words in (["--crontab"], ["install"], ["--verify", "--cron"], ["--uninstall", "--systemd"]):
        said = refused(bare, *words)
        for word in ("--cron", "--systemd", "--no-schedule", "--verify", "--uninstall"):
            assert word in said


def test_an_ordinary_user_is_refused(bare):
    bare.sh("chmod -R a+rX /opt/bundle")
    before = bare.listing(times=True)
    done = bare.sh("sh /opt/bundle/install.sh --cron", check=False, user="1500")
    assert (done.returncode, done.stderr) == (2, "ipcops: only root can install; with DESTDIR anybody can\n")
    assert changes(before, bare.listing(times=True)) == {}
    bare.install("--cron")
    done = bare.sh(f"sh {LIB}/install.sh --uninstall", check=False, user="1500")
    assert (done.returncode, done.stderr) == (2, "ipcops: only root can uninstall\n")
    done = bare.sh(f"sh {LIB}/install.sh --verify", check=False, user="1500")
    assert (done.returncode, done.stderr) == (2, "ipcops: only root can see all that is installed\n")


def test_a_host_without_python_is_told_what_to_install(bare):
    bare.sh("mv /usr/bin/python3.11 /opt/python3")
    try:
        said = refused(bare, "--cron", status=3)
    finally:
        bare.sh("mv /opt/python3 /usr/bin/python3.11")
    assert "no Python 3.9 or newer is installed here" in said
    assert "zypper install python311" in said


def test_a_disk_that_is_full_is_told(bare):
    bare.sh(f"mkdir -p {LIB} && mount -t tmpfs -o size=64k none {LIB}")
    try:
        done = bare.install("--cron", check=False)
        assert done.returncode == 4
        assert re.search("cannot (write|unpack)", done.stderr), done.stderr
        bare.sh(f"mount -o remount,size=8m {LIB}")
        bare.install("--cron")
        bare.installed("--verify")
        bare.installed("--uninstall")
    finally:
        bare.sh(f"umount {LIB}; rmdir {LIB}")


# ---------------------------------------------------------------- below another root


def test_destdir_works_for_an_ordinary_user(bare):
    bare.sh("chmod -R a+rX /opt/bundle")
    install = 'DESTDIR=$1 sh "$2" "$3"'
    there = "/tmp/root of mine"

    def run(script: str, word: str):
        return bare.sh(install, there, script, word, user="1500")

    done = bare.sh('DESTDIR=$1 sh "$2"', there, "/opt/bundle/install.sh", user="1500", check=False)
    assert (done.returncode, "with DESTDIR say --cron" in done.stderr) == (2, True)
    run("/opt/bundle/install.sh", "--systemd")
    listed = bare.sh('cd "$1" && find . -type f -not -path "*/agent/*"', there).stdout.split()
    assert {"./etc/systemd/system/ipcops-cleanup.timer", "./usr/local/sbin/ipcops", f".{LIB}/install.sh"} <= set(listed)
    assert "./etc/cron.d/ipcops-cleanup" not in listed
    assert "everything is as it was installed" in run(f"{there}{LIB}/install.sh", "--verify").stdout
    assert run("/opt/bundle/install.sh", "--systemd").stdout == "ipcops: everything was there already\n"
    assert "/tmp/root of mine" not in bare.text(f"{there}{LIB}/installed")
    packed = bare.sh('grep -rl "root of mine" "$1"', there, check=False).stdout
    assert packed == "", "what is packed there knows only its final place"
    run(f"{there}{LIB}/install.sh", "--uninstall")
    assert bare.sh('find "$1" -mindepth 1', there).stdout == ""


def test_a_checkout_installs_with_every_default(bare, tmp_path):
    for name in ("scripts", "ipcops", "templates"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / name, tmp_path / "src" / name, ignore=ignored, symlinks=True)
    bare.box.copy_in(tmp_path / "src", "/opt/bundle/src")
    bare.box.exec("sh", "/opt/bundle/src/scripts/install.sh", "--cron", timeout=120)
    assert "everything is as it was installed" in bare.installed("--verify").stdout
    bare.ipcops("audit", "--fail-on", "none")
