"""A snapshot judged on the terms of a ``[remove NAME]``: after which age, and who must be gone.

Terms say whose presence counts. What is held, waited for or could not be seen stays ``in-use`` or
``unknown`` whatever they are.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Optional, Tuple

from .model import Evidence, Gap, Process, Verdict
from .policy import RemoveSection
from .rules.base import newest_use
from .verdicts import Case, judge
from .verdicts.case import ALIVE, SLACK, UNKNOWN, Presence, missing

JOB = "job"
"""In the place of ``owner_gone``: one user runs no process at all."""

NONE = "none"
"""The state of a presence: nobody runs."""

OUTSIDE = "processes outside this PID namespace that may use it cannot be seen"

_BOOT = float("-inf")
"""When a process began that belongs to no unit: before anything it may have used."""


class TermsCase(Case):
    """One snapshot under the terms of one section. *job* is the uid whose job ended, for ``owner_gone`` JOB."""

    def __init__(self, case: Case, section: RemoveSection, min_age: float, job: Optional[int] = None) -> None:
        super().__init__(case.snapshot, case.policy, case.earlier)
        self.section = section
        self.min_age = min_age
        self.job = job
        self._kind, self._row = "", 0
        self._unseen: Dict[Tuple[Tuple[str, ...], Optional[str]], List[Gap]] = {}
        self._first: Dict[Tuple[FrozenSet[int], FrozenSet[int]], Tuple[float, Optional[Process]]] = {}
        self._units: Optional[Dict[str, float]] = None

    def verdict(self, kind: str, row: int) -> Verdict:
        """Return what is true of one object on these terms."""
        self._kind, self._row = kind, row
        found = judge(self, kind, (row,))[0]
        if found.word == "orphan":
            # The audit calls a file abandoned whose name carries a dead process, though its owner is there.
            presence = self.presence((self.snapshot.tables[kind]["uid"][row],))
            if presence.state != NONE:
                word = "idle" if presence.state == ALIVE else "unknown"
                return Verdict(word, "strong" if word == "idle" else "suspect", (*found.reasons, presence.words))
        return found

    @property
    def orphan_age(self) -> float:
        """Seconds from which on an unused object may go."""
        return self.min_age

    def unseen(self, *evidence: str, kind: Optional[str] = None) -> List[Gap]:
        """Return the gaps in some pieces of evidence, remembered: the objects are judged one by one."""
        known = self._unseen.get((evidence, kind))
        if known is None:
            known = self._unseen[evidence, kind] = super().unseen(*evidence, kind=kind)
        return known

    def presence(self, uids: Iterable[int], gids: Iterable[int] = (), *, everybody: bool = False) -> Presence:
        """Return whether anybody is there who counts on these terms.

        The audit asks only for the owner of a segment or file. Here everybody counts whom its mode
        lets use it, as for sets and queues.
        """
        way = self.section.owner_gone
        if way == "ignore":
            if self._kind != "shm" and not self.snapshot.host.initial_pid_namespace:  # a segment's users are counted
                return Presence(UNKNOWN, OUTSIDE)
            return Presence(NONE, "whoever else runs does not count (owner_gone = ignore)")
        if way == JOB:
            return super().presence(() if self.job is None else (self.job,))
        table = self.snapshot.tables[self._kind]
        mode = table["mode"][self._row]
        everybody = everybody or bool(mode & 0o006)
        if mode & 0o060:
            gids = {*gids, *(table[name][self._row] for name in ("gid", "cgid") if name in table)}
        if way == "unit":
            return self._of_units(frozenset(uids), frozenset(gids), everybody=everybody)
        return super().presence(uids, gids, everybody=everybody)

    # ------------------------------------------------------------- units

    def _of_units(self, uids: FrozenSet[int], gids: FrozenSet[int], *, everybody: bool) -> Presence:
        """Return whether any process may know the object: one whose unit did not begin after the last use.

        Root may use everything, so it counts only where it is the owner: what a server makes as root
        and hands to its workers has root for its creator.
        """
        table = self.snapshot.tables[self._kind]
        if table["uid"][self._row] != 0:
            uids -= {0}
        whole = super().presence(uids, gids, everybody=everybody)
        if everybody or whole.state != ALIVE:
            return whole
        unseen = self.unseen(Evidence.PROCESSES)
        if unseen:
            return Presence(UNKNOWN, "whether every process that may use it began later: %s" % missing(unseen))
        if not self.snapshot.host.initial_pid_namespace:
            return Presence(UNKNOWN, OUTSIDE)
        began, first = self._earliest(uids, gids)
        if first is not None and began <= newest_use(table, self._row) + SLACK:
            if first.unit is None:
                where = "belongs to no unit"
            else:
                where = "belongs to %s, which began before its last use" % first.unit
            return Presence(ALIVE, "%s %s" % (self.process(first.pid), where))
        names = " and ".join(self.snapshot.user(uid) for uid in sorted(uids))
        return Presence(NONE, "every process of %s belongs to a unit that began after its last use" % names)

    def _earliest(self, uids: FrozenSet[int], gids: FrozenSet[int]) -> Tuple[float, Optional[Process]]:
        """Return the process of some users and groups whose unit began first, and when that was."""
        known = self._first.get((uids, gids))
        if known is None:
            processes = self.snapshot.processes
            them = [one for uid in uids for one in processes.users.get(uid, ())]
            them += [one for gid in gids for one in processes.groups.get(gid, ())]
            first = min(them, key=self._began, default=None)
            known = self._first[uids, gids] = (_BOOT if first is None else self._began(first), first)
        return known

    def _began(self, process: Process) -> float:
        """Return when a process's unit began, as an epoch second: its eldest process tells, whoever's that is."""
        if self._units is None:
            self._units = dict(self.snapshot.unit_starts)
            for one in self.snapshot.processes.by_pid.values():
                if one.unit is not None:
                    self._units[one.unit] = min(self._units.get(one.unit, one.started_at), one.started_at)
        return _BOOT if process.unit is None else self._units[process.unit]
