"""Whole runs of ansible-playbook, timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .harness import ROOT, BenchError, environment

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
SAID = 20
"""As many of the last lines are told of a run that failed."""


def timed(inventory: Path, book: Path, forks: int, variables: Mapping[str, Any] | None = None) -> tuple[float, float]:
    """Return wall seconds and processor seconds of a run, with all that it started on this side. Raise BenchError.

    It works in the directory of the inventory.
    """
    place = inventory.parent
    env = environment() | {
        "HOME": str(place),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "ipcops/_collections"),
        "ANSIBLE_FORKS": str(forks),
    }
    command = [PLAYBOOK, "--extra-vars", json.dumps(variables or {}), "--inventory", inventory, book]
    with (place / "output").open("w+b") as output:
        start = time.monotonic()
        process = subprocess.Popen(command, env=env, cwd=place, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read().decode().strip().splitlines()
            message = f"{book.name}: status {process.returncode}: {' / '.join(said[-SAID:])}"
            raise BenchError(message)
    return seconds, usage.ru_utime + usage.ru_stime
