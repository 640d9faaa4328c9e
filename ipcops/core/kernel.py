"""The only caller of the kernel beyond files: system calls without a Python function.

Single calls go through syscall(2) and not through the C library's wrappers: these pass the
argument on only for the commands they know, and an older library does not know the
``*_STAT_ANY`` ones. The sweeps over whole tables do take the wrappers, which are a quarter
faster; where one does not know the command, the sums disagree and the text is read. Numbers:
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (arm64). Nothing
here changes an object.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import stat
import struct
import sys
from itertools import compress, repeat
from typing import Dict, List, Optional, Sequence, Tuple

from .model import Semaphores
from .tuples import NamedTuple

# Commands, from the headers ipc.h, sem.h and msg.h of include/uapi/linux.
_IPC_STAT = 2
_MSG_INFO, _MSG_STAT_ANY = 12, 13
_GETPID, _GETALL, _GETNCNT, _GETZCNT = 11, 13, 14, 15
_SHM_INFO = 14
_SEM_INFO, _SEM_STAT_ANY = 19, 20
# include/uapi/linux/mount.h
_FSCONFIG_CMD_CREATE = 6
# include/uapi/linux/kcmp.h
_KCMP_FILES = 2
_CLOEXEC = 1
# include/uapi/linux/netlink.h and sock_diag.h
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_NLM_F_REQUEST, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 1, 0x10, 0x300
_NLMSG_ERROR, _NLMSG_DONE, _NLMSG_OVERRUN = 2, 3, 4
_NLMSGHDR = struct.Struct("=IHHII")  # length with this header, type, flags, sequence number, port
_DUMP_BUFFER = 1 << 16
"""The kernel fills at most 32 KiB at a time (netlink_recvmsg of net/netlink/af_netlink.c)."""
_DUMP_TRIES = 5
_DUMP_SECONDS = 5.0
_SUN_PATH = 108
"""Bytes that the address of a Unix socket has room for (unix(7)); a path may be longer."""


class _Machine(NamedTuple):
    """What differs between machines: call numbers, and offsets in ``struct semid64_ds``."""

    semctl: int
    msgctl: int
    shmctl: int
    mq_getsetattr: int
    kcmp: int
    setns: int
    sem_size: int
    sem_ctime: int
    sem_nsems: int


_MACHINES = {
    "x86_64": _Machine(66, 71, 31, 245, 312, 308, sem_size=104, sem_ctime=64, sem_nsems=80),
    "aarch64": _Machine(191, 187, 195, 185, 272, 268, sem_size=88, sem_ctime=56, sem_nsems=64),
}
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on every machine
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438

# struct ipc64_perm and struct msqid64_ds, 64-bit little endian (include/uapi/asm-generic)
_PERM = {"key": 0, "uid": 4, "gid": 8, "cuid": 12, "cgid": 16, "mode": 20}
_SEM_OTIME = 48
_MSG_SIZE = 120
_MSG_WORDS = {"stime": 48, "rtime": 56, "ctime": 64, "cbytes": 72, "qnum": 80, "qbytes": 88}
_MSG_PIDS = {"lspid": 96, "lrpid": 100}

_INT_MAX = (1 << 31) - 1
_PAGE = os.sysconf("SC_PAGE_SIZE")

Columns = Dict[str, Sequence[int]]


class Usage(NamedTuple):
    """What ``*_INFO`` counts: the highest index in use, the objects, and their parts."""

    highest: int
    objects: int
    parts: int
    bytes: int = 0
    """Of messages."""


class Kernel:
    """The system calls of this machine; on a machine that is not known, all answers are ``None``."""

    def __init__(self) -> None:
        known = sys.byteorder == "little" and sys.maxsize > 1 << 32
        self.machine = _MACHINES.get(os.uname().machine) if known else None
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.argtypes = [ctypes.c_long] * 6
        self._call.restype = ctypes.c_long
        # These calls never sleep, so they need not let go of the interpreter 32,000 times.
        library = ctypes.PyDLL(None, use_errno=True)
        self._swift = library.syscall
        self._swift.argtypes = [ctypes.c_long] * 6
        self._swift.restype = ctypes.c_long
        self._semctl, self._msgctl = library.semctl, library.msgctl
        self._semctl.argtypes = [ctypes.c_int] * 3 + [ctypes.c_long]
        self._msgctl.argtypes = [ctypes.c_int] * 2 + [ctypes.c_long]

    def _checked(self, number: int, *arguments: int) -> int:
        padded = arguments + (0,) * (5 - len(arguments))
        result = int(self._call(number, *padded))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def shares_files(self, one: int, other: int) -> Optional[bool]:
        """Return whether two threads use one table of descriptors; ``None`` where the kernel does not tell."""
        if self.machine is None:
            return None
        order = self._swift(self.machine.kcmp, one, other, _KCMP_FILES, 0, 0)
        return None if order < 0 else bool(order == 0)

    def enter(self, namespace: int) -> None:
        """Move the calling thread into the namespace behind a descriptor (setns(2)). Raise OSError."""
        if self.machine is None:
            raise OSError(errno.ENOSYS, "the system call numbers of this machine are not known")
        self._checked(self.machine.setns, namespace, 0)

    def process_descriptor(self, pid: int) -> int:
        """Return a descriptor that means this very process (pidfd_open(2)). Raise OSError."""
        return self._checked(_PIDFD_OPEN, pid, 0)

    def descriptor_of(self, process: int, number: int) -> int:
        """Return a copy of a descriptor of another process (pidfd_getfd(2)). Raise OSError."""
        copy = int(self._swift(_PIDFD_GETFD, process, number, 0, 0, 0))
        if copy < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return copy

    def socket_domain(self, process: int, number: int) -> int:
        """Return the address family of a socket of another process, through a copy of its descriptor. Raise OSError."""
        from _socket import SO_DOMAIN, SOL_SOCKET, socket  # most looks ask no socket

        copy = socket(fileno=self.descriptor_of(process, number))
        try:
            return copy.getsockopt(SOL_SOCKET, SO_DOMAIN)
        finally:
            copy.close()

    # ------------------------------------------------------------- counters

    def counters(self, kind: str) -> Optional[Dict[str, int]]:
        """Return what the kernel itself counts of ``shm``, ``sem`` or ``msg`` in our namespace. Raise OSError.

        By SHM_INFO, SEM_INFO and MSG_INFO: the IPC_INFO of the same structures has limits in the same fields.
        Bytes of messages are left out where they do not fit the kernel's int (ipc/msg.c, msgctl_info).
        """
        if self.machine is None:
            return None
        if kind == "shm":
            info = (ctypes.c_ulong * 6)()  # struct shm_info, whose first field is an int
            self._checked(self.machine.shmctl, 0, _SHM_INFO, ctypes.addressof(info))
            return {
                "shm_segments": info[0] & 0xFFFFFFFF,
                "shm_pages": info[1],
                "shm_resident_bytes": info[2] * _PAGE,
                "shm_swapped_bytes": info[3] * _PAGE,
            }
        usage = self.sem_usage() if kind == "sem" else self.msg_usage()
        if usage is None:
            return None
        if kind == "sem":
            return {"sem_sets": usage.objects, "sem_semaphores": usage.parts}
        counted = {"msg_queues": usage.objects, "msg_messages": usage.parts}
        return {**counted, "msg_bytes": usage.bytes} if usage.bytes < _INT_MAX else counted

    # ------------------------------------------------------------- semaphores

    def sem_usage(self) -> Optional[Usage]:
        """Return SEM_INFO: sets and semaphores in use in our namespace. Raise OSError."""
        if self.machine is None:
            return None
        info = (ctypes.c_int * 10)()  # struct seminfo
        highest = self._checked(self.machine.semctl, 0, 0, _SEM_INFO, ctypes.addressof(info))
        return Usage(highest, info[7], info[9])

    def sem_table(self) -> Optional[Columns]:
        """Return the columns of all sets by one SEM_STAT_ANY per index, or ``None``.

        ``None`` where the kernel does not know the command (before 4.17), where an answer was
        refused, or where the sum does not agree with SEM_INFO: then the text table is right.
        """
        usage = self.sem_usage()
        if usage is None or self.machine is None:
            return None
        machine = self.machine
        count, size = usage.highest + 1, machine.sem_size
        buffer = bytearray(size * count)
        ids = list(map(self._semctl, range(count), repeat(0), repeat(_SEM_STAT_ANY), _slots(buffer, size)))
        columns = _columns(
            buffer,
            size,
            {"otime": _SEM_OTIME, "ctime": machine.sem_ctime, "nsems": machine.sem_nsems},
            {},
        )
        columns = _without_holes(ids, columns)
        agrees = len(columns["id"]) == usage.objects and sum(columns["nsems"]) == usage.parts
        return columns if agrees else None

    def semaphores(self, semid: int, nsems: int) -> Semaphores:
        """Return value, last pid and waiter counts of each semaphore of a set.

        Raise OSError: EACCES without read permission on the set, EINVAL or EIDRM when it is
        gone, ENOSYS on a machine whose call numbers are not known.
        """
        if self.machine is None:
            raise OSError(errno.ENOSYS, "the system call numbers of this machine are not known")
        semctl, call = self.machine.semctl, self._checked
        values = array.array("H", bytes(2 * nsems))
        call(semctl, semid, 0, _GETALL, values.buffer_info()[0])
        numbers = range(nsems)
        return Semaphores(
            tuple(values),
            tuple(call(semctl, semid, number, _GETPID) for number in numbers),
            tuple(call(semctl, semid, number, _GETNCNT) for number in numbers),
            tuple(call(semctl, semid, number, _GETZCNT) for number in numbers),
        )

    # ------------------------------------------------------------- queues

    def msg_usage(self) -> Optional[Usage]:
        """Return MSG_INFO: queues and messages in our namespace. Raise OSError."""
        if self.machine is None:
            return None
        info = (ctypes.c_int * 8)()  # struct msginfo
        highest = self._checked(self.machine.msgctl, 0, _MSG_INFO, ctypes.addressof(info))
        return Usage(highest, info[0], info[1], info[6])

    def msg_table(self) -> Optional[Columns]:
        """Return the columns of all queues by one MSG_STAT_ANY per index, or ``None`` (see sem_table)."""
        usage = self.msg_usage()
        if usage is None or self.machine is None:
            return None
        count = usage.highest + 1
        buffer = bytearray(_MSG_SIZE * count)
        ids = list(map(self._msgctl, range(count), repeat(_MSG_STAT_ANY), _slots(buffer, _MSG_SIZE)))
        columns = _without_holes(ids, _columns(buffer, _MSG_SIZE, _MSG_WORDS, _MSG_PIDS))
        modes = set(columns["mode"])
        agrees = len(columns["id"]) == usage.objects and all(mode < 1 << 16 for mode in modes)
        return columns if agrees else None

    def msg_qbytes(self, msqids: Sequence[int]) -> List[Optional[int]]:
        """Return the size limit in bytes of each queue; ``None`` where it may not be read or is gone."""
        if self.machine is None:
            return [None] * len(msqids)
        buffer = ctypes.create_string_buffer(_MSG_SIZE)
        address, number, call = ctypes.addressof(buffer), self.machine.msgctl, self._call
        # MSG_STAT_ANY takes an index, the low 15 (or 24) bits of an id, and answers the id.
        view = ctypes.c_long.from_buffer(buffer, _MSG_WORDS["qbytes"])
        results: List[Optional[int]] = []
        for msqid in msqids:
            found = -1
            for bits in (15, 24):
                found = call(number, msqid & ((1 << bits) - 1), _MSG_STAT_ANY, address, 0, 0)
                if found == msqid:
                    break
            if found != msqid and call(number, msqid, _IPC_STAT, address, 0, 0) == 0:
                found = msqid
            results.append(view.value if found == msqid else None)
        return results

    # ------------------------------------------------------------- POSIX queues

    def queue_attributes(self, fd: int) -> Optional[Tuple[int, int, int]]:
        """Return (maxmsg, msgsize, curmsgs) of an open queue file; changes no time of it.

        mq_getsetattr(2) works on a plain descriptor. Raise OSError.
        """
        if self.machine is None:
            return None
        attributes = (ctypes.c_long * 8)()  # struct mq_attr
        self._checked(self.machine.mq_getsetattr, fd, 0, ctypes.addressof(attributes))
        return attributes[1], attributes[2], attributes[3]

    def mqueue_directory(self) -> int:
        """Return a descriptor of our IPC namespace's queues, mounted nowhere.

        fsopen(2) and fsmount(2) make a mount that no mount table shows and that goes with
        the descriptor. Raise OSError: EPERM without CAP_SYS_ADMIN, ENODEV without mqueue,
        ENOSYS before Linux 5.2.
        """
        name = ctypes.create_string_buffer(b"mqueue")
        context = self._checked(_FSOPEN, ctypes.addressof(name), _CLOEXEC)
        try:
            self._checked(_FSCONFIG, context, _FSCONFIG_CMD_CREATE)
            place = self._checked(_FSMOUNT, context, _CLOEXEC)
        finally:
            os.close(context)
        try:  # a mount's descriptor is an O_PATH one, which cannot be listed
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
        finally:
            os.close(place)

    # ------------------------------------------------------------- sockets

    def sock_diag(self, family: int, request: bytes) -> List[bytes]:
        """Return what the kernel lists of the sockets in our network namespace: a payload for each.

        sock_diag(7). *request* is what follows the first byte, the family, in the family's
        request structure. Raise OSError: ENOENT or EPROTONOSUPPORT where this kernel cannot
        list them, EBUSY when the list changed during every try, ETIMEDOUT.
        """
        size = _NLMSGHDR.size + 1 + len(request)
        header = _NLMSGHDR.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
        message = header + bytes((family,)) + request
        for _ in range(_DUMP_TRIES):
            payloads = self._dump(message)
            if payloads is not None:
                return payloads
        raise OSError(errno.EBUSY, "the list changed while it was read, %d times" % _DUMP_TRIES)

    def _dump(self, message: bytes) -> Optional[List[bytes]]:
        """Return the payloads that answer one request; ``None`` where the kernel calls the list torn."""
        import _socket  # what `socket` adds takes longer to load than a list to read

        port = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        try:
            port.settimeout(_DUMP_SECONDS)
            port.sendto(message, (0, 0))
            payloads: List[bytes] = []
            whole, more = True, True
            while more:
                part = parse_dump(port.recv(_DUMP_BUFFER))
                payloads += part.payloads
                whole = whole and not part.torn
                more = not part.last
        except _socket.timeout as error:
            raise OSError(errno.ETIMEDOUT, "the kernel gave no answer in %d s" % _DUMP_SECONDS) from error
        finally:
            port.close()
        return payloads if whole else None

    def probe_unix(self, path: str) -> str:
        """Return whether a socket is bound to the file at *path*: ``bound`` or ``nobody``.

        It asks by a connect(2) that can never succeed, so that no server learns of it, in
        whichever network namespace it is. A seqpacket socket that has a peer already is told
        EPROTOTYPE where a stream or datagram socket is bound. Where a seqpacket socket listens
        it is told EISCONN or, with a full queue, EAGAIN: it makes no connection, but the
        file's atime changes. What is left to find is a seqpacket socket that does not listen,
        for which a datagram socket is the wrong type (unix_stream_connect and unix_find_bsd of
        net/unix/af_unix.c). Connections whose listener is closed do not count: nobody can
        connect any more.

        Raise OSError with what keeps it from telling: EACCES without write permission, ENOENT
        when the file is gone, ENOTSOCK when it is none.
        """
        import _socket

        file = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISSOCK(os.fstat(file).st_mode):
                raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
            address = path if len(os.fsencode(path)) < _SUN_PATH else "/proc/self/fd/%d" % file
            taken, peer = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            datagram = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
            try:
                for one in (taken, datagram):
                    one.settimeout(0)
                    answer = one.connect_ex(address)
                    if answer in (errno.EPROTOTYPE, errno.EISCONN, errno.EAGAIN):
                        return "bound"
                    if answer != errno.ECONNREFUSED:
                        raise OSError(answer, os.strerror(answer))
            finally:
                for one in (taken, peer, datagram):
                    one.close()
        finally:
            os.close(file)
        return "nobody"


class Dump(NamedTuple):
    """What one message buffer of a netlink dump holds."""

    payloads: List[bytes]
    last: bool
    torn: bool
    """Whether the list changed meanwhile, so that something may be missing."""


def parse_dump(data: bytes) -> Dump:
    """Return the payloads of the messages in *data*, netlink(7).

    Raise OSError with the error that the kernel reports there, EBADMSG where it makes no sense.
    """
    payloads: List[bytes] = []
    torn = last = False
    at, end = 0, len(data)
    while not last and (at < end or not data):
        if end - at < _NLMSGHDR.size:
            raise OSError(errno.EBADMSG, "a netlink message is cut off")
        size, kind, flags, _, _ = _NLMSGHDR.unpack_from(data, at)
        if not _NLMSGHDR.size <= size <= end - at:
            raise OSError(errno.EBADMSG, "a netlink message has no possible length")
        payload = data[at + _NLMSGHDR.size : at + size]
        torn = torn or bool(flags & _NLM_F_DUMP_INTR)
        if kind == _SOCK_DIAG_BY_FAMILY:
            payloads.append(payload)
        elif kind == _NLMSG_OVERRUN:
            torn = True
        elif kind in (_NLMSG_ERROR, _NLMSG_DONE):
            # Both begin with a negative error number; 0 and, of old, nothing say that all is well.
            code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
            if code > 0:
                raise OSError(code, os.strerror(code))
            last = True
        at += (size + 3) & ~3
    return Dump(payloads, last, torn)


def _slots(buffer: bytearray, size: int) -> range:
    """Return the address of each record in *buffer*, for a ``map`` that runs no Python per object."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    return range(address, address + len(buffer), size)


def _columns(
    buffer: bytearray, size: int, words: Dict[str, int], halves: Dict[str, int]
) -> Dict[str, Sequence[int]]:
    """Return the fields of the records in *buffer* as strided views: 8-byte words, 4-byte halves."""
    as_words = memoryview(buffer).cast("q")
    as_halves = memoryview(buffer).cast("I")
    columns: Dict[str, Sequence[int]] = {}
    for name, offset in {**_PERM, **halves}.items():
        columns[name] = as_halves[offset // 4 :: size // 4]
    for name, offset in words.items():
        columns[name] = as_words[offset // 8 :: size // 8]
    return columns


def _without_holes(ids: List[int], columns: Dict[str, Sequence[int]]) -> Columns:
    """Leave out the indices that no object has."""
    if not ids or min(ids) >= 0:
        return {"id": ids, **columns}
    used = [one >= 0 for one in ids]
    full: Columns = {"id": list(compress(ids, used))}
    for name, column in columns.items():
        full[name] = list(compress(column, used))
    return full
