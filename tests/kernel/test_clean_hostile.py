"""A clean in a world that is against it: disks are full, clocks jump, ids and pids come round again.

What is used or replaced under its hands stays, and so does all that it could not write down or back up.
"""

from __future__ import annotations

import errno
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import world
from tests.world import GONE, OTHER, in_world

from .cleaner import Name, Place, Run, check_journal, contents, named, plant, run, why, wipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .tracing import Call

YEAR = 365 * 86400
SHM_STAT_ANY = 15
AUDITS = int(os.environ.get("IPCOPS_TEST_AUDITS", "10"))  # one each second


# --- what is used or replaced between a look and a removal


class Lot:
    """A set, a segment, a queue and a file that were left behind, and what somebody can do to them."""

    def __init__(self) -> None:
        """Leave them behind."""
        self.shmid, self.semid, self.msqid, self.path = world.as_uid(GONE, self._make)
        self.words = (f"shm:{self.shmid}", f"sem:{self.semid}", f"msg:{self.msqid}", f"posix-shm:{self.path}")
        self.key = self.semid + 0x5000

    def _make(self) -> tuple[int, int, int, str]:
        shmid, semid, msqid = world.shmget(4096), world.semget(1), world.msgget()
        return shmid, semid, msqid, "/" + os.path.basename(world.shm_file(f"psm_{semid}"))

    def names(self) -> dict[str, Name]:
        """Return what they go by."""
        found: dict[str, Name] = {"shm": ("shm", self.shmid), "sem": ("sem", self.semid), "msg": ("msg", self.msqid)}
        return {**found, "posix-shm": ("posix-shm", self.path)}


def use(lot: Lot) -> dict[str, Any]:
    """Use as many as there still are, as their owner; return what was used, and go on holding the segment and file."""
    done: dict[str, Any] = {}

    def attempt(kind: str, function: Callable[[], Any]) -> None:
        try:
            done[kind] = function()
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EIDRM, errno.ENOENT, errno.EACCES):
                raise

    attempt("shm", lambda: world.shmat(lot.shmid))
    attempt("sem", lambda: world.semop(lot.semid, 1))
    attempt("msg", lambda: world.msgsnd(lot.msqid, b"news"))
    attempt("posix-shm", lambda: os.open("/dev/shm" + lot.path, os.O_RDWR))
    return done


def replace(lot: Lot) -> dict[str, Any]:
    """Remove as many as there still are, as their owner, and make others under the same ids and names."""
    done: dict[str, Any] = {}
    remake: dict[str, tuple[Callable[[int], None], Callable[[], int]]] = {
        "shm": (world.shmrm, lambda: world.shmget(4096)),
        "sem": (world.semrm, lambda: world.semget(1)),
        "msg": (world.msgrm, world.msgget),
    }
    for kind, (remove, make) in remake.items():
        number = lot.names()[kind][1]
        try:
            remove(number)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EIDRM):
                raise
            continue
        world.limit(f"kernel.{kind}_next_id", number)
        if world.as_uid(GONE, make) == number:  # not where a backup keeps what was removed attached
            done[kind] = number
    try:
        os.unlink("/dev/shm" + lot.path)
    except FileNotFoundError:
        return done
    world.as_uid(GONE, lambda: world.shm_file(lot.path[1:]))
    done["posix-shm"] = os.stat("/dev/shm" + lot.path).st_ino
    return done


def still_there(lot: Lot, done: dict[str, Any]) -> set[str]:
    """Return which kinds of what was used or made anew have survived."""
    alive = {"shm": {row["shmid"] for row in world.table("shm") if not row["perms"] & 0o1000}}
    alive["sem"] = {row["semid"] for row in world.table("sem")}
    alive["msg"] = {row["msqid"] for row in world.table("msg")}
    alive["posix-shm"] = {"/" + name for name in os.listdir("/dev/shm")}
    return {kind for kind in done if lot.names()[kind][1] in alive[kind]}


def removes(call: Call, going: Run, lot: Lot) -> str:
    """Return the kind of what a call is about to remove, '' for none of a lot."""
    if not call.removes:
        return ""
    if call.name.endswith("ctl"):
        return call.name[:3] if lot.names()[call.name[:3]][1] == call.args[0] else ""
    return "posix-shm" if going.traced.path(call.args[0]) in ("/", "/dev/shm") else ""


