"""A wheel holds exactly what is tracked, and says the truth about it."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import zipfile

import pytest

import ipcops
from tests.project.checkout import MINUTE, clean_environment, clone, git, skip_without_package_index


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    place = tmp_path_factory.mktemp("wheel")
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place]
    built = subprocess.run(
        [*pip_wheel, clone(place)],
        env=clean_environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=10 * MINUTE,
    )
    if built.returncode:
        skip_without_package_index(built.stderr)
    assert built.returncode == 0, built.stderr
    [path] = place.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def tracked(directory: str) -> list[str]:
    """Return the tracked files of *directory*, or itself if it is one, with what its symbolic links lead to."""
    found = []
    for entry in git("ls-tree", "-r", "-z", "HEAD", directory).split("\0")[:-1]:
        about, path = entry.split("\t")
        if about.startswith("120000"):
            target = os.path.normpath(os.path.join(os.path.dirname(path), git("show", "HEAD:" + path)))
            found += [path + name.removeprefix(target) for name in tracked(target)]
        else:
            found.append(path)
    return found


def test_wheel_holds_exactly_the_tracked_files(wheel):
    packed = [name for name in wheel.namelist() if ".dist-info/" not in name]
    wanted = [path for path in tracked("ipcops") if "/playbooks/collections/" not in path]  # a checkout's way to it
    assert sorted(packed) == sorted(wanted)


def test_metadata(wheel):
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Name"] == "ipcops"
    assert metadata["Version"] == ipcops.__version__
    assert metadata["License-Expression"] == "GPL-3.0-or-later"
    assert metadata["Requires-Python"] == ">=3.11"
    beside = name.removesuffix("METADATA")
    assert b"GNU GENERAL PUBLIC LICENSE" in wheel.read(beside + "licenses/LICENSE")
    assert b"ipcops = ipcops.cli.main:main" in wheel.read(beside + "entry_points.txt")
