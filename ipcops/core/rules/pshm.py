"""Rules about /dev/shm: POSIX shared memory, named semaphores, and the file system itself."""

from __future__ import annotations

from typing import Iterator, List, Tuple

from ..limits.manual import snippet
from ..limits.parameters import BY_NAME
from ..limits.plan import combined
from ..model import FindingGroup
from ..verdicts import devshm as verdict
from ..verdicts.case import Case
from .base import large_and_idle, leaks, mode_rows, on_file, percent, rule, shm_place, size, steady

KIND = "posix-shm"
KINDS = ("posix-shm", "posix-sem")
HIDDEN_SHARE = 0.05
_SIZE = "dev_shm.size"


@rule(
    id="PSHM-001",
    topic="leak",
    title="Leaked file in /dev/shm",
    kind=KIND,
    also=("posix-sem",),
    severity="medium",
    rationale="A file in /dev/shm is memory. What a killed program left stays there until the next boot, and a full"
    " /dev/shm kills other programs with SIGBUS.",
    decides="No process has the inode mapped or open (every process was looked into; matched by device and inode,"
    " never by name), its owner runs no process or the process whose number its name carries is gone, and its"
    " newest use is older than orphan_age. Certain only for names of a known family such as Python's psm_*; a"
    " file of any other name may be a cache. Processes that could not be looked into make it a suspicion."
    " Known good uses such as podman's lock table never fire. High when all together exceed leaks_of_shm.",
    remedy="Look at it with ipcops show, then remove the file.",
    source="shm_overview(7), CPython Lib/multiprocessing/shared_memory.py, sgl-project/sglang issue 30591",
)
def leaked(case: Case) -> Iterator[FindingGroup]:
    """Yield files that nobody will come back for."""
    mount = case.snapshot.shm_mount
    found = []
    for kind in KINDS:
        rows = steady(case, kind, verdict.candidates(case, kind), ("mtime", "ctime", "size"))
        found.append(leaks(case, kind, rows))
    total = sum(sum(one.table.pick("blocks", one.rows)) for one in found if one is not None)
    heavy = mount is not None and mount.size and total > case.policy["audit", "leaks_of_shm"] * mount.size
    for one in found:
        if one is not None:
            table = one.table
            yield from one.groups(
                case,
                remedy=lambda row, table=table: on_file("rm", shm_place(case), table, row),  # type: ignore[misc]
                columns=("size", "blocks", "ino"),
                severity=lambda _: "high" if heavy else "medium",
            )


