"""What each module of the collection says of itself is so: options, examples, returned values, attributes."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests import world
from tests.kernel.admin import HARSHEST, there
from tests.plugins.play import COLLECTIONS, PLAYBOOK, PREFIX, ROOT, Watcher, call, environment, undisturbed
from tests.world import GONE, in_world

MODULES = sorted(path.stem for path in (ROOT / "plugins/action").glob("*.py"))
BESIDE = {"changed", "failed", "msg", "warnings", "diff", "invocation"}
"""What any module of Ansible's returns."""


def documents(module: str) -> dict[str, Any]:
    """Return DOCUMENTATION, EXAMPLES and RETURN of a module."""
    path = ROOT / "plugins/modules" / f"{module}.py"
    space: dict = {}
    exec(compile(path.read_text(), str(path), "exec"), space)
    return {name: yaml.safe_load(space[name]) for name in ("DOCUMENTATION", "EXAMPLES", "RETURN")}


@pytest.mark.parametrize("module", MODULES)
def test_documents_agree_with_each_other(module):
    found = documents(module)
    about = found["DOCUMENTATION"]
    assert about["module"] == module
    assert {"check_mode", "diff_mode", "async"} <= about["attributes"].keys()
    options = about["options"]
    assert all(one["description"] for one in [*options.values(), *found["RETURN"].values()])
    uses = [one[PREFIX + module] or {} for one in found["EXAMPLES"] if PREFIX + module in one]
    assert uses
    for arguments in uses:
        assert arguments.keys() <= options.keys()
        assert {name for name, one in options.items() if one.get("required")} <= arguments.keys()


@pytest.mark.parametrize("module", MODULES)
def test_ansible_doc_shows_it(module):
    @in_world()
    def story() -> None:
        if not PLAYBOOK.exists():
            pytest.skip("ansible-core is not installed")
        command = [PLAYBOOK.with_name("ansible-doc"), "--type", "module", PREFIX + module]
        env = {**environment(), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}
        done = subprocess.run(command, cwd=world.here(), env=env, capture_output=True, text=True, check=True)
        assert PREFIX + module in done.stdout
        assert "RETURN VALUES" in done.stdout
        asks_hosts = "runs once, on the controller" not in " ".join(done.stdout.split())
        assert ("Python 3.9 or newer" in done.stdout) == asks_hosts

    story()


@undisturbed(timeout=120, mqueue=True)
def test_returned_is_what_is_documented():
    controller = Watcher(HARSHEST)
    world.as_uid(GONE, lambda: world.shmget(4096))
    world.later(5)
    everything = ["audit", "objects", "limits"]
    tasks = [
        call("ipc_info", gather=everything),
        call("ipc_clean", check=True),
        call("ipc_clean", diff=True),
        call("ipc_restore", backup="{{ r2.backup.names[0] }}", check=True),
        call("ipc_restore", backup="{{ r2.backup.names[0] }}"),
        call("ipc_limits", values={"kernel.shmmni": 8192}, check=True),
        call("ipc_limits", values={"kernel.shmmni": 8192}),
    ]
    for task, result in zip(tasks, controller.play(*tasks).results, strict=True):
        (module,) = [name.removeprefix(PREFIX) for name in task if name.startswith(PREFIX)]
        assert not result["failed"], result["msg"]
        assert result.keys() - BESIDE == documents(module)["RETURN"].keys(), module


@undisturbed(timeout=200, mqueue=True)
def test_the_plays_of_the_page_do_what_it_says():
    controller = Watcher(HARSHEST)
    world.as_uid(GONE, lambda: [world.shmget(4096), world.shm_file("psm_leak")])
    world.later(5)
    before = there()
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/modules.md").read_text(), flags=re.DOTALL)
    look, clean, back = map(yaml.safe_load, blocks)
    ((look,), (clean,)) = look, clean
    look["tasks"][0]["ipcops.linux.ipc_info"]["require_complete"] = False  # some machines hide a little even from root
    tasks = [*look["tasks"], *clean["tasks"], *back, *back]
    ipc, planned, cleaned = controller.run_book(tasks, told="ipc, planned, cleaned")
    assert ipc["audit"]["schema"] == "ipcops.audit/1"
    assert len(planned["plan"]["remove"]) == len(cleaned["removed"]) == 2
    assert there() == before, "and it came back"
