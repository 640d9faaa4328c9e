"""``install.sh`` removes nothing of others, whatever directories it was told to use. Below DESTDIR, as any user can."""

from __future__ import annotations

import subprocess

import pytest

from ipcops.bundle.contents import write


@pytest.fixture
def shared(tmp_path):
    """Give a bundle that was told to use directories that others use, and how to run it."""
    place, root = tmp_path / "bundle", tmp_path / "root"
    write(str(place), {"log": "/var/log", "state": "/srv/state", "lib": "/opt"})
    (root / "var/log").mkdir(parents=True)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", place / "install.sh", *words],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "DESTDIR": str(root)},
        )

    return root, run


def test_logs_and_states_of_others_stay(shared):
    root, run = shared
    done = run("--cron")
    assert done.returncode == 0, done.stderr
    others = [root / "var/log" / name for name in ("syslog.log", "syslog.log.1", "cleanups.log", "auth.log-20260101")]
    others.append(root / "srv/state/jobs/theirs.json")
    ours = [root / "var/log" / name for name in ("cleanup.log", "health.log.1", "monitor.log-20260101.gz")]
    ours += [root / "srv/state/jobs" / name for name in ("cleanup.json", "health.txt", "monitor.lock")]
    for path in [*others, *ours]:
        path.write_text("kept")
    done = run("--uninstall")
    assert done.returncode == 0, done.stderr
    assert [path.read_text() for path in others] == ["kept"] * len(others)
    assert not [path for path in ours if path.exists()]


@pytest.mark.parametrize("name", ["agent/precious", "precious", ".precious", "new/precious"])
def test_a_library_of_others_is_refused(name, shared):
    root, run = shared
    path = root / "opt" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("kept")
    before = sorted(root.rglob("*"))
    done = run("--cron")
    assert done.returncode == 2
    assert "is not ours" in done.stderr
    assert "Nothing was done" in done.stderr
    assert sorted(root.rglob("*")) == before
    assert path.read_text() == "kept"
