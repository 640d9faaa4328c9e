"""``ipcops limits``: what the limits are, what profiles ask for, what would change, change it, put it back."""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .apply import settle as settle_earlier
from .collect.snapshot import Look, take
from .collect.tuning import read_floors, read_machine, read_profiles
from .errors import InputError, IpcopsError, UndeterminedError, unknown_word
from .fs import Roots, is_root
from .journal import Journal, caller, read_journal
from .keeping import means_of
from .kernel import Kernel
from .limits.file import kept, rendered
from .limits.loaders import bounds_of, standings
from .limits.manual import snippet
from .limits.parameters import ALL, BY_NAME, OF_KEY, UNLIMITED, Floor, Machine, least_of, most_of, parse_values
from .limits.plan import KEEP, MANUAL, UNNAMED, UNWRITABLE, Plan, Reading, Row, plan_limits
from .limits.profiles import NEVER, parse_wanted, told
from .limits.readings import Stated, Tuning, own_numbers, persisted, readings
from .model import Report, Request, Snapshot
from .policy import Policy
from .report import head
from .state import State, default_path
from .sysctls import APPLY, ROLLBACK, Applied, Change, Hands, Numbers, Text, applied_since, carry_out, present
from .tuples import NamedTuple

SCHEMA = "ipcops.limits/1"
PROFILES_SCHEMA = "ipcops.profiles/1"
KINDS = ("shm", "sem", "msg", "posix-shm", "posix-mq", "pipe")
"""The kinds whose objects use limits up."""


class _Seen(NamedTuple):
    """The host at one moment."""

    snapshot: Snapshot
    tuning: Tuning
    readings: Dict[str, Reading]


