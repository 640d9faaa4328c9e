"""The bundle under a real cron: every host of this file waits for the same minute.

Most have no system log, which is how it is in a container; the job must be as loud without one.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from ipcops.core.collect.host import INITIAL_PID_NAMESPACE
from tests import world

from .hosts import AWKWARD, KINDS, POLICY, SUITES, Host, bundle, changes, cron, host, mail, taken, together

MINUTE = 90  # seconds within which cron has started every job, on a machine that is busy

SETTINGS = ("schedule=* * * * *", "spread=0", "settle=3")


class Stories:
    """What happens on each host before the minute, and what ends the wait."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.given = bundle(*SETTINGS, policy=POLICY.format(more=""))

    def start(self, suite: str, **more: str) -> Host:
        one = self.stack.enter_context(host(suite, **more))
        one.before = one.listing()
        return one

    def plain(self, suite: str) -> Host:
        one = self.start(suite)
        one.bring(self.given)
        one.plant()
        one.install("--cron")
        return one

    def whole_machine(self) -> Host:
        """Install the bundle as it is shipped, where the container's processes are the machine's."""
        if world.namespace("pid") != INITIAL_PID_NAMESPACE:
            pytest.skip("this machine is itself in a PID namespace, and cannot see who holds what outside")
        one = self.start("bookworm", pid="host")
        one.bring(bundle(*SETTINGS, policy=POLICY.format(more=""), whole_machine=False))
        one.plant()
        one.install("--cron")
        return one

    def awkward(self) -> Host:
        """Paths with all that may stand in them."""
        places = {"command": f"{AWKWARD['bin']}/ipcops", **{name: AWKWARD[name] for name in ("lib", "state", "log")}}
        one = self.start("bullseye", **places)
        settings = [f"{name}={value}" for name, value in AWKWARD.items() if name != "state"]
        one.bring(bundle(*SETTINGS, *settings, policy=POLICY.format(more=f"state = {AWKWARD['state']}")))
        one.plant()
        one.install("--cron")
        return one

    def platform_python(self) -> Host:
        """Do as the RHEL family does: there is no python3 but the system's own, and sh is bash."""
        one = self.start("trixie")
        one.sh("ln -sf bash /bin/sh && mkdir -p /usr/libexec")
        one.sh("mv /usr/bin/python3.13 /usr/libexec/platform-python && rm /usr/bin/python3")
        one.before = one.listing()
        one.bring(self.given)
        one.plant(python="/usr/libexec/platform-python")
        one.install("--cron")
        return one

    def old_python(self) -> Host:
        """After the installation, the only python3 is one that says it is 3.6."""
        one = self.plain("bookworm")
        stub = '#!/bin/sh\ncase $* in *version_info*) exit 1 ;; esac\nexec /opt/python3 "$@"\n'
        one.sh('mv /usr/bin/python3.11 /opt/python3 && rm /usr/bin/python3 && printf %s "$1" >/usr/bin/python3', stub)
        one.sh("chmod 755 /usr/bin/python3")
        return one

    def wrong_policy(self) -> Host:
        one = self.plain("bookworm")
        one.sh("sed -i s/^accept/accepts/ /etc/ipcops/ipcops.conf")
        return one


FAILING = ("old_python", "wrong_policy")


@pytest.fixture(scope="module")
def minute():
    """Give every host, after cron has started the job on it."""
    with ExitStack() as stack:
        stories = Stories(stack)
        works = {suite: lambda suite=suite: stories.plain(suite) for suite in SUITES}
        works |= {
            name: getattr(stories, name)
            for name in ("whole_machine", "awkward", "platform_python", "old_python", "wrong_policy")
        }
        hosts = together(works)
        up = {name: one for name, one in hosts.items() if isinstance(one, Host)}
        together({name: lambda one=one: cron(one) for name, one in up.items()})
        for name, one in up.items():
            if name in FAILING:
                one.wait(lambda one=one: mail(one), "cron's mail", MINUTE)
            else:
                one.wait(lambda one=one: one.result() and not one.there(one.planted["gone"]), "cron's run", MINUTE)
        yield hosts


@pytest.fixture(params=[*SUITES, "whole_machine", "awkward", "platform_python"])
def fired(request, minute):
    """Give each host where the job went well."""
    return taken(minute[request.param])


def test_cron_fires_and_what_was_left_is_gone(fired):
    assert fired.there(fired.planted["gone"]) == set()
    assert fired.there(fired.planted["held"]) == set(KINDS), "of the same owner, but held by somebody"
    assert fired.result()["status"] == 0
    assert "removed 6 objects" in fired.text(f"{fired.log}/cleanup.log")
    assert mail(fired) == ""


def test_it_is_in_the_journal_and_comes_back(fired):
    policy = () if fired.lib == "/usr/local/lib/ipcops" else ("--policy", AWKWARD["policy"])
    entries = json.loads(fired.ipcops("journal", "--format", "json", *policy).stdout)["entries"]
    removed = {one["kind"]: one for one in entries if one["event"] == "removed"}
    assert set(removed) == set(KINDS)
    assert {one["owner"]["uid"] for one in entries} == {world.GONE}
    words = ("restore", removed["shm"]["restore"], f"shm:{fired.planted['gone']['shm']}", "--format", "json")
    (back,) = json.loads(fired.ipcops(*words, *policy).stdout)["restored"]
    assert fired.there({"shm": back["id"]}) == {"shm"}


def test_with_a_wrong_policy_cron_mails_and_nothing_goes(minute):
    one = taken(minute["wrong_policy"])
    said = mail(one)
    assert "ipc-cleanup on " in said
    assert "failed with status 2" in said
    assert "line 9: unknown key 'accepts'; did you mean 'accept'" in said
    assert "To: root" in said
    assert one.result()["status"] == 2
    assert one.there(one.planted["gone"]) == set(KINDS)


def test_with_too_old_a_python_cron_mails_what_to_install(minute):
    one = taken(minute["old_python"])
    said = mail(one)
    assert "ipc-cleanup: no Python 3.9 or newer is installed here" in said
    assert "dnf install python3.11" in said
    assert one.result()["status"] == 3
    assert one.there(one.planted["gone"]) == set(KINDS)
    done = one.ipcops("audit", check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("ipcops: no Python 3.9 or newer is installed here (RHEL 8: dnf install python3.11;")
    done = one.install("--cron", check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "dnf install python3.11" in done.stderr


def test_all_is_well_and_a_second_install_changes_nothing(fired):
    before = fired.listing(times=True)
    assert "everything is as it was installed" in fired.installed("--verify").stdout
    assert fired.install().stdout == "ipcops: everything was there already\n", "the schedule is remembered"
    left = changes(before, fired.listing(times=True))
    assert [path for path in left if not path.startswith((fired.state, fired.log, "/opt/mail"))] == []


def test_uninstalling_leaves_the_journal_and_the_backups(fired):
    done = fired.installed("--uninstall")
    assert done.stdout.endswith(f"the journal and the backups stay in {fired.state}\n")
    left = changes(fired.before, fired.listing())
    packs = {path for path in left if path.startswith(f"{fired.state}/backups/") and path.endswith(".pack")}
    mine = {"/usr/sbin/sendmail", "/opt/bundle", "/opt/mail", "/opt/leaks.py", "/var/spool/cron"}
    assert packs
    assert set(left) - packs - mine == {fired.state, f"{fired.state}/backups", f"{fired.state}/journal.jsonl"}
