"""The walk for FIFOs and sockets, on real file systems: what it finds, and what it must never touch.

That a mount was not touched is shown by what serves it: a FUSE file system and an autofs of our own
see every request.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ipcops.core import fs
from ipcops.core.collect import files, mounts
from tests import world
from tests.world import GONE, in_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipcops.core.collect.files import Files
    from ipcops.core.collect.mounts import Mount

SOON = 20  # seconds for a test that would hang for ever if the walk touched what it must not


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every walk all the time it wants: a slow machine must not cut it short."""
    monkeypatch.setattr(files, "SECONDS", 10**6)


def own_mounts() -> list[Mount]:
    return mounts.parse_mountinfo(Path("/proc/self/mountinfo").read_bytes())


def walk(*words: object, given: Sequence[Mount] | None = None) -> Files:
    roots = fs.host_roots()
    with roots.proc:
        return files.read_files(
            roots, [str(word) for word in words], own_mounts() if given is None else given, time.monotonic() + 10**6
        )


def gaps(found: Files) -> list[tuple[str, str]]:
    assert [gap.kind for gap in found.gaps] == ["fifo", "unix"] * (len(found.gaps) // 2)
    return [(gap.what, gap.why) for gap in found.gaps[::2]]


def scratch() -> Path:
    """Return a new tmpfs in the world, that everybody may search."""
    path = world.here() / "scratch"
    path.mkdir()
    world.mount("tmpfs", str(path), "tmpfs", 0, "mode=755")
    return path


def fifo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


def bind(path: Path | str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(os.fsencode(path))
    return bound


# ---------------------------------------------------------------- what is found


@in_world()
def test_names_of_any_bytes() -> None:
    top = scratch()
    raw = os.fsencode(top)
    names = [b"a b", b"a\nb", b"@x", b"\xff\xfe", "ü".encode(), b"-rf", b"..."]
    for name in names:
        os.mkdir(raw + b"/" + name)
        os.mkfifo(raw + b"/" + name + b"/f" + name)
    held = bind(os.fsdecode(raw) + "/a b/s\udcff\n x")
    found = walk(top)
    assert {os.fsencode(path) for path in found.fifos["path"]} == {raw + b"/" + n + b"/f" + n for n in names}
    assert [os.fsencode(path) for path in found.sockets["path"]] == [raw + b"/a b/s\xff\n x"]
    assert gaps(found) == []
    held.close()


@in_world()
def test_the_path_is_open_to_everybody_or_not() -> None:
    top = scratch()
    fifo(top / "open" / "f")
    fifo(top / "shut" / "f").parent.chmod(0o750)
    top.joinpath("sticky").mkdir()
    top.joinpath("sticky").chmod(0o1777)
    fifo(top / "sticky" / "f")
    world.as_uid(GONE, (top / "open" / "f").stat)  # the control: the kernel lets others through
    found = walk(top).fifos
    told = dict(zip(found["path"], zip(found["open_path"], found["sticky"], strict=True), strict=True))
    assert told == {
        f"{top}/open/f": (True, False),
        f"{top}/shut/f": (False, False),
        f"{top}/sticky/f": (True, True),
    }


@in_world()
def test_only_directories_are_opened() -> None:
    """What opens a FIFO ends the wait of whoever opened the other end; inotify sees every open."""
    libc = ctypes.CDLL(None, use_errno=True)
    in_open, in_isdir = 0x20, 0x40000000
    top = scratch()
    fifo(top / "f")
    held = bind(top / "s")
    (top / "plain").write_text("x")
    fifo(top / "d" / "f")
    (top / "link").symlink_to("plain")
    (top / "to-fifo").symlink_to("f")
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    for path in (top, top / "d"):
        assert libc.inotify_add_watch(watch, os.fsencode(path), in_open | 0x1) >= 0

    def events() -> list[tuple[int, bytes]]:
        seen = []
        try:
            data = os.read(watch, 1 << 16)
        except BlockingIOError:
            return []
        while data:
            _, mask, _, size = struct.unpack_from("iIII", data)
            seen.append((mask, data[16 : 16 + size].rstrip(b"\0")))
            data = data[16 + size :]
        return seen

    found = walk(top)
    assert list(found.fifos["path"]) == [f"{top}/d/f", f"{top}/f"]
    assert list(found.sockets["path"]) == [f"{top}/s"]
    seen = events()
    assert [name for mask, name in seen if not mask & in_isdir] == []
    assert b"d" in [name for mask, name in seen]  # the control: opens are seen,
    (top / "plain").read_text()
    assert (in_open, b"plain") in events()  # those of files, too
    held.close()
    os.close(watch)


@in_world()
def test_looking_leaves_no_trace() -> None:
    """What cleans /tmp by age goes by the atime of directories, too (tmpfiles.d(5))."""
    top = scratch()
    fifo(top / "d" / "f")
    for path in (top / "d" / "f", top / "d", top):
        os.utime(path, (1000, 1000))
    times = [(os.lstat(path).st_atime, os.lstat(path).st_ctime) for path in (top, top / "d", top / "d" / "f")]
    assert len(walk(top).fifos) == 1
    assert [
        (os.lstat(path).st_atime, os.lstat(path).st_ctime) for path in (top, top / "d", top / "d" / "f")
    ] == times
    os.listdir(top / "d")
    assert os.lstat(top / "d").st_atime != 1000  # the control: here, a look is seen


# ---------------------------------------------------------------- mounts: never entered, never asked


class Fuse:
    """A FUSE file system (linux/fuse.h) of one directory, served by a child that tells us every request.

    Nobody may ask about a file named ``denied``. Without entries every request fails: it stands for one
    that hangs, which would keep the process that touches it for good, beyond SIGKILL.
    """

    LOOKUP, GETATTR, INIT, OPENDIR, READDIR, RELEASEDIR = 1, 3, 26, 27, 28, 29
    FORGET = (2, 42)

    def __init__(
        self, point: Path, entries: Sequence[tuple[str, int, int]] = (), kind: int = stat.S_IFDIR
    ) -> None:
        """Take name, type as the directory tells it, and mode of each file."""
        self.entries = entries
        self.modes = {1: stat.S_IFDIR | 0o755, **{at: mode for at, (_, _, mode) in enumerate(entries, 2)}}
        try:
            self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
            options = f"fd={self.fd},rootmode={kind | 0o755:o},user_id=0,group_id=0,allow_other"
            world.mount("test", str(point), "fuse", world.MS_NOSUID | world.MS_NODEV, options)
        except OSError as error:
            pytest.skip(f"no FUSE here: {error}")
        self.asked, log = os.pipe2(os.O_CLOEXEC)
        world.spawn(then=lambda _: self.serve(log))
        os.close(log)
        os.close(self.fd)  # only the child has it: when that ends, so does all waiting for an answer
        os.set_blocking(self.asked, False)
        world.wait_until(self.requests, "the first request")

    def requests(self) -> list[str]:
        """Return the requests since the last time: opcode, and name or node."""
        try:
            return os.read(self.asked, 1 << 20).decode().split()
        except BlockingIOError:
            return []

    def serve(self, log: int) -> None:
        while True:
            data = os.read(self.fd, 1 << 17)
            size, opcode, unique, node = struct.unpack_from("=IIQQ", data)
            content = data[40:size]
            name = content.rstrip(b"\0").decode() if opcode == self.LOOKUP else str(node)
            if opcode not in (self.RELEASEDIR, *self.FORGET):  # these come some time after the call
                os.write(log, f"{opcode}:{name}\n".encode())
            if opcode not in self.FORGET:
                error, content = self.answer(opcode, node, name, content)
                os.write(self.fd, struct.pack("=IiQ", 16 + len(content), -error, unique) + content)

    def answer(self, opcode: int, node: int, name: str, content: bytes) -> tuple[int, bytes]:
        """Return an error or 0, and what is told."""
        if opcode == self.INIT:
            return 0, struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
        if not self.entries:
            return errno.EIO, b""
        if opcode == self.GETATTR:
            return 0, bytes(16) + self.attributes(node)
        if opcode == self.LOOKUP:
            if name == "denied":
                return errno.EACCES, b""
            node = next((at for at, (known, _, _) in enumerate(self.entries, 2) if known == name), 0)
            valid = 9  # seconds
            reply = struct.pack("=QQQQII", node, 0, valid, valid, 0, 0) + self.attributes(node or 1)
            return (0, reply) if node else (errno.ENOENT, b"")
        if opcode == self.OPENDIR:
            return 0, bytes(16)
        if opcode == self.READDIR:
            (start,) = struct.unpack_from("=8xQ", content)
            return 0, b"".join(self.dirent(at) for at in range(start, min(start + 8, len(self.entries))))
        return 0 if opcode == self.RELEASEDIR else errno.ENOSYS, b""

    def dirent(self, at: int) -> bytes:
        name, kind, _ = self.entries[at]
        record = struct.pack("=QQII", at + 2, at + 1, len(name), kind) + name.encode()
        return record + bytes(-len(record) % 8)

    def attributes(self, node: int) -> bytes:
        return struct.pack("=6Q10I", node, 0, 0, 5, 6, 7, 0, 0, 0, self.modes[node], 1, 0, 0, 0, 0, 0)


def touches(act: Callable[[], Any], seen: Callable[[], Any]) -> None:
    """Show that a touch would have been seen: make one."""

    def try_it() -> None:
        with suppress(OSError):
            act()

    child = world.spawn(then=lambda _: try_it())
    world.wait_until(seen, "a request for what a child touched")
    child.kill()


@in_world(timeout=SOON)
def test_a_mount_that_hangs_is_not_touched() -> None:
    top = scratch()
    fifo(top / "a" / "f")
    (top / "a" / "hangs").mkdir()
    fifo(top / "a" / "hangs" / "f")  # hidden by the mount
    fifo(top / "a" / "file")  # a mount point, too
    directory, file = Fuse(top / "a" / "hangs"), Fuse(top / "a" / "file", kind=stat.S_IFREG)
    found = walk(top)
    assert (list(found.fifos["path"]), gaps(found)) == ([f"{top}/a/f"], [])
    assert (directory.requests(), file.requests()) == ([], [])
    touches(lambda: os.lstat(top / "a" / "hangs"), directory.requests)
    touches(lambda: os.listdir(top / "a" / "hangs"), directory.requests)
    touches(lambda: os.lstat(top / "a" / "file"), file.requests)


@in_world(timeout=SOON)
def test_a_named_directory_that_hangs_is_not_touched() -> None:
    top = scratch()
    (top / "hangs").mkdir()
    (top / "link").symlink_to("hangs/x")
    fuse = Fuse(top / "hangs")
    found = walk(top / "hangs", top / "hangs" / "below" / "it", top / "link")
    why = f"it is on {top}/hangs (fuse), which may hang and is not walked"
    assert gaps(found) == [(f"{top}/hangs", why), (f"{top}/hangs/below/it", why), (f"{top}/link", why)]
    assert fuse.requests() == []
    touches(lambda: os.lstat(top / "hangs"), fuse.requests)


@in_world(timeout=SOON)
def test_an_automount_is_not_triggered() -> None:
    """Who opens it waits until a daemon has mounted something there, and here none ever does."""
    world.needs_root()
    top = scratch()
    (top / "auto").mkdir()
    fifo(top / "f")
    daemon = world.spawn(lambda: os.setpgid(0, 0))  # its group may pass, ours may not
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reader, False)
    options = f"fd={writer},pgrp={daemon.pid},minproto=5,maxproto=5,direct"
    try:
        world.mount("test", str(top / "auto"), "autofs", 0, options)
    except OSError as error:
        pytest.skip(f"no autofs here: {error}")

    def asked() -> bytes:
        try:
            return os.read(reader, 4096)
        except BlockingIOError:
            return b""

    found = walk(top, top / "auto")
    assert list(found.fifos["path"]) == [f"{top}/f"]
    assert gaps(found) == [(f"{top}/auto", f"it is on {top}/auto (autofs), which may hang and is not walked")]
    assert asked() == b""
    touches(lambda: os.listdir(top / "auto"), asked)


@in_world()
def test_a_bind_mount_of_the_same_file_system_is_not_entered() -> None:
    """It has the device of the directory around it: only the table of mounts tells."""
    top = scratch()
    fifo(top / "elsewhere" / "x" / "f")
    (top / "run" / "bound").mkdir(parents=True)
    fifo(top / "run" / "f")
    fifo(top / "run" / "file")
    world.mount(str(top / "elsewhere"), str(top / "run" / "bound"), None, world.MS_BIND)
    world.mount(str(top / "elsewhere" / "x" / "f"), str(top / "run" / "file"), None, world.MS_BIND)
    assert list(walk(top / "run").fifos["path"]) == [f"{top}/run/f"]
    assert list(walk(top / "run" / "bound").fifos["path"]) == [f"{top}/run/bound/x/f"]


@in_world()
def test_a_directory_at_two_places_is_listed_once() -> None:
    """/var/tmp is often /tmp, mounted again."""
    top = scratch()
    fifo(top / "tmp" / "x" / "f")
    (top / "var").mkdir()
    world.mount(str(top / "tmp"), str(top / "var"), None, world.MS_BIND)
    assert list(walk(top / "tmp", top / "var").fifos["path"]) == [f"{top}/tmp/x/f"]
    assert list(walk(top / "var", top / "tmp").fifos["path"]) == [f"{top}/var/x/f"]


@in_world()
def test_a_mount_that_came_after_the_table_was_read() -> None:
    top = scratch()
    fifo(top / "f")
    (top / "late").mkdir()
    table = own_mounts()
    world.mount("tmpfs", str(top / "late"), "tmpfs")
    fifo(top / "late" / "f")
    found = walk(top, given=table)
    why = "a file system of its own is not walked: a subvolume, or it was mounted just now"
    assert (list(found.fifos["path"]), gaps(found)) == ([f"{top}/f"], [(f"{top}/late", why)])


@in_world()
def test_a_mount_on_a_named_directory_is_walked() -> None:
    """/run and /tmp are mounts themselves, and one on top of another counts."""
    top = scratch()
    fifo(top / "run" / "below")
    world.mount("tmpfs", str(top / "run"), "tmpfs")
    fifo(top / "run" / "between")
    world.mount("tmpfs", str(top / "run"), "tmpfs")
    held = bind(top / "run" / "s")
    found = walk(top / "run")
    assert (list(found.fifos["path"]), list(found.sockets["path"])) == ([], [f"{top}/run/s"])
    assert list(found.sockets["inexact"]) == [False]
    assert gaps(found) == []
    held.close()


# ---------------------------------------------------------------- what the walk asks for


DT_UNKNOWN, DT_FIFO, DT_REG, DT_LNK, DT_SOCK = 0, 1, 8, 10, 12  # readdir(3)


def served(entries: Sequence[tuple[str, int, int]]) -> tuple[Fuse, Files]:
    """Walk over a directory as if its file system were a local one."""
    top = scratch()
    server = Fuse(top, entries)
    table = [mount._replace(fstype="ext4") if mount.point == str(top) else mount for mount in own_mounts()]
    return server, walk(top, given=table)


@in_world(timeout=SOON)
def test_nothing_is_asked_about_plain_files() -> None:
    """A file system sees every question: none but for the directory, the FIFO and the socket."""
    plain = [(f"file{number}", DT_REG, stat.S_IFREG | 0o600) for number in range(50)]
    special = [("pipe", DT_FIFO, stat.S_IFIFO | 0o620), ("sock", DT_SOCK, stat.S_IFSOCK | 0o666)]
    links = [("link", DT_LNK, stat.S_IFLNK | 0o777)]
    server, found = served([*plain[:25], *special, *links, *plain[25:]])
    asked = server.requests()
    opcodes = {int(word.split(":")[0]) for word in asked}
    assert opcodes <= {Fuse.GETATTR, Fuse.LOOKUP, Fuse.OPENDIR, Fuse.READDIR}
    assert sorted(word for word in asked if word.startswith(f"{Fuse.LOOKUP}:")) == ["1:pipe", "1:sock"]
    assert {word for word in asked if word.startswith(f"{Fuse.GETATTR}:")} <= {"3:1"}
    assert [path.rpartition("/")[2] for path in found.fifos["path"]] == ["pipe"]
    assert [path.rpartition("/")[2] for path in found.sockets["path"]] == ["sock"]
    assert (found.fifos["mode"], found.fifos["mtime"]) == ([0o620], [6])
    os.lstat(found.fifos["path"][0].replace("pipe", "file7"))
    assert server.requests() == ["1:file7"]  # the control: a stat is seen


@in_world(timeout=SOON)
def test_types_that_the_directory_does_not_tell() -> None:
    """Some file systems give none (readdir(3)): then each is asked about, and all are found."""
    entries = [
        ("file", DT_UNKNOWN, stat.S_IFREG | 0o600),
        ("pipe", DT_UNKNOWN, stat.S_IFIFO | 0o600),
        ("sock", DT_UNKNOWN, stat.S_IFSOCK | 0o600),
        ("link", DT_UNKNOWN, stat.S_IFLNK | 0o777),
        ("null", DT_UNKNOWN, stat.S_IFCHR | 0o666),
    ]
    server, found = served(entries)
    assert {"1:" + name for name, _, _ in entries} <= set(server.requests())
    assert [path.rpartition("/")[2] for path in found.fifos["path"]] == ["pipe"]
    assert [path.rpartition("/")[2] for path in found.sockets["path"]] == ["sock"]
    assert gaps(found) == []


@in_world(timeout=SOON)
def test_a_type_that_is_not_told_to_anybody() -> None:
    """What could not be looked at is told, and what stands after it is found."""
    mode = stat.S_IFIFO | 0o600
    _, found = served([("denied", DT_UNKNOWN, mode), ("pipe", DT_UNKNOWN, mode)])
    assert [path.rpartition("/")[2] for path in found.fifos["path"]] == ["pipe"]
    assert gaps(found) == [(os.path.dirname(found.fifos["path"][0]), "Permission denied")]


@in_world(timeout=SOON)
def test_mount_points_are_not_asked_about_for_want_of_a_type() -> None:
    """Where types are not told either, a mount point is known by its name."""
    top = scratch()
    server = Fuse(top, [("gone", DT_UNKNOWN, stat.S_IFDIR | 0o755), ("pipe", DT_UNKNOWN, stat.S_IFIFO | 0o600)])
    table = [mount._replace(fstype="ext4") if mount.point == str(top) else mount for mount in own_mounts()]
    table.append(table[-1]._replace(point=f"{top}/gone", fstype="nfs4"))
    found = walk(top, given=table)
    assert list(found.fifos["path"]) == [f"{top}/pipe"]
    asked = server.requests()
    assert "1:pipe" in asked
    assert "1:gone" not in asked


# ---------------------------------------------------------------- what may not be read, and how much is


@in_world()
def test_what_an_ordinary_user_may_not_read_is_told_at_once() -> None:
    world.needs_root()
    top = scratch()
    for number in range(12):
        (top / "tmp" / f"private{number}").mkdir(parents=True, mode=0o700)
    fifo(top / "tmp" / "f")
    fifo(top / "run" / "private" / "f").parent.chmod(0o711)
    (top / "spool").mkdir(mode=0o700)
    words = (top / "tmp", top / "run", top / "spool", top / "spool" / "x")
    denied = "Permission denied"
    assert world.as_uid(GONE, lambda: gaps(walk(*words))) == [
        (f"{top}/spool", denied),
        (f"{top}/spool/x", denied),
        (f"12 directories below {top}/tmp", denied),
        (f"{top}/run/private", denied),
    ]
    assert gaps(walk(*words)) == []


@in_world()
def test_names_that_may_be_listed_and_not_asked_about() -> None:
    """A directory that is readable and not searchable: its FIFOs are known by type alone."""
    world.needs_root()
    top = scratch()
    fifo(top / "tmp" / "f").parent.chmod(0o744)
    fifo(top / "tmp" / "g")
    fifo(top / "tmp" / "d" / "f")
    found = world.as_uid(GONE, lambda: gaps(walk(top / "tmp")))
    assert found == [(f"2 directories below {top}/tmp", "Permission denied")]  # itself, and the one in it


@in_world()
def test_an_ordinary_user_sees_what_is_open_to_all() -> None:
    """Only the owner and root may open a directory without changing its atime: others open it as ls does."""
    world.needs_root()
    top = scratch()
    fifo(top / "d" / "f").chmod(0o600)
    assert world.as_uid(GONE, lambda: list(walk(top).fifos["path"])) == [f"{top}/d/f"]


@in_world()
def test_twenty_thousand_entries_are_no_gap_and_one_more_is() -> None:
    top = scratch()
    (top / "tmp").mkdir()
    fifo(top / "run" / "x" / "f")
    for number in range(files.ENTRIES - 2):  # /run has two
        os.mknod(top / "tmp" / str(number), stat.S_IFREG)
    found = walk(top / "tmp", top / "run")
    assert (list(found.fifos["path"]), gaps(found)) == ([f"{top}/run/x/f"], [])
    os.mknod(top / "tmp" / "more", stat.S_IFREG)
    found = walk(top / "tmp", top / "run")
    assert list(found.fifos["path"]) == [f"{top}/run/x/f"]
    assert gaps(found) == [(f"{top}/tmp", "more than 20,000 entries; 19998 entries were looked at")]


# ---------------------------------------------------------------- numbers that the kernel tells, too


def diag(bound: socket.socket) -> tuple[int, int]:
    """Return device and inode of a socket's file as sock_diag(7) tells them."""
    show_vfs, by_family, dump, error = 2, 20, 0x301, 2
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:
        question = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, show_vfs, 0xFFFFFFFF, 0xFFFFFFFF)
        netlink.send(struct.pack("=IHHII", 16 + len(question), by_family, dump, 1, 0) + question)
        while True:
            data = netlink.recv(1 << 18)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind == error:
                    pytest.skip("this kernel has no unix_diag")
                assert kind == by_family, "the socket is in no answer"
                ino, attribute = struct.unpack_from("=I", data, 20)[0], data[32:size]
                if ino == os.fstat(bound.fileno()).st_ino:
                    _, which, ino, dev = struct.unpack_from("=HHII", attribute)
                    assert which == 1  # UNIX_DIAG_VFS
                    return os.makedev(dev >> 20, dev & 0xFFFFF), ino
                data = data[size + 3 & ~3 :]


