"""``ipcops explain`` against the kernel: each limit is filled, the real call fails, and the explanation is right.

Then one object goes and the limit is no longer reached; and where the limit is this world's own, the advice is
followed and the call succeeds. Limits of the whole host are not written: tests/core/test_explain.py has them.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import fcntl
import os
import pickle
import re
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipcops.core.explain.calls import CALLS
from tests import world
from tests.world import GONE, OTHER, THIRD, in_world

PAGE = os.sysconf("SC_PAGE_SIZE")
ANYONE = 0o666
SHM_HUGETLB, SHM_NORESERVE = 0o4000, 0o10000
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032
CAP_IPC_LOCK, CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 14, 21, 24


def tried(call: Callable[[], Any]) -> str:
    """Return how a call ends: ``ok``, or the name of its error."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def explain(*words: str, uid: int | None = None, **more: Any) -> dict[str, Any]:
    """Return the report of an explanation, to root or to another user."""
    answer = world.ipcops("explain", *words, "--format", "json", "--policy", world.policy(world.SCAN), uid=uid, **more)
    assert answer.status == 0, f"{answer.status}: {answer.err}"
    report: dict[str, Any] = answer.json
    assert report["schema"] == "ipcops.explain/1"
    given = [cause["errno"] for cause in report["causes"] if cause["errno"]]
    if len(words) == 2:
        assert set(given) <= {words[1]}
    return report


def the(limit: str, call: str, error: str, uid: int | None = None, **more: Any) -> dict[str, Any]:
    """Return the one cause of that name behind an error of a call, the caller's own where there are others'."""
    found = [cause for cause in explain(call, error, uid=uid, **more)["causes"] if cause["limit"] == limit]
    assert found, f"{limit} is not among the causes"
    return found[0]


def numbers(cause: dict[str, Any]) -> tuple[Any, ...]:
    return cause["state"], cause["used"], cause["max"], cause["left"]


def users(cause: dict[str, Any]) -> list[tuple[int, int]]:
    return [(one["uid"], one["count"]) for one in cause["users"]]


def follow(cause: dict[str, Any], uid: int | None = None) -> None:
    """Do what the remedy says where it is a command, as root or as the user that it is for."""
    remedy = cause["remedy"]
    settings = re.search(r"sysctl -w ((?:[a-z_.]+=(?:\"[^\"]*\"|\S+?) ?)+)(?:[ (;]|$)", remedy)
    process = re.search(r"(prlimit --pid \d+ --\w+=[\w:]+)", remedy)
    remount = re.search(r"(mount -o remount,\S+ /dev/shm)", remedy)
    assert settings or process or remount, remedy
    if settings:
        for name, quoted, plain in re.findall(r"([a-z_.]+)=(?:\"([^\"]*)\"|(\S+))", settings[1]):
            world.limit(name, quoted or plain)
    if remount:
        world.needs_root()  # mount(8) does less in a user namespace
    for command in (process, remount):
        if command:
            words = command[1].split()
            if shutil.which(words[0]) is None:
                pytest.skip(f"there is no {words[0]} here to follow the advice with")
            assert uid is None or "as root" not in remedy
            world.as_uid(uid, lambda words=words: subprocess.run(words, check=True, stdout=subprocess.DEVNULL))


def may(bit: int) -> bool:
    """Tell whether we have a capability: root need not have all."""
    text = Path("/proc/self/status").read_text()
    found = re.search(r"^CapEff:\t([0-9a-f]+)$", text, re.MULTILINE)
    assert found
    initial = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    return initial and bool(int(found[1], 16) >> bit & 1)


class Actor:
    """A process of some user that does what it is told, one step at a time, and keeps what it made."""

    def __init__(self, uid: int | None, *steps: Callable[[], Any], **limits: tuple[int, int]) -> None:
        ours, theirs = socket.socketpair()
        names = {step.__name__: step for step in steps}

        def begin() -> None:
            ours.close()
            for name, both in limits.items():
                resource.setrlimit(getattr(resource, "RLIMIT_" + name.upper()), both)

        def serve(_: object) -> None:
            while name := theirs.recv(100).decode():
                try:
                    answer = ("ok", names[name]())
                except OSError as error:
                    answer = (errno.errorcode[error.errno or 0], None)
                theirs.sendall(pickle.dumps(answer))

        self.process = world.spawn(begin, then=serve, uid=uid)
        theirs.close()
        self.link = ours

    def do(self, step: Callable[[], Any]) -> tuple[str, Any]:
        """Return how a step ended, and what it returned."""
        self.link.sendall(step.__name__.encode())
        answer: tuple[str, Any] = pickle.loads(self.link.recv(1 << 16))
        return answer


# ---------------------------------------------------------------- semaphores


@in_world()
def test_semmni():
    world.limit("kernel.sem", "32000 1024000000 500 4")
    sets = [world.as_uid(GONE, lambda: world.semget(1)) for _ in range(3)] + [world.semget(1)]
    assert tried(lambda: world.semget(1)) == "ENOSPC"
    one = the("SEMMNI", "semget", "ENOSPC")
    assert numbers(one) == ("reached", 4, 4, 0)
    assert users(one) == [(GONE, 3), (0, 1)]
    assert (one["setting"], one["scope"], one["calls"], one["share"]) == ("kernel.sem", "namespace", ["semget"], 1.0)
    assert numbers(the("SEMMNS", "semget", "ENOSPC"))[0] == "free"
    assert explain("semget", "ENOSPC")["summary"].startswith("semget with ENOSPC fails here now: SEMMNI: 4 of 4 ")
    assert numbers(the("SEMMNI", "semget", "ENOSPC", uid=OTHER))[0] == "reached"
    world.semrm(sets[0])
    assert numbers(the("SEMMNI", "semget", "ENOSPC")) == ("near", 3, 4, 1)
    assert tried(lambda: world.semget(1)) == "ok"
    follow(the("SEMMNI", "semget", "ENOSPC"))
    assert tried(lambda: world.semget(1)) == "ok"
    assert numbers(the("SEMMNI", "semget", "ENOSPC"))[0] == "free"


