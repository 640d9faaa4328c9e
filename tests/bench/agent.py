"""What starting the agent costs on a host that has only a system Python."""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import quiet
from .harness import Command, Figure, Result, measure
from .host import installed

NAME = "agent"
ROUNDS = 31
GOAL = 5.0
MEGABYTES = 30
POLICY = "[clean]\nstate = {state}\n"
CLEAN = "agent clean"
LOOKS = {"agent audit": ("audit", "--fail-on", "none"), "agent list": ("list",), "agent rules": ("rules", "SHM-001")}
"""The dry run has a goal; of the others it is told what they cost beside it."""


def run(rounds: int) -> Result:
    """Compare with the start of Python alone, on this host as it is."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        host = installed(Path(place), POLICY.format(state=Path(place, "state")))
        base = Command("python3 -I -c pass", (host.python, "-I", "-c", "pass"))
        commands = [base, Command(CLEAN, (*host.agent, "clean", "--policy", str(host.place / "policy")))]
        commands += [Command(name, (*host.agent, *words)) for name, words in LOOKS.items()]
        timings = measure(commands, rounds)
    setting, few = quiet.seen()
    result = Result(NAME, setting, timings, base=base.name)
    if few:
        result.compare(CLEAN, GOAL)
    else:
        result.figures.append(Figure(f"{CLEAN} / {base.name}", None, GOAL, note="this host is not quiet"))
    for name in (CLEAN, *LOOKS):
        result.bound_memory(name, MEGABYTES)
    return result
