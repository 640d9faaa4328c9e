"""Rules about System V shared memory."""

from __future__ import annotations

from typing import Iterator

from ..model import SHM_DEST, FindingGroup
from ..verdicts import shm as verdict
from ..verdicts.case import DEAD, REUSED, Case
from .base import (
    large_and_idle,
    leaks,
    mode_rows,
    most_by,
    near_limit,
    near_slots,
    open_to_others,
    owners,
    percent,
    rule,
    single_uid,
    size,
    steady,
)

KIND = "shm"
LONG = 7 * 86400
SWAPPED_LEAST = 64 << 20
CHRONIC = 10
"""From so many abandoned segments on, made over more than LONG, they are a habit."""
_FORCED = "kernel.shm_rmid_forced"


@rule(
    id="SHM-001",
    topic="leak",
    title="Orphaned segment",
    kind=KIND,
    severity="medium",
    rationale="A segment outlives every process that used it. What a crashed program left stays in memory or"
    " swap until someone removes it, and counts against shmmni and shmall.",
    decides="Nobody has it attached (the kernel's own count), its creator and its last user are gone (a number"
    " that a younger process has got since counts as gone), no process of its owner or creator runs, and its"
    " newest attach, detach or change is older than orphan_age. If only unseen processes stand against that,"
    " the finding is a suspicion. High when all orphans together exceed orphans_of_memory.",
    remedy="Look at it with ipcops show, then remove it by id; a protected one is left to its own program.",
    source="ipc/shm.c (shm_try_destroy_orphaned), shmctl(2)",
)
def orphaned(case: Case) -> Iterator[FindingGroup]:
    """Yield segments that nobody will come back for."""
    rows = steady(case, KIND, verdict.candidates(case), ("nattch", "atime", "dtime", "ctime"))
    found = leaks(case, KIND, rows)
    if found is None:
        return
    table, memory = found.table, case.snapshot.host.memory
    total = sum(table.pick("size", found.rows))
    heavy = memory is not None and total > case.policy["audit", "orphans_of_memory"] * memory
    yield from found.groups(
        case,
        remedy=lambda row: "ipcrm -m %d" % table["id"][row],
        columns=("nattch", "cpid", "lpid", "size"),
        severity=lambda _: "high" if heavy else "medium",
    )


@rule(
    id="SHM-002",
    topic="leak",
    title="Removed segment still attached by others",
    kind=KIND,
    severity="low",
    rationale="A segment that was removed while attached has lost its key and lives on until the last detach."
    " Held by processes that did not make it, it is memory that nobody can find by key any more.",
    decides="The mode has SHM_DEST and somebody has it attached, and either its creator is gone and every process"
    " that has it runs as another uid, or it is at least idle_size large and was removed 7 days ago. Marking a"
    " segment at once after attaching it is a common and good idiom, and no finding. Medium above 1 % of memory.",
    remedy="Restart the processes named; the segment goes with the last of them.",
    source="shmctl(2), ipc/shm.c",
)
def destroyed_but_held(case: Case) -> Iterator[FindingGroup]:
    """Yield segments marked for destruction whose holders are strangers, or that stay for long."""
    table = case.table(KIND)
    rows = [row for row in mode_rows(table, SHM_DEST) if table and table["nattch"][row]]
    if table is None:
        return
    least, memory = case.policy["audit", "idle_size"], case.snapshot.host.memory or 0
    for row in rows:
        holders = case.snapshot.processes.attached.get(table["id"][row], ())
        creator = case.identity(table["cpid"][row], table["ctime"][row])
        strangers = bool(holders) and all(table["cuid"][row] not in process.uids for process in holders)
        stays = case.age(table["ctime"][row]) >= LONG and table["size"][row] >= least
        if not stays and not (strangers and creator in (DEAD, REUSED)):
            continue
        names = ", ".join("pid %d (%s)" % (one.pid, one.command) for one in holders[:3]) or "processes unseen"
        yield FindingGroup(
            severity="medium" if memory and table["size"][row] > memory / 100 else "low",
            confidence="strong",
            table=table,
            rows=[row],
            columns=("nattch", "cpid", "size"),
            evidence={"holders": ([one.pid for one in holders],)},
            fields={"who": [names]},
            reason="it was removed while attached, and {who} still hold its {size}",
            remedy="restart {who}",
        )


