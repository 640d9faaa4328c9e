"""Fill the caller's IPC namespace with System V objects."""

from __future__ import annotations

import ctypes
import os

from .harness import libc

IPC_CREAT = 0o1000
IPC_EXCL = 0o2000
PAGE = 4096

# What the kernel's default limits admit, all at once: the fullest usual host.
SEGMENTS, SETS, QUEUES = 4096, 32_000, 32_000


def fill(segments: int, sets: int, queues: int, mode: int) -> None:
    """Create objects with keys of their own; the segments are never touched."""
    flags = IPC_CREAT | IPC_EXCL | mode
    for key in range(1, segments + 1):
        _made(libc.shmget(key, ctypes.c_size_t(PAGE), flags), "shmget")
    for key in range(1, sets + 1):
        _made(libc.semget(key, 1, flags), "semget")
    for key in range(1, queues + 1):
        _made(libc.msgget(key, flags), "msgget")


def count() -> dict[str, int]:
    """Count the System V objects of the caller's namespace, as the kernel lists them."""
    counts = {}
    for kind in ("shm", "sem", "msg"):
        with open(f"/proc/sysvipc/{kind}", "rb") as table:
            counts[kind] = sum(1 for _ in table) - 1
    return counts


def _made(answer: int, call: str) -> None:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
