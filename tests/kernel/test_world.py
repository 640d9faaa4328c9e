"""The worlds themselves: private, gone when the test is, and honest about failures."""

from __future__ import annotations

import os
import time

import pytest

from tests import world
from tests.world import GONE, OTHER, in_world


def failure(test: object) -> str:
    """Run a test of a world that must fail; return what it says."""
    with pytest.raises(pytest.fail.Exception) as caught:
        test()  # type: ignore[operator]
    return str(caught.value)


def test_failures_and_skips_travel() -> None:
    @in_world()
    def wrong() -> None:
        number = 1
        assert number == 2, "so wrong"

    @in_world()
    def deep() -> None:
        world.as_uid(None, lambda: 1 / 0)

    @in_world()
    def skipped() -> None:
        pytest.skip("no such thing here")

    @in_world()
    def dead() -> None:
        os._exit(3)

    assert "so wrong" in failure(wrong)
    assert "ZeroDivisionError" in failure(deep)
    assert "died" in failure(dead)
    with pytest.raises(pytest.skip.Exception, match="no such thing here"):
        skipped()


def test_a_test_that_hangs_is_ended_with_all_it_started() -> None:
    pids = []

    @in_world(timeout=1)
    def hanging() -> None:
        world.spawn()
        world.daemon(lambda: None)
        time.sleep(50)

    before = set(world.processes())
    assert "took too long" in failure(hanging)
    left = [pid for pid in world.processes() if pid not in before and world.parent_of(pid) in (1, os.getpid())]
    assert [pid for pid in left if world.namespace("ipc", pid) != world.HOME] == pids


def test_nothing_reaches_the_host() -> None:
    def tables() -> list[object]:
        return [
            *(world.table(kind) for kind in ("shm", "sem", "msg")),
            sorted(os.listdir("/dev/shm")),
            sorted(os.listdir("/dev")),
            open("/proc/sys/kernel/shmmni").read(),
        ]

    @in_world(mqueue=True)
    def busy() -> None:
        world.shmget(4096, key=0x7D00BEEF)
        world.semget(3)
        world.msgget()
        world.mq_open("/queue")
        world.shm_file("psm_deadbeef")
        world.limit("kernel.shmmni", 7)
        assert os.listdir("/dev/mqueue") == ["queue"]
        assert len(world.table("shm")) == 1

    before = tables()
    busy()
    assert tables() == before


@in_world()
def test_helpers_do_what_they_say() -> None:
    shmid = world.as_uid(GONE, lambda: world.shmget(4096, key=0x80000001))
    (row,) = world.table("shm")
    assert (row["uid"], row["key"], row["nattch"]) == (GONE, 0x80000001 - 2**32, 0)
    daemon = world.daemon(lambda: world.shmat(shmid), uid=GONE)
    assert world.table("shm")[0]["nattch"] == 1
    assert world.table("shm")[0]["cpid"] != daemon.pid
    daemon.kill()
    assert world.table("shm")[0]["nattch"] == 0
    assert world.in_child_pid_namespace(lambda: (os.getpid(), world.table("shm")[0]["cpid"])) == (
        1,
        0,
    )
    creator = world.table("shm")[0]["cpid"]
    reused = world.sleeper_with_pid(creator, OTHER)
    assert os.stat(f"/proc/{reused.pid}").st_uid == OTHER
