"""Tasks with ipc_limits, run by the real ansible-playbook on the real kernel, in a private IPC namespace."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests import world
from tests.kernel.test_limits import FILE, file_text, values
from tests.plugins.play import COLLECTIONS, PLAYBOOK, ROOT, Controller, environment, task
from tests.world import MS_BIND, MS_RDONLY, MS_REMOUNT, here, in_world

WANTED = {"kernel.shmmni": 8192, "kernel.sem": "32000 1024000000 600 32001", "kernel.msgmax": 65536}
MODULE = ROOT / "plugins/modules/ipc_limits.py"
CARRIER = ROOT / "plugins/modules/carrier.py"


# ---------------------------------------------------------------- what it does


@in_world(timeout=120)
def test_check_apply_again_and_absent():
    controller = Controller()
    before = values()
    checked = controller.play(task(values=WANTED, check=True, diff=True))
    assert (values(), file_text()) == (before, None), "check mode changes nothing"
    assert checked.result["changed"]
    assert "-4096\n+8192\n" in checked.said
    assert "\n+kernel.msgmax = 65536\n" in checked.said

    applied = controller.play(task(values=WANTED, diff=True))
    assert values() == {**before, "shmmni": "8192", "sem": WANTED["kernel.sem"], "msgmax": "65536", "msgmnb": "65536"}
    changed = {"kernel.shmmni", "kernel.sem", "kernel.msgmax", "kernel.msgmnb", str(FILE)}
    for result in (checked.result, applied.result):
        assert set(result["before"]) == set(result["after"]) == changed
        assert (result["before"]["kernel.shmmni"], result["after"]["kernel.shmmni"]) == (4096, 8192)
        assert result["after"]["kernel.sem"] == {"semmsl": 32000, "semmns": 1024000000, "semopm": 600, "semmni": 32001}
        assert result["before"][str(FILE)] is None
        assert not result["overridden_by"] + result["unwritable"] + result["manual"] + result["left"]
    assert applied.result["after"][str(FILE)] == file_text() == checked.result["after"][str(FILE)]
    assert (checked.result["batch"], bool(applied.result["batch"])) == (None, True)

    again, gone_checked = controller.play(task(values=WANTED), task("absent", check=True)).results
    assert (again["changed"], again["before"], again["after"], again["batch"]) == (False, {}, {}, None)
    assert gone_checked["changed"]
    assert values()["shmmni"] == "8192"

    gone, gone_again = controller.play(task("absent", diff=True), task("absent")).results
    assert (values(), file_text()) == (before, None)
    assert (gone["before"]["kernel.shmmni"], gone["after"]["kernel.shmmni"]) == (8192, 4096)
    assert (gone_again["changed"], gone_again["batch"]) == (False, None)


@in_world(timeout=120)
def test_profiles_and_values_in_one_task():
    controller = Controller()
    profiles = ["db2-11.5", "postgresql-17:max_connections=500"]
    result = controller.play(task(profiles=profiles, values={"fs.mqueue.queues_max": 300})).result
    assert not result["failed"], result["msg"]
    rows = {one["name"]: one for one in result["parameters"]}
    asked = {floor["profile"] for one in rows.values() for floor in one["floors"]}
    assert {"db2-11.5", "postgresql-17"} <= asked
    assert rows["fs.mqueue.queues_max"]["recommended"] == 300
    assert values()["msgmnb"] == "65536"
    manual = {one["name"]: one for one in result["manual"]}
    assert "logind.RemoveIPC" in manual or rows["logind.RemoveIPC"]["action"] == "keep"


@in_world(timeout=120)
def test_who_wins_at_the_next_boot_is_told():
    controller = Controller()
    later = Path("/etc/sysctl.d/99-zzz.conf")
    later.write_text("# vendor\nkernel.shmmni = 4096\n")
    for check in (True, False):
        played = controller.play(task(values={"kernel.shmmni": 8192}, check=check))
        overridden = played.result["overridden_by"]
        assert {(one["name"], one["file"], one["line"], one["value"]) for one in overridden} == {
            ("kernel.shmmni", str(later), 2, 4096)
        }
        assert "kernel.shmmni will not be so after the next boot" in re.sub(r"\s+", " ", played.said)
        assert not played.result["failed"]


@in_world(timeout=120)
def test_who_wins_at_the_next_boot_is_an_error_where_that_was_asked_for():
    controller = Controller()
    before = values()
    Path("/etc/sysctl.d/99-zzz.conf").write_text("kernel.shmmni = 4096\n")
    wanted = {"values": {"kernel.shmmni": 8192}, "persistent": True}
    for result in controller.play(*(task(check=check, **wanted) for check in (True, False))).results:
        assert result["failed"]
        assert "kernel.shmmni (/etc/sysctl.d/99-zzz.conf:1 sets '4096')" in result["msg"]
    assert (values(), file_text()) == (before, None)


@in_world(timeout=120)
def test_one_change_and_all_later_ones_are_taken_back():
    controller = Controller()
    first, second = controller.play(*(task(values={"kernel.shmmni": number}) for number in (8192, 9000))).results
    result = controller.play(task("absent", batch=second["batch"])).result
    assert (result["changed"], values()["shmmni"]) == (True, "8192")
    assert file_text() == first["after"][str(FILE)]


@in_world(timeout=120)
def test_what_somebody_else_changed_is_left():
    controller = Controller()
    controller.play(task(values={"kernel.shmmni": 8192}))
    Path("/proc/sys/kernel/shmmni").write_text("9000")
    result = controller.play(task("absent")).result
    assert [one["name"] for one in result["left"]] == ["kernel.shmmni"]
    assert (values()["shmmni"], file_text()) == ("9000", None)


# ---------------------------------------------------------------- what it refuses

BAD = [
    ({"values": {"kernel.shmni": 5}}, "did you mean 'kernel.shmmni'"),
    ({"values": {"kernel.shmmni": True}}, "write a number, such as kernel.shmmni: 1"),
    ({"values": {"kernel": {"shmmni": 5}}}, "write each with its whole name, such as kernel.shmmni: NUMBER"),
    ({"profiles": [{"postgresql-18": "max_connections=5"}]}, "without a space after the colon"),
    ({"values": {"kernel.shmmni": 5}, "batch": "x"}, "batch means nothing without state: absent"),
    ({"state": "absent", "batch": "x"}, "'x'"),
    ({"values": {"kernel.shmmni": 40000}}, "takes a whole number from 0 to 32768"),
    ({"values": {"kernel.shmmni": -1}}, "takes a whole number from 0 to 32768"),
    ({"values": {"kernel.msgmax": "4G"}}, "kernel.msgmax is '4G'"),
    ({"values": {"kernel.msgmax": ""}}, "kernel.msgmax is ''"),
    ({"values": {"kernel.msgmax": 1.5}}, "kernel.msgmax is '1.5'"),
    ({"values": {"kernel.msgmax": None}}, "kernel.msgmax has no value"),
    ({"values": {"kernel.sem": "1 2 3 4 5"}}, "it takes 4 whole numbers"),
    ({"values": {"kernel.sem": "250,32000,100,128"}}, "it takes 4 whole numbers"),
    ({"values": {"kernel.shm_rmid_forced": 1}}, "is not set by ipcops"),
    ({"values": {"kernel.shmmni": 8192, "kernel.msgmax": "x"}}, "kernel.msgmax is 'x'"),
    ({"values": ["kernel.shmmni"]}, "unable to convert to dict"),
    ({"profiles": ["db2-11"]}, "unknown profile 'db2-11'; did you mean 'db2-11.5'"),
    ({"profiles": ["db2-11.5:ram=1"]}, "has no terms"),
    ({}, "no profile was named"),
    ({"limits": {}}, "Unsupported parameters"),
    ({"state": "gone"}, "must be one of: present, absent"),
    ({"state": "absent", "values": {"kernel.shmmni": 5}}, "leave out values"),
    ({"values": {"kernel.shmmni": 8192}, "policy": "/nonexistent"}, "there is no such file"),
]


@in_world(timeout=120)
def test_bad_input_is_refused_before_anything_is_written():
    controller = Controller()
    before = values()
    tasks = [task(**options) for options, _ in BAD] + [task(check=True, **options) for options, _ in BAD[:3]]
    played = controller.play(*tasks)
    for (options, words), result in zip([*BAD, *BAD[:3]], played.results, strict=True):
        assert result["failed"], options
        assert not result["changed"]
        assert words in result["msg"], options
    assert (values(), file_text()) == (before, None)
    assert "Traceback" not in played.said


@in_world(timeout=120)
def test_a_read_only_proc_sys_is_told_limit_by_limit():
    controller = Controller()
    before = values()
    world.mount("/proc/sys", "/proc/sys", None, MS_BIND)
    world.mount("none", "/proc/sys", None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    played = controller.play(*(task(values=WANTED, check=check) for check in (True, False)))
    for result in played.results:
        assert result["failed"]
        assert {one["name"] for one in result["unwritable"]} >= {"kernel.shmmni", "kernel.msgmax", "kernel.sem.semopm"}
        assert "kernel.shmmni: the command line asks for 8192; /proc/sys is read-only here" in result["msg"]
    assert (values(), file_text()) == (before, None)


@in_world(timeout=120)
def test_a_defect_is_one_line():
    controller = Controller()
    copy = here() / "collections"
    shutil.copytree(COLLECTIONS, copy, ignore=shutil.ignore_patterns("playbooks", "roles"))
    linux = copy / "ansible_collections/ipcops/linux"
    broken = linux / "plugins/module_utils/core/tuning.py"
    broken.write_text("def limits(*_):\n    raise RuntimeError('on\\npurpose')\n")
    played = controller.play(task(values=WANTED), collections=copy)
    assert played.result["msg"].startswith("a defect in ipcops: RuntimeError: on")
    assert "Traceback" not in played.said


# ---------------------------------------------------------------- on which Python


def pythons(*versions: str) -> list[str]:
    """Return the interpreters of these versions that this machine has."""
    found = []
    for version in versions:
        name = f"python{version}"
        managed = Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")
        for path in (shutil.which(name), f"/usr/bin/{name}", *map(str, managed)):
            # A version manager's may exist and fail.
            if path and os.path.exists(path) and not subprocess.run([path, "-c", ""], check=False).returncode:
                found.append(path)
                break
    return found


@in_world(timeout=120)
def test_a_python_that_is_too_old_is_told_so():
    old = pythons("2.7", "3.6", "3.7", "3.8")
    if not old:
        pytest.skip("no Python older than 3.9 at hand")
    controller = Controller()
    for result in controller.play(*(task(values=WANTED, python=path) for path in old)).results:
        assert result["failed"]
        assert result["msg"].startswith("ipcops needs Python 3.9 or newer on the host, and /")
        assert "set ansible_python_interpreter" in result["msg"]
    assert file_text() is None


def test_what_tells_old_pythons_so_is_what_they_can_read():
    text = CARRIER.read_text()
    compile(text, str(CARRIER), "exec")
    assert not re.search(r"\bf['\"]|->|:=|\bnonlocal\b|print\(|from __future__", text)
    patched = text.replace("sys.version_info", "(3, 8, 18)").replace("<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", "{}")
    done = subprocess.run([sys.executable, "-"], input=patched, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["failed"]
    assert "is 3.8.18;" in answer["msg"]


@in_world(timeout=120)
def test_another_python_than_the_controllers_compiles_what_it_needs():
    ours = "%d.%d" % sys.version_info[:2]
    others = pythons(*(one for one in ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14") if one != ours))
    if not others:
        pytest.skip("no other Python from 3.9 on at hand")
    controller = Controller()
    played = controller.play(*(task(values={"kernel.shmmni": 8192}, check=True, python=path) for path in others))
    for path, result in zip(others, played.results, strict=True):
        assert not result["failed"], f"{path}: {result['msg']}"
        assert result["changed"]


# ---------------------------------------------------------------- what is sent


def packed() -> str:
    """Return the archive that a task sends."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import archive; print(archive.packed(), end='')"
    command = [sys.executable, "-c", code, str(ROOT / "plugins/plugin_utils")]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def carried(request: dict, **core: str) -> dict:
    """Return what a host answers, without Ansible between."""
    arguments = json.dumps({**core, "request": request})
    text = CARRIER.read_text().replace("<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", arguments)
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, check=True)
    assert not done.stderr
    return json.loads(done.stdout)


