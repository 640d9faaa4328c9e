"""FIFOs and bound sockets: files in the directories that the policy's ``fifo_dirs`` names.

One walk finds both, breadth first, and it is bounded: an unbounded one of a full /tmp takes seconds.
It opens directories alone, for whoever opens a FIFO becomes one of its ends (fifo(7)), asks lstat(2)
about nothing that its directory calls a plain file, a directory or a link, and stays on one mount:
what is mounted below may hang, and even stat(2) would hang with it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from itertools import islice
from typing import Any, Deque, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from ..fs import Directory, Roots
from ..model import Evidence, Gap, Table
from ..tuples import NamedTuple
from .mounts import Mount, is_network

DEPTH = 3
"""How far below a named directory a name may lie to be looked at, as find(1) counts: -maxdepth 3."""
ENTRIES = 20_000
"""How many names one walk looks at."""
SECONDS = 0.05
SLICE = 2_000
"""How many names of a directory are read before it is the turn of the others: a full /tmp must not hide /run."""

_KINDS = ("fifo", "unix")
_COLUMNS = ("path", "dev", "ino", "mode", "uid", "gid", "nlink", "atime", "mtime", "ctime", "open_path")
_LINKS = 40
"""How many symbolic links a path may lead through (path_resolution(7))."""
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""The directory is no more, or its name was given to something else."""
_SHARED_NUMBERS = "bcachefs"
"""Files of different snapshots have one device and inode there (fs/bcachefs/fs.c: bch2_getattr)."""


class Files(NamedTuple):
    """What the walk found.

    ``fifos`` are of kind ``fifo``: ``path dev ino mode uid gid nlink atime mtime ctime open_path
    sticky``; ``sockets`` of kind ``unix``, with ``inexact`` for ``sticky``. ``open_path``: everybody
    may search every directory from / on. ``sticky``: it lies in a sticky directory that everybody may
    write to. ``inexact``: the kernel's own device and inode of the file are not those of stat(2).
    """

    fifos: Table
    sockets: Table
    gaps: List[Gap]


class _Named:
    """A directory of the policy: where it is, on what, and what became of the walk below it."""

    __slots__ = ("dev", "directory", "looked", "mount", "names", "unread")

    def __init__(self, names: Tuple[str, ...], mount: Optional[Mount], directory: Directory) -> None:
        self.names = names
        self.mount = mount
        self.directory = directory
        self.dev = directory.own_info().dev
        self.looked = 0
        self.unread: Dict[str, Set[str]] = {}
        """Why to the directories that could not be read."""

    def inexact(self, dev: int) -> bool:
        """Whether sock_diag may tell another device or inode than stat(2), which told *dev*.

        UNIX_DIAG_VFS has the super block's device and the kernel's inode (net/unix/diag.c:
        sk_diag_dump_vfs), and mountinfo that very device (fs/proc_namespace.c: show_mountinfo). stat(2)
        tells one of the subvolume on btrfs (fs/btrfs/inode.c: btrfs_getattr), and one of the layer on an
        overlay of several file systems; where an overlay tells its own, the inodes are the same, too
        (Documentation/filesystems/overlayfs.rst: Inode properties). FUSE is never walked.
        """
        return self.mount is None or dev != self.mount.dev or self.mount.fstype == _SHARED_NUMBERS


class _Spot:
    """A directory to be read: not opened yet, or as far as the last slice went."""

    __slots__ = ("directory", "entries", "named", "names", "searchable", "sticky")

    def __init__(self, named: _Named, names: Tuple[str, ...], *, searchable: bool) -> None:
        self.named = named
        self.names = names
        """From the root on."""
        self.searchable = searchable
        """Whether everybody may search all directories above it; once it is open, itself, too."""
        self.sticky = False
        self.directory: Optional[Directory] = None
        self.entries: Iterator[Tuple[str, str]] = iter(())

    @property
    def depth(self) -> int:
        """How far it lies below the named directory."""
        return len(self.names) - len(self.named.names)

    def close(self) -> None:
        """Give back what it holds open."""
        self.entries = iter(())  # a generator that is dropped closes what it reads
        if self.directory is not None and self.depth:  # others need the named one as long as the walk lasts
            self.directory.close()


