"""Reports as text for a person: blocks that say what to show, and the plain way to show them.

The agent prints plain text; ``ipcops/show`` prints the same blocks in colour on a terminal.
Nothing here decides anything: it words what the report dictionary says.
"""

from __future__ import annotations

import textwrap
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Sequence, Tuple, Union

from .columns import COLUMNS, KIND_NAMES, Show, counted, owner
from .model import Evidence, Report
from .rules import BY_ID
from .rules.base import size
from .verdicts.case import duration

FOLD = 3
"""More equal findings than this are one line."""
SKIPPED_SHOWN = 3
LEAST_WHY = 24
GAP = "  "


class Span(NamedTuple):
    """A piece of text and what it is: a severity, ``strong``, ``quiet`` or ``plain``."""

    text: str
    style: str = "plain"


class Para(NamedTuple):
    """Running text, indented; its further lines hang in deeper."""

    spans: Tuple[Span, ...]
    indent: int = 0
    hang: int = 0


class Grid(NamedTuple):
    """A table: headings, rows of text, and which columns are aligned right."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[bool]


BLANK = Para(())


def printable(text: str) -> str:
    """Return *text* with everything that a terminal would obey, or cannot show, escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    number = ord(one)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return "\\x%02x" % (number - 0xDC00)
    return one.encode("unicode_escape", "backslashreplace").decode("ascii")


def _para(text: str, style: str = "plain", indent: int = 0, hang: int = 0) -> Para:
    return Para((Span(printable(text), style),), indent, hang)


def name_of(one: Mapping[str, Any]) -> str:
    """Return how the command line calls the object of a finding or an object row."""
    if one.get("path") is not None:
        return "%s:%s" % (one["kind"], one["path"])
    return "%s:%s" % (one["kind"], one["id"])


# ---------------------------------------------------------------- audit


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
            who, finding["confidence"], guard, apart,
        )  # fmt: skip
        folds.setdefault(key, Fold()).add(finding)
    yield _para(headline(report, folds), "strong")
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
    ):
        count = suspected if topic == "suspected" else counts.get(topic, 0)
        if count:
            words = one if count == 1 else many % count
            parts.append(words + (" (%s)" % size(leaked_bytes) if topic == "leak" and leaked_bytes else ""))
    name, complete = report["host"]["hostname"], report["scan"]["complete"]
    if report["narrowed"]:  # then what was left out may be wrong
        sentence = "%s has %s." % (name, _listed(parts)) if parts else "No finding on %s among those asked for." % name
    elif not parts:
        sentence = "%s is in order: nothing leaked, nothing near a limit, nothing open to everyone." % name
    else:
        sentence = "%s has %s." % (name, _listed(parts))
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


def _listed(parts: Sequence[str], last: str = "and") -> str:
    return parts[0] if len(parts) == 1 else "%s %s %s" % (", ".join(parts[:-1]), last, parts[-1])


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
        yield Para((Span(GAP.join(map(printable, facts)), "plain"),), 2, 2)
    indent = 4 if facts else 2
    yield _para(finding["reason"], "plain", indent)
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
    words = "%s of %s%s, %s: %s" % (
        counted(first["kind"], fold.count), owner(first),
        ", %s" % size(fold.bytes) if fold.bytes else "", first["confidence"], ", ".join(names),
    )  # fmt: skip
    yield Para((Span(printable(words) + ", …"),), 2, 2)
    yield _para("such as %s: %s" % (name_of(first), first["reason"]), "plain", 4)
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
    words = "Looked at %s in %.2f s" % (_listed(seen), scan["seconds"])
    words += "." if scan["privileged"] else ", not as root."
    if none:
        words += " There are no %s." % _listed(none, "or")
    yield _para(words, "quiet")
    yield from not_seen(report)


