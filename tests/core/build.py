"""Snapshots made by hand: a case in ``tests/cases/*.json`` says what is there, this makes a Snapshot of it.

Whatever a case does not say is harmless: a host of 8 GiB with one process of root, default limits,
objects of mode 0600 that nobody uses. A time is a word, ``"2d ago"`` or ``"1h ahead"``; 0 is never.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ipcops.core import model
from ipcops.core.limits import shipped
from ipcops.core.limits.loaders import File, Tree
from ipcops.core.limits.parameters import KEYS, OF_KEY, Machine, release_of
from ipcops.core.limits.profiles import floors_of, merged, parse_profiles, parse_wanted
from ipcops.core.limits.readings import Tuning
from ipcops.core.model import (
    IPCMNI,
    KINDS,
    NOTHING,
    SYSV_KINDS,
    End,
    Gap,
    Host,
    Network,
    Place,
    Process,
    Processes,
    RemoveIpc,
    Semaphores,
    ShmMount,
    Snapshot,
    Table,
    Unlinked,
    Waiter,
)
from ipcops.core.policy import Policy, defaults, parse_duration, parse_policy, parse_size
from ipcops.core.rules.catalogue import BY_ID
from ipcops.core.verdicts import Case

Facts = Mapping[str, Any]

NOW = 1_700_000_000
UPTIME = 30 * 86400
BOOTED = NOW - UPTIME
SHM_DEV = 24
MQ_DEV = 19
FILE_DEV = 64768
INITIAL_IPC = 4026531839
NETWORK = 4026531840
MOUNTS = 4026531841

USERS: Dict[int, Optional[str]] = {
    0: "root", 26: "postgres", 1000: "alice", 1001: "bob", 1002: "carol", 1003: "dave", 61184: "first", 65519: "last",
    65534: "nobody",
}  # fmt: skip
GROUPS: Dict[int, Optional[str]] = {0: "root", 26: "postgres", 100: "users", 1000: "alice", 1001: "bob"}

INIT = {"pid": 1, "uid": 0, "command": "init", "started": "30d ago"}

DEFAULTS: Dict[str, Dict[str, Any]] = {
    "shm": {
        "key": 0, "size": 4096, "cpid": 900, "lpid": 901, "nattch": 0,
        "atime": "2d ago", "dtime": "2d ago", "ctime": "3d ago", "rss": 0, "swap": 0,
    },
    "sem": {"key": 0, "nsems": 1, "otime": "2d ago", "ctime": "3d ago"},
    "msg": {
        "key": 0, "cbytes": 0, "qnum": 0, "qbytes": 16384, "lspid": 900, "lrpid": 901,
        "stime": "2d ago", "rtime": "2d ago", "ctime": "3d ago",
    },
    "posix-shm": {
        "path": "/file", "size": 4096, "blocks": 4096, "nlink": 1,
        "atime": "2d ago", "mtime": "2d ago", "ctime": "2d ago",
    },
    "posix-sem": {
        "path": "/sem.file", "size": 32, "blocks": 4096, "nlink": 1,
        "atime": "2d ago", "mtime": "2d ago", "ctime": "2d ago",
    },
    "posix-mq": {
        "path": "/queue", "maxmsg": 10, "msgsize": 8192, "curmsgs": 0, "notify_pid": None,
        "atime": "2d ago", "mtime": "2d ago", "ctime": "2d ago",
    },
    "fifo": {
        "path": "/run/fifo", "nlink": 1, "atime": "2d ago", "mtime": "2d ago", "ctime": "2d ago",
        "open_path": True, "sticky": False, "capacity": None, "fill": None,
    },
    "pipe": {"id": 1, "capacity": 65536, "fill": 0},
    "unix": {
        "id": 1, "path": "/run/socket", "type": "stream", "state": "listen", "rqueue": 0, "wqueue": 128,
        "open_path": True, "mtime": "2d ago", "ctime": "2d ago", "inexact": False,
    },
    "inet": {
        "id": 1, "path": None, "protocol": "tcp", "address": "127.0.0.1", "port": 8080, "state": "listen",
        "rqueue": 0, "wqueue": 128,
    },
    "lock": {
        "id": "fd:00:1", "path": "/run/lock/file", "type": "FLOCK", "access": "WRITE", "start": 0, "end": None,
        "pid": 20, "waiters": [],
    },
}  # fmt: skip

OWNED: Dict[str, Tuple[str, ...]] = {
    **dict.fromkeys(SYSV_KINDS, ("mode", "uid", "gid", "id", "cuid", "cgid")),
    **dict.fromkeys((*model.POSIX_KINDS, "fifo", "unix"), ("mode", "uid", "gid", "dev", "ino")),
    "pipe": ("uid", "gid"),
    "inet": ("uid",),
    "lock": ("uid", "dev", "ino", "holders"),
}
"""The columns that say whose an object is and which, beside the kind's own."""

