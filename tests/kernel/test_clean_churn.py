"""Cleaners without patience beside processes that make, use and remove objects all the time.

The policy asks for no age, no second sighting, and not who else runs. What dead users left must all go;
whatever is in use, or was a moment ago, must survive. Both are counted.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
import time
from typing import TYPE_CHECKING, Any

from tests import world
from tests.world import GONE, OTHER, in_world

from .cleaner import Place, run, why

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = int(os.environ.get("IPCOPS_TEST_CHURN", "20"))
WORKERS = 2
POOL = 150  # objects that a worker leaves alone until they are old enough to go, and then uses
JUST = 1.5  # seconds after its use in which an object never goes
SHM_DEST, SHM_STAT_ANY = 0o1000, 15

_libc = ctypes.CDLL(None)

IMPATIENT = (
    world.SCAN
    + """
[clean]
state = {state}
second_sighting = 0
max_removals = 100000
{clean}
[remove segments]
kind = shm
owner = nameless
owner_gone = ignore
min_age = 0
accept = strong
max_removals = 100000
backup = none
[remove files]
kind = posix-shm
owner = nameless
owner_gone = ignore
name = /psm_*
min_age = 0
accept = strong
max_removals = 100000
backup = none
[remove uncounted]
kind = sem msg
owner = nameless
accept = strong
min_age = 0
max_removals = 100000
backup = none
"""
)


def is_destroyed(shmid: int) -> bool:
    """Whether a segment is gone, or goes with its last attachment; asked by its index, whatever its mode is."""
    buffer = ctypes.create_string_buffer(256)
    found = _libc.shmctl(shmid & (1 << 15) - 1, SHM_STAT_ANY, buffer)
    return bool(found != shmid or int.from_bytes(buffer.raw[20:22], sys.byteorder) & SHM_DEST)


class Worker:
    """Makes, uses and removes objects; counts, and says what was taken from it that it was using."""

    def __init__(self, number: int, end: float) -> None:
        """Choose names of its own."""
        self.number, self.end = number, end
        self.random = random.Random(number)
        self.counts = dict.fromkeys(("made", "used", "removed", "taken while idle"), 0)
        self.wrong: list[str] = []
        self.segments: dict[int, float] = {}  # id to when it was last used
        self.files: dict[str, float] = {}
        self.sets = [world.semget(1) for _ in range(20)]
        self.queues = [world.msgget() for _ in range(20)]
        self.held = world.shmget(4096)
        world.shmat(self.held)
        self.open = os.open(world.shm_file(f"psm_held_{number}"), os.O_RDWR)

    def work(self) -> dict[str, Any]:
        """Go on until the end; return what was counted."""
        while time.monotonic() < self.end and not self.wrong:
            for act in (self.short_segment, self.old_segment, self.short_file, self.old_file, self.uncounted):
                act()
        self.lives("held", world.table("shm"), "shmid", {self.held})
        if os.fstat(self.open).st_nlink != 1:
            self.wrong.append("a file that was open all the time has lost its name")
        return {"wrong": self.wrong, **self.counts}

    def lives(self, what: str, rows: list[dict[str, int]], name: str, wanted: set[int]) -> None:
        """Take note of what is there no more."""
        missing = wanted - {row[name] for row in rows if not row.get("perms", 0) & SHM_DEST}
        if missing:
            self.wrong.append(f"{what}: {missing} went")

    def short_segment(self) -> None:
        """Make, attach, write, detach and remove one."""
        shmid = world.shmget(4096)
        self.counts["made"] += 1
        try:
            self.attached(shmid)
            world.shmrm(shmid)
        except OSError as error:
            self.wrong.append(f"a segment that was just made: {error}")
        self.counts["removed"] += 1

    def attached(self, shmid: int) -> None:
        """Use a segment: while it is attached it must not be removed."""
        address = world.shmat(shmid)
        world.touch(address, 8)
        if self.random.random() < 0.2:
            time.sleep(0.002)
        if is_destroyed(shmid):
            self.wrong.append(f"segment {shmid} was removed while it was attached")
        world.shmdt(address)
        self.counts["used"] += 1

    def old_segment(self) -> None:
        """Use one again that was left alone for about as long as cleaners let it be."""
        if len(self.segments) < POOL:
            self.segments[world.shmget(4096)] = time.monotonic()
            self.counts["made"] += 1
            return
        shmid, last = next(iter(self.segments.items()))
        idle = time.monotonic() - last
        if idle < self.random.uniform(1.0, 5.0):
            return
        del self.segments[shmid]
        try:
            self.attached(shmid)
        except OSError as error:  # EACCES: it is being removed, or would have been
            if idle < JUST:
                self.wrong.append(f"segment {shmid} went {idle:.2f} s after its use: {error}")
            self.counts["taken while idle"] += 1
        else:
            self.segments[shmid] = time.monotonic()

    def short_file(self) -> None:
        """Make, hold and remove one."""
        path = world.shm_file(f"psm_{self.number}_short")
        self.counts["made"] += 1
        try:
            os.unlink(path)
        except OSError as error:
            self.wrong.append(f"a file that was just made: {error}")
        self.counts["removed"] += 1

    def old_file(self) -> None:
        """Open one again that was left alone for a while: while it is open it keeps its name."""
        if len(self.files) < POOL:
            self.files[world.shm_file(f"psm_{self.number}_{self.counts['made']}")] = time.monotonic()
            self.counts["made"] += 1
            return
        path, last = next(iter(self.files.items()))
        if time.monotonic() - last < self.random.uniform(2.0, 6.0):
            return
        del self.files[path]
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            self.counts["taken while idle"] += 1
            return
        os.write(descriptor, b"mine")
        time.sleep(self.random.choice((0, 0.01)))
        if os.fstat(descriptor).st_nlink != 1:
            self.wrong.append(f"{path} went while it was open")
        os.close(descriptor)
        self.files[path] = time.monotonic()
        self.counts["used"] += 1

    def uncounted(self) -> None:
        """Use a set and a queue, which nothing counts the users of; their owner lives."""
        try:
            world.semop(self.random.choice(self.sets), 1)
            queue = self.random.choice(self.queues)
            world.msgsnd(queue, b"x")
            world.msgrcv(queue)
        except OSError as error:
            self.wrong.append(f"a set or queue of somebody who lives: {error}")
        self.counts["used"] += 2


def plant(number: int) -> set[tuple[str, Any]]:
    """Leave some of each behind."""
    found: set[tuple[str, Any]] = set()
    for at in range(5):
        found |= {("shm", world.shmget(4096)), ("sem", world.semget(1)), ("msg", world.msgget())}
        found.add(("posix-shm", "/" + os.path.basename(world.shm_file(f"psm_dead_{number}_{at}"))))
    return found


def there() -> set[tuple[str, Any]]:
    """Return everything there is."""
    found: set[tuple[str, Any]] = {("posix-shm", "/" + name) for name in os.listdir("/dev/shm")}
    for kind, name in (("shm", "shmid"), ("sem", "semid"), ("msg", "msqid")):
        found |= {(kind, row[name]) for row in world.table(kind)}
    return found


def beside(function: Callable[[], Any], uid: int | None = None) -> tuple[world.Process, int]:
    """Start something in a child; return it and where its result will come from."""
    reader, writer = os.pipe()

    def work(_: object) -> None:
        with os.fdopen(writer, "w") as pipe:
            json.dump(function(), pipe)

    child = world.spawn(then=work, uid=uid)
    os.close(writer)
    return child, reader


def result(reader: int) -> Any:
    """Wait for a result."""
    with os.fdopen(reader) as pipe:
        return json.loads(pipe.read())


@in_world(pids=True, timeout=60 + 2 * SECONDS)
def test_cleaners_beside_a_crowd() -> None:
    world.needs_root()
    end = time.monotonic() + SECONDS
    workers = [
        beside(lambda number=number: Worker(number, end).work(), uid=OTHER + number)[1]  # type: ignore[misc]
        for number in range(WORKERS)
    ]

    def clean() -> dict[str, Any]:
        place, counts = Place(IMPATIENT), {"runs": 0, "removed": 0, "refused": 0}
        while time.monotonic() < end:
            answer = run(*place.clean(), later=0)
            assert answer.status in (0, 4), answer
            counts["runs"] += 1
            counts["removed"] += len(answer.json["removed"])
            counts["refused"] += len(answer.json["failed"])
        return counts

    cleaners = [beside(clean)[1] for _ in range(2)]  # each with a state of its own: no lock between them
    planted: set[tuple[str, Any]] = set()
    number = 0
    while time.monotonic() < end:
        planted |= world.as_uid(GONE, lambda at=number: plant(at))  # type: ignore[misc]
        number += 1
        time.sleep(0.2)
    told = [result(reader) for reader in workers]
    cleaned = [result(reader) for reader in cleaners]
    assert [one["wrong"] for one in told] == [[] for _ in told]
    time.sleep(3.1)
    last = run(*Place(IMPATIENT).clean(), later=0)
    assert last.status == 0, why(last)
    left = planted & there()
    assert not left, f"{len(left)} of {len(planted)} that dead users left are still there: {why(last)}"
    assert sum(one["removed"] for one in cleaned) > 0
    print(json.dumps({"workers": told, "cleaners": cleaned, "planted": len(planted)}))
    assert all(one["used"] > 100 for one in told)
    assert all(one["runs"] > 3 for one in cleaned)
