"""What ``ipcops list`` says equals what the kernel lists, field by field, for random tables.

Three sources are compared: ipcops, ``/proc/sysvipc`` (read by ``world.table``, which shares no code
with the core) and, where it is installed, ``ipcs``.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from contextlib import suppress
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.world import GONE, OTHER, in_world

IPCS = shutil.which("ipcs")
PAGE = os.sysconf("SC_PAGE_SIZE")

MODES = (0o000, 0o200, 0o400, 0o600, 0o606, 0o640, 0o644, 0o660, 0o666, 0o602, 0o777)

# What ipcops says of a field, made from the kernel's row.
SAME = {
    "shm": ("size", "nattch", "cpid", "lpid", "atime", "dtime", "ctime", "rss", "swap"),
    "sem": ("nsems", "otime", "ctime"),
    "msg": ("cbytes", "qnum", "lspid", "lrpid", "stime", "rtime", "ctime"),
}
ID = {"shm": "shmid", "sem": "semid", "msg": "msqid"}


def expected(kind: str) -> list[dict[str, Any]]:
    """Return the rows of /proc/sysvipc as the contract words them, by id."""
    rows = []
    for row in world.table(kind):
        said: dict[str, Any] = {
            "kind": kind,
            "id": row[ID[kind]],
            "key": f"0x{row['key'] & 0xFFFFFFFF:08x}",
            "path": None,
            "namespace": world.namespace(),
            "uid": row["uid"],
            "gid": row["gid"],
            "creator": {"uid": row["cuid"], "gid": row["cgid"]},
            "perms": row["perms"],
        }
        said.update({name: row[name] for name in SAME[kind] if name in row})
        if kind == "msg":
            said["qbytes"] = world.msgstat(row["msqid"]).qbytes
        rows.append(said)
    return sorted(rows, key=lambda one: int(one["id"]))


def listed(kind: str) -> list[dict[str, Any]]:
    """Return what ipcops lists of a kind, with the same fields as ``expected``."""
    rows = []
    for one in world.objects(kind):
        said = {
            "uid": one["owner"]["uid"],
            "gid": one["owner"]["gid"],
            "perms": int(one["mode"], 8),
        }
        if kind == "shm":  # the kernel's two flags among the mode bits are fields of their own
            said["perms"] |= 0o1000 * one["dest"] | 0o2000 * one["locked"]
        assert one["mode"].startswith("0"), one["mode"]
        names = ("kind", "id", "key", "path", "namespace", "creator", *SAME[kind])
        said.update({name: one[name] for name in names})
        said["creator"] = {name: one["creator"][name] for name in ("uid", "gid")}
        if kind == "msg":
            said["qbytes"] = one["qbytes"]
        rows.append(said)
    return sorted(rows, key=lambda one: int(one["id"]))


def compare(kinds: tuple[str, ...] = ("shm", "sem", "msg")) -> None:
    """Compare all three kinds; a difference names the object and the fields."""
    for kind in kinds:
        ours, theirs = listed(kind), expected(kind)
        assert [one["id"] for one in ours] == [one["id"] for one in theirs], kind
        different = [
            (kind, one["id"], name, one[name], other[name])
            for one, other in zip(ours, theirs)  # noqa: B905 - Python 3.9; of equal length
            for name in other
            if one[name] != other[name]
        ]
        assert different == []


def ipcs_usage() -> dict[str, int]:
    """Return the numbers of ``ipcs -u`` by their words."""
    assert IPCS
    text = subprocess.run([IPCS, "-u"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout
    found = {}
    for line in text.splitlines():
        words = line.replace("=", " ").split()
        if words and words[-1].isdigit():
            found[" ".join(words[:-1])] = int(words[-1])
    return found


def ipcs_ids(letter: str) -> list[int]:
    """Return the ids that ``ipcs -m``, ``-s`` or ``-q`` lists."""
    assert IPCS
    text = subprocess.run([IPCS, letter], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout
    rows = [line.split() for line in text.splitlines()]
    return sorted(int(row[1]) for row in rows if row and row[0].startswith("0x"))


class Maker:
    """Random objects of several uids, in this world."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.keys: set[int] = set()

    def key(self) -> int:
        """Return a key that is not in use: private, small, or with its highest bit set."""
        if self.random.random() < 0.25:
            return 0
        low, high = self.random.choice([(1, 300), (1, 2**31), (2**31, 2**32), (2**32 - 9, 2**32)])
        key = self.random.randrange(low, high)
        if key in self.keys:
            return 0
        self.keys.add(key)
        return key

    def mode(self) -> int:
        """Return some mode."""
        return self.random.choice(MODES)

    def segments(self, count: int) -> list[int]:
        """Make segments: plain, written to, attached, locked, or removed while attached."""
        made = []
        for _ in range(count):
            size = self.random.choice([1, 7, PAGE - 1, PAGE, PAGE + 1, 65536, 1 << 20, 5 << 30])
            key, mode, fate = self.key(), self.mode(), self.random.random()
            with suppress(OSError):  # a mode without rights, or more than a small machine promises
                shmid = world.shmget(size, key=key, mode=mode)
                made.append(shmid)
                if fate < 0.5:
                    address = world.shmat(shmid)
                    if size <= 1 << 20:
                        world.touch(address, size)
                    if fate < 0.2:
                        world.shmdt(address)
                    elif fate < 0.35:
                        world.shmrm(shmid)
                    elif fate < 0.4:
                        world.shmlock(shmid)
        return made

    def sets(self, count: int) -> list[int]:
        """Make semaphore sets, some of them used."""
        made = []
        for _ in range(count):
            size = self.random.choice([1, 1, 2, 17, 250])
            semid = world.semget(size, key=self.key(), mode=self.mode())
            made.append(semid)
            if self.random.random() < 0.5:
                with suppress(PermissionError):
                    world.semop(semid, self.random.randrange(1, 5), num=self.random.randrange(size))
        return made

    def queues(self, count: int) -> list[int]:
        """Make queues, some with messages, some received from, some with their own capacity."""
        made = []
        for _ in range(count):
            msqid = world.msgget(key=self.key(), mode=self.mode())
            made.append(msqid)
            with suppress(PermissionError, BlockingIOError):
                if self.random.random() < 0.3:
                    world.msgset(msqid, qbytes=self.random.randrange(100, 16384))
                for _ in range(self.random.choice([0, 0, 1, 5])):
                    world.msgsnd(msqid, b"m" * self.random.randrange(60))
                if self.random.random() < 0.2 and world.msgstat(msqid).qnum:
                    world.msgrcv(msqid)
        return made


