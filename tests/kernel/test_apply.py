"""Plans carried out on real objects: what goes, and above all everything that must not.

Each refusal of ``apply.py`` has a test here that changes the world between the plan and its end, in the
way a program could, and then finds the object as that program left it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipcops.core import apply as apply_module
from ipcops.core.apply import Applied, Means, apply_plan, aside_name, settle
from ipcops.core.change import Change
from ipcops.core.collect.again import looker
from ipcops.core.collect.devshm import read_devshm
from ipcops.core.collect.host import read_host, read_namespace
from ipcops.core.collect.mqueue import read_queues
from ipcops.core.collect.sysvipc import read_table
from ipcops.core.fs import host_roots
from ipcops.core.journal import Journal, Who, read_journal, unsettled
from ipcops.core.kernel import Kernel
from ipcops.core.model import Action, Outcome, Plan, Table
from ipcops.core.policy import parse_policy
from ipcops.core.state import BusyError, State
from tests import world
from tests.world import in_world

ROOTS = host_roots()
KERNEL = Kernel()
BOOT = read_host(ROOTS.proc).boot_id
POLICY = parse_policy(world.SCAN, "test.conf")
WHO = Who(os.getuid(), "tester", None, "clean")
SYSV = ("shm", "sem", "msg")
FILES = ("posix-shm", "posix-sem")


# ---------------------------------------------------------------- plans of what is there


def table_of(kind: str) -> Table:
    """Return what is there of a kind now."""
    if kind in SYSV:
        table, gaps = read_table(ROOTS.proc, KERNEL, kind)
    elif kind == "posix-mq":
        queues = read_queues(KERNEL, [], read_namespace(ROOTS.proc))
        table, gaps = queues.table, queues.gaps
    else:
        tables, _, gaps = read_devshm(ROOTS, [])
        table = tables[kind]
        gaps = [gap for gap in gaps if gap.evidence != "maps"]  # no mounts were given
    assert table is not None
    assert not gaps, gaps
    return table


def action(kind: str, which: int | str, **changes: Any) -> Action:
    """Return the action that removes one object, as it is now."""
    table = table_of(kind)
    name = "id" if kind in SYSV else "path"
    wanted = which if kind in SYSV else f"/{which}"
    row = list(table[name]).index(wanted)
    uncounted = {"rss", "swap"} | (set() if kind in SYSV else {"atime"})
    expect = {column: table[column][row] for column in table.columns if column not in uncounted}
    whole = Action(
        kind=kind,
        id=expect.get("id"),
        key=expect.get("key"),
        path=expect.get("path"),
        namespace=read_namespace(ROOTS.proc),
        expect=expect,
        section="test",
        reasons=("nobody needs it",),
        confidence="certain",
        backup="none",
    )
    return whole._replace(**changes)


def plan(*actions: Action, **changes: Any) -> Plan:
    """Return a plan that removes these."""
    return Plan(actions, (), BOOT, world.namespace(), time.time(), 0.0, "hash")._replace(**changes)


def state() -> State:
    """Return the state directory of this world."""
    return State(str(world.here() / "state"))


def means(change: Change | None = None, **changes: Any) -> Means:
    """Return what plans are carried out with."""
    return Means(ROOTS, KERNEL, change or Change(), POLICY, looker(ROOTS, KERNEL, POLICY))._replace(**changes)


def carry_out(*actions: Action, change: Change | None = None, journal: type[Journal] = Journal, **more: Any) -> Applied:
    """Carry out a plan that removes these."""
    with state().lock(), journal(state(), POLICY, WHO, BOOT, syslog="") as open_journal:
        return apply_plan(plan(*actions), open_journal, means(change, **more))


def refused(*actions: Action, change: Change | None = None, **more: Any) -> str:
    """Carry out a plan, see that it removes nothing and leaves the journal settled, and return why the last stays."""
    applied = carry_out(*actions, change=change, **more)
    assert not any(one.done for one in applied.outcomes)
    assert all(one.why for one in applied.outcomes)
    assert unsettled(state()) == []
    return applied.outcomes[-1].why


def done(applied: Applied) -> Outcome:
    """Return the one outcome of a run in which all went well."""
    (outcome,) = applied.outcomes
    assert (outcome.done, outcome.why, applied.error) == (True, "", None), applied
    return outcome


def make(kind: str) -> int | str:
    """Make an object that nobody uses; return its id or file name."""
    if kind == "shm":
        return world.shmget(8192, key=0x1111, mode=0o640)
    if kind == "sem":
        return world.semget(3, key=0x1111)
    if kind == "msg":
        return world.msgget(key=0x1111)
    if kind == "posix-shm":
        return os.path.basename(world.shm_file("psm_0badcafe", b"data"))
    if kind == "posix-sem":
        world.as_uid(None, lambda: world.sem_open("/mp-0badcafe"))
        return "sem.mp-0badcafe"
    os.close(world.mq_open("/queue"))
    return "queue"


def there(kind: str, which: int | str) -> bool:
    """Tell whether an object is there, under its own name."""
    table = table_of(kind)
    return which in table["id"] if kind in SYSV else f"/{which}" in table["path"]


KINDS = [*SYSV, *FILES, "posix-mq"]


# ---------------------------------------------------------------- what goes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backup", ["none", "metadata", "full"])
@in_world(mqueue=True)
def test_removed(kind: str, backup: str) -> None:
    which = make(kind)
    wanted = action(kind, which, backup=backup)
    outcome = done(carry_out(wanted))
    assert not there(kind, which)
    (entry,) = read_journal(state()).entries
    assert entry["event"] == "removed"
    assert entry["reasons"] == ["nobody needs it"]
    assert entry["user"] == {"uid": WHO.uid, "name": "tester", "sudo_user": None}
    assert entry["object"]["uid"] == os.getuid()
    assert entry["expect"]["mode"].startswith("0")
    assert (outcome.backup is None) == (backup == "none") == (entry["backup"] is None)
    if backup != "none":
        pack = Path(state().backups, entry["backup"]["pack"])
        assert pack.stat().st_mode & 0o777 == 0o600
        assert outcome.backup == "{}:{}".format(entry["batch"], entry["backup"]["offset"])
    assert os.listdir("/dev/shm") == []


@in_world()
def test_more_than_a_batch() -> None:
    """Several batches, of every System V kind; what is not in the plan stays."""
    apply_module.BATCH = 16
    made = [(kind, make_plain(kind)) for kind in SYSV for _ in range(30)]
    stays = [(kind, make_plain(kind)) for kind in SYSV]
    applied = carry_out(*[action(kind, which, backup="full") for kind, which in made])
    assert all(one.done for one in applied.outcomes)
    assert [one.action.id for one in applied.outcomes] == [which for _, which in made]
    assert len(applied.batches) == 6
    assert len(os.listdir(state().backups)) == 6
    for kind in SYSV:
        assert list(table_of(kind)["id"]) == [which for one, which in stays if one == kind]
    assert [one["event"] for one in read_journal(state()).entries] == ["removed"] * 90


def make_plain(kind: str) -> int:
    """Make one of many objects."""
    return {"shm": lambda: world.shmget(4096), "sem": lambda: world.semget(1), "msg": world.msgget}[kind]()


@in_world()
def test_newest_entry_first_and_system_log() -> None:
    """The system log is told, too, where there is one; control characters in names stay out of it."""
    import socket

    name = os.path.basename(world.shm_file("evil\nname"))
    path = str(world.here() / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        log.settimeout(5)
        with state().lock(), Journal(state(), POLICY, WHO, BOOT, syslog=path) as journal:
            done(apply_plan(plan(action("posix-shm", name)), journal, means()))
            batch = read_journal(state()).entries[0]["batch"]
        expected = f"<29>ipcops[{os.getpid()}]: removed posix-shm:/evil?name (batch {batch}), by tester"
        assert log.recv(4096).decode() == expected


# ---------------------------------------------------------------- what differs


CHANGES: dict[str, tuple[str, Callable[[int], object], str]] = {
    "mode": ("shm", lambda which: Change().set_mode("shm", which, 0o644), "its mode was 0640 and is 0644"),
    "owner of a set": ("sem", lambda which: world.give("sem", which, world.GONE, 0), "its uid was"),
    "attached": ("shm", world.shmat, "its nattch was 0 and is 1"),
    "attached and left": ("shm", lambda which: world.shmdt(world.shmat(which)), "its lpid was 0 and is"),
    "operated on": ("sem", lambda which: world.semop(which, 1), "its otime was 0 and is"),
    "message came": ("msg", lambda which: world.msgsnd(which, b"x"), "its qnum was 0 and is 1"),
    "message came and went": (
        "msg", lambda which: (world.msgsnd(which, b"x"), world.msgrcv(which)), "its lrpid was 0 and is",
    ),
    "capacity": ("msg", lambda which: world.msgset(which, qbytes=99), "its qbytes was"),
    "locked": ("shm", world.shmlock, "its mode was"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CHANGES))
@in_world()
def test_changed_since_the_plan(name: str) -> None:
    world.needs_root()
    kind, change, words = CHANGES[name]
    which = make(kind)
    wanted = action(kind, which)
    change(which)
    before = action(kind, which).expect
    why = refused(wanted)
    assert why.startswith("it changed since it was looked at: "), why
    assert words in why
    assert action(kind, which).expect == before


@pytest.mark.parametrize("kind", SYSV)
@in_world()
def test_another_one_with_the_same_key(kind: str) -> None:
    """The key leads to another object by now: it is not touched, and the one that was meant is gone."""
    which = make(kind)
    wanted = action(kind, which)
    remove = {"shm": world.shmrm, "sem": world.semrm, "msg": world.msgrm}[kind]
    remove(which)
    other = make(kind)
    assert other != which
    assert refused(wanted) == "it is gone already"
    assert there(kind, other)


@pytest.mark.parametrize("kind", SYSV)
@in_world()
def test_another_one_with_the_same_id(kind: str) -> None:
    """The very id came round again, which kernel.*_next_id makes happen at once."""
    which = make(kind)
    wanted = action(kind, which)
    {"shm": world.shmrm, "sem": world.semrm, "msg": world.msgrm}[kind](which)
    try:
        Path(f"/proc/sys/kernel/{kind}_next_id").write_text(str(which))
    except OSError as error:
        pytest.skip(f"ids cannot be chosen here: {error}")
    other = {
        "shm": lambda: world.shmget(4096),
        "sem": lambda: world.semget(2),
        "msg": lambda: world.msgget(mode=0o666),
    }[kind]()
    assert other == which
    assert "its key was 0x00001111 and is 0x00000000" in refused(wanted)
    assert there(kind, other)


@pytest.mark.parametrize("kind", KINDS)
@in_world(mqueue=True)
def test_plans_that_do_not_belong_here(kind: str) -> None:
    """Another namespace, another boot, another object's name, too little said: nothing goes."""
    which = make(kind)
    right = action(kind, which)
    assert "namespace" in refused(right._replace(namespace=world.HOME))
    with state().lock(), Journal(state(), POLICY, WHO, BOOT, syslog="") as journal:
        for boot in ("0" * 32, None):
            (outcome,) = apply_plan(plan(right, boot_id=boot), journal, means()).outcomes
            assert "another boot" in outcome.why
    for name in ("mode", "uid", "mtime" if kind == "posix-mq" else "ctime", "key" if kind in SYSV else "ino"):
        less = {column: value for column, value in right.expect.items() if column != name}
        assert refused(right._replace(expect=less)) == f"the plan does not say its {name}; make a new one"
    wrong = {"path": "/other"} if kind not in SYSV else {"id": 77}
    assert "names one object and describes another" in refused(right._replace(**wrong))
    assert there(kind, which)
    done(carry_out(right))