def told(directory: Path) -> tuple[bool, bool]:
    """Bind a socket in a directory; return whether its row is exact, and whether the kernel's numbers are the row's."""
    bound = bind(directory / "s")
    rows = walk(directory).sockets
    assert list(rows["path"]) == [f"{directory}/s"]
    same = diag(bound) == (rows["dev"][0], rows["ino"][0])
    bound.close()
    return not rows["inexact"][0], same


@in_world()
def test_numbers_of_a_plain_file_system() -> None:
    assert told(scratch()) == (True, True)
    exact, same = told(world.here())  # whatever this machine has in /tmp
    assert same or not exact


@pytest.mark.parametrize("layers", ["one", "several"])
@in_world()
def test_numbers_of_an_overlay(layers: str) -> None:
    """Of one file system it tells its own device; of several, one that no table of mounts has."""
    top = scratch()
    for name in ("upper", "work", "lower", "merged"):
        (top / name).mkdir()
    if layers == "several":
        world.mount("tmpfs", str(top / "lower"), "tmpfs")
    (top / "lower" / "d").mkdir()
    fifo(top / "lower" / "e" / "f")
    options = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
    try:
        world.mount("test", str(top / "merged"), "overlay", 0, options)
    except OSError as error:
        pytest.skip(f"no overlay here: {error}")
    exact = layers == "one"
    assert told(top / "merged") == (exact, exact)
    assert told(top / "merged" / "d") == (exact, exact)
    found = walk(top / "merged")
    assert (list(found.fifos["path"]), gaps(found)) == ([f"{top}/merged/e/f"], [])
