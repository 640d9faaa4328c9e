"""The walk for FIFOs and sockets: every tree, every directory a policy may name, every way it may end early."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import stat
import tempfile
import time
import types
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipcops.core.collect import files
from ipcops.core.collect.files import Files
from ipcops.core.collect.mounts import NETWORK, Mount
from ipcops.core.errors import InputError
from ipcops.core.fs import Directory, Roots
from ipcops.core.model import Evidence
from ipcops.core.policy import defaults, parse_directories, parse_policy

LATER = time.monotonic() + 10**6
MAKE = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "file": stat.S_IFREG}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Give every walk all the time it wants: a slow machine must not cut it short."""
    monkeypatch.setattr(files, "SECONDS", 10**6)


@pytest.fixture
def root(tmp_path):
    """Return a directory that stands for / and that everybody may search."""
    tmp_path.chmod(0o755)
    return tmp_path


def mount(point: str, fstype: str = "ext4", dev: int = 0) -> Mount:
    return Mount(1, dev, "/", point, frozenset(), fstype, frozenset())


def walk(root: Any, *words: str, mounts: Optional[Sequence[Mount]] = None, deadline: float = LATER) -> Files:
    """Walk in a directory that stands for /, which is a mount unless others are given."""
    given = [mount("/", dev=os.stat(root).st_dev)] if mounts is None else mounts
    with Directory.open("/proc") as proc:
        return files.read_files(Roots(proc, files_path=str(root)), words, given, deadline, 7)


def make(root: Any, path: str, kind: str = "fifo", mode: int = 0o644) -> Path:
    """Make a file, umask or not, and the directories above it."""
    whole = Path(str(root) + path)
    whole.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(whole, MAKE[kind])
    whole.chmod(mode)
    return whole


def gaps(found: Files) -> List[Tuple[str, str]]:
    """Return what was not seen and why; that each is told for both kinds is checked here."""
    for kind in ("fifo", "unix"):
        assert [gap[:3] for gap in found.gaps if gap.kind == kind] == [gap[:3] for gap in found.gaps[::2]]
    assert all(gap.evidence == Evidence.TABLE for gap in found.gaps)
    assert len(found.gaps) % 2 == 0
    return [(gap.what, gap.why) for gap in found.gaps[::2]]


# ---------------------------------------------------------------- the policy


def test_the_default_directories():
    assert defaults()["scan", "fifo_dirs"] == ("/tmp", "/run", "/var/tmp", "/var/spool")


def test_a_policy_may_name_none():
    policy = parse_policy("[scan]\nfifo_dirs =\n", "x")
    assert policy["scan", "fifo_dirs"] == ()


def test_directories_are_words():
    assert parse_directories(" /run,/srv/queues\n /x/../y ") == ("/run", "/srv/queues", "/x/../y")


@pytest.mark.parametrize("word", ["run", "./run", "~/run", "$TMP", "/a\0b"])
def test_a_relative_path_is_refused(word):
    with pytest.raises(InputError) as refused:
        parse_policy("# ours\n[scan]\nmq_notify = no\nfifo_dirs = /tmp %s /run\n" % word, "/etc/x.conf")
    assert str(refused.value).startswith("policy /etc/x.conf line 4: [scan] fifo_dirs ")
    assert "names '%s', which is no absolute path; write it from / on, such as /run" % word in str(refused.value)


# ---------------------------------------------------------------- what is found

NAMES = st.binary(min_size=1, max_size=6).filter(lambda raw: not set(raw) & {0, 0x2F} and raw not in (b".", b".."))
TREES = st.recursive(
    st.sampled_from(["fifo", "socket", "file", "link"]),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=25,
).filter(lambda tree: isinstance(tree, dict))


def plant(path: bytes, tree: Any) -> None:
    """Make a drawn tree at a path."""
    if isinstance(tree, dict):
        os.mkdir(path)
        for name, inner in tree.items():
            plant(path + b"/" + name, inner)
    elif tree == "link":
        os.symlink(b"/", path)
    else:
        os.mknod(path, MAKE[tree] | 0o600)


