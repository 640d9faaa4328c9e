"""Backups of real objects, for the tests of backing up and restoring."""

from __future__ import annotations

import os
from typing import Any

from ipcops.core import backup, contents, restore
from ipcops.core.change import Change
from ipcops.core.collect.mqueue import read_queues
from ipcops.core.fs import Directory, host_roots
from ipcops.core.kernel import Kernel
from ipcops.core.model import Action
from tests import world

SYSV = ("shm", "sem", "msg")
BOOT = "11111111-2222-3333-4444-555555555555"
LIMITS = contents.Limits(256 << 20, 4096)
ROOM = 1 << 30


def action(kind: str, which: int | str, kept: str = "full") -> Action:
    """Return what would remove an object as it is now."""
    number = which if isinstance(which, int) else None
    path = None if isinstance(which, int) else "/" + which
    if kind in SYSV:
        assert isinstance(which, int)
        row: dict[str, Any] = Change().stat(kind, which) or {"id": which}
    elif kind == "posix-mq":
        table = read_queues(Kernel(), [], world.namespace()).table
        assert table is not None
        at = list(table["path"]).index(path)
        row = {name: table[name][at] for name in table.columns}
    else:
        info = os.lstat(f"/dev/shm{path}")
        row = {"path": path, "dev": info.st_dev, "ino": info.st_ino, "mode": info.st_mode & 0o7777}
        row |= {"uid": info.st_uid, "gid": info.st_gid, "size": info.st_size, "nlink": info.st_nlink}
        row |= {"mtime": int(info.st_mtime), "ctime": int(info.st_ctime)}
    return Action(kind, number, row.get("key"), path, world.namespace(), row, "test", ("test",), "certain", kept)


def saved(kind: str, which: int | str, limits: contents.Limits = LIMITS, kept: str = "full") -> contents.Saved:
    """Return an object as it would go into a backup."""
    return contents.save(Change(), host_roots(), action(kind, which, kept), limits)


def place() -> str:
    """Return the directory of this world's backups, made 0700."""
    path = str(world.here() / "backups")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def draft(batch: str = "b1", room: int = ROOM, uptime: float = 100.0, boot_id: str | None = BOOT) -> backup.Draft:
    """Begin a pack."""
    return backup.Draft(Directory.open(place()), batch, boot_id, uptime, room)


Sums = dict[tuple[str, int], str]


def back_up(*named: tuple[str, int | str], batch: str = "b1", kept: str = "full") -> Sums:
    """Write a pack of objects; return what the journal would know of it."""
    objects = [saved(kind, which, kept=kept) for kind, which in named]
    found = backup.write_pack(Directory.open(place()), batch, objects, BOOT, 100.0, ROOM)
    return {(batch, offset): checksum for offset, checksum in found.values()}


def put_back(sums: Sums, path: str | None = None, **more: Any) -> tuple[list[restore.Restored], list[restore.Refused]]:
    """Restore everything of a pack that the journal knows."""
    with backup.open_pack(path or place() + "/b1.pack") as pack:
        wanted = more.pop("wanted", lambda kind, row: True)
        return restore.restore(pack, sums, wanted, Change(), host_roots(), **more)


def everything() -> dict[str, Any]:
    """Return all objects of this world, to see that nothing was made."""
    found: dict[str, Any] = {kind: world.table(kind) for kind in SYSV}
    for directory in ("/dev/shm", "/dev/mqueue"):
        if os.path.ismount(directory):
            found[directory] = sorted((name, os.lstat(f"{directory}/{name}").st_ino) for name in os.listdir(directory))
    found["next"] = next_ids()
    return found


def next_ids() -> list[int]:
    """Return the ids that are wished for in this IPC namespace; -1 for none."""
    found = []
    for kind in SYSV:
        with open(f"/proc/sys/kernel/{kind}_next_id", encoding="ascii") as file:
            found.append(int(file.read()))
    return found


def rss() -> dict[int, int]:
    """Return for each segment how many bytes of it are in memory."""
    return {row["shmid"]: row["rss"] for row in world.table("shm")}
