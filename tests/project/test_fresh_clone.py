"""The README's first command works in a fresh clone, for everybody."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.project.checkout import (
    MINUTE,
    NOBODY,
    ROOT,
    clean_environment,
    clone,
    skip_without_package_index,
)

SYSTEM_PYTHON = "/usr/bin/python3"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def readme_command(start: str) -> str:
    """Return the first line of a fenced block of the README that begins with *start*."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```.*?\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            command = line.strip().removeprefix("$ ")
            if command.startswith(start):
                return command
    pytest.fail(f"no fenced block of README.md has a line that begins with {start!r}")


def run(command: str, place: Path, **how) -> subprocess.CompletedProcess[str]:
    how = {"env": clean_environment(), **how}
    return subprocess.run(
        ["sh", "-c", command],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10 * MINUTE,
        check=False,
        **how,
    )


def assert_plain_audit(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()
    assert "\x1b" not in done.stdout


def assert_in_virtual_environment(done: subprocess.CompletedProcess[str], place: Path) -> None:
    if "no .venv" in done.stderr:
        skip_without_package_index(done.stderr)
    assert "no .venv" not in done.stderr
    assert (place / ".venv/bin/ipcops").exists()


def ordinary_user() -> dict:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    environment = clean_environment(PATH=SYSTEM_PATH, HOME="/nonexistent")
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "env": environment}


def test_the_readmes_audit_command(shared_directory):
    place = clone(shared_directory)
    done = run(readme_command("./do audit"), place)
    assert_plain_audit(done)
    assert_in_virtual_environment(done, place)
    again = run(readme_command("./do audit"), place)
    assert_plain_audit(again)
    assert "setting up" not in again.stderr
    status = subprocess.run(
        ["git", "status", "--short"], cwd=place, check=True, capture_output=True, text=True
    )
    assert not status.stdout, "what the set-up makes is ignored by git"


def test_the_readmes_audit_command_as_an_ordinary_user(shared_directory):
    user = ordinary_user()
    place = clone(shared_directory)
    for directory, _, files in os.walk(place):
        for name in [directory, *(os.path.join(directory, file) for file in files)]:
            os.chown(name, NOBODY, NOBODY, follow_symlinks=False)
    done = run(readme_command("./do audit"), place, **user)
    assert_plain_audit(done)
    if "no Python 3.11" in done.stderr:
        pytest.skip("ordinary users have no Python 3.11 with the module 'venv' here")
    assert_in_virtual_environment(done, place)


def test_an_ordinary_user_who_may_not_write_still_gets_an_audit(shared_directory):
    user = ordinary_user()
    done = run(readme_command("./do audit"), clone(shared_directory), **user)
    assert_plain_audit(done)
    assert done.stderr.count("no .venv") == 1


def test_without_a_network_the_core_audits(shared_directory):
    place = clone(shared_directory)
    ours = {name: value for name, value in clean_environment().items() if not name.startswith("PIP_")}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_NO_CACHE_DIR": "1"}
    nowhere = {**ours, **pip}
    done = run(readme_command("./do audit"), place, env=nowhere)
    assert_plain_audit(done)
    assert done.stderr.count("no .venv") == 1


@pytest.mark.parametrize("who", ["this user", "ordinary user"])
def test_the_core_needs_no_setup(who, shared_directory):
    # -S and -E leave nothing but the standard library; `-m` adds the clone itself.
    command = f"{SYSTEM_PYTHON} -S -E -m ipcops.core audit --fail-on none"
    user = ordinary_user() if who == "ordinary user" else {}
    version = run(f"{SYSTEM_PYTHON} -c 'import sys; sys.exit(sys.version_info < (3, 9))'", Path("/"))
    if version.returncode:
        pytest.skip(f"{SYSTEM_PYTHON} is missing or older than 3.9")
    assert_plain_audit(run(command, clone(shared_directory), **user))
