"""The way from a request to an explanation: what has to be looked at, and who asks."""

from __future__ import annotations

from .collect.caller import read_caller
from .collect.snapshot import Look, take
from .collect.users import read_users
from .errors import UndeterminedError
from .explain.calls import CALLS, checked, kinds_of
from .explain.report import explain_report
from .fs import Roots
from .kernel import Kernel
from .model import Caller, Report, Request, Snapshot
from .policy import Policy
from .verdicts import Case


def explain(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    """Return why the request's ``call`` fails with its ``errno``; without a call, which limits are closest.

    Raise InputError for a call or error that there is not, UndeterminedError when nothing of it can be told.
    """
    call, errno = checked(request.get("call"), request.get("errno"))
    fills = call == "fcntl" and errno in (None, "EBUSY")
    look = Look(kinds_of(call), request.get("deadline"), details=fills, pipes_of_root=True)
    values = call == "semop" and errno in (None, "EAGAIN", "ERANGE")
    (snapshot,) = take(
        roots, kernel, policy, look, ask_about=lambda seen: range(len(seen.tables["sem"])) if values else ()
    )
    files = call is None or CALLS[call].descriptors
    caller = read_caller(roots, snapshot.processes.by_pid.values() if files else ())
    report = explain_report(Case(_joined(snapshot, caller), policy), caller, call, errno)
    if report["causes"] and all(cause["state"] == "unknown" for cause in report["causes"]):
        raise UndeterminedError(report["summary"])
    return report


def _joined(snapshot: Snapshot, caller: Caller) -> Snapshot:
    """Return the snapshot with what was seen for the caller beside it: names of users, and gaps."""
    uids = {caller.uid, caller.euid, *(quota.uid for quota in caller.quotas)} - set(snapshot.users)
    gaps = [gap for gap in caller.gaps if gap not in snapshot.gaps]
    return snapshot._replace(users={**snapshot.users, **read_users(uids)}, gaps=(*snapshot.gaps, *gaps))
