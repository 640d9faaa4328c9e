"""The only caller of the kernel that changes objects: System V calls and POSIX queues.

Like :mod:`kernel` it goes through syscall(2), so that an older C library knows no less than the
kernel. Every object is addressed by its id, never by its key. Every method raises OSError as the
kernel does, ENOSYS on a machine whose call numbers are not known. Numbers:
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (arm64).
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import struct
import sys
from itertools import repeat
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .tuples import NamedTuple

# include/uapi/linux/ipc.h, shm.h, sem.h and msg.h
_CREATE = 0o1000 | 0o2000
"""IPC_CREAT and IPC_EXCL: only something new."""
_NOWAIT = 0o4000
_RMID, _SET, _STAT = 0, 1, 2
_SHM_LOCK = 11
_STAT_ANY = {"shm": 15, "sem": 20, "msg": 13}
_GETALL, _GETNCNT, _GETZCNT, _SETALL = 13, 14, 15, 17
_SHM_NORESERVE = 0o10000
_SHM_RDONLY = 0o10000
_MSG_COPY = 0o40000
_INDEX_MASKS = ((1 << 15) - 1, (1 << 24) - 1)
"""How much of an id is the index: usually, and with the boot parameter ipcmni_extend (ipc/util.h)."""
_GONE = (errno.EINVAL, errno.EIDRM)


class _Machine(NamedTuple):
    """The numbers of the system calls."""

    shmget: int
    shmat: int
    shmctl: int
    shmdt: int
    semget: int
    semop: int
    semctl: int
    msgget: int
    msgsnd: int
    msgrcv: int
    msgctl: int
    mq_open: int
    mq_unlink: int
    mincore: int


_MACHINES = {
    "x86_64": _Machine(29, 30, 31, 67, 64, 65, 66, 68, 69, 70, 71, 240, 241, 27),
    "aarch64": _Machine(194, 196, 195, 197, 190, 193, 191, 186, 189, 188, 187, 180, 181, 232),
}

_RENAMEAT2 = {"x86_64": 316, "aarch64": 276}
_RENAME_NOREPLACE = 1
"""include/uapi/linux/fs.h"""

_PERM = "IIIIII24x"  # struct ipc64_perm: key, uid, gid, cuid, cgid, mode, and what nobody asks for
_NAMES = ("key", "uid", "gid", "cuid", "cgid", "mode")
_LAYOUTS = {
    "shm": (struct.Struct("=" + _PERM + "4q2iQ16x"), (*_NAMES, *"size atime dtime ctime cpid lpid nattch".split())),
    "msg": (
        struct.Struct("=" + _PERM + "3q3Q2i16x"),
        (*_NAMES, *"stime rtime ctime cbytes qnum qbytes lspid lrpid".split()),
    ),
}
_SEM_NAMES = (*_NAMES, "otime", "ctime", "nsems")
_SEM_LAYOUTS = {  # x86 keeps an unused word after each time
    "x86_64": struct.Struct("=" + _PERM + "q8xq8xQ16x"),
    "aarch64": struct.Struct("=" + _PERM + "2qQ16x"),
}
_OWNER = struct.Struct("=II")
_OWNER_AT, _MODE_AT, _QBYTES_AT = 4, 20, 88
_TYPE = struct.Struct("=q")

_PROTECTION_BITS = 0o777


class QueueLimits(NamedTuple):
    """What a POSIX queue holds at most: messages, and bytes in one."""

    maxmsg: int
    msgsize: int


class Change:
    """The system calls that change an object, and those that tell whether it is still the same."""

    def __init__(self) -> None:
        name = os.uname().machine
        known = sys.byteorder == "little" and sys.maxsize > 1 << 32
        self.machine = _MACHINES.get(name) if known else None
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.argtypes = [ctypes.c_long] * 6
        self._call.restype = ctypes.c_long
        # Without declared types each argument is an int or a buffer, which is converted in a third of the time.
        self._swift = ctypes.CDLL(None, use_errno=True).syscall
        self._layouts = dict(_LAYOUTS)
        if self.machine is not None:
            self._layouts["sem"] = (_SEM_LAYOUTS[name], _SEM_NAMES)
        self._buffer = ctypes.create_string_buffer(max(one.size for one, _ in self._layouts.values()))
        self._at = ctypes.addressof(self._buffer)
        # The kernel fills in as many as the set has: there is room, should the id have got a larger one meanwhile.
        self._values = array.array("H", bytes(2 << 16))
        self._message = ctypes.create_string_buffer(_TYPE.size)
        self._status: Dict[str, Tuple[Any, ...]] = {}
        """The number of each kind's call, and what follows the index to ask for its row."""
        if self.machine is not None:
            number = self.machine
            self._status["shm"] = (number.shmctl, _STAT_ANY["shm"], self._buffer, 0)
            self._status["sem"] = (number.semctl, 0, _STAT_ANY["sem"], self._buffer)
            self._status["msg"] = (number.msgctl, _STAT_ANY["msg"], self._buffer, 0)

    def _numbers(self) -> _Machine:
        if self.machine is None:
            raise OSError(errno.ENOSYS, "the system call numbers of this machine are not known")
        return self.machine

    def _checked(self, number: int, *arguments: int) -> int:
        result = int(self._call(number, *arguments, *(0,) * (5 - len(arguments))))
        if result == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def _control(self, kind: str, number: int, command: int, argument: int = 0) -> int:
        """Call shmctl(2), msgctl(2), or semctl(2) on a whole set."""
        machine = self._numbers()
        if kind == "sem":
            return self._checked(machine.semctl, number, 0, command, argument)
        return self._checked(machine.shmctl if kind == "shm" else machine.msgctl, number, command, argument)

    # ------------------------------------------------------------- looking

    def stat(self, kind: str, number: int) -> Optional[Dict[str, int]]:
        """Return the row of one System V object, named as in its table; ``None`` when there is no such id.

        First by its index, which needs no permission on the object (since Linux 4.17); then by its id,
        for which OSError EACCES is raised without read permission.
        """
        if not self._fill(kind, number):
            return None
        layout, names = self._layouts[kind]
        row = dict(zip(names, layout.unpack_from(self._buffer)))
        row["id"] = number
        return row

    def names(self, kind: str) -> Tuple[str, ...]:
        """Return the names of what :meth:`record` tells, in its order."""
        self._numbers()
        return self._layouts[kind][1]

    def record(self, kind: str, number: int) -> Optional[Tuple[int, ...]]:
        """Return what :meth:`stat` does, the id left out, in a fraction of the time."""
        call, one, two, three = self._status[kind]
        if self._swift(call, number & _INDEX_MASKS[0], one, two, three) != number and not self._fill(kind, number):
            return None
        return self._layouts[kind][0].unpack_from(self._buffer)

    def records(self, kind: str, numbers: Sequence[int]) -> List[Optional[Tuple[int, ...]]]:
        """Return the records of many objects; ``None`` where only :meth:`record` can tell."""
        machine, layout = self._numbers(), self._layouts[kind][0]
        slots = (ctypes.c_char * layout.size * len(numbers))()
        indices = [number & _INDEX_MASKS[0] for number in numbers]
        command, none = repeat(_STAT_ANY[kind]), repeat(0)
        # Without any Python for the single one of 32,000.
        if kind == "sem":
            found = map(self._swift, repeat(machine.semctl), indices, none, command, slots)
        else:
            call = machine.shmctl if kind == "shm" else machine.msgctl
            found = map(self._swift, repeat(call), indices, command, slots)
        same = [one == number for one, number in zip(list(found), numbers)]
        rows = layout.iter_unpack(memoryview(slots).cast("B"))
        return [row if right else None for row, right in zip(rows, same)]

    def _fill(self, kind: str, number: int) -> bool:
        """Fetch what the kernel keeps of an object; false when it is gone."""
        if number < 0:
            return False
        if self.machine is not None:  # whoever removes 32,000 objects comes here 64,000 times
            call, one, two, three = self._status[kind]
            for mask in _INDEX_MASKS:
                if self._swift(call, number & mask, one, two, three) == number:
                    return True
        try:
            self._control(kind, number, _STAT, self._at)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        return True

    def find(self, kind: str, key: int) -> Optional[int]:
        """Return the id of the object that has a key; ``None`` when it is free. Makes nothing."""
        machine = self._numbers()
        arguments = {"shm": (machine.shmget, 0, 0), "sem": (machine.semget, 0, 0), "msg": (machine.msgget, 0)}[kind]
        try:
            return self._checked(arguments[0], _signed(key), *arguments[1:])
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def waiters(self, semid: int, nsems: int) -> int:
        """Return how many threads wait for a semaphore of a set. EACCES without read permission."""
        semctl, call, found = self._numbers().semctl, self._swift, 0
        for number in range(nsems):
            for command in (_GETNCNT, _GETZCNT):
                count = call(semctl, semid, number, command)
                if count < 0:
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code))
                found += count
        return int(found)

    def values(self, semid: int, nsems: int) -> bytes:
        """Return the values of a set, two bytes each, little endian. EACCES without read permission."""
        if len(self._values) < nsems:
            self._values = array.array("H", bytes(2 * nsems))
        self._checked(self._numbers().semctl, semid, 0, _GETALL, self._values.buffer_info()[0])
        return self._values[:nsems].tobytes()

    def copy_message(self, msqid: int, position: int, size: int) -> Tuple[int, bytes]:
        """Return type and bytes of the message at a position, which stays in the queue (MSG_COPY of msgrcv(2)).

        ENOMSG when there are fewer, E2BIG when it is longer than *size*, ENOSYS without
        CONFIG_CHECKPOINT_RESTORE, EINVAL where kernel.msgmax is now less than its length.
        """
        if len(self._message) < _TYPE.size + size:
            self._message = ctypes.create_string_buffer(_TYPE.size + size)
        address = ctypes.addressof(self._message)
        got = self._checked(self._numbers().msgrcv, msqid, address, size, position, _MSG_COPY | _NOWAIT)
        return _TYPE.unpack_from(self._message)[0], ctypes.string_at(address + _TYPE.size, got)

    def resident(self, address: int, pages: int) -> bytes:
        """Return for each page from *address* on whether it is in memory: the lowest bit of a byte (mincore(2))."""
        flags = ctypes.create_string_buffer(pages)
        size = pages * os.sysconf("SC_PAGE_SIZE")
        self._checked(self._numbers().mincore, address, size, ctypes.addressof(flags))
        return flags.raw

    # ------------------------------------------------------------- removing and setting

    def remove_shm(self, shmid: int) -> None:
        """Remove a segment; one that is attached goes with its last attachment."""
        self._removed("shm", shmid)

    def remove_sem(self, semid: int) -> None:
        """Remove a set; whoever waits on it gets EIDRM."""
        self._removed("sem", semid)

    def remove_msg(self, msqid: int) -> None:
        """Remove a queue with the messages in it; whoever waits on it gets EIDRM."""
        self._removed("msg", msqid)

    def _removed(self, kind: str, number: int) -> None:
        self._numbers()
        if self._swift(self._status[kind][0], number, _RMID, _RMID) < 0:  # semctl(2) has it third
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def set_mode(self, kind: str, number: int, mode: int) -> None:
        """Set the permission bits of an object (IPC_SET); all else stays. EINVAL when it is gone."""
        self._refill(kind, number)
        struct.pack_into("=I", self._buffer, _MODE_AT, mode & _PROTECTION_BITS)
        self._control(kind, number, _SET, self._at)

    def set_owner(self, kind: str, number: int, uid: int, gid: int) -> None:
        """Give an object to another owner (IPC_SET); its creator stays, as all else."""
        self._refill(kind, number)
        _OWNER.pack_into(self._buffer, _OWNER_AT, uid, gid)
        self._control(kind, number, _SET, self._at)

    def set_qbytes(self, msqid: int, qbytes: int) -> None:
        """Set how many bytes a queue holds (IPC_SET); EPERM above kernel.msgmnb without CAP_SYS_RESOURCE."""
        self._refill("msg", msqid)
        struct.pack_into("=Q", self._buffer, _QBYTES_AT, qbytes)
        self._control("msg", msqid, _SET, self._at)

    def _refill(self, kind: str, number: int) -> None:
        if not self._fill(kind, number):
            raise OSError(errno.EINVAL, "there is no %s:%d any more" % (kind, number))

    # ------------------------------------------------------------- segments

    def attach(self, shmid: int, *, write: bool = False) -> int:
        """Attach a segment and return its address. Changes its atime, lpid and, on detaching, dtime."""
        address = self._call(self._numbers().shmat, shmid, 0, 0 if write else _SHM_RDONLY, 0, 0)
        if address == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(address)

    def lock(self, shmid: int) -> None:
        """Keep a segment in memory (SHM_LOCK of shmctl(2)). EPERM or ENOMEM beyond RLIMIT_MEMLOCK."""
        self._control("shm", shmid, _SHM_LOCK)

    def detach(self, address: int) -> None:
        """Detach the segment at an address."""
        self._checked(self._numbers().shmdt, address)

    # ------------------------------------------------------------- making

    def make_shm(self, key: int, size: int, mode: int, *, reserve: bool = True) -> int:
        """Make a segment and return its id; EEXIST when the key is taken.

        Without *reserve* the kernel promises no memory for it (SHM_NORESERVE of shmget(2)).
        """
        flags = _CREATE | mode & _PROTECTION_BITS | (0 if reserve else _SHM_NORESERVE)
        return self._checked(self._numbers().shmget, _signed(key), size, flags)

    def make_sem(self, key: int, nsems: int, mode: int) -> int:
        """Make a set of semaphores, all 0, and return its id; EEXIST when the key is taken."""
        return self._checked(self._numbers().semget, _signed(key), nsems, _CREATE | mode & _PROTECTION_BITS)

    def make_msg(self, key: int, mode: int) -> int:
        """Make an empty queue and return its id; EEXIST when the key is taken."""
        return self._checked(self._numbers().msgget, _signed(key), _CREATE | mode & _PROTECTION_BITS)

    def set_values(self, semid: int, values: bytes) -> None:
        """Set all semaphores of a set; *values* as :meth:`values` gives them. ERANGE for one that is too great."""
        words = array.array("H", values)
        self._checked(self._numbers().semctl, semid, 0, _SETALL, words.buffer_info()[0])

    def mark_used(self, semid: int, value: int) -> None:
        """Let a set have an otime without changing it; *value* is that of its first semaphore.

        Programs take a set without one for not yet initialised, and wait (semget(2), "Notes").
        """
        # struct sembuf: number, operation, flags. Down and up again, in one call; or wait for a 0 that is there.
        operations = [(0, -1, _NOWAIT), (0, 1, _NOWAIT)] if value else [(0, 0, _NOWAIT)]
        packed = b"".join(struct.pack("=Hhh", *one) for one in operations)
        buffer = ctypes.create_string_buffer(packed, len(packed))
        self._checked(self._numbers().semop, semid, ctypes.addressof(buffer), len(operations))

    def send(self, msqid: int, kind: int, data: bytes) -> None:
        """Put a message of a type into a queue; EAGAIN when it is full, EINVAL when longer than kernel.msgmax."""
        packed = _TYPE.pack(kind) + data
        buffer = ctypes.create_string_buffer(packed, len(packed))
        self._checked(self._numbers().msgsnd, msqid, ctypes.addressof(buffer), len(data), _NOWAIT)

    def make_queue(self, name: str, limits: QueueLimits) -> int:
        """Make a POSIX queue that nobody else may open yet; return its descriptor. EEXIST when the name is taken."""
        text = ctypes.create_string_buffer(os.fsencode(name))
        attributes = (ctypes.c_long * 8)(0, limits.maxmsg, limits.msgsize)  # struct mq_attr
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        number = self._numbers().mq_open
        return self._checked(number, ctypes.addressof(text), flags, 0o600, ctypes.addressof(attributes))

    def queue_status(self, name: str) -> Optional[os.stat_result]:
        """Return what fstat(2) says of a POSIX queue; ``None`` where there is none. EACCES without its permission."""
        text = ctypes.create_string_buffer(os.fsencode(name))
        try:
            fd = self._checked(self._numbers().mq_open, ctypes.addressof(text), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def remove_queue(self, name: str) -> None:
        """Remove the name of a POSIX queue."""
        text = ctypes.create_string_buffer(os.fsencode(name))
        self._checked(self._numbers().mq_unlink, ctypes.addressof(text))

    def rename_new(self, directory: int, old: str, new: str) -> None:
        """Rename a file within an open directory; EEXIST when the new name is taken (renameat2(2))."""
        self._numbers()
        names = [ctypes.create_string_buffer(os.fsencode(name)) for name in (old, new)]
        before, after = map(ctypes.addressof, names)
        self._checked(_RENAMEAT2[os.uname().machine], directory, before, directory, after, _RENAME_NOREPLACE)


def _signed(key: int) -> int:
    """Return a key as the C type key_t has it."""
    return key - (1 << 32) if key >= 1 << 31 else key
