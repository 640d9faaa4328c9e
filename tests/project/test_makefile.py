"""`make` alone explains every target, and `do` gets along without make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.checkout import NOBODY, ROOT, clean_environment, clone

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z0-9]+):", MAKEFILE, flags=re.MULTILINE)


def test_make_alone_lists_every_target_with_what_it_does():
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    listing = subprocess.run(
        ["make"], cwd=ROOT, env=clean_environment(), check=True, capture_output=True, text=True
    )
    described = dict(line.split(maxsplit=1) for line in listing.stdout.splitlines())
    assert list(described) == TARGETS
    assert {"audit", "test", "lint", "bench", "demo", "docs", "clean"} <= set(TARGETS)


def test_every_target_is_made_even_if_a_file_has_its_name():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert phony is not None
    assert set(TARGETS) <= set(phony[1].split())


def an_ordinary_user_without_make(place: Path) -> dict:
    """Return the arguments of subprocess.run for a user whose PATH has no make and who can install none."""
    place.chmod(0o755)
    tools = place / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "id"):
        (tools / tool).symlink_to(shutil.which(tool) or pytest.skip(tool + " is not installed"))
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = clean_environment(PATH=str(tools), HOME="/nonexistent")
    return {"env": environment, "capture_output": True, "text": True, **user}


def test_without_make_the_core_audits_alone(shared_directory):
    if not Path("/usr/bin/python3").exists():
        pytest.skip("there is no /usr/bin/python3")
    user = an_ordinary_user_without_make(shared_directory)
    done = subprocess.run(["./do", "audit"], cwd=clone(shared_directory), check=False, **user)
    assert (done.returncode, "make is missing" in done.stderr) == (0, True), done.stderr
    assert done.stdout.strip()


def test_without_make_other_targets_say_what_to_install(shared_directory):
    user = an_ordinary_user_without_make(shared_directory)
    done = subprocess.run(["./do", "test"], cwd=clone(shared_directory), check=False, **user)
    assert done.returncode == 1
    assert "apt install make" in done.stderr
    assert not done.stdout
