"""The one door: a request goes in, a report comes out.

``run({"command": "audit", …})``. Requests and reports are plain values, so the CLI, the agent,
an Ansible module and a test all come in here, and nothing about IPC is decided outside.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from . import exits, fs
from .errors import InputError, unknown_word
from .fs import Roots, host_roots
from .model import KINDS, REMOVABLE_KINDS, SEVERITIES, VERDICTS, FindingGroup, Report, Request, Snapshot
from .naming import matching, parse_object, require_objects, require_something
from .policy import DEFAULT_PATH, Policy, defaults, parse_duration, parse_policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .collect.snapshot import Look
    from .kernel import Kernel
    from .rules.base import Rule
    from .verdicts import Case

RULES_SCHEMA = "ipcops.rules/1"
ORDERS = ("id", "size", "age", "owner")
FAIL_ON = (*SEVERITIES, "none")
JOURNAL_KINDS = (*KINDS, "sysctl", "file")
"""The journal tells of limits, too."""


def run(request: Request, roots: Optional[Roots] = None, kernel: Optional[Kernel] = None) -> Report:
    """Return the report that *request* asks for. Raise IpcopsError.

    Keys of a request, all but ``command`` optional: ``kinds``, ``rules``, ``min_severity``,
    ``policy`` (a path), ``deadline`` and ``interval`` (seconds, or a text such as ``2m``), ``samples``, ``verdicts``,
    ``owner``, ``sort``, ``objects``, ``all_namespaces`` and ``probe`` (whether), ``call``, ``errno``;
    ``profiles``; those of ``clean`` and its kin and of ``limits`` are the options of these commands (``cleaning``,
    ``keeping``, ``tuning``).
    *roots* and *kernel* are the host's unless a test gives others.
    """
    commands: Dict[str, Callable[..., Report]] = {
        "audit": _audit, "list": _list, "show": _show, "explain": _explain, "clean": _clean,
        "backup": _backup, "restore": _restore, "journal": _journal, "set": _set,
        "metrics": _metrics, "check": _check_limits, "limits": _limits,
    }  # fmt: skip
    command = request.get("command", "")
    if command == "rules":
        return _rules(request)
    if command not in commands:
        raise unknown_word("command", command, [*commands, "rules"])
    request = _in_seconds(request)
    _check(request)
    policy = read_policy(request.get("policy"))
    from .kernel import Kernel  # the rules are told without asking it

    return commands[command](request, policy, roots or host_roots(), kernel or Kernel())


def status(request: Request, report: Report) -> int:
    """Return the exit status that a report means for a request."""
    schema = report["schema"].partition("/")[0]
    if schema == "ipcops.check":
        return int(report["status"])
    if schema == "ipcops.clean" and report["interrupted"]:
        return exits.INTERRUPTED
    unsent = any(one["error"] for one in report.get("notified", ()))
    if unsent or report.get("failed") or report.get("refused"):
        return exits.PARTLY_FAILED
    if schema == "ipcops.clean" and request.get("exit_code") and not report["applied"] and report["plan"]["remove"]:
        return exits.FINDINGS
    if schema == "ipcops.limits" and request.get("exit_code") and not report["applied"] and report["changes"]:
        return exits.FINDINGS
    looked = schema in ("ipcops.audit", "ipcops.objects")
    if looked and request.get("require_complete") and not report["scan"]["complete"]:
        return exits.UNDETERMINED
    fail_on = request.get("fail_on", "medium")
    if schema != "ipcops.audit" or fail_on == "none":
        return exits.DONE
    grave = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    return exits.FINDINGS if any(report["summary"][severity] for severity in grave) else exits.DONE


def read_policy(path: Optional[str]) -> Policy:
    """Return the policy in *path*, or in the usual place, or the defaults. Raise InputError."""
    wanted = DEFAULT_PATH if path is None else path
    try:
        text = fs.read_text(wanted)
    except FileNotFoundError as error:
        if path is None:
            return defaults()
        raise InputError("policy '%s': there is no such file" % path) from error
    except OSError as error:
        raise InputError("policy '%s' cannot be read: %s" % (wanted, error.strerror)) from error
    return parse_policy(text, wanted, _rule_ids())


def _rule_ids() -> Iterator[str]:
    """Yield the ids of the rules; loads them only where somebody wants to know."""
    from .rules.catalogue import BY_ID

    yield from BY_ID


def _in_seconds(request: Request) -> Request:
    """Return a request whose durations are numbers. Raise InputError."""
    found = {}
    for key in ("deadline", "interval", "min_age"):
        text = request.get(key)
        if isinstance(text, str):
            try:
                found[key] = parse_duration(text)
            except ValueError as error:
                raise InputError("%s '%s' %s" % (key, text, error)) from error
    return {**request, **found} if found else request


def _check(request: Request) -> None:
    """Refuse what no report could answer, naming the nearest valid word."""
    for key, what, known in (
        ("kinds", "kind", JOURNAL_KINDS if request["command"] == "journal" else KINDS),
        ("rules", "rule", tuple(_rule_ids()) if request.get("rules") else ()),
        ("verdicts", "verdict", VERDICTS),
    ):
        for word in request.get(key) or ():
            if word not in known:
                raise unknown_word(what, word, known)
    for key, what, choices in (
        ("min_severity", "severity", SEVERITIES),
        ("fail_on", "severity", FAIL_ON),
        ("sort", "order", ORDERS),
    ):
        word = request.get(key)
        if word is not None and word not in choices:
            raise unknown_word(what, word, choices)
    for key, least, most in (("deadline", 0.01, 3600), ("interval", 0, 3600), ("samples", 1, 100)):
        number = request.get(key)
        if number is not None and not least <= number <= most:
            raise InputError("%s %s is out of bounds; from %s to %s" % (key, number, least, most))


# ---------------------------------------------------------------- audit


def _audit(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .collect.snapshot import take
    from .report import HOST, audit_report
    from .rules.base import undecided
    from .rules.catalogue import BY_ID, RULES

    chosen = [BY_ID[rule] for rule in request.get("rules") or ()] or list(RULES)
    kinds = _kinds(request.get("kinds"))
    host = not request.get("kinds")
    if request.get("rules"):
        host = host and any(rule.kind == HOST for rule in chosen)
        also = REMOVABLE_KINDS if host else ()  # what a rule about the host may ask who owns
        kinds = tuple(kind for kind in kinds if kind in also or any(rule.covers([kind]) for rule in chosen))
        if not kinds and not host:
            raise InputError("none of the rules asked for is about the kinds asked for")
    look = _look(request, kinds)._replace(host=host, profiles=tuple(request.get("profiles") or ()))
    samples = request.get("samples") or 1
    earlier: List[List[Snapshot]] = []
    while True:
        snapshots = take(roots, kernel, policy, look, ask_about=lambda seen: _lazily(_case(seen, policy, earlier)))
        if kinds:
            require_something(snapshots[0])
        if len(earlier) + 1 >= samples:
            break
        earlier.append(snapshots)
        time.sleep(request.get("interval", 1.0))
    worst = SEVERITIES[: SEVERITIES.index(request.get("min_severity") or "info") + 1]
    narrowed = len(chosen) < len(RULES) or kinds != KINDS or worst != SEVERITIES
    cases = [_case(snapshot, policy, earlier) for snapshot in snapshots]
    extra = (HOST,) if host else ()
    judged = [(case, _findings(case, chosen, (*case.snapshot.kinds, *extra), worst)) for case in cases]
    (case, groups), *others = judged
    notes = undecided(case, chosen, named=bool(request.get("rules")))
    return audit_report(case, groups, others=others, narrowed=narrowed, notes=notes)


def _look(request: Request, kinds: Tuple[str, ...]) -> Look:
    from .collect.snapshot import Look

    return Look(
        kinds,
        request.get("deadline"),
        everywhere=bool(request.get("all_namespaces")),
        probe=bool(request.get("probe")),
    )


def _case(snapshot: Snapshot, policy: Policy, earlier: Sequence[Sequence[Snapshot]]) -> Case:
    """Return a snapshot with the earlier ones of the same place; without one in each sample nothing is steady."""
    from .verdicts import Case

    def place(one: Snapshot) -> Tuple[int, int, int]:
        return one.namespace, one.place.mnt, one.place.net

    before = [next((one for one in sample if place(one) == place(snapshot)), None) for sample in earlier]
    return Case(snapshot, policy, [one if one is not None else snapshot._replace(tables={}) for one in before])


def _lazily(case: Case) -> Iterable[int]:
    """Ask about a set only where age and absent users leave a candidate.

    This needs no complete view of the threads: a set that is no candidate cannot become an
    orphan by what its semaphores say, and a candidate's waiters are asked of the kernel itself.
    """
    from .verdicts import sem

    return sem.candidates(case)


def _findings(
    case: Case, rules: Iterable[Rule], kinds: Sequence[str], worst: Sequence[str]
) -> List[FindingGroup]:
    found = []
    for rule in rules:
        if rule.covers(kinds):
            for group in rule.findings(case):
                if group.severity in worst:
                    found += _not_exempt(case, group)
    return found


def _not_exempt(case: Case, group: FindingGroup) -> List[FindingGroup]:
    if not case.policy["audit", "exempt"]:
        return [group]
    exempts = case.policy.exempts
    kept = [at for at, row in enumerate(group.rows) if not exempts(group.rule, group.kind, _names(group, row))]
    if len(kept) == len(group.rows):
        return [group]
    return [group.only(kept)] if kept else []


def _names(group: FindingGroup, row: int) -> List[str]:
    table = group.table
    if table is None:
        return []
    from .report import key_text

    names = [str(table[name][row]) for name in ("id", "path") if name in table]
    return names + ([key_text(table["key"][row])] if "key" in table else [])


def _kinds(words: Optional[Sequence[str]]) -> Tuple[str, ...]:
    return tuple(kind for kind in KINDS if not words or kind in words)


# ---------------------------------------------------------------- list and show


def _list(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .collect.snapshot import take
    from .report import objects_report
    from .verdicts import Case

    kinds = _kinds(request.get("kinds"))
    look = _look(request, kinds)._replace(details=True)
    snapshots = take(roots, kernel, policy, look, ask_about=lambda seen: range(len(seen.tables["sem"])))
    require_something(snapshots[0])
    owner = request.get("owner")
    uids = None if owner is None else _uids(snapshots[0], owner)

    def chosen(case: Case) -> Dict[str, Sequence[int]]:
        rows: Dict[str, Sequence[int]] = {}
        for kind, table in sorted(case.snapshot.tables.items(), key=lambda one: KINDS.index(one[0])):
            rows[kind] = range(len(table))
            if uids is not None:
                rows[kind] = [row for row, uid in enumerate(table["uid"]) if uid in uids]
        return rows

    found = [(case, chosen(case)) for case in (Case(snapshot, policy) for snapshot in snapshots)]
    (case, rows), *others = found
    report = objects_report(case, rows, others=others, order=request.get("sort"))
    wanted = request.get("verdicts")
    if wanted:
        report["objects"] = [one for one in report["objects"] if one["verdict"] in wanted]
    return report


def _uids(snapshot: Snapshot, owner: str) -> Set[int]:
    """Return the uids of the objects' owners that a name or number means."""
    from .collect.users import read_uids

    found = {uid for uid, name in snapshot.users.items() if owner in (name, str(uid))}
    if not found and not owner.isdigit() and not read_uids([owner]):
        raise InputError("this host has no user '%s'" % owner)
    return found


