"""Which call gives which error for which reasons: the manual pages, and the kernel where it says more."""

from __future__ import annotations

import errno as numbers
from typing import Dict, Iterator, Optional, Tuple

from ..errors import InputError, unknown_word
from ..tuples import NamedTuple
from . import files, posix, sysv
from .cause import Cause, View
from .objects import READ, WRITE, Ask, memory, protected_regular, refused, request, taken


class Call(NamedTuple):
    """A system call: the kinds that it is about, and what may be behind each of its errors."""

    kinds: Tuple[str, ...]
    errors: Dict[str, Tuple[Ask, ...]]
    descriptors: bool = False
    """Whether what processes have open matters."""


_RETRY = request("a signal handler ran while the call waited", "call it again (SA_RESTART does not cover it)")
_REMOVED = request("the object was removed while the call waited", "find out which program removes it")
_ADDRESS = request("an address that was given is not one of the process", "mend the program")
_ABSENT = "no %s has that %s, and %s is not among the flags"
_LONG_NAME = request("the name has more than 255 bytes", "choose a shorter one")


def _absent(noun: str, word: str, flag: str, kind: str) -> Ask:
    remedy = "start the program that makes it first, or give %s; ipcops list %s shows what there is" % (flag, kind)
    return request(_ABSENT % (noun, word, flag), remedy)


