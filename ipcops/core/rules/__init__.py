"""The catalogue: one file per kind, one function per rule. See rules/base.py for the shape."""

from __future__ import annotations

from typing import Dict, Tuple

from . import fifo, host, inet, lock, mq, msg, pipe, pshm, sem, shm, sysctl, unix
from .base import Rule

__all__ = ["BY_ID", "RULES", "Rule"]

RULES: Tuple[Rule, ...] = (
    shm.RULES
    + sem.RULES
    + msg.RULES
    + mq.RULES
    + pshm.RULES
    + fifo.RULES
    + pipe.RULES
    + unix.RULES
    + inet.RULES
    + lock.RULES
    + sysctl.RULES
    + host.RULES
)

BY_ID: Dict[str, Rule] = {rule.id: rule for rule in RULES}
