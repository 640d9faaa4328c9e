"""One core, several carriers: the CLI and the agent answer every request byte for byte alike.

The agent is the one that was unpacked, as on a host, with the system's Python; where it runs as it lies, and
``python3 -m ipcops.core``, are the same agent (test_agent.py) and are asked what is refused.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time

import pytest

from ipcops.bundle import agent
from tests import world
from tests.cli.command import CLI, CORE, ipcops
from tests.cli.test_clean import AT_ONCE, orphan

CLONE_NEWNET = 0x40000000
AGENT = agent.build()
PATIENCE = 3.2
"""Seconds: nothing goes that was used in the last three."""
SYSTEM_PYTHON = "/usr/bin/python3"
OURS = "POLICY"
"""Stands for a policy whose state directory is no host's: a journal is opened before a name in it is found missing."""


def carriers() -> dict[str, tuple[str, ...]]:
    """Return how the CLI and the installed agent are called."""
    pyz = world.here() / agent.FILE
    pyz.write_bytes(AGENT)
    place = world.here() / "agent"
    subprocess.run([SYSTEM_PYTHON, "-I", "-S", pyz, "--unpack", place], check=True)
    return {"cli": CLI, "agent": (SYSTEM_PYTHON, "-I", "-S", str(place))}


# What no two runs share: when they ran and how long they took, and what they name after that.
PASSING = [
    (re.compile(r'"(started_at|seconds|now|uptime|at|age)": [0-9.]+'), r'"\1": 0'),
    (re.compile(r"[\s(]+[0-9.]+ s\b"), " N s"),
    (re.compile(r"\b\d{8}T\d{6}Z-\w+-\d+\b"), "BATCH"),
    (re.compile(r"(ipcops_scan_\w+_seconds|scan_seconds=)[^;\n]*"), r"\1"),
    (re.compile(r"(scan_seconds\W+value\W+)[0-9.]+"), r"\1"),
    (re.compile(r"Looked at \d+ processes"), "Looked at processes"),
    (re.compile(r"/(state|policy)-\d"), r"/\1"),
    (re.compile(r'"policy_hash": "[0-9a-f]{64}"'), '"policy_hash": ""'),  # the state directory is part of it
    (re.compile(r'"pid": \d+, "started_at"'), '"pid": 0, "started_at"'),
]


def masked(text: str) -> str:
    for pattern, instead in PASSING:
        text = pattern.sub(instead, text)
    return text


def answer(command: tuple[str, ...], words: tuple[str, ...]) -> tuple[int, str, str]:
    done = ipcops(*words, command=command)
    out, err = masked(done.stdout), masked(done.stderr)
    return done.returncode, out, err.replace("usage: python3 -m ipcops.core", "usage: ipcops")


def require_alike(words: tuple[str, ...], known: dict[str, tuple[str, ...]]) -> tuple[int, str, str]:
    """Fail unless every carrier gives one answer; ages are told in whole seconds, so a few tries may straddle one."""
    for _ in range(8):
        answers = {name: answer(command, words) for name, command in known.items()}
        if len(set(answers.values())) == 1:
            break
    first = answers["cli"]
    for name, other in answers.items():
        for one, its in zip(first, other, strict=True):
            assert str(its).splitlines() == str(one).splitlines(), f"{name}: {' '.join(words)}"
    return first


LOOKS = [
    ("audit",),
    ("audit", "--kind", "shm", "--fail-on", "info"),
    ("audit", "--rule", "SHM-001", "--min-severity", "low", "--fail-on", "none"),
    ("list", "shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq", "fifo"),  # each run has pipes of its own
    ("list", "sem", "shm", "--sort", "size"),
    ("list", "--verdict", "orphan", "--owner", str(world.GONE)),
    ("show", "sem:0"),
    ("show", "posix-shm:/psm_00000001"),
    ("explain", "semget", "ENOSPC"),  # of others, some limits are the whole host's
    ("rules",),
    ("rules", "SHM-001"),
    ("clean",),
    ("clean", "--kind", "shm", "--exit-code"),
    ("journal",),
    ("metrics",),
    ("check",),
    ("limits", "show"),
    ("limits", "profiles"),
    ("limits", "profiles", "db2-11.5"),
    ("limits", "plan", "--profile", "db2-11.5", "--exit-code"),
]


