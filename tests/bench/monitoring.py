"""Metrics once a minute: what the installed script costs, when nothing happens and when the host is full."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from . import harness as bench
from . import quiet
from .harness import Command, Figure, Result, measure, namespace
from .host import installed
from .objects import QUEUES, SEGMENTS, SETS, fill

NAME = "monitoring"
ROUNDS = 21
QUIET, FULL, IPCS = "ipc-monitor.sh, host as it is", "ipc-monitor.sh, namespace full", "ipcs -a"
AGENT, BASE = "the agent in it, alone", "python3 -I -c pass"
GOAL, GOAL_FULL, MEMORY = 6, 0.6, 30
CLOCKED = 11


def run(rounds: int) -> Result:
    """Compare with an interpreter that does nothing, and with `ipcs -a`."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place, namespace(
        partial(fill, SEGMENTS, SETS, QUEUES, 0o600)
    ) as full:
        host = installed(Path(place))
        script = host.script("monitor")
        alone = ("metrics", "--policy", str(host.place / "policy"), "--textfile", str(host.textfile))
        commands = [
            Command(QUIET, script),
            Command(AGENT, (*host.agent, *alone)),
            Command(BASE, (host.python, "-I", "-c", "pass")),
            Command(FULL, script, where=full),
            Command(IPCS, ("ipcs", "-a"), where=full),
        ]
        timings = measure(commands, rounds)
        spent = {one.name: min(_processor_seconds(one) for _ in range(CLOCKED)) for one in commands}
    setting, few = quiet.seen()
    result = Result(NAME, f"{setting}; {SEGMENTS + SETS + QUEUES:,} objects when full", timings, base=BASE)
    if few:
        result.compare(QUIET, GOAL)
    else:
        result.figures.append(Figure(f"{QUIET} / {BASE}", None, GOAL, note="this host is not quiet"))
    result.bound_memory(QUIET, MEMORY)
    least = result.least_ratio(FULL, IPCS)
    note = "" if least is None else f"by the minima {least:.2f}"
    result.figures.append(Figure(f"{FULL} / {IPCS}", result.ratio(FULL, IPCS), GOAL_FULL, note=note))
    result.notes.append(f"installed as on a host, for {host.python}; the script runs at nice 19, so whoever else is at")
    result.notes.append("work costs it time that the others here do not lose; the agent alone runs as they do")
    # Which a neighbour changes less than the clock on the wall.
    result.notes.append(f"processor time of all its processes, least of {CLOCKED}, compared as the figures are:")
    for name, base in ((QUIET, BASE), (AGENT, BASE), (FULL, IPCS)):
        words = f"{name} {spent[name] * 1e3:.1f} ms, {base} {spent[base] * 1e3:.1f} ms"
        result.notes.append(f"  {words}: {spent[name] / spent[base]:.2f}")
    return result


def _processor_seconds(command: Command) -> float:
    """Return what a command and all that it starts and waits for used."""
    before = getrusage(RUSAGE_CHILDREN)
    bench.run(command)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
