"""What limits are to be: the floors of profiles, combined, and never below what is there, is the default or is in use.

Pure: what the host has comes in as readings, and the same plan comes out of the same readings. A plan that was
carried out is a fixed point of itself.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..tuples import NamedTuple
from .parameters import BY_NAME, OF_KEY, SEMOPM_ADVISED, Floor, Machine, Parameter, least_of, most_of, settled

KEEP, RAISE, LOWER, MANUAL, UNWRITABLE = "keep", "raise", "lower", "manual", "unwritable"

PAIRS = (
    ("kernel.msgmax", "kernel.msgmnb"),
    ("fs.mqueue.msg_default", "fs.mqueue.msg_max"),
    ("fs.mqueue.msgsize_default", "fs.mqueue.msgsize_max"),
)
"""Parameters of which the second makes no sense below the first."""


class Reading(NamedTuple):
    """What this host has of one parameter."""

    current: Optional[int]
    """``None`` where it is not there or could not be read; then ``unread`` says why."""
    default: Optional[int]
    used: Optional[int] = None
    unseen: Optional[str] = None
    """Why it is not known how much is in use, though that could be."""
    boot: Optional[int] = None
    """The least value that a loader gives it at boot, our own file left out; ``None``: the kernel's default."""
    own: Optional[int] = None
    """The value that our own file states."""
    unread: Optional[str] = None
    blocked: Optional[str] = None
    """Why it cannot be written from here."""


class Row(NamedTuple):
    """What is to become of one parameter, and why."""

    name: str
    reading: Reading
    recommended: Optional[int]
    action: str
    why: Tuple[str, ...]
    floors: Tuple[Floor, ...]
    persist: bool = False
    """Whether our file has to state it."""


class Plan(NamedTuple):
    """The rows, in the order of the parameters, and what the file is to state: sysctl to its numbers."""

    rows: Tuple[Row, ...]
    lines: Mapping[str, Tuple[int, ...]]
    sets: Mapping[str, Tuple[int, ...]]
    """Sysctl to the numbers that are to be written to the running kernel."""

    @property
    def changes(self) -> bool:
        """Whether anything is to be written: to the kernel, or to the file."""
        return any(row.action in (RAISE, LOWER) for row in self.rows)


class _Target(NamedTuple):
    value: int
    why: Tuple[str, ...]
    floors: Tuple[Floor, ...]


_IN_USE = "%d are in use"


