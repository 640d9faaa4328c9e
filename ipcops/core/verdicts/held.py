"""File locks: what the kernel lists is held, if not always by whom it names.

The number in /proc/locks is the process that took the lock. A lock of flock(2) or of an open file
description belongs to the open file, which children inherit, so its taker may be long gone;
fdinfo tells who has it (proc_pid_fdinfo(5)).
"""

from __future__ import annotations

from typing import List, Sequence

from ..model import Table, Verdict
from .case import Case, some


def judge(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row of ``lock``."""
    table = case.snapshot.tables["lock"]
    return [_one(case, table, row) for row in rows]


def _one(case: Case, table: Table, row: int) -> Verdict:
    holders = {process.pid: process for process, _ in table["holders"][row]}
    taker = table["pid"][row]
    if holders:
        reasons = ["held by %s" % some(tuple(holders.values()))]
        if taker > 0 and taker not in holders:
            reasons.append("taken by %s" % case.process(taker))
    elif taker > 0:
        reasons = ["taken by %s; who has it now could not be seen" % case.process(taker)]
    else:
        reasons = ["an open file has it; in which process could not be seen"]
    waiters = table["waiters"][row]
    if waiters:
        named = [case.process(pid) for pid in waiters if pid > 0]  # of a lock of an open file it is -1
        count = "1 thread waits for it" if len(waiters) == 1 else "%d threads wait for it" % len(waiters)
        reasons.append("%s: %s" % (count, ", ".join(named[:2])) if named else count)
    return Verdict("in-use", "certain", tuple(reasons))
