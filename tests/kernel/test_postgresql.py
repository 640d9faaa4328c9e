"""A real PostgreSQL server with its memory in a System V segment: told truly at every moment."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from tests import servers, world
from tests.world import GONE, NOW, SCAN, in_world

pytestmark = pytest.mark.skipif(not servers.POSTGRES, reason="PostgreSQL is not installed")

UID = GONE  # nobody else's, so that no other server of this machine is in the way


class Server(servers.Postgres):
    """A server of a user named postgres, with its data in the world's directory."""

    def __init__(self) -> None:
        servers.users(postgres=UID)
        super().__init__(UID)

    @property
    def pids(self) -> list[int]:
        """Return the living processes of its user, also those that its end has left behind."""
        return [pid for pid in world.processes() if is_servers(pid)]


def is_servers(pid: int) -> bool:
    """Tell whether a process of the server's user lives under this number."""
    return servers.lives_as(pid, UID)


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
    _, shmid = server.segment

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
    _, shmid = server.segment
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
    _, again = server.segment
    assert again != shmid
    assert [one["id"] for one in world.objects("shm") if one["owner"]["uid"] == UID] == [again]
    assert shown(again)["verdict"] == "in-use"
