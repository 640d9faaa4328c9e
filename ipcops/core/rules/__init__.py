"""The catalogue: one file per kind, one function per rule. See rules/base.py for the shape."""

from __future__ import annotations

from typing import Dict, Tuple

from . import mq, msg, pshm, sem, shm
from .base import Rule

__all__ = ["BY_ID", "RULES", "Rule"]

RULES: Tuple[Rule, ...] = shm.RULES + sem.RULES + msg.RULES + mq.RULES + pshm.RULES

BY_ID: Dict[str, Rule] = {rule.id: rule for rule in RULES}
