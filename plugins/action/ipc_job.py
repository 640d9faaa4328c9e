# Copyright: the ipcops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A task with ipc_job: one look at the host says which schedule and directory; the rest is as with ipc_agent."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible.errors import AnsibleActionFail
from ansible_collections.ipcops.linux.plugins.plugin_utils import installation, package, shipment
from ansible_collections.ipcops.linux.plugins.plugin_utils.installation import Places, Plan
from ansible_collections.ipcops.linux.plugins.plugin_utils.installing import Installer, recorded
from ansible_collections.ipcops.linux.plugins.plugin_utils.record import parse
from ansible_collections.ipcops.linux.plugins.plugin_utils.shipment import EXTRAS, SUDOERS, Item

BRINGS = {"cleanup": ("slurm",), "monitor": ("alerts_dir", "nrpe_dir", "zabbix_dir"), "health": ()}
"""The options of a job for what it brings to others."""
STATES = ("json", "txt", "lock", "json.new", "txt.new")
"""What a job leaves in the state directory (templates/shell/job.sh.j2)."""
UNITS = "/etc/systemd/system"


class Here(NamedTuple):
    """What the host decides."""

    schedule: str
    textfiles: str


class ActionModule(Installer):
    """One job."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the task."""
        result = super().run(tmp, task_vars)
        options = self.options()
        self.check(options)
        package.importable()
        from ipcops.core.errors import InputError

        try:
            return {**result, **self.work(options, task_vars)}
        except (InputError, installation.InTheWayError) as error:
            raise AnsibleActionFail(str(error)) from error

    def check(self, options: dict[str, Any]) -> None:
        """Refuse what another job alone has. Raise AnsibleActionFail."""
        job = options["job"]
        for other, names in BRINGS.items():
            for name in names:
                if other != job and options[name]:
                    raise AnsibleActionFail(f"{name} goes with job: {other}, not with job: {job}")
        if options["state"] == "absent":
            self.refuse_beside("state", "absent", ["schedule", "settings", *BRINGS[job]])

    def work(self, options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of the task. Raise InputError, InTheWayError."""
        job = options["job"]
        places = Places(options["lib"], options["state_dir"], options["log"])
        extras = _extras(options)
        seen = self.look(
            places,
            [*_paths(job, places), *extras.values(), f"{places.tree}/__main__.py", f"{places.state}/jobs/monitor.json"],
            task_vars,
            directories=[*places.directories, *(path.rpartition("/")[0] for path in extras.values())],
            timers=[f"ipcops-{job}.timer"],
            litter=_litter(job, places),
            exporter=job == "monitor" and "textfiles" not in options["settings"],
            policy=options["policy_path"],
        )
        said = seen["policy_state"]
        if said and said != places.state:
            if "state_dir" in self._task.args:
                self.refuse_another_state(options, said)
            return self.work({**options, "state_dir": said}, task_vars)
        if options["state"] == "absent":
            return self.remove(job, places, seen, task_vars)
        warnings = self.require(places, extras, seen)
        here = Here(_schedule(options, seen), _textfiles(options, seen))
        plan = _plan(options, here, places, extras, seen)
        done = self.carry_out(plan, places, seen, task_vars)
        result = self.told(plan, places, seen, done)
        if here.schedule == "systemd" and not seen["systemd"]:
            warnings.append(f"systemd does not run here; enable ipcops-{job}.timer once it does")
        if job == "monitor":
            result["textfiles"] = here.textfiles
        return {**result, "schedule": here.schedule, "warnings": warnings}

    def require(self, places: Places, extras: Mapping[str, str], seen: Mapping[str, Any]) -> list[str]:
        """Return what will be missing, in check mode, where it may be about to come. Raise AnsibleActionFail for it."""
        missing = []
        if seen["record"] is None or not seen["files"][f"{places.tree}/__main__.py"]:
            missing.append(
                f"the agent is not installed in {places.lib}; run the role ipcops.linux.ipc_agent first, or a task with"
                " ipcops.linux.ipc_agent, with the same lib"
            )
        for template, path in extras.items():
            directory = path.rpartition("/")[0]
            if not seen["directories"][directory]:
                missing.append(f"{directory} is missing; install what reads it first ({template})")
        if missing and not self._task.check_mode:
            raise AnsibleActionFail("; ".join(missing) + ". Nothing was done")
        return missing

    def remove(
        self, job: str, places: Places, seen: Mapping[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return the result of taking the job away, with its logs and states."""
        if seen["record"] is None:
            return self.told(Plan(), places, seen, {"made": [], "copies": [], "started": [], "stopped": []})
        plan = installation.files([], _ours(job, places, seen), places, seen)
        plan = plan._replace(
            stop=[one for one in seen["timers"] if f"{UNITS}/{one}" in plan.remove],
            remove=[*plan.remove, *(_metrics(seen, places, []) if job == "monitor" else []), *seen["litter"]],
            metrics=[] if job == "monitor" else plan.metrics,
            make=[],
            chmod=[],
        )
        plan = installation.noted(plan, seen)
        return self.told(plan, places, seen, self.carry_out(plan, places, seen, task_vars))


def _paths(job: str, places: Places) -> list[str]:
    """Return what a job may have, wherever it was installed from."""
    slurm = [f"{places.lib}/slurm-{phase}.sh" for phase in ("prolog", "epilog")] if job == "cleanup" else []
    units = [f"{UNITS}/ipcops-{job}.{kind}" for kind in ("service", "timer")]
    return [f"{places.lib}/ipc-{job}.sh", f"/etc/cron.d/ipcops-{job}", *units, *slurm]


def _litter(job: str, places: Places) -> list[str]:
    """Return patterns of what a job leaves where it ran; others may have files beside them."""
    log, state = glob.escape(places.log), glob.escape(places.state)
    return [*(f"{state}/jobs/{job}.{kind}" for kind in STATES), f"{log}/{job}.log", f"{log}/{job}.log[.-]*"]


def _extras(options: dict[str, Any]) -> dict[str, str]:
    """Return the templates of what is brought to others, and where each goes."""
    found = {}
    for template in ("alerts", "nrpe", "zabbix"):
        directory = options[f"{template}_dir"]
        if directory:
            found[template] = f"{directory.rstrip('/')}/{EXTRAS[template][0]}"
            if f"{template}-sudoers" in EXTRAS:
                found[f"{template}-sudoers"] = f"{SUDOERS}/{EXTRAS[f'{template}-sudoers'][0]}"
    return found


def _schedule(options: dict[str, Any], seen: Mapping[str, Any]) -> str:
    """Return what starts the job: as said, as it was, as the other jobs are, or by what runs there."""
    record = parse(seen["record"])
    wanted: str = options["schedule"]
    if wanted != "auto":
        return wanted
    before = record.schedule(options["job"]) or record.schedule()
    if before:
        return before
    if seen["systemd"]:
        return "systemd"
    if seen["cron"]:
        return "cron"
    raise installation.InTheWayError(
        "neither systemd runs here nor is there /etc/cron.d; install cron, or say schedule: systemd. Nothing was done"
    )


def _textfiles(options: dict[str, Any], seen: Mapping[str, Any]) -> str:
    """Return node_exporter's directory: as said, as it was told, as it was, as is usual."""
    given = options["settings"].get("textfiles")
    if given or options["job"] != "monitor":
        return str(given or "")
    from ipcops.render.settings import BY_NAME

    found = seen["exporter"]
    before = [path.rpartition("/")[0] for path in parse(seen["record"]).metrics]
    return str(found["told"] or next(iter(before), None) or found["there"] or BY_NAME["textfiles"].default)


def _plan(
    options: dict[str, Any], here: Here, places: Places, extras: Mapping[str, str], seen: Mapping[str, Any]
) -> Plan:
    """Return what is to be done. Raise InputError, InTheWayError."""
    job = options["job"]
    items = [one for one in _items(options, here, places, extras) if _wanted(one, options, here, places, seen)]
    plan = installation.files(items, _ours(job, places, seen), places, seen)
    timer = f"ipcops-{job}.timer"
    state = seen["timers"].get(timer, {"on": False, "stale": False})
    here_runs = here.schedule == "systemd" and seen["systemd"]
    metrics = [f"{here.textfiles}/ipcops.prom"] if job == "monitor" else plan.metrics
    plan = plan._replace(
        start=[timer] if here_runs and not state["on"] else [],
        renew=[timer] if here_runs and state["on"] and plan.reload else [],
        stop=[timer] if f"{UNITS}/{timer}" in plan.remove else [],
        reload=plan.reload or state["stale"],
        metrics=metrics,
        remove=[*plan.remove, *(_metrics(seen, places, metrics) if job == "monitor" else [])],
    )
    return installation.noted(plan, seen)


def _items(options: dict[str, Any], here: Here, places: Places, extras: Mapping[str, str]) -> list[Item]:
    asked = {
        **options["settings"],
        "lib": places.lib,
        "bin": options["bin"],
        "policy": options["policy_path"],
        "state": places.state,
        "log": places.log,
        **({"textfiles": here.textfiles} if here.textfiles else {}),
    }
    return shipment.job_files(options["job"], shipment.settings(asked), extras)


def _wanted(item: Item, options: dict[str, Any], here: Here, places: Places, seen: Mapping[str, Any]) -> bool:
    """Tell whether a file of the job is to be there: of this schedule, of Slurm's what is wanted or there."""
    phase = next((one for one in ("prolog", "epilog") if item.path == f"{places.lib}/slurm-{one}.sh"), None)
    if phase is not None:
        slurm = options["slurm"]
        return phase in slurm if slurm is not None else item.path in parse(seen["record"]).paths
    schedule, dash, _ = item.purpose.partition("-")
    return not dash or schedule == here.schedule


def _ours(job: str, places: Places, seen: Mapping[str, Any]) -> list[str]:
    """Return what was installed that belongs to the job."""
    return [path for path in recorded(seen) if installation.owned(path, places.lib, job)]


def _metrics(seen: Mapping[str, Any], places: Places, now: list[str]) -> list[str]:
    """Return files of metrics that nobody would renew any more; they are ours if the job ran here."""
    if not seen["files"].get(f"{places.state}/jobs/monitor.json"):
        return []
    return [path for path in parse(seen["record"]).metrics if path not in now and seen["files"].get(path)]