def _show(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .collect.snapshot import take
    from .report import SOCKET_KINDS, objects_report
    from .verdicts import Case

    wanted = [parse_object(word) for word in request.get("objects") or ()]
    if not wanted:
        raise InputError("no object was named; write KIND:ID, such as shm:32768 or sem:0x1111")
    kinds = tuple(kind for kind in KINDS if any(kind == one for one, _ in wanted))

    def find(snapshot: Snapshot) -> Dict[str, Sequence[int]]:
        chosen: Dict[str, Sequence[int]] = {}
        for kind, name in wanted:
            chosen[kind] = sorted({*chosen.get(kind, ()), *matching(snapshot, kind, name)})
        return chosen

    sockets = frozenset(name for kind, name in wanted if kind in SOCKET_KINDS)
    look = _look(request, kinds)._replace(details=True, units=True, connections=sockets)
    snapshots = take(roots, kernel, policy, look, ask_about=lambda seen: find(seen).get("sem", ()))
    require_something(snapshots[0])
    found = [(Case(snapshot, policy), find(snapshot)) for snapshot in snapshots]
    where = "on this host" if request.get("all_namespaces") else "in this namespace"
    require_objects(snapshots, wanted, where)
    (case, rows), *others = found
    return objects_report(case, rows, others=others, details=True)


# ---------------------------------------------------------------- metrics and check


def _metrics(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .monitoring import metrics

    return metrics(request, policy, roots, kernel, _findings)


def _check_limits(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .monitoring import check

    return check(request, policy, roots, kernel, _findings)


# ---------------------------------------------------------------- explain


def _explain(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .explaining import explain  # a table of all calls and errors, which no other command needs

    return explain(request, policy, roots, kernel)


# ---------------------------------------------------------------- clean and its kin


def _clean(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .cleaning import clean  # what changes a host is loaded by nothing that only looks

    return clean(request, policy, roots, kernel)


def _backup(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .keeping import backup

    return backup(request, policy, roots, kernel)


def _restore(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .keeping import restore

    return restore(request, policy, roots, kernel)


def _journal(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .keeping import journal

    return journal(request, policy, roots, kernel)


def _set(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .keeping import change

    return change(request, policy, roots, kernel)


def _limits(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    from .tuning import limits

    return limits(request, policy, roots, kernel)


# ---------------------------------------------------------------- rules


def _rules(request: Request) -> Report:
    from .rules.catalogue import BY_ID, RULES

    wanted = request.get("rules") or ()
    for word in wanted:
        if word not in BY_ID:
            raise unknown_word("rule", word, BY_ID)
    exempt: Sequence[str] = ()
    if request.get("policy") is not None:
        exempt = read_policy(request["policy"])["audit", "exempt"]
    chosen = [_rule(rule, exempt) for rule in RULES if not wanted or rule.id in wanted]
    return {"schema": RULES_SCHEMA, "rules": chosen}


def _rule(rule: Rule, exempt: Sequence[str]) -> Mapping[str, Any]:
    names = ("id", "title", "kind", "severity", "topic", "samples", "rationale", "decides", "remedy", "source")
    accepted = [entry for entry in exempt if entry.partition(":")[0] == rule.id]
    return {**{name: getattr(rule, name) for name in names}, "exempt": accepted}
