"""What went wrong with other tools, story by story: each must be impossible here.

| story | what happened | tested |
| --- | --- | --- |
| F1 | a queue manager's semaphores were removed, a second one destroyed its data | here |
| F2 | the last session ended, and with it the semaphores of a database that ran on | here |
| F3 | PostgreSQL died after ``su``, logout | here, with a real one |
| F4 | cleaning went into a mount below /dev/shm and emptied a share | here |
| F5 | "all of this user" in cron killed live servers; names cut short met the wrong user | here |
| F6 | the wrong one of two instances lost its segment | here |
| F7 | a set with four waiters went because its last process was dead | here |
| F8 | files older than four hours went, mapped or not | here |
| F9 | pids compared across PID namespaces: live memory of others went | here |
| F10 | a file went between its creation and its first use by another rank | here |
| F11 | "its creator has ended" was taken for "nobody needs it" | here |
| F12 | a job's epilog removed everything of a user who had another job there | here |
| F13 | cleaning matched nothing for months, and nobody noticed | here; unreadable tables also in test_bad_worlds |
| F14 | limits were lowered below what a database needed | no removal: about limits |
| F15 | kernel.shm_rmid_forced removed caches at once | here, as far as our own look would |
| F16 | monitoring lied about bytes and limits | no removal: test_listing, test_rules |
| F17 | a scan hung for ever | here: what was not reached in time stays |
| F18 | a socket went that was served from elsewhere | here: sockets are never removed; test_sockets_collect |
| F19 | a limit was set by a bad recipe | no removal: about limits |
"""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import time
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

import pytest

from tests import servers, world
from tests.world import GONE, OTHER, in_world

from .admin import HARSHEST, Admin, Plan, there

DAY = 86400
PID_SLACK = 3.2  # seconds: a process must be this much younger than a time to count as later
SETTLED = 5  # seconds after which nothing counts as used just now
JOB = "[clean]\nsecond_sighting = 0\n[job]\nkinds = shm sem msg posix-shm posix-sem posix-mq\n"


@pytest.fixture
def units():
    with servers.control_groups() as place:
        yield place


def leave(uid: int, make):
    """Return what a process of a uid made that is gone now."""
    return world.as_uid(uid, make)


def idle_process(uid: int) -> world.Process:
    """Start a process of a uid that holds nothing."""
    return world.spawn(uid=uid)


# ---------------------------------------------------------------- F1


@in_world(mqueue=True)
def test_f1_a_queue_managers_semaphores_never_go_before_their_protection_is_lifted() -> None:
    servers.users(mqm=GONE)
    one, other = (("sem", leave(GONE, lambda key=key: world.semget(2, key=key))) for key in (0x1, 0x2))
    sets = {one, other}
    others = {("msg", leave(GONE, world.msgget)), ("shm", leave(GONE, lambda: world.shmget(4096)))}
    world.later(30 * DAY)
    admin = Admin()
    assert admin.plan().of("shm", "sem", "msg") == sets | others
    world.later(DAY)
    plan = admin.clean()
    assert not plan.goes
    assert all("[protect ibm-mq]" in plan.stays[name] for name in others | sets)

    names = [f"{kind}:{number}" for kind, number in sorted(sets | others)]
    admin.says(HARSHEST)
    for plan in (admin.clean(), admin.refused(*names)):
        assert not plan.goes
        assert all("[protect ibm-mq]" in plan.stays[name] for name in others | sets)
    assert there() == sets | others

    # Only one key is lifted, by the file: that set goes, its sibling stays.
    lift = "[protect decommissioned]\nlift = ibm-mq\nkind = sem\nkey = 0x1\nreason = its queue manager was deleted\n"
    admin.says(HARSHEST + lift)
    assert admin.clean().removed == {one}
    assert there() == {other} | others


@in_world()
def test_f1_no_set_or_queue_goes_by_default_or_by_a_policy_without_an_owner() -> None:
    sets = {("sem", leave(GONE, lambda: world.semget(1))), ("msg", leave(GONE, world.msgget))}
    segment = ("shm", leave(GONE, lambda: world.shmget(4096)))
    world.later(30 * DAY)
    admin = Admin()
    admin.plan()
    world.later(DAY)
    plan = admin.clean()
    assert plan.removed == {segment}
    assert there() == sets
    for kind in ("sem", "msg"):
        admin.says(f"[remove some]\nkind = {kind}\naccept = strong\n")
        answer = admin.run("clean", "--apply", "--yes")
        assert answer.status == 2
        assert "owner" in answer.err
    assert there() == sets


