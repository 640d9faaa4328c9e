"""The one dictionary that is the JSON output, the module's answer and what travels from a host."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from .model import (
    KINDS,
    REMOVABLE_KINDS,
    SEVERITIES,
    SHM_DEST,
    SHM_LOCKED,
    SYSV_KINDS,
    Connection,
    End,
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
from .rules.base import TOPICS, ages, protection, size
from .verdicts import Case, judge
from .verdicts.case import duration

SKIPPED_SINGLY = 5
"""More gaps of one sort than this are one entry with a count."""

AUDIT_SCHEMA = "ipcops.audit/1"
OBJECTS_SCHEMA = "ipcops.objects/1"
CLEAN_SCHEMA = "ipcops.clean/1"
HOST = "host"
"""What rules about the host have in the place of a kind."""


def key_text(key: int) -> str:
    """Return a System V key as every output writes it."""
    return "0x%08x" % key


def mode_text(mode: int) -> str:
    """Return the permission bits of a file's mode."""
    return "%04o" % mode


def sysv_mode_text(mode: int) -> str:
    """Return the permission bits of a System V mode; SHM_DEST and SHM_LOCKED are fields of their own."""
    return "%04o" % (mode & 0o777)


_SIZES = ("size", "rss", "swap")
SOCKET_KINDS = ("unix", "inet")
END_KINDS = ("fifo", "pipe")
_UNSEEN = "no process was seen that has it"


def _form(table: Table, name: str) -> Optional[Callable[[Any], str]]:
    """Return how a column is written everywhere, where that is not the plain number."""
    if name == "key":
        return key_text
    if name == "mode":
        return sysv_mode_text if table.kind in SYSV_KINDS else mode_text
    return None


def head(snapshot: Snapshot, others: Sequence[Snapshot] = (), notes: Sequence[str] = ()) -> Dict[str, Any]:
    """Return the ``host``, ``scan`` and ``notes`` parts of a report; *others* are of other namespaces."""
    places = [snapshot, *others]
    gaps = list(dict.fromkeys(gap for one in places for gap in one.gaps))
    unreadable = {gap.pid for gap in gaps if gap.pid is not None}
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
            "complete": not gaps,
            "processes": len(snapshot.processes.by_pid),
            "unreadable_processes": len(unreadable),
            "namespaces": list(dict.fromkeys(one.namespace for one in places)),
            "places": [_place(one) for one in places],
            "kinds": list(snapshot.kinds),
            "skipped": skipped(gaps),
        },
        "notes": [
            *(
                "the policy names '%s', which this host does not have; it matches nothing" % name
                for name in snapshot.strangers
            ),
            *notes,
        ],
    }


