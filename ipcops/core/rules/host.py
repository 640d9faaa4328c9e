"""Rules about the host itself: what its settings and its other tenants do to IPC."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ..model import (
    INITIAL_IPC_NAMESPACE,
    OVERFLOW_ID,
    REMOVABLE_KINDS,
    Evidence,
    FindingGroup,
    Process,
    RemoveIpc,
    Table,
)
from ..policy import idiom
from ..verdicts.case import Case, some
from .base import HOST, near_limit, percent, protection, rule

_DYNAMIC_UIDS = range(61184, 65520)
"""What DynamicUser= hands out (systemd.exec(5)); nobody logs in as one."""

_SCOPE = "kernel.yama.ptrace_scope"

_JOBS_OF_USERS = frozenset("cron.service crond.service cronie.service atd.service ssh.service sshd.service".split())
"""Units that start what users ask for, not services that run as a user."""


@rule(
    id="HOST-001",
    topic="setting",
    title="Logging out removes the IPC of a running service",
    kind=HOST,
    severity="critical",
    rationale="With RemoveIPC=yes, the default, systemd-logind removes the semaphores, queues, shared memory files"
    " and unattached segments of a user at the last logout, those in use as well. A database that runs as that user"
    " dies of it the next time somebody who became that user leaves.",
    decides="RemoveIPC is on, a user who can log in (a name, a uid above the system's, no lingering) owns such"
    " objects, and either a system service runs as that user (a systemd unit that ends in .service and starts no"
    " jobs of users) or a [protect] section covers one of the objects, podman's lock table aside: critical. Other"
    " users' objects go at logout as they are meant to: for information.",
    remedy="RemoveIPC=no in a file of /etc/systemd/logind.conf.d, or run the service as a system user.",
    source="logind.conf(5), systemd, src/shared/clean-ipc.c, PostgreSQL manual (systemd RemoveIPC)",
)
def removed_at_logout(case: Case) -> Iterator[FindingGroup]:
    """Yield users whose services would lose their objects, and one finding for all other users."""
    facts = case.snapshot.facts
    setting = facts.remove_ipc if facts is not None else None
    if setting is None or not setting.on:
        return
    others: List[Tuple[int, int]] = []
    for uid, counts in sorted(_at_risk(case, setting).items()):
        unit, guard = _service_of(case, uid), _guard_of(case, uid)
        if unit is None and guard is None:
            others.append((sum(counts.values()), uid))
            continue
        user = case.snapshot.user(uid)
        because = "%s runs as that user" % unit if unit else "[protect %s] covers them" % guard
        yield FindingGroup(
            confidence="strong",
            evidence={
                "uid": uid, "user": user, "objects": counts, "unit": unit, "protection": guard,
                "origin": setting.origin,
            },
            reason="RemoveIPC is on (%s): when %s logs out for the last time, systemd-logind removes what that user"
            " owns (%s), and %s" % (setting.origin, user, _counted(counts), because),
            remedy=_NO_REMOVE_IPC,
        )  # fmt: skip
    if others:
        others.sort(key=lambda one: (-one[0], one[1]))
        names = ", ".join("%s (%d)" % (case.snapshot.user(uid), count) for count, uid in others[:3])
        left = len(others) - 3
        more = " and of 1 more user" if left == 1 else " and of %d more users" % left if left > 0 else ""
        yield FindingGroup(
            severity="info",
            confidence="certain",
            evidence={"users": len(others), "objects": sum(count for count, _ in others), "origin": setting.origin},
            reason="RemoveIPC is on (%s): the objects of %s%s go when they log out for the last time"
            % (setting.origin, names, more),
            remedy="nothing, if that is meant; to keep them: %s" % _NO_REMOVE_IPC,
        )


_NO_REMOVE_IPC = (
    "mkdir -p /etc/systemd/logind.conf.d; printf '[Login]\\nRemoveIPC=no\\n' >/etc/systemd/logind.conf.d/ipc.conf;"
    " systemctl restart systemd-logind"
)


def _at_risk(case: Case, setting: RemoveIpc) -> Dict[int, Dict[str, int]]:
    """Return the users that logind cleans up after, and how many objects of each kind would go."""
    snapshot = case.snapshot
    found: Dict[int, Dict[str, int]] = {}
    mortal: Dict[int, bool] = {}
    for kind in REMOVABLE_KINDS:
        table = case.table(kind)
        if table is None:
            continue
        for row, uid in enumerate(table["uid"]):
            if uid not in mortal:
                name = snapshot.users.get(uid)
                system = uid <= setting.system_uid_max or uid in _DYNAMIC_UIDS or uid == OVERFLOW_ID
                mortal[uid] = not system and name is not None and name not in setting.lingering
            if mortal[uid] and _goes(table, row):
                counts = found.setdefault(uid, {})
                counts[kind] = counts.get(kind, 0) + 1
    return found


def _goes(table: Table, row: int) -> bool:
    """Whether logind removes such an object: attached segments stay (clean_sysvipc_shm)."""
    return table.kind != "shm" or not table["nattch"][row]


def _service_of(case: Case, uid: int) -> Optional[str]:
    """Return a system service that runs as a user, in our own IPC namespace."""
    for process in case.snapshot.processes.users.get(uid, ()):
        unit = process.unit or ""
        if (
            unit.endswith(".service")
            and not unit.startswith("user@")
            and unit not in _JOBS_OF_USERS
            and process.ipc in (0, case.snapshot.namespace)
        ):
            return unit
    return None


def _guard_of(case: Case, uid: int) -> Optional[str]:
    """Return the name of a section that protects an object of a user."""
    for kind in REMOVABLE_KINDS:
        table = case.table(kind)
        if table is None:
            continue
        seen: Set[object] = set()
        for row, one in enumerate(table["uid"]):
            name = table["path"][row] if "path" in table else table["key"][row]
            if one != uid or name in seen or not _goes(table, row):
                continue
            seen.add(name)  # sections tell objects of a user apart by name and key alone
            guard = None if "path" in table and idiom(kind, name) else protection(case, table, row)
            if guard is not None:
                return guard.name
    return None


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join("%d %s" % (count, kind) for kind, count in counts.items())


@rule(
    id="HOST-002",
    topic="setting",
    title="Every process may trace its user's others",
    kind=HOST,
    severity="low",
    rationale="Without Yama a program that was taken over reads the memory of all others of the same user: agents'"
    " keys, sessions, and what is in shared memory.",
    decides="kernel.yama.ptrace_scope is 0, or the kernel has no Yama.",
    remedy="sysctl -w kernel.yama.ptrace_scope=1; a debugger then starts what it traces, or runs as root.",
    source="Documentation/admin-guide/LSM/Yama.rst, CIS Benchmarks 1.5, STIG RHEL-09-213080",
)
def traceable(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding where ptrace(2) is not restricted."""
    facts, unread = case.snapshot.facts, case.snapshot.gaps_of(Evidence.SETTINGS)
    if facts is None or facts.ptrace_scope not in (0, None) or any(gap.what == _SCOPE for gap in unread):
        return
    absent = facts.ptrace_scope is None
    yield FindingGroup(
        confidence="certain",
        evidence={"ptrace_scope": facts.ptrace_scope},
        reason="the kernel has no Yama, so ptrace(2) is not restricted"
        if absent
        else "kernel.yama.ptrace_scope is 0, so ptrace(2) is not restricted",
        remedy="boot a kernel built with CONFIG_SECURITY_YAMA, with yama in its lsm= list"
        if absent
        else "sysctl -w kernel.yama.ptrace_scope=1, and the same in a file of /etc/sysctl.d",
    )


