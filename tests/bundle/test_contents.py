"""``ipcops bundle``: what it writes is whole, the same each time, and never mixed with anything else."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess

import pytest

from ipcops.bundle import agent, contents
from ipcops.core import policy
from ipcops.core.rules.catalogue import BY_ID
from tests.cli.command import ipcops
from tests.project.checkout import ROOT


def files(place) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_a_bundle_is_whole_and_says_what_it_holds(tmp_path):
    place = tmp_path / "bundle"
    done = ipcops("bundle", str(place))
    assert done.returncode == 0, done.stderr
    there = files(place)
    assert f"Wrote {len(there)} files to {place}" in done.stdout
    sums = dict(line.split("  ")[::-1] for line in there[contents.SUMS].decode().splitlines())
    assert sums == {
        name: hashlib.sha256(content).hexdigest() for name, content in there.items() if name != contents.SUMS
    }
    listed = [line.split("\t") for line in there["MANIFEST"].decode().splitlines()]
    assert {source for _, _, source, _ in listed} == set(there) - {contents.SUMS, "MANIFEST", agent.FILE}
    assert len({target for *_, target in listed}) == len(listed)
    for purpose, mode, source, target in listed:
        assert stat.S_IMODE((place / source).stat().st_mode) == int(mode, 8)
        assert target.startswith("/")
        assert purpose in {"code", "policy", "config"} or purpose.split("-")[0] in {"cron", "systemd"}
    assert there[agent.FILE] == agent.build()


def test_the_same_settings_give_the_same_bytes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for place in (first, second, second):
        assert ipcops("bundle", str(place), "--set", "spread=60").returncode == 0
    assert files(first) == files(second)
    assert b"spread 60\n" in files(first)["ipc-cleanup.sh"]


def test_scripts_are_a_bundle_of_the_defaults(tmp_path):
    ours = {name: text for name, text in files(ROOT / "scripts").items() if name != "README.md"}
    place = tmp_path / "bundle"
    assert ipcops("bundle", str(place)).returncode == 0
    theirs = {name: text for name, text in files(place).items() if name not in (agent.FILE, contents.SUMS)}
    assert ours == theirs
    for name in ours:
        assert os.access(ROOT / "scripts" / name, os.X_OK) == os.access(place / name, os.X_OK), name


def test_a_policy_goes_along_as_it_is(tmp_path):
    own = tmp_path / "own.conf"
    own.write_text("# ours\n[clean]\nstate = /srv/ipc\n")
    place = tmp_path / "bundle"
    assert ipcops("bundle", str(place), "--policy", str(own)).returncode == 0
    assert (place / "ipcops.conf").read_text() == own.read_text()
    assert "jobs=/srv/ipc/jobs\n" in (place / "ipc-cleanup.sh").read_text()


def test_another_state_directory_is_in_the_policy_too(tmp_path):
    place = tmp_path / "bundle"
    assert ipcops("bundle", str(place), "--set", "state=/srv/ipc").returncode == 0
    text = (place / "ipcops.conf").read_text()
    assert policy.parse_policy(text, "bundle", BY_ID)["clean", "state"] == "/srv/ipc"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--set", "spred=1"), "did you mean 'spread'"),
        (("--set", "lib=/a\nb"), "safely"),
        (("--set", "lib=/a\\b"), "crontab's command"),
        (("--set", "log=/var/log/*"), "logrotate"),
        (("--set", "job=cleanup"), "leave out --set job"),
        (("--policy", "/does/not/exist"), "no such file"),
    ],
)
def test_what_cannot_be_leaves_nothing(words, why, tmp_path):
    done = ipcops("bundle", str(tmp_path / "bundle"), *words)
    assert done.returncode == 2
    assert why in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_a_wrong_policy_leaves_nothing(tmp_path):
    own = tmp_path / "own.conf"
    own.write_text("[claen]\n")
    done = ipcops("bundle", str(tmp_path / "bundle"), "--policy", str(own))
    assert done.returncode == 2
    assert "did you mean 'clean'" in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_a_directory_with_anything_else_is_refused(tmp_path):
    place = tmp_path / "home"
    (place / "below").mkdir(parents=True)
    (place / "below" / "mine").write_text("kept")
    done = ipcops("bundle", str(place))
    assert done.returncode == 2
    assert "below/mine" in done.stderr
    assert files(place) == {"below/mine": b"kept"}
    done = ipcops("bundle", str(place / "below" / "mine"))
    assert done.returncode == 2
    assert "is no directory" in done.stderr


def test_where_nothing_can_be_written_it_says_so():
    done = ipcops("bundle", "/proc/ipcops-bundle")
    assert done.returncode == 4
    assert "cannot write '/proc/ipcops-bundle" in done.stderr


def test_a_checkout_installs_without_anything_else(tmp_path):
    """``scripts/install.sh`` builds the agent itself, with the system's Python."""
    done = subprocess.run(
        ["sh", ROOT / "scripts/install.sh", "--cron"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "DESTDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "usr/local/lib/ipcops/ipcops-agent.pyz").read_bytes() == agent.build()
    schedule = "cron.d/ipcops-cleanup"
    assert (tmp_path / "etc" / schedule).read_bytes() == (ROOT / "scripts" / schedule).read_bytes()
