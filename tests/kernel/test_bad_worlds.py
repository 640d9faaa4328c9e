"""Hostile names, churn, missing rights and broken outputs on the real kernel.

Whatever the world is like, ipcops says what it could not see, never invents an orphan, never writes
half an answer, and never ends with a traceback (``world.ipcops`` checks that of every run).
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.world import GONE, NOW, OTHER, SCAN, in_world

NAMES = (
    b"plain",
    b"with space",
    b"two\nlines",
    b"tab\there",
    b"red \x1b[31m\x1b]0;title\x07",
    b"not utf-8 \xff\xfe\x80",
    "ünïcode 漢字".encode(),
    "right to left \u202e and zero\u200bwidth".encode(),
    b"quote \" and \\ and '",
    b"%s%d%(name)s {braces} {0}",
    b"-rf",
    b"sem.\xf0\x28",
    b"[bold red]rich[bold]",
    b"psm_" + b"x" * 240,
    b" ",
    b"\r",
    b"\x7f\x80\x9b1m",
)


def hostile_files() -> None:
    """Make a file of every name, as a uid that is gone."""
    for name in NAMES:
        descriptor = os.open(b"/dev/shm/" + name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, b"x" * 100)
        os.close(descriptor)


def is_printable(text: str) -> bool:
    """Tell whether a text is safe for a terminal: no control, format or half-decoded character."""
    return all(
        character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co") for character in text
    )


# --- names


@in_world()
def test_hostile_names_are_exact_in_json() -> None:
    world.as_uid(GONE, hostile_files)
    answer = world.ipcops("list", "--format", "json", "--policy", world.policy(), "posix-shm", "posix-sem")
    assert answer.status == 0
    answer.out.encode("ascii" if answer.out.isascii() else "utf-8")  # no raw bytes of a name
    listed = [os.fsencode(one["path"]) for one in answer.json["objects"]]
    assert sorted(listed) == sorted(b"/" + name for name in NAMES)
    found = world.audit()["findings"]
    leaked = {os.fsencode(one["path"]) for one in found if one["rule"] == "PSHM-001"}
    assert leaked == {b"/" + name for name in NAMES}


@pytest.mark.parametrize("command", ["list", "audit", "show"])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C", "ascii"])
@in_world()
def test_hostile_names_are_escaped_in_tables(command: str, locale: str) -> None:
    world.as_uid(GONE, hostile_files)
    env = {"LC_ALL": locale}
    if locale == "ascii":
        env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    words = ["--policy", world.policy()]
    if command == "show":
        words += [f"posix-shm:/{os.fsdecode(name)}" for name in NAMES if not name.startswith(b"sem")]
    answer = world.ipcops(command, "--format", "table", *words, env=env)
    assert answer.status in (0, 1), answer.err
    assert is_printable(answer.out), ascii([c for c in answer.out if not is_printable(c)])
    if command == "audit":  # many equal findings are one line there
        assert "PSHM-001" in answer.out
    else:
        assert "plain" in answer.out
        assert "with space" in answer.out


@in_world(mqueue=True)
def test_hostile_names_of_queues_and_processes() -> None:
    names = [b"jobs \xff", b"jobs\x1b[31m", b"two\nlines"]
    pr_set_name = 15

    def hold() -> None:
        for name in names:
            os.open(b"/dev/mqueue/" + name, os.O_RDWR | os.O_CREAT, 0o600)
        ctypes.CDLL(None).prctl(pr_set_name, b"a) R 1\n\x1b[\xff", 0, 0, 0)

    holder = world.spawn(hold, uid=GONE)
    queues = world.objects("posix-mq")
    assert sorted(os.fsencode(one["path"]) for one in queues) == sorted(b"/" + name for name in names)
    for one in queues:
        assert one["verdict"] == "in-use"
        assert [held["pid"] for held in one["holders"]] == [holder.pid]
        assert os.fsencode(one["holders"][0]["command"]) == b"a) R 1\n\x1b[\xff"
    table = world.ipcops("list", "--format", "table", "--policy", world.policy())
    assert is_printable(table.out)
    shown = world.ipcops("show", "posix-mq:/" + os.fsdecode(names[0]), "--policy", world.policy())
    assert shown.status == 0, shown.err
    assert is_printable(shown.out)


# --- churn


def churn(seed: int) -> None:
    """Make and remove objects and processes without end."""
    chance = random.Random(seed)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        shmid, semid, msqid = world.shmget(4096), world.semget(2), world.msgget()
        path = world.shm_file(f"psm_{chance.randrange(2**32):08x}", b"x" * 4096)
        if os.fork() == 0:
            try:
                world.shmat(shmid)
                world.map_file(path)
                if chance.random() < 0.5:
                    world.semop(semid, 1)
                time.sleep(chance.random() * 0.02)
            finally:
                os._exit(0)
        time.sleep(chance.random() * 0.01)
        world.shmrm(shmid)
        world.semrm(semid)
        world.msgrm(msqid)
        if chance.random() < 0.9:
            os.unlink(path)


@in_world(mqueue=True)
def test_churn() -> None:
    """No crash and no false orphan while everything comes and goes."""

    def hold() -> tuple[int, str, int]:
        shmid = world.shmget(4096)
        world.shmat(shmid)
        path = world.shm_file("psm_00000000", b"x" * 4096)
        world.map_file(path)
        return shmid, path, world.semget(1)

    anchor = world.spawn(hold, uid=GONE)
    for number in range(2):
        world.spawn(then=lambda _, number=number: churn(number), uid=GONE)
    leaks = ("SHM-001", "SEM-001", "MSG-004", "PSHM-001", "MQ-002")
    for _ in range(6):
        # The anchor lives all the time, so nothing of its uid is ever an orphan.
        wrong = [one for one in world.objects() if one["verdict"] == "orphan"]
        assert wrong == []
        assert [one for one in world.audit()["findings"] if one["rule"] in leaks] == []
    found = {one["id"] if one["path"] is None else one["path"]: one for one in world.objects("shm", "posix-shm")}
    shmid, path, semid = anchor.value
    assert found[shmid]["verdict"] == "in-use"
    assert found["/" + os.path.basename(path)]["verdict"] == "in-use"
    assert world.the("sem", semid)["verdict"] == "idle"


def pass_on(end: float, nap: float) -> None:
    """Live as a chain of processes, each of which starts the next and ends."""
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        time.sleep(nap)


@pytest.mark.parametrize(("chains", "nap"), [(1, 0), (2, 0), (2, 0.002)])
@in_world()
def test_owner_that_is_never_the_same_process(chains: int, nap: float) -> None:
    """A uid whose processes live for a millisecond is alive all the same, and holds what it holds.

    When a list of /proc has been read, none of those in it is there any more. That is 'unknown' at
    best, or a look that is quick enough; it is not 'nobody'.
    """
    from ipcops.core.run import run

    def make() -> int:
        world.map_file(world.shm_file("psm_00000001", b"x" * 4096))
        return world.semget(1)

    end = time.monotonic() + 5
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as init does for those that lose their parent
    world.spawn(make, then=lambda _: pass_on(end, nap), uid=GONE)
    for _ in range(chains - 1):
        world.spawn(then=lambda _: pass_on(end, nap), uid=GONE)
    request = {"command": "list", "kinds": ["posix-shm", "sem"], "policy": world.policy()}
    looks, wrong = 0, []
    while time.monotonic() < end - 1 and looks < 200:
        report = run(request)
        looks += 1
        wrong += [(one["kind"], one["reasons"]) for one in report["objects"] if one["verdict"] == "orphan"]
    assert looks
    assert wrong == [], f"in {looks} looks at objects whose users lived"


@in_world()
def test_deadline() -> None:
    """What was not reached in time is not seen, and then nothing is proven."""
    world.as_uid(GONE, lambda: world.shm_file("psm_00000001"))
    for _ in range(300):
        world.spawn()
    path = world.policy(NOW.replace("[scan]", "[scan]\ndeadline = 0.01s"))
    answer = world.ipcops("list", "--format", "json", "--policy", path)
    assert answer.status == 0, answer.err
    report = answer.json
    (file,) = (one for one in report["objects"] if one["kind"] == "posix-shm")
    if report["scan"]["complete"]:
        pytest.skip("300 processes were read in 10 ms")
    assert report["scan"]["skipped"]
    assert file["verdict"] == "unknown"


# --- rights


def mixed_objects() -> dict[str, Any]:
    """Make objects of several uids, used and left; return their ids and names."""

    def left() -> dict[str, Any]:
        queue = world.mq_open("/left")
        os.close(queue)
        return {
            "shm": world.shmget(4096),
            "sem": world.semget(1),
            "msg": world.msgget(),
            "posix-shm": os.path.basename(world.shm_file("psm_00000001", b"x" * 4096)),
            "posix-mq": "left",
        }

    def held() -> dict[str, Any]:
        shmid = world.shmget(4096)
        world.shmat(shmid)
        path = world.shm_file("psm_00000002", b"x" * 4096)
        world.map_file(path)
        world.mq_open("/held")
        return {"shm": shmid, "posix-shm": os.path.basename(path), "posix-mq": "held"}

    gone: dict[str, Any] = world.as_uid(GONE, left)
    return {"left": gone, "held": world.spawn(held).value}


@in_world(mqueue=True)
def test_unprivileged_user() -> None:
    """A mere user sees all tables but not who uses what: partial, and said so; never 'none'."""
    made = mixed_objects()
    answer = world.ipcops("list", "--format", "json", "--policy", world.policy(), uid=OTHER)
    assert answer.status == 0, answer.err
    report = answer.json
    assert report["scan"]["privileged"] is False
    assert report["scan"]["complete"] is False
    assert report["scan"]["unreadable_processes"] > 0
    assert report["scan"]["skipped"]
    assert all(set(one) >= {"what", "why"} for one in report["scan"]["skipped"])
    find = {
        (one["kind"], one["id"] if one["path"] is None else os.path.basename(one["path"])): one
        for one in report["objects"]
    }
    # The attach count is the kernel's, for everybody to see.
    assert find["shm", made["held"]["shm"]]["verdict"] == "in-use"
    assert find["shm", made["left"]["shm"]]["verdict"] == "orphan"
    assert find["shm", made["left"]["shm"]]["confidence"] == "certain"
    # All else needs rights that this user has not.
    assert find["sem", made["left"]["sem"]]["verdict"] == "unknown"
    assert find["msg", made["left"]["msg"]]["verdict"] == "unknown"
    for which in ("left", "held"):
        assert find["posix-shm", made[which]["posix-shm"]]["verdict"] == "unknown"
        queue = find.get(("posix-mq", made[which]["posix-mq"]))
        assert queue is None or queue["verdict"] == "unknown"
    findings = world.audit(uid=OTHER)["findings"]
    unproven = ("SEM-001", "MSG-004", "PSHM-001", "MQ-002")
    assert {one["confidence"] for one in findings if one["rule"] in unproven} <= {"suspect"}
    table = world.ipcops("list", "--format", "table", "--policy", world.policy(), uid=OTHER)
    assert "not" in (table.out + table.err).lower()
    strict = world.ipcops("audit", "--require-complete", "--fail-on", "none", "--policy", world.policy(), uid=OTHER)
    assert strict.status == 3


@in_world(mqueue=True)
def test_own_objects_of_an_unprivileged_user() -> None:
    """Of its own processes and objects a user sees everything."""

    def hold() -> tuple[int, int]:
        shmid = world.shmget(4096)
        world.shmat(shmid)
        world.map_file(world.shm_file("mine", b"x" * 4096))
        world.mq_open("/mine")
        return shmid, world.semget(2, mode=0o600)

    holder = world.spawn(hold, uid=OTHER)
    for kind, which in (("shm", holder.value[0]), ("posix-shm", "mine"), ("posix-mq", "mine")):
        one = world.the(kind, which, uid=OTHER)
        assert one["verdict"] == "in-use"
        assert [held["pid"] for held in one["holders"]] == [holder.pid]
    assert world.the("sem", holder.value[1], uid=OTHER)["verdict"] == "idle"


@pytest.mark.parametrize("option", ["hidepid=1", "hidepid=2", "hidepid=ptraceable"])
@in_world(mqueue=True)
def test_hidepid(option: str) -> None:
    """Other users' processes cannot even be listed: who is gone is then unknown."""
    made = mixed_objects()
    alive = world.spawn(lambda: world.shmget(4096), uid=GONE)
    try:
        world.mount("proc", "/proc", "proc", world.MS_NOSUID, option)
    except OSError as error:
        pytest.skip(f"this kernel has no {option}: {error}")
    answer = world.ipcops("list", "--format", "json", "--policy", world.policy(), uid=OTHER)
    assert answer.status == 0, answer.err
    report = answer.json
    assert report["scan"]["complete"] is False
    assert report["scan"]["skipped"]
    words = {(one["kind"], one["id"]): one["verdict"] for one in report["objects"]}
    assert words["shm", made["held"]["shm"]] == "in-use"
    assert words["shm", alive.value] in ("unknown", "idle")
    assert words["shm", made["left"]["shm"]] == "unknown"
    assert "orphan" not in words.values()
    certain = [one for one in world.audit(uid=OTHER)["findings"] if one["confidence"] == "certain"]
    assert {one["rule"] for one in certain} & {"SHM-001", "SEM-001", "MSG-004", "PSHM-001"} == set()