@in_world()
def test_what_the_plan_expects_and_nobody_knows() -> None:
    """A field that this version does not read is no reason to remove."""
    which = make("shm")
    right = action("shm", which)
    assert "its novel was 1 and is not known" in refused(right._replace(expect={**right.expect, "novel": 1}))
    assert there("shm", which)


@pytest.mark.parametrize("path", ["/", "/.", "/..", "/../x", "/a/b", "x", ""])
@in_world()
def test_impossible_paths(path: str) -> None:
    right = action("posix-shm", make("posix-shm"))
    wrong = right._replace(path=path, expect={**right.expect, "path": path})
    assert "names one object and describes another" in refused(wrong)


# ---------------------------------------------------------------- segments


class Meddling(Change):
    """Does something in between, as another process would."""

    def __init__(self, method: str, before: Callable[[], object], after: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        real = getattr(self, method)

        def meddled(*arguments: Any) -> Any:
            setattr(self, method, real)  # once
            before()
            result = real(*arguments)
            after()
            return result

        setattr(self, method, meddled)


@in_world()
def test_attached_just_before_the_door_is_shut() -> None:
    which = make("shm")
    address: list[int] = []
    why = refused(action("shm", which), change=Meddling("set_mode", lambda: address.append(world.shmat(which))))
    assert "its nattch was 0 and is 1" in why
    assert action("shm", which).expect["mode"] == 0o640  # put back
    world.shmdt(address[0])


@in_world()
def test_attached_and_left_just_before_the_door_is_shut() -> None:
    """Somebody used it after all."""
    which = make("shm")
    why = refused(action("shm", which), change=Meddling("set_mode", lambda: world.shmdt(world.shmat(which))))
    assert "its lpid was 0 and is" in why
    assert action("shm", which).expect["mode"] == 0o640


@in_world()
def test_attached_in_the_very_moment() -> None:
    """What no check can prevent is said, and nothing is made in its place."""
    which = make("shm")
    address: list[int] = []
    applied = carry_out(action("shm", which), change=Meddling("remove_shm", lambda: address.append(world.shmat(which))))
    done(applied)
    (note,) = applied.notes
    assert note.startswith(f"shm:{which}: it was attached in the very moment")
    (entry,) = read_journal(state()).entries
    assert entry["event"] == "removed"
    assert note.endswith(entry["note"])
    assert len(table_of("shm")) == 1  # marked destroyed, and no second one
    world.shmdt(address[0])
    assert len(table_of("shm")) == 0


@in_world()
def test_used_while_it_is_backed_up() -> None:
    """Our own look changes atime, dtime and lpid; another's look at the same time is told from it."""
    world.needs_root()
    which = make("shm")
    wanted = action("shm", which, backup="full")

    def other() -> None:
        world.as_uid(None, lambda: world.shmdt(world.shmat(which)))

    assert "its lpid was 0 and is" in refused(wanted, change=Meddling("detach", lambda: None, other))
    assert there("shm", which)
    done(carry_out(action("shm", which, backup="full")))


# ---------------------------------------------------------------- sets and queues


@pytest.mark.parametrize("operation", [-1, 0])
@in_world()
def test_waiter_that_came(operation: int) -> None:
    """A waiter leaves no trace in the row of a set, so it is asked for."""
    which = world.semget(3)
    world.semctl(which, 2, world.SETVAL, 0 if operation else 1)
    wanted = action("sem", which)
    waiter = world.spawn(then=lambda _: world.semop(which, operation, num=2))
    world.wait_blocked(waiter.pid, "semop", which)
    assert refused(wanted) == "a thread waits for it"
    assert there("sem", which)
    waiter.kill()
    done(carry_out(wanted))


@in_world()
def test_receiver_that_came() -> None:
    """A blocked receiver leaves no trace in the row of a queue either."""
    which = world.msgget()
    wanted = action("msg", which)
    waiter = world.spawn(then=lambda _: world.msgrcv(which))
    world.wait_blocked(waiter.pid, "msgrcv", which)
    assert f"a thread of pid {waiter.pid} " in refused(wanted)
    waiter.kill()
    done(carry_out(wanted))


@in_world()
def test_queue_of_whose_waiters_nothing_is_known() -> None:
    """Processes that could not be looked into may wait on it."""
    which = world.msgget()
    # Deadline 0 of the look: not one process is reached in time.
    hurried = parse_policy(world.SCAN, "test.conf")
    hurried.values["scan", "deadline"] = 0  # type: ignore[index]  # less than a file may say
    why = refused(action("msg", which), look=looker(ROOTS, KERNEL, hurried))
    assert why.startswith("not seen who is blocked on it: ")
    assert "the deadline of the scan was reached" in why
    assert there("msg", which)


@in_world()
def test_messages_need_leave() -> None:
    which = world.msgget()
    world.msgsnd(which, b"precious")
    wanted = action("msg", which, backup="full")
    assert refused(wanted) == "it holds messages"
    assert world.msgrcv(which) == b"precious"
    world.msgsnd(which, b"precious")
    done(carry_out(action("msg", which, backup="full", with_data=True)))


@in_world(mqueue=True)
def test_posix_queue_with_messages() -> None:
    """Messages of a POSIX queue never go, whatever the plan says of them."""
    queue = world.mq_open("/queue")
    wanted = action("posix-mq", "queue", with_data=True)
    world.mq_send(queue, b"precious")
    full = action("posix-mq", "queue", with_data=True)
    os.close(queue)
    assert "its curmsgs was 0 and is 1" in refused(wanted)
    assert refused(full) == "it holds messages, and those of a POSIX queue cannot be copied"
    assert there("posix-mq", "queue")


@in_world(mqueue=True)
def test_posix_queue_that_was_opened() -> None:
    make("posix-mq")
    wanted = action("posix-mq", "queue")
    user = world.spawn(lambda: world.mq_open("/queue"))
    assert f"pid {user.pid} " in refused(wanted)
    assert there("posix-mq", "queue")
    user.kill()
    done(carry_out(wanted))


@in_world(mqueue=True)
def test_another_posix_queue_of_the_same_name() -> None:
    make("posix-mq")
    wanted = action("posix-mq", "queue")
    world.mq_unlink("/queue")
    make("posix-mq")
    assert "its ino was" in refused(wanted)
    assert there("posix-mq", "queue")


# ---------------------------------------------------------------- files


def replaced_by_file(path: Path) -> None:
    path.rename(path.with_name("kept"))  # so that its inode is not used again
    path.write_bytes(b"data")


def replaced_by_link(path: Path) -> None:
    target = world.here() / "victim"
    target.write_bytes(b"data")
    path.unlink()
    path.symlink_to(target)


def replaced_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"data")