def with_headroom(used: int) -> int:
    """Return the least limit of which *used* are at most three quarters."""
    return -(-used * 4 // 3)


def plan_limits(
    machine: Machine, readings: Mapping[str, Reading], floors: Sequence[Floor], *, force_lower: bool = False
) -> Plan:
    """Return the plan that *floors* make of a host."""
    by_name: Dict[str, List[Floor]] = {}
    for floor in floors:
        by_name.setdefault(floor.name, []).append(floor)
    names = set(by_name)
    for parameters in OF_KEY.values():  # a sysctl of several numbers is always written whole
        if not names.isdisjoint(one.name for one in parameters):
            names |= {one.name for one in parameters}
    targets: Dict[str, _Target] = {}
    for name in names:
        target = _target(machine, name, readings[name], by_name.get(name, ()), force_lower=force_lower)
        if target is not None:
            targets[name] = target
    _agree(machine, readings, targets)
    rows = {
        name: _row(BY_NAME[name], readings[name], targets.get(name), force_lower=force_lower)
        for name in BY_NAME
        if name in names or name in targets
    }
    return _whole(rows, readings)


def _target(
    machine: Machine, name: str, reading: Reading, floors: Iterable[Floor], *, force_lower: bool
) -> Optional[_Target]:
    """Return what a parameter is to be, and why; ``None`` where nothing here has it."""
    parameter = BY_NAME[name]
    wanted, why, asked = _asked(parameter, tuple(floors))
    if reading.current is None and parameter.key is not None:
        return None
    if force_lower and asked and parameter.key is not None and reading.unseen is None:
        candidates = [] if reading.used is None else [(reading.used, _IN_USE % reading.used)]
    else:
        if force_lower and reading.unseen is not None:
            why.append("not lowered, as its use was not seen: %s" % reading.unseen)
        candidates = _kept(parameter, reading, with_use=bool(asked))
    if wanted is None and not candidates:
        return None
    value, because = (wanted, "") if wanted is not None else candidates[0]
    for other, words in candidates:
        if parameter.rank(other) > parameter.rank(value):
            value, because = other, words
    if because and wanted is not None:
        why.append(because)
    elif because:
        why.append("no profile asks for it; it is written with the others of its setting")
    value = _within(parameter, machine, value, why, reading.current)
    return _Target(value, tuple(why), asked)


def combined(parameter: Parameter, floors: Sequence[Floor]) -> int:
    """Return what floors come to together; what was given by itself is the whole, and no summand."""
    if parameter.merge == "sum":
        values = [floor.value for floor in floors if floor.profile == UNNAMED]
        return max(*values, sum(floor.value for floor in floors if floor.profile != UNNAMED), 0)
    return max((floor.value for floor in floors), key=parameter.rank)


def _asked(parameter: Parameter, floors: Tuple[Floor, ...]) -> Tuple[Optional[int], List[str], Tuple[Floor, ...]]:
    """Return what the floors come to, and how."""
    if not floors:
        return None, [], floors
    why = ["%s asks for %d" % (floor.profile, floor.value) for floor in floors]
    total = combined(parameter, floors)
    if len(floors) > 1:
        why.append("together %d" % total if parameter.merge == "sum" else "of these the highest counts")
    return total, why, floors


UNNAMED = "the command line"
"""In the place of a profile: a value that was given by itself, which is the whole."""


def _kept(parameter: Parameter, reading: Reading, *, with_use: bool = False) -> List[Tuple[int, str]]:
    """Return below what a parameter does not go."""
    default = reading.default if parameter.key is not None else None  # what is set by hand has others' defaults
    known = [
        (reading.current, "never below what it is now, %d"),
        (default, "never below the kernel's default, %d"),
        (reading.boot, "never below what a file sets at boot, %d"),
        (reading.own, "never below what was applied before, %d"),
    ]
    kept = [(value, words % value) for value, words in known if value is not None]
    if with_use and reading.used is not None:
        if parameter.accumulates:
            room = with_headroom(reading.used)
            kept.append((room, "%s, and a quarter is to stay free" % _IN_USE % reading.used))
        else:
            kept.append((reading.used, _IN_USE % reading.used))
    return kept


def _within(parameter: Parameter, machine: Machine, value: int, why: List[str], current: Optional[int]) -> int:
    """Return a value as the kernel takes it."""
    rounded = settled(parameter, value)
    least, most = least_of(parameter, machine), most_of(parameter, machine)
    if rounded > most:
        why.append("this kernel accepts no more than %d" % most)
    elif rounded < least:
        why.append("this kernel accepts no less than %d" % least)
    elif rounded != value:
        why.append("rounded up to a power of two")
    bounded = min(max(rounded, least), most)
    if current is not None and current > most:  # set by an older kernel's rules: it stays
        bounded = current
    return bounded


def _agree(machine: Machine, readings: Mapping[str, Reading], targets: Dict[str, _Target]) -> None:
    """Raise what makes no sense below another: a queue smaller than its largest message."""

    def lift(name: str, least: int, why: str) -> None:
        reading, target = readings[name], targets.get(name)
        if reading.current is None or (target.value if target else reading.current) >= least:
            return
        target = target or _Target(max(value for value, _ in _kept(BY_NAME[name], reading)), (), ())
        value = min(max(target.value, least), most_of(BY_NAME[name], machine))
        targets[name] = _Target(value, (*target.why, why), target.floors)

    for lower, upper in PAIRS:
        if lower in targets:
            lift(upper, targets[lower].value, "no less than %s" % lower)
    shmmax = targets.get("kernel.shmmax")
    if shmmax is not None and shmmax.floors and shmmax.value <= combined(BY_NAME["kernel.shmmax"], shmmax.floors):
        lift("kernel.shmall", -(-shmmax.value // machine.page_size), "one segment of shmmax bytes has to fit")


def _row(parameter: Parameter, reading: Reading, target: Optional[_Target], *, force_lower: bool) -> Row:
    """Return what is to be done about a parameter."""
    if target is None:
        absent = reading.unread or "this kernel has no such parameter"
        return Row(parameter.name, reading, None, UNWRITABLE, (absent,), ())
    value, why, rank = target.value, list(target.why), parameter.rank
    current = reading.current
    if parameter.key is None:
        enough = current is not None and rank(current) >= rank(value)
        if current is None and reading.unread is not None:
            why.append(reading.unread)
            enough = parameter.name == "logind.RemoveIPC"  # there is nobody to remove anything
        action = KEEP if enough else MANUAL
        return Row(parameter.name, reading, current if enough else value, action, tuple(why), target.floors)
    assert current is not None  # noqa: S101  # _target saw to it
    base = reading.default if reading.boot is None else reading.boot
    if force_lower and target.floors:
        persist = base != value or reading.own is not None
    else:
        persist = base is None or rank(value) > rank(base) or reading.own is not None
    pending = persist and reading.own != value
    if value == current and not pending:
        action = KEEP
    elif reading.blocked is not None:
        action = UNWRITABLE
        why.append(reading.blocked)
    else:
        from_ = current if value != current or reading.own is None else reading.own
        action = LOWER if rank(value) < rank(from_) else RAISE
        if value == current:
            why.append("it is so now, but would not be after the next boot")
    if parameter.name == "kernel.sem.semopm" and value > SEMOPM_ADVISED:
        why.append("above %d the kernel may not get memory for a call's operations" % SEMOPM_ADVISED)
    return Row(parameter.name, reading, value, action, tuple(why), target.floors, persist)


def _whole(rows: Dict[str, Row], readings: Mapping[str, Reading]) -> Plan:
    """Return the plan: each sysctl with all its numbers, and what the file says of those that are not in question."""
    lines: Dict[str, Tuple[int, ...]] = {}
    sets: Dict[str, Tuple[int, ...]] = {}
    for key, parameters in OF_KEY.items():
        names = [one.name for one in parameters]
        mine = [rows[name] for name in names if name in rows]
        own = [readings[name].own for name in names]
        if len(mine) < len(names):
            mine = []
        blocked = any(row.action == UNWRITABLE for row in mine)
        if not mine or blocked:
            kept = tuple(value for value in own if value is not None)
            if len(kept) == len(names):
                lines[key] = kept
            continue
        numbers = tuple(row.recommended for row in mine if row.recommended is not None)
        if any(row.persist for row in mine):
            lines[key] = numbers
        if any(row.recommended != row.reading.current for row in mine):
            sets[key] = numbers
    return Plan(tuple(map(_with_ceiling(rows), rows.values())), lines, sets)


def _with_ceiling(rows: Mapping[str, Row]) -> Callable[[Row], Row]:
    """Return what adds to SEMMNS that fewer fit into the sets, where that is so."""
    largest, sets = rows.get("kernel.sem.semmsl"), rows.get("kernel.sem.semmni")

    def add(row: Row) -> Row:
        if row.name != "kernel.sem.semmns" or row.recommended is None or largest is None or sets is None:
            return row
        most = (largest.recommended or 0) * (sets.recommended or 0)
        if most >= row.recommended:
            return row
        return row._replace(why=(*row.why, "no more than %d fit into SEMMNI sets of SEMMSL" % most))

    return add
