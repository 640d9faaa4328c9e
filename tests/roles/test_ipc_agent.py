"""The role ipc_agent as a user runs it."""

from __future__ import annotations

import pytest

from tests.jobs.hosts import changes
from tests.plugins.reached import reached
from tests.roles.installs import asked_for, example, leaves_nothing, playbook, recap, refused, role, run

POLICY = "/etc/ipcops/ipcops.conf"


@pytest.fixture(scope="module")
def one():
    with reached("bookworm") as there:
        yield there


def test_the_example_runs_and_leaves_nothing_when_it_goes(one):
    plays = example("ipc_agent")
    planned = run(one, plays, "--check", "--diff")
    assert recap(planned)["changed"] == 1
    assert "+[remove left-by-jobs]" in planned.said
    assert changes(one.before, one.listing()) == {}
    assert recap(run(one, plays))["changed"] == 1
    assert "[remove left-by-jobs]" in one.text(POLICY)
    assert "rotate 4\n" in one.text("/etc/logrotate.d/ipcops")
    assert one.ipcops("rules", "--policy", POLICY).returncode == 0
    before = one.listing(times=True)
    assert recap(run(one, plays))["changed"] == 0
    assert recap(run(one, plays, "--check"))["changed"] == 0
    assert changes(before, one.listing(times=True)) == {}
    (gone,) = [found for found in asked_for("ipc_agent") if found.get("ipc_agent_state") == "absent"]
    leaves_nothing(one, playbook(one, "agent", **gone))
    assert recap(playbook(one, "agent", **gone))["changed"] == 0


def test_the_role_tells_its_result_and_has_tags(one):
    told = {"ansible.builtin.debug": {"msg": "told {{ ipc_agent_result.installed | length }} files"}, "tags": "always"}
    plays = role("ipc_agent", ipc_agent_policy_example="web-server")
    plays[0]["post_tasks"] = [told]
    assert "told 6 files" in run(one, plays, "--tags", "ipc_agent_install").said
    assert "[remove" in one.text(POLICY)
    assert recap(run(one, role("ipc_agent"), "--skip-tags", "ipc_agent_install"))["changed"] == 0
    leaves_nothing(one, playbook(one, "agent", ipc_agent_state="absent", ipc_agent_purge=True))


def test_other_paths(one):
    paths = {
        "ipc_agent_lib": "/opt/ipcops/lib",
        "ipc_agent_bin": "/opt/ipcops/bin",
        "ipc_agent_state_dir": "/srv/ipcops",
        "ipc_agent_log": "/srv/ipcops-log",
        "ipc_agent_policy_path": "/opt/ipcops/own.conf",
    }
    playbook(one, "cleanup", **paths, ipc_cleanup_schedule="cron")
    playbook(one, "monitor", **paths, ipc_monitor_schedule="cron")
    assert recap(playbook(one, "cleanup", **paths))["changed"] == 0
    one.box.exec("/opt/ipcops/lib/ipc-cleanup.sh")
    assert one.text("/srv/ipcops-log/cleanup.log")
    assert "everything is as it was installed" in one.box.exec("sh", "/opt/ipcops/lib/install.sh", "--verify").stdout
    assert one.sh("ls -d /usr/local/lib/ipcops /var/lib/ipcops /etc/ipcops", check=False).stdout == ""
    leaves_nothing(one, playbook(one, "agent", **paths, ipc_agent_state="absent", ipc_agent_purge=True))


def test_what_is_wrong_is_refused_with_what_to_write_instead(one):
    refused(
        one,
        "\"{{ lookup('ansible.builtin.file', 'web.conf') }}\"".replace('"', ""),
        "ipc_agent",
        ipc_agent_policy="/srv/web.conf",
    )
    both = {"ipc_agent_policy": "[clean]\n", "ipc_agent_policy_example": "web-server"}
    refused(one, "leave one of them empty", "ipc_agent", **both)
    refused(one, "write ipc_agent_state: absent beside it", "ipc_agent", ipc_agent_purge=True)
    refused(
        one, "value of ipc_agent_state must be one of: present, absent, got: gone", "ipc_agent", ipc_agent_state="gone"
    )
    wrong = "[remove web]\nkind = sem\naccepts = strong\n"
    refused(
        one,
        f"policy {POLICY} line 3: unknown key 'accepts'; did you mean 'accept'",
        "ipc_agent",
        ipc_agent_policy=wrong,
    )