LIMITS: Dict[str, Any] = {
    "kernel.shmmax": 18446744073692774399,
    "kernel.shmall": 2 << 20,
    "kernel.shmmni": 4096,
    "kernel.shm_rmid_forced": 0,
    "kernel.sem": {"semmsl": 32000, "semmns": 1024000000, "semopm": 500, "semmni": 32000},
    "kernel.msgmni": 32000,
    "kernel.msgmax": 8192,
    "kernel.msgmnb": 16384,
    "fs.mqueue.queues_max": 256,
    "fs.mqueue.msg_max": 10,
    "fs.mqueue.msgsize_max": 8192,
    "fs.mqueue.msg_default": 10,
    "fs.mqueue.msgsize_default": 8192,
    "fs.protected_fifos": 1,
    "fs.pipe-max-size": 1048576,
    "fs.pipe-user-pages-soft": 16384,
    "fs.pipe-user-pages-hard": 0,
    "net.core.somaxconn": 4096,
}

NET: Dict[str, Any] = {"namespace": NETWORK, "listen_overflows": 0, "listen_drops": 0, "somaxconn": 4096}

LOGIND: Dict[str, Any] = {
    "on": False, "origin": "the default", "system_uid_max": 999, "lingering": [],
}  # fmt: skip

HOST_FACTS: Dict[str, Any] = {
    "remove_ipc": {}, "ptrace_scope": 1, "ipcmni_extended": False, "declared_fifos": [],
}  # fmt: skip

MOUNT: Dict[str, Any] = {
    "path": "/dev/shm",
    "dev": SHM_DEV,
    "fstype": "tmpfs",
    "options": ["rw", "nosuid", "nodev", "noexec"],
    "mode": "1777",
    "size": "1G",
    "used": 0,
    "files": 1000,
    "files_used": 1,
}


def when(word: Any, now: float = NOW) -> int:
    """Return the epoch second that a word such as ``2d ago`` means."""
    if not isinstance(word, str):
        return int(word)
    span, _, direction = word.partition(" ")
    seconds = parse_duration(span)
    return int(now - seconds if direction == "ago" else now + seconds)


def number(word: Any, base: int = 10) -> Any:
    """Return bytes from ``64M``, a key from ``0x1234``, a mode from ``0600``."""
    if not isinstance(word, str):
        return word
    if word.startswith("0x"):
        return int(word, 16)
    return int(word, 8) if base == 8 else parse_size(word)


def process(facts: Facts) -> Process:
    """Return a process; ``uid`` and ``gid`` stand for one each, ``uids`` and ``gids`` for several."""
    started = when(facts.get("started", "29d ago"))
    uids = frozenset(facts.get("uids", [facts.get("uid", 0)]))
    return Process(
        pid=facts["pid"],
        started_ticks=(started - BOOTED) * 100,
        started_at=started,
        command=facts.get("command", "daemon"),
        uids=uids,
        gids=frozenset(facts.get("gids", [facts.get("gid", 0)])),
        kernel_thread=facts.get("kernel_thread", False),
        zombie=facts.get("zombie", False),
        unit=facts.get("unit"),
        inner_pids=tuple(facts.get("inner_pids", ())),
        ipc=facts.get("ipc", INITIAL_IPC),
        mnt=facts.get("mnt", MOUNTS),
        net=facts.get("net", NETWORK),
        container=facts.get("container"),
    )


