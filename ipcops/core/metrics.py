"""What one look at the host says in numbers: a snapshot and its findings become the families of families.py.

Totals are the kernel's own counters where it has them, compared with the rows of its tables; the rest is
summed from the rows. What was not seen is left out, never 0.
"""

from __future__ import annotations

from collections import Counter
from itertools import compress, islice
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from . import __version__
from .families import FAMILIES, MQ_LABELS, MSG_LABELS, OTHER, PREFIX
from .layout import printable
from .model import REMOVABLE_KINDS, SYSV_KINDS, Counted, Evidence, FindingGroup, Report, Table
from .queuecost import owners_cost
from .tally import sums
from .verdicts import Case

METRICS_SCHEMA = "ipcops.metrics/1"

Samples = Dict[Tuple[str, ...], Any]
"""Label values to the number."""

_BYTES = {"shm": "size", "posix-shm": "blocks", "posix-sem": "blocks", "msg": "cbytes"}
"""The column that tells how much an object takes."""

_LIMITS = {
    "shm_limit_segments": "kernel.shmmni",
    "shm_limit_pages": "kernel.shmall",
    "shm_limit_segment_bytes": "kernel.shmmax",
    "msg_limit_queues": "kernel.msgmni",
    "msg_limit_queue_bytes": "kernel.msgmnb",
    "msg_limit_message_bytes": "kernel.msgmax",
    "posix_mq_limit_queues": "fs.mqueue.queues_max",
    "posix_mq_limit_queue_messages": "fs.mqueue.msg_max",
    "posix_mq_limit_message_bytes": "fs.mqueue.msgsize_max",
}
_PIPE_LIMITS = {
    "pipe_limit_user_soft_pages": "fs.pipe-user-pages-soft",
    "pipe_limit_user_hard_pages": "fs.pipe-user-pages-hard",
}

_NOT_COUNTED = Counted({}, steady=False)

_EVIDENCE = (
    Evidence.COUNTERS, Evidence.LIMITS, Evidence.MOUNT, Evidence.PROCESSES, Evidence.MAPS, Evidence.DESCRIPTORS,
    Evidence.BLOCKED, Evidence.SEMAPHORES, Evidence.QUEUE,
)  # fmt: skip
"""What every look at the usual kinds asks for; other sorts of evidence are told where they failed."""


def metrics_report(case: Case, groups: Sequence[FindingGroup], deadline: float) -> Report:
    """Return the families of a look that had *deadline* seconds."""
    families = _Families(case)
    families.sysv()
    families.posix()
    families.pipes()
    families.owners()
    families.leaks(groups)
    families.scan(deadline)
    return _report(families.found)


def failed_report(started: float, seconds: float) -> Report:
    """Return the families of a look that could not be: so much that the last ones do not pass for fresh."""
    return _report({
        "build_info": {(__version__,): 1},
        "scan_timestamp_seconds": {(): started},
        "scan_duration_seconds": {(): seconds},
        "scan_success": {(): 0},
        "scan_complete": {(): 0},
    })  # fmt: skip


def _report(found: Mapping[str, Samples]) -> Report:
    names = {name: labels for name, labels, _ in FAMILIES}
    families = {
        PREFIX + name: [{"labels": dict(zip(names[name], values)), "value": value} for values, value in samples.items()]
        for name, samples in found.items()
    }
    return {"schema": METRICS_SCHEMA, "families": families}


