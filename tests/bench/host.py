"""The agent and its scripts as a host has them: built, unpacked by its own `--unpack`, rendered with places of ours.

Other processes build and render: what this one imports would be part of every peak that it measures (harness.run).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .harness import ROOT, BenchError

PLACES = ("lib", "policy", "state", "log", "textfiles")
RENDER = """
import json, sys
from ipcops.render.templates import rendered
sys.stdout.write(rendered(*json.load(sys.stdin)))
"""


class Host(NamedTuple):
    """What is installed, and the Python that it is compiled for."""

    python: str
    place: Path

    @property
    def agent(self) -> tuple[str, ...]:
        """The words that start the agent, as the installed scripts do."""
        return (self.python, "-I", "-S", str(self.place / "lib" / "agent"))

    @property
    def textfile(self) -> Path:
        """Where the monitor writes."""
        return self.place / "textfiles" / "ipcops.prom"

    def script(self, name: str, **settings: str) -> tuple[str, ...]:
        """Render a job's script with everything below our place; return the words that start it."""
        paths = {one: str(self.place / one) for one in PLACES if name == "monitor" or one != "textfiles"}
        path = self.place / "lib" / f"ipc-{name}.sh"
        asked = json.dumps([name, {**paths, **settings}])
        path.write_text(_said([sys.executable, "-c", RENDER], asked), encoding="utf-8")
        return ("/bin/sh", str(path))


def installed(place: Path, policy: str = "") -> Host:
    """Install below *place*, which nothing else is in. Raise BenchError."""
    host = Host(system_python(), place)
    for name in PLACES:
        if name != "policy":
            (place / name).mkdir()
    (place / "policy").write_text(policy, encoding="utf-8")
    packed = str(place / "ipcops-agent.pyz")
    _said([sys.executable, "-m", "ipcops.bundle.agent", packed])
    # It compiles itself, by the Python that runs it.
    _said([host.python, "-I", "-S", packed, "--unpack", host.agent[-1]])
    return host


def _said(words: list[str], given: str = "") -> str:
    """Run a program in the checkout and return what it printed. Raise BenchError if it failed."""
    done = subprocess.run(words, input=given, check=False, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        message = f"{' '.join(words[:3])} failed: {done.stdout}{done.stderr}"
        raise BenchError(message)
    return done.stdout


def system_python() -> str:
    """Return the Python that a host would run it with: its own, where that is new enough."""
    code = "import sys; sys.exit(sys.version_info < (3, 9))"
    own = "/usr/bin/python3"
    if os.access(own, os.X_OK) and not subprocess.run([own, "-I", "-c", code], check=False).returncode:
        return own
    return sys.executable
