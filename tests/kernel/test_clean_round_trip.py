"""Random objects of all removable kinds, removed and put back: equal in all that can be put back.

Not equal are times, pids, whether pages are huge, and what processes would undo. What was made is
known from its making; what came back is asked of the kernel, by other means than ipcops uses.
"""

from __future__ import annotations

import ctypes
import os
import random
import stat
import struct
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.world import GONE, OTHER, THIRD, in_world

from .admin import Admin, Name, named, there

SETTLED = 5  # seconds after which nothing counts as used just now
PAGE = os.sysconf("SC_PAGESIZE")
MSG_COPY = 0o40000
SHM_LOCKED = 0o2000
COUNT = 60  # objects in one world
NEXT_IDS = {kind: Path(f"/proc/sys/kernel/{kind}_next_id") for kind in ("shm", "sem", "msg")}
COLUMNS = {"shm": "shmid", "sem": "semid", "msg": "msqid"}
OWNERSHIP = ("key", "perms", "uid", "gid", "cuid", "cgid")
TEXT = "[clean]\nbackup_object = 2G\n"


class Maker:
    """Makes random objects and remembers what is in them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.keys: set[int] = {world.IPC_PRIVATE}
        self.names: set[str] = set()
        self.contents: dict[Name, Any] = {}

    def one(self) -> None:
        """Make one object of some kind by some user, and give it to some user."""
        kind = self.random.choice(("shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq"))
        number, inside = getattr(self, kind.replace("-", "_"))()
        self.contents[kind, number] = inside

    # --- values

    def key(self) -> int:
        """Return a new key, or none; the greatest are negative for C."""
        if self.random.random() < 0.3:
            return world.IPC_PRIVATE
        key = self.random.choice((self.random.randrange(1, 100), self.random.randrange(1, 1 << 32)))
        if key in self.keys:
            return self.key()
        self.keys.add(key)
        return key

    def name(self) -> str:
        """Return a new name of a file, with any bytes that may be in one."""
        length = self.random.choice((1, 8, 30, 200))
        some = bytes(self.random.choice(b"abcXYZ09._- \n\t'\"$\\*\x01\xff\xc3\xa4") for _ in range(length))
        name = os.fsdecode(some)
        if name in (".", "..") or name.startswith("sem.") or name in self.names:
            return self.name()
        self.names.add(name)
        return name

    def mode(self) -> int:
        return self.random.choice((0o600, 0o660, 0o666, 0o640, self.random.randrange(0o1000)))

    def person(self) -> int:
        return self.random.choice((0, GONE, OTHER, THIRD))

    def data(self, length: int) -> bytes:
        return self.random.randbytes(length)

    def by_somebody(self, make: Any) -> Any:
        """Return what a process of some user made that is gone now; or this one, of root's."""
        uid = self.person()
        return world.as_uid(uid, make, gid=self.person()) if uid else make()

    def pages(self, size: int) -> dict[int, bytes]:
        """Return some stretches of data: position to bytes; the rest is holes."""
        found = {}
        for at in range(0, size, PAGE):
            word = self.random.random()
            if word < 0.3:
                found[at] = self.data(min(PAGE, size - at))
            elif word < 0.35:
                found[at] = bytes(min(PAGE, size - at))  # zeros, but in memory
        return found

    # --- kinds

    def shm(self) -> tuple[int, Any]:
        size = self.random.choice((1, 100, PAGE, PAGE + 1, 1 << 20, self.random.randrange(1, 3 << 20)))
        if self.random.random() < 0.1:
            size = 1 << 30  # next to nothing of it in memory
        pages = self.pages(min(size, 3 << 20))
        key, mode, locked = self.key(), self.mode(), self.random.random() < 0.2

        def make() -> int:
            shmid = world.shmget(size, key=key, mode=mode | 0o600)
            address = world.shmat(shmid)
            for at, data in pages.items():
                ctypes.memmove(address + at, data, len(data))
            world.shmdt(address)
            return shmid

        shmid = self.by_somebody(make)
        if locked and size < 1 << 20:
            world.shmlock(shmid)
        self.finish("shm", shmid, mode)
        return shmid, (size, pages)

    def sem(self) -> tuple[int, Any]:
        values = [
            self.random.choice((0, 1, 32767, self.random.randrange(32768)))
            for _ in range(self.random.choice((1, 2, 3, 250)))
        ]
        key, mode, operated = self.key(), self.mode(), self.random.random() < 0.5

        def make() -> int:
            semid = world.semget(len(values), key=key, mode=mode | 0o600)
            for number, value in enumerate(values):
                world.semctl(semid, number, world.SETVAL, value)
            if operated:
                world.semop(semid, -1 if values[0] else 1)
                world.semctl(semid, 0, world.SETVAL, values[0])
            return semid

        semid = self.by_somebody(make)
        self.finish("sem", semid, mode)
        return semid, (values, operated)

    def msg(self) -> tuple[int, Any]:
        lengths = [
            self.random.choice((0, 1, 100, 8192, self.random.randrange(8192)))
            for _ in range(self.random.choice((0, 1, 20)))
        ]
        messages = [(self.random.choice((1, 2, (1 << 63) - 1)), self.data(length)) for length in lengths]
        key, mode = self.key(), self.mode()
        msqid = self.by_somebody(lambda: world.msgget(key=key, mode=mode | 0o600))
        qbytes = self.random.choice((16384, 1 << 18, 100_000))
        world.msgset(msqid, qbytes=max(qbytes, sum(lengths)))
        for kind, data in messages:
            world.msgsnd(msqid, data, kind=kind)
        if self.random.random() < 0.3:
            world.msgset(msqid, qbytes=5000)  # less than is in it, perhaps
        self.finish("msg", msqid, mode)
        return msqid, messages

    def finish(self, kind: str, number: int, mode: int) -> None:
        """Set the mode, and give it to somebody."""
        buffer = ctypes.create_string_buffer(512)
        call, words = f"{kind}ctl", ((number, 0) if kind == "sem" else (number,))
        world._call(call, *words, world.IPC_STAT, buffer)
        struct.pack_into("@II", buffer, 4, self.person(), self.person())
        struct.pack_into("@H", buffer, 20, mode)  # struct ipc_perm: key, uid, gid, cuid, cgid, mode
        world._call(call, *words, world.IPC_SET, buffer)

    def posix_shm(self) -> tuple[str, Any]:
        return self.file(self.name())

    def posix_sem(self) -> tuple[str, Any]:
        return self.file("sem." + self.name())

    def file(self, name: str) -> tuple[str, Any]:
        size = self.random.choice((0, 1, 32, PAGE, self.random.randrange(1 << 20), 1 << 30))
        pages = self.pages(min(size, 1 << 20))
        path = os.path.join("/dev/shm", name)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.ftruncate(descriptor, size)
        for at, data in pages.items():
            os.pwrite(descriptor, data, at)
        os.fchown(descriptor, self.person(), self.person())
        os.fchmod(descriptor, self.mode())
        os.close(descriptor)
        return "/" + name, (size, pages)

    def posix_mq(self) -> tuple[str, Any]:
        name = self.name()
        limits = (self.random.randrange(1, 11), self.random.randrange(1, 4096))
        buffer = os.fsencode("/" + name)
        attributes = world._MqAttr(0, *limits, 0)
        descriptor = world._call("mq_open", buffer, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, ctypes.byref(attributes))
        os.fchown(descriptor, self.person(), self.person())
        os.fchmod(descriptor, self.mode())
        os.close(descriptor)
        return "/" + name, limits


