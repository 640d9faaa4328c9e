"""Packs: the objects that one batch removes, in one file, so that they can be put back.

A pack is ``BATCH.pack``, 0600. Its first line says which boot it is of; then, for each object, a
line of JSON (what it was), its data in frames (offset and length, 8 bytes each, little endian, and
the bytes; holes are left out), and a frame of length 0. The SHA-256 of all that is kept elsewhere, in
the journal: what it does not vouch for is not even parsed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import stat
import struct
from typing import Any, Callable, Collection, Dict, Iterable, Iterator, List, Optional, Tuple

from .contents import ContentsError, Saved
from .errors import InputError, WriteError
from .fs import Directory, open_named, write_all
from .model import REMOVABLE_KINDS, SYSV_KINDS
from .tuples import NamedTuple

SUFFIX = ".pack"
_DRAFT = ".draft"
_BATCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_FIRST = re.compile(rb"ipcops backup 1 ([0-9A-Za-z-]{1,64}) (\d{1,12})\n")
_FIRST_MOST = 128
_HEADER_MOST = 1 << 16
_FRAME = struct.Struct("<QQ")
_END = _FRAME.pack(0, 0)
_CHUNK = 1 << 20

_ID_MOST = (1 << 31) - 1
_WORD_MOST = (1 << 32) - 1
_LENGTH_MOST = (1 << 63) - 1
_BOUNDS: Dict[str, int] = {
    "id": _ID_MOST, "key": _WORD_MOST, "uid": _WORD_MOST - 1, "gid": _WORD_MOST - 1, "cuid": _WORD_MOST,
    "cgid": _WORD_MOST, "mode": 0o7777, "nsems": _ID_MOST, "maxmsg": _ID_MOST, "msgsize": _ID_MOST,
    "qbytes": (1 << 64) - 1,
}  # fmt: skip
"""The greatest value of a number in a row; of all others it is 63 bits."""
_TIMES = frozenset("atime dtime ctime otime stime rtime mtime".split())
"""The only numbers that may be negative: a clock may have stood before 1970."""
_NEEDED = {
    "shm": "id key mode uid gid size".split(),
    "sem": "id key mode uid gid nsems otime".split(),
    "msg": "id key mode uid gid qnum cbytes qbytes".split(),
    "posix-shm": "path mode uid gid size".split(),
    "posix-sem": "path mode uid gid size".split(),
    "posix-mq": "path mode uid gid maxmsg msgsize".split(),
}

Read = Callable[[int, int], bytes]
"""Returns at most so many bytes (the second) of a pack from a position (the first) on; none at its end."""


class BackupError(InputError):
    """A backup that is none of ours, or damaged; nothing was done with it."""


class Bounds(NamedTuple):
    """How much backups may take together, in bytes, and how old one may get, in seconds."""

    max_bytes: int
    max_age: float


class Clock(NamedTuple):
    """Now: which boot, seconds since it, and epoch seconds."""

    boot_id: Optional[str]
    uptime: float
    now: float


class Header(NamedTuple):
    """What an object was."""

    kind: str
    backup: str
    """``full`` or ``metadata``."""
    namespace: int
    row: Dict[str, Any]
    """As its table had it: numbers, and the path of what has one."""


class Scanned(NamedTuple):
    """Where the parts of one entry of a pack lie."""

    header: bytes
    frames: int
    end: int
    sha256: str


# ---------------------------------------------------------------- pure


def batch_name(text: str) -> str:
    """Return the name of a batch, if it is one. Raise BackupError."""
    if not _BATCH.match(text):
        raise BackupError("'%s' is no name of a backup: those are of letters, digits, '.', '_' and '-'" % text)
    return text


def scan(read: Read, offset: int, size: int) -> Scanned:
    """Find the entry at *offset* of a pack of *size* bytes, and its checksum. Raise ValueError where none can be."""
    if not 0 <= offset < size:
        raise ValueError("it ends before that")
    header, newline, _ = read(offset, _HEADER_MOST).partition(b"\n")
    if not newline:
        raise ValueError("the description has no end")
    digest = hashlib.sha256(header + newline)
    at = frames = offset + len(header) + 1
    for _, length, position in _frames(read, frames, size):
        digest.update(read(at, _FRAME.size))
        at = position
        while at < position + length:
            data = read(at, min(_CHUNK, position + length - at))
            if not data:
                raise ValueError("it is cut off")
            digest.update(data)
            at += len(data)
    digest.update(_END)
    return Scanned(header, frames, at + _FRAME.size, digest.hexdigest())


def _frames(read: Read, at: int, size: int) -> Iterator[Tuple[int, int, int]]:
    """Yield offset, length and position of the data of each frame. Raise ValueError."""
    while True:
        words = read(at, _FRAME.size)
        if len(words) < _FRAME.size:
            raise ValueError("it is cut off")
        if words == _END:
            return
        offset, length = _FRAME.unpack(words)
        at += _FRAME.size
        if not 0 < length <= size - at:
            raise ValueError("it is cut off, or a length is wrong")
        if offset + length > _LENGTH_MOST:
            raise ValueError("an offset is wrong")
        yield offset, length, at
        at += length


def parse_header(text: bytes) -> Header:
    """Return what the description of an object says. Raise ValueError where it is none."""
    try:
        found = json.loads(text.decode("ascii"))
    except (RecursionError, ValueError) as error:
        raise ValueError("the description is no JSON") from error
    if not isinstance(found, dict) or set(found) != {"kind", "backup", "namespace", "row"}:
        raise ValueError("the description has other fields")
    kind, kept, namespace, row = found["kind"], found["backup"], found["namespace"], found["row"]
    if kind not in REMOVABLE_KINDS or kept not in ("full", "metadata") or not isinstance(row, dict):
        raise ValueError("the description is of no kind of object")
    lacking = [name for name in _NEEDED[kind] if name not in row]
    if lacking:
        raise ValueError("the description lacks %s" % ", ".join(lacking))
    for name, value in [*row.items(), ("namespace", namespace)]:
        least = -_LENGTH_MOST if name in _TIMES else 0
        if name == "path":
            _check_path(kind, value)
        elif type(value) is not int or not least <= value <= _BOUNDS.get(name, _LENGTH_MOST):
            raise ValueError("the description's %s is impossible" % name)
    return Header(kind, kept, namespace, row)


def _check_path(kind: str, path: Any) -> None:
    if kind in SYSV_KINDS or not isinstance(path, str):
        raise ValueError("the description has an impossible path")
    try:
        name = path[1:].encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError("the description's path is no name of a file") from error
    if path[:1] != "/" or not 0 < len(name) <= 255 or b"/" in name or b"\0" in name or name in (b".", b".."):
        raise ValueError("the description's path leads out of the directory of its kind")
    if kind != "posix-mq" and (kind == "posix-sem") != name.startswith(b"sem."):
        raise ValueError("the description's path is of another kind")


# ---------------------------------------------------------------- writing


class Draft:
    """A pack that is being written; unless :meth:`commit` names it, nothing of it is left."""

    def __init__(self, directory: Directory, batch: str, boot_id: Optional[str], uptime: float, room: int) -> None:
        """Begin the pack of a batch of at most *room* bytes, below the directory of backups. Raise WriteError."""
        self.batch = batch_name(batch)
        self.directory = directory
        self.room = room
        self._name = "." + batch + _DRAFT
        self._at = self._written = 0
        self._pieces: List[bytes] = []
        self._fd = -1
        try:
            if batch + SUFFIX in directory.names():
                raise FileExistsError(errno.EEXIST, "there is one of that name")
            self._fd = directory.create(self._name)
            self._put(b"ipcops backup 1 %s %d\n" % ((boot_id or "-").encode("ascii"), uptime))
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error

    def __enter__(self) -> Draft:  # noqa: PYI034  # Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def add(self, saved: Saved) -> Tuple[int, str]:
        """Write an object; return where it begins and the checksum of all that is written of it.

        Raise ContentsError when it cannot be read or there is no room, and the pack is as before;
        WriteError when the pack cannot be written, and nothing is left of it.
        """
        start = self._at
        digest = hashlib.sha256()
        try:
            try:
                self._add(saved, digest.update)
            except ContentsError:
                self._back_to(start)
                raise
            finally:
                close = getattr(saved.parts, "close", None)
                if close is not None:
                    close()
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error
        return start, digest.hexdigest()

    def _add(self, saved: Saved, update: Callable[[bytes], None]) -> None:
        line = _line(saved.header)
        if len(line) > _HEADER_MOST:
            raise ContentsError("what is known of an object is too long for a backup")
        pieces = [line]
        for offset, data in saved.parts:
            pieces += [_FRAME.pack(offset, len(data)), data]
            if len(data) < _CHUNK:
                continue
            self._add_pieces(pieces, update)
            pieces = []
        pieces.append(_END)
        self._add_pieces(pieces, update)

    def _add_pieces(self, pieces: List[bytes], update: Callable[[bytes], None]) -> None:
        whole = b"".join(pieces)
        if self._at + len(whole) > self.room:
            raise ContentsError(
                "there is no room for its backup: all that is kept may take 'backup_bytes' of [clean]; raise it"
            )
        update(whole)
        self._put(whole)

    def _put(self, data: bytes) -> None:
        self._pieces.append(data)
        self._at += len(data)
        if self._at - self._written >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        if self._pieces:
            write_all(self._fd, b"".join(self._pieces))
            self._pieces = []
            self._written = self._at

    def _back_to(self, position: int) -> None:
        self._flush()
        os.ftruncate(self._fd, position)
        self._at = self._written = os.lseek(self._fd, position, os.SEEK_SET)

    def commit(self) -> None:
        """Let the pack last under its name. Raise WriteError, and nothing of it is left."""
        try:
            self._flush()
            os.fsync(self._fd)
            self.directory.rename(self._name, self.batch + SUFFIX)
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error
        try:
            self.directory.sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.directory.unlink(self.batch + SUFFIX)
            raise self._failed(error) from error
        finally:
            os.close(self._fd)
            self._fd = -1

    def abandon(self) -> None:
        """Leave nothing of a pack that has not got its name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):
                self.directory.unlink(self._name)

    def _failed(self, error: OSError) -> WriteError:
        return WriteError(
            "the backup '%s' cannot be written: %s; nothing was removed for which it was" % (self.batch, error.strerror)
        )


