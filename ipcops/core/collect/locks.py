"""File locks: ``/proc/locks`` (proc_locks(5), fs/locks.c), and who truly holds each.

The pid in that table is the one that took the lock. A lock of flock(2), an open file description
lock (fcntl_locking(2)) and a lease belong to the open file, which children inherit and sockets
carry: the process that took it may be gone, and for the second kind none is told (-1). A ``lock:``
line is in the fdinfo of every descriptor whose open file owns the lock (proc_pid_fdinfo(5)), and
the link of that descriptor has the path. Neither touches the file, so a dead network mount
cannot hang us; no link is followed, and nothing is opened through one.

In a PID namespace below the first one the kernel leaves out, with their waiters, the locks of
processes that are not in it, and those of flock(2) whose taker's number is free again.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ..fs import Directory
from ..model import NOTHING, Evidence, Gap, Process, Table
from ..tuples import NamedTuple
from .proctext import parse_stat

_LINE = (
    rb"(\d{1,19}): (?: *(-> ))?([A-Z]+) +([A-Z*]+) +([A-Z]+) (-?\d{1,10}) "
    rb"([0-9a-f]{2,8}:[0-9a-f]{2,8}|<none>):(\d{1,20}) (\d{1,19}) (EOF|\d{1,19})"
)
_MARK = b"lock:\t"
_GONE = (2, 3)  # ENOENT, ESRCH: the process or the descriptor ended while we looked

Key = Tuple[Any, ...]
"""What tells a lock from others, in /proc/locks and fdinfo alike."""


class Lock(NamedTuple):
    """A lock, or one that is waited for. ``start`` and ``end`` are bytes of the file, both in it."""

    number: int
    """What a lock and those that wait for it have in common, and only in this one text."""
    waits: bool
    type: str
    """``FLOCK``, ``POSIX``, ``OFDLCK``, ``LEASE``, ``DELEG``, or what else the kernel has."""
    state: str
    """``ADVISORY``, or how far a lease is: ``ACTIVE``, ``BREAKING``, ``BREAKER``."""
    access: str
    """``READ``, ``WRITE``, or ``UNLCK`` for a lease that is to be given up; older kernels: ``RW``, ``NONE``."""
    pid: int
    """Who took it or asks for it; -1 for an open file description lock, 0 for a process that is not to be seen
    from here, and less than -1 for one of another machine."""
    device: str
    """Of the file system, as the kernel writes it: ``fe:01``; ``<none>`` for one that asks for a lease's end."""
    ino: int
    start: int
    end: Optional[int]
    """``None`` for the end of the file, wherever that will be."""

    @property
    def key(self) -> Key:
        """What tells this lock from others; number and state differ from text to text."""
        return (self.type, *self[4:])

    @property
    def file(self) -> str:
        """Device and inode as in /proc/locks: ``fe:01:1234``."""
        return "%s:%d" % (self.device, self.ino)

    @property
    def dev(self) -> Optional[int]:
        """The device as stat(2) gives it, on file systems with one device number."""
        major, _, minor = self.device.partition(":")
        return os.makedev(int(major, 16), int(minor, 16)) if minor else None

    @property
    def shared(self) -> bool:
        """Whether it belongs to an open file, which several processes may have, and not to one process."""
        return self.type != "POSIX"


def parse_locks(text: bytes) -> List[Lock]:
    """Return the locks and those that wait, in the kernel's order. Raise ValueError at a line that is none."""
    return [_lock(line) for line in text.split(b"\n") if line]


def parse_lock_lines(fdinfo: bytes) -> List[Lock]:
    """Return the locks of the open file behind a descriptor. Raise ValueError at a line that is none."""
    return [_lock(line[len(_MARK) :]) for line in fdinfo.split(b"\n") if line.startswith(_MARK)]


def _lock(line: bytes) -> Lock:
    found = re.fullmatch(_LINE, line)
    if found is None:
        raise ValueError("'%s' is no line of a lock" % line[:120].decode("ascii", "backslashreplace"))
    number, waits, kind, state, access, pid, device, ino, start, end = found.groups()
    return Lock(
        number=int(number),
        waits=waits is not None,
        type=kind.decode(),
        state=state.decode(),
        access=access.decode(),
        pid=int(pid),
        device=device.decode(),
        ino=int(ino),
        start=int(start),
        end=None if end == b"EOF" else int(end),
    )


def read_locks(proc: Directory) -> Tuple[List[Lock], List[Gap]]:
    """Return all locks that our PID namespace shows, and what was not seen."""
    try:
        return parse_locks(proc.read("locks")), []
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return [], [Gap(Evidence.TABLE, "/proc/locks", why, kind="lock")]


class Holders(NamedTuple):
    """Who holds which lock by which descriptor, under which path; and who could not be looked into."""

    by_lock: Mapping[Key, Sequence[Tuple[Process, int]]] = NOTHING
    """Who took it comes first, as far as it holds it still."""
    paths: Mapping[Key, str] = NOTHING
    gaps: Sequence[Gap] = ()


def find_holders(proc: Directory, locks: Sequence[Lock], processes: Mapping[int, Process], deadline: float) -> Holders:
    """Return who truly holds each lock, looking until *deadline* (a reading of time.monotonic()).

    The descriptors of a process are those of its main thread, or of another one if that has ended.
    """
    search = _Search(proc, locks, processes, deadline)
    search.run()
    return Holders(search.holders, search.paths, tuple(search.gaps.values()))


