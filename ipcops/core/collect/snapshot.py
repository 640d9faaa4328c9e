"""One look at the host: every source in an order that lets none contradict the next.

Tables first, processes after: a number that stands in a table and is not among the processes
has ended by then, while the other order would call a process dead that began in between. One
pass over /proc serves all tables, those of other namespaces, too.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Optional, Sequence, Set, Tuple

from .. import fs
from ..errors import UndeterminedError
from ..fs import Roots
from ..kernel import Kernel
from ..model import REMOVABLE_KINDS, Evidence, Facts, Gap, Place, Process, Semaphores, Snapshot, Table
from ..policy import Policy
from ..tuples import NamedTuple
from . import host, processes, users
from .gather import FILE_KINDS, IPC_KINDS, SOCKET_KINDS, Gathered, ask, gather, only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..limits.readings import Tuning
    from .sockets import Sockets
    from .visit import Entry, Visitor

Ask = Callable[[Snapshot], Iterable[int]]


class Look(NamedTuple):
    """What to look at, and how closely."""

    kinds: Tuple[str, ...]
    deadline: Optional[float] = None
    """Seconds; ``None`` for the policy's."""
    everywhere: bool = False
    """Whether to enter every other namespace of the host."""
    host: bool = False
    """Whether the host itself is looked at: its settings, and who shares which namespace."""
    details: bool = False
    """Whether to tell who has which end of a pipe open and who truly holds a lock."""
    pipes_of_root: bool = False
    """Whether to measure the pipes, too, that only root has: no rule asks for these."""
    units: bool = False
    """Whether to tell unit and container of every process."""
    probe: bool = False
    """Whether to try a connection of the wrong type to socket files that seem stale."""
    booted_at: Optional[float] = None
    """The epoch second of the boot by the clock as an earlier run saw it: one that was set ahead since ages nothing."""
    counters: bool = False
    """Whether to ask for the kernel's own counters, too."""
    profiles: Tuple[str, ...] = ()
    """The profiles whose floors are asked for, instead of the policy's."""
    to_write: bool = False
    """With *host*: whether to try which limits can be written from here."""
    connections: Optional[FrozenSet[str]] = None
    """Where both ends of sockets are to be told: inodes and names of those to be shown though nobody can connect."""

    @property
    def also(self) -> Tuple[str, ...]:
        """What every place is asked beside its objects; see gather."""
        return ("connections",) * (self.connections is not None) + ("counters",) * self.counters


class _Spot(NamedTuple):
    """What was gathered in one place, and how to get there again: ``None`` for our own."""

    gathered: Gathered
    entry: Optional[Entry] = None


def take(roots: Roots, kernel: Kernel, policy: Policy, look: Look, *, ask_about: Ask) -> List[Snapshot]:
    """Return a snapshot of our own namespaces and, after it, of every other that was asked for.

    *ask_about* is given each snapshot and returns the rows of its ``sem`` table whose single
    semaphores the kernel is to be asked about: with tens of thousands of sets that is done only
    where it decides something. Raise UndeterminedError when there is no /proc to look at.
    """
    return _Taking(roots, kernel, policy, look).run(ask_about)