# ---------------------------------------------------------------- F2, F3


@in_world()
def test_f2_the_end_of_the_last_session_takes_nothing_from_who_runs_on(units) -> None:
    servers.users(appdb=GONE)
    session = servers.Unit(units, "session-7.scope")
    shell = servers.start("/bin/sleep", "600", uid=GONE, unit=session)
    service = servers.Unit(units, "appdb.service")
    database = servers.start("/bin/sleep", "600", uid=GONE, unit=service)
    sets = {("sem", leave(GONE, lambda: world.semget(1))) for _ in range(2)}
    sets.add(("msg", leave(GONE, world.msgget)))
    shell.kill()
    shell.wait()
    session.remove()
    time.sleep(PID_SLACK)
    another = servers.start("/bin/sleep", "600", uid=GONE, unit=servers.Unit(units, "session-8.scope"))
    world.later(30 * DAY)
    text = (
        "[clean]\nsecond_sighting = 0\n[remove old]\nkind = sem msg\nowner = appdb\naccept = strong\nowner_gone = {}\n"
    )
    admin = Admin(text.format("uid"))
    assert not admin.clean().goes
    admin.says(text.format("unit"))
    plan = admin.clean()
    assert not plan.goes
    assert all("appdb.service" in plan.stays[name] for name in sets)
    assert there() == sets

    # A daemon that left its session without a unit of its own keeps them as well.
    loose = servers.start("/bin/sleep", "600", uid=GONE)
    database.kill()
    database.wait()
    plan = admin.clean()
    assert not plan.goes
    assert all("no unit" in plan.stays[name] for name in sets)
    loose.kill()
    loose.wait()

    # Now only a session is left that began after the last use.
    assert admin.clean().removed == sets
    another.kill()
    another.wait()


@in_world(timeout=90)
def test_f3_postgresql_survives_the_end_of_the_session_that_started_it(units) -> None:
    servers.users(pg=GONE)  # a name that nothing protects
    server = servers.Postgres(GONE)
    session = servers.Unit(units, "session-9.scope")
    login = servers.start("/bin/sleep", "600", uid=GONE, unit=session)
    server.start(session)
    login.kill()
    login.wait()
    before = there()
    assert ("shm", server.segment[1]) in before
    world.later(30 * DAY)
    admin = Admin(HARSHEST)
    plan = admin.clean()
    assert plan.verdicts["shm", server.segment[1]] == "in-use"
    assert not plan.removed
    admin.refused(f"shm:{server.segment[1]}")
    assert there() == before
    assert server.query("create table t as select generate_series(1, 1000) as n; select sum(n) from t") == "500500"
    server.process.terminate()
    server.process.wait()


# ---------------------------------------------------------------- F4


@in_world()
def test_f4_nothing_below_a_mount_or_directory_or_behind_a_link_goes() -> None:
    world.needs_root()
    outside = world.here() / "outside"
    outside.write_text("data")
    os.chown(outside, GONE, GONE)
    share = Path("/dev/shm/psm_00000001")
    share.mkdir()
    world.mount("tmpfs", str(share), "tmpfs")
    inside = share / "psm_0badcafe"
    inside.write_text("data")
    folder = Path("/dev/shm/psm_00000002")
    folder.mkdir()
    (folder / "psm_0badcafe").write_text("data")
    Path("/dev/shm/psm_00000003").symlink_to(outside)
    Path("/dev/shm/psm_00000004").symlink_to(folder)
    os.mkfifo("/dev/shm/psm_00000005")
    covered = Path("/dev/shm/psm_00000006")
    covered.write_text("covered")
    world.mount(str(outside), str(covered), None, world.MS_BIND)
    twice = Path("/dev/shm/psm_00000007")
    twice.write_text("two names")
    (folder / "psm_00000008").hardlink_to(twice)
    for path in (inside, folder / "psm_0badcafe", twice, share, folder, "/dev/shm/psm_00000005"):
        os.chown(path, GONE, GONE)
    plain = leave(GONE, lambda: world.shm_file("psm_0badcafe"))
    held = sorted(os.listdir("/dev/shm"))
    world.later(30 * DAY)
    plan = Admin(HARSHEST).clean()
    assert plan.removed == {("posix-shm", "/psm_0badcafe")}
    assert sorted(os.listdir("/dev/shm")) == [name for name in held if name != os.path.basename(plain)]
    assert inside.read_text() == (folder / "psm_0badcafe").read_text() == outside.read_text() == "data"
    assert twice.read_text() == "two names"
    world.umount(str(covered))
    assert covered.read_text() == "covered"
    assert Path("/dev/shm/psm_00000003").is_symlink()


