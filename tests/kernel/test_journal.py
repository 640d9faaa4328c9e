"""The journal and the state directory on a real file system: rotation, what a crash left, who may write there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ipcops.core.errors import WriteError
from ipcops.core.journal import NAME, Intent, Journal, Who, caller, read_journal, unsettled
from ipcops.core.model import Action
from ipcops.core.policy import Policy, parse_policy
from ipcops.core.state import EXPIRES, SYSTEM_PATH, State, default_path
from tests.world import GONE, needs_root

WHO = Who(0, "root", "alice", "clean")


def policy(text: str = "") -> Policy:
    return parse_policy("[clean]\n" + text, "test.conf")


def action(number: int) -> Action:
    row = {"id": number, "key": 0x1234, "uid": 7, "mode": 0o600}
    return Action("sem", number, 0x1234, None, 1, row, "section", ("because",), "strong", "none")


def write(state: State, number: int, settings: str = "") -> None:
    """Write one batch with one object, as a run does."""
    with state.lock(), Journal(state, policy(settings), WHO, "boot", syslog="") as journal:
        batch = journal.begin()
        journal.intents(batch, [Intent(0, action(number))])
        journal.outcomes(batch, [(0, "removed", f"sem:{number}", "")])
        journal.end()


def test_nothing_there_yet(tmp_path: Path) -> None:
    """Reading makes nothing."""
    state = State(str(tmp_path / "state"))
    assert read_journal(state) == ([], [])
    assert unsettled(state) == []
    assert state.sightings.read("boot", 5.0) == {}
    assert not (tmp_path / "state").exists()


def test_only_for_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write(State(str(tmp_path / "var/state")), 1)
    finally:
        os.umask(before)
    for name in ("var", "var/state", "var/state/backups"):
        assert (tmp_path / name).stat().st_mode & 0o7777 == 0o700, name
    for name in (NAME, "lock"):
        assert (tmp_path / "var/state" / name).stat().st_mode & 0o7777 == 0o600, name


def test_newest_first_and_filters(tmp_path: Path) -> None:
    state = State(str(tmp_path))
    for number in range(3):
        write(state, number)
    entries = read_journal(state).entries
    assert [one["object"]["id"] for one in entries] == [2, 1, 0]
    assert entries[0]["user"] == {"uid": 0, "name": "root", "sudo_user": "alice"}
    assert entries[0]["command"] == "clean"
    assert entries[0]["policy"] == "test.conf"
    assert len(read_journal(state, kind="sem", key=0x1234, since=entries[0]["time"] - 60).entries) == 3
    assert read_journal(state, kind="shm").entries == []
    assert read_journal(state, key=1).entries == []
    assert read_journal(state, since=entries[0]["time"] + 60).entries == []


@pytest.mark.parametrize("files", [1, 3])
def test_rotation(tmp_path: Path, files: int) -> None:
    """It is bounded, and whole batches stay together; what is put aside is read on."""
    state = State(str(tmp_path))
    settings = f"journal_size = 64K\njournal_files = {files}\n"
    with state.lock():
        for _ in range(12):
            with Journal(state, policy(settings), WHO, "boot", syslog="") as journal:
                batch = journal.begin()
                journal.intents(batch, [Intent(number, action(number)) for number in range(100)])
                journal.outcomes(batch, [(number, "removed", f"sem:{number}", "") for number in range(100)])
                journal.end()
    names = sorted(name for name in os.listdir(tmp_path) if name.startswith(NAME))
    assert names == [NAME, *(f"{NAME}.{number}" for number in range(1, files))]
    assert all((tmp_path / name).stat().st_size < (64 << 10) + 60_000 for name in names)
    history = read_journal(state)
    assert history.notes == []
    assert len(history.entries) % 100 == 0
    assert len(history.entries) >= 100 * files
    assert [one["object"]["id"] for one in history.entries[:100]] == list(range(99, -1, -1))
    assert {one["event"] for one in history.entries} == {"removed"}


@pytest.mark.parametrize("tail", [b'{"event": "intent", "ba', b'{"event": "end"}', b"\0" * 100, b"\xff"])
def test_what_a_crash_left(tmp_path: Path, tail: bytes) -> None:
    """A torn last line is told, and the next run's lines are not spoilt by it."""
    state = State(str(tmp_path))
    write(state, 1)
    with (tmp_path / NAME).open("ab") as file:
        file.write(tail)
    history = read_journal(state)
    assert [one["object"]["id"] for one in history.entries] == [1]
    assert history.notes == [f"the last line of {NAME} was cut off after {len(tail)} bytes; those before it are whole"]
    write(state, 2)
    history = read_journal(state)
    assert [one["object"]["id"] for one in history.entries] == [2, 1]
    assert len(history.notes) == (tail != b'{"event": "end"}')


