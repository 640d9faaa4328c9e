"""Cleaning from end to end on the real kernel: plan, second sighting, removal, journal and the way back."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tests import world

AT_ONCE = "[clean]\nsecond_sighting = 0\n"


def policy(text: str = "") -> str:
    """Write a policy whose state is this world's."""
    state = f"[clean]\nstate = {world.here() / 'state'}\n"
    return world.policy(world.SCAN + (text.replace("[clean]\n", state) if "[clean]" in text else state + text))


def run(*words: str, uid: int | None = None, env: dict[str, str] | None = None) -> world.Answer:
    """Return a run that saw every process: short-lived ones of other tests are no concern of this one."""
    for _ in range(10):
        answer = world.ipcops(*words, uid=uid, env=env)
        if "short-lived" not in answer.out:
            break
    return answer


def clean(place: str, *words: str, status: int = 0, **more: Any) -> dict[str, Any]:
    answer = run("clean", *words, "--policy", place, "--format", "json", **more)
    assert answer.status == status, (answer.out, answer.err)
    report: dict[str, Any] = answer.json
    assert report["schema"] == "ipcops.clean/1"
    return report


def removals(report: dict[str, Any]) -> list[Any]:
    return [one["path"] if one["id"] is None else one["id"] for one in report["plan"]["remove"]]


def kept(report: dict[str, Any]) -> dict[Any, str]:
    return {one["path"] if one["id"] is None else one["id"]: one["why"] for one in report["plan"]["keep"]}


def entries(place: str, *words: str) -> list[dict[str, Any]]:
    report = world.ipcops("journal", *words, "--policy", place, "--format", "json").json
    assert report["schema"] == "ipcops.journal/1"
    assert report["notes"] == []
    found: list[dict[str, Any]] = report["entries"]
    return found


def contents(shmid: int, size: int) -> bytes:
    address = world.shmat(shmid)
    data = bytes((world.ctypes.c_char * size).from_address(address))
    world.shmdt(address)
    return data


def leave(size: int = 8192, key: int = 0x5EED) -> int:
    """Make a segment full of ones, as a user who then is gone."""

    def make() -> int:
        shmid = world.shmget(size, key=key, mode=0o640)
        address = world.shmat(shmid)
        world.touch(address, size)
        world.shmdt(address)
        return shmid

    shmid: int = world.as_uid(world.GONE, make)
    return shmid


# ---------------------------------------------------------------- the whole way


@world.in_world()
def test_from_plan_to_restore_by_the_defaults():
    world.needs_root()
    shmid = leave()
    world.as_uid(world.GONE, lambda: world.shm_file("psm_0000000a", b"contents"))
    mine = world.shmget(10)
    place = policy()

    assert "only after 1 d" in kept(clean(place))[shmid]
    world.later(25 * 3600)
    assert kept(clean(place, "--apply", "--yes"))[shmid].startswith("seen so for the first time")
    world.later(1800)
    assert kept(clean(place, "--apply", "--yes"))[shmid].startswith("first seen so 30 min ago")
    world.later(1801)
    report = clean(place)
    assert removals(report) == [shmid, "/psm_0000000a"]
    assert report["plan"]["counts"]["bytes"] == 8192 + 4096
    assert set(kept(report)) == {mine}
    assert report["applied"] is False
    assert report["journal"] is None

    report = clean(place, "--apply", "--yes")
    assert report["applied"] is True
    assert [one["id"] for one in report["removed"]] == [shmid, None]
    assert [row["shmid"] for row in world.table("shm")] == [mine]
    assert os.listdir("/dev/shm") == []
    file, segment = entries(place)
    assert (segment["event"], segment["id"], segment["key"]) == ("removed", shmid, "0x00005eed")
    assert (segment["user"]["uid"], segment["section"]) == (0, "orphans")
    assert segment["owner"]["uid"] == world.GONE
    assert any("attached" in reason for reason in segment["reasons"])
    assert (file["event"], file["path"], file["section"]) == ("removed", "/psm_0000000a", "families")

    (name,) = report["backup"]["names"]
    answer = world.ipcops("restore", name, "--policy", place, "--format", "json")
    assert answer.status == 0, answer.err
    assert answer.json["schema"] == "ipcops.restore/1"
    assert [one["kind"] for one in answer.json["restored"]] == ["shm", "posix-shm"]
    (row,) = [row for row in world.table("shm") if row["shmid"] != mine]
    assert (row["shmid"], row["key"], row["uid"], row["perms"]) == (shmid, 0x5EED, world.GONE, 0o640)
    assert contents(shmid, 8192) == b"\1" * 8192
    file_info = Path("/dev/shm/psm_0000000a").stat()
    assert (file_info.st_uid, file_info.st_mode & 0o777) == (world.GONE, 0o600)
    assert Path("/dev/shm/psm_0000000a").read_bytes() == b"contents"
    assert [one["event"] for one in entries(place)] == ["restored", "restored", "removed", "removed"]

    answer = world.ipcops("restore", name, "--policy", place, "--format", "json")
    assert answer.status == 0, answer.err
    assert [one["kind"] for one in answer.json["present"]] == ["shm", "posix-shm"]
    assert answer.json["restored"] == answer.json["refused"] == []