# ---------------------------------------------------------------- F5, F6


@in_world(mqueue=True)
def test_f5_there_is_no_all_and_owners_are_told_by_their_uid() -> None:
    servers.users(averylongname1=GONE, averylongname2=OTHER)
    admin = Admin(HARSHEST)
    gone = {("shm", leave(GONE, lambda: world.shmget(4096))), ("sem", leave(GONE, lambda: world.semget(1)))}
    living = {("shm", leave(OTHER, lambda: world.shmget(4096))), ("sem", leave(OTHER, lambda: world.semget(1)))}
    world.later(SETTLED)
    for words in (("--all",), ("all",), ("*",), ("shm:*",), ("-a",), ("shm",), ("--kind", "all")):
        answer = admin.run("clean", "--apply", "--yes", *words)
        assert answer.status == 2, words
    assert there() == gone | living

    # ipcs shows both as "averylongn".
    assert admin.run("clean", "--apply", "--yes", "--owner", "averylongn").status == 2
    admin.says(
        "[clean]\nsecond_sighting = 0\n[remove cut]\nkind = shm sem\nowner = averylongn\nmin_age = 0\naccept = strong\n"
    )
    assert not admin.clean().goes
    admin.says(HARSHEST)
    assert admin.clean("--owner", "averylongname1").removed == gone
    assert there() == living


@in_world(mqueue=True)
def test_f5_the_harshest_policy_leaves_a_living_server_everything_it_uses() -> None:
    server = world.spawn(busy, uid=GONE)
    queue = world.spawn(lambda: world.mq_open("/live"), uid=GONE)
    before = there()
    assert {kind for kind, _ in before} == {"shm", "sem", "msg", "posix-shm", "posix-sem", "posix-mq"}
    world.later(30 * DAY)
    plan = Admin(HARSHEST).clean()
    assert not plan.goes
    assert {name for name, word in plan.verdicts.items() if word == "in-use"} >= {
        name for name in before if name[0] != "msg"
    }
    assert there() == before
    server.kill()
    queue.kill()
    assert Admin(HARSHEST).clean().removed == before


def busy() -> None:
    """Use one object of each kind, as a server does between two requests."""
    address = world.shmat(world.shmget(4096))
    world.touch(address, 4096)
    world.semop(world.semget(1), 1)
    world.msgsnd(world.msgget(), b"work")
    world.map_file(world.shm_file("psm_0badcafe", b"x" * 4096))
    world.sem_open("/mp-0badcafe")


@in_world()
def test_f6_an_attached_segment_stays_even_when_it_is_named_and_lifted() -> None:
    servers.users(erpadm=GONE)  # what [protect sap] covers

    def instance() -> int:
        shmid = world.shmget(4096, key=0x1234)
        world.touch(world.shmat(shmid), 4096)
        return shmid

    def other_instance() -> int:
        shmid = world.shmget(4096, key=0x1235)
        world.touch(world.shmat(shmid), 4096)
        return shmid

    stopped, running = world.spawn(instance, uid=GONE), world.spawn(other_instance, uid=GONE)
    stopped.kill()
    world.later(30 * DAY)
    admin = Admin(HARSHEST)
    assert not admin.clean().goes
    admin.says(HARSHEST + "[protect gone]\nlift = sap\nowner = erpadm\nreason = both instances are test systems\n")
    plan = admin.refused(f"shm:{running.value}", "shm:0x1235")
    assert plan.verdicts["shm", running.value] == "in-use"
    assert admin.clean().removed == {("shm", stopped.value)}
    (row,) = world.table("shm")
    assert (row["shmid"], row["key"], row["nattch"], row["perms"]) == (running.value, 0x1235, 1, 0o600)


# ---------------------------------------------------------------- F7


@in_world()
def test_f7_a_set_with_waiters_is_not_removed_because_its_last_process_died() -> None:
    def make() -> int:
        semid = world.semget(1, mode=0o666)
        world.semop(semid, 1)
        world.semop(semid, -1)
        return semid

    semid = leave(GONE, make)
    waiters = [world.spawn(uid=OTHER, then=lambda _: world.semop(semid, -1)) for _ in range(4)]
    for waiter in waiters:
        world.wait_blocked(waiter.pid, "semop", semid)
    world.later(30 * DAY)
    admin = Admin(HARSHEST)
    for plan in (admin.clean(), admin.refused(f"sem:{semid}")):
        assert not plan.goes
        assert plan.verdicts["sem", semid] == "in-use"
    world.semop(semid, 4)
    for waiter in waiters:
        assert os.waitpid(waiter.pid, 0)[1] == 0
    assert there() == {("sem", semid)}


