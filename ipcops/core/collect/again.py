"""A second look, just before something is removed: who holds these files now, who is blocked on a queue.

It is the pass over /proc of the first look, for a whole batch of objects at once, and of their
tables it reads nothing: what the kernel says of each object is asked for by its id.
"""

from __future__ import annotations

import time
from typing import Callable, FrozenSet, List, Mapping, Optional, Tuple

from ..fs import Roots, version
from ..kernel import Kernel
from ..model import Evidence, Gap, Process, Waiter
from ..policy import Policy
from ..tuples import NamedTuple
from . import host, users
from .gather import read_own_mounts
from .processes import Wanted, read_processes
from .spaces import File

_BOOT = 0.0
"""In place of the epoch second of boot: when a process began is of no interest here."""
_SEEN_BY = {"posix": (Evidence.MAPS, Evidence.DESCRIPTORS), "msg": (Evidence.BLOCKED,)}


class Again(NamedTuple):
    """What the second look found, and what it could not see."""

    holding: Mapping[File, Tuple[Process, ...]]
    """(device, inode) to the processes that have the file mapped or open."""
    waiting: Mapping[int, Tuple[Waiter, ...]]
    """Id of a System V queue to the threads blocked on it."""
    gaps: Tuple[Gap, ...]

    def unseen(self, what: str) -> Optional[Gap]:
        """Return what keeps us from knowing about ``posix`` files or ``msg`` queues; ``None`` when all was seen."""
        evidence = (*_SEEN_BY[what], Evidence.PROCESSES, Evidence.MOUNT)
        return next((gap for gap in self.gaps if gap.evidence in evidence and gap.kind is None), None)


class Targets(NamedTuple):
    """What the second look is about."""

    files: Mapping[File, str]
    """(device, inode) of files of /dev/shm to the name that each has there now, from ``/`` on."""
    queues: Mapping[File, str]
    """The same of POSIX queues."""
    messages: bool
    """Whether System V queues are looked at."""


Look = Callable[[Targets], Again]


def looker(roots: Roots, kernel: Kernel, policy: Policy) -> Look:
    """Return the function that looks again on this host, within the deadline of the policy."""
    names = policy["scan", "unreadable_ok"]
    hidden: FrozenSet[str] = frozenset(names) | users.read_uids(names)

    def look(targets: Targets) -> Again:
        namespace = host.read_namespace(roots.proc)
        gaps: List[Gap] = []
        mounts = read_own_mounts(roots, gaps)
        wanted = Wanted(
            ipc=frozenset((namespace,)),
            shm_devs=frozenset(dev for dev, _ in targets.files),
            mqueue_devs=frozenset(dev for dev, _ in targets.queues),
            known={**targets.files, **targets.queues},
            threads=targets.messages,
            unreadable_ok=hidden,
        )
        limit = time.monotonic() + policy["scan", "deadline"]
        found = read_processes(roots, kernel, wanted, (mounts, _BOOT), limit, version()[2])
        waiting = {
            number: waiters
            for (kind, where, number), waiters in found.blocked.items()
            if kind == "msg" and where == namespace
        }
        return Again(found.processes.holding, waiting, (*gaps, *found.gaps))

    return look
