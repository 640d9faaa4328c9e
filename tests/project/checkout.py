"""The checkout under test, clean copies of it, and what this machine lets tests do with them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
MINUTE = 60


def clean_environment(**changes: str) -> dict[str, str]:
    """Return what a user's shell hands on, without what make, pytest or a virtual environment added."""
    ours = re.compile(r"MAKE|MFLAGS|PYTHON|PYTEST|VIRTUAL_ENV|CI$")
    kept = {name: value for name, value in os.environ.items() if not ours.match(name)}
    active = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join(
        place for place in kept.get("PATH", os.defpath).split(os.pathsep) if place != active
    )
    return {**kept, **changes}


def git(*arguments: str) -> str:
    """Return what git says about this checkout; skip where there is none."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    command = ["git", "-c", "core.quotePath=false", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def clone(place: Path) -> Path:
    """Return a clone of HEAD below *place* that everybody may read."""
    target = place / "clone"
    git("rev-parse", "--verify", "--quiet", "HEAD")
    # Containers' overlay file systems don't let git verify the hard links it would make.
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, target], check=True, umask=0o022)
    return target


@functools.cache
def package_index_reachable() -> bool:
    """Tell whether pip can download packages here."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, "typer"]
        return subprocess.run(command, check=False, capture_output=True, timeout=5 * MINUTE).returncode == 0


def skip_without_package_index(said: str) -> None:
    """Skip if pip can reach no package index; *said* is what went wrong."""
    if not package_index_reachable():
        pytest.skip("pip can reach no package index: " + said.strip().splitlines()[-1])