@in_world()
def test_semmns():
    world.limit("kernel.sem", "32000 20 500 4000")
    world.as_uid(GONE, lambda: world.semget(12))
    last = world.semget(7)
    assert tried(lambda: world.semget(2)) == "ENOSPC"
    one = the("SEMMNS", "semget", "ENOSPC")
    assert numbers(one) == ("near", 19, 20, 1)
    most = the("SEMMSL", "semget", "EINVAL")
    assert numbers(most) == ("per-request", None, 32000, 1)
    world.semget(most["left"])
    one = the("SEMMNS", "semget", "ENOSPC")
    assert numbers(one) == ("reached", 20, 20, 0)
    assert users(one) == [(GONE, 12), (0, 8)]
    assert tried(lambda: world.semget(1)) == "ENOSPC"
    assert numbers(the("SEMMSL", "semget", "EINVAL")) == ("per-request", None, 32000, 0)
    world.semrm(last)
    assert numbers(the("SEMMNS", "semget", "ENOSPC"))[0] == "free"
    world.semget(7)
    follow(one)
    assert tried(lambda: world.semget(20)) == "ok"


@in_world()
def test_semmsl():
    world.limit("kernel.sem", "10 1024000000 500 4000")
    one = the("SEMMSL", "semget", "EINVAL")
    assert numbers(one) == ("per-request", None, 10, 10)
    assert tried(lambda: world.semget(one["left"] + 1)) == "EINVAL"
    assert tried(lambda: world.semget(one["left"])) == "ok"
    follow(one)
    assert tried(lambda: world.semget(one["left"] + 1)) == "ok"
    world.limit("kernel.sem", "0 1024000000 500 4000")
    assert tried(lambda: world.semget(1)) == "EINVAL"
    assert numbers(the("SEMMSL", "semget", "EINVAL")) == ("reached", None, 0, 0)


class Sembuf(ctypes.Structure):
    _fields_ = (("num", ctypes.c_ushort), ("op", ctypes.c_short), ("flags", ctypes.c_short))


def semops(semid: int, count: int) -> None:
    operations = (Sembuf * count)(*[Sembuf(0, 1, 0)] * count)
    world._call("semop", semid, ctypes.byref(operations), ctypes.c_size_t(count))


@in_world()
def test_semopm():
    world.limit("kernel.sem", "32000 1024000000 5 4000")
    semid = world.semget(1)
    one = the("SEMOPM", "semop", "E2BIG")
    assert numbers(one) == ("per-request", None, 5, 5)
    assert tried(lambda: semops(semid, one["left"] + 1)) == "E2BIG"
    assert tried(lambda: semops(semid, one["left"])) == "ok"
    follow(one)
    assert tried(lambda: semops(semid, one["left"] + 1)) == "ok"
    world.limit("kernel.sem", "32000 1024000000 0 4000")
    assert tried(lambda: semops(semid, 1)) == "E2BIG"
    assert numbers(the("SEMOPM", "semop", "E2BIG"))[0] == "reached"


@in_world()
def test_semvmx():
    semid = world.semget(3)
    assert numbers(the("SEMVMX", "semop", "ERANGE")) == ("free", 0, 32767, 32767)
    world.semctl(semid, 1, world.SETVAL, 32767)
    assert tried(lambda: world.semop(semid, 1, num=1)) == "ERANGE"
    one = the("SEMVMX", "semop", "ERANGE")
    assert numbers(one) == ("reached", 32767, 32767, 0)
    assert [(two["id"], two["value"]) for two in one["objects"]] == [(semid, 32767)]
    world.semop(semid, -20000, num=1)
    assert numbers(the("SEMVMX", "semop", "ERANGE")) == ("free", 12767, 32767, 20000)


@in_world()
def test_a_semaphore_that_would_block():
    semid, other = world.semget(2), world.semget(1)
    assert tried(lambda: world.semop(semid, -1, num=1, flags=world.IPC_NOWAIT)) == "EAGAIN"
    waiter = world.spawn(then=lambda _: world.semop(semid, -1, num=1))
    world.wait_blocked(waiter.pid, "semop", semid)
    one = the("semval", "semop", "EAGAIN")
    assert (one["state"], one["used"]) == ("per-request", 3)
    assert [(two["id"], two["waiting"], two["zero"]) for two in one["objects"]] == [(semid, 1, 2), (other, 0, 1)]
    waiter.kill()
    for number in range(2):
        world.semop(semid, 1, num=number)
    world.semop(other, 1)
    assert tried(lambda: world.semop(semid, -1, num=1, flags=world.IPC_NOWAIT)) == "ok"
    world.semop(semid, 1, num=1)
    assert numbers(the("semval", "semop", "EAGAIN"))[0] == "free"


@in_world()
def test_values_that_may_not_be_read_are_not_told():
    world.needs_root()
    semid = world.semget(1, mode=0o600)
    answer = world.ipcops("explain", "semop", "EAGAIN", "--policy", world.policy(world.SCAN), uid=GONE)
    assert answer.status == 3
    assert "Permission denied" in answer.err
    assert f"sem:{semid}" in answer.err


# ---------------------------------------------------------------- segments


@in_world()
def test_shmmni():
    world.limit("kernel.shmmni", 3)
    mine = [world.shmget(PAGE)]
    for _ in range(2):
        world.as_uid(GONE, lambda: world.shmget(PAGE))
    assert tried(lambda: world.shmget(1)) == "ENOSPC"
    one = the("SHMMNI", "shmget", "ENOSPC")
    assert numbers(one) == ("reached", 3, 3, 0)
    assert users(one) == [(GONE, 2), (0, 1)]
    address = world.shmat(mine[0])
    world.shmrm(mine[0])  # it is removed, and counts until it is detached
    assert tried(lambda: world.shmget(1)) == "ENOSPC"
    assert numbers(the("SHMMNI", "shmget", "ENOSPC"))[0] == "reached"
    world.shmdt(address)
    assert numbers(the("SHMMNI", "shmget", "ENOSPC")) == ("free", 2, 3, 1)
    world.shmget(1)
    follow(one)
    assert tried(lambda: world.shmget(1)) == "ok"


@in_world()
def test_shmall():
    world.limit("kernel.shmall", 10)
    world.as_uid(GONE, lambda: world.shmget(5 * PAGE + 1))
    last = world.shmget(2 * PAGE)
    one = the("SHMALL", "shmget", "ENOSPC")
    assert numbers(one) == ("near", 8, 10, 2)
    assert users(one) == [(GONE, 6), (0, 2)]
    assert tried(lambda: world.shmget(2 * PAGE + 1)) == "ENOSPC"
    largest = the("SHMMAX", "shmget", "EINVAL")
    assert largest["left"] == 2 * PAGE
    assert tried(lambda: world.shmget(largest["left"])) == "ok"
    assert tried(lambda: world.shmget(1)) == "ENOSPC"
    assert numbers(the("SHMALL", "shmget", "ENOSPC")) == ("reached", 10, 10, 0)
    world.shmrm(last)
    assert numbers(the("SHMALL", "shmget", "ENOSPC"))[0] == "near"
    assert tried(lambda: world.shmget(2 * PAGE)) == "ok"
    follow(the("SHMALL", "shmget", "ENOSPC"))
    assert tried(lambda: world.shmget(3 * PAGE)) == "ok"


