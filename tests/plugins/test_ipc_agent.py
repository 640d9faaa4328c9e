"""ipc_agent on hosts reached by ssh: it comes, repairs, refuses, puts back, goes, and agrees with install.sh."""

from __future__ import annotations

import shutil

import pytest

from tests.jobs.hosts import SUITES, bundle, changes
from tests.plugins.reached import agent, job, reached
from tests.plugins.test_ipc_limits import pythons

LIB = "/usr/local/lib/ipcops"
POLICY = "/etc/ipcops/ipcops.conf"
MINE = "[clean]\nmax_removals = 7\n"


@pytest.fixture(scope="module", params=SUITES)
def clean(request):
    """Give a host that nothing is installed on."""
    with reached(request.param) as one:
        yield one


@pytest.fixture(scope="module")
def one():
    with reached("bookworm") as there:
        there.before = there.listing()
        yield there


@pytest.fixture
def bare(one):
    """Give it with nothing installed, whatever the test before did."""
    yield one
    one.sh(f"[ ! -e {LIB}/installed ] || sh {LIB}/install.sh --uninstall; rm -rf /var/lib/ipcops /opt/bundle")
    assert changes(one.before, one.listing()) == {}


def unchanged(one, *tasks) -> list[dict]:
    """Return the results of tasks that change nothing on the host, whatever they say."""
    before = one.listing(times=True)
    results = one.play(*tasks).results
    assert changes(before, one.listing(times=True)) == {}
    return results


def refused(one, **options) -> str:
    """Return why a task was refused that changed nothing."""
    (result,) = unchanged(one, agent(**options))
    assert result["failed"]
    return result["msg"]


def put_back(one, **options) -> str:
    """Return why a task failed, after which everything is as it was."""
    before = one.listing()
    result = one.play(agent(**options)).result
    assert result["failed"]
    assert changes(before, one.listing()) == {}
    return result["msg"]


def verified(one) -> None:
    assert "everything is as it was installed" in one.installed("--verify").stdout


# ---------------------------------------------------------------- the whole way, on each suite


def test_it_comes_and_goes(clean):
    (planned, gone) = unchanged(clean, agent(check=True, diff=True), agent(state="absent"))
    assert (planned["changed"], gone["changed"]) == (True, False)
    shown = {one.get("after_header"): one["after"] for one in planned["diff"] if "after" in one}
    assert "weekly" in shown["/etc/logrotate.d/ipcops (after)"]
    assert [one["prepared"] for one in planned["diff"] if "prepared" in one] == [
        f"{LIB}/ipcops-agent.pyz: another one, which is no text\n"
    ]

    came = clean.play(agent()).result
    assert came["changed"]
    assert came["installed"] == planned["installed"]
    assert set(planned["directories"]) <= set(came["directories"])
    assert not came["policy"]["managed"]
    verified(clean)
    assert clean.ipcops("list", "--format", "json").returncode == 0
    stat = "stat -c '%a %U:%G' /usr/local/sbin/ipcops /var/lib/ipcops /var/log/ipcops /etc/ipcops/ipcops.conf"
    assert clean.sh(stat).stdout.splitlines() == ["755 root:root", "700 root:root", "700 root:root", "644 root:root"]
    compiled = clean.sh(f"find {LIB}/agent -name '*.pyc' | wc -l").stdout
    assert int(compiled) > 50, "a start compiles nothing"

    again, checked = unchanged(clean, agent(), agent(check=True))
    assert (again["changed"], checked["changed"], again["installed"]) == (False, False, [])
    (planned,) = unchanged(clean, agent(state="absent", purge=True, check=True))
    gone, again = clean.play(agent(state="absent", purge=True), agent(state="absent", purge=True)).results
    assert (planned["changed"], gone["changed"], again["changed"]) == (True, True, False)
    assert planned["removed"] == gone["removed"]
    assert changes(clean.before, clean.listing()) == {}


# ---------------------------------------------------------------- the policy


