"""FIFOs and pipes: who has which end, who waits for the other, and that looking changes nothing for them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.world import GONE, OTHER, in_world

F_SETPIPE_SZ = 1031
PAGE = os.sysconf("SC_PAGE_SIZE")
OPEN_CALLS = {"2", "257", "437", "56"}


def looking(directory: Path) -> str:
    """Return a policy whose FIFOs are those of one directory."""
    return f"[scan]\nunreadable_ok = init.scope\nfifo_dirs = {directory}\n[audit]\norphan_age = 0\n"


def fifo(name: str = "fifo", mode: int = 0o600) -> str:
    path = world.here() / name
    os.mkfifo(path)
    os.chmod(path, mode)
    return str(path)


def the_fifo(path: str) -> dict[str, Any]:
    return world.the("fifo", path, looking(Path(path).parent))


def blocked_in_open(pid: int) -> bool:
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in OPEN_CALLS


def opener(path: str, flags: int, **more: Any) -> world.Process:
    """Return a process that is blocked opening a FIFO."""
    process = world.spawn(then=lambda _: os.open(path, flags, **more))
    world.wait_until(lambda: blocked_in_open(process.pid), "it to wait for the other end")
    return process


# ---------------------------------------------------------------- FIFOs


@in_world()
def test_a_fifo_says_who_has_which_end() -> None:
    path = fifo()
    reader = world.spawn(lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    writer = world.spawn(lambda: os.open(path, os.O_WRONLY))
    both = world.spawn(lambda: os.open(path, os.O_RDWR))
    one = the_fifo(path)
    assert one["verdict"] == "in-use"
    assert {holder["pid"]: holder["access"] for holder in one["holders"]} == {
        reader.pid: "read",
        writer.pid: "write",
        both.pid: "read+write",
    }
    assert {holder["fd"] for holder in one["holders"] if holder["pid"] == reader.pid} == {reader.value}


@in_world()
def test_a_fifo_that_nobody_has_open_is_idle() -> None:
    world.needs_root()
    path = fifo()
    one = the_fifo(path)
    assert (one["verdict"], one["holders"], one["waiters"]) == ("idle", [], [])


@pytest.mark.parametrize(
    ("flags", "words"), [(os.O_RDONLY, "for reading"), (os.O_WRONLY, "for writing")], ids=["reader", "writer"]
)
@in_world()
def test_who_waits_to_open_a_fifo_has_no_descriptor_and_is_named(flags: int, words: str) -> None:
    path = fifo()
    process = opener(path, flags)
    one = the_fifo(path)
    assert one["verdict"] == "in-use"
    assert one["holders"] == []
    assert [(waiter["pid"], waiter["call"]) for waiter in one["waiters"]] == [(process.pid, "openat " + words)]
    assert blocked_in_open(process.pid), "looking has let it go on"


def relative(path: str) -> world.Process:
    def wait(_: Any) -> None:
        os.chdir(os.path.dirname(path))
        os.open(os.path.basename(path), os.O_RDONLY)

    return world.spawn(then=wait)


def by_directory(path: str) -> world.Process:
    def wait(_: Any) -> None:
        place = os.open(os.path.dirname(path), os.O_RDONLY)
        os.open("./" + os.path.basename(path), os.O_RDONLY, dir_fd=place)

    return world.spawn(then=wait)


def by_link(path: str) -> world.Process:
    link = path + "-directory"
    os.symlink(os.path.dirname(path), link)
    return world.spawn(then=lambda _: os.open(os.path.join(link, os.path.basename(path)), os.O_RDONLY))


def by_thread(path: str) -> world.Process:
    import threading

    def wait(_: Any) -> None:
        threading.Thread(target=os.open, args=(path, os.O_RDONLY), daemon=True).start()
        signal.pause()

    return world.spawn(then=wait)


def in_other_mounts(path: str) -> world.Process:
    """See the directory of the FIFO at another place."""

    def wait(_: Any) -> None:
        world.unshare(world.CLONE_NEWNS)
        world.mount("none", "/", None, world.MS_REC | world.MS_PRIVATE)
        world.mount(os.path.dirname(path), "/mnt", None, world.MS_BIND)
        os.open("/mnt/" + os.path.basename(path), os.O_RDONLY)

    return world.spawn(then=wait)


def in_a_root_of_its_own(path: str) -> world.Process:
    def wait(_: Any) -> None:
        os.chroot(os.path.dirname(path))
        os.open("/" + os.path.basename(path), os.O_RDONLY)

    return world.spawn(then=wait)


@pytest.mark.parametrize("way", [relative, by_directory, by_link, by_thread, in_other_mounts, in_a_root_of_its_own])
@in_world()
def test_whatever_path_it_opens_by(way: Any) -> None:
    if way in (in_other_mounts, in_a_root_of_its_own):
        world.needs_root()
    path = fifo("a fifo\nwith an odd name")
    process = way(path)
    tasks = f"/proc/{process.pid}/task"
    world.wait_until(
        lambda: any(Path(tasks, tid, "syscall").read_text().split()[0] in OPEN_CALLS for tid in os.listdir(tasks)),
        "it to wait for the other end",
    )
    one = the_fifo(path)
    assert one["verdict"] == "in-use"
    assert [waiter["pid"] for waiter in one["waiters"]] == [process.pid]


@in_world()
def test_a_file_of_the_same_name_elsewhere_is_not_taken_for_it() -> None:
    path = fifo("same")
    (world.here() / "other").mkdir()
    other = fifo("other/same")
    opener(other, os.O_RDONLY)
    text = looking(world.here())
    found = {one["path"]: one for one in world.objects("fifo", text=text)}
    assert [len(found[path]["waiters"]), len(found[other]["waiters"])] == [0, 1]


@in_world()
def test_without_a_look_into_every_process_a_fifo_is_not_called_idle() -> None:
    world.needs_root()
    path = fifo(mode=0o666)
    world.spawn(uid=OTHER)
    found = world.objects("fifo", text=looking(world.here()), uid=GONE)
    assert [(one["path"], one["verdict"]) for one in found] == [(path, "unknown")]


# ---------------------------------------------------------------- pipes


@in_world()
def test_a_pipe_says_its_size_fill_creator_and_ends() -> None:
    world.needs_root()

    def make() -> Any:
        ends = os.pipe()
        fcntl.fcntl(ends[1], F_SETPIPE_SZ, 32 * PAGE)
        os.write(ends[1], b"x" * 5000)
        return ends, os.fstat(ends[0]).st_ino

    process = world.spawn(make, uid=GONE)
    ends, ino = process.value
    one = world.the("pipe", ino)
    assert (one["capacity"], one["fill"], one["owner"]["uid"]) == (32 * PAGE, 5000, GONE)
    assert [(end["pid"], end["fd"], end["access"]) for end in one["holders"]] == [
        (process.pid, ends[0], "read"),
        (process.pid, ends[1], "write"),
    ]


@in_world()
def test_the_creator_of_a_pipe_is_told_whoever_holds_it() -> None:
    world.needs_root()

    def make() -> int:
        ends = os.pipe()
        os.setresuid(0, 0, 0)
        os.setresuid(OTHER, OTHER, OTHER)
        world.prctl(world.PR_SET_DUMPABLE, 1)
        return os.fstat(ends[0]).st_ino

    holder = world.spawn(lambda: (os.setresuid(GONE, GONE, 0), make())[1])
    one = world.the("pipe", holder.value)
    assert one["owner"]["uid"] == GONE
    assert {end["pid"] for end in one["holders"]} == {holder.pid}


@in_world()
def test_who_waits_for_a_pipe_is_named() -> None:
    reader = world.spawn(os.pipe, then=lambda ends: os.read(ends[0], 1))
    world.wait_until(lambda: world.state_of(reader.pid) == "S", "it to wait")
    ino = os.stat(f"/proc/{reader.pid}/fd/{reader.value[0]}").st_ino
    one = world.the("pipe", ino)
    assert [(waiter["pid"], waiter["call"]) for waiter in one["waiters"]] == [(reader.pid, "read")]


@in_world(timeout=120)
def test_ten_thousand_pipes() -> None:
    world.needs_root()
    count = 9_900
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 2 * count + 100:
        pytest.skip(f"one process may have {hard} descriptors here, and {2 * count} are needed")

    def make() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for _ in range(count):
            os.pipe()

    first = world.spawn(make)
    second = world.spawn(lambda: [os.pipe() for _ in range(200)])
    report = world.audit()
    assert report["usage"]["pipe"]["objects"] >= count + 200
    assert not [gap for gap in report["scan"]["skipped"] if gap["pid"] in (first.pid, second.pid)]


def without(number: int) -> None:
    """Let one system call answer ENOSYS from here on, as a kernel without it does (seccomp(2))."""
    load, jump, ret = 0x20, 0x15, 0x06
    allow, errno_enosys = 0x7FFF0000, 0x00050000 | 38
    rules = [(load, 0, 0, 0), (jump, 0, 1, number), (ret, 0, 0, errno_enosys), (ret, 0, 0, allow)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    header = struct.pack("=H6xQ", len(rules), ctypes.addressof(program))
    world.prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, 2, ctypes.c_char_p(header), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        pytest.skip(f"seccomp is not to be had here: {os.strerror(ctypes.get_errno())}")


@in_world()
def test_a_kernel_without_pidfd_getfd_leaves_a_gap_and_the_ends() -> None:
    world.needs_root()
    pidfd_getfd = 438
    holder = world.spawn(lambda: os.fstat(os.pipe()[0]).st_ino)
    path = world.policy()

    def look() -> str:
        without(pidfd_getfd)
        words = [sys.executable, "-m", "ipcops.core", "list", "pipe", "--format", "json", "--policy", path]
        return subprocess.run(words, cwd=world.REPO, check=True, capture_output=True, text=True).stdout

    import json

    report = json.loads(world.as_uid(None, look))
    mine = [one for one in report["objects"] if one["id"] == holder.value]
    assert [{end["pid"] for end in one["holders"]} for one in mine] == [{holder.pid}]
    assert (mine[0]["capacity"], mine[0]["fill"], mine[0]["owner"]["uid"]) == (None, None, None)
    assert any(gap["kind"] == "pipe" and "not implemented" in gap["why"] for gap in report["scan"]["skipped"])


# ---------------------------------------------------------------- nobody is disturbed


def watched(descriptor: int, flag: int, stop: int) -> tuple[int, int]:
    """Count how often *descriptor* shows *flag*, and how often not, until *stop* ends."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLOUT)
    with_it = without_it = 0
    while not select.select([stop], [], [], 0)[0]:
        events = dict(poll.poll(0)).get(descriptor, 0)
        with_it, without_it = (with_it + 1, without_it) if events & flag else (with_it, without_it + 1)
    return with_it, without_it