class _Taking:
    """The steps of one look."""

    def __init__(self, roots: Roots, kernel: Kernel, policy: Policy, look: Look) -> None:
        self.roots, self.kernel, self.policy, self.look = roots, kernel, policy, look
        self.began = time.monotonic()
        self.limit = self.began + (policy["scan", "deadline"] if look.deadline is None else look.deadline)
        self.gaps: List[Gap] = []
        self.visitor: Optional[Visitor] = None
        self.facts = Facts()
        self.tuning: Optional[Tuning] = None
        try:
            self.uptime = host.read_uptime(roots.proc)
        except (OSError, ValueError) as error:
            raise UndeterminedError("/proc/uptime cannot be read (%s): is /proc mounted?" % error) from error
        self.now = time.time()
        if look.booted_at is not None:
            self.now = min(self.now, look.booted_at + self.uptime)
        self.machine = host.read_host(roots.proc)

    def run(self, ask_about: Ask) -> List[Snapshot]:
        look = self.look
        try:
            own = gather(self.roots, self.kernel, self.policy, look.kinds, self.limit, also=look.also)
            spots = [_Spot(own)]
            if look.everywhere:
                spots += self._elsewhere(spots[0].gathered)
            if look.host:
                self._settings(spots[0].gathered)
            if look.host or look.profiles:
                from .tuning import read_tuning

                self.tuning = read_tuning(self.roots, self.policy, look.profiles, to_write=look.to_write)
                self.gaps += self.tuning.gaps
            scanned = self._scan([spot.gathered for spot in spots])
            self.gaps += scanned.gaps
            self._channels(spots, scanned)
            return self._snapshots(spots, scanned, ask_about)
        finally:
            if self.visitor is not None:
                self.visitor.close()

    # ------------------------------------------------------------- other namespaces

    def _visit(self) -> Visitor:
        if self.visitor is None:
            from .visit import Visitor  # most hosts have nowhere else to go

            self.visitor = Visitor(self.roots, self.kernel, self.policy)
        return self.visitor

    def _elsewhere(self, own: Gathered) -> List[_Spot]:
        """Return what every other place has that is in no earlier one."""
        from .visit import EntryError, own_entry, survey

        home = own_entry(self.roots.proc)
        entries, missing = survey(self.roots.proc, home, own.mounts)
        self.gaps += missing
        seen = {"ipc": {home.ipc}, "net": {home.net}, "mnt": {home.mnt}}
        seen_shm = {own.shm_mount.dev} if own.shm_mount is not None else set()
        spots = []
        for entry in entries:
            kinds = [
                kind
                for space, some in (("ipc", IPC_KINDS), ("mnt", (*FILE_KINDS, "fifo", "unix")), ("net", SOCKET_KINDS))
                if getattr(entry, space) not in seen[space]
                for kind in some
                if kind in self.look.kinds
            ]
            if not kinds:
                continue
            try:
                gathered = self._visit().gather(entry, tuple(dict.fromkeys(kinds)), self.limit, also=self.look.also)
            except EntryError as error:
                if not error.gone:
                    what = "namespaces of %s" % ("pid %d" % entry.pids[0] if entry.pids else entry.path)
                    self.gaps.append(Gap(Evidence.TABLE, what, error.why))
                continue
            for space, inodes in seen.items():
                inodes.add(getattr(entry, space))
            shm = gathered.shm_mount
            if shm is not None and shm.dev in seen_shm:  # a service's own mounts, but the host's /dev/shm
                gathered = only(gathered, [kind for kind in gathered.kinds if kind not in FILE_KINDS])
            elif shm is not None:
                seen_shm.add(shm.dev)
            spots.append(_Spot(gathered, entry))
        return spots

    # ------------------------------------------------------------- processes

    def _scan(self, gathered: Sequence[Gathered]) -> processes.Scanned:
        wanted = _wanted(self.look, self.policy, gathered)
        own = (gathered[0].mounts, self.now - self.uptime)
        return processes.read_processes(self.roots, self.kernel, wanted, own, self.limit, self.machine.arch)

    # ------------------------------------------------------------- pipes, sockets, locks

    def _channels(self, spots: List[_Spot], scanned: processes.Scanned) -> None:
        """Add the tables that take the processes, or other namespaces, to be told."""
        kinds = self.look.kinds
        if "pipe" in kinds:
            spots[0].gathered.tables["pipe"] = _pipe_table(scanned)
        if "unix" in kinds:
            self._unix(spots, scanned)
        if "lock" in kinds:
            from . import locks  # what a plan has no use for is loaded where it is used

            held, missing = locks.read_locks(self.roots.proc)
            self.gaps += missing
            if not missing:
                holders: Any = {}
                if self.look.details:
                    holders = locks.find_holders(self.roots.proc, held, scanned.processes.by_pid, self.limit)
                    self.gaps += holders.gaps
                spots[0].gathered.tables["lock"] = locks.lock_table(held, holders)
        if self.look.connections is not None:
            self._connections(spots, scanned, self.look.connections)

    def _unix(self, spots: List[_Spot], scanned: processes.Scanned) -> None:
        """Match socket files with the sockets of every network namespace, others' only where it matters."""
        from . import sockets

        own = [spot.gathered.sockets for spot in spots if spot.gathered.sockets is not None]
        known = [one for one in own if one.unix is not None]
        if not known:
            return
        files = _merged([spot.gathered.files.sockets for spot in spots if spot.gathered.files is not None])
        unbound = sockets.unix_table(known[0], files, known)
        if None in unbound["id"]:
            known += self._other_networks(
                frozenset(one.namespace for one in own), spots[0].gathered, scanned,
                lambda entry: self._visit().sockets(entry, self.limit),
            )  # fmt: skip
            self._strays(known, scanned)
        seen: Set[Tuple[int, int]] = set()
        networks: Set[int] = set()
        for spot in spots:
            net, found = spot.gathered.sockets, spot.gathered.files
            if net is None or net.unix is None:
                continue
            table = sockets.unix_table(net, _fresh(found.sockets, seen) if found is not None else None, known)
            if spot.entry is None:
                table = self._looked_again(table)
            if net.namespace in networks:  # another mount namespace of the same network: only its files are new
                rows = [row for row, mode in enumerate(table["mode"]) if mode is not None]
                table = Table("unix", {name: table.pick(name, rows) for name in table.columns}, table.namespace)
            networks.add(net.namespace)
            spot.gathered.tables["unix"] = table

    def _connections(self, spots: List[_Spot], scanned: processes.Scanned, asked: FrozenSet[str]) -> None:
        """Tell both ends of sockets. Those of Unix ones may be in any network namespace."""
        from .connections import UnixEnds, connect_inet, connect_unix

        known = {
            spot.gathered.connected.namespace: spot.gathered.connected
            for spot in reversed(spots)
            if spot.gathered.connected is not None
        }
        more = []
        if "unix" in self.look.kinds:
            more = self._other_networks(
                frozenset(known), spots[0].gathered, scanned, lambda entry: self._visit().connected(entry, self.limit)
            )
        ends = UnixEnds([*known.values(), *more])
        for spot in spots:
            here, tables = spot.gathered.connected, spot.gathered.tables
            if here is None:
                continue
            if "unix" in tables:
                own = [here] if known.pop(here.namespace, None) else []
                tables["unix"] = connect_unix(tables["unix"], own + more, ends, asked)
                more = []  # what belongs to no other place is shown with ours
            if "inet" in tables:
                tables["inet"] = connect_inet(tables["inet"], here, asked)

    def _other_networks(
        self, seen: FrozenSet[int], own: Gathered, scanned: processes.Scanned, ask: Callable[[Entry], Any]
    ) -> List[Any]:
        """Return the answer of each network namespace not looked into yet; a gap for each that is not to be seen."""
        from .visit import Entry, EntryError, kept_by_mounts, own_entry

        home = own_entry(self.roots.proc)
        pids: Dict[int, List[Process]] = {}
        for process in scanned.processes.by_pid.values():
            if process.net and process.net not in seen:
                pids.setdefault(process.net, []).append(process)
        bound = kept_by_mounts(own.mounts, home, seen | frozenset(pids))
        entries = [entry for entry in bound if entry.bound == "net"]
        entries += [
            Entry(home.ipc, net, home.mnt, pids=tuple(process.pid for process in them[:8]))
            for net, them in pids.items()
        ]
        found = []
        for entry in entries:
            try:
                there = ask(entry)
            except EntryError as error:
                if not error.gone:
                    what = "sockets of %s" % ("pid %d" % entry.pids[0] if entry.pids else entry.path)
                    self.gaps.append(Gap(Evidence.SOCKETS, what, error.why, kind="unix"))
                continue
            found.append(there)
            self.gaps += [gap._replace(evidence=Evidence.SOCKETS) for gap in there.gaps]
        return found

    def _strays(self, known: Sequence[Sockets], scanned: processes.Scanned) -> None:
        """Say that a socket is of a network namespace that nothing leads to, if there is one."""
        from .strays import unix_strays

        listed = frozenset(inode for one in known for inode in one.known)
        listed |= frozenset(inet.inode for one in known for inet in one.inet or ())
        unlisted = {inode: who for inode, who in scanned.processes.sockets.items() if inode not in listed}
        strays, unknown = unix_strays(self.roots.proc, self.kernel, unlisted)
        for inodes, why in (
            (strays, "it is of a network namespace that no process is in and no mount keeps"),
            (unknown, "neither the kernel's lists nor its holder tell what it is"),
        ):
            for inode in inodes:
                who = unlisted[inode][0]
                what = "what socket %d of pid %d (%s) is bound to" % (inode, who.pid, who.command)
                self.gaps.append(Gap(Evidence.SOCKETS, what, why, kind="unix", pid=who.pid))

    def _looked_again(self, table: Table) -> Table:
        """Return a table of Unix sockets whose stale files are still there, and probed where that is wished.

        A server that removed its file and bound anew while we looked has left us the old one.
        """
        states, kept = list(table["state"]), []
        with self.roots.files() as top:
            for row, path in enumerate(table["path"]):
                if table["id"][row] is None:
                    try:
                        info = top.info(path.lstrip("/"))
                    except OSError:
                        continue
                    if (info.dev, info.ino) != (table["dev"][row], table["ino"][row]):
                        continue
                    if self.look.probe and states[row] in ("stale", "unknown"):
                        states[row] = self._probed(path, states[row])
                kept.append(row)
        columns = {**table.columns, "state": states}
        rows = {name: [column[row] for row in kept] for name, column in columns.items()}
        return Table(table.kind, rows, table.namespace)

    def _probed(self, path: str, state: str) -> str:
        """Return what a connection that can never succeed says of a socket file."""
        try:
            return {"bound": "elsewhere", "nobody": "refused"}[self.kernel.probe_unix(path)]
        except OSError as error:
            what, why = "the probe of %s" % path, error.strerror or str(error)
            self.gaps.append(Gap(Evidence.SOCKETS, what, why, kind="unix"))
            return state

    # ------------------------------------------------------------- the result

    def _snapshots(self, spots: Sequence[_Spot], scanned: processes.Scanned, ask_about: Ask) -> List[Snapshot]:
        uids, gids = _ids([table for spot in spots for table in spot.gathered.tables.values()], scanned)
        names, groups = users.read_users(uids), users.read_groups(gids)
        members, strangers = users.read_members(self.policy.groups), users.read_strangers(self.policy.people)
        covered = frozenset(
            spot.gathered.namespace for spot in spots if not set(IPC_KINDS).isdisjoint(spot.gathered.kinds)
        )
        facts_of_host = self._facts(spots[0].gathered, scanned) if self.look.host else None
        unit_starts = self._unit_starts(scanned) if self.look.units else {}
        snapshots: List[Snapshot] = []
        for spot in spots:
            here = spot.gathered
            shm = here.shm_mount
            one = Snapshot(
                host=self.machine,
                now=self.now,
                uptime=self.uptime,
                seconds=0.0,
                privileged=fs.is_root(),
                namespace=here.namespace,
                kinds=here.kinds,
                tables=here.tables,
                limits=here.limits,
                processes=scanned.seen_from(here.namespace, shm.dev if shm is not None else None),
                semaphores={},
                shm_mount=shm,
                mqueue_mounted=here.mqueue_mounted,
                users=names,
                groups=groups,
                members=members,
                gaps=(*here.gaps, *self.gaps),
                strangers=strangers,
                place=_place(spot, scanned),
                network=here.sockets.network if here.sockets is not None else None,
                facts=facts_of_host if spot.entry is None else None,
                covered=covered,
                tuning=self.tuning if spot.entry is None else None,
                unit_starts=unit_starts,
                counted=here.counted,
            )
            snapshots.append(self._with_semaphores(one, spot, ask_about))
        taken = time.monotonic() - self.began
        return [one._replace(seconds=taken) for one in snapshots]

    def _with_semaphores(self, snapshot: Snapshot, spot: _Spot, ask_about: Ask) -> Snapshot:
        table = snapshot.tables.get("sem")
        if table is None:
            return snapshot
        sets = [(table["id"][row], table["nsems"][row]) for row in ask_about(snapshot)]
        if not sets:
            return snapshot
        gaps: Sequence[Gap] = ()
        semaphores: Dict[int, Semaphores] = {}
        gone: Iterable[int] = ()
        if spot.entry is None:
            semaphores, gone, gaps = ask(self.kernel, sets, lambda: time.monotonic() > self.limit)
        else:
            from .visit import EntryError

            try:
                semaphores, gone, gaps = self._visit().semaphores(spot.entry, sets, self.limit)
            except EntryError as error:
                gaps = [Gap(Evidence.SEMAPHORES, "semaphores of sets", error.why, kind="sem")]
        tables = {**snapshot.tables, "sem": _without(table, frozenset(gone))}
        return snapshot._replace(tables=tables, semaphores=semaphores, gaps=(*snapshot.gaps, *gaps))

    def _unit_starts(self, scanned: processes.Scanned) -> Dict[str, float]:
        from . import units as of_systemd

        units = {process.unit for process in scanned.processes.by_pid.values() if process.unit is not None}
        with self.roots.files() as top:
            return of_systemd.read_unit_starts(top, units)

    def _settings(self, own: Gathered) -> None:
        """Read how the host is set up, and tell units where logind would take a user's objects away."""
        from . import facts

        with self.roots.files() as top:
            self.facts, missing = facts.read_facts(self.roots.proc, top)
        self.gaps += missing
        remove = self.facts.remove_ipc
        if remove is not None and remove.on:
            uids = {uid for kind in REMOVABLE_KINDS if own.has(kind) for uid in own.tables[kind]["uid"]}
            if any(uid > remove.system_uid_max for uid in uids):
                self.look = self.look._replace(units=True)

    def _facts(self, own: Gathered, scanned: processes.Scanned) -> Facts:
        from . import systemd

        with self.roots.files() as top:
            table = own.tables.get("fifo")
            quiet = self.now - self.policy["audit", "idle_age"]
            if table is not None and any(
                ("fifo", (dev, ino)) not in scanned.processes.ends and max(mtime, ctime) <= quiet
                for dev, ino, mtime, ctime in zip(table["dev"], table["ino"], table["mtime"], table["ctime"])
            ):
                declared, missing = systemd.read_declared_fifos(top)
                self.gaps += missing
                self.facts = self.facts._replace(declared_fifos=declared)
        return self.facts


