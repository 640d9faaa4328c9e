"""The plugin's line: states, thresholds, words and performance data, from snapshots made by hand."""

from __future__ import annotations

import re
from typing import Any, Dict, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.check import BY_NAME, METRICS, _judged, check_report, headline, line, number, thresholds
from ipcops.core.errors import InputError
from ipcops.core.metrics import metrics_report
from ipcops.core.model import KINDS, SEVERITIES
from ipcops.core.policy import SETTINGS
from ipcops.core.ranges import parse_range
from ipcops.core.rules.chosen import rules_of
from ipcops.core.run import _findings
from tests.core.build import case, policy

DATUM = re.compile(r"(\w+)=(U|-?[0-9.]+)(%|B|s)?;(\S*?);(\S*?);(\S*?);(\S*)\Z")
USUAL = [*KINDS[:6], "pipe"]


def checked(facts: Dict[str, Any], warning: Sequence[str] = (), critical: Sequence[str] = ()) -> Dict[str, Any]:
    """Return the report of a check on a host that *facts* describe."""
    made = case({"kinds": USUAL, **facts})
    kinds = made.snapshot.kinds
    look = metrics_report(made, _findings(made, rules_of(kinds), kinds, SEVERITIES), 10.0)
    return check_report(look, thresholds(warning, critical, made.policy))


def said(report: Dict[str, Any]) -> str:
    """Return the line without its performance data, which must be whole."""
    text = "".join(line(report))
    assert text.count("\n") == 1
    assert text.count("|") == 1
    words, _, data = text[:-1].partition(" | ")
    found = [DATUM.match(datum) for datum in data.split(" ")]
    assert all(found), data
    assert [one[1] for one in found if one] == [metric["name"] for metric in report["metrics"]]
    for one in found:
        for threshold in (one[4], one[5]) if one else ():
            assert not threshold or parse_range(threshold)
    return words


def the(report: Dict[str, Any], name: str) -> Dict[str, Any]:
    return next(one for one in report["metrics"] if one["name"] == name)


def test_a_quiet_host_is_ok():
    report = checked({})
    assert (report["schema"], report["status"], report["state"]) == ("ipcops.check/1", 0, "OK")
    assert said(report) == "IPC OK - 13 of 28 metrics have thresholds, and all are within"
    assert {one["name"] for one in report["metrics"]} == set(BY_NAME)
    assert [one["name"] for one in report["metrics"] if one["value"] is None] == []


FULL = {"kernel.shmmni": 10}


@pytest.mark.parametrize(
    ("count", "state", "status"), [(7, "OK", 0), (8, "WARNING", 1), (9, "WARNING", 1), (10, "CRITICAL", 2)]
)
def test_the_defaults_are_those_of_the_audit(count, state, status):
    objects = [{"kind": "shm", "times": count, "nattch": 1}]
    report = checked({"objects": objects, "limits": FULL})
    assert (report["state"], report["status"]) == (state, status)
    assert the(report, "shm_segments_used")["value"] == 10 * count
    if status:
        over = 75 if status == 1 else 90
        assert said(report) == "IPC %s - shm_segments_used %d%%, outside %d" % (state, 10 * count, over)
    own = checked({"objects": objects, "limits": FULL, "policy": ["[audit]", "near_limit = 10", "at_limit = 20"]})
    assert own["state"] == "CRITICAL"


def test_own_thresholds():
    facts = {"objects": [{"kind": "shm", "times": 5, "nattch": 1}], "limits": FULL}
    assert checked(facts, ["shm_segments_used=40"])["state"] == "WARNING"
    assert checked(facts, ["shm_segments=@5:5"])["state"] == "WARNING"
    assert checked(facts, [], ["shm_segments=6:"])["state"] == "CRITICAL"
    assert checked(facts, ["shm_segments_used=40"], ["shm_segments_used=45"])["state"] == "CRITICAL"
    report = checked(facts, ["shm_segments=@5:5"])
    assert said(report) == "IPC WARNING - shm_segments 5, inside 5:5"
    assert the(report, "shm_segments")["max"] == 10


def test_leaks_warn_and_say_whose():
    objects = [{"kind": "sem", "uid": 4242, "times": 3}, {"kind": "shm", "uid": 4243}]
    report = checked({"objects": objects})
    assert said(report) == "IPC WARNING - orphans 4 (4242 3, 4243 1), outside 0"
    assert checked({"objects": objects}, ["orphans=4"])["state"] == "OK"
    assert checked({"objects": objects}, [], ["orphans=3"])["state"] == "CRITICAL"
    assert the(report, "findings_medium")["value"] == 4


