"""What the rows of System V tables sum up to, to be compared with the kernel's own counters."""

from __future__ import annotations

from typing import Dict, Mapping

from .model import Table


def sums(table: Table, page: int) -> Dict[str, int]:
    """Return the sums of a table's rows, named as the counters of kernel.py; *page* is its size in bytes."""
    if table.kind == "shm":
        rows = {"shm_segments": len(table), "shm_pages": sum(-(-size // page) for size in table["size"])}
        if "rss" in table:
            rows.update(shm_resident_bytes=sum(table["rss"]), shm_swapped_bytes=sum(table["swap"]))
        return rows
    if table.kind == "sem":
        return {"sem_sets": len(table), "sem_semaphores": sum(table["nsems"])}
    return {"msg_queues": len(table), "msg_messages": sum(table["qnum"]), "msg_bytes": sum(table["cbytes"])}


def agree(rows: Mapping[str, int], counters: Mapping[str, int]) -> bool:
    """Return whether the counters say what the rows do, as far as both tell."""
    return all(rows.get(name, value) == value for name, value in counters.items())