@pytest.mark.parametrize("what", ["pipe", "fifo"])
@pytest.mark.parametrize("end", ["read", "write"])
@in_world(timeout=120)
def test_nobody_becomes_a_reader_or_writer_while_we_look(end: str, what: str) -> None:
    """The end that is left shows the hangup or the error at every moment: a look that opened would end that."""
    stop, stopped = os.pipe()
    tell, told = os.pipe()
    if what == "fifo":
        path = fifo()
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(path, os.O_WRONLY)
    else:
        reader, writer = os.pipe()
    kept, closed, flag = (reader, writer, select.POLLHUP) if end == "read" else (writer, reader, select.POLLERR)
    os.close(closed)

    def watch(_: Any) -> None:
        os.close(stopped)
        os.write(told, b"%d %d" % watched(kept, flag, stop))

    world.spawn(then=watch)
    os.close(told)
    os.close(stop)
    text = looking(world.here())
    for words in (["audit", "--fail-on", "none"], ["list"], ["list", "fifo", "pipe"], ["audit", "--all-namespaces"]):
        answer = world.ipcops(*words, "--format", "json", "--policy", world.policy(text))
        assert answer.status in (0, 1), answer.err
    os.close(stopped)
    with_it, without_it = map(int, os.read(tell, 100).split())
    assert without_it == 0
    assert with_it > 100


