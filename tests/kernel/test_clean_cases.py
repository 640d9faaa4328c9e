"""The cases that the example policies are made for, each with the real programs and its shipped policy.

What an administrator would edit in the example is edited here, and nothing else; only where the state
lies, and that pid 1 of some machines may stay unseen, is added.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import servers, world
from tests.world import GONE, OTHER, THIRD, in_world

from .admin import Admin, example, there

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR, DAY = 3600, 86400
PID_SLACK = 3.2  # seconds: a process must be this much younger than a time to count as later


@pytest.fixture
def units() -> Iterator[Path]:
    with servers.control_groups() as place:
        yield place


# ---------------------------------------------------------------- web server


@in_world(timeout=90)
def test_web_server_with_system_v_mutexes(units: Path) -> None:
    servers.private_network()
    servers.users(**{"www-data": GONE})
    admin = Admin(example("web-server"))
    httpd = servers.Httpd("www-data")
    unit = servers.Unit(units, "apache2.service")
    httpd.start(unit)
    old = there()
    assert len(old) >= 2
    assert {kind for kind, _ in old} == {"sem"}
    assert {row["uid"] for row in world.table("sem")} == {GONE}

    unit.kill()
    unit.remove()
    assert there() == old
    time.sleep(PID_SLACK)
    unit = servers.Unit(units, "apache2.service")
    httpd.start(unit)
    # Sets that the running server has and did not operate yet: its children may at any time.
    quiet = {("sem", world.as_uid(GONE, lambda: world.semget(1))) for _ in range(2)}
    live = there() - old
    assert len(live) >= 4
    assert quiet < live

    assert not admin.clean().goes  # too young
    world.later(DAY)
    # As long as any process of that user belongs to no unit, it may be one that knows the old sets.
    stray = servers.start("/bin/sleep", "600", uid=GONE)
    plan = admin.clean()
    assert not plan.goes
    assert all("no unit" in plan.stays[name] for name in old)
    stray.kill()
    stray.wait()
    plan = admin.clean()
    assert not plan.goes
    assert all("first time" in plan.stays[name] for name in old)
    world.later(2 * HOUR)

    plan = admin.plan()
    assert plan.goes == old
    assert {one["section"] for one in plan.report["plan"]["remove"]} == {"web-mutexes"}
    assert {one["confidence"] for one in plan.report["plan"]["remove"]} == {"strong"}
    assert all("apache2.service" in plan.stays[name] for name in quiet)
    assert admin.clean().removed == old
    assert there() == live
    for port in servers.PORTS * 3:
        assert httpd.get(port) == 200
    assert not admin.clean().goes

    # Asked afterwards who deleted them, the journal knows; and they can come back.
    entries = admin.ask("journal", "--kind", "sem")["entries"]
    assert {one["id"] for one in entries} == {number for _, number in old}
    (batch,) = {one["batch"] for one in entries}
    restored = admin.ask("restore", batch)
    assert len(restored["restored"]) == len(old)
    assert there() == live | old
    unit.kill()


@in_world()
def test_web_server_whose_unit_still_has_a_process_of_before(units: Path) -> None:
    """With KillMode=process, or where a worker hangs, the old sets may have a user in the new unit."""
    servers.users(**{"www-data": GONE})
    admin = Admin(example("web-server"))
    unit = servers.Unit(units, "apache2.service")
    worker = servers.start("/bin/sleep", "600", uid=GONE, unit=unit)
    old = {("sem", world.as_uid(GONE, lambda: world.semget(1)))}
    time.sleep(PID_SLACK)
    again = servers.start("/bin/sleep", "600", uid=GONE, unit=unit)
    world.later(DAY)
    for _ in range(2):
        plan = admin.clean()
        assert not plan.goes
        assert all("apache2.service, which began before" in plan.stays[name] for name in old)
        world.later(2 * HOUR)
    worker.kill()
    worker.wait()
    admin.clean()
    world.later(2 * HOUR)
    assert admin.clean().removed == old
    again.kill()
    again.wait()


# ---------------------------------------------------------------- database host


@in_world(timeout=120)
def test_database_host_with_a_dropped_cluster(units: Path) -> None:
    servers.users(postgres=GONE)
    dropped, live = servers.Postgres(GONE, "dropped"), servers.Postgres(GONE, "live")
    dropped.start(servers.Unit(units, "postgresql@15-dropped.service"))
    live.start(servers.Unit(units, "postgresql@15-main.service"))
    segments = {one: ("shm", one.segment[1]) for one in (dropped, live)}
    assert dropped.segment[0] != live.segment[0]
    killed_key = dropped.segment[0]
    dropped.kill()
    everything = there()
    assert set(segments.values()) < everything

    admin = Admin(example("database-host"))
    world.later(30 * DAY)
    admin.clean()
    world.later(2 * DAY)
    plan = admin.clean()
    assert not plan.goes
    assert "[protect postgresql]" in plan.stays[segments[dropped]]
    assert "[protect postgresql]" in admin.refused(f"shm:{segments[dropped][1]}").stays[segments[dropped]]

    def lifted(key: int) -> str:
        text = example("database-host")
        commented = re.compile(r"^# (\[(?:protect|remove) dropped-cluster\]|[a-z_]+ = .*)$", re.MULTILINE)
        text, count = commented.subn(lambda found: found[1], text)
        assert count >= 9
        text, count = re.subn(r"^key = 0x[0-9a-f]+$", f"key = 0x{key:08x}", text, flags=re.MULTILINE)
        assert count == 2
        return text

    # The key of the live one lifted by mistake: it is attached, and stays.
    admin.says(lifted(live.segment[0]))
    admin.clean()
    world.later(2 * DAY)
    plan = admin.clean()
    assert not plan.goes
    assert plan.verdicts[segments[live]] == "in-use"
    admin.refused(f"shm:{segments[live][1]}")

    admin.says(lifted(killed_key))
    admin.clean()
    world.later(2 * DAY)
    plan = admin.clean()
    assert plan.removed == {segments[dropped]}
    assert there() == everything - {segments[dropped]}
    assert live.query("create table t as select generate_series(1, 1000) as n; select sum(n) from t") == "500500"
    (entry,) = admin.ask("journal", "--key", f"0x{killed_key:08x}")["entries"]
    assert entry["section"] == "dropped-cluster"
    live.kill()


# ---------------------------------------------------------------- login node

MAILBOX = """#!/bin/sh
cat >>{box}
"""


@in_world(timeout=120)
def test_login_node_user_who_is_still_logged_in(units: Path) -> None:  # noqa: PLR0915 - one story
    servers.users(scientist=GONE)
    session = servers.start("/bin/sleep", "600", uid=GONE, unit=servers.Unit(units, "session-3.scope"))
    segments = {("shm", number) for number in world.as_uid(GONE, lambda: [world.shmget(8192) for _ in range(200)])}
    other = {("shm", world.as_uid(OTHER, lambda: world.shmget(4096)))}
    admin = Admin(example("batch-node"))
    world.later(DAY)
    plan = admin.clean()
    assert not plan.removed & segments
    assert {plan.verdicts[name] for name in segments} == {"idle"}
    assert all("scientist runs" in plan.stays[name] for name in segments)

    box = world.here() / "mail"
    box.touch()
    sendmail = world.here() / "bin" / "sendmail"
    sendmail.parent.mkdir()
    sendmail.write_text(MAILBOX.format(box=box))
    sendmail.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{sendmail.parent}:{path}"
    world.later(2 * HOUR)
    report = admin.ask("clean", "--notify")
    told = {one["to"]: one for one in report["notified"]}
    assert told["scientist"]["objects"] == 200
    assert told["scientist"]["error"] is None
    assert told["root"]["objects"] == 1
    mails = box.read_text()
    (mail,) = (one for one in mails.split("To: ") if one.startswith("scientist\n"))
    assert there() == segments | other

    # The mail has the command; the user runs it, and nothing of anybody else can go.
    (command,) = re.findall(r"^ *ipcops clean --apply (?:.*\\\n)*.*$", mail, re.MULTILINE)
    names = re.findall(r"shm:\d+", command)
    assert {("shm", int(name[4:])) for name in names} == segments
    state = world.here() / "home"
    state.mkdir()
    os.chown(state, GONE, GONE)
    words = ("clean", "--apply", "--yes", "--format", "json")
    env = {"XDG_STATE_HOME": str(state)}
    stolen = world.ipcops(*words, f"shm:{next(iter(other))[1]}", uid=GONE, env=env)
    assert stolen.status == 4
    assert there() == segments | other
    answer = world.ipcops(*words, *names, uid=GONE, env=env)
    assert answer.status == 0, answer.err
    assert len(answer.json["removed"]) == 200
    assert there() == other
    assert (state / "ipcops" / "journal.jsonl").exists()

    # Of what nobody owns any more, root's later run takes only what was announced, to root.
    late = {("shm", world.as_uid(THIRD, lambda: world.shmget(4096)))}
    world.later(DAY)
    plan = admin.clean("--notify")
    assert plan.removed == other
    assert all("first time" in plan.stays[name] for name in late)
    world.later(2 * HOUR)
    plan = admin.clean("--notify")
    assert not plan.removed
    assert all("not announced" in plan.stays[name] for name in late)
    world.later(2 * HOUR)
    assert admin.clean("--notify").removed == late
    assert there() == set()
    os.environ["PATH"] = path
    session.kill()
    session.wait()


# ---------------------------------------------------------------- GPU node

JOB = """
import sys, time
from multiprocessing import shared_memory
made = [shared_memory.SharedMemory(create=True, size=1 << 20) for _ in range(int(sys.argv[1]))]
for one in made:
    one.buf[:5] = b"model"
    print(one.name, flush=True)