@world.in_world()
def test_one_object_of_a_backup():
    world.needs_root()
    first, second = leave(key=1), leave(key=2)
    world.later(5)
    place = policy()
    report = clean(place, f"shm:{first}", f"shm:{second}", "--apply", "--yes")
    (name,) = report["backup"]["names"]
    answer = world.ipcops("restore", name, "shm:0x2", "--policy", place, "--format", "json")
    assert answer.status == 0, answer.err
    assert [row["key"] for row in world.table("shm")] == [2]
    answer = world.ipcops("restore", name, "shm:0x3", "--policy", place, "--format", "json")
    assert answer.status == 4
    assert [one["why"] for one in answer.json["refused"]] == ["it is not in this backup"]


@world.in_world()
def test_a_used_object_is_seen_anew():
    world.needs_root()
    shmid = leave()
    place = policy("[remove x]\nkind = shm\nmin_age = 5s\n")
    world.later(10)
    assert "first time" in kept(clean(place))[shmid]
    world.as_uid(world.GONE, lambda: world.shmdt(world.shmat(shmid)))
    world.later(3700)
    assert "first time" in kept(clean(place))[shmid], "it was used in between"
    world.later(3700)
    assert removals(clean(place)) == [shmid]


# ---------------------------------------------------------------- objects that were named


@world.in_world(mqueue=True)
def test_named_objects_may_be_idle_and_young():
    shmid, semid, msqid = world.shmget(10), world.semget(3), world.msgget()
    world.shm_file("cache")
    os.close(world.mq_open("/queue"))
    place = policy()
    world.later(5)
    named = [f"shm:{shmid}", f"sem:{semid}", f"msg:{msqid}", "posix-shm:/cache", "posix-mq:/queue"]
    report = clean(place, *named)
    assert removals(report) == [shmid, semid, msqid, "/cache", "/queue"]
    assert {one["section"] for one in report["plan"]["remove"]} == {"command line"}
    assert len(clean(place, *named, "--apply", "--yes")["removed"]) == 5
    assert [world.table(kind) for kind in ("shm", "sem", "msg")] == [[], [], []]
    assert os.listdir("/dev/shm") == os.listdir("/dev/mqueue") == []


@world.in_world()
def test_what_is_in_use_stays_whatever_is_asked():
    def hold() -> int:
        shmid = world.shmget(4096)
        world.shmat(shmid)
        world.map_file(world.shm_file("held"))
        return shmid

    shmid = world.spawn(hold).value
    semid = world.semget(1)
    waiter = world.spawn(then=lambda _: world.semop(semid, -1))
    world.wait_blocked(waiter.pid, "semop", semid)
    place = policy(AT_ONCE + "[remove x]\nkind = shm sem posix-shm\nowner = root\nmin_age = 0\naccept = strong\n")
    world.later(5)
    assert removals(clean(place)) == []
    named = (f"shm:{shmid}", f"sem:{semid}", "posix-shm:/held")
    report = clean(place, *named, "--apply", "--yes", status=4)
    assert report["removed"] == []
    assert [one["verdict"] for one in report["failed"]] == ["in-use"] * 3
    assert len(world.table("shm")) == len(world.table("sem")) == len(os.listdir("/dev/shm")) == 1
    text = world.ipcops("clean", *named, "--apply", "--yes", "--policy", place)
    assert text.status == 4
    assert text.out.count("stays ") == 3


@world.in_world()
def test_what_is_protected_stays_even_if_named():
    world.needs_root()
    shmid = leave()
    place = policy(f"[protect ours]\nowner = {world.GONE}\nreason = they come back\n")
    world.later(5)
    report = clean(place, f"shm:{shmid}", "--apply", "--yes", status=4)
    assert "[protect ours]: they come back" in report["failed"][0]["why"]
    assert len(world.table("shm")) == 1