@in_world()
def test_shmmax():
    world.limit("kernel.shmmax", 5000)
    one = the("SHMMAX", "shmget", "EINVAL")
    assert numbers(one) == ("per-request", None, 5000, 5000)
    assert tried(lambda: world.shmget(0)) == "EINVAL"  # SHMMIN
    assert "at least 1" in one["why"]
    assert tried(lambda: world.shmget(one["left"] + 1)) == "EINVAL"
    assert tried(lambda: world.shmget(one["left"])) == "ok"
    world.limit("kernel.shmmax", 0)
    assert tried(lambda: world.shmget(1)) == "EINVAL"
    one = the("SHMMAX", "shmget", "EINVAL")
    assert numbers(one) == ("reached", None, 0, 0)
    follow(one)
    assert tried(lambda: world.shmget(1 << 20)) == "ok"


@in_world()
def test_memory_that_is_promised():
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "0":
        pytest.skip("vm.overcommit_memory is not 0 here, and is the whole host's")
    one = the("overcommit", "shmget", "ENOMEM")
    assert one["state"] == "per-request"
    assert tried(lambda: world.shmget(one["left"] + 1)) == "ENOMEM"
    assert tried(lambda: world.shmget(one["left"])) == "ok"
    assert "SHM_NORESERVE" in one["remedy"]
    assert tried(lambda: world.shmget(one["left"] + 1, mode=0o600 | SHM_NORESERVE)) == "ok"


