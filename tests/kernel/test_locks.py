"""File locks on the running kernel: who truly holds each, whoever took it, and who waits for it.

The table is the host's, so each test looks only at the locks of its own files.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ipcops.core.collect import locks
from ipcops.core.collect.processes import parse_stat, parse_status
from ipcops.core.fs import Directory
from ipcops.core.model import Gap, Process, Table
from tests import world
from tests.world import GONE, in_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipcops.core.collect.locks import Lock

F_OFD_SETLK, F_OFD_SETLKW = 37, 38
WHOLE = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock, from byte 0 to the end
INITIAL_PID_NAMESPACE = 4026531836


def take(path: str, how: Callable[[int], object]) -> int:
    """Open a file, lock it, return the descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    how(fd)
    return fd


def flock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX)


def share(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_SH)


def posix(fd: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_EX)


def ofd(fd: int) -> None:
    fcntl.fcntl(fd, F_OFD_SETLK, WHOLE)


def fork() -> int:
    """Return the pid of a child with all our descriptors, that stays."""
    return world.spawn().pid


def pass_on(fd: int) -> tuple[int, int]:
    """Fork a child; return its pid and the descriptor that both have."""
    return fork(), fd


def everybody() -> dict[int, Process]:
    """Return all processes, as the scan gives them."""
    found = {}
    for pid in world.processes():
        try:
            stat = parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
            uids, gids = parse_status(Path(f"/proc/{pid}/status").read_bytes())
        except OSError:
            continue
        zombie = stat.state in "ZX" and stat.threads <= 1
        kernel_thread = bool(stat.flags & 0x00200000)
        found[pid] = Process(
            pid, stat.started_ticks, 0, stat.command, uids, gids, kernel_thread=kernel_thread, zombie=zombie
        )
    return found


def file_id(info: os.stat_result) -> str:
    """Return device and inode as the kernel writes them in /proc/locks."""
    return "%02x:%02x:%d" % (os.major(info.st_dev), os.minor(info.st_dev), info.st_ino)


def about(every: list[Lock], info: os.stat_result) -> list[Lock]:
    """Return the locks of one file, and all that wait for them."""
    numbers = {lock.number for lock in every if lock.file == file_id(info)}
    return [lock for lock in every if lock.number in numbers]


def held(info: os.stat_result, processes: dict[int, Process] | None = None) -> tuple[Table, list[Gap]]:
    """Return the table of the locks of one file, and what was not seen."""
    with Directory.open("/proc") as proc:
        every, gaps = locks.read_locks(proc)
        assert not gaps
        them = about(every, info)
        found = locks.find_holders(proc, them, everybody() if processes is None else processes, time.monotonic() + 60)
    return locks.lock_table(them, found), list(found.gaps)


def the_lock(path: str, **more: Any) -> dict[str, Any]:
    """Return the one row of a file's lock; holders as (pid, descriptor)."""
    table, _ = held(os.stat(path), **more)
    (row,) = [{name: column[at] for name, column in table.columns.items()} for at in range(len(table))]
    row["holders"] = [(process.pid, fd) for process, fd in row["holders"]]
    return row


def in_text(path: str) -> list[Lock]:
    """Return the lines of /proc/locks about a file."""
    return about(locks.parse_locks(Path("/proc/locks").read_bytes()), os.stat(path))


def wait_for_waiters(path: str, count: int) -> None:
    world.wait_until(lambda: sum(lock.waits for lock in in_text(path)) == count, f"{count} wait for {path}")


def needs_first_pid_namespace() -> None:
    """Skip where the kernel hides the locks that are asked for."""
    if world.namespace("pid") != INITIAL_PID_NAMESPACE:
        pytest.skip("needs the first pid namespace: others do not show the flocks of processes that ended")


@pytest.mark.parametrize(
    ("how", "kind", "access"),
    [(flock, "FLOCK", "WRITE"), (share, "FLOCK", "READ"), (posix, "POSIX", "WRITE"), (ofd, "OFDLCK", "WRITE")],
)
@in_world(pids=True)
def test_the_one_who_took_it_holds_it(how: Callable[[int], object], kind: str, access: str) -> None:
    path = "/dev/shm/with a space\n"
    holder = world.spawn(lambda: take(path, how))
    world.spawn(lambda: os.open(path, os.O_RDWR))  # who has the file open, and not the lock
    info = os.stat(path)
    assert the_lock(path) == {
        "id": file_id(info),
        "path": path,
        "dev": info.st_dev,
        "ino": info.st_ino,
        "uid": 0,
        "type": kind,
        "access": access,
        "start": 0,
        "end": None,
        "pid": -1 if how is ofd else holder.pid,
        "holders": [(holder.pid, holder.value)],
        "waiters": (),
    }


