"""Explanations of snapshots made by hand: above all what no test may fill on a shared host, and what was not seen.

fs.pipe-user-pages-hard, fs.file-max, fs.protected_regular, vm.overcommit_memory and vm.hugetlb_shm_group are the whole
host's, so these limits are reached only here; the others are filled for real in tests/kernel/test_explain.py.
"""

from __future__ import annotations

import contextlib
import errno as numbers
import json
import re
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.collect import caller as collector
from ipcops.core.collect.limits import parse_rlimits
from ipcops.core.errors import InputError
from ipcops.core.explain.calls import CALLS, CLOSEST, checked, kinds_of
from ipcops.core.explain.cause import STATES, Cause, View, counted, per_request, raised
from ipcops.core.explain.report import explain_report
from ipcops.core.layout import plain
from ipcops.core.model import Caller, Evidence, Gap, Quota
from ipcops.core.text.explain import explain as in_words
from ipcops.core.verdicts import Case

from .build import case

KINDS = list(kinds_of(None))
ALICE, BOB, CAROL = 1000, 1001, 1002
IPC_LOCK, IPC_OWNER, SYS_ADMIN, SYS_RESOURCE, DAC_OVERRIDE = 1 << 14, 1 << 15, 1 << 21, 1 << 24, 1 << 1
ALL = (1 << 41) - 1

VALUES: Dict[str, Any] = {
    "fs.file-nr": {"allocated": 500, "free": 0, "max": 1000},
    "fs.nr_open": 1 << 20,
    "fs.protected_regular": 0,
    "vm.hugetlb_shm_group": 0,
    "vm.nr_overcommit_hugepages": 0,
    "vm.overcommit_memory": 0,
    "MemTotal": 8 << 30,
    "MemAvailable": 6 << 30,
    "SwapTotal": 1 << 30,
    "CommitLimit": 5 << 30,
    "Committed_AS": 1 << 30,
    "HugePages_Free": 3,
    "HugePages_Rsvd": 1,
    "Hugepagesize": 2 << 20,
    "ipcmni_extend": False,
}


def caller(uid: int = ALICE, **facts: Any) -> Caller:
    every: Dict[str, Any] = {
        "pid": 99, "uid": uid, "euid": uid, "gids": frozenset((uid,)), "capabilities": 0,
        "initial_user_namespace": True, "owns_ipc": True,
        "limits": {"nofile": (1024, 4096), "msgqueue": (819200, 819200)}, **facts,
    }  # fmt: skip
    return Caller(**{**every, "values": {**VALUES, **facts.get("values", {})}})


def root(**facts: Any) -> Caller:
    return caller(0, **{"capabilities": ALL, **facts})


def quota(pid: int, uid: int, used: Optional[int], soft: int, hard: int = 4096, queue: int = 819200) -> Quota:
    return Quota(pid, "worker", uid, used, (soft, hard), (queue, queue))


def report(facts: Dict[str, Any], who: Caller, call: Optional[str] = None, errno: Optional[str] = None) -> Any:
    """Return a report of a host that has what *facts* say."""
    return explain_report(case({"kinds": KINDS, **facts}), who, call, errno)


def the(limit: str, facts: Dict[str, Any], who: Caller, call: str, errno: Optional[str] = None) -> Any:
    return next(one for one in report(facts, who, call, errno)["causes"] if one["limit"] == limit)


def stands(cause: Dict[str, Any]) -> Tuple[Any, ...]:
    return cause["state"], cause["used"], cause["max"], cause["left"]


def pipes(uid: Optional[int], *capacities: Optional[int]) -> List[Dict[str, Any]]:
    return [
        {"kind": "pipe", "id": 1000 * (uid or 0) + at, "uid": uid, "capacity": capacity, "fill": 0}
        for at, capacity in enumerate(capacities)
    ]


# ---------------------------------------------------------------- what a test may not fill