@rule(
    id="HOST-003",
    topic="exposure",
    title="Container in the host's IPC namespace",
    kind=HOST,
    severity="high",
    rationale="Its processes see, attach and remove the segments, sets and queues of the whole host as their uid"
    " lets them, and what they leak stays on the host.",
    decides="All processes of a container whose namespace could be seen are in the initial IPC namespace. One that is"
    " meant to be there, such as a monitoring agent, is accepted by exempt = HOST-003:container:ID (a glob).",
    remedy="Start it without --ipc=host; in Kubernetes without hostIPC: true.",
    source="ipc_namespaces(7), CIS Kubernetes Benchmark (hostIPC), OpenShift scc_limit_ipc_namespace",
)
def shared_by_container(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding for each container that shares the host's namespace."""
    if case.snapshot.facts is None:
        return
    inside: Dict[str, List[Process]] = {}
    for process in case.snapshot.processes.by_pid.values():
        if process.lives and process.container and process.ipc and not _is_machine(process.container):
            inside.setdefault(process.container, []).append(process)
    for container, processes in sorted(inside.items()):
        # What watches a container from outside, in its control group, is in the host's namespace by nature.
        if any(process.ipc != INITIAL_IPC_NAMESPACE for process in processes):
            continue
        identity = container.split(" ", 1)[-1]
        if case.policy.exempts("HOST-003", "container", (identity, container)):
            continue
        yield FindingGroup(
            confidence="certain",
            evidence={"container": container, "pids": [process.pid for process in processes[:10]]},
            reason="container %s is in the host's IPC namespace with %s" % (container, some(processes)),
            remedy="start it without --ipc=host (hostIPC: true in Kubernetes); or accept it in the policy, [audit]"
            " exempt = HOST-003:container:%s" % identity,
        )


def _is_machine(container: str) -> bool:
    """Whether it is a virtual machine that systemd-machined knows: its emulator is a process of the host."""
    return container.startswith("machine qemu")


@rule(
    id="HOST-004",
    topic="blind",
    title="IPC namespaces not looked into",
    kind=HOST,
    severity="info",
    rationale="Every container usually has an IPC namespace of its own, with its own objects, limits and leaks.",
    decides="Processes are in IPC namespaces that this audit did not enter.",
    remedy="ipcops audit --all-namespaces, as root on the host.",
    source="ipc_namespaces(7)",
)
def not_covered(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when namespaces were left out."""
    snapshot = case.snapshot
    if snapshot.facts is None:
        return
    first: Dict[int, Process] = {}
    for pid in sorted(snapshot.processes.by_pid):
        process = snapshot.processes.by_pid[pid]
        if process.lives and process.ipc and process.ipc not in snapshot.covered:
            first.setdefault(process.ipc, process)
    if first:
        count = len(first)
        yield FindingGroup(
            confidence="certain",
            evidence={"namespaces": sorted(first)[:10], "count": count},
            reason="%s not looked into, with %s"
            % ("1 IPC namespace was" if count == 1 else "%d IPC namespaces were" % count, _named(list(first.values()))),
            remedy="ipcops audit --all-namespaces",
        )


def _named(processes: Sequence[Process]) -> str:
    words = [
        "pid %d (%s)" % (process.pid, process.command) + (" of %s" % process.container if process.container else "")
        for process in processes[:3]
    ]
    return ", ".join(words) + (" and others" if len(processes) > 3 else "")


@rule(
    id="HOST-005",
    topic="blind",
    title="Object ids come back sooner",
    kind=HOST,
    severity="info",
    rationale="With ipcmni_extend an id has 24 bits of slot and only 7 of sequence, so a removed object's id soon"
    " belongs to another one. A script that keeps ids and removes by them later may hit the wrong object.",
    decides="ipcmni_extend is on the kernel's command line.",
    remedy="Compare id and creation time before removing anything by a saved id, as ipcops does.",
    source="Documentation/admin-guide/kernel-parameters.txt (ipcmni_extend), ipc/util.h",
)
def short_sequence(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding where the kernel was told to extend the limit of objects."""
    facts = case.snapshot.facts
    if facts is not None and facts.ipcmni_extended:
        yield FindingGroup(
            confidence="certain",
            reason="the kernel runs with ipcmni_extend, so the id of a removed object is used again after 128 others"
            " in its slot",
            remedy="have scripts compare id and creation time (ctime) before they remove anything",
        )


@rule(
    id="SIG-001",
    topic="limit",
    title="Queued signals near RLIMIT_SIGPENDING",
    kind=HOST,
    severity="high",
    rationale="At the limit sigqueue(3) and timer_create(2) fail with EAGAIN for all processes of a user, because one"
    " of them does not take its signals or makes too many timers. Standard signals still arrive.",
    decides="The signals that wait for the processes of a real uid, timers included (SigQ, one count for all of"
    " them), against the least limit of these processes: medium from near_limit, high from at_limit.",
    remedy="Find who does not take its signals; LimitSIGPENDING= of its unit gives more.",
    source="proc_pid_status(5) (SigQ), getrlimit(2), sigqueue(3), timer_create(2), kernel/signal.c",
)
def signals(case: Case) -> Iterator[FindingGroup]:
    """Yield users that are short of queued signals."""
    snapshot = case.snapshot
    if snapshot.facts is None:
        return
    for uid, (queued, limit) in sorted(snapshot.processes.signals.items()):
        severity = near_limit(case, queued, limit)
        if severity and (uid != OVERFLOW_ID or snapshot.host.all_ids_mapped):
            yield FindingGroup(
                severity=severity,
                confidence="certain",
                evidence={"uid": uid, "user": snapshot.users.get(uid), "queued": queued, "limit": limit},
                reason="%d signals and timers of %s are queued, of %d (%s) that RLIMIT_SIGPENDING allows a process of"
                " that user; at the limit sigqueue(3) and timer_create(2) fail with EAGAIN"
                % (queued, snapshot.user(uid), limit, percent(queued, limit)),
                remedy="grep -lE '^S(ig|hd)Pnd:.*[1-9a-f]' /proc/[0-9]*/status shows who does not take its signals;"
                " LimitSIGPENDING=%d in its unit gives more" % (2 * limit),
            )


RULES = (removed_at_logout, traceable, shared_by_container, not_covered, short_sequence, signals)
