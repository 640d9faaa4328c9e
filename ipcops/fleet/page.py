"""What is wrong with hosts in plain text, 80 columns wide: one host in full, or a fleet of any size on one page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ipcops.core.health import SOURCES, sentence
from ipcops.core.layout import BLANK, Grid, para, plain, printable
from ipcops.core.model import SEVERITIES
from ipcops.core.rules.base import size

from .summary import WORST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ipcops.core.layout import Block

RULES, ERRORS, NAMES = 15, 5, 24
"""As many rules, ways to fail and unreachable hosts are told one by one."""
FEW = 4
"""As many hosts are named that failed in the same way."""
LINES = 140
"""An error is cut after so many characters."""
LONG = 32
"""A name is cut after so many characters."""


def host_lines(name: str, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that tell all failures of a host with their remedies."""
    yield from plain(_host(name, report))


def _host(name: str, report: Mapping[str, Any]) -> Iterator[Block]:
    failures = counted(len(report["failures"]), "failure")
    yield para(f"{printable(name)}: {failures}, by what {SOURCES[report['source']]}", "strong")
    for one in report["failures"]:
        yield para(f"{one['severity']}  {sentence(one)}", one["severity"], 2, 4)
        yield para(f"fix: {one['remedy']}", "command", 4, 5)
        if one["runbook"]:
            yield para(f"see docs/runbooks/{one['runbook']}.md", "quiet", 4)


def fleet_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the page about all hosts of a document (``ipcops.fleet/1``)."""
    yield from plain(_fleet(document["summary"], document["collected_at"]))


def _fleet(summary: Mapping[str, Any], when: int) -> Iterator[Block]:
    hosts = summary["hosts"]
    at = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield para(f"IPC on {counted(hosts['total'], 'host')}, {at}", "strong")
    yield para(
        f"{hosts['ok']} well, {hosts['findings']} with something to mend, {hosts['failed']} that could not be asked,"
        f" {hosts['unreachable']} unreachable",
        indent=2,
        hang=2,
    )
    yield from _rules(summary["rules"])
    yield from _worst(summary["worst"])
    yield from _errors("Could not be asked", summary["failed"])
    yield from _unreachable(summary["unreachable"])
    yield from _seen(summary)


def _rules(rules: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if not rules:
        return
    yield BLANK
    rows = [
        [str(one["hosts"]), str(one["count"]), one["severity"], cut(one["name"]), printable(one["title"])]
        for one in rules[:RULES]
    ]
    yield Grid(("hosts", "count", "severity", "what", ""), rows, (True, True, False, False, False))
    yield from _more(len(rules) - RULES, "of which fewer hosts have each")


def _worst(worst: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if not worst:
        return
    yield BLANK
    rows = [
        [cut(one["host"]), *(str(one[severity] or "-") for severity in SEVERITIES), printable(one["first"])]
        for one in worst[:WORST]
    ]
    right = (False, *(True for _ in SEVERITIES), False)
    yield Grid(("worst hosts", *SEVERITIES, "first of all"), rows, right)


def _errors(heading: str, failed: Sequence[Mapping[str, str]]) -> Iterator[Block]:
    if not failed:
        return
    yield BLANK
    yield para(heading, "strong")
    by_error: dict[str, list[str]] = {}
    for one in failed:
        by_error.setdefault(one["error"], []).append(one["host"])
    most = sorted(by_error.items(), key=lambda one: (-len(one[1]), one[1]))
    for error, names in most[:ERRORS]:
        short = error if len(error) <= LINES else error[: LINES - 1] + "…"
        yield para(f"{named(names, FEW)}: {short}", "plain", 2, 2)
    yield from _more(len(most) - ERRORS, "that failed in yet other ways")


def _unreachable(names: Sequence[str]) -> Iterator[Block]:
    if names:
        yield BLANK
        yield para("Unreachable", "strong")
        yield para(named(names, NAMES), "plain", 2)


def _seen(summary: Mapping[str, Any]) -> Iterator[Block]:
    total = summary["totals"]
    if not summary["reports"]:
        return
    words = [
        f"{counted(total['shm'], 'segment')} ({size(total['shm_bytes'])})",
        counted(total["sem"], "semaphore set"),
        counted(total["msg"], "queue"),
        counted(total["posix-mq"], "POSIX queue"),
        f"{size(total['posix_shm_bytes'])} in /dev/shm",
    ]
    yield BLANK
    sources = summary["sources"]
    by = f"{sources['kernel']} as their kernel tells now"
    if sources["monitor"]:
        by = f"{sources['monitor']} as their monitor wrote up to {max(0, summary['oldest'])} s ago, {by}"
    yield para(f"On {counted(summary['reports'], 'host')} ({by}): {', '.join(words)}.", "quiet")


def _more(count: int, what: str) -> Iterator[Block]:
    if count > 0:
        yield para(f"and {count} more, {what}", "quiet", 2)


def counted(count: float, noun: str) -> str:
    """Return a number of things."""
    return f"{count:.0f} {noun}" if count == 1 else f"{count:.0f} {noun}s"


def cut(name: str) -> str:
    """Return the name of a host or a metric, at most so long."""
    shown = printable(name)
    return shown if len(shown) <= LONG else shown[: LONG - 1] + "…"


def named(names: Sequence[str], most: int) -> str:
    """Return names of hosts, so many of them."""
    more = len(names) - most
    return ", ".join(map(cut, names[:most])) + (f" and {more} more" if more > 0 else "")
