"""Verdicts on the real kernel: each test is a way in which others call a living object dead.

The policy of most tests has ``orphan_age = 0``, so that what is unused is a leak at once. Objects
belong to uids that have no process (``GONE``) unless the test gives them one: root always has some.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import threading
import time
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.world import GONE, OTHER, SCAN, THIRD, in_world

LEAK = {
    "shm": "SHM-001",
    "sem": "SEM-001",
    "msg": "MSG-004",
    "posix-shm": "PSHM-001",
    "posix-sem": "PSHM-001",
    "posix-mq": "MQ-002",
}
AGED = SCAN  # nothing of a test is older than the default age of 24 hours
PID_SLACK = 3.2  # seconds: a process must be this much younger than a time to count as later


def verdict(kind: str, which: int | str, text: str = world.NOW) -> tuple[str, str]:
    """Return the verdict of one object and its confidence; every verdict has reasons."""
    one = world.the(kind, which, text=text)
    assert one["reasons"], one
    assert all(isinstance(reason, str) and reason for reason in one["reasons"])
    return one["verdict"], one["confidence"]


def leaks(kind: str, which: int | str, text: str = world.NOW) -> list[dict[str, Any]]:
    """Return the findings that call the object a leak."""
    return [one for one in world.findings(LEAK[kind], text=text) if world.is_it(one, which)]


def holders(kind: str, which: int | str) -> list[int]:
    """Return the pids of an object's holders."""
    return sorted(one["pid"] for one in world.the(kind, which)["holders"])


def make(kind: str, mode: int = 0o600) -> int | str:
    """Make an unused object of a kind; return its id or name."""
    if kind == "shm":
        return world.shmget(4096, mode=mode)
    if kind == "sem":
        return world.semget(1, mode=mode)
    if kind == "msg":
        return world.msgget(mode=mode)
    if kind == "posix-shm":
        return os.path.basename(world.shm_file("psm_0badcafe", b"x" * 4096, mode))
    if kind == "posix-sem":
        world.sem_open("/mp-0badcafe", mode=mode)
        return "sem.mp-0badcafe"
    os.close(world.mq_open("/queue", mode=mode))
    return "queue"


def leaked(kind: str, mode: int = 0o600, gid: int | None = None) -> int | str:
    """Make an unused object of a uid that has no process any more."""
    which: int | str = world.as_uid(GONE, lambda: make(kind, mode), gid=gid)
    return which


# --- what is a leak, and what the same object is not


@pytest.mark.parametrize(
    ("kind", "confidence"),
    [
        ("shm", "certain"),
        ("sem", "strong"),
        ("msg", "strong"),
        ("posix-shm", "certain"),
        ("posix-sem", "strong"),
        ("posix-mq", "strong"),
    ],
)
@in_world(mqueue=True)
def test_nobody_left(kind: str, confidence: str) -> None:
    """Unused, old enough, no process of anybody who may use it: an orphan, and a finding."""
    which = leaked(kind)
    assert verdict(kind, which) == ("orphan", confidence)
    (finding,) = leaks(kind, which)
    assert finding["confidence"] == confidence
    assert finding["owner"]["uid"] == GONE
    assert finding["reason"]
    assert finding["remedy"]


@pytest.mark.parametrize("kind", list(LEAK))
@in_world(mqueue=True)
def test_too_young(kind: str) -> None:
    """The same with the default age: idle, and no finding."""
    which = leaked(kind)
    assert verdict(kind, which, AGED)[0] == "idle"
    assert leaks(kind, which, AGED) == []


@pytest.mark.parametrize("kind", list(LEAK))
@in_world(mqueue=True)
def test_owner_lives(kind: str) -> None:
    """Its maker is dead, but the uid still runs something: it may come back to it."""
    which = leaked(kind)
    world.spawn(uid=GONE)
    assert verdict(kind, which)[0] == "idle"
    assert leaks(kind, which) == []


