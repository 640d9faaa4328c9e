"""What an object holds, read so that it stays as it is: the bytes of a segment or a file, values, messages.

Holes stay holes. Reading a segment where it is mapped makes every page of it resident, which a
sparse segment of 1 TiB turns into the end of the host; a read(2) of the file behind it does not
(mm/shmem.c, shmem_file_read_iter). That file has no name but /proc/self/map_files, for
which it takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN (proc(5)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from .change import Change
from .collect.sysvipc import parse_table
from .errors import IpcopsError
from .fs import Roots, extended_attributes, page_size
from .model import SYSV_KINDS, Action
from .tuples import NamedTuple

CHANGED_BY_LOOKING: Mapping[str, Tuple[str, ...]] = {
    "shm": ("atime", "dtime", "lpid"),
    "sem": (),
    "msg": (),
    "posix-shm": ("atime",),
    "posix-sem": ("atime",),
    "posix-mq": (),
}
"""The columns of an object that :func:`save` may change by reading it."""

MESSAGE = struct.Struct("<qI")
"""What stands before each message of a saved queue: its type, and the length in bytes."""

_CHUNK = 1 << 20
_PAGES_AT_ONCE = 1 << 16
_MANY_PAGES = 1 << 22
"""So many pages (16 GiB) are asked one by one, for a user who may not open the file behind a segment."""
_IDENTITY = ("key", "cuid", "cgid", "cpid", "size", "nsems")
"""What no living object can change (IPC_RMID clears the key)."""

_KEPT_BY_THE_SYSTEM = "security."

Part = Tuple[int, bytes]


class ContentsError(IpcopsError):
    """One object cannot be backed up; others can."""


class Limits(NamedTuple):
    """How much of one object a backup may hold: bytes, and messages."""

    object_bytes: int
    messages: int


class Saved(NamedTuple):
    """An object to be written to a backup: what restores it, and its contents, read when they are asked for."""

    kind: str
    header: Dict[str, Any]
    """``kind``, ``backup``, ``namespace`` and ``row``: JSON can say it all."""
    parts: Iterator[Part]
    """Offset and bytes, in order, holes left out. Raises ContentsError, at any time."""


def save(change: Change, roots: Roots, action: Action, limits: Limits) -> Saved:
    """Return what brings an object back. Raise ContentsError where that cannot be had."""
    full = action.backup == "full"
    try:
        if action.kind in SYSV_KINDS:
            row: Dict[str, Any] = _row(change, action)
            source = {"shm": _segment, "sem": _values, "msg": _messages}[action.kind](change, roots, row, limits)
        elif action.kind == "posix-mq":
            row, source = _queue(action), iter(())
        else:
            row = _file_row(action)
            source = _file(roots, row, limits)
    except OSError as error:
        raise _unreadable(action.kind, action.id, action.path, error) from error
    header = {"kind": action.kind, "backup": action.backup, "namespace": action.namespace, "row": row}
    return Saved(action.kind, header, _explained(action, source) if full else iter(()))


def _explained(action: Action, source: Iterator[Part]) -> Iterator[Part]:
    try:
        yield from source
    except OSError as error:
        raise _unreadable(action.kind, action.id, action.path, error) from error


def _unreadable(kind: str, number: Optional[int], path: Optional[str], error: OSError) -> ContentsError:
    name = "%s:%s" % (kind, path if number is None else number)
    return ContentsError("%s cannot be backed up: %s" % (name, error.strerror or error))


def _row(change: Change, action: Action) -> Dict[str, int]:
    """Return the row of a System V object, if it is still the one that was looked at."""
    row = None if action.id is None else change.stat(action.kind, action.id)
    if row is None:
        raise ContentsError("%s:%s is gone" % (action.kind, action.id))
    for name in _IDENTITY:
        if name in row and action.expect.get(name, row[name]) != row[name]:
            raise ContentsError("%s:%d is another one now: its %s differs" % (action.kind, row["id"], name))
    return row


def _too_large(what: str, limit: int) -> ContentsError:
    return ContentsError(
        "%s holds more than the %d bytes of 'backup_object' in [clean]; "
        "raise it, or write 'backup = metadata' into its [remove] section" % (what, limit)
    )


def _chunks(fd: int, extents: List[Tuple[int, int]], base: int = 0) -> Iterator[Part]:
    """Yield the bytes of a file's extents, which are at *base* in the descriptor; what is cut off raises OSError."""
    for start, end in extents:
        at = start
        while at < end:
            data = os.pread(fd, min(_CHUNK, end - at), base + at)
            if not data:
                raise OSError(errno.ENODATA, "it became shorter while it was read")
            yield at, data
            at += len(data)