def test_the_archive_is_the_core_and_nothing_else():
    sources = {str(path.relative_to(ROOT / "ipcops/core")) for path in (ROOT / "ipcops/core").rglob("*.py")}
    archive = packed()
    assert archive == packed(), "it is the same each time"
    assert len(archive) < 600_000, "what every host is sent"
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(archive))) as files:
        assert set(files.namelist()) == {f"core/{name}" for name in sources}


@in_world()
def test_what_is_sent_does_as_what_lies_here():
    request = {"command": "limits", "verb": "plan", "values": {"kernel.shmmni": 8192}}
    sent, here_ = carried(request, archive=packed()), carried(request, path=str(ROOT / "plugins/module_utils"))
    assert sent["status"] == here_["status"] == 0
    assert sent["report"]["changes"] == here_["report"]["changes"] != []


@in_world(timeout=120)
def test_another_user_on_the_controller_is_sent_it():
    if not shutil.which("su"):
        pytest.skip("su is not installed")
    controller = Controller()
    become = {**task(values={"kernel.shmmni": 8192}), "become": True, "become_method": "ansible.builtin.su"}
    assert controller.play(become).result["changed"]
    assert values()["shmmni"] == "8192"


def test_odd_text_comes_back_as_it_was():
    odd = "plan\\\"'''\"\"\" \u20ac\n{{ x }}"
    answer = carried({"command": "limits", "verb": odd}, archive=packed())
    assert answer["failed"]
    assert odd in answer["msg"]