def mounted_over(path: Path) -> None:
    other = world.here() / "other"
    other.write_bytes(b"data")
    world.mount(str(other), str(path), None, world.MS_BIND)


def mounted_over_with_itself(path: Path) -> None:
    world.mount(str(path), str(path), None, world.MS_BIND)


def hard_linked(path: Path) -> None:
    os.link(path, path.with_name("second"))


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


FILE_CHANGES = [
    (replaced_by_file, "its ino was"),
    (replaced_by_link, "it is no regular file any more, but a symbolic link"),
    (replaced_by_directory, "it is no regular file any more, but a directory"),
    (mounted_over, "its dev was"),
    (mounted_over_with_itself, "busy"),
    (hard_linked, "its nlink was 1 and is 2"),
    (grown, "its size was 4 and is 8"),
    (lambda path: path.chmod(0o644), "its mode was 0600 and is 0644"),
    (lambda path: path.unlink(), "it is gone already"),
]


@pytest.mark.parametrize("at", range(len(FILE_CHANGES)))
@in_world()
def test_changed_files(at: int) -> None:
    """What has the name by now stays as it is, with everything it leads to."""
    change, words = FILE_CHANGES[at]
    path = Path("/dev/shm", str(make("posix-shm")))
    wanted = action("posix-shm", path.name, backup="none")
    change(path)
    before = sorted((one.name, one.lstat().st_ino, one.lstat().st_mode) for one in path.parent.iterdir())
    assert words in refused(wanted).lower()
    assert sorted((one.name, one.lstat().st_ino, one.lstat().st_mode) for one in path.parent.iterdir()) == before
    for kept in (world.here() / "victim", world.here() / "other", path / "inside", path.with_name("second")):
        assert not os.path.lexists(kept) or kept.read_bytes() == b"data"


