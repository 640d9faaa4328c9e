"""Rules about kernel limits: what sets them at boot, which file wins, and whether they suit what runs here."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from ..limits.loaders import Bounds, Placed, Settled, bounds_of, procps, settle, standings
from ..limits.manual import snippet
from ..limits.parameters import BY_NAME, OF_KEY, SEMOPM_ADVISED, Parameter, most_of, settled
from ..limits.plan import Reading, combined
from ..limits.readings import Tuning, at_boot, number_at, readings
from ..model import FindingGroup
from ..tuples import NamedTuple
from ..verdicts.case import Case
from .base import HOST, rule

_WRITERS = {"tuned": "tuned", "db2sysc": "Db2"}
"""Programs that set limits at run time, by the name of their process."""

_PATTERNS: Tuple[Tuple[str, Tuple[int, ...], str], ...] = (
    ("kernel.sem", (250, 32000, 100, 128), "Oracle's preinstall package, or tuned's profile oracle"),
    ("kernel.sem", (250, 32000, 100, 1024), "a guide for Oracle"),
    ("kernel.sem", (32, 4096, 32, 128), "IBM MQ's table"),
    ("kernel.sem", (500, 256000, 250, 1024), "the table of IBM MQ 7.5"),
    ("kernel.sem", (250, 32000, 32, 1024), "saptune's SAP_BOBJ"),
    ("kernel.sem", (250, 256000, 32, 1024), "a table for Db2 Connect or Apache"),
    ("kernel.sem", (250, 2048000, 200, 8192), "Greenplum's guide"),
    ("kernel.sem", (1250, 256000, 100, 1024), "SAP's settings for RHEL 7"),
    ("kernel.shmmax", (4398046511104,), "Oracle's preinstall package, or tuned's profile oracle"),
    ("kernel.shmall", (1073741824,), "Oracle's preinstall package, or tuned's profile oracle"),
    ("kernel.shmall", (2097152,), "IBM MQ's table, or a default of old kernels"),
    ("kernel.shmmax", (268435456,), "IBM MQ's table"),
    ("kernel.msgmni", (2048,), "Greenplum's guide"),
    ("kernel.msgmni", (1024,), "a table for SAP or Db2"),
)
"""Values that vendors' tables had for kernels before 3.16 and 3.19."""


class _Ground(NamedTuple):
    """What all these rules stand on."""

    tuning: Tuning
    readings: Mapping[str, Reading]
    boot: Mapping[str, Mapping[str, Settled]]
    """Loader to sysctl to what it has at boot."""
    bounds: Mapping[str, Bounds]


def _ground(case: Case) -> Optional[_Ground]:
    tuning = case.snapshot.tuning
    if tuning is None or case.snapshot.facts is None:
        return None  # not looked at, or not our own namespaces
    if "limits" not in case.memo:
        boot = at_boot(tuning.tree, tuning.machine)
        case.memo["limits"] = _Ground(tuning, readings(case.snapshot, tuning), boot, bounds_of(tuning.machine))
    found: _Ground = case.memo["limits"]
    return found


def _booted(case: Case) -> Optional[_Ground]:
    """Return the same where files set limits at boot: not in a container, whose files nobody loads."""
    ground = _ground(case)
    if ground is None or "ipc" in ground.tuning.foreign or not case.snapshot.host.initial_pid_namespace:
        return None
    return ground


def _words(numbers: Tuple[Optional[int], ...]) -> str:
    return " ".join("?" if number is None else str(number) for number in numbers)


def _command(key: str, numbers: Tuple[Optional[int], ...]) -> str:
    """Return the command that sets a sysctl."""
    return ('sysctl -w %s="%s"' if len(numbers) > 1 else "sysctl -w %s=%s") % (key, _words(numbers))


def _place(placed: Placed) -> str:
    return "%s:%d" % (placed.file, placed.line)


