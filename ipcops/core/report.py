"""The one dictionary that is the JSON output, the module's answer and what travels from a host."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .model import (
    KINDS,
    SEVERITIES,
    SHM_DEST,
    SHM_LOCKED,
    SYSV_KINDS,
    FindingGroup,
    Gap,
    Process,
    Report,
    Semaphores,
    Snapshot,
    Table,
    Verdict,
)
from .records import Chain, Column, Records, Text, formatted
from .rules import BY_ID
from .rules.base import TOPICS, ages, protection, size
from .verdicts import Case, judge
from .verdicts.case import duration

SKIPPED_SINGLY = 5
"""More gaps of one sort than this are one entry with a count."""

AUDIT_SCHEMA = "ipcops.audit/1"
OBJECTS_SCHEMA = "ipcops.objects/1"


def key_text(key: int) -> str:
    """Return a System V key as every output writes it."""
    return "0x%08x" % key


def mode_text(mode: int) -> str:
    """Return the permission bits of a POSIX file's mode."""
    return "%04o" % mode


def sysv_mode_text(mode: int) -> str:
    """Return the permission bits of a System V mode; SHM_DEST and SHM_LOCKED are fields of their own."""
    return "%04o" % (mode & 0o777)


_SIZES = ("size", "rss", "swap")


def _form(table: Table, name: str) -> Optional[Callable[[Any], str]]:
    """Return how a column is written everywhere, where that is not the plain number."""
    if name == "key":
        return key_text
    if name == "mode":
        return sysv_mode_text if table.kind in SYSV_KINDS else mode_text
    return None


def head(snapshot: Snapshot) -> Dict[str, Any]:
    """Return the ``host`` and ``scan`` parts of a report."""
    unreadable = {gap.pid for gap in snapshot.gaps if gap.pid is not None}
    return {
        "host": {
            "hostname": snapshot.host.hostname,
            "kernel": snapshot.host.kernel,
            "arch": snapshot.host.arch,
            "boot_id": snapshot.host.boot_id,
        },
        "scan": {
            "started_at": int(snapshot.now),
            "seconds": round(snapshot.seconds, 3),
            "privileged": snapshot.privileged,
            "complete": not snapshot.gaps,
            "processes": len(snapshot.processes.by_pid),
            "unreadable_processes": len(unreadable),
            "namespaces": [snapshot.namespace],
            "kinds": list(snapshot.kinds),
            "skipped": skipped(snapshot.gaps),
        },
        "notes": [
            "the policy names '%s', which this host does not have; it matches nothing" % name
            for name in snapshot.strangers
        ],
    }


def skipped(gaps: Iterable[Gap]) -> List[Dict[str, Any]]:
    """Return what was not seen; many of one sort (an ordinary user's view of others) become one."""
    sorts: Dict[Tuple[Any, ...], List[Gap]] = {}
    for gap in gaps:
        single = gap.pid is None and gap.object_id is None
        sorts.setdefault((gap.evidence, gap.why, gap.kind, gap.what if single else None), []).append(gap)
    result = []
    for members in sorts.values():
        shown = members if len(members) <= SKIPPED_SINGLY else members[:1]
        for gap in shown:
            more = len(members) - len(shown)
            what = gap.what + (" and of %d more" % more if more else "")
            entry = {"evidence": gap.evidence, "what": what, "why": gap.why, "kind": gap.kind}
            result.append({**entry, "pid": gap.pid, "count": more + 1})
    return result


# ---------------------------------------------------------------- audit


def audit_report(case: Case, groups: Iterable[FindingGroup], *, narrowed: bool = False) -> Report:
    """Return the report of an audit: limits, usage, and the findings, worst first.

    *narrowed* says that not all rules, kinds and severities were asked for.
    """
    snapshot = case.snapshot
    ordered = sorted(groups, key=_rank)
    summary = dict.fromkeys(SEVERITIES, 0)
    for group in ordered:
        summary[group.severity] += len(group.rows)
    return {
        "schema": AUDIT_SCHEMA,
        **head(snapshot),
        "policy": case.policy.source,
        "narrowed": narrowed,
        "limits": dict(snapshot.limits),
        "usage": usage(snapshot),
        "findings": Chain(_finding(case, group) for group in ordered),
        "summary": summary,
    }


def _rank(group: FindingGroup) -> Tuple[int, int, str]:
    return SEVERITIES.index(group.severity), TOPICS.index(BY_ID[group.rule].topic), group.rule


