"""Every rule once where it must fire and once where a similar world must keep it silent.

A case makes a situation in a world of its own and returns the id or name of the object that the
finding must be about, or None when the finding is about the host. ``severity`` None means silence:
then the rule must not fire for anything in that world.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import world
from tests.world import GONE, NOW, OTHER, SCAN, THIRD, in_world

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")
SMALL = SCAN + "[audit]\norphan_age = 0\nidle_age = 0\nidle_size = 1M\n"

Which = Any  # an id, a name, or None


class Case(NamedTuple):
    """One situation and what the rule must say to it."""

    rule: str
    severity: str | None
    make: Callable[[], Which]
    text: str = NOW
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


CASES: dict[str, Case] = {}


def case(
    rule: str, severity: str | None, *, text: str = NOW, **options: Any
) -> Callable[[Callable[[], Which]], Callable[[], Which]]:
    """Register a situation under its function's name."""

    def register(make: Callable[[], Which]) -> Callable[[], Which]:
        assert make.__name__ not in CASES, make.__name__
        CASES[make.__name__] = Case(rule, severity, make, text, options)
        return make

    return register


def as_gone(make: Callable[[], Any], **more: Any) -> Any:
    """Make something as a uid that is gone afterwards."""
    return world.as_uid(GONE, make, **more)


# --- SHM


@case("SHM-001", "medium")
def orphaned_segment() -> Which:
    return as_gone(lambda: world.shmget(4096))


@case("SHM-001", None)
def segment_attached_by_a_stranger() -> Which:
    shmid = as_gone(lambda: world.shmget(4096))
    world.spawn(lambda: world.shmat(shmid))
    return None


@case("SHM-001", None)
def segment_of_a_living_owner() -> Which:
    as_gone(lambda: world.shmget(4096))
    world.spawn(uid=GONE)
    return None


@case("SHM-001", "high", text=NOW + "orphans_of_memory = 0.001\n")
def orphaned_segments_that_are_a_share_of_memory() -> Which:
    return as_gone(lambda: world.shmget(32 * MIB))


@case("SHM-002", "low")
def removed_segment_kept_by_another_user() -> Which:
    shmid = as_gone(lambda: world.shmget(4096, mode=0o666))
    world.spawn(lambda: world.shmat(shmid), uid=OTHER)
    as_gone(lambda: world.shmrm(shmid))
    return int(shmid)


@case("SHM-002", None)
def segment_removed_at_once_by_its_only_user() -> Which:
    def zabbix() -> None:
        shmid = world.shmget(4096)
        world.shmat(shmid)
        world.shmrm(shmid)

    world.spawn(zabbix, uid=GONE)
    return None


@case("SHM-003", "high")
def segment_for_everyone_to_write() -> Which:
    return int(world.spawn(lambda: world.shmget(4096, mode=0o622), uid=GONE).value)


@case("SHM-003", "critical")
def segment_of_root_for_everyone_to_write() -> Which:
    world.spawn(uid=OTHER)
    return world.shmget(4096, mode=0o666)


@case("SHM-003", "critical")
def segment_that_several_users_write() -> Which:
    shmid = world.spawn(lambda: world.shmget(4096, mode=0o666), uid=GONE).value
    world.spawn(lambda: world.shmat(shmid), uid=GONE)
    world.spawn(lambda: world.shmat(shmid), uid=OTHER)
    return int(shmid)


@case("SHM-003", None)
def segment_for_a_group_to_write() -> Which:
    world.spawn(lambda: world.shmget(4096, mode=0o664), uid=GONE)
    return None


@case("SHM-004", "medium")
def segment_for_everyone_to_read() -> Which:
    world.spawn(uid=OTHER)
    return int(world.spawn(lambda: world.shmget(4096, mode=0o644), uid=GONE).value)


@case("SHM-004", None)
def segment_for_a_group_to_read() -> Which:
    world.spawn(lambda: world.shmget(4096, mode=0o640), uid=GONE)
    return None


