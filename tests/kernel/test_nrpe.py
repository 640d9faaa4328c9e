"""``ipcops check`` as Nagios runs it: Debian's NRPE executes it, check_nrpe passes on what it said and how it ended."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import servers, world
from tests.world import GONE, OTHER, in_world

if TYPE_CHECKING:
    from collections.abc import Iterator

NRPE, CHECK_NRPE = "/usr/sbin/nrpe", "/usr/lib/nagios/plugins/check_nrpe"
PORT = 5666
SECONDS = 30
NARROW = world.NOW + "[metrics]\nkinds = shm sem msg\n"

CONFIGURATION = """\
pid_file={here}/nrpe.pid
server_address=127.0.0.1
server_port={port}
nrpe_user=nagios
nrpe_group=nagios
allowed_hosts=127.0.0.1
dont_blame_nrpe=0
command_timeout={seconds}
{commands}
"""


@contextmanager
def nrpe(commands: dict[str, str]) -> Iterator[None]:
    """Run NRPE, which will not be root, in a network with nothing but loopback; *commands* are for ``ipcops check``."""
    if not (Path(NRPE).exists() and Path(CHECK_NRPE).exists()):
        pytest.skip("there is no NRPE here (Debian: nagios-nrpe-server, nagios-nrpe-plugin)")
    servers.users(nagios=OTHER)
    servers.private_network()
    plugin = world.here() / "check_ipcops"
    python = world.python_for(OTHER)
    plugin.write_text(f'#!/bin/sh\ncd {world._copied()} && exec {python} -m ipcops.core check "$@"\n')
    plugin.chmod(0o755)
    lines = [f"command[{name}]={plugin} {words}" for name, words in commands.items()]
    settings = world.here() / "nrpe.cfg"
    settings.write_text(
        CONFIGURATION.format(here=world.here(), port=PORT, seconds=SECONDS, commands="\n".join(lines))
    )
    settings.chmod(0o644)
    with subprocess.Popen([NRPE, "-c", str(settings), "-f"], stdin=subprocess.DEVNULL) as server:
        try:
            world.wait_until(_answers, "NRPE to listen")
            yield
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)
            server.kill()


def _answers() -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", PORT)) == 0


def asked(command: str) -> tuple[int, str]:
    """Return the status and the line that check_nrpe has of a command."""
    done = subprocess.run(
        [CHECK_NRPE, "-H", "127.0.0.1", "-p", str(PORT), "-t", str(SECONDS), "-c", command],
        capture_output=True, text=True, check=False, timeout=2 * SECONDS,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return done.returncode, done.stdout[:-1]


def told(line: str, name: str) -> str:
    """Return the performance data of a metric."""
    return next(datum for datum in line.split(" | ")[1].split() if datum.startswith(name + "=")).partition("=")[2]


@in_world(mqueue=True)
def test_every_state_arrives():
    policy = world.policy(NARROW)
    commands = {
        "ipc": f"--policy {policy}",
        "critical": f"--policy {policy} --critical orphans=1",
        "typo": f"--policy {policy} --warning orfans=1",
        "option": "--no-such-option",
        "late": f"--policy {policy} --deadline 0.01",
    }
    with nrpe(commands):
        world.shmget(1)
        status, line = asked("ipc")
        assert (status, line.partition(" | ")[0]) == (0, "IPC OK - 7 of 20 metrics have thresholds, and all are within")
        assert told(line, "shm_segments") == "1;;;0;4096"
        world.as_uid(GONE, lambda: [world.shmget(1) for _ in range(2)])
        status, line = asked("ipc")
        assert (status, line.partition(" | ")[0]) == (1, f"IPC WARNING - orphans 2 ({GONE} 2), outside 0")
        assert told(line, "orphans") == "2;0;;0;"
        status, line = asked("critical")
        assert (status, told(line, "orphans")) == (2, "2;0;1;0;")
        assert asked("typo") == (3, "IPC UNKNOWN - unknown metric 'orfans'; did you mean 'orphans'?")
        status, line = asked("option")
        assert status == 3
        assert line == "IPC UNKNOWN - unrecognized arguments: --no-such-option; see --help"
        for _ in range(300):
            world.spawn()
        status, line = asked("late")
        assert status in {1, 3}, "what was seen may already be too much"
        assert "not all of it could be seen" in line
    assert not _answers()


@in_world(mqueue=True)
def test_the_user_of_nrpe_is_told_what_it_cannot_see():
    with nrpe({"all": f"--policy {world.policy()}", "sysv": f"--policy {world.policy(NARROW)}"}):
        world.semget(3)
        status, line = asked("all")
        assert status == 3
        assert "pipe_pages_used: not all of it could be seen" in line
        assert len(line) > 1024, "NRPE passes on more than its first protocol did"
        assert told(line, "sem_semaphores") == "3;;;0;1024000000", "every user sees the System V tables"
        status, line = asked("sysv")
        assert (status, told(line, "sem_sets")) == (0, "1;;;0;32000")