def wanted(tree: Any, kind: str, above: bytes, depth: int = 0) -> Set[bytes]:
    """Return the paths of one kind at most three names down."""
    if tree == kind:
        return {above}
    if not isinstance(tree, dict) or depth == 3:
        return set()
    return set().union(*(wanted(inner, kind, above + b"/" + name, depth + 1) for name, inner in tree.items()))


@given(TREES)
def test_any_tree(tree):
    with tempfile.TemporaryDirectory() as top:
        os.mkdir(top + "/srv")
        plant(os.fsencode(top) + b"/srv/q", tree)
        found = walk(top, "/srv/q")
        for table, kind in ((found.fifos, "fifo"), (found.sockets, "socket")):
            assert {os.fsencode(path) for path in table["path"]} == wanted(tree, kind, b"/srv/q")
            assert list(table["path"]) == sorted(set(table["path"]))
        assert found.gaps == []


def test_what_is_told_of_a_file(root):
    fifo = make(root, "/run/q", mode=0o2750)
    os.link(fifo, str(fifo) + "2")
    os.utime(fifo, (1000.9, 2000.9))
    found = walk(root, "/run")
    said = os.lstat(fifo)
    assert {name: list(column) for name, column in found.fifos.columns.items()} == {
        "path": ["/run/q", "/run/q2"],
        "dev": [said.st_dev] * 2,
        "ino": [said.st_ino] * 2,
        "mode": [0o2750] * 2,
        "uid": [os.getuid()] * 2,
        "gid": [said.st_gid] * 2,
        "nlink": [2] * 2,
        "atime": [1000] * 2,
        "mtime": [2000] * 2,
        "ctime": [int(said.st_ctime)] * 2,
        "open_path": [True] * 2,
        "sticky": [False] * 2,
    }
    assert (found.fifos.kind, found.fifos.namespace) == ("fifo", 7)


def test_what_is_told_of_a_socket(root):
    with socket.socket(socket.AF_UNIX) as bound:
        make(root, "/run/file", "file")
        with Directory.open(str(root / "run")) as run:
            bound.bind("/proc/self/fd/%d/s" % run.fd)  # a path of tmp_path may be too long for a socket
        found = walk(root, "/run")
    said = os.lstat(root / "run/s")
    assert {name: list(column) for name, column in found.sockets.columns.items()} == {
        "path": ["/run/s"],
        "dev": [said.st_dev],
        "ino": [said.st_ino],
        "mode": [said.st_mode & 0o7777],
        "uid": [os.getuid()],
        "gid": [said.st_gid],
        "nlink": [1],
        "atime": [int(said.st_atime)],
        "mtime": [int(said.st_mtime)],
        "ctime": [int(said.st_ctime)],
        "open_path": [True],
        "inexact": [False],
    }
    assert (found.sockets.kind, found.sockets.namespace) == ("unix", 7)
    assert len(found.fifos) == 0


@pytest.mark.parametrize("closed", ["", "/srv", "/srv/q", "/srv/q/a"])
def test_open_path_is_every_directory_from_the_root_on(root, closed):
    """Reading a directory does not open the path to what is in it, searching does."""
    make(root, "/srv/q/a/f")
    for path in ("/srv", "/srv/q", "/srv/q/a"):
        Path(str(root) + path).chmod(0o751)
    assert list(walk(root, "/srv/q").fifos["open_path"]) == [True]
    Path(str(root) + closed).chmod(0o754)
    assert list(walk(root, "/srv/q").fifos["open_path"]) == [False]


@pytest.mark.parametrize(("mode", "sticky"), [(0o1777, True), (0o1757, True), (0o777, False), (0o1775, False)])
def test_sticky_is_the_directory_it_lies_in(root, mode, sticky):
    make(root, "/tmp/f")
    make(root, "/tmp/a/f")
    (root / "tmp").chmod(mode)
    assert dict(zip(*(walk(root, "/tmp").fifos[name] for name in ("path", "sticky")))) == {
        "/tmp/f": sticky,
        "/tmp/a/f": False,
    }