def in_unit(child: world.Process, unit: str) -> world.Process:
    """Show a process as one of a systemd unit, in this mount namespace only."""
    file = world.here() / unit
    file.write_text(f"0::/system.slice/{unit}\n")
    world.mount(str(file), f"/proc/{child.pid}/cgroup", None, world.MS_BIND)
    return child


@case("SHM-005", "medium")
def segment_shared_by_strangers() -> Which:
    """Two services of two users meet in the segment of a third: a key that was not unique."""
    shmid = as_gone(lambda: world.shmget(4096, key=0x1234, mode=0o666))
    in_unit(world.spawn(lambda: world.shmat(shmid), uid=OTHER), "one.service")
    in_unit(world.spawn(lambda: world.shmat(shmid), uid=THIRD), "other.service")
    return int(shmid)


@case("SHM-005", None)
def segment_shared_by_one_service() -> Which:
    shmid = as_gone(lambda: world.shmget(4096, key=0x1234, mode=0o666))
    in_unit(world.spawn(lambda: world.shmat(shmid), uid=OTHER), "one.service")
    in_unit(world.spawn(lambda: world.shmat(shmid), uid=OTHER), "one.service")
    return None


@case("SHM-005", None)
def segment_of_a_server_and_its_clients() -> Which:
    """Have the creator's own user among those attached: it wanted the others there."""
    shmid = as_gone(lambda: world.shmget(4096, key=0x1234, mode=0o666))
    in_unit(world.spawn(lambda: world.shmat(shmid), uid=GONE), "server.service")
    in_unit(world.spawn(lambda: world.shmat(shmid), uid=OTHER), "client.service")
    return None


def segments(count: int) -> None:
    """Make that many segments, held and of a living owner."""
    for _ in range(count):
        world.shmat(world.shmget(PAGE))


@case("SHM-006", "high")
def nine_of_ten_segments() -> Which:
    world.limit("kernel.shmmni", 10)
    segments(9)
    return None


@case("SHM-006", "medium")
def eight_of_ten_segments() -> Which:
    world.limit("kernel.shmmni", 10)
    segments(8)
    return None


@case("SHM-006", None)
def seven_of_ten_segments() -> Which:
    world.limit("kernel.shmmni", 10)
    segments(7)
    return None


@case("SHM-006", "high")
def removed_segments_count_while_attached() -> Which:
    world.limit("kernel.shmmni", 10)
    for _ in range(9):
        shmid = world.shmget(PAGE)
        world.shmat(shmid)
        world.shmrm(shmid)
    return None


@case("SHM-007", "high")
def pages_nearly_used_up() -> Which:
    world.limit("kernel.shmall", 100)
    world.shmget(80 * PAGE)
    for _ in range(11):
        world.shmget(1)  # a page each, however small
    return None


@case("SHM-007", None)
def half_of_the_pages() -> Which:
    world.limit("kernel.shmall", 100)
    world.shmget(50 * PAGE)
    return None


@case("SHM-007", None)
def pages_without_a_real_limit() -> Which:
    world.shmget(64 * MIB)
    return None


@case("SHM-008", "medium")
def segment_swapped_out() -> Which:
    free = [line for line in Path("/proc/meminfo").read_text().splitlines() if "SwapFree" in line]
    if int(free[0].split()[1]) * 1024 < 200 * MIB:
        pytest.skip("no swap on this machine")
    shmid = world.shmget(100 * MIB)
    address = world.shmat(shmid)
    world.touch(address, 100 * MIB)
    pageout = 21
    world._call("madvise", world.ctypes.c_void_p(address), world.ctypes.c_size_t(100 * MIB), pageout)
    (row,) = world.table("shm")
    if row["swap"] < 70 * MIB:
        pytest.skip(f"the kernel swapped out {row['swap']} bytes only")
    return shmid


@case("SHM-008", None)
def segment_in_memory() -> Which:
    address = world.shmat(world.shmget(80 * MIB))
    world.touch(address, 80 * MIB)
    return None


