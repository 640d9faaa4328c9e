"""What the files of ``/proc/PID`` say (proc(5), fs/proc/{array,base,fd,task_mmu}.c): parsers, nothing is read here."""

from __future__ import annotations

import os
import re
from typing import Dict, FrozenSet, Iterable, Iterator, List, Match, Optional, Set, Tuple

from ..tuples import NamedTuple

_SYSV = rb"/SYSV[0-9a-f]{8} \(deleted\)\Z"
_UNITS = (".service", ".scope")

_HEX = "[0-9a-f]{64}"
_CONTAINERS = (
    ("podman", "/libpod-", "/libpod-(?:payload-)?(%s)(?:\\.scope)?(?=/|$)" % _HEX),
    ("docker", "/docker", "/docker[-/](%s)(?:\\.scope)?(?=/|$)" % _HEX),
    ("cri-o", "/crio-", "/crio-(%s)(?:\\.scope)?(?=/|$)" % _HEX),
    ("containerd", "cri-containerd", "[/:]cri-containerd[-:](%s)(?:\\.scope)?(?=/|$)" % _HEX),
    ("kubernetes", "/kubepods", "/kubepods[^:]*/(%s)(?=/|$)" % _HEX),
    ("lxc", "/lxc", "/lxc(?:\\.payload\\.|/)([^/]+)"),
    ("machine", "/machine.slice/", "/machine\\.slice/(?:machine-|systemd-nspawn@)([^/]+?)\\.(?:scope|service)(?=/|$)"),
)
"""Engine, what to look for, and where the container's id or name stands in the path of its control group."""


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that matter here."""

    command: str
    state: str
    flags: int
    threads: int
    started_ticks: int


def parse_stat(text: bytes) -> Stat:
    """Return the fields of /proc/PID/stat. The name may hold spaces and brackets. Raise ValueError."""
    start, end = text.find(b"("), text.rfind(b")")
    fields = text[end + 2 :].split()
    if start < 0 or end < start or len(fields) < 20:
        raise ValueError("'%s' is no process status line" % text[:80].decode("utf-8", "backslashreplace"))
    return Stat(
        command=text[start + 1 : end].decode("utf-8", "surrogateescape"),
        state=fields[0].decode("ascii", "replace"),
        flags=int(fields[6]),
        threads=int(fields[17]),
        started_ticks=int(fields[19]),
    )


def parse_status(text: bytes) -> Tuple[FrozenSet[int], FrozenSet[int]]:
    """Return every uid and every gid a process acts with, its groups included. Raise ValueError."""
    uids, gids, groups = (_numbers(text, name) for name in (b"Uid", b"Gid", b"Groups"))
    if uids is None or gids is None or groups is None or len(uids) != 4 or len(gids) != 4:
        raise ValueError("no Uid, Gid and Groups lines")
    return frozenset(uids), frozenset(gids + groups)


def parse_signals(text: bytes) -> Optional[Tuple[int, int, int]]:
    """Return the real uid, its queued signals and the limit of them from /proc/PID/status."""
    uids, (queued, _, limit) = _numbers(text, b"Uid"), (_line(text, b"SigQ") or b"").partition(b"/")
    return (uids[0], int(queued), int(limit)) if uids and queued.isdigit() and limit.isdigit() else None


def parse_inner(text: bytes) -> Tuple[int, ...]:
    """Return the numbers that /proc/PID/status gives a process in PID namespaces below the reader's."""
    return tuple((_numbers(text, b"NSpid") or ())[1:])


def _line(text: bytes, name: bytes) -> Optional[bytes]:
    """Return what stands behind a name in /proc/PID/status: the kernel escapes line ends in the process's own."""
    _, found, rest = (b"\n" + text).partition(b"\n" + name + b":\t")
    return rest.partition(b"\n")[0] if found else None


