"""One pass over /proc: who runs, who has what mapped or open, who is blocked on what.

proc(5), fs/proc/{array,base,fd,task_mmu}.c. Objects are matched by device and inode, or by
segment id inside our IPC namespace, never by name. Nothing is opened through a descriptor
link, and stat(2) follows one only into a tmpfs or mqueue, so a dead network mount cannot hang
the scan. What could not be read becomes a gap of that one piece of evidence.
"""

from __future__ import annotations

import os
import re
import time
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from ..fs import Directory, Roots, clock_ticks
from ..kernel import Kernel
from ..model import NOTHING, Evidence, Gap, Process, Processes, Unlinked, Waiter
from .host import parse_namespace
from .limits import parse_queue_limit
from .mounts import Mount, parse_mountinfo

PF_KTHREAD = 0x00200000
"""Flag in /proc/PID/stat: a kernel thread (include/linux/sched.h)."""

PF_EXITING = 0x00000004
"""Flag in /proc/PID/stat: the thread is on its way out, its memory or descriptors already gone."""

BLOCKING_CALLS: Dict[str, Dict[bytes, Tuple[str, str]]] = {
    "x86_64": {
        b"65": ("sem", "semop"),
        b"69": ("msg", "msgsnd"),
        b"70": ("msg", "msgrcv"),
        b"220": ("sem", "semtimedop"),
        b"242": ("posix-mq", "mq_timedsend"),
        b"243": ("posix-mq", "mq_timedreceive"),
    },
    "aarch64": {
        b"182": ("posix-mq", "mq_timedsend"),
        b"183": ("posix-mq", "mq_timedreceive"),
        b"188": ("msg", "msgrcv"),
        b"189": ("msg", "msgsnd"),
        b"192": ("sem", "semtimedop"),
        b"193": ("sem", "semop"),
    },
}
"""System call number to kind and name. The first argument is the id, or a queue's descriptor."""

COMPAT_CALLS = frozenset((b"117", b"298", b"301", b"302", b"312", b"400", b"401", b"420"))
"""Numbers that mean a System V call to a 32-bit thread (i386, arm) and something else to others."""

_COMPAT_TOP = 1 << 32
_SYSV = re.compile(rb"/SYSV[0-9a-f]{8} \(deleted\)\Z")
_IDS = re.compile(rb"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)\nGid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", re.MULTILINE)
_GROUPS = re.compile(rb"^Groups:\t([\d ]*)$", re.MULTILINE)
_TGID = re.compile(rb"^Tgid:\t(\d+)$", re.MULTILINE)
_INNER = re.compile(rb"^NSpid:\t\d+((?:\t\d+)+)$", re.MULTILINE)
_FDINFO = re.compile(r"^(mnt_id|ino):\t(\d+)$", re.MULTILINE)
_UNIT = re.compile(r"([^/]+\.(?:service|scope))(?=/|\Z)")
_ROUNDS = 3
_MOST_ROUNDS = 12
"""Listings of /proc while what they name is gone before it is read: its successor is in the next one."""
_GONE = (2, 3)  # ENOENT, ESRCH: the process ended while we looked


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that matter here."""

    command: str
    state: str
    flags: int
    threads: int
    started_ticks: int


def parse_stat(text: bytes) -> Stat:
    """Return the fields of /proc/PID/stat. The name may hold spaces and brackets. Raise ValueError."""
    start, end = text.find(b"("), text.rfind(b")")
    fields = text[end + 2 :].split()
    if start < 0 or end < start or len(fields) < 20:
        raise ValueError("'%s' is no process status line" % text[:80].decode("utf-8", "backslashreplace"))
    return Stat(
        command=text[start + 1 : end].decode("utf-8", "surrogateescape"),
        state=fields[0].decode("ascii", "replace"),
        flags=int(fields[6]),
        threads=int(fields[17]),
        started_ticks=int(fields[19]),
    )


def parse_status(text: bytes) -> Tuple[FrozenSet[int], FrozenSet[int]]:
    """Return every uid and every gid a process acts with, its groups included. Raise ValueError."""
    ids, groups = _IDS.search(text), _GROUPS.search(text)
    if not ids or not groups:
        raise ValueError("no Uid, Gid and Groups lines")
    numbers = list(map(int, ids.groups()))
    return frozenset(numbers[:4]), frozenset(numbers[4:] + list(map(int, groups.group(1).split())))


def parse_inner(text: bytes) -> Tuple[int, ...]:
    """Return the numbers that /proc/PID/status gives a process in PID namespaces below the reader's."""
    found = _INNER.search(text)
    return tuple(map(int, found[1].split())) if found else ()


