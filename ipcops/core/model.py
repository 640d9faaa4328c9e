"""Every value type: what exists on the host, and what we say about it.

Named tuples and not dataclasses: every start of ipcops pays for each class, and a frozen
dataclass costs eight times as much to make (docs/adr/0001-named-tuples.md).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from .tuples import NamedTuple

SYSV_KINDS = ("shm", "sem", "msg")
POSIX_KINDS = ("posix-shm", "posix-sem", "posix-mq")
REMOVABLE_KINDS = SYSV_KINDS + POSIX_KINDS
"""The kinds that cleaning can ever take; all others are only reported."""
CHANNEL_KINDS = ("fifo", "pipe", "unix", "inet")
KINDS = (*REMOVABLE_KINDS, *CHANNEL_KINDS, "lock")

SEVERITIES = ("critical", "high", "medium", "low", "info")
"""Worst first."""

VERDICTS = ("in-use", "idle", "orphan", "unknown")
CONFIDENCES = ("certain", "strong", "suspect")

SHM_DEST = 0o1000
"""Mode bit: the segment goes away at its last detach (include/linux/shm.h)."""
SHM_LOCKED = 0o2000
"""Mode bit: the segment is locked in memory (include/linux/shm.h)."""

NOTHING: Mapping[Any, Any] = MappingProxyType({})

INITIAL_IPC_NAMESPACE = 4026531839
"""PROC_IPC_INIT_INO of include/linux/proc_ns.h: the inode of the first IPC namespace."""

IPCMNI, IPCMNI_EXTENDED = 1 << 15, 1 << 24
"""The most segments, sets or queues that a kernel allows, without and with ipcmni_extend (ipc/util.h)."""

ENDLESS = 1 << 62
"""Limits from here on are the kernel's way to say that there is none (SHMMAX, SHMALL)."""

OVERFLOW_ID = 65534
"""What an unmapped uid or gid reads as inside a user namespace (user_namespaces(7))."""


# ---------------------------------------------------------------- what exists


class Table:
    """The objects of one kind, as columns of equal length, named as the kernel names them.

    System V columns: ``id key mode uid gid cuid cgid`` and the kind's own; POSIX columns:
    ``path dev ino mode uid gid size blocks nlink atime mtime ctime`` and the kind's own.
    A column the kernel did not give (14-column tables have no ``rss``) is absent.

    ``fifo``: ``path dev ino mode uid gid nlink atime mtime ctime open_path sticky``.
    ``pipe``: ``id uid gid capacity fill`` (id: its inode; bytes; ``None`` where not seen).
    ``unix``: ``id path dev ino mode uid gid type state rqueue wqueue open_path mtime ctime inexact``
    (id: the socket's inode, ``None`` for a file that no socket is bound to; path: the file's or
    ``@name``; dev and ino: the file's).
    ``inet``: ``id path protocol address port uid state rqueue wqueue`` (path: ``tcp:0.0.0.0:80``).
    Where asked for, both have ``connections``, and ``unix`` the ``network`` namespace of each.
    ``lock``: ``id path dev ino uid type access start end pid`` (id: device and inode as in /proc/locks).

    ``namespace`` is the inode of the namespace that the objects belong to, 0 for none: IPC for
    System V and POSIX kinds, mount for ``fifo``, network for ``unix`` and ``inet``.
    """

    __slots__ = ("columns", "count", "kind", "namespace")

    def __init__(self, kind: str, columns: Mapping[str, Sequence[Any]], namespace: int = 0) -> None:
        self.kind = kind
        self.namespace = namespace
        self.columns = dict(columns)
        self.count = len(next(iter(self.columns.values()))) if self.columns else 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def pick(self, name: str, rows: Sequence[int]) -> Sequence[Any]:
        """Return the values of one column in the given rows; ``None`` where there is no such column."""
        column = self.columns.get(name)
        if column is None:
            return [None] * len(rows)
        if isinstance(rows, range) and rows == range(self.count):
            return column
        return [column[row] for row in rows]


class Gap(NamedTuple):
    """Something that could not be seen, and why.

    ``evidence`` says which piece of evidence is missing (see :class:`Evidence`); ``kind``
    narrows it to one kind of object, ``pid`` to one process, ``object_id`` to one object.
    """

    evidence: str
    what: str
    why: str
    kind: Optional[str] = None
    pid: Optional[int] = None
    object_id: Optional[int] = None


