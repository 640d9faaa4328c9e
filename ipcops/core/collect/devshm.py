"""``/dev/shm``: POSIX shared memory and named semaphores are files of this tmpfs.

shm_overview(7), sem_overview(7). Regular files directly in it are objects; directories,
sockets and links are only counted, and so is what is mounted over a name. Nothing is opened.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..fs import Roots
from ..model import Evidence, Gap, ShmMount, Table
from .mounts import Mount

SEMAPHORE_PREFIX = "sem."
"""What glibc puts before the name of a named semaphore (sem_overview(7))."""

_UNMATCHED = "overlay"
"""Where /proc/PID/maps tells the device and inode of the layer below (Linux before 6.8), and stat(2) others."""

_COLUMNS = ("path", "dev", "ino", "mode", "uid", "gid", "size", "blocks", "nlink", "atime", "mtime", "ctime")


def kind_of(name: str) -> str:
    """Return which kind a file name in /dev/shm stands for."""
    return "posix-sem" if name.startswith(SEMAPHORE_PREFIX) else "posix-shm"


def read_devshm(
    roots: Roots, mounts: Sequence[Mount]
) -> Tuple[Dict[str, Table], Optional[ShmMount], List[Gap]]:
    """Return the tables of ``posix-shm`` and ``posix-sem``, the mount, and what was not seen."""
    gaps: List[Gap] = []
    try:
        directory = roots.shm()
    except OSError as error:
        why = str(error.strerror)
        return (
            {},
            None,
            [Gap(Evidence.TABLE, roots.shm_path, why, kind=kind) for kind in ("posix-shm", "posix-sem")],
        )
    with directory:
        own = directory.own_info()
        found: Dict[str, List[Tuple[Any, ...]]] = {"posix-shm": [], "posix-sem": []}
        other = 0
        points = {mount.point for mount in mounts}
        try:
            names = sorted(directory.names())
        except OSError as error:
            gaps += [
                Gap(Evidence.TABLE, roots.shm_path, str(error.strerror), kind=kind) for kind in found
            ]
            names = []
        for name in names:
            kind = kind_of(name)
            try:
                info = directory.info(name)
            except FileNotFoundError:
                continue  # gone since the listing
            except OSError as error:
                gaps.append(Gap(Evidence.TABLE, "/" + name, str(error.strerror), kind=kind))
                continue
            if not info.is_regular or "%s/%s" % (roots.shm_path, name) in points:
                other += 1
                continue
            found[kind].append(
                (
                    "/" + name, info.dev, info.ino, info.mode & 0o7777, info.uid, info.gid,
                    info.size, info.blocks, info.nlink, info.atime, info.mtime, info.ctime,
                )
            )  # fmt: skip
        space = directory.space()
    below = [mount for mount in mounts if mount.dev == own.dev]
    mount = next((one for one in reversed(below) if one.point == roots.shm_path), None)
    if mount is None and below:
        mount = below[-1]
    if any(found.values()) and (mount is None or mount.fstype == _UNMATCHED):
        # Subvolumes of btrfs have device numbers that no mount table and no map shows.
        why = "its file system gives other device numbers to maps than to stat(2)"
        gaps.append(Gap(Evidence.MAPS, "who has files of %s mapped" % roots.shm_path, why))
    place = ShmMount(
        path=roots.shm_path,
        dev=own.dev,
        fstype=mount.fstype if mount else None,
        options=mount.options if mount else frozenset(),
        mode=own.mode & 0o7777,
        size=space.size,
        used=space.used,
        files=space.files,
        files_used=space.files_used,
        other_entries=other,
    )
    tables = {
        kind: Table(kind, {name: [row[at] for row in rows] for at, name in enumerate(_COLUMNS)})
        for kind, rows in found.items()
    }
    return tables, place, gaps