@pytest.mark.parametrize(
    ("pages", "soft", "hard", "state"),
    [
        (64, 16384, 0, "free"),  # 0: no limit
        (64, 16384, 256, "free"),
        (240, 16384, 256, "near"),
        (241, 16384, 256, "reached"),  # a pipe of 16 pages does not fit any more
        (241, 128, 256, "near"),  # above the soft limit it takes but 2
        (254, 128, 256, "near"),
        (255, 128, 256, "reached"),
        (300, 128, 256, "reached"),
    ],
)
def test_pipe_user_pages_hard(pages, soft, hard, state):
    facts = {
        "objects": [*pipes(ALICE, 4096 * pages), *pipes(BOB, 65536)],
        "limits": {"fs.pipe-user-pages-soft": soft, "fs.pipe-user-pages-hard": hard},
    }
    one = the("pipe-user-pages-hard", facts, caller(), "pipe", "ENFILE")
    assert one["state"] == state
    assert one["errno"] == "ENFILE"
    if hard:
        assert stands(one)[1:] == (pages, hard, max(0, hard - pages))
        assert one["users"][0] == {"uid": ALICE, "user": "alice", "count": pages}
        assert "sysctl -w fs.pipe-user-pages-hard=%d" % max(2 * hard, 2 * pages) in one["remedy"]
        said = report(facts, caller(), "pipe", "ENFILE")["summary"]
        assert said.startswith("pipe with ENFILE fails here now: pipe-user-pages-hard") == (state == "reached")
        mine = the("pipe-user-pages-hard", facts, root(), "pipe", "ENFILE")
        assert mine["passes"] == "CAP_SYS_RESOURCE"
        less = the("pipe-user-pages-hard", facts, root(capabilities=SYS_ADMIN), "pipe", "ENFILE")
        assert less["passes"] == "CAP_SYS_ADMIN"


def test_the_worst_of_other_users_comes_after_the_callers_own():
    facts = {"objects": [*pipes(ALICE, 65536), *pipes(BOB, *[1 << 20] * 60), *pipes(CAROL, *[1 << 20] * 64)]}
    found = [one for one in report(facts, caller(), "pipe")["causes"] if one["limit"] == "pipe-user-pages-soft"]
    assert [(one["state"], one["used"]) for one in found] == [("free", 16), ("reached", 16384)]
    assert [one["count"] for one in found[1]["users"]] == [16, 16384, 15360]
    assert "for a user other than you" in report(
        {**facts, "limits": {"fs.pipe-user-pages-hard": 16384}}, caller(), "pipe", "ENFILE"
    )["summary"]


@pytest.mark.parametrize(("used", "state"), [(500, "free"), (800, "near"), (1000, "reached"), (1200, "reached")])
def test_file_max(used, state):
    quotas = (quota(5, ALICE, 40, 1024), quota(6, BOB, 300, 1024), quota(7, BOB, None, 1024), quota(8, 0, 2, 1024))
    who = caller(values={"fs.file-nr": {"allocated": used, "free": 0, "max": 1000}}, quotas=quotas)
    for call in ("shmget", "mq_open", "shm_open", "pipe"):
        one = the("file-max", {}, who, call, "ENFILE")
        assert stands(one) == (state, used, 1000, max(0, 1000 - used))
        assert [(two["pid"], two["count"]) for two in one["users"]] == [(6, 300), (5, 40), (8, 2)]
        assert "sysctl -w fs.file-max=%d" % max(2000, 2 * used) in one["remedy"]
        assert one["passes"] is None
    assert the("file-max", {}, root(), "pipe", "ENFILE")["passes"] == "CAP_SYS_ADMIN"
    assert the("file-max", {}, caller(capabilities=SYS_RESOURCE), "pipe", "ENFILE")["passes"] is None


def test_a_limit_that_is_passed_is_told_for_others():
    who = root(values={"fs.file-nr": {"allocated": 1000, "free": 0, "max": 1000}})
    said = report({}, who, "pipe", "ENFILE")["summary"]
    assert said.startswith("pipe with ENFILE fails here now for others, though not for you: file-max")
    said = report({}, caller(values=who.values), "pipe", "ENFILE")["summary"]
    assert said.startswith("pipe with ENFILE fails here now: file-max")