@pytest.mark.parametrize(
    ("mounts", "inexact"),
    [
        (lambda dev: [mount("/", "ext4", dev)], False),
        (lambda dev: [mount("/", "overlay", dev)], False),
        (lambda dev: [mount("/", "overlay", dev + 1)], True),
        (lambda dev: [mount("/", "btrfs", dev + 1)], True),
        (lambda dev: [mount("/", "bcachefs", dev)], True),
        (lambda _: [mount("/proc", "proc", 5)], True),  # a chroot
        (lambda dev: [mount("/", "ext4", dev + 1), mount("/run", "tmpfs", dev)], False),
        (lambda dev: [mount("/run", "btrfs", dev + 1), mount("/run", "tmpfs", dev)], False),
    ],
)
def test_numbers_that_sock_diag_may_not_tell(root, mounts, inexact):
    make(root, "/run/s", "socket")
    found = walk(root, "/run", mounts=mounts(os.stat(root).st_dev))
    assert list(found.sockets["inexact"]) == [inexact]


# ---------------------------------------------------------------- the directories that are named


def test_no_directory_finds_nothing_and_asks_for_nothing(root):
    found = walk(root / "none", mounts=[])
    assert (len(found.fifos), len(found.sockets), found.gaps) == (0, 0, [])
    assert "sticky" in found.fifos
    assert "inexact" in found.sockets


def test_what_does_not_exist_is_no_gap(root):
    (root / "dangling").symlink_to("none")
    assert gaps(walk(root, "/none", "/none/of/it", "/dangling")) == []


def test_links_to_a_named_directory_are_followed(root):
    make(root, "/run/x/f")
    (root / "var").mkdir()
    (root / "var/run").symlink_to("../run")
    (root / "old").symlink_to("/var/run/x/.")
    for word in ("/var/run", "/var/../old/..//x/", "/old/"):
        found = walk(root, word)
        assert (list(found.fifos["path"]), gaps(found)) == (["/run/x/f"], [])


@pytest.mark.parametrize("words", [("/run", "/run"), ("/run", "/var/run"), ("/run", "/run/x"), ("/run/x", "/run")])
def test_each_file_is_listed_once(root, words):
    make(root, "/run/f")
    make(root, "/run/x/f")
    (root / "var").mkdir()
    (root / "var/run").symlink_to("/run")
    assert list(walk(root, *words).fifos["path"]) == ["/run/f", "/run/x/f"]


def test_a_directory_named_within_another_is_walked_as_deep_as_any(root):
    make(root, "/a/b/f")
    make(root, "/a/b/c/d/f")
    assert list(walk(root, "/a").fifos["path"]) == ["/a/b/f"]
    assert list(walk(root, "/a", "/a/b").fifos["path"]) == ["/a/b/c/d/f", "/a/b/f"]


def test_the_root_itself(root):
    make(root, "/f")
    make(root, "/a/b/f")
    make(root, "/a/b/c/f")
    make(root, "/mnt/f")
    mounts = [mount("/"), mount("/mnt")]
    assert list(walk(root, "/", mounts=mounts).fifos["path"]) == ["/a/b/f", "/f"]


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_what_is_no_directory_is_told(root, kind):
    make(root, "/run/x", kind)
    assert gaps(walk(root, "/run/x")) == [("/run/x", "Not a directory")]
    assert gaps(walk(root, "/run/x/y")) == [("/run/x/y", "Not a directory")]


def test_links_in_a_circle_are_told(root):
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("/a/x")
    assert gaps(walk(root, "/a")) == [("/a", "Too many levels of symbolic links")]


@pytest.mark.parametrize("fstype", sorted([*NETWORK, "fuse.sshfs", "fuse.glusterfs"]))
def test_a_file_system_that_may_hang_is_not_walked(root, fstype):
    """Neither where it is named, nor behind a link, nor another one below its mount point."""
    make(root, "/net/x/f")
    (root / "link").symlink_to("/net/x")
    mounts = [mount("/", dev=os.stat(root).st_dev), mount("/net", fstype), mount("/net/x", "tmpfs")]
    found = walk(root, "/net", "/link", "/net/x", mounts=mounts)
    why = "it is on /net (%s), which may hang and is not walked" % fstype
    assert gaps(found) == [("/net", why), ("/link", why), ("/net/x", why)]
    assert len(found.fifos) == 0