@world.in_world(mqueue=True)
def test_data_stays_until_asked_for():
    world.needs_root()

    def fill() -> int:
        msqid = world.msgget()
        world.msgsnd(msqid, b"first", kind=7)
        world.msgsnd(msqid, b"second", kind=3)
        world.mq_send(world.mq_open("/full"), b"x")
        return msqid

    msqid = world.as_uid(world.GONE, fill)
    place = policy()
    world.later(5)
    named = (f"msg:{msqid}", "posix-mq:/full")
    report = clean(place, *named, "--apply", "--yes", status=4)
    assert [one["why"].partition(";")[0] for one in report["failed"]] == [
        "it holds 1 message, which cannot be copied, so it never goes" if kind == "posix-mq" else "it holds 2 messages"
        for kind in ("msg", "posix-mq")
    ]
    report = clean(place, *named, "--with-data", "--apply", "--yes", status=4)
    assert [one["id"] for one in report["removed"]] == [msqid]
    assert os.listdir("/dev/mqueue") == ["full"]
    (name,) = report["backup"]["names"]
    assert world.ipcops("restore", name, "--policy", place).status == 0
    assert [world.msgrcv(msqid, kind=kind) for kind in (7, 3)] == [b"first", b"second"]


@world.in_world()
def test_without_a_backup_or_with_it_elsewhere():
    world.needs_root()
    first, second = leave(key=1), leave(key=2)
    world.later(5)
    place = policy()
    report = clean(place, f"shm:{first}", "--no-backup", "--apply", "--yes")
    assert report["backup"] is None
    assert entries(place)[0]["restore"] is None
    elsewhere = world.here() / "elsewhere"
    report = clean(place, f"shm:{second}", "--backup", str(elsewhere), "--apply", "--yes")
    (name,) = report["backup"]["names"]
    assert name == entries(place)[0]["restore"] == str(elsewhere / os.listdir(elsewhere)[0])
    assert world.ipcops("restore", name, "--policy", place).status == 0
    assert [row["key"] for row in world.table("shm")] == [2]


# ---------------------------------------------------------------- ordinary users


@world.in_world()
def test_an_ordinary_user_cleans_up_its_own():
    world.needs_root()
    theirs = leave()
    home = world.here() / "home"
    home.mkdir()
    os.chown(home, world.OTHER, world.OTHER)
    mine = world.as_uid(world.OTHER, lambda: world.shmget(10))
    world.later(5)
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    place = world.policy(world.SCAN)
    report = clean(place, f"shm:{mine}", f"shm:{theirs}", "--apply", "--yes", status=4, uid=world.OTHER, env=env)
    assert [one["id"] for one in report["removed"]] == [mine]
    assert "only root or" in report["failed"][0]["why"]
    assert [row["shmid"] for row in world.table("shm")] == [theirs]
    state = home / ".local/state/ipcops"
    assert report["journal"] == str(state / "journal.jsonl")
    assert state.stat().st_mode & 0o777 == 0o700
    answer = world.ipcops("restore", *report["backup"]["names"], "--policy", place, uid=world.OTHER, env=env)
    assert answer.status == 0, answer.err
    assert len(world.table("shm")) == 2


# ---------------------------------------------------------------- jobs


@world.in_world()
def test_after_the_last_process_of_a_job():
    world.needs_root()
    shmid = leave()
    other = world.as_uid(world.OTHER, lambda: world.shmget(10))
    running = world.spawn(uid=world.GONE)
    world.later(5)
    place, job = policy(), ("--job-ended", str(world.GONE))
    report = clean(place, *job, "--apply", "--yes")
    assert report["removed"] == []
    assert any(f"pid {running.pid}" in note for note in report["notes"])
    running.kill()
    report = clean(place, *job)
    assert removals(report) == [shmid]
    assert "belongs to" in kept(report)[other]
    assert [one["id"] for one in clean(place, *job, "--apply", "--yes")["removed"]] == [shmid]
    assert entries(place)[0]["section"] == "job-ended"


# ---------------------------------------------------------------- telling owners


def sendmail(status: int = 0) -> dict[str, str]:
    """Put a sendmail that keeps its mails into PATH; return the environment."""
    directory = world.here() / "bin"
    directory.mkdir(exist_ok=True)
    program, mails = directory / "sendmail", world.here() / "mails"
    mails.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\n[ "$*" = "-t -oi" ] || exit 64\ncat > {mails}/$$\necho no >&2\nexit {status}\n')
    program.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def mails() -> list[str]:
    found = [path.read_text() for path in sorted((world.here() / "mails").iterdir())]
    for path in (world.here() / "mails").iterdir():
        path.unlink()
    return found