def _place(snapshot: Snapshot) -> Dict[str, Any]:
    """Return which namespaces were looked into, and what runs there."""
    place = snapshot.place
    return {
        "name": place.name,
        "pid": place.pid,
        "namespace": snapshot.namespace,
        "mount": place.mnt or None,
        "network": place.net or None,
        "objects": {kind: len(table) for kind, table in snapshot.tables.items()},
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


Judged = Tuple[Case, Sequence[FindingGroup]]
"""The findings in one place."""


def audit_report(
    case: Case,
    groups: Sequence[FindingGroup],
    *,
    others: Sequence[Judged] = (),
    narrowed: bool = False,
    notes: Sequence[str] = (),
) -> Report:
    """Return the report of an audit: limits, usage, and the findings, worst first.

    *others* are other namespaces; *narrowed* says that not all rules, kinds and severities were asked for.
    """
    snapshot = case.snapshot
    elsewhere = [one.snapshot for one, _ in others]
    every = [(where, group) for where, some in [(case, groups), *others] for group in some]
    ordered = sorted(every, key=lambda one: _rank(one[1]))
    summary = dict.fromkeys(SEVERITIES, 0)
    for _, group in ordered:
        summary[group.severity] += len(group.rows)
    return {
        "schema": AUDIT_SCHEMA,
        **head(snapshot, elsewhere, notes),
        "policy": case.policy.source,
        "narrowed": narrowed,
        "limits": dict(snapshot.limits),
        "usage": _sum(list(map(usage, [snapshot, *elsewhere]))),
        "findings": Chain(_finding(where, group) for where, group in ordered),
        "summary": summary,
    }


def _rank(group: FindingGroup) -> Tuple[int, int, str]:
    from .rules.catalogue import BY_ID  # only an audit has findings

    return SEVERITIES.index(group.severity), TOPICS.index(BY_ID[group.rule].topic), group.rule


_COUNTED: Dict[str, Dict[str, str]] = {
    "shm": {"bytes": "size", "rss": "rss", "swap": "swap"},
    "sem": {"semaphores": "nsems"},
    "msg": {"messages": "qnum", "bytes": "cbytes"},
    "posix-shm": {"bytes": "blocks"},
    "posix-sem": {"bytes": "blocks"},
    "posix-mq": {"messages": "curmsgs"},
}
"""What is counted of each kind, and the column that is summed for it."""


def _sum(usages: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Return the use of several places together; what only one could tell is that one's."""
    total = usages[0]
    for more in usages[1:]:
        for kind, counts in more.items():
            mine = total.get(kind)
            if not mine or kind == "dev_shm":
                total[kind] = mine or counts
            elif counts:
                for name, count in counts.items():
                    mine[name] = count if mine.get(name) is None else mine[name] + (count or 0)
    return total


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
        for name, column in _COUNTED.get(kind, {}).items():
            counts[name] = sum(count or 0 for count in table[column]) if column in table else None
        if kind == "pipe":
            known = [count for count in table["capacity"] if count is not None]
            counts["pages"] = sum(known) // page if len(known) == len(table) else None  # an audit asks not of root's
        elif kind == "unix":
            counts["listening"] = sum(state == "listen" for state in table["state"])
        elif kind == "lock":
            counts["waiting"] = sum(map(len, table["waiters"]))
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
    place, remedy = case.snapshot.place, group.remedy
    if place.pid is not None:
        remedy += " (there: nsenter --target %d --ipc --mount --net --pid)" % place.pid
    template = {
        "rule": group.rule,
        "title": group.title,
        "severity": group.severity,
        "confidence": group.confidence,
        "kind": None if group.kind == HOST else group.kind,
        **identity,
        "namespace": _namespace(case.snapshot, table),
        "place": place.name if place.other else None,
        "owner": owner,
        "evidence": evidence,
        "reason": _sentence(group.reason, words, table),
        "remedy": _sentence(remedy, words, table),
    }
    return Records(template, len(rows))


def _namespace(snapshot: Snapshot, table: Optional[Table]) -> Optional[int]:
    """Return the inode of the namespace of a table's objects; ``None`` for what has none, such as a pipe."""
    if table is None or table.kind in REMOVABLE_KINDS:
        return snapshot.namespace
    return table.namespace or None


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
    if form is None:
        return values
    if None in values:  # what has no file has no mode
        return [None if value is None else form(value) for value in values]
    return formatted(values, form)


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
    "fifo": "dev ino nlink atime mtime ctime".split(),
    "pipe": "capacity fill".split(),
    "unix": "type state rqueue wqueue dev ino mtime ctime".split(),
    "inet": "protocol address port state rqueue wqueue".split(),
    "lock": "type access start end pid dev ino".split(),
}


def objects_report(
    case: Case,
    chosen: Mapping[str, Sequence[int]],
    *,
    others: Sequence[Tuple[Case, Mapping[str, Sequence[int]]]] = (),
    order: Optional[str] = None,
    details: bool = False,
) -> Report:
    """Return the objects in the rows *chosen* of each kind; *details* adds each semaphore."""
    parts = []
    for where, rows_of in [(case, chosen), *others]:
        for kind, rows in rows_of.items():
            table = where.table(kind)
            if table is not None and len(rows):
                parts.append(_objects(where, table, rows, details=details))
    objects: Any = Chain(parts)
    if order:
        objects = sorted(objects, key=lambda one: _sort_key(one, order))
    elsewhere = [where.snapshot for where, _ in others]
    return {"schema": OBJECTS_SCHEMA, **head(case.snapshot, elsewhere), "objects": objects}


def _sort_key(one: Mapping[str, Any], order: str) -> Tuple[Any, ...]:
    if order == "size":
        return (-(one.get("size") or one.get("cbytes") or one.get("nsems") or 0),)
    if order == "age":
        return (-(one.get("age") or 0),)
    if order == "owner":
        return (one["owner"]["user"] is None, one["owner"]["user"], one["owner"]["uid"])
    return (KINDS.index(one["kind"]), str(type(one["id"])), one["id"] or 0, one["path"] or "")


def _objects(case: Case, table: Table, rows: Sequence[int], *, details: bool) -> Records:
    snapshot, kind = case.snapshot, table.kind
    verdicts: List[Verdict] = judge(case, kind, rows)
    guards = [protection(case, table, row) for row in rows]
    template: Dict[str, Any] = {
        "kind": kind,
        "id": Column(table.pick("id", rows)) if "id" in table else None,
        "key": Column(_json_column(table, "key", rows)) if "key" in table else None,
        "path": Column(table.pick("path", rows)) if "path" in table else None,
        "namespace": Column(table.pick("network", rows)) if "network" in table else _namespace(snapshot, table),
        "place": snapshot.place.name if snapshot.place.other else None,
        "owner": Column(_people(snapshot, table, rows)),
        "creator": None,
        "mode": Column(_json_column(table, "mode", rows)),
        "verdict": Column([one.word for one in verdicts]),
        "confidence": Column([one.confidence for one in verdicts]),
        "reasons": Column([list(one.reasons) for one in verdicts]),
        "protection": Column([{"name": one.name, "reason": one.reason} if one else None for one in guards]),
        "holders": Column([holders_of(snapshot, table, row) for row in rows]),
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
    if "connections" in table:
        template["connections"] = Column([_connections(snapshot, table["connections"][row]) for row in rows])
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
    one = {"pid": process.pid, "started_at": process.started_at, "command": process.command}
    return {**one, "unit": process.unit, "container": process.container}


def holders_of(snapshot: Snapshot, table: Table, row: int) -> List[Dict[str, Any]]:
    """Return the processes that have an object mapped, open or bound; of pipes and FIFOs also which end."""
    processes, kind = snapshot.processes, table.kind
    if kind == "shm":
        return list(map(_process, processes.attached.get(table["id"][row], ())))
    if kind == "lock":
        return [{**_process(process), "fd": fd} for process, fd in table["holders"][row]]
    if kind in SOCKET_KINDS:
        return list(map(_process, processes.sockets.get(table["id"][row], ())))
    if kind in END_KINDS:
        return [_end(end) for end in processes.ends.get((kind, _file_or_id(table, row)), ())]
    if "ino" in table:
        return list(map(_process, processes.holding.get((table["dev"][row], table["ino"][row]), ())))
    return []


def _end(end: End) -> Dict[str, Any]:
    access = "+".join(word for word, has in (("read", end.reads), ("write", end.writes)) if has)
    return {**_process(end.process), "fd": end.fd, "access": access}


def _file_or_id(table: Table, row: int) -> Any:
    return table["id"][row] if "id" in table else (table["dev"][row], table["ino"][row])


def _waiters(snapshot: Snapshot, table: Table, row: int) -> List[Dict[str, Any]]:
    if table.kind == "lock":
        by_pid = snapshot.processes.by_pid
        waiting = [by_pid[pid] for pid in table["waiters"][row] if pid in by_pid]
        return [{**_process(process), "tid": process.pid, "call": "fcntl or flock"} for process in waiting]
    if not snapshot.processes.blocked:
        return []
    return [
        {**_process(waiter.process), "tid": waiter.tid, "call": waiter.call}
        for waiter in snapshot.processes.blocked.get((table.kind, _file_or_id(table, row)), ())
    ]


def _connections(snapshot: Snapshot, connections: Sequence[Connection]) -> List[Dict[str, Any]]:
    """Return both ends of each connection; a note where no process can be told."""
    known: Dict[Optional[int], List[Dict[str, Any]]] = {None: []}

    def who(inode: Optional[int]) -> List[Dict[str, Any]]:
        if inode not in known:
            known[inode] = list(map(_process, snapshot.processes.sockets.get(inode or 0, ())))
        return known[inode]

    return [
        {
            **one._asdict(),
            "note": one.note if who(one.id) else one.note or _UNSEEN,
            "peer_note": one.peer_note if who(one.peer) else one.peer_note or _UNSEEN,
            "holders": who(one.id),
            "peer_holders": who(one.peer),
        }
        for one in connections
    ]


def _semaphores(known: Optional[Semaphores]) -> Optional[List[Dict[str, int]]]:
    if known is None:
        return None
    columns = zip(known.values, known.pids, known.ncnt, known.zcnt)
    return [
        {"number": number, "value": value, "pid": pid, "ncnt": ncnt, "zcnt": zcnt}
        for number, (value, pid, ncnt, zcnt) in enumerate(columns)
    ]
