"""System V semaphore sets: no reference count exists, so an orphan is at most ``strong``.

In use: a thread waits (GETNCNT, GETZCNT), or the last process that operated a semaphore lives.
Otherwise everybody whom the mode admits must be gone. ``otime`` 0 proves nothing: live Apache
mutexes stay that way.
"""

from __future__ import annotations

from typing import List, Optional, Sequence

from ..model import Evidence, Semaphores, Verdict
from .case import ALIVE, UNKNOWN, Case, Presence, duration, missing

KIND = "sem"


def candidates(case: Case) -> List[int]:
    """Return the rows old enough to be orphans, whose admitted users all seem to be gone."""
    table = case.table(KIND)
    if table is None:
        return []
    cutoff = case.cutoff(case.orphan_age)
    if not len(table) or min(table["ctime"]) > cutoff:
        return []  # as on most hosts with many: all of them young
    columns = zip(table["otime"], table["ctime"])
    old = [row for row, (otime, ctime) in enumerate(columns) if otime <= cutoff and ctime <= cutoff]
    return [row for row in old if admitted(case, KIND, row).state != ALIVE]


def admitted(case: Case, kind: str, row: int) -> Presence:
    """Return whether anybody runs whom the object's mode lets use it: owner, creator, group, all.

    Root may use everything, whatever the mode; it is not counted, or nothing would ever be
    abandoned, unless it is the owner.
    """
    table = case.snapshot.tables[kind]
    mode = table["mode"][row]
    gids = (table["gid"][row], table["cgid"][row]) if mode & 0o060 else ()
    return case.presence((table["uid"][row], table["cuid"][row]), gids, everybody=bool(mode & 0o006))


def judge(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row."""
    return [_one(case, row) for row in rows]


def _one(case: Case, row: int) -> Verdict:
    table = case.snapshot.tables[KIND]
    semid = table["id"][row]
    blocked = case.blocked_on(KIND, semid)
    if blocked is not None:
        return blocked
    semaphores = case.snapshot.semaphores.get(semid)
    newest = max(table["otime"][row], table["ctime"][row])
    if semaphores is not None:
        used = _in_use(case, semaphores, newest)
        if used is not None:
            return used
    presence = admitted(case, KIND, row)
    if semaphores is None:
        gap = case.object_gap(Evidence.SEMAPHORES, KIND, semid)
        why = missing([gap]) if gap else "nobody asked the kernel"
        return Verdict("unknown", "suspect", ("whether a thread waits for it could not be seen", why))
    quiet = "no thread waits for it"
    if presence.state == ALIVE:
        return Verdict("idle", "strong", (quiet, presence.words))
    if any(pid and case.identity(pid, newest) == UNKNOWN for pid in set(semaphores.pids)):
        words = "whether the last process that operated it runs could not be seen"
        return Verdict("unknown", "suspect", (quiet, words))
    age = case.age(newest)
    kept = case.kept(quiet, presence, age)
    if kept is not None:
        return kept
    last = sorted({pid for pid in semaphores.pids if pid})
    gone = "it was never operated" if not last else "the last to operate it, pid %d, is gone" % last[-1]
    return Verdict("orphan", "strong", (quiet, gone, presence.words, "unused for %s" % duration(age)))


def _in_use(case: Case, semaphores: Semaphores, newest: int) -> Optional[Verdict]:
    waiting = sum(semaphores.ncnt) + sum(semaphores.zcnt)
    if waiting:
        words = "a thread waits for it" if waiting == 1 else "%d threads wait for it" % waiting
        return Verdict("in-use", "certain", (words,))
    for pid in sorted(set(semaphores.pids)):
        if pid and case.identity(pid, newest) == ALIVE:
            return Verdict("in-use", "strong", ("last operated by %s, which still runs" % case.process(pid),))
    return None