# ---------------------------------------------------------------- documentation and the collection


def documented(name: str) -> object:
    """Return one of the module's documents."""
    space: dict = {}
    exec(compile(MODULE.read_text(), str(MODULE), "exec"), space)
    return yaml.safe_load(space[name])


@in_world(timeout=120)
def test_returned_is_what_is_documented():
    controller = Controller()
    examples = [one["ipcops.linux.ipc_limits"] for one in documented("EXAMPLES") if "ipcops.linux.ipc_limits" in one]
    played = controller.play(*(task(check=True, **arguments) for arguments in examples))
    for arguments, result in zip(examples, played.results, strict=True):
        assert not result["failed"], (arguments, result["msg"])
        beside = {"changed", "failed", "warnings", "diff", "invocation"}
        assert set(result) - beside == set(documented("RETURN")), arguments


@in_world(timeout=120)
def test_the_playbook_of_the_readme_works():
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    ((play,),) = [yaml.safe_load(block)]
    ((one,),) = [play["tasks"]]
    result = Controller().play(task(check=True, **one["ipcops.linux.ipc_limits"])).result
    assert not result["failed"], result["msg"]


@in_world()
def test_a_checkout_finds_its_collection_by_itself():
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    env = {name: value for name, value in environment().items() if name != "ANSIBLE_COLLECTIONS_PATH"}
    command = [PLAYBOOK.with_name("ansible-doc"), "--type", "module", "ipcops.linux.ipc_limits"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert "force_lower" in done.stdout