def not_seen(report: Report) -> Iterator[Block]:
    """Yield the gaps of a scan, and what else is worth a note."""
    for note in report["notes"]:
        yield _para("Note: %s." % note, "quiet", 0, 6)
    skipped = report["scan"]["skipped"]
    if not skipped:
        return
    by_why: Dict[str, List[str]] = {}
    for gap in skipped:
        by_why.setdefault(gap["why"], []).append(gap["what"])
    yield _para("Not seen, and what depends on it is unknown:", "quiet")
    for why, whats in by_why.items():
        more = len(whats) - SKIPPED_SHOWN
        words = ", ".join(whats[:SKIPPED_SHOWN]) + (" and %d more" % more if more > 0 else "")
        yield _para("%s: %s" % (words, why), "quiet", 2, 2)
    if not report["scan"]["privileged"]:
        yield _para("Root sees more.", "quiet", 2)


# ---------------------------------------------------------------- objects


def objects(report: Report) -> Iterator[Block]:
    """Yield the objects, a table for each kind."""
    kinds: Dict[str, List[Mapping[str, Any]]] = {}
    for one in report["objects"]:
        kinds.setdefault(one["kind"], []).append(one)
    for number, kind in enumerate(kind for kind in report["scan"]["kinds"] if kind in kinds):
        if number:
            yield BLANK
        yield _para(counted(kind, len(kinds[kind])), "strong")
        columns = COLUMNS[kind]
        yield ObjectGrid(columns, [[printable(column.text(one)) for column in columns] for one in kinds[kind]])
    if not kinds:
        names = _listed([KIND_NAMES[kind][1] for kind in report["scan"]["kinds"]])
        yield _para("Nothing to list among %s." % names, "strong")
    if report["scan"]["skipped"]:
        yield BLANK
    yield from not_seen(report)


class ObjectGrid(NamedTuple):
    """A table whose optional columns appear as the width allows."""

    columns: Sequence[Show]
    rows: Sequence[Sequence[str]]

    def fitted(self, width: int) -> Grid:
        """Return the table for a width in characters."""
        widths = [
            max([len(column.heading)] + [len(row[at]) for row in self.rows]) for at, column in enumerate(self.columns)
        ]
        kept = [at for at, column in enumerate(self.columns) if not column.optional]
        used = sum(widths[at] + len(GAP) for at in kept[:-1]) + LEAST_WHY
        for at in sorted((at for at, column in enumerate(self.columns) if column.optional), key=self._order):
            if used + widths[at] + len(GAP) > width:
                break
            used += widths[at] + len(GAP)
            kept.append(at)
        kept.sort()
        return Grid(
            [self.columns[at].heading for at in kept],
            [[row[at] for at in kept] for row in self.rows],
            [self.columns[at].right for at in kept],
        )

    def _order(self, at: int) -> int:
        return self.columns[at].optional


Block = Union[Para, Grid, ObjectGrid]

_TIMES = frozenset(("atime", "dtime", "ctime", "otime", "stime", "rtime", "mtime"))
_LEFT_OUT = frozenset(
    ("kind", "id", "path", "verdict", "confidence", "reasons", "protection", "holders", "waiters", "semaphores", "age")
)


def details(report: Report) -> Iterator[Block]:
    """Yield all that is known of each object."""
    for number, one in enumerate(report["objects"]):
        if number:
            yield BLANK
        yield _para("%s is %s (%s)" % (name_of(one), one["verdict"], one["confidence"]), "strong")
        for reason in one["reasons"]:
            yield _para(reason, "plain", 2, 2)
        guard = one["protection"]
        if guard:
            yield _para("protected by [protect %s]: %s" % (guard["name"], guard["reason"]), "plain", 2, 2)
        yield BLANK
        rows = [[name, _value(name, value, report)] for name, value in one.items() if name not in _LEFT_OUT]
        yield Grid(("", ""), rows, (False, False))
        for title, members in (("holders", one["holders"]), ("waiters", one["waiters"])):
            if members:
                yield BLANK
                yield _para(title, "strong")
                headings = [name for name in ("pid", "tid", "command", "call", "started_at") if name in members[0]]
                yield Grid(
                    [name.upper().replace("_", " ") for name in headings],
                    [[_value(name, member[name], report) for name in headings] for member in members],
                    [name in ("pid", "tid") for name in headings],
                )
        if one.get("semaphores"):
            yield BLANK
            yield _para("semaphores", "strong")
            names = ("number", "value", "pid", "ncnt", "zcnt")
            yield Grid(
                [name.upper() for name in names],
                [[str(member[name]) for name in names] for member in one["semaphores"]],
                [True] * len(names),
            )
    if report["scan"]["skipped"]:
        yield BLANK
    yield from not_seen(report)