@in_world()
def test_files_with_two_names_from_the_start() -> None:
    path = Path("/dev/shm", str(make("posix-shm")))
    hard_linked(path)
    assert refused(action("posix-shm", path.name)) == "it has 2 names"
    assert path.read_bytes() == b"data"


def opened(path: str) -> int:
    return os.open(path, os.O_RDONLY)


@pytest.mark.parametrize("use", [world.map_file, opened])
@pytest.mark.parametrize("kind", FILES)
@in_world()
def test_holder_that_came(kind: str, use: Callable[[str], int]) -> None:
    """Neither a mapping nor a descriptor changes anything in the row of a file."""
    path = "/dev/shm/" + str(make(kind))
    wanted = action(kind, os.path.basename(path))
    user = world.spawn(lambda: use(path))
    assert f"pid {user.pid} " in refused(wanted)
    assert os.listdir("/dev/shm") == [os.path.basename(path)]
    user.kill()
    done(carry_out(action(kind, os.path.basename(path))))


@in_world()
def test_name_taken_while_it_is_aside() -> None:
    """Who makes a new file of that name keeps it; where the old one is, is said."""
    path = Path("/dev/shm", str(make("posix-shm")))
    wanted = action("posix-shm", path.name)
    user = world.spawn(lambda: world.map_file(str(path)))
    look = looker(ROOTS, KERNEL, POLICY)

    def meddling(targets: Any) -> Any:
        path.write_bytes(b"new")
        return look(targets)

    why = refused(wanted, look=meddling)
    (entry,) = read_journal(state()).entries
    aside = aside_name(entry["batch"], entry["n"])
    assert f"pid {user.pid} " in why
    assert f"it is at /{aside} now" in why
    assert path.read_bytes() == b"new"
    assert path.with_name(aside).read_bytes() == b"data"


