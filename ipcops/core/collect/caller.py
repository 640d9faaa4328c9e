"""Who runs ipcops, and what its calls share with others: ids, rights, resource limits, counters of the host.

proc_pid_status(5), proc_pid_limits(5), namespaces(7), ioctl_ns(2), proc_meminfo(5), proc_sys_fs(5).
"""

from __future__ import annotations

import fcntl
import os
import re
from typing import Any, Dict, Iterable, List, Optional, Tuple

from ..errors import UndeterminedError
from ..fs import Directory, Roots
from ..model import Caller, Evidence, Gap, Process, Quota
from ..tuples import NamedTuple
from .host import read_namespace
from .limits import parse_limit, parse_rlimits

INITIAL_USER_NAMESPACE = 4026531837
"""PROC_USER_INIT_INO of include/linux/proc_ns.h: the inode of the first user namespace."""

SETTINGS = (
    "fs.file-nr",
    "fs.nr_open",
    "fs.protected_regular",
    "vm.hugetlb_shm_group",
    "vm.nr_overcommit_hugepages",
    "vm.overcommit_memory",
)
"""Of the whole host, and not on every kernel: protected_regular since 4.19, the others may be left out of it."""

_NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h
_GONE = (2, 3)  # ENOENT, ESRCH: the process ended while we looked
_NAME = re.compile(rb"^Name:\t(.*)$", re.MULTILINE)
_ESCAPE = re.compile(rb"\\([\\n])")  # what task_state() of fs/proc/array.c escapes in a name
_PID = re.compile(rb"^Pid:\t(\d+)$", re.MULTILINE)
_UID = re.compile(rb"^Uid:\t(\d+)\t(\d+)\t", re.MULTILINE)
_GID = re.compile(rb"^Gid:\t\d+\t(\d+)\t", re.MULTILINE)
_GROUPS = re.compile(rb"^Groups:\t([\d ]*)$", re.MULTILINE)
_CAPABILITIES = re.compile(rb"^CapEff:\t([0-9a-f]{16})$", re.MULTILINE)
_MEMORY = re.compile(
    rb"^(MemTotal|MemAvailable|SwapTotal|CommitLimit|Committed_AS|HugePages_Free|HugePages_Rsvd|Hugepagesize):"
    rb"\s+(\d+)( kB)?$",
    re.MULTILINE,
)


class Status(NamedTuple):
    """What /proc/PID/status says of a process: its real and effective uid, its rights as bits."""

    pid: int
    command: str
    uid: int
    euid: int
    gids: Tuple[int, ...]
    capabilities: int


def parse_status(text: bytes) -> Status:
    """Return who a process is and what it may. Raise ValueError."""
    found = [one.search(text) for one in (_PID, _NAME, _UID, _GID, _GROUPS, _CAPABILITIES)]
    pid, name, uid, gid, groups, capabilities = (one or _no_status() for one in found)
    command = _ESCAPE.sub(lambda one: b"\n" if one[1] == b"n" else b"\\", name[1])
    return Status(
        pid=int(pid[1]),
        command=command.decode("utf-8", "surrogateescape"),
        uid=int(uid[1]),
        euid=int(uid[2]),
        gids=(int(gid[1]), *map(int, groups[1].split())),
        capabilities=int(capabilities[1], 16),
    )


def _no_status() -> Any:
    raise ValueError("no Name, Pid, Uid, Gid, Groups and CapEff lines")


def parse_memory(text: bytes) -> Dict[str, int]:
    """Return what /proc/meminfo says of memory and promises of it, in bytes; huge pages as their number."""
    return {name.decode(): int(number) * (1024 if unit else 1) for name, number, unit in _MEMORY.findall(text)}


