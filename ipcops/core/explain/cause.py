"""What can make a call fail: a limit and how near it is, as one value; and what all limits ask of a snapshot."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..model import ENDLESS, Caller, Evidence, Gap, Table
from ..rules.base import size
from ..tuples import NamedTuple
from ..verdicts.case import Case, missing

STATES = ("reached", "near", "unknown", "per-request", "free")
"""Worst first. ``per-request``: the limit is on what one call asks for, not on how much there is already."""

SCOPES = ("namespace", "user", "process", "host", "object", "request")

CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_IPC_LOCK": 14,
    "CAP_IPC_OWNER": 15,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
}
"""Bits of the capabilities that let a caller past a limit (include/uapi/linux/capability.h)."""

MOST = 3
"""As many users and objects are named."""


class Cause(NamedTuple):
    """One reason why a call can fail, and where it stands. Numbers are in ``unit``; ``None`` is not known, or none."""

    limit: str
    """As its manual page calls it."""
    scope: str
    state: str
    why: str
    remedy: str
    setting: Optional[str] = None
    """Where it is set."""
    unit: Optional[str] = None
    used: Optional[int] = None
    max: Optional[int] = None
    left: Optional[int] = None
    """What is left, or the largest request that still works."""
    users: Sequence[Mapping[str, Any]] = ()
    objects: Sequence[Mapping[str, Any]] = ()
    passes: Optional[str] = None
    """The right by which this caller gets past it."""
    fails: bool = True
    """Whether the call itself fails by it; no where something else goes wrong later."""
    own: bool = True
    """Whether it is about this caller, or about everybody; no where it is about another user."""
    errno: Optional[str] = None

    @property
    def share(self) -> Optional[float]:
        """How much of the limit is used, 1.0 being all of it."""
        if self.used is None or self.max is None:
            return None
        return round(self.used / self.max, 4) if self.max > 0 else 1.0


class View:
    """A snapshot as one caller sees it."""

    def __init__(self, case: Case, caller: Caller) -> None:
        self.case, self.snapshot, self.caller = case, case.snapshot, caller
        self.page = case.snapshot.host.page_size

    @property
    def you(self) -> str:
        """The caller in words, as whom objects see it."""
        return "you (%s)" % self.snapshot.user(self.caller.euid)

    def right(self, *names: str, over_ipc: bool = False) -> Optional[str]:
        """Return the first of the capabilities that this caller has over the whole host.

        *over_ipc* asks for one that need only hold in the user namespace of our IPC namespace (ns_capable()).
        """
        caller = self.caller
        if not (caller.initial_user_namespace or (over_ipc and caller.owns_ipc)):
            return None
        return next((name for name in names if caller.capabilities >> CAPABILITIES[name] & 1), None)

    def limit(self, name: str, kind: str) -> Any:
        """Return a limit of a kind. Raise UnseenError."""
        value = self.snapshot.limits.get(name)
        if value is None:
            gaps = [gap for gap in self.snapshot.gaps_of(Evidence.LIMITS, kind) if gap.what == name]
            raise UnseenError(missing(gaps) if gaps else "this kernel has no %s" % name)
        return value

    def resource(self, name: str) -> Tuple[int, int]:
        """Return a resource limit of the caller itself, soft and hard. Raise UnseenError."""
        if name not in self.caller.limits:
            gaps = [gap for gap in self.caller.gaps if gap.what == "/proc/self/limits"]
            raise UnseenError(missing(gaps) if gaps else "/proc/self/limits does not tell RLIMIT_%s" % name.upper())
        return self.caller.limits[name]

    def value(self, name: str) -> int:
        """Return a setting or counter of the host. Raise UnseenError."""
        if name not in self.caller.values:
            file = name if "." in name else "/proc/meminfo"
            gaps = [gap for gap in self.caller.gaps if gap.what == file]
            raise UnseenError(missing(gaps) if gaps else "this kernel does not tell %s" % name)
        return int(self.caller.values[name])

    def table(self, kind: str) -> Table:
        """Return the objects of a kind that were seen. Raise UnseenError."""
        table = self.case.table(kind)
        if table is None:
            gaps = self.snapshot.gaps_of(Evidence.TABLE, kind)
            raise UnseenError(missing(gaps) if gaps else "there is no list of the kind %s" % kind)
        return table

    def unlisted(self, kind: str) -> List[Gap]:
        """Return what of a kind's table was not seen, where the rest was."""
        return self.snapshot.gaps_of(Evidence.TABLE, kind)

    def hidden(self, uid: int, more: Sequence[Gap]) -> List[Gap]:
        """Return what was not seen of the processes that act as a user: they, or *more* of them."""
        by_pid = self.snapshot.processes.by_pid
        gaps = [*self.snapshot.gaps_of(Evidence.PROCESSES), *more]
        return [gap for gap in gaps if gap.pid is None or gap.pid not in by_pid or uid in by_pid[gap.pid].uids]

    def state(self, used: int, most: int, need: int = 1) -> str:
        """Return where a limit stands, when the least that a call takes is *need*."""
        if most - used < need:
            return "reached"
        return "near" if used >= self.case.policy["audit", "near_limit"] * most else "free"

    def who(self, uid: int, count: int, **more: Any) -> Dict[str, Any]:
        """Return one user of a limit."""
        return {"uid": uid, "user": self.snapshot.users.get(uid), "count": count, **more}

    def named(self, table: Table, rows: Sequence[int], **more: Sequence[int]) -> List[Dict[str, Any]]:
        """Return the first few objects in *rows*, with further numbers of each row."""
        found = []
        for at, row in enumerate(rows[:MOST]):
            path = table["path"][row] if "path" in table else None
            key = table["key"][row] if "key" in table else None
            uid = table["uid"][row]
            found.append(
                {
                    "kind": table.kind,
                    "id": table["id"][row] if "id" in table else None,
                    "key": None if key is None else "0x%08x" % key,
                    "path": path,
                    "owner": {"uid": uid, "user": self.snapshot.users.get(uid)},
                    "mode": "%04o" % (table["mode"][row] & 0o7777) if path else "%04o" % (table["mode"][row] & 0o777),
                    **{name: values[at] for name, values in more.items()},
                }
            )
        return found