@in_world()
def test_huge_pages():
    world.needs_root()
    if not Path("/proc/sys/vm/hugetlb_shm_group").exists():
        pytest.skip("this kernel has no huge pages")
    group = int(Path("/proc/sys/vm/hugetlb_shm_group").read_text())
    meminfo = dict(line.split()[:2] for line in Path("/proc/meminfo").read_text().splitlines())
    size = int(meminfo["Hugepagesize:"]) << 10

    def huge(count: int = 1) -> str:
        return tried(lambda: world.shmget(count * size, mode=0o600 | SHM_HUGETLB))

    assert world.as_uid(GONE, huge) == "EPERM"
    one = the("SHM_HUGETLB", "shmget", "EPERM", uid=GONE)
    assert (one["state"], one["passes"]) == ("per-request", None)
    # What lets a caller past it; the setting is the whole host's, so it is not changed.
    assert world.as_uid(GONE, huge, groups=(group,)) != "EPERM"
    one = the("SHM_HUGETLB", "shmget", "EPERM", uid=GONE, groups=(group,))
    assert (one["state"], one["passes"]) == ("free", f"group {group}")
    if may(CAP_IPC_LOCK):
        assert the("SHM_HUGETLB", "shmget", "EPERM")["passes"] == "CAP_IPC_LOCK"
        one = the("huge pages", "shmget", "ENOMEM")
        assert huge(one["left"] // size + 1) == "ENOMEM"
        if one["left"]:
            assert huge(one["left"] // size) == "ok"


# ---------------------------------------------------------------- queues


@in_world()
def test_msgmni():
    world.limit("kernel.msgmni", 2)
    queues = [world.as_uid(GONE, world.msgget), world.msgget()]
    assert tried(world.msgget) == "ENOSPC"
    one = the("MSGMNI", "msgget", "ENOSPC")
    assert numbers(one) == ("reached", 2, 2, 0)
    assert users(one) == [(0, 1), (GONE, 1)]
    world.msgrm(queues[0])
    assert numbers(the("MSGMNI", "msgget", "ENOSPC")) == ("free", 1, 2, 1)
    world.msgget()
    follow(one)
    assert tried(world.msgget) == "ok"


@in_world()
def test_a_limit_below_what_exists():
    for _ in range(3):
        world.msgget()
    world.limit("kernel.msgmni", 2)
    assert tried(world.msgget) == "ENOSPC"
    one = the("MSGMNI", "msgget", "ENOSPC")
    assert numbers(one) == ("reached", 3, 2, 0)
    assert one["share"] == 1.5
    follow(one)
    assert tried(world.msgget) == "ok"


@in_world()
def test_a_limit_at_the_kernels_ceiling_is_not_raised():
    world.limit("kernel.msgmni", 32768)
    one = the("MSGMNI", "msgget", "ENOSPC")
    with pytest.raises(OSError, match="Invalid argument"):
        world.limit("kernel.msgmni", 32769)
    assert "sysctl" not in one["remedy"]
    assert "MSG-004" in one["remedy"]


@in_world()
def test_msgmax():
    world.limit("kernel.msgmax", 100)
    queue = world.msgget()
    one = the("MSGMAX", "msgsnd", "EINVAL")
    assert numbers(one) == ("per-request", None, 100, 100)
    assert tried(lambda: world.msgsnd(queue, b"x" * (one["left"] + 1))) == "EINVAL"
    assert tried(lambda: world.msgsnd(queue, b"x" * one["left"])) == "ok"
    follow(one)
    assert tried(lambda: world.msgsnd(queue, b"x" * (one["left"] + 1))) == "ok"


@in_world()
def test_full_queues():
    world.limit("kernel.msgmnb", 150)
    assert the("msg_qbytes", "msgsnd", "EAGAIN")["state"] == "free"
    queue = world.as_uid(GONE, lambda: world.msgget(mode=ANYONE))
    world.msgsnd(queue, b"x" * 130)
    assert tried(lambda: world.msgsnd(queue, b"x" * 21)) == "EAGAIN"
    one = the("msg_qbytes", "msgsnd", "EAGAIN")
    assert numbers(one) == ("near", 130, 150, 20)
    assert tried(lambda: world.msgsnd(queue, b"x" * one["left"])) == "ok"
    assert tried(lambda: world.msgsnd(queue, b"x")) == "EAGAIN"
    one = the("msg_qbytes", "msgsnd", "EAGAIN")
    assert numbers(one) == ("reached", 150, 150, 0)
    assert users(one) == [(GONE, 150)]
    assert [(two["id"], two["qnum"], two["cbytes"], two["qbytes"]) for two in one["objects"]] == [(queue, 2, 150, 150)]
    world.msgrcv(queue)
    assert numbers(the("msg_qbytes", "msgsnd", "EAGAIN"))[0] == "free"
    follow(one)
    queue = world.msgget()
    assert tried(lambda: world.msgsnd(queue, b"x" * 151)) == "ok"


@in_world()
def test_a_queue_that_is_full_of_empty_messages():
    queue = world.msgget()
    world.msgset(queue, qbytes=2)
    for _ in range(2):
        world.msgsnd(queue, b"")
    assert tried(lambda: world.msgsnd(queue, b"")) == "EAGAIN"
    one = the("msg_qbytes", "msgsnd", "EAGAIN")
    assert numbers(one) == ("reached", 2, 2, 0)
    assert [two["qnum"] for two in one["objects"]] == [2]


# ---------------------------------------------------------------- POSIX queues


def make_queue(name: str, maxmsg: int = 1, msgsize: int = 128, **more: int) -> None:
    os.close(world.mq_open(name, maxmsg=maxmsg, msgsize=msgsize, **more))


@in_world(mqueue=True)
def test_queues_max():
    world.needs_root()
    world.limit("fs.mqueue.queues_max", 3)
    for name in "/a", "/b":
        world.as_uid(GONE, lambda name=name: make_queue(name))
    held = world.mq_open("/c", maxmsg=1, msgsize=128)
    world.mq_unlink("/c")  # without a name, and still open: it counts
    assert world.as_uid(OTHER, lambda: tried(lambda: make_queue("/d"))) == "ENOSPC"
    one = the("queues_max", "mq_open", "ENOSPC")
    assert numbers(one) == ("reached", 3, 3, 0)
    assert users(one) == [(GONE, 2)]
    # A caller with CAP_SYS_RESOURCE gets past it, and is told so; not every root has it.
    passes = tried(lambda: make_queue("/root")) == "ok"
    assert passes == may(CAP_SYS_RESOURCE)
    assert one["passes"] == ("CAP_SYS_RESOURCE" if passes else None)
    if passes:
        world.mq_unlink("/root")
    os.close(held)
    assert numbers(the("queues_max", "mq_open", "ENOSPC")) == ("free", 2, 3, 1)
    world.as_uid(OTHER, lambda: make_queue("/d"))
    follow(one)
    assert world.as_uid(OTHER, lambda: tried(lambda: make_queue("/e"))) == "ok"


@in_world(mqueue=True)
def test_what_an_ordinary_user_cannot_see_is_not_claimed():
    world.needs_root()
    world.limit("fs.mqueue.queues_max", 3)
    holder = world.spawn(lambda: (world.mq_open("/c", maxmsg=1, msgsize=128), world.mq_unlink("/c")), uid=GONE)
    assert holder.value
    answer = world.ipcops("explain", "mq_open", "ENOSPC", "--policy", world.policy(world.SCAN), uid=OTHER)
    assert answer.status == 3  # it does not see who has queues without a name
    assert "cannot be told" in answer.err
    for name in "/d", "/e":
        world.as_uid(GONE, lambda name=name: make_queue(name))
    assert world.as_uid(OTHER, lambda: tried(lambda: make_queue("/f"))) == "ENOSPC"


@in_world(mqueue=True, pids=True)
def test_rlimit_msgqueue():
    world.needs_root()
    world.limit("fs.mqueue.msg_default", 2)
    world.limit("fs.mqueue.msgsize_default", 128)
    default = 2 * 128 + 2 * 96
    made: list[str] = []

    def make() -> None:
        name = f"/q{len(made)}"
        make_queue(name, 2, 128)
        made.append(name)

    user = Actor(GONE, make, msgqueue=(3 * default + 10, 8 * default))
    for _ in range(3):
        assert user.do(make)[0] == "ok"
    assert user.do(make)[0] == "EMFILE"
    one = the("RLIMIT_MSGQUEUE", "mq_open", "EMFILE", uid=GONE)
    assert numbers(one) == ("reached", 3 * default, 3 * default + 10, 10)
    assert (users(one), one["scope"]) == ([(GONE, 3 * default)], "user")
    # Root sees it as the worst of the others, after its own.
    causes = [two for two in explain("mq_open", "EMFILE")["causes"] if two["limit"] == "RLIMIT_MSGQUEUE"]
    assert [two["state"] for two in causes] == ["free", "reached"]
    assert causes[1]["used"] == 3 * default
    assert "not you" not in causes[1]["why"]
    assert "for a user other than you" in explain("mq_open", "EMFILE")["summary"]
    world.mq_unlink("/q0")
    causes = [two for two in explain("mq_open", "EMFILE")["causes"] if two["limit"] == "RLIMIT_MSGQUEUE"]
    assert [two["state"] for two in causes] == ["free"]  # its own: nobody is short of bytes
    one = the("RLIMIT_MSGQUEUE", "mq_open", "EMFILE", uid=GONE)
    assert (one["used"], one["state"]) == (2 * default, "unknown")  # the mount could be another namespace's
    assert user.do(make)[0] == "ok"
    assert user.do(make)[0] == "EMFILE"
    follow(the("RLIMIT_MSGQUEUE", "mq_open", "EMFILE", uid=GONE), uid=GONE)
    assert user.do(make)[0] == "ok"


@in_world(mqueue=True)
def test_the_attributes_of_a_queue():
    world.needs_root()
    world.limit("fs.mqueue.msg_max", 5)
    world.limit("fs.mqueue.msgsize_max", 200)

    def as_user(maxmsg: int, msgsize: int) -> str:
        return str(world.as_uid(GONE, lambda: tried(lambda: make_queue("/new", maxmsg, msgsize))))

    most, size = (the(name, "mq_open", "EINVAL", uid=GONE) for name in ("msg_max", "msgsize_max"))
    assert numbers(most) == ("per-request", None, 5, 5)
    assert numbers(size) == ("per-request", None, 200, 200)
    assert as_user(most["left"] + 1, 1) == as_user(1, size["left"] + 1) == as_user(0, 1) == "EINVAL"
    assert as_user(most["left"], size["left"]) == "ok"
    mine = the("msg_max", "mq_open", "EINVAL")
    assert mine["left"] == (65536 if may(CAP_SYS_RESOURCE) else 5)
    assert tried(lambda: make_queue("/root", mine["left"] + 1, 1)) == "EINVAL"
    world.mq_unlink("/new")
    follow(most)
    follow(size)
    assert as_user(most["left"] + 1, size["left"] + 1) == "ok"
    world.limit("fs.mqueue.msg_max", 65536)
    with pytest.raises(OSError, match="Invalid argument"):
        world.limit("fs.mqueue.msg_max", 65537)
    assert "sysctl" not in the("msg_max", "mq_open", "EINVAL", uid=GONE)["remedy"]


# ---------------------------------------------------------------- descriptors


def shm_open(name: str, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    return world._call("shm_open", name.encode(), flags, ctypes.c_uint(0o600))


OPENERS = {
    "mq_open": (lambda: world.mq_open("/new", maxmsg=1, msgsize=128), 1),
    "shm_open": (lambda: shm_open("/new"), 1),
    "pipe": (os.pipe, 2),
    "fcntl": (lambda: fcntl.fcntl(0, fcntl.F_DUPFD, 0), 1),
}


@pytest.mark.parametrize("call", OPENERS)
@in_world(mqueue=True, pids=True)
def test_rlimit_nofile(call):
    world.needs_root()
    function, takes = OPENERS[call]
    kept: list[int] = []

    def fill() -> None:
        while True:
            kept.append(os.dup(0))

    def free() -> None:
        for _ in range(takes):
            os.close(kept.pop())

    def make() -> None:
        found = function()
        for one in found if isinstance(found, tuple) else (found,):
            os.close(one)

    user = Actor(GONE, fill, free, make, nofile=(40, 200))
    assert user.do(make)[0] == "ok"
    assert user.do(fill)[0] == "EMFILE"
    assert user.do(make)[0] == "EMFILE"
    one = the("RLIMIT_NOFILE", call, "EMFILE", uid=GONE)
    assert numbers(one) == ("reached", 40, 40, 0)
    assert [(two["uid"], two["pid"], two["count"], two["max"]) for two in one["users"]] == [
        (GONE, user.process.pid, 40, 40)
    ]
    causes = [two for two in explain(call, "EMFILE")["causes"] if two["limit"] == "RLIMIT_NOFILE"]
    assert [two["state"] for two in causes] == ["free", "reached"]
    assert causes[1]["users"][0]["pid"] == user.process.pid
    assert user.do(free)[0] == "ok"
    assert numbers(the("RLIMIT_NOFILE", call, "EMFILE", uid=GONE)) == ("near", 40 - takes, 40, takes)
    assert user.do(make)[0] == "ok"
    assert user.do(fill)[0] == "EMFILE"
    follow(one, uid=GONE)
    assert user.do(make)[0] == "ok"
    assert the("RLIMIT_NOFILE", call, "EMFILE", uid=GONE)["max"] == 80


@in_world(pids=True)
def test_a_pipe_takes_two_descriptors():
    world.needs_root()
    kept: list[int] = []

    def fill() -> None:
        while True:
            kept.append(os.dup(0))

    def free() -> None:
        os.close(kept.pop())

    def make() -> None:
        os.pipe()

    user = Actor(GONE, fill, free, make, nofile=(40, 40))
    user.do(fill)
    user.do(free)
    assert user.do(make)[0] == "EMFILE"
    assert numbers(the("RLIMIT_NOFILE", "pipe", "EMFILE", uid=GONE)) == ("reached", 39, 40, 1)
    assert numbers(the("RLIMIT_NOFILE", "fcntl", "EMFILE", uid=GONE)) == ("near", 39, 40, 1)


@in_world()
def test_the_highest_number_that_may_be_asked_for():
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    one = next(cause for cause in explain("fcntl", "EINVAL")["causes"] if cause["limit"] == "RLIMIT_NOFILE")
    assert numbers(one) == ("per-request", None, soft, soft - 1)
    assert tried(lambda: fcntl.fcntl(0, fcntl.F_DUPFD, soft)) == "EINVAL"
    assert tried(lambda: os.close(fcntl.fcntl(0, fcntl.F_DUPFD, one["left"]))) == "ok"


# ---------------------------------------------------------------- /dev/shm


@in_world(shm="size=1m,nr_inodes=8")
def test_inodes_of_dev_shm():
    for number in range(5):
        world.as_uid(GONE, lambda number=number: world.shm_file(f"theirs{number}"))
    world.shm_file("mine")
    held = os.open("/dev/shm/mine", os.O_RDONLY)
    os.unlink("/dev/shm/mine")  # without a name, and still open: it counts
    world.shm_file("mine")
    assert tried(lambda: shm_open("/more")) == "ENOSPC"
    one = the("inodes of /dev/shm", "shm_open", "ENOSPC")
    assert numbers(one) == ("reached", 8, 8, 0)
    assert users(one) == [(GONE, 5), (0, 1)]
    os.close(held)
    assert numbers(the("inodes of /dev/shm", "shm_open", "ENOSPC")) == ("near", 7, 8, 1)
    world.shm_file("more")
    follow(one)
    assert tried(lambda: world.shm_file("still-more")) == "ok"


@in_world(shm="size=1m,nr_inodes=8")
def test_memory_of_dev_shm_fails_late():
    path = world.shm_file("full", b"x" * (1 << 20))
    file = shm_open("/late")  # succeeds
    os.ftruncate(file, 1 << 20)  # succeeds, too
    assert tried(lambda: os.write(file, b"x")) == "ENOSPC"

    pid = os.fork()
    if not pid:
        faulthandler.disable()
        world.touch(world.map_file("/dev/shm/late"), 1)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGBUS
    report = explain("shm_open", "ENOSPC")
    one = next(cause for cause in report["causes"] if cause["limit"] == "size of /dev/shm")
    assert numbers(one) == ("reached", 1 << 20, 1 << 20, 0)
    assert one["errno"] is None
    assert "SIGBUS" in one["why"]
    assert report["summary"].startswith("shm_open with ENOSPC does not fail here now, and yet: size of /dev/shm")
    assert users(one) == [(0, 1 << 20)]
    os.unlink(path)
    assert tried(lambda: os.write(file, b"x")) == "ok"
    one = next(cause for cause in explain("shm_open")["causes"] if cause["limit"] == "size of /dev/shm")
    assert one["state"] == "free"
    world.shm_file("full", b"x" * ((1 << 20) - PAGE))
    follow(next(cause for cause in explain("shm_open")["causes"] if cause["limit"] == "size of /dev/shm"))
    assert tried(lambda: world.shm_file("more", b"x" * PAGE)) == "ok"


# ---------------------------------------------------------------- pipes


def soft_limit() -> int:
    """Return the pages that a user's pipes may take before new ones are small. It is the whole host's: only read."""
    soft = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text())
    size = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    if not 64 <= soft <= 1 << 16 or size < soft * PAGE // 128:
        pytest.skip(f"fs.pipe-user-pages-soft is {soft} here: too many pipes, or none, would fill it")
    return soft


def sees_its_own() -> None:
    path = Path("/proc/sys/kernel/yama/ptrace_scope")
    if path.exists() and path.read_text().strip() != "0":
        pytest.skip("a user may not look into its own pipes here (kernel.yama.ptrace_scope)")


@in_world(pids=True)
def test_pipe_user_pages_soft():
    world.needs_root()
    sees_its_own()
    soft, large = soft_limit(), int(Path("/proc/sys/fs/pipe-max-size").read_text())
    pipes: list[tuple[int, int]] = []

    def fill() -> None:
        while True:
            pipes.append(os.pipe())
            fcntl.fcntl(pipes[-1][0], F_SETPIPE_SZ, large)

    def pages() -> int:
        return sum(fcntl.fcntl(one, F_GETPIPE_SZ) for one, _ in pipes) // PAGE

    def make() -> int:
        pipes.append(os.pipe())
        return fcntl.fcntl(pipes[-1][0], F_GETPIPE_SZ)

    def grow() -> None:
        fcntl.fcntl(pipes[-1][0], F_SETPIPE_SZ, 16 * PAGE)

    def free() -> None:
        for one in pipes.pop(0):
            os.close(one)

    user = Actor(GONE, fill, pages, make, grow, free)
    assert user.do(make) == ("ok", 16 * PAGE)
    assert user.do(fill)[0] == "EPERM"
    while user.do(make)[1] != 2 * PAGE:
        pass
    assert user.do(grow)[0] == "EPERM"
    used = user.do(pages)[1]
    one = next(cause for cause in explain("pipe", uid=GONE)["causes"] if cause["limit"] == "pipe-user-pages-soft")
    assert numbers(one) == ("reached", used, soft, max(0, soft - used))
    assert (one["errno"], users(one)[0]) == (None, (GONE, used))
    assert "8192 bytes instead of 65536" in one["why"] or PAGE != 4096
    grown = the("pipe-user-pages-soft", "fcntl", "EPERM", uid=GONE)
    assert grown["used"] == used
    assert grown["state"] == ("reached" if used >= soft else "near")
    # Root, who gets past it, is told of the worst of the others.
    causes = [cause for cause in explain("fcntl", "EPERM")["causes"] if cause["limit"] == "pipe-user-pages-soft"]
    assert [cause["used"] for cause in causes][-1] == used
    assert causes[0]["passes"] == ("CAP_SYS_RESOURCE" if may(CAP_SYS_RESOURCE) else "CAP_SYS_ADMIN")
    user.do(free)
    user.do(free)
    assert user.do(grow)[0] == "ok"
    one = next(cause for cause in explain("pipe", uid=GONE)["causes"] if cause["limit"] == "pipe-user-pages-soft")
    assert one["state"] == "near"
    assert user.do(make) == ("ok", 16 * PAGE)


@in_world()
def test_pipe_max_size():
    world.needs_root()
    size = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    assert soft_limit() * PAGE >= 2 * size

    def grow(count: int) -> str:
        reader, writer = os.pipe()
        try:
            return tried(lambda: fcntl.fcntl(reader, F_SETPIPE_SZ, count))
        finally:
            os.close(reader)
            os.close(writer)

    one = the("pipe-max-size", "fcntl", "EPERM", uid=GONE)
    assert numbers(one) == ("per-request", None, size, size)
    assert one["passes"] is None
    assert world.as_uid(GONE, lambda: grow(one["left"] + 1)) == "EPERM"
    assert world.as_uid(GONE, lambda: grow(one["left"])) == "ok"
    mine = the("pipe-max-size", "fcntl", "EPERM")
    assert mine["passes"] == ("CAP_SYS_RESOURCE" if may(CAP_SYS_RESOURCE) else None)
    assert mine["left"] == (1 << 31 if may(CAP_SYS_RESOURCE) else size)
    if not may(CAP_SYS_RESOURCE):
        assert grow(mine["left"] + 1) == "EPERM"


@in_world(pids=True)
def test_a_pipe_cannot_shrink_below_what_is_in_it():
    reader, writer = os.pipe()
    assert the("fill", "fcntl", "EBUSY")["state"] == "free"
    os.write(writer, b"x" * 3 * PAGE)
    assert tried(lambda: fcntl.fcntl(reader, F_SETPIPE_SZ, PAGE)) == "EBUSY"
    one = the("fill", "fcntl", "EBUSY")
    assert one["state"] == "per-request"
    assert [(two["id"], two["fill"]) for two in one["objects"]] == [(os.fstat(reader).st_ino, 3 * PAGE)]
    os.read(reader, 3 * PAGE)
    assert tried(lambda: fcntl.fcntl(reader, F_SETPIPE_SZ, PAGE)) == "ok"
    assert the("fill", "fcntl", "EBUSY")["state"] == "free"


@in_world()
def test_locks_are_told_with_the_command_that_names_the_holders():
    path = world.here() / "lock"
    path.touch()
    held = os.open(path, os.O_RDWR)
    fcntl.lockf(held, fcntl.LOCK_EX)

    def conflict() -> str:
        return tried(lambda: fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB))

    assert world.as_uid(None, conflict) == "EAGAIN"
    (one,) = explain("fcntl", "EAGAIN")["causes"]
    assert "ipcops list lock" in one["remedy"]


# ---------------------------------------------------------------- modes and keys


MAKERS: dict[str, tuple[str, Callable[..., Any], Callable[[], Any]]] = {
    "semget": ("sem", lambda **more: world.semget(1, **more), lambda: world._call("semget", 0x77, 1, 0o600)),
    "shmget": (
        "shm", lambda **more: world.shmget(1, **more), lambda: world._call("shmget", 0x77, ctypes.c_size_t(1), 0o600),
    ),
    "msgget": ("msg", world.msgget, lambda: world._call("msgget", 0x77, 0o600)),
}  # fmt: skip


@pytest.mark.parametrize("call", MAKERS)
@in_world()
def test_a_mode_that_refuses_and_a_key_that_is_taken(call):
    world.needs_root()
    kind, make, get = MAKERS[call]
    assert explain(call, "EEXIST")["causes"][0]["state"] == "free"
    made = world.as_uid(GONE, lambda: make(key=0x77, mode=0o640), gid=GONE)
    make(mode=0o600)  # without a key nobody can ask for it
    assert world.as_uid(OTHER, lambda: tried(get)) == "EACCES"
    one = the("mode", call, "EACCES", uid=OTHER)
    assert numbers(one) == ("per-request", 1, 1, None)
    assert [(two["kind"], two["id"], two["key"], two["mode"]) for two in one["objects"]] == [
        (kind, made, "0x00000077", "0640")
    ]
    assert one["objects"][0]["owner"]["uid"] == GONE
    # The group may read only, the owner all.
    assert world.as_uid(OTHER, lambda: tried(get), groups=(GONE,)) == "EACCES"
    assert the("mode", call, "EACCES", uid=OTHER, groups=(GONE,))["used"] == 1
    assert world.as_uid(GONE, lambda: tried(get)) == "ok"
    assert numbers(the("mode", call, "EACCES", uid=GONE))[:2] == ("free", 0)
    # Root gets past it, and is told who should ask instead.
    assert tried(get) == "ok"
    mine = the("mode", call, "EACCES")
    assert (mine["state"], mine["passes"]) == ("free", "CAP_IPC_OWNER")
    assert tried(lambda: make(key=0x77)) == "EEXIST"
    one = the("key", call, "EEXIST")
    assert (one["state"], one["used"], [two["id"] for two in one["objects"]]) == ("per-request", 1, [made])


@in_world(mqueue=True)
def test_operations_that_a_mode_refuses():
    world.needs_root()
    semid, queue = world.semget(1, mode=0o644), world.msgget(mode=0o644)
    for call, operate in (
        ("semop", lambda: world.semop(semid, 1)),
        ("msgsnd", lambda: world.msgsnd(queue, b"x")),
        ("mq_open", lambda: make_queue("/theirs")),
    ):
        if call == "mq_open":
            world.as_uid(GONE, operate)
        assert world.as_uid(OTHER, lambda operate=operate: tried(operate)) == "EACCES"
        one = the("mode", call, "EACCES", uid=OTHER)
        assert numbers(one) == ("per-request", 1, 1, None)
    assert tried(lambda: make_queue("/theirs", flags=os.O_EXCL)) == "EEXIST"
    assert [two["path"] for two in the("name", "mq_open", "EEXIST")["objects"]] == ["/theirs"]


@in_world()
def test_files_that_a_mode_refuses():
    world.needs_root()
    path = world.as_uid(GONE, lambda: world.shm_file("theirs", mode=0o644))
    assert world.as_uid(OTHER, lambda: tried(lambda: shm_open("/theirs", os.O_RDWR))) == "EACCES"
    assert tried(lambda: shm_open("/theirs", os.O_RDWR | os.O_CREAT | os.O_EXCL)) == "EEXIST"
    assert [two["path"] for two in the("name", "shm_open", "EEXIST")["objects"]] == ["/theirs"]
    one = the("mode", "shm_open", "EACCES", uid=OTHER)
    assert numbers(one) == ("per-request", 1, 1, None)
    assert [(two["path"], two["mode"]) for two in one["objects"]] == [("/theirs", "0644")]
    os.chmod(path, 0o666)
    assert world.as_uid(OTHER, lambda: tried(lambda: shm_open("/theirs", os.O_RDWR))) == "ok"
    assert the("mode", "shm_open", "EACCES", uid=OTHER)["state"] == "free"
    # fs.protected_regular is the whole host's, so it is only read: it refuses O_CREAT whatever the mode.
    protected = Path("/proc/sys/fs/protected_regular")
    refused = world.as_uid(OTHER, lambda: tried(lambda: shm_open("/theirs"))) == "EACCES"
    assert refused == (protected.exists() and protected.read_text().strip() != "0")
    one = the("protected_regular", "shm_open", "EACCES", uid=OTHER)
    assert one["state"] == ("per-request" if refused else "free")


# ---------------------------------------------------------------- errors of the request itself


def wrong_requests() -> list[tuple[str, str, Callable[[], Any]]]:
    """Return calls that the kernel refuses for what they ask, and the error."""
    semid, queue = world.semget(2, key=0x20), world.msgget()
    world.shmget(PAGE, key=0x20)
    gone, drained = world.semget(1), world.msgget()
    world.semrm(gone)
    world.msgrm(drained)
    os.symlink("/etc/passwd", "/dev/shm/link")
    path = world.here() / "file"
    path.touch()
    reader = os.open(path, os.O_RDONLY)
    call = world._call
    return [
        ("semget", "EINVAL", lambda: world.semget(0)),
        ("semget", "EINVAL", lambda: call("semget", 0x20, 3, 0o600)),
        ("semget", "ENOENT", lambda: call("semget", 0x21, 1, 0o600)),
        ("shmget", "EINVAL", lambda: call("shmget", 0x20, ctypes.c_size_t(PAGE + 1), 0o600)),
        ("shmget", "EINVAL", lambda: world.shmget(PAGE, mode=0o600 | SHM_HUGETLB | 5 << 26)),  # pages of 32 bytes
        ("shmget", "ENOENT", lambda: call("shmget", 0x21, ctypes.c_size_t(1), 0o600)),
        ("msgget", "ENOENT", lambda: call("msgget", 0x21, 0o600)),
        ("semop", "EFBIG", lambda: world.semop(semid, 1, num=2)),
        ("semop", "EINVAL", lambda: world.semop(gone, 1)),
        ("semop", "EINVAL", lambda: semops(semid, 0)),
        ("semop", "EFAULT", lambda: call("semop", semid, ctypes.c_void_p(1), ctypes.c_size_t(1))),
        ("msgsnd", "EINVAL", lambda: world.msgsnd(drained, b"")),
        ("msgsnd", "EINVAL", lambda: world.msgsnd(queue, b"", kind=0)),
        ("msgsnd", "EFAULT", lambda: call("msgsnd", queue, ctypes.c_void_p(1), ctypes.c_size_t(1), 0)),
        ("mq_open", "EINVAL", lambda: make_queue("name")),
        ("mq_open", "EINVAL", lambda: make_queue("/name", 0)),
        ("mq_open", "EACCES", lambda: make_queue("/na/me")),
        ("mq_open", "ENAMETOOLONG", lambda: make_queue("/" + "n" * 256)),
        ("mq_open", "ENOENT", lambda: call("mq_open", b"/absent", os.O_RDWR, 0, None)),
        ("shm_open", "EINVAL", lambda: shm_open("/na/me")),
        ("shm_open", "EINVAL", lambda: shm_open("")),
        ("shm_open", "ENAMETOOLONG", lambda: shm_open("/" + "n" * 256)),
        ("shm_open", "ENOENT", lambda: shm_open("/absent", os.O_RDWR)),
        ("shm_open", "ELOOP", lambda: shm_open("/link")),
        ("pipe", "EINVAL", lambda: os.pipe2(1)),
        ("pipe", "EFAULT", lambda: call("pipe", ctypes.c_void_p(1))),
        ("fcntl", "EBADF", lambda: fcntl.fcntl(12345, fcntl.F_GETFD)),
        ("fcntl", "EBADF", lambda: fcntl.lockf(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)),
        ("fcntl", "EINVAL", lambda: fcntl.fcntl(reader, 9999)),
        ("fcntl", "ENOTDIR", lambda: fcntl.fcntl(reader, fcntl.F_NOTIFY, fcntl.DN_MODIFY)),
        ("fcntl", "EFAULT", lambda: call("fcntl", reader, fcntl.F_SETLK, ctypes.c_void_p(1))),
        ("fcntl", "EPERM", lambda: fcntl.fcntl(reader, fcntl.F_ADD_SEALS, 1)),
    ]


@in_world(mqueue=True)
def test_errors_that_come_of_the_request_are_known():
    """Keeps the table of calls and errors to what the kernel gives."""
    for call, error, function in wrong_requests():
        assert (call, tried(function)) == (call, error)
        assert error in CALLS[call].errors


@in_world()
def test_a_deadlock_of_locks_is_told():
    path = world.here() / "lock"
    path.touch()
    file = os.open(path, os.O_RDWR)
    fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)

    def begin() -> int:
        other = os.open(path, os.O_RDWR)
        fcntl.lockf(other, fcntl.LOCK_EX, 1, 1)
        return other

    waiter = world.spawn(begin, then=lambda other: fcntl.lockf(other, fcntl.LOCK_EX, 1, 0))
    world.wait_until(lambda: f"-> POSIX  ADVISORY  WRITE {waiter.pid} " in Path("/proc/locks").read_text(), "it waits")
    with pytest.raises(OSError, match="deadlock") as refused:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 1)
    assert refused.value.errno == errno.EDEADLK
    (one,) = explain("fcntl", "EDEADLK")["causes"]
    assert "ipcops list lock" in one["remedy"]


