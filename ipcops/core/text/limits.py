"""Kernel limits in words: what they are, what profiles ask for, what would be or was changed."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from ..columns import Show
from ..layout import BLANK, Block, ObjectGrid, Para, Span, para, printable
from ..model import ENDLESS, Report
from .common import listed, not_seen

Entry = Mapping[str, Any]

_STYLES = {"raise": "info", "lower": "medium", "manual": "low", "unwritable": "high", "keep": "quiet"}
_WORDS = {"raise": "RAISE", "lower": "LOWER", "manual": "BY HAND", "unwritable": "CANNOT", "keep": "STAY"}
_SWITCHES = {0: "no", 1: "yes"}


def limits(report: Report) -> Iterator[Block]:
    """Yield the report of any of the commands about limits."""
    layouts: Dict[str, Callable[[Report], Iterator[Block]]] = {
        "show": _show, "profiles": _profiles, "plan": _plan, "apply": _plan, "rollback": _rollback,
    }  # fmt: skip
    return layouts[report["verb"]](report)


def _number(one: Entry, value: Optional[int]) -> str:
    if value is None:
        return "-"
    if one["unit"] == "switch":
        return _SWITCHES.get(value, str(value))
    if value == one["unlimited"] or (value >= ENDLESS and one["unlimited"] is None):
        return "no limit"
    return str(value)


# ---------------------------------------------------------------- show


def _show(report: Report) -> Iterator[Block]:
    yield ObjectGrid(_COLUMNS, [[printable(column.text(one)) for column in _COLUMNS] for one in report["parameters"]])
    yield BLANK
    yield from _after_boot(report)
    yield from not_seen(report)


def _set_by(one: Entry) -> str:
    where = one["persisted"]
    if where is None:
        return "-"
    line = "" if where["line"] is None else ":%d" % where["line"]
    return "%s%s (%s)" % (where["file"], line, _number(one, where["value"]))


def _accepted(one: Entry) -> str:
    if one["unit"] == "switch":
        return "yes or no"
    least, most = one["accepted"]
    return "%d to %s" % (least, "no limit" if most >= ENDLESS else most)


_COLUMNS = (
    Show("LIMIT", lambda one: one["name"]),
    Show("NOW", lambda one: _number(one, one["current"]), right=True),
    Show("DEFAULT", lambda one: _number(one, one["kernel_default"]), right=True),
    Show("USED", lambda one: _number({**one, "unit": "", "unlimited": -1}, one["used"]), right=True),
    Show("UNIT", lambda one: one["unit"], optional=2),
    Show("ACCEPTS", _accepted, optional=1),
    Show("SET BY", _set_by),
)


# ---------------------------------------------------------------- profiles


def _profiles(report: Report) -> Iterator[Block]:
    if not report["named"]:
        profiles = report["profiles"]
        yield ObjectGrid(_LISTED, [[printable(column.text(one)) for column in _LISTED] for one in profiles])
        yield BLANK
        yield para("ipcops limits profiles PROFILE tells one in full, with its values for this host.", "quiet")
        return
    for number, one in enumerate(report["profiles"]):
        if number:
            yield BLANK
        yield from _profile(one)


_LISTED = (
    Show("PROFILE", lambda one: one["name"]),
    Show("LIMITS", lambda one: str(len(one["parameters"])), right=True),
    Show("FOR", lambda one: one["title"]),
)


def _profile(one: Entry) -> Iterator[Block]:
    yield para("%s  %s" % (one["name"], one["title"]), "strong")
    yield para("source: %s" % one["source"], "quiet", 0, 2)
    if one["file"]:
        yield para("from %s" % one["file"], "quiet")
    if one["note"]:
        yield para(one["note"])
    for term in one["terms"]:
        yield para("%s=%d  %s" % (term["name"], term["value"], term["meaning"]), "plain", 2, 4)
    for row in one["parameters"]:
        value = "no value here" if row["floor"] is None else str(row["floor"])
        formula = "" if row["formula"] == value else "  = %s" % row["formula"]
        text = "  %s%s" % (value, formula) + ("" if row["source"] == one["source"] else "  (%s)" % row["source"])
        yield Para((Span(row["name"], "strong"), Span(printable(text))), 2, 4)


# ---------------------------------------------------------------- plan and apply


def _plan(report: Report) -> Iterator[Block]:
    yield para(_headline(report), "strong")
    by_action: Dict[str, List[Entry]] = {}
    for one in report["parameters"]:
        by_action.setdefault(one["action"], []).append(one)
    failed = {one["name"]: one["why"] for one in report.get("failed", ())}
    for action in ("raise", "lower", "manual", "unwritable"):
        for one in by_action.get(action, ()):
            yield from _row(one)
    for name, why in failed.items():
        if not any(name == one["name"] for one in by_action.get("unwritable", ())):
            yield _line("FAILED", "high", "%s: %s" % (name, why))
    if "keep" in by_action:
        yield _line("STAY", "quiet", ", ".join(_brief(one) for one in by_action["keep"]))
    yield from _after_boot(report)
    yield from _closing(report)
    yield from not_seen(report)


def _headline(report: Report) -> str:
    name, rows = report["host"]["hostname"], report["parameters"]
    done = report["applied"]
    changed = sum(one["action"] in ("raise", "lower") for one in rows)
    parts = []
    if report.get("failed") and not done:
        parts.append("nothing was changed")
    elif changed and (report["changes"] or not done):
        parts.append("%d limit%s %s" % (changed, "s" * (changed != 1), "set" if done else "would be set"))
    else:
        parts.append("nothing %s to be set" % ("was" if done else "is"))
    by_hand = sum(one["action"] == "manual" for one in rows)
    if by_hand:
        parts.append("%d %s to be set by hand" % (by_hand, "is" if by_hand == 1 else "are"))
    return "%s: %s." % (name, listed(parts))


def _brief(one: Entry) -> str:
    return "%s (%s)" % (one["name"], _number(one, one["current"]))


def _row(one: Entry) -> Iterator[Block]:
    action = one["action"]
    now, then = _number(one, one["current"]), _number(one, one["recommended"])
    text = "%s  %s" % (one["name"], now if now == then or one["recommended"] is None else "%s to %s" % (now, then))
    yield _line(_WORDS[action], _STYLES[action], text)
    if one["why"]:
        yield para(one["why"], "plain", 8)
    hand = one["manual"]
    if hand is not None:
        for number, line in enumerate(hand["text"].rstrip("\n").split("\n")):
            before = "in %s: " % hand["file"] if not number else " " * len("in %s: " % hand["file"])
            yield Para((Span(printable(before), "quiet"), Span(printable(line), "command")), 8)
        yield Para((Span("then: ", "quiet"), Span(printable(hand["command"]), "command")), 8, 6)
        if hand["note"]:
            yield para(hand["note"], "quiet", 8)


def _line(word: str, style: str, text: str) -> Para:
    return Para((Span("%-8s" % word, style), Span(printable(text))), 0, 8)


def _after_boot(report: Report) -> Iterator[Block]:
    """Yield which other file wins at the next boot."""
    for one in report["overrides"]:
        who = "" if one["loader"] is None else ", says %s" % one["loader"]
        unsure = "may not be what counts" if one["loader"] is None else "is not what counts at the next boot"
        yield _line("LOSES", "high", "%s of %s %s%s: %s" % (one["name"], report["file"], unsure, who, one["why"]))


def _closing(report: Report) -> Iterator[Block]:
    files = [one["name"] for one in report["changes"] if one["name"].startswith("/")]
    if report.get("batch") and report["changes"]:
        if files:
            yield para("Written to %s." % listed(files), "quiet")
        command = "ipcops limits rollback %s" % report["batch"]
        yield Para((Span("to undo it: ", "quiet"), Span(command, "command")), 0, 4)
    elif not report["applied"] and report["changes"]:
        also = "; %s is written for the next boot" % listed(files) if files else ""
        yield para("Nothing was changed. 'ipcops limits apply' sets this%s." % also, "quiet")


# ---------------------------------------------------------------- rollback


def _rollback(report: Report) -> Iterator[Block]:
    done, changes = report["applied"], report["changes"]
    what = "%d thing%s %s" % (len(changes), "s" * (len(changes) != 1), "put back" if done else "would be put back")
    yield para("%s: %s." % (report["host"]["hostname"], what), "strong")
    for one in changes:
        yield _line("BACK", "info", _change(one))
    for one in report.get("failed", ()):
        yield _line("FAILED", "high", "%s: %s" % (one["name"], one["why"]))
    for word, style, some in (("REFUSED", "medium", report["refused"]), ("LEFT", "low", report["left"])):
        for one in some:
            yield _line(word, style, "%s: %s" % (one["name"], one["why"]))
    yield para("This takes back %s." % listed(report["batches"] or ["nothing: nothing applied stands"]), "quiet")
    yield from not_seen(report)


def _change(one: Entry) -> str:
    before, after = one["before"], one["after"]
    if one["name"].startswith("/"):
        words = "removed" if after is None else "made again" if before is None else "as it was before"
        return "%s  %s" % (one["name"], words)
    return "%s  %s to %s" % (one["name"], _plain(before), _plain(after))


def _plain(value: Any) -> str:
    return " ".join(map(str, value.values())) if isinstance(value, dict) else str(value)