@case("SHM-010", "info")
def no_ceiling_on_shared_memory() -> Which:
    world.spawn(lambda: world.shmat(world.shmget(PAGE)), uid=GONE)
    return None


@case("SHM-010", None)
def a_ceiling_on_shared_memory() -> Which:
    world.limit("kernel.shmall", 1000)
    world.spawn(lambda: world.shmat(world.shmget(PAGE)), uid=GONE)
    return None


@case("SHM-012", "medium", text=SMALL)
def large_idle_segment() -> Which:
    return int(world.spawn(lambda: world.shmget(2 * MIB), uid=GONE).value)


@case("SHM-012", None, text=SMALL)
def small_idle_segment() -> Which:
    world.spawn(lambda: world.shmget(MIB - 1), uid=GONE)
    return None


@case("SHM-012", None, text=SMALL)
def large_segment_in_use() -> Which:
    world.spawn(lambda: world.shmat(world.shmget(2 * MIB)), uid=GONE)
    return None


@case("SHM-012", None, text=SMALL.replace("idle_age = 0", "idle_age = 1h"))
def large_segment_idle_for_a_moment() -> Which:
    world.spawn(lambda: world.shmget(2 * MIB), uid=GONE)
    return None


@case("SHM-012", "medium", text=SMALL.replace("idle_age = 0", "idle_age = 1h"))
def large_segment_idle_for_hours() -> Which:
    child = world.spawn(lambda: world.shmget(2 * MIB), uid=GONE)
    world.later(2 * 3600)
    return int(child.value)


# --- SEM


@case("SEM-001", "medium")
def abandoned_set() -> Which:
    def use() -> int:
        semid = world.semget(3)
        world.semop(semid, 1, num=2)
        return semid

    return as_gone(use)


@case("SEM-001", None)
def set_of_a_living_owner() -> Which:
    as_gone(lambda: world.semget(1))
    world.spawn(uid=GONE)
    return None


@case("SEM-004", "high")
def nine_of_ten_sets() -> Which:
    world.limit("kernel.sem", "250 1000 32 10")
    for _ in range(9):
        world.semget(1)
    return None


@case("SEM-004", "high")
def semaphores_nearly_used_up() -> Which:
    world.limit("kernel.sem", "250 100 32 1000")
    world.semget(95)
    return None


@case("SEM-004", None)
def half_of_the_sets() -> Which:
    world.limit("kernel.sem", "250 100 32 10")
    for _ in range(5):
        world.semget(10)
    return None


@case("SEM-005", "high")
def set_for_everyone_to_operate() -> Which:
    return int(world.spawn(lambda: world.semget(1, mode=0o666), uid=GONE).value)


@case("SEM-005", None)
def set_for_everyone_to_read() -> Which:
    world.spawn(lambda: world.semget(1, mode=0o664), uid=GONE)
    return None


@case("SEM-006", "low")
def set_never_used() -> Which:
    semid = world.semget(1)
    world.later(700)
    return semid


@case("SEM-006", None)
def set_not_used_yet() -> Which:
    world.semget(1)
    return None


@case("SEM-006", None)
def set_used_long_ago() -> Which:
    world.semop(world.semget(1), 1)
    world.later(700)
    return None


# --- MSG


def fill(share: float, size: int = 164) -> int:
    """Make a queue of 16 KiB and fill this share of it."""
    msqid = world.msgget()
    world.msgset(msqid, qbytes=16384)
    for _ in range(int(share * 16384 / size)):
        world.msgsnd(msqid, b"x" * size)
    return msqid


@case("MSG-001", "high")
def queue_full_and_nobody_reads() -> Which:
    return as_gone(lambda: fill(0.97))


@case("MSG-001", "medium")
def queue_full_while_somebody_receives() -> Which:
    """Wait for a message of a type that is not there, as a reader that has fallen behind."""
    msqid = fill(0.97)
    reader = world.spawn(then=lambda _: world.msgrcv(msqid, kind=77))
    world.wait_blocked(reader.pid, "msgrcv", msqid)
    return msqid


