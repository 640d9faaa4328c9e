"""Rules about POSIX message queues."""

from __future__ import annotations

from typing import Iterator

from ..model import FindingGroup, Table
from ..queuecost import owners_cost
from ..verdicts import mqueue as verdict
from ..verdicts.case import Case
from .base import leaks, messages, mode_rows, most_by, near_limit, on_file, owners, percent, rule, size, steady

KIND = "posix-mq"
PLACE = "/dev/mqueue"


def _remove(case: Case, table: Table, row: int) -> str:
    first = "" if case.snapshot.mqueue_mounted else "mkdir -p /dev/mqueue; mount -t mqueue none /dev/mqueue; "
    return first + on_file("rm", PLACE, table, row)


@rule(
    id="MQ-001",
    topic="backlog",
    title="POSIX queue near its capacity",
    kind=KIND,
    severity="high",
    samples=2,
    rationale="When a queue is full, senders block or fail with EAGAIN, and what stands behind them stops.",
    decides="Messages from at_limit of mq_maxmsg on. One look can catch a moment: with one sample it is a"
    " suspicion, with --samples 2 it must hold in each and is certain.",
    remedy="Revive the consumer, or have the queue made with a larger mq_maxmsg.",
    source="mq_overview(7), mq_getattr(3)",
)
def near_capacity(case: Case) -> Iterator[FindingGroup]:
    """Yield queues that are nearly full."""
    table = case.table(KIND)
    if table is None:
        return
    at = case.policy["audit", "at_limit"]

    def full(one: Table, row: int) -> bool:
        return bool(one["maxmsg"][row]) and one["curmsgs"][row] >= at * one["maxmsg"][row]

    rows = [row for row in range(len(table)) if full(table, row)]
    for earlier in case.earlier:
        other = earlier.tables.get(KIND)
        where = {ino: row for row, ino in enumerate(other["ino"])} if other is not None else {}
        rows = [
            row
            for row in rows
            if other is not None and table["ino"][row] in where and full(other, where[table["ino"][row]])
        ]
    hint = "" if case.earlier else " (one look; --samples 2 tells whether it stays)"
    yield FindingGroup(
        confidence="certain" if case.earlier else "suspect",
        table=table,
        rows=rows,
        columns=("curmsgs", "maxmsg", "msgsize"),
        reason="it holds {curmsgs} of {maxmsg} messages" + hint,
        remedy="see who should receive (ipcops show posix-mq:{path}) and revive it",
    )


@rule(
    id="MQ-002",
    topic="leak",
    title="Leaked POSIX queue",
    kind=KIND,
    severity="medium",
    rationale="A queue lives until it is unlinked. What a crashed program left counts against its user's"
    " RLIMIT_MSGQUEUE and the namespace's queues_max.",
    decides="No process has it open (matched by device and inode), none of its owner runs, and its last send or"
    " receive is older than orphan_age. Never certain. High when messages are in it: they would be lost.",
    remedy="Messages first: let its program receive them. Then remove its file in /dev/mqueue.",
    source="mq_overview(7), mq_unlink(3)",
)
def leaked(case: Case) -> Iterator[FindingGroup]:
    """Yield queues that nobody will come back for."""
    found = leaks(case, KIND, steady(case, KIND, verdict.candidates(case), ("mtime", "curmsgs")))
    if found is None:
        return
    table = found.table

    def remedy(row: int) -> str:
        if table["curmsgs"][row] is None:
            return "its depth could not be read: make sure that nothing is in it; then %s" % _remove(case, table, row)
        if table["curmsgs"][row]:
            return "%s would be lost: have its program receive them; then %s" % (
                messages(table["curmsgs"][row]), _remove(case, table, row),
            )  # fmt: skip
        return _remove(case, table, row)

    yield from found.groups(
        case,
        remedy=remedy,
        columns=("curmsgs", "maxmsg", "msgsize"),
        severity=lambda row: "high" if table["curmsgs"][row] else "medium",
    )


