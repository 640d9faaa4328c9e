"""The catalogue: one file per kind, one function per rule. See rules/base.py for the shape."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Iterable, Tuple

from .base import Rule

__all__ = ["BY_ID", "RULES", "Rule", "rules_of"]

RULES: Tuple[Rule, ...]
BY_ID: Dict[str, Rule]

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
    "host": ("host",),
}
"""File to the kinds that its rules are about."""


def rules_of(kinds: Iterable[str]) -> Tuple[Rule, ...]:
    """Return the rules about some kinds; no file is loaded but theirs."""
    wanted = tuple(kinds)
    found: Tuple[Rule, ...] = ()
    for file, its in _FILES.items():
        if not set(its).isdisjoint(wanted):
            module = importlib.import_module("." + file, __name__)
            found += tuple(rule for rule in module.RULES if rule.covers(wanted))
    return found


def __getattr__(name: str) -> Any:
    """Load the whole catalogue where it is first asked for (PEP 562)."""
    if name not in ("RULES", "BY_ID"):
        raise AttributeError(name)
    rules = rules_of(kind for its in _FILES.values() for kind in its)
    globals().update(RULES=rules, BY_ID={rule.id: rule for rule in rules})
    return globals()[name]
