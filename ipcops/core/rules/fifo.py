"""Rules about FIFOs."""

from __future__ import annotations

from typing import FrozenSet, Iterator, List

from ..model import Evidence, FindingGroup, Table
from ..policy import idiom
from ..verdicts import judge
from ..verdicts.case import AGELESS, Case
from ..verdicts.fifo import newest_use
from .base import mode_rows, on_file, rule, single_uid, steady

KIND = "fifo"


@rule(
    id="FIFO-002",
    topic="idle",
    title="Stale FIFO file",
    kind=KIND,
    severity="low",
    rationale="A FIFO that nobody uses any more is a trap: the next program that opens it waits for ever.",
    decides="No process has it open and no thread waits to open it (every one was looked into), its last read, write"
    " or change is older than idle_age, it has one name only, and no systemd unit and no tmpfiles.d file makes it."
    " A suspicion where its times lie before the boot and the host has been up for idle_age, or where the units"
    " could not be read.",
    remedy="Ask its owner, then remove it; a program that still needs it makes it anew.",
    source="fifo(7), systemd.socket(5) (ListenFIFO=), tmpfiles.d(5)",
)
def stale(case: Case) -> Iterator[FindingGroup]:
    """Yield FIFOs that nobody seems to need."""
    table = case.table(KIND)
    if table is None:
        return
    rows = [row for row in range(len(table)) if _forgotten(case, table, row)]
    rows = [row for row in steady(case, KIND, rows, ("atime", "mtime", "ctime")) if not _was_open(case, table, row)]
    verdicts = dict(zip(rows, judge(case, KIND, rows)))
    rows = [row for row, verdict in verdicts.items() if verdict.word == "idle"]
    facts = case.snapshot.facts
    blind = facts is None or any(gap.kind == KIND for gap in case.snapshot.gaps_of(Evidence.SETTINGS, KIND))
    unsure = {row for row in rows if blind or case.age(newest_use(table, row)) == AGELESS}
    for confidence, members in (
        ("strong", [row for row in rows if row not in unsure]),
        ("suspect", [row for row in rows if row in unsure]),
    ):
        yield FindingGroup(
            confidence=confidence,
            table=table,
            rows=members,
            columns=("mode",),
            fields={
                "why": ["; ".join(verdicts[row].reasons) for row in members],
                "fix": [
                    "ask %s; then %s" % (case.snapshot.user(table["uid"][row]), on_file("rm", "", table, row))
                    for row in members
                ],
            },
            reason="{why}" + ("; whether a systemd unit makes it could not be seen" if blind else ""),
            remedy="{fix}",
        )


def _forgotten(case: Case, table: Table, row: int) -> bool:
    """Whether a FIFO is old, has one name, and nothing is known that makes it or wants it as it is."""
    path, wanted = table["path"][row], case.policy["audit", "idle_age"]
    facts = case.snapshot.facts
    if table["nlink"][row] != 1 or idiom(KIND, path) or (facts is not None and _declared(path, facts.declared_fifos)):
        return False
    age = case.age(newest_use(table, row))
    return bool((case.snapshot.uptime if age == AGELESS else age) >= wanted)


def _declared(path: str, declared: FrozenSet[str]) -> bool:
    return path in declared or "/var" + path in declared  # /var/run is a link to /run


def _was_open(case: Case, table: Table, row: int) -> bool:
    key = (KIND, (table["dev"][row], table["ino"][row]))
    return any(key in earlier.processes.ends or key in earlier.processes.blocked for earlier in case.earlier)


@rule(
    id="FIFO-003",
    topic="exposure",
    title="FIFO open to everyone, or to a trap",
    kind=KIND,
    severity="medium",
    rationale="Whoever may write to a FIFO can feed its reader; whoever may read takes data away from it. And in a"
    " directory like /tmp a user can lay a FIFO where a program of somebody else is about to create its file, and"
    " so read what that program writes; fs.protected_fifos forbids that.",
    decides="Mode bit 0002, and every directory on the path lets everybody through; low in a container where all"
    " that runs acts as one uid. Apart from that: a FIFO of a user other than root lies in a sticky directory that"
    " everybody may write to, while fs.protected_fifos is 0, as the kernel has it by default.",
    remedy="chmod o-w FIFO; sysctl -w fs.protected_fifos=1",
    source="fifo(7), fs/namei.c (may_create_in_sticky), Documentation/admin-guide/sysctl/fs.rst, ANSSI-BP-028",
)
def open_to_all(case: Case) -> Iterator[FindingGroup]:
    """Yield FIFOs that others may write to, and one finding where FIFOs can be laid as traps."""
    table = case.table(KIND)
    if table is None:
        return
    rows = [row for row in mode_rows(table, 0o002) if table["open_path"][row]]
    yield FindingGroup(
        severity="low" if single_uid(case) else "medium",
        confidence="certain",
        table=table,
        rows=rows,
        columns=("mode",),
        fields={"fix": [on_file("chmod o-w", "", table, row) for row in rows]},
        reason="its mode {mode} lets every user write to it",
        remedy="{fix}, and have its program make it with mode 0600 or 0660",
    )
    if case.snapshot.limits.get("fs.protected_fifos") == 0:
        yield from _unprotected(table)


def _unprotected(table: Table) -> Iterator[FindingGroup]:
    # What belongs to the owner of the directory, who is root, the setting lets through, and rightly so.
    laid: List[int] = [row for row, sticky in enumerate(table["sticky"]) if sticky and table["uid"][row] != 0]
    if laid:
        paths = sorted(table["path"][row] for row in laid)
        names = ", ".join(paths[:3]) + (" and %d more" % (len(paths) - 3) if len(paths) > 3 else "")
        yield FindingGroup(
            confidence="certain",
            evidence={"protected_fifos": 0, "fifos": paths[:10], "count": len(paths)},
            reason="fs.protected_fifos is 0, so a program that creates its file where users laid %s writes into it"
            % names,
            remedy="sysctl -w fs.protected_fifos=1, and the same in a file of /etc/sysctl.d",
        )


RULES = (stale, open_to_all)
