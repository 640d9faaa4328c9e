"""The price of a look at a host where nothing happens."""

from __future__ import annotations

import os

from . import objects
from .harness import Figure, Result, ipcops, measure, python

NAME = "quiet"
ROUNDS = 21
GOAL = 2.5
FEW_PROCESSES, FEW_OBJECTS = 100, 50


def run(rounds: int) -> Result:
    """Compare with the import of the command-line toolkit alone, on this host as it is."""
    audit = ipcops("audit", "--fail-on", "none")  # else a finding and a crash would look alike
    typer = python("import typer")
    setting, few = seen()
    timings = measure([audit, typer, python("pass")], rounds)
    result = Result(NAME, setting, timings, base=typer.name)
    if few:
        result.compare(audit.name, GOAL)
    else:
        result.figures.append(
            Figure(f"{audit.name} / {typer.name}", None, GOAL, note="this host is not quiet")
        )
    return result


def seen() -> tuple[str, bool]:
    """Return in words what runs and lies about on this host, and whether that is little."""
    processes = sum(1 for entry in os.listdir("/proc") if entry.isdigit())
    counts = objects.count() | _posix()
    listed = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    few = processes < FEW_PROCESSES and sum(counts.values()) < FEW_OBJECTS
    return f"{processes} processes; objects: {listed}", few


def _posix() -> dict[str, int]:
    counts = {}
    for kind, directory in (("posix-shm", "/dev/shm"), ("posix-mq", "/dev/mqueue")):
        try:
            counts[kind] = len(os.listdir(directory))
        except OSError:
            counts[kind] = 0
    return counts