def test_memory_that_is_promised():
    one = the("overcommit", {}, caller(), "shmget", "ENOMEM")
    assert stands(one) == ("per-request", None, 9 << 30, 9 << 30)
    one = the("overcommit", {}, caller(values={"vm.overcommit_memory": 1}), "shmget", "ENOMEM")
    assert stands(one) == ("free", None, None, None)
    for promised, state in ((1 << 30, "free"), (4 << 30, "near"), (5 << 30, "reached")):
        who = caller(values={"vm.overcommit_memory": 2, "Committed_AS": promised})
        one = the("overcommit", {}, who, "shmget", "ENOMEM")
        assert stands(one) == (state, promised, 5 << 30, (5 << 30) - promised)
    largest = the("SHMMAX", {"limits": {"kernel.shmall": 1 << 62}}, who, "shmget", "EINVAL")
    assert (largest["state"], largest["left"]) == ("per-request", 0)


def test_huge_pages():
    one = the("huge pages", {}, caller(), "shmget", "ENOMEM")
    assert (one["state"], one["left"]) == ("per-request", 4 << 20)
    for who, passes in (
        (caller(), None),
        (caller(gids=frozenset((5, 0))), "group 0"),
        (caller(capabilities=IPC_LOCK), "CAP_IPC_LOCK"),
        (caller(capabilities=ALL, initial_user_namespace=False), None),
    ):
        one = the("SHM_HUGETLB", {}, who, "shmget", "EPERM")
        assert one["passes"] == passes
        assert one["state"] == ("free" if passes else "per-request")


@pytest.mark.parametrize(
    ("setting", "mode", "owner", "state"),
    [
        (0, "1777", BOB, "free"),
        (1, "1777", BOB, "per-request"),
        (2, "1777", BOB, "per-request"),
        (1, "1777", ALICE, "free"),  # its own
        (1, "1777", 0, "free"),  # of the owner of the directory
        (1, "0777", BOB, "free"),  # no sticky bit
    ],
)
def test_protected_regular(setting, mode, owner, state):
    facts = {"objects": [{"kind": "posix-shm", "path": "/x", "uid": owner, "mode": "0666"}], "mount": {"mode": mode}}
    one = the("protected_regular", facts, caller(values={"fs.protected_regular": setting}), "shm_open", "EACCES")
    assert one["state"] == state
    assert [two["path"] for two in one["objects"]] == (["/x"] if state == "per-request" else [])
    who = root(values={"fs.protected_regular": setting})  # no right gets past it
    one = the("protected_regular", facts, who, "shm_open", "EACCES")
    assert (one["state"] == "per-request") == (state == "per-request" or (setting > 0 and owner == ALICE))


# ---------------------------------------------------------------- rights and ceilings


def test_queues_max_and_who_gets_past_it():
    facts = {"objects": [{"kind": "posix-mq", "uid": BOB, "times": 4}], "limits": {"fs.mqueue.queues_max": 4}}
    for who, passes in (
        (caller(), None),
        (root(), "CAP_SYS_RESOURCE"),
        (root(capabilities=ALL & ~SYS_RESOURCE), None),
        (root(initial_user_namespace=False), None),  # the root of a container
    ):
        one = the("queues_max", facts, who, "mq_open", "ENOSPC")
        assert stands(one) == ("reached", 4, 4, 0)
        assert one["passes"] == passes
    facts["limits"] = {"fs.mqueue.queues_max": -1}
    assert the("queues_max", facts, caller(), "mq_open", "ENOSPC")["max"] == (1 << 32) - 1
    for name, hard in (("msg_max", 65536), ("msgsize_max", 16 << 20)):
        assert the(name, {}, root(), "mq_open", "EINVAL")["left"] == hard
        assert the(name, {}, caller(), "mq_open", "EINVAL")["left"] < hard
        at_ceiling = {"limits": {"fs.mqueue." + name: hard}}
        assert "sysctl" not in the(name, at_ceiling, caller(), "mq_open", "EINVAL")["remedy"]


