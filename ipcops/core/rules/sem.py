"""Rules about System V semaphore sets."""

from __future__ import annotations

from typing import Iterator

from ..model import FindingGroup
from ..verdicts import sem as verdict
from ..verdicts.case import Case
from .base import (
    AT_MOST,
    leaks,
    mode_rows,
    more_slots,
    most_by,
    near_limit,
    open_to_others,
    owners,
    percent,
    rule,
    single_uid,
    steady,
)

KIND = "sem"
NEVER_USED_AGE = 600
"""Seconds: how long a set may stay without its first operation (semget(2), the notes on creation)."""


@rule(
    id="SEM-001",
    topic="leak",
    title="Abandoned semaphore set",
    kind=KIND,
    severity="medium",
    rationale="Sets outlive their programs. Apache and PHP leave some at every crash, until semget(2) fails with"
    " ENOSPC and the server does not start any more.",
    decides="No thread waits for any of its semaphores, the last process to operate each is gone, nobody whom its"
    " mode admits runs (owner, creator, its group if the mode has group bits; with bits for others nobody's"
    " absence proves anything), and its newest operation or change is older than orphan_age. Sets have no"
    " reference count, so this is never certain.",
    remedy="Ask the owner's program first; then ipcrm -s ID.",
    source="semctl(2) (GETPID, GETNCNT, GETZCNT), ipc/sem.c",
)
def abandoned(case: Case) -> Iterator[FindingGroup]:
    """Yield sets that nobody will come back for."""
    found = leaks(case, KIND, steady(case, KIND, verdict.candidates(case), ("otime", "ctime")))
    if found is not None:
        table = found.table
        yield from found.groups(
            case,
            remedy=lambda row: "ipcrm -s %d" % table["id"][row],
            columns=("nsems", "otime"),
            severity=lambda _: "medium",
        )


@rule(
    id="SEM-004",
    topic="limit",
    title="Semaphores near kernel.sem",
    kind=KIND,
    severity="high",
    rationale='At the limit the next semget(2) fails with ENOSPC, which reads "No space left on device".',
    decides="Sets against SEMMNI, and semaphores against SEMMNS or SEMMSL x SEMMNI, whichever is less: medium"
    " from near_limit, high from at_limit.",
    remedy="Find who leaks sets, or raise kernel.sem; write all four fields (SEMMSL SEMMNS SEMOPM SEMMNI).",
    source="semget(2), ipc/sem.c (newary)",
)
def near_limits(case: Case) -> Iterator[FindingGroup]:
    """Yield a finding for sets and one for semaphores, where short."""
    table, limits = case.table(KIND), case.snapshot.limits.get("kernel.sem")
    if table is None or not limits:
        return
    most = min(limits["semmns"], limits["semmsl"] * limits["semmni"])
    semaphores = sum(table["nsems"])
    for what, name, used, limit, weights in (
        ("sets", "SEMMNI", len(table), limits["semmni"], None),
        ("semaphores", "SEMMNS", semaphores, most, table["nsems"]),
    ):
        severity = near_limit(case, used, limit)
        if severity:
            who = owners(case, table, weights)
            raised = dict(limits)
            if name == "SEMMNI" or limit < limits["semmns"]:
                raised["semmni"] = more_slots(limits["semmni"])
            raised["semmns"] = max(limits["semmns"], 2 * semaphores)
            yield FindingGroup(
                severity=severity,
                confidence="certain",
                evidence={"what": what, "used": used, "limit": limit, "owners": who},
                reason="%d of %d %s (%s) exist (%s); most by %s"
                % (used, limit, what, name, percent(used, limit), most_by(case, who)),
                remedy=AT_MOST
                if raised == limits
                else 'sysctl -w kernel.sem="%(semmsl)d %(semmns)d %(semopm)d %(semmni)d", after removing'
                " what is abandoned" % raised,
            )


@rule(
    id="SEM-005",
    topic="exposure",
    title="Set alterable by everyone",
    kind=KIND,
    severity="high",
    rationale="Any user can lock or unlock what programs rely on, and so stop them or break what they guard.",
    decides="Mode bit 0002, as the kernel has it. Medium in a container where all that runs acts as one uid.",
    remedy="Have the program create it with 0600 or 0660 (the flags of semget), and restart it.",
    source="semget(2), svipc(7)",
)
def alterable(case: Case) -> Iterator[FindingGroup]:
    """Yield sets with the write bit for others."""
    table = case.table(KIND)
    rows = mode_rows(table, 0o002)
    if rows:
        yield open_to_others(table, rows, "medium" if single_uid(case) else "high", "operate it", "nsems")


@rule(
    id="SEM-006",
    topic="idle",
    title="Set created but never used",
    kind=KIND,
    severity="low",
    rationale="A set without a single operation is often what a failed start left behind.",
    decides="otime is 0 and the last change is older than 10 minutes. Some programs hold sets in reserve (Apache's"
    " mutexes stay so for weeks), hence low.",
    remedy="Look whether its program started as it should.",
    source="semget(2), notes on initialising a set",
)
def never_used(case: Case) -> Iterator[FindingGroup]:
    """Yield sets without an operation."""
    table = case.table(KIND)
    if table is None or 0 not in table["otime"]:
        return
    cutoff, booted_at = case.cutoff(NEVER_USED_AGE), case.booted_at
    if min(table["ctime"]) > cutoff:
        return
    columns = zip(table["otime"], table["ctime"])
    rows = [row for row, (otime, ctime) in enumerate(columns) if not otime and booted_at <= ctime <= cutoff]
    if rows:
        yield FindingGroup(
            confidence="certain",
            table=table,
            rows=rows,
            columns=("nsems", "ctime"),
            reason="no operation since it was set up {age} ago",
            remedy="check that its program started as it should (ipcops show sem:{id})",
        )


RULES = (abandoned, near_limits, alterable, never_used)