class _Families:
    """The families of a snapshot, as they come together."""

    def __init__(self, case: Case) -> None:
        self.case, self.snapshot = case, case.snapshot
        self.found: Dict[str, Samples] = {"build_info": {(__version__,): 1}}
        self.capped: Dict[str, int] = {}
        self.owners_cap: int = case.policy["metrics", "owners"]
        self.queues_cap: int = case.policy["metrics", "queues"]

    def put(self, name: str, value: Optional[float]) -> None:
        """Add a metric without labels, unless its value is not known."""
        if value is not None:
            self.found[name] = {(): value}

    def owner(self, uid: int) -> str:
        """Return the label value of a uid."""
        name = self.snapshot.users.get(uid)
        return str(uid) if not name or name == OTHER else printable(name)

    def by_owner(self, name: str, values: Mapping[int, float], kind: Optional[str] = None) -> None:
        """Add a metric of owners; past the cap they are summed."""
        most = sorted(values.items(), key=lambda one: (-one[1], one[0]))
        samples = self.found.setdefault(name, {})
        for at, (uid, value) in enumerate(most):
            label = self.owner(uid) if at < self.owners_cap else OTHER
            labels = (label,) if kind is None else (kind, label)
            samples[labels] = samples.get(labels, 0) + value
        self._cap(name, len(most) - self.owners_cap)

    def _cap(self, name: str, more: int) -> None:
        if more > 0:
            self.capped[PREFIX + name] = self.capped.get(PREFIX + name, 0) + more

    # ------------------------------------------------------------- System V

    def sysv(self) -> None:
        """Add counters, limits and the fullest queues."""
        snapshot = self.snapshot
        apart: Samples = {}
        compared: Samples = {}
        for kind in SYSV_KINDS:
            table, counted = snapshot.tables.get(kind), snapshot.counted.get(kind, _NOT_COUNTED)
            rows = counted.rows or (sums(table, snapshot.host.page_size) if table is not None else {})
            for name, value in {**rows, **counted.values}.items():
                self.put(name, value)
            for name, value in counted.values.items():
                steady = counted.steady and name in rows
                compared[PREFIX + name,] = int(steady)
                if steady:
                    apart[PREFIX + name,] = abs(rows[name] - value)
            if kind == "shm" and table is not None:
                self.put("shm_bytes", sum(table["size"]))
        self.found.update({"crosscheck_compared": compared, "crosscheck_difference": apart})
        for name, setting in _LIMITS.items():
            self.put(name, snapshot.limits.get(setting))
        sem = snapshot.limits.get("kernel.sem")
        if sem:
            self.put("sem_limit_sets", sem["semmni"])
            self.put("sem_limit_semaphores", min(sem["semmns"], sem["semmsl"] * sem["semmni"]))
            self.put("sem_limit_set_semaphores", sem["semmsl"])
        queues = snapshot.tables.get("msg")
        if queues is not None:
            self._msg_queues(queues)

    def _msg_queues(self, table: Table) -> None:
        def fill(row: int) -> float:
            most = table["qbytes"][row]
            return max(table["cbytes"][row], table["qnum"][row]) / most if most else 0.0  # msgsnd(2): either is full

        rows = _fullest(table["qnum"], self.queues_cap, fill)
        labels = [
            (str(table["id"][row]), "0x%08x" % table["key"][row], self.owner(table["uid"][row])) for row in rows
        ]
        for name, column in (
            ("msg_queue_messages", "qnum"), ("msg_queue_bytes", "cbytes"), ("msg_queue_limit_bytes", "qbytes"),
        ):  # fmt: skip
            self._queues(name, table[column], rows, labels, MSG_LABELS)
        receipts = [table["rtime"][row] or table["ctime"][row] for row in rows]
        sends = table.pick("stime", rows)
        self.found["msg_queue_last_send_timestamp_seconds"] = dict(zip(labels, sends))
        self.found["msg_queue_last_receive_timestamp_seconds"] = dict(zip(labels, receipts))
        columns = zip(table["qnum"], table["rtime"], table["ctime"])
        waiting = [rtime or ctime for qnum, rtime, ctime in columns if qnum] if any(table["qnum"]) else ()
        self.put("msg_unread_since_timestamp_seconds", min(waiting, default=None))

    def _queues(
        self,
        name: str,
        column: Sequence[Optional[int]],
        rows: Sequence[int],
        labels: Sequence[Tuple[str, ...]],
        names: Tuple[str, ...],
    ) -> None:
        """Add one metric of queues: those in *rows* one by one, the sum of the others."""
        samples: Samples = {}
        for row, label in zip(rows, labels):
            value = column[row]
            if value is not None:
                samples[label] = samples.get(label, 0) + value
        if len(column) > len(rows):
            known = sum(column) if None not in column else sum(value or 0 for value in column)  # type: ignore[arg-type]
            samples[(OTHER,) * len(names)] = known - sum(samples.values())
        self.found[name] = samples
        self._cap(name, len(column) - len(rows))

    # ------------------------------------------------------------- POSIX

    def posix(self) -> None:
        """Add what there is of POSIX queues and in /dev/shm."""
        snapshot = self.snapshot
        queues = snapshot.tables.get("posix-mq")
        if queues is not None:
            self._mq(queues)
        files, semaphores = snapshot.tables.get("posix-shm"), snapshot.tables.get("posix-sem")
        if files is not None:
            self.put("posix_shm_files", len(files))
            self.put("posix_shm_bytes", sum(files["blocks"]))
            self.put("posix_shm_unlinked_files", len(snapshot.processes.unlinked))
            self.put("posix_shm_unlinked_bytes", sum(one.blocks for one in snapshot.processes.unlinked))
        if semaphores is not None:
            self.put("posix_sem_semaphores", len(semaphores))
        mount = snapshot.shm_mount
        if mount is not None:
            self.put("dev_shm_used_bytes", mount.used)
            self.put("dev_shm_limit_bytes", mount.size or None)
            self.put("dev_shm_used_inodes", mount.files_used)
            self.put("dev_shm_limit_inodes", mount.files or None)

    def _mq(self, table: Table) -> None:
        processes = self.snapshot.processes
        self.put("posix_mq_queues", len(table) + len(processes.unlinked_queues))
        self.put("posix_mq_messages", sum(count or 0 for count in table["curmsgs"]))
        costs = owners_cost(table, processes.unlinked_queues)
        self.by_owner("posix_mq_bytes", costs)
        told = self.found["posix_mq_bytes"]
        limits = {(self.owner(uid),): processes.mqueue_limits.get(uid, -1) for uid in costs}
        self.found["posix_mq_limit_bytes"] = {
            labels: limit for labels, limit in limits.items() if limit >= 0 and labels in told
        }

        def fill(row: int) -> float:
            return (table["curmsgs"][row] or 0) / (table["maxmsg"][row] or 1)

        rows = _fullest(table["curmsgs"], self.queues_cap, fill)
        labels = [(printable(table["path"][row]), self.owner(table["uid"][row])) for row in rows]
        for name, column in (("posix_mq_queue_messages", "curmsgs"), ("posix_mq_queue_limit_messages", "maxmsg")):
            self._queues(name, table[column], rows, labels, MQ_LABELS)
        self.found["posix_mq_queue_last_use_timestamp_seconds"] = dict(zip(labels, table.pick("mtime", rows)))
        waiting = [mtime for count, mtime in zip(table["curmsgs"], table["mtime"]) if count]
        self.put("posix_mq_unused_since_timestamp_seconds", min(waiting, default=None))

    # ------------------------------------------------------------- pipes, owners, leaks

    def pipes(self) -> None:
        """Add the pages of each user's pipes, but for root's, whom no limit binds."""
        table, page = self.snapshot.tables.get("pipe"), self.snapshot.host.page_size
        if table is None:
            return
        pages: Dict[int, float] = {}
        for uid, capacity in zip(table["uid"], table["capacity"]):
            if uid and capacity is not None:
                pages[uid] = pages.get(uid, 0) + capacity // page
        self.by_owner("pipe_user_pages", pages)
        for name, setting in _PIPE_LIMITS.items():
            self.put(name, self.snapshot.limits.get(setting) or None)

    def owners(self) -> None:
        """Add how many objects of each kind each user has, and how much they take."""
        for kind, table in self.snapshot.tables.items():
            counts: Dict[int, float] = dict(Counter(table["uid"]))
            counts.pop(None, None)  # type: ignore[call-overload]  # a pipe or socket whose owner was not seen
            self.by_owner("owner_objects", counts, kind)
            if kind in _BYTES:
                column = table[_BYTES[kind]]
                totals: Dict[int, float] = dict.fromkeys(counts, 0)
                for uid, size in zip(table["uid"], column) if any(column) else ():
                    totals[uid] += size
                self.by_owner("owner_bytes", totals, kind)

    def leaks(self, groups: Iterable[FindingGroup]) -> None:
        """Add the findings, and of those about leaks whose they are."""
        findings: Samples = {}
        tallies: Dict[str, Dict[str, Dict[int, float]]] = {
            name: {} for name in ("orphans", "orphan_bytes", "orphans_protected", "orphans_suspected")
        }
        for group in groups:
            findings[group.rule, group.severity] = findings.get((group.rule, group.severity), 0) + len(group.rows)
            table, verdicts = group.table, group.evidence.get("verdict")
            if table is None or verdicts is None:
                continue
            sizes = table.pick(_BYTES[table.kind], group.rows) if table.kind in _BYTES else None
            for at, (uid, word) in enumerate(zip(table.pick("uid", group.rows), verdicts)):
                if word != "orphan":
                    name = "orphans_suspected"
                else:
                    name = "orphans_protected" if group.evidence["protection"][at] else "orphans"
                _count(tallies[name], table.kind, uid, 1)
                if name == "orphans" and sizes is not None:
                    _count(tallies["orphan_bytes"], table.kind, uid, sizes[at])
        self.found["findings"] = dict(sorted(findings.items()))
        for name, kinds in tallies.items():
            for kind, totals in kinds.items():
                self.by_owner(name, totals, kind)
        self.found["orphans_undetermined"] = {
            (kind,): self.case.undetermined.get(kind, 0) for kind in self.snapshot.tables if kind in REMOVABLE_KINDS
        }

    # ------------------------------------------------------------- the scan

    def scan(self, deadline: float) -> None:
        """Add what is to be said of the look itself."""
        snapshot, gaps = self.snapshot, self.snapshot.gaps
        failed = {gap.kind if gap.evidence == Evidence.TABLE and gap.kind else gap.evidence for gap in gaps}
        sources = dict.fromkeys((*snapshot.kinds, *_EVIDENCE, *sorted(failed)))
        self.put("scan_timestamp_seconds", round(snapshot.now, 3))
        self.put("scan_duration_seconds", round(snapshot.seconds, 6))
        self.put("scan_success", 1)
        self.put("scan_complete", int(not gaps))
        self.put("scan_deadline_exceeded", int(snapshot.seconds > deadline))
        self.put("scan_processes", len(snapshot.processes.by_pid))
        self.put("scan_unreadable_processes", len({gap.pid for gap in gaps if gap.pid is not None}))
        self.found["source_success"] = {(source,): int(source not in failed) for source in sources}
        self.found["series_cap"] = {("owner",): self.owners_cap, ("queue",): self.queues_cap}
        self.found["series_capped"] = {(name,): more for name, more in self.capped.items()}


def _count(tally: Dict[str, Dict[int, float]], kind: str, uid: int, value: float) -> None:
    totals = tally.setdefault(kind, {})
    totals[uid] = totals.get(uid, 0) + value


def _fullest(counts: Sequence[Optional[int]], most: int, fill: Any) -> List[int]:
    """Return the rows of the *most* fullest queues, in the order of the table; empty ones where few are not."""
    if len(counts) <= most:
        return list(range(len(counts)))
    used = sorted(compress(range(len(counts)), counts), key=lambda row: (-fill(row), row))[:most]
    empty = (row for row in range(len(counts)) if not counts[row])
    return sorted([*used, *islice(empty, most - len(used))])