@case("MSG-001", "medium")
def queue_filling() -> Which:
    return fill(0.80)


@case("MSG-001", None)
def queue_half_full() -> Which:
    fill(0.5)
    return None


@case("MSG-001", "high")
def queue_full_of_empty_messages() -> Which:
    """No byte in it, and yet no message more: the number of messages is limited by qbytes too."""

    def empty() -> int:
        msqid = world.msgget()
        world.msgset(msqid, qbytes=200)
        for _ in range(200):
            world.msgsnd(msqid, b"")
        with pytest.raises(BlockingIOError):
            world.msgsnd(msqid, b"")
        return msqid

    return as_gone(empty)


@case("MSG-004", "medium")
def abandoned_queue() -> Which:
    return as_gone(world.msgget)


@case("MSG-004", "high")
def abandoned_queue_with_data() -> Which:
    def use() -> int:
        msqid = world.msgget()
        world.msgsnd(msqid, b"precious")
        return msqid

    return as_gone(use)


@case("MSG-004", None)
def queue_of_a_living_owner() -> Which:
    as_gone(world.msgget)
    world.spawn(uid=GONE)
    return None


@case("MSG-005", "high")
def queue_for_everyone_to_write() -> Which:
    return world.msgget(mode=0o622)


@case("MSG-005", "medium")
def queue_for_everyone_to_read() -> Which:
    return world.msgget(mode=0o644)


@case("MSG-005", None)
def queue_for_a_group() -> Which:
    world.msgget(mode=0o660)
    return None


@case("MSG-006", "high")
def nine_of_ten_queues() -> Which:
    world.limit("kernel.msgmni", 10)
    for _ in range(9):
        world.msgget()
    return None


@case("MSG-006", None)
def half_of_the_queues() -> Which:
    world.limit("kernel.msgmni", 10)
    for _ in range(5):
        world.msgget()
    return None


@case("MSG-007", "info")
def queue_older_than_the_tuning() -> Which:
    msqid = world.msgget()
    world.limit("kernel.msgmnb", 65536)
    return msqid


@case("MSG-007", None)
def queue_younger_than_the_tuning() -> Which:
    world.limit("kernel.msgmnb", 65536)
    world.msgget()
    return None


# --- MQ


def posix_queue(messages: int, mode: int = 0o600, name: str = "/jobs") -> str:
    """Make a queue of ten messages with some in it; return its name."""
    descriptor = world.mq_open(name, maxmsg=10, msgsize=64, mode=mode)
    for _ in range(messages):
        world.mq_send(descriptor, b"x")
    return name[1:]


@case("MQ-001", "high", mqueue=True)
def posix_queue_nearly_full() -> Which:
    return posix_queue(9)


@case("MQ-001", None, mqueue=True)
def posix_queue_half_full() -> Which:
    posix_queue(5)
    return None


@case("MQ-002", "medium", mqueue=True)
def leaked_posix_queue() -> Which:
    return as_gone(lambda: posix_queue(0))


@case("MQ-002", None, mqueue=True)
def posix_queue_that_somebody_has_open() -> Which:
    world.spawn(lambda: posix_queue(0), uid=GONE)
    return None


def big_queues(count: int) -> None:
    """Make queues of 80 KiB each, the largest that the default limits allow.

    The kernel takes a namespace down in the background (ipc/namespace.c, free_ipc), so what the
    user had in the world of the test before may still count for a moment: EMFILE.
    """
    for number in range(count):
        until = time.monotonic() + 20
        while True:
            try:
                world.mq_open(f"/big{number}", maxmsg=10, msgsize=8192)
                break
            except OSError as error:
                if error.errno != errno.EMFILE or time.monotonic() > until:
                    raise
                time.sleep(0.05)