@rule(
    id="SHM-003",
    topic="exposure",
    title="Segment writable by everyone",
    kind=KIND,
    severity="high",
    rationale="Any user of the host can change the memory that other programs work on.",
    decides="Mode bit 0002, as the kernel has it. Critical when root owns it or processes of several users have"
    " it attached; medium in a container where all that runs acts as one uid.",
    remedy="Have the program create it with 0600 or 0660 (the flags of shmget), and restart it.",
    source="shmget(2), svipc(7)",
)
def writable(case: Case) -> Iterator[FindingGroup]:
    """Yield segments with the write bit for others."""
    table = case.table(KIND)
    rows = mode_rows(table, 0o002)
    if table is None or not rows:
        return
    usual = "medium" if single_uid(case) else "high"
    uids = table["uid"]
    mixed = {
        segment
        for segment, holders in case.snapshot.processes.attached.items()
        if len({uid for process in holders for uid in process.uids}) > 1
    }
    grave = [row for row in rows if (uids[row] == 0 or table["id"][row] in mixed) and usual != "medium"]
    chosen = set(grave)
    for severity, members in (("critical", grave), (usual, [row for row in rows if row not in chosen])):
        yield open_to_others(table, members, severity, "write to it", "nattch")


@rule(
    id="SHM-004",
    topic="exposure",
    title="Segment readable by everyone",
    kind=KIND,
    severity="medium",
    rationale="Any user of the host can read what programs share, keys and passwords included.",
    decides="Mode bit 0004 without 0002. Info in a container where all that runs acts as one uid.",
    remedy="Have the program create it with 0600 or 0660 (the flags of shmget), and restart it.",
    source="shmget(2), svipc(7)",
)
def readable(case: Case) -> Iterator[FindingGroup]:
    """Yield segments with only the read bit for others."""
    table = case.table(KIND)
    rows = mode_rows(table, 0o004, 0o002)
    if rows:
        yield open_to_others(table, rows, "info" if single_uid(case) else "medium", "read it", "nattch")


@rule(
    id="SHM-005",
    topic="exposure",
    title="Segment attached by unexpected users",
    kind=KIND,
    severity="medium",
    rationale="Keys are small numbers that unrelated programs can choose alike (ftok(3) uses 8 bits of its own and"
    " a few of an inode); then two programs write over each other.",
    decides="Processes of at least two uids have it attached, root aside, and its creator's uid is none of them."
    " Always a suspicion: sharing may be meant.",
    remedy="Find out which program it belongs to, and give the other another key; 0600 prevents it.",
    source="ftok(3), svipc(7)",
)
def unexpected_users(case: Case) -> Iterator[FindingGroup]:
    """Yield segments whose users have nothing to do with the creator."""
    table = case.table(KIND)
    if table is None:
        return
    where = {segment: row for row, segment in enumerate(table["id"])}
    for segment, holders in case.snapshot.processes.attached.items():
        row = where.get(segment)
        if row is None:
            continue
        uids = {uid for process in holders for uid in process.uids} - {0}
        if len(uids) < 2 or table["cuid"][row] in uids | {0}:
            continue
        names = ", ".join(case.snapshot.user(uid) for uid in sorted(uids))
        yield FindingGroup(
            confidence="suspect",
            table=table,
            rows=[row],
            columns=("nattch", "cuid"),
            evidence={"uids": (sorted(uids),)},
            fields={"who": [names], "creator": [case.snapshot.user(table["cuid"][row])]},
            reason="{who} have it attached, but {creator} made it",
            remedy="compare the programs that have it (ipcops show shm:{id}); give one of them another key",
        )