@world.in_world()
def test_only_what_was_announced_goes():
    world.needs_root()
    shmid = leave()
    world.later(10)
    place = policy("[clean]\nsecond_sighting = 1m\n[remove x]\nkind = shm\nmin_age = 5s\n")
    env = sendmail()
    clean(place)
    world.later(61)
    report = clean(place, "--notify", "--apply", "--yes", env=env)
    assert report["removed"] == []
    assert "not announced" in kept(report)[shmid]
    assert [(one["to"], one["objects"], one["error"]) for one in report["notified"]] == [("root", 1, None)]
    (mail,) = mails()
    assert mail.startswith("To: root\n")
    assert f"shm:{shmid}" in mail
    new = leave(key=2)
    world.later(61)
    clean(place)
    world.later(61)
    report = clean(place, "--notify", "--apply", "--yes", env=env)
    assert [one["id"] for one in report["removed"]] == [shmid]
    assert [one["objects"] for one in report["notified"]] == [1]
    assert [re.findall(r"shm:\d+", mail) for mail in mails()] == [[f"shm:{new}"]]
    assert clean(place, "--notify", env=env)["notified"] == [], "nobody is told twice"


@world.in_world()
def test_the_owner_of_idle_objects_is_told_how_to_remove_them():
    world.needs_root()
    ids = world.as_uid(2, lambda: [world.shmget(4096) for _ in range(200)])
    world.spawn(uid=2)  # still logged in
    world.later(10)
    place = policy(AT_ONCE + "[remove x]\nkind = shm\nmin_age = 5s\n")
    report = clean(place, "--notify", env=sendmail())
    assert removals(report) == []
    assert [one["objects"] for one in report["notified"]] == [200]
    (mail,) = mails()
    name = report["notified"][0]["to"]
    assert mail.startswith(f"To: {name}\nSubject: 200 unused IPC objects of {name} on ")
    command = mail[mail.index("ipcops clean --apply") :].partition("\n\n")[0].replace("\\\n", " ").split()
    assert command == ["ipcops", "clean", "--apply", *(f"shm:{one}" for one in ids)]
    home = world.here() / "home"
    home.mkdir()
    os.chown(home, 2, 2)
    env = {"HOME": str(home)}
    report = clean(world.policy(world.SCAN), *command[3:], "--apply", "--yes", uid=2, env=env)
    assert len(report["removed"]) == 200
    assert world.table("shm") == []


@world.in_world()
def test_who_could_not_be_told_loses_nothing():
    world.needs_root()
    shmid = leave()
    world.later(10)
    place = policy(AT_ONCE + "[remove x]\nkind = shm\nmin_age = 5s\n")
    for _ in range(2):
        report = clean(place, "--notify", "--apply", "--yes", status=4, env=sendmail(75))
        assert "ended with status 75: no" in report["notified"][0]["error"]
    assert [row["shmid"] for row in world.table("shm")] == [shmid]


# ---------------------------------------------------------------- set and backup


@world.in_world(mqueue=True)
def test_set_and_its_undo():
    world.needs_root()
    shmid, msqid = world.shmget(10, mode=0o666), world.msgget(mode=0o622)
    world.shm_file("open", mode=0o666)
    os.close(world.mq_open("/open", mode=0o666))
    place = policy()

    def seen() -> list[Any]:
        segment = world.table("shm")[0]
        file, queue = Path("/dev/shm/open").stat(), Path("/dev/mqueue/open").stat()
        return [
            (segment["perms"], segment["uid"], segment["gid"]),
            (world.msgstat(msqid).mode, world.msgstat(msqid).qbytes),
            (file.st_mode & 0o777, file.st_uid, file.st_gid),
            (queue.st_mode & 0o777, queue.st_uid),
        ]

    before = seen()
    undo = []
    for words in (
        (f"shm:{shmid}", "mode=0640", "owner=daemon:3"),
        (f"msg:{msqid}", "qbytes=4096", "mode=600"),
        ("posix-shm:/open", "owner=2:3", "mode=0600"),
        ("posix-mq:/open", "mode=0", "owner=2"),
    ):
        answer = world.ipcops("set", *words, "--policy", place, "--format", "json")
        assert answer.status == 0, answer.err
        assert answer.json["schema"] == "ipcops.set/1"
        assert len(answer.json["changed"]) >= 2
        undo.append(answer.json["undo"])
    assert seen() == [(0o640, 1, 3), (0o600, 4096), (0o600, 2, 3), (0, 2)]
    assert [one["restore"] for one in reversed(entries(place))] == undo
    for batch in undo:
        answer = world.ipcops("restore", batch, "--policy", place)
        assert answer.status == 0, answer.err
    assert seen() == before
    answer = world.ipcops("set", f"shm:{shmid}", "mode=0666", "--policy", place, "--format", "json")
    assert (answer.status, answer.json["undo"], answer.json["changed"]) == (0, None, [])


