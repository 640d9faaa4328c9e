# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_limits: its options make a request, the core on the host answers, Ansible is told."""

from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.ipcops.linux.plugins.plugin_utils.carrying import Carrier

CHOSEN = ("profiles", "values", "force_lower", "persistent")


class ActionModule(Carrier):
    """What is done is decided by the core alone."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result = super().run(tmp, task_vars)
        options = self.options()
        _refuse_what_yaml_made(self._task.args.get("profiles"), options["values"])
        request = {"command": "limits", "apply": not self._task.check_mode, "policy": options["policy"]}
        if options["state"] == "present":
            self.refuse_without("batch", "state: absent")
            request.update(verb="apply", **{name: options[name] for name in CHOSEN})
        else:
            self.refuse_beside("state", options["state"], list(CHOSEN))
            request.update(verb="rollback", batch=options["batch"] or "all")
        answer = self.ask(request, task_vars)
        report = answer.pop("report", None)
        if report is None:
            return {**result, **answer, "failed": True}
        result.update(told(report))
        if self._task.diff:
            result["diff"] = [difference(one) for one in report["changes"]]
        return result


def _refuse_what_yaml_made(profiles: Any, values: dict[str, Any] | None) -> None:
    """Refuse what was meant otherwise than YAML reads it. Raise AnsibleActionFail."""
    wrong = [
        f"the profile {json.dumps(one)} is no text; write NAME:TERM=NUMBER without a space after the colon, such as"
        " postgresql-18:max_connections=500"
        for one in (profiles if isinstance(profiles, list) else ())
        if isinstance(one, dict)
    ]
    for name, value in (values or {}).items():
        if isinstance(value, bool):
            wrong.append(
                f"{name} is {json.dumps(value)}, which YAML makes of yes, no, on and off; write a number, such as"
                f" {name}: {int(value)}"
            )
        elif isinstance(value, dict):
            inner = next(iter(value), "NAME")
            wrong.append(f"{name} holds settings; write each with its whole name, such as {name}.{inner}: NUMBER")
        elif value is None:
            wrong.append(f"{name} has no value; write a number after it, or leave it out")
    if wrong:
        raise AnsibleActionFail("; ".join(wrong))


def told(report: dict[str, Any]) -> dict[str, Any]:
    """Return what a report says, as the documentation of the module has it."""
    parameters, changes = report["parameters"], report["changes"]
    unwritable = [_named(one) for one in parameters if one["action"] == "unwritable"]
    failures = [*report.get("failed", ()), *report.get("refused", ())]
    why = [f"{one['name']}: {one['why']}" for one in [*failures, *unwritable]]
    overridden = report["overrides"]
    left = report.get("left", [])
    return {
        "changed": bool(changes),
        "before": {one["name"]: one["before"] for one in changes},
        "after": {one["name"]: one["after"] for one in changes},
        "parameters": parameters,
        "overridden_by": overridden,
        "unwritable": unwritable,
        "manual": [{"name": one["name"], **one["manual"]} for one in parameters if one["manual"]],
        "left": left,
        "batch": report.get("batch"),
        "warnings": [f"{one['name']}: {one['why']}" for one in left]
        + [f"{one['name']} will not be so after the next boot: {one['why']}" for one in overridden],
        **({"failed": True, "msg": "; ".join(dict.fromkeys(why))} if why else {}),
    }


def _named(one: dict[str, Any]) -> dict[str, Any]:
    return {"name": one["name"], "why": one["why"]}


def difference(change: dict[str, Any]) -> dict[str, str]:
    """Return a change as Ansible shows differences."""
    return {
        "before_header": f"{change['name']} (before)",
        "after_header": f"{change['name']} (after)",
        "before": _text(change["before"]),
        "after": _text(change["after"]),
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value) + "\n"
