# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_agent: what is to lie on the host is rendered here, compared there, and sent if it differs."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.ipcops.linux.plugins.plugin_utils import installation, package, shipment
from ansible_collections.ipcops.linux.plugins.plugin_utils.installation import Places, Plan
from ansible_collections.ipcops.linux.plugins.plugin_utils.installing import Installer, recorded
from ansible_collections.ipcops.linux.plugins.plugin_utils.record import parse
from ansible_collections.ipcops.linux.plugins.plugin_utils.shipment import Item

LEFT = ("journal.jsonl*", "backups/*.pack", "backups/.*.draft", "backups/*.20[0-9][0-9][01][0-9][0-3][0-9]T*")
"""What install.sh --uninstall leaves in the state directory, by name: somebody may have said a directory of others."""


class ActionModule(Installer):
    """The agent and all that is there without any job."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result = super().run(tmp, task_vars)
        options = self.options()
        package.importable()
        from ipcops.core.errors import InputError

        try:
            if options["state"] == "absent":
                self.refuse_beside("state", "absent", ["policy", "policy_example", "keep"])
                return {**result, **self.remove(options, task_vars)}
            if "purge" in self._task.args:
                raise AnsibleActionFail("purge goes with state: absent alone")
            if options["policy"] is not None and options["policy_example"]:
                raise AnsibleActionFail("policy and policy_example both say what the policy is; leave out one of them")
            return {**result, **self.install(options, task_vars)}
        except (InputError, installation.InTheWayError) as error:
            raise AnsibleActionFail(str(error)) from error

    def install(self, options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of installing. Raise InputError, InTheWayError."""
        policy, path = options["policy"], options["policy_path"]
        if options["policy_example"]:
            policy = shipment.example(options["policy_example"], options["state_dir"])
        if policy is not None:
            policy = policy if policy.endswith("\n") else policy + "\n"
            options["state_dir"] = self.state_directory(options, policy)
        places = Places(options["lib"], options["state_dir"], options["log"])
        items = _files(options, policy)
        seen = self.look(
            places,
            [one.path for one in items],
            task_vars,
            texts=[one.path for one in items] if self._task.diff or policy is None else [],
            agent={"tree": places.tree, "sums": places.sums},
            find_python=shipment.python_finder(),
            litter=[f"{glob.escape(places.lib)}/new/*"],
        )
        found = seen["files"].get(path)
        if policy is None and found and found["digest"]:
            # What somebody wrote there decides, and is wrong before anything is done.
            options["state_dir"] = self.state_directory(options, found.get("text", ""))
            if options["state_dir"] != places.state:
                return self.install({**options, "policy": None}, task_vars)
        if not seen["python"].get("path"):
            raise AnsibleActionFail(f"{seen['python']['why']}. Nothing was done")
        plan = plan_of(items, places, seen, keep=path if policy is None else None)
        # What install.sh laid there beside files that had been edited, and are not any more.
        stale = [one for one in seen["litter"] if policy is not None or not path.endswith(one.rpartition("/new")[2])]
        plan = plan._replace(remove=[*plan.remove, *stale], rmdir=[f"{places.lib}/new"])
        done = self.carry_out(plan, places, seen, task_vars)
        return {**self.told(plan, places, seen, done), "policy": {"path": path, "managed": policy is not None}}

    def state_directory(self, options: dict[str, Any], policy: str) -> str:
        """Return where journal and backups go, which the policy may say. Raise InputError where it is wrong."""
        said = shipment.state_of_policy(policy, options["policy_path"])
        if "state_dir" in self._task.args:
            self.refuse_another_state(options, said)
        return said

    def remove(self, options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of removing everything, which install.sh knows how to do. Raise InputError."""
        places = Places(options["lib"], options["state_dir"], options["log"])
        purge = [f"{glob.escape(places.state)}/{name}" for name in LEFT] if options["purge"] else []
        seen = self.look(places, [], task_vars, litter=purge)
        removed = [path for path in recorded(seen) if seen["files"].get(path)]
        changed = seen["record"] is not None or bool(seen["litter"])
        said: list[str] = []
        if changed and not self._task.check_mode:
            request = {
                "lib": places.lib,
                "script": _script(options),
                "purge": purge,
                "rmdir": [places.state, f"{places.state}/backups"] if purge else [],
            }
            said = self.host("uninstall", request, task_vars)["said"]
        plan = Plan(remove=[*removed, *seen["litter"]])
        done: Mapping[str, Any] = {"made": [], "copies": [], "started": [], "stopped": []}
        return {**self.told(plan, places, seen, done), "changed": changed, "said": said}


def _asked(options: dict[str, Any]) -> dict[str, str]:
    """Return the settings that templates are rendered with."""
    asked = {"lib": options["lib"], "bin": options["bin"], "policy": options["policy_path"], "log": options["log"]}
    return shipment.settings({**asked, "state": options["state_dir"], "keep": options["keep"]})


def _files(options: dict[str, Any], policy: str | None) -> list[Item]:
    """Return all that is to lie on the host, but for what is unpacked there."""
    packed = Places(options["lib"], options["state_dir"], options["log"]).packed
    return [*shipment.agent_files(_asked(options), policy), Item("code", 0o644, packed, shipment.agent())]


def _script(options: dict[str, Any]) -> str:
    """Return install.sh."""
    (found,) = [one for one in shipment.agent_files(_asked(options), None) if one.path.endswith("/install.sh")]
    return found.content.decode()


def plan_of(items: list[Item], places: Places, seen: Mapping[str, Any], *, keep: str | None) -> Plan:
    """Return what is to be done. Raise InTheWayError."""
    from ipcops.render.jobs import JOBS

    record = parse(seen["record"])
    jobs = {path for path in record.paths if any(installation.owned(path, places.lib, job) for job in JOBS)}
    older = [path for path in recorded(seen) if path not in jobs and path != places.sums]
    plan = installation.files(items, older, places, seen, keep=keep)
    plan = installation.with_agent(plan, places, shipment.agent(), seen)
    return installation.noted(plan, seen)
