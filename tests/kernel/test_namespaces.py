"""--all-namespaces: every IPC, mount and network namespace of the host is entered, named and kept apart."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from ipcops.core.collect.mounts import parse_mountinfo
from ipcops.core.collect.visit import EntryError, Visitor, own_entry, survey
from ipcops.core.fs import host_roots
from ipcops.core.kernel import Kernel
from ipcops.core.policy import defaults
from tests import world
from tests.world import GONE, in_world

CLONE_NEWNET = 0x40000000
NOW = world.NOW


def elsewhere(make: Any, flags: int, **more: Any) -> world.Process:
    """Return a process in namespaces of its own that has made something there."""

    def enter() -> Any:
        world.unshare(flags)
        if flags & world.CLONE_NEWNS:
            world.mount("none", "/", None, world.MS_REC | world.MS_PRIVATE)
        return make()

    return world.spawn(enter, **more)


def leak(size: int = 4096) -> int:
    """Leave a segment of a user without processes."""
    shmid: int = world.as_uid(GONE, lambda: world.shmget(size))
    return shmid


def audit(*words: str, text: str = NOW) -> dict[str, Any]:
    return world.audit("--all-namespaces", *words, text=text)


def placed(report: dict[str, Any], pid: int) -> dict[str, Any]:
    """Return the place that a process stands for."""
    found = [one for one in report["scan"]["places"] if one["pid"] == pid]
    assert len(found) == 1, report["scan"]["places"]
    place: dict[str, Any] = found[0]
    return place


@in_world()
def test_objects_of_another_namespace_are_found_and_told_apart() -> None:
    """Both namespaces have a segment of the same id; each finding names its own."""
    world.needs_root()
    here = leak(8192)
    there = elsewhere(lambda: leak(12288), world.CLONE_NEWIPC)
    assert here == there.value
    report = audit("--kind", "shm")
    namespace = world.namespace("ipc", there.pid)
    found = {one["namespace"]: one for one in report["findings"] if one["id"] == here and one["rule"] == "SHM-001"}
    assert found[world.namespace()]["evidence"]["size"] == 8192
    assert found[namespace]["evidence"]["size"] == 12288
    assert found[namespace]["place"].startswith(f"pid {there.pid} ")
    assert f"nsenter --target {there.pid} " in found[namespace]["remedy"]
    assert set(report["scan"]["namespaces"]) >= {world.namespace(), namespace}
    assert placed(report, there.pid)["namespace"] == namespace
    listed = world.ipcops("list", "shm", "--all-namespaces", "--format", "json").json["objects"]
    sizes = {one["namespace"]: one["size"] for one in listed if one["id"] == here}
    assert (sizes[world.namespace()], sizes[namespace]) == (8192, 12288)


@in_world()
def test_without_the_option_only_our_own_is_looked_at_and_the_rest_is_said() -> None:
    world.needs_root()
    there = elsewhere(leak, world.CLONE_NEWIPC)
    report = world.audit()
    assert report["scan"]["namespaces"] == [world.namespace()]
    assert not [one for one in report["findings"] if one["namespace"] == world.namespace("ipc", there.pid)]
    assert "HOST-004" in {one["rule"] for one in report["findings"]}


@in_world()
def test_the_holders_of_a_segment_are_those_of_its_namespace() -> None:
    """Segment ids start over in each namespace: the same number, attached here, free there."""
    world.needs_root()

    def make() -> int:
        shmid = world.shmget(4096)
        world.shmat(shmid)
        return shmid

    here = world.spawn(make)
    there = elsewhere(make, world.CLONE_NEWIPC)
    assert here.value == there.value
    listed = world.ipcops("list", "shm", "--all-namespaces", "--format", "json").json["objects"]
    holders = {one["namespace"]: {holder["pid"] for holder in one["holders"]} for one in listed if one["holders"]}
    assert holders[world.namespace()] == {here.pid}
    assert holders[world.namespace("ipc", there.pid)] == {there.pid}


@in_world()
def test_a_semaphore_set_elsewhere_is_asked_there() -> None:
    """The waiter of a set is told by the kernel, in the namespace of the set."""
    world.needs_root()

    def wait() -> int:
        return world.semget(1)

    def block(semid: int) -> None:
        world.semop(semid, -1)

    def enter() -> int:
        world.unshare(world.CLONE_NEWIPC)
        return wait()

    waiter = world.spawn(enter, then=block)
    world.wait_blocked(waiter.pid, "semop", waiter.value)
    listed = world.ipcops("list", "sem", "--all-namespaces", "--format", "json").json["objects"]
    mine = [one for one in listed if one["namespace"] == world.namespace("ipc", waiter.pid)]
    assert [(one["verdict"], [it["pid"] for it in one["waiters"]]) for one in mine] == [("in-use", [waiter.pid])]


@in_world()
def test_shared_memory_files_and_fifos_of_another_mount_namespace() -> None:
    world.needs_root()
    world.shm_file("psm_here")

    def make() -> None:
        world.mount("tmpfs", "/dev/shm", "tmpfs", world.MS_NOSUID | world.MS_NODEV)
        world.shm_file("psm_there")
        world.mount("tmpfs", "/mnt", "tmpfs")
        os.mkfifo("/mnt/there")

    there = elsewhere(make, world.CLONE_NEWNS | world.CLONE_NEWIPC)
    text = NOW.replace("[audit]", "fifo_dirs = /mnt\n[audit]")
    words = ("list", "posix-shm", "fifo", "--all-namespaces", "--format", "json", "--policy", world.policy(text))
    listed = world.ipcops(*words).json["objects"]
    places = {one["path"]: one["place"] for one in listed}
    assert places["/psm_here"] is None
    command = Path("/proc/self/comm").read_text().strip()
    assert places["/psm_there"] == places["/mnt/there"] == f"pid {there.pid} ({command})"


@in_world()
def test_a_mount_namespace_with_the_same_dev_shm_is_not_counted_twice() -> None:
    world.needs_root()
    world.shm_file("psm_here")
    elsewhere(lambda: None, world.CLONE_NEWNS)
    listed = world.ipcops("list", "posix-shm", "--all-namespaces", "--format", "json").json["objects"]
    assert [one["path"] for one in listed if one["path"] == "/psm_here"] == ["/psm_here"]


@in_world(mqueue=True)
def test_queues_of_another_namespace() -> None:
    world.needs_root()

    def make() -> str:
        os.close(world.mq_open("/there"))
        return "/there"

    there = elsewhere(make, world.CLONE_NEWIPC)
    listed = world.ipcops("list", "posix-mq", "--all-namespaces", "--format", "json").json["objects"]
    found = {one["path"]: one["namespace"] for one in listed}
    assert found["/there"] == world.namespace("ipc", there.pid)


@in_world()
def test_sockets_of_another_network_namespace() -> None:
    world.needs_root()

    def listen() -> Any:
        server = socket.socket(socket.AF_UNIX)
        server.bind("\0there")
        server.listen()
        return server.detach()

    there = elsewhere(listen, CLONE_NEWNET)
    words = ("list", "unix", "inet", "--format", "json")
    assert "@there" not in {one["path"] for one in world.ipcops(*words).json["objects"]}
    listed = world.ipcops(*words, "--all-namespaces").json["objects"]
    mine = [one for one in listed if one["path"] == "@there"]
    assert [(one["namespace"], [it["pid"] for it in one["holders"]]) for one in mine] == [
        (world.namespace("net", there.pid), [there.pid])
    ]


@in_world()
def test_a_network_namespace_that_only_a_mount_keeps() -> None:
    """What ip-netns(8) makes has no process; a socket may still be bound there by a process that left it."""
    world.needs_root()
    place = world.here() / "kept"
    place.touch()

    def make() -> int:
        world.unshare(CLONE_NEWNET)
        world.mount("/proc/self/ns/net", str(place), None, world.MS_BIND)
        server = socket.socket(socket.AF_UNIX)
        server.bind("\0kept")
        server.listen()
        home = os.open(f"/proc/{os.getppid()}/ns/net", os.O_RDONLY)
        assert world._libc.setns(home, CLONE_NEWNET) == 0
        return server.detach()

    holder = world.spawn(make)
    listed = world.ipcops("list", "unix", "--all-namespaces", "--format", "json").json["objects"]
    mine = [one for one in listed if one["path"] == "@kept"]
    assert [([it["pid"] for it in one["holders"]], one["place"]) for one in mine] == [
        ([holder.pid], f"the namespace at {place}")
    ]


@in_world()
def test_a_namespace_that_ends_before_it_is_entered_is_no_gap() -> None:
    world.needs_root()
    there = elsewhere(leak, world.CLONE_NEWIPC)
    roots = host_roots()
    mounts = parse_mountinfo(roots.proc.read("self/mountinfo"))
    entries, _ = survey(roots.proc, own_entry(roots.proc), mounts)
    entry = next(one for one in entries if one.pids == (there.pid,))
    there.kill()
    visitor = Visitor(roots, Kernel(), defaults())
    with pytest.raises(EntryError) as failure:
        visitor.gather(entry, ("shm",), time.monotonic() + 10)
    assert failure.value.gone
    visitor.close()


@in_world()
def test_a_namespace_that_ends_while_we_are_in_it_is_told_to_its_end() -> None:
    world.needs_root()
    there = elsewhere(leak, world.CLONE_NEWIPC)
    roots = host_roots()
    mounts = parse_mountinfo(roots.proc.read("self/mountinfo"))
    entries, _ = survey(roots.proc, own_entry(roots.proc), mounts)
    entry = next(one for one in entries if one.pids == (there.pid,))
    visitor = Visitor(roots, Kernel(), defaults())
    first = visitor.gather(entry, ("shm",), time.monotonic() + 10)
    there.kill()
    again = visitor.gather(entry, ("shm",), time.monotonic() + 10)
    assert [list(one.tables["shm"]["id"]) for one in (first, again)] == [[there.value]] * 2
    visitor.close()


@in_world()
def test_nothing_is_loaded_from_the_file_system_of_another_mount_namespace() -> None:
    """A container's own Python files would run as root on the host."""
    world.needs_root()
    marker = world.here() / "was-loaded"

    def poison() -> None:
        import sysconfig

        places = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(world.REPO)}
        for path in sorted(places, key=len, reverse=True):
            world.mount("tmpfs", path, "tmpfs")
            for name in ("socket", "pwd", "grp", "_socket", "struct", "pickle", "fcntl", "ipcops"):
                Path(path, name + ".py").write_text(f"open({str(marker)!r}, 'w')\n")
        world.mount("tmpfs", "/mnt", "tmpfs")
        os.mkfifo("/mnt/poisoned")

    there = elsewhere(poison, world.CLONE_NEWNS | world.CLONE_NEWIPC | CLONE_NEWNET)
    text = NOW.replace("[audit]", "fifo_dirs = /mnt\n[audit]")
    report = audit(text=text)
    assert placed(report, there.pid)["objects"]["fifo"] == 1
    assert not marker.exists()