@pytest.mark.parametrize("kind", list(LEAK))
@in_world(mqueue=True)
def test_root_is_never_gone(kind: str) -> None:
    world.needs_root()
    which = world.as_uid(None, lambda: make(kind))
    assert verdict(kind, which)[0] == "idle"
    assert leaks(kind, which) == []


@pytest.mark.parametrize("kind", ["shm", "sem", "msg"])
@in_world()
def test_creator_lives(kind: str) -> None:
    """The owner is gone, but the object was given to it by a uid that lives."""
    which = world.as_uid(OTHER, lambda: make(kind))
    world.give(kind, int(which), GONE, GONE)
    world.spawn(uid=OTHER)
    assert verdict(kind, which)[0] == "idle"
    assert leaks(kind, which) == []


@pytest.mark.parametrize("kind", list(LEAK))
@in_world(mqueue=True)
def test_uid_kept_in_reserve(kind: str) -> None:
    """A process that keeps the owner's uid as its saved uid can become it at any moment."""
    which = leaked(kind)
    world.spawn(lambda: os.setresuid(OTHER, OTHER, GONE))
    assert verdict(kind, which)[0] == "idle"
    assert leaks(kind, which) == []


@pytest.mark.parametrize("kind", ["shm", "posix-shm"])
@in_world()
def test_a_zombie_uses_nothing(kind: str) -> None:
    which = leaked(kind)
    child = world.spawn(uid=GONE, then=lambda _: None)
    world.wait_until(lambda: world.state_of(child.pid) == "Z", "zombie")
    assert verdict(kind, which) == ("orphan", "certain")


@in_world()
def test_a_creator_that_is_a_zombie() -> None:
    """It has ended; only its parent has not asked for its status yet."""
    child = world.spawn(lambda: world.shmget(4096), uid=GONE, then=lambda _: None)
    world.wait_until(lambda: world.state_of(child.pid) == "Z", "zombie")
    assert world.table("shm")[0]["cpid"] == child.pid
    assert verdict("shm", child.value) == ("orphan", "certain")


@in_world()
def test_dead_pid_in_the_name() -> None:
    """PyTorch names its files after the creator's pid: gone is gone, though its user lives on.

    But a number can be that of another pid namespace, so it is never certain.
    """
    pid = world.as_uid(GONE, os.getpid)
    world.as_uid(GONE, lambda: world.shm_file(f"torch_{pid}_1234_0"))
    alive = world.spawn(lambda: world.shm_file(f"torch_{os.getpid()}_99_0"), uid=GONE)
    assert verdict("posix-shm", f"torch_{pid}_1234_0")[1] != "certain"
    assert verdict("posix-shm", alive.value)[0] == "idle"
    assert leaks("posix-shm", alive.value) == []


@in_world()
def test_unknown_name_is_not_certain() -> None:
    """Only names of known families are certain leaks; others may be there for whoever comes."""
    world.as_uid(GONE, lambda: world.shm_file("somebodys-cache"))
    assert verdict("posix-shm", "somebodys-cache") == ("orphan", "strong")


# --- segments


@in_world()
def test_double_forked_daemon() -> None:
    """The creator of what a daemon has attached is always dead."""
    daemon = world.daemon(lambda: (shmid := world.shmget(4096), world.shmat(shmid))[0], uid=GONE)
    assert world.table("shm")[0]["cpid"] != daemon.pid
    assert not os.path.exists(f"/proc/{world.table('shm')[0]['cpid']}")
    assert verdict("shm", daemon.value) == ("in-use", "certain")
    assert holders("shm", daemon.value) == [daemon.pid]
    assert leaks("shm", daemon.value) == []
    daemon.kill()
    assert verdict("shm", daemon.value) == ("orphan", "certain")


