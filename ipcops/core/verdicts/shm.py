"""System V segments: the attach count is the kernel's own truth, the rest tells who will come back.

An orphan has no attachment, a creator and a last user that are gone, an owner without any
process, and age. The kernel itself calls a segment orphaned by "no attachment and creator
gone" (ipc/shm.c, shm_try_destroy_orphaned), but it knows the creator and we know a number.
"""

from __future__ import annotations

from typing import List, Optional, Sequence

from ..model import SHM_DEST, Verdict
from .case import ALIVE, FOREIGN, REUSED, UNKNOWN, Case, duration, some


def newest_use(case: Case, row: int) -> int:
    """Return the newest evidence of use: attach, detach, change."""
    table = case.snapshot.tables["shm"]
    return int(max(table["atime"][row], table["dtime"][row], table["ctime"][row]))


def candidates(case: Case) -> List[int]:
    """Return the rows that nobody has attached and that are old enough to be orphans."""
    table = case.table("shm")
    if table is None:
        return []
    cutoff = case.cutoff(case.orphan_age)
    columns = zip(table["nattch"], table["atime"], table["dtime"], table["ctime"])
    return [
        row
        for row, (nattch, atime, dtime, ctime) in enumerate(columns)
        if nattch == 0 and atime <= cutoff and dtime <= cutoff and ctime <= cutoff
    ]


def judge(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row."""
    return [_one(case, row) for row in rows]


def _one(case: Case, row: int) -> Verdict:
    table = case.snapshot.tables["shm"]
    nattch = table["nattch"][row]
    if nattch:
        return _attached(case, table["id"][row], nattch, table["mode"][row])
    age = case.age(newest_use(case, row))
    unused = "nobody has it attached"
    creator = _person(case, "creator", table["cpid"][row], table["ctime"][row])
    last_used = max(table["atime"][row], table["dtime"][row])
    last: Optional[Verdict] = None
    if last_used:  # never attached: then there is no last process, and 0 means just that
        last = _person(case, "last user", table["lpid"][row], last_used)
    for person in (creator, last):
        if person is not None and person.word == "idle":
            return Verdict("idle", "strong", (unused, *person.reasons))
    presence = case.presence((table["uid"][row], table["cuid"][row]))
    if presence.state == ALIVE:
        return Verdict("idle", "strong", (unused, presence.words))
    for person in (creator, last):
        if person is not None and person.word == "unknown":
            return Verdict("unknown", "suspect", (unused, *person.reasons))
    kept = case.kept(unused, presence, age)
    if kept is not None:
        return kept
    gone = creator.reasons + (last.reasons if last is not None else ("it was never attached",))
    if last is not None and table["cpid"][row] == table["lpid"][row]:
        gone = tuple(words.replace("its creator,", "its creator and last user,") for words in creator.reasons)
    return Verdict("orphan", "certain", (unused, *gone, presence.words, "unused for %s" % duration(age)))


def _attached(case: Case, segment: int, nattch: int, mode: int) -> Verdict:
    holders = case.snapshot.processes.attached.get(segment, ())
    times = "attached once" if nattch == 1 else "attached %d times" % nattch
    by = " by %s" % some(holders) if holders else ", by processes that could not be seen"
    reasons = [times + by]
    if mode & SHM_DEST:
        reasons.append("already removed; it goes away at the last detach")
    return Verdict("in-use", "certain", tuple(reasons))


def _person(case: Case, role: str, pid: int, newest: int) -> Verdict:
    """Return what a creator or last user says: a verdict of its own that the caller weighs."""
    state = case.identity(pid, newest)
    if state == ALIVE:
        return Verdict("idle", "strong", ("its %s, %s, still runs" % (role, case.process(pid)),))
    if state == FOREIGN:
        return Verdict("unknown", "suspect", ("its %s is in another PID namespace" % role,))
    if state == UNKNOWN:
        return Verdict("unknown", "suspect", ("whether its %s, pid %d, still runs could not be seen" % (role, pid),))
    if state == REUSED:
        words = "its %s, pid %d, is gone (the number now belongs to a younger process)" % (role, pid)
        return Verdict("orphan", "certain", (words,))
    return Verdict("orphan", "certain", ("its %s, pid %d, is gone" % (role, pid),))