@in_world()
def test_f7_a_queue_with_a_reader_is_not_removed_because_its_last_process_died() -> None:
    msqid = leave(GONE, lambda: world.msgget(mode=0o666))
    reader = world.spawn(uid=OTHER, then=lambda _: world.msgrcv(msqid))
    world.wait_blocked(reader.pid, "msgrcv", msqid)
    world.later(30 * DAY)
    admin = Admin(HARSHEST)
    for plan in (admin.clean(), admin.refused(f"msg:{msqid}")):
        assert not plan.goes
        assert plan.verdicts["msg", msqid] == "in-use"
    world.msgsnd(msqid, b"at last")
    assert os.waitpid(reader.pid, 0)[1] == 0
    assert there() == {("msg", msqid)}


# ---------------------------------------------------------------- F8


@in_world(mqueue=True)
def test_f8_age_alone_takes_nothing_that_is_mapped_or_open() -> None:
    def job() -> None:
        world.map_file(world.shm_file("psm_0badcafe", b"x" * 8192))  # mapped, its descriptor closed
        os.open(world.shm_file("torch_1_2_3"), os.O_RDONLY)
        world.sem_open("/loky-1-abc")
        os.close(world.mq_open("/closed"))
        world.mq_open("/open")

    running = world.spawn(job, uid=GONE)
    before = there()
    world.later(300 * DAY)
    admin = Admin(HARSHEST)
    plan = admin.clean()
    assert not plan.goes
    admin.refused(*(f"{kind}:{path}" for kind, path in before if path != "/closed"))
    assert there() == before
    running.kill()
    assert admin.clean().removed == before


@in_world()
def test_f8_what_may_be_held_by_a_process_that_cannot_be_seen_stays() -> None:
    leave(GONE, lambda: world.shm_file("psm_0badcafe", b"x" * 4096, 0o666))
    holder = world.spawn(lambda: world.map_file("/dev/shm/psm_0badcafe"), uid=OTHER)
    world.later(30 * DAY)
    admin = Admin(HARSHEST, uid=GONE)  # who owns the file, and may not look into the other's process
    for plan in (admin.clean(), admin.refused("posix-shm:/psm_0badcafe")):
        assert not plan.goes
        assert plan.verdicts["posix-shm", "/psm_0badcafe"] == "unknown"
    assert there() == {("posix-shm", "/psm_0badcafe")}
    holder.kill()


# ---------------------------------------------------------------- F9


@in_world()
def test_f9_from_inside_a_pid_namespace_nothing_of_the_outside_is_called_dead() -> None:
    def job() -> int:
        world.map_file(world.shm_file(f"torch_{os.getpid()}_1", b"x" * 4096))
        world.shm_file("psm_0badcafe", b"x" * 4096)
        world.semget(1)
        world.msgget()
        return world.shmget(4096)

    running = world.spawn(job, uid=GONE)
    before = there()
    assert len(before) == 5
    time.sleep(SETTLED)  # the clock of another /proc cannot be put forward
    admin = Admin(HARSHEST)
    usual = Admin("[clean]\nsecond_sighting = 0\n")
    for one in (admin, usual):
        plan = world.in_child_pid_namespace(lambda one=one: one.clean("--min-age", "0"))
        assert not plan.goes, plan.goes
        assert plan.stays.keys() >= before
        assert {plan.verdicts[name] for name in before} == {"unknown"}
    # Another process of that user, inside, makes them idle there; yet who uses them may be outside.
    names = [f"{kind}:{which}" for kind, which in before if kind != "shm"]

    def beside() -> Plan:
        world.spawn(uid=GONE)
        return admin.refused(*names)

    plan = world.in_child_pid_namespace(beside)
    assert "idle" in plan.verdicts.values()
    assert there() == before
    assert world.state_of(running.pid) == "S"
    running.kill()
    assert usual.clean("--min-age", "0").removed == {name for name in before if name[0] in ("shm", "posix-shm")}
    assert {kind for kind, _ in admin.clean().removed} == {"sem", "msg"}