@in_world()
def test_an_ordinary_user_is_told_what_it_could_not_enter() -> None:
    world.needs_root()
    elsewhere(leak, world.CLONE_NEWIPC)
    report = world.audit("--all-namespaces", uid=GONE)
    assert not report["scan"]["complete"]
    assert any(gap["evidence"] == "namespaces" for gap in report["scan"]["skipped"])


@in_world()
def test_a_socket_of_a_network_namespace_that_nothing_leads_to_keeps_its_file() -> None:
    """Its maker moved on, and took the descriptor along: the file must not be called stale."""
    world.needs_root()
    path = str(world.here() / "kept.sock")

    def move_on() -> int:
        world.unshare(CLONE_NEWNET)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        world.unshare(CLONE_NEWNET)
        return server.detach()

    def verdict() -> str:
        text = NOW.replace("[audit]", f"fifo_dirs = {world.here()}\n[audit]")
        listed = world.ipcops("list", "unix", "--format", "json", "--policy", world.policy(text)).json
        unread = {gap["pid"] for gap in listed["scan"]["skipped"] if gap["evidence"] == "sockets"}
        assert (keeper.pid in unread) == os.path.exists(f"/proc/{keeper.pid}")
        return str(world.the("unix", path, text)["verdict"])

    keeper = world.spawn(move_on)
    assert verdict() == "unknown"
    keeper.kill()
    if not world.audit()["scan"]["complete"]:
        pytest.skip("not every process can be looked into here, so no file can be called stale")
    assert verdict() == "orphan"
