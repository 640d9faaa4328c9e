"""File locks: what the kernel lists is held, if not always by whom it names.

The number in /proc/locks is the process that took the lock. A lock of flock(2) or of an open file
description belongs to the open file, which children inherit, so its taker may be long gone;
fdinfo tells who has it (proc_pid_fdinfo(5)).
"""

from __future__ import annotations

from typing import List, Sequence

from ..model import Table, Verdict
from .case import Case, some

_OPEN_FILE = -1
"""In the place of a process: an open file description lock (F_OFD_SETLK of fcntl_locking(2))."""


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
    elif taker == _OPEN_FILE:
        reasons = ["an open file has it; in which process could not be seen"]
    else:
        where = "outside this PID namespace" if taker == 0 else "on another machine"
        reasons = ["taken by a process %s" % where]
    waiters = table["waiters"][row]
    if waiters:
        named = [case.process(pid) for pid in waiters if pid > 0]
        count = "1 thread waits for it" if len(waiters) == 1 else "%d threads wait for it" % len(waiters)
        reasons.append("%s: %s" % (count, ", ".join(named[:2])) if named else count)
    return Verdict("in-use", "certain", tuple(reasons))
