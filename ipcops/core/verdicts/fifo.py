"""FIFOs and pipes: in use while any process has an end of one, or waits to open one.

Opening a FIFO blocks until the other end is opened, and who waits there has no descriptor of it
yet (fifo(7)): without a look at every thread nothing says that a FIFO is unused. One is made to
be found again, so none is ever an orphan. A pipe has no name and goes with its last descriptor.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

from ..model import End, Evidence, Gap, Process, Table, Verdict
from ..policy import idiom
from .case import AGELESS, Case, duration, missing, some


def newest_use(table: Table, row: int) -> int:
    """Return the newest evidence of use of a FIFO: its last read, write or change."""
    return int(max(table["atime"][row], table["mtime"][row], table["ctime"][row]))


def judge_fifo(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row of ``fifo``."""
    table, gaps = case.snapshot.tables["fifo"], case.unseen(Evidence.DESCRIPTORS, Evidence.BLOCKED, kind="fifo")
    return [_fifo(case, table, row, gaps) for row in rows]


def _fifo(case: Case, table: Table, row: int, gaps: List[Gap]) -> Verdict:
    identity = (table["dev"][row], table["ino"][row])
    ends = case.snapshot.processes.ends.get(("fifo", identity), ())
    blocked = case.blocked_on("fifo", identity)
    if ends or blocked is not None:
        words = _parties(ends, whole=_whole(case, gaps)) if ends else ()
        return Verdict("in-use", "certain", (*words, *(blocked.reasons if blocked is not None else ())))
    if gaps:
        seen = "nobody was seen to have it open or to wait for that, but not every one could be looked into"
        return Verdict("unknown", "suspect", (seen, missing(gaps)))
    if not case.snapshot.host.initial_pid_namespace:
        return Verdict("unknown", "suspect", ("who has it open outside this PID namespace cannot be seen",))
    unused = "no process has it open, and none waits to open it"
    known_good = idiom("fifo", table["path"][row])
    if known_good:
        return Verdict("idle", "strong", (unused, known_good))
    age = case.age(newest_use(table, row))
    since = "last used before the boot" if age == AGELESS else "last used %s ago" % duration(age)
    return Verdict("idle", "strong", (unused, since))


def judge_pipe(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row of ``pipe``."""
    table, gaps = case.snapshot.tables["pipe"], case.unseen(Evidence.DESCRIPTORS)
    return [_pipe(case, table["id"][row], gaps) for row in rows]


def _pipe(case: Case, pipe: int, gaps: List[Gap]) -> Verdict:
    ends = case.snapshot.processes.ends.get(("pipe", pipe), ())
    words = _parties(ends, whole=_whole(case, gaps)) if ends else ("held by processes that could not be seen",)
    blocked = case.blocked_on("pipe", pipe)
    return Verdict("in-use", "certain", (*words, *(blocked.reasons if blocked is not None else ())))


def _whole(case: Case, gaps: Sequence[Gap]) -> bool:
    return not gaps and case.snapshot.host.initial_pid_namespace


def _parties(ends: Sequence[End], *, whole: bool) -> Tuple[str, ...]:
    """Return who reads and who writes, in words; *whole*: all who may have an end were looked into."""
    readers = _processes([end for end in ends if end.reads])
    writers = _processes([end for end in ends if end.writes])
    if not readers and not writers:  # opened with O_PATH
        return ("open in %s" % some(_processes(ends)),)
    return _party("reader", "reads", readers, whole=whole), _party("writer", "writes", writers, whole=whole)


def _processes(ends: Sequence[End]) -> Tuple[Process, ...]:
    return tuple({end.process.pid: end.process for end in ends}.values())


def _party(role: str, does: str, processes: Sequence[Process], *, whole: bool) -> str:
    if not processes:
        return "nobody %s" % does if whole else "no %s was seen" % role
    if len(processes) == 1:
        return "1 %s: %s" % (role, some(processes))
    return some(processes).replace("processes", role + "s", 1)
