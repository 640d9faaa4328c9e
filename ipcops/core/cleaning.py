"""The way from a request to a change of the host: what is looked at, asked, locked, written down and told."""

from __future__ import annotations

import os
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from .cleanreport import clean_report, held_bytes, named_and_kept, with_outcomes
from .collect.host import read_host
from .collect.snapshot import Look, take
from .collect.users import read_uids
from .errors import InputError, IpcopsError, unknown_word
from .fs import Roots, read_text
from .kernel import Kernel
from .model import REMOVABLE_KINDS, Kept, Plan, Report, Request, Snapshot, Table
from .naming import matching, parse_object, require_objects, require_removable, require_something
from .plan import Ask, identity, identity_of, make_plan
from .planfile import Agreed, asked_of, checked_plan, parse_plan
from .policy import Policy
from .rules.base import age_of, candidate, protection, size
from .state import State, default_path
from .tuples import NamedTuple
from .verdicts import Case

SYSTEM_UID_MAX = 999
"""What login.defs(5) has for SYS_UID_MAX: below are services, whose objects outlive any one process."""


def clean(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    """Return the plan of what would go, or with ``apply`` what became of it. Raise IpcopsError.

    Keys of a request are the options of the command line, and: ``planned`` (the plan that a person was shown just
    now), ``approved`` (the content of a saved plan, or its ``plan`` alone, in the place of the path of one),
    ``missing_ok`` (whether objects that are named may be gone already), ``foresee`` (whether a plan tells as failed
    what will fail when it is carried out), ``preview`` (whether nobody is to be notified).
    """
    agreed = _agreed(request)
    asked = asked_of(request) if agreed is None else agreed["asked"]
    _check(asked, request)
    run = _Run(request, asked, policy, roots, kernel)
    if not request.get("apply"):
        return run.planned(agreed)
    with run.state.lock():
        return run.applied(agreed)


def _agreed(request: Request) -> Optional[Dict[str, Any]]:
    """Return the plan that was shown, if one was: by the run that asked, or by one that saved it."""
    if request.get("planned") is not None:
        return dict(request["planned"])
    path: Any = request.get("plan")
    approved: Any = request.get("approved")
    if path is None and approved is None:
        return None
    doubled = sorted(asked_of(request))
    if doubled:
        raise InputError(
            "a saved plan says itself what goes; leave out %s" % ", ".join(_OPTIONS[name] for name in doubled)
        )
    if path is None:
        return checked_plan(approved if "plan" in approved else {"plan": approved}, "plan")
    try:
        return parse_plan(read_text(path), path)
    except OSError as error:
        raise InputError("plan '%s' cannot be read: %s" % (path, error.strerror)) from error


_OPTIONS = {
    "objects": "the objects named",
    "kinds": "--kind",
    "owner": "--owner",
    "min_age": "--min-age",
    "max_removals": "--max-removals",
    "with_data": "--with-data",
    "job_ended": "--job-ended",
    "no_backup": "--no-backup",
    "notify": "--notify",
}
_ALONE = {
    "objects": ("kinds", "owner", "min_age", "job_ended", "notify"),
    "job_ended": ("owner", "min_age", "notify"),
}
"""What says already all that the others would narrow."""


def _check(asked: Mapping[str, Any], request: Request) -> None:
    if request.get("yes") and not request.get("apply"):
        raise InputError("--yes answers what --apply would ask; add --apply, or leave --yes out")
    if asked.get("no_backup") and request.get("backup") is not None:
        raise InputError("--backup and --no-backup exclude each other")
    for one, others in _ALONE.items():
        if one in asked:
            for other in others:
                if other in asked:
                    raise InputError("%s and %s exclude each other" % (_OPTIONS[one], _OPTIONS[other]))
    for kind in asked.get("kinds", ()):
        if kind not in REMOVABLE_KINDS:
            raise unknown_word("removable kind", kind, REMOVABLE_KINDS)
    if asked.get("max_removals", 0) < 0:
        raise InputError("--max-removals %d is out of bounds; from 0 on" % asked["max_removals"])


def _named(asked: Mapping[str, Any]) -> List[Tuple[str, str]]:
    """Return kind and name of each object that was named. Raise InputError for one of a kind that is never removed."""
    named = [parse_object(word) for word in asked.get("objects", ())]
    for kind, name in named:
        require_removable(kind, name)
    return named


def _uid(user: str) -> int:
    """Return the uid of a user by name or number. Raise InputError."""
    found = read_uids([user])
    if found:
        return int(next(iter(found)).split()[1])
    if user.isdigit():
        return int(user)
    raise InputError("this host has no user '%s'" % user)


class _Planned(NamedTuple):
    """A plan, what it was made of, and what it would be if everything had been announced."""

    case: Case
    plan: Plan
    whole: Plan
    before: Mapping[str, float]
    """What was sighted before, and how long ago."""


class _New(NamedTuple):
    """An object that its owner is to be told of."""

    table: Table
    row: int
    identity: str
    goes: bool

    @property
    def name(self) -> str:
        """How the command line calls it."""
        return "%s:%s" % (self.table.kind, self.table["id" if "id" in self.table else "path"][self.row])


class _Run:
    """One run of ``clean``."""

    def __init__(
        self, request: Request, asked: Mapping[str, Any], policy: Policy, roots: Roots, kernel: Kernel
    ) -> None:
        self.request, self.asked, self.policy, self.roots, self.kernel = request, asked, policy, roots, kernel
        self.uid = os.geteuid()
        self.state = State(default_path(policy, self.uid))
        self.named = _named(asked)
        self.owner = _uid(asked["owner"]) if "owner" in asked else None
        self.job = self._job()
        kinds = asked.get("kinds") or [kind for kind, _ in self.named] or REMOVABLE_KINDS
        self.kinds = tuple(kind for kind in REMOVABLE_KINDS if kind in kinds)
        self.notes: List[str] = []

    def _job(self) -> Optional[int]:
        if "job_ended" not in self.asked:
            return None
        user = self.asked["job_ended"]
        uid = _uid(user)
        if uid <= SYSTEM_UID_MAX:
            what = "'%s' is a system user (uid %d), whose objects no job left; name the objects themselves"
            raise InputError(what % (user, uid))
        return uid

    # ------------------------------------------------------------- looking

    def _look(self, kinds: Tuple[str, ...]) -> Snapshot:
        since = self.state.booted_at(read_host(self.roots.proc).boot_id)
        look = Look(kinds, self.request.get("deadline"), units=True, details=True, booted_at=since)

        def ask_about(seen: Snapshot) -> Iterable[int]:
            return self._sets(seen)

        return take(self.roots, self.kernel, self.policy, look, ask_about=ask_about)[0]

    def _sets(self, seen: Snapshot) -> Iterable[int]:
        """Return the sets whose semaphores decide anything: who waits for one, and who was last to operate it."""
        table = seen.tables.get("sem")
        if table is None or not len(table):
            return ()
        if self.named:
            return sorted({row for kind, name in self.named if kind == "sem" for row in matching(seen, kind, name)})
        if self.job is not None:
            return [row for row, uid in enumerate(table["uid"]) if uid == self.job]
        from .verdicts import sem

        case = Case(seen, self.policy)
        asked = set(sem.candidates(case))
        sections = [section for section in self.policy.remove if "sem" in section.kinds]
        if sections:
            cutoff = case.cutoff(min(self.asked.get("min_age", section.min_age) for section in sections))
            times = zip(table["otime"], table["ctime"])
            asked.update(row for row, (otime, ctime) in enumerate(times) if max(otime, ctime) <= cutoff)
        return sorted(asked)

    def _ask(self, snapshot: Snapshot) -> Ask:
        asked = self.asked
        named: Optional[Dict[str, List[int]]] = None
        if self.named:
            named = {}
            for kind, name in self.named:
                named.setdefault(kind, []).extend(matching(snapshot, kind, name))
        return Ask(
            named=named,
            kinds=self.kinds,
            owners=None if self.owner is None else frozenset((self.owner,)),
            min_age=asked.get("min_age"),
            max_removals=asked.get("max_removals"),
            with_data=bool(asked.get("with_data")),
            backup="none" if asked.get("no_backup") else None,
            job=self.job,
            uid=self.uid,
        )

    # ------------------------------------------------------------- the plan

    def _plan(self) -> _Planned:
        """Look, and return what goes."""
        runs = self._job_runs()
        snapshot = self._look(self.kinds)
        require_something(snapshot)
        self._require(snapshot)
        runs = runs or self._job_runs()
        case = Case(snapshot, self.policy)
        sightings = self.state.sightings.read(snapshot.host.boot_id, snapshot.uptime)
        ask = self._ask(snapshot)
        if runs:
            ask = ask._replace(max_removals=0)
            self.notes.append("%s; so nothing of this job is taken" % runs)
        whole = make_plan(case, self.policy, sightings, ask)
        if not self.asked.get("notify"):
            return _Planned(case, whole, whole, sightings)
        announced = ask._replace(notified=self._announced(snapshot))
        return _Planned(case, make_plan(case, self.policy, sightings, announced), whole, sightings)

    def _require(self, snapshot: Snapshot) -> None:
        """Raise InputError for a name of nothing, unless ``missing_ok``: what is to go and is not there is done."""
        try:
            require_objects([snapshot], self.named)
        except InputError as error:
            if not self.request.get("missing_ok"):
                raise
            self.notes.append(str(error))

    def _announced(self, snapshot: Snapshot) -> FrozenSet[str]:
        """Return what was announced long enough ago."""
        told = self.state.announced.read(snapshot.host.boot_id, snapshot.uptime)
        patience = self.policy["clean", "second_sighting"]
        return frozenset(one for one, since in told.items() if since >= patience)

    def _job_runs(self) -> str:
        """Return in words that the user whose job ended runs a process, before or after the look at the objects."""
        if self.job is None:
            return ""
        presence = Case(self._look(()), self.policy).presence((self.job,))
        return "" if presence.state == "none" else presence.words

    def _remember(self, planned: _Planned) -> None:
        """Note what was seen now, for the second sighting; under the lock."""
        snapshot = planned.case.snapshot
        self.state.note_clock(snapshot.host.boot_id, snapshot.now - snapshot.uptime)
        if self.named or self.job is not None:
            return
        found: Dict[str, List[str]] = {kind: [] for kind in snapshot.tables}
        for one in [*planned.whole.sighted, *_unseen(planned)]:
            found[one.partition(" ")[0]].append(one)
        narrowed = self.owner is not None or "min_age" in self.asked
        note = self.state.sightings.add if narrowed else self.state.sightings.write
        note(found, snapshot.host.boot_id, snapshot.uptime)

    def planned(self, agreed: Optional[Mapping[str, Any]]) -> Report:
        """Return the report of a plan; what was seen is remembered where that is possible."""
        planned = self._plan()
        try:
            with self.state.lock():
                self._remember(planned)
        except IpcopsError as error:
            self.notes.append("what was seen now could not be noted for a second sighting: %s" % error)
        planned, missing = self._only(planned, agreed)
        report = clean_report(planned.case, planned.plan, asked=self.asked, missing=missing, notes=self.notes)
        if self.request.get("foresee"):
            report["failed"] += named_and_kept(report)
        return self._notified(report, planned) if agreed is None else report

    def _only(
        self, planned: _Planned, agreed: Optional[Mapping[str, Any]]
    ) -> Tuple[_Planned, Sequence[Mapping[str, Any]]]:
        """Return the plan with nothing but what was shown, and what of that is in it no more. Raise InputError."""
        if agreed is None:
            return planned, ()
        plan = planned.plan
        for name, words in (
            ("boot_id", "in another boot of this host"),
            ("namespace", "in another IPC namespace"),
            ("policy_hash", "by another policy than %s now says" % self.policy.source),
        ):
            if agreed[name] != getattr(plan, name):
                raise InputError("the plan was made %s; make a new one" % words)
        shown = Agreed(agreed["remove"])
        remove = tuple(one for one in plan.remove if shown.has(one))
        others = tuple(
            Kept(one.kind, one.id, one.key, one.path, "it is not in the plan that was shown", "orphan")
            for one in plan.remove
            if not shown.has(one)
        )
        return planned._replace(plan=plan._replace(remove=remove, keep=plan.keep + others)), shown.left(plan)

    # ------------------------------------------------------------- carrying out

    def applied(self, agreed: Optional[Mapping[str, Any]]) -> Report:
        """Carry out the plan, under the lock; before it is made, what a run that was killed left is put right."""
        from .apply import apply_plan, settle  # what removes is loaded by no run that only plans
        from .journal import Journal, caller
        from .keeping import means_of

        means = means_of(self.request, self.policy, self.roots, self.kernel)
        with Journal(self.state, self.policy, caller("clean"), read_host(self.roots.proc).boot_id) as journal:
            settled = settle(journal, means)
            planned, missing = self._only(self._plan(), agreed)
            self._remember(planned)
            done = apply_plan(planned.plan, journal, means)
            path = journal.path
        case = planned.case
        if settled:
            left = "1 object" if settled == 1 else "%d objects" % settled
            self.notes.append("an earlier run ended early; what became of %s of its is in the journal now" % left)
        if done.error is not None:
            self.notes.append("the run stopped: %s" % done.error)
        self.notes += done.notes
        report = clean_report(case, planned.plan, asked=self.asked, missing=missing, notes=self.notes)
        report = with_outcomes(
            report,
            done.outcomes,
            journal=path,
            backup=self._backup([one.backup for one in done.outcomes if one.done and one.backup]),
            interrupted=done.interrupted,
        )
        return self._notified(report, planned)

    def _backup(self, places: Sequence[str]) -> Optional[Dict[str, Any]]:
        """Return where backups lie, and what ``restore`` takes for each."""
        if not places:
            return None
        batches = dict.fromkeys(place.partition(":")[0] for place in places)
        elsewhere = self.request.get("backup")
        if elsewhere is None:
            return {"directory": self.state.backups, "names": list(batches)}
        from .keeping import pack_path

        directory = os.path.abspath(elsewhere)
        return {"directory": directory, "names": [pack_path(directory, batch) for batch in batches]}

    # ------------------------------------------------------------- telling owners

    def _notified(self, report: Report, planned: _Planned) -> Report:
        """Tell owners of what a later run takes and of what only they can give up; note what they were told of."""
        if not self.asked.get("notify") or self.request.get("preview"):
            return report
        from .notify import Notice, send

        snapshot, whole = planned.case.snapshot, planned.whole
        before = self.state.announced.read(snapshot.host.boot_id, snapshot.uptime)
        news: Dict[int, List[_New]] = {}
        for one in [*_going(planned), *_idle(planned, self.asked.get("min_age"))]:
            if one.identity not in before:
                news.setdefault(one.table["uid"][one.row], []).append(one)
        notified = []
        told: Dict[str, List[str]] = {}
        for uid, members in sorted(news.items()):
            held = sum(held_bytes(one.table, one.row) or 0 for one in members)
            notice = Notice(
                user=snapshot.users.get(uid),
                owner=snapshot.user(uid),
                going=[one.name for one in members if one.goes],
                idle=[one.name for one in members if not one.goes],
                size=size(held) if held else "",
            )
            error = send(notice, snapshot.host.hostname)
            if error is None:
                for one in members:
                    told.setdefault(one.table.kind, []).append(one.identity)
            notified.append(
                {"owner": notice.owner, "to": notice.user or "root", "objects": len(members), "error": error}
            )
        if told:
            self.state.announced.add(told, whole.boot_id, snapshot.uptime)
        return {**report, "notified": notified}


def _unseen(planned: _Planned) -> Iterator[str]:
    """Yield what was sighted before and is as it was, but could not be judged this time: no reason to wait anew."""
    if not planned.before:
        return
    snapshot, rows = planned.case.snapshot, _rows(planned.case.snapshot)
    for kept in planned.whole.keep:
        if kept.verdict == "unknown":
            row = rows[kept.kind][kept.path if kept.id is None else kept.id]
            one = identity(kept.kind, snapshot.tables[kept.kind], row, snapshot.host.boot_id, snapshot.namespace)
            if one in planned.before:
                yield one


def _going(planned: _Planned) -> Iterator[_New]:
    """Yield what would go if it had been announced."""
    tables, rows, boot_id = planned.case.snapshot.tables, _rows(planned.case.snapshot), planned.whole.boot_id
    taken = {identity_of(action, boot_id) for action in planned.plan.remove}
    for action in planned.whole.remove:
        one = identity_of(action, boot_id)
        if one not in taken:
            row = rows[action.kind][action.path if action.id is None else action.id]
            yield _New(tables[action.kind], row, one, goes=True)


def _idle(planned: _Planned, min_age: Optional[float]) -> Iterator[_New]:
    """Yield what the policy names and has been unused for long enough, but whose owner is still there."""
    case = planned.case
    snapshot, rows = case.snapshot, _rows(case.snapshot)
    for kept in planned.whole.keep:
        if kept.verdict != "idle":
            continue
        table = snapshot.tables[kept.kind]
        row = rows[kept.kind][kept.path if kept.id is None else kept.id]
        one, age = candidate(case, table, row), age_of(case, table, row)
        named = any(
            section.covers(one, snapshot.members) and age >= (section.min_age if min_age is None else min_age)
            for section in case.policy.remove
        )
        if named and protection(case, table, row) is None:
            yield _New(
                table, row, identity(kept.kind, table, row, snapshot.host.boot_id, snapshot.namespace), goes=False
            )


def _rows(snapshot: Snapshot) -> Dict[str, Dict[Any, int]]:
    """Return by kind which row an id or a path has."""
    return {
        kind: {name: row for row, name in enumerate(table["id" if "id" in table else "path"])}
        for kind, table in snapshot.tables.items()
        if kind in REMOVABLE_KINDS
    }