@pytest.mark.parametrize(
    ("limit", "extended", "said"),
    [
        (10, False, "kernel.shmmni=20"), (20000, False, "kernel.shmmni=32768"), (32768, False, None),
        (32768, True, "kernel.shmmni=65536"), (1 << 23, False, "kernel.shmmni=16777216"), (1 << 24, True, None),
    ],
)  # fmt: skip
def test_slots_are_raised_no_further_than_the_kernel_takes(limit, extended, said):
    who = caller(values={"ipcmni_extend": extended})
    remedy = the("SHMMNI", {"limits": {"kernel.shmmni": limit}}, who, "shmget", "ENOSPC")["remedy"]
    assert ("sysctl -w %s" % said in remedy) if said else "sysctl" not in remedy
    assert "ipcops audit --rule SHM-001" in remedy


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(1, 1 << 40))
def test_what_is_raised_leaves_room_and_is_accepted(limit, used, ceiling):
    more = raised(limit, used, ceiling)
    if more is None:
        assert max(limit, used) >= ceiling
    else:
        assert max(limit, used) < more <= ceiling


@given(st.integers(0, 1 << 40), st.integers(-1, 1 << 40), st.integers(1, 100), st.booleans())
def test_a_counted_limit_claims_no_more_than_was_seen(used, most, need, hidden):
    view = View(case({"kinds": ["shm"]}), caller())
    gaps = [Gap(Evidence.TABLE, "something", "nobody knows")] if hidden else []
    about = Cause("X", "host", "", "", "")
    one = counted(view, about, used=used, most=most, phrase="things exist", need=need, takes="x", unseen=gaps)
    assert one.state in STATES
    assert (one.state == "reached") == (most - used < need)
    if one.state != "reached":
        assert (one.left is None) == hidden
        assert not (hidden and one.state == "free")
        assert ("at least" in one.why) == hidden
    assert one.left is None or one.left == max(0, most - used)
    assert one.share is None or one.share >= 0


@given(st.integers(-5, 1 << 40), st.integers(0, 1))
def test_a_limit_on_one_request(largest, least):
    one = per_request(Cause("X", "request", "", "", ""), largest=largest, why="why", least=least)
    assert one.state == ("reached" if largest < least else "per-request")
    assert one.left == max(0, largest)


def test_the_modes_that_refuse():
    def made(**facts: Any) -> Dict[str, Any]:
        return {"kind": "shm", "key": 1, "uid": BOB, "gid": BOB, "cuid": BOB, "cgid": BOB, **facts}

    objects = [
        made(id=1, mode="0600"),
        made(id=2, mode="0666"),
        made(id=3, mode="0660"),
        made(id=4, mode="0660", gid=ALICE),  # our group
        made(id=5, mode="0600", cuid=ALICE),  # we made it
        made(id=6, mode="0060", uid=ALICE),  # the owner's bits come before the group's
        made(id=7, mode="0606", cgid=ALICE),  # the group's before the others'
        made(id=8, mode="0600", key=0),  # nobody can ask for it by key
    ]
    one = the("mode", {"objects": objects}, caller(), "shmget", "EACCES")
    assert (one["state"], one["used"], one["max"]) == ("per-request", 4, 7)
    assert [two["id"] for two in one["objects"]] == [1, 3, 6]
    for who, used, passes in (
        (root(), 0, "CAP_IPC_OWNER"),
        (root(capabilities=0), 5, None),  # 0 without rights is like anybody else
        (root(initial_user_namespace=False), 0, "CAP_IPC_OWNER"),  # in a namespace of its own
        (root(initial_user_namespace=False, owns_ipc=False), 5, None),  # in somebody else's
    ):
        one = the("mode", {"objects": objects}, who, "shmget", "EACCES")
        assert (one["used"], one["passes"]) == (used, passes)