def test_a_root_that_may_hang_leaves_the_mounts_on_it(root):
    """A machine without a disk: its programs hang with its / anyway."""
    make(root, "/run/f")
    make(root, "/tmp/f")
    found = walk(root, "/tmp", "/run", mounts=[mount("/", "nfs4"), mount("/run", "tmpfs")])
    assert list(found.fifos["path"]) == ["/run/f"]
    assert gaps(found) == [("/tmp", "it is on / (nfs4), which may hang and is not walked")]


def test_without_a_list_of_mounts_nothing_is_walked(root):
    make(root, "/run/f")
    found = walk(root, "/run", mounts=[])
    assert gaps(found) == [("/run", "where other file systems are mounted is not known, and they may hang")]
    assert len(found.fifos) == 0


def test_what_is_mounted_below_is_left_alone(root):
    """By its name alone: all of this is one file system."""
    for path in ("/run/f", "/run/a/f", "/run/a/b/f", "/run/lock", "/run/user/f"):
        make(root, path)
    points = ["/", "/run", "/run/user", "/run/lock", "/run/a/b", "/elsewhere"]
    found = walk(root, "/run", mounts=[mount(point) for point in points])
    assert list(found.fifos["path"]) == ["/run/a/f", "/run/f"]
    assert gaps(found) == []


def test_a_root_that_is_not_there(tmp_path):
    found = walk(tmp_path / "none", "/run", mounts=[mount("/")])
    assert gaps(found) == [(str(tmp_path / "none"), "No such file or directory")]


# ---------------------------------------------------------------- a walk that is cut short


def test_so_many_entries_and_no_more(root, monkeypatch):
    """All that the bound allows is no gap, empty directories after it neither; one more is."""
    monkeypatch.setattr(files, "ENTRIES", 6)
    for name in ("a", "b"):
        make(root, "/run/%s/f" % name)
    for number in range(2):
        make(root, "/tmp/file%d" % number, "file")
    found = walk(root, "/run", "/tmp")
    assert (list(found.fifos["path"]), gaps(found)) == (["/run/a/f", "/run/b/f"], [])
    make(root, "/run/b/g")
    found = walk(root, "/run", "/tmp")
    assert len(found.fifos) == 2
    assert gaps(found) == [("/run", "more than 6 entries; 4 entries were looked at")]


@pytest.mark.parametrize("words", [("/tmp", "/run"), ("/run", "/tmp")])
def test_a_full_directory_hides_no_other(root, monkeypatch, words):
    monkeypatch.setattr(files, "ENTRIES", 100)
    monkeypatch.setattr(files, "SLICE", 10)
    for number in range(100):
        make(root, "/tmp/file%02d" % number, "file")
    make(root, "/run/a/b/f")
    found = walk(root, *words)
    assert list(found.fifos["path"]) == ["/run/a/b/f"]
    assert gaps(found) == [("/tmp", "more than 100 entries; 97 entries were looked at")]


def test_what_lies_high_comes_first(root, monkeypatch):
    monkeypatch.setattr(files, "ENTRIES", 8)
    for name in ("a", "b"):
        make(root, "/tmp/%s/f" % name)
        for number in range(5):
            make(root, "/tmp/%s/d/file%d" % (name, number), "file")
    found = walk(root, "/tmp")
    assert list(found.fifos["path"]) == ["/tmp/a/f", "/tmp/b/f"]
    assert gaps(found) == [("/tmp", "more than 8 entries; 8 entries were looked at")]


def test_a_walk_without_time_tells_every_directory(root, monkeypatch):
    monkeypatch.setattr(files, "SECONDS", -0.001)
    make(root, "/run/f")
    make(root, "/tmp/f")
    found = walk(root, "/run", "/none", "/tmp")
    why = "-1 ms were used up; 0 entries were looked at"
    assert (len(found.fifos), gaps(found)) == (0, [("/run", why), ("/tmp", why)])


def test_the_deadline_of_the_scan_ends_the_walk(root):
    make(root, "/run/f")
    found = walk(root, "/run", "/run/", deadline=time.monotonic() - 1)
    why = "the deadline of the scan was reached; 0 entries were looked at"
    assert (len(found.fifos), gaps(found)) == (0, [("/run", why)])


