"""Many hosts summed up, from reports made by hand: every host is told once, every sum adds up, and a page is one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipcops.core.model import SEVERITIES
from ipcops.core.rules.catalogue import RULES
from ipcops.fleet.merge import LOST, SKIPPED, document, entry, error_of
from ipcops.fleet.page import fleet_lines, host_lines
from ipcops.fleet.summary import STATUSES, WORST, problems

NOW = 1_790_000_000
NAMES = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=60)
COUNTS = st.integers(0, 10**6)
TOTALS = ("shm_segments", "shm_bytes", "sem_sets", "msg_queues", "posix_mq_queues", "posix_shm_bytes")


@st.composite
def failures(draw: Any) -> dict[str, Any]:
    about = draw(st.sampled_from(["rule", "metric", "job"]))
    name = draw(st.sampled_from([rule.id for rule in RULES])) if about == "rule" else draw(NAMES)
    return {
        "rule": None, "metric": None, "job": None, about: name, "severity": draw(st.sampled_from(SEVERITIES)),
        "count": draw(st.integers(1, 999)), "title": draw(NAMES), "what": draw(NAMES), "remedy": draw(NAMES),
        "runbook": draw(st.none() | st.just("IpcopsLeak")),
    }  # fmt: skip


@st.composite
def healths(draw: Any) -> dict[str, Any]:
    found = draw(st.lists(failures(), max_size=6))
    found.sort(key=lambda one: SEVERITIES.index(one["severity"]))
    return {
        "schema": "ipcops.health/1", "healthy": not found, "failures": found, "unseen": [],
        "source": draw(st.sampled_from(["monitor", "kernel"])), "observed_at": NOW - draw(st.integers(0, 300)),
        "metrics": {name: draw(COUNTS) for name in TOTALS},
    }  # fmt: skip


@st.composite
def audits(draw: Any) -> dict[str, Any]:
    found = draw(st.lists(st.tuples(st.sampled_from(RULES), st.sampled_from(SEVERITIES)), max_size=8))
    severities = Counter(severity for _, severity in found)
    return {
        "schema": "ipcops.audit/1",
        "findings": [{"rule": rule.id, "title": rule.title, "severity": severity} for rule, severity in found],
        "summary": {severity: severities[severity] for severity in SEVERITIES},
        "usage": {
            "shm": {"objects": draw(COUNTS), "bytes": draw(COUNTS)}, "sem": {"objects": draw(COUNTS)},
            "msg": {"objects": draw(COUNTS)}, "posix-mq": {"objects": draw(COUNTS)}, "posix-shm": None,
        },
    }  # fmt: skip


RESULTS = st.one_of(
    st.none(),
    st.fixed_dictionaries({"unreachable": st.just(1), "msg": NAMES}),
    st.fixed_dictionaries({"failed": st.just(1), "msg": NAMES}),
    st.fixed_dictionaries({"report": healths()}),
    st.fixed_dictionaries({"audit": audits()}),
)
FLEETS = st.dictionaries(NAMES, RESULTS, max_size=6)
FEWER = settings(max_examples=40, deadline=None)  # each is a fleet


@FEWER
@given(FLEETS)
def test_every_host_is_told_once_and_every_sum_adds_up(results):
    told = document({name: entry(result, "medium") for name, result in results.items()}, NOW)
    hosts, summary = told["hosts"], told["summary"]
    assert set(hosts) == set(results)
    assert list(hosts) == sorted(hosts)
    statuses = Counter(one["status"] for one in hosts.values())
    assert summary["hosts"] == {"total": len(results), **{status: statuses[status] for status in STATUSES}}
    assert {one["host"] for one in summary["failed"]} == {
        name for name, one in hosts.items() if one["status"] == "failed"
    }
    assert summary["unreachable"] == sorted(name for name, one in hosts.items() if one["status"] == "unreachable")
    reports = [one["report"] for one in hosts.values() if one["report"]]
    wrong = [one for report in reports for one in problems(report)]
    for severity, count in summary["severities"].items():
        assert count == sum(one.times for one in wrong if one.severity == severity)
    assert sum(one["count"] for one in summary["rules"]) == sum(one.times for one in wrong)
    assert {one["name"] for one in summary["rules"]} == {one.name for one in wrong}
    assert all(1 <= one["hosts"] <= len(reports) for one in summary["rules"])
    assert len(summary["worst"]) == min(WORST, sum(bool(list(problems(report))) for report in reports))
    assert summary["totals"]["sem"] == sum(
        report["metrics"]["sem_sets"] if "metrics" in report else report["usage"]["sem"]["objects"]
        for report in reports
    )
    for one in hosts.values():
        assert (one["report"] is None) == (one["error"] is not None)


@FEWER
@given(FLEETS, FLEETS)
def test_a_fleet_in_parts_is_the_whole_of_its_sums(one, other):
    other = {f"other {name}": result for name, result in other.items()}
    parts = [document({name: entry(result, "medium") for name, result in part.items()}, NOW) for part in (one, other)]
    whole = document({name: entry(result, "medium") for name, result in {**one, **other}.items()}, NOW)
    for what in ("hosts", "severities", "totals", "sources"):
        sums = Counter(parts[0]["summary"][what])
        sums.update(parts[1]["summary"][what])
        assert {**dict.fromkeys(whole["summary"][what], 0), **sums} == whole["summary"][what]


@given(st.sampled_from(SEVERITIES), audits())
def test_an_audit_is_findings_from_a_severity_on(fail_on, audit):
    worst = min((SEVERITIES.index(one["severity"]) for one in audit["findings"]), default=len(SEVERITIES))
    grave = worst <= SEVERITIES.index(fail_on)
    assert entry({"audit": audit}, fail_on)["status"] == ("findings" if grave else "ok")
    assert entry({"audit": audit}, "none")["status"] == "ok"


# ---------------------------------------------------------------- the page


@FEWER
@given(FLEETS)
def test_no_line_is_wider_than_a_page_and_nothing_in_it_moves_the_cursor(results):
    told = document({name: entry(result, "medium") for name, result in results.items()}, NOW)
    lines = list(fleet_lines(told))
    assert len(lines) <= 66
    for line in lines:
        assert line.endswith("\n")
        assert line[:-1].isprintable()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.lists(healths(), min_size=1, max_size=5))
def test_a_fleet_of_any_size_is_a_page(failed, unreachable, reports):
    results: dict[str, Any] = {
        f"web{number:03}.example.org": {"report": reports[number % len(reports)]} for number in range(200)
    }
    results |= {f"db{number:03}": {"failed": True, "msg": f"reason {number % 9} " * 40} for number in range(failed)}
    results |= {f"far{number:03}": {"unreachable": True, "msg": "no route"} for number in range(unreachable)}
    lines = list(fleet_lines(document({name: entry(one, "medium") for name, one in results.items()}, NOW)))
    assert len(lines) <= 66
    assert max(len(line) for line in lines) <= 81, "and its end"
    page = " ".join("".join(lines).split())
    assert ("far000" in page) == (unreachable > 0)
    assert (f"and {unreachable - 24} more" in page) == (unreachable > 24)


@given(healths())
def test_a_host_tells_each_failure_and_its_remedy(report):
    text = " ".join("".join(host_lines("db1", report)).split())
    for one in report["failures"]:
        assert f"{one['severity']} " in text
    assert text.count("fix: ") >= len(report["failures"])


# ---------------------------------------------------------------- why a task failed

ERRORS = [
    (None, LOST),
    ({"failed": True, "msg": "Missing sudo password"}, "Missing sudo password"),
    ({"failed": True, "msg": "Task failed: Action failed: Missing sudo password"}, "Missing sudo password"),
    (
        {
            "failed": True,
            "msg": "MODULE FAILURE\nSee stdout/stderr for the exact error",
            "module_stderr": "sh: x\nno sudo\n",
        },
        "no sudo",
    ),
    ({"failed": True, "msg": "Module result deserialization failed: x", "module_stdout": "boo\n"}, "boo"),
    ({"failed": True, "msg": "non-zero return code"}, "non-zero return code"),
    ({"failed": True}, "it failed without a word"),
    ({"skipped": True, "skip_reason": "Conditional result was False"}, SKIPPED),
    ({"failed": True, "msg": "two\nlines \x1b[31m"}, "two lines \\x1b[31m"),
]


@pytest.mark.parametrize(("result", "words"), ERRORS)
def test_why_a_host_has_no_report_is_told_in_a_line(result, words):
    found = entry(result, "medium")
    assert (found["status"], found["report"], found["error"]) == ("failed", None, words)


def test_an_unreachable_host_says_why():
    assert error_of({"unreachable": True, "msg": "Task failed: ssh: no route"}) == "ssh: no route"
    assert entry({"unreachable": True, "msg": "x"}, "medium")["status"] == "unreachable"