def made(seed: int) -> dict[Name, Any]:
    """Make objects; return what is in each."""
    maker = Maker(seed)
    for _ in range(COUNT):
        maker.one()
    return maker.contents


def facts(name: Name) -> dict[str, Any]:
    """Return what the kernel says of an object, without looking into it."""
    kind, which = name
    if kind in COLUMNS:
        (row,) = (one for one in world.table(kind) if one[COLUMNS[kind]] == which)
        more = {"shm": ("size", "rss", "nattch"), "sem": ("nsems",), "msg": ("cbytes", "qnum")}[kind]
        found = {column: row[column] for column in (*OWNERSHIP, *more)}
        if kind == "msg":
            found["qbytes"] = world.msgstat(which).qbytes
        if kind == "sem":
            found["operated"] = row["otime"] != 0
        return found
    info = os.lstat(("/dev/mqueue" if kind == "posix-mq" else "/dev/shm") + which)
    found = {"mode": info.st_mode, "uid": info.st_uid, "gid": info.st_gid, "nlink": info.st_nlink}
    return found if kind == "posix-mq" else {**found, "size": info.st_size, "blocks": info.st_blocks}


def check_contents(name: Name, made: Any) -> None:
    """Hold what is in an object against what was put there."""
    kind, which = name
    if kind == "shm":
        size, pages = made
        address = world.shmat(which, world.SHM_RDONLY)
        read = min(size, 3 << 20)
        assert ctypes.string_at(address, read) == whole(read, pages)
        world.shmdt(address)
    elif kind == "sem":
        values, _ = made
        assert [world.semctl(which, number, world.GETVAL) for number in range(len(values))] == values
    elif kind == "msg":
        assert [copied(which, at) for at in range(len(made))] == made
    elif kind == "posix-mq":
        descriptor = world._call("mq_open", os.fsencode(which), os.O_RDWR)
        attributes = world._MqAttr()
        world._call("mq_getattr", descriptor, ctypes.byref(attributes))
        os.close(descriptor)
        assert (attributes.maxmsg, attributes.msgsize, attributes.curmsgs) == (*made, 0)
    else:
        size, pages = made
        path = "/dev/shm" + which
        assert stat.S_ISREG(os.lstat(path).st_mode)
        with open(path, "rb") as file:
            read = min(size, 1 << 20)
            assert file.read(read) == whole(read, pages)


