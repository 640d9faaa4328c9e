"""Private worlds on the real kernel, for tests.

A test that makes IPC objects must not see the host's, nor leave any behind. ``@in_world()`` runs a
test's body in a forked child with its own IPC and mount namespaces and a fresh ``/dev/shm``; when the
body ends, so do the namespaces and all that is in them. What the body asserts, skips or raises
comes out in the parent as if it had happened there.

Everything here is the standard library and ``ctypes``, so that the tests of the core run wherever
the core does.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import pickle
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REPO = Path(__file__).resolve().parent.parent
TIMEOUT = 60  # seconds for the body of one test
KILL_AFTER = 10  # seconds more before a child that does not answer is killed

# Uids and gids without a name and without a process: who made an object and is gone. Processes are
# seen across IPC namespaces, so every run of the tests on a machine needs uids of its own.
GONE = 600_000_000 + 8 * os.getpid()
OTHER = GONE + 1
THIRD = GONE + 2

# ---------------------------------------------------------------------------------------------
# The kernel's door. Names as in the manual pages.

_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36

IPC_CREAT, IPC_EXCL, IPC_NOWAIT, IPC_PRIVATE = 0o1000, 0o2000, 0o4000, 0
IPC_RMID, IPC_SET, IPC_STAT = 0, 1, 2
SHM_RDONLY = 0o10000
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL = 11, 12, 13, 14, 15, 16, 17
SEM_UNDO = 0x1000


def _call(name: str, *args: Any) -> int:
    """Call a libc function and raise ``OSError`` where it answers -1."""
    try:
        function = getattr(_libc, name)
    except AttributeError:  # before glibc 2.34 these lived in libraries of their own
        library = "libpthread.so.0" if name.startswith("sem_") else "librt.so.1"
        function = getattr(ctypes.CDLL(library, use_errno=True), name)
    result: int = function(*args)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def signed(key: int) -> int:
    """Return a key as the C type ``key_t`` holds it."""
    return ctypes.c_int32(key & 0xFFFFFFFF).value


def shmget(size: int, *, key: int = IPC_PRIVATE, mode: int = 0o600) -> int:
    """Make a segment; return its id."""
    return _call("shmget", signed(key), ctypes.c_size_t(size), IPC_CREAT | IPC_EXCL | mode)


def shmat(shmid: int, flags: int = 0) -> int:
    """Attach a segment; return its address."""
    address = _libc.shmat(shmid, None, flags)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, f"shmat: {os.strerror(number)}")
    return int(address)


def shmdt(address: int) -> None:
    """Detach the segment at an address."""
    _call("shmdt", ctypes.c_void_p(address))


def touch(address: int, size: int) -> None:
    """Write every byte of an attached segment, so that it takes memory."""
    ctypes.memset(address, 1, size)


def shmrm(shmid: int) -> None:
    """Remove a segment, or mark it destroyed while it is attached."""
    _call("shmctl", shmid, IPC_RMID, None)


def shmlock(shmid: int) -> None:
    """Keep a segment in memory."""
    shm_lock = 11
    _call("shmctl", shmid, shm_lock, None)


def semget(count: int, *, key: int = IPC_PRIVATE, mode: int = 0o600) -> int:
    """Make a semaphore set; return its id."""
    return _call("semget", signed(key), count, IPC_CREAT | IPC_EXCL | mode)


class _Sembuf(ctypes.Structure):
    _fields_ = (("num", ctypes.c_ushort), ("op", ctypes.c_short), ("flags", ctypes.c_short))


def semop(semid: int, op: int, *, num: int = 0, flags: int = 0) -> None:
    """Operate on one semaphore of a set."""
    _call("semop", semid, ctypes.byref(_Sembuf(num, op, flags)), ctypes.c_size_t(1))


def semctl(semid: int, num: int, command: int, value: int = 0) -> int:
    """Ask or set one semaphore of a set."""
    return _call("semctl", semid, num, command, ctypes.c_long(value))


def semrm(semid: int) -> None:
    """Remove a set."""
    _call("semctl", semid, 0, IPC_RMID, ctypes.c_long(0))


def msgget(*, key: int = IPC_PRIVATE, mode: int = 0o600) -> int:
    """Make a message queue; return its id."""
    return _call("msgget", signed(key), IPC_CREAT | IPC_EXCL | mode)


def msgsnd(msqid: int, data: bytes, *, kind: int = 1, flags: int = IPC_NOWAIT) -> None:
    """Send one message."""
    buffer = struct.pack("@l", kind) + data
    _call("msgsnd", msqid, buffer, ctypes.c_size_t(len(data)), flags)


def msgrcv(msqid: int, *, kind: int = 0, flags: int = 0) -> bytes:
    """Receive one message."""
    buffer = ctypes.create_string_buffer(65536 + 8)
    size = _call("msgrcv", msqid, buffer, ctypes.c_size_t(65536), ctypes.c_long(kind), flags)
    return buffer.raw[8 : 8 + size]


class MsqidDs(ctypes.Structure):
    """What the C library of a 64-bit machine keeps for ``msgctl``."""

    _fields_ = (
        ("key", ctypes.c_int32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("cuid", ctypes.c_uint32),
        ("cgid", ctypes.c_uint32),
        ("mode", ctypes.c_uint16),
        ("pad", ctypes.c_uint16),
        ("seq", ctypes.c_uint32),
        ("unused", ctypes.c_ulong * 2),
        ("stime", ctypes.c_long),
        ("rtime", ctypes.c_long),
        ("ctime", ctypes.c_long),
        ("cbytes", ctypes.c_ulong),
        ("qnum", ctypes.c_ulong),
        ("qbytes", ctypes.c_ulong),
        ("lspid", ctypes.c_int32),
        ("lrpid", ctypes.c_int32),
        ("more", ctypes.c_ulong * 2),
    )


def msgstat(msqid: int) -> MsqidDs:
    """Return what the kernel knows of a queue."""
    found = MsqidDs()
    _call("msgctl", msqid, IPC_STAT, ctypes.byref(found))
    return found


def msgset(msqid: int, *, qbytes: int) -> None:
    """Set the capacity of a queue."""
    found = msgstat(msqid)
    found.qbytes = qbytes
    _call("msgctl", msqid, IPC_SET, ctypes.byref(found))


def msgrm(msqid: int) -> None:
    """Remove a queue."""
    _call("msgctl", msqid, IPC_RMID, None)


def give(kind: str, number: int, uid: int, gid: int) -> None:
    """Make another uid and gid the owner of a System V object; the creator stays."""
    buffer = ctypes.create_string_buffer(512)
    words = (number, 0) if kind == "sem" else (number,)
    _call(f"{kind}ctl", *words, IPC_STAT, buffer)
    struct.pack_into("@II", buffer, 4, uid, gid)  # struct ipc_perm: key, uid, gid, …
    _call(f"{kind}ctl", *words, IPC_SET, buffer)


class _MqAttr(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_long),
        ("maxmsg", ctypes.c_long),
        ("msgsize", ctypes.c_long),
        ("curmsgs", ctypes.c_long),
        ("reserved", ctypes.c_long * 4),
    )


def mq_open(name: str, *, maxmsg: int = 10, msgsize: int = 512, mode: int = 0o600, flags: int = 0) -> int:
    """Make (or open, where it exists) a POSIX queue, umask or not; return its descriptor."""
    before = os.umask(0)
    try:
        return _call(
            "mq_open",
            name.encode(),
            os.O_RDWR | os.O_CREAT | flags,
            ctypes.c_uint(mode),
            ctypes.byref(_MqAttr(0, maxmsg, msgsize, 0)),
        )
    finally:
        os.umask(before)


def mq_send(descriptor: int, data: bytes) -> None:
    """Send one message to a POSIX queue."""
    _call("mq_send", descriptor, data, ctypes.c_size_t(len(data)), 0)


def mq_receive(descriptor: int, size: int = 8192) -> bytes:
    """Receive one message from a POSIX queue."""
    buffer = ctypes.create_string_buffer(size)
    got = _call("mq_receive", descriptor, buffer, ctypes.c_size_t(size), None)
    return buffer.raw[:got]


def mq_unlink(name: str) -> None:
    """Remove the name of a POSIX queue."""
    _call("mq_unlink", name.encode())


def sem_open(name: str, *, mode: int = 0o600, value: int = 1) -> int:
    """Make (or open) a named semaphore; return its address."""
    function = getattr(_libc, "sem_open", None)
    if function is None:
        function = ctypes.CDLL("libpthread.so.0", use_errno=True).sem_open
    function.restype = ctypes.c_void_p
    address = function(name.encode(), os.O_CREAT, ctypes.c_uint(mode), ctypes.c_uint(value))
    if not address:
        number = ctypes.get_errno()
        raise OSError(number, f"sem_open: {os.strerror(number)}")
    return int(address)


def shm_file(name: str, data: bytes = b"x", mode: int = 0o600) -> str:
    """Make a file in ``/dev/shm`` as ``shm_open`` would, and close it; return its path."""
    path = os.path.join("/dev/shm", name)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    return path


def map_file(path: str, *, close: bool = True) -> int:
    """Map a file as its users do; return the address."""
    _libc.mmap.restype = ctypes.c_void_p
    descriptor = os.open(path, os.O_RDWR)
    size = max(os.fstat(descriptor).st_size, 1)
    address = _libc.mmap(None, ctypes.c_size_t(size), 3, 1, descriptor, ctypes.c_long(0))
    if address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, f"mmap: {os.strerror(number)}")
    if close:
        os.close(descriptor)
    return int(address)


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """Mount a file system, or change a mount."""
    _call(
        "mount",
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )


def umount(target: str) -> None:
    """Take a mount out of this mount namespace."""
    _call("umount2", target.encode(), MNT_DETACH)


def unshare(flags: int) -> None:
    """Leave the namespaces that the flags name for new ones."""
    _call("unshare", flags)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    _call("prctl", option, ctypes.c_ulong(value), 0, 0, 0)


def namespace(kind: str = "ipc", pid: int | str = "self") -> int:
    """Return the inode number of a namespace of a process."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