@rule(
    id="PSHM-002",
    topic="memory",
    title="Unlinked memory still mapped",
    kind=KIND,
    severity="medium",
    rationale="A file that was removed while mapped keeps its memory, and ls shows nothing of it.",
    decides='Files of this mount with link count 0 (the proof; a name that ends in "(deleted)" is none) that'
    " processes hold take more than 5 % of the mount together.",
    remedy="Restart the processes named.",
    source="proc_pid_map_files(5), unlink(2)",
)
def hidden(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding when files without a name take much of the mount."""
    mount, files = case.snapshot.shm_mount, case.snapshot.processes.unlinked
    total = sum(one.blocks for one in files)
    if mount is None or not mount.size or total <= HIDDEN_SHARE * mount.size:
        return
    biggest = sorted(files, key=lambda one: -one.blocks)[:3]
    holders = ["pid %d (%s)" % (process.pid, process.command) for one in biggest for process in one.holders[:1]]
    yield FindingGroup(
        confidence="certain",
        evidence={
            "bytes": total,
            "files": len(files),
            "biggest": [{"ino": one.ino, "bytes": one.blocks, "pids": [p.pid for p in one.holders]} for one in biggest],
        },
        reason="%d removed file%s still hold%s %s (%s) of %s; the biggest in %s"
        % (
            len(files), "" if len(files) == 1 else "s", "s" if len(files) == 1 else "",
            size(total), percent(total, mount.size), mount.path, ", ".join(holders) or "processes unseen",
        ),
        remedy="restart %s" % (", ".join(holders) or "the processes that hold them"),
    )  # fmt: skip


@rule(
    id="PSHM-003",
    topic="limit",
    title="/dev/shm nearly full",
    kind=KIND,
    severity="high",
    rationale="Writing to a mapping past the limit kills the program with SIGBUS; no call returns ENOSPC first.",
    decides="Bytes or inodes in use, by statvfs: high from shm_full_high, critical from shm_full_critical.",
    remedy="Remove leaked files, or give the mount more: mount -o remount,size=… /dev/shm",
    source="tmpfs(5), statvfs(3)",
)
def nearly_full(case: Case) -> Iterator[FindingGroup]:
    """Yield a finding for bytes and one for inodes, where short."""
    mount = case.snapshot.shm_mount
    if mount is None:
        return
    high, critical = case.policy["audit", "shm_full_high"], case.policy["audit", "shm_full_critical"]
    counts: List[Tuple[str, int, int, str]] = [
        ("bytes", mount.used, mount.size, "%s of %s" % (size(mount.used), size(mount.size))),
        ("inodes", mount.files_used, mount.files, "%d of %d inodes" % (mount.files_used, mount.files)),
    ]
    for what, used, limit, words in counts:
        if limit and used >= high * limit:
            more = "size=%dM" % (2 * limit >> 20) if what == "bytes" else "nr_inodes=%d" % (2 * limit)
            yield FindingGroup(
                severity="critical" if used >= critical * limit else "high",
                confidence="certain",
                evidence={"what": what, "used": used, "limit": limit},
                reason="%s of %s are used (%s)" % (words, mount.path, percent(used, limit)),
                remedy="mount -o remount,%s %s, after removing what is leaked" % (more, mount.path),
            )


@rule(
    id="PSHM-004",
    topic="exposure",
    title="World-writable file in /dev/shm",
    kind=KIND,
    also=("posix-sem",),
    severity="high",
    rationale="Any user can change what programs share. The sticky bit of the directory keeps others from removing"
    " the file, not from writing into it.",
    decides="Mode bit 0002 of a regular file directly in /dev/shm.",
    remedy="chmod o-w FILE, and have the program create it with 0600 (shm_open, sem_open, umask).",
    source="shm_open(3), sem_open(3), CIS Benchmarks (world-writable files)",
)
def writable(case: Case) -> Iterator[FindingGroup]:
    """Yield files with the write bit for others."""
    for kind in KINDS:
        table = case.table(kind)
        rows = mode_rows(table, 0o002)
        if table is not None and rows:
            yield FindingGroup(
                kind=kind,
                confidence="certain",
                table=table,
                rows=rows,
                columns=("mode", "size", "blocks"),
                fields={"fix": [on_file("chmod o-w", shm_place(case), table, row) for row in rows]},
                reason="its mode {mode} lets every user write to it",
                remedy="{fix}",
            )


@rule(
    id="PSHM-006",
    topic="setting",
    title="/dev/shm mount options",
    kind=KIND,
    severity="medium",
    rationale="A world-writable file system that honours set-user-id bits and device nodes helps an attacker.",
    decides="nodev or nosuid missing, or its mode is not 1777: medium. noexec missing: low, since some programs"
    " (Chrome's JIT, ROCm) map executable memory there and systemd mounts it without.",
    remedy="mount -o remount,nodev,nosuid /dev/shm, and the same in /etc/fstab.",
    source="CIS Benchmarks 1.1.2.2, STIG RHEL-09-231110, RHEL-09-231115 and RHEL-09-231120, systemd PR 17238",
)
def mount_options(case: Case) -> Iterator[FindingGroup]:
    """Yield what is missing from the mount, the strict and the debatable apart."""
    mount = case.snapshot.shm_mount
    if mount is None or mount.fstype is None:
        return
    missing = [option for option in ("nodev", "nosuid") if option not in mount.options]
    evidence = {"options": sorted(mount.options), "mode": "%04o" % mount.mode}
    if missing:
        yield FindingGroup(
            confidence="certain",
            evidence=evidence,
            reason="%s is mounted without %s" % (mount.path, " and ".join(missing)),
            remedy="mount -o remount,%s %s, and the same in /etc/fstab" % (",".join(missing), mount.path),
        )
    if mount.mode != 0o1777:
        yield FindingGroup(
            confidence="certain",
            evidence=evidence,
            reason="the mode of %s is %04o instead of 1777" % (mount.path, mount.mode),
            remedy="chmod 1777 %s" % mount.path,
        )
    if "noexec" not in mount.options:
        yield FindingGroup(
            severity="low",
            confidence="certain",
            evidence=evidence,
            reason="%s is mounted without noexec" % mount.path,
            remedy="mount -o remount,noexec %s, unless a program maps executable memory there" % mount.path,
        )


@rule(
    id="PSHM-007",
    topic="limit",
    title="/dev/shm smaller than a profile asks for",
    kind=KIND,
    severity="medium",
    rationale="A program that maps more than fits gets no error but SIGBUS when it first touches the page.",
    decides="The size of the mount is below what the chosen profiles ask for (--profile, or profiles in [limits]).",
    remedy="size= of the mount and in /etc/fstab; --shm-size of a container, in Kubernetes a Memory emptyDir.",
    source="tmpfs(5), SAP note 941735, Azure/batch-shipyard issue 8",
)
def small(case: Case) -> Iterator[FindingGroup]:
    """Yield one finding where the mount is too small for what runs here."""
    mount, tuning = case.snapshot.shm_mount, case.snapshot.tuning
    floors = [floor for floor in tuning.floors if floor.name == _SIZE] if tuning is not None else []
    if mount is None or not floors:
        return
    wanted = combined(BY_NAME[_SIZE], floors)
    if mount.size < wanted:
        names = ", ".join(sorted({floor.profile for floor in floors}))
        how = snippet(_SIZE, wanted)
        yield FindingGroup(
            confidence="certain",
            evidence={"size": mount.size, "wanted": wanted, "profiles": [floor.profile for floor in floors]},
            reason="%s has %s, and %s asks for %s" % (mount.path, size(mount.size), names, size(wanted)),
            remedy="%s, and the same in %s; %s" % (how.command, how.file, how.note),
        )


@rule(
    id="PSHM-008",
    topic="idle",
    title="Large idle file in /dev/shm",
    kind=KIND,
    severity="medium",
    rationale="What fills machines is often no orphan: its owner is still there and has forgotten it.",
    decides="The verdict is idle, it is at least idle_size large, and unused for idle_age.",
    remedy="Ask the owner, who can remove it.",
    source="practice of clusters that write to the owner first",
)
def large_idle(case: Case) -> Iterator[FindingGroup]:
    """Yield files worth a word to their owner."""
    table = case.table(KIND)
    if table is not None:
        user, place = case.snapshot.user, shm_place(case)

        def remedy(row: int) -> str:
            return "ask %s; then %s" % (user(table["uid"][row]), on_file("rm", place, table, row))

        yield from large_and_idle(case, KIND, remedy)


RULES = (leaked, hidden, nearly_full, writable, mount_options, small, large_idle)
