"""Rules about Unix sockets."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Sequence, Tuple

from ..known.public_sockets import why_public
from ..model import FindingGroup, Process, Table
from ..verdicts.case import Case, some
from .base import leaks, mode_rows, on_file, rule, single_uid, steady

KIND = "unix"

_AUTOBIND = r"@[0-9a-f]{5}\Z"
"""A name that the kernel chose itself (unix(7), autobind)."""


@rule(
    id="UNIX-001",
    topic="leak",
    title="Stale socket file",
    kind=KIND,
    severity="low",
    rationale="A socket file outlives its program. Clients find it and fail with ECONNREFUSED, and a program that"
    " does not remove it first cannot start again: bind(2) fails with EADDRINUSE.",
    decides="No socket of any network namespace is bound to the file, matched by device and inode (never by path:"
    " the kernel keeps the one given to bind, which may be relative or renamed since), nor does a connection live"
    " on that was accepted through it. Strong where the file system has numbers of its own, a suspicion where a"
    " few processes could not be looked into; inside a PID namespace it is said only after a probe (--probe).",
    remedy="Remove the file; RuntimeDirectory= of a systemd unit does it at every stop.",
    source="unix(7), sock_diag(7), net/unix/diag.c (UNIX_DIAG_VFS)",
)
def stale(case: Case) -> Iterator[FindingGroup]:
    """Yield socket files that nobody is bound to."""
    table = case.table(KIND)
    if table is None:
        return
    rows = [row for row, state in enumerate(table["state"]) if state in ("stale", "refused")]
    found = leaks(case, KIND, steady(case, KIND, rows, ("state", "ctime")))
    if found is not None:
        yield from found.groups(
            case,
            remedy=lambda row: on_file("rm", "", table, row),
            columns=("mode", "dev", "ino"),
            severity=lambda _: "low",
        )


@rule(
    id="UNIX-003",
    topic="exposure",
    title="World-writable socket of a root daemon",
    kind=KIND,
    severity="high",
    rationale="To connect to a socket takes write permission on its file. Who has it talks to a program that runs"
    " as root, and a flaw there, or a command too many, is root for everybody.",
    decides="Mode bit 0002, every directory on the path lets everybody through, something takes connections or"
    " datagrams there, and a process with uid 0 holds it. Not the sockets that are public on purpose, such as the"
    " journal's or the system bus. Low and a suspicion where only systemd holds it and starts the service when"
    " somebody connects: as whom that runs is not known yet. Medium in a container where all acts as one uid.",
    remedy="SocketMode=0660 and SocketGroup= in the socket unit, or the program's own setting; then restart it.",
    source="unix(7), systemd.socket(5)",
)
def writable(case: Case) -> Iterator[FindingGroup]:
    """Yield sockets of root's programs whose file lets everybody connect."""
    table = case.table(KIND)
    if table is None:
        return
    rows = [row for row in mode_rows(table, 0o002) if table["open_path"][row] and _takes(table, row)]
    rows = [row for row in rows if not why_public(table["path"][row])]
    usual = "medium" if single_uid(case) else "high"
    for (severity, confidence), members in _graded(case, table, rows, usual).items():
        who = [some(_of_root(case, table, row)) for row in members]
        yield FindingGroup(
            severity=severity,
            confidence=confidence,
            table=table,
            rows=members,
            columns=("mode", "type", "state"),
            fields={"who": who, "fix": [on_file("chmod o-w", "", table, row) for row in members]},
            reason="its mode {mode} lets every user connect to {who}, which runs as root" + _LATER[confidence],
            remedy="{fix}, and SocketMode=0660 in its socket unit or the like in its own settings",
        )


