"""What a rule is, and what rules of several kinds share.

A rule is a function that looks at a :class:`Case` and yields finding groups, under a
decorator that says all a reader must know of it. Its page under docs/rules/ and the output
of ``ipcops rules`` are made from that.
"""

from __future__ import annotations

from collections import Counter
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

from ..model import INITIAL_IPC_NAMESPACE, IPCMNI, IPCMNI_EXTENDED, FindingGroup, Protection, Table, Verdict
from ..policy import Candidate
from ..tuples import NamedTuple
from ..verdicts import Case, judge
from ..verdicts.case import AGELESS

TOPICS = ("limit", "backlog", "leak", "memory", "exposure", "idle", "setting", "blind")
"""What rules are about; of equally grave findings the earlier topic comes first.

``blind`` is what ipcops itself cannot see from here, or can take for something else.
"""

HOST = "host"
"""In the place of a kind: the rule is about the host itself."""

AT_MOST = "remove what is abandoned; this kernel lets the limit be no higher (see ipcmni_extend in kernel-parameters)"
"""The remedy where a limit of slots is at its highest."""

Judge = Callable[[Case], Iterable[FindingGroup]]
Undecided = Callable[..., Optional[str]]


class Rule(NamedTuple):
    """One rule of the catalogue."""

    id: str
    topic: str
    """What it is about, one of TOPICS."""
    title: str
    kind: str
    severity: str
    rationale: str
    decides: str
    remedy: str
    source: str
    judge: Judge
    samples: int = 1
    """How many looks it takes to be sure; with fewer the rule says so."""
    also: Tuple[str, ...] = ()
    """Further kinds it looks at."""
    undecided: Optional[Undecided] = None
    """``undecided(case, named=…)`` tells why it yields nothing with fewer samples, if that is worth a word."""

    def covers(self, kinds: Iterable[str]) -> bool:
        """Whether it looks at any of *kinds*."""
        return not {self.kind, *self.also}.isdisjoint(kinds)

    def findings(self, case: Case) -> Iterator[FindingGroup]:
        """Yield what the rule found, named and graded."""
        for group in self.judge(case):
            if len(group.rows):
                yield group._replace(
                    rule=self.id,
                    title=self.title,
                    severity=group.severity or self.severity,
                    kind=group.kind or self.kind,
                )


def rule(**about: Any) -> Callable[[Judge], Rule]:
    """Make a function a rule; the arguments are Rule's fields."""

    def make(function: Judge) -> Rule:
        return Rule(judge=function, **about)

    return make


def undecided(case: Case, rules: Iterable[Rule], *, named: bool = False) -> List[str]:
    """Return what the *rules* could not decide with so few samples; *named*: they were asked for by name."""
    notes = []
    for one in rules:
        if one.undecided is not None and not case.policy.exempts(one.id, one.kind, ()):
            words = one.undecided(case, named=named)
            if words:
                notes.append("%s needs --samples %d (%s)" % (one.id, one.samples, words))
    return notes


# ---------------------------------------------------------------- shared by kinds


def near_limit(case: Case, used: int, limit: Optional[int]) -> Optional[str]:
    """Return the severity of *used* against *limit* by the policy's thresholds, if any."""
    if not limit or limit < 0:
        return None
    share = used / limit
    if share >= case.policy["audit", "at_limit"]:
        return "high"
    return "medium" if share >= case.policy["audit", "near_limit"] else None


def near_slots(case: Case, kind: str, limit_name: str, noun: str) -> Iterator[FindingGroup]:
    """Yield one finding when a namespace is short of slots for objects of a kind."""
    table, limit = case.table(kind), case.snapshot.limits.get(limit_name)
    if table is None or not limit:
        return
    severity = near_limit(case, len(table), limit)
    if severity:
        who = owners(case, table)
        yield FindingGroup(
            severity=severity,
            confidence="certain",
            evidence={"used": len(table), "limit": limit, "owners": who},
            reason="%d of %d %s exist (%s); most by %s"
            % (len(table), limit, noun, percent(len(table), limit), most_by(case, who)),
            remedy=AT_MOST if more_slots(limit) == limit
            else "sysctl -w %s=%d, after removing what is abandoned" % (limit_name, more_slots(limit)),
        )  # fmt: skip


def more_slots(limit: int) -> int:
    """Return twice a limit of slots, as far as this kernel lets it be raised."""
    return min(2 * limit, IPCMNI if limit <= IPCMNI else IPCMNI_EXTENDED)


def percent(used: float, limit: float) -> str:
    """Return a share in words."""
    return "%d %%" % (100 * used / limit) if limit else "all"


def size(count: Optional[float]) -> str:
    """Return bytes in words."""
    number = float(count or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return "%d B" % number if unit == "B" else "%.1f %s" % (number, unit)
        number /= 1024
    return "%.1f TiB" % number


def messages(count: int) -> str:
    """Return a number of messages in words."""
    return "1 message" if count == 1 else "%d messages" % count


def owners(case: Case, table: Table, weights: Optional[Sequence[int]] = None) -> List[Dict[str, Any]]:
    """Return the three owners with the most objects, or the most of *weights*."""
    totals: Dict[int, int] = {}
    if weights is None:
        totals = Counter(table["uid"])
    else:
        for uid, weight in zip(table["uid"], weights):
            totals[uid] = totals.get(uid, 0) + weight
    most = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:3]
    return [{"uid": uid, "user": case.snapshot.users.get(uid), "count": total} for uid, total in most]