def parse_syscall(text: bytes) -> Optional[Tuple[bytes, List[int], int]]:
    """Return number, arguments and stack pointer of the call a thread is blocked in.

    ``None`` for one that runs or is blocked outside a system call. Raise ValueError.
    """
    fields = text.split()
    if not fields:
        raise ValueError("an empty line for a thread's system call")
    if fields[0] in (b"running", b"-1"):
        return None
    if len(fields) != 9:
        raise ValueError("'%s' is no system call line" % text.decode("ascii", "backslashreplace").strip())
    return fields[0], [int(word, 16) for word in fields[1:7]], int(fields[7], 16)


def parse_unit(text: bytes) -> Optional[str]:
    """Return the outermost systemd unit of /proc/PID/cgroup (cgroups(7)), if there is one.

    That one is the system's own: what a user's service manager or a container calls its units
    further in could be any name, ``init.scope`` too.
    """
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (hierarchy == "0" and not controllers) or controllers == "name=systemd":
            units = _UNIT.findall(path)
            if units:
                return str(units[0])
    return None


def parse_maps(text: bytes, devices: FrozenSet[str]) -> Tuple[Set[int], Set[Tuple[str, int, str]]]:
    """Return the System V segment ids and the (device, inode, path) of files mapped on *devices*.

    A segment's mapping has its id as inode and the name ``/SYSV<key> (deleted)`` (ipc/shm.c);
    a memfd on the same device has an inode of the same kind of number, so the name counts there,
    and all of it: any user can end a name like that. Raise ValueError.
    """
    segments: Set[int] = set()
    files: Set[Tuple[str, int, str]] = set()
    for line in text.split(b"\n"):
        fields = line.split(None, 5)
        if len(fields) < 6:
            continue
        if _SYSV.match(fields[5]):
            segments.add(int(fields[4]))
            continue
        device = fields[3].decode("ascii", "replace")
        if device in devices:
            files.add((device, int(fields[4]), fields[5].decode("utf-8", "surrogateescape")))
    return segments, files


def lines_with(text: bytes, needles: Iterable[bytes]) -> bytes:
    """Return the lines of *text* that hold any of *needles*: few, where a process has thousands."""
    found: Dict[int, bytes] = {}
    for needle in needles:
        at = text.find(needle)
        while at >= 0:
            start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
            if end < 0:
                end = len(text)
            found[start] = text[start:end]
            at = text.find(needle, end)
    return b"\n".join(found.values())


def device_text(dev: int) -> str:
    """Return a device as /proc/PID/maps writes it."""
    return "%02x:%02x" % (os.major(dev), os.minor(dev))


class Wanted(NamedTuple):
    """What the scan has to look for; what nobody needs is not read."""

    shm_ids: bool = False
    shm_dev: Optional[int] = None
    mqueue_dev: Optional[int] = None
    known: Mapping[Tuple[int, int], str] = NOTHING
    """(device, inode) of every file that has a name, and its path."""
    queue_limits: bool = False
    threads: bool = False
    units: bool = False
    unreadable_ok: FrozenSet[str] = frozenset()


