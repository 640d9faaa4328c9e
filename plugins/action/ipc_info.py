# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_info: reports of the core on the host, as they are."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.ipcops.linux.plugins.plugin_utils.carrying import Carrier

COMMANDS = {
    "audit": {"command": "audit"},
    "objects": {"command": "list"},
    "limits": {"command": "limits", "verb": "show"},
}
"""What is gathered to the request that asks for it."""
AUDIT, OBJECTS, LOOKS = ("audit",), ("objects",), ("audit", "objects")
NARROWS = {
    "rules": AUDIT,
    "min_severity": AUDIT,
    "profiles": AUDIT,
    "samples": AUDIT,
    "interval": AUDIT,
    "verdicts": OBJECTS,
    "owner": OBJECTS,
    "kinds": LOOKS,
    "all_namespaces": LOOKS,
    "require_complete": LOOKS,
}
"""Which of it an option is about; the others are about all."""
INCOMPLETE = 3
"""The exit status of ipcops for what could not be seen."""


class ActionModule(Carrier):
    """Looks and changes nothing, in check mode or not."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result = super().run(tmp, task_vars)
        options = self.options()
        gather = options.pop("gather")
        wanted = [one for one in COMMANDS if one in gather]
        if not wanted:
            raise AnsibleActionFail(f"gather is empty; it takes {', '.join(COMMANDS)}")
        for name, about in NARROWS.items():
            if name in self._task.args and not set(about) & set(wanted):
                raise AnsibleActionFail(f"{name} is about {' and '.join(about)}; add that to gather, or leave it out")
        answer = self.ask([_request(one, options) for one in wanted], task_vars)
        answers = answer.pop("answers", None)
        if answers is None:
            return {**result, **answer, "failed": True}
        reports = {one: told["report"] for one, told in zip(wanted, answers, strict=True)}
        result.update(reports, changed=False)
        unseen = [reports[one] for one, told in zip(wanted, answers, strict=True) if told["status"] == INCOMPLETE]
        if unseen:
            gaps = dict.fromkeys(f"{gap['what']}: {gap['why']}" for one in unseen for gap in one["scan"]["skipped"])
            result.update(failed=True, msg="not everything could be seen: " + "; ".join(gaps))
        return result


def _request(gathered: str, options: dict[str, Any]) -> dict[str, Any]:
    about = {name: value for name, value in options.items() if gathered in NARROWS.get(name, tuple(COMMANDS))}
    return {**COMMANDS[gathered], **about, "fail_on": "none"}
