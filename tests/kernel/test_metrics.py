"""``ipcops metrics`` and ``ipcops check`` on the real kernel: the numbers are the kernel's, and the file is whole."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ipcops.core.exposition import exposition
from ipcops.core.fs import Directory
from ipcops.core.layout import printable
from tests import world
from tests.core.test_exposition import read
from tests.world import GONE, OTHER, THIRD, in_world

PAGE = os.sysconf("SC_PAGE_SIZE")
CHECK_DATA = re.compile(r"(\w+)=([0-9.]+|U)")


def metrics(*words: str, text: str = world.NOW, **more: Any) -> dict[str, dict[Any, float]]:
    """Return every family of a run, by the values of its labels."""
    answer = world.ipcops("metrics", "--policy", world.policy(text), *words, **more)
    assert (answer.status, answer.err) == (0, "")
    return parsed(answer.out)


def parsed(text: str) -> dict[str, dict[Any, float]]:
    """Return what a page says."""
    return {
        name.removeprefix("ipcops_"): {tuple(labels.values()): value for labels, value in samples}
        for name, samples in read(text).items()
    }


def plain(found: dict[str, dict[Any, float]]) -> dict[str, float]:
    """Return the metrics without labels."""
    return {name: samples[()] for name, samples in found.items() if () in samples}


def check(*words: str, text: str = world.NOW, **more: Any) -> tuple[int, str, dict[str, str]]:
    """Return status, words and performance data of a check."""
    answer = world.ipcops("check", "--policy", world.policy(text), *words, **more)
    assert answer.err == ""
    assert answer.out.count("\n") == 1
    said, _, data = answer.out[:-1].partition(" | ")
    return answer.status, said, dict(CHECK_DATA.findall(data))


def ipcs_summary() -> dict[str, int]:
    """Return the numbers of ``ipcs -u``, which come from the kernel's counters by another way."""
    done = subprocess.run(["ipcs", "-u"], capture_output=True, text=True, check=True, env={"LC_ALL": "C", **os.environ})
    words = ["segments allocated", "pages allocated", "used arrays", "allocated semaphores"]
    words += ["allocated queues", "used headers"]
    found = {word: re.search(word + r"\s*=?\s*(\d+)", done.stdout) for word in words}
    return {word: int(number[1]) for word, number in found.items() if number}


# ---------------------------------------------------------------- the numbers


@in_world(mqueue=True)
def test_the_numbers_are_the_kernels():
    for size in [1] * 30 + [PAGE + 1]:
        world.shmget(size)
    held = world.spawn(lambda: world.touch(world.shmat(world.shmget(3 * PAGE)), 3 * PAGE))
    for count in (1, 1, 5, 100, 50):
        world.semget(count)
    queue = world.msgget(key=0x2A)
    for _ in range(3):
        world.msgsnd(queue, b"four")
    world.msgget()
    world.mq_send(world.mq_open("/jobs", maxmsg=10, msgsize=64), b"x")
    world.shm_file("file", b"x" * 5000)
    world.sem_open("/lock")
    found = metrics()
    told = plain(found)
    assert {name: told[name] for name in told if name.startswith(("shm_", "sem_", "msg_")) and "limit" not in name} == {
        "shm_segments": 32, "shm_pages": 35, "shm_bytes": 30 + PAGE + 1 + 3 * PAGE,
        "shm_resident_bytes": 3 * PAGE, "shm_swapped_bytes": 0,
        "sem_sets": 5, "sem_semaphores": 157,
        "msg_queues": 2, "msg_messages": 3, "msg_bytes": 12,
        "msg_unread_since_timestamp_seconds": world.msgstat(queue).ctime,
    }  # fmt: skip
    ipcs = ipcs_summary()
    assert (told["shm_segments"], told["shm_pages"]) == (ipcs["segments allocated"], ipcs["pages allocated"])
    assert (told["sem_sets"], told["sem_semaphores"]) == (ipcs["used arrays"], ipcs["allocated semaphores"])
    assert (told["msg_queues"], told["msg_messages"]) == (ipcs["allocated queues"], ipcs["used headers"])
    assert found["msg_queue_bytes"] == {
        (str(queue), "0x0000002a", "root"): 12, (str(queue + 1), "0x00000000", "root"): 0,
    }  # fmt: skip
    assert found["posix_mq_queue_messages"] == {("/jobs", "root"): 1}
    assert told["posix_mq_queues"] == told["posix_mq_messages"] == 1
    assert told["posix_shm_bytes"] == 2 * PAGE
    assert told["posix_sem_semaphores"] == 1
    room = os.statvfs("/dev/shm")
    assert told["dev_shm_used_bytes"] == (room.f_blocks - room.f_bfree) * room.f_frsize
    assert told["dev_shm_limit_bytes"] == room.f_blocks * room.f_frsize
    assert told["dev_shm_used_inodes"] == room.f_files - room.f_ffree
    limits = {"shm_limit_segments": "shmmni", "shm_limit_pages": "shmall", "msg_limit_queues": "msgmni"}
    for name, setting in limits.items():
        assert told[name] == float(Path("/proc/sys/kernel", setting).read_text())
    assert set(found["crosscheck_difference"].values()) == {0}
    assert set(found["crosscheck_compared"].values()) == {1}
    assert len(found["crosscheck_compared"]) == 9
    assert os.path.exists(f"/proc/{held.pid}")