def usage(snapshot: Snapshot) -> Dict[str, Any]:
    """Return how much of each kind exists; a kind that could not be read is ``None``."""
    result: Dict[str, Any] = {}
    page = snapshot.host.page_size
    for kind in snapshot.kinds:
        table = snapshot.tables.get(kind)
        if table is None:
            result[kind] = None
            continue
        counts: Dict[str, Any] = {"objects": len(table)}
        if kind == "shm":
            counts["pages"] = sum(-(-length // page) for length in table["size"])
            counts["bytes"] = sum(table["size"])
            for name in ("rss", "swap"):
                counts[name] = sum(table[name]) if name in table else None
        elif kind == "sem":
            counts["semaphores"] = sum(table["nsems"])
        elif kind == "msg":
            counts["messages"] = sum(table["qnum"])
            counts["bytes"] = sum(table["cbytes"])
        elif kind == "posix-mq":
            counts["messages"] = sum(count or 0 for count in table["curmsgs"])
        else:
            counts["bytes"] = sum(table["blocks"])
        result[kind] = counts
    mount = snapshot.shm_mount
    if mount is not None:
        result["dev_shm"] = {
            "size": mount.size,
            "used": mount.used,
            "inodes": mount.files,
            "inodes_used": mount.files_used,
            "other_entries": mount.other_entries,
        }
    return result


def _finding(case: Case, group: FindingGroup) -> Records:
    table, rows = group.table, group.rows
    evidence: Dict[str, Any] = {}
    identity: Dict[str, Any] = {"id": None, "key": None, "path": None}
    owner: Any = None
    if table is not None:
        names = group.columns if "size" in group.columns or "size" not in table else ("size", *group.columns)
        for name in names:
            evidence[name] = Column(_json_column(table, name, rows))
        for name in identity:
            if name in table:
                identity[name] = Column(_json_column(table, name, rows))
        evidence["age"] = Column(ages(case, table, rows))
        owner = _owner(case.snapshot, table, rows)
    for name, value in group.evidence.items():
        evidence[name] = Column(value) if isinstance(value, tuple) else value
    words = _Words(case, table, rows, group.fields)
    template = {
        "rule": group.rule,
        "title": group.title,
        "severity": group.severity,
        "confidence": group.confidence,
        "kind": group.kind,
        **identity,
        "namespace": case.snapshot.namespace,
        "owner": owner,
        "evidence": evidence,
        "reason": _sentence(group.reason, words, table),
        "remedy": _sentence(group.remedy, words, table),
    }
    return Records(template, len(rows))


def _sentence(template: str, words: _Words, table: Optional[Table]) -> Any:
    """Return a Text; of a finding about the host the sentence itself, braces and all."""
    return Text(template, words) if table is not None else template


class _Words(Dict[str, Sequence[str]]):
    """The columns that sentences are filled from, in words; each is made when first asked for."""

    def __init__(
        self, case: Case, table: Optional[Table], rows: Sequence[int], fields: Mapping[str, Sequence[str]]
    ) -> None:
        super().__init__(fields)
        self.case, self.table, self.rows = case, table, rows

    def __missing__(self, name: str) -> Sequence[str]:
        table, rows, case = self.table, self.rows, self.case
        if table is None:
            raise KeyError(name)
        if name == "user":
            column = formatted(table.pick("uid", rows), case.snapshot.user)
        elif name == "age":
            column = formatted(ages(case, table, rows), duration)
        else:
            form = size if name in _SIZES else _form(table, name)
            column = formatted(table.pick(name, rows), form or str)
        self[name] = column
        return column


def _json_column(table: Table, name: str, rows: Sequence[int]) -> Sequence[Any]:
    values = table.pick(name, rows)
    form = _form(table, name)
    return formatted(values, form) if form else values


def _owner(snapshot: Snapshot, table: Table, rows: Sequence[int]) -> Column:
    known: Dict[int, Dict[str, Any]] = {}
    for uid in set(table.pick("uid", rows)):
        known[uid] = {"uid": uid, "user": snapshot.users.get(uid)}
    return Column([known[uid] for uid in table.pick("uid", rows)])


# ---------------------------------------------------------------- objects

_OWN_FIELDS = {
    "shm": "size nattch cpid lpid atime dtime ctime rss swap".split(),
    "sem": "nsems otime ctime".split(),
    "msg": "cbytes qnum qbytes lspid lrpid stime rtime ctime".split(),
    "posix-shm": "size blocks dev ino nlink atime mtime ctime".split(),
    "posix-sem": "size blocks dev ino nlink atime mtime ctime".split(),
    "posix-mq": "maxmsg msgsize curmsgs notify_pid dev ino atime mtime ctime".split(),
}


def objects_report(
    case: Case, chosen: Mapping[str, Sequence[int]], *, order: Optional[str] = None, details: bool = False
) -> Report:
    """Return the objects in the rows *chosen* of each kind; *details* adds each semaphore."""
    parts = []
    for kind, rows in chosen.items():
        table = case.table(kind)
        if table is not None and len(rows):
            parts.append(_objects(case, table, rows, details=details))
    objects: Any = Chain(parts)
    if order:
        objects = sorted(objects, key=lambda one: _sort_key(one, order))
    return {"schema": OBJECTS_SCHEMA, **head(case.snapshot), "objects": objects}


def _sort_key(one: Mapping[str, Any], order: str) -> Tuple[Any, ...]:
    if order == "size":
        return (-(one.get("size") or one.get("cbytes") or one.get("nsems") or 0),)
    if order == "age":
        return (-(one.get("age") or 0),)
    if order == "owner":
        return (one["owner"]["user"] is None, one["owner"]["user"], one["owner"]["uid"])
    return (KINDS.index(one["kind"]), one["id"], one["path"])


def _objects(case: Case, table: Table, rows: Sequence[int], *, details: bool) -> Records:
    snapshot, kind = case.snapshot, table.kind
    verdicts: List[Verdict] = judge(case, kind, rows)
    guards = [protection(case, table, row) for row in rows]
    template: Dict[str, Any] = {
        "kind": kind,
        "id": Column(table.pick("id", rows)) if "id" in table else None,
        "key": Column(_json_column(table, "key", rows)) if "key" in table else None,
        "path": Column(table.pick("path", rows)) if "path" in table else None,
        "namespace": snapshot.namespace,
        "owner": Column(_people(snapshot, table, rows)),
        "creator": None,
        "mode": Column(_json_column(table, "mode", rows)),
        "verdict": Column([one.word for one in verdicts]),
        "confidence": Column([one.confidence for one in verdicts]),
        "reasons": Column([list(one.reasons) for one in verdicts]),
        "protection": Column([{"name": one.name, "reason": one.reason} if one else None for one in guards]),
        "holders": Column([[_process(one) for one in holders_of(snapshot, table, row)] for row in rows]),
        "waiters": Column([_waiters(snapshot, table, row) for row in rows]),
        "age": Column(ages(case, table, rows)),
    }
    if "cuid" in table:
        template["creator"] = {"uid": Column(table.pick("cuid", rows)), "gid": Column(table.pick("cgid", rows))}
    if kind == "shm":
        modes = table.pick("mode", rows)
        template["dest"] = Column([bool(mode & SHM_DEST) for mode in modes])
        template["locked"] = Column([bool(mode & SHM_LOCKED) for mode in modes])
    for name in _OWN_FIELDS[kind]:
        template[name] = Column(table.pick(name, rows))
    if kind == "sem" and details:
        template["semaphores"] = Column([_semaphores(snapshot.semaphores.get(table["id"][row])) for row in rows])
    return Records(template, len(rows))


def _people(snapshot: Snapshot, table: Table, rows: Sequence[int]) -> List[Dict[str, Any]]:
    known: Dict[Tuple[int, int], Dict[str, Any]] = {}
    result = []
    for uid, gid in zip(table.pick("uid", rows), table.pick("gid", rows)):
        if (uid, gid) not in known:
            known[uid, gid] = {
                "uid": uid, "user": snapshot.users.get(uid), "gid": gid, "group": snapshot.groups.get(gid),
            }  # fmt: skip
        result.append(known[uid, gid])
    return result


def _process(process: Process) -> Dict[str, Any]:
    return {"pid": process.pid, "started_at": process.started_at, "command": process.command}


def holders_of(snapshot: Snapshot, table: Table, row: int) -> Tuple[Process, ...]:
    """Return the processes that have an object mapped or open."""
    if table.kind == "shm":
        return tuple(snapshot.processes.attached.get(table["id"][row], ()))
    if "ino" in table:
        return tuple(snapshot.processes.holding.get((table["dev"][row], table["ino"][row]), ()))
    return ()


def _waiters(snapshot: Snapshot, table: Table, row: int) -> List[Dict[str, Any]]:
    if not snapshot.processes.blocked:
        return []
    key: Any = table["id"][row] if "id" in table else (table["dev"][row], table["ino"][row])
    return [
        {**_process(waiter.process), "tid": waiter.tid, "call": waiter.call}
        for waiter in snapshot.processes.blocked.get((table.kind, key), ())
    ]


def _semaphores(known: Optional[Semaphores]) -> Optional[List[Dict[str, int]]]:
    if known is None:
        return None
    columns = zip(known.values, known.pids, known.ncnt, known.zcnt)
    return [
        {"number": number, "value": value, "pid": pid, "ncnt": ncnt, "zcnt": zcnt}
        for number, (value, pid, ncnt, zcnt) in enumerate(columns)
    ]
