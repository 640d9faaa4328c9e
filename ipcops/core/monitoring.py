"""The way from a request to numbers: one look, judged once, for ``metrics`` and for ``check``."""

from __future__ import annotations

import time
from typing import Callable, Iterable, List, Sequence

from .collect.snapshot import Look, take
from .errors import InputError, UndeterminedError
from .exposition import exposition
from .fs import Roots, Textfile
from .kernel import Kernel
from .metrics import failed_report, metrics_report
from .model import KINDS, SEVERITIES, FindingGroup, Report, Request
from .policy import Policy
from .rules.base import Rule
from .rules.chosen import rules_of
from .verdicts import Case, sem

Judge = Callable[[Case, Iterable[Rule], Sequence[str], Sequence[str]], List[FindingGroup]]
"""Returns the findings of some rules about some kinds, at some severities, but for those that are accepted."""


def metrics(request: Request, policy: Policy, roots: Roots, kernel: Kernel, judge: Judge) -> Report:
    """Return every metric of this host, or put them into the request's ``textfile``.

    Raise UndeterminedError where nothing can be told; the file then says just that. Raise WriteError.
    """
    path = request.get("textfile")
    if path is None:
        return look(request, policy, roots, kernel, judge)
    if request.get("output") is not None or request.get("format") == "json":
        raise InputError("--textfile writes Prometheus' text to its own file; leave --output and --format out")
    target, began, clock = Textfile(path), time.time(), time.monotonic()
    try:
        report = look(request, policy, roots, kernel, judge)
    except UndeterminedError:
        target.replace(exposition(failed_report(round(began, 3), round(time.monotonic() - clock, 6))))
        raise
    target.replace(exposition(report))
    return {**report, "textfile": path}


def check(request: Request, policy: Policy, roots: Roots, kernel: Kernel, judge: Judge) -> Report:
    """Return the state of every metric that can have thresholds. Raise InputError, UndeterminedError."""
    from .check import check_report, thresholds

    ranges = thresholds(request.get("warning") or (), request.get("critical") or (), policy)
    return check_report(look(request, policy, roots, kernel, judge), ranges)


def look(request: Request, policy: Policy, roots: Roots, kernel: Kernel, judge: Judge) -> Report:
    """Look at what ``[metrics] kinds`` names, judge it, and return the families."""
    wanted = policy["metrics", "kinds"]
    kinds = tuple(kind for kind in KINDS if kind in wanted)
    asked = request.get("deadline")
    deadline: float = policy["scan", "deadline"] if asked is None else asked
    how = Look(kinds, deadline, host="host" in wanted, counters=True)
    (snapshot,) = take(roots, kernel, policy, how, ask_about=lambda seen: sem.candidates(Case(seen, policy)))
    case = Case(snapshot, policy)
    return metrics_report(case, judge(case, rules_of(wanted), wanted, SEVERITIES), deadline)