@in_world()
def test_destroyed_but_attached_is_in_use() -> None:
    """Zabbix and many others remove a segment at once and keep it attached."""

    def zabbix() -> int:
        shmid = world.shmget(4096, key=0x6C041234)
        world.shmat(shmid)
        world.shmrm(shmid)
        return shmid

    child = world.spawn(zabbix, uid=GONE)
    assert verdict("shm", child.value) == ("in-use", "certain")
    assert leaks("shm", child.value) == []
    assert holders("shm", child.value) == [child.pid]


@in_world()
def test_several_mappings_of_one_process() -> None:
    """The attach count counts mappings, the holders are processes."""

    def twice() -> int:
        shmid = world.shmget(3 * mmap.PAGESIZE)
        world.shmat(shmid)
        world.shmat(shmid, world.SHM_RDONLY)
        return shmid

    child = world.spawn(twice, uid=GONE)
    assert world.the("shm", child.value)["nattch"] == 2
    assert holders("shm", child.value) == [child.pid]


@in_world()
def test_creator_pid_reused() -> None:
    """A later process under the creator's pid is not the creator."""
    shmid = leaked("shm")
    creator = world.table("shm")[0]["cpid"]
    time.sleep(PID_SLACK)
    reused = world.sleeper_with_pid(creator, OTHER)
    assert reused.pid == world.table("shm")[0]["cpid"]
    assert verdict("shm", shmid) == ("orphan", "certain")
    assert holders("shm", shmid) == []
    reused.kill()


@in_world()
def test_creator_alive_under_another_uid() -> None:
    """The very process that made it lives on as another uid, and may attach it again."""
    world.needs_root()

    def change() -> int:
        os.setresuid(GONE, GONE, 0)
        shmid = world.shmget(4096)
        os.setresuid(0, 0, 0)
        os.setresuid(OTHER, OTHER, OTHER)
        return shmid

    child = world.spawn(change)
    assert world.table("shm")[0]["cpid"] == child.pid
    assert verdict("shm", child.value)[0] == "idle"
    assert leaks("shm", child.value) == []
    child.kill()
    assert verdict("shm", child.value) == ("orphan", "certain")


@in_world()
def test_segment_seen_from_a_child_pid_namespace() -> None:
    """Pids of processes that this pid namespace cannot see read as 0, which is not dead."""
    shmid = leaked("shm")
    assert verdict("shm", shmid)[0] == "orphan"

    def inside() -> tuple[int, str, list[Any]]:
        one = world.the("shm", shmid)
        return one["cpid"], one["verdict"], leaks("shm", shmid)

    cpid, word, found = world.in_child_pid_namespace(inside)
    assert (cpid, word) == (0, "unknown")
    assert [one for one in found if one["confidence"] == "certain"] == []


@pytest.mark.parametrize("kind", list(LEAK))
@in_world(mqueue=True)
def test_a_child_pid_namespace_cannot_prove_a_leak(kind: str) -> None:
    """Who is out of sight there may be using it: a pod must not remove its neighbour's memory."""
    which = leaked(kind)
    world.spawn(uid=GONE)

    def inside() -> tuple[str, list[Any]]:
        return verdict(kind, which)[0], leaks(kind, which)

    word, found = world.in_child_pid_namespace(inside)
    assert word == "unknown"
    assert [one for one in found if one["confidence"] != "suspect"] == []


@in_world()
def test_memfd_with_the_number_of_a_segment() -> None:
    """A memfd lies on the same device as segments; its inode number can equal a segment's id."""

    def memfd() -> int:
        descriptor = os.memfd_create("lookalike")
        os.ftruncate(descriptor, 4096)
        world.map_file(f"/proc/self/fd/{descriptor}", close=False)
        return os.fstat(descriptor).st_ino

    other = world.spawn(memfd)
    if other.value >= 2**31:
        pytest.skip("inode numbers here are larger than ids can be")
    world.limit("kernel.shm_next_id", other.value)
    shmid = leaked("shm")
    assert shmid == other.value
    assert holders("shm", shmid) == []
    assert verdict("shm", shmid) == ("orphan", "certain")
    user = world.spawn(lambda: world.shmat(int(shmid)))
    assert holders("shm", shmid) == [user.pid]