def test_only_a_tmpfs_is_given_more_room():
    full = {"size": "1M", "used": "1M", "files": 10, "files_used": 10}
    for fstype, more in (("tmpfs", True), ("overlay", False), (None, False)):
        for limit, option in (("inodes of /dev/shm", "nr_inodes=20"), ("size of /dev/shm", "size=2M")):
            one = the(limit, {"mount": {**full, "fstype": fstype}}, caller(), "shm_open", "ENOSPC")
            assert one["state"] == "reached"
            assert ("mount -o remount,%s /dev/shm" % option in one["remedy"]) == more
    one = the("inodes of /dev/shm", {"mount": {"files": 0}}, caller(), "shm_open", "ENOSPC")
    assert (one["state"], one["max"]) == ("free", None)  # nr_inodes=0: no limit


def test_files_that_a_container_root_may_not_open():
    facts = {"objects": [{"kind": "posix-shm", "path": "/x", "uid": 65534, "gid": 65534}]}
    assert the("mode", facts, root(), "shm_open", "EACCES")["used"] == 0
    assert the("mode", facts, root(initial_user_namespace=False), "shm_open", "EACCES")["used"] == 1
    assert the("mode", facts, root(capabilities=DAC_OVERRIDE), "shm_open", "EACCES")["passes"] == "CAP_DAC_OVERRIDE"


def test_descriptors():
    quotas = (
        quota(99, ALICE, 1024, 1024),  # ipcops itself
        quota(5, ALICE, 10, 1024),
        quota(6, ALICE, 900, 1024),
        quota(7, ALICE, 5, -1),  # no limit
        quota(8, BOB, 64, 64, 64),
        quota(9, BOB, 60, 64),
        quota(10, CAROL, 1, 64),
    )
    facts = {"processes": [{"pid": one.pid, "uid": one.uid} for one in quotas]}
    found = [
        one for one in report(facts, caller(quotas=quotas), "shm_open", "EMFILE")["causes"]
        if one["limit"] == "RLIMIT_NOFILE"
    ]  # fmt: skip
    assert [stands(one) for one in found] == [("near", 900, 1024, 124), ("reached", 64, 64, 0)]
    assert [two["pid"] for two in found[0]["users"]] == [6, 5]
    assert [two["pid"] for two in found[1]["users"]] == [8, 9]
    assert "; or prlimit --pid 6 --nofile=2048:4096" in found[0]["remedy"]
    assert "; or as root: prlimit --pid 8 --nofile=128:128" in found[1]["remedy"]
    at_ceiling = caller(quotas=(quota(6, ALICE, 900, 1024),), values={"fs.nr_open": 1024})
    assert "prlimit" not in the("RLIMIT_NOFILE", facts, at_ceiling, "shm_open", "EMFILE")["remedy"]
    assert the("RLIMIT_NOFILE", facts, caller(CAROL, quotas=quotas), "pipe", "EMFILE")["state"] == "free"
    one = the("RLIMIT_NOFILE", {}, caller(), "shm_open", "EMFILE")  # nothing runs but ipcops
    assert (one["state"], one["max"]) == ("free", 1024)


def test_a_process_that_may_not_be_looked_into_leaves_it_open():
    gap = Gap(Evidence.DESCRIPTORS, "descriptors of pid 6 (agent)", "Permission denied", pid=6)
    facts = {"processes": [{"pid": 5, "uid": ALICE}, {"pid": 6, "uid": ALICE}, {"pid": 7, "uid": BOB}]}
    for used, state in ((10, "unknown"), (1000, "near"), (1024, "reached")):
        who = caller(quotas=(quota(5, ALICE, used, 1024), quota(6, ALICE, None, 1024)), gaps=(gap,))
        assert the("RLIMIT_NOFILE", facts, who, "shm_open", "EMFILE")["state"] == state
    who = caller(quotas=(quota(6, ALICE, None, 1024),), gaps=(gap,))
    assert the("RLIMIT_NOFILE", facts, who, "shm_open", "EMFILE")["state"] == "unknown"
    bobs = gap._replace(pid=7)
    who = caller(quotas=(quota(5, ALICE, 10, 1024),), gaps=(bobs,))
    assert the("RLIMIT_NOFILE", facts, who, "shm_open", "EMFILE")["state"] == "free"