@pytest.mark.parametrize("seed", range(6))
@in_world()
def test_random_tables(seed: int) -> None:
    maker = Maker(seed)
    count = maker.random.choice([1, 3, 20, 60])
    maker.segments(count)
    maker.sets(count)
    maker.queues(count)

    def of_others() -> None:
        maker.segments(count // 3)
        maker.sets(count // 3)
        maker.queues(count // 3)

    world.as_uid(GONE, of_others, gid=OTHER)
    compare()


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.02])
@in_world()
def test_dense_and_sparse_tables(kept: float) -> None:
    """A dense table and one with a few objects far apart may be read in different ways."""
    maker = Maker(7)
    everything = (
        (world.shmrm, [world.shmget(1, key=maker.key(), mode=maker.mode()) for _ in range(1500)]),
        (world.semrm, maker.sets(3000)),
        (world.msgrm, maker.queues(3000)),
    )
    for remove, ids in everything:
        for number, one in enumerate(ids):
            if number != len(ids) - 1 and maker.random.random() >= kept:
                remove(one)
    compare()


@pytest.mark.parametrize("index", [0, 31_999])
@in_world()
def test_one_object_at_the_end_of_the_table(index: int) -> None:
    """Sequence numbers make ids far larger than the table is long."""
    makers = {"shm": lambda: world.shmget(10), "sem": lambda: world.semget(1), "msg": world.msgget}
    for kind, make in makers.items():
        wanted = (3 << 15) + (index if kind != "shm" else min(index, 4095))
        world.limit(f"kernel.{kind}_next_id", wanted)
        got = make()
        if got != wanted:
            pytest.skip("this kernel does not let ids be chosen")
    compare()


@in_world()
def test_empty_tables() -> None:
    assert world.objects() == [] or {one["kind"] for one in world.objects()} <= {"posix-mq"}
    compare()


@pytest.mark.skipif(not IPCS, reason="ipcs is not installed")
@in_world()
def test_usage_is_what_ipcs_says() -> None:
    maker = Maker(11)
    maker.segments(40)
    maker.sets(40)
    maker.queues(40)
    usage = world.audit()["usage"]
    theirs = ipcs_usage()
    assert usage["shm"]["objects"] == theirs["segments allocated"]
    assert usage["shm"]["pages"] == theirs["pages allocated"]
    assert usage["shm"]["bytes"] == sum(row["size"] for row in world.table("shm"))
    assert usage["shm"]["rss"] == sum(row["rss"] for row in world.table("shm"))
    assert usage["shm"]["rss"] == theirs["pages resident"] * PAGE
    assert usage["shm"]["swap"] == theirs["pages swapped"] * PAGE
    assert usage["sem"] == {
        **usage["sem"],
        "objects": theirs["used arrays"],
        "semaphores": theirs["allocated semaphores"],
    }
    assert usage["msg"] == {
        **usage["msg"],
        "objects": theirs["allocated queues"],
        "messages": theirs["used headers"],
        "bytes": sum(row["cbytes"] for row in world.table("msg")),
    }


@pytest.mark.skipif(not IPCS, reason="ipcs is not installed")
@in_world()
def test_ids_are_what_ipcs_lists() -> None:
    maker = Maker(13)
    maker.segments(30)
    maker.sets(30)
    maker.queues(30)
    for letter, kind in (("-m", "shm"), ("-s", "sem"), ("-q", "msg")):
        assert sorted(one["id"] for one in world.objects(kind)) == ipcs_ids(letter)


@pytest.mark.skipif(not shutil.which("ipcmk"), reason="ipcmk is not installed")
@in_world()
def test_objects_of_ipcmk() -> None:
    program = shutil.which("ipcmk")
    for words in (("-M", "12345", "-p", "0640"), ("-S", "7", "-p", "0600"), ("-Q",)):
        subprocess.run([program, *words], check=True, capture_output=True)
    compare()
    (segment,), (semaphores,), (queue,) = (world.objects(kind) for kind in ("shm", "sem", "msg"))
    assert (segment["size"], segment["mode"]) == (12345, "0640")
    assert (semaphores["nsems"], semaphores["mode"]) == (7, "0600")
    assert (queue["qnum"], queue["mode"]) == (0, "0644")


@in_world()
def test_objects_of_sysv_ipc() -> None:
    sysv_ipc = pytest.importorskip("sysv_ipc")
    flags = sysv_ipc.IPC_CREX
    memory = sysv_ipc.SharedMemory(0x7FFFFFFF, flags, mode=0o600, size=100)
    memory.write(b"hello")
    sysv_ipc.Semaphore(1, flags, mode=0o600, initial_value=3).acquire()
    queue = sysv_ipc.MessageQueue(2, flags, mode=0o600, max_message_size=2048)
    queue.send(b"message")
    compare()
    assert world.the("msg", queue.id)["qbytes"] == queue.max_size
    assert world.the("shm", memory.id)["nattch"] == memory.number_attached
    (semaphores,) = world.objects("sem")
    shown = world.ipcops("show", f"sem:{semaphores['id']}", "--format", "json").json
    assert [one["value"] for one in shown["objects"][0]["semaphores"]] == [2]


@in_world(mqueue=True)
def test_posix_objects() -> None:
    """Files, named semaphores and queues with what stat and the queue itself say."""
    world.shm_file("data.bin", b"d" * 10_000, 0o640)
    world.as_uid(GONE, lambda: world.sem_open("/lock", value=4))
    live = shared_memory.SharedMemory(create=True, size=5000)
    descriptor = world.mq_open("/jobs", maxmsg=5, msgsize=100, mode=0o620)
    world.mq_send(descriptor, b"a" * 30)
    world.mq_send(descriptor, b"b" * 40)
    try:
        everything = world.objects("posix-shm", "posix-sem", "posix-mq")
        by_path = {one["path"]: one for one in everything}
        assert sorted(by_path) == sorted(["/jobs", "/sem.lock", "/data.bin", f"/{live.name}"])
        for name, one in by_path.items():
            stat = os.stat(("/dev/mqueue" if name == "/jobs" else "/dev/shm") + name)
            assert one["owner"]["uid"] == stat.st_uid
            assert one["owner"]["gid"] == stat.st_gid
            assert int(one["mode"], 8) == stat.st_mode & 0o7777
            assert (one["id"], one["key"]) == (None, None)
        assert by_path["/data.bin"]["kind"] == "posix-shm"
        assert by_path["/data.bin"]["size"] == 10_000
        assert by_path["/sem.lock"]["kind"] == "posix-sem"
        queue = by_path["/jobs"]
        assert queue["kind"] == "posix-mq"
        text = Path("/dev/mqueue/jobs").read_text()
        assert text.startswith("QSIZE:70 ")
        depth = [value for value in (5, 100, 2) if value in queue.values()]
        assert depth == [5, 100, 2], queue
    finally:
        live.close()
        live.unlink()


@in_world()
def test_what_is_no_object_is_not_listed() -> None:
    """Directories, links and sockets in /dev/shm are neither segments nor semaphores."""
    os.mkdir("/dev/shm/directory")
    Path("/dev/shm/directory/inside").write_text("x")
    os.symlink("/etc/passwd", "/dev/shm/link")
    os.mkfifo("/dev/shm/fifo")
    world.shm_file("file")
    assert [one["path"] for one in world.objects("posix-shm", "posix-sem")] == ["/file"]


@in_world()
def test_filters_of_list() -> None:
    """``--verdict`` and ``--owner`` choose among the objects."""
    gone = world.as_uid(GONE, lambda: world.shmget(100))
    mine = world.shmget(100)
    held = world.shmget(100)
    world.shmat(held)
    base = ("list", "--format", "json", "--policy", world.policy())

    def ids(*words: str) -> list[int]:
        answer = world.ipcops(*base, *words)
        assert answer.status == 0, answer.err
        return sorted(one["id"] for one in answer.json["objects"])

    assert ids("shm") == sorted([gone, mine, held])
    assert ids("shm", "--verdict", "orphan") == [gone]
    assert ids("shm", "--verdict", "in-use") == [held]
    assert ids("shm", "--owner", str(GONE)) == [gone]
    assert ids("shm", "--owner", "root") == sorted([mine, held])


@in_world()
def test_show_by_id_and_by_key() -> None:
    """One object by id and by key is the same; what is not there is said."""
    shmid = world.shmget(100, key=0xFFFFFFFE)
    address = world.shmat(shmid)
    by_id = world.ipcops("show", f"shm:{shmid}", "--format", "json")
    by_key = world.ipcops("show", "shm:0xfffffffe", "--format", "json")
    assert by_id.status == by_key.status == 0, by_id.err + by_key.err
    (one,), (same,) = by_id.json["objects"], by_key.json["objects"]
    assert one["id"] == same["id"] == shmid
    assert [holder["pid"] for holder in one["holders"]] == [os.getpid()]
    world.shmdt(address)
    missing = world.ipcops("show", "shm:999999", "--format", "json")
    assert missing.status != 0
    assert "999999" in missing.err
