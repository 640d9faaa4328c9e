"""Captured hosts, and the whole reports made of them, to the letter.

After a change that is meant: ``IPCOPS_ACCEPT=1 python -m pytest tests/core/test_golden.py``, and read the diff.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipcops.core.model import REMOVABLE_KINDS
from ipcops.core.records import json_text
from ipcops.core.run import run
from tests.hosts import replay

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "golden"
HOSTS = sorted(path.stem for path in (ROOT / "hosts").glob("*.txt"))
COMMANDS = ("audit", "list")
ACCEPT = bool(os.environ.get("IPCOPS_ACCEPT"))


def report(host: str, command: str) -> str:
    with replay.replayed(replay.load(host)) as world:
        return "".join(json_text(run({"command": command, "kinds": list(REMOVABLE_KINDS)}, world.roots, world.kernel)))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_report_is_the_golden_one(host, command):
    golden = GOLDEN / ("%s.%s.json" % (host, command))
    text = report(host, command)
    if ACCEPT:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_no_golden_report_is_left_over():
    assert {path.name for path in GOLDEN.iterdir()} == {
        "%s.%s.json" % (host, one) for host in HOSTS for one in COMMANDS
    }


def test_a_report_does_not_depend_on_the_order_of_sets():
    """Python orders sets of words anew in every run."""
    code = "from tests.core.test_golden import *; print([report(host, one) for host in HOSTS for one in COMMANDS])"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


@pytest.mark.parametrize("host", HOSTS)
def test_a_capture_tells_nothing_about_where_it_was_taken(host):
    text = (ROOT / "hosts" / (host + ".txt")).read_text(encoding="ascii")
    facts = dict(re.findall(r"^Fact (\w+) (.*)$", text, re.MULTILINE))
    assert facts["hostname"] == "host-" + host
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    words = set(re.findall(r"[\w./-]*/[\w./-]+", text))
    allowed = re.compile(r"/?(proc|dev/shm|dev/mqueue|sys/fs/cgroup/user\.slice|etc/ipcops|some/file|[\w.-]+$)|/SYSV")
    assert {word for word in words if not allowed.match(word.lstrip("/"))} <= {"/dev", "/", "/.", "/dev/"}


def test_what_is_not_in_a_capture_is_not_taken_for_absent():
    capture = replay.load("quiet")
    del capture.records["Path", "/proc/sysvipc/shm"]
    with replay.replayed(capture) as world, pytest.raises(replay.NotCapturedError, match="sysvipc/shm"):
        run({"command": "list", "kinds": ["shm"]}, world.roots, world.kernel)


# ---------------------------------------------------------------- what must be so in them, whatever the wording


def rules(host: str) -> set:
    return {one["rule"] for one in json.loads(report(host, "audit"))["findings"]}


def told(host: str, **wanted: str) -> list:
    objects = json.loads(report(host, "list"))["objects"]
    return [one for one in objects if all(one[name] == value for name, value in wanted.items())]


LEAKS = {"SHM-001", "SEM-001", "MSG-004", "MQ-002", "PSHM-001"}


def test_a_quiet_machine_is_quiet():
    assert rules("quiet") & LEAKS == set()
    assert {one["verdict"] for one in told("quiet")} == {"in-use"}


def test_every_leak_is_found_and_nothing_in_use_is_called_one():
    assert rules("leaks") >= LEAKS
    for one in told("leaks", verdict="orphan"):
        assert one["owner"]["uid"] in (54321, 1)
        assert not one["holders"]
        assert not one["waiters"]
    (lock,) = told("leaks", path="/libpod_lock")
    assert (lock["verdict"], lock["protection"]["name"]) == ("idle", "podman")


def test_an_unprivileged_user_is_never_told_that_something_is_gone_for_certain():
    seen = json.loads(report("unprivileged", "list"))
    assert not seen["scan"]["complete"]
    assert not seen["scan"]["privileged"]
    by_root = {(one["kind"], one["path"]) for one in told("leaks")}
    by_user = {(one["kind"], one["path"]) for one in told("unprivileged")}
    assert by_user <= by_root
    assert not [one for one in seen["objects"] if one["kind"].startswith("posix") and one["verdict"] == "orphan"]
    findings = json.loads(report("unprivileged", "audit"))["findings"]
    leaks = [one for one in findings if one["rule"] in LEAKS - {"SHM-001"}]
    assert all(one["confidence"] != "certain" for one in leaks)


def test_an_old_kernel_is_read_like_a_new_one():
    old, new = json.loads(report("old-kernel", "list")), json.loads(report("leaks", "list"))
    assert [one["rss"] for one in old["objects"] if one["kind"] == "shm"] == [None] * 4
    assert len(old["objects"]) == len(new["objects"])
    for one, other in zip(old["objects"], new["objects"]):
        assert (one["kind"], one["id"], one["path"]) == (other["kind"], other["id"], other["path"])
        if other["verdict"] == "in-use":
            assert one["verdict"] == "in-use"
            assert one["holders"] == other["holders"]
            assert one["waiters"] == other["waiters"]
