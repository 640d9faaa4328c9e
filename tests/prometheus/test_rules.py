"""Each alert fires when it should and only then, by Prometheus' own test of rules; and each is explained.

``cases/NAME.yml`` holds at least one story in which the alert fires, with its words, and one in which it
comes close and does not.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from ipcops.core.agent import parser
from ipcops.core.errors import InputError
from ipcops.core.families import FAMILIES, PREFIX
from ipcops.core.model import KINDS
from ipcops.core.policy import parse_size
from ipcops.core.rules.catalogue import BY_ID
from ipcops.render import alerts, templates
from tests.prometheus.rules import rendered
from tests.prometheus.stack import promtool

CASES = Path(__file__).parent / "cases"
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
RULES = [rule for group in yaml.safe_load(rendered())["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})

# With these settings the stories in which an alert stays silent are no longer such: they do reach the rule.
LOOSER = {
    "IpcopsCounterDisagreement": {"scan_for": "10m"},
    "IpcopsLeak": {"leak_objects": "9"},
    "IpcopsLeakGrowing": {"leak_growth": "96"},
    "IpcopsLimitFullSoon": {"full_within": "1d"},
    "IpcopsLimitNear": {"near_limit": "74"},
    "IpcopsLimitReached": {"shm_at": "94"},
    "IpcopsMetricsAbsent": {"stale_for": "0"},
    "IpcopsMetricsGone": {"stale_for": "0"},
    "IpcopsMetricsStale": {"stale_for": "0"},
    "IpcopsQueueFull": {"queue_for": "8m"},
    "IpcopsQueueStuck": {"queue_idle": "15m"},
    "IpcopsScanFailing": {"scan_for": "9m"},
    "IpcopsScanIncomplete": {"scan_for": "12m"},
    "IpcopsScanTooSlow": {"scan_for": "13m"},
    "IpcopsSourceFailing": {"scan_for": "13m"},
}


def case(name: str) -> dict:
    """Return a case with its values as they stand there: to YAML 1.1, which PyYAML reads, 0x60 is a number."""
    return yaml.load((CASES / f"{name}.yml").read_text("utf-8"), yaml.BaseLoader)


def stories(name: str) -> list[dict]:
    return case(name)["tests"]


def fires(story: dict) -> bool:
    """Tell whether a story expects its alert at any time."""
    expected = [one.get("exp_alerts") for one in story.get("alert_rule_test", [])]
    return any(expected) or any(one["exp_samples"] for one in story.get("promql_expr_test", []))


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rendered())
    done = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


def judged(place: Path, rules: str, stories: str) -> tuple[int, str]:
    """Return status and words of promtool's judgement of rules by stories."""
    (place / "rules.yml").write_text(rules)
    (place / "case.yml").write_text(stories)
    done = promtool("test", "rules", str(place / "case.yml"))
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_stories(name: str, tmp_path: Path) -> None:
    assert {fires(story) for story in stories(name)} == {True, False}, "one that fires and one that does not"
    status, words = judged(tmp_path, rendered(), (CASES / f"{name}.yml").read_text("utf-8"))
    assert status == 0, words


@pytest.mark.parametrize("name", NAMES)
def test_what_stays_silent_comes_close(name: str, tmp_path: Path) -> None:
    silent = {**case(name), "tests": [story for story in stories(name) if not fires(story)]}
    status, words = judged(tmp_path, rendered(**LOOSER[name]), yaml.safe_dump(silent))
    assert status == 1, f"with {LOOSER[name]} it stays silent, too"
    assert f'alertname="{name}"' in words


def test_every_case_is_of_an_alert() -> None:
    assert sorted(path.stem for path in CASES.glob("*.yml")) == NAMES


# --- what belongs to a rule