def read_files(
    roots: Roots, directories: Sequence[str], mounts: Sequence[Mount], deadline: float, namespace: int = 0
) -> Files:
    """Return the FIFOs and bound sockets below *directories*, by path, and what was not seen.

    *mounts* are those of the mount *namespace*; *deadline* is the scan's, a reading of time.monotonic().
    A directory that does not exist is no gap, nor is what lies deeper than DEPTH or on another mount.
    """
    walk = _Walk(mounts, deadline)
    if directories:
        try:
            with roots.files() as root:
                walk.run(root, directories)
        except OSError as error:
            walk.gap(roots.files_path, error.strerror)
    return Files(
        _table("fifo", walk.fifos, "sticky", namespace), _table("unix", walk.sockets, "inexact", namespace), walk.gaps
    )


def _table(kind: str, rows: List[Tuple[Any, ...]], last: str, namespace: int) -> Table:
    rows.sort()
    return Table(kind, {name: [row[at] for row in rows] for at, name in enumerate((*_COLUMNS, last))}, namespace)


def _path(names: Sequence[str]) -> str:
    return "/" + "/".join(names)


class _Walk:
    """One walk over all named directories."""

    def __init__(self, mounts: Sequence[Mount], deadline: float) -> None:
        self.deadline = deadline
        self.ends = time.monotonic() + SECONDS
        self.mounts = {mount.point: mount for mount in mounts}  # of several at one point the last is on top
        self.points: Dict[str, Set[str]] = {}
        for point in self.mounts:
            above, _, name = point.rpartition("/")
            self.points.setdefault(above or "/", set()).add(name)
        self.named: List[_Named] = []
        self.queue: Deque[_Spot] = deque()
        self.seen: Set[Tuple[int, int]] = set()
        self.looked = 0
        self.why = ""
        """Why the walk ended before there was nothing left."""
        self.fifos: List[Tuple[Any, ...]] = []
        self.sockets: List[Tuple[Any, ...]] = []
        self.gaps: List[Gap] = []

    def run(self, root: Directory, words: Sequence[str]) -> None:
        """Walk below the directories *words*."""
        try:
            for word in words:
                self._find(root, word)
            while self.queue and not self._spent():
                self._visit(self.queue.popleft())
        finally:
            for spot in self.queue:
                spot.close()
            for named in self.named:
                named.directory.close()
        left = {spot.named for spot in self.queue}
        for named in self.named:
            self._report(named, whole=named not in left)

    def gap(self, what: str, why: Optional[str]) -> None:
        """Take down what was not seen: it may have held FIFOs and sockets alike."""
        self.gaps += [Gap(Evidence.TABLE, what, str(why), kind=kind) for kind in _KINDS]

    def _report(self, named: _Named, *, whole: bool) -> None:
        path = _path(named.names)
        if not whole:
            self.gap(path, "%s; %d entries were looked at" % (self.why, named.looked))
        for why, paths in named.unread.items():
            self.gap("%d directories below %s" % (len(paths), path) if len(paths) > 1 else paths.pop(), why)

    def _spent(self) -> bool:
        now = time.monotonic()
        if not self.why and now > self.deadline:
            self.why = "the deadline of the scan was reached"
        elif not self.why and now > self.ends:
            self.why = "%d ms were used up" % (SECONDS * 1000)
        return bool(self.why)

    # ---------------------------------------------------------------- the named directories

    def _find(self, root: Directory, word: str) -> None:
        """Queue a directory that the policy names."""
        if not self.mounts:
            self.gap(word, "where other file systems are mounted is not known, and they may hang")
            return
        try:
            names = self._resolve(root, word)
            mount = self._mount_of(names)
            if mount is not None and _may_hang(mount):
                self.gap(word, "it is on %s (%s), which may hang and is not walked" % (mount.point, mount.fstype))
                return
            if any(named.names == names for named in self.named):
                return
            above = [root.info("/".join(names[:at]) or ".") for at in range(len(names))]
            named = _Named(names, mount, root.descend(names or ["."]))
        except FileNotFoundError:
            return  # nothing is there
        except OSError as error:
            self.gap(word, error.strerror)
            return
        self.named.append(named)
        self.queue.append(_Spot(named, names, searchable=all(info.mode & 0o001 for info in above)))

    def _resolve(self, root: Directory, word: str) -> Tuple[str, ...]:
        """Return the names that lead to a path and are no links, at most to the first mount that may hang."""
        names: List[str] = []
        todo = word.split("/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name == "..":
                del names[-1:]
            elif name not in ("", "."):
                names.append(name)
                mount = self.mounts.get(_path(names))
                if mount is not None and _may_hang(mount):
                    break
                target = _target(root, names)
                if target is not None:
                    links += 1
                    if links > _LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    names = [] if target.startswith("/") else names[:-1]
                    todo += target.split("/")[::-1]
        return tuple(names)

    def _mount_of(self, names: Sequence[str]) -> Optional[Mount]:
        """Return what is mounted at a path or nearest above it; ``None`` in a chroot that is no mount itself."""
        found = (self.mounts.get(_path(names[:at])) for at in range(len(names), -1, -1))
        return next((mount for mount in found if mount is not None), None)

    # ---------------------------------------------------------------- what is below them

    def _visit(self, spot: _Spot) -> None:
        """Read a slice of a directory, and queue what is left of it and the directories in it."""
        left = False
        try:
            directory = spot.directory or self._open(spot)
            left = directory is not None and self._read(spot, directory)
        except OSError as error:
            self._failed(spot, error)
        if left:
            self.queue.append(spot)
        else:
            spot.close()

    def _failed(self, spot: _Spot, error: OSError) -> None:
        if error.errno not in _GONE:
            self._unread(spot, str(error.strerror))

    def _unread(self, spot: _Spot, why: str) -> None:
        spot.named.unread.setdefault(why, set()).add(_path(spot.names))

    def _open(self, spot: _Spot) -> Optional[Directory]:
        """Return the open directory; ``None`` where it is on another mount or was read by another path."""
        named = spot.named
        directory = named.directory.descend(spot.names[len(named.names) :]) if spot.depth else named.directory
        spot.directory = directory
        own = directory.own_info()
        if own.dev != named.dev:
            self._unread(spot, "a file system of its own is not walked: a subvolume, or it was mounted just now")
            return None
        if (own.dev, own.ino) in self.seen:
            return None
        self.seen.add((own.dev, own.ino))
        spot.searchable = spot.searchable and bool(own.mode & 0o001)
        spot.sticky = own.mode & 0o1002 == 0o1002
        spot.entries = directory.entries(self.points.get(_path(spot.names), ()))
        return directory

    def _read(self, spot: _Spot, directory: Directory) -> bool:
        """Look at the next names of a directory; return whether any may be left."""
        room = ENTRIES - self.looked
        most = min(SLICE, room + 1)
        batch = list(islice(spot.entries, most))
        full = len(batch) > room
        if full:
            self.why = f"more than {ENTRIES:,} entries"
            del batch[room:]
        deeper = spot.depth + 1 < DEPTH
        looked = 0
        for looked, (name, kind) in enumerate(batch, 1):  # noqa: B007
            if kind == "directory" and deeper:
                self.queue.append(_Spot(spot.named, (*spot.names, name), searchable=spot.searchable))
            elif kind == "other":
                self._look(spot, directory, name)
                if self._spent():
                    break
        spot.named.looked += looked
        self.looked += looked
        return full or looked < len(batch) or len(batch) == most

    def _look(self, spot: _Spot, directory: Directory, name: str) -> None:
        """Take down a file if it is a FIFO or a socket."""
        try:
            info = directory.info(name)
        except OSError as error:
            self._failed(spot, error)
            return
        row = (
            _path((*spot.names, name)), info.dev, info.ino, info.mode & 0o7777, info.uid, info.gid,
            info.nlink, info.atime, info.mtime, info.ctime, spot.searchable,
        )  # fmt: skip
        if stat.S_ISFIFO(info.mode):
            self.fifos.append((*row, spot.sticky))
        elif stat.S_ISSOCK(info.mode):
            self.sockets.append((*row, spot.named.inexact(info.dev)))


def _may_hang(mount: Mount) -> bool:
    return is_network(mount.fstype)


def _target(root: Directory, names: Sequence[str]) -> Optional[str]:
    """Return where a link points; ``None`` for what is none."""
    try:
        return root.link("/".join(names))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise
