"""Rules about network listeners."""

from __future__ import annotations

from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from ..known.services import Match, asked_backlog, usually_clear
from ..model import FindingGroup, Process, Table
from ..tuples import NamedTuple
from ..verdicts.case import Case, duration, some
from ..verdicts.sockets import overflows
from .base import rule

KIND = "inet"
SOMAXCONN = 4096
"""What net.core.somaxconn is by default since Linux 5.4 (include/linux/socket.h)."""
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # we look for it, we do not bind to it


class Grown(NamedTuple):
    """By how much the counters of refused connections grew between samples, and in how many seconds."""

    overflows: int
    drops: int
    seconds: float


def growth(case: Case) -> Optional[Grown]:
    """Return how many connections were refused since the first sample of this network namespace, if that is known."""
    now = case.snapshot.network
    for earlier in case.earlier:
        before = earlier.network
        if now is None or before is None or before.namespace != now.namespace:
            continue
        overflowed = _more(before.listen_overflows, now.listen_overflows)
        dropped = _more(before.listen_drops, now.listen_drops)
        if overflowed is not None or dropped is not None:
            return Grown(overflowed or 0, dropped or 0, case.snapshot.uptime - earlier.uptime)
    return None


def _more(before: Optional[int], now: Optional[int]) -> Optional[int]:
    return None if before is None or now is None else max(0, now - before)


def undecided(case: Case, *, named: bool) -> Optional[str]:
    """Return what the counters of refused connections say of one look alone: too little to decide.

    Where they are 0 that is worth a word only to who asked for the rule by name.
    """
    network = case.snapshot.network
    if network is None or network.listen_overflows is None or growth(case) is not None:
        return None
    overflowed, dropped = network.listen_overflows, network.listen_drops or 0
    if not (overflowed or dropped or named):
        return None
    words = (
        "connections to listeners were dropped %s" % _times(dropped)
        if dropped and not overflowed
        else "listen queues overflowed %s" % _times(overflowed)
    )
    return "%s since the network namespace began; one look can't tell whether that goes on" % words


