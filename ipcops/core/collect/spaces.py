"""The mount namespaces of the processes: which file system a descriptor's ``mnt_id`` means.

fdinfo tells the mount of an open file (fs/proc/fd.c), and the mountinfo of its process tells the
mount's device. Both are answered without touching the file, so a dead network mount cannot hang us.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Mapping, Sequence, Tuple

from ..fs import Directory
from .mounts import Mount, parse_mountinfo

File = Tuple[int, int]
"""Device and inode."""

DELETED = " (deleted)"


class Space:
    """One mount namespace: its mounts, as far as the wanted devices need them."""

    def __init__(
        self, mounts: Sequence[Mount], devices: FrozenSet[int], mountable: Mapping[Tuple[int, str], File]
    ) -> None:
        points = {mount.point for mount in mounts if mount.dev in devices}
        self.devices: Dict[int, int] = {mount.mount_id: mount.dev for mount in mounts}
        self.prefixes: Tuple[str, ...] = tuple(
            point.rstrip("/") + end for point in points for end in ("/", DELETED)
        ) + tuple(point for point in points if point != "/")
        mounted = [mountable.get((mount.dev, mount.root)) for mount in mounts if mount.dev in devices]
        self.bound: List[File] = [file for file in mounted if file is not None]
        """The objects that are mounted themselves: they are in use by whoever is in here."""


class Spaces:
    """The mount namespaces seen so far, each learnt once."""

    def __init__(
        self, proc: Directory, own: Sequence[Mount], devices: FrozenSet[int], known: Mapping[File, str]
    ) -> None:
        self.devices = devices
        self.mountable = {(dev, path): (dev, ino) for (dev, ino), path in known.items()}
        self.spaces: Dict[str, Space] = {}
        try:
            self.own = proc.link("self/ns/mnt")
        except OSError:
            self.own = ""
        if own:  # else not even our own table could be read, and "no mount" would be wrong
            self.spaces[self.own] = Space(own, devices, self.mountable)

    def of(self, directory: Directory) -> Space:
        """Return the mount namespace of a process. Raise OSError or ValueError."""
        # Without links to mount namespaces (before Linux 3.8) their tables tell them apart.
        text = b"" if self.own else directory.read("mountinfo")
        name = directory.link("ns/mnt") if self.own else text.decode("latin-1")
        space = self.spaces.get(name)
        if space is None:
            mounts = parse_mountinfo(text or directory.read("mountinfo"))
            rooted = directory.link("root") == "/"
            space = self.spaces[name] = Space(mounts, self.devices, self.mountable)
            if not rooted:  # its paths are not ours: look at every one
                space.prefixes = ("/",)
        return space
