"""Who is blocked opening a FIFO: a thread that has no descriptor of it yet, only its path in memory.

open(2) of a FIFO waits for the other end (fifo(7)), and neither lsof nor fuser shows who waits. The
path is read from the memory of the process and looked up as that process would, by stat(2), which
opens nothing; only names that a known FIFO has are looked up, and none on a network file system.
"""

from __future__ import annotations

import posixpath
from typing import Mapping, Optional, Sequence, Tuple

from ..fs import Directory
from ..tuples import NamedTuple
from .mounts import Mount, on_network, parse_mountinfo
from .spaces import File

PATH_MAX = 4096
_AT_FDCWD = 0xFFFFFF9C
"""-100 as the low half of the register holds it (include/uapi/linux/fcntl.h)."""
_ACCESS = {0: "for reading", 1: "for writing"}


class Open(NamedTuple):
    """What a call to open names: the descriptor its path starts at, the path's address, and the flags."""

    start: Optional[int]
    address: int
    flags: int


def parse_open(name: str, arguments: Sequence[int]) -> Optional[Open]:
    """Return what a blocked open, openat or openat2 asks for; the flags of openat2 are in memory, unread."""
    if name == "open":
        return Open(None, arguments[0], arguments[1])
    start = arguments[0] & 0xFFFFFFFF
    if name == "openat":
        return Open(None if start == _AT_FDCWD else start, arguments[1], arguments[2])
    if name == "openat2":
        return Open(None if start == _AT_FDCWD else start, arguments[1], -1)
    return None


def blocked_on(
    directory: Directory,
    thread: str,
    call: Open,
    known: Tuple[Mapping[File, str], Mapping[str, Sequence[File]]],
    *,
    at_home: bool,
) -> Optional[Tuple[File, str]]:
    """Return the FIFO that a thread is blocked opening, and how, or ``None``.

    *thread* is where its links stand below the directory of the process; *known* is the path of every FIFO
    and, by the last part of it, which FIFOs have that name; *at_home* says that the thread's paths mean what
    ours mean. Raise OSError as the kernel does.
    """
    fifos, names = known
    text = directory.read_at("mem", call.address, PATH_MAX).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    candidates = names.get(posixpath.basename(text), ())
    if not candidates:
        return None
    if not text.startswith("/"):
        start = directory.link(thread + ("cwd" if call.start is None else "fd/%d" % call.start))
        text = posixpath.join(start, text)
    path = posixpath.normpath(text)
    access = _ACCESS.get(call.flags & 3, "") if call.flags >= 0 else ""
    file = next((one for one in candidates if fifos[one] == path), None)
    if file is None or not at_home:
        file = _looked_up(directory, thread, path)
    return (file, access) if file is not None and file in fifos else None


def _looked_up(directory: Directory, thread: str, path: str) -> Optional[File]:
    mounts: Sequence[Mount] = parse_mountinfo(directory.read(thread + "mountinfo"))
    if on_network(path, mounts):
        return None
    info = directory.info(thread + "root" + path, follow=True)
    return info.dev, info.ino