@in_world()
def test_same_id_in_another_ipc_namespace() -> None:
    """Ids are small numbers that every IPC namespace has: a holder there is none here."""

    def elsewhere() -> int:
        world.unshare(world.CLONE_NEWIPC)
        shmid = world.shmget(4096)
        world.shmat(shmid)
        return shmid

    other = world.spawn(elsewhere)
    shmid = leaked("shm")
    assert shmid == other.value, "the test needs equal ids"
    assert verdict("shm", shmid) == ("orphan", "certain")
    assert holders("shm", shmid) == []


# --- semaphore sets and queues: nobody is attached to them


@pytest.mark.parametrize(("value", "op", "count"), [(0, -1, "ncnt"), (1, 0, "zcnt")])
@in_world()
def test_blocked_in_semop(value: int, op: int, count: str) -> None:
    """Somebody waits: in use, though nothing in the table shows it."""
    semid = int(leaked("sem"))
    if value:
        world.as_uid(GONE, lambda: world.semop(semid, value))
    waiter = world.spawn(then=lambda _: world.semop(semid, op))
    world.wait_blocked(waiter.pid, "semop", semid)
    assert verdict("sem", semid) == ("in-use", "certain")
    assert leaks("sem", semid) == []
    shown = world.ipcops("show", f"sem:{semid}", "--format", "json", "--policy", world.policy())
    assert str(waiter.pid) in shown.out, f"{count} is 1, and show does not name who waits"
    waiter.kill()
    assert verdict("sem", semid)[0] == "orphan"


@in_world()
def test_blocked_in_msgrcv_on_an_empty_queue() -> None:
    """qnum, both pids and both times are 0, as if it had never been used."""
    msqid = int(leaked("msg"))
    waiter = world.spawn(then=lambda _: world.msgrcv(msqid))
    world.wait_blocked(waiter.pid, "msgrcv", msqid)
    (row,) = world.table("msg")
    assert [row[name] for name in ("qnum", "lspid", "lrpid", "stime", "rtime")] == [0] * 5
    assert verdict("msg", msqid) == ("in-use", "certain")
    assert leaks("msg", msqid) == []
    waiter.kill()
    assert verdict("msg", msqid)[0] == "orphan"


@in_world()
def test_blocked_in_msgsnd_on_a_full_queue() -> None:
    msqid = int(leaked("msg"))
    world.msgset(msqid, qbytes=100)
    world.as_uid(GONE, lambda: world.msgsnd(msqid, b"x" * 100))
    waiter = world.spawn(then=lambda _: world.msgsnd(msqid, b"x", flags=0))
    world.wait_blocked(waiter.pid, "msgsnd", msqid)
    assert verdict("msg", msqid) == ("in-use", "certain")
    assert leaks("msg", msqid) == []


@in_world()
def test_blocked_in_a_thread_that_is_not_the_first() -> None:
    msqid = int(leaked("msg"))

    def start() -> int:
        thread = threading.Thread(target=world.msgrcv, args=(msqid,), daemon=True)
        thread.start()
        assert thread.native_id
        return thread.native_id

    waiter = world.spawn(start)

    def blocked() -> bool:
        text = Path(f"/proc/{waiter.pid}/task/{waiter.value}/syscall").read_text()
        return text[:1].isdigit() and int(text.split()[1], 16) == msqid

    world.wait_until(blocked, "the thread is blocked")
    assert verdict("msg", msqid) == ("in-use", "certain")
    assert leaks("msg", msqid) == []


