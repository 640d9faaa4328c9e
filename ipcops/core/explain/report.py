"""The report of an explanation: the causes worst first, and one sentence that sums them up."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..model import Caller, Report
from ..report import head
from ..verdicts.case import Case
from .calls import causes_of, closest
from .cause import Cause, View, sorted_causes

EXPLAIN_SCHEMA = "ipcops.explain/1"


def explain_report(case: Case, caller: Caller, call: Optional[str], errno: Optional[str]) -> Report:
    """Return why *call* fails with *errno*, or with anything; without a call, which limits are closest.

    *call* and *errno* are ones that :func:`checked` returned.
    """
    view = View(case, caller)
    if call is None:
        causes, calls = _closest(view)
        summary = _summary_of_all(causes)
    else:
        causes = list(sorted_causes(list(causes_of(view, call, errno))))
        calls = {cause.limit: (call,) for cause in causes}
        summary = _summary(call, errno, causes)
    return {
        "schema": EXPLAIN_SCHEMA,
        **head(case.snapshot),
        "caller": {"uid": caller.uid, "user": case.snapshot.users.get(caller.uid)},
        "call": call,
        "errno": errno,
        "summary": summary,
        "causes": [_fields(cause, calls[cause.limit]) for cause in causes],
    }


def _fields(cause: Cause, calls: Sequence[str]) -> Dict[str, Any]:
    return {
        "errno": cause.errno,
        "calls": list(calls),
        "limit": cause.limit,
        "setting": cause.setting,
        "scope": cause.scope,
        "state": cause.state,
        "unit": cause.unit,
        "used": cause.used,
        "max": cause.max,
        "left": cause.left,
        "share": cause.share,
        "passes": cause.passes,
        "users": list(cause.users),
        "objects": list(cause.objects),
        "why": cause.why,
        "remedy": cause.remedy or None,
    }


# ---------------------------------------------------------------- in one sentence


def _summary(call: str, errno: Optional[str], causes: Sequence[Cause]) -> str:
    what = "%s with %s" % (call, errno) if errno else call
    failing = [cause for cause in causes if cause.state == "reached" and cause.fails]
    mine = [cause for cause in failing if cause.own and not cause.passes]
    if mine:
        return "%s fails here now: %s%s." % (what, _told(mine[0]), _more(mine))
    if failing:
        passes = failing[0].own
        whom = "for others, though not for you" if passes else "for a user other than you"
        return "%s fails here now %s: %s%s." % (what, whom, _told(failing[0]), _more(failing))
    open_ones = [cause for cause in causes if cause.state == "unknown" and cause.fails and not cause.passes]
    if open_ones:
        return "Whether %s fails here now cannot be told: %s%s." % (what, _told(open_ones[0]), _more(open_ones))
    late = [cause for cause in causes if cause.state == "reached"]
    if late:
        return "%s does not fail here now, and yet: %s." % (what, _told(late[0]))
    counted = [cause for cause in causes if cause.share is not None and cause.scope not in ("request", "object")]
    asked = [cause for cause in causes if cause.state == "per-request"]
    if asked and (errno or not counted):
        return "%s fails here only by what a call asks for: %s%s." % (what, _told(asked[0]), _more(asked))
    if counted:
        nearest = max(counted, key=lambda cause: cause.share or 0.0)
        return "No limit that is counted makes %s fail here now; the nearest: %s." % (what, _told(nearest))
    return "Nothing that can be seen makes %s fail here now%s." % (what, ": %s" % causes[0].why if causes else "")


def _told(cause: Cause) -> str:
    return "%s: %s" % (cause.limit, cause.why)


def _more(causes: Sequence[Cause]) -> str:
    more = len(causes) - 1
    return " (and %d more below)" % more if more else ""


def _closest(view: View) -> Tuple[List[Cause], Dict[str, Sequence[str]]]:
    """Return the limits that may be reached one day, nearest first; those that cannot be told last."""
    found = list(closest(view))
    causes = [cause for cause, _ in found]
    causes.sort(key=lambda one: (("reached", "near", "free", "unknown").index(one.state), -(one.share or 0.0)))
    return causes, {cause.limit: calls for cause, calls in found}


def _summary_of_all(causes: Sequence[Cause]) -> str:
    parts = []
    for state in ("reached", "near"):
        names = list(dict.fromkeys(cause.limit for cause in causes if cause.state == state))
        if names:
            parts.append("%s: %s" % (state, ", ".join(names)))
    told = [cause for cause in causes if cause.state != "unknown"]
    if not parts and told:
        parts.append("no limit is reached or near; the nearest is %s" % told[0].limit)
    if len(told) < len(causes):
        parts.append("%d could not be told" % (len(causes) - len(told)))
    sentence = "; ".join(parts) or "nothing to tell"
    return sentence[0].upper() + sentence[1:] + "."
