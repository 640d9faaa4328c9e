"""Rules about file locks."""

from __future__ import annotations

from typing import Iterator

from ..model import FindingGroup
from ..verdicts.case import Case
from .base import rule

KIND = "lock"


@rule(
    id="LOCK-003",
    topic="blind",
    title="Not every file lock can be seen from here",
    kind=KIND,
    severity="info",
    rationale="/proc/locks leaves out what was locked by a process that has no number in the reader's PID namespace,"
    " or has ended, and whoever waits for that. So no lock and no waiter here does not mean that there is none.",
    decides="This is not the initial PID namespace.",
    remedy="Run ipcops on the host itself.",
    source="fs/locks.c (locks_show)",
)
def blind(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding inside a PID namespace."""
    snapshot = case.snapshot
    if not snapshot.host.initial_pid_namespace and not snapshot.place.other:
        yield FindingGroup(
            confidence="certain",
            reason="in this PID namespace /proc/locks leaves out locks of processes that are outside or have ended",
            remedy="run ipcops on the host itself to see every lock",
        )


RULES = (blind,)