@in_world()
def test_blocked_on_the_same_number_in_another_ipc_namespace() -> None:
    msqid = int(leaked("msg"))

    def elsewhere() -> int:
        world.unshare(world.CLONE_NEWIPC)
        msqid: int = world.msgget()
        return msqid

    other = world.spawn(elsewhere, then=world.msgrcv)
    assert other.value == msqid, "the test needs equal ids"
    world.wait_blocked(other.pid, "msgrcv", msqid)
    assert verdict("msg", msqid) == ("orphan", "strong")


@in_world()
def test_last_operator_dead_while_the_daemon_lives() -> None:
    """A child did one semop and ended. The daemon still uses the set: no leak."""

    def daemon() -> int:
        semid = world.semget(1)
        world.as_uid(None, lambda: world.semop(semid, 1))
        return semid

    child = world.spawn(daemon, uid=GONE)
    assert world.semctl(child.value, 0, world.GETPID) != child.pid
    assert verdict("sem", child.value)[0] == "idle"
    assert leaks("sem", child.value) == []
    child.kill()
    assert verdict("sem", child.value) == ("orphan", "strong")


@in_world()
def test_last_operator_lives_under_another_uid() -> None:
    """Root's process works with a set of a uid that has none."""
    semid = int(leaked("sem"))
    user = world.spawn(lambda: world.semop(semid, 1))
    assert world.semctl(semid, 0, world.GETPID) == user.pid
    assert verdict("sem", semid) == ("in-use", "strong")
    assert leaks("sem", semid) == []


@pytest.mark.parametrize("which", ["lspid", "lrpid"])
@in_world()
def test_last_sender_or_receiver_lives_under_another_uid(which: str) -> None:
    msqid = int(leaked("msg"))

    def send() -> None:
        world.msgsnd(msqid, b"x")

    def receive() -> None:
        world.msgrcv(msqid)

    if which == "lspid":
        user = world.spawn(send)
    else:
        world.as_uid(None, send)
        user = world.spawn(receive)
    assert world.table("msg")[0][which] == user.pid
    assert verdict("msg", msqid) == ("in-use", "strong")
    assert leaks("msg", msqid) == []


@in_world()
def test_last_operator_pid_reused() -> None:
    semid = int(leaked("sem"))
    world.as_uid(GONE, lambda: world.semop(semid, 1))
    last = world.semctl(semid, 0, world.GETPID)
    time.sleep(PID_SLACK)
    world.sleeper_with_pid(last, OTHER)
    assert verdict("sem", semid) == ("orphan", "strong")


@pytest.mark.parametrize("kind", ["sem", "msg"])
@in_world()
def test_everybody_may_use_it(kind: str) -> None:
    """Whoever made a 0666 set is gone, but any process may be its user: idle, no leak."""
    which = leaked(kind, 0o666)
    assert verdict(kind, which)[0] == "idle"
    assert leaks(kind, which) == []


@pytest.mark.parametrize("supplementary", [False, True])
@pytest.mark.parametrize("kind", ["sem", "msg"])
@in_world()
def test_a_group_may_use_it(kind: str, supplementary: bool) -> None:  # noqa: FBT001
    """A process in the group that the mode admits is a possible user; one that is not, is none."""
    admitted = leaked(kind, 0o660, gid=THIRD)
    private = leaked(kind, 0o600, gid=THIRD)
    if supplementary:
        world.spawn(uid=OTHER, gid=OTHER, groups=[THIRD])
    else:
        world.spawn(uid=OTHER, gid=THIRD)
    assert verdict(kind, admitted)[0] == "idle"
    assert verdict(kind, private) == ("orphan", "strong")
    assert leaks(kind, admitted) == []
    assert len(leaks(kind, private)) == 1


@in_world()
def test_pids_of_a_set_that_are_out_of_sight() -> None:
    """In a child pid namespace GETPID reads 0 for a stranger, which is not 'never used'."""
    semid = int(leaked("sem"))
    user = world.spawn(lambda: world.semop(semid, 1))
    assert verdict("sem", semid)[0] == "in-use"
    word = world.in_child_pid_namespace(lambda: verdict("sem", semid)[0])
    assert word == "unknown"
    user.kill()