@in_world()
def test_root_is_not_hindered_by_hidepid() -> None:
    shmid = world.as_uid(GONE, lambda: world.shmget(4096))
    world.mount("proc", "/proc", "proc", world.MS_NOSUID, "hidepid=2")
    assert world.the("shm", shmid)["verdict"] == "orphan"


@in_world()
def test_uid_without_a_name() -> None:
    """The number is all there is, and it is enough: such orphans are the commonest."""
    shmid = world.as_uid(GONE, lambda: world.shmget(4096), gid=OTHER)
    one = world.the("shm", shmid)
    assert one["owner"] == {"uid": GONE, "user": None, "gid": OTHER, "group": None}
    (finding,) = world.findings("SHM-001")
    assert {name: finding["owner"][name] for name in ("uid", "user")} == {"uid": GONE, "user": None}
    for command in ("list", "audit"):
        table = world.ipcops(command, "--format", "table", "--policy", world.policy())
        assert str(GONE) in table.out
        assert "None" not in table.out


@in_world()
def test_processes_that_root_cannot_look_into() -> None:
    """Pid 1 hides its maps on some machines. Without the policy's leave that hides a holder."""
    name = world.as_uid(GONE, lambda: world.shm_file("psm_00000001"))
    try:
        Path("/proc/1/maps").read_bytes()
    except PermissionError:
        strict = world.the("posix-shm", name, text="[audit]\norphan_age = 0\n")
        assert strict["verdict"] == "unknown"
        found = world.findings("PSHM-001", text="[audit]\norphan_age = 0\n")
        assert [one["confidence"] for one in found] == ["suspect"]
    else:
        pytest.skip("root reads everything here")
    assert world.the("posix-shm", name)["verdict"] == "orphan"