class Evidence:
    """The pieces of evidence that a verdict may need, each of which may have gaps."""

    TABLE = "table"  # the kernel's list of the objects of one kind
    LIMITS = "limits"
    PROCESSES = "processes"  # which processes exist and with which uids and gids
    MAPS = "maps"  # what a process has mapped
    DESCRIPTORS = "descriptors"  # what a process has open
    BLOCKED = "blocked"  # which system call a thread is blocked in
    SEMAPHORES = "semaphores"  # values, last pids and waiter counts of a set
    QUEUE = "queue"  # depth and attributes of a POSIX queue
    UNLINKED = "unlinked"  # how large a file without a name is
    MOUNT = "mount"
    SOCKETS = "sockets"  # which sockets a network namespace has
    PIPES = "pipes"  # size, fill and creator of a pipe
    NAMESPACES = "namespaces"  # in which namespaces a process is
    SETTINGS = "settings"  # how a service of the host is configured
    COUNTERS = "counters"  # what the kernel itself counts of System V objects


class Process(NamedTuple):
    """A process that was there during the scan; its identity is pid plus start time."""

    pid: int
    started_ticks: int
    started_at: int
    command: str
    uids: FrozenSet[int]
    gids: FrozenSet[int]
    kernel_thread: bool = False
    zombie: bool = False
    unit: Optional[str] = None
    inner_pids: Tuple[int, ...] = ()
    """Its numbers in the PID namespaces below ours."""
    ipc: int = 0
    """Inode of its IPC namespace; this and the next two are 0 where not seen."""
    mnt: int = 0
    net: int = 0
    container: Optional[str] = None
    """The container it runs in, as ``podman 1f2e3d4c5b6a``, as far as was asked for."""

    @property
    def lives(self) -> bool:
        """Whether it can still use anything: a zombie and a kernel thread cannot."""
        return not (self.kernel_thread or self.zombie)


class Waiter(NamedTuple):
    """A thread blocked in a system call on an object."""

    process: Process
    tid: int
    call: str


class End(NamedTuple):
    """A descriptor that a process has on a pipe or FIFO."""

    process: Process
    fd: int
    reads: bool
    writes: bool


class Connection(NamedTuple):
    """A socket's end of a connection, and the other.

    ``id`` and ``peer`` are the inodes of both; without one ``note`` or ``peer_note`` says why.
    ``local`` and ``remote`` are names or addresses; a Unix socket may have none.
    """

    id: Optional[int]
    peer: Optional[int]
    local: Optional[str]
    remote: Optional[str]
    state: str
    note: Optional[str] = None
    peer_note: Optional[str] = None


class Network(NamedTuple):
    """What a network namespace counts and allows; ``None`` where it could not be read.

    The counters are TcpExt's of /proc/net/netstat, since the namespace began.
    """

    namespace: int
    listen_overflows: Optional[int] = None
    listen_drops: Optional[int] = None
    somaxconn: Optional[int] = None


class Place(NamedTuple):
    """The namespaces that one snapshot looked into, and what runs there."""

    ipc: int
    mnt: int = 0
    net: int = 0
    name: str = "this host"
    pid: Optional[int] = None
    """A process to enter the namespaces by; ``None`` for our own, and where only a mount keeps them."""
    other: bool = False
    """Whether these are not our own."""


class RemoveIpc(NamedTuple):
    """What systemd-logind does to the IPC of a user who logs out (logind.conf(5))."""

    on: bool
    origin: str
    """The file and line that says so, or that it is the default."""
    system_uid_max: int
    lingering: FrozenSet[str]
    """Users whose service manager stays: they never log out for good."""


class Facts(NamedTuple):
    """What of the host the rules about it ask; ``None`` where there is no such thing here."""

    remove_ipc: Optional[RemoveIpc] = None
    ptrace_scope: Optional[int] = None
    ipcmni_extended: bool = False
    declared_fifos: FrozenSet[str] = frozenset()
    """Paths of FIFOs that systemd units or tmpfiles make."""


class Quota(NamedTuple):
    """How much of its own limits a process uses; ``None`` where that could not be read."""

    pid: int
    command: str
    uid: int
    """Its real uid, which its queues and pipes are charged to."""
    descriptors: Optional[int]
    """How many are open below the limit of their number."""
    nofile: Optional[Tuple[int, int]]
    """RLIMIT_NOFILE, soft and hard; -1 is no limit."""
    msgqueue: Optional[Tuple[int, int]]
    """RLIMIT_MSGQUEUE in bytes, likewise."""