HOME = namespace("ipc")  # where the tests were started: never to be written to


# ---------------------------------------------------------------------------------------------
# The world


class Outcome(NamedTuple):
    """How the body of a world ended."""

    word: str  # passed, failed or skipped
    text: str


class LateError(Exception):
    """The body of a test took longer than it may."""


_here: Path | None = None  # the world's own directory for policies and the like


def here() -> Path:
    """Return a directory, readable by everybody, that goes when the world does."""
    assert _here is not None, "only inside a world"
    return _here


def in_world(
    *,
    mqueue: bool = False,
    pids: bool = False,
    shm: str = "size=256m",
    shm_flags: int = MS_NOSUID | MS_NODEV | MS_NOEXEC,
    timeout: int = TIMEOUT,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test in a world of its own.

    ``mqueue`` mounts POSIX queues at /dev/mqueue; ``pids`` gives the world its own pid namespace
    and /proc, so that it sees no process but its own; ``shm`` and ``shm_flags`` are the options of
    the tmpfs at /dev/shm.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            def body() -> None:
                test(*args, **kwargs)

            def enter() -> None:
                _enter(mqueue=mqueue, shm=shm, shm_flags=shm_flags)

            outcome = _in_child(body, enter, pids=pids, timeout=timeout)
            if outcome.word == "skipped":
                pytest.skip(outcome.text)
            if outcome.word == "failed":
                pytest.fail(outcome.text, pytrace=False)

        return run

    return decorate


def _in_child(body: Callable[[], None], enter: Callable[[], None], *, pids: bool, timeout: int) -> Outcome:
    """Run a world in a forked child and return how it ended."""
    global _here  # noqa: PLW0603 - the child inherits it
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="ipcops-world-") as directory:
        os.chmod(directory, 0o755)
        _here = Path(directory)
        child = os.fork()
        if child == 0:
            os.close(reader)
            _live(body, enter, writer, pids=pids, timeout=timeout)
        os.close(writer)
        try:
            message = _receive(reader, child, timeout + KILL_AFTER)
        finally:
            os.close(reader)
            _kill_tree(child)
            _here = None
    if message is None:
        return Outcome("failed", f"the world died, or gave no answer in {timeout + KILL_AFTER} s")
    return Outcome(*message)