def test_a_given_policy_is_enforced_and_what_was_edited_is_kept_as_a_copy(bare):
    given, again = bare.play(agent(policy=MINE), agent(policy=MINE)).results
    assert (given["policy"], again["changed"]) == ({"path": POLICY, "managed": True}, False)
    assert bare.text(POLICY) == MINE
    bare.sh(f"echo '# by hand' >>{POLICY}")
    back = bare.play(agent(policy=MINE, diff=True)).result
    (kept,) = back["backups"]
    assert kept.startswith("/var/lib/ipcops/backups/ipcops.conf.")
    assert bare.text(kept) == MINE + "# by hand\n"
    assert back["installed"] == [POLICY]
    (shown,) = back["diff"]
    assert (shown["before"], shown["after"]) == (MINE + "# by hand\n", MINE)
    assert bare.text(POLICY) == MINE
    other = bare.play(agent(policy=MINE + "# another\n")).result
    assert (other["installed"], other["backups"]) == ([POLICY], []), "nobody had edited it"
    verified(bare)


def test_without_a_policy_the_one_there_stays(bare):
    bare.sh(f"mkdir -p /etc/ipcops && echo '# mine' >{POLICY}")
    came, again = bare.play(agent(), agent()).results
    assert (POLICY in came["installed"], again["changed"]) == (False, False)
    assert bare.text(POLICY) == "# mine\n"
    bare.sh(f"echo '[clean]' >>{POLICY}")
    (result,) = unchanged(bare, agent())
    assert not result["changed"]
    said = bare.play(agent(state="absent")).result["said"]
    assert any("was edited; a copy is /var/lib/ipcops/backups/ipcops.conf" in line for line in said)
    bare.sh("rmdir /etc/ipcops")


def test_a_policy_that_comes_along(bare):
    result = bare.play(agent(policy_example="web-server")).result
    assert result["policy"]["managed"]
    assert "[remove" in bare.text(POLICY)
    verified(bare)


@pytest.mark.parametrize("there", [False, True])
def test_a_wrong_policy_is_refused_before_anything_is_done(bare, there):
    wrong = "[remove web]\nkind = sem\nowner = www-data\naccepts = strong\n"
    if there:
        bare.sh(f"mkdir -p /etc/ipcops && printf %s '{wrong}' >{POLICY}")
    said = refused(bare, **({} if there else {"policy": wrong}))
    assert f"policy {POLICY} line 4: unknown key 'accepts'; did you mean 'accept'" in said
    bare.sh("rm -rf /etc/ipcops")


def test_the_policy_says_where_the_state_is(bare):
    policy = "[clean]\nstate = /srv/ipc\n"
    assert "leave out state_dir" in refused(bare, policy=policy, state_dir="/var/lib/ipcops")
    told = refused(bare, policy="[clean]\nmax_removals = 7\n", state_dir="/srv/ipc")
    assert "by policy /etc/ipcops/ipcops.conf the state directory is '/var/lib/ipcops'; leave out state_dir" in told
    assert "write state = /srv/ipc into the section [clean]" in told
    result = bare.play(agent(policy=policy)).result
    assert "/srv/ipc/jobs" in result["directories"]
    again, kept, scheduled = bare.play(agent(policy=policy), agent(), job("cleanup", schedule="cron")).results
    assert (again["changed"], kept["changed"]) == (False, False)
    assert scheduled["changed"]
    assert "/srv/ipc/jobs" in bare.text(f"{LIB}/ipc-cleanup.sh")
    bare.job()
    assert bare.text("/srv/ipc/jobs/cleanup.json")
    bare.play(agent(state="absent", state_dir="/srv/ipc", purge=True))
    assert changes(bare.before, bare.listing()) == {}


@pytest.mark.parametrize("example", ["web-server", "database-host"])
def test_an_example_is_told_where_the_state_is(bare, example):
    bare.play(agent(policy_example=example, state_dir="/srv/ipc"), job("cleanup", schedule="cron"))
    assert "\n[clean]\nstate = /srv/ipc\n" in bare.text(POLICY)
    bare.job()
    assert bare.text("/srv/ipc/jobs/cleanup.json")
    wrong = bare.play(job("cleanup", state_dir="/srv/other")).result
    assert (wrong["failed"], wrong["changed"]) == (True, False)
    assert "the state directory is '/srv/ipc'; leave out state_dir" in wrong["msg"]
    bare.play(agent(state="absent", state_dir="/srv/ipc", purge=True))
    assert changes(bare.before, bare.listing()) == {}