# ---------------------------------------------------------------- without a call; bad input


@in_world(mqueue=True)
def test_without_a_call_the_closest_limits_come_first():
    world.limit("kernel.sem", "32000 1024000000 500 2")
    world.limit("kernel.shmmni", 10)
    world.limit("kernel.msgmni", 10)
    for _ in range(2):
        world.semget(1)
    for _ in range(8):
        world.shmget(1)
    world.msgget()
    causes = explain()["causes"]
    names = [cause["limit"] for cause in causes]
    ours = [cause for cause in causes if cause["scope"] == "namespace"]
    assert [(cause["limit"], cause["state"], cause["share"]) for cause in ours[:3]] == [
        ("SEMMNI", "reached", 1.0), ("SHMMNI", "near", 0.8), ("MSGMNI", "free", 0.1),
    ]  # fmt: skip
    known = [cause for cause in causes if cause["state"] != "unknown"]
    shares = [cause["share"] for cause in known]
    assert shares == sorted(shares, reverse=True)
    assert names[: len(known)] == [cause["limit"] for cause in known]
    assert {"RLIMIT_NOFILE", "RLIMIT_MSGQUEUE", "file-max", "SHMALL", "SEMMNS", "queues_max"} <= set(names)
    assert next(cause for cause in causes if cause["limit"] == "file-max")["calls"] == [
        "shmget", "mq_open", "shm_open", "pipe",
    ]  # fmt: skip
    assert next(cause for cause in causes if cause["limit"] == "RLIMIT_NOFILE")["calls"] == [
        "mq_open", "shm_open", "pipe", "fcntl",
    ]  # fmt: skip
    text = world.ipcops("explain", "--policy", world.policy(world.SCAN)).out
    lines = text.splitlines()
    assert lines[0].startswith("Reached: ")
    assert "SEMMNI" in lines[0]
    assert text.index("\nSEMMNI ") < text.index("\nSHMMNI ") < text.index("\nMSGMNI ")