class Caller(NamedTuple):
    """Who runs ipcops: what its own calls may do here, and what it shares with the processes of its user."""

    pid: int
    uid: int
    """Its real uid; what it makes is charged to that."""
    euid: int
    gids: FrozenSet[int]
    capabilities: int
    """The effective ones, a bit each (capabilities(7))."""
    initial_user_namespace: bool
    owns_ipc: bool
    """Whether its user namespace is the one that its IPC namespace was made in."""
    limits: Mapping[str, Tuple[int, int]]
    """Name of a resource limit, as ``nofile``, to its soft and hard value, as far as they are told; -1 is no limit."""
    values: Mapping[str, Any] = NOTHING
    """Settings and counters of the host that belong to no kind; absent where there is no such thing."""
    quotas: Tuple[Quota, ...] = ()
    gaps: Tuple[Gap, ...] = ()


class Unlinked(NamedTuple):
    """A file of the /dev/shm mount without a name that a process still holds."""

    ino: int
    size: int
    blocks: int
    name: str
    holders: Tuple[Process, ...]


class Semaphores(NamedTuple):
    """The semaphores of one set: value, last pid, and how many threads wait."""

    values: Tuple[int, ...]
    pids: Tuple[int, ...]
    ncnt: Tuple[int, ...]
    zcnt: Tuple[int, ...]


class Counted(NamedTuple):
    """The kernel's own counters of a kind, named as in kernel.py, whether they stood still, and what the rows say."""

    values: Mapping[str, int]
    steady: bool
    rows: Mapping[str, int] = NOTHING


class Host(NamedTuple):
    """Which machine this is. Memory and page size in bytes."""

    hostname: str
    kernel: str
    arch: str
    boot_id: Optional[str]
    page_size: int
    memory: Optional[int]
    user_memory_bounded: bool = False
    """Whether a cgroup limits the memory of all logged-in users together."""
    all_ids_mapped: bool = True
    initial_pid_namespace: bool = True


class ShmMount(NamedTuple):
    """The file system at /dev/shm. Sizes in bytes; ``dev`` as stat(2) gives it."""

    path: str
    dev: int
    fstype: Optional[str]
    options: FrozenSet[str]
    mode: int
    size: int
    used: int
    files: int
    files_used: int
    other_entries: int = 0


class Processes(NamedTuple):
    """What the scan of /proc found: who runs, who holds what, who is blocked on what."""

    by_pid: Mapping[int, Process]
    attached: Mapping[int, Tuple[Process, ...]] = NOTHING
    """Segment id to the processes that have it mapped, in our IPC namespace."""
    holding: Mapping[Tuple[int, int], Tuple[Process, ...]] = NOTHING
    """(device, inode) to the processes that have the file mapped or open."""
    blocked: Mapping[Tuple[str, Any], Tuple[Waiter, ...]] = NOTHING
    """(kind, id) or ("posix-mq", (device, inode)) to the threads blocked on it."""
    unlinked: Tuple[Unlinked, ...] = ()
    mqueue_limits: Mapping[int, int] = NOTHING
    """Owner uid to the least RLIMIT_MSGQUEUE (bytes) of its processes."""
    unlinked_queues: Tuple[Tuple[int, int, int], ...] = ()
    """(uid, maxmsg, msgsize) of queues without a name that are still open."""
    users: Mapping[int, Tuple[Process, ...]] = NOTHING
    """uid to its living processes."""
    groups: Mapping[int, Tuple[Process, ...]] = NOTHING
    """gid to the living processes that are in it."""
    ends: Mapping[Tuple[str, Any], Tuple[End, ...]] = NOTHING
    """("pipe", inode) or ("fifo", (device, inode)) to the descriptors on it."""
    sockets: Mapping[int, Tuple[Process, ...]] = NOTHING
    """Inode of a socket to the processes that have it open."""
    signals: Mapping[int, Tuple[int, int]] = NOTHING
    """Real uid to its queued signals and the least RLIMIT_SIGPENDING of its processes (SigQ, proc(5))."""