# --- outputs


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("command", ["audit", "list", "rules"])
@in_world()
def test_full_output(command: str, form: str) -> None:
    """A full disk behind standard output is an error that is told, not a success."""
    world.shmget(4096)
    with open("/dev/full", "wb") as full:
        answer = world.ipcops(command, "--format", form, stdout=full)
    assert answer.status == 4
    assert "No space left" in answer.err
    assert len(answer.err.strip().splitlines()) == 1


@pytest.mark.parametrize("form", ["table", "json"])
@in_world()
def test_reader_that_has_gone(form: str) -> None:
    """``ipcops list | head -1`` ends quietly."""
    for _ in range(2000):
        world.semget(1)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        answer = world.ipcops("list", "--format", form, stdout=closed)
    assert answer.status in (0, 4, -signal.SIGPIPE)
    assert "Exception" not in answer.err


@in_world()
def test_closed_standard_output() -> None:
    """Started with ``>&-``, as some daemons do."""
    command = [sys.executable, "-m", "ipcops.core", "list", "--format", "json"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=world.REPO, capture_output=True, check=False
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 4)


@in_world()
def test_output_file_is_whole_or_not_at_all() -> None:
    for _ in range(3000):
        world.semget(1)
    good = world.here() / "report.json"
    answer = world.ipcops("list", "sem", "--format", "json", "--output", str(good))
    assert (answer.status, answer.out) == (0, ""), answer.err
    assert len(json.loads(good.read_text())["objects"]) == 3000

    small = world.here() / "small"
    small.mkdir()
    world.mount("tmpfs", str(small), "tmpfs", 0, "size=16k")
    target = small / "report.json"
    target.write_text("the report of yesterday")
    answer = world.ipcops("list", "--format", "json", "--output", str(target))
    assert answer.status == 4
    assert "No space left" in answer.err
    assert str(target) in answer.err
    assert target.read_text() == "the report of yesterday"
    assert os.listdir(small) == ["report.json"]

    world.mount("none", str(small), None, world.MS_REMOUNT | world.MS_RDONLY)
    for path in (target, small / "new.json"):
        answer = world.ipcops("audit", "--format", "json", "--fail-on", "none", "--output", str(path))
        assert answer.status == 4
        assert "Read-only" in answer.err
    assert os.listdir(small) == ["report.json"]

    missing = world.here() / "no" / "such" / "directory.json"
    answer = world.ipcops("audit", "--format", "json", "--output", str(missing))
    assert answer.status in (2, 4)
    assert str(missing.parent) in answer.err


