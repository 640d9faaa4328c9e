"""The linters find nothing: policy written down is policy held."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.project.checkout import ROOT


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--quiet", "--output-format=concise"),
        ("mypy",),
        ("mypy", "--python-version=3.9", "ipcops/core", "ipcops/bundle/agent.py"),
    ],
    ids=" ".join,
)
def test_lint(command):
    if importlib.util.find_spec(command[0]) is None:
        assert "CI" not in os.environ, f"{command[0]} is not installed"
        pytest.skip(f"{command[0]} is not installed (pip install -e '.[dev]')")
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, "\n" + done.stdout + done.stderr
