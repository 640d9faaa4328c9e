"""The one door: a request goes in, a report comes out.

``run({"command": "audit", …})``. Requests and reports are plain values, so the CLI, the agent,
an Ansible module and a test all come in here, and nothing about IPC is decided outside.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from . import exits, fs
from .collect.snapshot import take
from .collect.users import read_uids
from .errors import InputError, UndeterminedError, unknown_word
from .fs import Roots, host_roots
from .kernel import Kernel
from .model import KINDS, SEVERITIES, VERDICTS, Evidence, FindingGroup, Report, Request, Snapshot
from .policy import DEFAULT_PATH, Policy, defaults, parse_policy
from .report import audit_report, key_text, objects_report
from .rules import BY_ID, RULES, Rule
from .verdicts import Case, sem

RULES_SCHEMA = "ipcops.rules/1"
ORDERS = ("id", "size", "age", "owner")
FAIL_ON = (*SEVERITIES, "none")


def run(request: Request, roots: Optional[Roots] = None, kernel: Optional[Kernel] = None) -> Report:
    """Return the report that *request* asks for. Raise IpcopsError.

    Keys of a request, all but ``command`` optional: ``kinds``, ``rules``, ``min_severity``,
    ``policy`` (a path), ``deadline`` and ``interval`` (seconds), ``samples``, ``verdicts``,
    ``owner``, ``sort``, ``objects``. *roots* and *kernel* are the host's unless a test gives
    others.
    """
    commands: Dict[str, Callable[..., Report]] = {"audit": _audit, "list": _list, "show": _show}
    command = request.get("command", "")
    if command == "rules":
        return _rules(request)
    if command not in commands:
        raise unknown_word("command", command, [*commands, "rules"])
    _check(request)
    policy = read_policy(request.get("policy"))
    return commands[command](request, policy, roots or host_roots(), kernel or Kernel())


def status(request: Request, report: Report) -> int:
    """Return the exit status that a report means for a request."""
    if report["schema"] != "ipcops.audit/1":
        return exits.DONE
    if request.get("require_complete") and not report["scan"]["complete"]:
        return exits.UNDETERMINED
    fail_on = request.get("fail_on", "medium")
    if fail_on == "none":
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
    return parse_policy(text, wanted, BY_ID)


def _check(request: Request) -> None:
    """Refuse what no report could answer, naming the nearest valid word."""
    for key, what, known in (
        ("kinds", "kind", KINDS),
        ("rules", "rule", tuple(BY_ID)),
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
    chosen = [BY_ID[rule] for rule in request.get("rules") or ()] or list(RULES)
    kinds = _kinds(request.get("kinds"))
    if request.get("rules"):
        kinds = tuple(kind for kind in kinds if any(rule.covers([kind]) for rule in chosen))
        if not kinds:
            raise InputError("none of the rules asked for is about the kinds asked for")
    samples = request.get("samples") or 1
    earlier: List[Snapshot] = []
    while True:
        snapshot = take(
            roots, kernel, policy, kinds, deadline=request.get("deadline"), ask_about=_lazily(policy, earlier)
        )
        _require_something(snapshot)
        if len(earlier) + 1 >= samples:
            break
        earlier.append(snapshot)
        time.sleep(request.get("interval", 1.0))
    case = Case(snapshot, policy, earlier)
    worst = SEVERITIES[: SEVERITIES.index(request.get("min_severity") or "info") + 1]
    narrowed = len(chosen) < len(RULES) or kinds != KINDS or worst != SEVERITIES
    return audit_report(case, _findings(case, chosen, kinds, worst), narrowed=narrowed)


def _lazily(policy: Policy, earlier: Sequence[Snapshot]) -> Callable[[Snapshot], Iterable[int]]:
    """Ask about a set only where age and absent users leave a candidate.

    This needs no complete view of the threads: a set that is no candidate cannot become an
    orphan by what its semaphores say, and a candidate's waiters are asked of the kernel itself.
    """
    return lambda snapshot: sem.candidates(Case(snapshot, policy, earlier))


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
    names = [str(table[name][row]) for name in ("id", "path") if name in table]
    return names + ([key_text(table["key"][row])] if "key" in table else [])


def _require_something(snapshot: Snapshot) -> None:
    if not snapshot.tables:
        unread = (gap for gap in snapshot.gaps if gap.evidence == Evidence.TABLE)
        gaps = "; ".join("%s: %s" % (gap.what, gap.why) for gap in unread)
        raise UndeterminedError("none of %s could be looked at: %s" % (", ".join(snapshot.kinds), gaps))


def _kinds(words: Optional[Sequence[str]]) -> Tuple[str, ...]:
    return tuple(kind for kind in KINDS if not words or kind in words)


# ---------------------------------------------------------------- list and show


def _list(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    kinds = _kinds(request.get("kinds"))
    snapshot = take(
        roots,
        kernel,
        policy,
        kinds,
        deadline=request.get("deadline"),
        ask_about=lambda seen: range(len(seen.tables["sem"])),
    )
    _require_something(snapshot)
    case = Case(snapshot, policy)
    owner = request.get("owner")
    uids = None if owner is None else _uids(snapshot, owner)
    rows: Dict[str, Sequence[int]] = {}
    for kind in kinds:
        table = case.table(kind)
        if table is not None:
            rows[kind] = range(len(table))
            if uids is not None:
                rows[kind] = [row for row, uid in enumerate(table["uid"]) if uid in uids]
    report = objects_report(case, rows, order=request.get("sort"))
    wanted = request.get("verdicts")
    if wanted:
        report["objects"] = [one for one in report["objects"] if one["verdict"] in wanted]
    return report


def _uids(snapshot: Snapshot, owner: str) -> Set[int]:
    """Return the uids of the objects' owners that a name or number means."""
    found = {uid for uid, name in snapshot.users.items() if owner in (name, str(uid))}
    if not found and not owner.isdigit() and not read_uids([owner]):
        raise InputError("this host has no user '%s'" % owner)
    return found


