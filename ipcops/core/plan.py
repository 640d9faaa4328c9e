"""What would be removed, and why everything else stays: pure, and decided before anything is done.

Every object of a removable kind ends in exactly one of both. What is in use, unknown, protected
or touched just now stays whatever the policy and the command line say.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

from .model import NOTHING, REMOVABLE_KINDS, Action, Evidence, Kept, Plan, Protection, Table, Verdict
from .policy import Candidate, Policy, RemoveSection
from .rules.base import age_of, protection, size
from .terms import JOB, OUTSIDE, TermsCase
from .tuples import NamedTuple
from .verdicts import Case, judge
from .verdicts.case import AGELESS, duration

COMMAND_LINE, JOB_ENDED = "command line", "job-ended"
"""What an action has for its section when no ``[remove NAME]`` took it."""

TOUCHED = 3.0
"""Seconds: an object used in the last two never goes; kernel times are cut to whole seconds."""

EXPECT: Mapping[str, Tuple[str, ...]] = {
    "shm": tuple("id key mode uid gid cuid cgid size nattch cpid lpid atime dtime ctime".split()),
    "sem": tuple("id key mode uid gid cuid cgid nsems otime ctime".split()),
    "msg": tuple("id key mode uid gid cuid cgid cbytes qnum qbytes lspid lrpid stime rtime ctime".split()),
    "posix-shm": tuple("path dev ino mode uid gid size nlink mtime ctime".split()),
    "posix-sem": tuple("path dev ino mode uid gid size nlink mtime ctime".split()),
    "posix-mq": tuple("path dev ino mode uid gid mtime maxmsg msgsize curmsgs".split()),
}
"""The columns that must be as they were when an object is removed.

Not the atime of files, nor the ctime of a POSIX queue: reading one changes it (ipc/mqueue.c, mqueue_read_file).
"""


class Ask(NamedTuple):
    """What a command line asks of a plan."""

    named: Optional[Mapping[str, Sequence[int]]] = None
    """Kind to the rows of the objects that were named; then no other goes, and these need neither age nor sighting."""
    kinds: Tuple[str, ...] = ()
    """Only these; empty is all."""
    owners: Optional[FrozenSet[int]] = None
    """Only objects of these uids."""
    min_age: Optional[float] = None
    """Seconds, in the place of every section's."""
    max_removals: Optional[int] = None
    """In the place of the policy's bound of a run."""
    with_data: bool = False
    """Whether queues that hold messages may go, too."""
    backup: Optional[str] = None
    """``full``, ``metadata`` or ``none``, in the place of every section's."""
    job: Optional[int] = None
    """The uid whose job ended: its objects go instead of what the sections name."""
    notified: Optional[FrozenSet[str]] = None
    """Identities that were announced to their owners: then no other goes."""
    uid: int = 0
    """Who runs this: an ordinary user may remove only what it owns or made."""


def identity(kind: str, table: Table, row: int, boot_id: Optional[str], namespace: int) -> str:
    """Return a text that is the same only for the same object, neither used nor changed in between."""
    return _identity(kind, [table[name][row] for name in EXPECT[kind] if name in table], boot_id, namespace)


def identity_of(action: Action, boot_id: Optional[str]) -> str:
    """Return the identity of what an action removes."""
    values = [action.expect[name] for name in EXPECT[action.kind] if name in action.expect]
    return _identity(action.kind, values, boot_id, action.namespace)


def _identity(kind: str, values: Iterable[Any], boot_id: Optional[str], namespace: int) -> str:
    return " ".join([kind, boot_id or "-", str(namespace), *("-" if one is None else str(one) for one in values)])


def make_plan(case: Case, policy: Policy, sightings: Mapping[str, float] = NOTHING, ask: Optional[Ask] = None) -> Plan:
    """Return what of one snapshot goes, and why the rest stays.

    *sightings*: identity to the seconds of boot clock since an object was first seen as it is now.
    """
    return _Planning(case, policy, sightings, ask or Ask()).run()