@rule(
    id="NET-001",
    topic="backlog",
    title="Listen queues overflow",
    kind=KIND,
    severity="high",
    samples=2,
    undecided=undecided,
    rationale="A connection that finds the queue of its listener full is dropped without a word: the client waits,"
    " tries again and runs into its timeout, and the server logs nothing.",
    decides="The kernel's counters ListenOverflows (high) or, without those, ListenDrops (medium: for want of memory"
    " or of room for half-open connections, too) grew between two samples of the same network namespace. They"
    " count since the namespace began and one client counts many times, so one sample says nothing: with one there"
    " is no finding but a note.",
    remedy="Find the listener that does not accept (Recv-Q above Send-Q in ss -ltn); then a longer queue: the"
    " program's own backlog, and net.core.somaxconn not below it.",
    source="listen(2), /proc/net/netstat (TcpExt), net/ipv4/tcp_ipv4.c (tcp_v4_syn_recv_sock)",
)
def overflowing(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when connections were refused between the samples."""
    grown = growth(case)
    if grown is None or not (grown.overflows or grown.drops):
        return
    full = _full(case, case.table(KIND))
    who = ", ".join("%s of %s" % one for one in full[:3])
    counter, count = ("ListenOverflows", grown.overflows) if grown.overflows else ("ListenDrops", grown.drops)
    span = " in %s" % duration(grown.seconds) if grown.seconds >= 1 else ""
    yield FindingGroup(
        severity="high" if grown.overflows else "medium",
        confidence="certain",
        evidence={
            "overflows": grown.overflows, "drops": grown.drops, "seconds": round(grown.seconds, 1),
            "full": [path for path, _ in full],
        },
        reason="connections were refused %s%s (%s grew)%s"
        % (_times(count), span, counter, "; full is %s" % who if who else ""),
        remedy="see who does not accept (ss -ltn, Recv-Q above Send-Q); a longer queue needs the program's backlog"
        " and sysctl -w net.core.somaxconn=%d" % max(SOMAXCONN, 2 * (_somaxconn(case) or 0)),
    )  # fmt: skip


def _full(case: Case, table: Optional[Table]) -> List[Tuple[str, str]]:
    """Return the listeners that take no further connection, and who holds them."""
    if table is None:
        return []
    return [(table["path"][row], _who(case, table, row)) for row in _listeners(table) if overflows(table, row)]


@rule(
    id="NET-002",
    topic="backlog",
    title="Accept queue full",
    kind=KIND,
    severity="critical",
    samples=2,
    rationale="The program does not accept its connections; every further client waits and is dropped.",
    decides="A TCP listener has more connections waiting than its queue holds (listen(2) lets one more wait than the"
    " backlog says, so a queue that is just full is none). One look can catch a moment: with one sample it is a"
    " suspicion, with --samples 2 it must hold in each and is certain.",
    remedy="See why the program does not accept: it may be stopped, blocked or out of descriptors.",
    source="listen(2), sock_diag(7), include/net/sock.h (sk_acceptq_is_full)",
)
def full_now(case: Case) -> Iterator[FindingGroup]:
    """Yield listeners that take no further connection."""
    table = case.table(KIND)
    if table is None:
        return
    rows = [row for row in _listeners(table) if overflows(table, row)]
    for earlier in case.earlier:
        other = earlier.tables.get(KIND)
        before = set() if other is None else {other["id"][row] for row in _listeners(other) if overflows(other, row)}
        rows = [row for row in rows if table["id"][row] in before]
    hint = "" if case.earlier else " (one look; --samples 2 tells whether it stays)"
    yield FindingGroup(
        confidence="certain" if case.earlier else "suspect",
        table=table,
        rows=rows,
        columns=("rqueue", "wqueue"),
        fields={"who": [_who(case, table, row) for row in rows]},
        reason="{rqueue} connections wait in its queue of {wqueue} for {who} to accept them" + hint,
        remedy="see what {who} does instead (ipcops show inet:{path})",
    )


@rule(
    id="NET-003",
    topic="setting",
    title="Listen queue cut to net.core.somaxconn",
    kind=KIND,
    severity="medium",
    rationale="listen(2) cuts a backlog to net.core.somaxconn without a word, so the length that a program is"
    " configured for is never reached and connections are dropped under load.",
    decides="The queue of a TCP listener is just as long as net.core.somaxconn, and its program is known to ask for"
    " more unless configured otherwise. Of other programs that is not known: only for information, and only where"
    " the setting is below 4096, the kernel's default since 5.4. Never for a shorter queue.",
    remedy="Raise net.core.somaxconn, then restart the program: a queue keeps its length.",
    source="listen(2), Documentation/networking/ip-sysctl.rst, SAP Note 2382421",
)
def cut(case: Case) -> Iterator[FindingGroup]:
    """Yield listeners whose queue the kernel cut, or may have cut."""
    table, most = case.table(KIND), _somaxconn(case)
    if table is None or not most:
        return
    rows = [row for row in _listeners(table) if table["wqueue"][row] == most]
    asked = {row: asked_backlog(process.command for process in _holders(case, table, row)) for row in rows}
    known = [(row, backlog) for row, backlog in asked.items() if backlog is not None and backlog.asks > most]
    yield FindingGroup(
        confidence="strong",
        table=table,
        rows=[row for row, _ in known],
        columns=("wqueue",),
        evidence={"somaxconn": most, "asks": tuple(backlog.asks for _, backlog in known)},
        fields={
            "who": [_who(case, table, row) for row, _ in known],
            "asks": [str(backlog.asks) for _, backlog in known],
            "source": [backlog.source for _, backlog in known],
        },
        reason="its queue holds {wqueue} connections, all that net.core.somaxconn allows; {who} asks for {asks}"
        " unless configured otherwise ({source})",
        remedy="sysctl -w net.core.somaxconn=%d, then restart {who}" % SOMAXCONN,
    )
    others = [row for row, backlog in asked.items() if backlog is None]
    if most < SOMAXCONN:
        yield FindingGroup(
            severity="info",
            confidence="suspect",
            table=table,
            rows=others,
            columns=("wqueue",),
            evidence={"somaxconn": most},
            fields={"who": [_who(case, table, row) for row in others]},
            reason="its queue holds {wqueue} connections, all that net.core.somaxconn allows, so {who} may have asked"
            " for more",
            remedy="sysctl -w net.core.somaxconn=%d, then restart {who}" % SOMAXCONN,
        )


@rule(
    id="NET-004",
    topic="exposure",
    title="Usually unencrypted service on every address",
    kind=KIND,
    severity="high",
    rationale="What listens on 0.0.0.0 or [::] is open to every network the host is in, and these services encrypt"
    " nothing unless they are told to; several do not even ask for a password.",
    decides="A TCP listener or a bound UDP socket on 0.0.0.0 or [::] whose port and program are both those of a"
    " service that is usually unencrypted. Port or program alone: medium and a suspicion. Low in a network namespace"
    " other than the host's own. Whether this one encrypts, or a firewall guards it, is not looked at.",
    remedy="Bind it to the loopback or an inner address, or turn its TLS on, or close the port in the firewall.",
    source="practice; the manuals of the services, as ipcops/core/known/services.py names them",
)
def in_clear(case: Case) -> Iterator[FindingGroup]:
    """Yield services that are usually unencrypted and open to every network."""
    table = case.table(KIND)
    if table is None:
        return
    graded: Dict[Tuple[str, str], List[Tuple[int, Match]]] = {}
    for row, address in enumerate(table["address"]):
        if address in _EVERYWHERE:
            programs = (process.command for process in _holders(case, table, row))
            match = usually_clear(table["protocol"][row], table["port"][row], programs)
            if match is not None:
                confidence = "strong" if match.sure else "suspect"
                severity = "low" if case.snapshot.place.other else "high" if match.sure else "medium"
                graded.setdefault((severity, confidence), []).append((row, match))
    for (severity, confidence), members in graded.items():
        rows = [row for row, _ in members]
        yield FindingGroup(
            severity=severity,
            confidence=confidence,
            table=table,
            rows=rows,
            columns=("protocol", "address", "port"),
            evidence={"service": tuple(match.service.name for _, match in members)},
            fields={
                "who": [_who(case, table, row) for row in rows],
                "what": [_looks_like(table, row, match) for row, match in members],
                "why": [match.service.why for _, match in members],
            },
            reason="{who} is open to every network on {path}; {what}, which is usually unencrypted: {why}",
            remedy="bind it to the loopback or an inner address, or turn its TLS on, or close {protocol} port {port}"
            " in the firewall",
        )


def _looks_like(table: Table, row: int, match: Match) -> str:
    if match.sure:
        return "this is %s" % match.service.name
    if table["port"][row] in match.service.ports:
        return "by its port this looks like %s" % match.service.name
    return "by its program this looks like %s" % match.service.name


def _listeners(table: Table) -> List[int]:
    return [row for row, state in enumerate(table["state"]) if state == "listen"]


def _holders(case: Case, table: Table, row: int) -> Sequence[Process]:
    return case.snapshot.processes.sockets.get(table["id"][row], ())


def _who(case: Case, table: Table, row: int) -> str:
    holders = _holders(case, table, row)
    return some(holders) if holders else "a program that could not be seen"


def _somaxconn(case: Case) -> Optional[int]:
    return case.snapshot.network.somaxconn if case.snapshot.network is not None else None


def _times(count: int) -> str:
    return "once" if count == 1 else "%d times" % count if count else "never"


RULES = (overflowing, full_now, cut, in_clear)