@rule(
    id="MQ-003",
    topic="limit",
    title="RLIMIT_MSGQUEUE nearly used",
    kind=KIND,
    severity="high",
    rationale='At the limit mq_open(3) fails with EMFILE, "Too many open files", and sends people to look for'
    " descriptors. The default of 819200 bytes holds 9 queues of default size.",
    decides="The bytes that a user's queues count (payload and bookkeeping of a full queue; queues without a name"
    " that are still open included) against the least limit of that user's processes: medium from near_limit,"
    " high from at_limit. A user without processes is not judged.",
    remedy="Raise LimitMSGQUEUE= of the unit (or msgqueue in limits.conf), or remove leaked queues.",
    source="getrlimit(2), ipc/mqueue.c (mqueue_get_inode)",
)
def near_rlimit(case: Case) -> Iterator[FindingGroup]:
    """Yield users that are short of queue bytes."""
    processes = case.snapshot.processes
    for uid, used in sorted(owners_cost(case.table(KIND), processes.unlinked_queues).items()):
        limit = processes.mqueue_limits.get(uid)
        severity = near_limit(case, used, limit)
        if severity and limit:
            yield FindingGroup(
                severity=severity,
                confidence="certain",
                evidence={"uid": uid, "user": case.snapshot.users.get(uid), "used": used, "limit": limit},
                reason="the queues of %s count %s of the %s (%s) that RLIMIT_MSGQUEUE allows a process of that user"
                % (case.snapshot.user(uid), size(used), size(limit), percent(used, limit)),
                remedy="LimitMSGQUEUE=%d in the unit that makes them, after removing what is leaked" % (4 * limit),
            )


@rule(
    id="MQ-004",
    topic="limit",
    title="Queues near fs.mqueue.queues_max",
    kind=KIND,
    severity="medium",
    rationale="At the limit mq_open(3) fails with ENOSPC for everybody without CAP_SYS_RESOURCE.",
    decides="Queues in this namespace, open ones without a name included, from at_limit of fs.mqueue.queues_max on.",
    remedy="Raise fs.mqueue.queues_max, or remove leaked queues.",
    source="mq_overview(7), ipc/mqueue.c",
)
def near_queues_max(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when the namespace is short of queues."""
    table, limit = case.table(KIND), case.snapshot.limits.get("fs.mqueue.queues_max")
    if table is None or not limit:
        return
    used = len(table) + len(case.snapshot.processes.unlinked_queues)
    if near_limit(case, used, limit) == "high":
        who = owners(case, table)
        yield FindingGroup(
            confidence="certain",
            evidence={"used": used, "limit": limit, "owners": who},
            reason="%d of %d queues exist (%s); most by %s" % (used, limit, percent(used, limit), most_by(case, who)),
            remedy="sysctl -w fs.mqueue.queues_max=%d" % (2 * limit),
        )


@rule(
    id="MQ-005",
    topic="exposure",
    title="POSIX queue open to everyone",
    kind=KIND,
    severity="high",
    rationale="Any user can send messages to, or take messages from, programs that trust their queue.",
    decides="Mode bit 0002: high. Mode bit 0004 alone (receiving takes messages away): medium.",
    remedy="chmod its file in /dev/mqueue, and have the program create it with 0600 or 0660.",
    source="mq_open(3), mq_overview(7)",
)
def open_to_all(case: Case) -> Iterator[FindingGroup]:
    """Yield queues with bits for others."""
    table = case.table(KIND)
    for severity, rows, what in (
        ("high", mode_rows(table, 0o002), "send to it"),
        ("medium", mode_rows(table, 0o004, 0o002), "take messages from it"),
    ):
        if table is not None and rows:
            yield FindingGroup(
                severity=severity,
                confidence="certain",
                table=table,
                rows=rows,
                columns=("mode", "curmsgs"),
                fields={"fix": [on_file("chmod o-rwx", PLACE, table, row) for row in rows]},
                reason="its mode {mode} lets every user %s" % what,
                remedy="{fix}",
            )


@rule(
    id="MQ-006",
    topic="setting",
    title="POSIX queues are out of sight",
    kind=KIND,
    severity="info",
    rationale="Without a mount of the mqueue file system nobody but root can list queues, and no usual tool shows"
    " that the limit is being used up.",
    decides="No mount of this namespace's queues is in our mount table, while the namespace has queues.",
    remedy="mkdir -p /dev/mqueue; mount -t mqueue none /dev/mqueue (systemd: dev-mqueue.mount)",
    source="mq_overview(7)",
)
def not_mounted(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when queues exist that no mount shows."""
    table = case.table(KIND)
    if case.snapshot.mqueue_mounted is False and table is not None and len(table):
        yield FindingGroup(
            confidence="certain",
            evidence={"queues": len(table)},
            reason="%d POSIX queue%s here, and no mqueue file system is mounted to show them"
            % (len(table), " is" if len(table) == 1 else "s are"),
            remedy="mkdir -p /dev/mqueue; mount -t mqueue none /dev/mqueue",
        )


RULES = (near_capacity, leaked, near_rlimit, near_queues_max, open_to_all, not_mounted)
