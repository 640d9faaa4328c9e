"""The same namespace with every object world-writable, so that each is a finding."""

from __future__ import annotations

from functools import partial
from typing import Any

from .harness import Command, Figure, Result, ipcops, measure, namespace, tally
from .many_objects import AUDIT
from .objects import QUEUES, SEGMENTS, SETS, fill

NAME = "all-findings"
ROUNDS = 9


def run(rounds: int) -> Result:
    """Compare with `ipcs -a`, which prints each object on one line."""
    with namespace(partial(fill, SEGMENTS, SETS, QUEUES, 0o666)) as full:
        audit = ipcops(*AUDIT, where=full)
        timings = measure([audit, Command("ipcs -a", ("ipcs", "-a"), where=full)], rounds)
        found = tally(audit, _count) if timings[audit.name].seconds else None
    objects = SEGMENTS + SETS + QUEUES
    result = Result(NAME, f"{objects:,} objects, mode 0666", timings, base="ipcs -a")
    result.compare(audit.name, 1.6)
    result.bound_memory(audit.name, 150)
    missing = None
    if found and "error" in found:
        result.notes.append(f"the JSON could not be checked: {found['error']}")
    elif found:
        missing = objects - found["objects"]
        result.notes.append(
            f"{found['findings']:,} findings about {found['objects']:,} objects "
            f"in {found['bytes'] / 1e6:.1f} MB of JSON"
        )
    result.figures.append(Figure("objects without a finding", missing, 0))
    return result


def _count(report: dict[str, Any]) -> dict[str, Any]:
    findings = report["findings"]
    named = {(finding["kind"], finding["id"]) for finding in findings if finding["id"] is not None}
    return {"findings": len(findings), "objects": len(named)}
