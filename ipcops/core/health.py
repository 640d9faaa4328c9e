"""Whether a host is well: its metrics against thresholds, its findings by severity, its jobs, what was not seen.

The same numbers are judged whether the job monitor wrote them or the kernel was asked just now.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .check import BY_NAME, Asked, Families, check_report, thresholds
from .errors import unknown_word
from .families import FAMILIES, PREFIX
from .jobstate import OVERDUE, JobState, job_report, troubles
from .layout import printable
from .model import SEVERITIES, Report
from .policy import Policy
from .rules.catalogue import BY_ID
from .scraped import parse_exposition
from .tuples import NamedTuple
from .verdicts.case import duration

HEALTH_SCHEMA = "ipcops.health/1"
FAIL_ON = (*SEVERITIES, "none")
GRADES = {"WARNING": "medium", "CRITICAL": "critical"}
"""How severe a metric outside of its range is."""
NEEDED = ("build_info", "scan_timestamp_seconds", "scan_success", "scan_complete")
"""What every page of metrics has, and one that was cut off lacks."""

STALE = "metrics that are served, and old or damaged"
_CALLS = {
    "shm_segments_used": "shmget", "shm_pages_used": "shmget", "sem_sets_used": "semget",
    "sem_semaphores_used": "semget", "msg_queues_used": "msgget", "posix_mq_queues_used": "mq_open",
    "posix_mq_bytes_used": "mq_open", "dev_shm_bytes_used": "shm_open", "dev_shm_inodes_used": "shm_open",
    "pipe_pages_used": "pipe",
}  # fmt: skip
"""What fails at the limit that a metric nears: a word of ``ipcops explain``."""


class Terms(NamedTuple):
    """What is asked of a host."""

    fail_on: str = "medium"
    """The least severity that is a failure, of findings and of metrics outside of their ranges."""
    warning: Tuple[str, ...] = ()
    critical: Tuple[str, ...] = ()
    """Thresholds, each METRIC=RANGE. Those that ``ipcops check`` has by itself do not count: its limits are rules."""
    allow_unseen: bool = False
    overdue: Mapping[str, float] = OVERDUE


class Monitor(NamedTuple):
    """What the job monitor left on a host."""

    path: str
    text: Optional[str] = None
    """The page, where it was brought along."""
    why: Optional[str] = None
    """Why it could not be read; absent it is not even that."""
    scanned_at: Optional[float] = None
    """When the look that it tells of began, as far as that could be told."""


class Seen(NamedTuple):
    """What came from a host."""

    host: Mapping[str, Any]
    now: float
    """Its own clock, in epoch seconds."""
    monitor: Monitor
    jobs: Mapping[str, JobState]


def check_terms(terms: Terms) -> None:
    """Refuse a severity or a job that there is not. Raise InputError."""
    if terms.fail_on not in FAIL_ON:
        raise unknown_word("severity", terms.fail_on, FAIL_ON)
    for name in terms.overdue:
        if name not in OVERDUE:
            raise unknown_word("job", name, OVERDUE)


def ranges_of(terms: Terms, policy: Policy) -> Dict[str, Asked]:
    """Return the ranges of each metric; none where nobody asked for one. Raise InputError."""
    found = thresholds(terms.warning, terms.critical, policy)
    return {name: asked if asked.own else Asked() for name, asked in found.items()}


def monitored(text: str) -> Families:
    """Return the families of a page of the job monitor. Raise ValueError where it is damaged."""
    families = parse_exposition(text)
    for name in NEEDED:
        if len(families.get(PREFIX + name, ())) != 1:
            raise ValueError("%s%s is missing in it" % (PREFIX, name))
    for name, labels, _ in FAMILIES:
        for sample in families.get(PREFIX + name, ()):
            if not set(labels) <= set(sample["labels"]):
                raise ValueError("%s%s has not its labels" % (PREFIX, name))
            if sample["labels"].get("severity", SEVERITIES[0]) not in SEVERITIES:
                raise ValueError("%s%s has an unknown severity" % (PREFIX, name))
    return families


def health_report(
    seen: Seen, source: str, families: Families, damage: Optional[str], terms: Terms, policy: Policy
) -> Report:
    """Return how a host is, by *families* that come from the *source* ``monitor`` or ``kernel``.

    *damage* is what is wrong with the monitor's page, if it was read and is no such page. Raise InputError.
    """
    checked = check_report({"families": families}, ranges_of(terms, policy))
    unseen = list(_unseen(seen, families, checked["metrics"]))
    failures = [
        *_findings(families, terms.fail_on),
        *_metrics(checked["metrics"], terms.fail_on),
        *_jobs(seen, damage, terms.overdue),
    ]
    if not terms.allow_unseen:
        failures += _blind(unseen)
    failures.sort(key=lambda one: (SEVERITIES.index(one["severity"]), -one["count"]))
    return {
        "schema": HEALTH_SCHEMA,
        "host": dict(seen.host),
        "source": source,
        "observed_at": int(_plain(families, "scan_timestamp_seconds")),
        "healthy": not failures,
        "failures": failures,
        "unseen": unseen,
        "findings": [
            {"rule": one["labels"]["rule"], "severity": one["labels"]["severity"], "count": int(one["value"])}
            for one in families.get(PREFIX + "findings", ())
        ],
        "metrics": {one["name"]: one["value"] for one in checked["metrics"] if one["value"] is not None},
        "jobs": job_report(seen.jobs),
        "version": families[PREFIX + "build_info"][0]["labels"].get("version"),
    }


def headline(report: Report) -> str:
    """Return in a line how a host is."""
    failures = report["failures"]
    if not failures:
        return "healthy, by what %s" % SOURCES[report["source"]]
    counts = "1 failure" if len(failures) == 1 else "%d failures" % len(failures)
    words = "; ".join(map(sentence, failures[:3]))
    return "%s: %s%s" % (counts, words, "; and %d more" % (len(failures) - 3) if len(failures) > 3 else "")


SOURCES = {"monitor": "its monitor wrote", "kernel": "its kernel tells now"}


def name_of(failure: Mapping[str, Any]) -> str:
    """Return what a failure is counted under: its rule, its metric, or the job that it is about."""
    return str(failure["rule"] or failure["metric"] or "job " + failure["job"])


def sentence(failure: Mapping[str, Any]) -> str:
    """Return what is wrong, in words."""
    times = ", %d times" % failure["count"] if failure["rule"] and failure["count"] > 1 else ""
    colon = "" if failure["metric"] in BY_NAME else ":"
    return "%s%s%s %s" % (printable(name_of(failure)), times, colon, failure["what"])


# ---------------------------------------------------------------- what fails


def _failure(
    severity: str, title: str, what: str, remedy: str, count: int = 1, **about: Optional[str]
) -> Dict[str, Any]:
    """Return a failure *about* a ``rule``, a ``metric`` or a ``job``, perhaps with a ``runbook``."""
    return {
        "rule": None, "metric": None, "job": None, "severity": severity, "count": count, "title": title,
        "what": printable(what), "remedy": remedy, "runbook": None, **about,
    }  # fmt: skip


def _grave(severity: str, fail_on: str) -> bool:
    return fail_on != "none" and SEVERITIES.index(severity) <= SEVERITIES.index(fail_on)


def _findings(families: Families, fail_on: str) -> Iterator[Dict[str, Any]]:
    for one in families.get(PREFIX + "findings", ()):
        name, severity, count = one["labels"]["rule"], one["labels"]["severity"], int(one["value"])
        if count and _grave(severity, fail_on):
            rule = BY_ID.get(name)
            title = rule.title if rule else "a rule that this version of ipcops has not"
            remedy = rule.remedy if rule else "'ipcops rules %s' on the host tells what to do" % printable(name)
            yield _failure(severity, title, title, remedy, count, rule=name)


def _metrics(checked: Sequence[Mapping[str, Any]], fail_on: str) -> Iterator[Dict[str, Any]]:
    for one in checked:
        severity = GRADES.get(one["state"])
        if severity and _grave(severity, fail_on):
            of = " (%s)" % one["of"] if one["of"] else ""
            what = "is %g%s%s, %s" % (one["value"], one["unit"], of, one["why"])
            remedy, runbook = _metric_remedy(one["name"], severity)
            yield _failure(severity, BY_NAME[one["name"]].meaning, what, remedy, metric=one["name"], runbook=runbook)


def _metric_remedy(name: str, severity: str) -> Tuple[str, Optional[str]]:
    if name in _CALLS:
        remedy = "'ipcops explain %s' on the host tells who uses the limit up, and how it is raised" % _CALLS[name]
        return remedy, "IpcopsLimitReached" if severity == "critical" else "IpcopsLimitNear"
    if name.startswith("orphan"):
        return "'ipcops clean' on the host tells what would go, and why the rest stays", "IpcopsLeak"
    kind = BY_NAME[name].kind
    if name in ("msg_queue_stuck", "msg_queue_used", "posix_mq_queue_used"):
        remedy = "'ipcops list %s' on the host shows the queues; start or restart what reads from them" % kind
        return remedy, "IpcopsQueueStuck" if name == "msg_queue_stuck" else "IpcopsQueueFull"
    if name == "scan_seconds":
        return "give it less to do ([metrics] kinds), or look what the host is busy with", "IpcopsScanTooSlow"
    if name.startswith("findings_"):
        return "'ipcops audit' on the host tells each finding and its remedy", None
    return "'ipcops list %s --sort age' on the host shows whose they are" % kind, "IpcopsLeakGrowing"


def _jobs(seen: Seen, damage: Optional[str], overdue: Mapping[str, float]) -> Iterator[Dict[str, Any]]:
    for name, state in sorted(seen.jobs.items()):
        told = {name: bound for name, bound in overdue.items() if name != "monitor"}  # its page tells its age
        for what in troubles(state, seen.now, told):
            remedy = "read what it said: journalctl -t ipc-%s, and %s.txt beside its state" % (name, name)
            yield _failure("high", "a job that failed or is overdue", what, remedy, job=name)
    stale = _stale(seen, damage, overdue.get("monitor"))
    if stale:
        job = seen.jobs.get("monitor")
        if job is not None and job.scheduled_at is not None:
            remedy = "systemctl status ipcops-monitor.timer ipcops-monitor, or cron's log, tells why; its script is"
            remedy += " ipc-monitor.sh"
            yield _failure("high", STALE, stale, remedy, job="monitor", runbook="IpcopsMetricsStale")
        else:
            remedy = "have the job monitor renew it, or remove it: node_exporter serves it for ever"
            yield _failure("medium", STALE, stale, remedy, job="monitor", runbook="IpcopsMetricsStale")


def _stale(seen: Seen, damage: Optional[str], bound: Optional[float]) -> Optional[str]:
    """Return what is wrong with the page of the job monitor, or ``None``."""
    page, job = seen.monitor, seen.jobs.get("monitor")
    if damage is not None:
        return "%s is damaged: %s" % (page.path, damage)
    if bound is None or page.why is not None:
        return None
    if page.scanned_at is None:
        late = job is not None and job.scheduled_at is not None and seen.now - job.scheduled_at > bound
        return "%s is not there" % page.path if late else None
    age = seen.now - page.scanned_at
    if age < -bound:
        return "%s is of %s in the future; look at the host's clock" % (page.path, duration(-age))
    return "%s is %s old, more than %s" % (page.path, duration(age), duration(bound)) if age > bound else None


# ---------------------------------------------------------------- what was not seen


def _unseen(seen: Seen, families: Families, checked: Sequence[Mapping[str, Any]]) -> Iterator[Dict[str, str]]:
    if not _plain(families, "scan_success"):
        yield {"what": "IPC of this host", "why": "the scan failed as a whole"}
        return
    failed = [one["labels"]["source"] for one in families.get(PREFIX + "source_success", ()) if not one["value"]]
    processes = int(_plain(families, "scan_unreadable_processes"))
    late = _plain(families, "scan_deadline_exceeded")
    why = "the scan ran into its deadline" if late else "not all of it could be read"
    if processes:
        why += "; %s could not be looked into" % ("1 process" if processes == 1 else "%d processes" % processes)
    yield from ({"what": printable(source), "why": why} for source in failed)
    if not failed and (late or not _plain(families, "scan_complete")):
        yield {"what": "some evidence", "why": why}
    yield from ({"what": one["name"], "why": one["why"]} for one in checked if one["state"] == "UNKNOWN")
    if seen.monitor.why is not None:
        yield {"what": seen.monitor.path, "why": seen.monitor.why}
    for name, state in sorted(seen.jobs.items()):
        if state.why is not None:
            yield {"what": "how the job %s ended" % name, "why": state.why}


def _blind(unseen: Sequence[Mapping[str, str]]) -> Iterator[Dict[str, Any]]:
    remedy = (
        "'ipcops audit' as root on the host tells what it cannot see and why; what nobody may look into and does not"
        " matter is named in [scan] unreadable_ok, or allowed here by allow_unseen"
    )
    by_why: Dict[str, List[str]] = {}
    for one in unseen:
        by_why.setdefault(one["why"], []).append(one["what"])
    for why, whats in by_why.items():
        what = "%s: %s" % (", ".join(whats), why)
        yield _failure(
            "high", "something could not be seen", what, remedy, len(whats),
            metric="scan_complete", runbook="IpcopsScanIncomplete",
        )  # fmt: skip


def _plain(families: Families, name: str) -> float:
    samples: List[Mapping[str, Any]] = list(families.get(PREFIX + name, ()))
    return float(samples[0]["value"]) if samples else 0.0