def _place(spot: _Spot, scanned: processes.Scanned) -> Place:
    """Return where a snapshot was taken, named by what runs there."""
    entry, here = spot.entry, spot.gathered
    if entry is None:
        return Place(here.namespace)
    by_pid = scanned.processes.by_pid
    them = [process for process in by_pid.values() if process.ipc == entry.ipc and process.net == entry.net]
    container = next((process.container for process in them if process.container), None)
    if container is not None:
        name = "container %s" % container
    elif them:
        unit = next((process.unit for process in them if process.unit), None)
        name = "unit %s" % unit if unit else "pid %d (%s)" % (them[0].pid, them[0].command)
    elif entry.path is not None:
        name = "the namespace at %s" % entry.path
    else:
        name = "pid %d" % entry.pids[0]
    pid = them[0].pid if them else (entry.pids[0] if entry.pids else None)
    return Place(here.namespace, entry.mnt, entry.net, name, pid, other=True)


def _wanted(look: Look, policy: Policy, gathered: Sequence[Gathered]) -> processes.Wanted:
    """Return what is worth reading of each process, given what exists."""
    known: Dict[Tuple[int, int], str] = {}
    shm_devs: Set[int] = set()
    for one in gathered:
        visible = sum(sum(table["blocks"]) for table in one.known_files if "blocks" in table)
        count = sum(len(table) for table in one.known_files if table.kind in FILE_KINDS)
        if one.shm_mount is not None and (count or one.shm_mount.used > visible):
            shm_devs.add(one.shm_mount.dev)
        for table in one.known_files:
            known.update({(dev, ino): path for dev, ino, path in zip(table["dev"], table["ino"], table["path"])})
    fifos: Dict[Tuple[int, int], str] = {}
    for one in gathered:
        if "fifo" in one.tables:
            table = one.tables["fifo"]
            fifos.update({(dev, ino): path for dev, ino, path in zip(table["dev"], table["ino"], table["path"])})
    names = policy["scan", "unreadable_ok"]
    blockable = any(one.has(kind) for one in gathered for kind in IPC_KINDS if kind != "shm")
    return processes.Wanted(
        ipc=frozenset(one.namespace for one in gathered),
        shm_ids=any(one.has("shm") and any(one.tables["shm"]["nattch"]) for one in gathered),
        shm_devs=frozenset(shm_devs),
        mqueue_devs=frozenset(one.queue_dev for one in gathered if one.queue_dev is not None),
        known=known,
        fifos=fifos,
        pipes="pipe" in look.kinds,
        pipe_ends="pipe" in look.kinds and look.details,
        pipes_of_root=look.details or look.pipes_of_root,
        sockets=not set(look.kinds).isdisjoint(SOCKET_KINDS),
        queue_limits=any(one.has("posix-mq") for one in gathered),
        threads=blockable or bool(fifos) or ("pipe" in look.kinds and look.details),
        spaces=look.host or look.everywhere or "unix" in look.kinds,
        units=look.units or look.everywhere or policy.uses_units,
        unreadable_ok=frozenset(names) | users.read_uids(names),
    )