def whole(size: int, pages: dict[int, bytes]) -> bytes:
    data = bytearray(size)
    for at, part in pages.items():
        data[at : at + len(part)] = part
    return bytes(data)


def copied(msqid: int, position: int) -> tuple[int, bytes]:
    """Return type and bytes of a message, which stays in its queue."""
    buffer = ctypes.create_string_buffer(65536 + 8)
    flags = MSG_COPY | world.IPC_NOWAIT
    size = world._call("msgrcv", msqid, buffer, ctypes.c_size_t(65536), ctypes.c_long(position), flags)
    return int.from_bytes(buffer.raw[:8], "little"), buffer.raw[8 : 8 + size]


def word(name: Name) -> str:
    return f"{name[0]}:{name[1]}"


def removed(admin: Admin, names: set[Name]) -> list[str]:
    """Remove objects, all of which are idle or orphans by now; return the names of the backups."""
    world.later(SETTLED)
    plan = admin.clean("--with-data", *map(word, sorted(names)))
    assert plan.removed == names
    assert not there() & names
    batches: list[str] = plan.report["backup"]["names"]
    return batches


@pytest.mark.parametrize("seed", range(3))
@in_world(mqueue=True, timeout=120)
def test_what_was_removed_comes_back_as_it_was(seed: int) -> None:
    world.needs_root()
    world.limit("kernel.msgmnb", 1 << 18)
    contents = world.as_uid(None, lambda: made(seed))  # by processes that are all gone
    names = set(contents)
    assert len(names) == COUNT
    assert {kind for kind, _ in names} == {"shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq"}
    before = {name: facts(name) for name in names}
    admin = Admin(TEXT)
    batches = removed(admin, names)
    assert there() == set()

    reports = [admin.ask("restore", batch) for batch in batches]
    assert [one for report in reports for one in report["refused"]] == []
    back = [one for report in reports for one in report["restored"]]
    assert {named(one) for one in back} == names == there()
    for name in sorted(names):
        assert facts(name) == before[name], name
        check_contents(name, contents[name])
    assert {path.read_text().strip() for path in NEXT_IDS.values()} == {"-1"}

    # What is back is nobody's backup any more: it can go and come again.
    again = removed(admin, names)
    assert not set(again) & set(batches)
    assert there() == set()


@in_world()
def test_an_object_whose_index_is_taken_comes_back_under_another_id() -> None:
    world.needs_root()
    shmid = world.as_uid(GONE, lambda: world.shmget(PAGE, key=0x51))
    semid = world.as_uid(GONE, lambda: world.semget(3, key=0x52))
    msqid = world.as_uid(GONE, lambda: world.msgget(key=0x53))
    names = {("shm", shmid), ("sem", semid), ("msg", msqid)}
    before = {kind: facts((kind, number)) for kind, number in names}
    admin = Admin(TEXT)
    (batch,) = removed(admin, names)

    strangers = set()
    for (kind, number), make in (
        (("shm", shmid), lambda: world.shmget(PAGE)),
        (("sem", semid), lambda: world.semget(1)),
        (("msg", msqid), world.msgget),
    ):
        NEXT_IDS[kind].write_text(f"{number + (1 << 15)}\n")  # another number, but the same place in the kernel's table
        strangers.add((kind, make()))
        assert (kind, number + (1 << 15)) in strangers
    report = admin.ask("restore", batch)
    assert report["refused"] == []
    back = {one["kind"]: one for one in report["restored"]}
    assert there() == strangers | {(kind, one["id"]) for kind, one in back.items()}
    for kind, number in names:
        assert back[kind]["id"] != number
        assert str(number) in back[kind]["note"]
        assert facts((kind, back[kind]["id"])) == before[kind]
    assert {path.read_text().strip() for path in NEXT_IDS.values()} == {"-1"}