print("ready", flush=True)
for line in sys.stdin:
    break
for one in made:
    assert bytes(one.buf[:5]) == b"model"
    one.close()
    one.unlink()
"""


class Job:
    """A Python program of a user, with segments and a resource tracker, in a control group of its own."""

    def __init__(self, unit: servers.Unit, count: int) -> None:
        self.unit = unit

        def drop() -> None:
            os.setsid()
            unit.join()
            os.setgroups([])
            os.setgid(GONE)
            os.setuid(GONE)

        self.process = subprocess.Popen(
            [world.python_for(GONE), "-c", JOB, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=drop,  # noqa: PLW1509 - this process has one thread
            env={"PATH": servers.PATH},
            cwd="/",
        )
        assert self.process.stdout
        lines = iter(self.process.stdout.readline, "ready\n")
        self.files = {("posix-shm", "/" + line.strip()) for line in lines}
        assert len(self.files) == count

    def kill(self) -> None:
        """Kill all of it, as a scheduler does with a job that takes too much memory."""
        self.unit.kill()
        self.process.poll()

    def end(self) -> None:
        """Let it end by itself: it must find everything it made."""
        self.process.communicate("\n", timeout=30)
        assert self.process.returncode == 0


@in_world(timeout=120)
def test_gpu_node_with_killed_and_running_jobs_of_one_user(units: Path) -> None:
    servers.users(researcher=GONE)
    names = ("job-1.scope", "job-2.scope", "job-3.scope", "job-4.scope")
    first, second, third, fourth = (Job(servers.Unit(units, name), 3) for name in names)
    mine = {("posix-shm", "/" + os.path.basename(world.as_uid(GONE, lambda: world.shm_file("my-cache", b"x" * 4096))))}
    admin = Admin(example("gpu-node"))
    world.later(DAY)
    assert not admin.clean().goes
    first.kill()
    third.kill()
    killed = first.files | third.files
    assert there() >= killed

    plan = admin.clean()
    assert not plan.goes  # seen for the first time
    world.later(2 * HOUR)
    plan = admin.clean()
    assert plan.removed == killed
    assert there() == second.files | fourth.files | mine
    assert {plan.verdicts[name] for name in second.files | fourth.files} == {"in-use"}
    second.end()
    assert there() == fourth.files | mine
    fourth.kill()
    admin.clean()
    world.later(2 * HOUR)
    assert admin.clean().removed == fourth.files
    assert there() == mine