class _Wish(NamedTuple):
    """An object that its section lets go, if there is room."""

    table: Table
    row: int
    verdict: Verdict
    section: RemoveSection
    age: float
    backup: str
    bytes: int
    """What a backup of it takes at most."""


class _Planning:
    """The steps of one plan."""

    def __init__(self, case: Case, policy: Policy, sightings: Mapping[str, float], ask: Ask) -> None:
        self.case = case if case.policy is policy else Case(case.snapshot, policy, case.earlier)
        self.policy, self.sightings, self.ask = policy, sightings, ask
        self.snapshot = self.case.snapshot
        self.remove: List[Action] = []
        self.keep: List[Kept] = []
        self.sighted: List[str] = []
        self.wishes: Dict[str, List[_Wish]] = {}
        if ask.job is not None:
            self.sections: Tuple[RemoveSection, ...] = (
                RemoveSection(
                    JOB_ENDED, policy.job_kinds, min_age=0.0, owner_gone=JOB, accept=policy.job_accept,
                    on_excess="oldest", backup="full",
                ),
            )  # fmt: skip
        else:
            self.sections = policy.remove
        self.terms = {one.name: self._terms(one) for one in self.sections}

    def run(self) -> Plan:
        for kind in REMOVABLE_KINDS:
            table = self.case.table(kind)
            if table is not None and len(table):
                self._kind(kind, table)
        self._choose()
        snapshot = self.snapshot
        return Plan(
            remove=tuple(self.remove),
            keep=tuple(self.keep),
            boot_id=snapshot.host.boot_id,
            namespace=snapshot.namespace,
            made_at=snapshot.now,
            uptime=snapshot.uptime,
            policy_hash=self.policy.hash,
            sighted=tuple(self.sighted),
        )

    def _terms(self, section: RemoveSection) -> TermsCase:
        asked = self.ask.min_age if self.ask.job is None else None
        return TermsCase(self.case, section, section.min_age if asked is None else asked, self.ask.job)

    # ------------------------------------------------------------- one kind

    def _kind(self, kind: str, table: Table) -> None:
        guard = self._guard(kind, table)
        asked = [self._asked_for(kind, table, row) for row in range(len(table))]
        if self.ask.named is not None:
            named = frozenset(self.ask.named.get(kind, ()))
            asked = [why or ("" if row in named else "it was not named") for row, why in enumerate(asked)]
            covering: List[Tuple[RemoveSection, ...]] = [()] * len(table)
        else:
            covering = self._covering(kind, table)
        plain = [row for row in range(len(table)) if asked[row] or not covering[row]]
        verdicts = dict(zip(plain, judge(self.case, kind, plain)))
        for row in range(len(table)):
            verdict = verdicts.get(row)
            if verdict is None:
                self._on_terms(table, row, covering[row], guard(row))
            elif self.ask.named is not None and not asked[row]:
                self._named(table, row, verdict, guard(row))
            else:
                shown = None if self._unasked(kind, table, row) else verdict
                why = _never(shown, guard(row)) or asked[row] or "no [remove NAME] of the policy names it"
                if self.ask.job is not None and not asked[row]:
                    why = "[job] does not take kind %s" % kind
                self._stays(table, row, why, verdict)

    def _unasked(self, kind: str, table: Table, row: int) -> bool:
        """Whether a set is only unknown because nobody needed the kernel's word on its waiters."""
        if kind != "sem" or table["id"][row] in self.snapshot.semaphores:
            return False
        return self.case.object_gap(Evidence.SEMAPHORES, kind, table["id"][row]) is None

    def _asked_for(self, kind: str, table: Table, row: int) -> str:
        """Return why an object was not asked for, nothing if it was."""
        ask = self.ask
        if ask.kinds and kind not in ask.kinds:
            return "kind %s was not asked for" % kind
        if ask.owners is not None and table["uid"][row] not in ask.owners:
            return "objects of %s were not asked for" % self.snapshot.user(table["uid"][row])
        if ask.job is not None and table["uid"][row] != ask.job:
            return "it belongs to %s, not to %s" % (self.snapshot.user(table["uid"][row]), self.snapshot.user(ask.job))
        return ""

    def _covering(self, kind: str, table: Table) -> List[Tuple[RemoveSection, ...]]:
        """Return the sections that name each object, each question answered once."""
        sections = [one for one in self.sections if kind in one.kinds]
        keys = table["key"] if "key" in table and any(one.keys for one in sections) else [None] * len(table)
        by_name = any(one.names or one.families for one in sections)
        paths = table["path"] if "path" in table and by_name else [None] * len(table)
        known: Dict[Any, Tuple[RemoveSection, ...]] = {}
        found = []
        for what in zip(table["uid"], keys, paths):
            if what not in known:
                uid, key, path = what
                one = Candidate(kind, uid, self.snapshot.users.get(uid), key, path)
                known[what] = tuple(section for section in sections if section.covers(one, self.snapshot.members))
            found.append(known[what])
        return found

    def _guard(self, kind: str, table: Table) -> Callable[[int], Optional[Protection]]:
        """Return what protects the object of a row, asked once for all that are alike to the sections."""
        sections = [one for one in self.policy.protect if not one.kinds or kind in one.kinds]
        columns = ["uid"]
        columns += ["key"] if "key" in table and any(one.keys for one in sections) else []
        columns += ["path"] if "path" in table and any(one.names for one in sections) else []
        if any(one.units for one in sections):
            return lambda row: protection(self.case, table, row)
        known: Dict[Any, Optional[Protection]] = {}

        def guard(row: int) -> Optional[Protection]:
            what = tuple(table[name][row] for name in columns)
            if what not in known:
                known[what] = protection(self.case, table, row)
            return known[what]

        return guard

    # ------------------------------------------------------------- one object

    def _named(self, table: Table, row: int, verdict: Verdict, guard: Optional[Protection]) -> None:
        section = RemoveSection(COMMAND_LINE, (table.kind,), min_age=0.0, accept="strong")
        age = age_of(self.case, table, row)
        why = (
            _never(verdict, guard)
            or self._outside(table)
            or self._forbidden(table, row)
            or (_just_touched(age) if age != AGELESS else "")
            or self._announced(table, row)
            or self._data(table, row, section)
            or self._too_large(table, row, section)
        )
        if why:
            self._stays(table, row, why, verdict)
        else:
            self._wish(table, row, verdict, section, age)

    def _on_terms(
        self, table: Table, row: int, sections: Sequence[RemoveSection], guard: Optional[Protection]
    ) -> None:
        """Let an object go by the first section that takes it; else it stays for what the first one says."""
        first: Optional[Tuple[str, Verdict]] = None
        for section in sections:
            verdict = self.terms[section.name].verdict(table.kind, row)
            age = age_of(self.case, table, row)
            why = _never(verdict, guard) or self._forbidden(table, row)
            why = why or self._refusal(table, row, section, verdict, age)
            if not why:
                self._wish(table, row, verdict, section, age)
                return
            first = first or (why, verdict)
        if first is not None:
            self._stays(table, row, *first)

    def _refusal(self, table: Table, row: int, section: RemoveSection, verdict: Verdict, age: float) -> str:
        """Return why one section leaves an object that is neither used nor protected; nothing if it does not."""
        title = JOB_ENDED if self.ask.job is not None else "[remove %s]" % section.name
        if verdict.word != "orphan":
            return "; ".join(verdict.reasons)
        if section.owner_gone == "unit" and table.kind != "sem" and table["key"][row] != 0:
            return "%s takes by unit only what has a private key: any program can find this one by its key" % title
        if verdict.confidence not in ("certain", section.accept):
            return "%s takes only what is certain, this is %s (accept = strong would take it): %s" % (
                title, verdict.confidence, "; ".join(verdict.reasons),
            )  # fmt: skip
        least = self.terms[section.name].min_age
        if age < least:
            return "it was used %s ago, %s takes it after %s" % (duration(age), title, duration(least))
        return (
            _just_touched(age)
            or self._sighting(table, row)
            or self._announced(table, row)
            or self._data(table, row, section)
            or self._too_large(table, row, section)
        )

    def _outside(self, table: Table) -> str:
        """Return that a kind's users may be where nobody looked; the kernel itself counts those of segments."""
        return "" if table.kind == "shm" or self.snapshot.host.initial_pid_namespace else OUTSIDE

    def _forbidden(self, table: Table, row: int) -> str:
        """Return why who runs this may not remove an object (semctl(2), unlink(2) with a sticky directory)."""
        if self.ask.uid == 0 or any(table[name][row] == self.ask.uid for name in ("uid", "cuid") if name in table):
            return ""
        return "only root or %s may remove it" % self.snapshot.user(table["uid"][row])

    def _announced(self, table: Table, row: int) -> str:
        if self.ask.notified is None or self._identity(table, row) in self.ask.notified:
            return ""
        return "it was not announced to %s yet, as it is now" % self.snapshot.user(table["uid"][row])

    def _sighting(self, table: Table, row: int) -> str:
        """Return why a sighting is missing, and remember this one."""
        needed = float(self.policy["clean", "second_sighting"])
        if needed <= 0 or self.ask.job is not None:
            return ""
        identity_ = self._identity(table, row)
        self.sighted.append(identity_)
        since = self.sightings.get(identity_)
        if since is None:
            return "seen so for the first time; it goes if a run %s from now finds it unchanged" % duration(needed)
        if since < needed:
            return "first seen so %s ago; it goes when that is %s" % (duration(since), duration(needed))
        return ""

    def _identity(self, table: Table, row: int) -> str:
        return identity(table.kind, table, row, self.snapshot.host.boot_id, self.snapshot.namespace)

    def _data(self, table: Table, row: int, section: RemoveSection) -> str:
        """Return which messages keep a queue, or which other names a file: the rest would keep it."""
        if "nlink" in table and table["nlink"][row] not in (1, None):
            return "the file has %d names; only one of a single name goes" % table["nlink"][row]
        if table.kind == "posix-mq":
            held = table["curmsgs"][row]
            if held is None:
                return "whether it holds messages could not be seen"
            return "it holds %s, which cannot be copied, so it never goes" % _messages(held) if held else ""
        if table.kind == "msg" and table["qnum"][row] and not (section.with_data or self.ask.with_data):
            return "it holds %s; --with-data or with_data = yes would take them" % _messages(table["qnum"][row])
        return ""

    # ------------------------------------------------------------- backups

    def _backup(self, section: RemoveSection) -> str:
        return section.backup if self.ask.backup is None else self.ask.backup

    def _too_large(self, table: Table, row: int, section: RemoveSection) -> str:
        """Return why an object's contents would be too much for a backup."""
        if self._backup(section) != "full":
            return ""
        most = self.policy["clean", "backup_object"]
        length = _contents(table, row)
        if length > most:
            what = "its backup would take up to %s, more than [clean] backup_object = %s; raise that or write %s"
            return what % (size(length), size(most), "backup = metadata")
        if table.kind == "msg" and table["qnum"][row] > self.policy["clean", "backup_messages"]:
            what = "it holds more messages than [clean] backup_messages = %d; raise that or write backup = metadata"
            return str(what % self.policy["clean", "backup_messages"])
        return ""

    # ------------------------------------------------------------- all objects

    def _wish(self, table: Table, row: int, verdict: Verdict, section: RemoveSection, age: float) -> None:
        backup = self._backup(section)
        bytes_ = _contents(table, row) if backup == "full" else 0
        wish = _Wish(table, row, verdict, section, age, backup, bytes_)
        self.wishes.setdefault(section.name, []).append(wish)

    def _choose(self) -> None:
        """Let go what there is room for, by the bounds of sections, run and backups."""
        room = self.policy["clean", "max_removals"] if self.ask.max_removals is None else self.ask.max_removals
        bytes_ = self.policy["clean", "backup_bytes"]
        for section in [*self.sections, RemoveSection(COMMAND_LINE, REMOVABLE_KINDS)]:
            wishes = self.wishes.get(section.name, [])
            going, why = self._fitting(section, wishes, room)
            chosen = {id(one) for one in going}
            for one in wishes:
                if id(one) not in chosen:
                    self._stays(one.table, one.row, why, one.verdict)
                elif one.bytes > bytes_:
                    full = "the backups of this run would exceed [clean] backup_bytes = %s"
                    self._stays(one.table, one.row, full % size(self.policy["clean", "backup_bytes"]), one.verdict)
                else:
                    bytes_ -= one.bytes
                    room -= 1
                    self.remove.append(self._action(one))

    def _fitting(self, section: RemoveSection, wishes: List[_Wish], room: int) -> Tuple[List[_Wish], str]:
        """Return which objects of one section fit, and why the others stay."""
        if section.name == COMMAND_LINE and self.ask.max_removals is None:
            return wishes, ""  # whoever named them has counted them
        own = section.max_removals
        most = room if own is None else min(own, room)
        if len(wishes) <= most:
            return wishes, ""
        title = section.name if section.name in (COMMAND_LINE, JOB_ENDED) else "[remove %s]" % section.name
        bound = "its own max_removals" if own is not None and own <= room else "what max_removals leaves of this run"
        why = "%s would take %d objects, %s is %d" % (title, len(wishes), bound, most)
        if section.on_excess == "oldest":
            oldest = sorted(wishes, key=lambda one: -one.age)
            return oldest[:most], why + "; older ones go first"
        return [], why + "; so none goes: raise it, or write on_excess = oldest"

    def _action(self, one: _Wish) -> Action:
        table, row = one.table, one.row
        return Action(
            **_names(table, row),
            namespace=self.snapshot.namespace,
            expect={name: table[name][row] for name in EXPECT[table.kind] if name in table},
            section=one.section.name,
            reasons=one.verdict.reasons,
            confidence=one.verdict.confidence,
            backup=one.backup,
            with_data=one.section.with_data or self.ask.with_data,
        )

    def _stays(self, table: Table, row: int, why: str, verdict: Verdict) -> None:
        self.keep.append(Kept(**_names(table, row), why=why, verdict=verdict.word))


def _never(verdict: Optional[Verdict], guard: Optional[Protection]) -> str:
    """Return what nothing can waive: that an object is in use, unknown or protected."""
    if verdict is not None and verdict.word not in ("idle", "orphan"):
        return "; ".join(verdict.reasons)
    return "protected by [protect %s]: %s" % (guard.name, guard.reason) if guard is not None else ""


def _just_touched(age: float) -> str:
    return "it was used just now" if age < TOUCHED else ""


def _contents(table: Table, row: int) -> int:
    """Return how many bytes a full backup of an object takes at most: holes are left out."""
    if table.kind == "shm":
        length = int(table["size"][row])
        return min(length, table["rss"][row] + table["swap"][row]) if "rss" in table and "swap" in table else length
    if table.kind == "msg":
        return int(table["cbytes"][row])
    return min(int(table["size"][row]), int(table["blocks"][row])) if "blocks" in table else 0


def _messages(count: int) -> str:
    return "1 message" if count == 1 else "%d messages" % count


def _names(table: Table, row: int) -> Dict[str, Any]:
    """Return what an object goes by."""
    names: Dict[str, Any] = {"kind": table.kind}
    names.update({name: table[name][row] if name in table else None for name in ("id", "key", "path")})
    return names