def steps(going: Run) -> Iterator[Call]:
    """Go through what a clean does once its plan is made: whatever it changes, and asks of an object."""
    planned = False
    for call in going.traced.calls():
        planned = planned or (
            call.name == "shmctl" and call.args[1] == SHM_STAT_ANY
        )  # the first look at an object again
        if planned and (call.name != "openat" or call.changes):
            yield call


def disturb(lot: Lot, place: Place, at: int, how: Callable[[Lot], dict[str, Any]]) -> bool:
    """Do something at a step of a clean; false when it has not so many. What was used then must stay."""
    going = Run(*place.clean(*lot.words))
    for number, call in enumerate(steps(going)):
        if number == at:
            spared = removes(call, going, lot)  # the kernel has no removal on a condition: nothing can help this one
            user = world.spawn(partial(how, lot), uid=GONE if how is use else None)
            answer = going.answer()
            assert answer.status in (0, 4), answer
            lost = set(user.value) - still_there(lot, user.value) - {spared}
            assert not lost, f"used before {call}, and gone: {lost}\n{why(answer)}"
            user.kill()
            return True
    answer = going.answer()
    assert answer.status == 0, why(answer)
    return False


@pytest.mark.parametrize("how", [use, replace])
@in_world(pids=True, timeout=100)
def test_used_or_replaced_at_every_step(how: Callable[[Lot], dict[str, Any]]) -> None:
    """What its owner uses, or makes anew under the same id, key and name, between any two steps of a clean, stays."""
    world.needs_root()
    place = Place()
    first = Lot()
    going = Run(*place.clean(*first.words))
    count = sum(1 for _ in steps(going))
    answer = going.answer()
    assert answer.status == 0, why(answer)
    lots = [Lot() for _ in range(count)]
    time.sleep(1.1)  # whatever is made from now on has other times: they are whole seconds
    assert all([disturb(lot, place, at, how) for at, lot in enumerate(lots)][: count // 2])


# --- what cannot be written down, or not be backed up


SAYS = {"write": errno.ENOSPC, "fsync": errno.EIO, "fdatasync": errno.EIO, "shmat": errno.EACCES}
FULL = ("write", "pwrite64", "openat", "mkdirat", "mkdir", "linkat", "fsync", "fdatasync", "fallocate")
READ_ONLY = (*FULL, "rename", "renameat", "renameat2", "unlink", "unlinkat", "ftruncate")


def in_state(call: Call, going: Run, place: Place) -> bool:
    """Whether a call is about a file of the state directory."""
    if call.name in ("mkdir", "rename", "unlink"):
        return going.traced.text(call.args[0]).startswith(str(place.state.parent))
    if call.name in ("openat", "mkdirat") and going.traced.text(call.args[1]).startswith(str(place.state.parent)):
        return True
    return going.traced.path(call.args[0]).startswith(str(place.state.parent))


def spoil(at: int, number: int, calls: tuple[str, ...]) -> bool:
    """Let the changing calls of a clean fail; false when it has no call number *at*.

    Without names of calls only that one; else all of these that are about the state directory, from that one on.
    What is gone then is in the journal and backed up; a clean in a better world takes the rest, and a restore
    brings all of it back.
    """
    wipe()
    place = Place()
    planted = set(world.as_uid(GONE, plant))
    before = contents()
    going = Run(*place.clean())
    count, failed = -1, 0
    for call in going.traced.changing():
        if not calls or in_state(call, going, place):
            count += 1
            if (count >= at and call.name in calls) or (not calls and count == at):
                going.traced.fail(number or SAYS.get(call.name, errno.EPERM))
                failed += 1
    answer = going.answer()
    assert answer.status in (0, 4, 130), answer
    stayed = set(contents()) & planted
    if failed and stayed:
        assert answer.status == 4, why(answer)
    check_journal(place, planted, before)
    again = run(*place.clean())
    assert again.status == 0, why(again)
    assert not contents(), why(again)
    check_journal(place, planted, before)
    for batch in sorted({one["batch"] for one in place.entries() if one["backup"] is not None}):
        run("restore", batch, "--policy", place.policy)
    assert contents() == before
    return count >= at


@pytest.mark.parametrize(
    ("number", "calls"),
    [(0, ()), (errno.ENOSPC, FULL), (errno.EROFS, READ_ONLY)],
    ids=["one", "disk full", "read-only"],
)
@in_world(pids=True, mqueue=True, timeout=120)
def test_what_cannot_be_written_does_not_go(number: int, calls: tuple[str, ...]) -> None:
    world.needs_root()
    at = 0
    while spoil(at, number, calls):
        at += 1
    assert at > 20


@in_world(pids=True, mqueue=True)
def test_small_disk() -> None:
    """A disk that is full after a few pages writes a part of what it is given."""
    world.needs_root()
    statuses = set()
    for pages in range(1, 40, 3):
        wipe()
        disk = world.here() / f"disk{pages}"
        disk.mkdir()
        world.mount("tmpfs", str(disk), "tmpfs", 0, f"size={4 * pages}k")
        place = Place(state=disk / "state")
        planted = set(world.as_uid(GONE, plant))
        before = contents()
        answer = run(*place.clean())
        statuses.add(answer.status)
        assert bool(set(contents()) & planted) == (answer.status == 4), why(answer)
        if answer.status == 4:
            assert "No space left" in answer.out + answer.err
        check_journal(place, planted, before)
    assert statuses == {0, 4}


@in_world(pids=True, mqueue=True)
def test_read_only_disk() -> None:
    world.needs_root()
    world.as_uid(GONE, plant)
    before = contents()
    place = Place()
    place.state.mkdir(mode=0o700)
    world.mount(str(place.state), str(place.state), None, world.MS_BIND)
    world.mount("none", str(place.state), None, world.MS_REMOUNT | world.MS_BIND | world.MS_RDONLY)
    answer = run(*place.clean())
    assert answer.status == 4, answer
    assert "Read-only" in answer.out + answer.err
    assert contents() == before


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (OTHER, 0o700)])
@in_world(pids=True, mqueue=True)
def test_state_that_others_may_write(owner: int, mode: int) -> None:
    """What stands in it decides what goes and what comes back."""
    world.needs_root()
    world.as_uid(GONE, plant)
    before = contents()
    place = Place()
    place.state.mkdir()
    place.state.chmod(mode)
    os.chown(place.state, owner, owner)
    answer = run(*place.clean())
    assert answer.status == 4, answer
    assert str(place.state) in answer.out + answer.err
    assert contents() == before


