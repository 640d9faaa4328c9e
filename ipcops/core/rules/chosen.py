"""The rules about some kinds alone, for who runs every minute."""

from __future__ import annotations

import importlib
from typing import Iterable, Tuple

from .base import Rule

_FILES = {
    "shm": ("shm",),
    "sem": ("sem",),
    "msg": ("msg",),
    "mq": ("posix-mq",),
    "pshm": ("posix-shm", "posix-sem"),
    "fifo": ("fifo",),
    "pipe": ("pipe",),
    "unix": ("unix",),
    "inet": ("inet",),
    "lock": ("lock",),
    "sysctl": ("host",),
    "host": ("host",),
}
"""File to the kinds that its rules are about, in the order of the catalogue."""


def rules_of(kinds: Iterable[str]) -> Tuple[Rule, ...]:
    """Return the rules about some kinds; no file is loaded but theirs."""
    wanted = tuple(kinds)
    found: Tuple[Rule, ...] = ()
    for file, its in _FILES.items():
        if not set(its).isdisjoint(wanted):
            module = importlib.import_module("." + file, __package__)
            found += tuple(rule for rule in module.RULES if rule.covers(wanted))
    return found
