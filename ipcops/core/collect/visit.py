"""Other namespaces: who lives in which, and a child process that enters them and looks.

setns(2) moves only the child, which reads and answers and never comes back. In another mount
namespace no module may be loaded: it would be the container's file that runs as root here. So
importing is switched off before the first one is entered.
"""

from __future__ import annotations

import _socket  # noqa: F401  # what the kernel is asked with, loaded before importing is off
import contextlib
import os
import pickle
import select
import signal
import struct
import sys
import time
from typing import Any, Dict, FrozenSet, List, NoReturn, Optional, Sequence, Tuple

from ..fs import Directory, Roots
from ..kernel import Kernel
from ..model import Evidence, Gap
from ..policy import Policy
from ..tuples import NamedTuple
from . import files  # noqa: F401  # what gather() loads, likewise
from .connections import Connected, read_connected
from .gather import Answers, Gathered, ask, gather, portable
from .host import parse_namespace
from .mounts import Mount
from .sockets import Sockets, read_sockets

SPACES = ("ipc", "net", "mnt")
"""The namespaces that hold objects; the mount namespace last, since paths of ours end with it."""

_GONE = (2, 3)  # ENOENT, ESRCH
_MOST_PIDS = 8
_LENGTH = struct.Struct("=Q")


class Entry(NamedTuple):
    """A set of namespaces, and by whom they can be entered."""

    ipc: int
    net: int
    mnt: int
    pids: Tuple[int, ...] = ()
    path: Optional[str] = None
    """A namespace without processes is kept by a mount of its file (mount(8) --bind, ip-netns(8))."""
    bound: str = ""
    """Which of the three that is."""


class EntryError(Exception):
    """Namespaces that could not be entered: why, and whether they are just gone."""

    def __init__(self, why: str, *, gone: bool = False) -> None:
        super().__init__(why)
        self.why, self.gone = why, gone


def own_entry(proc: Directory) -> Entry:
    """Return the namespaces that we are in ourselves; 0 where this kernel has none."""

    def inode(space: str) -> int:
        try:
            return parse_namespace(proc.link("self/ns/" + space))
        except OSError:
            return 0

    return Entry(inode("ipc"), inode("net"), inode("mnt"))


def survey(proc: Directory, own: Entry, mounts: Sequence[Mount]) -> Tuple[List[Entry], List[Gap]]:
    """Return every other set of namespaces that a process is in or a mount keeps, and who was not seen.

    Those of mounts first: from another mount namespace their paths lead nowhere.
    """
    found: Dict[Tuple[int, int, int], List[int]] = {}
    gaps: List[Gap] = []
    for name in proc.names():
        if not name.isdigit():
            continue
        try:
            ipc, net, mnt = (parse_namespace(proc.link("%s/ns/%s" % (name, space))) for space in SPACES)
        except OSError as error:
            if error.errno not in _GONE:
                what = "namespaces of pid %s" % name
                gaps.append(Gap(Evidence.NAMESPACES, what, error.strerror or str(error), pid=int(name)))
            continue
        pids = found.setdefault((ipc, net, mnt), [])
        if len(pids) < _MOST_PIDS:
            pids.append(int(name))
    found.pop((own.ipc, own.net, own.mnt), None)
    entries = [Entry(ipc, net, mnt, tuple(pids)) for (ipc, net, mnt), pids in found.items()]
    known = frozenset(inode for entry in (own, *entries) for inode in (entry.ipc, entry.net, entry.mnt))
    kept = kept_by_mounts(mounts, own, known)
    return kept + sorted(entries, key=lambda entry: entry.pids), gaps


def kept_by_mounts(mounts: Sequence[Mount], own: Entry, known: FrozenSet[int]) -> List[Entry]:
    """Return the namespaces that only a mount keeps, as its root shows (``net:[4026532281]``, namespaces(7))."""
    entries: Dict[int, Entry] = {}
    for mount in mounts:
        space = mount.root.partition(":")[0]
        if mount.fstype == "nsfs" and space in SPACES:
            inode = parse_namespace(mount.root)
            if inode not in known:
                where = {"ipc": own.ipc, "net": own.net, "mnt": own.mnt, space: inode}
                entries[inode] = Entry(where["ipc"], where["net"], where["mnt"], (), mount.point, space)
    return list(entries.values())


