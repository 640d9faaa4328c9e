"""The playbooks go on in batches, and stop where too many hosts have failed or were unreachable.

Several hosts of an inventory are this machine, in one world; others are a port where nobody listens.
"""

from __future__ import annotations

import pytest

from tests.kernel.test_limits import values
from tests.plugins.play import Controller
from tests.roles.books import DOWN, LOCAL, ROOT, Ran, run
from tests.world import here, in_world

LIMITS = ROOT / "playbooks/limits.yml"
GONE = "2 of 5 hosts failed, were unreachable or given up with their batch,"
WANTED = {"ipc_limits_values": {"kernel.shmmni": 8192}}


def hosts(policy: str, *, down: str = "", broken: str = "", of: str = "abcdefghij") -> dict:
    """Return an inventory of hosts with names of one letter, of which some are down and some refuse."""
    found = {name: dict(DOWN if name in down else LOCAL) for name in of}
    for name in broken:
        found[name]["ipc_limits_values"] = {"kernel.shmmni": 99999}
    return {"all": {"hosts": found, "vars": {**WANTED, "ansible_become": False, "ipc_limits_policy": policy}}}


def limits(inventory: dict, *words: str, serial: str = "[1, 4, '100%']") -> Ran:
    extra = f"{{ipcops_serial: {serial}}}"
    return run(here(), LIMITS, inventory, "--forks=1", "--extra-vars", extra, *words)


@in_world(timeout=120)
def test_all_hosts_have_their_turn_where_few_fail():
    controller = Controller()
    ran = limits(hosts(controller.policy, down="c"), "--extra-vars", "ipcops_max_fail_percentage=20")
    assert ran.touched() == set("abcdefghij"), ran.said
    assert ran.status == 4, "and who was unreachable is told"
    assert ran.recap("c")["unreachable"] == 1
    assert all(not ran.recap(name)["failed"] for name in "abdefghij")
    assert values()["shmmni"] == "8192"


@in_world(timeout=120)
def test_unreachable_hosts_stop_it_before_the_next_batch():
    ran = limits(hosts(Controller().policy, down="cd"))
    assert ran.touched() == set("abcde")
    assert GONE in joined(ran)
    assert "more than 10 %: c, d. Nothing was done on the others." in joined(ran)
    assert "-e ipcops_max_fail_percentage=NUMBER" in joined(ran)
    assert ran.status


def joined(ran: Ran) -> str:
    return " ".join(ran.said.split())


@in_world(timeout=120)
def test_hosts_that_fail_stop_it_too():
    ran = limits(hosts(Controller().policy, broken="bc"))
    assert not set("fghij") & ran.touched()
    assert ran.recap("a")["changed"] == 1
    assert ran.status == 2


@in_world(timeout=120)
def test_one_that_fails_and_one_that_is_unreachable_are_counted_together():
    ran = limits(hosts(Controller().policy, broken="b", down="c"), "--extra-vars", "ipcops_max_fail_percentage=30")
    assert GONE in joined(ran), ran.said
    assert "more than 30 %: b, c." in joined(ran), ran.said
    assert not set("fghij") & ran.touched()


@in_world(timeout=120)
def test_a_canary_that_fails_is_the_only_one():
    policy = Controller().policy
    for inventory in (hosts(policy, broken="a"), hosts(policy, down="a")):
        ran = limits(inventory)
        assert ran.touched() == {"a"}
        assert ran.status
    assert values()["shmmni"] == "4096"


@pytest.mark.parametrize("book", ["limits", "rollback", "site"])
@in_world(timeout=120)
def test_check_mode_changes_nothing_on_a_fresh_host(book):
    controller = Controller()
    before = values()
    words = ["--check", "--diff", "--extra-vars", "ipc_health_allow_unseen=true"]  # pid 1 of a CI machine may hide
    ran = run(here(), ROOT / f"playbooks/{book}.yml", hosts(controller.policy, of="a"), *words)
    assert ran.status == 0, ran.said
    assert values() == before
    if book != "rollback":
        assert "-4096\n+8192\n" in ran.said
