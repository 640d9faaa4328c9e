"""What the proofs of cleaning share: things left behind, what is in them, and runs of ipcops in a fork.

A run in a fork is the same program without the start of another Python: hundreds of them fit into
a test, and it can be held at its system calls (``tracing``). Clocks are ``world.later``'s.

The worlds have a pid namespace of their own (``pids=True``), which these runs take for the whole
machine: nobody outside of it can use what is in the world, and what else runs here, and how many
processes that starts, is not looked at. So no run is told that it missed somebody.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
import runpy
import struct
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ipcops.core
from ipcops.core.collect import host
from ipcops.core.journal import read_journal
from ipcops.core.state import State
from tests import world

from .tracing import Traced

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

for _module in pkgutil.walk_packages(ipcops.core.__path__, "ipcops.core."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)  # so that no run in a fork reads its own code

MSG_COPY = 0o40000
PAGE = 4096

# Everything that uids without a process left behind, at once.
ALL = (
    world.SCAN
    + """
[clean]
state = {state}
second_sighting = 0
max_removals = 100000
{clean}
[remove segments]
kind = shm
owner = nameless
min_age = 0
max_removals = 100000
[remove others]
kind = sem msg posix-shm posix-sem posix-mq
owner = nameless
accept = strong
min_age = 0
with_data = yes
max_removals = 100000
"""
)

Name = tuple[str, Any]  # kind, and id or path
Contents = dict[Name, tuple[Any, ...]]


class Place:
    """A state directory and the policy that names it."""

    def __init__(self, text: str = ALL, clean: str = "", state: Path | None = None) -> None:
        """Choose a directory that is not there yet."""
        self.state = state or Path(tempfile.mkdtemp(dir=world.here())) / "state"
        self.policy = world.policy(text.format(state=self.state, clean=clean))

    @property
    def packs(self) -> list[str]:
        """The names of the backups."""
        with suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.state / "backups") if name.endswith(".pack"))
        return []

    def entries(self) -> list[dict[str, Any]]:
        """Return what the journal says, oldest first; every line of it must be whole."""
        found = read_journal(State(str(self.state)))
        assert found.notes == []
        return found.entries[::-1]

    def clean(self, *words: str) -> tuple[str, ...]:
        """Return the words of a run that cleans without asking."""
        return ("clean", "--apply", "--yes", "--format", "json", "--policy", self.policy, *words)


class Answer(NamedTuple):
    """How a run in a fork ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the output as JSON."""
        return json.loads(self.out)


def why(answer: Answer) -> str:
    """Return in words what a clean did with each object, for a test that failed."""
    if not answer.out:
        return str(answer)
    report = answer.json
    kept = [f"{named(one)} stays: {one['why']}" for one in (*report["plan"]["keep"], *report["failed"])]
    return "\n".join([f"status {answer.status} {answer.err}", *kept, *map(str, report["notes"])])


class Run:
    """One run of ipcops in a fork, held at its system calls."""

    def __init__(
        self,
        *words: str,
        before: Callable[[], object] = lambda: None,
        everywhere: bool = False,
        later: int = 10,
    ) -> None:
        """Start it so many seconds later than the last one; *before* is called in the fork.

        With 10 what was planted just now is old enough to go; with 0 it must grow old by itself.
        """
        self._out = [os.memfd_create(name) for name in ("out", "err")]
        if later:
            world.later(later)

        def main() -> int:
            os.chdir("/")
            for number, file in enumerate(self._out, 1):
                os.dup2(file, number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            if later:
                runpy.run_path(str(world.here() / "clock" / "sitecustomize.py"))
            vars(host)["_initial_pid_namespace"] = lambda _: True
            before()
            agent = importlib.import_module("ipcops.core.agent")
            try:
                return int(agent.main(list(words)))
            except SystemExit as end:
                return int(end.code or 0)

        self.traced = Traced(main, everywhere=everywhere)

    def kill(self) -> None:
        """End it where it is held."""
        self.traced.kill()
        for file in self._out:
            os.close(file)

    def answer(self) -> Answer:
        """Let it run to its end."""
        status = self.traced.run()
        texts = []
        for file in self._out:
            with os.fdopen(file, "rb") as whole:
                whole.seek(0)
                texts.append(whole.read().decode("utf-8", "surrogateescape"))
        answer = Answer(status, *texts)
        assert "Traceback" not in answer.err, answer.err
        assert status != 70, answer
        return answer


def run(*words: str, before: Callable[[], object] = lambda: None, later: int = 10) -> Answer:
    """Run ipcops in a fork to its end; see Run."""
    return Run(*words, before=before, later=later).answer()


# --- things left behind


def plant(tag: str = "") -> list[Name]:
    """Leave one of each behind, with something in it; call it as a uid that then ends."""
    key = 0x10000
    names: list[Name] = []
    for size, segment_key in ((PAGE, key), (16 * PAGE, world.IPC_PRIVATE)):
        shmid = world.shmget(size, key=segment_key, mode=0o640)
        address = world.shmat(shmid)
        world.touch(address, 100)
        world.shmdt(address)
        names.append(("shm", shmid))
    for set_key in (key, world.IPC_PRIVATE):
        semid = world.semget(3, key=set_key)
        for number in range(3):
            world.semctl(semid, number, world.SETVAL, 7 * number + 1)
        names.append(("sem", semid))
    for queue_key, count in ((key, 3), (world.IPC_PRIVATE, 0)):
        msqid = world.msgget(key=queue_key)
        for number in range(count):
            world.msgsnd(msqid, b"message %d" % number, kind=number + 1)
        names.append(("msg", msqid))
    world.shm_file(f"psm_{tag}leak", b"data " * 100)
    world.shm_file(f"sem.{tag}leak", struct.pack("@4Q", 1, 0, 0, 0))
    names += [("posix-shm", f"/psm_{tag}leak"), ("posix-sem", f"/sem.{tag}leak")]
    if os.path.ismount("/dev/mqueue"):
        os.close(world.mq_open(f"/{tag}leak"))
        names.append(("posix-mq", f"/{tag}leak"))
    return names


def contents() -> Contents:
    """Return everything there is: key, owner, mode, and what is in it. Nobody who lives looked into it."""
    found: Contents = world.as_uid(None, _contents)
    return found


def _contents() -> Contents:
    found: Contents = {}
    for row in world.table("shm"):
        address = world.shmat(row["shmid"], world.SHM_RDONLY)
        data = ctypes.string_at(address, row["size"])
        world.shmdt(address)
        found["shm", row["shmid"]] = (row["key"], row["uid"], row["gid"], row["perms"], data)
    for row in world.table("sem"):
        values = tuple(world.semctl(row["semid"], number, world.GETVAL) for number in range(row["nsems"]))
        found["sem", row["semid"]] = (row["key"], row["uid"], row["gid"], row["perms"], values)
    for row in world.table("msg"):
        flags = MSG_COPY | world.IPC_NOWAIT
        messages = tuple(world.msgrcv(row["msqid"], kind=at, flags=flags) for at in range(row["qnum"]))
        found["msg", row["msqid"]] = (row["key"], row["uid"], row["gid"], row["perms"], messages)
    for path in Path("/dev/shm").iterdir():
        kind = "posix-sem" if path.name.startswith("sem.") else "posix-shm"
        info = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[kind, f"/{path.name}"] = (info.st_uid, info.st_gid, info.st_mode, data)
    if os.path.ismount("/dev/mqueue"):
        for path in Path("/dev/mqueue").iterdir():
            info = path.lstat()
            found["posix-mq", f"/{path.name}"] = (info.st_uid, info.st_gid, info.st_mode, b"")
    return found


def wipe(keep: AbstractSet[Name] = frozenset()) -> None:
    """Remove everything but some."""
    remove = {"shm": world.shmrm, "sem": world.semrm, "msg": world.msgrm}
    for kind, name in set(contents()) - keep:
        if kind in remove:
            remove[kind](name)
        else:
            os.unlink(("/dev/mqueue" if kind == "posix-mq" else "/dev/shm") + name)


def named(thing: dict[str, Any]) -> Name:
    """Return kind and id or path of an object of the journal or of a report."""
    return thing["kind"], thing["path"] if thing["path"] is not None else thing["id"]


def check_journal(place: Place, planted: set[Name], before: Contents) -> list[dict[str, Any]]:
    """Hold the journal against the world: it is whole, and true; return its entries.

    All that is gone was intended, and is backed up. All that it calls removed is gone; what it says
    stayed is there.
    """
    entries = place.entries()
    now = contents()
    gone = set(before) - set(now)
    assert gone <= planted
    last = {named(entry["object"]): entry for entry in entries}
    for name in gone:
        assert name in last, f"{name} is gone, and the journal knows nothing of it"
        assert last[name]["backup"] is not None, f"{name} is gone without a backup: {last[name]}"
        assert last[name]["backup"]["pack"] in place.packs or f"{last[name]['backup']['pack']}.pack" in place.packs
        assert last[name]["event"] in ("removed", "intent"), last[name]
    for name, entry in last.items():
        if entry["event"] == "removed":
            assert name in gone, f"the journal says {name} was removed, and it is there"
    return entries