@in_world()
def test_swapped_in_the_moment_of_moving_aside() -> None:
    """A file that takes the name after the last look is given it back."""
    path = Path("/dev/shm", str(make("posix-shm")))
    wanted = action("posix-shm", path.name)
    assert "its ino was" in refused(wanted, change=Meddling("rename_new", lambda: replaced_by_file(path)))
    assert sorted(os.listdir("/dev/shm")) == ["kept", path.name]


@in_world()
def test_written_while_it_is_aside() -> None:
    """A descriptor that was passed along in a message is in no process's table; what is written by it shows."""
    path = Path("/dev/shm", str(make("posix-shm")))
    wanted = action("posix-shm", path.name)
    look = looker(ROOTS, KERNEL, POLICY)

    def meddling(targets: Any) -> Any:
        found = look(targets)
        (aside,) = targets.files.values()
        grown(Path("/dev/shm" + aside))
        return found

    assert "its size was 4 and is 8" in refused(wanted, look=meddling)
    assert path.read_bytes() == b"datamore"


# ---------------------------------------------------------------- nothing without a record


class FullError(OSError):
    """What a full disk says."""


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("backup", ["none", "full"])
@in_world()
def test_journal_that_cannot_be_written(backup: str, fails_at: int) -> None:
    """From the first write that fails on nothing more goes, and what went is told by the next run."""

    class Full(Journal):
        writes = 0

        def _write(self, lines: Any, *, lasting: bool = True) -> None:
            Full.writes += 1
            if Full.writes >= fails_at:
                raise self._error(OSError(28, os.strerror(28)))
            super()._write(lines, lasting=lasting)

    which = make("shm")
    applied = carry_out(action("shm", which, backup=backup), journal=Full)
    (outcome,) = applied.outcomes
    outcome_at = 3 if backup == "none" else 4  # batch, intents, backed-up, outcomes, end
    assert outcome.done == (not there("shm", which)) == (fails_at >= outcome_at)
    if fails_at <= outcome_at + 1:
        assert applied.error is not None
        assert "No space left on device" in applied.error
    events = [one["event"] for one in read_journal(state()).entries]
    assert events in ([], ["intent"], ["removed"])
    assert (events == []) == (fails_at <= 2)
    settled = carry_out().settled
    assert settled == (events == ["intent"])
    expected = [] if fails_at <= 2 else ["removed" if outcome.done else "failed"]
    assert [one["event"] for one in read_journal(state()).entries] == expected


