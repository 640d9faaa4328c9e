"""A snapshot under judgement: the questions that every kind asks, each answered once.

Identity of a process number (rules.md P1): the number in an object is a process only if that
process began before the operation it is said to have done. 0 is no process: another PID
namespace, or nothing yet.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple

from ..model import OVERFLOW_ID, Evidence, Gap, Process, Snapshot, Table, Verdict
from ..policy import Policy
from ..tuples import NamedTuple

SLACK = 2.0
"""Seconds: kernel times are whole seconds and boot time is only known that well."""

AGELESS = -1.0
"""The age of what was used before the clock was set: less than any that is asked for."""

FEW = 3
"""As many processes may be unknown for a suspicion to be worth saying."""

ALIVE, DEAD, REUSED, FOREIGN, UNKNOWN = "alive", "dead", "reused", "foreign", "unknown"


class Presence(NamedTuple):
    """Whether anybody of some uids and gids runs: ``alive``, ``none`` or ``unknown``, and in words."""

    state: str
    words: str
    suspected: bool = False


class Case:
    """A snapshot and the policy to judge it by, with answers remembered."""

    def __init__(self, snapshot: Snapshot, policy: Policy, earlier: Sequence[Snapshot] = ()) -> None:
        self.snapshot = snapshot
        self.policy = policy
        self.earlier = tuple(earlier)
        self.undetermined: Dict[str, int] = {}
        """Kind to how many candidates for a leak nobody can tell about, as far as the rules have asked."""
        self.memo: Dict[str, Any] = {}
        """What several rules work out alike, by name."""
        self._presence: Dict[Tuple[FrozenSet[int], FrozenSet[int], bool], Presence] = {}
        self._object_gaps: Dict[Tuple[str, str], Dict[Optional[int], Gap]] = {}
        self._inner_pids: Optional[FrozenSet[int]] = None
        self._process_gaps = snapshot.gaps_of(Evidence.PROCESSES)
        self._listing_gap = next((gap for gap in self._process_gaps if gap.pid is None), None)
        self._unreadable_pids = frozenset(gap.pid for gap in self._process_gaps if gap.pid is not None)

    def table(self, kind: str) -> Optional[Table]:
        """Return a kind's table, if it could be read."""
        return self.snapshot.tables.get(kind)

    # ------------------------------------------------------------- time

    @property
    def orphan_age(self) -> float:
        """Seconds from which on an unused object can be an orphan."""
        return float(self.policy["audit", "orphan_age"])

    @property
    def booted_at(self) -> float:
        """The epoch second of the boot by today's clock; no kernel time lies before, unless it was set."""
        return self.snapshot.now - self.snapshot.uptime - SLACK

    def age(self, newest: int) -> float:
        """Return the seconds since a kernel time, or AGELESS where they are not known.

        System V objects and tmpfs files do not outlive a boot. One whose newest use seems to lie
        before it was used while the clock stood otherwise, and how long ago nothing tells.
        """
        if newest < self.booted_at:
            return AGELESS
        return max(0.0, min(self.snapshot.now - newest, self.snapshot.uptime))

    def cutoff(self, seconds: float) -> float:
        """Return the epoch second before which the newest use must lie for that age; see age."""
        if seconds > self.snapshot.uptime:
            return float("-inf")
        return self.snapshot.now - seconds

    # ------------------------------------------------------------- processes

    def identity(self, pid: int, newest: int) -> str:
        """Return what has become of the process that did something no later than *newest*."""
        if pid == 0:
            return FOREIGN
        process = self.snapshot.processes.by_pid.get(pid)
        if process is None:
            if self._listing_gap is not None or pid in self._unreadable_pids:
                return UNKNOWN
            return DEAD
        if process.zombie:
            return DEAD
        if process.started_at <= newest + SLACK:
            return ALIVE
        # Nothing here is older than the boot; if it seems so the clock was set, and then the
        # start times that are reckoned from it tell nothing either.
        return UNKNOWN if newest < self.booted_at else REUSED

    def named_gone(self, pid: int, newest: int) -> bool:
        """Return whether nobody is left whom a file's name can mean: it may be a number of any PID namespace."""
        if not self.snapshot.host.initial_pid_namespace or self.identity(pid, newest) != DEAD:
            return False
        if self._inner_pids is None:
            living = (process for process in self.snapshot.processes.by_pid.values() if process.lives)
            self._inner_pids = frozenset(pid for process in living for pid in process.inner_pids)
        return pid not in self._inner_pids

    def process(self, pid: int) -> str:
        """Return a process in words."""
        process = self.snapshot.processes.by_pid.get(pid)
        return "pid %d (%s)" % (pid, process.command) if process else "pid %d" % pid

    def presence(self, uids: Iterable[int], gids: Iterable[int] = (), *, everybody: bool = False) -> Presence:
        """Return whether any living process acts as one of *uids* or in one of *gids*.

        *everybody* is for a mode that admits all users: then any process counts.
        """
        key = (frozenset(uids), frozenset(gids), everybody)
        known = self._presence.get(key)
        if known is None:
            known = self._presence[key] = self._look_for(*key)
        return known

    def _look_for(self, uids: FrozenSet[int], gids: FrozenSet[int], everybody: bool) -> Presence:  # noqa: FBT001
        snapshot = self.snapshot
        if everybody:
            return Presence(ALIVE, "its mode lets every user use it, so nobody's absence proves anything")
        for uid in sorted(uids):
            running = snapshot.processes.users.get(uid)
            if running:
                return Presence(ALIVE, "%s runs %s" % (snapshot.user(uid), some(running)))
        for gid in sorted(gids):
            running = snapshot.processes.groups.get(gid)
            if running:
                group = snapshot.groups.get(gid) or "gid %d" % gid
                return Presence(ALIVE, "its mode admits group %s, which has %s" % (group, some(running)))
        names = " and ".join(snapshot.user(uid) for uid in sorted(uids))
        if not snapshot.host.all_ids_mapped and OVERFLOW_ID in uids | gids:
            return Presence(UNKNOWN, "its owner is not known in this user namespace")
        if self._listing_gap is not None:
            gap = self._listing_gap
            return Presence(UNKNOWN, "whether %s runs a process: %s" % (names, gap.why))
        if self._process_gaps:
            gap = self._process_gaps[0]
            words = "whether %s runs a process: %s, %s" % (names, gap.what, gap.why)
            return Presence(UNKNOWN, words, suspected=len(self._process_gaps) <= FEW)
        if not snapshot.host.initial_pid_namespace:
            return Presence(
                UNKNOWN, "whether %s runs a process outside this PID namespace cannot be seen" % names, suspected=True
            )
        return Presence("none", "%s runs no process" % names)

    def kept(self, unused: str, presence: Presence, age: float) -> Optional[Verdict]:
        """Return the verdict of an *unused* object that something keeps from being an orphan.

        Its users are there, or could not be seen, or it is young. ``None``: nothing does.
        """
        if presence.state == ALIVE:
            return Verdict("idle", "strong", (unused, presence.words))
        old = age >= self.orphan_age
        if presence.state == UNKNOWN:
            return Verdict("unknown", "suspect", (unused, presence.words), presence.suspected and old)
        if age == AGELESS:
            words = "its times lie before the boot, so the clock was set and its age is not known"
            return Verdict("idle", "strong", (unused, presence.words, words))
        if not old:
            young = "it was used %s ago; only after %s is it called an orphan"
            words = young % (duration(age), duration(self.orphan_age))
            return Verdict("idle", "strong", (unused, presence.words, words))
        return None

    def blocked_on(self, kind: str, object_id: Any) -> Optional[Verdict]:
        """Return the verdict of an object that threads are blocked on, if any are."""
        waiters = self.snapshot.processes.blocked.get((kind, object_id))
        if not waiters:
            return None
        first, count = waiters[0], "1 thread is" if len(waiters) == 1 else "%d threads are" % len(waiters)
        words = "%s blocked on it, first %s in %s" % (count, some([first.process]), first.call)
        return Verdict("in-use", "certain", (words,))

    def object_gap(self, evidence: str, kind: str, object_id: int) -> Optional[Gap]:
        """Return the gap in one piece of evidence about one object, or about all of its kind."""
        known = self._object_gaps.get((evidence, kind))
        if known is None:
            known = {gap.object_id: gap for gap in self.snapshot.gaps_of(evidence, kind)}
            self._object_gaps[evidence, kind] = known
        return known.get(object_id, known.get(None))

    def unseen(self, *evidence: str, kind: Optional[str] = None) -> List[Gap]:
        """Return the gaps in some pieces of evidence.

        A process that could not even be identified was not looked into either.
        """
        gaps = [gap for one in evidence for gap in self.snapshot.gaps_of(one, kind)]
        if not {Evidence.MAPS, Evidence.DESCRIPTORS, Evidence.BLOCKED}.isdisjoint(evidence):
            gaps += [gap for gap in self._process_gaps if gap.pid is not None]
        return gaps


def only_processes(gaps: Sequence[Gap]) -> bool:
    """Whether all that is missing is a look into single processes: enough to suspect."""
    return all(gap.pid is not None for gap in gaps)


def some(processes: Sequence[Process], most: int = 2) -> str:
    """Return processes in words: how many, and the first few."""
    shown = ", ".join("pid %d (%s)" % (one.pid, one.command) for one in processes[:most])
    if len(processes) == 1:
        return shown
    more = len(processes) - most
    return "%d processes: %s" % (len(processes), shown) + (" and %d more" % more if more > 0 else "")


def missing(gaps: Sequence[Gap]) -> str:
    """Return gaps in words: the first, and how many more."""
    text = "%s: %s" % (gaps[0].what, gaps[0].why)
    return text if len(gaps) == 1 else "%s (and %d more gaps)" % (text, len(gaps) - 1)


def duration(seconds: Optional[float]) -> str:
    """Return a time span in words, with one unit; one that is not known as a dash."""
    if seconds is None or seconds < 0:
        return "-"
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return "%d %s" % (seconds // unit, name)
    return "%d s" % seconds
