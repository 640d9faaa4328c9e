"""What a plan takes and what it leaves, and that every object ends in exactly one of both."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.errors import InputError
from ipcops.core.model import REMOVABLE_KINDS, SYSV_KINDS, Plan, Table
from ipcops.core.plan import COMMAND_LINE, EXPECT, JOB_ENDED, Ask, identity, identity_of, make_plan
from ipcops.core.rules.base import newest_use, protection
from ipcops.core.verdicts import Case

from .build import NOW, case

Facts = Dict[str, Any]

AT_ONCE = ["[clean]", "second_sighting = 0"]
ALICE = {"pid": 20, "uid": 1000, "command": "bash", "started": "1d ago"}


def world(*objects: Facts, policy: Optional[List[str]] = None, **facts: Any) -> Case:
    """Return a world with the objects; its policy is that of the file, but for the second sighting."""
    return case({"host": {"boot_id": "b"}, **facts, "objects": objects, "policy": (policy or []) + AT_ONCE})


def plan(one: Case, ask: Optional[Ask] = None, sightings: Optional[Mapping[str, float]] = None) -> Plan:
    return make_plan(one, one.policy, sightings or {}, ask)


def stays(plan_: Plan) -> str:
    """Return why the only object stays."""
    assert plan_.remove == ()
    (kept,) = plan_.keep
    return kept.why


def takes(plan_: Plan) -> str:
    """Return the section by which the only object goes."""
    assert plan_.keep == ()
    (action,) = plan_.remove
    return action.section


# ---------------------------------------------------------------- what is built in


def test_a_certain_orphan_goes():
    found = plan(world({"kind": "shm", "id": 5, "key": "0x1234", "size": 100}))
    (action,) = found.remove
    assert (action.kind, action.id, action.key, action.path) == ("shm", 5, 0x1234, None)
    assert (action.section, action.confidence, action.backup, action.with_data) == ("orphans", "certain", "full", False)
    assert (action.expect["nattch"], action.expect["size"], action.expect["cpid"]) == (0, 100, 900)
    assert "alice runs no process" in "; ".join(action.reasons)
    assert (found.boot_id, found.namespace, found.made_at) == ("b", action.namespace, NOW)
    assert found.keep == ()


@pytest.mark.parametrize("kind", REMOVABLE_KINDS)
def test_an_action_expects_all_that_use_changes(kind):
    one = world({"kind": kind}, policy=every_kind())
    (action,) = plan(one).remove
    table = one.snapshot.tables[kind]
    assert action.expect == {name: table[name][0] for name in EXPECT[kind] if name in table}
    assert set(EXPECT[kind]) - set(action.expect) <= {"size"}
    assert "rss" not in action.expect
    assert kind in SYSV_KINDS or "atime" not in action.expect


def every_kind() -> List[str]:
    return [
        "[remove counted]", "kind = shm posix-shm posix-sem posix-mq", "accept = strong",
        "[remove owned]", "kind = sem msg", "owner = alice", "accept = strong",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "goes"), [("/psm_0123abcd", True), ("/vader_segment.host.1", True), ("/cache", False), ("/psm_x", False)]
)
def test_of_files_only_known_families_go(path, goes):
    found = plan(world({"kind": "posix-shm", "path": path}))
    if goes:
        assert takes(found) == "families"
    else:
        assert stays(found) == "no [remove NAME] of the policy names it"


@pytest.mark.parametrize("kind", ["sem", "msg", "posix-sem", "posix-mq"])
def test_nothing_else_is_built_in(kind):
    found = plan(world({"kind": kind}))
    assert stays(found) == "no [remove NAME] of the policy names it"
    assert found.keep[0].verdict == "orphan"


# ---------------------------------------------------------------- what nothing waives


@pytest.mark.parametrize(
    ("thing", "facts", "words"),
    [
        ({"kind": "shm", "nattch": 1}, {}, "attached once"),
        ({"kind": "shm", "nattch": 1, "attached": [20]}, {"processes": [ALICE]}, "pid 20 (bash)"),
        ({"kind": "sem", "semaphores": {"ncnt": [1]}}, {}, "a thread waits for it"),
        ({"kind": "sem", "semaphores": None}, {}, "nobody asked the kernel"),
        ({"kind": "msg", "blocked": [[20, "msgrcv"]]}, {"processes": [ALICE]}, "blocked on it"),
        ({"kind": "posix-shm", "path": "/psm_00000000", "holders": [20]}, {"processes": [ALICE]}, "mapped or open"),
        ({"kind": "posix-mq", "holders": [20]}, {"processes": [ALICE]}, "open in"),
        ({"kind": "shm", "cpid": 0}, {}, "another PID namespace"),
        ({"kind": "shm"}, {"gaps": [{"evidence": "processes"}]}, "still runs could not be seen"),
        ({"kind": "posix-shm", "path": "/psm_00000000"}, {"gaps": [{"evidence": "maps"}]}, "could be looked into"),
        ({"kind": "shm", "uid": 26}, {}, "[protect postgresql]"),
        ({"kind": "posix-shm", "path": "/libpod_lock"}, {}, "[protect podman]"),
    ],
)
@pytest.mark.parametrize("by", ["policy", "name", "job"])
def test_in_use_unknown_and_protected_stay(thing, facts, words, by):
    one = world(thing, policy=[*every_kind(), "[job]", "kinds = " + " ".join(REMOVABLE_KINDS)], **facts)
    job = Ask(job=thing.get("uid", 1000))
    ask = {"policy": Ask(min_age=0), "name": Ask(named={thing["kind"]: [0]}), "job": job}[by]
    assert words in stays(plan(one, ask))


@pytest.mark.parametrize("kind", REMOVABLE_KINDS)
@pytest.mark.parametrize("when", ["0s ago", "2s ago", "5s ahead"])
@pytest.mark.parametrize("by", ["policy", "name", "job"])
def test_what_was_touched_just_now_stays(kind, when, by):
    time = {"sem": "otime", "msg": "rtime", "shm": "dtime"}.get(kind, "mtime")
    one = world(
        {"kind": kind, time: when, "path": "/psm_00000000"},
        policy=[*every_kind(), "[job]", "kinds = " + " ".join(REMOVABLE_KINDS)],
    )
    ask = {"policy": Ask(min_age=0), "name": Ask(named={kind: [0]}), "job": Ask(job=1000)}[by]
    assert stays(plan(one, ask)) == "it was used just now"


def test_what_was_used_before_the_clock_jumped_stays():
    assert "clock was set" in stays(plan(world({"kind": "shm"}, now=NOW + 366 * 86400)))
    assert "clock was set" in stays(plan(world({"kind": "shm"}, now=NOW + 366 * 86400), Ask(job=1000)))


def test_a_queue_of_posix_that_holds_messages_never_goes():
    for ask in (Ask(with_data=True), Ask(named={"posix-mq": [0]}, with_data=True)):
        assert "it holds 2 messages" in stays(plan(world({"kind": "posix-mq", "curmsgs": 2}, policy=every_kind()), ask))
        unread = world({"kind": "posix-mq", "curmsgs": None}, policy=every_kind())
        assert "could not be seen" in stays(plan(unread, ask))


def test_a_file_of_two_names_stays():
    assert "2 names" in stays(plan(world({"kind": "posix-shm", "path": "/psm_00000000", "nlink": 2})))


# ---------------------------------------------------------------- terms


def test_with_the_owner_there_it_stays_and_by_name_it_goes():
    one = world({"kind": "shm"}, processes=[ALICE])
    assert "alice runs pid 20 (bash)" in stays(plan(one))
    assert plan(one).keep[0].verdict == "idle"
    assert takes(plan(one, Ask(named={"shm": [0]}))) == COMMAND_LINE


@pytest.mark.parametrize(
    ("thing", "process", "words"),
    [
        ({"kind": "shm", "mode": "0666"}, {"pid": 20, "uid": 1001}, "every user"),
        ({"kind": "shm", "mode": "0660", "gid": 100}, {"pid": 20, "uid": 1001, "gid": 100}, "group users"),
        ({"kind": "shm", "mode": "0640", "cgid": 100}, {"pid": 20, "uid": 1001, "gid": 100}, "group users"),
        ({"kind": "shm", "cuid": 1001}, {"pid": 20, "uid": 1001}, "bob runs"),
        ({"kind": "posix-shm", "path": "/psm_00000000", "mode": "0644"}, {"pid": 20, "uid": 1001}, "every user"),
        ({"kind": "posix-shm", "path": "/psm_00000000", "mode": "0660", "gid": 100},
         {"pid": 20, "uid": 1001, "gid": 100}, "group users"),
    ],
)  # fmt: skip
def test_everybody_must_be_gone_whom_the_mode_admits(thing, process, words):
    assert words in stays(plan(world(thing, processes=[process])))


def test_a_dead_process_in_the_name_does_not_do_for_a_living_owner():
    thing = {"kind": "posix-shm", "path": "/torch_900_1"}
    policy = ["[remove x]", "kind = posix-shm", "accept = strong"]
    assert takes(plan(world(thing, policy=policy))) == "x"
    assert "alice runs" in stays(plan(world(thing, policy=policy, processes=[ALICE])))


def test_young_ones_stay_until_they_are_old():
    policy = ["[remove x]", "kind = shm", "min_age = 5d"]
    assert "5 d" in stays(plan(world({"kind": "shm"}, policy=policy)))
    assert takes(plan(world({"kind": "shm"}, policy=policy), Ask(min_age=3600))) == "x"
    young = {"kind": "shm", "ctime": "10s ago"}
    assert takes(plan(world(young, policy=["[remove x]", "kind = shm", "min_age = 0"]))) == "x"
    assert "24" not in stays(plan(world(young), Ask(min_age=60)))


def test_what_is_only_strong_needs_to_be_accepted():
    policy = ["[remove x]", "kind = shm sem posix-shm", "owner = alice"]
    assert "accept = strong" in stays(plan(world({"kind": "sem"}, policy=policy)))
    assert "accept = strong" in stays(plan(world({"kind": "posix-shm"}, policy=policy)))
    assert takes(plan(world({"kind": "sem"}, policy=[*policy, "accept = strong"]))) == "x"


def test_the_first_section_that_takes_it_does():
    policy = ["[remove a]", "kind = shm", "min_age = 9d", "[remove b]", "kind = shm", "backup = none"]
    (action,) = plan(world({"kind": "shm"}, policy=policy)).remove
    assert (action.section, action.backup) == ("b", "none")


def test_ignore_takes_what_nobody_holds_whoever_runs():
    policy = ["[remove x]", "kind = posix-shm", "name = /psm_*", "owner_gone = ignore"]
    jobs = [ALICE]
    dead = {"kind": "posix-shm", "path": "/psm_00000000"}
    assert takes(plan(world(dead, policy=policy, processes=jobs))) == "x"
    assert "mapped or open" in stays(plan(world({**dead, "holders": [20]}, policy=policy, processes=jobs)))
    other = {"kind": "posix-shm", "path": "/psm_of_ours"}
    assert "accept = strong" in stays(plan(world(other, policy=policy, processes=jobs)))
    assert takes(plan(world(other, policy=[*policy, "accept = strong"], processes=jobs))) == "x"
    unseen = [{"evidence": "maps", "pid": 20}]
    assert "looked into" in stays(plan(world(dead, policy=policy, processes=jobs, gaps=unseen)))


def test_who_may_be_outside_this_pid_namespace_is_never_ignored():
    outside = {"boot_id": "b", "initial_pid_namespace": False}
    policy = ["[remove x]", "kind = posix-shm", "name = /psm_*", "owner_gone = ignore"]
    dead = {"kind": "posix-shm", "path": "/psm_00000000"}
    for processes in ([], [ALICE]):
        found = plan(world(dead, policy=policy, processes=processes, host=outside))
        assert stays(found).endswith("outside this PID namespace that may use it cannot be seen")
        assert found.keep[0].verdict == "unknown"
    for thing in (dead, {"kind": "posix-sem", "path": "/sem.x"}, {"kind": "sem"}, {"kind": "msg"}):
        named = plan(world(thing, processes=[ALICE], host=outside), Ask(named={str(thing["kind"]): [0]}))
        assert "outside this PID namespace" in stays(named)
    counted = plan(world({"kind": "shm"}, processes=[ALICE], host=outside), Ask(named={"shm": [0]}))
    assert takes(counted) == COMMAND_LINE  # the kernel counts who has a segment attached


def test_ignore_leaves_a_segment_whose_creator_or_last_user_lives():
    policy = ["[remove x]", "kind = shm", "owner_gone = ignore"]
    assert takes(plan(world({"kind": "shm"}, policy=policy, processes=[ALICE]))) == "x"
    for role in ("cpid", "lpid"):
        alive = [{"pid": 30, "uid": 1001, "started": "4d ago"}]
        assert "still runs" in stays(plan(world({"kind": "shm", role: 30}, policy=policy, processes=alive)))


UNIT = ["[remove x]", "kind = sem", "owner = alice", "owner_gone = unit", "accept = strong"]


def server(pid: int, started: str, unit: Optional[str] = "web.service", **more: Any) -> Facts:
    return {"pid": pid, "uid": 1000, "started": started, "unit": unit, "command": "httpd", **more}


@pytest.mark.parametrize(
    ("processes", "starts", "goes"),
    [
        ([server(20, "1d ago")], {}, True),
        ([server(20, "1d ago"), server(21, "1h ago", "session-3.scope")], {}, True),
        ([server(20, "3d ago")], {}, False),
        ([server(20, "1d ago"), server(21, "3d ago", "session-3.scope")], {}, False),
        ([server(20, "1d ago", None)], {}, False),
        # The unit is older than those of its processes that may use the set.
        ([server(20, "1d ago"), server(21, "3d ago", uid=0)], {}, False),
        # Its first processes have ended, but systemd knows when it began.
        ([server(20, "1d ago")], {"web.service": "3d ago"}, False),
        ([server(20, "1d ago")], {"web.service": "25h ago"}, True),
        # Within the slack of whole seconds nothing is proven.
        ([server(20, "172799s ago")], {}, False),
        ([server(20, "172797s ago")], {}, True),
        ([], {}, True),
    ],
)
def test_by_unit_every_process_must_belong_to_one_that_began_later(processes, starts, goes):
    one = world({"kind": "sem", "cuid": 0}, policy=UNIT, processes=processes, unit_starts=starts)
    if goes:
        assert takes(plan(one)) == "x"
    else:
        assert plan(one).remove == ()


def test_by_unit_root_counts_where_it_is_the_owner():
    policy = [line.replace("alice", "root alice") for line in UNIT]
    assert plan(world({"kind": "sem", "uid": 0}, policy=policy)).remove == ()
    assert plan(world({"kind": "sem", "cuid": 0}, policy=policy)).remove != ()


def test_by_unit_what_was_not_seen_stays():
    processes = [server(20, "1d ago")]
    for facts in ({"gaps": [{"evidence": "processes", "pid": 9}]}, {"host": {"initial_pid_namespace": False}}):
        found = plan(world({"kind": "sem"}, policy=UNIT, processes=processes, **facts))
        assert found.remove == ()
        assert found.keep[0].verdict == "unknown"


def test_by_unit_a_segment_must_be_private():
    policy = ["[remove x]", "kind = shm", "owner_gone = unit"]
    assert takes(plan(world({"kind": "shm"}, policy=policy, processes=[server(20, "1d ago")]))) == "x"
    keyed = world({"kind": "shm", "key": "0x5"}, policy=policy, processes=[server(20, "1d ago")])
    assert "private key" in stays(plan(keyed))


# ---------------------------------------------------------------- sightings


def test_it_must_have_been_seen_before_and_unchanged():
    one = case({"objects": [{"kind": "shm"}], "host": {"boot_id": "b"}})
    first = plan(one)
    assert "for the first time" in stays(first)
    (name,) = first.sighted
    assert "first seen so 50 min ago" in stays(plan(one, sightings={name: 3000}))
    found = plan(one, sightings={name: 3600})
    assert takes(found) == "orphans"
    assert found.sighted == (name,)
    assert identity_of(found.remove[0], "b") == name
    used = case({"objects": [{"kind": "shm", "dtime": "25h ago"}], "host": {"boot_id": "b"}})
    assert "for the first time" in stays(plan(used, sightings={name: 3600}))
    rebooted = case({"objects": [{"kind": "shm"}], "host": {"boot_id": "c"}})
    assert "for the first time" in stays(plan(rebooted, sightings={name: 3600}))


def test_what_is_named_or_of_an_ended_job_needs_no_sighting():
    one = case({"objects": [{"kind": "shm"}]})
    assert takes(plan(one, Ask(named={"shm": [0]}))) == COMMAND_LINE
    assert takes(plan(one, Ask(job=1000))) == JOB_ENDED
    assert plan(one, Ask(job=1000)).sighted == ()


@pytest.mark.parametrize("kind", REMOVABLE_KINDS)
def test_an_identity_changes_with_all_that_use_changes(kind):
    table = world({"kind": kind}).snapshot.tables[kind]
    name = identity(kind, table, 0, "b", 7)
    assert name == identity(kind, table, 0, "b", 7)
    others = {identity(kind, table, 0, "c", 7), identity(kind, table, 0, None, 7), identity(kind, table, 0, "b", 8)}
    changed = [column for column in EXPECT[kind] if column in table]
    for column in changed:
        value = table[column][0]
        other = "/other" if column == "path" else value + 1
        others.add(identity(kind, Table(kind, {**table.columns, column: [other]}), 0, "b", 7))
    assert len(others - {name}) == len(changed) + 3


def test_looking_at_a_queue_does_not_change_its_identity():
    table = world({"kind": "posix-mq"}).snapshot.tables["posix-mq"]
    looked = Table("posix-mq", {**table.columns, "atime": [NOW], "ctime": [NOW]})
    assert identity("posix-mq", table, 0, "b", 7) == identity("posix-mq", looked, 0, "b", 7)


# ---------------------------------------------------------------- what the command line asks


def test_only_what_is_named_goes():
    one = world({"kind": "shm"}, {"kind": "shm", "id": 2}, {"kind": "sem"})
    found = plan(one, Ask(named={"shm": [1]}))
    assert [action.id for action in found.remove] == [2]
    assert [kept.why for kept in found.keep] == ["it was not named", "it was not named"]


def test_what_is_named_needs_no_age_and_no_room():
    one = world({"kind": "shm", "times": 200, "ctime": "10s ago"})
    assert len(plan(one, Ask(named={"shm": range(200)})).remove) == 200
    assert plan(one, Ask(named={"shm": range(200)}, max_removals=150)).remove == ()


def test_only_the_kinds_and_owners_asked_for_go():
    things = [{"kind": "shm"}, {"kind": "shm", "id": 2, "uid": 1001}, {"kind": "posix-shm", "path": "/psm_00000000"}]
    found = plan(world(*things), Ask(kinds=("shm",), owners=frozenset([1001])))
    assert [action.id for action in found.remove] == [2]
    assert sorted(kept.why for kept in found.keep) == [
        "kind posix-shm was not asked for",
        "objects of alice were not asked for",
    ]


def test_an_ordinary_user_removes_what_it_owns_or_made():
    things = [
        {"kind": "shm"},
        {"kind": "shm", "id": 2, "uid": 1001},
        {"kind": "shm", "id": 3, "uid": 1001, "cuid": 1000},
        {"kind": "posix-shm", "path": "/psm_00000000", "uid": 1001},
    ]
    found = plan(world(*things), Ask(uid=1000))
    assert [action.id for action in found.remove] == [1, 3]
    assert {kept.why for kept in found.keep} == {"only root or bob may remove it"}


def test_queues_with_messages_go_where_that_is_said():
    full = {"kind": "msg", "qnum": 3, "cbytes": 30}
    policy = ["[remove x]", "kind = msg", "owner = alice", "accept = strong"]
    assert "it holds 3 messages" in stays(plan(world(full, policy=policy)))
    assert "it holds 3 messages" in stays(plan(world(full), Ask(named={"msg": [0]})))
    (action,) = plan(world(full, policy=[*policy, "with_data = yes"])).remove
    assert action.with_data
    assert takes(plan(world(full), Ask(named={"msg": [0]}, with_data=True))) == COMMAND_LINE
    many = {"kind": "msg", "qnum": 5000, "cbytes": 5000}
    assert "backup_messages = 4096" in stays(plan(world(many, policy=policy), Ask(with_data=True)))
    assert takes(plan(world(many, policy=[*policy, "backup = metadata"]), Ask(with_data=True))) == "x"


def test_what_is_too_large_for_a_backup_stays():
    large = {"kind": "shm", "size": "1G", "rss": "300M"}
    assert "backup_object = 256.0 MiB" in stays(plan(world(large)))
    assert takes(plan(world({**large, "rss": "1M"}))) == "orphans"  # holes take no room
    assert takes(plan(world(large), Ask(backup="none"))) == "orphans"
    assert takes(plan(world(large, policy=["[remove x]", "kind = shm", "backup = metadata"]))) == "x"
    several = world({"kind": "shm", "size": "200M", "rss": "200M", "times": 6})
    found = plan(several)
    assert len(found.remove) == 5
    assert "backup_bytes = 1.0 GiB" in found.keep[0].why


def test_only_what_was_announced_goes_when_that_is_asked():
    one = world({"kind": "shm"}, {"kind": "shm", "id": 2})
    table = one.snapshot.tables["shm"]
    announced = frozenset([identity("shm", table, 1, "b", one.snapshot.namespace)])
    found = plan(one, Ask(notified=announced))
    assert [action.id for action in found.remove] == [2]
    assert "was not announced to alice" in found.keep[0].why


# ---------------------------------------------------------------- bounds


def test_more_than_the_bound_are_refused_as_a_whole():
    one = world({"kind": "shm", "times": 101})
    found = plan(one)
    assert found.remove == ()
    (why,) = {kept.why for kept in found.keep}
    assert why.startswith("[remove orphans] would take 101 objects, what max_removals leaves of this run is 100; so")
    assert len(plan(one, Ask(max_removals=101)).remove) == 101


def test_or_the_oldest_go():
    policy = ["[remove x]", "kind = shm", "max_removals = 2", "on_excess = oldest"]
    things = [{"kind": "shm", "id": at, "dtime": "%dd ago" % age, "atime": 0, "ctime": "29d ago"}
              for at, age in enumerate([3, 9, 2, 7, 4])]  # fmt: skip
    found = plan(world(*things, policy=policy))
    assert {action.id for action in found.remove} == {1, 3}
    assert len(found.keep) == 3
    assert "older ones go first" in found.keep[0].why


def test_the_bound_of_a_run_is_for_all_sections():
    policy = ["[remove a]", "kind = shm", "on_excess = oldest", "[remove b]", "kind = posix-shm", "on_excess = oldest"]
    things = [{"kind": "shm", "times": 3}, {"kind": "posix-shm", "path": "/psm_0000000", "times": 3}]
    found = plan(world(*things, policy=[*policy, "accept = strong"]), Ask(max_removals=4))
    assert [action.section for action in found.remove] == ["a", "a", "a", "b"]
    assert len(found.keep) == 2


# ---------------------------------------------------------------- the end of a job


def test_the_end_of_a_job_takes_what_its_user_left_however_young():
    things = [
        {"kind": "shm", "dtime": "10s ago"},
        {"kind": "shm", "id": 2, "uid": 1001},
        {"kind": "sem"},
        {"kind": "posix-shm", "path": "/psm_00000000", "mode": "0666"},
        {"kind": "posix-shm", "path": "/x"},
    ]
    found = plan(world(*things), Ask(job=1000))
    assert [(action.kind, action.section) for action in found.remove] == [("shm", JOB_ENDED), ("posix-shm", JOB_ENDED)]
    whys = {kept.kind + str(kept.id or kept.path): kept.why for kept in found.keep}
    assert whys["shm2"] == "it belongs to bob, not to alice"
    assert whys["sem1"] == "[job] does not take kind sem"
    assert "only what is certain" in whys["posix-shm/x"]
    own = plan(world(*things, policy=["[job]", "kinds = sem posix-shm"]), Ask(job=1000))
    assert [action.kind for action in own.remove] == ["sem", "posix-shm", "posix-shm"]


@pytest.mark.parametrize("facts", [{"processes": [ALICE]}, {"host": {"initial_pid_namespace": False}},
                                   {"gaps": [{"evidence": "processes"}]}])  # fmt: skip
def test_a_job_has_not_ended_while_its_user_may_run(facts):
    things = [{"kind": "shm"}, {"kind": "posix-shm", "path": "/psm_00000000"}]
    assert plan(world(*things, **facts), Ask(job=1000)).remove == ()


# ---------------------------------------------------------------- whatever there is


PIDS = st.sampled_from([20, 21, 22])
TIMES = st.sampled_from(
    ["0s ago", "2s ago", "3s ago", "10s ago", "2h ago", *["2d ago"] * 12, "9d ago", "20d ago", "40d ago", "1h ahead", 0]
)
UNITS = st.sampled_from([None, "web.service", "session-1.scope"])
PATHS = ["/psm_00000000", "/torch_900_1", "/torch_20_1", "/cache", "/libpod_lock", "/PostgreSQL.1", "/sem.x"]
PROCESSES = st.lists(
    st.fixed_dictionaries(
        {"pid": PIDS, "uid": st.sampled_from([0, 26, 1000, 1001]), "gid": st.sampled_from([0, 100, 1000]),
         "started": st.sampled_from(["29d ago", "2d ago", "1h ago", "1s ago"]), "unit": UNITS},
        optional={"zombie": st.booleans()},
    ),
    max_size=2, unique_by=lambda one: one["pid"],
)  # fmt: skip


def objects(pids: List[int]) -> st.SearchStrategy:
    anybody = st.sampled_from([*[900] * 8, 0, *pids])
    users = st.one_of(*[st.just([])] * 4, st.lists(st.sampled_from(pids), max_size=1)) if pids else st.just([])
    common: Dict[str, Any] = {
        "kind": st.sampled_from(REMOVABLE_KINDS),
        "uid": st.sampled_from([0, 26, *[1000] * 4, 1001, 4242, 65534]),
    }
    optional: Dict[str, Any] = {
        "mode": st.sampled_from(["0600", "0600", "0600", "0660", "0666", "0644"]),
        "gid": st.sampled_from([0, 100, 1000]),
        "cuid": st.sampled_from([0, 1000, 1000, 1000, 1001]),
        "key": st.sampled_from([0, 0x5, 0x1234]),
        "path": st.sampled_from(PATHS),
        "nattch": st.sampled_from([0] * 9 + [1]),
        "qnum": st.sampled_from([0, 0, 1]),
        "curmsgs": st.sampled_from([0, 0, 1, None]),
        "nlink": st.sampled_from([1] * 9 + [2]),
        "size": st.sampled_from([0, 4096, "1G"]),
        "rss": st.sampled_from([0, "1G"]),
        "holders": users,
        "blocked": users.map(lambda some: [[pid, "call"] for pid in some]),
        "semaphores": st.one_of(
            st.none(), st.just({}), st.just({}),
            st.fixed_dictionaries(
                {}, optional={"pids": anybody.map(lambda pid: [pid]), "ncnt": st.sampled_from([[0], [0], [1]])}
            ),
        ),
    }
    optional.update(dict.fromkeys(("cpid", "lpid", "lspid", "lrpid"), anybody))
    optional.update(dict.fromkeys("atime dtime ctime otime stime rtime mtime".split(), TIMES))
    return st.fixed_dictionaries(common, optional=optional)


GAPS = st.lists(
    st.fixed_dictionaries(
        {"evidence": st.sampled_from(["processes", "maps", "descriptors", "blocked", "semaphores"])},
        optional={"pid": PIDS},
    ),
    max_size=1,
)
SECTIONS = st.lists(
    st.sampled_from(
        [
            ["kind = shm", "min_age = 0", "owner_gone = ignore"],
            ["kind = shm", "min_age = 0", "accept = strong"],
            ["kind = shm", "min_age = 1h", "owner_gone = unit", "backup = none"],
            ["kind = sem msg", "owner = root ali* bob nameless", "min_age = 0", "owner_gone = unit", "accept = strong"],
            ["kind = sem msg", "owner = root alice bob postgres nameless", "min_age = 0", "accept = strong",
             "with_data = yes"],
            ["kind = posix-shm", "name = /psm_* /torch_* /c* /libpod* /Post*", "min_age = 0", "owner_gone = ignore",
             "accept = strong"],
            ["kind = posix-shm posix-sem posix-mq", "min_age = 0", "accept = strong", "max_removals = 1",
             "on_excess = oldest"],
            ["kind = posix-sem posix-mq", "accept = strong", "max_removals = 1"],
        ]
    ),
    max_size=4,
)  # fmt: skip


@st.composite
def worlds(draw: Any) -> Tuple[Facts, Ask]:
    processes = draw(PROCESSES)
    things = draw(st.lists(objects([one["pid"] for one in processes]), max_size=8))
    for at, thing in enumerate(things):
        thing["id"] = at
        if thing["kind"].startswith("posix") and "path" in thing:
            thing["path"] += "" if draw(st.booleans()) else str(at)
    policy = ["[clean]", "second_sighting = %s" % draw(st.sampled_from(["0", "0", "1h"]))]
    for at, lines in enumerate(draw(SECTIONS)):
        policy += ["[remove r%d]" % at, *lines]
    policy += draw(st.sampled_from([[], ["[job]", "kinds = " + " ".join(REMOVABLE_KINDS)]]))
    policy += draw(st.sampled_from([[], ["[protect ours]", "key = 0x5", "reason = r"],
                                    ["[protect lifted]", "lift = postgresql", "owner = postgres", "reason = r"],
                                    ["[protect units]", "unit = web.service", "reason = r"]]))  # fmt: skip
    facts = {
        "objects": things, "processes": processes, "gaps": draw(st.one_of(*[st.just([])] * 4, GAPS)), "policy": policy,
        "now": NOW + draw(st.sampled_from([0] * 8 + [366 * 86400])),
        "host": {"boot_id": "b", "initial_pid_namespace": draw(st.sampled_from([True] * 8 + [False])),
                 "all_ids_mapped": draw(st.sampled_from([True, False]))},
    }  # fmt: skip
    everything = {kind: list(range(len(things))) for kind in REMOVABLE_KINDS}
    ask = Ask(
        named=draw(st.sampled_from([None, None, everything])),
        kinds=draw(st.sampled_from([(), (), (), ("shm", "posix-shm")])),
        owners=draw(st.sampled_from([None, None, None, frozenset([1000])])),
        min_age=draw(st.sampled_from([None, 0.0, 3600.0])),
        max_removals=draw(st.sampled_from([None, None, 0, 2, 1000])),
        with_data=draw(st.booleans()),
        backup=draw(st.sampled_from([None, "none"])),
        job=draw(st.sampled_from([None, None, None, 1000, 1001])),
        uid=draw(st.sampled_from([0, 0, 0, 1000])),
    )
    if ask.job is not None:
        ask = ask._replace(named=None)
    return facts, ask


def held(one: Case, kind: str, row: int) -> bool:
    """Whether anything that was seen uses an object, told from the snapshot alone."""
    table, processes = one.snapshot.tables[kind], one.snapshot.processes
    if kind in SYSV_KINDS:
        name = table["id"][row]
        semaphores = one.snapshot.semaphores.get(name)
        waits = kind == "sem" and (semaphores is None or any((*semaphores.ncnt, *semaphores.zcnt)))
        attached = kind == "shm" and bool(table["nattch"][row])
        return waits or attached or (kind != "shm" and bool(processes.blocked.get((kind, name))))
    return bool(processes.holding.get((table["dev"][row], table["ino"][row])))


@given(worlds())
def test_every_object_ends_in_one_of_both_and_nothing_goes_that_must_not(drawn):
    facts, ask = drawn
    one = case(facts)
    found = plan(one, ask)
    rows: List[Any] = []
    for kind in REMOVABLE_KINDS:
        table = one.snapshot.tables[kind]
        rows += [(kind, table["ino"][row] if "ino" in table else table["id"][row]) for row in range(len(table))]
    going = [(action.kind, action.expect.get("ino", action.id)) for action in found.remove]
    assert len(found.remove) + len(found.keep) == len(rows)
    assert len(set(going)) == len(going)
    assert set(going) <= set(rows)
    assert all(kept.why and kept.verdict for kept in found.keep)
    for action in found.remove:
        table = one.snapshot.tables[action.kind]
        row = list(table["ino" if "ino" in table else "id"]).index(action.expect.get("ino", action.id))
        assert not held(one, action.kind, row)
        assert protection(one, table, row) is None
        newest = newest_use(table, row)
        assert newest < one.snapshot.now - 2
        assert ask.named is not None or newest >= one.snapshot.now - one.snapshot.uptime - 2
        assert action.confidence in ("certain", "strong")
        assert action.kind != "posix-mq" or action.expect["curmsgs"] == 0
        assert action.kind != "msg" or not action.expect["qnum"] or action.with_data
        assert ask.uid in (0, table["uid"][row], *([table["cuid"][row]] if "cuid" in table else []))
        assert not ask.kinds or action.kind in ask.kinds
        assert ask.owners is None or table["uid"][row] in ask.owners
        assert ask.job is None or not one.snapshot.processes.users.get(ask.job)
    assert ask.max_removals is None or len(found.remove) <= ask.max_removals


@given(worlds())
def test_files_need_every_process_to_have_been_looked_into(drawn):
    facts, ask = drawn
    blind = plan(case({**facts, "gaps": [{"evidence": "maps", "pid": 20}]}), ask)
    assert not [action for action in blind.remove if action.kind in ("posix-shm", "posix-sem")]


@given(worlds())
def test_without_all_processes_nobody_is_gone(drawn):
    """Only what the policy says to take whoever runs, and what is idle and named, goes then."""
    facts, ask = drawn
    one = case({**facts, "gaps": [{"evidence": "processes", "pid": 20}]})
    ignoring = {section.name for section in one.policy.remove if section.owner_gone == "ignore"}
    assert {action.section for action in plan(one, ask).remove} <= {COMMAND_LINE, *ignoring}


@given(worlds())
def test_a_plan_is_the_same_from_the_same(drawn):
    facts, ask = drawn
    assert plan(case(facts), ask) == plan(case(facts), ask)


def test_a_section_that_is_wrong_makes_no_plan():
    with pytest.raises(InputError, match="needs an owner"):
        world({"kind": "sem"}, policy=["[remove x]", "kind = sem"])