def test_the_worst_is_said_first():
    objects = [{"kind": "shm", "times": 10, "nattch": 1}, {"kind": "sem", "uid": 4242}]
    gaps = [{"evidence": "queue", "kind": "posix-mq"}]
    report = checked({"objects": objects, "limits": FULL, "gaps": gaps})
    assert (report["state"], report["status"]) == ("CRITICAL", 2)
    words = said(report)
    assert words.index("shm_segments_used") < words.index("orphans") < words.index("posix_mq_queue_used")
    many = checked({"objects": objects, "limits": FULL, "gaps": [{"evidence": "limits"}]}, ["sem_sets=0"])
    assert "and 3 more" in said(many)


def test_the_fullest_of_several_counts():
    objects = [
        {"kind": "msg", "id": 1, "cbytes": 100, "qnum": 1}, {"kind": "msg", "id": 2, "cbytes": 0, "qnum": 15000},
        {"kind": "posix-mq", "path": "/a|b", "curmsgs": 8},
        {"kind": "pipe", "uid": 1000, "capacity": 4096 * 16000},
    ]  # fmt: skip
    report = checked({"objects": objects})
    assert the(report, "msg_queue_used")["value"] == 91.55
    assert the(report, "posix_mq_queue_used")["value"] == 80
    assert the(report, "pipe_pages_used")["value"] == 97.66
    words = said(report)
    assert words.startswith("IPC CRITICAL - msg_queue_used 91.55% (2 0x00000000 alice), outside 90; pipe_pages_used")
    assert "(/a?b alice)" in words, "what parts words from data may not be in a name"


def test_a_queue_that_nobody_reads():
    objects = [
        {"kind": "msg", "id": 1, "uid": 0, "qnum": 1, "rtime": "2h ago"},
        {"kind": "msg", "id": 2, "uid": 0, "qnum": 0, "rtime": "9d ago"},
    ]
    report = checked({"objects": objects}, ["msg_queue_stuck=3600"])
    assert said(report) == "IPC WARNING - msg_queue_stuck 7200s, outside 3600"
    assert the(checked({}), "msg_queue_stuck")["value"] == 0


# ---------------------------------------------------------------- UNKNOWN


@pytest.mark.parametrize(
    ("facts", "name", "why"),
    [
        ({"unread": ["shm"], "gaps": [{"evidence": "table", "kind": "shm"}]}, "shm_segments_used", "shm"),
        ({"gaps": [{"evidence": "limits", "kind": "sem"}]}, "sem_sets_used", "limits"),
        ({"gaps": [{"evidence": "queue"}]}, "posix_mq_queue_used", "queue"),
        ({"gaps": [{"evidence": "descriptors", "pid": 7}]}, "pipe_pages_used", "descriptors"),
        ({"gaps": [{"evidence": "pipes", "pid": 7}]}, "pipe_pages_used", "pipes"),
        (
            {"gaps": [{"evidence": "maps", "pid": 7}], "objects": [{"kind": "posix-shm", "uid": 4242}]},
            "orphans", "orphans",
        ),
        ({"unread": ["msg"], "gaps": [{"evidence": "table", "kind": "msg"}]}, "orphans", "orphans"),
    ],
)  # fmt: skip
def test_what_could_not_be_seen_is_unknown(facts, name, why):
    report = checked(facts)
    assert (report["state"], report["status"]) == ("UNKNOWN", 3)
    assert the(report, name)["state"] == "UNKNOWN"
    assert "%s: not all of it could be seen (%s)" % (name, why) in said(report)


def test_a_gap_that_hides_no_orphan_is_no_matter():
    report = checked({"gaps": [{"evidence": "maps", "pid": 7}], "objects": [{"kind": "posix-shm", "holders": [1]}]})
    assert report["state"] == "OK"


def test_a_part_that_is_too_much_alerts_though_there_may_be_more():
    objects = [{"kind": "pipe", "uid": 1000, "capacity": 4096 * 16000}]
    report = checked({"objects": objects, "gaps": [{"evidence": "descriptors", "pid": 7}]})
    assert report["state"] == "CRITICAL"


