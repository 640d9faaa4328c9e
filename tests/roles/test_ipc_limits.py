"""The role ipc_limits on this machine, in a private IPC namespace: what it asks of the module, and of whom."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.kernel.test_limits import file_text, values
from tests.plugins.play import Controller
from tests.roles.books import LOCAL, ROOT, Ran, run
from tests.world import here, in_world

README = ROOT / "roles/ipc_limits/README.md"


def role(controller: Controller, *words: str, inside: tuple[str, ...] = ("databases",), **variables: Any) -> Ran:
    """Run the role on a host that is in some groups; what it exported is ``exported()``'s."""
    result = "{{ ipc_limits_result | default({}) | to_json }}"
    told = {"ansible.builtin.copy": {"content": result, "dest": str(here() / "result")}}
    inventory = {
        "all": {
            "hosts": {"target": {**LOCAL, "ipc_limits_policy": controller.policy}},
            "children": {"elsewhere": {}, **{name: {"hosts": {"target": None}} for name in inside}},
        }
    }
    variables = {f"ipc_limits_{name}": value for name, value in variables.items()}
    tasks = [{"ansible.builtin.import_role": {"name": "ipcops.linux.ipc_limits"}}, {**told, "tags": "always"}]
    book = [{"hosts": "target", "gather_facts": False, "vars": variables, "tasks": tasks}]
    return run(here(), book, inventory, *words)


def exported() -> dict[str, Any]:
    return json.loads((here() / "result").read_text())


@in_world(timeout=120)
def test_with_defaults_nothing_is_done():
    controller = Controller()
    before = values()
    ran = role(controller)
    assert ran.status == 0, ran.said
    assert exported()["skipped"]
    assert (values(), file_text()) == (before, None)


@in_world(timeout=120)
def test_a_host_gets_what_all_its_groups_ask_for():
    wanted = {
        "databases": {"profiles": ["db2-11.5"], "values": {"kernel.shmmni": 7000, "fs.mqueue.queues_max": 300}},
        "queues": {"values": {"kernel.shmmni": 9000}},
        "elsewhere": {"profiles": ["oracle-19c"]},
    }
    controller = Controller()
    ran = role(controller, inside=("databases", "queues"), groups=wanted, profiles=["zabbix"])
    assert ran.status == 0, ran.said
    rows = {one["name"]: one for one in exported()["parameters"]}
    asked = {floor["profile"] for one in rows.values() for floor in one["floors"]}
    assert {"db2-11.5", "zabbix"} <= asked
    assert "oracle-19c" not in asked
    assert values()["shmmni"] == "9000", "the group that comes last"


def readme_examples() -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)]


@in_world(timeout=120)
def test_the_playbook_of_the_readme_works():
    controller = Controller()
    (play,) = readme_examples()[-1]
    play["become"] = False
    target = {**LOCAL, "ipc_limits_policy": controller.policy}
    inventory = {"databases": {"hosts": {"target": target}}}
    for changed in (1, 0):
        ran = run(here(), [play], inventory)
        assert ran.status == 0, ran.said
        assert ran.recap("target")["changed"] == changed
    assert values()["sem"] == "32000 1024000000 500 32768"
    assert values()["shmmni"] == "8192"


@in_world(timeout=120)
def test_its_tags_choose_a_phase():
    controller = Controller()
    wanted = {"kernel.shmmni": 8192}
    before = values()
    assert "not as asked for: kernel.shmmni is 4096 and was to be 8192" in second(controller, 1, wanted)
    assert values() == before
    assert role(controller, "--tags", "ipc_limits_apply", values=wanted).recap("target")["changed"] == 2
    assert values()["shmmni"] == "8192"
    second(controller, 0, wanted)
    Path("/proc/sys/kernel/shmmni").write_text("5000")
    assert "kernel.shmmni is 5000 and was to be 8192" in second(controller, 1, wanted)
    assert values()["shmmni"] == "5000"


def second(controller: Controller, failures: int, wanted: dict[str, int]) -> str:
    """Have the role look a second time, and return what it says."""
    ran = role(controller, "--tags", "ipc_limits_verify", values=wanted)
    assert ran.recap("target")["failed"] == failures, ran.said
    return " ".join(ran.said.split())


BAD = [
    ({"groups": {"databse": {"profiles": ["zabbix"]}}}, "which the inventory has not; write names of groups"),
    ({"state": "gone"}, "value of ipc_limits_state must be one of: present, absent"),
    ({"values": {"kernel.shmmni": True}}, "write a number, such as kernel.shmmni: 1"),
    ({"values": {"kernel": {"shmmni": 1}}}, "write each with its whole name, such as kernel.shmmni: NUMBER"),
    ({"values": {"kernel.shmmni": None}}, "kernel.shmmni has no value"),
    ({"values": {"kernel.shmmni": 99999}}, "it takes a whole number from 0 to 32768"),
    ({"profiles": [{"postgresql-18": "max_connections=5"}]}, "without a space after the colon"),
    ({"profiles": ["postgres-18"]}, "did you mean 'postgresql-18'"),
]


@in_world(timeout=120)
def test_what_is_wrong_is_told_with_what_to_write_instead():
    controller = Controller()
    before = values()
    for variables, words in BAD:
        ran = role(controller, **variables)
        assert ran.status == 2, variables
        assert words in " ".join(ran.said.split()), (variables, ran.said)
    assert (values(), file_text()) == (before, None)


@in_world(timeout=120)
def test_another_file_that_wins_is_an_error_where_that_was_asked_for():
    controller = Controller()
    before = values()
    Path("/etc/sysctl.d/99-zzz.conf").write_text("kernel.shmmni = 5000\n")
    for words in ((), ("--check",)):
        ran = role(controller, *words, values={"kernel.shmmni": 8192}, persistent=True)
        assert ran.status == 2
        assert "/etc/sysctl.d/99-zzz.conf:1 sets '5000'" in " ".join(ran.said.split())
    assert (values(), file_text()) == (before, None)
    assert role(controller, values={"kernel.shmmni": 8192}).status == 0
    assert exported()["overridden_by"]


@in_world(timeout=120)
def test_absent_takes_back_what_was_applied_whatever_is_asked_for():
    controller = Controller()
    before = values()
    role(controller, values={"kernel.shmmni": 8192})
    assert values()["shmmni"] == "8192"
    for changed in (True, False):
        ran = role(controller, state="absent", values={"kernel.shmmni": 8192}, profiles=["zabbix"])
        assert ran.status == 0, ran.said
        assert exported()["changed"] is changed
        assert (values(), file_text()) == (before, None)


@in_world(timeout=120)
def test_the_policys_own_profiles_count_where_that_was_asked_for():
    controller = Controller("[limits]\nprofiles = db2-11.5\n")
    assert role(controller).status == 0
    assert exported()["skipped"]
    assert role(controller, use_policy=True).status == 0
    assert values()["msgmnb"] == "65536"


@in_world(timeout=120)
def test_one_task_reaches_a_host():
    controller = Controller()
    target = {**LOCAL, "ipc_limits_policy": controller.policy, "ansible_pipelining": True, "ansible_become": False}
    inventory = {"all": {"hosts": {"target": target}, "vars": {"ipc_limits_values": {"kernel.shmmni": 8192}}}}
    for changed in (1, 0):
        ran = run(here(), ROOT / "playbooks/limits.yml", inventory, "-vvv")
        assert ran.recap("target")["changed"] == changed, ran.said
        assert len(re.findall(r"<target> EXEC ", ran.said)) == 1, "with pipelining, one command for each module"
