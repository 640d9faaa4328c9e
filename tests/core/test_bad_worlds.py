"""Worlds that go wrong while they are looked at: what dies, hides, vanishes or takes too long, at every step.

Each test plays the capture ``leaks`` again and again, with one more access going well each time.
What holds at every step: no exception but a documented one, nobody is called a holder who is none,
nothing that has become unprovable is called an orphan, and what is merely gone is no gap.
"""

from __future__ import annotations

import errno
import os
import re
import types
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import pytest

from ipcops.core import exits
from ipcops.core.collect.proctext import parse_status
from ipcops.core.errors import IpcopsError
from ipcops.core.model import REMOVABLE_KINDS
from ipcops.core.run import run
from tests.hosts import replay

HOST = "leaks"
PIDS = ("2", "3", "4", "5", "8", "10", "12", "13")
POSIX = [kind for kind in REMOVABLE_KINDS if kind.startswith("posix")]
Objects = Dict[Tuple[str, Any], Dict[str, Any]]


class Bad(replay.Capture):
    """A capture where *trouble* is asked before every access, and may raise or answer itself."""

    def __init__(self, trouble: Callable[[str, str], Any]) -> None:
        super().__init__()
        good = replay.load(HOST)
        self.__dict__.update(good.__dict__)
        self.facts = {**good.facts, "otherwise": "ENOENT"}  # what is done only in trouble was not recorded
        self.trouble = trouble

    def ask(self, what: str, path: str) -> Any:
        if what == "Open":
            return super().ask(what, path)
        answer = self.trouble(what, path)
        return super().ask(what, path) if answer is None else answer

    def open(self, path: str) -> str:
        other = self.trouble("Open", path)
        return super().open(path if other is None else other)


