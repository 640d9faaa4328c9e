"""How the jobs of a host ended, and whether they still run: from what ``ipc-NAME.sh`` notes of each run."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, Mapping, Optional

from .tuples import NamedTuple
from .verdicts.case import duration

TOLD = {"health": (0, 1)}
"""Statuses with which a job has done its work, where 0 is not the only one: the health check tells of findings by 1."""
OVERDUE: Mapping[str, int] = {"monitor": 900, "cleanup": 2 * 86400, "health": 2 * 86400}
"""Seconds after its last end from which on a scheduled job is overdue, as the shipped schedules have them."""


class JobState(NamedTuple):
    """What a host has of one job."""

    name: str
    scheduled_at: Optional[float]
    """Since when cron or systemd is to start it, in epoch seconds; ``None`` where nothing does."""
    text: Optional[str]
    """What it noted; ``None`` where it noted nothing."""
    why: Optional[str] = None
    """Why that could not be read."""


class Run(NamedTuple):
    """The last run of a job."""

    ended_at: int
    status: int


def last_run(text: str) -> Run:
    """Return what a job noted. Raise ValueError where it cannot have written that."""
    noted = json.loads(text)
    if not isinstance(noted, dict) or not all(type(noted.get(name)) is int for name in Run._fields):
        raise ValueError("no ended_at and status in it")
    return Run(noted["ended_at"], noted["status"])


def job_report(states: Mapping[str, JobState]) -> Dict[str, Dict[str, Any]]:
    """Return of each job whether it is scheduled, when it ended last (epoch seconds) and with which status."""
    found = {}
    for name, state in sorted(states.items()):
        try:
            run: Optional[Run] = last_run(state.text) if state.text is not None else None
        except ValueError:
            run = None
        found[name] = {
            "scheduled": state.scheduled_at is not None,
            "ended_at": run.ended_at if run else None,
            "status": run.status if run else None,
        }
    return found


def troubles(state: JobState, now: float, overdue: Mapping[str, float]) -> Iterator[str]:
    """Yield what is wrong with a job, in words; what it left unread is no trouble of its own."""
    run = None
    if state.text is not None:
        try:
            run = last_run(state.text)
        except ValueError as error:
            yield "what it noted of its last run is damaged: %s" % error
            return
        if run.status not in TOLD.get(state.name, (0,)):
            yield "failed with status %d, %s ago" % (run.status, duration(max(0, now - run.ended_at)))
    if state.scheduled_at is None or state.name not in overdue or state.why is not None:
        return
    bound = overdue[state.name]
    if run is None and now - state.scheduled_at > bound:
        yield "never ran, though it is scheduled for %s" % duration(now - state.scheduled_at)
    elif run is not None and now - max(run.ended_at, state.scheduled_at) > bound:
        yield "last ran %s ago, which is more than %s" % (duration(now - run.ended_at), duration(bound))