@in_world()
def test_disk_full_for_the_backup() -> None:
    """The pack does not fit on the disk: the object stays and the run ends."""
    small = world.here() / "small"
    small.mkdir()
    world.mount("tmpfs", str(small), "tmpfs", 0, "size=64k,mode=700")
    which = world.shmget(1 << 20)
    address = world.shmat(which)
    world.touch(address, 1 << 20)
    world.shmdt(address)
    other = make("sem")
    applied = carry_out(
        action("shm", which, backup="full"), action("sem", other, backup="full"), backups=str(small / "packs")
    )
    assert [one.done for one in applied.outcomes] == [False, False]
    assert applied.error is not None
    assert "No space left on device" in applied.error
    assert there("shm", which)
    assert there("sem", other)
    assert os.listdir(small / "packs") == []
    assert unsettled(state()) == []


@in_world()
def test_disk_full_for_the_journal() -> None:
    """A real full disk below the state directory."""
    small = world.here() / "state"
    small.mkdir()
    world.mount("tmpfs", str(small), "tmpfs", 0, "size=64k,mode=700")
    made = [make_plain("msg") for _ in range(600)]  # their intents take more than 64 KiB
    applied = carry_out(*[action("msg", which) for which in made[:1]])
    assert applied.error is None
    table = table_of("msg")
    actions = [action("msg", which) for which in made[1:]]
    applied = carry_out(*actions)
    assert applied.error is not None
    assert not any(one.done for one in applied.outcomes)
    assert len(table_of("msg")) == len(table)
    assert read_journal(state()).notes == []  # whole to its last line