class Snapshot(NamedTuple):
    """All that one look at the host gave. Times are epoch seconds; *now* is a field."""

    host: Host
    now: float
    uptime: float
    seconds: float
    privileged: bool
    namespace: int
    kinds: Tuple[str, ...]
    tables: Mapping[str, Table]
    limits: Mapping[str, Any]
    processes: Processes
    semaphores: Mapping[int, Semaphores]
    shm_mount: Optional[ShmMount]
    mqueue_mounted: Optional[bool]
    users: Mapping[int, Optional[str]]
    groups: Mapping[int, Optional[str]]
    members: Mapping[str, FrozenSet[str]]
    """Group name to the users in it, for the groups that a policy names."""
    gaps: Tuple[Gap, ...]
    strangers: Tuple[str, ...] = ()
    """Users and @groups that the policy names and this host does not have."""
    place: Place = Place(0)
    network: Optional[Network] = None
    facts: Optional[Facts] = None
    """Only in the snapshot of our own namespaces: the host is judged once."""
    covered: FrozenSet[int] = frozenset()
    """The IPC namespaces that were looked into."""
    tuning: Optional[Any] = None
    """A limits.readings.Tuning, likewise."""
    unit_starts: Mapping[str, float] = NOTHING
    """Epoch second at which systemd began each unit that has processes, as far as it tells; with units alone."""
    counted: Mapping[str, Counted] = NOTHING
    """Kind to the kernel's own counters, where asked for."""

    def gaps_of(self, evidence: str, kind: Optional[str] = None) -> List[Gap]:
        """Return what is missing of one piece of evidence, for one kind."""
        return [gap for gap in self.gaps if gap.evidence == evidence and gap.kind in (None, kind)]

    def user(self, uid: int) -> str:
        """Return a person's word for a uid: its name, or the number."""
        return self.users.get(uid) or "uid %d" % uid


# ---------------------------------------------------------------- what we say


class Verdict(NamedTuple):
    """What is true of an object, how sure we are, and why, in words.

    ``suspected`` marks an ``unknown`` where all that could be seen says orphan and only
    unseen processes stand between: enough for a finding at ``suspect``, never for removal.
    """

    word: str
    confidence: str
    reasons: Tuple[str, ...]
    suspected: bool = False


class Protection(NamedTuple):
    """Which section covers an object, and why."""

    name: str
    reason: str


class FindingGroup(NamedTuple):
    """The findings of one rule that share severity and confidence.

    ``rows`` are rows of ``table``; without a table it is one finding about the host.
    ``reason`` and ``remedy`` are templates over the table's formatted columns and ``fields``;
    ``evidence`` gives the values behind it: a tuple has one per row, anything else is the same
    for all; ``columns`` names columns of the table that are evidence, too. ``severity``,
    ``rule``, ``title`` and ``kind`` are the rule's unless given.
    """

    confidence: str
    reason: str
    remedy: str
    severity: str = ""
    rule: str = ""
    title: str = ""
    kind: Optional[str] = None
    table: Optional[Table] = None
    rows: Sequence[int] = (0,)
    columns: Tuple[str, ...] = ()
    evidence: Mapping[str, Any] = NOTHING
    fields: Mapping[str, Sequence[str]] = NOTHING

    def only(self, kept: Sequence[int]) -> FindingGroup:
        """Return the group with only the findings at the given positions."""
        return self._replace(
            rows=[self.rows[at] for at in kept],
            evidence={
                name: tuple(value[at] for at in kept) if isinstance(value, tuple) else value
                for name, value in self.evidence.items()
            },
            fields={name: [values[at] for at in kept] for name, values in self.fields.items()},
        )


class Action(NamedTuple):
    """An object that is to be removed, and what must be found when it is."""

    kind: str
    id: Optional[int]
    key: Optional[int]
    path: Optional[str]
    namespace: int
    expect: Mapping[str, Any]
    """The row of its table as it was seen; what is only counted (rss, swap, atime of files) left out."""
    section: str
    """The ``[remove NAME]`` that names it, ``job-ended`` or ``command line``."""
    reasons: Tuple[str, ...]
    confidence: str
    backup: str = "full"
    """``full``, ``metadata`` or ``none``."""
    with_data: bool = False


class Kept(NamedTuple):
    """An object of a removable kind that stays, and why."""

    kind: str
    id: Optional[int]
    key: Optional[int]
    path: Optional[str]
    why: str
    verdict: str


class Plan(NamedTuple):
    """What would be removed and what stays, before anything is done. Times in seconds: epoch, and since boot."""

    remove: Tuple[Action, ...]
    keep: Tuple[Kept, ...]
    boot_id: Optional[str]
    namespace: int
    made_at: float
    uptime: float
    policy_hash: str
    sighted: Tuple[str, ...] = ()
    """Identities of what goes, or would but for its second sighting: to be remembered until the next run."""


class Outcome(NamedTuple):
    """What became of an action; ``why`` is empty when it was done."""

    action: Action
    done: bool
    why: str = ""
    backup: Optional[str] = None
    """Where the backup lies: the pack's name and the offset in it, as ``BATCH:OFFSET``."""


Request = Dict[str, Any]
Report = Dict[str, Any]