def test_bytes_of_queues():
    queues = [{"kind": "posix-mq", "uid": ALICE, "times": 9}, {"kind": "posix-mq", "path": "/b", "uid": BOB}]
    cost = 10 * 8192 + 20 * 48
    facts = {"objects": queues, "processes": [{"pid": 5, "uid": ALICE}]}
    one = the("RLIMIT_MSGQUEUE", facts, caller(), "mq_open", "EMFILE")
    assert stands(one) == ("reached", 9 * cost, 819200, 819200 - 9 * cost)  # what is left holds no default queue
    assert [(two["uid"], two["count"]) for two in one["users"]] == [(ALICE, 9 * cost), (BOB, cost)]
    who = caller(quotas=(quota(5, ALICE, 1, 1024, queue=9 * cost), quota(6, ALICE, 1, 1024, queue=-1)))
    assert stands(the("RLIMIT_MSGQUEUE", facts, who, "mq_open", "EMFILE"))[2] == 9 * cost
    who = caller(CAROL, limits={"nofile": (5, 5), "msgqueue": (-1, -1)})
    assert the("RLIMIT_MSGQUEUE", facts, who, "mq_open", "EMFILE")["state"] == "free"
    found = report(facts, caller(CAROL, quotas=(quota(5, ALICE, 1, 9),)), "mq_open", "EMFILE")["causes"]
    assert [one["state"] for one in found if one["limit"] == "RLIMIT_MSGQUEUE"] == ["free", "reached"]
    small = {**facts, "limits": {"fs.mqueue.msg_default": 1, "fs.mqueue.msgsize_default": 128}}
    assert the("RLIMIT_MSGQUEUE", small, caller(), "mq_open", "EMFILE")["state"] == "near"


def test_values_of_semaphores():
    objects = [
        {"kind": "sem", "id": 1, "nsems": 3, "semaphores": {"values": [0, 5, 0], "ncnt": [2, 0, 0], "zcnt": [0, 1, 0]}},
        {"kind": "sem", "id": 2, "nsems": 1, "semaphores": {"values": [30000]}},
    ]
    one = the("semval", {"objects": objects}, caller(), "semop", "EAGAIN")
    assert (one["state"], one["used"]) == ("per-request", 2)
    assert [(two["id"], two["waiting"], two["zero"]) for two in one["objects"]] == [(1, 3, 2)]
    assert stands(the("SEMVMX", {"objects": objects}, caller(), "semop", "ERANGE")) == ("near", 30000, 32767, 2767)
    objects.append({"kind": "sem", "id": 3, "nsems": 1, "semaphores": None})
    for name, errno in (("semval", "EAGAIN"), ("SEMVMX", "ERANGE")):
        one = the(name, {"objects": objects}, caller(), "semop", errno)
        assert one["state"] == "unknown"
        assert "sem:3" in one["why"]


# ---------------------------------------------------------------- all of it


def test_every_error_of_every_call_is_told():
    for call, one in CALLS.items():
        whole = report({}, caller(), call)
        for errno in one.errors:
            found = report({}, caller(), call, errno)
            assert found["causes"]
            assert all(cause["errno"] in (errno, None) for cause in found["causes"])
            assert all(cause["why"] and cause["state"] in STATES for cause in found["causes"])
            assert {cause["why"] for cause in found["causes"]} <= {cause["why"] for cause in whole["causes"]}
            assert found["summary"].startswith((call, "Whether %s" % call, "No limit", "Nothing"))
            assert json.loads(json.dumps(found))["causes"] == found["causes"]
            text = "".join(plain(in_words(found), 80))
            assert "%" not in re.sub(r"\d %", "", text)  # every template was filled in
            assert max(map(len, text.split("\n"))) <= 80


