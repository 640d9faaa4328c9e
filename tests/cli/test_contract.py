"""The JSON that other programs rely on: names, types and the words that may stand in it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket

import pytest

from ipcops.core.model import CONFIDENCES, KINDS, REMOVABLE_KINDS, SEVERITIES, VERDICTS
from tests import world
from tests.cli.command import CLI, CORE, ipcops

NUMBER, TEXT, MAYBE_TEXT, MAYBE_NUMBER = (int, float), str, (str, type(None)), (int, type(None))
FINDING = {
    "rule": TEXT, "title": TEXT, "severity": TEXT, "confidence": TEXT, "kind": MAYBE_TEXT,
    "id": (int, str, type(None)), "key": MAYBE_TEXT, "path": MAYBE_TEXT, "namespace": MAYBE_NUMBER,
    "owner": (dict, type(None)), "evidence": dict,
    "reason": TEXT, "remedy": TEXT,
}  # fmt: skip
OBJECT = {
    "kind": TEXT, "id": (int, str, type(None)), "key": MAYBE_TEXT, "path": MAYBE_TEXT, "namespace": MAYBE_NUMBER,
    "owner": dict, "creator": (dict, type(None)), "mode": MAYBE_TEXT, "verdict": TEXT, "confidence": TEXT,
    "reasons": list,
    "protection": (dict, type(None)), "holders": list,
}  # fmt: skip
OWN = {
    "shm": "size nattch cpid lpid atime dtime ctime rss swap",
    "sem": "nsems otime ctime",
    "msg": "cbytes qnum qbytes lspid lrpid stime rtime ctime",
    "posix-shm": "size atime mtime ctime",
    "posix-sem": "size atime mtime ctime",
    "posix-mq": "maxmsg msgsize curmsgs",
    "fifo": "dev ino nlink atime mtime ctime",
    "pipe": "capacity fill",
    "unix": "rqueue wqueue",
    "inet": "port rqueue wqueue",
    "lock": "start pid dev ino",
}


def check(row: dict, shape: dict) -> None:
    for name, kind in shape.items():
        assert name in row, name
        assert isinstance(row[name], kind), (name, row[name])
        assert not isinstance(row[name], bool), name


def make_one_of_each() -> None:
    world.shmget(4096, key=0x80000001, mode=0o666)
    world.semget(2)
    world.msgsnd(world.msgget(), b"x")
    world.shm_file("psm_00000001")
    world.sem_open("/lock")
    world.mq_open("/queue")


def hold_one_of_each() -> list[object]:
    os.mkfifo(world.here() / "fifo")
    fifo = os.open(world.here() / "fifo", os.O_RDWR)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind("\0contract")
    unix.listen()
    inet = socket.create_server(("127.0.0.1", 0))
    file = os.open(world.here() / "locked", os.O_CREAT | os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    return [fifo, unix.detach(), inet.detach(), os.pipe()]


@world.in_world(mqueue=True)
def test_reports_are_shaped_as_promised():
    world.as_uid(world.GONE, make_one_of_each)
    world.spawn(hold_one_of_each)
    text = "[audit]\norphan_age = 0\n[scan]\nunreadable_ok = init.scope\nfifo_dirs = %s\n" % world.here()
    policy = str(world.policy(text))
    reports = []
    for command in (("audit", "--fail-on", "none"), ("list",)):
        done = ipcops(*command, "--format", "json", "--policy", policy)
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(done.stdout))
    check_reports(*reports)


def check_reports(audit: dict, objects: dict) -> None:
    assert audit["schema"] == "ipcops.audit/1"
    assert objects["schema"] == "ipcops.objects/1"
    for report in (audit, objects):
        check(report["host"], {"hostname": TEXT, "kernel": TEXT, "arch": TEXT, "boot_id": MAYBE_TEXT})
        check(report["scan"], {"started_at": int, "seconds": NUMBER, "unreadable_processes": int})
        assert isinstance(report["scan"]["privileged"], bool)
        assert isinstance(report["scan"]["complete"], bool)
        assert all(isinstance(one, int) for one in report["scan"]["namespaces"])
        for gap in report["scan"]["skipped"]:
            check(gap, {"what": TEXT, "why": TEXT})
    assert set(audit["limits"]["kernel.sem"]) == {"semmsl", "semmns", "semopm", "semmni"}
    assert audit["usage"]["shm"]["objects"] == audit["usage"]["shm"]["pages"] == 1
    assert audit["usage"]["sem"] == {"objects": 1, "semaphores": 2}
    assert audit["usage"]["msg"] == {"objects": 1, "messages": 1, "bytes": 1}
    assert sum(audit["summary"].values()) == len(audit["findings"]) > 0
    assert list(audit["summary"]) == list(SEVERITIES)
    ranks = [SEVERITIES.index(one["severity"]) for one in audit["findings"]]
    assert ranks == sorted(ranks), "worst first"
    for finding in audit["findings"]:
        check(finding, FINDING)
        assert finding["confidence"] in CONFIDENCES
        assert finding["kind"] in (*KINDS, None)
        if finding["owner"] is not None:
            check(finding["owner"], {"uid": int, "user": MAYBE_TEXT})
    assert {one["kind"] for one in objects["objects"]} == set(KINDS)
    for one in objects["objects"]:
        check(one, OBJECT)
        assert one["verdict"] in VERDICTS
        assert one["confidence"] in CONFIDENCES
        assert one["reasons"], "a verdict always has its reasons"
        assert (one["mode"] is not None) == (one["kind"] in (*REMOVABLE_KINDS, "fifo")) or one["kind"] == "unix"
        assert one["mode"] is None or re.fullmatch(r"[0-7]{4}", one["mode"])
        assert one["key"] is None or re.fullmatch(r"0x[0-9a-f]{8}", one["key"])
        for name in OWN[one["kind"]].split():
            assert isinstance(one[name], int), (one["kind"], name)
    assert next(one for one in objects["objects"] if one["kind"] == "shm")["key"] == "0x80000001"


@pytest.mark.parametrize("arguments", [("rules",), ("rules", "SHM-001"), ("rules", "--format", "json")])
def test_agent_and_command_line_say_the_same(arguments):
    ours, agents = ipcops(*arguments, command=CLI), ipcops(*arguments, command=CORE)
    assert ours.stdout == agents.stdout != ""
    assert ours.returncode == agents.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit", "--rule", "SHM-1"),
        ("audit", "--kind", "shmm"),
        ("audit", "--fail-on", "worst"),
        ("audit", "--policy", "/does/not/exist"),
        ("audit", "--policy", ""),
        ("list", "--owner", "nobody-of-that-name"),
        ("list", "--sort", "colour"),
        ("list", "semaphore"),
        ("show", "shm:0x"),
        ("show", "shm:2147483647"),
        ("rules", "SHM-999"),
    ],
)
def test_wrong_input_is_refused_alike(arguments):
    ours, agents = ipcops(*arguments, command=CLI), ipcops(*arguments, command=CORE)
    assert (ours.returncode, ours.stdout) == (agents.returncode, agents.stdout) == (2, "")
    assert ours.stderr == agents.stderr
    assert ours.stderr.count("\n") == 1
    assert "Traceback" not in ours.stderr


@world.in_world()
def test_sorting():
    for size in (10, 3000, 200):
        world.shmget(size)
    world.as_uid(4242, lambda: world.shmget(50))
    world.shm_file("small", b"x")

    def listed(order: str) -> list[dict]:
        return json.loads(ipcops("list", "shm", "posix-shm", "--sort", order, "--format", "json").stdout)["objects"]

    assert [one["size"] for one in listed("size")] == [3000, 200, 50, 10, 1]
    assert [one["kind"] for one in listed("id")] == ["shm"] * 4 + ["posix-shm"]
    assert [one["owner"]["user"] for one in listed("owner")] == ["root"] * 4 + [None]


def test_nearest_word_is_named():
    assert "did you mean 'SHM-001'?\n" in ipcops("rules", "SHM-01").stderr
    assert "did you mean 'posix-shm'" in ipcops("list", "posix_shm").stderr
    assert "did you mean 'high'" in ipcops("audit", "--fail-on", "hihg").stderr


def test_alone_it_prints_help():
    done = ipcops()
    assert done.returncode == 0
    assert "audit" in done.stdout
    assert done.stderr == ""