@world.in_world()
def test_what_may_not_be_set_is_said_and_written_down():
    world.needs_root()
    shmid = leave()
    home = world.here() / "home"
    home.mkdir()
    os.chown(home, world.OTHER, world.OTHER)
    env = {"HOME": str(home)}
    place = world.policy(world.SCAN)
    answer = world.ipcops("set", f"shm:{shmid}", "mode=0600", "--policy", place, uid=world.OTHER, env=env)
    assert answer.status == 4
    assert "only its owner" in answer.err
    answer = world.ipcops("journal", "--policy", place, "--format", "json", uid=world.OTHER, env=env)
    assert [one["event"] for one in answer.json["entries"]] == ["failed"]
    assert world.table("shm")[0]["perms"] == 0o640


@world.in_world()
def test_an_undo_never_touches_a_stranger():
    shmid = world.shmget(10, key=1)
    place = policy()
    batch = world.ipcops("set", f"shm:{shmid}", "mode=0640", "--policy", place, "--format", "json").json["undo"]
    world.shmrm(shmid)
    world.limit("kernel.shm_next_id", shmid)
    assert world.shmget(10, key=2) == shmid
    answer = world.ipcops("restore", batch, "--policy", place, "--format", "json")
    assert answer.status == 4
    assert "another object" in answer.json["refused"][0]["why"]
    assert world.table("shm")[0]["perms"] == 0o600


@world.in_world()
def test_a_backup_alone():
    world.needs_root()
    shmid, semid = leave(), world.semget(2, key=7)
    world.semctl(semid, 1, world.SETVAL, 5)
    place = policy()
    answer = world.ipcops("backup", f"shm:{shmid}", "sem:0x7", "--policy", place, "--format", "json")
    assert answer.status == 0, answer.err
    assert answer.json["schema"] == "ipcops.backup/1"
    assert [one["kind"] for one in answer.json["saved"]] == ["shm", "sem"]
    assert len(world.table("shm")) == len(world.table("sem")) == 1
    assert Path(answer.json["path"]).stat().st_mode & 0o777 == 0o600
    world.shmrm(shmid)
    world.semrm(semid)
    restored = world.ipcops("restore", answer.json["backup"], "--policy", place)
    assert restored.status == 0, restored.err
    assert contents(shmid, 8192) == b"\1" * 8192
    assert world.semctl(semid, 1, world.GETVAL) == 5
    assert [one["event"] for one in entries(place)] == ["restored", "restored", "saved", "saved"]


# ---------------------------------------------------------------- the journal


@world.in_world()
def test_who_deleted_my_semaphore():
    semid, shmid = world.semget(1, key=0x77), world.shmget(1)
    place = policy()
    world.later(5)
    env = {"SUDO_USER": "alice"}
    clean(place, f"sem:{semid}", f"shm:{shmid}", "--apply", "--yes", env=env)
    assert [one["id"] for one in entries(place, "--key", "0x77")] == [semid]
    assert [one["id"] for one in entries(place, "--kind", "shm")] == [shmid]
    assert entries(place, "--key", "0x78") == entries(place, "--kind", "msg") == []
    assert len(entries(place, "--since", "1h")) == 2
    assert entries(place, "--since", "2099-01-01") == []
    text = " ".join(world.ipcops("journal", "--key", "0x77", "--policy", place).out.split())
    assert "removed sem:0 (key 0x00000077) of root by root, who was alice with clean as named" in text
    assert "to put it back: ipcops restore" in text
    journal = world.here() / "state" / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"event": "intent", "batch": "x", "n"')
    answer = world.ipcops("journal", "--policy", place, "--format", "json")
    assert len(answer.json["entries"]) == 2
    assert "cut off" in answer.json["notes"][0]
    assert json.loads(journal.read_text().splitlines()[0])["user"]["sudo_user"] == "alice"