class _World:
    """The parts of a snapshot, gathered object by object."""

    def __init__(self, facts: Facts) -> None:
        wanted = facts.get("processes", [])
        every = ([] if facts.get("no_init") else [INIT]) + wanted
        self.processes = {one["pid"]: process(one) for one in every}
        network = facts.get("place", {}).get("net", NETWORK)
        self.namespaces = {"fifo": MOUNTS, "unix": network, "inet": network}
        self.rows: Dict[str, List[Dict[str, Any]]] = {kind: [] for kind in facts.get("kinds", KINDS)}
        self.attached: Dict[int, Tuple[Process, ...]] = {}
        self.holding: Dict[Tuple[int, int], Tuple[Process, ...]] = {}
        self.blocked: Dict[Tuple[str, Any], Tuple[Waiter, ...]] = {}
        self.ends: Dict[Tuple[str, Any], Tuple[End, ...]] = {}
        self.sockets: Dict[int, Tuple[Process, ...]] = {}
        self.semaphores: Dict[int, Semaphores] = {}
        for one in facts.get("objects", []):
            for copy in range(one.get("times", 1)):
                self.put(one, copy)

    def them(self, pids: Iterable[int]) -> Tuple[Process, ...]:
        return tuple(self.processes[pid] for pid in pids)

    def put(self, one: Facts, copy: int) -> None:
        kind = one["kind"]
        row = dict(DEFAULTS[kind])
        row.update({name: value for name, value in one.items() if name in {*row, *OWNED[kind]}})
        for name, value in row.items():
            row[name] = when(value) if name.endswith("time") else number(value) if name in _NUMBERS else value
        row["mode"] = number(one.get("mode", "0600"), 8)
        row["uid"] = one.get("uid", 1000)
        row["gid"] = one.get("gid", row["uid"])
        at = len(self.rows[kind])
        identity: Any = None
        if "ino" in OWNED[kind]:
            row["dev"] = SHM_DEV if kind in ("posix-shm", "posix-sem") else MQ_DEV if kind == "posix-mq" else FILE_DEV
            row["ino"] = one.get("ino", 100 * (1 + KINDS.index(kind)) + at)
            identity = row["dev"], row["ino"]
            if copy:
                row["path"] += "-%d" % copy
        if "id" in row or "id" in OWNED[kind]:
            row["id"] = one.get("id", DEFAULTS[kind].get("id", 1))
            if copy and row["id"] is not None:
                row["id"] += copy
        if kind in SYSV_KINDS:
            row["cuid"] = one.get("cuid", row["uid"])
            row["cgid"] = one.get("cgid", row["gid"])
        if kind in (*SYSV_KINDS, "pipe"):
            identity = row["id"]
        self.put_use(kind, row, identity, one)
        waiters = [Waiter(self.processes[pid], pid, call) for pid, call in one.get("blocked", ())]
        if waiters:
            self.blocked[kind, identity] = tuple(waiters)
        self.rows[kind].append(row)

    def put_use(self, kind: str, row: Dict[str, Any], identity: Any, one: Facts) -> None:
        """Note who uses an object, and what goes with its kind."""
        if kind == "shm":
            self.attached[identity] = self.them(one.get("attached", ()))
        elif kind == "sem":
            self.put_semaphores(identity, row["nsems"], one.get("semaphores", {}))
        elif kind.startswith("posix"):
            self.holding[identity] = self.them(one.get("holders", ()))
        elif kind in ("fifo", "pipe"):
            ends = [End(self.processes[pid], 3, "r" in way, "w" in way) for pid, way in one.get("ends", ())]
            if ends:
                self.ends[kind, identity] = tuple(ends)
        elif kind == "lock":
            row["holders"] = tuple((self.processes[pid], 3) for pid in one.get("holders", ()))
            row["waiters"] = tuple(row["waiters"])
        elif kind in ("unix", "inet"):
            if one.get("holders"):
                self.sockets[row["id"]] = self.them(one["holders"])
            if kind == "inet":
                address = "[%s]" % row["address"] if ":" in row["address"] else row["address"]
                row["path"] = "%s:%s:%d" % (row["protocol"], address, row["port"])
            elif row["path"].startswith("@"):
                for name in ("dev", "ino", "mode", "gid", "mtime", "ctime", "open_path"):
                    row[name] = None

    def put_semaphores(self, semid: int, count: int, facts: Optional[Facts]) -> None:
        if facts is None:
            return  # nobody asked, or the kernel did not answer
        columns = [tuple(facts.get(name, [default] * count)) for name, default in _SEMAPHORE]
        self.semaphores[semid] = Semaphores(*columns)

    def tables(self, absent: Sequence[str], unread: Sequence[str]) -> Dict[str, Table]:
        tables = {}
        for kind, rows in self.rows.items():
            if kind in unread:
                continue
            names = dict.fromkeys((*DEFAULTS[kind], *OWNED[kind]))
            columns = {name: [row[name] for row in rows] for name in names if name not in absent}
            tables[kind] = Table(kind, columns, self.namespaces.get(kind, 0))
        return tables