def _whole(key: str, numbers: Tuple[Optional[int], ...], tuning: Tuning) -> Tuple[Optional[int], ...]:
    """Return the numbers that a sysctl has when these are written: a field that is not stays at its default."""
    return tuple(
        one.default(tuning.machine) if number is None else settled(one, number)
        for one, number in zip(OF_KEY[key], numbers)
    )


@rule(
    id="SYS-001",
    topic="setting",
    title="Limit differs from what the next boot sets",
    kind=HOST,
    severity="medium",
    rationale="What was set by hand is gone after the next boot, and what was written to a file is not in force yet."
    " Either surprises whoever relies on it.",
    decides="The running value is another than every loader's result (systemd-sysctl, sysctl --system), in the"
    " host's first namespaces. Lower than at boot: medium; higher: low. Where tuned or Db2 runs, which set"
    " limits themselves, for information.",
    remedy="ipcops limits apply to keep the running value, or sysctl --system to go by the files.",
    source="sysctl.d(5), sysctl(8), Db2 11.5 documentation (Db2 raises limits at the start of an instance)",
)
def differs(case: Case) -> Iterator[FindingGroup]:
    """Yield settings that the next boot changes."""
    ground = _booted(case)
    if ground is None:
        return
    tuning = ground.tuning
    writers = sorted(
        {_WRITERS[one.command] for one in case.snapshot.processes.by_pid.values() if one.command in _WRITERS}
    )
    for key, now in tuning.values.items():
        parameters = OF_KEY[key]
        results = [found[key] for found in ground.boot.values() if key in found and found[key].placed is not None]
        ends = [_whole(key, one.numbers, tuning) for one in results]
        if not ends or parameters[0].space in tuning.foreign or now in ends or None in ends[0]:
            continue
        placed, then = results[0].placed, ends[0]
        if placed is None:
            continue
        lower = any(one.rank(a) < one.rank(b or 0) for one, a, b in zip(parameters, now, then))
        yield FindingGroup(
            severity="info" if writers else "medium" if lower else "low",
            confidence="strong" if tuning.gaps else "certain",
            evidence={"name": key, "value": list(now), "at_boot": list(then), "file": placed.file, "line": placed.line},
            reason="%s is %s now, and %s sets %s at boot%s" % (
                key, _words(now), _place(placed), placed.value,
                "; %s runs, which sets limits itself" % " and ".join(writers) if writers else ""),
            remedy="%s to go by the file, or mend the file" % _command(key, then),
        )  # fmt: skip


@rule(
    id="SYS-002",
    topic="setting",
    title="Limit overridden by a later file",
    kind=HOST,
    severity="high",
    rationale="Files of all directories are read in the order of their names, and the last line for a key counts: a"
    " file in /etc/sysctl.d loses against one of a package whose name sorts behind it, without a word.",
    decides="A line of ipcops' own file is not what counts with one of the loaders: high. A file in /etc sets a"
    " limit, and one outside of /etc sets it to something else after it: medium.",
    remedy="Rename the file so that it sorts last, mask the other (a link to /dev/null of its name in"
    " /etc/sysctl.d), or take the key out of /etc/sysctl.conf.",
    source="sysctl.d(5), systemd, src/sysctl/sysctl.c, procps, sysctl.c",
)
def overridden(case: Case) -> Iterator[FindingGroup]:
    """Yield lines that lose."""
    ground = _booted(case)
    if ground is None:
        return
    tuning = ground.tuning
    mine = set()
    if tuning.has_own:
        for key, standing in standings(tuning.tree, tuning.own, tuning.machine).items():
            lost = [fate for fate in standing.fates if not fate.wins]
            if lost:
                mine.add(key)
                yield FindingGroup(
                    confidence="strong" if standing.gaps else "certain",
                    evidence={"name": key, "file": tuning.own, "loaders": [fate.loader for fate in lost]},
                    reason="%s in %s is not what counts at boot: %s" % (
                        key, tuning.own, "; ".join("%s (%s)" % (fate.why, fate.loader) for fate in lost)),
                    remedy="remove that line, or name the file with [limits] file so that it sorts behind",
                )  # fmt: skip
    for key, writes in procps(tuning.tree._replace(conf=None, procps=4), ground.bounds).writes.items():
        last = writes[-1]
        own = [one for one in writes if one.file.startswith("/etc/") and one.file != tuning.own]
        if key in mine or not own or last.file.startswith("/etc/"):
            continue
        loser = own[-1]
        if settle([loser], ground.bounds[key]).numbers != settle([last], ground.bounds[key]).numbers:
            yield FindingGroup(
                severity="medium",
                confidence="certain",
                evidence={"name": key, "loser": _place(loser), "winner": _place(last)},
                reason="%s sets %s to %s, but %s sets it to %s after it"
                % (_place(loser), key, loser.value, _place(last), last.value),
                remedy="rename the file in /etc/sysctl.d so that it sorts behind %s" % last.file.rpartition("/")[2],
            )


