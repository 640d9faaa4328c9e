"""Size, fill and creator of a pipe, asked through a copy of its holder's own descriptor.

pidfd_getfd(2) gives another name for the same open file, so nobody becomes a reader or writer of
the pipe: opening /proc/PID/fd/N would make one, and change when others see its end (pipe(7)). Were
the holder to close its last descriptor just then, the end would come when ours is closed, microseconds
later; so it is closed at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from typing import Iterator, Optional

from ..kernel import Kernel
from ..tuples import NamedTuple

_F_GETPIPE_SZ = 1032  # include/uapi/linux/fcntl.h
_FIONREAD = 0x541B  # include/uapi/asm-generic/ioctls.h
_INT = bytes(4)


class Pipe(NamedTuple):
    """What the kernel says of a pipe. Bytes; the uid is its creator's (fs/pipe.c: get_pipe_inode).

    ``None`` is what was not asked for.
    """

    uid: Optional[int]
    gid: Optional[int]
    capacity: Optional[int]
    fill: Optional[int]


UNASKED = Pipe(None, None, None, None)
"""In the place of a pipe that nobody needed to ask about."""


@contextlib.contextmanager
def held(kernel: Kernel, pid: int) -> Iterator[int]:
    """Give a descriptor that means this very process (pidfd_open(2)). Raise OSError."""
    pidfd = kernel.process_descriptor(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def measure(kernel: Kernel, pidfd: int, number: int, ino: int, *, fill: bool) -> Optional[Pipe]:
    """Return what the pipe *ino* behind descriptor *number* of a process is like.

    ``None`` when that descriptor is another file by now. Raise OSError: EPERM without the right to
    trace the process, EBADF when it is closed, ENOSYS before Linux 5.6.
    """
    fd = kernel.descriptor_of(pidfd, number)
    try:
        info = os.fstat(fd)
        if info.st_ino != ino or not stat.S_ISFIFO(info.st_mode):
            return None
        capacity = fcntl.fcntl(fd, _F_GETPIPE_SZ)
        bytes_in = int.from_bytes(fcntl.ioctl(fd, _FIONREAD, _INT), sys.byteorder) if fill else None
        return Pipe(info.st_uid, info.st_gid, capacity, bytes_in)
    finally:
        os.close(fd)