@in_world()
def test_failed_write_wins_over_findings() -> None:
    """Status 4 and not 1, though there are findings."""
    world.as_uid(GONE, lambda: world.shmget(4096))
    with open("/dev/full", "wb") as full:
        answer = world.ipcops("audit", "--format", "json", "--policy", world.policy(), stdout=full)
    assert answer.status == 4


# --- wrong words


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("audit", "--kind", "shn"), "shm"),
        (("list", "posix-shn"), "posix-shm"),
        (("audit", "--rule", "SHM-01"), "SHM-001"),
        (("rules", "PSHM-01"), "PSHM-001"),
        (("audit", "--format", "jsn"), "json"),
        (("audit", "--fail-on", "hihg"), "high"),
        (("audit", "--min-severity", "mediun"), "medium"),
        (("list", "--verdict", "orphn"), "orphan"),
        (("show", "smh:1"), "shm"),
        (("adit",), "audit"),
        (("audit", "--polcy", "x"), ""),
    ],
)
def test_unknown_word(words: tuple[str, ...], near: str) -> None:
    answer = world.ipcops(*words)
    assert answer.status == 2, answer
    assert near in answer.err
    assert words[-1].split(":")[0] in answer.err or words[-2] in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("text", "line", "near"),
    [
        ("[audit]\norphan_aeg = 0\n", 2, "orphan_age"),
        ("\n[adit]\norphan_age = 0\n", 2, "audit"),
        ("[audit]\n\norphan_age = soon\n", 3, "24h"),
        ("[audit]\norphan_age = -1\n", 2, "orphan_age"),
        ("[audit]\nnear_limit = 300\n", 2, "near_limit"),
        ("[scan]\ndeadline = 10000h\n", 2, "deadline"),
        ("[audit]\nexempt = SHM-01\n", 2, "SHM-001"),
        ("[protect x]\nkind = shn\nreason = y\n", 2, "shm"),
        ("[protect x]\nkind = shm\n", 1, "reason"),
        ("[protect x]\nlift = orcle\nreason = y\n", 2, "oracle"),
        ("orphan_age = 0\n", 1, ""),
        ("[audit]\norphan_age = 0\norphan_age = 1\n", 3, "orphan_age"),
    ],
)
@in_world()
def test_wrong_policy(text: str, line: int, near: str) -> None:
    """Nothing is done, and the message names file, line and the nearest word."""
    path = world.policy(text)
    answer = world.ipcops("audit", "--policy", path)
    assert answer.status == 2, answer
    assert answer.out == ""
    assert path in answer.err
    assert f"line {line}" in answer.err or f"line: {line}" in answer.err or f":{line}" in answer.err
    assert near in answer.err