@rule(
    id="SYS-003",
    topic="setting",
    title="The loaders of sysctl files disagree",
    kind=HOST,
    severity="medium",
    rationale="systemd-sysctl sets limits at boot, sysctl --system when an administrator or a package runs it. Only"
    " the latter reads /etc/sysctl.conf last, so the value depends on who ran last.",
    decides="Both are there, and end at different values for a limit.",
    remedy="Take the key out of /etc/sysctl.conf.",
    source="sysctl.conf(5) of procps, sysctl.d(5)",
)
def disagree(case: Case) -> Iterator[FindingGroup]:
    """Yield settings whose value depends on the loader."""
    ground = _booted(case)
    if ground is None or len(ground.boot) < 2:
        return
    for key in ground.tuning.values:
        ends: Dict[str, Tuple[Optional[int], ...]] = {}
        words: List[str] = []
        for loader, found in ground.boot.items():
            one = found.get(key, Settled((None,) * len(OF_KEY[key]), None, ()))
            ends[loader] = _whole(key, one.numbers, ground.tuning)
            by = "its default" if one.placed is None else _place(one.placed)
            words.append("%s makes it %s (%s)" % (loader, _words(ends[loader]), by))
        if len(set(ends.values())) > 1:
            yield FindingGroup(
                confidence="strong" if ground.tuning.gaps else "certain",
                evidence={"name": key, "values": {loader: list(end) for loader, end in ends.items()}},
                reason="%s: %s" % (key, ", ".join(words)),
                remedy="leave one line for %s, in a file of /etc/sysctl.d" % key,
            )


@rule(
    id="SYS-004",
    topic="setting",
    title="A file sets a limit that the kernel refuses",
    kind=HOST,
    severity="high",
    rationale="systemd-sysctl sets the last line for a key or nothing, so one bad line leaves the kernel's default."
    " Of kernel.sem the numbers before the bad one are set all the same.",
    decides="A line that a loader would write is outside of what this kernel takes, with its ipcmni_extend.",
    remedy="Write a number that is in range; no G or M, no commas.",
    source="ipc/ipc_sysctl.c, ipc/mq_sysctl.c, kernel/sysctl.c",
)
def refused(case: Case) -> Iterator[FindingGroup]:
    """Yield lines that set nothing, or half of what they say."""
    ground = _booted(case)
    if ground is None:
        return
    seen: Dict[Tuple[str, int], Tuple[str, Placed]] = {}
    for found in ground.boot.values():
        for key, one in found.items():
            if key in ground.tuning.values:
                seen.update({(bad.file, bad.line): (key, bad) for bad in one.refused})
    for key, bad in seen.values():
        ranges = ", ".join("%d to %d" % one for one in ground.bounds[key])
        half = "; the numbers before the bad one are set all the same" if len(ground.bounds[key]) > 1 else ""
        yield FindingGroup(
            confidence="certain",
            evidence={"name": key, "value": bad.value, "file": bad.file, "line": bad.line},
            reason="%s sets %s to '%s', which this kernel refuses (it takes %s)%s"
            % (_place(bad), key, bad.value, ranges, half),
            remedy="mend line %d of %s" % (bad.line, bad.file),
        )