@pytest.mark.parametrize("call", [None, *CALLS])
def test_what_was_not_seen_is_not_told(call):
    """Without any table, limit or counter, nothing is called free, near or reached."""
    blind = case({"kinds": KINDS, "unread": KINDS, "mount": None})
    blind = Case(blind.snapshot._replace(limits={}), blind.policy)
    who = caller(limits={})
    who = who._replace(values={}, gaps=(Gap(Evidence.LIMITS, "fs.file-nr", "Permission denied"),))
    told = explain_report(blind, who, call, None)["causes"]
    counted_ones = [one for one in told if one["limit"] != "the request itself"]
    assert counted_ones
    assert {one["state"] for one in counted_ones} == {"unknown"}
    assert {one["used"] for one in counted_ones} == {None}
    if call in ("shmget", "pipe"):
        assert "fs.file-nr: Permission denied" in next(o["why"] for o in told if o["limit"] == "file-max")


def test_part_of_a_table_is_the_least_that_there_is():
    gap = {"evidence": Evidence.TABLE, "what": "/x", "why": "Permission denied", "kind": "posix-mq"}
    for count, state in ((1, "unknown"), (200, "near"), (256, "reached")):
        facts = {"objects": [{"kind": "posix-mq", "times": count}], "gaps": [gap]}
        assert the("queues_max", facts, caller(), "mq_open", "ENOSPC")["state"] == state


def test_pipes_that_could_not_be_measured():
    for objects, state in (
        ([*pipes(ALICE, 65536), *pipes(None, None)], "unknown"),
        ([*pipes(ALICE, *[1 << 20] * 64), *pipes(None, None)], "reached"),
        (pipes(ALICE, 65536), "free"),
    ):
        one = the("pipe-user-pages-soft", {"objects": objects}, caller(), "pipe")
        assert one["state"] == state
    unasked = [{**one, "fill": None} for one in pipes(ALICE, 65536)]
    assert the("fill", {"objects": unasked}, caller(), "fcntl", "EBUSY")["state"] == "unknown"


def test_an_old_kernel_has_fewer_limits():
    world = case({"kinds": ["pipe"]})
    world = Case(world.snapshot._replace(limits={}), world.policy)
    found = explain_report(world, caller(), "fcntl", "EPERM")["causes"]
    assert [one["why"] for one in found if one["limit"] == "pipe-max-size"] == [
        "cannot be told: this kernel has no fs.pipe-max-size"
    ]


def test_the_closest_limits():
    facts = {
        "objects": [{"kind": "shm", "times": 3}, {"kind": "msg", "uid": BOB}],
        "limits": {"kernel.shmmni": 4, "kernel.msgmni": 1},
    }
    found = report(facts, caller())
    assert [one["limit"] for one in found["causes"]][:2] == ["MSGMNI", "SHMMNI"]
    assert found["summary"] == "Reached: MSGMNI; near: SHMMNI."
    assert len(found["causes"]) >= len(CLOSEST) - 2  # but for those that have no limit here
    assert all(one["calls"] for one in found["causes"])
    text = "".join(plain(in_words(found), 120))
    assert text.index("MSGMNI ") < text.index("SHMMNI ")
    assert "no limit" in "".join(plain(in_words(report({"limits": {"kernel.shmall": 1 << 63}}, caller())), 120))


# ---------------------------------------------------------------- words that were given


def test_calls_and_errors_that_there_are():
    assert checked(None, None) == (None, None)
    for call, one in CALLS.items():
        assert checked(call, None) == (call, None)
        for errno in one.errors:
            for word in (errno, errno.lower(), str(getattr(numbers, errno))):
                assert checked(call, word) == (call, errno)
    assert checked("fcntl", "EDEADLOCK") == ("fcntl", "EDEADLK")
    with pytest.raises(InputError, match="semget never gives EDEADLK by itself"):
        checked("semget", str(numbers.EDEADLK))


