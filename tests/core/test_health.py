"""Whether a host is well, from numbers made by hand: what fails, what stays silent, and that nothing is lost."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.check import METRICS
from ipcops.core.errors import InputError
from ipcops.core.families import PREFIX
from ipcops.core.health import (
    FAIL_ON,
    Monitor,
    Seen,
    Terms,
    check_terms,
    headline,
    health_report,
    name_of,
    ranges_of,
    sentence,
)
from ipcops.core.jobstate import OVERDUE, JobState
from ipcops.core.model import SEVERITIES
from ipcops.core.policy import defaults
from ipcops.core.rules.catalogue import RULES

NOW = 1_790_000_000.0
PAGE = "/srv/ipcops.prom"


def plain(value: Any, **labels: str) -> List[Dict[str, Any]]:
    return [{"labels": labels, "value": value}]


def page(**more: Any) -> Dict[str, Any]:
    """Return the families of a host that is well; *more* are others, by name without ``ipcops_``."""
    found = {
        "build_info": plain(1, version="0.1.0"),
        "scan_timestamp_seconds": plain(NOW - 30),
        "scan_success": plain(1),
        "scan_complete": plain(1),
        "shm_segments": plain(50),
        "shm_limit_segments": plain(100),
        **more,
    }
    return {PREFIX + name: samples for name, samples in found.items()}


def findings(*found: Any) -> List[Dict[str, Any]]:
    return [{"labels": {"rule": rule, "severity": severity}, "value": count} for rule, severity, count in found]


def seen(jobs: Optional[Mapping[str, JobState]] = None, **monitor: Any) -> Seen:
    left = Monitor(PAGE, **{"scanned_at": NOW - 30, **monitor})
    return Seen({"hostname": "db1"}, NOW, left, jobs or {})


def report(families: Optional[Mapping[str, Any]] = None, where: Optional[Seen] = None, **terms: Any) -> Dict[str, Any]:
    damage = terms.pop("damage", None)
    return health_report(where or seen(), "monitor", families or page(), damage, Terms(**terms), defaults())


def told(found: Mapping[str, Any]) -> List[Any]:
    return [(name_of(one), one["severity"], one["count"]) for one in found["failures"]]


def test_a_host_that_is_well():
    found = report()
    assert (found["healthy"], found["failures"], found["unseen"]) == (True, [], [])
    assert found["metrics"]["shm_segments_used"] == 50
    assert found["observed_at"] == NOW - 30
    assert headline(found) == "healthy, by what its monitor wrote"


# ---------------------------------------------------------------- findings


@given(
    st.lists(
        st.tuples(st.sampled_from([rule.id for rule in RULES]), st.sampled_from(SEVERITIES), st.integers(1, 99)),
        unique_by=lambda one: one[:2],
        max_size=12,
    ),
    st.sampled_from(FAIL_ON),
)
def test_findings_fail_from_a_severity_on_and_none_is_lost(given_findings, fail_on):
    found = report(page(findings=findings(*given_findings)), fail_on=fail_on)
    grave = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on != "none" else ()
    assert sorted(told(found)) == sorted(one for one in given_findings if one[1] in grave)
    assert [(one["rule"], one["severity"], one["count"]) for one in found["findings"]] == given_findings
    order = [SEVERITIES.index(one["severity"]) for one in found["failures"]]
    assert order == sorted(order), "worst first"
    assert found["healthy"] == (not found["failures"])
    for one in found["failures"]:
        assert one["remedy"]
        assert sentence(one) in headline(found) or len(found["failures"]) > 3


def test_a_rule_of_a_later_version_is_told_all_the_same():
    (failure,) = report(page(findings=findings(("NEW-001", "high", 2))))["failures"]
    assert (failure["rule"], failure["count"]) == ("NEW-001", 2)
    assert "ipcops rules NEW-001" in failure["remedy"]


# ---------------------------------------------------------------- thresholds


def test_only_ranges_that_were_asked_for_count():
    full = page(shm_segments=plain(99), orphans=plain(3, kind="shm", owner="ann"))
    assert report(full)["healthy"], "the rules judge limits and orphans"
    assert told(report(full, warning=("orphans=0",))) == [("orphans", "medium", 1)]
    (failure,) = report(full, critical=("shm_segments_used=98",))["failures"]
    assert (failure["severity"], failure["what"]) == ("critical", "is 99%, outside 98")
    assert failure["runbook"] == "IpcopsLimitReached"
    assert "ipcops explain shmget" in failure["remedy"]
    assert report(full, warning=("orphans=0",), fail_on="critical")["healthy"]


@pytest.mark.parametrize("metric", METRICS, ids=[one.name for one in METRICS])
def test_every_metric_has_a_remedy(metric):
    values = {
        "shm_segments": plain(1), "shm_limit_segments": plain(1), "shm_pages": plain(1), "shm_limit_pages": plain(1),
        "sem_sets": plain(1), "sem_limit_sets": plain(1), "sem_semaphores": plain(1), "sem_limit_semaphores": plain(1),
        "msg_queues": plain(1), "msg_limit_queues": plain(1), "msg_messages": plain(1), "msg_bytes": plain(1),
        "msg_queue_bytes": plain(1, id="1", key="0x1", owner="ann"),
        "msg_queue_limit_bytes": plain(1, id="1", key="0x1", owner="ann"),
        "msg_unread_since_timestamp_seconds": plain(1), "posix_mq_queues": plain(1), "posix_mq_limit_queues": plain(1),
        "posix_mq_queue_messages": plain(1, queue="/q", owner="ann"),
        "posix_mq_queue_limit_messages": plain(1, queue="/q", owner="ann"),
        "posix_mq_bytes": plain(1, owner="ann"), "posix_mq_limit_bytes": plain(1, owner="ann"),
        "dev_shm_used_bytes": plain(1), "dev_shm_limit_bytes": plain(1), "dev_shm_used_inodes": plain(1),
        "dev_shm_limit_inodes": plain(1), "pipe_user_pages": plain(1, owner="ann"),
        "pipe_limit_user_soft_pages": plain(1), "orphans": plain(1, kind="shm", owner="ann"),
        "orphan_bytes": plain(1, kind="shm", owner="ann"), "shm_bytes": plain(1), "posix_shm_bytes": plain(1),
        "findings": findings(("X", "critical", 1), ("X", "high", 1), ("X", "medium", 1)),
        "scan_duration_seconds": plain(1),
    }  # fmt: skip
    found = report(page(**values), warning=("%s=0.5" % metric.name,))
    (failure,) = [one for one in found["failures"] if one["metric"] == metric.name]
    assert failure["remedy"]
    assert failure["title"] == metric.meaning


def test_a_metric_that_could_not_be_measured_was_not_seen():
    blind = page(source_success=plain(0, source="shm"), scan_complete=plain(0))
    found = report(blind, warning=("sem_sets=3",))
    assert {one["what"] for one in found["unseen"]} == {"shm", "sem_sets"}
    assert told(found) == [("scan_complete", "high", 1), ("scan_complete", "high", 1)]


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"warning": ("shm_segment=3",)}, "did you mean 'shm_segments'"),
        ({"warning": ("shm_segments=x",)}, "'x' is no range"),
        ({"critical": ("shm_segments_used=120",)}, "more than all"),
        ({"warning": ("orphans=5",), "critical": ("orphans=5",)}, "no value warns"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(terms, words):
    with pytest.raises(InputError, match=words):
        ranges_of(Terms(**terms), defaults())


def test_unknown_severities_and_jobs_are_refused():
    with pytest.raises(InputError, match="unknown severity 'grave'"):
        check_terms(Terms(fail_on="grave"))
    with pytest.raises(InputError, match="unknown job 'clean'; did you mean 'cleanup'"):
        check_terms(Terms(overdue={"clean": 3}))


# ---------------------------------------------------------------- what was not seen


BLIND = [
    ({"scan_success": plain(0), "scan_complete": plain(0)}, "IPC of this host: the scan failed as a whole"),
    (
        {"source_success": plain(0, source="maps"), "scan_unreadable_processes": plain(3), "scan_complete": plain(0)},
        "maps: not all of it could be read; 3 processes could not be looked into",
    ),
    ({"scan_deadline_exceeded": plain(1)}, "some evidence: the scan ran into its deadline"),
    ({"scan_complete": plain(0)}, "some evidence: not all of it could be read"),
]


@pytest.mark.parametrize(("more", "words"), BLIND)
def test_what_could_not_be_seen_is_a_failure_unless_allowed(more, words):
    found, allowed = report(page(**more)), report(page(**more), allow_unseen=True)
    (failure,) = found["failures"]
    assert (failure["metric"], failure["what"]) == ("scan_complete", words)
    assert "unreadable_ok" in failure["remedy"]
    assert allowed["healthy"]
    assert allowed["unseen"] == found["unseen"] != []


def test_what_could_not_be_read_of_the_monitor_was_not_seen():
    found = report(where=seen({"cleanup": JobState("cleanup", NOW, None, "Permission denied")}, why="Is a directory"))
    assert [one["why"] for one in found["unseen"]] == ["Is a directory", "Permission denied"]
    assert not found["healthy"]


# ---------------------------------------------------------------- jobs


def ran(status: int, ago: float) -> str:
    return json.dumps({"job": "x", "started_at": int(NOW - ago) - 1, "ended_at": int(NOW - ago), "status": status})


JOBS = [
    (JobState("cleanup", NOW - 9, ran(0, 60)), None),
    (JobState("cleanup", NOW - 9, ran(4, 3600)), "failed with status 4, 1 h ago"),
    (JobState("cleanup", None, ran(2, 3600)), "failed with status 2, 1 h ago"),
    (JobState("health", NOW - 9, ran(1, 3600)), None),  # found something, which is told anyway
    (JobState("health", NOW - 9, ran(3, 3600)), "failed with status 3, 1 h ago"),
    (JobState("cleanup", NOW - 9, ran(0, 9e5)), None),  # scheduled only now
    (JobState("cleanup", NOW - 9e6, ran(0, 9e5)), "last ran 10 d ago, which is more than 2 d"),
    (JobState("cleanup", None, ran(0, 9e5)), None),  # taken away
    (JobState("cleanup", NOW - 9, None), None),
    (JobState("cleanup", NOW - 9e5, None), "never ran, though it is scheduled for 10 d"),
    (JobState("cleanup", None, "{"), "what it noted of its last run is damaged: "),
    (JobState("cleanup", None, '{"status": true, "ended_at": 3}'), "what it noted of its last run is damaged: "),
    (JobState("cleanup", None, "[]"), "what it noted of its last run is damaged: "),
]


@pytest.mark.parametrize(("job", "words"), JOBS)
def test_jobs_that_failed_or_are_overdue(job, words):
    found = report(where=seen({job.name: job}))
    assert [one["what"][: len(words or "")] for one in found["failures"]] == ([words] if words else [])
    assert found["jobs"][job.name]["scheduled"] == (job.scheduled_at is not None)


MONITOR = JobState("monitor", NOW - 9e5, ran(0, 20))
STALE = [
    ({}, MONITOR, None),
    ({"scanned_at": NOW - 899}, MONITOR, None),
    ({"scanned_at": NOW - 901}, MONITOR, ("high", "is 15 min old, more than 15 min")),
    ({"scanned_at": NOW - 90_000}, None, ("medium", "is 1 d old, more than 15 min")),
    ({"scanned_at": NOW + 90_000}, MONITOR, ("high", "is of 1 d in the future; look at the host's clock")),
    ({"scanned_at": None}, MONITOR, ("high", "is not there")),
    ({"scanned_at": None}, MONITOR._replace(scheduled_at=NOW - 60), None),
    ({"scanned_at": None}, None, None),
]


@pytest.mark.parametrize(("left", "job", "words"), STALE)
def test_a_page_that_is_stale_or_gone_is_told(left, job, words):
    found = report(where=seen({"monitor": job} if job else {}, **left))
    assert [(one["severity"], one["what"]) for one in found["failures"]] == (
        [(words[0], "%s %s" % (PAGE, words[1]))] if words else []
    )


def test_a_page_that_is_damaged_is_told():
    (failure,) = report(damage="line 3 is no sample of a metric")["failures"]
    assert failure["what"] == PAGE + " is damaged: line 3 is no sample of a metric"


def test_how_old_is_overdue_can_be_said():
    where = seen({"monitor": MONITOR}, scanned_at=NOW - 5000)
    assert report(where=where, overdue={**OVERDUE, "monitor": 6000})["healthy"]
    assert not report(where=where)["healthy"]
