"""Every limit of IPC: its name, what it counts, its default by kernel, what the kernel accepts, and whose it is.

Documentation/admin-guide/sysctl/{kernel,fs,net,vm}.rst, ipc/ipc_sysctl.c, ipc/mq_sysctl.c, fs/pipe.c,
shmget(2), semget(2), msgget(2), mq_overview(7), pipe(7), getrlimit(2), tmpfs(5), logind.conf(5).
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Optional, Tuple

from ..tuples import NamedTuple

INT_MAX = (1 << 31) - 1
UNLIMITED = (1 << 64) - 1
"""RLIM_INFINITY (bits/resource.h): how a resource limit says that there is none."""
SEMMSL_MOST = 65536
"""More semaphores than these in a set have no number (struct sembuf: unsigned short)."""
SEMOPM_ADVISED = 1000
"""Above it the kernel may not get memory for them (include/uapi/linux/sem.h)."""


class Machine(NamedTuple):
    """What of a host limits depend on. Sizes in bytes; ``None`` where it could not be read."""

    release: Tuple[int, int]
    page_size: int
    wide: bool
    """Whether the kernel's unsigned long has 64 bits."""
    ipcmni: int
    memory: Optional[int]
    swap: Optional[int]

    @property
    def ulong_max(self) -> int:
        """The largest unsigned long of the kernel."""
        return (1 << 64 if self.wide else 1 << 32) - 1

    @property
    def shm_most(self) -> int:
        """ULONG_MAX - 2^24, the default of shmmax and shmall; more is advised against (uapi/linux/shm.h)."""
        return self.ulong_max - (1 << 24)

    def names(self) -> Dict[str, int]:
        """Return what formulas may ask of a host; what could not be read is left out."""
        names = {
            "page_size": self.page_size, "ipcmni": self.ipcmni, "int_max": INT_MAX, "ulong_max": self.ulong_max,
            "shm_most": self.shm_most, "unlimited": UNLIMITED, "no": 0, "yes": 1,
        }  # fmt: skip
        if self.memory is not None:
            names["ram_bytes"] = self.memory
            names["ram_gib"] = -(-self.memory >> 30)  # rounded up: the kernel keeps some for itself
        if self.swap is not None:
            names["swap_bytes"] = self.swap
        return names


NAMES = {
    "ram_bytes": "MemTotal of /proc/meminfo", "ram_gib": "the same in GiB, rounded up",
    "swap_bytes": "SwapTotal of /proc/meminfo", "page_size": "bytes of a page",
    "ipcmni": "the most segments, sets or queues that this kernel allows", "int_max": "2^31 - 1",
    "ulong_max": "the largest unsigned long", "shm_most": "the kernel's default of shmmax: ulong_max - 2^24",
    "unlimited": "no limit, of a resource limit", "no": "0", "yes": "1",
}  # fmt: skip
"""What formulas may ask of a host, and what that is."""

_RELEASE = re.compile(r"(\d{1,4})\.(\d{1,4})")
_WIDE = ("s390x", "alpha")