@in_world()
def test_read_only_state() -> None:
    which = make("shm")
    small = world.here() / "state"
    small.mkdir()
    world.mount("tmpfs", str(small), "tmpfs", world.MS_RDONLY, "size=64k,mode=700")
    with pytest.raises(Exception, match="Read-only file system"):
        carry_out(action("shm", which))
    assert there("shm", which)


@in_world()
def test_backup_too_large() -> None:
    """The bound on one object refuses that one; the others go."""
    which, other = world.shmget(1 << 16), make("sem")
    address = world.shmat(which)
    world.touch(address, 1 << 16)
    world.shmdt(address)
    policy = parse_policy(world.SCAN + "[clean]\nbackup_object = 4K\n", "test.conf")
    applied = carry_out(action("shm", which, backup="full"), action("sem", other, backup="full"), policy=policy)
    assert [one.done for one in applied.outcomes] == [False, True]
    assert "backup_object" in applied.outcomes[0].why
    assert applied.error is None
    assert there("shm", which)


# ---------------------------------------------------------------- two cleaners, and the end of one


@in_world()
def test_second_cleaner_gives_way() -> None:
    held = state().lock()
    first = world.spawn(held.__enter__)
    with pytest.raises(BusyError, match=f"pid {first.pid}"), state().lock():
        pass
    first.kill()
    with state().lock():
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@in_world()
def test_interrupted(number: int) -> None:
    """The object at hand is finished, the journal too; the rest stays."""
    made = [make_plain("sem") for _ in range(5)]
    before = signal.getsignal(number)
    change = Meddling("remove_sem", lambda: None, lambda: os.kill(os.getpid(), number))
    applied = carry_out(*[action("sem", which) for which in made], change=change)
    assert applied.interrupted
    assert applied.error is None
    assert [one.done for one in applied.outcomes] == [True, False, False, False, False]
    assert {one.why for one in applied.outcomes[1:]} == {"the run was interrupted before it"}
    assert list(table_of("sem")["id"]) == made[1:]
    assert [one["event"] for one in read_journal(state()).entries] == ["failed"] * 4 + ["removed"]
    assert unsettled(state()) == []
    assert signal.getsignal(number) is before


