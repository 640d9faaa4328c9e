"""Many hosts summed up: how many are well, what is wrong with most, which are the worst."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ipcops.core.health import name_of, sentence
from ipcops.core.model import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STATUSES = ("ok", "findings", "failed", "unreachable")
WORST = 10
"""As many of the worst hosts are named."""
_BY_METRIC = {
    "shm": "shm_segments", "shm_bytes": "shm_bytes", "sem": "sem_sets", "msg": "msg_queues",
    "posix-mq": "posix_mq_queues", "posix_shm_bytes": "posix_shm_bytes",
}  # fmt: skip
"""What is totalled, by the metrics of a health check."""
_BY_USAGE = {
    "shm": ("shm", "objects"), "shm_bytes": ("shm", "bytes"), "sem": ("sem", "objects"), "msg": ("msg", "objects"),
    "posix-mq": ("posix-mq", "objects"), "posix_shm_bytes": ("posix-shm", "bytes"),
}  # fmt: skip
"""The same, by the usage of an audit."""


class Problem(NamedTuple):
    """Something that is wrong with a host."""

    name: str
    """Its rule, its metric or the job it is about."""
    severity: str
    title: str
    times: int
    words: str


def problems(report: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong by a report, worst first."""
    if "failures" in report:
        for one in report["failures"]:
            yield Problem(name_of(one), one["severity"], one["title"], one["count"], sentence(one))
        return
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for finding in report["findings"]:
        found.setdefault((finding["severity"], finding["rule"]), []).append(finding)
    for (severity, rule), group in sorted(found.items(), key=lambda one: SEVERITIES.index(one[0][0])):
        title = group[0]["title"]
        yield Problem(rule, severity, title, len(group), f"{rule} {title}")


def summary(hosts: Mapping[str, Mapping[str, Any]], collected_at: int) -> dict[str, Any]:
    """Return the sum of what is known of *hosts*: entries with ``status``, ``report`` and ``error``."""
    reports = {name: one["report"] for name, one in sorted(hosts.items()) if one["report"]}
    wrong = {name: list(problems(report)) for name, report in reports.items()}
    statuses = Counter(one["status"] for one in hosts.values())
    severities: Counter[str] = Counter()
    for found in wrong.values():
        for one in found:
            severities[one.severity] += one.times
    observed = [report["observed_at"] for report in reports.values() if report.get("source") == "monitor"]
    sources = Counter(report.get("source", "kernel") for report in reports.values())
    return {
        "hosts": {"total": len(hosts), **{status: statuses[status] for status in STATUSES}},
        "severities": {severity: severities[severity] for severity in SEVERITIES},
        "rules": _rules(wrong),
        "worst": _worst(wrong),
        "failed": [{"host": name, "error": one["error"]} for name, one in hosts.items() if one["status"] == "failed"],
        "unreachable": sorted(name for name, one in hosts.items() if one["status"] == "unreachable"),
        "reports": len(reports),
        "sources": {"monitor": sources["monitor"], "kernel": sources["kernel"]},
        "oldest": collected_at - min(observed) if observed else 0,
        "totals": {what: sum(_total(report, what) for report in reports.values()) for what in _BY_METRIC},
    }


def _rules(wrong: Mapping[str, list[Problem]]) -> list[dict[str, Any]]:
    """Return each rule, metric and job with its hosts and its worst severity; those with the most hosts first."""
    hosts: dict[str, set[str]] = {}
    counts: Counter[str] = Counter()
    worst: dict[str, Problem] = {}
    for host, found in wrong.items():
        for one in found:
            hosts.setdefault(one.name, set()).add(host)
            counts[one.name] += one.times
            known = worst.get(one.name)
            if known is None or SEVERITIES.index(one.severity) < SEVERITIES.index(known.severity):
                worst[one.name] = one
    rows = [
        {
            "name": name,
            "title": one.title,
            "severity": one.severity,
            "hosts": len(hosts[name]),
            "count": counts[name],
        }
        for name, one in worst.items()
    ]
    return sorted(rows, key=lambda one: (-one["hosts"], SEVERITIES.index(one["severity"]), one["name"]))


def _worst(wrong: Mapping[str, list[Problem]]) -> list[dict[str, Any]]:
    """Return the hosts with the most that is severe, worst first."""
    rows: list[dict[str, Any]] = []
    for host, found in wrong.items():
        counts: Counter[str] = Counter()
        for one in found:
            counts[one.severity] += one.times
        if found:
            rows.append({
                "host": host, **{severity: counts[severity] for severity in SEVERITIES}, "first": found[0].words,
            })  # fmt: skip
    rows.sort(key=lambda row: ([-row[severity] for severity in SEVERITIES], row["host"]))
    return rows[:WORST]


def _total(report: Mapping[str, Any], what: str) -> int:
    if "metrics" in report:
        return int(report["metrics"].get(_BY_METRIC[what]) or 0)
    kind, key = _BY_USAGE[what]
    return int((report["usage"].get(kind) or {}).get(key) or 0)