@in_world()
def test_check_counts_objects_and_not_the_lines_of_ipcs():
    assert check()[2]["shm_segments"] == "0", "the usual scripts count four lines of heading"
    for _ in range(3):
        world.shmget(1)
    status, _, data = check(text=world.SCAN)
    assert status == 0
    assert data["shm_segments"] == "3"
    assert len(subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True).stdout.splitlines()) > 3


@in_world()
def test_limits_as_they_fill():
    world.limit("kernel.shmmni", 20)
    for count, state in ((14, 0), (15, 0), (16, 1), (18, 1), (19, 2)):
        while len(world.table("shm")) < count:
            world.shmget(1)
        status, said, data = check(text=world.SCAN)
        assert status == state, said
        assert data["shm_segments_used"] == "%d" % (5 * count)
    assert said == "IPC CRITICAL - shm_segments_used 95%, outside 90"
    assert check("--critical", "shm_segments_used=99", text=world.SCAN)[0] == 1
    assert check("--warning", "shm_segments=@19:19", "--critical", "shm_segments_used=99", text=world.SCAN)[0] == 1


@in_world()
def test_a_table_that_changes_all_the_time_is_never_called_wrong():
    def churn(_: object) -> None:
        while True:
            world.shmrm(world.shmget(PAGE))
            world.semrm(world.semget(3))
            world.msgrm(world.msgget())

    for _ in range(2):
        world.spawn(then=churn)
    moved = 0
    for _ in range(25):
        found = metrics(text=world.SCAN)
        moved += sum(not compared for compared in found["crosscheck_compared"].values())
        assert set(found.get("crosscheck_difference", {}).values()) <= {0}
    assert moved, "else this proves nothing"


def leave_behind() -> None:
    world.shmget(5000)
    world.shmget(5000)
    world.semget(1)
    world.msgsnd(world.msgget(), b"four")
    world.shm_file("psm_0a1b2c3d", b"x")


@in_world()
def test_leaks_are_told_by_owner_and_resolve():
    world.as_uid(GONE, leave_behind)
    world.as_uid(OTHER, lambda: world.semget(2))
    found = metrics()
    gone = str(GONE)
    assert found["orphans"] == {
        ("shm", gone): 2, ("sem", gone): 1, ("sem", str(OTHER)): 1, ("msg", gone): 1, ("posix-shm", gone): 1,
    }  # fmt: skip
    assert found["orphan_bytes"] == {("shm", gone): 10000, ("msg", gone): 4, ("posix-shm", gone): PAGE}
    assert found["findings"]["SHM-001", "medium"] == 2
    assert found["owner_objects"]["sem", str(OTHER)] == 1
    status, said, data = check()
    assert (status, data["orphans"]) == (1, "6")
    assert said == f"IPC WARNING - orphans 6 ({GONE} 5, {OTHER} 1), outside 0"
    for kind, remove in (("shm", world.shmrm), ("sem", world.semrm), ("msg", world.msgrm)):
        for row in world.table(kind):
            remove(row[{"msg": "msqid"}.get(kind, kind + "id")])
    os.unlink("/dev/shm/psm_0a1b2c3d")
    assert "orphans" not in metrics()
    assert check()[0] == 0