class _Search:
    """First those that took a lock, by all their descriptors; then, where more may hold one, everybody.

    Reading fdinfo is what costs. All that have an open file show the same path, since the kernel
    writes paths as the reader would have to give them; so once a lock's path is known, only
    descriptors with that path are read.
    """

    def __init__(
        self, proc: Directory, locks: Sequence[Lock], processes: Mapping[int, Process], deadline: float
    ) -> None:
        self.proc, self.processes, self.deadline = proc, processes, deadline
        held = [lock for lock in locks if not lock.waits]
        self.wanted = {lock.key: lock for lock in held}
        # Any file can be locked by flock(2), those without a path, too; their links have the inode.
        self.pathless = frozenset(form % lock.ino for lock in held for form in ("pipe:[%d]", "socket:[%d]"))
        self.holders: Dict[Key, List[Tuple[Process, int]]] = {}
        self.paths: Dict[Key, str] = {}
        self.targets: Set[str] = set()
        self.read: Set[Tuple[int, str]] = set()
        self.gaps: Dict[int, Gap] = {}

    def run(self) -> None:
        """Look at the processes that matter."""
        taken: Dict[int, Set[Key]] = {}
        for key, lock in self.wanted.items():
            taken.setdefault(lock.pid, set()).add(key)
        for at, (pid, keys) in enumerate(taken.items()):
            if self._is_late(len(taken) - at):
                return
            process = self.processes.get(pid)
            if process is not None and process.lives:
                self._look(process, keys)
        lost = {key for key, lock in self.wanted.items() if self._is_lost(lock)}
        if not lost and not any(lock.shared for lock in self.wanted.values()):
            return
        for at, process in enumerate(self.processes.values()):
            if self._is_late(len(self.processes) - at):
                return
            if process.lives:
                self._look(process, lost)
                lost.difference_update(self.paths)

    def _is_lost(self, lock: Lock) -> bool:
        """Whether all processes are to be searched for the holder of a lock.

        A lock of our own NFS server or of another machine is in no process, and one of a process
        that lives is in no other unless it can be shared.
        """
        if lock.key in self.paths or lock.pid < -1:
            return False
        taker = self.processes.get(lock.pid)
        return taker is None or (lock.shared and not taker.kernel_thread)

    def _is_late(self, left: int) -> bool:
        if time.monotonic() <= self.deadline:
            return False
        why = "the deadline of the scan was reached before them"
        self.gaps[0] = Gap(Evidence.DESCRIPTORS, "descriptors of %d processes" % left, why, kind="lock")
        return True

    def _look(self, process: Process, lost: Set[Key]) -> None:
        """Look at a process for holders of locks with a known path, and of those in *lost* by every descriptor."""
        try:
            with self.proc.directory(str(process.pid)) as directory:
                if self._descriptors(directory, "", process, lost):
                    return
                for name in directory.names("task"):  # its main thread has ended: pthread_exit(3)
                    if self._descriptors(directory, "task/%s/" % name, process, lost):
                        return
        except OSError as error:
            if error.errno not in _GONE:
                why = error.strerror or str(error)
                what = "descriptors of pid %d (%s)" % (process.pid, process.command)
                self.gaps[process.pid] = Gap(Evidence.DESCRIPTORS, what, why, kind="lock", pid=process.pid)

    def _descriptors(self, directory: Directory, place: str, process: Process, lost: Set[Key]) -> bool:
        """Look at one table of descriptors; return whether there are any."""
        left = {key for key in lost if key not in self.paths}
        with directory.directory(place + "fd") as descriptors:
            numbers = descriptors.names()
            for number in numbers:
                try:
                    target = descriptors.link(number)
                    worth = target in self.targets or (left and (target[0] == "/" or target in self.pathless))
                    if worth and (process.pid, number) not in self.read:
                        text = directory.read_record("%sfdinfo/%s" % (place, number))
                        if _MARK in text:
                            self._note(directory, process, number, target, parse_lock_lines(text))
                            left.difference_update(self.paths)
                except (FileNotFoundError, ValueError):
                    continue  # closed since the listing; a line that is none was told of by /proc/locks
        return bool(numbers)

    def _note(self, directory: Directory, process: Process, number: str, target: str, locks: Sequence[Lock]) -> None:
        if parse_stat(directory.read_record("stat")).started_ticks != process.started_ticks:
            return  # another one under its number
        self.read.add((process.pid, number))
        for key in {lock.key for lock in locks}:
            if key in self.wanted:
                self.holders.setdefault(key, []).append((process, int(number)))
                self.paths.setdefault(key, target)
                if self.wanted[key].shared:
                    self.targets.add(target)


def lock_table(locks: Sequence[Lock], found: Optional[Holders]) -> Table:
    """Return the held locks as a table, with their holders as far as these were looked for.

    ``uid`` is the least one of its first holder, ``waiters`` are the pids that wait for it, as the
    kernel tells them: -1 for an open file description lock.
    """
    found = found or Holders()
    waiters: Dict[int, List[int]] = {}
    for lock in locks:
        if lock.waits:
            waiters.setdefault(lock.number, []).append(lock.pid)
    held = [lock for lock in locks if not lock.waits]
    holders = [tuple(found.by_lock.get(lock.key, ())) for lock in held]
    return Table(
        "lock",
        {
            "id": [lock.file for lock in held],
            "path": [found.paths.get(lock.key) for lock in held],
            "dev": [lock.dev for lock in held],
            "ino": [lock.ino for lock in held],
            "uid": [min(them[0][0].uids) if them else None for them in holders],
            "type": [lock.type for lock in held],
            "access": [lock.access for lock in held],
            "start": [lock.start for lock in held],
            "end": [lock.end for lock in held],
            "pid": [lock.pid for lock in held],
            "holders": holders,
            "waiters": [tuple(waiters.get(lock.number, ())) for lock in held],
        },
    )
