"""Users of an object that a plain look at /proc/PID misses: other threads, other mounts, other pid namespaces.

Each was called an orphan once. Objects belong to uids that have no process (``GONE``).
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import pytest

from tests import world
from tests.world import GONE, OTHER, in_world

CLONE_FILES = 0x400


def look(kind: str, which: int | str) -> tuple[str, list[int]]:
    """Return the verdict of one object and the pids of its holders."""
    one = world.the(kind, which)
    return one["verdict"], [holder["pid"] for holder in one["holders"]]


def in_thread(function: Any) -> Any:
    """Call a function in a thread that stays; return what it returned."""
    answer: list[Any] = []
    done = threading.Event()

    def run() -> None:
        try:
            answer.append(function())
        finally:
            done.set()
        threading.Event().wait()

    threading.Thread(target=run, daemon=True).start()
    done.wait()
    return answer[0]


@in_world()
def test_descriptor_of_a_thread_with_a_table_of_its_own() -> None:
    """After unshare(CLONE_FILES) a thread's descriptors are not in /proc/PID/fd."""
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))

    def alone() -> int:
        world.unshare(CLONE_FILES)
        return os.open(path, os.O_RDONLY)

    holder = world.spawn(lambda: in_thread(alone))
    assert look("posix-shm", path) == ("in-use", [holder.pid])


@in_world()
def test_descriptor_from_before_a_mount_namespace() -> None:
    """What a process had open before it got a /dev/shm of its own is on a mount that its table lacks."""
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))

    def sandbox() -> None:
        os.open(path, os.O_RDONLY)
        world.unshare(world.CLONE_NEWNS)
        world.umount("/dev/shm")
        world.mount("tmpfs", "/dev/shm", "tmpfs")

    holder = world.spawn(sandbox)
    assert look("posix-shm", path) == ("in-use", [holder.pid])


@in_world()
def test_descriptor_from_before_a_mount_namespace_without_any() -> None:
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))

    def sandbox() -> None:
        os.open(path, os.O_RDONLY)
        world.unshare(world.CLONE_NEWNS)
        world.umount("/dev/shm")

    holder = world.spawn(sandbox)
    assert look("posix-shm", path) == ("in-use", [holder.pid])


@pytest.mark.parametrize("kind", ["sem", "msg", "shm"])
@in_world()
def test_thread_with_a_uid_of_its_own(kind: str) -> None:
    """The system call changes one thread's uid, as file servers do; /proc/PID/status is the first thread's."""
    make = {"sem": lambda: world.semget(1), "msg": world.msgget, "shm": lambda: world.shmget(4096)}[kind]
    which = world.as_uid(GONE, make)
    number = {"x86_64": 117, "aarch64": 147}.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of setresuid(2) is not known here")
    libc = ctypes.CDLL(None)
    world.spawn(lambda: in_thread(lambda: libc.syscall(number, OTHER, GONE, 0)))
    assert look(kind, which)[0] == "idle"


@in_world()
def test_thread_in_an_ipc_namespace_of_its_own() -> None:
    """The main thread left; the one that is blocked on our queue did not."""
    which = world.as_uid(GONE, world.msgget)

    def split() -> None:
        threading.Thread(target=lambda: world.msgrcv(which), daemon=True).start()
        world.unshare(world.CLONE_NEWIPC)

    holder = world.spawn(split)
    (tid,) = [int(t) for t in os.listdir(f"/proc/{holder.pid}/task") if int(t) != holder.pid]
    world.wait_blocked(tid, "msgrcv", which)
    assert look("msg", which)[0] == "in-use"


@pytest.mark.parametrize("kind", ["shm", "sem", "msg", "posix-shm"])
@in_world(mqueue=True)
def test_proc_of_another_pid_namespace(kind: str) -> None:
    """``nsenter --mount`` into a container: its /proc, and the IPC objects and pids of the host."""
    make = {
        "shm": lambda: world.shmget(4096),
        "sem": lambda: world.semget(1),
        "msg": world.msgget,
        "posix-shm": lambda: world.shm_file("psm_00000001"),
    }[kind]
    which = world.as_uid(GONE, make)
    world.spawn(uid=GONE)

    def container() -> None:
        world.unshare(world.CLONE_NEWPID | world.CLONE_NEWNS)
        reader, writer = os.pipe()
        if os.fork() == 0:
            world.prctl(world.PR_SET_PDEATHSIG, 9)
            world.mount("proc", "/proc", "proc")
            os.write(writer, b"x")
            world._pause(None)
        os.read(reader, 1)

    pod = world.spawn(container)

    def entered() -> str:
        fd = os.open(f"/proc/{pod.pid}/ns/mnt", os.O_RDONLY)
        assert ctypes.CDLL(None).setns(fd, world.CLONE_NEWNS) == 0
        return str(world.the(kind, which)["verdict"])

    assert world.as_uid(None, entered) == "unknown"


@in_world()
def test_pid_in_a_name_seen_from_a_child_pid_namespace() -> None:
    """Containers that share /dev/shm: the creator's number is another namespace's, and it is not gone."""
    path = world.shm_file("torch_99999_1234_0")
    world.spawn(lambda: world.map_file(path))
    assert world.in_child_pid_namespace(lambda: look("posix-shm", path)[0]) in ("idle", "unknown")


@in_world()
def test_pid_in_a_name_of_a_child_pid_namespace() -> None:
    """Seen from the host: the number that the name carries is the one that the container knows."""
    number = next(pid for pid in range(30000, 20000, -1) if not os.path.exists(f"/proc/{pid}"))

    def pod() -> str:
        world.unshare(world.CLONE_NEWPID)
        reader, writer = os.pipe()
        if os.fork() == 0:
            world.prctl(world.PR_SET_PDEATHSIG, 9)
            with open("/proc/sys/kernel/ns_last_pid", "w") as last:
                last.write("%d" % (number - 1))
            if os.fork():
                world._pause(None)
            os.write(writer, world.shm_file("torch_%d_1234_0" % os.getpid()).encode())
            world._pause(None)
        return os.read(reader, 99).decode()

    child = world.spawn(pod)
    assert child.value == "/dev/shm/torch_%d_1234_0" % number
    assert look("posix-shm", child.value) == ("idle", [])


@in_world()
def test_file_bound_elsewhere() -> None:
    """A file of /dev/shm that is mounted somewhere by itself is there for whoever opens that."""
    path = world.as_uid(GONE, lambda: world.shm_file("psm_00000001", b"x" * 4096))

    def container() -> None:
        world.unshare(world.CLONE_NEWNS)
        target = world.here() / "data"
        target.touch()
        world.mount(path, str(target), None, world.MS_BIND)

    world.spawn(container)
    assert look("posix-shm", path)[0] == "in-use"
