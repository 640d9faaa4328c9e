# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_clean: the plan of the core on the host, or what became of it."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.ipcops.linux.plugins.plugin_utils.asking import Asking
from ansible_collections.ipcops.linux.plugins.plugin_utils.objects import listed, name_of, why

NARROWING = ("kinds", "owner", "min_age", "job_ended", "max_removals", "with_data", "no_backup", "notify")


class ActionModule(Asking):
    """What goes is decided by the core alone."""

    RELATIONS: ClassVar[dict[str, Any]] = {
        "mutually_exclusive": [
            ["backup", "no_backup"],
            *(["objects", one] for one in ("kinds", "owner", "min_age", "job_ended", "notify")),
            *(["job_ended", one] for one in ("owner", "min_age", "notify")),
            *(["plan", one] for one in ("objects", *NARROWING)),
        ]
    }

    def request(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what is asked for."""
        approved = options.pop("plan")
        check = self._task.check_mode
        return {
            "command": "clean",
            **options,
            "apply": not check,
            "approved": approved,
            "missing_ok": True,
            "foresee": check,
            "preview": check,
        }

    def told(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return what a report says, as the documentation of the module has it."""
        reasons = [why(one) for one in report["failed"] if not one["gone"]]
        reasons += [f"the mail to {one['to']}: {one['error']}" for one in report["notified"] if one["error"]]
        if report["interrupted"]:
            reasons.append("the run was interrupted")
        return {
            "changed": bool(report["removed"] if report["applied"] else report["plan"]["remove"]),
            "plan": report["plan"],
            "removed": report["removed"],
            "not_removed": report["failed"],
            "journal": report["journal"],
            "backup": report["backup"],
            "notified": report["notified"],
            "notes": report["notes"],
            **self.failure(reasons),
        }

    def differences(self, report: dict[str, Any]) -> list[dict[str, str]]:
        """Return what goes: each object on a line that is there before and not after."""
        before = report["plan"]["remove"]
        gone = {name_of(one) for one in (report["removed"] if report["applied"] else before)}
        return [self.difference("objects", listed(before), listed(one for one in before if name_of(one) not in gone))]