def read_caller(roots: Roots, processes: Iterable[Process] = ()) -> Caller:
    """Return who runs ipcops, and how much of their own limits *processes* use.

    Raise UndeterminedError when not even /proc/self/status tells.
    """
    proc, gaps = roots.proc, []  # type: Directory, List[Gap]
    try:
        status = parse_status(proc.read_record("self/status"))
    except (OSError, ValueError) as error:
        raise UndeterminedError("who runs ipcops cannot be read from /proc/self/status (%s)" % error) from error
    limits: Dict[str, Tuple[int, int]] = {}
    try:
        limits = parse_rlimits(proc.read_record("self/limits"))
    except (OSError, ValueError) as error:
        gaps.append(Gap(Evidence.LIMITS, "/proc/self/limits", getattr(error, "strerror", None) or str(error)))
    initial = read_namespace(proc, "user") in (0, INITIAL_USER_NAMESPACE)
    return Caller(
        pid=status.pid,
        uid=status.uid,
        euid=status.euid,
        gids=frozenset(status.gids),
        capabilities=status.capabilities,
        initial_user_namespace=initial,
        owns_ipc=initial or _owns_ipc(proc),
        limits=limits,
        values=_values(proc, gaps),
        quotas=_quotas(roots, processes, gaps),
        gaps=tuple(gaps),
    )


def _owns_ipc(proc: Directory) -> bool:
    """Whether our IPC namespace belongs to our user namespace; no where the kernel does not say (before 4.9)."""
    try:
        with proc.opened("self/ns/ipc", follow=True) as namespace:
            owner = fcntl.ioctl(namespace, _NS_GET_USERNS)
        try:
            return os.fstat(owner).st_ino == read_namespace(proc, "user")
        finally:
            os.close(owner)
    except OSError:
        return False


def _values(proc: Directory, gaps: List[Gap]) -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    for name in SETTINGS:
        try:
            values[name] = parse_limit(name, proc.read_record("sys/" + name.replace(".", "/")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            gaps.append(Gap(Evidence.LIMITS, name, getattr(error, "strerror", None) or str(error)))
    try:
        values.update(parse_memory(proc.read_record("meminfo")))
    except OSError as error:
        gaps.append(Gap(Evidence.LIMITS, "/proc/meminfo", error.strerror or str(error)))
    try:
        values["ipcmni_extend"] = b"ipcmni_extend" in proc.read_record("cmdline").split()
    except OSError as error:
        gaps.append(Gap(Evidence.LIMITS, "/proc/cmdline", error.strerror or str(error)))
    return values


def _quotas(roots: Roots, processes: Iterable[Process], gaps: List[Gap]) -> Tuple[Quota, ...]:
    quotas = []
    for process in processes:
        if process.lives:
            quota = _quota(roots.proc, process, gaps)
            if quota is not None:
                quotas.append(quota)
    return tuple(quotas)


def _quota(proc: Directory, process: Process, gaps: List[Gap]) -> Optional[Quota]:
    """Return what a process uses of its limits; ``None`` when it has ended, a gap for each part that is hidden."""
    evidence, what = Evidence.PROCESSES, "process %d" % process.pid
    used: Optional[int] = None
    try:
        with proc.directory(str(process.pid)) as directory:
            status = parse_status(directory.read_record("status"))
            evidence, what = Evidence.LIMITS, "limits of pid %d (%s)" % (process.pid, process.command)
            limits = parse_rlimits(directory.read_record("limits"))
            evidence, what = Evidence.DESCRIPTORS, "descriptors of pid %d (%s)" % (process.pid, process.command)
            soft = limits["nofile"][0] if "nofile" in limits else -1
            try:
                used = sum(soft < 0 or int(number) < soft for number in directory.names("fd"))
            except PermissionError as error:
                gaps.append(Gap(evidence, what, error.strerror or str(error), pid=process.pid))
            return Quota(
                process.pid, status.command, status.uid, used, limits.get("nofile"), limits.get("msgqueue")
            )
    except (OSError, ValueError) as error:
        if not (isinstance(error, OSError) and error.errno in _GONE):
            gaps.append(Gap(evidence, what, getattr(error, "strerror", None) or str(error), pid=process.pid))
        return None
