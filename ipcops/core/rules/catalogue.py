"""The catalogue of all rules. A plan needs none of them, so it is loaded by what audits or names rules."""

from __future__ import annotations

from typing import Dict, Tuple

from . import fifo, host, inet, lock, mq, msg, pipe, pshm, sem, shm, sysctl, unix
from .base import Rule

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