def most_by(case: Case, who: Sequence[Mapping[str, Any]]) -> str:
    """Return the result of :func:`owners` in words."""
    return ", ".join("%s %d" % (case.snapshot.user(one["uid"]), one["count"]) for one in who)


def single_uid(case: Case) -> bool:
    """Whether all that lives in a container's namespace acts as one uid: then "everyone" is nobody else.

    In the host's own namespace another user may log in at any time. Of a namespace that is not ours
    the processes of others are no matter, unless nobody knows where they are.
    """
    snapshot = case.snapshot
    if snapshot.namespace in (0, INITIAL_IPC_NAMESPACE):
        return False
    if not snapshot.place.other:
        return len(snapshot.processes.users) <= 1
    inside = (snapshot.place.ipc, 0)
    uids = {
        uid
        for uid, processes in snapshot.processes.users.items()
        if any(process.ipc in inside for process in processes)
    }
    return len(uids) <= 1


def mode_rows(table: Optional[Table], wanted: int, unwanted: int = 0) -> List[int]:
    """Return the rows whose mode has a bit of *wanted* and none of *unwanted*."""
    if table is None:
        return []
    modes = table["mode"]
    matching = {mode for mode in set(modes) if mode is not None and mode & wanted and not mode & unwanted}
    if not matching:
        return []
    return [row for row, mode in enumerate(modes) if mode in matching]


def open_to_others(table: Optional[Table], rows: Sequence[int], severity: str, what: str, column: str) -> FindingGroup:
    """Return the findings about System V objects whose mode lets every user do *what*."""
    return FindingGroup(
        severity=severity,
        confidence="certain",
        table=table,
        rows=rows,
        columns=("mode", column),
        reason="its mode {mode} lets every user %s" % what,
        remedy="have its program create it with mode 0600 or 0660, then restart that program",
    )


def steady(case: Case, kind: str, rows: Sequence[int], columns: Sequence[str]) -> List[int]:
    """Return the rows whose object was there in every earlier sample with the same *columns*."""
    table = case.table(kind)
    if table is None:
        return []
    keys = _identities(table)
    kept = list(rows)
    for earlier in case.earlier:
        other = earlier.tables.get(kind)
        if other is None:
            return []
        at = {one: row for row, one in enumerate(_identities(other))}
        kept = [
            row
            for row in kept
            if keys[row] in at and all(table[name][row] == other[name][at[keys[row]]] for name in columns)
        ]
    return kept


def _identities(table: Table) -> Sequence[Any]:
    """Return what an object of each row is known by: its id, or the device and inode of its file."""
    if "ino" not in table or table.kind == "lock":
        return table["id"]
    return list(zip(table["dev"], table["ino"]))


# ---------------------------------------------------------------- leaks


class Leaks(NamedTuple):
    """The abandoned objects of one kind, apart by confidence."""

    table: Table
    rows: Tuple[int, ...]
    verdicts: Tuple[Verdict, ...]

    def groups(
        self, case: Case, remedy: Callable[[int], str], columns: Tuple[str, ...], severity: Callable[[int], str]
    ) -> Iterator[FindingGroup]:
        """Yield the findings: *remedy* and *severity* by row, *columns* as evidence."""
        parts: Dict[Tuple[str, str], List[Tuple[int, Verdict]]] = {}
        for row, verdict in zip(self.rows, self.verdicts):
            confidence = verdict.confidence if verdict.word == "orphan" else "suspect"
            parts.setdefault((severity(row), confidence), []).append((row, verdict))
        for (how_bad, confidence), members in parts.items():
            rows = [row for row, _ in members]
            guards = [protection(case, self.table, row) for row in rows]
            unsure = "make sure that nobody needs it; " if confidence == "suspect" else ""
            yield FindingGroup(
                severity=how_bad,
                confidence=confidence,
                kind=self.table.kind,
                table=self.table,
                rows=rows,
                columns=columns,
                evidence={
                    "verdict": tuple(verdict.word for _, verdict in members),
                    "protection": tuple(guard.name if guard else None for guard in guards),
                },
                fields={
                    "why": ["; ".join(verdict.reasons) for _, verdict in members],
                    "fix": [
                        "leave it, it is protected by [protect %s]: %s" % (guard.name, guard.reason)
                        if guard
                        else unsure + remedy(row)
                        for row, guard in zip(rows, guards)
                    ],
                },
                reason="{why}",
                remedy="{fix}",
            )


def leaks(case: Case, kind: str, rows: Sequence[int]) -> Optional[Leaks]:
    """Return those of the candidate *rows* that are orphans, or are suspected to be."""
    table = case.table(kind)
    if table is None or not rows:
        return None
    judged = judge(case, kind, rows)
    case.undetermined[kind] = sum(verdict.word == "unknown" for verdict in judged)
    found = [(row, verdict) for row, verdict in zip(rows, judged) if verdict.word == "orphan" or verdict.suspected]
    if not found:
        return None
    return Leaks(table, tuple(row for row, _ in found), tuple(verdict for _, verdict in found))


