"""The pages under docs/ that are made from the code are what the code says now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipcops.core.rules.catalogue import RULES

ROOT = Path(__file__).parents[2]


def test_made_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, "out of date, run make docs:\n" + done.stdout


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_rule_tells_all() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        for text in (rule.title, rule.rationale, rule.decides, rule.remedy, rule.source):
            assert text.strip()
        assert rule.decides.endswith("."), rule.id
        assert "unverified" not in rule.source, rule.id


def test_readme_names_every_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from ipcops.cli.main import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    commands = re.findall(r"^  ([a-z]+)  ", shown.partition("Commands:")[2], re.MULTILINE)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert commands
    for command in commands:
        assert f"`ipcops {command}" in readme, command