def failure(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def looked(trouble: Callable[[str, str], Any], step: float = 0.0, **request: Any) -> Dict[str, Any]:
    """Return the list that the core makes of the troubled host; *step* seconds pass at each look at the clock."""
    with replay.replayed(Bad(trouble)) as world:

        def monotonic() -> float:
            world.clock.ticks += step
            return world.clock.ticks

        world.clock.monotonic = monotonic
        report = run({"command": "list", "kinds": list(REMOVABLE_KINDS), **request}, world.roots, world.kernel)
        world.clock.ticks = 0.0
        audit = run({**request, "command": "audit", "kinds": list(REMOVABLE_KINDS)}, world.roots, world.kernel)
    return {
        "objects": {(one["kind"], one["path"] or one["id"]): one for one in report["objects"]},
        "gaps": report["scan"]["skipped"],
        "findings": list(audit["findings"]),
        "complete": report["scan"]["complete"],
    }


def untroubled(what: str, path: str) -> None:
    return None


GOOD = looked(untroubled)


class Steps:
    """Counts the accesses below a path, and tells at each whether it is the n-th or a later one."""

    def __init__(self, below: str, number: int) -> None:
        self.below, self.number, self.count = below, number, 0

    def reached(self, path: str) -> bool:
        if path != self.below and not path.startswith(self.below + "/"):
            return False
        self.count += 1
        return self.count >= self.number


def accesses(below: str) -> int:
    steps = Steps(below, 1 << 30)

    def trouble(what: str, path: str) -> None:
        steps.reached(path)

    looked(trouble)
    return steps.count // 2 + 1  # list and audit; one more, for trouble after the last


EVERY = [(pid, number) for pid in PIDS for number in range(1, accesses("/proc/" + pid) + 1)]


def holders(report: Dict[str, Any]) -> Set[Tuple[Any, int, int]]:
    return {
        (name, holder["pid"], holder["started_at"])
        for name, one in report["objects"].items()
        for holder in one["holders"] + one["waiters"]
    }


def without(pid: str, names: List[str]) -> List[str]:
    return [name for name in names if name != pid]


def in_use_by_others(pid: str) -> Set[Any]:
    """Return the objects that somebody else than *pid* has, or that the kernel itself counts in use."""
    return {
        name
        for name, one in GOOD["objects"].items()
        if one["verdict"] == "in-use"
        and (name[0] in ("shm", "sem") or any(holder["pid"] != int(pid) for holder in one["holders"] + one["waiters"]))
    }


def assert_only_gone(report: Dict[str, Any], pid: str) -> None:
    assert report["gaps"] == []
    assert holders(report) <= holders(GOOD)
    assert report["objects"].keys() == GOOD["objects"].keys()
    for name in in_use_by_others(pid):
        assert report["objects"][name]["verdict"] == "in-use"


# ---------------------------------------------------------------- processes that end


@pytest.mark.parametrize("code", [errno.ESRCH, errno.ENOENT])
@pytest.mark.parametrize(("pid", "number"), EVERY)
def test_a_process_that_ends_between_any_two_looks(pid, number, code):
    steps = Steps("/proc/" + pid, number)
    dead: List[bool] = []

    def trouble(what: str, path: str) -> Any:
        if steps.reached(path):
            dead.append(True)
            raise failure(errno.ENOENT if what == "Open" else code)
        if dead and (what, path) == ("Dir", "/proc"):
            return without(pid, replay.load(HOST).ask(what, path))
        return None

    assert_only_gone(looked(trouble), pid)


def as_zombie(what: str, path: str, text: Any) -> Any:
    """Answer what /proc answers of a process that has ended and was not waited for."""
    name = path.rpartition("/")[2]
    if what == "Open" or name in ("status", "limits"):
        return None
    if name == "stat":
        return re.sub(rb"\) [A-Z] ", b") Z ", text())
    if name == "syscall":
        return b"running\n"
    if what == "Dir":
        return []
    if name == "maps":
        return b""
    raise failure(errno.EINVAL if name == "mountinfo" else errno.ENOENT)


@pytest.mark.parametrize(("pid", "number"), EVERY)
def test_a_process_that_becomes_a_zombie_between_any_two_looks(pid, number):
    steps = Steps("/proc/" + pid, number)

    def trouble(what: str, path: str) -> Any:
        if steps.reached(path):
            return as_zombie(what, path, lambda: replay.load(HOST).ask(what, path))
        return None

    assert_only_gone(looked(trouble), pid)


STRANGER = "/proc/999"


@pytest.mark.parametrize(("pid", "number"), EVERY)
def test_a_number_that_is_given_to_another_process(pid, number):
    """What was opened stays the process that it was; what is opened anew is the stranger, who holds nothing."""
    steps = Steps("/proc/" + pid, number)
    opened: List[str] = []
    good = replay.load(HOST)

    def trouble(what: str, path: str) -> Any:
        if path == STRANGER or path.startswith(STRANGER + "/"):
            told = path.replace(STRANGER, "/proc/1" if pid == "5" else "/proc/5")  # who hold nothing
            if path.endswith("/stat"):
                fields = re.sub(rb"^\d+ ", b"%s " % pid.encode(), good.ask(what, told)).split()
                fields[21] = b"9999999"
                return b" ".join(fields) + b"\n"
            return told if what == "Open" and path != STRANGER else None if what == "Open" else good.ask(what, told)
        if not steps.reached(path):
            opened.append(path)
            return None
        if what == "Open" and path == "/proc/" + pid:
            return STRANGER
        raise failure(errno.ESRCH)

    with_stranger = Bad(trouble)
    with_stranger.records["Path", STRANGER + "/stat"] = b""
    with replay.replayed(with_stranger) as world:
        report = run({"command": "list", "kinds": list(REMOVABLE_KINDS)}, world.roots, world.kernel)
    seen = {"objects": {(one["kind"], one["path"] or one["id"]): one for one in report["objects"]}}
    assert holders(seen) <= holders(GOOD)
    assert report["scan"]["skipped"] == []
    for name in in_use_by_others(pid):
        assert seen["objects"][name]["verdict"] == "in-use"


# ---------------------------------------------------------------- processes that cannot be looked into

EVIDENCE = (
    (r"|/stat|/status", {"processes"}),
    (r"/maps", {"maps"}),
    (r"/map_files/.*", {"unlinked"}),
    (r"/fd|/fd/.*|/fdinfo/.*|/root|/mountinfo|/ns/mnt", {"descriptors"}),
    (r"/syscall|/task.*", {"blocked"}),
    (r"/ns/ipc", {"maps", "blocked"}),
    (r"/limits", set()),
)


def evidence_of(path: str) -> Set[str]:
    return next(names for pattern, names in EVIDENCE if re.fullmatch(pattern, path))


NEEDS = {
    "shm": {"processes"},
    "sem": {"processes", "semaphores"},
    "msg": {"processes", "blocked"},
    "posix-shm": {"processes", "maps", "descriptors"},
    "posix-sem": {"processes", "maps", "descriptors"},
    "posix-mq": {"processes", "descriptors"},
}


@pytest.mark.parametrize(("pid", "number"), [(pid, number) for pid, number in EVERY if (pid, number + 1) in EVERY])
def test_what_may_not_be_read_is_a_gap_of_that_evidence_alone(pid, number):
    steps = Steps("/proc/" + pid, number)
    refused: List[Tuple[str, str]] = []

    def trouble(what: str, path: str) -> None:
        if steps.reached(path) and not refused:
            refused.append((what, path[len("/proc/" + pid) :]))
        if (what, path[len("/proc/" + pid) :]) in refused and path.startswith("/proc/" + pid):
            raise failure(errno.EACCES)

    report = looked(trouble)
    found = {gap["evidence"] for gap in report["gaps"]}
    ((what, path),) = refused
    wanted = evidence_of(path)
    if what == "Target" and path.startswith("/fd/"):  # how large a removed file is; a bound from below
        assert found <= {"unlinked", "descriptors"}
    else:
        assert found <= wanted
        assert bool(found) == bool(wanted)
    for gap in report["gaps"]:
        if gap["evidence"] != "unlinked":
            assert gap["pid"] == int(pid)
        assert gap["why"] == "Permission denied" or gap["evidence"] == "unlinked"
    assert holders(report) <= holders(GOOD)
    for one in report["objects"].values():
        if one["verdict"] == "orphan":
            assert NEEDS[one["kind"]] & found == set()
    for one in report["findings"]:
        if one["evidence"].get("verdict") == "unknown":
            assert one["confidence"] == "suspect"


# ---------------------------------------------------------------- everything else that can fail


def elsewhere() -> List[Tuple[str, str]]:
    found: List[Tuple[str, str]] = []

    def trouble(what: str, path: str) -> None:
        if not re.match(r"/proc/\d", path) and (what, path) not in found:
            found.append((what, path))

    looked(trouble)
    return found


def never(what: str, path: str) -> bool:
    """Whether it is about a descriptor that is open already, or a call that tells failure otherwise."""
    return what == "Space" or path.endswith("/.") or path.startswith("msg_qbytes")


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOENT, errno.EIO])
@pytest.mark.parametrize(("what", "path"), [one for one in elsewhere() if not never(*one)])
def test_any_one_source_may_fail(what, path, code):
    def trouble(asked: str, of: str) -> None:
        if (asked, of) == (what, path):
            raise failure(code)

    try:
        report = looked(trouble)
    except IpcopsError as error:
        # Only without the one is there nothing to say, and the other is the user's to mend.
        told = {"/proc/uptime": exits.UNDETERMINED, "/etc/ipcops/ipcops.conf": exits.WRONG_INPUT}
        if error.exit_status != told.get(path):
            raise
        return
    assert holders(report) <= holders(GOOD)
    missing = {kind for kind, _ in GOOD["objects"]} - {kind for kind, _ in report["objects"]}
    told = {gap["kind"] for gap in report["gaps"]}
    assert missing <= told or (what == "Stat" and code == errno.ENOENT)
    for name, one in report["objects"].items():
        if GOOD["objects"].get(name, one)["verdict"] == "in-use":
            assert one["verdict"] in ("in-use", "unknown"), (name, one["reasons"])


