"""The rendered scripts as text: shellcheck and every shell at hand find nothing wrong with them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ipcops.bundle.contents import files

from .hosts import AWKWARD

CASES = {
    "default": {},
    "awkward": AWKWARD,
    "announced": {"notify": "yes", "mail": "", "spread": "0", "settle": "0"},
    "told": {"apply": "no", "nice": "0", "log": "/srv/log", "state": "/srv/state"},
}


@pytest.fixture(params=CASES)
def scripts(request, tmp_path):
    """Give the shell scripts of a bundle, by name."""
    texts = {one.source: one.text for one in files(CASES[request.param]) if one.text.startswith("#!/bin/sh\n")}
    found = {name: tmp_path / name for name in texts}
    for name, text in texts.items():
        found[name].write_text(text)
    jobs = {"ipc-cleanup.sh", "ipc-monitor.sh", "ipc-health.sh"}
    assert set(found) == {"ipcops", "install.sh", *jobs, "slurm-prolog.sh", "slurm-epilog.sh"}
    return found


def test_shellcheck_finds_nothing(scripts):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    # SC2016: a "$" in single quotes is no variable, which is just what is meant by that of a path.
    meant = ["--exclude=SC2016"] if "$x" in scripts["ipcops"].read_text() else []
    words = ["shellcheck", "--severity=style", "--norc", *meant, *scripts.values()]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_shells_can_read_them(scripts, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for path in scripts.values():
        done = subprocess.run([shell, "-n", path], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), path.name


def test_what_shellcheck_would_find_is_found(tmp_path):
    """The test above can fail."""
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    (tmp_path / "bad.sh").write_text("#!/bin/sh\necho $1\n")
    done = subprocess.run(["shellcheck", "--severity=style", tmp_path / "bad.sh"], check=False, capture_output=True)
    assert done.returncode == 1
