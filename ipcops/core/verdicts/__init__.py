"""What is true of each object, and why: one file per kind, pure.

Whatever cannot be proven is ``unknown``; see rules 1 to 8 under "Safety" in docs/safety.md.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence

from ..model import Verdict
from . import devshm, fifo, held, mqueue, msg, sem, shm, sockets
from .case import Case

__all__ = ["JUDGES", "Case", "judge"]

JUDGES: Dict[str, Callable[[Case, Sequence[int]], List[Verdict]]] = {
    "shm": shm.judge,
    "sem": sem.judge,
    "msg": msg.judge,
    "posix-shm": devshm.judge_shm,
    "posix-sem": devshm.judge_sem,
    "posix-mq": mqueue.judge,
    "fifo": fifo.judge_fifo,
    "pipe": fifo.judge_pipe,
    "unix": sockets.judge_unix,
    "inet": sockets.judge_inet,
    "lock": held.judge,
}


def judge(case: Case, kind: str, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each of the given rows of a kind's table."""
    return JUDGES[kind](case, rows)
