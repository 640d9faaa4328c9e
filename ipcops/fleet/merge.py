"""What a task brought back from each host becomes one document: ``ipcops.fleet/1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipcops.core.layout import printable
from ipcops.core.model import SEVERITIES

from .summary import summary

if TYPE_CHECKING:
    from collections.abc import Mapping

FLEET_SCHEMA = "ipcops.fleet/1"

REPORTS = ("report", "audit")
"""Where ipc_health and ipc_info return what they found."""
LOST = "it was lost before it could be asked, in an earlier task or play of this run: that one's output tells why"
"""Of a host without a result."""
SKIPPED = "it was not asked: its task was skipped"
HINTS = ("MODULE FAILURE", "See stdout/stderr", "non-zero return code", "deserialization failed")
"""In messages of Ansible's that say less than what the host wrote."""
WRAPPERS = ("Task failed: ", "Action failed: ", "Module failed: ")
"""What Ansible puts before the reason, more than once if it likes."""


def entry(result: Mapping[str, Any] | None, fail_on: str) -> dict[str, Any]:
    """Return what is to be said of a host by the result of its task, ``None`` where there is none.

    *fail_on* is the least severity of a finding of an audit that makes it ``findings``.
    """
    if result is None:
        return {"status": "failed", "report": None, "error": LOST}
    if result.get("unreachable"):
        return {"status": "unreachable", "report": None, "error": error_of(result)}
    if result.get("skipped"):
        return {"status": "failed", "report": None, "error": SKIPPED}
    report = next((result[name] for name in REPORTS if result.get(name)), None)
    if report is None:
        return {"status": "failed", "report": None, "error": error_of(result)}
    return {"status": "ok" if well(report, fail_on) else "findings", "report": report, "error": None}


def well(report: Mapping[str, Any], fail_on: str) -> bool:
    """Whether nothing in a report is to be mended: of a health check its own verdict, of an audit by severity."""
    if "healthy" in report:
        return bool(report["healthy"])
    grave = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on != "none" else ()
    return not any(report["summary"][severity] for severity in grave)


def error_of(result: Mapping[str, Any]) -> str:
    """Return in one line why a task failed on a host."""
    message = str(result.get("msg") or "")
    if not message or any(hint in message for hint in HINTS):
        for stream in ("module_stderr", "stderr", "module_stdout", "stdout"):
            lines = [line.strip() for line in str(result.get(stream) or "").splitlines() if line.strip()]
            if lines:
                message = lines[-1]
                break
    message = " ".join(message.split())
    while message.startswith(WRAPPERS):
        message = message.partition(": ")[2]
    return printable(message) or "it failed without a word"


def document(entries: Mapping[str, Mapping[str, Any]], collected_at: int) -> dict[str, Any]:
    """Return the document about some hosts, collected at an epoch second."""
    return {
        "schema": FLEET_SCHEMA,
        "collected_at": collected_at,
        "hosts": dict(sorted(entries.items())),
        "summary": summary(entries, collected_at),
    }
