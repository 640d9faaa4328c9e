"""Which machine this is: uname, memory, boot, and whether we see all of it."""

from __future__ import annotations

import re
from typing import Optional

from .. import fs
from ..fs import Directory
from ..model import Host

INITIAL_PID_NAMESPACE = 4026531836
"""PROC_PID_INIT_INO of include/linux/proc_ns.h: the inode of the first PID namespace."""

USER_SLICE_MEMORY = "/sys/fs/cgroup/user.slice/memory.max"

_UPTIME = rb"(\d{1,18}(?:\.\d{1,9})?)\s"


def parse_meminfo(text: bytes) -> Optional[int]:
    """Return the memory of the host in bytes from /proc/meminfo."""
    found = re.search(rb"^MemTotal:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def parse_uptime(text: bytes) -> float:
    """Return the seconds since boot, suspended time included, from /proc/uptime. Raise ValueError."""
    found = re.match(_UPTIME, text)
    if not found:
        raise ValueError("'%s' is no uptime" % text[:40].decode("ascii", "backslashreplace"))
    return float(found.group(1))


def parse_id_map(text: bytes) -> bool:
    """Return whether /proc/self/uid_map maps every id to itself (user_namespaces(7))."""
    return text.split() == [b"0", b"0", b"4294967295"]


def parse_namespace(link: str) -> int:
    """Return the inode of a namespace link such as ``ipc:[4026531839]``. Raise ValueError."""
    kind, _, inode = link.partition(":[")
    if not kind.isidentifier() or not inode.endswith("]") or not inode[:-1].isdecimal():
        raise ValueError("'%s' is no namespace link" % link)
    return int(inode[:-1])


def read_host(proc: Directory) -> Host:
    """Return what identifies and measures the machine."""
    hostname, release, machine = fs.version()
    return Host(
        hostname=hostname,
        kernel=release,
        arch=machine,
        boot_id=_optional(proc, "sys/kernel/random/boot_id"),
        page_size=fs.page_size(),
        memory=_memory(proc),
        user_memory_bounded=_user_memory_bounded(),
        all_ids_mapped=_all_ids_mapped(proc),
        initial_pid_namespace=_initial_pid_namespace(proc),
    )


def read_uptime(proc: Directory) -> float:
    """Return the seconds since boot."""
    return parse_uptime(proc.read_record("uptime"))


def read_namespace(proc: Directory, kind: str = "ipc") -> int:
    """Return the inode of our own namespace of a kind; 0 where the kernel has none."""
    try:
        return parse_namespace(proc.link("self/ns/%s" % kind))
    except OSError:
        return 0


def parse_memory_max(text: str) -> bool:
    """Return whether the text of a cgroup's memory.max is a bound (cgroups v2)."""
    return text.strip() not in ("", "max")


def _user_memory_bounded() -> bool:
    try:
        return parse_memory_max(fs.read_text(USER_SLICE_MEMORY))
    except OSError:
        return False


def _optional(proc: Directory, name: str) -> Optional[str]:
    try:
        return proc.read_record(name).decode("ascii", "replace").strip()
    except OSError:
        return None


def _memory(proc: Directory) -> Optional[int]:
    try:
        return parse_meminfo(proc.read("meminfo"))
    except OSError:
        return None


def _all_ids_mapped(proc: Directory) -> bool:
    try:
        return parse_id_map(proc.read_record("self/uid_map"))
    except OSError:
        return True  # a kernel without user namespaces


def _initial_pid_namespace(proc: Directory) -> bool:
    return read_namespace(proc, "pid") in (0, INITIAL_PID_NAMESPACE)