class Visitor:
    """A child process that enters one set of namespaces after the other and answers from there."""

    def __init__(self, roots: Roots, kernel: Kernel, policy: Policy) -> None:
        self.roots, self.kernel, self.policy = roots, kernel, policy
        self.child: Optional[int] = None
        self.to_child = self.from_child = -1

    def gather(self, entry: Entry, kinds: Sequence[str], deadline: float, *, also: Sequence[str] = ()) -> Gathered:
        """Return the objects of *kinds* there, and what is connected if asked. Raise EntryError."""
        answer: Gathered = self._ask("gather", entry, (tuple(kinds), deadline, also), deadline)
        return answer

    def sockets(self, entry: Entry, deadline: float) -> Sockets:
        """Return the Unix sockets there. Raise EntryError."""
        answer: Sockets = self._ask("sockets", entry, (), deadline)
        return answer

    def connected(self, entry: Entry, deadline: float) -> Connected:
        """Return which Unix sockets are connected there. Raise EntryError."""
        answer: Connected = self._ask("connected", entry, (), deadline)
        return answer

    def semaphores(self, entry: Entry, sets: Sequence[Tuple[int, int]], deadline: float) -> Answers:
        """Return what the kernel says of semaphore sets there. Raise EntryError."""
        answer: Answers = self._ask("semaphores", entry, (list(sets), deadline), deadline)
        return answer

    def close(self) -> None:
        """End the child."""
        if self.child is None:
            return
        os.close(self.to_child)
        os.close(self.from_child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)
        # One that hangs in the kernel cannot be reaped; it goes when it wakes, and we do not wait for that.
        for _ in range(100):
            if os.waitpid(self.child, os.WNOHANG)[0]:
                break
            time.sleep(0.001)
        self.child = None

    # ------------------------------------------------------------- our side

    def _ask(self, verb: str, entry: Entry, arguments: Tuple[Any, ...], deadline: float) -> Any:
        if self.child is None:
            self._start()
        try:
            _send(self.to_child, (verb, entry, arguments))
            done, answer = _receive(self.from_child, deadline)
        except TimeoutError:
            self.close()  # the next one gets a new child
            raise EntryError("it did not answer before the deadline of the scan") from None
        except (OSError, EOFError) as error:
            self.close()
            raise EntryError("the child process that entered it ended (%s)" % error) from error
        if not done:
            raise EntryError(answer[0], gone=answer[1])
        return answer

    def _start(self) -> None:
        here, to_child = os.pipe()
        from_child, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(to_child)
            os.close(from_child)
            self._live(here, there)
        os.close(here)
        os.close(there)
        self.child, self.to_child, self.from_child = child, to_child, from_child

    # ------------------------------------------------------------- the child's side

    def _live(self, requests: int, answers: int) -> NoReturn:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's end ends us
            sys.meta_path[:] = []
            while True:
                verb, entry, arguments = _receive(requests, None)
                try:
                    self._enter(entry)
                    answer: Tuple[bool, Any] = (True, self._answer(verb, entry, arguments))
                except OSError as error:
                    answer = (False, (error.strerror or str(error), error.errno in _GONE))
                _send(answers, answer)
        except EOFError:
            pass
        finally:
            os._exit(0)

    def _answer(self, verb: str, entry: Entry, arguments: Tuple[Any, ...]) -> Any:
        if verb == "gather":
            kinds, deadline, also = arguments
            gathered = gather(self.roots, self.kernel, self.policy, kinds, deadline, also=also)
            return portable(gathered)
        if verb == "sockets":
            return read_sockets(self.kernel, self.roots.proc, entry.net, ("unix",))
        if verb == "connected":
            return read_connected(self.kernel, self.roots.proc, entry.net, ("unix",))
        sets, deadline = arguments
        return ask(self.kernel, sets, lambda: time.monotonic() > deadline)

    def _enter(self, entry: Entry) -> None:
        """Enter namespaces; a process may end and its number be another's, so the result is compared."""
        problem: OSError = ProcessLookupError(3, "all its processes ended")
        for pid in entry.pids or (None,):
            try:
                for space in SPACES:
                    self._enter_one(entry, space, pid)
            except OSError as error:
                if error.errno not in _GONE:
                    problem = error
                continue
            return
        raise problem

    def _enter_one(self, entry: Entry, space: str, pid: Optional[int]) -> None:
        wanted = getattr(entry, space)
        if self._inside(space) == wanted:
            return
        if pid is not None:
            with self.roots.proc.opened("%d/ns/%s" % (pid, space), follow=True) as fd:
                self.kernel.enter(fd)
        elif entry.path is not None and entry.bound == space:
            with Directory.open("/") as top, top.opened(entry.path.lstrip("/"), follow=True) as fd:
                self.kernel.enter(fd)
        else:
            raise FileNotFoundError(2, "no process is in it")
        if self._inside(space) != wanted:
            raise ProcessLookupError(3, "its process ended")

    def _inside(self, space: str) -> int:
        return parse_namespace(self.roots.proc.link("self/ns/" + space))


def _send(fd: int, message: Any) -> None:
    data = pickle.dumps(message)
    view = memoryview(_LENGTH.pack(len(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def _receive(fd: int, deadline: Optional[float]) -> Any:
    """Return the next message. Raise EOFError at the end, TimeoutError after *deadline* (time.monotonic())."""
    size = _LENGTH.unpack(_exactly(fd, _LENGTH.size, deadline))[0]
    return pickle.loads(_exactly(fd, size, deadline))  # noqa: S301  # from our own child or parent


def _exactly(fd: int, size: int, deadline: Optional[float]) -> bytes:
    parts = []
    while size:
        if deadline is not None:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([fd], [], [], left)[0]:
                raise TimeoutError
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise EOFError("it closed its end")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
