"""What is true of each object, and why: one file per kind, pure.

Whatever cannot be proven is ``unknown``; see rules 1 to 8 under "Safety" in docs/safety.md.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, Dict, List, Sequence, Tuple

from ..model import Verdict
from .case import Case

__all__ = ["JUDGES", "Case", "judge"]

JUDGES: Dict[str, Tuple[str, str]] = {
    "shm": ("shm", "judge"),
    "sem": ("sem", "judge"),
    "msg": ("msg", "judge"),
    "posix-shm": ("devshm", "judge_shm"),
    "posix-sem": ("devshm", "judge_sem"),
    "posix-mq": ("mqueue", "judge"),
    "fifo": ("fifo", "judge_fifo"),
    "pipe": ("fifo", "judge_pipe"),
    "unix": ("sockets", "judge_unix"),
    "inet": ("sockets", "judge_inet"),
    "lock": ("held", "judge"),
}
"""Kind to the file here, and the function in it, that judges its objects: only that file is loaded."""


def judge(case: Case, kind: str, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each of the given rows of a kind's table."""
    if not rows:
        return []
    verdicts: List[Verdict] = _judge_of(kind)(case, rows)
    return verdicts


@functools.cache
def _judge_of(kind: str) -> Any:
    file, function = JUDGES[kind]
    return getattr(importlib.import_module("." + file, __name__), function)