@in_world(pids=True)
def test_a_lease() -> None:
    path = world.shm_file("leased")

    def lease() -> int:
        fd = os.open(path, os.O_RDONLY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        return fd

    holder = world.spawn(lease)
    row = the_lock(path)
    assert (row["type"], row["access"], row["path"]) == ("LEASE", "READ", path)
    assert row["holders"] == [(holder.pid, holder.value)]


@in_world(pids=True)
def test_byte_ranges_and_their_owner() -> None:
    """A POSIX lock belongs to the process alone: the child with the same descriptor has none."""
    path = world.shm_file("ranges")

    def some() -> int:
        fd = os.open(path, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 5)
        fcntl.lockf(fd, fcntl.LOCK_SH, 10, 50)
        fork()
        return fd

    holder = world.spawn(some)
    table, gaps = held(os.stat(path))
    assert not gaps
    ranges = sorted(zip(table["access"], table["start"], table["end"], strict=True))
    assert ranges == [("READ", 50, 59), ("WRITE", 5, 14)]
    assert [[(one.pid, fd) for one, fd in them] for them in table["holders"]] == [[(holder.pid, holder.value)]] * 2


@in_world()
def test_inherited_from_one_who_is_gone() -> None:
    """The kernel names the dead process, whose number may be anybody's by now; the child has the lock."""
    needs_first_pid_namespace()
    path = "/dev/shm/daemon.lock"
    daemon = world.daemon(lambda: (os.getpid(), take(path, flock)))
    taker, fd = daemon.value
    row = the_lock(path)
    assert (row["pid"], row["path"]) == (taker, path)
    assert row["holders"] == [(daemon.pid, fd)]


@pytest.mark.parametrize("how", [flock, ofd])
@in_world(pids=True)
def test_shared_with_children(how: Callable[[int], object]) -> None:
    """All who have the open file hold the lock."""
    path = "/dev/shm/shared"
    parent = world.spawn(lambda: pass_on(take(path, how)))
    child, fd = parent.value
    holders = the_lock(path)["holders"]
    assert sorted(holders) == sorted([(parent.pid, fd), (child, fd)])
    assert how is ofd or holders[0] == (parent.pid, fd)  # who took it comes first


@pytest.mark.parametrize("how", [flock, ofd])
@in_world(pids=True)
def test_kept_by_a_child_alone(how: Callable[[int], object]) -> None:
    """Who took it lives, but has closed it."""
    path = "/dev/shm/left"

    def leave() -> tuple[int, int]:
        child, fd = pass_on(take(path, how))
        os.close(fd)
        return child, fd

    parent = world.spawn(leave)
    assert the_lock(path)["holders"] == [parent.value]


@in_world(pids=True)
def test_shared_with_a_child_that_sees_other_files() -> None:
    """The child has another root and other mounts; the path is the one that we would give."""
    path = "/dev/shm/inside"

    def leave() -> None:
        world.unshare(world.CLONE_NEWNS)
        world.mount("tmpfs", "/dev/shm", "tmpfs")
        os.mkdir("/dev/shm/root")
        os.chroot("/dev/shm/root")

    def jail() -> tuple[int, int]:
        fd = take(path, flock)
        return world.spawn(leave).pid, fd

    parent = world.spawn(jail)
    row = the_lock(path)
    assert row["path"] == path
    assert row["holders"] == [(parent.pid, parent.value[1]), parent.value]


@in_world(pids=True)
def test_sent_through_a_socket() -> None:
    path = "/dev/shm/sent"
    here, there = socket.socketpair()
    stranger = world.spawn(lambda: None, then=lambda _: (socket.recv_fds(there, 1, 1), threading.Event().wait()))
    taker = world.spawn(lambda: take(path, flock))
    sender = world.spawn(lambda: socket.send_fds(here, [b"x"], [take("/dev/shm/other", flock)]))
    world.wait_until(
        lambda: "/dev/shm/other" in [os.readlink(f"/proc/{stranger.pid}/fd/{fd}") for fd in fds(stranger.pid)],
        "the descriptor arrived",
    )
    assert [pid for pid, _ in the_lock("/dev/shm/other")["holders"]] == [sender.pid, stranger.pid]
    assert [pid for pid, _ in the_lock(path)["holders"]] == [taker.pid]


def fds(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")


@in_world(pids=True)
def test_a_second_descriptor_of_the_same_process() -> None:
    path = "/dev/shm/twice"

    def twice() -> tuple[int, int]:
        fd = take(path, flock)
        return fd, os.dup(fd)

    holder = world.spawn(twice)
    assert sorted(the_lock(path)["holders"]) == [(holder.pid, fd) for fd in sorted(holder.value)]


@pytest.mark.parametrize("what", ["pipe", "socket", "memfd", "deleted"])
@in_world(pids=True)
def test_files_without_a_name(what: str) -> None:
    """Whatever can be opened can be locked by flock(2)."""

    def nameless() -> tuple[int, os.stat_result, str]:
        if what == "pipe":
            fd = os.pipe()[0]
        elif what == "socket":
            fd = socket.socket().detach()
        elif what == "memfd":
            fd = os.memfd_create("a b")
        else:
            fd = os.open("/dev/shm/gone", os.O_RDWR | os.O_CREAT)
            os.unlink("/dev/shm/gone")
        flock(fd)
        return fd, os.fstat(fd), os.readlink(f"/proc/self/fd/{fd}")

    holder = world.spawn(nameless)
    fd, info, link = holder.value
    table, gaps = held(info)
    assert not gaps
    assert [[(one.pid, number) for one, number in them] for them in table["holders"]] == [[(holder.pid, fd)]]
    assert list(table["path"]) == [link]


@in_world(pids=True)
def test_held_by_a_thread_when_the_main_thread_has_ended() -> None:
    """Then /proc/PID/fd is empty, and the descriptors are with the thread (pthread_exit(3))."""
    path = "/dev/shm/thread"
    number = {"x86_64": 60, "aarch64": 93}.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of exit(2) is not known here")

    def thread() -> int:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return take(path, flock)

    holder = world.spawn(thread, then=lambda _: ctypes.CDLL(None).syscall(number, 0))
    world.wait_until(lambda: world.state_of(holder.pid) == "Z", "the main thread ended")
    assert not fds(holder.pid)
    assert the_lock(path)["holders"] == [(holder.pid, holder.value)]


@pytest.mark.parametrize("how", [flock, posix, ofd])
@in_world(pids=True)
def test_who_waits(how: Callable[[int], object]) -> None:
    """They stand under the lock they wait for, each deeper than the one before; an open file's owner is not told."""
    path = "/dev/shm/awaited"

    def wait(_: object) -> None:
        fd = os.open(path, os.O_RDWR)
        if how is ofd:
            fcntl.fcntl(fd, F_OFD_SETLKW, WHOLE)
        else:
            how(fd)

    holder = world.spawn(lambda: take(path, how))
    waiters = []
    for count in (1, 2, 3):
        waiters.append(world.spawn(then=wait).pid)
        wait_for_waiters(path, count)
    row = the_lock(path)
    assert row["holders"] == [(holder.pid, holder.value)]
    assert row["waiters"] == ((-1, -1, -1) if how is ofd else tuple(waiters))
    if how is flock:  # each waits behind the other, and the kernel indents them
        text = Path("/proc/locks").read_text()
        lines = [line for line in text.split("\n") if "->" in line and file_id(os.stat(path)) in line]
        assert [line.index("->") - line.index(":") for line in lines] == [2, 3, 4]


@in_world(pids=True)
def test_waiters_of_one_range_are_not_those_of_another() -> None:
    path = world.shm_file("two")

    def lock(start: int) -> Callable[..., int]:
        def now(_: object = None) -> int:
            fd = os.open(path, os.O_RDWR)
            fcntl.lockf(fd, fcntl.LOCK_EX, 1, start)
            return fd

        return now

    first, second = world.spawn(lock(1)), world.spawn(lock(2))
    waiter = world.spawn(then=lock(2))
    wait_for_waiters(path, 1)
    table, _ = held(os.stat(path))
    rows = {
        start: ([(one.pid, fd) for one, fd in them], waiting)
        for start, them, waiting in zip(table["start"], table["holders"], table["waiters"], strict=True)
    }
    assert rows == {1: ([(first.pid, first.value)], ()), 2: ([(second.pid, second.value)], (waiter.pid,))}


@in_world(pids=True)
def test_who_waits_for_the_end_of_a_lease() -> None:
    """The kernel tells no file for them, only the number of the lease."""
    path = world.shm_file("leased")

    def lease() -> int:
        fd = os.open(path, os.O_RDONLY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        return fd

    def ignoring() -> int:
        import signal

        signal.signal(signal.SIGIO, signal.SIG_IGN)
        return lease()

    holder = world.spawn(ignoring)
    opener = world.spawn(then=lambda _: os.open(path, os.O_RDWR))
    world.wait_until(lambda: [lock for lock in in_text(path) if lock.state == "BREAKING"], "the lease breaks")
    row = the_lock(path)
    assert row["holders"] == [(holder.pid, holder.value)]
    assert row["waiters"] == (opener.pid,)


@in_world(pids=True)
def test_locks_that_a_pid_namespace_hides() -> None:
    """An inherited flock, and who waits for it, are in no table here; an open file description lock is."""
    assert world.namespace("pid") != INITIAL_PID_NAMESPACE

    def both() -> tuple[int, int, int]:
        descriptors = take("/dev/shm/flock", flock), take("/dev/shm/ofd", ofd)
        child = os.fork()
        if child == 0:
            threading.Event().wait()
        return (child, *descriptors)

    child, first, second = world.as_uid(None, both)
    waiter = world.spawn(then=lambda _: take("/dev/shm/flock", flock))
    number = {"x86_64": "73 ", "aarch64": "32 "}.get(os.uname().machine, "")  # flock(2)
    world.wait_until(lambda: Path(f"/proc/{waiter.pid}/syscall").read_text().startswith(number), "the waiter waits")
    assert b"lock:\t1: FLOCK  ADVISORY  WRITE 0 " in Path(f"/proc/{child}/fdinfo/{first}").read_bytes()
    assert in_text("/dev/shm/flock") == []
    assert the_lock("/dev/shm/ofd")["holders"] == [(child, second)]


@in_world(pids=True)
def test_a_number_that_is_another_process_by_now() -> None:
    """A process is its number and its start; who has the number now holds nothing that we can tell."""
    path = "/dev/shm/reused"
    holder = world.spawn(lambda: take(path, flock))
    processes = everybody()
    processes[holder.pid] = processes[holder.pid]._replace(started_ticks=1)
    row = the_lock(path, processes=processes)
    assert (row["holders"], row["path"]) == ([], None)


@in_world(pids=True)
def test_processes_that_end_meanwhile_are_no_gap() -> None:
    path = "/dev/shm/short"
    holder = world.spawn(lambda: take(path, ofd))
    short = world.spawn()
    processes = everybody()
    short.kill()
    table, gaps = held(os.stat(path), processes)
    assert (len(table), gaps) == (1, [])
    assert the_lock(path)["holders"] == [(holder.pid, holder.value)]


@in_world(pids=True)
def test_a_process_that_may_not_be_looked_into_is_a_gap() -> None:
    """As another user: the lock and who took it stand in the table, who holds it is not to be seen."""
    world.needs_root()
    path = world.shm_file("private", mode=0o666)
    holder = world.spawn(lambda: take(path, flock))
    table, gaps = world.as_uid(GONE, lambda: held(os.stat(path)))
    assert (list(table["pid"]), list(table["holders"]), list(table["path"])) == ([holder.pid], [()], [None])
    (gap,) = [gap for gap in gaps if gap.pid == holder.pid]
    assert (gap.evidence, gap.why, gap.kind) == ("descriptors", "Permission denied", "lock")


class Counting(Directory):
    """Counts what is read of descriptors, and lets nothing be asked through their links."""

    __slots__ = ()
    read_of: list[str]

    def directory(self, name: str) -> Directory:
        return Counting(super().directory(name).fd)

    def read_record(self, name: str) -> bytes:
        if name.startswith("fdinfo/"):
            Counting.read_of.append(name)
        return super().read_record(name)

    def read(self, name: str) -> bytes:
        raise AssertionError(name)

    def info(self, name: str, *, follow: bool = False) -> Any:
        raise AssertionError(name)

    def opened(self, name: str, *, follow: bool = False) -> Any:
        raise AssertionError(name)


@in_world(pids=True)
def test_only_descriptors_that_may_hold_a_lock_are_read() -> None:
    """Of the others not even fdinfo, and nothing is ever asked of the file behind a link."""

    def many(name: str) -> None:
        for at in range(20):
            os.open(f"/dev/shm/{name}{at}", os.O_RDWR | os.O_CREAT)
            os.pipe()

    bystander = world.spawn(lambda: many("bystander"))
    parent = world.spawn(lambda: (pass_on(take("/dev/shm/wanted", flock)), many("holder"))[0])
    child, fd = parent.value
    Counting.read_of = []
    with Counting.open("/proc") as proc:
        found = locks.find_holders(proc, in_text("/dev/shm/wanted"), everybody(), time.monotonic() + 60)
    (holders,) = found.by_lock.values()
    assert [(one.pid, number) for one, number in holders] == [(parent.pid, fd), (child, fd)]
    assert len(fds(bystander.pid)) >= 60
    # Of the parent at most what comes before the one that has it, of all others only that path's.
    assert len(Counting.read_of) <= fd + 2
