"""Every scenario of Molecule's, with the real molecule: two workers, each with one set of instances for all of its own.

A scenario changes the limits and jobs of its hosts, so two of them never share a set at the same time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import instances
from tests.fleet import fleet
from tests.world import REPO

MOLECULE = Path(sys.executable).with_name("molecule")
SCENARIOS = sorted(path.parent.name for path in REPO.glob("molecule/*/molecule.yml") if path.parent.name != "default")
WORKERS = 2
TIMEOUT = 300
"""Seconds for one scenario; the longest takes a fifth of that."""


class Played(NamedTuple):
    """How a scenario ended, and all that it said."""

    status: int
    said: str

    @property
    def recap(self) -> dict[str, int]:
        """Return how many of its actions went how."""
        (line,) = [one for one in self.said.splitlines() if re.match(r"(?!default)\w+ +: actions=", one)]
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", line)}


@pytest.fixture(scope="module")
def played(request):
    """Play all scenarios that were asked for, and give what came of each."""
    if not MOLECULE.exists():
        pytest.skip("molecule is not installed")
    ours = [item for item in request.session.items if getattr(item, "originalname", "") == test_scenario.__name__]
    wanted = deque(item.callspec.params["scenario"] for item in ours)
    found: dict[str, Played | BaseException] = {}
    with ExitStack() as stack:
        places = []
        for _ in range(min(WORKERS, len(wanted))):
            machines = stack.enter_context(fleet(instances.MACHINES))
            (machines.place / instances.INVENTORY).write_text(instances.inventory(machines))
            places.append(machines.place)

        def work(place: Path) -> None:
            while wanted:
                scenario = wanted.popleft()
                found[scenario] = play(scenario, place)

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(work, places))
    return found


def play(scenario: str, place: Path) -> Played:
    """Play one scenario on the instances that run already."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "MOLECULE", "PYTHON"))}
    with tempfile.TemporaryDirectory(prefix="ipcops-molecule-") as own:
        env.update(
            PATH=f"{MOLECULE.parent}:{env['PATH']}",
            PYTHONPATH=str(REPO),
            LC_ALL="C.UTF-8",
            NO_COLOR="1",
            ANSIBLE_HOME=own,
            IPCOPS_INSTANCES=str(place),
            MOLECULE_EPHEMERAL_DIRECTORY=f"{own}/scenario",
            MOLECULE_COMMAND_BORDERS="false",
        )
        command = [MOLECULE, "test", "--scenario-name", scenario]
        try:
            done = subprocess.run(
                command, cwd=REPO, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                timeout=TIMEOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            return Played(124, f"{scenario}: {TIMEOUT} s were not enough\n{error.stdout}\n{error.stderr}")
    return Played(done.returncode, done.stdout + done.stderr)


def test_there_are_scenarios():
    assert SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario, played):
    one = played[scenario]
    assert one.status == 0, one.said
    recap = one.recap
    assert recap["successful"] == recap["actions"] > 1, one.said
    assert "verify: Executed: Successful" in one.said