CALLS: Dict[str, Call] = {
    "semget": Call(
        ("sem",),
        {
            "ENOSPC": (sysv.semmni, sysv.semmns),
            "EINVAL": (
                sysv.semmsl,
                request(
                    "nsems is 0 for a new set, or more than an existing set has", "ipcops list sem shows their sizes"
                ),
            ),
            "EACCES": (refused("sem", READ | WRITE, by_key=True),),
            "EEXIST": (taken("sem"),),
            "ENOENT": (_absent("set", "key", "IPC_CREAT", "sem"),),
            "ENOMEM": (memory,),
        },
    ),
    "shmget": Call(
        ("shm",),
        {
            "ENOSPC": (sysv.shmmni, sysv.shmall),
            "EINVAL": (
                sysv.shmmax,
                request(
                    "the size is 0 (SHMMIN is 1) for a new segment, or more than an existing one has; or SHM_HUGETLB"
                    " asks for a size of pages that there is not",
                    "ipcops list shm shows their sizes",
                ),
            ),
            "EACCES": (refused("shm", READ | WRITE, by_key=True),),
            "EEXIST": (taken("shm"),),
            "EPERM": (sysv.huge_right,),
            "ENOMEM": (sysv.promised, sysv.huge_pages, memory),
            "ENFILE": (files.file_max,),
            "ENOENT": (_absent("segment", "key", "IPC_CREAT", "shm"),),
        },
        descriptors=True,
    ),
    "msgget": Call(
        ("msg",),
        {
            "ENOSPC": (sysv.msgmni,),
            "EACCES": (refused("msg", READ | WRITE, by_key=True),),
            "EEXIST": (taken("msg"),),
            "ENOENT": (_absent("queue", "key", "IPC_CREAT", "msg"),),
            "ENOMEM": (memory,),
        },
    ),
    "semop": Call(
        ("sem",),
        {
            "E2BIG": (sysv.semopm,),
            "EAGAIN": (sysv.blocking,),
            "ERANGE": (sysv.semvmx,),
            "EFBIG": (
                request(
                    "sem_num is not below the number of semaphores of the set", "ipcops list sem shows how many it has"
                ),
            ),
            "EACCES": (refused("sem", WRITE, by_key=False),),
            "EINVAL": (
                request(
                    "there is no set with this id (any more), or no operation was given",
                    "ipcops list sem shows what there is; programs keep ids of sets that others remove",
                ),
            ),
            "EIDRM": (_REMOVED,),
            "EINTR": (_RETRY,),
            "EFAULT": (_ADDRESS,),
            "ENOMEM": (memory,),
        },
    ),
    "msgsnd": Call(
        ("msg",),
        {
            "EAGAIN": (sysv.msg_qbytes,),
            "EINVAL": (
                sysv.msgmax,
                request(
                    "there is no queue with this id (any more), or the type of the message is not above 0",
                    "ipcops list msg shows what there is",
                ),
            ),
            "EACCES": (refused("msg", WRITE, by_key=False),),
            "EIDRM": (_REMOVED,),
            "EINTR": (_RETRY,),
            "EFAULT": (_ADDRESS,),
            "ENOMEM": (memory,),
        },
    ),
    "mq_open": Call(
        ("posix-mq",),
        {
            "ENOSPC": (posix.queues_max,),
            "EMFILE": (posix.rlimit_msgqueue, files.rlimit_nofile),
            "EINVAL": (
                posix.msg_max,
                posix.msgsize_max,
                request("the name does not begin with a slash, or an attribute is below 1", "mend the program"),
            ),
            "EACCES": (
                refused("posix-mq", READ | WRITE, by_key=False),
                request("the name has a second slash", "choose another name"),
            ),
            "EEXIST": (taken("posix-mq"),),
            "ENFILE": (files.file_max,),
            "ENOENT": (_absent("queue", "name", "O_CREAT", "posix-mq"),),
            "ENAMETOOLONG": (_LONG_NAME,),
            "ENOMEM": (memory,),
        },
        descriptors=True,
    ),
    "shm_open": Call(
        ("posix-shm", "posix-sem"),
        {
            "ENOSPC": (posix.shm_inodes, posix.shm_bytes),
            "EMFILE": (files.rlimit_nofile,),
            "EACCES": (refused("posix-shm", READ | WRITE, by_key=False), protected_regular),
            "EEXIST": (taken("posix-shm"),),
            "EINVAL": (
                request("the name is empty or has a second slash", "choose another name"),
            ),
            "ENFILE": (files.file_max,),
            "ENOENT": (_absent("file in /dev/shm", "name", "O_CREAT", "posix-shm"),),
            "ENAMETOOLONG": (_LONG_NAME,),
            "ELOOP": (request("the name is a symbolic link", "remove it (ls -l /dev/shm), or choose another name"),),
            "ENOMEM": (memory,),
        },
        descriptors=True,
    ),
    "pipe": Call(
        ("pipe",),
        {
            "EMFILE": (files.rlimit_nofile_two,),
            "ENFILE": (files.pipe_hard, files.file_max, files.pipe_soft),
            "EINVAL": (request("pipe2 was given a flag that this kernel does not know", "mend the program"),),
            "EFAULT": (_ADDRESS,),
            "ENOPKG": (
                request("O_NOTIFICATION_PIPE needs a kernel with CONFIG_WATCH_QUEUE", "do without, or change kernels"),
            ),
        },
        descriptors=True,
    ),
    "fcntl": Call(
        ("pipe",),
        {
            "EPERM": (
                files.pipe_max_size,
                files.pipe_grow,
                request(
                    "F_SETFL clears O_APPEND of an append-only file or sets O_NOATIME on somebody else's, or"
                    " F_ADD_SEALS is for a file that is sealed or not open for writing",
                    "mend the program",
                ),
            ),
            "EMFILE": (files.rlimit_nofile,),
            "EINVAL": (
                files.dup_most,
                request(
                    "F_SETPIPE_SZ asks for more than 2 GiB, or the command is not one that this kernel or file knows",
                    "ask for less, or mend the program",
                ),
            ),
            "EBUSY": (files.pipe_filled,),
            "EAGAIN": (
                request(
                    "somebody holds a lock that conflicts (F_SETLK), or has the file open (F_SETLEASE)",
                    "ipcops list lock names the holders",
                ),
            ),
            "EACCES": (
                request(
                    "F_SETLEASE on somebody else's file without CAP_LEASE; for locks Linux gives EAGAIN instead",
                    "for locks: ipcops list lock names the holders",
                ),
            ),
            "EDEADLK": (
                request(
                    "F_SETLKW would wait for a process that waits, over others or not, for this one",
                    "take locks in one order everywhere; ipcops list lock names holders and waiters",
                ),
            ),
            "ENOLCK": (
                request(
                    "the file is on a network file system whose lock service does not answer, or kernel memory is short"
                    " (RLIMIT_LOCKS has no effect since Linux 2.4.25)",
                    "check the file server's lock service",
                ),
            ),
            "ENOMEM": (memory,),
            "EBADF": (
                request(
                    "the descriptor is not open, or a read lock is asked for one that is not open for reading, or a"
                    " write lock for one that is not open for writing",
                    "mend the program",
                ),
            ),
            "EINTR": (_RETRY,),
            "EFAULT": (_ADDRESS,),
            "ENOTDIR": (request("F_NOTIFY asks for something else than a directory", "mend the program"),),
        },
        descriptors=True,
    ),
}
"""Every call that is explained, by the errors it can give; the commoner ones first."""