# --- files in /dev/shm


@pytest.mark.parametrize("way", ["descriptor", "map", "both"])
@in_world()
def test_held_file(way: str) -> None:
    """Mapped without a descriptor, open without a map: held is held, whoever owns the file."""
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))

    def hold() -> None:
        if way == "descriptor":
            os.open(path, os.O_RDONLY)
        else:
            world.map_file(path, close=way == "map")

    holder = world.spawn(hold)
    assert verdict("posix-shm", path) == ("in-use", "certain")
    assert holders("posix-shm", path) == [holder.pid]
    assert leaks("posix-shm", path) == []
    os.rename(path, "/dev/shm/psm_00000002")
    assert holders("posix-shm", "psm_00000002") == [holder.pid]
    holder.kill()
    assert verdict("posix-shm", "psm_00000002") == ("orphan", "certain")


@in_world()
def test_holder_of_another_file_of_that_name() -> None:
    """Neither the unlinked predecessor nor a namesake in another mount makes a file used."""

    def predecessor() -> None:
        path = world.shm_file("psm_00000001", b"x" * 4096)
        world.map_file(path)
        os.unlink(path)

    def namesake() -> None:
        world.unshare(world.CLONE_NEWNS)
        world.mount("tmpfs", "/dev/shm", "tmpfs")
        world.map_file(world.shm_file("psm_00000001", b"x" * 4096), close=False)

    world.spawn(predecessor)
    world.spawn(namesake)
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))
    assert holders("posix-shm", path) == []
    assert verdict("posix-shm", path) == ("orphan", "certain")


@in_world()
def test_holder_in_another_mount_namespace() -> None:
    """A container that has our /dev/shm under another name holds the very same file."""
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))

    def container() -> None:
        world.unshare(world.CLONE_NEWNS)
        inside = str(world.here() / "shm")
        os.mkdir(inside)
        world.mount("/dev/shm", inside, None, world.MS_BIND)
        world.umount("/dev/shm")
        world.map_file(inside + "/psm_00000001")

    holder = world.spawn(container)
    assert holders("posix-shm", path) == [holder.pid]
    assert verdict("posix-shm", path) == ("in-use", "certain")


@in_world()
def test_threads_outlive_their_main_thread() -> None:
    """The process looks like a zombie, with empty maps; its other threads have the file mapped."""
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))
    number = {"x86_64": 60, "aarch64": 93}.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of exit(2) is not known here")

    def start() -> None:
        world.map_file(path, close=False)
        os.setresuid(OTHER, OTHER, OTHER)  # not the owner's: only its maps can show the use
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    libc = ctypes.CDLL(None)
    child = world.spawn(start, then=lambda _: libc.syscall(number, 0))
    world.wait_until(lambda: world.state_of(child.pid) == "Z", "main thread gone")
    assert len(os.listdir(f"/proc/{child.pid}/task")) == 2
    word = verdict("posix-shm", path)[0]
    assert word in ("in-use", "unknown"), "its living threads were not looked at"
    assert [one for one in leaks("posix-shm", path) if one["confidence"] == "certain"] == []


@in_world()
def test_process_without_main_thread_still_counts_as_its_uid() -> None:
    shmid = leaked("shm")
    number = {"x86_64": 60, "aarch64": 93}.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of exit(2) is not known here")

    def start() -> None:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    libc = ctypes.CDLL(None)
    child = world.spawn(start, then=lambda _: libc.syscall(number, 0), uid=GONE)
    world.wait_until(lambda: world.state_of(child.pid) == "Z", "main thread gone")
    assert verdict("shm", shmid)[0] in ("idle", "unknown"), "its uid still runs threads"


