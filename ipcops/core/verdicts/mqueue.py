"""POSIX message queues: in use while any process has one open.

A process that asked for a notification has the queue open too: closing it takes the request
back (ipc/mqueue.c, mqueue_flush_file). Reading changes atime and ctime, so age is mtime's.
"""

from __future__ import annotations

from typing import List, Sequence

from ..model import Evidence, Gap, Table, Verdict
from .case import Case, duration, missing, only_processes, some

KIND = "posix-mq"


def candidates(case: Case) -> List[int]:
    """Return the rows without a holder that are old enough to be orphans."""
    table = case.table(KIND)
    if table is None:
        return []
    cutoff, holding = case.cutoff(case.orphan_age), case.snapshot.processes.holding
    return [
        row
        for row in range(len(table))
        if table["mtime"][row] <= cutoff and (table["dev"][row], table["ino"][row]) not in holding
    ]


def judge(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row."""
    gaps = case.unseen(Evidence.DESCRIPTORS)
    table = case.snapshot.tables[KIND]
    return [_one(case, table, row, gaps) for row in rows]


def _one(case: Case, table: Table, row: int, gaps: List[Gap]) -> Verdict:
    holders = case.snapshot.processes.holding.get((table["dev"][row], table["ino"][row]))
    if holders:
        return Verdict("in-use", "certain", ("open in %s" % some(holders),))
    if table["notify_pid"][row]:
        return Verdict("in-use", "certain", ("it notifies %s" % case.process(table["notify_pid"][row]),))
    presence = case.presence((table["uid"][row],))
    age = case.age(table["mtime"][row])
    old = age >= case.orphan_age
    if gaps:
        words = "no process was seen to have it open, but not every one could be looked into"
        suspected = only_processes(gaps) and (presence.state == "none" or presence.suspected) and old
        return Verdict("unknown", "suspect", (words, missing(gaps), presence.words), suspected)
    unused = "no process has it open"
    kept = case.kept(unused, presence, age)
    if kept is not None:
        return kept
    return Verdict("orphan", "strong", (unused, presence.words, "unused for %s" % duration(age)))