@world.in_world(mqueue=True, pids=True, timeout=240)
def test_looking_is_alike():
    def make() -> None:
        world.shmget(4096, key=0x80000001, mode=0o666)
        world.semget(2)
        world.msgsnd(world.msgget(), b"x")
        world.shm_file("psm_00000001")
        world.sem_open("/lock")
        world.mq_open("/queue")

    world.as_uid(world.GONE, make)
    known = carriers()
    world.unshare(CLONE_NEWNET)  # whoever listens outside comes and goes
    spool = world.here() / "spool"
    spool.mkdir()
    os.mkfifo(spool / "fifo")
    scan = world.SCAN + f"fifo_dirs = {spool}\n"
    cleaning = AT_ONCE.replace("[clean]", f"[clean]\nstate = {spool}/state")
    path = world.policy(scan + cleaning + "[audit]\nexempt = SHM-007\n")
    statuses = set()
    for words, form in itertools.product(LOOKS, ("table", "json")):
        # Of its own times, only the looks at processes differ; what was seen is noted by the first run already.
        status, out, err = require_alike((*words, "--format", form, "--policy", path), known)
        assert out, (words, err)
        statuses.add(status)
    assert statuses == {0, 1}, "both what passes and what fails was compared"


@world.in_world(timeout=240)
def test_changing_is_alike():
    """Each carrier has a state of its own and the same objects: what it removes, puts back and sets, it tells alike."""
    known = carriers()
    sessions = []
    for number, command in enumerate(known.values()):
        own = AT_ONCE.replace("[clean]", f"[clean]\nstate = {world.here()}/state-{number}")
        path = world.here() / f"policy-{number}"
        path.write_text(world.SCAN + own)
        sessions.append(session(command, str(path)))
    for other in sessions[1:]:
        assert other == sessions[0]


def session(command: tuple[str, ...], path: str) -> list[tuple[int, str]]:
    """Return what a carrier said from a leak to its return and its end, without the ids that are new each time."""
    said = []
    number = orphan(key=0x4711)
    name = f"shm:{number}"

    def run(*words: str) -> str:
        done = ipcops(*words, "--policy", path, command=command)
        text = re.sub(rf"\bshm:{number}\b", "shm:N", masked(done.stdout + done.stderr))
        text = re.sub(rf'"id": {number}\b', '"id": 0', text)
        text = re.sub(r"\s+", " ", text)  # a pid of another length may part the lines elsewhere
        text = re.sub(r"pid \d+|\b\d{4}-\d\d-\d\d[T ][0-9:]+\S*", "", text)
        said.append((done.returncode, text))
        return done.stdout

    run("backup", name)
    run("set", name, "mode=0640")
    time.sleep(PATIENCE)
    run("clean", "--apply", "--yes")
    batch = re.findall(r"\d{8}T\d{6}Z-\w+-\d+", run("journal", "--key", "0x4711"))
    assert batch, said
    run("restore", batch[0])
    time.sleep(PATIENCE)
    run("clean", name, "--apply", "--yes")
    assert not [row for row in world.table("shm") if row["shmid"] == number or row["key"] == 0x4711], said
    return said


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "--kind", "shmm"),
        ("list", "--owner", "nobody-of-that-name"),
        ("show", "shm:2147483647"),
        ("clean", "--policy", "/does/not/exist"),
        ("clean", "--yes"),
        ("clean", "--apply"),
        ("restore", "no-such-backup", "--policy", OURS),
        ("journal", "--since", "soon"),
        ("set", "shm:0", "mode=9"),
        ("explain", "semgot"),
        ("metrics", "--textfile", "/does/not/exist/x.prom"),
        ("limits", "plan", "--profile", "postgressql"),
        ("limits", "plan", "--set", "kernel.shmmni=4G"),
        ("limits", "apply", "--profile", "db2-11.5"),
        ("limits", "rollback", "no-such-batch", "--yes", "--policy", OURS),
        ("rules", "SHM-999"),
        ("rules", "--policy", "/does/not/exist"),
    ],
    ids=" ".join,
)
def test_refusals_are_alike(words, tmp_path):
    place = tmp_path / "policy"
    place.write_text(f"[clean]\nstate = {tmp_path}/state\n")
    words = tuple(str(place) if word == OURS else word for word in words)
    pyz = tmp_path / agent.FILE
    pyz.write_bytes(AGENT)
    known = {"cli": CLI, "core": CORE, "agent as it lies": (sys.executable, "-I", "-S", str(pyz))}
    status, out, err = require_alike(words, known)
    assert status in (2, 3, 4)
    assert out == ""
    assert err.count("\n") == 1
