"""playbooks/rollback.yml on this machine, in a private IPC namespace: the limits, or the objects of a backup."""

from __future__ import annotations

import json
from typing import Any

from tests import world
from tests.kernel.admin import named
from tests.kernel.cleaner import contents
from tests.kernel.test_limits import file_text, values
from tests.plugins.play import Watcher, call, task, undisturbed
from tests.plugins.test_ipc_clean import leaks
from tests.roles.books import LOCAL, ROOT, Ran, run
from tests.world import here


def rollback(controller: Watcher, **variables: Any) -> Ran:
    host = {**LOCAL, "ipc_limits_policy": controller.policy, "ipc_agent_policy_path": controller.policy}
    words = ["--extra-vars", json.dumps({"ansible_become": False, **variables})]
    return run(here(), ROOT / "playbooks/rollback.yml", {"all": {"hosts": {"target": host}}}, *words)


@undisturbed(timeout=200, mqueue=True)
def test_the_objects_of_a_backup_come_back_and_the_limits_stay():
    controller = leaks()
    before = contents()
    applied, cleaned = controller.play(task(values={"kernel.shmmni": 8192}), call("ipc_clean")).results
    assert applied["changed"]
    (batch,) = cleaned["backup"]["names"]
    one = next(f"{kind}:{name}" for kind, name in map(named, cleaned["removed"]) if kind == "shm")

    ran = rollback(controller, ipcops_backup=batch, ipcops_objects=[one])
    assert (ran.status, ran.recap("target")["changed"]) == (0, 1), ran.said
    assert contents() != before
    ran = rollback(controller, ipcops_backup=batch)
    assert (ran.status, ran.recap("target")["changed"]) == (0, 1), ran.said
    assert contents() == before
    ran = rollback(controller, ipcops_backup=batch)
    assert (ran.status, ran.recap("target")["changed"]) == (0, 0), ran.said
    assert values()["shmmni"] == "8192"

    ran = rollback(controller, ipcops_backup="20200101T000000Z-1-1")
    assert ran.status == 2
    assert "20200101T000000Z-1-1" in ran.said


@undisturbed(timeout=120)
def test_without_a_backup_the_limits_are_taken_back():
    world.needs_root()
    controller = Watcher()
    before = values()
    assert controller.play(task(values={"kernel.shmmni": 8192})).result["changed"]
    ran = rollback(controller)
    assert (ran.status, ran.recap("target")["changed"]) == (0, 1), ran.said
    assert (values(), file_text()) == (before, None)