# ---------------------------------------------------------------- too late


@pytest.mark.parametrize("seconds", range(1, 30))
def test_the_deadline_at_every_look_at_the_clock(seconds):
    report = looked(untroubled, step=1.0, deadline=seconds)
    processes = {gap["evidence"] for gap in report["gaps"]} & {"processes", "maps", "descriptors", "blocked"}
    assert processes in (set(), {"processes", "maps", "descriptors", "blocked"})
    assert holders(report) <= holders(GOOD)
    for name, one in report["objects"].items():
        good = GOOD["objects"][name]
        if not processes and one["kind"] != "sem":
            assert one["verdict"] == good["verdict"]
            continue
        allowed = {"in-use", "unknown"} if good["verdict"] == "in-use" else {"unknown", "idle"}
        if not processes:
            allowed.add(good["verdict"])
        assert one["verdict"] in allowed, (name, one["reasons"])
    if processes:
        assert not [one for one in report["findings"] if one["evidence"].get("verdict") == "orphan"]
        assert not [one for one in report["objects"].values() if one["verdict"] == "orphan"]
        assert any("deadline" in gap["why"] for gap in report["gaps"])


def test_the_deadlines_above_cut_off_something_and_in_the_end_nothing():
    complete = [looked(untroubled, step=1.0, deadline=seconds)["complete"] for seconds in range(1, 30)]
    assert complete[0] is False
    assert complete[-1] is True
    assert complete == sorted(complete)