@pytest.mark.parametrize("rootless", [False, True])
@in_world()
def test_podmans_lock_table(rootless: bool) -> None:  # noqa: FBT001
    """Podman's lock file has neither mapper nor opener and is alive: deleting it breaks podman."""
    name = f"libpod_rootless_lock_{GONE}" if rootless else "libpod_lock"
    world.as_uid(GONE, lambda: world.shm_file(name, b"\0" * 4096))
    assert leaks("posix-shm", name) == []
    assert world.the("posix-shm", name)["verdict"] != "in-use"


def python_segment(uid: int) -> tuple[world.Process, str, int]:
    """Start a process with a Python segment; return it, the name and the tracker's pid."""

    def create() -> tuple[str, int]:
        multiprocessing.set_executable(world.python_for(uid))
        segment = shared_memory.SharedMemory(create=True, size=8192)
        segment.buf[:5] = b"hello"
        globals()["_segment"] = segment  # it would close itself when collected
        return segment.name, resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]

    child = world.spawn(create, uid=uid)
    return child, *child.value


@in_world()
def test_python_shared_memory() -> None:
    """Live: in use. Killed with its resource tracker, as by a killed job: a certain leak."""
    child, name, tracker = python_segment(GONE)
    assert verdict("posix-shm", name) == ("in-use", "certain")
    assert child.pid in holders("posix-shm", name)
    assert leaks("posix-shm", name) == []
    os.kill(tracker, 9)
    world.wait_until(lambda: world.state_of(tracker) in ("Z", ""), "tracker gone")
    child.kill()
    assert os.path.exists("/dev/shm/" + name)
    assert verdict("posix-shm", name) == ("orphan", "certain")
    (finding,) = leaks("posix-shm", name)
    assert finding["confidence"] == "certain"


@in_world(shm="size=8k")
def test_named_semaphore_of_a_living_creator() -> None:
    """Its creator's map says '(deleted)' for a file that is not: no hidden usage, in use."""
    creator = world.spawn(lambda: world.sem_open("/lock"), uid=GONE)
    maps = Path(f"/proc/{creator.pid}/maps").read_text()
    if "(deleted)" not in maps:
        pytest.skip("this C library makes named semaphores in another way")
    assert verdict("posix-sem", "sem.lock") == ("in-use", "certain")
    assert holders("posix-sem", "sem.lock") == [creator.pid]
    assert world.findings("PSHM-002") == []
    assert leaks("posix-sem", "sem.lock") == []
    opener = world.spawn(lambda: world.sem_open("/lock"), uid=GONE)
    assert holders("posix-sem", "sem.lock") == sorted([creator.pid, opener.pid])
    creator.kill()
    opener.kill()
    assert verdict("posix-sem", "sem.lock") == ("orphan", "strong")


# --- POSIX queues


@pytest.mark.parametrize("way", ["mq_open", "open"])
@in_world(mqueue=True)
def test_posix_queue_open_and_left(way: str) -> None:
    """Descriptors of mq_open read as /name, those of open as /dev/mqueue/name."""

    def hold() -> int:
        descriptor = world.mq_open("/jobs")
        if way == "open":
            os.close(descriptor)
            descriptor = os.open("/dev/mqueue/jobs", os.O_RDONLY)
        return descriptor

    holder = world.spawn(hold, uid=GONE)
    assert verdict("posix-mq", "jobs") == ("in-use", "certain")
    assert holders("posix-mq", "jobs") == [holder.pid]
    assert leaks("posix-mq", "jobs") == []
    holder.kill()
    assert verdict("posix-mq", "jobs") == ("orphan", "strong")
    assert len(leaks("posix-mq", "jobs")) == 1


@in_world(mqueue=True)
def test_posix_queue_with_a_blocked_reader() -> None:
    holder = world.spawn(lambda: world.mq_open("/jobs"), then=world.mq_receive, uid=GONE)
    world.wait_blocked(holder.pid, "mq_receive", holder.value)
    assert verdict("posix-mq", "jobs") == ("in-use", "certain")


