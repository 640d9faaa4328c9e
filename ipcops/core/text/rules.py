"""The catalogue of rules in words."""

from __future__ import annotations

from typing import Iterator

from ..layout import BLANK, Block, Grid, para
from ..model import Report
from ..rules.catalogue import BY_ID


def rules(report: Report) -> Iterator[Block]:
    """Yield the catalogue; rules that were named, in full."""
    listed = report["rules"]
    if len(listed) == len(BY_ID):
        rows = [[one["id"], one["severity"], one["kind"], one["title"]] for one in listed]
        yield Grid(("RULE", "SEVERITY", "KIND", "TITLE"), rows, (False,) * 4)
        yield BLANK
        yield para("ipcops rules RULE tells one in full.", "quiet")
        return
    for number, one in enumerate(listed):
        if number:
            yield BLANK
        yield para("%s  %s" % (one["id"], one["title"]), "strong")
        yield para("severity %s, about %s" % (one["severity"], one["kind"]), "quiet")
        if one["samples"] > 1:
            yield para("needs --samples %d to be certain" % one["samples"], "quiet")
        for title in ("rationale", "decides", "remedy", "source"):
            yield BLANK
            yield para({"decides": "how it decides"}.get(title, title), "strong")
            yield para(one[title], "plain", 2)
