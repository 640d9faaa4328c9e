"""What POSIX queues count against RLIMIT_MSGQUEUE (getrlimit(2), ipc/mqueue.c)."""

from __future__ import annotations

from typing import Dict, Optional, Sequence, Tuple

from .model import Table

MESSAGE = 48
"""Bytes of ``struct msg_msg`` and of a priority's tree node on 64-bit kernels."""
PRIORITIES = 32768
"""MQ_PRIO_MAX."""


def queue_cost(maxmsg: int, msgsize: int) -> int:
    """Return the bytes that one queue counts: payload, a header a message, a node a priority in use."""
    return maxmsg * msgsize + maxmsg * MESSAGE + min(maxmsg, PRIORITIES) * MESSAGE


def owners_cost(table: Optional[Table], unlinked: Sequence[Tuple[int, int, int]]) -> Dict[int, int]:
    """Return the bytes of each owner's queues; *unlinked* are (uid, maxmsg, msgsize) without a name."""
    costs: Dict[int, int] = {}
    if table is not None:
        for uid, maxmsg, msgsize in zip(table["uid"], table["maxmsg"], table["msgsize"]):
            if maxmsg is not None:
                costs[uid] = costs.get(uid, 0) + queue_cost(maxmsg, msgsize)
    for uid, maxmsg, msgsize in unlinked:
        costs[uid] = costs.get(uid, 0) + queue_cost(maxmsg, msgsize)
    return costs
