"""What the template of alert rules is filled with: thresholds that can be set, and the limits that are watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipcops.core import policy
from ipcops.core.policy import parse_count, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

_AUDIT = {setting.name: setting.default for setting in policy.SETTINGS if setting.section == "audit"}
_WEEK = 7 * 86400
_MANY = 1_000_000_000

Row = tuple[str, str, str, "Callable[[str], Any]", int | None, int | None]
"""A setting: its name, its default as one writes it, its meaning, its parser (which raises ValueError), its bounds."""


class Span(int):
    """Seconds; as text they are a duration of Prometheus', such as ``90s`` or ``4h``."""

    def __str__(self) -> str:
        """Return it in the largest unit that divides it."""
        for letter, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
            if self and self % seconds == 0:
                return f"{self // seconds}{letter}"
        return f"{int(self)}s"

    @property
    def quarter(self) -> Span:
        """Return a quarter of it."""
        return Span(self // 4)

    @property
    def rest(self) -> Span:
        """Return what a quarter leaves."""
        return Span(self - self // 4)


def parse_span(text: str) -> Span:
    """Return whole seconds. Raise ValueError."""
    return Span(parse_duration(text))


def parse_address(text: str) -> str:
    """Return an address or a directory as it is. Raise ValueError for what would have to be quoted."""
    if not text or not all(letter.isalnum() or letter in "/:.-_~%+@" for letter in text) or text.endswith("/"):
        raise ValueError("is no address to put '/NAME.md' after, such as https://wiki.example.org/runbooks")
    return text


SETTINGS: tuple[Row, ...] = (
    ("near_limit", _AUDIT["near_limit"], "From this % of a limit on, IpcopsLimitNear.", parse_count, 1, 100),
    ("at_limit", _AUDIT["at_limit"], "From this % of a limit on, IpcopsLimitReached.", parse_count, 1, 100),
    (
        "shm_near", _AUDIT["shm_full_high"],
        "From this % of /dev/shm on, which may be well filled on purpose, IpcopsLimitNear.", parse_count, 1, 100,
    ),
    (
        "shm_at", _AUDIT["shm_full_critical"], "From this % of /dev/shm on, IpcopsLimitReached.",
        parse_count, 1, 100,
    ),
    ("limit_for", "10m", "How long a limit must be that near before it is told.", parse_span, 0, _WEEK),
    (
        "full_within", "4h", "How soon a limit must be used up, at its pace, to be IpcopsLimitFullSoon.",
        parse_span, 600, 4 * _WEEK,
    ),
    (
        "growth_window", "2h",
        "What that pace is taken from: use must grow over all of it and its last quarter, and not in one step.",
        parse_span, 600, _WEEK,
    ),
    ("growth_floor", "25", "Below this % of a limit nothing is foretold.", parse_count, 1, 100),
    ("growth_for", "30m", "How long it must be foretold before it is told.", parse_span, 0, _WEEK),
    ("leak_objects", "10", "So many orphans of one kind and owner are IpcopsLeak.", parse_count, 1, _MANY),
    ("leak_bytes", "1G", "So is any number of orphans that take this much.", parse_size, 1, 1 << 60),
    (
        "leak_for", "2h", "How long they must be there; cleaning, which wants to see them twice, comes first.",
        parse_span, 0, _WEEK,
    ),
    (
        "leak_growth", "100",
        "By so many the objects of an owner must grow in a day, and never shrink, to be IpcopsLeakGrowing.",
        parse_count, 1, _MANY,
    ),
    (
        "queue_idle", "30m", "How long nobody must receive of a queue with messages for it to be IpcopsQueueStuck.",
        parse_span, 60, _WEEK,
    ),
    ("queue_full", "90", "From this % of its capacity on, a queue is IpcopsQueueFull.", parse_count, 1, 100),
    ("queue_for", "10m", "How long a queue must be stuck or full before it is told.", parse_span, 0, _WEEK),
    (
        "scan_for", "15m", "How long ipcops must fail, be too slow, see too little or count wrongly.",
        parse_span, 0, _WEEK,
    ),
    (
        "stale_after", "15m",
        "From this age on metrics are IpcopsMetricsStale; at least three intervals of the timer.",
        parse_span, 1, _WEEK,
    ),
    ("stale_for", "2m", "How long metrics must be old, or gone, before it is told.", parse_span, 0, _WEEK),
    ("runbooks", "docs/runbooks", "Where those who are called find these pages.", parse_address, None, None),
)  # fmt: skip
"""Every threshold of the rules. Shares of limits are the audit's, unless set otherwise."""

_PAGES = 'ipcops_pipe_user_pages{owner!="other"}'  # "other" are several users, each with a limit
LIMITS = (
    ("SHMMNI", "shmget", "ipcops_shm_segments / ipcops_shm_limit_segments"),
    ("SHMALL", "shmget", "ipcops_shm_pages / ipcops_shm_limit_pages"),
    ("SEMMNI", "semget", "ipcops_sem_sets / ipcops_sem_limit_sets"),
    ("SEMMNS", "semget", "ipcops_sem_semaphores / ipcops_sem_limit_semaphores"),
    ("MSGMNI", "msgget", "ipcops_msg_queues / ipcops_msg_limit_queues"),
    ("queues_max", "mq_open", "ipcops_posix_mq_queues / ipcops_posix_mq_limit_queues"),
    ("RLIMIT_MSGQUEUE", "mq_open", "ipcops_posix_mq_bytes / ipcops_posix_mq_limit_bytes"),
    ("size of /dev/shm", "shm_open", "ipcops_dev_shm_used_bytes / ipcops_dev_shm_limit_bytes"),
    ("inodes of /dev/shm", "shm_open", "ipcops_dev_shm_used_inodes / ipcops_dev_shm_limit_inodes"),
    ("pipe-user-pages-soft", "pipe", f"{_PAGES} / ignoring (owner) group_left ipcops_pipe_limit_user_soft_pages"),
    ("pipe-user-pages-hard", "pipe", f"{_PAGES} / ignoring (owner) group_left ipcops_pipe_limit_user_hard_pages"),
)
"""Limits by the names that ``ipcops explain`` has for them, what fails at them, and how much of them is used."""