CLOSEST: Tuple[Ask, ...] = (
    sysv.semmni,
    sysv.semmns,
    sysv.shmmni,
    sysv.shmall,
    sysv.msgmni,
    sysv.msg_qbytes,
    posix.queues_max,
    posix.rlimit_msgqueue,
    posix.shm_inodes,
    posix.shm_bytes,
    files.rlimit_nofile,
    files.file_max,
    files.pipe_soft,
    files.pipe_hard,
)
"""What asks for the limits of what may exist at once, whatever the call."""


def checked(call: Optional[str], errno: Optional[str]) -> Tuple[Optional[str], Optional[str]]:
    """Return a call and an error as they are named here. Raise InputError with the nearest word.

    The error may be a number, and any name that this system has for it.
    """
    if call is None:
        return None, None
    if call not in CALLS:
        raise unknown_word("call", call, CALLS)
    if errno is None:
        return call, None
    known = CALLS[call].errors
    codes = {name: getattr(numbers, name) for name in dir(numbers) if name.startswith("E")}
    same = [name for name in codes if errno == str(codes[name])]  # EDEADLK is EDEADLOCK, too
    word = min(same, key=len) if same else errno.upper()
    if word not in codes:
        raise unknown_word("error", errno, known)
    found = next((name for name in known if codes[name] == codes[word]), None)
    if found is None:
        never = "%s never gives %s by itself, though a seccomp filter may; it gives %s"
        raise InputError(never % (call, word, ", ".join(known)))
    return call, found


def causes_of(view: View, call: str, errno: Optional[str]) -> Iterator[Cause]:
    """Yield what makes a call fail, with one error or with any."""
    for name, asks in CALLS[call].errors.items():
        if errno in (None, name):
            for ask in asks:
                for cause in ask(view):
                    yield cause._replace(errno=name if cause.fails else None)


def closest(view: View) -> Iterator[Tuple[Cause, Tuple[str, ...]]]:
    """Yield every limit of what may exist at once, and the calls that it makes fail."""
    for ask in CLOSEST:
        alike = (ask, files.rlimit_nofile_two) if ask is files.rlimit_nofile else (ask,)
        found = [
            (call, errno)
            for call, one in CALLS.items()
            for errno, asks in one.errors.items()
            if not set(alike).isdisjoint(asks)
        ]
        for cause in ask(view):
            if cause.max is not None or cause.state == "unknown":
                yield cause._replace(errno=found[0][1] if cause.fails else None), tuple(call for call, _ in found)


def kinds_of(call: Optional[str]) -> Tuple[str, ...]:
    """Return the kinds that have to be looked at; without a call all that have limits."""
    if call is not None:
        return CALLS[call].kinds
    return tuple(dict.fromkeys(kind for one in CALLS.values() for kind in one.kinds))