def test_a_walk_cut_short_in_a_directory_says_how_far_it_came(root, monkeypatch):
    """The clock is read at each file that is asked about: one of them may take long."""
    for number in range(5):
        make(root, "/run/f%d" % number)
    ticks = itertools.chain([0, 0.01, 0.02, 0.03, 0.06], itertools.repeat(1))
    monkeypatch.setattr(files, "SECONDS", 0.05)
    monkeypatch.setattr(files, "time", types.SimpleNamespace(monotonic=lambda: next(ticks)))
    found = walk(root, "/run", deadline=9)
    assert len(found.fifos) == 3
    assert gaps(found) == [("/run", "50 ms were used up; 3 entries were looked at")]


@pytest.mark.parametrize("stop", [0, 1, 5, 10**6])
def test_nothing_stays_open(root, monkeypatch, stop):
    monkeypatch.setattr(files, "ENTRIES", stop)
    monkeypatch.setattr(files, "SLICE", 1)
    for name in "abcd":
        make(root, "/run/%s/%s/f" % (name, name))
    before = os.listdir("/proc/self/fd")
    walk(root, "/run", "/run/a", "/none")
    assert os.listdir("/proc/self/fd") == before


# ---------------------------------------------------------------- a tree that changes meanwhile


class Meddler:
    """Does something as soon as a directory has been listed."""

    def __init__(self, monkeypatch, name, act) -> None:
        listed = Directory.entries

        def entries(directory, untouched=()):
            path = os.readlink("/proc/self/fd/%d" % directory.fd)
            found = list(listed(directory, untouched))
            if os.path.basename(path) == name:
                act()
            return iter(found)

        monkeypatch.setattr(Directory, "entries", entries)


def test_what_vanishes_meanwhile_is_no_gap(root, monkeypatch):
    make(root, "/run/a/f")
    make(root, "/run/b/f")
    make(root, "/run/c/d/f")
    gone = make(root, "/run/g")

    def vanish():
        gone.unlink()
        shutil.rmtree(root / "run/a")
        shutil.rmtree(root / "run/c")

    Meddler(monkeypatch, "run", vanish)
    found = walk(root, "/run")
    assert (list(found.fifos["path"]), gaps(found)) == (["/run/b/f"], [])


@pytest.mark.parametrize("other", ["link", "file"])
def test_a_directory_that_becomes_something_else(root, monkeypatch, other):
    """A user who swaps a directory for a link must not lead root elsewhere."""
    make(root, "/tmp/a/b/f")
    make(root, "/secret/f")
    make(root, "/secret/b/f")

    def swap():
        (root / "tmp/a").rename(root / "away")
        if other == "link":
            (root / "tmp/a").symlink_to(root / "secret")
        else:
            make(root, "/tmp/a", "file")

    for listed in ("tmp", "a"):
        with monkeypatch.context() as patch:
            Meddler(patch, listed, swap)
            found = walk(root, "/tmp")
        assert (list(found.fifos["path"]), gaps(found)) == ([], [])
        (root / "tmp/a").unlink()
        (root / "away").rename(root / "tmp/a")
    assert list(walk(root, "/tmp").fifos["path"]) == ["/tmp/a/b/f"]


def test_a_file_that_is_another_kind_by_now(root, monkeypatch):
    fifo = make(root, "/tmp/f")

    def swap():
        fifo.unlink()
        make(root, "/tmp/f", "socket")

    Meddler(monkeypatch, "tmp", swap)
    found = walk(root, "/tmp")
    assert (list(found.fifos["path"]), list(found.sockets["path"])) == ([], ["/tmp/f"])


def test_errors_of_the_file_system_are_gaps(root, monkeypatch):
    """An input error in one directory, told once, and all else is seen."""
    make(root, "/run/a/f")
    make(root, "/run/b/f")
    errors: Dict[str, OSError] = {"a": OSError(5, "Input/output error")}
    listed = Directory.entries

    def entries(directory, untouched=()):
        name = os.path.basename(os.readlink("/proc/self/fd/%d" % directory.fd))
        if name in errors:
            raise errors[name]
        return listed(directory, untouched)

    monkeypatch.setattr(Directory, "entries", entries)
    found = walk(root, "/run")
    assert list(found.fifos["path"]) == ["/run/b/f"]
    assert gaps(found) == [("/run/a", "Input/output error")]