class UnseenError(Exception):
    """Something that a limit depends on was not seen; why, in words."""


def counted(  # noqa: PLR0913  # each is a field of the one cause that it makes
    view: View,
    about: Cause,
    *,
    used: int,
    most: int,
    phrase: str,
    need: int = 1,
    takes: str = "",
    unseen: Sequence[Gap] = (),
) -> Cause:
    """Return *about* with its numbers, state and words: *used* of *most* ``phrase``.

    *need* is what the smallest call takes, *takes* says so. With *unseen* the number is the least that it can be.
    """
    state, left = view.state(used, most, need), max(0, most - used)
    least = "at least " if unseen and state != "reached" else ""
    of = "" if most >= ENDLESS else " of %s" % amount(most, about.unit)
    why = "%s%s%s %s" % (least, amount(used, about.unit), of, phrase)
    if not of:
        why += "; the limit, %d, is as good as none" % most
    elif state == "reached":
        why += "; none is left" if not left else "; %s left, and %s" % (amount(left, about.unit), takes)
    elif unseen:
        why += "; what is left cannot be told: %s" % missing(unseen)
        state = "unknown" if state == "free" else state
    else:
        why += "; %s left" % amount(left, about.unit)
    if about.passes:
        why += "; you get past it with %s, others do not" % about.passes
    return about._replace(state=state, why=why, used=used, max=most, left=None if least else left)


def per_request(about: Cause, *, largest: int, why: str, least: int = 1) -> Cause:
    """Return *about* as a limit on one request, of which *largest* still works and *least* is the smallest."""
    state = "reached" if largest < least else "per-request"
    return about._replace(state=state, why=why, left=max(0, largest))


def unknown(about: Cause, why: str) -> Cause:
    """Return *about* as one that cannot be judged."""
    return about._replace(state="unknown", why="cannot be told: %s" % why)


def amount(number: int, unit: Optional[str]) -> str:
    """Return a number in words: bytes with their size."""
    if unit == "bytes" and number >= 1024:
        return "%d bytes (%s)" % (number, size(number))
    return "%d bytes" % number if unit == "bytes" else "%d" % number


def raised(limit: int, used: int, ceiling: int, least: int = 16) -> Optional[int]:
    """Return a limit that leaves room, at most *ceiling*; ``None`` where the kernel takes none that does."""
    more = min(max(2 * limit, 2 * used, least), ceiling)
    return more if more > max(limit, used) else None


def sorted_causes(causes: Sequence[Cause]) -> Tuple[Cause, ...]:
    """Return causes worst first; those of one limit stay together, the caller's own first."""
    worst: Dict[str, Tuple[int, bool, float]] = {}
    for cause in causes:
        rank = (STATES.index(cause.state), cause.passes is not None, -(cause.share or 0.0))
        worst[cause.limit] = min(worst.get(cause.limit, rank), rank)
    return tuple(sorted(causes, key=lambda cause: (worst[cause.limit], cause.limit, not cause.own)))