@in_world()
def test_pipes_of_a_user():
    def many() -> list[Any]:
        return [os.pipe() for _ in range(5)]

    world.spawn(many, uid=THIRD)
    found = metrics()
    assert found["pipe_user_pages"][str(THIRD),] == 5 * 16
    assert ("root",) not in found["pipe_user_pages"]


@in_world(mqueue=True)
def test_what_is_open_without_a_name_counts():
    def hold() -> int:
        descriptor = world.mq_open("/gone")
        world.mq_unlink("/gone")
        world.map_file(world.shm_file("gone", b"x" * PAGE))
        os.unlink("/dev/shm/gone")
        return descriptor

    world.spawn(hold, uid=THIRD)
    told = plain(metrics())
    assert told["posix_mq_queues"] == 1
    assert (told["posix_shm_files"], told["posix_shm_unlinked_files"]) == (0, 1)
    assert told["posix_shm_unlinked_bytes"] == PAGE


@in_world(mqueue=True)
def test_an_ordinary_user_is_told_what_was_not_seen():
    found = metrics(uid=THIRD)
    assert plain(found)["scan_complete"] == 0
    assert plain(found)["scan_unreadable_processes"] > 0
    assert found["source_success"]["descriptors",] == 0
    assert found["source_success"]["shm",] == 1
    status, said, _ = check(uid=THIRD)
    assert status == 3
    assert "pipe_pages_used: not all of it could be seen" in said
    assert check(text=world.NOW + "[metrics]\nkinds = shm sem msg\n", uid=THIRD)[0] == 0


# ---------------------------------------------------------------- names


