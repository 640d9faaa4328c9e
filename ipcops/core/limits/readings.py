"""What this host has of every limit: from a snapshot, the kernel's settings and the files of both loaders."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

from ..model import NOTHING, Evidence, Gap, RemoveIpc, Snapshot
from ..queuecost import owners_cost
from ..tuples import NamedTuple
from .loaders import Numbers, Settled, Tree, bounds_of, load, settle
from .parameters import ALL, Floor, Machine, Parameter
from .parameters import settled as as_kept
from .plan import Reading


class Stated(NamedTuple):
    """Where a limit that is no sysctl stands in a file; ``line`` is ``None`` where that is not told."""

    value: int
    file: str
    line: Optional[int]


class Tuning(NamedTuple):
    """The limits as they are, and what sets them at boot."""

    machine: Machine
    values: Mapping[str, Tuple[int, ...]]
    """Sysctl to its numbers."""
    unread: Mapping[str, str]
    """Sysctl, or limit that is none, to why it has no value."""
    others: Mapping[str, int]
    """Resource limits of this process."""
    stated: Mapping[str, Stated]
    tree: Tree
    own: str
    """The path of the file that is ours."""
    blocked: Mapping[str, str] = NOTHING
    """Sysctl to why it cannot be written from here."""
    foreign: FrozenSet[str] = frozenset()
    """Of ``ipc`` and ``net``: the namespaces of ours that are not the host's first ones."""
    floors: Tuple[Floor, ...] = ()
    """What the chosen profiles ask for."""
    profiles: Tuple[str, ...] = ()
    gaps: Tuple[Gap, ...] = ()

    @property
    def has_own(self) -> bool:
        """Whether there is a file of ours."""
        return self.own_text is not None

    @property
    def own_text(self) -> Optional[bytes]:
        """What our file says; ``None`` where there is none."""
        directory, _, name = self.own.rpartition("/")
        file = self.tree.directories.get(directory, NOTHING).get(name)
        return None if file is None else file.text

    @property
    def without_own(self) -> Tree:
        """The files but for ours."""
        return self.tree.with_file(self.own, None) if self.has_own else self.tree


def own_numbers(text: Optional[bytes], path: str, machine: Machine) -> Dict[str, Numbers]:
    """Return what a file of ours states: sysctl to its numbers."""
    if text is None:
        return {}
    alone = at_boot(Tree(procps=None).with_file(path, text), machine)
    return {key: one.numbers for settled in alone.values() for key, one in settled.items()}


def at_boot(tree: Tree, machine: Machine) -> Dict[str, Dict[str, Settled]]:
    """Return for each loader what the files of a tree come to: sysctl to what it has at boot."""
    bounds = bounds_of(machine)
    return {
        loader: {key: settle(writes, bounds[key]) for key, writes in loaded.writes.items()}
        for loader, loaded in load(tree, bounds).items()
    }


Boot = Mapping[str, Mapping[str, Settled]]


def number_at(settled: Mapping[str, Settled], parameter: Parameter) -> Optional[int]:
    """Return the number that a parameter has at boot by one loader; ``None``: what the kernel begins with."""
    one = settled.get(parameter.key or "")
    number = None if one is None else one.numbers[parameter.field]
    return None if number is None else as_kept(parameter, number)


def _least(boot: Boot, parameter: Parameter, default: Optional[int]) -> Optional[int]:
    """Return the least that a loader gives a parameter; ``None`` where none does, or one leaves it to the kernel."""
    numbers = [number_at(settled, parameter) for settled in boot.values()]
    known = [default if number is None else number for number in numbers]
    if all(number is None for number in numbers) or None in known:
        return None
    return min((number for number in known if number is not None), key=parameter.rank)


def readings(snapshot: Snapshot, tuning: Tuning) -> Dict[str, Reading]:
    """Return what this host has of every limit."""
    machine, uses = tuning.machine, used(snapshot)
    boot = at_boot(tuning.without_own, machine)
    own = own_numbers(tuning.own_text, tuning.own, machine)
    remove_ipc = snapshot.facts.remove_ipc if snapshot.facts is not None else None
    found: Dict[str, Reading] = {}
    for parameter in ALL:
        name, key = parameter.name, parameter.key
        use, unseen = uses.get(name, (None, None))
        default = parameter.default(machine)
        if key is None:
            current = _manual(snapshot, tuning, remove_ipc, name)
            unread = tuning.unread.get(name)
            if name == "logind.RemoveIPC" and current is None:
                unread = None if _hidden(snapshot) else "systemd-logind does not run here"
            found[name] = Reading(current, default, use, unseen, unread=unread)
            continue
        numbers = tuning.values.get(key)
        found[name] = Reading(
            current=None if numbers is None else numbers[parameter.field],
            default=default,
            used=use,
            unseen=unseen,
            boot=_least(boot, parameter, default),
            own=own[key][parameter.field] if key in own else None,
            unread=tuning.unread.get(key),
            blocked=tuning.blocked.get(key),
        )
    return found


def _hidden(snapshot: Snapshot) -> bool:
    """Whether systemd-logind may run here, and how it is set up could not be read."""
    return any("login" in gap.what or "systemd" in gap.what for gap in snapshot.gaps_of(Evidence.SETTINGS))