@in_world(mqueue=True)
def test_posix_queue_of_the_same_name_elsewhere() -> None:
    """A queue of that name in another IPC namespace is another queue."""

    def elsewhere() -> None:
        world.unshare(world.CLONE_NEWIPC | world.CLONE_NEWNS)
        world.mq_open("/queue")

    world.spawn(elsewhere)
    leaked("posix-mq")
    assert holders("posix-mq", "queue") == []
    assert verdict("posix-mq", "queue") == ("orphan", "strong")


@in_world(mqueue=True)
def test_mqueue_mount_of_another_namespace() -> None:
    """After unshare the mount at /dev/mqueue still shows the queues of the namespace before."""
    leaked("posix-mq")
    world.unshare(world.CLONE_NEWIPC)
    assert os.listdir("/dev/mqueue") == ["queue"]
    ours = [one for one in world.objects("posix-mq") if one["namespace"] == world.namespace()]
    assert ours == [], "a queue of another namespace is listed as this one's"
    assert leaks("posix-mq", "queue") == []


# --- full queues


@in_world()
def test_full_queue_with_a_living_reader() -> None:
    """97 % full while somebody reads from it: worth a look, and neither stuck nor a leak."""

    def work() -> int:
        msqid = world.msgget()
        world.msgsnd(msqid, b"x")
        world.msgrcv(msqid)
        for _ in range(97):
            world.msgsnd(msqid, b"x" * 163)
        return msqid

    reader = world.spawn(work, uid=GONE)
    row = world.msgstat(reader.value)
    assert 0.95 < row.cbytes / row.qbytes < 0.98
    (finding,) = world.findings("MSG-001", id=reader.value)
    assert finding["severity"] == "medium"
    assert world.findings("MSG-002") == []
    assert leaks("msg", reader.value) == []


# --- looking changes nothing


@in_world(mqueue=True)
def test_looking_changes_nothing() -> None:
    """Times, counts and pids of every object are the same before and after all commands."""
    for kind in LEAK:
        leaked(kind)
    world.spawn(lambda: world.shmat(world.shmget(4096)))  # not by us: our children would inherit it
    semid = world.semget(3)
    world.semop(semid, 2)
    msqid = world.msgget()
    world.msgsnd(msqid, b"data")
    world.mq_send(world.mq_open("/full"), b"data")
    world.map_file(world.shm_file("data", b"x" * 5000))
    world.sem_open("/semaphore")

    def everything() -> list[Any]:
        files = []
        for directory in ("/dev/shm", "/dev/mqueue"):
            for name in sorted(os.listdir(directory)):
                stat = os.stat(os.path.join(directory, name))
                files.append((name, stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns))
        pids = [world.semctl(semid, number, world.GETPID) for number in range(3)]
        return [*(world.table(kind) for kind in ("shm", "sem", "msg")), files, pids]

    time.sleep(1.1)  # System V times are whole seconds
    before = everything()
    world.audit()
    listed = world.objects()
    names = [f"{one['kind']}:{one['path'] or one['id']}" for one in listed]
    answer = world.ipcops("show", *names, "--format", "json", "--policy", world.policy())
    assert answer.status == 0, answer.err
    assert len(answer.json["objects"]) == len(listed) == 12
    assert everything() == before


# --- every verdict is one of the four, and holders are processes that live


@in_world(mqueue=True)
def test_the_words_are_the_contracts() -> None:
    for kind in LEAK:
        leaked(kind)
    world.spawn(lambda: world.shmat(world.shmget(10)))
    for one in world.objects():
        assert one["verdict"] in ("in-use", "idle", "orphan", "unknown")
        assert one["confidence"] in ("certain", "strong", "suspect")
        assert one["protection"] is None or set(one["protection"]) >= {"name", "reason"}
        for holder in one["holders"]:
            assert set(holder) >= {"pid", "started_at", "command"}
            assert os.path.exists(f"/proc/{holder['pid']}")
            assert abs(holder["started_at"] - time.time()) < 60