@in_world()
def test_policy_that_cannot_be_read() -> None:
    missing = str(world.here() / "missing.conf")
    answer = world.ipcops("audit", "--policy", missing)
    assert (answer.status, answer.out) == (2, "")
    assert missing in answer.err
    path = Path(world.policy(SCAN))
    path.write_bytes(b"[audit]\n# caf\xe9\norphan_age = 0\n")
    assert world.ipcops("audit", "--policy", str(path)).status in (0, 2)
    assert world.ipcops("audit", "--policy", "/dev/shm").status == 2


# --- kernels that lack something


@in_world(mqueue=True)
def test_kernel_without_system_v() -> None:
    """Nothing is said about what cannot be seen; the rest is."""
    shmid = world.shmget(4096)
    world.shm_file("file")
    world.mount("tmpfs", "/proc/sysvipc", "tmpfs")
    answer = world.ipcops("list", "--format", "json", "shm")
    if answer.status != 3:  # then the kernel was asked in another way, and the answer is right
        assert answer.status == 0
        assert [one["id"] for one in answer.json["objects"]] == [shmid]
        return
    assert "/proc/sysvipc" in answer.err
    everything = world.ipcops("audit", "--format", "json", "--fail-on", "none")
    assert everything.status == 0
    report = everything.json
    assert report["scan"]["complete"] is False
    assert any("shm" in json.dumps(one) for one in report["scan"]["skipped"])
    assert [one["path"] for one in world.objects("posix-shm")] == ["/file"]
    strict = world.ipcops("audit", "--format", "json", "--fail-on", "none", "--require-complete")
    assert strict.status == 3


