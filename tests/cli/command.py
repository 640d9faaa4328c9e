"""Run the command line as a user's shell would, in a pipe or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLI = (sys.executable, "-c", "from ipcops.cli.main import main; main()")
CORE = (sys.executable, "-m", "ipcops.core")


def environment(**more: str) -> dict[str, str]:
    """Return an environment without what would change how things look."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **more}


def ipcops(*arguments: str, command: tuple[str, ...] = CLI, **more: str) -> subprocess.CompletedProcess[str]:
    """Return a finished run with its output in pipes."""
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=60,
    )


def on_terminal(*arguments: str, width: int = 80, **more: str) -> str:
    """Return what a run writes to a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = subprocess.Popen(
        [*CLI, *arguments], cwd=ROOT, env=environment(**more), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    text = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        text += chunk
    process.wait(timeout=30)
    os.close(ours)
    return text.decode("utf-8", "replace").replace("\r\n", "\n")
