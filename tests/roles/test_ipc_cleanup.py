"""The role ipc_cleanup as a user runs it; what it then removes is proven in tests/jobs and by Molecule."""

from __future__ import annotations

import pytest

from ipcops.render.jobs import JOBS
from tests.jobs.hosts import changes
from tests.plugins.reached import reached
from tests.roles.installs import asked_for, example, leaves_nothing, playbook, recap, refused, role, run
from tests.roles.test_specs import options
from tests.world import REPO

LIB = "/usr/local/lib/ipcops"


@pytest.fixture(scope="module")
def one():
    with reached("bookworm") as there:
        yield there


@pytest.mark.parametrize("job", ["cleanup", "monitor"])
def test_its_defaults_are_those_of_the_job(job):
    told = options(REPO / "roles" / f"ipc_{job}")
    defaults = [told[f"ipc_{job}_{name}"]["default"] for name in ("cron", "calendar", "spread")]
    assert defaults == [JOBS[job].cron, JOBS[job].calendar, JOBS[job].spread]


def test_the_example_runs_and_leaves_nothing_when_it_goes(one):
    plays = example("ipc_cleanup")
    planned = run(one, plays, "--check", "--diff")
    assert recap(planned)["changed"] == 2
    assert "the agent is not installed" in planned.said
    assert changes(one.before, one.listing()) == {}
    assert recap(run(one, plays))["changed"] == 2
    script = one.text(f"{LIB}/ipc-cleanup.sh")
    assert "--apply --yes" in script
    assert "spread 3600" in script
    assert one.text(f"{LIB}/slurm-epilog.sh")
    assert not one.text(f"{LIB}/slurm-prolog.sh")
    one.job()
    assert one.result()["status"] == 0
    before = one.listing(times=True)
    assert recap(run(one, plays))["changed"] == 0
    assert changes(before, one.listing(times=True)) == {}

    (gone,) = [found for found in asked_for("ipc_cleanup") if "ipc_cleanup_state" in found]
    assert (
        recap(playbook(one, "cleanup", **gone, ipc_agent_policy_example="batch-node", ipc_agent_keep=12))["changed"]
        == 1
    )
    found = one.sh(f"ls {LIB} /etc/cron.d /var/log/ipcops /var/lib/ipcops/jobs").stdout
    assert "cleanup" not in found
    assert "slurm" not in found
    leaves_nothing(one, playbook(one, "agent", ipc_agent_state="absent", ipc_agent_purge=True))


def test_until_told_otherwise_it_only_plans(one):
    playbook(one, "cleanup")
    script = one.text(f"{LIB}/ipc-cleanup.sh")
    assert "--apply" not in script
    assert "only tells what would go" in script
    playbook(one, "cleanup", ipc_cleanup_apply=True, ipc_cleanup_notify=True)
    script = one.text(f"{LIB}/ipc-cleanup.sh")
    assert "--apply --yes" in script
    assert "--notify" in script
    leaves_nothing(one, playbook(one, "agent", ipc_agent_state="absent", ipc_agent_purge=True))


def test_what_is_wrong_is_refused_with_what_to_write_instead(one):
    refused(one, f"not installed in {LIB}; run the role ipcops.linux.ipc_agent first", "ipc_cleanup")
    refused(one, "must be one of: auto, cron, systemd, got: at", "ipc_cleanup", ipc_cleanup_schedule="at")
    run(one, role("ipc_agent"))
    refused(one, "is no time of crontab(5); write five fields", "ipc_cleanup", ipc_cleanup_cron="noon")
    refused(one, "nice: 20 is out of bounds; from 0 to 19", "ipc_cleanup", ipc_cleanup_nice=20)
    slurm = "must be one or more of: keep, prolog, epilog. Got no match for: both"
    refused(one, slurm, "ipc_cleanup", ipc_cleanup_slurm=["both"])
    leaves_nothing(one, playbook(one, "agent", ipc_agent_state="absent", ipc_agent_purge=True))


def test_a_fleet_does_not_begin_at_once(one):
    """No host is reached: what is said is about the inventory."""
    hosts = {f"n{number}": {} for number in range(60)}
    book = REPO / "playbooks/cleanup.yml"
    words = ("--tags", "never_there", "--extra-vars", "ipc_cleanup_spread=0 ipcops_serial=60")
    played = one.run(book, *words, inventory={"all": {"hosts": hosts}}, check=False)
    assert played.status == 2
    assert "write the seconds that they may differ by, such as ipc_cleanup_spread: 1800" in " ".join(
        played.said.split()
    )
