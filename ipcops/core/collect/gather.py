"""The objects of one place: what the namespaces we are in have, table by table."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .. import fs
from ..fs import Roots
from ..kernel import Kernel
from ..model import NOTHING, POSIX_KINDS, SYSV_KINDS, Counted, Evidence, Gap, Semaphores, ShmMount, Table
from ..policy import Policy
from ..tally import agree, sums
from ..tuples import NamedTuple
from . import devshm, host, limits, mounts, mqueue, sysvipc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .connections import Connected
    from .files import Files
    from .sockets import Sockets

FILE_KINDS = ("posix-shm", "posix-sem")
SOCKET_KINDS = ("unix", "inet")
IPC_KINDS = (*SYSV_KINDS, "posix-mq")

_COUNTS = 5
"""How often a table is read until it agrees with counters that stood still, since an object may come and go between."""

_REMOVED = (22, 43)
"""EINVAL, EIDRM: the object was removed since the table was read (semctl(2))."""


class Gathered(NamedTuple):
    """What one place has. Plain values, so that a child process can send them."""

    namespace: int
    kinds: Tuple[str, ...]
    mounts: Sequence[mounts.Mount]
    tables: Dict[str, Table]
    limits: Dict[str, Any]
    shm_mount: Optional[ShmMount]
    queue_dev: Optional[int]
    mqueue_mounted: Optional[bool]
    files: Optional[Files]
    sockets: Optional[Sockets]
    known_files: Sequence[Table]
    """The files of /dev/shm and the queues, those that were not asked for as well."""
    gaps: List[Gap]
    connected: Optional[Connected] = None
    """Only where asked for."""
    counted: Mapping[str, Counted] = NOTHING
    """Kind to the kernel's own counters, where asked for."""

    def has(self, kind: str) -> bool:
        """Return whether there is any object of a kind."""
        return kind in self.tables and len(self.tables[kind]) > 0


def gather(
    roots: Roots, kernel: Kernel, policy: Policy, kinds: Sequence[str], deadline: float, *, also: Sequence[str] = ()
) -> Gathered:
    """Return the objects of *kinds* in the namespaces that we are in.

    *also*: ``connections``, what is connected; ``counters``, what the kernel itself counts.
    """
    gaps: List[Gap] = []
    wanted = frozenset(kinds)
    namespace = host.read_namespace(roots.proc)
    own_mounts = read_own_mounts(roots, gaps)
    values, missing = limits.read_limits(roots.proc, tuple(kinds))
    gaps += missing
    sysv = [kind for kind in SYSV_KINDS if kind in wanted]
    tables, counted = _sysv(roots, kernel, sysv, gaps, counters="counters" in also)
    place: Optional[ShmMount] = None
    known: List[Table] = []
    if not wanted.isdisjoint(FILE_KINDS):
        named, place, missing = devshm.read_devshm(roots, own_mounts)
        gaps += [gap for gap in missing if gap.kind is None or gap.kind in wanted]
        tables.update({kind: table for kind, table in named.items() if kind in wanted})
        known += named.values()
    queues = mqueue.Queues(None, None, None, [])
    if "posix-mq" in wanted:
        queues = mqueue.read_queues(kernel, own_mounts, namespace, notify=policy["scan", "mq_notify"])
        gaps += queues.gaps
        if queues.table is not None:
            tables["posix-mq"] = queues.table
            known.append(queues.table)
    found: Optional[Files] = None
    if "fifo" in wanted or "unix" in wanted:  # files before sockets: a file that nobody is bound to stays so
        from . import files  # a plan needs neither them nor sockets; visit.py loads them before it must not

        mount_namespace = host.read_namespace(roots.proc, "mnt")
        found = files.read_files(roots, policy["scan", "fifo_dirs"], own_mounts, deadline, mount_namespace)
        gaps += [gap for gap in found.gaps if gap.kind in wanted]
        if "fifo" in wanted:
            tables["fifo"] = found.fifos
    net: Optional[Sockets] = None
    connected: Optional[Connected] = None
    if not wanted.isdisjoint(SOCKET_KINDS):
        from . import sockets

        net = sockets.read_sockets(kernel, roots.proc, host.read_namespace(roots.proc, "net"), tuple(kinds))
        gaps += net.gaps
        if net.inet is not None:
            tables["inet"] = sockets.inet_table(net)
        if "connections" in also:
            from .connections import read_connected  # for `show` alone

            connected = read_connected(kernel, roots.proc, net.namespace, tuple(kinds))
            gaps += connected.gaps
    return Gathered(
        namespace, tuple(kinds), own_mounts, tables, values, place, queues.dev, queues.mounted, found, net, known, gaps,
        connected, counted,
    )  # fmt: skip