def test_what_others_have_where_the_state_lies_is_not_purged(bare):
    bare.sh("mkdir -p /srv/backups && echo theirs >/srv/backups/db.dump && echo theirs >/srv/site.conf")
    try:
        policy = "[clean]\nstate = /srv\n"
        bare.play(agent(policy=policy), job("cleanup", schedule="cron"))
        bare.sh("touch /srv/backups/20260101T000000Z-1a2b3c4d-1.pack /srv/backups/ipcops.conf.20260101T000000")
        result = bare.play(agent(state="absent", state_dir="/srv", purge=True)).result
        assert {"/srv/backups/20260101T000000Z-1a2b3c4d-1.pack"} <= set(result["removed"])
        assert bare.sh("find /srv -type f | sort").stdout.split() == ["/srv/backups/db.dump", "/srv/site.conf"]
        nothing = bare.play(agent(state="absent", state_dir="/srv", purge=True)).result
        assert (nothing["changed"], nothing["removed"]) == (False, [])
    finally:
        bare.sh("rm -rf /srv/backups /srv/site.conf; chmod 755 /srv")


# ---------------------------------------------------------------- upgrades and repairs


def test_what_install_sh_installed_is_taken_over(bare):
    bare.bring(bundle(whole_machine=False))
    bare.install("--cron", "--monitor")
    record = bare.text(f"{LIB}/installed")
    before = bare.listing(times=True)
    result = bare.play(agent()).result
    assert not result["changed"], result
    assert changes(before, bare.listing(times=True)) == {}
    verified(bare)
    assert record == bare.text(f"{LIB}/installed")
    assert bare.text("/etc/cron.d/ipcops-monitor"), "the jobs are not its own"


def test_an_older_version_is_upgraded(bare):
    bare.bring(bundle(whole_machine=False))
    bare.install("--cron")
    bare.sh(f"echo '# mine' >>{POLICY}")
    bare.bring(bundle(policy=MINE, whole_machine=False))
    bare.install()
    new = f"{LIB}/new/ipcops.conf"
    assert bare.text(new) == MINE
    tab = "\t"
    older = f"echo '# of old' >>{LIB}/install.sh; echo old >{LIB}/ipc-old.sh; rm -rf {LIB}/agent/core/rules"
    bare.sh(
        f"{older}; cd {LIB} && for path in install.sh ipc-old.sh; do "
        f'sed -i "\\|{tab}{LIB}/$path$|d" installed; '
        f"printf '%s\\t%s\\n' \"$(sha256sum <$path | cut -d ' ' -f 1)\" {LIB}/$path >>installed; done"
    )
    result = bare.play(agent()).result
    assert set(result["installed"]) == {f"{LIB}/install.sh", f"{LIB}/agent"}
    assert (result["removed"], result["backups"]) == ([f"{LIB}/ipc-old.sh"], [])
    verified(bare)
    assert bare.text(new) == MINE, "the policy is not ours to decide"
    assert not bare.play(agent()).result["changed"]
    result = bare.play(agent(policy=MINE)).result
    assert result["removed"] == [new]
    assert bare.sh(f"ls -d {LIB}/new", check=False).stdout == ""


DAMAGE = (
    f"echo >>{LIB}/ipcops-agent.pyz",
    f"echo >>$(ls {LIB}/agent/core/__pycache__/plan.*.pyc)",
    f"echo >{LIB}/agent/core/os.py",
    f"rm -r {LIB}/agent",
    f"chmod 700 {LIB}/install.sh",
    "chown 1500 /usr/local/sbin/ipcops",
    "chmod 755 /var/lib/ipcops",
    "rm -r /var/log/ipcops",
    f"sed -i '\\|unpacked.sha256|d' {LIB}/installed",
)


def test_what_was_damaged_is_repaired(bare):
    bare.play(agent())
    before = bare.listing()
    verify = {"ansible.builtin.raw": f"sh {LIB}/install.sh --verify"}
    tasks = [one for damage in DAMAGE for one in ({"ansible.builtin.raw": damage}, agent(), agent(), verify)]
    results = bare.play(*tasks).results
    for number, damage in enumerate(DAMAGE):
        done, repaired, again, told = results[4 * number : 4 * number + 4]
        assert done["rc"] == 0, damage
        assert (repaired["changed"], again["changed"]) == (True, False), damage
        assert "everything is as it was installed" in told["stdout"], damage
    assert set(changes(before, bare.listing())) <= {f"{LIB}/installed"}


