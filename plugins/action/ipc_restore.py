# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_restore: what a backup holds is put back by the core on the host."""

from __future__ import annotations

from typing import Any

from ansible_collections.ipcops.linux.plugins.plugin_utils.asking import Asking
from ansible_collections.ipcops.linux.plugins.plugin_utils.objects import listed, why


class ActionModule(Asking):
    """What can come back is decided by the core alone."""

    def request(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what is asked for."""
        return {"command": "restore", **options, "apply": not self._task.check_mode}

    def told(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return what a report says, as the documentation of the module has it."""
        return {
            "changed": bool(report["restored"]),
            "restored": report["restored"],
            "refused": report["refused"],
            "present": report["present"],
            "journal": report["journal"],
            **self.failure([_why(one) for one in report["refused"]]),
        }

    def differences(self, report: dict[str, Any]) -> list[dict[str, str]]:
        """Return what comes back: each object on a line that is there after and not before."""
        before = report["present"]
        return [self.difference("objects", listed(before), listed([*before, *report["restored"]]))]


def _why(one: dict[str, Any]) -> str:
    if one["object"]["kind"] is None:  # a damaged backup does not tell
        return str(one["why"])
    return why({**one["object"], "why": one["why"]})
