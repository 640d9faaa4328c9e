"""A real PostgreSQL server with its memory in a System V segment: told truly at every moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.world import GONE, NOW, SCAN, in_world

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
POSTGRES = str(BINARIES[-1]) if BINARIES else shutil.which("postgres")

pytestmark = pytest.mark.skipif(not POSTGRES, reason="PostgreSQL is not installed")

UID = GONE  # nobody else's, so that no other server of this machine is in the way


class Server:
    """A server of a user named postgres, with its data in the world's directory."""

    def __init__(self) -> None:
        """Make the user, in this mount namespace only, and the data directory."""
        world.needs_root()
        lines = Path("/etc/passwd").read_text().splitlines()
        kept = [line for line in lines if not line.startswith("postgres:")]
        passwd = world.here() / "passwd"
        passwd.write_text("\n".join([*kept, f"postgres:x:{UID}:{UID}::/nonexistent:/bin/false", ""]))
        world.mount(str(passwd), "/etc/passwd", None, world.MS_BIND)
        self.directory = world.here() / "server"
        self.directory.mkdir(mode=0o700)
        os.chown(self.directory, UID, UID)
        self.data = self.directory / "data"
        self.log = world.here() / "log"
        assert POSTGRES
        initdb = os.path.join(os.path.dirname(POSTGRES), "initdb")
        self._run(initdb, "-D", str(self.data), "-A", "trust", "-N", "--no-locale", "-E", "UTF8").wait()
        self.process: subprocess.Popen[bytes] | None = None

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        def drop() -> None:
            os.setsid()
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)

        with self.log.open("ab") as log:
            return subprocess.Popen(
                words,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=drop,  # noqa: PLW1509 - this process has one thread
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert POSTGRES
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "shared_memory_type": "sysv",
            "dynamic_shared_memory_type": "posix",
            "shared_buffers": "16MB",
            "max_connections": "10",
            "fsync": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.process = self._run(POSTGRES, "-D", str(self.data), *words)
        pid_file = self.data / "postmaster.pid"

        def ready() -> bool:
            assert self.process
            assert self.process.poll() is None, self.log.read_text()
            with suppress(FileNotFoundError):
                words = pid_file.read_text().split()  # a killed server's file stays for a while
                return words[0] == str(self.process.pid) and words[-1] == "ready"
            return False

        world.wait_until(ready, "the server is ready", 30)

    @property
    def pids(self) -> list[int]:
        """Return the server's living processes."""
        return [pid for pid in world.processes() if is_servers(pid)]

    def segment(self) -> int:
        """Return the id of its segment, as its own file says it."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[6].split()[1])


def is_servers(pid: int) -> bool:
    """Tell whether a process of the server's user lives under this number."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == UID and world.state_of(pid) not in ("Z", "X", "")
    except OSError:
        return False


def shown(shmid: int, text: str = NOW) -> dict[str, Any]:
    """Return the segment as listed; it is protected whatever its verdict."""
    one = world.the("shm", shmid, text=text)
    assert one["protection"]["name"] == "postgresql"
    assert one["protection"]["reason"]
    assert one["owner"]["user"] == "postgres"
    return one


@in_world(timeout=120)
def test_running_then_killed() -> None:
    server = Server()
    server.start()
    shmid = server.segment()

    one = shown(shmid)
    assert (one["verdict"], one["confidence"]) == ("in-use", "certain")
    assert sorted(holder["pid"] for holder in one["holders"]) == sorted(server.pids)
    assert {holder["command"] for holder in one["holders"]} <= {"postgres", "postmaster"}
    for dynamic in world.objects("posix-shm"):
        assert dynamic["verdict"] == "in-use"
        assert dynamic["protection"]["name"].startswith("postgresql")
    assert world.findings("SHM-001") == []

    # All are stopped, so that none can react, and killed one by one: who lives, uses it.
    victims = server.pids
    assert len(victims) >= 3
    for pid in victims:
        os.kill(pid, signal.SIGSTOP)
    for number, pid in enumerate(victims):
        os.kill(pid, signal.SIGKILL)
        world.wait_until(lambda pid=pid: not is_servers(pid), "killed")
        if number < len(victims) - 1:
            assert shown(shmid)["verdict"] == "in-use"
    assert server.process
    server.process.wait()

    # Dead, but for a day it is only idle; and as long as its user runs anything.
    assert shown(shmid, SCAN)["verdict"] == "idle"
    assert world.findings("SHM-001", text=SCAN) == []
    client = world.spawn(uid=UID)
    assert shown(shmid)["verdict"] == "idle"
    client.kill()

    one = shown(shmid)
    assert (one["verdict"], one["confidence"]) == ("orphan", "certain")
    assert one["holders"] == []
    (finding,) = world.findings("SHM-001", id=shmid)
    assert finding["owner"]["user"] == "postgres"
    assert finding["confidence"] == "certain"
    for dynamic in world.objects("posix-shm"):
        assert dynamic["verdict"] == "orphan"
        assert dynamic["protection"]["name"].startswith("postgresql")
    world.later(25 * 3600)
    assert shown(shmid, SCAN)["verdict"] == "orphan"


@in_world(timeout=120)
def test_no_moment_of_its_death_is_told_wrongly() -> None:
    """The postmaster is killed; its children notice and end by themselves, while we keep looking."""
    server = Server()
    server.start()
    shmid = server.segment()
    path = world.policy()
    assert server.process
    server.process.kill()
    told = []
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = world.ipcops("list", "--format", "json", "--policy", path, "shm")
        assert answer.status == 0, answer.err
        alive = server.pids  # of those that live now, each lived while we looked
        word = {one["id"]: one["verdict"] for one in answer.json["objects"]}[shmid]
        told.append(word)
        if alive:
            assert word in ("in-use", "idle"), f"{word} while {alive} live; so far {told}"
        if word == "orphan":
            break
        server.process.poll()
    assert told[-1] == "orphan", told
    assert not server.pids

    # Started again it finds the dead segment, removes it and uses another.
    server.start()
    again = server.segment()
    assert again != shmid
    assert [one["id"] for one in world.objects("shm") if one["owner"]["uid"] == UID] == [again]
    assert shown(again)["verdict"] == "in-use"
