"""Tasks with ipc_clean and ipc_restore, run by the real ansible-playbook on real objects in a private IPC namespace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import world
from tests.kernel.admin import HARSHEST, named, there
from tests.kernel.cleaner import contents, plant
from tests.plugins.play import Watcher, call, undisturbed
from tests.plugins.test_ipc_limits import pythons
from tests.world import GONE, here

SETTLED = 5  # seconds after which nothing counts as used just now
REASON_KEYS = {"section", "reasons", "confidence", "expect", "backup"}


def live() -> int:
    """Leave a segment that a process has attached; return its id."""

    def attached() -> int:
        shmid = world.shmget(4096, key=0x11FE)
        world.shmat(shmid)
        return shmid

    return world.spawn(attached).value


def leaks() -> Watcher:
    """Return an administrator of a world where one object of each kind was left, beside a live one."""
    world.needs_root()
    controller = Watcher(HARSHEST)
    world.as_uid(GONE, plant)
    live()
    world.later(SETTLED)
    return controller


def names(objects: list[dict]) -> set:
    return {named(one) for one in objects}


# ---------------------------------------------------------------- plan, removal, and the way back


@undisturbed(timeout=200, mqueue=True)
def test_planned_approved_removed_and_put_back():
    controller = leaks()
    before, everything = contents(), there()
    world.later(SETTLED)
    planned = controller.play(call("ipc_clean", check=True, diff=True))
    plan = planned.result["plan"]
    assert there() == everything, "check mode removes nothing"
    assert planned.result["changed"]
    assert not planned.result["failed"]
    (kept,) = plan["keep"]
    assert (kept["verdict"], kept["key"]) == ("in-use", "0x000011fe")
    assert names(plan["remove"]) == there() - {named(kept)}
    assert {one["kind"] for one in plan["remove"]} == {"shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq"}
    for one in plan["remove"]:
        assert one.keys() >= REASON_KEYS
        assert isinstance(one["bytes"], int | None)
        assert f"-{one['kind']}:{one['path'] if one['id'] is None else one['id']}" in planned.said
    assert (planned.result["removed"], planned.result["journal"], planned.result["backup"]) == ([], None, None)

    cleaned = controller.play(call("ipc_clean", plan=plan, diff=True)).result
    assert not cleaned["failed"], cleaned["msg"]
    assert cleaned["changed"]
    assert there() == {named(kept)}, "the live one stays"
    assert names(cleaned["removed"]) == names(plan["remove"])
    assert cleaned["journal"] == str(controller.state / "journal.jsonl")
    assert cleaned["backup"]["directory"] == str(controller.state / "backups")
    (batch,) = cleaned["backup"]["names"]

    again, fresh = controller.play(call("ipc_clean", plan=plan), call("ipc_clean")).results
    assert (again["failed"], again["changed"], again["removed"]) == (False, False, [])
    assert {one["gone"] for one in again["not_removed"]} == {True}
    assert (fresh["failed"], fresh["changed"], fresh["plan"]["remove"]) == (False, False, [])

    would, back, twice, would_not = controller.play(
        call("ipc_restore", backup=batch, check=True, diff=True),
        call("ipc_restore", backup=batch),
        call("ipc_restore", backup=batch),
        call("ipc_restore", backup=batch, check=True),
    ).results
    assert would["changed"]
    assert names(would["restored"]) == names(back["restored"]) == names(plan["remove"])
    assert (would["journal"], back["journal"]) == (None, cleaned["journal"])
    assert (back["failed"], back["changed"], back["refused"]) == (False, True, [])
    assert contents() == before
    for one in (twice, would_not):
        assert (one["failed"], one["changed"], one["restored"], one["refused"]) == (False, False, [], [])
        assert names(one["present"]) == names(plan["remove"])
    assert contents() == before


@undisturbed(timeout=120, mqueue=True)
def test_what_would_come_back_is_only_told():
    controller = leaks()
    (batch,) = controller.play(call("ipc_clean")).result["backup"]["names"]
    told = there()
    journal = (controller.state / "journal.jsonl").read_bytes()
    result = controller.play(call("ipc_restore", backup=batch, check=True)).result
    assert len(result["restored"]) > len(told) == 1
    assert there() == told
    assert (controller.state / "journal.jsonl").read_bytes() == journal


@undisturbed(timeout=120, mqueue=True)
def test_nothing_comes_back_over_what_is_there():
    controller = leaks()
    (batch,) = controller.play(call("ipc_clean")).result["backup"]["names"]
    new = world.shmget(8192, key=0x10000)
    os.close(world.mq_open("/leak", mode=0o640))
    world.shm_file("psm_leak", b"new")
    wanted = ["shm:0x10000", "posix-mq:/leak", "posix-shm:/psm_leak", "posix-sem:/sem.leak"]
    for check in (True, False):
        result = controller.play(call("ipc_restore", backup=batch, objects=wanted, check=check)).result
        assert result["failed"]
        assert f"its key 0x00010000 is taken by shm:{new}" in result["msg"]
        assert {one["object"]["kind"] for one in result["refused"]} == {"shm", "posix-mq", "posix-shm"}
        assert [one["path"] for one in result["restored"]] == ["/sem.leak"]
        assert result["changed"], "the others come back"
    assert Path("/dev/shm/psm_leak").read_bytes() == b"new"
    # What came back and was replaced since is refused, too: it is not what came back.
    Path("/dev/shm/sem.leak").unlink()
    world.shm_file("sem.leak", b"another one")
    result = controller.play(call("ipc_restore", backup=batch, objects=wanted[3:])).result
    assert "posix-sem:/sem.leak: its name is taken by a file" in result["msg"]
    assert Path("/dev/shm/sem.leak").read_bytes() == b"another one"


@undisturbed(timeout=120, mqueue=True)
def test_what_was_set_is_undone():
    controller = leaks()
    world.shm_file("open", mode=0o666)
    batch = controller.ask("set", "posix-shm:/open", "mode=0600")["undo"]
    file = Path("/dev/shm/open")
    would = controller.play(call("ipc_restore", backup=batch, check=True)).result
    assert (would["changed"], file.stat().st_mode & 0o777) == (True, 0o600)
    back, again = controller.play(call("ipc_restore", backup=batch), call("ipc_restore", backup=batch)).results
    assert (back["changed"], again["changed"], file.stat().st_mode & 0o777) == (True, False, 0o666)
    assert [one["path"] for one in again["present"]] == ["/open"]


# ---------------------------------------------------------------- a world that is not as the plan has it


@undisturbed(timeout=120, mqueue=True)
def test_nothing_outside_the_plan_goes():
    controller = leaks()
    plan = controller.play(call("ipc_clean", kinds=["shm", "sem"], check=True)).result["plan"]
    assert {one["kind"] for one in plan["remove"]} == {"shm", "sem"}
    late = world.as_uid(GONE, lambda: world.shmget(4096, key=0x1A7E))
    world.later(SETTLED)
    cleaned = controller.play(call("ipc_clean", plan=plan)).result
    assert not cleaned["failed"], cleaned["msg"]
    assert names(cleaned["removed"]) == names(plan["remove"])
    whys = {named(one): one["why"] for one in cleaned["plan"]["keep"]}
    assert whys["shm", late] == "it is not in the plan that was shown"
    assert ("shm", late) in there()
    assert {kind for kind, _ in there()} >= {"msg", "posix-shm", "posix-sem", "posix-mq"}


@undisturbed(timeout=120, mqueue=True)
def test_what_changed_since_stays_and_fails():
    controller = leaks()
    planned = controller.play(call("ipc_clean", kinds=["shm"], check=True)).result
    assert not planned["failed"], planned["msg"]
    assert len(planned["plan"]["remove"]) == 2, planned["plan"]
    used, gone = (one["id"] for one in planned["plan"]["remove"])
    world.spawn(lambda: world.shmat(used))
    world.shmrm(gone)
    for check in (True, False):
        result = controller.play(call("ipc_clean", plan=planned["plan"], check=check)).result
        assert result["failed"]
        assert (result["changed"], result["removed"]) == (False, [])
        assert result["msg"].startswith(f"shm:{used}: ")
        assert f"shm:{gone}" not in result["msg"]
        assert {one["id"]: one["gone"] for one in result["not_removed"]} == {used: False, gone: True}
    assert ("shm", used) in there()


@undisturbed(timeout=120, mqueue=True)
def test_a_plan_of_another_world_is_refused():
    controller = leaks()
    plan = controller.play(call("ipc_clean", check=True)).result["plan"]
    before = there()
    saved = here() / "plan.json"
    assert controller.run("clean", "--output", str(saved)).status == 0
    content = json.loads(saved.read_text())
    result = controller.play(call("ipc_clean", plan=content, check=True)).result
    assert names(result["plan"]["remove"]) == names(plan["remove"]), "the content of a file is a plan, too"
    bad = [
        ({**plan, "boot_id": "another"}, "the plan was made in another boot of this host"),
        ({**plan, "namespace": 1}, "the plan was made in another IPC namespace"),
        ({**plan, "policy_hash": "x"}, "the plan was made by another policy"),
        ({**content, "applied": True}, "was carried out already"),
        ({}, "plan.boot_id is missing"),
        ({"plan": 5}, "plan is missing"),
        ({**plan, "remove": "all"}, "plan.remove is not what it must be"),
        ({**plan, "remove": [{"kind": "shm"}]}, "plan.remove[0].id is missing"),
        ({**plan, "asked": {"force": True}}, "plan.asked has an unknown field 'force'"),
    ]
    for (_, words), result in zip(
        bad, controller.play(*(call("ipc_clean", plan=one) for one, _ in bad)).results, strict=True
    ):
        assert result["failed"]
        assert words in result["msg"]
    controller.says(HARSHEST.replace("min_age = 0", "min_age = 1h", 1))
    result = controller.play(call("ipc_clean", plan=plan)).result
    assert "by another policy" in result["msg"]
    assert there() == before


@undisturbed(timeout=120, mqueue=True)
def test_named_objects_go_whatever_their_age_and_stay_in_use():
    controller = leaks()
    used = live_id()
    wanted = ["posix-shm:/psm_leak", "shm:0x11fe"]
    for check in (True, False):
        result = controller.play(call("ipc_clean", objects=wanted, check=check)).result
        assert result["failed"]
        assert result["msg"].startswith(f"shm:{used}: ")
        assert result["changed"]
    assert ("posix-shm", "/psm_leak") not in there()
    assert ("shm", used) in there()
    gone = controller.play(call("ipc_clean", objects=wanted[:1])).result
    assert (gone["failed"], gone["changed"]) == (False, False)
    assert "there is no posix-shm:/psm_leak" in gone["notes"][-1]


def live_id() -> int:
    (row,) = [row for row in world.table("shm") if row["key"] == 0x11FE]
    return row["shmid"]


@undisturbed(timeout=120, mqueue=True)
def test_narrowed_bounded_and_without_backup():
    controller = leaks()
    elsewhere = here() / "elsewhere"
    one, other, older, user = controller.play(
        call("ipc_clean", kinds=["shm"], max_removals=1, check=True),
        call("ipc_clean", kinds=["posix-shm"], backup=str(elsewhere)),
        call("ipc_clean", min_age="2h", check=True),
        call("ipc_clean", owner="0", check=True),
    ).results
    assert one["plan"]["remove"] == []
    assert {kept["verdict"] for kept in one["plan"]["keep"]} == {"orphan", "in-use"}
    assert [Path(path).parent for path in other["backup"]["names"]] == [elsewhere]
    assert older["plan"]["remove"] == user["plan"]["remove"] == []
    result = controller.play(call("ipc_clean", kinds=["posix-sem"], no_backup=True)).result
    assert (names(result["removed"]), result["backup"]) == ({("posix-sem", "/sem.leak")}, None)
    back = controller.play(call("ipc_restore", backup=other["backup"]["names"][0])).result
    assert names(back["restored"]) == {("posix-shm", "/psm_leak")}


@undisturbed(timeout=120)
def test_nobody_is_told_in_check_mode():
    controller = leaks()
    log = here() / "mail"
    mailer = Path("/usr/sbin/sendmail")
    sbin = here() / "sbin"
    sbin.mkdir()
    (sbin / mailer.name).write_text(f"#!/bin/sh\ncat >>{log}\n")
    (sbin / mailer.name).chmod(0o755)
    world.mount(str(sbin), "/usr/sbin", None, world.MS_BIND)
    checked = controller.play(call("ipc_clean", notify=True, kinds=["shm"], check=True)).result
    assert (checked["notified"], log.exists()) == ([], False)
    told = controller.play(call("ipc_clean", notify=True, kinds=["shm"])).result
    assert not told["failed"], told["msg"]
    assert [(one["objects"], one["error"]) for one in told["notified"]] == [(2, None)]
    assert log.exists()


# ---------------------------------------------------------------- what is refused, and what odd things are

BAD = [
    ("ipc_clean", {"kinds": ["shmm"]}, "unknown kind 'shmm'; did you mean 'shm'"),
    ("ipc_clean", {"kinds": ["fifo"]}, "unknown removable kind 'fifo'"),
    ("ipc_clean", {"owner": "nobody-of-that-name"}, "this host has no user 'nobody-of-that-name'"),
    ("ipc_clean", {"min_age": "soon"}, "min_age 'soon' is no duration"),
    ("ipc_clean", {"deadline": "2h"}, "deadline 7200.0 is out of bounds"),
    ("ipc_clean", {"max_removals": -1}, "out of bounds; from 0 on"),
    ("ipc_clean", {"max_removals": "many"}, "max_removals"),
    ("ipc_clean", {"objects": ["4"]}, "names no object; write KIND:ID"),
    ("ipc_clean", {"objects": ["fifo:/run/x"]}, "only reported"),
    ("ipc_clean", {"objects": ["shm:1"], "kinds": ["shm"]}, "mutually exclusive: objects|kinds"),
    ("ipc_clean", {"plan": {}, "with_data": True}, "mutually exclusive: plan|with_data"),
    ("ipc_clean", {"plan": "everything"}, "unable to convert to dict"),
    ("ipc_clean", {"backup": "/x", "no_backup": True}, "mutually exclusive: backup|no_backup"),
    ("ipc_clean", {"job_ended": "daemon"}, "is a system user"),
    ("ipc_clean", {"force": True}, "Unsupported parameters"),
    ("ipc_restore", {}, "missing required arguments: backup"),
    ("ipc_restore", {"backup": "no-such"}, "the backup '"),
    ("ipc_restore", {"backup": "/etc/passwd"}, "does not end in .pack"),
    ("ipc_restore", {"backup": "../x"}, "../x"),
    ("ipc_restore", {"backup": "x", "objects": ["unix:1"]}, "only reported"),
    ("ipc_info", {"gather": []}, "gather is empty; it takes audit, objects, limits"),
    ("ipc_info", {"gather": ["findings"]}, "must be one or more of: audit, objects, limits"),
    ("ipc_info", {"rules": ["SHM-1"]}, "unknown rule 'SHM-1'; did you mean 'SHM-0"),
    ("ipc_info", {"kinds": ["semm"]}, "unknown kind 'semm'; did you mean 'sem'"),
    ("ipc_info", {"min_severity": "worst"}, "unknown severity 'worst'"),
    ("ipc_info", {"profiles": ["db2-11"]}, "did you mean 'db2-11.5'"),
    ("ipc_info", {"samples": 0}, "samples 0 is out of bounds"),
    ("ipc_info", {"interval": "2h"}, "interval 7200.0 is out of bounds"),
    ("ipc_info", {"deadline": "-1"}, "deadline '-1' is no duration"),
    ("ipc_info", {"gather": ["objects"], "verdicts": ["dead"]}, "unknown verdict 'dead'"),
    ("ipc_info", {"gather": ["limits"], "kinds": ["shm"]}, "kinds is about audit and objects; add that to gather"),
    ("ipc_info", {"verdicts": ["orphan"]}, "verdicts is about objects; add that to gather"),
    ("ipc_info", {"policy": "/nonexistent"}, "there is no such file"),
]


@undisturbed(timeout=300)
def test_bad_input_is_refused_in_one_line():
    controller = leaks()
    before = there()
    played = controller.play(*(call(module, **options) for module, options, _ in BAD))
    for (module, options, words), result in zip(BAD, played.results, strict=True):
        assert result["failed"], (module, options)
        assert not result["changed"]
        assert words in result["msg"], (module, options, result["msg"])
        assert "\n" not in result["msg"]
    assert there() == before
    assert "Traceback" not in played.said


@undisturbed(timeout=120)
def test_odd_names_come_back_as_they_were():
    controller = Watcher(HARSHEST)
    name = "psm_ü💀 \udcff\\\udc80\udcfe{{ x }}'\"$(id)\n"
    odd = name.replace("\udcff", r"\udcff").replace("\udc80", r"\udc80").replace("\udcfe", r"\udcfe")
    world.as_uid(GONE, lambda: world.shm_file(name, b"odd"))
    world.later(SETTLED)
    planned, cleaned, back = controller.play(
        call("ipc_clean", check=True, diff=True),
        call("ipc_clean", plan="{{ r0.plan }}"),
        call(
            "ipc_restore",
            backup="{{ r1.backup.names[0] }}",
            objects=["{{ 'posix-shm:' ~ r0.plan.remove[0].path }}"],
        ),
    ).results
    for one in (planned, cleaned, back):
        assert not one["failed"], one["msg"]
    assert [one["path"] for one in planned["plan"]["remove"]] == [f"/{odd}"]
    assert names(cleaned["removed"]) == {("posix-shm", f"/{odd}")}
    assert there() == {("posix-shm", f"/{name}")}


@undisturbed(timeout=120)
def test_a_python_that_is_too_old_is_told_so():
    old = pythons("2.7", "3.6", "3.7", "3.8")
    if not old:
        pytest.skip("no Python older than 3.9 at hand")
    controller = leaks()
    before = there()
    tasks = [call("ipc_info", python=old[0]), call("ipc_clean", python=old[0])]
    for result in controller.play(*tasks, call("ipc_restore", backup="x", python=old[0])).results:
        assert result["failed"]
        assert result["msg"].startswith("ipcops needs Python 3.9 or newer on the host, and /")
    assert there() == before