def needs_default_queue_limit() -> None:
    """Skip where RLIMIT_MSGQUEUE is not the kernel's default of 800 KiB."""
    import resource

    if resource.getrlimit(resource.RLIMIT_MSGQUEUE)[0] != 819200:
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (819200, 819200))


@case("MQ-003", "high", mqueue=True)
def user_at_the_limit_of_queue_memory() -> Which:
    """Nine queues of 82,880 bytes are 91 % of 819,200."""
    needs_default_queue_limit()
    world.spawn(lambda: big_queues(9), uid=GONE)
    return None


@case("MQ-003", None, mqueue=True)
def user_below_the_limit_of_queue_memory() -> Which:
    needs_default_queue_limit()
    world.spawn(lambda: big_queues(4), uid=GONE)
    return None


@case("MQ-003", "high", mqueue=True)
def unlinked_queues_still_count() -> Which:
    needs_default_queue_limit()

    def hidden() -> None:
        big_queues(9)
        for number in range(9):
            world.mq_unlink(f"/big{number}")

    world.spawn(hidden, uid=GONE)
    return None


@case("MQ-004", "medium", mqueue=True)
def nine_of_ten_posix_queues() -> Which:
    world.limit("fs.mqueue.queues_max", 10)
    for number in range(9):
        posix_queue(0, name=f"/q{number}")
    return None


@case("MQ-004", None, mqueue=True)
def half_of_the_posix_queues() -> Which:
    world.limit("fs.mqueue.queues_max", 10)
    for number in range(5):
        posix_queue(0, name=f"/q{number}")
    return None


@case("MQ-005", "high", mqueue=True)
def posix_queue_for_everyone_to_write() -> Which:
    return posix_queue(0, mode=0o622)


@case("MQ-005", "medium", mqueue=True)
def posix_queue_for_everyone_to_read() -> Which:
    return posix_queue(0, mode=0o644)


@case("MQ-005", None, mqueue=True)
def posix_queue_for_a_group() -> Which:
    posix_queue(0, mode=0o660)
    return None


@case("MQ-006", "info")
def queues_that_no_mount_shows() -> Which:
    world.mq_open("/unseen")
    return None


@case("MQ-006", None)
def no_queues_and_no_mount() -> Which:
    return None


@case("MQ-006", None, mqueue=True)
def queues_that_a_mount_shows() -> Which:
    world.mq_open("/seen")
    return None


@case("MQ-006", "info", mqueue=True)
def queues_that_a_mount_of_another_namespace_does_not_show() -> Which:
    world.unshare(world.CLONE_NEWIPC)
    world.mq_open("/unseen")
    assert os.listdir("/dev/mqueue") == []
    return None


# --- PSHM


@case("PSHM-001", "medium")
def leaked_file() -> Which:
    return os.path.basename(as_gone(lambda: world.shm_file("psm_12345678", b"x" * 5000)))


@case("PSHM-001", None)
def file_of_a_living_owner() -> Which:
    as_gone(lambda: world.shm_file("psm_12345678"))
    world.spawn(uid=GONE)
    return None


@case("PSHM-001", None)
def lock_table_of_podman() -> Which:
    as_gone(lambda: world.shm_file(f"libpod_rootless_lock_{GONE}"))
    return None


@case("PSHM-001", "high", shm="size=16m")
def leaked_file_that_fills_the_mount() -> Which:
    return os.path.basename(as_gone(lambda: world.shm_file("psm_12345678", b"x" * 5 * MIB)))


def hidden_file(size: int) -> None:
    """Start a process that keeps a file mapped which it has unlinked."""

    def hide() -> None:
        path = world.shm_file("scratch", b"x" * size)
        world.map_file(path)
        os.unlink(path)

    world.spawn(hide, uid=GONE)


@case("PSHM-002", "medium", shm="size=16m")
def unlinked_file_still_mapped() -> Which:
    hidden_file(4 * MIB)
    return None


@case("PSHM-002", "medium", shm="size=16m")
def unlinked_file_still_open() -> Which:
    def hide() -> None:
        path = world.shm_file("scratch", b"x" * 4 * MIB)
        os.open(path, os.O_RDONLY)
        os.unlink(path)

    world.spawn(hide, uid=GONE)
    return None