# ---------------------------------------------------------------- objects that go


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIDRM])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_set_that_is_removed_after_the_table_was_read(number, code):
    def trouble(what: str, path: str) -> None:
        if what == "Call" and path.startswith("semaphores[%d," % number):
            raise failure(code)

    report = looked(trouble)
    assert report["gaps"] == []
    assert report["objects"].keys() == GOOD["objects"].keys() - {("sem", number)}
    assert {one["id"] for one in report["findings"] if one["rule"] == "SEM-001"} == {0, 1} - {number}


def test_a_set_that_may_not_be_asked_about_stays():
    def trouble(what: str, path: str) -> None:
        if what == "Call" and path.startswith("semaphores[1,"):
            raise failure(errno.EACCES)

    report = looked(trouble)
    assert [gap["evidence"] for gap in report["gaps"]] == ["semaphores"]
    assert report["objects"]["sem", 1]["verdict"] == "unknown"
    assert report["objects"]["sem", 0]["verdict"] == "orphan"


def names_of(kind: str) -> List[Optional[str]]:
    return [name for one, name in GOOD["objects"] if one == kind]


@pytest.mark.parametrize("path", [name for kind in ("posix-shm", "posix-sem") for name in names_of(kind)])
def test_a_file_that_is_removed_after_the_listing(path):
    removed = replay.load(HOST).ask("Stat", "/dev/shm" + path)._replace(nlink=0)

    def trouble(what: str, of: str) -> Any:
        if (what, of) == ("Stat", "/dev/shm" + path):
            raise failure(errno.ENOENT)
        return removed if what == "Target" and of.startswith("/proc/3/map_files/") else None

    report = looked(trouble)
    assert report["gaps"] == []
    assert {name for _, name in GOOD["objects"].keys() - report["objects"].keys()} == {path}


@pytest.mark.parametrize("what", ["Stat", "Call"])
@pytest.mark.parametrize("path", names_of("posix-mq"))
def test_a_queue_that_is_removed_after_the_listing(path, what):
    def trouble(asked: str, of: str) -> None:
        if asked == what and "mqueue:" + path in of:
            raise failure(errno.ENOENT)

    report = looked(trouble)
    assert report["gaps"] == []
    assert {name for _, name in GOOD["objects"].keys() - report["objects"].keys()} == {path}


def test_rows_that_no_one_understands_are_told_and_hide_no_others():
    def trouble(what: str, path: str) -> Any:
        if (what, path) == ("Path", "/proc/sysvipc/shm"):
            return replay.load(HOST).ask(what, path) + b"what is this?\n"
        return None

    report = looked(trouble)
    assert report["objects"].keys() == GOOD["objects"].keys()
    (gap,) = report["gaps"]
    assert "what is this?" in gap["why"]


def test_hidden_processes_make_nothing_an_orphan():
    """hidepid: the list shows one's own processes alone, and pid 1 is not among them."""

    def trouble(what: str, path: str) -> Any:
        return ["5"] if (what, path) == ("Dir", "/proc") else None

    report = looked(trouble)
    assert {gap["evidence"] for gap in report["gaps"]} >= {"processes", "maps", "descriptors", "blocked"}
    assert "orphan" not in {one["verdict"] for one in report["objects"].values()}
    assert not [one for one in report["findings"] if one["rule"].endswith("-001") and "verdict" in one["evidence"]]