@in_world(mqueue=True)
def test_an_ordinary_user_is_told_of_itself():
    world.needs_root()
    report = explain(uid=THIRD)
    assert report["caller"] == {"uid": THIRD, "user": None}
    assert report["scan"]["privileged"] is False
    own = next(cause for cause in report["causes"] if cause["limit"] == "RLIMIT_NOFILE")
    assert all(one["uid"] == THIRD for one in own["users"])
    assert all(cause["passes"] is None for cause in report["causes"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("semgat",), "unknown call 'semgat'; did you mean 'semget'?"),
        (("semget", "ENOSPACE"), "unknown error 'ENOSPACE'; did you mean 'ENOSPC'?"),
        (("semget", "EMFILE"), "semget never gives EMFILE by itself, though a"),
        (("semget", "24"), "it gives ENOSPC, EINVAL, EACCES, EEXIST, ENOENT, ENOMEM"),
        (("pipe", "99999"), "unknown error '99999'"),
        (("pipe", "EMFILE", "again"), "again"),
        (("",), "unknown call ''"),
    ],
)
def test_bad_input(words, said):
    answer = world.ipcops("explain", *words)
    assert answer.status == 2
    assert said in answer.err
    assert not answer.out


@in_world()
def test_an_error_may_be_a_number_or_in_small_letters():
    wanted = explain("semget", "ENOSPC")["causes"]
    for word in ("enospc", str(errno.ENOSPC)):
        answer = world.ipcops("explain", "semget", word, "--format", "json", "--policy", world.policy(world.SCAN))
        assert answer.json["errno"] == "ENOSPC"
        assert answer.json["causes"] == wanted
    answer = world.ipcops("explain", "semop", "EWOULDBLOCK", "--format", "json")
    assert answer.json["errno"] == "EAGAIN"


@pytest.mark.parametrize(
    "call", ["semget", "shmget", "msgget", "semop", "msgsnd", "mq_open", "shm_open", "pipe", "fcntl"]
)
@in_world(mqueue=True)
def test_every_call_is_told_in_words(call):
    world.semget(1, key=0x10)
    world.msgsnd(world.msgget(), b"x")
    answer = world.ipcops("explain", call, "--policy", world.policy(world.SCAN))
    assert answer.status == 0
    report = explain(call)
    flowing = " ".join(answer.out.split())
    for cause in report["causes"]:
        assert cause["limit"] in flowing
        assert cause["why"]
        if cause["state"] in ("reached", "near", "per-request"):
            assert cause["remedy"]