class _Found:
    """What the scan gathers, process by process."""

    def __init__(self) -> None:
        self.by_pid: Dict[int, Process] = {}
        self.attached: Dict[int, List[Process]] = {}
        self.holding: Dict[Tuple[int, int], List[Process]] = {}
        self.blocked: Dict[Tuple[str, Any], List[Waiter]] = {}
        self.unlinked: Dict[int, Tuple[int, int, str]] = {}
        self.mqueue_limits: Dict[int, int] = {}
        self.unlinked_queues: Dict[Tuple[int, int], Tuple[int, int, int]] = {}
        self.gaps: List[Gap] = []


class _UnreadableError(Exception):
    """A piece of evidence of one process that may not be read."""

    def __init__(self, evidence: str, what: str, error: OSError) -> None:
        super().__init__(evidence, what)
        self.evidence, self.what, self.why = evidence, what, error.strerror or str(error)
        self.gone = error.errno in _GONE


def read_processes(
    roots: Roots,
    kernel: Kernel,
    wanted: Wanted,
    own: Tuple[int, Sequence[Mount], float],
    deadline: float,
    machine: str,
) -> Tuple[Processes, List[Gap]]:
    """Scan all processes until *deadline* (a reading of time.monotonic()).

    *own* is our IPC namespace, our mounts and the epoch second of boot. Processes that began
    while we looked are looked at too, so one that forks and ends in between is not missed.
    """
    scan = _Scan(roots.proc, kernel, wanted, own, machine)
    if roots.foreign:
        return scan.nothing("/proc belongs to another PID namespace, whose numbers mean other processes")
    return scan.run(deadline)


def _ended() -> OSError:
    return ProcessLookupError(3, "it, or its main thread, ended while it was looked at")


def _has_ended(directory: Directory) -> bool:
    """Whether a process is gone for good: a file that it lacks may be one that this kernel lacks."""
    try:
        stat = parse_stat(directory.read_record("stat"))
    except (OSError, ValueError):
        return True
    return _is_over(stat)


def _is_over(stat: Stat) -> bool:
    """Whether all threads of a process have ended or are just ending."""
    return stat.threads <= 1 and (stat.state in "ZX" or bool(stat.flags & PF_EXITING))


def _runs_in(thread: Directory, pid: int) -> bool:
    """Whether a thread runs, and in that process: the number of one that ended may be another's."""
    try:
        found = _TGID.search(thread.read_record("status"))
        return found is not None and int(found[1]) == pid and parse_stat(thread.read_record("stat")).state not in "ZX"
    except (OSError, ValueError):
        return False


