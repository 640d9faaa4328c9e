"""Finding the holders: many processes with many descriptors."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from . import crowd
from .harness import BenchError, Command, Result, ipcops, measure

NAME = "processes"
ROUNDS = 9
PROCESSES = 500
LIST = ("list", "shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq", "--format", "json")


def run(rounds: int) -> Result:
    """Compare with lsof, which like us looks at every descriptor of every process."""
    with crowded(PROCESSES) as pid:
        descriptors, mappings = look(pid)
        ours = ipcops(*LIST)
        # lsof answers 1 when any process could not be looked at in full.
        lsof = Command("lsof -n -P -K i", ("lsof", "-n", "-P", "-K", "i"), statuses=frozenset({0, 1}))
        timings = measure([ours, lsof], rounds)
    setting = f"{PROCESSES} single-threaded processes with {crowd.DESCRIPTORS} descriptors each"
    result = Result(NAME, setting, timings, base=lsof.name)
    result.compare(ours.name, 0.65)
    result.notes.append(f"each: {crowd.MIX}")
    result.notes.append(
        f"seen: {descriptors:,} descriptors, {mappings:,} mappings in the {PROCESSES} processes; "
        f"{_processes() - 1} other processes on this host"
    )
    return result


@contextlib.contextmanager
def crowded(count: int, threads: int = 1) -> Iterator[int]:
    """Have a crowd of processes around; give the pid of their parent."""
    argv = (sys.executable, "-IS", str(Path(crowd.__file__)), str(count), str(threads))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            word = parent.stdout.readline().strip() if parent.stdout else ""
            if word != "ready":
                message = f"no crowd of processes: {word or 'it failed'}"
                raise BenchError(message)
            yield parent.pid
        finally:
            if parent.stdin:
                parent.stdin.close()  # it ends its children, by their ids
            parent.wait()


def look(parent: int) -> tuple[int, int]:
    """Count the descriptors and mappings of the crowd: what the setting claims must be there."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    descriptors = [len(os.listdir(f"/proc/{child}/fd")) for child in children]
    if len(children) != PROCESSES or set(descriptors) != {crowd.DESCRIPTORS}:
        message = f"{len(children)} processes with {sorted(set(descriptors))} descriptors each"
        raise BenchError(message)
    mappings = 0
    for child in children:
        with open(f"/proc/{child}/maps", "rb") as maps:
            mappings += sum(1 for _ in maps)
    return sum(descriptors), mappings


def _processes() -> int:
    """Count the processes outside the crowd and its parent, once the crowd is gone."""
    return sum(1 for entry in os.listdir("/proc") if entry.isdigit())