@rule(
    id="UNIX-004",
    topic="exposure",
    title="Abstract socket of a root daemon",
    kind=KIND,
    severity="medium",
    rationale="An abstract name has no file, so no permissions: everybody in the network namespace connects, every"
    " container on the host's network included. containerd's shims were taken over so (CVE-2020-15257).",
    decides="The name begins with @, something listens or takes datagrams there, and a process with uid 0 holds it."
    " Not names that the kernel chose itself (5 hexadecimal digits), and not those of programs that are known to"
    " check who connects, such as X11, D-Bus or multipathd. Strong, not certain: the program may check, too. Low"
    " and a suspicion where only systemd holds it and starts the service when somebody connects.",
    remedy="Have the program use a path, or check its peer with SO_PEERCRED; give containers a network of their own.",
    source="unix(7), CVE-2020-15257",
)
def abstract(case: Case) -> Iterator[FindingGroup]:
    """Yield abstract sockets of root's programs."""
    table = case.table(KIND)
    if table is None:
        return
    rows = [row for row, path in enumerate(table["path"]) if _exposed(table, row, path)]
    shared = _containers(case, table)
    for (severity, confidence), members in _graded(case, table, rows, "medium").items():
        yield FindingGroup(
            severity=severity,
            confidence=confidence,
            table=table,
            rows=members,
            columns=("type", "state"),
            evidence={"containers": shared[:10]},
            fields={
                "who": [some(_of_root(case, table, row)) for row in members],
                "among": [_among(shared)] * len(members),
            },
            reason="every process in this network namespace{among} can connect to {who}, which runs as root"
            + _LATER[confidence]
            + "; an abstract name has no permissions",
            remedy="see whether it checks who connects (SO_PEERCRED), else have it use a path; keep containers off"
            " this network namespace",
        )


_LATER = {"strong": "", "suspect": " and starts a service then; as whom it runs is in its unit (User=)"}


def _takes(table: Table, row: int) -> bool:
    """Whether strangers can connect or send there: a datagram socket with a peer takes from that alone."""
    if table["id"][row] is None:
        return False
    state = table["state"][row]
    return bool(state == "listen" or (table["type"][row] == "dgram" and state != "established"))


def _exposed(table: Table, row: int, path: str) -> bool:
    return path.startswith("@") and _takes(table, row) and not re.match(_AUTOBIND, path) and not why_public(path)


def _of_root(case: Case, table: Table, row: int) -> Tuple[Process, ...]:
    holders = case.snapshot.processes.sockets.get(table["id"][row], ())
    services = tuple(process for process in holders if 0 in process.uids and not _activates(process))
    return services or tuple(holders)


def _activates(process: Process) -> bool:
    """Whether it is systemd as pid 1, which holds the sockets of services (systemd.socket(5))."""
    return process.command in ("systemd", "init") and 1 in (process.pid, *process.inner_pids[-1:])


def _graded(case: Case, table: Table, rows: Sequence[int], usual: str) -> Dict[Tuple[str, str], List[int]]:
    """Return the rows that root holds by severity and confidence.

    systemd holds the socket of a service as well: then the service's own user counts, and
    while it was not started yet nobody knows that.
    """
    graded: Dict[Tuple[str, str], List[int]] = {}
    for row in rows:
        holders = case.snapshot.processes.sockets.get(table["id"][row], ())
        services = [process for process in holders if not _activates(process)]
        if not services and holders:
            graded.setdefault(("low", "suspect"), []).append(row)
        elif any(0 in process.uids for process in services):
            graded.setdefault((usual, "strong"), []).append(row)
    return graded


def _containers(case: Case, table: Table) -> List[str]:
    """Return the containers in the network namespace of the table, as far as processes tell theirs."""
    inside = {
        process.container
        for process in case.snapshot.processes.by_pid.values()
        if process.lives and process.container and table.namespace and process.net == table.namespace
    }
    return sorted(name for name in inside if case.snapshot.place.name != "container %s" % name)


def _among(containers: Sequence[str]) -> str:
    if not containers:
        return ""
    named = [*containers[:2], *(["%d more" % (len(containers) - 2)] if len(containers) > 2 else [])]
    return ", those of %s too," % " and ".join([", ".join(named[:-1]), named[-1]] if named[1:] else named)


RULES = (stale, writable, abstract)