def _value(name: str, value: Any, report: Report) -> str:
    if value is None:
        return "-"
    if name in _TIMES or name == "started_at":
        if not value:
            return "never"
        ago = report["scan"]["started_at"] - value
        return "%d (%s ago)" % (value, duration(max(0, ago)))
    if name in ("size", "rss", "swap", "blocks") and value >= 1024:
        return "%d (%s)" % (value, size(value))
    if isinstance(value, dict):
        return " ".join("%s=%s" % (key, "-" if one is None else printable(str(one))) for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


# ---------------------------------------------------------------- rules


def rules(report: Report) -> Iterator[Block]:
    """Yield the catalogue; rules that were named, in full."""
    listed = report["rules"]
    if len(listed) == len(BY_ID):
        rows = [[one["id"], one["severity"], one["kind"], one["title"]] for one in listed]
        yield Grid(("RULE", "SEVERITY", "KIND", "TITLE"), rows, (False,) * 4)
        yield BLANK
        yield _para("ipcops rules RULE tells one in full.", "quiet")
        return
    for number, one in enumerate(listed):
        if number:
            yield BLANK
        yield _para("%s  %s" % (one["id"], one["title"]), "strong")
        yield _para("severity %s, about %s" % (one["severity"], one["kind"]), "quiet")
        if one["samples"] > 1:
            yield _para("needs --samples %d to be certain" % one["samples"], "quiet")
        for title in ("rationale", "decides", "remedy", "source"):
            yield BLANK
            yield _para({"decides": "how it decides"}.get(title, title), "strong")
            yield _para(one[title], "plain", 2)


# ---------------------------------------------------------------- plain text


def plain(blocks: Iterable[Block], width: int = 80) -> Iterator[str]:
    """Yield the lines of *blocks*, each with its line end, at most *width* wide where words allow."""
    for block in blocks:
        if isinstance(block, Para):
            yield from _plain_para(block, width)
        else:
            grid = block.fitted(width) if isinstance(block, ObjectGrid) else block
            for cells in laid_out(grid, width):
                yield GAP.join(cells).rstrip() + "\n"


def _plain_para(para: Para, width: int) -> Iterator[str]:
    text = "".join(span.text for span in para.spans)
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=" " * para.indent,
        subsequent_indent=" " * (para.indent + para.hang),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    for line in lines or [""]:
        yield line.rstrip() + "\n"


def laid_out(grid: Grid, width: int) -> Iterator[List[str]]:
    """Yield the lines of a table, headings first, as padded cells; the last one takes what the width leaves."""
    rows = [grid.headings, *grid.rows] if any(grid.headings) else grid.rows
    if not rows:
        return
    widths = [max(len(row[at]) for row in rows) for at in range(len(grid.headings))]
    widths[-1] = max(1, min(widths[-1], width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)))
    for row in rows:
        cells = [
            text.rjust(room) if right else text.ljust(room) for text, room, right in zip(row, widths, grid.right)
        ]
        if len(cells[-1]) > widths[-1]:
            cells[-1] = cells[-1][: widths[-1] - 1] + "…"
        yield cells


LAYOUTS = {"audit": audit, "list": objects, "show": details, "rules": rules}
"""Command to the function that lays out its report."""