def test_processes_that_are_listed_and_closed():
    """hidepid=1: everybody is listed, nothing of others can be read."""

    def trouble(what: str, path: str) -> Any:
        if re.match(r"/proc/\d+/", path):
            raise failure(errno.EACCES)
        return None

    report = looked(trouble)
    assert "orphan" not in {one["verdict"] for one in report["objects"].values()}
    assert not [one for one in report["findings"] if one["confidence"] == "certain" and "verdict" in one["evidence"]]


def test_a_process_whose_main_thread_has_ended_still_holds():
    """Then /proc/PID shows neither maps nor descriptors; /proc/TID of another thread does (seen on Linux 6.18)."""
    good = replay.load(HOST)

    def trouble(what: str, path: str) -> Any:
        if path.endswith("/task"):
            return ["3", "77"]
        if what == "Stat" and "/task/" in path:
            uids, gids = parse_status(good.ask("Path", "/proc/3/status"))
            return types.SimpleNamespace(uid=min(uids), gid=min(gids))
        if "/task/" in path:
            return b"running\n" if path.endswith("/3/syscall") else good.ask(what, "/proc/3/syscall")
        if path.startswith("/proc/77"):
            told = path.replace("/proc/77", "/proc/3")
            if path.endswith("/stat"):
                return good.ask(what, told).replace(b"3 (", b"77 (", 1)
            return None if what == "Open" else good.ask(what, told)
        if path.startswith("/proc/3/"):
            if path.endswith("/stat"):
                fields = good.ask(what, path).split()
                fields[2], fields[19] = b"Z", b"2"
                return b" ".join(fields) + b"\n"
            return as_zombie(what, path, None)
        return None

    bad = Bad(trouble)
    bad.records["Dir", "/proc/77/fd"] = []
    bad.records["Call", replay.call_key("shares_files", [3, 77])] = True
    with replay.replayed(bad) as world:
        report = run({"command": "list", "kinds": POSIX}, world.roots, world.kernel)
    (file,) = [one for one in report["objects"] if one["path"] == "/in-use" and one["kind"] == "posix-shm"]
    assert (file["verdict"], [holder["pid"] for holder in file["holders"]]) == ("in-use", [3])
    assert report["scan"]["skipped"] == []


def test_a_file_that_is_mapped_and_closed_while_the_process_is_looked_at():
    """open, mmap, close is how shm_open(3) is used: at every moment the file is open or mapped."""
    good = replay.load(HOST)
    looks: List[str] = []

    def trouble(what: str, path: str) -> Any:
        if path in ("/proc/3/maps", "/proc/3/fd"):
            looks.append(path)
        if path == "/proc/3/maps" and looks[0] == path:
            return b"".join(line for line in good.ask(what, path).splitlines(keepends=True) if b"/dev/shm/" not in line)
        if path == "/proc/3/fd" and what == "Dir" and looks[0] != path:
            return []
        return None

    with replay.replayed(Bad(trouble)) as world:
        report = run({"command": "list", "kinds": POSIX}, world.roots, world.kernel)
    assert set(looks) == {"/proc/3/fd", "/proc/3/maps"}
    (file,) = [one for one in report["objects"] if one["path"] == "/in-use" and one["kind"] == "posix-shm"]
    assert (file["verdict"], [holder["pid"] for holder in file["holders"]]) == ("in-use", [3])


@pytest.mark.parametrize("fstype", [None, b"overlay"])
def test_a_file_system_whose_devices_cannot_be_matched(fstype):
    """A plain directory of btrfs or of a container's root at /dev/shm: its files' device is not that of maps."""
    good = replay.load(HOST)

    def trouble(what: str, path: str) -> Any:
        if not path.endswith("/mountinfo"):
            return None
        lines = good.ask(what, path).splitlines(keepends=True)
        if fstype is None:
            return b"".join(line for line in lines if b" /dev/shm " not in line)
        return b"".join(line.replace(b" - tmpfs ", b" - %s " % fstype) for line in lines)

    report = looked(trouble)
    files = [one for (kind, _), one in report["objects"].items() if kind in ("posix-shm", "posix-sem")]
    assert "orphan" in {GOOD["objects"][one["kind"], one["path"]]["verdict"] for one in files}
    assert {one["verdict"] for one in files} <= {"in-use", "idle", "unknown"}
    assert not report["complete"]