@in_world(pids=True)
def test_state_denied_to_a_user() -> None:
    """Of an ordinary user, whose own segments go by name."""
    world.needs_root()
    shmid = world.as_uid(GONE, lambda: world.shmget(4096))
    place = Place(state=Path("/proc/nowhere/state"))
    world.later(10)
    answer = world.ipcops(*place.clean(f"shm:{shmid}"), uid=GONE)
    assert answer.status == 4, answer
    assert "/proc/nowhere" in answer.out + answer.err
    assert [row["shmid"] for row in world.table("shm")] == [shmid]


# --- ids and pids come round again


def saved_plan(place: Place) -> str:
    """Save the plan of a clean; return its path."""
    path = str(world.here() / "plan.json")
    answer = run("clean", "--policy", place.policy, "--output", path)
    assert answer.status == 0, answer
    assert json.loads(Path(path).read_text())["plan"]["remove"]
    return path


@in_world(pids=True)
def test_ids_come_round_between_plan_and_apply() -> None:
    """Whatever is the same about another object: id, key, owner, mode and size."""
    world.needs_root()
    place, lot = Place(), Lot()
    plan = saved_plan(place)
    time.sleep(1.1)
    made = replace(lot)
    assert made.keys() == {"shm", "sem", "msg", "posix-shm"}
    before = contents()
    answer = run(*place.clean("--plan", plan))
    assert answer.json["removed"] == [], why(answer)
    assert contents() == before
    again = run(*place.clean())
    assert again.status == 0
    assert not contents(), "a new plan takes them"


@in_world(pids=True)
def test_pids_come_round_between_plan_and_apply() -> None:
    """A creator's pid is its owner's again, or a stranger's."""
    world.needs_root()
    place = Place()
    maker = world.spawn(lambda: world.shmget(4096), uid=GONE)
    maker.kill()
    plan = saved_plan(place)
    time.sleep(3)  # who began within two seconds of a whole second may have begun before it
    back = world.sleeper_with_pid(maker.pid, GONE)
    answer = run(*place.clean("--plan", plan))
    assert answer.json["removed"] == [], why(answer)
    assert len(world.table("shm")) == 1
    back.kill()
    stranger = world.sleeper_with_pid(maker.pid, OTHER)
    answer = run(*place.clean("--plan", plan))
    assert answer.status == 0, why(answer)
    assert world.table("shm") == []
    stranger.kill()


