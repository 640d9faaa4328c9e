# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_limits: its options make a request, the core on the host answers, Ansible is told."""

from __future__ import annotations

import json
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.ipcops.linux.plugins.plugin_utils.asking import Asking

CHOSEN = ("profiles", "values", "force_lower", "persistent")


class ActionModule(Asking):
    """What is done is decided by the core alone."""

    def request(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what is asked for."""
        _refuse_what_yaml_made(self._task.args.get("profiles"), options["values"])
        request = {"command": "limits", "apply": not self._task.check_mode, "policy": options["policy"]}
        if options["state"] == "present":
            self.refuse_without("batch", "state: absent")
            return {**request, "verb": "apply", **{name: options[name] for name in CHOSEN}}
        self.refuse_beside("state", options["state"], list(CHOSEN))
        return {**request, "verb": "rollback", "batch": options["batch"] or "all"}

    def told(self, report: dict[str, Any]) -> dict[str, Any]:
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
            **self.failure(why),
        }

    def differences(self, report: dict[str, Any]) -> list[dict[str, str]]:
        """Return each change before and after."""
        return [
            self.difference(one["name"], _text(one["before"]), _text(one["after"])) for one in report["changes"]
        ]


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


def _named(one: dict[str, Any]) -> dict[str, Any]:
    return {"name": one["name"], "why": one["why"]}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value) + "\n"