def release_of(text: str) -> Tuple[int, int]:
    """Return the version in a kernel's release such as ``6.12.0-1-amd64``; (0, 0) where it has none."""
    found = _RELEASE.match(text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def is_wide(arch: str) -> bool:
    """Return whether a machine as uname(2) names it has a 64-bit kernel."""
    return "64" in arch or arch in _WIDE


Amount = Callable[[Machine], Optional[int]]
_Given = Any  # an Amount, or the same number everywhere


class Floor(NamedTuple):
    """What a profile asks of a parameter on this very host."""

    profile: str
    name: str
    value: int
    formula: str
    source: str


class Parameter(NamedTuple):
    """One limit. ``least`` and ``most`` bound what the kernel accepts and a program can use."""

    name: str
    unit: str
    meaning: str
    default: Amount
    least: int
    most: Amount
    merge: str = "max"
    """How the floors of several programs are one: ``max`` or ``sum``."""
    space: str = "ipc"
    """Whose it is: ``ipc`` or ``net`` for a namespace's, ``host``."""
    key: Optional[str] = None
    """The sysctl it is part of; ``None``: it is none, and somebody has to set it by hand."""
    field: int = 0
    """Which of the sysctl's numbers it is."""
    endless: Optional[int] = None
    """The value that means no limit."""
    floor: bool = True
    """Whether a profile may ask for it."""

    @property
    def accumulates(self) -> bool:
        """Whether many things together use it up, so that some room is to be left."""
        return self.merge == "sum" or self.name.startswith(("fs.pipe-user-pages", "dev_shm.size"))

    def rank(self, value: int) -> int:
        """Return by what a value compares: the higher, the more it lets through (or the stricter, of a switch)."""
        if value == self.endless:
            return 1 << 200
        return 1 - value if self.name == "logind.RemoveIPC" else value


def _same(value: _Given) -> Amount:
    return value if callable(value) else (lambda _: value)


def _since(major: int, minor: int, value: _Given, before: _Given) -> Amount:
    new, old = _same(value), _same(before)
    return lambda machine: new(machine) if machine.release >= (major, minor) else old(machine)


def _shm_most(machine: Machine) -> int:
    return machine.shm_most


def _ulong_max(machine: Machine) -> int:
    return machine.ulong_max


def _ipcmni(machine: Machine) -> int:
    return machine.ipcmni


def _half_of_memory(machine: Machine) -> Optional[int]:
    if machine.memory is None:
        return None
    return machine.memory // machine.page_size // 2 * machine.page_size


def _sysctl(
    key: str, unit: str, meaning: str, default: _Given, accepted: Tuple[int, _Given], **more: Any
) -> Parameter:
    name = more.pop("name", key)
    return Parameter(name, unit, meaning, _same(default), accepted[0], _same(accepted[1]), key=key, **more)


def _sem(name: str, meaning: str, default: Amount, accepted: Tuple[int, _Given], merge: str, **more: Any) -> Parameter:
    fields = ("semmsl", "semmns", "semopm", "semmni")
    unit = {"semopm": "operations", "semmni": "sets"}.get(name, "semaphores")
    names = {"name": "kernel.sem." + name, "field": fields.index(name), "merge": merge}
    return _sysctl("kernel.sem", unit, meaning, default, accepted, **names, **more)


def _manual(
    name: str, unit: str, meaning: str, default: _Given, accepted: Tuple[int, _Given], **more: Any
) -> Parameter:
    return Parameter(name, unit, meaning, _same(default), accepted[0], _same(accepted[1]), space="host", **more)


ALL: Tuple[Parameter, ...] = (
    _sysctl(
        "kernel.shmmax", "bytes", "the largest segment",
        _since(3, 16, _shm_most, 0x2000000), (0, _ulong_max),
    ),
    _sysctl(
        "kernel.shmall", "pages", "all segments together",
        _since(3, 16, _shm_most, lambda machine: 0x2000000 // machine.page_size * (4096 // 16)), (0, _ulong_max),
        merge="sum",
    ),
    _sysctl("kernel.shmmni", "segments", "segments", 4096, (0, _ipcmni), merge="sum"),
    _sem("semmsl", "the largest set", _since(3, 19, 32000, 250), (1, SEMMSL_MOST), "max"),
    _sem("semmns", "semaphores in all sets", _since(3, 19, 1024000000, 32000), (1, INT_MAX), "sum"),
    _sem("semopm", "operations of one call", _since(3, 19, 500, 32), (1, INT_MAX), "max"),
    _sem("semmni", "semaphore sets", _since(3, 19, 32000, 128), (0, _ipcmni), "sum"),
    _sysctl("kernel.msgmni", "queues", "message queues", _since(3, 19, 32000, None), (0, _ipcmni), merge="sum"),
    _sysctl("kernel.msgmax", "bytes", "the largest message", 8192, (0, INT_MAX)),
    _sysctl("kernel.msgmnb", "bytes", "the capacity of a new queue", 16384, (0, INT_MAX)),
    _sysctl(
        "kernel.shm_rmid_forced", "switch", "whether segments go with their last user", 0, (0, 1), floor=False
    ),
    _sysctl("fs.mqueue.queues_max", "queues", "POSIX queues", 256, (0, INT_MAX), merge="sum"),
    _sysctl("fs.mqueue.msg_max", "messages", "messages of a POSIX queue", 10, (1, 65536)),
    _sysctl("fs.mqueue.msgsize_max", "bytes", "the largest message of a POSIX queue", 8192, (128, 1 << 24)),
    _sysctl("fs.mqueue.msg_default", "messages", "messages of a queue made without a word", 10, (1, 65536)),
    _sysctl("fs.mqueue.msgsize_default", "bytes", "its largest message", 8192, (128, 1 << 24)),
    _sysctl(
        "fs.pipe-max-size", "bytes", "the largest pipe", 1 << 20, (4096, 1 << 31), space="host"
    ),
    _sysctl(
        "fs.pipe-user-pages-soft", "pages", "pipes of a user before new ones are small", 16384, (0, _ulong_max),
        space="host", endless=0,
    ),
    _sysctl(
        "fs.pipe-user-pages-hard", "pages", "pipes of a user in all", 0, (0, _ulong_max), space="host", endless=0
    ),
    _sysctl(
        "net.core.somaxconn", "connections", "connections that wait to be accepted", _since(5, 4, 4096, 128),
        (0, INT_MAX), space="net",
    ),
    _sysctl(
        "net.unix.max_dgram_qlen", "datagrams", "datagrams that wait in a Unix socket", 10, (0, INT_MAX), space="net"
    ),
    _sysctl("fs.protected_fifos", "level", "who may write to whose FIFO", 0, (0, 2), space="host"),
    _sysctl("fs.protected_regular", "level", "who may write to whose file", 0, (0, 2), space="host"),
    _sysctl("kernel.yama.ptrace_scope", "level", "who may trace whom", 1, (0, 3), space="host"),
    _sysctl(
        "vm.hugetlb_shm_group", "gid", "who may make segments of huge pages", 0, (0, INT_MAX), space="host",
        floor=False,
    ),
    _manual("dev_shm.size", "bytes", "the size of /dev/shm", _half_of_memory, (0, _ulong_max)),
    _manual("dev_shm.nodev", "switch", "whether /dev/shm is mounted nodev", None, (0, 1)),
    _manual("dev_shm.nosuid", "switch", "whether /dev/shm is mounted nosuid", None, (0, 1)),
    _manual("dev_shm.noexec", "switch", "whether /dev/shm is mounted noexec", None, (0, 1)),
    _manual("rlimit.msgqueue", "bytes", "POSIX queues of a user", 819200, (0, UNLIMITED), merge="sum"),
    _manual(
        "rlimit.memlock", "bytes", "what a process may lock in memory", _since(6, 12, 8 << 20, None), (0, UNLIMITED)
    ),
    _manual("logind.RemoveIPC", "switch", "whether logging out removes a user's IPC", None, (0, 1)),
)  # fmt: skip

BY_NAME: Dict[str, Parameter] = {one.name: one for one in ALL}
KEYS: Tuple[str, ...] = tuple(dict.fromkeys(one.key for one in ALL if one.key is not None))
"""The sysctls, in their order."""
OF_KEY: Dict[str, Tuple[Parameter, ...]] = {key: tuple(one for one in ALL if one.key == key) for key in KEYS}
"""Each sysctl's parameters, in the order of its numbers."""


def least_of(parameter: Parameter, machine: Machine) -> int:
    """Return the least value that makes sense."""
    return machine.page_size if parameter.name == "fs.pipe-max-size" else parameter.least


def most_of(parameter: Parameter, machine: Machine) -> int:
    """Return the greatest value that is accepted."""
    most = parameter.most(machine)
    return UNLIMITED if most is None else most


def settled(parameter: Parameter, value: int) -> int:
    """Return what the kernel makes of a value: the size of a pipe is a power of two (fs/pipe.c, round_pipe_size)."""
    if parameter.name == "fs.pipe-max-size" and value > 1:
        return 1 << (value - 1).bit_length()
    return value


_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,23}|0[xX][0-9a-fA-F]{1,24})\Z")


