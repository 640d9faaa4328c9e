"""Snapshots made by hand: a case in ``tests/cases/*.json`` says what is there, this makes a Snapshot of it.

Whatever a case does not say is harmless: a host of 8 GiB with one process of root, default limits,
objects of mode 0600 that nobody uses. A time is a word, ``"2d ago"`` or ``"1h ahead"``; 0 is never.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ipcops.core.model import (
    KINDS,
    Gap,
    Host,
    Process,
    Processes,
    Semaphores,
    ShmMount,
    Snapshot,
    Table,
    Unlinked,
    Waiter,
)
from ipcops.core.policy import Policy, defaults, parse_duration, parse_policy, parse_size
from ipcops.core.rules import BY_ID
from ipcops.core.verdicts import Case

Facts = Mapping[str, Any]

NOW = 1_700_000_000
UPTIME = 30 * 86400
BOOTED = NOW - UPTIME
SHM_DEV = 24
MQ_DEV = 19
INITIAL_IPC = 4026531839

USERS: Dict[int, Optional[str]] = {0: "root", 26: "postgres", 1000: "alice", 1001: "bob", 1002: "carol"}
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
}  # fmt: skip

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
}

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
    )


class _World:
    """The parts of a snapshot, gathered object by object."""

    def __init__(self, facts: Facts) -> None:
        wanted = facts.get("processes", [])
        every = ([] if facts.get("no_init") else [INIT]) + wanted
        self.processes = {one["pid"]: process(one) for one in every}
        self.rows: Dict[str, List[Dict[str, Any]]] = {kind: [] for kind in facts.get("kinds", KINDS)}
        self.attached: Dict[int, Tuple[Process, ...]] = {}
        self.holding: Dict[Tuple[int, int], Tuple[Process, ...]] = {}
        self.blocked: Dict[Tuple[str, Any], Tuple[Waiter, ...]] = {}
        self.semaphores: Dict[int, Semaphores] = {}
        for one in facts.get("objects", []):
            for copy in range(one.get("times", 1)):
                self.put(one, copy)

    def them(self, pids: Iterable[int]) -> Tuple[Process, ...]:
        return tuple(self.processes[pid] for pid in pids)

    def put(self, one: Facts, copy: int) -> None:
        kind = one["kind"]
        row = dict(DEFAULTS[kind])
        row.update({name: value for name, value in one.items() if name in {*row, "uid", "gid", "cuid", "cgid", "mode"}})
        for name, value in row.items():
            row[name] = when(value) if name.endswith("time") else value if name == "path" else number(value)
        row["mode"] = number(one.get("mode", "0600"), 8)
        row["uid"] = one.get("uid", 1000)
        row["gid"] = one.get("gid", row["uid"])
        at = len(self.rows[kind])
        if kind.startswith("posix"):
            row["dev"] = MQ_DEV if kind == "posix-mq" else SHM_DEV
            row["ino"] = one.get("ino", 100 * (1 + KINDS.index(kind)) + at)
            identity: Any = (row["dev"], row["ino"])
            if copy:
                row["path"] += "-%d" % copy
            self.holding[identity] = self.them(one.get("holders", ()))
        else:
            row["id"] = identity = one.get("id", 1) + copy
            row["cuid"] = one.get("cuid", row["uid"])
            row["cgid"] = one.get("cgid", row["gid"])
            if kind == "shm":
                self.attached[identity] = self.them(one.get("attached", ()))
        if kind == "sem":
            self.put_semaphores(identity, row["nsems"], one.get("semaphores", {}))
        waiters = [Waiter(self.processes[pid], pid, call) for pid, call in one.get("blocked", ())]
        if waiters:
            self.blocked[kind, identity] = tuple(waiters)
        self.rows[kind].append(row)

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
            names = [*DEFAULTS[kind], "mode", "uid", "gid"]
            names += ["dev", "ino"] if kind.startswith("posix") else ["id", "cuid", "cgid"]
            tables[kind] = Table(kind, {name: [row[name] for row in rows] for name in names if name not in absent})
        return tables


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
        ),
        semaphores=world.semaphores,
        shm_mount=_mount(facts.get("mount", {})),
        mqueue_mounted=facts.get("mqueue_mounted", True),
        users=USERS,
        groups=GROUPS,
        members={name: frozenset(members) for name, members in facts.get("members", {}).items()},
        gaps=tuple(Gap(**{"what": "something", "why": "nobody knows", **one}) for one in facts.get("gaps", ())),
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
    return "%s:%s" % (table.kind, table["id"][row] if "id" in table else table["path"][row])