@case("PSHM-002", None, shm="size=16m")
def small_unlinked_file() -> Which:
    hidden_file(PAGE)
    return None


@case("PSHM-002", None, shm="size=16m")
def memfd_of_the_same_size() -> Which:
    def anonymous() -> None:
        descriptor = os.memfd_create("scratch")
        os.write(descriptor, b"x" * 4 * MIB)
        world.map_file(f"/proc/self/fd/{descriptor}", close=False)

    world.spawn(anonymous, uid=GONE)
    return None


@case("PSHM-002", None, shm="size=8k")
def semaphore_whose_creator_lives() -> Which:
    """Map what reads as '(deleted)' in the creator's maps, while the file is there."""
    world.spawn(lambda: world.sem_open("/lock"), uid=GONE)
    return None


@case("PSHM-003", "critical", shm="size=1m")
def memory_of_the_mount_used_up() -> Which:
    world.shm_file("data", b"x" * (996 << 10))
    return None


@case("PSHM-003", "high", shm="size=1m")
def memory_of_the_mount_nearly_used_up() -> Which:
    world.shm_file("data", b"x" * (900 << 10))
    return None


@case("PSHM-003", None, shm="size=1m")
def half_of_the_memory_of_the_mount() -> Which:
    world.shm_file("data", b"x" * (512 << 10))
    return None


@case("PSHM-003", "high", shm="size=16m,nr_inodes=100")
def inodes_of_the_mount_nearly_used_up() -> Which:
    for number in range(90):
        world.shm_file(f"file{number}", b"")
    return None


@case("PSHM-003", None, shm="size=0,nr_inodes=0")
def mount_without_a_limit() -> Which:
    world.shm_file("data", b"x" * MIB)
    return None


@case("PSHM-004", "high")
def file_for_everyone_to_write() -> Which:
    return os.path.basename(world.shm_file("data", mode=0o666))


@case("PSHM-004", None)
def file_for_everyone_to_read() -> Which:
    world.shm_file("data", mode=0o644)
    return None


@case("PSHM-004", None)
def socket_for_everyone_to_write() -> Which:
    """Only files hold memory that others can change; directories are open by design."""
    os.mkdir("/dev/shm/directory")
    os.chmod("/dev/shm/directory", 0o1777)
    os.mkfifo("/dev/shm/fifo")
    os.chmod("/dev/shm/fifo", 0o666)
    return None


@case("PSHM-006", None)
def mount_with_all_options() -> Which:
    return None


@case("PSHM-006", "medium", shm_flags=world.MS_NOEXEC)
def mount_without_nosuid_and_nodev() -> Which:
    return None


@case("PSHM-006", "low", shm_flags=world.MS_NOSUID | world.MS_NODEV)
def mount_without_noexec() -> Which:
    return None


@case("PSHM-006", "medium")
def mount_without_the_sticky_bit() -> Which:
    os.chmod("/dev/shm", 0o777)
    return None


@case("PSHM-008", "medium", text=SMALL)
def large_idle_file() -> Which:
    child = world.spawn(lambda: world.shm_file("cache", b"x" * 2 * MIB), uid=GONE)
    return os.path.basename(child.value)


@case("PSHM-008", None, text=SMALL)
def small_idle_file() -> Which:
    world.spawn(lambda: world.shm_file("cache", b"x" * 5000), uid=GONE)
    return None


@case("PSHM-008", None, text=SMALL)
def large_file_in_use() -> Which:
    world.spawn(lambda: world.map_file(world.shm_file("cache", b"x" * 2 * MIB)), uid=GONE)
    return None


