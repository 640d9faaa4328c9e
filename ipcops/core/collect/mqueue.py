"""POSIX message queues: the files of the mqueue file system of our IPC namespace.

A mount of it belongs to the namespace that mounted it, so after ``unshare --ipc`` the one at
/dev/mqueue still shows the old namespace's queues (mq_overview(7)). We therefore make a mount
of our own that is attached nowhere, and take the visible one only where we may not.
The file's text is not read unless the policy says so: reading it changes the queue's ctime
(ipc/mqueue.c, mqueue_read_file), and looking must leave no trace.
"""

from __future__ import annotations

import re
from typing import Any, List, Optional, Sequence, Tuple

from ..fs import Directory
from ..kernel import Kernel
from ..model import INITIAL_IPC_NAMESPACE, Evidence, Gap, Table
from ..tuples import NamedTuple
from .mounts import Mount

_NOTIFY = rb"NOTIFY_PID:\s*(\d+)"
_COLUMNS = (
    "path", "dev", "ino", "mode", "uid", "gid", "atime", "mtime", "ctime",
    "maxmsg", "msgsize", "curmsgs", "notify_pid",
)  # fmt: skip


class Queues(NamedTuple):
    """The table of queues, its device, and whether a mount shows them to everybody."""

    table: Optional[Table]
    dev: Optional[int]
    mounted: Optional[bool]
    gaps: List[Gap]


def parse_notify(text: bytes) -> int:
    """Return NOTIFY_PID of a queue file's text; 0 when nobody asked. Raise ValueError."""
    found = re.search(_NOTIFY, text)
    if not found:
        raise ValueError("no NOTIFY_PID in a queue's text")
    return int(found.group(1))


def read_queues(
    kernel: Kernel, mounts: Sequence[Mount], namespace: int, *, notify: bool = False
) -> Queues:
    """Return the queues of our namespace; *notify* reads who asked for a signal, too."""
    visible = [mount for mount in mounts if mount.fstype == "mqueue"]
    gaps: List[Gap] = []
    directory: Optional[Directory] = None
    private = True
    try:
        directory = Directory(kernel.mqueue_directory())
    except OSError as error:
        private = False
        if error.errno == 19:  # ENODEV: no such file system
            why = "this kernel has no POSIX message queues"
            return Queues(None, None, mounted=False, gaps=[Gap(Evidence.TABLE, "POSIX queues", why, kind="posix-mq")])
        for mount in visible:
            try:
                directory = Directory.open(mount.point)
                break
            except OSError as failure:
                gaps.append(Gap(Evidence.TABLE, mount.point, str(failure.strerror), kind="posix-mq"))
    if directory is None:
        why = "no mqueue file system is mounted, and only root may look without one"
        gaps.append(Gap(Evidence.TABLE, "POSIX queues", why, kind="posix-mq"))
        return Queues(None, None, mounted=False, gaps=gaps)
    with directory:
        dev = directory.own_info().dev
        if not private and namespace not in (0, INITIAL_IPC_NAMESPACE):  # 0: this kernel has no others
            why = "the mount may belong to another IPC namespace, and one of our own could not be made"
            gaps.append(Gap(Evidence.TABLE, "POSIX queues", why, kind="posix-mq"))
        rows = []
        try:
            names = sorted(directory.names())
        except OSError as error:
            gaps.append(Gap(Evidence.TABLE, "POSIX queues", str(error.strerror), kind="posix-mq"))
            names = []
        for name in names:
            row = _queue(directory, kernel, name, gaps, notify=notify)
            if row is not None:
                rows.append(row)
    table = Table("posix-mq", {name: [row[at] for row in rows] for at, name in enumerate(_COLUMNS)})
    return Queues(table, dev, any(mount.dev == dev for mount in visible), gaps)


def _queue(
    directory: Directory, kernel: Kernel, name: str, gaps: List[Gap], *, notify: bool
) -> Optional[Tuple[Any, ...]]:
    try:
        info = directory.info(name)
    except FileNotFoundError:
        return None  # gone since the listing
    except OSError as error:
        gaps.append(Gap(Evidence.TABLE, "/" + name, str(error.strerror), kind="posix-mq"))
        return None
    attributes: Optional[Tuple[int, int, int]] = None
    notified: Optional[int] = None
    try:
        with directory.opened(name) as fd:
            attributes = kernel.queue_attributes(fd)
        if notify:
            notified = parse_notify(directory.read_record(name))
    except FileNotFoundError:
        return None  # gone since
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        gaps.append(Gap(Evidence.QUEUE, "depth of /%s" % name, why, kind="posix-mq", object_id=info.ino))
    maxmsg, msgsize, curmsgs = attributes or (None, None, None)
    return (
        "/" + name, info.dev, info.ino, info.mode & 0o7777, info.uid, info.gid,
        info.atime, info.mtime, info.ctime, maxmsg, msgsize, curmsgs, notified,
    )  # fmt: skip
