"""System V message queues: no reference count, and a blocked receiver is in no table.

A process blocked in msgrcv(2) on an empty queue leaves no number in the queue at all, so an
orphan needs every thread's system call to have been seen. It is at most ``strong``.
"""

from __future__ import annotations

from typing import List, Sequence

from ..model import Evidence, Gap, Verdict
from .case import ALIVE, FOREIGN, UNKNOWN, Case, duration, missing, only_processes
from .sem import admitted

KIND = "msg"


def candidates(case: Case) -> List[int]:
    """Return the rows old enough to be orphans, whose admitted users all seem to be gone."""
    table = case.table(KIND)
    if table is None:
        return []
    cutoff = case.cutoff(case.orphan_age)
    if not len(table) or min(table["ctime"]) > cutoff:
        return []  # as on most hosts with many: all of them young
    columns = zip(table["stime"], table["rtime"], table["ctime"])
    old = [
        row
        for row, (stime, rtime, ctime) in enumerate(columns)
        if stime <= cutoff and rtime <= cutoff and ctime <= cutoff
    ]
    return [row for row in old if admitted(case, KIND, row).state != ALIVE]


def judge(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row."""
    gaps = case.unseen(Evidence.BLOCKED)
    return [_one(case, row, gaps) for row in rows]


def _one(case: Case, row: int, gaps: List[Gap]) -> Verdict:
    table = case.snapshot.tables[KIND]
    msqid = table["id"][row]
    blocked = case.blocked_on(KIND, msqid)
    if blocked is not None:
        return blocked
    roles = (("sent", table["lspid"][row], table["stime"][row]), ("received", table["lrpid"][row], table["rtime"][row]))
    states = [(what, pid, case.identity(pid, at)) for what, pid, at in roles if at]
    for what, pid, state in states:
        if state == ALIVE:
            words = "%s, which last %s a message, still runs" % (case.process(pid), what)
            return Verdict("in-use", "strong", (words,))
    presence = admitted(case, KIND, row)
    age = case.age(max(table["stime"][row], table["rtime"][row], table["ctime"][row]))
    if gaps:
        words = "whether a thread is blocked on it could not be seen"
        suspected = only_processes(gaps) and case.kept(words, presence, age) is None
        if any(state in (FOREIGN, UNKNOWN) for _, _, state in states):
            suspected = False
        return Verdict("unknown", "suspect", (words, missing(gaps), presence.words), suspected)
    quiet = "no thread is blocked on it"
    if presence.state == ALIVE:
        return Verdict("idle", "strong", (quiet, presence.words))
    for what, pid, state in states:
        if state == FOREIGN:
            return Verdict("unknown", "suspect", (quiet, "who last %s a message is in another PID namespace" % what))
        if state == UNKNOWN:
            words = "whether pid %d, which last %s, runs could not be seen" % (pid, what)
            return Verdict("unknown", "suspect", (quiet, words))
    kept = case.kept(quiet, presence, age)
    if kept is not None:
        return kept
    gone = ["pid %d, which last %s, is gone" % (pid, what) for what, pid, _ in states] or ["it was never used"]
    return Verdict("orphan", "strong", (quiet, *gone, presence.words, "unused for %s" % duration(age)))