def test_unsettled_across_files(tmp_path: Path) -> None:
    """What a run that was killed left open is found although the file was put aside since."""
    state = State(str(tmp_path))
    write(state, 1)
    with state.lock(), Journal(state, policy(), WHO, "boot", syslog="") as journal:
        journal.intents(journal.begin(), [Intent(0, action(2))])
    os.rename(tmp_path / NAME, tmp_path / f"{NAME}.1")
    with state.lock(), Journal(state, policy(), WHO, "boot", syslog="") as journal:
        journal.intent(journal.begin(), 0, "change", {"kind": "sem", "id": 3}, before={"mode": "0600"})
    assert [one["object"]["id"] for one in unsettled(state)] == [2, 3]
    write(state, 4)
    assert unsettled(state) == []


def test_a_reason_that_looks_like_an_end(tmp_path: Path) -> None:
    """No text of an object ends the search for what is open."""
    state = State(str(tmp_path))
    with state.lock(), Journal(state, policy(), WHO, "boot", syslog="") as journal:
        evil = action(1)._replace(reasons=('\n{"event": "end", "time": 1}\n',))
        journal.intents(journal.begin(), [Intent(0, evil)])
    assert [one["object"]["id"] for one in unsettled(state)] == [1]


def test_full_disk(tmp_path: Path) -> None:
    """What was written of a group that did not fit is taken back."""
    state = State(str(tmp_path))
    write(state, 1)
    size = (tmp_path / NAME).stat().st_size
    with state.lock(), Journal(state, policy(), WHO, "boot", syslog="") as journal:
        import resource
        import signal

        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, limits[1]))
        try:
            batch = journal.begin()
            began = (tmp_path / NAME).stat().st_size
            with pytest.raises(WriteError, match="cannot be written: File too large"):
                journal.intents(batch, [Intent(number, action(number)) for number in range(10)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert (tmp_path / NAME).stat().st_size == began
    assert len(read_journal(state).entries) == 1


# --- who may write there


def test_directory_that_others_may_write_to(tmp_path: Path) -> None:
    state = State(str(tmp_path))
    write(state, 1)
    for mode in (0o770, 0o702):
        tmp_path.chmod(mode)
        with pytest.raises(WriteError, match="others may write"):
            read_journal(state)
        with pytest.raises(WriteError, match="others may write"), state.lock():
            pass
    tmp_path.chmod(0o755)
    assert len(read_journal(state).entries) == 1


def test_directory_of_another_user(tmp_path: Path) -> None:
    needs_root()
    os.chown(tmp_path, GONE, GONE)
    with pytest.raises(WriteError, match=f"belongs to uid {GONE}"), State(str(tmp_path)).lock():
        pass


@pytest.mark.parametrize("name", ["lock", NAME])
def test_links_are_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"data")
    place = tmp_path / "state"
    place.mkdir(0o700)
    (place / name).symlink_to(victim)
    with pytest.raises(WriteError, match="symbolic links"):
        write(State(str(place)), 1)
    assert victim.read_bytes() == b"data"


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_path(policy(), 0) == SYSTEM_PATH
    assert default_path(policy("state = /srv/x\n"), 0) == "/srv/x"
    monkeypatch.setenv("XDG_STATE_HOME", "/home/u/state")
    assert default_path(policy(), 1000) == "/home/u/state/ipcops"
    monkeypatch.setenv("HOME", "/home/u")
    for word in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", word)
        assert default_path(policy(), 1000) == "/home/u/.local/state/ipcops"


def test_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    assert caller("clean")._replace(name=None) == (os.getuid(), None, "alice", "clean")


# --- sightings


def test_sightings(tmp_path: Path) -> None:
    seen = State(str(tmp_path)).sightings
    seen.write({"shm": ["a", "b"], "sem": ["c"]}, "boot", 100.0)
    assert seen.read("boot", 160.0) == {"a": 60.0, "b": 60.0, "c": 60.0}
    seen.write({"shm": ["b", "d"]}, "boot", 200.0)  # sets were not looked at; a was used, or is gone
    assert seen.read("boot", 260.0) == {"b": 160.0, "c": 160.0, "d": 60.0}
    seen.write({"shm": ["a", "b"]}, "boot", 300.0)
    assert seen.read("boot", 300.0)["a"] == 0.0  # begins anew
    assert seen.read("later boot", 1e9) == {}
    assert seen.read(None, 1e9) == {}
    assert seen.read("boot", 50.0) == {}  # a clock that runs backwards makes nothing old
    seen.write({}, "boot", 101.0 + EXPIRES)
    assert set(seen.read("boot", 1e9)) == {"a", "b"}
    seen.add({"msg": ["m"]}, "boot", 1e7)
    assert seen.read("boot", 1e7 + 1)["m"] == 1.0


def test_sightings_that_make_no_sense(tmp_path: Path) -> None:
    """Then nothing was seen before, and what may go waits once more."""
    seen = State(str(tmp_path)).sightings
    seen.write({"shm": ["a"]}, "boot", 1.0)
    path = tmp_path / "sightings.json"
    for text in (b"", b"{", json.dumps({"boot_id": "boot", "kinds": {"shm": {"a": [-1e9, 1]}}}).encode()):
        path.write_bytes(text)
        assert seen.read("boot", 1e6) == {}
    seen.write({"shm": ["a"]}, "boot", 1e6)
    assert seen.read("boot", 1e6 + 5) == {"a": 5.0}
    assert path.stat().st_mode & 0o777 == 0o600
