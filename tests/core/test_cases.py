"""Tables of cases: what is there, what is true of it, and which rules say so.

Each file of ``tests/cases`` is a list of cases; see tests/cases/README.md for what they may say.
A case names every rule that fires: one that fires beside those fails it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

from ipcops.core.model import CONFIDENCES, SEVERITIES, VERDICTS
from ipcops.core.report import audit_report, objects_report
from ipcops.core.rules.base import HOST, protection, undecided
from ipcops.core.rules.catalogue import BY_ID, RULES
from ipcops.core.run import _not_exempt
from ipcops.core.verdicts import judge

from .build import case, name_of

CASES = Path(__file__).resolve().parent.parent / "cases"
FILES = sorted(CASES.glob("*.json"))


def loaded() -> List[Any]:
    return [
        pytest.param(one, id="%s: %s" % (file.stem, one["name"]))
        for file in FILES
        for one in json.loads(file.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_case_says_only_what_is_known_and_has_a_name_of_its_own(file):
    known = set(re.findall("`([a-z_]+)`", (CASES / "README.md").read_text(encoding="utf-8")))
    every = json.loads(file.read_text(encoding="utf-8"))
    assert {key for one in every for key in one} - known == set()
    assert len({one["name"] for one in every}) == len(every)


def verdicts(facts: Dict[str, Any]) -> Dict[str, Any]:
    world = case(facts)
    return {
        name_of(table, row): verdict
        for kind, table in world.snapshot.tables.items()
        for row, verdict in enumerate(judge(world, kind, range(len(table))))
    }


@pytest.mark.parametrize("facts", loaded())
def test_case(facts):
    world = case(facts)
    found = verdicts(facts)
    told = {}
    for name, verdict in found.items():
        assert verdict.word in VERDICTS
        assert verdict.confidence in CONFIDENCES
        assert verdict.reasons
        assert all(reason and reason == reason.strip() for reason in verdict.reasons)
        told[name] = "%s %s%s" % (verdict.word, verdict.confidence, " suspected" if verdict.suspected else "")
    for name, wanted in facts.get("verdicts", {}).items():
        assert told[name] == wanted
    for name, words in facts.get("says", {}).items():
        for word in words:
            assert word in "; ".join(found[name].reasons)
    for name, words in facts.get("unsaid", {}).items():
        for word in words:
            assert word not in "; ".join(found[name].reasons)
    if "rules" in facts:
        assert fired(world) == facts["rules"]
    if "protected" in facts:
        guards = {
            name_of(table, row): protection(world, table, row)
            for table in world.snapshot.tables.values()
            for row in range(len(table))
        }
        assert {name: guard.name for name, guard in guards.items() if guard} == facts["protected"]
    for piece in facts.get("findings", ()):
        text = json.dumps(list(audit_report(world, groups(world))["findings"]))
        assert piece in text
    for sentence in facts.get("silent", ()):
        text = json.dumps(list(audit_report(world, groups(world))["findings"]))
        assert sentence not in text


@pytest.mark.parametrize("facts", [one for one in loaded() if "notes" in one.values[0]])
def test_notes(facts):
    world = case(facts)
    named = facts.get("named", [])
    chosen = [BY_ID[rule] for rule in named] or RULES
    notes = undecided(world, chosen, named=bool(named))
    assert len(notes) == len(facts["notes"])
    for note, words in zip(notes, facts["notes"]):
        assert words in note


def groups(world: Any) -> List[Any]:
    return [
        kept
        for rule in RULES
        if rule.covers((*world.snapshot.kinds, HOST))
        for group in rule.findings(world)
        for kept in _not_exempt(world, group)
    ]


def fired(world: Any) -> Dict[str, str]:
    """Return every rule that fired, its severities and confidences, with the number of findings where not one."""
    counts: Dict[str, Dict[str, int]] = {}
    for group in groups(world):
        assert group.severity in SEVERITIES
        assert group.confidence in CONFIDENCES
        words = "%s %s" % (group.severity, group.confidence)
        per_rule = counts.setdefault(group.rule, {})
        per_rule[words] = per_rule.get(words, 0) + len(group.rows)
    return {
        rule: ", ".join(words if count == 1 else "%s x%d" % (words, count) for words, count in sorted(found.items()))
        for rule, found in counts.items()
    }


@pytest.mark.parametrize("facts", loaded())
def test_a_report_can_be_made_of_every_case(facts):
    world = case(facts)
    report = audit_report(world, groups(world))
    text = json.dumps({**report, "findings": list(report["findings"])})
    words = "".join(one["reason"] + one["remedy"] for one in json.loads(text)["findings"])
    assert "{" not in words.replace("-exec rm {} +", "")  # every name in a template was filled in
    rows = {kind: range(len(table)) for kind, table in world.snapshot.tables.items()}
    listed = objects_report(world, rows, details=True)
    assert len(list(listed["objects"])) == sum(len(table) for table in world.snapshot.tables.values())


def test_every_rule_fires_and_stays_silent_somewhere():
    severities: Dict[str, set] = {rule: set() for rule in BY_ID}
    silent = set()
    for parameter in loaded():
        world = case(parameter.values[0])
        if "rules" not in parameter.values[0]:
            continue
        rules = fired(world)
        silent |= set(BY_ID) - set(rules)
        for rule, words in rules.items():
            severities[rule].update(word.split()[0] for word in words.split(", "))
    assert silent == set(BY_ID)
    assert {rule for rule, found in severities.items() if not found} == set()
    assert all(BY_ID[rule].severity in found for rule, found in severities.items())