def _line(header: Dict[str, Any]) -> bytes:
    """Return the description of an object as a line of JSON."""
    row = header["row"]
    if "path" in row:
        return json.dumps(header).encode("ascii") + b"\n"
    return (_form(header["kind"], header["backup"], header["namespace"], tuple(row)) % tuple(row.values())).encode(
        "ascii"
    )


@functools.lru_cache(maxsize=16)
def _form(kind: str, kept: str, namespace: int, names: Tuple[str, ...]) -> str:
    """Return the line of a System V object with its numbers left open: 32,000 of them are told at a time."""
    start = json.dumps({"kind": kind, "backup": kept, "namespace": namespace})[:-1]
    return '%s, "row": {%s}}\n' % (start, ", ".join('"%s": %%d' % name for name in names))


def write_pack(
    directory: Directory, batch: str, saved: Iterable[Saved], boot_id: Optional[str], uptime: float, room: int
) -> Dict[int, Tuple[int, str]]:
    """Write all of these objects, or none, as one pack; return for each where it begins and its checksum.

    For the arguments and what is raised see :class:`Draft`.
    """
    with Draft(directory, batch, boot_id, uptime, room) as draft:
        places = {position: draft.add(one) for position, one in enumerate(saved)}
        draft.commit()
    return places


# ---------------------------------------------------------------- keeping


