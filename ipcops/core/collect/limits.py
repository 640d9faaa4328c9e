"""Every System V and POSIX queue limit, from ``/proc/sys`` of our own IPC namespace.

Documentation/admin-guide/sysctl/{kernel,fs}.rst, mq_overview(7).
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from ..fs import Directory
from ..model import Evidence, Gap

SEM_FIELDS = ("semmsl", "semmns", "semopm", "semmni")
"""The four numbers of kernel.sem, in the kernel's order (ipc/ipc_sysctl.c)."""

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
}
"""Not on every kernel: since 3.1, since 3.5, and where it can be checkpointed (CONFIG_CHECKPOINT_RESTORE)."""


def parse_limit(name: str, text: bytes) -> Any:
    """Return the value of a sysctl: an integer, or the four named fields of kernel.sem.

    Raise ValueError when it is not what the kernel writes.
    """
    numbers = [int(word) for word in text.split()]
    if name == "kernel.sem":
        if len(numbers) != len(SEM_FIELDS):
            raise ValueError("kernel.sem has %d fields instead of 4" % len(numbers))
        return dict(zip(SEM_FIELDS, numbers))
    if len(numbers) != 1:
        raise ValueError("%s has %d values instead of 1" % (name, len(numbers)))
    return numbers[0]


def parse_queue_limit(text: bytes) -> int:
    """Return the soft RLIMIT_MSGQUEUE in bytes from /proc/PID/limits; -1 when unlimited. Raise ValueError."""
    for line in text.split(b"\n"):
        if line.startswith(b"Max msgqueue size"):
            words = line[len("Max msgqueue size") :].split()
            if words:
                return -1 if words[0] == b"unlimited" else int(words[0])
    raise ValueError("no value for 'Max msgqueue size'")


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
