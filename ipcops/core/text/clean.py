"""A cleaning run in words: what goes and why, what stays, counted by reason, and what became of it."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ..cleanreport import NOT_NAMED
from ..columns import KIND_NAMES, counted, owner
from ..layout import BLANK, GAP, Block, Para, Span, para, printable
from ..model import Report
from ..rules.base import size
from ..verdicts.case import duration
from .common import listed, name_of, not_seen

FEW = 3
"""As many objects of one sort are told one by one."""

NAMED = 12
"""As many objects that were named on the command line are told one by one."""

_NUMBER = r"\d+"


def clean(report: Report) -> Iterator[Block]:
    """Yield a plan, or what became of it."""
    yield para(_headline(report), "strong")
    done = report["applied"] and (report["removed"] or report["failed"])
    yield from (_outcome if done else _plan)(report)
    for one in report["notified"]:
        yield para(_notice(one), "plain" if one["error"] is None else "medium", 0, 2)
    yield BLANK
    yield from _looked_at(report)
    yield from not_seen(report)


def _objects(count: int) -> str:
    return "1 object" if count == 1 else "%d objects" % count


def _bytes(members: Sequence[Mapping[str, Any]]) -> int:
    return sum(one["bytes"] or 0 for one in members)


def _headline(report: Report) -> str:
    name, plan = report["host"]["hostname"], report["plan"]
    removed, failed = report["removed"], report["failed"]
    if removed or (failed and report["applied"]):
        words = "%s: removed %s" % (name, _objects(len(removed)))
        if _bytes(removed):
            words += ", which held %s" % size(_bytes(removed))
        if failed:
            words += "; %s could not be removed" % _objects(len(failed))
        return words + "."
    counts = plan["counts"]
    would = "went" if report["applied"] else "would go"
    stay = "%d stay%s" % (counts["keep"], "s" if counts["keep"] == 1 else "")
    if not counts["remove"]:
        return "%s: nothing %s; %s." % (name, would, stay)
    back = "; %s of memory come back" % size(counts["bytes"]) if counts["bytes"] else ""
    return "%s: %s would go%s; %s." % (name, _objects(counts["remove"]), back, stay)


# ---------------------------------------------------------------- the plan


def _plan(report: Report) -> Iterator[Block]:
    plan = report["plan"]
    yield from _going(plan["remove"])
    yield from _staying(plan["keep"], plan["asked"].get("objects", ()))
    for one in report["failed"]:
        yield Para((Span("%-5s" % "STAY", "low"), Span(printable("%s: %s" % (name_of(one), one["why"])))), 0, 5)
    if plan["remove"]:
        yield BLANK
        saved = any(one["backup"] != "none" for one in plan["remove"])
        backup = "a backup is made first" if saved else "no backup is made"
        yield para("Nothing was changed. With --apply these go; %s." % backup, "quiet")


def _going(removals: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    groups: Dict[Tuple[Any, ...], List[Mapping[str, Any]]] = {}
    for one in removals:
        key = one["kind"], one["owner"]["uid"], one["section"], one["confidence"], one["backup"]
        groups.setdefault(key, []).append(one)
    for members in groups.values():
        first = max(members, key=lambda one: one["bytes"] or 0)
        yield BLANK
        facts = [
            "%s of %s" % (counted(first["kind"], len(members)), owner(first)),
            *([size(_bytes(members))] if _bytes(members) else []),
            _by(first["section"]),
            first["confidence"],
            *({"none": ["without a backup"], "metadata": ["its contents not backed up"]}.get(first["backup"], [])),
        ]
        yield Para((Span("%-5s" % "GO", "high"), Span(printable(GAP.join(facts)), "strong")), 0, 5)
        shown = sorted(members, key=lambda one: -(one["bytes"] or 0))[:FEW]
        names = [_unused(one) for one in shown] + (["…"] if len(members) > FEW else [])
        yield para(", ".join(names), "plain", 5)
        such = "such as %s: " % name_of(first) if len(members) > 1 else ""
        yield para(such + "; ".join(first["reasons"]), "plain", 5)


def _by(section: str) -> str:
    return {"command line": "as named", "job-ended": "as the job ended"}.get(section, "by [remove %s]" % section)


def _unused(one: Mapping[str, Any]) -> str:
    facts = [size(one["bytes"])] if one["bytes"] else []
    if one["key"] not in (None, "0x00000000"):
        facts.insert(0, "key %s" % one["key"])
    if one["age"] is not None:
        facts.append("unused for %s" % duration(one["age"]))
    return name_of(one) + (" (%s)" % ", ".join(facts) if facts else "")


def _staying(keep: Sequence[Mapping[str, Any]], named: Sequence[str]) -> Iterator[Block]:
    """Yield what stays, counted by reason; of named objects each its own."""
    groups: Dict[str, List[Mapping[str, Any]]] = {}
    for one in keep:
        if named:
            if one["why"] != NOT_NAMED:
                groups[name_of(one)] = [one]
        else:
            used = one["verdict"] == "in-use"
            groups.setdefault("in use" if used else re.sub(_NUMBER, "", one["why"]), []).append(one)
    if groups:
        yield BLANK
    for sort, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        words = "%s: %s" % (_who(members), sort if sort == "in use" else members[0]["why"])
        yield Para((Span("%-5s" % "STAY", "low"), Span(printable(words))), 0, 5)


def _who(members: Sequence[Mapping[str, Any]]) -> str:
    if len(members) <= FEW:
        return ", ".join(map(name_of, members))
    kinds: Dict[str, int] = {}
    for one in members:
        kinds[one["kind"]] = kinds.get(one["kind"], 0) + 1
    return listed([counted(kind, count) for kind, count in kinds.items()])


# ---------------------------------------------------------------- what became of it


def _outcome(report: Report) -> Iterator[Block]:
    groups: Dict[Tuple[Any, ...], List[Mapping[str, Any]]] = {}
    for one in report["removed"]:
        groups.setdefault((one["kind"], one["owner"]["uid"], one["section"]), []).append(one)
    for members in groups.values():
        names = ", ".join(map(name_of, members[:NAMED])) + (", …" if len(members) > NAMED else "")
        held = GAP + size(_bytes(members)) if _bytes(members) else ""
        words = "%s of %s%s: %s" % (counted(members[0]["kind"], len(members)), owner(members[0]), held, names)
        yield Para((Span("%-8s" % "removed", "info"), Span(printable(words))), 0, 8)
    for one in report["failed"]:
        yield Para((Span("%-8s" % "stays", "medium"), Span(printable("%s: %s" % (name_of(one), one["why"])))), 0, 8)
    if report["removed"]:
        yield BLANK
        yield para("Written down in %s; 'ipcops journal' tells it." % report["journal"], "quiet")
    if report["backup"]:
        command = Span(printable(_restoring(report["backup"])), "command")
        yield Para((Span("To put back what went: ", "quiet"), command), 0, 4)


def _restoring(backup: Mapping[str, Any]) -> str:
    names = backup["names"]
    shown = "; ".join("ipcops restore %s" % one for one in names[:FEW])
    more = len(names) - FEW
    return shown + ("; and %d more in %s" % (more, backup["directory"]) if more > 0 else "")


def _notice(one: Mapping[str, Any]) -> str:
    what = "%s of %s" % (_objects(one["objects"]), one["owner"])
    if one["error"] is not None:
        return "Nobody could be told of %s: %s." % (what, one["error"])
    return "Told %s of %s by mail." % (one["to"], what)


def _looked_at(report: Report) -> Iterator[Block]:
    scan = report["scan"]
    objects = scan["places"][0]["objects"]
    seen = ["1 process" if scan["processes"] == 1 else "%d processes" % scan["processes"]]
    seen += [counted(kind, objects[kind]) for kind in scan["kinds"] if objects.get(kind)]
    none = [KIND_NAMES[kind][1] for kind in scan["kinds"] if objects.get(kind) == 0]
    words = "Looked at %s in %.2f s, by %s" % (listed(seen), scan["seconds"], report["policy"])
    words += "." if scan["privileged"] else ", not as root."
    if none:
        words += " There are no %s." % listed(none, "or")
    yield para(words, "quiet")
