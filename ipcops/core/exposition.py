"""Families of metrics as text: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from .families import FAMILIES, PREFIX
from .model import Report


def exposition(report: Report) -> Iterator[str]:
    """Yield each family of a report that has samples, in the order of their list."""
    found: Mapping[str, Sequence[Mapping[str, Any]]] = report["families"]
    for suffix, _, meaning in FAMILIES:
        name = PREFIX + suffix
        samples = found.get(name)
        if samples:
            lines = ["# HELP %s %s" % (name, escaped_help(meaning)), "# TYPE %s gauge" % name]
            for sample in samples:
                pairs = ",".join('%s="%s"' % (label, escaped(value)) for label, value in sample["labels"].items())
                lines.append("%s%s %s" % (name, "{%s}" % pairs if pairs else "", sample["value"]))
            yield "\n".join(lines) + "\n"


def escaped(value: str) -> str:
    """Return a label value as it stands between quotes; what no UTF-8 can say becomes a question mark."""
    text = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return text.encode("utf-8", "replace").decode("utf-8")


def escaped_help(text: str) -> str:
    """Return a text as it stands in a HELP line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")
