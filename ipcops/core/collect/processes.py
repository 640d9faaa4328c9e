"""One pass over /proc: who runs, who has what mapped or open, who is blocked on what.

proc(5), fs/proc/{array,base,fd,task_mmu}.c. Objects are matched by device and inode, or by
segment id inside our IPC namespace, never by name. Nothing is opened through a descriptor
link, and stat(2) follows one only into a tmpfs or mqueue, so a dead network mount cannot hang
the scan. What could not be read becomes a gap of that one piece of evidence.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
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
from ..model import NOTHING, End, Evidence, Gap, Process, Processes, Unlinked, Waiter
from .calls import BLOCKING_CALLS, BY_FD, BY_PATH, CHANNEL_CALLS, COMPAT_CALLS, COMPAT_OPENS
from .host import parse_namespace
from .limits import parse_queue_limit
from .mounts import Mount
from .opening import blocked_on, parse_open
from .pipes import UNASKED, Pipe, held, measure
from .proctext import (
    Stat,
    device_text,
    lines_with,
    parse_container,
    parse_inner,
    parse_maps,
    parse_signals,
    parse_stat,
    parse_status,
    parse_syscall,
    parse_unit,
)
from .spaces import DELETED, File, Space, Spaces

PF_KTHREAD = 0x00200000
"""Flag in /proc/PID/stat: a kernel thread (include/linux/sched.h)."""

PF_EXITING = 0x00000004
"""Flag in /proc/PID/stat: the thread is on its way out, its memory or descriptors already gone."""

_COMPAT_TOP = 1 << 32
_TGID = re.compile(rb"^Tgid:\t(\d+)$", re.MULTILINE)
_FDINFO = re.compile(r"^(flags|mnt_id|ino):\t(\d+)$", re.MULTILINE)
_ROUNDS = 3
_MOST_ROUNDS = 12
"""Listings of /proc while what they name is gone before it is read: its successor is in the next one."""
_GONE = (2, 3)  # ENOENT, ESRCH: the process ended while we looked
_EBADF = 9
_ROOT = frozenset((0,))
_TO_ASK = (None, UNASKED)
_INIT = "init.scope"  # what systemd calls the unit of pid 1, and what it is anywhere else


Channels = Dict[int, Tuple[str, Any]]
"""Descriptor to what it is, as far as a thread can be blocked on it: kind, and inode or (device, inode)."""


class Wanted(NamedTuple):
    """What the scan has to look for; what nobody needs is not read."""

    ipc: FrozenSet[int] = frozenset()
    """The IPC namespaces whose objects we look for; 0 where the kernel has none."""
    shm_ids: bool = False
    shm_devs: FrozenSet[int] = frozenset()
    mqueue_devs: FrozenSet[int] = frozenset()
    known: Mapping[File, str] = NOTHING
    """(device, inode) of every file of /dev/shm and queue that has a name, and its path there."""
    fifos: Mapping[File, str] = NOTHING
    """(device, inode) of every FIFO that was found, and its path."""
    pipes: bool = False
    pipe_ends: bool = False
    """Whether to tell of each pipe who has which end, and how full it is."""
    pipes_of_root: bool = False
    """Whether to measure the pipes, too, that only processes of root have: no limit holds for these."""
    sockets: bool = False
    queue_limits: bool = False
    threads: bool = False
    spaces: bool = False
    """Whether to tell in which namespaces each process is, and in which container where that is not ours."""
    units: bool = False
    """Whether to tell the unit and the container of every process."""
    unreadable_ok: FrozenSet[str] = frozenset()


class Scanned(NamedTuple):
    """What a scan of /proc gave, for all namespaces that were wanted."""

    processes: Processes
    """As in the model; of System V objects and of /dev/shm nothing, see below."""
    attached: Mapping[Tuple[int, int], Tuple[Process, ...]]
    """(IPC namespace, segment id) to the processes that have it mapped."""
    blocked: Mapping[Tuple[str, int, int], Tuple[Waiter, ...]]
    """(kind, IPC namespace, id) to the threads blocked on it."""
    unlinked: Mapping[int, Tuple[Unlinked, ...]]
    """Device to the files of it without a name that a process still holds."""
    pipes: Mapping[int, Optional[Pipe]]
    """Inode to the pipe, ``None`` where it could not be measured."""
    gaps: List[Gap]

    def seen_from(self, namespace: int, shm_dev: Optional[int]) -> Processes:
        """Return what concerns the objects of one IPC namespace and one /dev/shm."""
        blocked: Dict[Tuple[str, Any], Tuple[Waiter, ...]] = dict(self.processes.blocked)
        for (kind, where, number), waiters in self.blocked.items():
            if where == namespace:
                blocked[kind, number] = waiters
        return self.processes._replace(
            attached={segment: them for (where, segment), them in self.attached.items() if where == namespace},
            blocked=blocked,
            unlinked=self.unlinked.get(shm_dev, ()) if shm_dev is not None else (),
        )


class _Found:
    """What the scan gathers, process by process."""

    def __init__(self) -> None:
        self.by_pid: Dict[int, Process] = {}
        self.attached: Dict[Tuple[int, int], List[Process]] = {}
        self.holding: Dict[File, List[Process]] = {}
        self.blocked: Dict[Tuple[str, Any], List[Waiter]] = {}
        self.blocked_in: Dict[Tuple[str, int, int], List[Waiter]] = {}
        self.unlinked: Dict[File, Tuple[int, int, str]] = {}
        self.ends: Dict[Tuple[str, Any], List[End]] = {}
        self.sockets: Dict[int, List[Process]] = {}
        self.signals: Dict[int, Tuple[int, int]] = {}
        self.pipes: Dict[int, Optional[Pipe]] = {}
        self.unmeasured: Dict[int, Tuple[str, int]] = {}
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
    own: Tuple[Sequence[Mount], float],
    deadline: float,
    machine: str,
) -> Scanned:
    """Scan all processes until *deadline* (a reading of time.monotonic()).

    *own* is our mounts and the epoch second of boot. Processes that began while we looked are
    looked at too, so one that forks and ends in between is not missed.
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
        own: Tuple[Sequence[Mount], float],
        machine: str,
    ) -> None:
        self.proc, self.kernel, self.wanted = proc, kernel, wanted
        mounts, self.booted_at = own
        self.ticks = clock_ticks()
        self.found = _Found()
        self.calls = BLOCKING_CALLS.get(machine)
        if self.calls is not None and (wanted.fifos or wanted.pipe_ends):
            self.calls = {**self.calls, **CHANNEL_CALLS[machine]}
        self.compat = COMPAT_CALLS | COMPAT_OPENS if wanted.fifos else COMPAT_CALLS
        self.devices = wanted.shm_devs | wanted.mqueue_devs
        self.fifo_devices = frozenset(dev for dev, _ in wanted.fifos)
        self.mapped = {device_text(dev): dev for dev in wanted.shm_devs}
        self.needles = tuple((" %s " % text).encode() for text in self.mapped)
        if wanted.shm_ids:
            self.needles += (b" /SYSV",)
        self.spaces = Spaces(proc, mounts, self.devices, wanted.known)
        self.names = frozenset(path[1:] for path in wanted.known.values())
        self.fifo_names: Dict[str, List[File]] = {}
        for file, path in wanted.fifos.items():
            self.fifo_names.setdefault(path[path.rfind("/") + 1 :], []).append(file)
        self.ended: Set[int] = set()
        self.groups: Dict[bytes, Tuple[Optional[str], Optional[str]]] = {}
        self.home: Optional[str] = None
        if wanted.spaces or wanted.units or wanted.unreadable_ok:
            with contextlib.suppress(OSError):
                self.home = parse_container(proc.read("self/cgroup"))

    def nothing(self, why: str) -> Scanned:
        """Look at no process, for a reason."""
        self._unseen("processes", why)
        return self._result()

    def run(self, deadline: float) -> Scanned:
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
        if self.wanted.spaces:
            self._gap(Evidence.NAMESPACES, what, why)

    def _gap(
        self, evidence: str, what: str, why: str, pid: Optional[int] = None, kind: Optional[str] = None
    ) -> None:
        self.found.gaps.append(Gap(evidence, what, why, kind=kind, pid=pid))

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
                self.tasks: Sequence[str] = directory.names("task") if stat.threads > 1 else ()
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
                inner_pids=parse_inner(status),
            )
            if process.lives:
                process = self._placed(directory, process)
                self._signals(status)
            self.found.by_pid[process.pid] = process
            if process.lives:
                self._look_at(directory, process, stat)

    def _placed(self, directory: Directory, process: Process) -> Process:
        """Return the process with its namespaces, unit and container, as far as they are wanted."""
        wanted = self.wanted
        ipc = mnt = net = 0
        if wanted.spaces:
            try:
                link = directory.link
                ipc, mnt, net = (parse_namespace(link(name)) for name in ("ns/ipc", "ns/mnt", "ns/net"))
            except FileNotFoundError:
                pass  # it is just ending, or this kernel lacks the namespaces
            except OSError as error:
                if error.errno not in _GONE and not self._may_stay_unseen(directory, process):
                    what = "namespaces of pid %d (%s)" % (process.pid, process.command)
                    self._gap(Evidence.NAMESPACES, what, error.strerror or str(error), process.pid)
        unit = container = None
        if wanted.units or (mnt and "mnt:[%d]" % mnt != self.spaces.own):
            try:
                text = directory.read_record("cgroup")
                if text not in self.groups:  # the same for all processes of a service
                    self.groups[text] = parse_unit(text, self.home), parse_container(text)
                unit, container = self.groups[text]
            except OSError:
                pass  # without control groups there are neither
        if wanted.units and process.pid == 1:
            unit = _INIT
        return process._replace(ipc=ipc, mnt=mnt, net=net, unit=unit if wanted.units else None, container=container)

    def _signals(self, status: bytes) -> None:
        """Note how many signals wait for the processes of a user: one count for all, a limit for each."""
        found = parse_signals(status)
        if found is not None:
            uid, queued, limit = found
            most, least = self.found.signals.get(uid, (0, limit))
            self.found.signals[uid] = (max(most, queued), min(least, limit))

    def _ids_of_threads(
        self, directory: Directory, uids: FrozenSet[int], gids: FrozenSet[int]
    ) -> Tuple[FrozenSet[int], FrozenSet[int]]:
        """Add what threads act as that have changed their own ids alone, as file servers do (credentials(7)).

        The owner of a thread's directory is its effective uid and gid, which are what IPC asks for.
        """
        for name in self.tasks:
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
                self.tasks = directory.names("task")
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
        channels: Channels = {}
        vanished = False
        wanted = self.wanted
        if self.devices or wanted.fifos or wanted.pipes or wanted.sockets:
            # Before the maps: a file that is mapped and closed meanwhile is in either.
            vanished |= self._guarded(directory, process, lambda: self._tables(directory, process, threads, channels))
        if self.needles:
            vanished |= self._guarded(directory, process, lambda: self._maps(directory, process))
        if wanted.threads and self.calls is not None:
            vanished |= self._guarded(directory, process, lambda: self._threads(directory, process, threads, channels))
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

    def _unit(self, directory: Directory, pid: int) -> Optional[str]:
        if pid == 1:
            return _INIT
        try:
            return parse_unit(directory.read("cgroup"), self.home)
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
        if segments:
            namespace = self._ipc(directory, Evidence.MAPS)
            if namespace in self.wanted.ipc:
                for segment in segments:
                    self._note(self.found.attached.setdefault((namespace, segment), []), process)
        for device, ino, path in files:
            self._hold((self.mapped[device], ino), process)
            if (self.mapped[device], ino) not in self.wanted.known:
                self._unlinked(directory, device, ino, path, text)

    def _ipc(self, directory: Directory, evidence: str, thread: str = "") -> int:
        """Return the IPC namespace of a thread; 0 where this kernel has none, or no links to them."""
        if 0 in self.wanted.ipc:
            return 0
        try:
            return parse_namespace(directory.link(thread + "ns/ipc"))
        except OSError as error:
            raise _UnreadableError(evidence, "IPC namespace", error) from error

    def _unlinked(self, directory: Directory, device: str, ino: int, path: str, text: bytes) -> None:
        """Note a mapped file without a name: link count 0 is the proof, not the word "deleted"."""
        file = (self.mapped[device], ino)
        if file in self.found.unlinked:
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
            self.found.unlinked[file] = (info.size, info.blocks, path)

    def _hold(self, file: Tuple[int, int], process: Process) -> None:
        self._note(self.found.holding.setdefault(file, []), process)

    @staticmethod
    def _note(holders: List[Process], process: Process) -> None:
        if not holders or holders[-1] is not process:
            holders.append(process)

    # ------------------------------------------------------------- descriptors

    def _tables(self, directory: Directory, process: Process, threads: int, channels: Channels) -> None:
        """Look at the descriptors of a process, and at those of threads that left its table (unshare(2))."""
        self._descriptors(directory, process, channels, process.pid)
        if threads == 1:
            return
        seen = [process.pid]
        for tid in map(int, self.tasks):
            if tid == process.pid:
                continue
            answers = [self.kernel.shares_files(one, tid) for one in seen]
            if True in answers:
                continue
            try:
                with directory.directory("task/%d" % tid) as thread:
                    self._descriptors(thread, process, channels, tid)
            except _UnreadableError as error:
                if not error.gone:
                    raise
            except (FileNotFoundError, ProcessLookupError):
                continue
            if None not in answers:
                seen.append(tid)

    def _descriptors(self, directory: Directory, process: Process, channels: Channels, tid: int) -> None:
        wanted, sockets = self.wanted, self.found.sockets
        links: List[Tuple[str, str]] = []
        pipes: List[Tuple[int, int]] = []
        try:
            with directory.directory("fd") as descriptors:
                number = ""
                for number, target in descriptors.links():
                    first = target[0]
                    if first == "/":
                        links.append((number, target))
                    elif first == "s":
                        if wanted.sockets and target.startswith("socket:["):
                            self._note(sockets.setdefault(int(target[8:-1]), []), process)
                    elif first == "p" and wanted.pipes and target.startswith("pipe:["):
                        pipes.append((int(number), int(target[6:-1])))
                if not number and parse_stat(directory.read_record("stat")).state in "ZX":
                    raise _ended()
                if wanted.pipe_ends:
                    self._ends(descriptors, process, pipes)
        except OSError as error:
            raise _UnreadableError(Evidence.DESCRIPTORS, "descriptors", error) from error
        for fd, ino in pipes:
            channels[fd] = ("pipe", ino)
        self._pipes(directory, process, pipes, tid)
        if self.devices or self.fifo_names:
            self._files(directory, process, channels, links)

    def _files(
        self, directory: Directory, process: Process, channels: Channels, links: Sequence[Tuple[str, str]]
    ) -> None:
        """Note which of our files are open."""
        try:
            space = self.spaces.of(directory)
        except (OSError, ValueError) as error:
            failure = error if isinstance(error, OSError) else OSError(0, str(error))
            raise _UnreadableError(Evidence.DESCRIPTORS, "mounts", failure) from error
        for bound in space.bound:
            self._hold(bound, process)
        space.bound = []
        prefixes, names, fifo_names, mqueue_devs = space.prefixes, self.names, self.fifo_names, self.wanted.mqueue_devs
        for number, target in links:
            # The name alone counts, too: a descriptor may come from a mount that this process does not have.
            slash = target.rfind("/")
            name = target[slash + 1 :]
            if slash == 0 or target.startswith(prefixes) or name in names or name in fifo_names:
                file, flags = self._file(directory, space, number, target)
                if file is None:
                    continue
                if file in self.wanted.fifos:
                    self._end(("fifo", file), process, int(number), (flags + 1) & 3)
                    channels[int(number)] = ("fifo", file)
                    continue
                self._hold(file, process)
                if file[0] in mqueue_devs:
                    channels[int(number)] = ("posix-mq", file)
                if file not in self.wanted.known:
                    self._nameless(directory, process, number, target, file)

    def _file(
        self, directory: Directory, space: Space, number: str, target: str
    ) -> Tuple[Optional[File], int]:
        """Return device and inode behind a descriptor, if it is one of our files, and how it was opened.

        fdinfo answers without touching the file. A queue opened by mq_open(3) is on the kernel's
        own mount, which no table shows, and so is a file of a mount that was detached; only these
        are followed, and only where the inode is one we look for or the name is gone.
        """
        try:
            fields = dict(_FDINFO.findall(directory.read_record("fdinfo/" + number).decode("ascii", "replace")))
            flags = int(fields.get("flags", "0"), 8)
            dev = space.devices.get(int(fields.get("mnt_id", -1)))
            ino = int(fields["ino"]) if "ino" in fields else None  # since Linux 5.14
            if dev is not None and dev not in self.devices and dev not in self.fifo_devices:
                return None, 0
            if dev is not None and ino is not None:
                return self._ours((dev, ino)), flags
            looked_for = ino is None or any((device, ino) in self.wanted.known for device in self.devices)
            if dev is None and not looked_for and not target.endswith(DELETED):
                return None, 0
            info = directory.info("fd/" + number, follow=True)
        except FileNotFoundError:
            return None, 0
        except OSError as error:
            raise _UnreadableError(Evidence.DESCRIPTORS, "descriptor %s" % number, error) from error
        return self._ours((info.dev, info.ino)), flags

    def _ours(self, file: File) -> Optional[File]:
        return file if file[0] in self.devices or file in self.wanted.fifos else None

    def _ends(self, descriptors: Directory, process: Process, pipes: Sequence[Tuple[int, int]]) -> None:
        """Note the ends of pipes: the mode of a descriptor's link shows what it was opened for (fs/proc/fd.c)."""
        for number, ino in pipes:
            try:
                mode = descriptors.info(str(number)).mode
            except FileNotFoundError:
                continue
            self._end(("pipe", ino), process, number, (mode >> 8 & 1) | (mode >> 6 & 2))

    def _end(self, what: Tuple[str, Any], process: Process, number: int, access: int) -> None:
        """Note a descriptor on a pipe or FIFO; *access* has bit 1 for reading and bit 2 for writing."""
        end = End(process, number, reads=bool(access & 1), writes=bool(access & 2))
        self.found.ends.setdefault(what, []).append(end)

    def _pipes(self, directory: Directory, process: Process, pipes: Sequence[Tuple[int, int]], tid: int) -> None:
        """Note pipes, and measure those that nobody before had or might show."""
        found = self.found.pipes
        if not self.wanted.pipes_of_root and process.uids == _ROOT:
            for _, ino in pipes:
                found.setdefault(ino, UNASKED)
        else:
            asked = [one for one in pipes if found.get(one[1], UNASKED) in _TO_ASK]
            self._measure(directory, process, asked, tid)

    def _measure(
        self, directory: Directory, process: Process, pipes: Sequence[Tuple[int, int]], tid: int
    ) -> None:
        """Ask for the size of pipes not measured yet, through the descriptors of this process."""
        if not pipes:
            return
        found = self.found
        inodes = [ino for _, ino in pipes]
        for ino in inodes:
            found.pipes[ino] = None
        why = ""
        if tid != process.pid:  # pidfd_getfd(2) takes from the table of the main thread
            why, pipes = "only a thread of its own has it open", ()
        try:
            with held(self.kernel, process.pid) as pidfd:
                directory.read_record("stat")  # fails if the number is another process's by now
                for number, ino in pipes:
                    if found.pipes[ino] is None:
                        found.pipes[ino] = self._measured(pidfd, number, ino)
        except OSError as error:
            if error.errno in _GONE:
                return
            why = error.strerror or str(error)
        for ino in inodes if why else ():
            if found.pipes[ino] is None:
                found.unmeasured.setdefault(ino, (why, process.pid))

    def _measured(self, pidfd: int, number: int, ino: int) -> Optional[Pipe]:
        try:
            return measure(self.kernel, pidfd, number, ino, fill=self.wanted.pipe_ends)
        except OSError as error:
            if error.errno == _EBADF:
                return None
            raise

    def _nameless(
        self, directory: Directory, process: Process, number: str, target: str, file: Tuple[int, int]
    ) -> None:
        """Note an open file without a name: hidden use of /dev/shm, or of the queue limit."""
        try:
            info = directory.info("fd/" + number, follow=True)
            if info.nlink:
                return
            if file[0] in self.wanted.shm_devs:
                self.found.unlinked.setdefault(file, (info.size, info.blocks, target))
            elif file not in self.found.unlinked_queues:
                with directory.opened("fd/" + number, follow=True) as fd:
                    attributes = self.kernel.queue_attributes(fd)
                if attributes:
                    self.found.unlinked_queues[file] = (info.uid, attributes[0], attributes[1])
                    self._queue_limit(directory, process)
        except OSError:
            return  # closed since, or not ours to open: then the sum is a lower bound

    # ------------------------------------------------------------- threads

    def _threads(self, directory: Directory, process: Process, threads: int, channels: Channels) -> None:
        try:
            if threads == 1:
                self._thread(directory, "", process, process.pid, channels)
                return
            answers = 0
            for name in directory.names("task"):
                try:
                    self._thread(directory, "task/%s/" % name, process, int(name), channels)
                    answers += 1
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
            if not answers:
                raise _ended()
        except OSError as error:
            raise _UnreadableError(Evidence.BLOCKED, "system calls", error) from error

    def _thread(
        self, directory: Directory, place: str, process: Process, tid: int, channels: Channels
    ) -> None:
        text = directory.read_record(place + "syscall")
        number = text.split(b" ", 1)[0]
        call = self.calls.get(number) if self.calls else None
        if call is None and number not in self.compat:
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
            self._other_numbers(number, call, process, tid)
            return
        if call is None:
            return
        kind, name = call
        target = arguments[0] & 0xFFFFFFFF
        waiter = Waiter(process, tid, name)
        if kind == BY_FD:
            channel = channels.get(target)
            if channel is not None:
                self.found.blocked.setdefault(channel, []).append(waiter)
        elif kind == BY_PATH:
            self._opener(directory, place, waiter, arguments)
        else:
            namespace = self._ipc(directory, Evidence.BLOCKED, place)
            if namespace in self.wanted.ipc:
                self.found.blocked_in.setdefault((kind, namespace, target), []).append(waiter)

    def _other_numbers(
        self, number: bytes, call: Optional[Tuple[str, str]], process: Process, tid: int
    ) -> None:
        """Say that the call of a 32-bit thread may be one of ours, and of which sort."""
        ours = number in COMPAT_CALLS or (call is not None and call[0] not in (BY_PATH, BY_FD))
        if ours or number in COMPAT_OPENS:
            why = "it is a 32-bit thread, whose calls have other numbers"
            what = "system call of thread %d" % tid
            self._gap(Evidence.BLOCKED, what, why, process.pid, None if ours else "fifo")

    def _opener(self, directory: Directory, place: str, waiter: Waiter, arguments: Sequence[int]) -> None:
        """Note a thread that waits in open for the other end of a FIFO."""
        call = parse_open(waiter.call, arguments)
        if call is None or not self.wanted.fifos:
            return
        try:
            at_home = directory.link(place + "ns/mnt") == self.spaces.own and directory.link(place + "root") == "/"
            found = blocked_on(directory, place, call, (self.wanted.fifos, self.fifo_names), at_home=at_home)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", 0) in _GONE:
                return  # it ended, or what it opens has no such name
            what = "the path that thread %d opens" % waiter.tid
            why = getattr(error, "strerror", None) or str(error)
            self._gap(Evidence.BLOCKED, what, why, waiter.process.pid, "fifo")
            return
        if found is not None:
            file, access = found
            named = waiter._replace(call=(waiter.call + " " + access).strip())
            self.found.blocked.setdefault(("fifo", file), []).append(named)

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

    def _result(self) -> Scanned:
        found = self.found
        users: Dict[int, List[Process]] = {}
        groups: Dict[int, List[Process]] = {}
        for process in found.by_pid.values():
            if process.lives:
                for uid in process.uids:
                    users.setdefault(uid, []).append(process)
                for gid in process.gids:
                    groups.setdefault(gid, []).append(process)
        unlinked: Dict[int, List[Unlinked]] = {}
        for (dev, ino), (size, blocks, path) in sorted(found.unlinked.items()):
            holders = tuple(found.holding.get((dev, ino), ()))
            unlinked.setdefault(dev, []).append(Unlinked(ino, size, blocks, path, holders))
        self._unmeasured()
        processes = Processes(
            by_pid=found.by_pid,
            holding=_frozen(found.holding),
            blocked=_frozen(found.blocked),
            mqueue_limits=found.mqueue_limits,
            unlinked_queues=tuple(found.unlinked_queues.values()),
            users=_frozen(users),
            groups=_frozen(groups),
            ends=_frozen(found.ends),
            sockets=_frozen(found.sockets),
            signals=found.signals,
        )
        return Scanned(
            processes, _frozen(found.attached), _frozen(found.blocked_in), _frozen(unlinked), found.pipes, found.gaps
        )

    def _unmeasured(self) -> None:
        """Say whose pipes could not be measured; forget those that were closed while we looked."""
        found = self.found
        found.pipes = {ino: pipe for ino, pipe in found.pipes.items() if pipe is not None or ino in found.unmeasured}
        whys: Dict[Tuple[str, int], int] = {}
        for ino, (why, pid) in found.unmeasured.items():
            if found.pipes[ino] is None:
                whys[why, pid] = whys.get((why, pid), 0) + 1
        for (why, pid), count in whys.items():
            what = "size of %s of pid %d (%s)" % (
                "1 pipe" if count == 1 else "%d pipes" % count, pid, found.by_pid[pid].command,
            )  # fmt: skip
            self._gap(Evidence.PIPES, what, why, pid, "pipe")


def _frozen(lists: Mapping[Any, List[Any]]) -> Dict[Any, Any]:
    return {key: tuple(value) for key, value in lists.items()}