@in_world(timeout=120)
def test_the_end_of_a_pipe_comes_to_others_while_we_look() -> None:
    """Again and again a writer closes while ipcops looks; the reader sees the end each time."""
    looker = world.spawn(then=lambda _: [world.ipcops("list", "pipe", "--format", "json") for _ in range(4)])
    seen = 0
    while True:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            time.sleep(0.0005 * (seen % 5))
            os._exit(0)  # closes its copy
        os.close(writer)
        assert select.select([reader], [], [], 10)[0], "the end did not come"
        assert os.read(reader, 1) == b""
        os.waitpid(child, 0)
        os.close(reader)
        seen += 1
        if os.waitpid(looker.pid, os.WNOHANG)[0]:
            break
    assert seen > 3


# ---------------------------------------------------------------- bad worlds


@in_world()
def test_a_process_in_uninterruptible_sleep_does_not_stop_the_look() -> None:
    """A parent after vfork(2) sleeps that way until its child is gone."""

    def sleep(_: Any) -> None:
        libc = ctypes.CDLL(None)
        os.pipe()
        if libc.vfork() == 0:
            world.prctl(world.PR_SET_PDEATHSIG, signal.SIGKILL)
            libc.pause()

    sleeper = world.spawn(then=sleep)
    world.wait_until(lambda: world.state_of(sleeper.pid) == "D", "it to sleep that way")
    pipes = world.objects("pipe")
    assert sleeper.pid in {end["pid"] for one in pipes for end in one["holders"]}
    sleeper.kill()