@in_world(mqueue=True)
def test_nothing_comes_back_over_what_is_there() -> None:
    world.needs_root()

    def make(mode: int) -> set[Name]:
        found: set[Name] = {
            ("shm", world.shmget(PAGE, key=0x51, mode=mode)),
            ("sem", world.semget(1, key=0x52, mode=mode)),
        }
        found.add(("msg", world.msgget(key=0x53, mode=mode)))
        world.shm_file("psm_0badcafe", b"x" * mode, mode)
        world.shm_file("sem.one", b"x" * mode, mode)
        os.close(world.mq_open("/queue", mode=mode))
        return found | {("posix-shm", "/psm_0badcafe"), ("posix-sem", "/sem.one"), ("posix-mq", "/queue")}

    old: set[Name] = world.as_uid(GONE, lambda: make(0o600))
    admin = Admin(TEXT)
    (batch,) = removed(admin, old)
    new: set[Name] = world.as_uid(OTHER, lambda: make(0o666))
    before = {name: facts(name) for name in new}
    report = admin.ask("restore", batch, status=4)
    assert report["restored"] == []
    whys = {one["object"]["kind"]: one["why"] for one in report["refused"]}
    assert len(whys) == 6
    for kind, number in new:
        assert "taken" in whys[kind]
        if kind in COLUMNS:
            assert f"{kind}:{number}" in whys[kind]  # by what it is taken
    assert there() == new
    assert {name: facts(name) for name in new} == before
    assert {path.read_text().strip() for path in NEXT_IDS.values()} == {"-1"}


@in_world(mqueue=True)
def test_an_ordinary_user_gets_back_what_it_removed() -> None:
    pages = {at * PAGE: bytes([at % 251]) * PAGE for at in (0, 3, 300)}

    def make() -> set[Name]:
        shmid = world.shmget(400 * PAGE, key=0x51, mode=0o640)
        address = world.shmat(shmid)
        for at, data in pages.items():
            ctypes.memmove(address + at, data, len(data))
        world.shmdt(address)
        semid = world.semget(2, key=0x52)
        world.semctl(semid, 1, world.SETVAL, 7)
        msqid = world.msgget(key=0x53)
        world.msgsnd(msqid, b"message", kind=3)
        world.shm_file("psm_0badcafe", b"x" * 5000)
        os.close(world.mq_open("/queue", maxmsg=3, msgsize=100))
        found: set[Name] = {("shm", shmid), ("sem", semid), ("msg", msqid)}
        return found | {("posix-shm", "/psm_0badcafe"), ("posix-mq", "/queue")}

    mine: set[Name] = world.as_uid(GONE, make)
    others = {("shm", world.as_uid(OTHER, lambda: world.shmget(PAGE, mode=0o666)))}
    before = {kind: facts((kind, which)) for kind, which in mine}
    admin = Admin(TEXT, uid=GONE)
    world.later(SETTLED)
    plan = admin.clean("--with-data", *map(word, sorted(mine | others)), status=4)
    # Of the others it cannot see whether a process that it may not look into holds them or waits there.
    assert plan.removed == {name for name in mine if name[0] in ("shm", "sem")}
    assert {plan.verdicts[name] for name in mine - plan.removed} == {"unknown"}
    assert others < there()
    (batch,) = plan.report["backup"]["names"]
    report = admin.ask("restore", batch)
    assert report["refused"] == []
    back = {one["kind"]: one["id"] for one in report["restored"]}
    assert back.keys() == {"shm", "sem"}
    for kind, number in back.items():
        assert facts((kind, number)) == before[kind]
    check_contents(("shm", back["shm"]), (400 * PAGE, pages))
    check_contents(("sem", back["sem"]), ([0, 7], False))
    # The backup is its own: root takes it from no other's hands, and neither does another user.
    pack = admin.state / "backups" / f"{batch}.pack"
    for uid in (None, OTHER):
        assert Admin(TEXT, uid=uid).run("restore", str(pack)).status != 0