@given(st.text(max_size=12), st.one_of(st.none(), st.text(max_size=12), st.integers(-5, 200).map(str)))
def test_other_words_are_refused(call, errno):
    for one in (call, "semop"):
        valid = one in CALLS and (errno is None or means_one_of(CALLS[one].errors, errno))
        if valid:
            assert checked(one, errno)[0] == one
            continue
        with pytest.raises(InputError, match=r"did you mean|never gives"):
            checked(one, errno)


def means_one_of(known: Any, word: str) -> bool:
    same = {str(getattr(numbers, name)) for name in known} | set(known)
    return word.upper() in same or str(getattr(numbers, word.upper(), "")) in same


@pytest.mark.parametrize("word", ["9" * 5000, "-1", "0", "errorcode", "__name__", "", " ENOSPC", "ENOSPC\n", "٢٨"])
def test_words_that_only_look_like_errors(word):
    with pytest.raises(InputError, match="did you mean"):
        checked("semget", word)


# ---------------------------------------------------------------- who asks

STATUS = (
    b"Name:\t%s\nUmask:\t0022\nState:\tR (running)\nPid:\t7\nPPid:\t1\nUid:\t%d\t%d\t0\t0\nGid:\t%d\t%d\t0\t0\n"
    b"Groups:\t%s\nCapInh:\t0000000000000000\nCapEff:\t%016x\n"
)
IDS = st.integers(0, (1 << 32) - 2)


@given(st.binary(min_size=1, max_size=15), st.tuples(IDS, IDS, IDS, IDS), st.lists(IDS, max_size=5), st.integers(0, 99))
def test_a_status_round_trips(name, ids, groups, capabilities):
    uid, euid, gid, egid = ids
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    text = STATUS % (escaped, uid, euid, gid, egid, b" ".join(b"%d" % one for one in groups), capabilities)
    found = collector.parse_status(text)
    assert found == (7, name.decode("utf-8", "surrogateescape"), uid, euid, (egid, *groups), capabilities)


LIMIT = st.one_of(st.just(-1), st.integers(0, 1 << 62))


@given(st.tuples(LIMIT, LIMIT, LIMIT, LIMIT))
def test_resource_limits_round_trip(values):
    words = [b"unlimited" if value < 0 else b"%d" % value for value in values]
    text = (
        b"Limit                     Soft Limit           Hard Limit           Units     \n"
        b"Max open files            %-20s %-20s files     \nMax locked memory         1  1  bytes\n"
        b"Max msgqueue size         %-20s %-20s bytes     \n" % tuple(words)
    )
    assert parse_rlimits(text) == {"nofile": values[:2], "memlock": (1, 1), "msgqueue": values[2:]}


@given(st.integers(0, 1 << 50), st.integers(0, 1 << 20))
def test_memory_round_trips(kibibytes, pages):
    text = b"MemTotal:       %d kB\nMemFree: 1 kB\nHugePages_Free:     %d\nHugepagesize:       2048 kB\n"
    assert collector.parse_memory(text % (kibibytes, pages)) == {
        "MemTotal": kibibytes << 10, "HugePages_Free": pages, "Hugepagesize": 2 << 20,
    }  # fmt: skip


SAMPLE = STATUS % (b"x", 1, 1, 1, 1, b"1 2", 5)


@given(st.one_of(st.binary(max_size=200), st.tuples(st.integers(0, len(SAMPLE)), st.binary(max_size=5)).map(
    lambda at: SAMPLE[: at[0]] + at[1] + SAMPLE[at[0] + len(at[1]) :]
)))  # fmt: skip
def test_bytes_of_any_kind_parse_or_raise_value_error(raw):
    collector.parse_memory(raw)
    for parse in (collector.parse_status, parse_rlimits):
        with contextlib.suppress(ValueError):
            parse(raw)


@pytest.mark.parametrize("text", [b"Max open files", b"Max open files 5", b"Max open files x y", b"Max msgqueue size"])
def test_a_limit_that_is_none_is_an_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  # whichever message
        parse_rlimits(text)
