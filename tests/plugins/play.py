"""Run tasks with the real ansible-playbook on this machine, inside a world (tests/world.py)."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests import world
from tests.kernel.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
COLLECTIONS = ROOT / "ipcops/_collections"
PREFIX = "ipcops.linux."
MOST_TRIES = 5
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


class Played(NamedTuple):
    """The results of the tasks, in their order, and all that a user saw."""

    results: list[dict[str, Any]]
    said: str

    @property
    def result(self) -> dict[str, Any]:
        """The only one."""
        (only,) = self.results
        return only


def task(*state: str, **more: Any) -> dict[str, Any]:
    """Return a task with ipc_limits."""
    return call("ipc_limits", **dict(zip(["state"], state, strict=False)), **more)


def call(
    module: str, *, check: bool = False, diff: bool = False, python: str = "", **options: Any
) -> dict[str, Any]:
    """Return a task with one of our modules."""
    more = {"vars": {"ansible_python_interpreter": python}} if python else {}
    return {PREFIX + module: options, "check_mode": check, "diff": diff, **more}


class Controller(Admin):
    """Root of a world where nobody else's sysctl files are, who runs Ansible on the machine itself."""

    def __init__(self, text: str = "", playbook: Path = PLAYBOOK) -> None:
        super().__init__(text)
        self.playbook = playbook
        if not playbook.exists():
            pytest.skip("ansible-core is not installed")
        world.mount("tmpfs", "/etc/sysctl.d", "tmpfs", data="mode=755")

    def play(
        self, *tasks: dict[str, Any], collections: Path = COLLECTIONS, on: dict[str, Any] | None = None
    ) -> Played:
        """Run tasks one after the other, whatever becomes of each: here, under our policy, or *on* another host."""
        ours = {"policy": self.policy} if on is None else {}
        played = []
        for number, one in enumerate(tasks):
            (module,) = [name for name in one if name.startswith(PREFIX)]
            options = {**ours, **one[module]}
            played.append({**one, module: options, "register": f"r{number}", "ignore_errors": True})
        return self._run(played, ", ".join(f"r{number}" for number in range(len(tasks))), collections, on)

    def run_book(self, tasks: list[dict[str, Any]], told: str) -> list[dict[str, Any]]:
        """Run tasks as they are, under our policy, here; return the variables that are to be *told*."""
        names = ("ipc_info", "ipc_clean", "ipc_restore", "ipc_limits")
        defaults = {PREFIX + name: {"policy": self.policy} for name in names}
        return self._run(tasks, told, module_defaults=defaults).results

    def _run(
        self,
        tasks: list[dict[str, Any]],
        told: str,
        collections: Path = COLLECTIONS,
        on: dict[str, Any] | None = None,
        **more: Any,
    ) -> Played:
        results = world.here() / "results.json"
        write = {
            "ansible.builtin.copy": {"content": "{{ [%s] | to_json }}" % told, "dest": str(results)},
            "delegate_to": "localhost",
        }
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable} if on is None else on
        inventory = world.here() / "hosts.json"  # JSON is YAML
        inventory.write_text(json.dumps({"all": {"hosts": {"target": host}}}))
        book = world.here() / "play.json"
        play = {"hosts": "target", "gather_facts": False, "tasks": [*tasks, write], **more}
        book.write_text(json.dumps([play]))
        done = subprocess.run(
            [self.playbook, "--inventory", inventory, book],
            env=environment(collections),
            cwd=world.here(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return Played(json.loads(results.read_text()), said)


class DisturbedError(AssertionError):
    """Other tests started and ended processes so fast that the core could not see whether they hold anything."""


class Watcher(Controller):
    """One whose tasks must see every process: what they cannot see, they leave alone."""

    def _run(self, *args: Any, **more: Any) -> Played:
        """Run tasks as any controller does. Raise DisturbedError."""
        played = super()._run(*args, **more)
        if "short-lived processes" in json.dumps(played.results):
            raise DisturbedError
        return played


def undisturbed(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test in a world of its own as in_world() does, and in another one if it was disturbed."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        run = world.in_world(**options)(test)

        @functools.wraps(test)
        def patiently(*args: Any, **kwargs: Any) -> None:
            for _ in range(MOST_TRIES - 1):
                try:
                    run(*args, **kwargs)
                except pytest.fail.Exception as failure:
                    if DisturbedError.__name__ not in str(failure):
                        raise
                else:
                    return
            run(*args, **kwargs)

        return patiently

    return decorate


def environment(collections: Path = COLLECTIONS) -> dict[str, str]:
    """Return what Ansible is to know: nothing of this machine's own settings, and to leave everything in the world."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "PYTHON"))}
    home = str(world.here())
    clock = world.here() / "clock"  # world.later()
    if clock.exists():
        kept["PYTHONPATH"] = str(clock)
    return {
        **kept,
        "HOME": home,
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": home,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_SSH_ARGS": "",  # no connection outlives the play
    }
