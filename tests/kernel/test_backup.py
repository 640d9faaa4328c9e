"""Backing up leaves an object as it is, and a backup is written whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat

import pytest

from ipcops.core import backup, contents
from ipcops.core.change import Change
from ipcops.core.contents import CHANGED_BY_LOOKING, ContentsError, Limits
from ipcops.core.errors import WriteError
from ipcops.core.fs import Directory, host_roots
from tests import world
from tests.kernel import packs
from tests.kernel.packs import draft, place, rss, saved
from tests.world import GONE, in_world

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
NORESERVE = 0o10000


def poke(shmid: int, *written: tuple[int, bytes]) -> None:
    """Write into a segment."""
    address = world.shmat(shmid)
    for offset, data in written:
        ctypes.memmove(address + offset, data, len(data))
    world.shmdt(address)


def image(one: contents.Saved, size: int) -> bytes:
    """Return the contents with their holes as zeros."""
    whole = bytearray(size)
    for offset, data in one.parts:
        whole[offset : offset + len(data)] = data
    return bytes(whole)


@in_world()
def test_holes_of_a_segment_stay_holes():
    size = 64 * MIB
    shmid = world.shmget(size)
    poke(shmid, (10, b"first"), (40 * MIB, b"middle"), (size - 4, b"last"))
    before = rss()[shmid]
    assert before == 3 * PAGE
    parts = list(saved("shm", shmid).parts)
    assert rss()[shmid] == before
    assert sum(len(data) for _, data in parts) == 3 * PAGE
    whole = image(saved("shm", shmid)._replace(parts=iter(parts)), size)
    assert whole[10:15] == b"first"
    assert whole[40 * MIB : 40 * MIB + 6] == b"middle"
    assert whole[-4:] == b"last"
    assert whole.count(0) == size - 15


@in_world()
def test_a_segment_of_a_tebibyte_is_read_where_it_has_data():
    size = 1 << 40
    shmid = world.shmget(size, mode=NORESERVE | 0o600)
    poke(shmid, (size // 2, b"here"), (size - PAGE, b"end"))
    before = rss()[shmid]
    parts = dict(saved("shm", shmid).parts)
    assert rss()[shmid] == before == 2 * PAGE
    assert {at: data.rstrip(b"\0") for at, data in parts.items()} == {size // 2: b"here", size - PAGE: b"end"}


@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, PAGE + 1, 300 * PAGE + 7])
@in_world()
def test_an_untouched_segment_is_all_hole(size):
    shmid = world.shmget(size)
    assert list(saved("shm", shmid).parts) == []
    assert rss()[shmid] == 0


@pytest.mark.parametrize("size", [1, PAGE + 1, 3 * MIB + 5])
@in_world()
def test_a_full_segment_is_read_whole(size):
    shmid = world.shmget(size)
    data = os.urandom(size)
    poke(shmid, (0, data))
    assert image(saved("shm", shmid), size) == data


@in_world()
def test_an_ordinary_user_makes_no_hole_resident_either():
    world.needs_root()

    def body():
        size = 64 * MIB
        shmid = world.shmget(size)
        poke(shmid, (10, b"first"), (40 * MIB, b"middle"), (size - 4, b"last"))
        before = rss()[shmid]
        parts = list(saved("shm", shmid).parts)
        full = world.shmget(2 * PAGE + 5)
        poke(full, (0, b"f" * (2 * PAGE + 5)))
        assert image(saved("shm", full), 2 * PAGE + 5) == b"f" * (2 * PAGE + 5)
        huge = world.shmget(1 << 40, mode=NORESERVE | 0o600)
        with pytest.raises(ContentsError, match="only root can"):
            list(saved("shm", huge).parts)
        return before, rss()[shmid], rss()[huge], [(at, data.strip(b"\0")) for at, data in parts]

    before, after, huge, parts = world.as_uid(GONE, body)
    assert before == after == 3 * PAGE
    assert huge == 0
    assert parts == [(0, b"first"), (40 * MIB, b"middle"), (64 * MIB - PAGE, b"last")]


@in_world()
def test_a_segment_that_a_reader_would_remove_is_left_alone():
    shmid = world.shmget(PAGE)
    world.limit("kernel.shm_rmid_forced", 1)
    with pytest.raises(ContentsError, match="shm_rmid_forced is 1"):
        list(saved("shm", shmid).parts)
    assert [row["shmid"] for row in world.table("shm")] == [shmid]


def messages(one: contents.Saved) -> bytes:
    return b"".join(data for _, data in one.parts)


@in_world(mqueue=True)
def test_an_object_is_as_it_was_after_it_was_read():
    shmid, semid, msqid = world.shmget(5 * PAGE), world.semget(3), world.msgget()
    poke(shmid, (0, b"x"))
    world.semop(semid, 2, num=1)
    for kind, text in ((5, b"one"), (1 << 40, b""), (1, b"x" * 8192)):
        world.msgsnd(msqid, text, kind=kind)
    world.shm_file("psm_1", b"y" * 100)
    world.sem_open("/s")
    os.close(world.mq_open("/q", mode=0o640))
    named = {"shm": shmid, "sem": semid, "msg": msqid, "posix-shm": "psm_1", "posix-sem": "sem.s", "posix-mq": "q"}
    for kind, which in named.items():
        before = packs.action(kind, which).expect
        one = saved(kind, which)
        parts = list(one.parts)
        after = packs.action(kind, which).expect
        changed = {name for name in before if before[name] != after[name]}
        assert changed <= set(CHANGED_BY_LOOKING[kind]), kind
        assert parts or kind == "posix-mq"
        assert {name: before[name] for name in one.header["row"] if name not in changed}.items() <= dict(before).items()
    assert [world.msgrcv(msqid) for _ in range(3)] == [b"one", b"", b"x" * 8192]


@in_world()
def test_what_is_too_much_is_refused():
    msqid = world.msgget()
    for _ in range(5):
        world.msgsnd(msqid, b"abc")
    with pytest.raises(ContentsError, match="5 messages, more than the 4 of 'backup_messages'"):
        list(saved("msg", msqid, Limits(MIB, 4)).parts)
    with pytest.raises(ContentsError, match="'backup_object'"):
        list(saved("msg", msqid, Limits(20, 9)).parts)
    for pages in (3, 300):
        shmid = world.shmget(pages * PAGE)
        poke(shmid, (0, b"x" * pages * PAGE))
        with pytest.raises(ContentsError, match="'backup_object'"):
            list(saved("shm", shmid, Limits(pages * PAGE - 1, 0)).parts)
        assert len(image(saved("shm", shmid, Limits(pages * PAGE, 0)), pages * PAGE)) == pages * PAGE
    world.shm_file("psm_1", b"x" * 2 * PAGE)
    with pytest.raises(ContentsError, match="'backup_object'"):
        list(saved("posix-shm", "psm_1", Limits(2 * PAGE - 1, 0)).parts)
    semid = world.semget(100)
    with pytest.raises(ContentsError, match="'backup_object'"):
        list(saved("sem", semid, Limits(199, 0)).parts)


@in_world()
def test_metadata_reads_no_contents():
    msqid = world.msgget()
    for _ in range(5):
        world.msgsnd(msqid, b"abc")
    one = saved("msg", msqid, Limits(0, 0), kept="metadata")
    assert list(one.parts) == []
    assert one.header["backup"] == "metadata"
    assert one.header["row"]["qnum"] == 5


@in_world()
def test_messages_longer_than_the_limit_of_today_are_refused():
    msqid = world.msgget()
    world.msgsnd(msqid, b"x" * 1000)
    world.limit("kernel.msgmax", 500)
    with pytest.raises(ContentsError, match=r"longer than kernel\.msgmax"):
        list(saved("msg", msqid).parts)


@in_world()
def test_a_queue_that_changes_while_it_is_copied_is_refused():
    msqid = world.msgget()
    for _ in range(3):
        world.msgsnd(msqid, b"abc")
    one = saved("msg", msqid)
    world.msgrcv(msqid)
    with pytest.raises(ContentsError, match="it changed while it was copied"):
        list(one.parts)


@pytest.mark.parametrize("kind", packs.SYSV)
@in_world()
def test_an_object_that_is_gone_or_another_is_refused(kind):
    def make(key: int) -> int:
        if kind == "msg":
            return world.msgget(key=key)
        return (world.shmget if kind == "shm" else world.semget)(1, key=key)

    which = make(0)
    seen = packs.action(kind, which)
    getattr(Change(), "remove_" + kind)(which)
    with pytest.raises(ContentsError, match="is gone"):
        contents.save(Change(), host_roots(), seen, packs.LIMITS)
    world.limit(f"kernel.{kind}_next_id", which)
    assert make(5) == which
    with pytest.raises(ContentsError, match="another one now: its key differs"):
        contents.save(Change(), host_roots(), seen, packs.LIMITS)


@in_world()
def test_only_the_very_file_that_was_seen_is_read():
    path = world.shm_file("psm_1", b"abc")
    seen = packs.action("posix-shm", "psm_1")

    def refusal() -> str:
        with pytest.raises(ContentsError) as error:
            list(contents.save(Change(), host_roots(), seen, packs.LIMITS).parts)
        return str(error.value)

    os.truncate(path, 2)
    assert "its size changes" in refusal()
    os.rename(path, path + "2")
    assert "No such file" in refusal()
    os.symlink("psm_12", path)
    assert "symbolic link" in refusal()
    os.unlink(path)
    os.mkfifo(path)
    assert "another file now" in refusal()
    os.unlink(path)
    world.shm_file("psm_1", b"abc")
    assert "another file now" in refusal()


@in_world()
def test_a_file_with_more_than_a_backup_keeps_is_refused():
    path = world.shm_file("psm_1")
    try:
        os.setxattr(path, "trusted.note", b"x")
    except OSError as error:
        pytest.skip(f"no extended attributes on this tmpfs: {error}")
    with pytest.raises(ContentsError, match=r"lose its trusted\.note"):
        list(saved("posix-shm", "psm_1").parts)


@in_world(mqueue=True)
def test_a_posix_queue_with_messages_has_no_backup():
    fd = world.mq_open("/q")
    world.mq_send(fd, b"x")
    with pytest.raises(ContentsError, match="holds messages"):
        saved("posix-mq", "q")
    world.mq_receive(fd)
    assert saved("posix-mq", "q").header["row"]["maxmsg"] == 10


# --- packs


@in_world()
def test_a_pack_is_its_owners_alone_and_appears_whole():
    semid = world.semget(2)
    os.umask(0)
    with draft() as one:
        offset, checksum = one.add(saved("sem", semid))
        assert os.listdir(place()) == [".b1.draft"]
        one.commit()
    assert os.listdir(place()) == ["b1.pack"]
    assert stat.S_IMODE(os.stat(place() + "/b1.pack").st_mode) == 0o600
    with backup.open_pack(place() + "/b1.pack") as pack:
        assert pack.entry(offset, checksum).header.row["nsems"] == 2


@in_world()
def test_without_commit_nothing_is_left():
    with draft() as one:
        one.add(saved("sem", world.semget(2)))
    assert os.listdir(place()) == []


@in_world()
def test_no_pack_replaces_another():
    with draft() as one:
        one.commit()
    before = os.stat(place() + "/b1.pack")
    with pytest.raises(WriteError, match="there is one of that name"):
        draft()
    assert os.stat(place() + "/b1.pack") == before


@in_world()
def test_a_full_disk_leaves_no_half_pack():
    shmid = world.shmget(2 * MIB)
    poke(shmid, (0, os.urandom(2 * MIB)))
    world.mount("tmpfs", place(), "tmpfs", 0, "size=1m,mode=700")
    with draft() as one, pytest.raises(WriteError, match="No space left"):
        one.add(saved("shm", shmid))
    assert os.listdir(place()) == []
    assert len(world.table("shm")) == 1

    semid = world.semget(2)
    with open(place() + "/ballast", "wb") as file, contextlib.suppress(OSError):
        file.write(b"x" * MIB)
    one = draft()
    one.add(saved("sem", semid))
    with pytest.raises(WriteError, match="No space left"):
        one.commit()
    assert os.listdir(place()) == ["ballast"]


@in_world()
def test_a_directory_that_may_not_be_written_is_an_error():
    world.mount("tmpfs", place(), "tmpfs", world.MS_RDONLY, "size=1m,mode=700")
    with pytest.raises(WriteError, match="Read-only"):
        draft()


@in_world()
def test_a_directory_that_goes_away_under_a_draft_is_an_error():
    one = draft()
    one.add(saved("sem", world.semget(1)))
    os.unlink(place() + "/.b1.draft")
    with pytest.raises(WriteError, match="No such file"):
        one.commit()
    assert os.listdir(place()) == []


@in_world()
def test_what_cannot_be_read_leaves_the_pack_as_it_was():
    small, large, msqid = world.semget(2), world.shmget(3 * MIB), world.msgget()
    poke(large, (0, os.urandom(3 * MIB)))
    world.msgsnd(msqid, b"abc")
    with draft(room=2 * MIB + PAGE) as one:
        first = one.add(saved("sem", small))
        with pytest.raises(ContentsError, match="'backup_bytes'"):  # after two of three MiB were written
            one.add(saved("shm", large))
        half = saved("msg", msqid)
        world.msgrcv(msqid)
        with pytest.raises(ContentsError, match="changed"):
            one.add(half)
        second = one.add(saved("sem", small))
        one.commit()
    assert first[1] == second[1]
    size = os.path.getsize(place() + "/b1.pack")
    assert size == 2 * second[0] - first[0]  # the two, and nothing between or after them
    assert [row["nattch"] for row in world.table("shm")] == [0]
    with backup.open_pack(place() + "/b1.pack") as pack:
        assert pack.entry(*first).header == pack.entry(*second).header


# --- keeping


def keep(batch: str, size: int, uptime: float, boot_id: str | None = packs.BOOT, modified: int | None = None) -> None:
    path = f"{place()}/{batch}.pack"
    with draft(batch, uptime=uptime, boot_id=boot_id) as one:
        one.commit()
    os.truncate(path, size)
    if modified is not None:
        os.utime(path, (modified, modified))


def expire(uptime: float, now: float = 1e9, need: int = 0, kept: tuple[str, ...] = (), most: int = 1000) -> list[str]:
    clock = backup.Clock(packs.BOOT, uptime, now)
    return backup.expire(Directory.open(place()), backup.Bounds(most, 3600.0), clock, kept, need)


@in_world()
def test_a_pack_goes_when_it_is_too_old_by_the_boot_clock():
    keep("new", 100, 5000, modified=0)
    keep("old", 100, 1000, modified=10**9)
    assert expire(4600) == []
    assert expire(4601, now=5e9) == ["old"]  # whatever the other clock says
    assert os.listdir(place()) == ["new.pack"]


@in_world()
def test_a_pack_of_another_boot_goes_by_the_date():
    keep("a", 100, 5000, "another-boot", modified=10**9 - 3601)
    keep("b", 100, 0, "another-boot", modified=10**9 - 3599)
    keep("c", 100, 0, None, modified=10**9)
    assert expire(9000) == ["a"]


@in_world()
def test_the_oldest_make_room_and_those_of_this_run_never_go():
    for number in range(5):
        keep(f"b{number}", 300, number * 10)
    directory = Directory.open(place())
    assert backup.room(directory, backup.Bounds(1000, 0), ["b0", "b4"]) == 400
    assert expire(100, kept=("b0", "b4"), most=1500) == []
    assert expire(100, kept=("b0", "b4"), most=1500, need=1) == ["b1"]
    assert expire(100, kept=("b0", "b4")) == ["b2"]
    assert expire(100, kept=("b0", "b4"), most=1) == ["b3"]
    assert sorted(os.listdir(place())) == ["b0.pack", "b4.pack"]


@in_world()
def test_nothing_but_packs_and_drafts_is_cleared_away():
    draft("killed")  # a run that was killed leaves its draft
    for name in ("notes.txt", "-x.pack", ".x.pack"):
        world.Path(place(), name).touch()
    os.mkdir(place() + "/directory.pack")
    os.symlink("/etc/passwd", place() + "/link.pack")
    assert expire(1e9, now=1e12, most=0) == []
    assert sorted(os.listdir(place())) == ["-x.pack", ".x.pack", "directory.pack", "link.pack", "notes.txt"]