class _Scan:
    """One pass over /proc."""

    def __init__(
        self,
        proc: Directory,
        kernel: Kernel,
        wanted: Wanted,
        own: Tuple[int, Sequence[Mount], float],
        machine: str,
    ) -> None:
        self.proc, self.kernel, self.wanted = proc, kernel, wanted
        self.namespace, mounts, self.booted_at = own
        self.ticks = clock_ticks()
        self.found = _Found()
        self.calls = BLOCKING_CALLS.get(machine)
        self.devices = frozenset(dev for dev in (wanted.shm_dev, wanted.mqueue_dev) if dev is not None)
        self.mapped = {device_text(wanted.shm_dev): wanted.shm_dev} if wanted.shm_dev is not None else {}
        self.needles = tuple((" %s " % text).encode() for text in self.mapped)
        if wanted.shm_ids:
            self.needles += (b" /SYSV",)
        self.mount_devices: Dict[str, Dict[int, int]] = {}
        self.prefixes: Dict[str, Tuple[str, ...]] = {}
        self.names = frozenset(path[1:] for path in wanted.known.values())
        self.mountable = {(dev, path): (dev, ino) for (dev, ino), path in wanted.known.items()}
        self.mounted: Dict[str, List[Tuple[int, int]]] = {}
        self.ended: Set[int] = set()
        try:
            self.own_mounts = proc.link("self/ns/mnt")
        except OSError:
            self.own_mounts = ""
        if mounts:  # else not even our own table could be read, and "no mount" would be wrong
            self._learn(self.own_mounts, mounts)

    def nothing(self, why: str) -> Tuple[Processes, List[Gap]]:
        """Look at no process, for a reason."""
        self._unseen("processes", why)
        return self._result()

    def run(self, deadline: float) -> Tuple[Processes, List[Gap]]:
        """Look at every process, and again at those that a later listing shows."""
        if self.wanted.threads and self.calls is None:
            self._gap(Evidence.BLOCKED, "blocked threads", "this machine's system call numbers are not known")
        seen: Set[str] = set()
        missed = False
        for done in range(1, _MOST_ROUNDS + 1):
            try:
                fresh = [name for name in self.proc.names() if name.isdigit() and name not in seen]
            except OSError as error:
                return self.nothing(error.strerror or str(error))
            missed_before, missed = missed, False
            for at, name in enumerate(fresh):
                if time.monotonic() > deadline:
                    self._unseen("%d processes" % (len(fresh) - at), "the deadline of the scan was reached before them")
                    return self._result()
                self.ended.discard(int(name))
                self._process(name)
                if int(name) not in self.ended:  # else the number may soon be another's
                    seen.add(name)
                missed |= self._was_missed(int(name))
            # Numbers start over at the highest: then one listing may name no successor, but not two.
            if not missed and (done >= _ROUNDS or not (fresh or missed_before)):
                break
        else:
            self._unseen("short-lived processes", "each ended before it could be looked at, and another took its place")
        if "1" not in seen:
            self._unseen("processes of other users", "/proc hides other users' processes (hidepid)")
        return self._result()

    def _was_missed(self, pid: int) -> bool:
        """Whether a process that was listed, and so lived, has ended since: a child may have what it had."""
        process = self.found.by_pid.get(pid)
        return pid in self.ended or (process is not None and process.zombie)

    def _unseen(self, what: str, why: str) -> None:
        for evidence in (Evidence.PROCESSES, Evidence.MAPS, Evidence.DESCRIPTORS, Evidence.BLOCKED):
            self._gap(evidence, what, why)

    def _gap(self, evidence: str, what: str, why: str, pid: Optional[int] = None) -> None:
        self.found.gaps.append(Gap(evidence, what, why, pid=pid))

    def _process(self, name: str) -> None:
        try:
            directory = self.proc.directory(name)
        except OSError as error:
            self._unidentified(name, error)
            return
        with directory:
            try:
                stat = parse_stat(directory.read_record("stat"))
                status = directory.read_record("status")
                uids, gids = parse_status(status)
                if stat.threads > 1:
                    uids, gids = self._ids_of_threads(directory, uids, gids)
            except (OSError, ValueError) as error:
                self._unidentified(name, error)
                return
            process = Process(
                pid=int(name),
                started_ticks=stat.started_ticks,
                started_at=int(self.booted_at + stat.started_ticks / self.ticks),
                command=stat.command,
                uids=uids,
                gids=gids,
                kernel_thread=bool(stat.flags & PF_KTHREAD),
                zombie=stat.state in "ZX" and stat.threads <= 1,
                unit=self._unit(directory, int(name)) if self.wanted.units else None,
                inner_pids=parse_inner(status),
            )
            self.found.by_pid[process.pid] = process
            if process.lives:
                self._look_at(directory, process, stat)

    @staticmethod
    def _ids_of_threads(
        directory: Directory, uids: FrozenSet[int], gids: FrozenSet[int]
    ) -> Tuple[FrozenSet[int], FrozenSet[int]]:
        """Add what threads act as that have changed their own ids alone, as file servers do (credentials(7)).

        The owner of a thread's directory is its effective uid and gid, which are what IPC asks for.
        """
        for name in directory.names("task"):
            try:
                info = directory.info("task/" + name)
                if info.uid not in uids or info.gid not in gids:
                    more = parse_status(directory.read_record("task/%s/status" % name))
                    uids, gids = uids | more[0], gids | more[1]
            except OSError as error:
                if error.errno not in _GONE:
                    raise
        return uids, gids

    def _look_at(self, directory: Directory, process: Process, stat: Stat) -> None:
        """Look into a process, and again if its main thread ended meanwhile and others go on."""
        for attempt in range(_ROUNDS):
            before = len(self.found.gaps)
            if stat.state not in "ZX":
                vanished = self._look_into(directory, process, stat.threads)
            else:
                living = self._living_thread(directory, process)
                if living is None:
                    return
                with living:
                    vanished = self._look_into(living, process, stat.threads)
            if not vanished or attempt == _ROUNDS - 1:
                return
            try:
                stat = parse_stat(directory.read_record("stat"))
            except (OSError, ValueError):
                return
            del self.found.gaps[before:]
            time.sleep(0.001)  # the kernel is between two steps of ending it

    def _unidentified(self, name: str, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in _GONE:
            self.ended.add(int(name))
        else:
            why = getattr(error, "strerror", None) or str(error)
            self._gap(Evidence.PROCESSES, "process %s" % name, why, int(name))

    def _living_thread(self, directory: Directory, process: Process) -> Optional[Directory]:
        """Return the directory of a thread that runs although the main thread has ended (pthread_exit(3)).

        Then the directory of the process shows neither maps nor descriptors nor namespaces.
        """
        try:
            for name in directory.names("task"):
                try:
                    living = self.proc.directory(name)
                except FileNotFoundError:
                    continue
                if _runs_in(living, process.pid):
                    return living
                living.close()
        except OSError as error:
            if error.errno not in _GONE:
                for evidence in (Evidence.MAPS, Evidence.DESCRIPTORS, Evidence.BLOCKED):
                    what = "threads of pid %d (%s)" % (process.pid, process.command)
                    self._gap(evidence, what, error.strerror or str(error), process.pid)
        return None

    def _look_into(self, directory: Directory, process: Process, threads: int) -> bool:
        """Gather maps, descriptors and blocked threads, each on its own: one gap hides no other.

        Return whether something vanished although the process goes on: then a second look helps.
        """
        queues: Dict[int, Tuple[int, int]] = {}
        vanished = False
        if self.devices:  # before the maps: a file that is mapped and closed meanwhile is in either
            vanished |= self._guarded(directory, process, lambda: self._tables(directory, process, threads, queues))
        if self.needles:
            vanished |= self._guarded(directory, process, lambda: self._maps(directory, process))
        if self.wanted.threads and self.calls is not None:
            vanished |= self._guarded(directory, process, lambda: self._threads(directory, process, threads, queues))
        if self.wanted.queue_limits:
            self._queue_limit(directory, process)
        return vanished

    def _guarded(self, directory: Directory, process: Process, look: Callable[[], None]) -> bool:
        try:
            look()
        except _UnreadableError as gap:
            if gap.gone and _has_ended(directory):
                self.ended.add(process.pid)
            elif not self._may_stay_unseen(directory, process):
                what = "%s of pid %d (%s)" % (gap.what, process.pid, process.command)
                self._gap(gap.evidence, what, gap.why, process.pid)
                return gap.gone
        return False

    def _may_stay_unseen(self, directory: Directory, process: Process) -> bool:
        """Whether the policy's ``unreadable_ok`` names the unit or a uid of the process."""
        ok = self.wanted.unreadable_ok
        if not ok:
            return False
        return self._unit(directory, process.pid) in ok or any("uid %d" % uid in ok for uid in process.uids)

    @staticmethod
    def _unit(directory: Directory, pid: int) -> Optional[str]:
        if pid == 1:
            return "init.scope"  # what systemd calls it, and what it is anywhere else
        try:
            return parse_unit(directory.read("cgroup"))
        except OSError:
            return None

    # ------------------------------------------------------------- maps

    def _maps(self, directory: Directory, process: Process) -> None:
        try:
            text = directory.read("maps")
            if not text:
                raise _ended()
        except OSError as error:
            raise _UnreadableError(Evidence.MAPS, "memory maps", error) from error
        lines = lines_with(text, self.needles)
        if not lines:
            return
        try:
            segments, files = parse_maps(lines, frozenset(self.mapped))
        except ValueError as error:
            raise _UnreadableError(Evidence.MAPS, "memory maps", OSError(0, str(error))) from error
        if segments and self._in_our_namespace(directory, Evidence.MAPS):
            for segment in segments:
                self._note(self.found.attached.setdefault(segment, []), process)
        for device, ino, path in files:
            self._hold((self.mapped[device], ino), process)
            if (self.mapped[device], ino) not in self.wanted.known:
                self._unlinked(directory, device, ino, path, text)

    def _in_our_namespace(self, directory: Directory, evidence: str, thread: str = "") -> bool:
        if not self.namespace:
            return True  # this kernel has no IPC namespaces, or no links to them
        try:
            return parse_namespace(directory.link(thread + "ns/ipc")) == self.namespace
        except OSError as error:
            raise _UnreadableError(evidence, "IPC namespace", error) from error

    def _unlinked(self, directory: Directory, device: str, ino: int, path: str, text: bytes) -> None:
        """Note a mapped file without a name: link count 0 is the proof, not the word "deleted"."""
        if ino in self.found.unlinked:
            return
        pattern = rb"^([0-9a-f]+-[0-9a-f]+) \S+ \S+ %s %d " % (device.encode(), ino)
        found = re.search(pattern, text, re.MULTILINE)
        if not found:
            return
        try:
            info = directory.info("map_files/" + found.group(1).decode(), follow=True)
        except OSError as error:
            if not (error.errno in _GONE and _has_ended(directory)):
                self._gap(Evidence.UNLINKED, "size of '%s'" % path, "the link count cannot be read")
            return
        if info.nlink == 0:
            self.found.unlinked[ino] = (info.size, info.blocks, path)

    def _hold(self, file: Tuple[int, int], process: Process) -> None:
        self._note(self.found.holding.setdefault(file, []), process)

    @staticmethod
    def _note(holders: List[Process], process: Process) -> None:
        if not holders or holders[-1] is not process:
            holders.append(process)

    # ------------------------------------------------------------- descriptors

    def _tables(
        self, directory: Directory, process: Process, threads: int, queues: Dict[int, Tuple[int, int]]
    ) -> None:
        """Look at the descriptors of a process, and at those of threads that left its table (unshare(2))."""
        self._descriptors(directory, process, queues)
        if threads == 1:
            return
        seen = [process.pid]
        try:
            names = directory.names("task")
        except OSError as error:
            raise _UnreadableError(Evidence.DESCRIPTORS, "threads", error) from error
        for tid in map(int, names):
            if tid == process.pid:
                continue
            answers = [self.kernel.shares_files(one, tid) for one in seen]
            if True in answers:
                continue
            try:
                with directory.directory("task/%d" % tid) as thread:
                    self._descriptors(thread, process, queues)
            except _UnreadableError as error:
                if not error.gone:
                    raise
            except FileNotFoundError:
                continue
            if None not in answers:
                seen.append(tid)

    def _descriptors(self, directory: Directory, process: Process, queues: Dict[int, Tuple[int, int]]) -> None:
        link = directory.link
        try:
            with directory.directory("fd") as descriptors:
                numbers = descriptors.names()
                if not numbers and parse_stat(directory.read_record("stat")).state in "ZX":
                    raise _ended()
                link = descriptors.link
                links = []
                for number in numbers:
                    try:
                        target = link(number)
                    except FileNotFoundError:
                        continue  # closed since the listing
                    if target[0] == "/":
                        links.append((number, target))
        except OSError as error:
            raise _UnreadableError(Evidence.DESCRIPTORS, "descriptors", error) from error
        space = self._mount_space(directory)
        for bound in self.mounted.pop(space, ()):
            self._hold(bound, process)
        prefixes, names = self.prefixes[space], self.names
        for number, target in links:
            # The name alone counts, too: a descriptor may come from a mount that this process does not have.
            slash = target.rfind("/")
            if slash == 0 or target.startswith(prefixes) or target[slash + 1 :] in names:
                file = self._file(directory, space, number, target)
                if file is not None:
                    self._hold(file, process)
                    if file[0] == self.wanted.mqueue_dev:
                        queues[int(number)] = file
                    if file not in self.wanted.known:
                        self._nameless(directory, process, number, target, file)

    def _mount_space(self, directory: Directory) -> str:
        """Return the mount namespace of a process, having learnt its mounts."""
        try:
            # Without links to mount namespaces (before Linux 3.8) their tables tell them apart.
            text = b"" if self.own_mounts else directory.read("mountinfo")
            space = directory.link("ns/mnt") if self.own_mounts else text.decode("latin-1")
            if space in self.prefixes:
                return space
            mounts = parse_mountinfo(text or directory.read("mountinfo"))
            rooted = directory.link("root") == "/"
        except (OSError, ValueError) as error:
            failure = error if isinstance(error, OSError) else OSError(0, str(error))
            raise _UnreadableError(Evidence.DESCRIPTORS, "mounts", failure) from error
        self._learn(space, mounts)
        if not rooted:  # its paths are not ours: look at every one
            self.prefixes[space] = ("/",)
        return space

    def _learn(self, space: str, mounts: Sequence[Mount]) -> None:
        points = {mount.point for mount in mounts if mount.dev in self.devices}
        self.mount_devices[space] = {mount.mount_id: mount.dev for mount in mounts}
        self.prefixes[space] = tuple(point.rstrip("/") + end for point in points for end in ("/", " (deleted)"))
        self.prefixes[space] += tuple(point for point in points if point != "/")
        mounted = [self.mountable.get((mount.dev, mount.root)) for mount in mounts if mount.dev in self.devices]
        self.mounted[space] = [file for file in mounted if file is not None]

    def _file(
        self, directory: Directory, space: str, number: str, target: str
    ) -> Optional[Tuple[int, int]]:
        """Return device and inode behind a descriptor, if it is on one of our file systems.

        fdinfo answers without touching the file. A queue opened by mq_open(3) is on the kernel's
        own mount, which no table shows, and so is a file of a mount that was detached; only these
        are followed, and only where the inode is one we look for or the name is gone.
        """
        try:
            text = directory.read_record("fdinfo/" + number).decode("ascii", "replace")
            fields = {name: int(value) for name, value in _FDINFO.findall(text)}
            dev = self.mount_devices[space].get(fields.get("mnt_id", -1))
            ino = fields.get("ino")
            if dev is not None and dev not in self.devices:
                return None
            if dev is not None and ino is not None:
                return dev, ino
            looked_for = ino is None or any((device, ino) in self.wanted.known for device in self.devices)
            if dev is None and not looked_for and not target.endswith(" (deleted)"):
                return None
            info = directory.info("fd/" + number, follow=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _UnreadableError(Evidence.DESCRIPTORS, "descriptor %s" % number, error) from error
        return (info.dev, info.ino) if info.dev in self.devices else None

    def _nameless(
        self, directory: Directory, process: Process, number: str, target: str, file: Tuple[int, int]
    ) -> None:
        """Note an open file without a name: hidden use of /dev/shm, or of the queue limit."""
        try:
            info = directory.info("fd/" + number, follow=True)
            if info.nlink:
                return
            if file[0] == self.wanted.shm_dev:
                self.found.unlinked.setdefault(file[1], (info.size, info.blocks, target))
            elif file not in self.found.unlinked_queues:
                with directory.opened("fd/" + number, follow=True) as fd:
                    attributes = self.kernel.queue_attributes(fd)
                if attributes:
                    self.found.unlinked_queues[file] = (info.uid, attributes[0], attributes[1])
                    self._queue_limit(directory, process)
        except OSError:
            return  # closed since, or not ours to open: then the sum is a lower bound

    # ------------------------------------------------------------- threads

    def _threads(
        self, directory: Directory, process: Process, threads: int, queues: Dict[int, Tuple[int, int]]
    ) -> None:
        try:
            if threads == 1:
                self._thread(directory, "syscall", process, process.pid, queues)
                return
            answers = 0
            for name in directory.names("task"):
                try:
                    self._thread(directory, "task/%s/syscall" % name, process, int(name), queues)
                    answers += 1
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
            if not answers:
                raise _ended()
        except OSError as error:
            raise _UnreadableError(Evidence.BLOCKED, "system calls", error) from error

    def _thread(
        self,
        directory: Directory,
        path: str,
        process: Process,
        tid: int,
        queues: Dict[int, Tuple[int, int]],
    ) -> None:
        text = directory.read_record(path)
        number = text.split(b" ", 1)[0]
        call = self.calls.get(number) if self.calls else None
        if call is None and number not in COMPAT_CALLS:
            return
        try:
            parsed = parse_syscall(text)
        except ValueError as error:
            self._gap(Evidence.BLOCKED, "system call of thread %d" % tid, str(error), process.pid)
            return
        if parsed is None:
            return
        _, arguments, stack = parsed
        if stack < _COMPAT_TOP:
            if number in COMPAT_CALLS or call is not None:
                why = "it is a 32-bit thread, whose calls have other numbers"
                self._gap(Evidence.BLOCKED, "system call of thread %d" % tid, why, process.pid)
            return
        if call is None:
            return
        kind, name = call
        target: Any = arguments[0] & 0xFFFFFFFF
        if kind == "posix-mq":
            target = queues.get(target)
            if target is None:
                return
        elif not self._in_our_namespace(directory, Evidence.BLOCKED, path[: -len("syscall")]):
            return
        self.found.blocked.setdefault((kind, target), []).append(Waiter(process, tid, name))

    # ------------------------------------------------------------- limits

    def _queue_limit(self, directory: Directory, process: Process) -> None:
        try:
            limit = parse_queue_limit(directory.read_record("limits"))
        except (OSError, ValueError):
            return  # of other users' processes; a limit that no process shows is not judged
        if limit < 0:
            return
        for uid in process.uids:
            known = self.found.mqueue_limits.get(uid)
            self.found.mqueue_limits[uid] = limit if known is None else min(known, limit)

    def _result(self) -> Tuple[Processes, List[Gap]]:
        found = self.found
        users: Dict[int, List[Process]] = {}
        groups: Dict[int, List[Process]] = {}
        for process in found.by_pid.values():
            if process.lives:
                for uid in process.uids:
                    users.setdefault(uid, []).append(process)
                for gid in process.gids:
                    groups.setdefault(gid, []).append(process)
        unlinked = tuple(
            Unlinked(ino, size, blocks, path, tuple(found.holding.get((self.wanted.shm_dev or 0, ino), ())))
            for ino, (size, blocks, path) in sorted(found.unlinked.items())
        )
        result = Processes(
            by_pid=found.by_pid,
            attached={key: tuple(value) for key, value in found.attached.items()},
            holding={key: tuple(value) for key, value in found.holding.items()},
            blocked={key: tuple(value) for key, value in found.blocked.items()},
            unlinked=unlinked,
            mqueue_limits=found.mqueue_limits,
            unlinked_queues=tuple(found.unlinked_queues.values()),
            users={key: tuple(value) for key, value in users.items()},
            groups={key: tuple(value) for key, value in groups.items()},
        )
        return result, found.gaps
