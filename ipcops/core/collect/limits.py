"""Every limit of System V IPC, POSIX queues, pipes and listening sockets, from ``/proc/sys``.

What is a namespace's is told of our own; the limits of pipes are the host's.
Documentation/admin-guide/sysctl/{kernel,fs,net}.rst, mq_overview(7), pipe(7).
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from ..fs import Directory
from ..model import Evidence, Gap

FIELDS = {
    "kernel.sem": ("semmsl", "semmns", "semopm", "semmni"),
    "fs.file-nr": ("allocated", "free", "max"),
}
"""The settings of several numbers, which they are in the kernel's order (ipc/ipc_sysctl.c, fs/file_table.c)."""

NAMES = {
    "shm": ("kernel.shmmax", "kernel.shmall", "kernel.shmmni"),
    "sem": ("kernel.sem",),
    "msg": ("kernel.msgmni", "kernel.msgmax", "kernel.msgmnb"),
    "posix-mq": (
        "fs.mqueue.queues_max",
        "fs.mqueue.msg_max",
        "fs.mqueue.msgsize_max",
    ),
}
OPTIONAL = {
    "shm": ("kernel.shm_rmid_forced", "kernel.shm_next_id"),
    "sem": ("kernel.sem_next_id",),
    "msg": ("kernel.msg_next_id",),
    "posix-mq": ("fs.mqueue.msg_default", "fs.mqueue.msgsize_default"),
    "fifo": ("fs.protected_fifos",),
    "pipe": ("fs.pipe-max-size", "fs.pipe-user-pages-soft", "fs.pipe-user-pages-hard"),
    "unix": ("net.core.somaxconn",),
    "inet": ("net.core.somaxconn",),
}
"""Not on every kernel: shm_rmid_forced since 3.1, the queues' defaults since 3.5, pipe-user-pages since 4.5,
protected_fifos since 4.19, and next_id where it can be checkpointed (CONFIG_CHECKPOINT_RESTORE)."""

RLIMITS = {b"Max open files": "nofile", b"Max msgqueue size": "msgqueue", b"Max locked memory": "memlock"}
"""How /proc/PID/limits calls the resource limits that matter here, and their names (getrlimit(2))."""


def parse_limit(name: str, text: bytes) -> Any:
    """Return the value of a sysctl: an integer, or the named fields of one that has several.

    Raise ValueError when it is not what the kernel writes.
    """
    numbers = [int(word) for word in text.split()]
    fields = FIELDS.get(name)
    if len(numbers) != len(fields or "1"):
        raise ValueError("%s has %d values instead of %d" % (name, len(numbers), len(fields or "1")))
    return dict(zip(fields, numbers)) if fields else numbers[0]


def parse_rlimits(text: bytes) -> Dict[str, Tuple[int, int]]:
    """Return the soft and hard values of the RLIMITS in /proc/PID/limits; -1 is no limit. Raise ValueError."""
    found: Dict[str, Tuple[int, int]] = {}
    for line in text.split(b"\n"):
        for title, name in RLIMITS.items():
            if line.startswith(title):
                words = line[len(title) :].split()[:2]
                if len(words) < 2:
                    raise ValueError("no value for '%s'" % title.decode())
                soft, hard = (-1 if word == b"unlimited" else int(word) for word in words)
                found[name] = (soft, hard)
    return found


def parse_queue_limit(text: bytes) -> int:
    """Return the soft RLIMIT_MSGQUEUE in bytes from /proc/PID/limits; -1 when unlimited. Raise ValueError."""
    found = parse_rlimits(text)
    if "msgqueue" not in found:
        raise ValueError("no value for 'Max msgqueue size'")
    return found["msgqueue"][0]


def read_limits(proc: Directory, kinds: Tuple[str, ...]) -> Tuple[Dict[str, Any], List[Gap]]:
    """Return the limits of the asked kinds; ``None`` for one that could not be read."""
    limits: Dict[str, Any] = {}
    gaps: List[Gap] = []
    for kind in kinds:
        for name in NAMES.get(kind, ()) + OPTIONAL.get(kind, ()):
            try:
                limits[name] = parse_limit(name, proc.read_record("sys/" + name.replace(".", "/")))
            except (OSError, ValueError) as error:
                if name in OPTIONAL.get(kind, ()) and isinstance(error, FileNotFoundError):
                    continue
                limits[name] = None
                why = getattr(error, "strerror", None) or str(error)
                gaps.append(Gap(Evidence.LIMITS, name, why, kind=kind))
    return limits, gaps
