# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_summary: what all hosts of a play brought back becomes one document and one page."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible_collections.ipcops.linux.plugins.plugin_utils.carrying import Carrier
from ansible_collections.ipcops.linux.plugins.plugin_utils.package import importable

importable()  # before the first import of it
from ipcops.core.errors import WriteError  # noqa: E402
from ipcops.core.fs import write_whole  # noqa: E402
from ipcops.fleet.merge import document, entry  # noqa: E402
from ipcops.fleet.page import fleet_lines  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(Carrier):
    """Runs once, on the controller, whatever became of the hosts."""

    BYPASS_HOST_LOOP = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result = super().run(tmp, task_vars)
        options = self.options()
        known: Mapping[str, Any] = task_vars or {}
        hostvars = known["hostvars"]
        entries = {
            name: entry(hostvars.raw_get(name).get(options["results"]), options["fail_on"])
            for name in known["ansible_play_hosts_all"]
        }
        told = document(entries, int(time.time()))
        page = "".join(fleet_lines(told))
        self._display.display("\n" + page.rstrip("\n"))
        files = []
        if options["directory"] and not self._task.check_mode:
            stem = os.path.abspath(os.path.join(options["directory"], options["name"]))
            files = written({f"{stem}.json": json.dumps(told, indent=1) + "\n", f"{stem}.txt": page})
            self._display.display(f"In full: {files[0]}")
        result.update(changed=False, summary=told["summary"], files=files)
        return result


def written(texts: Mapping[str, str]) -> list[str]:
    """Write each text to its path, whole or not at all, and return the paths. Raise AnsibleActionFail."""
    for path, text in texts.items():
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_whole(path, [text])
        except (OSError, WriteError) as error:
            words = f"{error}; name another directory, or none, to have the page alone"
            raise AnsibleActionFail(words) from error
    return list(texts)
