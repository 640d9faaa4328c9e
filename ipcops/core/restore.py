"""Putting objects back from a pack: key, owner, mode, contents and, where the kernel lets it, the id.

Only into the places that their kinds live in, never over anything that is there, and each object whole
or not at all: it is made for us alone, filled, and only then gets its owner and mode. What cannot be
brought back is said: times, pids, undo values, huge pages, and without root the creator.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from .backup import BackupError, Entry, Header, Pack
from .change import Change, QueueLimits
from .contents import MESSAGE
from .fs import Directory, Roots, write_all
from .model import SHM_LOCKED, SYSV_KINDS
from .tuples import NamedTuple

_OURS = 0o600
"""The mode of what is being filled."""
_MODE = 0o777
_TAKEN_QUEUE = "its name is taken by another queue"
_MAKERS = {"shm": "shmget", "sem": "semget", "msg": "msgget", "posix-mq": "mq_open"}


class Restored(NamedTuple):
    """An object that is back; its id now, its row as it was saved, and what is not as it was."""

    kind: str
    id: Optional[int]
    key: Optional[int]
    path: Optional[str]
    was: Mapping[str, Any]
    notes: Tuple[str, ...]


class Refused(NamedTuple):
    """An object that was not put back, and why; nothing of it is left. Without a kind: nobody knows what it was."""

    kind: Optional[str]
    id: Optional[int]
    key: Optional[int]
    path: Optional[str]
    why: str


class RefusedError(Exception):
    """One object cannot be put back; the text says why."""


def restore(  # noqa: PLR0913  # what, from where, with what; and whether at all
    pack: Pack,
    sums: Mapping[Tuple[str, int], str],
    wanted: Callable[[str, Mapping[str, Any]], bool],
    change: Change,
    roots: Roots,
    offset: Optional[int] = None,
    *,
    make: bool = True,
) -> Tuple[List[Restored], List[Refused]]:
    """Put back the objects of a pack (the one at *offset*) that are *wanted* by kind and row.

    Without *make* tell what would come back, as far as that can be told without making it. *sums* is what the
    journal says: batch and offset to checksum. Raise BackupError when it knows no such backup.
    """
    places = sorted(
        (at, checksum) for (batch, at), checksum in sums.items() if batch == pack.batch and offset in (None, at)
    )
    if not places:
        which = pack.batch if offset is None else "%s:%d" % (pack.batch, offset)
        raise BackupError("the journal knows of no backup '%s', and only what it vouches for is put back" % which)
    restored: List[Restored] = []
    refused: List[Refused] = []
    for at, checksum in places:
        try:
            entry = pack.entry(at, checksum)
        except BackupError as error:
            refused.append(Refused(None, None, None, None, str(error)))
            continue
        kind, row = entry.header.kind, entry.header.row
        if not wanted(kind, row):
            continue
        try:
            number, notes = _put_back(entry, change, roots, make=make)
        except (RefusedError, ValueError) as error:
            refused.append(Refused(kind, row.get("id"), row.get("key"), row.get("path"), str(error)))
        except OSError as error:
            why = _why(kind, error)
            refused.append(Refused(kind, row.get("id"), row.get("key"), row.get("path"), why))
        else:
            restored.append(Restored(kind, number, row.get("key"), row.get("path"), row, tuple(notes)))
    return restored, refused


def _why(kind: str, error: OSError) -> str:
    text = "it could not be made: %s" % (error.strerror or error)
    if error.errno in (errno.ENOSPC, errno.EINVAL, errno.ENOMEM, errno.EMFILE) and kind in _MAKERS:
        text += "; 'ipcops explain %s' tells which limit is in the way" % _MAKERS[kind]
    return text


def _put_back(entry: Entry, change: Change, roots: Roots, *, make: bool) -> Tuple[Optional[int], List[str]]:
    """Put one object back; return its id and what is not as it was. Raise RefusedError, ValueError or OSError."""
    header = entry.header
    notes = []
    if header.backup != "full" and header.kind != "posix-mq":
        notes.append("its contents were not kept: its [remove] section says 'backup = metadata'")
    here = roots.proc.info("self/ns/ipc", follow=True).ino
    if header.namespace not in (0, here) and (header.kind in SYSV_KINDS or header.kind == "posix-mq"):
        notes.append("it was in IPC namespace %d, and is now in %d" % (header.namespace, here))
    if header.kind in SYSV_KINDS:
        one = _SystemV(entry, change, roots, notes)
        return (one.put_back() if make else one.check()), notes
    if header.kind == "posix-mq":
        _put_queue(header.row, change, make=make)
    else:
        _put_file(entry, roots, make=make)
    return None, notes


# ---------------------------------------------------------------- contents, pure


def in_order(parts: Iterator[Tuple[int, bytes]], size: int) -> Iterator[Tuple[int, bytes]]:
    """Yield the parts of something of a size. Raise ValueError when one lies outside of it or comes too early."""
    least = 0
    for offset, data in parts:
        if offset < least or offset + len(data) > size:
            raise ValueError("its backup has contents where it has no room for them")
        yield offset, data
        least = offset + len(data)


def together(parts: Iterator[Tuple[int, bytes]]) -> bytes:
    """Return contents that have no holes. Raise ValueError when they do."""
    pieces = []
    length = 0
    for offset, data in parts:
        if offset != length:
            raise ValueError("its backup has holes where there are none")
        pieces.append(data)
        length += len(data)
    return b"".join(pieces)


def parse_messages(data: bytes) -> List[Tuple[int, bytes]]:
    """Return type and bytes of each message of a saved queue. Raise ValueError."""
    messages = []
    at = 0
    while at < len(data):
        if len(data) - at < MESSAGE.size:
            raise ValueError("its backup ends within a message")
        kind, length = MESSAGE.unpack_from(data, at)
        at += MESSAGE.size
        if kind < 1 or length > len(data) - at:
            raise ValueError("its backup holds an impossible message")
        messages.append((kind, data[at : at + length]))
        at += length
    return messages


# ---------------------------------------------------------------- System V


class _SystemV:
    """One System V object on its way back."""

    def __init__(self, entry: Entry, change: Change, roots: Roots, notes: List[str]) -> None:
        self.header: Header = entry.header
        self.kind, self.row = self.header.kind, self.header.row
        self.parts = entry.parts
        self.change, self.roots, self.notes = change, roots, notes
        self.remove: Callable[[int], None] = getattr(change, "remove_" + self.kind)
        self.full = self.header.backup == "full"
        self.values = b""
        self.messages: List[Tuple[int, bytes]] = []
        self.unreserved = False

    def put_back(self) -> int:
        """Make the object and return its id."""
        self.check()
        number = self._made()
        try:
            getattr(self, "_fill_" + self.kind)(number)
            self.change.set_owner(self.kind, number, self.row["uid"], self.row["gid"])
            self.change.set_mode(self.kind, number, self.row["mode"] & _MODE)
        except BaseException:
            self.remove(number)
            raise
        if self.unreserved:
            self.notes.append("the kernel has promised no memory for it: there is not enough for all of it")
        now = self.change.stat(self.kind, number)
        if now is not None and self.row.get("cuid", now["cuid"]) != now["cuid"]:
            self.notes.append("its creator is uid %d now; it was uid %d" % (now["cuid"], self.row["cuid"]))
        return number

    def check(self) -> int:
        """Find what stands in the way before anything is made; return the id that is wished for."""
        row = self.row
        if row["key"]:
            holder = self.change.find(self.kind, row["key"])
            if holder is not None:
                raise RefusedError("its key 0x%08x is taken by %s" % (row["key"], self._described(holder)))
        elif self.change.stat(self.kind, row["id"]) is not None:
            # Without a key only its id leads to it: under another one nobody would find it.
            raise RefusedError("it has no key, and its id is taken by %s" % self._described(row["id"]))
        if self.kind == "shm" and int(self.roots.proc.read_record("sys/kernel/shm_rmid_forced")):
            raise RefusedError("kernel.shm_rmid_forced is 1: a segment that nobody has attached would go again at once")
        if self.kind == "sem" and self.full:
            self.values = together(self.parts())
            if len(self.values) != 2 * row["nsems"]:
                raise ValueError("its backup has not as many values as semaphores")
        elif self.kind == "msg" and self.full:
            self.messages = parse_messages(together(self.parts()))
            if (len(self.messages), sum(len(data) for _, data in self.messages)) != (row["qnum"], row["cbytes"]):
                raise ValueError("its backup has not the messages that it had")
        return int(row["id"])

    def _described(self, number: int) -> str:
        found = self.change.stat(self.kind, number)
        return "%s:%d%s" % (self.kind, number, " of uid %d" % found["uid"] if found else "")

    @contextlib.contextmanager
    def _as_creator(self) -> Iterator[None]:
        """Act as its creator while it is made: whoever makes an object is noted for good (ipc/util.c, ipc_addid)."""
        ours = os.geteuid(), os.getegid()
        if ours[0] == 0 and "cuid" in self.row and "cgid" in self.row:
            with contextlib.suppress(OSError, OverflowError):  # an id that this user namespace does not have
                os.setegid(self.row["cgid"])
                os.seteuid(self.row["cuid"])
        try:
            yield
        finally:
            os.seteuid(ours[0])
            os.setegid(ours[1])

    def _make(self, key: int) -> int:
        with self._as_creator():
            return self._create(key)

    def _create(self, key: int) -> int:
        row = self.row
        if self.kind == "sem":
            return self.change.make_sem(key, row["nsems"], _OURS)
        if self.kind == "msg":
            return self.change.make_msg(key, _OURS)
        if not self.unreserved:
            try:
                return self.change.make_shm(key, row["size"], _OURS)
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
        number = self.change.make_shm(key, row["size"], _OURS, reserve=False)
        self.unreserved = True
        return number

    def _made(self) -> int:
        """Make the empty object, with its old id if the kernel lets it."""
        wanted, setting = self.row["id"], "sys/kernel/%s_next_id" % self.kind
        if self._armed(setting):
            raise RefusedError(
                "another program is choosing ids at this moment (kernel.%s_next_id is set), and would lose its choice; "
                "try again" % self.kind
            )
        # One without the key shows that limits leave room: should the creation fail, the wish for an id
        # stays armed, and nothing takes it back but another creation (writing -1 does not, ipc/ipc_sysctl.c).
        self.remove(self._make(0))
        why = self._arm(setting, wanted)
        if why:
            self.notes.append("its id was %d; %s" % (wanted, why))
            return self._make(self.row["key"])
        try:
            number = self._make(self.row["key"])
        finally:
            self._disarm(setting)
        if number == wanted:
            return number
        self.remove(number)
        self.notes.append("its id was %d, and its place is taken" % wanted)
        return self._make(self.row["key"])

    def _arm(self, setting: str, wanted: int) -> str:
        """Wish for the id of the next object that is made; return what keeps us from it, or nothing."""
        try:
            with self.roots.proc.opened_to_write(setting) as fd:
                write_all(fd, b"%d\n" % wanted)
        except OSError as error:
            return "it cannot be chosen here: %s" % error.strerror
        return ""

    def _armed(self, setting: str) -> bool:
        try:
            return int(self.roots.proc.read_record(setting)) != -1
        except FileNotFoundError:  # a kernel without CONFIG_CHECKPOINT_RESTORE
            return False

    def _disarm(self, setting: str) -> None:
        """Let no other creator get the id that was wished for."""
        if self._armed(setting):
            try:
                self.remove(self._make(0))
            except OSError as error:
                name = setting.rpartition("/")[2]
                raise RefusedError(
                    "it could not be made (%s), and kernel.%s still holds its id, which the next one made will get"
                    % (error.strerror, name)
                ) from error

    def _fill_shm(self, number: int) -> None:
        row = self.row
        if self.full:
            address = self.change.attach(number, write=True)
            try:
                # Where there is no memory left, a write through this file is an error and not SIGBUS.
                with self.roots.proc.opened_to_write("self/mem") as memory:
                    for offset, data in in_order(self.parts(), row["size"]):
                        _write_at(memory, data, address + offset)
            finally:
                self.change.detach(address)
        if row["mode"] & SHM_LOCKED:
            try:
                self.change.lock(number)
            except OSError as error:
                self.notes.append("it was locked in memory, and is not: %s" % error.strerror)

    def _fill_sem(self, number: int) -> None:
        if self.full:
            self.change.set_values(number, self.values)
        if self.row["otime"]:
            first = array.array("H", self.values[:2])[0] if self.values else 0
            self.change.mark_used(number, first)

    def _fill_msg(self, number: int) -> None:
        # The limit may have been lowered when more was in the queue already.
        self._set_qbytes(number, max(self.row["qbytes"], self.row["cbytes"], self.row["qnum"]))
        for kind, data in self.messages:
            self.change.send(number, kind, data)
        self._set_qbytes(number, self.row["qbytes"])

    def _set_qbytes(self, number: int, qbytes: int) -> None:
        try:
            self.change.set_qbytes(number, qbytes)
        except PermissionError as error:
            raise RefusedError(
                "its capacity of %d bytes is above kernel.msgmnb; raise that, or have CAP_SYS_RESOURCE" % qbytes
            ) from error


def _write_at(fd: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, position)
        view = view[written:]
        position += written


# ---------------------------------------------------------------- files and POSIX queues


def _put_file(entry: Entry, roots: Roots, *, make: bool) -> None:
    row = entry.header.row
    name = row["path"][1:]
    with roots.shm() as directory:
        _check_free(directory, name)
        if not make:
            return
        fd = directory.create_unnamed()
        try:
            os.ftruncate(fd, row["size"])
            for offset, data in in_order(entry.parts(), row["size"]):
                _write_at(fd, data, offset)
            _give(fd, row)
            directory.give_name(fd, name)
        except FileExistsError:
            _check_free(directory, name)
            raise
        finally:
            os.close(fd)


def _check_free(directory: Directory, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = directory.info(name)
        raise RefusedError("its name is taken by a file of uid %d (inode %d)" % (found.uid, found.ino))


def _give(fd: int, row: Dict[str, Any]) -> None:
    """Give a file its owner and then its mode, of which chown(2) would take bits."""
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (row["uid"], row["gid"]):
        try:
            os.fchown(fd, row["uid"], row["gid"])
        except PermissionError as error:
            raise RefusedError("only root can give it to uid %d, gid %d" % (row["uid"], row["gid"])) from error
    os.fchmod(fd, row["mode"])


def _put_queue(row: Dict[str, Any], change: Change, *, make: bool) -> None:
    name = row["path"][1:]
    if not make:
        if change.queue_status(name) is not None:
            raise RefusedError(_TAKEN_QUEUE)
        return
    try:
        fd = change.make_queue(name, QueueLimits(row["maxmsg"], row["msgsize"]))
    except FileExistsError as error:
        raise RefusedError(_TAKEN_QUEUE) from error
    try:
        _give(fd, row)
    except BaseException:
        change.remove_queue(name)
        raise
    finally:
        os.close(fd)
