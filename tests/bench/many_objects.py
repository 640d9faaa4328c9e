"""An audit of a namespace as full as the default limits let it be."""

from __future__ import annotations

from functools import partial

from .harness import Command, Result, ipcops, measure, namespace, python
from .objects import QUEUES, SEGMENTS, SETS, fill

NAME = "many-objects"
ROUNDS = 11
AUDIT = ("audit", "--format", "json", "--fail-on", "none")
TABLES = ("/proc/sysvipc/msg", "/proc/sysvipc/sem", "/proc/sysvipc/shm")
FLOOR = "cat /proc/sysvipc/*"
EMPTY = "the audit, namespace empty"
OWNERS = "ipcs asks for the owner's name once per object: its time depends on the name service too"


def run(rounds: int) -> Result:
    """Compare with `ipcs -a`, beside the floor and the costs that have nothing to do with size."""
    with namespace(partial(fill, SEGMENTS, SETS, QUEUES, 0o600)) as full, namespace() as empty:
        audit = ipcops(*AUDIT, where=full)
        commands = [
            audit,
            Command("ipcs -a", ("ipcs", "-a"), where=full),
            Command(FLOOR, ("cat", *TABLES), where=full),
            python("import typer"),
            ipcops(*AUDIT, where=empty, name=EMPTY),
        ]
        timings = measure(commands, rounds)
    setting = f"{SEGMENTS:,} segments, {SETS:,} one-semaphore sets, {QUEUES:,} queues, mode 0600"
    result = Result(NAME, setting, timings, base="ipcs -a")
    result.compare(audit.name, 0.6)
    result.bound_memory(audit.name, 150)
    if timings[audit.name].seconds:
        size = timings[audit.name].least - timings[EMPTY].least
        result.notes.append(
            f"the objects cost the audit {size * 1e3:.0f} ms, "
            f"{size / timings[FLOOR].least:.1f} times the floor of reading their tables"
        )
    result.notes.append(OWNERS)
    return result
