"""System calls that a thread may be blocked in on an object, by their numbers.

arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h (arm64).
"""

from __future__ import annotations

from typing import Dict, Tuple

BY_FD, BY_PATH = "fd", "path"
"""In the place of a kind: the first argument is a descriptor, or one of them is a path."""

Calls = Dict[bytes, Tuple[str, str]]

BLOCKING_CALLS: Dict[str, Calls] = {
    "x86_64": {
        b"65": ("sem", "semop"),
        b"69": ("msg", "msgsnd"),
        b"70": ("msg", "msgrcv"),
        b"220": ("sem", "semtimedop"),
        b"242": (BY_FD, "mq_timedsend"),
        b"243": (BY_FD, "mq_timedreceive"),
    },
    "aarch64": {
        b"182": (BY_FD, "mq_timedsend"),
        b"183": (BY_FD, "mq_timedreceive"),
        b"188": ("msg", "msgrcv"),
        b"189": ("msg", "msgsnd"),
        b"192": ("sem", "semtimedop"),
        b"193": ("sem", "semop"),
    },
}
"""System call number to kind and name. The first argument is the id, or a queue's descriptor."""

CHANNEL_CALLS: Dict[str, Calls] = {
    "x86_64": {
        b"0": (BY_FD, "read"),
        b"1": (BY_FD, "write"),
        b"2": (BY_PATH, "open"),
        b"19": (BY_FD, "readv"),
        b"20": (BY_FD, "writev"),
        b"257": (BY_PATH, "openat"),
        b"437": (BY_PATH, "openat2"),
    },
    "aarch64": {
        b"56": (BY_PATH, "openat"),
        b"63": (BY_FD, "read"),
        b"64": (BY_FD, "write"),
        b"65": (BY_FD, "readv"),
        b"66": (BY_FD, "writev"),
        b"437": (BY_PATH, "openat2"),
    },
}
"""The same for pipes and FIFOs. Opening a FIFO blocks until somebody opens its other end (fifo(7))."""

COMPAT_CALLS = frozenset((b"117", b"298", b"301", b"302", b"312", b"400", b"401", b"420"))
"""Numbers that mean a System V call to a 32-bit thread (i386, arm) and something else to others."""

COMPAT_OPENS = frozenset((b"5", b"295", b"322", b"437"))
"""Numbers that mean open, openat or openat2 to a 32-bit thread (i386, arm)."""
