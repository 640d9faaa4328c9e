# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a task is that is one request to the core: options in, a report out, told as its documentation has it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from .carrying import Carrier


class Asking(Carrier):
    """An action whose options make a request, and whose result is told from the report."""

    RELATIONS: ClassVar[dict[str, Any]] = {}
    """Of options to each other, as AnsibleModule takes them."""

    @abstractmethod
    def request(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what is asked of the core. Raise AnsibleActionFail."""

    @abstractmethod
    def told(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return what a report says, for the result of the task."""

    @abstractmethod
    def differences(self, report: dict[str, Any]) -> list[dict[str, str]]:
        """Return what changes, or would, as Ansible shows differences."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result = super().run(tmp, task_vars)
        answer = self.ask(self.request(self.options(**self.RELATIONS)), task_vars)
        report = answer.pop("report", None)
        if report is None:
            return {**result, **answer, "failed": True}
        result.update(self.told(report))
        if self._task.diff:
            result["diff"] = self.differences(report)
        return result

    @staticmethod
    def failure(why: list[str]) -> dict[str, Any]:
        """Return what makes a task fail for these reasons, each said once; nothing where there is none."""
        return {"failed": True, "msg": "; ".join(dict.fromkeys(why))} if why else {}

    @staticmethod
    def difference(name: str, before: str, after: str) -> dict[str, str]:
        """Return a change as Ansible shows differences."""
        return {
            "before_header": f"{name} (before)",
            "after_header": f"{name} (after)",
            "before": before,
            "after": after,
        }