@pytest.mark.parametrize("name", list(CASES), ids=[f"{one.rule}-{name}" for name, one in CASES.items()])
def test_situation(name: str) -> None:
    one = CASES[name]

    @in_world(**one.options)
    def body() -> None:
        which = one.make()
        found = world.findings(one.rule, text=one.text)
        if one.severity is None:
            assert found == []
            return
        if which is not None:
            found = [finding for finding in found if world.is_it(finding, which)]
        assert [finding["severity"] for finding in found] == [one.severity]
        (finding,) = found
        assert finding["title"]
        assert finding["reason"]
        assert finding["remedy"]
        assert finding["confidence"] in ("certain", "strong", "suspect")
        assert finding["namespace"] in (world.namespace(), None)

    body()


OF_ISSUE = """
    SHM-001 SHM-002 SHM-003 SHM-004 SHM-005 SHM-006 SHM-007 SHM-008 SHM-010 SHM-012
    SEM-001 SEM-004 SEM-005 SEM-006
    MSG-001 MSG-004 MSG-005 MSG-006 MSG-007
    MQ-001 MQ-002 MQ-003 MQ-004 MQ-005 MQ-006
    PSHM-001 PSHM-002 PSHM-003 PSHM-004 PSHM-006 PSHM-008
""".split()


ELSEWHERE = ("test_channel_rules.py", "test_containers.py", "test_limits.py", "test_namespaces.py")
"""Where the rules about channels, about limits and about the host are tried."""
FROM_SNAPSHOTS_ONLY = {"HOST-005"}
"""It takes another boot parameter; tests/cases has it."""


def test_every_rule_fires_and_keeps_silent_somewhere() -> None:
    """The catalogue, the cases and this list name the same rules."""
    fires = {one.rule for one in CASES.values() if one.severity}
    silent = {one.rule for one in CASES.values() if not one.severity}
    assert sorted(fires) == sorted(silent) == sorted(OF_ISSUE)
    catalogue = world.ipcops("rules", "--format", "json")
    assert catalogue.status == 0, catalogue.err
    others = {one["id"] for one in catalogue.json["rules"]} - set(OF_ISSUE)
    files = [Path(__file__).with_name(name).read_text() for name in ELSEWHERE]
    assert {rule for rule in others if not any(f'"{rule}"' in text for text in files)} == FROM_SNAPSHOTS_ONLY


# --- time passes


@in_world(mqueue=True)
def test_a_day_later() -> None:
    """With the default policy leaks appear after 24 hours, not before."""
    leaks = {"SHM-001", "SEM-001", "MSG-004", "MQ-002", "PSHM-001"}

    def make() -> None:
        world.shmget(4096)
        world.semget(1)
        world.msgget()
        posix_queue(0)
        world.shm_file("psm_12345678")

    as_gone(make)

    def found() -> set[str]:
        return {one["rule"] for one in world.audit(text=SCAN)["findings"]} & leaks

    world.later(23 * 3600)
    assert found() == set()
    world.later(3600 + 60)
    assert found() == leaks


@in_world()
def test_a_clock_that_jumps_ages_nothing() -> None:
    """The wall clock is a year ahead, the host has run for an hour: nothing is a day old."""
    shmid = as_gone(lambda: world.shmget(4096))
    world.later(366 * 86400)
    (world.here() / "clock" / "uptime").write_text("3600.00 3600.00\n")
    world._set_uptime = lambda: None
    assert world.the("shm", shmid, text=SCAN)["verdict"] != "orphan"
    assert world.findings("SHM-001", text=SCAN) == []


@pytest.mark.parametrize("stays", [True, False])
@in_world(mqueue=True)
def test_two_samples(stays: bool) -> None:  # noqa: FBT001
    """One look at a full queue suspects; a queue that is emptied meanwhile is no finding of two."""
    msqid = as_gone(lambda: fill(0.97))
    posix_queue(9)
    suspected = [one for one in world.audit()["findings"] if one["rule"] in ("MSG-001", "MQ-001")]
    assert [one["confidence"] for one in suspected] == ["suspect", "suspect"]

    def drain() -> None:
        time.sleep(0.7)
        descriptor = world.mq_open("/jobs", maxmsg=10, msgsize=64)
        while world.msgstat(msqid).qnum:
            world.msgrcv(msqid)
        for _ in range(9):
            world.mq_receive(descriptor)

    if not stays:
        world.spawn(then=lambda _: drain())
    found = world.audit("--samples", "2", "--interval", "1.5")["findings"]
    again = [one["confidence"] for one in found if one["rule"] in ("MSG-001", "MQ-001")]
    assert again == (["certain", "certain"] if stays else [])