def limits(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    """Return the report of ``limits show``, ``profiles``, ``plan``, ``apply`` or ``rollback``. Raise IpcopsError.

    Keys of a request besides ``verb``: ``names`` (of profiles, for ``profiles``), ``profiles``, ``values`` (a list
    of ``NAME=VALUE``, or a mapping), ``force_lower``, ``persistent`` (refuses where another file would win at the
    next boot), ``apply`` (whether ``apply`` and ``rollback`` do it or only
    tell), ``planned`` (what was told before: nothing else is done), ``batch`` (what to roll back to).
    """
    verbs: Dict[str, Callable[..., Report]] = {
        "show": _show, "profiles": _profiles, "plan": _plan, "apply": _apply, "rollback": _rollback,
    }  # fmt: skip
    verb = request.get("verb") or ""
    if verb not in verbs:
        raise unknown_word("command of limits", verb, verbs)
    return {"schema": PROFILES_SCHEMA if verb == "profiles" else SCHEMA, **verbs[verb](request, policy, roots, kernel)}


def _look(request: Request, policy: Policy, roots: Roots, kernel: Kernel, *, to_write: bool = False) -> _Seen:
    profiles = tuple(request.get("profiles") or ())
    look = Look(KINDS, request.get("deadline"), host=True, profiles=profiles, to_write=to_write)
    (snapshot,) = take(roots, kernel, policy, look, ask_about=lambda _: ())
    tuning = snapshot.tuning
    if tuning is None or not tuning.values:
        raise UndeterminedError("no limit can be read: is /proc/sys there?")
    return _Seen(snapshot, tuning, readings(snapshot, tuning))


# ---------------------------------------------------------------- show and profiles


def _show(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    seen = _look(request, policy, roots, kernel)
    rows = [
        Row(one.name, seen.readings[one.name], seen.readings[one.name].current, KEEP, (), ())
        for one in ALL
    ]
    overrides = list(_overrides(seen.tuning, seen.tuning.own_text))
    return {**_head(seen, "show"), "profiles": [], "parameters": list(_told(seen, rows)), "overrides": overrides,
            "file": seen.tuning.own}  # fmt: skip


def _profiles(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:  # noqa: ARG001  # as every verb
    known = read_profiles(policy)
    machine = read_machine(roots.proc)
    wanted = [parse_wanted(word, known) for word in request.get("names") or known]
    return {
        "verb": "profiles",
        "named": bool(request.get("names")),
        "profiles": [told(known[one.name], one.terms, machine) for one in wanted],
    }


# ---------------------------------------------------------------- plan


def _head(seen: _Seen, verb: str, notes: Sequence[str] = ()) -> Dict[str, Any]:
    return {"verb": verb, **head(seen.snapshot, notes=[*_notes(seen), *notes])}


def _notes(seen: _Seen) -> Iterator[str]:
    if "ipc" in seen.tuning.foreign:
        yield (
            "this IPC namespace is not the host's first one: what is set here goes with it, and files in /etc/sysctl.d"
            " set the host's; a container is given limits when it starts (--sysctl, securityContext.sysctls)"
        )


def _wanted(request: Request, policy: Policy, machine: Machine) -> List[Floor]:
    """Return what is asked for by profiles, and by name and value. Raise InputError, with the accepted range."""
    floors, _ = read_floors(policy, tuple(request.get("profiles") or ()), machine)
    given = request.get("values") or {}
    if not isinstance(given, Mapping):
        given = dict(map(_parted, given))
    for name, value in given.items():
        if name in NEVER:
            raise InputError("%s is not set by ipcops: %s" % (name, NEVER[name]))
        if name not in BY_NAME and name not in OF_KEY:
            known = list(dict.fromkeys([*OF_KEY, *BY_NAME]))
            raise unknown_word("parameter", str(name), [one for one in known if one not in NEVER])
        try:
            found = parse_values(name, value, machine)
        except ValueError as error:
            raise InputError(str(error)) from error
        floors += [Floor(UNNAMED, one, number, str(number), UNNAMED) for one, number in found.items()]
    if not floors:
        raise InputError(
            "no profile was named; write --profile NAME ('ipcops limits profiles' lists them), --set NAME=VALUE,"
            " or profiles = NAME in [limits] of the policy"
        )
    return floors


def _parted(word: str) -> Tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise InputError("'%s' sets nothing; write NAME=VALUE, such as kernel.shmmni=8192" % word)
    return name.strip(), value


def _plan(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    floors = _wanted(request, policy, read_machine(roots.proc))
    seen = _look(request, policy, roots, kernel, to_write=True)
    return _plan_report(seen, _planned(request, seen, floors), "plan")


def _planned(request: Request, seen: _Seen, floors: Sequence[Floor]) -> Plan:
    return plan_limits(
        seen.tuning.machine, seen.readings, floors, force_lower=bool(request.get("force_lower"))
    )


def _plan_report(seen: _Seen, plan: Plan, verb: str) -> Report:
    text = _text(seen.tuning, plan)
    return {
        **_head(seen, verb, [] if "ipc" in seen.tuning.foreign else list(_plan_notes(plan))),
        "profiles": list(seen.tuning.profiles),
        "parameters": list(_told(seen, plan.rows)),
        "overrides": list(_overrides(seen.tuning, text)),
        "changes": _changes(_change(seen.tuning, plan)),
        "unwritable": [row.name for row in plan.rows if row.action == UNWRITABLE],
        "file": seen.tuning.own,
        "applied": False,
    }


def _plan_notes(plan: Plan) -> Iterator[str]:
    if any(BY_NAME[row.name].space != "host" and row.action not in (KEEP, MANUAL, UNWRITABLE) for row in plan.rows):
        flags = ("--sysctl %s=%s" % (key, _shown_flag(numbers)) for key, numbers in plan.sets.items())
        yield "containers with namespaces of their own do not inherit this; start them with %s" % (
            " ".join(flags) or "--sysctl")  # fmt: skip


def _shown_flag(numbers: Numbers) -> str:
    words = " ".join(map(str, numbers))
    return '"%s"' % words if " " in words else words


def _text(tuning: Tuning, plan: Plan) -> Text:
    """Return what our file is to say: as it is, where the numbers in it are those of the plan."""
    before = tuning.own_text
    old = None if before is None else before.decode("utf-8", "surrogateescape")
    own = own_numbers(before, tuning.own, tuning.machine)
    if all(own.get(key) == numbers for key, numbers in plan.lines.items()):
        return before
    return rendered(plan, old).encode("utf-8", "surrogateescape")


def _change(tuning: Tuning, plan: Plan) -> Change:
    text = _text(tuning, plan)
    files = {} if text == tuning.own_text else {tuning.own: (tuning.own_text, text)}
    return Change({key: (tuning.values[key], numbers) for key, numbers in plan.sets.items()}, files)


def _changes(change: Change) -> List[Dict[str, Any]]:
    """Return what would be, or was, changed."""
    values = [
        {"name": key, "before": _shown(key, before), "after": _shown(key, after)}
        for key, (before, after) in change.values.items()
    ]
    return values + [
        {"name": path, "before": _decoded(before), "after": _decoded(after)}
        for path, (before, after) in change.files.items()
    ]


def _decoded(text: Text) -> Optional[str]:
    return None if text is None else text.decode("utf-8", "surrogateescape")


def _shown(key: str, numbers: Numbers) -> Any:
    if len(numbers) == 1:
        return numbers[0]
    return {one.name.rpartition(".")[2]: number for one, number in zip(OF_KEY[key], numbers)}


def _overrides(tuning: Tuning, text: Text) -> Iterator[Dict[str, Any]]:
    """Yield for each line of our file who decides instead of it at the next boot."""
    if text is None:
        return
    tree = tuning.tree.with_file(tuning.own, text)
    for key, standing in standings(tree, tuning.own, tuning.machine).items():
        for fate in standing.fates:
            placed = fate.settled.placed
            if not fate.wins:
                numbers = fate.settled.numbers
                yield {
                    "name": key, "loader": fate.loader, "why": fate.why,
                    "value": None if None in numbers else _shown(key, tuple(one for one in numbers if one is not None)),
                    "file": placed.file if placed else None, "line": placed.line if placed else None,
                    "disagree": standing.disagree,
                }  # fmt: skip
        for gap in standing.gaps:
            yield {
                "name": key, "loader": None, "why": "%s: %s" % (gap.what, gap.why), "value": None, "file": None,
                "line": None, "disagree": False,
            }  # fmt: skip


def _told(seen: _Seen, rows: Sequence[Row]) -> Iterator[Dict[str, Any]]:
    """Yield rows as reports tell them."""
    facts = seen.snapshot.facts
    where = persisted(seen.tuning, facts.remove_ipc if facts is not None else None)
    for row in rows:
        parameter, reading = BY_NAME[row.name], row.reading
        by_hand = snippet(row.name, row.recommended or 0)._asdict() if row.action == MANUAL else None
        yield {
            "name": row.name,
            "meaning": parameter.meaning,
            "unit": parameter.unit,
            "space": parameter.space,
            "current": reading.current,
            "kernel_default": reading.default,
            "used": reading.used,
            "persisted": _stated(where.get(row.name)),
            "recommended": row.recommended,
            "accepted": [least_of(parameter, seen.tuning.machine), most_of(parameter, seen.tuning.machine)],
            "unlimited": UNLIMITED if row.name.startswith("rlimit.") else parameter.endless,
            "merge": parameter.merge,
            "action": row.action,
            "why": "; ".join(row.why) or reading.unread or "",
            "sources": list(dict.fromkeys(floor.source for floor in row.floors)),
            "floors": [
                {"profile": floor.profile, "value": floor.value, "formula": floor.formula} for floor in row.floors
            ],
            "manual": by_hand,
        }


def _stated(one: Optional[Stated]) -> Optional[Dict[str, Any]]:
    return None if one is None else one._asdict()


# ---------------------------------------------------------------- apply


def _state(policy: Policy) -> State:
    return State(default_path(policy, os.geteuid()))


def _need_root(what: str) -> None:
    if not is_root():
        raise UndeterminedError(
            "%s needs root (CAP_SYS_RESOURCE for limits of IPC): run it with sudo; 'ipcops limits plan' works without"
            % what
        )


def _apply(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    floors = _wanted(request, policy, read_machine(roots.proc))
    _need_root("to set limits")
    if not request.get("apply"):
        report = dict(_plan(request, policy, roots, kernel), verb="apply")
        _refuse_overridden(request, report)
        return report
    state = _state(policy)
    with state.lock():
        seen = _look(request, policy, roots, kernel, to_write=True)
        plan = _planned(request, seen, floors)
        change = _change(seen.tuning, plan)
        report = _plan_report(seen, plan, "apply")
        _as_planned(request, report)
        _refuse_overridden(request, report)
        _validate(change, seen.tuning)
        report.update(_carried(change, seen, state, policy, (roots, kernel), APPLY))
    missed = report["unwritable"]
    report["failed"] += [{"name": row.name, "why": "; ".join(row.why)} for row in plan.rows if row.name in missed]
    return report


def _as_planned(request: Request, report: Report) -> None:
    planned = request.get("planned")
    if planned is not None and planned != report["changes"]:
        raise IpcopsError("what would be changed is not what was shown any more; nothing was changed, look again")


def _refuse_overridden(request: Request, report: Report) -> None:
    if request.get("persistent") and report["overrides"]:
        told = dict.fromkeys("%s (%s)" % (one["name"], one["why"]) for one in report["overrides"])
        raise IpcopsError(
            "another file wins at the next boot, so nothing was changed; remove its line or raise it there: %s"
            % "; ".join(told)
        )


def _validate(change: Change, tuning: Tuning) -> None:
    """Refuse, before anything is written, what the kernel would not take whole."""
    every = bounds_of(tuning.machine)
    for key, (_, numbers) in change.values.items():
        bounds = every[key]
        if len(numbers) != len(bounds) or not all(low <= one <= high for one, (low, high) in zip(numbers, bounds)):
            ranges = ", ".join("%d to %d" % one for one in bounds)
            raise InputError("%s cannot be %s; it accepts %s" % (key, " ".join(map(str, numbers)), ranges))


def _carried(
    change: Change, seen: _Seen, state: State, policy: Policy, host: Tuple[Roots, Kernel], command: str, **more: Any
) -> Dict[str, Any]:
    """Make a change, under the lock. Return what of a report tells of it."""
    told: Dict[str, Any] = {"applied": True, "changes": _changes(change), "failed": [], "batch": None, "journal": None}
    if not change and not more:
        return told
    with Journal(state, policy, caller(command), seen.snapshot.host.boot_id) as journal:
        settle_earlier(journal, means_of({}, policy, *host))
        batch, failure = carry_out(change, Hands(host[0]), journal, seen.snapshot.namespace, **more)
        told.update(batch=batch, journal=journal.path)
    if failure is not None:
        left = set(failure.left)
        why = "%s; %s" % (failure.why, "everything is as before" if not left else "this could not be put back")
        told["failed"] = [{"name": name, "why": why} for name in (failure.left or [*change.values, *change.files])]
        told.update(applied=False, changes=[])
    return told


# ---------------------------------------------------------------- rollback


def _rollback(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    _need_root("to put limits back")
    state = _state(policy)
    if not request.get("apply"):
        return _rolled(request, policy, (roots, kernel), state, doing=False)
    with state.lock():
        return _rolled(request, policy, (roots, kernel), state, doing=True)


def _rolled(
    request: Request, policy: Policy, host: Tuple[Roots, Kernel], state: State, *, doing: bool
) -> Report:
    applied = applied_since(read_journal(state).entries, request.get("batch"))
    seen = _look(request, policy, *host)
    back = _back(applied, seen, Hands(host[0]))
    report: Report = {
        **_head(seen, "rollback"),
        "profiles": [],
        "parameters": [],
        "overrides": [],
        "batches": list(applied.batches),
        "changes": _changes(back.change),
        "refused": back.refused,
        "left": back.left,
        "applied": False,
    }
    if doing:
        _as_planned(request, report)
        _validate(back.change, seen.tuning)
        undoes = {"undoes": list(applied.batches)} if applied.batches and not back.refused else {}
        change = back.change
        if undoes and not change:  # nothing is to be done, but the journal has to know
            path = next(iter(applied.files), seen.tuning.own)
            text = Hands(host[0]).text(path)
            change = Change({}, {path: (text, text)})
        told = _carried(change, seen, state, policy, host, ROLLBACK, **undoes)
        report.update(told, changes=report["changes"] if told["applied"] else [])
    return report


class _Back(NamedTuple):
    """What a rollback does, what it refuses, and what it leaves as somebody else made it."""

    change: Change
    refused: List[Dict[str, Any]]
    left: List[Dict[str, Any]]


def _back(applied: Applied, seen: _Seen, hands: Hands) -> _Back:
    values, files = present(hands, applied)
    refused: List[Dict[str, Any]] = []
    left: List[Dict[str, Any]] = []
    staying: Dict[str, Numbers] = {}
    to_set: Dict[str, Tuple[Numbers, Numbers]] = {}
    for key, (set_to, before) in applied.values.items():
        now = values.get(key)
        if now is None:
            refused.append({"name": key, "why": "it cannot be read"})
        elif now not in (set_to, before):
            words = " ".join(map(str, now)), " ".join(map(str, set_to))
            left.append({"name": key, "why": "somebody changed it since: it is %s and was set to %s" % words})
        elif now != before:
            why = _in_use(key, now, before, seen)
            if why is not None:
                refused.append({"name": key, "why": why})
                staying[key] = now
            else:
                to_set[key] = (now, before)
    to_write: Dict[str, Tuple[Text, Text]] = {}
    for path, (made, text) in applied.files.items():
        if path not in files:
            refused.append({"name": path, "why": "it cannot be read"})
        elif files[path] not in (made, text):
            left.append({"name": path, "why": "somebody changed it since"})
        else:
            target = _encoded(kept(_decoded(text), _decoded(made) or "", staying)) if staying else text
            if files[path] != target:
                to_write[path] = (files[path], target)
    return _Back(Change(to_set, to_write), refused, left)


def _encoded(text: Optional[str]) -> Text:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _in_use(key: str, now: Numbers, before: Numbers, seen: _Seen) -> Optional[str]:
    """Return why a setting cannot go back to what it was, if more is in use."""
    for parameter, current, target in zip(OF_KEY[key], now, before):
        reading = seen.readings[parameter.name]
        if parameter.rank(target) >= parameter.rank(current):
            continue
        if reading.unseen is not None:
            return "how much of %s is in use was not seen: %s" % (parameter.name, reading.unseen)
        if reading.used is not None and parameter.rank(target) < reading.used:
            return "%d of %s are in use, and it was %d before" % (reading.used, parameter.name, target)
    return None
