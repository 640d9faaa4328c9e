"""``/proc/PID/mountinfo`` (proc_pid_mountinfo(5)): what is mounted where, with which options."""

from __future__ import annotations

import os
import re
from typing import FrozenSet, List, Sequence

from ..tuples import NamedTuple

_ESCAPE = rb"\\([0-7]{3})"


NETWORK = frozenset(
    "9p acfs afs autofs beegfs ceph cifs coda davfs fuse fuseblk gfs gfs2 glusterfs gpfs lustre ncp ncpfs nfs nfs4"
    " ocfs2 orangefs panfs pvfs2 smb3 smbfs".split()
)
"""File systems that ask another host or a process, which may not answer: who looks at a name there may hang."""


class Mount(NamedTuple):
    """One line of mountinfo. ``dev`` as stat(2) gives it, ``root`` is what of the file system is mounted."""

    mount_id: int
    dev: int
    root: str
    point: str
    options: FrozenSet[str]
    fstype: str
    super_options: FrozenSet[str]


def parse_mountinfo(text: bytes) -> List[Mount]:
    """Return the mounts in their order. Raise ValueError at a line that is none."""
    mounts = []
    for line in text.split(b"\n"):
        if not line:
            continue
        left, separator, right = line.partition(b" - ")
        fields, tail = left.split(b" "), right.split(b" ")
        if not separator or len(fields) < 6 or len(tail) < 3:
            raise ValueError("'%s' is no line of mountinfo" % line.decode("utf-8", "backslashreplace"))
        mounts.append(
            Mount(
                mount_id=int(fields[0]),
                dev=_device(fields[2]),
                root=_path(fields[3]),
                point=_path(fields[4]),
                options=_options(fields[5]),
                fstype=tail[0].decode("ascii", "replace"),
                super_options=_options(tail[2]),
            )
        )
    return mounts


def is_network(fstype: str) -> bool:
    """Return whether a file system may hang when its server, or the program that serves it, does."""
    return fstype.partition(".")[0] in NETWORK


def on_network(path: str, mounts: Sequence[Mount]) -> bool:
    """Return whether the innermost mount over an absolute path is one that may hang."""
    under = [one for one in mounts if path == one.point or path.startswith(one.point.rstrip("/") + "/")]
    deepest = max((len(one.point) for one in under), default=0)
    return any(is_network(one.fstype) for one in under if len(one.point) == deepest)


def _device(field: bytes) -> int:
    major, _, minor = field.partition(b":")
    try:
        return os.makedev(int(major), int(minor))
    except OverflowError as error:
        raise ValueError("'%s' in mountinfo is no device" % field.decode("ascii", "replace")) from error


def _path(field: bytes) -> str:
    """Return a path with the kernel's octal escapes undone (fs/proc_namespace.c: mangle)."""
    if b"\\" in field:
        field = re.sub(_ESCAPE, lambda found: bytes([int(found.group(1), 8) & 0xFF]), field)
    return field.decode("utf-8", "surrogateescape")


def _options(field: bytes) -> FrozenSet[str]:
    return frozenset(field.decode("utf-8", "replace").split(","))