# ---------------------------------------------------------------- F10, F11


@in_world(mqueue=True)
def test_f10_what_another_rank_is_about_to_open_stays() -> None:
    def first_rank() -> None:
        world.shm_file("psm_0badcafe", b"x" * 4096)
        world.shm_file("vader_segment.node.1.0", b"x" * 4096)
        world.shmget(4096, key=0x77)
        world.semget(1, key=0x77)
        os.close(world.mq_open("/rank"))

    ranks = [idle_process(GONE), world.spawn(first_rank, uid=GONE)]
    before = there()
    assert len(before) == 5
    lenient = HARSHEST.replace("min_age = 0", "min_age = 10m")
    for admin in (Admin(), Admin("[clean]\nsecond_sighting = 0\n"), Admin(lenient)):
        assert not admin.clean().goes
    world.later(SETTLED)
    # Old enough and without a holder: files of a uid that still runs go only by "ignore", by name and age.
    uid = HARSHEST.replace("owner_gone = ignore\n", "")
    plan = Admin(uid).clean()
    assert not plan.goes
    assert there() == before
    for rank in ranks:
        rank.kill()


@in_world()
def test_f11_that_the_creator_has_ended_is_no_reason() -> None:
    def create() -> str:
        multiprocessing.set_executable(world.python_for(GONE))
        memory = shared_memory.SharedMemory(create=True, size=4096)
        resource_tracker.unregister(memory._name, "shared_memory")  # which would unlink it at our end
        os.chmod(f"/dev/shm/{memory.name}", 0o666)
        return memory.name

    held, unheld = leave(GONE, create), leave(GONE, create)
    segment = leave(GONE, lambda: world.shmget(4096, key=0x99, mode=0o666))
    user = world.spawn(lambda: world.map_file(f"/dev/shm/{held}"), uid=OTHER)
    names = {("posix-shm", f"/{held}"), ("posix-shm", f"/{unheld}"), ("shm", segment)}
    world.later(30 * DAY)
    usual = Admin("[clean]\nsecond_sighting = 0\n")
    plan = usual.clean()
    assert not plan.goes  # the mode lets others use them, and others run
    assert there() == names
    plan = Admin(HARSHEST).clean()  # whoever runs, says this policy: but never what somebody has
    assert plan.removed == names - {("posix-shm", f"/{held}")}
    assert plan.verdicts["posix-shm", f"/{held}"] == "in-use"
    again = world.spawn(lambda: world.map_file(f"/dev/shm/{held}"), uid=OTHER)  # by its name, as ever
    user.kill()
    again.kill()


# ---------------------------------------------------------------- F12


@in_world(mqueue=True)
def test_f12_a_finished_job_takes_nothing_while_its_user_runs_anything() -> None:
    servers.users(scientist=GONE)

    def job() -> None:
        world.shmget(4096)
        world.semget(1)
        world.msgget()
        world.shm_file("psm_0badcafe")
        world.shm_file("results")
        os.close(world.mq_open("/job"))

    leave(GONE, job)
    others = {("shm", leave(OTHER, lambda: world.shmget(4096))), ("sem", leave(OTHER, lambda: world.semget(1)))}
    before = there()
    world.later(SETTLED)
    admin = Admin(JOB)

    def elsewhere() -> None:
        world.unshare(world.CLONE_NEWIPC | world.CLONE_NEWNS)

    def mere_uid() -> None:  # its effective user is another, as a program with a set-user-id bit has it
        os.setresuid(GONE, OTHER, OTHER)

    for make, uid in ((lambda: None, GONE), (mere_uid, None)):
        another = world.spawn(make, uid=uid)
        plan = admin.clean("--job-ended", "scientist")
        assert not plan.removed
        assert there() == before
        another.kill()
    hidden = world.spawn(lambda: (elsewhere(), os.setresuid(GONE, GONE, GONE)))
    assert not admin.clean("--job-ended", "scientist").removed
    assert there() == before
    hidden.kill()

    assert admin.clean("--job-ended", "scientist").removed == before - others
    assert there() == others


@in_world()
def test_f12_no_job_is_roots_or_a_services() -> None:
    admin = Admin(JOB)
    before = {("shm", world.shmget(4096))}
    world.later(SETTLED)
    for user in ("root", "0", "daemon", "1", "no-such-user", ""):
        answer = admin.run("clean", "--apply", "--yes", "--job-ended", user)
        assert answer.status == 2, user
        assert answer.err
    assert admin.run("clean", "--apply", "--yes", "--owner", "").status == 2  # nobody is not everybody
    assert there() == before