def show_table(kind: str, text: str) -> None:
    """Show another text as /proc/sysvipc/KIND, in this mount namespace."""
    file = world.here() / f"sysvipc-{kind}"
    file.write_text(text)
    world.mount(str(file), f"/proc/sysvipc/{kind}", None, world.MS_BIND)


@in_world()
def test_table_of_an_old_kernel() -> None:
    """Before 2.6.34 segments had no columns for rss and swap: absent is null, not 0."""
    shmid = world.as_uid(GONE, lambda: world.shmget(4096, key=0x5EED))
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()
    show_table("shm", "".join(" ".join(line.split()[:14]) + "\n" for line in lines))
    one = world.the("shm", shmid)
    assert (one["key"], one["size"], one["rss"], one["swap"]) == ("0x00005eed", 4096, None, None)
    assert one["verdict"] == "orphan"
    usage = world.audit()["usage"]["shm"]
    assert (usage["objects"], usage["bytes"], usage["rss"]) == (1, 4096, None)


@pytest.mark.parametrize("kind", ["shm", "sem", "msg"])
@in_world()
def test_row_that_makes_no_sense(kind: str) -> None:
    """A row that cannot be read is reported as it stands; the others are listed."""
    make = {"shm": lambda: world.shmget(10), "sem": lambda: world.semget(1), "msg": world.msgget}[kind]
    first, second = make(), make()
    lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines(keepends=True)
    show_table(kind, lines[0] + lines[1] + lines[2].replace(f" {second} ", " what? ", 1))
    answer = world.ipcops("list", "--format", "json", kind)
    assert answer.status == 0, answer.err
    assert [one["id"] for one in answer.json["objects"]] == [first]
    assert answer.json["scan"]["complete"] is False
    assert any("what?" in one["why"] + one["what"] for one in answer.json["scan"]["skipped"])
    table = world.ipcops("list", kind)
    assert "what?" in table.out + table.err


@in_world()
def test_table_of_another_shape() -> None:
    """Columns are found by their names; a table without a needed one is not guessed at."""
    shmid = world.shmget(4096)
    head, *rows = (line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines())
    reordered = [[*reversed(head), "new"], *([*reversed(row), "7"] for row in rows)]
    show_table("shm", "".join(" ".join(line) + "\n" for line in reordered))
    assert world.the("shm", shmid)["size"] == 4096
    world.umount("/proc/sysvipc/shm")
    show_table("shm", "".join(" ".join(line[:3]) + "\n" for line in reordered))
    answer = world.ipcops("list", "--format", "json", "shm")
    assert answer.status == 3
    assert "/proc/sysvipc/shm" in answer.err


@in_world()
def test_queues_without_a_mount_for_a_mere_user() -> None:
    """Without a mount only root can look; for others that is no empty list."""
    world.as_uid(None, lambda: os.close(world.mq_open("/unseen")))
    assert [one["path"] for one in world.objects("posix-mq")] == ["/unseen"]
    answer = world.ipcops("list", "--format", "json", "posix-mq", uid=OTHER)
    if answer.status == 0:
        assert answer.json["scan"]["complete"] is False
        assert answer.json["scan"]["skipped"]
    else:
        assert answer.status == 3
        assert answer.err


@in_world()
def test_directory_that_cannot_be_read() -> None:
    """/dev/shm closed to this user: unknown, not empty."""
    world.shm_file("file")
    os.chmod("/dev/shm", 0o700)
    answer = world.ipcops("list", "--format", "json", "posix-shm", uid=OTHER)
    if answer.status == 0:
        assert answer.json["scan"]["complete"] is False
    else:
        assert answer.status == 3
    everything = world.ipcops("audit", "--format", "json", "--fail-on", "none", uid=OTHER)
    assert everything.status == 0
    assert "/dev/shm" in json.dumps(everything.json["scan"]["skipped"])


@in_world(mqueue=True, pids=True)
def test_a_container_of_its_own() -> None:
    """In a pid namespace of its own everything works; only proofs of absence are not to be had."""
    gone = world.as_uid(GONE, lambda: world.shmget(4096))
    held = world.spawn(lambda: (shmid := world.shmget(4096), world.shmat(shmid))[0], uid=GONE)
    assert world.the("shm", held.value)["verdict"] == "in-use"
    assert [one["pid"] for one in world.the("shm", held.value)["holders"]] == [held.pid]
    held.kill()
    word = world.the("shm", gone)
    assert (word["verdict"], word["confidence"]) != ("orphan", "certain")