# --- clocks


class Boot:
    """A machine that was started a month ago, whatever that of the test says."""

    def __init__(self) -> None:
        """Put its clock over that of this machine."""
        self.ahead = 30.0 * 86400
        self.file = world.here() / "uptime"
        world.later(1)
        self.set()
        world.mount(str(self.file), "/proc/uptime", None, world.MS_BIND)

    def set(self) -> None:
        """Let its clock go on."""
        up = time.clock_gettime(time.CLOCK_BOOTTIME) + self.ahead
        self.file.write_text(f"{up:.2f} {up:.2f}\n")

    def clean(self, place: Place, wall: float) -> int:
        """Clean when the wall clock is so many seconds ahead; return how many went."""

        def jump() -> None:
            now = time.time
            time.time = lambda: now() + wall

        self.set()
        answer = run(*place.clean(), before=jump)
        assert answer.status == 0, why(answer)
        self.told = why(answer)
        return len(answer.json["removed"])


@pytest.mark.parametrize("jump", [2 * 86400, YEAR])
@in_world(pids=True)
def test_clock_jumps_ahead(jump: int) -> None:
    """By less than the machine has been up, or by more: nothing goes for that, seen before or not."""
    world.needs_root()
    boot = Boot()
    place = Place(world.SCAN + "[clean]\nstate = {state}\n{clean}")
    world.as_uid(GONE, lambda: (world.shmget(4096), world.shm_file("psm_0123abcd")))
    assert boot.clean(place, 0) == 0
    assert boot.clean(place, jump) == 0, boot.told
    boot.ahead += 3700
    assert boot.clean(place, jump + 3700) == 0, boot.told
    boot.ahead += 3700
    assert boot.clean(place, jump + 7400) == 0, boot.told
    assert len(contents()) == 2


@in_world(pids=True)
def test_clock_that_goes_right() -> None:
    """Beside it: the same day and hours, on both clocks, and all of it goes."""
    world.needs_root()
    boot = Boot()
    place = Place(world.SCAN + "[clean]\nstate = {state}\n{clean}")
    world.as_uid(GONE, lambda: (world.shmget(4096), world.shm_file("psm_0123abcd")))
    before = contents()
    boot.ahead += 86400
    assert boot.clean(place, 86400) == 0
    boot.ahead += 3700
    assert boot.clean(place, 90100) == 2, boot.told
    world.as_uid(GONE, world.msgget)
    boot.clean(place, YEAR)
    (pack,) = place.packs  # no backup is a year old for that
    assert run("restore", pack.removesuffix(".pack"), "--policy", place.policy).status == 0
    assert before.keys() <= contents().keys()


@in_world(pids=True, mqueue=True, timeout=60 + 2 * AUDITS)
def test_looking_makes_nothing_younger_or_older() -> None:
    world.needs_root()
    world.as_uid(GONE, plant)
    text = world.SCAN + "[clean]\nstate = {state}\nsecond_sighting = 2s\n{clean}\n"
    place = Place(text + "[remove all]\nkind = shm msg sem posix-shm posix-sem posix-mq\nowner = nameless\n"
                  "accept = strong\nmin_age = 1s\nwith_data = yes\n")  # fmt: skip

    def state() -> list[object]:
        files: list[object] = []
        for directory in ("/dev/shm", "/dev/mqueue"):
            for entry in sorted(Path(directory).iterdir()):
                info = entry.stat()
                files.append((entry.name, info.st_ino, info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns))
        return [*files, *(world.table(kind) for kind in ("shm", "sem", "msg"))]

    before = state()
    first = run("clean", "--format", "json", "--policy", place.policy).json["plan"]
    assert first["remove"] == []
    for _ in range(AUDITS):
        world.audit()
        time.sleep(1)
    world.objects()
    assert state() == before
    last = run("clean", "--format", "json", "--policy", place.policy)
    assert {named(one) for one in last.json["plan"]["remove"]} == {named(one) for one in first["keep"]}, why(last)
    assert state() == before
