"""Unix sockets and network sockets: what the kernel lists is in use.

A socket file is matched with its socket by device and inode, in every network namespace, and
never by path: the kernel keeps the path that bind(2) was given, which may be relative or renamed
since. A file that no socket is bound to is stale: to connect gives ECONNREFUSED for ever.
"""

from __future__ import annotations

from typing import List, Optional, Sequence

from ..model import Evidence, Gap, Process, Table, Verdict
from ..policy import idiom
from .case import FEW, Case, missing, only_processes, some


def judge_unix(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row of ``unix``."""
    table = case.snapshot.tables["unix"]
    gaps = case.unseen(Evidence.SOCKETS, Evidence.NAMESPACES, Evidence.PROCESSES, kind="unix")
    return [_unix(case, table, row, gaps) for row in rows]


def _unix(case: Case, table: Table, row: int, gaps: List[Gap]) -> Verdict:
    socket = table["id"][row]
    if socket is None:
        return _file(table, row) or _bound_to_nothing(case, table, row, gaps)
    by = _holders(case.snapshot.processes.sockets.get(socket, ()), "processes that could not be seen")
    reasons = ["listens, held by %s" % by if table["state"][row] == "listen" else "held by %s" % by]
    if overflows(table, row):
        reasons.append("its queue is full: %d connections wait" % table["rqueue"][row])
    return Verdict("in-use", "certain", tuple(reasons))


def _file(table: Table, row: int) -> Optional[Verdict]:
    """Return the verdict of a socket file that more is known of than that no socket was seen for it."""
    state = table["state"][row]
    if state == "established":
        words = "nobody listens, but connections that were accepted through it live on"
        return Verdict("in-use", "strong", (words,))
    known_good = idiom("unix", table["path"][row])
    if known_good:
        return Verdict("idle", "strong", ("no socket was ever bound to it", known_good))
    if state == "elsewhere":
        return Verdict("in-use", "certain", ("a socket is bound to it, as the answer to a probe shows",))
    if state == "refused":
        return Verdict("orphan", "certain", ("nobody is bound to it: a probe was refused",))
    return None


def _bound_to_nothing(case: Case, table: Table, row: int, gaps: List[Gap]) -> Verdict:
    if table["state"][row] != "stale":
        why = missing(gaps) if gaps else "the sockets of a network namespace could not be listed"
        return Verdict("unknown", "suspect", ("whether a socket is bound to it could not be seen", why))
    if not case.snapshot.host.initial_pid_namespace:
        words = "whether a socket outside this PID namespace is bound to it cannot be seen"
        return Verdict("unknown", "suspect", (words,))
    if gaps:
        words = "no socket was seen that is bound to it, but not every network namespace could be looked into"
        return Verdict("unknown", "suspect", (words, missing(gaps)), only_processes(gaps) and len(gaps) <= FEW)
    reasons = ["no socket of any network namespace is bound to it"]
    if table["inexact"][row]:
        reasons.append("its file system has other numbers for it than the kernel, so that one may have been missed")
        return Verdict("orphan", "strong", tuple(reasons))
    return Verdict("orphan", "certain", tuple(reasons))


def judge_inet(case: Case, rows: Sequence[int]) -> List[Verdict]:
    """Return the verdict of each row of ``inet``."""
    table = case.snapshot.tables["inet"]
    return [_inet(case, table, row) for row in rows]


def _inet(case: Case, table: Table, row: int) -> Verdict:
    holders = case.snapshot.processes.sockets.get(table["id"][row], ())
    by = _holders(holders, "the kernel itself, or by processes that could not be seen")
    does = {"listen": "listens", "bound": "receives"}.get(table["state"][row], "connected")
    return Verdict("in-use", "certain", ("%s, held by %s" % (does, by),))


def _holders(holders: Sequence[Process], else_: str) -> str:
    return some(holders) if holders else else_


def overflows(table: Table, row: int) -> bool:
    """Whether a listener takes no further connection: listen(2) lets one more wait than the backlog says."""
    most = table["wqueue"][row]
    return bool(table["state"][row] == "listen" and most is not None and table["rqueue"][row] > most)