def _live(body: Callable[[], None], enter: Callable[[], None], writer: int, *, pids: bool, timeout: int) -> None:
    """Be the child: enter the world, run the body, report, end everything. Never returns."""
    outcome = ("failed", "the world ended before its body did")
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _leave_user()
        if pids:
            with _skipping("not allowed a pid namespace"):
                unshare(CLONE_NEWPID)
            inner = os.fork()
            if inner:
                with suppress(KeyboardInterrupt):
                    os.waitpid(inner, 0)
                os._exit(0)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        _separate(pids=pids)
        enter()
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(timeout)
        body()
        outcome = ("passed", "")
    except pytest.skip.Exception as skip:
        outcome = ("skipped", str(skip))
    except BaseException:  # noqa: BLE001 - whatever it was, the parent reports it
        outcome = ("failed", traceback.format_exc())
    finally:
        signal.alarm(0)
        with suppress(BaseException):
            _end_children()
        with suppress(BaseException):
            sys.stdout.flush()
            _send(writer, outcome)
        os._exit(0)


@contextmanager
def _skipping(why: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        pytest.skip(f"{why}: {error}")


def _separate(*, pids: bool) -> None:
    with _skipping("not allowed namespaces and mounts of our own"):
        unshare(CLONE_NEWNS | CLONE_NEWIPC)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        if pids:
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _late(number: int, frame: object) -> None:
    message = "the test took too long"
    raise LateError(message)


def _leave_user() -> None:
    """Become root of a user namespace where we are not root of this one."""
    if os.geteuid() == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        pytest.skip(f"neither root nor allowed a user namespace: {error}")


def _enter(*, mqueue: bool, shm: str, shm_flags: int) -> None:
    """Furnish the world: a /dev/shm of its own, and POSIX queues if asked."""
    try:
        if mqueue and not os.path.isdir("/dev/mqueue"):
            _private_dev()
        os.umask(0o022)
        mount("tmpfs", "/dev/shm", "tmpfs", shm_flags, "mode=1777," + shm)
        if os.path.ismount("/dev/mqueue"):
            with suppress(OSError):  # it shows the queues of the host; locked for a mere user
                umount("/dev/mqueue")
        if mqueue:
            mount("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        if error.errno == errno.ENODEV:
            pytest.skip(f"this kernel has no such file system: {error}")
        raise


def _private_dev() -> None:
    """Put a small /dev with a mount point for queues over the host's, which is never written to."""
    names = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")
    held = {}
    for name in names:
        with suppress(OSError):
            held[name] = os.open(os.path.join("/dev", name), os.O_PATH)
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name, descriptor in held.items():
        target = os.path.join("/dev", name)
        if name == "ptmx" and _made_ptmx(target):
            os.close(descriptor)
            continue
        if name == "pts":
            os.mkdir(target)
        else:
            Path(target).touch()
        mount(f"/proc/self/fd/{descriptor}", target, None, MS_BIND)
        os.close(descriptor)
    os.symlink("/proc/self/fd", "/dev/fd")
    os.mkdir("/dev/shm")
    os.mkdir("/dev/mqueue")


def _made_ptmx(path: str) -> bool:
    """Make the device anew: it looks for the terminals beside it, and a bound one has its old neighbours (pts(4)).

    Only the first root may; others keep the bound one, which does where the kernel follows it.
    """
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(5, 2))
        os.chmod(path, 0o666)
    except PermissionError:
        return False
    return True


# --- messages between processes


def _send(writer: int, message: object) -> None:
    data = pickle.dumps(message)
    data = struct.pack("@Q", len(data)) + data
    while data:
        data = data[os.write(writer, data) :]


def _receive(reader: int, child: int, seconds: float) -> Any:
    """Return the child's message; None when it died or gave none in time."""
    end = time.monotonic() + seconds
    data = b""
    gone = False
    while time.monotonic() < end:
        if select.select([reader], [], [], 0 if gone else 0.2)[0]:
            part = os.read(reader, 1 << 20)
            if not part:
                return None
            data += part
            if len(data) >= 8 and len(data) >= 8 + struct.unpack("@Q", data[:8])[0]:
                return pickle.loads(data[8:])
        elif gone:
            return None
        else:
            gone = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return None


# --- processes


def parent_of(pid: int) -> int:
    """Return the parent's pid, 0 when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(text[text.rindex(b")") + 2 :].split()[1])


def state_of(pid: int) -> str:
    """Return the state letter of a process, '' when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return text[text.rindex(b")") + 2 :].split()[0].decode()


def processes() -> list[int]:
    """Return the pids that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(pid: int) -> list[int]:
    """Return a process's children and theirs, parents first."""
    children: dict[int, list[int]] = {}
    for other in processes():
        children.setdefault(parent_of(other), []).append(other)
    found: list[int] = []
    todo = [pid]
    while todo:
        new = children.get(todo.pop(), [])
        found += new
        todo += new
    return found


def _end_children() -> None:
    """Kill and reap everything below this process; daemons come to us as their subreaper."""
    end = time.monotonic() + 5
    me = os.getpid()
    while time.monotonic() < end:
        for pid in descendants(me):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _kill_tree(pid: int) -> None:
    """Kill a child of ours with all that is below it, and reap it."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        for _ in range(200):  # it has answered: it ends by itself now
            if state_of(pid) in ("Z", ""):
                break
            time.sleep(0.005)
        else:
            os.kill(pid, signal.SIGSTOP)  # so that it makes no new ones meanwhile
            for each in [*descendants(pid), pid]:
                with suppress(OSError):
                    os.kill(each, signal.SIGKILL)
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def _become(uid: int | None, gid: int | None, groups: Sequence[int]) -> None:
    """Drop to a uid for good. A uid that cannot be had skips the test."""
    if uid is None:
        return
    try:
        os.setgroups(list(groups))
        os.setgid(uid if gid is None else gid)
        os.setuid(uid)
    except OSError as error:
        pytest.skip(f"cannot become uid {uid} here, not being root: {error}")
    # So that /proc/PID is the uid's own, as it is after any exec.
    prctl(PR_SET_DUMPABLE, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def needs_root() -> None:
    """Skip the test where we are not root of the whole machine."""
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        pytest.skip("needs root of the whole machine: other users, or a look into every process")


class Process:
    """A child that lives until it is killed or its world ends."""

    def __init__(self, pid: int, value: Any) -> None:
        """Hold the pid, and what the child made before it said it was ready."""
        self.pid = pid
        self.value = value

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill it and wait until it is reaped, so that its pid is free."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _pause(value: Any) -> None:
    while True:
        signal.pause()


def spawn(
    make: Callable[[], Any] = lambda: None,
    *,
    then: Callable[[Any], object] = _pause,
    uid: int | None = None,
    gid: int | None = None,
    groups: Sequence[int] = (),
) -> Process:
    """Start a child that calls ``make``, tells us its result, and then calls ``then`` with it.

    Returns once the child is ready. By default it then sleeps; ``then`` may block in a system call
    instead (see ``wait_blocked``).
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            message = _attempt(lambda: (_become(uid, gid, groups), make())[1])
            _send(writer, message)
            os.close(writer)
            if message[0] == "ok":
                then(message[1])
        finally:
            os._exit(0)
    os.close(writer)
    try:
        message = _receive(reader, pid, TIMEOUT)
    finally:
        os.close(reader)
    return Process(pid, _unwrap(message))


def as_uid(
    uid: int | None,
    function: Callable[[], Any],
    *,
    gid: int | None = None,
    groups: Sequence[int] = (),
) -> Any:
    """Run a function in a child of another uid, wait for the child's end, return its result."""
    child = spawn(function, then=lambda _: None, uid=uid, gid=gid, groups=groups)
    os.waitpid(child.pid, 0)
    return child.value


def daemon(make: Callable[[], Any], *, uid: int | None = None, gid: int | None = None) -> Process:
    """Start a double-forked daemon: what it makes, a process makes that is gone at once."""

    def launch() -> tuple[int, Any]:
        _become(uid, gid, ())
        os.setsid()
        value = make()
        grandchild = os.fork()  # it has no death signal, so it outlives us
        if grandchild == 0:
            _pause(None)
        return grandchild, value

    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            _send(writer, _attempt(launch))
        finally:
            os._exit(0)
    os.close(writer)
    try:
        message = _receive(reader, pid, TIMEOUT)
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
    grandchild, value = _unwrap(message)
    return Process(grandchild, value)


def in_child_pid_namespace(function: Callable[[], Any]) -> Any:
    """Run a function where /proc and the kernel show only the processes of a new pid namespace."""

    def descend() -> Any:
        unshare(CLONE_NEWPID | CLONE_NEWNS)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            _send(writer, _attempt(lambda: (_own_proc(), function())[1]))
            os._exit(0)
        os.close(writer)
        return _unwrap(_receive(reader, pid, TIMEOUT))

    return as_uid(None, descend)


def _own_proc() -> None:
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _attempt(function: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return ("ok", function())
    except pytest.skip.Exception as skip:
        return ("skip", str(skip))
    except BaseException:  # noqa: BLE001 - told to the parent
        return ("error", traceback.format_exc())


def _unwrap(message: Any) -> Any:
    if message is None:
        raise AssertionError("the child died before it was ready")
    word, value = message
    if word == "skip":
        pytest.skip(value)
    if word == "error":
        raise AssertionError("in the child:\n" + value)
    return value


# System call numbers a thread can be blocked in, by machine: landscape of the kernel's tables.
_CALLS = {
    "x86_64": {"semop": (65, 220), "msgsnd": (69,), "msgrcv": (70,), "mq_receive": (243,)},
    "aarch64": {"semop": (193, 192), "msgsnd": (189,), "msgrcv": (188,), "mq_receive": (183,)},
}


def wait_blocked(pid: int, call: str, argument: int, seconds: float = 5) -> None:
    """Wait until a process is blocked in a system call whose first argument is the one given."""
    numbers = _CALLS.get(os.uname().machine, {}).get(call)
    if numbers is None:
        pytest.skip(f"the system call numbers of {os.uname().machine} are not known to this test")
    end = time.monotonic() + seconds
    text = ""
    while time.monotonic() < end:
        text = Path(f"/proc/{pid}/syscall").read_text()
        words = text.split()
        blocked = words[0] not in ("running", "-1") and int(words[0]) in numbers
        if blocked and int(words[1], 16) & 0xFFFFFFFF == argument:
            return
        time.sleep(0.005)
    raise AssertionError(f"process {pid} does not block in {call}({argument}): {text}")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """Wait for a condition and return its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


class _CloneArgs(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
        )
    )


def sleeper_with_pid(pid: int, uid: int) -> Process:
    """Start a ``sleep`` of a uid under a pid that is free, as pids come round again."""
    program = shutil.which("sleep") or "/bin/sleep"
    wanted = (ctypes.c_int32 * 1)(pid)
    arguments = _CloneArgs(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(wanted), set_tid_size=1)
    clone3 = 435
    got = _libc.syscall(clone3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if got == 0:  # a bare clone, of which Python knows nothing: only leave for another program
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.execv(program, [program, "600"])
        finally:
            os._exit(1)
    if got == -1:
        pytest.skip(f"pids cannot be chosen here: {os.strerror(ctypes.get_errno())}")
    assert got == pid
    wait_until(lambda: os.readlink(f"/proc/{pid}/exe") != os.readlink("/proc/self/exe"), "exec")
    return Process(pid, None)


def limit(name: str, value: object) -> None:
    """Set a kernel limit of this world's IPC namespace, and of no other."""
    assert name.split(".", maxsplit=1)[0] in ("kernel", "fs")
    assert name.startswith(("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")), name
    assert namespace() != HOME, "this is the IPC namespace the tests were started in"
    try:
        Path("/proc/sys", *name.split(".")).write_text(f"{value}\n")
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT):
            pytest.skip(f"cannot set {name} in a private namespace here: {error}")
        raise


def table(kind: str) -> list[dict[str, int]]:
    """Return what /proc/sysvipc says of a kind, numbers as they stand there (perms as octal)."""
    lines = Path("/proc/sysvipc", kind).read_text().splitlines()
    names = lines[0].split()
    rows = []
    for line in lines[1:]:
        words = dict(zip(names, line.split()))  # noqa: B905 - Python 3.9
        rows.append({n: int(w, 8 if n == "perms" else 10) for n, w in words.items()})
    return rows


# ---------------------------------------------------------------------------------------------
# Asking ipcops

# Pid 1 of some machines hides its maps even from root. It always counts as the unit init.scope.
SCAN = "[scan]\nunreadable_ok = init.scope\n"
NOW = SCAN + "[audit]\norphan_age = 0\n"  # what is unused is a leak at once


def policy(text: str = NOW) -> str:
    """Write a policy file into the world and return its path."""
    descriptor, path = tempfile.mkstemp(".conf", dir=here())
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


_later = 0  # seconds by which the clocks that ipcops reads are ahead
_CLOCK = """import time
_now, _now_ns = time.time, time.time_ns
time.time = lambda: _now() + {0}
time.time_ns = lambda: _now_ns() + {0} * 10**9
"""


def later(seconds: int) -> None:
    """Let every further run of ipcops in this world believe that so much time has passed."""
    global _later  # noqa: PLW0603 - of this world's process only
    first = not _later
    _later += seconds
    clock = here() / "clock"
    clock.mkdir(exist_ok=True)
    (clock / "sitecustomize.py").write_text(_CLOCK.format(_later))
    _set_uptime()
    if first:
        mount(str(clock / "uptime"), "/proc/uptime", None, MS_BIND)


def _set_uptime() -> None:
    up = time.clock_gettime(time.CLOCK_BOOTTIME) + _later
    Path(here(), "clock", "uptime").write_text(f"{up:.2f} {up:.2f}\n")


class Answer(NamedTuple):
    """What one run of ipcops gave."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the output as JSON."""
        return json.loads(self.out)


def ipcops(
    *words: str,
    uid: int | None = None,
    gid: int | None = None,
    groups: Sequence[int] = (),
    stdout: Any = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> Answer:
    """Run the core as a program, as root or as another uid."""
    if uid is not None:
        needs_root()
    code = REPO
    if uid is not None and not _reachable(REPO / "ipcops" / "core"):
        code = _copied()

    path = {}
    if _later:
        _set_uptime()
        path = {"PYTHONPATH": str(here() / "clock")}

    def drop() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if uid is not None:
            os.setgroups(list(groups))
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)

    done = subprocess.run(
        [python_for(uid), "-m", "ipcops.core", *words],
        cwd=code,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **path, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=drop,
        timeout=TIMEOUT,
        check=False,
    )
    out = (done.stdout or b"").decode("utf-8", "surrogateescape")
    answer = Answer(done.returncode, out, done.stderr.decode("utf-8", "surrogateescape"))
    assert "Traceback" not in answer.err, answer.err
    assert answer.status != 70, answer.err
    return answer


def _reachable(*paths: Path) -> bool:
    """Tell whether everybody can read what is below these paths."""
    try:
        return all(os.stat(one).st_mode & 0o005 == 0o005 for path in paths for one in [path, *path.parents])
    except PermissionError:
        return False


def _copied() -> Path:
    """Return a copy of the core that everybody can read."""
    target = here() / "code"
    if not target.exists():
        shutil.copytree(REPO / "ipcops" / "core", target / "ipcops" / "core")
        (target / "ipcops" / "__init__.py").touch()
    return target


def python_for(uid: int | None) -> str:
    """Return this Python, or the system's where another uid cannot reach this one."""
    path = Path(sys.executable)
    if uid is None or _reachable(path, path.resolve(), Path(os.__file__).resolve().parent):
        return str(path)
    found = shutil.which("python3", path="/usr/bin:/bin")
    if found is None:
        pytest.skip(f"another uid cannot reach {path}, and there is no system Python")
    return found


def audit(*words: str, text: str = NOW, uid: int | None = None) -> dict[str, Any]:
    """Return the report of an audit under a policy."""
    answer = ipcops("audit", "--format", "json", "--fail-on", "none", "--policy", policy(text), *words, uid=uid)
    assert answer.status == 0, f"{answer.status}: {answer.err}"
    report: dict[str, Any] = answer.json
    assert report["schema"] == "ipcops.audit/1"
    return report


def findings(rule: str = "", *words: str, text: str = NOW, **match: Any) -> list[dict[str, Any]]:
    """Return the findings of one rule (all without one) whose fields are as given."""
    found = audit(*words, text=text)["findings"]
    return [one for one in found if (not rule or one["rule"] == rule) and all(one[k] == v for k, v in match.items())]


def objects(*kinds: str, text: str = NOW, uid: int | None = None, groups: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Return the objects that ``list`` shows under a policy; of no kinds, those that are only this world's."""
    named = kinds or PRIVATE_KINDS
    answer = ipcops("list", "--format", "json", "--policy", policy(text), *named, uid=uid, groups=groups)
    assert answer.status == 0, f"{answer.status}: {answer.err}"
    report = answer.json
    assert report["schema"] == "ipcops.objects/1"
    found: list[dict[str, Any]] = report["objects"]
    return found


PRIVATE_KINDS = ("shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq")
"""The kinds of which a world has no others' objects; pipes and sockets are the whole machine's."""


def is_it(one: dict[str, Any], which: int | str) -> bool:
    """Tell whether an object or a finding is the one with this id, or this last part of a path."""
    if isinstance(which, int):
        return bool(one["id"] == which)
    return os.path.basename(one["path"] or "") == os.path.basename(which)


def the(kind: str, which: int | str, text: str = NOW, **more: Any) -> dict[str, Any]:
    """Return the one object of a kind with this id, or with this last part of a path."""
    found = [one for one in objects(kind, text=text, **more) if is_it(one, which)]
    assert len(found) == 1, f"{len(found)} objects are {kind} {which}"
    return found[0]