def parse_value(parameter: Parameter, given: Any, machine: Machine) -> int:
    """Return the number that somebody gave for a parameter, within what is accepted.

    Raise ValueError, with the accepted range, for anything else: text, sizes such as 4G, booleans.
    """
    least, most = least_of(parameter, machine), most_of(parameter, machine)
    value = given
    if isinstance(given, str):
        word = given.strip()
        value = (int(word, 16) if word[:2] in ("0x", "0X") else int(word)) if _NUMBER.match(word) else None
    if type(value) is not int or not least <= value <= most:
        raise ValueError("%s is '%s'; it takes a whole number from %d to %d" % (parameter.name, given, least, most))
    return value


def parse_values(name: str, given: Any, machine: Machine) -> Dict[str, int]:
    """Return parameter to value for what somebody gave for a parameter or a whole sysctl. Raise ValueError, KeyError.

    ``kernel.sem`` takes four numbers in the kernel's order, parted by blanks, or as a list.
    """
    parameters = OF_KEY.get(name) or (BY_NAME[name],)
    if len(parameters) == 1:
        return {name: parse_value(parameters[0], given, machine)}
    words = given.split() if isinstance(given, str) else list(given) if isinstance(given, (list, tuple)) else [given]
    if len(words) != len(parameters):
        ranges = ", ".join("%s %d to %d" % (one.name.rpartition(".")[2].upper(), least_of(one, machine),
                                            most_of(one, machine)) for one in parameters)  # fmt: skip
        raise ValueError(
            "%s is '%s'; it takes %d whole numbers parted by blanks: %s" % (name, given, len(parameters), ranges)
        )
    return {one.name: parse_value(one, word, machine) for one, word in zip(parameters, words)}
