"""What starting the agent costs on a host that has only a system Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import quiet
from .harness import ROOT, BenchError, Command, Figure, Result, measure

NAME = "agent"
ROUNDS = 31
GOAL = 5.0
MEGABYTES = 30
PYTHON = ("/usr/bin/python3", sys.executable)
MAIN = "import sys; from core.agent import main; sys.exit(main())\n"
POLICY = "[clean]\nstate = {state}\n"
CLEAN = "agent clean"
LOOKS = {"agent audit": ("audit", "--fail-on", "none"), "agent list": ("list",), "agent rules": ("rules", "SHM-001")}
"""The dry run has a goal; of the others it is told what they cost beside it."""


def run(rounds: int) -> Result:
    """Compare with the start of Python alone, on this host as it is."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        python = next(path for path in PYTHON if os.access(path, os.X_OK))
        agent = _installed(python, Path(place))
        policy = Path(place, "policy.conf")
        policy.write_text(POLICY.format(state=Path(place, "state")), encoding="utf-8")
        base = Command("python3 -I -c pass", (python, "-I", "-c", "pass"))
        commands = [base, Command(CLEAN, (python, "-I", agent, "clean", "--policy", str(policy)))]
        commands += [Command(name, (python, "-I", agent, *words)) for name, words in LOOKS.items()]
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


def _installed(python: str, place: Path) -> str:
    """Install the agent as on a host, byte-compiled by the Python that runs it; return its directory."""
    agent = place / "agent"
    shutil.copytree(ROOT / "ipcops" / "core", agent / "core", ignore=shutil.ignore_patterns("__pycache__"))
    (agent / "__main__.py").write_text(MAIN, encoding="ascii")
    words = (python, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(agent))
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        message = f"the agent could not be byte-compiled: {done.stdout}{done.stderr}"
        raise BenchError(message)
    return str(agent)