def test_without_a_bound_there_is_nothing_to_measure():
    facts = {"mount": {"size": 0, "files": 0}, "objects": [{"kind": "pipe"}], "limits": {"fs.pipe-user-pages-soft": 0}}
    report = checked(facts)
    assert report["state"] == "OK"
    assert the(report, "dev_shm_bytes_used")["value"] is None
    assert "dev_shm_bytes_used=U;85;95;0;100" in "".join(line(report))
    asked = checked(facts, ["dev_shm_bytes_used=50"])
    assert said(asked) == "IPC UNKNOWN - dev_shm_bytes_used: there is nothing to measure it by here"


def test_kinds_that_are_left_out_are_not_measured():
    facts = {"kinds": ["shm"], "policy": ["[metrics]", "kinds = shm"], "gaps": [{"evidence": "queue"}]}
    report = checked(facts)
    assert report["state"] == "OK"
    assert not [one for one in report["metrics"] if one["name"].startswith(("sem", "msg", "posix", "pipe"))]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["orfans=0"], "unknown metric 'orfans'; did you mean 'orphans'?"),
        (["shm_segments_usd=80"], "did you mean 'shm_segments_used'?"),
        (["orphans"], "is no METRIC=RANGE"),
        ([""], "is no METRIC=RANGE"),
        (["orphans="], "is no range"),
        (["orphans=ten"], "'ten' is no range"),
        (["orphans=20:10"], "ends before it begins"),
        (["orphans=~:"], "never alerts"),
        (["orphans=@0:"], "always alerts"),
        (["shm_segments_used=120"], "is more than all"),
        (["orphans=1", "orphans=2"], "given twice"),
    ],
)
def test_thresholds_that_make_no_sense(words, why):
    for level in ("warning", "critical"):
        with pytest.raises(InputError, match="(?s)" + re.escape(why)) as caught:
            thresholds(**{"warning": (), "critical": (), level: words}, policy=policy(None))
        assert why.startswith(("unknown", "did")) or "--%s" % level in str(caught.value)


@pytest.mark.parametrize(
    ("warning", "critical"),
    [
        (["shm_segments=20"], ["shm_segments=10"]),
        (["shm_segments_used=95"], []),
        (["shm_segments=@10:20"], ["shm_segments=@5:30"]),
        (["orphans=5"], ["orphans=5"]),
    ],
)
def test_a_warning_that_is_never_seen_is_refused(warning, critical):
    with pytest.raises(InputError, match="no value warns"):
        thresholds(warning, critical, policy(None))


def test_a_metric_whose_kind_the_policy_leaves_out_is_refused():
    with pytest.raises(InputError, match=r"\[metrics\] kinds of the policy leaves sem out"):
        thresholds(["sem_sets=5"], [], policy("[metrics]\nkinds = shm\n"))


# ---------------------------------------------------------------- properties

EDGES = st.integers(0, 99)


@given(st.sampled_from([one for one in METRICS if one.unit == "%"]), EDGES, EDGES, st.integers(0, 400))
def test_the_state_follows_the_ranges(metric, first, second, tenths):
    warning, critical = sorted((first, second))
    if warning == critical:
        critical += 1
    ranges = thresholds(["%s=%d" % (metric.name, warning)], ["%s=%d" % (metric.name, critical)], policy(None))
    families = {
        "ipcops_scan_complete": [{"labels": {}, "value": 1}],
        "ipcops_scan_timestamp_seconds": [{"labels": {}, "value": 0}],
    }
    value = tenths / 4
    one = metric._replace(read=lambda _: metric.read({})._replace(value=value))
    state = _judged(one, ranges[metric.name], families, set())["state"]
    assert state == ("CRITICAL" if value > critical else "WARNING" if value > warning else "OK")


@given(st.text(max_size=60))
def test_a_headline_is_one_line_without_a_bar(words):
    text = headline("UNKNOWN", words)
    assert text.startswith("IPC UNKNOWN - ")
    assert text.isprintable()
    assert "|" not in text


@given(st.one_of(st.integers(0, 1 << 62), st.floats(0, 1e6)))
def test_numbers_are_plain(value):
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", number(value))
    assert float(number(value)) == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_the_settings_of_the_default_thresholds_exist():
    known = {(setting.section, setting.name) for setting in SETTINGS}
    assert {where for one in METRICS for where in one.defaults or ()} <= known