@in_world(mqueue=True)
def test_whatever_users_and_queues_are_called_the_page_is_valid():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here (Debian: prometheus)")
    names = ['/a"b', "/a\\b", "/a\nb", "/a b{c=1}", "/\N{SNOWMAN}", "/" + "x" * 200, "/#", "/other", "/a\\nb"]
    names.append("/\x7f\x1b[m")
    for name in names:
        world.mq_open(name)
    open_bytes = ctypes.CDLL(None, use_errno=True).mq_open
    assert open_bytes(b"/bytes\xff\xfe", os.O_CREAT | os.O_RDWR, 0o600, None) >= 0
    passwd = world.here() / "passwd"
    odd = {GONE: 'quo"te', OTHER: "back\\slash", THIRD: "other", THIRD + 1: "\N{GREEK SMALL LETTER MU}ser"}
    lines = [f"{name}:x:{uid}:0::/:/bin/sh" for uid, name in {0: "root", **odd}.items()]
    passwd.write_text("\n".join(lines) + "\n")
    world.mount(str(passwd), "/etc/passwd", None, world.MS_BIND)
    for uid in odd:
        world.as_uid(uid, lambda: world.semget(1))
    answer = world.ipcops("metrics", "--policy", world.policy())
    assert answer.status == 0
    done = subprocess.run([promtool, "check", "metrics"], input=answer.out, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = parsed(answer.out)
    assert {owner for kind, owner in found["owner_objects"] if kind == "sem"} == {
        'quo"te', "back\\slash", str(THIRD), odd[THIRD + 1],
    }, "no user is mistaken for the sum of the others"  # fmt: skip
    queues = {name for name, _ in found["posix_mq_queue_messages"]}
    assert queues >= {'/a"b', "/a\\b", "/\N{SNOWMAN}", "/other", "/bytes\\xff\\xfe", "/\\x7f\\x1b[m"}
    assert sum(samples for (kind, _), samples in found["owner_objects"].items() if kind == "posix-mq") == len(names) + 1


def test_promtool_takes_any_label_that_we_print():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here (Debian: prometheus)")
    dice = random.Random(7)
    points = [*range(1, 0x250), *range(0x2000, 0x2070), 0xFEFF, 0xFFFD, 0x1F600, *range(0xDC80, 0xDD00)]
    words = {printable("".join(chr(dice.choice(points)) for _ in range(dice.randrange(1, 12)))) for _ in range(3000)}
    samples = [{"labels": {"queue": word, "owner": "x"}, "value": 1} for word in sorted(words)]
    page = "".join(exposition({"families": {"ipcops_posix_mq_queue_messages": samples}}))
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    spoilt = page.replace('owner="x"', 'owner="\\q"', 1)
    done = subprocess.run([promtool, "check", "metrics"], input=spoilt, capture_output=True, text=True, check=False)
    assert done.returncode, "else this proves nothing"


# ---------------------------------------------------------------- the textfile


def textfile(path: Path | str, *words: str, text: str = world.SCAN, **more: Any) -> world.Answer:
    answer = world.ipcops("metrics", "--textfile", str(path), "--policy", world.policy(text), *words, **more)
    assert answer.out == ""
    return answer


@in_world()
def test_the_textfile_is_replaced_whole():
    directory = world.here() / "textfile"
    directory.mkdir()
    path = directory / "ipcops.prom"
    before = os.umask(0o077)
    assert textfile(path) == (0, "", "")
    first = path.stat()
    world.shmget(1)
    with path.open() as old:
        assert textfile(path) == (0, "", "")
        assert plain(parsed(old.read()))["shm_segments"] == 0, "who reads it goes on reading one whole page"
    os.umask(before)
    assert plain(parsed(path.read_text()))["shm_segments"] == 1
    assert path.stat().st_ino != first.st_ino
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "node_exporter is another user"
    assert os.listdir(directory) == ["ipcops.prom"]
    os.chdir(directory)
    assert textfile(directory / "other.prom") == (0, "", "")


@in_world()
def test_two_monitors_at_once_leave_one_whole_page():
    directory = world.here() / "textfile"
    directory.mkdir()
    path = directory / "ipcops.prom"
    assert textfile(path).status == 0

    def monitor(_: object) -> None:
        while True:
            textfile(path)

    children = [world.spawn(then=monitor) for _ in range(4)]
    pages = set()
    until = time.monotonic() + 4
    while time.monotonic() < until:
        text = path.read_text()
        assert "ipcops_series_cap{" in text.splitlines()[-1], "the last family there is"
        pages.add(plain(parsed(text))["scan_timestamp_seconds"])
        drafts = set(os.listdir(directory)) - {"ipcops.prom"}
        assert all(name.startswith(".ipcops-") for name in drafts), "nothing that a collector would read"
    assert len(pages) > 3
    for child in children:
        os.kill(child.pid, signal.SIGTERM)
        os.waitpid(child.pid, 0)
    world.wait_until(lambda: os.listdir(directory) == ["ipcops.prom"], "the last run to end")


def test_a_file_system_without_unnamed_files(tmp_path, monkeypatch):
    """As on NFS and FAT: then the draft has a name from the start, and one that a killed run left is no matter."""

    def refuse(self: Directory) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(Directory, "create_unnamed", refuse)
    (tmp_path / f".ipcops-{os.getpid()}").write_text("half a pa")
    with Directory.open(str(tmp_path)) as directory:
        directory.publish("x.prom", b"whole\n")
    assert (tmp_path / "x.prom").read_text() == "whole\n"
    assert stat.S_IMODE((tmp_path / "x.prom").stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["x.prom"]


def refused(path: Path | str, why: str, **more: Any) -> None:
    """See that a run fails with one line that says *why*, and what to look at."""
    answer = textfile(path, **more)
    assert answer.status == 4
    assert answer.err == f"ipcops: cannot write the textfile '{path}': {why}\n"


@in_world()
def test_a_directory_that_cannot_take_the_file():
    place = world.here()
    refused(place / "missing" / "x.prom", "No such file or directory")
    (place / "file").write_text("")
    refused(place / "file" / "x.prom", "Not a directory")
    (place / "mine").mkdir()
    (place / "mine").chmod(0o755)
    refused(place / "mine" / "x.prom", "Permission denied", uid=THIRD)
    full = place / "full"
    full.mkdir()
    world.mount("none", str(full), "tmpfs", data="size=64k")
    assert textfile(full / "x.prom").status == 0
    kept = (full / "x.prom").read_text()
    with pytest.raises(OSError, match="No space"):
        (full / "ballast").write_bytes(b"x" * (1 << 17))
    refused(full / "x.prom", "No space left on device")
    assert (full / "x.prom").read_text() == kept
    assert sorted(os.listdir(full)) == ["ballast", "x.prom"]
    world.mount("none", str(full), None, world.MS_REMOUNT | world.MS_RDONLY)
    refused(full / "x.prom", "Read-only file system")
    assert (full / "x.prom").read_text() == kept
    assert sorted(os.listdir(full)) == ["ballast", "x.prom"]


@in_world()
def test_what_is_no_file_stays_as_it_is():
    place = world.here()
    os.mkfifo(place / "fifo.prom")
    (place / "directory.prom").mkdir()
    (place / "target").write_text("keep")
    (place / "link.prom").symlink_to(place / "target")
    before = os.stat("/dev/null")
    for path in (place / "fifo.prom", place / "directory.prom", place / "link.prom", "/dev/null", f"{place}/"):
        refused(path, "it is there and is no regular file")
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    assert (place / "target").read_text() == "keep"


@in_world()
def test_a_textfile_is_one_thing_and_the_output_another():
    path = world.here() / "x.prom"
    for more in (("--output", str(world.here() / "out")), ("--format", "json")):
        answer = textfile(path, *more)
        assert (answer.status, path.exists()) == (2, False)
        assert "--textfile writes Prometheus' text" in answer.err


@in_world(timeout=90)
def test_a_scan_that_runs_into_its_deadline_says_so_in_a_fresh_page():
    path = world.here() / "x.prom"
    assert textfile(path).status == 0
    before = plain(parsed(path.read_text()))
    assert before["scan_deadline_exceeded"] == 0
    for _ in range(400):
        world.spawn()
    assert textfile(path, "--deadline", "0.01").status == 0
    found = parsed(path.read_text())
    told = plain(found)
    assert (told["scan_success"], told["scan_complete"], told["scan_deadline_exceeded"]) == (1, 0, 1)
    assert found["source_success"]["processes",] == 0
    assert told["scan_timestamp_seconds"] > before["scan_timestamp_seconds"]
    assert told["shm_segments"] == 0, "what was seen is told"
    status, said, _ = check("--deadline", "0.01", text=world.SCAN)
    assert status == 3
    assert "not all of it could be seen" in said


@in_world()
def test_a_host_that_tells_nothing_leaves_no_page_that_looks_fresh():
    path = world.here() / "x.prom"
    world.shmget(1)
    assert textfile(path).status == 0
    before = plain(parsed(path.read_text()))
    world.mount("none", "/proc", "tmpfs")
    answer = textfile(path)
    assert answer.status == 3
    assert answer.err.endswith("is /proc mounted?\n")
    assert answer.err.count("\n") == 1
    found = parsed(path.read_text())
    assert plain(found).keys() == {"scan_timestamp_seconds", "scan_duration_seconds", "scan_success", "scan_complete"}
    assert (plain(found)["scan_success"], plain(found)["scan_complete"]) == (0, 0)
    assert plain(found)["scan_timestamp_seconds"] > before["scan_timestamp_seconds"]
    assert sorted(name for name in os.listdir(world.here()) if name.startswith((".ipcops", "x."))) == ["x.prom"]
    assert world.ipcops("metrics", "--policy", world.policy()).status == 3
    status, said, data = check()
    assert (status, data) == (3, {})
    assert said.startswith("IPC UNKNOWN - /proc/uptime cannot be read")


@in_world()
def test_a_policy_that_is_wrong_changes_nothing():
    path = world.here() / "x.prom"
    path.write_text("old\n")
    answer = textfile(path, text="[metrics]\nowner = 5\n")
    assert answer.status == 2
    assert "did you mean 'owners'" in answer.err
    assert path.read_text() == "old\n"
    for wrong in ("kinds = shmm", "kinds =", "queues = many", "owners = 99999"):
        assert textfile(path, text="[metrics]\n" + wrong).status == 2
        assert check(text="[metrics]\n" + wrong)[0] == 3
