"""Files of /dev/shm: POSIX shared memory and named semaphores.

In use: any process has the inode mapped or open. "Nobody" needs every process to have been
looked into. Without a holder a file may still be wanted (podman's lock table, a cache that is
loaded again), so only a name of a known family is an orphan for certain.
"""

from __future__ import annotations

from typing import List, Sequence

from ..known.families import family_of, named_pid
from ..model import Evidence, Gap, Table, Verdict
from ..policy import idiom
from .case import ALIVE, Case, duration, missing, only_processes, some


def newest_use(table: Table, row: int) -> int:
    """Return the newest evidence of use: read, write or change; a mapping in use leaves none."""
    return int(max(table["atime"][row], table["mtime"][row], table["ctime"][row]))


def candidates(case: Case, kind: str) -> List[int]:
    """Return the rows without a holder that are old enough to be orphans."""
    table = case.table(kind)
    if table is None:
        return []
    cutoff, holding = case.cutoff(case.orphan_age), case.snapshot.processes.holding
    return [
        row
        for row in range(len(table))
        if newest_use(table, row) <= cutoff and (table["dev"][row], table["ino"][row]) not in holding
    ]


def judge_shm(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row of ``posix-shm``."""
    return _judge(case, "posix-shm", rows)


def judge_sem(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row of ``posix-sem``."""
    return _judge(case, "posix-sem", rows)


def _judge(case: Case, kind: str, rows: Sequence[int]) -> List[Verdict]:
    gaps = case.unseen(Evidence.MAPS, Evidence.DESCRIPTORS)
    table = case.snapshot.tables[kind]
    return [_one(case, table, row, gaps) for row in rows]


def _one(case: Case, table: Table, row: int, gaps: List[Gap]) -> Verdict:
    holders = case.snapshot.processes.holding.get((table["dev"][row], table["ino"][row]))
    if holders:
        return Verdict("in-use", "certain", ("mapped or open in %s" % some(holders),))
    path, age = table["path"][row], case.age(newest_use(table, row))
    old = age >= case.orphan_age
    known_good = idiom(table.kind, path)
    if known_good:
        return Verdict("idle", "strong", ("no process holds it", known_good))
    presence = case.presence((table["uid"][row],))
    family = family_of(path)
    pid = named_pid(path)
    abandoned = pid is not None and case.named_gone(pid, newest_use(table, row))
    if gaps:
        words = "no process was seen to hold it, but not every one could be looked into"
        gone = presence.state == "none" or presence.suspected or abandoned
        suspected = only_processes(gaps) and gone and old
        return Verdict("unknown", "suspect", (words, missing(gaps), presence.words), suspected)
    unused = "no process has it mapped or open"
    kept = case.kept(unused, presence, age)
    if kept is not None and not (abandoned and old and presence.state == ALIVE):
        return kept
    reasons = [unused, presence.words]
    if abandoned:
        reasons.append("pid %d, which its name carries, is gone" % (pid or 0))
    if family is not None:
        reasons.append("such files belong to one run of %s" % family.maker)
    reasons.append("unused for %s" % duration(age))
    certain = family is not None and presence.state != ALIVE and table.kind == "posix-shm"
    return Verdict("orphan", "certain" if certain else "strong", tuple(reasons))