# --- what a report says as a whole


@in_world(mqueue=True)
def test_a_clean_world_has_no_finding_above_info() -> None:
    """Objects in good order are no findings: an alarm that is always on is none."""
    world.shmat(world.shmget(4096))
    world.semop(world.semget(2), 1)
    world.msgget()
    posix_queue(1)
    world.map_file(world.shm_file("data"))
    found = [one for one in world.audit()["findings"] if one["severity"] != "info"]
    assert [one for one in found if not one["rule"].startswith("HOST-")] == []  # what the host is like is not ours


@in_world(mqueue=True)
def test_summary_counts_and_order() -> None:
    """The summary counts what is listed; worst comes first; ids of the host are in every finding."""
    for kind in (lambda: world.shmget(4096, mode=0o666), lambda: world.semget(1), world.msgget):
        as_gone(kind)
    posix_queue(9, mode=0o644)
    report = world.audit()
    order = ["critical", "high", "medium", "low", "info"]
    severities = [one["severity"] for one in report["findings"]]
    assert severities == sorted(severities, key=order.index)
    assert report["summary"] == {word: severities.count(word) for word in order}
    assert report["scan"]["namespaces"] == [world.namespace()]
    assert abs(report["scan"]["started_at"] - time.time()) < 30


@in_world()
def test_options_of_audit_choose() -> None:
    """--kind, --rule, --min-severity and --fail-on: what is shown, and what the status says."""
    world.spawn(uid=OTHER)  # where only root runs, "everybody" is nobody else, and less severe
    as_gone(lambda: world.shmget(4096, mode=0o666))
    as_gone(lambda: world.semget(1))
    base = ("audit", "--format", "json", "--policy", world.policy())

    def rules(*words: str) -> tuple[int, set[str]]:
        answer = world.ipcops(*base, *words)
        return answer.status, {one["rule"] for one in answer.json["findings"]}

    assert rules("--kind", "sem") == (1, {"SEM-001"})
    assert rules("--rule", "SHM-003") == (1, {"SHM-003"})
    status, found = rules("--min-severity", "high")
    assert (status, found) == (1, {"SHM-003"})
    assert rules("--fail-on", "high")[0] == 1
    assert rules("--fail-on", "critical")[0] == 0
    assert rules("--fail-on", "none")[0] == 0
    assert rules("--kind", "msg") == (0, set())


@in_world()
def test_exemptions_of_the_policy() -> None:
    """A finding accepted for one object stays for the others."""
    as_gone(lambda: world.shmget(4096, key=0x5EED, mode=0o600))
    other = as_gone(lambda: world.shmget(4096, key=0x5EEE, mode=0o600))
    found = world.findings("SHM-001", text=NOW + "exempt = SHM-001:shm:0x00005eed\n")
    assert [one["id"] for one in found] == [other]
    assert world.findings("SHM-001", text=NOW + "exempt = SHM-001\n") == []


@in_world()
def test_protection_is_said_and_changes_no_verdict() -> None:
    """An own section protects by key; the orphan stays an orphan, and says who protects it."""
    shmid = as_gone(lambda: world.shmget(4096, key=0x5EED))
    text = NOW + "[protect cache]\nkind = shm\nkey = 0x5eed\nreason = loaded by hand\n"
    one = world.the("shm", shmid, text=text)
    assert one["verdict"] == "orphan"
    assert one["protection"] == {"name": "cache", "reason": "loaded by hand"}
    assert world.the("shm", shmid)["protection"] is None
