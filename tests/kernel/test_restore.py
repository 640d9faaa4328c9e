"""What was backed up and removed comes back as it was; nothing comes back over anything, nor from a stranger."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from ipcops.core import backup, restore
from ipcops.core.backup import BackupError
from ipcops.core.change import Change
from ipcops.core.fs import host_roots
from tests import world
from tests.kernel import packs
from tests.kernel.packs import back_up, everything, next_ids, place, put_back
from tests.world import GONE, OTHER, in_world

PAGE = os.sysconf("SC_PAGE_SIZE")
NOT_RESTORED = {"cpid", "lpid", "lspid", "lrpid"} | set("atime dtime ctime otime stime rtime".split())
END = struct.pack("<QQ", 0, 0)


# --- round trip


def random_object(dice: random.Random, number: int) -> tuple[str, int | str]:
    """Make an unused object of some kind, owner and contents."""
    kind = dice.choice(["shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq"])
    mode = dice.randrange(0o1000)
    uid, gid = dice.choice([0, GONE, OTHER]), dice.choice([0, GONE])
    if kind in packs.SYSV:
        key = dice.choice([0, dice.randrange(1, 1 << 32)])
        which = {"shm": random_shm, "sem": random_sem, "msg": random_msg}[kind](dice, key)
        world.give(kind, which, uid, gid)
        Change().set_mode(kind, which, mode)
        return kind, which
    name = f"{number}-" + dice.choice(["x", "ü", "\udcff\udc80", "with space", "%s\n", "-rf"])
    if kind == "posix-mq":
        fd = world.mq_open("/" + name.encode("ascii", "ignore").decode(), maxmsg=dice.randrange(1, 10), msgsize=77)
        name = name.encode("ascii", "ignore").decode()
    else:
        name = ("sem." if kind == "posix-sem" else "") + name
        fd = os.open("/dev/shm/" + name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(fd, dice.choice([0, 32, 5 * PAGE + 1, 1 << 30]))
        os.pwrite(fd, dice.randbytes(100), dice.choice([0, 9 * PAGE - 3]))
    os.fchown(fd, uid, gid)
    os.fchmod(fd, mode | dice.choice([0, 0o1000]))
    os.close(fd)
    return kind, name


def random_shm(dice: random.Random, key: int) -> int:
    size = dice.choice([1, 100, PAGE, 3 * PAGE + 5, 300 * PAGE + 1, 1 << 30])
    which = world.shmget(size, key=key)
    address = world.shmat(which)
    for _ in range(dice.randrange(4)):
        data = dice.randbytes(min(size, dice.choice([1, 50, 2 * PAGE])))
        ctypes.memmove(address + dice.randrange(size - len(data) + 1), data, len(data))
    world.shmdt(address)
    if dice.random() < 0.2 and size < 1 << 30:
        world.shmlock(which)
    return which


def random_sem(dice: random.Random, key: int) -> int:
    count = dice.choice([1, 2, 250, 3000])
    which = world.semget(count, key=key)
    for _ in range(dice.randrange(4)):
        world.semctl(which, dice.randrange(count), world.SETVAL, dice.choice([1, 5, 32767]))
    if dice.random() < 0.5:
        world.semctl(which, 0, world.SETVAL, 3)
        world.semop(which, -2)  # so that it has an otime
    return which


def random_msg(dice: random.Random, key: int) -> int:
    which = world.msgget(key=key)
    if dice.random() < 0.5:
        world.msgset(which, qbytes=dice.randrange(9000, 16384))
    for _ in range(dice.choice([0, 1, 8])):
        world.msgsnd(which, dice.randbytes(dice.choice([0, 1, 999])), kind=dice.randrange(1, 1 << 62))
    if dice.random() < 0.3:
        world.msgset(which, qbytes=dice.randrange(1, 100))  # less than is in it
    return which


def look(kind: str, which: int | str) -> dict[str, Any]:
    """Return all that a restored object must have in common with the first."""
    if isinstance(which, int):
        row = {name: value for name, value in (Change().stat(kind, which) or {}).items() if name not in NOT_RESTORED}
        if kind == "shm":
            row["rss"] = packs.rss()[which]
    else:
        info = os.lstat(f"/dev/{'mqueue' if kind == 'posix-mq' else 'shm'}/{which}")
        row = {name: getattr(info, "st_" + name) for name in ("mode", "uid", "gid", "size", "nlink", "blocks")}
    return row


def contents_of(kind: str, which: int | str) -> Any:
    if kind == "posix-mq":
        row = packs.action(kind, which).expect
        return row["maxmsg"], row["msgsize"], row["curmsgs"]
    return b"".join(b"%d:%s" % part for part in packs.saved(kind, which).parts)


def remove(kind: str, which: int | str) -> None:
    if kind in packs.SYSV:
        getattr(Change(), "remove_" + kind)(which)
    else:
        os.unlink(f"/dev/{'mqueue' if kind == 'posix-mq' else 'shm'}/{which}")


@pytest.mark.parametrize("seed", range(6))
@in_world(mqueue=True)
def test_whatever_is_removed_comes_back(seed):
    world.needs_root()
    dice = random.Random(seed)
    named = [random_object(dice, number) for number in range(25)]
    before = [(look(*one), contents_of(*one)) for one in named]
    sums = back_up(*named)
    for one in named:
        remove(*one)
    for kind in packs.SYSV:  # some come and go meanwhile, as always
        assert world.table(kind) == []
    restored, refused = put_back(sums)
    assert refused == []
    assert [(one.kind, one.id if one.path is None else one.path[1:]) for one in restored] == named
    assert all(one.notes == () for one in restored)
    assert [(look(*one), contents_of(*one)) for one in named] == before
    assert next_ids() == [-1, -1, -1]


# --- the id


def make(kind: str, key: int = 0) -> int:
    if kind == "msg":
        return world.msgget(key=key)
    return world.shmget(1, key=key) if kind == "shm" else world.semget(1, key=key)


@pytest.mark.parametrize("kind", packs.SYSV)
@in_world()
def test_a_taken_place_gives_another_id_and_says_so(kind):
    which = make(kind, 77)
    sums = back_up((kind, which))
    remove(kind, which)
    world.limit(f"kernel.{kind}_next_id", which + (5 << 15))  # the same index, another sequence number
    stranger = make(kind)
    assert stranger & 0x7FFF == which & 0x7FFF
    restored, refused = put_back(sums)
    assert refused == []
    (one,) = restored
    assert one.id not in {which, stranger}
    assert one.notes == (f"its id was {which}, and its place is taken",)
    found = Change().stat(kind, one.id)
    assert found
    assert found["key"] == 77
    assert len(world.table(kind)) == 2
    assert next_ids() == [-1, -1, -1]


@pytest.mark.parametrize("kind", packs.SYSV)
@in_world()
def test_an_object_without_a_key_comes_back_under_its_id_or_not_over_another(kind):
    which = make(kind)
    sums = back_up((kind, which))
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert f"its id is taken by {kind}:{which}" in refused[0].why
    assert everything() == before


@pytest.mark.parametrize("kind", packs.SYSV)
@in_world()
def test_a_wish_for_an_id_is_never_left_to_the_next_creator(kind):
    which = make(kind, 77)
    sums = back_up((kind, which))
    remove(kind, which)
    name = {"shm": "shmmni", "sem": "sem", "msg": "msgmni"}[kind]
    world.limit("kernel." + name, "250 32000 32 1" if kind == "sem" else 1)
    make(kind)
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert "No space left on device" in refused[0].why
    assert everything() == before  # nothing made, and no id wished for


@in_world()
def test_a_creation_that_fails_with_the_wish_armed_takes_it_back():
    which = world.msgget(key=77)
    sums = back_up(("msg", which))
    world.msgrm(which)

    class Overtaken(Change):
        """One that is too late: another makes a queue of the key just before."""

        def make_msg(self, key: int, mode: int) -> int:
            if key:
                assert next_ids()[2] == which  # it is armed
                wished.append(which)
                world.limit("kernel.msg_next_id", 900)
                super().make_msg(key, mode)
                world.limit("kernel.msg_next_id", which)
            return super().make_msg(key, mode)

    wished: list[int] = []
    with backup.open_pack(place() + "/b1.pack") as pack:
        restored, refused = restore.restore(pack, sums, lambda kind, row: True, Overtaken(), host_roots())
    assert wished == [which]
    assert restored == []
    assert "File exists" in refused[0].why
    assert next_ids() == [-1, -1, -1]
    assert [row["msqid"] for row in world.table("msg")] == [900]  # the other's, which is left alone


@pytest.mark.parametrize("kind", packs.SYSV)
@in_world()
def test_the_wish_of_another_program_is_left_alone(kind):
    which = make(kind, 77)
    sums = back_up((kind, which))
    remove(kind, which)
    world.limit(f"kernel.{kind}_next_id", 4000)
    restored, refused = put_back(sums)
    assert (restored, len(refused)) == ([], 1)
    assert "another program is choosing ids" in refused[0].why
    assert next_ids()[packs.SYSV.index(kind)] == 4000
    assert world.table(kind) == []


# --- nothing over anything


@pytest.mark.parametrize("kind", packs.SYSV)
@in_world()
def test_a_taken_key_is_refused_and_says_by_what(kind):
    which = make(kind, 0xDEADBEEF)
    sums = back_up((kind, which))
    remove(kind, which)
    make(kind)
    other = make(kind, 0xDEADBEEF)
    world.give(kind, other, OTHER, 0)
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert refused[0].why == f"its key 0xdeadbeef is taken by {kind}:{other} of uid {OTHER}"
    assert (refused[0].kind, refused[0].id, refused[0].key) == (kind, which, 0xDEADBEEF)
    assert everything() == before


def link(path: str) -> None:
    os.symlink("/dev/shm/elsewhere", path)


@pytest.mark.parametrize("make_it", [lambda path: world.shm_file("psm_1", b"new"), os.mkdir, os.mkfifo, link])
@in_world()
def test_a_taken_name_is_refused(make_it):
    sums = back_up(("posix-shm", os.path.basename(world.shm_file("psm_1", b"old"))))
    os.unlink("/dev/shm/psm_1")
    make_it("/dev/shm/psm_1")
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert "its name is taken by a file of uid 0" in refused[0].why
    assert everything() == before


@in_world(mqueue=True)
def test_a_taken_name_of_a_queue_is_refused():
    os.close(world.mq_open("/q"))
    sums = back_up(("posix-mq", "q"))
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert refused[0].why == "its name is taken by another queue"
    assert everything() == before


# --- what else comes back, and what cannot


@in_world()
def test_a_set_that_was_in_use_is_taken_for_initialised_again():
    used, fresh = world.semget(2, key=1), world.semget(2, key=2)
    world.semop(used, 32767)
    sums = back_up(("sem", used), ("sem", fresh))
    world.semrm(used)
    world.semrm(fresh)
    put_back(sums)
    otime = {row["key"]: row["otime"] for row in world.table("sem")}
    assert otime[1] > 0
    assert otime[2] == 0
    assert world.semctl(used, 0, world.GETVAL) == 32767


@in_world()
def test_of_metadata_comes_back_what_there_is():
    msqid, shmid, semid = world.msgget(key=1), world.shmget(300 * PAGE, key=2), world.semget(3, key=4)
    world.msgsnd(msqid, b"abc")
    world.semop(semid, 1)
    sums = back_up(("msg", msqid), ("shm", shmid), ("sem", semid), kept="metadata")
    for kind, which in (("msg", msqid), ("shm", shmid), ("sem", semid)):
        remove(kind, which)
    restored, refused = put_back(sums)
    assert refused == []
    assert [one.id for one in restored] == [msqid, shmid, semid]
    assert all("'backup = metadata'" in one.notes[0] for one in restored)
    assert world.table("msg")[0]["qnum"] == 0
    assert world.table("shm")[0]["size"] == 300 * PAGE


@in_world()
def test_a_sparse_segment_of_a_tebibyte_comes_back_sparse():
    shmid = world.shmget(1 << 40, key=9, mode=0o10000 | 0o600)
    address = world.shmat(shmid)
    ctypes.memmove(address + (1 << 39), b"here", 4)
    world.shmdt(address)
    sums = back_up(("shm", shmid))
    world.shmrm(shmid)
    restored, refused = put_back(sums)
    assert refused == []
    assert restored[0].id == shmid
    assert packs.rss() == {shmid: PAGE}
    address = world.shmat(shmid)
    assert ctypes.string_at(address + (1 << 39), 4) == b"here"


@in_world()
def test_only_what_is_wanted_comes_back():
    named = [("sem", world.semget(1, key=key)) for key in (5, 6, 7)]
    sums = back_up(*named)
    for one in named:
        remove(*one)
    restored, refused = put_back(sums, wanted=lambda kind, row: row["key"] == 6)
    assert [(one.key, one.id) for one in restored] == [(6, named[1][1])]
    (at,) = [offset for _, offset in sums if offset == sorted(sums)[2][1]]
    restored, refused = put_back(sums, offset=at)
    assert [one.key for one in restored] == [7]
    assert refused == []


@in_world()
def test_an_ordinary_user_gets_back_what_was_its_own_and_nothing_else():
    world.needs_root()
    os.chmod(world.here(), 0o777)
    world.shm_file("psm_root", b"x")

    def body() -> Any:
        named = [("sem", world.semget(2, key=5)), ("shm", world.shmget(3 * PAGE, key=5))]
        named.append(("posix-shm", os.path.basename(world.shm_file("psm_1", b"mine"))))
        sums = back_up(*named)
        for one in named:
            remove(*one)
        restored, refused = put_back(sums)
        notes = [one.notes for one in restored]
        with open("/dev/shm/psm_1", "rb") as file:
            return notes, refused, file.read()

    notes, refused, text = world.as_uid(GONE, body)
    assert refused == []
    assert text == b"mine"
    assert [len(one) for one in notes] == [1, 1, 0]
    assert "cannot be chosen here" in notes[0][0]
    assert [row["uid"] for row in world.table("sem")] == [GONE]


@in_world()
def test_what_an_ordinary_user_cannot_give_away_is_not_left_half_made():
    world.needs_root()
    os.chmod(world.here(), 0o777)
    restored, refused = world.as_uid(GONE, lambda: put_back(crafted("posix-shm", uid=OTHER, gid=GONE)))
    assert restored == []
    assert refused[0].why == f"only root can give it to uid {OTHER}, gid {GONE}"
    assert os.listdir("/dev/shm") == []


@in_world()
def test_a_queue_larger_than_the_limit_of_today_says_what_to_raise():
    msqid = world.msgget(key=3)
    sums = back_up(("msg", msqid))
    world.msgrm(msqid)
    world.limit("kernel.msgmnb", 100)
    before = everything()

    os.chmod(place(), 0o777)
    os.chown(place() + "/b1.pack", GONE, GONE)
    restored, refused = world.as_uid(GONE, lambda: put_back(sums))
    assert restored == []
    assert "its capacity of 16384 bytes is above kernel.msgmnb" in refused[0].why
    assert everything() == before


@in_world(shm="size=1m")
def test_no_room_leaves_nothing():
    world.shm_file("psm_1", b"x" * (800 << 10))
    sums = back_up(("posix-shm", "psm_1"))
    os.rename("/dev/shm/psm_1", "/dev/shm/psm_2")
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert "No space left" in refused[0].why
    assert everything() == before


@in_world()
def test_a_message_that_does_not_fit_any_more_leaves_nothing():
    msqid = world.msgget(key=3)
    world.msgsnd(msqid, b"short")
    world.msgsnd(msqid, b"x" * 1000)
    sums = back_up(("msg", msqid))
    world.msgrm(msqid)
    world.limit("kernel.msgmax", 500)
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert "Invalid argument; 'ipcops explain msgget'" in refused[0].why
    assert everything() == before


@in_world()
def test_a_segment_that_would_go_at_once_is_refused():
    shmid = world.shmget(PAGE, key=3)
    sums = back_up(("shm", shmid))
    world.shmrm(shmid)
    world.limit("kernel.shm_rmid_forced", 1)
    restored, refused = put_back(sums)
    assert restored == []
    assert "shm_rmid_forced is 1" in refused[0].why
    assert world.table("shm") == []


# --- packs of strangers


def pack_of_a_queue() -> tuple[str, packs.Sums]:
    """Return a pack whose queue is gone."""
    msqid = world.msgget(key=0x77)
    world.msgsnd(msqid, b"abc")
    sums = back_up(("msg", msqid))
    world.msgrm(msqid)
    return place() + "/b1.pack", sums


def as_link(path: str) -> None:
    os.rename(path, path + ".real")
    os.symlink(path + ".real", path)


def as_fifo(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path, 0o600)


def as_directory(path: str) -> None:
    os.unlink(path)
    os.mkdir(path, 0o700)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: os.chown(path, OTHER, 0), f"it belongs to uid {OTHER}, not to you or root"),
        (lambda path: os.chmod(path, 0o604), "others than its owner may open it"),
        (lambda path: os.chmod(path, 0o620), "others than its owner may open it"),
        (as_link, "it is a link"),
        (as_fifo, "it is no plain file"),
        (as_directory, "it is no plain file"),
        (lambda path: os.truncate(path, 0), "it does not begin as a backup does"),
        (os.unlink, "No such file"),
    ],
)
@in_world()
def test_a_file_that_a_stranger_could_have_made_is_no_backup(spoil, why):
    world.needs_root()
    path, sums = pack_of_a_queue()
    spoil(path)
    before = everything()
    with pytest.raises(BackupError, match=why):
        put_back(sums)
    assert everything() == before


@in_world()
def test_only_what_the_journal_vouches_for_is_put_back():
    path, sums = pack_of_a_queue()
    before = everything()
    with pytest.raises(BackupError, match="the journal knows of no backup 'b1'"):
        put_back({("b2", 23): "0" * 64})
    with pytest.raises(BackupError, match="the journal knows of no backup 'b1:5'"):
        put_back(sums, offset=5)
    os.rename(path, path.replace("b1", "b9"))
    with pytest.raises(BackupError, match="the journal knows of no backup 'b9'"):
        put_back(sums, path.replace("b1", "b9"))
    with pytest.raises(BackupError, match=r"does not end in \.pack"):
        put_back(sums, "/etc/passwd")
    assert everything() == before


@in_world()
def test_any_byte_changed_or_missing_is_refused():
    path, sums = pack_of_a_queue()
    with open(path, "rb") as file:
        whole = file.read()
    ((_, offset),) = sums
    before = everything()
    for at in range(offset, len(whole)):
        for text in (whole[:at], whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :]):
            with open(path, "wb") as file:
                file.write(text)
            restored, refused = put_back(sums)
            assert restored == []
            assert refused[0].kind is None
            assert refused[0].why.startswith(f"the backup b1:{offset} is damaged")
    assert everything() == before
    with open(path, "wb") as file:
        file.write(whole)
    assert len(put_back(sums)[0]) == 1


@in_world()
def test_one_damaged_object_does_not_keep_the_others():
    named = [("sem", world.semget(1, key=key)) for key in (5, 6, 7)]
    sums = back_up(*named)
    for one in named:
        remove(*one)
    second = sorted(sums)[1][1]
    with open(place() + "/b1.pack", "r+b") as file:
        file.seek(second + 3)
        file.write(b"#")
    restored, refused = put_back(sums)
    assert [one.key for one in restored] == [5, 7]
    assert len(refused) == 1


# What has the right checksum, and still is not to be believed: the second wall.

ROWS: dict[str, dict[str, Any]] = {
    "shm": {"id": 0, "key": 5, "mode": 0o600, "uid": 0, "gid": 0, "size": 100},
    "sem": {"id": 0, "key": 5, "mode": 0o600, "uid": 0, "gid": 0, "nsems": 2, "otime": 0},
    "msg": {"id": 0, "key": 5, "mode": 0o600, "uid": 0, "gid": 0, "qnum": 1, "cbytes": 3, "qbytes": 99},
    "posix-shm": {"path": "/x", "mode": 0o600, "uid": 0, "gid": 0, "size": 100},
    "posix-mq": {"path": "/x", "mode": 0o600, "uid": 0, "gid": 0, "maxmsg": 5, "msgsize": 5},
}


def crafted(kind: str, frames: bytes = END, **fields: Any) -> packs.Sums:
    """Write a pack by hand; return its true checksum."""
    header = {"kind": kind, "backup": "full", "namespace": 0, "row": {**ROWS[kind], **fields}}
    return written(json.dumps(header).encode() + b"\n" + frames)


def written(text: bytes) -> packs.Sums:
    first = b"ipcops backup 1 - 5\n"
    descriptor = os.open(place() + "/b1.pack", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, first + text)
    os.close(descriptor)
    return {("b1", len(first)): hashlib.sha256(text).hexdigest()}


def frame(offset: int, data: bytes) -> bytes:
    return struct.pack("<QQ", offset, len(data)) + data


@pytest.mark.parametrize(
    ("make_it", "why"),
    [
        (lambda: crafted("posix-shm", path="/../../etc/x"), "leads out of the directory"),
        (lambda: crafted("posix-shm", path="/a/b"), "leads out of the directory"),
        (lambda: crafted("posix-shm", path="/.."), "leads out of the directory"),
        (lambda: crafted("posix-mq", path="/a/b"), "leads out of the directory"),
        (lambda: crafted("posix-shm", frame(99, b"xx") + END), "no room for them"),
        (lambda: crafted("posix-shm", frame(9, b"xx") + frame(9, b"y") + END), "no room for them"),
        (lambda: crafted("shm", frame(99, b"xx") + END), "no room for them"),
        (lambda: crafted("shm", frame((1 << 63) - 9, b"xx") + END), "no room for them"),
        (lambda: crafted("shm", size=0), "Invalid argument"),
        (lambda: crafted("shm", size=(1 << 63) - 1), "could not be made"),
        (lambda: crafted("sem", frame(0, b"xx") + END), "as many values as semaphores"),
        (lambda: crafted("sem", frame(1, b"xxx") + END), "holes"),
        (lambda: crafted("sem", frame(0, b"\xff\xff\0\0") + END), "could not be made"),
        (lambda: crafted("sem", nsems=(1 << 31) - 1), "as many values as semaphores"),
        (lambda: crafted("msg", frame(0, b"x" * 8) + END), "ends within a message"),
        (lambda: crafted("msg", frame(0, struct.pack("<qI", 1, 1 << 31)) + END), "impossible message"),
        (lambda: crafted("msg", frame(0, struct.pack("<qI", 0, 3) + b"abc") + END), "impossible message"),
        (lambda: crafted("msg", frame(0, struct.pack("<qI", 1, 2) + b"ab") + END), "not the messages"),
        (lambda: crafted("posix-mq", maxmsg=(1 << 31) - 1), "could not be made"),
        (lambda: written(b"[" * 60000 + b"\n" + END), "no JSON"),
        (lambda: written(b'{"a":' * 12000 + b"\n" + END), "no JSON"),
        (lambda: written(b"x" * 100000), "the description has no end"),
        (lambda: written(b"{}\n" + struct.pack("<QQ", 0, 1 << 62)), "a length is wrong"),
    ],
)
@in_world(mqueue=True)
def test_what_makes_no_sense_is_refused_whole(make_it: Callable[[], packs.Sums], why):
    sums = make_it()
    before = everything()
    restored, refused = put_back(sums)
    assert restored == []
    assert why in refused[0].why
    assert everything() == before


@in_world(mqueue=True)
def test_the_crafted_packs_are_refused_for_what_is_wrong_with_them():
    good = {
        "shm": END,
        "sem": frame(0, bytes(4)) + END,
        "msg": frame(0, struct.pack("<qI", 1, 3) + b"abc") + END,
        "posix-shm": frame(98, b"xx") + END,
        "posix-mq": END,
    }
    for kind, frames in good.items():
        restored, refused = put_back(crafted(kind, frames))
        assert (len(restored), refused) == (1, [])
        os.unlink(place() + "/b1.pack")


@in_world()
def test_an_object_of_another_namespace_says_so():
    sums = written(
        json.dumps({"kind": "sem", "backup": "full", "namespace": 5, "row": ROWS["sem"]}).encode()
        + b"\n"
        + frame(0, bytes(4))
        + END
    )
    restored, _ = put_back(sums)
    assert restored[0].notes == (f"it was in IPC namespace 5, and is now in {world.namespace()}",)
