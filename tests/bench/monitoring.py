"""Metrics once a minute: what a run costs as it is installed on a host, when nothing happens and when it is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from .harness import ROOT, Command, Figure, Result, measure, namespace
from .objects import QUEUES, SEGMENTS, SETS, fill

NAME = "monitoring"
ROUNDS = 21
QUIET, FULL, BASE, IPCS = "metrics, host as it is", "metrics, namespace full", "python3 -I -c pass", "ipcs -a"
GOAL, GOAL_FULL, MEMORY = 6, 0.6, 30
FEW_PROCESSES = 150

START = "import sys; sys.path.insert(0, {!r}); from core.agent import main; sys.exit(main())\n"


def run(rounds: int) -> Result:
    """Compare with an interpreter that does nothing, and with `ipcs -a`."""
    python = _system_python()
    processes = sum(1 for entry in os.listdir("/proc") if entry.isdigit())
    with tempfile.TemporaryDirectory() as place, namespace(partial(fill, SEGMENTS, SETS, QUEUES, 0o600)) as full:
        start = _installed(Path(place), python)
        textfile = ("metrics", "--textfile", str(Path(place, "ipcops.prom")))
        commands = [
            Command(QUIET, (python, "-I", "-S", start, *textfile)),
            Command(BASE, (python, "-I", "-c", "pass")),
            Command(FULL, (python, "-I", "-S", start, *textfile), where=full),
            Command(IPCS, ("ipcs", "-a"), where=full),
        ]
        timings = measure(commands, rounds)
        spent = [min(_processor_seconds(command) for _ in range(11)) for command in commands[:2]]
    result = Result(NAME, f"{processes} processes; {SEGMENTS + SETS + QUEUES:,} objects when full", timings, base=BASE)
    if processes < FEW_PROCESSES:
        result.compare(QUIET, GOAL)
    else:
        result.figures.append(Figure(f"{QUIET} / {BASE}", None, GOAL, note="this host is not quiet"))
    result.bound_memory(QUIET, MEMORY)
    least = result.least_ratio(FULL, IPCS)
    note = "" if least is None else f"by the minima {least:.2f}"
    result.figures.append(Figure(f"{FULL} / {IPCS}", result.ratio(FULL, IPCS), GOAL_FULL, note=note))
    result.notes.append(f"run by {python}, unpacked and compiled, as it is installed on a host")
    ours, base = spent  # which a busy neighbour changes less than the clock on the wall
    result.notes.append(f"processor time, least of 11: {ours * 1e3:.1f} ms, {ours / base:.1f} of the base's")
    return result


def _processor_seconds(command: Command) -> float:
    with subprocess.Popen(command.argv, stdout=subprocess.DEVNULL) as process:
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    return used.ru_utime + used.ru_stime


def _system_python() -> str:
    """Return the Python that a host would run it with: its own, where that is new enough."""
    code = "import sys; sys.exit(sys.version_info < (3, 9))"
    own = "/usr/bin/python3"
    if os.path.exists(own) and not subprocess.run([own, "-I", "-c", code], check=False).returncode:
        return own
    return sys.executable


def _installed(place: Path, python: str) -> str:
    """Unpack and compile the core below *place*; return what starts it."""
    shutil.copytree(ROOT / "ipcops" / "core", place / "core", ignore=shutil.ignore_patterns("__pycache__"))
    start = place / "start.py"
    start.write_text(START.format(str(place)), encoding="utf-8")
    subprocess.run([python, "-m", "compileall", "-q", str(place)], check=True)
    return str(start)
