"""Thresholds of monitoring plugins: ``10``, ``10:``, ``~:10``, ``10:20`` and ``@10:20``.

https://nagios-plugins.org/doc/guidelines.html#THRESHOLDFORMAT
"""

from __future__ import annotations

import re

from .tuples import NamedTuple

ENDLESS = float("inf")
_NUMBER = r"-?(?:[0-9]{1,20}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
_RANGE = r"(@?)(?:(~|%s)?(:))?(%s)?\Z" % (_NUMBER, _NUMBER)


class Range(NamedTuple):
    """Where a value is well: from *start* to *end*, both included; with *inside* that is where it is not."""

    start: float
    end: float
    inside: bool
    text: str

    def alerts(self, value: float) -> bool:
        """Whether *value* is to be reported."""
        return (self.start <= value <= self.end) == self.inside

    def within(self, other: Range) -> bool:
        """Whether *other* reports every value from 0 on that this one reports."""
        edges = {0.0, *(edge for one in (self, other) for edge in (one.start, one.end) if 0 <= edge < ENDLESS)}
        values = sorted({*edges, *(edge + 0.5e-9 * max(1.0, edge) for edge in edges), 1e30})
        between = [(low + high) / 2 for low, high in zip(values, values[1:])]
        return not any(self.alerts(value) and not other.alerts(value) for value in (*values, *between))


NEVER = Range(-ENDLESS, ENDLESS, inside=False, text="~:")
ALWAYS = Range(-ENDLESS, ENDLESS, inside=True, text="@~:")


def parse_range(text: str) -> Range:
    """Return the range that *text* means. Raise ValueError where it is none, or reports no value from 0 on, or all."""
    found = re.match(_RANGE, text)
    if not found or not (found.group(3) or found.group(4)):
        raise ValueError("'%s' is no range; write 10, 10:, ~:10, 10:20 or @10:20" % text)
    at, start, _, end = found.groups()
    low = -ENDLESS if start == "~" else float(start or 0)
    high = ENDLESS if end is None else float(end)
    if low > high:
        raise ValueError("the range '%s' ends before it begins" % text)
    one = Range(low, high, bool(at), text)
    if one.within(NEVER):
        raise ValueError("the range '%s' never alerts: nothing here is less than 0" % text)
    if ALWAYS.within(one):
        raise ValueError("the range '%s' always alerts: nothing here is less than 0" % text)
    return one