def _extents(fd: int, size: int, what: str, limit: int) -> List[Tuple[int, int]]:
    """Return start and end of each stretch of data in a file (lseek(2): SEEK_DATA)."""
    extents = []
    total = at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            raise
        if start >= size:
            break
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        extents.append((start, at))
        total += at - start
        if total > limit:
            raise _too_large(what, limit)
    return extents


# ---------------------------------------------------------------- segments


def _segment(change: Change, roots: Roots, row: Dict[str, int], limits: Limits) -> Iterator[Part]:
    what, size = "shm:%d" % row["id"], row["size"]
    if _setting(roots, "shm_rmid_forced"):
        # shm_close of ipc/shm.c: with this set, the last detach removes any segment.
        raise ContentsError("%s cannot be backed up: reading it would remove it, as kernel.shm_rmid_forced is 1" % what)
    limit = limits.object_bytes
    pages = -(-size // page_size())
    with contextlib.ExitStack() as held:
        with _attached(change, row["id"]) as address:
            try:
                fd = _file_behind(held, roots, address, pages)
            except PermissionError:
                extents = _in_core(change, roots, row, address, pages)
                if sum(end - start for start, end in extents) > limit:
                    raise _too_large(what, limit) from None
                # Through this file a broken page is an error, and not SIGBUS.
                with roots.proc.opened("self/mem") as memory:
                    yield from _chunks(memory, extents, address)
                return
        yield from _chunks(fd, _extents(fd, size, what, limit))


@contextlib.contextmanager
def _attached(change: Change, shmid: int) -> Iterator[int]:
    address = change.attach(shmid)
    try:
        yield address
    finally:
        change.detach(address)


def _file_behind(held: contextlib.ExitStack, roots: Roots, address: int, pages: int) -> int:
    """Open the file that is mapped at an address. Raise PermissionError for an ordinary user."""
    begin = "%x-" % address
    name = "self/map_files/%s%x" % (begin, address + pages * page_size())
    try:
        return held.enter_context(roots.proc.opened(name, follow=True))
    except FileNotFoundError:  # of huge pages: the mapping is longer than the segment
        found = [one for one in roots.proc.names("self/map_files") if one.startswith(begin)]
        if not found:
            raise
        return held.enter_context(roots.proc.opened("self/map_files/" + found[0], follow=True))


def _in_core(change: Change, roots: Roots, row: Dict[str, int], address: int, pages: int) -> List[Tuple[int, int]]:
    """Return the stretches of a segment that are in memory, where these are all there is of it.

    For who may not open the file. A hole and a page that is swapped out look the same, so what
    is found must be as much as the kernel counts, with nothing swapped out before and after.
    """
    what, page = "shm:%d" % row["id"], page_size()
    if pages > _MANY_PAGES:
        raise ContentsError("%s cannot be backed up: only root can, as it is so large and has holes" % what)
    extents = _asked(change, address, pages)
    if extents != [(0, pages * page)]:
        before = _resident_bytes(roots, row["id"])
        extents = _asked(change, address, pages)
        total = sum(end - start for start, end in extents)
        if not before == (total, 0) == _resident_bytes(roots, row["id"]):
            raise ContentsError(
                "%s cannot be backed up: only root can, while a part of it is swapped out or new" % what
            )
    return [(start, min(end, row["size"])) for start, end in extents]


def _asked(change: Change, address: int, pages: int) -> List[Tuple[int, int]]:
    """Return start and end of each stretch of pages in memory, in bytes from *address* on."""
    page = page_size()
    extents: List[Tuple[int, int]] = []
    for first in range(0, pages, _PAGES_AT_ONCE):
        flags = change.resident(address + first * page, min(_PAGES_AT_ONCE, pages - first))
        for at in (number for number, flag in enumerate(flags, first) if flag & 1):
            if extents and extents[-1][1] == at * page:
                extents[-1] = (extents[-1][0], (at + 1) * page)
            else:
                extents.append((at * page, (at + 1) * page))
    return extents


def _resident_bytes(roots: Roots, shmid: int) -> Optional[Tuple[int, int]]:
    """Return how many bytes of a segment are in memory and swapped out; ``None`` where the kernel does not count."""
    table, _ = parse_table("shm", roots.proc.read("sysvipc/shm"))
    if "rss" not in table or "swap" not in table or shmid not in table["id"]:
        return None
    at = table["id"].index(shmid)
    return table["rss"][at], table["swap"][at]


def _setting(roots: Roots, name: str) -> int:
    """Return a limit of our IPC namespace."""
    return int(roots.proc.read_record("sys/kernel/" + name))


# ---------------------------------------------------------------- sets and queues


def _values(change: Change, _: Roots, row: Dict[str, int], limits: Limits) -> Iterator[Part]:
    values = change.values(row["id"], row["nsems"])
    if len(values) > limits.object_bytes:
        raise _too_large("sem:%d" % row["id"], limits.object_bytes)
    yield 0, values


def _messages(change: Change, roots: Roots, row: Dict[str, int], limits: Limits) -> Iterator[Part]:
    """Copy the messages of a queue, none of which goes (MSG_COPY); its cost grows with the square of their number."""
    what, count = "msg:%d" % row["id"], row["qnum"]
    if not count:
        return
    if count > limits.messages:
        raise ContentsError(
            "%s holds %d messages, more than the %d of 'backup_messages' in [clean]" % (what, count, limits.messages)
        )
    if row["cbytes"] + count * MESSAGE.size > limits.object_bytes:
        raise _too_large(what, limits.object_bytes)
    longest = min(row["cbytes"], _setting(roots, "msgmax"))
    at, pieces, gathered, total = 0, [], 0, 0
    for position in range(count):
        kind, data = _copied(change, row["id"], position, longest)
        pieces += [MESSAGE.pack(kind, len(data)), data]
        gathered += MESSAGE.size + len(data)
        total += len(data)
        if gathered >= _CHUNK:
            yield at, b"".join(pieces)
            at, pieces, gathered = at + gathered, [], 0
    if total != row["cbytes"] or change.stat("msg", row["id"]) != row:
        raise ContentsError("%s cannot be backed up: it changed while it was copied" % what)
    yield at, b"".join(pieces)


def _copied(change: Change, msqid: int, position: int, longest: int) -> Tuple[int, bytes]:
    try:
        return change.copy_message(msqid, position, longest)
    except OSError as error:
        why = {
            errno.E2BIG: "a message is longer than kernel.msgmax (%d bytes) is now; raise that first" % longest,
            errno.ENOMSG: "it changed while it was copied",
            errno.ENOSYS: "this kernel cannot copy messages (it has no CONFIG_CHECKPOINT_RESTORE)",
        }.get(error.errno or 0, error.strerror)
        raise ContentsError("msg:%d cannot be backed up: %s" % (msqid, why)) from error


def _queue(action: Action) -> Dict[str, Any]:
    """Return the row of a POSIX queue. One that holds messages has no backup: they cannot be copied."""
    row = dict(action.expect)
    if row.get("curmsgs") != 0 or not row.get("maxmsg") or not row.get("msgsize"):
        raise ContentsError(
            "posix-mq:%s cannot be backed up: it holds messages, or whether it does could not be seen" % action.path
        )
    return {name: row[name] for name in ("path", "dev", "ino", "mode", "uid", "gid", "maxmsg", "msgsize")}


# ---------------------------------------------------------------- files


def _file_row(action: Action) -> Dict[str, Any]:
    return {name: action.expect[name] for name in ("path", "dev", "ino", "mode", "uid", "gid", "size", "nlink")}


def _file(roots: Roots, row: Dict[str, Any], limits: Limits) -> Iterator[Part]:
    path = str(row["path"])
    with roots.shm() as directory, directory.opened_quietly(path[1:]) as fd:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != (row["dev"], row["ino"]):
            raise ContentsError("%s is another file now" % path)
        if found.st_size != row["size"]:
            raise ContentsError("%s cannot be backed up: its size changes" % path)
        more = [name for name in extended_attributes(fd) if not name.startswith(_KEPT_BY_THE_SYSTEM)]
        if more:
            raise ContentsError("%s cannot be backed up: a backup would lose its %s" % (path, ", ".join(more)))
        yield from _chunks(fd, _extents(fd, found.st_size, path, limits.object_bytes))