def test_an_edited_file_of_the_system_is_replaced_and_a_copy_kept(bare):
    bare.play(agent())
    bare.sh("echo '# edited' >>/etc/logrotate.d/ipcops")
    result = bare.play(agent(keep=3)).result
    (kept,) = result["backups"]
    assert bare.text(kept).endswith("# edited\n")
    assert "rotate 3\n" in bare.text("/etc/logrotate.d/ipcops")


def test_a_run_that_was_killed_is_finished_by_the_next(bare):
    bare.play(agent())
    # Called when all is in its place and the record not yet written.
    bare.sh("printf '#!/bin/sh\\nkill -KILL $PPID\\n' >/usr/sbin/restorecon; chmod 755 /usr/sbin/restorecon")
    assert bare.play(agent(policy=MINE, keep=5)).result["failed"]
    bare.sh("rm /usr/sbin/restorecon")
    assert bare.sh("ls -A /etc/ipcops").stdout != "ipcops.conf\n", "what it was at lies there"
    result = bare.play(agent(policy=MINE, keep=5)).result
    assert not result["failed"], result["msg"]
    verified(bare)
    assert bare.sh("ls -A /etc/ipcops").stdout == "ipcops.conf\n"
    assert bare.sh(f"ls -A {LIB}").stdout.split() == [
        "agent",
        "install.sh",
        "installed",
        "ipcops-agent.pyz",
        "unpacked.sha256",
    ]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (f"mkdir -p {LIB} && echo mine >{LIB}/notes", f"{LIB}/notes is there and is not ours; move it away"),
        ("echo mine >/usr/local/sbin/ipcops", "/usr/local/sbin/ipcops is there and is not ours; move it away"),
        ("mkdir /etc/logrotate.d/ipcops", "/etc/logrotate.d/ipcops is there and is no file; move it away"),
    ],
)
def test_what_is_not_ours_is_not_replaced(bare, there, told):
    bare.sh(there)
    said = refused(bare)
    assert told in said
    assert "Nothing was done" in said
    bare.sh(f"rm -rf {LIB} /usr/local/sbin/ipcops /etc/logrotate.d/ipcops")


WRONG = (
    ({"lib": "usr/lib"}, "lib: 'usr/lib' is no absolute path"),
    ({"log": '/var/log/a"b'}, "which cannot stand in a path for logrotate"),
    ({"keep": 0}, "keep: 0 is out of bounds; from 1 to 1000"),
    ({"state": "absent", "keep": 3}, "leave out keep"),
    ({"purge": True}, "purge goes with state: absent alone"),
    ({"policy": MINE, "policy_example": "web-server"}, "leave out one of them"),
    ({"police": MINE}, "police"),
)


def test_wrong_options_are_refused(bare):
    results = unchanged(bare, *(agent(**options) for options, _ in WRONG))
    for (_, told), result in zip(WRONG, results, strict=True):
        assert result["failed"]
        assert told in result["msg"]


def test_who_is_not_root_is_told_to_become(bare):
    ordinary = '#!/bin/sh\nexec setpriv --reuid 1500 --regid 1500 --clear-groups /usr/bin/python3 "$@"\n'
    bare.sh('printf %s "$1" >/opt/python3; chmod 755 /opt/python3', ordinary)
    (result,) = unchanged(bare, {**agent(), "vars": {"ansible_python_interpreter": "/opt/python3"}})
    bare.sh("rm /opt/python3")
    assert result["msg"] == "only root can install; say become: true. Nothing was done"


def test_a_host_without_a_python_for_the_jobs(bare):
    bare.sh("mv /usr/bin/python3.11 /opt/python3")
    try:
        (result,) = unchanged(bare, {**agent(), "vars": {"ansible_python_interpreter": "/opt/python3"}})
    finally:
        bare.sh("mv /opt/python3 /usr/bin/python3.11")
    assert "no Python 3.9 or newer is installed here" in result["msg"]
    assert "Nothing was done" in result["msg"]