def _numbers(text: bytes, name: bytes) -> Optional[List[int]]:
    """Return the numbers behind a name; ``None`` where there is no such line, or something else in it."""
    line = _line(text, name)
    words = [b""] if line is None else line.split()
    return list(map(int, words)) if all(map(bytes.isdigit, words)) else None


def parse_syscall(text: bytes) -> Optional[Tuple[bytes, List[int], int]]:
    """Return number, arguments and stack pointer of the call a thread is blocked in.

    ``None`` for one that runs or is blocked outside a system call. Raise ValueError.
    """
    fields = text.split()
    if not fields:
        raise ValueError("an empty line for a thread's system call")
    if fields[0] in (b"running", b"-1"):
        return None
    if len(fields) != 9:
        raise ValueError("'%s' is no system call line" % text.decode("ascii", "backslashreplace").strip())
    return fields[0], [int(word, 16) for word in fields[1:7]], int(fields[7], 16)


def parse_unit(text: bytes, home: Optional[str] = None) -> Optional[str]:
    """Return the outermost systemd unit of /proc/PID/cgroup (cgroups(7)), if there is one.

    That one is the system's own: what a user's service manager or a container calls its units
    further in could be any name, ``init.scope`` too. *home* is the container that we run in
    ourselves, whose systemd is the system's then.
    """
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (hierarchy == "0" and not controllers) or controllers == "name=systemd":
            found = [(one.end(), _container(engine, one[1])) for engine, one in _containers(path)]
            start = max((end for end, name in found if name == home), default=0)
            stop = min((end for end, name in found if end > start), default=len(path))
            for name in path[start:stop].split("/"):
                if name.endswith(_UNITS) and name not in _UNITS:
                    return name
    return None


def parse_container(text: bytes) -> Optional[str]:
    """Return engine and id (its first 12 digits, as the engines show it) of the container in /proc/PID/cgroup."""
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        path = line.partition(":")[2].partition(":")[2]
        found = list(_containers(path))
        if found:
            first = found[0][0]
            return _container(first, [one[1] for engine, one in found if engine == first][-1])
    return None


def _containers(path: str) -> Iterator[Tuple[str, Match[str]]]:
    """Yield engine and place of every container in the path of a control group."""
    for engine, mark, pattern in _CONTAINERS:
        if mark in path:
            for found in re.finditer(pattern, path):
                yield engine, found


def _container(engine: str, name: str) -> str:
    return "%s %s" % (engine, name[:12] if len(name) == 64 else name)


def parse_maps(text: bytes, devices: FrozenSet[str]) -> Tuple[Set[int], Set[Tuple[str, int, str]]]:
    """Return the System V segment ids and the (device, inode, path) of files mapped on *devices*.

    A segment's mapping has its id as inode and the name ``/SYSV<key> (deleted)`` (ipc/shm.c);
    a memfd on the same device has an inode of the same kind of number, so the name counts there,
    and all of it: any user can end a name like that. Raise ValueError.
    """
    segments: Set[int] = set()
    files: Set[Tuple[str, int, str]] = set()
    for line in text.split(b"\n"):
        fields = line.split(None, 5)
        if len(fields) < 6:
            continue
        if fields[5].startswith(b"/SYSV") and re.match(_SYSV, fields[5]):
            segments.add(int(fields[4]))
            continue
        device = fields[3].decode("ascii", "replace")
        if device in devices:
            files.add((device, int(fields[4]), fields[5].decode("utf-8", "surrogateescape")))
    return segments, files


def lines_with(text: bytes, needles: Iterable[bytes]) -> bytes:
    """Return the lines of *text* that hold any of *needles*: few, where a process has thousands."""
    found: Dict[int, bytes] = {}
    for needle in needles:
        at = text.find(needle)
        while at >= 0:
            start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
            if end < 0:
                end = len(text)
            found[start] = text[start:end]
            at = text.find(needle, end)
    return b"\n".join(found.values())


def device_text(dev: int) -> str:
    """Return a device as /proc/PID/maps writes it."""
    return "%02x:%02x" % (os.major(dev), os.minor(dev))