@rule(
    id="SYS-005",
    topic="limit",
    title="Limit below a profile",
    kind=HOST,
    severity="medium",
    rationale="The program that the profile is of fails to start, or fails under load, when it asks for more.",
    decides="A limit is lower than the chosen profiles ask for together (--profile, or profiles in [limits]),"
    " as far as this kernel lets it be raised. /dev/shm has rules of its own.",
    remedy="ipcops limits plan with the same profiles, then ipcops limits apply.",
    source="the source that 'ipcops limits profiles PROFILE' names for each figure",
)
def below_profile(case: Case) -> Iterator[FindingGroup]:
    """Yield limits that are too low for what runs here."""
    ground = _ground(case)
    if ground is None:
        return
    machine, floors = ground.tuning.machine, ground.tuning.floors
    for name in dict.fromkeys(floor.name for floor in floors):
        parameter, now = BY_NAME[name], ground.readings[name].current
        asking = [floor for floor in floors if floor.name == name]
        wanted = min(combined(parameter, asking), most_of(parameter, machine))
        if now is None or name.startswith("dev_shm.") or parameter.rank(now) >= parameter.rank(wanted):
            continue
        how = snippet(name, wanted)
        by_hand = "%s into %s, then %s" % (" ".join(how.text.split("\n")).strip(), how.file, how.command)
        yield FindingGroup(
            confidence="certain",
            evidence={"name": name, "value": now, "wanted": wanted, "profiles": [floor.profile for floor in asking]},
            reason="%s is %d, and %s" % (
                name, now, ", ".join("%s asks for %d" % (floor.profile, floor.value) for floor in asking)),
            remedy="ipcops limits apply" + "".join(" --profile %s" % one for one in ground.tuning.profiles)
            if parameter.key is not None else by_hand,
        )  # fmt: skip


@rule(
    id="SYS-006",
    topic="setting",
    title="A file lowers a limit below the kernel's default",
    kind=HOST,
    severity="medium",
    rationale="Vendors' tables are older than the defaults of kernels since 3.16 and 3.19: written literally they"
    " lower what they were to raise, for everybody on the host.",
    decides="The line that counts for a limit of System V IPC, POSIX queues or backlogs is lower than the default of"
    " this kernel release.",
    remedy="Delete the line; ipcops limits plan --profile tells what the program really needs.",
    source="shmget(2), semget(2), msgget(2), redhat-performance/tuned (profiles/oracle), Oracle and IBM MQ guides",
)
def legacy(case: Case) -> Iterator[FindingGroup]:
    """Yield lines that are worse than none."""
    ground = _booted(case)
    if ground is None or not ground.boot:
        return
    found = next(iter(ground.boot.values()))
    for key, one in found.items():
        if key not in ground.tuning.values or one.placed is None or key.startswith("fs.pipe"):
            continue
        low = [parameter for parameter in OF_KEY[key] if _lower(parameter, found, ground.readings[parameter.name])]
        if not low:
            continue
        known = [words for name, numbers, words in _PATTERNS if name == key and numbers == one.numbers]
        names = ", ".join(
            "%s %d below %d" % (parameter.name, one.numbers[parameter.field] or 0, parameter.default(machine) or 0)
            for parameter in low
            for machine in (ground.tuning.machine,)
        )
        yield FindingGroup(
            confidence="certain",
            evidence={"name": key, "value": one.placed.value, "file": one.placed.file, "line": one.placed.line,
                      "known": known[0] if known else None},
            reason="%s sets %s, lower than without it: %s%s" % (
                _place(one.placed), key, names, "; it is as in %s" % known[0] if known else ""),
            remedy="delete line %d of %s, then %s" % (
                one.placed.line, one.placed.file,
                _command(key, tuple(parameter.default(ground.tuning.machine) for parameter in OF_KEY[key]))),
        )  # fmt: skip