# ---------------------------------------------------------------- F13


@in_world(mqueue=True)
def test_f13_a_run_that_finds_nothing_says_what_it_scanned() -> None:
    admin = Admin("[remove batch]\nkind = sem\nowner = a-user-of-another-host\naccept = strong\n")
    report = admin.ask("clean", "--apply", "--yes")
    assert report["plan"]["counts"]["remove"] == report["plan"]["counts"]["keep"] == 0
    answer = admin.run("clean", "--apply", "--yes")
    assert answer.status == 0
    said = " ".join(answer.out.split())
    assert re.search(r"Looked at \d+ processes", said)
    for kind in (
        "segments",
        "semaphore sets",
        "message queues",
        "shared memory files",
        "named semaphores",
        "POSIX queues",
    ):
        assert kind in said
    assert "a-user-of-another-host" in said  # a section that can match nothing here is told
    world.shmget(4096)
    assert admin.ask("clean")["plan"]["counts"]["keep"] == 1


@in_world()
def test_f13_a_table_in_another_format_is_no_empty_table() -> None:
    segment = leave(GONE, lambda: world.shmget(4096))
    changed = world.here() / "shm"
    text = Path("/proc/sysvipc/shm").read_text()
    changed.write_text(text.replace("nattch", "attach", 1))
    world.later(30 * DAY)
    world.mount(str(changed), "/proc/sysvipc/shm", None, world.MS_BIND)
    admin = Admin(HARSHEST)
    report = admin.ask("clean", "--apply", "--yes")
    assert report["removed"] == []
    assert any("shm" in one["what"] for one in report["scan"]["skipped"]), report["scan"]
    assert not report["scan"]["complete"]
    answer = admin.run("clean", "--apply", "--yes", "--kind", "shm")
    assert answer.status == 3
    assert answer.err
    world.umount("/proc/sysvipc/shm")
    assert there() == {("shm", segment)}


# ---------------------------------------------------------------- F15


@in_world()
def test_f15_our_own_look_removes_no_segment() -> None:
    world.limit("kernel.shm_rmid_forced", 1)
    cache = world.spawn(lambda: (world.shmget(4096, key=0x5), world.shmget(4096, key=0x6)), uid=GONE)
    before = {("shm", number) for number in cache.value}
    world.later(SETTLED)
    admin = Admin(HARSHEST)
    answer = admin.run("backup", f"shm:{cache.value[0]}")
    assert answer.status != 0
    assert "shm_rmid_forced" in answer.out + answer.err
    assert there() == before
    admin.clean(f"shm:{cache.value[0]}", status=4)
    assert there() == before
    cache.kill()


# ---------------------------------------------------------------- F17


@in_world()
def test_f17_what_was_not_reached_in_time_stays() -> None:
    leave(GONE, lambda: [world.shm_file(f"psm_0000000{at}") for at in range(3)])
    leave(GONE, lambda: world.semget(1))
    names = there()
    world.later(30 * DAY)
    admin = Admin(HARSHEST)
    crowd = [world.spawn(uid=OTHER) for _ in range(200)]  # more than a scan can look at in its hundredth of a second
    report = admin.ask("clean", "--apply", "--yes", "--deadline", "0.01")
    assert report["removed"] == []
    assert any("deadline" in one["why"] for one in report["scan"]["skipped"])
    assert there() == names
    for one in crowd:
        one.kill()


# ---------------------------------------------------------------- F18


@in_world()
def test_f18_sockets_fifos_and_pipes_are_never_removed() -> None:
    path = "/dev/shm/psm_0badcafe"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    os.mkfifo("/dev/shm/psm_00000001")
    for one in (path, "/dev/shm/psm_00000001"):
        os.chown(one, GONE, GONE)
    world.later(300 * DAY)
    admin = Admin(HARSHEST)
    assert not admin.clean().goes
    for word in (f"unix:{path}", "fifo:/dev/shm/psm_00000001", "pipe:1", "lock:1"):
        assert admin.run("clean", "--apply", "--yes", word).status == 2
    assert admin.run("clean", "--kind", "unix").status == 2
    for name in ("posix-shm:/psm_0badcafe", "posix-shm:/psm_00000001"):
        assert admin.run("clean", "--apply", "--yes", name).status == 2  # there is no such file
    assert sorted(os.listdir("/dev/shm")) == ["psm_00000001", "psm_0badcafe"]
