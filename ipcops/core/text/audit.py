"""An audit in words: how the host is, the findings worst first, and what was looked at."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Tuple

from ..columns import KIND_NAMES, counted, owner
from ..layout import BLANK, GAP, Block, Para, Span, para, printable
from ..model import Evidence, Report
from ..rules.base import size
from ..rules.catalogue import BY_ID
from ..verdicts.case import duration
from .common import listed, name_of, not_seen

FOLD = 3
"""More equal findings than this are one line."""


class Fold:
    """Findings that are equal but for the object: of one rule, owner and degree."""

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.biggest: List[Tuple[int, int, Mapping[str, Any]]] = []

    def add(self, finding: Mapping[str, Any]) -> None:
        """Count one more, keeping the few biggest."""
        evidence = finding["evidence"]
        weight = evidence.get("blocks") or evidence.get("size") or evidence.get("cbytes") or 0
        self.bytes += weight
        self.biggest.append((-weight, self.count, finding))
        self.count += 1
        if len(self.biggest) > 4 * FOLD:
            self.biggest = sorted(self.biggest)[:FOLD]

    def first(self) -> List[Mapping[str, Any]]:
        """Return the biggest few."""
        return [finding for _, _, finding in sorted(self.biggest)[:FOLD]]


def audit(report: Report) -> Iterator[Block]:
    """Yield an audit: how the host is, the findings worst first, and what was looked at."""
    folds: Dict[Tuple[Any, ...], Fold] = {}
    for finding in report["findings"]:
        who = finding["owner"]["uid"] if finding["owner"] else None
        guard = finding["evidence"].get("protection")
        apart = finding["reason"] if finding["owner"] is None else None  # of the host: each its own
        key = (
            finding["severity"], finding["rule"], finding["title"], finding["kind"],
            who, finding["confidence"], guard, apart, finding["place"],
        )  # fmt: skip
        folds.setdefault(key, Fold()).add(finding)
    yield para(headline(report, folds), "strong")
    last = None
    for key, fold in folds.items():
        severity, rule, title = key[:3]
        if (severity, rule) != last:
            yield BLANK
            yield Para((Span("%-8s" % severity.upper(), severity), Span(GAP + rule + GAP + title, "strong")))
            last = (severity, rule)
        if fold.count <= FOLD:
            for finding in fold.first():
                yield from _finding(finding)
        else:
            yield from _folded(fold)
    yield BLANK
    yield from looked_at(report)


def headline(report: Report, folds: Mapping[Tuple[Any, ...], Fold]) -> str:
    """Return in plain words how the host is."""
    counts: Dict[str, int] = {}
    suspected = leaked_bytes = 0
    for key, fold in folds.items():
        topic = BY_ID[key[1]].topic
        if topic == "leak" and key[5] == "suspect":
            suspected += fold.count
            continue
        if topic == "leak":
            leaked_bytes += fold.bytes
        counts[topic] = counts.get(topic, 0) + fold.count
    parts = []
    for topic, one, many in (
        ("leak", "1 leaked object", "%d leaked objects"),
        ("suspected", "1 object that looks leaked", "%d objects that look leaked"),
        ("limit", "1 limit nearly reached", "%d limits nearly reached"),
        ("backlog", "1 queue nearly full", "%d queues nearly full"),
        ("memory", "1 matter of memory", "%d matters of memory"),
        ("exposure", "1 object open to other users", "%d objects open to other users"),
        ("idle", "1 object kept unused", "%d objects kept unused"),
        ("setting", "1 setting to look at", "%d settings to look at"),
        ("blind", "1 thing that ipcops cannot see from here", "%d things that ipcops cannot see from here"),
    ):
        count = suspected if topic == "suspected" else counts.get(topic, 0)
        if count:
            words = one if count == 1 else many % count
            parts.append(words + (" (%s)" % size(leaked_bytes) if topic == "leak" and leaked_bytes else ""))
    name, complete = report["host"]["hostname"], report["scan"]["complete"]
    if report["narrowed"]:  # then what was left out may be wrong
        sentence = "%s has %s." % (name, listed(parts)) if parts else "No finding on %s among those asked for." % name
    elif not parts:
        sentence = "%s is in order: nothing leaked, nothing near a limit, nothing open to everyone." % name
    else:
        sentence = "%s has %s." % (name, listed(parts))
        calm = [
            words
            for topics, words in ((("leak",), "leaked"), (("limit", "backlog"), "near a limit"))
            if not any(counts.get(topic) for topic in topics) and not (topics == ("leak",) and suspected)
        ]
        if calm:
            sentence += " Nothing%s is %s." % ("" if complete else " that was seen", " or ".join(calm))
    if not complete:
        sentence += " Not everything could be seen."
    return sentence

def _finding(finding: Mapping[str, Any]) -> Iterator[Block]:
    evidence = finding["evidence"]
    facts = []
    if finding["id"] is not None or finding["path"] is not None:
        facts = [name_of(finding)]
        if finding["key"] is not None and finding["key"] != "0x00000000":
            facts.append("key %s" % finding["key"])
        facts.append(owner(finding))
        weight = evidence.get("blocks") or evidence.get("size")
        if weight:
            facts.append(size(weight))
        if evidence.get("nattch"):
            facts.append("attached")
        elif evidence.get("age") is not None:
            facts.append("last used %s ago" % duration(evidence["age"]))
        facts.append(finding["confidence"])
        if finding["place"]:
            facts.append("in %s" % finding["place"])
        yield Para((Span(GAP.join(map(printable, facts)), "plain"),), 2, 2)
    indent = 4 if facts else 2
    yield para(finding["reason"], "plain", indent)
    yield _fix(finding["remedy"], indent)


def _fix(remedy: str, indent: int) -> Para:
    return Para((Span("fix: ", "quiet"), Span(printable(remedy), "command")), indent, 5)


def _folded(fold: Fold) -> Iterator[Block]:
    biggest = fold.first()
    first = biggest[0]
    names = []
    for finding in biggest:
        evidence = finding["evidence"]
        weight = evidence.get("blocks") or evidence.get("size") or evidence.get("cbytes")
        names.append(name_of(finding) + (" (%s)" % size(weight) if weight else ""))
    words = "%s of %s%s, %s%s: %s" % (
        counted(first["kind"], fold.count), owner(first),
        ", %s" % size(fold.bytes) if fold.bytes else "", first["confidence"],
        ", in %s" % first["place"] if first["place"] else "", ", ".join(names),
    )  # fmt: skip
    yield Para((Span(printable(words) + ", …"),), 2, 2)
    yield para("such as %s: %s" % (name_of(first), first["reason"]), "plain", 4)
    yield _fix(first["remedy"], 4)


def looked_at(report: Report) -> Iterator[Block]:
    """Yield what the scan covered and what it could not see."""
    usage, scan = report["usage"], report["scan"]
    partly = {gap["kind"] for gap in scan["skipped"] if gap["evidence"] == Evidence.TABLE}
    seen = ["1 process" if scan["processes"] == 1 else "%d processes" % scan["processes"]]
    none = []
    for kind in scan["kinds"]:
        if usage[kind] and usage[kind]["objects"]:
            seen.append(counted(kind, usage[kind]["objects"]))
        elif kind not in partly:
            none.append(KIND_NAMES[kind][1])
    words = "Looked at %s in %.2f s" % (listed(seen), scan["seconds"])
    others = len(scan["places"]) - 1
    if others:
        words += ", here and in %d other %s" % (others, "place" if others == 1 else "places")
    words += "." if scan["privileged"] else ", not as root."
    if none:
        words += " There are no %s." % listed(none, "or")
    yield para(words, "quiet")
    yield from not_seen(report)
