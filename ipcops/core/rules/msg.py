"""Rules about System V message queues."""

from __future__ import annotations

from typing import Dict, Iterator, List

from ..model import FindingGroup, Table
from ..verdicts import msg as verdict
from ..verdicts.case import ALIVE, Case
from .base import leaks, messages, mode_rows, near_slots, open_to_others, rule, steady

KIND = "msg"


def _fill(table: Table, row: int) -> float:
    """Return how full a queue is: by bytes or by messages, both of which qbytes bounds (ipc/msg.c)."""
    most = table["qbytes"][row]
    return float(max(table["cbytes"][row], table["qnum"][row])) / most if most else 0.0


@rule(
    id="MSG-001",
    topic="backlog",
    title="Queue near its capacity",
    kind=KIND,
    severity="high",
    samples=2,
    rationale="When a queue is full, senders block or fail with EAGAIN, and what stands behind them stops.",
    decides="Bytes or messages (qbytes bounds both) from near_limit of qbytes on: medium; from at_limit on: high,"
    " but medium while the last receiver lives or a thread is blocked receiving. One look can catch a moment:"
    " with one sample it is a suspicion, with --samples 2 it must hold in each and is certain.",
    remedy="Revive the consumer; a larger qbytes only delays it.",
    source="msgop(2), ipc/msg.c (do_msgsnd)",
)
def near_capacity(case: Case) -> Iterator[FindingGroup]:
    """Yield queues that are nearly full."""
    table = case.table(KIND)
    if table is None or not any(table["qnum"]):
        return
    near, at = case.policy["audit", "near_limit"], case.policy["audit", "at_limit"]
    rows = [row for row, count in enumerate(table["qnum"]) if count and _fill(table, row) >= near]
    for earlier in case.earlier:
        other = earlier.tables.get(KIND)
        where = {msqid: row for row, msqid in enumerate(other["id"])} if other is not None else {}
        rows = [
            row
            for row in rows
            if other is not None and table["id"][row] in where and _fill(other, where[table["id"][row]]) >= near
        ]
    confidence = "certain" if case.earlier else "suspect"
    hint = "" if case.earlier else " (one look; --samples 2 tells whether it stays)"
    graded: Dict[str, List[int]] = {"high": [], "medium": []}
    for row in rows:
        graded["high" if _fill(table, row) >= at and not _has_reader(case, table, row) else "medium"].append(row)
    for severity, members in graded.items():
        yield FindingGroup(
            severity=severity,
            confidence=confidence,
            table=table,
            rows=members,
            columns=("cbytes", "qnum", "qbytes", "lrpid"),
            fields={"fill": ["%d %%" % (100 * _fill(table, row)) for row in members]},
            reason="it is {fill} full: {cbytes} bytes in {qnum} messages, of {qbytes} (bytes or messages)" + hint,
            remedy="see who should receive (ipcops show msg:{id}) and revive it",
        )


def _has_reader(case: Case, table: Table, row: int) -> bool:
    blocked = case.snapshot.processes.blocked.get((KIND, table["id"][row]), ())
    if any(waiter.call == "msgrcv" for waiter in blocked):
        return True
    return bool(table["rtime"][row]) and case.identity(table["lrpid"][row], table["rtime"][row]) == ALIVE


@rule(
    id="MSG-004",
    topic="leak",
    title="Abandoned queue",
    kind=KIND,
    severity="medium",
    rationale="A queue outlives its programs; one that nobody reads keeps kernel memory and a slot of msgmni, and"
    " what is in it is somebody's undelivered data.",
    decides="No thread is blocked on it (every thread's system call was seen), the last sender and receiver are"
    " gone, nobody whom its mode admits runs, and its newest use is older than orphan_age. Queues have no"
    " reference count, so this is never certain. High when messages are in it: they would be lost.",
    remedy="Messages first: let its program drain it. Then ipcrm -q ID.",
    source="msgctl(2), ipc/msg.c",
)
def abandoned(case: Case) -> Iterator[FindingGroup]:
    """Yield queues that nobody will come back for."""
    rows = steady(case, KIND, verdict.candidates(case), ("qnum", "stime", "rtime", "ctime"))
    found = leaks(case, KIND, rows)
    if found is None:
        return
    table = found.table

    def remedy(row: int) -> str:
        if table["qnum"][row]:
            return "%s would be lost: have its program drain it; then ipcrm -q %d" % (
                messages(table["qnum"][row]), table["id"][row],
            )  # fmt: skip
        return "ipcrm -q %d" % table["id"][row]

    yield from found.groups(
        case,
        remedy=remedy,
        columns=("qnum", "cbytes", "lspid", "lrpid"),
        severity=lambda row: "high" if table["qnum"][row] else "medium",  # a message may have no bytes
    )


@rule(
    id="MSG-005",
    topic="exposure",
    title="Queue open to everyone",
    kind=KIND,
    severity="high",
    rationale="Any user can send messages to, or take messages from, programs that trust their queue.",
    decides="Mode bit 0002: high. Mode bit 0004 alone (receiving takes messages away): medium.",
    remedy="Have the program create it with 0600 or 0660 (the flags of msgget), and restart it.",
    source="msgget(2), svipc(7)",
)
def open_to_all(case: Case) -> Iterator[FindingGroup]:
    """Yield queues with bits for others."""
    table = case.table(KIND)
    for severity, rows, what in (
        ("high", mode_rows(table, 0o002), "send to it"),
        ("medium", mode_rows(table, 0o004, 0o002), "take messages from it"),
    ):
        if rows:
            yield open_to_others(table, rows, severity, what, "qnum")


@rule(
    id="MSG-006",
    topic="limit",
    title="Queues near kernel.msgmni",
    kind=KIND,
    severity="high",
    rationale='At the limit the next msgget(2) fails with ENOSPC, which reads "No space left on device".',
    decides="Queues in this namespace against kernel.msgmni: medium from near_limit, high from at_limit.",
    remedy="Find who leaks queues, or raise kernel.msgmni (at most 32768).",
    source="msgget(2), ipc/msg.c (newque)",
)
def near_msgmni(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when the namespace is short of queue slots."""
    yield from near_slots(case, KIND, "kernel.msgmni", "queues")


@rule(
    id="MSG-007",
    topic="setting",
    title="Queue kept an old size",
    kind=KIND,
    severity="info",
    rationale="kernel.msgmnb is copied when a queue is made; raising it later changes no queue that exists.",
    decides="qbytes of the queue is below kernel.msgmnb. Programs may also have lowered it on purpose.",
    remedy="Restart its program so that the queue is made anew.",
    source="msgget(2), ipc/msg.c (newque)",
)
def old_size(case: Case) -> Iterator[FindingGroup]:
    """Yield queues smaller than what a new one would get."""
    table, limit = case.table(KIND), case.snapshot.limits.get("kernel.msgmnb")
    if table is None or limit is None:
        return
    if not any(most is not None and most < limit for most in set(table["qbytes"])):
        return
    rows = [row for row, most in enumerate(table["qbytes"]) if most is not None and most < limit]
    if rows:
        yield FindingGroup(
            confidence="certain",
            table=table,
            rows=rows,
            columns=("qbytes",),
            evidence={"msgmnb": limit},
            reason="its capacity is {qbytes} bytes, a new queue would get %d" % limit,
            remedy="have its program make the queue anew",
        )


RULES = (near_capacity, abandoned, open_to_all, near_msgmni, old_size)