def test_a_python_that_is_too_old(bare):
    old = pythons("2.7", "3.6", "3.7", "3.8")
    if not old:
        pytest.skip("no Python older than 3.9 at hand")
    here = [{"ansible_connection": "local", "ansible_python_interpreter": one} for one in old]
    for result in bare.play(*({**agent(), "vars": one} for one in here)).results:
        assert result["failed"]
        assert "ipcops needs Python 3.9 or newer on the host, and /" in result["msg"]


# ---------------------------------------------------------------- all or nothing


def test_a_full_disk_leaves_everything_as_it_was(bare):
    bare.sh(f"mkdir -p {LIB} && mount -t tmpfs -o size=64k none {LIB}")
    try:
        said = put_back(bare)
        assert "No space left on device; everything is as it was" in said
        bare.sh(f"mount -o remount,size=8m {LIB}")
        assert not bare.play(agent()).result["failed"]
        before = bare.listing()
        bare.sh(f"mount -o remount,size=$(($(du -sk {LIB} | cut -f 1) + 40))k {LIB}")
        bare.sh(f"echo >>{LIB}/agent/core/plan.py")
        assert "everything is as it was" in put_back(bare, policy=MINE)
        assert bare.ipcops("rules").returncode == 0
        bare.sh(f"mount -o remount,size=8m {LIB}")
        assert not bare.play(agent()).result["failed"]
        assert set(changes(before, bare.listing())) <= {f"{LIB}/installed"}
        verified(bare)
        bare.installed("--uninstall")
    finally:
        bare.sh(f"umount {LIB}; rmdir {LIB}")


def test_a_directory_that_cannot_be_written(bare):
    bare.sh("mount --bind /etc/logrotate.d /etc/logrotate.d && mount -o remount,bind,ro /etc/logrotate.d")
    try:
        assert "Read-only file system; everything is as it was" in put_back(bare)
    finally:
        bare.sh("umount /etc/logrotate.d")


def test_what_fails_when_half_is_done_is_put_back(bare):
    bare.play(agent(policy=MINE))
    bare.sh(f"echo >>{LIB}/install.sh; chmod 600 {POLICY}; rm -r {LIB}/agent/core/rules; echo x >/opt/mounted")
    bare.sh("mount --bind /opt/mounted /etc/logrotate.d/ipcops")  # can be read, and not be replaced
    try:
        said = put_back(bare, policy="# another\n")
        assert "everything is as it was" in said
        assert "/etc/logrotate.d/" in said
    finally:
        bare.sh("umount /etc/logrotate.d/ipcops; rm /opt/mounted")
    assert bare.play(agent(policy="# another\n")).result["changed"]
    verified(bare)


@pytest.mark.parametrize(
    ("lock", "what"), [("/var/lib/ipcops/jobs/cleanup.lock", "a job"), ("/usr/local/lib", "another installation")]
)
def test_who_is_at_work_is_waited_for(bare, lock, what):
    bare.play(agent(), job("cleanup", schedule="cron"))
    bare.sh("touch /var/lib/ipcops/jobs/cleanup.lock")
    bare.sh("nohup flock \"$1\" sh -c 'echo $$ >/run/held; exec sleep 60' >/dev/null 2>&1 &", lock)
    bare.wait(lambda: bare.text("/run/held"), "the lock", 10)
    try:
        (result,) = unchanged(bare, agent(policy=MINE, wait=1))
        assert f"{what} has been running for 1 s ({lock}); try again later" in result["msg"]
    finally:
        bare.sh("kill $(cat /run/held); rm /run/held")
    assert bare.play(agent(policy=MINE)).result["changed"]


# ---------------------------------------------------------------- the controller


def test_the_agent_is_built_once(bare):
    bare.play(agent())
    kept = sorted((bare.place / "ipcops").glob("*-agent-*"))
    assert kept
    before = [(path, path.stat().st_mtime_ns) for path in kept]
    bare.play(agent(state="absent"), agent())
    assert [(path, path.stat().st_mtime_ns) for path in sorted((bare.place / "ipcops").glob("*-agent-*"))] == before


def test_a_cache_that_others_could_write_to_is_not_used(bare):
    place = bare.place / "ipcops"
    bare.play(agent(check=True))
    for path in place.glob("*-agent-*"):
        path.write_bytes(b"evil")
    place.chmod(0o777)
    try:
        assert not bare.play(agent()).result["failed"]
        verified(bare)
    finally:
        shutil.rmtree(place)
