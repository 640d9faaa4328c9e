# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ipc_agent and ipc_job share: one look at a host, one change if there is any, and what the user is told."""

from __future__ import annotations

import base64
import glob
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail

from .carrying import COLLECTION, Carrier
from .installation import Places, Plan
from .record import parse
from .shipment import Item


class Installer(Carrier):
    """An action that installs or removes."""

    def host(self, mode: str, request: Mapping[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return what the host answers. Raise AnsibleActionFail with what stands in the way there."""
        sent = {"request": {"mode": mode, **request}}
        answer = self._execute_module(f"{COLLECTION}.installer", sent, task_vars=task_vars)
        if "answer" not in answer:
            raise AnsibleActionFail(answer.get("msg", "the host gave no answer"), result=answer)
        return dict(answer["answer"])

    def refuse_another_state(self, options: Mapping[str, Any], said: str) -> None:
        """Refuse another state directory than the policy's, which the agent goes by. Raise AnsibleActionFail."""
        if options["state_dir"] != said:
            raise AnsibleActionFail(
                f"by policy {options['policy_path']} the state directory is '{said}'; leave out state_dir, or write"
                f" state = {options['state_dir']} into the section [clean] of the policy. Nothing was done"
            )

    def look(
        self, places: Places, paths: Iterable[str], task_vars: dict[str, Any] | None, **more: Any
    ) -> dict[str, Any]:
        """Return what there is. Raise AnsibleActionFail."""
        paths = sorted(set(paths))
        request: dict[str, Any] = {
            "lib": places.lib,
            "paths": paths,
            "texts": paths if self._task.diff else [],
            "directories": list(places.directories),
            "timers": [],
            "litter": [],
            "policy": "",
            **more,
        }
        seen = self.host("look", request, task_vars)
        if seen["uid"] != 0:
            raise AnsibleActionFail("only root can install; say become: true. Nothing was done")
        return seen

    def carry_out(
        self, plan: Plan, places: Places, seen: Mapping[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Do it, or in check mode nothing; return what was done besides the files of the plan."""
        if not plan.changes or self._task.check_mode:
            return {"made": plan.make, "copies": [], "started": plan.start, "stopped": plan.stop}
        touched = {*plan.written, *plan.remove, *plan.copy} & set(seen["files"])
        request: dict[str, Any] = {
            "lib": places.lib,
            "record": seen["record"],
            "before": {path: (seen["files"].get(path) or {}).get("digest") for path in touched},
            "locks": f"{glob.escape(places.state)}/jobs/*.lock",
            "wait": self.options()["wait"],
            "directories": [(path, places.directories[path]) for path in plan.make],
            "chmod": [(path, places.directories[path]) for path in plan.chmod],
            "put": [_sent(one) for one in plan.put],
            "agent": None,
            "remove": plan.remove,
            "copy": plan.copy,
            "backups": f"{places.state}/backups",
            "lines": plan.lines,
            "metrics": plan.metrics,
            "systemd": seen["systemd"],
            "reload": plan.reload,
            "start": [(name, name not in plan.start) for name in [*plan.start, *plan.renew]],
            "stop": plan.stop,
            "rmdir": plan.rmdir,
        }
        if plan.agent:
            python = seen["python"]["path"]
            request["agent"] = {"tree": places.tree, "sums": places.sums, "packed": places.packed, "python": python}
        return self.host("apply", request, task_vars)

    def told(self, plan: Plan, places: Places, seen: Mapping[str, Any], done: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of the task."""
        installed = [*plan.written, *([places.tree] if plan.agent else [])]
        result: dict[str, Any] = {
            "changed": plan.changes,
            "installed": sorted(installed),
            "removed": sorted(plan.remove),
            "directories": sorted(done["made"]),
            "backups": sorted(done["copies"]),
            "started": sorted(done["started"]),
            "stopped": sorted(done["stopped"]),
        }
        if self._task.diff:
            result["diff"] = [_difference(one.path, seen, one) for one in plan.put]
            result["diff"] += [_difference(path, seen, None) for path in plan.remove]
        return result


def _sent(item: Item) -> dict[str, Any]:
    sent: dict[str, Any] = {"path": item.path, "mode": item.mode, "check": list(item.check)}
    try:
        return {**sent, "text": item.content.decode()}
    except UnicodeDecodeError:
        return {**sent, "bytes": base64.b64encode(item.content).decode()}


def _difference(path: str, seen: Mapping[str, Any], item: Item | None) -> dict[str, str]:
    """Return a change as Ansible shows differences; of what is no text, that there is one."""
    found = seen["files"].get(path) or {}
    try:
        after = item.content.decode() if item else ""
    except UnicodeDecodeError:
        return {"prepared": f"{path}: another one, which is no text\n"}
    before = found.get("text", "")
    if item and before == after:  # only the mode or the owner differs
        before = "mode {:04o}, owner {}:{}\n".format(found["mode"], *found["owner"]) if found else ""
        after = f"mode {item.mode:04o}, owner 0:0\n"
    return {
        "before_header": f"{path} (before)",
        "after_header": f"{path} (after)",
        "before": before,
        "after": after,
    }


def recorded(seen: Mapping[str, Any]) -> list[str]:
    """Return the files that were installed, each once."""
    return list(dict.fromkeys(path for _, path in parse(seen["record"]).lines))