def room(directory: Directory, bounds: Bounds, kept: Collection[str]) -> int:
    """Return how many bytes the next pack may take beside those of *kept* batches. Raise OSError."""
    return bounds.max_bytes - sum(size for batch, size, _ in _packs(directory) if batch in kept)


def expire(directory: Directory, bounds: Bounds, clock: Clock, kept: Collection[str] = (), need: int = 0) -> List[str]:
    """Remove the packs that are too old, and the oldest while all and *need* take too much; return their batches.

    Those of *kept* batches stay. The age of a pack of this boot is time on the boot clock: a clock that
    jumps loses no backup of it. Drafts of runs that were killed go, too: the caller holds the lock.
    Raise OSError.
    """
    for name in directory.names():
        if name.startswith(".") and name.endswith(_DRAFT):
            directory.unlink(name)
    found = [(_age(directory, batch, modified, clock), batch, size) for batch, size, modified in _packs(directory)]
    total = need + sum(size for _, _, size in found)
    gone = []
    for age, batch, size in sorted(found, reverse=True):
        if batch not in kept and (age > bounds.max_age or total > bounds.max_bytes):
            directory.unlink(batch + SUFFIX)
            gone.append(batch)
            total -= size
    return gone


def _packs(directory: Directory) -> Iterator[Tuple[str, int, int]]:
    """Yield batch, bytes and mtime of every pack."""
    for name in directory.names():
        if name.endswith(SUFFIX) and _BATCH.match(name.removesuffix(SUFFIX)):
            with contextlib.suppress(FileNotFoundError):
                info = directory.info(name)
                if info.is_regular:
                    yield name.removesuffix(SUFFIX), info.size, info.mtime


