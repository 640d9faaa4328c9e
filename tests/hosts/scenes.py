"""What the captures show: IPC made for the purpose, in namespaces of its own on the real kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests import world
from tests.world import in_world

ALICE, GONE, STRANGER = 1, 54321, 54322


def quiet() -> None:
    """Make a machine where nothing is wrong: one segment and one file in use, one queue open."""
    world.spawn(lambda: world.shmat(world.shmget(8192, key=0x5EED)), uid=ALICE)
    world.spawn(lambda: world.map_file(world.shm_file("in-use", b"x" * 4096)), uid=ALICE)
    world.spawn(lambda: world.mq_open("/in-use"), uid=ALICE)
    world.spawn()


def leaks() -> None:
    """Make a machine where a crashed program left something of every kind, among what is in use."""
    quiet()
    world.as_uid(GONE, _leave)
    segment = world.as_uid(GONE, lambda: world.shmget(1 << 20))
    world.spawn(lambda: world.shmat(segment))
    world.shmrm(segment)
    waited = world.as_uid(STRANGER, lambda: world.semget(2, mode=0o666))
    world.spawn(then=lambda _: world.semop(waited, -1), uid=ALICE)
    received = world.as_uid(ALICE, lambda: world.msgget(mode=0o660))
    receiver = world.spawn(then=lambda _: world.msgrcv(received), uid=ALICE)
    world.wait_blocked(receiver.pid, "msgrcv", received)
    world.spawn(_hidden, uid=ALICE)
    world.as_uid(ALICE, lambda: os.close(world.mq_open("/open-to-all", mode=0o666)))


def _leave() -> None:
    world.shmget(1 << 20, key=0x1D1E)
    world.shmget(4096, mode=0o644)
    world.semget(3, key=0xBAD)
    used = world.semget(1)
    world.semop(used, +1)
    full = world.msgget(mode=0o600)
    for _ in range(2):
        world.msgsnd(full, b"x" * 8000)
    world.msgget(key=0xACE)
    world.shm_file("psm_0badcafe", b"x" * 65536)
    world.shm_file("a name\nwith \udcff bytes", b"x", 0o666)
    world.shm_file("libpod_lock", b"x")
    world.sem_open("/mp-0badcafe")
    queue = world.mq_open("/left", maxmsg=10, msgsize=64)
    world.mq_send(queue, b"undelivered")


def _hidden() -> None:
    path = world.shm_file("removed", b"x" * (1 << 20))
    world.map_file(path)
    os.unlink(path)
    world.mq_open("/removed")
    world.mq_unlink("/removed")


SCENES: dict[str, Callable[[], None]] = {"quiet": quiet, "leaks": leaks}


def played(scene: str, taken: Callable[[], str], uid: Any) -> str:
    """Play a scene and return what *taken* returns in it, as root or as *uid*."""
    kept = world.REPO / "tests" / "hosts"
    path = kept / ".taken"

    @in_world(mqueue=True, pids=True, shm="size=8m,nr_inodes=1000")
    def play() -> None:
        SCENES[scene]()
        text = taken() if uid is None else world.as_uid(uid, taken)
        path.write_text(text, encoding="ascii")

    try:
        play()
        return path.read_text(encoding="ascii")
    finally:
        path.unlink(missing_ok=True)
