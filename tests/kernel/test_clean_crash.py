"""A clean that is killed anywhere: the journal is true, nothing is lost, and the next run ends right.

A world can only be in a state that follows from a call which changes something; killed at the entry
of each of them in turn, a run leaves behind every state there is. Kills at other calls are sampled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipcops.core import apply
from ipcops.core.journal import join, parse_events
from tests import world
from tests.world import GONE, OTHER, in_world

from .cleaner import Name, Place, Run, check_journal, contents, named, plant, run, why, wipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tracing import Call


SAMPLES = 40  # kills at calls that change nothing
BATCH = 4  # objects: several batches, and few objects


def bystander() -> Name:
    """Hold one of everything as somebody who lives; it is never to go."""
    world.mq_send(world.mq_open("/busy"), b"x")
    world.map_file(world.shm_file("psm_busy"))
    world.msgget()
    world.semget(1)
    shmid = world.shmget(4096)
    world.shmat(shmid)
    return "shm", shmid


class Scene:
    """A world with things that are in use, and a fresh lot of things that were left behind."""

    def __init__(self) -> None:
        """Let somebody live here."""
        world.needs_root()
        self.holder = world.spawn(bystander, uid=OTHER)
        self.busy = contents()

    def anew(self) -> None:
        """Leave things behind, with nothing yet known of them."""
        wipe(set(self.busy))
        self.place = Place()
        self.planted = set(world.as_uid(GONE, plant))
        self.before = contents()
        assert set(self.before) == self.planted | set(self.busy)

    def check(self) -> None:
        """Find what lives as it was, and the journal true."""
        now = contents()
        assert {name: now.get(name) for name in self.busy} == self.busy
        check_journal(self.place, self.planted, self.before)

    def clean(self) -> None:
        """Clean once more: all goes, and the journal has no question left."""
        answer = run(*self.place.clean())
        assert answer.status == 0, why(answer)
        assert contents() == self.busy, why(answer)
        entries = check_journal(self.place, self.planted, self.before)
        assert {one["event"] for one in entries} <= {"removed", "failed"}
        gone = {named(one["object"]) for one in entries if one["event"] == "removed"}
        assert gone == self.planted

    def restore(self) -> None:
        """Put back whatever is gone: then nothing is lost."""
        for batch in sorted({one["batch"] for one in self.place.entries() if one["backup"] is not None}):
            answer = run("restore", batch, "--format", "json", "--policy", self.place.policy)
            assert answer.status in (0, 4), answer  # 4: some never went, so their places are taken
        assert contents() == self.before


def small_batches() -> None:
    """Let a run take several batches."""
    apply.BATCH = BATCH


def killed(scene: Scene, at: int, *, everywhere: bool = False) -> bool:
    """Kill a clean of a fresh world at its call number *at*; false when it ended before."""
    scene.anew()
    return kill(scene, at, everywhere=everywhere)


def kill(scene: Scene, at: int, *, everywhere: bool = False) -> bool:
    """Kill a clean at its call number *at*; false when it ended before."""
    going = Run(*scene.place.clean(), before=small_batches, everywhere=everywhere)
    calls = going.traced.calls() if everywhere else going.traced.changing()
    for number, _ in enumerate(calls):
        if number == at:
            going.kill()
            return True
    answer = going.answer()
    assert answer.status == 0, why(answer)
    return False


@pytest.mark.parametrize("then", ["clean", "clean, killed once more", "restore"])
@in_world(mqueue=True, pids=True, timeout=150)
def test_killed_at_every_change(then: str) -> None:
    scene, at = Scene(), 0
    while killed(scene, at):
        scene.check()
        if then != "restore":
            if "killed" in then:
                kill(scene, at // 2)
                scene.check()
            scene.clean()
        scene.restore()
        at += 2 if "killed" in then else 1
    assert at > 60, "a run that changes so little proves nothing"


@in_world(mqueue=True, pids=True, timeout=60)
def test_killed_anywhere() -> None:
    """At calls between the changes, too, evenly over the whole run."""
    scene = Scene()
    scene.anew()
    going = Run(*scene.place.clean(), before=small_batches, everywhere=True)
    count = sum(1 for _ in going.traced.calls())
    answer = going.answer()
    assert answer.status == 0, why(answer)
    for sample in range(SAMPLES):
        if killed(scene, sample * count // SAMPLES, everywhere=True):
            scene.check()
            scene.clean()
            scene.restore()


class Disk:
    """What of a state directory would be found after the power failed: only what was synced before."""

    def __init__(self, place: Place) -> None:
        """Begin with nothing."""
        self.state = place.state
        self.journal = b""
        self.names: dict[str, list[str]] = {}  # of directories
        self.sizes: dict[int, int] = {}  # of files, by inode
        self.pending: Callable[[], object] = lambda: None

    def sync(self, path: str) -> None:
        """Take note of what the call that is about to be made will make last."""
        if os.path.isdir(path):
            names = os.listdir(path)
            self.pending = lambda: self.names.update({path: names})
        elif path == str(self.state / "journal.jsonl"):
            text = Path(path).read_bytes()
            self.pending = lambda: setattr(self, "journal", text)
        else:
            info = os.stat(path)
            self.pending = lambda: self.sizes.update({info.st_ino: info.st_size})

    def made(self) -> None:
        """Let what was pending be on the disk: its call has been made."""
        self.pending()
        self.pending = lambda: None

    def check(self, call: Call, going: Run) -> Name | None:
        """Hold a removal that is about to be made against the disk; return what it removes.

        ``None`` for a file of the state itself.
        """
        events = parse_events(self.journal)
        assert not events.torn
        entries = join(events.events)
        if call.name.endswith("ctl"):
            name: Name = (call.name[:3], call.args[0])
        else:
            file = going.traced.text(call.args[1])
            if going.traced.path(call.args[0]).startswith(str(self.state)):
                return None
            aside = {apply.aside_name(one["batch"], one["n"]): named(one["object"]) for one in entries}
            name = aside.get(file, ("posix-mq", "/" + file))
        assert "journal.jsonl" in self.names[str(self.state)]
        entry = next((one for one in entries if named(one["object"]) == name), None)
        assert entry is not None, f"{name} is about to go, and no intent is on the disk"
        batches = [one["batch"] for one in events.events if one["event"] == "backed-up"]
        assert entry["batch"] in batches, f"{name} is about to go, and that it is backed up is not on the disk"
        pack = self.state / "backups" / entry["backup"]["pack"]
        assert pack.name in self.names[str(pack.parent)], f"{name} is about to go, and its backup may have no name"
        assert self.sizes.get(pack.stat().st_ino) == pack.stat().st_size, f"the backup of {name} is not on the disk"
        return name


@in_world(mqueue=True, pids=True)
def test_nothing_goes_before_its_record_is_on_the_disk() -> None:
    """A kill does not show that: what was written but not synced outlives a process, and no power cut."""
    scene = Scene()
    scene.anew()
    disk = Disk(scene.place)
    going = Run(*scene.place.clean(), before=small_batches)
    removed: list[Name | None] = []
    for call in going.traced.changing():
        disk.made()
        if call.name in ("fsync", "fdatasync"):
            disk.sync(going.traced.path(call.args[0]))
        elif call.removes:
            removed.append(disk.check(call, going))
    answer = going.answer()
    assert answer.status == 0, why(answer)
    assert {name for name in removed if name} == scene.planted, why(answer)
