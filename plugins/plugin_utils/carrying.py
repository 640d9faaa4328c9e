# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the action plugins of this collection share: options checked by their own documentation, a request carried."""

from __future__ import annotations

import importlib
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase

from .archive import CORE, packed

COLLECTION = "ipcops.linux"
_MODULES = "ansible_collections.ipcops.linux.plugins.modules"
_SPEC = ("type", "elements", "choices", "default", "required", "aliases")


class Carrier(ActionBase):
    """An action that asks the core on the host."""

    def options(self, **relations: Any) -> dict[str, Any]:
        """Return the options of the task as the documentation of its module declares them. Raise AnsibleActionFail.

        *relations* between them are those of AnsibleModule, such as ``mutually_exclusive``.
        """
        documented = importlib.import_module(f"{_MODULES}.{self._task.action.rpartition('.')[2]}").DOCUMENTATION
        declared = yaml_load(documented)["options"]
        spec = {name: {key: one[key] for key in _SPEC if key in one} for name, one in declared.items()}
        _, options = self.validate_argument_spec(spec, **relations)
        return options

    def ask(
        self, request: dict[str, Any] | list[dict[str, Any]], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return what the carrier brings back: ``report`` and ``status``, or ``failed`` and ``msg``.

        A list of requests is answered by a list of these, in ``answers``.
        """
        # Who runs on the controller itself, as us, imports it from where it lies.
        near = self._connection.transport == "local" and not self._connection.become
        core = {"path": str(CORE.parent)} if near else {"archive": packed()}
        return self._execute_module(f"{COLLECTION}.carrier", {**core, "request": request}, task_vars=task_vars)

    def refuse_beside(self, option: str, value: str, others: list[str]) -> None:
        """Refuse options that mean nothing beside another. Raise AnsibleActionFail."""
        given = [name for name in others if name in self._task.args]
        if given:
            raise AnsibleActionFail(f"{option}: {value} takes back what was applied; leave out {', '.join(given)}")

    def refuse_without(self, option: str, needed: str) -> None:
        """Refuse an option that means nothing without another. Raise AnsibleActionFail."""
        if option in self._task.args:
            raise AnsibleActionFail(f"{option} means nothing without {needed}; write that, or leave out {option}")