def _lower(parameter: Parameter, found: Mapping[str, Settled], reading: Reading) -> bool:
    number = number_at(found, parameter)
    if number is None or reading.default is None or parameter.unit in ("switch", "level", "gid"):
        return False
    return parameter.rank(number) < parameter.rank(reading.default)


_COUNTED = ("kernel.shmmni", "kernel.shmall", "kernel.sem.semmni", "kernel.sem.semmns", "kernel.msgmni",
            "fs.mqueue.queues_max")  # fmt: skip


@rule(
    id="SYS-007",
    topic="limit",
    title="More in use than a limit allows",
    kind=HOST,
    severity="high",
    rationale="The kernel lets a limit be lowered below what is in use: what is there stays, and nothing new can be"
    " made, perhaps only at the next restart of a program.",
    decides="More segments, pages, sets, semaphores or queues exist than their limit.",
    remedy="Raise the limit above what is in use.",
    source="ipc/{shm,sem,msg,mqueue}.c: limits are checked when an object is made",
)
def exceeded(case: Case) -> Iterator[FindingGroup]:
    """Yield limits that lie below what is in use."""
    ground = _ground(case)
    if ground is None:
        return
    for name in _COUNTED:
        reading, parameter = ground.readings[name], BY_NAME[name]
        if reading.used is None or reading.current is None or not 0 <= reading.current < reading.used:
            continue
        yield FindingGroup(
            confidence="certain",
            evidence={"name": name, "value": reading.current, "used": reading.used},
            reason="%d %s are in use, and %s is %d: no more can be made"
            % (reading.used, parameter.unit, name, reading.current),
            remedy="ipcops limits apply --set %s=%d"
            % (name, min(2 * reading.used, most_of(parameter, ground.tuning.machine))),
        )


@rule(
    id="SYS-008",
    topic="setting",
    title="A limit that makes no sense",
    kind=HOST,
    severity="high",
    rationale="The kernel takes 0 and negative numbers for limits, and a queue smaller than its messages: then"
    " creating or sending fails for everybody.",
    decides="A field of kernel.sem is 0 or less, shmmax, shmall, shmmni, msgmni or queues_max is 0 or less, or msgmnb"
    " is less than msgmax. SEMOPM above 1000, which takes memory that the kernel may not get: medium.",
    remedy="Set it to the kernel's default.",
    source="ipc/ipc_sysctl.c, include/uapi/linux/sem.h, msgop(2)",
)
def nonsense(case: Case) -> Iterator[FindingGroup]:
    """Yield limits by which nothing works."""
    ground = _ground(case)
    if ground is None:
        return
    now = {name: one.current for name, one in ground.readings.items()}
    for name in (*_COUNTED, "kernel.shmmax", "kernel.sem.semmsl", "kernel.sem.semopm"):
        value = now[name]
        if value is not None and value <= 0:
            default = BY_NAME[name].default(ground.tuning.machine)
            yield _senseless(name, value, "nothing can be made", "the default is %s" % default)
    operations, most, least = now["kernel.sem.semopm"], now["kernel.msgmnb"], now["kernel.msgmax"]
    if operations is not None and operations > SEMOPM_ADVISED:
        why = "the kernel may not get memory for the operations of a call"
        yield _senseless("kernel.sem.semopm", operations, why, "no more than 1000")._replace(severity="medium")
    if most is not None and least is not None and most < least:
        why = "a message of %d bytes, which kernel.msgmax allows, fits into no new queue" % least
        yield _senseless("kernel.msgmnb", most, why, "at least %d" % least)


def _senseless(name: str, value: int, why: str, remedy: str) -> FindingGroup:
    return FindingGroup(
        confidence="certain",
        evidence={"name": name, "value": value},
        reason="%s is %d: %s" % (name, value, why),
        remedy="set %s anew: %s" % (name, remedy),
    )


RULES = (differs, overridden, disagree, refused, below_profile, legacy, exceeded, nonsense)