def test_every_metric_is_one_that_ipcops_has() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    labels = {PREFIX + name: set(names) for name, names, _ in FAMILIES}
    asked = set()
    for rule in RULES:
        for name in re.findall(r"\bipcops[:_][a-z0-9_:]+", rule["expr"]):
            assert name in labels or name in recorded, name
            asked.add(name)
        for name, matchers in re.findall(r"(\bipcops_[a-z0-9_]+)\{([^}]*)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= labels[name], (name, matchers)
    assert recorded <= asked, "what is recorded is used"
    told = {PREFIX + name for name, _, _ in FAMILIES if name.endswith("_limit_bytes") or name.startswith("scan_s")}
    assert told <= asked, "and this test can see them"


def test_every_alert_says_what_whom_and_where() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
        if not rule["expr"].startswith("absent"):
            assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md") if path.stem != "README") == NAMES
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    for rule in ALERTS:
        text = (RUNBOOKS / f"{rule['alert']}.md").read_text("utf-8")
        assert re.findall(r"^#+ (.*)$", text, re.MULTILINE) == [
            rule["alert"],
            "What it means",
            "How to look",
            "What to do",
            "When to silence it",
        ]
        assert re.search(rf"\[{rule['alert']}\]\({rule['alert']}\.md\) \| {rule['labels']['severity']} ", index)


LABELS = {"call": "semget", "kind": "sem", "id": "3", "queue": "/jobs", "owner": "app"}


def commands() -> list[tuple[str, str]]:
    """Return the commands of ipcops that pages and alerts tell people to run, and where."""
    found = []
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text("utf-8")
        blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in re.split(r"[\n|;]", block)]
        spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
        found += [(path.name, re.sub(r"^time |\s#.*|</.*", "", line).strip()) for line in (*lines, *spans)]
    for rule in ALERTS:
        text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda one: LABELS[one[1]], rule["annotations"]["description"])
        found += [(rule["alert"], line) for line in re.findall(r"'([^']+)'", text)]
    return sorted({one for one in found if one[1].startswith("ipcops ")})


@pytest.mark.parametrize(("where", "command"), commands(), ids=str)
def test_commands_that_people_are_told_to_run_are_right(where: str, command: str) -> None:
    name, *words = shlex.split(command)[1:]
    if name == "render":  # which the core has not
        assert words[0] == "--list" or words[0] in templates.TEMPLATES
    else:
        request = vars(parser("ipcops").parse_args([name, *words]))
        for rule in request.get("rules") or ():
            assert rule in BY_ID
        for kind in request.get("kinds") or ():
            assert kind in KINDS


# --- settings


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("near_limit", "0", "near_limit: 0 is out of bounds; from 1 to 100"),
        ("near_limit", "101", "near_limit: 101 is out of bounds"),
        ("at_limit", "most", "at_limit: 'most' is no whole number"),
        ("full_within", "soon", "full_within: 'soon' is no duration"),
        ("stale_after", "0", "stale_after: 0 is out of bounds; from 1 to 604800"),
        ("leak_objects", "-1", "leak_objects: '-1' is no whole number"),
        ("leak_bytes", "1 glass", "leak_bytes: '1 glass' is no size"),
        ("runbooks", 'x" y: "', "is no address"),
        ("runbooks", "https://wiki.example.org/", "is no address"),
        ("neer_limit", "80", "template 'alerts' has no setting 'neer_limit'; it has near_limit, at_limit"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(InputError, match=re.escape(why)):
        rendered(**{name: text})


def test_every_setting_changes_the_rules_and_is_explained() -> None:
    usual = rendered()
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    for name, default, meaning, parse, _, _ in alerts.SETTINGS:
        other = {alerts.parse_span: "11m", parse_size: "7M", alerts.parse_address: "https://wiki.example.org/x"}
        changed = rendered(**{name: other.get(parse, "17")})
        assert changed.partition("groups:")[2] != usual.partition("groups:")[2], name
        assert re.search(rf"^# {name} +{re.escape(default)} ", usual, re.MULTILINE)
        assert f"| `{name}` | `{default}` | {meaning} |" in index


def test_durations_are_written_as_prometheus_wants_them() -> None:
    texts = {text: str(alerts.parse_span(text)) for text in ("0", "90", "90m", "36h", "2w", "1.5h")}
    assert texts == {"0": "0s", "90": "90s", "90m": "90m", "36h": "36h", "2w": "14d", "1.5h": "90m"}