_NUMBERS = frozenset(
    "key size nattch cpid lpid rss swap nsems cbytes qnum qbytes lspid lrpid blocks nlink maxmsg msgsize curmsgs"
    " notify_pid capacity fill uid gid cuid cgid".split()
)
_SEMAPHORE = (("values", 0), ("pids", 0), ("ncnt", 0), ("zcnt", 0))


def _by(processes: Iterable[Process], ids: str) -> Dict[int, Tuple[Process, ...]]:
    found: Dict[int, Tuple[Process, ...]] = {}
    for one in processes:
        for number_ in getattr(one, ids) if one.lives else ():
            found[number_] = (*found.get(number_, ()), one)
    return found


def snapshot(facts: Facts) -> Snapshot:
    """Return the snapshot that *facts* describe."""
    world = _World(facts)
    host: Dict[str, Any] = {
        "hostname": "host", "kernel": "6.12.0", "arch": "x86_64", "boot_id": None, "page_size": 4096,
        "memory": "8G", "user_memory_bounded": True, **facts.get("host", {}),
    }  # fmt: skip
    host["memory"] = number(host["memory"])
    uptime = parse_duration(facts["uptime"]) if "uptime" in facts else float(UPTIME)
    return Snapshot(
        host=Host(**host),
        now=when(facts.get("now", NOW)),
        uptime=uptime,
        seconds=0.0,
        privileged=True,
        namespace=facts.get("namespace", INITIAL_IPC),
        kinds=tuple(world.rows),
        tables=world.tables(facts.get("absent", ()), facts.get("unread", ())),
        limits={**LIMITS, **facts.get("limits", {})},
        processes=Processes(
            by_pid=world.processes,
            attached={key: value for key, value in world.attached.items() if value},
            holding={key: value for key, value in world.holding.items() if value},
            blocked=world.blocked,
            unlinked=tuple(_unlinked(world, one) for one in facts.get("unlinked", ())),
            mqueue_limits={int(uid): limit for uid, limit in facts.get("mqueue_limits", {}).items()},
            unlinked_queues=tuple(tuple(one) for one in facts.get("unlinked_queues", ())),
            users=_by(world.processes.values(), "uids"),
            groups=_by(world.processes.values(), "gids"),
            ends=world.ends,
            sockets=world.sockets,
            signals={int(uid): (queued, limit) for uid, (queued, limit) in facts.get("signals", NOTHING).items()},
        ),
        semaphores=world.semaphores,
        shm_mount=_mount(facts.get("mount", {})),
        mqueue_mounted=facts.get("mqueue_mounted", True),
        users=USERS,
        groups=GROUPS,
        members={name: frozenset(members) for name, members in facts.get("members", {}).items()},
        gaps=tuple(Gap(**{"what": "something", "why": "nobody knows", **one}) for one in facts.get("gaps", ())),
        place=Place(**{"ipc": facts.get("namespace", INITIAL_IPC), **facts.get("place", {})}),
        network=_network(facts.get("network", {})),
        facts=_facts(facts.get("facts", {})),
        covered=frozenset(facts.get("covered", [INITIAL_IPC, facts.get("namespace", INITIAL_IPC)])),
        tuning=_tuning(facts.get("tuning"), host),
        unit_starts={unit: float(when(began)) for unit, began in facts.get("unit_starts", {}).items()},
    )