@in_world()
def test_interrupted_while_files_are_aside() -> None:
    path = Path("/dev/shm", str(make("posix-shm")))
    look = looker(ROOTS, KERNEL, POLICY)

    def stopping(targets: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return look(targets)

    assert refused(action("posix-shm", path.name), look=stopping) == "the run was interrupted before it"
    assert path.read_bytes() == b"data"


def killed_at(which: Action, method: str, *, after: bool) -> None:
    """Carry out a plan in a child that is killed just before or after a step of it."""

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def run(_: None) -> None:
        change = Change()
        journal: Any = type("Mortal", (Journal,), {})
        target: Any = journal if hasattr(Journal, method) else change
        real = getattr(target, method)

        def mortal(*arguments: Any) -> Any:
            if after:
                real(*arguments)
            die()

        setattr(target, method, mortal)
        carry_out(which, change=change, journal=journal)

    child = world.spawn(then=run)
    _, status = os.waitpid(child.pid, 0)
    assert os.WIFSIGNALED(status), status


PHASES = [  # step, whether it was done, kinds, and what the next run finds out
    ("begin", True, KINDS, None),
    ("intents", True, KINDS, "failed"),
    ("backed_up", False, KINDS, "failed"),
    ("backed_up", True, KINDS, "failed"),
    ("set_mode", True, ["shm"], "failed"),
    ("rename_new", True, FILES, "failed"),
    ("outcomes", False, KINDS, "removed"),
    ("outcomes", True, KINDS, "removed"),
    ("end", False, KINDS, "removed"),
]


@pytest.mark.parametrize(
    ("step", "after", "kind", "expected"),
    [(step, after, kind, expected) for step, after, kinds, expected in PHASES for kind in kinds],
)
@in_world(mqueue=True)
def test_killed(step: str, after: bool, kind: str, expected: str | None) -> None:  # noqa: FBT001 - a parameter
    """After SIGKILL at each step the next run tells the truth, and what was half done is put back."""
    which = make(kind)
    wanted = action(kind, which, backup="full")
    killed_at(wanted, step, after=after)
    assert there(kind, which) == (expected != "removed" and step != "rename_new")
    told_already = step == "end" or (step == "outcomes" and after)
    applied = carry_out()
    assert applied.settled == (expected is not None and not told_already)
    entries = read_journal(state()).entries
    assert [one["event"] for one in entries] == ([] if expected is None else [expected])
    assert there(kind, which) == (expected != "removed")
    assert unsettled(state()) == []
    if expected != "removed":
        now = action(kind, which, backup="full")
        by_us = {"ctime", "atime", "dtime", "lpid"}
        assert {name: value for name, value in now.expect.items() if name not in by_us} == {
            name: value for name, value in wanted.expect.items() if name not in by_us
        }
        done(carry_out(now))
    elif not told_already:
        assert entries[0]["note"] == "it is gone; it was to be removed when the run ended"
    assert os.listdir("/dev/shm") == []


@in_world()
def test_settling_in_doubt() -> None:
    """What the next run cannot know it does not claim."""
    which = make("sem")
    killed_at(action("sem", which), "intents", after=True)
    with state().lock(), Journal(state(), POLICY, WHO, "another-boot", syslog="") as journal:
        assert settle(journal, means()) == 1
    (entry,) = read_journal(state()).entries
    assert entry["event"] == "in-doubt"
    assert "started anew" in entry["error"]
    assert there("sem", which)