def _manual(snapshot: Snapshot, tuning: Tuning, remove_ipc: Optional[RemoveIpc], name: str) -> Optional[int]:
    """Return the value of a limit that is no sysctl."""
    if name in tuning.others:
        return tuning.others[name]
    if name == "logind.RemoveIPC":
        return None if remove_ipc is None else int(remove_ipc.on)
    mount = snapshot.shm_mount
    if mount is None or not name.startswith("dev_shm."):
        return None
    if name == "dev_shm.size":
        return mount.size
    return int(name.partition(".")[2] in mount.options) if mount.fstype is not None else None


def persisted(tuning: Tuning, remove_ipc: Optional[RemoveIpc] = None) -> Dict[str, Stated]:
    """Return where each limit is set for the next boot: by the loader that systemd runs where there is one."""
    found = dict(tuning.stated)
    boot = at_boot(tuning.tree, tuning.machine)
    first = next(iter(boot.values()), {})
    for parameter in ALL:
        one = first.get(parameter.key or "")
        number = None if one is None else one.numbers[parameter.field]
        if one is not None and one.placed is not None and number is not None:
            found[parameter.name] = Stated(number, one.placed.file, one.placed.line)
    if remove_ipc is not None and ":" in remove_ipc.origin:
        file, _, line = remove_ipc.origin.rpartition(":")
        found["logind.RemoveIPC"] = Stated(int(remove_ipc.on), file, int(line) if line.isdigit() else None)
    return found


# ---------------------------------------------------------------- what is in use

Use = Tuple[Optional[int], Optional[str]]
"""How much is in use, and why it is not known where it could be."""

_OF_TABLES: Tuple[Tuple[str, str, str, str], ...] = (
    ("kernel.shmmax", "shm", "size", "max"),
    ("kernel.shmmni", "shm", "", "count"),
    ("kernel.sem.semmsl", "sem", "nsems", "max"),
    ("kernel.sem.semmns", "sem", "nsems", "sum"),
    ("kernel.sem.semmni", "sem", "", "count"),
    ("kernel.msgmni", "msg", "", "count"),
    ("kernel.msgmnb", "msg", "cbytes", "max"),
    ("fs.mqueue.queues_max", "posix-mq", "", "count"),
    ("fs.mqueue.msg_max", "posix-mq", "maxmsg", "max"),
    ("fs.mqueue.msgsize_max", "posix-mq", "msgsize", "max"),
    ("fs.pipe-max-size", "pipe", "capacity", "max"),
)
"""Limit, the kind whose objects use it, the column that tells how much, and how rows are one number."""


def used(snapshot: Snapshot) -> Dict[str, Use]:
    """Return how much of each limit is in use; what cannot be measured (the largest message so far) is left out."""
    found: Dict[str, Use] = {}
    for name, kind, column, how in _OF_TABLES:
        if kind in snapshot.kinds:
            found[name] = _of_table(snapshot, kind, column, how)
    page = snapshot.host.page_size
    shm = snapshot.tables.get("shm")
    if "shm" in snapshot.kinds:
        pages = None if shm is None else sum(-(-size // page) for size in shm["size"])
        found["kernel.shmall"] = (pages, None if pages is not None else _unseen(snapshot, "shm"))
    if "pipe" in snapshot.kinds:
        found["fs.pipe-user-pages-soft"] = found["fs.pipe-user-pages-hard"] = _pipes(snapshot, page)
    mount = snapshot.shm_mount
    if mount is not None:
        found["dev_shm.size"] = (mount.used, None)
    if "posix-mq" in snapshot.kinds:
        queues = snapshot.tables.get("posix-mq")
        costs = owners_cost(queues, snapshot.processes.unlinked_queues)
        unseen = None if queues is not None else _unseen(snapshot, "posix-mq")
        found["rlimit.msgqueue"] = (max(costs.values(), default=0), unseen) if unseen is None else (None, unseen)
    return found


def _of_table(snapshot: Snapshot, kind: str, column: str, how: str) -> Use:
    table = snapshot.tables.get(kind)
    if table is None:
        return None, _unseen(snapshot, kind)
    if how == "count":
        return len(table), None
    values: List[Any] = list(table[column])
    if None in values:
        return None, "not of every object was it told (%s)" % kind
    return (sum(values) if how == "sum" else max(values, default=0)), None


def _unseen(snapshot: Snapshot, kind: str) -> str:
    gaps = snapshot.gaps_of(Evidence.TABLE, kind) or snapshot.gaps_of(Evidence.MOUNT, kind)
    return gaps[0].why if gaps else "the objects of kind %s could not be listed" % kind


def _pipes(snapshot: Snapshot, page: int) -> Use:
    """Return the most pages that pipes of one user take; root has no limit of them."""
    table = snapshot.tables.get("pipe")
    if table is None:
        return None, _unseen(snapshot, "pipe")
    pages: Dict[int, int] = {}
    for uid, capacity in zip(table["uid"], table["capacity"]):
        if uid is None or capacity is None:
            return None, "not of every pipe was its size seen"
        if uid:
            pages[uid] = pages.get(uid, 0) + capacity // page
    return max(pages.values(), default=0), None