def _network(facts: Optional[Facts]) -> Optional[Network]:
    return None if facts is None else Network(**{**NET, **facts})


def _facts(facts: Optional[Facts]) -> Optional[model.Facts]:
    if facts is None:
        return None
    every = {**HOST_FACTS, **facts, "declared_fifos": frozenset(facts.get("declared_fifos", ()))}
    if every["remove_ipc"] is not None:
        logind = {**LOGIND, **every["remove_ipc"]}
        every["remove_ipc"] = RemoveIpc(**{**logind, "lingering": frozenset(logind["lingering"])})
    return model.Facts(**every)


def _tuning(facts: Optional[Facts], host: Mapping[str, Any]) -> Optional[Tuning]:
    """Return kernel settings: the defaults but for ``values``; ``files`` and ``conf`` are lists of lines."""
    if facts is None:
        return None
    machine = Machine(
        release_of(host["kernel"]), host["page_size"], wide=True, ipcmni=IPCMNI, memory=host["memory"], swap=0
    )
    values = {key: tuple(one.default(machine) or 0 for one in OF_KEY[key]) for key in KEYS}
    for key, given in facts.get("values", {}).items():
        values[key] = tuple(given) if isinstance(given, list) else (given,)
    tree = Tree(systemd=facts.get("systemd", 257), procps=facts.get("procps", 4))
    for path, lines in facts.get("files", {}).items():
        tree = tree.with_file(path, "\n".join(lines).encode())
    if "conf" in facts:
        tree = tree._replace(conf=File("/etc/sysctl.conf", "\n".join(facts["conf"]).encode()))
    known = merged(parse_profiles(shipped.TEXT, shipped.PATH))
    wanted = [parse_wanted(word, known) for word in facts.get("profiles", ())]
    return Tuning(
        machine=machine,
        values=values,
        unread={},
        others={"rlimit.msgqueue": 819200, "rlimit.memlock": 8 << 20},
        stated={},
        tree=tree,
        own="/etc/sysctl.d/99-zz-ipcops.conf",
        foreign=frozenset(facts.get("foreign", ())),
        floors=tuple(floor for one in wanted for floor in floors_of(known[one.name], one.terms, machine)),
        profiles=tuple(facts.get("profiles", ())),
        gaps=tuple(Gap("settings", path, "Permission denied") for path in facts.get("hidden", ())),
    )


def _unlinked(world: _World, one: Facts) -> Unlinked:
    size = number(one["bytes"])
    return Unlinked(one.get("ino", 7), size, size, one.get("name", "/dev/shm/gone"), world.them(one.get("holders", ())))


def _mount(facts: Optional[Facts]) -> Optional[ShmMount]:
    if facts is None:
        return None
    every = {**MOUNT, **facts}
    return ShmMount(
        **{
            **every,
            "options": frozenset(every["options"]),
            "mode": number(every["mode"], 8),
            "size": number(every["size"]),
            "used": number(every["used"]),
        }
    )


def policy(text: Optional[str]) -> Policy:
    """Return the policy that the text of a file states, or the defaults."""
    return defaults() if text is None else parse_policy(text, "case.conf", BY_ID)


def case(facts: Facts) -> Case:
    """Return what *facts* describe, ready for judgement; ``earlier`` are facts that differ in earlier samples."""
    earlier = [snapshot({**facts, **other}) for other in facts.get("earlier", ())]
    text = "\n".join(facts["policy"]) if "policy" in facts else None
    return Case(snapshot(facts), policy(text), earlier)


def name_of(table: Table, row: int) -> str:
    """Return an object as the command line names it."""
    return "%s:%s" % (table.kind, table["path"][row] if "path" in table else table["id"][row])