_NEWEST = {
    "shm": ("atime", "dtime", "ctime"),
    "sem": ("otime", "ctime"),
    "msg": ("stime", "rtime", "ctime"),
    "posix-shm": ("atime", "mtime", "ctime"),
    "posix-sem": ("atime", "mtime", "ctime"),
    "posix-mq": ("mtime",),
    "fifo": ("atime", "mtime", "ctime"),
}
"""The times of an object that are evidence of use. What is not here has none: a socket's file tells when it was
bound, and nothing of who connects."""


def newest_use(table: Table, row: int) -> int:
    """Return the newest of an object's times that are evidence of use."""
    return int(max(table[name][row] for name in _NEWEST[table.kind]))


def age_of(case: Case, table: Table, row: int) -> float:
    """Return the seconds since an object's newest use."""
    return case.age(newest_use(table, row))


def ages(case: Case, table: Table, rows: Sequence[int]) -> List[Optional[int]]:
    """Return the whole seconds since each object's newest use; ``None`` where that is not known."""
    columns = [table.pick(name, rows) for name in _NEWEST.get(table.kind, ())]
    if not columns:
        return [None] * len(rows)
    newest = list(map(max, *columns)) if len(columns) > 1 else columns[0]
    known = {time: None if case.age(time) == AGELESS else int(case.age(time)) for time in set(newest)}
    return [known[time] for time in newest]


def candidate(case: Case, table: Table, row: int) -> Candidate:
    """Return what ``[protect]`` and ``exempt`` can ask of an object."""
    uid = table["uid"][row]
    units: FrozenSet[str] = frozenset()
    if case.policy.uses_units:
        snapshot = case.snapshot.processes
        users = list(snapshot.users.get(uid, ()))
        if table.kind == "shm":
            users += snapshot.attached.get(table["id"][row], ())
        elif table.kind in ("unix", "inet"):
            users += snapshot.sockets.get(table["id"][row], ())
        elif table.kind == "pipe":
            users += [end.process for end in snapshot.ends.get(("pipe", table["id"][row]), ())]
        elif table.kind == "fifo":
            identity = (table["dev"][row], table["ino"][row])
            users += [end.process for end in snapshot.ends.get(("fifo", identity), ())]
        elif "ino" in table:
            users += snapshot.holding.get((table["dev"][row], table["ino"][row]), ())
        units = frozenset(process.unit for process in users if process.unit)
    return Candidate(
        kind=table.kind,
        uid=uid,
        user=case.snapshot.users.get(uid),
        key=table["key"][row] if "key" in table else None,
        path=table["path"][row] if "path" in table else None,
        units=units,
    )


def protection(case: Case, table: Table, row: int) -> Optional[Protection]:
    """Return what protects an object, if anything does."""
    return case.policy.protection(candidate(case, table, row), case.snapshot.members)


def on_file(command: str, place: str, table: Table, row: int) -> str:
    """Return the shell command that does *command* to a file below *place*, whatever its name holds."""
    import shlex  # few findings are about files

    path = place + table["path"][row]
    if path.isprintable():
        return "%s %s" % (command, shlex.quote(path))
    directory, depth = path.rpartition("/")[0], 1
    while not directory.isprintable():
        directory, depth = directory.rpartition("/")[0], depth + 1
    return "find %s -maxdepth %d -inum %d -exec %s {} +" % (
        shlex.quote(directory or "/"), depth, table["ino"][row], command,
    )  # fmt: skip


def shm_place(case: Case) -> str:
    """Return the directory of POSIX shared memory."""
    return case.snapshot.shm_mount.path if case.snapshot.shm_mount else "/dev/shm"


def large_and_idle(case: Case, kind: str, remedy: Callable[[int], str]) -> Iterator[FindingGroup]:
    """Yield the idle objects that are large and old enough to be worth a word to their owner."""
    table = case.table(kind)
    if table is None:
        return
    least, age = case.policy["audit", "idle_size"], case.policy["audit", "idle_age"]
    rows = [
        row
        for row, length in enumerate(table["size"])
        if length >= least and age_of(case, table, row) >= age and not table.columns.get("nattch", _ZEROS)[row]
    ]
    found = [(row, verdict) for row, verdict in zip(rows, judge(case, kind, rows)) if verdict.word == "idle"]
    if not found:
        return
    rows = [row for row, _ in found]
    yield FindingGroup(
        confidence="strong",
        kind=kind,
        table=table,
        rows=rows,
        columns=("size",),
        fields={"why": ["; ".join(verdict.reasons) for _, verdict in found], "fix": [remedy(row) for row in rows]},
        reason="{user} keeps {size}, unused for {age}; {why}",
        remedy="{fix}",
    )


class _Zeros:
    """An attach count for kinds that have none."""

    def __getitem__(self, row: int) -> int:
        return 0


_ZEROS: Any = _Zeros()