def _age(directory: Directory, batch: str, modified: int, clock: Clock) -> float:
    found = _FIRST.match(directory.read_at(batch + SUFFIX, 0, _FIRST_MOST))
    if found and clock.boot_id is not None and found.group(1).decode("ascii") == clock.boot_id:
        return clock.uptime - int(found.group(2))
    return clock.now - modified


# ---------------------------------------------------------------- reading


class Entry(NamedTuple):
    """One object in a pack, whose checksum is right."""

    header: Header
    parts: Callable[[], Iterator[Tuple[int, bytes]]]
    """Yields offset and bytes, in pieces of at most 1 MiB."""


class Pack:
    """An open pack of ours."""

    def __init__(self, batch: str, fd: int, size: int) -> None:
        self.batch = batch
        self._fd = fd
        self._size = size

    def __enter__(self) -> Pack:  # noqa: PYI034  # Python 3.9 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _read(self, position: int, size: int) -> bytes:
        return os.pread(self._fd, size, position)

    def entry(self, offset: int, sha256: str) -> Entry:
        """Return the object at *offset*, if it is the one with this checksum. Raise BackupError."""
        place = "the backup %s:%d" % (self.batch, offset)
        try:
            found = scan(self._read, offset, self._size)
        except (OSError, ValueError) as error:
            raise BackupError("%s is damaged: %s" % (place, error)) from error
        if found.sha256 != sha256:
            raise BackupError("%s is damaged, or not ours: its checksum is not the one in the journal" % place)
        try:
            header = parse_header(found.header)
        except ValueError as error:
            raise BackupError("%s cannot be understood: %s" % (place, error)) from error
        return Entry(header, lambda: self._parts(found.frames))

    def _parts(self, frames: int) -> Iterator[Tuple[int, bytes]]:
        for offset, length, position in _frames(self._read, frames, self._size):
            for at in range(0, length, _CHUNK):
                yield offset + at, self._read(position + at, min(_CHUNK, length - at))


def find_pack(directory: str, word: str) -> Tuple[str, Optional[int]]:
    """Return path and, where one is named, offset of ``BATCH``, ``BATCH:OFFSET``, or of the path of a pack."""
    name, colon, number = word.rpartition(":")
    if not (colon and number.isascii() and number.isdigit() and len(number) < 19):
        name, number = word, ""
    path = name if "/" in name else os.path.join(directory, batch_name(name.removesuffix(SUFFIX)) + SUFFIX)
    return path, int(number) if number else None


def open_pack(path: str) -> Pack:
    """Open a pack. Raise BackupError unless it is a plain file of ours or root's that nobody else may read."""
    what = "'%s'" % path
    base = os.path.basename(path)
    if not base.endswith(SUFFIX):
        raise BackupError("%s is no backup: its name does not end in %s" % (what, SUFFIX))
    batch = batch_name(base.removesuffix(SUFFIX))
    try:
        fd = open_named(path)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise BackupError("the backup %s cannot be opened: %s" % (what, why)) from error
    info = os.fstat(fd)
    why = _no_backup(info, os.pread(fd, _FIRST_MOST, 0) if stat.S_ISREG(info.st_mode) else b"")
    if why:
        os.close(fd)
        raise BackupError("%s is not restored from: %s" % (what, why))
    return Pack(batch, fd, info.st_size)


def _no_backup(info: os.stat_result, begin: bytes) -> str:
    """Return why a file is no backup to be trusted, or nothing."""
    if not stat.S_ISREG(info.st_mode):
        return "it is no plain file"
    if info.st_uid not in (os.geteuid(), 0):
        return "it belongs to uid %d, not to you or root" % info.st_uid
    if info.st_mode & 0o077:
        return "others than its owner may open it (mode %04o)" % (info.st_mode & 0o7777)
    return "" if _FIRST.match(begin) else "it does not begin as a backup does"