def _sysv(
    roots: Roots, kernel: Kernel, kinds: Sequence[str], gaps: List[Gap], *, counters: bool
) -> Tuple[Dict[str, Table], Dict[str, Counted]]:
    """Return the System V tables; each with the kernel's own counters where asked for."""
    tables: Dict[str, Table] = {}
    counted: Dict[str, Counted] = {}
    for kind in kinds:
        for _ in range(_COUNTS):
            before = _counters(kernel, kind, gaps) if counters else None
            table, missing = sysvipc.read_table(roots.proc, kernel, kind)
            if before is None:
                break
            rows = sums(table, fs.page_size()) if table is not None else NOTHING
            counted[kind] = Counted(before, before == _counters(kernel, kind, gaps), rows)
            if not counted[kind].steady or agree(rows, before):
                break
        gaps += missing
        if table is not None:
            tables[kind] = table
    return tables, counted


def _counters(kernel: Kernel, kind: str, gaps: List[Gap]) -> Optional[Dict[str, int]]:
    try:
        counters = kernel.counters(kind)
    except OSError as error:
        gaps.append(Gap(Evidence.COUNTERS, "the counters of %s" % kind, error.strerror or str(error), kind=kind))
        return None
    if counters is None:
        why = "this machine's system call numbers are not known"
        gaps.append(Gap(Evidence.COUNTERS, "the counters of %s" % kind, why, kind=kind))
    return counters


def portable(gathered: Gathered) -> Gathered:
    """Return the same with views of memory copied, as a pipe needs it."""

    def copied(table: Table) -> Table:
        columns = {name: list(column) for name, column in table.columns.items()}
        return Table(table.kind, columns, table.namespace)

    return gathered._replace(
        tables={kind: copied(table) for kind, table in gathered.tables.items()},
        known_files=[copied(table) for table in gathered.known_files],
    )


def only(gathered: Gathered, kinds: Sequence[str]) -> Gathered:
    """Return what was gathered of *kinds* alone."""
    return gathered._replace(
        kinds=tuple(kind for kind in gathered.kinds if kind in kinds),
        tables={kind: table for kind, table in gathered.tables.items() if kind in kinds},
        shm_mount=gathered.shm_mount if not set(kinds).isdisjoint(FILE_KINDS) else None,
        known_files=[table for table in gathered.known_files if table.kind in kinds or table.kind in POSIX_KINDS],
        gaps=[gap for gap in gathered.gaps if gap.kind is None or gap.kind in kinds],
    )


def read_own_mounts(roots: Roots, gaps: List[Gap]) -> List[mounts.Mount]:
    """Return the mounts that we see; adds to *gaps* why there are none."""
    try:
        return mounts.parse_mountinfo(roots.proc.read("self/mountinfo"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        gaps.append(Gap(Evidence.MOUNT, "/proc/self/mountinfo", why))
        return []


class Answers(NamedTuple):
    """What the kernel said of sets: by id, the ids that are gone, and what it would not say."""

    semaphores: Dict[int, Semaphores]
    gone: List[int]
    gaps: List[Gap]


def ask(kernel: Kernel, sets: Sequence[Tuple[int, int]], late: Any) -> Answers:
    """Ask the kernel about the semaphores of some sets, given as (id, number of semaphores), until *late()*."""
    answers = Answers({}, [], [])
    for semid, nsems in sets:
        if late():
            why = "the deadline of the scan was reached before it"
            answers.gaps.append(Gap(Evidence.SEMAPHORES, "semaphores of sets", why, kind="sem"))
            break
        try:
            answers.semaphores[semid] = kernel.semaphores(semid, nsems)
        except OSError as error:
            if error.errno in _REMOVED:
                answers.gone.append(semid)
                continue
            why = error.strerror or str(error)
            what = "semaphores of sem:%d" % semid
            answers.gaps.append(Gap(Evidence.SEMAPHORES, what, why, kind="sem", object_id=semid))
    return answers
