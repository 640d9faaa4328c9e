"""One look at the host: every source in an order that lets none contradict the next.

Tables first, processes after: a number that stands in a table and is not among the processes
has ended by then, while the other order would call a process dead that began in between.
"""

from __future__ import annotations

import time
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from .. import fs
from ..errors import UndeterminedError
from ..fs import Roots
from ..kernel import Kernel
from ..model import SYSV_KINDS, Evidence, Gap, Semaphores, ShmMount, Snapshot, Table
from ..policy import Policy
from . import devshm, host, limits, mounts, mqueue, processes, sysvipc, users

_REMOVED = (22, 43)
"""EINVAL, EIDRM: the object was removed since the table was read (semctl(2))."""

FILE_KINDS = ("posix-shm", "posix-sem")


def take(
    roots: Roots,
    kernel: Kernel,
    policy: Policy,
    kinds: Sequence[str],
    *,
    deadline: Optional[float] = None,
    ask_about: Callable[[Snapshot], Iterable[int]],
) -> Snapshot:
    """Return a snapshot of *kinds*.

    *deadline* in seconds overrides the policy's. *ask_about* is given the snapshot and returns
    the rows of the ``sem`` table whose single semaphores the kernel is to be asked about: with
    tens of thousands of sets that is done only where it decides something. Raise
    UndeterminedError when there is no /proc to look at.
    """
    began = time.monotonic()
    limit = began + (policy["scan", "deadline"] if deadline is None else deadline)
    try:
        uptime = host.read_uptime(roots.proc)
    except (OSError, ValueError) as error:
        raise UndeterminedError("/proc/uptime cannot be read (%s): is /proc mounted?" % error) from error
    now = time.time()
    namespace = host.read_namespace(roots.proc)
    machine = host.read_host(roots.proc)
    gaps: List[Gap] = []
    own_mounts = _own_mounts(roots, gaps)
    values, missing = limits.read_limits(roots.proc, tuple(kinds))
    gaps += missing

    tables: Dict[str, Table] = {}
    for kind in SYSV_KINDS:
        if kind in kinds:
            table, missing = sysvipc.read_table(roots.proc, kernel, kind)
            gaps += missing
            if table is not None:
                tables[kind] = table
    place: Optional[ShmMount] = None
    known_files: List[Table] = []
    if not set(kinds).isdisjoint(FILE_KINDS):
        files, place, missing = devshm.read_devshm(roots, own_mounts)
        gaps += [gap for gap in missing if gap.kind is None or gap.kind in kinds]
        tables.update({kind: table for kind, table in files.items() if kind in kinds})
        known_files += files.values()
    queues = mqueue.Queues(None, None, None, [])
    if "posix-mq" in kinds:
        queues = mqueue.read_queues(kernel, own_mounts, namespace, notify=policy["scan", "mq_notify"])
        gaps += queues.gaps
        if queues.table is not None:
            tables["posix-mq"] = queues.table
            known_files.append(queues.table)

    wanted = _wanted(policy, tables, place, queues, known_files)
    scanned, missing = processes.read_processes(
        roots, kernel, wanted, (namespace, own_mounts, now - uptime), limit, machine.arch
    )
    gaps += missing
    uids, gids = _ids(tables.values())
    snapshot = Snapshot(
        host=machine,
        now=now,
        uptime=uptime,
        seconds=0.0,
        privileged=fs.is_root(),
        namespace=namespace,
        kinds=tuple(kinds),
        tables=tables,
        limits=values,
        processes=scanned,
        semaphores={},
        shm_mount=place,
        mqueue_mounted=queues.mounted,
        users=users.read_users(uids),
        groups=users.read_groups(gids),
        members=users.read_members(policy.groups),
        strangers=users.read_strangers(policy.people),
        gaps=tuple(gaps),
    )
    semaphores: Dict[int, Semaphores] = {}
    if "sem" in tables:
        semaphores, gone = _ask(kernel, tables["sem"], ask_about(snapshot), limit, gaps)
        if gone:
            tables["sem"] = _without(tables["sem"], gone)
    return snapshot._replace(semaphores=semaphores, gaps=tuple(gaps), seconds=time.monotonic() - began)


def _own_mounts(roots: Roots, gaps: List[Gap]) -> List[mounts.Mount]:
    try:
        return mounts.parse_mountinfo(roots.proc.read("self/mountinfo"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        gaps.append(Gap(Evidence.MOUNT, "/proc/self/mountinfo", why))
        return []


def _wanted(
    policy: Policy,
    tables: Dict[str, Table],
    place: Optional[ShmMount],
    queues: mqueue.Queues,
    known_files: Sequence[Table],
) -> processes.Wanted:
    """Return what is worth reading of each process, given what exists."""
    visible = sum(sum(table["blocks"]) for table in known_files if "blocks" in table)
    count = sum(len(table) for table in known_files if table.kind in FILE_KINDS)
    files = place is not None and (count > 0 or place.used > visible)
    names = policy["scan", "unreadable_ok"]
    return processes.Wanted(
        shm_ids="shm" in tables and any(tables["shm"]["nattch"]),
        shm_dev=place.dev if place is not None and files else None,
        mqueue_dev=queues.dev,
        known={
            (dev, ino): path
            for table in known_files
            for dev, ino, path in zip(table["dev"], table["ino"], table["path"])
        },
        queue_limits=queues.table is not None and len(queues.table) > 0,
        threads=any(len(tables[kind]) for kind in ("sem", "msg", "posix-mq") if kind in tables),
        units=policy.uses_units,
        unreadable_ok=frozenset(names) | users.read_uids(names),
    )


def _ids(tables: Iterable[Table]) -> Tuple[Set[int], Set[int]]:
    uids: Set[int] = set()
    gids: Set[int] = set()
    for table in tables:
        for name, ids in (("uid", uids), ("cuid", uids), ("gid", gids), ("cgid", gids)):
            if name in table:
                ids.update(table[name])
    return uids, gids


def _ask(
    kernel: Kernel, table: Table, rows: Iterable[int], limit: float, gaps: List[Gap]
) -> Tuple[Dict[int, Semaphores], Set[int]]:
    """Ask the kernel about the semaphores of some sets, until the deadline; return also the rows that are gone."""
    answers: Dict[int, Semaphores] = {}
    gone: Set[int] = set()
    for row in rows:
        semid = table["id"][row]
        if time.monotonic() > limit:
            why = "the deadline of the scan was reached before it"
            gaps.append(Gap(Evidence.SEMAPHORES, "semaphores of sets", why, kind="sem"))
            break
        try:
            answers[semid] = kernel.semaphores(semid, table["nsems"][row])
        except OSError as error:
            if error.errno in _REMOVED:
                gone.add(row)
                continue
            why = error.strerror or str(error)
            gaps.append(Gap(Evidence.SEMAPHORES, "semaphores of sem:%d" % semid, why, kind="sem", object_id=semid))
    return answers, gone


def _without(table: Table, gone: Set[int]) -> Table:
    """Return a table without the rows that were removed since it was read."""
    kept = [row for row in range(len(table)) if row not in gone]
    return Table(table.kind, {name: table.pick(name, kept) for name in table.columns})
