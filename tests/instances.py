"""The instances of Molecule's scenarios: one set for all of them, kept by a process of its own.

    python -m tests.instances create DIR    # starts it, and writes DIR/inventory/instances.json
    python -m tests.instances destroy DIR   # ends it, and with it the containers

Where IPCOPS_INSTANCES names a directory with instances that run already, that set is taken, and left running: this is
how tests/molecule gives each of its workers one set for all scenarios.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.containers import LIFETIME
from tests.fleet import Fleet, Machine, fleet

MACHINES = {
    "bullseye": Machine("bullseye", systemd=True),  # Python 3.9
    "bookworm": Machine("bookworm", systemd=True),
    "trixie": Machine("trixie", systemd=True),  # Python 3.13
    "readonly": Machine("bookworm", writable=False),
}
BY_PODMAN = "bookworm_by_podman"
"""Another name of an instance, which is reached through podman's own connection."""

INVENTORY, KEEPER, WHY = "instances.json", "keeper.pid", "why"
PATIENCE = 900
"""Seconds for the start, with all images to be built."""


def main() -> int:
    """Do as the command line says; what went wrong is one line."""
    verb, place = sys.argv[1], Path(sys.argv[2])
    given = os.environ.get("IPCOPS_INSTANCES")
    if verb == "keep":
        return keep(place)
    if verb == "destroy":
        return destroy(place)
    (place / "inventory").mkdir(parents=True, exist_ok=True)
    if given:
        shutil.copyfile(Path(given, INVENTORY), place / "inventory" / INVENTORY)
        return 0
    return create(place)


def create(place: Path) -> int:
    """Start the keeper, and wait until it has the instances."""
    for name in (KEEPER, WHY):
        (place / name).unlink(missing_ok=True)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.instances", "keep", str(place)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and keeper.poll() is None:
        if (place / KEEPER).exists():
            return 0
        time.sleep(0.1)
    keeper.terminate()
    why = place / WHY
    print(why.read_text() if why.exists() else "the instances did not start", file=sys.stderr)
    return 1


def keep(place: Path) -> int:
    """Hold the instances until told to end, or until their time is over."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with fleet(MACHINES) as found:
            (place / "inventory" / INVENTORY).write_text(inventory(found))
            (place / KEEPER).write_text(str(os.getpid()))
            signal.alarm(LIFETIME)
            time.sleep(LIFETIME)
    except (pytest.skip.Exception, pytest.fail.Exception, OSError) as error:
        (place / WHY).write_text(str(error))
        return 1
    return 0


def destroy(place: Path) -> int:
    """End the keeper, if this directory has one, and wait until it has cleaned up."""
    with suppress(FileNotFoundError, ProcessLookupError):
        number = int((place / KEEPER).read_text())
        os.kill(number, signal.SIGTERM)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            os.kill(number, 0)
            time.sleep(0.1)
    for name in (KEEPER, f"inventory/{INVENTORY}"):
        (place / name).unlink(missing_ok=True)
    return 0


def inventory(found: Fleet) -> str:
    """Return how Ansible reaches each."""
    whole = found.inventory()
    whole["all"]["hosts"][BY_PODMAN] = found.variables("bookworm", connection="podman")
    return json.dumps(whole, indent=1)


if __name__ == "__main__":
    sys.exit(main())
