"""An audit of all kinds: many processes with many descriptors and several threads each."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .harness import Command, Result, ipcops, measure
from .processes import PROCESSES, crowd, crowded, look

NAME = "everything"
ROUNDS = 9
GOAL = 1.0
THREADS = 4
AUDIT = ("audit", "--format", "json", "--fail-on", "none")


def run(rounds: int) -> Result:
    """Compare with lsof, which looks at every descriptor, but neither at threads nor at what they wait for."""
    with _fifo(), crowded(PROCESSES, THREADS) as pid:
        descriptors, mappings = look(pid)
        threads = _threads(pid)
        ours = ipcops(*AUDIT)
        # lsof answers 1 when any process could not be looked at in full.
        lsof = Command("lsof -n -P -K i", ("lsof", "-n", "-P", "-K", "i"), statuses=frozenset({0, 1}))
        timings = measure([ours, lsof], rounds)
    setting = f"{PROCESSES} processes with {crowd.DESCRIPTORS} descriptors and {THREADS} threads each, and a FIFO"
    result = Result(NAME, setting, timings, base=lsof.name)
    result.compare(ours.name, GOAL)
    result.notes.append(f"each: {crowd.MIX}")
    result.notes.append(f"seen: {descriptors:,} descriptors, {mappings:,} mappings, {threads:,} threads")
    return result


@contextlib.contextmanager
def _fifo() -> Iterator[None]:
    """Have a FIFO where the audit finds it: without one nobody asks what the threads wait for."""
    with tempfile.TemporaryDirectory(prefix="ipcops-bench-") as directory:
        os.mkfifo(Path(directory, "fifo"))
        yield


def _threads(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    return sum(len(os.listdir(f"/proc/{child}/task")) for child in children)
