"""Run playbooks with the real ansible-playbook, and see what each task did on each host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.parent for path in ROOT.glob("roles/*/meta"))
COLLECTIONS = ROOT / "ipcops/_collections"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
# Nobody listens on this port of ours, so it is found to be unreachable at once.
DOWN = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_connection": "ssh"}


class Ran(NamedTuple):
    """How a playbook ended and what it said."""

    status: int
    said: str

    def recap(self, host: str) -> dict[str, int]:
        """Return the counts of a host: ok, changed, unreachable, failed, skipped, rescued, ignored."""
        (line,) = [one for one in self.said.splitlines() if one.startswith(f"{host} ") and " : ok=" in one]
        return {name: int(number) for name, number in (word.split("=") for word in line.partition(" : ")[2].split())}

    def touched(self) -> set[str]:
        """Return the hosts that had their turn: on which a task went well, or who were unreachable."""
        hosts = {one.split()[0] for one in self.said.splitlines() if " : ok=" in one}
        return {host for host in hosts if self.recap(host)["ok"] or self.recap(host)["unreachable"]}


def run(place: Path, book: Path | list[dict[str, Any]], inventory: Path | dict[str, Any], *words: str) -> Ran:
    """Run a playbook, given as a file or as plays, on an inventory; files of ours go to *place*."""
    if not PLAYBOOK.exists():
        pytest.skip("ansible-core is not installed")
    if not isinstance(book, Path):
        plays, book = book, place / "book.json"
        book.write_text(json.dumps(plays))
    if not isinstance(inventory, Path):
        hosts, inventory = inventory, place / "hosts.json"
        inventory.write_text(json.dumps(hosts))
    done = subprocess.run(
        [PLAYBOOK, "--inventory", inventory, book, *words],
        env=environment(place),
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return Ran(done.returncode, said)


def environment(place: Path) -> dict[str, str]:
    """Return what Ansible is to know: nothing of this machine's own settings, and to leave everything in *place*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "PYTHON"))}
    return {
        **kept,
        "HOME": str(place),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(place),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INJECT_FACT_VARS": "false",
    }