@rule(
    id="SHM-006",
    topic="limit",
    title="Segments near kernel.shmmni",
    kind=KIND,
    severity="high",
    rationale='At the limit the next shmget(2) fails with ENOSPC, which reads "No space left on device".',
    decides="Segments in this namespace, those marked destroyed included, against kernel.shmmni: medium from"
    " near_limit, high from at_limit.",
    remedy="Remove orphans, or raise kernel.shmmni (at most 32768).",
    source="shmget(2), ipc/shm.c (newseg)",
)
def near_shmmni(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when the namespace is short of segment slots."""
    yield from near_slots(case, KIND, "kernel.shmmni", "segments")


@rule(
    id="SHM-007",
    topic="limit",
    title="Shared memory near kernel.shmall",
    kind=KIND,
    severity="high",
    rationale="At the limit the next shmget(2) fails with ENOSPC. Sizes count in full even if never touched.",
    decides="Pages of all segments, each rounded up, against kernel.shmall; only where that limit is below twice"
    " the memory: medium from near_limit, high from at_limit.",
    remedy="Remove orphans, or raise kernel.shmall (pages).",
    source="ipc/shm.c (newseg), Documentation/admin-guide/sysctl/kernel.rst",
)
def near_shmall(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when the namespace is short of pages."""
    table, limit, host = case.table(KIND), case.snapshot.limits.get("kernel.shmall"), case.snapshot.host
    if table is None or limit is None or host.memory is None or limit >= 2 * (host.memory // host.page_size):
        return
    each = [-(-length // host.page_size) for length in table["size"]]
    pages = sum(each)
    severity = near_limit(case, pages, limit)
    if severity:
        who = owners(case, table, each)
        yield FindingGroup(
            severity=severity,
            confidence="certain",
            evidence={"used": pages, "limit": limit, "owners": who},
            reason="segments take %d of %d pages (%s); most by %s"
            % (pages, limit, percent(pages, limit), most_by(case, who)),
            remedy="sysctl -w kernel.shmall=%d, after removing what is orphaned" % (2 * limit),
        )


@rule(
    id="SHM-008",
    topic="memory",
    title="Segment swapped out",
    kind=KIND,
    severity="medium",
    rationale="A database whose buffers lie in swap reads its own cache from disk.",
    decides="It is attached, and more than a quarter of its size and more than 64 MiB of it are in swap.",
    remedy="Huge pages or SHM_LOCK for it, or more memory for the host.",
    source="/proc/sysvipc/shm, column swap (ipc/shm.c)",
)
def swapped(case: Case) -> Iterator[FindingGroup]:
    """Yield attached segments of which much is in swap."""
    table = case.table(KIND)
    if table is None or "swap" not in table:
        return
    columns = zip(table["swap"], table["size"], table["nattch"])
    rows = [
        row
        for row, (swap, length, nattch) in enumerate(columns)
        if nattch and swap > SWAPPED_LEAST and swap * 4 > length
    ]
    if rows:
        yield FindingGroup(
            confidence="certain",
            table=table,
            rows=rows,
            columns=("size", "rss", "swap"),
            reason="{swap} of its {size} are in swap while it is in use",
            remedy="give its program huge pages or lock it (SHM_LOCK), or give the host more memory",
        )


@rule(
    id="SHM-010",
    topic="setting",
    title="No ceiling on shared memory",
    kind=KIND,
    severity="info",
    rationale="With the kernel's default any user can fill memory with segments that outlive the processes.",
    decides="kernel.shmall is at least four times the memory, processes of users other than root run, and no"
    " cgroup bounds user.slice. It is the kernel's default, so this is for information.",
    remedy="Bound the users' memory (MemoryMax= on user.slice) rather than kernel.shmall.",
    source="Documentation/admin-guide/sysctl/kernel.rst, systemd.resource-control(5)",
)
def no_ceiling(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding where nothing bounds what users can create."""
    limit, host = case.snapshot.limits.get("kernel.shmall"), case.snapshot.host
    if limit is None or host.memory is None or limit < 4 * (host.memory // host.page_size):
        return
    if host.user_memory_bounded or not set(case.snapshot.processes.users) - {0}:
        return
    yield FindingGroup(
        confidence="certain",
        evidence={"shmall": limit, "memory": host.memory},
        reason="kernel.shmall allows more than this host's %s of memory, and nothing else bounds what users"
        " other than root create" % size(host.memory),
        remedy="systemctl set-property user.slice MemoryMax=80%",
    )


@rule(
    id="SHM-011",
    topic="setting",
    title="shm_rmid_forced does not suit what runs here",
    kind=KIND,
    severity="high",
    rationale="With kernel.shm_rmid_forced a segment goes with its last user, though its program means to come back"
    " to it: databases lose their caches and fail to start. Without it what crashed programs leave stays for ever.",
    decides="kernel.shm_rmid_forced is 1, and a chosen profile asks for System V segments: high. It is 0, and ten or"
    " more segments that are certainly abandoned were made over more than a week: for information.",
    remedy="0 where segments are to last. 1 destroys at once every segment that nobody has attached and whose"
    " creator has ended: look at them first (ipcops list shm).",
    source="Documentation/admin-guide/sysctl/kernel.rst (shm_rmid_forced), ipc/shm.c (shm_try_destroy_orphaned)",
)
def forced_removal(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding where the setting and what runs here are at odds."""
    forced, tuning, table = case.snapshot.limits.get(_FORCED), case.snapshot.tuning, case.table(KIND)
    floors = [floor for floor in tuning.floors if floor.name.startswith("kernel.shm")] if tuning is not None else []
    if forced == 1 and floors:
        names = sorted({floor.profile for floor in floors})
        yield FindingGroup(
            confidence="certain",
            evidence={"value": forced, "profiles": names},
            reason="%s is 1, so segments go with their last user; %s keeps segments" % (_FORCED, ", ".join(names)),
            remedy="sysctl -w %s=0, and mend the file that sets it" % _FORCED,
        )
    if forced != 0 or table is None or len(table) < CHRONIC:
        return
    found = leaks(case, KIND, verdict.candidates(case))
    certain = [] if found is None else [
        row for row, one in zip(found.rows, found.verdicts) if one.word == "orphan" and one.confidence == "certain"
    ]  # fmt: skip
    made = [table["ctime"][row] for row in certain]
    if len(made) >= CHRONIC and max(made) - min(made) > LONG:
        yield FindingGroup(
            severity="info",
            confidence="certain",
            evidence={"value": forced, "orphans": len(made), "days": (max(made) - min(made)) // 86400},
            reason="%d abandoned segments were made over %d days: some program leaks them for good"
            % (len(made), (max(made) - min(made)) // 86400),
            remedy="mend that program; %s=1 would have the kernel remove such segments, but it destroys those that are"
            " there, at once, and is nothing for databases" % _FORCED,
        )


@rule(
    id="SHM-012",
    topic="idle",
    title="Large idle segment",
    kind=KIND,
    severity="medium",
    rationale="What fills machines is often no orphan: its owner is still there and has forgotten it.",
    decides="The verdict is idle, it is at least idle_size large, and unused for idle_age.",
    remedy="Ask the owner, who can remove it.",
    source="practice of clusters that write to the owner first",
)
def large_idle(case: Case) -> Iterator[FindingGroup]:
    """Yield segments worth a word to their owner."""
    table = case.table(KIND)
    if table is not None:
        user, uids, ids = case.snapshot.user, table["uid"], table["id"]
        yield from large_and_idle(case, KIND, lambda row: "ask %s; then ipcrm -m %d" % (user(uids[row]), ids[row]))


RULES = (
    orphaned,
    destroyed_but_held,
    writable,
    readable,
    unexpected_users,
    near_shmmni,
    near_shmall,
    swapped,
    no_ceiling,
    forced_removal,
    large_idle,
)