def _show(request: Request, policy: Policy, roots: Roots, kernel: Kernel) -> Report:
    wanted = [_parse_object(word) for word in request.get("objects") or ()]
    if not wanted:
        raise InputError("no object was named; write KIND:ID, such as shm:32768 or sem:0x1111")
    kinds = tuple(kind for kind in KINDS if any(kind == one for one, _ in wanted))
    chosen: Dict[str, Sequence[int]] = {}
    absent: List[Tuple[str, str]] = []

    def find(snapshot: Snapshot) -> Iterable[int]:
        chosen.clear()
        absent.clear()
        for kind, name in wanted:
            rows = _matching(snapshot, kind, name)
            if not rows:
                absent.append((kind, name))
            chosen[kind] = sorted({*chosen.get(kind, ()), *rows})
        return chosen.get("sem", ())

    snapshot = take(roots, kernel, policy, kinds, deadline=request.get("deadline"), ask_about=find)
    _require_something(snapshot)
    find(snapshot)
    unseen = [gap for kind, _ in absent for gap in snapshot.gaps_of(Evidence.TABLE, kind)]
    if unseen:
        what = "whether there is %s:%s could not be seen" % absent[0]
        raise UndeterminedError("%s (%s: %s)" % (what, unseen[0].what, unseen[0].why))
    if absent:
        names = ", ".join("%s:%s" % one for one in absent)
        listing = " ".join(dict.fromkeys(kind for kind, _ in absent))
        raise InputError("there is no %s in this namespace; 'ipcops list %s' shows what there is" % (names, listing))
    return objects_report(Case(snapshot, policy), chosen, details=True)


def _parse_object(word: str) -> Tuple[str, str]:
    kind, colon, name = word.partition(":")
    if not colon or not name:
        raise InputError("'%s' names no object; write KIND:ID, such as shm:32768 or sem:0x1111" % word)
    if kind not in KINDS:
        raise unknown_word("kind", kind, KINDS)
    if kind.startswith("posix") and not name.startswith("/"):
        name = "/" + name
    if not kind.startswith("posix"):
        try:
            int(name, 0)
        except ValueError:
            raise InputError(
                "'%s' is neither an id nor a key; write %s:32768 or %s:0x1111" % (word, kind, kind)
            ) from None
    return kind, name


def _matching(snapshot: Snapshot, kind: str, name: str) -> List[int]:
    table = snapshot.tables.get(kind)
    if table is None:
        return []
    if "path" in table:
        prefixes: Tuple[str, ...] = ("/dev/mqueue",) if kind == "posix-mq" else ("/dev/shm",)
        names = {name} | {name[len(prefix) :] for prefix in prefixes if name.startswith(prefix + "/")}
        return [row for row, path in enumerate(table["path"]) if path in names]
    number = int(name, 0)
    if name.lower().startswith("0x"):
        return [row for row, key in enumerate(table["key"]) if key == number & 0xFFFFFFFF]
    return [row for row, one in enumerate(table["id"]) if one == number]


# ---------------------------------------------------------------- rules


def _rules(request: Request) -> Report:
    wanted = request.get("rules") or ()
    for word in wanted:
        if word not in BY_ID:
            raise unknown_word("rule", word, BY_ID)
    return {"schema": RULES_SCHEMA, "rules": [_rule(rule) for rule in RULES if not wanted or rule.id in wanted]}


def _rule(rule: Rule) -> Mapping[str, Any]:
    names = ("id", "title", "kind", "severity", "topic", "samples", "rationale", "decides", "remedy", "source")
    return {name: getattr(rule, name) for name in names}
