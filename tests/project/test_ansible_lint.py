"""Roles, playbooks and every other YAML file keep to .config/ansible-lint.yml and .yamllint.yml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.checkout import MINUTE, ROOT, clean_environment, git


def tool(name: str) -> Path:
    """Return a linter that was installed with this Python."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed")
    return path


def yaml_files() -> list[str]:
    return git("ls-files", "-z", "*.yml", "*.yaml", ".*.yml").split("\0")[:-1]


def complaints(*command: str | Path, home: Path, cwd: Path = ROOT) -> str:
    """Return what a linter says; nothing if all is well. It keeps its own files in *home*."""
    env = clean_environment(ANSIBLE_HOME=str(home), XDG_CACHE_HOME=str(home), NO_COLOR="1")
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"  # ansible-lint runs ansible-playbook
    done = subprocess.run(
        command, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=10 * MINUTE
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_yamllint(tmp_path):
    files = [name for name in yaml_files() if (ROOT / name).is_file()]
    assert {"galaxy.yml", ".config/ansible-lint.yml"} < set(files)
    said = complaints(tool("yamllint"), "--strict", *files, home=tmp_path)
    assert not said, said


def test_ansible_lint(tmp_path):
    command = (tool("ansible-lint"), "--offline", "--nocolor", "-q")
    git("rev-parse")  # it asks git which files there are
    said = complaints(*command, home=tmp_path)
    assert not said, said


def test_the_linters_say_what_is_wrong(tmp_path):
    """Else the tests above would hold for any file."""
    place = tmp_path / "project"
    (place / "playbooks").mkdir(parents=True)
    (place / ".config").mkdir()
    for name in (".config/ansible-lint.yml", ".yamllint.yml"):
        (place / name).write_bytes((ROOT / name).read_bytes())
    book = place / "playbooks/wrong.yml"
    book.write_text("---\n- hosts: all\n  tasks:\n    - shell:   date\n")
    said = complaints(tool("yamllint"), "--strict", book, home=tmp_path, cwd=place)
    assert "too many spaces after colon" in said
    said = complaints(tool("ansible-lint"), "--offline", "--nocolor", book, home=tmp_path, cwd=place)
    for rule in ("fqcn[action-core]", "name[play]", "no-changed-when"):
        assert rule in said