def _pipe_table(scanned: processes.Scanned) -> Table:
    """Return the pipes that processes have open, as far as their size could be asked or not."""
    pipes = sorted(scanned.pipes.items())
    return Table(
        "pipe",
        {
            "id": [ino for ino, _ in pipes],
            **{name: [getattr(pipe, name, None) for _, pipe in pipes] for name in ("uid", "gid", "capacity", "fill")},
        },
    )


def _merged(tables: Sequence[Table]) -> Optional[Table]:
    if len(tables) <= 1:
        return tables[0] if tables else None
    names = tables[0].columns
    return Table(tables[0].kind, {name: [one for table in tables for one in table[name]] for name in names})


def _fresh(table: Table, seen: Set[Tuple[int, int]]) -> Table:
    """Return the rows whose file is in no earlier place, and note them as seen."""
    files = list(zip(table["dev"], table["ino"]))
    rows = [row for row, file in enumerate(files) if file not in seen]
    seen.update(files)
    return Table(table.kind, {name: table.pick(name, rows) for name in table.columns}, table.namespace)


def _ids(tables: Iterable[Table], scanned: processes.Scanned) -> Tuple[Set[int], Set[int]]:
    uids: Set[int] = set(scanned.processes.signals)
    gids: Set[int] = set()
    for table in tables:
        for name, ids in (("uid", uids), ("cuid", uids), ("gid", gids), ("cgid", gids)):
            if name in table:
                ids.update(table[name])
    return uids - _NOBODY, gids - _NOBODY


_NOBODY: FrozenSet[Any] = frozenset((None,))


def _without(table: Table, gone: FrozenSet[int]) -> Table:
    """Return a table without the objects that were removed since it was read."""
    if not gone:
        return table
    kept = [row for row, one in enumerate(table["id"]) if one not in gone]
    return Table(table.kind, {name: table.pick(name, kept) for name in table.columns}, table.namespace)
